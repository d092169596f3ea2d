"""Who may do what to whose: operations × roles × relations, the operations from the URL conf."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

from django.apps import apps
from django.contrib.sessions.models import Session as SignInSession
from django.db import transaction
from django.utils import timezone
from drf_spectacular.generators import SchemaGenerator

from backend.api.base import Endpoint
from backend.audit.models import AuditEvent
from backend.care.models import Flag
from backend.clinics.models import Clinic, Episode, Patient, User
from backend.urls import API
from protocols.models import ProtocolVersion
from tests.service.cast import (
    Answer,
    OwnPhone,
    Program,
    Somebody,
    Staff,
    make_clinic,
    make_episode,
    make_export,
    make_newer,
    make_patient,
    make_reminder,
    make_staff,
    make_token,
    session_token,
    wish,
)

# --- What there is ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Operation:
    id: str
    method: str
    route: str
    view: type[Endpoint]
    handler: Callable[..., Any]


@cache
def operations() -> tuple[Operation, ...]:
    """Every method of every route of the API, as it is served."""
    found = []
    for pattern in API:
        view = getattr(pattern.callback, "cls")  # noqa: B009  # set by `as_view`
        for method in ("get", "put", "post", "patch", "delete"):
            handler = getattr(view, method, None)
            if handler is not None:
                named = getattr(handler, "operation_id", f"{view.__name__}.{method}")
                found.append(Operation(named, method.upper(), str(pattern.pattern), view, handler))
    return tuple(found)


# The table of the contract (api: endpoints, "who"). P patient, T physiotherapist, A clinic admin, S
# another system with a token of the clinic; "-" needs no sign-in. Written by hand, so that it and
# the views keep an eye on each other.
WHO = {
    "meta_get": "-",
    "enrolment_check": "-",
    "me_get": "PTA",
    "me_update": "PTA",
    "my_data": "P",
    "erasure_ask": "P",
    "erasure_take_back": "P",
    "plan_get": "P",
    "my_assignments": "P",
    "progress_get": "P",
    "session_list": "P",
    "session_get": "P",
    "session_put": "P",
    "session_withdraw": "P",
    "check_in_list": "P",
    "check_in_get": "P",
    "check_in_put": "P",
    "check_in_withdraw": "P",
    "sync_push": "P",
    "sync_changes": "P",
    "device_put": "P",
    "device_delete": "P",
    "reminder_settings_get": "P",
    "reminder_settings_update": "P",
    "reminder_list": "P",
    "reminder_snooze": "P",
    "reminder_confirm": "P",
    "exercise_list": "PTA",
    "exercise_get": "PTA",
    "exercise_create": "T",
    "exercise_update": "T",
    "protocol_list": "TA",
    "protocol_get": "TA",
    "protocol_create": "T",
    "protocol_update": "T",
    "protocol_check": "T",
    "protocol_publish": "T",
    "protocol_retire": "T",
    "protocol_versions": "TA",
    "protocol_diff": "TA",
    "protocol_simulate": "T",
    "caseload_list": "TA",
    "patient_list": "TA",
    "patient_create": "TA",
    "patient_get": "TA",
    "patient_update": "TA",
    "legal_hold_set": "A",
    "legal_hold_lift": "A",
    "patient_erase": "A",
    "invitation_create": "TA",
    "episode_list": "T",
    "episode_create": "T",
    "episode_update": "T",
    "patient_sessions": "T",
    "patient_check_ins": "T",
    "patient_timeline": "TA",
    "patient_reminders": "TA",
    "export_create": "A",
    "export_list": "A",
    "export_get": "A",
    "export_file": "A",
    "assessment_list": "T",
    "assessment_create": "T",
    "assignment_create": "T",
    "assignment_preview": "T",
    "assignment_get": "PTA",
    "assignment_tailor": "T",
    "decision_list": "PTA",
    "decision_get": "PTA",
    "assignment_pause": "T",
    "assignment_resume": "T",
    "assignment_end": "T",
    "flag_list": "T",
    "flag_acknowledge": "T",
    "flag_resolve": "T",
    "stop_clear": "T",
    "progression_list": "T",
    "progression_get": "PT",
    "progression_evaluate": "T",
    "progression_propose_version": "T",
    "progression_decide": "T",
    "clinic_get": "A",
    "clinic_update": "A",
    "staff_list": "A",
    "staff_create": "A",
    "staff_update": "A",
    "audit_list": "A",
    "service_token_list": "A",
    "service_token_create": "A",
    "service_token_revoke": "A",
    "report_adherence": "TAS",
}

# Who calls, and as what. Those that are not let in would be allowed but for their session.
ROLES = {
    "patient": "P",
    "physiotherapist": "T",
    "clinic_admin": "A",
    "both": "TA",
    "service": "S",
    "no_clinic": "",
    "anonymous": None,
    "wrong_token": None,
    "expired": None,
    "deactivated": None,
}
RELATIONS = ("own", "peer", "elsewhere", "unknown")

Ids = dict[str, str]


@dataclass(frozen=True)
class Recipe:
    """How an operation is asked for: what its address names, and what it sends.

    `makes` says that the id in the address is the caller's to give, so that nobody else's record
    is meant by it. `moves` are the owners whose rows a call may change besides the target's.
    `filters` are names that a query may give; that they show nothing of others is tested there.
    """

    names: str = ""
    body: Callable[[World, Ids], object] | None = None
    query: Callable[[World, Ids], str] = lambda _, __: ""
    tag: str = ""
    makes: bool = False
    moves: tuple[str, ...] = ()
    filters: tuple[str, ...] = ()


@dataclass(frozen=True)
class Case:
    operation: Operation
    role: str
    relation: str

    def __str__(self) -> str:
        return f"{self.operation.id} × {self.role} × {self.relation}"

    @property
    def expected(self) -> int:
        """The status; 200 stands for any success."""
        who = WHO[self.operation.id]
        is_as = ROLES[self.role]
        if who != "-":
            if is_as is None or (is_as == "S" and "S" not in who):  # a token is no session
                return 401
            if not set(who) & set(is_as):
                return 403
        elif self.operation.id == "enrolment_check" and self.relation == "unknown":
            return 410
        recipe = RECIPES[self.operation.id]
        return 200 if not recipe.names or recipe.makes or self.is_visible else 404

    @property
    def is_visible(self) -> bool:
        """A patient sees himself, staff their clinic."""
        of_clinic = set(ROLES[self.role] or "") & {"T", "A", "S"}
        return self.relation == "own" or (self.relation == "peer" and bool(of_clinic))

    @property
    def changes(self) -> bool:
        return self.operation.method != "GET"


def query_parameters() -> list[tuple[Operation, str]]:
    """Every query parameter that the API description declares, with its operation."""
    paths = SchemaGenerator().get_schema(request=None, public=True)["paths"]
    told = {method["operationId"]: method for path in paths.values() for method in path.values()}
    return [
        (one, parameter["name"])
        for one in operations()
        for parameter in told[one.id].get("parameters", ())
        if parameter["in"] == "query"
    ]


def all_cases(only: Iterable[str] = ()) -> list[Case]:
    wanted = set(only)
    return [
        Case(operation, role, relation)
        for operation in operations()
        if not wanted or operation.id in wanted
        for role in ROLES
        for relation in RELATIONS
    ]


# --- The world --------------------------------------------------------------------------------

MARKS = {
    "harbour": "Harbourmark",
    "elsewhere": "Elsewheremark",
    "own": "Benmark",
    "peer": "Beamark",
    "other": "Ottomark",
}


@dataclass
class World:
    """Two clinics with everything in them, each thing marked with its owner's word and ids."""

    now: datetime
    harbour: Clinic
    foreign: Clinic
    callers: dict[str, dict[str, Somebody]]  # role → as whom it could pass ("P", "T")
    ids: dict[str, Ids]  # relation → ids
    bea: OwnPhone
    olga: Staff
    tags: dict[tuple[str, str], str] = field(default_factory=dict)
    library: ProtocolVersion = field(init=False)
    made_at: datetime = field(init=False)

    def caller(self, case: Case) -> Somebody:
        """Who of this role is nearest to being allowed."""
        kinds = self.callers[case.role]
        near = "P" if WHO[case.operation.id] == "P" else "T"
        return kinds.get(near) or next(iter(kinds.values()))

    def ask(
        self,
        case: Case,
        *,
        by: Somebody | None = None,
        query: str | None = None,
        body: object = None,
        **headers: Any,
    ) -> Answer:
        """As the recipe says, unless told otherwise."""
        recipe, ids = RECIPES[case.operation.id], self.ids[case.relation]
        if query is None:
            query = recipe.query(self, ids)
            if not recipe.names:  # a query names nobody, and asking for others changes nothing
                told = [name for name in NAMING if name not in recipe.filters]
                query += "".join(f"&{name}={ids[name]}" for name in told)
        if recipe.tag:
            headers.setdefault("If_Match", self.tags[recipe.tag, case.relation])
        path = case.operation.route.replace("<str:id>", ids.get(recipe.names, ""))
        path = path.replace("<str:date>", self.ben.today.isoformat())
        said = self.body(case) if body is None else body
        caller = by or self.caller(case)
        return caller.call(case.operation.method, f"{path}?{query.lstrip('&')}", said, **headers)

    def body(self, case: Case) -> Any:
        recipe = RECIPES[case.operation.id]
        return recipe.body(self, self.ids[case.relation]) if recipe.body else None

    @property
    def ben(self) -> OwnPhone:
        phone = self.callers["patient"]["P"]
        assert isinstance(phone, OwnPhone)
        return phone

    @property
    def ana(self) -> Somebody:
        return self.callers["physiotherapist"]["T"]

    @property
    def marks(self) -> Mapping[str, frozenset[str]]:
        """Word and ids of each owner. No answer to anybody else may hold one of them."""
        return {
            "harbour": frozenset({MARKS["harbour"], str(self.harbour.pk)}),
            "elsewhere": frozenset({MARKS["elsewhere"], str(self.foreign.pk)}),
            "own": frozenset({MARKS["own"], *self._own_ids("own")}),
            "peer": frozenset({MARKS["peer"], *self._own_ids("peer")}),
            "other": frozenset({MARKS["other"], *self._own_ids("elsewhere")}),
        }

    def _own_ids(self, relation: str) -> set[str]:
        shared = {self.ids[relation][name] for name in ("clinic_id",)}
        return set(self.ids[relation].values()) - shared

    def seen_by(self, case: Case) -> set[str]:
        """Whose marks an answer may hold."""
        told = {"own": "harbour", "peer": "harbour", "elsewhere": "elsewhere"}
        if case.operation.id == "enrolment_check" and case.relation in told:
            return {told[case.relation]}
        return seen_as(ROLES[case.role])


