"""One lived date of a course, as reported, and its colour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from protocols.engine.definition import Limits

Numbers = Mapping[str, float]  # the parameters all protocols share, by id


class Colour(StrEnum):
    """The traffic light (protocols.md section 4)."""

    STOP = "STOP"
    SEVERE = "SEVERE"
    RED = "RED"
    AMBER = "AMBER"
    GREEN = "GREEN"
    NONE = "-"


@dataclass(frozen=True, slots=True)
class Reported:
    """A flag that was reported, or raised by a rule: its code and level."""

    code: str
    level: str  # emergency, urgent, routine


@dataclass(frozen=True, slots=True)
class Measured:
    """One assessed value; `record` names the fact it came from."""

    metric: str
    value: float
    record: str = ""


@dataclass(frozen=True, slots=True)
class Clearance:
    """A clinician ends the standing stop; names the phase to resume in, or the same.

    `after_reports` where it was given after all that was reported on its date: it then ends what
    was reported on that date, too.
    """

    phase_id: str = ""
    after_reports: bool = False


@dataclass(frozen=True, slots=True)
class Approval:
    """A clinician's decision that puts the patient into a phase from this date on.

    `ends` completes the course instead. `since` is when the phase had begun that it was decided in:
    where that began anew meanwhile, nobody has approved anything harder out of it.
    """

    phase_id: str = ""
    ends: bool = False
    since: date | None = None


@dataclass(frozen=True, slots=True)
class Felt:
    """Worst pain in one exercise, by prescription. None: done and not rated.

    The ceilings are of the exercise, and of the easier variant that may have stood in for it.
    """

    prescription: str
    pain: int | None
    ceiling: int
    easier_ceiling: int | None = None

    @property
    def is_too_much(self) -> bool:
        """For the exercise itself."""
        return self.pain is not None and self.pain > self.ceiling


@dataclass(frozen=True, slots=True, kw_only=True)
class Day:
    """What is known of one local date. Missing is None, never zero."""

    on: date
    planned: int | None = None  # sets before any half dose; None: the plan says
    done: int = 0
    before: int | None = None
    during: int | None = None
    next_morning: int | None = None
    settle_min: int | None = None
    spread: bool = False
    pop_felt: bool = False
    reported: tuple[Reported, ...] = ()
    pain_otherwise: int | None = None  # highest pain of check-ins without a session
    measured: tuple[Measured, ...] = ()
    excused: bool = False
    clearance: Clearance | None = None
    approval: Approval | None = None
    opened: tuple[str, ...] = ()  # review items a person or another rule opened
    closed: tuple[str, ...] = ()  # review items a clinician closed
    felt: tuple[Felt, ...] = ()
    slider: bool = False  # a nerve slider was done
    nerve_worded: int = 0  # check-ins in which as many nerve words were ticked as count (10.5)
    worse_with: tuple[str, ...] = ()  # what was ticked in check-ins, by code

    @property
    def is_session(self) -> bool:
        return self.done > 0

    @property
    def rise(self) -> int | None:
        """delta: next morning minus before; unknown when either is."""
        if self.next_morning is None or self.before is None:
            return None
        return self.next_morning - self.before

    @property
    def review_signs(self) -> tuple[str, ...]:
        """Codes of the flags that a person has to look at, while the plan goes on."""
        if not self.reported:
            return ()
        return tuple(one.code for one in self.reported if one.level == "routine")

    @property
    def stop_signs(self) -> tuple[Reported, ...]:
        if not self.reported:
            return ()
        return tuple(one for one in self.reported if one.level in ("emergency", "urgent"))

    def is_severe_otherwise(self, limits: Limits) -> bool:
        """Pain at or above SEV, or a pop, told without a set logged."""
        if self.is_session:
            return self.pain_otherwise is not None and self.pain_otherwise >= limits.severe
        told = self.pain_otherwise or 0, self.before or 0, self.during or 0, self.next_morning or 0
        return self.pop_felt or max(told) >= limits.severe


def is_advised_rest(day: Day, limits: Limits) -> bool:
    """S-PRE: pain before at RED_dur or more and below SEV, and nothing was done."""
    if day.before is None or day.is_session:
        return False
    return limits.red <= day.before < limits.severe


def is_n_red(day: Day, limits: Limits, numbers: Numbers) -> bool:
    """N-RED: leg symptoms took long to settle, or spread down the leg and stayed."""
    settle = day.settle_min or 0
    return limits.nerve and (settle > numbers["settle_red_over_min"] or day.spread)


def colour_of(day: Day, limits: Limits, numbers: Numbers) -> Colour:
    """The first that fits wins, worst first (protocols.md section 4)."""
    if day.stop_signs:
        return Colour.STOP
    if not day.is_session:
        return Colour.NONE
    during, rise = day.during or 0, day.rise
    if day.pop_felt or max(during, day.before or 0, day.next_morning or 0) >= limits.severe:
        return Colour.SEVERE
    settle = day.settle_min if limits.nerve and day.settle_min is not None else 0
    if (
        during >= limits.red
        or (rise is not None and rise >= limits.red_rise)
        or is_n_red(day, limits, numbers)
    ):
        return Colour.RED
    if (
        during > limits.progress
        or day.next_morning is None
        or (rise is not None and rise > 0)
        or settle >= numbers["settle_amber_from_min"]
        or (limits.amber_next is not None and day.next_morning >= limits.amber_next)
    ):
        return Colour.AMBER
    return Colour.GREEN
