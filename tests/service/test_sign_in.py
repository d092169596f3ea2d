"""Signing in and out, by password, code and second factor; sessions; tries; operators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from allauth.usersessions.models import UserSession
from django.contrib.sessions.models import Session
from django.core import mail
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from backend.clinics import actions
from backend.clinics.models import Clinic, PasswordTries, User
from backend.clinics.sign_in import SecondFactors
from tests.factories import PASSWORD, ClinicFactory, StaffFactory
from tests.service.cast import OwnPhone, Somebody, Staff
from tests.service.door import Door, codes, mailed_code, totp

pytestmark = pytest.mark.django_db


def me(door: Door, expect: int = 200) -> Any:
    return Somebody(door.token).get("me", expect)


@pytest.fixture
def rita() -> User:
    """Works where a second factor is asked for."""
    clinic = ClinicFactory.create(second_factor_required=True)
    return StaffFactory.create(clinic=clinic, email="rita@example.org")


# --- Password, code, reset --------------------------------------------------------------------


def test_password(ana: Staff) -> None:
    door = Door()
    answer = door.signs_in("ana@example.org", PASSWORD)

    assert answer["meta"]["is_authenticated"] is True
    assert me(door)["id"] == str(ana.user.pk)


@pytest.mark.parametrize("email", ["Ana@Example.org", "ANA@EXAMPLE.ORG", " ana@example.org "])
def test_an_address_is_the_same_in_any_case(ana: Staff, email: str) -> None:
    assert Door().signs_in(email, PASSWORD)["status"] == 200


def test_known_and_unknown_accounts_look_alike(ana: Staff) -> None:
    known = Door().call("POST", "auth/login", {"email": "ana@example.org", "password": "wrong"})
    unknown = Door().call("POST", "auth/login", {"email": "who@example.org", "password": "wrong"})

    assert known.status_code == unknown.status_code == 400
    assert known.content == unknown.content


def test_closed_accounts_are_told_nothing_before_the_password(ana: Staff) -> None:
    actions.deactivate(person=ana.user, now=timezone.now())

    assert codes(Door().signs_in("ana@example.org", "wrong", 400)) == ["email_password_mismatch"]
    door = Door()
    door.signs_in("ana@example.org", PASSWORD, 401)
    assert door.token == "" or me(door, 401)


def test_code_by_mail(ana: Staff) -> None:
    door = Door()
    door.post("auth/code/request", 401, email="ana@example.org")
    [sent] = mail.outbox
    assert sent.to == ["ana@example.org"]
    door.post("auth/code/confirm", code=mailed_code())

    assert me(door)["id"] == str(ana.user.pk)


def test_a_code_is_guessed_three_times_at_most(ana: Staff) -> None:
    door = Door()
    door.post("auth/code/request", 401, email="ana@example.org")
    for _ in range(3):
        door.post("auth/code/confirm", 400, code="WRONG1")

    door.post("auth/code/confirm", 409, code=mailed_code())


def test_an_unknown_address_gets_the_same_answer_and_no_code(db: None) -> None:
    answer = Door().post("auth/code/request", 401, email="who@example.org")

    assert {"id": "login_by_code", "is_pending": True} in answer["data"]["flows"]
    [told] = mail.outbox
    assert "account" in told.body


def test_password_reset_ends_the_other_sessions(ana: Staff) -> None:
    old, door = Door(), Door()
    old.signs_in("ana@example.org", PASSWORD)
    door.post("auth/password/request", 401, email="ana@example.org")
    door.post("auth/password/reset", 401, key=mailed_code(), password="quite another one")

    me(old, 401)
    door.signs_in("ana@example.org", PASSWORD, 400)
    door.signs_in("ana@example.org", "quite another one")
    assert me(door)["id"] == str(ana.user.pk)


def test_password_change_keeps_this_session_and_ends_the_others(ana: Staff) -> None:
    here, elsewhere = Door(), Door()
    here.signs_in("ana@example.org", PASSWORD)
    elsewhere.signs_in("ana@example.org", PASSWORD)
    here.post("account/password/change", current_password=PASSWORD, new_password="quite another")

    assert me(here)["id"] == str(ana.user.pk)
    assert me(elsewhere, 401)["code"] == "session-ended"


@pytest.mark.parametrize("password", ["short", "password123", "ana@example.org"])
def test_weak_passwords_are_refused(ana: Staff, password: str) -> None:
    door = Door()
    door.signs_in("ana@example.org", PASSWORD)

    door.post("account/password/change", 400, current_password=PASSWORD, new_password=password)


def test_a_new_address_counts_once_its_code_came_back(ana: Staff) -> None:
    door = Door()
    door.signs_in("ana@example.org", PASSWORD)
    door.post("account/email", 401, email="ana.new@example.org")  # proof first
    door.post("auth/reauthenticate", password=PASSWORD)
    door.post("account/email", email="Ana.New@example.org")
    Door().signs_in("ana.new@example.org", PASSWORD, 400)
    [code_mail] = [m for m in mail.outbox if m.to == ["ana.new@example.org"]]
    assert "ana" not in str(code_mail.subject).lower()
    door.post("auth/email/verify", key=mailed_code())

    Door().signs_in("ana@example.org", PASSWORD, 400)
    Door().signs_in("ana.new@example.org", PASSWORD)
    ana.user.refresh_from_db()
    assert ana.user.email == "ana.new@example.org"


def test_an_address_of_somebody_else_cannot_be_taken(ana: Staff, cleo: Staff) -> None:
    door = Door()
    door.signs_in("ana@example.org", PASSWORD)
    door.post("auth/reauthenticate", password=PASSWORD)
    door.post("account/email", email="CLEO@example.org")  # told nothing
    assert codes(door.post("auth/email/verify", 400, key=mailed_code())) == ["email_taken"]

    assert User.objects.get(pk=ana.user.pk).email == "ana@example.org"
    assert not EmailAddress.objects.filter(email="cleo@example.org", user=ana.user).exists()


def test_mails_hold_no_health_data(ben: OwnPhone) -> None:
    door = Door()
    door.post("auth/password/request", 401, email="ben@example.org")
    door.post("auth/code/request", 401, email="ben@example.org")

    assert len(mail.outbox) == 2
    for sent in mail.outbox:
        said = f"{sent.subject} {sent.body}".lower()
        assert not any(word in said for word in ("patient", "exercise", "pain", "clinic", "ben"))


def test_a_mail_server_that_is_away_fails_no_sign_in(ana: Staff, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1

    assert Door().post("auth/code/request", 401, email="ana@example.org")["status"] == 401


# --- Sessions ---------------------------------------------------------------------------------


def test_sessions_are_listed_and_ended_from_another_device(ben: OwnPhone) -> None:
    phone, tablet = Door(), Door()
    phone.signs_in("ben@example.org", PASSWORD)
    tablet.signs_in("ben@example.org", PASSWORD)
    listed = phone.get("auth/sessions")["data"]
    assert [session["is_current"] for session in listed].count(True) == 1
    [other] = [session["id"] for session in listed if not session["is_current"]]
    phone.call("DELETE", "auth/sessions", {"sessions": [other]})

    assert me(tablet, 401)["code"] == "session-ended"
    assert me(phone)["role"] == ["patient"]


def test_nobody_ends_the_sessions_of_others(ben: OwnPhone, bea: OwnPhone) -> None:
    his, hers = Door(), Door()
    his.signs_in("ben@example.org", PASSWORD)
    hers.signs_in("bea@example.org", PASSWORD)
    [foreign] = UserSession.objects.filter(user=bea.patient.user)
    answer = his.call("DELETE", "auth/sessions", {"sessions": [foreign.pk]})

    assert answer.status_code == 400
    me(hers)


def test_signing_out_ends_it_on_the_server(ben: OwnPhone) -> None:
    door = Door()
    door.signs_in("ben@example.org", PASSWORD)
    me(door)
    assert door.call("DELETE", "auth/session").status_code == 401

    assert me(door, 401)["code"] == "session-ended"
    assert not Session.objects.filter(session_key=door.token).exists()


def test_a_closed_account_is_out_at_once(ben: OwnPhone) -> None:
    door = Door()
    door.signs_in("ben@example.org", PASSWORD)
    assert ben.patient.user is not None
    actions.deactivate(person=ben.patient.user, now=timezone.now())

    assert me(door, 401)["code"] == "session-ended"
    assert ben.get("me", 401)["code"] == "session-ended"  # no row tells of this session
    assert door.call("GET", "auth/session").status_code in (401, 410)
    assert not Session.objects.filter(session_key=door.token).exists()


@pytest.mark.parametrize("used", ["/api/v1/me", "/api/auth/app/v1/auth/session"])
def test_a_session_slides_while_it_is_used(ben: OwnPhone, used: str) -> None:
    door = Door()
    door.signs_in("ben@example.org", PASSWORD)
    row = Session.objects.filter(session_key=door.token)

    def left() -> timedelta:
        return row.get().expire_date - timezone.now()

    row.update(expire_date=timezone.now() + timedelta(days=3))
    Client().get(used, headers={"X-Session-Token": door.token})
    assert left() > timedelta(days=89)

    row.update(expire_date=timezone.now() + timedelta(days=89, hours=12))
    Client().get(used, headers={"X-Session-Token": door.token})
    assert left() < timedelta(days=89, hours=13)  # not written at each request

    row.update(expire_date=timezone.now() - timedelta(seconds=1))
    assert Client().get(used, headers={"X-Session-Token": door.token}).status_code in (401, 410)


# --- Web pages --------------------------------------------------------------------------------


class Browser:
    """Signs in as a page does: by cookie, with the CSRF token."""

    def __init__(self) -> None:
        self.client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        self.client.get("/api/auth/browser/v1/config")

    def send(self, method: str, path: str, body: object, csrf: bool = True) -> Any:
        token = {"X-CSRFToken": self.client.cookies["csrftoken"].value} if csrf else {}
        return self.client.generic(
            method, path, json.dumps(body).encode(), "application/json", headers=token
        )


def test_pages_sign_in_by_cookie_and_need_the_csrf_token(ana: Staff) -> None:
    browser = Browser()
    body = {"email": "ana@example.org", "password": PASSWORD}
    assert (
        browser.send("POST", "/api/auth/browser/v1/auth/login", body, csrf=False).status_code == 403
    )
    assert browser.send("POST", "/api/auth/browser/v1/auth/login", body).status_code == 200

    assert browser.client.get("/api/v1/me").json()["id"] == str(ana.user.pk)
    assert browser.send("PATCH", "/api/v1/me", {"locale": "sv"}, csrf=False).status_code == 403
    assert browser.send("PATCH", "/api/v1/me", {"locale": "sv"}).status_code == 200


def test_the_cookie_slides_too(ana: Staff) -> None:
    browser = Browser()
    body = {"email": "ana@example.org", "password": PASSWORD}
    browser.send("POST", "/api/auth/browser/v1/auth/login", body)
    row = Session.objects.filter(session_key=browser.client.cookies["sessionid"].value)
    row.update(expire_date=timezone.now() + timedelta(days=3))
    answer = browser.client.get("/api/v1/me")

    assert answer.cookies["sessionid"]["max-age"] == 90 * 24 * 3600
    assert row.get().expire_date > timezone.now() + timedelta(days=89)


# --- Second factor ----------------------------------------------------------------------------


def test_staff_need_a_second_factor_and_can_set_it_up(rita: User) -> None:
    door = Door()
    door.signs_in("rita@example.org", PASSWORD)
    assert me(door, 403)["code"] == "second-factor-required"
    secret = door.sets_up_totp(PASSWORD)
    assert me(door, 403)["code"] == "second-factor-required"  # set up, not used yet
    door.post("auth/2fa/reauthenticate", code=totp(secret))

    assert me(door)["id"] == str(rita.pk)


def test_a_password_alone_does_not_sign_in_where_a_factor_is_set_up(rita: User) -> None:
    first = Door()
    first.signs_in("rita@example.org", PASSWORD)
    secret = first.sets_up_totp(PASSWORD)

    door = Door()
    answer = door.signs_in("rita@example.org", PASSWORD, 401)
    assert {"mfa_authenticate"} & {flow["id"] for flow in answer["data"]["flows"]}
    me(door, 401)
    door.post("auth/2fa/authenticate", 400, code="000000")
    door.post("auth/2fa/authenticate", code=totp(secret))
    me(door)

    replayed = Door()
    replayed.signs_in("rita@example.org", PASSWORD, 401)
    replayed.post("auth/2fa/authenticate", 400, code=totp(secret))


def test_recovery_codes_open_once(rita: User) -> None:
    door = Door()
    door.signs_in("rita@example.org", PASSWORD)
    door.sets_up_totp(PASSWORD)
    codes = door.get("account/authenticators/recovery-codes")["data"]["unused_codes"]

    for status in (200, 400):
        door = Door()
        door.signs_in("rita@example.org", PASSWORD, 401)
        door.post("auth/2fa/authenticate", status, code=codes[0])
        me(door, 200 if status == 200 else 401)


def test_the_secret_of_a_factor_is_sealed_in_the_database(rita: User, settings: Any) -> None:
    door = Door()
    door.signs_in("rita@example.org", PASSWORD)
    secret = door.sets_up_totp(PASSWORD)
    stored = Authenticator.objects.get(user=rita, type="totp")
    assert secret not in json.dumps(stored.data)

    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another " * 10
    assert SecondFactors().decrypt(stored.data["secret"]) == secret


def test_a_factor_that_was_taken_off_counts_no_more(rita: User) -> None:
    door = Door()
    door.signs_in("rita@example.org", PASSWORD)
    secret = door.sets_up_totp(PASSWORD)
    door.post("auth/2fa/reauthenticate", code=totp(secret))
    me(door)
    door.call("DELETE", "account/authenticators/totp")

    assert me(door, 403)["code"] == "second-factor-required"


def test_patients_are_not_forced(ben: OwnPhone) -> None:
    ben.patient.clinic.second_factor_required = True
    ben.patient.clinic.save()

    assert ben.get("me")["role"] == ["patient"]


def test_a_second_factor_costs_one_query(rita: User, django_assert_num_queries: Any) -> None:
    door = Door()
    door.signs_in("rita@example.org", PASSWORD)
    with django_assert_num_queries(2):
        me(door, 403)
    door.post("auth/2fa/reauthenticate", code=totp(door.sets_up_totp(PASSWORD)))
    with django_assert_num_queries(3):
        me(door)


# --- Tries ------------------------------------------------------------------------------------


def test_ten_wrong_passwords_lock_the_account_for_a_while(ana: Staff, time_machine: Any) -> None:
    time_machine.move_to("2026-11-19T12:00:00Z", tick=False)
    for minute in range(10):
        assert codes(wrong("ana@example.org")) == ["email_password_mismatch"], minute
    assert codes(wrong("ANA@example.org")) == ["too_many_login_attempts"]
    right = Door().signs_in("ana@example.org", PASSWORD, 429)
    assert codes(right) == ["too_many_login_attempts"]

    time_machine.move_to("2026-11-19T12:14:59Z", tick=False)
    assert codes(wrong("ana@example.org")) == ["too_many_login_attempts"]
    time_machine.move_to("2026-11-19T12:15:00Z", tick=False)
    Door().signs_in("ana@example.org", PASSWORD)


def wrong(email: str, **headers: str) -> Any:
    answer = Door().call("POST", "auth/login", {"email": email, "password": "wrong"}, **headers)
    told = json.loads(answer.content)
    locked = codes(told) == ["too_many_login_attempts"]
    assert answer.status_code == (429 if locked else 400)
    assert answer.get("Retry-After") == ("900" if locked else None)
    return told


def test_right_passwords_cost_nothing(ana: Staff) -> None:
    for _ in range(12):
        Door().signs_in("ana@example.org", PASSWORD)


def test_an_unknown_account_is_locked_alike(db: None) -> None:
    told = [codes(wrong("who@example.org"))[0] for _ in range(11)]

    assert told == ["email_password_mismatch"] * 10 + ["too_many_login_attempts"]


def test_neither_a_forged_address_nor_another_name_of_the_host_gives_more_tries(
    ana: Staff, settings: Any
) -> None:
    settings.ALLOWED_HOSTS = ["*"]
    told = [
        codes(
            wrong("ana@example.org", **{"X-Forwarded-For": f"203.0.113.{n}", "Host": f"h{n}.org"})
        )
        for n in range(12)
    ]

    assert told.count(["email_password_mismatch"]) == 10


def test_thirty_wrong_passwords_shut_an_address_out(db: None) -> None:
    told = [codes(wrong(f"who-{n}@example.org"))[0] for n in range(31)]

    assert told == ["email_password_mismatch"] * 30 + ["too_many_login_attempts"]


def test_behind_our_proxy_each_client_has_its_own_tries(settings: Any, db: None) -> None:
    settings.ALLAUTH_TRUSTED_PROXY_COUNT = 1
    for n in range(30):
        wrong(f"who-{n}@example.org", **{"X-Forwarded-For": "1.1.1.1, 198.51.100.7"})

    blocked = wrong("who@example.org", **{"X-Forwarded-For": "2.2.2.2, 198.51.100.7"})
    free = wrong("who@example.org", **{"X-Forwarded-For": "2.2.2.2, 198.51.100.8"})
    assert codes(blocked) == ["too_many_login_attempts"]
    assert codes(free) == ["email_password_mismatch"]


def test_a_new_password_unlocks(ana: Staff) -> None:
    for _ in range(10):
        wrong("ana@example.org")
    door = Door()
    door.post("auth/password/request", 401, email="ana@example.org")
    door.post("auth/password/reset", 401, key=mailed_code(), password="quite another one")

    door.signs_in("ana@example.org", "quite another one")


def test_proving_oneself_again_is_counted_as_well(ana: Staff) -> None:
    door = Door()
    door.signs_in("ana@example.org", PASSWORD)
    for _ in range(9):
        door.post("auth/reauthenticate", 400, password="wrong")
    wrong("ana@example.org")

    assert codes(wrong("ana@example.org")) == ["too_many_login_attempts"]


def test_old_tries_are_forgotten(ana: Staff, time_machine: Any) -> None:
    time_machine.move_to("2026-11-19T12:00:00Z", tick=False)
    wrong("ana@example.org")
    now = timezone.now()

    assert actions.forget_old_tries(now=now + timedelta(minutes=15)) == 0
    assert actions.forget_old_tries(now=now + timedelta(minutes=16)) == 2


def test_counters_tell_no_address(ana: Staff) -> None:
    wrong("ana@example.org")

    said = json.dumps(list(PasswordTries.objects.values_list("key", "at")))
    assert "ana" not in said
    assert "127" not in [key for key, _ in PasswordTries.objects.values_list("key", "at")]


@pytest.fixture
def real_ana(transactional_db: None) -> Iterator[User]:
    yield StaffFactory.create(email="ana@example.org")
    call_command("flush", verbosity=0, interactive=False)


def test_parallel_guesses_are_counted_each(real_ana: User) -> None:
    def guess(_: int) -> str:
        try:
            return str(codes(wrong("ana@example.org"))[0])
        finally:
            connection.close()

    with ThreadPoolExecutor(16) as pool:
        told = list(pool.map(guess, range(60)))

    assert told.count("email_password_mismatch") == 10
    assert told.count("too_many_login_attempts") == 50


# --- Junk -------------------------------------------------------------------------------------

JUNK = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"{", id="cut"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b'"x"', id="text"),
    pytest.param(b"\xff\xfe", id="not UTF-8"),
    pytest.param(b'{"email": NaN, "password": NaN}', id="NaN"),
    pytest.param(b'{"email": "a@b.org", "password": "\\u0000"}', id="NUL"),
    pytest.param(b'{"email": "a@b.org", "password": "\\ud800"}', id="half a surrogate"),
    pytest.param(b'{"email": {"a": [1]}, "password": [2]}', id="wrong types"),
    pytest.param(b'{"email": "a@b.org", "password": ' + b"9" * 5000 + b"}", id="a long number"),
    pytest.param(b"[" * 100_000, id="deep"),
    pytest.param(b'{"email": "' + b"a" * 1_100_000 + b'"}', id="more than 1 MiB"),
]


@pytest.mark.parametrize("client", ["app", "browser"])
@pytest.mark.parametrize(
    "path", ["auth/login", "auth/signup", "auth/code/request", "auth/password/request"]
)
@pytest.mark.parametrize("body", JUNK)
def test_junk_is_refused_clearly(db: None, client: str, path: str, body: bytes) -> None:
    answer = Client(raise_request_exception=False).post(
        f"/api/auth/{client}/v1/{path}", body, content_type="application/json"
    )

    assert 400 <= answer.status_code < 500
    assert answer["Content-Type"].startswith(("application/json", "application/problem+json"))


@pytest.mark.parametrize("token", ["x", "x" * 300, "ÿ", "..", "a b", "0" * 32])
def test_tokens_nobody_gave_out(db: None, token: str) -> None:
    answer = Client(raise_request_exception=False).get(
        "/api/auth/app/v1/auth/session", headers={"X-Session-Token": token}
    )

    assert answer.status_code in (401, 410)


# --- Operators --------------------------------------------------------------------------------


@pytest.fixture
def operator() -> User:
    return User.objects.create_superuser("op@example.org", PASSWORD)


def page_login(email: str) -> Client:
    client = Client()
    client.post("/accounts/login/", {"login": email, "password": PASSWORD})
    return client


def test_operators_set_up_a_factor_before_they_see_anything(operator: User) -> None:
    client = page_login("op@example.org")
    answer = client.get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/reauthenticate/")
    client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    page = client.get("/accounts/2fa/totp/activate/")
    secret = page.context["form"].secret
    client.post("/accounts/2fa/totp/activate/", {"code": totp(secret)})

    answer = client.get("/admin/", follow=True)
    asked = answer.redirect_chain[-1][0]
    assert asked.startswith("/accounts/2fa/reauthenticate/")
    answer = client.post(asked, {"code": totp(secret)}, follow=True)
    assert answer.redirect_chain[-1][0] == "/admin/"
    assert answer.status_code == 200
    assert "Clinics and accounts" in answer.content.decode()


@pytest.fixture
def desk(operator: User) -> Client:
    """The operators' pages, opened with both factors."""
    door = Door()
    door.signs_in("op@example.org", PASSWORD)
    door.post("auth/2fa/reauthenticate", code=totp(door.sets_up_totp(PASSWORD)))
    client = Client()
    client.cookies["sessionid"] = door.token
    return client


