"""The description: current, unbroken, complete, its names pinned."""

from __future__ import annotations

import copy
import json
import re
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from backend.api.compatibility import breaks
from backend.api.documents import description
from backend.management.commands.write_openapi import PLACE
from backend.problems import Problem
from backend.urls import API

PREFIX = "/api/v1"
REFRESH = "The contract changed: look at it, then run ./run write_openapi."

# Operation ids are names of methods in generated clients.
OPERATIONS = {
    "meta_get": "GET /meta",
    "enrolment_check": "POST /enrolments/check",
    "me_get": "GET /me",
    "me_update": "PATCH /me",
    "plan_get": "GET /me/plan",
    "my_assignments": "GET /me/assignments",
    "progress_get": "GET /me/progress",
    "session_list": "GET /me/sessions",
    "session_get": "GET /me/sessions/{id}",
    "session_put": "PUT /me/sessions/{id}",
    "session_withdraw": "DELETE /me/sessions/{id}",
    "check_in_list": "GET /me/check-ins",
    "check_in_get": "GET /me/check-ins/{id}",
    "check_in_put": "PUT /me/check-ins/{id}",
    "check_in_withdraw": "DELETE /me/check-ins/{id}",
    "sync_push": "POST /me/sync/push",
    "sync_changes": "GET /me/sync/changes",
    "device_put": "PUT /me/devices/{id}",
    "device_delete": "DELETE /me/devices/{id}",
    "reminder_settings_get": "GET /me/reminder-settings",
    "reminder_settings_update": "PATCH /me/reminder-settings",
    "reminder_list": "GET /me/reminders",
    "reminder_snooze": "POST /me/reminders/{id}/snooze",
    "reminder_confirm": "POST /me/reminder-receipts",
    "exercise_list": "GET /exercises",
    "exercise_create": "POST /exercises",
    "exercise_get": "GET /exercises/{id}",
    "exercise_update": "PATCH /exercises/{id}",
    "protocol_list": "GET /protocols",
    "protocol_create": "POST /protocols",
    "protocol_get": "GET /protocols/{id}",
    "protocol_update": "PUT /protocols/{id}/draft",
    "protocol_check": "POST /protocols/{id}/check",
    "protocol_publish": "POST /protocols/{id}/publish",
    "protocol_retire": "POST /protocols/{id}/retire",
    "protocol_versions": "GET /protocols/{id}/versions",
    "protocol_diff": "GET /protocols/{id}/diff",
    "protocol_simulate": "POST /protocols/{id}/simulations",
    "caseload_list": "GET /caseload",
    "patient_list": "GET /patients",
    "patient_create": "POST /patients",
    "patient_get": "GET /patients/{id}",
    "patient_update": "PATCH /patients/{id}",
    "invitation_create": "POST /patients/{id}/invitations",
    "episode_list": "GET /patients/{id}/episodes",
    "episode_create": "POST /patients/{id}/episodes",
    "episode_update": "PATCH /episodes/{id}",
    "patient_sessions": "GET /patients/{id}/sessions",
    "patient_check_ins": "GET /patients/{id}/check-ins",
    "patient_timeline": "GET /patients/{id}/timeline",
    "patient_reminders": "GET /patients/{id}/reminders",
    "export_create": "POST /exports",
    "export_list": "GET /exports",
    "export_get": "GET /exports/{id}",
    "export_file": "GET /exports/{id}/file",
    "assessment_list": "GET /patients/{id}/assessments",
    "assessment_create": "POST /patients/{id}/assessments",
    "assignment_create": "POST /patients/{id}/assignments",
    "assignment_preview": "POST /patients/{id}/assignments/preview",
    "assignment_get": "GET /assignments/{id}",
    "assignment_tailor": "PATCH /assignments/{id}",
    "decision_list": "GET /assignments/{id}/decisions",
    "decision_get": "GET /assignments/{id}/decisions/{date}",
    "assignment_pause": "POST /assignments/{id}/pause",
    "assignment_resume": "POST /assignments/{id}/resume",
    "assignment_end": "POST /assignments/{id}/end",
    "flag_list": "GET /flags",
    "flag_acknowledge": "POST /flags/{id}/acknowledge",
    "flag_resolve": "POST /flags/{id}/resolve",
    "stop_clear": "POST /patients/{id}/stop-clearances",
    "progression_evaluate": "POST /assignments/{id}/progressions",
    "progression_propose_version": "POST /assignments/{id}/version-proposals",
    "progression_list": "GET /progressions",
    "progression_get": "GET /progressions/{id}",
    "progression_decide": "POST /progressions/{id}/decision",
    "clinic_get": "GET /clinic",
    "clinic_update": "PATCH /clinic",
    "staff_list": "GET /staff",
    "staff_create": "POST /staff",
    "staff_update": "PATCH /staff/{id}",
    "audit_list": "GET /audit-events",
    "report_adherence": "GET /reports/adherence",
}

