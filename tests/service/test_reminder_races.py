"""Logging, pausing and sending at the same moment: no send starts after the other was committed.

A smaller number runs by default; REMINDER_RACES=1000 is the whole promise (R9).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from threading import Barrier
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone

from backend.clinics import actions as people
from backend.notifications.claiming import Claim, claim
from backend.notifications.delivering import deliver
from backend.notifications.gateways.base import Kind, Sent
from backend.notifications.models import Message
from tests.service.cast import OwnPhone

RACES = int(os.environ.get("REMINDER_RACES", "20"))
KINDS: tuple[Kind, ...] = ("fcm_token", "fcm_installation", "apns", "web_push", "email")
IN_FLIGHT_S = 1  # between the commit of a claim and the first byte of its send, on a busy machine

pytestmark = pytest.mark.django_db(transaction=True)


class Stopwatch:
    """A gateway that remembers when a send of each message began, and on which state of the
    patient's record it was decided: its `change_seq`, which every commit about it moves."""

    def __init__(self) -> None:
        self.began: dict[str, float] = {}
        self.decided_on: dict[str, int] = {}

    def claim(self, *, now: datetime) -> Claim:
        found = claim(now=now)
        for one in found.outgoing:
            self.decided_on[str(one.message.pk)] = one.change_seq
        return found

    def send(self, address, notice, *, now):
        self.began[notice.key] = time.monotonic()
        return Sent("x")

    def close(self) -> None: ...


def together(*jobs: Callable[[], Any]) -> list[Any]:
    """At the same moment, each on a connection of its own."""
    barrier = Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        try:
            barrier.wait()
            return job()
        finally:
            connection.close()

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


@pytest.fixture
def phone(ben, now):
    return people.put_device(
        patient=ben.patient, device_id=uuid4(), platform="android", push_token="a-token",
        app_version="1.0.0", now=now,
    )  # fmt: skip


def due(ben: OwnPhone, now: datetime) -> Message:
    """A reminder that comes up this moment."""
    return Message.objects.create(
        id=uuid4(), clinic=ben.patient.clinic, patient=ben.patient, person=ben.patient.user,
        kind="exercises", on=ben.today, slot=uuid4().hex, due_at=now - timedelta(seconds=1),
        valid_until=now + timedelta(hours=2), attempt_due_at=now - timedelta(seconds=1),
    )  # fmt: skip


def race(
    ben: OwnPhone, act: Callable[[], Any], wait_s: float
) -> tuple[Message, float | None, float]:
    """The message afterwards; when its send began, if it did; and when the act was answered."""
    row, gateway = due(ben, timezone.now()), Stopwatch()
    ben.patient.refresh_from_db()
    before = ben.patient.change_seq

    def sent() -> None:
        time.sleep(max(wait_s, 0))
        deliver(dict.fromkeys(KINDS, gateway), now=timezone.now, senders=1)

    def acted() -> float:
        time.sleep(max(-wait_s, 0))
        act()
        return time.monotonic()

    with patch("backend.notifications.delivering.claim", gateway.claim):
        _, answered = together(sent, acted)
        deliver(dict.fromkeys(KINDS, gateway), now=timezone.now, senders=1)  # if nobody had it yet
    row.refresh_from_db()
    assert gateway.decided_on.get(str(row.pk), before) == before
    return row, gateway.began.get(str(row.pk)), answered


@pytest.mark.parametrize("what", ["log", "pause"])
def test_no_send_starts_after_the_commit(library, ana, ben, phone, plan_of_ben, what):
    ben.patch("me/reminder-settings", {"enabled": True, "times": [], "channels": ["push"]})
    slots = [slot for slot in ben.plan(days=1)["days"][0]["slots"] if slot["counts"]]
    for slot in slots[1:]:
        ben.logs(slot, plan_of_ben)
    won = {"sent": 0, "silent": 0}
    takes_s = 0.06  # about; sending starts well before, at every moment of it, and after
    for number in range(RACES):
        session = uuid4()
        today = ben.today.isoformat()

        def logged(session: Any = session) -> None:
            ben.logs(slots[0], plan_of_ben, session)

        def paused(today: str = today) -> None:
            ben.patch("me/reminder-settings", {"paused_until": today})

        act = logged if what == "log" else paused
        row, began, answered = race(ben, act, takes_s * (number % 10 - 4) / 4)

        assert row.status in won
        won[row.status] += 1
        if row.status == "silent":
            assert began is None
            assert row.why == ("done" if what == "log" else "paused")
        else:
            assert began is not None
            assert began <= answered + IN_FLIGHT_S
        if what == "log":
            ben.delete(f"me/sessions/{session}?revision=2")
        else:
            ben.patch("me/reminder-settings", {"paused_until": None})
    assert min(won.values()) > 0, f"one side won all of {RACES} races"