def seen_as(letters: str | None) -> set[str]:
    """Whose marks somebody may see who is at Harbour as this."""
    if not letters:
        return set()
    return {"harbour", "own"} if letters == "P" else {"harbour", "own", "peer"}


NAMING = ("patient_id", "clinic_id", "user_id")


def make_world(now: datetime) -> World:
    """Ben and what is his (own), Bea whom a colleague treats (peer), Otto elsewhere, and nobody."""
    harbour = make_clinic(f"Harbour {MARKS['harbour']}", now)
    foreign = make_clinic(f"Elsewhere {MARKS['elsewhere']}", now)
    works = {"is_physiotherapist": True, "can_publish": True}
    ana, dan = make_staff(harbour, "Ana", **works), make_staff(harbour, "Dan", **works)
    olga = make_staff(foreign, "Olga", **works, is_clinic_admin=True)
    ids = {
        "own": _life(now, harbour, ana, "Ben", MARKS["own"]),
        "peer": _life(now, harbour, dan, "Bea", MARKS["peer"]),
        "elsewhere": _life(now, foreign, olga, "Otto", MARKS["other"]),
    }
    named = {"code": "UNKN-0WN0-C0DE", "exercise_slug": "ex-unknown"}
    ids["unknown"] = {name: str(uuid4()) for name in ids["own"]} | named
    ben, bea = (_phone_of(ids[relation]) for relation in ("own", "peer"))
    callers: dict[str, dict[str, Somebody]] = {
        "patient": {"P": ben},
        "physiotherapist": {"T": ana},
        "clinic_admin": {"A": make_staff(harbour, "Cleo", is_clinic_admin=True)},
        "both": {"T": make_staff(harbour, "Dora", **works, is_clinic_admin=True)},
        "service": {"": Program(make_token(harbour, ana.user, now)[1])},
        "no_clinic": {"": Somebody(session_token(User.objects.create_user("op@example.org")))},
        "anonymous": {"": Somebody()},
        "wrong_token": {"": Somebody("0" * 32)},
        "expired": {"P": _expired(_phone_of(ids["own"])), "T": _expired(signed_in(ana.user))},
        "deactivated": {
            "P": _gone(make_patient(harbour, "Gina", now, ana.user)),
            "T": _gone(make_staff(harbour, "Gus", **works)),
        },
    }
    world = World(now, harbour, foreign, callers, ids, bea, olga)
    world.library = ProtocolVersion.objects.get(slug="hs-grade-1", clinic=None)
    make_newer(world.library, NEWER, now)
    for relation, reader in (("own", ana), ("peer", ana), ("elsewhere", olga)):
        for name, path in READ_AT.items():
            answer = reader.call("GET", path.format(**ids[relation]))
            assert answer.status_code == 200, (path, answer.content)
            world.tags[name, relation] = answer["ETag"]
    for name in READ_AT:
        world.tags[name, "unknown"] = world.tags[name, "elsewhere"]
    world.tags |= {("clinic", relation): "*" for relation in RELATIONS}  # the caller's own, always
    world.made_at = timezone.now()
    return world


