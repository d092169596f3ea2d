"""A patient's rights: a copy of everything, and being forgotten unless the record must be kept."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.http import StreamingHttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from backend.api.base import (
    PatientEndpoint,
    Role,
    address_of,
    as_json,
    etag_of,
    match,
    moment,
    request_id_of,
)
from backend.api.contract import operation
from backend.api.fields import In, Text, Word
from backend.api.physio.patients import LegalHoldOut, OfPatient, patient_shown
from backend.audit.actions import note
from backend.rights import copying, erasing
from backend.rights.erasing import ErasureDecided, LegalHold
from backend.rights.models import Erasure

REASONS = [one for one in Erasure.Reason.values if one != Erasure.Reason.RETENTION]


class OwnRights(PatientEndpoint):
    """Also for who has withdrawn consent. Each call leaves one audit event."""

    needs_consent = False

    def noted(self, request: Request, action: str, status: int) -> None:
        note(
            actor=self.person,
            action=action,
            patient_id=self.patient.pk,
            object_id=None,
            status=status,
            request_id=request_id_of(request._request),
            address=address_of(request._request),
            now=self.now,
        )


class Row(serializers.DictField):
    """As it is stored, column by column; what is empty is left out."""

    child = serializers.JSONField()


MyDataOut: Any = type(
    "MyDataOut",
    (serializers.Serializer,),
    {
        "__module__": __name__,
        "__doc__": (
            "Everything that the service has of you, table by table, as it is stored. "
            "`audit_events` says who looked and what was done; `people` are those whose ids stand "
            "in the other lists."
        ),
        **{name: serializers.ListField(child=Row()) for name in copying.members()},
    },
)


class MyData(OwnRights):
    @operation("my_data", gives={200: MyDataOut}, tag="rights")
    def get(self, request: Request) -> StreamingHttpResponse:
        """A copy of everything about oneself."""
        self.noted(request, "my_data", 200)
        return StreamingHttpResponse(
            copying.pieces(self.patient),
            content_type="application/json",
            headers={
                "Cache-Control": "private, no-store",
                "Content-Disposition": 'attachment; filename="my-data.json"',
            },
        )


class ErasureAskedOut(serializers.Serializer[Any]):
    """Since when one asks to be forgotten, and where it applies, why that has to wait."""

    asked_at = serializers.DateTimeField()
    legal_hold = LegalHoldOut(required=False)


class ErasureRequest(OwnRights):
    @operation("erasure_ask", gives={200: ErasureAskedOut}, tag="rights")
    def put(self, request: Request) -> Response:
        """Ask the clinic to erase everything about oneself. The clinic decides."""
        with transaction.atomic():
            patient = erasing.ask(patient=self.patient, now=self.now)
            self.noted(request, "erasure_ask", 200)
        assert patient.erasure_asked_at is not None
        shown: dict[str, object] = {"asked_at": moment(patient.erasure_asked_at)}
        if patient.legal_hold_since:
            since = moment(patient.legal_hold_since)
            shown["legal_hold"] = {"reason": patient.legal_hold_reason, "since": since}
        return Response(shown)

    @operation("erasure_take_back", gives={204: None}, tag="rights")
    def delete(self, request: Request) -> Response:
        with transaction.atomic():
            erasing.take_back(patient=self.patient)
            self.noted(request, "erasure_take_back", 204)
        return Response(status=204)


# --- The clinic's side ------------------------------------------------------------------------


class OfAdmin(OfPatient):
    roles = frozenset({Role.CLINIC_ADMIN})
    needs_consent = False


class LegalHoldIn(In):
    """`reason` is told to whoever asks for the erasure, the patient too."""

    reason = Text(400, trim_whitespace=True)


class Hold(OfAdmin):
    @operation(
        "legal_hold_set", takes=LegalHoldIn, gives={200: LegalHoldOut}, refuses=[ErasureDecided],
        tag="rights",
    )  # fmt: skip
    def put(self, request: Request, id: str) -> Response:
        """Keep a record, whatever is asked and however long it has been there."""
        patient = self.treated(id)
        said = LegalHoldIn.checked(request.data)
        patient = erasing.hold(patient=patient, reason=said["reason"], now=self.now)
        assert patient.legal_hold_since is not None
        since = moment(patient.legal_hold_since)
        return Response({"reason": patient.legal_hold_reason, "since": since})

    @operation("legal_hold_lift", gives={204: None}, tag="rights")
    def delete(self, request: Request, id: str) -> Response:
        erasing.lift(patient=self.treated(id))
        return Response(status=204)


class ErasureIn(In):
    """`reason` is `asked` by the patient, in the app or otherwise; a `mistake`, where the record
    should never have been; or `ordered` by a court or an authority."""

    reason = Word(REASONS)


class ErasureOut(serializers.Serializer[Any]):
    """It is decided, and done within minutes. From then on the record is unknown."""

    patient_id = serializers.UUIDField()
    reason = serializers.ChoiceField(Erasure.Reason.choices)
    decided_at = serializers.DateTimeField()


class PatientErasure(OfAdmin):
    @operation(
        "patient_erase", takes=ErasureIn, gives={202: ErasureOut}, refuses=[LegalHold],
        match="must", key=True, tag="rights",
    )  # fmt: skip
    def post(self, request: Request, id: str) -> Response:
        """Erase everything about a patient, for ever. The account is signed out at once."""
        patient = self.treated(id)
        said = ErasureIn.checked(request.data)
        with transaction.atomic():
            patient = self.rows().select_for_update(of=("self",)).get(pk=patient.pk)
            match(request, etag_of(as_json(patient_shown(patient))), required=True)
            erasure = erasing.decide(
                patient=patient, reason=said["reason"], by=self.person, now=self.now
            )
        self.object_id = erasure.pk
        return Response(
            {
                "patient_id": str(erasure.patient_id),
                "reason": erasure.reason,
                "decided_at": moment(erasure.decided_at),
            },
            202,
        )
