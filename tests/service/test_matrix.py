"""Nobody sees or changes what is not theirs: the matrix, what it looks for, and that it can see."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from backend.api import base
from backend.api.physio import patients
from backend.care.models import OfPatientQuerySet, Session
from backend.clinics import actions
from backend.clinics.models import Clinic, Patient, PatientQuerySet, User
from backend.notifications.models import MessageQuerySet
from backend.problems import Forbidden, NotFound
from exercises.models import ExerciseQuerySet
from protocols.models import DraftQuerySet, ProtocolVersion
from tests.roles import as_owner
from tests.service import matrix
from tests.service.cast import Answer
from tests.service.matrix import (
    MARKS,
    RECIPES,
    RELATIONS,
    ROLES,
    WHO,
    Case,
    World,
    all_cases,
    everything,
    make_world,
    marks_in,
    operations,
    plain,
    run,
    undone,
)


def role_for(operation: str) -> str:
    """Somebody of one role who may."""
    return {"P": "patient", "A": "clinic_admin"}.get(WHO[operation], "physiotherapist")


LETTERS = {
    "patient": "P", "physiotherapist": "T", "clinic_admin": "A", "service": "S", "anybody": "-",
}  # fmt: skip


@pytest.fixture(scope="module")
def built(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """The world is large, so it is made once and never committed."""
    with django_db_blocker.unblock(), transaction.atomic():
        if not ProtocolVersion.objects.exists():  # a test with real transactions emptied it
            call_command("load_library", verbosity=0)
        yield make_world(timezone.now())
        transaction.set_rollback(True)


@pytest.fixture
def world(built: World, db: None) -> World:
    """As it was made, whatever the test before did: each test is undone inside that transaction."""
    return built


# --- The matrix -------------------------------------------------------------------------------


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    ids = [one.id for one in operations()]

    assert len(ids) == len(set(ids)), "an id names one operation"
    assert set(ids) == set(WHO) == set(RECIPES)


def test_views_declare_the_roles_of_the_contract() -> None:
    """A view holds several methods; it admits whoever one of them is for, and nobody else."""
    declared = {one.view: {LETTERS[role] for role in one.view.roles} for one in operations()}
    written: dict[Any, set[str]] = {view: set() for view in declared}
    for one in operations():
        written[one.view] |= set(WHO[one.id])

    assert declared == written


def test_the_matrix(world: World) -> None:
    cases = all_cases()
    done = run(world, cases)

    assert not done.findings, "\n".join(done.findings)
    assert len(done.answers) == len(cases) == len(WHO) * len(ROLES) * len(RELATIONS)
    assert done.allowed == set(WHO), "each operation is allowed to somebody"


# --- It is not blind --------------------------------------------------------------------------

Plant = Callable[[pytest.MonkeyPatch], None]


def _shows_all(queryset: type) -> Plant:
    return lambda patch: patch.setattr(queryset, "visible_to", lambda rows, person: rows.all())


def _tells(patch: pytest.MonkeyPatch) -> None:
    def treated(view: Any, id: str) -> Patient:
        found: Patient | None = Patient.objects.filter(pk=id).first()
        if found is None:
            raise NotFound
        if found.clinic_id != view.person.clinic_id:
            raise Forbidden
        view.about = found.pk
        return found

    patch.setattr(patients.OfPatient, "treated", treated)


def _meddles(patch: pytest.MonkeyPatch) -> None:
    usual = patients.OfPatient.treated

    def treated(view: Any, id: str) -> Patient:
        Patient.objects.filter(pk=id).update(phone="+46 666")
        return usual(view, id)

    patch.setattr(patients.OfPatient, "treated", treated)


def _spills(patch: pytest.MonkeyPatch) -> None:
    def changed(**_: object) -> User:
        User.objects.update(locale="tlh")
        return User.objects.select_related("clinic").get(given_name="Ana")

    patch.setattr(actions, "change_account", changed)


def _names_all(patch: pytest.MonkeyPatch) -> None:
    names = ", ".join(Clinic.objects.values_list("name", flat=True))
    patch.setattr(base.Endpoint, "default_response_headers", {"Clinics": names})


@pytest.mark.parametrize(
    ("plant", "operation", "found"),
    [
        pytest.param(
            _shows_all(PatientQuerySet), "patient_get",
            "patient_get × physiotherapist × elsewhere: 200, not 404",
            id="a query that shows everything",
        ),
        pytest.param(
            _shows_all(PatientQuerySet), "patient_list",
            "patient_list × clinic_admin × own: shows Ottomark",
            id="a list that shows everything",
        ),
        pytest.param(
            _shows_all(OfPatientQuerySet), "session_get",
            "session_get × patient × peer: 200, not 404",
            id="rows of another patient",
        ),
        pytest.param(
            _shows_all(OfPatientQuerySet), "assignment_end",
            "assignment_end × physiotherapist × elsewhere: 200, not 404",
            id="a plan elsewhere is ended",
        ),
        pytest.param(
            _shows_all(OfPatientQuerySet), "assignment_end", "changed by no right: ('care.Assign",
            id="and the victims show it",
        ),
        pytest.param(
            _shows_all(ExerciseQuerySet), "exercise_list",
            "exercise_list × physiotherapist × own: shows Ottomark",
            id="the catalogue of another clinic",
        ),
        pytest.param(
            _shows_all(DraftQuerySet), "protocol_publish",
            "protocol_publish × physiotherapist × elsewhere: 201, not 404",
            id="a draft of another clinic",
        ),
        pytest.param(
            _shows_all(MessageQuerySet), "reminder_snooze",
            "reminder_snooze × patient × peer: 200, not 404",
            id="a reminder of another patient",
        ),
        pytest.param(
            _shows_all(MessageQuerySet), "reminder_list", "reminder_list × patient × own: shows ",
            id="a list of them",
        ),
        pytest.param(
            lambda patch: patch.setattr(patients.Patients, "roles", base.SIGNED_IN),
            "patient_list", "patient_list × patient × own: 200, not 403", id="a role too many",
        ),
        pytest.param(
            lambda patch: patch.setattr(patients.Patients, "roles", frozenset()),
            "patient_list", "patient_list × both × own: 403, not 200", id="a role too few",
        ),
        pytest.param(
            _tells, "patient_get", "patient_get × clinic_admin × elsewhere: differs",
            id="a refusal that tells",
        ),
        pytest.param(
            _meddles, "patient_get", "changed by no right: ('clinics.Patient'",
            id="a victim changed behind a 404",
        ),
        pytest.param(
            _spills, "me_update", "me_update × physiotherapist × own: changed ('clinics.User'",
            id="a write that reaches others",
        ),
        pytest.param(
            _names_all, "meta_get", "meta_get × anonymous × own: shows Elsewheremark",
            id="a header with names",
        ),
        pytest.param(
            lambda patch: patch.setattr(base, "note", lambda **_: None),
            "patient_get", "patient_get × both × peer: 0 audit events, not 1", id="an unnoted look",
        ),
    ],
)  # fmt: skip
def test_a_planted_leak_is_found(
    world: World, monkeypatch: pytest.MonkeyPatch, plant: Plant, operation: str, found: str
) -> None:
    """Whose tables they are is who sees it: from the service's own role PostgreSQL hides some."""
    plant(monkeypatch)
    with as_owner():
        done = run(world, all_cases([operation]))

    assert any(finding.startswith(found) for finding in done.findings), "\n".join(done.findings)