READ_AT = {
    "patient": "patients/{patient}",
    "assignment": "assignments/{assignment}",
    "paused": "assignments/{paused}",
    "draft": "protocols/{draft}?version=draft",
    "published": "protocols/{published}",
    "progression": "progressions/{progression}",
}


def signed_in(user: User) -> Staff:
    return Staff(session_token(user), user=user)


def _phone_of(ids: Ids) -> OwnPhone:
    patient = Patient.objects.select_related("user").get(pk=ids["patient_id"])
    assert patient.user is not None
    return OwnPhone(session_token(patient.user), patient=patient)


def _expired(person: Somebody) -> Somebody:
    row = SignInSession.objects.get(session_key=person.token)
    row.expire_date -= timedelta(days=400)
    row.save()
    return person


def _gone(person: Staff | OwnPhone) -> Somebody:
    user = person.user if isinstance(person, Staff) else person.patient.user
    assert user is not None
    user.is_active = False
    user.save()
    return Somebody(person.token)


def _life(now: datetime, clinic: Clinic, by: Staff, name: str, mark: str) -> Ids:
    """A patient with one of everything, made by the actions that make it."""
    phone = make_patient(
        clinic, name, now, by.user, family_name=mark, email=f"{mark}@example.org", phone="+46 1"
    )
    patient, library = phone.patient, ProtocolVersion.objects.get(slug="hs-grade-1", clinic=None)
    exercise = by.post("exercises", an_exercise(f"ex-{mark.lower()}", f"Stretch {mark}"))
    draft, published = (_draft_of(by, f"{kind}-{mark.lower()}", mark) for kind in ("draft", "own"))
    tag = by.call("GET", f"protocols/{published}")["ETag"]
    first = {"version": "1.0.0", "change_note": mark}
    by.post(f"protocols/{published}/publish", first, If_Match=tag)
    episodes = [
        make_episode(patient, by.user, now, title=f"Thigh {mark}", diagnosis_text=mark)
        for _ in range(3)
    ]
    tailoring = [{"op": "add", "exercise": exercise["slug"]}]
    running, paused = (
        by.assigns(library, to=patient, episode=one, on=phone.today, tailoring=tailoring)
        for one in episodes[:2]
    )
    progression = by.post(f"assignments/{running['id']}/progressions", {"note": mark}, 201)
    tag = by.call("GET", f"assignments/{paused['id']}")["ETag"]
    pause = {"from": phone.today.isoformat(), "reason": mark}
    by.post(f"assignments/{paused['id']}/pause", pause, If_Match=tag)
    slots = phone.plan(days=1)["days"][0]["slots"]
    slot = next(slot for slot in slots if slot["assignment_id"] == running["id"])
    session = phone.logs(slot, running, note=mark)
    check_in = phone.checks_in(note=mark, stop_signs=["night_pain"])
    assessment = by.records(patient, "nprs_worst", 4, unit="0-10", note=mark)
    device = str(uuid4())
    phone.put(f"me/devices/{device}", {"platform": "ios", "app_version": mark, "push_token": mark})
    phone.patch("me/reminder-settings", {"enabled": True, "times": ["17:00"]})
    reminder = make_reminder(phone, now)
    tag = by.call("GET", f"patients/{patient.pk}")["ETag"]
    known = {"identifiers": [{"system": "national", "value": mark}]}
    by.patch(f"patients/{patient.pk}", known, If_Match=tag)
    invitee = Patient.objects.create(
        clinic=clinic, physiotherapist=by.user, given_name="Ina", family_name=mark,
        birth_date="1990-01-01", timezone="Europe/Stockholm", created_at=now, updated_at=now,
    )  # fmt: skip
    code = by.post(f"patients/{invitee.pk}/invitations", {})["code"]
    stopped = make_patient(clinic, f"Ida-{mark}", now, by.user, family_name=mark).patient
    by.records(stopped, "nprs_worst", 4, unit="0-10", note=mark, findings=["fever_with_pain"])
    flag = Flag.objects.get(patient=patient, code="night_pain")
    colleague = make_staff(clinic, f"Kim-{mark}", is_physiotherapist=True).user
    return {
        "patient": str(patient.pk),
        "patient_id": str(patient.pk),
        "clinic_id": str(clinic.pk),
        "user_id": str(patient.user_id),
        "physiotherapist_id": str(by.user.pk),
        "colleague": str(colleague.pk),
        "invitee": str(invitee.pk),
        "code": code,
        "exercise": exercise["id"],
        "exercise_slug": exercise["slug"],
        "draft": draft,
        "published": published,
        "episode": str(episodes[0].pk),
        "free_episode": str(episodes[2].pk),
        "assignment": running["id"],
        "paused": paused["id"],
        "progression": progression["id"],
        "slot": slot["slot_id"],
        "prescription": slot["items"][0]["prescription_id"],
        "session": session["id"],
        "check_in": check_in["id"],
        "assessment": assessment["id"],
        "flag": str(flag.pk),
        "stopped": str(stopped.pk),
        "device": device,
        "reminder": str(reminder.pk),
        "service_token": str(make_token(clinic, by.user, now, mark)[0].pk),
        "export": str(make_export(clinic, by.user, mark, now).pk),
    }


