"""The adherence report as files: the figures of its address, to the last digit, for any reader."""

from __future__ import annotations

import csv
import hashlib
import io
import re
import shutil
import subprocess
from collections.abc import Iterator
from copy import copy
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from openpyxl import load_workbook

from backend.audit.models import AuditEvent
from backend.care.models import Assignment, ClosedDay
from backend.clinics.models import Clinic, Patient
from backend.reports import exports
from backend.reports.definitions import SECTIONS, definitions
from backend.reports.models import Export, ExportPart
from backend.reports.paper import NO_SIGN, written
from tests.service.cast import OwnPhone, Staff, make_episode, make_patient, make_staff
from tests.service.test_exports import file_of, table
from tests.service.test_exports import written as all_written

pytestmark = pytest.mark.django_db

START = datetime(2026, 3, 2, 8, tzinfo=UTC)  # a Monday
DATES = 28
A_DAY = timedelta(days=1)
WINDOW = {"from": "2026-03-02", "to": "2026-03-29"}
ADDRESS = "reports/adherence?from=2026-03-02&to=2026-03-29&heatmap=day"
NAMES = ("Łukasz Żółć", "Jörg Müller-Weiß", "=HYPERLINK(1)", "Zoë", "Ana", "山田", "Björk", "-1+1")
GROUPINGS = ("patient", "physiotherapist", "protocol", "phase", "week", "exercise_kind")


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def now(clock: Any) -> datetime:
    return START


@pytest.fixture
def dan(harbour: Clinic) -> Staff:
    return make_staff(harbour, "Dan", is_physiotherapist=True)


@pytest.fixture
def cohort(ana: Staff, harbour: Clinic, grade_1: Any, clock: Any) -> list[OwnPhone]:
    """Eight people with four weeks in the day book, each with figures of their own."""
    people: list[OwnPhone] = []
    plan = Assignment()
    for number, name in enumerate(NAMES):
        one = make_patient(harbour, f"P{number}", START, ana.user)
        episode = make_episode(one.patient, ana.user, START)
        if not people:
            given = ana.assigns(grade_1, to=one.patient, episode=episode, on=one.today)
            plan = Assignment.objects.get(pk=given["id"])
        else:  # the others have the same
            plan = copy(plan)
            plan.pk, plan.patient, plan.episode = uuid4(), one.patient, episode
            plan.save(force_insert=True)
        Patient.objects.filter(pk=one.patient.pk).update(
            given_name=name, last_received_at=START + (DATES + 1 - 2 * number) * A_DAY
        )
        ClosedDay.objects.bulk_create(booked(plan, day, number) for day in range(DATES))
        people.append(one)
    clock.move_to(START + (DATES + 2) * A_DAY)
    return people


def booked(plan: Assignment, day: int, number: int) -> ClosedDay:
    completed, partial = (day + number) % 3 == 0, (day * number) % 4 == 1
    done = completed + partial
    skipped = 0 if done else int(day % 5 == 0)
    kinds = {"strength": [2, int(completed), int(partial), skipped, 0, 7_000 * done]}
    return ClosedDay(
        assignment=plan, clinic_id=plan.clinic_id, on=START.date() + day * A_DAY,
        closed_at=START + (day + 1) * A_DAY,
        day={}, after={}, alerts=[], phase_id="phase-1" if day < 9 else "phase-2",
        phase_started_on=START.date(), planned_sets=6, done_sets=3, slots_excused=0,
        outcome="same", colour="GREEN", rule="", slots_due=2,
        slots_completed=completed, slots_partial=partial, slots_skipped=skipped,
        dose_ratios=0.7 * done, is_active=done > 0, is_told=done + skipped > 0, sessions=done,
        sessions_late=int(done and day % 7 == 0), pain_during=day % 4 if done else None,
        kinds=kinds,
    )  # fmt: skip


def made(staff: Staff, format: str, **more: Any) -> dict[str, Any]:
    wish = {
        "kind": "adherence", "format": format, **WINDOW, "de_identified": False,
        "purpose": "Für den Beirat", "heatmap": "day",
    }  # fmt: skip
    row = staff.post("exports", wish | more, 202)
    all_written()
    shown: dict[str, Any] = staff.get(f"exports/{row['id']}")
    assert shown["status"] == "ready"
    return shown


