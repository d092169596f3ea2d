"""One patient: how recovery goes, what was logged, what is planned, measured and decided."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, ClassVar
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import HttpResponse
from django.urls import reverse
from rest_framework.request import Request

from backend.api.base import STAFF, Role, as_json
from backend.api.physio import assessments as assessments_api
from backend.api.physio import flags as flags_api
from backend.api.physio import patients as api
from backend.api.physio import progressions as progressions_api
from backend.api.physio.flags import flag_shown
from backend.api.plan_shown import plan_shown
from backend.api.progressions_shown import progression_shown, with_phases
from backend.care.models import Event, Flag, Pause, Progression, Session
from backend.care.prescribing import age_of
from backend.care.selectors import catalogue_of, plan_of, today_of
from backend.clinics.models import Patient
from backend.console.charted import DOSE, MEASURES, doses_from, from_timeline, target_weeks
from backend.console.charts import dose_charts, recovery_timeline, weeks_on_target
from backend.console.flags import flag_told
from backend.console.frame import Form, FormScreen, Screen
from backend.console.plans import PlanOfPatient, plans_of
from backend.console.told import (
    PARTS_OF_DAY,
    change_words,
    dose_words,
    expected_words,
    record_told,
    schedule_words,
)
from backend.problems import MalformedRequest, NotFound
from backend.reports.adherence import Grouping, Scope, patient_groups, weekly
from backend.reports.timeline import Timeline, timeline_of
from protocols.engine.adherence import WHOLE, ratios_of
from protocols.knowledge import metrics, numbers, safety

A_DAY = timedelta(days=1)
TREATING = frozenset({Role.PHYSIOTHERAPIST})
MOST_DAYS = 366
LOG_DAYS = 14
PLAN_DAYS = 14
DOSE_DAYS = 42
LEAST_SHOWN = 14
WINDOWS = {"2w": ("2 weeks", 14), "6w": ("6 weeks", 42), "all": ("All", MOST_DAYS)}
TABS = (
    ("patient", "Overview", STAFF),
    ("patient_exercises", "Exercises", TREATING),
    ("patient_log", "Log", TREATING),
    ("patient_plan", "Plan", TREATING),
    ("patient_tests", "Tests", TREATING),
    ("patient_history", "History", TREATING),
)
RECOMMENDED = {
    "advance": "advance to",
    "hold": "hold",
    "step_back": "step back to",
    "stop_and_review": "stop and review",
    "discharge": "complete the plan",
}
BECAME = {
    "proposed": "Proposal waits",
    "approved": "Approved",
    "modified": "Approved with changes",
    "declined": "Declined",
    "superseded": "Proposal replaced",
    "expired": "Proposal expired",
    "withdrawn": "Proposal withdrawn",
}
REASONS = {
    "clinical_judgement": "clinical judgement",
    "patient_preference": "the patient's preference",
    "new_finding": "a new finding",
    "data_unreliable": "data is unreliable",
    "other": "another reason",
}
SIDES = {"left": "left", "right": "right", "both": "both sides", "none": ""}


class OfPatient(Screen):
    """The header of every page about a patient, and what its tabs share."""

    reads = "patient_get"
    here = "patients"
    tab: ClassVar[str] = "patient"
    template: ClassVar[str]

    def get(self, request: Request, **address: str) -> HttpResponse:
        header = self.header(address["id"])
        return self.page(self.template, header | self.shown(request, address["id"]))

    def shown(self, request: Request, id: str) -> dict[str, Any]:
        """What the tab says."""
        raise NotFound

    @property
    def treats(self) -> bool:
        return Role.PHYSIOTHERAPIST in self.person.roles

    @cached_property
    def patient(self) -> Patient:
        rows = Patient.objects.visible_to(self.person).select_related("clinic", "physiotherapist")
        return rows.get(pk=self.kwargs["id"])

    @cached_property
    def today(self) -> date:
        return today_of(self.patient, self.now)

    @cached_property
    def plans(self) -> list[PlanOfPatient]:
        return plans_of(self.person, self.patient.pk, self.now)

    @cached_property
    def staff(self) -> dict[str, str]:
        """Who did what: names of the clinic's people by id."""
        clinic = self.person.clinic
        assert clinic is not None
        rows = clinic.people.exclude(is_physiotherapist=False, is_clinic_admin=False)
        return {str(one.pk): one.display_name or one.email for one in rows}

    @cached_property
    def titles(self) -> dict[str, str]:
        """Of exercises, by slug."""
        return {slug: row.title for slug, row in self.catalogue.items()}

    @cached_property
    def catalogue(self) -> Mapping[str, Any]:
        slugs = {
            row.exercise
            for plan in self.plans
            for version in plan.course.versions
            for phase in plan.course.protocol.phases
            for row in plan.course.prescriptions(version, phase.id)
        }
        slugs |= {
            change["exercise"]
            for plan in self.plans
            for version in plan.course.versions
            for change in version.changes
            if change.get("exercise")
        }
        return catalogue_of(self.patient, slugs)

    @cached_property
    def names(self) -> dict[str, str]:
        """Titles of exercises by the ids that records name."""
        found = {str(row.pk): row.title for row in self.catalogue.values()}
        for plan in self.plans:
            for version in plan.course.versions:
                for phase in plan.course.protocol.phases:
                    for row in plan.course.prescriptions(version, phase.id):
                        found[row.id] = self.titles.get(row.exercise, row.exercise)
        return found

    def header(self, id: str) -> dict[str, Any]:
        shown = self.ask(api.PatientOne, id=id)
        running = [plan for plan in self.plans if plan.is_running]
        found: dict[str, Any] = {
            "patient": shown
            | {
                "name": f"{shown['given_name']} {shown['family_name']}",
                "age": age_of(self.patient, self.now),
            },
            "physiotherapist": self.patient.physiotherapist,
            "plans": [self._plan_told(plan) for plan in running],
            "last_plan": self.plans[0] if self.plans and not running else None,
            "tab": self.tab,
            "tabs": [
                (reverse(f"console:{route}", kwargs={"id": id}), words, route == self.tab)
                for route, words, roles in TABS
                if roles.intersection(self.person.roles)
            ],
            "treats": self.treats,
            "flags": [],
            "proposals": [],
        }
        if self.treats:
            episodes = self.ask(api.Episodes, {"limit": 20}, id=id)["items"]
            flags = self.ask(flags_api.Flags, {"patient_id": id, "limit": 50})["items"]
            waiting = self.ask(progressions_api.Progressions, {"patient_id": id})["items"]
            found |= {
                "episodes": [_episode_told(one) for one in episodes if "ended_on" not in one],
                "flags": [flag_told(one) for one in flags],
                "proposals": [proposal_told(one) for one in waiting],
            }
        return found

    def _plan_told(self, plan: PlanOfPatient) -> dict[str, Any]:
        return {
            "id": plan.shown["id"],
            "title": plan.shown["title"],
            "status": plan.shown["status"],
            "version": plan.shown["version"],
            "start": plan.course.assignment.start_date,
            "phase": plan.phase,
            "expected": expected_words(plan.course, plan.shown["phase"]["id"]),
            "limit": plan.limit,
        }

    # Records

    def records(self, id: str, first: date, last: date) -> list[dict[str, Any]]:
        """Sessions and check-ins of these dates, newest first, with every revision."""
        span = {"from": first, "to": last, "include": "history", "limit": 200}
        told = [
            record_told(one, is_session=is_session, names=self.names)
            for endpoint, is_session in ((api.Sessions, True), (api.CheckIns, False))
            for one in self.ask(endpoint, span, id=id)["items"]
        ]
        return sorted(told, key=lambda one: (one["on"], one["received_at"]), reverse=True)

    def day_asked(self) -> date | None:
        return _day(self.request, "day")

    def panel(self, id: str) -> dict[str, Any]:
        """What was logged on the day that was asked for."""
        on = self.day_asked()
        if on is None or not self.treats:
            return {"day": None}
        return {"day": on, "day_records": self.records(id, on, on)}


