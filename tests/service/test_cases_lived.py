"""The worked cases C1 to C6 through the whole service: prescribed, lived, measured and judged.

Everything happens over HTTP at a plausible hour of the patient's day, and each noon the dates that
have closed are judged. The plans are tailored to the sets that a case names, so that all of what a
case expects can be compared, date by date: phase, planned sets, colour, decision, rule, alerts and
the gates that failed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.db import transaction
from django.utils import timezone

from backend import tasks
from backend.care import deciding, rebuilding
from backend.care.lived import PLACES, facts_of
from backend.care.models import Assignment, ClosedDay, Event, Progression
from backend.care.selectors import course_of
from backend.clinics.actions import lock
from exercises.models import Exercise
from protocols.case_files import CaseDate, CaseFile, case_files, read_case
from protocols.engine.definition import Prescription, Protocol
from protocols.knowledge import metrics
from protocols.models import ProtocolVersion
from tests.service.cast import (
    OwnPhone,
    Staff,
    entry_of,
    make_clinic,
    make_episode,
    make_patient,
    make_staff,
    session_token,
    wish,
)

DAY = timedelta(days=1)
CASES = [path for path in case_files() if path.stem.startswith("c")]

# How a phase spreads its sets over the days, where it is not the same number each day: C1 rests on
# the third day of phase 3, C5 alternates and has free Sundays (its phase 2 begins on a Saturday).
DAILY = {"kind": "daily"}
Part = tuple[object, Mapping[str, object]]
SPREAD: dict[tuple[str, str], list[Part]] = {
    ("C1", "phase-3"): [(8, DAILY | {"to_day": 2}), (8, DAILY | {"from_day": 4})],
    ("C5", "phase-2"): [
        (5, {"kind": "once"}),
        (5, {"kind": "weekly", "per_week": 6, "from_day": 3}),
        (5, {"kind": "weekly", "per_week": 3, "from_day": 3}),
    ],
}


def case_of(path: Path) -> CaseFile:
    case, _ = read_case(path)
    assert case is not None
    return case


# --- The plan ---------------------------------------------------------------------------------


def tailoring(case: CaseFile, protocol: Protocol) -> Iterator[dict[str, object]]:
    """What makes the protocol ask for the sets of the case, and for nothing else that counts."""
    for phase_id, sets in case.planned.items():
        parts = SPREAD.get((case.id, phase_id)) or [(sets, DAILY)]
        rows = [one for one in protocol.phase(phase_id).prescriptions if one.counts]
        rows = [one for one in rows if one.included and not one.gate]
        for row, part in zip(rows, parts, strict=False):
            yield {"op": "set_dose", "key": row.key, "dose": dose(row, part[0])}
            yield {"op": "set_days", "key": row.key, "schedule": part[1]}
        for row in rows[len(parts) :]:
            yield {"op": "remove", "key": row.key}


def dose(row: Prescription, sets: object) -> dict[str, object]:
    unit = Exercise.objects.get(slug=row.exercise, clinic=None).dose_unit
    if unit in ("reps", "hold_s"):
        held = {"hold_s": 5} if unit == "hold_s" else {}
        return {"sets": sets, "reps": {"min": 1, "max": 1}, **held}
    return {"sets": sets, unit: 60}


# --- Living it --------------------------------------------------------------------------------


@dataclass
class Life:
    """A patient, their physiotherapist, and the clock that both live by."""

    case: CaseFile
    clock: time_machine.Traveller
    ana: Staff
    ben: OwnPhone
    plan: Any

    @classmethod
    def begun(cls, case: CaseFile, clock: time_machine.Traveller) -> Life:
        now, person = timezone.now(), case.person
        clinic = make_clinic("Harbour", now)
        ana = make_staff(clinic, "Ana", is_physiotherapist=True)
        born = date.fromisoformat(case.starts).replace(year=now.year - person.age, day=1)
        zone = {"timezone": case.timezone, "birth_date": born}
        ben = make_patient(clinic, "Ben", now, ana.user, **zone)
        side = person.side or "right"
        episode = make_episode(
            ben.patient, ana.user, now, side=side, new_pain=person.new_pain, diagnosis_text=case.id
        )
        version = ProtocolVersion.objects.get(slug=case.protocol, clinic=None)
        for fact in ("red_flag_screen_clear", *(one.fact for one in version.definition.requires)):
            ana.records(ben.patient, fact)
        worst = person.baseline_nprs_worst
        assert worst is not None
        ana.records(ben.patient, "nprs_worst", worst, unit="0-10")
        body = wish(
            version,
            episode,
            ben.today,
            phase_started_on=case.starts,
            tailoring=[*tailoring(case, version.definition)],
        )
        plan = ana.post(f"patients/{ben.patient.pk}/assignments", body, 201)
        return cls(case, clock, ana, ben, plan)

    def at(self, on: date, hour: int, minute: int = 0) -> None:
        moment = datetime.combine(on, time(hour, minute), ZoneInfo(self.case.timezone))
        self.clock.move_to(moment)

    def lives(self, one: CaseDate, before: CaseDate | None) -> None:
        on = date.fromisoformat(one.on)
        self.at(on, 7, 30)
        assert self.ben.patient.user is not None
        self.ben.token = session_token(self.ben.patient.user)
        self.wakes(one, before)
        self.at(on, 8)
        self.is_decided(one, on)
        self.at(on, 12, 5)
        tasks.close_days()
        self.at(on, 16)
        self.is_measured(one)
        self.at(on, 18)
        if one.log.done:
            self.trains(one)
        self.at(on, 20)
        if one.reported:
            self.reports(one)

    def wakes(self, one: CaseDate, before: CaseDate | None) -> None:
        said: dict[str, Any] = {"screen": "weekly"}  # the cases do not tell of it: nothing is new
        if before is not None and before.log.next is not None:
            said["pain_now"] = before.log.next
        if one.log.spread:
            said |= {"pain_now": 0, "leg_symptom": "thigh"} | said
        check_in = self.ben.check_in()
        del check_in["pain_now"]
        self.ben.put(f"me/check-ins/{uuid4()}", check_in | said)

    def is_decided(self, one: CaseDate, on: date) -> None:
        """Written as facts, as a decision over HTTP writes them: what is proposed is approved. A
        step back has been made already; it is seen, so that it does not stand in the way."""
        proposed = (
            Progression.objects.filter(status="proposed")
            .exclude(recommendation="stop_and_review")
            .first()
        )
        if proposed is None and not one.cleared:
            return
        with transaction.atomic():
            patient = lock(self.ben.patient)
            made: dict[str, Any] = {
                "patient": patient, "on": on, "at": timezone.now(), "by": self.ana.user,
                "assignment_id": self.plan["id"],
            }  # fmt: skip
            if one.cleared:
                Event.objects.create(kind=Event.Kind.CLEARED, **made)
            if proposed is not None:
                if proposed.recommendation != "step_back":
                    kind = Event.Kind.APPROVED if proposed.to_phase_id else Event.Kind.ENDED
                    Event.objects.create(kind=kind, phase_id=proposed.to_phase_id, **made)
                Progression.objects.filter(pk=proposed.pk).update(
                    status="approved", decided_by=self.ana.user, decided_at=timezone.now()
                )
                course = Assignment.objects.get(pk=self.plan["id"])
                assert course.carried is not None
                Assignment.objects.update(carried=course.carried | {"proposal": None})
            found = deciding.recompute_all(patient=patient, now=timezone.now())
            deciding.tell(patient, found, (), now=timezone.now())

    def is_measured(self, one: CaseDate) -> None:
        """By the physiotherapist, but for what only the patient can tell."""
        told: dict[str, Any] = {}
        for code, value in one.measured.items():
            if code == "nprs_worst":
                told["nprs_worst"] = int(value)
            elif code == "leg_sx_code":
                told["leg_symptom"] = PLACES[int(value)]
            else:
                self.ana.records(self.ben.patient, code, value, unit=metrics()[code].unit)
        if told:
            said = {name: v for name, v in self.ben.check_in().items() if name != "pain_now"}
            self.ben.put(f"me/check-ins/{uuid4()}", said | told)

    def trains(self, one: CaseDate) -> None:
        """As many sets of what the plan shows as the case says."""
        left, entries = one.log.done, []
        slot = self.ben.slot()
        for item in slot["items"]:
            if item["counts"] and left:
                entry = entry_of(item)
                entry["sets"] = entry["sets"][:left]
                left -= len(entry["sets"])
                entries.append(entry)
        assert left == 0, f"{one.on}: {left} sets more than the plan has"
        said: dict[str, Any] = {"entries": entries, "pain_during": one.log.during}
        if one.log.before is not None:
            said["pain_before"] = one.log.before
        if one.log.settle_min is not None:
            said["settle_min"] = one.log.settle_min
        if one.log.spread:
            said["leg_symptom"] = "calf"
        self.ben.logs(slot, self.plan, **said)

    def reports(self, one: CaseDate) -> None:
        """From the outbox of the phone."""
        data = {name: v for name, v in self.ben.check_in().items() if name != "pain_now"}
        data["stop_signs"] = one.reported
        item = {"type": "check_in", "id": str(uuid4()), "revision": data.pop("revision")}
        sent = {"sent_at": timezone.now().isoformat(), "items": [item | {"data": data}]}
        [result] = self.ben.post("me/sync/push", sent)["results"]
        assert result["status"] == "created"


# --- Comparing --------------------------------------------------------------------------------


def shown(row: ClosedDay, failed: Sequence[str], protocol: Protocol) -> dict[str, object]:
    found: dict[str, object] = {
        "phase": protocol.phase(row.phase_id).number,
        "planned": row.planned_sets,
        "colour": row.colour,
        "decision": row.outcome,
        "rule": row.rule,
        "alerts": sorted(":".join(alert) for alert in row.alerts),
    }
    return found | ({"failed": sorted(failed)} if row.rule == "R15" else {})


def expected(one: CaseDate) -> dict[str, object]:
    assert one.expect is not None
    said = one.expect
    wanted: dict[str, object] = {
        name: getattr(said, name) for name in ("phase", "planned", "colour", "decision", "rule")
    }
    wanted["alerts"] = sorted(said.alerts)
    return wanted | ({"failed": sorted(said.failed or ())} if said.rule == "R15" else {})


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case_is_judged_as_it_was_lived(db: None, library: None, path: Path) -> None:
    case = case_of(path)
    first = date.fromisoformat(case.joins or case.starts)
    begin = datetime.combine(first, time(7), ZoneInfo(case.timezone))
    with time_machine.travel(begin, tick=False) as clock:
        life = Life.begun(case, clock)
        before = None
        for one in case.dates:
            life.lives(one, before)
            before = one
        last = date.fromisoformat(case.dates[-1].on)
        assert before is not None
        life.at(last + DAY, 7, 30)
        life.wakes(CaseDate(on=(last + DAY).isoformat()), before)
        life.at(last + DAY, 12, 5)
        tasks.close_days()

        assignment = Assignment.objects.with_record().get(pk=life.plan["id"])
        course, patient = course_of(assignment), life.ben.patient
        whole = deciding._whole(course, facts_of(course, patient), timezone.now())
        failed = {one.on: one.failed for one in whole.closed}
        days = {row.on: row for row in ClosedDay.objects.filter(assignment=assignment)}
        found = {
            on.isoformat(): shown(row, failed[on], course.protocol) for on, row in days.items()
        }
        assert found == {one.on: expected(one) for one in case.dates}
        again = rebuilding.rebuild(patient_id=patient.pk, now=timezone.now(), keep=False)
        assert [str(one) for one in again] == []
