"""What the benchmark measures on: clinics, patients with 8 exercises a day, and their logs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any, TypeVar
from uuid import UUID, uuid4

from django.core.management import call_command
from django.db import connection, transaction
from django.db.models import Q

from backend.api.base import moment
from backend.care import deciding, prescribing
from backend.care.models import (
    Assessment,
    Assignment,
    Change,
    CheckIn,
    Revision,
    Session,
)
from backend.care.prescribing import Wish
from backend.care.recording import Report, derive
from backend.care.selectors import Course, course_of
from backend.clinics.models import Clinic, Patient, User
from backend.management.copying import Model, Person, make_copies
from exercises.models import Exercise
from protocols.models import ProtocolVersion
from tests.bench.floors import TABLE
from tests.roles import admit
from tests.service.cast import make_clinic, make_episode, make_patient, make_staff, session_token

A_DAY = timedelta(days=1)
EXERCISES, SETS = 8, 3
REPORTED, FEW_LOGS = 182, 2  # days
PHASE = "phase-2"
GATES = ("red_flag_screen_clear", "grade_recorded", "diagnosis_recorded", "neuro_screen_recorded")
DOSES: dict[str, dict[str, Any]] = {
    "reps": {"reps": {"min": 8, "max": 10}, "load_kg": 12.5, "tempo": "3-1-3"},
    "hold_s": {"reps": {"min": 4, "max": 4}, "hold_s": 30},
    "duration_s": {"duration_s": 60},
    "distance_m": {"distance_m": 40},
}

Step = Callable[[str], None]
Item = TypeVar("Item")


@dataclass(frozen=True)
class Sizes:
    small_clinic: int
    large_clinic: int
    uploaders: int
    feed: int
    histories: tuple[int, ...] = (1, 28, 90, 365)
    readers: int = 4  # of each kind, so that no row is asked for all the time


FULL = Sizes(small_clinic=10, large_clinic=10_000, uploaders=60, feed=10_000)
QUICK = Sizes(small_clinic=10, large_clinic=500, uploaders=12, feed=2_000, readers=1)


@dataclass(frozen=True)
class Phone:
    """A patient with a plan, signed in."""

    token: str
    patient: Patient
    course: Course
    now: datetime

    def body(self, on: date) -> dict[str, Any]:
        """A whole session of that day as the app sends it, its revision aside."""
        slot = self.course.slots(on)[0]
        at = min(datetime.combine(on, time(17, 30), UTC), self.now - timedelta(minutes=40))
        return {
            "assignment_id": str(self.course.id),
            "assignment_version": 1,
            "slot_id": str(slot.id),
            "local_date": on.isoformat(),
            "timezone": self.patient.timezone,
            "started_at": at.isoformat(),
            "ended_at": (at + timedelta(minutes=35)).isoformat(),
            "recorded_at": (at + timedelta(minutes=36)).isoformat(),
            "state": "finished",
            "pain_before": 1,
            "pain_during": 2,
            "effort": 6.5,
            "entries": [
                {
                    "prescription_id": item.prescribed.id,
                    "state": "done",
                    "sets": [_done(item.prescribed.unit)] * SETS,
                    "pain": 2,
                    "effort": 6,
                }
                for item in slot.items
            ],
        }


def _done(unit: str) -> dict[str, Any]:
    dose = DOSES[unit]
    names = ("load_kg", "hold_s", "duration_s", "distance_m")
    done: dict[str, Any] = {name: dose[name] for name in names if name in dose}
    if "reps" in dose:
        done["reps"] = dose["reps"]["min"]
    return done | {"pain": 1}


@dataclass(frozen=True)
class Stock:
    """Everybody the load speaks for."""

    today: date
    readers: dict[int, list[Phone]]  # by days of logs, in the small clinic
    among_many: list[Phone]  # 90 days of logs, in the large clinic
    uploaders: list[Phone]  # 90 days of logs
    feeds: dict[int, Phone]  # by changes in the feed
    treating: str  # the token of the physiotherapist of the large clinic
    large: Clinic


def fill(sizes: Sizes, *, now: datetime, step: Step) -> Stock:
    """An empty database becomes one of these sizes."""
    step("migrate, load the library")
    call_command("migrate", verbosity=0)
    call_command("load_library", verbosity=0, stdout=_Silent())
    with connection.cursor() as cursor:
        cursor.execute(TABLE)
    admit()
    today = now.date()
    maker = _Maker(now)
    small, large = maker.clinic("Small"), maker.clinic("Large")
    step("histories")
    readers = {
        days: [maker.phone(small, days=days) for _ in range(sizes.readers)]
        for days in sizes.histories
    }
    among_many = [maker.phone(large, days=90) for _ in range(sizes.readers)]
    step("uploaders")
    uploaders = [maker.phone(large, days=90) for _ in range(sizes.uploaders)]
    step("feeds")
    feeds = {}
    for size in (sizes.feed // 10, sizes.feed):
        feeds[size] = maker.phone(large, days=1)
        maker.changes(feeds[size], size)
    step(f"a clinic of {sizes.large_clinic:,} patients")
    there = Patient.objects.filter(clinic=small).count()
    maker.crowd(small, sizes.small_clinic - there)
    maker.crowd(large, sizes.large_clinic - sizes.readers - sizes.uploaders - len(feeds))
    step("statistics for the planner")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    token = session_token(maker.staff[large.pk])
    return Stock(today, readers, among_many, uploaders, feeds, token, large)


class _Silent:
    def write(self, text: str) -> None:
        """Nobody reads what the loader has to tell here."""


class _Maker:
    """Makes rows. Plans by the action itself, logs in bulk."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.protocol = ProtocolVersion.objects.get(slug="hs-grade-2", version="1.0.0")
        self.staff: dict[UUID, User] = {}
        self.made = 0

    def clinic(self, name: str) -> Clinic:
        clinic = make_clinic(name, self.now)
        self.staff[clinic.pk] = make_staff(clinic, f"Staff{name}", is_physiotherapist=True).user
        return clinic

    def phone(self, clinic: Clinic, *, days: int) -> Phone:
        """Somebody whose plan started so many days ago, and who logged each of them.

        Nobody measures what the phase ends by, so that plans do not differ where histories do; the
        gates before it are asked on every date.
        """
        self.made += 1
        by, began = self.staff[clinic.pk], self.now - days * A_DAY
        own = make_patient(
            clinic,
            f"Patient{self.made}",
            began,
            by,
        )
        patient, user = own.patient, own.patient.user
        assert user is not None
        episode = make_episode(patient, by, began)
        self._facts(patient, by, began)
        wish = Wish(
            protocol_version=self.protocol,
            episode=episode,
            start_date=began.astimezone(patient.zone).date(),
            start_phase_id=PHASE,
            changes=self._changes(),
        )
        made = prescribing.assign(patient=patient, wish=wish, by=by, now=began)
        course = course_of(Assignment.objects.with_record().get(pk=made.pk))
        phone = Phone(session_token(user), Patient.objects.get(pk=patient.pk), course, self.now)
        first = self.now.date() - days * A_DAY
        _store(phone, [first + n * A_DAY for n in range(days)])
        self._judge(phone)
        return phone

    @transaction.atomic
    def _judge(self, phone: Phone) -> None:
        """As uploads and closing dates would have done, one by one."""
        deciding.recompute(course=phone.course, patient=phone.patient, now=self.now)
        assignment = phone.course.assignment
        if assignment.carried is None or assignment.standing is None:
            raise AssertionError("nothing was judged")
        state = phone.course.state
        assert state is not None
        if state.stop or state.half_left or state.phase_id != PHASE or state.reviews:
            raise AssertionError(f"this patient is not well: {state}")

    def changes(self, phone: Phone, count: int) -> None:
        """Sessions and check-ins until the feed is so long; its days do not matter."""
        phone.patient.refresh_from_db()
        missing = count - phone.patient.change_seq
        _store(phone, [self.now.date()] * (missing // 2))

    def crowd(self, clinic: Clinic, count: int) -> None:
        """Further patients, so that the tables are as large: a few logs each, and a day book as
        long as a report reaches."""
        if count <= 0:
            return
        by = self.staff[clinic.pk]
        model = self.phone(clinic, days=REPORTED)
        old = Q(local_date__lt=self.now.date() - FEW_LOGS * A_DAY)
        for records in (Session, CheckIn):
            rows: Any = records.objects
            ids = list(rows.filter(old, patient=model.patient).values_list("phone_id", flat=True))
            Revision.objects.filter(phone_id__in=ids).delete()
            Change.objects.filter(object_id__in=ids).delete()
            rows.filter(phone_id__in=ids).delete()
        numbers = range(self.made, self.made + count - 1)
        self.made += count
        of = Model(Patient.objects.get(pk=model.patient.pk))
        for some in _chunks(numbers, 100):
            make_copies(of, [_person(n, by) for n in some])

    def _facts(self, patient: Patient, by: User, at: datetime) -> None:
        """What the gates before a plan ask for."""
        for code in GATES:
            Assessment.objects.create(
                patient=patient, code=code, value=1, unit="0/1", measured_at=at,
                recorded_by=by, recorded_at=at,
            )  # fmt: skip

    def _changes(self) -> list[dict[str, Any]]:
        """The phase as eight exercises a day of three sets each."""
        unit = dict(Exercise.objects.filter(clinic=None).values_list("slug", "dose_unit"))
        rows = self.protocol.definition.phase(PHASE).prescriptions
        changes: list[dict[str, Any]] = []
        for row in rows[:EXERCISES]:
            dose = {"sets": SETS, **DOSES[unit[row.exercise]], "rest_s": 90}
            dose["effort"] = {"scale": "cr10", "min": 5, "max": 7}
            changes += [
                {"op": "set_dose", "key": row.key, "dose": dose},
                {"op": "set_days", "key": row.key, "schedule": {"kind": "daily"}},
            ]
        return changes + [{"op": "remove", "key": row.key} for row in rows[EXERCISES:]]


def _person(number: int, by: User) -> Person:
    name = f"crowd{number}"
    return Person(
        name=name, email=f"{name}@example.org", given_name=f"N{number}", family_name="Patient",
        treated_by=by,
    )  # fmt: skip


def _insert(rows: Any) -> None:
    type(rows[0]).objects.bulk_create(rows, 500)


def _chunks(some_of: Iterable[Item], size: int) -> Iterator[list[Item]]:
    rest = iter(some_of)
    while some := list(islice(rest, size)):
        yield some


def _store(phone: Phone, days: Sequence[date]) -> None:
    """One session and one check-in for each of these days, as uploads would have left them."""
    patient, course = phone.patient, phone.course
    derived = None
    sessions, check_ins, revisions, changes = [], [], [], []
    done: set[date] = set()
    first = course.assignment.start_date
    for on in days:
        body = phone.body(on)
        derived = derived or derive(body, course)
        day = (on - first).days
        worst = {} if day % 7 else {"nprs_worst": 2 if day else 6}
        check_in: dict[str, Any] = {
            "local_date": on.isoformat(),
            "timezone": patient.timezone,
            "recorded_at": datetime.combine(on, time(6, 30), UTC).isoformat(),
            "pain_now": 1,
            "stiffness": 2,
            **worst,
        }
        for kind, content in ((Revision.Kind.SESSION, body), (Revision.Kind.CHECK_IN, check_in)):
            report = Report(kind, uuid4(), 1, content)
            patient.change_seq += 1
            at = datetime.fromisoformat(str(content["recorded_at"]))
            common = {
                "patient": patient, "phone_id": report.phone_id, "sha256": report.sha256,
                "received_at": at, "content": content,
            }  # fmt: skip
            revisions.append(Revision(kind=kind, number=1, **common))
            changes.append(
                Change(
                    patient=patient, seq=patient.change_seq, type=Change.Type(kind.value),
                    object_id=report.phone_id, version=1, at=at,
                )
            )  # fmt: skip
            head = {**common, "revision": 1, "local_date": on}
            if kind is Revision.Kind.CHECK_IN:
                rates = (
                    {"rates_session_day": (on - A_DAY).isoformat()} if on - A_DAY in done else {}
                )
                check_ins.append(CheckIn(**head, pain_now=1, derived={"clock": "ok"} | rates))
                continue
            done.add(on)
            sessions.append(
                Session(
                    **head, assignment=course.assignment, slot_id=UUID(body["slot_id"]),
                    outcome=derived["outcome"], dose_ratio=derived["dose_ratio"],
                    pain_before=1, pain_during=2,
                    derived=derived | {"timeliness": "on_time", "clock": "ok"},
                )
            )  # fmt: skip
            patient.last_received_at = at
    patient.save(update_fields=["change_seq", "last_received_at"])
    for rows in (revisions, changes, sessions, check_ins):
        _insert(rows)


def tidied(phones: Sequence[Phone], on: date) -> None:
    """Take away what the load has uploaded for this day, so that it does not grow."""
    ids = [phone.patient.pk for phone in phones]
    for model in (Session, CheckIn):
        rows: Any = model.objects
        found = rows.filter(patient__in=ids, local_date=on, received_at__gt=phones[0].now)
        phone_ids = list(found.values_list("phone_id", flat=True))
        for some in _chunks(phone_ids, 500):
            Revision.objects.filter(phone_id__in=some).delete()
            Change.objects.filter(object_id__in=some).delete()
        found.delete()


def upload(phone: Phone, on: date) -> bytes:
    """The body of a PUT."""
    return json.dumps({"revision": 1, **phone.body(on)}).encode()


def push(phone: Phone, days: Sequence[date], mark: str, sent_at: datetime) -> bytes:
    """The body of a push of one session for each of these days."""
    items = [{"type": "session", "id": mark, "revision": 1, "data": phone.body(on)} for on in days]
    return json.dumps({"sent_at": moment(sent_at), "items": items}).encode()
