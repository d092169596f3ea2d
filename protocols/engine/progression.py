"""The daily decision: rules R1 to R15, gates GG0 to GG10, and the fold over lived dates.

The functions carry the ids of protocols.md sections 5 and 6 and stand in its order. `replay` is a
fold: a state in, one date judged, a state out. Late data mean: replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from enum import StrEnum
from functools import cached_property
from math import ceil
from statistics import fmean

from protocols.engine import predicate
from protocols.engine.day import Approval, Clearance, Colour, Day, Numbers, Reported, colour_of
from protocols.engine.definition import Phase, Protocol

VERSION = "1.0.0"
A_DAY = timedelta(days=1)

Planned = Callable[[str, date, date], int]  # phase, start of its clock, date → sets


Sample = tuple[date, float, str]  # when, what, and the record it came from


class Outcome(StrEnum):
    """What is decided for a date, in the words of the API."""

    ADVANCE = "advance"
    HOLD = "hold"
    STEP_BACK = "step_back"
    STOP = "stop_and_review"
    DISCHARGE = "discharge"


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


@dataclass(frozen=True, slots=True)
class Alert:
    """Something a person is told because of a date."""

    level: str  # emergency, urgent, routine, patient
    code: str


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
    restart_on_return: bool = False  # after a gap (R9)
    high_before: int = 0  # dates in a row not offered because of pain before (S-PRE)
    reviews: frozenset[str] = frozenset()  # open review items
    reviews_due: tuple[str, ...] = ()  # 4- and 6-week reviews that fell into a stop
    latest: Mapping[str, Sample] = field(default_factory=dict)  # newest values in the window
    ended: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The verdict on one date."""

    day: Day
    phase_id: str
    planned: int
    credit: int
    colour: Colour
    outcome: Outcome
    rule: str
    findings: tuple[Finding, ...] = ()
    alerts: tuple[Alert, ...] = ()
    stopped: bool = False
    excused: bool = False
    before: State  # as the date was lived, with what people decided for it
    after: State

    @property
    def on(self) -> date:
        return self.day.on

    @property
    def failed(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(f.gate for f in self.findings if not f.passed))

    @property
    def counts(self) -> bool:
        """A session day that enters windows; sets logged during a stop are kept, not counted."""
        return self.day.is_session and not self.stopped


@dataclass(frozen=True, kw_only=True)
class Case:
    """Everything a rule may look at when it judges a date."""

    protocol: Protocol
    numbers: Numbers
    first: date
    baseline: float | None  # nprs_worst at the start
    state: State
    past: Sequence[Judged]
    day: Day
    planned: int
    colour: Colour

    @property
    def phase(self) -> Phase:
        return self.protocol.phase(self.state.phase_id)

    @property
    def is_first_phase(self) -> bool:
        return self.phase.number == 1

    @property
    def is_last_phase(self) -> bool:
        return self.phase.number == len(self.protocol.phases)

    @property
    def excused(self) -> bool:
        return self.day.excused or self.not_offered

    @property
    def not_offered(self) -> bool:
        """S-PRE: pain before at RED_dur or more and below SEV, and nothing was done."""
        before, limits = self.day.before, self.protocol.limits
        return (
            not self.day.is_session and before is not None and limits.red <= before < limits.severe
        )

    @property
    def missed(self) -> bool:
        return self.planned > 0 and not self.day.is_session and not self.excused

    @property
    def missed_in_a_row(self) -> int:
        return self.state.missed + 1 if self.missed else 0

    @property
    def day_in_phase(self) -> int:
        """Days of the phase, this one included, without stopped and excused dates."""
        elapsed = (self.day.on - self.state.started_on).days + 1
        return elapsed - self.state.days_left_out

    @property
    def episode_day(self) -> int:
        return (self.day.on - self.first).days + 1

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Every gate, evaluated once."""
        return tuple(finding for gate in GATES for finding in gate(self))

    def sessions(self, count: int) -> list[Day]:
        """The last session days of the phase's window, this date included."""
        found = [self.day] if self.day.is_session else []
        for one in reversed(self.past):
            if len(found) == count or one.on < self.state.window_from:
                break
            if one.counts:
                found.append(one.day)
        return found[::-1]

    def since(self, first: date) -> Sequence[Judged]:
        """The judged dates from `first` on. A course has one row a date, without holes."""
        return self.past[max(0, len(self.past) - (self.day.on - first).days) :]

    def in_window(self, days: int) -> Sequence[Judged]:
        """The judged dates of the phase's window among the last `days`, this one left out."""
        return self.since(max(self.state.window_from, self.day.on - (days - 1) * A_DAY))

    def reds(self, days: int) -> list[date]:
        """RED and SEVERE dates of the last `days` dates, across phases, this one included."""
        recent = self.since(self.day.on - (days - 1) * A_DAY)
        found = [one.on for one in recent if one.colour in (Colour.RED, Colour.SEVERE)]
        return [*found, self.day.on] if self.colour in (Colour.RED, Colour.SEVERE) else found


