"""The service keeps what its description promises, whatever is sent: schemathesis, for each role.

By default each role tries what it is for, with a few examples. The whole promise, every role at
every operation, is SCHEMATHESIS_EXAMPLES=300 ./run test tests/contract/test_schemathesis.py
"""

from __future__ import annotations

import json
import os
import re
import secrets
import threading
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
import requests
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_started
from django.db import close_old_connections, connection, transaction
from django.utils import timezone
from schemathesis import GenerationMode, engine
from schemathesis.engine import events
from schemathesis.transport.wsgi import WSGITransport

from backend.api.documents import description
from backend.api.exports import OF_REPORTS
from backend.clinics.models import User
from tests.service.cast import (
    OwnPhone,
    Somebody,
    make_episode,
    make_patient,
    make_reminder,
    make_staff,
)
from tests.service.test_catalogue import OWN

WHOLE = "SCHEMATHESIS_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "3"))
SEED = int(os.environ.get("SCHEMATHESIS_SEED") or (secrets.randbits(32) if WHOLE else 1))

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),
]

# The tags that each role is for. Every operation there has to succeed at least once.
ROLES = {
    "ben": ("patient", "sync", "reminders"),
    "ana": ("exercises", "protocols", "patients", "plans"),
    "cleo": ("account", "clinic", "audit", "reports", "exports"),
    "nobody": ("account",),
}

# For the whole run only: thousands of cases, and a course of invented people for each.
LARGE = ("protocol_update", "protocol_simulate")

REFUSED = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "428"]

# What a description cannot foresee: whether a thing is there, fits the others, or stands already.
UNFORESEEN = {
    "unknown-reference", "date-mismatch", "time-order", "duplicate", "required", "invalid-value",
}  # fmt: skip
TAILORED = ("#/tailoring/", "#/changes/")
UNFORESEEN_AT = {  # and in a tailoring, where each operation has fields of its own
    ("#/value", "out-of-range"),  # each metric has its own
    ("#/birth_date", "out-of-range"),  # not after today
    ("#/to", "out-of-range"),  # so many days from `from`
    *((f"#/{name}", "unknown-field") for name in ("email", "phone", "consents")),  # patients' own
    *((f"#/{name}", "unknown-field") for name in OF_REPORTS),  # not of an export of sessions
}


class Service:
    """The service. What a request did is taken back, unless the next one is to build on it."""

    def __init__(self, *, keep: bool) -> None:
        self.handler, self.keep = WSGIHandler(), keep
        self.opened: dict[int, Any] = {}  # the database connection of each thread

    def __call__(self, environ: Any, start_response: Any) -> Any:
        request_started.disconnect(close_old_connections)  # as Django's own test client does
        with transaction.atomic():
            self.keep_open(connection.connection)
            answer = self.handler({"REMOTE_ADDR": "127.0.0.1", **environ}, start_response)
            transaction.set_rollback(not self.keep)
        return answer

    def keep_open(self, opened: Any) -> None:
        """Close what an ended thread left, whose number a new one was given."""
        thread = threading.get_ident()
        if (left := self.opened.get(thread, opened)) is not opened:
            left.close()
        self.opened[thread] = opened

    def close(self) -> None:
        """Schemathesis asks in threads of its own, and ends them without a word."""
        self.opened.pop(threading.get_ident(), None)
        for opened in self.opened.values():
            opened.close()


@dataclass(frozen=True)
class There:
    """Real things, by the address or the field that asks for them."""

    ids: Mapping[str, str]
    fields: Mapping[str, object]
    queries: Mapping[str, Mapping[str, str]]
    asked: set[str] = field(default_factory=set)

    def put_into(self, case: Any) -> None:
        """Most requests that are right get ids and days that exist. The first of each operation
        does for certain, and is asked without a query."""
        if case.meta.generation.mode is GenerationMode.NEGATIVE:
            return
        case.query, case.body = _in_range(case.query), _in_range(case.body)
        parts = [case.path_parameters, case.query, case.body]
        said = json.dumps(parts, default=lambda other: type(other).__name__, sort_keys=True)
        is_first = case.operation.label not in self.asked
        self.asked.add(case.operation.label)
        if zlib.crc32(said.encode()) % 4 == 0 and not is_first:
            return
        if "If-Match" in case.headers:
            case.headers["If-Match"] = "*"
        for start, id in self.ids.items():
            if case.operation.path.startswith(f"/api/v1{start}"):
                case.path_parameters["id"] = id
                if "date" in case.path_parameters:
                    case.path_parameters["date"] = self.fields["local_date"]
        query = {} if is_first else case.query or {}
        case.query = {**query, **self.queries.get(case.operation.path, {})}
        case.body = self._filled(case.body)

    def _filled(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._filled(inner) for inner in value]
        if not isinstance(value, dict):
            return value
        return {name: self.fields.get(name) or self._filled(value[name]) for name in value}


