"""The chain of a clinic's events: sealing what was written, and proving that it still stands.

Requests only insert. A sweep seals what is committed by then, in the order of `at` within one look;
what is committed later goes on behind, so the chain never has to be rewritten. The hash of an event
is the SHA-256 of the hash before it, a line feed, and the event as canonical JSON.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Sum

from backend.audit.guards import CONTENT, SEAL
from backend.audit.models import AuditEvent, Chain
from backend.queries import Update

# Another set of members is another number. An event without a network has the first one still.
FORMAT, WITH_NETWORK = 1, 2
A_BATCH = 500  # of one transaction
HASHED = (*CONTENT, "seq", "sealed_at")

_log = structlog.stdlib.get_logger("backend.audit")
_sealed = Update(AuditEvent, *SEAL)


def digest(previous: str, event: AuditEvent) -> str:
    said = {name: _plain(getattr(event, name)) for name in HASHED} | {"format": FORMAT}
    if event.ip_prefix:
        said |= {"ip_prefix": event.ip_prefix, "format": WITH_NETWORK}
    told = json.dumps(said, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(f"{previous}\n{told}".encode()).hexdigest()


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return str(value) if isinstance(value, UUID) else value


# --- Sealing ----------------------------------------------------------------------------------


def seal(*, now: datetime, limit: int) -> int:
    """Give events their place, at most so many; says how many. Any number may try at once."""
    done = 0
    waiting = AuditEvent.objects.filter(seq=None).values_list("clinic_id", flat=True).distinct()
    for clinic_id in list(waiting):
        Chain.objects.get_or_create(clinic_id=clinic_id)  # committed before anybody locks it
        while done < limit:
            count = _seal_batch(clinic_id=clinic_id, now=now)
            done += count
            if count < A_BATCH:
                break
    return done


@transaction.atomic
def _seal_batch(*, clinic_id: UUID, now: datetime) -> int:
    head = Chain.objects.select_for_update(skip_locked=True).filter(pk=clinic_id).first()
    if head is None:  # somebody else is at it
        return 0
    rows = AuditEvent.objects.filter(clinic_id=clinic_id, seq=None).order_by("at", "id")
    events = list(rows[:A_BATCH])
    for event in events:
        event.seq, event.sealed_at = head.seq + 1, now
        event.hash = digest(head.hash, event)
        _sealed(event)
        head.seq, head.hash = event.seq, event.hash
    if events:
        head.save(update_fields=["seq", "hash"])
        told = {"clinic_id": str(clinic_id), "seq": head.seq, "hash": head.hash}
        transaction.on_commit(lambda: _log.info("audit sealed", **told))  # a witness elsewhere
    return len(events)


# --- Proving ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Broken:
    """The first place where a chain is not what was sealed."""

    seq: int
    event_id: UUID | None
    why: str


@dataclass(slots=True)
class Walked:
    """How far a chain was walked, and how it ended."""

    clinic_id: UUID
    seq: int = 0
    hash: str = ""
    waiting: int = 0  # events that are not sealed yet
    broken: Broken | None = None


def clinics() -> list[UUID]:
    """Every clinic that has a chain, or events."""
    found = set(Chain.objects.values_list("clinic_id", flat=True))
    found |= set(AuditEvent.objects.values_list("clinic_id", flat=True).distinct())
    return sorted(found)


def sealed(clinic_ids: Sequence[UUID]) -> int:
    """How many events these chains should have."""
    found = Chain.objects.filter(pk__in=clinic_ids).aggregate(count=Sum("seq"))
    return found["count"] or 0


def verify(*, clinic_id: UUID, step: Callable[[int], None]) -> Walked:
    """Walk a chain from its first event on; `step` is told of each batch.

    Sealing may go on meanwhile, so the end is looked up before and after.
    """
    walked, known = Walked(clinic_id), _head(clinic_id)
    for event in _in_order(clinic_id, step):
        walked.broken = _break_at(event, walked, known)
        if walked.broken is not None:
            return walked
        assert event.seq is not None
        walked.seq, walked.hash = event.seq, event.hash
    if walked.seq < known.seq:
        walked.broken = Broken(walked.seq + 1, None, "it is missing")
    elif walked.seq > _head(clinic_id).seq:
        walked.broken = Broken(walked.seq, None, "the chain ends before it")
    walked.waiting = AuditEvent.objects.filter(clinic_id=clinic_id, seq=None).count()
    return walked


def _head(clinic_id: UUID) -> Chain:
    return Chain.objects.filter(pk=clinic_id).first() or Chain(clinic_id=clinic_id)


def _in_order(clinic_id: UUID, step: Callable[[int], None]) -> Iterator[AuditEvent]:
    """The sealed events, a batch at a time: memory is the same for any number."""
    after = None
    while True:
        rows = AuditEvent.objects.filter(clinic_id=clinic_id).exclude(seq=None)
        if after is not None:
            rows = rows.filter(seq__gt=after)
        batch = list(rows.order_by("seq")[:A_BATCH])
        yield from batch
        step(len(batch))
        if len(batch) < A_BATCH:
            return
        after = batch[-1].seq


def _break_at(event: AuditEvent, walked: Walked, known: Chain) -> Broken | None:
    due = walked.seq + 1
    if event.seq != due:
        return Broken(due, None, f"it is missing; {event.seq} is the next there is")
    if event.hash != digest(walked.hash, event):
        return Broken(due, event.pk, "it is not what was sealed")
    if due == known.seq and event.hash != known.hash:
        return Broken(due, event.pk, "the chain ended with another hash")
    return None
