"""What somebody must look at: the list of flags, acknowledging and resolving, clearing a stop."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Case, IntegerField, QuerySet, Value, When
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import Role, StaffEndpoint, moment, path_id
from backend.api.contract import PAGE, operation, query
from backend.api.fields import In, Text, Uid, Word, as_uuid, refuse
from backend.api.paging import CursorInvalid, filters_of, page
from backend.api.physio.assignments import OfPatient
from backend.api.schemas import page_of
from backend.care import clearing
from backend.care.clearing import NothingStands, StopStanding
from backend.care.flags import STOPPING
from backend.care.models import Flag
from backend.care.selectors import OPEN
from backend.problems import NotFound, StateConflict

STATUSES = Flag.Status.values
LEVELS = Flag.Level.values
ACTIONS = Flag.Action.values
MOST_PHASES = 20
# As they are worked off: the gravest first, of one level the oldest.
RANK = Case(
    *(When(level=level, then=Value(rank)) for rank, level in enumerate(LEVELS)),
    output_field=IntegerField(),
)


class AcknowledgeIn(In):
    note = Text(1000, required=False, allow_blank=True, default="")


class ResolveIn(AcknowledgeIn):
    action = Word(ACTIONS)


class PhaseByAssignment(serializers.DictField):
    """An object with ids of assignments as names."""

    child = Text(40)

    def to_internal_value(self, data: object) -> dict[UUID, str]:
        if not isinstance(data, dict):
            refuse("invalid-type", _("Must be an object."))
        if len(data) > MOST_PHASES:
            refuse("too-many", _("At most %(max)s.") % {"max": MOST_PHASES}, max=MOST_PHASES)
        found: dict[UUID, str] = {}
        errors: dict[str, Any] = {}
        for name, value in data.items():
            try:
                found[as_uuid(name)] = self.child.run_validation(value)
            except ValueError:
                errors[name] = [_("Not the id of an assignment.")]
            except ValidationError as error:
                errors[name] = error.detail
        if errors:
            raise ValidationError(errors, code="invalid")
        return found


class StopClearanceIn(In):
    """`resume_phase_ids`: the phase in which a plan resumes, by its assignment, where that is to be
    an earlier one than before the stop."""

    reason = Text(1000, trim_whitespace=True)
    action = Word(ACTIONS)
    resume_phase_ids = PhaseByAssignment(required=False)


class FlagFilters(In):
    status = Word(STATUSES, required=False)
    level = Word(LEVELS, required=False)
    patient_id = Uid(required=False)


class FlagSourceOut(serializers.Serializer[Any]):
    """What raised it, by the id that its own address has."""

    type = serializers.CharField()
    id = serializers.UUIDField()


class FlagOut(serializers.Serializer[Any]):
    """One open flag a patient and code: more of the same counts in `occurrences`.

    `respond_by` is when somebody has to have looked at it. `stops`: the patient's exercise is
    stopped until a clinician clears it.
    """

    id = serializers.UUIDField()
    patient_id = serializers.UUIDField()
    code = serializers.CharField()
    level = serializers.ChoiceField(LEVELS)
    status = serializers.ChoiceField(STATUSES)
    stops = serializers.BooleanField()
    occurrences = serializers.IntegerField()
    raised_at = serializers.DateTimeField()
    observed_on = serializers.DateField()
    respond_by = serializers.DateTimeField(required=False)
    is_overdue = serializers.BooleanField()
    source = FlagSourceOut()  # type: ignore[assignment]  # the contract calls it so
    params = serializers.DictField()
    acknowledged_by = serializers.UUIDField(required=False)
    acknowledged_at = serializers.DateTimeField(required=False)
    resolved_by = serializers.UUIDField(required=False)
    resolved_at = serializers.DateTimeField(required=False)
    action = serializers.ChoiceField(ACTIONS, required=False)
    note = serializers.CharField(required=False)


def flag_shown(flag: Flag, now: datetime) -> dict[str, object]:
    waits = flag.status == Flag.Status.OPEN and flag.respond_by is not None
    shown: dict[str, object] = {
        "id": str(flag.pk),
        "patient_id": str(flag.patient_id),
        "code": flag.code,
        "level": flag.level,
        "status": flag.status,
        "stops": flag.level in STOPPING and flag.status in OPEN,
        "occurrences": flag.occurrences,
        "raised_at": moment(flag.raised_at),
        "observed_on": flag.observed_on.isoformat(),
        "is_overdue": waits and flag.respond_by is not None and flag.respond_by <= now,
        "source": {"type": flag.source_type, "id": str(flag.source_id)},
        "params": flag.params,
    }
    for name in ("respond_by", "acknowledged_at", "resolved_at"):
        if (at := getattr(flag, name)) is not None:
            shown[name] = moment(at)
    for name in ("acknowledged_by", "resolved_by"):
        if (by := getattr(flag, f"{name}_id")) is not None:
            shown[name] = str(by)
    return shown | {name: told for name in ("action", "note") if (told := getattr(flag, name))}


class Flags(StaffEndpoint):
    is_about_patients = True
    roles = frozenset({Role.PHYSIOTHERAPIST})

    @operation(
        "flag_list", gives={200: page_of(FlagOut)},
        params=[
            query(
                "status", "Only these; when absent, those that are not resolved.",
                {"type": "string", "enum": STATUSES},
            ),
            query("level", "Only of this level.", {"type": "string", "enum": LEVELS}),
            query("patient_id", "Only of this patient.", OpenApiTypes.UUID),
            *PAGE,
        ],
        refuses=[CursorInvalid], tag="flags",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The gravest first; of one level, the oldest."""
        asked = filters_of(request, FlagFilters)
        rows = Flag.objects.visible_to(self.person).filter(**{"status__in": OPEN} | asked)
        if "status" in asked:
            rows = Flag.objects.visible_to(self.person).filter(**asked)
        answer = page(
            request,
            rows,
            order=("rank", "raised_at", "id"),
            by={"rank": RANK},
            shown=lambda flag: flag_shown(flag, self.now),
            filters=asked,
        )
        self.listed = list(dict.fromkeys(item["patient_id"] for item in answer.data["items"]))
        return answer


