"""The people of the service tests: who they are, and what they do over HTTP."""

from __future__ import annotations

import hashlib
import json
import zlib
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from backend.care import deciding
from backend.care.models import Assessment
from backend.clinics import tokens
from backend.clinics.models import Clinic, Episode, Patient, ServiceToken, User
from backend.notifications.models import Message, key_of
from backend.reports.models import Export, ExportPart
from protocols.models import ProtocolVersion

Answer = Any  # a response as the test client gives it, with `json()` and `request`


def session_token(user: User) -> str:
    """A session as the sign-in makes it."""
    session = SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "allauth.account.auth_backends.AuthenticationBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.create()
    assert session.session_key
    return session.session_key


@dataclass
class Somebody:
    """A caller of the API. `token` empty: not signed in."""

    token: str = ""
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        **headers: Any,
    ) -> Answer:
        """`path` below /api/v1. Header names are given with underscores."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if self.token:
            sent.setdefault("X-Session-Token", self.token)
        data = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        answer = self.client.generic(
            method,
            f"/api/v1/{path}",
            data,
            sent.pop("Content-Type", "application/json"),
            headers=sent,
        )
        return _whole(answer) if getattr(answer, "streaming", False) else answer

    def get(self, path: str, expect: int = 200, **headers: Any) -> Any:
        return self._read(self.call("GET", path, **headers), expect)

    def put(
        self, path: str, body: object, expect: int | tuple[int, ...] = (200, 201), **headers: Any
    ) -> Any:
        return self._read(self.call("PUT", path, body, **headers), expect)

    def post(
        self, path: str, body: object, expect: int | tuple[int, ...] = (200, 201), **headers: Any
    ) -> Any:
        return self._read(self.call("POST", path, body, **headers), expect)

    def patch(self, path: str, body: object, expect: int = 200, **headers: Any) -> Any:
        return self._read(self.call("PATCH", path, body, **headers), expect)

    def delete(self, path: str, expect: int | tuple[int, ...] = (200, 204), **headers: Any) -> Any:
        return self._read(self.call("DELETE", path, **headers), expect)

    @staticmethod
    def _read(answer: Answer, expect: int | tuple[int, ...]) -> Any:
        wanted = (expect,) if isinstance(expect, int) else expect
        assert answer.status_code in wanted, (answer.status_code, answer.content[:2000])
        return json.loads(answer.content) if answer.content else None


def _whole(answer: Answer) -> Answer:
    """What comes piece by piece, as one."""
    content = b"".join(answer.streaming_content)
    whole: Any = HttpResponse(content, status=answer.status_code, headers=dict(answer.items()))
    whole.request = answer.request
    return whole


@dataclass
class Program(Somebody):
    """Another system, which sends a service token."""

    def call(self, method: str, path: str, body: object = None, **headers: Any) -> Answer:
        sent: Any = {"X_Session_Token": "", "Authorization": f"Bearer {self.token}"} | headers
        return super().call(method, path, body, **sent)


@dataclass
class Staff(Somebody):
    user: User = field(kw_only=True)

    def records(self, patient: Patient, code: str, value: float = 1, **more: object) -> Any:
        """Record an assessment or an intake fact now."""
        unit = more.pop("unit", "0/1")
        now = timezone.now().isoformat()
        body = {"code": code, "value": value, "unit": unit, "measured_at": now, **more}
        return self.post(f"patients/{patient.pk}/assessments", body)

    def clears_gates(self, patient: Patient) -> None:
        """Everything that AG2 to AG5 of the usual protocols ask for was recorded, just now."""
        now = timezone.now()
        Assessment.objects.bulk_create(
            Assessment(
                patient=patient, code=fact, value=1, unit="0/1", measured_at=now, recorded_at=now,
                recorded_by=self.user,
            )
            for fact in ("red_flag_screen_clear", "grade_recorded", "diagnosis_recorded",
                         "neuro_screen_recorded")
        )  # fmt: skip

    def assigns(
        self, protocol: ProtocolVersion, *, to: Patient, episode: Episode, on: date, **more: Any
    ) -> Any:
        """Gates cleared, then assigned; the answer."""
        self.clears_gates(to)
        return self.post(f"patients/{to.pk}/assignments", wish(protocol, episode, on, **more), 201)


def wish(protocol: ProtocolVersion, episode: Episode, on: date, **more: Any) -> dict[str, Any]:
    return {
        "protocol_id": str(protocol.protocol_id),
        "protocol_version": protocol.version,
        "episode_id": str(episode.pk),
        "start_date": on.isoformat(),
        **more,
    }


@dataclass
class OwnPhone(Somebody):
    """A patient with the app."""

    patient: Patient = field(kw_only=True)

    @property
    def today(self) -> date:
        return timezone.now().astimezone(self.patient.zone).date()

    def plan(self, **query: object) -> Any:
        asked = "&".join(f"{name.rstrip('_')}={value}" for name, value in query.items())
        return self.get(f"me/plan?{asked}")

    def slot(self, on: date | None = None) -> Any:
        """The first slot of a day."""
        plan = self.plan(**{"from": (on or self.today).isoformat()}, days=1)
        return plan["days"][0]["slots"][0]

    def session_of(self, slot: Any, assignment: Any, **more: Any) -> dict[str, Any]:
        """A finished session that does exactly what the slot asks for, now."""
        now = timezone.now().astimezone(self.patient.zone).replace(microsecond=0)
        return {
            "revision": 1,
            "assignment_id": assignment["id"],
            "assignment_version": assignment["version"],
            "slot_id": slot["slot_id"],
            "local_date": self.today.isoformat(),
            "timezone": self.patient.timezone,
            "started_at": (now - timedelta(minutes=25)).isoformat(),
            "ended_at": (now - timedelta(minutes=1)).isoformat(),
            "recorded_at": now.isoformat(),
            "state": "finished",
            "pain_during": 1,
            "entries": [entry_of(item) for item in slot["items"] if item["counts"]],
            **more,
        }

    def logs(self, slot: Any, assignment: Any, id: UUID | None = None, **more: Any) -> Any:
        id = id or uuid4()
        return self.put(f"me/sessions/{id}", self.session_of(slot, assignment, **more))

    def checks_in(self, id: UUID | None = None, **more: Any) -> Any:
        return self.put(f"me/check-ins/{id or uuid4()}", self.check_in(**more))

    def check_in(self, **more: Any) -> dict[str, Any]:
        now = timezone.now().astimezone(self.patient.zone).replace(microsecond=0)
        return {
            "revision": 1,
            "local_date": now.date().isoformat(),
            "timezone": self.patient.timezone,
            "recorded_at": now.isoformat(),
            "pain_now": 1,
            **more,
        }


def entry_of(item: Any, share: float = 1) -> dict[str, Any]:
    """An entry that does this share of an item's sets, each as prescribed."""
    dose = item["dose"]
    one = {}
    if "reps" in dose:
        one["reps"] = dose["reps"]["min"]
    for name in ("hold_s", "duration_s", "distance_m"):
        if name in dose:
            one[name] = dose[name]
    sets = [dict(one) for _ in range(round(dose["sets"] * share))]
    if "reps_by_set" in dose:
        sets = [{"reps": reps} for reps in dose["reps_by_set"]][: len(sets)]
    return {"prescription_id": item["prescription_id"], "state": "done", "sets": sets}