def _draft_of(by: Staff, slug: str, mark: str) -> str:
    library = ProtocolVersion.objects.get(slug="hs-grade-1", clinic=None)
    id: str = by.post("protocols", {"copy_of": str(library.protocol_id)})["id"]
    tag = by.call("GET", f"protocols/{id}?version=draft")["ETag"]
    document = in_full(library.document) | {"title": f"Course {mark}", "slug": slug}
    by.put(f"protocols/{id}/draft", document, If_Match=tag)
    return id


def an_exercise(slug: str, title: str) -> dict[str, Any]:
    return {
        "slug": slug, "kind": "stretch", "title": title, "body_region": "hip", "side": "affected",
        "cues": ["Slowly"], "dose_unit": "reps", "pain_ceiling": 2,
        "dose": {"sets": 2, "reps": 5, "per_day": 1, "days_per_week": 7},
    }  # fmt: skip


def in_full(value: Any) -> Any:
    """A library document as a draft has it: a range where the file writes one number."""
    if isinstance(value, dict):
        return {
            k: {"min": v, "max": v} if k == "reps" and isinstance(v, int) else in_full(v)
            for k, v in value.items()
            if v is not None
        }
    return [in_full(one) for one in value] if isinstance(value, list) else value


# --- How each operation is asked for ----------------------------------------------------------


