"""Every background task on one page. Arguments are ids, by keyword; the rows say what is due."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from uuid import UUID

import structlog
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from backend.api.idempotency import forget_old_keys
from backend.care import deciding, reviewing
from backend.celery import app
from backend.clinics.actions import forget_old_tries
from backend.health import checks

HANDLED_MESSAGES_KEPT_S = 3600
CLOSED_A_SWEEP = 2000  # patients; the next sweep takes the rest
EXPIRED_A_SWEEP = 200

_log = structlog.stdlib.get_logger("backend.tasks")


@app.task
def heartbeat() -> None:
    checks.beat(checks.WORKER, now=timezone.now())


@app.task
def close_days() -> None:
    """Judge every date that has closed."""
    now = timezone.now()
    due = deciding.due_to_close(now=now, limit=CLOSED_A_SWEEP)
    _of_each(due, "closing failed", deciding.close, now)


@app.task
def expire_proposals() -> None:
    """Close proposals that nobody answered in time."""
    now = timezone.now()
    due = reviewing.due_to_expire(now=now, limit=EXPIRED_A_SWEEP)
    _of_each(due, "expiring failed", reviewing.expire, now)


def _of_each(
    patients: Iterable[UUID], failure: str, act: Callable[..., object], now: datetime
) -> None:
    """A patient who cannot be judged stands in nobody's way."""
    for patient_id in patients:
        try:
            act(patient_id=patient_id, now=now)
        except Exception as error:
            _log.error(failure, patient_id=str(patient_id), exc_info=error)


@app.task
def keep_house() -> None:
    """Throw away what nobody may use any more."""
    call_command("clearsessions")
    forget_old_tries(now=timezone.now())
    forget_old_keys(now=timezone.now())
    if not settings.REDIS_URL:
        _forget_handled_messages()


def _forget_handled_messages() -> None:
    """The file broker keeps each message that it has handed over, for ever."""
    folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["processed_folder"])
    for message in folder.glob("*.msg"):
        if message.stat().st_mtime < time.time() - HANDLED_MESSAGES_KEPT_S:
            message.unlink(missing_ok=True)


SWEEPS = (heartbeat, close_days, expire_proposals, keep_house)
