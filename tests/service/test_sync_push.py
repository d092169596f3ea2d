"""Many records at once: one result each, and nothing that is wrong with one reaches another."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.db import IntegrityError, InterfaceError, OperationalError
from django.utils import timezone

from backend.api import sync
from backend.care import deciding, feed, recording
from backend.care.models import Assignment, CheckIn, ClosedDay, Revision
from backend.care.recording import Batch, Report, Status, Upload
from backend.clinics.models import Patient
from exercises.models import Exercise
from tests.service.cast import OwnPhone
from tests.service.uploading import (
    by_itself,
    check_in_at,
    in_a_push,
    item,
    push,
    pushed,
    replica,
    session_at,
)


@pytest.fixture
def rating(ben: OwnPhone) -> dict[str, Any]:
    """A check-in of now."""
    return check_in_at(timezone.now().astimezone(ben.patient.zone))


def frame(**more: object) -> dict[str, object]:
    return {"sent_at": timezone.now().isoformat(), "items": [], **more}


def test_one_answer_tells_everything(ben: OwnPhone, rating: dict[str, Any]) -> None:
    kept, edited, wild, withdrawn = (uuid4() for _ in range(4))
    pushed(
        ben,
        item("check_in", kept, 1, rating),
        item("check_in", edited, 2, rating),
        item("check_in", withdrawn, 1, rating),
    )
    answer = push(
        ben,
        item("check_in", uuid4(), 1, rating),
        item("check_in", edited, 3, {**rating, "note": "later"}),
        item("check_in", kept, 1, rating),
        item("check_in", edited, 1, rating),
        item("check_in", kept, 1, {**rating, "note": "other"}),
        item("check_in", withdrawn, 2),
        item("check_in", wild, 1, {**rating, "pain_now": 11}),
        device_id=str(uuid4()),
        battery=0.4,
    )
    assert [result["status"] for result in answer["results"]] == [
        "created", "updated", "unchanged", "superseded", "conflict", "updated", "rejected",
    ]  # fmt: skip
    assert [result["type"] for result in answer["results"]] == ["check_in"] * 7
    _, _, _, old, other, _, bad = answer["results"]
    assert old["current"] == ben.get(f"me/check-ins/{edited}")
    assert other["current"] == ben.get(f"me/check-ins/{kept}")
    assert other["problem"]["code"] == "revision-conflict"
    assert bad["problem"]["errors"][0]["pointer"] == "#/pain_now"
    assert "instance" not in bad["problem"]
    assert answer["warnings"] == ["unknown-field: battery"]
    assert answer["clock_skew_s"] == 0
    assert answer["changes_waiting"] is True
    assert answer["received_at"].endswith("Z")


def test_changes_wait_only_where_something_changed(ben: OwnPhone, rating: dict[str, Any]) -> None:
    one = item("check_in", uuid4(), 1, rating)
    assert push(ben)["changes_waiting"] is False
    assert push(ben, one)["changes_waiting"] is True
    assert push(ben, one)["changes_waiting"] is False
    assert push(ben, item("check_in", uuid4(), 1, {}))["changes_waiting"] is False


BAD: dict[str, dict[str, Any]] = {
    "nothing in it": {},
    "wrong types": {"local_date": 20261119, "timezone": ["Europe/Stockholm"], "recorded_at": True,
                    "state": 1, "entries": {}, "pain_before": "3", "pop_felt": "yes"},
    "out of range": {"pain_before": 11, "effort": 7.3, "settle_min": 1441, "note": "x" * 1001,
                     "entries": [{"state": "done", "sets": [{"reps": -1}]}]},
    "wrong words": {"timezone": "Mars/Olympus", "state": "gone", "stop_signs": ["nonsense"],
                    "local_date": "2026-02-30", "recorded_at": "2026-11-19T18:31:20"},
    "null": {"local_date": None, "entries": [None], "stop_signs": [None], "note": None},
    "ended before it began": {"started_at": "2026-11-19T18:05:00+01:00",
                              "ended_at": "2026-11-19T18:04:00+01:00"},
    "far away": {"assignment_id": str(uuid4()), "assignment_version": 1},
    "too many": {"entries": [{}] * 41, "stop_signs": ["severe"] * 41},
}  # fmt: skip


def test_a_refusal_is_the_same_both_ways(
    ben: OwnPhone, rating: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for name, wrong in BAD.items():
        with subtests.test(name):
            said = {**rating, "state": "finished", **wrong} if wrong else {}
            said.pop("pain_now", None)
            alone = by_itself(ben, "session", uuid4(), 1, said)
            beside = in_a_push(ben, "session", uuid4(), 1, said)
            assert (alone.status, beside.status) == ("rejected", "rejected")
            assert alone.problem == beside.problem
            assert alone.problem["errors"]
    assert Revision.objects.count() == 0


# What stands in place of an item, and where the refusal points.
BROKEN: list[tuple[Any, list[str]]] = [
    (None, ["#"]),
    (5, ["#"]),
    ("session", ["#"]),
    ([], ["#"]),
    ({}, ["#/type", "#/id", "#/revision"]),
    ({"type": "session"}, ["#/id", "#/revision"]),
    ({"type": "mood", "id": str(uuid4()), "revision": 1, "data": {}}, ["#/type"]),
    ({"type": None, "id": None, "revision": None}, ["#/type", "#/id", "#/revision"]),
    ({"type": ["session"], "id": {"a": 1}, "revision": "1"}, ["#/type", "#/id", "#/revision"]),
    ({"type": "check_in", "id": "one", "revision": 1, "data": {}}, ["#/id"]),
    ({"type": "check_in", "id": uuid4().hex, "revision": 1, "data": {}}, ["#/id"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": 0, "data": {}}, ["#/revision"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": True, "data": {}}, ["#/revision"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": 1.5, "data": {}}, ["#/revision"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": 10**30, "data": {}}, ["#/revision"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": 1}, ["#/data"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": 1, "data": []}, ["#/data"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": 1, "data": None}, ["#/data"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": 1, "withdrawn": False}, ["#/data"]),
    ({"type": "check_in", "id": str(uuid4()), "revision": 1, "withdrawn": 1}, ["#/withdrawn"]),
]


def test_a_broken_item_stands_in_nobodys_way(ben: OwnPhone, rating: dict[str, Any]) -> None:
    good = [item("check_in", uuid4(), 1, rating) for _ in BROKEN]
    mixed = [
        one for pair in zip((broken for broken, _ in BROKEN), good, strict=True) for one in pair
    ]
    results = pushed(ben, *mixed)

    for result, (broken, pointers) in zip(results[::2], BROKEN, strict=True):
        assert result["status"] == "rejected", broken
        assert result["problem"]["code"] == "validation-failed"
        assert [error["pointer"] for error in result["problem"]["errors"]] == pointers
    assert {result["status"] for result in results[1::2]} == {"created"}


def test_a_hundred_and_one_are_too_many(ben: OwnPhone, rating: dict[str, Any]) -> None:
    many = [item("check_in", uuid4(), 1, rating) for _ in range(101)]
    refused = ben.post("me/sync/push", frame(items=many), 413)
    assert (refused["code"], refused["params"]) == ("payload-too-large", {"limit": 100})
    assert CheckIn.objects.count() == 0

    assert {result["status"] for result in pushed(ben, *many[:100])} == {"created"}
    assert CheckIn.objects.count() == 100


FRAMES: dict[str, tuple[object, list[str]]] = {
    "no object": ([], []),
    "text": ("items", []),
    "empty": ({}, ["#/sent_at", "#/items"]),
    "no items": ({"sent_at": "2026-11-20T07:12:03+01:00"}, ["#/items"]),
    "items are an object": (frame(items={}), ["#/items"]),
    "items are null": (frame(items=None), ["#/items"]),
    "no offset": (frame(sent_at="2026-11-20T07:12:03"), ["#/sent_at"]),
    "a number": (frame(sent_at=1763619123), ["#/sent_at"]),
    "another device": (frame(device_id="mine"), ["#/device_id"]),
}


def test_a_frame_that_cannot_be_read_is_no_news_about_records(
    ben: OwnPhone, subtests: pytest.Subtests
) -> None:
    for name, (body, pointers) in FRAMES.items():
        with subtests.test(name):
            refused = ben.post("me/sync/push", body, 400)
            assert refused["code"] == "malformed-request"
            assert [error["pointer"] for error in refused.get("errors", [])] == pointers


def test_a_push_again_changes_nothing(ben: OwnPhone, plan_of_ben: Any, rating: Any) -> None:
    done = ben.session_of(ben.slot(), plan_of_ben, pop_felt=True)
    del done["revision"]
    items = [
        item("session", uuid4(), 1, done),
        item("check_in", uuid4(), 1, rating),
        item("check_in", uuid4(), 3),
        item("check_in", uuid4(), 1, {}),
    ]
    first = pushed(ben, *items)
    held, cursor = replica(ben)
    for _ in range(2):
        again = pushed(ben, *items)
        assert [result["status"] for result in again] == ["unchanged"] * 3 + ["rejected"]
        assert [{**result, "status": ""} for result in again] == [
            {**result, "status": ""} for result in first
        ]
    assert replica(ben) == (held, cursor)


def test_within_one_push_the_order_rules(ben: OwnPhone, rating: dict[str, Any]) -> None:
    id = uuid4()
    results = pushed(
        ben,
        item("check_in", id, 2, rating),
        item("check_in", id, 2, rating),
        item("check_in", id, 1, rating),
        item("check_in", id, 4),
        item("check_in", id, 3, rating),
        item("check_in", id, 5, {**rating, "note": "after all"}),
        item("session", id, 1),
    )
    assert [result["status"] for result in results] == [
        "created", "unchanged", "superseded", "updated", "superseded", "updated", "created",
    ]  # fmt: skip
    shown = ben.get(f"me/check-ins/{id}")
    assert (shown["revision"], shown["note"], shown["history_count"]) == (5, "after all", 5)


@pytest.mark.parametrize("seed", range(3))
def test_ratings_of_many_weeks_find_their_days_in_one_push(seed: int, ben: OwnPhone) -> None:
    """What a push reads of the days around a record, it reads for records of the same weeks too."""
    noon = (timezone.now().astimezone(ben.patient.zone) - timedelta(days=1)).replace(hour=12)
    days = [noon - timedelta(days=2 * n) for n in range(35)]
    work = [{"exercise_id": str(any_exercise()), "state": "done", "sets": [{"reps": 1}]}]
    sessions = [
        item("session", uuid4(), 1, session_at(day - timedelta(hours=18), entries=work))
        for day in days
    ]
    ratings = {uuid4(): day for day in days}
    items = [*sessions, *(item("check_in", id, 1, check_in_at(at)) for id, at in ratings.items())]
    random.Random(seed).shuffle(items)
    edited = [{**one, "revision": 2} for one in items[:20]]

    results = pushed(ben, *items, *edited)

    assert [result["status"] for result in results] == ["created"] * 70 + ["updated"] * 20
    told = {row.phone_id: (row.derived or {})["rates_session_day"] for row in CheckIn.objects.all()}
    expected = {id: (at - timedelta(days=1)).date().isoformat() for id, at in ratings.items()}
    assert told == expected


def any_exercise() -> UUID:
    return Exercise.objects.filter(clinic=None).values_list("pk", flat=True)[0]


# --- Our faults -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (OperationalError("database is locked"), "unavailable"),
        (InterfaceError("connection already closed"), "unavailable"),
        (IntegrityError("unexpected"), "internal-error"),
        (KeyError("a mistake of ours"), "internal-error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_our_fault_with_one_record_is_no_refusal_and_stops_no_other(
    fault: Exception, code: str, ben: OwnPhone, rating: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [uuid4() for _ in range(3)]
    touch = feed.touch
    faults = [fault]

    def touch_badly(patient: Patient, touched: Any, **more: Any) -> None:
        touch(patient, touched, **more)
        if faults and CheckIn.objects.filter(phone_id=ids[1]).exists():
            raise faults.pop()

    monkeypatch.setattr(feed, "touch", touch_badly)
    # The record that failed comes twice: what was rolled back must not be taken for stored.
    results = pushed(ben, *(item("check_in", ids[n], 1, rating) for n in (0, 1, 1, 2)))

    assert [result["status"] for result in results] == ["created", "retry", "created", "created"]
    assert results[1]["problem"]["code"] == code
    assert str(fault) not in str(results)
    assert {ben.get(f"me/check-ins/{id}")["history_count"] for id in ids} == {1}


def test_a_fault_in_an_edit_keeps_what_stood(
    ben: OwnPhone, rating: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    id = uuid4()
    before = pushed(ben, item("check_in", id, 1, rating)) and ben.get(f"me/check-ins/{id}")
    edit = item("check_in", id, 2, {**rating, "note": "edited"})
    with monkeypatch.context() as broken:

        def fail(*_: object, **__: object) -> None:
            raise OperationalError("gone")

        broken.setattr(recording, "_rate_again", fail)
        assert [r["status"] for r in pushed(ben, edit, edit)] == ["retry", "retry"]
        unavailable = ben.put(f"me/check-ins/{id}", {**rating, "revision": 2}, 503)
        assert unavailable["code"] == "unavailable"
    assert ben.get(f"me/check-ins/{id}") == before
    assert [r["status"] for r in pushed(ben, edit, edit)] == ["updated", "unchanged"]


def test_what_is_not_reached_in_time_is_tried_again(
    ben: OwnPhone, rating: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A busy service answers what it has done, rather than being cut off with all of it."""
    items = [item("check_in", uuid4(), 1, rating) for _ in range(3)]
    with monkeypatch.context() as busy:
        busy.setattr(sync, "ENOUGH_S", -1)
        results = pushed(ben, *items)
        assert [result["status"] for result in results] == ["retry"] * 3
        assert results[0]["problem"]["code"] == "unavailable"
    assert [result["status"] for result in pushed(ben, *items)] == ["created"] * 3


