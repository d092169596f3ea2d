"""Recording what a clinician measured or asked, by the metrics of the library."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal

from django.db import transaction

from backend.care import deciding
from backend.care.flags import raise_flag
from backend.care.models import Assessment
from backend.care.selectors import today_of
from backend.clinics.actions import lock
from backend.clinics.models import Patient, User
from backend.problems import FieldError, ValidationFailed
from protocols.knowledge import metrics, safety

AHEAD = timedelta(minutes=10)


@transaction.atomic
def record(
    *,
    patient: Patient,
    code: str,
    value: Decimal,
    unit: str,
    side: str,
    measured_at: datetime,
    findings: Sequence[str],
    remark: str,
    by: User,
    now: datetime,
) -> Assessment:
    """Store a measurement. A value outside its range is refused, never clipped.

    Stop signs among the findings raise their flags in the same transaction.
    """
    _check(code, value, unit, measured_at, now)
    patient = lock(patient)
    row = Assessment.objects.create(
        patient=patient,
        code=code,
        value=value,
        unit=unit,
        side=side,
        measured_at=measured_at,
        findings=list(findings),
        note=remark,
        recorded_by=by,
        recorded_at=now,
    )
    for found in dict.fromkeys(findings):
        raise_flag(
            patient=patient,
            code=found,
            on=today_of(patient, now),
            source=("assessment", row.pk),
            now=now,
        )
    measured_on = measured_at.astimezone(patient.zone).date()
    found_now = deciding.recompute_all(patient=patient, now=now, speaks_of=measured_on)
    found_now.plan = found_now.plan or any(safety().red_flags[code].stops for code in findings)
    deciding.tell(patient, found_now, (), now=now, is_news=found_now.plan)
    return row


def _check(code: str, value: Decimal, unit: str, measured_at: datetime, now: datetime) -> None:
    metric = metrics().get(code)
    if metric is None:
        raise ValidationFailed.at("#/code", "unknown-reference", "Not a metric of the library.")
    errors = []
    low, high = metric.min, metric.max
    if (low is not None and value < Decimal(str(low))) or (
        high is not None and value > Decimal(str(high))
    ):
        limits = {"min": low, "max": high}
        detail = f"Must be between {low} and {high}."
        errors.append(FieldError("#/value", "out-of-range", detail, limits))
    if unit != metric.unit:
        errors.append(
            FieldError("#/unit", "invalid-value", f"Must be {metric.unit}.", {"unit": metric.unit})
        )
    if measured_at > now + AHEAD:
        errors.append(FieldError("#/measured_at", "invalid-value", "Lies in the future."))
    if errors:
        raise ValidationFailed.of(errors)
