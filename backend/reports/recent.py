"""The last closed dates of many patients, as rows of a list show them. One query for all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import F

from backend.care.models import ClosedDay
from backend.care.selectors import is_closed, today_of
from backend.clinics.models import Patient
from backend.reports.selectors import letter_of
from protocols.engine.plan import days_from

A_DAY = timedelta(days=1)


class RecentDay(NamedTuple):
    """A letter as in `letter_of`, and the worst pain during exercise, where it was told."""

    on: date
    letter: str
    pain_during: int | None
    late: bool


def recent_days(
    patients: Sequence[Patient], *, days: int, now: datetime
) -> dict[UUID, list[RecentDay]]:
    """Of each patient so many dates in a row, up to the last one that has closed."""
    ids = [one.pk for one in patients]
    first = now.date() - (days + 2) * A_DAY  # wherever the patient is
    rows = (
        ClosedDay.objects.filter(assignment__patient__in=ids, on__gte=first)
        .annotate(patient_id=F("assignment__patient"))
        .defer("day", "after", "alerts", "eased", "open_gates", "kinds")
    )
    lived: dict[tuple[UUID, date], list[ClosedDay]] = {}
    for row in rows:
        lived.setdefault((getattr(row, "patient_id"), row.on), []).append(row)  # noqa: B009
    found = {}
    for patient in patients:
        last = today_of(patient, now) - A_DAY
        if not is_closed(last, patient.zone, now):
            last -= A_DAY
        found[patient.pk] = [
            _recent(on, lived.get((patient.pk, on), ()), patient)
            for on in days_from(last - (days - 1) * A_DAY, days)
        ]
    return found


def _recent(on: date, rows: Sequence[ClosedDay], patient: Patient) -> RecentDay:
    told = [row.pain_during for row in rows if row.pain_during is not None]
    return RecentDay(
        on=on,
        letter=letter_of(rows, patient.last_received_at),
        pain_during=max(told, default=None),
        late=any(row.sessions_late for row in rows),
    )
