"""Patients of the clinic: found, enrolled, and invited to the app."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any, ClassVar

from django.http import HttpResponse
from django.urls import NoReverseMatch, reverse
from rest_framework.request import Request

from backend.api.physio import patients as api
from backend.clinics.models import Invitation, Patient, User
from backend.clinics.selectors import staff_of
from backend.console.frame import Form, FormScreen, Screen
from backend.problems import NotFound
from protocols.knowledge import safety

A_PAGE = 50
EVERYBODY = ("", "Everybody")
STATUSES = (
    (Patient.Status.INVITED.value, "Not signed in yet"),
    (Patient.Status.ACTIVE.value, "Uses the app"),
    (Patient.Status.DISCHARGED.value, "Discharged"),
    (Patient.Status.DEACTIVATED.value, "Deactivated"),
)
BADGES = {"invited": "warning", "active": "ok", "discharged": "", "deactivated": "error"}
SEXES = (
    ("unspecified", "Not said"),
    ("female", "Female"),
    ("male", "Male"),
    ("other", "Other"),
)


def names_of(person: User, ids: Iterable[str | None]) -> dict[str, str]:
    """What colleagues are called, also those who left."""
    rows = staff_of(person).filter(pk__in={one for one in ids if one})
    return {str(one.pk): one.display_name for one in rows}


def treating(person: User) -> list[tuple[str, str]]:
    """The physiotherapists of somebody's clinic, that person first."""
    rows = staff_of(person).filter(is_physiotherapist=True, is_active=True)
    found = sorted(rows, key=lambda one: (one.pk != person.pk, one.display_name.lower()))
    return [(str(one.pk), one.display_name) for one in found]


class Patients(Screen):
    reads = "patient_list"
    here = "patients"

    def get(self, request: Request) -> HttpResponse:
        asked = {name: str(value) for name, value in request.query_params.items() if value}
        shown = self.ask(api.Patients, {"limit": str(A_PAGE)} | asked)
        colleagues = treating(self.person)
        names = names_of(self.person, (one.get("physiotherapist_id") for one in shown["items"]))
        return self.page(
            "console/patients.html",
            {
                "form": Form(asked),
                "rows": [told(one, names) | self._ways(one) for one in shown["items"]],
                "next_cursor": shown.get("next_cursor"),
                "asked": asked,
                "is_narrowed": bool(asked.keys() - {"cursor"}),
                "is_first": "cursor" not in asked,
                "statuses": [("", "Every state"), *STATUSES],
                "physiotherapists": [EVERYBODY, *colleagues],
            },
        )

    def _ways(self, shown: Mapping[str, Any]) -> dict[str, str]:
        account = reverse("console:patient_account", kwargs={"id": shown["id"]})
        there = self.person.is_physiotherapist and _address("patient", id=shown["id"])
        return {"address": there or account, "account": account}


