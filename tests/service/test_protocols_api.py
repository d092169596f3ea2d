"""Protocols over HTTP: the library and drafts, from a copy to a published version."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from backend.clinics.models import User
from protocols.models import ProtocolDraft, ProtocolVersion
from tests.service.cast import Staff

# What a draft says; the rest of an answer is what the service knows about it.
DOCUMENT = (
    "slug", "version", "title", "condition", "indications", "not_for", "expected_course",
    "regression", "limits", "requires", "phases", "sources", "licence",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _library(library):
    """Everybody here has the library."""


@pytest.fixture
def copy(ana, grade_1):
    """Ana's copy of a library protocol, not yet saved by her."""
    return ana.post("protocols", {"copy_of": str(grade_1.protocol_id)}, 201)


@pytest.fixture
def published(ana, copy):
    return publish(ana, copy)


def document_of(shown: dict[str, Any]) -> dict[str, Any]:
    return {name: shown[name] for name in DOCUMENT if name in shown}


def tag(person: Staff, protocol: Any) -> str:
    return str(person.call("GET", f"protocols/{protocol['id']}?version=draft")["ETag"])


def save(person: Staff, protocol: Any, expect: int = 200, **change: Any) -> Any:
    return person.put(
        f"protocols/{protocol['id']}/draft",
        {**document_of(protocol), **change},
        expect,
        If_Match=tag(person, protocol),
    )


def publish(person: Staff, protocol: Any, expect: int = 201, **said: str) -> Any:
    body = {"version": "1.0.0", "change_note": "First version of our own.", **said}
    path = f"protocols/{protocol['id']}/publish"
    return person.post(path, body, expect, If_Match=tag(person, protocol))


# --- Reading ----------------------------------------------------------------------------------


def test_the_library_by_title(ana, cleo, olga):
    found = ana.get("protocols")

    assert len(found["items"]) == ProtocolVersion.objects.values("protocol_id").distinct().count()
    titles = [row["title"] for row in found["items"]]
    assert titles == sorted(titles)
    assert {row["status"] for row in found["items"]} == {"published"}
    assert cleo.get("protocols") == olga.get("protocols") == found


@pytest.mark.parametrize(
    ("query", "slugs"),
    [
        ("q=grade", {"hs-grade-1", "hs-grade-2", "hs-grade-3"}),
        ("q=GRADE-2", {"hs-grade-2"}),
        ("q=grade&condition=no_such_condition", set()),
        ("status=retired", set()),
        ("status=draft", set()),
    ],
)
def test_filters(ana, query, slugs):
    assert {row["slug"] for row in ana.get(f"protocols?{query}")["items"]} == slugs


def test_the_condition_is_matched_whole(ana):
    [one, *_] = ana.get("protocols")["items"]
    found = ana.get(f"protocols?condition={one['condition']}")["items"]

    assert one in found
    assert {row["condition"] for row in found} == {one["condition"]}
    assert ana.get(f"protocols?condition={one['condition'][:-1]}")["items"] == []


@pytest.mark.parametrize("query", ["status=secret", "q=%00", "limit=x", "condition=" + "x" * 65])
def test_a_bad_filter_is_400(ana, query):
    assert ana.get(f"protocols?{query}", 400)["code"] == "malformed-request"


def test_pages(ana):
    whole = ana.get("protocols")["items"]
    first = ana.get("protocols?limit=7")
    rest = ana.get(f"protocols?limit=7&cursor={first['next_cursor']}")

    assert first["items"] + rest["items"] == whole
    assert rest["next_cursor"] is None


def test_one_protocol(ana, grade_1):
    shown = ana.get(f"protocols/{grade_1.protocol_id}")

    assert (shown["slug"], shown["version"], shown["status"]) == (
        "hs-grade-1",
        "1.0.0",
        "published",
    )
    assert [phase["id"] for phase in shown["phases"]] == [
        phase["id"] for phase in grade_1.document["phases"]
    ]
    assert all(
        isinstance(row["dose"].get("reps", {}), dict)
        for phase in shown["phases"] for row in phase["prescriptions"]
    )  # fmt: skip
    assert {cited["id"] for cited in shown["citations"]} == {one["id"] for one in shown["sources"]}
    assert [band["advice"] for band in shown["pain_advice"]][-1] == "stop_today"
    assert shown["stop_signs"]
    assert ana.get(f"protocols/{grade_1.protocol_id}?version=1.0.0") == shown


