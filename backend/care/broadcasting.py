"""What concerns every patient of a clinic at once."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from backend.care import feed
from backend.clinics.models import Clinic, Patient

AT_A_TIME = 200  # patients locked together while phones are told


def tell_all(*, clinic: Clinic, now: datetime) -> int:
    """Have all phones of a clinic read their plan again, which says whom to call. Says how many.

    A few patients at a time, so that none waits for all the others; what was cut short can be
    repeated.
    """
    enrolled = Patient.objects.filter(clinic=clinic, user__isnull=False)
    ids = list(enrolled.order_by("pk").values_list("pk", flat=True))
    for start in range(0, len(ids), AT_A_TIME):
        few = Patient.objects.filter(pk__in=ids[start : start + AT_A_TIME]).order_by("pk")
        with transaction.atomic():
            for patient in few.select_for_update(of=("self",)):
                feed.touch_plan(patient, (), now=now)
    return len(ids)
