"""What all protocols share, read from its files once: metrics, rules with their numbers, safety."""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import ConfigDict, Field, TypeAdapter

from exercises.loader import Tag
from exercises.reading import Finding, pointer, read
from exercises.sources import findings_in, read_bibliography, tags_of
from protocols.engine.definition import Protocol

T = TypeVar("T")

ROOT = Path(__file__).parent.parent
METRICS = "protocols/metrics.yaml"
RULES = "protocols/rules.yaml"
SAFETY = "protocols/safety.yaml"

SHAPE = ConfigDict(strict=True, extra="forbid")

Code = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*([_-][a-z0-9]+)*$", max_length=64)]
Words = Annotated[str, Field(min_length=1, max_length=2000)]
Id = Annotated[str, Field(min_length=1, max_length=64)]
Row = dict[Code, str | int | tuple[str, ...]]  # reading matter, as the dossier has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A measure that a rule, a gate or an exit predicate can name."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    code: Code
    title: Words
    kind: Literal["number", "flag"]
    unit: Words
    min: float | None
    max: float | None
    step: float | None
    better: Literal["low", "high"] | None
    by: tuple[Literal["patient", "clinician", "computed"], ...]
    method: Words
    error: str = ""
    cadence: str = ""
    licence: str = ""
    source: Words
    tags: tuple[Tag, ...]

    def takes(self, value: float) -> bool:
        """Whether a value lies in the range; one outside is refused, not clipped."""
        above = self.min is None or value >= self.min
        below = self.max is None or value <= self.max
        return above and below and (self.step is None or value % self.step == 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One number of a rule."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    id: Code
    rule: Words
    value: float
    unit: Words
    text: Words
    source: Words
    tags: tuple[Tag, ...]

    @property
    def number(self) -> float:
        return self.value


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule in the dossier's words."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    id: Id
    text: Words
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A row of Table R in the dossier's words."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    id: Id
    condition: Words
    decision: Words
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptBack:
    """Exercises that are not brought into a plan outside their phases (NO-7).

    By name, or by kind and region where nothing is said `besides`. `before` names the first phase
    of a condition that lets them in. Without it they come in where the protocol has one itself.
    """

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    id: Code
    text: Words
    exercises: tuple[str, ...] = ()
    kind: str = ""
    body_region: str = ""
    besides: tuple[str, ...] = ()
    before: dict[Code, int] | None = None
    source: Words

    def means(self, slug: str, kind: str, body_region: str) -> bool:
        if slug in self.besides:
            return False
        return slug in self.exercises or (kind, body_region) == (self.kind, self.body_region)

    def first_phase(self, condition: str) -> int:
        """The number of the first phase that lets them in, whatever a protocol says of itself."""
        return (self.before or {}).get(condition, 1)

    def lets(self, protocol: Protocol, phase_id: str) -> bool:
        """Whether they may be brought into this phase."""
        number = protocol.phase(phase_id).number
        if self.before is not None:
            return number >= self.first_phase(protocol.condition)
        own = [
            phase.number
            for phase in protocol.phases
            if any(row.exercise in self.exercises for row in phase.prescriptions)
        ]
        return bool(own) and number >= min(own)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedPhase:
    """How many days a phase of a library protocol is expected to take at most."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    protocol: Code
    phase: Code
    days: int
    source: Words


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """`rules()["gate_adherence"].number`; the tables hold the dossier's rows in its order."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    parameters: tuple[Parameter, ...]
    parameter_reasons: tuple[Row, ...]
    assignment_gates: tuple[Rule, ...]
    colours: tuple[Row, ...]
    daily_decision: tuple[Decision, ...]
    gates: tuple[Rule, ...]
    dates: tuple[Rule, ...]
    special_rules: tuple[Rule, ...]
    kept_back: tuple[KeptBack, ...]
    expected_phases: tuple[ExpectedPhase, ...]
    irritability: tuple[Row, ...]
    hills: tuple[Row, ...]
    nordic_weeks: tuple[Row, ...]
    reclassify: tuple[Row, ...]

    def __getitem__(self, parameter_id: str) -> Parameter:
        for parameter in self.parameters:
            if parameter.id == parameter_id:
                return parameter
        raise KeyError(parameter_id)


LevelCode = Literal["emergency", "urgent", "routine"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """What a level says to the patient, tells whom, and does to the plan."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    code: LevelCode
    name: Words
    patient_text: tuple[Words, ...]
    facts: Words
    told: Words
    plan: Words
    stops: bool
    resend_every_min: int | None = None
    escalate_after_h: int | None = None
    review_within_working_days: int | None = None
    source: Words
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RedFlag:
    """Something a person must look at: reported by the patient (`asked`), or computed by a rule."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    code: Code
    level: LevelCode
    asked: bool
    sign: str = ""  # the line a phone shows
    ask: Words  # the facts to ask about; no patient copy
    why: str = ""
    patient_text: tuple[Words, ...] = ()  # in place of the level's
    staff_only: bool = False  # it would name a cause: no phone hears of it
    source: Words
    tags: tuple[Tag, ...]

    @property
    def stops(self) -> bool:
        return self.level != "routine"


@dataclass(frozen=True, slots=True, kw_only=True)
class PatientText:
    """A fixed text; never generated."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    id: Code
    text: Words
    source: Words


Moment = Literal[
    "intake", "session_start", "next_morning", "weekly", "always", "warning_card", "before_session"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """When a phone asks, and what: of whoever has one of these protocols and conditions, where any
    are named."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    moment: Moment
    when: Words
    questions: Words
    text: Code = ""
    all_signs: bool = False
    signs: tuple[Code, ...] = ()
    fields: tuple[Code, ...] = ()
    nerve_fields: tuple[Code, ...] = ()
    protocols: tuple[Code, ...] = ()
    conditions: tuple[Code, ...] = ()
    exercise: Code = ""
    every_days: int | None = None
    within_h: int | None = None
    source: Words
    tags: tuple[Tag, ...]

    def concerns(self, slugs: Container[str], conditions: Container[str]) -> bool:
        """Whether a patient with these protocols and other conditions is asked."""
        asked = ((self.protocols, slugs), (self.conditions, conditions))
        return all(not named or any(one in had for one in named) for named, had in asked)


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """Another condition of the patient, and the caution it asks of the clinician."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    code: Code
    name: Words
    caution: Words
    source: Words
    tags: tuple[Tag, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Something of the kind of pain that a patient can tick. A clinician interprets it."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    code: Code
    text: Words
    source: Words


@dataclass(frozen=True, slots=True, kw_only=True)
class PainLight:
    """What the phone says to a pain number; the limits are the protocol's."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    light: Code
    advice: Code
    during: Words
    next_morning: str = ""
    facts: Words
    text: Words


@dataclass(frozen=True, slots=True)
class GlucoseBand:
    """What the phone says to a glucose value before a session. Without `to` it has no end."""

    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    advice: Code
    from_: Annotated[float, Field(alias="from")]
    from_mg_dl: int
    facts: Words
    text: Words
    source: Words
    tags: tuple[Tag, ...]
    to: float | None = None
    to_mg_dl: int | None = None
    flag: str = ""  # that such a value raises

    def holds(self, mmol_l: float) -> bool:
        return self.from_ <= mmol_l and (self.to is None or mmol_l <= self.to)


@dataclass(frozen=True, slots=True, kw_only=True)
class _SafetyFile:
    __pydantic_config__: ClassVar[ConfigDict] = SHAPE

    version: str
    levels: tuple[Level, ...]
    texts: tuple[PatientText, ...]
    red_flags: tuple[RedFlag, ...]
    asking: tuple[Asking, ...]
    unanswered_weekly_days: int
    unanswered_weekly_source: Words
    pain_light: tuple[PainLight, ...]
    pain_light_source: Words
    nerve_rules: tuple[Row, ...]
    glides_need_written_decision: Words
    nerve_words: tuple[Words, ...]
    muscle_words: tuple[Words, ...]
    words_source: Words
    worse_with: tuple[Tick, ...]
    hill_patterns: tuple[Row, ...]
    ice_and_heat: tuple[Rule, ...]
    ages: tuple[Rule, ...]
    conditions: tuple[Condition, ...]
    glucose_bands: tuple[GlucoseBand, ...]
    glucose_units: Words
    wording: tuple[Row, ...]
    wording_rules: Words


@dataclass(frozen=True, slots=True)
class Safety:
    """What the service says and stores when something may be wrong."""

    version: str
    levels: Mapping[str, Level]
    red_flags: Mapping[str, RedFlag]
    texts: Mapping[str, str]
    text_sources: Mapping[str, str]
    pain_advice: Mapping[str, str]  # by advice code: carry_on, ease_off, …
    nerve_words: Mapping[str, str]  # by code
    muscle_words: Mapping[str, str]
    worse_with: Mapping[str, str]
    asking: tuple[Asking, ...]
    unanswered_weekly_days: int
    conditions: Mapping[str, Condition]
    ages: tuple[Rule, ...]
    ice_and_heat: tuple[Rule, ...]
    glucose_bands: tuple[GlucoseBand, ...]

    def glucose_flag(self, mmol_l: float) -> str:
        """The flag that a glucose value raises; empty where it raises none."""
        return next((one.flag for one in self.glucose_bands if one.holds(mmol_l)), "")


METRICS_SHAPE: TypeAdapter[tuple[Metric, ...]] = TypeAdapter(tuple[Metric, ...])
RULES_SHAPE: TypeAdapter[Rules] = TypeAdapter(Rules)
SAFETY_SHAPE: TypeAdapter[_SafetyFile] = TypeAdapter(_SafetyFile)


@cache
def metrics() -> Mapping[str, Metric]:
    """Every metric by its code."""
    return {metric.code: metric for metric in _sound(METRICS, METRICS_SHAPE)}


@cache
def rules() -> Rules:
    return _sound(RULES, RULES_SHAPE)


@cache
def numbers() -> Mapping[str, float]:
    """The parameters all protocols share, by id, as the engine takes them."""
    return {parameter.id: parameter.number for parameter in rules().parameters}


@cache
def expected_days() -> Mapping[tuple[str, str], int]:
    """By protocol and phase, where anything is known."""
    return {(one.protocol, one.phase): one.days for one in rules().expected_phases}


@cache
def safety() -> Safety:
    file = _sound(SAFETY, SAFETY_SHAPE)
    return Safety(
        version=file.version,
        levels={level.code: level for level in file.levels},
        red_flags={flag.code: flag for flag in file.red_flags},
        texts={text.id: text.text for text in file.texts},
        text_sources={text.id: text.source for text in file.texts},
        pain_advice={light.advice: light.text for light in file.pain_light},
        nerve_words={_code_of(word): word for word in file.nerve_words},
        muscle_words={_code_of(word): word for word in file.muscle_words},
        worse_with={one.code: one.text for one in file.worse_with},
        asking=file.asking,
        unanswered_weekly_days=file.unanswered_weekly_days,
        conditions={one.code: one for one in file.conditions},
        ages=file.ages,
        ice_and_heat=file.ice_and_heat,
        glucose_bands=file.glucose_bands,
    )


def pain_words() -> Mapping[str, str]:
    """The words offered for ticking, by code. Which are of which kind is nothing for patients."""
    known = safety()
    return dict(sorted({**known.nerve_words, **known.muscle_words}.items()))


def _code_of(word: str) -> str:
    return word.replace(" ", "_")


def _sound(file: str, adapter: TypeAdapter[T]) -> T:
    text = read(ROOT / file, root=ROOT)
    value = text.typed(adapter)
    if value is None:
        raise ValueError(str(text.findings[0]))
    return value


@dataclass(slots=True)
class Shared:
    """The shared files as they stand. Use `metrics` only where there are no findings."""

    metrics: dict[str, Metric]
    findings: list[Finding]


def check(root: Path) -> Shared:
    """Read and check the shared files: every finding at once."""
    _, known = read_bibliography(root)
    texts = {file: read(root / file, root=root) for file in (METRICS, RULES, SAFETY)}
    found = texts[METRICS].typed(METRICS_SHAPE) or ()
    texts[RULES].typed(RULES_SHAPE)
    texts[SAFETY].typed(SAFETY_SHAPE)
    for text in texts.values():
        if not text.findings and known:
            text.find(_walk(text.value, "", known))
    for number, metric in enumerate(found):
        texts[METRICS].find(_check_range(metric, pointer(number)))
    return Shared(
        metrics={metric.code: metric for metric in found},
        findings=[finding for text in texts.values() for finding in text.findings],
    )


def _walk(value: object, path: str, known: Container[str]) -> Iterator[Finding]:
    """Ids stand once in their list, sources say where a number is from, tags are those of it."""
    if isinstance(value, list):
        names = [item.get("id") or item.get("code") for item in value if isinstance(item, dict)]
        for name, times in Counter(names).items():
            if name is not None and times > 1:
                place = pointer(len(names) - 1 - names[::-1].index(name))
                message = f"{name} stands {times} times"
                yield Finding("twin-id", path + place, message, "each id once")
        for number, item in enumerate(value):
            yield from _walk(item, path + pointer(number), known)
    elif isinstance(value, dict):
        source, tags = value.get("source"), value.get("tags")
        if isinstance(source, str):
            yield from findings_in(source, known, f"{path}/source")
            if isinstance(tags, list) and not set(tags_of(source)) <= set(tags):
                expected = ", ".join(tags_of(source))
                yield Finding("tags", f"{path}/tags", "a tag of the source is missing", expected)
        for name, item in value.items():
            yield from _walk(item, path + pointer(name), known)


def _check_range(metric: Metric, path: str) -> Iterator[Finding]:
    if metric.min is not None and metric.max is not None and metric.min >= metric.max:
        yield Finding("range", f"{path}/max", "not above min", f"more than {metric.min:g}")
    if metric.kind == "flag" and (metric.min, metric.max, metric.step) != (0, 1, 1):
        yield Finding("range", path, "a flag is 0 or 1", "min 0, max 1, step 1")