def told(shown: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """A patient in the words of the pages."""
    return {
        **shown,
        "name": f"{shown['given_name']} {shown['family_name']}".strip(),
        "born": date.fromisoformat(shown["birth_date"]),
        "treated_by": names.get(shown.get("physiotherapist_id", ""), ""),
        "state": dict(STATUSES)[shown["status"]],
        "badge": BADGES[shown["status"]],
    }


def _address(route: str, **said: str) -> str:
    try:
        return reverse(f"console:{route}", kwargs=said)
    except NoReverseMatch:
        return ""


# --- Enrol, and put right ---------------------------------------------------------------------

SAID = ("given_name", "family_name", "birth_date", "sex", "email", "phone", "locale", "timezone",
        "physiotherapist_id")  # fmt: skip
NUMBER = ("identifiers/0/system", "identifiers/0/value")


class OfPerson(FormScreen):
    """What another system knows the patient by is one number here; more of them are for the systems
    that send them."""

    here = "patients"

    def _page(self, form: Form, **said: object) -> HttpResponse:
        treated_by = str(form.value("physiotherapist_id"))
        known = {**names_of(self.person, [treated_by]), **dict(treating(self.person))}
        choose = {} if treated_by in known else {"": "Choose"}
        return self.page(
            "console/patient_form.html",
            {
                "form": form,
                "sexes": SEXES,
                "physiotherapists": [*choose.items(), *known.items()],
                "conditions": [(code, one.name) for code, one in safety().conditions.items()],
                **said,
            },
        )

    def _body(self, form: Form) -> dict[str, Any]:
        body = form.body(*SAID, lists=["conditions"])
        if number := form.body(*NUMBER):
            parts = {name.rpartition("/")[2]: value for name, value in number.items()}
            body["identifiers"] = [parts]
        return body


class Enrol(OfPerson):
    writes = "patient_create"

    def show(self, form: Form, **address: str) -> HttpResponse:
        if not form.values:
            assert self.person.clinic is not None
            mine = str(self.person.pk) if self.person.is_physiotherapist else ""
            form = Form({"physiotherapist_id": mine, "sex": "unspecified", "locale": "en",
                         "timezone": self.person.clinic.timezone})  # fmt: skip
        return self._page(form)

    def act(self, form: Form, **address: str) -> HttpResponse:
        made = self.tell(api.Patients, self._body(form))
        self.say(f"Enrolled: {made['given_name']} {made['family_name']}. Next, invite to the app.")
        return self.onward("patient_account", id=made["id"])


class Change(OfPerson):
    """Put right what was said of a patient."""

    reads = "patient_get"
    writes = "patient_update"

    def show(self, form: Form, id: str = "") -> HttpResponse:
        shown = self.ask(api.PatientOne, id=id)
        if not form.values:
            numbers = shown["identifiers"][:1]
            parts = {f"identifiers/0/{part}": one[part] for one in numbers for part in one}
            codes = [one["code"] for one in shown["conditions"]]
            form = Form(dict(shown) | parts | {"conditions": codes})
        return self._page(form, patient=shown, etag=self.etag(api.PatientOne, id=id))

    def act(self, form: Form, id: str = "") -> HttpResponse:
        others = self.ask(api.PatientOne, id=id)["identifiers"][1:]
        body = dict.fromkeys(SAID, "") | self._body(form)
        body["identifiers"] = [*body.get("identifiers", []), *others]
        told = self.tell(
            api.PatientOne, body, method="PATCH", if_match=form.value("etag"), id=id
        )  # fmt: skip
        self.say(f"Changed: {told['given_name']} {told['family_name']}.")
        return self.onward("patient_account", id=id)


# --- The account ------------------------------------------------------------------------------


class Account(FormScreen):
    """Who the patient is, whether the app is used, and the invitation to it."""

    reads: ClassVar[str] = "patient_get"
    writes: ClassVar[str] = "invitation_create"
    here = "patients"

    def show(self, form: Form, id: str = "") -> HttpResponse:
        shown = self.ask(api.PatientOne, id=id)
        names = names_of(self.person, [shown.get("physiotherapist_id")])
        patient = Patient.objects.visible_to(self.person).get(pk=shown["id"])
        return self.page(
            "console/patient_account.html",
            {
                "form": form,
                "patient": told(shown, names),
                "sex": dict(SEXES)[shown["sex"]],
                "there": self.person.is_physiotherapist and _address("patient", id=id),
                "has_account": patient.user_id is not None,
                "consented_at": patient.consented_at,
                "withdrawn_at": patient.consent_withdrawn_at,
                "invitation": self._invitation(patient),
                "can_invite": patient.user_id is None
                and patient.status != Patient.Status.DEACTIVATED,
            },
        )

    def _invitation(self, patient: Patient) -> Invitation | None:
        """The newest one, and how it went."""
        rows = patient.invitations.select_related("created_by").order_by("-created_at")
        return rows.first()

    def act(self, form: Form, id: str = "") -> HttpResponse:
        made = self.tell(api.Invitations, id=id)
        return self.onward("invitation", id=id, token=api.print_token(made["id"]))


class Told(Screen):
    """The code of an invitation, for a quarter of an hour after it was made."""

    reads = "invitation_print"
    here = "patients"

    def get(self, request: Request, id: str, token: str) -> HttpResponse:
        patient = self.ask(api.PatientOne, id=id)
        invitation = api.printable(token)
        if invitation is None or str(invitation.patient_id) != patient["id"]:
            raise NotFound("An invitation can be looked at for 15 minutes, then make a new one.")
        self.object_id = invitation.pk
        return self.page(
            "console/invitation.html",
            {
                "patient": told(patient, {}),
                "print_page": f"/invitations/{token}",
                **api.invitation_told(invitation),
            },
        )
