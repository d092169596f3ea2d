"""Why something was decided: verdicts as criteria with values, records and sources."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

from backend.care.models import CheckIn, Session
from backend.care.rating import RATING_REACH
from backend.clinics.models import Patient
from exercises.sources import keys_of
from protocols.engine import predicate
from protocols.engine.case import Finding, Judged, Outcome
from protocols.engine.definition import Criterion, Protocol
from protocols.engine.storing import day_as_json, state_as_json
from protocols.knowledge import rules

Shown = dict[str, Any]
OPERATORS = {"<=": "lte", "<": "lt", ">=": "gte", ">": "gt", "==": "eq", "!=": "ne"}


@dataclass(frozen=True, slots=True)
class Measure:
    """What a gate measures. `samples` names the rule that says how many values it needs."""

    metric: str
    operator: str
    unit: str
    samples: str = ""
    rated: bool = False  # its records are the next-morning ratings


GATES: Mapping[str, Measure] = {
    "GG0": Measure("completed_session_day", "is_true", "0/1"),
    "GG1": Measure("days_in_phase", "gte", "days"),
    "GG2": Measure("pain_during_worst", "lte", "nrs11", "gate_sessions"),
    "GG3": Measure("pain_morning_rise_max", "lte", "points", "gate_sessions", rated=True),
    "GG4": Measure("set_adherence", "gte", "ratio"),
    "GG5": Measure("completed_session_days", "gte", "count"),
    "GG6": Measure("open_review_items", "lte", "count"),
    "GG7": Measure("red_days", "lte", "count"),
    "GG9": Measure("pain_morning_trend", "lt", "points"),
    "GG10": Measure("settle_min_max", "lte", "min", "gate_sessions"),
}


@dataclass(frozen=True)
class Records:
    """The records of some dates, for evidence: sessions by date, ratings by the date rated."""

    sessions: Mapping[str, Sequence[Session]]
    ratings: Mapping[str, CheckIn]

    @classmethod
    def of(cls, patient: Patient, first: date, last: date) -> Records:
        sessions: dict[str, list[Session]] = {}
        rows = Session.objects.filter(patient=patient, local_date__range=(first, last)).standing()
        for row in rows.order_by("local_date", "phone_id"):
            sessions.setdefault(str(row.local_date), []).append(row)
        ratings = {}
        near = first - RATING_REACH, last + RATING_REACH
        told = CheckIn.objects.filter(patient=patient, local_date__range=near).standing()
        for one in told.order_by("received_at", "phone_id"):
            rated = (one.derived or {}).get("rates_session_day")
            if rated is not None and first.isoformat() <= rated <= last.isoformat():
                ratings[rated] = one
        return cls(sessions, ratings)

    def evidence(self, dates: Iterable[str], *, rated: bool) -> list[Shown]:
        found: list[Shown] = []
        for on in dates:
            if rated and on in self.ratings:
                one = self.ratings[on]
                shown = {"type": "check_in", "id": str(one.phone_id), "local_date": on}
                found.append(shown | _value(one.pain_now))
            elif not rated:
                found += [
                    {"type": "session", "id": str(row.phone_id), "local_date": on}
                    | _value(row.pain_during)
                    for row in self.sessions.get(on, ())
                ]
        return found


def _value(value: float | None) -> Shown:
    return {} if value is None else {"value": value}


def criteria_of(judged: Judged, protocol: Protocol, records: Records) -> list[Shown]:
    """Each gate that was asked, and each exit predicate, by itself."""
    exits = iter(judged.case.phase.exit)
    return [
        _exit_shown(finding, next(exits), protocol)
        if finding.gate == "GG8" and judged.case.phase.exit
        else _gate_shown(finding, protocol, records)
        for finding in judged.findings
    ]


def _gate_shown(finding: Finding, protocol: Protocol, records: Records) -> Shown:
    known = rules()
    told = next(gate for gate in known.gates if gate.id == finding.gate)
    measure = GATES.get(finding.gate, Measure("exit", "is_true", "0/1"))
    needed = int(known[measure.samples].number) if measure.samples else 1
    shown = _criterion(finding, finding.gate, told.text, told.source, protocol)
    dates = [one for one in finding.records if one[:4].isdigit()]
    return shown | {
        "metric": measure.metric,
        "operator": measure.operator,
        "unit": measure.unit,
        "samples_needed": needed,
        "evidence": records.evidence(dates, rated=measure.rated),
    }


def _exit_shown(finding: Finding, criterion: Criterion, protocol: Protocol) -> Shown:
    rule = predicate.parse(criterion.when)
    shown = _criterion(finding, criterion.id, criterion.text, criterion.source, protocol)
    return shown | {
        "gate": "GG8",
        "when": criterion.when,
        "metric": f"assessment.{rule.metric}",
        "operator": OPERATORS[rule.compare],
        "unit": criterion.unit,
        "samples_needed": 1,
        "evidence": [{"type": "assessment", "id": record} for record in finding.records],
    }


def _criterion(finding: Finding, id: str, text: str, source: str, protocol: Protocol) -> Shown:
    unknown = finding.observed is None and not finding.passed and finding.samples == 0
    shown: Shown = {
        "id": id,
        "gate": finding.gate,
        "text": text,
        "required": True,
        "finding": finding.text,
        "samples": finding.samples,
        "result": "unknown" if unknown else "met" if finding.passed else "not_met",
        "source": source,
        "citation_ids": keys_of(source, {one.id for one in protocol.sources}),
    }
    # Compared with the values as shown: rounding them here and there alike keeps the two in step.
    if finding.limit is not None:
        shown["threshold"] = round(finding.limit, 4)
    if finding.observed is not None:
        shown["observed"] = round(finding.observed, 4)
    return shown


def failed_of(judged: Judged) -> list[str]:
    """The gates that failed, and of GG8 each exit predicate."""
    exits = iter(judged.case.phase.exit)
    failed: list[str] = []
    for finding in judged.findings:
        name = finding.gate
        if name == "GG8" and judged.case.phase.exit:
            name = next(exits).id
        if not finding.passed:
            failed.append(name)
    return list(dict.fromkeys(failed))


def reasons_of(judged: Judged) -> list[Shown]:
    """The row of Table R that decided, in the dossier's words, and what it looked at."""
    row = next(one for one in rules().daily_decision if one.id == judged.rule)
    severity = "warning" if judged.outcome in (Outcome.STOP, Outcome.STEP_BACK) else "info"
    found = [
        {
            "code": f"rule_{judged.rule.lower()}",
            "severity": severity,
            "text": row.condition,
            "effect": row.decision,
            "source": row.source,
            "params": {"date": judged.on.isoformat(), "colour": judged.colour.value},
        }
    ]
    for on, colour in _reds_of(judged):
        found.append(
            {
                "code": "red_day",
                "severity": severity,
                "text": f"{colour} on {on}",
                "params": {"date": on, "colour": colour},
            }
        )
    if judged.day.stop_signs:
        found.append(
            {
                "code": "reported",
                "severity": "warning",
                "text": " + ".join(sign.code for sign in judged.day.stop_signs),
                "params": {"codes": [sign.code for sign in judged.day.stop_signs]},
            }
        )
    return found


