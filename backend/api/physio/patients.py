"""Patients of the clinic: the list, the record, invitations, episodes, and what phones reported."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, cast
from uuid import UUID

import segno
from django.core import signing
from django.db import transaction
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from drf_spectacular.types import OpenApiTypes
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend import tenant
from backend.api.account import Email, Locale, Phone, touch
from backend.api.base import (
    Role,
    StaffEndpoint,
    address_of,
    as_json,
    etag_of,
    match,
    moment,
    path_id,
    request_id_of,
    tagged,
)
from backend.api.contract import PAGE, operation, query
from backend.api.errors import as_http
from backend.api.exercises import BODY_REGIONS
from backend.api.fields import Day, In, Many, Text, Truth, Uid, Word, Zone, refuse
from backend.api.paging import CursorInvalid, alphabetic, filters_of, page
from backend.api.physio import AboutPatient
from backend.api.records import CheckInOut, SessionOut, record_shown
from backend.api.schemas import page_of
from backend.audit.actions import note
from backend.care.models import Assignment, CheckIn, Revision, Session
from backend.clinics import actions
from backend.clinics.actions import AlreadyEnrolled, DuplicateIdentifier
from backend.clinics.models import Episode, Invitation, Patient, User
from backend.problems import NotFound, StateConflict, ValidationFailed
from protocols.knowledge import safety

SEXES = Patient.Sex.values
# Where a problem lies: the regions that exercises are for, and those that none is for by itself.
# Gates ask for words of this list, so it grows and never loses one.
PROBLEM_REGIONS = (*BODY_REGIONS, "sit_bone", "buttock", "groin", "knee", "foot", "other")
SIDES = Episode.Side.values
PRINT_SALT = "backend.api.physio.patients.print_page"
PRINTABLE_S = 15 * 60


def condition_codes() -> list[str]:
    """Other conditions that ask for caution (safety library)."""
    return list(safety().conditions)


class OfPatient(AboutPatient):
    def rows(self) -> QuerySet[Patient]:
        return super().rows().prefetch_related("identifiers")


# --- Patients ---------------------------------------------------------------------------------


class IdentifierIn(In):
    system = Text(200, trim_whitespace=True)
    value = Text(100, trim_whitespace=True)


class PatientChangeIn(In):
    """Any of these. `identifiers` and `conditions` replace all there were; empty text clears."""

    given_name = Text(80, trim_whitespace=True)
    family_name = Text(80, trim_whitespace=True)
    birth_date = Day()
    sex = Word(SEXES, required=False)
    email = Email(required=False, allow_blank=True)
    phone = Phone(required=False, allow_blank=True)
    locale = Locale(required=False)
    timezone = Zone(required=False)
    identifiers = Many(IdentifierIn(), 10, required=False)
    conditions = Many(Word(condition_codes()), 20, required=False)
    physiotherapist_id = Uid(required=False)

    def validate_identifiers(self, found: list[dict[str, str]]) -> list[dict[str, str]]:
        if len({(one["system"], one["value"]) for one in found}) < len(found):
            refuse("duplicate", _("One identifier stands twice."))
        return found

    def validate_conditions(self, found: list[str]) -> list[str]:
        return sorted(set(found))


class PatientIn(PatientChangeIn):
    """Without `locale`, English; without `timezone`, the clinic's; without
    `physiotherapist_id`, the caller."""


class IdentifierOut(serializers.Serializer[Any]):
    system = serializers.CharField()
    value = serializers.CharField()


class ConditionOut(serializers.Serializer[Any]):
    """A condition that asks for caution, in words for the clinician."""

    code = serializers.ChoiceField(condition_codes())
    name = serializers.CharField()
    caution = serializers.CharField()
    source = serializers.CharField()  # type: ignore[assignment]  # as everywhere


class LegalHoldOut(serializers.Serializer[Any]):
    """Why a record has to be kept, whatever is asked, and since when."""

    reason = serializers.CharField()
    since = serializers.DateTimeField()


class PatientOut(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    given_name = serializers.CharField()
    family_name = serializers.CharField()
    birth_date = serializers.DateField()
    sex = serializers.ChoiceField(SEXES)
    email = serializers.EmailField(required=False)
    phone = serializers.CharField(required=False)
    locale = serializers.CharField()
    timezone = serializers.CharField()
    identifiers = IdentifierOut(many=True)
    conditions = ConditionOut(many=True)
    physiotherapist_id = serializers.UUIDField(required=False)
    erasure_asked_at = serializers.DateTimeField(required=False)
    legal_hold = LegalHoldOut(required=False)
    status = serializers.ChoiceField(Patient.Status.choices)
    last_received_at = serializers.DateTimeField(required=False)
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


def conditions_shown(patient: Patient) -> list[dict[str, object]]:
    known = safety().conditions
    return [
        {"code": code, "name": one.name, "caution": one.caution, "source": one.source}
        for code in patient.conditions
        if (one := known.get(code)) is not None
    ]


def patient_shown(patient: Patient) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": str(patient.pk),
        "given_name": patient.given_name,
        "family_name": patient.family_name,
        "birth_date": patient.birth_date.isoformat(),
        "sex": patient.sex,
        "locale": patient.locale,
        "timezone": patient.timezone,
        "identifiers": sorted(
            ({"system": one.system, "value": one.value} for one in patient.identifiers.all()),
            key=lambda one: (one["system"], one["value"]),
        ),
        "conditions": conditions_shown(patient),
        "status": patient.status,
        "version": patient.version,
        "created_at": moment(patient.created_at),
        "updated_at": moment(patient.updated_at),
    }
    for name in ("email", "phone"):
        if getattr(patient, name):
            shown[name] = getattr(patient, name)
    if patient.physiotherapist_id:
        shown["physiotherapist_id"] = str(patient.physiotherapist_id)
    for name in ("last_received_at", "erasure_asked_at"):
        if at := getattr(patient, name):
            shown[name] = moment(at)
    if patient.legal_hold_since:
        held = {"reason": patient.legal_hold_reason, "since": moment(patient.legal_hold_since)}
        shown["legal_hold"] = held
    return shown


TEXT = {"type": "string", "minLength": 1, "maxLength": 100}
ASKS = ["erasure"]


class PatientFilters(In):
    q = Text(100, required=False, trim_whitespace=True)
    status = Word(Patient.Status.values, required=False)
    physiotherapist_id = Uid(required=False)
    asks = Word(ASKS, required=False)


class Patients(OfPatient):
    @operation(
        "patient_list", gives={200: page_of(PatientOut)},
        params=[
            query("q", "Words of the name, or an identifier.", TEXT),
            query("status", "Only with this status.", {"enum": Patient.Status.values}),
            query("physiotherapist_id", "Only of this caseload.", OpenApiTypes.UUID),
            query("asks", "Only who asks for this.", {"enum": ASKS}),
            *PAGE,
        ],
        refuses=[CursorInvalid], tag="patients",
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        asked = filters_of(request, PatientFilters)
        rows = self.rows()
        for name in asked.keys() & {"status", "physiotherapist_id"}:
            rows = rows.filter(**{name: asked[name]})
        if "q" in asked:
            rows = named(rows, asked["q"])
        if "asks" in asked:
            rows = rows.exclude(erasure_asked_at=None)
        answer = page(
            request,
            rows,
            order=("family_name", "given_name", "id"),
            shown=patient_shown,
            filters=asked,
        )
        self.listed = [item["id"] for item in answer.data["items"]]
        return answer

    @operation(
        "patient_create", takes=PatientIn, gives={201: PatientOut},
        refuses=[DuplicateIdentifier], key=True, tag="patients",
    )  # fmt: skip
    def post(self, request: Request) -> Response:
        said = PatientIn.checked(request.data)
        said["physiotherapist"] = _physiotherapist(self, said.pop("physiotherapist_id", None))
        _check_birth(self, said)
        assert self.person.clinic is not None
        with transaction.atomic():
            patient = actions.create_patient(clinic=self.person.clinic, now=self.now, **said)
            touch(patient, {}, self)
        self.about = patient.pk
        return tagged(request, patient_shown(patient), status=201)


class PatientOne(OfPatient):
    @operation("patient_get", gives={200: PatientOut, 304: None}, tag="patients")
    def get(self, request: Request, id: str) -> Response:
        return tagged(request, patient_shown(self.treated(id)))

    @operation(
        "patient_update", takes=PatientChangeIn, gives={200: PatientOut},
        refuses=[DuplicateIdentifier], match="must", tag="patients",
    )  # fmt: skip
    def patch(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        said = PatientChangeIn.checked(request.data, partial=True)
        if "physiotherapist_id" in said:
            said["physiotherapist"] = _physiotherapist(self, said.pop("physiotherapist_id"))
        _check_birth(self, said)
        with transaction.atomic():
            patient = actions.lock(patient)
            match(request, etag_of(as_json(patient_shown(patient))), required=True)
            patient = actions.update_patient(patient=patient, changes=said, now=self.now)
            touch(patient, said, self)
        return tagged(request, patient_shown(patient))


def named(rows: QuerySet[Patient], words: str) -> QuerySet[Patient]:
    """Those of whose name each word is a part, or whom all of them identify."""
    names = {"given": alphabetic("given_name"), "family": alphabetic("family_name")}
    return rows.alias(**names).filter(_named(words)).distinct()


def _named(words: str) -> Q:
    found = Q()
    for word in words.split():
        of_word = Q()
        # Names are compared as they are sorted, where only ASCII has lost its case.
        for spelling in {word, word.lower(), word.upper(), word.capitalize()}:
            part = spelling.encode().lower().decode()
            of_word |= Q(given__contains=part) | Q(family__contains=part)
        found &= of_word
    return found | Q(identifiers__value=words.strip())


def _physiotherapist(view: StaffEndpoint, id: UUID | None) -> User:
    """Who shall treat the patient: an active colleague, or the caller where nobody is named.

    Locked, because an account that ends hands over the patients whom it has by then.
    """
    person = view.person
    if id is None and not person.is_physiotherapist:
        raise ValidationFailed.at("#/physiotherapist_id", "required", _("Say who treats."))
    rows = User.objects.select_for_update(of=("self",), no_key=True)
    found = rows.filter(
        pk=id or person.pk, clinic=person.clinic, is_physiotherapist=True, is_active=True
    ).first()
    if found is None:
        raise ValidationFailed.at(
            "#/physiotherapist_id", "unknown-reference", _("No such physiotherapist.")
        )
    return found


def _check_birth(view: StaffEndpoint, said: dict[str, Any]) -> None:
    # Somewhere it is tomorrow already, which is the benefit of doubt a newborn gets.
    if "birth_date" in said and (said["birth_date"] - view.now.date()).days > 1:
        raise ValidationFailed.at("#/birth_date", "out-of-range", _("Lies in the future."))


# --- Invitations ------------------------------------------------------------------------------


class InvitationOut(serializers.Serializer[Any]):
    """`code` is told here, and on the page behind `print_url`, which opens for 15 minutes."""

    id = serializers.UUIDField()
    code = serializers.CharField()
    expires_at = serializers.DateTimeField()
    print_url = serializers.CharField()


class Invitations(OfPatient):
    @operation(
        "invitation_create", gives={201: InvitationOut}, refuses=[AlreadyEnrolled, StateConflict],
        key=True, tag="patients",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        invitation = actions.invite(patient=patient, by=self.person, now=self.now)
        self.object_id = invitation.pk
        return Response(
            {"id": str(invitation.pk), "expires_at": moment(invitation.expires_at)},
            201,
            headers={"Cache-Control": "no-store"},
        )

    def finalize_response(
        self, request: Request, response: Response, *args: object, **kwargs: object
    ) -> Response:
        """The code joins here, behind what an idempotency key stores: it is kept nowhere."""
        if response.status_code == 201:
            invitation = Invitation.objects.get(pk=response.data["id"])
            token = print_token(invitation.pk)
            response.data |= {
                "code": actions.code_of(invitation),
                "print_url": request.build_absolute_uri(f"/invitations/{token}"),
            }
        return super().finalize_response(request, response, *args, **kwargs)


def print_token(id: object) -> str:
    """What opens an invitation for a quarter of an hour."""
    return signing.dumps(str(id), salt=PRINT_SALT)


def printable(token: str) -> Invitation | None:
    """The invitation that a token opens, while both can be used."""
    try:
        id = signing.loads(token, salt=PRINT_SALT, max_age=PRINTABLE_S)
    except signing.BadSignature:
        return None
    with tenant.everywhere():
        return (
            Invitation.objects.select_related("patient__clinic", "created_by")
            .filter(pk=id, used_at=None, ended_at=None, expires_at__gt=timezone.now())
            .first()
        )


def invitation_told(invitation: Invitation) -> dict[str, object]:
    """An invitation with its code, for letters and for cameras."""
    code = actions.code_of(invitation)
    return {
        "invitation": invitation,
        "code": code,
        "qr": segno.make(code, error="m").svg_inline(border=4, omitsize=True),
        "until": invitation.expires_at.astimezone(invitation.patient.zone),
    }


def print_page(request: HttpRequest, token: str) -> HttpResponse:
    """An invitation on paper, for whoever was given the address within a quarter of an hour."""
    invitation = printable(token)
    if invitation is None or request.method not in ("GET", "HEAD"):
        return as_http(NotFound(), request)
    tenant.enter(invitation.patient.clinic_id)
    note(  # nobody is signed in on this page; who made its address is who handed it on
        actor=invitation.created_by,
        action="invitation_print",
        patient_id=invitation.patient_id,
        object_id=invitation.pk,
        status=200,
        request_id=request_id_of(request),
        address=address_of(request),
        now=timezone.now(),
    )
    answer = render(request, "invitation.html", invitation_told(invitation))
    answer["Cache-Control"] = "no-store"
    answer["Referrer-Policy"] = "no-referrer"
    answer["X-Robots-Tag"] = "noindex"
    answer["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return answer


# --- Episodes ---------------------------------------------------------------------------------


class DiagnosisIn(In):
    """In words; a code goes together with the system it is of."""

    system = Text(200, required=False)
    code = Text(40, required=False)
    text = Text(400)


class EpisodeIn(In):
    """One course of care for one problem. `new_pain`: this is not a pain known of old.

    `body_region` is one of the words known here, which may become more; gates ask for it (AG6 where
    it is `sit_bone`). What fits none is `other`, and stands in `title`.
    """

    title = Text(200, trim_whitespace=True)
    body_region = Word(PROBLEM_REGIONS)
    side = Word(SIDES)
    onset_date = Day(required=False)
    new_pain = Truth(required=False)
    diagnosis_code = DiagnosisIn(required=False)
    started_on = Day()
    ended_on = Day(required=False)
    end_reason = Word(Episode.EndReason.values, required=False)


class EpisodeChangeIn(EpisodeIn):
    """`null` clears. `ended_on` and `end_reason` go together. Whose last open episode is over is
    discharged: in no caseload but with open flags, and not reminded. A new one takes them back."""

    onset_date = Day(required=False, allow_null=True)
    diagnosis_code = DiagnosisIn(required=False, allow_null=True)
    ended_on = Day(required=False, allow_null=True)
    end_reason = Word(Episode.EndReason.values, required=False, allow_null=True)


class DiagnosisOut(serializers.Serializer[Any]):
    system = serializers.CharField(required=False)
    code = serializers.CharField(required=False)
    text = serializers.CharField()


class EpisodeOut(serializers.Serializer[Any]):
    """`body_region` is a word that `EpisodeWrite` takes; an old episode may say it in free text."""

    id = serializers.UUIDField()
    patient_id = serializers.UUIDField()
    title = serializers.CharField()
    body_region = serializers.CharField()
    side = serializers.ChoiceField(SIDES)
    onset_date = serializers.DateField(required=False)
    new_pain = serializers.BooleanField()
    diagnosis_code = DiagnosisOut(required=False)
    started_on = serializers.DateField()
    ended_on = serializers.DateField(required=False)
    end_reason = serializers.ChoiceField(Episode.EndReason.choices, required=False)
    version = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


def episode_shown(episode: Episode) -> dict[str, object]:
    shown: dict[str, object] = {
        "id": str(episode.pk),
        "patient_id": str(episode.patient_id),
        "title": episode.title,
        "body_region": episode.body_region,
        "side": episode.side,
        "new_pain": episode.new_pain,
        "started_on": episode.started_on.isoformat(),
        "version": episode.version,
        "created_at": moment(episode.created_at),
        "updated_at": moment(episode.updated_at),
    }
    if episode.onset_date:
        shown["onset_date"] = episode.onset_date.isoformat()
    diagnosis = {
        "system": episode.diagnosis_system,
        "code": episode.diagnosis_code,
        "text": episode.diagnosis_text,
    }
    if any(diagnosis.values()):
        shown["diagnosis_code"] = {name: part for name, part in diagnosis.items() if part}
    if episode.ended_on:
        shown["ended_on"] = episode.ended_on.isoformat()
        shown["end_reason"] = episode.end_reason
    return shown


def _flat(said: dict[str, Any]) -> dict[str, Any]:
    """As `Episode` has it: a diagnosis is three columns, and a text that was cleared is empty."""
    if "end_reason" in said:
        said["end_reason"] = said["end_reason"] or ""
    if "diagnosis_code" not in said:
        return said
    diagnosis = said.pop("diagnosis_code") or {}
    return said | {
        f"diagnosis_{name}": diagnosis.get(name, "") for name in ("system", "code", "text")
    }


class Episodes(OfPatient):
    roles = frozenset({Role.PHYSIOTHERAPIST})

    @operation(
        "episode_list", gives={200: page_of(EpisodeOut)}, params=PAGE, refuses=[CursorInvalid],
        tag="patients",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        return page(
            request,
            Episode.objects.visible_to(self.person).filter(patient=patient),
            order=("-started_on", "-id"),
            shown=episode_shown,
            filters={},
        )

    @operation("episode_create", takes=EpisodeIn, gives={201: EpisodeOut}, key=True, tag="patients")
    def post(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        said = _flat(EpisodeIn.checked(request.data))
        with transaction.atomic():
            episode = actions.create_episode(
                patient=patient, by=self.person, now=self.now, said=said
            )
            _tell_of_status(self, episode.patient, patient.status)
        self.object_id = episode.pk
        return tagged(request, episode_shown(episode), status=201)


class EpisodeOne(StaffEndpoint):
    is_about_patients = True
    roles = frozenset({Role.PHYSIOTHERAPIST})

    @operation(
        "episode_update", takes=EpisodeChangeIn, gives={200: EpisodeOut}, refuses=[StateConflict],
        match="may", tag="patients",
    )  # fmt: skip
    def patch(self, request: Request, id: str) -> Response:
        said = _flat(EpisodeChangeIn.checked(request.data, partial=True))
        rows = Episode.objects.visible_to(self.person).filter(pk=path_id(id))
        found = rows.select_related("patient").first()
        if found is None:
            raise NotFound
        self.concerns(found.patient, found.pk)
        with transaction.atomic():
            patient = actions.lock(found.patient)
            episode = rows.get()
            episode.patient = patient
            match(request, etag_of(as_json(episode_shown(episode))), required=False)
            if said.get("ended_on") and self._is_in_use(episode):
                raise StateConflict("An assignment of this episode has not ended.")
            status = patient.status
            episode = actions.update_episode(episode=episode, changes=said, now=self.now)
            _tell_of_status(self, patient, status)
        return tagged(request, episode_shown(episode))

    def named(self, id: UUID) -> Episode | None:
        return Episode.objects.visible_to(self.person).filter(pk=id).first()

    def _is_in_use(self, episode: Episode) -> bool:
        rows = Assignment.objects.visible_to(self.person)
        return rows.filter(episode=episode, ended_on=None).exists()


def _tell_of_status(view: StaffEndpoint, patient: Patient, before: str) -> None:
    if patient.status != before:
        touch(patient, {"status": patient.status}, view)


# --- What phones reported ---------------------------------------------------------------------


class RevisionOut(serializers.Serializer[Any]):
    """One upload of a record, as it came. A withdrawal has no content."""

    revision = serializers.IntegerField()
    withdrawn = serializers.BooleanField()
    received_at = serializers.DateTimeField()
    device_id = serializers.UUIDField(required=False)
    clock_skew_s = serializers.IntegerField(required=False)
    content = serializers.DictField(required=False)


class SessionRecordOut(SessionOut):
    """A session as it stands, to staff; `history` on request, oldest first."""

    history = RevisionOut(many=True, required=False)


class CheckInRecordOut(CheckInOut):
    """A check-in as it stands, to staff; `history` on request, oldest first."""

    history = RevisionOut(many=True, required=False)


def revision_shown(row: Revision) -> dict[str, object]:
    shown: dict[str, object] = {
        "revision": row.number,
        "withdrawn": row.withdrawn,
        "received_at": moment(row.received_at),
    }
    if row.device_id is not None:
        shown["device_id"] = str(row.device_id)
    if row.clock_skew_s is not None:
        shown["clock_skew_s"] = row.clock_skew_s
    if row.content is not None:
        shown["content"] = row.content
    return shown


# `from` is a keyword, hence no class statement.
RecordFilters = type(
    "RecordFilters",
    (In,),
    {
        "__module__": __name__,
        "from": Day(required=False),
        "to": Day(required=False),
        "include": Word(("history",), required=False),
    },
)

RECORD_PARAMS = (
    query("from", "First local date.", OpenApiTypes.DATE),
    query("to", "Last local date.", OpenApiTypes.DATE),
    query("include", "`history`: with every revision.", {"type": "string", "enum": ["history"]}),
    *PAGE,
)


class Records(OfPatient):
    """What the patient reported, newest first, with what was withdrawn."""

    roles = frozenset({Role.PHYSIOTHERAPIST})
    kind: ClassVar[Revision.Kind]
    model: ClassVar[type[Session] | type[CheckIn]]

    def records(self, request: Request, id: str) -> Response:
        patient = self.treated(id)
        asked = filters_of(request, RecordFilters)
        rows: QuerySet[Any] = self.model.objects.visible_to(self.person).filter(
            patient=patient, local_date__isnull=False
        )
        if "from" in asked:
            rows = rows.filter(local_date__gte=asked["from"])
        if "to" in asked:
            rows = rows.filter(local_date__lte=asked["to"])
        answer = page(
            request, rows, order=("-local_date", "-phone_id"), shown=_record_shown, filters=asked
        )
        if "include" in asked:
            self._add_history(patient, answer.data["items"])
        return answer

    def _add_history(self, patient: Patient, items: Iterable[dict[str, Any]]) -> None:
        """Every revision of the page's records. One query."""
        by_id: dict[str, list[dict[str, object]]] = {item["id"]: [] for item in items}
        rows = patient.revisions.filter(kind=self.kind, phone_id__in=by_id).order_by("number")
        for row in rows:
            by_id[str(row.phone_id)].append(revision_shown(row))
        for item in items:
            item["history"] = by_id[item["id"]]


def _record_shown(row: Session | CheckIn) -> dict[str, object]:
    on = cast(Any, row.local_date).isoformat()
    return {"local_date": on, "withdrawn": False} | record_shown(row)


class Sessions(Records):
    kind, model = Revision.Kind.SESSION, Session

    @operation(
        "patient_sessions", gives={200: page_of(SessionRecordOut)}, params=RECORD_PARAMS,
        refuses=[CursorInvalid], tag="patients",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        return self.records(request, id)


class CheckIns(Records):
    kind, model = Revision.Kind.CHECK_IN, CheckIn

    @operation(
        "patient_check_ins", gives={200: page_of(CheckInRecordOut)}, params=RECORD_PARAMS,
        refuses=[CursorInvalid], tag="patients",
    )  # fmt: skip
    def get(self, request: Request, id: str) -> Response:
        return self.records(request, id)
