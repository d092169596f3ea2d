"""Prescriptions as rows of a form, and what was changed in them as operations of the API."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from backend.console.frame import Form
from backend.console.wording import SIDES, dose_words, schedule_words
from backend.problems import FieldError, Problem

Shown = Mapping[str, Any]
AMOUNTS = ("hold_s", "duration_s", "distance_m", "load_kg", "rest_s")
LABELS = {
    "sets": ("Sets", 1, 20),
    "reps/min": ("Reps from", 1, 200),
    "reps/max": ("to", 1, 200),
    "hold_s": ("Hold, s", 1, 600),
    "duration_s": ("Seconds", 1, 21_600),
    "distance_m": ("Metres", 1, 50_000),
    "load_kg": ("Load, kg", 0, 500),
    "rest_s": ("Rest, s", 0, 7_200),
}
DOSE_OF_API = ("sets", "reps", *AMOUNTS, "load_text", "effort", "tempo")


@dataclass(frozen=True, slots=True)
class Row:
    """A prescription that can be changed. `named` says to the API which one is meant: by its key
    all sides at once, by its id where the sides differ."""

    number: int
    named: Mapping[str, str]
    title: str
    exercise: str
    phase_id: str
    dose: Shown
    schedule: Shown
    limit: int
    sides: tuple[str, ...] = ()
    stages: Sequence[Shown] = ()
    note: str = ""

    @property
    def side_words(self) -> str:
        return ", ".join(SIDES.get(one, one) for one in self.sides if SIDES.get(one, one))

    @property
    def dose_words(self) -> str:
        return dose_words(self.dose)

    @property
    def schedule_words(self) -> str:
        return schedule_words(self.schedule)

    @property
    def stages_words(self) -> str:
        return "; ".join(f"from day {one['from_day']} {dose_words(one['dose'])}"
                         for one in self.stages)  # fmt: skip

    def amounts(self) -> dict[str, object]:
        """What of the dose can be typed, with what it is now."""
        found: dict[str, object] = {"sets": self.dose["sets"]}
        if "reps" in self.dose or self.dose.get("reps_by_set"):
            reps = self.dose.get("reps") or {}
            reps = reps if isinstance(reps, Mapping) else {"min": reps, "max": reps}
            found |= {"reps/min": reps.get("min", ""), "reps/max": reps.get("max", "")}
        return found | {name: self.dose[name] for name in AMOUNTS if name in self.dose}


@dataclass(frozen=True, slots=True)
class Input:
    name: str
    label: str
    value: object
    least: int
    most: int
    error: str = ""

    @property
    def id(self) -> str:
        return "f-" + self.name.replace("/", "-")


@dataclass(frozen=True, slots=True)
class ShownRow:
    """A row with its fields, as a template draws it."""

    row: Row
    inputs: Sequence[Input]
    limit: Input
    errors: Sequence[str] = field(default_factory=tuple)
    is_removed: bool = False
    swap: str = ""
    days: str = ""
    at: str = ""


def rows_of(prescriptions: Iterable[Shown], phase_id: str, titles: Mapping[str, str]) -> list[Row]:
    """The rows of a phase as an assignment shows them; sides that are alike are one row."""
    found: dict[str, Row] = {}
    shown = [one for one in prescriptions if one["phase_id"] == phase_id]
    alike = {key: _is_alike([one for one in shown if one["key"] == key])
             for key in {one["key"] for one in shown}}  # fmt: skip
    for one in shown:
        name = one["key"] if alike[one["key"]] else one["id"]
        side = one["dose"].get("side", "none")
        if name in found:
            found[name] = replace(found[name], sides=(*found[name].sides, side))
            continue
        found[name] = Row(
            number=len(found),
            named={"key": name} if alike[one["key"]] else {"prescription_id": name},
            title=titles.get(one["exercise"], one["exercise"]),
            exercise=one["exercise"],
            phase_id=phase_id,
            dose={k: v for k, v in one["dose"].items() if k != "side"},
            schedule=one["schedule"],
            limit=one["pain_limit"]["during_max"],
            sides=(side,),
            stages=one.get("stages", ()),
            note=one.get("note_to_patient", ""),
        )
    return list(found.values())


def _is_alike(rows: Sequence[Shown]) -> bool:
    told = [
        ({k: v for k, v in one["dose"].items() if k != "side"}, one["schedule"], one["pain_limit"])
        for one in rows
    ]
    return all(one == told[0] for one in told)


def initial(rows: Iterable[Row], at: str) -> dict[str, object]:
    """What stands in the fields before anybody typed."""
    found: dict[str, object] = {}
    for row in rows:
        here = f"{at}/{row.number}"
        found |= {f"{here}/dose/{name}": value for name, value in row.amounts().items()}
        found[f"{here}/during_max"] = row.limit
    return found


def shown_rows(rows: Iterable[Row], form: Form, at: str) -> list[ShownRow]:
    return [_shown(row, form, f"{at}/{row.number}") for row in rows]


def _shown(row: Row, form: Form, here: str) -> ShownRow:
    def input(name: str, label: str, least: int, most: int) -> Input:
        return Input(f"{here}/{name}", label, form.value(f"{here}/{name}"), least, most,
                     form.error(f"{here}/{name}"))  # fmt: skip

    fields = [input(f"dose/{name}", *LABELS[name]) for name in row.amounts()]
    limit = input("during_max", "Pain limit", 0, 10)
    known = {one.name for one in (*fields, limit)}
    others = [error.detail for name, error in form.errors()
              if name not in known and (name == here or name.startswith(f"{here}/"))]  # fmt: skip
    return ShownRow(
        row, fields, limit, others,
        is_removed=bool(form.value(f"{here}/remove")), swap=str(form.value(f"{here}/swap")),
        days=str(form.value(f"{here}/schedule")),
        at=here,
    )  # fmt: skip


@dataclass(slots=True)
class Changes:
    """Operations of tailoring, and the field that each was typed in, for what is refused."""

    said: list[dict[str, Any]] = field(default_factory=list)
    places: dict[str, str] = field(default_factory=dict)

    def add(self, change: dict[str, Any], at: str, typed: str) -> None:
        self.places[f"{at}/{len(self.said)}"] = typed
        self.said.append(change)


def changes_in(rows: Iterable[Row], form: Form, at: str) -> Changes:
    """What was typed otherwise than it stands in the plan."""
    found = Changes()
    for row in rows:
        here = f"{at}/{row.number}"
        if form.value(f"{here}/remove"):
            found.add({"op": "remove", **row.named}, at, here)
            continue
        swap = str(form.value(f"{here}/swap"))
        if swap:
            way = {"to": swap} if swap in ("easier", "harder") else {"exercise": swap}
            found.add({"op": "swap", **row.named, **way}, at, here)
            continue
        dose = _dose(row, form, here)
        if dose is not None:
            found.add({"op": "set_dose", **row.named, "dose": dose}, at, here)
        days = str(form.value(f"{here}/schedule"))
        if days:
            schedule = _schedule(days, row.schedule)
            found.add({"op": "set_days", **row.named, "schedule": schedule}, at, here)
        limit = form.body(numbers=[f"{here}/during_max"]).get(f"{here}/during_max")
        if limit is not None and limit != row.limit:
            found.add({"op": "set_limit", **row.named, "during_max": limit}, at, here)
    return found


def _schedule(said: str, now: Shown) -> dict[str, Any]:
    """`weekly-3`, as often a day and on the same days of the phase as before."""
    kind, _, number = said.partition("-")
    kept = {name: now[name] for name in ("sessions_per_day", "from_day", "to_day") if name in now}
    name = {"weekly": "per_week", "every_n_days": "every_n_days"}.get(kind)
    return {"kind": kind} | kept | ({name: int(number)} if name and number.isdigit() else {})


def _dose(row: Row, form: Form, here: str) -> dict[str, Any] | None:
    """The whole dose where one of its numbers was typed anew."""
    names = {name: f"{here}/dose/{name}" for name in row.amounts()}
    typed = form.body(numbers=names.values())
    if not any(where in form.values for where in names.values()):
        return None
    if all(_is_same(typed.get(names[name]), now) for name, now in row.amounts().items()):
        return None
    dose = {name: row.dose[name] for name in DOSE_OF_API if name in row.dose}
    for name, where in names.items():
        head, _, tail = name.partition("/")
        if tail:
            kept = dose.get(head)
            dose[head] = dict(kept) if isinstance(kept, Mapping) else {}
            dose[head].pop(tail, None)
            dose[head] |= {tail: typed[where]} if where in typed else {}
        elif where in typed:
            dose[head] = typed[where]
        else:
            dose.pop(head, None)
    return dose


def _is_same(typed: object, now: object) -> bool:
    return typed == now or (typed is None and now == "")


def readdressed(problem: Problem, places: Mapping[str, str]) -> Problem:
    """The refusal with its errors at the fields that were typed in."""
    found = copy.copy(problem)
    found.errors = tuple(_at(error, places) for error in problem.errors)
    return found


def _at(error: FieldError, places: Mapping[str, str]) -> FieldError:
    where = error.pointer.removeprefix("#/")
    for sent, typed in places.items():
        if where == sent or where.startswith(f"{sent}/"):
            return replace(error, pointer=f"#/{typed}{where.removeprefix(sent)}")
    return error