def test_asked_again_by_etag(ana, grade_1):
    for path in ("protocols", f"protocols/{grade_1.protocol_id}"):
        first = ana.call("GET", path)
        again = ana.call("GET", path, If_None_Match=first["ETag"])
        assert (again.status_code, again.content, again["ETag"]) == (304, b"", first["ETag"])


@pytest.mark.parametrize("version", ["9.9.9", "draft", "", "x" * 300])
def test_an_unknown_version_is_404(ana, grade_1, version):
    path = f"protocols/{grade_1.protocol_id}?version={version}"
    assert ana.get(path, 404)["code"] == "not-found"


def test_patients_and_strangers_have_no_protocols(ben, nobody, grade_1):
    assert ben.get("protocols", 403)["code"] == "forbidden"
    assert ben.get(f"protocols/{grade_1.protocol_id}", 403)["code"] == "forbidden"
    assert nobody.get("protocols", 401)["code"] == "unauthenticated"


# --- Drafts -----------------------------------------------------------------------------------


def test_an_empty_draft(ana, cleo):
    draft = ana.post("protocols", {}, 201)

    assert (draft["status"], draft["version"]) == ("draft", "1.0.0")
    assert "phases" not in draft
    assert "pain_advice" not in draft
    assert cleo.get(f"protocols/{draft['id']}") == draft
    assert [row["id"] for row in ana.get("protocols?status=draft")["items"]] == [draft["id"]]
    assert draft["id"] not in {row["id"] for row in ana.get("protocols")["items"]}


def test_a_copy_of_the_library_is_a_new_protocol(ana, grade_1, copy):
    original = ana.get(f"protocols/{grade_1.protocol_id}")

    assert UUID(copy["id"]) != grade_1.protocol_id
    assert (copy["slug"], copy["version"]) == ("hs-grade-1-2", "1.0.0")
    assert copy["phases"] == original["phases"]
    assert "published_at" not in copy
    assert ana.post(f"protocols/{copy['id']}/check", {})["errors"] == []


def test_a_draft_is_saved_whole(ana, copy):
    saved = save(ana, copy, title="Our own", not_for="Nobody.")

    assert (saved["title"], saved["not_for"]) == ("Our own", "Nobody.")
    assert ana.get(f"protocols/{copy['id']}") == saved
    bare = ana.put(f"protocols/{copy['id']}/draft", {"title": "Only this"}, If_Match=tag(ana, copy))
    assert document_of(bare) == {"title": "Only this"}


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        pytest.param({"title": 7}, "#/title", "invalid-value", id="a number as title"),
        pytest.param({"title": None}, "#/title", "invalid-value", id="null"),
        pytest.param({"clinic_id": "x"}, "#/clinic_id", "unknown-field", id="whose it is"),
        pytest.param({"status": "published"}, "#/status", "unknown-field", id="its status"),
        pytest.param({"phases": []}, "#/phases", "invalid-value", id="no phase"),
        pytest.param(
            {"phases": [{"prescriptions": [{"dose": {"sets": 0}}]}]},
            "#/phases/0/prescriptions/0/dose/sets", "invalid-value", id="no sets",
        ),
        pytest.param(
            {"phases": [{"prescriptions": [{"dose": {"reps": 8}}]}]},
            "#/phases/0/prescriptions/0/dose/reps", "invalid-value", id="in short",
        ),
    ],
)  # fmt: skip
def test_what_a_draft_cannot_hold(ana, copy, change, pointer, code):
    refused = save(ana, copy, 422, **change)

    assert (pointer, code) in [(error["pointer"], error["code"]) for error in refused["errors"]]
    assert ana.get(f"protocols/{copy['id']}") == copy


@pytest.mark.parametrize("body", [[], "text", 3, None])
def test_a_draft_is_an_object(ana, copy, body):
    path = f"protocols/{copy['id']}/draft"
    answer = ana.call("PUT", path, raw=b"null" if body is None else None, body=body,
                      If_Match=tag(ana, copy))  # fmt: skip
    assert answer.status_code == 400


