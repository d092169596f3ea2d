"""The versions of a protocol over HTTP: listed, compared, and retired."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from typing import Any
from uuid import uuid4

import pytest
from django.db import IntegrityError, transaction

from backend.audit.models import AuditEvent
from backend.clinics.models import Episode, User
from backend.problems import StateConflict
from protocols import publishing
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff, make_episode, wish
from tests.service.test_protocols_api import publish, save, tag

pytestmark = pytest.mark.usefixtures("library")

REASON = {"version": "1.0.0", "reason": "Too hard for most."}


@pytest.fixture
def ours(ana: Staff, grade_1: ProtocolVersion) -> Any:
    """Ana's 1.0.0, as answered."""
    return publish(ana, ana.post("protocols", {"copy_of": str(grade_1.protocol_id)}, 201))


@pytest.fixture
def next_draft(ana: Staff, ours: Any) -> Any:
    """A draft of her next version: a phase-1 exercise fewer, and one limit lower."""
    draft = ana.post("protocols", {"copy_of": ours["id"]}, 201)
    phases = deepcopy(draft["phases"])
    phases[0]["prescriptions"] = phases[0]["prescriptions"][1:]
    return save(ana, draft, phases=phases, limits=draft["limits"] | {"red": 5})


def version_tag(person: Staff, id: str, version: str = "1.0.0") -> str:
    return str(person.call("GET", f"protocols/{id}?version={version}")["ETag"])


def retire(person: Staff, protocol: Any, expect: int = 200, **said: Any) -> Any:
    body = REASON | said
    sent = version_tag(person, protocol["id"], body["version"])
    return person.post(f"protocols/{protocol['id']}/retire", body, expect, If_Match=sent)


# --- Listing ----------------------------------------------------------------------------------


def test_all_versions_the_last_one_first(ana, cleo, ours, next_draft):
    path = f"protocols/{ours['id']}/versions"
    newer = publish(ana, next_draft, version="1.10.0", change_note="Gentler.")
    retire(ana, ours)

    shown = ana.get(path)

    assert [(one["version"], one["status"]) for one in shown["items"]] == [
        ("1.10.0", "published"), ("1.0.0", "retired"),
    ]  # fmt: skip
    latest, first = shown["items"]
    assert latest == {name: newer[name] for name in latest}
    assert (latest["change_note"], latest["published_by"]) == ("Gentler.", str(ana.user.pk))
    assert (first["retired_reason"], first["retired_by"]) == (REASON["reason"], str(ana.user.pk))
    assert first["retired_at"] > first["published_at"]
    assert cleo.get(path) == shown
    paged = ana.get(f"{path}?limit=1")
    rest = ana.get(f"{path}?limit=1&cursor={paged['next_cursor']}")
    assert paged["items"] + rest["items"] == shown["items"]
    assert rest["next_cursor"] is None


def test_a_draft_is_no_version(ana, ours, next_draft):
    assert [one["version"] for one in ana.get(f"protocols/{ours['id']}/versions")["items"]] == [
        "1.0.0"
    ]
    empty = ana.post("protocols", {}, 201)
    assert ana.get(f"protocols/{empty['id']}/versions")["items"] == []


def test_a_cursor_is_of_one_protocol(ana, ours, grade_1, next_draft):
    publish(ana, next_draft, version="1.0.1")
    cursor = ana.get(f"protocols/{ours['id']}/versions?limit=1")["next_cursor"]

    refused = ana.get(f"protocols/{grade_1.protocol_id}/versions?cursor={cursor}", 400)

    assert refused["code"] == "cursor-invalid"


# --- Comparing --------------------------------------------------------------------------------


