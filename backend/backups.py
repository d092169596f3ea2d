"""A copy of the database in one file, the digest of each table in it, and the way back.

SQLite is copied by its own backup, PostgreSQL by pg_dump; both while the service runs. Beside the
file `FILE.json` says what was in it, table by table, at the very moment of the copy.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any

from django.db import connection, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import ConnectionHandler

from backend.tenant import EVERYWHERE

AT_ONCE = 2000
MODULO = 1 << 256

Digests = dict[str, str]


class Unusable(Exception):
    """The copy cannot be made or read; says why, in one line."""


# --- Digests ----------------------------------------------------------------------------------


def digests(database: BaseDatabaseWrapper | None = None) -> Digests:
    """What each table holds, whatever the order of its rows on the disk."""
    database = database or connections["default"]
    with database.cursor() as cursor:
        tables = sorted(database.introspection.table_names(cursor))
    return {table: _digest(_rows(database, table)) for table in tables}


def _digest(rows: Iterator[Sequence[Any]]) -> str:
    """How many, and the sum of what each comes to: the same in any order, in flat memory."""
    count = total = 0
    for row in rows:
        count += 1
        told = repr(tuple(row)).encode()
        total += int.from_bytes(hashlib.sha256(told).digest())
    return f"{count}:{total % MODULO:064x}"


def _rows(database: BaseDatabaseWrapper, table: str) -> Iterator[Sequence[Any]]:
    """Raw rows, their columns by name; of PostgreSQL as text, so that no type hides a difference.

    PostgreSQL keeps its cursor in a transaction.
    """
    quoted = database.ops.quote_name
    with database.cursor() as cursor:
        told = database.introspection.get_table_description(cursor, table)
    columns = ", ".join(sorted(quoted(one.name) for one in told))
    if database.vendor == "postgresql":
        columns = f"ROW({columns})::text"
    is_server = database.vendor == "postgresql"
    with transaction.atomic() if is_server else nullcontext(), database.chunked_cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM {quoted(table)}")  # noqa: S608
        while found := cursor.fetchmany(AT_ONCE):
            yield from found


def differences(wanted: Digests, found: Digests) -> list[str]:
    return sorted(
        name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)
    )


# --- There ------------------------------------------------------------------------------------


def back_up(place: Path, *, now: datetime) -> Digests:
    """Write the copy and what is in it. A file that stands there already is not touched."""
    if place.exists():
        raise Unusable(f"{place} exists already.")
    beside = place.with_name(f"{place.name}.part")
    beside.unlink(missing_ok=True)
    os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    copy = _dump if connection.vendor == "postgresql" else _copy
    found = copy(beside)
    told = {"taken_at": now.isoformat(), "database": connection.vendor, "tables": found}
    _manifest(place).write_text(json.dumps(told, indent=1))
    with beside.open("rb") as file:
        os.fsync(file.fileno())
    beside.replace(place)
    return found


def _copy(place: Path) -> Digests:
    """Of SQLite: one moment of it, and nobody waits. What is in it is read from the copy."""
    with closing(sqlite3.connect(place)) as target:
        with closing(sqlite3.connect(connection.settings_dict["NAME"])) as source:
            source.backup(target)
        target.execute("PRAGMA journal_mode=DELETE")
    told = {"ENGINE": "django.db.backends.sqlite3", "NAME": place}
    copied = ConnectionHandler({"default": told})["default"]
    try:
        return digests(copied)
    finally:
        copied.close()


def _dump(place: Path) -> Digests:
    """Of PostgreSQL. The dump and the digests are of one snapshot."""
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SELECT pg_export_snapshot()")
            [snapshot] = cursor.fetchone()
        _run(
            "pg_dump", "--format=custom", "--enable-row-security", f"--snapshot={snapshot}",
            f"--file={place}",
        )  # fmt: skip
        return digests()


# --- And back ---------------------------------------------------------------------------------


def restore(place: Path) -> Digests:
    """Replace everything in the database with what is in the file. Says what should be in it."""
    if not place.exists() or not _manifest(place).exists():
        raise Unusable(f"{place} and {_manifest(place).name} are needed, both.")
    told = json.loads(_manifest(place).read_text())
    if told["database"] != connection.vendor:
        raise Unusable(f"This is a copy of {told['database']}.")
    if connection.vendor == "postgresql":
        _run(
            "pg_restore", "--clean", "--if-exists", "--no-owner", "--no-privileges",
            "--single-transaction", "--exit-on-error", str(place),
        )  # fmt: skip
    else:
        _copy_back(place)
    found: Digests = told["tables"]
    return found


def _copy_back(place: Path) -> None:
    connection.close()
    with closing(sqlite3.connect(f"file:{place}?mode=ro", uri=True)) as source:
        [[said]] = source.execute("PRAGMA integrity_check").fetchall()[:1]
        if said != "ok":
            raise Unusable(f"{place} is damaged: {said}")
        with closing(sqlite3.connect(connection.settings_dict["NAME"])) as target:
            source.backup(target)


def _manifest(place: Path) -> Path:
    return place.with_name(f"{place.name}.json")


def _run(program: str, *arguments: str) -> None:
    """Where the database is and who we are goes by the environment: `ps` shows arguments."""
    at = connection.get_connection_params()
    names = {"host": "PGHOST", "port": "PGPORT", "user": "PGUSER", "password": "PGPASSWORD"}
    said = {ours: str(at[name]) for name, ours in names.items() if at.get(name)}
    name = str(connection.settings_dict["NAME"])
    said |= {"PGDATABASE": name, "PGOPTIONS": f"-c {EVERYWHERE}=on"}  # of every clinic
    if program == "pg_restore":
        arguments = (f"--dbname={name}", *arguments)
    try:
        subprocess.run(  # noqa: S603
            [program, *arguments], env=os.environ | said, check=True, capture_output=True, text=True
        )
    except FileNotFoundError:
        raise Unusable(f"{program} is not there: install the client of PostgreSQL.") from None
    except subprocess.CalledProcessError as error:
        raise Unusable(error.stderr.strip().splitlines()[-1] if error.stderr else program) from None
