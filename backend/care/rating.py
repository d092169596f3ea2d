"""Which session day a check-in rates (rule T3), by what is known of both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import cached_property
from typing import Any, Self
from uuid import UUID
from zoneinfo import ZoneInfo

from backend.care.models import Revision
from protocols.knowledge import rules

A_DAY = timedelta(days=1)
# How far the dates of a rating and of its session can lie apart: a session begins within a day of
# its date, a rating comes 30 h later at most, and two zones differ by 26 h at most.
RATING_REACH = timedelta(days=4)

Kind = Revision.Kind


@dataclass(frozen=True)
class Near:
    """What a rating is decided by: a session or a check-in, without the rest of what it says."""

    kind: Kind
    phone_id: UUID
    on: date
    zone: str
    started_at: str | None
    recorded_at: str
    rates: str | None = None

    @classmethod
    def of(cls, kind: Kind, phone_id: UUID, content: Mapping[str, Any]) -> Self | None:
        """Sessions that began, and check-ins that rate; None for what neither did."""
        if not (_began(content) if kind == Kind.SESSION else "pain_now" in content):
            return None
        on, zone = date.fromisoformat(content["local_date"]), content["timezone"]
        return cls(kind, phone_id, on, zone, content.get("started_at"), content["recorded_at"])

    @cached_property
    def typed_on(self) -> date:
        return datetime.fromisoformat(self.recorded_at).astimezone(ZoneInfo(self.zone)).date()

    @cached_property
    def at(self) -> datetime:
        """When a session began, or a check-in was given. A session without a start began, as far as
        we know, when it was recorded, at the latest at the end of its date."""
        at = datetime.fromisoformat(self.started_at or self.recorded_at)
        if self.kind == Kind.SESSION and not self.started_at:
            at = min(at, datetime.combine(self.on + A_DAY, time.min, ZoneInfo(self.zone)))
        return at


def _began(content: Mapping[str, Any]) -> bool:
    """Whether it is more than a session that was skipped."""
    if content["state"] in ("open", "skipped"):
        return bool(content["state"] == "open")
    return any(
        entry["state"] == "done" and entry.get("sets") for entry in content.get("entries", ())
    )


def rated_days(rows: Iterable[Near]) -> dict[UUID, date]:
    """Which session day each check-in rates: the latest unrated one whose last session began 6 to
    30 h before. Taken in the order they were recorded, whatever order they arrived in. What was
    typed in on another date than it speaks of is memory, and rates nothing.
    """
    nearest = timedelta(hours=rules()["rating_after_h"].number)
    farthest = timedelta(hours=rules()["rating_before_h"].number)
    free: dict[date, datetime] = {}
    ratings: list[tuple[datetime, UUID]] = []
    for row in rows:
        if row.kind == Kind.SESSION:
            free[row.on] = max(row.at, free.get(row.on, row.at))
        elif row.typed_on == row.on:
            ratings.append((row.at, row.phone_id))
    rated: dict[UUID, date] = {}
    for at, phone_id in sorted(ratings):
        fitting = [day for day, start in free.items() if nearest <= at - start <= farthest]
        if fitting:
            rated[phone_id] = max(fitting)
            del free[max(fitting)]
    return rated
