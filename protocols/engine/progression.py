"""The daily decision: rules R1 to R15, and the fold over lived dates.

The functions carry the ids of protocols.md section 5 and stand in its order. `replay` is a fold: a
state in, one date judged, a state out. Late data mean: replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from math import ceil

from protocols.engine.case import A_DAY, PROPOSED, Alert, Case, Course, Gate, Judged, Outcome, State
from protocols.engine.day import (
    Approval,
    Clearance,
    Colour,
    Day,
    Reported,
    colour_of,
    is_advised_rest,
)
from protocols.engine.definition import Protocol
from protocols.engine.easing import tallied
from protocols.engine.gates import ASKED, GATES
from protocols.engine.glides import nerve_after
from protocols.engine.reclassifying import reclassified

VERSION = "1.0.0"

# --- Table R ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ruling:
    """What a row of Table R says: the outcome, what it tells people, and what follows."""

    outcome: Outcome
    after: State
    alerts: tuple[Alert, ...] = ()
    stopped: bool = False
    half_left: int | None = None  # session days at half dose from now on; None: what is left
    gates: tuple[Gate, ...] = ()


def r1(case: Case) -> Ruling | None:
    """A flag of level emergency or urgent is reported: stop, at once."""
    if not (signs := case.day.stop_signs):
        return None
    return _stop(case, signs)


def r2(case: Case) -> Ruling | None:
    """A stop is standing. Nothing the patient does or says ends it."""
    if not case.state.stop or case.day.clearance is not None:
        return None
    alerts, after = _session_during_stop(case)
    return Ruling(Outcome.STOP, after, alerts, stopped=True)


def r3(case: Case) -> Ruling | None:
    """A clinician clears the stop: resume on the next date, half dose, clock restarted."""
    if not case.state.stop or case.day.clearance is None:
        return None
    alerts, after = _session_during_stop(case)
    half = int(case.numbers["stop_half_dose_sessions"])
    after = _cleared(after, case.day.clearance, case.day.on + A_DAY)
    return Ruling(Outcome.HOLD, after, alerts, stopped=True, half_left=half)


def r4(case: Case) -> Ruling | None:
    """SEVERE, or pain at or above SEV or a pop is told without a set logged: stop."""
    if case.colour is Colour.SEVERE or case.day.is_severe_otherwise(case.limits):
        return _stop(case, (Reported("severe", "urgent"),))
    return None


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
    half = max(case.half_left, int(case.numbers["red_half_dose_sessions"]))
    return Ruling(Outcome.HOLD, case.state, half_left=half)


def r8(case: Case) -> Ruling | None:
    """The third planned date missed in a row: nudge the patient."""
    if not case.is_missed_in_a_row(case.numbers["missed_nudge"]):
        return None
    return Ruling(Outcome.HOLD, case.state, (Alert("patient", "nudge-3"),))


def r9(case: Case) -> Ruling | None:
    """The seventh: routine alert; on return half dose, clock and windows restart (`_returned`)."""
    if not case.is_missed_in_a_row(case.numbers["missed_gap"]):
        return None
    return Ruling(Outcome.HOLD, _opened(case.state, "gap-7"), (Alert("routine", "gap-7"),))


def r10(case: Case) -> Ruling | None:
    """The fourteenth: step back. What R9 said of the return still holds."""
    if not case.is_missed_in_a_row(case.numbers["missed_regress"]):
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
    if case.day.is_session and case.planned > 0:  # nothing is planned on an excused date
        return None
    return Ruling(Outcome.HOLD, case.state)


def r14(case: Case) -> Ruling | None:
    """All gates pass: propose the next phase, or completion of the last."""
    for gate in ASKED:
        for finding in gate(case):
            if not finding.passed:
                return None
    return _proposed(case)


def _proposed(case: Case) -> Ruling:
    is_last = case.phase.number == len(case.course.protocol.phases)
    return Ruling(Outcome.DISCHARGE if is_last else Outcome.ADVANCE, case.state, gates=GATES)


def r15(case: Case) -> Ruling:
    """Otherwise: hold, with the gates that failed."""
    return Ruling(Outcome.HOLD, case.state, gates=GATES)


# R7 adds an alert to R5 and R6 and decides nothing, so it is no row of its own here.
RULES: tuple[Callable[[Case], Ruling | None], ...] = (
    r1, r2, r3, r4, r5, r6, r8, r9, r10, r11, r12, r13, r14, r15,
)  # fmt: skip
ROWS = tuple((rule, rule.__name__.upper()) for rule in RULES)
# Where it is known which row decided, it is asked first, and the gates not again.
ROWS_FROM = {row: ((rule, row), *ROWS) for rule, row in ROWS} | {
    "": ROWS,
    "R14": ((_proposed, "R14"),),
}


def _stop(case: Case, signs: tuple[Reported, ...]) -> Ruling:
    """A stop stands from now on; a new flag during a stop joins it, the higher level rules.

    Where the stop was cleared on this date before these signs came, they stand alone.
    """
    codes = " + ".join(sign.code for sign in signs)
    level = "emergency" if any(sign.level == "emergency" for sign in signs) else "urgent"
    alerts, after = _session_during_stop(case)
    clearance, half = case.day.clearance, None
    stood = () if clearance is not None else after.stop
    known = {one.code for one in stood}
    standing = stood + tuple(sign for sign in signs if sign.code not in known)
    after = replace(after, stop=standing)
    if clearance is not None and clearance.after_reports:  # R3 on the date of the report
        after = _cleared(after, clearance, case.day.on + A_DAY)
        half = int(case.numbers["stop_half_dose_sessions"])
    return Ruling(
        Outcome.STOP,
        after,
        (Alert(level, codes), *alerts),
        stopped=bool(case.state.stop),
        half_left=half,
    )


def _session_during_stop(case: Case) -> tuple[tuple[Alert, ...], State]:
    """R2: a set logged during a stop is kept and not counted, and a person looks at it."""
    if not (case.state.stop and case.day.is_session):
        return (), case.state
    code = "session-during-stop"
    return (Alert("routine", code),), _opened(case.state, code)


def _cleared(state: State, clearance: Clearance, on: date) -> State:
    return replace(_restarted(state, on), phase_id=clearance.phase_id or state.phase_id, stop=())


def _step_back(case: Case) -> Ruling:
    """One phase back at its full dose; in phase 1 half doses instead, and the clinician is told."""
    after = replace(_restarted(case.state, case.day.on + A_DAY), last_step_back=case.day.on)
    if case.phase.number > 1:
        lower = case.course.protocol.phases[case.phase.number - 2]
        return Ruling(Outcome.STEP_BACK, replace(after, phase_id=lower.id), half_left=0)
    code = "regress-in-phase-1"
    return Ruling(
        Outcome.STEP_BACK,
        _opened(after, code),
        (Alert("routine", code),),
        half_left=int(case.numbers["phase_1_half_dose_sessions"]),
    )


def _restarted(state: State, on: date) -> State:
    return replace(state, started_on=on, window_from=on, days_left_out=0, latest={})


def _opened(state: State, *codes: str) -> State:
    return replace(state, reviews=state.reviews | set(codes))


REVIEWS = (("review-4wk", "first_review_day"), ("review-6wk", "second_review_day"))


def _reviewed(case: Case, code: str) -> Ruling | None:
    is_failed = code in case.due and code in case.reviews_failed
    return Ruling(Outcome.HOLD, case.state) if is_failed else None


def _reviews_due(course: Course, state: State, on: date) -> tuple[str, ...]:
    episode_day = (on - course.first).days + 1
    due = state.reviews_due
    for code, number in REVIEWS:
        if episode_day == course.numbers[number]:
            due = (*due, code)
    return due


# --- The fold ---------------------------------------------------------------------------------


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
    *,
    chain: Iterable[Judged] = (),
) -> tuple[Judged, ...]:
    """Judge every date in order, without holes. The same facts give the same answer, always.

    `decide` stands for a clinician who answers a date on the next morning, in cases and
    simulations; a real course carries its decisions in the days. `chain` is what was judged before,
    to go on from (`looking_back`); it comes back with the rest, changed where late data say so.
    """
    waiting = sorted(late, key=lambda one: (one.arrives, one.day.on))[::-1]
    past = list(chain)
    state = past[-1].after if past else course.start()
    for day in days:
        told: tuple[Alert, ...] = ()
        while waiting and waiting[-1].arrives <= day.on:
            state, alerts = _take_late(course, past, state, waiting.pop().day, day.on)
            told += tuple(alerts)
        if past and day.approval is None and (approval := decide(past[-1])) is not None:
            day = replace(day, approval=approval)
        judged = judge(course, state, past[-1] if past else None, day)
        past.append(replace(judged, told=told) if told else judged)
        state = judged.after
    told = ()
    for one in waiting[::-1]:  # came after the last date; what follows, follows from then on
        last = past[-1].on
        state, alerts = _take_late(course, past, state, one.day, last + A_DAY)
        told += tuple(alerts)
    if waiting:
        past[-1] = replace(past[-1], told=past[-1].told + told, after=state)
    return tuple(past)


def judge(
    course: Course,
    state: State,
    past: Judged | None,
    day: Day,
    *,
    planned: int | None = None,
    row: str = "",
    plan_of: State | None = None,
) -> Judged:
    """One date: what a person decided for it first, then Table R, then what follows.

    `planned` is given where the plan was carried out already and only the facts are new, and with
    it what that plan rested on, where that differs from what the date inherits by now; `row` where
    it is known which one decided.
    """
    inherited, state = state, decided(state, in_force(course.protocol, state, day))
    if state.missed and day.is_session and not state.stop and _was_away(course, state):
        state = _returned(course, state, day.on)
    if day.measured:
        newest = {one.metric: (day.on, one.value, one.record) for one in day.measured}
        state = replace(state, latest={**state.latest, **newest})
    colour = Colour.NONE
    if day.stop_signs or not state.stop:
        colour = colour_of(day, course.protocol.limits, course.numbers)
    if planned is None:
        planned = planned_on(course, state, day)
    not_offered = not state.stop and is_advised_rest(day, course.protocol.limits)
    due = _reviews_due(course, state, day.on)
    case = Case(
        *(course, state, day, planned, colour, not_offered, due, past, inherited),
        plan_of=plan_of or state,
    )
    for rule, name in ROWS_FROM[row]:
        if (ruling := rule(case)) is not None:
            return _judged(case, name, ruling)
    raise AssertionError("R15 always rules")


def in_force(protocol: Protocol, state: State, day: Day) -> Day:
    """Without an approval that what happened since it was given speaks against.

    A step back, a return after a gap or a stop begins the phase anew, or halts it. Lighter may be
    approved at any time.
    """
    approval = day.approval
    if approval is None or approval.since is None or approval.ends:
        return day
    if (state.phase_id, state.started_on) == (approval.phase_id, day.on):
        return day  # judged again, as it was lived
    wanted, number = (protocol.phase(id).number for id in (approval.phase_id, state.phase_id))
    as_seen = state.started_on == approval.since and not state.stop
    return day if as_seen or wanted < number else replace(day, approval=None)


def decided(state: State, day: Day) -> State:
    """What people decided with effect from this date, and what they have to look at."""
    if day.opened or day.closed or day.reported:
        opened = {*day.opened, *day.review_signs}
        state = replace(state, reviews=(state.reviews | opened) - set(day.closed))
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
        full = course.planned(state, day.on)
    if state.half_left or _was_away(course, state):
        return ceil(full * course.numbers["half_dose_ratio"])
    return full


def _was_away(course: Course, state: State) -> bool:
    """R9: the next session is a return after a gap, also where R10 stepped back meanwhile."""
    return state.missed >= course.numbers["missed_gap"]


def _returned(course: Course, state: State, on: date) -> State:
    """R9: back after a gap. Clock and windows restart on this date, the first days at half dose."""
    half = int(course.numbers["gap_half_dose_sessions"])
    return replace(_restarted(state, on), half_left=half, missed=0)


def _judged(case: Case, row: str, ruling: Ruling) -> Judged:
    """The ruling, with what is told and opened beside it, and the counters every date moves."""
    day, state, after = case.day, case.state, ruling.after
    halts = ruling.stopped or ruling.outcome is Outcome.STOP
    opened: list[str] = []
    if row in ("R5", "R6") and _soon_after_step_back(case):  # R7
        opened.append("red-after-regress")
    if case.due and not halts:
        opened += case.reviews_failed
    high_before = state.high_before + 1 if case.not_offered else 0
    if high_before == case.numbers["high_pain_before_in_a_row"]:
        opened.append("high-pain-before")
    nerve = nerve_after(case, counts=not ruling.stopped)
    pattern, asked = reclassified(case, nerve)
    opened += asked

    missed = state.missed
    if not halts:
        missed = 0 if day.is_session else missed + case.missed
    half_left = ruling.half_left
    if half_left is None:
        half_left = state.half_left if ruling.stopped else case.half_left
    days_left_out = after.days_left_out
    if (ruling.stopped or case.excused) and after.started_on <= day.on:
        days_left_out += 1
    due = case.due if halts else ()
    was = after.reviews_due, after.high_before, after.missed, after.half_left, after.days_left_out
    if opened or (due, high_before, missed, half_left, days_left_out) != was:
        after = replace(
            after,
            reviews=after.reviews.union(opened),
            reviews_due=due,
            high_before=high_before,
            missed=missed,
            half_left=half_left,
            days_left_out=days_left_out,
        )
    eases = tallied(after.eases, day, case.numbers)
    if (eases, nerve, pattern) != (after.eases, after.nerve, after.pattern):
        after = replace(after, eases=eases, nerve=nerve, pattern=pattern)
    raised = ruling.alerts
    if opened or day.reported:
        codes = (*day.review_signs, *opened)
        raised += tuple(Alert("routine", code) for code in codes)
    return Judged(case, row, ruling.outcome, after, raised, ruling.stopped, ruling.gates)


def _soon_after_step_back(case: Case) -> bool:
    last = case.state.last_step_back
    return last is not None and (case.day.on - last).days <= case.numbers["red_after_regress_days"]


# --- Late data --------------------------------------------------------------------------------


def _take_late(
    course: Course, past: list[Judged], state: State, day: Day, today: date
) -> tuple[State, list[Alert]]:
    """T8: judge that date and the later ones again, with the plan as it was lived.

    A plan that was carried out is not rewritten, and what a person approved is not undone: what
    makes treatment lighter takes effect now, and a proposal that no longer holds raises an alert.
    """
    if not past or not past[0].on <= day.on <= past[-1].on:
        raise ValueError(f"{day.on} was not judged yet, so nothing about it can be late")
    first = (day.on - past[0].on).days
    alerts: list[Alert] = []
    changed: list[Judged] = []
    gone = {one.metric for one in past[first].day.measured if one not in day.measured}
    carried = _without(past[first].before, gone, day.on, past[:first])
    half_left = carried.half_left
    for n in range(first, len(past)):
        old = past[n]
        told = day if n == first else old.day
        same = told.excused == old.day.excused
        planned, plan_of = (old.case.planned, old.case.plan_of) if same else (None, None)
        before = _as_lived(_without(old.before, gone, day.on, past[:n]), carried, half_left)
        last = past[n - 1] if n else None
        new = judge(course, before, last, told, planned=planned, plan_of=plan_of)
        lived = past[n + 1].case.inherited if n + 1 < len(past) else state
        past[n], carried = replace(new, told=old.told), new.after
        is_changed = (new.rule, new.raised) != (old.rule, old.raised)
        half_left = _half_left(old.after.half_left, lived.half_left, new, is_changed=is_changed)
        if is_changed:
            changed.append(new)
            alerts += [alert for alert in new.raised if alert not in old.raised]
        undone = old.outcome in PROPOSED and new.outcome not in PROPOSED
        if undone and any(one.day.approval for one in past[n + 1 :]):
            alerts.append(Alert("routine", "late-data"))
            state = _opened(state, "late-data")
    state = _as_lived(_without(state, gone, day.on, past), carried, half_left)
    for judged in changed:
        state = _lightened(course, state, judged, today)
    return state, alerts


def _without(state: State, gone: Iterable[str], on: date, past: Sequence[Judged]) -> State:
    """Without assessments of a date that were taken back; what they took the place of counts again.

    `past` are the dates that the state follows from, as they are known by now.
    """
    stale = {name for name in gone if name in state.latest and state.latest[name][0] == on}
    if not stale:
        return state
    latest = {name: one for name, one in state.latest.items() if name not in stale}
    for judged in past:
        if judged.on >= state.window_from:
            told = (one for one in judged.day.measured if one.metric in stale)
            latest |= {one.metric: (judged.on, one.value, one.record) for one in told}
    return replace(state, latest=latest)


def _half_left(said: int, lived: int, new: Judged, *, is_changed: bool) -> int:
    """What the date after this one inherits: `said` by the verdict as it was, and as it was lived.

    They differ where a half dose was said only later: it does not begin on the next date, but on
    the one on which it is known, and late data that come after that do not take it away.
    """
    true = new.case.half_left if is_changed or lived < said else new.after.half_left
    return max(lived, true) if lived > said else true


def _as_lived(lived: State, true: State, half_left: int) -> State:
    """What a date inherits when one before it turned out differently.

    Phase, stop and reviews are as they were lived; counts, and the clock of the same phase, are as
    they truly were.
    """
    clock = lived
    if true.phase_id == lived.phase_id and true.started_on >= lived.started_on:
        clock = true
    latest = dict(lived.latest)
    for metric, sample in true.latest.items():
        if metric not in latest or latest[metric][0] <= sample[0]:
            latest[metric] = sample
    return replace(
        lived,
        started_on=clock.started_on,
        window_from=clock.window_from,
        days_left_out=clock.days_left_out,
        half_left=half_left,
        missed=true.missed,
        high_before=true.high_before,
        eases=true.eases,
        nerve=true.nerve,
        pattern=true.pattern,
        latest={name: one for name, one in latest.items() if one[0] >= clock.window_from},
    )


def _lightened(course: Course, state: State, late: Judged, today: date) -> State:
    """What a late verdict takes off the plan, from today on."""
    state = _opened(state, *(late.after.reviews - late.before.reviews))
    if late.outcome is Outcome.STOP and late.rule != "R2":
        known = {one.code for one in state.stop}
        new = tuple(one for one in late.after.stop if one.code not in known)
        return replace(state, stop=state.stop + new)
    if late.outcome is Outcome.STEP_BACK:
        lower = course.protocol.phase(late.after.phase_id)
        if lower.number > course.protocol.phase(state.phase_id).number:
            return state
        state = replace(_restarted(state, today), phase_id=lower.id, last_step_back=today - A_DAY)
    if late.rule in ("R5", "R6", "R10"):
        return replace(state, half_left=max(state.half_left, late.after.half_left))
    return state
