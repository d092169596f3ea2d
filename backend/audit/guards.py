"""What the database itself refuses to have done to the audit, in raw SQL, too.

A migration that changes one of these tables begins with `RunPython(guards.take_down)` and ends
with `RunPython(guards.put_up)`. Who puts rows back from a backup does the same; a copy of the whole
database brings its triggers along.
"""

from __future__ import annotations

from django.apps.registry import Apps
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from backend import triggers
from backend.triggers import Refusal

EVENTS, CHAINS = "audit_auditevent", "audit_chain"
CONTENT = (
    "id", "at", "clinic_id", "actor_id", "actor_role", "action", "patient_id", "object_id",
    "listed", "outcome", "request_id", "before", "after",
)  # fmt: skip
NETWORK = ("ip_prefix",)  # came later than the rest
SEAL = ("seq", "hash", "sealed_at")

_OF_DEMO = f"SELECT 1 FROM {CHAINS} one WHERE one.clinic_id = OLD.clinic_id AND one.is_demo"  # noqa: S608
_SAME_ID = f"SELECT 1 FROM {EVENTS} one WHERE one.id = NEW.id"  # noqa: S608
_SAME_CHAIN = f"SELECT 1 FROM {CHAINS} one WHERE one.clinic_id = NEW.clinic_id"  # noqa: S608
_HAS_EVENTS = f"SELECT 1 FROM {EVENTS} one WHERE one.clinic_id = "  # noqa: S608
_SAME_PLACE = f"{_HAS_EVENTS} NEW.clinic_id AND one.seq = NEW.seq"


def _update_of(columns: tuple[str, ...]) -> str:
    return "UPDATE OF " + ", ".join(f'"{name}"' for name in columns)


# SQLite's REPLACE deletes what stands in its way without asking a trigger that watches deletions,
# so a row that would stand in the way is refused as well.
REFUSALS = (
    Refusal("audit_event_stands", _update_of(CONTENT), EVENTS, "1 = 1"),
    Refusal(
        "audit_seal_stands", _update_of(SEAL), EVENTS,
        f"OLD.seq IS NOT NULL OR EXISTS ({_SAME_PLACE})",
    ),
    Refusal("audit_network_stands", _update_of(NETWORK), EVENTS, "1 = 1"),
    Refusal("audit_event_stays", "DELETE", EVENTS, f"NOT EXISTS ({_OF_DEMO})"),
    Refusal(
        "audit_event_begins_unsealed", "INSERT", EVENTS,
        f"NEW.seq IS NOT NULL OR EXISTS ({_SAME_ID})",
    ),
    Refusal(
        "audit_chain_begins_empty", "INSERT", CHAINS,
        f"NEW.seq <> 0 OR EXISTS ({_SAME_CHAIN}) "
        f"OR (NEW.is_demo AND EXISTS ({_HAS_EVENTS} NEW.clinic_id))",
    ),
    Refusal(
        "audit_chain_goes_on", "UPDATE", CHAINS,
        "NEW.clinic_id <> OLD.clinic_id OR NEW.is_demo <> OLD.is_demo OR NEW.seq < OLD.seq "
        "OR (NEW.seq = OLD.seq AND NEW.hash <> OLD.hash)",
    ),
    Refusal(
        "audit_chain_stays", "DELETE", CHAINS,
        f"NOT OLD.is_demo OR EXISTS ({_HAS_EVENTS} OLD.clinic_id)",
    ),
)  # fmt: skip


def put_up(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    """Those of the columns that there are so far."""
    connection = schema_editor.connection
    with connection.cursor() as cursor:
        told = connection.introspection.get_table_description(cursor, EVENTS)
    known = {column.name for column in told}
    there = [one for one in REFUSALS if known.issuperset(NETWORK) or "ip_prefix" not in one.event]
    triggers.put_up(schema_editor, *there)


def take_down(apps: Apps, schema_editor: BaseDatabaseSchemaEditor) -> None:
    triggers.take_down(schema_editor, *REFUSALS)