def test_operators_see_clinics_and_accounts_and_nothing_else(desk: Client, ben: OwnPhone) -> None:
    index = desk.get("/admin/")
    assert {
        model["object_name"] for app in index.context["app_list"] for model in app["models"]
    } == {
        "Clinic",
        "User",
    }
    listed = desk.get("/admin/clinics/user/").content.decode()
    assert "ana@example.org" in listed
    assert "ben@example.org" not in listed
    assert ben.patient.user is not None
    assert desk.get(f"/admin/clinics/user/{ben.patient.user.pk}/change/").status_code == 302


def test_operators_open_clinics_and_accounts(desk: Client) -> None:
    clinic = {
        "name": "New", "timezone": "Europe/Stockholm", "second_factor_required": "on",
        "typing_delay_days": 7, "upload_delay_days": 90, "emergency_number": "112",
    }  # fmt: skip
    refused = desk.post("/admin/clinics/clinic/add/", clinic | {"timezone": "Mars/Olympus"})
    assert refused.status_code == 200
    assert desk.post("/admin/clinics/clinic/add/", clinic).status_code == 302
    made = Clinic.objects.get(name="New")
    person = {
        "email": "New.Person@example.org", "given_name": "New", "family_name": "Person",
        "clinic": str(made.pk), "is_physiotherapist": "on", "is_active": "on",
    }  # fmt: skip
    assert desk.post("/admin/clinics/user/add/", person).status_code == 302

    door = Door()
    door.post("auth/password/request", 401, email="new.person@example.org")
    door.post("auth/password/reset", 401, key=mailed_code(), password="quite another one")
    door.signs_in("new.person@example.org", "quite another one")
    me(door, 403)  # the clinic asks for a second factor

    account = User.objects.get(email="new.person@example.org")
    person.pop("is_active")
    assert desk.post(f"/admin/clinics/user/{account.pk}/change/", person).status_code == 302
    me(door, 401)


