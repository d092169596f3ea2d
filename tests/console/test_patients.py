"""Patients on screens: found, enrolled, invited; and what they take home on paper."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from backend.audit.models import AuditEvent
from backend.clinics.models import Episode, Patient
from backend.console import patients
from backend.console.handout import dose_words
from tests.console.conftest import browses
from tests.service.cast import OwnPhone, Somebody, Staff, make_patient

NILS = {"given_name": "Nils", "family_name": "Ny", "birth_date": "1989-12-31",
        "sex": "male", "locale": "sv", "timezone": "Europe/Stockholm"}  # fmt: skip


def posts(person: Somebody, path: str, said: dict[str, Any] | None = None) -> Any:
    """As the browser does it, with the token of the page."""
    client = browses(person)
    token = token_of(client, path)
    return client.post(path, {**(said or {}), "csrfmiddlewaretoken": token})


def token_of(client: Client, path: str) -> str:
    text = client.get(path).content.decode()
    found = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', text)
    assert found
    return found.group(1)


def etag_in(person: Somebody, path: str) -> str:
    [found] = re.findall(r'name="etag" value=("".+?"")', text_of(browses(person).get(path)))
    return str(found[1:-1])


def text_of(answer: Any) -> str:
    return unescape(answer.content.decode())


def events() -> list[AuditEvent]:
    """What pages left, also the one to print, which is none of the console."""
    found = AuditEvent.objects.order_by("pk")
    return [one for one in found if "console." in one.action or one.action == "invitation_print"]


def actions() -> list[str]:
    return [one.action for one in events()]


# --- Found ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["Bea", "Ben"]),
        ("?q=ea", ["Bea"]),
        ("?status=active", ["Bea", "Ben"]),
        ("?status=invited", []),
        ("?q=nobody", []),
    ],
)
def test_the_list_is_that_of_the_api(
    query: str, found: list[str], ana: Staff, ben: OwnPhone, bea: OwnPhone
) -> None:
    text = text_of(browses(ana).get(f"/console/patients{query}"))

    assert re.findall(r"Patient, (\w+)</a>", text) == found
    assert ("Nobody matches" in text) is not bool(found)
    assert actions() == ["console.patient_list"]


def test_a_colleagues_caseload(ana: Staff, cleo: Staff, ben: OwnPhone) -> None:
    for whose, found in ((ana, True), (cleo, False)):
        path = f"/console/patients?physiotherapist_id={whose.user.pk}"
        assert (ben.patient.given_name in text_of(browses(cleo).get(path))) is found


def test_pages(ana: Staff, ben: OwnPhone, bea: OwnPhone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patients, "A_PAGE", 1)
    first = text_of(browses(ana).get("/console/patients?status=active"))
    link = re.search(r'rel="next" href="([^"]+)"', first)
    assert link
    second = text_of(browses(ana).get(f"/console/patients{link.group(1)}"))

    assert "Patient, Bea" in first
    assert "Patient, Ben" not in first
    assert "Patient, Ben" in second
    assert 'rel="next"' not in second


def test_queries_do_not_grow(ana: Staff, now: Any) -> None:
    counts = []
    for number in range(4):
        make_patient(ana.user.clinic, f"Person{number}", now, ana.user)  # type: ignore[arg-type]
        with CaptureQueriesContext(connection) as seen:
            browses(ana).get("/console/patients")
        counts.append(len(seen))
    assert len(set(counts[1:])) == 1, counts


# --- Enrolled ---------------------------------------------------------------------------------


def test_somebody_is_enrolled(ana: Staff) -> None:
    answer = posts(ana, "/console/enrol", {
        **NILS, "physiotherapist_id": str(ana.user.pk), "identifiers/0/system": "urn:test",
        "identifiers/0/value": "17", "conditions": ["pregnancy"],
    })  # fmt: skip

    nils = Patient.objects.get()
    assert answer["Location"] == f"/console/patients/{nils.pk}/account"
    assert (nils.family_name, nils.locale, nils.physiotherapist) == ("Ny", "sv", ana.user)
    assert [one.value for one in nils.identifiers.all()] == ["17"]
    assert nils.conditions == ["pregnancy"]
    assert actions() == ["console.patient_create"]


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"family_name": ""}, "family_name"),
        ({"birth_date": "2999-01-01"}, "birth_date"),
        ({"email": "nobody"}, "email"),
        ({"identifiers/0/value": "17"}, "identifiers/0/system"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
    ],
)
def test_what_is_refused_stays_typed(ana: Staff, wrong: dict[str, str], field: str) -> None:
    answer = posts(ana, "/console/enrol", NILS | {"phone": "+46 70 000"} | wrong)

    text = text_of(answer)
    assert answer.status_code == 422
    assert f'id="f-{field.replace("/", "-")}-error"' in text
    assert 'value="Nils"' in text
    assert not Patient.objects.exists()


def test_an_admin_says_who_treats(cleo: Staff, ana: Staff) -> None:
    answer = posts(cleo, "/console/enrol", NILS)
    assert 'id="f-physiotherapist_id-error"' in text_of(answer)


# --- Put right --------------------------------------------------------------------------------


def test_what_was_said_of_a_patient_is_put_right(cleo: Staff, ana: Staff) -> None:
    numbers = [{"system": "urn:a", "value": "1"}, {"system": "urn:b", "value": "2"}]
    said = NILS | {"email": "nlis@example.org", "identifiers": numbers, "conditions": ["pregnancy"]}
    nils = ana.post("patients", said, 201)["id"]
    path = f"/console/patients/{nils}/change"
    text = text_of(browses(cleo).get(path))
    assert all(f'value="{one}"' in text for one in ("Nils", "nlis@example.org", "urn:a", "1"))
    assert 'value="pregnancy" checked' in text

    answer = posts(cleo, path, NILS | {
        "family_name": "Nyman", "email": "nils@example.org", "etag": etag_in(cleo, path),
        "physiotherapist_id": str(ana.user.pk), "identifiers/0/system": "urn:a",
        "identifiers/0/value": "17",
    })  # fmt: skip
    assert answer["Location"] == f"/console/patients/{nils}/account"
    told = ana.get(f"patients/{nils}")
    assert (told["family_name"], told["email"]) == ("Nyman", "nils@example.org")
    assert [one["value"] for one in told["identifiers"]] == ["17", "2"], "the other one stays"
    assert told["conditions"] == []
    assert actions().count("console.patient_update") == 1


@pytest.mark.parametrize(
    ("wrong", "status"),
    [({"family_name": ""}, 422), ({"email": "nobody"}, 422), ({"etag": '"old"'}, 412)],
)
def test_a_refused_change_stays_typed(ana: Staff, wrong: dict[str, str], status: int) -> None:
    nils = ana.post("patients", NILS, 201)["id"]
    path = f"/console/patients/{nils}/change"
    said = NILS | {"phone": "+46 70 000", "physiotherapist_id": str(ana.user.pk)}
    answer = posts(ana, path, said | {"etag": etag_in(ana, path)} | wrong)

    assert answer.status_code == status
    assert 'value="+46 70 000"' in text_of(answer)
    assert "phone" not in ana.get(f"patients/{nils}")


# --- What they come with ----------------------------------------------------------------------

PROBLEM = {"title": "Left hamstring, sprinting", "body_region": "posterior_thigh", "side": "left",
           "started_on": "2026-11-02"}  # fmt: skip


def address_of(thigh: Episode) -> str:
    return f"/console/patients/{thigh.patient_id}/episodes/{thigh.pk}"


def test_an_episode_is_added_and_leads_to_its_plan(ana: Staff, ben: OwnPhone) -> None:
    patient = f"/console/patients/{ben.patient.pk}"
    answer = posts(ana, f"{patient}/episodes/new", PROBLEM | {
        "onset_date": "2026-11-01", "new_pain": "on", "diagnosis_code/text": "Strain, grade II",
    })  # fmt: skip

    [made] = ana.get(f"patients/{ben.patient.pk}/episodes")["items"]
    assert answer["Location"] == f"{patient}/assign?episode_id={made['id']}"
    assert made.items() >= (PROBLEM | {"onset_date": "2026-11-01", "new_pain": True}).items()
    assert made["diagnosis_code"] == {"text": "Strain, grade II"}
    assert sorted(actions()) == ["console.episode_create", "console.patient_get"]


def test_an_episode_is_changed_and_ended(ana: Staff, thigh: Episode) -> None:
    path = address_of(thigh)
    said = PROBLEM | {"etag": etag_in(ana, path), "ended_on": "2026-11-20",
                      "end_reason": "transferred"}  # fmt: skip
    assert posts(ana, path, said)["Location"] == f"/console/patients/{thigh.patient_id}"

    [told] = ana.get(f"patients/{thigh.patient_id}/episodes")["items"]
    assert told.items() >= {"title": PROBLEM["title"], "ended_on": "2026-11-20"}.items()
    assert "console.episode_update" in actions()


@pytest.mark.parametrize(
    ("wrong", "status", "field"),
    [
        ({"title": " "}, 422, "title"),
        ({"side": ""}, 422, "side"),
        ({"diagnosis_code/code": "S76.3", "diagnosis_code/text": "Strain"}, 422,
         "diagnosis_code/system"),
        ({"ended_on": "2026-11-20"}, 422, "end_reason"),
        ({"etag": '"old"'}, 412, ""),
    ],
)  # fmt: skip
def test_a_refused_episode_stays_typed(
    ana: Staff, thigh: Episode, wrong: dict[str, str], status: int, field: str
) -> None:
    path = address_of(thigh)
    said = PROBLEM | {"onset_date": "2026-10-31", "etag": etag_in(ana, path)} | wrong
    answer = posts(ana, path, said)

    text = text_of(answer)
    assert answer.status_code == status
    assert 'value="2026-10-31"' in text
    assert not field or f'id="f-{field.replace("/", "-")}-error"' in text
    thigh.refresh_from_db()
    assert thigh.version == 1


def test_an_episode_of_somebody_else_is_not_there(
    ana: Staff, olga: Staff, cleo: Staff, thigh: Episode, bea: OwnPhone
) -> None:
    path = address_of(thigh)
    for person, status in ((olga, 404), (cleo, 403)):
        assert browses(person).get(path).status_code == status
    client = browses(ana)
    other = path.replace(str(thigh.patient_id), str(bea.patient.pk))
    assert client.get(other).status_code == 404
    token = token_of(client, "/console/enrol")
    assert client.post(other, PROBLEM | {"csrfmiddlewaretoken": token}).status_code == 404


# --- Invited ----------------------------------------------------------------------------------


def test_an_invitation_and_its_code(ana: Staff, nobody: Somebody) -> None:
    nils = ana.post("patients", NILS, 201)["id"]
    made = posts(ana, f"/console/patients/{nils}/account")
    shown = browses(ana).get(made["Location"])

    text = text_of(shown)
    [code] = re.findall(r"<code>([0-9A-Z-]+)</code>", text)
    assert nobody.post("enrolments/check", {"invitation_code": code})["clinic_name"] == "Harbour"
    assert '<svg viewBox="' in text
    [page] = re.findall(r'href="(/invitations/[^"]+)"', text)
    assert code in text_of(Client().get(page))
    assert "Works until" in text_of(browses(ana).get(f"/console/patients/{nils}/account"))
    assert sorted(actions()) == [
        "console.invitation_create", "console.invitation_print", "console.patient_get",
        "console.patient_get", "invitation_print",
    ]  # fmt: skip
    assert {str(one.patient_id) for one in events()} == {nils}


def test_who_has_an_account_is_not_invited(ana: Staff, ben: OwnPhone, bea: OwnPhone) -> None:
    client = browses(ana)
    path = f"/console/patients/{ben.patient.pk}/account"
    token = token_of(client, "/console/enrol")
    answer = client.post(path, {"csrfmiddlewaretoken": token})

    assert answer.status_code == 409
    assert 'role="alert"' in text_of(answer)


def test_a_code_is_shown_with_its_patient_only(ana: Staff, olga: Staff, ben: OwnPhone) -> None:
    nils = ana.post("patients", NILS, 201)["id"]
    path = posts(ana, f"/console/patients/{nils}/account")["Location"]

    other = path.replace(nils, str(ben.patient.pk))
    for person, address in ((olga, path), (ana, other), (ana, f"{path}x")):
        assert browses(person).get(address).status_code == 404


# --- On paper ---------------------------------------------------------------------------------


@pytest.fixture
def address(plan_of_ben: Any) -> str:
    return f"/console/assignments/{plan_of_ben['id']}/handout"


def test_the_handout_says_what_the_app_says(ana: Staff, ben: OwnPhone, address: str) -> None:
    text = re.sub(r"\s+", " ", text_of(browses(ana).get(address)))

    plan = ben.plan(days=14)
    items: dict[str, Any] = {}
    for day in plan["days"]:
        for slot in day["slots"]:
            for item in slot["items"]:
                items.setdefault(item["prescription_id"], item)
    assert items
    for item in items.values():
        assert item["exercise"]["title"] in text
        assert dose_words(item["dose"]) in text
        for cue in item["exercise"]["cues"]:
            assert f"<li>{cue}</li>" in text
    told = plan["on_device_advice"]
    for one in (*told["pain_during"], *told["stop_signs"]):
        assert one["text"] in text
    assert told["urgent_text"] in text
    assert told["emergency_number"] in text
    assert f"plan version {plan['days'][0]['assignments'][0]['version']}" in text
    [event] = events()
    assert (event.action, event.patient_id) == ("console.assignment_get", ben.patient.pk)


def test_the_table_has_a_box_for_each_time(ana: Staff, ben: OwnPhone, address: str) -> None:
    text = text_of(browses(ana).get(address))

    tables = re.findall(r'<table class="ticks">(.*?)</table>', text, re.DOTALL)
    assert tables
    due = sum(
        item.get("times_a_day", 1)
        for day in ben.plan(days=14)["days"]
        for slot in day["slots"]
        for item in slot["items"]
    )
    told = 0
    for table in tables:
        cells = re.findall(r"<td>(.*?)</td>", table)
        assert len(cells) == 14
        for cell in cells:
            many = re.match(r"(\d+) ×", cell)
            told += int(many.group(1)) if many else cell.count('class="tick"')
    assert told == due


def test_a_standing_stop_stands_on_it(ana: Staff, ben: OwnPhone, address: str) -> None:
    ben.checks_in(stop_signs=[ben.plan(days=1)["on_device_advice"]["stop_signs"][0]["code"]])
    stop = ben.plan(days=1)["stop"]

    text = text_of(browses(ana).get(address))
    for line in stop["patient_text"]:
        assert line in text


@pytest.mark.parametrize("paper", ["a4", "letter"])
def test_the_same_as_pdf(paper: str, ana: Staff, ben: OwnPhone, address: str) -> None:
    answer = browses(ana).get(f"{address}.pdf?paper={paper}")

    assert answer["Content-Type"] == "application/pdf"
    assert answer["Cache-Control"] == "no-store"
    assert answer.content.startswith(b"%PDF-")
    assert {"a4": b"595.2756 841.8898", "letter": b"612 792"}[paper] in answer.content
    assert actions() == ["console.assignment_get"]


def test_whose_it_is(ana: Staff, cleo: Staff, olga: Staff, address: str) -> None:
    for person, status in ((cleo, 403), (olga, 404)):
        for path in (address, f"{address}.pdf"):
            assert browses(person).get(path).status_code == status
    assert browses(ana).get(f"{address}.pdf?paper=a3").status_code == 404
