"""Proposals that wait for a decision: the queue, and one with all it rests on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from rest_framework.request import Request

from backend.api.physio import assessments, assignments, patients, versions
from backend.api.physio import progressions as api
from backend.care.models import Progression
from backend.care.reviewing import AlreadyDecided
from backend.clinics.models import Patient
from backend.console.charts.ladder import RESULTS as RESULT_WORDS
from backend.console.charts.ladder import YES_NO, Criterion, amount, criteria_ladder
from backend.console.frame import Form, FormScreen, Screen
from backend.console.navigation import TREATING
from backend.console.tailoring import (
    Row,
    changes_in,
    initial,
    readdressed,
    rows_of,
    shown_rows,
)
from backend.console.wording import criterion_words, day_words, phase_words, titles_of
from backend.problems import Problem, ValidationFailed, VersionMismatch

Shown = Mapping[str, Any]
OPEN = Progression.Status.PROPOSED.value
STATUSES = {
    OPEN: "Waiting",
    "approved": "Approved",
    "modified": "Approved with changes",
    "declined": "Declined",
    "expired": "Expired",
    "withdrawn": "Withdrawn",
    "superseded": "Replaced by a newer one",
}
GONE = {
    "approved": "It was approved.",
    "modified": "It was approved with changes.",
    "declined": "It was declined.",
    "expired": "Nobody answered in time, so it has expired.",
    "withdrawn": "What came in since does not support it any more, so it was withdrawn.",
    "superseded": "What came in since led to a newer proposal.",
}
REASONS = {
    "clinical_judgement": "Clinical judgement",
    "patient_preference": "The patient wishes otherwise",
    "new_finding": "A new finding",
    "data_unreliable": "The data cannot be relied on",
    "other": "Another reason",
}
MOVES = {
    "advance": "Advance",
    "hold": "Hold",
    "step_back": "Stepped back",
    "stop_and_review": "Stopped",
    "discharge": "Discharge",
}
DECLINED = "declined/"  # stands before the fields of the form that declines
ANSWERS = ("effective_date", "note_to_patient", "note", "reason_code")
MOST = 200  # tests that are looked through for those that a proposal rests on


@dataclass(frozen=True, slots=True)
class Difference:
    """What another proposal says otherwise than the one that was looked at."""

    text: str
    before: str
    after: str


class Reviews(Screen):
    reads = "progression_list"
    here = "reviews"
    roles = TREATING

    def get(self, request: Request) -> HttpResponse:
        wishes = {name: value for name, value in request.query_params.items() if value}
        listed = self.ask(api.Progressions, wishes)
        names = _names(self, (one["patient_id"] for one in listed["items"]))
        rows = [
            one
            | {
                "name": names.get(one["patient_id"], ""),
                "heading": heading_of(one),
                "move": MOVES[one["recommendation"]],
                "met": sum(c["result"] == "met" for c in one["criteria"]),
                "status_words": STATUSES[one["status"]],
            }
            for one in listed["items"]
        ]
        status = wishes.get("status", OPEN)
        return self.page(
            "console/reviews.html",
            {
                "items": rows, "next_cursor": listed["next_cursor"], "asked": wishes,
                "is_queue": status == OPEN, "form": Form({"status": status}),
                "statuses": tuple(STATUSES.items()),
            },
        )  # fmt: skip


class Review(FormScreen):
    reads = "progression_get"
    writes = "progression_decide"
    here = "reviews"
    roles = TREATING

    def get(self, request: Request, **address: str) -> HttpResponse:
        if self.wants_part:
            return self._is_still_so(**address)
        return super().get(request, **address)

    def _is_still_so(self, id: str) -> HttpResponse:
        """A bar where the proposal is not open any more, for whoever comes back to the page."""
        shown = self.ask(api.ProgressionOne, id=id)
        if shown["status"] == OPEN:
            return HttpResponse(status=204)
        return self.part("console/parts/review_gone.html", {"gone": GONE[shown["status"]]})

    def show(self, form: Form, id: str = "") -> HttpResponse:
        seen = self.ask(api.ProgressionOne, id=id)
        shown, is_newer = seen, False
        if seen["status"] != OPEN and (newer := self._open_one(seen)):
            is_newer = True
            shown = newer if form.problem else seen
        plan = self.ask(assignments.AssignmentOne, id=shown["assignment_id"])
        patient = self.ask(patients.PatientOne, id=shown["patient_id"])
        titles = titles_of(self.person, {one["exercise"] for one in plan["prescriptions"]})
        rows = rows_of(plan["prescriptions"], _phase_changed(shown), titles)
        differences = _differences(seen, shown) if shown is not seen else []
        return self.page(
            "console/review.html",
            _reading(shown, plan, patient, titles)
            | self._place(shown)
            | self._behind(shown)
            | _asking(shown, rows, form)
            | {
                "form": _filled(form, rows),
                "version_diff": self._newer_version(shown, plan),
                "ladder": criteria_ladder("criteria", _ladder(shown, seen)),
                "etag": self.etag(api.ProgressionOne, id=shown["id"]),
                "plan_version": plan["version"],
                "differences": differences,
                "is_reloaded": bool(form.problem) and shown is not seen,
                "newer_id": newer["id"] if is_newer and shown is seen else "",
            },
        )

    def act(self, form: Form, id: str = "") -> HttpResponse:
        shown = self.ask(api.ProgressionOne, id=id)
        plan = self.ask(assignments.AssignmentOne, id=shown["assignment_id"])
        if str(plan["version"]) != form.value("plan_version"):
            raise VersionMismatch
        how = form.value("how")
        at = DECLINED if how == "decline" else ""
        said = form.body(*(at + name for name in ANSWERS))
        body: dict[str, Any] = {name.removeprefix(at): told for name, told in said.items()}
        body["outcome"] = "decline" if how == "decline" else "approve"
        rows = rows_of(plan["prescriptions"], _phase_changed(shown), {})
        changes = changes_in(rows, form, "changes")
        _check_button(how, len(changes.said))
        if how == "changes":
            body["changes"] = changes.said
        places = changes.places | ({name: at + name for name in ANSWERS} if at else {})
        try:
            done = self.tell(api.Decide, body, if_match=form.value("etag"), id=id)
        except AlreadyDecided as problem:
            if problem.members.get("progression_status") == Progression.Status.SUPERSEDED:
                raise VersionMismatch from problem  # a newer one is open, and is shown
            raise
        except Problem as problem:
            raise readdressed(problem, places) from problem
        self.say(_told(done, _names(self, [done["patient_id"]])[done["patient_id"]]))
        following = next(iter(self._queue()), None)
        return self.onward("review", id=str(following)) if following else self.onward("reviews")

    def _open_one(self, seen: Shown) -> Any:
        """The proposal that is open for the same plan now."""
        listed = self.ask(api.Progressions, {"patient_id": seen["patient_id"]})
        of_plan = (one for one in listed["items"] if one["assignment_id"] == seen["assignment_id"])
        return next(of_plan, None)

    def _queue(self) -> list[UUID]:
        waiting = Progression.objects.visible_to(self.person).filter(status=OPEN)
        return list(waiting.order_by("waiting_since", "id").values_list("id", flat=True))

    def _place(self, shown: Shown) -> dict[str, object]:
        """Where it stands in the queue, and what follows."""
        queue = [str(id) for id in self._queue()]
        if shown["id"] not in queue:
            return {"place": 0, "waiting": len(queue), "next_id": queue[0] if queue else ""}
        at = queue.index(shown["id"])
        others = queue[at + 1 :] + queue[:at]
        return {"place": at + 1, "waiting": len(queue), "next_id": others[0] if others else ""}

    def _behind(self, shown: Shown) -> dict[str, object]:
        """Each criterion with its records and sources."""
        tests: dict[str, Shown] = {}
        told = [one for c in shown["criteria"] for one in c.get("evidence", ())]
        if any(one["type"] == "assessment" for one in told):
            found = self.ask(assessments.Assessments, {"limit": MOST}, id=shown["patient_id"])
            tests = {one["id"]: one for one in found["items"]}
        named = {one["id"]: one for one in shown["citations"]}
        return {
            "behind": [
                {
                    "text": criterion_words(one),
                    "rule": one["text"] if criterion_words(one) != one["text"] else "",
                    "records": [_record(record, tests) for record in one.get("evidence", ())],
                    "source": one.get("source", ""),
                    "citations": [named[key] for key in one.get("citation_ids", ())
                                  if key in named],
                }
                for one in shown["criteria"]
            ]
        }  # fmt: skip

    def _newer_version(self, shown: Shown, plan: Shown) -> Any:
        """What is otherwise in the version that the plan would go on by."""
        if "to_protocol_version" not in shown:
            return None
        between = {"from": plan["protocol_version"], "to": shown["to_protocol_version"]}
        return self.ask(versions.Compare, between, id=plan["protocol_id"])


def _names(screen: Screen, ids: Iterable[str]) -> dict[str, str]:
    rows = Patient.objects.visible_to(screen.person).filter(pk__in=set(ids))
    return {str(row.pk): row.display_name for row in rows}


def heading_of(shown: Shown) -> str:
    """What is proposed, in a line."""
    here, to = phase_words(shown["from_phase"]), shown.get("to_phase")
    there = phase_words(to) if to else ""
    match shown["recommendation"]:
        case "advance":
            return f"Advance from {here} to {there}"
        case "step_back":
            return f"Stepped back from {here} to {there}"
        case "discharge":
            return f"Discharge from {here}"
        case "stop_and_review":
            return f"Stopped in {here}: to be reviewed"
    if "to_protocol_version" in shown:
        return f"Go on by version {shown['to_protocol_version']}"
    if to:
        return f"Asked for by hand: {there}. The rules say: hold {here}"
    return f"Hold in {here}"


def is_against(shown: Shown) -> bool:
    """Whether approving it goes against what the rules say: a harder phase by hand."""
    to = shown.get("to_phase")
    harder = to is not None and to["number"] > shown["from_phase"]["number"]
    return bool(shown["recommendation"] == "hold" and harder)


def _phase_changed(shown: Shown) -> str:
    """The phase whose doses would begin, or go on."""
    id: str = shown.get("to_phase", shown["from_phase"])["id"]
    return id


def _reading(shown: Shown, plan: Shown, patient: Shown, titles: Mapping[str, str]
             ) -> dict[str, object]:  # fmt: skip
    quality = shown["data_quality"]
    return {
        "shown": shown,
        "plan": plan,
        "patient": patient,
        "heading": heading_of(shown),
        "is_open": shown["status"] == OPEN,
        "status_words": STATUSES[shown["status"]],
        "gone": GONE.get(shown["status"], ""),
        "quality": quality,
        "reasons": [_dated(one) for one in shown["reasons"] if one["code"] != "facts_of_the_date"],
        "changes_shown": phase_changes(plan["prescriptions"], shown, titles),
        "window": {name: day_words(on) for name, on in shown["window"].items()},
        "reason_words": REASONS.get((shown["decision"] or {}).get("reason_code", ""), ""),
        "effective": day_words(shown["effective_date"]) if "effective_date" in shown else "",
    }


def _dated(reason: Mapping[str, Any]) -> Mapping[str, Any]:
    if reason["code"] != "red_day":
        return reason
    said = reason["params"]
    return {**reason, "text": f"{said['colour']} on {day_words(said['date'])}"}


def _asking(shown: Shown, rows: Sequence[Row], form: Form) -> dict[str, object]:
    """What may be said to it. What is not possible is not offered."""
    kind, moves = shown["recommendation"], "to_protocol_version" in shown
    is_stop, ends = kind == "stop_and_review", kind == "discharge"
    begins = ends or moves or ("to_phase" in shown and kind != "step_back")
    can_change = not (is_stop or ends or moves)
    wrong = {name for name, _ in form.errors()}
    declining = any(name.startswith(DECLINED) for name in wrong)
    filled = _filled(form, rows)
    return {
        "approve_words": {"step_back": "Confirm", "stop_and_review": "Confirm as seen",
                          "discharge": "Approve discharge", "hold": "Approve"}.get(kind, "Approve"),
        "decline_words": "Put the phase back" if kind == "step_back" else "Decline",
        "can_decline": not is_stop,
        "can_change": can_change,
        "has_date": begins,
        "declining_has_date": kind == "step_back",
        "is_against": is_against(shown),
        "declining_is_against": kind != "hold",
        "declining_optional": kind == "hold",
        "rows": shown_rows(rows, filled, "changes") if can_change else [],
        "phase_changed": phase_words(shown.get("to_phase", shown["from_phase"])),
        "rows_open": any(name.startswith("changes") for name in wrong),
        "declining": declining or form.value("how") == "decline",
        "reason_options": [("", "Choose a reason"), *REASONS.items()],
    }  # fmt: skip


def _filled(form: Form, rows: Sequence[Row]) -> Form:
    """A fresh form says what stands in the plan."""
    return form if form.values else Form(initial(rows, "changes"), form.problem)


def _check_button(how: str, count: int) -> None:
    if how == "approve" and count:
        detail = "Doses were changed: approve with changes, or set them back."
        raise ValidationFailed.at("#/changes", "invalid-value", detail)
    if how == "changes" and not count:
        raise ValidationFailed.at("#/changes", "required", "Nothing is changed yet.")
    if how not in ("approve", "changes", "decline"):
        raise ValidationFailed.at("#/how", "invalid-value", "Approve or decline.")


def _record(record: Shown, tests: Mapping[str, Shown]) -> dict[str, str]:
    """A record that a criterion rests on, in words."""
    if record["type"] == "assessment":
        test = tests.get(record["id"])
        if test is None:
            return {"kind": "Test", "on": "", "value": ""}
        return {"kind": "Test", "on": day_words(test["measured_at"][:10]),
                "value": amount(test["value"], _unit(test))}  # fmt: skip
    is_rating = record["type"] == "check_in"
    value = f"pain {record['value']:g}" if "value" in record else "no pain score"
    return {
        "kind": "Morning after" if is_rating else "Session",
        "on": day_words(record["local_date"]),
        "value": value,
    }


def _ladder(shown: Shown, seen: Shown) -> tuple[Criterion, ...]:
    """The criteria as the chart takes them; where another one was looked at, what it said."""
    before = {one["id"]: one for one in seen["criteria"]} if seen is not shown else {}
    return tuple(
        Criterion(
            text=criterion_words(one),
            result=one["result"],
            required=one.get("required", True),
            operator=one.get("operator", ""),
            unit=_unit(one),
            threshold=one.get("threshold"),
            observed=_observed(one),
            samples=one.get("samples", 0),
            samples_needed=_samples_needed(one),
            note=_note(one, before.get(one["id"]) if before else one),
        )
        for one in shown["criteria"]
    )


def _unit(one: Shown) -> str:
    """Tests name the scale of pain otherwise than sessions do."""
    unit: str = one.get("unit", "")
    return "nrs11" if unit == "0-10" else unit


def _observed(one: Shown) -> float | None:
    """A question with yes or no is answered by its result."""
    if "observed" not in one and one.get("unit") == YES_NO and one["result"] != "unknown":
        return float(one["result"] == "met")
    found: float | None = one.get("observed")
    return found


def _samples_needed(one: Shown) -> int:
    """Too few samples are told where that is why something is not met."""
    needed: int = one.get("samples_needed", 1)
    return min(needed, one.get("samples", 0)) if one["result"] == "met" else needed


def _note(one: Shown, was: Shown | None) -> str:
    finding = one.get("finding", "")
    if was is None:
        return f"New. {finding}".strip()
    if _seen(was) != _seen(one):
        return f"Changed, was {_seen(was)}. {finding}".strip()
    return str(finding)


def _seen(one: Shown) -> str:
    result = RESULT_WORDS[one["result"]]
    found = _observed(one)
    return result if found is None else f"{amount(found, _unit(one))}, {result}"


def _differences(seen: Shown, shown: Shown) -> list[Difference]:
    found = []
    if heading_of(seen) != heading_of(shown):
        found.append(Difference("Proposal", heading_of(seen), heading_of(shown)))
    if seen["window"] != shown["window"]:
        found.append(
            Difference("Data up to", *(day_words(one["window"]["to"]) for one in (seen, shown)))
        )
    before = {one["id"]: one for one in seen["criteria"]}
    for one in shown["criteria"]:
        was = before.pop(one["id"], None)
        if was is None or _seen(was) != _seen(one):
            told = _seen(was) if was else "not asked"
            found.append(Difference(criterion_words(one), told, _seen(one)))
    found += [Difference(criterion_words(one), _seen(one), "not asked") for one in before.values()]
    return found


def phase_changes(prescriptions: Sequence[Shown], shown: Shown, titles: Mapping[str, str]
                  ) -> list[dict[str, str]]:  # fmt: skip
    """What of the exercises is new, as before, otherwise, or over in the phase proposed."""
    to = shown.get("to_phase")
    if to is None or to["id"] == shown["from_phase"]["id"]:
        return []
    now = {row.exercise: row for row in rows_of(prescriptions, shown["from_phase"]["id"], titles)}
    then = {row.exercise: row for row in rows_of(prescriptions, to["id"], titles)}
    found = []
    for slug, row in then.items():
        told = f"{row.dose_words}, {row.schedule_words}"
        was = now.get(slug)
        before = f"{was.dose_words}, {was.schedule_words}" if was else ""
        kind = "new" if was is None else "same" if told == before else "changed"
        found.append({"kind": kind, "title": row.title, "now": told,
                      "before": before if kind == "changed" else ""})  # fmt: skip
    found += [{"kind": "over", "title": row.title, "now": "", "before": ""}
              for slug, row in now.items() if slug not in then]  # fmt: skip
    order = ("new", "changed", "same", "over")
    return sorted(found, key=lambda one: order.index(one["kind"]))


def _told(done: Shown, name: str) -> str:
    what = STATUSES[done["status"]]
    when = f", from {day_words(done['effective_date'])}" if "effective_date" in done else ""
    return f"{what}: {name}, {heading_of(done)[:1].lower()}{heading_of(done)[1:]}{when}."
