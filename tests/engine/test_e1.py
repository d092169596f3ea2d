"""Rule E1: one exercise above its own ceiling (protocols.md section 5)."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from protocols.engine.day import Felt
from protocols.engine.easing import Easing, Occurrence, Tally, e1
from protocols.engine.progression import Late
from tests.builders import FIRST, day, judged, numbers

CEILING = 4


def done(*pains: int | None) -> list[Occurrence]:
    """One occurrence a date from D1 on; the easier variant has the same ceiling."""
    return [Occurrence(FIRST + timedelta(days=n), pain, CEILING) for n, pain in enumerate(pains)]


def eased(number: int, *pains: int | None, has_easier: bool = True) -> Easing | None:
    on = FIRST + timedelta(days=number - 1)
    return e1(done(*pains), on, has_easier=has_easier, numbers=numbers())


def until(number: int) -> object:
    return FIRST + timedelta(days=number - 1)


def test_nothing_was_done_yet() -> None:
    assert eased(1) is None


def test_at_the_ceiling_is_allowed() -> None:
    assert eased(2, 4) is None


def test_above_it_the_next_occurrence_is_the_easier_variant() -> None:
    easing = eased(2, 5)
    assert easing is not None
    assert (easing.to, easing.until, easing.row) == ("easier", None, (FIRST,))


def test_or_half_where_there_is_none() -> None:
    easing = eased(2, 5, has_easier=False)
    assert easing is not None
    assert easing.to == "half"


def test_the_next_occurrence_only_however_late_it_comes() -> None:
    assert eased(20, 5) is not None
    assert eased(3, 5, 2) is None


def test_twice_in_a_row_the_easier_variant_stays_for_seven_days() -> None:
    on_the_ninth, on_the_tenth = eased(9, 5, 5), eased(10, 5, 5, 1)
    assert on_the_ninth is not None
    assert on_the_ninth.until == until(9)
    assert on_the_tenth is None


def test_a_good_time_does_not_end_the_seven_days() -> None:
    easing = eased(4, 5, 5, 1)
    assert easing is not None
    assert easing.until == until(9)


def test_one_bad_time_in_the_seven_days_does_not_shorten_them() -> None:
    easing = eased(6, 5, 5, 1, 5, 1)
    assert easing is not None
    assert easing.until == until(9)


def test_a_row_that_goes_on_counts_anew() -> None:
    easing = eased(4, 5, 5, 5)
    assert easing is not None
    assert easing.until == until(10)


@pytest.mark.parametrize("pains", [(5, 4, 5), (5, 0, 5)])
def test_a_time_within_the_ceiling_breaks_the_row(pains: tuple[int, ...]) -> None:
    easing = eased(4, *pains)
    assert easing is not None
    assert easing.until is None


def test_an_unrated_time_uses_the_easing_up_and_leaves_the_row() -> None:
    assert eased(3, 5, None) is None
    easing = eased(4, 5, None, 5)
    assert easing is not None
    assert easing.until == until(10)


def test_each_time_is_held_against_the_ceiling_of_what_was_done() -> None:
    """The easier variant may have a lower one."""
    lived = [Occurrence(FIRST, 5, 4), Occurrence(FIRST + timedelta(days=1), 3, 2)]
    easing = e1(lived, FIRST + timedelta(days=2), has_easier=True, numbers=numbers())
    assert easing is not None
    assert easing.until == until(9)


# --- As a course goes on ----------------------------------------------------------------------


def eases(*felt: Felt | None) -> dict[str, Tally]:
    """What is known after dates on which this was felt; None: the exercise was not done."""
    days = [day(n, felt=(one,) if one else ()) for n, one in enumerate(felt, start=1)]
    return dict(judged(days)[-1].after.eases)


def hurt(pain: int | None, *, easier_ceiling: int | None = None) -> Felt:
    return Felt("bridge", pain, CEILING, easier_ceiling)


def on(number: int) -> date:
    return FIRST + timedelta(days=number - 1)


@pytest.mark.parametrize(
    ("felt", "tally"),
    [
        pytest.param([hurt(4)], None, id="at the ceiling"),
        pytest.param([hurt(5)], Tally((on(1),), True), id="above it"),
        pytest.param([hurt(5), None], Tally((on(1),), True), id="and then not done"),
        pytest.param([hurt(5), hurt(None)], Tally((on(1),), False), id="and then not rated"),
        pytest.param([hurt(5), hurt(4)], None, id="and then well"),
        pytest.param([hurt(5), hurt(5)], Tally((on(1), on(2)), True, on(9)), id="twice in a row"),
        pytest.param(
            [hurt(5), hurt(5), hurt(1)], Tally((), False, on(9)), id="well within the seven days"
        ),
        pytest.param(
            [hurt(5), hurt(5), *[None] * 6, hurt(1)], Tally((), False, on(9)), id="on their last"
        ),
        pytest.param([hurt(5), hurt(5), *[None] * 7, hurt(1)], None, id="after them"),
        pytest.param([hurt(3, easier_ceiling=2)], None, id="itself has its own ceiling"),
        pytest.param(
            [hurt(5), hurt(3, easier_ceiling=2)],
            Tally((on(1), on(2)), True, on(9)),
            id="what stood in for it has another",
        ),
        pytest.param([hurt(5), Felt("bridge", 3, CEILING)], None, id="half of it has the same"),
    ],
)
def test_what_later_dates_inherit(felt: list[Felt | None], tally: Tally | None) -> None:
    assert eases(*felt) == ({} if tally is None else {"bridge": tally})


def test_each_exercise_has_a_tally_of_its_own() -> None:
    both = day(1, felt=(Felt("bridge", 5, CEILING), Felt("curl", 1, CEILING)))
    other = day(2, felt=(Felt("curl", 5, CEILING),))
    found = judged([both, other])[-1].after.eases
    assert found == {"bridge": Tally((on(1),), True), "curl": Tally((on(2),), True)}


def test_t8_what_is_told_late_of_an_exercise_counts() -> None:
    late = Late(on(3), day(1, felt=(Felt("bridge", 5, CEILING),)))
    assert judged([day(1), day(2), day(3)], late=(late,))[-1].after.eases.keys() == {"bridge"}
