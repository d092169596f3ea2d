"""Why a plan changed: the verdicts on an assignment's dates, for staff and for the patient."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import Role, tagged
from backend.api.contract import operation, query
from backend.api.fields import Day, In
from backend.api.paging import filters_of
from backend.api.physio.assignments import OneAssignment
from backend.api.progressions_shown import (
    CriterionOut,
    EngineOut,
    EvidenceOut,
    ProgressionCitationOut,
    ProgressionPhaseOut,
    ReasonOut,
)
from backend.care.models import Assignment, Progression
from backend.care.selectors import course_of, today_of
from backend.problems import MalformedRequest, NotFound
from backend.reports.decisions import Told, decisions_shown, explanation_shown

USUAL_DAYS, MOST_DAYS = 28, 366
COLOURS = ("STOP", "SEVERE", "RED", "AMBER", "GREEN", "-")
LEVELS = ("emergency", "urgent", "routine", "patient")

# `from` is a keyword, hence no class statement.
DecisionFilters = type(
    "DecisionFilters",
    (In,),
    {"__module__": __name__, "from": Day(required=False), "to": Day(required=False)},
)
DateSpanOut = type(
    "DateSpanOut",
    (serializers.Serializer,),
    {"__module__": __name__, "from": serializers.DateField(), "to": serializers.DateField()},
)


class DecisionAlertOut(serializers.Serializer[Any]):
    level = serializers.ChoiceField(LEVELS)
    code = serializers.CharField()
    text = serializers.CharField()


class DayDecisionOut(serializers.Serializer[Any]):
    """The verdict on one date. While the date `is_open` it may still change.

    `condition` and `decision` are the row of the rules that decided; `failed_gates` name what kept
    the patient from the next phase.
    """

    date = serializers.DateField()
    is_open = serializers.BooleanField()
    phase = ProgressionPhaseOut()
    colour = serializers.ChoiceField(COLOURS)
    rule = serializers.CharField()
    condition = serializers.CharField()
    decision = serializers.CharField()
    outcome = serializers.ChoiceField(Progression.Recommendation.values)
    planned_sets = serializers.IntegerField()
    done_sets = serializers.IntegerField()
    excused = serializers.BooleanField()
    stopped = serializers.BooleanField()
    half = serializers.BooleanField()
    eased = serializers.ListField(child=serializers.UUIDField())
    alerts = DecisionAlertOut(many=True)
    failed_gates = serializers.ListField(child=serializers.CharField())


DayDecisionsOut = type(
    "DayDecisionsOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": "The verdicts of these dates, oldest first.",
        "assignment_id": serializers.UUIDField(),
        "from": serializers.DateField(),
        "to": serializers.DateField(),
        "items": DayDecisionOut(many=True),
    },
)


class DecisionSourceOut(serializers.Serializer[Any]):
    of = serializers.CharField()
    text = serializers.CharField()
    citation_ids = serializers.ListField(child=serializers.CharField())


class DecisionLimitsOut(serializers.Serializer[Any]):
    """Of pain, 0 to 10, in this protocol."""

    progress = serializers.IntegerField()
    red = serializers.IntegerField()
    red_rise = serializers.IntegerField()
    severe = serializers.IntegerField()


class DecisionFactsOut(serializers.Serializer[Any]):
    """What was known of the date when it closed, and the records that say so."""

    planned_sets = serializers.IntegerField()
    day = serializers.DictField()
    evidence = EvidenceOut(many=True)
    events = serializers.ListField(child=serializers.DictField())


class DecisionAfterOut(serializers.Serializer[Any]):
    """What the next date inherits."""

    phase_id = serializers.CharField()
    phase_started_on = serializers.DateField()
    half_dose_days_left = serializers.IntegerField()
    stopped_for = serializers.ListField(child=serializers.CharField())
    ended = serializers.BooleanField()


class ExplanationOut(DayDecisionOut):
    """One verdict in full. `inputs_sha256` is of all it rests on: the same facts and engine give it
    again, and a proposal of this date carries the same one."""

    assignment_id = serializers.UUIDField()
    patient_id = serializers.UUIDField()
    window = DateSpanOut()
    limits = DecisionLimitsOut()
    criteria = CriterionOut(many=True)
    reasons = ReasonOut(many=True)
    facts = DecisionFactsOut()
    after = DecisionAfterOut()
    sources = DecisionSourceOut(many=True)
    citations = ProgressionCitationOut(many=True)
    engine = EngineOut()
    inputs_sha256 = serializers.CharField()


class OfAssignment(OneAssignment):
    roles = frozenset({Role.PHYSIOTHERAPIST, Role.CLINIC_ADMIN, Role.PATIENT})

    def told(self, row: Assignment) -> Told:
        return Told.of(course_of(row), row.patient, self.now)

    @property
    def to_patient(self) -> bool:
        return not self.person.works_in_clinic


class Decisions(OfAssignment):
    @operation(
        "decision_list", gives={200: DayDecisionsOut, 304: None},
        params=[
            query("from", "First date; 28 days up to `to` when absent.", OpenApiTypes.DATE),
            query("to", "Last date; today when absent. At most 366 days.", OpenApiTypes.DATE),
        ],
        tag="plans",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        row = self.found(id)
        asked = filters_of(request, DecisionFilters)
        last = asked.get("to") or today_of(row.patient, self.now)
        first = asked.get("from") or last - timedelta(days=USUAL_DAYS - 1)
        if not first <= last <= first + timedelta(days=MOST_DAYS - 1):
            raise MalformedRequest(f"`from` and `to` name 1 to {MOST_DAYS} days.")
        items = decisions_shown(self.told(row), first, last, to_patient=self.to_patient)
        answer = {
            "assignment_id": str(row.pk),
            "from": first.isoformat(),
            "to": last.isoformat(),
            "items": items,
        }
        return tagged(request, answer)


class DecisionOne(OfAssignment):
    @operation(
        "decision_get", gives={200: ExplanationOut, 304: None},
        params=[OpenApiParameter("date", OpenApiTypes.DATE, OpenApiParameter.PATH)],
        tag="plans",
    )  # fmt: skip
    def get(self, request: Request, id: str, date: str) -> Response:
        told = self.told(self.found(id))
        judged = told.on(_date(date))
        if judged is None:
            raise NotFound
        return tagged(request, explanation_shown(told, judged, to_patient=self.to_patient))


def _date(text: str) -> date:
    """A date out of the address. What is none was never judged."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise NotFound from None
    if found.isoformat() != text:  # Python reads other spellings, too
        raise NotFound
    return found
