"""One door for library files and clinics' drafts: check() says what is wrong, publish() stores."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid5

from django.db import transaction

from backend.clinics.models import Clinic, User
from backend.problems import FieldError, StateConflict, ValidationFailed
from exercises.loader import Catalogue, next_patch, semver
from exercises.models import Exercise
from exercises.reading import Finding, Misshapen, Text, pointer, read, typed
from exercises.sources import findings_in
from protocols import playing
from protocols.case_files import case_files, read_case
from protocols.engine import definition, predicate
from protocols.engine.plan import MOST_SLOTS_A_DAY
from protocols.knowledge import Metric, Shared, metrics, rules
from protocols.models import ProtocolVersion
from protocols.shape import (
    LIMITS,
    PHASE,
    PROTOCOL,
    CriterionShape,
    DoseShape,
    LimitsShape,
    PhaseShape,
    PrescriptionShape,
    ProtocolShape,
    ScheduleShape,
)

FOLDER = "protocols/library"
PROTOCOL_NAMESPACE = UUID("0b6f3f1e-2a3b-5c6d-8e9f-4a5b6c7d8e9f")
CATALOGUE = "catalogue"  # as a source: dose and source of the exercise itself


@dataclass(frozen=True, slots=True)
class Known:
    """What a protocol has to know of an exercise."""

    kind: str
    body_region: str
    pain_ceiling: int
    dose: Mapping[str, object]


@dataclass(slots=True)
class Library:
    """The protocol files as they stand. Use `documents` only where there are no findings."""

    root: Path
    documents: dict[tuple[str, str], tuple[Text, dict[str, object]]] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def protocol_id(slug: str) -> UUID:
    """The id of a library protocol, the same in every installation and version."""
    return uuid5(PROTOCOL_NAMESPACE, slug)


def digest(document: object) -> str:
    """What tells two documents apart: their content, not their layout."""
    content = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()


def known_exercises(clinic: Clinic | None) -> dict[str, Known]:
    """The library's exercises, and those of a clinic over them."""
    rows = Exercise.objects.filter(retired_at=None)
    found = {}
    for owner in (None, clinic) if clinic else (None,):
        for row in rows.filter(clinic=owner):
            found[row.slug] = Known(row.kind, row.body_region, row.pain_ceiling, row.dose)
    return found


def known_in(catalogue: Catalogue) -> dict[str, Known]:
    return {
        slug: Known(
            entry.kind,
            entry.body_region,
            entry.pain_ceiling,
            entry.dose.model_dump(exclude_none=True),
        )
        for slug, entry in catalogue.entries.items()
    }


# --- Checking ---------------------------------------------------------------------------------


def check(
    document: object,
    *,
    exercises: Mapping[str, Known] | None,
    metrics: Mapping[str, Metric] | None,
) -> list[Finding]:
    """Everything that is wrong with a document, at once. Errors keep it from being published.

    None for exercises or metrics: their files are broken, so nothing is held against them.
    """
    try:
        protocol = typed(PROTOCOL, document)
    except Misshapen as error:
        return error.findings + list(_check_sound_parts(document, exercises, metrics))
    return [
        *_check_sources(protocol),
        *_check_limits(protocol.limits),
        *_check_requirements(protocol, metrics),
        *_check_phases(protocol.phases),
        *(
            finding
            for number, phase in enumerate(protocol.phases)
            for finding in _check_phase(phase, pointer("phases", number), exercises, metrics)
        ),
        *_check_kept_back(protocol, exercises),
    ]


def _check_sound_parts(
    document: object,
    exercises: Mapping[str, Known] | None,
    metrics: Mapping[str, Metric] | None,
) -> Iterator[Finding]:
    """What can be said of a misshapen document, so that its author hears of it all at once."""
    if not isinstance(document, Mapping):
        return
    with suppress(Misshapen):
        yield from _check_limits(typed(LIMITS, document.get("limits")))
    phases = document.get("phases")
    for number, part in enumerate(phases if isinstance(phases, list) else []):
        with suppress(Misshapen):
            yield from _check_phase(
                typed(PHASE, part), pointer("phases", number), exercises, metrics
            )


