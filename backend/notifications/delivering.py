"""Sending what was claimed, and writing down what became of it."""

from __future__ import annotations

import random
import time as clock
from collections import defaultdict, deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from datetime import datetime, timedelta
from functools import partial
from uuid import UUID

import structlog
from django.db import OperationalError, connection, transaction

from backend.clinics.models import Device, Patient
from backend.notifications import texts
from backend.notifications.claiming import Outgoing, Way, claim, these
from backend.notifications.gateways.base import (
    Gateway,
    Gone,
    Later,
    Refused,
    Result,
    Sent,
    backoff,
)
from backend.notifications.gateways.base import (
    Kind as AddressKind,
)
from backend.notifications.gateways.log import Log
from backend.notifications.models import Delivery, Message
from backend.notifications.verdict import (
    Why,
)
from backend.queries import Insert

Status = Message.Status

STARTED_WITHIN_S = 20  # what a slow provider holds up for longer is given back
FRESH_FOR_S = 0.5  # what has not been started by then is decided anew, where anything moved
WRITTEN_AGAIN_AFTER_S = (0.5, 1.0, 2.0, 4.0, 8.0)
WRITTEN_EVERY_S = 0.05  # what was sent and not written down yet is sent again after a crash
SENDERS = 16
RESEND_AFTER = timedelta(minutes=15)  # where the phone has not confirmed it

_log = structlog.stdlib.get_logger("backend.notifications")


def deliver(
    gateways: Mapping[AddressKind, Gateway],
    *,
    now: Callable[[], datetime],
    until_s: float = float("inf"),
    senders: int = SENDERS,
) -> int:
    """Send what has come up, claim after claim, until nothing is left or the time is over.

    Any number of callers at once is harmless. Says how many messages were looked at.
    """
    count, ends = 0, clock.monotonic() + until_s
    with ThreadPoolExecutor(senders) as pool:
        while clock.monotonic() < ends:
            found = claim(now=now())
            count += found.count
            if not found.count:
                break
            _send_all(found.outgoing, gateways, pool, now)
    return count


# --- Sending ----------------------------------------------------------------------------------


def _send_all(
    outgoing: Sequence[Outgoing],
    gateways: Mapping[AddressKind, Gateway],
    pool: ThreadPoolExecutor,
    now: Callable[[], datetime],
) -> None:
    """Send, and write down what has come back every few hundredths of a second."""
    answered: list[Outgoing] = []
    written_at = clock.monotonic()
    for one in _sent(outgoing, gateways, pool, now):
        answered.append(one)
        if clock.monotonic() - written_at > WRITTEN_EVERY_S:
            _write_surely(answered, now=now())
            answered, written_at = [], clock.monotonic()
    _write_surely(answered, now=now())


def _sent(
    outgoing: Sequence[Outgoing],
    gateways: Mapping[AddressKind, Gateway],
    pool: ThreadPoolExecutor,
    now: Callable[[], datetime],
) -> Iterator[Outgoing]:
    """As many at a time as there are senders. What a slow provider holds up is looked at again
    before it starts, and given back where it waits too long.

    The words are found here: what runs in the pool asks the database nothing.
    """
    send = partial(_send, gateways=gateways, now=now)
    claimed_at, waiting = clock.monotonic(), deque(outgoing)
    running: set[Future[Outgoing]] = set()
    while waiting or running:
        age = clock.monotonic() - claimed_at
        if age > STARTED_WITHIN_S:
            _give_back(waiting, now())
            waiting.clear()
        free = SENDERS - len(running)
        batch = [waiting.popleft() for _ in range(min(free, len(waiting)))]
        if batch and age > FRESH_FOR_S:
            _give_back(_moved(batch), now())
        for one in batch:
            if one.is_given_back or not _worded(one):
                continue
            if all(isinstance(gateways[way.address.kind], Log) for way in one.ways):
                yield send(one)
            else:
                running.add(pool.submit(send, one))
        if running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)


def _worded(one: Outgoing) -> bool:
    try:
        one.notice = texts.notice_of(one.message, locale=one.locale)
    except Exception as error:  # a bad row harms no other
        _log.error("wording failed", message_id=str(one.message.pk), exc_info=error)
    return one.notice is not None


def _moved(wave: Sequence[Outgoing]) -> list[Outgoing]:
    """Those whose patient's record has changed since the claim."""
    ids = {one.message.patient_id for one in wave if one.message.patient_id}
    seqs = dict(Patient.objects.filter(pk__in=ids).values_list("pk", "change_seq"))
    return [
        one
        for one in wave
        if one.message.patient_id and seqs.get(one.message.patient_id) != one.change_seq
    ]


def _give_back(outgoing: Collection[Outgoing], now: datetime) -> None:
    """To be claimed, and decided, anew."""
    for one in outgoing:
        one.is_given_back = True
    if outgoing:
        these(one.message.pk for one in outgoing).update(attempt_due_at=now, unanswered=0)


