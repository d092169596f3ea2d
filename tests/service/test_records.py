"""One record at a time: revisions, what is derived, what is refused, what is raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backend.care.models import (
    Assignment,
    AssignmentVersion,
    CheckIn,
    ClosedDay,
    Event,
    Flag,
    Progression,
    Revision,
    Session,
)
from exercises.models import Exercise
from protocols.models import ProtocolVersion
from tests.service.cast import (
    OwnPhone,
    Staff,
    entry_of,
    judged_again,
    make_clinic,
    make_episode,
)
from tests.service.uploading import (
    PATHS,
    WAYS,
    Way,
    body_of,
    by_itself,
    check_in_at,
    item,
    pushed,
    session_at,
)


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    """Each record goes by itself, and again in a push: both must do the same."""
    return WAYS[request.param]


@pytest.fixture
def first_slot(ben: OwnPhone, plan_of_ben: Any) -> Any:
    return ben.slot()


@pytest.fixture
def done(ben: OwnPhone, plan_of_ben: Any, first_slot: Any) -> dict[str, Any]:
    """A session that does exactly what the first slot asks for; the revision goes beside it."""
    said = ben.session_of(first_slot, plan_of_ben)
    del said["revision"]
    return said


def checked(ben: OwnPhone, **more: Any) -> dict[str, Any]:
    said = ben.check_in(**more)
    del said["revision"]
    return said


# --- Revisions --------------------------------------------------------------------------------

# Revision, content ("" withdraws), what the service says. Then what stands and how many are kept.
STORIES: dict[str, tuple[list[tuple[int, str, str]], tuple[int, str, int]]] = {
    "new": ([(1, "a", "created")], (1, "a", 1)),
    "new with a high number": ([(7, "a", "created")], (7, "a", 1)),
    "repeated": ([(1, "a", "created"), (1, "a", "unchanged")], (1, "a", 1)),
    "edited": ([(1, "a", "created"), (2, "b", "updated")], (2, "b", 2)),
    "edited with a gap": ([(1, "a", "created"), (9, "b", "updated")], (9, "b", 2)),
    "the older one came late": ([(2, "b", "created"), (1, "a", "superseded")], (2, "b", 2)),
    "the older one came late, twice": (
        [(2, "b", "created"), (1, "a", "superseded"), (1, "a", "superseded")],
        (2, "b", 2),
    ),
    "an older number with a third content": (
        [(1, "a", "created"), (2, "b", "updated"), (1, "c", "superseded")],
        (2, "b", 2),
    ),
    "two contents, one number": ([(1, "a", "created"), (1, "b", "conflict")], (1, "a", 1)),
    "the patient insists": (
        [(1, "a", "created"), (1, "b", "conflict"), (2, "b", "updated")],
        (2, "b", 2),
    ),
    "withdrawn": ([(1, "a", "created"), (2, "", "updated")], (2, "", 2)),
    "withdrawn twice": (
        [(1, "a", "created"), (2, "", "updated"), (2, "", "unchanged")],
        (2, "", 2),
    ),
    "withdrawn stays withdrawn": (
        [(1, "a", "created"), (2, "", "updated"), (1, "a", "superseded")],
        (2, "", 2),
    ),
    "withdrawn, and another content": (
        [(1, "a", "created"), (2, "", "updated"), (2, "b", "conflict")],
        (2, "", 2),
    ),
    "a withdrawal that was overtaken": (
        [(1, "a", "created"), (3, "b", "updated"), (2, "", "superseded")],
        (3, "b", 3),
    ),
    "revived": ([(1, "a", "created"), (2, "", "updated"), (3, "b", "updated")], (3, "b", 3)),
}  # fmt: skip


@pytest.mark.parametrize("kind", PATHS)
def test_revisions(
    kind: str, way: Way, ben: OwnPhone, done: dict[str, Any], subtests: pytest.Subtests
) -> None:
    base = done if kind == "session" else checked(ben)
    for story, (steps, stands) in STORIES.items():
        with subtests.test(story):
            tell(story_of=kind, steps=steps, stands=stands, base=base, way=way, ben=ben)


def tell(
    *, story_of: str, steps: list[tuple[int, str, str]], stands: tuple[int, str, int],
    base: dict[str, Any], way: Way, ben: OwnPhone,
) -> None:  # fmt: skip
    id, path = uuid4(), PATHS[story_of]
    for revision, note, status in steps:
        sent = way(ben, story_of, id, revision, {**base, "note": note} if note else None)
        assert sent.status == status
        if status in ("conflict", "superseded"):
            assert sent.body["current"] == ben.get(f"{path}/{id}")
        else:
            assert sent.body["revision"] == revision

    revision, note, kept = stands
    shown = ben.get(f"{path}/{id}")
    assert (shown["revision"], shown.get("note", "")) == (revision, note)
    listed = [row["id"] for row in ben.get(f"{path}?limit=200")["items"]]
    assert listed.count(str(id)) == bool(note)
    if note:
        assert shown["history_count"] == kept
        assert {**shown, **base} == shown
    else:
        assert set(shown) == {"id", "revision", "withdrawn", "received_at"}


def test_a_withdrawal_may_come_first_in_a_push(ben: OwnPhone) -> None:
    id = uuid4()
    first, late = pushed(ben, item("check_in", id, 2), item("check_in", id, 1, checked(ben)))

    assert (first["status"], late["status"]) == ("created", "superseded")
    assert ben.get(f"me/check-ins/{id}")["withdrawn"] is True


def test_an_older_one_that_never_could_be_taken_leaves_no_trace(way: Way, ben: OwnPhone) -> None:
    """The end state must not depend on the order; in time it would have been refused."""
    id, old = uuid4(), (timezone.now() - timedelta(days=20)).date().isoformat()
    assert way(ben, "check_in", id, 2, checked(ben)).status == "created"

    assert way(ben, "check_in", id, 1, checked(ben, local_date=old)).status == "superseded"
    assert ben.get(f"me/check-ins/{id}")["history_count"] == 1


def test_the_etag_of_an_answer_is_the_etag_of_the_record(
    ben: OwnPhone, done: dict[str, Any]
) -> None:
    path = f"me/sessions/{uuid4()}"
    put = ben.call("PUT", path, {**done, "revision": 1, "pop_felt": False, "effort": 6.5})
    read = ben.call("GET", path)
    assert put["ETag"] == read["ETag"]
    assert ben.call("GET", path, If_None_Match=put["ETag"]).status_code == 304

    edited = ben.call("PUT", path, {**done, "revision": 2})
    assert edited["ETag"] != put["ETag"]
    assert ben.call("GET", path, If_None_Match=put["ETag"]).status_code == 200


UNKNOWN = "0193448e-5d2a-7c11-9a4e-3b1f5d6c7e80"  # an id that nothing has
NO_NUMBERS = ["", "0", "-1", "1.0", "one", "1e3", "²", "1000001", "9" * 30]


@pytest.mark.parametrize("kind", PATHS)
def test_a_withdrawal_names_its_number(kind: str, ben: OwnPhone, subtests: pytest.Subtests) -> None:
    id = uuid4()
    ben.put(f"{PATHS[kind]}/{id}", {**_simple(ben, kind), "revision": 1}, 201)
    for revision in NO_NUMBERS:
        with subtests.test(revision):
            refused = ben.delete(f"{PATHS[kind]}/{id}?revision={revision}", 400)
            assert refused["code"] == "malformed-request"
    assert ben.delete(f"{PATHS[kind]}/{id}?revision=1000000", 200)["status"] == "updated"


def _simple(ben: OwnPhone, kind: str) -> dict[str, Any]:
    now = timezone.now().astimezone(ben.patient.zone).replace(microsecond=0)
    return checked(ben) if kind == "check_in" else session_at(now - timedelta(hours=1))


@pytest.mark.parametrize("id", ["nonsense", "%00", "0193448e5d2a7c119a4e3b1f5d6c7e80", UNKNOWN])
@pytest.mark.parametrize("kind", PATHS)
def test_what_is_not_there(kind: str, id: str, ben: OwnPhone) -> None:
    answer = ben.call("GET", f"{PATHS[kind]}/{id}")
    assert (answer.status_code, body_of(answer)["code"]) == (404, "not-found")
    if id != UNKNOWN:
        assert ben.call("PUT", f"{PATHS[kind]}/{id}", {}).status_code == 404
        assert ben.call("DELETE", f"{PATHS[kind]}/{id}?revision=2").status_code == 404


def test_a_withdrawal_may_overtake_its_record(
    way: Way, ben: OwnPhone, done: dict[str, Any]
) -> None:
    """The end state is the same as in a push, whatever order the requests arrive in."""
    id = uuid4()
    assert way(ben, "session", id, 2, None).status == "created"
    assert way(ben, "session", id, 1, done).status == "superseded"
    assert ben.get(f"me/sessions/{id}")["withdrawn"] is True
    assert ben.get("me/sessions")["items"] == []


def test_unknown_fields_are_kept_out_and_named(
    way: Way, ben: OwnPhone, done: dict[str, Any]
) -> None:
    entries = [{**entry, "mood": 1} for entry in done["entries"]]
    entries[0]["sets"] = [{**one, "angle_deg": 40} for one in entries[0]["sets"]]
    id = uuid4()
    sent = way(ben, "session", id, 1, {**done, "entries": entries, "weather": "rain"})

    assert sent.status == "created"
    assert sent.body["warnings"] == [
        "unknown-field: angle_deg", "unknown-field: mood", "unknown-field: weather",
    ]  # fmt: skip
    shown = ben.get(f"me/sessions/{id}")
    assert shown["entries"] == done["entries"]
    assert "weather" not in shown
    # The same without them is the same record.
    assert way(ben, "session", id, 1, done).status == "unchanged"


# --- Whose record -----------------------------------------------------------------------------


def test_an_id_belongs_to_its_patient(ben: OwnPhone, bea: OwnPhone, way: Way) -> None:
    """The same id sent by somebody else is another record, and tells nothing."""
    id = uuid4()
    assert way(ben, "check_in", id, 3, checked(ben, note="Ben's")).status == "created"

    assert bea.call("GET", f"me/check-ins/{id}").status_code == 404
    assert way(bea, "check_in", id, 1, checked(bea, note="Bea's")).status == "created"
    assert way(bea, "check_in", id, 2, None).status == "updated"
    shown = ben.get(f"me/check-ins/{id}")
    assert (shown["revision"], shown["note"], shown["history_count"]) == (3, "Ben's", 1)


@pytest.fixture
def plan_of_bea(ana: Staff, bea: OwnPhone, grade_1: ProtocolVersion) -> Any:
    episode = make_episode(bea.patient, ana.user, timezone.now())
    return ana.assigns(grade_1, to=bea.patient, episode=episode, on=bea.today)


# What Ben names instead of his own; what the refusal says. `{…}` are taken from Bea's plan.
FOREIGN: dict[str, tuple[dict[str, Any], str, str]] = {
    "assignment": ({"assignment_id": "{assignment}"}, "#/assignment_id", "validation-failed"),
    "slot": ({"slot_id": "{slot}"}, "", "slot-mismatch"),
    "prescription": (
        {"entries": [{"prescription_id": "{prescription}", "state": "done"}]},
        "#/entries/0/prescription_id",
        "unknown-prescription",
    ),
    "exercise": (
        {"entries": [{"exercise_id": "{exercise}", "state": "done"}]},
        "#/entries/0/exercise_id",
        "validation-failed",
    ),
}


def test_a_foreign_id_is_like_an_unknown_one(
    way: Way, ben: OwnPhone, bea: OwnPhone, plan_of_bea: Any, done: dict[str, Any],
    subtests: pytest.Subtests,
) -> None:  # fmt: skip
    slot = bea.slot()
    foreign = {
        "{assignment}": plan_of_bea["id"],
        "{slot}": slot["slot_id"],
        "{prescription}": slot["items"][0]["prescription_id"],
        "{exercise}": str(_private_exercise(ben).pk),
    }
    unknown = {key: str(uuid4()) for key in foreign}
    for name, (wish, pointer, code) in FOREIGN.items():
        with subtests.test(name):
            refusals = []
            for known in (foreign, unknown):
                said = json.dumps(wish)
                for key, value in known.items():
                    said = said.replace(key, value)
                sent = way(ben, "session", uuid4(), 1, {**done, **json.loads(said)})
                refusals.append(sent.problem)
                assert (sent.status, sent.code) == ("rejected", code)
                errors = sent.body.get("errors", [])
                assert [error["pointer"] for error in errors] == ([pointer] if pointer else [])
            assert refusals[0] == refusals[1]
    assert ben.get("me/sessions")["items"] == []
    assert way(ben, "session", uuid4(), 1, done).status == "created"


def _private_exercise(ben: OwnPhone) -> Exercise:
    """An exercise that another clinic keeps for itself."""
    row = Exercise.objects.filter(clinic=None).first()
    assert row is not None
    row.pk, row.clinic, row.slug = uuid4(), make_clinic("Private", timezone.now()), "private"
    row.save(force_insert=True)
    return row


@pytest.mark.parametrize("named", ["slot_id", "entries"])
def test_what_belongs_to_a_plan_names_the_plan(
    named: str, way: Way, ben: OwnPhone, done: dict[str, Any]
) -> None:
    bare = {name: value for name, value in done.items() if not name.startswith("assignment_")}
    other = "entries" if named == "slot_id" else "slot_id"
    bare.pop(other)
    sent = way(ben, "session", uuid4(), 1, bare)

    assert (sent.status, sent.code) == ("rejected", "validation-failed")
    assert sent.body["errors"][0] == {
        "pointer": "#/assignment_id",
        "code": "required",
        "detail": "Slots and prescriptions belong to an assignment.",
    }


@pytest.mark.parametrize("left_out", ["assignment_id", "assignment_version"])
def test_a_plan_is_named_with_its_version(
    left_out: str, way: Way, ben: OwnPhone, done: dict[str, Any]
) -> None:
    del done[left_out]
    sent = way(ben, "session", uuid4(), 1, done)
    assert sent.body["errors"][0]["pointer"] == f"#/{left_out}"
    assert sent.body["errors"][0]["code"] == "required"


def test_nothing_is_taken_once_consent_is_withdrawn(ben: OwnPhone, done: dict[str, Any]) -> None:
    ben.put(f"me/sessions/{uuid4()}", {**done, "revision": 1}, 201)
    ben.patient.consent_withdrawn_at = timezone.now()
    ben.patient.save()

    body = {"sent_at": timezone.now().isoformat(), "items": [item("session", uuid4(), 1, done)]}
    assert ben.put(f"me/sessions/{uuid4()}", {**done, "revision": 1}, 403)["code"] == (
        "consent-withdrawn"
    )
    assert ben.post("me/sync/push", body, 403)["code"] == "consent-withdrawn"
    ben.patient.consent_withdrawn_at = None
    ben.patient.save()
    assert len(ben.get("me/sessions")["items"]) == 1


# --- What is derived --------------------------------------------------------------------------


# What share of its sets each of two exercises got; what that makes of the session.
SHARES: dict[str, tuple[list[float], str, float]] = {
    "all of it": ([1, 1], "completed", 1),
    "more of one makes up for nothing": ([2, 1], "completed", 1),
    "one of two": ([1, 0], "partial", 0.5),
    "two sets of three": ([2 / 3, 1], "partial", 0.8333),
    "nothing": ([0, 0], "skipped", 0),
}


def test_outcome_and_dose(
    ben: OwnPhone, done: dict[str, Any], first_slot: Any, subtests: pytest.Subtests
) -> None:
    counted = [row for row in first_slot["items"] if row["counts"]]
    for name, (shares, outcome, ratio) in SHARES.items():
        with subtests.test(name):
            entries = [entry_of(row, share) for row, share in zip(counted, shares, strict=True)]
            sent = by_itself(ben, "session", uuid4(), 1, {**done, "entries": entries})
            derived = sent.body["derived"]
            assert (derived["outcome"], derived["dose_ratio"]) == (outcome, ratio)
            assert [one["ratio"] for one in derived["items"]] == [
                round(min(share, 1), 4) for share in shares
            ]
            first = derived["items"][0]
            assert (first["prescribed"], first["dose_unit"]) == (3 * 5 * 10, "hold_s")


def test_an_exercise_left_out_counts_nothing(ben: OwnPhone, done: dict[str, Any], way: Way) -> None:
    done["entries"] = done["entries"][:1]
    derived = way(ben, "session", uuid4(), 1, done).body["derived"]
    assert (derived["outcome"], derived["dose_ratio"]) == ("partial", 0.5)
    assert [one["ratio"] for one in derived["items"]] == [1, 0]


def test_a_skipped_session_says_why(ben: OwnPhone, done: dict[str, Any], way: Way) -> None:
    skipped = {
        name: done[name] for name in done if name not in ("entries", "started_at", "ended_at")
    }
    skipped["state"] = "skipped"
    refused = way(ben, "session", uuid4(), 1, skipped)
    assert [error["pointer"] for error in refused.body["errors"]] == ["#/skip_reason"]

    taken = way(ben, "session", uuid4(), 1, {**skipped, "skip_reason": "no_time"})
    assert taken.body["derived"]["outcome"] == "skipped"
    assert ben.slot()["status"] == "skipped"


def test_an_open_session_is_finished_by_its_next_revision(
    ben: OwnPhone, done: dict[str, Any], way: Way
) -> None:
    id = uuid4()
    begun = {name: done[name] for name in done if name not in ("entries", "ended_at")}
    assert way(ben, "session", id, 1, {**begun, "state": "open"}).body["derived"]["outcome"] == (
        "open"
    )
    assert ben.slot()["status"] == "open"
    assert way(ben, "session", id, 2, done).body["derived"]["outcome"] == "completed"
    assert ben.slot()["status"] == "completed"


def test_two_sessions_of_one_slot_count_once(ben: OwnPhone, done: dict[str, Any]) -> None:
    """Two phones, or a repeat: both are kept, the better one counts."""
    ids = [uuid4(), uuid4()]
    by_itself(ben, "session", ids[0], 1, {**done, "entries": done["entries"][:1]})
    assert ben.slot()["status"] == "partial"
    by_itself(ben, "session", ids[1], 1, done)

    slot = ben.slot()
    assert (slot["status"], slot["session_ids"]) == ("completed", sorted(map(str, ids)))
    assert len(ben.get("me/sessions")["items"]) == 2


def test_extra_sessions_and_extra_exercises(
    ben: OwnPhone, done: dict[str, Any], way: Way, first_slot: Any
) -> None:
    exercise = {"exercise_id": first_slot["items"][0]["exercise"]["id"], "state": "done",
                "sets": [{"reps": 10}]}  # fmt: skip
    free = {
        n: v for n, v in done.items() if n not in ("slot_id", "assignment_id", "assignment_version")
    }
    extra = way(ben, "session", uuid4(), 1, {**free, "entries": [exercise]}).body["derived"]
    assert (extra["outcome"], extra["items"]) == ("completed", [])
    assert "dose_ratio" not in extra

    beside = way(ben, "session", uuid4(), 1, {**done, "entries": [*done["entries"], exercise]})
    assert beside.body["derived"]["dose_ratio"] == 1
    no_slot = {n: v for n, v in done.items() if n != "slot_id"}
    named = way(ben, "session", uuid4(), 1, {**no_slot, "entries": done["entries"][:1]})
    assert [one["ratio"] for one in named.body["derived"]["items"]] == [1]


@pytest.mark.parametrize(
    ("entry", "pointer"),
    [
        ({"state": "done"}, "#/entries/0/prescription_id"),
        ({"prescription_id": "p", "exercise_id": "p", "state": "done"},
         "#/entries/0/prescription_id"),
        ({"prescription_id": "p", "state": "skipped"}, "#/entries/0/skip_reason"),
    ],
)  # fmt: skip
def test_an_entry_names_one_thing_and_says_why(
    entry: dict[str, Any], pointer: str, ben: OwnPhone, done: dict[str, Any], way: Way
) -> None:
    named = {key: done["entries"][0]["prescription_id"] if value == "p" else value
             for key, value in entry.items()}  # fmt: skip
    refused = way(ben, "session", uuid4(), 1, {**done, "entries": [named]})
    assert [(e["pointer"], e["code"]) for e in refused.body["errors"]] == [(pointer, "required")]


# --- The assignment ---------------------------------------------------------------------------


def test_uploads_for_an_ended_assignment_are_taken_for_days_inside_it(
    ben: OwnPhone, ana: Staff, plan_of_ben: Any, done: dict[str, Any], way: Way
) -> None:
    read = ana.call("GET", f"assignments/{plan_of_ben['id']}")
    ana.post(f"assignments/{plan_of_ben['id']}/end",
             {"from": ben.today.isoformat(), "status": "completed", "reason": "Fit again"},
             200, If_Match=read["ETag"])  # fmt: skip

    assert way(ben, "session", uuid4(), 1, done).status == "created"
    tomorrow = (ben.today + timedelta(days=1)).isoformat()
    late = way(ben, "session", uuid4(), 1, {**done, "local_date": tomorrow})
    assert (late.status, late.code) == ("rejected", "log-outside-assignment")


def test_a_slot_fits_its_day_and_the_days_beside(
    ben: OwnPhone, plan_of_ben: Any, done: dict[str, Any], way: Way, subtests: pytest.Subtests
) -> None:
    _since(ben.today - timedelta(days=5))
    for days in (-2, -1, 0, 1, 2):
        with subtests.test(days=days):
            slot = ben.slot(ben.today + timedelta(days=days))
            sent = way(ben, "session", uuid4(), 1, {**done, "slot_id": slot["slot_id"]})
            if abs(days) > 1:
                assert (sent.status, sent.code) == ("rejected", "slot-mismatch")
            else:
                assert sent.body["derived"]["outcome"] == "completed"


# Version 2 asks for twice as many sets from `since` days before today on. The phone says it had
# version `had`. Judged by version 1 the session is complete, by version 2 it is half.
VERSIONS: dict[str, tuple[int, int, int]] = {
    "changed today, phone not yet told": (0, 1, 1),
    "changed today, phone told": (0, 2, 2),
    "still current three days before": (2, 1, 1),
    "ended before the three days": (3, 1, 2),
    "long gone": (30, 1, 2),
    "long in force": (30, 2, 2),
    "not in force yet": (-1, 2, 1),
    "never heard of": (30, 99, 2),
}


def test_judged_by_the_version_the_phone_had(
    way: Way, ben: OwnPhone, plan_of_ben: Any, done: dict[str, Any], subtests: pytest.Subtests
) -> None:
    first = _since(ben.today - timedelta(days=1), versions_since=ben.today - timedelta(days=40))
    doubled = [{**row, "dose": {**row["dose"], "sets": row["dose"]["sets"] * 2}, "stages": []}
               for row in first.prescriptions]  # fmt: skip
    second = AssignmentVersion.objects.create(
        assignment=first.assignment, number=2, effective_date=ben.today, parts_of_day=[],
        training_days=[], prescriptions=doubled, made_by=first.made_by, made_at=first.made_at,
    )  # fmt: skip
    for name, (since, had, judged_by) in VERSIONS.items():
        with subtests.test(name):
            second.effective_date = ben.today - timedelta(days=since)
            second.save()
            sent = way(ben, "session", uuid4(), 1, {**done, "assignment_version": had})
            assert sent.body["derived"]["dose_ratio"] == {1: 1, 2: 0.5}[judged_by]


def _since(start: date, versions_since: date | None = None) -> AssignmentVersion:
    """Ben's plan as if it had been given then."""
    Assignment.objects.update(start_date=start)
    AssignmentVersion.objects.update(effective_date=versions_since or start)
    judged_again()
    return AssignmentVersion.objects.get()


