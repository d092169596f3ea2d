"""What clinicians measure and record: the facts that gates and rules need."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import moment
from backend.api.contract import PAGE, operation, query
from backend.api.fields import In, Instant, Many, Number, Text, Word
from backend.api.paging import CursorInvalid, filters_of, page
from backend.api.physio.assignments import OfPatient
from backend.api.records import stop_sign_codes
from backend.api.schemas import page_of
from backend.care import assessing
from backend.care.models import Assessment

SIDES = ("left", "right", "both", "none")
LARGEST = 99_999


class AssessmentIn(In):
    """`findings` are stop signs answered with yes; each raises its flag at once."""

    code = Text(60)
    value = Number(-LARGEST, LARGEST)
    unit = Text(40)
    side = Word(SIDES, required=False, default="none")
    measured_at = Instant()
    findings = Many(Word(stop_sign_codes()), 40, required=False)
    note = Text(1000, required=False, allow_blank=True, default="")


class AssessmentFilters(In):
    code = Text(60, required=False, allow_blank=True)


class AssessmentOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    code = serializers.CharField()
    value = serializers.FloatField()
    unit = serializers.CharField()
    side = serializers.ChoiceField(SIDES)
    measured_at = serializers.DateTimeField()
    findings = serializers.ListField(child=serializers.CharField())
    note = serializers.CharField(allow_blank=True)
    recorded_by = serializers.UUIDField()
    recorded_at = serializers.DateTimeField()


def assessment_shown(row: Assessment) -> dict[str, object]:
    value = float(row.value)
    return {
        "id": str(row.pk),
        "code": row.code,
        "value": int(value) if value.is_integer() else value,
        "unit": row.unit,
        "side": row.side,
        "measured_at": moment(row.measured_at),
        "findings": row.findings,
        "note": row.note,
        "recorded_by": str(row.recorded_by_id),
        "recorded_at": moment(row.recorded_at),
    }


class Assessments(OfPatient):
    @operation(
        "assessment_create", takes=AssessmentIn, gives={201: AssessmentOut}, key=True,
        tag="patients",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        said = AssessmentIn.checked(request.data)
        row = assessing.record(
            patient=patient,
            code=said["code"],
            value=Decimal(str(said["value"])),
            unit=said["unit"],
            side=said["side"],
            measured_at=said["measured_at"],
            findings=said.get("findings", []),
            remark=said["note"],
            by=self.person,
            now=self.now,
        )
        self.object_id = row.pk
        return Response(assessment_shown(row), 201)

    @operation(
        "assessment_list", gives={200: page_of(AssessmentOut)},
        params=[query("code", "Only this metric.", {"type": "string", "maxLength": 60}), *PAGE],
        refuses=[CursorInvalid], tag="patients",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        asked = filters_of(request, AssessmentFilters)
        rows = Assessment.objects.visible_to(self.person).filter(patient=patient, **asked)
        return page(
            request, rows, order=("-measured_at", "-id"), shown=assessment_shown, filters=asked
        )