def _check_sources(protocol: ProtocolShape) -> Iterator[Finding]:
    """Every number says where it is from, and every key it names is listed."""
    yield from _twins([source.id for source in protocol.sources], "/sources", "id")
    known = {source.id for source in protocol.sources}
    yield from findings_in(protocol.limits.source, known, "/limits/source")
    for number, need in enumerate(protocol.requires):
        yield from findings_in(need.source, known, pointer("requires", number, "source"))
    for number, phase in enumerate(protocol.phases):
        at = pointer("phases", number)
        if phase.min_days:
            yield from findings_in(phase.min_days_source, known, f"{at}/min_days_source")
        for order, row in enumerate(phase.prescriptions):
            where = at + pointer("prescriptions", order, "source")
            for finding in findings_in(row.source, known, where):
                if finding.code != "no-source" or not row.source.startswith(CATALOGUE):
                    yield finding
        for order, criterion in enumerate(phase.exit):
            yield from findings_in(criterion.source, known, at + pointer("exit", order, "source"))


def _check_limits(limits: LimitsShape) -> Iterator[Finding]:
    if not limits.progress < limits.red:
        yield Finding("limits", "/limits/red", "not above progress", f"{limits.progress + 1} up")
    if not limits.red < limits.severe:
        yield Finding("limits", "/limits/severe", "not above red", f"{limits.red + 1} up")
    if limits.amber_next is not None and not limits.progress < limits.amber_next <= limits.severe:
        expected = f"{limits.progress + 1} to {limits.severe}"
        yield Finding("limits", "/limits/amber_next", "not between progress and severe", expected)


def _check_requirements(
    protocol: ProtocolShape, metrics: Mapping[str, Metric] | None
) -> Iterator[Finding]:
    if metrics is None:
        return
    for number, need in enumerate(protocol.requires):
        metric = metrics.get(need.fact)
        if metric is None or metric.kind != "flag":
            path = pointer("requires", number, "fact")
            yield Finding("unknown-metric", path, f"there is no fact {need.fact}", "a known flag")


def _check_phases(phases: list[PhaseShape]) -> Iterator[Finding]:
    """Phases count from 1, and each but the last can be left."""
    for number, phase in enumerate(phases, start=1):
        at = pointer("phases", number - 1)
        if phase.number != number:
            yield Finding("phase-number", f"{at}/number", f"{phase.number}", f"{number}")
        if phase.id != f"phase-{number}":
            yield Finding("phase-id", f"{at}/id", phase.id, f"phase-{number}")
        if not phase.exit and number < len(phases):
            message = "nothing leads out of this phase, so the next is never reached"
            yield Finding("unreachable-phase", f"{at}/exit", message, "at least one criterion")


def _check_phase(
    phase: PhaseShape,
    at: str,
    exercises: Mapping[str, Known] | None,
    metrics: Mapping[str, Metric] | None,
) -> Iterator[Finding]:
    slugs = {row.exercise for row in phase.prescriptions}
    for order, row in enumerate(phase.prescriptions):
        path = at + pointer("prescriptions", order)
        if exercises is not None and row.exercise not in exercises:
            message = f"there is no {row.exercise}"
            yield Finding("unknown-exercise", f"{path}/exercise", message, "a known slug")
        elif exercises is not None:
            yield from _check_against(row, exercises[row.exercise], path)
        yield from _check_dose(row.dose, f"{path}/dose")
        yield from _check_schedule(row.schedule, f"{path}/schedule", slugs - {row.exercise})
        yield from _check_stages(row, path, slugs - {row.exercise})
        if row.counts:
            yield from _check_slots(row, path)
    yield from _twins([criterion.id for criterion in phase.exit], f"{at}/exit", "id")
    for order, criterion in enumerate(phase.exit):
        yield from _check_criterion(criterion, at + pointer("exit", order), metrics)


