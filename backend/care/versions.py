"""What a version of an assignment prescribes, as engine values.

A version is written once and never changes, so what was read of one stays true: it is kept in this
process, phase by phase, since mostly one is asked for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from backend.care.models import AssignmentVersion
from protocols.engine.definition import read
from protocols.engine.plan import Prescribed

MOST_KEPT = 256  # versions; some 20 kB each


class Unread(str):
    """The prescriptions of a version as the database has them: JSON that is mostly known."""


_kept: dict[UUID, dict[str, tuple[Prescribed, ...]]] = {}


def prescribed_in(version: AssignmentVersion, phase_id: str) -> tuple[Prescribed, ...]:
    """The prescriptions of one phase."""
    phases = _phases_of(version)
    if phase_id not in phases:
        phases[phase_id] = tuple(
            read(Prescribed, row) for row in rows_of(version) if row["phase_id"] == phase_id
        )
    return phases[phase_id]


def prescribed_as(version: AssignmentVersion, id: str) -> Prescribed | None:
    """The prescription of this id, of whatever phase."""
    for rows in tuple(_phases_of(version).values()):
        for row in rows:
            if row.id == id:
                return row
    for told in rows_of(version):
        if told["id"] == id:
            return next(row for row in prescribed_in(version, told["phase_id"]) if row.id == id)
    return None


def rows_of(version: AssignmentVersion) -> Sequence[Mapping[str, Any]]:
    """All of it, as it is stored."""
    if isinstance(version.prescriptions, Unread):
        version.prescriptions = json.loads(version.prescriptions)
    rows: Sequence[Mapping[str, Any]] = version.prescriptions
    return rows


def _phases_of(version: AssignmentVersion) -> dict[str, tuple[Prescribed, ...]]:
    phases = _kept.get(version.pk)
    if phases is None:
        if len(_kept) >= MOST_KEPT:
            _kept.clear()
        phases = _kept[version.pk] = {}
    return phases
