"""What everybody may ask: the service, oneself, one's consent, one's devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.utils import timezone

from backend.api.account import MeIn
from backend.care.models import Change
from backend.clinics.models import Clinic, Device, Patient, User
from tests.service.cast import Answer, OwnPhone, Somebody, Staff
from tests.service.racing import at_once, meeting

pytestmark = pytest.mark.django_db

# --- The service ------------------------------------------------------------------------------


def test_meta_needs_no_sign_in(settings: Any) -> None:
    told = Somebody().get("meta")

    assert told["api"] == ["v1"]
    assert told["limits"] == {
        "push_items": settings.PUSH_ITEMS,
        "body_bytes": settings.BODY_BYTES,
        "typing_delay_days": 7,
        "upload_delay_days": 90,
        "day_closes_at": "12:00",
    }
    assert told["server_time"].endswith("Z")
    assert set(told["minimum_client"]) >= {"android", "ios"}


def test_meta_tells_the_limits_of_ones_clinic(ben: OwnPhone, bea: OwnPhone, olga: Staff) -> None:
    Clinic.objects.filter(pk=ben.patient.clinic_id).update(typing_delay_days=3)

    limits = [caller.get("meta")["limits"]["typing_delay_days"] for caller in (ben, bea, olga)]
    assert limits == [3, 3, 7]


@pytest.mark.parametrize("token", ["0" * 32, "x", "not a token"])
def test_meta_minds_no_old_token(token: str) -> None:
    assert Somebody(token).get("meta")["limits"]["upload_delay_days"] == 90


# --- Oneself ----------------------------------------------------------------------------------


def test_me_as_a_patient(ben: OwnPhone) -> None:
    told = ben.get("me")

    assert told == {
        "id": str(ben.patient.user_id),
        "role": ["patient"],
        "display_name": "Ben Patient",
        "clinic": {
            "id": str(ben.patient.clinic_id), "name": "Harbour", "timezone": "Europe/Stockholm"
        },
        "locale": "en",
        "timezone": "Europe/Stockholm",
        "consents": [{"code": "health_data", "granted": True, "at": told["consents"][0]["at"]}],
    }  # fmt: skip


def test_me_as_staff(olga: Staff) -> None:
    told = olga.get("me")

    assert told["role"] == ["physiotherapist", "clinic_admin"]
    assert told["display_name"] == "Olga Staff"
    assert told["consents"] == []


def test_nobody_is_nobody() -> None:
    assert Somebody().get("me", 401)["code"] == "unauthenticated"


def test_without_clinic_or_role_there_is_nothing(ben: OwnPhone, ana: Staff) -> None:
    User.objects.filter(pk=ana.user.pk).update(is_physiotherapist=False)

    assert ana.get("me", 403)["code"] == "forbidden"
    assert ben.get("me")["role"] == ["patient"]


def test_me_is_read_once(ben: OwnPhone) -> None:
    etag = ben.call("GET", "me")["ETag"]

    assert ben.call("GET", "me", If_None_Match=etag).status_code == 304
    ben.patch("me", {"locale": "sv"})
    assert ben.call("GET", "me", If_None_Match=etag).status_code == 200


def test_a_patient_changes_what_is_hers(ben: OwnPhone, ana: Staff) -> None:
    said = {"locale": "sv", "timezone": "Asia/Tokyo", "phone": "+46 70 123 45 67",
            "email": "ben.at.home@example.org"}  # fmt: skip
    told = ben.patch("me", said)

    assert {name: told[name] for name in said} == said
    seen = ana.get(f"patients/{ben.patient.pk}")
    assert {name: seen[name] for name in said} == said
    user = User.objects.get(patient=ben.patient)
    assert (user.locale, user.timezone, user.email) == ("sv", "Asia/Tokyo", "ben@example.org")


def test_phones_hear_of_it(ben: OwnPhone) -> None:
    start = ben.get("me/sync/changes")["cursor"]
    ben.patch("me", {"locale": "sv"})
    page = ben.get(f"me/sync/changes?cursor={start}")
    assert [item["type"] for item in page["items"]] == ["patient"]
    ben.patch("me", {"timezone": "Asia/Tokyo"})
    page = ben.get(f"me/sync/changes?cursor={page['cursor']}")

    assert [item["type"] for item in page["items"]] == ["patient", "plan"]


def test_staff_change_language_and_zone_only(ana: Staff) -> None:
    told = ana.patch("me", {"locale": "sv", "timezone": "Asia/Tokyo"})
    assert (told["locale"], told["timezone"]) == ("sv", "Asia/Tokyo")

    for field, value in {"phone": "112", "email": "a@b.org", "consents": []}.items():
        [error] = ana.patch("me", {field: value}, 422)["errors"]
        assert (error["pointer"], error["code"]) == (f"#/{field}", "unknown-field")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"locale": "svenska"}, "#/locale", "invalid-value"),
        ({"locale": "sv\n"}, "#/locale", "invalid-value"),
        ({"locale": 5}, "#/locale", "invalid-type"),
        ({"timezone": "Mars/Olympus"}, "#/timezone", "invalid-value"),
        ({"timezone": None}, "#/timezone", "invalid-type"),
        ({"email": "nobody"}, "#/email", "invalid-value"),
        ({"email": "a" * 250 + "@b.org"}, "#/email", "too-long"),
        ({"phone": "call me"}, "#/phone", "invalid-value"),
        ({"consents": [{"code": "health_data"}]}, "#/consents/0/granted", "required"),
        ({"consents": [{"code": "x", "granted": True}]}, "#/consents/0/code", "invalid-value"),
        ({"consents": [{"code": "health_data", "granted": 1}]}, "#/consents/0/granted",
         "invalid-type"),
        ({"role": ["clinic_admin"]}, "#/role", "unknown-field"),
        ({"clinic": str(uuid4())}, "#/clinic", "unknown-field"),
        ({"is_staff": True}, "#/is_staff", "unknown-field"),
    ],
)  # fmt: skip
def test_bad_input(ben: OwnPhone, body: Any, pointer: str, code: str) -> None:
    before = ben.get("me")
    [error] = ben.patch("me", body, 422)["errors"]

    assert (error["pointer"], error["code"]) == (pointer, code)
    assert ben.get("me") == before


@pytest.mark.parametrize("who", ["ben", "ana"])
def test_if_match(who: str, request: pytest.FixtureRequest) -> None:
    caller = request.getfixturevalue(who)
    etag = caller.call("GET", "me")["ETag"]
    caller.patch("me", {"locale": "sv"}, If_Match=etag)
    refused = caller.patch("me", {"locale": "de"}, 412, If_Match=etag)

    assert refused["code"] == "version-mismatch"
    assert refused["current_etag"] == caller.call("GET", "me")["ETag"]
    assert caller.get("me")["locale"] == "sv"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("who", ["ben", "ana"])
def test_of_two_at_once_one_is_told(
    who: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both were signed in and read what they change before either wrote."""
    caller = request.getfixturevalue(who)
    tag = caller.call("GET", "me")["ETag"]
    meeting(monkeypatch, MeIn, "checked")

    def says(locale: str) -> Callable[[], Answer]:
        body = {"locale": locale}
        return lambda: Somebody(caller.token).call("PATCH", "me", body, If_Match=tag)

    won, lost = sorted(at_once(says("sv"), says("de")), key=lambda answer: answer.status_code)
    assert (won.status_code, lost.status_code) == (200, 412)
    assert lost.json()["current_etag"] == won["ETag"] == caller.call("GET", "me")["ETag"]
    assert caller.get("me") == won.json()


