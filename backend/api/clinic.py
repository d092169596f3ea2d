"""Running a clinic: its settings and its staff."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from uuid import UUID

from allauth.account.adapter import get_adapter
from django.core.validators import RegexValidator
from django.db import transaction
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.account import Email, Locale
from backend.api.base import (
    Role,
    StaffEndpoint,
    as_json,
    etag_of,
    match,
    moment,
    path_id,
    tagged,
)
from backend.api.contract import PAGE, operation
from backend.api.fields import In, Many, Text, Truth, Uid, Whole, Word, Zone, refuse
from backend.api.paging import CursorInvalid, page
from backend.api.schemas import page_of
from backend.care import broadcasting, reviewing
from backend.clinics import actions, tokens
from backend.clinics.actions import LastAdmin
from backend.clinics.models import Clinic, ServiceToken, User
from backend.clinics.selectors import staff_of
from backend.problems import NotFound, StateConflict

MOST_DELAY_DAYS = 365
MOST_RETENTION_MONTHS = 1200
USUAL_TOKEN_DAYS, MOST_TOKEN_DAYS = 90, 366
SCOPES = ServiceToken.Scope.values
ROLES = (Role.PHYSIOTHERAPIST.value, Role.CLINIC_ADMIN.value)
SHOWN_OFFLINE = frozenset({"emergency_number", "urgent_contact"})  # in every plan


OF_PEOPLE = {"id", "email", "given_name", "family_name", "display_name", "created_at"}


class ClinicEndpoint(StaffEndpoint):
    """For who runs the clinic. Each call leaves an audit event.

    `before` and `after` are what a change replaced and by what, for that event to hold.
    """

    roles = frozenset({Role.CLINIC_ADMIN})
    is_audited = True

    @property
    def clinic(self) -> Clinic:
        assert self.person.clinic is not None  # a role is held at a clinic
        return self.person.clinic

    def changed(self, before: Mapping[str, object], after: Mapping[str, object]) -> None:
        """Keep what differs, but for who somebody is: an event names people by id. What is empty
        is not shown, so it may be on one side alone."""
        known = (before.keys() | after.keys()) - OF_PEOPLE
        names = sorted(name for name in known if before.get(name) != after.get(name))
        self.before = {name: before[name] for name in names if name in before}
        self.after = {name: after[name] for name in names if name in after}


# --- Settings ---------------------------------------------------------------------------------


class EmergencyNumber(Text):
    def __init__(self, **options: Any) -> None:
        pattern = RegexValidator(r"^\+?[0-9 ()./-]{2,19}\Z", _("Must be a phone number."))
        super().__init__(20, validators=[pattern], trim_whitespace=True, **options)


class ClinicIn(In):
    """Any of these. Empty text clears.

    `typing_delay_days` is how long after its day a record may be typed in, `upload_delay_days` how
    long after that it may be uploaded. With `proposals_on` false, open proposals to let patients go
    on are withdrawn at once, and none is made; all that makes treatment lighter goes on.
    `urgent_email` is told of what nobody has looked at. So many `retention_months` after the last
    care a patient is erased, with all there is; `null` is for ever.
    """

    name = Text(120, trim_whitespace=True)
    timezone = Zone()
    typing_delay_days = Whole(1, MOST_DELAY_DAYS)
    upload_delay_days = Whole(1, MOST_DELAY_DAYS)
    emergency_number = EmergencyNumber()
    urgent_contact = Text(200, allow_blank=True, trim_whitespace=True)
    urgent_email = Email(allow_blank=True)
    crisis_line = Text(200, allow_blank=True, trim_whitespace=True)
    second_factor_required = Truth()
    proposals_on = Truth()
    retention_months = Whole(1, MOST_RETENTION_MONTHS, allow_null=True)


class ClinicOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    timezone = serializers.CharField()
    typing_delay_days = serializers.IntegerField()
    upload_delay_days = serializers.IntegerField()
    emergency_number = serializers.CharField()
    urgent_contact = serializers.CharField(required=False)
    urgent_email = serializers.EmailField(required=False)
    crisis_line = serializers.CharField(required=False)
    second_factor_required = serializers.BooleanField()
    proposals_on = serializers.BooleanField()
    retention_months = serializers.IntegerField(required=False)
    created_at = serializers.DateTimeField()


ALWAYS = ("name", "timezone", "typing_delay_days", "upload_delay_days", "emergency_number",
          "second_factor_required", "proposals_on")  # fmt: skip
GIVEN = ("urgent_contact", "urgent_email", "crisis_line", "retention_months")


def clinic_shown(clinic: Clinic) -> dict[str, object]:
    shown: dict[str, object] = {"id": str(clinic.pk), "created_at": moment(clinic.created_at)}
    shown |= {name: getattr(clinic, name) for name in ALWAYS}
    return shown | {name: told for name in GIVEN if (told := getattr(clinic, name))}


class Settings(ClinicEndpoint):
    @operation("clinic_get", gives={200: ClinicOut, 304: None}, tag="clinic")
    def get(self, request: Request) -> Response:
        self.object_id = self.clinic.pk
        return tagged(request, clinic_shown(self.clinic))

    @operation("clinic_update", takes=ClinicIn, gives={200: ClinicOut}, match="must", tag="clinic")
    def patch(self, request: Request) -> Response:
        said = ClinicIn.checked(request.data, partial=True)
        with transaction.atomic():
            clinic = actions.lock_clinic(self.clinic)
            before = clinic_shown(clinic)
            match(request, etag_of(as_json(before)), required=True)
            clinic = actions.update_clinic(clinic=clinic, changes=said)
            self.object_id = clinic.pk
            self.changed(before, clinic_shown(clinic))
            transaction.on_commit(lambda: self._follow(clinic, said))
        return tagged(request, clinic_shown(clinic))

    def _follow(self, clinic: Clinic, said: Mapping[str, Any]) -> None:
        """What follows for patients, one or a few at a time, once it is stored. Switched off again,
        proposals are looked for again: what was cut short can be repeated."""
        assert self.before is not None
        if said.get("proposals_on") is False or "proposals_on" in self.before:
            reviewing.switch_proposals(clinic=clinic, on=clinic.proposals_on, now=self.now)
        if SHOWN_OFFLINE.intersection({*self.before, *(self.after or ())}):
            broadcasting.tell_all(clinic=clinic, now=self.now)


# --- Staff ------------------------------------------------------------------------------------


class StaffChangeIn(In):
    """Any of these. `active` false ends the account: it is signed out everywhere at once.

    `reassign_to` hands all patients over to another physiotherapist; it is required where they
    would have nobody to treat them.
    """

    given_name = Text(80, trim_whitespace=True)
    family_name = Text(80, trim_whitespace=True)
    roles = Many(Word(ROLES), len(ROLES))
    can_publish = Truth(required=False)
    active = Truth()
    reassign_to = Uid()

    def validate_roles(self, found: list[str]) -> list[str]:
        if not found:
            refuse("required", _("At least one."))
        if len(set(found)) < len(found):
            refuse("duplicate", _("One role stands twice."))
        return found


class StaffIn(StaffChangeIn):
    """Without `locale`, English. The account has no password; an e-mail says where to set one."""

    email = Email()
    locale = Locale(required=False)
    active = None  # type: ignore[assignment]  # begins with being so
    reassign_to = None  # type: ignore[assignment]


class StaffOut(serializers.Serializer[Any]):
    """Somebody who works at the clinic, or did while `active`."""

    id = serializers.UUIDField()
    email = serializers.EmailField()
    given_name = serializers.CharField()
    family_name = serializers.CharField()
    display_name = serializers.CharField()
    roles = serializers.ListField(child=serializers.ChoiceField(ROLES))
    can_publish = serializers.BooleanField()
    active = serializers.BooleanField()
    created_at = serializers.DateTimeField()


def staff_shown(person: User) -> dict[str, object]:
    return {
        "id": str(person.pk),
        "email": person.email,
        "given_name": person.given_name,
        "family_name": person.family_name,
        "display_name": person.display_name,
        "roles": person.roles,
        "can_publish": person.can_publish,
        "active": person.is_active,
        "created_at": moment(person.date_joined),
    }


def _fields(said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said, under the names of the model."""
    fields = {name: value for name, value in said.items() if name not in ("roles", "active")}
    if "roles" in said:
        fields |= {f"is_{role}": role in said["roles"] for role in ROLES}
    return fields | ({"is_active": said["active"]} if "active" in said else {})


