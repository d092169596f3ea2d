"""`Idempotency-Key`: a request sent again is answered again, and done once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.db import OperationalError, connection, transaction
from django.utils import timezone

from backend.api import idempotency
from backend.api.models import IdempotencyKey
from backend.api.physio import assessments
from backend.care import assessing
from backend.care.models import Assessment, Assignment
from backend.clinics.models import Clinic, Episode
from backend.problems import (
    Forbidden,
    MalformedRequest,
    NotFound,
    PayloadTooLarge,
    PreconditionRequired,
    Problem,
    RateLimited,
    StateConflict,
    Unauthenticated,
    Unavailable,
    VersionMismatch,
)
from protocols.models import ProtocolVersion
from tests.service.cast import Answer, OwnPhone, Somebody, Staff, make_staff, wish
from tests.service.matrix import operations
from tests.service.racing import at_once

NINE = datetime(2026, 3, 10, 9, tzinfo=UTC)

# api: every operation marked K. `sync_push` and the PUTs need none, previews change nothing.
KEYED = {
    "export_create", "staff_create", "patient_erase", "service_token_create",
    "assessment_create", "assignment_create", "assignment_end", "assignment_pause",
    "assignment_resume", "episode_create", "exercise_create", "flag_acknowledge", "flag_resolve",
    "invitation_create", "patient_create", "protocol_create", "protocol_publish",
    "protocol_retire", "stop_clear", "progression_decide", "progression_evaluate",
    "progression_propose_version", "reminder_snooze",
}  # fmt: skip


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NINE, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def measured(value: float = 3) -> dict[str, Any]:
    return {
        "code": "nprs_worst",
        "value": value,
        "unit": "0-10",
        "measured_at": "2026-03-10T08:00:00Z",
    }


@pytest.fixture
def send(ana: Staff, ben: OwnPhone) -> Callable[..., Answer]:
    """Ana records a measurement of Ben, with a key."""

    def send(key: object, body: object = None, by: Somebody = ana) -> Answer:
        path = f"patients/{ben.patient.pk}/assessments"
        sent = measured() if body is None else body
        return by.call("POST", path, sent, Idempotency_Key=str(key))

    return send


Send = Callable[..., Answer]


def test_the_operations_that_take_a_key() -> None:
    takes = {one.id for one in operations() if hasattr(one.handler, "__wrapped__")}

    assert takes == KEYED


def test_the_same_request_gets_the_same_answer(send: Send) -> None:
    key = uuid4()
    first, again = send(key), send(key)

    assert (first.status_code, again.status_code) == (201, 201)
    assert again.content == first.content
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    assert Assessment.objects.count() == 1


def test_without_a_key_it_is_simply_carried_out(ana: Staff, ben: OwnPhone) -> None:
    path = f"patients/{ben.patient.pk}/assessments"
    ids = {ana.post(path, measured())["id"] for _ in range(2)}

    assert len(ids) == Assessment.objects.count() == 2
    assert not IdempotencyKey.objects.exists()


def test_the_layout_of_the_body_is_not_the_request(send: Send, ana: Staff, ben: OwnPhone) -> None:
    key, path = uuid4(), f"patients/{ben.patient.pk}/assessments"
    first = send(key)
    spaced = json.dumps(measured(), indent=4).encode() + b"\n"
    again = ana.call("POST", path, raw=spaced, Idempotency_Key=str(key).upper())

    assert again.content == first.content
    assert Assessment.objects.count() == 1


def test_another_request_under_the_same_key_is_refused(
    send: Send, ana: Staff, ben: OwnPhone, bea: OwnPhone
) -> None:
    key = uuid4()
    first = send(key)
    others = (
        send(key, measured(4)),
        ana.call("POST", f"patients/{bea.patient.pk}/assessments", measured(),
                 Idempotency_Key=str(key)),
        ana.call("POST", f"patients/{ben.patient.pk}/assessments?x=1", measured(),
                 Idempotency_Key=str(key)),
    )  # fmt: skip

    for other in others:
        assert (other.status_code, other.json()["code"]) == (422, "idempotency-key-reused")
    assert send(key).content == first.content
    assert Assessment.objects.count() == 1


def test_a_key_belongs_to_its_caller(send: Send, harbour: Clinic) -> None:
    key, dora = uuid4(), make_staff(harbour, "Dora", is_physiotherapist=True)
    first, hers = send(key), send(key, by=dora)

    assert hers.status_code == 201
    assert "Idempotency-Replayed" not in hers
    assert hers.json()["id"] != first.json()["id"]
    assert hers.json()["recorded_by"] == str(dora.user.pk)


def test_a_key_opens_nothing_that_is_closed(send: Send, ana: Staff, olga: Staff) -> None:
    key = uuid4()
    send(key)
    assert send(key, by=olga).status_code == 404
    assert send(key, by=Somebody()).status_code == 401
    ana.user.is_physiotherapist, ana.user.is_clinic_admin = False, True
    ana.user.save()
    assert send(key).status_code == 403


def test_a_replay_shows_nothing_of_a_clinic_one_has_left(
    send: Send, ana: Staff, ben: OwnPhone, elsewhere: Clinic
) -> None:
    key = uuid4()
    send(key)
    ben.patient.physiotherapist = None
    ben.patient.save()
    ana.user.clinic = elsewhere
    ana.user.save()

    assert send(key).json()["code"] == "idempotency-key-reused"
    assert send(uuid4()).status_code == 404


def test_after_24_hours_a_key_is_new(clock: time_machine.Traveller, send: Send) -> None:
    key = uuid4()
    first = send(key)
    clock.move_to(NINE + timedelta(hours=24))
    assert send(key).content == first.content
    clock.shift(timedelta(seconds=1))
    later = send(key)

    assert "Idempotency-Replayed" not in later
    assert later.json()["id"] != first.json()["id"]
    assert send(key).content == later.content


def test_old_keys_are_forgotten(clock: time_machine.Traveller, send: Send) -> None:
    send(uuid4())
    clock.shift(timedelta(hours=12))
    kept = uuid4()
    send(kept)
    clock.shift(timedelta(hours=13))

    assert idempotency.forget_old_keys(now=timezone.now()) == 1
    assert [row.key for row in IdempotencyKey.objects.all()] == [kept]


@pytest.mark.parametrize(
    "key", ["", "1", "not-a-uuid", "{c0ffee00-5a1d-4d2e-9b3c-1f2e3d4c5b6a}", "c0ffee" * 20, "\xfc"]
)
def test_a_key_is_a_uuid(send: Send, key: str) -> None:
    refused = send(key)

    assert (refused.status_code, refused.json()["code"]) == (400, "malformed-request")
    assert not Assessment.objects.exists()


def test_a_refusal_is_an_answer(send: Send, ben: OwnPhone) -> None:
    """Byte for byte, and with its headers; whoever corrects it makes a new request of it."""
    key = uuid4()
    first, again = send(key, measured(11)), send(key, measured(11))

    assert (first.status_code, first.json()["code"]) == (422, "validation-failed")
    assert (again.status_code, again.content) == (422, first.content)
    for name in ("Content-Type", "Cache-Control"):
        assert again[name] == first[name]
    assert "Idempotency-Replayed" not in first
    assert again["Idempotency-Replayed"] == "true"
    assert send(key).json()["code"] == "idempotency-key-reused"
    assert not Assessment.objects.exists()
    assert send(uuid4()).status_code == 201


def test_a_repeat_is_refused_though_it_would_now_be_possible(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion
) -> None:
    """A plan that was refused once must not begin by itself when its way is free."""
    plan_of = ana.assigns(grade_1, to=ben.patient, episode=thigh, on=ben.today)
    path, body = f"patients/{ben.patient.pk}/assignments", wish(grade_1, thigh, ben.today)
    key = str(uuid4())
    first = ana.call("POST", path, body, Idempotency_Key=key)
    assert (first.status_code, first.json()["code"]) == (409, "overlapping-assignment")

    ended, tag = f"assignments/{plan_of['id']}", ana.call("GET", f"assignments/{plan_of['id']}")
    end = {"from": ben.today.isoformat(), "reason": "Moves"}
    ana.post(f"{ended}/end", end, 200, If_Match=tag["ETag"])
    again = ana.call("POST", path, body, Idempotency_Key=key)

    assert (again.status_code, again.content) == (409, first.content)
    assert Assignment.objects.count() == 1
    assert ana.call("POST", path, body, Idempotency_Key=str(uuid4())).status_code == 201


def test_what_a_refused_request_did_before_is_undone(
    send: Send, ben: OwnPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, record = uuid4(), assessing.record

    def records_and_refuses(**said: Any) -> None:
        record(**said)
        raise StateConflict

    with monkeypatch.context() as changed:
        changed.setattr(assessing, "record", records_and_refuses)
        assert send(key).status_code == 409
    assert not Assessment.objects.exists()
    assert send(key).status_code == 409
    assert not Assessment.objects.exists()


@pytest.mark.parametrize(
    "passing",
    [MalformedRequest, Unauthenticated, Forbidden, NotFound, VersionMismatch, PayloadTooLarge,
     PreconditionRequired, RateLimited, Unavailable],
)  # fmt: skip
def test_a_refusal_of_the_moment_is_not_kept(
    send: Send, monkeypatch: pytest.MonkeyPatch, passing: type[Problem]
) -> None:
    def refuses(**_: object) -> None:
        raise passing

    key = uuid4()
    with monkeypatch.context() as changed:
        changed.setattr(assessing, "record", refuses)
        assert send(key).status_code == passing.status
    assert not IdempotencyKey.objects.exists()
    assert send(key).status_code == 201


def test_a_failure_leaves_nothing_behind(
    send: Send, ben: OwnPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Key, effects and answer commit together: whoever repeats after a crash is the first."""
    key = uuid4()
    with monkeypatch.context() as broken:
        broken.setattr(assessments, "assessment_shown", lambda row: 1 / 0)
        assert send(key).status_code == 500
    assert not Assessment.objects.exists()
    assert send(key).status_code == 201
    assert Assessment.objects.count() == 1