# --- Flags ------------------------------------------------------------------------------------


def open_flags() -> dict[str, tuple[str, int]]:
    return {flag.code: (flag.level, flag.occurrences) for flag in Flag.objects.all()}


SEVERE = {"severe": ("urgent", 1)}


# What a session says more; the flag it raises, and what the app is to say.
RAISED: list[tuple[dict[str, Any], dict[str, tuple[str, int]], str]] = [
    ({}, {}, ""),
    ({"pain_during": 7, "pain_after": 7}, {}, ""),
    ({"pain_during": 8}, SEVERE, "stop_today"),
    ({"pain_before": 10}, SEVERE, "stop_today"),
    ({"pain_after": 9}, SEVERE, "stop_today"),
    ({"pain of a set": 8}, SEVERE, "stop_today"),
    ({"pain of an entry": 8}, SEVERE, "stop_today"),
    ({"pop_felt": True}, SEVERE, "stop_today"),
    ({"pop_felt": False}, {}, ""),
    ({"pop_felt": True, "pain_during": 9}, SEVERE, "stop_today"),
    ({"stop_signs": ["ces_bladder"] * 2}, {"ces_bladder": ("emergency", 1)}, "stop_today"),
    ({"stop_signs": ["night_pain"]}, {"night_pain": ("routine", 1)}, "carry_on_with_care"),
]


