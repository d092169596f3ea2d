"""Ask the service the same things alone on files and with PostgreSQL and Redis, and compare.

    python -m tests.campaigns.same_answers [--small]

It makes and drops a database on the server of TEST_DATABASE_URL, and fills and empties the
database of Redis that TEST_REDIS_URL names. Exits with 1 where an answer differs.
"""

from __future__ import annotations

import argparse
import os
import sys
import time

from rich.console import Console
from rich.table import Table

from tests.campaigns.same_script import Script
from tests.campaigns.sameness import Both
from tests.campaigns.two_services import Service, both, wait_until_ready

DATABASE_URL = (
    os.environ.get("TEST_DATABASE_URL") or "postgresql://postgres@127.0.0.1:5432/postgres"
)
REDIS_URL = os.environ.get("TEST_REDIS_URL") or "redis://127.0.0.1:6379/9"
BEATS_WITHIN_S = 75


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--small", action="store_true", help="about half of it")
    asked = parser.parse_args()
    began = time.monotonic()
    with both(DATABASE_URL, REDIS_URL) as services:
        found = run(services, small=asked.small)
        print(f"{time.monotonic() - began:.0f} s")
    show(found, Console(width=None if sys.stdout.isatty() else 120))
    return 1 if differences(found) else 0


def run(services: tuple[Service, Service], *, small: bool) -> Both:
    found = Both(services)
    wait_until_ready(services)
    Script(found, small=small).run()
    return found


def differences(found: Both) -> list[str]:
    return [one for row in found.rows.values() for one in row.differences]


def show(found: Both, console: Console) -> None:
    table = Table("operation", "asked", "answered", "different")
    for name, row in sorted(found.rows.items()):
        statuses = ", ".join(
            f"{count} × {status}" for status, count in sorted(row.statuses.items())
        )
        table.add_row(name, str(row.statuses.total()), statuses, str(len(row.differences) or ""))
    total = sum(row.statuses.total() for row in found.rows.values())
    table.add_row("all", str(total), "", str(len(differences(found))), style="bold")
    console.print(table)
    for one in differences(found):
        console.print(one, style="red", highlight=False, markup=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
