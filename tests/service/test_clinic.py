"""Running a clinic: its settings, and what follows from them for patients."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any
from uuid import uuid4

import pytest

from backend.api import clinic as endpoints
from backend.audit.models import AuditEvent
from backend.care.models import Progression
from backend.clinics.models import Clinic, Patient
from tests.service.cast import OwnPhone, Somebody, Staff

Capture = Callable[..., AbstractContextManager[Any]]


@pytest.fixture
def change(cleo: Staff, django_capture_on_commit_callbacks: Capture) -> Callable[..., Any]:
    def change(**said: object) -> Any:
        tag = cleo.call("GET", "clinic")["ETag"]
        with django_capture_on_commit_callbacks(execute=True):
            return cleo.patch("clinic", said, If_Match=tag)

    return change


def test_settings_are_read_and_changed(
    cleo: Staff, harbour: Clinic, change: Callable[..., Any]
) -> None:
    told = cleo.get("clinic")
    told.pop("created_at")
    assert told == {
        "id": str(harbour.pk), "name": "Harbour", "timezone": "Europe/Stockholm",
        "typing_delay_days": 7, "upload_delay_days": 90, "emergency_number": "112",
        "second_factor_required": False, "proposals_on": True,
    }  # fmt: skip
    wishes = {
        "name": "Harbour Physio", "timezone": "Europe/Oslo", "typing_delay_days": 3,
        "upload_delay_days": 30, "emergency_number": "113", "urgent_contact": "Desk, 08-1",
        "urgent_email": "desk@example.org", "crisis_line": "90101", "proposals_on": False,
    }  # fmt: skip
    changed = change(**wishes)
    assert {name: changed[name] for name in wishes} == wishes
    assert cleo.get("clinic") == changed
    assert cleo.get("meta")["limits"]["typing_delay_days"] == 3
    assert "crisis_line" not in change(crisis_line="")


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param({"name": ""}, "required", id="no name"),
        pytest.param({"name": "x" * 121}, "too-long", id="a long one"),
        pytest.param({"timezone": "Mars/Base"}, "invalid-value", id="no zone"),
        pytest.param({"typing_delay_days": 0}, "out-of-range", id="no time to type"),
        pytest.param({"upload_delay_days": 366}, "out-of-range", id="too long"),
        pytest.param({"upload_delay_days": "7"}, "invalid-type", id="text"),
        pytest.param({"emergency_number": ""}, "required", id="nobody to call"),
        pytest.param({"emergency_number": "call us"}, "invalid-value", id="no number"),
        pytest.param({"urgent_email": "desk"}, "invalid-value", id="no address"),
        pytest.param({"second_factor_required": 1}, "invalid-type", id="no truth"),
        pytest.param({"proposals_on": None}, "invalid-type", id="null"),
        pytest.param({"retention_days": 1}, "unknown-field", id="unknown"),
    ],
)
def test_bad_settings_are_refused(cleo: Staff, said: dict[str, Any], code: str) -> None:
    problem = cleo.patch("clinic", said, 422, If_Match="*")
    [error] = problem["errors"]
    assert (error["pointer"], error["code"]) == (f"#/{next(iter(said))}", code)


def test_only_who_runs_the_clinic(ana: Staff, ben: OwnPhone, nobody: Somebody) -> None:
    for who, status in ((ana, 403), (ben, 403), (nobody, 401)):
        who.get("clinic", status)
        who.patch("clinic", {"name": "Mine"}, status, If_Match="*")


def test_a_second_factor_counts_from_the_next_request(
    cleo: Staff, ana: Staff, change: Callable[..., Any]
) -> None:
    change(second_factor_required=True)
    assert ana.get("patients", 403)["code"] == "second-factor-required"
    assert cleo.get("clinic", 403)["code"] == "second-factor-required"


def test_proposals_are_withdrawn_at_once(
    ana: Staff, plan_of_ben: Any, change: Callable[..., Any]
) -> None:
    proposal = ana.post(f"assignments/{plan_of_ben['id']}/progressions", {}, 201)
    Progression.objects.update(recommendation="advance", proposed_by=None)
    change(name="Harbour again")
    assert ana.get(f"progressions/{proposal['id']}")["status"] == "proposed"

    change(proposals_on=False)
    assert ana.get(f"progressions/{proposal['id']}")["status"] == "withdrawn"
    assert change(proposals_on=True)["proposals_on"]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"emergency_number": "113"}, True),
        ({"urgent_contact": "Desk, 08-1"}, True),
        ({"emergency_number": "112"}, False),
        ({"name": "Harbour again"}, False),
    ],
    ids=str,
)
def test_phones_hear_of_whom_to_call(
    ben: OwnPhone, plan_of_ben: Any, change: Callable[..., Any], said: dict[str, Any], told: bool
) -> None:
    before = ben.get("me/sync/changes")["cursor"]
    change(**said)

    news = [one["type"] for one in ben.get(f"me/sync/changes?cursor={before}")["items"]]
    assert news == (["plan"] if told else [])
    if told:
        shown = ben.plan(days=1)["on_device_advice"]
        assert {name: shown[name] for name in said} == said


def test_a_change_keeps_what_it_replaced_for_its_event(
    cleo: Staff, harbour: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    usual = endpoints.ClinicEndpoint.changed

    def changed(view: Any, *args: Any) -> None:
        usual(view, *args)
        seen.append((view.before, view.after))

    monkeypatch.setattr(endpoints.ClinicEndpoint, "changed", changed)
    cleo.patch("clinic", {"typing_delay_days": 3, "crisis_line": "90101"}, If_Match="*")
    assert seen == [({"typing_delay_days": 7}, {"typing_delay_days": 3, "crisis_line": "90101"})]
    event = AuditEvent.objects.get(action="clinic_update")
    assert (event.actor_id, event.object_id, event.outcome) == (cleo.user.pk, harbour.pk, "ok")


def test_other_clinics_stay_as_they_are(elsewhere: Clinic, change: Callable[..., Any]) -> None:
    before = Clinic.objects.filter(pk=elsewhere.pk).values().get()
    change(name=str(uuid4()), proposals_on=False, emergency_number="999")
    assert Clinic.objects.filter(pk=elsewhere.pk).values().get() == before
    assert not Patient.objects.filter(clinic=elsewhere).exists()
