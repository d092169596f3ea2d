"""What differs between two documents of a protocol, in the order in which a reader meets it.

Phases are known by their number, prescriptions by their exercise, everything else by its id; a
second one of the same name gets "-2". Either document may be a draft, so anything may be missing.
What is usual and what is left out are the same: a prescription counts, whether it says so or not.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from protocols.engine.definition import (
    Criterion,
    Dose,
    Limits,
    Phase,
    Prescription,
    Protocol,
    Requirement,
    Schedule,
    Source,
    Stage,
    in_full,
)

Kind = Literal["added", "removed", "changed"]
Document = Mapping[str, Any]

KINDS: tuple[Kind, ...] = ("added", "removed", "changed")
PARTS: Mapping[str, type] = {"dose": Dose, "schedule": Schedule}
NOTHING: Document = {}


@dataclass(frozen=True, slots=True)
class Change:
    """One member. None where it is not there; `dose.sets` is the member `sets` of `dose`."""

    field: str
    before: object = None
    after: object = None


@dataclass(frozen=True, slots=True)
class Part:
    """One of several. What was added is told against nothing, and so is what was removed."""

    id: str
    kind: Kind
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class PhasePart(Part):
    title: str
    prescriptions: tuple[Part, ...]
    exit: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Differences:
    changes: tuple[Change, ...]
    limits: tuple[Change, ...]
    requires: tuple[Part, ...]
    phases: tuple[PhasePart, ...]
    sources: tuple[Part, ...]


def differences(before: Document, after: Document) -> Differences:
    """Everything but the version, which differs by its nature."""
    old, new = in_full(before), in_full(after)
    assert isinstance(old, dict)
    assert isinstance(new, dict)
    apart = {"version", "limits", "requires", "phases", "sources"}
    limits = (one.get("limits", NOTHING) for one in (old, new))
    return Differences(
        changes=_changes(Protocol, old, new, apart),
        limits=_changes(Limits, *limits),
        requires=_parts(Requirement, "fact", old.get("requires", ()), new.get("requires", ())),
        phases=tuple(_phases(old.get("phases", ()), new.get("phases", ()))),
        sources=_parts(Source, "id", old.get("sources", ()), new.get("sources", ())),
    )


def _phases(before: Sequence[Document], after: Sequence[Document]) -> Iterator[PhasePart]:
    for n in range(max(len(before), len(after))):
        old = before[n] if n < len(before) else None
        new = after[n] if n < len(after) else None
        found = _phase(f"phase-{n + 1}", old, new)
        if found.kind != "changed" or found.changes or found.prescriptions or found.exit:
            yield found


def _phase(id: str, before: Document | None, after: Document | None) -> PhasePart:
    old, new = before or NOTHING, after or NOTHING
    rows = old.get("prescriptions", ()), new.get("prescriptions", ())
    criteria = old.get("exit", ()), new.get("exit", ())
    changes = _changes(Phase, old, new, {"id", "number", "prescriptions", "exit"})
    if before and after:
        changes += _order("prescriptions", "exercise", *rows) + _order("exit", "id", *criteria)
    return PhasePart(
        id=id,
        kind="added" if before is None else "removed" if after is None else "changed",
        changes=changes,
        title=str((after if after is not None else old).get("title", "")),
        prescriptions=_parts(Prescription, "exercise", *rows),
        exit=_parts(Criterion, "id", *criteria),
    )


def _parts(
    kind: type, by: str, before: Sequence[Document], after: Sequence[Document]
) -> tuple[Part, ...]:
    """In the order of the newer document, then what is gone from the older one."""
    old, new = _named(by, before), _named(by, after)
    found = []
    for id in [*new, *(id for id in old if id not in new)]:
        changes = _changes(kind, old.get(id, NOTHING), new.get(id, NOTHING), {by})
        if id not in old:
            found.append(Part(id, "added", changes))
        elif id not in new:
            found.append(Part(id, "removed", changes))
        elif changes:
            found.append(Part(id, "changed", changes))
    return tuple(found)


def _named(by: str, rows: Sequence[Document]) -> dict[str, Document]:
    named: dict[str, Document] = {}
    for row in rows:
        wanted = id = str(row.get(by, ""))
        times = 1
        while id in named:
            times += 1
            id = f"{wanted}-{times}"
        named[id] = row
    return named


def _order(
    name: str, by: str, before: Sequence[Document], after: Sequence[Document]
) -> tuple[Change, ...]:
    """Whether what stands in both stands in another order; what came or went moves nothing."""
    old, new = list(_named(by, before)), list(_named(by, after))
    was, now = [id for id in old if id in new], [id for id in new if id in old]
    return () if was == now else (Change(f"{name}.order", was, now),)


def _changes(
    kind: type, before: Document, after: Document, apart: Container[str] = ()
) -> tuple[Change, ...]:
    """In the order of the document. Members that stand `apart` are told elsewhere."""
    old, new = _whole(kind, before), _whole(kind, after)
    paths = (path for path in _paths(kind) if path[0] not in apart)
    found = (Change(".".join(path), _at(old, path), _at(new, path)) for path in paths)
    return tuple(change for change in found if change.before != change.after)


def _whole(kind: type, said: Document) -> Document:
    """What is usual said, what is empty left out."""
    found = {}
    for field in fields(kind):
        value = said.get(field.name, None if field.default is MISSING else field.default)
        if field.name in PARTS:
            value = _whole(PARTS[field.name], value or NOTHING)
        elif field.name == "stages":
            value = [_whole(Stage, stage) for stage in value]
        if value not in (None, "", [], ()):
            found[field.name] = value
    return found


def _paths(kind: type) -> Iterator[tuple[str, ...]]:
    for field in fields(kind):
        inner = PARTS.get(field.name)
        yield from ((field.name, one.name) for one in fields(inner)) if inner else ((field.name,),)


def _at(document: Document, path: tuple[str, ...]) -> object:
    *above, last = path
    for name in above:
        document = document[name]
    return document.get(last)
