"""The staff of a clinic: taken in, changed, their patients handed over, let go."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from allauth.usersessions.models import UserSession
from django.core import mail

from backend.audit.models import AuditEvent
from backend.clinics.models import Clinic, Patient, User
from tests.service.cast import OwnPhone, Somebody, Staff, make_staff, session_token
from tests.service.racing import at_once

MAJA = {
    "email": "Maja@Example.org",
    "given_name": "Maja",
    "family_name": "Lind",
    "roles": ["physiotherapist"],
}


@pytest.fixture
def dan(harbour: Clinic) -> Staff:
    return make_staff(harbour, "Dan", is_physiotherapist=True)


def ends(cleo: Staff, person: Staff, expect: int = 200, **more: Any) -> Any:
    return cleo.patch(f"staff/{person.user.pk}", {"active": False, **more}, expect)


# --- Taken in ---------------------------------------------------------------------------------


def test_a_colleague_gets_an_account_and_an_e_mail_to_set_a_password(
    cleo: Staff, harbour: Clinic, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        made = cleo.post("staff", MAJA, 201)
    made.pop("created_at")
    person = User.objects.get(pk=made["id"])
    assert made == {
        "id": str(person.pk), "email": "maja@example.org", "given_name": "Maja",
        "family_name": "Lind", "display_name": "Maja Lind", "roles": ["physiotherapist"],
        "can_publish": False, "active": True,
    }  # fmt: skip
    assert person.clinic == harbour
    assert not person.has_usable_password()
    [letter] = mail.outbox
    assert letter.to == ["maja@example.org"]
    assert "Harbour made an account for you" in letter.body
    assert "/accounts/password/reset/" in letter.body
    [event] = AuditEvent.objects.filter(action="staff_create")
    assert (event.actor_id, event.object_id) == (cleo.user.pk, person.pk)


def test_the_page_in_the_e_mail_sends_a_code(
    cleo: Staff, django_capture_on_commit_callbacks: Any
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        cleo.post("staff", MAJA, 201)
    page = next(word for word in mail.outbox[0].body.split() if word.startswith("http"))
    answer = Somebody().client.post(page, {"email": "maja@example.org"})
    assert answer.status_code == 302
    assert mail.outbox[1].to == ["maja@example.org"]
    assert "password" in mail.outbox[1].subject.lower()


def test_a_repeat_makes_and_mails_nothing(
    cleo: Staff, django_capture_on_commit_callbacks: Any
) -> None:
    key = str(uuid4())
    with django_capture_on_commit_callbacks(execute=True):
        first = cleo.post("staff", MAJA, 201, Idempotency_Key=key)
        assert cleo.post("staff", MAJA, 201, Idempotency_Key=key) == first
    assert len(mail.outbox) == 1


@pytest.mark.parametrize(
    ("more", "pointer", "code"),
    [
        pytest.param({"email": "CLEO@example.org"}, "#/email", "duplicate", id="taken"),
        pytest.param({"email": "maja"}, "#/email", "invalid-value", id="no address"),
        pytest.param({"given_name": " "}, "#/given_name", "required", id="no name"),
        pytest.param({"roles": []}, "#/roles", "required", id="no role"),
        pytest.param({"roles": ["patient"]}, "#/roles/0", "invalid-value", id="no such role"),
        pytest.param({"roles": ["clinic_admin"] * 2}, "#/roles", "duplicate", id="twice"),
        pytest.param({"active": True}, "#/active", "unknown-field", id="active"),
        pytest.param({"password": "x" * 20}, "#/password", "unknown-field", id="a password"),
    ],
)
def test_bad_colleagues_are_refused(
    cleo: Staff, more: dict[str, Any], pointer: str, code: str
) -> None:
    [error] = cleo.post("staff", MAJA | more, 422)["errors"]
    assert (error["pointer"], error["code"]) == (pointer, code)
    assert not User.objects.filter(given_name="Maja").exists()


# --- Read -------------------------------------------------------------------------------------


def test_the_list_is_of_this_clinic_and_by_name(
    cleo: Staff, ana: Staff, dan: Staff, olga: Staff, ben: OwnPhone, harbour: Clinic
) -> None:
    User.objects.create_user("op@example.org", clinic=harbour, is_staff=True, is_clinic_admin=True)
    ends(cleo, dan)
    items = cleo.get("staff")["items"]
    assert [(one["given_name"], one["active"]) for one in items] == [
        ("Ana", True), ("Cleo", True), ("Dan", False),
    ]  # fmt: skip
    assert [one["given_name"] for one in cleo.get("staff?limit=1")["items"]] == ["Ana"]
    assert [one["roles"] for one in olga.get("staff")["items"]] == [
        ["physiotherapist", "clinic_admin"]
    ]


def test_only_who_runs_the_clinic(ana: Staff, ben: OwnPhone, nobody: Somebody, dan: Staff) -> None:
    for who, status in ((ana, 403), (ben, 403), (nobody, 401)):
        who.get("staff", status)
        who.post("staff", MAJA, status)
        who.patch(f"staff/{dan.user.pk}", {"can_publish": True}, status)


# --- Changed ----------------------------------------------------------------------------------


def test_roles_count_from_the_next_request(cleo: Staff, dan: Staff) -> None:
    dan.get("clinic", 403)
    changed = cleo.patch(
        f"staff/{dan.user.pk}",
        {"roles": ["clinic_admin", "physiotherapist"], "can_publish": True, "family_name": "Ek"},
    )
    assert changed["roles"] == ["physiotherapist", "clinic_admin"]
    assert (changed["can_publish"], changed["family_name"]) == (True, "Ek")
    dan.get("clinic")
    cleo.patch(f"staff/{dan.user.pk}", {"roles": ["physiotherapist"]})
    dan.get("clinic", 403)


def test_who_works_elsewhere_treats_nobody_here_or_is_an_operator_is_not_found(
    cleo: Staff, olga: Staff, ben: OwnPhone, harbour: Clinic
) -> None:
    operator = User.objects.create_user(
        "op@example.org", clinic=harbour, is_staff=True, is_physiotherapist=True
    )
    for id in (olga.user.pk, ben.patient.user_id, operator.pk, uuid4(), "x"):
        cleo.patch(f"staff/{id}", {"active": False}, 404)
    assert not User.objects.filter(is_active=False).exists()


def test_the_last_admin_stays(cleo: Staff, dan: Staff, harbour: Clinic) -> None:
    me = f"staff/{cleo.user.pk}"
    physio = {"roles": ["physiotherapist"]}
    assert cleo.patch(me, physio, 409)["code"] == "last-admin"
    cleo.patch(f"staff/{dan.user.pk}", {"roles": ["clinic_admin"]})
    cleo.patch(me, physio)
    assert dan.patch(f"staff/{dan.user.pk}", physio, 409)["code"] == "last-admin"
    cleo.get("staff", 403)


def test_an_admin_who_has_ended_does_not_count(cleo: Staff, harbour: Clinic) -> None:
    dora = make_staff(harbour, "Dora", is_clinic_admin=True)
    ends(cleo, dora)
    assert cleo.patch(f"staff/{cleo.user.pk}", {"roles": ["physiotherapist"]}, 409)


def test_nobody_ends_himself(cleo: Staff, harbour: Clinic) -> None:
    make_staff(harbour, "Dora", is_clinic_admin=True)
    assert ends(cleo, cleo, 409)["code"] == "state-conflict"
    cleo.get("clinic")


# --- Let go -----------------------------------------------------------------------------------


def test_an_account_that_ends_is_signed_out_everywhere(cleo: Staff, dan: Staff) -> None:
    second = Staff(session_token(dan.user), user=dan.user)
    UserSession.objects.create(
        user=dan.user, session_key=second.token, ip="127.0.0.1", user_agent=""
    )
    assert ends(cleo, dan)["active"] is False
    for who in (dan, second):
        assert who.get("me", 401)["code"] == "session-ended"
    assert not UserSession.objects.exists()

    assert cleo.patch(f"staff/{dan.user.pk}", {"active": True})["active"]
    assert second.get("me", 401), "the session is gone"


def test_patients_are_handed_over_when_who_treats_them_goes(
    cleo: Staff, ana: Staff, dan: Staff, ben: OwnPhone, bea: OwnPhone
) -> None:
    before = ben.patient.version
    [error] = ends(cleo, ana, 422)["errors"]
    assert (error["pointer"], error["code"]) == ("#/reassign_to", "required")
    ana.get("me")

    ends(cleo, ana, reassign_to=str(dan.user.pk))
    rows = Patient.objects.all()
    assert {row.physiotherapist_id for row in rows} == {dan.user.pk}
    assert Patient.objects.get(pk=ben.patient.pk).version == before + 1
    shown = dan.get(f"patients/{bea.patient.pk}")
    assert shown["physiotherapist_id"] == str(dan.user.pk)


def test_a_caseload_is_handed_over_also_by_who_stays(
    cleo: Staff, ana: Staff, dan: Staff, ben: OwnPhone
) -> None:
    path = f"staff/{ana.user.pk}"
    cleo.patch(path, {"roles": ["clinic_admin"]}, 422)
    cleo.patch(path, {"reassign_to": str(dan.user.pk)})
    assert Patient.objects.get(pk=ben.patient.pk).physiotherapist == dan.user
    cleo.patch(path, {"roles": ["clinic_admin"]})


def test_only_to_somebody_who_can_take_them(
    cleo: Staff, ana: Staff, dan: Staff, olga: Staff, ben: OwnPhone
) -> None:
    ends(cleo, dan)
    for id in (ana.user.pk, dan.user.pk, olga.user.pk, cleo.user.pk, ben.patient.user_id, uuid4()):
        [error] = ends(cleo, ana, 422, reassign_to=str(id))["errors"]
        assert (error["pointer"], error["code"]) == ("#/reassign_to", "unknown-reference")
    assert Patient.objects.get(pk=ben.patient.pk).physiotherapist == ana.user
    assert User.objects.get(pk=ana.user.pk).is_active


def test_all_or_nothing(
    cleo: Staff, ana: Staff, dan: Staff, ben: OwnPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.clinics.actions.end_sessions", lambda **_: 1 / 0)
    ends(cleo, ana, 500, reassign_to=str(dan.user.pk))
    assert Patient.objects.get(pk=ben.patient.pk).physiotherapist == ana.user
    assert User.objects.get(pk=ana.user.pk).is_active


# --- In the same moment -----------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_two_admins_who_end_each_other_leave_one(cleo: Staff, harbour: Clinic) -> None:
    dora = make_staff(harbour, "Dora", is_clinic_admin=True)
    answers = at_once(
        lambda: cleo.call("PATCH", f"staff/{dora.user.pk}", {"active": False}),
        lambda: dora.call("PATCH", f"staff/{cleo.user.pk}", {"active": False}),
    )
    assert User.objects.filter(is_clinic_admin=True, is_active=True).count() == 1
    told = sorted(answer.status_code for answer in answers)
    assert told in ([200, 409], [200, 401]), "the later one was signed out, or is the last"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by", ["ana", "cleo"])
def test_a_patient_who_comes_in_meanwhile_is_not_left_behind(
    by: str, request: pytest.FixtureRequest, cleo: Staff, ana: Staff, dan: Staff, ben: OwnPhone
) -> None:
    taker = Somebody(request.getfixturevalue(by).token)
    new = {"given_name": "Nora", "family_name": "Ek", "birth_date": "1984-02-29"}
    if by == "cleo":
        new["physiotherapist_id"] = str(ana.user.pk)
    said = {"active": False, "reassign_to": str(dan.user.pk)}
    ended, taken = at_once(
        lambda: cleo.call("PATCH", f"staff/{ana.user.pk}", said),
        lambda: taker.call("POST", "patients", new),
    )
    assert ended.status_code == 200
    assert taken.status_code in (201, 401, 422)
    assert not Patient.objects.filter(physiotherapist=ana.user).exists()


def test_what_changed_is_on_record_and_names_nobody(cleo: Staff, ana: Staff) -> None:
    cleo.patch(f"staff/{ana.user.pk}", {"can_publish": False, "family_name": "Newname"})

    event = AuditEvent.objects.get(action="staff_update")
    assert (event.before, event.after) == ({"can_publish": True}, {"can_publish": False})
