"""Whatever goes wrong is answered as a problem: at every operation, and outside of them, too."""

from __future__ import annotations

import gzip
import json
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings as configured
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client

from backend.api.base import Endpoint
from tests.contract.test_description import OPERATIONS, PUBLIC, operations
from tests.service.cast import Somebody

UNKNOWN = "0193448e-5d2a-7c11-9a4e-3b1f5d6c7e80"
PATIENTS_OWN = ("patient", "sync")

pytestmark = pytest.mark.django_db


ADMINS_OWN = {"audit", "clinic", "exports", "reports", "rights"}
WITH_BODY = sorted(name for name, one in operations().items() if "requestBody" in one)


@pytest.fixture(params=sorted(OPERATIONS))
def operation(request):
    return operations()[request.param]


@pytest.fixture
def somebody(request, operation) -> Somebody:
    """Whom the operation is for."""
    of_patients = operation["tags"][0] in PATIENTS_OWN or "/me/" in operation["where"]
    name = "ben" if of_patients else "cleo" if operation["tags"][0] in ADMINS_OWN else "ana"
    person: Somebody = request.getfixturevalue(name)
    return person


with_body = pytest.mark.parametrize("operation", WITH_BODY, indirect=True)


def method_of(operation: Any) -> str:
    method: str = operation["where"].split(" ")[0]
    return method


def place_of(operation: Any) -> str:
    path: str = operation["where"].split("/api/v1/")[1]
    return path.replace("{id}", UNKNOWN)


def problem_in(answer: Any, status: int, code: str) -> Any:
    """The body of an answer, which has to be this problem."""
    assert answer["Content-Type"] == "application/problem+json", answer.content[:300]
    body = json.loads(answer.content)
    assert (answer.status_code, body["status"], body["code"]) == (status, status, code)
    assert body["type"].endswith(f"/problems/{code}")
    assert body["title"]
    assert UUID(answer["Request-Id"])
    assert body["instance"] == f"urn:uuid:{answer['Request-Id']}"
    assert answer["Cache-Control"] == "no-store"
    return body


# --- At every operation -----------------------------------------------------------------------


def test_nobody_is_401(operation, nobody):
    answer = nobody.call(method_of(operation), place_of(operation), {})
    if operation["operationId"] in PUBLIC:
        assert answer.status_code != 401
    else:
        problem_in(answer, 401, "unauthenticated")
        assert answer["WWW-Authenticate"]


def test_another_format_is_406(operation, somebody):
    told = operation["responses"].get("200", {}).get("content", {})
    file = "text/csv" if "text/csv" not in told else "text/calendar"
    for accept in ("text/html", "application/xml", "application/json;q=0", f"image/*, {file}"):
        answer = somebody.call(method_of(operation), place_of(operation), {}, Accept=accept)
        problem_in(answer, 406, "not-acceptable")


@pytest.mark.parametrize(
    "accept",
    ["*/*", "", "application/*", "application/json;charset=utf-8", "application/problem+json",
     "text/html, */*;q=0.1", "Application/JSON"],
)  # fmt: skip
def test_formats_that_are_spoken(accept, ana):
    answer = ana.call("GET", "me", Accept=accept)
    assert (answer.status_code, answer["Content-Type"]) == (200, "application/json")
    problem_in(ana.call("GET", f"patients/{UNKNOWN}", Accept=accept), 404, "not-found")


def test_another_method_is_405(operation, somebody):
    spoken = {
        method_of(one) for one in operations().values() if place_of(one) == place_of(operation)
    }
    for method in {"GET", "PUT", "POST", "PATCH", "DELETE"} - spoken:
        answer = somebody.call(method, place_of(operation), {})
        problem_in(answer, 405, "method-not-allowed")
        allowed = set(answer["Allow"].split(", "))
        assert allowed - {"HEAD", "OPTIONS"} == spoken


NO_JSON = {
    "nothing": b"",
    "cut": b"{",
    "NaN": b'{"a": NaN}',
    "infinite": b'{"a": 1e999}',
    "twin keys": b'{"a": 1, "a": 2}',
    "NUL": b'{"a": "\\u0000"}',
    "half a surrogate": b'{"a": "\\ud800"}',
    "no UTF-8": b'{"a": "\xff"}',
    "deep": b"[" * 100_000,
    "a long number": b'{"a": ' + b"9" * 5000 + b"}",
    "a list": b"[]",
    "a text": b'"text"',
    "null": b"null",
}


def sent(somebody: Somebody, operation: Any, raw: bytes, **headers: str) -> HttpResponse:
    where = method_of(operation), place_of(operation)
    answer: HttpResponse = somebody.call(*where, raw=raw, If_Match="*", **headers)
    return answer


def unless_unknown(answer: HttpResponse, status: int, code: str, case: str) -> None:
    """The problem; or 404, where the thing is looked up before the body is read."""
    if answer.status_code != 404:
        try:
            problem_in(answer, status, code)
        except AssertionError as error:
            raise AssertionError(case) from error


@with_body
def test_a_body_in_another_format_is_415(operation, somebody):
    for type_ in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = sent(somebody, operation, b"a=1", Content_Type=type_)
        unless_unknown(answer, 415, "unsupported-media-type", type_)


@with_body
def test_what_is_no_json_object_is_400(operation, somebody):
    for case, raw in NO_JSON.items():
        unless_unknown(sent(somebody, operation, raw), 400, "malformed-request", case)


@with_body
def test_a_body_too_large_is_413(operation, somebody):
    raw = b'{"a": "' + b"x" * configured.BODY_BYTES + b'"}'
    plain = sent(somebody, operation, raw)
    packed = sent(somebody, operation, gzip.compress(raw), Content_Encoding="gzip")

    unless_unknown(plain, 413, "payload-too-large", "plain")
    unless_unknown(packed, 413, "payload-too-large", "gzip")


