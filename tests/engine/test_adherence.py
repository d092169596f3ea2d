"""The definition `adherence-1`: tables for each measure, and what holds for everybody."""

from __future__ import annotations

from dataclasses import astuple, replace
from datetime import date, timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.engine.adherence import (
    INTERRUPTION,
    LEAST_DUE,
    WHOLE,
    BookedDay,
    Counts,
    Pain,
    Ratios,
    Spread,
    Weeks,
    by_week,
    counts_of,
    letter_of,
    measure,
    pain_of,
    ratio,
    ratios_of,
    runs_of,
    spread_of,
    weeks_of,
)

MONDAY = date(2026, 11, 2)
A_DAY = timedelta(days=1)
TARGET = 8_000


def told(*days: str, plan: str = "a", first: date = MONDAY) -> list[BookedDay]:
    """Dates in a row, a letter for each slot; a date that ends with `~` was not heard of since."""
    return [
        BookedDay(
            plan=plan, on=first + n * A_DAY, due=sum(day.count(one) for one in "CPSM"),
            completed=day.count("C"), partial=day.count("P"), skipped=day.count("S"),
            excused=day.count("X"), dose=day.count("C") * WHOLE + day.count("P") * WHOLE // 2,
            is_heard="~" not in day, is_active="C" in day or "P" in day,
            is_told=day not in ("", "M"),
            sessions=sum(day.count(one) for one in "CPS"),
        )
        for n, day in enumerate(days)
    ]  # fmt: skip


# --- Tables -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        pytest.param([], (0, 0), id="nothing"),
        pytest.param(["C", "M", "C"], (1, 0), id="one"),
        pytest.param(["M", "S", "C"], (1, 0), id="skipped is not done"),
        pytest.param(["M", "M", "M"], (0, 1), id="three are an interruption"),
        pytest.param(["M", "", "M", "X", "M"], (0, 1), id="rest ends no run"),
        pytest.param(["MM", "C", "MM"], (2, 0), id="done in between"),
        pytest.param(["CMM", "MC", "MM"], (1, 1), id="what was done of a date came first"),
        pytest.param(["M", "M~", "M~"], (1, 0), id="not heard of makes none longer"),
        pytest.param(["C~", "M~"], (0, 0), id="not heard of makes none"),
    ],
)
def test_runs(days: list[str], expected: tuple[int, int]) -> None:
    assert runs_of(told(*days)) == expected


def test_each_plan_has_runs_of_its_own() -> None:
    one, other = told("M", "M"), told("M", "M", plan="b")
    assert runs_of([*one, *other]) == (2, 0)
    assert runs_of([*other, *one]) == (2, 0)


@pytest.mark.parametrize(
    ("part", "whole", "expected"),
    [
        (0, 0, None), (0, 3, 0.0), (1, 3, 0.3333), (2, 3, 0.6667), (3, 3, 1.0),
        (1, 20_000, 0.0001), (1, 20_001, 0.0), (12, 14, 0.8571), (9, 14, 0.6429),
    ],
)  # fmt: skip
def test_a_ratio_has_four_decimals_and_a_half_goes_up(
    part: int, whole: int, expected: float | None
) -> None:
    assert ratio(part, whole) == expected


@pytest.mark.parametrize(
    ("weeks", "expected"),
    [
        pytest.param([], Weeks(of=0, on_target=0, current=0, longest=0), id="none"),
        pytest.param([(5, 4)], Weeks(of=1, on_target=1, current=1, longest=1), id="just reached"),
        pytest.param(
            [(5, 5), (5, 5), (5, 3), (5, 4)],
            Weeks(of=4, on_target=3, current=1, longest=2), id="a row that was broken",
        ),
        pytest.param(
            [(5, 5), (0, 0), (5, 5)],
            Weeks(of=2, on_target=2, current=2, longest=2), id="a week of rest breaks none",
        ),
        pytest.param(
            [(5, 5), (5, 0)], Weeks(of=2, on_target=1, current=0, longest=1), id="ended",
        ),
    ],
)  # fmt: skip
def test_weeks_on_target(weeks: list[tuple[int, int]], expected: Weeks) -> None:
    assert weeks_of(weeks, TARGET) == expected


def test_weeks_are_iso_weeks() -> None:
    days = told("C", "M", first=date(2027, 1, 3))  # a Sunday of the year before, and a Monday
    assert by_week(days) == [(1, 1), (1, 0)]


