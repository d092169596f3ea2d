"""What phones ask and when, offline; and what becomes of a weekly screen that nobody answers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from backend.api.records import SCREENS
from backend.care import deciding
from backend.care.models import Assignment, Flag, Progression
from backend.clinics.models import Episode
from exercises.models import Exercise
from protocols.knowledge import safety
from protocols.models import ProtocolVersion
from protocols.screening import is_unanswered
from tests.service.cast import OwnPhone, Staff

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)
TODAY = date(2026, 3, 10)
DAY = timedelta(days=1)
CODE = "screen-unanswered"


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def days_pass(clock: time_machine.Traveller, days: int) -> None:
    for _ in range(days):
        clock.shift(DAY)
        for patient_id in deciding.due_to_close(now=timezone.now(), limit=9):
            deciding.close(patient_id=patient_id, now=timezone.now())


def flagged() -> dict[str, str]:
    return {str(on): status for on, status in
            Flag.objects.filter(code=CODE).values_list("observed_on", "status")}  # fmt: skip


# --- What is asked ----------------------------------------------------------------------------


def test_what_is_asked_is_in_the_library(library: None) -> None:
    known = safety()
    for one in known.asking:
        assert all(known.red_flags[code].asked for code in one.signs), one.moment
        assert not one.text or one.text in known.texts
        assert not one.exercise or Exercise.objects.filter(slug=one.exercise).exists()
        for slug in one.protocols:
            assert ProtocolVersion.objects.filter(slug=slug).exists()
        assert known.conditions.keys() >= set(one.conditions)
    assert {one.moment for one in known.asking} >= set(SCREENS)


@pytest.mark.parametrize(
    ("slug", "card", "leg"),
    [
        ("hs-grade-1", False, False),
        ("pht", False, False),
        ("lumbar-referred", True, True),
        ("neural-thigh", True, True),
        ("deep-gluteal", True, True),
    ],
)
def test_by_the_patients_protocols(
    ana: Staff, ben: OwnPhone, thigh: Episode, library: None, slug: str, card: bool, leg: bool
) -> None:
    protocol = ProtocolVersion.objects.get(slug=slug, clinic=None)
    ana.assigns(protocol, to=ben.patient, episode=thigh, on=ben.today)
    told = ben.plan()["on_device_advice"]

    asked = {one["moment"]: one for one in told["screening"]}
    assert ("warning_card" in asked) is card
    if card:
        assert asked["warning_card"]["exercise"] == "ed-ces-card"
    assert asked["next_morning"]["fields"] == ["pain_now", *(["leg_symptom"] if leg else [])]
    assert asked["intake"]["all_signs"]
    assert asked["always"]["text"] == "Something is wrong"
    assert asked["session_start"]["text"].startswith("Anything new")
    texts = {sign["code"] for sign in (*told["stop_signs"], *told["review_signs"])}
    assert texts == {code for code, sign in safety().red_flags.items() if sign.asked}
    assert {code for one in asked.values() for code in one.get("signs", ())} <= texts
    assert "weight_loss_unexplained" in asked["weekly"]["signs"]


# --- What nobody answers ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("heard", "unanswered"),
    [
        ([TODAY], False),
        ([TODAY - 13 * DAY], False),
        ([TODAY - 14 * DAY], True),
        ([TODAY - 40 * DAY, TODAY - 3 * DAY], False),
        ([TODAY - 40 * DAY, TODAY - 14 * DAY], True),
        ([TODAY + DAY], False),
    ],
)
def test_fourteen_days(heard: list[date], unanswered: bool) -> None:
    assert is_unanswered(TODAY, heard, safety().unanswered_weekly_days) is unanswered


def test_no_answer_is_not_a_no(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    """Calm records and other screens are no answer to the weekly one."""
    days_pass(clock, 13)
    ben.checks_in(pain_now=0, stop_signs=[])
    ben.checks_in(screen="session_start", stop_signs=[])
    assert flagged() == {}
    days_pass(clock, 1)
    assert flagged() == {"2026-03-24": "open"}
    standing: Any = Assignment.objects.get().standing
    assert CODE in standing["state"]["reviews"], "which holds progress back"
    assert "stop" not in ben.plan()
    assert Flag.objects.get(code=CODE).level == "routine"
    days_pass(clock, 13)
    assert flagged() == {"2026-03-24": "open"}, "said once"

    flag = Flag.objects.get(code=CODE)
    ana.post(f"flags/{flag.pk}/resolve", {"action": "contacted"})
    days_pass(clock, 1)
    assert flagged() == {"2026-03-24": "resolved", "2026-04-07": "open"}, "and again"


def test_what_a_closing_that_flags_decides_is_told(
    clock: time_machine.Traveller, ben: OwnPhone, plan_of_ben: Any
) -> None:
    """The flag has every date judged first; the phone hears of it as of any closing."""
    days_pass(clock, 12)
    cursor = ben.get("me/sync/changes")["cursor"]
    clock.shift(2 * DAY)
    days_pass(clock, 1)
    assert flagged() == {"2026-03-25": "open"}
    [row] = Progression.objects.all()
    assert row.recommendation == "step_back", "fourteen dates were missed"

    told = ben.get(f"me/sync/changes?cursor={cursor}")["items"]

    assert {"plan", "progression"} <= {one["type"] for one in told}


@pytest.mark.parametrize("kind", ["check_in", "session"])
def test_an_answer_is_good_for_fourteen_days(
    clock: time_machine.Traveller, ben: OwnPhone, plan_of_ben: Any, kind: str
) -> None:
    days_pass(clock, 9)
    if kind == "check_in":
        ben.checks_in(screen="weekly", stop_signs=[])
    else:
        slots = ben.plan(days=1)["days"][0]["slots"]
        ben.logs(slots[0], plan_of_ben, screen="weekly")
    days_pass(clock, 13)
    assert flagged() == {}
    days_pass(clock, 1)
    assert flagged() == {"2026-04-02": "open"}


def test_an_answer_that_was_withdrawn_is_none(
    clock: time_machine.Traveller, ben: OwnPhone, plan_of_ben: Any
) -> None:
    days_pass(clock, 5)
    id = uuid4()
    ben.checks_in(id, screen="weekly")
    ben.delete(f"me/check-ins/{id}?revision=2")
    days_pass(clock, 9)
    assert flagged() == {"2026-03-24": "open"}


def test_nobody_is_asked_without_a_plan(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    tag = ana.call("GET", f"assignments/{plan_of_ben['id']}")["ETag"]
    end = {"from": ben.today.isoformat(), "reason": "Moved"}
    ana.post(f"assignments/{plan_of_ben['id']}/end", end, If_Match=tag)
    days_pass(clock, 20)
    assert flagged() == {}


def test_a_screen_is_one_of_those_known(ben: OwnPhone) -> None:
    refused = ben.put(f"me/check-ins/{uuid4()}", ben.check_in(screen="monthly"), 422)
    assert [(e["pointer"], e["code"]) for e in refused["errors"]] == [("#/screen", "invalid-value")]
