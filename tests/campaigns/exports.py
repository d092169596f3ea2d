"""A file of a million logs, its writer killed on the way: whole, checked, and in little memory.

    python -m tests.campaigns.exports --logs 1000000 --kill 1
    python -m tests.campaigns.exports --database postgresql://postgres@127.0.0.1:5432/postgres

Starts web and worker with a database of their own (an SQLite file, or a new database on that
server), fills it, asks for the sessions as CSV, kills the worker (-9) at equal steps of the way,
lets another one go on, fetches the file over HTTP and reads it with a strict parser. Ends with 1
where a row is missing or there twice, the checksum is wrong, or the memory is more than it may be.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from uuid import UUID

from rich.console import Console

from tests.bench.machine import Memory, Process, Web, surroundings, web

MOST_MB = 300
MOST_A_PATIENT, PATIENTS = 500, 200  # logs; so many parts that a writer is killed between two
WAKE_EVERY_S = 2.0
LOOK_EVERY_S = 0.1
PATIENCE_S = 3600

Tell = Callable[[str], None]


@dataclass
class Report:
    logs: int
    kills: int
    seconds: float  # of writing, waiting for leases aside
    peak_mb: float  # of the worker that needed most
    size: int
    rows: int
    missing: int
    twice: int
    is_checksum_right: bool

    @property
    def holds(self) -> bool:
        whole = self.is_checksum_right and self.rows == self.logs
        return whole and not self.missing and not self.twice and self.peak_mb <= MOST_MB


# --- Rows -------------------------------------------------------------------------------------

# One session, as often as there are numbers, for each patient of the clinic.
COPIES = {
    "postgresql": ("gen_random_uuid()", "generate_series(0, {last}) number(n)", "{on} - number.n"),
    "sqlite": (
        "lower(hex(randomblob(16)))",
        "(WITH RECURSIVE number(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number "
        "WHERE n < {last}) SELECT n FROM number) number",
        "date({on}, '-' || number.n || ' days')",
    ),
}


def fill(logs: int, each: int) -> tuple[str, Any]:
    """A clinic with so many logs, `each` of a patient; the token of its admin, and today."""
    from django.core.management import call_command
    from django.db import connection
    from django.utils import timezone

    from backend.care.models import Assignment, Session
    from backend.clinics.models import Patient
    from protocols.models import ProtocolVersion
    from tests.roles import admit
    from tests.service.cast import make_clinic, make_episode, make_patient, make_staff

    now = timezone.now()
    call_command("migrate", verbosity=0)
    admit()
    call_command("load_library", verbosity=0)
    clinic = make_clinic("Harbour", now)
    ana = make_staff(clinic, "Ana", is_physiotherapist=True)
    cleo = make_staff(clinic, "Cleo", is_clinic_admin=True)
    model = make_patient(clinic, "Ben", now, ana.user)
    episode = make_episode(model.patient, ana.user, now)
    grade_1 = ProtocolVersion.objects.get(slug="hs-grade-1")
    plan = ana.assigns(grade_1, to=model.patient, episode=episode, on=model.today)
    model.logs(model.slot(), plan, pain_during=3, effort=6.5)
    assert Assignment.objects.count() == Session.objects.count() == 1

    crowd = [
        Patient(
            clinic=clinic, physiotherapist=ana.user, given_name=f"N{number}", family_name="Patient",
            birth_date=model.patient.birth_date, status="invited", timezone="Europe/Stockholm",
            created_at=now, updated_at=now,
        )
        for number in range(-(-logs // each) - 1)
    ]  # fmt: skip
    Patient.objects.bulk_create(crowd, 500)
    id, numbers, on = COPIES[connection.vendor]
    table = Session._meta.db_table
    columns = [field.column for field in Session._meta.concrete_fields]
    new = {
        "id": id, "phone_id": id, "patient_id": "patient.id", "assignment_id": "NULL",
        "local_date": on.format(on="model.local_date"),
    }  # fmt: skip
    names = ", ".join(f'"{name}"' for name in columns)
    values = ", ".join(new.get(name, f'model."{name}"') for name in map(str, columns))
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0") if connection.vendor == "postgresql" else None
        cursor.execute(
            f"INSERT INTO {table} ({names}) SELECT {values} FROM {table} model "
            f"CROSS JOIN {Patient._meta.db_table} patient "
            f"CROSS JOIN {numbers.format(last=each - 1)}"
        )
        extra = Session.objects.count() - logs
        ids = list(Session.objects.order_by("pk").values_list("pk", flat=True)[: max(0, extra)])
        Session.objects.filter(pk__in=ids).delete()
        cursor.execute("ANALYZE")
    assert Session.objects.count() == logs
    return cleo.token, model.today


# --- The run ----------------------------------------------------------------------------------


def run(*, logs: int, kills: int, is_patient: bool, tell: Tell, env: dict[str, str]) -> Report:
    tell("filling")
    each = max(1, min(MOST_A_PATIENT, logs // PATIENTS))
    token, today = fill(logs, each)
    with web(env=env, workers=1) as server:
        wish = {
            "kind": "sessions", "format": "csv", "from": str(today - timedelta(days=each)),
            "to": str(today), "de_identified": False,
            "purpose": "A campaign",
        }  # fmt: skip
        made = json.loads(_asked(server, "POST", "exports", token, wish).read())
        tell("writing")
        seconds, peak = _written(made["id"], kills, is_patient=is_patient, tell=tell, env=env)
        shown = json.loads(_asked(server, "GET", f"exports/{made['id']}", token).read())
        tell(f"fetching {shown['size'] / 1e6:.0f} MB")
        file = _asked(server, "GET", f"exports/{made['id']}/file", token)
        digest, ids = hashlib.sha256(), []
        ids = [UUID(row["session_id"]).bytes for row in _rows(file, digest)]
    missing = _ids_of_database()
    rows, twice = len(ids), len(ids) - len(set(ids))
    missing.difference_update(ids)
    return Report(
        logs=logs, kills=kills, seconds=seconds, peak_mb=peak, size=shown["size"], rows=rows,
        missing=len(missing), twice=twice,
        is_checksum_right=shown["sha256"] == digest.hexdigest(),
    )  # fmt: skip


def _asked(server: Web, method: str, path: str, token: str, body: object = None) -> HTTPResponse:
    line = HTTPConnection("127.0.0.1", server.port, timeout=120)
    headers = {"X-Session-Token": token, "Content-Type": "application/json"}
    content = None if body is None else json.dumps(body)
    line.request(method, f"/api/v1/{path}", content, headers)
    answer = line.getresponse()
    if answer.status >= 300:
        sys.exit(f"{method} {path}: {answer.status} {answer.read()[:500]!r}\n{_said(server)}")
    return answer


def _said(server: Web) -> str:
    return server.log.read_text()[-4000:]


def _rows(file: HTTPResponse, digest: Any) -> Iterator[dict[str, str]]:
    class Noted(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer: Any) -> int:
            content = file.read(len(buffer))
            digest.update(content)
            buffer[: len(content)] = content
            return len(content)

    buffered = io.BufferedReader(Noted(), 1 << 16)
    return csv.DictReader(io.TextIOWrapper(buffered, "utf-8", newline=""), strict=True)


def _ids_of_database() -> set[bytes]:
    from backend.care.models import Session

    found = Session.objects.values_list("phone_id", flat=True)
    return {id.bytes for id in found.iterator(chunk_size=2000)}


def _written(
    id: str, kills: int, *, is_patient: bool, tell: Tell, env: dict[str, str]
) -> tuple[float, float]:
    """Until it is ready: how long that took, and the most memory a worker had."""
    from django.utils import timezone

    from backend.reports.models import Export
    from backend.tasks import write_exports

    log = Path(env["VAR_DIR"]) / "worker.log"
    arguments = ("celery", "--quiet", "--app", "backend.celery", "worker", "--pool", "solo")
    worker = Process(*arguments, env=env, log=log)
    begun, waited, peak, woken, killed = time.monotonic(), 0.0, 0.0, -WAKE_EVERY_S, 0
    try:
        while True:
            row = Export.objects.get(pk=id)
            with suppress(OSError, KeyError):
                peak = max(peak, Memory.of(worker.pid).peak)
            if row.attempt_due_at is None:
                break
            if killed < kills and row.done > row.total * (killed + 1) / (kills + 1) > 0:
                os.kill(worker.pid, signal.SIGKILL)
                worker.end()
                killed += 1
                row.refresh_from_db()
                tell(f"killed at {row.done} of {row.total} patients")
                since = time.monotonic()
                if is_patient:
                    left = (row.attempt_due_at - timezone.now()).total_seconds()
                    time.sleep(max(0.0, left))
                else:
                    Export.objects.filter(pk=id).update(attempt_due_at=timezone.now())
                waited += time.monotonic() - since
                worker = Process(*arguments, env=env, log=log)
            worker.check()
            if time.monotonic() - woken > WAKE_EVERY_S:
                write_exports.delay()  # type: ignore[attr-defined]  # a task
                woken = time.monotonic()
            if time.monotonic() - begun > PATIENCE_S:
                sys.exit(f"Not ready within {PATIENCE_S} s: {log.read_text()[-2000:]}")
            time.sleep(LOOK_EVERY_S)
    finally:
        worker.end()
    if row.status != Export.Status.READY:
        sys.exit(f"The export is {row.status}: {log.read_text()[-2000:]}")
    assert killed == kills, "the file is too small to be interrupted so often"
    return time.monotonic() - begun - waited, peak


def show(report: Report, console: Console) -> None:
    rate = report.logs / report.seconds
    console.print(
        f"{report.rows:,} of {report.logs:,} rows, {report.size / 1e6:.0f} MB, written in "
        f"{report.seconds:.0f} s ({rate:,.0f} a second) with {report.kills} kills; the worker "
        f"needed {report.peak_mb:.0f} MB at most. Missing {report.missing}, twice {report.twice}, "
        f"checksum {'right' if report.is_checksum_right else 'WRONG'}."
    )


def main() -> int:
    said = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    said.add_argument("--logs", type=int, default=1_000_000)
    said.add_argument("--kill", type=int, default=1, help="how often the worker is killed")
    said.add_argument("--database", default="", help="a PostgreSQL server; absent: SQLite")
    said.add_argument("--impatient", action="store_true", help="end the lease of who was killed")
    asked = said.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and leave nothing behind
    os.environ["DATABASE_URL"] = asked.database
    os.environ["REDIS_URL"] = ""
    console = Console()
    with surroundings() as env:
        env["ALLOWED_HOSTS"] += ",testserver"  # the clients of the cast
        os.environ.update(env)
        import django

        django.setup()
        logging.disable(logging.INFO)
        from django.db import connections

        try:
            report = run(
                logs=asked.logs, kills=asked.kill, is_patient=not asked.impatient,
                tell=console.print, env=env,
            )  # fmt: skip
        finally:
            connections.close_all()
    show(report, console)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