def test_a_draft_is_changed_by_its_etag(ana, copy):
    path = f"protocols/{copy['id']}/draft"
    first = tag(ana, copy)

    assert ana.put(path, document_of(copy), 428)["code"] == "precondition-required"
    ana.put(path, {**document_of(copy), "title": "Newer"}, If_Match=first)
    stale = ana.put(path, document_of(copy), 412, If_Match=first)

    assert (stale["code"], stale["current_etag"]) == ("version-mismatch", tag(ana, copy))
    assert ana.get(f"protocols/{copy['id']}")["title"] == "Newer"


def test_a_check_names_everything(ana):
    draft = ana.post("protocols", {}, 201)
    phase = {
        "id": "phase-1", "number": 2, "title": "One", "goals": "Walk", "min_days": 0,
        "min_days_source": "[our default]", "exit": [],
        "prescriptions": [{
            "exercise": "no-such", "dose": {"sets": 1}, "schedule": {"kind": "daily"},
            "pain_ceiling": 2, "source": "[our default]",
        }],
    }  # fmt: skip
    save(ana, draft, slug="hs-grade-1", phases=[phase])

    found = ana.post(f"protocols/{draft['id']}/check", {})
    missing = {error["pointer"] for error in found["errors"] if error["code"] == "required"}
    assert missing >= {"#/title", "#/limits", "#/sources"}
    assert ("#/slug", "duplicate") in [(one["pointer"], one["code"]) for one in found["errors"]]

    whole = ana.post("protocols", {"copy_of": draft["id"]}, 201)
    library = next(row for row in ana.get("protocols")["items"] if row["slug"] == "hs-grade-1")
    rest = document_of(ana.get(f"protocols/{library['id']}"))
    save(ana, whole, **rest | {"slug": "ours", "phases": [phase]})
    found = ana.post(f"protocols/{whole['id']}/check", {})
    assert {(one["pointer"], one["code"]) for one in found["errors"]} == {
        ("#/phases/0/number", "phase-number"),
        ("#/phases/0/prescriptions/0/exercise", "unknown-reference"),
        ("#/phases/0/prescriptions/0/dose", "dose"),
    }


def test_a_warning_does_not_stand_in_the_way(ana, copy):
    phases = copy["phases"]
    phases[0]["prescriptions"][0]["pain_ceiling"] = 10
    save(ana, copy, phases=phases)

    found = ana.post(f"protocols/{copy['id']}/check", {})

    assert found["errors"] == []
    assert [one["code"] for one in found["warnings"]] == ["ceiling"]
    publish(ana, copy)


# --- Publishing -------------------------------------------------------------------------------


def test_published_for_the_clinic(ana, cleo, olga, copy):
    save(ana, copy, title="Our own")
    done = publish(ana, copy, change_note="For runners.")

    assert (done["status"], done["version"], done["title"]) == ("published", "1.0.0", "Our own")
    assert (done["change_note"], done["published_by"]) == ("For runners.", str(ana.user.pk))
    assert cleo.get(f"protocols/{copy['id']}") == done
    assert copy["id"] in {row["id"] for row in ana.get("protocols")["items"]}
    assert ana.get("protocols?status=draft")["items"] == []
    assert not ProtocolDraft.objects.exists()


def test_a_published_protocol_can_be_assigned(ana, ben, thigh, published):
    version = ProtocolVersion.objects.get(protocol_id=published["id"])
    assert ana.assigns(version, to=ben.patient, episode=thigh, on=ben.today)["status"] == "active"


def test_publishing_refuses_what_the_check_finds(ana, copy):
    phases = copy["phases"]
    del phases[0]["exit"]
    save(ana, copy, phases=phases)
    found = ana.post(f"protocols/{copy['id']}/check", {})["errors"]

    refused = publish(ana, copy, 422)

    assert refused["errors"] == found
    assert [error["pointer"] for error in found] == ["#/phases/0/exit"]
    assert not ProtocolVersion.objects.filter(protocol_id=copy["id"]).exists()
    assert ana.get(f"protocols/{copy['id']}")["status"] == "draft"


@pytest.mark.parametrize(
    ("said", "pointer"),
    [
        ({"version": "1.0"}, "#/version"),
        ({"version": "v1.0.0"}, "#/version"),
        ({"change_note": ""}, "#/change_note"),
    ],
)
def test_what_is_no_publication(ana, copy, said, pointer):
    assert publish(ana, copy, 422, **said)["errors"][0]["pointer"] == pointer


