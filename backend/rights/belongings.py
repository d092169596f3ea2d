"""Every table that holds something of a patient, and how its rows lead to the person.

Who copies and who erases goes by this list; a test derives it once more from the models.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.apps import apps
from django.db import models
from django.db.models import Q

from backend.clinics.models import Patient

KEPT_BRIEFLY = "repeats, for a day, what was answered to a request"
FOR_SIGN_IN = "is how one signs in, and would let others do so"
OF_FEED = "says in which order the phone has to read what is in the other tables"


@dataclass(frozen=True, slots=True)
class Table:
    """`patient` and `account` are lookups from a row to the ids of the person.

    `shown` is its name in a copy. One without says why it is not in there, and `hidden` columns
    are not either.
    """

    label: str
    patient: str = ""
    account: str = ""
    shown: str = ""
    why: str = ""
    hidden: tuple[str, ...] = ()

    @property
    def model(self) -> type[models.Model]:
        return apps.get_model(self.label)


@dataclass(frozen=True, slots=True)
class Person:
    """A patient, and the account where there is one. Ids only: the rows may be gone already."""

    patient_id: UUID
    account_id: UUID | None

    @classmethod
    def of(cls, patient: Patient) -> Person:
        """Who works in a clinic has the account for that; it is not this patient's alone."""
        user = patient.user
        is_own = user is not None and not (user.works_in_clinic or user.is_staff)
        return cls(patient.pk, user.pk if user and is_own else None)


# What points at others goes first, so that it can be deleted in this order.
TABLES = (
    Table("notifications.Delivery", "message__patient", "message__person", "deliveries"),
    Table("notifications.Message", "patient", "person", "messages"),
    Table("notifications.ReminderSettings", "patient", shown="reminder_settings"),
    Table("care.Change", "patient", why=OF_FEED),
    Table("care.Progression", "patient", shown="progressions"),
    Table("care.Event", "patient", shown="events"),
    Table("care.ClosedDay", "assignment__patient", shown="closed_days"),
    Table("care.Flag", "patient", shown="flags"),
    Table("care.Revision", "patient", shown="revisions"),
    Table("care.Session", "patient", shown="sessions"),
    Table("care.CheckIn", "patient", shown="check_ins"),
    Table("care.Assessment", "patient", shown="assessments"),
    Table("care.Pause", "assignment__patient", shown="pauses"),
    Table("care.AssignmentVersion", "assignment__patient", shown="assignment_versions"),
    Table("care.Assignment", "patient", shown="assignments", hidden=("standing", "carried")),
    Table("clinics.Device", "patient", shown="devices", hidden=("push_token",)),
    Table("clinics.Invitation", "patient", shown="invitations", hidden=("locator",)),
    Table("clinics.PatientIdentifier", "patient", shown="identifiers"),
    Table("clinics.Episode", "patient", shown="episodes"),
    Table("api.IdempotencyKey", "about", "user", why=KEPT_BRIEFLY),
    Table("account.EmailConfirmation", account="email_address__user", why=FOR_SIGN_IN),
    Table("account.EmailAddress", account="user", shown="addresses"),
    Table("mfa.Authenticator", account="user", why=FOR_SIGN_IN),
    Table("usersessions.UserSession", account="user", shown="signed_in", hidden=("session_key",)),
    Table("admin.LogEntry", account="user", why="is of operators, and no patient is one"),
    Table("clinics.Patient", "pk", shown="person"),
    Table("clinics.User", account="pk", shown="account", hidden=("password",)),
)  # fmt: skip


def rows(table: Table, person: Person) -> models.QuerySet[Any]:
    meant = Q(**{table.patient: person.patient_id}) if table.patient else Q(pk__in=())
    if table.account and person.account_id is not None:
        meant |= Q(**{table.account: person.account_id})
    return table.model._default_manager.filter(meant)
