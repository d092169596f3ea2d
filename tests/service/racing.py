"""Several calls in the same moment, each in a thread and a database connection of its own."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import pytest
from django.db import connections

Answer = TypeVar("Answer")


def meeting(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, how_many: int = 2) -> None:
    """Let nobody past `owner.name` before so many are there."""
    there, met = getattr(owner, name), Barrier(how_many)

    def wait(*args: Any, **said: Any) -> Any:
        met.wait(timeout=10)
        return there(*args, **said)

    monkeypatch.setattr(owner, name, wait)


def at_once(*calls: Callable[[], Answer]) -> list[Answer]:
    """What each of them answers. They wait for one another before they begin."""
    together = Barrier(len(calls))

    def run(call: Callable[[], Answer]) -> Answer:
        try:
            together.wait(timeout=10)
            return call()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(len(calls)) as pool:
        return list(pool.map(run, calls))
