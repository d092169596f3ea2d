"""A proposal to change a plan, as it is shown to staff, and, less of it, to its patient."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from rest_framework import serializers

from backend.api.base import moment
from backend.care.models import Progression
from protocols.engine.definition import Protocol, Source

RESULTS = ("met", "not_met", "unknown")
OUTCOMES = ("approve", "decline")


def with_phases(rows: QuerySet[Progression]) -> QuerySet[Progression]:
    """Everything that is shown of proposals, in one query."""
    return rows.select_related(
        "assignment__protocol_version", "to_protocol_version", "patient"
    ).defer("inputs", "assignment__standing", "assignment__carried")


def tag_of(row: Progression) -> str:
    """`"pr3"`: what is shown of a proposal changes with its version only."""
    return f'"pr{row.version}"'


def own_progression_shown(row: Progression) -> dict[str, object]:
    """What a patient sees: what was found, and what became of it. Never what staff note down."""
    shown = _place(row)
    shown["criteria"] = [
        {"id": one["id"], "text": one["text"], "result": one["result"]} for one in row.criteria
    ]
    return shown


def progression_shown(row: Progression) -> dict[str, object]:
    protocol_version = row.assignment.protocol_version
    shown = _place(row) | {
        "patient_id": str(row.patient_id),
        "assignment_version": row.assignment_version,
        "rule": row.rule,
        "failed_gates": row.failed_gates,
        "waiting_since": moment(row.waiting_since),
        "window": {"from": row.window_from.isoformat(), "to": row.on.isoformat()},
        "engine": {
            "version": row.engine_version,
            "protocol_id": str(protocol_version.protocol_id),
            "protocol_version": protocol_version.version,
        },
        "inputs_sha256": row.inputs_sha256,
        "criteria": row.criteria,
        "reasons": row.reasons,
        "data_quality": _quality(row.data_quality),
        "citations": _citations(row, protocol_version.definition),
        "decision": _decision(row),
    }
    if row.proposed_by_id is not None:
        shown["proposed_by"] = str(row.proposed_by_id)
    if row.proposal_note:
        shown["proposal_note"] = row.proposal_note
    return shown


def _place(row: Progression) -> dict[str, Any]:
    protocol = row.assignment.protocol_version.definition
    shown: dict[str, Any] = {
        "id": str(row.pk),
        "version": row.version,
        "assignment_id": str(row.assignment_id),
        "recommendation": row.recommendation,
        "from_phase": _phase(protocol, row.from_phase_id),
        "status": row.status,
        "computed_at": moment(row.computed_at),
        "valid_until": moment(row.valid_until),
    }
    if row.to_phase_id:
        shown["to_phase"] = _phase(protocol, row.to_phase_id)
    if row.to_protocol_version is not None:
        shown["to_protocol_version"] = row.to_protocol_version.version
    if row.effective_date is not None:
        shown["effective_date"] = row.effective_date.isoformat()
    if row.note_to_patient:
        shown["note_to_patient"] = row.note_to_patient
    return shown


def _phase(protocol: Protocol, phase_id: str) -> dict[str, object]:
    phase = protocol.phase(phase_id)
    return {"id": phase.id, "number": phase.number, "title": phase.title}


def _quality(found: Mapping[str, Any]) -> dict[str, object]:
    shown = dict(found)
    if "last_received_at" in shown:
        shown["last_received_at"] = moment(datetime.fromisoformat(shown["last_received_at"]))
    return shown


def _citations(row: Progression, protocol: Protocol) -> list[dict[str, object]]:
    """The sources that the criteria name, as the protocol gives them."""
    wanted = {key for one in row.criteria for key in one["citation_ids"]}
    return [_citation(one) for one in protocol.sources if one.id in wanted]


def _citation(source: Source) -> dict[str, object]:
    shown: dict[str, object] = {"id": source.id, "text": source.text, "supports": source.read}
    if source.where.startswith("http"):
        shown["url"] = source.where
    return shown


def _decision(row: Progression) -> dict[str, object] | None:
    if row.decided_at is None:
        return None
    is_declined = row.status == Progression.Status.DECLINED
    shown: dict[str, object] = {
        "by": str(row.decided_by_id),
        "at": moment(row.decided_at),
        "outcome": "decline" if is_declined else "approve",
        "assignment_version": row.decided_version,
    }
    if row.reason_code:
        shown["reason_code"] = row.reason_code
    if row.decision_note:
        shown["note"] = row.decision_note
    if row.changes:
        shown["changes"] = row.changes
    return shown


# --- As it is described -----------------------------------------------------------------------


class ProgressionPhaseOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    number = serializers.IntegerField()
    title = serializers.CharField()


class EvidenceOut(serializers.Serializer[Any]):
    """A record that a criterion rests on. A check-in is told under the day that it rates."""

    type = serializers.CharField()
    id = serializers.CharField()
    local_date = serializers.DateField(required=False)
    value = serializers.FloatField(required=False)


class CriterionOut(serializers.Serializer[Any]):
    """Compared as shown: rounding here and in the rules is the same. Patients read `id`, `text`
    and `result`."""

    id = serializers.CharField()
    text = serializers.CharField()
    result = serializers.ChoiceField(RESULTS)
    gate = serializers.CharField(required=False)
    required = serializers.BooleanField(required=False)  # type: ignore[assignment]  # api says so
    metric = serializers.CharField(required=False)
    operator = serializers.CharField(required=False)
    threshold = serializers.FloatField(required=False)
    unit = serializers.CharField(required=False)
    observed = serializers.FloatField(required=False)
    samples = serializers.IntegerField(required=False)
    samples_needed = serializers.IntegerField(required=False)
    finding = serializers.CharField(required=False)
    when = serializers.CharField(required=False)
    source = serializers.CharField(required=False)  # type: ignore[assignment]  # api says so
    evidence = EvidenceOut(many=True, required=False)
    citation_ids = serializers.ListField(child=serializers.CharField(), required=False)


class ReasonOut(serializers.Serializer[Any]):
    code = serializers.CharField()
    severity = serializers.CharField()
    text = serializers.CharField()
    effect = serializers.CharField(required=False)
    source = serializers.CharField(required=False)  # type: ignore[assignment]  # api says so
    params = serializers.DictField()


ProgressionWindowOut = type(
    "ProgressionWindowOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "from": serializers.DateField(),
        "to": serializers.DateField(),
    },
)


class EngineOut(serializers.Serializer[Any]):
    version = serializers.CharField()
    protocol_id = serializers.UUIDField()
    protocol_version = serializers.CharField()


class DataQualityOut(serializers.Serializer[Any]):
    sessions = serializers.IntegerField()
    late_sessions = serializers.IntegerField()
    clock_suspect = serializers.IntegerField()
    days_not_heard = serializers.IntegerField()
    last_received_at = serializers.DateTimeField(required=False)


class ProgressionCitationOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    text = serializers.CharField()
    url = serializers.CharField(required=False)
    supports = serializers.CharField()


class DecisionOut(serializers.Serializer[Any]):
    by = serializers.UUIDField()
    at = serializers.DateTimeField()
    outcome = serializers.ChoiceField(OUTCOMES)
    reason_code = serializers.ChoiceField(Progression.ReasonCode.values, required=False)
    note = serializers.CharField(required=False)
    changes = serializers.ListField(child=serializers.DictField(), required=False)
    assignment_version = serializers.IntegerField()


class ProgressionOut(serializers.Serializer[Any]):
    """A proposal with all it rests on. `decision` is null as long as nobody has decided.

    Patients read what is required here, `to_phase`, `to_protocol_version`, `effective_date` and
    `note_to_patient`, and nothing else.
    """

    id = serializers.UUIDField()
    version = serializers.IntegerField()
    assignment_id = serializers.UUIDField()
    recommendation = serializers.ChoiceField(Progression.Recommendation.values)
    from_phase = ProgressionPhaseOut()
    to_phase = ProgressionPhaseOut(required=False)
    to_protocol_version = serializers.CharField(required=False)
    status = serializers.ChoiceField(Progression.Status.values)
    computed_at = serializers.DateTimeField()
    valid_until = serializers.DateTimeField()
    effective_date = serializers.DateField(required=False)
    note_to_patient = serializers.CharField(required=False)
    criteria = CriterionOut(many=True)
    patient_id = serializers.UUIDField(required=False)
    assignment_version = serializers.IntegerField(required=False)
    rule = serializers.CharField(required=False)
    failed_gates = serializers.ListField(child=serializers.CharField(), required=False)
    waiting_since = serializers.DateTimeField(required=False)
    window = ProgressionWindowOut(required=False)
    engine = EngineOut(required=False)
    inputs_sha256 = serializers.CharField(required=False)
    reasons = ReasonOut(many=True, required=False)
    data_quality = DataQualityOut(required=False)
    citations = ProgressionCitationOut(many=True, required=False)
    proposed_by = serializers.UUIDField(required=False)
    proposal_note = serializers.CharField(required=False)
    decision = DecisionOut(required=False, allow_null=True)
