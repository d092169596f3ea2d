"""Row-level security on PostgreSQL: which rows are a tenant's, and what a role may do to them.

The policies follow from the models, so a new table has one as soon as it is there: `migrate` puts
up what is missing. A test says which tables have none, and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import structlog
from django.apps import apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.db.models import Field, ForeignKey, Model, UUIDField

from backend.tenant import CLINIC, EVERYWHERE, PATIENT

OURS = ("backend", "exercises", "protocols")
CLINICS, PATIENTS, PEOPLE = "clinics_clinic", "clinics_patient", "clinics_user"

# What belongs to no tenant, or is read before it is known who somebody is.
TENANTLESS = {
    CLINICS: "names of clinics, and what they chose; nothing of a patient",
    PEOPLE: "accounts: by these it is found out who somebody is, and whose",
    "clinics_passwordtries": "tries, under a hash",
    "health_heartbeat": "signs of life",
}

# What is written and not changed any more, but for these columns.
APPENDED = {"audit_auditevent": ("seq", "hash", "sealed_at"), "audit_chain": ("seq", "hash")}

# Once a query, not once a row.
_OF_CLINIC = f"(SELECT NULLIF(current_setting('{CLINIC}', true), '')::uuid)"
_OF_PATIENT = f"(SELECT NULLIF(current_setting('{PATIENT}', true), '')::uuid)"
_EVERYWHERE = f"(SELECT current_setting('{EVERYWHERE}', true) = 'on')"

_log = structlog.stdlib.get_logger("backend.row_security")


@dataclass(frozen=True, slots=True)
class Policy:
    """`command` on a row of `table` where this holds; for what is written, too."""

    table: str
    name: str
    command: str
    condition: str

    @property
    def statement(self) -> str:
        checked = "" if self.command == "SELECT" else f" WITH CHECK ({self.condition})"
        return (
            f"CREATE POLICY {self.name} ON {self.table} FOR {self.command} "
            f"USING ({self.condition}){checked}"
        )

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.statement.encode()).hexdigest()


def policies() -> dict[str, tuple[Policy, ...]]:
    """Those of each table of a tenant."""
    found = {one._meta.db_table: policies_of(one) for one in our_models()}
    return {table: some for table, some in found.items() if some}


def our_models() -> list[type[Model]]:
    return [one for one in apps.get_models() if one.__module__.partition(".")[0] in OURS]


def policies_of(model: type[Model]) -> tuple[Policy, ...]:
    """None where nothing leads from the table to a clinic."""
    table = model._meta.db_table
    owner = None if table in TENANTLESS else owner_of(model)
    if owner is None:
        return ()
    own = f"{table}.{owner.column}"
    if _target(owner) == PEOPLE:
        one = f"SELECT 1 FROM {PEOPLE} one WHERE one.id = {own} AND one.clinic_id = {_OF_CLINIC}"  # noqa: S608
        return (_of_all(table, f"{_EVERYWHERE} OR EXISTS ({one})"),)
    if _target(owner) in (CLINICS, None):
        condition = f"{own} = {_OF_CLINIC} OR {_EVERYWHERE}"
        if not owner.null:
            return (_of_all(table, condition),)
        library = f"{own} IS NULL AND {_OF_CLINIC} IS NOT NULL"
        return (_of_all(table, condition), Policy(table, "library", "SELECT", library))
    one = f"SELECT 1 FROM {_target(owner)} one WHERE one.id = {own}"  # noqa: S608
    condition = f"{_EVERYWHERE} OR EXISTS ({one})"
    if _target(owner) == PATIENTS:
        condition = f"{own} = {_OF_PATIENT} OR {condition}"
    return (_of_all(table, condition),)


def _of_all(table: str, condition: str) -> Policy:
    return Policy(table, "of_the_tenant", "ALL", condition)


def owner_of(model: type[Model]) -> Field[Any, Any] | None:
    """The column that leads to the clinic, on the shortest way."""
    fields = {one.name: one for one in model._meta.concrete_fields}
    for name in ("clinic", "clinic_id"):
        if name in fields and (_target(fields[name]) == CLINICS or _is_id(fields[name])):
            return fields[name]
    leading = [
        one
        for one in fields.values()
        if isinstance(one, ForeignKey) and not one.null and one.related_model is not model
    ]
    for wanted in (PATIENTS, *_tenants_besides(leading)):
        for one in leading:
            if _target(one) == wanted:
                return one
    return fields["user"] if "user" in fields and _target(fields["user"]) == PEOPLE else None


def _tenants_besides(leading: list[ForeignKey[Any, Any]]) -> Iterator[str]:
    for one in leading:
        table = _target(one)
        related = one.related_model
        if table not in TENANTLESS and isinstance(related, type) and owner_of(related) is not None:
            yield str(table)


def _target(field: Field[Any, Any]) -> str | None:
    related = field.related_model
    return related._meta.db_table if isinstance(related, type) else None


def _is_id(field: Field[Any, Any]) -> bool:
    return isinstance(field, UUIDField)


# --- Putting up -------------------------------------------------------------------------------


def put_up(cursor: CursorWrapper) -> int:
    """Make the policies that are missing or not as they should be; says of how many tables."""
    cursor.execute(
        "SELECT c.relname, c.relrowsecurity AND c.relforcerowsecurity, p.polname, "
        "obj_description(p.oid, 'pg_policy') FROM pg_class c "
        "LEFT JOIN pg_policy p ON p.polrelid = c.oid "
        "WHERE c.relkind IN ('r', 'p') AND c.relnamespace = current_schema()::regnamespace"
    )
    there: dict[str, dict[str, str]] = {}
    secured = set()
    for table, is_secured, name, digest in cursor.fetchall():
        there.setdefault(table, {}).update({name: digest or ""} if name else {})
        secured |= {table} if is_secured else set()
    changed = 0
    for table, wanted in policies().items():
        if table not in there:
            continue  # of a migration that is still to come
        now = {one.name: one.digest for one in wanted}
        if there[table] == now and table in secured:
            continue
        changed += 1
        for name in there[table]:
            cursor.execute(f"DROP POLICY {name} ON {table}")
        for one in wanted:
            cursor.execute(one.statement)
            cursor.execute(f"COMMENT ON POLICY {one.name} ON {table} IS '{one.digest}'")
        cursor.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        cursor.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    return changed


@contextmanager
def lifted(connection: BaseDatabaseWrapper) -> Iterator[None]:
    """For migrations, which are about all rows, and some of whose statements stand alone."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT set_config('{EVERYWHERE}', 'on', false)")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT set_config('{EVERYWHERE}', '', false)")