def test_a_session_raises_flags_at_once(
    way: Way, ben: OwnPhone, done: dict[str, Any], subtests: pytest.Subtests
) -> None:
    for more, raised, advice in RAISED:
        with subtests.test(**more):
            said = json.loads(json.dumps(done))
            if "pain of a set" in more:
                said["entries"][0]["sets"][1]["pain"] = more["pain of a set"]
            elif "pain of an entry" in more:
                said["entries"][0]["pain"] = more["pain of an entry"]
            else:
                said |= more
            body = way(ben, "session", uuid4(), 1, said).body
            assert open_flags() == raised
            told = [e for e in body["effects"] if e["kind"] == "flag"]
            assert [(e["code"], e["advice"], e["flag_id"]) for e in told] == [
                (flag.code, advice, str(flag.pk)) for flag in Flag.objects.all()
            ]
            assert body["derived"].get("flags", []) == list(raised)
        _forget_flags()


def test_a_check_in_raises_flags_at_once(
    way: Way, ben: OwnPhone, plan_of_ben: Any, subtests: pytest.Subtests
) -> None:
    """A morning rating at or above SEV stops, whatever it follows (protocols.md, R4)."""
    table: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"pain_now": 7}, {}),
        ({"pain_now": 8}, SEVERE),
        ({"pain_now": 0, "nprs_worst": 10}, {}),
        ({"stop_signs": ["fever_with_pain"]}, {"fever_with_pain": ("urgent", 1)}),
    ]
    for more, raised in table:
        with subtests.test(**more):
            way(ben, "check_in", uuid4(), 1, checked(ben, **more))
            assert open_flags() == raised
        _forget_flags()


