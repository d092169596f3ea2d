"""Whom a clinic has no reason to keep any longer: its own setting, counted from the last care."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from backend.audit.actions import note_command
from backend.care.models import Assessment, Assignment
from backend.clinics.models import Clinic, Episode, Patient
from backend.rights import erasing
from backend.rights.models import Erasure

MONTHS_A_YEAR = 12


@dataclass(frozen=True, slots=True)
class Over:
    """A patient whose time is over; `is_held` stays all the same."""

    patient_id: UUID
    clinic_id: UUID
    is_held: bool


def over(*, now: datetime) -> Iterator[Over]:
    """Everybody whose time is over, clinic by clinic."""
    for clinic in Clinic.objects.exclude(retention_months=None).order_by("pk"):
        found = _past(clinic, now).order_by("pk")
        for id, since in found.values_list("pk", "legal_hold_since").iterator():
            yield Over(id, clinic.pk, since is not None)


def decide(*, now: datetime, limit: int) -> int:
    """Decide that those are erased who are not held, at most so many; says how many."""
    count = 0
    for clinic in Clinic.objects.exclude(retention_months=None).order_by("pk"):
        found = _past(clinic, now).filter(legal_hold_since=None).order_by("pk")
        for patient in found[: limit - count]:
            count += _decide(patient, now)
    return count


@transaction.atomic
def _decide(patient: Patient, now: datetime) -> bool:
    """Looked at once more under the lock: somebody may have come back."""
    assert patient.clinic is not None
    locked = Patient.objects.select_for_update(of=("self",)).filter(pk=patient.pk)
    if locked.first() is None:
        return False
    if not _past(patient.clinic, now).filter(pk=patient.pk, legal_hold_since=None).exists():
        return False
    erasure = erasing.decide(patient=patient, reason=Erasure.Reason.RETENTION, by=None, now=now)
    note_command(
        command="retention",
        action="patient_erase",
        clinic_id=patient.clinic_id,
        patient_id=patient.pk,
        object_id=erasure.pk,
        run=uuid4(),
        now=now,
    )
    return True


def _past(clinic: Clinic, now: datetime) -> QuerySet[Patient]:
    """Those of whom nothing was heard, written or changed since, and who have no open plan."""
    assert clinic.retention_months is not None
    since = months_before(now, clinic.retention_months)
    of_patient = Q(patient=OuterRef("pk"))
    treated = Assignment.objects.filter(of_patient, Q(ended_on=None) | Q(ended_on__gte=since))
    cared = Episode.objects.filter(of_patient, Q(updated_at__gte=since) | Q(ended_on__gte=since))
    measured = Assessment.objects.filter(of_patient, recorded_at__gte=since)
    decided = Erasure.objects.filter(patient_id=OuterRef("pk"))
    return (
        Patient.objects.select_related("clinic")
        .filter(Q(last_received_at=None) | Q(last_received_at__lt=since))
        .filter(clinic=clinic, created_at__lt=since, updated_at__lt=since)
        .exclude(Exists(treated))
        .exclude(Exists(cared))
        .exclude(Exists(measured))
        .exclude(Exists(decided))
    )


def months_before(now: datetime, months: int) -> datetime:
    """The beginning of the same day so many months ago, or of the last one of that month."""
    day = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    number = day.year * MONTHS_A_YEAR + day.month - 1 - months
    first = day.replace(year=number // MONTHS_A_YEAR, month=number % MONTHS_A_YEAR + 1, day=1)
    following = (first + timedelta(days=31)).replace(day=1)
    return first.replace(day=min(day.day, (following - timedelta(days=1)).day))