def _day(request: Request, name: str) -> date | None:
    sent = request.query_params.get(name)
    if not sent:
        return None
    try:
        return date.fromisoformat(sent)
    except ValueError:
        raise MalformedRequest(f"`{name}` is a day as YYYY-MM-DD.") from None


def _episode_told(episode: Mapping[str, Any]) -> dict[str, Any]:
    onset = episode.get("onset_date")
    return {
        "id": episode["id"],
        "title": episode["title"],
        "side": SIDES[episode["side"]],
        "onset": date.fromisoformat(onset) if onset else None,
        "since": date.fromisoformat(episode["started_on"]),
    }


def proposal_told(row: Mapping[str, Any]) -> dict[str, Any]:
    """What is proposed, in words."""
    what = RECOMMENDED[row["recommendation"]]
    if row["recommendation"] in ("advance", "step_back") and "to_phase" in row:
        what += f" phase {row['to_phase']['number']}, {row['to_phase']['title']}"
    elif row["recommendation"] == "hold":
        what += f" phase {row['from_phase']['number']}"
        if "to_phase" in row:
            what = f"go to phase {row['to_phase']['number']}, against the rules"
        elif "to_protocol_version" in row:
            what = f"go on by version {row['to_protocol_version']}"
    return {"id": row["id"], "words": what, "since": row["waiting_since"]}