def test_a_version_against_the_draft_of_the_next(ana, cleo, ours, next_draft):
    path = f"protocols/{ours['id']}/diff"
    gone = ours["phases"][0]["prescriptions"][0]["exercise"]

    shown = ana.get(f"{path}?from=1.0.0&to=draft")

    assert (shown["id"], shown["from"], shown["to"]) == (ours["id"], "1.0.0", "draft")
    assert shown["limits"] == [{"field": "red", "before": 6, "after": 5}]
    [phase] = shown["phases"]
    assert (phase["id"], phase["kind"], phase["title"]) == (
        "phase-1", "changed", ours["phases"][0]["title"],
    )  # fmt: skip
    [row] = phase["prescriptions"]
    assert (row["id"], row["kind"]) == (gone, "removed")
    assert all("before" in one and "after" not in one for one in row["changes"])
    assert [shown[name] for name in ("changes", "requires", "sources")] == [[], [], []]
    assert (phase["changes"], phase["exit"]) == ([], [])
    assert cleo.get(f"{path}?from=1.0.0&to=draft") == shown

    publish(ana, next_draft, version="1.1.0")
    published = ana.get(f"{path}?from=1.0.0&to=1.1.0")
    assert published == shown | {"to": "1.1.0"}
    back = ana.get(f"{path}?from=1.1.0&to=1.0.0")
    assert back["limits"] == [{"field": "red", "before": 5, "after": 6}]
    assert back["phases"][0]["prescriptions"][0]["kind"] == "added"


def test_a_diff_changes_with_the_draft(ana, ours, next_draft):
    path = f"protocols/{ours['id']}/diff?from=1.0.0&to=draft"
    first = ana.call("GET", path)
    assert ana.call("GET", path, If_None_Match=first["ETag"]).status_code == 304

    save(ana, next_draft, title="Gentler")

    again = ana.call("GET", path, If_None_Match=first["ETag"])
    assert again.status_code == 200
    assert again.json()["changes"] == [
        {"field": "title", "before": ours["title"], "after": "Gentler"}
    ]


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("from=1.0.0", 400),
        ("to=1.0.0", 400),
        ("from=&to=1.0.0", 400),
        ("from=1.0.0&to=" + "1" * 21, 400),
        ("from=1.0.0&to=%00", 400),
        ("from=1.0.0&to=9.9.9", 404),
        ("from=x&to=1.0.0", 404),
        ("from=1.0.0&to=draft", 404),
    ],
)
def test_what_cannot_be_compared(ana, ours, query, status):
    refused = ana.get(f"protocols/{ours['id']}/diff?{query}", status)
    assert refused["code"] == {400: "malformed-request", 404: "not-found"}[status]


# --- Retiring ---------------------------------------------------------------------------------


def test_what_is_retired_is_given_to_nobody_and_serves_whom_it_was_given(
    ana: Staff, ben: OwnPhone, bea: OwnPhone, thigh: Episode, ours: Any, now: datetime
) -> None:
    version = ProtocolVersion.objects.get(protocol_id=ours["id"])
    ana.assigns(version, to=ben.patient, episode=thigh, on=ben.today)
    before = ben.plan()
    of_bea = make_episode(bea.patient, ana.user, now)

    done = retire(ana, ours)

    assert (done["status"], done["retired_reason"]) == ("retired", REASON["reason"])
    assert done["phases"] == ours["phases"]
    assert ben.plan() == before
    ana.clears_gates(bea.patient)
    asked = wish(version, of_bea, bea.today)
    refused = ana.post(f"patients/{bea.patient.pk}/assignments", asked, 422)
    assert [one["pointer"] for one in refused["errors"]] == ["#/protocol_id"]
    path = f"protocols/{ours['id']}"
    assert ana.get(path) == ana.get(f"{path}?version=1.0.0") == done
    assert ana.call("GET", path)["ETag"] == version_tag(ana, ours["id"])


def test_where_a_retired_one_is_listed(ana, ours):
    def listed(query: str) -> list[str]:
        return [one["id"] for one in ana.get(f"protocols?{query}")["items"]]

    assert ours["id"] in listed("")
    assert listed("status=retired") == []

    retire(ana, ours)

    assert ours["id"] not in listed("")
    assert ours["id"] not in listed("status=published")
    assert listed("status=retired") == [ours["id"]]


