"""Reminders: set by the patient, shown once at the right time, silent where nothing is to do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import time_machine

from backend.clinics import actions as people
from backend.clinics.models import Device
from backend.notifications import planning, texts
from backend.notifications.delivering import deliver
from backend.notifications.gateways.base import Gone, Later, Refused, Sent
from backend.notifications.models import Delivery, Message, ReminderSettings

STOCKHOLM = ZoneInfo("Europe/Stockholm")
pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    """A Wednesday morning in Stockholm, so that no test runs into midnight."""
    with time_machine.travel(datetime(2026, 11, 18, 9, 30, tzinfo=STOCKHOLM), tick=True):
        yield


class Provider:
    """A gateway that keeps what it was given, and answers as it is told."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Any]] = []
        self.answers: list[Any] = []

    def send(self, address, notice, *, now):
        self.taken.append((address.value, notice))
        answer = self.answers.pop(0) if self.answers else Sent("taken")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None: ...

    @property
    def count(self) -> int:
        return len(self.taken)


@pytest.fixture
def provider() -> Provider:
    return Provider()


@pytest.fixture
def ways(provider):
    kinds = ("fcm_token", "fcm_installation", "apns", "web_push", "email")
    return dict.fromkeys(kinds, provider)


@pytest.fixture
def tick(ways):
    """Everything that has come up by then is looked at."""

    def ticked(at: datetime) -> int:
        return deliver(ways, now=lambda: at, senders=1)

    return ticked


@pytest.fixture
def phone(ben, now) -> Device:
    return people.put_device(
        patient=ben.patient, device_id=uuid4(), platform="android", push_token="a-token",
        app_version="1.0.0", now=now,
    )  # fmt: skip


def at(ben, hour: int, minute: int = 0, *, days: int = 0) -> datetime:
    """A time on the wall clock of the patient's today."""
    wall = datetime.combine(ben.today, datetime.min.time(), STOCKHOLM)
    return (wall + timedelta(days=days)).replace(hour=hour, minute=minute)


@pytest.fixture
def set_for(ben):
    """Ben wishes to be reminded so many minutes from now, by push and whatever is said."""

    def wishes(minutes: int = 30, **more: Any) -> datetime:
        due = datetime.now(STOCKHOLM) + timedelta(minutes=minutes)
        due = due.replace(second=0, microsecond=0)
        ben.patch(
            "me/reminder-settings",
            {"enabled": True, "times": [f"{due:%H:%M}"], "channels": ["push"]}
            | {"quiet_from": None, "quiet_to": None} | more,
        )  # fmt: skip
        return due

    return wishes


def ledger(**which: Any) -> list[tuple[str, str, str]]:
    rows = Message.objects.filter(kind__in=["exercises", "nudge", "check_in"], **which)
    return list(rows.order_by("due_at", "kind").values_list("kind", "status", "why"))


def test_without_wishes_nothing_is_sent(ben, plan_of_ben):
    shown = ben.get("me/reminder-settings")

    assert (shown["enabled"], shown["times"], shown["version"]) == (False, ["18:00"], 0)
    assert not ReminderSettings.objects.exists()


