"""A log line can be found by request id and tells nothing about a person."""

import json
import logging
from collections.abc import Callable, Iterator
from io import StringIO
from uuid import UUID, uuid4

import pytest
from django.http import HttpRequest, HttpResponse
from django.test import Client
from django.urls import path
from pytest_django import Settings

from backend.logs import logging_settings

SECRET = "canary-of-a-person"


def fails(request: HttpRequest, secret: str) -> HttpResponse:
    raise ValueError(f"Key (email)=({SECRET}) exists")


def refuses(request: HttpRequest, secret: str) -> HttpResponse:
    return HttpResponse(SECRET, status=404)


urlpatterns = [path("fails/<secret>", fails), path("refuses/<secret>", refuses)]


Lines = Callable[[], list[dict[str, object]]]


@pytest.fixture
def lines(settings: Settings) -> Iterator[Lines]:
    """What is written where DEBUG is off."""
    settings.ROOT_URLCONF = __name__
    wanted = logging_settings(for_people=False)["formatters"]["line"]
    handler = logging.StreamHandler(written := StringIO())
    handler.setFormatter(wanted.pop("()")(**wanted))
    logging.getLogger().addHandler(handler)
    yield lambda: [json.loads(line) for line in written.getvalue().splitlines()]
    logging.getLogger().removeHandler(handler)


@pytest.fixture
def calm() -> Client:
    return Client(raise_request_exception=False)


def test_a_request_is_one_line_that_names_its_route(calm: Client, lines: Lines):
    mine = str(uuid4())
    answer = calm.get(f"/refuses/{SECRET}?q={SECRET}", headers={"Request-Id": mine})

    [line] = lines()
    assert answer["Request-Id"] == line["request_id"] == mine
    assert (line["route"], line["status"]) == ("refuses/<secret>", 404)
    assert SECRET not in str(line)


def test_a_failure_says_where_but_not_what(calm: Client, lines: Lines):
    answer = calm.post(f"/fails/{SECRET}", {"note": SECRET})

    failure, request = lines()
    assert answer.status_code == request["status"] == 500
    assert failure["exception"] == "ValueError"
    assert failure["request_id"] == request["request_id"]
    assert "test_logs.py" in str(failure["at"])
    assert SECRET not in str(failure) + str(request)


@pytest.mark.parametrize("offered", ["", "7", SECRET, "x" * 5000, "{}", "; DROP TABLE"])
def test_what_is_no_id_is_not_repeated(offered: str, calm: Client, lines: Lines):
    answer = calm.get("/refuses/x", headers={"Request-Id": offered})

    assert str(UUID(answer["Request-Id"])) == answer["Request-Id"] != offered
    assert answer["Request-Id"] == lines()[0]["request_id"]
