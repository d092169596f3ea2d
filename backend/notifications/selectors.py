"""Questions about what was told: whether sending keeps up."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min

from backend.clinics.models import Device
from backend.notifications.models import Delivery, Message

LATELY = timedelta(hours=24)
LAST_HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Progress:
    """How sending stands: what waits, since when, and what became of the messages of a day."""

    due: int
    oldest_due_s: float
    outcomes: Iterable[tuple[str, str, str, int]]  # kind, status, why, how many
    retried: int
    quarantined: int
    devices: int


def progress(*, now: datetime) -> Progress:
    due = Message.objects.filter(attempt_due_at__lte=now)
    stands = due.aggregate(count=Count("pk"), oldest=Min("attempt_due_at"))
    lately = Message.objects.filter(decided_at__gt=now - LATELY)
    return Progress(
        due=stands["count"],
        oldest_due_s=(now - stands["oldest"]).total_seconds() if stands["oldest"] else 0.0,
        outcomes=list(
            lately.values_list("kind", "status", "why").annotate(Count("pk")).order_by("kind")
        ),
        retried=Delivery.objects.filter(
            status=Delivery.Status.LATER, at__gt=now - LAST_HOUR
        ).count(),
        quarantined=lately.filter(why=Message.Why.QUARANTINED).count(),
        devices=Device.objects.exclude(push_token="").count(),
    )
