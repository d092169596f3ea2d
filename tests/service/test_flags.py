"""Flags: who reads them in which order, how soon somebody has to look, and what ends them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.utils import timezone

from backend.audit.models import AuditEvent
from backend.care import flags
from backend.care.models import Assignment, Event, Flag
from backend.clinics.models import Clinic, Patient
from tests.service.cast import OwnPhone, Staff, make_patient

STOCKHOLM = ZoneInfo("Europe/Stockholm")
TUESDAY = datetime(2026, 3, 10, 9, 30, tzinfo=STOCKHOLM)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(TUESDAY, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def raised(phone: OwnPhone, code: str) -> Flag:
    phone.checks_in(stop_signs=[code])
    return Flag.objects.get(patient=phone.patient, code=code, status="open")


def listed(by: Staff, query: str = "") -> list[Any]:
    found: list[Any] = by.get(f"flags?{query}")["items"]
    return found


def codes(by: Staff, query: str = "") -> list[str]:
    return [flag["code"] for flag in listed(by, query)]


def act(by: Staff, flag: Flag, word: str, expect: int = 200, **said: Any) -> Any:
    return by.post(f"flags/{flag.pk}/{word}", said, expect)


# --- How soon ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("level", "at", "by"),
    [
        ("emergency", "2026-03-10T09:30", "2026-03-10T09:45"),
        ("emergency", "2026-03-14T23:50", "2026-03-15T00:05"),  # at night, on a Saturday
        ("urgent", "2026-03-10T09:30", "2026-03-10T13:30"),
        ("urgent", "2026-03-13T22:00", "2026-03-14T02:00"),
        ("routine", "2026-03-10T09:30", "2026-03-13T09:30"),  # Tuesday, Friday
        ("routine", "2026-03-11T09:30", "2026-03-16T09:30"),  # Wednesday, Monday
        ("routine", "2026-03-12T09:30", "2026-03-17T09:30"),
        ("routine", "2026-03-13T09:30", "2026-03-18T09:30"),  # Friday, Wednesday
        ("routine", "2026-03-14T09:30", "2026-03-18T09:30"),  # Saturday
        ("routine", "2026-03-15T09:30", "2026-03-18T09:30"),  # Sunday
        ("routine", "2026-03-13T23:30", "2026-03-18T23:30"),  # Saturday in Tokyo is Friday here
    ],
)
def test_until_when_somebody_has_to_look(level: str, at: str, by: str) -> None:
    patient = Patient(timezone="Europe/Stockholm")
    moment = datetime.fromisoformat(at).replace(tzinfo=STOCKHOLM)
    until = flags.respond_by(Flag.Level(level), patient, moment)

    assert until == datetime.fromisoformat(by).replace(tzinfo=STOCKHOLM)


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize(
    ("code", "minutes"),
    [("ces_bladder", 15), ("fever_with_pain", 4 * 60), ("night_pain", 3 * 24 * 60)],
)
def test_a_flag_is_overdue_when_nobody_has_looked(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, code: str, minutes: int
) -> None:
    flag = raised(ben, code)
    clock.shift(timedelta(minutes=minutes) - timedelta(seconds=1))
    assert [one["is_overdue"] for one in listed(ana)] == [False]
    clock.shift(1)
    [told] = listed(ana)
    assert told["is_overdue"]
    assert told["respond_by"] == timezone.now().isoformat().replace("+00:00", "Z")
    assert act(ana, flag, "acknowledge")["is_overdue"] is False


# --- The list ---------------------------------------------------------------------------------


def test_the_gravest_first_then_the_oldest(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, bea: OwnPhone
) -> None:
    for phone, code in (
        (ben, "night_pain"), (bea, "fever_with_pain"), (ben, "fever_with_pain"),
        (bea, "night_pain"), (ben, "ces_bowel"), (bea, "ces_bladder"),
    ):  # fmt: skip
        raised(phone, code)
        clock.shift(60)
    wanted = ["ces_bowel", "ces_bladder", "fever_with_pain", "fever_with_pain", "night_pain",
              "night_pain"]  # fmt: skip
    found = listed(ana)
    assert [flag["code"] for flag in found] == wanted
    assert all(
        a["raised_at"] < b["raised_at"] for a, b in pairwise(found) if a["level"] == b["level"]
    )

    paged, cursor = [], ""
    while True:
        page = ana.get(f"flags?limit=1{cursor}")
        paged += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert paged == found


def test_filters(ana: Staff, ben: OwnPhone, bea: OwnPhone) -> None:
    fever, night = raised(ben, "fever_with_pain"), raised(bea, "night_pain")
    act(ana, fever, "acknowledge")
    act(ana, night, "resolve", action="advised")
    raised(bea, "ces_bladder")

    assert codes(ana) == ["ces_bladder", "fever_with_pain"]
    assert codes(ana, "status=open") == ["ces_bladder"]
    assert codes(ana, "status=acknowledged") == ["fever_with_pain"]
    assert codes(ana, "status=resolved") == ["night_pain"]
    assert codes(ana, "status=auto_resolved") == []
    assert codes(ana, "level=urgent") == ["fever_with_pain"]
    assert codes(ana, f"patient_id={bea.patient.pk}") == ["ces_bladder"]
    assert codes(ana, f"patient_id={bea.patient.pk}&status=resolved") == ["night_pain"]
    assert codes(ana, f"patient_id={uuid4()}") == []
    for wrong in ("status=closed", "level=high", "patient_id=ben"):
        assert ana.get(f"flags?{wrong}", 400)["code"] == "malformed-request"


def test_nobody_sees_another_clinics(
    ana: Staff, olga: Staff, ben: OwnPhone, elsewhere: Clinic, now: datetime
) -> None:
    otto = make_patient(elsewhere, "Otto", now, olga.user)
    own, foreign = raised(ben, "night_pain"), raised(otto, "fever_with_pain")

    assert codes(ana) == ["night_pain"]
    assert codes(olga) == ["fever_with_pain"]
    assert codes(ana, f"patient_id={otto.patient.pk}") == []
    for word in ("acknowledge", "resolve"):
        assert act(ana, foreign, word, 404, action="advised")["code"] == "not-found"
        assert act(olga, own, word, 404, action="advised")["code"] == "not-found"
    assert set(Flag.objects.values_list("status", flat=True)) == {"open"}


@pytest.mark.parametrize("size", [1, 12])
def test_queries_do_not_grow(
    size: int, ana: Staff, ben: OwnPhone, django_assert_num_queries: Any
) -> None:
    signs = [
        "night_pain",
        "distress",
        "recurrent",
        "ces_bladder",
        "ces_bowel",
        "ces_sexual",
        "cord_signs",
        "fever_with_pain",
        "major_trauma",
        "wound_problem",
        "interferes_daily",
        "constant_progressive",
    ]
    for code in signs[:size]:
        raised(ben, code)
    with django_assert_num_queries(4):  # session, person, flags, audit
        assert len(listed(ana)) == size
    event = AuditEvent.objects.get(action="flag_list")
    assert event.listed == [str(ben.patient.pk)]


# --- What is done about one -------------------------------------------------------------------


def test_from_open_to_resolved(clock: time_machine.Traveller, ana: Staff, ben: OwnPhone) -> None:
    flag = raised(ben, "night_pain")
    ben.checks_in(stop_signs=["night_pain"])
    [told] = listed(ana)
    assert (told["status"], told["occurrences"], told["stops"]) == ("open", 2, False)
    assert told["source"]["type"] == "check_in"
    assert not {"acknowledged_by", "resolved_by", "action", "note"} & told.keys()

    seen = act(ana, flag, "acknowledge", note="I call him")
    assert (seen["status"], seen["acknowledged_by"]) == ("acknowledged", str(ana.user.pk))
    clock.shift(60)
    again = act(ana, flag, "acknowledge")
    assert again == seen, "who was first stays, and so does the note"

    done = act(ana, flag, "resolve", action="advised", note="A pillow")
    assert (done["status"], done["action"], done["note"]) == ("resolved", "advised", "A pillow")
    assert done["acknowledged_at"] == seen["acknowledged_at"]
    assert act(ana, flag, "acknowledge", 409)["code"] == "state-conflict"
    assert act(ana, flag, "resolve", 409, action="advised")["code"] == "state-conflict"
    event = Event.objects.get(kind="closed")
    assert (event.code, event.by_id, event.on) == ("night_pain", ana.user.pk, ben.today)
    actions = AuditEvent.objects.filter(object_id=flag.pk, patient_id=ben.patient.pk)
    assert actions.filter(action="flag_resolve").count() == 2

    assert raised(ben, "night_pain") != flag, "more of it is a new flag"


def test_resolving_needs_an_action_and_seeing_does_not(ana: Staff, ben: OwnPhone) -> None:
    flag = raised(ben, "night_pain")
    for said, code in (({}, "required"), ({"action": "ignored"}, "invalid-value")):
        refused = act(ana, flag, "resolve", 422, **said)
        assert [(e["pointer"], e["code"]) for e in refused["errors"]] == [("#/action", code)]
    done = act(ana, flag, "resolve", action="no_action")
    assert done["acknowledged_by"] == done["resolved_by"] == str(ana.user.pk)


def test_the_same_key_resolves_once(ana: Staff, ben: OwnPhone) -> None:
    flag, key = raised(ben, "night_pain"), str(uuid4())
    said = {"action": "advised"}
    first = ana.post(f"flags/{flag.pk}/resolve", said, 200, Idempotency_Key=key)
    assert ana.post(f"flags/{flag.pk}/resolve", said, 200, Idempotency_Key=key) == first
    assert Event.objects.filter(kind="closed").count() == 1


@pytest.mark.usefixtures("clock")
@pytest.mark.parametrize("code", ["ces_bladder", "fever_with_pain"])
def test_what_stops_is_not_resolved_but_cleared(ana: Staff, ben: OwnPhone, code: str) -> None:
    flag = raised(ben, code)
    refused = act(ana, flag, "resolve", 409, action="no_action")

    assert refused["code"] == "stop-standing"
    assert codes(ana) == [code]


def reviews() -> set[str]:
    standing: Any = Assignment.objects.get().standing
    return set(standing["state"].get("reviews", ()))


def test_a_resolved_report_holds_nothing_back(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    flag = raised(ben, "night_pain")
    assert reviews() == {"night_pain"}
    clock.shift(60)
    act(ana, flag, "resolve", action="advised")
    assert reviews() == set()
    clock.shift(60)
    raised(ben, "night_pain")
    assert reviews() == {"night_pain"}, "and what is reported again does"


def test_what_a_rule_found_today_is_closed_for_good_by_tomorrow(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    """Two RED sessions in phase 1: the rule finds it again each time that date is judged."""
    for _ in range(2):
        slot = next(s for s in ben.plan(days=1)["days"][0]["slots"] if s["counts"])
        ben.logs(slot, plan_of_ben, pain_during=6)
        if not Flag.objects.exists():
            clock.shift(DAY)
    flag = Flag.objects.get()
    assert flag.code == "regress-in-phase-1"
    act(ana, flag, "resolve", action="plan_changed")
    clock.shift(DAY)
    ben.checks_in()
    assert reviews() == set()
    assert Flag.objects.filter(status__in=["open", "acknowledged"]).count() == 0


def test_a_report_of_yesterday_after_the_answer_of_today_stays_open(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    clock.shift(2 * DAY)
    flag = raised(ben, "night_pain")
    clock.shift(60)
    act(ana, flag, "resolve", action="advised")
    clock.shift(60)
    yesterday = (ben.today - DAY).isoformat()
    ben.checks_in(stop_signs=["night_pain"], local_date=yesterday)
    assert reviews() == {"night_pain"}
    clock.shift(2 * DAY)
    ben.checks_in()
    assert reviews() == {"night_pain"}
