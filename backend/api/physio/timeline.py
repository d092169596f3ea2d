"""A patient's dates in a row, for the charts of staff."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import tagged
from backend.api.contract import operation
from backend.api.physio import AboutPatient
from backend.api.timeline_shown import SPAN, TimelineOut, span_of, timeline_shown
from backend.care.selectors import today_of
from backend.reports.timeline import timeline_of


class PatientTimeline(AboutPatient):
    @operation("patient_timeline", gives={200: TimelineOut, 304: None}, params=SPAN, tag="patients")
    def get(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        first, last = span_of(request, today_of(patient, self.now))
        found = timeline_of(patient, first, last, now=self.now, to_patient=False)
        return tagged(request, timeline_shown(found))
