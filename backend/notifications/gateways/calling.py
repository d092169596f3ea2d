"""Calls to the outside over HTTP: how long one takes, whom it reaches, and how it fails.

Stands on httpcore, which lets us connect by ourselves: a name is looked up once, what it stands for
is checked, and exactly that is connected to. And every read, write and handshake of a call shares
one deadline, so a peer that sends a byte now and then holds nobody up.
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from queue import Empty, SimpleQueue
from socket import SOCK_STREAM, getaddrinfo
from threading import Thread, local
from time import monotonic
from typing import Any

import httpcore
from h2.exceptions import H2Error

from backend.notifications.gateways.base import Later, Refused, retry_after

MOST_BYTES = 64 * 1024  # of an answer; errors are small
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True)
class Timeouts:
    """In seconds; `connect` holds for the name, the connection and TLS each, `total` for all."""

    connect: float = 1.0
    total: float = 5.0


class Unanswered(Exception):
    """No usable answer came, and nobody knows whether the question arrived."""

    def __init__(self, reason: str, after: timedelta | None = None) -> None:
        super().__init__(reason)
        self.later = Later(after, reason)


class ForbiddenPlace(Exception):
    """A name that somebody gave us leads into a network of ours."""


class Deadline:
    """A moment after which nothing of a call goes on."""

    def __init__(self, seconds: float) -> None:
        self._until = monotonic() + seconds

    def left(self, at_most: float | None = None) -> float:
        left = self._until - monotonic()
        if left <= 0:
            raise TimeoutError
        return left if at_most is None else min(left, at_most)


@dataclass(frozen=True)
class Answer:
    """What a provider said. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    def json(self) -> dict[str, Any]:
        """The object in the body, or an empty one."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def header(self, name: str) -> str:
        """A header to keep: short, and in letters that can be printed."""
        value = self.headers.get(name, "")[:255]
        return value if value.isascii() and value.isprintable() else ""


def failure(answer: Answer, *, now: datetime) -> Later | Refused:
    """What an error means where its status is all that is known."""
    after = retry_after(answer.headers.get("retry-after"), now=now)
    match answer.status:
        case 400:
            return Refused("bad_request")
        case 413:
            return Refused("too_large")
        case 429:
            return Later(after, "too_many")
        case 401 | 403 | 407:
            return Later(after, "auth")
        case status if status >= 500 or status in (408, 425):
            return Later(after, "unavailable")
        case _:  # a wrong address of the provider, or something between us: ours to find out
            return Later(after, "unexpected")


class Caller:
    """Posts and reads the answer, over connections that stay open between calls.

    `allow_local` is for addresses that an operator wrote down. Without it only public places are
    reached. A proxy named in the environment is not used: it would look names up again.
    """

    def __init__(
        self,
        *,
        allow_local: bool,
        is_http2: bool = False,
        timeouts: Timeouts | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._timeouts = timeouts or Timeouts()
        self._current = _Current()
        self._pool = httpcore.ConnectionPool(
            ssl_context=trust or _everybodys(is_http2),
            http1=not is_http2,
            http2=is_http2,
            keepalive_expiry=60,
            network_backend=_Network(self._current, self._timeouts.connect, allow_local),
        )

    def post(self, url: str, *, headers: Mapping[str, str], content: bytes) -> Answer:
        """The answer, whatever it is; `Unanswered` or `ForbiddenPlace` where there is none."""
        self._current.deadline = Deadline(self._timeouts.total)
        rest = dict.fromkeys(("read", "write", "pool"), self._timeouts.total)
        timeouts = {"connect": self._timeouts.connect, **rest}
        with (
            _told_by_reason(),
            self._pool.stream(
                "POST",
                url,
                headers=[*headers.items()],
                content=content,
                extensions={"timeout": timeouts},
            ) as response,
        ):
            found = {
                name.decode("latin-1").lower(): value.decode("latin-1")
                for name, value in response.headers
            }
            body = b""
            for chunk in response.iter_stream():
                body += chunk
                if len(body) > MOST_BYTES:
                    break
            return Answer(response.status, found, body)

    def close(self) -> None:
        self._pool.close()


@contextmanager
def _told_by_reason() -> Iterator[None]:
    """The many ways of a network to fail, by a short reason; what they quote is dropped."""
    try:
        yield
    except (TimeoutError, httpcore.TimeoutException):
        raise Unanswered("timeout") from None
    except httpcore.ConnectError:
        raise Unanswered("unreachable") from None
    except (OSError, httpcore.NetworkError, httpcore.ProtocolError, H2Error):
        raise Unanswered("connection_lost") from None


@cache
def _everybodys(is_http2: bool) -> ssl.SSLContext:
    """What this machine trusts. One for each version of HTTP, since a pool writes that into it."""
    return ssl.create_default_context()


class _Current(local):
    """The deadline of the call that this thread makes."""

    deadline: Deadline


class _Stream(httpcore.NetworkStream):
    """A connection whose every step has the time that is left."""

    def __init__(self, inner: httpcore.NetworkStream, current: _Current) -> None:
        self._inner = inner
        self._current = current

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return self._inner.read(max_bytes, self._current.deadline.left(timeout))

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._inner.write(buffer, self._current.deadline.left(timeout))

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        left = self._current.deadline.left(timeout)
        return _Stream(self._inner.start_tls(ssl_context, server_hostname, left), self._current)

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)


class _Network(httpcore.NetworkBackend):
    """Connects to what a name stands for, once that is known to be a place one may reach."""

    def __init__(self, current: _Current, connect: float, allow_local: bool) -> None:
        self._inner = httpcore.SyncBackend()
        self._current = current
        self._connect = connect
        self._allow_local = allow_local

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.NetworkStream:
        deadline = self._current.deadline
        addresses = look_up(host, port, within=deadline.left(self._connect))
        if not self._allow_local and not all(is_public(one) for one in addresses):
            raise ForbiddenPlace
        failed: Exception = httpcore.ConnectError("no address")
        for address in addresses:
            try:
                stream = self._inner.connect_tcp(
                    address, port, deadline.left(timeout), local_address, socket_options
                )
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
            else:
                return _Stream(stream, self._current)
        raise failed


def look_up(host: str, port: int, *, within: float) -> list[str]:
    """The addresses of a name. The system has its own idea of how long that may take."""
    answers: SimpleQueue[list[str] | None] = SimpleQueue()

    def ask() -> None:
        try:
            found = getaddrinfo(host, port, type=SOCK_STREAM)
            answers.put(list(dict.fromkeys(str(place[0]) for *_, place in found)))
        except (OSError, UnicodeError):  # the latter: a name that cannot be one
            answers.put(None)

    Thread(target=ask, daemon=True).start()
    try:
        addresses = answers.get(timeout=within)
    except Empty:
        raise TimeoutError from None
    if not addresses:
        raise httpcore.ConnectError("no such name")
    return addresses


def is_public(address: str) -> bool:
    """Whether an address belongs to the internet at large, also the IPv4 address inside it."""
    ip: IPv4Address | IPv6Address = ip_address(address.partition("%")[0])
    if isinstance(ip, IPv6Address):
        inside = IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _NAT64 else None
        inside = inside or ip.ipv4_mapped or ip.sixtofour
        if inside is None:
            return ip in _UNICAST and not ip.is_private
        ip = inside
    return ip.is_global and not ip.is_multicast