# --- Overview ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Figures:
    """Of closed dates, counted as the adherence report does."""

    due: int = 0
    done: int = 0
    done_share: float | None = None
    low_share: float | None = None
    dose_share: float | None = None
    late: int = 0
    not_heard: int = 0


class Overview(OfPatient):
    roles = STAFF
    template = "console/patient.html"

    def shown(self, request: Request, id: str) -> dict[str, Any]:
        begun = [plan.course.assignment.start_date for plan in self.plans if plan.has_begun]
        whole = max(min(begun, default=self.today), self.today - (MOST_DAYS - 1) * A_DAY)
        found = timeline_of(self.patient, whole, self.today, now=self.now, to_patient=False)
        window = request.query_params.get("window", "")
        first = self._first(found, window, whole)
        measure = request.query_params.get("measure", DOSE)
        measures = [DOSE, *(one for one in MEASURES if any(one in day.load for day in found.days))]
        if measure not in measures:
            measure = DOSE
        cut = replace(
            found,
            first=first,
            days=[day for day in found.days if day.on >= first],
            markers=[one for one in found.markers if one.on >= first or one.until],
        )
        ended = {
            plan.course.id: plan.course.assignment.ended_on
            for plan in self.plans
            if plan.course.assignment.ended_on
        }
        recovery = from_timeline(cut, today=self.today, measure=measure, ended=ended)
        figures, weeks = self._figures(first, whole)
        return {
            "chart": recovery_timeline("recovery", recovery) if self.plans else None,
            "window": window,
            "windows": [(name, words) for name, (words, _) in WINDOWS.items()],
            "measure": measure,
            "measures": [(one, MEASURES[one].label) for one in measures],
            "kept": {"window": window, "measure": measure if measure != DOSE else ""},
            "first": first,
            "figures": figures,
            "weeks": weeks,
            "notes": self._notes(id) if self.treats else [],
            **self.panel(id),
        }

    def _first(self, found: Timeline, window: str, whole: date) -> date:
        """Without a wish: from the phase before the present one."""
        if window in WINDOWS:
            return max(whole, self.today - (WINDOWS[window][1] - 1) * A_DAY)
        newest = max(
            (span for span in found.phases if span.begun <= self.today),
            key=lambda span: span.begun, default=None,
        )  # fmt: skip
        if newest is None:
            return whole
        own = sorted(
            span.begun for span in found.phases if span.assignment_id == newest.assignment_id
        )
        before = [begun for begun in own if begun < newest.begun]
        first = before[-1] if before else newest.begun
        return min(max(first, whole), self.today - (LEAST_SHOWN - 1) * A_DAY)

    def _figures(self, first: date, whole: date) -> tuple[Figures, Any]:
        scope = Scope(
            patients=Patient.objects.visible_to(self.person).filter(pk=self.patient.pk),
            first=first, last=self.today, now=self.now,
            target=round(numbers()["gate_adherence"] * WHOLE),
        )  # fmt: skip
        if not self.plans:
            return Figures(), None
        groups = patient_groups(scope, [self.patient.pk])
        weeks = weekly(replace(scope, first=whole), Grouping.PATIENT).get(str(self.patient.pk), {})
        squares = target_weeks(
            weeks, max(whole, self.today - 12 * 7 * A_DAY), self.today, target=scope.target,
            today=self.today,
        )  # fmt: skip
        chart = weeks_on_target("weeks", squares) if squares else None
        if not groups:
            return Figures(), chart
        counts, ratios = groups[0].counts, ratios_of(groups[0].counts)
        return Figures(
            due=counts.due, done=counts.done, done_share=ratios.session_adherence,
            low_share=ratios.session_adherence_low if counts.not_heard else None,
            dose_share=ratios.dose_adherence, late=counts.sessions_late,
            not_heard=counts.not_heard,
        ), chart  # fmt: skip

    def _notes(self, id: str) -> list[dict[str, Any]]:
        """The latest words of the patient, unedited."""
        found = []
        for endpoint, kind in ((api.Sessions, "Session"), (api.CheckIns, "Check-in")):
            for one in self.ask(endpoint, {"limit": 30}, id=id)["items"]:
                on = date.fromisoformat(one["local_date"])
                if one.get("note"):
                    found.append({"on": on, "text": one["note"], "of": kind})
                found += [
                    {
                        "on": on,
                        "text": entry["note"],
                        "of": self.names.get(entry.get("prescription_id", ""), kind),
                    }
                    for entry in one.get("entries", ())
                    if entry.get("note")
                ]
        return sorted(found, key=lambda one: one["on"], reverse=True)[:5]


