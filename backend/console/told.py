"""Doses, changes and records in the words of a physiotherapist's page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from backend.care.selectors import Course
from backend.console.charts.words import plain
from protocols.knowledge import expected_days

SIDES = {"left": "left", "right": "right", "both": "both sides", "alternate": "alternating"}
DAYS = {"mon": "Mon", "tue": "Tue", "wed": "Wed", "thu": "Thu", "fri": "Fri", "sat": "Sat",
        "sun": "Sun"}  # fmt: skip
OUTCOMES = {
    "completed": ("C", "Done"),
    "partial": ("P", "Done in part"),
    "skipped": ("S", "Skipped"),
    "open": ("·", "Begun, not finished"),
}
SKIPPED = {
    "pain": "pain",
    "illness": "illness",
    "no_time": "no time",
    "forgot": "forgot",
    "no_equipment": "no equipment",
    "away": "away",
    "advised_to_rest": "advised to rest",
    "glucose": "glucose",
    "other": "another reason",
}
PARTS_OF_DAY = {"morning": "Morning", "midday": "Midday", "evening": "Evening", "any": "Any time"}
# What a record may say besides its entries, in the order of a day.
SCORES = (
    ("pain_before", "Pain before"),
    ("pain_during", "during"),
    ("pain_after", "after"),
    ("pain_now", "Pain on waking"),
    ("stiffness", "stiffness"),
    ("confidence", "confidence"),
    ("nprs_worst", "worst of the week"),
    ("effort", "effort"),
)


def range_words(low: float, high: float) -> str:
    return plain(low) if low == high else f"{plain(low)}–{plain(high)}"


def dose_words(dose: Mapping[str, Any]) -> str:
    """`3 × 4–6, hold 20 s, effort 7–8, rest 120 s`."""
    sets, parts = dose["sets"], []
    if dose.get("reps_by_set"):
        parts.append(" + ".join(str(one) for one in dose["reps_by_set"]))
    elif "reps" in dose:
        parts.append(f"{sets} × {range_words(dose['reps']['min'], dose['reps']['max'])}")
    elif "duration_s" in dose:
        parts.append(f"{sets} × {seconds_words(dose['duration_s'])}")
    elif "distance_m" in dose:
        parts.append(f"{sets} × {dose['distance_m']} m")
    if "hold_s" in dose:
        parts.append(f"hold {dose['hold_s']} s")
    if "load_kg" in dose:
        parts.append(f"{plain(dose['load_kg'])} kg")
    if "load_text" in dose:
        parts.append(dose["load_text"])
    if "effort" in dose:
        parts.append(f"effort {range_words(dose['effort']['min'], dose['effort']['max'])}")
    if "tempo" in dose:
        parts.append(f"tempo {dose['tempo']}")
    if "rest_s" in dose:
        parts.append(f"rest {seconds_words(dose['rest_s'])}")
    if dose.get("side") in SIDES:
        parts.append(SIDES[dose["side"]])
    return ", ".join(parts)


def seconds_words(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds >= 60 and seconds % 60 == 0 else f"{seconds} s"


def span_words(seconds: int) -> str:
    """`3 h 7 min`; what is less than a minute in seconds."""
    minutes, hours = seconds // 60 % 60, seconds // 3600
    parts = [f"{hours} h"] * bool(hours) + [f"{minutes} min"] * bool(minutes)
    return " ".join(parts) or f"{seconds} s"


def schedule_words(schedule: Mapping[str, Any]) -> str:
    match schedule["kind"]:
        case "weekly":
            often = f"{schedule['per_week']} times a week"
        case "every_n_days":
            often = f"every {schedule['every_n_days']} days"
        case "once":
            often = "once"
        case _:
            often = "every day"
    if schedule.get("sessions_per_day", 1) > 1:
        often += f", {schedule['sessions_per_day']} times a day"
    if "from_day" in schedule:
        often += f", from day {schedule['from_day']}"
    if "to_day" in schedule:
        often += f" to day {schedule['to_day']}"
    return often


def change_words(change: Mapping[str, Any], course: Course, titles: Mapping[str, str]) -> str:
    """One operation of tailoring: which exercise, and what of it."""
    what = _named(change, course, titles)
    with_dose = f" {dose_words(change['dose'])}" if "dose" in change else ""
    match change["op"]:
        case "set_dose":
            return f"{what}:{with_dose}"
        case "set_days":
            return f"{what}: {schedule_words(change['schedule'])}"
        case "set_limit":
            return f"{what}: pain up to {change['during_max']}"
        case "remove":
            return f"– {what}"
        case "swap":
            to = titles.get(change.get("exercise", ""), change.get("exercise", ""))
            return f"{what} → {to or change.get('to', '')}{with_dose}"
        case _:
            return f"+ {what}{with_dose}"


def _named(change: Mapping[str, Any], course: Course, titles: Mapping[str, str]) -> str:
    row = course.named(change.get("prescription_id", ""))
    if row is not None:
        return titles.get(row.exercise, row.exercise)
    if "key" in change:
        slug = str(change["key"]).rpartition("/")[2]
        return titles.get(slug, slug.replace("-", " "))
    return titles.get(change.get("exercise", ""), change.get("exercise", ""))


def expected_words(course: Course, phase_id: str) -> str:
    phase = course.protocol.phase(phase_id)
    most = expected_days().get((course.protocol.slug, phase_id))
    if most:
        return f"expected {phase.min_days}–{most}" if phase.min_days < most else f"expected {most}"
    return f"at least {phase.min_days}" if phase.min_days else ""


# --- Records ----------------------------------------------------------------------------------


def record_told(
    record: Mapping[str, Any], *, is_session: bool, names: Mapping[str, str]
) -> dict[str, Any]:
    """A record with its parts in words. Of a withdrawn one, what it said before."""
    history = record.get("history", ())
    said: Mapping[str, Any] = record
    if record.get("withdrawn"):
        said = next((one["content"] for one in reversed(history) if one.get("content")), {})
    derived = record.get("derived") or {}
    letter, outcome = OUTCOMES.get(derived.get("outcome", ""), ("", ""))
    skews = [one["clock_skew_s"] for one in history if one.get("clock_skew_s") is not None]
    return {
        "id": record["id"],
        "is_session": is_session,
        "on": date.fromisoformat(record["local_date"]),
        "withdrawn": bool(record.get("withdrawn")),
        "title": "Session" if is_session else "Check-in",
        "letter": letter,
        "outcome": outcome,
        "skip_reason": SKIPPED.get(said.get("skip_reason", ""), ""),
        "scores": [
            (words, plain(said[name])) for name, words in SCORES if said.get(name) is not None
        ],
        "entries": [_entry(one, derived, names) for one in said.get("entries", ())],
        "note": said.get("note", ""),
        "stop_signs": said.get("stop_signs", ()),
        "is_late": derived.get("timeliness") == "late",
        "is_suspect": derived.get("clock") == "suspect",
        "skew": span_words(abs(skews[-1])) if skews else "",
        "recorded_at": said.get("recorded_at"),
        "received_at": record["received_at"],
        "dose": derived.get("dose_ratio"),
        "revision": record["revision"],
        "history": list(reversed(history))[1:],
    }


def _entry(
    one: Mapping[str, Any], derived: Mapping[str, Any], names: Mapping[str, str]
) -> dict[str, Any]:
    id = one.get("prescription_id", "")
    asked = next((item for item in derived.get("items", ()) if item["prescription_id"] == id), None)
    return {
        "title": names.get(id) or names.get(one.get("exercise_id", "")) or "Another exercise",
        "is_skipped": one["state"] == "skipped",
        "skip_reason": SKIPPED.get(one.get("skip_reason", ""), ""),
        "sets": sets_words(one.get("sets", ())),
        "pain": one.get("pain"),
        "effort": one.get("effort"),
        "note": one.get("note", ""),
        "dose": None
        if asked is None
        else f"{plain(asked['performed'])} of {plain(asked['prescribed'])}",
    }


def sets_words(sets: Iterable[Mapping[str, Any]]) -> str:
    """`5, 5, 4`; where all are the same, `3 × 5`."""
    told = [one for one in (_set(one) for one in sets) if one]
    if len(told) > 1 and len(set(told)) == 1:
        return f"{len(told)} × {told[0]}"
    return ", ".join(told)


def _set(one: Mapping[str, Any]) -> str:
    parts = []
    if "reps" in one and not (one["reps"] == 1 and "hold_s" in one):
        parts.append(str(one["reps"]))
    if "hold_s" in one:
        parts.append(f"{plain(one['hold_s'])} s")
    if "duration_s" in one:
        parts.append(seconds_words(int(one["duration_s"])))
    if "distance_m" in one:
        parts.append(f"{plain(one['distance_m'])} m")
    if "load_kg" in one:
        parts.append(f"{plain(one['load_kg'])} kg")
    return " × ".join(parts)
