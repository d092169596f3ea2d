"""A patient's rights: a copy of everything, being forgotten, and when a record has to be kept."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from io import StringIO
from typing import Any
from uuid import UUID

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import connection, models
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backend import tasks
from backend.audit import chain
from backend.audit.models import AuditEvent
from backend.clinics.models import Clinic, Patient, User
from backend.reports import exports
from backend.reports.models import Export, ExportPart
from backend.rights import belongings, copying, erasing, ledger
from backend.rights.models import Erasure
from tests.service.cast import OwnPhone, Staff, make_episode, make_patient, make_reminder

pytestmark = pytest.mark.django_db

# Models that lead to a patient or an account and are not the person's: what they are instead.
NOT_OF_A_PATIENT = {
    "clinics.ServiceToken": "of a clinic; made by its admin",
    "protocols.ProtocolVersion": "of a clinic; published by staff",
    "protocols.ProtocolDraft": "of a clinic; written by staff",
    "reports.Export": "of a clinic; withdrawn when somebody in it is erased",
    "reports.ExportPart": "the same",
    "clinics.User_groups": "operators alone have groups",
    "clinics.User_user_permissions": "operators alone have permissions",
}


@pytest.fixture(autouse=True)
def a_ledger(settings: Any, tmp_path: Any) -> None:
    settings.ERASURE_LEDGER = str(tmp_path / "erasures.jsonl")


@pytest.fixture
def lived(ana: Staff, ben: OwnPhone, plan_of_ben: Any, now: Any) -> OwnPhone:
    """Ben, with something in every table."""
    ben.logs(ben.slot(), plan_of_ben, note="a session")
    ben.checks_in(note="a check-in", stop_signs=["night_pain"])
    ben.put("me/devices/0193448e-5d2a-7c11-9a4e-3b1f5d6c7e80", {
        "platform": "ios", "app_version": "1", "push_token": "a secret token",
    })  # fmt: skip
    ben.patch("me/reminder-settings", {"enabled": True, "times": ["17:00"]})
    make_reminder(ben, now)
    return ben


def erased(patient: Patient, *, reason: str = "asked") -> None:
    erasing.decide(patient=patient, reason=reason, by=None, now=timezone.now())
    later = timezone.now() + erasing.GRACE
    for id in erasing.due(now=later, limit=10):
        assert erasing.erase(erasure_id=id, now=later)


# --- What there is of a person ----------------------------------------------------------------


def reaching() -> set[str]:
    """Every model from which foreign keys lead to a patient or an account, however far."""
    found: set[type[models.Model]] = {Patient, User}
    every = apps.get_models(include_auto_created=True)
    while more := {
        model
        for model in every
        if model not in found
        for field in model._meta.concrete_fields
        if field.related_model in found
    }:
        found |= more
    return {model._meta.label for model in found}


def test_no_table_of_a_person_is_forgotten() -> None:
    listed = {table.model._meta.label for table in belongings.TABLES}
    assert reaching() == listed | NOT_OF_A_PATIENT.keys()
    for model in apps.get_models():
        ids = {"patient_id", "about"} & {field.attname for field in model._meta.concrete_fields}
        assert not ids or model._meta.label in {*listed, "audit.AuditEvent", "rights.Erasure"}


def test_what_a_copy_leaves_out_says_why() -> None:
    for table in belongings.TABLES:
        assert bool(table.shown) != bool(table.why), table.label
    hidden = {f"{one.label}.{name}" for one in belongings.TABLES for name in one.hidden}
    assert hidden == {
        "care.Assignment.standing", "care.Assignment.carried",  # made anew of what is there
        "clinics.Device.push_token", "clinics.Invitation.locator", "clinics.User.password",
        "usersessions.UserSession.session_key",  # who has these can pass as the person
    }  # fmt: skip


# --- The copy ---------------------------------------------------------------------------------


def test_a_copy_has_every_row_and_column_of_the_person_alone(
    lived: OwnPhone, ana: Staff, bea: OwnPhone
) -> None:
    ana.get(f"patients/{lived.patient.pk}")
    ana.get("patients")
    bea.checks_in(note="of another")

    told = lived.get("me/data")

    assert list(told) == copying.members()
    person = belongings.Person.of(Patient.objects.get(pk=lived.patient.pk))
    for table in belongings.TABLES:
        if table.shown:
            wanted = belongings.rows(table, person).count()
            assert len(told[table.shown]) == wanted, table.label
    [session] = told["sessions"]
    assert session["content"]["note"] == "a session"
    assert told["person"][0]["given_name"] == "Ben"
    assert {one["name"] for one in told["people"]} == {"Ana Staff"}
    seen = [event["action"] for event in told["audit_events"]]
    assert seen[-2:] == ["patient_get", "patient_list"]
    text = json.dumps(told)
    assert "a secret token" not in text
    assert str(bea.patient.pk) not in text


def test_a_copy_leaves_one_event_and_is_for_oneself(
    lived: OwnPhone, ana: Staff, nobody: Any
) -> None:
    lived.get("me/data")
    event = AuditEvent.objects.get(action="my_data")
    assert (event.patient_id, event.actor_role) == (lived.patient.pk, "patient")
    ana.get("me/data", 403)
    nobody.get("me/data", 401)


def test_a_copy_takes_as_many_queries_for_much_as_for_little(lived: OwnPhone) -> None:
    def queries() -> int:
        with CaptureQueriesContext(connection) as told:
            lived.get("me/data")
        return len(told)

    queries()
    few = queries()
    for _ in range(20):
        lived.checks_in()
    assert queries() == few


def test_who_withdrew_consent_gets_a_copy_and_may_ask_to_be_forgotten(ben: OwnPhone) -> None:
    ben.patch("me", {"consents": [{"code": "health_data", "granted": False}]})
    ben.get("me/data")
    ben.put("me/erasure-request", None)


# --- Asking, holding, deciding ----------------------------------------------------------------


def test_a_patient_asks_the_clinic_sees_it_and_it_can_be_taken_back(
    ben: OwnPhone, bea: OwnPhone, cleo: Staff
) -> None:
    assert cleo.get("patients?asks=erasure")["items"] == []
    asked = ben.put("me/erasure-request", None)["asked_at"]
    assert ben.put("me/erasure-request", None) == {"asked_at": asked}  # the first time counts
    assert ben.get("me")["erasure_asked_at"] == asked
    [shown] = cleo.get("patients?asks=erasure")["items"]
    assert (shown["id"], shown["erasure_asked_at"]) == (str(ben.patient.pk), asked)

    ben.delete("me/erasure-request")
    assert "erasure_asked_at" not in ben.get("me")
    events = AuditEvent.objects.filter(actor_id=ben.patient.user_id).order_by("at")
    assert [event.action for event in events] == [
        "erasure_ask", "erasure_ask", "erasure_take_back",
    ]  # fmt: skip


def tag(staff: Staff, patient: Patient) -> str:
    etag: str = staff.call("GET", f"patients/{patient.pk}")["ETag"]
    return etag


def test_a_legal_hold_refuses_with_its_reason_until_it_is_lifted(
    ben: OwnPhone, cleo: Staff
) -> None:
    place, why = f"patients/{ben.patient.pk}", "A claim before the court"
    cleo.put(f"{place}/legal-hold", {"reason": why})
    assert cleo.get(place)["legal_hold"]["reason"] == why
    assert ben.put("me/erasure-request", None)["legal_hold"]["reason"] == why

    problem = cleo.post(
        f"{place}/erasure", {"reason": "asked"}, 409, If_Match=tag(cleo, ben.patient)
    )
    assert (problem["code"], problem["detail"]) == ("legal-hold", why)
    assert not Erasure.objects.exists()

    cleo.delete(f"{place}/legal-hold")
    cleo.post(f"{place}/erasure", {"reason": "asked"}, 202, If_Match=tag(cleo, ben.patient))
    problem = cleo.put(f"{place}/legal-hold", {"reason": why}, 409)
    assert problem["code"] == "erasure-decided"
    assert why not in json.dumps(list(AuditEvent.objects.values("before", "after")))


def test_only_who_runs_the_clinic_decides_and_has_read_the_record(
    ben: OwnPhone, ana: Staff, cleo: Staff, olga: Staff
) -> None:
    place = f"patients/{ben.patient.pk}/erasure"
    cleo.post(place, {"reason": "asked"}, 428)
    cleo.post(place, {"reason": "asked"}, 412, If_Match='"old"')
    cleo.post(place, {"reason": "retention"}, 422, If_Match=tag(cleo, ben.patient))
    for who, status in ((ana, 403), (ben, 403), (olga, 404)):
        who.post(place, {"reason": "asked"}, status, If_Match="*")
    assert not Erasure.objects.exists()


def test_the_account_ends_with_the_decision(ben: OwnPhone, cleo: Staff) -> None:
    place = f"patients/{ben.patient.pk}/erasure"
    first = cleo.post(place, {"reason": "asked"}, 202, If_Match="*")
    ben.get("me", 401)
    assert cleo.post(place, {"reason": "mistake"}, 202, If_Match="*") == first


# --- Being forgotten --------------------------------------------------------------------------


def test_nothing_is_left_and_the_audit_stands(
    lived: OwnPhone, cleo: Staff, harbour: Clinic
) -> None:
    patient = Patient.objects.get(pk=lived.patient.pk)
    person = belongings.Person.of(patient)
    cleo.get(f"patients/{patient.pk}")

    erased(patient)

    for table in belongings.TABLES:
        assert not belongings.rows(table, person).exists(), table.label
    cleo.get(f"patients/{patient.pk}", 404)
    about = AuditEvent.objects.filter(patient_id=patient.pk).order_by("at")
    assert {"patient_get", "erasure_done"} <= {event.action for event in about}
    chain.seal(now=timezone.now(), limit=1000)
    assert chain.verify(clinic_id=harbour.pk, step=lambda _: None).broken is None


def test_others_keep_what_they_have(lived: OwnPhone, bea: OwnPhone) -> None:
    bea.checks_in(note="stays")
    person = belongings.Person.of(Patient.objects.get(pk=bea.patient.pk))

    def of_bea() -> list[Any]:
        return [list(belongings.rows(table, person).values()) for table in belongings.TABLES]

    before = of_bea()
    erased(lived.patient)
    assert of_bea() == before


def test_files_that_name_the_person_are_gone_and_those_under_way_begin_anew(
    lived: OwnPhone, cleo: Staff, now: Any
) -> None:
    today = lived.today.isoformat()
    wish = {"kind": "sessions", "format": "csv", "from": today, "to": today, "purpose": "Review"}
    ready = cleo.post("exports", wish | {"de_identified": False}, 202)["id"]
    unnamed = cleo.post("exports", wish | {"de_identified": True}, 202)["id"]
    tasks.write_exports()
    begun = cleo.post("exports", wish | {"de_identified": False}, 202)["id"]
    assert exports.write(export_id=UUID(begun), now=timezone.now())
    assert b"Patient" in cleo.call("GET", f"exports/{ready}/file").content

    erased(lived.patient)

    assert cleo.get(f"exports/{ready}")["status"] == "expired"
    assert cleo.get(f"exports/{unnamed}")["status"] == "ready"
    assert not ExportPart.objects.filter(export_id__in=[ready, begun]).exists()
    assert Export.objects.get(pk=begun).status == "queued"
    later = timezone.now() + erasing.GRACE
    while exports.write(export_id=UUID(begun), now=later):
        pass
    assert str(lived.patient.pk) not in cleo.call("GET", f"exports/{begun}/file").content.decode()


def test_a_writer_who_had_begun_writes_nothing_of_whom_was_erased(
    lived: OwnPhone, cleo: Staff, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The erasure is committed between his reading of the patients and his part."""
    today = lived.today.isoformat()
    wish = {"kind": "sessions", "format": "csv", "from": today, "to": today, "purpose": "Review"}
    id = UUID(cleo.post("exports", wish | {"de_identified": False}, 202)["id"])
    asks = exports._is_still_ours

    def meanwhile(export: Export, lease: datetime) -> bool:
        erased(lived.patient)
        return asks(export, lease)

    monkeypatch.setattr(exports, "_is_still_ours", meanwhile)
    exports.write(export_id=id, now=timezone.now())
    assert not ExportPart.objects.filter(export_id=id).exists()


