"""Every background task on one page. Each is a sweep: the rows say what is due, and whoever wakes
it, however often and on however many workers, changes nothing but when it is done."""

import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from functools import cache, wraps
from pathlib import Path
from uuid import UUID

import structlog
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from backend import tenant
from backend.api.idempotency import forget_old_keys
from backend.audit import chain
from backend.care import deciding, reviewing
from backend.celery import app
from backend.clinics.actions import forget_old_tries
from backend.clinics.selectors import clinics_of
from backend.health import checks
from backend.notifications import announcing, planning
from backend.notifications.actions import forget_old_messages
from backend.notifications.delivering import deliver
from backend.notifications.gateways import gateways_of_settings
from backend.reports import exports
from backend.rights import erasing, retention

HANDLED_MESSAGES_KEPT_S = 3600
MESSAGES_KEPT = timedelta(days=400)
A_SWEEP = 2000  # patients, facts; the next sweep takes the rest
EXPIRED_A_SWEEP = 200
ERASED_A_SWEEP = 100
WORKING_FOR_S = 45  # less than a task may take
BEGINNING_FOR_S = 15  # what takes long
SEALED_A_SWEEP = 20_000  # audit events

_log = structlog.stdlib.get_logger("backend.tasks")


def sweep(work: Callable[[], None]) -> Callable[[], None]:
    """A task that leaves a sign of life of its own when it is through."""

    @wraps(work)
    def swept() -> None:
        with tenant.everywhere():  # what is due, is so in any clinic
            work()
        checks.beat(work.__name__, now=timezone.now())

    task: Callable[[], None] = app.task(swept)
    return task


@app.task
def heartbeat() -> None:
    checks.beat(checks.WORKER, now=timezone.now())


@sweep
def close_days() -> None:
    """Judge every date that has closed."""
    now = timezone.now()
    _of_each(deciding.due_to_close(now=now, limit=A_SWEEP), "closing failed", deciding.close, now)


@sweep
def expire_proposals() -> None:
    """Close proposals that nobody answered in time."""
    now = timezone.now()
    due = reviewing.due_to_expire(now=now, limit=EXPIRED_A_SWEEP)
    _of_each(due, "expiring failed", reviewing.expire, now)


def _of_each(
    patients: Iterable[UUID], failure: str, act: Callable[..., object], now: datetime
) -> None:
    """A patient who cannot be judged stands in nobody's way. Each is acted for in their clinic."""
    patients = list(patients)
    clinics = clinics_of(patients) if patients else {}
    for patient_id in patients:
        try:
            with tenant.of_clinic(clinics[patient_id], patient_id=patient_id):
                act(patient_id=patient_id, now=now)
        except Exception as error:
            _log.error(failure, patient_id=str(patient_id), exc_info=error)


@sweep
def announce() -> None:
    """Make messages of what nobody was told yet, and of flags that nobody has acknowledged."""
    announcing.announce(now=timezone.now(), limit=A_SWEEP)


@sweep
def plan_reminders() -> None:
    """Make the ledger's rows of the next two days."""
    now = timezone.now()
    _of_each(planning.due_to_plan(now=now, limit=A_SWEEP), "planning failed", planning.plan, now)


@sweep
def deliver_messages() -> None:
    """Send what has come up, or note why not."""
    deliver(_gateways(), now=timezone.now, until_s=WORKING_FOR_S)


@sweep
def write_exports() -> None:
    """Go on with the files that clinics wait for, part by part, each a little in turn. What is made
    in one go is begun early, so that it ends in time."""
    begun = time.monotonic()
    while (passed := time.monotonic() - begun) < WORKING_FOR_S:
        is_early = passed < BEGINNING_FOR_S
        due = exports.due(now=timezone.now(), limit=A_SWEEP, is_early=is_early)
        if not sum(map(_part_of, due)):
            break


def _part_of(export_id: UUID) -> bool:
    try:
        with tenant.of_clinic(exports.clinic_of(export_id)):
            return exports.write(export_id=export_id, now=timezone.now())
    except Exception as error:  # it comes up again when its lease is over
        _log.error("writing failed", export_id=str(export_id), exc_info=error)
        return False


@sweep
def erase_patients() -> None:
    """Decide of whom a clinic need not keep any longer, and erase of whom it was decided."""
    now = timezone.now()
    retention.decide(now=now, limit=ERASED_A_SWEEP)
    due = erasing.due(now=now, limit=ERASED_A_SWEEP)
    for erasure_id in due:
        try:
            erasing.erase(erasure_id=erasure_id, now=now)
        except Exception as error:  # it comes up again when its lease is over
            _log.error("erasing failed", erasure_id=str(erasure_id), exc_info=error)
    if due:
        erasing.settle()


_gateways = cache(gateways_of_settings)  # connections last as long as the process


@sweep
def seal_audit() -> None:
    """Chain the audit events that were written since."""
    chain.seal(now=timezone.now(), limit=SEALED_A_SWEEP)


@sweep
def keep_house() -> None:
    """Throw away what nobody may use any more, and look whether the clocks of the world changed."""
    now = timezone.now()
    call_command("clearsessions")
    forget_old_tries(now=now)
    forget_old_keys(now=now)
    forget_old_messages(now=now, kept=MESSAGES_KEPT)
    planning.notice_new_zones(now=now, limit=A_SWEEP)
    exports.throw_away(now=now)
    erasing.settle()
    if not settings.REDIS_URL:
        _forget_handled_messages()


def _forget_handled_messages() -> None:
    """The file broker keeps each message that it has handed over, for ever."""
    folder = Path(settings.CELERY_BROKER_TRANSPORT_OPTIONS["processed_folder"])
    for message in folder.glob("*.msg"):
        if message.stat().st_mtime < time.time() - HANDLED_MESSAGES_KEPT_S:
            message.unlink(missing_ok=True)


# In the order in which one leads to another: what is judged is announced, then sent.
SWEEPS = (
    heartbeat, close_days, expire_proposals, announce, plan_reminders, deliver_messages,
    write_exports, erase_patients, seal_audit, keep_house,
)  # fmt: skip