def test_behind_a_retired_one_the_version_before_is_the_newest(ana, ours, next_draft):
    path = f"protocols/{ours['id']}"
    newer = publish(ana, next_draft, version="1.1.0")
    assert ana.get(path) == newer

    retire(ana, ours, version="1.1.0")

    assert ana.get(path) == ours
    [listed] = [one for one in ana.get("protocols")["items"] if one["id"] == ours["id"]]
    assert listed["version"] == "1.0.0"
    draft = ana.post("protocols", {"copy_of": ours["id"]}, 201)
    assert (draft["version"], draft["limits"]) == ("1.1.1", ours["limits"])
    assert ana.post(f"{path}/check", {})["errors"] == []
    assert publish(ana, draft, version="1.1.1")["version"] == "1.1.1"


def test_a_protocol_with_nothing_left_can_be_mended(ana, ours):
    retire(ana, ours)
    draft = ana.post("protocols", {"copy_of": ours["id"]}, 201)
    assert (draft["id"], draft["version"]) == (ours["id"], "1.0.1")

    publish(ana, draft, version="1.0.1")

    assert ours["id"] in [one["id"] for one in ana.get("protocols")["items"]]


def test_retired_once(ana, ours):
    done = retire(ana, ours)
    again = retire(ana, ours, 409, reason="Once more")

    assert again["code"] == "state-conflict"
    assert ana.get(f"protocols/{ours['id']}") == done


def test_who_is_slower_is_told(ana, ours, now):
    """Two who saw it published: the second meets the first under the lock."""
    seen = ProtocolVersion.objects.get(protocol_id=ours["id"])
    publishing.retire(version=seen, reason="First", by=ana.user, now=now)
    with pytest.raises(StateConflict):
        publishing.retire(version=seen, reason="Second", by=ana.user, now=now)

    assert ProtocolVersion.objects.get(pk=seen.pk).retired_reason == "First"


def test_a_key_retires_once(ana, ours):
    sent = {"If_Match": version_tag(ana, ours["id"]), "Idempotency_Key": str(uuid4())}
    path = f"protocols/{ours['id']}/retire"

    assert ana.post(path, REASON, 200, **sent) == ana.post(path, REASON, 200, **sent)


def test_retiring_needs_the_tag_of_that_version(ana, ours, next_draft):
    newer = publish(ana, next_draft, version="1.1.0")
    path = f"protocols/{ours['id']}/retire"
    other = version_tag(ana, newer["id"], "1.1.0")

    assert ana.post(path, REASON, 428)["code"] == "precondition-required"
    stale = ana.post(path, REASON, 412, If_Match=other)
    assert (stale["code"], stale["current_etag"]) == (
        "version-mismatch", version_tag(ana, ours["id"]),
    )  # fmt: skip
    assert not ProtocolVersion.objects.filter(status="retired").exists()


def test_a_saved_draft_leaves_the_tag_of_a_version_alone(ana, ours, next_draft):
    seen = version_tag(ana, ours["id"])
    save(ana, next_draft, title="Changed in the meantime")
    ana.post(f"protocols/{ours['id']}/retire", REASON, 200, If_Match=seen)
    assert tag(ana, next_draft)


@pytest.mark.parametrize(
    ("said", "pointer", "code"),
    [
        ({"reason": ""}, "#/reason", "required"),
        ({"reason": "x" * 501}, "#/reason", "too-long"),
        ({"reason": None}, "#/reason", "invalid-type"),
        ({"version": "9.9.9"}, "#/version", "unknown-reference"),
        ({"version": "draft"}, "#/version", "unknown-reference"),
        ({"version": "1" * 21}, "#/version", "too-long"),
        ({"version": 1}, "#/version", "invalid-type"),
        ({"status": "published"}, "#/status", "unknown-field"),
    ],
)
def test_what_cannot_be_retired(ana, ours, next_draft, said, pointer, code):
    refused = ana.post(f"protocols/{ours['id']}/retire", REASON | said, 422, If_Match="*")
    assert [(one["pointer"], one["code"]) for one in refused["errors"]] == [(pointer, code)]


