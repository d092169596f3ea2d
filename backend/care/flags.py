"""Raising what a person must look at: one open flag a patient and code."""

from __future__ import annotations

from datetime import date, datetime
from uuid import UUID

from backend.care.models import Flag
from backend.clinics.models import Patient


def raise_flag(
    *,
    patient: Patient,
    code: str,
    level: Flag.Level,
    on: date,
    source: tuple[str, UUID],
    now: datetime,
) -> Flag:
    """Open a flag, or count one more occurrence of the open one. The caller holds the lock."""
    flag = Flag.objects.filter(
        patient=patient, code=code, status__in=[Flag.Status.OPEN, Flag.Status.ACKNOWLEDGED]
    ).first()
    if flag is None:
        return Flag.objects.create(
            patient=patient,
            code=code,
            level=level,
            raised_at=now,
            observed_on=on,
            source_type=source[0],
            source_id=source[1],
        )
    if (flag.source_type, flag.source_id) != source:
        flag.occurrences += 1
        flag.source_type, flag.source_id, flag.observed_on = *source, on
        flag.save(update_fields=["occurrences", "source_type", "source_id", "observed_on"])
    return flag
