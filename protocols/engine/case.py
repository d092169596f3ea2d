"""What a rule looks at, and what it says: the state of a course, one date of it, its verdict."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from enum import StrEnum

from protocols.engine.day import Colour, Day, Numbers, Reported
from protocols.engine.definition import Limits, Phase, Protocol
from protocols.engine.easing import Tally

A_DAY = timedelta(days=1)

Planned = Callable[["State", date], int]  # what a date inherits, date → sets, before half doses
Sample = tuple[date, float, str]  # when, what, and the record it came from


class Outcome(StrEnum):
    """What is decided for a date, in the words of the API."""

    ADVANCE = "advance"
    HOLD = "hold"
    STEP_BACK = "step_back"
    STOP = "stop_and_review"
    DISCHARGE = "discharge"


PROPOSED = (Outcome.ADVANCE, Outcome.DISCHARGE)
REDS = (Colour.RED, Colour.SEVERE)


@dataclass(frozen=True, slots=True)
class Finding:
    """One gate on one date: what was looked at, what was needed, and whether it passes."""

    gate: str
    passed: bool
    text: str = ""
    observed: float | None = None
    limit: float | None = None
    samples: int = 0
    records: tuple[str, ...] = ()


Gate = Callable[["Case"], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person is told because of a date."""

    level: str  # emergency, urgent, routine, patient
    code: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Nerve:
    """What nerve glides depend on, across phases (sections 10.1 and 10.2)."""

    settle_min: int | None = None  # of the last session day
    last_n_red: date | None = None
    exam: Sample | None = None  # the newest neurological examination, 1 is normal
    at_night: bool | None = None
    constant: bool | None = None
    below_knee: bool | None = None  # at rest
    sliders: tuple[tuple[date, Colour], ...] = ()  # the last session days with a slider


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """What was told and found of the kind of pain, across phases (sections 10.3 and 10.5)."""

    hill: Sample | None = None  # as a clinician recorded it: 0 neither, 1 down, 2 up
    slump: Sample | None = None  # 1 is positive
    settle_min: int | None = None  # as told or recorded last
    asked: Mapping[str, date] = field(default_factory=dict)  # when each code was asked last
    holding: frozenset[str] = frozenset()  # codes that stand on findings, and were asked for them


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a date inherits from the one before."""

    phase_id: str
    started_on: date  # clock of the phase
    window_from: date  # nothing before this counts in the phase's windows
    days_left_out: int = 0  # stopped and excused dates since the clock began
    half_left: int = 0  # session days still at half dose
    last_step_back: date | None = None
    stop: tuple[Reported, ...] = ()  # standing since reported, until a clinician clears it
    missed: int = 0  # planned dates missed in a row
    high_before: int = 0  # dates in a row not offered because of pain before (S-PRE)
    reviews: frozenset[str] = frozenset()  # open review items
    reviews_due: tuple[str, ...] = ()  # 4- and 6-week reviews that fell into a stop
    latest: Mapping[str, Sample] = field(default_factory=dict)  # newest assessments in the window
    eases: Mapping[str, Tally] = field(default_factory=dict)  # E1, by prescription
    nerve: Nerve = Nerve()
    pattern: Pattern = Pattern()
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What stays the same while a course is replayed."""

    protocol: Protocol
    numbers: Numbers
    first: date
    planned: Planned
    baseline: float | None = None  # nprs_worst at the start
    joined: date | None = None  # windows hold nothing before this
    start_phase_id: str = ""
    reviews: frozenset[str] = frozenset()  # open when it begins
    stop: tuple[Reported, ...] = ()  # standing when it begins

    def start(self) -> State:
        return State(
            phase_id=self.start_phase_id or self.protocol.phases[0].id,
            started_on=self.first,
            window_from=self.joined or self.first,
            reviews=self.reviews,
            stop=self.stop,
        )


