"""What is due on a date: slots with stable ids, their doses, and how much of a dose was done."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cache
from math import ceil, floor
from typing import Literal
from uuid import UUID, uuid5

from protocols.engine.definition import Dose, Prescription, Protocol, Schedule, Stage

Unit = Literal["reps", "hold_s", "duration_s", "distance_m"]

WEEK = 7
MOST_SLOTS_A_DAY = 6


class Side(StrEnum):
    """The side of a dose as the patient does it; never 'affected' or 'each'."""

    LEFT = "left"
    RIGHT = "right"
    BOTH = "both"
    ALTERNATE = "alternate"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Easier:
    """The easier variant that may stand in for an exercise (rule E1): one step down the ladder."""

    exercise: str
    unit: str
    dose: Dose
    pain_ceiling: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Prescribed:
    """A prescription as given to one patient: side resolved, tailored, with an id of its own."""

    id: str
    version: int
    phase_id: str
    key: str
    exercise: str
    order: int
    side: str
    unit: str
    dose: Dose
    schedule: Schedule
    stages: tuple[Stage, ...] = ()
    pain_ceiling: int
    counts: bool
    note: str = ""
    kind: str = ""  # of the exercise, as the catalogue names it
    gate: str = ""  # keeps it away on dates on which it does not pass, whoever switched it on
    easier: Easier | None = None

    def on_day(self, day_in_phase: int) -> tuple[Dose, Schedule]:
        """Dose and schedule that hold on this day of the phase (from 1)."""
        for stage in reversed(self.stages):
            if day_in_phase >= stage.from_day:
                return stage.dose, stage.schedule
        return self.dose, self.schedule


@dataclass(frozen=True, slots=True)
class PhaseSpan:
    """The phase a date lies in, and the date its clock began."""

    phase_id: str
    started_on: date

    def day_of(self, on: date) -> int:
        return (on - self.started_on).days + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the course so far makes of the plan of one date."""

    span: PhaseSpan
    half: bool = False  # half dose
    stopped: bool = False  # a stop stands: nothing is offered
    rested: bool = False  # rest is advised, because it hurt too much before (S-PRE)
    ended: bool = False
    eased: frozenset[str] = frozenset()  # prescriptions that hurt too much last time (E1)
    open_gates: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Item:
    """One exercise of a slot. `times` is above 1 for self-care that is shown once a day."""

    prescribed: Prescribed
    dose: Dose
    times: int = 1


@dataclass(frozen=True, slots=True)
class Slot:
    """One session that the plan expects on one date."""

    id: UUID
    key: str
    on: date
    part_of_day: str
    items: tuple[Item, ...]

    @property
    def counts(self) -> bool:
        """Whether adherence expects it: self-care alone is shown, never counted."""
        return any(item.prescribed.counts for item in self.items)


def prescribe(
    protocol: Protocol,
    *,
    assignment_id: UUID,
    side: str,
    catalogue: Mapping[str, tuple[str, str]],
    switched_on: frozenset[str] = frozenset(),
) -> tuple[Prescribed, ...]:
    """Every prescription of every phase for one patient.

    `catalogue` gives side and dose unit of each exercise. Where the catalogue says "affected" and
    both sides are, there is one prescription a side; "unaffected" has none then. Gated exercises
    come in when a clinician switched them on, and stay away until their gate passes (NO-7).
    """
    return tuple(
        Prescribed(
            id=str(uuid5(assignment_id, f"{row.key}/{resolved}")),
            version=1,
            phase_id=phase.id,
            key=row.key,
            exercise=row.exercise,
            order=row.order,
            side=resolved,
            unit=catalogue[row.exercise][1],
            dose=row.dose,
            schedule=row.schedule,
            stages=row.stages,
            pain_ceiling=row.pain_ceiling,
            counts=row.counts,
            note=row.note,
            gate=row.gate or "",
        )
        for phase in protocol.phases
        for row in phase.prescriptions
        if _is_given(row, switched_on)
        for resolved in sides_of(catalogue[row.exercise][0], side)
    )


def _is_given(row: Prescription, switched_on: frozenset[str]) -> bool:
    return row.key in switched_on or (row.included and not row.gate)


def sides_of(catalogue_side: str, affected: str) -> tuple[Side, ...]:
    """The sides a catalogue entry means for a patient whose affected side is `affected`."""
    one_sided = affected in (Side.LEFT, Side.RIGHT)
    match catalogue_side:
        case "affected" if affected == Side.BOTH:
            return (Side.LEFT, Side.RIGHT)
        case "affected" if one_sided:
            return (Side(affected),)
        case "unaffected" if one_sided:
            return (Side.RIGHT if affected == Side.LEFT else Side.LEFT,)
        case "unaffected" if affected == Side.BOTH:
            return ()
        case "alternating":
            return (Side.ALTERNATE,)
        case "each_side" | "bilateral":
            return (Side.BOTH,)
        case _:
            return (Side.NONE,)


