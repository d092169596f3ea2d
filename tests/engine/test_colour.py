"""One colour per session day (protocols.md section 4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from protocols.engine.day import Colour, Day, Reported, colour_of, is_advised_rest
from tests.builders import FIRST, day, missed, numbers, protocol

STRAIN, PHT, NERVE, REPAIR = "hs-grade-1", "pht", "neural-thigh", "post-repair"


@pytest.mark.parametrize(
    ("slug", "said", "expected"),
    [
        pytest.param(STRAIN, {}, Colour.GREEN, id="settled"),
        pytest.param(STRAIN, {"during": 2}, Colour.GREEN, id="at the progress limit"),
        pytest.param(STRAIN, {"during": 3}, Colour.AMBER, id="above the progress limit"),
        pytest.param(STRAIN, {"during": 5}, Colour.AMBER, id="one below red"),
        pytest.param(STRAIN, {"during": 6}, Colour.RED, id="red during"),
        pytest.param(STRAIN, {"during": 7}, Colour.RED, id="one below severe"),
        pytest.param(STRAIN, {"during": 8}, Colour.SEVERE, id="severe during"),
        pytest.param(STRAIN, {"before": 8, "next_morning": 8}, Colour.SEVERE, id="severe before"),
        pytest.param(STRAIN, {"before": 8}, Colour.SEVERE, id="severe before alone"),
        pytest.param(
            STRAIN,
            {"before": None, "during": None, "next_morning": None},
            Colour.AMBER,
            id="nothing said",
        ),
        pytest.param(STRAIN, {"next_morning": 8}, Colour.SEVERE, id="severe next morning"),
        pytest.param(STRAIN, {"pop_felt": True}, Colour.SEVERE, id="a pop"),
        pytest.param(STRAIN, {"next_morning": None}, Colour.AMBER, id="no morning rating"),
        pytest.param(STRAIN, {"next_morning": 2}, Colour.AMBER, id="one worse next morning"),
        pytest.param(STRAIN, {"next_morning": 3}, Colour.RED, id="two worse next morning"),
        pytest.param(STRAIN, {"next_morning": 0}, Colour.GREEN, id="better next morning"),
        pytest.param(STRAIN, {"settle_min": 90}, Colour.GREEN, id="settling is a nerve rule"),
        pytest.param(STRAIN, {"spread": True}, Colour.GREEN, id="spreading is a nerve rule"),
        pytest.param(NERVE, {"settle_min": 10}, Colour.GREEN, id="settled in 10"),
        pytest.param(NERVE, {"settle_min": 11}, Colour.AMBER, id="settled in 11"),
        pytest.param(NERVE, {"settle_min": 60}, Colour.AMBER, id="settled in 60"),
        pytest.param(NERVE, {"settle_min": 61}, Colour.RED, id="settled in 61"),
        pytest.param(NERVE, {"spread": True}, Colour.RED, id="spread"),
        pytest.param(NERVE, {"during": 5}, Colour.RED, id="nerve: red from 5"),
        pytest.param(PHT, {"during": 3}, Colour.GREEN, id="tendon: 3 is fine"),
        pytest.param(PHT, {"during": 4}, Colour.AMBER, id="tendon: 4 is amber"),
        pytest.param(PHT, {"before": 4, "next_morning": 4}, Colour.AMBER, id="tendon: load test 4"),
        pytest.param(REPAIR, {"during": 4}, Colour.RED, id="repair: red from 4"),
        pytest.param(REPAIR, {"during": 7}, Colour.SEVERE, id="repair: severe from 7"),
        pytest.param(STRAIN, {"reported": (Reported("calf", "urgent"),)}, Colour.STOP, id="a flag"),
        pytest.param(
            STRAIN, {"reported": (Reported("night", "routine"),)}, Colour.GREEN, id="routine"
        ),
        pytest.param(STRAIN, {"done": 3}, Colour.GREEN, id="partly done is coloured too"),
    ],
)
def test_colour(slug: str, said: dict[str, Any], expected: Colour) -> None:
    assert colour_of(day(1, **said), protocol(slug).limits, numbers()) is expected


def test_no_set_no_colour() -> None:
    assert colour_of(missed(1, during=9), protocol().limits, numbers()) is Colour.NONE


def test_a_flag_without_a_session_is_a_stop_all_the_same() -> None:
    reported = (Reported("ces_bladder", "emergency"),)
    assert colour_of(missed(1, reported=reported), protocol().limits, numbers()) is Colour.STOP


def test_what_was_not_said_is_below_every_limit() -> None:
    strict = replace(protocol(NERVE).limits, progress=0, red=1)
    low = numbers() | {"settle_red_over_min": 0, "settle_amber_from_min": 1}
    assert colour_of(day(1, during=None, before=None), strict, low) is Colour.GREEN


@pytest.mark.parametrize("name", ["before", "during", "next_morning", "pain_otherwise"])
def test_severe_pain_without_a_session(name: str) -> None:
    limits = protocol().limits
    assert not missed(1, **{name: 7}).is_severe_otherwise(limits)
    assert missed(1, **{name: 8}).is_severe_otherwise(limits)


def test_severe_pain_beside_a_session_is_what_was_told_without_it() -> None:
    limits = protocol().limits
    assert not day(1, during=9, pop_felt=True).is_severe_otherwise(limits)  # the colour says so
    assert not day(1, pain_otherwise=7).is_severe_otherwise(limits)
    assert day(1, pain_otherwise=8).is_severe_otherwise(limits)


def test_of_a_quiet_date_nothing_is_known() -> None:
    """Missing is None, never zero."""
    quiet = Day(on=FIRST)
    assert quiet == Day(
        on=FIRST, planned=None, done=0, before=None, during=None, next_morning=None,
        settle_min=None, spread=False, pop_felt=False, reported=(), pain_otherwise=None,
        measured=(), excused=False, clearance=None, approval=None, opened=(), closed=(), felt=(),
        slider=False,
    )  # fmt: skip
    assert (quiet.rise, quiet.is_session) == (None, False)
    assert (quiet.stop_signs, quiet.review_signs) == ((), ())


def test_s_pre_is_pain_before_from_red_on_and_below_severe() -> None:
    limits = protocol().limits
    found = [is_advised_rest(missed(1, before=pain), limits) for pain in (None, 5, 6, 7, 8)]
    assert found == [False, False, True, True, False]
    assert is_advised_rest(day(1, before=6), limits) is False