def _forget_flags() -> None:
    for model in (Flag, Event, Progression, ClosedDay, Session, CheckIn, Revision):
        model.objects.all().delete()
    judged_again()


def test_pain_outside_the_plan_is_held_against_the_plan_that_runs(
    ben: OwnPhone, plan_of_ben: Any, way: Way
) -> None:
    now = timezone.now().astimezone(ben.patient.zone)  # today, just after midnight, too
    short = dict.fromkeys(("ended_at", "recorded_at"), now.isoformat())
    way(ben, "session", uuid4(), 1, session_at(now, pain_during=8, **short))
    assert open_flags() == SEVERE


def test_without_any_plan_nobody_set_a_limit(ben: OwnPhone, way: Way) -> None:
    way(ben, "check_in", uuid4(), 1, checked(ben, pain_now=10))
    assert open_flags() == {}


def test_a_record_counts_once_however_often_it_comes(
    ben: OwnPhone, done: dict[str, Any], way: Way
) -> None:
    popped = {**done, "pop_felt": True}
    first, second = uuid4(), uuid4()
    effects = way(ben, "session", first, 1, popped).body["effects"]
    assert effects
    # The answer may have been lost on the way: a repeat tells the same.
    assert way(ben, "session", first, 1, popped).body["effects"] == effects
    way(ben, "session", second, 1, popped)
    assert open_flags() == {"severe": ("urgent", 2)}

    way(ben, "session", first, 2, {**popped, "note": "edited"})
    way(ben, "session", second, 2, {**popped, "note": "edited"})
    way(ben, "session", first, 3, None)
    way(ben, "session", first, 4, popped)
    assert open_flags() == {"severe": ("urgent", 2)}


