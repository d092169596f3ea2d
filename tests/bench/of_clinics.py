"""The floors of what is asked of a whole clinic, and exports in a process of their own.

As a process it writes, or only reads, every session of a clinic, and says how long that took.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from django.db import connection, connections, transaction

from tests.bench.machine import ROOT, Memory

if TYPE_CHECKING:
    from tests.bench.filling import Stock

LATEST = date(9999, 1, 1)


F5_ROWS = """
    FROM care_closedday d
        JOIN care_assignment a ON a.id = d.assignment_id
        JOIN clinics_patient p ON p.id = a.patient_id
    WHERE p.clinic_id = %s AND d."on" BETWEEN %s AND %s AND d.closed_at <= %s
"""
F5_SUMS = (
    "COUNT(*)", "MAX(d.closed_at)", "SUM(d.slots_due)", "SUM(d.slots_completed)",
    "SUM(d.slots_partial)", "SUM(d.slots_skipped)", "SUM(d.slots_excused)", "SUM(d.dose_ratios)",
    "SUM(d.sessions)", "SUM(d.sessions_late)",
)  # fmt: skip
MONDAYS = {"postgresql": "date_trunc('week', d.on)", "sqlite": "date(d.\"on\", 'weekday 0')"}
UNFOLDED = {
    "postgresql": ("SUM(CAST(kind.value ->> {n} AS integer))", "jsonb_each(d.kinds)"),
    "sqlite": ("SUM(json_extract(kind.value, '$[{n}]'))", "json_each(d.kinds)"),
}


def f5(stock: Stock, group: str = "") -> list[Any]:
    """The least a report costs: the rows of the day book that it needs, read and added up, in one
    statement. By week and by kind of exercise it needs the sums of each patient, to tell how they
    differ."""
    from tests.bench.filling import A_DAY, REPORTED

    last = stock.today - A_DAY
    match group:
        case "week":
            sql = _of_each(F5_SUMS, F5_ROWS, MONDAYS[connection.vendor])
        case "exercise_kind":
            count, kinds = UNFOLDED[connection.vendor]
            rows = F5_ROWS.replace("WHERE", f"CROSS JOIN {kinds} kind WHERE")
            sql = _of_each([count.format(n=n) for n in range(6)], rows, "kind.key")
        case _:
            sql = f"SELECT {', '.join(F5_SUMS)} {F5_ROWS}"
    asked = stock.large.pk, last - (REPORTED - 1) * A_DAY, last, datetime.now(UTC)
    return _asked(sql, *asked)


def _of_each(sums: Sequence[str], rows: str, part: str) -> str:
    """Patient by patient. What nobody asks for the database would leave out."""
    named = ", ".join(f"{one} AS c{n}" for n, one in enumerate(sums))
    found = f"SELECT {named} {rows} GROUP BY a.patient_id, {part}"
    return f"SELECT {', '.join(f'MAX(c{n})' for n in range(len(sums)))} FROM ({found}) AS each_of"


REASONS = (
    """SELECT p.id, p.family_name, p.given_name, p.status, p.timezone, f.code, f.level, f.raised_at
       FROM care_flag f JOIN clinics_patient p ON p.id = f.patient_id
       WHERE p.clinic_id = %s AND f.status IN ('open', 'acknowledged')""",
    """SELECT p.id, p.family_name, p.given_name, p.status, p.timezone, g.recommendation, g.on,
           g.waiting_since
       FROM care_progression g JOIN clinics_patient p ON p.id = g.patient_id
       WHERE p.clinic_id = %s AND g.status = 'proposed'""",
    """SELECT p.id, p.family_name, p.given_name, p.status, p.timezone, a.concerns
       FROM care_assignment a JOIN clinics_patient p ON p.id = a.patient_id
       WHERE p.clinic_id = %s AND a.concerns IS NOT NULL AND a.ended_on IS NULL""",
    """SELECT p.id, p.family_name, p.given_name, p.status, p.timezone, a.start_date,
           p.last_received_at
       FROM care_assignment a JOIN clinics_patient p ON p.id = a.patient_id
       WHERE p.clinic_id = %s AND a.ended_on IS NULL AND p.status = 'active'""",
)


def caseload(stock: Stock) -> int:
    """The rows that say who of a clinic needs somebody, by their indexes, and nothing made of
    them."""
    return sum(len(_asked(sql, stock.large.pk)) for sql in REASONS)


def fall_silent(stock: Stock) -> None:
    """No phone was heard from for longer than anybody leaves it at that, so that everybody of the
    clinic has a reason."""
    from backend.clinics.models import Patient
    from tests.bench.filling import A_DAY

    long_ago = datetime.now(UTC) - 9 * A_DAY
    Patient.objects.filter(clinic=stock.large).update(last_received_at=long_ago)


def _asked(sql: str, *params: Any) -> list[Any]:
    with owner().cursor() as cursor:
        cursor.execute(sql, [_bound(one) for one in params])
        return list(cursor.fetchall())


@cache
def owner() -> Any:
    """A connection of the owner of the tables, if it is made before they become the service: a
    floor knows no policies."""
    found = connections.create_connection("default")
    found.ensure_connection()
    return found


def _bound(value: Any) -> Any:
    if connection.vendor == "postgresql":
        return value
    if isinstance(value, UUID):
        return value.hex
    if isinstance(value, datetime):
        return connection.ops.adapt_datetimefield_value(value)
    return str(value)


# --- Exports ----------------------------------------------------------------------------------


class Ran(NamedTuple):
    rows: int
    seconds: float
    peak: float  # MB


def in_a_process(what: str, stock: Stock, env: Mapping[str, str]) -> Ran:
    said = subprocess.run(
        [sys.executable, "-m", "tests.bench.of_clinics", what, str(stock.large.pk)],
        env=dict(env), cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return Ran(*json.loads(said.stdout))


def _exported(clinic_id: UUID) -> int:
    from backend.clinics.models import Clinic, User
    from backend.reports import exports
    from backend.reports.models import Export

    clinic, now = Clinic.objects.get(pk=clinic_id), datetime.now(UTC)
    by = User.objects.filter(clinic=clinic, is_physiotherapist=True)[0]
    made = exports.ask(
        clinic=clinic, by=by, kind="sessions", format="csv", first=date(2000, 1, 1), last=LATEST,
        de_identified=False, purpose="benchmark", now=now,
    )  # fmt: skip
    while exports.write(export_id=made.pk, now=now):
        pass
    made.refresh_from_db()
    if made.status != Export.Status.READY:
        raise RuntimeError(f"the export is {made.status}")
    rows = made.rows
    made.parts.all().delete()
    made.delete()
    return rows


def _read(clinic_id: UUID) -> int:
    """The columns that the file is made of, row by row, by a cursor of the server's."""
    from backend.care.models import Session

    columns = (
        "patient_id", "local_date", "phone_id", "outcome", "dose_ratio", "pain_before",
        "pain_during", "pain_after", "content", "late", "clock_suspect",
    )  # fmt: skip
    rows: Any = Session.objects.filter(patient__clinic=clinic_id).standing()
    sql, params = (
        rows.order_by("patient_id", "local_date").values_list(*columns).query.sql_with_params()
    )
    with transaction.atomic():
        return sum(len(some) for some in _in_pieces(sql, params))


def _in_pieces(sql: str, params: Any) -> Iterator[list[Any]]:
    with connection.chunked_cursor() as cursor:
        cursor.execute(sql, params)
        while some := cursor.fetchmany(500):
            yield some


if __name__ == "__main__":
    import django

    django.setup()
    what, clinic = sys.argv[1], UUID(sys.argv[2])
    began = time.perf_counter()
    count = (_exported if what == "export" else _read)(clinic)
    print(json.dumps([count, time.perf_counter() - began, Memory.of(os.getpid()).peak]))
