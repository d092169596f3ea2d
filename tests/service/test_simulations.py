"""Trying a protocol or a draft on synthetic people, over HTTP."""

from __future__ import annotations

from collections import Counter
from typing import Any
from xml.etree import ElementTree

import pytest

from backend.api.physio.simulations import OUTCOMES
from protocols.models import ProtocolVersion
from tests.service.cast import Staff
from tests.service.test_protocols_api import publish, save

pytestmark = pytest.mark.usefixtures("library")

PLACES = ["phase-1", "phase-2", "phase-3", "completed", "stopped"]


@pytest.fixture
def path(grade_1: ProtocolVersion) -> str:
    return f"protocols/{grade_1.protocol_id}/simulations"


@pytest.fixture
def draft(ana: Staff, grade_1: ProtocolVersion) -> Any:
    return ana.post("protocols", {"copy_of": str(grade_1.protocol_id)}, 201)


def test_what_a_cohort_does(ana, path):
    shown = ana.post(path, {"cohort": 30, "days": 90, "seed": 7}, 200)

    assert (shown["version"], shown["cohort"], shown["days"], shown["seed"]) == ("1.0.0", 30, 90, 7)
    assert [one["outcome"] for one in shown["outcomes"]] == list(OUTCOMES)
    assert sum(one["dates"] for one in shown["outcomes"]) == 30 * 90
    for one in shown["outcomes"]:
        assert one["people"] <= min(30, one["dates"])
        assert ("first_day" in one) == (one["people"] > 0)
    [first, *later] = shown["reached"]
    assert first == {
        "place": "phase-1", "people": 30, "day": {"first": 1, "median": 1, "third": 1},
    }  # fmt: skip
    assert [one["place"] for one in later] == PLACES[1:4]
    assert all(1 < one["day"]["first"] <= one["day"]["median"] <= one["day"]["third"]
               for one in later)  # fmt: skip
    assert [one["place"] for one in shown["shares"]] == PLACES
    by_day = zip(*(one["by_day"] for one in shown["shares"]), strict=True)
    assert [sum(day) for day in by_day] == [pytest.approx(1, abs=0.001)] * 90
    assert shown["traces"] == []
    assert "picture" not in shown


def test_the_same_seed_gives_the_same_bytes(ana, path):
    asked = {"cohort": 6, "days": 40, "seed": 3, "trace": [2, 5], "picture": True}
    first = ana.call("POST", path, asked)

    assert ana.call("POST", path, asked).content == first.content
    assert ana.call("POST", path, asked | {"seed": 4}).content != first.content


def test_single_people_day_by_day(ana, path):
    few = ana.post(path, {"cohort": 6, "days": 60, "trace": [5, 2, 5]}, 200)
    many = ana.post(path, {"cohort": 12, "days": 60, "trace": [2, 5]}, 200)

    assert [one["person"] for one in few["traces"]] == [2, 5]
    assert few["traces"] == many["traces"], "a larger cohort begins with the same people"
    for one in few["traces"]:
        assert [day["day"] for day in one["days"]] == list(range(1, 61))
        assert {day["outcome"] for day in one["days"]} <= set(OUTCOMES)
        assert all(day["done"] <= day["planned"] or not day["planned"] for day in one["days"])
        for day in one["days"]:
            pains = [day[name] for name in day if name.startswith("pain_")]
            assert all(0 <= pain <= 10 for pain in pains)


def test_everybody_traced_is_what_is_counted(ana, path):
    shown = ana.post(path, {"cohort": 10, "days": 50, "trace": list(range(1, 11))}, 200)
    days = [day for one in shown["traces"] for day in one["days"]]

    dates = Counter(day["outcome"] for day in days)
    assert {one["outcome"]: one["dates"] for one in shown["outcomes"] if one["dates"]} == dates
    for share in shown["shares"]:
        there = Counter(day["day"] for day in days if day["place"] == share["place"])
        assert share["by_day"] == [there[day] / 10 for day in range(1, 51)]


def test_the_picture(ana, path):
    shown = ana.post(path, {"cohort": 5, "days": 30, "picture": True}, 200)

    picture = ElementTree.fromstring(shown["picture"])
    assert picture.tag == "{http://www.w3.org/2000/svg}svg"
    assert "5 synthetic people over 30 days, seed 1." in shown["picture"]


def test_what_is_usual(ana, path):
    shown = ana.post(path, {}, 200)
    assert (shown["version"], shown["cohort"], shown["days"], shown["seed"]) == (
        "1.0.0", 100, 120, 1,
    )  # fmt: skip


