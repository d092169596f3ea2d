"""The campaign of U1 at a small size, whether it can fail at all, and a database that is busy."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection, connections
from django.utils import timezone

from backend.api.errors import RETRY_AFTER_S
from tests.campaigns.uploads import Kept, Key, Verdict, judge
from tests.service.cast import OwnPhone
from tests.service.uploading import body_of, check_in_at

ROOT = Path(__file__).parents[2]


def campaign(folder: Path, *asked: str) -> dict[str, Any]:
    """One run of the command, as a person would start it."""
    report = folder / "report.json"
    said = [*asked, "--report", str(report)]
    if seed := os.environ.get("SEED"):
        said += ["--seed", seed]
    ended = subprocess.run(
        [sys.executable, "-m", "tests.campaigns.uploads", *said],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    print(ended.stdout)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
    found: dict[str, Any] = json.loads(report.read_text())
    assert [found[wrong] for wrong in ("lost", "doubled", "altered", "refused")] == [[]] * 4
    assert found["failed"] == 0
    return found


def server() -> str:
    """The PostgreSQL server of this run of the suite; none: SQLite."""
    url = os.environ.get("TEST_DATABASE_URL", "")
    return f"{url.rpartition('/')[0]}/postgres" if url else ""


def test_phones_on_a_bad_network(tmp_path: Path) -> None:
    found = campaign(tmp_path, "--clients", "6", "--logs", "150", "--faults", "0.4",
                     "--database", server())  # fmt: skip
    assert found["logs"] == 150
    assert found["faulty_share"] >= 0.4
    assert min(found["faulty"].values()) > 0


@pytest.mark.campaign
def test_phones_on_a_bad_network_at_full_size(tmp_path: Path) -> None:
    found = campaign(tmp_path, "--database", server())
    assert (found["clients"], found["logs"]) == (50, 10_000)
    assert found["faulty_share"] >= 0.3


# --- The judge is not blind --------------------------------------------------------------------

ONE, TWO, GONE = ("session", "1"), ("check_in", "2"), ("session", "3")
KEPT: Kept = {ONE: {1: {"note": "a"}, 2: {"note": "b"}}, TWO: {1: {"note": "c"}},
              GONE: {1: {"note": "d"}, 2: None}}  # fmt: skip
RIGHT = [
    (ONE, {"note": "b", "revision": 2, "history_count": 2, "derived": {}}),
    (TWO, {"note": "c", "revision": 1, "history_count": 1}),
]


@pytest.mark.parametrize(
    ("found", "lost", "doubled", "altered"),
    [
        pytest.param(RIGHT, set(), set(), set(), id="all there"),
        pytest.param(RIGHT[:1], {TWO}, set(), set(), id="one is missing"),
        pytest.param([*RIGHT, RIGHT[0]], set(), {ONE}, set(), id="one is there twice"),
        pytest.param([*RIGHT, (("session", "9"), {})], set(), {("session", "9")}, set(),
                     id="one that nobody sent"),
        pytest.param([RIGHT[0], (TWO, RIGHT[1][1] | {"note": "x"})], set(), set(), {TWO},
                     id="another content"),
        pytest.param([(ONE, RIGHT[0][1] | {"revision": 1}), RIGHT[1]], set(), set(), {ONE},
                     id="an older revision"),
        pytest.param([(ONE, RIGHT[0][1] | {"history_count": 3}), RIGHT[1]], set(), set(), {ONE},
                     id="a revision kept twice"),
        pytest.param([*RIGHT, (GONE, {"note": "d", "revision": 1})], set(), set(), {GONE},
                     id="a withdrawn one that rose again"),
    ],
)  # fmt: skip
def test_the_judge_sees(
    found: list[tuple[Key, Any]], lost: set[Key], doubled: set[Key], altered: set[Key]
) -> None:
    verdict = Verdict()
    judge(KEPT, found, verdict)
    assert (verdict.lost, verdict.doubled, verdict.altered) == (lost, doubled, altered)


# --- A busy database (O3) ----------------------------------------------------------------------

WRITERS = 50


@pytest.fixture
def patience() -> Iterator[dict[str, Any]]:
    """How long SQLite waits for its lock, to be changed for connections that open from then on."""
    if connection.vendor != "sqlite":
        pytest.skip("PostgreSQL does not lock the whole database")
    options: dict[str, Any] = connections.settings["default"]["OPTIONS"]
    usual = options["timeout"]
    yield options
    options["timeout"] = usual


@contextmanager
def locked() -> Iterator[None]:
    """Another writer holds the lock meanwhile."""
    with closing(sqlite3.connect(str(connection.settings_dict["NAME"]), timeout=30)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.rollback()


@pytest.mark.django_db(transaction=True)
def test_fifty_writers_wait_for_a_busy_sqlite_then_hear_503(
    patience: dict[str, Any], ben: OwnPhone
) -> None:
    said = {**check_in_at(timezone.now().astimezone(ben.patient.zone)), "revision": 1}
    first, ids = uuid4(), [uuid4() for _ in range(WRITERS)]

    def put(id: UUID) -> tuple[int, str, str | None]:
        phone = OwnPhone(ben.token, patient=ben.patient)
        try:
            answer = phone.call("PUT", f"me/check-ins/{id}", said)
            return answer.status_code, body_of(answer).get("code", ""), answer.get("Retry-After")
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS) as pool:
        with locked():
            waiting = pool.submit(put, first)
            with pytest.raises(TimeoutError):
                waiting.result(timeout=0.5)
        assert waiting.result() == (201, "", None)

        patience["timeout"] = 0.3
        with locked():
            refused = set(pool.map(put, ids))
        assert refused == {(503, "unavailable", str(RETRY_AFTER_S))}

        patience["timeout"] = 20
        assert set(pool.map(put, ids)) == {(201, "", None)}
    listed = {row["id"] for row in ben.get("me/check-ins?limit=200")["items"]}
    assert listed == {str(id) for id in (first, *ids)}