def _send(
    one: Outgoing, *, gateways: Mapping[AddressKind, Gateway], now: Callable[[], datetime]
) -> Outgoing:
    assert one.notice is not None
    try:
        for way in one.ways:
            gateway = gateways[way.address.kind]
            one.results[way.key] = gateway.send(way.address, one.notice, now=now())
    except Exception as error:  # a bad row harms no other
        one.failed = True
        _log.error("sending failed", message_id=str(one.message.pk), exc_info=error)
    return one


def _write_surely(answered: Sequence[Outgoing], *, now: datetime) -> None:
    """The database may be away for a moment: what was sent and is not written is sent again."""
    for wait_s in WRITTEN_AGAIN_AFTER_S:
        try:
            return write(answered=answered, now=now)
        except OperationalError as error:
            if connection.in_atomic_block:
                raise
            _log.warning("not written down yet", error=type(error).__name__)
            connection.close()
            clock.sleep(wait_s)
    write(answered=answered, now=now)


# --- Writing down -----------------------------------------------------------------------------


@transaction.atomic
def write(*, answered: Sequence[Outgoing], now: datetime) -> None:
    """Keep what became of these sends.

    Who was slower than his lease finds the message in another state, and leaves it as it is.
    """
    deliveries: list[Delivery] = []
    told: dict[datetime | None, list[UUID]] = defaultdict(list)
    refused: list[UUID] = []
    for one in answered:
        deliveries += [
            _delivery(one.message, way, one.results[way.key], now)
            for way in one.ways
            if way.key in one.results
        ]
        if one.failed:
            continue  # the lease runs out, and it counts as a try without an outcome
        waits = [result for result in one.results.values() if isinstance(result, Later)]
        if waits:
            _come_again(one, waits, now)
        elif _is_told(one):
            told[_look_again(one, now)].append(one.message.pk)
        else:
            refused.append(one.message.pk)
    if deliveries:
        KEEP(*deliveries)
    for again_at, ids in told.items():
        rows = these(ids)
        rows.filter(status=Status.SENT).update(attempt_due_at=again_at, unanswered=0)
        rows.filter(status=Status.WAITING).update(
            status=Status.SENT, sent_at=now, decided_at=now, attempt_due_at=again_at, unanswered=0
        )
    if refused:
        these(refused).filter(status=Status.WAITING).update(
            status=Status.SILENT, why=Why.REFUSED, decided_at=now, attempt_due_at=None
        )
        these(refused).filter(status=Status.SENT).update(attempt_due_at=None)
    for one in answered:
        for way in one.ways:
            if isinstance(one.results.get(way.key), Gone):
                _forget(way)


KEEP = Insert(
    Delivery,
    unique=("message", "key"),
    update=("status", "failure", "provider_id", "at"),
)


def _is_told(one: Outgoing) -> bool:
    told = any(isinstance(result, Sent) for result in one.results.values())
    return told or one.message.status == Status.SENT


def _look_again(one: Outgoing, now: datetime) -> datetime | None:
    """When to see whether a phone has confirmed it; mailboxes do not."""
    pushed = any(way.phone is not None for way in one.ways)
    at = now + RESEND_AFTER
    if not pushed or one.message.resent_at is not None or at > one.message.valid_until:
        return None
    return at


def _come_again(one: Outgoing, waits: Sequence[Later], now: datetime) -> None:
    """It comes up again when the provider may be asked once more."""
    message, stood = one.message, one.message.status
    pause = min(
        backoff(message.retries + 1, after=result.after, jitter=random.random())  # noqa: S311
        for result in waits
    )
    changes: dict[str, object] = {
        "attempt_due_at": now + pause,
        "retries": message.retries + 1,
        "failure": waits[0].reason,
        "unanswered": 0,
    }
    if _is_told(one) and stood == Status.WAITING:
        changes |= {"status": Status.SENT, "sent_at": now, "decided_at": now}
    these([message.pk]).filter(status=stood).update(**changes)


def _delivery(message: Message, way: Way, result: Result, now: datetime) -> Delivery:
    status, failure, provider_id = Delivery.Status.GONE, "", ""
    match result:
        case Sent():
            status, provider_id = Delivery.Status.SENT, result.provider_id
        case Later():
            status, failure = Delivery.Status.LATER, result.reason
        case Refused():
            status, failure = Delivery.Status.REFUSED, result.reason
        case Gone():
            failure = "gone"
    return Delivery(
        message=message,
        key=way.key,
        channel=way.address.kind,
        device_id=way.phone.pk if way.phone else None,
        status=status,
        failure=failure,
        provider_id=provider_id[:200],
        at=now,
    )


def _forget(way: Way) -> None:
    """The provider says that nobody is at this address any more; it alone is forgotten."""
    if way.phone is not None:
        Device.objects.filter(pk=way.phone.pk, push_token=way.address.value).update(push_token="")