# --- Consent ----------------------------------------------------------------------------------


def test_withdrawn_consent_stops_everything_but_oneself(ben: OwnPhone, bea: OwnPhone) -> None:
    told = ben.patch("me", {"consents": [{"code": "health_data", "granted": False}]})
    assert told["consents"][0]["granted"] is False

    for path in ("me/plan", "me/sessions", "me/sync/changes", "me/assignments"):
        assert ben.get(path, 403)["code"] == "consent-withdrawn"
        bea.get(path)
    assert ben.put(f"me/check-ins/{uuid4()}", ben.check_in(), 403)["code"] == "consent-withdrawn"
    assert ben.put(f"me/devices/{uuid4()}", device(), 403)["code"] == "consent-withdrawn"
    ben.get("me")

    ben.patch("me", {"consents": [{"code": "health_data", "granted": True}]})
    ben.get("me/plan")


def test_consent_keeps_its_date_when_repeated(ben: OwnPhone) -> None:
    first = ben.get("me")["consents"]
    ben.patch("me", {"consents": [{"code": "health_data", "granted": True}]})

    assert ben.get("me")["consents"] == first
    assert Patient.objects.get(pk=ben.patient.pk).version == 1


# --- Devices ----------------------------------------------------------------------------------


def device(**more: Any) -> dict[str, Any]:
    return {"platform": "android", "push_token": "token-1", "app_version": "1.2.0"} | more


