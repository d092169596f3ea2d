"""How much of what was due was done: the definition `adherence-1`, over values of the day book.

Everything is counted in whole numbers and divided once, at the end. Sums may be made elsewhere, as
in SQL over many patients; what is made of them is written here alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from fractions import Fraction

DEFINITION = "adherence-1"
WHOLE = 10_000  # doses are added up in ten-thousandths, and ratios told with as many places
LEAST_DUE = 4  # slots that a patient needs to have a part in median and quartiles
INTERRUPTION = 3  # due slots in a row, not done
SMALL = 5  # patients below which a group may tell of one of them
A_DAY = timedelta(days=1)

Pair = tuple[int, int]  # due and done


@dataclass(frozen=True, slots=True, kw_only=True)
class BookedDay:
    """What the day book counts of one closed date of one plan.

    `is_heard` says whether the phone was heard from since the date closed. `dose` adds up the best
    dose ratio of each done slot, in ten-thousandths.
    """

    plan: str
    on: date
    due: int = 0
    completed: int = 0
    partial: int = 0
    skipped: int = 0
    excused: int = 0
    dose: int = 0
    is_heard: bool = True
    is_active: bool = False
    is_told: bool = False
    sessions: int = 0
    sessions_late: int = 0
    pain_during: int | None = None

    @property
    def done(self) -> int:
        return self.completed + self.partial

    @property
    def not_heard(self) -> int:
        """Slots of which nobody knows: nothing was said, and the phone has been silent since."""
        return 0 if self.is_heard else self.due - self.done - self.skipped

    @property
    def known(self) -> int:
        """Due slots of which something is known, be it that nothing was done."""
        return self.due - self.not_heard


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Sums over a window. `due` leaves out what is not heard of."""

    due: int = 0
    completed: int = 0
    partial: int = 0
    skipped: int = 0
    not_heard: int = 0
    excused: int = 0
    dose: int = 0
    active_days: int = 0
    data_days: int = 0
    sessions: int = 0
    sessions_late: int = 0
    missed_runs: int = 0
    interruptions: int = 0

    @property
    def done(self) -> int:
        return self.completed + self.partial

    @property
    def missed(self) -> int:
        return self.due - self.done - self.skipped


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratios:
    """From 0 to 1. What nothing was due for has none."""

    session_adherence: float | None
    session_adherence_low: float | None
    completed_ratio: float | None
    dose_adherence: float | None
    late_ratio: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Weeks:
    """ISO weeks in which something was due, and those that reached the target; of the latter the
    longest row, and the row that the newest week ends."""

    of: int
    on_target: int
    current: int
    longest: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Pain:
    median: float
    worst: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """How session adherence differs between patients. `measured` had enough due to be compared."""

    patients: int
    measured: int
    on_target: int
    median: float | None
    quartiles: tuple[float, float] | None

    @property
    def is_small(self) -> bool:
        """Whether its figures may tell of one of its few patients."""
        return self.patients < SMALL


@dataclass(frozen=True, slots=True, kw_only=True)
class Adherence:
    """Everything that is said of one patient over a window."""

    counts: Counts
    ratios: Ratios
    weeks: Weeks
    pain: Pain | None


def measure(days: Iterable[BookedDay], first: date, last: date, target: int) -> Adherence:
    """Of one patient, over whole dates, both included. `target` is in ten-thousandths."""
    window = [day for day in days if first <= day.on <= last]
    counts = counts_of(window)
    told: dict[int, int] = {}
    for day in window:
        if day.pain_during is not None:
            told[day.pain_during] = told.get(day.pain_during, 0) + 1
    return Adherence(
        counts=counts,
        ratios=ratios_of(counts),
        weeks=weeks_of(by_week(window), target),
        pain=pain_of(told),
    )


def counts_of(days: Sequence[BookedDay]) -> Counts:
    """A date on which two plans ran is one day, and its slots are those of both."""
    missed_runs, interruptions = runs_of(days)
    return Counts(
        due=sum(day.known for day in days),
        completed=sum(day.completed for day in days),
        partial=sum(day.partial for day in days),
        skipped=sum(day.skipped for day in days),
        not_heard=sum(day.not_heard for day in days),
        excused=sum(day.excused for day in days),
        dose=sum(day.dose for day in days),
        active_days=len({day.on for day in days if day.is_active}),
        data_days=len({day.on for day in days if day.is_told}),
        sessions=sum(day.sessions for day in days),
        sessions_late=sum(day.sessions_late for day in days),
        missed_runs=missed_runs,
        interruptions=interruptions,
    )


