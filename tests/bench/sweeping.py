"""The sweep that sends, against F4: the bare claim of the same rows on the same database.

As a process it is a further worker: it sweeps for so many seconds, and says how fast it was.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import F

from tests.bench.machine import ROOT
from tests.campaigns.due import fill

if __name__ == "__main__":  # a further worker
    import logging

    import django

    django.setup()
    logging.disable()

from backend.notifications.claiming import A_CLAIM
from backend.notifications.delivering import deliver
from backend.notifications.gateways.base import Address, Gateway, Kind, Notice, Result, Sent
from backend.notifications.gateways.log import Log
from backend.notifications.models import Message

TABLE = "notifications_message"
FIRST = f"SELECT id FROM {TABLE} WHERE attempt_due_at <= %s ORDER BY attempt_due_at LIMIT %s"


class Null(Log):
    """Takes everything, and does nothing with it."""

    def send(self, address: Address, notice: Notice, *, now: datetime) -> Result:
        return Sent("null")


GATEWAYS: dict[Kind, Gateway] = {"fcm_token": Null(), "email": Null()}


def fill_due(count: int, people: int) -> None:
    fill(count, over=timedelta(), now=_now(), people=people, since=timedelta(minutes=1))


def f4(seconds: float) -> float:
    """Rows a second that are claimed and nothing else, batch by batch."""
    lock = " FOR UPDATE SKIP LOCKED" if connection.vendor == "postgresql" else ""
    claim = f"UPDATE {TABLE} SET attempt_due_at = %s WHERE id IN ({FIRST}{lock}) RETURNING id"

    def one() -> int:
        now = _now()
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(claim, [_bound(now + timedelta(days=1)), _bound(now), A_CLAIM])
            return len(cursor.fetchall())

    return _rate(one, seconds)


def sweep(seconds: float) -> float:
    """Messages a second: claimed, decided, sent to nobody, written down."""
    began = time.monotonic()
    count = deliver(GATEWAYS, now=_now, until_s=seconds)
    return count / (time.monotonic() - began)


def come_up_again() -> None:
    """All that was claimed and sent is due once more."""
    Message.objects.filter(attempt_due_at=None).update(
        status="waiting", why="", sent_at=None, decided_at=None, attempt_due_at=F("due_at")
    )
    Message.objects.exclude(attempt_due_at=F("due_at")).update(attempt_due_at=F("due_at"))


def sweep_of_two(env: Mapping[str, str], seconds: float) -> float:
    """Messages a second of two workers at once, as processes."""
    command = [sys.executable, "-m", "tests.bench.sweeping", str(seconds)]
    workers = [
        subprocess.Popen(command, env=dict(env), cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    return sum(float(worker.communicate()[0]) for worker in workers)


def _rate(job: Callable[[], int], seconds: float) -> float:
    began, count = time.monotonic(), 0
    while time.monotonic() - began < seconds:
        done = job()
        count += done
        if not done:
            break
    return count / (time.monotonic() - began)


def _bound(at: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(at)


def _now() -> datetime:
    return datetime.now(UTC)


if __name__ == "__main__":
    print(sweep(float(sys.argv[1])))