def _session(world: World, ids: Ids) -> dict[str, Any]:
    """Ben's next revision, or first one, with nobody's assignment: a session of his own."""
    own = world.ids["own"]
    when = world.now.isoformat()
    return {
        "revision": 2, "local_date": world.ben.today.isoformat(), "recorded_at": when,
        "timezone": "Europe/Stockholm", "state": "finished", "assignment_id": own["assignment"],
        "assignment_version": 1, "slot_id": own["slot"],
        "entries": [{"prescription_id": own["prescription"], "state": "done", "sets": []}],
    }  # fmt: skip


def _check_in(world: World, ids: Ids) -> dict[str, Any]:
    return world.ben.check_in(revision=2, recorded_at=world.now.isoformat())


def _push(world: World, ids: Ids) -> dict[str, Any]:
    data = _check_in(world, ids)
    item = {"type": "check_in", "id": ids["check_in"], "revision": data.pop("revision")}
    return {"sent_at": world.now.isoformat(), "items": [item | {"data": data}]}


def _assignment(world: World, ids: Ids) -> dict[str, Any]:
    episode = Episode(pk=UUID(ids["free_episode"]))
    return wish(world.library, episode, world.ben.today)


def _measured(world: World, ids: Ids) -> dict[str, Any]:
    at = world.now.isoformat()
    return {"code": "nprs_worst", "value": 5, "unit": "0-10", "measured_at": at}


def _person(world: World, ids: Ids) -> dict[str, Any]:
    return {
        "given_name": "New", "family_name": "Patient", "birth_date": "1990-01-01",
        "physiotherapist_id": world.ids["own"]["physiotherapist_id"],
    }  # fmt: skip


def _draft(world: World, ids: Ids) -> Any:
    return in_full(world.library.document) | {"slug": "of-ours", "title": "Ours"}


def _course(world: World, ids: Ids) -> dict[str, Any]:
    today = world.ben.today.isoformat()
    return {"title": "Hip", "body_region": "hip", "side": "left", "started_on": today}


def _step(world: World, ids: Ids) -> dict[str, Any]:
    return {"from": world.ben.today.isoformat(), "reason": "Away"}


def _export(world: World, ids: Ids) -> dict[str, Any]:
    today = world.ben.today.isoformat()
    wish = {"kind": "sessions", "format": "csv", "from": today, "to": today, "purpose": "Review"}
    return {**wish, "de_identified": False}


def _tailored(world: World, ids: Ids) -> dict[str, Any]:
    changes = [{"op": "remove", "key": "phase-1/ca-bike"}]
    on = world.ben.today.isoformat()
    return {"effective_date": on, "reason": "Too much", "changes": changes}


