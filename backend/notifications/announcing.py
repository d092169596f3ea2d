"""Finding what nobody was told yet, and making messages of it. The fact is the outbox.

One problem makes one message: what waits for a physiotherapist's review is gathered by the hour, a
plan that changed several times is one piece of news. What is urgent is told by itself, and again
until somebody has acknowledged it (safety.md section 1, as the safety library has it).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction
from django.db.models import Q

from backend.care.models import Flag, Progression
from backend.clinics.actions import lock
from backend.clinics.models import Clinic, Invitation, Patient, User
from backend.notifications.models import Message, key_of
from backend.notifications.schedule import next_fire
from backend.reports.models import Export
from protocols.knowledge import safety

Kind = Message.Kind

GATHERED_FOR = timedelta(hours=1)
NEWS_VALID_FOR = timedelta(days=2)
REVIEW_VALID_FOR = timedelta(days=1)
FLAG_VALID_FOR = timedelta(hours=12)
STAFF_WEEK_AT = time(7)
MONDAYS = frozenset({0})
GAP = "gap-7"  # rule R9
URGENT_CONTACT = "urgent contact"


def announce(*, now: datetime, limit: int) -> int:
    """Make messages of everything that is to be told by now. Says how many facts were told of."""
    sweeps = (_news, _flags, _proposals, _invitations, _weeks, _exports)
    return sum(sweep(now, limit) for sweep in sweeps)


# --- To patients ------------------------------------------------------------------------------


def _news(now: datetime, limit: int) -> int:
    due = Patient.objects.filter(plan_tell_at__lte=now).order_by("plan_tell_at", "pk")
    return sum(_news_of(id, now) for id in list(due.values_list("pk", flat=True)[:limit]))


@transaction.atomic
def _news_of(patient_id: UUID, now: datetime) -> bool:
    patient = lock(Patient(pk=patient_id))
    if patient.plan_tell_at is None:
        return False  # somebody was faster
    Patient.objects.filter(pk=patient.pk).update(plan_tell_at=None)
    _tell_patient(patient, Kind.PLAN_CHANGED, f"plan {patient.plan_version}", now)
    return True


def _tell_patient(patient: Patient, kind: Kind, slot: str, now: datetime) -> None:
    if patient.user_id is None:
        return  # not enrolled: there is nobody to tell yet
    _put(
        Message(
            id=key_of(patient.user_id, kind, now.astimezone(patient.zone).date(), slot),
            clinic_id=patient.clinic_id,
            patient=patient,
            person_id=patient.user_id,
            kind=kind,
            on=now.astimezone(patient.zone).date(),
            slot=slot,
            due_at=now,
            valid_until=now + NEWS_VALID_FOR,
            attempt_due_at=now,
        )
    )


def _invitations(now: datetime, limit: int) -> int:
    due = Invitation.objects.filter(tell_at__lte=now).order_by("tell_at", "pk")
    return sum(_invitation(id, now) for id in list(due.values_list("pk", flat=True)[:limit]))


@transaction.atomic
def _invitation(id: UUID, now: datetime) -> bool:
    if not Invitation.objects.filter(pk=id, tell_at__isnull=False).update(tell_at=None):
        return False
    invitation = Invitation.objects.select_related("patient").get(pk=id)
    patient = invitation.patient
    on = now.astimezone(patient.zone).date()
    _put(
        Message(
            id=key_of(patient.pk, Kind.INVITATION, on, str(id)),
            clinic_id=patient.clinic_id,
            patient=patient,
            kind=Kind.INVITATION,
            on=on,
            slot=str(id),
            about_id=id,
            due_at=now,
            valid_until=max(invitation.expires_at, now),
            attempt_due_at=now,
        )
    )
    return True


# --- To staff ---------------------------------------------------------------------------------


def _flags(now: datetime, limit: int) -> int:
    due = Flag.objects.filter(tell_at__lte=now).order_by("tell_at", "pk")
    return sum(_flag(id, now) for id in list(due.values_list("pk", flat=True)[:limit]))


@transaction.atomic
def _flag(id: UUID, now: datetime) -> bool:
    """Tell of a flag, and say when it is told again should nobody acknowledge it."""
    patient = lock(Flag.objects.select_related("patient").get(pk=id).patient)
    flag = Flag.objects.get(pk=id)
    if flag.tell_at is None or flag.tell_at > now:
        return False
    step, is_open = flag.told, flag.status == Flag.Status.OPEN
    flag.tell_at = _again_at(flag, now) if is_open else None
    flag.told += 1
    flag.save(update_fields=["tell_at", "told"])
    if not is_open:
        return False
    if flag.level == Flag.Level.ROUTINE:
        _to_review(patient, now)
        if flag.code == GAP and step == 0:
            _tell_patient(patient, Kind.MISSED, f"flag {flag.pk}", now)
        return True
    recipients: list[User | None] = list(_treating(patient))
    if flag.level == Flag.Level.EMERGENCY or step > 0:
        recipients += _urgent_contacts(patient.clinic)
    for person in dict.fromkeys(recipients):
        _tell_staff(
            patient.clinic, person, Kind.FLAG, f"{flag.pk} {flag.occurrences}.{step}", now,
            patient=patient, about=flag.pk, params={"level": flag.level},
        )  # fmt: skip
    return True


def _again_at(flag: Flag, now: datetime) -> datetime | None:
    """An emergency is told again and again, an urgent flag once more, to the urgent contact, a
    routine one when its time for review is over."""
    known = safety().levels[flag.level]
    if known.resend_every_min is not None:
        return now + timedelta(minutes=known.resend_every_min)
    if flag.told:
        return None
    if known.escalate_after_h is not None:
        return flag.raised_at + timedelta(hours=known.escalate_after_h)
    return flag.respond_by


def _proposals(now: datetime, limit: int) -> int:
    due = Progression.objects.filter(tell_at__lte=now).order_by("tell_at", "pk")
    return sum(_proposal(id, now) for id in list(due.values_list("pk", flat=True)[:limit]))


@transaction.atomic
def _proposal(id: UUID, now: datetime) -> bool:
    if not Progression.objects.filter(pk=id, tell_at__isnull=False).update(tell_at=None):
        return False
    row = Progression.objects.select_related("patient__clinic").get(pk=id)
    if row.status != Progression.Status.PROPOSED:
        return False
    if row.recommendation == Progression.Recommendation.STEP_BACK:  # has happened: at once
        for person in _treating(row.patient):
            _tell_staff(
                row.patient.clinic, person, Kind.REVIEW, f"step back {row.pk}", now,
                patient=row.patient, about=row.pk,
            )  # fmt: skip
    else:
        _to_review(row.patient, now)
    return True


def _to_review(patient: Patient, now: datetime) -> None:
    """Something waits for a look. Within the hour it is one message, whatever came together."""
    for person in _treating(patient):
        hour = now.replace(minute=0, second=0, microsecond=0)
        if not _tell_staff(patient.clinic, person, Kind.REVIEW, _hour(hour), now):
            row = Message.objects.get(
                pk=key_of(person.pk, Kind.REVIEW, _day(patient.clinic, now), _hour(hour))
            )
            if row.status != Message.Status.WAITING:  # that one has gone out already
                later = hour + GATHERED_FOR
                _tell_staff(patient.clinic, person, Kind.REVIEW, _hour(later), later)


def _hour(at: datetime) -> str:
    return f"{at:%Y-%m-%dT%H}"


def _weeks(now: datetime, limit: int) -> int:
    """Once a week, in the clinic's own zone, every physiotherapist hears how much waits."""
    for clinic in Clinic.objects.filter(week_told_at=None)[:limit]:
        Clinic.objects.filter(pk=clinic.pk).update(week_told_at=_next_week(clinic, now))
    due = Clinic.objects.filter(week_told_at__lte=now).order_by("week_told_at", "pk")
    return sum(_week(id, now) for id in list(due.values_list("pk", flat=True)[:limit]))