# --- Other methods, lists and filters ---------------------------------------------------------


def test_methods_that_are_not_offered_tell_nothing(world: World) -> None:
    offered: dict[str, set[str]] = {}
    names = {one.route: RECIPES[one.id].names for one in operations()}
    for one in operations():
        offered.setdefault(one.route, set()).add(one.method)
    before = everything()
    for route, methods in offered.items():
        known = methods | ({"HEAD"} if "GET" in methods else set())
        for method in {"HEAD", "GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} - known:
            for role in ("patient", "both", "anonymous"):
                caller, told = next(iter(world.callers[role].values())), set()
                for relation in ("elsewhere", "unknown") if names[route] else ("unknown",):
                    path = route.replace("<str:id>", world.ids[relation].get(names[route], ""))
                    answer = caller.call(method, path)
                    assert answer.status_code in (405, 401, 403) or method == "OPTIONS"
                    assert not marks_in(world, set(), answer, path), (method, path)
                    told.add(repr(plain(answer)))
                assert len(told) == 1, (method, route, role)
    assert everything() == before


def test_head_is_a_read_like_any_other(world: World) -> None:
    for relation in RELATIONS:
        for route in matrix.READ_AT.values():
            path = route.format(**world.ids[relation])
            read, head = (world.ana.call(method, path) for method in ("GET", "HEAD"))
            assert (head.status_code, head.content) == (read.status_code, b"")
            assert head.headers.get("ETag") == read.headers.get("ETag")


def test_lists_filters_and_search_show_nothing_of_others(world: World) -> None:
    """Every query parameter that is declared, asked with what others are known by."""
    declared = matrix.query_parameters()
    names = {name for _, name in declared}
    assert {"q", "status", "physiotherapist_id", "cursor", "from", "version"} <= names
    foreign, peer = world.ids["elsewhere"], world.ids["peer"]
    lures = [MARKS["other"], MARKS["peer"], "mark", "%", "draft", "history", "2000-01-01", "1"]
    lures += [foreign[name] for name in ("patient_id", "physiotherapist_id", "exercise", "draft")]
    lures += [peer["patient_id"], peer["session"]]
    shown = 0
    for operation, name in declared:
        for role in ("patient", "physiotherapist", "clinic_admin"):
            case = Case(operation, role, "own")
            if case.expected != 200 or operation.method != "GET":
                continue
            for lure in lures if name != "limit" else ("1", "200"):
                answer = world.ask(case, query=f"{name}={quote(lure)}")
                assert answer.status_code in (200, 400, 404), (operation.id, name, lure)
                found = marks_in(world, world.seen_by(case), answer, lure)
                assert not found, (operation.id, role, name, lure, found)
                shown += MARKS["own"] in answer.content.decode()
    assert shown, "own things are found by the same lists"


def test_search_finds_own_things_only(world: World) -> None:
    for path in ("patients", "exercises", "protocols?status=draft"):
        for word, count in (("ottomark", 0), ("benmark", 1), ("beamark", 1)):
            items = world.ana.get(f"{path}{'&' if '?' in path else '?'}q={word}")["items"]
            if path == "patients":
                count *= 3  # and those who are invited and stopped
            assert len(items) == count, (path, word)
    caseload = world.ids["elsewhere"]["physiotherapist_id"]
    assert world.ana.get(f"patients?physiotherapist_id={caseload}")["items"] == []


# --- Bodies -----------------------------------------------------------------------------------

EVERYBODY_ELSE = ("peer", "elsewhere")
Change = Callable[[dict[str, str]], dict[str, Any]]


def _entry(**named: str) -> dict[str, Any]:
    return {"entries": [{"state": "done", "sets": [{"reps": 1}]} | named]}


# Every field of a body that refers to something: the operation, where a refusal points, what is
# sent, and whose things are refused like unknown ones.
REFERENCES: list[tuple[str, str, Change, tuple[str, ...]]] = [
    *(
        (operation, "#/physiotherapist_id", change, refused)
        for operation in ("patient_create", "patient_update")
        for change, refused in (
            (lambda ids: {"physiotherapist_id": ids["physiotherapist_id"]}, ("elsewhere",)),
            (lambda ids: {"physiotherapist_id": ids["user_id"]}, ("own", *EVERYBODY_ELSE)),
        )
    ),
    *(
        (operation, pointer, change, refused)
        for operation in ("assignment_create", "assignment_preview")
        for pointer, change, refused in (
            ("#/episode_id", lambda ids: {"episode_id": ids["free_episode"]}, EVERYBODY_ELSE),
            ("#/protocol_id", lambda ids: {"protocol_id": ids["published"]}, ("elsewhere",)),
            ("#/protocol_id", lambda ids: {"protocol_id": ids["draft"]}, ("own", *EVERYBODY_ELSE)),
            ("#/tailoring/0/exercise",
             lambda ids: {"tailoring": [{"op": "add", "exercise": ids["exercise_slug"]}]},
             ("elsewhere",)),
            ("#/tailoring/0",
             lambda ids: {"tailoring": [{"op": "remove", "prescription_id": ids["prescription"]}]},
             ("own", *EVERYBODY_ELSE)),
        )
    ),
    ("session_put", "#/assignment_id", lambda ids: {"assignment_id": ids["assignment"]},
     EVERYBODY_ELSE),
    ("session_put", "", lambda ids: {"slot_id": ids["slot"]}, EVERYBODY_ELSE),
    ("session_put", "#/entries/0/prescription_id",
     lambda ids: _entry(prescription_id=ids["prescription"]), EVERYBODY_ELSE),
    ("session_put", "#/entries/0/exercise_id", lambda ids: _entry(exercise_id=ids["exercise"]),
     ("elsewhere",)),
    ("protocol_create", "#/copy_of", lambda ids: {"copy_of": ids["published"]}, ("elsewhere",)),
    ("protocol_create", "#/copy_of", lambda ids: {"copy_of": ids["draft"]}, ("elsewhere",)),
    *(
        (operation, f"#/{way}", lambda ids, way=way: {way: ids["exercise_slug"]}, ("elsewhere",))
        for operation in ("exercise_create", "exercise_update")
        for way in ("easier", "harder")
    ),
    ("staff_update", "#/reassign_to", lambda ids: {"reassign_to": ids["physiotherapist_id"]},
     ("elsewhere",)),
    ("staff_update", "#/reassign_to", lambda ids: {"reassign_to": ids["user_id"]},
     ("own", *EVERYBODY_ELSE)),
]  # fmt: skip


def test_a_foreign_reference_is_refused_like_an_unknown_one(world: World) -> None:
    by_id = {one.id: one for one in operations()}
    before = everything()
    for operation, pointer, change, refused in REFERENCES:
        role = role_for(operation)
        case = Case(by_id[operation], role, "own")
        answers: dict[str, Answer] = {}
        for relation in reversed(RELATIONS):  # the unknown one first
            if (operation, relation) == ("exercise_update", "own"):
                continue  # it does not lead to itself
            body = world.body(case) | change(world.ids[relation])
            allowed = relation not in ("unknown", *refused)
            with undone(allowed):
                answers[relation] = world.ask(case, body=body)
            told = (operation, pointer, relation, answers[relation].content[:300])
            assert (answers[relation].status_code < 300) == allowed, told
            if not allowed:
                assert answers[relation].status_code == 422, told
                pointers = [
                    error["pointer"] for error in answers[relation].json().get("errors", ())
                ]
                assert pointers == ([pointer] if pointer else []), told
                assert plain(answers[relation]) == plain(answers["unknown"]), told
    assert everything() == before


def test_a_foreign_reference_in_a_push_is_refused_like_an_unknown_one(world: World) -> None:
    by_id = {one.id: one for one in operations()}
    case = Case(by_id["session_put"], "patient", "own")
    before = everything()
    for operation, pointer, change, refused in REFERENCES:
        if operation != "session_put":
            continue
        told = {}
        for relation in refused:
            data = world.body(case) | change(world.ids[relation])
            item = {"type": "session", "id": str(uuid4()), "revision": data.pop("revision")}
            push = {"sent_at": world.now.isoformat(), "items": [item | {"data": data}]}
            [result] = world.ben.post("me/sync/push", push, 200)["results"]
            assert result["status"] == "rejected", (pointer, relation)
            result.pop("id")
            told[relation] = result
        assert len({repr(one) for one in told.values()}) == 1
    assert everything() == before


CLAIMS = (
    "clinic_id", "clinic", "user_id", "user", "owner", "patient_id", "patient", "role", "roles",
    "is_physiotherapist", "is_clinic_admin", "is_staff", "is_superuser", "can_publish", "is_active",
    "recorded_by", "assigned_by", "published_by", "received_at", "created_at", "version_number",
)  # fmt: skip
BY_ADMINS = {"staff_create", "staff_update"}  # who give roles, at their own clinic alone
TAKE_NO_BODY = {"protocol_check", "invitation_create", "erasure_ask"}
FROM_PHONES = {"session_put", "check_in_put", "sync_push"}


def test_owner_clinic_and_role_are_never_taken_from_a_body(world: World) -> None:
    """Staff are told that there is no such field; a phone's record is taken without it."""
    foreign = world.ids["elsewhere"]
    claims = {one: foreign.get(one, str(world.olga.user.pk)) for one in CLAIMS}
    before = everything(library=False)
    asked = set()
    for operation in operations():
        role = role_for(operation.id)
        case = Case(operation, role, "own")
        body = world.body(case)
        if body is None:
            continue
        asked.add(operation.id)
        with undone(True):
            named = {"roles", "can_publish"} if operation.id in BY_ADMINS else set()
            made_up = {one: said for one, said in claims.items() if one not in named}
            answer = world.ask(case, body=body | made_up)
            assert not matrix.beside(world, case, before, everything(library=False)), operation.id
        if operation.id in FROM_PHONES:
            assert answer.status_code in (200, 201)
            assert {f"unknown-field: {one}" for one in CLAIMS} <= set(answer.json()["warnings"])
        elif operation.id not in TAKE_NO_BODY:
            assert answer.status_code == 422, (operation.id, answer.content)
            told = {error["pointer"]: error["code"] for error in answer.json()["errors"]}
            assert told == {f"#/{one}": "unknown-field" for one in made_up}, operation.id
    assert asked == {one.id for one in operations() if one.method in ("PUT", "POST", "PATCH")}


# --- Caches, and what changes ------------------------------------------------------------------


def test_no_cache_is_shared(world: World) -> None:
    """The rightful read first; then the foreign one, with the tag of the first."""
    tagged = 0
    for operation in operations():
        if operation.method != "GET" or WHO[operation.id] == "-":
            continue
        role = role_for(operation.id)
        case = Case(operation, role, "own")
        other = world.bea if role == "patient" else world.olga
        seen = {"harbour", "peer"} if role == "patient" else {"elsewhere", "other"}
        first = world.ask(case)
        assert first.status_code == 200
        assert "private" in first["Cache-Control"], operation.id
        assert {"X-Session-Token", "Cookie"} <= set(first["Vary"].split(", ")), operation.id
        tag = first.headers.get("ETag", '"none"')
        assert world.ask(case, If_None_Match=tag).status_code == (304 if "ETag" in first else 200)
        theirs = world.ask(case, by=other, If_None_Match=tag)
        expected = 404 if RECIPES[operation.id].names else 200
        assert theirs.status_code == expected, (operation.id, theirs.status_code)
        said = repr(theirs.request)
        assert not marks_in(world, seen, theirs, said), operation.id
        tagged += "ETag" in first
    assert tagged > 5


def test_a_changed_role_counts_from_the_next_request(world: World) -> None:
    user = User.objects.get(pk=world.ids["own"]["physiotherapist_id"])
    path = f"patients/{world.ids['own']['patient']}"
    world.ana.get(f"{path}/episodes")

    user.is_physiotherapist, user.is_clinic_admin = False, True
    user.save()
    world.ana.get(path)
    world.ana.get(f"{path}/episodes", 403)
    user.is_clinic_admin = False
    user.save()
    assert world.ana.get(path, 403)["code"] == "forbidden"
    user.is_physiotherapist = True
    user.save()
    world.ana.get(f"{path}/episodes")


def test_a_changed_clinic_counts_from_the_next_request(world: World) -> None:
    """Who moves to another clinic leaves everything behind, and finds the new one.

    Those who have patients cannot: the database keeps them (see test_tenancy).
    """
    [dora] = world.callers["both"].values()
    user = User.objects.get(given_name="Dora")
    at_harbour, at_elsewhere = (world.ids[one]["patient"] for one in ("own", "elsewhere"))
    dora.get(f"patients/{at_harbour}")
    dora.get(f"patients/{at_elsewhere}", 404)
    user.clinic = world.foreign
    user.save()

    dora.get(f"patients/{at_harbour}", 404)
    dora.get(f"patients/{at_elsewhere}")
    names = {one["family_name"] for one in dora.get("patients")["items"]}
    assert names == {MARKS["other"]}


def test_a_deactivated_account_is_out_at_once(world: World) -> None:
    for kind, person in (("user_id", world.ben), ("physiotherapist_id", world.ana)):
        person.get("me")
        User.objects.filter(pk=world.ids["own"][kind]).update(is_active=False)
        refused = person.call("GET", "me")
        assert (refused.status_code, refused.json()["code"]) == (401, "session-ended")
        assert refused["WWW-Authenticate"]
    push = {"sent_at": world.now.isoformat(), "items": []}
    assert world.ben.post("me/sync/push", push, 401)["code"] == "session-ended", "keep the queue"
    assert Session.objects.count() == 3
