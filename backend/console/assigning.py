"""Giving a plan to a patient, and changing one: assign, tailor, pause, resume, end."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date
from typing import Any, ClassVar
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from django.http import HttpResponse, HttpResponseRedirect
from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from rest_framework.request import Request

from backend.api import exercises
from backend.api.assignments_shown import DAYS
from backend.api.physio import assessments, patients, protocols
from backend.api.physio import assignments as api
from backend.care.models import Assignment
from backend.care.prescribing import AssignmentGateFailed
from backend.console.episodes import SIDES as OF_EPISODES
from backend.console.frame import Form, FormScreen, Screen
from backend.console.navigation import TREATING
from backend.console.tailoring import (
    Changes,
    Row,
    changes_in,
    initial,
    readdressed,
    rows_of,
    shown_rows,
)
from backend.console.wording import (
    GATES,
    day_words,
    dose_words,
    phase_words,
    titles_of,
)
from backend.problems import Problem, ValidationFailed, VersionMismatch
from protocols.knowledge import metrics

Shown = Mapping[str, Any]
MOST = 200
TAILORING = "tailoring"
CHANGES = "changes"
SCREEN = "red_flag_screen_clear"
FACT = "0/1"
IMAGING = "imaging_decision_recorded"
PARTS = (("morning", "Morning"), ("midday", "Midday"), ("evening", "Evening"), ("any", "Any time"))
DAY_NAMES = tuple((day, day.capitalize()) for day in DAYS)
SIDES = (("", "As the episode says"), *OF_EPISODES)
SCHEDULES = (
    ("", "Days as they are"),
    ("daily", "Every day"),
    *((f"weekly-{n}", f"{n} day{'s' if n > 1 else ''} a week") for n in range(1, 7)),
    *((f"every_n_days-{n}", f"Every {n} days") for n in (2, 3, 4)),
)
ENDS = (("completed", "Completed"), ("stopped", "Stopped before its end"))
SWAPS = (("", "Keep this exercise"), ("easier", "Swap: one easier"), ("harder", "Swap: one harder"))


def patient_address(id: str) -> str:
    """Where one goes on after something was done to a plan."""
    try:
        return reverse("console:patient", kwargs={"id": id})
    except NoReverseMatch:
        return reverse("console:caseload")


# --- Assign -----------------------------------------------------------------------------------


class Assigning(FormScreen):
    """The three steps: which protocol for which problem, from when and on which days, tailoring.

    The first is a choice in the address, so each step works as a page by itself.
    """

    reads = "patient_get"
    here = "patients"
    roles = TREATING

    def show(self, form: Form, id: str = "") -> HttpResponse:
        return self._drawn(form, id)

    def _drawn(self, form: Form, id: str, preview: Any = None) -> HttpResponse:
        patient = self.ask(patients.PatientOne, id=id)
        episodes = self.ask(patients.Episodes, {"limit": MOST}, id=id)["items"]
        offered = self.ask(protocols.Protocols, {"limit": MOST})["items"]
        query = self.request.query_params
        chosen = {
            name: str(form.value(name) or query.get(name, ""))
            for name in ("protocol_id", "episode_id", "start_phase_id")
        }
        open_episodes = [one for one in episodes if "ended_on" not in one]
        if not chosen["episode_id"] and len(open_episodes) == 1:
            chosen["episode_id"] = open_episodes[0]["id"]
        ready = any(one["id"] == chosen["protocol_id"] for one in offered) and any(
            one["id"] == chosen["episode_id"] for one in episodes
        )
        said: dict[str, object] = {
            "patient": patient,
            "episodes": [one | {"since": day_words(one["started_on"])} for one in open_episodes],
            "offered": offered,
            "chosen": chosen,
            "ready": ready,
            "running": _running(self, id, chosen["episode_id"]),
            "form": Form(chosen, form.problem),
        }
        if ready:
            said |= self._second_step(form, id, chosen, patient, preview)
        return self.page("console/assign.html", said)

    def _second_step(self, form: Form, id: str, chosen: Mapping[str, str], patient: Shown,
                     preview: Any) -> dict[str, object]:  # fmt: skip
        protocol = self.ask(protocols.ProtocolOne, id=chosen["protocol_id"])
        phase = _phase_of(protocol, chosen["start_phase_id"])
        listed = self.ask(exercises.Exercises, {"limit": MOST})["items"]
        titles = {one["slug"]: one["title"] for one in listed}
        rows, left_open = protocol_rows(protocol, phase, titles)
        if not form.values:
            form = Form(
                initial(rows, TAILORING)
                | dict(chosen)
                | {
                    "protocol_version": protocol["version"],
                    "start_date": _today(self, patient).isoformat(),
                    "start_phase_id": phase["id"],
                },
                form.problem,
            )
        if preview is None:
            preview = self._previewed(form, id)
        gates = preview["gates"] if preview else _gates_of(form.problem)
        return {
            "form": form,
            "protocol": protocol,
            "phase": phase,
            "phases": [
                {"id": one["id"], "words": phase_words(one), "is_here": one["id"] == phase["id"]}
                for one in protocol["phases"]
            ],
            "rows": shown_rows(rows, form, TAILORING),
            "left_open": left_open,
            "switched_on": form.chosen(f"{TAILORING}/on"),
            "exercise_options": [("", "None"), *sorted(titles.items(), key=lambda one: one[1])],
            "more": True, "swaps": SWAPS, "schedules": SCHEDULES, "parts": PARTS,
            "days": DAY_NAMES, "sides": SIDES,
            **_preview_shown(preview, gates, titles),
        }  # fmt: skip

    def _previewed(self, form: Form, id: str) -> Any:
        """The first 14 days of the plan this would be; None where the wish does not fit yet."""
        try:
            return self.tell(api.Preview, self.wish(form)[0], id=id)
        except Problem:
            return None

    def wish(self, form: Form) -> tuple[dict[str, Any], Changes]:
        """The body of the API, and where each change was typed."""
        names = ("protocol_id", "protocol_version", "episode_id", "start_date", "start_phase_id",
                 "side")  # fmt: skip
        body: dict[str, Any] = form.body(*names)
        schedule = {
            name: form.chosen(f"schedule/{name}")
            for name in ("parts_of_day", "days")
            if form.chosen(f"schedule/{name}")
        }
        body |= {"schedule": schedule} if schedule else {}
        changes = self._changes(form)
        return body | ({"tailoring": changes.said} if changes.said else {}), changes

    def _changes(self, form: Form) -> Changes:
        if not form.value("protocol_id"):
            return Changes()
        protocol = self.ask(protocols.ProtocolOne, id=str(form.value("protocol_id")))
        phase = _phase_of(protocol, str(form.value("start_phase_id")))
        rows, _ = protocol_rows(protocol, phase, {})
        found = changes_in(rows, form, TAILORING)
        for key in form.chosen(f"{TAILORING}/on"):
            found.add({"op": "add", "key": key}, TAILORING, f"{TAILORING}/on")
        if added := str(form.value(f"{TAILORING}/added")):
            change = {"op": "add", "exercise": added, "phase_id": phase["id"]}
            found.add(change, TAILORING, f"{TAILORING}/added")
        return found


class Assign(Assigning):
    writes = "assignment_create"

    def act(self, form: Form, id: str = "") -> HttpResponse:
        body, changes = self.wish(form)
        try:
            made = self.tell(api.Assignments, body, id=id)
        except Problem as problem:
            raise readdressed(problem, changes.places) from problem
        self.say(
            f"Assigned: {made['title']}, from {day_words(made['start_date'])}. "
            "The patient sees it on the next sync."
        )
        return HttpResponseRedirect(patient_address(id))


class Preview(Assigning):
    """What the plan would be, beside the form, or as the whole page where there are no scripts."""

    writes = "assignment_preview"

    def get(self, request: Request, **address: str) -> HttpResponse:
        return self.onward("assign", **address)

    def act(self, form: Form, id: str = "") -> HttpResponse:
        body, changes = self.wish(form)
        try:
            preview = self.tell(api.Preview, body, id=id)
        except Problem as problem:
            raise readdressed(problem, changes.places) from problem
        if not self.wants_part:
            return self._drawn(form, id, preview)
        return self.part(
            "console/parts/plan_preview.html",
            {"patient": {"id": id}, "chosen": form.values, "zone": self.person.timezone}
            | _preview_shown(preview, preview["gates"], _titles_in(preview)),
        )

    def refused(self, problem: Problem) -> HttpResponse:
        if self.wants_part and problem.status in (409, 422):
            answer = self.part("console/parts/preview_refused.html", {"problem": problem})
            answer.status_code = problem.status
            return answer
        return super().refused(problem)


def protocol_rows(
    protocol: Shown, phase: Shown, titles: Mapping[str, str]
) -> tuple[list[Row], list[dict[str, str]]]:
    """The prescriptions of a phase as the protocol has them, and those that are left open."""
    rows: list[Row] = []
    left_open: list[dict[str, str]] = []
    seen: dict[str, int] = {}
    for one in phase["prescriptions"]:
        times = seen[one["exercise"]] = seen.get(one["exercise"], 0) + 1
        key = f"{phase['id']}/{one['exercise']}" + (f"-{times}" if times > 1 else "")
        title = titles.get(one["exercise"], one["exercise"])
        if one.get("gate") or not one.get("included", True):
            why = one.get("note") or one.get("gate") or ""
            left_open.append({"key": key, "title": title, "why": why,
                              "dose": dose_words(one["dose"])})  # fmt: skip
            continue
        rows.append(
            Row(
                number=len(rows), named={"key": key}, title=title, exercise=one["exercise"],
                phase_id=phase["id"], dose=one["dose"], schedule=one["schedule"],
                limit=one["pain_ceiling"], stages=one.get("stages", ()), note=one.get("note", ""),
            )
        )  # fmt: skip
    return rows, left_open


def _phase_of(protocol: Shown, id: str) -> Any:
    phases = protocol["phases"]
    return next((one for one in phases if one["id"] == id), phases[0])


def _today(screen: Screen, patient: Shown) -> date:
    return screen.now.astimezone(ZoneInfo(patient["timezone"])).date()


def _running(screen: Screen, patient_id: str, episode_id: str) -> list[dict[str, object]]:
    """Plans of the patient that have not ended: beside them this one would run."""
    rows = Assignment.objects.visible_to(screen.person).filter(
        patient_id=patient_id, ended_on=None
    ).select_related("protocol_version", "episode")  # fmt: skip
    return [
        {
            "id": str(row.pk), "title": row.protocol_version.title, "episode": row.episode.title,
            "since": day_words(row.start_date), "is_same": str(row.episode_id) == episode_id,
        }
        for row in rows.order_by("start_date", "id")
    ]  # fmt: skip


def _gates_of(problem: Problem | None) -> Sequence[Shown]:
    if isinstance(problem, AssignmentGateFailed):
        found: Sequence[Shown] = problem.members.get("gates", ())  # type: ignore[assignment]
        return found
    return ()


def _preview_shown(
    preview: Any, gates: Sequence[Shown], titles: Mapping[str, str]
) -> dict[str, object]:
    days = []
    for day in (preview or {}).get("days", ()):
        slots = [
            {
                "part": one["part_of_day"],
                "minutes": one["estimated_min"],
                "remind_at": one["remind_at"],
                "items": [
                    {"title": item["exercise"]["title"], "dose": dose_words(item["dose"]),
                     "side": item["dose"].get("side", ""), "times": item.get("times_a_day", 1)}
                    for item in one["items"]
                ],
            }
            for one in day["slots"]
        ]  # fmt: skip
        days.append({"on": day_words(day["date"]), "slots": slots,
                     "minutes": sum(one["minutes"] for one in slots)})  # fmt: skip
    minutes = [one["minutes"] for one in days if one["slots"]]
    reminders = sorted({slot["remind_at"] for day in days for slot in day["slots"]})
    return {
        "previewed": preview is not None,
        "plan_days": days,
        "training_days": len(minutes),
        "least_min": min(minutes, default=0),
        "most_min": max(minutes, default=0),
        "reminders": reminders,
        "warnings": warnings_in((preview or {}).get("warnings", ()), titles),
        "gates": [
            {
                **one,
                "name": GATES.get(one["id"], one["id"]),
                "missing": _missing(one.get("missing", "")),
            }
            for one in gates
        ],
        "failed": [one for one in gates if not one["passed"]],
    }


def _titles_in(preview: Shown) -> dict[str, str]:
    items = (item for day in preview["days"] for slot in day["slots"] for item in slot["items"])
    return {item["exercise"]["slug"]: item["exercise"]["title"] for item in items}


def _missing(said: str) -> str:
    """`not recorded: grade_recorded`, with the fact by its title."""
    what, _, code = said.partition(": ")
    metric = metrics().get(code)
    return f"{what}: {metric.title[:1].lower()}{metric.title[1:]}" if metric else said


TOO_FEW = {
    "too-few-days": "Fewer days than it asks for, so all are used",
    "too-few-parts-of-day": "Fewer times of day than it asks for, so all are used",
}


def warnings_in(said: Iterable[str], titles: Mapping[str, str]) -> list[str]:
    """`too-few-days: phase-1/x is due 3 times a week`: once a kind, with the exercises."""
    found: dict[str, list[str]] = {}
    for one in said:
        kind, _, rest = one.partition(": ")
        slug = rest.partition(" ")[0].partition("/")[2]
        found.setdefault(kind, []).append(titles.get(slug, slug))
    return [
        f"{TOO_FEW.get(kind, kind)}: {', '.join(dict.fromkeys(names))}."
        for kind, names in found.items()
    ]


# --- What the gates ask for -------------------------------------------------------------------


class Screening(FormScreen):
    """The safety screen and the facts that have to be recorded before a plan may start."""

    reads = "patient_get"
    writes = "assessment_create"
    here = "patients"
    roles = TREATING

    def show(self, form: Form, id: str = "") -> HttpResponse:
        patient = self.ask(patients.PatientOne, id=id)
        chosen = self._chosen(form)
        facts, signs = self._asked(chosen)
        return self.page(
            "console/screening.html",
            {
                "patient": patient, "form": form, "chosen": chosen, "facts": facts,
                "signs": [(one["code"], one["text"]) for one in signs],
                "recorded": _recorded(self, id), "back": self._back_to(id, chosen),
            },
        )  # fmt: skip

    def act(self, form: Form, id: str = "") -> HttpResponse:
        chosen = self._chosen(form)
        findings, facts = form.chosen("findings"), form.chosen("facts")
        asked = bool(form.value("asked"))
        if findings and not asked:
            detail = "Say that all questions were asked."
            raise ValidationFailed.at("#/asked", "required", detail)
        if not asked and not facts:
            detail = "Answer the screen, or tick what is recorded."
            raise ValidationFailed.at("#/asked", "required", detail)
        measured_at = timezone.localtime(self.now).isoformat(timespec="seconds")
        common = {"unit": FACT, "measured_at": measured_at} | form.body("note")
        if asked:
            body = {"code": SCREEN, "value": int(not findings), "findings": findings}
            self.tell(assessments.Assessments, common | body, id=id)
        for fact in facts:
            self.tell(assessments.Assessments, common | {"code": fact, "value": 1}, id=id)
        if findings:
            self.say("Recorded. What was found is flagged, and everything is stopped.")
        else:
            self.say("Recorded.")
        return HttpResponseRedirect(self._back_to(id, chosen))

    def _chosen(self, form: Form) -> dict[str, str]:
        query = self.request.query_params
        return {
            name: str(form.value(name) or query.get(name, ""))
            for name in ("protocol_id", "episode_id")
        }

    def _back_to(self, id: str, chosen: Mapping[str, str]) -> str:
        said = {name: value for name, value in chosen.items() if value}
        address = reverse("console:assign", kwargs={"id": id})
        return f"{address}?{urlencode(said)}" if said else address

    def _asked(self, chosen: Mapping[str, str]) -> tuple[list[dict[str, str]], Sequence[Shown]]:
        """The facts that this protocol asks for, and the questions of the safety screen."""
        id = chosen["protocol_id"] or _any_protocol(self)
        protocol = self.ask(protocols.ProtocolOne, id=id)
        wanted = protocol["requires"] if chosen["protocol_id"] else ()
        facts = [
            {"code": one["fact"], "title": metrics()[one["fact"]].title,
             "text": f"{one['gate']}: {one['text']}"}
            for one in wanted
        ]  # fmt: skip
        if IMAGING not in {one["code"] for one in facts}:
            title = metrics()[IMAGING].title
            facts.append({"code": IMAGING, "title": title, "text": f"AG6: {GATES['AG6']}"})
        return facts, protocol["stop_signs"]


def _any_protocol(screen: Screen) -> str:
    """The questions of the screen are the same in all of them."""
    id: str = screen.ask(protocols.Protocols, {"limit": 1})["items"][0]["id"]
    return id


def _recorded(screen: Screen, id: str) -> list[dict[str, str]]:
    """The last word on each fact."""
    found: dict[str, dict[str, str]] = {}
    for one in screen.ask(assessments.Assessments, {"limit": MOST}, id=id)["items"]:
        metric = metrics().get(one["code"])
        if metric is None or metric.unit != FACT or one["code"] in found:
            continue
        found[one["code"]] = {"title": metric.title, "at": one["measured_at"],
                              "value": "yes" if one["value"] else "no"}  # fmt: skip
    return list(found.values())


# --- Changing a plan --------------------------------------------------------------------------


class OfPlan(FormScreen):
    """A form about a plan, which must not have changed meanwhile."""

    reads = "assignment_get"
    here = "patients"
    roles = TREATING
    template: ClassVar[str]
    more: ClassVar[Callable[..., dict[str, object]]]  # what else the template asks for

    def show(self, form: Form, id: str = "") -> HttpResponse:
        plan = self.ask(api.AssignmentOne, id=id)
        patient = self.ask(patients.PatientOne, id=plan["patient_id"])
        today = _today(self, patient)
        said = {
            "plan": plan,
            "patient": patient,
            "etag": self.etag(api.AssignmentOne, id=id),
            "back": patient_address(plan["patient_id"]),
            "is_over": plan["status"] in ("completed", "stopped"),
            "pauses": [
                {"from": day_words(one["from"]), "reason": one["reason"],
                 "until": day_words(one["until"]) if "until" in one else ""}
                for one in plan["pauses"]
            ],
        }  # fmt: skip
        return self.page(self.template, said | self.more(form, plan, today))

    def done(self, plan: Shown, text: str) -> HttpResponse:
        self.say(text)
        return HttpResponseRedirect(patient_address(plan["patient_id"]))


class Tailor(OfPlan):
    writes = "assignment_tailor"
    template = "console/tailor.html"

    def more(self, form: Form, plan: Shown, today: date) -> dict[str, object]:
        listed = self.ask(exercises.Exercises, {"limit": MOST})["items"]
        titles = {one["slug"]: one["title"] for one in listed}
        phase_id = self._phase(form, plan)
        protocol = self.ask(
            protocols.ProtocolOne, {"version": plan["protocol_version"]}, id=plan["protocol_id"]
        )
        phase = _phase_of(protocol, phase_id)
        titles |= titles_of(self.person, {one["exercise"] for one in plan["prescriptions"]})
        rows = rows_of(plan["prescriptions"], phase_id, titles)
        held = {one["key"] for one in plan["prescriptions"]}
        written, left_open = protocol_rows(protocol, phase, titles)
        left_open += [
            {"key": row.named["key"], "title": row.title, "why": "taken out before",
             "dose": row.dose_words}
            for row in written if row.named["key"] not in held
        ]  # fmt: skip
        if not form.values or isinstance(form.problem, VersionMismatch):
            kept = {name: form.value(name) for name in ("effective_date", "reason")}
            first = {"effective_date": today.isoformat()}
            typed = {name: value for name, value in kept.items() if value}
            form = Form(initial(rows, CHANGES) | first | typed, form.problem)
        phases = [
            {"id": one["id"], "words": phase_words(one), "is_here": one["id"] == phase_id}
            for one in protocol["phases"]
        ]
        return {
            "form": form, "phases": phases, "phase": phase, "phase_id": phase_id,
            "rows": shown_rows(rows, form, CHANGES),
            "left_open": [one for one in left_open if one["key"] not in held],
            "switched_on": form.chosen(f"{CHANGES}/on"),
            "exercise_options": [("", "None"), *sorted(titles.items(), key=lambda one: one[1])],
            "more": True, "swaps": SWAPS, "schedules": SCHEDULES,
            "warnings": warnings_in(plan["warnings"], titles),
        }  # fmt: skip

    def _phase(self, form: Form, plan: Shown) -> str:
        wanted = str(form.value("rows_of") or self.request.query_params.get("phase", ""))
        return wanted or str(plan["phase"]["id"])

    def act(self, form: Form, id: str = "") -> HttpResponse:
        plan = self.ask(api.AssignmentOne, id=id)
        if self.etag(api.AssignmentOne, id=id) != form.value("etag"):
            raise VersionMismatch
        phase_id = self._phase(form, plan)
        changes = changes_in(rows_of(plan["prescriptions"], phase_id, {}), form, CHANGES)
        for key in form.chosen(f"{CHANGES}/on"):
            changes.add({"op": "add", "key": key}, CHANGES, f"{CHANGES}/on")
        if added := str(form.value(f"{CHANGES}/added")):
            change = {"op": "add", "exercise": added, "phase_id": phase_id}
            changes.add(change, CHANGES, f"{CHANGES}/added")
        if not changes.said:
            raise ValidationFailed.at("#/changes", "required", "Nothing is changed yet.")
        body = form.body("effective_date", "reason") | {"changes": changes.said}
        try:
            done = self.tell(
                api.AssignmentOne, body, method="PATCH", if_match=form.value("etag"), id=id
            )
        except Problem as problem:
            raise readdressed(problem, changes.places) from problem
        on = day_words(str(body.get("effective_date", "")))
        return self.done(done, f"Tailored: {done['title']}, from {on}.")


class Step(OfPlan):
    """A change of whether a plan runs: dates, a reason, done."""

    endpoint: ClassVar[type[api.Step]]
    names: ClassVar[tuple[str, ...]]
    template = "console/plan_step.html"
    step: ClassVar[str]
    told: ClassVar[Callable[..., str]]  # the message that it was done

    def more(self, form: Form, plan: Shown, today: date) -> dict[str, object]:
        if not form.values:
            form = Form({"from": today.isoformat(), "status": "stopped"}, form.problem)
        return {"form": form, "step": self.step, "ends": ENDS}

    def act(self, form: Form, id: str = "") -> HttpResponse:
        done = self.tell(
            self.endpoint, form.body(*self.names), if_match=form.value("etag"), id=id
        )  # fmt: skip
        return self.done(done, f"{self.told(form)}: {done['title']}.")


class Pause(Step):
    writes = "assignment_pause"
    endpoint, names, step = api.Pause, ("from", "until", "reason"), "pause"

    def told(self, form: Form) -> str:
        until = form.value("until")
        last = f" until {day_words(until)}" if until else ", until it is resumed"
        return f"Paused from {day_words(form.value('from'))}{last}"


class Resume(Step):
    writes = "assignment_resume"
    endpoint, names, step = api.Resume, ("from", "reason"), "resume"

    def told(self, form: Form) -> str:
        return f"Goes on from {day_words(form.value('from'))}"


class End(Step):
    writes = "assignment_end"
    endpoint, names, step = api.End, ("from", "status", "reason"), "end"

    def told(self, form: Form) -> str:
        return f"Ended with {day_words(form.value('from'))}"