# --- Roles ------------------------------------------------------------------------------------


def grant(cursor: CursorWrapper, role: str) -> None:
    """All that the service does to rows, for a role that owns nothing. The audit is written and
    sealed, and the tables stay as they are."""
    quoted = cursor.db.ops.quote_name(role)
    everything = "ALL TABLES IN SCHEMA " + _schema(cursor)
    for statement in (
        f"GRANT USAGE ON SCHEMA {_schema(cursor)} TO {quoted}",
        f"GRANT SELECT, INSERT, UPDATE, DELETE ON {everything} TO {quoted}",
        f"GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA {_schema(cursor)} TO {quoted}",
        f"REVOKE INSERT, UPDATE, DELETE ON django_migrations FROM {quoted}",
        *(f"REVOKE UPDATE, DELETE ON {table} FROM {quoted}" for table in APPENDED),
        *(
            f"GRANT UPDATE ({', '.join(columns)}) ON {table} TO {quoted}"
            for table, columns in APPENDED.items()
        ),
    ):
        cursor.execute(statement)


def _schema(cursor: CursorWrapper) -> str:
    cursor.execute("SELECT current_schema()")
    [name] = cursor.fetchone()
    return str(cursor.db.ops.quote_name(name))


def make_role(cursor: CursorWrapper, role: str, password: str) -> bool:
    """A role that signs in and owns nothing, where there is none of that name."""
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role])
    if cursor.fetchone():
        return False
    cursor.execute(
        f"CREATE ROLE {cursor.db.ops.quote_name(role)} LOGIN NOSUPERUSER NOCREATEDB "
        "NOCREATEROLE NOBYPASSRLS PASSWORD %s",
        [password],
    )
    return True


def why_unsafe(cursor: CursorWrapper) -> str:
    """Why row-level security would not hold the role of this connection; empty where it does."""
    cursor.execute(
        "SELECT current_user, rolsuper, rolbypassrls, EXISTS (SELECT 1 FROM pg_class c "
        "WHERE c.relname = ANY(%s) AND c.relkind IN ('r', 'p') "
        "AND c.relnamespace = current_schema()::regnamespace "
        "AND pg_has_role(current_user, c.relowner, 'MEMBER')) "
        "FROM pg_roles WHERE rolname = current_user",
        [list(policies())],
    )
    role, is_superuser, bypasses, owns = cursor.fetchone()
    for is_so, said in (
        (is_superuser, "is superuser"),
        (bypasses, "bypasses row-level security"),
        (owns, "owns the tables"),
    ):
        if is_so:
            return f"the database role {role} {said}"
    return ""


def refuse_a_role_that_sees_all(connection: BaseDatabaseWrapper) -> None:
    if connection.vendor != "postgresql":
        return
    with connection.cursor() as cursor:
        why = why_unsafe(cursor)
    if not why:
        return
    if not settings.ANY_DATABASE_ROLE:
        raise ImproperlyConfigured(
            f"{why}, so clinics are not kept apart by the database; see docs/postgresql.md, or set "
            "ANY_DATABASE_ROLE=1."
        )
    _log.warning("clinics are kept apart by queries alone", why=why)