def test_a_note_does_not_reopen_what_a_person_has_closed(
    ana: Staff, ben: OwnPhone, done: dict[str, Any], way: Way
) -> None:
    id = uuid4()
    way(ben, "session", id, 1, {**done, "pop_felt": True})
    Flag.objects.update(
        status=Flag.Status.RESOLVED, action="contacted", resolved_by=ana.user,
        resolved_at=timezone.now(),
    )  # fmt: skip
    way(ben, "session", id, 2, {**done, "pop_felt": True, "note": "typo"})
    assert Flag.objects.count() == 1
    way(ben, "session", uuid4(), 1, {**done, "pop_felt": True})
    assert Flag.objects.count() == 2


def test_a_stop_sign_in_an_older_revision_is_told_too(
    ben: OwnPhone, done: dict[str, Any], way: Way
) -> None:
    """Whichever of the two comes first, a person looks at it."""
    id = uuid4()
    way(ben, "session", id, 2, done)
    late = way(ben, "session", id, 1, {**done, "stop_signs": ["ces_saddle_numbness"]})
    assert late.status == "superseded"
    assert [effect["code"] for effect in late.body["effects"]] == ["ces_saddle_numbness"]
    assert open_flags() == {"ces_saddle_numbness": ("emergency", 1)}


# --- Lists ------------------------------------------------------------------------------------