# --- Table R ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a row of Table R says: the outcome, what it tells people, and what follows."""

    outcome: Outcome
    after: State
    alerts: tuple[Alert, ...] = ()
    findings: tuple[Finding, ...] = ()
    stopped: bool = False


def r1(case: Case) -> Ruling | None:
    """A flag of level emergency or urgent is reported: stop, at once."""
    if not (signs := case.day.stop_signs):
        return None
    return _stop(case, signs)


def r2(case: Case) -> Ruling | None:
    """A stop is standing. Nothing the patient does or says ends it."""
    if not case.state.stop or case.day.clearance is not None:
        return None
    alerts = (Alert("routine", "session-during-stop"),) if case.day.is_session else ()
    return Ruling(Outcome.STOP, case.state, alerts, stopped=True)


def r3(case: Case) -> Ruling | None:
    """A clinician clears the stop: resume on the next date, half dose, clock restarted."""
    if not case.state.stop or case.day.clearance is None:
        return None
    return Ruling(Outcome.HOLD, _cleared(case, case.day.clearance), stopped=True)


def r4(case: Case) -> Ruling | None:
    """SEVERE, or a check-in without a session reports pain at or above SEV: stop."""
    otherwise = case.day.pain_otherwise
    severe = otherwise is not None and otherwise >= case.protocol.limits.severe
    if case.colour is not Colour.SEVERE and not severe:
        return None
    return _stop(case, (Reported("severe", "urgent"),))


def r5(case: Case) -> Ruling | None:
    """The second RED within 7 dates, counting only those after the last step back: step back."""
    if case.colour is not Colour.RED:
        return None
    last = case.state.last_step_back
    recent = case.reds(int(case.numbers["red_repeat_days"]))
    found = [on for on in recent if last is None or on > last]
    if len(found) < case.numbers["red_repeat_count"]:
        return None
    return _step_back(case)


def r6(case: Case) -> Ruling | None:
    """RED otherwise: the next session day at half dose."""
    if case.colour is not Colour.RED:
        return None
    half = max(case.state.half_left, int(case.numbers["red_half_dose_sessions"]))
    return Ruling(Outcome.HOLD, replace(case.state, half_left=half))


def r8(case: Case) -> Ruling | None:
    """The third planned date missed in a row: nudge the patient."""
    if case.missed_in_a_row != case.numbers["missed_nudge"]:
        return None
    return Ruling(Outcome.HOLD, case.state, (Alert("patient", "nudge-3"),))


def r9(case: Case) -> Ruling | None:
    """The seventh: routine alert; on return half dose, clock and windows restart."""
    if case.missed_in_a_row != case.numbers["missed_gap"]:
        return None
    after = _opened(case.state, "gap-7")
    return Ruling(
        Outcome.HOLD, replace(after, restart_on_return=True), (Alert("routine", "gap-7"),)
    )


def r10(case: Case) -> Ruling | None:
    """The fourteenth: step back."""
    if case.missed_in_a_row != case.numbers["missed_regress"]:
        return None
    return _step_back(case)


def r11(case: Case) -> Ruling | None:
    """Day 28 and the worst pain has not fallen enough, or was not asked: review."""
    return _reviewed(case, "review-4wk")


def r12(case: Case) -> Ruling | None:
    """Day 42, the same test."""
    return _reviewed(case, "review-6wk")


