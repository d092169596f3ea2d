"""From an invitation on paper to a patient with an account, once and in no other way."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from allauth.account.models import EmailAddress
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from backend.api.models import IdempotencyKey
from backend.clinics import actions
from backend.clinics.actions import InvitationExpired
from backend.clinics.models import Invitation, Patient, User
from tests.factories import PASSWORD, PatientFactory, StaffFactory
from tests.service.cast import OwnPhone, Somebody, Staff
from tests.service.door import Door, codes

pytestmark = pytest.mark.django_db
CODE = re.compile(r"([0-9A-HJKMNP-TV-Z]{4}-){4}[0-9A-HJKMNP-TV-Z]{4}")


@pytest.fixture
def nora(ana: Staff) -> Patient:
    """Was taken in by Ana and has no account yet."""
    return PatientFactory.create(
        physiotherapist=ana.user, given_name="Nora", birth_date="1984-02-29", locale="sv",
        timezone="Europe/Helsinki",
    )  # fmt: skip


@pytest.fixture
def code(nora: Patient, ana: Staff) -> str:
    return str(ana.post(f"patients/{nora.pk}/invitations", {}, 201)["code"])


def sign_up(code: str, expect: int = 200, **more: Any) -> tuple[Door, Any]:
    door = Door()
    body = {
        "email": "nora@example.org", "password": PASSWORD, "invite": code, "birth_year": 1984
    } | more  # fmt: skip
    return door, door.signs_up(expect, **body)


# --- Inviting ---------------------------------------------------------------------------------


def test_an_invitation(ana: Staff, nora: Patient) -> None:
    told = ana.post(f"patients/{nora.pk}/invitations", {}, 201)

    assert CODE.fullmatch(told["code"])
    left = Invitation.objects.get().expires_at - timezone.now()
    assert timedelta(hours=71, minutes=59) < left <= timedelta(hours=72)


def test_who_may_invite(ana: Staff, cleo: Staff, olga: Staff, ben: OwnPhone, nora: Patient) -> None:
    path = f"patients/{nora.pk}/invitations"
    cleo.post(path, {}, 201)
    assert olga.post(path, {}, 404)["code"] == "not-found"
    assert ben.post(path, {}, 403)["code"] == "forbidden"
    Somebody().post(path, {}, 401)


def test_a_new_invitation_ends_the_older_one(ana: Staff, nora: Patient, code: str) -> None:
    newer = ana.post(f"patients/{nora.pk}/invitations", {}, 201)["code"]

    _, refused = sign_up(code, 400)
    assert codes(refused) == ["invite_invalid"]
    sign_up(newer)


def test_nobody_with_an_account_is_invited(ana: Staff, ben: OwnPhone) -> None:
    refused = ana.post(f"patients/{ben.patient.pk}/invitations", {}, 409)

    assert refused["code"] == "already-enrolled"


def test_a_key_repeats_the_answer_without_keeping_the_code(ana: Staff, nora: Patient) -> None:
    key = str(uuid4())
    path = f"patients/{nora.pk}/invitations"
    first = ana.post(path, {}, 201, Idempotency_Key=key)
    again = ana.post(path, {}, 201, Idempotency_Key=key)

    assert (again["code"], again["expires_at"]) == (first["code"], first["expires_at"])
    assert Invitation.objects.count() == 1
    kept = str(IdempotencyKey.objects.values().get())
    assert first["code"] not in kept
    assert "invitations/" not in kept


def test_the_database_cannot_tell_a_code(code: str) -> None:
    kept = str(Invitation.objects.values().get())

    assert code.replace("-", "")[actions.LOCATOR_LENGTH :] not in kept


# --- Checking ---------------------------------------------------------------------------------


def check(code: str, expect: int = 200) -> Any:
    return Somebody().post("enrolments/check", {"invitation_code": code}, expect)


def test_the_app_checks_a_code(code: str) -> None:
    told = check(code)

    assert told == {
        "clinic_name": "Harbour", "given_name_initial": "N", "expires_at": told["expires_at"]
    }  # fmt: skip


@pytest.mark.parametrize(
    "retyped",
    [
        str.lower,
        lambda c: c.replace("-", " "),
        lambda c: c.replace("-", "").replace("0", "o").replace("1", "l"),
    ],
)
def test_a_code_survives_being_typed(code: str, retyped: Any) -> None:
    check(retyped(code))
    sign_up(retyped(code))


def mistyped(code: str) -> str:
    return code[:-1] + ("A" if code[-1] != "A" else "B")


def test_wrong_codes_look_alike(code: str, nora: Patient) -> None:
    told = [check(wrong, 410) for wrong in (mistyped(code), "ZZZZ-ZZZZ-ZZZZ-ZZZZ-ZZZZ", "?")]
    Invitation.objects.update(expires_at=timezone.now())
    told.append(check(code, 410))

    for answer in told:
        answer.pop("instance")
    assert [answer["code"] for answer in told] == ["invitation-expired"] * 4
    assert len({str(answer) for answer in told}) == 1


def test_five_wrong_secrets_end_an_invitation(code: str) -> None:
    for _ in range(5):
        check(mistyped(code), 410)

    check(code, 410)
    sign_up(code, 400)


def test_right_checks_cost_nothing(code: str) -> None:
    for _ in range(6):
        check(code)
    assert Invitation.objects.get().tries_left == 5


def test_a_signed_out_app_with_an_old_token_may_check(code: str) -> None:
    Somebody("0" * 32).post("enrolments/check", {"invitation_code": code}, 200)


@pytest.mark.parametrize(
    "body",
    [{}, {"invitation_code": ""}, {"invitation_code": 5}, {"invitation_code": "x" * 41},
     {"invitation_code": "x", "more": 1}],
)  # fmt: skip
def test_bad_input(body: Any) -> None:
    assert Somebody().post("enrolments/check", body, 422)["code"] == "validation-failed"


# --- Enrolling --------------------------------------------------------------------------------


def test_enrolment(code: str, nora: Patient, ana: Staff) -> None:
    before = timezone.now()
    door, answer = sign_up(code, email="Nora@Example.org")
    assert answer["meta"]["is_authenticated"] is True

    nora.refresh_from_db()
    assert nora.status == "active"
    assert nora.consented_at is not None
    assert nora.consented_at >= before
    assert nora.user is not None
    assert (nora.user.email, nora.user.clinic, nora.user.locale, nora.user.timezone) == (
        "nora@example.org", nora.clinic, "sv", "Europe/Helsinki"
    )  # fmt: skip
    mine = Somebody(door.token).get("me")
    assert (mine["role"], mine["display_name"]) == (["patient"], nora.display_name)
    assert [consent["granted"] for consent in mine["consents"]] == [True]
    assert ana.get(f"patients/{nora.pk}")["status"] == "active"


def test_a_code_works_once(code: str) -> None:
    sign_up(code)
    _, refused = sign_up(code, 400, email="other@example.org")

    assert codes(refused) == ["invite_invalid"]
    assert not User.objects.filter(email="other@example.org").exists()
    check(code, 410)


@pytest.mark.parametrize(
    ("more", "code_told"),
    [
        pytest.param({"invite": ""}, "invite_invalid", id="empty"),
        pytest.param({"invite": "0000-0000-0000-0000-0000"}, "invite_invalid", id="unknown"),
        pytest.param({"birth_year": 1985}, "invite_invalid", id="another year"),
        pytest.param({"birth_year": None}, "invite_invalid", id="no year"),
        pytest.param({"birth_year": "next"}, "invalid", id="not a year"),
        pytest.param({"password": "short"}, "password_too_short", id="a short password"),
        pytest.param({"email": "nobody"}, "invalid", id="not an address"),
        pytest.param({"email": ""}, "required", id="no address"),
    ],
)
def test_no_account_without_all_that_is_needed(
    code: str, more: dict[str, Any], code_told: str
) -> None:
    users = User.objects.count()
    _, refused = sign_up(code, 400, **more)

    assert code_told in codes(refused)
    assert User.objects.count() == users
    sign_up(code)  # with everything right it still works


def test_without_an_invitation_nobody_learns_anything(ana: Staff, code: str) -> None:
    bare = Door().signs_up(400, email="ana@example.org", password=PASSWORD)
    assert codes(bare) == ["invite_invalid"]
    _, wrong = sign_up(mistyped(code), 400, email="ana@example.org")
    assert codes(wrong) == ["invite_invalid"]

    _, right = sign_up(code, 400, email="ANA@example.org")
    assert codes(right) == ["email_taken"]


def test_five_wrong_years_end_an_invitation(code: str) -> None:
    for year in range(1979, 1984):
        sign_up(code, 400, birth_year=year)
    _, refused = sign_up(code, 400)

    assert codes(refused) == ["invite_invalid"]


def test_a_weak_password_costs_no_try(code: str) -> None:
    for _ in range(6):
        sign_up(code, 400, password="short")
    sign_up(code)


def test_nobody_enrols_into_a_role(code: str, nora: Patient) -> None:
    sign_up(code, is_physiotherapist=True, is_staff=True, is_superuser=True, clinic="x")

    made = User.objects.get(email="nora@example.org")
    assert made.roles == ["patient"]
    assert not made.is_staff
    assert not made.is_superuser


def test_after_72_hours_it_is_over(code: str, time_machine: Any) -> None:
    time_machine.move_to(timezone.now() + timedelta(hours=71, minutes=58))
    check(code)
    time_machine.move_to(timezone.now() + timedelta(minutes=3))

    check(code, 410)
    sign_up(code, 400)


def test_the_address_is_not_verified_by_typing_it(code: str) -> None:
    sign_up(code)

    assert EmailAddress.objects.get(email="nora@example.org").verified is False


# --- At the same moment -----------------------------------------------------------------------


@pytest.fixture
def real_code(transactional_db: None) -> Iterator[str]:
    therapist = StaffFactory.create()
    patient = PatientFactory.create(physiotherapist=therapist, birth_date="1984-02-29")
    invitation = actions.invite(patient=patient, by=therapist, now=timezone.now())
    yield actions.code_of(invitation)
    call_command("flush", verbosity=0, interactive=False)


def together(what: Any, times: int) -> list[Any]:
    def once(number: int) -> Any:
        try:
            return what(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(once, range(times)))


def test_two_at_once_make_one_account(real_code: str) -> None:
    def enrol(number: int) -> int:
        body = {
            "email": f"nora-{number}@example.org", "password": PASSWORD, "invite": real_code,
            "birth_year": 1984,
        }  # fmt: skip
        answer = Door().call("POST", "auth/signup", body)
        if answer.status_code == 400:
            assert b"invite_invalid" in answer.content
        return answer.status_code

    assert sorted(together(enrol, 8)) == [200] + [400] * 7
    assert User.objects.filter(email__startswith="nora").count() == 1
    assert Patient.objects.get().user is not None
    assert Invitation.objects.get().used_at is not None


def test_one_address_at_once_makes_one_account(real_code: str) -> None:
    other = PatientFactory.create(
        physiotherapist=User.objects.get(is_physiotherapist=True), birth_date="1984-02-29"
    )
    assert other.physiotherapist is not None
    invitation = actions.invite(patient=other, by=other.physiotherapist, now=timezone.now())
    both = [real_code, actions.code_of(invitation)]

    def enrol(number: int) -> int:
        body = {
            "email": "nora@example.org", "password": PASSWORD, "invite": both[number % 2],
            "birth_year": 1984,
        }  # fmt: skip
        return Door().call("POST", "auth/signup", body).status_code

    assert sorted(together(enrol, 4)) == [200, 400, 400, 400]
    assert User.objects.filter(email="nora@example.org").count() == 1


def test_parallel_guesses_cost_a_try_each(real_code: str) -> None:
    def guess(number: int) -> bool:
        try:
            actions.check_invitation(code=real_code, birth_year=1900 + number, now=timezone.now())
        except InvitationExpired:
            return False
        return True

    together(guess, 12)
    assert Invitation.objects.get().tries_left == 0
    check(real_code, 410)


# --- On paper ---------------------------------------------------------------------------------


def test_the_printed_page(ana: Staff, nora: Patient, caplog: pytest.LogCaptureFixture) -> None:
    told = ana.post(f"patients/{nora.pk}/invitations", {}, 201)
    code = told["code"]
    assert code not in told["print_url"]
    with caplog.at_level(logging.DEBUG):
        page = Client().get(told["print_url"])

    assert page.status_code == 200
    body = page.content.decode()
    assert code in body
    assert "<svg" in body
    assert "Harbour" in body
    assert page["Cache-Control"] == "no-store"
    assert page["Referrer-Policy"] == "no-referrer"
    assert page["X-Robots-Tag"] == "noindex"
    token = told["print_url"].rpartition("/")[2]
    assert token not in caplog.text
    assert code not in caplog.text


def test_the_page_closes(ana: Staff, nora: Patient, time_machine: Any) -> None:
    told = ana.post(f"patients/{nora.pk}/invitations", {}, 201)
    time_machine.move_to(timezone.now() + timedelta(minutes=14))
    assert Client().get(told["print_url"]).status_code == 200
    time_machine.move_to(timezone.now() + timedelta(minutes=2))

    assert Client().get(told["print_url"]).status_code == 404


def test_a_used_code_is_not_printed(ana: Staff, nora: Patient) -> None:
    told = ana.post(f"patients/{nora.pk}/invitations", {}, 201)
    sign_up(told["code"])

    assert Client().get(told["print_url"]).status_code == 404


@pytest.mark.parametrize("token", ["x", "x:y:z", "%00", "a" * 3000])
def test_pages_nobody_gave_out(db: None, token: str) -> None:
    answer = Client(raise_request_exception=False).get(f"/invitations/{token}")

    assert answer.status_code == 404
    assert answer["Content-Type"] == "application/problem+json"