def _check_against(row: PrescriptionShape, known: Known, path: str) -> Iterator[Finding]:
    """What the catalogue has to say about a row."""
    if known.kind == "education_self_care" and row.counts:
        message = "education and self-care never count"
        yield Finding("counts", f"{path}/counts", message, "counts: false")
    if known.kind == "nerve_glide_tensioner" and (row.gate != "N-TENS" or row.included):
        message = "a tensioner outside its gate"
        yield Finding("gate", f"{path}/gate", message, "gate: N-TENS, included: false")
    if row.pain_ceiling > known.pain_ceiling:
        message = f"{row.pain_ceiling} is above the exercise's own ceiling"
        at_most = f"at most {known.pain_ceiling}"
        yield Finding("ceiling", f"{path}/pain_ceiling", message, at_most, severity="warning")
    if row.source.startswith(CATALOGUE):
        for name in ("sets", "reps", "hold_s", "duration_s", "distance_m"):
            usual, here = known.dose.get(name), getattr(row.dose, name)
            here = here.min if name == "reps" and here else here
            if usual != here:
                expected = f"{usual}, or another source"
                message = f"{here} is not the dose of the catalogue"
                yield Finding("catalogue-dose", f"{path}/dose/{name}", message, expected)


def _check_kept_back(
    protocol: ProtocolShape, exercises: Mapping[str, Known] | None
) -> Iterator[Finding]:
    """What is kept back from early phases (NO-7), whoever writes the protocol.

    Rules that go by the protocol's own phases say nothing here.
    """
    for number, phase in enumerate(protocol.phases):
        for order, row in enumerate(phase.prescriptions):
            if (known := (exercises or {}).get(row.exercise)) is None:
                continue
            path = pointer("phases", number, "prescriptions", order, "exercise")
            for rule in rules().kept_back:
                first = rule.first_phase(protocol.condition)
                means = rule.means(row.exercise, known.kind, known.body_region)
                if means and phase.number < first:
                    message = f"{rule.id}: {rule.text} ({rule.source})"
                    yield Finding("outside-its-phase", path, message, f"phase {first} or later")


def _check_dose(dose: DoseShape, path: str) -> Iterator[Finding]:
    amounts = [dose.reps, dose.duration_s, dose.distance_m]
    if sum(amount is not None for amount in amounts) != 1:
        expected = "one of reps, duration_s, distance_m"
        yield Finding("dose", path, "no amount, or more than one", expected)
    if dose.hold_s is not None and dose.reps is None:
        yield Finding("dose", f"{path}/hold_s", "a hold without a number of holds", "reps")
    if dose.reps is not None and dose.reps.min > dose.reps.max:
        yield Finding("range", f"{path}/reps", "min is above max", "min <= max")
    if dose.reps_by_set and len(dose.reps_by_set) != dose.sets:
        message = f"{len(dose.reps_by_set)} numbers for {dose.sets} sets"
        yield Finding("range", f"{path}/reps_by_set", message, f"{dose.sets} numbers")
    if dose.effort is not None and dose.effort.min > dose.effort.max:
        yield Finding("range", f"{path}/effort", "min is above max", "min <= max")
    if dose.effort is not None and dose.effort.scale == "cr10" and dose.effort.max > 10:
        yield Finding("range", f"{path}/effort/max", "above the scale", "at most 10")


def _check_schedule(schedule: ScheduleShape, path: str, others: set[str]) -> Iterator[Finding]:
    for name, kind in (("per_week", "weekly"), ("every_n_days", "every_n_days")):
        if (getattr(schedule, name) is not None) != (schedule.kind == kind):
            message = f"{schedule.kind} does not go with this"
            yield Finding("schedule", f"{path}/{name}", message, f"{name} with kind {kind}")
    if schedule.to_day is not None and schedule.to_day < schedule.from_day:
        expected = f"{schedule.from_day} or later"
        yield Finding("range", f"{path}/to_day", "before from_day", expected)
    if schedule.not_on_days_of is not None and schedule.not_on_days_of not in others:
        message = f"{schedule.not_on_days_of} is not in this phase"
        expected = "another exercise of the phase"
        yield Finding("unknown-exercise", f"{path}/not_on_days_of", message, expected)


