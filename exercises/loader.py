"""Catalogue files → Exercise rows; checks everything first, and is safe to repeat."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal
from uuid import UUID, uuid5

from django.db import transaction
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from exercises.models import Exercise
from exercises.pictures import media_of
from exercises.reading import Finding, Misshapen, Text, pointer, read, typed
from exercises.sources import (
    BibliographyEntry,
    findings_in,
    keys_of,
    read_bibliography,
    tags_of,
)

FOLDER = "exercises/library"
LADDERS = "exercises/ladders.yaml"
DOSING_NOTES = "exercises/dosing_notes.yaml"
EXERCISE_NAMESPACE = UUID("6f0f4c0e-6b0c-5a35-9d6c-2f9f6a1d7b10")

Slug = Annotated[str, Field(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]
Semver = Annotated[str, Field(pattern=r"^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$", max_length=20)]
Line = Annotated[str, Field(min_length=1, max_length=120)]
Paragraph = Annotated[str, Field(min_length=1, max_length=1000)]
Tag = Literal["seed", "trial", "guideline", "expert", "our default"]
DoseUnit = Literal["reps", "hold_s", "duration_s", "distance_m"]

# What a phone asks for, by the unit of the dose; self-care is only ticked off.
LOG_FIELDS: Mapping[DoseUnit, list[str]] = {
    "reps": ["reps", "pain", "effort"],
    "hold_s": ["reps", "hold_s", "pain", "effort"],
    "duration_s": ["duration_s", "pain", "effort"],
    "distance_m": ["distance_m", "pain", "effort"],
}


class Entry(BaseModel):
    """The shape of what stands in a file."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class UsualDose(Entry):
    """The default dose; a protocol may override it. `per_day` sessions on `days_per_week` days."""

    sets: Annotated[int, Field(ge=1, le=20)]
    reps: Annotated[int, Field(ge=1, le=200)] | None = None
    hold_s: Annotated[int, Field(ge=1, le=600)] | None = None
    duration_s: Annotated[int, Field(ge=1, le=14_400)] | None = None
    distance_m: Annotated[int, Field(ge=1, le=50_000)] | None = None
    tempo: Line
    per_day: Annotated[int, Field(ge=1, le=12)]
    days_per_week: Annotated[int, Field(ge=1, le=7)]
    rest_s: Annotated[int, Field(ge=0, le=14_400)]


class ExerciseEntry(Entry):
    """One exercise or self-care item. Steps are facts for the content team, no patient copy."""

    slug: Slug
    version: Semver
    title: Line
    kind: Literal[
        "stretch",
        "nerve_glide_slider",
        "nerve_glide_tensioner",
        "strengthening",
        "core",
        "mobility",
        "foam_rolling",
        "cardio_running",
        "education_self_care",
    ]
    target: Line
    body_region: Literal[
        "posterior_thigh",
        "anterior_thigh",
        "hip",
        "lower_back",
        "trunk",
        "lower_leg",
        "whole_body",
    ]
    side: Literal["affected", "unaffected", "each_side", "bilateral", "alternating", "none"]
    position: Line
    equipment: list[Line]
    steps: Annotated[list[Annotated[str, Field(min_length=1, max_length=300)]], Field(min_length=1)]
    dose: UsualDose
    dose_unit: DoseUnit
    pain_ceiling: Annotated[int, Field(ge=0, le=10)]
    precautions: Annotated[str, Field(max_length=1000)]
    easier: Slug | None
    harder: Slug | None
    source: Paragraph
    tags: list[Tag]


class LadderStep(Entry):
    any_of: Annotated[list[Slug], Field(min_length=1)]
    gate: Literal["N-TENS"] | None = None


class Ladder(Entry):
    ladder: Line
    steps: Annotated[list[LadderStep], Field(min_length=2)]


class Ladders(Entry):
    source: Paragraph
    tags: list[Tag]
    ladders: list[Ladder]


class DosingNote(Entry):
    topic: Line
    finding: Paragraph
    tags: Annotated[list[Tag], Field(min_length=1)]


ITEMS: TypeAdapter[list[object]] = TypeAdapter(Annotated[list[object], Field(min_length=1)])
ENTRY: TypeAdapter[ExerciseEntry] = TypeAdapter(ExerciseEntry)
ENTRIES: TypeAdapter[list[ExerciseEntry]] = TypeAdapter(list[ExerciseEntry])
LADDERS_SHAPE: TypeAdapter[Ladders] = TypeAdapter(Ladders)
NOTES_SHAPE: TypeAdapter[list[DosingNote]] = TypeAdapter(list[DosingNote])


