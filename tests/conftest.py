"""What holds for all tests: what runs once, and that emptying the database is no tampering."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from django.apps import apps
from django.db import connection, transaction
from django.db.backends.base.operations import BaseDatabaseOperations
from django.db.backends.sqlite3.base import DatabaseWrapper

from backend.audit import guards
from tests.roles import as_owner, become_the_owner, become_the_service

# What asks no database, is about what is said and not about rows, or has servers of its own: it ran
# already, without those. `test_same_answers.py` compares what the service says on both.
ONCE = (
    "tests/console/test_accounting.py", "tests/console/test_assigning.py",
    "tests/console/test_browser", "tests/console/test_caseload.py",
    "tests/console/test_charts.py", "tests/console/test_exercises.py",
    "tests/console/test_patient.py", "tests/console/test_patients.py",
    "tests/console/test_protocols.py", "tests/console/test_reviews.py",
    "tests/contract/test_answers.py", "tests/contract/test_description.py",
    "tests/contract/test_examples.py", "tests/contract/test_problems.py",
    "tests/contract/test_schemathesis.py::test_each_request_by_itself", "tests/engine/",
    "tests/library/", "tests/service/test_backups.py::test_what_is_wrong",
    "tests/service/test_bad_bodies.py", "tests/service/test_bench.py",
    "tests/service/test_cases_lived.py",
    "tests/service/test_charted.py", "tests/service/test_conditional.py",
    "tests/service/test_demo.py", "tests/service/test_exports_campaign.py",
    "tests/service/test_gates.py", "tests/service/test_gateways.py",
    "tests/service/test_harder.py",
    "tests/service/test_library_mutants.py", "tests/service/test_mutants_campaign.py",
    "tests/service/test_outages.py", "tests/service/test_pictures.py", "tests/service/test_plan.py",
    "tests/service/test_processes.py", "tests/service/test_publishing.py",
    "tests/service/test_readme.py", "tests/service/test_report_files.py",
    "tests/service/test_same_answers.py",
    "tests/service/test_settings.py", "tests/service/test_simulations.py",
    "tests/service/test_tailoring.py", "tests/service/test_time.py",
)  # fmt: skip


ON_SQLITE = connection.vendor == "sqlite"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not any(os.environ.get(name) for name in ("TEST_DATABASE_URL", "TEST_REDIS_URL")):
        return
    config.hook.pytest_deselected(items=[one for one in items if one.nodeid.startswith(ONCE)])
    items[:] = [one for one in items if not one.nodeid.startswith(ONCE)]


@pytest.fixture(scope="session", autouse=True)
def emptying_is_allowed() -> Iterator[None]:
    """After a test with real transactions the rows are deleted, which the audit refuses. (Django
    truncates on PostgreSQL, where that makes some two hundred files anew.)"""
    operations = DatabaseWrapper.ops_class if ON_SQLITE else connection.ops.__class__
    emptied = operations.execute_sql_flush

    def empty(self: BaseDatabaseOperations, statements: Sequence[str]) -> None:
        if not ON_SQLITE:
            tables = re.findall(r'"\w+"', " ".join(statements))
            with as_owner(), transaction.atomic():
                emptied(self, ["SET LOCAL session_replication_role = replica"])
                emptied(self, [f"DELETE FROM {table}" for table in tables])
            return
        with self.connection.schema_editor() as editor:
            guards.take_down(apps, editor)
        emptied(self, statements)
        with self.connection.schema_editor() as editor:
            guards.put_up(apps, editor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(operations, "execute_sql_flush", empty)
        yield


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """On PostgreSQL the tests may do what the service may, and no more."""
    if ON_SQLITE:
        yield
        return
    with django_db_blocker.unblock():
        become_the_service()
    yield
    with django_db_blocker.unblock():
        become_the_owner()