def _check_slots(row: PrescriptionShape, path: str) -> Iterator[Finding]:
    """What counts is given a session each time, and a date has only so many."""
    held = [("", row.schedule)]
    held += [(pointer("stages", number), stage.schedule) for number, stage in enumerate(row.stages)]
    for at, schedule in held:
        if schedule.sessions_per_day > MOST_SLOTS_A_DAY:
            message = f"{schedule.sessions_per_day} sessions of what counts"
            expected = f"at most {MOST_SLOTS_A_DAY}"
            yield Finding("range", f"{path}{at}/schedule/sessions_per_day", message, expected)


def _check_stages(row: PrescriptionShape, path: str, others: set[str]) -> Iterator[Finding]:
    before = 0
    for number, stage in enumerate(row.stages):
        at = path + pointer("stages", number)
        if stage.from_day <= before:
            expected = f"{before + 1} or later"
            yield Finding("range", f"{at}/from_day", "not after the stage before", expected)
        before = stage.from_day
        yield from _check_dose(stage.dose, f"{at}/dose")
        yield from _check_schedule(stage.schedule, f"{at}/schedule", others)


def _check_criterion(
    criterion: CriterionShape, path: str, metrics: Mapping[str, Metric] | None
) -> Iterator[Finding]:
    rule = predicate.parse(criterion.when)
    aggregate, at = rule.aggregate, f"{path}/when"
    if ("/" in rule.metric) != (aggregate == "ratio"):
        yield Finding("predicate", at, f"{aggregate} of {rule.metric}", "ratio(one/other; …)")
    if rule.most_days_old is not None and aggregate != "latest":
        message = f"age<={rule.most_days_old}d with {aggregate}"
        yield Finding("predicate", at, message, "an age with latest only")
    if metrics is None:
        return
    for name in rule.metric.split("/"):
        metric = metrics.get(name)
        if metric is None:
            yield Finding("unknown-metric", at, f"there is no metric {name}", "a known metric")
        elif aggregate in ("max", "min", "mean", "latest"):
            if not metric.takes(rule.limit):
                expected = f"{_shown(metric.min)} to {_shown(metric.max)}"
                yield Finding("range", at, f"{rule.limit:g} is no {name}", expected)
            if criterion.unit != metric.unit:
                message = f"{name} is not in {criterion.unit}"
                yield Finding("unit", f"{path}/unit", message, metric.unit)


def _shown(edge: float | None) -> str:
    return "any" if edge is None else f"{edge:g}"


def _twins(names: list[str], path: str, field_name: str) -> Iterator[Finding]:
    for name, times in Counter(names).items():
        if times > 1:
            at = path + pointer(len(names) - 1 - names[::-1].index(name), field_name)
            yield Finding("twin-id", at, f"{name} stands {times} times", "each id once")


# --- The library ------------------------------------------------------------------------------


def read_library(root: Path, *, catalogue: Catalogue, shared: Shared) -> Library:
    """Read and check every protocol file: all findings at once, nothing written."""
    library = Library(root)
    exercises = known_in(catalogue) if catalogue.whole else None
    metrics = shared.metrics or None
    paths = sorted((root / FOLDER).glob("*.yaml"))
    if not paths:
        library.findings.append(
            Finding("file", "", "no file here", "protocol files", file=FOLDER, line=1)
        )
    for path in paths:
        text = read(path, root=root)
        if not text.findings:
            text.find(check(text.value, exercises=exercises, metrics=metrics))
        if not errors_of(text.findings) and isinstance(text.value, dict):
            _take(path, text, text.value, library)
        library.findings += text.findings
    return library


def _take(path: Path, text: Text, document: dict[str, object], library: Library) -> None:
    slug, version = str(document["slug"]), str(document["version"])
    if path.name != f"{slug}.v{version}.yaml":
        expected = f"{slug}.v{version}.yaml"
        text.find([Finding("file-name", "/slug", f"in a file named {path.name}", expected)])
    library.documents[slug, version] = (text, document)


def stored_findings(library: Library) -> list[Finding]:
    """Files that change a published version, or come before one; cases that a new one breaks."""
    found, new = [], set()
    for (slug, version), (text, document) in library.documents.items():
        published = versions_of(protocol_id(slug))
        for finding in against_published(document, published):
            text.find([finding])
            found.append(text.findings[-1])
        if version not in published:
            new.add(slug)
    return found + (_broken_cases(library, new) if new else [])


