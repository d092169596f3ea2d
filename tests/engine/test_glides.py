"""Irritability and the gate before tensioners (protocols.md section 10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from protocols.engine.day import Colour
from protocols.engine.glides import (
    Irritability,
    NerveSigns,
    TensionerFacts,
    irritability,
    n_tens,
    signs_of,
)
from tests.builders import FIRST, day, judged, missed, numbers

ON = FIRST + timedelta(days=30)
CALM = NerveSigns(settle_min=10, at_night=False, constant=False, below_knee_at_rest=False)
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