# Lists of words are names of types.
ENUMS = {
    "AdherenceGrouping", "AdherenceHeatmap", "AdjustmentCode", "AlertLevel", "AssignmentEnd",
    "AssignmentStatus", "AuditOutcome", "BodyRegion", "CaseloadTier", "ChangeOp", "ClockState",
    "ConditionCode", "ConsentCode", "CriterionResult", "DateOutcome", "DayColour", "DayType",
    "DecisionOutcome", "DecisionReason", "DifferenceKind", "DoseSide", "DoseUnit", "EffortScale",
    "EntryState", "EpisodeEndReason", "EvidenceTag", "ExerciseKind", "ExerciseSide", "ExportFormat",
    "ExportKind", "ExportStatus", "FlagAction", "FlagLevel", "FlagStatus", "HillPattern", "Ketones",
    "LadderStep", "LegSymptom", "MediaType", "PainAdviceCode", "PainWord", "PartOfDay",
    "PatientStatus", "Platform", "ProblemRegion", "ProgressionStatus", "ProtocolEffortScale",
    "ProtocolGate", "ProtocolStatus", "PushKind", "Recommendation", "RecordType", "ReminderChannel",
    "ReminderKind", "ReminderReason", "ReminderStatus", "Role", "ScheduleKind", "ScreenCode",
    "ScreeningMoment", "SessionOutcome", "SessionState", "Sex", "Side", "SkipReason", "SlotStatus",
    "StaffRole", "StopSignCode", "TailoringOp", "TimelineMark", "TimelineMetric", "Timeliness",
    "UploadStatus", "Weekday", "WorseWith",
}  # fmt: skip

PUBLIC = {"meta_get", "enrolment_check"}
KEYED = {
    "export_create",
    "exercise_create", "protocol_create", "protocol_publish", "protocol_retire", "patient_create",
    "episode_create", "invitation_create", "assessment_create", "assignment_create",
    "assignment_pause", "assignment_resume", "assignment_end", "flag_acknowledge", "flag_resolve",
    "stop_clear", "progression_evaluate", "progression_propose_version", "progression_decide",
    "reminder_snooze", "staff_create",
}  # fmt: skip
MATCHED = {
    "me_update": False, "exercise_update": False, "patient_update": True, "episode_update": False,
    "protocol_update": True, "protocol_publish": True, "protocol_retire": True,
    "assignment_pause": True, "assignment_resume": True, "assignment_end": True,
    "assignment_tailor": True, "progression_decide": True, "reminder_settings_update": False,
    "clinic_update": True, "staff_update": False,
}  # fmt: skip


def operations() -> dict[str, dict[str, Any]]:
    told: Any = description()
    return {
        operation["operationId"]: {**operation, "where": f"{method.upper()} {path}"}
        for path, methods in told["paths"].items()
        for method, operation in methods.items()
    }


def schemas() -> dict[str, dict[str, Any]]:
    told: Any = description()
    found: dict[str, dict[str, Any]] = told["components"]["schemas"]
    return found


@pytest.fixture(params=sorted(OPERATIONS))
def operation(request):
    return operations()[request.param]


# --- Names ------------------------------------------------------------------------------------


def test_operation_ids_are_pinned():
    found = {name: one["where"].replace(PREFIX, "") for name, one in operations().items()}
    assert found == OPERATIONS


def test_names_of_word_lists_are_pinned():
    assert {name for name, schema in schemas().items() if "enum" in schema} == ENUMS


def test_every_word_list_has_a_name():
    """One in a place of its own would get a name by accident from each generator."""
    bare = [
        f"{name}.{member}"
        for name, schema in schemas().items()
        for member, told in schema.get("properties", {}).items()
        if "enum" in told or "enum" in told.get("items", {})
    ]
    assert bare == []