@pytest.mark.parametrize(
    ("pains", "expected"),
    [
        ({}, None),
        ({0: 1}, Pain(median=0, worst=0)),
        ({1: 1, 4: 1}, Pain(median=2.5, worst=4)),
        ({1: 5, 9: 1}, Pain(median=1, worst=9)),
    ],
)
def test_pain(pains: dict[int, int], expected: Pain | None) -> None:
    assert pain_of(pains) == expected


def test_the_example_of_three_patients() -> None:
    spread = spread_of({(14, 12): 1, (14, 6): 1, (10, 9): 1, (3, 0): 1}, TARGET)

    assert (spread.patients, spread.measured, spread.on_target) == (4, 3, 2)
    assert (spread.median, spread.quartiles) == (0.8571, (0.6429, 0.8786))


def test_who_had_little_due_is_not_compared() -> None:
    spread = spread_of({(LEAST_DUE - 1, 3): 7}, TARGET)
    assert (spread.patients, spread.measured, spread.median, spread.quartiles) == (7, 0, None, None)


@pytest.mark.parametrize(
    ("slots", "letter"),
    [
        ({}, "-"), ({"excused": 2}, "X"), ({"completed": 1, "excused": 1}, "C"),
        ({"partial": 1, "completed": 1}, "P"), ({"skipped": 1, "partial": 1}, "S"),
        ({"not_heard": 1, "skipped": 1}, "?"), ({"missed": 1, "not_heard": 1}, "M"),
    ],
)  # fmt: skip
def test_a_date_shows_its_least_complete_slot(slots: dict[str, int], letter: str) -> None:
    none = dict.fromkeys(("missed", "not_heard", "skipped", "partial", "completed", "excused"), 0)
    assert letter_of(**none | slots) == letter


def test_what_is_not_heard_of_counts_in_the_lower_bound_alone() -> None:
    found = measure(told("C", "C", "M", "M~", "M~"), MONDAY, MONDAY + 6 * A_DAY, TARGET)

    assert (found.counts.due, found.counts.missed, found.counts.not_heard) == (3, 1, 2)
    assert found.ratios.session_adherence == 0.6667
    assert found.ratios.session_adherence_low == 0.4


def test_one_patient_in_all_figures() -> None:
    days = told("C", "P", "CS", "M", "X", "", "M~")
    days[0] = replace(days[0], pain_during=1)
    days[1] = replace(days[1], pain_during=5, sessions_late=1)

    found = measure(days, MONDAY, MONDAY + 6 * A_DAY, TARGET)

    assert found.counts == Counts(
        due=5, completed=2, partial=1, skipped=1, not_heard=1, excused=1, dose=25_000,
        active_days=3, data_days=5, sessions=4, sessions_late=1, missed_runs=1,
    )  # fmt: skip
    assert found.ratios == Ratios(
        session_adherence=0.6, session_adherence_low=0.5, completed_ratio=0.4, dose_adherence=0.5,
        late_ratio=0.25,
    )  # fmt: skip
    assert found.pain == Pain(median=3.0, worst=5)
    assert found.weeks == Weeks(of=1, on_target=0, current=0, longest=0)


@pytest.mark.parametrize(("patients", "is_small"), [(4, True), (5, False)])
def test_figures_of_fewer_than_five_patients_are_marked(patients: int, is_small: bool) -> None:
    spread = Spread(patients=patients, measured=0, on_target=0, median=None, quartiles=None)
    assert spread.is_small == is_small


def test_a_date_of_two_plans_is_one_day_with_the_slots_of_both() -> None:
    counts = counts_of([*told("C", "M"), *told("C", "", plan="b")])
    assert (counts.due, counts.completed, counts.active_days, counts.data_days) == (3, 2, 1, 1)


def test_nothing_due_gives_no_ratio() -> None:
    assert set(astuple(Counts())) == {0}
    found = ratios_of(Counts(excused=3))
    assert {getattr(found, name) for name in found.__dataclass_fields__} == {None}


# --- What holds for everybody -----------------------------------------------------------------


