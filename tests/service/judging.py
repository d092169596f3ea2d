"""Weeks of one patient, made of chance: every kind of fact, in time and late."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.db import transaction

from backend.care import assessing, deciding, prescribing, recording
from backend.care.deciding import ROW_FIELDS
from backend.care.models import (
    Assignment,
    ClosedDay,
    Event,
    Flag,
    Progression,
    Revision,
)
from backend.care.recording import Batch, Report, Upload
from backend.care.selectors import course_of
from backend.clinics import actions
from backend.clinics.models import Patient, User
from backend.problems import Problem
from protocols.knowledge import metrics

A_DAY = timedelta(days=1)
ZONES = ("Europe/Stockholm", "America/New_York", "Pacific/Honolulu", "Pacific/Auckland",
         "Asia/Tokyo", "Pacific/Apia", "Pacific/Pago_Pago")  # fmt: skip
EXITS = ("walk_pain", "jog_slow_pain", "sl_squat_pain", "iso90_pct", "iso90_pain",
         "knee_ext_lag_deg", "nprs_worst", "neuro_exam_normal", "slump_pain",
         "slump_diff_deg")  # fmt: skip
GOOD = {"iso90_pct": 100, "neuro_exam_normal": 1}

Rows = dict[str, Any]


def derived_of(patient: Patient) -> Rows:
    """Everything that judging made of a patient's facts."""
    assignments = Assignment.objects.filter(patient=patient).order_by("pk")
    days = ClosedDay.objects.filter(assignment__patient=patient).order_by("assignment_id", "on")
    return {
        "days": {
            (str(row.assignment_id), str(row.on)): {n: getattr(row, n) for n in ROW_FIELDS}
            for row in days
        },
        "standing": {
            str(row.pk): (row.standing, row.judged_to, row.next_close_at, row.is_behind)
            for row in assignments
        },
        "flags": {
            (row.code, row.status): row.occurrences
            for row in Flag.objects.filter(patient=patient).order_by("raised_at", "pk")
        },
        "proposals": sorted(
            (str(row.assignment_id), row.on, row.recommendation, row.rule, row.inputs_sha256)
            for row in Progression.objects.filter(patient=patient, status="proposed")
        ),
    }


def judged(patient: Patient, now: datetime, *, whole: bool) -> Rows:
    """As it is judged now: from the first date of every course, or on from what was carried, as an
    upload or a sweep would. What it wrote is undone."""
    with transaction.atomic():
        patient = actions.lock(patient)
        for row in Assignment.objects.filter(patient=patient).with_record().order_by("pk"):
            row.patient = patient
            since = None if whole or row.judged_to is None else row.judged_to + A_DAY
            deciding.recompute(course=course_of(row), patient=patient, now=now, since=since)
        found = derived_of(patient)
        transaction.set_rollback(True)
    return found


def difference(stored: Rows, whole: Rows) -> list[str]:
    """What two judgements do not agree on, in words."""
    found = []
    for kind in stored:
        if stored[kind] == whole[kind]:
            continue
        if not isinstance(stored[kind], dict):
            found.append(f"{kind}: {stored[kind]} whole {whole[kind]}")
            continue
        for key in sorted(stored[kind].keys() | whole[kind].keys(), key=str):
            one, other = stored[kind].get(key), whole[kind].get(key)
            if one == other:
                continue
            if isinstance(one, dict) and isinstance(other, dict):
                names = [name for name in one if one[name] != other[name]]
                one = {name: one[name] for name in names}
                other = {name: other[name] for name in names}
            found.append(f"{kind} {key}: {one}\n   whole: {other}")
    return found


