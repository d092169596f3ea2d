"""Files for other programs: asking for one, what became of those before, and fetching them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from backend.api import exports as api
from backend.api.base import Role
from backend.api.physio import protocols
from backend.clinics.selectors import staff_of
from backend.console.frame import Form, FormScreen, Screen
from backend.console.reports import GROUPINGS
from backend.reports.exports import FORMATS
from backend.reports.models import Export

A_PAGE = 20
A_DAY = timedelta(days=1)
PENDING = frozenset({Export.Status.QUEUED.value, Export.Status.RUNNING.value})
KINDS = {"adherence": "The adherence report", "sessions": "Sessions, one a line"}
NAMES = {
    "csv": "CSV, for any program",
    "ndjson": "NDJSON, an object a line",
    "xlsx": "Excel workbook",
    "pdf": "PDF, to be printed",
}
OF_A_REPORT = ("group_by", "physiotherapist_id", "protocol_id")
ADMINS = frozenset({Role.CLINIC_ADMIN})


class Exports(Screen):
    reads = "export_list"
    here = "exports"
    roles = ADMINS

    def get(self, request: Request) -> HttpResponse:
        cursor = request.query_params.get("cursor", "")
        asked = {"limit": A_PAGE} | ({"cursor": cursor} if cursor else {})
        shown = self.ask(api.Exports, asked)
        names = {str(one.pk): one.display_name for one in staff_of(self.person)}
        items = [
            one
            | {
                "is_pending": one["status"] in PENDING,
                "percent": round(one["progress"] * 100),
                "what": KINDS.get(one["kind"], one["kind"]),
                "name": NAMES.get(one["format"], one["format"]).partition(",")[0],
                "by": GROUPINGS.get(one.get("group_by", ""), ""),
                "first": one["from"],
                "who": names.get(one["asked_by"], "Somebody who left"),
                "again": again_of(one),
            }
            for one in shown["items"]
        ]
        said = {
            "items": items,
            "next_cursor": shown["next_cursor"],
            "asked": {"cursor": cursor} if cursor else {},
            "pending": sum(one["is_pending"] for one in items),
            "zone": self.person.timezone,
        }
        if self.wants_part:
            return self.part("console/parts/exports.html", said)
        return self.page("console/exports.html", said)


def again_of(one: Mapping[str, Any]) -> str:
    """The form for the same file once more. What it is for is said anew."""
    kept = ("kind", "format", "from", "to", "min_due", *OF_A_REPORT)
    wish = {name: one[name] for name in kept if name in one}
    if one["de_identified"]:
        wish["de_identified"] = "on"
    return f"{reverse('console:new-export')}?{urlencode(wish)}"


class ExportNew(FormScreen):
    writes = "export_create"
    here = "exports"
    roles = ADMINS

    def get(self, request: Request, **address: str) -> HttpResponse:
        """With what the report or an earlier file was asked for; else of the last four weeks."""
        last = self.now.date() - A_DAY
        usual = {"from": (last - 27 * A_DAY).isoformat(), "to": last.isoformat()}
        return self.show(Form(usual | request._request.GET.dict()))

    def show(self, form: Form, *args: Any, **address: Any) -> HttpResponse:
        kind = form.value("kind") if form.value("kind") in FORMATS else Export.Kind.ADHERENCE.value
        formats = [
            (str(one), NAMES.get(one, str(one)))
            for one in Export.Format.values
            if one in FORMATS[kind]
        ]
        known = self.ask(protocols.Protocols, {"limit": 200})["items"]
        treating = staff_of(self.person).filter(is_physiotherapist=True).order_by("family_name")
        return self.page("console/export_new.html", {
            "form": form,
            "kind": kind,
            "kinds": [
                (one, KINDS.get(one, one), f"?{urlencode(_kept(form) | {'kind': one})}")
                for one in sorted(FORMATS)
            ],
            "formats": formats,
            "groupings": GROUPINGS.items(),
            "protocols": [("", "All protocols"), *((one["id"], one["title"]) for one in known)],
            "people": [("", "Everybody"), *((one.pk, one.display_name) for one in treating)],
        })  # fmt: skip

    def act(self, form: Form, *args: Any, **address: Any) -> HttpResponse:
        more = OF_A_REPORT if form.value("kind") == Export.Kind.ADHERENCE else ()
        body = form.body(
            "kind", "format", "from", "to", "purpose", *more,
            numbers=["min_due"] if more else (), switches=["de_identified"],
        )  # fmt: skip
        self.tell(api.Exports, body)
        self.say("The file is being written. It stays here for a day once it is ready.")
        return self.onward("exports")


def _kept(form: Form) -> dict[str, str]:
    """What stays said when another kind of file is chosen."""
    names = ("from", "to", "purpose")
    return {name: form.value(name) for name in names if form.value(name)}


class ExportFile(Screen):
    reads = "export_file"
    here = "exports"
    roles = ADMINS

    def get(self, request: Request, id: str) -> HttpResponse:
        return self.file(api.File, id=id)
