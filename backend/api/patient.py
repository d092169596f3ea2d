"""The app of a patient: plan, assignments, sessions, check-ins, progress."""

from __future__ import annotations

from datetime import date
from typing import Any, ClassVar

from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.assignments_shown import AssignmentOut, assignment_shown
from backend.api.base import (
    PatientEndpoint,
    as_json,
    etag_of,
    is_current,
    path_id,
    tagged,
    unchanged,
)
from backend.api.contract import PAGE, operation, query
from backend.api.fields import Day, In
from backend.api.paging import CursorInvalid, page
from backend.api.parsing import body_of
from backend.api.plan_shown import PlanOut, edition, plan_shown
from backend.api.records import (
    MOST_REVISIONS,
    CheckInIn,
    CheckInOut,
    CheckInResultOut,
    SessionIn,
    SessionOut,
    SessionResultOut,
    etag_of_record,
    record_shown,
    result_shown,
    single_report,
)
from backend.api.schemas import page_of
from backend.api.timeline_shown import SPAN as DATES
from backend.api.timeline_shown import TimelineOut, span_of, timeline_shown
from backend.care import recording
from backend.care.models import Assignment, CheckIn, Revision, Session
from backend.care.recording import (
    LogInFuture,
    LogOutsideAssignment,
    LogTooOld,
    Report,
    RevisionConflict,
    SlotMismatch,
    Status,
    UnknownPrescription,
    Upload,
)
from backend.care.selectors import closes_at, plan_of, today_of
from backend.problems import MalformedRequest, NotFound, ValidationFailed
from backend.reports.timeline import timeline_of
from protocols.engine.plan import days_from

MOST_DAYS = 28
USUAL_DAYS = 14
REFUSED_RECORDS = (
    RevisionConflict,
    LogInFuture,
    LogTooOld,
    LogOutsideAssignment,
    UnknownPrescription,
    SlotMismatch,
)
SPAN = (
    query("from", "First local date.", OpenApiTypes.DATE),
    query("to", "Last local date.", OpenApiTypes.DATE),
)


class Plan(PatientEndpoint):
    @operation(
        "plan_get",
        gives={200: PlanOut, 304: None},
        params=[
            query("from", "First day; today when absent.", OpenApiTypes.DATE),
            query(
                "days",
                "How many; 14 when absent.",
                {"type": "integer", "minimum": 1, "maximum": 28},
            ),
        ],
        tag="patient",
    )
    def get(self, request: Request) -> Response:
        patient = self.patient
        if self.person.clinic is not None:
            patient.clinic = self.person.clinic  # theirs, and read with the session already
        first = day_asked(request, "from") or today_of(patient, self.now)
        days = _whole_asked(request, "days", str(USUAL_DAYS), most=MOST_DAYS)
        # Everything the answer depends on, known before anything is looked up.
        closings = [closes_at(on, patient.zone) for on in days_from(first, days)]
        heard = patient.last_received_at
        closed = sum(at <= self.now for at in closings)
        silent = sum(heard is None or heard < at for at in closings)
        etag = etag_of(
            patient.pk, patient.plan_version, patient.change_seq, patient.timezone, first, days,
            closed, silent, request.LANGUAGE_CODE, patient.clinic.emergency_number,
            patient.clinic.urgent_contact, edition(),
        )  # fmt: skip
        if is_current(request, etag):
            return unchanged(etag)
        plan = plan_of(patient, first=first, days=days, now=self.now)
        return Response(plan_shown(plan), headers={"ETag": etag})


