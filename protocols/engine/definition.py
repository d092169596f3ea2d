"""A protocol as values: phases, prescriptions, doses, schedules, limits; parse() reads one."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

Value = TypeVar("Value")
Kind = Literal["daily", "weekly", "every_n_days", "once"]


@dataclass(frozen=True, slots=True)
class Reps:
    """A range is met at its minimum. A document may write one number: `reps: 8`."""

    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Effort:
    scale: str
    min: float
    max: float


@dataclass(frozen=True, slots=True)
class Dose:
    """One session's work. With `hold_s`, `reps` counts the holds of one set."""

    sets: int
    reps: Reps | None = None
    reps_by_set: tuple[int, ...] = ()
    hold_s: int | None = None
    duration_s: int | None = None
    distance_m: int | None = None
    load_kg: float | None = None
    load_text: str | None = None
    effort: Effort | None = None
    tempo: str | None = None
    rest_s: int | None = None


@dataclass(frozen=True, slots=True)
class Schedule:
    """How often. `from_day` and `to_day` are days of the phase, counted from 1, both included."""

    kind: Kind
    per_week: int | None = None
    every_n_days: int | None = None
    sessions_per_day: int = 1
    from_day: int = 1
    to_day: int | None = None
    not_on_days_of: str | None = None  # slug of another exercise of the phase


@dataclass(frozen=True, slots=True)
class Stage:
    """What holds from this day of the phase on, in place of the prescription's own dose."""

    from_day: int
    dose: Dose
    schedule: Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Prescription:
    """One exercise in a phase. `included` is false where a clinician has to switch it on."""

    key: str = ""  # "phase-1/sg-nordic": stable within the protocol; set by parse()
    exercise: str
    order: int = 0  # from 1, as written; set by parse()
    dose: Dose
    schedule: Schedule
    pain_ceiling: int
    counts: bool = True  # false for education and self-care: shown, ticked off, never in adherence
    included: bool = True
    gate: str | None = None
    note: str = ""
    source: str
    stages: tuple[Stage, ...] = ()


@dataclass(frozen=True, slots=True)
class Criterion:
    """One exit predicate. `when` is a line of the predicate grammar, not yet read."""

    id: str
    when: str
    text: str
    unit: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    id: str  # "phase-1"
    number: int
    title: str
    goals: str
    min_days: int
    min_days_source: str
    notes: str = ""
    prescriptions: tuple[Prescription, ...]
    exit: tuple[Criterion, ...] = ()  # empty: runs until a clinician ends it


@dataclass(frozen=True, slots=True)
class Limits:
    """Parameters of the traffic light (pain 0 to 10)."""

    progress: int  # P_prog
    red: int  # RED_dur
    red_rise: int  # RED_delta
    severe: int  # SEV
    nerve: bool  # N-RED
    amber_next: int | None = None  # next-morning pain that is amber whatever it was before (pht)
    source: str = ""


@dataclass(frozen=True, slots=True)
class Requirement:
    """A fact a clinician must have recorded before this protocol may be assigned."""

    gate: str  # "AG5"
    fact: str  # metric code
    text: str
    source: str


@dataclass(frozen=True, slots=True)
class Source:
    id: str
    text: str
    where: str
    read: str
    tag: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    slug: str
    version: str
    title: str
    condition: str
    indications: str
    not_for: str
    expected_course: str
    regression: str
    limits: Limits
    phases: tuple[Phase, ...]
    requires: tuple[Requirement, ...] = ()
    sources: tuple[Source, ...]
    licence: str

    def phase(self, phase_id: str) -> Phase:
        for phase in self.phases:
            if phase.id == phase_id:
                return phase
        raise KeyError(phase_id)


def parse(document: Mapping[str, object]) -> Protocol:
    """Read a document that passed publishing.check(). Anything else is a ValueError with its path.

    `check` explains everything that is wrong at once; this only refuses to guess.
    """
    protocol = read(Protocol, document)
    return replace(protocol, phases=tuple(_numbered(phase) for phase in protocol.phases))


def read(kind: type[Value], document: Mapping[str, object]) -> Value:
    """Read a document as one of the dataclasses above, or as one made of them."""
    return cast(Value, _read(kind, document, ""))


def in_full(value: object) -> object:
    """A document without what files write in short: one number for a range, nothing for nothing."""
    if isinstance(value, dict):
        return {
            name: {"min": inner, "max": inner}
            if name == "reps" and isinstance(inner, int)
            else in_full(inner)
            for name, inner in value.items()
            if inner is not None
        }
    return [in_full(inner) for inner in value] if isinstance(value, list) else value


def _numbered(phase: Phase) -> Phase:
    """Give prescriptions their order and key; an exercise listed twice gets "-2" at the end."""
    seen: dict[str, int] = {}
    numbered = []
    for order, row in enumerate(phase.prescriptions, start=1):
        times = seen[row.exercise] = seen.get(row.exercise, 0) + 1
        key = f"{phase.id}/{row.exercise}" + (f"-{times}" if times > 1 else "")
        numbered.append(replace(row, key=key, order=order))
    return replace(phase, prescriptions=tuple(numbered))


def _read(kind: object, value: object, path: str) -> object:
    """Read a value as the type of a field says: the classes above are the shape of a document."""
    origin, options = _parts(kind)
    if origin is UnionType:
        chosen = next(option for option in options if option is not NoneType)
        return None if value is None else _read(chosen, value, path)
    if origin is Literal:
        if value not in options:
            raise ValueError(f"{path}: expected one of {', '.join(options)}")
        return value
    if origin is tuple:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f"{path}: expected a list")
        return tuple(_read(options[0], item, f"{path}/{n}") for n, item in enumerate(value))
    if not isinstance(kind, type):
        raise TypeError(f"{path}: no document holds a {kind}")
    if is_dataclass(kind):
        if kind is Reps and type(value) is int:
            return Reps(value, value)
        return _read_fields(kind, value, path)
    if kind is float and type(value) is int:
        return float(value)
    if type(value) is not kind:  # exactly: True is an int to Python, never to a dose
        raise ValueError(f"{path}: expected {kind.__name__}")
    return value


@cache
def _parts(kind: object) -> tuple[object, tuple[Any, ...]]:
    return get_origin(kind), get_args(kind)


@cache
def _hints(kind: type) -> Mapping[str, object]:
    return get_type_hints(kind)


def _read_fields(kind: type, value: object, path: str) -> object:
    if not isinstance(value, Mapping):
        raise ValueError(f"{path or '/'}: expected a mapping")
    hints = _hints(kind)
    if unknown := value.keys() - hints.keys():
        raise ValueError(f"{path}/{min(map(str, unknown))}: unknown")
    if missing := [
        field.name for field in fields(kind) if field.name not in value and field.default is MISSING
    ]:
        raise ValueError(f"{path}/{missing[0]}: missing")
    return kind(**{key: _read(hints[key], value[key], f"{path}/{key}") for key in value})