def _until_then(world: World, ids: Ids) -> str:
    """What was there when the world was made: each call adds to it."""
    return f"to={quote(world.made_at.isoformat())}"


def _next_revision(world: World, ids: Ids) -> str:
    return "revision=2"


def _said(**body: object) -> Callable[[World, Ids], object]:
    return lambda _, __: body


OF_PATIENT = Recipe("patient")
NEW_COLLEAGUE = {
    "email": "new@example.org", "given_name": "New", "family_name": "Staff",
    "roles": ["physiotherapist"],
}  # fmt: skip
NEWER = "99.0.0"  # of the library's protocol
EVERYBODY = ("own", "peer")  # whose phones are told when an exercise of the clinic changes

RECIPES = {
    "meta_get": Recipe(),
    "enrolment_check": Recipe(body=lambda _, ids: {"invitation_code": ids["code"]}),
    "me_get": Recipe(),
    "me_update": Recipe(body=_said(timezone="Europe/Oslo")),
    "my_data": Recipe(),
    "erasure_ask": Recipe(body=_said()),
    "erasure_take_back": Recipe(),
    "plan_get": Recipe(),
    "my_assignments": Recipe(),
    "progress_get": Recipe(),
    "session_list": Recipe(),
    "session_get": Recipe("session"),
    "session_put": Recipe("session", _session, makes=True),
    "session_withdraw": Recipe("session", query=_next_revision, makes=True),
    "check_in_list": Recipe(),
    "check_in_get": Recipe("check_in"),
    "check_in_put": Recipe("check_in", _check_in, makes=True),
    "check_in_withdraw": Recipe("check_in", query=_next_revision, makes=True),
    "sync_push": Recipe(body=_push),
    "sync_changes": Recipe(),
    "device_put": Recipe("device", _said(platform="web", app_version="2"), makes=True),
    "device_delete": Recipe("device"),
    "reminder_settings_get": Recipe(),
    "reminder_settings_update": Recipe(body=_said(times=["16:00"])),
    "reminder_list": Recipe(),
    "reminder_snooze": Recipe("reminder", _said(minutes=10)),
    "reminder_confirm": Recipe(body=lambda _, ids: {"ids": [ids["reminder"]]}),
    "exercise_list": Recipe(query=lambda _, __: "q=stretch"),
    "exercise_get": Recipe("exercise"),
    "exercise_create": Recipe(body=lambda _, __: an_exercise("st-ours", "Ours")),
    "exercise_update": Recipe("exercise", _said(title="Ours now"), moves=EVERYBODY),
    "protocol_list": Recipe(query=lambda _, __: "status=draft"),
    "protocol_get": Recipe("draft"),
    "protocol_create": Recipe(body=_said()),
    "protocol_update": Recipe("draft", _draft, tag="draft"),
    "protocol_check": Recipe("draft", _said()),
    "protocol_publish": Recipe("draft", _said(version="1.0.0", change_note="First"), tag="draft"),
    "protocol_retire": Recipe("published", _said(version="1.0.0", reason="Old"), tag="published"),
    "protocol_versions": Recipe("published"),
    "protocol_diff": Recipe("published", query=lambda _, __: "from=1.0.0&to=1.0.0"),
    "protocol_simulate": Recipe("published", _said(cohort=2, days=5, trace=[1])),
    "caseload_list": Recipe(query=lambda _, __: "include=on_track"),
    "patient_list": Recipe(),
    "patient_create": Recipe(body=_person),
    "patient_get": OF_PATIENT,
    "patient_update": Recipe("patient", _said(phone="+46 2"), tag="patient"),
    "legal_hold_set": Recipe("patient", _said(reason="A claim")),
    "legal_hold_lift": OF_PATIENT,
    "patient_erase": Recipe("patient", _said(reason="asked"), tag="patient"),
    "invitation_create": Recipe("invitee", _said()),
    "episode_list": OF_PATIENT,
    "episode_create": Recipe("patient", _course),
    "episode_update": Recipe("episode", _said(title="Thigh")),
    "patient_sessions": Recipe("patient", query=lambda _, __: "include=history"),
    "patient_check_ins": Recipe("patient", query=lambda _, __: "include=history"),
    "patient_timeline": OF_PATIENT,
    "patient_reminders": OF_PATIENT,
    "export_create": Recipe(body=_export),
    "export_list": Recipe(),
    "export_get": Recipe("export"),
    "export_file": Recipe("export"),
    "assessment_list": OF_PATIENT,
    "assessment_create": Recipe("patient", _measured),
    "assignment_create": Recipe("patient", _assignment),
    "assignment_preview": Recipe("patient", _assignment),
    "assignment_get": Recipe("assignment"),
    "assignment_tailor": Recipe("assignment", _tailored, tag="assignment"),
    "decision_list": Recipe("assignment"),
    "decision_get": Recipe("assignment"),
    "assignment_pause": Recipe("assignment", _step, tag="assignment"),
    "assignment_resume": Recipe("paused", _step, tag="paused"),
    "assignment_end": Recipe("assignment", _step, tag="assignment"),
    "flag_list": Recipe(filters=("patient_id",)),
    "flag_acknowledge": Recipe("flag", _said(note="Seen")),
    "flag_resolve": Recipe("flag", _said(action="advised")),
    "stop_clear": Recipe("stopped", _said(action="referred", reason="Seen by a doctor")),
    "progression_list": Recipe(filters=("patient_id",)),
    "progression_get": Recipe("progression"),
    "progression_evaluate": Recipe("assignment", _said(to_phase_id="phase-2")),
    "progression_propose_version": Recipe("assignment", _said(protocol_version=NEWER)),
    "progression_decide": Recipe("progression", _said(outcome="approve"), tag="progression"),
    "clinic_get": Recipe(),
    "clinic_update": Recipe(body=_said(crisis_line="Night and day"), tag="clinic"),
    "staff_list": Recipe(),
    "staff_create": Recipe(body=_said(**NEW_COLLEAGUE)),
    "staff_update": Recipe("colleague", _said(can_publish=True)),
    "audit_list": Recipe(query=_until_then, filters=("patient_id",)),
    "service_token_list": Recipe(),
    "service_token_create": Recipe(body=_said(name="Ours", scopes=["reports.read"])),
    "service_token_revoke": Recipe("service_token"),
    "report_adherence": Recipe(query=lambda world, _: f"to={world.ben.today}&heatmap=day"),
}


