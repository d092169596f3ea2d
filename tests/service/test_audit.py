"""Each call of staff about a patient leaves one event, stored together with what it did; so do
commands. A clinic's admin reads them."""

from __future__ import annotations

from datetime import datetime
from io import StringIO
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError
from django.utils import timezone

from backend import tasks
from backend.api import base
from backend.api.base import moment
from backend.audit.models import AuditEvent
from backend.care.models import Assessment
from backend.clinics.models import Clinic, Episode, Patient, User
from tests.service.cast import OwnPhone, Staff
from tests.service.test_patients import NORA


def measured() -> dict[str, Any]:
    now = timezone.now().isoformat()
    return {"code": "nprs_worst", "value": 3, "unit": "0-10", "measured_at": now}


class Last:
    """The one event of the last call. What was there when it was made, or was seen, is known."""

    def __init__(self) -> None:
        self.known: set[UUID] = set()
        self.forget()

    def __call__(self) -> AuditEvent:
        event = AuditEvent.objects.exclude(pk__in=self.known).get()
        self.known.add(event.pk)
        return event

    def forget(self) -> None:
        self.known |= set(AuditEvent.objects.values_list("pk", flat=True))


@pytest.fixture
def last(db: None) -> Last:
    return Last()


def test_a_role_too_few_is_noted_with_the_patient(
    last: Last, cleo: Staff, ben: OwnPhone, thigh: Episode, olga: Staff
) -> None:
    cleo.get(f"patients/{ben.patient.pk}/sessions", 403)
    event = last()
    assert (event.action, event.patient_id) == ("patient_sessions", ben.patient.pk)
    assert event.outcome == "denied"

    cleo.patch(f"episodes/{thigh.pk}", {"title": "x"}, 403)
    event = last()
    assert (event.patient_id, event.object_id) == (ben.patient.pk, thigh.pk)

    olga.get(f"patients/{ben.patient.pk}", 404)
    event = last()
    assert (event.actor_id, event.patient_id, event.outcome) == (olga.user.pk, None, "refused")
    ben.get(f"patients/{ben.patient.pk}", 403)
    assert AuditEvent.objects.count() == len(last.known)


def test_a_missing_second_factor_is_noted(
    last: Last, ana: Staff, ben: OwnPhone, harbour: Clinic
) -> None:
    Clinic.objects.update(second_factor_required=True)
    ana.get(f"patients/{ben.patient.pk}", 403)

    assert (event := last()).outcome == "denied"
    assert event.patient_id == ben.patient.pk


def test_a_replayed_answer_is_noted_like_the_first(last: Last, ana: Staff, ben: OwnPhone) -> None:
    for path, body in ((f"patients/{ben.patient.pk}/assessments", measured()), ("patients", NORA)):
        key, told = str(uuid4()), []
        for _ in range(2):
            made = ana.post(path, body, 201, Idempotency_Key=key)
            event = last()
            told.append((event.action, event.patient_id, event.object_id, event.outcome))
        assert told[0] == told[1]
        assert UUID(made["id"]) in told[0]


def test_a_refusal_under_a_key_is_noted_as_without_one(
    last: Last, ana: Staff, ben: OwnPhone
) -> None:
    path, wrong, key = f"patients/{ben.patient.pk}/assessments", measured() | {"value": 11}, uuid4()
    told = []
    for headers in ({}, {"Idempotency_Key": str(key)}, {"Idempotency_Key": str(key)}):
        ana.post(path, wrong, 422, **headers)
        event = last()
        told.append((event.action, event.patient_id, event.object_id, event.outcome))
    assert told == [("assessment_create", ben.patient.pk, None, "refused")] * 3


def test_a_write_without_its_event_is_none(
    last: Last, ana: Staff, ben: OwnPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: object) -> None:
        raise OperationalError("disk full")

    path, key = f"patients/{ben.patient.pk}/assessments", str(uuid4())
    with monkeypatch.context() as broken:
        broken.setattr(base, "note", fails)
        assert ana.post(path, measured(), 503)["code"] == "unavailable"
        assert ana.post("patients", NORA, 503, Idempotency_Key=key)
        assert ana.get(f"patients/{ben.patient.pk}", 503)
    assert not Assessment.objects.exists()
    assert Patient.objects.count() == 1
    ana.post("patients", NORA, 201, Idempotency_Key=key)
    assert last().outcome == "ok"