def ratios_of(counts: Counts) -> Ratios:
    return Ratios(
        session_adherence=ratio(counts.done, counts.due),
        session_adherence_low=ratio(counts.done, counts.due + counts.not_heard),
        completed_ratio=ratio(counts.completed, counts.due),
        dose_adherence=ratio(counts.dose, counts.due * WHOLE),
        late_ratio=ratio(counts.sessions_late, counts.sessions),
    )


def ratio(part: int, whole: int) -> float | None:
    """With four decimals; a half goes up."""
    return (2 * WHOLE * part + whole) // (2 * whole) / WHOLE if whole else None


def rounded(value: Fraction) -> float:
    told = ratio(value.numerator, value.denominator)
    assert told is not None
    return told


def runs_of(days: Iterable[BookedDay]) -> tuple[int, int]:
    """Short runs of due slots that were not done, and interruptions; plan by plan.

    The book keeps no order within a date: what was done of it came first. What is not heard of
    neither makes a run longer nor ends it.
    """
    lengths: list[int] = []
    plan = ""
    for day in sorted(days, key=lambda day: (day.plan, day.on)):
        if not lengths or day.plan != plan or day.done:
            lengths.append(0)
        plan = day.plan
        lengths[-1] += day.known - day.done
    short = sum(0 < length < INTERRUPTION for length in lengths)
    return short, sum(length >= INTERRUPTION for length in lengths)


def by_week(days: Iterable[BookedDay]) -> list[Pair]:
    """Due and done of each ISO week, in order."""
    weeks: dict[date, Pair] = {}
    for day in days:
        monday = monday_of(day.on)
        due, done = weeks.get(monday, (0, 0))
        weeks[monday] = due + day.known, done + day.done
    return [pair for _, pair in sorted(weeks.items())]


def monday_of(on: date) -> date:
    return on - on.weekday() * A_DAY


def weeks_of(weeks: Iterable[Pair], target: int) -> Weeks:
    """Of due and done of each week, in order. A week in which nothing was due breaks no row."""
    reached = [is_on_target(due, done, target) for due, done in weeks if due]
    row = longest = 0
    for is_reached in reached:
        row = row + 1 if is_reached else 0
        longest = max(longest, row)
    return Weeks(of=len(reached), on_target=sum(reached), current=row, longest=longest)


def is_on_target(due: int, done: int, target: int) -> bool:
    return done * WHOLE >= target * due


def pain_of(told: Mapping[int, int]) -> Pain | None:
    """Of how many dates told of each score. Of an even number the middle two are averaged."""
    count = sum(told.values())
    if not count:
        return None
    scores = [score for score, times in sorted(told.items()) for _ in range(times)]
    return Pain(median=(scores[(count - 1) // 2] + scores[count // 2]) / 2, worst=scores[-1])


def spread_of(patients: Mapping[Pair, int], target: int) -> Spread:
    """Of how many patients had so much due and done."""
    enough = {pair: count for pair, count in patients.items() if pair[0] >= LEAST_DUE}
    ordered = sorted((Fraction(done, due), count) for (due, done), count in enough.items())
    measured = sum(enough.values())
    quarters = [_quantile(ordered, measured, n) for n in (1, 2, 3)] if measured else []
    return Spread(
        patients=sum(patients.values()),
        measured=measured,
        on_target=sum(
            count for (due, done), count in enough.items() if is_on_target(due, done, target)
        ),
        median=rounded(quarters[1]) if quarters else None,
        quartiles=(rounded(quarters[0]), rounded(quarters[2])) if quarters else None,
    )


def _quantile(ordered: Sequence[tuple[Fraction, int]], count: int, quarter: int) -> Fraction:
    """At `quarter` quarters of the way from the first to the last, between two on the line."""
    place = Fraction((count - 1) * quarter, 4)
    below = int(place)
    low, high = _at(ordered, below), _at(ordered, min(below + 1, count - 1))
    return low + (high - low) * (place - below)


def _at(ordered: Iterable[tuple[Fraction, int]], place: int) -> Fraction:
    for value, count in ordered:
        if place < count:
            return value
        place -= count
    raise IndexError(place)


def letter_of(*, missed: int, not_heard: int, skipped: int, partial: int, completed: int,
              excused: int) -> str:  # fmt: skip
    """One letter for the slots of a date: its least complete one."""
    letters = (
        ("M", missed), ("?", not_heard), ("S", skipped), ("P", partial), ("C", completed),
        ("X", excused),
    )  # fmt: skip
    return next((letter for letter, count in letters if count), "-")
