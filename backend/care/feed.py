"""The patient's change feed: in commit order, because its counter moves under the patient lock."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from django.db.models import BigIntegerField, UUIDField

from backend.care.models import Change
from backend.clinics.models import Patient
from backend.problems import Problem
from backend.queries import Given, IdText, Insert, Update, Written

TOMBSTONES_KEPT = timedelta(days=180)


class CursorExpired(Problem):
    """The cursor is older than the tombstones that are kept, or from before a restored backup."""

    code = "cursor-expired"
    status = 410
    title = "This cursor is too old"
    remedy = "Start again without a cursor. Keep unsent records."


@dataclass(frozen=True, slots=True)
class Touched:
    """One object that changed, at its new version.

    Without one it is told under its place in the feed. So are records: what is derived from others
    and the length of their history change while their `revision` stands, and phones take the same
    version again for a repeat.
    """

    type: Change.Type
    id: UUID
    version: int | None = None
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a client stands: it has seen everything up to `seq` of the feed's `epoch`.

    Encoded it also names the patient, so that a phone which changed hands cannot skip anything.
    """

    seq: int
    epoch: int
    day: int  # ordinal of the UTC day on which it was given out

    def encoded(self, patient: Patient) -> str:
        said = json.dumps([self.seq, self.epoch, self.day, _tag(patient)], separators=(",", ":"))
        return base64.urlsafe_b64encode(said.encode()).decode().rstrip("=")

    @classmethod
    def decoded(cls, text: str, patient: Patient) -> Cursor:
        """ValueError where the text is no cursor of this patient's feed."""
        try:
            padded = text.encode("ascii") + b"=" * (-len(text) % 4)
            seq, epoch, day, tag = json.loads(base64.b64decode(padded, b"-_", validate=True))
        except (binascii.Error, TypeError, ValueError, RecursionError):
            raise ValueError(text) from None
        if not all(type(part) is int and 0 <= part < 2**53 for part in (seq, epoch, day)):
            raise ValueError(text)
        if tag != _tag(patient):
            raise ValueError(text)
        return cls(seq, epoch, day)


def _tag(patient: Patient) -> str:
    return patient.pk.hex[:8]


MOVE_TO_END = Insert(
    Change,
    unique=("patient", "type", "object_id"),
    update=("seq", "version", "deleted", "at"),
)
COUNT = Update(Patient, "change_seq", "plan_version", "last_received_at", "plan_tell_at")


def touch(patient: Patient, touched: Iterable[Touched], *, now: datetime) -> None:
    """Move these objects to the end of the feed. The caller holds the patient's lock.

    Saves the patient's counters too, so a caller that changed `plan_version` or
    `last_received_at` on the same row needs no further write.
    """
    rows = []
    for one in {(one.type, one.id): one for one in touched}.values():
        patient.change_seq += 1
        rows.append(
            Change(
                patient=patient,
                seq=patient.change_seq,
                type=one.type,
                object_id=one.id,
                version=patient.change_seq if one.version is None else one.version,
                deleted=one.deleted,
                at=now,
            )
        )
    if rows:
        MOVE_TO_END(*rows)
    COUNT(patient)


def touch_plan(patient: Patient, touched: Iterable[Touched], *, now: datetime) -> None:
    """As `touch`, for what alters the plan: phones are told to read it again."""
    patient.plan_version += 1
    plan = Touched(Change.Type.PLAN, patient.pk, patient.plan_version)
    touch(patient, [*touched, plan], now=now)


def start_of(patient: Patient, *, now: datetime) -> Cursor:
    """The cursor of somebody who has seen nothing."""
    return Cursor(0, patient.feed_epoch, now.toordinal())


def check_cursor(cursor: Cursor, patient: Patient, *, now: datetime) -> None:
    """Refuse a cursor that could make a client miss something.

    Its age alone says whether a tombstone can be gone: what was deleted before it was given out was
    told by then. So a snapshot that is still being read is never cut off.
    """
    restored = cursor.epoch != patient.feed_epoch or cursor.seq > patient.change_seq
    aged = now.toordinal() - cursor.day > TOMBSTONES_KEPT.days
    if restored or aged:
        raise CursorExpired


class Entry(NamedTuple):
    """One change, as it is told."""

    seq: int
    type: str
    object_id: str
    version: int
    deleted: bool


LONGEST_PAGE = 200
ENTRIES = Written(
    lambda: (
        Change.objects.filter(
            patient=Given("patient", UUIDField()),
            seq__gt=Given("after", BigIntegerField()),
            seq__lte=Given("until", BigIntegerField()),
        )
        .order_by("seq")
        .values_list("seq", "type", IdText("object_id"), "version", "deleted")[: LONGEST_PAGE + 1]
    )
)


def page_of(
    patient: Patient, cursor: Cursor, *, limit: int, now: datetime
) -> tuple[list[Entry], Cursor, bool]:
    """The next changes in commit order, the cursor behind them, and whether more follow.

    Every object has one row, at its newest place. From the very start that makes the pages a
    snapshot, so tombstones are left out there.
    """
    rows = ENTRIES(patient=patient.pk, after=cursor.seq, until=patient.change_seq)
    found = [Entry(*row) for row in rows[:limit]]
    reached = found[-1].seq if found else cursor.seq
    return found, Cursor(reached, patient.feed_epoch, now.toordinal()), len(rows) > limit
