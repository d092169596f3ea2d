"""A second way to the figures of adherence, slot by slot from the records, as docs/adherence.md
has them. It shares nothing with the first but the plan and the verdicts on its dates."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

from backend.care.models import Assignment, CheckIn, ClosedDay, Flag, Session
from backend.care.selectors import course_of, terms_of_row
from backend.clinics.models import Patient
from protocols.models import ProtocolVersion

TARGET = Fraction(8, 10)


@dataclass(frozen=True)
class Expected:
    """A slot of a closed date, and what became of it."""

    kinds: frozenset[str]
    state: str
    dose: Decimal


@dataclass(frozen=True)
class LivedDate:
    """A closed date of a plan, as the records stand."""

    patient: Patient
    assignment: Assignment
    on: date
    phase_id: str
    closed_at: datetime
    pain: int | None
    slots: tuple[Expected, ...]
    sessions: tuple[Session, ...]
    has_check_in: bool

    def of_kind(self, kind: str) -> LivedDate:
        slots = tuple(one for one in self.slots if kind in one.kinds)
        return LivedDate(**self.__dict__ | {"slots": slots})

    def count(self, *states: str) -> int:
        return sum(slot.state in states for slot in self.slots)


def lived(first: date, last: date) -> list[LivedDate]:
    """Of everybody. Of the day book only the verdicts are read."""
    found = []
    rows = Assignment.objects.with_record().select_related("patient__physiotherapist")
    for assignment in rows:
        course, patient = course_of(assignment), assignment.patient
        standing = Session.objects.filter(assignment=assignment, withdrawn_at=None)
        checked = CheckIn.objects.filter(patient=patient, withdrawn_at=None)
        check_ins = set(checked.values_list("local_date", flat=True))
        for row in ClosedDay.objects.filter(assignment=assignment, on__range=(first, last)):
            slots = [one for one in course.slots_under(terms_of_row(row), row.on) if one.counts]
            silent = patient.last_received_at is None or patient.last_received_at < row.closed_at
            found.append(
                LivedDate(
                    patient=patient, assignment=assignment, on=row.on, phase_id=row.phase_id,
                    closed_at=row.closed_at, pain=row.pain_during,
                    slots=tuple(_expected(slot, row, list(standing), silent) for slot in slots),
                    sessions=tuple(one for one in standing if one.local_date == row.on),
                    has_check_in=row.on in check_ins,
                )
            )  # fmt: skip
    return found


def _expected(slot: Any, row: ClosedDay, standing: list[Session], silent: bool) -> Expected:
    of_slot = [one for one in standing if one.slot_id == slot.id]
    words = {one.outcome for one in of_slot}
    state = "not_heard" if silent else "missed"
    for word in ("skipped", "partial", "completed"):
        if word in words:
            state = word
    is_done = state in ("partial", "completed")
    if row.is_excused or row.is_stopped or (row.outcome == "stop_and_review" and not is_done):
        state, is_done = "excused", False
    doses = [one.dose_ratio or Decimal(0) for one in of_slot
             if one.outcome in ("partial", "completed")]  # fmt: skip
    kinds = {one.prescribed.kind for one in slot.items if one.prescribed.counts}
    return Expected(frozenset(kinds), state, max(doses) if is_done else Decimal(0))


# --- Measures ---------------------------------------------------------------------------------


def told(value: Fraction | None) -> float | None:
    if value is None:
        return None
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return float(exact.quantize(Decimal("0.0001"), ROUND_HALF_UP))


def share(part: int | Decimal, whole: int) -> Fraction | None:
    return Fraction(part) / whole if whole else None


DUE = ("completed", "partial", "skipped", "missed")
DONE = ("completed", "partial")


def group(dates: list[LivedDate]) -> dict[str, Any]:
    """The measures that a row of any group has, without those that were not told."""
    count = {state: sum(one.count(state) for one in dates)
             for state in (*DUE, "not_heard", "excused")}  # fmt: skip
    due, done = sum(count[one] for one in DUE), count["completed"] + count["partial"]
    dose = sum((slot.dose for one in dates for slot in one.slots), Decimal(0))
    sessions = [session for one in dates for session in one.sessions]
    runs = [len(run) for line in _lines(dates) for run in re.findall("n+", line)]
    weeks = _weeks(dates)
    pains = sorted(one.pain for one in dates if one.pain is not None)
    shown: dict[str, Any] = {
        **count,
        "due": due,
        "session_adherence": told(share(done, due)),
        "session_adherence_low": told(share(done, due + count["not_heard"])),
        "completed_ratio": told(share(count["completed"], due)),
        "dose_adherence": told(share(dose, due)),
        "active_days": len({
            (one.patient.pk, one.on) for one in dates
            if any(session.outcome in DONE for session in one.sessions)
        }),
        "data_days": len({
            (one.patient.pk, one.on) for one in dates if one.sessions or one.has_check_in
        }),
        "missed_runs": sum(run < 3 for run in runs),
        "interruptions": sum(run >= 3 for run in runs),
        "late_ratio": told(share(sum(one.late for one in sessions), len(sessions))),
        "weeks_on_target": {"of": len(weeks), "on_target": sum(weeks.values())},
    }  # fmt: skip
    if pains:
        shown["pain_during"] = {"median": statistics.median(pains), "worst": pains[-1]}
    return {name: value for name, value in shown.items() if value is not None}


def _lines(dates: list[LivedDate]) -> Iterable[str]:
    """Of each plan a letter for each slot of which something is known: done, or not."""
    for plan in {one.assignment.pk for one in dates}:
        of_plan = sorted((one for one in dates if one.assignment.pk == plan), key=lambda d: d.on)
        yield "".join(
            "d" * one.count(*DONE) + "n" * one.count("skipped", "missed") for one in of_plan
        )


def _weeks(dates: list[LivedDate]) -> dict[tuple[Any, str], bool]:
    """Whether each week of each patient, of those with something due, reached the target."""
    found: dict[tuple[Any, str], list[LivedDate]] = {}
    for one in dates:
        found.setdefault((one.patient.pk, f"{one.on:%G-W%V}"), []).append(one)
    shares = {
        week: share(sum(one.count(*DONE) for one in of_week),
                    sum(one.count(*DUE) for one in of_week))
        for week, of_week in found.items()
    }  # fmt: skip
    return {week: value >= TARGET for week, value in shares.items() if value is not None}


def rows_of_weeks(dates: list[LivedDate]) -> dict[str, int]:
    """Of one patient: the row of weeks on target that goes on, and the longest one."""
    line = "".join("y" if reached else "n" for _, reached in sorted(_weeks(dates).items()))
    longest = max((len(row) for row in re.findall("y+", line)), default=0)
    return {"current": len(line) - len(line.rstrip("y")), "longest": longest}


def spread(dates: list[LivedDate]) -> dict[str, Any]:
    each = []
    for patient in {one.patient.pk for one in dates}:
        own = [one for one in dates if one.patient.pk == patient]
        due = sum(one.count(*DUE) for one in own)
        if due >= 4:
            each.append(Fraction(sum(one.count(*DONE) for one in own), due))
    shown: dict[str, Any] = {"patients_on_target": sum(one >= TARGET for one in each)}
    if each:
        cut = statistics.quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3
        shown["median_session_adherence"] = told(cut[1])
        shown["quartiles"] = [told(cut[0]), told(cut[2])]
    return shown


def days(dates: list[LivedDate], first: date, last: date) -> str:
    by_date: dict[date, set[str]] = {}
    for one in dates:
        by_date.setdefault(one.on, set()).update(slot.state for slot in one.slots)
    letters = {"missed": "M", "not_heard": "?", "skipped": "S", "partial": "P", "completed": "C",
               "excused": "X"}  # fmt: skip
    line = ""
    while first <= last:
        states = by_date.get(first, set())
        line += next((letter for word, letter in letters.items() if word in states), "-")
        first += timedelta(days=1)
    return line


# --- Groups -----------------------------------------------------------------------------------


def _phase(one: LivedDate) -> tuple[str, str]:
    version = one.assignment.protocol_version
    phase = version.definition.phase(one.phase_id)
    title = f"{version.title}, phase {phase.number}: {phase.title}"
    return f"{version.protocol_id}/{one.phase_id}", title


def _week(one: LivedDate) -> tuple[str, str]:
    return f"{one.on:%G-W%V}", f"Week {int(f'{one.on:%V}')}, {one.on:%G}"


def _physiotherapist(one: LivedDate) -> tuple[str, str]:
    treats = one.patient.physiotherapist
    return (str(treats.pk), treats.display_name) if treats else ("none", "")


def _protocol(one: LivedDate) -> tuple[str, str]:
    version: ProtocolVersion = one.assignment.protocol_version
    return str(version.protocol_id), version.title


KEYS: Mapping[str, Callable[[LivedDate], tuple[str, str]]] = {
    "patient": lambda one: (str(one.patient.pk), one.patient.display_name),
    "physiotherapist": _physiotherapist,
    "protocol": _protocol,
    "phase": _phase,
    "week": _week,
}


def groups(dates: list[LivedDate], group_by: str, first: date, last: date) -> list[Any]:
    by_key: dict[tuple[str, str], list[LivedDate]] = {}
    for one in dates:
        if group_by == "exercise_kind":
            for kind in {kind for slot in one.slots for kind in slot.kinds}:
                label = kind.replace("_", " ").capitalize()
                by_key.setdefault((kind, label), []).append(one.of_kind(kind))
        else:
            by_key.setdefault(KEYS[group_by](one), []).append(one)
    found = []
    for (key, label), own in sorted(by_key.items()):
        shown = {"key": key, "label": label, **group(own), "days": days(own, first, last)}
        if group_by == "patient":
            shown["weeks_on_target"] |= rows_of_weeks(own)
        else:
            patients = len({one.patient.pk for one in own})
            shown |= {"patients": patients, "small": patients < 5, **spread(own)}
        found.append(shown)
    return found


def total(dates: list[LivedDate]) -> dict[str, Any]:
    whole = group(dates)
    done = whole["completed"] + whole["partial"]
    return {
        "patients": len({one.patient.pk for one in dates}),
        "due": whole["due"],
        "done": done,
        "not_heard": whole["not_heard"],
        "pooled_session_adherence": told(share(done, whole["due"])),
        "pooled_session_adherence_low": told(share(done, whole["due"] + whole["not_heard"])),
        **spread(dates),
    }


def flags(first: date, last: date) -> dict[str, Any]:
    raised = [one for one in Flag.objects.all() if first <= one.observed_on <= last]
    hours = {
        "median_hours_to_acknowledge": [
            one.acknowledged_at - one.raised_at for one in raised if one.acknowledged_at
        ],
        "median_hours_to_resolve": [
            one.resolved_at - one.raised_at
            for one in raised
            if one.resolved_at and one.status == "resolved"
        ],
    }
    shown: dict[str, Any] = {"raised": len(raised)}
    for name, took in hours.items():
        if took:
            middle = statistics.median([Fraction(one // timedelta(microseconds=1)) for one in took])
            exact = Decimal(middle.numerator) / Decimal(middle.denominator * 3_600_000_000)
            shown[name] = float(exact.quantize(Decimal("0.1"), ROUND_HALF_UP))
    return shown
