"""References that must stay inside one clinic or one patient, refused by the database itself.

A migration that remakes one of these tables on SQLite drops its triggers, and one that remakes a
table they speak of fails over them. Both begin with `lift_…` and end with `install_…`, and a test
looks whether the triggers are there.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.apps.registry import Apps
from django.db.backends.base.schema import BaseDatabaseSchemaEditor


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

    @property
    def guards(self) -> tuple[tuple[str, str, str, str], ...]:
        """Name, event, table and condition of each trigger."""
        update = f"UPDATE OF {self.column}, {self.owner}"
        found = (
            (f"{self.name}_insert", "INSERT", self.table, self._strays),
            (f"{self.name}_update", update, self.table, self._strays),
        )
        if self.of_library:
            return found
        return (*found, (f"{self.name}_target", f"UPDATE OF {self.owner}", self.target, self._left))

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


def install(schema_editor: BaseDatabaseSchemaEditor, references: tuple[Reference, ...]) -> None:
    """Make, or make again, the triggers of these references."""
    trigger = _postgresql if schema_editor.connection.vendor == "postgresql" else _sqlite
    for reference in references:
        for guard in reference.guards:
            for statement in trigger(*guard):
                schema_editor.execute(statement)


def lift(schema_editor: BaseDatabaseSchemaEditor, references: tuple[Reference, ...]) -> None:
    """Take these triggers away while a table they speak of is made anew, as SQLite does."""
    postgresql = schema_editor.connection.vendor == "postgresql"
    for reference in references:
        for name, _, table, _ in reference.guards:
            of_table = f" ON {table}" if postgresql else ""
            schema_editor.execute(f"DROP TRIGGER IF EXISTS {name}{of_table}")


def install_clinics(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    install(schema_editor, CLINICS)


def install_care(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    install(schema_editor, CARE)


def lift_care(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    lift(schema_editor, CARE)


def _sqlite(name: str, event: str, table: str, condition: str) -> list[str]:
    return [
        f"DROP TRIGGER IF EXISTS {name}",
        f"CREATE TRIGGER {name} BEFORE {event} ON {table} FOR EACH ROW "
        f"WHEN {condition} BEGIN SELECT RAISE(ABORT, '{name}'); END",
    ]


def _postgresql(name: str, event: str, table: str, condition: str) -> list[str]:
    return [
        f"CREATE OR REPLACE FUNCTION {name}() RETURNS trigger AS $$ BEGIN "
        f"IF {condition} THEN RAISE EXCEPTION '{name}' USING ERRCODE = '23503'; END IF; "
        "RETURN NEW; END $$ LANGUAGE plpgsql",
        f"CREATE OR REPLACE TRIGGER {name} BEFORE {event} ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {name}()",
    ]
