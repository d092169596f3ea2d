"""Local dates: when one closes, how long it was, which one a rating speaks of (section 7)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from protocols.engine.case import A_DAY
from protocols.engine.day import Numbers


def starts_at(on: date, zone: ZoneInfo) -> datetime:
    """Local midnight, as an instant."""
    return datetime.combine(on, time.min, zone).astimezone(UTC)


def closes_at(on: date, zone: ZoneInfo, numbers: Numbers) -> datetime:
    """Until when a next-morning rating is awaited: noon of the next date, where the device is."""
    noon = time(int(numbers["rating_due_hour"]))
    return datetime.combine(on + A_DAY, noon, zone).astimezone(UTC)


def hours_of(on: date, begun_in: ZoneInfo, ended_in: ZoneInfo) -> float:
    """How long a local date was lived, of somebody who may have travelled. Never below zero."""
    length = starts_at(on + A_DAY, ended_in) - starts_at(on, begun_in)
    return max(length, timedelta()) / timedelta(hours=1)


def is_cut_short(on: date, begun_in: ZoneInfo, ended_in: ZoneInfo, numbers: Numbers) -> bool:
    """T5: a flight east took so much of the date that it is excused, if nothing was logged."""
    return hours_of(on, begun_in, ended_in) < numbers["short_date_h"]


def rated_days(
    begun: Mapping[date, datetime], ratings: Iterable[datetime], numbers: Numbers
) -> dict[datetime, date]:
    """T3: the session day each rating speaks of; one that is not here is a free check-in.

    It is the latest unrated one whose last session began 6 to 30 h before. `begun` says when the
    last session of each date began, so on a date lived twice the later rating counts (T4).
    """
    nearest = timedelta(hours=numbers["rating_after_h"])
    farthest = timedelta(hours=numbers["rating_before_h"])
    unrated, rated = dict(begun), {}
    for at in sorted(ratings):
        fitting = [on for on, start in unrated.items() if nearest <= at - start <= farthest]
        if fitting:
            rated[at] = max(fitting)
            del unrated[max(fitting)]
    return rated