def r13(case: Case) -> Ruling | None:
    """A rest day, an excused date or a missed date."""
    if case.day.is_session and not case.day.excused:
        return None
    return Ruling(Outcome.HOLD, case.state)


def r14(case: Case) -> Ruling | None:
    """All gates pass: propose the next phase, or completion of the last."""
    if not all(one.passed for one in case.findings):
        return None
    outcome = Outcome.DISCHARGE if case.is_last_phase else Outcome.ADVANCE
    return Ruling(outcome, case.state, findings=case.findings)


def r15(case: Case) -> Ruling:
    """Otherwise: hold, with the gates that failed."""
    return Ruling(Outcome.HOLD, case.state, findings=case.findings)


PROPOSED = (Outcome.ADVANCE, Outcome.DISCHARGE)

# R7 adds an alert to R5 and R6 and decides nothing, so it is no row of its own here.
RULES: tuple[Callable[[Case], Ruling | None], ...] = (
    r1, r2, r3, r4, r5, r6, r8, r9, r10, r11, r12, r13, r14, r15,
)  # fmt: skip


def _stop(case: Case, signs: tuple[Reported, ...]) -> Ruling:
    """A stop stands from now on; a new flag during a stop joins it, the higher level rules."""
    codes = " + ".join(sign.code for sign in signs)
    level = "emergency" if any(sign.level == "emergency" for sign in signs) else "urgent"
    known = {one.code for one in case.state.stop}
    standing = case.state.stop + tuple(sign for sign in signs if sign.code not in known)
    after = replace(case.state, stop=standing)
    return Ruling(Outcome.STOP, after, (Alert(level, codes),), stopped=bool(case.state.stop))


def _cleared(case: Case, clearance: Clearance) -> State:
    phase_id = clearance.phase_id or case.state.phase_id
    return replace(
        _restarted(case.state, case.day.on + A_DAY),
        phase_id=phase_id,
        stop=(),
        half_left=int(case.numbers["stop_half_dose_sessions"]),
    )


def _step_back(case: Case) -> Ruling:
    """One phase back at its full dose; in phase 1 half doses instead, and the clinician is told."""
    alerts: tuple[Alert, ...] = ()
    after = replace(_restarted(case.state, case.day.on + A_DAY), last_step_back=case.day.on)
    if case.is_first_phase:
        alerts = (Alert("routine", "regress-in-phase-1"),)
        half = int(case.numbers["phase_1_half_dose_sessions"])
        after = replace(_opened(after, "regress-in-phase-1"), half_left=half)
    else:
        lower = case.protocol.phases[case.phase.number - 2]
        after = replace(after, phase_id=lower.id, half_left=0)
    return Ruling(Outcome.STEP_BACK, after, alerts)


def _restarted(state: State, on: date) -> State:
    return replace(
        state,
        started_on=on,
        window_from=on,
        days_left_out=0,
        missed=0,
        restart_on_return=False,
        latest={},
    )


def _opened(state: State, *codes: str) -> State:
    return replace(state, reviews=state.reviews | set(codes))


def _reviewed(case: Case, code: str) -> Ruling | None:
    if code not in _reviews_failed(case):
        return None
    return Ruling(Outcome.HOLD, case.state)


def _reviews_failed(case: Case) -> list[str]:
    """The 4- and 6-week reviews that are due on this date and not passed."""
    days = {
        "review-4wk": case.numbers["first_review_day"],
        "review-6wk": case.numbers["second_review_day"],
    }
    due = [code for code, on in days.items() if on == case.episode_day]
    if case.state.stop:
        return []
    due += [code for code in case.state.reviews_due if code not in due]
    return [code for code in due if not _has_fallen(case)]


def _has_fallen(case: Case) -> bool:
    """nprs_worst, at most 7 days old, lower than the baseline by 2 points or by 30 %."""
    oldest = case.day.on - timedelta(days=int(case.numbers["review_value_days"]))
    values = [
        one.value
        for day in [*(judged.day for judged in case.since(oldest)), case.day]
        for one in day.measured
        if one.metric == "nprs_worst"
    ]
    if not values or case.baseline is None:
        return False
    fall = case.baseline - values[-1]
    return (
        fall >= case.numbers["review_fall_points"]
        or fall >= case.numbers["review_fall_ratio"] * case.baseline
    )


