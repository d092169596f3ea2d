"""Doses, days and rules in the words that stand on the screens."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from django.utils.dateformat import format as dated

from backend.clinics.models import User
from exercises.models import Exercise

Shown = Mapping[str, Any]
SIDES = {"left": "left", "right": "right", "both": "both sides", "none": ""}
# Gates by what they ask; the rule itself, with its numbers, stands below in the rules' own words.
GATES = {
    "GG0": "The newest date is a completed session day",
    "GG1": "Days in this phase",
    "GG2": "Worst pain during exercise",
    "GG3": "Rise of pain on the next morning",
    "GG4": "Dose done",
    "GG5": "Completed session days",
    "GG6": "Open flags and items to review",
    "GG7": "Red days",
    "GG8": "The way out of this phase",
    "GG9": "Trend of pain on the next morning",
    "GG10": "Time until symptoms settle",
    "AG1": "No open safety flag",
    "AG2": "Safety screen shortly before the start",
    "AG3": "Diagnosis or grade",
    "AG4": "Neurological screen",
    "AG5": "Surgical opinion",
    "AG6": "Imaging decision",
    "AG7": "Age review",
}
MINUTES_FROM_S = 120
MINUTE = 60


def titles_of(person: User, slugs: Iterable[str]) -> dict[str, str]:
    """Exercises as this person's clinic calls them, its own before the library's. One query."""
    rows = Exercise.objects.visible_to(person).filter(slug__in=set(slugs))
    found = rows.values_list("slug", "clinic_id", "title")
    return {slug: title for slug, _, title in sorted(found, key=lambda row: (row[0], bool(row[1])))}


def day_words(on: str | date) -> str:
    """A date with its weekday."""
    found = on if isinstance(on, date) else date.fromisoformat(on)
    return dated(found, "D j M Y")


def span_words(reps: object) -> str:
    """A number of repetitions, or a range of them."""
    if isinstance(reps, Mapping):
        low, high = reps["min"], reps["max"]
        return f"{low:g}" if low == high else f"{low:g}–{high:g}"
    return str(reps)


def time_words(seconds: int) -> str:
    if seconds >= MINUTES_FROM_S and seconds % MINUTE == 0:
        return f"{seconds // MINUTE} min"
    return f"{seconds} s"


def dose_words(dose: Shown) -> str:
    """`3 × 4–6, hold 20 s, rest 60 s`."""
    said = []
    amount = ""
    if dose.get("reps_by_set"):
        said.append(f"sets of {', '.join(map(str, dose['reps_by_set']))}")
    elif "reps" in dose:
        amount = span_words(dose["reps"])
    elif "duration_s" in dose:
        amount = time_words(dose["duration_s"])
    elif "distance_m" in dose:
        amount = f"{dose['distance_m']} m"
    if amount:
        said.append(f"{dose['sets']} × {amount}")
    if "hold_s" in dose:
        said.append(f"hold {time_words(dose['hold_s'])}")
    if "load_kg" in dose:
        said.append(f"{dose['load_kg']:g} kg")
    if "load_text" in dose:
        said.append(dose["load_text"])
    if "effort" in dose:
        said.append(f"effort {span_words(dose['effort'])}")
    if "rest_s" in dose:
        said.append(f"rest {time_words(dose['rest_s'])}")
    return ", ".join(said)


def schedule_words(schedule: Shown) -> str:
    """`3 days a week, 2 times a day, from day 8`."""
    kind = schedule["kind"]
    said = [
        {
            "daily": "every day",
            "weekly": _times(schedule.get("per_week"), "a week", "day"),
            "every_n_days": f"every {schedule.get('every_n_days')} days",
            "once": "once",
        }[kind]
    ]
    if schedule.get("sessions_per_day", 1) > 1:
        said.append(f"{schedule['sessions_per_day']} times a day")
    if schedule.get("from_day", 1) > 1:
        said.append(f"from day {schedule['from_day']}")
    if schedule.get("to_day"):
        said.append(f"until day {schedule['to_day']}")
    return ", ".join(said)


def _times(number: object, per: str, one: str) -> str:
    return f"{number} {one if number == 1 else one + 's'} {per}"


def phase_words(phase: Shown) -> str:
    return f"{phase['number']} {phase['title']}"


def criterion_words(one: Shown) -> str:
    """What a criterion asks: a gate by its name, a way out of a phase as the protocol says it."""
    return GATES.get(one["id"]) or str(one["text"])