def test_a_failed_write_is_noted_once(
    last: Last, ana: Staff, ben: OwnPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.api.physio.assessments.assessment_shown", lambda row: 1 / 0)
    ana.post(f"patients/{ben.patient.pk}/assessments", measured(), 500)

    event = last()
    assert (event.patient_id, event.object_id, event.outcome) == (ben.patient.pk, None, "failed")


def test_a_list_names_whom_it_showed(last: Last, ana: Staff, ben: OwnPhone, bea: OwnPhone) -> None:
    ana.get("patients?q=Bea")
    assert last().listed == [str(bea.patient.pk)]
    ana.get(f"patients/{ben.patient.pk}")
    assert last().listed == []


def test_a_printed_invitation_is_noted(last: Last, ana: Staff) -> None:
    patient = ana.post("patients", NORA, 201)["id"]
    last()
    page = ana.post(f"patients/{patient}/invitations", None, 201)["print_url"]
    last()
    assert ana.client.get(page).status_code == 200
    event = last()
    assert (event.action, str(event.patient_id)) == ("invitation_print", patient)
    assert event.actor_id == ana.user.pk


def test_who_withdrew_consent_is_read_and_not_written(
    last: Last, ana: Staff, ben: OwnPhone, plan_of_ben: Any, thigh: Episode
) -> None:
    Patient.objects.filter(pk=ben.patient.pk).update(consent_withdrawn_at=timezone.now())
    one = f"patients/{ben.patient.pk}"
    plan = f"assignments/{plan_of_ben['id']}"
    last.forget()
    for path in (one, f"{one}/sessions", f"{one}/assessments", f"{one}/episodes", plan):
        ana.get(path)
        assert last().outcome == "ok"
    step = {"from": ben.today.isoformat(), "reason": "x"}
    writes: list[tuple[str, str, object]] = [
        ("PATCH", one, {"given_name": "B"}),
        ("POST", f"{one}/assessments", measured()),
        ("POST", f"{one}/assignments", {}),
        ("POST", f"{one}/episodes", {}),
        ("POST", f"{one}/invitations", None),
        ("PATCH", f"episodes/{thigh.pk}", {"title": "x"}),
        ("PATCH", plan, {}),
        *(("POST", f"{plan}/{name}", step) for name in ("pause", "resume", "end")),
    ]
    for method, path, body in writes:
        refused = ana.call(method, path, body, If_Match="*")
        assert (refused.status_code, refused.json()["code"]) == (403, "consent-withdrawn"), path
        assert (event := last()).outcome == "denied"
        assert event.patient_id == ben.patient.pk


# --- Reading it -------------------------------------------------------------------------------


def test_what_an_event_tells(last: Last, cleo: Staff, ana: Staff, ben: OwnPhone) -> None:
    ana.post(f"patients/{ben.patient.pk}/assessments", measured(), 201)
    event = last()
    page = cleo.get("audit-events")
    shown = {
        "id": str(event.pk),
        "at": moment(event.at),
        "actor": {"id": str(ana.user.pk), "role": "physiotherapist", "name": "Ana Staff"},
        "action": "assessment_create",
        "object": {"type": "assessment", "id": str(event.object_id)},
        "patient_id": str(ben.patient.pk),
        "outcome": "ok",
        "request_id": str(event.request_id),
        "ip_prefix": "127.0.0.0/24",
    }
    assert page == {"items": [shown], "next_cursor": None}

    tasks.seal_audit()
    sealed = AuditEvent.objects.get(pk=event.pk)
    [own, item] = cleo.get("audit-events")["items"]
    assert item == shown | {"seq": 1, "hash": sealed.hash}
    assert (own["action"], own["actor"]["role"]) == ("audit_list", "clinic_admin")
    assert "object" not in own


def test_a_page_tells_where_it_stands_in_the_chain(cleo: Staff, ana: Staff, ben: OwnPhone) -> None:
    for _ in range(3):
        ana.get(f"patients/{ben.patient.pk}")
    tasks.seal_audit()
    ana.get(f"patients/{ben.patient.pk}")
    hashes = [row.hash for row in AuditEvent.objects.order_by("-at") if row.hash]

    first = cleo.get("audit-events?limit=3&action=patient_get")
    second = cleo.get(f"audit-events?limit=3&action=patient_get&cursor={first['next_cursor']}")
    assert [first["first_hash"], first["last_hash"]] == hashes[:2], "the newest is not in it yet"
    assert [second["first_hash"], second["last_hash"]] == [hashes[2]] * 2
    assert second["next_cursor"] is None
    assert "first_hash" not in cleo.get("audit-events?action=nothing")


def test_every_look_at_it_is_noted(last: Last, cleo: Staff, ana: Staff) -> None:
    for who, path, status in (
        (cleo, "audit-events", 200),
        (cleo, "audit-events?limit=0", 400),
        (cleo, "audit-events?cursor=x", 400),
        (ana, "audit-events", 403),
    ):
        who.get(path, status)
        event = last()
        assert (event.action, event.actor_id) == ("audit_list", who.user.pk)
        assert event.outcome == {200: "ok", 400: "refused", 403: "denied"}[status]


@pytest.fixture
def looked(ana: Staff, cleo: Staff, ben: OwnPhone, bea: OwnPhone, olga: Staff) -> datetime:
    """Some looks, and when the second half of them began."""
    ana.get(f"patients/{ben.patient.pk}")
    ana.get("patients?q=Bea")
    half = timezone.now()
    cleo.get(f"patients/{bea.patient.pk}")
    olga.get("patients")
    return half


def test_filters(looked: datetime, cleo: Staff, ana: Staff, ben: OwnPhone, bea: OwnPhone) -> None:
    half, until = quote(looked.isoformat()), quote(timezone.now().isoformat())
    for asked, found in (
        ("", ["patient_get", "patient_list", "patient_get"]),
        (f"actor_id={ana.user.pk}", ["patient_list", "patient_get"]),
        (f"actor_id={uuid4()}", []),
        (f"patient_id={ben.patient.pk}", ["patient_get"]),
        (f"patient_id={bea.patient.pk}", ["patient_get", "patient_list"]),
        ("action=patient_list", ["patient_list"]),
        ("action=patient", []),
        (f"from={half}", ["patient_get"]),
        (f"from={half}&patient_id={ben.patient.pk}", []),
    ):
        shown = cleo.get(f"audit-events?to={until}&{asked}")["items"]
        assert [one["action"] for one in shown] == found, asked
    shown = cleo.get(f"audit-events?to={half}")["items"]
    assert [one["action"] for one in shown] == ["patient_list", "patient_get"]
    assert shown[0]["listed"] == [str(bea.patient.pk)]
    for wrong in ("from=2026-03-10", "to=x", "actor_id=1", "patient_id=", f"action={'x' * 61}"):
        assert cleo.get(f"audit-events?{wrong}", 400)["code"] == "malformed-request"


def test_a_clinic_reads_its_own(looked: datetime, olga: Staff) -> None:
    assert [one["action"] for one in olga.get("audit-events")["items"]] == ["patient_list"]


def test_a_colleague_who_left_is_an_id(
    looked: datetime, cleo: Staff, ana: Staff, elsewhere: Clinic
) -> None:
    Patient.objects.update(physiotherapist=None)
    User.objects.filter(pk=ana.user.pk).update(clinic=elsewhere, given_name="Secret")
    actors = [one["actor"] for one in cleo.get(f"audit-events?actor_id={ana.user.pk}")["items"]]
    assert actors == [{"id": str(ana.user.pk), "role": "physiotherapist"}] * 2


@pytest.mark.parametrize("size", [1, 40])
def test_a_page_costs_the_same_whatever_is_on_it(
    size: int, cleo: Staff, ana: Staff, ben: OwnPhone, django_assert_num_queries: Any
) -> None:
    for _ in range(size):
        for who in (ana, cleo):
            who.get(f"patients/{ben.patient.pk}")
    with django_assert_num_queries(5):  # session, person, events, names, audit
        cleo.get("audit-events")


# --- Commands ---------------------------------------------------------------------------------


def test_a_switch_is_noted_with_what_it_was(last: Last, cleo: Staff, harbour: Clinic) -> None:
    for wish, before in (("off", True), ("off", False), ("on", False)):
        call_command("proposals", str(harbour.pk), wish, stdout=StringIO())
        event = last()
        assert (event.actor_id, event.actor_role) == (None, "proposals")
        assert (event.action, event.clinic_id) == ("proposals_switch", harbour.pk)
        assert (event.before, event.after) == (
            {"proposals_on": before},
            {"proposals_on": wish == "on"},
        )
    with pytest.raises(CommandError):
        call_command("proposals", str(uuid4()), "on", stdout=StringIO())
    assert AuditEvent.objects.count() == 3
    [shown, *_] = cleo.get("audit-events")["items"]
    assert shown["actor"] == {"role": "proposals"}
    assert (shown["before"], shown["after"]) == ({"proposals_on": False}, {"proposals_on": True})


def test_a_switch_without_its_event_is_none(
    harbour: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(**_: object) -> None:
        raise OperationalError("disk full")

    monkeypatch.setattr("backend.management.commands.proposals.note_command", fails)
    with pytest.raises(OperationalError):
        call_command("proposals", str(harbour.pk), "off", stdout=StringIO())
    assert Clinic.objects.get(pk=harbour.pk).proposals_on


def test_explaining_at_the_console_is_noted(
    last: Last, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    last.forget()
    call_command("explain", plan_of_ben["id"], ben.today.isoformat())
    event = last()
    assert (event.actor_role, event.patient_id) == ("explain", ben.patient.pk)
    assert str(event.object_id) == plan_of_ben["id"]
    with pytest.raises(CommandError):
        call_command("explain", str(uuid4()), ben.today.isoformat())
    last.forget()
    assert AuditEvent.objects.filter(action="explain").count() == 1


def test_making_anew_is_noted_patient_by_patient(
    last: Last, ana: Staff, ben: OwnPhone, plan_of_ben: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    last.forget()
    for words, action in (((), "rebuild"), (("--check",), "rebuild_check")):
        call_command("rebuild", "--quiet", *words, stdout=StringIO(), stderr=StringIO())
        event = last()
        assert (event.actor_role, event.action, event.outcome) == ("rebuild", action, "ok")
        assert event.patient_id == ben.patient.pk
    monkeypatch.setattr("backend.management.commands.rebuild.rebuild", lambda **_: 1 / 0)
    with pytest.raises(SystemExit):
        call_command("rebuild", stdout=StringIO(), stderr=StringIO())
    assert last().outcome == "failed"
