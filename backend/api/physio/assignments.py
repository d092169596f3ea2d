"""Plans: assign and preview, read, tailor, pause, resume, end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django.db import transaction
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.assignments_shown import DAYS, AssignmentOut, assignment_shown
from backend.api.base import (
    Role,
    StaffEndpoint,
    as_json,
    etag_of,
    match,
    path_id,
    tagged,
)
from backend.api.contract import operation, query
from backend.api.fields import Day, In, Many, Number, Refused, Text, Uid, Whole, Word
from backend.api.physio import AboutPatient
from backend.api.plan_shown import PlanOut, plan_shown
from backend.care import prescribing
from backend.care.models import Assignment
from backend.care.prescribing import (
    AssignmentEnded,
    AssignmentGateFailed,
    ChangeScheduled,
    OverlappingAssignment,
    Wish,
    assignment_of,
)
from backend.care.selectors import plan_for, today_of
from backend.clinics.actions import lock
from backend.clinics.models import Episode, Patient
from backend.problems import (
    MalformedRequest,
    NotFound,
    StateConflict,
    ValidationFailed,
)
from protocols.models import ProtocolVersion

PREVIEW_DAYS = 14
NUMBER = {"type": "integer", "minimum": 0, "maximum": 999_999}
OF_ROW = {"op", "key", "prescription_id"}
DOSAGE = {"dose", "schedule", "during_max"}
TAKES = {
    "set_dose": OF_ROW | {"dose"},
    "set_days": OF_ROW | {"schedule"},
    "set_limit": OF_ROW | {"during_max"},
    "remove": OF_ROW,
    "swap": OF_ROW | DOSAGE | {"exercise", "to"},
    "add": DOSAGE | {"op", "exercise", "phase_id"},
    "add by key": DOSAGE | {"op", "key"},
}
OPS = ("set_dose", "add", "remove", "swap", "set_days", "set_limit")
NEEDS_ROW = {"set_dose", "remove", "swap", "set_days", "set_limit"}
NEEDS = {
    "set_dose": ("dose",),
    "add": ("exercise",),
    "swap": ("exercise",),
    "set_days": ("schedule",),
    "set_limit": ("during_max",),
}


def _in_order(attrs: dict[str, Any], low: str, high: str) -> dict[str, Any]:
    if high in attrs and attrs[low] > attrs[high]:
        raise serializers.ValidationError({high: [f"Not below {low}."]}, code="invalid")
    return attrs


class RepsIn(In):
    min = Whole(1, 200)
    max = Whole(1, 200)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return _in_order(attrs, "min", "max")


class EffortIn(In):
    scale = Word(("cr10",))
    min = Number(0, 10, per_unit=2)
    max = Number(0, 10, per_unit=2)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        return _in_order(attrs, "min", "max")


class DoseIn(In):
    """Exactly one of `reps`, `duration_s`, `distance_m`; with `hold_s`, `reps` counts holds."""

    sets = Whole(1, 20)
    reps = RepsIn(required=False)
    hold_s = Whole(1, 600, required=False)
    duration_s = Whole(1, 21_600, required=False)
    distance_m = Whole(1, 50_000, required=False)
    load_kg = Number(0, 500, required=False)
    load_text = Text(80, required=False)
    effort = EffortIn(required=False)
    tempo = Text(40, required=False)
    rest_s = Whole(0, 7_200, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("reps", "duration_s", "distance_m") if name in attrs]
        if not given or ("hold_s" in attrs and "reps" not in attrs):
            raise serializers.ValidationError(
                {"reps": ["How much, or how often."]}, code="required"
            )
        if len(given) > 1:
            raise serializers.ValidationError({given[1]: [f"Or {given[0]}."]}, code="invalid")
        return attrs


class ExerciseScheduleIn(In):
    kind = Word(("daily", "weekly", "every_n_days", "once"))
    per_week = Whole(1, 7, required=False)
    every_n_days = Whole(1, 28, required=False)
    sessions_per_day = Whole(1, 6, default=1)
    from_day = Whole(1, 366, default=1)
    to_day = Whole(1, 366, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        need = {"weekly": "per_week", "every_n_days": "every_n_days"}.get(attrs["kind"])
        if need and need not in attrs:
            raise serializers.ValidationError({need: ["Needed for this kind."]}, code="required")
        for name in {"per_week", "every_n_days"} & attrs.keys() - {need}:
            raise serializers.ValidationError({name: ["Not for this kind."]}, code="invalid")
        return _in_order(attrs, "from_day", "to_day")


class TailoringIn(In):
    """One operation of tailoring. `key` names a row of the protocol: "phase-1/sg-nordic".

    `add` switches on a row by its `key`, or brings an `exercise`; it and `swap` may say a dose,
    days and a limit. `swap` names an `exercise`, or goes one step `to` an easier or harder one, as
    the catalogue has it. All others take what they are named after, and `remove` nothing.
    """

    op = Word(OPS)
    key = Text(120, required=False)
    prescription_id = Uid(required=False)
    phase_id = Text(40, required=False)
    exercise = Text(80, required=False)
    to = Word(("easier", "harder"), required=False)
    dose = DoseIn(required=False)
    schedule = ExerciseScheduleIn(required=False)
    during_max = Whole(0, 10, required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        op = "add by key" if attrs["op"] == "add" and "key" in attrs else attrs["op"]
        needed = {*NEEDS.get(op, ())}
        if op == "swap" and "to" in attrs:
            needed.discard("exercise")
        if op in NEEDS_ROW and not {"key", "prescription_id"} & attrs.keys():
            needed.add("key")
        errors = {
            name: ErrorDetail(f"Needed for {op}.", "required") for name in needed - attrs.keys()
        } | {
            name: ErrorDetail(f"Not for {op}.", Refused("unknown-field", {}))
            for name in attrs.keys() - TAKES[op]
        }
        if errors:
            raise serializers.ValidationError({name: errors[name] for name in sorted(errors)})
        if {"exercise", "to"} <= attrs.keys():
            raise serializers.ValidationError({"to": ["Or exercise."]}, code="invalid")
        return attrs


class AssignmentScheduleIn(In):
    """When the patient trains: parts of the day in order, and preferred weekdays."""

    parts_of_day = Many(Word(("morning", "midday", "evening", "any")), 6, required=False)
    days = Many(Word(DAYS), 7, required=False)


class AssignmentIn(In):
    """`phase_started_on`: since when the patient is in the phase, if that is before the start."""

    protocol_id = Uid()
    protocol_version = Text(20)
    episode_id = Uid()
    start_date = Day()
    start_phase_id = Text(40, required=False)
    phase_started_on = Day(required=False)
    side = Word(("left", "right", "both", "none"), required=False)
    schedule = AssignmentScheduleIn(required=False)
    tailoring = Many(TailoringIn(), 60, required=False)


class TailorIn(In):
    """What changes from a date on: today or later, and not before a change scheduled already."""

    # Unlike other `PATCH`es it leaves nothing out, and the description has to say so.
    partial: bool = property(lambda _: False, lambda _, __: None)  # type: ignore[assignment]
    effective_date = Day()
    reason = Text(400)
    changes = Many(TailoringIn(), 60)

    def validate_changes(self, sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if not sent:
            raise serializers.ValidationError(["At least one."], code="required")
        return sent


class GateOut(serializers.Serializer[Any]):
    id = serializers.CharField()
    passed = serializers.BooleanField()
    text = serializers.CharField()
    missing = serializers.CharField(required=False)


class PreviewOut(PlanOut):  # type: ignore[misc]
    """The first 14 days of the plan this would be, and which gates stand in its way."""

    gates = GateOut(many=True)
    warnings = serializers.ListField(child=serializers.CharField())


class OfPatient(AboutPatient):
    roles = frozenset({Role.PHYSIOTHERAPIST})

    def wish(self, sent: object, patient: Patient) -> Wish:
        said = AssignmentIn.checked(sent)
        version = (
            ProtocolVersion.objects.visible_to(self.person)
            .filter(protocol_id=said["protocol_id"], version=said["protocol_version"])
            .first()
        )
        episode = (
            Episode.objects.visible_to(self.person)
            .filter(pk=said["episode_id"], patient=patient)
            .first()
        )
        if version is None or version.status != "published":
            raise ValidationFailed.at("#/protocol_id", "unknown-reference", "No such protocol.")
        if episode is None:
            raise ValidationFailed.at("#/episode_id", "unknown-reference", "No such episode.")
        schedule = said.get("schedule", {})
        return Wish(
            protocol_version=version,
            episode=episode,
            start_date=said["start_date"],
            side=said.get("side", ""),
            start_phase_id=said.get("start_phase_id", ""),
            phase_started_on=said.get("phase_started_on"),
            parts_of_day=tuple(schedule.get("parts_of_day", ())),
            training_days=tuple(sorted({DAYS.index(day) for day in schedule.get("days", ())})),
            changes=[plain_change(change) for change in said.get("tailoring", ())],
        )


def plain_change(change: dict[str, Any]) -> dict[str, Any]:
    return {k: str(v) if isinstance(v, UUID) else v for k, v in change.items()}


class Assignments(OfPatient):
    @operation(
        "assignment_create", takes=AssignmentIn, gives={201: AssignmentOut}, key=True,
        refuses=[AssignmentGateFailed, OverlappingAssignment, StateConflict], tag="plans",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        wish = self.wish(request.data, patient)
        made = prescribing.assign(patient=patient, wish=wish, by=self.person, now=self.now)
        self.object_id = made.pk
        shown = assignment_shown(made, today_of(patient, self.now), to_staff=True)
        return Response(shown, 201, headers={"ETag": etag_of(as_json(shown))})


class Preview(OfPatient):
    @operation(
        "assignment_preview", takes=AssignmentIn, gives={200: PreviewOut},
        refuses=[StateConflict], tag="plans",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        wish = self.wish(request.data, patient)
        course = prescribing.draft(patient=patient, wish=wish, by=self.person, now=self.now)
        plan = plan_for(patient, [course], first=wish.start_date, days=PREVIEW_DAYS, now=self.now)
        gates = prescribing.gates_of(
            patient, wish.episode, course.protocol, start=wish.start_date, now=self.now
        )
        return Response(
            plan_shown(plan)
            | {
                "gates": [gate.as_json() for gate in gates],
                "warnings": prescribing.warnings_of(course),
            }
        )


class OneAssignment(StaffEndpoint):
    """Found through what the person may see; the audit names the patient."""

    is_about_patients = True

    def found(self, id: str) -> Assignment:
        row = assignment_of(self.person, path_id(id))
        if row is None:
            raise NotFound
        if self.person.works_in_clinic:
            self.concerns(row.patient, row.pk)
        return row

    def named(self, id: UUID) -> Assignment | None:
        return Assignment.objects.visible_to(self.person).filter(pk=id).first()

    def shown(self, row: Assignment, number: int | None = None) -> dict[str, object]:
        today, to_staff = today_of(row.patient, self.now), self.person.works_in_clinic
        return assignment_shown(row, today, number, to_staff=to_staff)

    def tag(self, row: Assignment) -> str:
        return etag_of(as_json(self.shown(row)))


class Changing(OneAssignment):
    """A change of what a patient is told to do."""

    takes: ClassVar[type[In]]

    def step(
        self, request: Request, id: str, taken: Callable[[Assignment, dict[str, Any]], Assignment]
    ) -> Response:
        patient = self.found(id).patient
        said = self.takes.checked(request.data)
        with transaction.atomic():
            lock(patient)  # what is read from here on is of one piece, and stays until we are done
            row = self.found(id)
            match(request, self.tag(row), required=True)
            row = taken(row, said)
        return Response(self.shown(row), headers={"ETag": self.tag(row)})


class AssignmentOne(Changing):
    roles = frozenset({Role.PHYSIOTHERAPIST, Role.CLINIC_ADMIN, Role.PATIENT})
    takes = TailorIn

    @operation(
        "assignment_get", gives={200: AssignmentOut, 304: None},
        params=[query("version", "With the prescriptions that held at this version.", NUMBER)],
        tag="plans",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        row = self.found(id)
        return tagged(request, self.shown(row, _version_asked(request)))

    @operation(
        "assignment_tailor", takes=TailorIn, gives={200: AssignmentOut}, match="must",
        refuses=[AssignmentEnded, ChangeScheduled], tag="plans",
    )  # fmt: skip
    def patch(self, request: Request, id: str) -> Response:
        """Makes a new version, in force from `effective_date` on; those before stay readable."""
        self.demand(Role.PHYSIOTHERAPIST)
        return self.step(
            request,
            id,
            lambda row, said: prescribing.tailor(
                assignment=row,
                first=said["effective_date"],
                reason=said["reason"],
                changes=[plain_change(change) for change in said["changes"]],
                by=self.person,
                now=self.now,
            ),
        )


class Step(Changing):
    """A change of whether the plan runs."""

    roles = frozenset({Role.PHYSIOTHERAPIST})


PauseIn = type(
    "PauseIn",
    (In,),
    {
        "__module__": __name__,
        "from": Day(),
        "until": Day(required=False),
        "reason": Text(400),
    },
)
ResumeIn = type(
    "ResumeIn",
    (In,),
    {"__module__": __name__, "from": Day(), "reason": Text(400, required=False, default="")},
)
EndIn = type(
    "EndIn",
    (In,),
    {
        "__module__": __name__,
        "from": Day(),
        "reason": Text(400),
        "status": Word(("completed", "stopped"), required=False, default="stopped"),
    },
)


class Pause(Step):
    takes = PauseIn

    @operation(
        "assignment_pause", takes=PauseIn, gives={200: AssignmentOut}, key=True, match="must",
        refuses=[AssignmentEnded, StateConflict], tag="plans",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        return self.step(
            request,
            id,
            lambda row, said: prescribing.pause(
                assignment=row,
                first=said["from"],
                last=said.get("until"),
                reason=said["reason"],
                by=self.person,
                now=self.now,
            ),
        )


class Resume(Step):
    takes = ResumeIn

    @operation(
        "assignment_resume", takes=ResumeIn, gives={200: AssignmentOut}, key=True, match="must",
        refuses=[AssignmentEnded, StateConflict], tag="plans",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        return self.step(
            request,
            id,
            lambda row, said: prescribing.resume(
                assignment=row,
                first=said["from"],
                reason=said["reason"],
                by=self.person,
                now=self.now,
            ),
        )


class End(Step):
    takes = EndIn

    @operation(
        "assignment_end", takes=EndIn, gives={200: AssignmentOut}, key=True, match="must",
        refuses=[AssignmentEnded, StateConflict], tag="plans",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """`from` is the last day of the plan: today or yesterday, and no day before a log."""
        return self.step(
            request,
            id,
            lambda row, said: prescribing.end(
                assignment=row,
                last=said["from"],
                kind=Assignment.EndKind(said["status"]),
                reason=said["reason"],
                by=self.person,
                now=self.now,
            ),
        )


def _version_asked(request: Request) -> int | None:
    sent = request.query_params.get("version")
    if sent is None:
        return None
    if not (sent.isascii() and sent.isdigit() and len(sent) < 7):
        raise MalformedRequest("version is a whole number.")
    return int(sent)