def test_lists_are_newest_first_by_pages_and_days(ben: OwnPhone) -> None:
    now = timezone.now().astimezone(ben.patient.zone)
    sent = [session_at(now - timedelta(days=n % 4, hours=2)) for n in range(7)]
    ids = [uuid4() for _ in sent]
    pushed(ben, *(item("session", id, 1, data) for id, data in zip(ids, sent, strict=True)))

    expected = sorted(
        ((data["local_date"], str(id)) for id, data in zip(ids, sent, strict=True)), reverse=True
    )
    found, path = [], "me/sessions?limit=3"
    while path:
        answer = ben.call("GET", path)
        page = body_of(answer)
        found += [(row["local_date"], row["id"]) for row in page["items"]]
        assert len(page["items"]) <= 3
        path = f"me/sessions?limit=3&cursor={page['next_cursor']}" if page["next_cursor"] else ""
        assert bool(path) == ('rel="next"' in answer.headers.get("Link", ""))
    assert found == expected

    first, last = expected[-1][0], expected[2][0]
    some = ben.get(f"me/sessions?from={first}&to={last}")["items"]
    assert [row["id"] for row in some] == [id for day, id in expected if first <= day <= last]
    assert ben.get("me/sessions?from=2001-01-01&to=2001-01-02")["items"] == []