def test_names_are_names_of_types():
    for name in schemas():
        assert re.fullmatch(r"([A-Z][a-z0-9]*)+", name), name
        assert not re.search(r"(Out|Request|Serializer|Shape|Enum)$|(?<!Check)In$", name), name


# --- Document = code --------------------------------------------------------------------------


def test_every_route_is_described_and_back():
    """By the URL conf, method by method."""
    routed = {
        f"{method.upper()} {PREFIX}/{route.pattern}".replace("<str:", "{").replace(">", "}")
        for route in API
        for method in ("get", "post", "put", "patch", "delete")
        if hasattr(getattr(route.callback, "view_class"), method)  # noqa: B009  # of `as_view`
    }
    assert {one["where"] for one in operations().values()} == routed


def test_each_operation_tells_its_refusals(operation):
    answers = set(operation["responses"])
    reads = operation["where"].startswith("GET")

    assert answers >= {"400", "404", "406", "429", "500", "503"}
    assert any(status.startswith("2") for status in answers)
    assert ("401" in answers and "403" in answers) == (operation["operationId"] not in PUBLIC)
    assert ({"413", "415", "422"} <= answers) == ("requestBody" in operation)
    assert not (reads and "requestBody" in operation)


def test_each_refusal_is_a_known_problem():
    told: Any = description()
    for name, answer in told["components"]["responses"].items():
        codes = re.findall(r"`([a-z-]+)`", answer["description"])
        assert codes, name
        assert {Problem.catalogue[code].code for code in codes} == set(codes)
        assert list(answer["content"]) == ["application/problem+json"]
        assert answer["headers"]["Request-Id"]


def test_each_operation_tells_who_may(operation):
    signs_in: list[dict[str, list[str]]] = [{"session_token": []}, {"session_cookie": []}]
    public = operation["operationId"] in PUBLIC
    assert operation.get("security", []) == ([] if public else signs_in)


def test_keys_and_matches(operation):
    name = operation["operationId"]
    headers = {one["name"]: one for one in operation.get("parameters", ()) if one["in"] == "header"}

    assert ("Idempotency-Key" in headers) == (name in KEYED)
    assert ("If-Match" in headers) == (name in MATCHED)
    assert ("412" in operation["responses"]) == (name in MATCHED)
    if name in MATCHED:
        assert headers["If-Match"].get("required", False) == MATCHED[name]
        assert ("428" in operation["responses"]) == MATCHED[name]


def test_each_list_has_pages(operation):
    answer = operation["responses"].get("200", {}).get("content", {}).get("application/json")
    shown = schemas()[answer["schema"]["$ref"].rpartition("/")[2]] if answer else {}
    paged = "next_cursor" in shown.get("properties", {})
    asked = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"}

    assert ({"limit", "cursor"} <= asked) == (paged or operation["operationId"] == "sync_changes")
    if paged:
        assert "CursorInvalid" in operation["responses"]["400"]["$ref"]


