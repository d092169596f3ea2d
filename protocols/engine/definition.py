"""A protocol as values: phases, prescriptions, doses, schedules, limits; parse() reads one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

Value = TypeVar("Value")
Path = tuple[Any, ...]  # of a value in its document: (path of what holds it, name), or ()
Reader = Callable[[object, Path], object]
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
    shape: Any = kind
    return cast(Value, _reader(shape)(document, ()))


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


@cache
def _reader(kind: object) -> Reader:
    """What reads a value as the type of a field says: the classes above are the shape of a
    document. Types are looked at once, not for every value of every document.
    """
    origin, options = get_origin(kind), get_args(kind)
    if origin is UnionType:
        return _perhaps(_reader(next(one for one in options if one is not NoneType)))
    if origin is Literal:
        return _one_of(options)
    if origin is tuple:
        return _many(_reader(options[0]))
    if not isinstance(kind, type):
        raise TypeError(f"no document holds a {kind}")
    return _fields(kind) if is_dataclass(kind) else _exactly(kind)


def _perhaps(read_it: Reader) -> Reader:
    return lambda value, path: None if value is None else read_it(value, path)


def _one_of(options: tuple[str, ...]) -> Reader:
    def one(value: object, path: Path) -> object:
        if value not in options:
            raise ValueError(f"{_said(path)}: expected one of {', '.join(options)}")
        return value

    return one


def _many(read_it: Reader) -> Reader:
    def many(value: object, path: Path) -> object:
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise ValueError(f"{_said(path)}: expected a list")
        return tuple([read_it(item, (path, n)) for n, item in enumerate(value)])

    return many


def _exactly(kind: type) -> Reader:
    def exact(value: object, path: Path) -> object:
        if type(value) is kind:  # exactly: True is an int to Python, never to a dose
            return value
        if kind is float and type(value) is int:
            return float(value)
        raise ValueError(f"{_said(path)}: expected {kind.__name__}")

    return exact


def _fields(kind: Any) -> Reader:
    readers = {name: _reader(hint) for name, hint in get_type_hints(kind).items()}
    needed = {field.name: None for field in fields(kind) if field.default is MISSING}.keys()

    def record(value: object, path: Path) -> object:
        if kind is Reps and type(value) is int:
            return Reps(value, value)
        if not isinstance(value, Mapping):
            raise ValueError(f"{_said(path) or '/'}: expected a mapping")
        if not value.keys() <= readers.keys():
            unknown = min(map(str, value.keys() - readers.keys()))
            raise ValueError(f"{_said(path)}/{unknown}: unknown")
        if not value.keys() >= needed:
            missing = next(name for name in needed if name not in value)
            raise ValueError(f"{_said(path)}/{missing}: missing")
        return kind(**{name: readers[name](value[name], (path, name)) for name in value})

    return record


def _said(path: Path) -> str:
    return f"{_said(path[0])}/{path[1]}" if path else ""
