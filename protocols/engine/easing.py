"""Rule E1: a single exercise that hurt above its own ceiling is eased (protocols.md section 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal

from protocols.engine.day import Numbers


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
    until: date | None = None  # the last date; None: the next occurrence alone
    row: tuple[date, ...] = ()  # when it hurt too much, without a good time between


def e1(
    done: Sequence[Occurrence], on: date, *, has_easier: bool, numbers: Numbers
) -> Easing | None:
    """How the occurrence on this date is eased, after what was done before it; None: not at all.

    An occurrence nobody rated was done, so it uses up an easing; it neither proves that the
    exercise went well nor that it did not, so it leaves the row as it is.
    """
    to: Literal["easier", "half"] = "easier" if has_easier else "half"
    row: list[date] = []
    hurt_last, stays_until = False, None
    for one in done:
        hurt_last = one.pain is not None and one.pain > one.ceiling
        if hurt_last:
            row.append(one.on)
        elif one.pain is not None:
            row.clear()
        if hurt_last and len(row) >= numbers["easier_after_in_a_row"]:
            stays_until = one.on + timedelta(days=int(numbers["easier_for_days"]))
    if stays_until is not None and on <= stays_until:
        return Easing(to, stays_until, tuple(row))
    return Easing(to, None, tuple(row)) if hurt_last else None
