"""Nerve glides: how irritable a nerve is, and whether a tensioner may be shown (section 10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from enum import StrEnum
from typing import Any

from protocols.engine.case import A_DAY, Case, Finding, Judged, Nerve, Sample, State
from protocols.engine.day import Colour, Numbers, is_n_red
from protocols.engine.definition import Protocol
from protocols.engine.plan import WEEK

STRAIN = "hamstring_strain"  # as protocols name the condition


class Irritability(StrEnum):
    """Which glides are allowed (10.1)."""

    HIGH = "high"  # the slider of the other leg only
    MODERATE = "moderate"  # sliders, little of them
    LOW = "low"  # all sliders; tensioners behind their gate


@dataclass(frozen=True, slots=True, kw_only=True)
class NerveSigns:
    """What is known of a nerve. None was not said, and what was not said is never calm."""

    settle_min: int | None = None  # of the last session day
    at_night: bool | None = None
    constant: bool | None = None
    below_knee_at_rest: bool | None = None
    last_n_red: date | None = None


def signs_of(
    judged: Judged,
    numbers: Numbers,
    *,
    at_night: bool | None,
    constant: bool | None,
    below_knee_at_rest: bool | None,
) -> NerveSigns:
    """What the dates up to this one say; the rest is asked."""
    recent = timedelta(days=int(numbers["irritability_red_days"]) - 1)
    sessions = (one.case.day for one in _back(judged) if one.counts)
    reds = (
        one.on
        for one in _back(judged)
        if one.on >= judged.on - recent and is_n_red(one.day, one.case.limits, numbers)
    )
    last = next(sessions, None)
    return NerveSigns(
        settle_min=last.settle_min if last else None,
        at_night=at_night,
        constant=constant,
        below_knee_at_rest=below_knee_at_rest,
        last_n_red=next(reds, None),
    )


def _back(judged: Judged) -> Iterator[Judged]:
    one: Judged | None = judged
    while one is not None:
        yield one
        one = one.case.past


def irritability(
    signs: NerveSigns, on: date, numbers: Numbers
) -> tuple[Irritability, tuple[Finding, ...]]:
    """The class, and the signs that put the patient there: any one is enough for the higher one."""
    settle = signs.settle_min
    high_over = numbers["irritability_high_over_min"]
    moderate_from = numbers["irritability_moderate_from_min"]
    red_until = int(numbers["irritability_red_days"]) * A_DAY
    red = signs.last_n_red is not None and on - signs.last_n_red < red_until
    high = {
        f"settled after {settle} min": settle is not None and settle > high_over,
        "symptoms at night": signs.at_night is True,
        "constant symptoms": signs.constant is True,
        f"RED on {signs.last_n_red}": red,
    }
    moderate = {
        f"settled after {settle} min": settle is not None and settle >= moderate_from,
        "symptoms below the knee at rest": signs.below_knee_at_rest is True,
        "settling not told": settle is None,
        "night not told": signs.at_night is None,
        "constancy not told": signs.constant is None,
        "place not told": signs.below_knee_at_rest is None,
    }
    for level, found in ((Irritability.HIGH, high), (Irritability.MODERATE, moderate)):
        if texts := [text for text, is_so in found.items() if is_so]:
            return level, tuple(Finding("N-IRR", False, text) for text in texts)
    return Irritability.LOW, (Finding("N-IRR", True, "calm", settle, moderate_from, 1),)


@dataclass(frozen=True, slots=True, kw_only=True)
class TensionerFacts:
    """What N-TENS asks for."""

    irritability: Irritability
    neuro_exam: Sample | None  # 1 is normal
    slider_days: Sequence[tuple[date, Colour]]  # session days with a slider, oldest first
    is_strain_phase_1: bool
    repaired_on: date | None
    open_flags: frozenset[str]
    switched_on: bool  # by a clinician


def n_tens(facts: TensionerFacts, on: date, numbers: Numbers) -> tuple[Finding, ...]:
    """The gate before any tensioner is shown: all must hold (10.2)."""
    return tuple(_tensioner_findings(facts, on, numbers))


def _tensioner_findings(facts: TensionerFacts, on: date, numbers: Numbers) -> Iterator[Finding]:
    low = facts.irritability is Irritability.LOW
    yield Finding("N-TENS/irritability", low, facts.irritability.value)

    days_old = numbers["tensioner_neuro_exam_days"]
    if facts.neuro_exam is None:
        yield Finding("N-TENS/neuro_exam", passed=False, text="missing", limit=days_old)
    else:
        examined, normal, record = facts.neuro_exam
        age = (on - examined).days
        passed = normal == 1 and age <= days_old
        text = f"{'normal' if normal == 1 else 'not normal'}, {age} days old"
        records = (record,) if record else ()
        yield Finding("N-TENS/neuro_exam", passed, text, age, days_old, 1, records)

    count, needed = len(facts.slider_days), int(numbers["tensioner_slider_days"])
    yield Finding("N-TENS/slider_days", count >= needed, f"{count}", count, needed, count)

    last = facts.slider_days[-int(numbers["tensioner_green_days"]) :]
    green = [on for on, colour in last if colour is Colour.GREEN]
    passed = len(green) >= numbers["tensioner_green_days"]
    text = " ".join(colour.value for _, colour in last)
    dates = tuple(on.isoformat() for on, _ in last)
    limit = numbers["tensioner_green_days"]
    yield Finding("N-TENS/green_days", passed, text, len(green), limit, len(last), dates)

    yield Finding("N-TENS/strain_phase_1", not facts.is_strain_phase_1)

    if facts.repaired_on is not None:
        weeks, since = numbers["tensioner_after_repair_weeks"], (on - facts.repaired_on).days
        yield Finding("N-TENS/repair", since >= weeks * WEEK, f"{since} days", since, weeks * WEEK)

    flags = tuple(sorted(facts.open_flags))
    yield Finding("N-TENS/open_flags", not flags, ", ".join(flags), len(flags), 0, 1, flags)
    yield Finding("N-TENS/switched_on", facts.switched_on)


# --- As a course goes on ----------------------------------------------------------------------

EXAM = "neuro_exam_normal"
ANSWERS = {"night_symptoms": "at_night", "constant_symptoms": "constant"}
PLACE = "leg_sx_code"  # 0 none, 1 back or buttock, 2 thigh, 3 calf, 4 foot
CALF = 3


def nerve_after(case: Case, *, counts: bool) -> Nerve:
    """What the glides of later dates depend on, with this date."""
    day, numbers = case.day, case.numbers
    found: dict[str, Any] = {}
    for one in day.measured:
        if one.metric == EXAM:
            found["exam"] = (day.on, one.value, one.record)
        elif one.metric in ANSWERS:
            found[ANSWERS[one.metric]] = one.value >= 1
        elif one.metric == PLACE:
            found["below_knee"] = one.value >= CALF
    if counts and day.is_session and case.limits.nerve:
        found["settle_min"] = day.settle_min
        if is_n_red(day, case.limits, numbers):
            found["last_n_red"] = day.on
    nerve = case.state.nerve
    if counts and day.is_session and day.slider:
        kept = int(max(numbers["tensioner_slider_days"], numbers["tensioner_green_days"]))
        found["sliders"] = (*nerve.sliders, (day.on, case.colour))[-kept:]
    return replace(nerve, **found) if found else nerve


def glides_on(
    state: State, on: date, protocol: Protocol, numbers: Numbers, repaired_on: date | None = None
) -> tuple[Irritability, tuple[Finding, ...]]:
    """How irritable the nerve is on a date, and what N-TENS finds, as the dates before left it.

    The clinician's own switch is not asked here: it is part of the prescription.
    """
    nerve = state.nerve
    signs = NerveSigns(
        settle_min=nerve.settle_min,
        at_night=nerve.at_night,
        constant=nerve.constant,
        below_knee_at_rest=nerve.below_knee,
        last_n_red=nerve.last_n_red,
    )
    level, _ = irritability(signs, on, numbers)
    facts = TensionerFacts(
        irritability=level,
        neuro_exam=nerve.exam,
        slider_days=nerve.sliders,
        is_strain_phase_1=protocol.condition == STRAIN and protocol.phases[0].id == state.phase_id,
        repaired_on=repaired_on,
        open_flags=state.reviews.union(one.code for one in state.stop),
        switched_on=True,
    )
    return level, n_tens(facts, on, numbers)
