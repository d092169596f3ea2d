"""Protocols to read: the list, and a version with everything it says and rests on."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from itertools import zip_longest
from typing import Any

from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from rest_framework.request import Request

from backend.api.base import as_json, etag_of
from backend.api.physio import protocols as api
from backend.api.physio import versions
from backend.clinics.models import User
from backend.console.exercises import rows_of
from backend.console.frame import Form, FormScreen, Screen
from backend.console.navigation import TREATING
from backend.console.patients import names_of
from backend.console.wording import dose_words, schedule_words
from backend.problems import StateConflict
from protocols.knowledge import metrics

Shown = Mapping[str, Any]
A_PAGE = 50
STATUSES = (("", "Published"), ("draft", "Drafts"), ("retired", "Retired"))
BADGES = {"published": "ok", "draft": "info", "retired": "warning"}
TAG = re.compile(r"\[(seed|trial|guideline|expert|our default)\]")
LIMITS = (
    ("progress", "Progress up to"),
    ("red", "A red day from"),
    ("red_rise", "Rise on the next morning that makes it red"),
    ("severe", "Stop from"),
    ("amber_next", "Amber on the next morning from"),
)


def words_of(code: object) -> str:
    """A code of the library as it is read: `hamstring_strain` becomes Hamstring strain."""
    return str(code).replace("_", " ").capitalize()


def tagged(text: object) -> SafeString:
    """A source in words, what it is worth as a mark."""
    pieces = TAG.split(str(text))  # words and tags in turn
    words = (format_html("{}", one) for one in pieces[::2])
    marks = (format_html('<span class="badge">{}</span>', one) for one in pieces[1::2])
    return format_html_join("", "{}{}", zip_longest(words, marks, fillvalue=""))


class Protocols(FormScreen):
    writes = "protocol_create"
    here = "protocols"

    def show(self, form: Form) -> HttpResponse:
        sent = self.request.query_params
        asked = {name: str(value) for name, value in sent.items() if value}
        shown = self.ask(api.Protocols, {"limit": str(A_PAGE)} | asked)
        return self.page(
            "console/protocols.html",
            {
                "form": Form(asked),
                "asked": asked,
                "status": asked.get("status", ""),
                "statuses": STATUSES,
                "rows": [self._row(one) for one in shown["items"]],
                "next_cursor": shown.get("next_cursor"),
                "can_write": self.person.is_physiotherapist,
            },
        )

    def act(self, form: Form) -> HttpResponse:
        """A draft of the next version of the clinic's own protocol, a copy of another one, or an
        empty one. Where there is a draft already, it is opened."""
        said = form.body("copy_of")
        try:
            made = self.tell(api.Protocols, said)
        except StateConflict:
            return self.onward("draft", id=said["copy_of"])
        self.say("A draft was made. Nobody is given it before it is published.")
        return self.onward("draft", id=made["id"])

    def _row(self, one: Shown) -> dict[str, Any]:
        route = "draft" if one["status"] == "draft" and self.person.is_physiotherapist else ""
        address = reverse(f"console:{route or 'protocol'}", kwargs={"id": one["id"]})
        return {
            **one,
            "address": address,
            "title": one.get("title") or "Without a title",
            "about": words_of(one.get("condition", "")),
            "badge": BADGES[one["status"]],
        }


class Protocol(Screen):
    here = "protocols"

    def get(self, request: Request, id: str) -> HttpResponse:
        version = request.query_params.get("version")
        shown = self.ask(api.ProtocolOne, {"version": version} if version else {}, id=id)
        known = self.ask(versions.Versions, {"limit": "50"}, id=id)["items"]
        names = names_of(self.person, (one.get("published_by") for one in known))
        mine = "clinic_id" in shown
        return self.page(
            "console/protocol.html",
            {
                "protocol": shown,
                "about": words_of(shown.get("condition", "")),
                "badge": BADGES[shown["status"]],
                "mine": mine,
                "phases": phases_told(self.person, shown),
                "limits": [
                    (words, shown["limits"][name])
                    for name, words in LIMITS
                    if shown.get("limits", {}).get(name) is not None
                ],
                "limits_source": tagged(shown.get("limits", {}).get("source", "")),
                "requires": [
                    {**one, "source": tagged(one.get("source", ""))}
                    for one in shown.get("requires", ())
                ],
                "versions": [
                    {**one, "by": names.get(one.get("published_by", ""), "")} for one in known
                ],
                "before": _before(shown, known),
                "can_write": self.person.is_physiotherapist,
                "can_retire": mine and self.person.can_publish and shown["status"] == "published",
            },
        )


def _before(shown: Shown, known: Iterable[Shown]) -> str:
    """The version that came before this one, by when it was published."""
    numbers = [one["version"] for one in known]
    if shown.get("version") not in numbers:
        return ""
    later = numbers[numbers.index(shown["version"]) + 1 :]
    return str(later[0]) if later else ""


def phases_told(person: User, document: Shown) -> list[dict[str, Any]]:
    """The phases with their prescriptions and ways out in words. One query."""
    phases = document.get("phases", ())
    rows = rows_of(person, (one["exercise"] for phase in phases
                            for one in phase.get("prescriptions", ())))  # fmt: skip
    return [
        {
            **phase,
            "min_source": tagged(phase.get("min_days_source", "")),
            "prescriptions": [
                prescription_told(one, rows) for one in phase.get("prescriptions", ())
            ],
            "exit": [
                {**one, "sentence": sentence_of(one), "source": tagged(one.get("source", ""))}
                for one in phase.get("exit", ())
            ],
        }
        for phase in phases
    ]


def _told(words: Callable[[Shown], str], value: Shown | None) -> str:
    """A draft may lack any of it."""
    try:
        return words(value or {})
    except KeyError:
        return "not complete"


def prescription_told(one: Shown, rows: Mapping[str, Any]) -> dict[str, Any]:
    row = rows.get(one["exercise"])
    source = one.get("source", "")
    return {
        **one,
        "title": row.title if row else one["exercise"],
        "row": row,
        "dose": _told(dose_words, one.get("dose")),
        "often": _told(schedule_words, one.get("schedule")),
        "stages": [
            f"From day {stage['from_day']}: {dose_words(stage['dose'])}, "
            f"{schedule_words(stage['schedule'])}"
            for stage in one.get("stages", ())
        ],
        "from": "As in the catalogue" if source == "catalogue" else tagged(source),
    }


# --- Criteria in words ------------------------------------------------------------------------

LINE = re.compile(
    r"(?P<agg>\w+)\((?P<metric>[\w/]+); (?P<window>last:\d+|days:\d+|phase|episode)"
    r"(?:, age<=(?P<age>\d+)d)?\) (?P<cmp>[<>=!]+) (?P<value>-?[\d.]+)"
)
AGGREGATES = {
    "latest": "Latest",
    "max": "Highest",
    "min": "Lowest",
    "mean": "Mean",
    "sum": "Sum",
    "count": "Number",
    "ratio": "Ratio",
}
COMPARES = {"<=": "at most", ">=": "at least", "<": "below", ">": "above", "==": "exactly",
            "!=": "not"}  # fmt: skip
WINDOWS = {
    "phase": "in this phase",
    "episode": "in this episode",
    "last": "last values",
    "days": "last days",
}


def parts_of(when: str) -> dict[str, str]:
    """What a predicate is made of, by the names of the fields; nothing of what is none."""
    found = LINE.fullmatch(when)
    if found is None:
        return {}
    window, _, size = found["window"].partition(":")
    return {
        "agg": found["agg"], "metric": found["metric"], "window": window, "size": size,
        "age": found["age"] or "", "cmp": found["cmp"], "value": found["value"],
    }  # fmt: skip


def line_of(parts: Mapping[str, str]) -> str:
    """The predicate of these parts, as the engine reads it."""
    window = parts["window"]
    if window in ("last", "days"):
        window = f"{window}:{parts['size'] or '?'}"
    age = f", age<={parts['age']}d" if parts["age"] else ""
    said = f"{parts['agg']}({parts['metric']}; {window}{age})"
    return f"{said} {parts['cmp']} {parts['value']}"


def sentence_of(criterion: Shown) -> str:
    """`Latest walking pain, in this phase, at most 7 days old: at most 2 (0-10).`"""
    parts = parts_of(criterion.get("when", ""))
    if not parts:
        return str(criterion.get("when", ""))
    known = metrics().get(parts["metric"].partition("/")[0])
    title = known.title if known else parts["metric"]
    size = {"last": f"over the last {parts['size']} values",
            "days": f"over the last {parts['size']} days"}  # fmt: skip
    where = size.get(parts["window"]) or WINDOWS[parts["window"]]
    age = f", at most {parts['age']} days old" if parts["age"] else ""
    return (
        f"{AGGREGATES.get(parts['agg'], parts['agg'])} of “{title}” {where}{age}: "
        f"{COMPARES[parts['cmp']]} {parts['value']}"
    )


# --- Differences ------------------------------------------------------------------------------


class Differences(Screen):
    here = "protocols"

    def get(self, request: Request, id: str) -> HttpResponse:
        asked = {name: request.query_params.get(name, "") for name in ("from", "to")}
        found = self.ask(versions.Compare, asked, id=id)
        shown = self.ask(api.ProtocolOne, {"version": asked["to"]}, id=id)
        return self.page(
            "console/protocol_differences.html",
            {
                "protocol": shown,
                "before": asked["from"],
                "after": asked["to"],
                "groups": differences_told(found),
            },
        )


def differences_told(found: Shown) -> list[tuple[str, list[tuple[str, str, str, str]]]]:
    """By heading, each line as what, how, before, after."""
    groups = [("The whole", [_line("", "", one) for one in found["changes"]]),
              ("Limits", [_line("", "", one) for one in found["limits"]]),
              ("Required", _parts(found["requires"]))]  # fmt: skip
    for phase in found["phases"]:
        lines = [_line("", phase["kind"], one) for one in phase["changes"]]
        lines += _parts(phase["prescriptions"]) + _parts(phase["exit"])
        groups.append((f"Phase {phase['id']}: {phase['title']}", lines))
    groups.append(("Sources", _parts(found["sources"])))
    return [(name, lines) for name, lines in groups if lines]


def _parts(parts: Iterable[Shown]) -> list[tuple[str, str, str, str]]:
    return [
        line
        for part in parts
        for line in [_line(part["id"], part["kind"], one) for one in part["changes"]]
        or [(part["id"], part["kind"], "", "")]
    ]


def _line(id: str, kind: str, change: Shown) -> tuple[str, str, str, str]:
    what = " · ".join(one for one in (id, change["field"].replace(".", " ")) if one)
    return what, kind, _said(change.get("before")), _said(change.get("after"))


def _said(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_said(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(_said, value))
    return str(value)


# --- Versions end ---------------------------------------------------------------


class Retire(FormScreen):
    writes = "protocol_retire"
    here = "protocols"
    roles = TREATING

    def show(self, form: Form, id: str = "") -> HttpResponse:
        version = str(form.value("version") or self.request.query_params.get("version", ""))
        shown = self.ask(api.ProtocolOne, {"version": version}, id=id)
        if not form.values:
            form = Form({"version": shown["version"]})
        etag = etag_of(as_json(shown))
        return self.page(
            "console/protocol_retire.html", {"form": form, "protocol": shown, "etag": etag}
        )

    def act(self, form: Form, id: str = "") -> HttpResponse:
        said = form.body("version", "reason")
        self.tell(versions.Retire, said, if_match=str(form.value("etag")), id=id)
        self.say(f"Version {said['version']} is retired. Plans that are made of it go on.")
        address = reverse("console:protocol", kwargs={"id": id})
        return HttpResponseRedirect(f"{address}?version={said['version']}")