@dataclass(slots=True)
class Catalogue:
    """The files as they stand. Use `entries` only where there are no findings."""

    entries: dict[str, ExerciseEntry] = field(default_factory=dict)
    bibliography: dict[str, BibliographyEntry] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    places: dict[str, tuple[Text, str]] = field(default_factory=dict)
    whole: bool = False  # every entry could be read, so what is not here does not exist


def read_catalogue(root: Path) -> Catalogue:
    """Read and check every catalogue file: all findings at once, nothing written."""
    catalogue = Catalogue()
    sources, catalogue.bibliography = read_bibliography(root)
    texts = [read(path, root=root) for path in sorted((root / FOLDER).glob("*.yaml"))]
    if not texts:  # else an empty folder would retire everything
        catalogue.findings.append(
            Finding("file", "", "no file here", "catalogue files", file=FOLDER, line=1)
        )
    for text in texts:
        _read_entries(text, catalogue)
    catalogue.whole = not any(text.findings for text in texts)
    if catalogue.whole:
        for text in texts:
            _check_steps(text, catalogue)
    others = [_check_ladders(root, catalogue), _check_notes(root)]
    for text in [sources, *texts, *others]:
        catalogue.findings += text.findings
    return catalogue


def _read_entries(text: Text, catalogue: Catalogue) -> None:
    items = text.typed(ITEMS)
    for number, item in enumerate(items or []):
        path = pointer(number)
        try:
            entry = typed(ENTRY, item)
        except Misshapen as error:
            text.find(replace(found, path=path + found.path) for found in error.findings)
            continue
        if entry.slug in catalogue.entries:
            first = catalogue.places[entry.slug][0].file
            message = f"{entry.slug} stands in {first} already"
            text.find([Finding("twin-id", f"{path}/slug", message, "each slug once")])
            continue
        catalogue.entries[entry.slug] = entry
        catalogue.places[entry.slug] = (text, path)
        text.find(_check_entry(entry, path, catalogue.bibliography))


def _check_entry(entry: ExerciseEntry, path: str, known: Mapping[str, object]) -> list[Finding]:
    # a broken bibliography is told once, not by every entry
    found = findings_in(entry.source, known, f"{path}/source") if known else []
    if entry.tags != tags_of(entry.source):
        expected = ", ".join(tags_of(entry.source)) or "none"
        found.append(Finding("tags", f"{path}/tags", "not the tags of the source", expected))
    amounts = [entry.dose.reps, entry.dose.duration_s, entry.dose.distance_m]
    if sum(amount is not None for amount in amounts) != 1:
        expected = "reps, duration_s or distance_m"
        found.append(Finding("dose", f"{path}/dose", "no amount, or more than one", expected))
    if getattr(entry.dose, entry.dose_unit) is None:
        message = f"the dose has no {entry.dose_unit}"
        found.append(Finding("dose-unit", f"{path}/dose_unit", message, "a unit of the dose"))
    return found


def _check_steps(text: Text, catalogue: Catalogue) -> None:
    """Easier and harder exercises exist, and no ladder runs in a circle."""
    for slug, (place, path) in catalogue.places.items():
        if place is not text:
            continue
        for way in ("easier", "harder"):
            at = f"{path}/{way}"
            step = getattr(catalogue.entries[slug], way)
            if step is not None and step not in catalogue.entries:
                text.find([Finding("unknown-exercise", at, f"there is no {step}", "a known slug")])
            elif circle := _circle(slug, way, catalogue.entries):
                message = " > ".join(circle)
                text.find([Finding("circle", at, f"a circle: {message}", "a ladder that ends")])


def _circle(slug: str, way: str, entries: Mapping[str, ExerciseEntry]) -> list[str]:
    walked = [slug]
    while (step := getattr(entries[walked[-1]], way)) in entries:
        walked.append(step)
        if step == slug:
            return walked
        if step in walked[:-1]:
            return []  # a circle further on: told where it is
    return []