@dataclass(frozen=True, slots=True)
class Case:
    """Everything a rule may look at when it judges a date."""

    course: Course = field(compare=False, repr=False)
    state: State
    day: Day
    planned: int  # sets, after any half dose
    colour: Colour
    not_offered: bool  # S-PRE: too much pain before, and nothing was done
    due: tuple[str, ...]  # the 4- and 6-week reviews of this date, and those a stop put off
    past: Judged | None = field(compare=False, repr=False)  # the date before
    inherited: State = field(compare=False, repr=False)  # before people decided, or a return
    plan_of: State = field(compare=False, repr=False)  # what its plan rested on, as it was lived

    @property
    def numbers(self) -> Numbers:
        return self.course.numbers

    @property
    def limits(self) -> Limits:
        return self.course.protocol.limits

    @property
    def phase(self) -> Phase:
        return self.course.protocol.phase(self.state.phase_id)

    @property
    def excused(self) -> bool:
        return self.day.excused or self.not_offered

    @property
    def missed(self) -> bool:
        return self.planned > 0 and not self.day.is_session and not self.excused

    def is_missed_in_a_row(self, number: float) -> bool:
        return self.state.missed + 1 == number and self.missed

    @property
    def half_left(self) -> int:
        """Session days at half dose that are left after this date."""
        left = self.state.half_left
        return left - 1 if left and self.day.is_session else left

    @property
    def day_in_phase(self) -> int:
        """Days of the phase, this one included, without stopped and excused dates."""
        return (self.day.on - self.state.started_on).days + 1 - self.state.days_left_out

    @property
    def reviews_failed(self) -> tuple[str, ...]:
        """The reviews due on this date, where the worst pain has not fallen enough (R11, R12)."""
        return self.due if self.due and not self._has_fallen() else ()

    def _has_fallen(self) -> bool:
        """nprs_worst, at most 7 days old, lower than the baseline by 2 points or by 30 %."""
        numbers, baseline = self.numbers, self.course.baseline
        oldest = self.day.on - int(numbers["review_value_days"]) * A_DAY
        days = [self.day, *(one.case.day for one in self.back_to(oldest))]
        told = (one.value for day in days for one in day.measured if one.metric == "nprs_worst")
        newest = next(told, None)
        if newest is None or baseline is None:
            return False
        fall, share = baseline - newest, numbers["review_fall_ratio"] * baseline
        return fall >= numbers["review_fall_points"] or fall >= share

    def back_to(self, first: date) -> Iterator[Judged]:
        """The judged dates before this one, newest first, down to `first`."""
        one = self.past
        while one is not None and one.case.day.on >= first:
            yield one
            one = one.case.past

    def in_window(self, days: int) -> Iterator[Judged]:
        """The judged dates of the phase's window among the last `days`, this one left out."""
        first = self.day.on - (days - 1) * A_DAY
        return self.back_to(max(first, self.state.window_from))

    def sessions(self, count: int) -> list[Case]:
        """The last session days of the phase's window, oldest first; this date is one of them."""
        found = [self]
        for one in self.back_to(self.state.window_from):
            if len(found) == count:
                break
            if one.counts:
                found.append(one.case)
        return found[::-1]

    def reds(self, days: int) -> list[date]:
        """RED and SEVERE dates of the last `days` dates, across phases, this one included."""
        found = [self.day.on] if self.colour in REDS else []
        for one in self.back_to(self.day.on - (days - 1) * A_DAY):
            if one.case.colour in REDS:
                found.append(one.case.day.on)
        return found[::-1]


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one date."""

    case: Case
    rule: str
    outcome: Outcome
    after: State
    raised: tuple[Alert, ...]
    stopped: bool
    gates: tuple[Gate, ...]  # those that decided
    told: tuple[Alert, ...] = ()  # what late data about earlier dates raised on this one

    @property
    def alerts(self) -> tuple[Alert, ...]:
        return self.told + self.raised

    @property
    def day(self) -> Day:
        return self.case.day

    @property
    def on(self) -> date:
        return self.case.day.on

    @property
    def before(self) -> State:
        """As the date was lived, with what people decided for it."""
        return self.case.state

    @property
    def phase_id(self) -> str:
        return self.case.state.phase_id

    @property
    def colour(self) -> Colour:
        return self.case.colour

    @property
    def excused(self) -> bool:
        return self.case.excused

    @property
    def planned(self) -> int:
        return 0 if self.case.excused else self.case.planned

    @property
    def credit(self) -> int:
        """Nothing is planned on a stopped or excused date, so nothing is credited."""
        return min(self.case.day.done, self.case.planned)

    @property
    def counts(self) -> bool:
        """A session day that enters windows; sets logged during a stop are kept, not counted."""
        return not self.stopped and self.case.day.is_session

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What each gate found, worked out when somebody wants to read it."""
        return tuple(finding for gate in self.gates for finding in gate(self.case))

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(f.gate for f in self.findings if not f.passed))
