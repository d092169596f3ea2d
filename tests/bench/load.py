"""The load: a process of its own with raw sockets and one selector, which takes little time."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection
from selectors import EVENT_READ, DefaultSelector
from time import perf_counter
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

FRESH = b"00000000-0000-4000-8000-000000000000"  # stands for an id that nobody has used
MOST_AT_ONCE = 1 << 18
TIMEOUT_S = 30


class Unexpected(Exception):
    """The service answered something else than the benchmark is about."""


@dataclass(frozen=True, slots=True)
class Window:
    """What one stretch of load saw."""

    seconds: float
    latencies: tuple[float, ...]

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds


class Load:
    """This end of the process that makes the load."""

    def __init__(self) -> None:
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self._process.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._pipe.close()
        self._process.join()

    def prepare(self, lane: str, port: int, requests: Sequence[tuple[bytes, int]]) -> None:
        """Requests, sent in turn, over and over, and the status that each must be answered with."""
        self._pipe.send(("prepare", (lane, port, requests)))
        self._answer()

    def run(self, lane: str, *, concurrency: int, seconds: float = 0, count: int = 0) -> Window:
        """For so long, or so often."""
        self._pipe.send(("run", (lane, concurrency, seconds, count)))
        return Window(*self._answer())

    def _answer(self) -> Any:
        answer = self._pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer


# --- In the process ---------------------------------------------------------------------------


@dataclass(slots=True)
class _Lane:
    port: int
    turns: Iterator[tuple[list[bytes], bytes]]

    def next(self) -> tuple[bytes, bytes]:
        """The next request, with fresh ids in their places, and the status awaited."""
        (first, *rest), status = next(self.turns)
        return b"".join([first, *(str(uuid4()).encode() + part for part in rest)]), status


class _Caller:
    """One of those who call at the same time."""

    def __init__(self, lane: _Lane, selector: DefaultSelector) -> None:
        self.lane, self.selector = lane, selector
        self.door: socket.socket | None = None
        self.started = 0.0
        self.read = self.status = b""
        self.wanted = 0

    def call(self) -> None:
        request, self.status = self.lane.next()
        self.read, self.wanted = b"", 0
        self.started = perf_counter()
        if self.door is None:
            self.door = socket.create_connection(("127.0.0.1", self.lane.port), TIMEOUT_S)
            self.door.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.selector.register(self.door, EVENT_READ, self)
        self.door.sendall(request)

    def has_answer(self) -> bool:
        """Read what there is; true once the answer is whole."""
        assert self.door is not None
        piece = self.door.recv(MOST_AT_ONCE)
        self.read += piece
        if not self.wanted:
            head, end, _ = self.read.partition(b"\r\n\r\n")
            if not end and piece:
                return False
            self.wanted = len(head) + 4 + _length(head, self.status)
            if head[9:12] != self.status:
                raise Unexpected(self.read[:2000].decode(errors="replace"))
        if len(self.read) < self.wanted and piece:
            return False
        if b"\r\nconnection: close" in self.read[:600].lower():
            self.hang_up()
        return True

    def hang_up(self) -> None:
        if self.door is not None:
            self.selector.unregister(self.door)
            self.door.close()
            self.door = None


def _length(head: bytes, status: bytes) -> int:
    if status == b"304":
        return 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _serve(pipe: Connection) -> None:
    gc.disable()
    lanes: dict[str, _Lane] = {}
    while True:
        try:
            word, said = pipe.recv()
        except EOFError:
            return
        try:
            if word == "prepare":
                lanes[said[0]] = _lane(*said[1:])
                pipe.send(None)
            else:
                pipe.send(_run(lanes[said[0]], *said[1:]))
        except (Unexpected, OSError) as error:
            pipe.send(Unexpected(f"{said[0]}: {error}"))


def _lane(port: int, requests: Sequence[tuple[bytes, int]]) -> _Lane:
    turns = [(request.split(FRESH), str(status).encode()) for request, status in requests]
    return _Lane(port, cycle(turns))


def _run(
    lane: _Lane, concurrency: int, seconds: float, count: int
) -> tuple[float, tuple[float, ...]]:
    latencies: list[float] = []
    with DefaultSelector() as selector:
        callers = [_Caller(lane, selector) for _ in range(concurrency)]
        begun = perf_counter()
        for caller in callers:
            caller.call()
        waiting = concurrency
        while waiting:
            ready = selector.select(TIMEOUT_S)
            if not ready:
                raise Unexpected(f"no answer within {TIMEOUT_S} s")
            for key, _ in ready:
                caller = key.data
                if not caller.has_answer():
                    continue
                now = perf_counter()
                latencies.append(now - caller.started)
                if now - begun < seconds or len(latencies) + waiting <= count:
                    caller.call()
                else:
                    waiting -= 1
                    caller.hang_up()
        return perf_counter() - begun, tuple(latencies)
