"""Raising what a person must look at: one open flag a patient and code."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from uuid import UUID

from django.db.models import QuerySet

from backend.care.models import Event, Flag
from backend.care.selectors import OPEN
from backend.clinics.models import Patient
from protocols.knowledge import safety

STOPPING = (Flag.Level.EMERGENCY, Flag.Level.URGENT)
SATURDAY = 5


def raise_flag(
    *,
    patient: Patient,
    code: str,
    on: date,
    source: tuple[str, UUID],
    now: datetime,
    by_rule: bool = False,
    course_id: UUID | None = None,
) -> Flag:
    """Open a flag, or count one more occurrence of the open one. The caller holds the lock.

    What somebody reported is also kept as an event, on which a stop rests; what a rule found
    follows from other facts. A report concerns all courses, unless one is named.
    """
    level = Flag.Level(safety().red_flags[code].level)
    if not by_rule:
        Event.objects.create(
            patient=patient, assignment_id=course_id, kind=Event.Kind.REPORTED, on=on, at=now,
            code=code, source_type=source[0], source_id=source[1],
        )  # fmt: skip
    flag = open_flag(patient, code)
    if flag is None:
        return Flag.objects.create(
            patient=patient,
            code=code,
            level=level,
            raised_at=now,
            observed_on=on,
            source_type=source[0],
            source_id=source[1],
            respond_by=respond_by(level, patient, now),
            tell_at=now,
        )
    flag.occurrences += 1
    flag.source_type, flag.source_id, flag.observed_on = *source, on
    if level in STOPPING and flag.status == Flag.Status.ACKNOWLEDGED and not by_rule:
        _reopen(flag, patient, now)
    flag.save()
    return flag


def _reopen(flag: Flag, patient: Patient, now: datetime) -> None:
    """It was told once more after somebody had looked: that takes another look. Who looked before
    is in the audit."""
    flag.status = Flag.Status.OPEN
    flag.acknowledged_by = flag.acknowledged_at = None
    flag.respond_by = respond_by(Flag.Level(flag.level), patient, now)
    flag.tell_at, flag.told = now, 0


def lower_flag(
    *, patient: Patient, code: str, source: tuple[str, UUID], now: datetime, still: bool
) -> bool:
    """Take back one occurrence that a rule does not find any more; with the last one the flag.

    It stays where a verdict `still` asks for it, and while others have raised it. A flag that
    somebody has acknowledged or resolved is theirs.
    """
    flag = open_flag(patient, code)
    if flag is None or flag.status != Flag.Status.OPEN or flag.source_type != source[0]:
        return False
    if flag.occurrences > 1:
        flag.occurrences -= 1
    elif not still:
        flag.status = Flag.Status.AUTO_RESOLVED
        flag.resolved_at = now
    flag.save(update_fields=["occurrences", "status", "resolved_at"])
    return True


def stops_of(patient: Patient) -> QuerySet[Flag]:
    """The open flags that stop all exercise, the gravest first. A clearance alone ends them."""
    return Flag.objects.filter(patient=patient, status__in=OPEN, level__in=STOPPING).order_by(
        "level", "raised_at", "pk"
    )


def open_flag(patient: Patient, code: str) -> Flag | None:
    return Flag.objects.filter(patient=patient, code=code, status__in=OPEN).first()


def respond_by(level: Flag.Level, patient: Patient, now: datetime) -> datetime:
    """Until when somebody has to have looked at it (safety.md section 1)."""
    known = safety().levels[level]
    if known.resend_every_min is not None:
        return now + timedelta(minutes=known.resend_every_min)
    if known.escalate_after_h is not None:
        return now + timedelta(hours=known.escalate_after_h)
    moment, left = now, known.review_within_working_days or 0
    while left:
        moment += timedelta(days=1)
        left -= moment.astimezone(patient.zone).weekday() < SATURDAY
    return moment