# --- Gates ------------------------------------------------------------------------------------


def gg0(case: Case) -> Iterator[Finding]:
    """The date is a completed session day."""
    yield Finding("GG0", _completed(case, case.day.done, case.planned), "session day completed")


def gg1(case: Case) -> Iterator[Finding]:
    """The phase's minimum days."""
    days, needed = case.day_in_phase, case.phase.min_days
    yield Finding("GG1", days >= needed, f"day {days} of {needed}", days, needed, 1)


def gg2(case: Case) -> Iterator[Finding]:
    """Pain during at most P_prog on each of the last three session days."""
    last, needed = _last_sessions(case)
    pains = [day.during for day in last]
    known = [pain for pain in pains if pain is not None]
    limit = case.protocol.limits.progress
    passed = len(known) == needed and max(known) <= limit
    worst = max(known, default=None)
    text = f"max {worst}" if len(last) == needed else f"only {len(last)} sessions"
    yield Finding("GG2", passed, text, worst, limit, len(known), _dates(last))


def gg3(case: Case) -> Iterator[Finding]:
    """Each of them has a next-morning rating, none higher than before."""
    last, needed = _last_sessions(case)
    rises = [day.rise for day in last]
    known = [rise for rise in rises if rise is not None]
    limit = case.numbers["gate_rise_max"]
    passed = len(known) == needed and max(known) <= limit
    worst = max(known, default=None)
    yield Finding("GG3", passed, f"worst rise {worst}", worst, limit, len(known), _dates(last))


def gg4(case: Case) -> Iterator[Finding]:
    """Credited over planned sets of the last 7 dates, excused and stopped ones left out."""
    rows = [
        (one.credit, one.planned)
        for one in case.in_window(int(case.numbers["gate_adherence_days"]))
        if not one.excused and not one.stopped
    ]
    if not case.excused:
        rows.append((min(case.day.done, case.planned), case.planned))
    credit, planned = sum(row[0] for row in rows), sum(row[1] for row in rows)
    share = credit / planned if planned else None
    limit = case.numbers["gate_adherence"]
    passed = share is not None and share >= limit
    yield Finding("GG4", passed, f"{credit}/{planned}", share, limit, len(rows))


def gg5(case: Case) -> Iterator[Finding]:
    """Completed session days within 7 dates."""
    found = [
        one
        for one in case.in_window(int(case.numbers["gate_completed_within_days"]))
        if one.counts and _completed(case, one.day.done, one.planned)
    ]
    count = len(found) + _completed(case, case.day.done, case.planned)
    needed = case.numbers["gate_completed_days"]
    yield Finding("GG5", count >= needed, f"{count} of {needed:g}", count, needed, count)


def gg6(case: Case) -> Iterator[Finding]:
    """No open flag, safety item or review item."""
    found = sorted(case.state.reviews | set(_reviews_failed(case)))
    yield Finding("GG6", not found, f"open: {', '.join(found)}", len(found), 0, 1, tuple(found))


def gg7(case: Case) -> Iterator[Finding]:
    """No RED or SEVERE in the last 7 dates, across phases."""
    found = [on.isoformat() for on in case.reds(int(case.numbers["gate_red_free_days"]))]
    yield Finding("GG7", not found, f"RED on {', '.join(found)}", len(found), 0, 1, tuple(found))


def gg8(case: Case) -> Iterator[Finding]:
    """Every exit predicate; each value measured in this phase and at most 7 days old."""
    if not case.phase.exit:
        yield Finding("GG8", passed=False, text="no exit: runs until a clinician ends it")
    for criterion in case.phase.exit:
        rule = predicate.parse(criterion.when)
        found = _series(case, rule)
        observed = predicate.aggregate(rule.aggregate, [value for _, value, _ in found])
        fresh = _is_fresh(case, rule, found)
        passed = fresh and rule.holds(observed)
        text = f"{rule.metric} {observed:g}" if observed is not None else f"{rule.metric} missing"
        if observed is not None and not fresh:
            text += f" {(case.day.on - found[-1][0]).days} days old"
        records = tuple(record for _, _, record in found if record)
        yield Finding("GG8", passed, text, observed, rule.limit, len(found), records)


