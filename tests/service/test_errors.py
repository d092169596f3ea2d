"""Whatever fails, wherever, is told as a problem: in development and in service."""

from __future__ import annotations

import logging
from io import StringIO
from typing import Any

import pytest
from django.contrib.sessions.middleware import SessionMiddleware
from django.db import OperationalError
from django.test import Client

from backend.logs import logging_settings
from tests.service.cast import Somebody

SECRET = "canary-of-a-person"


@pytest.fixture(params=[False, True], ids=["service", "development"])
def debug(request: pytest.FixtureRequest, settings: Any) -> bool:
    settings.DEBUG = request.param
    return bool(request.param)


def problem(answer: Any, status: int) -> Any:
    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert answer["Request-Id"] in answer.json()["instance"]
    return answer.json()


def logged(*, logger: str, message: str, args: tuple[object, ...] = ()) -> str:
    told = logging_settings(for_people=False)["formatters"]["line"]
    record = logging.LogRecord(logger, logging.ERROR, "", 0, message, args, None)
    return str(told.pop("()")(**told).format(record))


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["api/v1/meta", "nowhere", "problems/nope", "healthz"])
def test_a_bad_host_is_a_problem(path: str, debug: bool, settings: Any) -> None:
    told = logging_settings(for_people=False)["formatters"]["line"]
    handler = logging.StreamHandler(written := StringIO())
    handler.setFormatter(told.pop("()")(**told))
    logging.getLogger().addHandler(handler)
    client = Client(raise_request_exception=False)
    answer = client.get(f"/{path}/?q={SECRET}", headers={"Host": "a b/c"})
    logging.getLogger().removeHandler(handler)

    found = problem(answer, 400)
    assert found["type"] == f"{settings.PUBLIC_URL}/problems/malformed-request"
    assert SECRET not in written.getvalue()
    assert path not in written.getvalue()


def test_gunicorn_names_no_address() -> None:
    for message, args in (
        ("Error handling request %s", (f"/x?{SECRET}",)),
        ("Error handling request %s %s", ("GET", f"/x?{SECRET}")),
        (f"Invalid request from ip=1: Invalid HTTP request line: 'GET /{SECRET}'", ()),
    ):
        line = logged(logger="gunicorn.error", message=message, args=args)
        assert SECRET not in line
        assert "request failed" in line


@pytest.mark.django_db
@pytest.mark.parametrize("path", ["/problems/nope", "/invitations/xyz"])
def test_a_page_that_is_not_there_is_a_problem(path: str, debug: bool) -> None:
    assert problem(Client().get(path), 404)["code"] == "not-found"


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError(SECRET), ValueError(SECRET)])
def test_a_middleware_that_fails_is_a_problem(
    error: Exception, debug: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(SessionMiddleware, "process_request", fails)
    answer = Client(raise_request_exception=False).get("/api/v1/meta")

    away = isinstance(error, OperationalError)
    assert problem(answer, 503 if away else 500)["code"] == (
        "unavailable" if away else "internal-error"
    )
    assert answer.has_header("Retry-After") == away
    assert SECRET not in answer.content.decode()


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_is_only_read(path: str, client: Client) -> None:
    answer = client.post(path)

    assert problem(answer, 405)["code"] == "method-not-allowed"
    assert answer["Allow"] == "GET, HEAD"


@pytest.mark.django_db
def test_a_made_up_token_is_no_caller_of_its_own(settings: Any, ana: Somebody) -> None:
    settings.UPLOADS_PER_MIN = settings.READS_PER_MIN = 2
    code = {"invitation_code": "UNKN-0WN0-C0DE"}
    statuses = [Somebody(f"{n:032}").call("GET", "meta").status_code for n in range(4)]
    assert statuses == [200, 200, 429, 429]
    for n in range(3):
        answer = Somebody(f"{n:032}").call("POST", "enrolments/check", code)
    assert answer.status_code == 429
    assert ana.call("GET", "meta").status_code == 200