def _check_ladders(root: Path, catalogue: Catalogue) -> Text:
    text = read(root / LADDERS, root=root)
    ladders = text.typed(LADDERS_SHAPE)
    if ladders is not None and catalogue.whole:
        text.find(
            Finding(
                "unknown-exercise",
                pointer("ladders", number, "steps", rung, "any_of"),
                f"there is no {slug}",
                "a known slug",
            )
            for number, ladder in enumerate(ladders.ladders)
            for rung, step in enumerate(ladder.steps)
            for slug in step.any_of
            if slug not in catalogue.entries
        )
    return text


def _check_notes(root: Path) -> Text:
    text = read(root / DOSING_NOTES, root=root)
    text.typed(NOTES_SHAPE)
    return text


def stored_findings(catalogue: Catalogue) -> list[Finding]:
    """Entries that differ from what is loaded under the same version."""
    stored = {row.slug: row for row in Exercise.objects.filter(clinic=None)}
    found = []
    for slug, entry in catalogue.entries.items():
        row = stored.get(slug)
        if row is None or row.sha256 == digest(entry):
            continue
        if semver(entry.version) <= semver(row.version):
            text, path = catalogue.places[slug]
            message = f"{slug} {row.version} is loaded with other content"
            found.append(
                Finding(
                    "published-changed",
                    f"{path}/version",
                    message,
                    f"version {next_patch(row.version)}",
                    file=text.file,
                    line=text.line_of(f"{path}/version"),
                )
            )
    return found


@transaction.atomic
def load(
    *, catalogue: Catalogue, now: datetime, step: Callable[[], object] = lambda: None
) -> Counter[str]:
    """Bring a catalogue without findings into the database, all or nothing; `step` after each."""
    counts: Counter[str] = Counter()
    stored = {row.slug: row for row in Exercise.objects.filter(clinic=None)}
    for slug, entry in catalogue.entries.items():
        row = stored.pop(slug, None)
        new = as_row(entry, catalogue.bibliography, now=now)
        same = row is not None and (row.sha256, row.media) == (new.sha256, new.media)
        if row is not None and same and row.retired_at is None:
            counts["unchanged"] += 1
        else:
            new.save(force_insert=row is None, force_update=row is not None)
            counts["new" if row is None else "changed"] += 1
        step()
    counts["retired"] = _retire(stored.values(), now=now)
    return counts


def _retire(rows: Iterable[Exercise], *, now: datetime) -> int:
    """What left the files stays in the database, since plans and logs name it."""
    gone = [row.pk for row in rows if row.retired_at is None]
    return Exercise.objects.filter(pk__in=gone).update(retired_at=now, updated_at=now)


def exercise_id(slug: str) -> UUID:
    """The id of a library exercise, the same in every installation."""
    return uuid5(EXERCISE_NAMESPACE, slug)


def as_row(
    entry: ExerciseEntry, bibliography: Mapping[str, BibliographyEntry], *, now: datetime
) -> Exercise:
    education = entry.kind == "education_self_care"
    return Exercise(
        id=exercise_id(entry.slug),
        slug=entry.slug,
        version=entry.version,
        title=entry.title,
        kind=entry.kind,
        target=entry.target,
        body_region=entry.body_region,
        side=entry.side,
        position=entry.position,
        equipment=entry.equipment,
        description=f"For {entry.target}. Position: {entry.position}.",
        cues=entry.steps,
        media=media_of(entry.slug),
        dose_unit=entry.dose_unit,
        dose=entry.dose.model_dump(exclude_none=True),
        log_fields=[] if education else LOG_FIELDS[entry.dose_unit],
        pain_ceiling=entry.pain_ceiling,
        contraindications=[entry.precautions] if entry.precautions else [],
        easier_slug=entry.easier or "",
        harder_slug=entry.harder or "",
        sources=_sources_of(entry, bibliography),
        sha256=digest(entry),
        updated_at=now,
    )


def _sources_of(
    entry: ExerciseEntry, bibliography: Mapping[str, BibliographyEntry]
) -> list[dict[str, str]]:
    """What the entry says about its numbers, then each source it cites."""
    cited = [bibliography[key] for key in keys_of(entry.source, bibliography)]
    return [
        {"text": entry.source},
        *(
            {"id": source.id, "text": source.text}
            | ({"url": source.where} if source.where.startswith("http") else {})
            for source in cited
        ),
    ]


def digest(entry: ExerciseEntry) -> str:
    content = json.dumps(entry.model_dump(), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(content.encode()).hexdigest()


def semver(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def next_patch(version: str) -> str:
    major, minor, patch = semver(version)
    return f"{major}.{minor}.{patch + 1}"