def gg9(case: Case) -> Iterator[Finding]:
    """Morning pain is not rising from week to week; looks across phases."""
    days = int(case.numbers["gate_trend_days"])
    since = case.day.on - timedelta(days=days - 1)
    rated = [
        (day.on, day.next_morning)
        for day in [*(o.day for o in case.since(since - days * A_DAY) if o.counts), case.day]
        if day.next_morning is not None
    ]
    late = [pain for on, pain in rated if on >= since]
    early = [pain for on, pain in rated if on < since]
    needed = case.numbers["gate_trend_values"]
    if len(late) < needed or len(early) < needed:
        yield Finding("GG9", passed=True, text="too few ratings to compare", samples=len(rated))
        return
    rise, limit = fmean(late) - fmean(early), case.numbers["gate_trend_below"]
    yield Finding("GG9", rise < limit, f"mean {rise:+.2f}", rise, limit, len(rated))


def gg10(case: Case) -> Iterator[Finding]:
    """Nerve protocols: leg symptoms settled within 10 minutes on the last three session days."""
    if not case.protocol.limits.nerve:
        return
    last, needed = _last_sessions(case)
    known = [day.settle_min for day in last if day.settle_min is not None]
    limit = case.numbers["gate_settle_max_min"]
    worst = max(known, default=None)
    passed = len(known) == needed and max(known) <= limit
    yield Finding("GG10", passed, f"settle {worst}", worst, limit, len(known), _dates(last))


GATES: tuple[Callable[[Case], Iterator[Finding]], ...] = (
    gg0, gg1, gg2, gg3, gg4, gg5, gg6, gg7, gg8, gg9, gg10,
)  # fmt: skip


def _completed(case: Case, done: int, planned: int) -> bool:
    return planned > 0 and done >= case.numbers["completed_session_ratio"] * planned


def _last_sessions(case: Case) -> tuple[list[Day], int]:
    needed = int(case.numbers["gate_sessions"])
    return case.sessions(needed), needed


def _dates(days: Iterable[Day]) -> tuple[str, ...]:
    return tuple(day.on.isoformat() for day in days)


def _series(case: Case, rule: predicate.Predicate) -> list[Sample]:
    """Samples of a metric inside the predicate's window, oldest first."""
    if (rule.aggregate, rule.window) == ("latest", "phase"):
        newest = case.state.latest.get(rule.metric)
        return [newest] if newest else []
    if rule.window == "last":
        days = case.sessions(rule.size or 0)
    else:
        since = case.first if rule.window == "episode" else case.state.window_from
        if rule.window == "days":
            since = max(since, case.day.on - timedelta(days=(rule.size or 1) - 1))
        days = [*(one.day for one in case.since(since)), case.day]
    known = (values_of(day, case.protocol) for day in days)
    return [values[rule.metric] for values in known if rule.metric in values]


def values_of(day: Day, protocol: Protocol) -> dict[str, Sample]:
    """What a date says of each metric; what was assessed outweighs what was reported."""
    reported: dict[str, float | None] = {
        "pain_pre": day.before,
        "pain_during": day.during,
        "pain_next": day.next_morning,
        "delta": day.rise,
        "settle_min": day.settle_min,
    }
    if protocol.limits.amber_next is not None and day.is_session:
        # In such a protocol the ratings are the load test; the later of the day's two counts.
        rating = day.next_morning if day.next_morning is not None else day.before
        reported["load_test_pain"] = rating
    values = {name: (day.on, value, "") for name, value in reported.items() if value is not None}
    return values | {one.metric: (day.on, one.value, one.record) for one in day.measured}


def _is_fresh(case: Case, rule: predicate.Predicate, found: Sequence[Sample]) -> bool:
    if not found or rule.most_days_old is None:
        return bool(found)
    return (case.day.on - found[-1][0]).days <= rule.most_days_old