def _in_range(value: Any) -> Any:
    """Without what JSON Schema cannot exclude: 3.0 as a whole number, days of other centuries."""
    if isinstance(value, list):
        return [_in_range(inner) for inner in value]
    if isinstance(value, dict):
        return {name: _in_range(inner) for name, inner in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and re.match(r"\d{4}-\d\d-\d\d", value):
        return "20" + value[2:]
    return value


@pytest.fixture
def there(ana, ben, bea, plan_of_ben, thigh, grade_1, harbour, now) -> There:
    def uninvited(name: str) -> OwnPhone:
        phone = make_patient(harbour, name, now, ana.user)
        phone.patient.user = None
        phone.patient.save()
        User.objects.filter(email=f"{name.lower()}@example.org").delete()
        return phone

    resting = ana.assigns(
        grade_1, to=bea.patient, episode=make_episode(bea.patient, ana.user, now), on=bea.today
    )
    pause = {"from": bea.today.isoformat(), "reason": "Holidays"}
    ana.post(f"assignments/{resting['id']}/pause", pause, If_Match="*")
    free = make_episode(ben.patient, ana.user, now)
    ben.put("me/devices/0193448e-5d2a-7c11-9a4e-3b1f5d6c7e80", DEVICE)
    reminder = make_reminder(ben, now)
    slot, protocol = ben.slot(), str(grade_1.protocol_id)
    own = ana.call("POST", "protocols", {"copy_of": protocol})
    published = str(own.json()["id"])
    first = {"version": "1.0.0", "change_note": "First"}
    ana.post(f"protocols/{published}/publish", first, 201, If_Match=own["ETag"])
    days = dict.fromkeys(("local_date", "from", "start_date"), ben.today.isoformat())
    moments = ("recorded_at", "sent_at", "started_at", "ended_at", "measured_at")
    return There(
        ids={
            "/patients/": str(ben.patient.pk),
            "/patients/{id}/invitations": str(uninvited("Carl").patient.pk),
            "/episodes/": str(thigh.pk),
            "/assignments/": plan_of_ben["id"],
            "/assignments/{id}/resume": resting["id"],
            "/exercises/": ana.post("exercises", OWN, 201)["id"],
            "/protocols/": ana.post("protocols", {"copy_of": protocol}, 201)["id"],
            "/protocols/{id}/retire": published,
            "/protocols/{id}/diff": published,
            "/protocols/{id}/simulations": published,
            "/me/sessions/": ben.logs(slot, plan_of_ben)["id"],
            "/me/check-ins/": ben.checks_in()["id"],
            "/me/reminders/": str(reminder.pk),
            "/staff/": str(make_staff(harbour, "Kim", is_physiotherapist=True).user.pk),
            "/me/devices/": "0193448e-5d2a-7c11-9a4e-3b1f5d6c7e80",
        },
        fields={
            **days, **dict.fromkeys(moments, timezone.now().isoformat()),
            "until": (ben.today + timedelta(1)).isoformat(),
            "timezone": ben.patient.timezone,
            "protocol_id": protocol, "protocol_version": grade_1.version, "copy_of": protocol,
            "episode_id": str(free.pk), "start_phase_id": "phase-1",
            "assignment_id": plan_of_ben["id"], "assignment_version": plan_of_ben["version"],
            "slot_id": slot["slot_id"], "prescription_id": slot["items"][0]["prescription_id"],
            "physiotherapist_id": str(ana.user.pk), "reassign_to": str(ana.user.pk),
            "easier": "sg-nordic", "harder": "sg-nordic",
            "code": "grade_recorded", "unit": "0/1",
            "version": "1.0.0", "cohort": 3, "trace": [1], "ids": [str(reminder.pk)],
        },
        queries={"/api/v1/protocols/{id}/diff": {"from": "1.0.0", "to": "1.0.0"}},
    )  # fmt: skip


DEVICE = {"platform": "android", "app_version": "1.0.0"}


@pytest.fixture(autouse=True)
def _hooks(there: There, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What we tell schemathesis about its requests."""
    send = WSGITransport.send

    def send_with_session(self: Any, case: Any, *, session: Any = None, **more: Any) -> Any:
        """Also where a check sends on its own: without a session, network options are errors."""
        return send(self, case, session=session or requests.Session(), **more)

    def before_call(context: Any, case: Any, kwargs: Any) -> None:
        there.put_into(case)

    monkeypatch.setattr(WSGITransport, "send", send_with_session)
    schemathesis.hook(before_call)
    yield
    schemathesis.hooks.unregister(before_call)


def filter_failure(context: Any, failure: Any, case: Any, response: Any) -> bool:
    """Whether the service is to blame: its description could have told the client better."""
    if failure.title == "Schema-violating request accepted":
        return not case.operation.path.endswith("/me/sync/push")  # each record is judged by itself
    if failure.title != "Schema-valid request rejected":
        return True
    problem = json.loads(response.content)
    if problem["code"] == "validation-failed":
        said = {(error["pointer"], error["code"]) for error in problem["errors"]}
        foreseen = {at for at in said - UNFORESEEN_AT if not at[0].startswith(TAILORED)}
        return not {code for _, code in foreseen} <= UNFORESEEN
    too_many_days = problem.get("detail", "").startswith("`from` and `to`")
    is_unforeseen = problem["code"] == "cursor-invalid" or too_many_days
    return problem["status"] not in (410, 412, 422) and not is_unforeseen


@dataclass
class Outcome:
    """What a run found: what was wrong, and the operations that worked."""

    wrong: list[str] = field(default_factory=list)
    worked: set[str] = field(default_factory=set)

    def take(self, event: Any) -> None:
        if isinstance(event, events.NonFatalError | events.FatalError):
            self.wrong.append(f"{type(event).__name__}: {vars(event)}")
        elif isinstance(event, events.SchemaAnalysisWarnings):
            self.wrong += [warning.message for warning in event.warnings]
        elif isinstance(event, events.ScenarioFinished):
            self._take_answers(event)

    def _take_answers(self, event: Any) -> None:
        for id, interaction in event.recorder.interactions.items():
            case, answer = event.recorder.cases[id].value, interaction.response
            operation = case.operation
            asked_as_told = case.method.lower() == operation.method.lower()
            if answer is not None and asked_as_told and 200 <= answer.status_code < 300:
                self.worked.add(operation.definition.raw["operationId"])
            for check in event.recorder.checks.get(id, ()):
                if check.failure_info is not None:
                    failure = check.failure_info.failure
                    self.wrong.append(
                        f"{event.phase.value} {operation.label}: {check.name}\n{failure.title}\n"
                        f"{failure.message}\n{check.failure_info.code_sample}\n"
                        f"{answer.status_code} {answer.content.decode()[:1000]}"
                    )


def run(role: str, person: Somebody, *phases: str, keep: bool) -> Outcome:
    """All of it for one person, in this process."""
    every_phase = ("examples", "coverage", "fuzzing", "stateful")
    expected = {"expected-statuses": REFUSED}
    config = schemathesis.Config.from_dict(
        {
            "seed": SEED,
            "headers": {"X-Session-Token": person.token} if person.token else {},
            "continue-on-failure": True,
            "generation": {"max-examples": EXAMPLES, "database": "none", "allow-x00": False},
            "phases": {name: {"enabled": name in phases} for name in every_phase},
            "checks": {
                "negative_data_rejection": expected,
                "missing_required_header": expected,
                "use_after_free": {"enabled": False},  # a withdrawn record still says that it is
            },
        }
    )
    service = Service(keep=keep)
    schema: Any = schemathesis.openapi.from_wsgi("/api/schema.json", service, config=config)
    if not WHOLE:
        schema = schema.include(tag=list(ROLES[role])).exclude(operation_id=list(LARGE))
    schema.hook(filter_failure)
    outcome = Outcome()
    for event in engine.from_schema(schema).execute():
        outcome.take(event)
    service.close()
    return outcome


@pytest.mark.parametrize("role", ROLES)
def test_each_request_by_itself(role, request):
    outcome = run(
        role, request.getfixturevalue(role), "examples", "coverage", "fuzzing", keep=False
    )

    assert not outcome.wrong, _told(outcome)
    if role in ("ana", "ben"):
        assert outcome.worked >= operations_of(role), f"SCHEMATHESIS_SEED={SEED}"


@pytest.mark.parametrize("role", ["ana", "ben"])
def test_one_request_after_the_other(role, request):
    outcome = run(role, request.getfixturevalue(role), "stateful", keep=True)

    assert not outcome.wrong, _told(outcome)
    assert outcome.worked


def operations_of(role: str) -> set[str]:
    told: Any = description()
    return {
        operation["operationId"]
        for methods in told["paths"].values()
        for operation in methods.values()
        if set(operation["tags"]) & set(ROLES[role]) and operation["operationId"] not in LARGE
    }


def _told(outcome: Outcome) -> str:
    return f"SCHEMATHESIS_SEED={SEED}\n" + "\n\n".join(outcome.wrong[:20])