def test_tag_and_answer_are_replayed_though_the_plan_moved_on(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion
) -> None:
    """A pause whose answer was lost: the repeat names the old tag and is no conflict."""
    ana.clears_gates(ben.patient)
    path, key = f"patients/{ben.patient.pk}/assignments", str(uuid4())
    body = wish(grade_1, thigh, ben.today)
    made = [ana.call("POST", path, body, Idempotency_Key=key) for _ in range(2)]
    assert made[0].content == made[1].content
    assert made[0]["ETag"] == made[1]["ETag"]
    assert Assignment.objects.count() == 1

    step = {"from": ben.today.isoformat(), "reason": "A cold"}
    path, key = f"assignments/{made[0].json()['id']}/pause", str(uuid4())
    headers: dict[str, Any] = {"If_Match": made[0]["ETag"], "Idempotency_Key": key}
    first, again = (ana.call("POST", path, step, **headers) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert (again.content, again["ETag"]) == (first.content, first["ETag"])
    assert first.json()["version"] == 2

    without = ana.call("POST", path, step, If_Match=made[0]["ETag"])
    assert without.status_code == 412


@pytest.mark.django_db(transaction=True)
def test_twins_are_carried_out_once(ana: Staff, ben: OwnPhone) -> None:
    path, key = f"patients/{ben.patient.pk}/assessments", str(uuid4())
    body = measured() | {"measured_at": datetime.now(UTC).isoformat()}
    answers = at_once(
        *[lambda: Somebody(ana.token).call("POST", path, body, Idempotency_Key=key)] * 6
    )

    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.content for answer in answers}) == 1
    assert sum("Idempotency-Replayed" in answer for answer in answers) == 5
    assert Assessment.objects.count() == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has one writer at a time")
def test_one_still_running_is_told_so(
    ana: Staff, ben: OwnPhone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idempotency, "PATIENCE_MS", 100)
    path, key = f"patients/{ben.patient.pk}/assessments", uuid4()

    def again() -> Answer:
        return Somebody(ana.token).call("POST", path, measured(), Idempotency_Key=str(key))

    with transaction.atomic():
        IdempotencyKey.objects.create(
            user=ana.user, key=key, request_sha256="", status=0, created_at=timezone.now()
        )
        [answer] = at_once(again)
        transaction.set_rollback(True)
    assert (answer.status_code, answer.json()["code"]) == (409, "request-in-progress")
    assert answer["Retry-After"] == "2"
    assert again().status_code == 201


def test_a_lock_elsewhere_is_no_running_twin(send: Send, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a wait for the key itself, or for a row under it, is told as one."""

    def fails(**_: object) -> Any:
        raise OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(assessing, "record", fails)
    answer = send(uuid4())
    assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
    assert answer["Retry-After"]
