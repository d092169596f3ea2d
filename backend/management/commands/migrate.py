"""Django's migrate, after which PostgreSQL keeps clinics apart (docs/postgresql.md)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands import migrate
from django.db import DatabaseError, connections, transaction

from backend import row_security, tenant


class Command(migrate.Command):
    def handle(self, *args: Any, **options: Any) -> None:
        connection = connections[options["database"]]
        looks_only = options["plan"] or options["check_unapplied"]
        if looks_only or connection.vendor != "postgresql":
            super().handle(*args, **options)
            return
        with tenant.nowhere():
            with row_security.lifted(connection):
                super().handle(*args, **options)
            with transaction.atomic(connection.alias), connection.cursor() as cursor:
                changed = row_security.put_up(cursor)
                if settings.APP_DATABASE:
                    self._admit(cursor, settings.APP_DATABASE["USER"])
        if changed and options["verbosity"] > 0:
            self.stdout.write(f"Row-level security: policies of {changed} tables.")

    def _admit(self, cursor: Any, role: str) -> None:
        try:
            row_security.make_role(cursor, role, settings.APP_DATABASE["PASSWORD"])
        except DatabaseError as error:
            raise CommandError(
                f"There is no role {role}, and this one may make none: CREATE ROLE {role} LOGIN "
                "PASSWORD '…'; then migrate again."
            ) from error
        row_security.grant(cursor, role)