def test_a_device_is_put_again_and_again(ben: OwnPhone) -> None:
    path = f"me/devices/{uuid4()}"
    first = ben.put(path, device(), 200)
    assert "push_token" not in first  # an address is not told back
    ben.put(path, device(app_version="1.3.0"), 200)

    row = Device.objects.get()
    assert (row.patient, row.app_version, row.push_token) == (ben.patient, "1.3.0", "token-1")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        pytest.param({"platform": "android"}, "fcm_token", id="usual on Android"),
        pytest.param({"platform": "ios"}, "apns", id="usual on iOS"),
        pytest.param({"platform": "web"}, "web_push", id="usual in a browser"),
        pytest.param({"platform": "ios", "push_kind": "fcm_token"}, "fcm_token", id="as it said"),
        *(
            pytest.param({"platform": "android", "push_kind": one}, one, id=one)
            for one in Device.PushKind.values
        ),
    ],
)
def test_a_token_is_of_the_kind_that_was_said_or_is_usual(
    ben: OwnPhone, said: dict[str, str], kind: str
) -> None:
    path = f"me/devices/{uuid4()}"
    ben.put(path, device(**said))
    assert Device.objects.get().address_kind == kind

    ben.put(path, device(platform="web"))
    assert Device.objects.get().address_kind == "web_push", "what was said before is past"


def test_a_device_is_forgotten(ben: OwnPhone) -> None:
    path = f"me/devices/{uuid4()}"
    ben.put(path, device())
    ben.delete(path, 204)

    ben.delete(path, 404)
    assert not Device.objects.exists()


def test_the_same_id_of_somebody_else_is_another_device(ben: OwnPhone, bea: OwnPhone) -> None:
    path = f"me/devices/{uuid4()}"
    ben.put(path, device(push_token="token-ben"))
    bea.delete(path, 404)
    bea.put(path, device(push_token="token-bea"))

    assert Device.objects.count() == 2
    bea.delete(path, 204)
    assert Device.objects.get().patient == ben.patient


def test_a_phone_that_changed_hands_leaves_its_former_owner(ben: OwnPhone, bea: OwnPhone) -> None:
    ben.put(f"me/devices/{uuid4()}", device())
    bea.put(f"me/devices/{uuid4()}", device())

    assert Device.objects.get(patient=ben.patient).push_token == ""
    assert Device.objects.get(patient=bea.patient).push_token == "token-1"


def test_only_patients_have_devices(ana: Staff, ben: OwnPhone) -> None:
    path = f"me/devices/{uuid4()}"

    assert ana.put(path, device(), 403)["code"] == "forbidden"
    Somebody().put(path, device(), 401)
    ben.put(path, device())


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({}, "#/platform", "required"),
        (device(platform="fax"), "#/platform", "invalid-value"),
        (device(push_kind="pigeon"), "#/push_kind", "invalid-value"),
        (device(push_kind=None), "#/push_kind", "invalid-type"),
        (device(push_token="x" * 4097), "#/push_token", "too-long"),
        (device(app_version=1.2), "#/app_version", "invalid-type"),
        (device(patient=str(uuid4())), "#/patient", "unknown-field"),
    ],
)
def test_bad_devices(ben: OwnPhone, body: Any, pointer: str, code: str) -> None:
    errors = ben.put(f"me/devices/{uuid4()}", body, 422)["errors"]

    assert {"pointer": pointer, "code": code}.items() <= errors[0].items()
    assert not Device.objects.exists()


def test_an_id_is_a_uuid(ben: OwnPhone) -> None:
    assert ben.put("me/devices/phone", device(), 404)["code"] == "not-found"


# --- Cost -------------------------------------------------------------------------------------


def test_queries(ben: OwnPhone, ana: Staff, django_assert_num_queries: Any) -> None:
    with django_assert_num_queries(2):
        ben.get("me")
    with django_assert_num_queries(2):
        ana.get("me")
    with django_assert_num_queries(0):
        Somebody().get("meta")
    with django_assert_num_queries(2):
        ben.get("meta")


def test_a_patient_stands_in_the_feed_from_the_start(ana: Staff) -> None:
    said = {
        "given_name": "Nora", "family_name": "Ek", "birth_date": "1984-02-29", "locale": "sv",
        "timezone": "Europe/Stockholm",
    }  # fmt: skip
    made = ana.post("patients", said, 201)

    assert [(c.type, str(c.object_id)) for c in Change.objects.all()] == [("patient", made["id"])]
    assert Patient.objects.get(pk=made["id"]).created_at <= timezone.now()