@transaction.atomic
def _week(clinic_id: UUID, now: datetime) -> bool:
    clinic = Clinic.objects.select_for_update().get(pk=clinic_id)
    if clinic.week_told_at is None or clinic.week_told_at > now:
        return False
    was_due_at = clinic.week_told_at
    clinic.week_told_at = _next_week(clinic, now)
    clinic.save(update_fields=["week_told_at"])
    if now - was_due_at > REVIEW_VALID_FOR:
        return False  # after a long outage
    for person in _physiotherapists(clinic):
        patients = Patient.objects.filter(physiotherapist=person)
        counts = {
            "proposals": Progression.objects.filter(
                patient__in=patients, status=Progression.Status.PROPOSED
            ).count(),
            "flags": Flag.objects.filter(
                patient__in=patients, status__in=[Flag.Status.OPEN, Flag.Status.ACKNOWLEDGED]
            ).count(),
        }
        _tell_staff(clinic, person, Kind.STAFF_WEEK, "week", now, params=counts)
    return True


def _next_week(clinic: Clinic, now: datetime) -> datetime:
    return next_fire(STAFF_WEEK_AT, ZoneInfo(clinic.timezone), now, MONDAYS).at


def _exports(now: datetime, limit: int) -> int:
    due = Export.objects.filter(tell_at__lte=now).order_by("tell_at", "pk")
    return sum(_export(id, now) for id in list(due.values_list("pk", flat=True)[:limit]))


