"""Staff: what a patient was told and when, and the reason for each silence."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.contract import operation
from backend.api.paging import CursorInvalid, filters_of, page
from backend.api.physio.patients import OfPatient
from backend.api.reminders import REMINDER_FILTERS, ReminderFilters, ReminderOut, reminder_shown
from backend.api.schemas import page_of
from backend.notifications.models import Message
from backend.notifications.verdict import TO_PATIENTS


class Reminders(OfPatient):
    @operation(
        "patient_reminders", gives={200: page_of(ReminderOut)}, params=REMINDER_FILTERS,
        refuses=[CursorInvalid], tag="patients",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        """The newest first. Texts are not kept; they say nothing about the patient anyway."""
        patient = self.treated(id)
        asked = filters_of(request, ReminderFilters)
        rows = Message.objects.visible_to(self.person).filter(patient=patient, **asked)
        rows = rows.filter(kind__in=TO_PATIENTS)
        return page(request, rows, order=("-due_at", "-id"), shown=reminder_shown, filters=asked)
