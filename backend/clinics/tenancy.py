"""References that must stay inside one clinic or one patient, refused by the database itself.

A migration that changes one of these tables, or one they speak of, begins with
`RunPython(tenancy.take_down)` and ends with `RunPython(tenancy.put_up)`: SQLite remakes a table to
change it, which triggers stand in the way of. A test looks whether all of them are there.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass

from django.apps.registry import Apps
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.backends.utils import CursorWrapper

from backend import triggers
from backend.triggers import Refusal


@dataclass(frozen=True, slots=True)
class Reference:
    """`table.column` may point at a row of `target` only where both have the same `owner`.

    Neither end may leave the other. A target `of_library` has no clinic, or that of the patient
    who owns the row; what is published never changes hands.
    """

    table: str
    column: str
    target: str
    owner: str
    of_library: bool = False

    @property
    def name(self) -> str:
        return f"{self.table}_{self.column}_stays"

    def is_possible(self, known: Mapping[str, Set[str]]) -> bool:
        """Whether both ends are there, by the columns of each table."""
        ends = (
            (self.table, {self.column, self.owner}),
            (self.target, set() if self.of_library else {self.owner}),
        )
        return all(table in known and columns <= known[table] for table, columns in ends)

    @property
    def guards(self) -> tuple[Refusal, ...]:
        update = f"UPDATE OF {self.column}, {self.owner}"
        found = (
            Refusal(f"{self.name}_insert", "INSERT", self.table, self._strays),
            Refusal(f"{self.name}_update", update, self.table, self._strays),
        )
        if self.of_library:
            return found
        moved = f"UPDATE OF {self.owner}"
        return (*found, Refusal(f"{self.name}_target", moved, self.target, self._left))

    @property
    def _strays(self) -> str:
        fits = f"other.{self.owner} = NEW.{self.owner}"
        if self.of_library:
            clinic = f"SELECT clinic_id FROM clinics_patient WHERE id = NEW.{self.owner}"  # noqa: S608
            fits = f"(other.clinic_id IS NULL OR other.clinic_id = ({clinic}))"
        other = f"SELECT 1 FROM {self.target} other WHERE other.id = NEW.{self.column}"  # noqa: S608
        return f"NEW.{self.column} IS NOT NULL AND NOT EXISTS ({other} AND {fits})"

    @property
    def _left(self) -> str:
        one = f"SELECT 1 FROM {self.table} one WHERE one.{self.column} = NEW.id"  # noqa: S608
        gone = f"NEW.{self.owner} IS NULL OR one.{self.owner} <> NEW.{self.owner}"
        return f"EXISTS ({one} AND ({gone}))"


CLINICS = (
    Reference("clinics_patient", "user_id", "clinics_user", "clinic_id"),
    Reference("clinics_patient", "physiotherapist_id", "clinics_user", "clinic_id"),
    Reference("clinics_patientidentifier", "patient_id", "clinics_patient", "clinic_id"),
)
CARE = (
    Reference("care_assignment", "episode_id", "clinics_episode", "patient_id"),
    Reference("care_session", "assignment_id", "care_assignment", "patient_id"),
    Reference(
        "care_assignment",
        "protocol_version_id",
        "protocols_protocolversion",
        "patient_id",
        of_library=True,
    ),
)
DECISIONS = (
    Reference("care_event", "assignment_id", "care_assignment", "patient_id"),
    Reference("care_progression", "assignment_id", "care_assignment", "patient_id"),
    Reference(
        "care_progression",
        "to_protocol_version_id",
        "protocols_protocolversion",
        "patient_id",
        of_library=True,
    ),
)
TELLING = (Reference("notifications_message", "patient_id", "clinics_patient", "clinic_id"),)
OF_CLINICS = (
    Reference("care_assignment", "patient_id", "clinics_patient", "clinic_id"),
    Reference("care_closedday", "assignment_id", "care_assignment", "clinic_id"),
)
REFERENCES = (*CLINICS, *CARE, *DECISIONS, *TELLING, *OF_CLINICS)


SPOKEN_OF = {table for one in REFERENCES for table in (one.table, one.target)}


def install(schema_editor: BaseDatabaseSchemaEditor, references: tuple[Reference, ...]) -> None:
    """Make, or make again, the triggers of these references."""
    for reference in references:
        triggers.put_up(schema_editor, *reference.guards)


def install_clinics(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    install(schema_editor, CLINICS)


def install_care(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    install(schema_editor, CARE)


def take_down(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Before a table is changed. PostgreSQL changes it in place."""
    if schema_editor.connection.vendor == "sqlite":
        for reference in REFERENCES:
            triggers.take_down(schema_editor, *reference.guards)


def put_up(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """The triggers of all tables and columns that there are so far."""
    introspection = schema_editor.connection.introspection
    with schema_editor.connection.cursor() as cursor:
        there = set(introspection.table_names(cursor)) & SPOKEN_OF
        known = {table: _columns(cursor, table) for table in there}
    install(schema_editor, tuple(one for one in REFERENCES if one.is_possible(known)))


def _columns(cursor: CursorWrapper, table: str) -> set[str]:
    """By a query of no rows: Django's description parses the whole SQL of a table on SQLite."""
    cursor.execute(f'SELECT * FROM "{table}" LIMIT 0')  # noqa: S608  # our names
    return {column[0] for column in cursor.description}
