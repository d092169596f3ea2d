"""A year of each protocol for the engine, and F6: the least that a replay of it costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from time import thread_time

from protocols import playing
from protocols.engine.case import Course, Judged, Outcome
from protocols.engine.day import Approval, Day
from protocols.engine.progression import replay
from tests.builders import FIRST, course, protocol
from tests.engine.histories import ALL, CODES, SLUGS, all_clear, sets_of_plan

YEAR, FOUR_WEEKS = 365, 28


@dataclass(frozen=True, slots=True)
class Seen:
    """What F6 makes of a date."""

    on: date
    done: int
    during: int | None
    next_morning: int | None


def f6(days: Sequence[Day]) -> int:
    """One frozen dataclass a date, four fields of it compared with those of the date before."""
    same, last = 0, Seen(FIRST, 0, None, None)
    for day in days:
        seen = Seen(day.on, day.done, day.during, day.next_morning)
        same += (
            seen.on == last.on
            and seen.done == last.done
            and seen.during == last.during
            and seen.next_morning == last.next_morning
        )
        last = seen
    return same


@dataclass(frozen=True)
class Lived:
    course: Course
    days: tuple[Day, ...]


def lives(count: int) -> tuple[Lived, ...]:
    """One patient of each protocol: rests once a week, hurts now and then, is approved.

    Assessed every two weeks. Nobody ends the course, so every date has something to judge.
    """
    return tuple(_life(slug, count) for slug in SLUGS)


def replayed(lives: Sequence[Lived]) -> None:
    for one in lives:
        replay(one.course, one.days)


def _life(slug: str, count: int) -> Lived:
    of = replace(course(slug), planned=sets_of_plan(slug))
    judged = replay(of, [_day(slug, n) for n in range(count)], decide=_approved)
    return Lived(of, tuple(one.day for one in judged))


def _day(slug: str, number: int) -> Day:
    limits = protocol(slug).limits
    day = Day(
        on=FIRST + timedelta(days=number),
        measured=all_clear(slug) if number % 14 == 10 else (),
        closed=CODES if number % 14 == 0 else (),
    )
    if number % 7 == 6:
        return day
    hurts = limits.red if number % 31 == 30 else limits.red - 1 if number % 9 == 4 else 1
    return replace(day, done=ALL, before=1, during=hurts, next_morning=1, settle_min=5)


def _approved(one: Judged) -> Approval | None:
    if one.outcome is not Outcome.ADVANCE:
        return None
    return playing.as_proposed(one.case.course.protocol, one)


def processor_time(job: Callable[[], object], least: float) -> float:
    """What one run of it takes of the processor. Other processes only make it wait."""
    runs, began = 0, thread_time()
    while (spent := thread_time() - began) < least:
        job()
        runs += 1
    return spent / runs
