"""A synthetic cohort through the production engine: what a protocol would do to many people.

The people are invented, and so is every number about them: they are plausible, not evidence. What
comes of them says whether a protocol moves, waits and stops where its author expects it to.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from functools import partial
from math import exp
from random import Random
from statistics import quantiles
from uuid import UUID

from protocols import case_files, knowledge, playing
from protocols.case_files import CaseFile
from protocols.engine import predicate
from protocols.engine.case import PROPOSED, Course, Judged, Outcome, Planned, State
from protocols.engine.day import Approval, Clearance, Day, Measured, Numbers, Reported
from protocols.engine.definition import Criterion, Protocol
from protocols.engine.plan import PhaseSpan, Side, prescribe, sets_of, slots_on
from protocols.engine.progression import decided, judge, planned_on, replay
from protocols.knowledge import Metric

FIRST = date(2026, 1, 5)  # D1 of everybody, so that a seed gives the same dates for ever
NOBODY = UUID(int=0)
STOPPED, COMPLETED = "stopped", "completed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """What one synthetic patient is like."""

    baseline: int  # nprs_worst at the start
    tau: float  # days in which what hurts falls to a third
    adherence: float  # how often a planned date becomes a session
    thoroughness: float  # how often all sets of it are done
    rating: float  # how often the next morning is rated
    assessed_every: int  # days between assessments
    flare: float  # chance of a flare on a date
    flag: float  # chance of a flag on a date
    approval: float  # how often a proposal is approved


@dataclass(frozen=True, slots=True)
class Trace:
    """What became of one person. A history that was read has a name, and nobody invented it."""

    number: int
    person: Person | None
    days: tuple[Judged, ...]
    name: str = ""


def cohort_of(protocol: Protocol, *, people: int, days: int, seed: int) -> Iterator[Trace]:
    """A synthetic cohort by the numbers of the library, with every sign that a phone asks for."""
    flags = knowledge.safety().red_flags.values()
    return traces(
        protocol,
        numbers=knowledge.numbers(),
        metrics=knowledge.metrics(),
        flags=[Reported(flag.code, flag.level) for flag in flags if flag.asked],
        cohort=people,
        days=days,
        chance=Random(seed),  # noqa: S311
    )


def traces(
    protocol: Protocol,
    *,
    numbers: Numbers,
    metrics: Mapping[str, Metric],
    flags: Sequence[Reported],
    cohort: int,
    days: int,
    chance: Random,
) -> Iterator[Trace]:
    """Person after person. Each has chances of their own: a larger cohort begins with the same."""
    planned = planner(protocol)
    for number in range(1, cohort + 1):
        own = Random(chance.getrandbits(64))  # noqa: S311
        person = _person(own, protocol)
        course = Course(
            protocol=protocol,
            numbers=numbers,
            first=FIRST,
            planned=planned,
            baseline=person.baseline,
        )
        life = _Life(own, person, course, metrics, flags)
        yield Trace(number, person, tuple(life.judged(days)))


def retold(
    protocol: Protocol, histories: Iterable[CaseFile], *, numbers: Numbers, days: int
) -> Iterator[Trace]:
    """Histories that were lived, judged by this protocol; sets are planned as it schedules them.

    What was logged stays as it was, whatever this protocol would have asked for.
    """
    planned = planner(protocol)
    for number, case in enumerate(histories, start=1):
        if unknown := playing.unknown_phases(case, protocol):
            raise ValueError(f"{case.id}: {protocol.slug} has no {', '.join(unknown)}")
        course = replace(
            playing.course_of(case, protocol, numbers), planned=planned, reviews=frozenset()
        )
        told, late = case_files.lived(case, numbers)
        answers = case.approvals == "next_morning"
        judged = replay(
            course,
            told[:days],
            [one for one in late if one.arrives <= told[:days][-1].on],
            partial(playing.as_proposed, protocol) if answers else _nobody,
        )
        yield Trace(number, None, judged, case.id)


def _nobody(_: Judged) -> None:
    return None


def planner(protocol: Protocol) -> Planned:
    """Planned sets by the schedules of the protocol; they depend on the day of the phase alone."""
    catalogue = {
        row.exercise: ("affected", "reps") for p in protocol.phases for row in p.prescriptions
    }
    rows = prescribe(protocol, assignment_id=NOBODY, side=Side.RIGHT, catalogue=catalogue)
    known: dict[tuple[str, int], int] = {}

    def planned(state: State, on: date) -> int:
        key = state.phase_id, (on - state.started_on).days
        if key not in known:
            span = PhaseSpan(state.phase_id, state.started_on)
            slots = slots_on(on, span=span, prescriptions=rows, assignment_id=NOBODY)
            known[key] = sets_of(slots)
        return known[key]

    return planned


def _person(chance: Random, protocol: Protocol) -> Person:
    shortest = sum(phase.min_days for phase in protocol.phases)
    return Person(
        baseline=chance.choice((4, 5, 5, 6, 6, 7, 8)),
        tau=max(shortest, 14) * chance.lognormvariate(-0.6, 0.4),
        adherence=chance.betavariate(9, 1.5),
        thoroughness=chance.betavariate(8, 2),
        rating=chance.betavariate(12, 1.2),
        assessed_every=chance.choice((2, 3, 4, 5, 7)),
        flare=chance.betavariate(1.2, 80),
        flag=0.0006,
        approval=chance.betavariate(12, 2),
    )


def day_of(judged: Judged) -> int:
    return (judged.on - judged.case.course.first).days + 1


def place_of(judged: Judged) -> str:
    """Where somebody is on a date: in a phase, stopped, or through with all of them."""
    if judged.before.ended:
        return COMPLETED
    if judged.stopped or judged.outcome is Outcome.STOP:
        return STOPPED
    return judged.phase_id


class _Life:
    """One person with one clinician. `hurt` falls from 1 towards 0 as the person recovers."""

    def __init__(
        self,
        chance: Random,
        person: Person,
        course: Course,
        metrics: Mapping[str, Metric],
        flags: Sequence[Reported],
    ) -> None:
        self.chance, self.person, self.course = chance, person, course
        self.metrics, self.flags = metrics, flags
        self.hurt = 1.0
        self.away_until = FIRST
        self.awaited: dict[str, date] = {}  # when the clinician gets to what

    def judged(self, days: int) -> Iterator[Judged]:
        state, past = self.course.start(), None
        for n in range(days):
            on = FIRST + timedelta(days=n)
            morning = self._morning(state, past, on)
            opened = decided(state, morning)
            planned = planned_on(self.course, opened, morning)
            past = judge(self.course, state, past, self._day(morning, opened, planned))
            yield past
            state = past.after

    def _morning(self, state: State, past: Judged | None, on: date) -> Day:
        """What the clinician decided with effect from this date."""
        day = Day(on=on)
        if past is not None and past.outcome in PROPOSED and self._happens(self.person.approval):
            day = replace(day, approval=_as_proposed(past))
        if state.stop and self._is_dealt_with("stop", on, (1, 6)):
            day = replace(day, clearance=Clearance())
        closed = tuple(
            code for code in sorted(state.reviews) if self._is_dealt_with(code, on, (1, 5))
        )
        return replace(day, closed=closed) if closed else day

    def _is_dealt_with(self, what: str, on: date, within: tuple[int, int]) -> bool:
        due = self.awaited.setdefault(what, on + timedelta(days=self.chance.randint(*within)))
        if on < due:
            return False
        del self.awaited[what]
        return True

    def _day(self, morning: Day, state: State, planned: int) -> Day:
        """What the patient lives, given the plan of the date."""
        person, limits = self.person, self.course.protocol.limits
        flared = self._happens(person.flare)
        if flared:
            self.hurt = min(1.0, self.hurt + self.chance.uniform(0.1, 0.35))
        reported = (self.chance.choice(self.flags),) if self._happens(person.flag) else ()
        before = self._pain(person.baseline * self.hurt * 0.6)
        comes = planned > 0 and morning.on >= self.away_until and self._happens(person.adherence)
        self._perhaps_leave(morning.on)
        self.hurt *= exp(-(1.0 if comes else 0.6) / person.tau)
        day = replace(morning, reported=reported, measured=self._measured(morning.on, state))
        if not comes:
            return day
        if before >= limits.red:
            return replace(day, before=before)
        strain = max(0.0, self._demand(state) - (1 - self.hurt)) * 6 + (2.0 if flared else 0.0)
        during = self._pain(before * 0.7 + strain)
        done = planned
        if during >= limits.red or not self._happens(person.thoroughness):
            done = max(1, round(planned * self.chance.uniform(0.4, 0.95)))
        worse = 1 if strain > 1.5 or self._happens(0.06) else 0
        after = before + worse + (1 if flared else 0) - (1 if self._happens(0.15) else 0)
        return replace(
            day,
            done=done,
            before=before,
            during=during,
            next_morning=max(0, min(10, after)) if self._happens(person.rating) else None,
            settle_min=round(60 * self.hurt * self.chance.uniform(0.1, 0.9))
            if limits.nerve
            else None,
            spread=limits.nerve and flared and self._happens(0.4),
        )

    def _perhaps_leave(self, on: date) -> None:
        if self._happens(0.006):
            self.away_until = on + timedelta(days=self.chance.randint(3, 18))

    def _demand(self, state: State) -> float:
        """How much recovery the phase takes for granted."""
        phases = self.course.protocol.phases
        return 0.8 * (self.course.protocol.phase(state.phase_id).number - 1) / len(phases)

    def _measured(self, on: date, state: State) -> tuple[Measured, ...]:
        if (on - FIRST).days % self.person.assessed_every:
            return ()
        phase = self.course.protocol.phase(state.phase_id)
        needed = 0.9 * phase.number / len(self.course.protocol.phases)
        worst = Measured("nprs_worst", self._pain(self.person.baseline * self.hurt))
        values = {m.metric: m for c in phase.exit for m in self._value(c, needed)}
        return (worst, *values.values())

    def _value(self, criterion: Criterion, needed: float) -> Iterator[Measured]:
        """A value that reaches the limit of the criterion when the person has recovered enough."""
        rule = predicate.parse(criterion.when)
        metric = self.metrics.get(rule.metric)
        if metric is None:
            return
        recovered = min(1.0, max(0.0, 1 - self.hurt + self.chance.gauss(0, 0.06)))
        if metric.kind == "flag":
            yield Measured(rule.metric, float(recovered >= needed))
            return
        upwards = metric.better != "low"
        low, high = metric.min or 0.0, metric.max if metric.max is not None else 2 * rule.limit + 1
        poor, good = (low, high) if upwards else (high, low)
        if recovered < needed:
            value = rule.limit + (poor - rule.limit) * (needed - recovered) / needed
        else:
            value = rule.limit + (good - rule.limit) * (recovered - needed) / max(1 - needed, 0.01)
        step = metric.step or 1.0
        steps = (value - low) / step
        whole = int(steps + 0.999) if upwards is (recovered >= needed) else int(steps)
        yield Measured(rule.metric, min(high, max(low, low + whole * step)))

    def _pain(self, about: float) -> int:
        return max(0, min(10, round(about + self.chance.gauss(0, 0.45))))

    def _happens(self, share: float) -> bool:
        return self.chance.random() < share


def _as_proposed(past: Judged) -> Approval:
    protocol = past.case.course.protocol
    if past.outcome is Outcome.DISCHARGE:
        return Approval(ends=True)
    return Approval(protocol.phases[past.case.phase.number].id)


# --- Summing up -------------------------------------------------------------------------------


@dataclass(slots=True)
class Summary:
    """A cohort as it is lived; one trace after another is taken in, none is kept."""

    protocol: Protocol
    days: int
    cohort: int = 0
    dates: Counter[Outcome] = field(default_factory=Counter)  # how often each was decided
    people: Counter[Outcome] = field(default_factory=Counter)  # of how many
    first_days: dict[Outcome, list[int]] = field(default_factory=dict)
    reached: dict[str, list[int]] = field(default_factory=dict)  # place → day of arrival
    places: list[Counter[str]] = field(default_factory=list)  # per day

    def take(self, trace: Trace) -> None:
        self.cohort += 1
        self.days = max(self.days, len(trace.days))
        self.places += [Counter() for _ in range(self.days - len(self.places))]
        decided_on: dict[Outcome, int] = {}
        arrived: dict[str, int] = {}
        for n, one in enumerate(trace.days):
            place = place_of(one)
            self.places[n][place] += 1
            self.dates[one.outcome] += 1
            decided_on.setdefault(one.outcome, n + 1)
            arrived.setdefault(COMPLETED if place == COMPLETED else one.phase_id, n + 1)
        for outcome, day in decided_on.items():
            self.people[outcome] += 1
            self.first_days.setdefault(outcome, []).append(day)
        for place, day in arrived.items():
            self.reached.setdefault(place, []).append(day)

    @property
    def order(self) -> tuple[str, ...]:
        """Places as a reader thinks of them."""
        return (*(phase.id for phase in self.protocol.phases), COMPLETED, STOPPED)

    def shares(self, place: str) -> list[float]:
        """The share in a place, day by day, of those whose history is that long."""
        return [places[place] / places.total() for places in self.places]


def quartiles(days: Sequence[int]) -> tuple[float, float, float] | None:
    """First quartile, median, third quartile of those who got there."""
    if not days:
        return None
    if len(days) == 1:
        return (days[0], days[0], days[0])
    first, middle, third = quantiles(days, n=4, method="inclusive")
    return first, middle, third