def test_staff_and_patients_are_no_operators(ana: Staff, ben: OwnPhone) -> None:
    for token in (ana.token, ben.token):
        client = Client(raise_request_exception=False)
        client.cookies["sessionid"] = token
        assert client.get("/admin/", follow=True).status_code == 403


@pytest.mark.parametrize("page", ["/accounts/2fa/", "/api/auth/browser/v1/auth/session"])
def test_a_cookie_that_no_session_can_have_is_looked_up_nowhere(
    db: None, page: str, django_assert_num_queries: Any
) -> None:
    with django_assert_num_queries(0):  # PostgreSQL takes no NUL
        answer = Client().get(page, headers={"Cookie": 'sessionid="abcdefgh\\000ijk"'})

    assert answer.status_code in (302, 401)


def test_operators_have_no_role_in_the_api(operator: User) -> None:
    door = Door()
    door.signs_in("op@example.org", PASSWORD)

    assert me(door, 403)["code"] == "forbidden"


def test_pages_count_the_same_tries(operator: User) -> None:
    for _ in range(10):
        wrong("op@example.org")

    assert page_login("op@example.org").get("/accounts/2fa/").status_code == 302


def test_pages_let_nobody_sign_up(db: None) -> None:
    page = Client().get("/accounts/signup/")

    assert b"<form" not in page.content or b'name="invite"' not in page.content


PAGES = ["login", "password/reset", "login/code", "2fa", "2fa/totp/activate", "password/change"]


@pytest.mark.parametrize("page", PAGES)
def test_pages_are_whole(ana: Staff, page: str) -> None:
    client = Client()
    if page.startswith(("2fa", "password/change")):
        client = page_login("ana@example.org")
        client.post("/accounts/reauthenticate/", {"password": PASSWORD})
    answer = client.get(f"/accounts/{page}/", follow=True)

    assert answer.status_code == 200
    assert answer.redirect_chain == []
    assert "color-scheme" in answer.content.decode()
    assert "signup" not in answer.content.decode()