def _broken_cases(library: Library, slugs: Container[str]) -> list[Finding]:
    """Play the worked cases that name one of these protocols, with its newest version."""
    newest: dict[str, dict[str, object]] = {}
    for slug, version in sorted(library.documents, key=lambda place: semver(place[1])):
        newest[slug] = library.documents[slug, version][1]
    found: list[Finding] = []
    for path in case_files(library.root):
        case, text = read_case(path, root=library.root)
        if case is not None and case.protocol in slugs:
            text.find(playing.findings(case, definition.parse(newest[case.protocol])))
        found += text.findings
    return found


@transaction.atomic
def load(
    *, library: Library, now: datetime, step: Callable[[], object] = lambda: None
) -> Counter[str]:
    """Publish the files of a library without findings, all or nothing; `step` after each."""
    counts: Counter[str] = Counter()
    exercises = known_exercises(None)
    by_version = sorted(library.documents, key=lambda place: (place[0], semver(place[1])))
    for slug, version in by_version:
        _, document = library.documents[slug, version]
        if version in versions_of(protocol_id(slug)):
            counts["unchanged"] += 1
        else:
            publish(protocol_id=protocol_id(slug), document=document, exercises=exercises, now=now)
            counts["new"] += 1
        step()
    return counts


# --- Publishing -------------------------------------------------------------------------------


@transaction.atomic
def publish(
    *,
    protocol_id: UUID,
    document: Mapping[str, object],
    exercises: Mapping[str, Known],
    now: datetime,
    clinic: Clinic | None = None,
    by: User | None = None,
    change_note: str = "",
) -> ProtocolVersion:
    """Store a version for good. The one door, for library files and for clinics' drafts."""
    findings = check(document, exercises=exercises, metrics=metrics())
    if not errors_of(findings):
        findings = against_published(document, versions_of(protocol_id))
    if errors := errors_of(findings):
        raise ValidationFailed.of(
            FieldError(found.path, found.code, str(found)) for found in errors
        )
    protocol = definition.parse(document)
    return ProtocolVersion.objects.create(
        protocol_id=protocol_id,
        slug=protocol.slug,
        version=protocol.version,
        clinic=clinic,
        title=protocol.title,
        condition=protocol.condition,
        document=document,
        sha256=digest(document),
        change_note=change_note,
        published_by=by,
        published_at=now,
    )


@transaction.atomic
def retire(*, version: ProtocolVersion, reason: str, by: User, now: datetime) -> ProtocolVersion:
    """From now on nobody is given this version. The plans that are made of it go on."""
    row = ProtocolVersion.objects.select_for_update(of=("self",)).get(pk=version.pk)
    if row.status == ProtocolVersion.Status.RETIRED:
        raise StateConflict("This version is retired already.")
    row.status = ProtocolVersion.Status.RETIRED
    row.retired_by, row.retired_at, row.retired_reason = by, now, reason
    row.save(update_fields=["status", "retired_by", "retired_at", "retired_reason"])
    return row


def errors_of(findings: Iterable[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.severity == "error"]


def versions_of(protocol_id: UUID) -> dict[str, str]:
    """The digest of each published version."""
    rows = ProtocolVersion.objects.filter(protocol_id=protocol_id)
    return dict(rows.values_list("version", "sha256"))


def against_published(
    document: Mapping[str, object], published: Mapping[str, str]
) -> list[Finding]:
    """A version is never changed, and a new one comes after those there are."""
    version = str(document["version"])
    newest = max(published, key=semver, default="0.0.0")
    if version in published and published[version] != digest(document):
        message = f"{version} is published with other content"
        expected = f"add version {next_patch(newest)}"
        return [Finding("published-changed", "/version", message, expected)]
    if version not in published and semver(version) < semver(newest):
        message = f"{version} comes before {newest}, which is published"
        return [Finding("version-order", "/version", message, f"{next_patch(newest)} or later")]
    return []