def slots_on(
    on: date,
    *,
    span: PhaseSpan,
    prescriptions: Iterable[Prescribed],
    assignment_id: UUID,
    parts_of_day: Sequence[str] = (),
    training_days: frozenset[int] = frozenset(),
    eased: frozenset[str] = frozenset(),
    eased_ratio: float = 1.0,
    open_gates: frozenset[str] = frozenset(),
) -> tuple[Slot, ...]:
    """The sessions of one date. The id depends on assignment, date and slot key alone.

    A date has as many slots as its most frequent counted exercise asks for; what is done less often
    is spread over them. `training_days` (0 = Monday) moves the days of what is done n times a week.
    """
    due = _due_on(on, span, prescriptions, training_days, eased, eased_ratio, open_gates)
    if not due:
        return ()
    count = _slots_for(due)
    filled: list[list[Item]] = [[] for _ in range(count)]
    for row, dose, schedule in sorted(due, key=lambda one: (one[0].order, one[0].key, one[0].side)):
        if row.counts:
            for index in spread(min(schedule.sessions_per_day, count), count):
                filled[index].append(Item(row, dose))
        else:
            filled[0].append(Item(row, dose, schedule.sessions_per_day))
    parts = parts_for(count, parts_of_day)
    return tuple(
        Slot(slot_id(assignment_id, on, str(n + 1)), str(n + 1), on, parts[n], tuple(filled[n]))
        for n in range(count)
    )


Due = tuple[Prescribed, Dose, Schedule]


def sets_on(
    on: date,
    *,
    span: PhaseSpan,
    prescriptions: Iterable[Prescribed],
    training_days: frozenset[int] = frozenset(),
    eased: frozenset[str] = frozenset(),
    eased_ratio: float = 1.0,
    open_gates: frozenset[str] = frozenset(),
) -> int:
    """`sets_of(slots_on(…))`, without making the slots."""
    due = _due_on(on, span, prescriptions, training_days, eased, eased_ratio, open_gates)
    count = _slots_for(due)
    return sum(
        dose.sets * min(schedule.sessions_per_day, count)
        for row, dose, schedule in due
        if row.counts
    )


def _due_on(
    on: date,
    span: PhaseSpan,
    prescriptions: Iterable[Prescribed],
    training_days: frozenset[int],
    eased: frozenset[str],
    eased_ratio: float,
    open_gates: frozenset[str],
) -> list[Due]:
    """What falls on a date, as it is to be done on it."""
    day = span.day_of(on)
    found: list[Due] = [
        (row, *row.on_day(day))
        for row in prescriptions
        if row.phase_id == span.phase_id and (not row.gate or row.gate in open_gates)
    ]
    falling = [one for one in found if falls_on(one[2], on, span, training_days)]
    away = {row.exercise for row, _, _ in falling}
    due = [one for one in falling if one[2].not_on_days_of not in away]
    if not eased:
        return due
    return [_eased(*one, eased_ratio) if one[0].id in eased else one for one in due]


def _slots_for(due: Iterable[Due]) -> int:
    counted = [schedule.sessions_per_day for row, _, schedule in due if row.counts]
    return min(max(counted, default=1), MOST_SLOTS_A_DAY)


def _eased(row: Prescribed, dose: Dose, schedule: Schedule, ratio: float) -> Due:
    """E1: the easier variant in place of an exercise, or this share of it where there is none.

    The variant takes over the sets; where it is counted in another unit, the rest of its own dose.
    The prescription stays the same one, so that what is logged for it is found again.
    """
    easier = row.easier
    if easier is None:
        return row, with_sets(dose, ceil(dose.sets * ratio)), schedule
    if easier.unit != row.unit:
        dose = with_sets(easier.dose, min(easier.dose.sets, dose.sets))
    stand_in = replace(
        row, exercise=easier.exercise, unit=easier.unit, pain_ceiling=easier.pain_ceiling, note=""
    )
    return stand_in, dose, schedule


def slot_id(assignment_id: UUID, on: date, key: str) -> UUID:
    return uuid5(assignment_id, f"{on.isoformat()}/{key}")