def limitless(schema: Any, at: str, seen: frozenset[str] = frozenset()) -> list[str]:
    """Where something of any size may be sent."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return [] if name in seen else limitless(schemas()[name], at, seen | {name})
    found = []
    for part in schema.get("allOf", ()) or schema.get("oneOf", ()) or schema.get("anyOf", ()):
        found += limitless(part, at, seen)
    bounded = {"enum", "format", "pattern", "maxLength"}
    if schema.get("type") == "string" and not bounded & schema.keys():
        found.append(at)
    if schema.get("type") in ("integer", "number"):
        low, high = {"minimum", "exclusiveMinimum"}, {"maximum", "exclusiveMaximum"}
        found += [] if low & schema.keys() and high & schema.keys() else [at]
    if schema.get("type") == "array":
        found += [] if "maxItems" in schema else [at]
        found += limitless(schema["items"], f"{at}[]", seen)
    for name, part in schema.get("properties", {}).items():
        found += limitless(part, f"{at}.{name}", seen)
    return found


def test_whatever_may_be_sent_has_a_limit(operation):
    found = []
    for one in operation.get("parameters", ()):
        if one["in"] == "query":
            found += limitless(one["schema"], one["name"])
    if "requestBody" in operation:
        found += limitless(operation["requestBody"]["content"]["application/json"]["schema"], "#")
    assert found == []


def test_staff_requests_are_closed_and_uploads_open():
    open_to_more = {
        name for name, schema in schemas().items()
        if name.endswith(("Write", "Patch")) and schema.get("additionalProperties") is not False
    }  # fmt: skip
    assert open_to_more == {
        "CheckInWrite", "EntryWrite", "PushItemWrite", "PushWrite", "SessionWrite", "SetWrite",
    }  # fmt: skip


# --- The file ---------------------------------------------------------------------------------


def test_the_file_is_current():
    assert json.loads(PLACE.read_text()) == json.loads(json.dumps(description())), REFRESH


def test_nothing_breaks_what_was_released():
    assert breaks(json.loads(PLACE.read_text()), description()) == []


GONE = object()
ME = ("paths", "/api/v1/me")
SCHEMAS = ("components", "schemas")
PAUSE = (*SCHEMAS, "PauseWrite")
SET, PLAN, STATE = (*SCHEMAS, "SetWrite"), (*SCHEMAS, "PlanDay"), (*SCHEMAS, "SessionState")

REPS = (*SET, "properties", "reps")


def planted(path: tuple[str, ...], value: object) -> Any:
    """A copy of the description with one place of it changed."""
    changed: Any = copy.deepcopy(description())
    place = changed
    for step in path[:-1]:
        place = place[step]
    if value is GONE:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return changed


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        pytest.param((*ME, "patch"), GONE, "PATCH /api/v1/me: gone", id="operation"),
        pytest.param((*ME, "get", "operationId"), "me", "called me, was me_get", id="its name"),
        pytest.param((*ME, "get", "security"), GONE, "another sign-in", id="sign-in"),
        pytest.param((*ME, "get", "responses", "200"), GONE, "no 200", id="answer"),
        pytest.param((*ME, "patch", "requestBody"), GONE, "takes no body", id="body"),
        pytest.param((*SET, "properties", "reps"), GONE, "reps: is gone", id="what may be sent"),
        pytest.param((*SET, "required"), ["reps"], "reps: is required", id="more is required"),
        pytest.param((*REPS, "maximum"), 9, "maximum 9, was 200", id="limit"),
        pytest.param((*REPS, "type"), "string", "takes no integer", id="type"),
        pytest.param((*STATE, "enum"), ["open", "finished"], "takes no skipped", id="word"),
        pytest.param((*PLAN, "properties", "slots"), GONE, "slots: is gone", id="what is answered"),
        pytest.param((*PLAN, "required"), [], "slots: may be absent", id="less is sure"),
        pytest.param(
            (*PLAN, "properties", "date", "type"), ["string", "null"], "date: may be null",
            id="null where there was none",
        ),
        pytest.param(
            (*SCHEMAS, "DayType", "enum"), ["training", "rest", "paused", "none", "new"],
            "DayType is closed, and now has new", id="a closed list",
        ),
    ],
)  # fmt: skip
def test_a_breaking_change_is_noticed(path, value, said):
    changed = planted(path, value)

    assert any(said in line for line in breaks(description(), changed))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        pytest.param(("paths", "/api/v1/new"), {}, id="path"),
        pytest.param((*SET, "properties", "new"), {"type": "string"}, id="what may be sent"),
        pytest.param((*PLAN, "properties", "new"), {"type": "string"}, id="what is answered"),
        pytest.param((*REPS, "maximum"), 999, id="wider"),
        pytest.param(
            (*PAUSE, "properties", "until", "type"), ["string", "null"], id="null is taken"
        ),
        pytest.param((*SCHEMAS, "Timeliness", "enum"), ["on_time", "late", "new"], id="open list"),
        pytest.param((*ME, "get", "description"), "Better told.", id="words"),
    ],
)
def test_what_only_adds_breaks_nothing(path, value):
    assert breaks(description(), planted(path, value)) == []


def test_the_command_refuses_to_break_and_writes_the_rest(tmp_path):
    place = tmp_path / "openapi.json"
    place.write_text(json.dumps(planted((*PLAN, "required"), ["date", "slots", "something"])))
    with pytest.raises(CommandError, match="something: may be absent"):
        call_command("write_openapi", to=place)
    call_command("write_openapi", to=place, breaking=True)

    call_command("write_openapi", to=place)

    assert json.loads(place.read_text()) == json.loads(json.dumps(description()))
