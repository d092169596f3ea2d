"""Running a clinic: its people, and its settings. What can be taken back, can be for a while."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any
from uuid import UUID

from django.db.models import Count
from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from backend.api import audit as audit_api
from backend.api import clinic as api
from backend.api.base import Role, StaffEndpoint, as_json, etag_of, path_id
from backend.api.physio import caseload
from backend.care.models import Progression
from backend.clinics.models import Clinic, Patient, User
from backend.clinics.selectors import staff_of
from backend.console.frame import CHANNEL, Form, FormScreen, Screen
from backend.problems import NotFound, StateConflict
from protocols.engine.case import PROPOSED

ADMINS = frozenset({Role.CLINIC_ADMIN})
TAKEN_BACK = "console_taken_back"  # in the session: what the last change can be taken back with
MOST = 200
ROLES = (("physiotherapist", "Physiotherapist"), ("clinic_admin", "Clinic admin"))
LOCALES = (("en", "English"), ("sv", "Swedish"), ("de", "German"))


class TakesBack(Screen):
    """For who runs the clinic. A change is remembered in the session, with the version that it
    made: it is taken back if nothing happened to the same thing since."""

    roles = ADMINS

    def remember(self, what: str, body: Mapping[str, object], made: Any) -> None:
        session = self.request._request.session
        session[TAKEN_BACK] = {"what": what, "body": dict(body), "etag": etag_of(as_json(made))}

    def take_back(self, what: str, endpoint: type[StaffEndpoint], **address: str) -> None:
        kept = self.request._request.session.pop(TAKEN_BACK, None)
        if kept is None or kept["what"] != what:
            raise StateConflict("There is nothing to take back any more.")
        self.tell(endpoint, kept["body"], method="PATCH", if_match=kept["etag"], **address)


# --- Staff ------------------------------------------------------------------------------------


class Staff(Screen):
    reads = "staff_list"
    here = "staff"
    roles = ADMINS

    def get(self, request: Request) -> HttpResponse:
        cursor = request.query_params.get("cursor", "")
        shown = self.ask(api.Staff, {"cursor": cursor} if cursor else {})
        counts = dict(
            Patient.objects.visible_to(self.person)
            .filter(physiotherapist__isnull=False)
            .values_list("physiotherapist")
            .annotate(count=Count("pk"))
        )
        people = [one | {"caseload": counts.get(UUID(one["id"]), 0)} for one in shown["items"]]
        return self.page("console/staff.html", {
            "people": people,
            "roles": dict(ROLES),
            "next_cursor": shown["next_cursor"],
            "asked": {"cursor": cursor} if cursor else {},
        })  # fmt: skip


class Invite(FormScreen):
    writes = "staff_create"
    here = "staff"
    roles = ADMINS

    def get(self, request: Request, **address: str) -> HttpResponse:
        return self.show(Form({"locale": "en", "roles": ["physiotherapist"]}))

    def show(self, form: Form, *args: Any, **address: Any) -> HttpResponse:
        said = {"form": form, "roles": ROLES, "locales": LOCALES}
        return self.page("console/staff_new.html", said)

    def act(self, form: Form, *args: Any, **address: Any) -> HttpResponse:
        body = form.body(
            "given_name", "family_name", "email", "locale",
            switches=["can_publish"], lists=["roles"],
        )  # fmt: skip
        made = self.tell(api.Staff, body)
        self.say(f"{made['display_name']} is invited. An e-mail says where to set a password.")
        return self.onward("staff")


class StaffOne(TakesBack, FormScreen):
    """Names and roles; and the account, which hands its caseload over before it ends."""

    reads = "staff_list"
    writes = "staff_update"
    here = "staff"

    def show(self, form: Form, *args: Any, id: str = "", **address: Any) -> HttpResponse:
        person = self._found(id)
        shown = api.staff_shown(person)
        patients = Patient.objects.visible_to(self.person).filter(physiotherapist=person).count()
        colleagues = staff_of(self.person).filter(is_physiotherapist=True, is_active=True)
        others = colleagues.exclude(pk=person.pk).order_by("family_name", "pk")
        if not form.values:
            form = Form(shown | {"etag": etag_of(as_json(shown))})
        return self.page("console/staff_one.html", {
            "form": form,
            "shown": shown,
            "roles": ROLES,
            "patients": patients,
            "others": [("", "Choose a colleague"), *((one.pk, one.display_name) for one in others)],
            "is_self": person.pk == self.person.pk,
        })  # fmt: skip

    def act(self, form: Form, *args: Any, id: str = "", **address: Any) -> HttpResponse:
        before = api.staff_shown(self._found(id))
        do = form.value("do")
        if do == "hand-over":
            body = form.body("reassign_to")
            if not body:
                body = {"reassign_to": ""}
        elif do == "end":
            body = {"active": False, **form.body("reassign_to")}
        elif do == "reopen":
            body = {"active": True}
        else:
            body = form.body("given_name", "family_name", switches=["can_publish"], lists=["roles"])
            body = {"given_name": "", "family_name": "", **body}
        made = self.tell(api.StaffOne, body, method="PATCH", if_match=form.value("etag"), id=id)
        back = {
            name: before[name] for name in body if name in before and made[name] != before[name]
        }
        undo = ""
        if back:
            self.remember(f"staff {id}", back, made)
            undo = reverse("console:staff_undo", kwargs={"id": id})
        self.say(_said(str(do), made["display_name"], has_changed=bool(back)), undo=undo)
        return self.onward("staff_one", id=id)

    def _found(self, id: str) -> User:
        person = staff_of(self.person).filter(pk=path_id(id)).first()
        if person is None:
            raise NotFound
        self.object_id = person.pk
        return person


def _said(do: str, name: str, *, has_changed: bool) -> str:
    if do == "hand-over":
        return f"All patients of {name} are handed over."
    if do == "end":
        return f"The account of {name} has ended; it is signed out everywhere."
    if do == "reopen":
        return f"{name} can sign in again."
    return "Saved." if has_changed else "Nothing was changed."


class StaffUndo(TakesBack):
    writes = "staff_update"
    here = "staff"

    def post(self, request: Request, id: str) -> HttpResponse:
        self.take_back(f"staff {id}", api.StaffOne, id=id)
        self.say("Taken back. Patients who were handed over stay where they are.")
        return self.onward("staff_one", id=id)


# --- Settings ---------------------------------------------------------------------------------

TEXTS = ("name", "timezone", "emergency_number", "urgent_contact", "urgent_email", "crisis_line")
NUMBERS = ("typing_delay_days", "upload_delay_days")
SWITCHES = ("second_factor_required", "proposals_on")
LABELS = {
    "name": "Name of the clinic",
    "timezone": "Time zone",
    "typing_delay_days": "Days to type a record in",
    "upload_delay_days": "Days to upload it after that",
    "emergency_number": "Emergency number",
    "urgent_contact": "Urgent contact",
    "urgent_email": "E-mail for what nobody has looked at",
    "crisis_line": "Crisis line",
    "second_factor_required": "Second factor for all staff",
    "proposals_on": "Proposals to let patients go on",
}
ON_PHONES = frozenset({"emergency_number", "urgent_contact"})


class Settings(TakesBack, FormScreen):
    reads = "clinic_get"
    writes = "clinic_update"
    here = "settings"

    def show(self, form: Form, *args: Any, preview: Any = None, **address: Any) -> HttpResponse:
        history = self._history()
        shown = self.ask(api.Settings)
        if not form.values:
            form = Form(shown | {"etag": self.etag(api.Settings)})
        return self.page("console/settings.html", {
            "form": form,
            "preview": preview,
            "usual": {name: told(getattr(Clinic(), name)) for name in LABELS},
            "last": _last(history),
            "history": history,
        })  # fmt: skip

    def act(self, form: Form, *args: Any, **address: Any) -> HttpResponse:
        shown = self.ask(api.Settings)
        body = _changes(form, shown)
        if form.value("do") == "preview":
            return self.show(form, preview=self._preview(shown, body))
        if not body:
            self.say("Nothing was changed.")
            return self.onward("settings")
        made = self.tell(api.Settings, body, method="PATCH", if_match=form.value("etag"))
        self.remember("settings", {name: shown.get(name, "") for name in body}, made)
        names = ", ".join(LABELS[name] for name in body)
        self.say(f"Saved: {names}.", undo=reverse("console:settings_undo"))
        return self.onward("settings")

    def _history(self) -> list[dict[str, Any]]:
        """The newest changes, made here or by the API."""
        events = [
            event
            for channel in ("", CHANNEL)
            for event in self.ask(
                audit_api.AuditEvents, {"action": f"{channel}clinic_update", "limit": 50}
            )["items"]
            if event["outcome"] == "ok" and (event.get("before") or event.get("after"))
        ]
        events.sort(key=lambda event: event["at"], reverse=True)
        return [event | {"differences": differences(event)} for event in events[:20]]

    def _preview(self, shown: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
        """What would follow, found without storing anything."""
        follows = []
        if "proposals_on" in body and not body["proposals_on"]:
            follows += self._without_proposals()
        elif body.get("proposals_on"):
            follows.append("Proposals are looked for again, for every plan that runs.")
        if ON_PHONES.intersection(body):
            follows.append("Every phone shows it after its next sync.")
        if body.get("second_factor_required"):
            without = staff_of(self.person).filter(is_active=True)
            count = without.exclude(authenticator__type="totp").distinct().count()
            follows.append(f"{count} of {without.count()} people have to set up a second factor "
                           "before they go on.")  # fmt: skip
        changes = [
            {"name": LABELS[name], "before": told(shown.get(name, "")), "after": told(value)}
            for name, value in body.items()
        ]
        return {"changes": changes, "follows": follows}

    def _without_proposals(self) -> list[str]:
        open_rows = Progression.objects.visible_to(self.person).filter(
            status=Progression.Status.PROPOSED, recommendation__in=PROPOSED
        )
        gone = {str(pk) for pk in open_rows.values_list("pk", flat=True)}
        listed = self.listed
        found = self.ask(caseload.Caseload, {"tier": "review", "limit": MOST})
        self.listed = listed  # nobody of them is named
        now = found["counts"]["review"]
        for_this_alone = sum(
            all(
                reason.get("progression_id") in gone
                for reason in row["reasons"]
                if reason["tier"] == "review"
            )
            for row in found["items"]
        )
        told_of = f"{len(gone)} open proposal{'' if len(gone) == 1 else 's'} would be withdrawn"
        if found["next_cursor"]:
            return [f"{told_of}."]
        return [
            f"{told_of}: with these settings {now - for_this_alone} instead of {now} "
            "patients would be in Review."
        ]


class SettingsUndo(TakesBack):
    writes = "clinic_update"
    here = "settings"

    def post(self, request: Request) -> HttpResponse:
        self.take_back("settings", api.Settings)
        self.say("Taken back.")
        return self.onward("settings")


def _changes(form: Form, shown: Mapping[str, Any]) -> dict[str, Any]:
    """What the form says otherwise than it is."""
    said: dict[str, Any] = {name: str(form.value(name)).strip() for name in TEXTS}
    said |= dict.fromkeys(NUMBERS, "") | form.body(numbers=NUMBERS, switches=SWITCHES)
    return {name: value for name, value in said.items() if value != shown.get(name, "")}


def differences(event: Mapping[str, Any]) -> list[dict[str, str]]:
    """What an event says was changed, field by field."""
    before, after = event.get("before") or {}, event.get("after") or {}
    return [
        {
            "field": name,
            "name": LABELS.get(name, name.replace("_", " ").capitalize()),
            "before": told(before.get(name, "")),
            "after": told(after.get(name, "")),
        }
        for name in sorted(before.keys() | after.keys())
    ]


def told(value: object) -> str:
    match value:
        case True:
            return "on"
        case False:
            return "off"
        case None | "":
            return "–"
        case list():
            return ", ".join(map(told, value)) or "–"
        case date():
            return value.isoformat()
        case _:
            return str(value)


def _last(history: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each setting the newest change."""
    found: dict[str, Any] = {}
    for event in history:
        for one in event["differences"]:
            found.setdefault(one["field"], one | {"at": event["at"], "actor": event["actor"]})
    return found
