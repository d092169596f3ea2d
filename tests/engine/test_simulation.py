"""A synthetic cohort goes through the same engine, the same way for the same seed."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from random import Random
from xml.etree import ElementTree

import pytest

from protocols.engine.case import PROPOSED, Course, Outcome
from protocols.engine.day import Reported
from protocols.engine.progression import replay
from protocols.knowledge import metrics, safety
from protocols.share_plot import share_plot
from protocols.simulation import COMPLETED, STOPPED, Summary, Trace, place_of, quartiles, traces
from tests.builders import numbers, protocol

DAYS = 70
SVG = "{http://www.w3.org/2000/svg}"


@cache
def cohort(slug: str = "hs-grade-1", *, people: int = 12, seed: int = 1) -> tuple[Trace, ...]:
    flags = safety().red_flags.values()
    return tuple(
        traces(
            protocol(slug),
            numbers=numbers(),
            metrics=metrics(),
            flags=[Reported(flag.code, flag.level) for flag in flags if flag.asked],
            cohort=people,
            days=DAYS,
            chance=Random(seed),
        )
    )


def summed(people: tuple[Trace, ...], slug: str = "hs-grade-1") -> Summary:
    summary = Summary(protocol(slug), DAYS)
    for trace in people:
        summary.take(trace)
    return summary


def test_the_same_seed_gives_the_same_people() -> None:
    again = cohort.__wrapped__()
    assert again == cohort()
    assert cohort(seed=2) != cohort()


def test_a_larger_cohort_begins_with_the_same_people() -> None:
    assert cohort(people=15)[:12] == cohort()


@pytest.mark.parametrize("slug", ["hs-grade-1", "neural-thigh"])
def test_every_trace_is_what_a_replay_of_its_days_says(slug: str) -> None:
    for trace in cohort(slug):
        course: Course = trace.days[0].case.course
        assert replay(course, [one.day for one in trace.days]) == trace.days


def test_something_of_everything_happens() -> None:
    summary = summed(cohort(people=60))
    assert set(summary.people) == set(Outcome)
    assert 0 < summary.people[Outcome.STOP] < summary.people[Outcome.ADVANCE]


def test_nobody_goes_up_without_an_approval_of_a_proposal() -> None:
    for trace in cohort(people=60):
        for before, after in pairwise(trace.days):
            phases = after.case.course.protocol
            if after.case.phase.number > phases.phase(before.after.phase_id).number:
                assert before.outcome in PROPOSED
                assert after.day.approval is not None


def test_a_stop_stands_until_it_is_cleared() -> None:
    for trace in cohort(people=60):
        for before, after in pairwise(trace.days):
            if before.after.stop and not after.after.stop:
                assert after.day.clearance is not None


def test_a_summary_loses_nobody() -> None:
    summary = summed(cohort())
    assert [sum(day.values()) for day in summary.places] == [12] * DAYS
    assert sum(summary.dates.values()) == 12 * DAYS
    total = [sum(shares) for shares in zip(*map(summary.shares, summary.order), strict=True)]
    assert total == [pytest.approx(1)] * DAYS
    assert summary.reached["phase-1"] == [1] * 12


def test_places() -> None:
    found = {place_of(one) for trace in cohort(people=60) for one in trace.days}
    assert found == {"phase-1", "phase-2", "phase-3", STOPPED, COMPLETED}


@pytest.mark.parametrize(
    ("days", "expected"),
    [([], None), ([5], (5, 5, 5)), ([1, 2, 3, 4, 5], (2, 3, 4)), ([4, 8], (5, 6, 7))],
)
def test_quartiles(days: list[int], expected: object) -> None:
    assert quartiles(days) == expected


# --- The picture ------------------------------------------------------------------------------


def drawn(summary: Summary) -> ElementTree.Element:
    return ElementTree.fromstring(share_plot(summary, title="a < b", about="Twelve people."))


def test_the_picture_says_in_words_what_it_shows() -> None:
    picture = drawn(summed(cohort()))
    assert picture.get("role") == "img"
    labelled = (picture.get("aria-labelledby") or "").split()
    told = {one.get("id"): one.text or "" for one in picture}
    assert told[labelled[0]] == "a < b"
    assert told[labelled[1]].startswith("Twelve people. Day 23: ")
    assert f"Day {DAYS}: " in told[labelled[1]]


def test_the_picture_takes_the_colour_of_the_text_and_runs_nothing() -> None:
    picture = drawn(summed(cohort()))
    inks = {
        one.get(name)
        for one in picture.iter()
        for name in ("fill", "stroke")
        if one.tag != f"{SVG}style"
    } - {None}
    patterns = {f"url(#{one.get('id')})" for one in picture.iter(f"{SVG}pattern")}
    assert inks == {"currentColor", "none"} | patterns
    assert not [one for one in picture.iter() if one.tag in (f"{SVG}script", f"{SVG}image")]


def test_every_band_is_named_beside_the_picture() -> None:
    summary = summed(cohort())
    words = [one.text or "" for one in drawn(summary).iter(f"{SVG}text")]
    for place in summary.order:
        if any(summary.shares(place)):
            assert any(word.startswith(f"{place.replace('-', ' ')}: ") for word in words)


def test_one_person_on_one_day_can_be_drawn() -> None:
    summary = Summary(protocol(), 1)
    summary.take(Trace(1, cohort()[0].person, cohort()[0].days[:1]))
    assert drawn(summary).tag == f"{SVG}svg"
