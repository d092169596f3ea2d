"""Worked cases as files: their shape, and what was lived in them and when it was known."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from exercises.reading import Finding, Text, pointer, read
from protocols.engine import dates
from protocols.engine.day import Approval, Clearance, Day, Measured, Numbers, Reported
from protocols.engine.progression import Late
from protocols.knowledge import metrics, safety

ROOT = Path(__file__).parent.parent
FOLDER = "protocols/cases"


def _is_a_date(text: str) -> str:
    return date.fromisoformat(text).isoformat()


Pain = Annotated[int, Field(ge=0, le=10)]
Sets = Annotated[int, Field(ge=0, le=200)]
Iso = Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_is_a_date)]
Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Shape(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Person(Shape):
    """Facts of the person that rules ask for; conditions as safety.md section 10 names them."""

    age: int
    new_pain: bool = False  # with the age, AG7 asks for a review
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


class SessionTold(Shape):
    """One session with its time, where a case is about times (T3, T4)."""

    began: AwareDatetime
    done: Sets
    before: Pain | None = None
    during: Pain | None = None


class RatingTold(Shape):
    at: AwareDatetime
    pain: Pain


class Later(Shape):
    """What became known of a date only later, on top of what was known (T8)."""

    arrives: Iso
    log: Log | None = None
    pain_otherwise: Pain | None = None
    reported: list[str] = []
    measured: dict[str, float] = {}
    excused: str = ""


class NerveAnswers(Shape):
    """Answers about the nerve; the newest hold until there are others."""

    at_night: bool | None = None
    constant: bool | None = None
    below_knee_at_rest: bool | None = None


class ExerciseFacts(Shape):
    """What E1 has to know of an exercise. Without an easier variant it is halved."""

    ceiling: Pain
    easier: str = ""
    easier_ceiling: Pain | None = None


class TensionerCase(Shape):
    """What N-TENS has to know beside the dates."""

    switched_on: bool
    repaired_on: Iso | None = None


class Expected(Shape):
    """What the engine must answer; whatever is left out is not compared."""

    phase: int | None = None
    planned: Sets | None = None
    colour: Literal["GREEN", "AMBER", "RED", "SEVERE", "STOP", "-"] | None = None
    decision: Literal["advance", "hold", "step_back", "stop_and_review", "discharge"] | None = None
    rule: str | None = None
    failed: list[str] | None = None
    alerts: list[str] = []
    eased: dict[str, str] | None = None  # on this date: exercise → easier variant, or "half"
    irritability: Literal["low", "moderate", "high"] | None = None
    tensioner: list[str] | None = None  # what keeps it hidden after this date


class CaseDate(Shape):
    """One lived date, in order and without holes."""

    on: Iso
    zone: str | None = None
    planned: Sets | None = None  # tailored for this date
    log: Log = Log()
    sessions: list[SessionTold] = []
    ratings: list[RatingTold] = []
    pain_otherwise: Pain | None = None  # a check-in without a session
    measured: dict[str, float] = {}
    reported: list[str] = []
    excused: str = ""
    cleared: bool | str = False  # by a clinician; a phase id names where to go on
    approved: str = ""  # phase id, or "end": a clinician's decision from this date on
    opened: list[str] = []
    closed: list[str] = []
    arrives: Iso | None = None  # the log and the reports became known only then
    later: list[Later] = []
    pains: dict[str, Pain | None] = {}  # in each exercise of the session
    slider: bool = False  # a slider was done
    nerve: NerveAnswers | None = None
    note: str = ""
    expect: Expected | None = None

    @model_validator(mode="after")
    def _once(self) -> CaseDate:
        if self.sessions and self.log.model_fields_set:
            raise ValueError("either log or sessions")
        arrivals = [self.arrives, *(one.arrives for one in self.later)]
        if any(arrives is not None and arrives <= self.on for arrives in arrivals):
            raise ValueError("what is late arrives after its date")
        return self


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
    exercises: dict[str, ExerciseFacts] = {}
    tensioner: TensionerCase | None = None
    dates: Annotated[list[CaseDate], Field(min_length=1, max_length=1000)]

    @model_validator(mode="after")
    def _without_holes(self) -> CaseFile:
        first = date.fromisoformat(self.joins or self.starts)
        for n, one in enumerate(self.dates):
            if date.fromisoformat(one.on) != first + timedelta(days=n):
                raise ValueError(f"dates/{n}: expected {first + timedelta(days=n)}")
        return self


class History(Shape):
    """One line of a file of histories (README.md beside the cases): dates, and no person."""

    id: str
    starts: Iso
    joins: Iso | None = None
    phase: str = ""
    baseline_nprs_worst: Pain | None = None
    approvals: Literal["next_morning", "as_dated"] = "next_morning"
    dates: list[CaseDate]


CASE: TypeAdapter[CaseFile] = TypeAdapter(CaseFile)
NOT_TOLD = Person(age=0)


def case_files(root: Path = ROOT) -> list[Path]:
    return sorted((root / FOLDER).glob("*.yaml"))


def read_case(path: Path, *, root: Path = ROOT) -> tuple[CaseFile | None, Text]:
    """A case file; None where it could not be read, the text then says why."""
    text = read(path, root=root if path.is_relative_to(root) else path.parent)
    case = text.typed(CASE)
    if case is not None:
        text.find(_findings(case))
    return (None if text.findings else case), text


def read_histories(path: Path, slug: str) -> Iterator[CaseFile]:
    """Line by line, as cases of this protocol; ValueError names the line that is none."""
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                yield _history(line, slug)
            except ValidationError as error:
                first = error.errors(include_url=False, include_input=False)[0]
                at = pointer(*first["loc"])
                raise ValueError(f"{path.name}:{number}: {at}: {first['msg']}") from None
            except ValueError as error:
                raise ValueError(f"{path.name}:{number}: {error}") from None


def _history(line: str, slug: str) -> CaseFile:
    told = History.model_validate_json(line)
    case = CaseFile(
        id=told.id,
        title=told.id,
        protocol=slug,
        timezone="UTC",
        starts=told.starts,
        joins=told.joins,
        phase=told.phase,
        person=NOT_TOLD.model_copy(update={"baseline_nprs_worst": told.baseline_nprs_worst}),
        approvals=told.approvals,
        planned={},
        dates=told.dates,
    )
    if found := next(_findings(case), None):
        raise ValueError(f"{found.path}: {found.message}")
    return case


def _findings(case: CaseFile) -> Iterator[Finding]:
    known = {"metric": metrics(), "flag": safety().red_flags, "exercise": case.exercises}
    if case.timezone not in available_timezones():
        yield Finding("unknown", "/timezone", f"{case.timezone} is no time zone")
    for n, one in enumerate(case.dates):
        at = pointer("dates", n)
        if one.zone and one.zone not in available_timezones():
            yield Finding("unknown", f"{at}/zone", f"{one.zone} is no time zone")
        for kind, where, names in (
            ("metric", "measured", [*one.measured, *(m for x in one.later for m in x.measured)]),
            ("flag", "reported", [*one.reported, *(f for x in one.later for f in x.reported)]),
            ("exercise", "pains", one.pains),
        ):
            for name in names:
                if name not in known[kind]:
                    message = f"{name} is no {kind} that is known here"
                    yield Finding("unknown", f"{at}/{where}", message)


# --- What was lived, and when it was known ----------------------------------------------------


def lived(case: CaseFile, numbers: Numbers) -> tuple[list[Day], list[Late]]:
    """Each date as it was known in time, and what became known of it later."""
    told = _with_ratings(case, numbers)
    zones = _zones(case)
    days, late = [], []
    for n, one in enumerate(told):
        begun_in, ended_in = zones[max(n - 1, 0)] if n else ZoneInfo(case.timezone), zones[n]
        on = date.fromisoformat(one.on)
        short = dates.is_cut_short(on, begun_in, ended_in, numbers)
        known, *updates = _known(one)
        days.append(_day(known[1], short=short))
        late += [Late(date.fromisoformat(at), _day(then, short=short)) for at, then in updates]
    return days, late


def _zones(case: CaseFile) -> list[ZoneInfo]:
    """Where each date ended."""
    zones, zone = [], case.timezone
    for one in case.dates:
        zone = one.zone or zone
        zones.append(ZoneInfo(zone))
    return zones


def _with_ratings(case: CaseFile, numbers: Numbers) -> list[CaseDate]:
    """The dates with the ratings that carry a time put where they belong (T3).

    One after noon of the next date comes late; one that rates no session is a check-in.
    """
    told = [one.model_copy(update={"log": _together(one)}) for one in case.dates]
    places = {date.fromisoformat(one.on): n for n, one in enumerate(told)}
    begun = {
        on: max(session.began for session in told[n].sessions)
        for on, n in places.items()
        if told[n].sessions
    }
    given = {rating.at: (n, rating.pain) for n, one in enumerate(told) for rating in one.ratings}
    rated = dates.rated_days(begun, given, numbers)
    zones = _zones(case)
    for at, (n, pain) in given.items():
        if at not in rated:
            otherwise = max(pain, told[n].pain_otherwise or 0)
            told[n] = told[n].model_copy(update={"pain_otherwise": otherwise})
            continue
        place = places[rated[at]]
        one = told[place]
        if at <= dates.closes_at(rated[at], zones[n], numbers):
            log = one.log.model_copy(update={"next": pain})
            told[place] = one.model_copy(update={"log": log})
        else:
            later = Later(arrives=told[n].on, log=Log(next=pain))
            told[place] = one.model_copy(update={"later": [*one.later, later]})
    return told


def _together(one: CaseDate) -> Log:
    """All sessions of a date count together; of two pains the higher counts."""
    if not one.sessions:
        return one.log

    def highest(pains: list[int | None]) -> int | None:
        return max((pain for pain in pains if pain is not None), default=None)

    return Log(
        done=sum(session.done for session in one.sessions),
        before=highest([session.before for session in one.sessions]),
        during=highest([session.during for session in one.sessions]),
    )


def _known(one: CaseDate) -> list[tuple[str, CaseDate]]:
    """What was known of a date: in time, and then after each arrival."""
    whole = Later(
        arrives=one.arrives or one.on,
        log=one.log,
        pain_otherwise=one.pain_otherwise,
        reported=one.reported,
    )
    known = one
    if one.arrives:
        unheard: dict[str, object] = {"log": Log(), "pain_otherwise": None, "reported": []}
        known = one.model_copy(update=unheard)
    steps = [(one.on, known)]
    for more in sorted([whole, *one.later] if one.arrives else one.later, key=_arrival):
        known = _merged(known, more)
        steps.append((more.arrives, known))
    return steps


def _arrival(later: Later) -> str:
    return later.arrives


def _merged(known: CaseDate, more: Later) -> CaseDate:
    said = more.log.model_dump(exclude_unset=True) if more.log else {}
    otherwise = more.pain_otherwise
    return known.model_copy(
        update={
            "log": known.log.model_copy(update=said),
            "pain_otherwise": known.pain_otherwise if otherwise is None else otherwise,
            "reported": [*known.reported, *more.reported],
            "measured": known.measured | more.measured,
            "excused": more.excused or known.excused,
        }
    )


def _day(one: CaseDate, *, short: bool) -> Day:
    """A date of the case as a value of the engine; `short` by a flight east (T5)."""
    log, flags = one.log, safety().red_flags
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
        reported=tuple(Reported(code, flags[code].level) for code in one.reported),
        pain_otherwise=one.pain_otherwise,
        measured=tuple(Measured(name, value) for name, value in one.measured.items()),
        excused=bool(one.excused) or (short and log.done == 0),
        clearance=_clearance(one.cleared),
        approval=approval,
        opened=tuple(one.opened),
        closed=tuple(one.closed),
    )


def _clearance(said: bool | str) -> Clearance | None:
    if isinstance(said, str):
        return Clearance(said)
    return Clearance() if said else None