@st.composite
def lives(draw: st.DrawFn) -> list[BookedDay]:
    """One patient's dates, with one plan or two, and a phone that may fall silent."""
    line = draw(st.text("CPSMX -", max_size=60))  # a dash ends a date
    dates = [one.replace(" ", "") for one in line.split("-")]
    half = len(dates) // 2 if draw(st.booleans()) else len(dates)
    heard, pain = draw(st.integers(0, 12)), draw(st.none() | st.integers(0, 10))
    found = []
    for plan, of_plan in (("a", dates[:half]), ("b", dates[half:])):
        marked = [day + ("" if n < heard else "~") for n, day in enumerate(of_plan)]
        found += told(*marked, plan=plan)
    return [
        replace(day, sessions_late=day.sessions // 2, pain_during=pain if day.done else None)
        for day in found
    ]


LAST = MONDAY + 60 * A_DAY


@given(lives(), st.integers(0, WHOLE))
def test_ratios_lie_between_0_and_1_and_the_lower_bound_is_below(
    days: list[BookedDay], target: int
) -> None:
    found = measure(days, MONDAY, LAST, target)
    ratios = {name: getattr(found.ratios, name) for name in found.ratios.__dataclass_fields__}
    assert all(value is None or 0 <= value <= 1 for value in ratios.values())
    plain, low = ratios["session_adherence"], ratios["session_adherence_low"]
    assert plain is None or low <= plain
    assert plain is None or ratios["completed_ratio"] <= plain
    assert plain is None or ratios["dose_adherence"] <= plain
    assert found.weeks.current <= found.weeks.longest <= found.weeks.on_target <= found.weeks.of


@given(lives())
def test_every_due_slot_is_one_of_its_states(days: list[BookedDay]) -> None:
    counts = counts_of(days)
    assert counts.done + counts.skipped + counts.missed == counts.due
    assert counts.due + counts.not_heard == sum(day.due for day in days)
    assert counts.active_days <= counts.data_days
    missed = counts.skipped + counts.missed
    assert counts.missed_runs + INTERRUPTION * counts.interruptions <= missed


@given(lives(), st.randoms(use_true_random=False))
def test_the_order_in_which_dates_are_told_is_nothing(days: list[BookedDay], dice: object) -> None:
    shuffled = list(days)
    getattr(dice, "shuffle")(shuffled)  # noqa: B009  # hypothesis gives a Random
    assert measure(shuffled, MONDAY, LAST, TARGET) == measure(days, MONDAY, LAST, TARGET)


@given(lives(), st.integers(0, 40))
def test_excused_dates_change_nothing_but_their_own_count(days: list[BookedDay], n: int) -> None:
    rest = BookedDay(plan="a", on=MONDAY + (50 + n % 5) * A_DAY, excused=2)
    without, with_rest = (measure(one, MONDAY, LAST, TARGET) for one in (days, [*days, rest]))
    assert with_rest.ratios == without.ratios
    assert with_rest.weeks == without.weeks
    assert replace(with_rest.counts, excused=without.counts.excused) == without.counts


@given(lives())
def test_hearing_from_the_phone_never_makes_it_look_worse_than_the_lower_bound(
    days: list[BookedDay],
) -> None:
    """If nothing was done on those dates, what is told then is the lower bound of before."""
    heard = [replace(day, is_heard=True) for day in days]
    before, after = (measure(one, MONDAY, LAST, TARGET) for one in (days, heard))
    assert after.ratios.session_adherence == before.ratios.session_adherence_low
    assert after.counts.not_heard == 0


@given(lives(), st.integers(0, 12), st.integers(0, 12))
def test_a_window_holds_its_dates_alone(days: list[BookedDay], first: int, length: int) -> None:
    start, end = MONDAY + first * A_DAY, MONDAY + (first + length) * A_DAY
    inside = [day for day in days if start <= day.on <= end]
    assert measure(days, start, end, TARGET) == measure(inside, MONDAY, LAST, TARGET)


@given(lives(), lives())
def test_sums_of_patients_are_sums(one: list[BookedDay], other: list[BookedDay]) -> None:
    renamed = [replace(day, plan=f"other {day.plan}") for day in other]
    both, alone, rest = (counts_of(days) for days in ([*one, *renamed], one, renamed))
    for name in ("due", "completed", "skipped", "not_heard", "dose", "missed_runs", "sessions"):
        assert getattr(both, name) == getattr(alone, name) + getattr(rest, name)


@given(st.dictionaries(st.tuples(st.integers(0, 30), st.integers(0, 30)), st.integers(1, 9)))
def test_quartiles_are_in_order_and_are_values_between(pairs: dict[tuple[int, int], int]) -> None:
    patients = {(due, min(done, due)): count for (due, done), count in pairs.items()}
    spread = spread_of(patients, TARGET)
    assert spread.on_target <= spread.measured <= spread.patients == sum(patients.values())
    if spread.quartiles is not None:
        low, high = spread.quartiles
        assert spread.median is not None
        assert 0 <= low <= spread.median <= high <= 1


@given(st.integers(0, 400), st.integers(1, 400))
def test_ratios_are_exact(part: int, whole: int) -> None:
    part = min(part, whole)
    found = ratio(part, whole)
    assert found is not None
    assert abs(Fraction(found).limit_denominator(WHOLE) - Fraction(part, whole)) <= Fraction(
        1, 2 * WHOLE
    )