def _reds_of(judged: Judged) -> list[tuple[str, str]]:
    if judged.rule not in ("R4", "R5", "R6"):
        return []
    days = int(judged.case.numbers["red_repeat_days"])
    by_date = {judged.on: judged.colour}
    one = judged.case.past
    while one is not None and (judged.on - one.on).days < days:
        by_date[one.on] = one.colour
        one = one.case.past
    reds = judged.case.reds(days)
    return [(on.isoformat(), by_date[on].value) for on in reds]


def facts_shown(judged: Judged, records: Records) -> Shown:
    """What is known of a date, with the records that say so."""
    on = judged.on.isoformat()
    day = day_as_json(judged.day)
    day.pop("on", None)
    dates = [on]
    return {
        "planned_sets": judged.planned,
        "day": day,
        "evidence": [
            *records.evidence(dates, rated=False),
            *records.evidence(dates, rated=True),
        ],
    }


def inputs_of(judged: Judged, first: date) -> Shown:
    """What a verdict rests on, as it can be replayed: the state it inherits, and the days it may
    look at."""
    chain: list[Judged] = [judged]
    while (past := chain[-1].case.past) is not None and past.on >= first:
        chain.append(past)
    return {
        "days": [
            {
                "inherited": state_as_json(one.case.inherited),
                "day": day_as_json(one.day),
                "planned": one.case.planned,
            }
            for one in reversed(chain)
        ]
    }