def test_who_dies_half_way_is_followed_by_another(
    lived: OwnPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ledger has it, the rows are all there; the next try is through."""
    erasing.decide(patient=lived.patient, reason="asked", by=None, now=timezone.now())
    later = timezone.now() + erasing.GRACE
    [id] = erasing.due(now=later, limit=10)
    with monkeypatch.context() as broken:
        broken.setattr(erasing, "note_command", lambda **_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            erasing.erase(erasure_id=id, now=later)
    assert Patient.objects.filter(pk=lived.patient.pk).exists()
    assert not erasing.erase(erasure_id=id, now=later)  # the lease is his
    assert erasing.erase(erasure_id=id, now=later + erasing.LEASE)
    assert [one.patient_id for one in ledger.entries()] == [lived.patient.pk] * 2


def test_the_ledger_survives_a_torn_line(ben: OwnPhone, settings: Any) -> None:
    with open(settings.ERASURE_LEDGER, "w") as file:
        file.write('{"clinic_id": "cut')
    erased(ben.patient)
    assert [one.patient_id for one in ledger.entries()] == [ben.patient.pk]


def test_who_came_back_with_a_backup_is_forgotten_once_more(
    ben: OwnPhone, ana: Staff, harbour: Clinic, now: Any
) -> None:
    user = ben.patient.user
    assert user is not None
    kept = Patient.objects.filter(pk=ben.patient.pk).values().get()
    account = User.objects.filter(pk=user.pk).values().get()
    erased(ben.patient)
    User.objects.create(**account)
    Patient.objects.create(**kept)
    Erasure.objects.all().delete()

    for told in ("1 were there again", "0 were there again"):
        out = StringIO()
        call_command("erasures", "replay", stdout=out)
        assert told in out.getvalue()
    assert not Patient.objects.filter(pk=ben.patient.pk).exists()
    assert not User.objects.filter(pk=user.pk).exists()
    assert AuditEvent.objects.filter(action="erasure_repeated").count() == 1


def test_the_sweep_does_it_once_its_minute_is_over(ben: OwnPhone) -> None:
    erasing.decide(
        patient=ben.patient, reason="asked", by=None, now=timezone.now() - 2 * erasing.GRACE
    )
    tasks.erase_patients()
    assert not Patient.objects.filter(pk=ben.patient.pk).exists()


# --- Retention --------------------------------------------------------------------------------


def quiet_since(phone: OwnPhone, days: int) -> None:
    then = timezone.now() - timedelta(days=days)
    Patient.objects.filter(pk=phone.patient.pk).update(created_at=then, updated_at=then)


def swept() -> list[str]:
    tasks.erase_patients()
    return sorted(Erasure.objects.values_list("reason", flat=True))


@pytest.mark.parametrize(
    ("days", "held", "wanted"),
    [
        pytest.param(500, False, ["retention"], id="long ago"),
        pytest.param(300, False, [], id="not so long"),
        pytest.param(500, True, [], id="held"),
    ],
)
def test_a_clinic_keeps_nobody_longer_than_it_says(
    ben: OwnPhone, cleo: Staff, harbour: Clinic, days: int, held: bool, wanted: list[str]
) -> None:
    assert swept() == []
    cleo.patch("clinic", {"retention_months": 12}, If_Match=cleo.call("GET", "clinic")["ETag"])
    if held:
        cleo.put(f"patients/{ben.patient.pk}/legal-hold", {"reason": "A claim"})
    quiet_since(ben, days)
    assert swept() == wanted
    events = AuditEvent.objects.filter(actor_role="retention")
    assert [event.patient_id for event in events] == [ben.patient.pk] * len(wanted)


def test_whoever_has_a_plan_or_was_seen_stays(
    ben: OwnPhone, bea: OwnPhone, ana: Staff, plan_of_ben: Any, harbour: Clinic, now: Any
) -> None:
    """Ben has a plan; of Bea something was noted lately."""
    make_episode(bea.patient, ana.user, now)
    Clinic.objects.update(retention_months=12)
    for phone in (ben, bea):
        quiet_since(phone, 500)
    assert swept() == []


def test_a_dry_run_says_whom(ben: OwnPhone, bea: OwnPhone, cleo: Staff, harbour: Clinic) -> None:
    Clinic.objects.update(retention_months=12)
    cleo.put(f"patients/{bea.patient.pk}/legal-hold", {"reason": "A claim"})
    for phone in (ben, bea):
        quiet_since(phone, 500)
    out = StringIO()
    call_command("retention", stdout=out)
    lines = out.getvalue().splitlines()
    assert any(str(ben.patient.pk) in line and "held" not in line for line in lines)
    assert any(str(bea.patient.pk) in line and "held" in line for line in lines)
    assert not Erasure.objects.exists()


def test_many_are_taken_in_batches(harbour: Clinic, ana: Staff, now: Any, monkeypatch: Any) -> None:
    Clinic.objects.update(retention_months=12)
    for name in ("Una", "Uli", "Ute"):
        quiet_since(make_patient(harbour, name, now, ana.user), 500)
    monkeypatch.setattr(tasks, "ERASED_A_SWEEP", 2)
    assert len(swept()) == 2
    assert len(swept()) == 3
