"""Everybody: what the service is, checking an invitation, who one is, one's devices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.core.validators import RegexValidator, validate_email
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import (
    SIGNED_IN,
    Endpoint,
    PatientEndpoint,
    Role,
    as_json,
    etag_of,
    match,
    moment,
    path_id,
    tagged,
)
from backend.api.contract import operation
from backend.api.errors import as_http, problem_of
from backend.api.fields import In, Many, Text, Truth, Word, Zone
from backend.api.parsing import loads
from backend.api.plan_shown import day_closes_at
from backend.care import deciding, feed
from backend.care.models import Change
from backend.clinics import actions
from backend.clinics.actions import InvitationExpired
from backend.clinics.models import Clinic, Patient, User
from backend.clinics.models import Device as DeviceRow
from backend.notifications import actions as reminders
from backend.problems import (
    MalformedRequest,
    NotFound,
    Problem,
    SessionEnded,
    Unauthenticated,
    ValidationFailed,
)

HEALTH_DATA = "health_data"


# --- What people say of themselves, and staff of them -----------------------------------------


@extend_schema_field({"type": "string", "format": "email", "maxLength": 254})
class Email(Text):
    """An e-mail address; empty where `allow_blank` says so."""

    def __init__(self, **options: Any) -> None:
        super().__init__(254, validators=[validate_email], trim_whitespace=True, **options)


class Phone(Text):
    def __init__(self, **options: Any) -> None:
        pattern = RegexValidator(r"^\+?[0-9 ()./-]{3,39}\Z", _("Must be a phone number."))
        super().__init__(40, validators=[pattern], trim_whitespace=True, **options)


class Locale(Text):
    """A language, perhaps with script and region: `sv`, `en-GB`, `zh-Hans-CN`."""

    def __init__(self, **options: Any) -> None:
        pattern = RegexValidator(
            r"^[a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?\Z", _("Must be a language tag.")
        )
        super().__init__(12, validators=[pattern], **options)


# --- The sign-in ------------------------------------------------------------------------------


class StrictSignIn:
    """Middleware: what is sent to the sign-in library is read as strictly as all the rest."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.path_info.startswith("/api/auth/"):
            try:
                if request.body and not isinstance(loads(request.body), dict):
                    raise MalformedRequest("The body is not an object.")
            except (Problem, RequestDataTooBig) as error:
                return as_http(problem_of(error), request)
        return self.get_response(request)


# --- The service ------------------------------------------------------------------------------


class ServiceLimitsOut(serializers.Serializer[Any]):
    push_items = serializers.IntegerField()
    body_bytes = serializers.IntegerField()
    typing_delay_days = serializers.IntegerField()
    upload_delay_days = serializers.IntegerField()
    day_closes_at = serializers.CharField()


class MetaOut(serializers.Serializer[Any]):
    """What this service is and takes. Signed in, the limits are those of the person's clinic."""

    service_version = serializers.CharField()
    api = serializers.ListField(child=serializers.CharField())
    minimum_client = serializers.DictField(child=serializers.CharField())
    server_time = serializers.DateTimeField()
    limits = ServiceLimitsOut()
    features = serializers.ListField(child=serializers.CharField())


class Meta(Endpoint):
    roles = frozenset({Role.ANYBODY})

    def perform_authentication(self, request: Request) -> None:
        """An ended session is no reason to withhold what everybody may know."""

    @operation("meta_get", gives={200: MetaOut}, public=True, tag="account")
    def get(self, request: Request) -> Response:
        clinic = self._clinic(request)
        return Response(
            {
                "service_version": settings.SERVICE_VERSION,
                "api": ["v1"],
                "minimum_client": settings.MINIMUM_CLIENT,
                "server_time": moment(self.now),
                "limits": {
                    "push_items": settings.PUSH_ITEMS,
                    "body_bytes": settings.BODY_BYTES,
                    "typing_delay_days": clinic.typing_delay_days,
                    "upload_delay_days": clinic.upload_delay_days,
                    "day_closes_at": day_closes_at(),
                },
                "features": [],
            }
        )

    def _clinic(self, request: Request) -> Clinic:
        """The caller's, or one with the usual limits."""
        try:
            person = request.user
        except (Unauthenticated, SessionEnded):
            return Clinic()
        return (isinstance(person, User) and person.clinic) or Clinic()


class InvitationCodeIn(In):
    invitation_code = Text(40)


class InvitationShownOut(serializers.Serializer[Any]):
    clinic_name = serializers.CharField()
    given_name_initial = serializers.CharField()
    expires_at = serializers.DateTimeField()


