"""Who the tests are on PostgreSQL: a role that owns nothing, as in service; and for a while, who
owns all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from django.db import connection

from backend import row_security, tenant

APP = "rehab_test_app"


def become_the_service() -> None:
    """From the next connection on, in all threads. What a test makes and reads by itself may be of
    any clinic; a request begins nowhere here, too."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(1)")  # processes of tests share the roles
        row_security.make_role(cursor, APP, "")
        cursor.execute("SELECT pg_advisory_unlock(1)")
        row_security.grant(cursor, APP)
    connection.close()
    connection.settings_dict["OPTIONS"]["assume_role"] = APP
    tenant._scope = ContextVar("scope", default=tenant.ALL)


def become_the_owner() -> None:
    connection.close()
    connection.settings_dict["OPTIONS"].pop("assume_role", None)


@contextmanager
def as_owner() -> Iterator[None]:
    """For what only who owns the tables may do; SQLite knows no roles."""
    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET ROLE NONE")
    try:
        yield
    finally:
        if not connection.needs_rollback:
            with connection.cursor() as cursor:
                cursor.execute(f"SET ROLE {APP}")
