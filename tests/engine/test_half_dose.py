"""Half dose: of all sets of a date together half, rounded up (protocols.md section 5)."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocols.engine.definition import Dose, Reps, Schedule
from protocols.engine.plan import Slot, halved, prescribed_amount, sets_of
from tests.engine.test_plan import prescribed, slots


def a_date(*sets: int, sessions: int = 1) -> tuple[Slot, ...]:
    rows = [
        prescribed(
            f"sg-{n}",
            order=n,
            dose=Dose(sets=count, reps=Reps(8, 8)),
            schedule=Schedule("daily", sessions_per_day=sessions),
        )
        for n, count in enumerate(sets, start=1)
    ]
    return slots(*rows)  # type: ignore[no-any-return]


def kept(lighter: tuple[Slot, ...]) -> list[dict[str, int]]:
    return [{i.prescribed.exercise: i.dose.sets for i in slot.items} for slot in lighter]


@pytest.mark.parametrize(
    ("sets", "expected"),
    [
        pytest.param((4,), [{"sg-1": 2}], id="even"),
        pytest.param((3,), [{"sg-1": 2}], id="odd, rounded up"),
        pytest.param((3, 3), [{"sg-1": 2, "sg-2": 1}], id="rounded up once, not twice"),
        pytest.param((4, 3), [{"sg-1": 2, "sg-2": 2}], id="where there was half a set"),
        pytest.param((3, 1), [{"sg-1": 1, "sg-2": 1}], id="nobody is left without a set"),
        pytest.param((1, 1, 1), [{"sg-1": 1, "sg-2": 1}], id="unless there are too many"),
    ],
)
def test_half_dose_in_one_slot(sets: tuple[int, ...], expected: list[dict[str, int]]) -> None:
    assert kept(halved(a_date(*sets), 0.5)) == expected


def test_half_dose_over_two_slots() -> None:
    assert kept(halved(a_date(3, 2, sessions=2), 0.5)) == [
        {"sg-1": 2, "sg-2": 1},
        {"sg-1": 1, "sg-2": 1},
    ]


def test_half_dose_leaves_self_care_and_drops_what_is_empty() -> None:
    ice = prescribed("ed-ice", order=2, counts=False, schedule=Schedule("daily"))
    bike = prescribed("ca-bike", dose=Dose(1), schedule=Schedule("daily", sessions_per_day=2))
    assert kept(halved(slots(bike, ice), 0.5)) == [{"ca-bike": 1, "ed-ice": 3}]


def test_half_dose_keeps_the_first_of_sets_that_differ() -> None:
    [slot] = slots(prescribed(dose=Dose(sets=3, reps=Reps(10, 10), reps_by_set=(12, 10, 8))))
    [lighter] = halved([slot], 0.5)
    assert lighter.items[0].dose.reps_by_set == (12, 10)
    assert prescribed_amount(lighter.items[0].dose, "reps") == 22


@given(sets=st.lists(st.integers(1, 6), min_size=1, max_size=8), sessions=st.integers(1, 3))
def test_half_dose_is_exact_and_keeps_ids(sets: list[int], sessions: int) -> None:
    whole = a_date(*sets, sessions=sessions)
    lighter = halved(whole, 0.5)
    assert sets_of(whole) == sum(sets) * sessions
    assert sets_of(lighter) == ceil(sets_of(whole) * 0.5)
    assert {slot.id for slot in lighter} <= {slot.id for slot in whole}
