"""Nerve glides: how irritable a nerve is, and whether a tensioner may be shown (section 10)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

from protocols.engine.case import A_DAY, Finding, Judged, Sample
from protocols.engine.day import Colour, Numbers, is_n_red
from protocols.engine.plan import WEEK


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
