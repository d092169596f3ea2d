"""The shape of a protocol document: for checks, and for schema.json (manage.py library_schemas)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    WithJsonSchema,
)

from exercises.loader import Line, Semver, Slug
from protocols.engine import predicate

# What predicate.parse reads, for editors: agg(metric; window, option) cmp value.
PREDICATE = (
    r"^(max|min|mean|sum|count|latest|ratio)"
    r"\(([a-z][a-z0-9_]*(?:/[a-z][a-z0-9_]*)?);"
    r" (last:[1-9][0-9]{0,2}|days:[1-9][0-9]{0,2}|phase|episode)"
    r"(?:, (age<=[1-9][0-9]{0,2}d))?\)"
    r" (<=|<|>=|>|==|!=) (-?[0-9]{1,6}(?:\.[0-9]{1,6})?)$"
)

LONGEST_PREDICATE = 200


def _predicate(line: str) -> str:
    try:
        predicate.parse(line[:LONGEST_PREDICATE])
    except ValueError:
        raise ValueError("a predicate such as latest(walk_pain; phase, age<=7d) <= 0") from None
    return line


Predicate = Annotated[
    str, AfterValidator(_predicate), WithJsonSchema({"type": "string", "pattern": PREDICATE})
]
Text = Annotated[str, Field(min_length=1, max_length=2000)]
Source = Annotated[str, Field(min_length=1, max_length=500)]
Pain = Annotated[int, Field(ge=0, le=10)]
Day = Annotated[int, Field(ge=1, le=730)]


class Shape(BaseModel):
    """Nothing that is not named here, and nothing turned into something else."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class RepsShape(Shape):
    min: Annotated[int, Field(ge=1, le=200)]
    max: Annotated[int, Field(ge=1, le=200)]


def _one_number(value: object) -> object:
    return {"min": value, "max": value} if type(value) is int else value


Count = Annotated[int, Field(ge=1, le=200)]
Reps = Annotated[RepsShape, BeforeValidator(_one_number, json_schema_input_type=Count | RepsShape)]


class EffortShape(Shape):
    scale: Literal["cr10", "percent"]
    min: Annotated[float, Field(ge=0, le=100)]
    max: Annotated[float, Field(ge=0, le=100)]


class DoseShape(Shape):
    sets: Annotated[int, Field(ge=1, le=20)]
    reps: Reps | None = None
    reps_by_set: Annotated[list[Count], Field(max_length=20)] = []
    hold_s: Annotated[int, Field(ge=1, le=600)] | None = None
    duration_s: Annotated[int, Field(ge=1, le=14_400)] | None = None
    distance_m: Annotated[int, Field(ge=1, le=50_000)] | None = None
    load_kg: Annotated[float, Field(gt=0, le=500)] | None = None
    load_text: Line | None = None
    effort: EffortShape | None = None
    tempo: Line | None = None
    rest_s: Annotated[int, Field(ge=0, le=14_400)] | None = None


class ScheduleShape(Shape):
    kind: Literal["daily", "weekly", "every_n_days", "once"]
    per_week: Annotated[int, Field(ge=1, le=7)] | None = None
    every_n_days: Annotated[int, Field(ge=2, le=28)] | None = None
    sessions_per_day: Annotated[int, Field(ge=1, le=12)] = 1
    from_day: Day = 1
    to_day: Day | None = None
    not_on_days_of: Slug | None = None


class StageShape(Shape):
    from_day: Day
    dose: DoseShape
    schedule: ScheduleShape


class PrescriptionShape(Shape):
    exercise: Slug
    dose: DoseShape
    schedule: ScheduleShape
    pain_ceiling: Pain
    counts: bool = True
    included: bool = True
    gate: Literal["N-TENS"] | None = None
    note: Annotated[str, Field(max_length=500)] = ""
    source: Source
    stages: Annotated[list[StageShape], Field(max_length=20)] = []


class CriterionShape(Shape):
    id: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    when: Predicate
    text: Annotated[str, Field(min_length=1, max_length=300)]
    unit: Line
    source: Source


class PhaseShape(Shape):
    id: Annotated[str, Field(pattern=r"^phase-[1-9][0-9]?$")]
    number: Annotated[int, Field(ge=1, le=20)]
    title: Line
    goals: Text
    min_days: Annotated[int, Field(ge=0, le=365)]
    min_days_source: Source
    notes: Annotated[str, Field(max_length=2000)] = ""
    prescriptions: Annotated[list[PrescriptionShape], Field(min_length=1, max_length=40)]
    exit: Annotated[list[CriterionShape], Field(max_length=30)]


class LimitsShape(Shape):
    progress: Pain
    red: Pain
    red_rise: Annotated[int, Field(ge=1, le=10)]
    severe: Pain
    nerve: bool
    amber_next: Pain | None = None
    source: Source


class RequirementShape(Shape):
    gate: Annotated[str, Field(pattern=r"^AG[1-9]$")]
    fact: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    text: Text
    source: Source


class SourceShape(Shape):
    id: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9]{2,5}$")]
    text: Text
    where: Text
    read: Text
    tag: Literal["seed", "trial", "guideline", "expert"] | None = None


class ProtocolShape(Shape):
    slug: Slug
    version: Semver
    title: Line
    condition: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$", max_length=64)]
    indications: Text
    not_for: Text
    expected_course: Text
    regression: Text
    limits: LimitsShape
    requires: Annotated[list[RequirementShape], Field(max_length=20)] = []
    phases: Annotated[list[PhaseShape], Field(min_length=1, max_length=12)]
    sources: Annotated[list[SourceShape], Field(max_length=200)]
    licence: Text


PROTOCOL: TypeAdapter[ProtocolShape] = TypeAdapter(ProtocolShape)
LIMITS: TypeAdapter[LimitsShape] = TypeAdapter(LimitsShape)
PHASE: TypeAdapter[PhaseShape] = TypeAdapter(PhaseShape)
