"""Proposals: the queue of what waits, one with its reasons, asking for one, and deciding."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db import transaction
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import (
    Role,
    StaffEndpoint,
    is_current,
    match,
    path_id,
    unchanged,
)
from backend.api.contract import PAGE, operation, query
from backend.api.fields import Day, In, Many, Text, Uid, Word
from backend.api.paging import CursorInvalid, filters_of, page
from backend.api.physio.assignments import OneAssignment, TailoringIn, plain_change
from backend.api.progressions_shown import (
    OUTCOMES,
    ProgressionOut,
    own_progression_shown,
    progression_shown,
    tag_of,
    with_phases,
)
from backend.api.schemas import page_of
from backend.care import reviewing
from backend.care.models import Assignment, Progression
from backend.care.prescribing import AssignmentEnded, AssignmentGateFailed
from backend.care.reviewing import AlreadyDecided, Decision, ProgressionOpen, ReasonRequired
from backend.clinics.actions import lock
from backend.problems import NotFound, StateConflict, ValidationFailed
from protocols.models import ProtocolVersion

STATUSES = Progression.Status.values
OPEN = Progression.Status.PROPOSED.value


class EvaluateIn(In):
    """Without `to_phase_id` the rules are run; with it, a phase is proposed by hand."""

    to_phase_id = Text(40, required=False)
    note = Text(1000, required=False, allow_blank=True, default="")


class NewerVersionIn(In):
    protocol_version = Text(20)
    note = Text(1000, required=False, allow_blank=True, default="")


class DecisionIn(In):
    """`reason_code` and `note` are needed to decline what is recommended, and to approve a harder
    phase that is not."""

    outcome = Word(OUTCOMES)
    effective_date = Day(required=False)
    changes = Many(TailoringIn(), 60, required=False)
    note_to_patient = Text(1000, required=False, allow_blank=True, default="")
    note = Text(1000, required=False, allow_blank=True, default="")
    reason_code = Word(Progression.ReasonCode.values, required=False)


class ProgressionFilters(In):
    status = Word(STATUSES, required=False, default=OPEN)
    patient_id = Uid(required=False)


class Progressions(StaffEndpoint):
    roles = frozenset({Role.PHYSIOTHERAPIST})
    is_about_patients = True

    @operation(
        "progression_list", gives={200: page_of(ProgressionOut)},
        params=[
            query("status", "Open ones when absent.", {"type": "string", "enum": STATUSES}),
            query("patient_id", "Of one patient.", {"type": "string", "format": "uuid"}),
            *PAGE,
        ],
        refuses=[CursorInvalid], tag="progressions",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The longest waiting first."""
        asked = filters_of(request, ProgressionFilters)
        rows = with_phases(Progression.objects.visible_to(self.person)).filter(**asked)
        answer = page(
            request, rows, order=("waiting_since", "id"), shown=progression_shown, filters=asked
        )
        listed = [item["patient_id"] for item in answer.data["items"]]
        self.listed = list(dict.fromkeys(listed))
        return answer


class OneProgression(StaffEndpoint):
    """Found through what the person may see; the audit names the patient."""

    is_about_patients = True

    def found(self, id: str) -> Progression:
        rows = with_phases(Progression.objects.visible_to(self.person))
        row = rows.filter(pk=path_id(id)).first()
        if row is None:
            raise NotFound
        if self.person.works_in_clinic:
            self.concerns(row.patient, row.pk)
        return row

    def named(self, id: UUID) -> Progression | None:
        return Progression.objects.visible_to(self.person).filter(pk=id).first()


class ProgressionOne(OneProgression):
    roles = frozenset({Role.PHYSIOTHERAPIST, Role.PATIENT})

    @operation(
        "progression_get", gives={200: ProgressionOut, 304: None}, tag="progressions"
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        row = self.found(id)
        if is_current(request, tag_of(row)):
            return unchanged(tag_of(row))
        is_staff = self.person.works_in_clinic
        shown = progression_shown(row) if is_staff else own_progression_shown(row)
        return Response(shown, headers={"ETag": tag_of(row)})


class Decide(OneProgression):
    roles = frozenset({Role.PHYSIOTHERAPIST})

    @operation(
        "progression_decide", takes=DecisionIn, gives={200: ProgressionOut}, key=True, match="must",
        refuses=[
            AlreadyDecided, AssignmentEnded, AssignmentGateFailed, ReasonRequired, StateConflict,
        ],
        tag="progressions",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """What became of it in the meantime is told before whether the `If-Match` is the newest."""
        patient = self.found(id).patient
        said = DecisionIn.checked(request.data)
        with transaction.atomic():
            lock(patient)  # what is read from here on is of one piece, and stays until we are done
            row = self.found(id)
            if "If-Match" in request.headers:
                reviewing.check_open(row, row.assignment, self.now)
            match(request, tag_of(row), required=True)
            row = reviewing.decide(
                progression=row,
                decision=Decision(
                    is_approval=said["outcome"] == "approve",
                    effective_date=said.get("effective_date"),
                    changes=[plain_change(one) for one in said.get("changes", ())],
                    note_to_patient=said["note_to_patient"],
                    note=said["note"],
                    reason_code=said.get("reason_code", ""),
                ),
                by=self.person,
                now=self.now,
            )
        return _answer(self.found(str(row.pk)), 200)


class Asking(OneAssignment):
    """Of an assignment: what the rules say now, or what a person would like."""

    roles = frozenset({Role.PHYSIOTHERAPIST})

    def answer(self, row: Progression) -> Response:
        self.object_id = row.pk
        rows = with_phases(Progression.objects.visible_to(self.person))
        return _answer(rows.get(pk=row.pk), 201)


class Evaluate(Asking):
    @operation(
        "progression_evaluate", takes=EvaluateIn, gives={201: ProgressionOut}, key=True,
        refuses=[AssignmentEnded, ProgressionOpen, StateConflict], tag="progressions",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        row = self.found(id)
        said = EvaluateIn.checked(request.data)
        made = reviewing.evaluate(
            assignment=row,
            to_phase_id=said.get("to_phase_id", ""),
            note=said["note"],
            by=self.person,
            now=self.now,
        )
        return self.answer(made)


class NewerVersion(Asking):
    @operation(
        "progression_propose_version", takes=NewerVersionIn, gives={201: ProgressionOut}, key=True,
        refuses=[AssignmentEnded, ProgressionOpen, StateConflict], tag="progressions",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """To go on by a newer version of the same protocol, in the same phase."""
        row = self.found(id)
        said = NewerVersionIn.checked(request.data)
        made = reviewing.propose_version(
            assignment=row,
            version=self._version(row, said["protocol_version"]),
            note=said["note"],
            by=self.person,
            now=self.now,
        )
        return self.answer(made)

    def _version(self, row: Assignment, version: str) -> ProtocolVersion:
        found = (
            ProtocolVersion.objects.visible_to(self.person)
            .filter(protocol_id=row.protocol_version.protocol_id, version=version)
            .first()
        )
        if found is None:
            raise ValidationFailed.at(
                "#/protocol_version", "unknown-reference", "No such version of this protocol."
            )
        return found


def _answer(row: Progression, status: int) -> Response:
    shown: dict[str, Any] = progression_shown(row)
    return Response(shown, status, headers={"ETag": tag_of(row)})
