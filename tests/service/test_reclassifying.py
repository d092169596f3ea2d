"""What patients tick of the kind of pain: read by staff, and never a name for it to the patient."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from backend.care.models import Assignment, Flag
from backend.clinics.models import Episode
from protocols.knowledge import safety
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)
DAY = timedelta(days=1)
WORDS = ["shooting", "pins_and_needles", "ache"]


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def standing() -> dict[str, Any]:
    found = Assignment.objects.get().standing
    assert found is not None
    state: dict[str, Any] = found["state"]
    return state


def test_the_plan_offers_what_can_be_ticked(ben: OwnPhone, plan_of_ben: Any) -> None:
    """In one list: which words speak of a nerve is nothing for patients."""
    told = ben.plan()["on_device_advice"]
    known = safety()
    words = {one["code"]: one["text"] for one in told["pain_words"]}
    assert words == {**known.nerve_words, **known.muscle_words}
    assert words["pins_and_needles"] == "pins and needles"
    assert [*words] == sorted(words)
    assert {one["code"]: one["text"] for one in told["worse_with"]} == known.worse_with


def test_two_nerve_words_twice_are_an_item_for_the_physiotherapist_alone(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    first = ben.checks_in(words=WORDS, worse_with=["sitting"])
    assert not Flag.objects.exists()
    clock.shift(DAY)
    ben.checks_in(words=["ache", "tight", "numb"])
    assert not Flag.objects.exists(), "one nerve word is none too many"
    clock.shift(DAY)
    id = uuid4()
    told = ben.checks_in(id, words=WORDS)

    flag = Flag.objects.get()
    assert (flag.code, flag.level, flag.status) == ("reclassify-nerve", "routine", "open")
    assert standing()["reviews"] == ["reclassify-nerve"], "which holds progress back"
    [row] = ana.get("caseload")["items"]
    assert (row["tier"], row["reasons"][0]["code"]) == ("review", "reclassify-nerve")
    path = f"patients/{ben.patient.pk}/check-ins"
    assert ana.get(path)["items"][0]["words"] == WORDS
    seen = json.dumps([first, told, ben.plan(), ben.get("me"), ben.get("me/sync/changes")])
    assert "reclassify" not in seen, "no phone hears of it"
    assert told["effects"] == []

    ben.delete(f"me/check-ins/{id}?revision=2")
    flag.refresh_from_db()
    assert flag.status == "auto_resolved"


def test_dealt_with_it_is_counted_anew(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    for _ in range(2):
        ben.checks_in(words=WORDS)
        clock.shift(timedelta(minutes=5))
    flag = Flag.objects.get()
    ana.post(f"flags/{flag.pk}/resolve", {"action": "no_action", "note": "Examined."})
    clock.shift(DAY)
    ben.checks_in(words=WORDS)
    assert "reviews" not in standing()
    assert not Flag.objects.filter(status="open").exists()
    clock.shift(DAY)
    ben.checks_in(words=WORDS)
    assert Flag.objects.filter(status="open").count() == 1


def test_what_is_no_word_of_the_library_is_refused(ben: OwnPhone) -> None:
    for name in ("words", "worse_with"):
        refused = ben.put(f"me/check-ins/{uuid4()}", ben.check_in(**{name: ["sciatica"]}), 422)
        [error] = refused["errors"]
        assert (error["pointer"], error["code"]) == (f"#/{name}/0", "invalid-value")


@pytest.mark.parametrize(
    ("slug", "expected"), [("hs-grade-1", ["consider-lumbar"]), ("lumbar-referred", [])]
)
def test_what_was_recorded_before_the_plan_began_counts_on_its_first_date(
    ana: Staff, ben: OwnPhone, thigh: Episode, library: None, slug: str, expected: list[str]
) -> None:
    ana.records(ben.patient, "hill_pattern", 2, unit="0-2")
    protocol = ProtocolVersion.objects.get(slug=slug)
    ana.assigns(protocol, to=ben.patient, episode=thigh, on=ben.today)
    assert [flag.code for flag in Flag.objects.all()] == expected


@pytest.mark.parametrize(
    ("value", "pattern", "order"),
    [
        (0, "none", ["level", "gentle both"]),
        (1, "down", ["level", "uphill", "longer stride", "speed", "downhill"]),
        (2, "up", ["level", "downhill", "speed", "uphill"]),
    ],
)
def test_staff_read_in_which_order_slopes_return(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, value: int, pattern: str, order: list[str]
) -> None:
    path = f"assignments/{plan_of_ben['id']}"
    assert "hills" not in ana.get(path)
    ana.records(ben.patient, "hill_pattern", value, unit="0-2")

    shown = ana.call("GET", path)
    hills = shown.json()["hills"]
    assert (hills["pattern"], hills["order"]) == (pattern, order)
    assert (hills["since"], hills["green_days_a_step"]) == ("2026-03-10", 2)
    assert "our default" in hills["source"]
    assert "hills" not in ben.get(path)
    assert "hills" not in json.dumps([ben.get("me/assignments"), ben.get("me/sync/changes")])
    pause = {"from": "2026-03-12", "reason": "Travels."}
    assert "hills" in ana.post(f"{path}/pause", pause, If_Match=shown["ETag"])
