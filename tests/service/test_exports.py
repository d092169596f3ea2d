"""Files in the background: whole, resumed, checked, gone after a day, and the clinic's alone."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from openpyxl import load_workbook

from backend.audit.models import AuditEvent
from backend.clinics.models import Patient
from backend.reports import exports
from backend.reports.models import Export, ExportPart
from tests.service.cast import make_episode, make_patient

pytestmark = pytest.mark.django_db


@pytest.fixture
def wish(ben):
    def wished(**more: Any) -> dict[str, Any]:
        today = ben.today
        return {
            "kind": "sessions", "format": "csv", "from": (today - timedelta(days=7)).isoformat(),
            "to": today.isoformat(), "de_identified": False, "purpose": "Yearly quality review",
        } | more  # fmt: skip

    return wished


@pytest.fixture
def logged(ana, ben, plan_of_ben):
    ben.logs(ben.slot(), plan_of_ben, pain_during=3, effort=6.5)


def written(*, parts: int = 100) -> None:
    for _ in range(parts):
        if not any(
            exports.write(export_id=id, now=timezone.now())
            for id in exports.due(now=timezone.now(), limit=10)
        ):
            break


def file_of(staff: Any, id: str) -> bytes:
    answer = staff.call("GET", f"exports/{id}/file")
    assert answer.status_code == 200, answer.content
    content: bytes = answer.content
    return content


def table(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode()), strict=True))


def test_a_file_is_asked_for_written_and_fetched(cleo, ben, logged, wish):
    made = cleo.post("exports", wish(), 202)
    assert (made["status"], made["progress"]) == ("queued", 0)

    written()

    shown = cleo.get(f"exports/{made['id']}")
    content = file_of(cleo, made["id"])
    assert (shown["status"], shown["progress"], shown["rows"]) == ("ready", 1, 1)
    assert shown["sha256"] == hashlib.sha256(content).hexdigest()
    assert shown["size"] == len(content)
    [row] = table(content)
    assert row["patient_id"] == str(ben.patient.pk)
    assert (row["pain_during"], row["effort"], row["outcome"]) == ("3", "6.5", "completed")
    assert (row["protocol"], row["late"]) == ("hs-grade-1", "false")


def test_lines_of_json_say_the_same(cleo, ben, logged, wish):
    made = cleo.post("exports", wish(format="ndjson"), 202)
    written()

    [line] = file_of(cleo, made["id"]).splitlines()
    said = json.loads(line)
    assert (said["family_name"], said["pain_during"], said["late"]) == ("Patient", 3, False)


def test_a_workbook_says_the_same_with_dates_and_numbers(cleo, ben, logged, wish):
    Patient.objects.filter(pk=ben.patient.pk).update(family_name="=1+1")
    made = cleo.post("exports", wish(format="xlsx"), 202)
    written()

    book = load_workbook(io.BytesIO(file_of(cleo, made["id"])))
    names, cells = book["Sessions"].iter_rows()
    row: dict[Any, Any] = {name.value: cell for name, cell in zip(names, cells, strict=True)}
    assert row["local_date"].value.date() == ben.today
    assert (row["pain_during"].value, row["late"].value) == (3, False)
    assert (row["family_name"].value, row["family_name"].data_type) == ("=1+1", "s")
    assert [cell.value for cell in next(book["About"].iter_rows())] == ["Clinic", "Harbour"]


def test_a_workbook_that_would_be_too_large_is_refused_at_once(
    cleo, ben, logged, wish, monkeypatch
):
    monkeypatch.setattr(exports, "MOST_IN_A_WORKBOOK", 0)
    problem = cleo.post("exports", wish(format="xlsx"), 422)

    assert (problem["code"], problem["rows"], problem["most"]) == ("export-too-large", 1, 0)
    cleo.post("exports", wish(format="csv"), 202)


def test_what_takes_long_is_begun_early(cleo, ben, wish):
    made = {
        (kind, format): UUID(cleo.post("exports", wish(kind=kind, format=format), 202)["id"])
        for kind, format in (("sessions", "csv"), ("sessions", "xlsx"), ("adherence", "csv"))
    }
    now = timezone.now()

    assert set(exports.due(now=now, limit=9)) == set(made.values())
    assert exports.due(now=now, limit=9, is_early=False) == [made["sessions", "csv"]]


def test_without_logs_there_is_a_head(cleo, ben, wish):
    made = cleo.post("exports", wish(), 202)
    written()

    assert cleo.get(f"exports/{made['id']}")["rows"] == 0
    assert file_of(cleo, made["id"]).startswith(b"patient_id,family_name")


def test_a_writer_who_died_is_gone_on_from(cleo, ben, bea, logged, wish, monkeypatch):
    monkeypatch.setattr(exports, "PATIENTS_A_PART", 1)
    whole = cleo.post("exports", wish(), 202)
    written()
    made = cleo.post("exports", wish(), 202)
    now = timezone.now()
    assert exports.write(export_id=UUID(made["id"]), now=now)
    Export.objects.filter(pk=made["id"]).update(attempt_due_at=now + exports.LEASE)  # claimed, died

    assert not exports.write(export_id=UUID(made["id"]), now=now)
    later = now + exports.LEASE
    while exports.write(export_id=UUID(made["id"]), now=later):
        pass

    assert file_of(cleo, made["id"]) == file_of(cleo, whole["id"])


def test_what_fails_again_and_again_is_given_up(cleo, ben, wish, monkeypatch):
    made = cleo.post("exports", wish(), 202)
    monkeypatch.setattr(exports, "_go_on", lambda *_: 1 / 0)
    at = timezone.now()
    for _ in range(exports.MOST_TRIES):
        with pytest.raises(ZeroDivisionError):
            exports.write(export_id=UUID(made["id"]), now=at)
        at += exports.LEASE

    assert not exports.write(export_id=UUID(made["id"]), now=at)
    assert cleo.get(f"exports/{made['id']}")["status"] == "failed"
    assert cleo.get(f"exports/{made['id']}/file", 409)["code"] == "export-not-ready"


def test_a_file_lives_for_a_day(cleo, ben, logged, wish):
    made = cleo.post("exports", wish(), 202)
    written()

    assert exports.throw_away(now=timezone.now() + timedelta(hours=23)) == 0
    assert exports.throw_away(now=timezone.now() + timedelta(hours=25)) == 1
    assert not ExportPart.objects.exists()
    assert cleo.get(f"exports/{made['id']}")["status"] == "expired"
    cleo.get(f"exports/{made['id']}/file", 409)


def test_cells_that_spreadsheets_would_run_are_defused(cleo, ben, logged, wish):
    Patient.objects.filter(pk=ben.patient.pk).update(family_name='=HYPERLINK("x")', given_name="-1")
    made = cleo.post("exports", wish(), 202)
    written()

    [row] = table(file_of(cleo, made["id"]))
    assert row["family_name"] == '\'=HYPERLINK("x")'
    assert row["given_name"] == "'-1"


# --- De-identified ----------------------------------------------------------------------------


@pytest.fixture
def alike(ana, harbour, grade_1, now):
    """Five people of one age with the same protocol, each with a session."""
    people = []
    for number in range(5):
        one = make_patient(harbour, f"Alike{number}", now, ana.user)
        plan = ana.assigns(
            grade_1, to=one.patient, episode=make_episode(one.patient, ana.user, now), on=one.today
        )
        one.logs(one.slot(), plan)
        people.append(one)
    return people


def test_a_de_identified_file_names_nobody(cleo, alike, wish):
    made = cleo.post("exports", wish(de_identified=True), 202)
    written()

    content = file_of(cleo, made["id"])
    rows = table(content)
    assert len({row["patient"] for row in rows}) == 5
    assert {(row["age_from"], row["age_to"], row["day_of_plan"]) for row in rows} == {
        ("30", "39", "1")
    }
    for one in alike:
        for said in (str(one.patient.pk), one.patient.given_name, one.patient.pk.hex):
            assert said.encode() not in content
    assert one.today.isoformat().encode() not in content


def test_pseudonyms_are_new_in_each_file(cleo, alike, wish):
    names = []
    for _ in range(2):
        made = cleo.post("exports", wish(de_identified=True), 202)
        written()
        names.append({row["patient"] for row in table(file_of(cleo, made["id"]))})

    assert names[0].isdisjoint(names[1])
    assert set(Export.objects.values_list("secret", flat=True)) == {""}


def test_few_who_are_alike_are_left_out(cleo, ben, logged, wish):
    made = cleo.post("exports", wish(de_identified=True), 202)
    written()

    assert cleo.get(f"exports/{made['id']}")["rows"] == 0


# --- Whose it is ------------------------------------------------------------------------------


def test_nobody_else_sees_it(cleo, ana, olga, ben, logged, wish):
    made = cleo.post("exports", wish(), 202)
    written()

    for path in (f"exports/{made['id']}", f"exports/{made['id']}/file"):
        olga.get(path, 404)
        ana.get(path, 403)
        ben.get(path, 403)
    assert olga.get("exports")["items"] == []


def test_the_other_clinics_patients_are_not_in_it(olga, ben, logged, wish):
    made = olga.post("exports", wish(), 202)
    written()

    assert olga.get(f"exports/{made['id']}")["rows"] == 0


def test_each_fetch_leaves_an_audit_event(cleo, ben, logged, wish):
    made = cleo.post("exports", wish(), 202)
    written()
    file_of(cleo, made["id"])
    file_of(cleo, made["id"])

    events = AuditEvent.objects.filter(object_id=made["id"]).order_by("at")
    assert list(events.values_list("action", flat=True)) == [
        "export_create", "export_file", "export_file",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "pointer", "code"),
    [
        ({"purpose": " "}, "#/purpose", "required"),
        ({"from": "2026-02-30"}, "#/from", "invalid-value"),
        ({"to": "2020-01-01"}, "#/to", "time-order"),
        ({"from": "2010-01-01"}, "#/to", "out-of-range"),
        ({"kind": "everything"}, "#/kind", "invalid-value"),
        ({"de_identified": "yes"}, "#/de_identified", "invalid-type"),
        ({"format": "pdf"}, "#/format", "invalid-value"),
        ({"kind": "adherence", "format": "ndjson"}, "#/format", "invalid-value"),
        ({"group_by": "week"}, "#/group_by", "unknown-field"),
        ({"kind": "adherence", "from": "2024-01-01"}, "#/to", "out-of-range"),
        ({"kind": "adherence", "group_by": "clinic"}, "#/group_by", "invalid-value"),
        ({"kind": "adherence", "min_due": 10_000}, "#/min_due", "out-of-range"),
        ({"kind": "adherence", "target": 1.1}, "#/target", "out-of-range"),
        ({"kind": "adherence", "target": 0.33333}, "#/target", "invalid-value"),
        ({"kind": "adherence", "heatmap": "week"}, "#/heatmap", "invalid-value"),
    ],
)
def test_a_wrong_wish_is_refused(cleo, wish, said, pointer, code):
    problem = cleo.post("exports", wish(**said), 422)

    assert [(one["pointer"], one["code"]) for one in problem["errors"]] == [(pointer, code)]


def test_a_clinic_waits_for_its_files(cleo, ben, wish):
    for _ in range(exports.MOST_PENDING):
        cleo.post("exports", wish(), 202)

    assert cleo.post("exports", wish(), 409)["code"] == "state-conflict"
