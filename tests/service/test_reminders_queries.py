"""What reminders cost: as many queries for a full claim or list as for a short one."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4, uuid5

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.care.models import Flag
from backend.clinics.models import Clinic, Device
from backend.notifications.claiming import claim
from backend.notifications.models import Message, ReminderSettings
from tests.service.cast import OwnPhone, Staff, make_patient, make_reminder

FEW, MANY = 2, 20


def counted() -> CaptureQueriesContext:
    return CaptureQueriesContext(connection)


def make_due(phone: OwnPhone, now: datetime, **more: Any) -> Message:
    """A message that waits and has come up, with what the plan asks for known already."""
    return make_reminder(
        phone, now,
        **{
            "status": "waiting", "why": "", "sent_at": None, "decided_at": None,
            "attempt_due_at": now - timedelta(seconds=1), "day_type": "training",
            "plan_version": phone.patient.plan_version, "slots": [str(uuid4()), str(uuid4())],
        } | more,
    )  # fmt: skip


def reachable(phone: OwnPhone, now: datetime) -> OwnPhone:
    """A patient who wishes to be told everything, on a phone and by e-mail."""
    ReminderSettings.objects.create(
        patient=phone.patient, enabled=True, weekly_summary=True, times=["18:00"], days=["mon"],
        channels=["push", "email"], updated_at=now,
    )  # fmt: skip
    Device.objects.create(
        patient=phone.patient, device_id=uuid4(), platform="ios", push_token=str(uuid4()),
        app_version="1", updated_at=now,
    )  # fmt: skip
    return phone


def flag_of(phone: OwnPhone, now: datetime) -> Flag:
    return Flag.objects.create(
        patient=phone.patient, code="night_pain", level="routine", raised_at=now,
        observed_on=phone.today, source_type="check_in", source_id=uuid4(),
    )  # fmt: skip


REMINDERS = ("exercises", "nudge", "check_in")
TO_PATIENTS = (*REMINDERS, "patient_week", "plan_changed", "missed")


def to_patient(kind: str, **more: Any) -> Callable[..., Message]:
    return lambda phone, now, ana: make_due(phone, now, kind=kind, **more)


def to_staff(kind: str) -> Callable[..., Message]:
    return lambda phone, now, ana: make_due(
        phone, now, kind=kind, person_id=ana.user.pk, slot=str(phone.patient.pk)
    )


def tried_before(phone: OwnPhone, now: datetime, ana: Staff) -> Message:
    row = make_due(phone, now, retries=1)
    row.deliveries.create(key=uuid4(), channel="apns", status="later", at=now)
    return row


def unconfirmed(phone: OwnPhone, now: datetime, ana: Staff) -> Message:
    row = make_due(phone, now, status="sent", why="due", sent_at=now, decided_at=now)
    for device in phone.patient.devices.all():
        key = uuid5(row.pk, str(device.device_id))
        row.deliveries.create(key=key, channel="apns", device=device, status="sent", at=now)
    return row


def flagged(phone: OwnPhone, now: datetime, ana: Staff) -> Message:
    return make_due(
        phone, now, kind="flag", person_id=ana.user.pk, about_id=flag_of(phone, now).pk,
        slot=str(phone.patient.pk),
    )  # fmt: skip


def urgent(phone: OwnPhone, now: datetime, ana: Staff) -> Message:
    return make_due(
        phone, now, kind="flag", person_id=None, about_id=flag_of(phone, now).pk,
        slot=str(phone.patient.pk),
    )  # fmt: skip


def mixed(phone: OwnPhone, now: datetime, ana: Staff) -> Message:
    make_due(phone, now, kind="check_in")
    make_due(phone, now, kind="plan_changed")
    return make_due(phone, now, kind="exercises")


@pytest.mark.parametrize(
    "made",
    [
        *(pytest.param(to_patient(kind), id=kind) for kind in TO_PATIENTS),
        pytest.param(to_patient("exercises", day_type="none"), id="silent"),
        pytest.param(tried_before, id="tried before"),
        pytest.param(unconfirmed, id="not confirmed"),
        pytest.param(to_staff("review"), id="review"),
        pytest.param(to_staff("staff_week"), id="staff_week"),
        pytest.param(to_staff("export"), id="export"),
        pytest.param(flagged, id="flag"),
        pytest.param(urgent, id="urgent contact"),
        pytest.param(mixed, id="several of each patient"),
    ],
)
def test_a_claim_takes_as_many_queries_for_a_few_as_for_many(
    harbour: Clinic, ana: Staff, now: datetime, made: Callable[..., Message]
) -> None:
    Clinic.objects.update(urgent_email="urgent@example.org")
    phones = [
        reachable(make_patient(harbour, f"P{n}", now, ana.user), now) for n in range(FEW + MANY)
    ]
    told, found = [], []
    for some in (phones[:FEW], phones[FEW:]):
        for phone in some:
            made(phone, now, ana)
        with counted() as queries:
            taken = claim(now=now)
        found.append(taken.count)
        told.append([query["sql"][:120] for query in queries])

    assert found[1] == MANY * found[0] // FEW
    assert len(told[0]) == len(told[1]), told


# --- Reading ----------------------------------------------------------------------------------


@pytest.fixture
def cost(ana: Staff, ben: OwnPhone, now: datetime) -> Callable[[Callable[[], Any], int], int]:
    """Queries of a read, with so many messages in the ledger."""

    def cost(read: Callable[[], Any], count: int) -> int:
        Message.objects.all().delete()
        for n in range(count):
            make = make_due if n % 2 else make_reminder
            make(ben, now, on=ben.today + timedelta(days=n), slot="18:00")
        with counted() as queries:
            assert read() is not None
        return len(queries)

    return cost


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        pytest.param("me/reminder-settings", lambda told: told["next_at"], id="settings"),
        pytest.param("me/reminders?limit=100", lambda told: told["items"], id="a patient's list"),
        pytest.param("patients/{patient}/reminders?limit=100", lambda told: told["items"],
                     id="of staff"),
    ],
)  # fmt: skip
def test_a_read_takes_as_many_queries_for_a_short_as_for_a_long_ledger(
    ana: Staff, ben: OwnPhone, cost: Any, path: str, shown: Callable[[Any], Any]
) -> None:
    who = ben if path.startswith("me/") else ana
    at = path.format(patient=ben.patient.pk)

    assert cost(lambda: shown(who.get(at)), FEW) == cost(lambda: shown(who.get(at)), 5 * MANY)
    if "limit" in path:
        assert len(who.get(at)["items"]) == 5 * MANY


def test_a_page_further_on_takes_one_more(ana: Staff, ben: OwnPhone, cost: Any) -> None:
    first = cost(lambda: ben.get("me/reminders?limit=10"), MANY)
    cursor = ben.get("me/reminders?limit=10")["next_cursor"]
    with counted() as queries:
        assert len(ben.get(f"me/reminders?limit=10&cursor={cursor}")["items"]) == 10
    assert len(queries) == first + 1  # where the page before ended