BAD_QUERIES = ["from=yesterday", "to=2026-02-30", "from=20261119", "from=", "limit=0", "limit=201",
               "limit=x", "limit=-1", "from=%00", "to=3026-01-01"]  # fmt: skip


@pytest.mark.parametrize("kind", PATHS)
def test_a_bad_query_is_told(kind: str, ben: OwnPhone, subtests: pytest.Subtests) -> None:
    for query in BAD_QUERIES:
        with subtests.test(query):
            assert ben.get(f"{PATHS[kind]}?{query}", 400)["code"] == "malformed-request"


def test_a_cursor_fits_the_list_it_came_from(ben: OwnPhone, bea: OwnPhone) -> None:
    now = timezone.now().astimezone(ben.patient.zone) - timedelta(hours=1)
    pushed(ben, *(item("session", uuid4(), 1, session_at(now)) for _ in range(3)))
    cursor = ben.get("me/sessions?limit=2")["next_cursor"]
    assert len(ben.get(f"me/sessions?limit=2&cursor={cursor}")["items"]) == 1
    for wrong in (f"me/check-ins?cursor={cursor}", f"me/sessions?from=2026-01-01&cursor={cursor}",
                  "me/sessions?cursor=x", f"me/sessions?cursor={cursor}x"):  # fmt: skip
        assert ben.get(wrong, 400)["code"] == "cursor-invalid"
    assert bea.get(f"me/sessions?cursor={cursor}")["items"] == []


