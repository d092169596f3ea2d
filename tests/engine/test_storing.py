"""What was stored goes on as if it had never been: round trips, and a chain that was cut."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import strategies as st

from protocols.engine.case import Course, Judged, Nerve, Pattern, Sample, State
from protocols.engine.day import Approval, Clearance, Colour, Day, Felt, Measured, Reported
from protocols.engine.easing import Tally
from protocols.engine.looking_back import Kept, looks_back_to, recalled
from protocols.engine.progression import replay
from protocols.engine.storing import day_as_json, day_from_json, state_as_json, state_from_json
from tests.builders import FIRST, course, day, judged, protocol
from tests.engine.histories import History, at_size, histories

SIZES = [60, pytest.param(10_000, marks=pytest.mark.campaign)]
DATES = st.dates(date(2020, 1, 1), date(2040, 1, 1))
WORDS = st.text(max_size=8)
COUNTS = st.integers(0, 400)
PAINS = st.none() | st.integers(0, 10)
VALUES = st.floats(allow_nan=False, allow_infinity=False)
SIGNS = st.lists(st.builds(Reported, WORDS, WORDS), max_size=3).map(tuple)
CODES = st.lists(WORDS, max_size=3).map(tuple)
SAMPLES: st.SearchStrategy[Sample] = st.tuples(DATES, VALUES, WORDS)
DAYS = st.builds(
    Day,
    on=DATES, planned=st.none() | COUNTS, done=COUNTS, before=PAINS, during=PAINS,
    next_morning=PAINS, settle_min=st.none() | COUNTS, spread=st.booleans(),
    pop_felt=st.booleans(), reported=SIGNS, pain_otherwise=PAINS,
    measured=st.lists(st.builds(Measured, WORDS, VALUES, WORDS), max_size=3).map(tuple),
    excused=st.booleans(), clearance=st.none() | st.builds(Clearance, WORDS, st.booleans()),
    felt=st.lists(st.builds(Felt, WORDS, PAINS, COUNTS, PAINS), max_size=3).map(tuple),
    slider=st.booleans(),
    approval=st.none() | st.builds(Approval, WORDS, st.booleans(), st.none() | DATES),
    opened=CODES, closed=CODES, nerve_worded=COUNTS, worse_with=CODES,
)  # fmt: skip
TALLIES = st.builds(Tally, st.lists(DATES, max_size=3).map(tuple), st.booleans(), st.none() | DATES)
MAYBE = st.none() | st.booleans()
NERVES = st.builds(
    Nerve,
    settle_min=st.none() | COUNTS, last_n_red=st.none() | DATES, exam=st.none() | SAMPLES,
    at_night=MAYBE, constant=MAYBE, below_knee=MAYBE,
    sliders=st.lists(st.tuples(DATES, st.sampled_from(Colour)), max_size=3).map(tuple),
)  # fmt: skip
PATTERNS = st.builds(
    Pattern,
    hill=st.none() | SAMPLES, slump=st.none() | SAMPLES, settle_min=st.none() | COUNTS,
    asked=st.dictionaries(WORDS, DATES, max_size=3), holding=st.frozensets(WORDS, max_size=3),
)  # fmt: skip
STATES = st.builds(
    State,
    phase_id=WORDS, started_on=DATES, window_from=DATES, days_left_out=COUNTS, half_left=COUNTS,
    last_step_back=st.none() | DATES, stop=SIGNS, missed=COUNTS, high_before=COUNTS,
    reviews=st.frozensets(WORDS, max_size=3), reviews_due=CODES,
    latest=st.dictionaries(WORDS, SAMPLES, max_size=3), ended=st.booleans(),
    eases=st.dictionaries(WORDS, TALLIES, max_size=3), nerve=NERVES,
    pattern=PATTERNS,
)  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_a_day_comes_back_as_it_was(size: int, seed: int) -> None:
    @at_size(size, seed, day=DAYS)
    def holds(day: Day) -> None:
        stored = json.dumps(day_as_json(day), allow_nan=False)
        again = day_from_json(json.loads(stored))
        assert again == day
        assert repr(again) == repr(day)


@pytest.mark.parametrize("size", SIZES)
def test_a_state_comes_back_as_it_was(size: int, seed: int) -> None:
    @at_size(size, seed, state=STATES)
    def holds(state: State) -> None:
        stored = json.dumps(state_as_json(state), allow_nan=False)
        again = state_from_json(json.loads(stored))
        assert again == state
        assert hash(again.reviews) == hash(state.reviews)
        assert json.dumps(state_as_json(again)) == stored


def test_every_field_is_drawn() -> None:
    """So that a field somebody adds is stored, and is tried here too."""
    full = State(
        phase_id="phase-2", started_on=FIRST, window_from=FIRST, days_left_out=1, half_left=2,
        last_step_back=FIRST, stop=(Reported("severe", "urgent"),), missed=3, high_before=1,
        reviews=frozenset({"gap-7", "age-review"}), reviews_due=("review-4wk",),
        latest={"walk_pain": (FIRST, 0.5, "r1")}, ended=True,
        eases={"p1": Tally((FIRST,), hurt_last=True)},
        nerve=Nerve(settle_min=5, sliders=((FIRST, Colour.GREEN),)),
        pattern=Pattern(slump=(FIRST, 1, "r2"), asked={"consider-glides": FIRST}),
    )  # fmt: skip
    assert state_as_json(full) == {
        "phase_id": "phase-2", "started_on": "2026-03-02", "window_from": "2026-03-02",
        "days_left_out": 1, "half_left": 2, "last_step_back": "2026-03-02",
        "stop": [{"code": "severe", "level": "urgent"}], "missed": 3, "high_before": 1,
        "reviews": ["age-review", "gap-7"], "reviews_due": ["review-4wk"],
        "latest": {"walk_pain": ["2026-03-02", 0.5, "r1"]}, "ended": True,
        "eases": {"p1": {"row": ["2026-03-02"], "hurt_last": True}},
        "nerve": {"settle_min": 5, "sliders": [["2026-03-02", "GREEN"]]},
        "pattern": {
            "slump": ["2026-03-02", 1, "r2"], "asked": {"consider-glides": "2026-03-02"},
        },
    }  # fmt: skip
    assert state_as_json(full).keys() == set(State.__dataclass_fields__)
    [slider] = state_from_json(state_as_json(full)).nerve.sliders
    assert slider[1] is Colour.GREEN


def test_a_quiet_date_takes_little_room() -> None:
    assert day_as_json(Day(on=FIRST)) == {"on": "2026-03-02"}
    assert day_as_json(Day(on=FIRST, clearance=Clearance(), before=0)) == {
        "on": "2026-03-02",
        "before": 0,
        "clearance": {},
    }


def test_what_no_field_is_called_is_refused() -> None:
    with pytest.raises(TypeError, match="colour"):
        day_from_json({"on": "2026-03-02", "colour": "GREEN"})


# --- A chain that was cut ---------------------------------------------------------------------


def stored(one: Judged, *, with_verdict: bool) -> Kept:
    """A date as it comes back from JSON."""
    inherited = json.loads(json.dumps(state_as_json(one.case.inherited)))
    day = json.loads(json.dumps(day_as_json(one.day)))
    verdict = (one.rule, one.outcome) if with_verdict else None
    return Kept(state_from_json(inherited), day_from_json(day), one.case.planned, one.told, verdict)


def cut(
    course: Course, lived: Sequence[Judged], state: State, on: date, *, known: bool
) -> list[Kept]:
    """What of the dates lived is needed to judge this one, which inherits this state, and later."""
    counted = [one.on for one in reversed(lived) if one.on < on and one.counts] if known else []
    first = looks_back_to(course, state, on, counted)
    return [stored(one, with_verdict=known) for one in lived if one.on >= first]


def same(again: Judged, one: Judged) -> bool:
    return again == one and again.findings == one.findings


@pytest.mark.parametrize("size", SIZES)
def test_a_verdict_needs_no_more_of_the_chain_than_it_looks_back_to(size: int, seed: int) -> None:
    """From any date on, out of what was stored, whatever late data there had been."""

    @at_size(size, seed, told=histories(late=True), at=st.integers(0, 200), known=st.booleans())
    def holds(told: History, at: int, known: bool) -> None:
        whole = told.judged()
        at %= len(whole)
        kept = cut(told.course, whole, whole[at].case.inherited, whole[at].on, known=known)
        again = recalled(told.course, kept)
        later = len(whole) - at
        assert all(map(same, again[len(again) - later :], whole[at:]))


@pytest.mark.parametrize("size", SIZES)
def test_a_fold_goes_on_from_what_was_stored(size: int, seed: int) -> None:
    """Also with late data, where the chain reaches as far as the first date they are about."""

    @at_size(size, seed, told=histories(late=True), at=st.integers(0, 200), known=st.booleans())
    def holds(told: History, at: int, known: bool) -> None:
        whole = told.judged()
        at %= len(whole)
        today = told.days[at].on
        lived = replay(told.course, told.days[:at], [n for n in told.late if n.arrives < today])
        ahead = [one for one in told.late if one.arrives >= today]
        on = min([today, *(one.day.on for one in ahead)])
        begins = (on - told.days[0].on).days
        states = [
            *(one.case.inherited for one in lived),
            lived[-1].after if lived else told.course.start(),
        ]
        kept = cut(told.course, lived, states[begins], on, known=known)
        chain = recalled(told.course, kept)
        again = replay(told.course, told.days[at:], ahead, chain=chain)
        later = len(whole) - begins
        assert all(map(same, again[len(again) - later :], whole[begins:]))


@pytest.mark.parametrize(
    ("state", "sessions", "expected"),
    [
        pytest.param({}, (), -13, id="two weeks of morning pain (GG9)"),
        pytest.param({"window_from": 1}, (), 1, id="the start of the phase, for three sessions"),
        pytest.param({"window_from": 1}, (35, 31, 20, 18), 20, id="the third of known sessions"),
        pytest.param({"window_from": 30}, (35, 28, 20), -13, id="sessions of the phase before"),
    ],
)
def test_how_far_back(state: dict[str, int], sessions: tuple[int, ...], expected: int) -> None:
    on = FIRST + timedelta(days=39)  # D40
    begun = FIRST + timedelta(days=state.get("window_from", 40) - 1)
    inherited = State(phase_id="phase-1", started_on=begun, window_from=begun)
    counted = [FIRST + timedelta(days=number - 1) for number in sessions]
    found = looks_back_to(course(), inherited, on, counted)
    wanted = on + timedelta(days=expected) if expected < 0 else FIRST + timedelta(days=expected - 1)
    assert found == wanted


@pytest.mark.parametrize(
    ("number", "days"),
    [
        ("red_repeat_days", 90), ("review_value_days", 91), ("gate_adherence_days", 90),
        ("gate_completed_within_days", 90), ("gate_red_free_days", 90), ("gate_trend_days", 180),
        ("nerve_words_days", 90), ("sit_bone_within_days", 90),
    ],
)  # fmt: skip
def test_every_window_of_the_rules_is_looked_back_over(number: str, days: int) -> None:
    on = FIRST + timedelta(days=199)
    with_it = replace(course(), numbers={**course().numbers, number: 90})
    state = State(phase_id="phase-1", started_on=on, window_from=on)
    assert looks_back_to(with_it, state, on) == on - timedelta(days=days - 1)


@pytest.mark.parametrize(
    ("when", "expected"),
    [
        pytest.param("max(pain_during; last:5) <= 2", 7, id="five session days"),
        pytest.param("max(pain_during; days:30) <= 2", 11, id="thirty dates"),
        pytest.param("max(pain_during; days:60) <= 2", 5, id="never before the phase began"),
        pytest.param("mean(walk_pain; phase) <= 2", 5, id="the phase"),
        pytest.param("count(walk_pain; episode) >= 2", 1, id="the episode"),
        pytest.param("latest(pain_next; phase, age<=20d) <= 2", 20, id="the newest report"),
        pytest.param("latest(walk_pain; phase, age<=20d) <= 2", 27, id="assessed: in the state"),
    ],
)
def test_how_far_back_exit_predicates_look(when: str, expected: int) -> None:
    first, *others = protocol().phases
    asked = replace(first, exit=(replace(first.exit[0], when=when),))
    of = replace(protocol(), phases=(asked, *others))
    on, begun = FIRST + timedelta(days=39), FIRST + timedelta(days=4)
    state = State(phase_id="phase-1", started_on=begun, window_from=begun)
    sessions = [on - timedelta(days=n) for n in (1, 2, 3, 20, 33, 34)]
    found = looks_back_to(replace(course(), protocol=of), state, on, sessions)
    assert (found - FIRST).days + 1 == expected


def test_a_verdict_that_was_given_stands_where_the_chain_is_too_short_for_it() -> None:
    """The second RED within a week is R5; cut off from the first, the same date would be R6."""
    days = [day(1, during=6), day(2), day(3, during=6)]
    last = judged(days)[-1]
    assert last.rule == "R5"

    kept = Kept(last.case.inherited, last.day, last.case.planned)
    said = replace(kept, verdict=(last.rule, last.outcome))

    assert [one.rule for one in recalled(course(), [kept])] == ["R6"]
    [again] = recalled(course(), [said])
    assert (again.rule, again.outcome) == ("R5", last.outcome)
