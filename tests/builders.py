"""Engine inputs in one line."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from functools import cache
from typing import Any

from protocols import playing
from protocols.engine.case import Course, Judged
from protocols.engine.day import Day, Measured
from protocols.engine.definition import Protocol
from protocols.engine.progression import Late, replay
from protocols.knowledge import rules

FIRST = date(2026, 3, 2)
PLANNED = 10
# What leads out of phase 1 of hs-grade-1.
ALL_CLEAR = tuple(
    Measured(name, value)
    for name, value in (
        ("walk_pain", 0), ("jog_slow_pain", 0), ("sl_squat_pain", 0), ("iso90_pct", 60),
        ("iso90_pain", 0), ("knee_ext_lag_deg", 0),
    )
)  # fmt: skip


@cache
def numbers() -> dict[str, float]:
    return {parameter.id: parameter.number for parameter in rules().parameters}


@cache
def protocol(slug: str = "hs-grade-1") -> Protocol:
    return playing.protocol_named(slug)


def day(number: int, **said: Any) -> Day:
    """D`number`, done as planned and without complaint, unless said otherwise."""
    usual = {"done": PLANNED, "before": 1, "during": 1, "next_morning": 1}
    return Day(on=FIRST + timedelta(days=number - 1), **(usual | said))


def missed(number: int, **said: Any) -> Day:
    return Day(on=FIRST + timedelta(days=number - 1), **said)


def course(slug: str = "hs-grade-1", *, planned: int = PLANNED, **said: Any) -> Course:
    return Course(
        protocol=protocol(slug),
        numbers=numbers(),
        first=FIRST,
        planned=lambda state, on: planned,
        **({"baseline": 6} | said),
    )


def judged(days: Iterable[Day], slug: str = "hs-grade-1", **said: Any) -> tuple[Judged, ...]:
    late: tuple[Late, ...] = said.pop("late", ())
    return replay(course(slug, **said), days, late)


def rules_of(days: Iterable[Day], slug: str = "hs-grade-1", **said: Any) -> list[str]:
    return [one.rule for one in judged(days, slug, **said)]
