"""Rule E1: a single exercise that hurt above its own ceiling is eased (protocols.md section 5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from protocols.engine.day import Day, Numbers


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time an exercise was due and done, itself or what stood in for it."""

    on: date
    pain: int | None
    ceiling: int  # of what was done


@dataclass(frozen=True, slots=True)
class Easing:
    """What the next occurrence is in place of the exercise. The phase stays."""

    to: Literal["easier", "half"]
    until: date | None  # the last date; None: the next occurrence alone
    row: tuple[date, ...]  # when it hurt too much, without a good time between


@dataclass(frozen=True, slots=True)
class Tally:
    """What the occurrences of an exercise add up to, and what a date inherits of them."""

    row: tuple[date, ...] = ()
    hurt_last: bool = False
    stays_until: date | None = None

    def after(self, one: Occurrence, numbers: Numbers) -> Tally:
        """With one more occurrence.

        One nobody rated was done, so it uses up an easing; it neither proves that the exercise went
        well nor that it did not, so it leaves the row as it is.
        """
        if one.pain is None:
            return Tally(self.row, False, self.stays_until)
        if one.pain <= one.ceiling:
            return Tally((), False, self.stays_until)
        row = (*self.row, one.on)
        if len(row) < numbers["easier_after_in_a_row"]:
            return Tally(row, True, self.stays_until)
        return Tally(row, True, one.on + timedelta(days=int(numbers["easier_for_days"])))

    def stays(self, on: date) -> bool:
        return self.stays_until is not None and on <= self.stays_until

    def eases(self, on: date) -> bool:
        return self.hurt_last or self.stays(on)

    def easing(self, on: date, *, has_easier: bool) -> Easing | None:
        """How the occurrence on this date is eased; None: not at all."""
        to: Literal["easier", "half"] = "easier" if has_easier else "half"
        if self.stays(on):
            return Easing(to, self.stays_until, self.row)
        return Easing(to, None, self.row) if self.hurt_last else None


def e1(
    done: Sequence[Occurrence], on: date, *, has_easier: bool, numbers: Numbers
) -> Easing | None:
    """How the occurrence on this date is eased, after what was done before it; None: not at all."""
    tally = Tally()
    for one in done:
        tally = tally.after(one, numbers)
    return tally.easing(on, has_easier=has_easier)


def tallied(tallies: Mapping[str, Tally], day: Day, numbers: Numbers) -> Mapping[str, Tally]:
    """The tallies after a date, by prescription. What nothing follows from is left out."""
    felt = [one for one in day.felt if one.is_too_much or one.prescription in tallies]
    if not felt:
        return tallies
    found = dict(tallies)
    for one in felt:
        tally = found.pop(one.prescription, Tally())
        ceiling = one.ceiling
        if one.easier_ceiling is not None and tally.eases(day.on):
            ceiling = one.easier_ceiling
        tally = tally.after(Occurrence(day.on, one.pain, ceiling), numbers)
        if tally.row or tally.eases(day.on):
            found[one.prescription] = tally
    return found
