"""Why a plan changed, or did not: each date of a course with its verdict, and one date in full.

Verdicts are made again from the facts, with the engine that made them. So they can be asked of any
date, and tell what each gate found, which nobody stores. The rows of the day book say the same; a
test compares them. Texts and numbers are those of the library; ids lead to the records.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

from django.db.models import Q

from backend.care.deciding import Verdicts, terms_of, verdicts_of
from backend.care.explaining import Records, criteria_of, facts_shown, failed_of, reasons_of
from backend.care.models import Event
from backend.care.proposing import inputs_with_digest
from backend.care.selectors import Course
from backend.clinics.models import Patient
from exercises.sources import keys_of
from protocols.engine.case import Alert, Judged
from protocols.engine.progression import VERSION
from protocols.knowledge import rules, safety

Shown = dict[str, Any]
NUDGE = {"nudge-3": "missed_nudge"}  # alerts for the patient, by the number that says when


@dataclass(frozen=True)
class Told:
    """A course with its verdicts. Five queries, six where a record was changed."""

    course: Course
    patient: Patient
    verdicts: Verdicts

    @classmethod
    def of(cls, course: Course, patient: Patient, now: datetime) -> Told:
        return cls(course, patient, verdicts_of(course=course, patient=patient, now=now))

    @property
    def judged(self) -> list[Judged]:
        return [*self.verdicts.closed, *self.verdicts.open]

    def on(self, on: date) -> Judged | None:
        return next((one for one in self.judged if one.on == on), None)

    def is_open(self, judged: Judged) -> bool:
        return any(one is judged for one in self.verdicts.open)


def decisions_shown(told: Told, first: date, last: date, *, to_patient: bool) -> list[Shown]:
    """The verdicts of these dates, oldest first."""
    return [
        decision_shown(told, one, to_patient=to_patient)
        for one in told.judged
        if first <= one.on <= last
    ]


def decision_shown(told: Told, judged: Judged, *, to_patient: bool) -> Shown:
    """One verdict in short. A patient is not told what only asks a clinician to look."""
    terms = terms_of(told.course, judged)
    phase = told.course.protocol.phase(judged.phase_id)
    rule = next(one for one in rules().daily_decision if one.id == judged.rule)
    alerts = [one for one in judged.alerts if not (to_patient and one.level == "routine")]
    return {
        "date": judged.on.isoformat(),
        "is_open": told.is_open(judged),
        "phase": {"id": phase.id, "number": phase.number, "title": phase.title},
        "colour": judged.colour.value,
        "rule": judged.rule,
        "condition": rule.condition,
        "decision": rule.decision,
        "outcome": judged.outcome.value,
        "planned_sets": judged.planned,
        "done_sets": judged.day.done,
        "excused": judged.excused,
        "stopped": terms.stopped,
        "half": terms.half,
        "eased": sorted(terms.eased),
        "alerts": [shown for one in alerts for shown in _alerts_shown(one)],
        "failed_gates": failed_of(judged),
    }


def _alerts_shown(alert: Alert) -> Iterable[Shown]:
    for code in alert.code.split(" + "):
        yield {"level": alert.level, "code": code, "text": _words(code)}


def _words(code: str) -> str:
    if code in NUDGE:
        return rules()[NUDGE[code]].text
    flag = safety().red_flags.get(code)
    return code if flag is None else flag.sign or flag.ask


def explanation_shown(told: Told, judged: Judged, *, to_patient: bool) -> Shown:
    """One verdict in full: what each gate found, the facts with their records, and the sources."""
    inputs, sha256 = inputs_with_digest(judged)
    first = date.fromisoformat(inputs["days"][0]["day"]["on"])
    records = Records.of(told.patient, first, judged.on)
    protocol = told.course.protocol
    criteria = criteria_of(judged, protocol, records)
    version = told.course.assignment.protocol_version
    facts = facts_shown(judged, records) | {"events": _events(told, judged.on, to_patient)}
    sources = _sources(told, judged, criteria)
    cited = {key for source in sources for key in source["citation_ids"]}
    shown = decision_shown(told, judged, to_patient=to_patient) | {
        "assignment_id": str(told.course.id),
        "patient_id": str(told.patient.pk),
        "window": {"from": first.isoformat(), "to": judged.on.isoformat()},
        "limits": _limits(told),
        "criteria": criteria,
        "reasons": reasons_of(judged),
        "facts": facts,
        "after": _after(judged),
        "sources": sources,
        "citations": [
            {"id": one.id, "text": one.text, "supports": one.read}
            | ({"url": one.where} if one.where.startswith("http") else {})
            for one in protocol.sources
            if one.id in cited
        ],
        "engine": {
            "version": VERSION,
            "protocol_id": str(version.protocol_id),
            "protocol_version": version.version,
        },
        "inputs_sha256": sha256,
    }
    if to_patient:
        shown["criteria"] = [
            {name: one[name] for name in ("id", "text", "result")} for one in criteria
        ]
        shown["facts"]["day"].pop("measured", None)
    return shown


def _limits(told: Told) -> Shown:
    limits = told.course.protocol.limits
    return {
        "progress": limits.progress,
        "red": limits.red,
        "red_rise": limits.red_rise,
        "severe": limits.severe,
    }


def _after(judged: Judged) -> Shown:
    """What the next date inherits."""
    after = judged.after
    return {
        "phase_id": after.phase_id,
        "phase_started_on": after.started_on.isoformat(),
        "half_dose_days_left": after.half_left,
        "stopped_for": [one.code for one in after.stop],
        "ended": after.ended,
    }


def _events(told: Told, on: date, to_patient: bool) -> list[Shown]:
    """What was reported and decided with effect from the date. One query."""
    rows = Event.objects.filter(
        Q(assignment=None) | Q(assignment=told.course.id), patient=told.patient, on=on
    )
    return [_event_shown(row, to_patient) for row in rows.order_by("at", "pk")]


def _event_shown(row: Event, to_patient: bool) -> Shown:
    shown: Shown = {
        "kind": row.kind,
        "at": row.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
    }
    for name in ("code", "phase_id"):
        if told := getattr(row, name):
            shown[name] = told
    if row.source_id is not None:
        shown["source"] = {"type": row.source_type, "id": str(row.source_id)}
    if row.by_id is not None and not to_patient:
        shown["by"] = str(row.by_id)
    return shown


def _sources(told: Told, judged: Judged, criteria: Iterable[Mapping[str, Any]]) -> list[Shown]:
    """Where the rule, the limits of the colour, and each criterion come from."""
    known = {one.id for one in told.course.protocol.sources}
    rule = next(one for one in rules().daily_decision if one.id == judged.rule)
    named = [(judged.rule, rule.source), ("limits", told.course.protocol.limits.source)]
    named += [(one["id"], one["source"]) for one in criteria]
    return [
        {"of": of, "text": source, "citation_ids": keys_of(source, known)}
        for of, source in named
        if source
    ]
