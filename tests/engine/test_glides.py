"""Irritability and the gate before tensioners (protocols.md section 10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from protocols.engine.case import Finding, Nerve
from protocols.engine.day import Colour, Measured, Reported
from protocols.engine.glides import (
    Irritability,
    NerveSigns,
    TensionerFacts,
    glides_on,
    irritability,
    n_tens,
    signs_of,
)
from protocols.engine.progression import Late
from tests.builders import FIRST, course, day, judged, missed, numbers, protocol

ON = FIRST + timedelta(days=30)
CALM = NerveSigns(settle_min=10, at_night=False, constant=False, below_knee_at_rest=False)
STOP = (Reported("ces_bladder", "emergency"),)
HIGH, MODERATE, LOW = Irritability.HIGH, Irritability.MODERATE, Irritability.LOW


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({}, LOW, id="calm"),
        pytest.param({"settle_min": 0}, LOW, id="at once"),
        pytest.param({"settle_min": 11}, MODERATE, id="settled in 11"),
        pytest.param({"settle_min": 60}, MODERATE, id="settled in 60"),
        pytest.param({"settle_min": 61}, HIGH, id="settled in 61"),
        pytest.param({"below_knee_at_rest": True}, MODERATE, id="below the knee"),
        pytest.param({"at_night": True}, HIGH, id="at night"),
        pytest.param({"constant": True}, HIGH, id="constant"),
        pytest.param({"below_knee_at_rest": True, "constant": True}, HIGH, id="higher wins"),
        pytest.param({"last_n_red": ON - timedelta(days=6)}, HIGH, id="red 7 dates ago"),
        pytest.param({"last_n_red": ON - timedelta(days=7)}, LOW, id="red 8 dates ago"),
        pytest.param({"settle_min": None}, MODERATE, id="settling not told"),
        pytest.param({"at_night": None}, MODERATE, id="night not told"),
        pytest.param({"constant": None}, MODERATE, id="constancy not told"),
        pytest.param({"below_knee_at_rest": None}, MODERATE, id="place not told"),
    ],
)
def test_irritability(said: dict[str, Any], expected: Irritability) -> None:
    level, findings = irritability(replace(CALM, **said), ON, numbers())
    assert level is expected
    assert all(one.passed for one in findings) is (expected is LOW)


def told(signs: NerveSigns) -> list[str]:
    return [one.text for one in irritability(signs, ON, numbers())[1]]


def test_what_was_not_said_is_named() -> None:
    assert told(NerveSigns()) == [
        "settling not told", "night not told", "constancy not told", "place not told",
    ]  # fmt: skip
    assert told(replace(CALM, settle_min=61, at_night=True, constant=True, last_n_red=ON)) == [
        "settled after 61 min", "symptoms at night", "constant symptoms", f"RED on {ON}",
    ]  # fmt: skip
    assert told(replace(CALM, settle_min=11, below_knee_at_rest=True)) == [
        "settled after 11 min", "symptoms below the knee at rest",
    ]  # fmt: skip
    assert irritability(CALM, ON, numbers())[1] == (Finding("N-IRR", True, "calm", 10, 11, 1),)
    assert {one.gate for one in irritability(NerveSigns(), ON, numbers())[1]} == {"N-IRR"}


def signs(*days: Any) -> NerveSigns:
    return signs_of(
        judged(days, "neural-thigh")[-1],
        numbers(),
        at_night=False,
        constant=False,
        below_knee_at_rest=False,
    )


def test_signs_are_those_of_the_last_session_day_and_of_seven_dates() -> None:
    quiet = [day(n, settle_min=5) for n in range(2, 7)]
    red = day(1, settle_min=61)
    assert signs(red, *quiet, missed(7)).settle_min == 5
    assert signs(red, *quiet, missed(7)).last_n_red == FIRST
    assert signs(red, *quiet, missed(7), missed(8)).last_n_red is None
    assert signs(day(1, spread=True), missed(2)).last_n_red == FIRST
    assert signs(missed(1, settle_min=5)).settle_min is None


def test_red_for_pain_alone_is_no_sign_of_the_nerve() -> None:
    assert signs(day(1, during=6, settle_min=5)).last_n_red is None


# --- N-TENS -----------------------------------------------------------------------------------

SLIDERS = [(ON - timedelta(days=n), Colour.GREEN) for n in range(7, 0, -1)]
READY = TensionerFacts(
    irritability=LOW,
    neuro_exam=(ON - timedelta(days=14), 1, "exam"),
    slider_days=SLIDERS,
    is_strain_phase_1=False,
    repaired_on=None,
    open_flags=frozenset(),
    switched_on=True,
)


def failed(**said: Any) -> set[str]:
    findings = n_tens(replace(READY, **said), ON, numbers())
    return {one.gate.removeprefix("N-TENS/") for one in findings if not one.passed}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({}, set(), id="all hold"),
        pytest.param({"irritability": MODERATE}, {"irritability"}, id="moderate"),
        pytest.param({"neuro_exam": None}, {"neuro_exam"}, id="not examined"),
        pytest.param(
            {"neuro_exam": (ON - timedelta(days=15), 1, "")}, {"neuro_exam"}, id="15 days old"
        ),
        pytest.param({"neuro_exam": (ON, 0, "")}, {"neuro_exam"}, id="not normal"),
        pytest.param({"slider_days": SLIDERS[1:]}, {"slider_days"}, id="six slider days"),
        pytest.param(
            {"slider_days": [*SLIDERS[:4], (ON, Colour.AMBER), *SLIDERS[5:]]},
            {"green_days"},
            id="one of the last three amber",
        ),
        pytest.param(
            {"slider_days": [(ON, Colour.RED), *SLIDERS]}, set(), id="the fourth last may be red"
        ),
        pytest.param({"slider_days": []}, {"slider_days", "green_days"}, id="no slider yet"),
        pytest.param({"is_strain_phase_1": True}, {"strain_phase_1"}, id="strain, phase 1"),
        pytest.param({"repaired_on": ON - timedelta(days=83)}, {"repair"}, id="12 weeks less one"),
        pytest.param({"repaired_on": ON - timedelta(days=84)}, set(), id="12 weeks"),
        pytest.param({"open_flags": frozenset({"night_pain"})}, {"open_flags"}, id="an open flag"),
        pytest.param({"switched_on": False}, {"switched_on"}, id="nobody switched it on"),
    ],
)
def test_n_tens(said: dict[str, Any], expected: set[str]) -> None:
    assert failed(**said) == expected


def test_what_n_tens_tells() -> None:
    """Words, what was seen against what is needed, out of how many."""
    dates = tuple((ON - timedelta(days=n)).isoformat() for n in (3, 2, 1))
    usual = replace(READY, repaired_on=ON - timedelta(days=84), open_flags=frozenset({"b", "a"}))
    assert n_tens(usual, ON, numbers()) == (
        Finding("N-TENS/irritability", True, "low"),
        Finding("N-TENS/neuro_exam", True, "normal, 14 days old", 14, 14, 1, ("exam",)),
        Finding("N-TENS/slider_days", True, "7", 7, 7, 7),
        Finding("N-TENS/green_days", True, "GREEN GREEN GREEN", 3, 3, 3, dates),
        Finding("N-TENS/strain_phase_1", True),
        Finding("N-TENS/repair", True, "84 days", 84, 84),
        Finding("N-TENS/open_flags", False, "a, b", 2, 0, 1, ("a", "b")),
        Finding("N-TENS/switched_on", True),
    )
    unknown = replace(READY, neuro_exam=None)
    assert n_tens(unknown, ON, numbers())[1] == Finding(
        "N-TENS/neuro_exam", False, "missing", limit=14
    )
    sore = replace(READY, neuro_exam=(ON, 0, ""))
    assert n_tens(sore, ON, numbers())[1] == Finding(
        "N-TENS/neuro_exam", False, "not normal, 0 days old", 0, 14, 1
    )
    plain = n_tens(READY, ON, numbers())
    assert plain[5] == Finding("N-TENS/open_flags", True, "", 0, 0, 1)


# --- As a course goes on ----------------------------------------------------------------------


def nerve(*days: Any, slug: str = "neural-thigh") -> Nerve:
    return judged(days, slug)[-1].after.nerve


def assessed(number: int, *values: tuple[str, float], **said: Any) -> Any:
    return missed(number, measured=tuple(Measured(*one, "m1") for one in values), **said)


SECOND = FIRST + timedelta(days=1)


@pytest.mark.parametrize(
    ("days", "slug", "expected"),
    [
        pytest.param([missed(1)], "neural-thigh", Nerve(), id="nothing said"),
        pytest.param([day(1, settle_min=5)], "neural-thigh", Nerve(settle_min=5), id="settled"),
        pytest.param([day(1, settle_min=5)], "hs-grade-1", Nerve(), id="no nerve protocol"),
        pytest.param(
            [day(1, settle_min=5), day(2)], "neural-thigh", Nerve(), id="not said the last time"
        ),
        pytest.param(
            [day(1, settle_min=5), missed(2, settle_min=90)],
            "neural-thigh",
            Nerve(settle_min=5),
            id="without a session",
        ),
        pytest.param(
            [missed(1, reported=STOP), day(2, settle_min=90, slider=True)],
            "neural-thigh",
            Nerve(),
            id="during a stop",
        ),
        pytest.param(
            [day(1), day(2, spread=True)], "neural-thigh", Nerve(last_n_red=SECOND), id="N-RED"
        ),
        pytest.param(
            [assessed(1, ("neuro_exam_normal", 1))],
            "hs-grade-1",
            Nerve(exam=(FIRST, 1, "m1")),
            id="examined",
        ),
        pytest.param(
            [assessed(1, ("night_symptoms", 1), ("constant_symptoms", 0))],
            "neural-thigh",
            Nerve(at_night=True, constant=False),
            id="asked",
        ),
        pytest.param(
            [assessed(1, ("leg_sx_code", 3))], "neural-thigh", Nerve(below_knee=True), id="calf"
        ),
        pytest.param(
            [assessed(1, ("leg_sx_code", 2))], "neural-thigh", Nerve(below_knee=False), id="thigh"
        ),
        pytest.param(
            [missed(1, slider=True), day(2, slider=True, settle_min=5)],
            "neural-thigh",
            Nerve(settle_min=5, sliders=((SECOND, Colour.GREEN),)),
            id="a slider",
        ),
    ],
)
def test_what_later_dates_inherit(days: list[Any], slug: str, expected: Nerve) -> None:
    assert nerve(*days, slug=slug) == expected


def test_of_a_nerve_nobody_spoke_of_nothing_is_known() -> None:
    """What was not said is never calm."""
    assert Nerve() == Nerve(
        settle_min=None, last_n_red=None, exam=None, at_night=None, constant=None, below_knee=None,
        sliders=(),
    )  # fmt: skip
    assert NerveSigns() == NerveSigns(
        settle_min=None, at_night=None, constant=None, below_knee_at_rest=None, last_n_red=None
    )


def test_as_many_slider_days_are_kept_as_are_asked_for() -> None:
    found = nerve(*(day(n, slider=True, settle_min=5) for n in range(1, 10)))
    assert [on for on, _ in found.sliders] == [FIRST + timedelta(days=n) for n in range(2, 9)]


def test_t8_what_is_told_late_of_the_nerve_counts() -> None:
    late = Late(SECOND, assessed(1, ("night_symptoms", 1)))
    assert judged([missed(1), missed(2)], "neural-thigh", late=(late,))[-1].after.nerve.at_night


@pytest.mark.parametrize(
    ("slug", "said", "expected"),
    [
        pytest.param("neural-thigh", {}, set(), id="calm"),
        pytest.param("hs-grade-1", {}, {"strain_phase_1"}, id="a strain, phase 1"),
        pytest.param("hs-grade-1", {"phase_id": "phase-2"}, set(), id="a strain, phase 2"),
        pytest.param("neural-thigh", {"reviews": frozenset({"a"})}, {"open_flags"}, id="an item"),
        pytest.param("neural-thigh", {"stop": STOP}, {"open_flags"}, id="a stop"),
        pytest.param(
            "neural-thigh",
            {"nerve": Nerve()},
            {"irritability", "neuro_exam", "slider_days", "green_days"},
            id="nothing is known",
        ),
    ],
)
def test_glides_on_a_date(slug: str, said: dict[str, Any], expected: set[str]) -> None:
    calm = Nerve(
        settle_min=10, exam=(ON, 1, ""), at_night=False, constant=False, below_knee=False,
        sliders=tuple(SLIDERS),
    )  # fmt: skip
    state = replace(course(slug).start(), **({"nerve": calm} | said))
    level, findings = glides_on(state, ON, protocol(slug), numbers())
    assert {one.gate.partition("/")[2] for one in findings if not one.passed} == expected
    assert (level is LOW) is ("irritability" not in expected)


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ({"settle_min": 61}, HIGH),
        ({"at_night": True}, HIGH),
        ({"constant": True}, HIGH),
        ({"last_n_red": ON}, HIGH),
        ({"below_knee": True}, MODERATE),
        ({"settle_min": None}, MODERATE),
    ],
)
def test_every_sign_a_course_inherits_is_looked_at(
    said: dict[str, Any], level: Irritability
) -> None:
    calm = Nerve(settle_min=10, at_night=False, constant=False, below_knee=False)
    state = replace(course("neural-thigh").start(), nerve=replace(calm, **said))
    assert glides_on(state, ON, protocol("neural-thigh"), numbers())[0] is level


def test_glides_after_a_repair() -> None:
    state = course("neural-thigh").start()
    repaired = ON - timedelta(days=83)
    _, findings = glides_on(state, ON, protocol("neural-thigh"), numbers(), repaired)
    assert [one.observed for one in findings if one.gate == "N-TENS/repair"] == [83]