def workbook_of(content: bytes) -> dict[str, list[dict[str, Any]]]:
    """Each sheet as its rows by the names in the first one."""
    book = load_workbook(io.BytesIO(content))
    found: dict[str, list[dict[str, Any]]] = {}
    for sheet in book:
        names, *rows = (list(row) for row in sheet.iter_rows(values_only=True))
        found[sheet.title] = [dict(zip(map(str, names), row, strict=True)) for row in rows]
    return found


def told(one: dict[str, Any], name: str) -> Any:
    """A figure of the JSON, by the name of a column."""
    weeks, pain = one["weeks_on_target"], one.get("pain_during", {})
    low, high = one.get("quartiles", (None, None))
    flat = one | {
        "weeks": weeks["of"], "weeks_on_target": weeks["on_target"],
        "weeks_current": weeks.get("current"), "weeks_longest": weeks.get("longest"),
        "pain_during_median": pain.get("median"), "pain_during_worst": pain.get("worst"),
        "quartile_low": low, "quartile_high": high,
    }  # fmt: skip
    return flat.get(name, flat["key"] if name in KEYS else None)


KEYS = {"week", "exercise_kind", *(f"{name}_id" for name in GROUPINGS)}


# --- The same figures -------------------------------------------------------------------------


def test_csv_is_what_the_address_answers(cleo: Staff, cohort: Any) -> None:
    for grouping in GROUPINGS:
        shown = made(cleo, "csv", group_by=grouping)
        content = file_of(cleo, shown["id"])

        asked = f"{ADDRESS}&group_by={grouping}"
        assert content == cleo.call("GET", asked, Accept="text/csv").content
        assert shown["rows"] == len(cleo.get(asked)["groups"]) > 0
        assert shown["size"] == len(content)
        assert shown["sha256"] == hashlib.sha256(content).hexdigest()


def test_a_workbook_has_every_figure_as_a_number(cleo: Staff, cohort: Any) -> None:
    for grouping in GROUPINGS:
        sheets = workbook_of(file_of(cleo, made(cleo, "xlsx", group_by=grouping)["id"]))
        groups = {one["key"]: one for one in cleo.get(f"{ADDRESS}&group_by={grouping}")["groups"]}

        assert list(sheets) == ["Report", "Days", "Definitions", "About"]
        rows = sheets["Report"]
        [key] = KEYS.intersection(rows[0])
        assert {row[key] for row in rows} == groups.keys()
        for row in rows:
            for name, value in row.items():
                assert value == told(groups[row[key]], name), (row[key], name)
        for row, letters in zip(rows, sheets["Days"], strict=True):
            assert "".join([*letters.values()][1:]) == row["days"]


def test_what_is_asked_narrows_the_file(cleo: Staff, ana: Staff, dan: Staff, cohort: Any) -> None:
    for more in (
        {"min_due": 20}, {"target": 0.25}, {"phase_id": "phase-2"},
        {"physiotherapist_id": str(dan.user.pk)}, {"physiotherapist_id": str(ana.user.pk)},
    ):  # fmt: skip
        shown = made(cleo, "csv", **more)
        query = "".join(f"&{name}={value}" for name, value in more.items())
        answer = cleo.call("GET", ADDRESS + query, Accept="text/csv")
        assert file_of(cleo, shown["id"]) == answer.content
        assert shown.items() >= more.items()


def test_a_workbook_says_what_it_is(cleo: Staff, cohort: Any) -> None:
    content = file_of(cleo, made(cleo, "xlsx", target=0.6)["id"])
    book = load_workbook(io.BytesIO(content))
    about = {row[0]: row[1] for row in book["About"].iter_rows(values_only=True)}
    answer = cleo.get(f"{ADDRESS}&target=0.6")

    assert about["Clinic"] == "Harbour"
    assert about["Purpose"] == "Für den Beirat"
    assert about["Asked for by"] == "Cleo Staff"
    assert (about["From"], about["To"]) == ("2026-03-02", "2026-03-29")
    assert str(about["As of"]).startswith(answer["as_of"][:10])
    for name in ("pooled_session_adherence", "pooled_session_adherence_low", "due", "done"):
        assert about[name] == answer["total"][name]
    assert about["quartile_low"], about["quartile_high"] == answer["total"]["quartiles"]
    report = book["Report"]
    assert (report.freeze_panes, report.auto_filter.ref) == ("C2", "A1:Y9")
    shares = [cell for cell in report[2] if isinstance(cell.value, float)]
    assert {cell.number_format for cell in shares} >= {"0.00%"}
    said = " ".join(str(row[1]) for row in book["Definitions"].iter_rows(values_only=True))
    assert "the dose ratios of done slots, added up, ÷ due" in said