# --- Who may ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["me/plan", "me/sessions", "me/check-ins", "me/sync/changes", f"me/sessions/{UNKNOWN}"],
)
def test_only_patients_have_these(path: str, ana: Staff, ben: OwnPhone, nobody: Any) -> None:
    assert ana.get(path, 403)["code"] == "forbidden"
    assert nobody.get(path, 401)["code"] == "unauthenticated"
    assert ben.call("GET", path).status_code in (200, 404)


# --- Cost -------------------------------------------------------------------------------------


# At most so many statements; of a PUT, two open and close its transaction.
MOST_QUERIES = {
    "session, new": 15,
    "session, again": 3,
    "check-in, new": 16,
    "session, read": 3,
    "sessions": 3,
    "changes": 9,
    "plan of 1": 8,
    "plan of 14": 8,
    "plan of 28": 8,
    "plan, unchanged": 2,
    "push of 24": 235,
}


def cost_of_a_day(ben: OwnPhone, done: dict[str, Any]) -> dict[str, int]:
    """What each request of a day costs in statements."""
    session, check_in = f"me/sessions/{uuid4()}", f"me/check-ins/{uuid4()}"
    tag = ben.call("GET", "me/plan?days=14")["ETag"]
    batch = [item("session", uuid4(), 1, done) for _ in range(12)]
    batch += [item("check_in", uuid4(), 1, checked(ben)) for _ in range(12)]
    day: dict[str, Callable[[], object]] = {
        "plan, unchanged": lambda: ben.get("me/plan?days=14", 304, If_None_Match=tag),
        "session, new": lambda: ben.put(session, {**done, "revision": 1}, 201),
        "session, again": lambda: ben.put(session, {**done, "revision": 1}, 200),
        "check-in, new": lambda: ben.put(check_in, ben.check_in(), 201),
        "session, read": lambda: ben.get(session),
        "sessions": lambda: ben.get("me/sessions?limit=5"),
        "changes": lambda: ben.get("me/sync/changes?limit=200"),
        "plan of 1": lambda: ben.plan(days=1),
        "plan of 14": lambda: ben.plan(days=14),
        "plan of 28": lambda: ben.plan(days=28),
        "push of 24": lambda: pushed(ben, *batch),
    }
    costs = {}
    for name, request in day.items():
        with CaptureQueriesContext(connection) as told:
            request()
        costs[name] = len(told)
    return costs


def test_cost_grows_with_nothing(ben: OwnPhone, plan_of_ben: Any, done: dict[str, Any]) -> None:
    _since(ben.today - timedelta(days=60))
    ben.checks_in()
    costs = cost_of_a_day(ben, done)
    assert {name: cost for name, cost in costs.items() if cost > MOST_QUERIES[name]} == {}

    # What came late replays the whole course, until the day on which it came has closed.
    _logs_of_a_week(ben)
    costs = cost_of_a_day(ben, done)
    limits = MOST_QUERIES | {"session, new": 20, "check-in, new": 22, "push of 24": 331}
    assert {name: cost for name, cost in costs.items() if cost > limits[name]} == {}

    _logs_of_a_week(ben)
    assert cost_of_a_day(ben, done) == costs


def _logs_of_a_week(ben: OwnPhone) -> None:
    now = timezone.now().astimezone(ben.patient.zone)
    past = [now - timedelta(days=n % 7, hours=2) for n in range(50)]
    pushed(ben, *(item("session", uuid4(), 1, session_at(at)) for at in past))
    pushed(ben, *(item("check_in", uuid4(), 1, check_in_at(at)) for at in past))
