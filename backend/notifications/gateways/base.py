"""What is sent, whereto, and what can come of it: the words all gateways share."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from typing import Literal, Protocol
from uuid import NAMESPACE_OID, UUID, uuid5

Kind = Literal["fcm_token", "fcm_installation", "apns", "web_push", "email"]

FIRST_WAIT = timedelta(seconds=5)
LONGEST_WAIT = timedelta(hours=1)
LONGEST_AFTER = timedelta(days=1)  # what a provider may ask for
LONGEST_TTL = timedelta(days=28)  # what FCM takes, and the push services of browsers


@dataclass(frozen=True)
class Notice:
    """One message. Its texts never show where it is printed.

    `key` is the same each time the message is sent: the provider and the phone know a repeat by it,
    and the phone confirms with it. `url` is a path inside the app and names nobody.
    """

    key: str
    title: str = field(repr=False)
    body: str = field(repr=False)
    url: str = field(repr=False)
    expires_at: datetime
    is_urgent: bool


@dataclass(frozen=True)
class Address:
    """Where one phone, browser or mailbox is reached.

    The value of a browser (`web_push`) is its PushSubscription as JSON.
    """

    kind: Kind
    value: str = field(repr=False)


@dataclass(frozen=True)
class Sent:
    """The provider took it, under its own name for it; whether it arrives is another matter."""

    provider_id: str


@dataclass(frozen=True)
class Gone:
    """The provider says that nobody is at this address any more. Nothing else removes one."""


@dataclass(frozen=True)
class Later:
    """Not now: the provider is busy, away or did not answer, or our own set-up is wrong.

    What is ours to fix waits as well: once it is fixed, what has not expired still arrives.
    """

    after: timedelta | None
    reason: str


@dataclass(frozen=True)
class Refused:
    """This message will never be taken at this address, however often it is sent."""

    reason: str


Result = Sent | Gone | Later | Refused
"""Reasons are stable short codes; they hold no address, no token and no text."""


class Gateway(Protocol):
    """Sends to the addresses of some kinds.

    `send` raises nothing that a provider or an address can cause. What has expired is refused.
    """

    def send(self, address: Address, notice: Notice, *, now: datetime) -> Result: ...

    def close(self) -> None: ...


def backoff(tries: int, *, after: timedelta | None, jitter: float) -> timedelta:
    """How long to wait after so many tries in vain (1 is the first); `jitter` is in 0..1.

    Never shorter than the provider asks for, unless it asks for more than a day.
    """
    step = min(FIRST_WAIT * (1 << min(max(tries - 1, 0), 20)), LONGEST_WAIT)
    wait = step * (0.5 + jitter / 2)
    asked = min(after or timedelta(0), LONGEST_AFTER)
    return max(wait, asked + asked * jitter / 10)  # so that those who wait do not all come at once


def retry_after(value: str | None, *, now: datetime) -> timedelta | None:
    """The header Retry-After, in seconds or as a date; None where it says nothing."""
    value = (value or "").strip()
    if value.isascii() and value.isdigit():
        return (
            min(timedelta(seconds=int(value)), LONGEST_AFTER) if len(value) < 10 else LONGEST_AFTER
        )
    try:
        at = parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(max(at - now, timedelta(0)), LONGEST_AFTER)


def time_left(notice: Notice, *, now: datetime) -> timedelta:
    """How long a provider may keep it; nothing once it has expired."""
    return min(max(notice.expires_at - now, timedelta(0)), LONGEST_TTL)


def uuid_of(key: str) -> UUID:
    """The name of a notice where a provider wants a UUID."""
    return uuid5(NAMESPACE_OID, key)


def collapse_id(key: str) -> str:
    """The key itself where APNs takes it (64 bytes), else its hash."""
    is_short = key.isascii() and key.isprintable() and len(key) <= 64
    return key if is_short else sha256(key.encode()).hexdigest()