def test_publishing_needs_the_right_to(ana, copy):
    User.objects.filter(pk=ana.user.pk).update(can_publish=False)
    assert publish(ana, copy, 403)["code"] == "forbidden"


def test_publishing_needs_the_etag(ana, copy):
    body = {"version": "1.0.0", "change_note": "First."}
    path = f"protocols/{copy['id']}/publish"
    seen = tag(ana, copy)
    save(ana, copy, title="Changed in the meantime")

    assert ana.post(path, body, 428)["code"] == "precondition-required"
    assert ana.post(path, body, 412, If_Match=seen)["code"] == "version-mismatch"


def test_a_key_publishes_once(ana, copy):
    sent = {"If_Match": tag(ana, copy), "Idempotency_Key": str(uuid4())}
    body = {"version": "1.0.0", "change_note": "First."}

    first = ana.post(f"protocols/{copy['id']}/publish", body, 201, **sent)
    again = ana.post(f"protocols/{copy['id']}/publish", body, 201, **sent)

    assert again == first
    assert ProtocolVersion.objects.filter(protocol_id=copy["id"]).count() == 1


def test_what_is_published_is_not_a_draft(ana, grade_1, published):
    for id in (grade_1.protocol_id, published["id"]):
        path = f"protocols/{id}"
        note = {"version": "2.0.0", "change_note": "Again."}
        answers = [
            ana.put(f"{path}/draft", {}, 409, If_Match="*"),
            ana.post(f"{path}/check", {}, 409),
            ana.post(f"{path}/publish", note, 409, If_Match="*"),
        ]
        assert {answer["code"] for answer in answers} == {"not-a-draft"}


def test_the_next_version(ana, published):
    draft = ana.post("protocols", {"copy_of": published["id"]}, 201)
    assert (draft["id"], draft["version"]) == (published["id"], "1.0.1")
    twin = ana.post("protocols", {"copy_of": published["id"]}, 409)
    assert twin["code"] == "state-conflict"
    save(ana, draft, title="Better")
    assert ana.get(f"protocols/{published['id']}") == published, "until it is published"
    assert publish(ana, draft, 422, version="0.9.0")["errors"][0]["pointer"] == "#/version"
    assert publish(ana, draft, 422, version="1.0.0")["errors"][0]["pointer"] == "#/version"
    save(ana, draft, title="Better", version="1.0.0")
    assert ana.post(f"protocols/{draft['id']}/check", {})["errors"][0]["pointer"] == "#/version"

    newest = publish(ana, draft, version="1.10.0", change_note="Better.")

    assert ana.get(f"protocols/{published['id']}") == newest
    assert ana.get(f"protocols/{published['id']}?version=1.0.0") == published
    listed = [row for row in ana.get("protocols")["items"] if row["id"] == published["id"]]
    assert [row["version"] for row in listed] == ["1.10.0"]


# --- Elsewhere, and other roles ---------------------------------------------------------------


def test_elsewhere_there_is_nothing(ana, olga, copy):
    def asked(id: object) -> list[Any]:
        path = f"protocols/{id}"
        return [
            olga.get(path, 404),
            olga.get(f"{path}?version=draft", 404),
            olga.put(f"{path}/draft", {}, 404, If_Match="*"),
            olga.post(f"{path}/check", {}, 404),
            olga.patch(path, {}, 405),
            olga.post("protocols", {"copy_of": str(id)}, 422),
        ]

    def told(answers: list[Any]) -> list[Any]:
        return [{**answer, "instance": ""} for answer in answers]

    assert told(asked(copy["id"])) == told(asked(uuid4()))
    publish(ana, copy)
    assert told(asked(copy["id"])) == told(asked(uuid4()))
    assert copy["id"] not in {row["id"] for row in olga.get("protocols")["items"]}


def test_admins_read_only(cleo, copy):
    path = f"protocols/{copy['id']}"
    assert cleo.get(path) == copy
    for answer in (
        cleo.post("protocols", {}, 403),
        cleo.put(f"{path}/draft", {}, 403, If_Match="*"),
        cleo.post(f"{path}/check", {}, 403),
        cleo.post(f"{path}/publish", {}, 403, If_Match="*"),
    ):
        assert answer["code"] == "forbidden"