# --- What everything looks like ---------------------------------------------------------------

LEFT_OUT = {AuditEvent, SignInSession}
OURS = ("clinics", "exercises", "protocols", "care", "notifications", "rights", "api", "audit")

Rows = dict[tuple[str, Any], dict[str, Any]]


def everything(*, library: bool = True) -> Rows:
    """Every row of every table of ours, by table and key. Without the library it is quick."""
    found: Rows = {}
    for label in OURS:
        for model in apps.get_app_config(label).get_models():
            if model in LEFT_OUT:
                continue
            rows = model._base_manager.all()
            if not library and label in ("exercises", "protocols"):
                rows = rows.exclude(clinic_id=None)
            key = model._meta.pk.attname
            for row in rows.values():
                found[model._meta.label, row[key]] = row
    return found


def changed(before: Rows, after: Rows) -> Iterator[tuple[str, Any]]:
    for key in before.keys() | after.keys():
        if before.get(key) != after.get(key):
            yield key


def owner_of(key: tuple[str, Any], before: Rows, after: Rows) -> str:
    """The patient a row belongs to, else its clinic, as text."""
    row = after.get(key) or before[key]
    table, _ = key
    if table == "clinics.Patient":
        return str(row["id"])
    if table == "clinics.Clinic":
        return str(row["id"])
    if row.get("patient_id"):
        return str(row["patient_id"])
    if "assignment_id" in row:
        above = ("care.Assignment", row["assignment_id"])
        return str((after.get(above) or before[above])["patient_id"])
    if "message_id" in row:
        above = ("notifications.Message", row["message_id"])
        return owner_of(above, before, after)
    if table == "clinics.User" or "user_id" in row:
        user = row["id"] if table == "clinics.User" else row["user_id"]
        patient = Patient.objects.filter(user_id=user).first()
        return str(patient.pk if patient else User.objects.get(pk=user).clinic_id)
    return str(row["clinic_id"])


# --- Running it -------------------------------------------------------------------------------


@dataclass
class Run:
    """What came of it. `findings` name the case and what is wrong; none is what we want."""

    answers: dict[Case, Answer] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)

    @property
    def allowed(self) -> set[str]:
        """The operations that somebody was allowed."""
        good = [case for case, answer in self.answers.items() if answer.status_code < 300]
        return {case.operation.id for case in good}


def run(world: World, cases: list[Case]) -> Run:
    """Ask for everything. Denied calls and reads change nothing; writes are undone after a look."""
    done = Run()
    start = everything()
    base = everything(library=False)
    for case in cases:
        if case.changes and case.expected == 200:
            with undone(True):
                _look(world, case, done)
                done.findings += beside(world, case, base, everything(library=False))
        else:
            _look(world, case, done)
    done.findings += [f"changed by no right: {key}" for key in changed(start, everything())]
    done.findings += _differences(done)
    return done


