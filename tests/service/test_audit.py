"""Each call of staff about a patient leaves one event, stored together with what it did."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import OperationalError
from django.utils import timezone

from backend.api import base
from backend.audit.models import AuditEvent
from backend.care.models import Assessment
from backend.clinics.models import Clinic, Episode, Patient
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
