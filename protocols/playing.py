"""Worked cases: reads a case file, plays it through the engine, and tells the first difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from exercises.loader import semver
from exercises.reading import Finding, Text, pointer, read
from protocols.engine.day import Approval, Clearance, Day, Measured, Reported
from protocols.engine.definition import Protocol, parse
from protocols.engine.progression import PROPOSED, Course, Judged, Late, replay
from protocols.knowledge import metrics, rules, safety

ROOT = Path(__file__).parent.parent
FOLDER = "protocols/cases"
LIBRARY = "protocols/library"
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")

Pain = Annotated[int, Field(ge=0, le=10)]
Sets = Annotated[int, Field(ge=0, le=200)]
Iso = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$")]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Person(Shape):
    """Facts of the person that rules ask for; conditions as safety.md section 10 names them."""

    age: int
    side: Literal["left", "right", "both"] | None = None
    baseline_nprs_worst: Pain | None = None
    conditions: list[str] = []


class Log(Shape):
    """What was logged for a date. `next` is the next-morning rating; missing is left out."""

    done: Sets = 0
    before: Pain | None = None
    during: Pain | None = None
    next: Pain | None = None
    settle_min: Annotated[int, Field(ge=0, le=1440)] | None = None
    spread: bool = False
    pop_felt: bool = False


class Expected(Shape):
    """What the engine must answer; whatever is left out is not compared."""

    phase: int | None = None
    planned: Sets | None = None
    colour: Literal["GREEN", "AMBER", "RED", "SEVERE", "STOP", "-"] | None = None
    decision: Literal["advance", "hold", "step_back", "stop_and_review", "discharge"] | None = None
    rule: str | None = None
    failed: list[str] | None = None
    alerts: list[str] = []


class CaseDate(Shape):
    """One lived date, in order and without holes."""

    on: Iso
    zone: str | None = None
    planned: Sets | None = None  # tailored for this date
    log: Log = Log()
    pain_otherwise: Pain | None = None  # a check-in without a session
    measured: dict[str, float] = {}
    reported: list[str] = []
    excused: str = ""
    cleared: bool | str = False  # by a clinician; a phase id names where to go on
    approved: str = ""  # phase id, or "end": a clinician's decision from this date on
    opened: list[str] = []
    closed: list[str] = []
    arrives: Iso | None = None  # the log and the reports became known only then
    note: str = ""
    expect: Expected | None = None


class CaseFile(Shape):
    """A course day by day (README.md beside the cases)."""

    id: str
    title: str
    protocol: str
    timezone: str
    starts: Iso
    joins: Iso | None = None
    phase: str = ""
    person: Person
    about: str = ""
    approvals: Literal["next_morning", "as_dated"] = "next_morning"
    planned: dict[str, Sets | dict[Weekday, Sets]]
    dates: Annotated[list[CaseDate], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _without_holes(self) -> CaseFile:
        first = date.fromisoformat(self.joins or self.starts)
        for n, one in enumerate(self.dates):
            if date.fromisoformat(one.on) != first + timedelta(days=n):
                raise ValueError(f"dates/{n}: expected {first + timedelta(days=n)}")
        return self


CASE: TypeAdapter[CaseFile] = TypeAdapter(CaseFile)


@dataclass(frozen=True, slots=True)
class Played:
    """One date as judged, and where it differs from what the case expects."""

    number: int  # D of the case: 1 is the date the episode starts
    judged: Judged
    differences: tuple[str, ...]


def read_case(path: Path, *, root: Path = ROOT) -> tuple[CaseFile | None, Text]:
    """A case file; None where it could not be read, the text then says why."""
    text = read(path, root=root if path.is_relative_to(root) else path.parent)
    case = text.typed(CASE)
    if case is not None:
        text.find(_findings(case))
    return (None if text.findings else case), text


def _findings(case: CaseFile) -> Iterator[Finding]:
    known = {"metric": metrics(), "flag": safety().red_flags}
    for n, one in enumerate(case.dates):
        for kind, names in (("metric", one.measured), ("flag", one.reported)):
            for name in names:
                if name not in known[kind]:
                    where = "measured" if kind == "metric" else "reported"
                    path = pointer("dates", n, where)
                    yield Finding("unknown", path, f"{name} is no {kind} of the library")


def play(case: CaseFile, protocol: Protocol) -> tuple[Played, ...]:
    """Every date through the production engine."""
    numbers = {parameter.id: parameter.number for parameter in rules().parameters}
    starts = date.fromisoformat(case.starts)

    def planned(phase_id: str, _: date, on: date) -> int:
        sets = case.planned.get(phase_id, 0)
        return sets if isinstance(sets, int) else sets.get(WEEKDAYS[on.weekday()], 0)  # type: ignore[call-overload]

    course = Course(
        protocol=protocol,
        numbers=numbers,
        first=starts,
        planned=planned,
        baseline=case.person.baseline_nprs_worst,
        joined=date.fromisoformat(case.joins) if case.joins else None,
        start_phase_id=case.phase,
    )
    late = [
        Late(date.fromisoformat(one.arrives), _day(one, as_known=False))
        for one in case.dates
        if one.arrives
    ]
    days = [_day(one, as_known=True) for one in case.dates]
    if case.approvals == "next_morning":
        judged = replay(course, days, late, lambda one: as_proposed(protocol, one))
    else:
        judged = replay(course, days, late)
    return tuple(
        Played((one.on - starts).days + 1, one, tuple(_differences(row.expect, one)))
        for row, one in zip(case.dates, judged, strict=True)
    )


def as_proposed(protocol: Protocol, judged: Judged) -> Approval | None:
    """A clinician who approves every proposal."""
    if judged.outcome not in PROPOSED:
        return None
    number = protocol.phase(judged.phase_id).number
    if number == len(protocol.phases):
        return Approval(ends=True)
    return Approval(protocol.phases[number].id)


def _day(one: CaseDate, *, as_known: bool) -> Day:
    """A date of the case; as it was known in time, a late log is left out."""
    hidden = as_known and one.arrives is not None
    log = Log() if hidden else one.log
    flags = safety().red_flags
    approval = None
    if one.approved:
        approval = Approval(ends=True) if one.approved == "end" else Approval(one.approved)
    return Day(
        on=date.fromisoformat(one.on),
        planned=one.planned,
        done=log.done,
        before=log.before,
        during=log.during,
        next_morning=log.next,
        settle_min=log.settle_min,
        spread=log.spread,
        pop_felt=log.pop_felt,
        reported=()
        if hidden
        else tuple(Reported(code, flags[code].level) for code in one.reported),
        pain_otherwise=None if hidden else one.pain_otherwise,
        measured=tuple(Measured(name, value) for name, value in one.measured.items()),
        excused=bool(one.excused),
        clearance=_clearance(one.cleared),
        approval=approval,
        opened=tuple(one.opened),
        closed=tuple(one.closed),
    )


def _clearance(said: bool | str) -> Clearance | None:
    if isinstance(said, str):
        return Clearance(said)
    return Clearance() if said else None


def _differences(expected: Expected | None, judged: Judged) -> Iterator[str]:
    if expected is None:
        return
    phase = int(judged.phase_id.rpartition("-")[2])
    told: Mapping[str, tuple[object, object]] = {
        "phase": (expected.phase, phase),
        "planned": (expected.planned, judged.planned),
        "colour": (expected.colour, judged.colour.value),
        "decision": (expected.decision, judged.outcome.value),
        "rule": (expected.rule, judged.rule),
    }
    for name, (wanted, found) in told.items():
        if wanted is not None and wanted != found:
            yield f"{name}: expected {wanted}, got {found}"
    if judged.rule == "R15" or expected.failed:
        yield from _list_difference("failed", expected.failed or [], judged.failed)
    alerts = [f"{alert.level}:{alert.code}" for alert in judged.alerts]
    yield from _list_difference("alerts", expected.alerts, alerts)


def _list_difference(name: str, wanted: Sequence[str], found: Sequence[str]) -> Iterator[str]:
    if sorted(wanted) != sorted(found):
        yield f"{name}: expected {', '.join(wanted) or 'none'}, got {', '.join(found) or 'none'}"


def protocol_named(slug: str) -> Protocol:
    """The newest version of a protocol among the library's files; KeyError where there is none."""
    files = sorted(
        (ROOT / LIBRARY).glob(f"{slug}.v*.yaml"),
        key=lambda path: semver(path.stem.removeprefix(f"{slug}.v")),
    )
    if not files:
        raise KeyError(slug)
    return parse(cast(dict[str, object], read(files[-1], root=ROOT).value))


def case_files() -> list[Path]:
    return sorted((ROOT / FOLDER).glob("*.yaml"))