def test_a_reminder_is_sent_once_at_its_time(ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for()

    tick(due - timedelta(minutes=1))
    assert provider.count == 0

    for seconds in (0, 1, 59, 120):
        tick(due + timedelta(seconds=seconds))

    [(address, notice)] = provider.taken
    row = Message.objects.get(on=due.date(), kind="exercises")
    assert address == "a-token"
    assert notice.key == str(row.pk)
    assert (row.status, row.why) == ("sent", "due")


def test_the_text_says_that_and_never_what(ben, plan_of_ben, phone, provider, tick, set_for):
    tick(set_for())

    [(_, notice)] = provider.taken
    said = f"{notice.title} {notice.body}"
    assert said == "A reminder Your plan for today is waiting."


@pytest.mark.parametrize(("locale", "title"), [("de-AT", "Eine Erinnerung"), ("fi", "A reminder")])
def test_it_speaks_the_language_of_the_patient(
    ben, plan_of_ben, phone, provider, tick, set_for, locale, title
):
    ben.patch("me", {"locale": locale})

    tick(set_for())

    assert [notice.title for _, notice in provider.taken] == [title]


def test_what_is_done_is_not_reminded_of(ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for()
    plan = ben.plan(days=1)
    for slot in plan["days"][0]["slots"]:
        ben.logs(slot, plan_of_ben)

    tick(due)

    assert provider.count == 0
    assert ledger(on=due.date()) == [("exercises", "silent", "done")]


def test_what_is_done_in_part_is(ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for()
    slots = ben.plan(days=1)["days"][0]["slots"]
    assert len([slot for slot in slots if slot["counts"]]) > 1
    ben.logs(slots[0], plan_of_ben)

    tick(due)

    assert ledger(on=due.date()) == [("exercises", "sent", "partly_done")]


def test_a_pause_of_the_plan_is_kept(ana, ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for()
    ana.post(
        f"assignments/{plan_of_ben['id']}/pause",
        {"from": ben.today.isoformat(), "reason": "Travels"},
        If_Match="*",
    )

    tick(due)

    assert ledger(on=due.date()) == [("exercises", "silent", "paused")]


def test_a_stop_silences_in_the_transaction_that_stores_it(
    ben, plan_of_ben, phone, provider, tick, set_for
):
    due = set_for(check_in_at=None)
    ben.checks_in(stop_signs=["ces_saddle_numbness"])

    tick(due)

    assert ledger(on=due.date()) == [("exercises", "silent", "stopped")]
    assert "exercises" not in {notice.title for _, notice in provider.taken}


def test_the_patients_own_pause_is_kept(ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for(paused_until=ben.today.isoformat())

    tick(due)

    assert provider.count == 0
    assert ledger(on=due.date()) == [("exercises", "silent", "paused")]


def test_without_a_plan_there_is_nothing_to_remind_of(ben, phone, provider, tick, set_for):
    due = set_for()

    tick(due)

    assert ledger(on=due.date()) == [("exercises", "silent", "resting")]


def test_too_late_is_not_at_all(ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for()
    row = Message.objects.get(on=due.date(), kind="exercises")

    tick(row.valid_until + timedelta(seconds=1))

    assert provider.count == 0
    assert ledger(on=due.date()) == [("exercises", "silent", "expired")]


@pytest.mark.parametrize(
    ("channels", "why"), [(["local"], "local"), (["email"], ""), ([], "no_channel")]
)
def test_the_channels_are_the_patients_choice(
    ben, plan_of_ben, phone, provider, tick, set_for, channels, why
):
    due = set_for(channels=channels)

    tick(due)

    row = Message.objects.get(on=due.date(), kind="exercises")
    assert row.why == (why or "due")
    assert [address for address, _ in provider.taken] == ([] if why else ["ben@example.org"])


def test_a_nudge_comes_only_where_nothing_was_logged(
    ben, plan_of_ben, phone, provider, tick, set_for
):
    due = set_for(nudge_after_min=60)
    tick(due)
    slots = ben.plan(days=1)["days"][0]["slots"]
    ben.logs(slots[0], plan_of_ben)

    tick(due + timedelta(minutes=60))

    assert ledger(on=due.date()) == [("exercises", "sent", "due"), ("nudge", "silent", "done")]


def test_a_check_in_that_was_given_is_not_asked_for(
    ben, plan_of_ben, phone, provider, tick, set_for
):
    due = datetime.now(STOCKHOLM).replace(second=0, microsecond=0) + timedelta(minutes=20)
    set_for(enabled=True, times=[], check_in_at=f"{due:%H:%M}")
    ben.checks_in()

    tick(due)

    assert ledger(on=due.date()) == [("check_in", "silent", "done")]


# --- Providers --------------------------------------------------------------------------------


def test_a_busy_provider_is_asked_again_under_the_same_key(
    ben, plan_of_ben, phone, provider, tick, set_for
):
    due = set_for()
    provider.answers = [Later(timedelta(seconds=90), "busy"), Later(None, "timeout")]

    for minute in range(12):
        tick(due + timedelta(minutes=minute))

    assert provider.count == 3
    assert len({notice.key for _, notice in provider.taken}) == 1
    row = Message.objects.get(on=due.date(), kind="exercises")
    assert (row.status, row.retries, row.failure) == ("sent", 2, "timeout")


def test_a_dead_address_is_forgotten_by_the_providers_word(
    ben, plan_of_ben, phone, provider, tick, set_for, now
):
    people.put_device(
        patient=ben.patient, device_id=uuid4(), platform="ios", push_token="another",
        app_version="1.0.0", now=now,
    )  # fmt: skip
    due = set_for()
    provider.answers = [Gone(), Sent("x")]

    tick(due)

    tokens = [one.push_token for one in Device.objects.order_by("device_id")]
    assert tokens == ["", provider.taken[1][0]]
    assert ledger(on=due.date()) == [("exercises", "sent", "due")]


def test_what_a_provider_never_takes_is_given_up(ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for()
    provider.answers = [Refused("too_large")]

    tick(due)
    tick(due + timedelta(minutes=5))

    assert provider.count == 1
    assert ledger(on=due.date()) == [("exercises", "silent", "refused")]


def test_a_bad_row_is_quarantined_after_five_tries_and_harms_no_other(
    ben, bea, plan_of_ben, phone, provider, tick, set_for, monkeypatch
):
    due = set_for()
    bad = Message.objects.get(on=due.date(), kind="exercises")
    real = texts.notice_of

    def poisoned(message, *, locale):
        if message.pk == bad.pk:
            raise RuntimeError("poison")
        return real(message, locale=locale)

    monkeypatch.setattr(texts, "notice_of", poisoned)
    for minute in range(0, 20, 2):
        tick(due + timedelta(minutes=minute))

    bad.refresh_from_db()
    assert (bad.status, bad.why, bad.unanswered) == ("silent", "quarantined", 5)


def test_what_is_not_confirmed_is_sent_once_more(ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for()

    for minute in range(0, 110, 5):
        tick(due + timedelta(minutes=minute))

    assert provider.count == 2
    assert len({notice.key for _, notice in provider.taken}) == 1


def test_what_is_confirmed_is_not(ben, plan_of_ben, phone, provider, tick, set_for):
    due = set_for()
    tick(due)
    key = provider.taken[0][1].key

    assert ben.post("me/reminder-receipts", {"ids": [key, str(uuid4())]}) == {"confirmed": 1}
    for minute in range(0, 110, 5):
        tick(due + timedelta(minutes=minute))

    assert provider.count == 1
    assert ben.post("me/reminder-receipts", {"ids": [key]}) == {"confirmed": 0}


def test_a_snoozed_reminder_comes_once_more_in_the_place_of_the_first(
    ben, plan_of_ben, phone, provider, tick, set_for
):
    due = set_for(minutes=1)
    tick(due)
    [row] = ben.get("me/reminders?status=sent")["items"]

    again = ben.post(f"me/reminders/{row['id']}/snooze", {"minutes": 10})
    tick(due + timedelta(minutes=20))

    assert (again["status"], again["why"]) == ("waiting", "snoozed")
    assert [notice.key for _, notice in provider.taken] == [row["id"]] * 2


def test_the_others_see_nothing_of_it(ben, bea, plan_of_ben, phone, provider, tick, set_for):
    tick(set_for())

    [row] = ben.get("me/reminders?status=sent")["items"]
    assert bea.get("me/reminders")["items"] == []
    bea.post(f"me/reminders/{row['id']}/snooze", {"minutes": 10}, 404)
    assert bea.post("me/reminder-receipts", {"ids": [row["id"]]}) == {"confirmed": 0}


def test_staff_can_read_why(ana, olga, ben, plan_of_ben, phone, provider, tick, set_for):
    tick(set_for())

    [row] = ana.get(f"patients/{ben.patient.pk}/reminders?status=sent")["items"]
    assert row["why"] == "due"
    olga.get(f"patients/{ben.patient.pk}/reminders", 404)


# --- Planning ---------------------------------------------------------------------------------


def test_each_intended_day_has_one_row_however_often_it_is_planned(ben, plan_of_ben, set_for, now):
    set_for()
    before = set(Message.objects.values_list("pk", flat=True))

    for hours in (0, 1, 2):
        planning.plan(patient_id=ben.patient.pk, now=now + timedelta(hours=hours))
    planning.plan(patient_id=ben.patient.pk, now=now, is_anew=True)

    assert before <= set(Message.objects.values_list("pk", flat=True))
    rows = Message.objects.values_list("kind", "on", "slot")
    assert len(set(rows)) == len(rows)


def test_a_traveller_is_reminded_at_the_time_of_the_place(ben, plan_of_ben, phone, tick, provider):
    ben.patch(
        "me/reminder-settings",
        {"enabled": True, "times": ["18:00"], "channels": ["push"]},
    )
    ben.patch("me", {"timezone": "America/New_York"})

    rows = Message.objects.filter(kind="exercises", status="waiting").order_by("on")
    walls = {row.due_at.astimezone(ZoneInfo("America/New_York")).strftime("%H:%M") for row in rows}
    assert walls == {"18:00"}


def test_after_an_outage_what_is_late_is_accounted_for(
    ben, plan_of_ben, phone, provider, tick, set_for
):
    due = set_for()
    later = due + timedelta(days=5, hours=6)

    planning.plan(patient_id=ben.patient.pk, now=later)
    tick(later)

    told = Message.objects.filter(kind="exercises", due_at__lte=later)
    assert {row.on for row in told} == {due.date() + timedelta(days=n) for n in range(6)}
    assert {row.why for row in told} == {"expired"}
    assert provider.count == 0


# --- What can be set --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "pointer", "code"),
    [
        ({"times": ["6 pm"]}, "#/times/0", "invalid-value"),
        ({"times": ["24:00"]}, "#/times/0", "invalid-value"),
        ({"times": ["18:00", "18:00"]}, "#/times", "duplicate"),
        ({"times": ["08:00"] * 7}, "#/times", "too-many"),
        ({"days": ["someday"]}, "#/days/0", "invalid-value"),
        ({"enabled": True, "days": []}, "#/days", "required"),
        ({"quiet_from": "21:00"}, "#/quiet_to", "required"),
        (
            {"enabled": True, "times": ["22:00"], "quiet_from": "21:00", "quiet_to": "07:00"},
            "#/times/0",
            "invalid-value",
        ),
        ({"nudge_after_min": 5}, "#/nudge_after_min", "out-of-range"),
        ({"channels": ["pigeon"]}, "#/channels/0", "invalid-value"),
        ({"colour": "red"}, "#/colour", "unknown-field"),
    ],
)
def test_a_wrong_wish_is_refused_and_says_where(ben, said, pointer, code):
    problem = ben.patch("me/reminder-settings", said, 422)

    assert [(one["pointer"], one["code"]) for one in problem["errors"]] == [(pointer, code)]
    assert not ReminderSettings.objects.exists()


def test_a_stale_change_is_refused(ben):
    answer = ben.call("GET", "me/reminder-settings")
    tag = answer.headers["ETag"]
    ben.patch("me/reminder-settings", {"weekly_summary": True}, If_Match="*")

    ben.patch("me/reminder-settings", {"weekly_summary": False}, 412, If_Match=tag)


def test_delivery_rows_name_no_address(ben, plan_of_ben, phone, provider, tick, set_for):
    tick(set_for())

    [row] = Delivery.objects.values()
    assert "a-token" not in str(row)
