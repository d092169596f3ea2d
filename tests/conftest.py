"""What holds for all tests: emptying the database between them is nobody's tampering."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pytest
from django.apps import apps
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.backends.sqlite3.base import DatabaseWrapper

from backend.audit import guards


@pytest.fixture(scope="session", autouse=True)
def emptying_is_allowed() -> Iterator[None]:
    """After a test with real transactions PostgreSQL truncates, which asks no trigger; SQLite
    deletes the rows, which the audit refuses."""
    operations = DatabaseWrapper.ops_class
    emptied = operations.execute_sql_flush

    def empty(self: BaseDatabaseOperations, statements: Sequence[str]) -> None:
        with self.connection.schema_editor() as editor:
            guards.take_down(apps, editor)
        emptied(self, statements)
        with self.connection.schema_editor() as editor:
            guards.put_up(apps, editor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "execute_sql_flush", empty)
        yield