# --- Exercises --------------------------------------------------------------------------------


class Exercises(OfPatient):
    roles = TREATING
    tab = "patient_exercises"
    template = "console/patient_exercises.html"

    def shown(self, request: Request, id: str) -> dict[str, Any]:
        first = self.today - (DOSE_DAYS - 1) * A_DAY
        rows = Session.objects.visible_to(self.person).standing().filter(
            patient=self.patient, assignment__in=[plan.course.id for plan in self.plans],
            local_date__range=(first, self.today),
        )  # fmt: skip
        doses = doses_from(rows.defer("content"), [plan.course for plan in self.plans], self.titles)
        begun = min((point.on for dose in doses for point in dose.points), default=first)
        return {
            "chart": dose_charts("doses", doses, min(begun, self.today - 13 * A_DAY), self.today)
            if doses
            else None,
            "running": [
                {
                    "title": plan.shown["title"],
                    "phase": plan.phase,
                    "exercises": list(self._exercises(plan)),
                }
                for plan in self.plans
                if plan.is_running
            ],
        }

    def _exercises(self, plan: PlanOfPatient) -> Iterable[dict[str, Any]]:
        """Those of the present phase, as they are prescribed now."""
        steps = {
            slug
            for row in self.catalogue.values()
            for slug in (row.easier_slug, row.harder_slug)
            if slug
        }
        near = {slug: row.title for slug, row in catalogue_of(self.patient, steps).items()}
        swapped = {
            row.exercise: change
            for version in plan.course.versions
            for change in version.changes
            if change["op"] == "swap"
            and (row := plan.course.named(change.get("prescription_id", ""))) is not None
        }
        phase_id = plan.shown["phase"]["id"]
        for one in plan.shown["prescriptions"]:
            if one["phase_id"] != phase_id:
                continue
            row = self.catalogue.get(one["exercise"])
            yield {
                "slug": one["exercise"],
                "title": self.titles.get(one["exercise"], one["exercise"]),
                "dose": dose_words(json.loads(as_json(one["dose"]))),
                "schedule": schedule_words(one["schedule"]),
                "limit": one["pain_limit"]["during_max"],
                "counts": one["counts"],
                "note": one.get("note_to_patient", ""),
                "cues": row.cues if row else [],
                "errors": row.common_errors if row else [],
                "media": row.media if row else [],
                "id": str(row.pk) if row else "",
                "easier": near.get(row.easier_slug, "") if row else "",
                "harder": near.get(row.harder_slug, "") if row else "",
                "swapped": change_words(swapped[one["exercise"]], plan.course, self.titles)
                if one["exercise"] in swapped
                else "",
            }


