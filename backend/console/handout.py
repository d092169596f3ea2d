"""The plan of a patient to take home: a page that prints well, and the same as a PDF."""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, cast
from uuid import UUID

from django.http import HttpResponse
from django.utils.dateformat import format as dated
from django.utils.text import slugify
from rest_framework.request import Request

from backend.api.base import as_json
from backend.api.physio import assignments as api
from backend.api.plan_shown import advice, plan_shown
from backend.care.selectors import Course, Plan, plan_of, today_of
from backend.clinics.models import Patient
from backend.console.frame import Screen
from backend.console.navigation import TREATING
from backend.problems import NotFound
from backend.reports.handout import SIZES, Block, Handout, write

DAYS = 14
Shown = Mapping[str, Any]
SIDES = {"left": "left side", "right": "right side", "both": "both sides",
         "alternate": "sides in turn"}  # fmt: skip


class Handed(Screen):
    """Both are a look at the patient's plan. What they say of it, the app says as well."""

    reads = "assignment_get"
    here = "patients"
    roles = TREATING

    def handout(self, id: str) -> tuple[Shown, Handout]:
        shown = self.ask(api.AssignmentOne, id=id)
        patient = Patient.objects.visible_to(self.person).select_related("clinic").get(
            pk=shown["patient_id"]
        )  # fmt: skip
        today = today_of(patient, self.now)
        first = max(today, date.fromisoformat(shown["start_date"]))
        plan = plan_of(patient, first=first, days=DAYS, now=self.now)
        return shown, handout_of(patient, shown, plan, today)


class ToPrint(Handed):
    def get(self, request: Request, id: str) -> HttpResponse:
        shown, handout = self.handout(id)
        return self.page("console/handout.html", {"assignment": shown, "handout": handout})


class AsPDF(Handed):
    def get(self, request: Request, id: str) -> HttpResponse:
        paper = request.query_params.get("paper", "a4")
        if paper not in SIZES:
            raise NotFound
        _, handout = self.handout(id)
        out = io.BytesIO()
        write(handout, out, paper=paper)
        name = f"exercises-{slugify(handout.patient) or 'plan'}.pdf"
        return HttpResponse(
            out.getvalue(),
            content_type="application/pdf",
            headers={"Content-Disposition": f'attachment; filename="{name}"'},
        )


# --- Content ----------------------------------------------------------------------------------


@dataclass
class _Row:
    """An exercise as the days ask for it."""

    item: Shown
    doses: dict[str, date] = field(default_factory=dict)  # in words, since when
    ticks: list[int] = field(default_factory=lambda: [0] * DAYS)


def handout_of(patient: Patient, assignment: Shown, plan: Plan, today: date) -> Handout:
    """Everything the plan asks for on these days, and what the app says offline."""
    told = json.loads(as_json(plan_shown(plan)))
    mine = assignment["id"]
    phases = [one for day in told["days"] for one in day["assignments"] if
              one["assignment_id"] == mine]  # fmt: skip
    rows = _rows(told["days"], mine)
    courses: tuple[Course, ...] = tuple(one for one in plan.courses if one.id == UUID(mine))
    said = advice(courses, patient.clinic, patient.conditions)
    stop = told.get("stop", {})
    return Handout(
        patient=patient.display_name,
        clinic=patient.clinic.name,
        title=assignment["title"],
        phase=_phase_words(phases[0]["phase"]) if phases else "",
        version=assignment["version"],
        printed_on=dated(today, "j F Y"),
        days=tuple(plan.first + timedelta(days=n) for n in range(DAYS)),
        stop=tuple(stop.get("patient_text", ())),
        notes=(*_pauses(assignment, plan.first), *_adjustments(told["days"], mine)),
        pain=tuple((_band(one), one["text"]) for one in cast(list[Shown], said["pain_during"])),
        alarms=tuple(_alarms(said)),
        urgent=cast(str, said["urgent_text"]),
        contacts=_contacts(said),
        blocks=tuple(_block(n, row) for n, row in enumerate(rows, start=1)),
    )


def _rows(days: Iterable[Shown], assignment: str) -> list[_Row]:
    found: dict[str, _Row] = {}
    for number, day in enumerate(days):
        for slot in day["slots"]:
            if slot["assignment_id"] != assignment or slot["status"] == "excused":
                continue
            for item in slot["items"]:
                row = found.setdefault(item["prescription_id"], _Row(item))
                row.ticks[number] += item.get("times_a_day", 1)
                row.doses.setdefault(dose_words(item["dose"]), date.fromisoformat(day["date"]))
    return sorted(found.values(), key=lambda row: (not row.item["counts"], row.item["order"]))