class Staff(ClinicEndpoint):
    @operation(
        "staff_list", gives={200: page_of(StaffOut)}, params=PAGE, refuses=[CursorInvalid],
        tag="clinic",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """By name. Those whose account has ended are there, too."""
        return page(
            request,
            staff_of(self.person),
            order=("family_name", "given_name", "id"),
            shown=staff_shown,
            filters={},
        )

    @operation("staff_create", takes=StaffIn, gives={201: StaffOut}, key=True, tag="clinic")
    def post(self, request: Request) -> Response:
        said = _fields(StaffIn.checked(request.data))
        with transaction.atomic():
            person = actions.add_staff(clinic=self.clinic, **said)
            self.object_id = person.pk
            self.changed({}, staff_shown(person))
            transaction.on_commit(lambda: get_adapter().welcome(request._request, person))
        return tagged(request, staff_shown(person), status=201)


class StaffOne(ClinicEndpoint):
    def found(self, id: UUID) -> User:
        person = staff_of(self.person).filter(pk=id).select_related("clinic").first()
        if person is None:
            raise NotFound
        self.object_id = person.pk
        return person

    @operation(
        "staff_update", takes=StaffChangeIn, gives={200: StaffOut},
        refuses=[LastAdmin, StateConflict], match="may", tag="clinic",
    )  # fmt: skip
    def patch(self, request: Request, id: str) -> Response:
        said = StaffChangeIn.checked(request.data, partial=True)
        reassign_to: UUID | None = said.pop("reassign_to", None)
        with transaction.atomic():
            actions.lock_clinic(self.clinic)
            before = staff_shown(person := self.found(path_id(id)))
            match(request, etag_of(as_json(before)), required=False)
            person = actions.change_staff(
                person=person, by=self.person, changes=_fields(said), now=self.now,
                reassign_to=reassign_to,
            )  # fmt: skip
            self.changed(before, staff_shown(person))
        return tagged(request, staff_shown(person))


# --- Other systems ----------------------------------------------------------------------------


class ServiceTokenIn(In):
    """`name` says which system it is for. Without `days` it lives for 90."""

    name = Text(120, trim_whitespace=True)
    scopes = Many(Word(SCOPES), len(SCOPES))
    days = Whole(1, MOST_TOKEN_DAYS, required=False, default=USUAL_TOKEN_DAYS)

    def validate_scopes(self, found: list[str]) -> list[str]:
        if not found:
            refuse("required", _("At least one."))
        return found


class ServiceTokenOut(serializers.Serializer[Any]):
    """A key for another system. `token` is told this once, to be sent as `Authorization: Bearer`;
    a repeat of the request does not have it."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    scopes = serializers.ListField(child=serializers.ChoiceField(SCOPES))
    created_by = serializers.UUIDField()
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    revoked_at = serializers.DateTimeField(required=False)
    token = serializers.CharField(required=False)


def token_shown(row: ServiceToken) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": str(row.pk),
        "name": row.name,
        "scopes": row.scopes,
        "created_by": str(row.created_by_id),
        "created_at": moment(row.created_at),
        "expires_at": moment(row.expires_at),
    }
    return shown | ({"revoked_at": moment(row.revoked_at)} if row.revoked_at else {})


class ServiceTokens(ClinicEndpoint):
    token = ""

    @operation(
        "service_token_list", gives={200: page_of(ServiceTokenOut)}, params=PAGE,
        refuses=[CursorInvalid], tag="clinic",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """The newest first, those that have ended too."""
        rows = ServiceToken.objects.visible_to(self.person)
        return page(request, rows, order=("-created_at", "-id"), shown=token_shown, filters={})

    @operation(
        "service_token_create", takes=ServiceTokenIn, gives={201: ServiceTokenOut}, key=True,
        tag="clinic",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        said = ServiceTokenIn.checked(request.data)
        lives = timedelta(days=said.pop("days"))
        row, self.token = tokens.make(
            clinic=self.clinic, by=self.person, lives=lives, now=self.now, **said
        )
        self.object_id = row.pk
        self.changed({}, {"scopes": row.scopes, "expires_at": moment(row.expires_at)})
        return Response(token_shown(row), 201, headers={"Cache-Control": "no-store"})

    def finalize_response(
        self, request: Request, response: Response, *args: object, **kwargs: object
    ) -> Response:
        """The token joins here, behind what an idempotency key stores: it is kept nowhere."""
        if self.token and response.status_code == 201:
            response.data = response.data | {"token": self.token}
        return super().finalize_response(request, response, *args, **kwargs)


class ServiceTokenOne(ClinicEndpoint):
    @operation("service_token_revoke", gives={204: None}, tag="clinic")
    def delete(self, request: Request, id: str) -> Response:
        """It is refused from the next request on."""
        row = ServiceToken.objects.visible_to(self.person).filter(pk=path_id(id)).first()
        if row is None:
            raise NotFound
        self.object_id = row.pk
        tokens.revoke(row=row, now=self.now)
        return Response(status=204)
