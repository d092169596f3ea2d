"""Triggers that refuse a statement, in the words of both databases."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.backends.base.schema import BaseDatabaseSchemaEditor


@dataclass(frozen=True, slots=True)
class Refusal:
    """`event` on a row of `table` is refused where `condition` holds: an IntegrityError with the
    name. The condition speaks of OLD and NEW, in SQL that both databases understand.

    PostgreSQL's TRUNCATE asks no such trigger.
    """

    name: str
    event: str
    table: str
    condition: str


def put_up(schema_editor: BaseDatabaseSchemaEditor, *refusals: Refusal) -> None:
    """Make them, or make them again."""
    written = _postgresql if schema_editor.connection.vendor == "postgresql" else _sqlite
    for refusal in refusals:
        for statement in written(refusal):
            schema_editor.execute(statement)


def dropping(refusal: Refusal, vendor: str) -> str:
    of_table = f" ON {refusal.table}" if vendor == "postgresql" else ""
    return f"DROP TRIGGER IF EXISTS {refusal.name}{of_table}"


def take_down(schema_editor: BaseDatabaseSchemaEditor, *refusals: Refusal) -> None:
    for refusal in refusals:
        schema_editor.execute(dropping(refusal, schema_editor.connection.vendor))


def _sqlite(one: Refusal) -> list[str]:
    return [
        dropping(one, "sqlite"),
        f"CREATE TRIGGER {one.name} BEFORE {one.event} ON {one.table} FOR EACH ROW "
        f"WHEN {one.condition} BEGIN SELECT RAISE(ABORT, '{one.name}'); END",
    ]


def _postgresql(one: Refusal) -> list[str]:
    stays = "OLD" if one.event == "DELETE" else "NEW"
    return [
        f"CREATE OR REPLACE FUNCTION {one.name}() RETURNS trigger AS $$ BEGIN "
        f"IF {one.condition} THEN RAISE EXCEPTION '{one.name}' USING ERRCODE = '23503'; END IF; "
        f"RETURN {stays}; END $$ LANGUAGE plpgsql",
        f"CREATE OR REPLACE TRIGGER {one.name} BEFORE {one.event} ON {one.table} "
        f"FOR EACH ROW EXECUTE FUNCTION {one.name}()",
    ]