class OneFlag(StaffEndpoint):
    is_about_patients = True
    roles = frozenset({Role.PHYSIOTHERAPIST})

    def found(self, id: str) -> Flag:
        flag = self._rows().filter(pk=path_id(id)).first()
        if flag is None:
            raise NotFound
        self.concerns(flag.patient, flag.pk)
        return flag

    def named(self, id: UUID) -> Flag | None:
        return self._rows().filter(pk=id).first()

    def _rows(self) -> QuerySet[Flag]:
        return Flag.objects.visible_to(self.person).select_related("patient")


class Acknowledge(OneFlag):
    @operation(
        "flag_acknowledge", takes=AcknowledgeIn, gives={200: FlagOut}, key=True,
        refuses=[StateConflict], tag="flags",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """Again, by whomever, changes nothing but the note."""
        flag = self.found(id)
        said = AcknowledgeIn.checked(request.data)
        flag = clearing.acknowledge(flag=flag, remark=said["note"], by=self.person, now=self.now)
        return Response(flag_shown(flag, self.now))


class Resolve(OneFlag):
    @operation(
        "flag_resolve", takes=ResolveIn, gives={200: FlagOut}, key=True,
        refuses=[StateConflict, StopStanding], tag="flags",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        flag = self.found(id)
        said = ResolveIn.checked(request.data)
        flag = clearing.resolve(
            flag=flag,
            action=Flag.Action(said["action"]),
            remark=said["note"],
            by=self.person,
            now=self.now,
        )
        return Response(flag_shown(flag, self.now))


# --- Clearing a stop --------------------------------------------------------------------------


class ResumedOut(serializers.Serializer[Any]):
    assignment_id = serializers.UUIDField()
    phase_id = serializers.CharField()


class StopClearanceOut(serializers.Serializer[Any]):
    """A stop was ended. Plans come back on `resumes_on`, at first at half dose."""

    patient_id = serializers.UUIDField()
    cleared_on = serializers.DateField()
    resumes_on = serializers.DateField()
    cleared_by = serializers.UUIDField()
    cleared_at = serializers.DateTimeField()
    reason = serializers.CharField()
    assignments = ResumedOut(many=True)
    flags = FlagOut(many=True)


class StopClearances(OfPatient):
    @operation(
        "stop_clear", takes=StopClearanceIn, gives={201: StopClearanceOut}, key=True,
        refuses=[NothingStands], tag="flags",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """The one way in which exercises come back after a stop."""
        patient = self.treated(id)
        said = StopClearanceIn.checked(request.data)
        resume: Mapping[UUID, str] = said.get("resume_phase_ids", {})
        cleared = clearing.clear(
            patient=patient,
            reason=said["reason"],
            action=Flag.Action(said["action"]),
            resume=resume,
            by=self.person,
            now=self.now,
        )
        shown = {
            "patient_id": str(patient.pk),
            "cleared_on": cleared.on.isoformat(),
            "resumes_on": cleared.resumes_on.isoformat(),
            "cleared_by": str(self.person.pk),
            "cleared_at": moment(self.now),
            "reason": said["reason"],
            "assignments": [
                {"assignment_id": str(assignment_id), "phase_id": phase_id}
                for assignment_id, phase_id in cleared.phases.items()
            ],
            "flags": [flag_shown(flag, self.now) for flag in cleared.flags],
        }
        return Response(shown, 201)
