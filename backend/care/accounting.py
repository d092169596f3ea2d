"""What a clinic keeps count of: the slots of a closed date, and what its list has to name.

Both follow from verdicts and records and are stored beside them, so that reports and lists read
them in SQL. Verdicts look at what was known in time; the slots of a date, which no rule reads, are
counted as the records stand now.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from itertools import islice
from math import ceil
from typing import NamedTuple, Protocol, TypedDict
from uuid import UUID

from backend.care.models import Session
from backend.care.selectors import Course
from protocols.engine.case import Judged, Outcome, State
from protocols.engine.day import Colour
from protocols.engine.plan import Slot, Terms
from protocols.knowledge import expected_days, numbers

A_DAY = timedelta(days=1)

# --- Slots ------------------------------------------------------------------------------------


class Done(NamedTuple):
    """What one session says of its slot."""

    outcome: str
    dose_ratio: float


DoneBySlot = Mapping[UUID, Sequence[Done]]


class Log(Protocol):
    """What is counted of a session as it stands."""

    @property
    def outcome(self) -> str: ...
    @property
    def is_late(self) -> bool: ...


class RecordCount(TypedDict):
    """The columns of `ClosedDay` that tell which records there are of its date."""

    sessions: int
    sessions_late: int
    is_active: bool
    is_told: bool


class SlotCount(TypedDict):
    """The columns of `ClosedDay` that adherence is counted from."""

    slots_due: int
    slots_completed: int
    slots_partial: int
    slots_skipped: int
    slots_excused: int
    dose_ratios: float
    kinds: dict[str, list[int]]


# The best of several sessions of one slot counts (two phones, or a repeat). One that was never
# finished says nothing of it.
BEST_FIRST = (Session.Outcome.COMPLETED, Session.Outcome.PARTIAL, Session.Outcome.SKIPPED)
DONE = BEST_FIRST[:2]
KIND_COUNTS = ("due", "completed", "partial", "skipped", "excused", "dose")  # in `ClosedDay.kinds`
PLACES = 4  # of a dose ratio


def slots_of(course: Course, judged: Judged, terms: Terms, done: DoneBySlot) -> SlotCount:
    """Count the slots of a judged date. Self-care is never due.

    On excused and stopped dates nothing is due, whatever was done. On the date on which a stop was
    reported only what was done is due: the rest was forbidden. What was not done has no dose.
    """
    excused = judged.excused or judged.stopped
    stops = judged.outcome is Outcome.STOP
    kinds: dict[str, Counter[str]] = {}
    all_slots: Counter[str] = Counter()
    for slot in course.slots_under(terms, judged.on):
        if not slot.counts:
            continue
        sessions = done.get(slot.id, ())
        told = {one.outcome for one in sessions}
        best = next((outcome for outcome in BEST_FIRST if outcome in told), None)
        if excused or (stops and best not in DONE):
            count = Counter({"excused": 1})
        else:
            count = Counter({"due": 1, (best or "missed"): 1})
        if count["due"] and best in DONE:
            ratio = max(one.dose_ratio for one in sessions if one.outcome in DONE)
            count["dose"] = round(ratio * 10**PLACES)
        all_slots += count
        for kind in _kinds_of(slot):
            kinds[kind] = kinds.get(kind, Counter()) + count
    return {
        "slots_due": all_slots["due"],
        "slots_completed": all_slots["completed"],
        "slots_partial": all_slots["partial"],
        "slots_skipped": all_slots["skipped"],
        "slots_excused": all_slots["excused"],
        "dose_ratios": round(all_slots["dose"] / 10**PLACES, PLACES),
        "kinds": {kind: [of[name] for name in KIND_COUNTS] for kind, of in sorted(kinds.items())},
    }


def _kinds_of(slot: Slot) -> set[str]:
    """The kinds of exercise that a slot asks for; of an old plan they may not be known."""
    return {row.kind for row in (item.prescribed for item in slot.items) if row.counts and row.kind}


def records_of(logs: Sequence[Log], is_checked_in: bool) -> RecordCount:
    """Count what there is of a date: sessions of the plan, and check-ins of the patient."""
    return {
        "sessions": len(logs),
        "sessions_late": sum(one.is_late for one in logs),
        "is_active": any(one.outcome in DONE for one in logs),
        "is_told": bool(logs) or is_checked_in,
    }


# --- What a list has to name ------------------------------------------------------------------


class Concern(TypedDict):
    """A reason to look at a course that its dates give by themselves, and since which date."""

    code: str
    on: str
    params: dict[str, object]


Since = dict[str, str]  # by code: since which date a concern of the closed dates holds
Typed = tuple[str, str, bool]  # date and id of a log, and whether it was typed late


def since_when(before: Since, closed: Sequence[Judged], first: date) -> Since:
    """Carry on, over dates that were closed since, what holds from a date on.

    `closed` begins with dates that were closed before; from `first` on they are new.
    """
    since = dict(before)
    for n, judged in enumerate(closed):
        if judged.on < first:
            continue
        holds = {
            "amber_run": _is_amber_run(closed[i] for i in range(n, -1, -1)),
            "low_adherence": _is_low(_adherence(closed, n)),
            "missed_3": judged.after.missed >= numbers()["missed_nudge"],
            "standing_stop": bool(judged.after.stop),
            "step_overdue": _is_overdue(judged),
        }
        for code, is_so in holds.items():
            if is_so:
                since.setdefault(code, judged.on.isoformat())
            else:
                since.pop(code, None)
    return since


def concerns_of(
    since: Since,
    closed: Sequence[Judged],
    opened: Sequence[Judged],
    state: State,
    late: Sequence[Typed],
) -> list[Concern]:
    """What holds now. Of dates that are open still, pain and stops count already."""
    found = [_of_closed(code, on, closed, state) for code, on in sorted(since.items())]
    if not state.stop:
        found = [one for one in found if one["code"] != "standing_stop"]
    elif "standing_stop" not in since:
        stopped = (one.on for one in opened if one.after.stop)
        if (begun := next(stopped, None)) is not None:  # else the plan has not begun
            found.append(_of_closed("standing_stop", begun.isoformat(), closed, state))
    found += _reds(closed, opened, state)
    found += _typed_late(late)
    return found


def _of_closed(code: str, on: str, closed: Sequence[Judged], state: State) -> Concern:
    params: dict[str, object] = {}
    if code == "missed_3":
        params = {"missed": state.missed}
    elif code == "amber_run":
        params = {"session_days": int(numbers()["caseload_amber_run"])}
    elif code == "standing_stop":
        params = {"codes": [one.code for one in state.stop]}
    elif code == "step_overdue":
        last = closed[-1]
        params = {
            "phase_id": last.phase_id,
            "day_in_phase": last.case.day_in_phase,
            "expected": _expected(last),
        }
    elif code == "low_adherence" and (told := _adherence(closed, -1)) is not None:
        credit, planned = told
        params = {
            "observed": round(credit / planned, 4),
            "limit": numbers()["gate_adherence"],
            "days": int(numbers()["gate_adherence_days"]),
        }
    return {"code": code, "on": on, "params": params}


def _is_amber_run(newest_first: Iterable[Judged]) -> bool:
    needed = int(numbers()["caseload_amber_run"])
    last = list(islice((one for one in newest_first if one.counts), needed))
    return len(last) == needed and all(one.colour is Colour.AMBER for one in last)


def _adherence(closed: Sequence[Judged], n: int) -> tuple[int, int] | None:
    """Credited and planned sets of 7 closed dates up to the n-th, once there are as many.

    As gate GG4 counts them, and across phases, which the gate's window is not.
    """
    days = int(numbers()["gate_adherence_days"])
    until = n % len(closed) + 1
    last = closed[max(until - days, 0) : until]
    if len(last) < days:
        return None
    counted = [one for one in last if not one.stopped and not one.excused]
    planned = sum(one.planned for one in counted)
    return (sum(one.credit for one in counted), planned) if planned else None


def _is_low(told: tuple[int, int] | None) -> bool:
    return told is not None and told[0] / told[1] < numbers()["gate_adherence"]


def _expected(judged: Judged) -> int | None:
    """How many days its phase is expected to take, where anybody says so."""
    return expected_days().get((judged.case.course.protocol.slug, judged.phase_id))


def _is_overdue(judged: Judged) -> bool:
    expected = _expected(judged)
    return expected is not None and judged.case.day_in_phase > expected and not judged.after.ended


def _reds(closed: Sequence[Judged], opened: Sequence[Judged], state: State) -> list[Concern]:
    """RED dates for as long as R5 would count them on the date after the last closed one."""
    if not (judged := [*closed, *opened]):
        return []
    next_on = closed[-1].on + A_DAY if closed else judged[0].on
    first = next_on - (int(numbers()["red_repeat_days"]) - 1) * A_DAY
    if state.last_step_back is not None:
        first = max(first, state.last_step_back + A_DAY)
    reds = [one.on.isoformat() for one in judged if one.on >= first and one.colour is Colour.RED]
    return [{"code": "red_day", "on": reds[0], "params": {"dates": reds}}] if reds else []


def last_typed(logs: Sequence[Typed]) -> list[Typed]:
    """The newest logs, as many as are looked at, oldest first."""
    return sorted(logs)[-int(numbers()["caseload_late_logs"]) :]


def _typed_late(last: Sequence[Typed]) -> list[Concern]:
    """Since the log with which the share was reached."""
    needed = int(numbers()["caseload_late_logs"])
    most = ceil(needed * numbers()["caseload_late_ratio"])
    late = [on for on, _, is_late in last if is_late]
    if len(last) < needed or len(late) < most:
        return []
    return [
        {"code": "data_late", "on": late[most - 1], "params": {"late": len(late), "logs": needed}}
    ]