def test_texts_never_run_in_a_workbook(cleo: Staff, cohort: Any) -> None:
    content = file_of(cleo, made(cleo, "xlsx", purpose='=cmd|"x"!A1')["id"])
    book = load_workbook(io.BytesIO(content))

    cells = [cell for sheet in book for row in sheet for cell in row]
    assert {cell.value for cell in cells} >= {"=HYPERLINK(1) Patient", '=cmd|"x"!A1'}
    assert {cell.data_type for cell in cells} <= {"s", "n", "d", "b"}, "no formula"
    assert {cell.quotePrefix for cell in cells if str(cell.value).startswith("=")} == {True}


def test_definitions_are_those_of_the_page() -> None:
    terms = {block.cells[0] for block in definitions() if block.kind == "row"}
    headings = [block.cells[0] for block in definitions() if block.kind == "heading"]

    assert headings == list(SECTIONS)
    assert terms >= {"due", "session_adherence", "session_adherence_low", "dose_adherence"}
    assert not [one for block in definitions() for one in block.cells if set(one) & set("`|*")]
    dockerfile = Path("Dockerfile").read_text()
    assert "COPY docs/adherence.md docs/adherence.md" in dockerfile, "a worker reads it"


# --- Whole, resumed, recorded -----------------------------------------------------------------


