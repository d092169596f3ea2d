"""Ask the service the same things alone on files and with PostgreSQL and Redis, and compare.

    python -m tests.campaigns.same_answers [--small]

It makes and drops a database on the server of TEST_DATABASE_URL, and fills and empties one that is
empty of the Redis of TEST_REDIS_URL. Ends with 1 where an answer differs.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from typing import Any

import psycopg
import redis
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from rich.console import Console
from rich.table import Table

from tests.campaigns.same_script import Script
from tests.campaigns.sameness import Both, Row
from tests.campaigns.two_services import Service, Services, both, until, working

DATABASE_URL = os.environ.get("TEST_DATABASE_URL") or "postgresql://postgres@127.0.0.1:5432/rehab"
REDIS_URL = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379/9"
READY_WITHIN_S = 90
BEATS_WITHIN_S = 75  # two periods, and what a busy machine takes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="about a third of it")
    asked = parser.parse_args()
    if lacking := missing():
        sys.exit(f"skipped: {lacking}")
    begun = time.monotonic()
    with both(DATABASE_URL, REDIS_URL, pages=not asked.small) as services:
        found = run(services, small=asked.small)
    show(found, Console(width=None if sys.stdout.isatty() else 120), time.monotonic() - begun)
    return 1 if differences(found) else 0


def missing() -> str:
    """Which server does not answer; empty where both do."""
    place = conninfo_to_dict(DATABASE_URL, dbname="postgres", connect_timeout=2)
    try:
        psycopg.connect(make_conninfo(DATABASE_URL, dbname="postgres", connect_timeout=2)).close()
        redis.Redis.from_url(REDIS_URL, socket_connect_timeout=2).ping()
    except psycopg.Error:
        return f"no PostgreSQL answers on {place.get('host')}:{place.get('port', 5432)}"
    except redis.RedisError:
        return f"no Redis answers at {REDIS_URL.rpartition('@')[2]}"
    return ""


def run(services: Services, *, small: bool) -> Both:
    found = Both(services)
    health = found.rows["readyz"] = Row()
    with working(services):
        health.differences += _readiness(services, health)
        if not small:
            health.differences += [
                f"{service.name}: no sign of life from its clock within {BEATS_WITHIN_S} s"
                for service in services
                if until(_beaten_again(service), BEATS_WITHIN_S) > BEATS_WITHIN_S
            ]
    Script(found, small=small).run()
    return found


def _readiness(services: Services, health: Row) -> list[str]:
    """Both get ready, their first heartbeat come by way of the broker, and say so alike."""
    told = []
    for service in services:
        until(lambda service=service: _ready(service)[0] == 200, READY_WITHIN_S)  # type: ignore[misc]
        status, checks = _ready(service)
        health.statuses[status] += 1
        told.append((status, {name: one["ok"] for name, one in checks.items()}))
    ours, theirs = told
    return [] if ours == theirs == (200, theirs[1]) else [f"{ours} | {theirs}"]


def _ready(service: Service) -> tuple[int, dict[str, Any]]:
    answer = service.send("GET", "/readyz", None, {})
    said: Any = answer.json
    return answer.status, said["checks"]


def _beaten_again(service: Service) -> Any:
    """Whether the worker was seen anew since this was made."""

    def age() -> int:
        said = re.search(r"\d+", _ready(service)[1]["worker"]["said"])
        return int(said.group()) if said else 10**9

    last = age()

    def beaten() -> bool:
        nonlocal last
        before, last = last, age()
        return last < before

    return beaten


def differences(found: Both) -> list[str]:
    return [one for row in found.rows.values() for one in row.differences]


def show(found: Both, console: Console, seconds: float) -> None:
    table = Table("operation", "asked", "answered", "different")
    for name, row in sorted(found.rows.items()):
        told = ", ".join(f"{count} × {status}" for status, count in sorted(row.statuses.items()))
        table.add_row(name, str(row.statuses.total()), told, str(len(row.differences) or ""))
    total = sum(row.statuses.total() for row in found.rows.values())
    table.add_row("all", str(total), f"in {seconds:.0f} s", str(len(differences(found)) or ""))
    console.print(table)
    for one in differences(found):
        console.print(one, style="red", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