def test_nothing_is_left_out(ana, ours):
    refused = ana.post(f"protocols/{ours['id']}/retire", {}, 422, If_Match="*")
    assert {one["pointer"] for one in refused["errors"]} == {"#/version", "#/reason"}


def test_a_draft_has_no_version_to_retire(ana):
    draft = ana.post("protocols", {}, 201)
    refused = ana.post(f"protocols/{draft['id']}/retire", REASON, 422, If_Match="*")
    assert refused["errors"][0]["pointer"] == "#/version"


def test_the_library_is_retired_by_no_clinic(ana, grade_1):
    path = f"protocols/{grade_1.protocol_id}/retire"

    assert ana.post(path, REASON, 403, If_Match="*")["code"] == "forbidden"
    assert ProtocolVersion.objects.get(pk=grade_1.pk).status == "published"


def test_retiring_needs_the_right_to_publish(ana, cleo, ours):
    path = f"protocols/{ours['id']}/retire"
    User.objects.filter(pk=ana.user.pk).update(can_publish=False)

    assert ana.post(path, REASON, 403, If_Match="*")["code"] == "forbidden"
    assert cleo.post(path, REASON, 403, If_Match="*")["code"] == "forbidden"


def test_publishing_and_retiring_are_noted(ana, cleo, ours):
    version = ProtocolVersion.objects.get(protocol_id=ours["id"])
    [published] = AuditEvent.objects.filter(action="protocol_publish")
    assert (published.object_id, published.patient_id) == (version.pk, None)

    cleo.post(f"protocols/{ours['id']}/retire", REASON, 403, If_Match="*")
    retire(ana, ours)
    retire(ana, ours, 409)

    later = AuditEvent.objects.filter(at__gt=published.at).order_by("at")
    told = later.values_list("action", "outcome", "object_id")
    assert list(told) == [
        ("protocol_retire", "denied", None),
        ("protocol_retire", "ok", version.pk),
        ("protocol_retire", "refused", None),
    ]


def test_the_database_knows_when_a_version_was_retired(ours, now):
    rows = ProtocolVersion.objects.filter(protocol_id=ours["id"])
    for wrong in (
        {"status": "retired"},
        {"retired_at": now},
        {"retired_reason": "x"},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            rows.update(**wrong)


# --- Elsewhere --------------------------------------------------------------------------------


def test_elsewhere_there_are_no_versions(olga, ours, next_draft):
    User.objects.filter(pk=olga.user.pk).update(can_publish=True)

    def asked(id: object) -> list[Any]:
        path = f"protocols/{id}"
        return [
            olga.get(f"{path}/versions", 404),
            olga.get(f"{path}/diff?from=1.0.0&to=draft", 404),
            olga.get(f"{path}/diff", 404),
            olga.post(f"{path}/retire", REASON, 404, If_Match="*"),
            olga.post(f"{path}/retire", {}, 404),
            olga.post(f"{path}/simulations", {}, 404),
            olga.post(f"{path}/simulations", {"cohort": 0}, 404),
        ]

    def told(answers: list[Any]) -> list[Any]:
        return [{**answer, "instance": ""} for answer in answers]

    assert told(asked(ours["id"])) == told(asked(uuid4()))


def test_the_draft_of_a_library_protocol_is_nobody_elses(ana, olga, grade_1):
    """A copy of the library is a protocol of its own: the library has no draft."""
    ana.post("protocols", {"copy_of": str(grade_1.protocol_id)}, 201)
    for person in (ana, olga):
        person.get(f"protocols/{grade_1.protocol_id}/diff?from=1.0.0&to=draft", 404)
        assert person.get(f"protocols/{grade_1.protocol_id}/diff?from=1.0.0&to=1.0.0")
