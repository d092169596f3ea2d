"""Who did what to whose data: the audit of the API, with names, and whether its chain holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date, datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import HttpResponse
from django.urls import URLPattern, get_resolver
from rest_framework.request import Request

from backend.api import audit as api
from backend.api.base import Role
from backend.api.physio import patients
from backend.audit import chain
from backend.audit.models import Chain
from backend.clinics.models import Patient
from backend.clinics.selectors import staff_of
from backend.console.frame import CHANNEL, Form, Screen
from backend.console.running import differences
from backend.problems import MalformedRequest

A_PAGE = 50
MOST_CHECKED = 20_000  # events; more are for the command, which shows how far it is
OF_COMMANDS = ("explain", "proposals_switch", "rebuild", "rebuild_check")
SHOWN = ("actor_id", "patient", "patient_id", "action", "from", "to", "cursor", "check")
OUTCOMES = {"ok": "ok", "denied": "error", "refused": "warning", "failed": "error"}
A_DAY = timedelta(days=1)


class Audit(Screen):
    reads = "audit_list"
    here = "audit"
    roles = frozenset({Role.CLINIC_ADMIN})

    def get(self, request: Request) -> HttpResponse:
        said = {name: text for name in SHOWN if (text := request.query_params.get(name, ""))}
        fitting = self._fitting(said.get("patient", "")) if "patient_id" not in said else []
        if len(fitting) == 1:
            said["patient_id"] = str(fitting[0].pk)
            fitting = []
        is_unclear = "patient" in said and "patient_id" not in said
        shown: Mapping[str, Any] = {"items": [], "next_cursor": None}
        if not is_unclear:
            shown = self.ask(api.AuditEvents, {"limit": A_PAGE, **self._wish(said)})
        people = self._names(shown["items"], said.get("patient_id", ""))
        items = [_event(event, people) for event in shown["items"]]
        staff = staff_of(self.person).order_by("family_name", "given_name", "pk")
        return self.page("console/audit.html", {
            "items": items,
            "next_cursor": shown["next_cursor"],
            "asked": said,
            "fitting": fitting,
            "is_unclear": is_unclear,
            "patient_name": people.get(said.get("patient_id", ""), ""),
            "form": Form(said | {"patient": said.get("patient")
                                 or people.get(said.get("patient_id", ""), "")}),
            "people": [("", "Anybody"), *((one.pk, one.display_name) for one in staff)],
            "actions": [("", "Anything"), *((name, worded(name)) for name in actions())],
            "chain": self._chain(is_checked=said.get("check") == "1"),
        })  # fmt: skip

    def _wish(self, said: Mapping[str, str]) -> dict[str, str]:
        names = ("actor_id", "patient_id", "action", "cursor")
        wish = {name: said[name] for name in names if name in said}
        if "from" in said:
            wish["from"] = self._midnight(said["from"])
        if "to" in said:
            wish["to"] = self._midnight(said["to"], days=1)
        return wish

    def _midnight(self, text: str, days: int = 0) -> str:
        """With which a date begins, where the reader is."""
        try:
            on = date.fromisoformat(text) + days * A_DAY
        except (ValueError, OverflowError):
            raise MalformedRequest("from and to are dates.") from None
        return datetime.combine(on, time(), ZoneInfo(self.person.timezone)).isoformat()

    def _fitting(self, words: str) -> list[Patient]:
        """Whom a name may mean."""
        if not words:
            return []
        rows = patients.named(Patient.objects.visible_to(self.person), words[:100])
        return list(rows.order_by("family_name", "given_name", "pk")[:10])

    def _names(self, items: Iterable[Mapping[str, Any]], asked: str) -> dict[str, str]:
        ids = {item["patient_id"] for item in items if "patient_id" in item}
        ids |= {asked} if asked else set()
        rows = Patient.objects.visible_to(self.person).filter(pk__in={UUID(id) for id in ids})
        return {
            str(pk): f"{given} {family}".strip()
            for pk, given, family in rows.values_list("pk", "given_name", "family_name")
        }

    def _chain(self, *, is_checked: bool) -> dict[str, object]:
        """Where the chain ends; and walked from its first event on, where that is asked for."""
        assert self.person.clinic_id is not None
        head = Chain.objects.filter(pk=self.person.clinic_id).first()
        seq = head.seq if head else 0
        said: dict[str, object] = {
            "seq": seq,
            "hash": head.hash if head else "",
            "is_long": seq > MOST_CHECKED,
        }
        if is_checked and seq <= MOST_CHECKED:
            said["walked"] = chain.verify(clinic_id=self.person.clinic_id, step=lambda _: None)
        return said


def _event(event: Mapping[str, Any], people: Mapping[str, str]) -> dict[str, Any]:
    name, actor = event["action"], event["actor"]
    of = event.get("object", {}).get("type", "").replace("_", " ")
    return {
        **event,
        "words": worded(name.removeprefix(CHANNEL)),
        "by_console": name.startswith(CHANNEL),
        "who": actor.get("name") or ("Somebody who left" if "id" in actor else actor["role"]),
        "role": actor["role"].replace("+", ", ").replace("_", " "),
        "whom": people.get(event.get("patient_id", ""), ""),
        "of": of,
        "mark": OUTCOMES[event["outcome"]],
        "differences": differences(event),
    }


def worded(action: str) -> str:
    """`console.patient_get` as people read it."""
    name = action.removeprefix(CHANNEL).replace("_", " ").capitalize()
    return f"{name}, on a screen" if action.startswith(CHANNEL) else name


def actions() -> list[str]:
    """Everything that can stand in the audit, in order: operations, screens, commands."""
    found = set(OF_COMMANDS)
    for pattern in _patterns(get_resolver().url_patterns):
        view = getattr(pattern.callback, "cls", None)
        if view is None:
            continue
        for method in ("get", "post", "put", "patch", "delete"):
            if name := getattr(getattr(view, method, None), "operation_id", ""):
                found.add(name)
        if issubclass(view, Screen):
            found |= {CHANNEL + name for name in (view.reads, view.writes) if name}
    return sorted(found, key=lambda name: (name.removeprefix(CHANNEL), name))


def _patterns(nodes: Iterable[Any]) -> Iterable[URLPattern]:
    for node in nodes:
        if isinstance(node, URLPattern):
            yield node
        else:
            yield from _patterns(node.url_patterns)