def _block(number: int, row: _Row) -> Block:
    item = row.item
    exercise = item["exercise"]
    first, *later = row.doses
    media: Shown = next(iter(exercise["media"]), {})
    return Block(
        number=number,
        slug=exercise["slug"],
        title=exercise["title"],
        doses=(first, *(f"From {dated(row.doses[one], 'j F')}: {one}" for one in later)),
        often=_often(row.ticks),
        limit=f"Pain limit in this exercise: {item['pain_limit']['during_max']} of 10."
        if item["counts"]
        else "",
        cues=tuple(exercise["cues"]),
        note=item.get("note", ""),
        alt=media.get("alt", ""),
        address=media.get("url", ""),
        ticks=tuple(row.ticks),
    )


def _often(ticks: list[int]) -> str:
    due = [one for one in ticks if one]
    most = max(due)
    days = "Every day" if len(due) == len(ticks) else f"On {len(due)} of these {len(ticks)} days"
    return f"{days}, {most} times a day." if most > 1 else f"{days}."


def _phase_words(phase: Shown) -> str:
    return f"Phase {phase['number']} of {phase['count']}: {phase['title']}."


def _band(one: Shown) -> str:
    return f"{one['from']}" if one["from"] == one["to"] else f"{one['from']} to {one['to']}"


def _pauses(assignment: Shown, first: date) -> Iterator[str]:
    for pause in assignment["pauses"]:
        until = pause.get("until")
        if until is None:
            yield f"Paused since {dated(date.fromisoformat(pause['from']), 'j F')}."
        elif date.fromisoformat(until) >= first:
            from_ = dated(date.fromisoformat(pause["from"]), "j F")
            yield f"Paused from {from_} to {dated(date.fromisoformat(until), 'j F')}."


def _adjustments(days: Iterable[Shown], assignment: str) -> Iterator[str]:
    """Why a day asks for less, the days together that have the same reason."""
    found: dict[str, list[date]] = {}
    for day in days:
        for one in day["adjustments"]:
            if one["assignment_id"] == assignment and one["code"] != "stopped":
                found.setdefault(one["text"], []).append(date.fromisoformat(day["date"]))
    for why, dates in found.items():
        yield f"{', '.join(dated(on, 'j F') for on in dates)}: {why}"


def _alarms(said: Shown) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """The stop signs by what is to be done at them, the gravest first."""
    found: dict[tuple[str, ...], list[str]] = {}
    for level, usual in said["levels"].items():
        for sign in said["stop_signs"]:
            if sign["level"] == level:
                found.setdefault(tuple(sign.get("patient_text", usual)), []).append(sign["text"])
    for lines, signs in found.items():
        yield lines, tuple(signs)


def _contacts(said: Shown) -> tuple[tuple[str, str], ...]:
    found = [("Emergency number", said["emergency_number"])]
    if "urgent_contact" in said:
        found.append(("The clinic, when it is urgent", said["urgent_contact"]))
    return tuple(found)


# --- Words for patients -----------------------------------------------------------------------


def dose_words(dose: Shown) -> str:
    """`3 sets of 4 to 6, hold each for 20 seconds, right side, rest 2 minutes`."""
    said = [_amount(dose)]
    if "hold_s" in dose:
        said.append(f"hold each for {_time(dose['hold_s'])}")
    if "load_kg" in dose:
        said.append(f"with {dose['load_kg']:g} kg")
    if "load_text" in dose:
        said.append(dose["load_text"])
    if "effort" in dose:
        scale = "of 10" if dose["effort"]["scale"] == "cr10" else "%"
        said.append(f"effort {_span(dose['effort'])} {scale}")
    if dose.get("side") in SIDES:
        said.append(SIDES[dose["side"]])
    if dose.get("rest_s"):
        said.append(f"rest {_time(dose['rest_s'])}")
    return ", ".join(said)


def _amount(dose: Shown) -> str:
    sets = f"{dose['sets']} set{'' if dose['sets'] == 1 else 's'}"
    if dose.get("reps_by_set"):
        return f"sets of {', '.join(map(str, dose['reps_by_set']))}"
    if "reps" in dose:
        many = "time" if dose["reps"]["max"] == 1 else "times"
        if dose["sets"] == 1:
            return f"{_span(dose['reps'])} {many}"
        return f"{sets} of {_span(dose['reps'])}"
    amount = _time(dose["duration_s"]) if "duration_s" in dose else f"{dose['distance_m']} metres"
    return amount if dose["sets"] == 1 else f"{dose['sets']} × {amount}"


def _span(found: Shown) -> str:
    low, high = found["min"], found["max"]
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _time(seconds: int) -> str:
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "hour"), (minutes, "minute"), (rest, "second"))
    return " ".join(f"{n} {unit}{'' if n == 1 else 's'}" for n, unit in parts if n)