def test_a_malformed_id_is_an_unknown_one(operation, somebody):
    if "{id}" not in operation["where"] or "requestBody" in operation:
        return
    if operation["operationId"].endswith("_withdraw"):  # may come before what it withdraws
        return
    unknown = somebody.call(method_of(operation), place_of(operation))
    for id in ("x", "0", UNKNOWN.upper() + "0", "null", "%00", "..", "%F0%28"):
        malformed = somebody.call(method_of(operation), place_of(operation).replace(UNKNOWN, id))
        told = {**problem_in(malformed, 404, "not-found"), "instance": ""}
        assert told == {**problem_in(unknown, 404, "not-found"), "instance": ""}, id


def test_too_often_is_429(operation, somebody, settings):
    settings.READS_PER_MIN = settings.UPLOADS_PER_MIN = 0
    answer = somebody.call(method_of(operation), place_of(operation), {})

    problem_in(answer, 429, "rate-limited")
    assert 0 < int(answer["Retry-After"]) <= 60


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        pytest.param(ZeroDivisionError("secret"), 500, "internal-error", id="fault"),
        pytest.param(OperationalError("secret"), 503, "unavailable", id="database away"),
    ],
)
def test_our_fault_tells_nothing(operation, somebody, monkeypatch, fault, status, code):
    def fail(self: Endpoint, *args: object, **kwargs: object) -> None:
        raise fault

    monkeypatch.setattr(Endpoint, "initial", fail)
    answer = somebody.call(method_of(operation), place_of(operation), {})

    problem_in(answer, status, code)
    assert b"secret" not in answer.content
    assert answer.has_header("Retry-After") == (status == 503)


def test_options_and_head(operation, somebody):
    asked = somebody.call("OPTIONS", place_of(operation))
    assert (asked.status_code, asked.content) == (204, b"")
    assert method_of(operation) in asked["Allow"].split(", ")

    if method_of(operation) == "GET":
        got = somebody.call("GET", place_of(operation))
        head = somebody.call("HEAD", place_of(operation))
        assert head.status_code == got.status_code
        assert head.content == b""
        for name in ("Content-Type", "Cache-Control", "Vary"):
            assert head.get(name) == got.get(name)


def test_a_client_too_old_is_told(operation, somebody):
    answer = somebody.call(
        method_of(operation), place_of(operation), {}, Client="rehab/0.9.9 (Android 14; Pixel)"
    )
    if operation["operationId"] in PUBLIC:
        assert answer.status_code != 400
    else:
        said = problem_in(answer, 400, "client-too-old")
        assert said["params"] == {"minimum": configured.MINIMUM_CLIENT["android"]}


@pytest.mark.parametrize(
    "client",
    ["rehab/1.0.0 (android)", "rehab/1.0.0-beta (iOS)", "rehab/10.0 (web)", "rehab/2 (android 14)",
     "rehab/0.1 (toaster)", "rehab", "", "curl/0.1", "rehab/0.1", "(android)", "a/b/c (ios)"],
)  # fmt: skip
def test_clients_that_are_served(client, ana):
    assert ana.call("GET", "me", Client=client).status_code == 200


# --- Outside of operations --------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    ["/api", "/api/", "/api/v1", "/api/v1/", "/api/v2/me", "/api/v1/me/", "/api/v1/nothing",
     "/api/v1/patients/x/y/z", "/api/schema", "/nothing", "/problems", "/.env"],
)  # fmt: skip
def test_an_unknown_address_is_404(method, path, client: Client):
    problem_in(client.generic(method, path), 404, "not-found")


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/api/schema.json", "/api/docs", "/problems/not-found"])
def test_documents_are_only_read(method, path, client: Client):
    answer = client.generic(method, path)
    problem_in(answer, 405, "method-not-allowed")
    assert {"GET", "HEAD"} <= set(answer["Allow"].split(", ")) <= {"GET", "HEAD", "OPTIONS"}


def test_another_host_is_400(client: Client):
    client.raise_request_exception = False
    answer = client.get("/api/v1/meta", headers={"Host": "elsewhere.example"})
    problem_in(answer, 400, "malformed-request")
    assert b"elsewhere" not in answer.content


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=1e3", "limit=%D9%A1", "cursor=x", "cursor=%00"]
)
@pytest.mark.parametrize("path", ["exercises", "protocols", "patients"])
def test_a_bad_page_is_400(path, query, ana):
    code = "cursor-invalid" if query.startswith("cursor") else "malformed-request"
    problem_in(ana.call("GET", f"{path}?{query}"), 400, code)


# --- Texts in an address ------------------------------------------------------------------------

TEXTS = [
    pytest.param(name, one["name"], not one["schema"].get("minLength"), id=f"{name}-{one['name']}")
    for name, operation in sorted(operations().items())
    for one in operation.get("parameters", ())
    if one["in"] == "query" and one["schema"].get("type") == "string"
    if not {"enum", "format"} & one["schema"].keys() and one["name"] != "cursor"
]


@pytest.mark.parametrize(("operation", "text", "may_be_blank"), TEXTS, indirect=["operation"])
def test_a_text_may_be_blank_where_the_description_says_so(
    operation, text, may_be_blank, somebody, ben, grade_1
):
    its_own = grade_1.protocol_id if "/protocols/" in operation["where"] else ben.patient.pk
    path = place_of(operation).replace(UNKNOWN, str(its_own))

    status = somebody.call("GET", f"{path}?{text}=").status_code
    assert (status == 400) is not may_be_blank
