"""How far back a verdict looks, so that a fold can go on with a part of the chain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date

from protocols.engine import predicate
from protocols.engine.case import A_DAY, Alert, Course, Judged, Outcome, State
from protocols.engine.day import Day
from protocols.engine.gates import REPORTED
from protocols.engine.predicate import Predicate
from protocols.engine.progression import judge


@dataclass(frozen=True, slots=True)
class Kept:
    """A date as it was lived: what makes its part of the chain again."""

    inherited: State  # Judged.case.inherited
    day: Day
    planned: int  # Judged.case.planned
    told: tuple[Alert, ...] = ()
    verdict: tuple[str, Outcome] | None = None  # Judged.rule and outcome, where it matters


def recalled(course: Course, kept: Iterable[Kept]) -> tuple[Judged, ...]:
    """The chain of dates that were judged before, oldest first.

    Facts, colours, credits and stops are as they were. A verdict that is not given is so only where
    the chain begins no later than that date itself looks back to.
    """
    chain: list[Judged] = []
    for one in kept:
        last = chain[-1] if chain else None
        row = one.verdict[0] if one.verdict else ""
        judged = judge(course, one.inherited, last, one.day, planned=one.planned, row=row)
        if one.verdict is not None and one.verdict != (judged.rule, judged.outcome):
            judged = replace(judged, rule=one.verdict[0], outcome=one.verdict[1])
        chain.append(replace(judged, told=one.told) if one.told else judged)
    return tuple(chain)


def looks_back_to(course: Course, state: State, on: date, sessions: Sequence[date] = ()) -> date:
    """The first date that the verdict on `on`, or on any date after it, may look at.

    `state` is what `on` inherits. `sessions` are the counted session days before `on`, newest
    first, as many as are known; without enough of them a window of the last session days may reach
    to the start of the phase. Of nerve glides `signs_of` asks more: the last session day.
    """
    numbers, since = course.numbers, state.window_from
    days = (
        numbers["red_repeat_days"],  # R5
        numbers["review_value_days"] + 1,  # R11, R12
        numbers["gate_adherence_days"],  # GG4
        numbers["gate_completed_within_days"],  # GG5
        numbers["gate_red_free_days"],  # GG7
        2 * numbers["gate_trend_days"],  # GG9
        numbers["nerve_words_days"],  # reclassify-nerve
        numbers["sit_bone_within_days"],  # consider-pht
    )
    first = on - (int(max(days)) - 1) * A_DAY
    exits = [predicate.parse(one.when) for one in course.protocol.phase(state.phase_id).exit]
    last = [
        int(numbers["gate_sessions"]),
        *(one.size for one in exits if one.window == "last"),
    ]
    counted = [one for one in sessions if since <= one < on]
    first = min(first, since if len(counted) < max(last) else counted[max(last) - 1])
    for rule in exits:
        first = min(first, max(since, window_from(rule, since, on, numbers["gate_value_days"])))
    # A person may put the patient into any phase, whose windows begin anew, but for this one.
    return min(first, course.first) if any(_of_episode(course)) else first


def window_from(rule: Predicate, since: date, on: date, value_days: float) -> date:
    """Where the window of an exit predicate begins; `last` is looked at by the caller."""
    if rule.is_newest_of_phase:
        days_old = rule.most_days_old or int(value_days)
        return on - days_old * A_DAY if rule.metric in REPORTED else on
    if rule.window == "days":
        return on - (rule.size - 1) * A_DAY
    return since if rule.window == "phase" else on


def _of_episode(course: Course) -> Iterator[bool]:
    for phase in course.protocol.phases:
        for one in phase.exit:
            yield predicate.parse(one.when).window == "episode"