def make_clinic(name: str, now: datetime, **more: Any) -> Clinic:
    return Clinic.objects.create(
        name=name, timezone="Europe/Stockholm", second_factor_required=False, created_at=now, **more
    )


def make_staff(clinic: Clinic, name: str, **roles: bool) -> Staff:
    user = User.objects.create_user(
        f"{name.lower()}@example.org", "a long password", given_name=name, family_name="Staff",
        clinic=clinic, **roles,
    )  # fmt: skip
    return Staff(session_token(user), user=user)


def make_patient(clinic: Clinic, name: str, now: datetime, by: User, **more: Any) -> OwnPhone:
    user = User.objects.create_user(f"{name.lower()}@example.org", "a long password", clinic=clinic)
    patient = Patient.objects.create(
        **{
            "clinic": clinic, "user": user, "physiotherapist": by, "given_name": name,
            "family_name": "Patient", "birth_date": date(1996, 5, 17),
            "timezone": "Europe/Stockholm", "status": Patient.Status.ACTIVE, "consented_at": now,
            "created_at": now, "updated_at": now,
        } | more
    )  # fmt: skip
    return OwnPhone(session_token(user), patient=patient)


def make_episode(patient: Patient, by: User, now: datetime, **more: Any) -> Episode:
    return Episode.objects.create(
        **{
            "patient": patient, "title": "Right hamstring", "body_region": "posterior_thigh",
            "side": "right", "started_on": now.date() - timedelta(days=60), "recorded_by": by,
            "created_at": now, "updated_at": now,
        } | more
    )  # fmt: skip


def make_reminder(phone: OwnPhone, now: datetime, **more: Any) -> Message:
    """A reminder of today that was sent a minute ago."""
    patient, at = phone.patient, now - timedelta(minutes=1)
    assert patient.user_id
    said: dict[str, Any] = {"kind": "exercises", "slot": "18:00", "on": phone.today} | more
    return Message.objects.create(
        **{
            "id": key_of(patient.user_id, said["kind"], said["on"], said["slot"]),
            "clinic_id": patient.clinic_id, "patient": patient, "person_id": patient.user_id,
            "status": "sent", "why": "due", "due_at": at, "sent_at": at, "decided_at": at,
            "valid_until": at + timedelta(hours=2),
        } | said
    )  # fmt: skip


def judged_again() -> None:
    """Bring everything that is derived into step, after a test wrote rows by itself."""
    for patient in Patient.objects.select_related("clinic"):
        with transaction.atomic():
            found = deciding.recompute_all(patient=patient, now=timezone.now())
            found.plan = True
            deciding.tell(patient, found, (), now=timezone.now())


def make_newer(
    version: ProtocolVersion, number: str, now: datetime, **changes: Any
) -> ProtocolVersion:
    """A newer version of a protocol, which differs in these members of its document."""
    return ProtocolVersion.objects.create(
        protocol_id=version.protocol_id,
        slug=version.slug,
        version=number,
        clinic=version.clinic,
        title=version.title,
        condition=version.condition,
        document=version.document | {"version": number} | changes,
        sha256=uuid4().hex * 2,
        published_at=now,
    )


def make_export(clinic: Clinic, by: User, purpose: str, now: datetime) -> Export:
    """A file that is ready, and says what it is for."""
    content = purpose.encode()
    row = Export.objects.create(
        clinic=clinic, asked_by=by, kind="sessions", format="csv", from_on=now.date(),
        to_on=now.date(), purpose=purpose, status="ready", created_at=now, ready_at=now,
        sha256=hashlib.sha256(content).hexdigest(), size=len(content),
        expires_at=now + timedelta(hours=24),
    )  # fmt: skip
    ExportPart.objects.create(export=row, number=0, content=zlib.compress(content))
    return row


def make_token(
    clinic: Clinic, by: User, now: datetime, name: str = "Warehouse", days: int = 1
) -> tuple[ServiceToken, str]:
    """A service token for the reports of a clinic, and what is sent."""
    return tokens.make(
        clinic=clinic,
        by=by,
        name=name,
        scopes=["reports.read"],
        lives=timedelta(days=days),
        now=now,
    )
