"""Redis silent, the database away: what goes on, what waits, and how it comes back (O1, O2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from django.core.cache import caches

from backend.api import base
from tests.campaigns.outages import (
    PLAN,
    STORED,
    WORKERS,
    Stage,
    check_in,
    for_a_while,
    get,
    missing,
    stage,
    while_away,
)
from tests.campaigns.two_services import until
from tests.service.cast import Somebody


def test_a_silent_cache_is_left_alone_for_a_while(
    settings: Any, nobody: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.READS_PER_MIN = 1
    waited = []

    def silent(*_: object, **__: object) -> None:
        waited.append(True)
        raise TimeoutError

    def the_while_is_over() -> None:
        monkeypatch.setattr(base, "_cache_left_alone_until", 0.0)

    the_while_is_over()
    with monkeypatch.context() as patch:
        patch.setattr(type(caches["rates"]), "add", silent)
        for _ in range(3):
            nobody.get("meta")
        assert len(waited) == 1
        the_while_is_over()
        nobody.get("meta")
        assert len(waited) == 2

    the_while_is_over()
    assert [nobody.call("GET", "meta").status_code for _ in range(2)] == [200, 429]


# --- Real processes, on servers of their own ----------------------------------------------------


@pytest.fixture(scope="module")
def on() -> Iterator[Stage]:
    if lacking := missing():
        pytest.skip(lacking)
    with stage() as own:
        yield own


def test_uploads_and_reads_go_on_while_redis_is_frozen(on: Stage) -> None:
    usual = for_a_while(on.service, 0.5)
    with on.redis.frozen():
        frozen = for_a_while(on.service, 3)
    after = for_a_while(on.service, 0.5)

    for asked in (usual, frozen, after):
        assert set(asked.statuses) == {200, 201}
    assert frozen.slower_than(0.9) <= WORKERS  # each of them waits for it once


def test_what_needs_the_database_waits_for_it(on: Stage) -> None:
    id = uuid4()
    upload = check_in(id)
    with on.database.stopped():
        away = while_away(on.service, 4)
        assert upload(on.service).status == 503
        assert get("/healthz")(on.service).status == 200

    for name, asked in away.items():
        assert set(asked.statuses) == {503}, name
        assert all("retry-after" in answer.headers for answer in asked.answers), name
        assert asked.most_s < 5, name
    assert until(lambda: PLAN(on.service).status == 200, 10) < 10
    assert [upload(on.service).status for _ in range(2)] == [201, 200]
    for name, call in STORED.items():
        assert call(on.service).status in (200, 201), name