@pytest.mark.parametrize("format", ["csv", "xlsx", "pdf"])
def test_a_writer_who_died_is_gone_on_from(
    cleo: Staff, cohort: Any, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = UUID(cleo.post("exports", wish(format), 202)["id"])
    now = timezone.now()
    assert exports.write(export_id=id, now=now), "the figures are gathered"
    assert cleo.get(f"exports/{id}")["progress"] == 0.5
    monkeypatch.setattr(exports, "_end", lambda *_: 1 / 0)  # dies as the file is being stored
    with pytest.raises(ZeroDivisionError):
        exports.write(export_id=id, now=now)
    monkeypatch.undo()
    assert not exports.write(export_id=id, now=now), "its lease goes on"

    Patient.objects.update(last_received_at=now)  # figures of now would be others
    assert not exports.write(export_id=id, now=now + exports.LEASE)

    row, content = Export.objects.get(pk=id), file_of(cleo, str(id))
    assert row.sha256 == hashlib.sha256(content).hexdigest()
    assert (row.size, row.rows) == (len(content), len(NAMES))
    if format == "csv":
        assert {one["not_heard"] for one in rows_of(content)} > {"0"}, "as they were gathered"


def wish(format: str, **more: Any) -> dict[str, Any]:
    return {
        "kind": "adherence", "format": format, **WINDOW, "de_identified": False,
        "purpose": "Yearly review",
    } | more  # fmt: skip


def rows_of(content: bytes) -> list[dict[str, str]]:
    preamble, rest = content.split(b"\r\n", 1)
    assert preamble.startswith(b"# definition,adherence-1,from,2026-03-02,to,2026-03-29")
    return table(rest)


def test_equal_figures_make_equal_pdfs(cleo: Staff, cohort: Any) -> None:
    first, second = (made(cleo, "pdf") for _ in range(2))
    assert first["sha256"] == second["sha256"]


def test_each_download_is_on_record(cleo: Staff, cohort: Any) -> None:
    shown = made(cleo, "pdf")
    answer = cleo.call("GET", f"exports/{shown['id']}/file")
    assert answer["Content-Type"] == "application/pdf"
    assert answer["Content-Disposition"].endswith('adherence-2026-03-02-2026-03-29.pdf"')
    assert b"".join(answer).startswith(b"%PDF-1.4")

    events = AuditEvent.objects.filter(object_id=shown["id"], action="export_file")
    assert events.count() == 1
    assert exports.throw_away(now=timezone.now() + 25 * timedelta(hours=1)) == 1
    assert not ExportPart.objects.exists()


def test_queries_do_not_grow_with_patients(cleo: Staff, cohort: Any) -> None:
    def asked(**more: Any) -> int:
        row = cleo.post("exports", wish("xlsx", heatmap="day", **more), 202)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            all_written()
        assert cleo.get(f"exports/{row['id']}")["status"] == "ready"
        return len(queries)

    few, many = asked(min_due=45), asked()
    assert few == many < 50


@pytest.mark.parametrize(("format", "limit"), [("pdf", "MOST_ON_PAPER")])
def test_what_nobody_could_read_is_refused(
    cleo: Staff, cohort: Any, format: str, limit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exports, limit, 7)
    problem = cleo.post("exports", wish(format), 422)
    assert (problem["code"], problem["rows"], problem["most"]) == ("export-too-large", 8, 7)
    assert made(cleo, format, group_by="week")["rows"] == 4


@pytest.mark.django_db(transaction=True)
def test_figures_are_read_in_a_transaction_of_their_own(
    library: None, cleo: Staff, clock: Any
) -> None:
    """As a worker does it, with no transaction around."""
    id = UUID(cleo.post("exports", wish("csv"), 202)["id"])
    with CaptureQueriesContext(connection) as queries:
        assert exports.write(export_id=id, now=timezone.now())
    assert not exports.write(export_id=id, now=timezone.now())

    said = [query["sql"] for query in queries]
    opened = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
    own = opened if connection.vendor == "postgresql" else "BEGIN"
    first = next(place for place, sql in enumerate(said) if sql.endswith(own))
    assert "care_closedday" not in " ".join(said[:first])
    assert "care_closedday" in " ".join(said[first:])
    assert Export.objects.get(pk=id).status == "ready"


# --- De-identified ----------------------------------------------------------------------------


def test_a_de_identified_report_names_nobody(cleo: Staff, ana: Staff, cohort: Any) -> None:
    young = cohort[0].patient.pk
    Patient.objects.filter(pk=young).update(birth_date="2010-01-01")
    keys = []
    for format in ("csv", "xlsx"):
        content = file_of(cleo, made(cleo, format, de_identified=True)["id"])
        rows = rows_of(content) if format == "csv" else workbook_of(content)["Report"]
        assert len(rows) == len(NAMES) - 1, "nobody else is of that age"
        assert {(str(row["age_from"]), str(row["age_to"])) for row in rows} == {("20", "29")}
        assert {row["label"] or "" for row in rows} == {""}
        assert "days" not in rows[0]
        keys.append({row["patient_id"] for row in rows})
        for one in cohort:
            assert str(one.patient.pk).encode() not in content
    assert keys[0].isdisjoint(keys[1])
    about = {row["Clinic"]: row["Harbour"] for row in workbook_of(content)["About"]}
    assert (about["Left out"], about["patients"]) == ("1", 7), "not in the total either"
    assert "Asked for by" not in about
    assert "Data until" not in about


def test_small_groups_are_left_out_and_no_total_tells_of_them(
    cleo: Staff, dan: Staff, cohort: Any
) -> None:
    few = [one.patient.pk for one in cohort[:3]]
    Patient.objects.filter(pk__in=few).update(physiotherapist=dan.user)

    wished = {"group_by": "physiotherapist", "de_identified": True}
    sheets = workbook_of(file_of(cleo, made(cleo, "xlsx", **wished)["id"]))
    [row] = sheets["Report"]
    assert (row["patients"], row["label"], row["small"]) == (5, None, False)
    assert "Staff" not in str(sheets)
    about = {row["Clinic"]: row["Harbour"] for row in sheets["About"]}
    assert about["Left out"] == "1"
    assert "due" not in about


# --- Paper ------------------------------------------------------------------------------------

HAS_OFFICE = shutil.which("soffice") is not None
HAS_POPPLER = shutil.which("pdftotext") is not None and shutil.which("pdftoppm") is not None


def pages_of(content: bytes, folder: Path) -> list[str]:
    path = folder / "report.pdf"
    path.write_bytes(content)
    text = subprocess.run(
        ["pdftotext", "-layout", path, "-"], check=True, capture_output=True, timeout=60
    ).stdout.decode()
    return text.split("\f")[:-1]


@pytest.mark.skipif(not HAS_POPPLER, reason="pdftotext is not installed")
@pytest.mark.parametrize("grouping", ["patient", "physiotherapist", "week"])
def test_a_pdf_says_the_same_figures(
    cleo: Staff, cohort: Any, tmp_path: Path, grouping: str
) -> None:
    Clinic.objects.update(name="Praxis für Physiotherapie Grünwald & Söhne")
    pages = pages_of(file_of(cleo, made(cleo, "pdf", group_by=grouping)["id"]), tmp_path)
    answer = cleo.get(f"{ADDRESS}&group_by={grouping}")
    text = " ".join(" ".join(pages).split())

    for number, page in enumerate(pages, 1):
        assert f"page {number} of {len(pages)}" in " ".join(page.split())
        assert "Praxis für Physiotherapie Grünwald & Söhne" in page
    total = answer["total"]
    for name in ("pooled_session_adherence", "pooled_session_adherence_low",
                 "median_session_adherence"):  # fmt: skip
        assert f"{total[name]:.2%}".replace("%", " %") in text
    assert f"{total['done']} of {total['due']}" in text
    for one in answer["groups"]:
        label = one["label"].replace("山田", NO_SIGN * 2)
        [line] = [
            line for page in pages for line in page.splitlines()
            if line.strip().startswith(label) and f" {one['completed']} " in line
            and f" {one['missed']} " in line and "%" not in line
        ]  # fmt: skip
        figures = re.findall(r"[\d.]+", line.removeprefix(label))
        for name in ("session_adherence", "session_adherence_low", "dose_adherence"):
            assert f"{one[name] * 100:.2f}" in figures
    for said in ("Heat map", "completed", "not heard", "How this is counted", "done ÷ due"):
        assert said in text


def test_letters_that_the_font_lacks_are_seen_to_be_missing() -> None:
    assert written("Łukasz Żółć, Ελένη, Иван, Đặng, Jörg") == "Łukasz Żółć, Ελένη, Иван, Đặng, Jörg"
    assert written("山田 שרה") == "□□ □□□"
    assert written("An\u0301a\tB") == "Ańa B", "in one piece, and without a tab"


@pytest.mark.skipif(not HAS_POPPLER, reason="pdftoppm is not installed")
@pytest.mark.parametrize("last", ["2026-03-02", "2026-03-29", "2027-03-02"])
def test_pages_are_drawn_whatever_the_window(
    cleo: Staff, cohort: Any, tmp_path: Path, last: str
) -> None:
    """A day, four weeks, a year: nothing that a reader of PDF stumbles over."""
    path = tmp_path / "report.pdf"
    path.write_bytes(file_of(cleo, made(cleo, "pdf", to=last)["id"]))
    drawn = subprocess.run(
        ["pdftoppm", "-r", "30", "-png", path, tmp_path / "page"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    assert drawn.stderr == b""
    assert len(list(tmp_path.glob("page*.png"))) >= 2


@pytest.mark.skipif(not HAS_OFFICE, reason="soffice is not installed")
def test_an_office_reads_the_same_figures(cleo: Staff, cohort: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.xlsx"
    path.write_bytes(file_of(cleo, made(cleo, "xlsx")["id"]))
    form = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false,false,false,false,1"
    subprocess.run(
        ["soffice", f"-env:UserInstallation=file://{tmp_path}/profile", "--headless",
         "--convert-to", form, "--outdir", tmp_path, path],
        check=True, capture_output=True, timeout=180,
    )  # fmt: skip
    [out] = tmp_path.glob("*.csv")
    rows = list(csv.DictReader(io.StringIO(out.read_text()), strict=True))
    groups = {one["key"]: one for one in cleo.get(ADDRESS)["groups"]}

    assert {row["patient_id"] for row in rows} == groups.keys()
    for row in rows:
        for name, value in row.items():
            known = told(groups[row["patient_id"]], name)
            if isinstance(known, int | float):
                number = Decimal(value.removesuffix("%")) / (100 if "%" in value else 1)
                assert number == Decimal(str(known)), (name, value)
            else:
                assert value == (known or ""), name