# --- The fold ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """What stays the same while a course is replayed."""

    protocol: Protocol
    numbers: Numbers
    first: date
    planned: Planned
    baseline: float | None = None
    joined: date | None = None  # windows hold nothing before this
    start_phase_id: str = ""
    reviews: frozenset[str] = field(default_factory=frozenset)

    def start(self) -> State:
        return State(
            phase_id=self.start_phase_id or self.protocol.phases[0].id,
            started_on=self.first,
            window_from=self.joined or self.first,
            reviews=self.reviews,
        )


@dataclass(frozen=True, slots=True)
class Late:
    """A date as it turned out to be, known only since `arrives`, after it had been judged."""

    arrives: date
    day: Day


def replay(
    course: Course,
    days: Iterable[Day],
    late: Iterable[Late] = (),
    decide: Callable[[Judged], Approval | None] = lambda judged: None,
) -> tuple[Judged, ...]:
    """Judge every date in order, without holes. The same facts give the same answer, always.

    `decide` stands for a clinician who answers a date on the next morning, in cases and
    simulations; a real course carries its decisions in the days.
    """
    waiting = sorted(late, key=lambda one: (one.arrives, one.day.on))
    state = course.start()
    past: list[Judged] = []
    for day in days:
        told: list[Alert] = []
        while waiting and waiting[0].arrives <= day.on:
            state, alerts = _take_late(course, past, state, waiting.pop(0).day, day.on)
            told += alerts
        if past and day.approval is None:
            day = replace(day, approval=decide(past[-1]))
        judged = judge(course, state, past, day)
        if told:
            judged = replace(judged, alerts=(*told, *judged.alerts))
        past.append(judged)
        state = judged.after
    return tuple(past)


def _take_late(
    course: Course, past: list[Judged], state: State, day: Day, today: date
) -> tuple[State, list[Alert]]:
    """T8: judge that date and the later ones again, as they were lived.

    A plan that was carried out is not rewritten, and what a person approved is not undone: what
    makes treatment lighter takes effect now, and a proposal that no longer holds raises an alert.
    """
    first = next(n for n, one in enumerate(past) if one.on == day.on)
    alerts: list[Alert] = []
    for n in range(first, len(past)):
        old = past[n]
        new = judge(course, old.before, past[:n], day if n == first else old.day)
        past[n] = new
        alerts += [alert for alert in new.alerts if alert not in old.alerts]
        if new.rule != old.rule:
            state = _lightened(course, state, new, today)
        undone = old.outcome in PROPOSED and new.outcome not in PROPOSED
        if undone and any(one.day.approval for one in past[n + 1 :]):
            alerts.append(Alert("routine", "late-data"))
            state = _opened(state, "late-data")
    return state, alerts


def _lightened(course: Course, state: State, late: Judged, today: date) -> State:
    """What a late verdict takes off the plan, from today on."""
    reviews = state.reviews | (late.after.reviews - late.before.reviews)
    state = replace(state, reviews=reviews)
    if late.outcome is Outcome.STOP and late.rule != "R2":
        known = {one.code for one in state.stop}
        new = tuple(one for one in late.after.stop if one.code not in known)
        return replace(state, stop=state.stop + new)
    if late.outcome is Outcome.STEP_BACK:
        lower = course.protocol.phase(late.after.phase_id)
        if lower.number > course.protocol.phase(state.phase_id).number:
            return state
        half = max(state.half_left, late.after.half_left)
        back = replace(_restarted(state, today), phase_id=lower.id, half_left=half)
        return replace(back, last_step_back=today - A_DAY)
    if late.rule == "R6":
        return replace(state, half_left=max(state.half_left, late.after.half_left))
    return state


def judge(course: Course, state: State, past: Sequence[Judged], day: Day) -> Judged:
    """One date: what a person decided for it first, then Table R, then what follows."""
    state = _with_decisions(state, day)
    state = replace(state, latest={**state.latest, **values_of(day, course.protocol)})
    planned = planned_on(course, state, day)
    case = Case(
        protocol=course.protocol,
        numbers=course.numbers,
        first=course.first,
        baseline=course.baseline,
        state=state,
        past=past,
        day=day,
        planned=planned,
        colour=Colour.NONE if state.stop and not day.stop_signs
        else colour_of(day, course.protocol.limits, course.numbers),
    )  # fmt: skip
    if case.day.is_session and state.restart_on_return and not state.stop:
        case = _returned(course, case)
    for rule in RULES:
        if (ruling := rule(case)) is not None:
            return _judged(case, rule.__name__.upper(), ruling)
    raise AssertionError("R15 always rules")


