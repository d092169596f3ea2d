"""What is due on a date: schedules, slots, ids, sides, doses."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any
from uuid import UUID, uuid5

import pytest

from protocols.engine.definition import (
    Dose,
    Limits,
    Phase,
    Prescription,
    Protocol,
    Reps,
    Schedule,
    Stage,
)
from protocols.engine.plan import (
    DoneSet,
    Easier,
    PhaseSpan,
    Prescribed,
    Terms,
    days_from,
    falls_on,
    parts_for,
    performed_amount,
    prescribe,
    prescribed_amount,
    ratio_of,
    sets_of,
    sets_on,
    sides_of,
    slots_on,
    spread,
)

MONDAY = date(2026, 3, 2)
ASSIGNMENT = UUID("c0ffee00-5a1d-4d2e-9b3c-1f2e3d4c5b6a")
SPAN = PhaseSpan("phase-1", MONDAY)
DAILY = Schedule("daily")


def prescribed(exercise: str = "sg-bridge", **changes: object) -> Prescribed:
    usual = Prescribed(
        id=exercise,
        version=1,
        phase_id="phase-1",
        key=f"phase-1/{exercise}",
        exercise=exercise,
        order=1,
        side="right",
        unit="reps",
        dose=Dose(sets=3, reps=Reps(8, 12)),
        schedule=DAILY,
        pain_ceiling=2,
        counts=True,
    )
    return replace(usual, **changes)  # type: ignore[arg-type]


def days_due(schedule: Schedule, weeks: int = 2, **options: frozenset[int]) -> list[int]:
    dates = [MONDAY + timedelta(days=n) for n in range(7 * weeks)]
    return [n + 1 for n, on in enumerate(dates) if falls_on(schedule, on, SPAN, **options)]


@pytest.mark.parametrize(
    ("schedule", "due"),
    [
        pytest.param(Schedule("daily"), list(range(1, 15)), id="daily"),
        pytest.param(Schedule("weekly", per_week=1), [1, 8], id="once a week"),
        pytest.param(Schedule("weekly", per_week=2), [1, 4, 8, 11], id="twice a week"),
        pytest.param(Schedule("weekly", per_week=3), [1, 3, 5, 8, 10, 12], id="three a week"),
        pytest.param(
            Schedule("weekly", per_week=5), [1, 2, 3, 5, 6, 8, 9, 10, 12, 13], id="five a week"
        ),
        pytest.param(Schedule("weekly", per_week=7), list(range(1, 15)), id="seven a week"),
        pytest.param(Schedule("every_n_days", every_n_days=2), [1, 3, 5, 7, 9, 11, 13], id="q2d"),
        pytest.param(Schedule("every_n_days", every_n_days=3), [1, 4, 7, 10, 13], id="q3d"),
        pytest.param(Schedule("once"), [1], id="once"),
        pytest.param(Schedule("every_n_days"), list(range(1, 15)), id="every day, unsaid"),
        pytest.param(Schedule("weekly"), list(range(1, 15)), id="every day of the week, unsaid"),
        pytest.param(Schedule("daily", from_day=8), list(range(8, 15)), id="from day 8"),
        pytest.param(Schedule("daily", to_day=2), [1, 2], id="the first two days"),
        pytest.param(Schedule("weekly", per_week=2, from_day=3), [3, 6, 10, 13], id="from day 3"),
    ],
)
def test_days_due(schedule: Schedule, due: list[int]) -> None:
    assert days_due(schedule) == due


def test_preferred_weekdays_move_what_is_done_n_times_a_week() -> None:
    tue_thu_sat = frozenset({1, 3, 5})
    assert days_due(Schedule("weekly", per_week=3), training_days=tue_thu_sat) == [
        2,
        4,
        6,
        9,
        11,
        13,
    ]
    assert days_due(Schedule("weekly", per_week=1), training_days=tue_thu_sat) == [4, 11]
    more = days_due(Schedule("weekly", per_week=4), training_days=tue_thu_sat)
    assert more == days_due(Schedule("weekly", per_week=4)), "more often than they are chosen"
    daily = days_due(Schedule("daily"), training_days=tue_thu_sat)
    assert daily == list(range(1, 15)), "what is done daily stays daily"


def test_it_is_due_or_it_is_not() -> None:
    only = Schedule("daily", from_day=2, to_day=2)
    assert [falls_on(only, MONDAY + timedelta(days=n), SPAN) for n in range(3)] == [
        False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("times", range(1, 8))
def test_a_week_holds_exactly_as_many_days_as_prescribed(times: int) -> None:
    assert len(days_due(Schedule("weekly", per_week=times), weeks=6)) == 6 * times


@pytest.mark.parametrize(
    ("times", "places", "where"),
    [(1, 1, (0,)), (1, 2, (1,)), (1, 3, (1,)), (2, 3, (0, 2)), (2, 2, (0, 1)), (2, 4, (1, 3))],
)
def test_spread(times: int, places: int, where: tuple[int, ...]) -> None:
    assert spread(times, places) == where


def slots(*rows: Prescribed, on: date = MONDAY, **options: object):
    return slots_on(
        on,
        span=SPAN,
        prescriptions=rows,
        assignment_id=ASSIGNMENT,
        **options,  # type: ignore[arg-type]
    )


def test_the_most_frequent_exercise_makes_the_slots_of_a_date() -> None:
    twice = prescribed("mo-arom", order=2, schedule=Schedule("daily", sessions_per_day=2))
    found = slots(prescribed(), twice)
    assert [slot.part_of_day for slot in found] == ["morning", "evening"]
    assert [[i.prescribed.exercise for i in slot.items] for slot in found] == [
        ["mo-arom"],
        ["sg-bridge", "mo-arom"],
    ]


def test_a_date_has_at_most_six_slots() -> None:
    often = prescribed(schedule=Schedule("daily", sessions_per_day=8))
    assert [slot.key for slot in slots(often)] == ["1", "2", "3", "4", "5", "6"]
    assert due(often) == [("sg-bridge", 3)] * 6


def test_the_sets_of_a_date_are_those_of_its_slots() -> None:
    """Counted for themselves they have to agree: `due` says so."""
    breaks = prescribed("ed-breaks", counts=False, schedule=Schedule("daily", sessions_per_day=8))
    assert due(prescribed(), prescribed("mo-arom", schedule=TWICE_A_DAY), breaks) == [
        ("ed-breaks", 3), ("mo-arom", 3), ("mo-arom", 3), ("sg-bridge", 3),
    ]  # fmt: skip


def test_self_care_is_shown_once_and_makes_no_slots_of_its_own() -> None:
    breaks = prescribed("ed-breaks", counts=False, schedule=Schedule("daily", sessions_per_day=8))
    [slot] = slots(prescribed(), breaks)
    assert [(i.prescribed.exercise, i.times) for i in slot.items] == [
        ("ed-breaks", 8),
        ("sg-bridge", 1),
    ]
    assert slot.counts
    [alone] = slots(breaks)
    assert not alone.counts


def test_left_comes_before_right_whatever_the_ids() -> None:
    one = prescribed(id="z", side="left"), prescribed(id="a", side="right")
    for rows in (one, one[::-1]):
        [slot] = slots(*rows)
        assert [item.prescribed.side for item in slot.items] == ["left", "right"]


def test_slot_ids_depend_on_assignment_date_and_key_alone() -> None:
    before = [slot.id for slot in slots(prescribed())]
    assert before == [uuid5(ASSIGNMENT, "2026-03-02/1")]
    tailored = prescribed("sg-other", dose=Dose(sets=1, reps=Reps(1, 1)), pain_ceiling=4)
    assert [slot.id for slot in slots(tailored)] == before
    assert [slot.id for slot in slots(prescribed(), on=MONDAY + timedelta(days=1))] != before


def test_other_phases_stay_away() -> None:
    assert slots(prescribed(phase_id="phase-2")) == ()


def test_on_other_days_than() -> None:
    heavy = prescribed("sg-curl-hsr", schedule=Schedule("weekly", per_week=3))
    holds = prescribed("sg-hold", schedule=Schedule("daily", not_on_days_of="sg-curl-hsr"))
    week = [
        {item.prescribed.exercise for slot in slots(heavy, holds, on=on) for item in slot.items}
        for on in (MONDAY + timedelta(days=n) for n in range(7))
    ]
    assert [len(names) for names in week] == [1] * 7
    assert sum("sg-curl-hsr" in names for names in week) == 3


def test_a_stage_takes_over_from_its_day() -> None:
    ramp = prescribed(
        stages=(Stage(8, Dose(sets=2, reps=Reps(6, 6)), Schedule("weekly", per_week=2)),)
    )
    assert ramp.on_day(7)[0].sets == 3
    assert ramp.on_day(8)[0].sets == 2
    later = [slots(ramp, on=MONDAY + timedelta(days=n)) for n in range(7, 14)]
    assert sum(bool(found) for found in later) == 2


@pytest.mark.parametrize(
    ("count", "wanted", "parts"),
    [
        (1, (), ("any",)),
        (2, (), ("morning", "evening")),
        (3, (), ("morning", "midday", "evening")),
        (4, (), ("any",) * 4),
        (1, ("evening", "morning"), ("evening",)),
        (2, ("midday", "evening"), ("midday", "evening")),
        (3, ("evening",), ("morning", "midday", "evening")),
    ],
)
def test_parts_of_day(count: int, wanted: tuple[str, ...], parts: tuple[str, ...]) -> None:
    assert parts_for(count, wanted) == parts


@pytest.mark.parametrize(
    ("catalogue", "affected", "resolved"),
    [
        ("affected", "left", ["left"]),
        ("affected", "both", ["left", "right"]),
        ("affected", "none", ["none"]),
        ("affected", "", ["none"]),
        ("unaffected", "none", ["none"]),
        ("unaffected", "left", ["right"]),
        ("unaffected", "right", ["left"]),
        ("unaffected", "both", []),
        ("each_side", "left", ["both"]),
        ("bilateral", "right", ["both"]),
        ("alternating", "right", ["alternate"]),
        ("n/a", "right", ["none"]),
    ],
)
def test_sides(catalogue: str, affected: str, resolved: list[str]) -> None:
    assert [side.value for side in sides_of(catalogue, affected)] == resolved


@pytest.mark.parametrize(
    ("unit", "dose", "done", "ratio"),
    [
        pytest.param(
            "reps",
            Dose(3, Reps(4, 6)),
            [DoneSet(5), DoneSet(5), DoneSet(4)],
            1,
            id="met at the minimum",
        ),
        pytest.param("reps", Dose(3, Reps(10, 10)), [DoneSet(10)], 1 / 3, id="one set of three"),
        pytest.param("reps", Dose(2, Reps(10, 10)), [], 0, id="left out"),
        pytest.param("reps", Dose(2, Reps(10, 10)), [DoneSet(50)], 1, id="more is not more"),
        pytest.param(
            "reps", Dose(3, reps_by_set=(12, 10, 8)), [DoneSet(12), DoneSet(3)], 0.5, id="by set"
        ),
        pytest.param("hold_s", Dose(3, Reps(4, 6), hold_s=20), [DoneSet(4, 20)] * 3, 1, id="holds"),
        pytest.param(
            "hold_s", Dose(3, Reps(4, 4), hold_s=20), [DoneSet(4, 10)] * 3, 0.5, id="short holds"
        ),
        pytest.param(
            "hold_s",
            Dose(2, Reps(1, 1), hold_s=30),
            [DoneSet(hold_s=30)],
            0.5,
            id="a hold without a count",
        ),
        pytest.param(
            "hold_s", Dose(1, Reps(5, 5), hold_s=10), [DoneSet(reps=5)], 1, id="counted, not timed"
        ),
        pytest.param(
            "duration_s",
            Dose(1, duration_s=600),
            [DoneSet(duration_s=300)],
            0.5,
            id="half the time",
        ),
        pytest.param(
            "distance_m", Dose(2, distance_m=100), [DoneSet(distance_m=100)], 0.5, id="half the way"
        ),
    ],
)
def test_dose_ratio(unit: str, dose: Dose, done: list[DoneSet], ratio: float) -> None:
    performed = performed_amount(done, dose, unit)
    assert ratio_of(performed, prescribed_amount(dose, unit)) == pytest.approx(ratio)


@pytest.mark.parametrize("unit", ["hold_s", "duration_s", "distance_m"])
def test_a_dose_that_does_not_say_how_long_or_far_asks_for_nothing(unit: str) -> None:
    assert prescribed_amount(Dose(2, Reps(5, 5)), unit) == 0


@pytest.mark.parametrize("unit", ["reps", "hold_s", "duration_s", "distance_m"])
def test_a_set_of_which_nothing_was_said_adds_nothing(unit: str) -> None:
    dose = Dose(2, Reps(5, 5), hold_s=10)
    assert performed_amount([DoneSet()], dose, unit) == 0
    assert performed_amount([DoneSet(reps=5)], replace(dose, hold_s=None), "hold_s") == 0
    assert performed_amount([DoneSet(reps=0, hold_s=10)], dose, "hold_s") == 0


@pytest.mark.parametrize(
    ("performed", "prescribed", "ratio"), [(0, 0, 1), (0, 1, 0), (1, 1, 1), (1, 4, 0.25), (5, 4, 1)]
)
def test_ratio_of(performed: float, prescribed: float, ratio: float) -> None:
    assert ratio_of(performed, prescribed) == ratio


def test_days_from() -> None:
    assert days_from(MONDAY, 3) == tuple(date(2026, 3, n) for n in (2, 3, 4))


def protocol_with(*rows: Prescription) -> Protocol:
    phase = Phase(
        id="phase-1",
        number=1,
        title="",
        goals="",
        min_days=1,
        min_days_source="",
        prescriptions=rows,
    )
    return Protocol(
        slug="p", version="1.0.0", title="", condition="", indications="", not_for="",
        expected_course="", regression="", limits=Limits(2, 6, 2, 8, False), phases=(phase,),
        sources=(), licence="",
    )  # fmt: skip


def row(exercise: str, **more: object) -> Prescription:
    return Prescription(
        key=f"phase-1/{exercise}", exercise=exercise, dose=Dose(1), schedule=DAILY, pain_ceiling=2,
        source="", **more,  # type: ignore[arg-type]
    )  # fmt: skip


CATALOGUE = dict.fromkeys(("plain", "chosen", "tensioner"), ("affected", "reps"))


def given(**options: object) -> list[str]:
    protocol = protocol_with(
        row("plain"), row("chosen", included=False), row("tensioner", gate="N-TENS")
    )
    rows = prescribe(
        protocol,
        assignment_id=ASSIGNMENT,
        side="left",
        catalogue=CATALOGUE,
        **options,  # type: ignore[arg-type]
    )
    return [one.exercise for one in rows]


def test_what_a_clinician_must_switch_on_stays_away_until_then() -> None:
    assert given() == ["plain"]
    assert given(switched_on=frozenset({"phase-1/chosen"})) == ["plain", "chosen"]


def due(*rows: Prescribed, **options: object) -> list[tuple[str, int]]:
    """Exercises and sets of a date; the count of sets by itself has to agree."""
    said: dict[str, object] = {"span": SPAN, "prescriptions": rows, **options}
    slots = slots_on(MONDAY, assignment_id=ASSIGNMENT, **said)  # type: ignore[arg-type]
    assert sets_on(MONDAY, **said) == sets_of(slots)  # type: ignore[arg-type]
    return [(i.prescribed.exercise, i.dose.sets) for slot in slots for i in slot.items]


def test_no_7_a_gated_exercise_stays_behind_its_gate() -> None:
    assert given() == ["plain"], "not before a clinician switches it on"
    assert given(switched_on=frozenset({"phase-1/tensioner"})) == ["plain", "tensioner"]

    rows = (prescribed("plain"), prescribed("tensioner", gate="N-TENS"))
    assert due(*rows) == [("plain", 3)]
    assert due(*rows, open_gates=frozenset({"N-TENS"})) == [("plain", 3), ("tensioner", 3)]


VARIANT = Easier("bridge-double", "reps", Dose(sets=5, reps=Reps(10, 10)), 3)
HELD = Easier("bridge-hold", "hold_s", Dose(sets=2, reps=Reps(5, 5), hold_s=10), 3)
TWICE_A_DAY = Schedule("daily", sessions_per_day=2)


@pytest.mark.parametrize(
    ("hurt", "expected"),
    [
        pytest.param({"easier": VARIANT}, [("bridge-double", 3)], id="the variant, as many sets"),
        pytest.param({"easier": HELD}, [("bridge-hold", 2)], id="in another unit, its own dose"),
        pytest.param({}, [("sg-bridge", 2)], id="no variant: half, rounded up"),
        pytest.param(
            {"schedule": TWICE_A_DAY}, [("sg-bridge", 2), ("sg-bridge", 2)], id="in each slot"
        ),
    ],
)
def test_e1_what_hurt_too_much_is_eased(
    hurt: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    eased = frozenset({"sg-bridge"})
    assert due(prescribed(**hurt), eased=eased, eased_ratio=0.5) == expected
    assert due(prescribed("other"), eased=eased, eased_ratio=0.5) == [("other", 3)]


@pytest.mark.parametrize(
    ("easier", "dose"),
    [
        pytest.param(VARIANT, Dose(sets=3, reps=Reps(8, 12)), id="the dose stays"),
        pytest.param(HELD, HELD.dose, id="counted in another unit"),
    ],
)
def test_e1_the_easier_variant_stands_in(easier: Easier, dose: Dose) -> None:
    """Under the same id; what was noted was about the exercise itself."""
    usual = prescribed(easier=easier, note="slowly")
    [slot] = slots(usual, eased=frozenset({usual.id}))
    [item] = slot.items
    assert item.dose == dose
    assert item.prescribed == replace(
        usual, exercise=easier.exercise, unit=easier.unit, pain_ceiling=3, note=""
    )


def test_a_prescription_without_a_gate_has_none() -> None:
    [one] = prescribe(
        protocol_with(row("plain")), assignment_id=ASSIGNMENT, side="left", catalogue=CATALOGUE
    )
    assert one.gate == ""


def test_e1_without_a_share_the_dose_stays() -> None:
    assert due(prescribed(), eased=frozenset({"sg-bridge"})) == [("sg-bridge", 3)]


def test_a_prescription_is_as_the_protocol_has_it() -> None:
    stages = (Stage(8, Dose(2), DAILY),)
    written = row("plain", stages=stages, note="slowly", gate="N-TENS", order=4, counts=False)
    key = written.key
    [given] = prescribe(
        protocol_with(written),
        assignment_id=ASSIGNMENT,
        side="left",
        catalogue={"plain": ("affected", "hold_s")},
        switched_on=frozenset({key}),
    )
    assert given == Prescribed(
        id=str(uuid5(ASSIGNMENT, f"{key}/left")), version=1, phase_id="phase-1", key=key,
        exercise="plain", order=4, side="left", unit="hold_s", dose=Dose(1), schedule=DAILY,
        stages=stages, pain_ceiling=2, counts=False, note="slowly", gate="N-TENS",
    )  # fmt: skip


def test_nothing_is_decided_of_a_date_unless_it_is_said() -> None:
    assert Terms(span=SPAN) == Terms(
        span=SPAN, half=False, stopped=False, rested=False, ended=False,
        eased=frozenset(), open_gates=frozenset(),
    )  # fmt: skip


def test_one_prescription_a_side_where_both_are_affected() -> None:
    rows = prescribe(
        protocol_with(row("plain")), assignment_id=ASSIGNMENT, side="both", catalogue=CATALOGUE
    )
    assert [one.side for one in rows] == ["left", "right"]
    assert len({one.id for one in rows}) == 2
