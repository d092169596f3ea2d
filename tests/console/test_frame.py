"""Who gets in, what every page carries, and what is left in the audit."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.cache import caches
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from backend.api.base import Role
from backend.audit.models import AuditEvent
from backend.console.frame import SEEN, Screen
from backend.urls import CONSOLE
from tests.console.conftest import browses
from tests.console.screens import SHOTS, Shot, address_of
from tests.demo_clinic import ROOT
from tests.service.cast import OwnPhone, Somebody, Staff, make_patient, session_token
from tests.service.door import totp

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
PLAIN = [shot for shot in SHOTS if not shot.follow]


@pytest.fixture
def cast(request: pytest.FixtureRequest) -> dict[str, Somebody]:
    return {name: request.getfixturevalue(name) for name in ("ana", "cleo", "ben", "nobody")}


# --- Every route ------------------------------------------------------------------------------


def test_every_route_is_a_screen_that_says_whose_it_is() -> None:
    for pattern in CONSOLE:
        view = pattern.callback.cls  # type: ignore[attr-defined]
        assert issubclass(view, Screen), pattern
        assert view.roles <= {Role.PHYSIOTHERAPIST, Role.CLINIC_ADMIN}, pattern
        if hasattr(view, "post") and view.__name__ != "Unknown":
            assert view.writes, f"{view.__name__} writes and leaves no event"


def test_every_page_is_looked_at() -> None:
    """Each page without an id in its address stands in the table of screens."""
    pages = {
        one.name
        for one in CONSOLE
        if one.name and hasattr(one.callback.cls, "get") and "<" not in str(one.pattern)  # type: ignore[attr-defined]
    }
    assert pages - {shot.route for shot in SHOTS} == {"home"}


@pytest.mark.parametrize("who", ["ana", "cleo", "ben", "nobody"])
@pytest.mark.parametrize("shot", PLAIN, ids=lambda shot: shot.name)
def test_whoever_may_sees_a_screen_and_nobody_else(
    shot: Shot, who: str, cast: dict[str, Somebody]
) -> None:
    answer = browses(cast[who]).get(address_of(shot))

    if who == "nobody":
        assert answer.status_code == 302
        assert answer["Location"].startswith("/accounts/login/?next=%2Fconsole%2F")
    else:
        assert answer.status_code == (200 if who in shot.who else 403)
        assert b"<h1>" in answer.content
    assert answer["Cache-Control"] == "no-store"
    assert policy_of(answer) == policy_of({"Content-Security-Policy": POLICY})


@pytest.mark.parametrize("shot", PLAIN, ids=lambda shot: shot.name)
def test_a_look_leaves_one_event(shot: Shot, cast: dict[str, Somebody], ben: OwnPhone) -> None:
    browses(cast[shot.who[0]]).get(address_of(shot))

    assert [one.action for one in AuditEvent.objects.all()] == ([shot.action] * bool(shot.action))


@pytest.mark.parametrize("shot", PLAIN, ids=lambda shot: shot.name)
def test_a_page_holds_no_code_and_no_style(shot: Shot, cast: dict[str, Somebody]) -> None:
    text = browses(cast[shot.who[0]]).get(address_of(shot)).content.decode()

    assert re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", text) == []
    assert re.findall(r"<style|\sstyle=|\son[a-z]+=|javascript:", text) == []
    assert len(text.encode()) < 150_000


def policy_of(answer: Any) -> set[str]:
    return set(answer["Content-Security-Policy"].split("; "))


# --- The caseload, as the first of them -------------------------------------------------------


def test_the_caseload_shows_whom_the_api_lists(ana: Staff, ben: OwnPhone, bea: OwnPhone) -> None:
    listed = ana.get("caseload?include=on_track")["items"]
    text = browses(ana).get("/console/caseload?include=on_track").content.decode()

    names = [row["patient"]["display_name"] for row in listed]
    assert sorted(names, key=text.index) == names
    event = AuditEvent.objects.get(action="console.caseload_list")
    assert set(event.listed) == {str(ben.patient.pk), str(bea.patient.pk)}
    assert event.outcome == "ok"


def test_the_api_names_what_a_screen_did(cleo: Staff, ana: Staff, ben: OwnPhone) -> None:
    browses(ana).get("/console/caseload")

    [event] = cleo.get("audit-events?action=console.caseload_list")["items"]
    assert event["actor"]["id"] == str(ana.user.pk)


def test_another_clinic_is_not_there(olga: Staff, ben: OwnPhone) -> None:
    text = browses(olga).get("/console/caseload?include=on_track").content.decode()
    assert ben.patient.display_name not in text


def test_queries_do_not_grow_with_patients(ana: Staff, now: Any) -> None:
    counts = []
    for number in range(4):
        make_patient(ana.user.clinic, f"Person{number}", now, ana.user)  # type: ignore[arg-type]
        with CaptureQueriesContext(
            connection,
        ) as seen:
            browses(ana).get("/console/caseload?include=on_track")
        counts.append(len(seen))
    assert len(set(counts[1:])) == 1, counts


# --- Refusals ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("nowhere", 404, "belongs to another clinic"),
        ("caseload?tier=red", 400, "tier"),
        ("caseload?cursor=x", 400, "cursor"),
    ],
)
def test_a_refusal_is_a_page(ana: Staff, path: str, status: int, words: str) -> None:
    answer = browses(ana).get(f"/console/{path}")

    assert answer.status_code == status
    assert words in answer.content.decode()
    assert answer["Content-Type"].startswith("text/html")
    assert answer["Cache-Control"] == "no-store"
    assert policy_of(answer) == policy_of({"Content-Security-Policy": POLICY})


def test_a_patient_is_told_that_this_is_for_staff(ben: OwnPhone) -> None:
    answer = browses(ben).get("/console/caseload")

    assert answer.status_code == 403
    assert "for the staff of a clinic" in answer.content.decode()
    assert not AuditEvent.objects.exists()


def test_a_failure_of_ours_tells_nothing(ana: Staff, monkeypatch: Any) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("backend.console.caseload.Caseload.page", fail)
    answer = browses(ana).get("/console/caseload")

    assert answer.status_code == 500
    assert "secret" not in answer.content.decode()
    assert [one.outcome for one in AuditEvent.objects.all()] == ["failed"]


def test_a_token_of_an_app_opens_no_screen(ana: Staff) -> None:
    answer = Client().get("/console/caseload", headers={"X-Session-Token": ana.token})
    assert answer.status_code == 302


def test_htmx_is_sent_to_the_sign_in_as_a_whole() -> None:
    answer = Client().get("/console/caseload", headers={"HX-Request": "true"})
    assert (answer.status_code, answer["HX-Redirect"][:16]) == (204, "/accounts/login/")


# --- Signing in -------------------------------------------------------------------------------


def test_sign_in_with_second_factor(ana: Staff) -> None:
    """Password, the square, a code, the recovery codes, and only then the caseload."""
    clinic = ana.user.clinic
    assert clinic
    clinic.second_factor_required = True
    clinic.save()
    client = Client()
    said = {"login": ana.user.email, "password": "a long password"}

    answer = client.post("/accounts/login/", said)
    assert answer["Location"] == "/console/"
    answer = client.get("/console/caseload")
    assert answer["Location"].startswith("/accounts/2fa/totp/activate/?next=%2Fconsole")
    answer = client.get(answer["Location"])
    assert answer["Location"].startswith("/accounts/reauthenticate/")
    answer = client.post(answer["Location"], {"password": "a long password"})
    page = client.get(answer["Location"])
    assert b"<svg" in page.content
    assert b"data:image" not in page.content
    secret = page.context["form"].secret
    answer = client.post("/accounts/2fa/totp/activate/", {"code": totp(secret)}, follow=True)
    assert "Recovery codes" in answer.content.decode()
    caches["default"].clear()  # half a minute later
    answer = client.get("/console/caseload")
    assert answer["Location"].startswith("/accounts/2fa/reauthenticate/?next=%2Fconsole")
    answer = client.post(answer["Location"], {"code": totp(secret)})
    assert answer["Location"] == "/console/caseload"
    assert client.get("/console/caseload").status_code == 200

    client = Client()
    caches["default"].clear()
    answer = client.post("/accounts/login/?next=/console/design", said)
    assert answer["Location"].startswith("/accounts/2fa/authenticate/")
    assert client.get("/console/caseload").status_code == 302
    assert client.post(answer["Location"], {"code": "000000"}).status_code == 200
    answer = client.post(answer["Location"], {"code": totp(secret)})
    assert answer["Location"] == "/console/design"
    assert client.get("/console/design").status_code == 200

    Authenticator.objects.all().delete()  # a factor that was taken off counts no more
    assert client.get("/console/caseload").status_code == 302


def test_whoever_is_idle_is_signed_out(ana: Staff, settings: Any, now: Any) -> None:
    settings.CONSOLE_IDLE_MINUTES = 30
    client = browses(ana)
    assert client.get("/console/caseload").status_code == 200
    session = client.session
    for minutes, status in ((29, 200), (31, 302)):
        session[SEEN] = (now - timedelta(minutes=minutes)).timestamp()
        session.save()
        answer = client.get("/console/caseload?tier=watch")
        assert answer.status_code == status, minutes
    assert "ended=idle" in answer["Location"]
    assert "%3Ftier%3Dwatch" in answer["Location"]
    assert "Signed out after 30 minutes idle" in client.get(answer["Location"]).content.decode()
    assert client.get("/console/caseload").status_code == 302, "the session is gone"


def test_sessions_are_listed_and_ended(ana: Staff) -> None:
    said = {"login": ana.user.email, "password": "a long password"}
    phone, desk = Client(), Client()
    for client in (phone, desk):
        client.post("/accounts/login/", said)
    assert "Sessions" in desk.get("/accounts/sessions/").content.decode()

    desk.post("/accounts/sessions/")

    assert desk.get("/console/caseload").status_code == 200
    assert phone.get("/console/caseload").status_code == 302


@pytest.mark.parametrize(
    "path", ["login/", "password/reset/", "2fa/", "sessions/", "password/change/", "logout/",
             "2fa/totp/activate/", "login/code/"],
)  # fmt: skip
def test_pages_of_the_account_hold_no_code(ana: Staff, path: str) -> None:
    client = Client()
    if path not in ("login/", "password/reset/", "login/code/"):
        client.post("/accounts/login/", {"login": ana.user.email, "password": "a long password"})
    answer: Any = client.get(f"/accounts/{path}", follow=True)

    text = answer.content.decode()
    assert answer.status_code == 200
    assert "<h1>" in text
    assert policy_of(answer) == policy_of({"Content-Security-Policy": POLICY})
    for script in re.findall(r"<script([^>]*)>", text):
        assert "src=" in script or "application/json" in script
    assert re.findall(r"<style|\sstyle=", text) == []


def test_the_api_is_without_the_policy_of_pages(ana: Staff) -> None:
    assert "Content-Security-Policy" not in ana.call("GET", "me")
    assert json.loads(ana.call("GET", "me").content)


def test_a_session_of_somebody_who_left_opens_nothing(ana: Staff) -> None:
    token = session_token(ana.user)
    ana.user.is_active = False
    ana.user.save()
    assert browses(Somebody(token)).get("/console/caseload").status_code == 302


def test_who_signs_out_may_sign_in_again(ana: Staff) -> None:
    answer = browses(ana).post("/accounts/logout/")
    assert (answer.status_code, answer["Location"]) == (302, "/accounts/login/")


def test_what_is_folded_can_be_reached_by_the_tab_key() -> None:
    """Chromium leaves out the summary of details that have a tabindex of -1, and all within."""
    told = {one.name: one.read_text() for one in (ROOT / "backend").glob("**/*.html")}
    assert len(told) > 50
    assert [name for name, text in told.items() if re.search(r"<details[^>]*tabindex", text)] == []