def test_consent_withdrawn_meanwhile_refuses_no_record(
    ben: OwnPhone, rating: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The phone keeps its queue; a refusal of each record would empty it."""
    put = recording.put

    def put_then_withdraw(**said: Any) -> Any:
        receipt = put(**said)
        Patient.objects.update(consent_withdrawn_at=timezone.now())
        return receipt

    monkeypatch.setattr(recording, "put", put_then_withdraw)
    items = [item("check_in", uuid4(), 1, rating) for _ in range(2)]
    assert ben.post("me/sync/push", frame(items=items), 403)["code"] == "consent-withdrawn"


def test_a_push_knows_what_another_phone_did_meanwhile(ben: OwnPhone, rating: Any) -> None:
    """Heads that a push holds are only good while nobody else writes."""
    upload, id = Upload(timezone.now()), uuid4()

    def report(revision: int) -> Report:
        return Report(Revision.Kind.CHECK_IN, id, revision, {**rating, "note": str(revision)})

    def put(revision: int, batch: Batch | None = None) -> Status:
        patient = Patient.objects.get(pk=ben.patient.pk)
        said = report(revision)
        return recording.put(patient=patient, report=said, upload=upload, batch=batch).status

    push = Batch({report(1).key})
    assert put(3, push) == Status.CREATED
    assert put(1) == Status.SUPERSEDED  # the other phone adds to the history,
    assert put(4, push) == Status.UPDATED
    assert put(6) == Status.UPDATED  # and then overtakes
    assert put(5, push) == Status.SUPERSEDED
    shown = ben.get(f"me/check-ins/{id}")
    assert (shown["revision"], shown["note"], shown["history_count"]) == (6, "6", 5)


def test_a_phone_that_only_repeats_itself_was_heard(ben: OwnPhone, rating: Any) -> None:
    one = item("check_in", uuid4(), 1, rating)
    pushed(ben, one)
    long_ago = timezone.now() - timedelta(days=3)
    Patient.objects.update(last_received_at=long_ago)
    pushed(ben, one)
    heard = Patient.objects.get(pk=ben.patient.pk).last_received_at
    assert heard is not None
    assert heard > long_ago + timedelta(days=2)


def test_what_a_push_left_unjudged_is_judged_with_the_next_record(
    ben: OwnPhone, plan_of_ben: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process may end between storing and judging; the phone has its answer and sends no more."""
    first = ben.today
    late = ben.session_of(ben.slot(), plan_of_ben)
    del late["revision"]

    def broken(**_: object) -> None:
        raise OperationalError("connection lost")

    with time_machine.travel(timezone.now() + timedelta(days=2), tick=False):
        deciding.close(patient_id=ben.patient.pk, now=timezone.now())
        assert ClosedDay.objects.get(on=first).done_sets == 0
        with monkeypatch.context() as patched:
            patched.setattr(recording, "settle", broken)
            [taken] = pushed(ben, item("session", uuid4(), 1, late))
        assert taken["status"] == "created"
        assert ClosedDay.objects.get(on=first).done_sets == 0

        ben.logs(ben.slot(), plan_of_ben)

        assert ClosedDay.objects.get(on=first).done_sets > 0
        assert not Assignment.objects.get(pk=plan_of_ben["id"]).is_behind
