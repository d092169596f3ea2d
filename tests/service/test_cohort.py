"""A cohort of patients over months, and their last days lived by actions: made anew it is the same.

The months are written as the rows that phones and staff would have left, late, corrected and
withdrawn ones among them; the days that follow come by uploads, noons and decisions.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
from django.db import transaction

from backend.api.records import report_of
from backend.care import assessing, clearing, deciding, prescribing, recording, reviewing
from backend.care.models import (
    Assessment,
    Assignment,
    CheckIn,
    ClosedDay,
    Event,
    Flag,
    Progression,
    Revision,
    Session,
)
from backend.care.rebuilding import rebuild
from backend.care.recording import Report, Upload
from backend.care.selectors import Course, course_of
from backend.clinics.models import Clinic, Patient, User
from protocols.engine import predicate
from protocols.knowledge import metrics
from protocols.models import ProtocolVersion
from tests.service.cast import Staff, make_episode, make_patient

ZONE = ZoneInfo("Europe/Stockholm")
A_DAY = timedelta(days=1)
LAST_DAYS = 6
FIRST = date(2026, 2, 2)  # the clocks change on the way
GATES = ("red_flag_screen_clear", "grade_recorded", "diagnosis_recorded", "neuro_screen_recorded")
PROTOCOLS = ("hs-grade-1", "hs-grade-2", "neural-thigh", "pht", "deep-gluteal")

Kind = Revision.Kind


def at(on: date, hour: int, minute: int = 0) -> datetime:
    return datetime.combine(on, time(hour, minute), ZONE)


class Life:
    """One patient: what hurts, how well the day goes, and what a phone makes of it."""

    def __init__(self, number: int, clinic: Clinic, by: User, seed: int) -> None:
        self.dice = Random(f"{seed}/{number}")
        self.by = by
        self.hurts = self.dice.uniform(1, 4)
        now = at(FIRST - A_DAY, 15)
        made = make_patient(clinic, f"P{number}", now, by, zones=[[now.isoformat(), str(ZONE)]])
        self.patient = made.patient
        slug = PROTOCOLS[number % len(PROTOCOLS)]
        version = ProtocolVersion.objects.get(slug=slug, version="1.0.0")
        self.protocol = version.definition
        for fact in GATES:
            self._assess(fact, 1, now)
        episode = make_episode(self.patient, by, now)
        made_plan = prescribing.assign(
            patient=self.patient,
            wish=prescribing.Wish(protocol_version=version, episode=episode, start_date=FIRST),
            by=by,
            now=now,
        )
        self.plan_id = made_plan.pk

    @property
    def course(self) -> Course:
        row = Assignment.objects.with_record().get(pk=self.plan_id)
        row.patient = self.patient
        return course_of(row)

    def _assess(self, code: str, value: float, now: datetime) -> None:
        assessing.record(
            patient=self.patient, code=code, value=Decimal(str(value)), unit=metrics()[code].unit,
            side="none", measured_at=now, findings=(), remark="", by=self.by, now=now,
        )  # fmt: skip

    # --- What a day says ------------------------------------------------------------------

    def session(self, on: date, rows: list[Any]) -> dict[str, Any]:
        began = at(on, 17, self.dice.randrange(50))
        flare = self.dice.random() < 0.06
        before = round(max(0, self.hurts + self.dice.gauss(0, 0.6)))
        done = rows if self.dice.random() < 0.85 else rows[: len(rows) // 2]
        said = {
            "assignment_id": str(self.plan_id), "assignment_version": 1,
            "local_date": on.isoformat(), "timezone": str(ZONE), "state": "finished",
            "started_at": began.isoformat(),
            "ended_at": (began + timedelta(minutes=30)).isoformat(),
            "recorded_at": (began + timedelta(minutes=31)).isoformat(),
            "pain_before": min(before, 9), "pain_during": min(before + (5 if flare else 1), 10),
            "settle_min": 70 if flare else self.dice.randrange(12),
            "entries": [
                {"prescription_id": row["id"], "state": "done", "pain": min(before, 10),
                 "sets": [{"reps": 10}] * row["dose"]["sets"]}
                for row in done
            ],
        }  # fmt: skip
        self.hurts = max(0.0, self.hurts - 0.04 + (0.5 if flare else 0))
        return said

    def morning(self, on: date) -> dict[str, Any]:
        pain = round(max(0, min(10, self.hurts + self.dice.gauss(0, 0.7))))
        said: dict[str, Any] = {
            "local_date": on.isoformat(), "timezone": str(ZONE), "pain_now": pain,
            "recorded_at": at(on, 7, self.dice.randrange(50)).isoformat(), "screen": "weekly",
        }  # fmt: skip
        if on.weekday() == 0:
            said["nprs_worst"] = min(10, pain + 1)
        return said

    def rows_of(self, phase_id: str) -> list[Any]:
        held = self.course.versions[0].prescriptions
        return [row for row in held if row["phase_id"] == phase_id and row["counts"]][:8]

    # --- Months, as rows ------------------------------------------------------------------

    def months(self, days: int) -> Iterator[Any]:
        phase = self.protocol.phases[0]
        rows = self.rows_of(phase.id)
        for n in range(days):
            on = FIRST + n * A_DAY
            if n % 5 == 3:
                yield from self._assessed(on)
            if self.dice.random() < 0.004:
                yield self._event(on, Event.Kind.REPORTED, "night_pain", at(on, 20))
                yield self._event(on + A_DAY, Event.Kind.CLOSED, "night_pain", at(on + A_DAY, 9))
            if self.dice.random() < 0.2:
                continue
            said = self.session(on, rows)
            yield from self._record(Kind.SESSION, Session, said, on, None)
            if self.dice.random() < 0.85:
                next_day = on + A_DAY
                yield from self._record(
                    Kind.CHECK_IN, CheckIn, self.morning(next_day), next_day, on
                )

    def _record(
        self, kind: Kind, model: type[Any], said: dict[str, Any], on: date, rates: date | None
    ) -> Iterator[Any]:
        """A record with its history: some come late, are corrected, or are taken back."""
        came = datetime.fromisoformat(said["recorded_at"]) + timedelta(minutes=1)
        chance = self.dice.random()
        if chance < 0.05:
            came += timedelta(days=self.dice.randrange(1, 6))
        told: list[tuple[datetime, dict[str, Any] | None]] = [(came, said)]
        if 0.05 < chance < 0.09:
            pain = "pain_during" if kind == Kind.SESSION else "pain_now"
            better = said | {pain: max(0, said[pain] - 1)}
            told.append((came + timedelta(days=self.dice.randrange(3)), better))
        elif 0.09 < chance < 0.1:
            told.append((came + timedelta(days=self.dice.randrange(1, 3)), None))
        phone_id = UUID(int=self.dice.getrandbits(128), version=4)
        for number, (moment, content) in enumerate(told, start=1):
            yield Revision(
                patient=self.patient, kind=kind, phone_id=phone_id, number=number,
                content=content, withdrawn=content is None, sha256="0" * 64, received_at=moment,
            )  # fmt: skip
        moment, content = told[-1]
        row = model(
            patient=self.patient, phone_id=phone_id, revision=len(told), history_count=len(told),
            sha256="0" * 64, received_at=moment, content=content, local_date=on,
            withdrawn_at=None if content else moment,
        )  # fmt: skip
        derived: dict[str, Any] = {"clock": "ok"}
        if rates is not None:
            derived["rates_session_day"] = rates.isoformat()
            row.pain_now = content and content["pain_now"]
        else:
            row.assignment_id, row.outcome = self.plan_id, "completed"
            derived |= {"outcome": "completed", "dose_ratio": 1, "timeliness": "on_time"}
        row.derived = derived if content else None
        yield row

    def _assessed(self, on: date) -> Iterator[Any]:
        """What the exit of each phase asks for, good enough the more the less it hurts."""
        for phase in self.protocol.phases[:2]:
            for one in phase.exit:
                rule = predicate.parse(one.when)
                metric = metrics().get(rule.metric)
                if metric is not None and "clinician" in metric.by:
                    good = rule.limit if self.hurts < 2 else 0 if metric.better == "high" else 5
                    yield Assessment(
                        patient=self.patient, code=metric.code, value=Decimal(str(good)),
                        unit=metric.unit, measured_at=at(on, 10), recorded_by=self.by,
                        recorded_at=at(on, 10, 5),
                    )  # fmt: skip

    def _event(self, on: date, kind: Event.Kind, code: str, moment: datetime) -> Event:
        by = None if kind == Event.Kind.REPORTED else self.by
        return Event(patient=self.patient, kind=kind, on=on, at=moment, code=code, by=by)

    # --- Days, by actions -----------------------------------------------------------------

    def lives(self, on: date) -> None:
        self._uploads(Kind.CHECK_IN, self.morning(on), at(on, 7, 55))
        for row in Progression.objects.filter(assignment=self.plan_id, status="proposed"):
            if row.recommendation in ("advance", "step_back"):
                said = reviewing.Decision(is_approval=True)
                reviewing.decide(progression=row, decision=said, by=self.by, now=at(on, 9))
        stops = Flag.objects.filter(
            patient=self.patient, level__in=["emergency", "urgent"], status="open"
        )
        if stops.exists() and self.dice.random() < 0.5:
            clearing.clear(
                patient=self.patient, reason="Seen", action=Flag.Action.CONTACTED, resume={},
                by=self.by, now=at(on, 10),
            )  # fmt: skip
        deciding.close(patient_id=self.patient.pk, now=at(on, 12, 1))
        rows = self.rows_of(self.course.span_on(on).phase_id)
        said_today = self.session(on, rows)
        if self.dice.random() < 0.1:
            said_today["stop_signs"] = ["fever_with_pain"]
        self._uploads(Kind.SESSION, said_today, at(on, 18, 40))

    def _uploads(self, kind: Kind, said: dict[str, Any], now: datetime) -> None:
        report: Report = report_of(kind, uuid4(), 1, said)
        patient = Patient.objects.select_related("clinic").get(pk=self.patient.pk)
        recording.put(patient=patient, report=report, upload=Upload(now))


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("people", "days"),
    [(8, 45), pytest.param(500, 180, marks=pytest.mark.campaign)],
)
def test_a_cohort_made_anew_is_the_same(
    library: None, harbour: Clinic, ana: Staff, people: int, days: int
) -> None:
    lives = [Life(n, harbour, ana.user, seed=1) for n in range(people)]
    joined = FIRST + (days - LAST_DAYS) * A_DAY
    for life in lives:
        rows: dict[type[Any], list[Any]] = {}
        for row in life.months(days - LAST_DAYS):
            rows.setdefault(type(row), []).append(row)
        for model, found in rows.items():
            model.objects.bulk_create(found, batch_size=200)
        with transaction.atomic():
            patient = Patient.objects.select_for_update(of=("self",)).get(pk=life.patient.pk)
            found_now = deciding.recompute_all(patient=patient, now=at(joined, 0, 1))
            deciding.tell(patient, found_now, (), now=at(joined, 0, 1))
        for n in range(LAST_DAYS):
            life.lives(joined + n * A_DAY)

    now = at(joined + LAST_DAYS * A_DAY, 3)
    different = [
        str(one)
        for life in lives
        for one in rebuild(patient_id=life.patient.pk, now=now, keep=False)
        if one
    ]

    assert different == []
    assert ClosedDay.objects.count() >= people * (days - 2)
    seen = set(ClosedDay.objects.values_list("rule", flat=True))
    assert {"R1", "R5", "R6", "R13", "R15"} <= seen, "a cohort in which things happen"