# --- Log --------------------------------------------------------------------------------------


class Log(OfPatient):
    reads = "patient_sessions"
    roles = TREATING
    tab = "patient_log"
    template = "console/patient_log.html"

    def shown(self, request: Request, id: str) -> dict[str, Any]:
        last = _day(request, "to") or self.today
        first = last - (LOG_DAYS - 1) * A_DAY
        records = self.records(id, first, last)
        days: dict[date, list[dict[str, Any]]] = {}
        for one in records:
            days.setdefault(one["on"], []).append(one)
        begun = min((plan.course.assignment.start_date for plan in self.plans), default=first)
        return {
            "first": first,
            "last": last,
            "days": list(days.items()),
            "earlier": first - A_DAY if first > begun else None,
            "later": last + LOG_DAYS * A_DAY if last < self.today else None,
        }


# --- Plan -------------------------------------------------------------------------------------


class Plan(OfPatient):
    roles = TREATING
    tab = "patient_plan"
    template = "console/patient_plan.html"

    def shown(self, request: Request, id: str) -> dict[str, Any]:
        plan = plan_of(self.patient, first=self.today, days=PLAN_DAYS, now=self.now)
        shown = json.loads(as_json(plan_shown(plan)))
        return {
            "days": [self._day_told(one) for one in shown["days"]],
            "stop": shown.get("stop"),
            "closes_at": shown["day_closes_at"],
        }

    def _day_told(self, day: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "on": date.fromisoformat(day["date"]),
            "is_today": day["date"] == self.today.isoformat(),
            "type": day["day_type"],
            "adjustments": list(dict.fromkeys(one["text"] for one in day["adjustments"])),
            "slots": [
                {
                    "part": PARTS_OF_DAY[slot["part_of_day"]],
                    "minutes": slot["estimated_min"],
                    "status": slot["status"],
                    "counts": slot["counts"],
                    "items": [
                        {
                            "title": item["exercise"]["title"],
                            "dose": dose_words(item["dose"]),
                            "limit": item["pain_limit"]["during_max"],
                            "times": item.get("times_a_day"),
                            "note": item.get("note", ""),
                        }
                        for item in slot["items"]
                    ],
                }
                for slot in day["slots"]
                if slot["status"] != "excused"  # the phone does not offer it
            ],
        }


# --- Tests ------------------------------------------------------------------------------------


