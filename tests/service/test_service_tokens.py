"""Another system asks for a clinic's reports: with a token that was told once, and for no more."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from backend.api.models import IdempotencyKey
from backend.audit.models import AuditEvent
from backend.clinics.models import Clinic, ServiceToken, User
from tests.service.cast import OwnPhone, Program, Staff, make_token

pytestmark = pytest.mark.django_db
WISH = {"name": "Register", "scopes": ["reports.read"], "days": 30}


@pytest.fixture
def program(harbour: Clinic, cleo: Staff, now: Any) -> Program:
    return Program(make_token(harbour, cleo.user, now)[1])


def test_a_token_is_told_once_and_kept_nowhere(cleo: Staff) -> None:
    key = str(uuid4())
    made = cleo.post("service-tokens", WISH, 201, Idempotency_Key=key)
    token = made.pop("token")

    assert cleo.post("service-tokens", WISH, 201, Idempotency_Key=key) == made
    assert cleo.get("service-tokens")["items"] == [made]
    told = json.dumps([
        list(ServiceToken.objects.values()), list(IdempotencyKey.objects.values()),
        list(AuditEvent.objects.values()),
    ], default=str)  # fmt: skip
    assert token not in told
    event = AuditEvent.objects.filter(action="service_token_create").earliest("at")
    assert event.after["scopes"] == ["reports.read"]
    assert Program(token).get("reports/adherence")["groups"] == []


def test_it_sees_the_whole_clinic_and_no_other_and_leaves_its_event(
    program: Program, ben: OwnPhone, plan_of_ben: Any, olga: Staff, elsewhere: Clinic, now: Any
) -> None:
    assert program.get("reports/adherence?group_by=protocol")["total"]["patients"] == 0
    event = AuditEvent.objects.get(action="report_adherence")
    row = ServiceToken.objects.get()
    assert (event.actor_id, event.actor_role) == (row.pk, "service")
    assert (event.clinic_id, event.ip_prefix) == (row.clinic_id, "127.0.0.0/24")
    there = Program(make_token(elsewhere, olga.user, now)[1])
    there.get(f"reports/adherence?physiotherapist_id={ben.patient.physiotherapist_id}")
    assert not User.objects.filter(pk=row.pk).exists()


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "patients"), ("GET", "me"), ("GET", "clinic"), ("POST", "exports"),
     ("GET", "audit-events"), ("GET", "service-tokens")],
)  # fmt: skip
def test_it_is_no_session(program: Program, method: str, path: str) -> None:
    assert program.call(method, path, {}).status_code == 401


def test_what_is_not_valid_is_refused(
    program: Program, cleo: Staff, olga: Staff, harbour: Clinic
) -> None:
    for wrong in ("", "rehab_", "rehab_" + "x" * 43, "å", cleo.token):
        Program(wrong).get("reports/adherence", 401)
    with time_machine.travel(timezone.now() + timedelta(days=2)):
        program.get("reports/adherence", 401)
    ServiceToken.objects.update(scopes=[])
    program.get("reports/adherence", 403)
    ServiceToken.objects.update(scopes=["reports.read"])
    id = ServiceToken.objects.get().pk
    olga.delete(f"service-tokens/{id}", 404)
    cleo.delete(f"service-tokens/{id}", 204)
    program.get("reports/adherence", 401)
    cleo.delete(f"service-tokens/{id}", 204)
    [shown] = cleo.get("service-tokens")["items"]
    assert shown["revoked_at"]


def test_only_who_runs_the_clinic_makes_them(ana: Staff, ben: OwnPhone, cleo: Staff) -> None:
    for who in (ana, ben):
        who.post("service-tokens", WISH, 403)
        who.get("service-tokens", 403)
    refused: tuple[dict[str, Any], ...] = (
        {"scopes": []}, {"scopes": ["all"]}, {"days": 0}, {"days": 367}, {"name": ""},
    )  # fmt: skip
    for wrong in refused:
        cleo.post("service-tokens", WISH | wrong, 422)


@pytest.mark.parametrize(
    ("address", "kept"),
    [
        pytest.param("192.0.2.77", "192.0.2.0/24", id="IPv4"),
        pytest.param("2001:db8:aa:bb::1", "2001:db8:aa::/48", id="IPv6"),
    ],
)
def test_an_event_says_from_which_network(
    cleo: Staff, ben: OwnPhone, address: str, kept: str
) -> None:
    cleo.client.defaults["REMOTE_ADDR"] = address
    cleo.get("patients")
    assert AuditEvent.objects.get().ip_prefix == kept
    [shown] = [one for one in cleo.get("audit-events")["items"] if one["action"] == "patient_list"]
    assert shown["ip_prefix"] == kept


def test_the_network_follows_our_proxies_alone(cleo: Staff, ben: OwnPhone, settings: Any) -> None:
    """The last address that a proxy of ours added; what the caller wrote before it is his word."""
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    cleo.get("patients", X_Forwarded_For="203.0.113.9, 198.51.100.7")
    assert AuditEvent.objects.get().ip_prefix == "198.51.100.0/24"