def falls_on(
    schedule: Schedule, on: date, span: PhaseSpan, training_days: frozenset[int] = frozenset()
) -> bool:
    """Whether something with this schedule is due on the date, seen from the start of the phase."""
    day = span.day_of(on)
    if day < schedule.from_day or (schedule.to_day is not None and day > schedule.to_day):
        return False
    since = day - schedule.from_day
    match schedule.kind:
        case "daily":
            return True
        case "once":
            return since == 0
        case "every_n_days":
            return since % (schedule.every_n_days or 1) == 0
        case "weekly":
            times = schedule.per_week or WEEK
            if times <= len(training_days):
                chosen = sorted(training_days)
                return on.weekday() in {chosen[n] for n in spread(times, len(chosen))}
            return since % WEEK in {n * WEEK // times for n in range(times)}


@cache
def spread(times: int, places: int) -> tuple[int, ...]:
    """`times` indexes spread evenly over `places`: once in two falls on the later one."""
    return tuple((2 * n + 1) * places // (2 * times) for n in range(times))


def parts_for(count: int, wanted: Sequence[str]) -> tuple[str, ...]:
    """Parts of day of a date's slots, in order. The patient's own choice wins where it suffices."""
    if len(wanted) >= count:
        return tuple(wanted[:count])
    usual = {2: ("morning", "evening"), 3: ("morning", "midday", "evening")}
    return usual.get(count, ("any",) * count)


def sets_of(slots: Iterable[Slot]) -> int:
    """Planned sets of a date. Self-care never counts."""
    items = (item for slot in slots for item in slot.items)
    return sum(item.dose.sets for item in items if item.prescribed.counts)


def halved(slots: Sequence[Slot], ratio: float) -> tuple[Slot, ...]:
    """The slots of a date at half dose: of all counted sets together that share, rounded up.

    Each exercise keeps its share rounded down. What is then missing to the total goes first to
    exercises that would be left without a set, then to the others in the order of the plan. What
    has no set left is not shown; self-care stays. Ids stay.
    """
    sets = {
        (n, m): item.dose.sets
        for n, slot in enumerate(slots)
        for m, item in enumerate(slot.items)
        if item.prescribed.counts
    }
    kept = {place: floor(count * ratio) for place, count in sets.items()}
    rounded = [place for place, count in sets.items() if kept[place] < count * ratio]
    missing = ceil(sum(sets.values()) * ratio) - sum(kept.values())
    for place in sorted(rounded, key=lambda place: kept[place] > 0)[:missing]:
        kept[place] += 1
    lighter = []
    for n, slot in enumerate(slots):
        items = (
            replace(item, dose=with_sets(item.dose, kept.get((n, m), item.dose.sets)))
            for m, item in enumerate(slot.items)
        )
        if left := tuple(item for item in items if item.dose.sets):
            lighter.append(replace(slot, items=left))
    return tuple(lighter)


def with_sets(dose: Dose, sets: int) -> Dose:
    """The first sets of a dose."""
    return replace(dose, sets=sets, reps_by_set=dose.reps_by_set[:sets])


def days_from(first: date, count: int) -> tuple[date, ...]:
    return tuple(first + timedelta(days=n) for n in range(count))


@dataclass(frozen=True, slots=True)
class DoneSet:
    """One set as reported. What was not said is None, never zero."""

    reps: int | None = None
    hold_s: float | None = None
    duration_s: float | None = None
    distance_m: float | None = None


def prescribed_amount(dose: Dose, unit: str) -> float:
    """The whole dose in its unit; a range of repetitions is met at its minimum."""
    reps = sum(dose.reps_by_set) or dose.sets * (dose.reps.min if dose.reps else 1)
    match unit:
        case "hold_s":
            return reps * (dose.hold_s or 0)
        case "duration_s":
            return reps * (dose.duration_s or 0)
        case "distance_m":
            return reps * (dose.distance_m or 0)
        case _:
            return reps


def performed_amount(done: Iterable[DoneSet], dose: Dose, unit: str) -> float:
    """What the sets add up to. Repetitions logged without seconds are taken at the planned hold."""
    total = 0.0
    for one in done:
        match unit:
            case "hold_s":
                held = one.hold_s if one.hold_s is not None else (one.reps and dose.hold_s)
                total += (1 if one.reps is None else one.reps) * (held or 0)
            case "duration_s":
                total += one.duration_s or 0
            case "distance_m":
                total += one.distance_m or 0
            case _:
                total += one.reps or 0
    return total


def ratio_of(performed: float, prescribed: float) -> float:
    """Performed over prescribed, never above 1: doing more on one day makes up for no other."""
    return 1.0 if prescribed <= 0 else min(1.0, performed / prescribed)
