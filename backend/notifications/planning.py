"""The ledger of the days to come: a row for each reminder that a patient is due, made ahead."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import tzdata
from django.db import transaction
from django.db.models import F, Q

from backend.care.selectors import PlannedDay, plan_of, today_of
from backend.clinics.models import Patient
from backend.notifications.models import Message, ReminderSettings, key_of
from backend.notifications.schedule import Fire, fires_between
from backend.notifications.verdict import OF_SETTINGS

Kind = Message.Kind

AHEAD = timedelta(hours=48)  # no further: zones and plans change
AGAIN = timedelta(hours=24)
MOST_BEHIND = timedelta(days=14)  # after a long outage, what nobody wonders about any more
VALID_FOR = timedelta(hours=2)
LEAST_VALID = timedelta(minutes=30)  # for a time that a clock change pushes past midnight
WEEK_AT = time(8)
WEEK_VALID_FOR = timedelta(hours=12)
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
A_DAY = timedelta(days=1)
EVERY_DAY = frozenset(range(7))
MONDAYS = frozenset({0})


@dataclass(frozen=True, slots=True)
class Wish:
    """One thing to be reminded of: a wall-clock time on some weekdays."""

    kind: Kind
    slot: str
    at: time
    days: frozenset[int] = EVERY_DAY
    later: timedelta = timedelta()


def wishes_of(settings: ReminderSettings) -> Iterator[Wish]:
    if settings.enabled:
        days = frozenset(WEEKDAYS.index(day) for day in settings.days)
        for text in settings.times:
            at = time.fromisoformat(text)
            yield Wish(Kind.EXERCISES, text, at, days)
            if settings.nudge_after_min:
                yield Wish(Kind.NUDGE, text, at, days, timedelta(minutes=settings.nudge_after_min))
        if settings.check_in_at is not None:
            yield Wish(Kind.CHECK_IN, f"{settings.check_in_at:%H:%M}", settings.check_in_at)
    if settings.weekly_summary:
        yield Wish(Kind.PATIENT_WEEK, "week", WEEK_AT, MONDAYS)


def due_to_plan(*, now: datetime, limit: int) -> list[UUID]:
    """Patients whose rows of the days to come have to be made, the longest waiting first."""
    rows = ReminderSettings.objects.filter(plan_due_at__lte=now).order_by("plan_due_at")
    return list(rows.values_list("patient_id", flat=True)[:limit])


def notice_new_zones(*, now: datetime, limit: int) -> int:
    """Plan anew where a newer version of the time zones is in use, or the patient has moved without
    our having heard. Says how many were found."""
    stale = Q(plan_due_at__isnull=False) & (
        ~Q(tzdata=tzdata.IANA_VERSION) | ~Q(zone=F("patient__timezone"))
    )
    found = ReminderSettings.objects.filter(stale).values_list("pk", flat=True)[:limit]
    for patient_id in list(found):
        plan(patient_id=patient_id, now=now, is_anew=True)
    return len(found)


@transaction.atomic
def plan(*, patient_id: UUID, now: datetime, is_anew: bool = False) -> int:
    """Make a patient's rows of the next 48 hours. Any number of callers at once is harmless.

    Where it `is_anew`, the rows that have not come up yet are made again: after a change of the
    wishes, the zone or the zones of the world. Says how many rows were made.
    """
    patient = Patient.objects.select_for_update(of=("self",)).select_related("user").get(
        pk=patient_id
    )  # fmt: skip
    settings = ReminderSettings.objects.filter(pk=patient_id).first()
    if settings is None:
        return 0
    return plan_for(patient, settings, now=now, is_anew=is_anew)


def plan_for(
    patient: Patient, settings: ReminderSettings, *, now: datetime, is_anew: bool = False
) -> int:
    """As `plan`, for a caller who holds the patient's lock."""
    wishes = list(wishes_of(settings)) if patient.user_id else []
    start = max(settings.planned_until or now, now - MOST_BEHIND)
    if is_anew or settings.tzdata != tzdata.IANA_VERSION or settings.zone != patient.timezone:
        waiting = Message.objects.filter(
            patient=patient, kind__in=OF_SETTINGS, status=Message.Status.WAITING, due_at__gt=now
        )
        waiting.delete()
        start = min(start, now)
        if settings.zone and settings.zone != patient.timezone:
            # Where the traveller's day began earlier, what he missed of it is accounted for.
            start = min(start, datetime.combine(today_of(patient, now), time(), patient.zone))
    end = now + AHEAD
    rows = _rows(patient, wishes, start, end, now)
    made = len(Message.objects.bulk_create(rows, ignore_conflicts=True))
    settings.zone, settings.tzdata = patient.timezone, tzdata.IANA_VERSION
    settings.planned_until = end if wishes else None
    settings.plan_due_at = now + AGAIN if wishes else None
    settings.save(update_fields=["zone", "tzdata", "planned_until", "plan_due_at"])
    return made


def _rows(
    patient: Patient, wishes: list[Wish], start: datetime, end: datetime, now: datetime
) -> list[Message]:
    zone = patient.zone
    fires = [
        (wish, fire)
        for wish in wishes
        for fire in fires_between(wish.at, zone, start - wish.later, end - wish.later, wish.days)
    ]
    if not fires:
        return []
    days = _days(patient, min(fire.on for _, fire in fires), max(f.on for _, f in fires), now)
    return [_row(patient, wish, fire, days.get(fire.on), zone) for wish, fire in fires]


def _days(patient: Patient, first: date, last: date, now: datetime) -> dict[date, PlannedDay]:
    first = max(first, today_of(patient, now) - A_DAY)
    count = (last - first).days + 1
    if count < 1:
        return {}
    return {day.on: day for day in plan_of(patient, first=first, days=count, now=now).days}


def _row(
    patient: Patient, wish: Wish, fire: Fire, day: PlannedDay | None, zone: ZoneInfo
) -> Message:
    assert patient.user_id is not None
    due_at = fire.at + wish.later
    row = Message(
        id=key_of(patient.user_id, wish.kind, fire.on, wish.slot),
        clinic_id=patient.clinic_id,
        patient=patient,
        person_id=patient.user_id,
        kind=wish.kind,
        on=fire.on,
        slot=wish.slot,
        due_at=due_at,
        valid_until=valid_until(wish.kind, due_at, fire.on, zone),
        attempt_due_at=due_at,
    )
    if day is not None:
        know(row, day, patient.plan_version)
    return row


def valid_until(kind: str, due_at: datetime, on: date, zone: ZoneInfo) -> datetime:
    """Two hours, and not beyond the day it is for (T2), unless a clock change pushed it there."""
    if kind == Kind.PATIENT_WEEK:
        return due_at + WEEK_VALID_FOR
    midnight = datetime.combine(on + A_DAY, time(), zone)
    return max(min(due_at + VALID_FOR, midnight), due_at + LEAST_VALID)


def know(row: Message, day: PlannedDay, plan_version: int) -> None:
    """Keep what the plan asks for on the day, which saves working it out when it comes to it."""
    row.plan_version, row.day_type = plan_version, day.type.value
    row.slots = [str(one.slot.id) for one in day.slots if one.slot.counts]