class Assignments(PatientEndpoint):
    @operation(
        "my_assignments", gives={200: page_of(AssignmentOut)}, params=PAGE,
        refuses=[CursorInvalid], tag="patient",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        rows = Assignment.objects.visible_to(self.person).with_record()
        today = today_of(self.patient, self.now)
        return page(
            request,
            rows,
            order=("-start_date", "-id"),
            shown=lambda row: assignment_shown(row, today),
            filters={},
        )


class Progress(PatientEndpoint):
    @operation("progress_get", gives={200: TimelineOut, 304: None}, params=DATES, tag="patient")
    def get(self, request: Request) -> Response:
        patient = self.patient
        first, last = span_of(request, today_of(patient, self.now))
        found = timeline_of(patient, first, last, now=self.now, to_patient=True)
        shown = timeline_shown(found)
        return tagged(request, shown, "progress", as_json(shown))


class RecordList(PatientEndpoint):
    """Own records, newest first."""

    model: ClassVar[type[Session] | type[CheckIn]]

    def listed(self, request: Request) -> Response:
        rows: QuerySet[Any] = self.model.objects.visible_to(self.person).standing()
        first, last = day_asked(request, "from"), day_asked(request, "to")
        if first:
            rows = rows.filter(local_date__gte=first)
        if last:
            rows = rows.filter(local_date__lte=last)
        return page(
            request,
            rows,
            order=("-local_date", "-phone_id"),
            shown=record_shown,
            filters={"from": first, "to": last},
        )


class Sessions(RecordList):
    model = Session

    @operation(
        "session_list", gives={200: page_of(SessionOut)}, params=[*SPAN, *PAGE],
        refuses=[CursorInvalid], tag="patient",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.listed(request)


class CheckIns(RecordList):
    model = CheckIn

    @operation(
        "check_in_list", gives={200: page_of(CheckInOut)}, params=[*SPAN, *PAGE],
        refuses=[CursorInvalid], tag="patient",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        return self.listed(request)


class RecordOne(PatientEndpoint):
    """One record by the id the phone chose."""

    kind: ClassVar[Revision.Kind]
    model: ClassVar[type[Session] | type[CheckIn]]

    def read(self, request: Request, id: str) -> Response:
        rows: QuerySet[Any] = self.model.objects.visible_to(self.person)
        row = rows.filter(phone_id=path_id(id)).first()
        if row is None:
            raise NotFound
        etag = etag_of_record(row)
        if is_current(request, etag):
            return unchanged(etag)
        return Response(record_shown(row), headers={"ETag": etag})

    def store(self, request: Request, id: str) -> Response:
        return self._answer(request, single_report(self.kind, path_id(id), body_of(request)))

    def withdraw(self, request: Request, id: str) -> Response:
        """A withdrawal may overtake the record itself, so it is taken for an unknown id as well."""
        revision = _whole_asked(request, "revision", "", most=MOST_REVISIONS)
        return self._answer(request, Report(self.kind, path_id(id), revision, None))

    def _answer(self, request: Request, report: Report) -> Response:
        receipt = recording.put(patient=self.patient, report=report, upload=Upload(self.now))
        if receipt.status is Status.CONFLICT:
            raise RevisionConflict(current=record_shown(receipt.row))
        code = 201 if receipt.status is Status.CREATED and report.content else 200
        headers = {"ETag": etag_of_record(receipt.row)}
        return Response(result_shown(receipt), code, headers=headers)


WITHDRAWN = [
    query(
        "revision",
        "The number of this revision, the withdrawal.",
        {"type": "integer", "minimum": 1, "maximum": MOST_REVISIONS},
        required=True,
    )
]


class SessionOne(RecordOne):
    kind, model = Revision.Kind.SESSION, Session

    @operation("session_get", gives={200: SessionOut, 304: None}, tag="patient")
    def get(self, request: Request, id: str) -> Response:
        return self.read(request, id)

    @operation(
        "session_put", takes=SessionIn, gives={200: SessionResultOut, 201: SessionResultOut},
        refuses=REFUSED_RECORDS, tag="patient",
    )  # fmt: skip
    def put(self, request: Request, id: str) -> Response:
        return self.store(request, id)

    @operation(
        "session_withdraw", gives={200: SessionResultOut}, params=WITHDRAWN,
        refuses=[RevisionConflict], tag="patient",
    )  # fmt: skip
    def delete(self, request: Request, id: str) -> Response:
        return self.withdraw(request, id)


class CheckInOne(RecordOne):
    kind, model = Revision.Kind.CHECK_IN, CheckIn

    @operation("check_in_get", gives={200: CheckInOut, 304: None}, tag="patient")
    def get(self, request: Request, id: str) -> Response:
        return self.read(request, id)

    @operation(
        "check_in_put", takes=CheckInIn, gives={200: CheckInResultOut, 201: CheckInResultOut},
        refuses=REFUSED_RECORDS, tag="patient",
    )  # fmt: skip
    def put(self, request: Request, id: str) -> Response:
        return self.store(request, id)

    @operation(
        "check_in_withdraw", gives={200: CheckInResultOut}, params=WITHDRAWN,
        refuses=[RevisionConflict], tag="patient",
    )  # fmt: skip
    def delete(self, request: Request, id: str) -> Response:
        return self.withdraw(request, id)


class _DayIn(In):
    day = Day()


def day_asked(request: Request, name: str) -> date | None:
    """A day out of the query, or none; anything else is 400."""
    sent = request.query_params.get(name)
    if sent is None:
        return None
    try:
        found: date = _DayIn.checked({"day": sent})["day"]
    except ValidationFailed:
        raise MalformedRequest(f"{name} is a day as YYYY-MM-DD.") from None
    return found


def _whole_asked(request: Request, name: str, usual: str, *, most: int) -> int:
    sent = request.query_params.get(name, usual)
    if not (sent.isascii() and sent.isdigit() and len(sent) <= 9 and 1 <= int(sent) <= most):
        raise MalformedRequest(f"{name} is a whole number from 1 to {most}.")
    return int(sent)