@dataclass
class Life:
    """A patient to whom things happen. `say` tells what, for a test that fails."""

    patient: Patient
    by: User
    rng: Random
    now: datetime
    assigned: list[UUID]
    sessions: dict[UUID, tuple[int, dict[str, Any] | None]] = field(default_factory=dict)
    check_ins: dict[UUID, tuple[int, dict[str, Any] | None]] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    batch: Batch | None = None

    def say(self, text: str) -> None:
        self.told.append(f"{self.now:%m-%d %H:%M} {text}")

    @property
    def fresh(self) -> Patient:
        return Patient.objects.select_related("clinic").get(pk=self.patient.pk)

    @property
    def zone(self) -> ZoneInfo:
        return self.fresh.zone

    @property
    def today(self) -> date:
        return self.now.astimezone(self.zone).date()

    @property
    def has_judged(self) -> bool:
        """Whether the last step brought anything into step."""
        last = self.told[-1] if self.told else ""
        return f"{self.now:%m-%d %H:%M}" in last and "refused" not in last

    def chance(self, share: float) -> bool:
        return self.rng.random() < share

    # --- Records ------------------------------------------------------------------------------

    def _send(self, kind: Revision.Kind, id: UUID, content: dict[str, Any] | None) -> None:
        held = self.sessions if kind == Revision.Kind.SESSION else self.check_ins
        number = held[id][0] + 1 if id in held else 1
        report = Report(kind, id, number, content)
        try:
            receipt = recording.put(
                patient=self.fresh, report=report, upload=Upload(self.now, self.now),
                batch=self.batch,
            )  # fmt: skip
        except Problem as problem:
            self.say(f"refused: {problem.code}")
            return
        held[id] = number, content
        said = {k: v for k, v in (content or {}).items() if k not in ("entries", "timezone")}
        self.say(f"{receipt.status} {kind} {str(id)[:4]} r{number} {said}")

    def session(self, on: date, id: UUID | None = None) -> None:
        rng = self.rng
        rows = list(Assignment.objects.filter(pk__in=self.assigned).with_record())
        row = rng.choice(rows)
        course = course_of(row)
        begins = datetime.combine(on, time(rng.choice([0, 6, 7, 9, 17, 19, 23])), self.zone)
        begins = min(begins, self.now - timedelta(hours=1)).astimezone(self.zone)
        if abs((begins.date() - on).days) > 1:
            begins = datetime.combine(on, time(9), self.zone)
        entries: list[dict[str, Any]] = []
        slot_id = None
        slots = course.slots(on) if row.covers(on) else ()
        share = rng.choice([1, 1, 1, 1, 0.5, 0])
        if slots:
            slot = rng.choice(slots)
            slot_id = slot.id
            for item in slot.items:
                if not item.prescribed.counts:
                    continue
                sets: list[Any] = [{"reps": 8}] * round(item.dose.sets * share)
                entry: dict[str, Any] = {"state": "done", "sets": sets}
                entry["prescription_id"] = item.prescribed.id
                if self.chance(0.1):
                    entry["pain"] = rng.choice([1, 4, 5])
                entries.append(entry)
        content: dict[str, Any] = {
            "assignment_id": str(row.pk),
            "local_date": on.isoformat(),
            "timezone": self.zone.key,
            "started_at": begins.isoformat(),
            "ended_at": (begins + timedelta(minutes=20)).isoformat(),
            "recorded_at": (begins + timedelta(minutes=20)).isoformat(),
            "state": "finished",
            "pain_before": rng.choice([0, 1, 1, 1, 1, 2]),
            "pain_during": rng.choice([0, 1, 1, 1, 1, 2, 2, 3, 5, 6]),
            "entries": entries,
        }
        if slot_id is not None and self.chance(0.9):
            content["slot_id"] = str(slot_id)
        if self.chance(0.5):
            content["settle_min"] = rng.choice([0, 5, 5, 12, 45, 70])
        if self.chance(0.4):
            content["leg_symptom"] = rng.choice(["none", "back_or_buttock", "thigh", "calf"])
        if self.chance(0.05):
            content |= {"state": "skipped", "entries": [], "skip_reason": "illness"}
        if self.chance(0.04):
            content |= {"pain_before": 6, "entries": []}
        if self.chance(0.02):
            content |= {"pain_during": 9}
        self._send(Revision.Kind.SESSION, id or uuid_of(rng), content)

    def check_in(self, at: datetime, id: UUID | None = None) -> None:
        rng, at = self.rng, at.astimezone(self.zone)
        content: dict[str, Any] = {
            "local_date": at.date().isoformat(),
            "timezone": self.zone.key,
            "recorded_at": at.isoformat(),
        }
        if self.chance(0.85):
            content["pain_now"] = rng.choice([0, 1, 1, 1, 1, 1, 2, 3])
        if self.chance(0.3):
            content["leg_symptom"] = rng.choice(["none", "back_or_buttock", "thigh", "calf"])
        if self.chance(0.2):
            content["nprs_worst"] = rng.choice([2, 4, 6])
        if self.chance(0.1):
            content["words"] = rng.sample(["shooting", "numb", "ache"], 2)
        if self.chance(0.1):
            content["worse_with"] = [rng.choice(["sit_bone_sitting", "cough", "downhill"])]
        if self.chance(0.02):
            content["stop_signs"] = [rng.choice(["ces_bladder", "fever_with_pain"])]
        if self.chance(0.03):
            content["stop_signs"] = ["night_pain"]
        self._send(Revision.Kind.CHECK_IN, id or uuid_of(rng), content)

    def do_session(self) -> None:
        self.session(self.today)

    def do_morning(self) -> None:
        self.check_in(self.now - timedelta(minutes=2))

    def do_late_session(self) -> None:
        self.session(self.today - self.rng.randint(1, 5) * A_DAY)

    def do_late_check_in(self) -> None:
        back = timedelta(days=self.rng.randint(1, 5))
        self.check_in((self.now - back).replace(hour=self.rng.choice([5, 6, 9, 20])))

    def do_revise(self) -> None:
        held = self.rng.choice([self.sessions, self.check_ins])
        recent = list(held)[-8:]
        if not recent:
            return
        id = self.rng.choice(recent)
        content = held[id][1]
        kind = Revision.Kind.SESSION if held is self.sessions else Revision.Kind.CHECK_IN
        if content is None or self.chance(0.3):
            if content is None:
                return
            self._send(kind, id, None)
            return
        content = dict(content)
        if kind == Revision.Kind.CHECK_IN:
            if self.chance(0.4):
                content.pop("pain_now", None)
            else:
                content["pain_now"] = self.rng.choice([0, 1, 3])
            if self.chance(0.3):
                content.pop("nprs_worst", None)
            if self.chance(0.3):
                content["leg_symptom"] = self.rng.choice(["none", "thigh", "calf"])
            self._send(kind, id, content)
            return
        if self.chance(0.4):
            on = date.fromisoformat(content["local_date"])
            self.session(on + self.rng.choice([-2, -1, 1]) * A_DAY, id)
            return
        content["pain_during"] = self.rng.choice([0, 1, 5, 6])
        self._send(kind, id, content)

    def do_push(self) -> None:
        """Several records together, judged once."""
        self.batch = Batch(defers=True)
        for _ in range(self.rng.randint(2, 4)):
            self.rng.choice([self.do_session, self.do_late_session, self.do_morning,
                             self.do_late_check_in, self.do_revise])()  # fmt: skip
        batch, self.batch = self.batch, None
        recording.settle(patient=self.fresh, batch=batch, now=self.now)
        self.say("settled")

    # --- What staff do ------------------------------------------------------------------------

    def do_measure(self) -> None:
        back = timedelta(days=self.rng.choice([0, 0, 0, 1, 3, 6]))
        for code in self.rng.sample(EXITS, len(EXITS) if self.chance(0.5) else 2):
            metric = metrics()[code]
            value = GOOD.get(code, 0) if self.chance(0.9) else metric.max or 1
            findings = ["ces_bladder"] if self.chance(0.002) else []
            with transaction.atomic():
                assessing.record(
                    patient=self.fresh, code=code, value=Decimal(str(value)), unit=metric.unit,
                    side=self.rng.choice(["right", "right", "left"]), remark="", by=self.by,
                    measured_at=self.now - back, findings=findings, now=self.now,
                )  # fmt: skip
        self.say(f"measured, {back.days} days ago")

    def _running(self) -> Assignment | None:
        rows = Assignment.objects.filter(patient=self.patient, ended_on=None).with_record()
        found = list(rows.order_by("pk"))
        return self.rng.choice(found) if found else None

    def do_pause(self) -> None:
        row = self._running()
        if row is None:
            return
        first = self.today + self.rng.randint(0, 2) * A_DAY
        last = None if self.chance(0.3) else first + self.rng.randint(0, 4) * A_DAY
        try:
            prescribing.pause(
                assignment=row, first=first, last=last, reason="away", by=self.by, now=self.now
            )
            self.say(f"paused {str(row.pk)[:4]} {first} to {last}")
        except Problem as problem:
            self.say(f"no pause: {problem.code}")

    def do_resume(self) -> None:
        row = self._running()
        if row is None:
            return
        try:
            prescribing.resume(
                assignment=row, first=self.today + self.rng.randint(0, 1) * A_DAY, reason="back",
                by=self.by, now=self.now,
            )  # fmt: skip
            self.say(f"resumed {str(row.pk)[:4]}")
        except Problem as problem:
            self.say(f"not resumed: {problem.code}")

    def do_end(self) -> None:
        row = self._running()
        if row is None or len(self.assigned) < 2 or self.chance(0.5):
            return
        try:
            prescribing.end(
                assignment=row, last=self.today - self.rng.randint(0, 1) * A_DAY,
                kind=Assignment.EndKind.STOPPED, reason="enough", by=self.by, now=self.now,
            )  # fmt: skip
            self.say(f"ended {str(row.pk)[:4]}")
        except Problem as problem:
            self.say(f"not ended: {problem.code}")

    def decides(self, kind: Event.Kind, *, on: date, code: str = "", phase_id: str = "",
                assignment: Assignment | None = None) -> None:  # fmt: skip
        """What a clinician decides, as the fact that it is."""
        with transaction.atomic():
            patient = actions.lock(self.patient)
            Event.objects.create(
                patient=patient, assignment=assignment, kind=kind, on=on, at=self.now, code=code,
                phase_id=phase_id, by=self.by,
            )  # fmt: skip
            found = deciding.recompute_all(patient=patient, now=self.now)
            deciding.tell(patient, found, (), now=self.now)
        self.say(f"{kind} {code} {phase_id} on {on}")

    def do_clear(self) -> None:
        rows = Assignment.objects.filter(patient=self.patient, ended_on=None)
        if any(row.standing and row.standing["state"].get("stop") for row in rows):
            self.decides(Event.Kind.CLEARED, on=self.today)

    def do_close_flag(self) -> None:
        flag = Flag.objects.filter(patient=self.patient, status="open", level="routine").first()
        if flag is None:
            return
        Flag.objects.filter(pk=flag.pk).update(
            status="resolved", resolved_by=self.by, resolved_at=self.now, action="advised"
        )
        self.decides(Event.Kind.CLOSED, on=self.today, code=flag.code)

    def do_approve(self) -> None:
        row = self._running()
        if row is None:
            return
        open_one = Progression.objects.filter(
            assignment=row, status="proposed", recommendation="advance"
        ).first()
        if open_one is None:
            return
        Progression.objects.filter(pk=open_one.pk).update(
            status="approved", decided_by=self.by, decided_at=self.now
        )
        carried = {k: v for k, v in (row.carried or {}).items() if k != "proposal"}
        Assignment.objects.filter(pk=row.pk).update(carried=carried)
        on = self.today + self.rng.randint(0, 1) * A_DAY
        self.decides(Event.Kind.APPROVED, on=on, phase_id=open_one.to_phase_id, assignment=row)

    def do_travel(self) -> None:
        name = self.rng.choice(ZONES)
        with transaction.atomic():
            patient = actions.update_patient(
                patient=self.patient, changes={"timezone": name}, now=self.now
            )
            found = deciding.recompute_all(patient=patient, now=self.now)
            deciding.tell(patient, found, (), now=self.now)
        self.say(f"in {name}")

    def do_sweep(self) -> None:
        for patient_id in deciding.due_to_close(now=self.now, limit=100):
            found = deciding.close(patient_id=patient_id, now=self.now)
            self.say(f"swept: {[str(on) for on in found.rows]}")


STEPS: tuple[tuple[str, int], ...] = (
    ("session", 22), ("morning", 22), ("late_session", 4), ("late_check_in", 4), ("revise", 8),
    ("push", 5), ("measure", 5), ("pause", 2), ("resume", 2), ("end", 1), ("clear", 4),
    ("close_flag", 3), ("approve", 5), ("travel", 1), ("sweep", 14),
)  # fmt: skip


def uuid_of(rng: Random) -> UUID:
    return UUID(int=rng.getrandbits(128), version=4)