def _with_decisions(state: State, day: Day) -> State:
    """What people decided with effect from this date."""
    state = replace(state, reviews=(state.reviews | set(day.opened)) - set(day.closed))
    if (approval := day.approval) is None:
        return state
    if approval.ends:
        return replace(state, ended=True)
    return replace(_restarted(state, day.on), phase_id=approval.phase_id, half_left=0)


def planned_on(course: Course, state: State, day: Day) -> int:
    """Planned sets of a date after any half dose; 0 when stopped, excused or ended."""
    if state.ended or state.stop or day.excused:
        return 0
    full = day.planned
    if full is None:
        full = course.planned(state.phase_id, state.started_on, day.on)
    return ceil(full * course.numbers["half_dose_ratio"]) if state.half_left else full


def _returned(course: Course, case: Case) -> Case:
    """R9: back after a gap. Clock and windows restart on this date, the first days at half dose."""
    half = int(course.numbers["gap_half_dose_sessions"])
    restarted = _restarted(case.state, case.day.on)
    values = values_of(case.day, case.protocol)
    state = replace(restarted, half_left=half, latest=values)
    return replace(case, state=state, planned=planned_on(course, state, case.day))


def _judged(case: Case, rule: str, ruling: Ruling) -> Judged:
    alerts, after = list(ruling.alerts), ruling.after
    if rule in ("R5", "R6") and _soon_after_step_back(case):  # R7
        alerts.append(Alert("routine", "red-after-regress"))
        after = _opened(after, "red-after-regress")
    failed = [] if ruling.stopped or case.day.stop_signs else _reviews_failed(case)
    alerts += [Alert("routine", code) for code in failed]
    after = _opened(after, *failed)
    return Judged(
        day=case.day,
        phase_id=case.state.phase_id,
        planned=0 if case.excused else case.planned,
        credit=0 if ruling.stopped or case.excused else min(case.day.done, case.planned),
        colour=case.colour,
        outcome=ruling.outcome,
        rule=rule,
        findings=ruling.findings,
        alerts=tuple(alerts + _high_before_alert(case)),
        stopped=ruling.stopped,
        excused=case.excused,
        before=case.state,
        after=_carried(case, after, ruling),
    )


def _soon_after_step_back(case: Case) -> bool:
    last = case.state.last_step_back
    return last is not None and (case.day.on - last).days <= case.numbers["red_after_regress_days"]


def _high_before_alert(case: Case) -> list[Alert]:
    again = (
        case.not_offered and case.state.high_before + 1 == case.numbers["high_pain_before_in_a_row"]
    )
    return [Alert("routine", "high-pain-before")] if again else []


def _carried(case: Case, after: State, ruling: Ruling) -> State:
    """The counters that every date moves, whatever was decided."""
    restarted = after.started_on > case.day.on
    half_used = case.day.is_session and not ruling.stopped and case.state.half_left > 0
    half = after.half_left
    if half_used and not restarted and ruling.after.half_left == case.state.half_left:
        half -= 1
    due: tuple[str, ...] = ()
    if ruling.stopped or case.day.stop_signs:
        due = tuple(dict.fromkeys([*case.state.reviews_due, *_reviews_on(case)]))
    missed = case.state.missed
    if case.missed and not ruling.stopped:
        missed += 1
    elif case.day.is_session:
        missed = 0
    reviews = after.reviews | {alert.code for alert in _high_before_alert(case)}
    return replace(
        after,
        half_left=half,
        missed=0 if restarted else missed,
        high_before=case.state.high_before + 1 if case.not_offered else 0,
        days_left_out=after.days_left_out + (not restarted and (ruling.stopped or case.excused)),
        reviews=reviews,
        reviews_due=due,
    )


def _reviews_on(case: Case) -> list[str]:
    days = {
        "review-4wk": case.numbers["first_review_day"],
        "review-6wk": case.numbers["second_review_day"],
    }
    return [code for code, on in days.items() if on == case.episode_day]
