"""When a wall-clock reminder fires, and when it has to be quiet.

A reminder fires once for each local day it is intended for: at the first instant at which the local
clock has come to its time of that day, or past it. From this one sentence follows the rest:

* A doubled time fires the first time it is shown.
* A missing time fires where the clock goes on, also if that is past midnight: it is still the
  fire of the day before. A day that is missing as a whole fires there, too.
* A later day never fires before an earlier one. They fire at the same instant only where a whole
  day is missing; the order is then by day.
* Nothing depends on when one asks.

Weekdays count from Monday, which is 0. No zone has changed its clock twice within six days.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import takewhile
from zoneinfo import ZoneInfo

A_DAY = timedelta(days=1)
A_SECOND = timedelta(seconds=1)
EVERY_DAY = frozenset(range(7))


@dataclass(frozen=True, order=True, slots=True)
class Fire:
    at: datetime  # UTC
    on: date  # the local day it is intended for


def next_fire(
    time: time, zone: ZoneInfo, after: datetime, days: frozenset[int] = EVERY_DAY
) -> Fire:
    """The first fire later than `after`; of two at one instant, that of the earlier day.

    Whoever must miss none of those asks `fires_between`.
    """
    return next(_fires(time, zone, after, days))


def fires_between(
    time: time,
    zone: ZoneInfo,
    start: datetime,
    end: datetime,
    days: frozenset[int] = EVERY_DAY,
) -> list[Fire]:
    """All fires later than `start` and not later than `end`, in order."""
    return list(takewhile(lambda fire: fire.at <= end, _fires(time, zone, start, days)))


def fire_on(time: time, zone: ZoneInfo, on: date) -> datetime:
    """The instant at which it fires for one local day."""
    wall = datetime.combine(on, time, zone)
    first, second = (wall.replace(fold=fold).astimezone(UTC) for fold in (0, 1))
    if first <= second:
        return first
    # A missing time, read by the clock from before the gap, lies after it, and the other way round.
    return _change(zone, since=second, until=first)


def in_quiet_hours(at: datetime, zone: ZoneInfo, quiet_from: time, quiet_to: time) -> bool:
    """Whether the local clock shows a quiet time: from the one, up to the other; equal is never."""
    return is_quiet(_local(at, zone).time(), quiet_from, quiet_to)


def is_quiet(wall: time, quiet_from: time, quiet_to: time) -> bool:
    """As `in_quiet_hours`, of a time as a clock shows it."""
    if quiet_from <= quiet_to:
        return quiet_from <= wall < quiet_to
    return wall >= quiet_from or wall < quiet_to


def quiet_ends(at: datetime, zone: ZoneInfo, quiet_from: time, quiet_to: time) -> datetime:
    """The first instant from `at` on that is not quiet; also one that clocks going back make."""
    at = at.astimezone(UTC)
    while in_quiet_hours(at, zone, quiet_from, quiet_to):
        wall = _local(at, zone).replace(tzinfo=None)
        left = (datetime.combine(wall, quiet_to) - wall) % A_DAY
        at = _change(zone, since=at, until=at + left)
    return at


def _fires(time: time, zone: ZoneInfo, after: datetime, days: frozenset[int]) -> Iterator[Fire]:
    """All fires later than `after`, in order. Those of the days before have been."""
    if not days or days - EVERY_DAY:
        raise ValueError(f"not weekdays: {sorted(days)}")
    on = _local(after, zone).date()
    while True:
        if on.weekday() in days and (at := fire_on(time, zone, on)) > after:
            yield Fire(at, on)
        on += A_DAY


def _change(zone: ZoneInfo, *, since: datetime, until: datetime) -> datetime:
    """When the clock changes after `since`; `until`, if it does not before."""
    start = since.replace(microsecond=0)
    offset = _local(start, zone).utcoffset()
    seconds = bisect_left(
        range((until - start) // A_SECOND + 1),
        True,
        key=lambda passed: _local(start + passed * A_SECOND, zone).utcoffset() != offset,
    )
    return min(start + seconds * A_SECOND, until)


def _local(at: datetime, zone: ZoneInfo) -> datetime:
    """What the clock shows. Through UTC: an instant may be written as a time that is missing."""
    return at.astimezone(UTC).astimezone(zone)
