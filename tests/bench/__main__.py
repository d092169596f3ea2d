"""`./run bench`: fill a database of its own, measure, print a table, write bench.json."""

from __future__ import annotations

import argparse
import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from tests.bench.machine import ROOT, Others, surroundings

if TYPE_CHECKING:  # the rest needs the environment that is made here
    from tests.bench.measuring import Result

PARTS = (
    "floors", "plan", "flat", "session", "judging", "push", "feed", "engine", "sweeps", "clinic",
    "export", "start", "memory",
    "server",
)  # fmt: skip
ON_DEMAND = ("server",)  # compares two ways to serve: a question one asks once
ROUNDS, SECONDS = 15, 0.4
QUICK_ROUNDS, QUICK_SECONDS = 5, 0.2
BUSY = 0.1  # of the machine, by others: then the figures are noisy
PACKAGES = ("Django", "djangorestframework", "gunicorn", "psycopg", "redis")

Step = Callable[[str], None]


def main() -> int:
    asked = _asked()
    console = Console(width=None if sys.stdout.isatty() else 140)
    with surroundings() as env, _progress(console) as step:
        os.environ.clear()
        os.environ.update(env)
        about, results = _measured(asked, env, step)
    console.print(_table(results))
    console.print(_in_words(about))
    told = {**about, "results": [asdict(one) | {"holds": one.holds} for one in results]}
    asked.to.write_text(json.dumps(told, indent=1) + "\n")
    short = [one for one in results if not one.holds]
    for one in short:
        console.print(f"falls short: {one.job}, {one.against}", style="red")
    return 1 if short else 0


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=PARTS, metavar="PART", default=[],
                        help=f"one part, and again for another: {', '.join(PARTS)}")  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="smaller, shorter, noisier")
    parser.add_argument("--rounds", type=int, help=f"how many; {ROUNDS}, or {QUICK_ROUNDS}")
    parser.add_argument("--to", type=Path, default=ROOT / "bench.json", help="where figures go")
    asked = parser.parse_args()
    asked.only = asked.only or [part for part in PARTS if part not in ON_DEMAND]
    asked.rounds = asked.rounds or (QUICK_ROUNDS if asked.quick else ROUNDS)
    return asked


@contextmanager
def _progress(console: Console) -> Iterator[Step]:
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as progress:
        task = progress.add_task("")
        yield lambda text: progress.update(task, description=text)


def _measured(
    asked: argparse.Namespace, env: Mapping[str, str], step: Step
) -> tuple[dict[str, Any], list[Result]]:
    import django

    django.setup()
    logging.disable()  # what is answered in this process is not the matter

    from django.db import connections

    from tests.bench import filling, jobs
    from tests.bench.load import Load
    from tests.bench.machine import web

    now = datetime.now(UTC)
    sizes = filling.QUICK if asked.quick else filling.FULL
    stock = filling.fill(sizes, now=now, step=lambda text: step(f"filling: {text}"))
    about = {
        "at": now.isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": {"Python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "database": _database(),
        "redis": bool(env["REDIS_URL"]),
        "processors": os.cpu_count(),
        "sizes": asdict(sizes),
        "rounds": asked.rounds,
        "seconds": QUICK_SECONDS if asked.quick else SECONDS,
    }
    results: list[Result] = []
    others = Others()
    try:
        with web(env=env) as server, Load() as load:
            bench = jobs.Bench(
                env, stock, load, server.port, asked.rounds, about["seconds"], asked.quick, step
            )
            for part in asked.only:
                results += jobs.PARTS[part](bench)
        about["busy with others"] = others.share()
    finally:
        connections.close_all()
    return about, results


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty"], capture_output=True, text=True, cwd=ROOT
    )
    return said.stdout.strip() or "unknown"


def _database() -> str:
    from django.db import connection

    if connection.vendor == "sqlite":
        from sqlite3 import sqlite_version

        return f"SQLite {sqlite_version}"
    with connection.cursor() as cursor:
        cursor.execute("SHOW server_version")
        return f"PostgreSQL {cursor.fetchone()[0]}"


def _table(results: list[Result]) -> Table:
    table = Table(title="Ratios to floors of the same run: median (lowest to highest round)")
    for name in ("part", "job", "against", "ratio", "spread", "goal", "a second", "p50", "p99"):
        numeric = name not in ("part", "job", "against", "goal")
        table.add_column(name, justify="right" if numeric else "left", no_wrap=True)
    part = ""
    for one in results:
        seen, details = one.figure, one.details
        table.add_row(
            one.part if one.part != part else "",
            one.job,
            one.against,
            f"{seen.median:.2f}" if one.holds else f"[red]{seen.median:.2f}[/]",
            f"{seen.low:.2f}-{seen.high:.2f}" if seen.low != seen.high else "",
            str(one.goal or ""),
            f"{details['a_second']:,.0f}" if "a_second" in details else "",
            f"{details['p50_ms']:.1f} ms" if "p50_ms" in details else "",
            f"{details['p99_ms']:.1f} ms" if "p99_ms" in details else "",
        )
        part = one.part
    return table


def _in_words(about: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    share = about["busy with others"]
    if share is None:
        others = "What else the machine did is not known here."
    elif share > BUSY:
        others = f"The machine was BUSY with something else ({share:.0%} of it): expect noise."
    else:
        others = f"Others took {share:.0%} of the machine."
    return (
        f"{about['database']}, {'Redis' if about['redis'] else 'no Redis'}, {versions}; "
        f"{about['processors']} processors, {about['rounds']} rounds of {about['seconds']} s; "
        f"commit {about['commit']}. {others}"
    )


if __name__ == "__main__":
    sys.exit(main())