class EnrolmentCheck(Endpoint):
    roles = frozenset({Role.ANYBODY})
    authentication_classes = ()  # type: ignore[assignment]

    @operation(
        "enrolment_check", takes=InvitationCodeIn, gives={200: InvitationShownOut},
        refuses=[InvitationExpired], public=True, tag="account",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        code = InvitationCodeIn.checked(request.data)["invitation_code"]
        invitation = actions.check_invitation(code=code, now=self.now)
        return Response(
            {
                "clinic_name": invitation.patient.clinic.name,
                "given_name_initial": invitation.patient.given_name[:1],
                "expires_at": moment(invitation.expires_at),
            },
            headers={"Cache-Control": "no-store"},
        )


# --- Oneself ----------------------------------------------------------------------------------


class ConsentIn(In):
    code = Word((HEALTH_DATA,))
    granted = Truth()


class MeIn(In):
    """What one may change of oneself. Address, phone and consents are a patient's."""

    locale = Locale(required=False)
    timezone = Zone(required=False)
    email = Email(required=False, allow_blank=True)
    phone = Phone(required=False, allow_blank=True)
    consents = Many(ConsentIn(), 1, required=False)


class MyClinicOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    timezone = serializers.CharField()


class ConsentOut(serializers.Serializer[Any]):
    code = serializers.ChoiceField([HEALTH_DATA])
    granted = serializers.BooleanField()
    at = serializers.DateTimeField()


class MeOut(serializers.Serializer[Any]):
    """The person signed in. `email` and `phone` are where the clinic reaches a patient."""

    id = serializers.UUIDField()
    role = serializers.ListField(
        child=serializers.ChoiceField(["patient", "physiotherapist", "clinic_admin"])
    )
    display_name = serializers.CharField()
    clinic = MyClinicOut()
    locale = serializers.CharField()
    timezone = serializers.CharField()
    email = serializers.EmailField(required=False)
    phone = serializers.CharField(required=False)
    consents = ConsentOut(many=True)
    erasure_asked_at = serializers.DateTimeField(required=False)


def me_shown(person: User) -> dict[str, object]:
    patient, clinic = person.own_patient, person.clinic
    assert clinic is not None  # a role is held at a clinic
    shown: dict[str, object] = {
        "id": str(person.pk),
        "role": person.roles,
        "display_name": patient.display_name if patient else person.display_name,
        "clinic": {"id": str(clinic.pk), "name": clinic.name, "timezone": clinic.timezone},
        "locale": patient.locale if patient else person.locale,
        "timezone": patient.timezone if patient else person.timezone,
        "consents": consents_shown(patient) if patient else [],
    }
    for name in ("email", "phone"):
        if patient and getattr(patient, name):
            shown[name] = getattr(patient, name)
    if patient and patient.erasure_asked_at:
        shown["erasure_asked_at"] = moment(patient.erasure_asked_at)
    return shown


def consents_shown(patient: Patient) -> list[dict[str, object]]:
    at = patient.consent_withdrawn_at or patient.consented_at
    if at is None:
        return []
    granted = actions.is_consent_given(patient)
    return [{"code": HEALTH_DATA, "granted": granted, "at": moment(at)}]


class Me(Endpoint):
    roles = SIGNED_IN
    needs_consent = False

    @operation("me_get", gives={200: MeOut, 304: None}, tag="account")
    def get(self, request: Request) -> Response:
        return tagged(request, me_shown(self.person))

    @operation("me_update", takes=MeIn, gives={200: MeOut}, match="may", tag="account")
    def patch(self, request: Request) -> Response:
        said = MeIn.checked(request.data, partial=True)
        change = self._change_patient if self.person.own_patient else self._change_staff
        with transaction.atomic():
            change(request, said)
        return tagged(request, me_shown(self.person))

    def _change_staff(self, request: Request, said: dict[str, Any]) -> None:
        for name in ("email", "phone", "consents"):
            if name in said:
                raise ValidationFailed.at(f"#/{name}", "unknown-field", _("A patient's."))
        self.person = actions.lock_account(self.person)
        match(request, etag_of(as_json(me_shown(self.person))), required=False)
        self.person = actions.change_account(person=self.person, changes=said)

    def _change_patient(self, request: Request, said: dict[str, Any]) -> None:
        patient = self.person.patient = actions.lock(self.person.patient)
        match(request, etag_of(as_json(me_shown(self.person))), required=False)
        for consent in said.pop("consents", ()):
            patient = actions.set_consent(patient=patient, granted=consent["granted"], now=self.now)
        if said:
            patient = actions.update_patient(patient=patient, changes=said, now=self.now)
        touch(patient, said, self)
        self.person.patient = patient


def touch(patient: Patient, changes: dict[str, Any], view: Endpoint) -> None:
    """Tell the patient's phones. The plan is read in the patient's zone, and asks more of who has
    certain other conditions, so it changes with both."""
    touched = [feed.Touched(Change.Type.PATIENT, patient.pk, patient.version)]
    found = deciding.Difference()
    if "timezone" in changes:
        found = deciding.recompute_all(patient=patient, now=view.now)
    found.plan = not changes.keys().isdisjoint({"timezone", "conditions"})
    deciding.tell(patient, found, touched, now=view.now)
    if "timezone" in changes:
        reminders.replan(patient=patient, now=view.now)


# --- Devices ----------------------------------------------------------------------------------


class DeviceIn(In):
    """`push_kind` says what the token is; without it, what is usual on the platform. Of a browser
    it is the `PushSubscription` as JSON."""

    platform = Word(DeviceRow.Platform.values)
    push_kind = Word(DeviceRow.PushKind.values, required=False)
    push_token = Text(4096, required=False, allow_blank=True, default="")
    app_version = Text(40)


class DeviceOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    platform = serializers.ChoiceField(DeviceRow.Platform.choices)
    app_version = serializers.CharField()
    updated_at = serializers.DateTimeField()


class Device(PatientEndpoint):
    @operation("device_put", takes=DeviceIn, gives={200: DeviceOut}, tag="account")
    def put(self, request: Request, id: str) -> Response:
        said = DeviceIn.checked(request.data)
        device = actions.put_device(
            patient=self.patient, device_id=path_id(id), now=self.now, **said
        )
        return Response(
            {
                "id": str(device.device_id),
                "platform": device.platform,
                "app_version": device.app_version,
                "updated_at": moment(device.updated_at),
            }
        )

    @operation("device_delete", gives={204: None}, tag="account")
    def delete(self, request: Request, id: str) -> Response:
        if not actions.remove_device(patient=self.patient, device_id=path_id(id)):
            raise NotFound
        return Response(status=204)
