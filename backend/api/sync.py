"""Offline sync: push up to 100 records with one result each, and the change feed."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db.models import TextField, UUIDField
from django.db.models.functions import Cast
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.assignments_shown import course_shown
from backend.api.base import Encoded, PatientEndpoint, as_json, moment
from backend.api.contract import operation, query
from backend.api.errors import problem_of, shown
from backend.api.exercises import exercise_shown
from backend.api.fields import (
    In,
    Instant,
    Many,
    Truth,
    Uid,
    Whole,
    Word,
    warnings_out,
    warnings_shown,
)
from backend.api.paging import CursorInvalid, limit_of
from backend.api.parsing import body_of
from backend.api.progressions_shown import own_progression_shown, with_phases
from backend.api.records import (
    MOST_REVISIONS,
    EffectOut,
    PlanChangeOut,
    report_of,
    result_shown,
)
from backend.api.reminders import wishes_shown
from backend.care import feed, recording
from backend.care.models import Change, CheckIn, Progression, Revision, Session
from backend.care.recording import Batch, Report, RevisionConflict, Upload
from backend.care.selectors import courses_in_full, today_of
from backend.clinics.models import Patient
from backend.notifications.actions import settings_of
from backend.problems import (
    ConsentWithdrawn,
    MalformedRequest,
    PayloadTooLarge,
    Problem,
    Unavailable,
    ValidationFailed,
)
from backend.queries import AnyGiven, Given, IdText, MomentText, Written
from exercises.models import Exercise

PAGE = 200
ENOUGH_S = 8  # with one more wait for a busy database still inside the server's time limit

_log = structlog.stdlib.get_logger("backend.sync")


class PushItemIn(In):
    """One record of a push. `data`, or `withdrawn`."""

    lenient = True

    type = Word([kind.value for kind in Revision.Kind])
    id = Uid()
    revision = Whole(1, MOST_REVISIONS)
    data = serializers.DictField(required=False)  # type: ignore[assignment]
    withdrawn = Truth(required=False)


class Items(Many):
    """Items are read one by one later, so that none stands in the way of another."""

    def run_child_validation(self, data: list[Any]) -> list[Any]:
        return data


class PushIn(In):
    """Up to 100 records, handled in order, each in its own transaction."""

    lenient = True

    device_id = Uid(required=False)
    sent_at = Instant()
    items = Items(PushItemIn(), settings.PUSH_ITEMS)


class PushResultOut(serializers.Serializer[Any]):
    index = serializers.IntegerField()
    type = serializers.CharField(required=False)
    id = serializers.CharField(required=False)
    status = serializers.ChoiceField(
        ["created", "updated", "unchanged", "superseded", "conflict", "rejected", "retry"]
    )
    revision = serializers.IntegerField(required=False)
    derived = serializers.DictField(required=False)
    warnings = warnings_out()
    effects = EffectOut(many=True)
    plan_changes = PlanChangeOut(many=True, required=False)
    current = serializers.DictField(required=False)
    problem = serializers.DictField(required=False)


class PushAnswerOut(serializers.Serializer[Any]):
    received_at = serializers.DateTimeField()
    clock_skew_s = serializers.IntegerField()
    results = PushResultOut(many=True)
    changes_waiting = serializers.BooleanField()
    warnings = warnings_out()


class Push(PatientEndpoint):
    @operation("sync_push", takes=PushIn, gives={200: PushAnswerOut}, tag="sync")
    def post(self, request: Request) -> Response:
        values, warnings = _push_of(body_of(request))
        upload = Upload(self.now, values["sent_at"], values.get("device_id"))
        before = self.patient.change_seq
        batch = Batch(wanted=_ids_in(values["items"]), defers=True)
        enough = time.monotonic() + ENOUGH_S
        results = [
            self._taken(index, item, upload, batch, in_time=time.monotonic() < enough)
            for index, item in enumerate(values["items"])
        ]
        self._settle(batch, results)
        stored = any(result["status"] in ("created", "updated") for result in results)
        body = {
            "received_at": moment(self.now),
            "clock_skew_s": upload.skew_s,
            "results": results,
            "changes_waiting": stored or batch.change_seq > before,
            "warnings": warnings_shown(warnings),
        }
        return Response(body)

    def _settle(self, batch: Batch, results: list[dict[str, Any]]) -> None:
        """What the records meant together is told with the last one that was stored.

        They are safe already: where judging hits a passing fault, a sweep does it again.
        """
        try:
            found = recording.settle(patient=self.patient, batch=batch, now=self.now)
        except Exception as error:
            if isinstance(error, ConsentWithdrawn):
                return
            _log.error("push not judged yet", exc_info=error)
            return
        stored = [one for one in results if one["status"] in ("created", "updated")]
        if not stored or not (found.effects or found.plan_changes):
            return
        last = stored[-1]
        last["effects"] = [*last["effects"], *found.effects]
        if found.plan_changes:
            last["plan_changes"] = found.plan_changes

    def _taken(
        self, index: int, item: object, upload: Upload, batch: Batch, *, in_time: bool
    ) -> dict[str, Any]:
        """One result. Nothing that is wrong with one record reaches another."""
        result: dict[str, Any] = {"index": index}
        if isinstance(item, dict):
            result |= {
                name: item[name] for name in ("type", "id") if isinstance(item.get(name), str)
            }
        result |= {"warnings": [], "effects": []}
        try:
            if not in_time:
                raise Unavailable
            report = _report(item)
            result["revision"] = report.revision
            receipt = recording.put(patient=self.patient, report=report, upload=upload, batch=batch)
        except ConsentWithdrawn:
            raise  # no refusal of a record: the phone keeps its queue
        except Exception as error:
            if (problem := problem_of(error)).status < 500:
                return result | {"status": "rejected", "problem": self._shown(problem)}
            if not isinstance(error, Problem):
                _log.error("push item failed", exc_info=error)
            return result | {"status": "retry", "problem": self._shown(problem)}
        result |= result_shown(receipt)
        if receipt.status == "conflict":
            result["problem"] = self._shown(RevisionConflict())
        return result

    def _shown(self, problem: Problem) -> dict[str, object]:
        body = shown(problem, self.request._request)
        del body["instance"]
        return body


def _push_of(sent: object) -> tuple[dict[str, Any], list[str]]:
    """The frame of a push. What is wrong with the frame is no news about any record: 400."""
    items = sent.get("items") if isinstance(sent, dict) else None
    limit = settings.PUSH_ITEMS
    if isinstance(items, list) and len(items) > limit:
        raise PayloadTooLarge(f"At most {limit} records.", params={"limit": limit})
    try:
        return PushIn.checked_with_warnings(sent)
    except ValidationFailed as refused:
        raise MalformedRequest(refused.detail, errors=refused.errors) from None


def _report(item: object) -> Report:
    if not isinstance(item, dict):
        raise ValidationFailed.at("#", "invalid-type", "Must be an object.")
    values, warnings = PushItemIn.checked_with_warnings(item)
    kind = Revision.Kind(values["type"])
    if values.get("withdrawn"):
        return Report(kind, values["id"], values["revision"], None, tuple(warnings))
    if "data" not in values:
        raise ValidationFailed.at("#/data", "required", "Either data or withdrawn.")
    report = report_of(kind, values["id"], values["revision"], values["data"])
    return Report(
        kind, report.phone_id, report.revision, report.content, (*warnings, *report.warnings)
    )


def _ids_in(items: list[object]) -> set[tuple[Revision.Kind, UUID]]:
    """The records a push speaks of, as far as they can be read before each is checked."""
    found = set()
    for item in items:
        if isinstance(item, dict) and item.get("type") in Revision.Kind.values:
            try:
                found.add((Revision.Kind(item["type"]), UUID(item["id"])))
            except (KeyError, ValueError, TypeError, AttributeError):
                continue
    return found


# --- The feed ---------------------------------------------------------------------------------


class ChangeOut(serializers.Serializer[Any]):
    """`version` grows whenever what is told of this object changes. What was told with the same or
    a higher one is a repeat, until a page says `reset`. It is no `revision`."""

    type = serializers.CharField()
    id = serializers.UUIDField()
    op = serializers.ChoiceField(["upsert", "delete", "refetch"])
    version = serializers.IntegerField()
    data = serializers.DictField(required=False)  # type: ignore[assignment]


class ChangesOut(serializers.Serializer[Any]):
    """Changes in commit order. Seeing an item twice is possible and harmless."""

    items = ChangeOut(many=True)
    cursor = serializers.CharField()
    has_more = serializers.BooleanField()
    reset = serializers.BooleanField()
    server_time = serializers.DateTimeField()


class Changes(PatientEndpoint):
    @operation(
        "sync_changes",
        gives={200: ChangesOut},
        params=[
            query(
                "cursor",
                "Where the last page ended; none: a snapshot.",
                {"type": "string", "maxLength": 200},
            ),
            query("limit", "1 to 200.", {"type": "integer", "minimum": 1, "maximum": 200}),
        ],
        refuses=[CursorInvalid, feed.CursorExpired],
        tag="sync",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        patient = self.patient
        limit = limit_of(request, usual=PAGE)
        sent = request.query_params.get("cursor")
        cursor = feed.start_of(patient, now=self.now)
        if sent is not None:
            try:
                cursor = feed.Cursor.decoded(sent, patient)
            except ValueError:
                raise CursorInvalid from None
            feed.check_cursor(cursor, patient, now=self.now)
        if not self.is_time_pretended:
            recording.heard_from(patient, self.now)
        found, reached, more = feed.page_of(patient, cursor, limit=limit, now=self.now)
        loaded = _loaded(self, found)
        items = [_change(entry, loaded, from_start=sent is None) for entry in found]
        return Response(
            {
                "items": Encoded(f"[{','.join(filter(None, items))}]"),
                "cursor": reached.encoded(patient),
                "has_more": more,
                "reset": sent is None,
                "server_time": moment(self.now),
            }
        )


Loaded = Mapping[tuple[str, str], str]


def _change(entry: feed.Entry, loaded: Loaded, *, from_start: bool) -> str:
    """One change as JSON, its members in order; none for what a snapshot leaves out."""
    data, op = "", "refetch"
    if entry.type != Change.Type.PLAN:
        data, op = loaded.get((entry.type, entry.object_id), ""), "upsert"
        if entry.deleted or not data:
            if from_start:
                return ""
            data, op = "", "delete"
    said = f'"data":{data},' if data else ""
    return (
        f'{{{said}"id":"{entry.object_id}","op":"{op}","type":"{entry.type}",'
        f'"version":{entry.version}}}'
    )


def _loaded(view: PatientEndpoint, found: list[feed.Entry]) -> Loaded:
    """What the page speaks of, as JSON. One query a type."""
    ids: dict[str, list[str]] = {}
    for entry in found:
        if not entry.deleted and entry.type != Change.Type.PLAN:
            ids.setdefault(entry.type, []).append(entry.object_id)
    return {
        (kind, id): data
        for kind, wanted in ids.items()
        for id, data in _data_of(Change.Type(kind), wanted, view)
    }


def _data_of(kind: Change.Type, ids: list[str], view: PatientEndpoint) -> Iterator[tuple[str, str]]:
    patient, today = view.patient, today_of(view.patient, view.now)
    match kind:
        case Change.Type.SESSION | Change.Type.CHECK_IN:
            for row in RECORDS[kind](patient=patient.pk, ids=[id.replace("-", "") for id in ids]):
                yield row[0], _record(*row)
        case Change.Type.ASSIGNMENT:
            for course in courses_in_full(patient, ids):
                yield str(course.id), as_json(course_shown(course, today)).decode()
        case Change.Type.EXERCISE:
            for exercise in EXERCISES(clinic=patient.clinic_id, ids=ids):
                yield str(exercise.pk), as_json(exercise_shown(exercise)).decode()
        case Change.Type.PROGRESSION:
            rows = Progression.objects.visible_to(view.person).filter(pk__in=ids)
            for one in with_phases(rows):
                yield str(one.pk), as_json(own_progression_shown(one)).decode()
        case Change.Type.PATIENT:
            yield str(patient.pk), as_json(_patient_shown(patient)).decode()
        case Change.Type.REMINDER_SETTINGS:
            wishes = wishes_shown(settings_of(patient), patient)
            yield str(patient.pk), as_json(wishes).decode()


_CLINIC: Any = SimpleNamespace(clinic_id=Given("clinic", UUIDField()))
EXERCISES = Written(
    lambda: Exercise.objects.filter(pk__in=[AnyGiven("ids", UUIDField())]).visible_to(_CLINIC),
    json=Encoded,
)


def _records_of(model: type[Session] | type[CheckIn]) -> Written[Any]:
    """Standing records of one patient, with what they say as it is stored: it is only passed on.

    Ids are given without hyphens, which is how SQLite has them and what PostgreSQL takes as well.
    """
    rows: Any = model.objects
    return Written(
        lambda: rows.filter(
            patient=Given("patient", UUIDField()), phone_id__in=[AnyGiven("ids", TextField())]
        )
        .standing()
        .values_list(
            IdText("phone_id"), "revision", MomentText("received_at"), "history_count",
            Cast("content", TextField()), Cast("derived", TextField()),
        )
    )  # fmt: skip


RECORDS: Mapping[Change.Type, Written[Any]] = {
    Change.Type.SESSION: _records_of(Session),
    Change.Type.CHECK_IN: _records_of(CheckIn),
}


def _record(
    id: str, revision: int, received_at: str, history: int, content: str, derived: str
) -> str:
    """As `record_shown`, without reading what a page of two hundred records says."""
    return (
        f'{{"id":"{id}","revision":{revision},{content[1:-1]},"derived":{derived},'
        f'"received_at":"{received_at}","history_count":{history}}}'
    )


def _patient_shown(patient: Patient) -> dict[str, object]:
    return {
        "given_name": patient.given_name,
        "family_name": patient.family_name,
        "locale": patient.locale,
        "timezone": patient.timezone,
        "status": patient.status,
    }
