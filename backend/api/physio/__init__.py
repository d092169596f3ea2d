"""The endpoints of physiotherapists, one module a topic; here, what is about one patient."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from backend.api.base import StaffEndpoint, path_id
from backend.clinics.models import Patient
from backend.problems import NotFound


class AboutPatient(StaffEndpoint):
    """The address names a patient of the caller's clinic."""

    is_about_patients = True

    def treated(self, id: str) -> Patient:
        found = self.rows().filter(pk=path_id(id)).first()
        if found is None:
            raise NotFound
        self.concerns(found)
        return found

    def rows(self) -> QuerySet[Patient]:
        return Patient.objects.visible_to(self.person)

    def named(self, id: UUID) -> Patient | None:
        return Patient.objects.visible_to(self.person).filter(pk=id).first()
