"""`ETag`, `If-None-Match`, `If-Match`: what is current, what is stale, what has to be said."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.db import transaction
from django.utils import timezone

from backend.clinics.models import Episode
from backend.notifications.models import Message
from protocols.models import ProtocolVersion
from tests.service.cast import Answer, OwnPhone, Somebody, Staff, make_episode, wish
from tests.service.matrix import an_exercise, everything, in_full, operations

# api: every single resource and the plan carry a tag; so do the lists marked E.
TAGGED = {
    "me_get", "plan_get", "session_get", "check_in_get", "exercise_list", "exercise_get",
    "patient_get", "protocol_list", "protocol_get", "protocol_versions", "protocol_diff",
    "assignment_get", "progression_get", "decision_list", "decision_get", "reminder_settings_get",
    "patient_timeline", "progress_get", "clinic_get",
    "report_adherence",
}  # fmt: skip
REQUIRED = {
    "patient_update", "protocol_update", "protocol_publish", "protocol_retire",
    "assignment_pause", "assignment_resume", "assignment_end", "progression_decide",
    "assignment_tailor", "clinic_update", "patient_erase",
}  # fmt: skip
OPTIONAL = {
    "me_update",
    "episode_update",
    "exercise_update",
    "reminder_settings_update",
    "staff_update",
}


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(datetime(2026, 3, 10, 9, tzinfo=UTC), tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


@dataclass
class Office:
    """Ana and Ben with one of everything that has a tag, and Cleo, who runs the clinic."""

    ana: Staff
    ben: OwnPhone
    cleo: Staff
    paths: dict[str, str]  # operation → address

    def who(self, operation: str) -> Somebody:
        if operation == "patient_erase":
            return self.cleo
        first = self.paths[operation].split("/")[0]
        return {"me": self.ben, "clinic": self.cleo, "staff": self.cleo}.get(first, self.ana)


@pytest.fixture
def office(
    ana: Staff, ben: OwnPhone, cleo: Staff, plan_of_ben: Any, grade_1: ProtocolVersion
) -> Office:
    session = ben.logs(ben.slot(), plan_of_ben, note="Ångström ✓")
    check_in = ben.checks_in(stiffness=3)
    ben.patch("me/reminder-settings", {"enabled": True, "times": ["18:00"]})
    exercise = ana.post("exercises", an_exercise("st-ours", "Ours"))
    own = ana.call("POST", "protocols", {"copy_of": str(grade_1.protocol_id)})
    ours = f"protocols/{own.json()['id']}"
    first = {"version": "1.0.0", "change_note": "First"}
    ana.post(f"{ours}/publish", first, 201, If_Match=own["ETag"])
    draft = ana.post("protocols", {"copy_of": str(grade_1.protocol_id)})
    plan, patient = f"assignments/{plan_of_ben['id']}", f"patients/{ben.patient.pk}"
    proposal = ana.post(f"assignments/{plan_of_ben['id']}/progressions", {}, 201)
    library = f"protocols/{grade_1.protocol_id}"
    return Office(ana, ben, cleo, {
        "me_get": "me", "me_update": "me", "plan_get": "me/plan",
        "session_get": f"me/sessions/{session['id']}",
        "check_in_get": f"me/check-ins/{check_in['id']}",
        "reminder_settings_get": "me/reminder-settings",
        "reminder_settings_update": "me/reminder-settings",
        "exercise_list": "exercises", "exercise_get": f"exercises/{exercise['id']}",
        "exercise_update": f"exercises/{exercise['id']}",
        "patient_get": patient, "patient_update": patient,
        "patient_timeline": f"{patient}/timeline", "progress_get": "me/progress",
        "episode_update": f"episodes/{plan_of_ben['episode_id']}",
        "protocol_list": "protocols", "protocol_get": library,
        "protocol_update": f"protocols/{draft['id']}/draft",
        "protocol_publish": f"protocols/{draft['id']}/publish",
        "protocol_retire": f"{ours}/retire", "protocol_versions": f"{ours}/versions",
        "protocol_diff": f"{ours}/diff?from=1.0.0&to=1.0.0",
        "assignment_get": plan, "assignment_tailor": plan,
        "assignment_pause": f"{plan}/pause",
        "assignment_resume": f"{plan}/resume", "assignment_end": f"{plan}/end",
        "decision_list": f"{plan}/decisions", "decision_get": f"{plan}/decisions/{ben.today}",
        "progression_get": f"progressions/{proposal['id']}",
        "progression_decide": f"progressions/{proposal['id']}/decision",
        "clinic_get": "clinic", "clinic_update": "clinic",
        "staff_update": f"staff/{ana.user.pk}",
        "patient_erase": f"{patient}/erasure",
        "report_adherence": "reports/adherence",
    })  # fmt: skip


# --- Reading ----------------------------------------------------------------------------------


def test_what_one_has_is_not_sent_again(
    clock: time_machine.Traveller, office: Office, subtests: pytest.Subtests
) -> None:
    for operation in sorted(TAGGED):
        with subtests.test(operation):
            is_not_sent_again(clock, office.who(operation), office.paths[operation])


def is_not_sent_again(clock: time_machine.Traveller, who: Somebody, path: str) -> None:
    first = who.call("GET", path)
    tag = first["ETag"]
    assert first.status_code == 200
    assert tag.startswith('"'), "a strong one"
    clock.shift(60)
    assert who.call("GET", path).content == first.content

    for current in (tag, f"W/{tag}", f'"other", {tag}', "*", f"{tag},{tag}"):
        again = who.call("GET", path, If_None_Match=current)
        assert (again.status_code, again.content) == (304, b""), current
        assert again["ETag"] == tag
        assert again["Cache-Control"] == first["Cache-Control"]
        assert again["Vary"] == first["Vary"]
    for other in ('"other"', tag[1:-1], "", "W/", f'"{tag[1:-1].upper()}!"', '"' * 500):
        answer = who.call("GET", path, If_None_Match=other)
        assert (answer.status_code, answer.content) == (200, first.content), other


def test_reads_without_a_tag_are_few_and_known(office: Office) -> None:
    """Lists that change with every record, and what is not a thing."""
    gets = {one.id for one in operations() if one.method == "GET"}

    assert gets - TAGGED == {
        "meta_get", "my_assignments", "session_list", "check_in_list", "sync_changes",
        "patient_list", "episode_list", "patient_sessions", "patient_check_ins", "assessment_list",
        "progression_list", "flag_list", "caseload_list", "reminder_list", "patient_reminders",
        "export_list", "export_get", "export_file", "my_data",
        "staff_list", "service_token_list",
        "audit_list",
    }  # fmt: skip


def test_a_write_answers_the_tag_that_a_read_will_show(
    office: Office, thigh: Episode, grade_1: ProtocolVersion
) -> None:
    ana, ben = office.ana, office.ben
    episode = make_episode(ben.patient, ana.user, ben.patient.created_at)
    note: dict[str, Any] = {"note": "Second", "revision": 2}

    def same(answer: Answer, who: Somebody, path: str) -> Any:
        assert answer.status_code in (200, 201), answer.content
        assert answer["ETag"] == who.call("GET", path)["ETag"], path
        return answer.json()

    session = f"me/sessions/{uuid4()}"
    content = ben.session_of(ben.slot(), ana.get(office.paths["assignment_get"]))
    same(ben.call("PUT", session, content), ben, session)
    same(ben.call("PUT", session, content | note), ben, session)
    same(ben.call("PUT", session, content | note), ben, session)
    check_in = f"me/check-ins/{uuid4()}"
    same(ben.call("PUT", check_in, ben.check_in(leg_symptom="calf")), ben, check_in)
    same(ben.call("DELETE", f"{check_in}?revision=2"), ben, check_in)
    same(ben.call("PATCH", "me", {"phone": "+46 8 1"}), ben, "me")
    same(ana.call("PATCH", "me", {"timezone": "Europe/Oslo"}), ana, "me")
    same(ben.call("PATCH", "me/reminder-settings", {"times": []}), ben, "me/reminder-settings")

    known_by = [{"system": "b", "value": "2"}, {"system": "a", "value": "1"}]
    person = {"given_name": "Åsa", "family_name": "Ek", "birth_date": "1980-02-29"}
    made = ana.call("POST", "patients", person | {"identifiers": known_by})
    same(made, ana, f"patients/{made.json()['id']}")
    path = office.paths["patient_get"]
    tag = ana.call("GET", path)["ETag"]
    same(ana.call("PATCH", path, {"sex": "other"}, If_Match=tag), ana, path)

    exercise = ana.call("POST", "exercises", an_exercise("st-new", "New"))
    path = f"exercises/{exercise.json()['id']}"
    same(exercise, ana, path)
    same(ana.call("PATCH", path, {"cues": ["Softly", "Slowly"]}), ana, path)

    draft = ana.call("POST", "protocols", {"copy_of": str(grade_1.protocol_id)})
    path = f"protocols/{draft.json()['id']}"
    same(draft, ana, f"{path}?version=draft")
    document = in_full(grade_1.document) | {"slug": "of-ours"}
    saved = ana.call("PUT", f"{path}/draft", document, If_Match=draft["ETag"])
    same(saved, ana, f"{path}?version=draft")
    first = {"version": "1.0.0", "change_note": "First"}
    same(ana.call("POST", f"{path}/publish", first, If_Match=saved["ETag"]), ana, path)

    tailoring = [
        {"op": "set_dose", "key": "phase-1/ca-bike", "dose": {"sets": 1, "duration_s": 60}},
        {"op": "add", "schedule": {"kind": "daily"}, "exercise": "co-dead-bug"},
    ]
    body = wish(grade_1, episode, ben.today, tailoring=tailoring)
    given = ana.call("POST", f"patients/{ben.patient.pk}/assignments", body)
    path = f"assignments/{given.json()['id']}"
    same(given, ana, path)
    for word in ("pause", "resume", "end"):
        tag = ana.call("GET", path)["ETag"]
        step = {"from": ben.today.isoformat(), "reason": word}
        same(ana.call("POST", f"{path}/{word}", step, If_Match=tag), ben, path)


# --- Writing ----------------------------------------------------------------------------------


def bodies(office: Office, grade_1: ProtocolVersion) -> dict[str, Any]:
    step = {"from": office.ben.today.isoformat(), "reason": "Away"}
    return {
        "me_update": {"phone": "+46 8 2"},
        "patient_update": {"phone": "+46 8 3"},
        "episode_update": {"title": "Thigh"},
        "exercise_update": {"title": "Ours now"},
        "protocol_update": in_full(grade_1.document) | {"slug": "of-ours", "title": "Ours"},
        "protocol_publish": {"version": "1.0.0", "change_note": "First"},
        "protocol_retire": {"version": "1.0.0", "reason": "Old"},
        "reminder_settings_update": {"nudge_after_min": 90},
        "assignment_pause": step,
        "assignment_resume": step,
        "assignment_end": step,
        "progression_decide": {"outcome": "approve"},
        "clinic_update": {"typing_delay_days": 6},
        "staff_update": {"given_name": "Anna"},
        "patient_erase": {"reason": "asked"},
        "assignment_tailor": {
            "effective_date": step["from"],
            "reason": "Too much",
            "changes": [{"op": "set_limit", "key": "phase-1/ca-bike", "during_max": 1}],
        },
    }


def current(office: Office, operation: str) -> Any:
    """The tag of what an operation changes."""
    path = office.paths[operation]
    if operation in ("episode_update", "staff_update"):
        return office.who(operation).call("PATCH", path, {})["ETag"]
    read = {
        "protocol_update": path.replace("/draft", "?version=draft"),
        "protocol_publish": path.replace("/publish", "?version=draft"),
        "protocol_retire": path.replace("/retire", "?version=1.0.0"),
        "progression_decide": path.replace("/decision", ""),
        "patient_erase": path.replace("/erasure", ""),
    }
    if operation.startswith("assignment_"):
        read[operation] = office.paths["assignment_get"]
    return office.who(operation).call("GET", read.get(operation, path))["ETag"]


@pytest.fixture
def change(office: Office, grade_1: ProtocolVersion) -> Callable[..., Answer]:
    methods = {one.id: one.method for one in operations()}

    def change(operation: str, **headers: Any) -> Answer:
        body = bodies(office, grade_1)[operation]
        who, path = office.who(operation), office.paths[operation]
        return who.call(methods[operation], path, body, **headers)

    return change


Change = Callable[..., Answer]
Each = Callable[[set[str]], Iterator[tuple[str, AbstractContextManager[None]]]]


@pytest.fixture
def ready(office: Office) -> Callable[[str], None]:
    """What has to be so before an operation can succeed."""

    def ready(operation: str) -> None:
        if operation == "assignment_resume":
            step = {"from": office.ben.today.isoformat(), "reason": "Away"}
            tag = current(office, operation)
            office.ana.post(office.paths["assignment_pause"], step, If_Match=tag)

    return ready


@pytest.fixture
def each(ready: Callable[[str], None], subtests: pytest.Subtests) -> Each:
    """Of these operations one after the other, each in the same office: what was done is taken
    back."""

    @contextmanager
    def tried(operation: str) -> Iterator[None]:
        with subtests.test(operation), transaction.atomic():
            ready(operation)
            yield
            transaction.set_rollback(True)

    return lambda operations: ((one, tried(one)) for one in sorted(operations))


def test_a_stale_tag_is_refused_and_the_newest_one_told(
    office: Office, change: Change, each: Each
) -> None:
    for operation, tried in each(REQUIRED | OPTIONAL):
        with tried:
            is_refused_with_a_stale_tag(office, change, operation)


def is_refused_with_a_stale_tag(office: Office, change: Change, operation: str) -> None:
    tag = current(office, operation)
    before = everything(library=False)
    for stale in ('"stale"', f"W/{tag}", tag[1:-1], "", '"a", "b"', f'"{tag[1:-1]}x"'):
        refused = change(operation, If_Match=stale)
        assert refused.status_code == 412, (stale, refused.content)
        assert refused.json()["code"] == "version-mismatch"
        assert refused.json()["current_etag"] == tag
    assert everything(library=False) == before

    done = change(operation, If_Match=f'"other", {tag}')
    assert done.status_code in (200, 201, 202), done.content
    assert done.get("ETag") != tag
    once = ("protocol_publish", "assignment_end", "assignment_resume", "progression_decide")
    if operation not in once:
        assert change(operation, If_Match=tag).status_code == 412, "it is stale now"


def test_any_version_will_do_where_one_says_so(change: Change, each: Each) -> None:
    for operation, tried in each(REQUIRED | OPTIONAL):
        with tried:
            assert change(operation, If_Match="*").status_code in (200, 201, 202)


def test_what_alters_a_plan_names_the_version_it_alters(change: Change, each: Each) -> None:
    for operation, tried in each(REQUIRED):
        with tried:
            before = everything(library=False)
            refused = change(operation)

            assert (refused.status_code, refused.json()["code"]) == (428, "precondition-required")
            assert everything(library=False) == before


def test_elsewhere_the_tag_is_optional(change: Change, each: Each) -> None:
    for operation, tried in each(OPTIONAL):
        with tried:
            assert change(operation).status_code == 200


def test_a_tag_is_of_this_person_and_this_thing(office: Office, bea: OwnPhone) -> None:
    """The same content would have the same tag; a foreign one names nothing here."""
    tags = {
        office.who(operation).call("GET", path)["ETag"]
        for operation, path in office.paths.items()
        if operation in TAGGED
    }
    assert len(tags) == len(TAGGED)
    theirs = bea.call("GET", "me/plan", If_None_Match=office.ben.call("GET", "me/plan")["ETag"])
    assert theirs.status_code == 200
    assert theirs.json()["patient_id"] == str(bea.patient.pk)


def test_the_tag_of_the_wishes_tells_of_the_next_reminder(office: Office) -> None:
    """It moves on by itself. What was read before it did is not shown as current any more."""
    ben, path = office.ben, office.paths["reminder_settings_get"]
    first = ben.call("GET", path)
    Message.objects.filter(due_at=first.json()["next_at"]).delete()
    second = ben.call("GET", path, If_None_Match=first["ETag"])

    assert second.status_code == 200
    assert second.json()["next_at"] > first.json()["next_at"]
    assert ben.call("PATCH", path, {}, If_Match=first["ETag"]).status_code == 412
    assert ben.call("PATCH", path, {}, If_Match=second["ETag"]).status_code == 200
