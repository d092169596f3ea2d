"""The protocol editor: a draft, part by part, until it is published.

A part is one form. Fields are named by their place in the document (`phases/0/title`), which is
what the API calls them, too: the draft is always saved whole, and what it refuses is found here.
Buttons that move, add or take away save what was typed along the way.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from django.http import HttpResponse, HttpResponseRedirect
from django.urls import reverse

from backend.api import exercises
from backend.api.base import as_json, etag_of
from backend.api.physio import protocols as api
from backend.api.physio import versions
from backend.console.exercises import KINDS, rows_of
from backend.console.frame import Form, FormScreen
from backend.console.navigation import TREATING
from backend.console.protocols import (
    AGGREGATES,
    COMPARES,
    WINDOWS,
    differences_told,
    line_of,
    parts_of,
    prescription_told,
    sentence_of,
)
from backend.problems import (
    FieldError,
    MalformedRequest,
    NotFound,
    ValidationFailed,
    VersionMismatch,
)
from protocols import drafting
from protocols.engine.definition import in_full
from protocols.knowledge import metrics
from protocols.models import ProtocolDraft

Document = dict[str, Any]
ABOUT = ("title", "slug", "condition", "indications", "not_for", "expected_course", "regression",
         "licence")  # fmt: skip
LONG = ("indications", "not_for", "expected_course", "regression", "licence", "goals", "notes")
LIMITS = (("progress", "Progress up to"), ("red", "Red day from"),
          ("red_rise", "Red by a rise of"), ("severe", "Stop from"),
          ("amber_next", "Amber next morning from"))  # fmt: skip
WHOLE = ("sets", "reps/min", "reps/max", "hold_s", "duration_s", "distance_m", "rest_s",
         "effort/min", "effort/max", "load_kg")  # fmt: skip
DOSE = (*WHOLE, "tempo", "load_text", "effort/scale")
SCHEDULE = ("per_week", "every_n_days", "sessions_per_day", "from_day", "to_day")
PREDICATE = ("agg", "metric", "window", "size", "age", "cmp", "value")
SCHEDULES = (("daily", "Every day"), ("weekly", "Days a week"),
             ("every_n_days", "Every so many days"), ("once", "Once"))  # fmt: skip
TAGS = (("", "No tag"), ("seed", "Seed"), ("trial", "Trial"), ("guideline", "Guideline"),
        ("expert", "Expert"))  # fmt: skip
MOVED = {"up": -1, "down": 1}
A_PHASE: Mapping[str, Any] = {"title": "New phase", "exit": []}
ASTRAY = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError)


class OfDraft(FormScreen):
    here = "protocols"
    roles = TREATING

    def draft(self, id: str) -> ProtocolDraft:
        """The draft the API shows; 404 where there is none."""
        shown = self.ask(api.ProtocolOne, {"version": api.DRAFT}, id=id)
        return ProtocolDraft.objects.visible_to(self.person).get(protocol_id=shown["id"])

    def checked(self, id: str) -> dict[str, list[dict[str, Any]]]:
        """What a check says, each with the part it is in and the field it is at."""
        found = self.tell(api.Check, id=id)
        return {kind: [one | place_of(one["pointer"]) for one in told]
                for kind, told in found.items()}  # fmt: skip


def document_of(draft: ProtocolDraft) -> Document:
    """The draft in full, as it is saved; a copy from the library may say things in short."""
    document = in_full(draft.document)
    assert isinstance(document, dict)
    return document


def met_told(count: Mapping[str, Any]) -> str:
    """How many people a criterion of the draft would let go on."""
    if not count["patients"]:
        return "Nobody is in treatment for this condition."
    told = f"Met now by {count['met']} of {count['patients']} with this condition"
    return told + (f"; of {count['unknown']} it is not known." if count["unknown"] else ".")


def tag_of(draft: ProtocolDraft) -> str:
    return etag_of(as_json(api.protocol_shown(draft)))


def etag_for(form: Form, draft: ProtocolDraft) -> str:
    """That of what was looked at; after a colleague saved, that of what is shown now."""
    is_stale = isinstance(form.problem, VersionMismatch)
    return str("" if is_stale else form.value("etag")) or tag_of(draft)


def place_of(pointer: str) -> dict[str, str]:
    """Where somebody finds what a finding is about."""
    name = pointer.removeprefix("#").removeprefix("/")
    first, *more = name.split("/")
    part = "about"
    if first == "phases" and more and more[0].isdigit():
        part = f"phase-{int(more[0]) + 1}"
    elif first == "sources":
        part = "sources"
    return {"part": part, "field": name}


class Draft(OfDraft):
    reads, writes = "protocol_check", "protocol_update"

    def show(self, form: Form, id: str = "") -> HttpResponse:
        draft = self.draft(id)
        document = document_of(draft)
        part = str(form.value("part") or self.request.query_params.get("part") or "about")
        phases = document.get("phases", [])
        number = _phase_of(part, phases)
        filled = Form(form.values or fields_of(document), form.problem)
        newest = drafting.newest(self.person).get(draft.protocol_id)
        found = self.checked(id)
        said: dict[str, object] = {
            "id": id,
            "form": filled,
            "etag": etag_for(form, draft),
            "part": part,
            "draft": draft,
            "document": document,
            "tabs": [
                ("about", "About"),
                *((f"phase-{n}", f"{n} {one.get('title', '')}") for n, one in enumerate(phases, 1)),
                ("sources", "Sources"),
            ],
            "newest": newest,
            "found": found,
            "limits": [(f"limits/{name}", words) for name, words in LIMITS],
            "can_publish": self.person.can_publish,
            "tags": TAGS,
            "sources": [
                f"sources/{n}" for n in range(len(document.get("sources", ())))
            ],
            "known": [one.get("id", "") for one in document.get("sources", ())],
        }  # fmt: skip
        if newest is not None:
            asked = {"from": newest.version, "to": api.DRAFT}
            said["groups"] = differences_told(self.ask(versions.Compare, asked, id=id))
        if number is not None:
            said |= self._phase(document, number, filled, found["criteria"])
        return self.page("console/draft.html", said)

    def _phase(
        self, document: Document, number: int, form: Form, counts: Sequence[Mapping[str, Any]]
    ) -> dict[str, object]:
        phase = document["phases"][number]
        met = {one["field"]: met_told(one) for one in counts}
        given = phase.get("prescriptions", [])
        rows = rows_of(self.person, (one["exercise"] for one in given))
        base = f"phases/{number}"
        return {
            "phase": phase,
            "base": base,
            "count": len(document["phases"]),
            "prescriptions": [
                prescription_told(one, rows)
                | {"at": f"{base}/prescriptions/{n}", "number": n, "is_wrong": _is_wrong(
                    form, f"{base}/prescriptions/{n}")}
                for n, one in enumerate(given)
            ],
            "criteria": [
                {
                    **one,
                    "sentence": sentence_of(one),
                    "at": f"{base}/exit/{n}",
                    "number": n,
                    "is_wrong": _is_wrong(form, f"{base}/exit/{n}"),
                    "met": met.get(f"{base}/exit/{n}", ""),
                }
                for n, one in enumerate(phase.get("exit", []))
            ],
            "schedules": SCHEDULES,
            "scales": [("", "No effort"), ("cr10", "0 to 10"), ("percent", "Per cent")],
            "aggregates": [*AGGREGATES.items()],
            "compares": [*COMPARES.items()],
            "windows": [*WINDOWS.items()],
            "exercises": self._catalogue(),
            "measures": [("", "Choose"), *_measures()],
        }  # fmt: skip

    def _catalogue(self) -> list[tuple[str, list[tuple[str, str]]]]:
        listed = self.ask(exercises.Exercises, {"limit": "200"})["items"]
        return [
            (words, [(one["slug"], one["title"]) for one in listed if one["kind"] == kind])
            for kind, words in KINDS.items()
        ]

    def act(self, form: Form, id: str = "") -> HttpResponse:
        draft = self.draft(id)
        part, wish = str(form.value("part")), str(form.value("do") or "save")
        document = copy.deepcopy(document_of(draft))
        try:
            _take(document, form)
            part, anchor = _done(document, wish, part, form, self._doses(form))
        except ASTRAY:
            raise MalformedRequest("There is no such place in the draft.") from None
        _without_empty(document)
        try:
            self.tell(api.Draft, document, method="PUT", if_match=str(form.value("etag")), id=id)
        except ValidationFailed as problem:
            raise _readdressed(problem) from problem
        if wish == "save":
            self.say("Saved.")
        there = reverse("console:draft", kwargs={"id": id})
        return HttpResponseRedirect(f"{there}?{urlencode({'part': part})}{anchor}")

    def _doses(self, form: Form) -> Mapping[str, Any]:
        """The usual dose of the exercise that is added."""
        slug = str(form.value("added"))
        row = rows_of(self.person, [slug]).get(slug)
        return {} if row is None else {"slug": slug, "dose": row.dose, "limit": row.pain_ceiling}


def _phase_of(part: str, phases: list[Any]) -> int | None:
    if not part.startswith("phase-"):
        return None
    number = int(part.removeprefix("phase-")) - 1 if part[6:].isdigit() else -1
    if not 0 <= number < len(phases):
        raise NotFound
    return number


def _is_wrong(form: Form, at: str) -> bool:
    return any(name.startswith(f"{at}/") for name, _ in form.errors())


def _measures() -> list[tuple[str, str]]:
    return sorted(((code, one.title) for code, one in metrics().items()), key=lambda one: one[1])


def fields_of(document: Document) -> dict[str, Any]:
    """Each value of the document by its place; a predicate by its parts."""
    found: dict[str, Any] = {}

    def walk(value: object, at: str) -> None:
        if isinstance(value, Mapping):
            for name, inner in value.items():
                walk(inner, f"{at}/{name}" if at else name)
        elif isinstance(value, list):
            for number, inner in enumerate(value):
                walk(inner, f"{at}/{number}")
        else:
            found[at] = _typed(value)
            if at.endswith("/when"):
                found.update({f"{at}/{name}": one for name, one in parts_of(str(value)).items()})

    walk(document, "")
    for number, phase in enumerate(document.get("phases", [])):
        for order, one in enumerate(phase.get("prescriptions", [])):
            at = f"phases/{number}/prescriptions/{order}"
            switches = ("counts", "included")
            found |= {f"{at}/{name}": _typed(one.get(name, True)) for name in switches}
    return found


def _typed(value: object) -> str:
    """As it stands in a field."""
    if isinstance(value, bool):
        return "on" if value else ""
    return str(value)


def _take(document: Document, form: Form) -> None:
    """Put what was typed into its places. What is empty is taken away."""
    part = str(form.value("part"))
    if part == "about":
        for name in ABOUT:
            _put(document, name, str(form.value(name)).strip())
        for name, _ in LIMITS:
            _put(document, f"limits/{name}", _number(form.value(f"limits/{name}")))
        _put(document, "limits/source", str(form.value("limits/source")).strip())
        document.setdefault("limits", {})["nerve"] = bool(form.value("limits/nerve"))
    elif part == "sources":
        for number in range(len(document.get("sources", []))):
            for name in ("id", "text", "where", "read", "tag"):
                at = f"sources/{number}/{name}"
                _put(document, at, str(form.value(at)).strip())
    else:
        phase = _phase_of(part, document.get("phases", []))
        if phase is not None:
            _take_phase(document, f"phases/{phase}", document["phases"][phase], form)


def _take_phase(document: Document, base: str, phase: Document, form: Form) -> None:
    for name in ("title", "goals", "notes", "min_days_source"):
        _put(document, f"{base}/{name}", str(form.value(f"{base}/{name}")).strip())
    _put(document, f"{base}/min_days", _number(form.value(f"{base}/min_days")))
    for number in range(len(phase.get("prescriptions", []))):
        at = f"{base}/prescriptions/{number}"
        for name in DOSE:
            said = form.value(f"{at}/dose/{name}")
            _put(document, f"{at}/dose/{name}", _number(said) if name in WHOLE else said.strip())
        _put(document, f"{at}/schedule/kind", form.value(f"{at}/schedule/kind"))
        for name in SCHEDULE:
            where = f"{at}/schedule/{name}"
            _put(document, where, _number(form.value(where)))
        _put(document, f"{at}/pain_ceiling", _number(form.value(f"{at}/pain_ceiling")))
        for name in ("note", "source"):
            _put(document, f"{at}/{name}", form.value(f"{at}/{name}").strip())
        for name in ("counts", "included"):
            if not form.value(f"{at}/{name}"):
                phase["prescriptions"][number][name] = False
            elif phase["prescriptions"][number].get(name) is False:
                del phase["prescriptions"][number][name]  # that it does is usual
    for number in range(len(phase.get("exit", []))):
        at = f"{base}/exit/{number}"
        for name in ("text", "unit", "source"):
            _put(document, f"{at}/{name}", form.value(f"{at}/{name}").strip())
        parts = {name: str(form.value(f"{at}/when/{name}")).strip() for name in PREDICATE}
        if any(parts.values()):
            _put(document, f"{at}/when", line_of(parts))


def _number(said: object) -> int | float | str:
    text = str(said).strip()
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _put(document: Any, at: str, value: object) -> None:
    *way, last = at.split("/")
    place = document
    for name in way:
        place = place[int(name)] if isinstance(place, list) else place.setdefault(name, {})
    if value == "":
        place.pop(last, None)
    else:
        place[last] = value
    if way and not place and isinstance(place, dict) and way[-1] in ("reps", "effort"):
        _put(document, "/".join(way), "")


def _done(
    document: Document, wish: str, part: str, form: Form, added: Mapping[str, Any]
) -> tuple[str, str]:
    """What a button asks for besides saving: the part to go on with, and where in it."""
    verb, _, place = wish.partition(":")
    if verb in MOVED or verb == "remove":
        name, _, index = place.rpartition("/")
        rows, number = _at(document, name), int(index)
        row = rows.pop(number)
        if verb in MOVED:
            rows.insert(max(0, number + MOVED[verb]), row)
        if name == "phases":
            _renumber(rows)
            left = min(rows.index(row) if row in rows else number, len(rows) - 1)
            return (f"phase-{left + 1}" if rows else "about"), ""
        return part, f"#{name.rpartition('/')[2]}"
    if verb == "add" and place == "phases":
        rows = document.setdefault("phases", [])
        rows.append(copy.deepcopy(dict(A_PHASE)))
        _renumber(rows)
        return f"phase-{len(rows)}", ""
    if verb == "add" and place == "sources":
        document.setdefault("sources", []).append({})
        return part, "#sources"
    if verb == "add" and place.endswith("/prescriptions"):
        if not added:
            raise ValidationFailed.at("#/added", "required", "Choose an exercise.")
        _at(document, place).append(_prescription(added))
        return part, "#prescriptions"
    if verb == "add" and place.endswith("/exit"):
        rows = _at(document, place)
        rows.append(_criterion(str(form.value("measure")), rows))
        return part, "#exit"
    return part, ""


def _at(document: Document, place: str) -> list[Any]:
    found: Any = document
    for name in place.split("/"):
        found = found[int(name)] if isinstance(found, list) else found.setdefault(name, [])
    assert isinstance(found, list)
    return found


def _without_empty(document: Document) -> None:
    """A list that has to hold something is left out while it holds nothing."""
    for phase in document.get("phases", []):
        if not phase.get("prescriptions", True):
            del phase["prescriptions"]
    if not document.get("phases", True):
        del document["phases"]


def _renumber(phases: list[Document]) -> None:
    for number, phase in enumerate(phases, start=1):
        phase |= {"id": f"phase-{number}", "number": number}


def _prescription(added: Mapping[str, Any]) -> Document:
    """An exercise as the catalogue doses it."""
    usual = dict(added["dose"])
    a_week, a_day = usual.pop("days_per_week"), usual.pop("per_day")
    if "reps" in usual:
        usual["reps"] = {"min": usual["reps"], "max": usual["reps"]}
    schedule: Document = {"kind": "daily"} if a_week == 7 else {"kind": "weekly",
                                                                 "per_week": a_week}  # fmt: skip
    if a_day > 1:
        schedule["sessions_per_day"] = a_day
    return {"exercise": added["slug"], "dose": usual, "schedule": schedule,
            "pain_ceiling": added["limit"], "source": "catalogue"}  # fmt: skip


def _criterion(code: str, rows: list[Document]) -> Document:
    """A criterion about a measure. What is needed of it is for its author to say."""
    metric = metrics().get(code)
    if metric is None:
        raise ValidationFailed.at("#/measure", "required", "Choose a measure.")
    taken = {one.get("id") for one in rows}
    id = next(one for n in range(1, 99) if (one := code if n == 1 else f"{code}_{n}") not in taken)
    compare = "<=" if metric.better == "low" else ">="
    needed = 1 if metric.kind == "flag" else 0
    return {"id": id, "when": f"latest({code}; phase) {compare} {needed}", "text": metric.title,
            "unit": metric.unit}  # fmt: skip


def _readdressed(problem: ValidationFailed) -> ValidationFailed:
    """A predicate that is none is told at the number, where it is put right."""
    return ValidationFailed.of(
        FieldError(
            f"{one.pointer}/value" if one.pointer.endswith("/when") else one.pointer,
            one.code, one.detail, one.params,
        )
        for one in problem.errors
    )  # fmt: skip


# --- Publish ----------------------------------------------------------------------------------


class Publish(OfDraft):
    reads, writes = "protocol_check", "protocol_publish"

    def show(self, form: Form, id: str = "") -> HttpResponse:
        draft = self.draft(id)
        newest = drafting.newest(self.person).get(draft.protocol_id)
        values = form.values or {"version": draft.document.get("version", "")}
        said: dict[str, object] = {
            "id": id,
            "form": Form(values, form.problem),
            "etag": etag_for(form, draft),
            "document": draft.document,
            "newest": newest,
            "found": self.checked(id),
        }
        if newest is not None:
            asked = {"from": newest.version, "to": api.DRAFT}
            said["groups"] = differences_told(self.ask(versions.Compare, asked, id=id))
        return self.page("console/draft_publish.html", said)

    def act(self, form: Form, id: str = "") -> HttpResponse:
        said = form.body("version", "change_note")
        self.tell(api.Publish, said, if_match=str(form.value("etag")), id=id)
        self.say(f"Version {said['version']} is published. Nobody has it until it is assigned.")
        return self.onward("protocol", id=id)