@transaction.atomic
def _export(id: UUID, now: datetime) -> bool:
    """Tell whoever asked for a file that it is there, or that it will not be."""
    if not Export.objects.filter(pk=id, tell_at__isnull=False).update(tell_at=None):
        return False
    row = Export.objects.select_related("clinic", "asked_by").get(pk=id)
    return _tell_staff(
        row.clinic, row.asked_by, Kind.EXPORT, str(id), now, about=id,
        params={"status": row.status}, until=row.expires_at,
    )  # fmt: skip


def _tell_staff(
    clinic: Clinic,
    person: User | None,
    kind: Kind,
    slot: str,
    due_at: datetime,
    *,
    patient: Patient | None = None,
    about: UUID | None = None,
    params: Mapping[str, object] | None = None,
    until: datetime | None = None,
) -> bool:
    """A message to a member of staff, or with nobody to the clinic's urgent contact."""
    on = _day(clinic, due_at)
    valid_for = FLAG_VALID_FOR if kind == Kind.FLAG else REVIEW_VALID_FOR
    return _put(
        Message(
            id=key_of(person.pk if person else clinic.pk, kind, on, slot),
            clinic=clinic,
            patient=patient,
            person=person,
            kind=kind,
            on=on,
            slot=slot,
            about_id=about,
            params=dict(params or {}),
            due_at=due_at,
            valid_until=max(due_at, until) if until else due_at + valid_for,
            attempt_due_at=due_at,
        )
    )


def _put(row: Message) -> bool:
    """Whether it is new: the id says what it is, so nobody is told twice."""
    if Message.objects.filter(pk=row.pk).exists():
        return False
    Message.objects.bulk_create([row], ignore_conflicts=True)
    return True


def _day(clinic: Clinic, at: datetime) -> date:
    return at.astimezone(ZoneInfo(clinic.timezone)).date()


def _treating(patient: Patient) -> list[User]:
    """The physiotherapist of a patient; where there is none any more, all of the clinic."""
    own = patient.physiotherapist
    if own is not None and own.is_active and own.is_physiotherapist:
        return [own]
    return list(_physiotherapists(patient.clinic))


def _physiotherapists(clinic: Clinic) -> Iterable[User]:
    return User.objects.filter(clinic=clinic, is_active=True, is_physiotherapist=True)


def _urgent_contacts(clinic: Clinic) -> list[User | None]:
    """The clinic's own, and where it has none, those who run it, or everybody who treats."""
    if clinic.urgent_email:
        return [None]
    admins = list(User.objects.filter(Q(is_clinic_admin=True), clinic=clinic, is_active=True))
    return [*(admins or _physiotherapists(clinic))]