def test_the_least_and_the_most(ana, path):
    one = ana.post(path, {"cohort": 1, "days": 1, "trace": [1], "picture": True}, 200)
    assert [share["by_day"] for share in one["shares"]] == [[1], [0], [0], [0], [0]]

    most = ana.post(path, {"cohort": 200, "days": 180, "trace": list(range(191, 201))}, 200)
    assert (most["cohort"], len(most["traces"])) == (200, 10)


@pytest.mark.parametrize(
    ("said", "pointer", "code"),
    [
        ({"cohort": 0}, "#/cohort", "out-of-range"),
        ({"cohort": 201}, "#/cohort", "out-of-range"),
        ({"cohort": "10"}, "#/cohort", "invalid-type"),
        ({"cohort": True}, "#/cohort", "invalid-type"),
        ({"days": 0}, "#/days", "out-of-range"),
        ({"days": 181}, "#/days", "out-of-range"),
        ({"seed": -1}, "#/seed", "out-of-range"),
        ({"seed": 2**31}, "#/seed", "out-of-range"),
        ({"seed": 1.5}, "#/seed", "invalid-type"),
        ({"trace": [0]}, "#/trace/0", "out-of-range"),
        ({"trace": [10, 11]}, "#/trace/1", "unknown-reference"),
        ({"trace": list(range(1, 12))}, "#/trace", "too-many"),
        ({"trace": 1}, "#/trace", "invalid-type"),
        ({"picture": "yes"}, "#/picture", "invalid-type"),
        ({"version": "9.9.9"}, "#/version", "unknown-reference"),
        ({"version": "draft"}, "#/version", "unknown-reference"),
        ({"version": None}, "#/version", "invalid-type"),
        ({"people": 3}, "#/people", "unknown-field"),
    ],
)
def test_what_cannot_be_tried(ana, path, said, pointer, code):
    refused = ana.post(path, {"cohort": 10, "days": 10} | said, 422)
    assert [(one["pointer"], one["code"]) for one in refused["errors"]] == [(pointer, code)]


def test_a_draft_is_tried_before_it_is_published(ana, path, draft):
    """What its author changed shows: whom a limit of nothing holds goes nowhere."""
    asked = {"cohort": 20, "days": 60}
    tried = f"protocols/{draft['id']}/simulations"
    usual = ana.post(path, asked, 200)
    as_copied = ana.post(tried, asked, 200)
    assert as_copied == usual | {"version": "draft"}

    save(ana, draft, limits=draft["limits"] | {"progress": 0})
    strict = ana.post(tried, asked, 200)

    def through(shown: Any) -> float:
        [share] = [one["by_day"][-1] for one in shown["shares"] if one["place"] == "completed"]
        return float(share)

    assert through(strict) < through(usual)


def test_the_newest_version_unless_the_draft_is_meant(ana, draft):
    tried, small = f"protocols/{draft['id']}/simulations", {"cohort": 1, "days": 1}
    publish(ana, draft)
    newer = ana.post("protocols", {"copy_of": draft["id"]}, 201)
    save(ana, newer, title="Next")

    assert ana.post(tried, small, 200)["version"] == "1.0.0"
    assert ana.post(tried, small | {"version": "draft"}, 200)["version"] == "draft"
    publish(ana, newer, version="1.1.0")
    assert ana.post(tried, small, 200)["version"] == "1.1.0"
    assert ana.post(tried, small | {"version": "1.0.0"}, 200)["version"] == "1.0.0"


def test_a_draft_with_errors_is_refused_with_those_of_the_check(ana, draft):
    phases = draft["phases"]
    del phases[0]["exit"]
    save(ana, draft, phases=phases)
    found = ana.post(f"protocols/{draft['id']}/check", {})["errors"]

    refused = ana.post(f"protocols/{draft['id']}/simulations", {}, 422)

    assert refused["code"] == "validation-failed"
    assert refused["errors"] == found
    assert [one["pointer"] for one in found] == ["#/phases/0/exit"]


def test_an_empty_draft_is_refused(ana):
    draft = ana.post("protocols", {}, 201)
    refused = ana.post(f"protocols/{draft['id']}/simulations", {}, 422)
    assert {"#/phases", "#/limits"} <= {one["pointer"] for one in refused["errors"]}


def test_physiotherapists_try(cleo, ben, path):
    assert cleo.post(path, {}, 403)["code"] == "forbidden"
    assert ben.post(path, {}, 403)["code"] == "forbidden"