class Tests(OfPatient, FormScreen):
    """What clinicians measured, and a form for another measurement."""

    reads = "assessment_list"
    writes = "assessment_create"
    roles = TREATING
    tab = "patient_tests"
    template = "console/patient_tests.html"

    def get(self, request: Request, **address: str) -> HttpResponse:
        return self.show(Form(), **address)

    def show(self, form: Form, **address: str) -> HttpResponse:
        id = address["id"]
        header = self.header(id)
        rows = self.ask(assessments_api.Assessments, {"limit": 200}, id=id)["items"]
        known = metrics()
        measured = sorted(
            (one for one in known.values() if "clinician" in one.by), key=lambda one: one.title
        )
        return self.page(
            self.template,
            header
            | {
                "form": form if form.problem else self._begun(),
                "tests": list(self._told(rows)),
                "codes": [("", "Choose a test")]
                + [(one.code, f"{one.title} ({one.unit})") for one in measured],
                "sides": [("none", "No side"), ("left", "Left"), ("right", "Right"),
                          ("both", "Both")],
                "signs": [
                    (code, sign.sign or sign.ask)
                    for code, sign in safety().red_flags.items()
                    if sign.asked
                ],
            },
        )  # fmt: skip

    def _begun(self) -> Form:
        here = self.now.astimezone(ZoneInfo(self.person.timezone))
        return Form({"measured_at": f"{here:%Y-%m-%dT%H:%M}", "side": "none",
                     "code": self.request.query_params.get("code", "")})  # fmt: skip

    def act(self, form: Form, **address: str) -> HttpResponse:
        id = address["id"]
        body = form.body("code", "side", "note", "measured_at", numbers=["value"],
                         lists=["findings"])  # fmt: skip
        metric = metrics().get(str(body.get("code", "")))
        if metric is not None:  # a test has one unit, so nobody needs to say it
            body["unit"] = metric.unit
        if at := body.get("measured_at"):
            body["measured_at"] = self._instant(str(at))
        self.tell(assessments_api.Assessments, body, id=id)
        self.say(f"Recorded: {metric.title if metric else body['code']}.")
        return self.onward("patient_tests", id=id)

    def _instant(self, said: str) -> str:
        """A time on the clock of who types it; what is none stays, and is refused by the API."""
        try:
            at = datetime.fromisoformat(said)
        except ValueError:
            return said
        return at.replace(tzinfo=at.tzinfo or ZoneInfo(self.person.timezone)).isoformat()

    def _told(self, rows: Sequence[Mapping[str, Any]]) -> Iterable[dict[str, Any]]:
        """By test, each with its newest first; left and right of one day stand side by side."""
        known = metrics()
        by_code: dict[str, list[Mapping[str, Any]]] = {}
        for row in rows:
            by_code.setdefault(row["code"], []).append(row)
        for code, found in by_code.items():
            metric = known.get(code)
            days: dict[date, dict[str, Any]] = {}
            for row in found:
                on = datetime.fromisoformat(row["measured_at"]).astimezone(self.patient.zone)
                told = days.setdefault(on.date(), {"on": on.date(), "rows": []})
                told["rows"].append({**row, "by": self.staff.get(row["recorded_by"], "")})
                told.setdefault(row["side"], row["value"])
            for told in days.values():
                told |= {side: told.get(side) for side in ("left", "right")}
                told["ratio"] = _ratio(told.get("left"), told.get("right"), self._affected)
            is_flag = metric is not None and metric.kind == "flag"
            yield {
                "code": code,
                "title": metric.title if metric else code,
                "unit": metric.unit if metric else found[0]["unit"],
                "is_flag": is_flag,
                "has_sides": any(row["side"] in ("left", "right") for row in found),
                "days": list(days.values()),
            }

    @cached_property
    def _affected(self) -> str:
        running = [plan for plan in self.plans if plan.is_running] or self.plans
        return running[0].shown["side"] if running else ""


def _ratio(left: float | None, right: float | None, affected: str) -> dict[str, Any] | None:
    """Of the affected side to the other; where none is said, of the weaker to the stronger."""
    if left is None or right is None:
        return None
    if affected in ("left", "right"):
        this, other = (left, right) if affected == "left" else (right, left)
        words = f"{affected} to {'right' if affected == 'left' else 'left'}"
    else:
        this, other = min(left, right), max(left, right)
        words = "weaker to stronger"
    return {"value": this / other, "words": words} if other else None


# --- History ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened, and who did it."""

    at: datetime
    kind: str
    title: str
    by: str = ""
    text: str = ""
    note: str = ""
    items: Sequence[str] = ()


