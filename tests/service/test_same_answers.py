"""Alone on files or with PostgreSQL and Redis, the service answers the same requests the same way.

The full size: `python -m tests.campaigns.same_answers`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.campaigns.same_answers import DATABASE_URL, REDIS_URL, differences, missing, run
from tests.campaigns.sameness import Both, Sameness, moments_in
from tests.campaigns.two_services import Answer, both
from tests.service.matrix import operations


@pytest.fixture(scope="module")
def found() -> Iterator[Both]:
    """What came of a third of the script, on real processes."""
    if lacking := missing():
        pytest.skip(lacking)
    with both(DATABASE_URL, REDIS_URL) as services:
        yield run(services, small=True)


def test_both_answer_the_same(found: Both) -> None:
    assert differences(found) == []


# Within a run nothing comes up that could be put off, and no file is ready.
UNREACHED = {"reminder_snooze", "export_file"}


def test_every_operation_was_asked_and_did_what_it_is_for(found: Both) -> None:
    idle = {
        one.id
        for one in operations()
        if one.id not in found.rows or min(found.rows[one.id].statuses) >= 300
    }
    assert idle == UNREACHED


# --- What counts as the same --------------------------------------------------------------------

ONE, OTHER = "0b7a0c1e-0000-4000-8000-000000000001", "0b7a0c1e-0000-4000-8000-000000000002"
SENT = "2026-03-02T10:00:00+01:00"


def answer(body: object = None, status: int = 200, **headers: str) -> Answer:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status, {"content-type": "application/json", **told}, json.dumps(body).encode())


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(answer({"id": ONE}), answer({"id": OTHER}), id="ids are drawn"),
        pytest.param(
            answer({"at": "2026-03-02T11:00:00.123456Z"}),
            answer({"at": "2026-03-02T11:00:01Z"}),
            id="moments of an answer",
        ),
        pytest.param(
            answer({"at": "2026-03-02T09:00:00Z"}), answer({"at": SENT}), id="one moment, twice"
        ),
        pytest.param(answer({"a": 1, "b": 2}), answer({"b": 2, "a": 1}), id="order of members"),
        pytest.param(answer({"cursor": "abc"}), answer({"cursor": "xyz"}), id="sealed"),
        pytest.param(answer(etag=f'"{1:032}"'), answer(etag=f'"{2:032}"'), id="tags"),
    ],
)
def test_what_is_the_same(ours: Answer, theirs: Answer) -> None:
    assert Sameness(set(moments_in(SENT))).differences(ours, theirs) == []


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        pytest.param(answer(), answer(status=201), id="status"),
        pytest.param(answer(retry_after="5"), answer(), id="a header"),
        pytest.param(answer(cache_control="private"), answer(cache_control="no-store"), id="value"),
        pytest.param(answer({"a": 1}), answer({"a": 1.0}), id="kind of number"),
        pytest.param(answer({"a": 1}), answer({"a": 2}), id="number"),
        pytest.param(answer({"a": 1}), answer({"a": 1, "b": None}), id="a member more"),
        pytest.param(answer(["a", "b"]), answer(["b", "a"]), id="order of a list"),
        pytest.param(answer({"cursor": "abc"}), answer({"cursor": None}), id="no cursor"),
        pytest.param(answer({"at": SENT}), answer({"at": "2026-03-02T09:00:01Z"}), id="was sent"),
        pytest.param(
            answer({"at": "2026-03-02T11:00:00Z"}), answer({"at": "2026-03-02T12:00:00Z"}),
            id="another hour",
        ),
        pytest.param(answer([ONE, ONE]), answer([ONE, OTHER]), id="one for two"),
        pytest.param(answer([ONE, OTHER]), answer([ONE, ONE]), id="two for one"),
    ],
)  # fmt: skip
def test_what_differs(ours: Answer, theirs: Answer) -> None:
    assert Sameness(set(moments_in(SENT))).differences(ours, theirs) != []


def test_what_stood_for_something_stands_for_it_in_later_answers() -> None:
    same = Sameness()
    tags = [f'"{n:032}"' for n in range(4)]
    assert same.differences(answer(etag=tags[0]), answer(etag=tags[1])) == []

    assert same.differences(answer(etag=tags[0]), answer(etag=tags[1])) == []
    assert same.differences(answer(etag=tags[0]), answer(etag=tags[2])) != []
    assert same.differences(answer(etag=tags[3]), answer(etag=tags[1])) != []


def test_answers_that_differ_teach_nothing() -> None:
    same = Sameness()
    assert same.differences(answer([ONE, 1]), answer([OTHER, 2])) != []

    assert same.differences(answer([ONE]), answer([ONE])) == []


def test_moments_that_are_none_are_not_looked_for() -> None:
    assert list(moments_in(f"2026-02-30T10:00:00Z {SENT}")) == [datetime.fromisoformat(SENT)]
