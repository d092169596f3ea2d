"""Gates GG0 to GG10 at their boundaries, and exit predicates (protocols.md sections 2 and 6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from protocols.engine import predicate
from protocols.engine.case import Finding, Judged
from protocols.engine.day import Approval, Day, Measured
from protocols.engine.definition import Criterion
from protocols.engine.gates import ASKED, GATES, sample_of
from protocols.engine.progression import replay
from tests.builders import ALL_CLEAR, FIRST, course, day, judged, missed


def found(gate: str, days: list[Day], slug: str = "hs-grade-1", **said: Any) -> Finding:
    """What a gate says on the last of these dates."""
    [one] = [one for one in judged(days, slug, **said)[-1].findings if one.gate == gate]
    return one


def passes(gate: str, days: list[Day], slug: str = "hs-grade-1", **said: Any) -> bool:
    return found(gate, days, slug, **said).passed


def test_the_gates_asked_for_a_decision_are_all_of_them() -> None:
    assert set(ASKED) == set(GATES)
    assert len(ASKED) == len(GATES)


@pytest.mark.parametrize(("done", "completed"), [(4, False), (5, True)])
def test_gg0_half_of_the_planned_sets_complete_a_session_day(done: int, completed: bool) -> None:
    assert passes("GG0", [day(1, done=done)]) is completed


def test_gg0_one_planned_set_is_completed_by_one() -> None:
    assert passes("GG0", [day(1, done=1)], planned=1)


def test_gg1_days_without_stopped_and_excused_dates() -> None:
    assert found("GG1", [day(1), missed(2), day(3)]).observed == 3
    assert found("GG1", [day(1), missed(2, excused=True), day(3)]).observed == 2
    assert found("GG1", [day(1), missed(2, before=6), day(3)]).observed == 2
    begun = missed(2, excused=True, approval=Approval("phase-2"))
    assert found("GG1", [day(1), begun, day(3)]).observed == 1


def test_gg2_looks_at_the_last_three_session_days() -> None:
    assert not passes("GG2", [day(1), day(2)])
    assert passes("GG2", [day(1, during=3), day(2, during=2), missed(3), day(4), day(5)])
    assert not passes("GG2", [day(1), day(2, during=3, done=1), day(3)])
    assert not passes("GG2", [day(1), day(2, during=None), day(3)])


def test_gg3_each_is_rated_and_none_higher_than_before() -> None:
    assert passes("GG3", [day(1), day(2), day(3, next_morning=0)])
    assert not passes("GG3", [day(1), day(2, next_morning=None), day(3)])
    assert not passes("GG3", [day(1), day(2, before=None), day(3)])
    assert not passes("GG3", [day(1), day(2, next_morning=2), day(3)])


@pytest.mark.parametrize(("done", "kept"), [(8, True), (7, False)])
def test_gg4_four_fifths_of_the_planned_sets(done: int, kept: bool) -> None:
    assert passes("GG4", [day(n, done=done) for n in range(1, 8)]) is kept


def test_gg4_more_on_one_day_makes_up_for_no_other() -> None:
    assert found("GG4", [missed(1), day(2, done=30)]).observed == 0.5


def test_gg4_leaves_excused_dates_out() -> None:
    assert found("GG4", [missed(1, excused=True), missed(2, before=7), day(3)]).observed == 1


def test_gg5_three_completed_session_days_within_seven_dates() -> None:
    early = [day(1), day(2), *(missed(n) for n in range(3, 7))]
    assert passes("GG5", [*early, day(7)])
    assert not passes("GG5", [*early, missed(7), day(8)])
    assert not passes("GG5", [day(1), day(2, done=4), day(3)])


def test_gg7_seven_dates_across_phases() -> None:
    red = [day(1, during=6), *(day(n) for n in range(2, 7))]
    assert not passes("GG7", [*red, day(7, approval=Approval("phase-2"))])
    assert passes("GG7", [*red, day(7), day(8)])


def test_gg9_rising_mornings_also_across_phases() -> None:
    def mornings(late: int, count: int = 3) -> list[Day]:
        early = [day(n, before=4, next_morning=1) for n in range(1, 8)]
        rated = [day(n, before=4, next_morning=late) for n in range(8, 8 + count)]
        return [*early, *rated, *(missed(n) for n in range(8 + count, 14)), day(14, before=4)]

    flat = found("GG9", mornings(2, 6))
    assert flat.passed
    assert flat.observed == pytest.approx(6 / 7)
    assert not passes("GG9", mornings(3, 6))
    assert passes("GG9", [day(n, next_morning=1 if n < 8 else 4, before=4) for n in range(1, 10)])


@pytest.mark.parametrize(
    ("early", "late", "pain", "told"),
    [
        pytest.param(3, 3, 1, "mean +0.00", id="three of each"),
        pytest.param(2, 3, 7, "too few ratings to compare", id="two of the week before"),
        pytest.param(3, 2, 7, "too few ratings to compare", id="two of this week"),
    ],
)
def test_gg9_compares_three_ratings_of_each_week(
    early: int, late: int, pain: int, told: str
) -> None:
    of_early = [day(n, next_morning=1 if n <= early else None) for n in range(1, 8)]
    of_late = [day(n, before=7, next_morning=pain if n > 14 - late else None) for n in range(8, 15)]
    finding = found("GG9", [*of_early, *of_late])
    assert (finding.passed, finding.text) == (True, told)


def test_gg9_a_rise_of_one_point_is_too_much() -> None:
    days = [day(n, before=4, next_morning=1 if n < 8 else 2) for n in range(1, 15)]
    assert (found("GG9", days).observed, passes("GG9", days)) == (1, False)


@pytest.mark.parametrize(("settle", "settled"), [(10, True), (11, False), (None, False)])
def test_gg10_settled_within_ten_minutes(settle: int | None, settled: bool) -> None:
    days = [day(1, settle_min=5), day(2, settle_min=settle), day(3, settle_min=5)]
    assert passes("GG10", days, "neural-thigh") is settled


# --- GG8: exit predicates ---------------------------------------------------------------------


def leaving(when: str, days: list[Day]) -> Finding:
    """What the only exit of phase 1 says on the last date."""
    usual = course()
    exit = (Criterion("only", when, "the only one", "", "[our default]"),)
    phases = (replace(usual.protocol.phases[0], exit=exit), *usual.protocol.phases[1:])
    protocol = replace(usual.protocol, phases=phases)
    result: tuple[Judged, ...] = replay(replace(usual, protocol=protocol), days)
    [finding] = [one for one in result[-1].findings if one.gate == "GG8"]
    return finding


def walked(number: int, value: float, **said: Any) -> Day:
    return day(number, measured=(Measured("walk_pain", value, f"a{number}"),), **said)


def test_gg8_a_value_counts_for_seven_days() -> None:
    when = "latest(walk_pain; phase, age<=7d) <= 0"
    days = [walked(1, 0), *(day(n) for n in range(2, 9))]
    assert leaving(when, days).passed
    assert leaving(when, days).text == "walk_pain 0"
    stale = leaving(when, [*days, day(9)])
    assert (stale.passed, stale.text) == (False, "walk_pain 0 8 days old")


def test_gg8_also_where_the_predicate_names_no_age() -> None:
    days = [walked(1, 0), *(day(n) for n in range(2, 10))]
    assert not leaving("latest(walk_pain; phase) <= 0", days).passed
    assert leaving("latest(walk_pain; phase, age<=14d) <= 0", days).passed


def test_gg8_only_inside_the_phase() -> None:
    result = judged([day(1, measured=ALL_CLEAR), day(2, approval=Approval("phase-1"))])
    assert {one.text.split()[1] for one in result[-1].findings if one.gate == "GG8"} == {"missing"}


def test_gg8_names_its_records() -> None:
    finding = leaving("latest(walk_pain; phase, age<=7d) <= 0", [walked(1, 2), walked(2, 1)])
    assert (finding.observed, finding.limit, finding.records) == (1, 0, ("a2",))


@pytest.mark.parametrize(
    ("when", "observed"),
    [
        ("max(pain_during; last:3) <= 2", 4),
        ("mean(pain_during; last:2) <= 2", 2.5),
        ("min(pain_next; days:2) <= 2", 1),
        ("sum(done_sets; days:3) >= 20", 15),
        ("count(pain_next; days:4) >= 2", 2),
        ("latest(walk_pain; episode) <= 2", 1),
        ("ratio(done_sets/planned_sets; days:2) >= 0.75", 0.75),
        ("max(pain_during; last:4) <= 9", None),  # three session days are no four
        ("max(pain_next; last:3) <= 9", None),  # one of the three was not rated
        ("count(settle_min; days:7) <= 0", None),  # nothing was said
        ("latest(settle_min; phase, age<=7d) <= 9", None),
    ],
)
def test_gg8_aggregates(when: str, observed: float | None) -> None:
    days = [
        walked(1, 1, during=4),
        missed(2),
        day(3, during=3, next_morning=None),
        day(4, during=2, done=5),
    ]
    finding = leaving(when, days)
    assert finding.observed == observed
    assert finding.passed is predicate.parse(when).holds(observed)


def test_gg8_an_excused_date_says_nothing_of_sets() -> None:
    days = [day(1, settle_min=7), missed(2, excused=True), missed(3, before=6), day(4, done=5)]
    assert leaving("count(done_sets; days:4) >= 1", days).observed == 2
    assert leaving("count(planned_sets; days:4) >= 1", days).observed == 2
    assert leaving("max(settle_min; days:4) <= 9", days).observed == 7


@pytest.mark.parametrize(
    ("slug", "last", "pain"),
    [
        pytest.param("pht", day(2, before=3, next_morning=1), 1, id="the later of two"),
        pytest.param("pht", day(2, before=3, next_morning=None), 3, id="the only one"),
        pytest.param("pht", missed(2, before=3, next_morning=1), None, id="without a session"),
        pytest.param("hs-grade-1", day(2, before=3), None, id="no load test"),
    ],
)
def test_gg8_the_load_test_is_a_rating(slug: str, last: Day, pain: float | None) -> None:
    sample = sample_of(judged([day(1), last], slug)[-1].case, "load_test_pain")
    assert (sample and sample[1]) == pain


def test_what_phones_report_is_found_on_the_date_it_was_reported() -> None:
    when = "latest(pain_next; phase, age<=3d) <= 1"
    days = [day(1), *(day(n, next_morning=None) for n in range(2, 5))]
    assert leaving(when, days).passed
    assert leaving(when, [*days, day(5, next_morning=None)]).text == "pain_next missing"
    assert leaving(when, [*days, day(5, next_morning=2)]).observed == 2


def test_gg8_the_newest_value_of_a_window_says_how_old_it_is() -> None:
    days = [walked(1, 2), *(day(n) for n in range(2, 9)), walked(9, 0)]
    assert leaving("mean(walk_pain; phase, age<=7d) <= 1", days).passed
    assert leaving("latest(walk_pain; days:9, age<=7d) <= 0", days).passed


def test_gg8_windows_of_the_phase_and_of_the_episode() -> None:
    days = [walked(1, 4), walked(2, 3), walked(3, 2, approval=Approval("phase-1")), walked(4, 1)]
    assert leaving("max(walk_pain; episode) <= 9", days).observed == 4
    assert leaving("max(walk_pain; phase) <= 9", days).observed == 2
    assert leaving("max(walk_pain; days:9) <= 9", days).observed == 2
    assert leaving("latest(walk_pain; days:2) <= 9", [*days, day(5), day(6)]).observed is None


def test_gg8_a_ratio_names_the_records_of_what_is_divided() -> None:
    told = (Measured("walk_pain", 3, "walk"), Measured("jog_slow_pain", 2, "jog"))
    finding = leaving("ratio(walk_pain/jog_slow_pain; days:1) <= 2", [day(1, measured=told)])
    assert (finding.observed, finding.records) == (1.5, ("walk",))


@pytest.mark.parametrize(
    ("compare", "below", "at", "above"),
    [
        ("<=", True, True, False), ("<", True, False, False), (">=", False, True, True),
        (">", False, False, True), ("==", False, True, False), ("!=", True, False, True),
    ],
)  # fmt: skip
def test_gg8_comparisons(compare: str, below: bool, at: bool, above: bool) -> None:
    rule = predicate.parse(f"latest(walk_pain; phase) {compare} 2.5")
    assert [rule.holds(value) for value in (2.4, 2.5, 2.6)] == [below, at, above]
    assert not rule.holds(None)


def test_gg8_what_cannot_be_worked_out_is_missing() -> None:
    told = (Measured("walk_pain", 3), Measured("jog_slow_pain", 0))
    of_nothing = leaving("ratio(walk_pain/jog_slow_pain; days:1) >= 0", [day(1, measured=told)])
    assert (of_nothing.passed, of_nothing.observed) == (False, None)
    of_unsaid = leaving("ratio(walk_pain/sit_min; days:1) >= 0", [day(1, measured=told)])
    assert of_unsaid.observed is None
    assert leaving("count(pain_next; last:9) >= 1", [day(1), day(2)]).observed == 2


def test_a_predicate_is_read_in_parts() -> None:
    assert predicate.parse("mean(pain_next; last:12, age<=14d) >= -0.5") == predicate.Predicate(
        "mean", "pain_next", "last", 12, 14, ">=", -0.5
    )
    assert predicate.parse("count(done_sets/planned_sets; episode) != 3") == predicate.Predicate(
        "count", "done_sets/planned_sets", "episode", 0, None, "!=", 3
    )


@pytest.mark.parametrize(
    "line",
    [
        "latest(walk_pain; phase, age<=7d)<= 0",
        "latest(walk_pain;phase) <= 0",
        "newest(walk_pain; phase) <= 0",
        "latest(walk_pain; last:0) <= 0",
        "latest(walk_pain; phase, age<=d) <= 0",
        "latest(walk pain; phase) <= 0",
        "latest(walk_pain; phase) => 0",
        "",
    ],
)
def test_what_is_no_predicate_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match="not a predicate"):
        predicate.parse(line)


def test_findings_of_a_date_stay_as_they_were() -> None:
    """They are worked out when asked for, out of what was known on their date."""
    lived = [day(n, measured=ALL_CLEAR if n == 3 else ()) for n in range(1, 20)]
    at_once = [judged(lived[: n + 1])[-1].findings for n in range(len(lived))]
    assert [one.findings for one in judged(lived)] == at_once
    assert judged(lived)[2].on == FIRST + timedelta(days=2)