class History(OfPatient):
    roles = TREATING
    tab = "patient_history"
    template = "console/patient_history.html"

    def shown(self, request: Request, id: str) -> dict[str, Any]:
        entries = sorted(self._entries(), key=lambda one: one.at, reverse=True)
        kind = request.query_params.get("kind", "")
        kinds = list(dict.fromkeys(one.kind for one in entries))
        return {
            "entries": [one for one in entries if kind in ("", one.kind)],
            "kinds": kinds,
            "kind": kind,
        }

    def _entries(self) -> Iterable[Entry]:
        yield from self._decisions()
        yield from self._versions()
        yield from self._pauses()
        yield from self._flags()
        yield from self._clearances()

    def _who(self, id: UUID | None) -> str:
        return self.staff.get(str(id), "") if id else ""

    def _decisions(self) -> Iterable[Entry]:
        rows = Progression.objects.visible_to(self.person).filter(patient=self.patient)
        courses = {plan.course.id: plan.course for plan in self.plans}
        for row in with_phases(rows):
            told = json.loads(as_json(progression_shown(row)))
            decision = told["decision"] or {}
            course = courses.get(row.assignment_id)
            text = f"Begins {row.effective_date:%-d %b %Y}." if row.effective_date else ""
            if row.reason_code:
                text = f"{text} Reason: {REASONS[row.reason_code]}.".strip()
            yield Entry(
                at=row.decided_at or row.computed_at,
                kind="Decisions",
                title=f"{BECAME[row.status]}: {proposal_told(told)['words']}",
                by=self._who(row.decided_by_id or row.proposed_by_id),
                text=text,
                note=decision.get("note", "") or row.note_to_patient,
                items=[change_words(one, course, self.titles) for one in row.changes]
                if course
                else (),
            )

    def _versions(self) -> Iterable[Entry]:
        for plan in self.plans:
            course, title = plan.course, plan.shown["title"]
            for one in course.versions:
                first = one.number == 1
                yield Entry(
                    at=one.made_at,
                    kind="Plan",
                    title=f"Assigned: {title}" if first else f"Plan version {one.number}: {title}",
                    by=self._who(one.made_by_id),
                    text=f"From {one.effective_date:%-d %b %Y} on.",
                    note=one.reason,
                    items=[change_words(change, course, self.titles) for change in one.changes],
                )
            row = course.assignment
            if row.ended_on is not None:
                yield Entry(
                    at=row.updated_at,
                    kind="Plan",
                    title=f"Plan {row.end_kind}: {title}",
                    by=self._who(row.ended_by_id),
                    text=f"Last day {row.ended_on:%-d %b %Y}.",
                    note=row.end_reason,
                )

    def _pauses(self) -> Iterable[Entry]:
        for plan in self.plans:
            pauses: Iterable[Pause] = plan.course.pauses
            for one in pauses:
                until = f" until {one.until_on:%-d %b %Y}" if one.until_on else ""
                yield Entry(
                    at=one.paused_at,
                    kind="Pauses",
                    title="Paused",
                    by=self._who(one.paused_by_id),
                    text=f"From {one.from_on:%-d %b %Y}{until}.",
                    note=one.reason,
                )
                if one.resumed_at is not None:
                    yield Entry(
                        at=one.resumed_at,
                        kind="Pauses",
                        title="Resumed",
                        by=self._who(one.resumed_by_id),
                        note=one.resume_reason,
                    )

    def _flags(self) -> Iterable[Entry]:
        rows = Flag.objects.visible_to(self.person).filter(patient=self.patient)
        for row in rows:
            told = flag_told(flag_shown(row, self.now))
            often = f", {row.occurrences} times" if row.occurrences > 1 else ""
            yield Entry(
                at=row.raised_at,
                kind="Flags",
                title=f"{told['level_words']} flag: {told['text']}{often}",
                text=f"Observed {row.observed_on:%-d %b %Y}.",
            )
            if row.acknowledged_at is not None and row.acknowledged_at != row.resolved_at:
                yield Entry(
                    at=row.acknowledged_at,
                    kind="Flags",
                    title=f"Acknowledged: {told['text']}",
                    by=self._who(row.acknowledged_by_id),
                    note="" if row.resolved_at else row.note,
                )
            if row.resolved_at is not None:
                is_person = row.status == Flag.Status.RESOLVED
                yield Entry(
                    at=row.resolved_at,
                    kind="Flags",
                    title=f"{'Handled' if is_person else 'Not found any more'}: {told['text']}",
                    by=self._who(row.resolved_by_id),
                    text=f"{told['action_words']}." if told["action_words"] else "",
                    note=row.note,
                )

    def _clearances(self) -> Iterable[Entry]:
        rows = self.patient.events.filter(kind=Event.Kind.CLEARED, assignment=None)
        for row in rows:
            yield Entry(
                at=row.at,
                kind="Flags",
                title="Stop cleared",
                by=self._who(row.by_id),
                note=row.reason,
            )