@contextmanager
def undone(wanted: bool) -> Iterator[None]:
    """What is allowed here leaves nothing behind; what is denied has to by itself."""
    with transaction.atomic():
        yield
        transaction.set_rollback(wanted)


def _look(world: World, case: Case, done: Run) -> None:
    audited = AuditEvent.objects.count()
    answer = done.answers[case] = world.ask(case)
    status = 200 if 200 <= answer.status_code < 300 else answer.status_code
    if status != case.expected:
        told = answer.content[:300].decode()
        done.findings.append(f"{case}: {answer.status_code}, not {case.expected}: {told}")
    done.findings += [f"{case}: shows {mark}" for mark in shown_marks(world, case, answer)]
    done.findings += _audit(world, case, AuditEvent.objects.count() - audited)


def shown_marks(world: World, case: Case, answer: Answer) -> list[str]:
    """Words and ids of others in an answer, unless the caller sent them."""
    said = json.dumps(
        [answer.request["PATH_INFO"], answer.request["QUERY_STRING"], world.body(case)]
    )
    return marks_in(world, world.seen_by(case), answer, said)


def marks_in(world: World, seen: set[str], answer: Answer, said: str = "") -> list[str]:
    text = answer.content.decode() + repr(answer.headers)
    return [
        mark
        for owner, marks in world.marks.items()
        if owner not in seen
        for mark in sorted(marks)
        if mark in text and mark not in said
    ]


def _audit(world: World, case: Case, events: int) -> list[str]:
    """Staff leave one event for each call about a patient, whatever comes of it; patients leave
    one where they use a right."""
    about = RECIPES[case.operation.id].names in ABOUT_PATIENTS or case.operation.id in AUDITED
    of_staff = set(ROLES[case.role] or "") & {"T", "A"}
    of_staff |= set(ROLES[case.role] or "") & set(WHO[case.operation.id]) & {"S"}
    is_right = case.operation.id in RIGHTS and case.expected == 200
    wanted = int(bool(about and of_staff) or is_right)
    if events == wanted:
        return []
    return [f"{case}: {events} audit events, not {wanted}"]


ABOUT_PATIENTS = (
    "patient", "invitee", "stopped", "episode", "assignment", "paused", "flag", "progression",
)  # fmt: skip
RIGHTS = ("my_data", "erasure_ask", "erasure_take_back")
AUDITED = (
    "caseload_list", "patient_list", "patient_create", "flag_list", "progression_list",
    "protocol_check", "protocol_publish", "protocol_retire", "clinic_get", "clinic_update",
    "staff_list", "staff_create", "staff_update", "audit_list", "report_adherence",
    "service_token_list", "service_token_create", "service_token_revoke",
    "export_create", "export_list", "export_get", "export_file",
)  # fmt: skip


def beside(world: World, case: Case, before: Rows, after: Rows) -> list[str]:
    """Rows of anybody but those the call is about."""
    recipe = RECIPES[case.operation.id]
    ids = world.ids["own"] if ROLES[case.role] == "P" else world.ids[case.relation]
    own = {ids["patient"], ids["invitee"], ids["stopped"], str(world.harbour.pk)}
    own |= {world.ids[owner]["patient"] for owner in recipe.moves}
    new = {str(key[1]) for key in after.keys() - before.keys() if key[0] == "clinics.Patient"}
    found = []
    for key in changed(before, after):
        owner = owner_of(key, before, after)
        if owner in new and str(after["clinics.Patient", UUID(owner)]["clinic_id"]) in own:
            continue
        if owner not in own:
            found.append(f"{case}: changed {key} of {owner}")
    return found


def _differences(done: Run) -> list[str]:
    """What a caller may not see looks like what does not exist, and a query names nobody."""
    found = []
    for case, answer in done.answers.items():
        if case.relation == "unknown" or case.operation.id == "enrolment_check":
            continue
        unknown = Case(case.operation, case.role, "unknown")
        recipe = RECIPES[case.operation.id]
        hidden = case.expected in (401, 403, 404) or (recipe.makes and not case.is_visible)
        asked = not recipe.names and not case.changes
        if (hidden or asked) and plain(answer) != plain(done.answers[unknown]):
            found.append(f"{case}: differs from an unknown one")
    return found


VARIES = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\d{4}-\d{2}-\d{2}T[0-9:.]+Z")


def plain(answer: Answer) -> tuple[object, ...]:
    """An answer without ids and moments, which differ between any two."""
    gone = {"Request-Id", "Content-Length", "ETag", "Link"}
    headers = {name: value for name, value in answer.headers.items() if name not in gone}
    return answer.status_code, sorted(headers.items()), VARIES.sub("*", answer.content.decode())
