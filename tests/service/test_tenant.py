"""Whose rows a request, a sweep and a command may touch, what is left of that on a connection, and
what the service's role may do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.core import management
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, ProgrammingError, connection, transaction
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import Settings

import manage
from backend import row_security, tasks, tenant
from backend.audit import chain
from backend.care import deciding, reviewing
from backend.clinics.models import Clinic, Patient
from backend.notifications import announcing, planning
from backend.reports import exports
from backend.rights import erasing, retention
from backend.tenant import ALL, NOWHERE, Scope
from tests.roles import APP, as_owner
from tests.service.cast import OwnPhone, Staff, make_export, make_patient, make_staff
from tests.service.test_row_security import (
    NOTHING,
    TENANTS,
    count,
    counts,
    needs_postgresql,
    rows_of,
)
from tests.service.test_settings import run

# --- What is left on a connection -------------------------------------------------------------


def _said() -> list[str]:
    """What the settings are, asked without saying anything first."""
    names = (tenant.CLINIC, tenant.PATIENT, tenant.EVERYWHERE)
    asked = ", ".join(f"coalesce(current_setting('{name}', true), '')" for name in names)
    with tenant.nowhere():
        [row] = rows_of(f"SELECT ARRAY[{asked}] AS said")
    said: list[str] = row["said"]
    return said


@needs_postgresql
@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_of_the_request_before(ben: OwnPhone, ana: Staff) -> None:
    """On the same connection, after reads and writes, with and without an error."""
    backend = rows_of("SELECT pg_backend_pid()")
    for ask in (
        lambda: ben.get("me"),
        lambda: ben.checks_in(),
        lambda: ana.get(f"patients/{ben.patient.pk}"),
        lambda: ana.get(f"patients/{uuid4()}", 404),
        lambda: ana.patch(f"patients/{ben.patient.pk}", {"birth_date": 1}, 422),
    ):
        ask()
        with tenant.nowhere():
            assert counts() == NOTHING
        assert _said() == ["", "", ""]
    assert rows_of("SELECT pg_backend_pid()") == backend


@needs_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_raw_session_of_the_role_sees_nothing(ben: OwnPhone, library: None) -> None:
    at = connection.get_connection_params()
    names = ("host", "port", "user", "password", "dbname")
    place = {name: at[name] for name in names if name in at}
    with psycopg.connect(**place, options=f"-c role={APP}", autocommit=True) as raw:
        for table in TENANTS:
            [found] = raw.execute(f"SELECT count(*) FROM {table}").fetchone() or [None]
            assert found == 0, table
        with raw.transaction():
            raw.execute(f"SET LOCAL rehab.clinic = '{ben.patient.clinic_id}'")
            assert raw.execute("SELECT count(*) FROM clinics_patient").fetchone() == (1,)
        assert raw.execute("SELECT count(*) FROM clinics_patient").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege, match="row-level security"):
            raw.execute(
                "INSERT INTO clinics_device VALUES (gen_random_uuid(), gen_random_uuid(), 'ios', "
                "'', '1', now(), %s, '')",
                [ben.patient.pk],
            )


@needs_postgresql
@pytest.mark.django_db(transaction=True)
def test_a_transaction_is_told_again_when_it_forgot(harbour: Clinic, elsewhere: Clinic) -> None:
    make_patient(harbour, "Ben", timezone.now(), make_staff(harbour, "Ana").user)
    make_patient(elsewhere, "Otto", timezone.now(), make_staff(elsewhere, "Olga").user)
    make_patient(elsewhere, "Oda", timezone.now(), make_staff(elsewhere, "Oskar").user)

    with tenant.of_clinic(harbour.pk), transaction.atomic():
        assert count("clinics_patient") == 1
        with tenant.everywhere():
            assert count("clinics_patient") == 3
        with suppress(ZeroDivisionError), transaction.atomic(), tenant.of_clinic(elsewhere.pk):
            assert count("clinics_patient") == 2
            raise ZeroDivisionError
        assert count("clinics_patient") == 1, "the savepoint took back what was said in it"
        with pytest.raises(DatabaseError), transaction.atomic(), tenant.of_clinic(elsewhere.pk):
            count("nowhere_at_all")
        assert count("clinics_patient") == 1
        with tenant.nowhere():
            assert count("clinics_patient") == 0
    assert _said() == ["", "", ""]


@needs_postgresql
@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_what_is_read_by_a_cursor_of_the_server(harbour: Clinic, in_transaction: bool) -> None:
    make_patient(harbour, "Ben", timezone.now(), make_staff(harbour, "Ana").user)
    for clinic, expected in ((harbour.pk, 1), (uuid4(), 0), (None, 0)):
        whole = transaction.atomic() if in_transaction else nullcontext()
        with tenant.of_clinic(clinic), whole:
            assert len(list(Patient.objects.iterator(chunk_size=1))) == expected
            with connection.cursor() as cursor:
                cursor.executemany("SELECT 1 FROM clinics_patient WHERE id <> %s", [[uuid4()]] * 2)
                assert cursor.rowcount == 2 * expected
    assert _said() == ["", "", ""]


def test_a_request_begins_nowhere_and_ends_there() -> None:
    clinic, seen = uuid4(), []

    def pieces() -> Iterator[bytes]:
        for number in range(2):
            seen.append(tenant.current())
            yield str(number).encode()

    def asked(_: HttpRequest) -> HttpResponseBase:
        seen.append(tenant.current())
        tenant.enter(clinic)
        return StreamingHttpResponse(pieces())

    with tenant.everywhere():
        answer = tenant.Middleware(asked)(RequestFactory().get("/"))
        assert tenant.current() == ALL
    assert isinstance(answer, StreamingHttpResponse)
    outside = tenant.current()
    assert [*answer] == [b"0", b"1"]
    assert tenant.current() == outside
    assert seen == [NOWHERE, Scope(clinic), Scope(clinic)]


def test_an_account_without_a_clinic_is_nowhere() -> None:
    with tenant.nowhere():
        tenant.enter(None, patient_id=uuid4())
        assert tenant.current() == NOWHERE


@pytest.mark.parametrize("said", ["'; DROP TABLE x --", "1", 7])
def test_only_an_id_is_said(said: Any) -> None:
    with pytest.raises(ValueError, match="UUID"):
        _ = Scope(said).said


# --- Who sets it ------------------------------------------------------------------------------


@pytest.mark.parametrize("sweep", tasks.SWEEPS, ids=lambda one: one.__name__)
def test_sweeps_look_everywhere(sweep: Any, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Scope] = []

    def look(*_: Any, **__: Any) -> list[Any]:
        seen.append(tenant.current())
        return []

    for owner, name in (
        (deciding, "due_to_close"), (reviewing, "due_to_expire"), (announcing, "announce"),
        (planning, "due_to_plan"), (tasks, "deliver"), (exports, "due"), (chain, "seal"),
        (tasks, "call_command"), (tasks, "forget_old_keys"), (retention, "decide"),
        (erasing, "due"),
    ):  # fmt: skip
        monkeypatch.setattr(owner, name, look)
    with tenant.nowhere():
        sweep()
        assert tenant.current() == NOWHERE

    assert set(seen) == (set() if sweep.__name__ == "heartbeat" else {ALL})


def test_each_patient_is_acted_for_in_their_clinic(
    ben: OwnPhone, olga: Staff, elsewhere: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    patients = [ben.patient, make_patient(elsewhere, "Otto", timezone.now(), olga.user).patient]
    seen: list[Scope] = []
    monkeypatch.setattr(deciding, "due_to_close", lambda **_: [p.pk for p in patients])
    monkeypatch.setattr(deciding, "close", lambda **_: seen.append(tenant.current()))
    with tenant.nowhere():
        tasks.close_days()

    assert seen == [Scope(one.clinic_id, one.pk) for one in patients]


def test_an_export_is_written_in_its_clinic(
    cleo: Staff, harbour: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    export = make_export(harbour, cleo.user, "Review", timezone.now())
    seen: list[Scope] = []

    def write(**_: Any) -> bool:
        seen.append(tenant.current())
        return False

    monkeypatch.setattr(exports, "due", lambda **_: [export.pk])
    monkeypatch.setattr(exports, "write", write)
    with tenant.nowhere():
        tasks.write_exports()

    assert seen == [Scope(harbour.pk)]


def test_commands_act_for_all_clinics(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(
        management, "execute_from_command_line", lambda _: seen.append(tenant.current())
    )
    with tenant.nowhere():
        manage.main()

    assert seen == [ALL]


# --- Roles ------------------------------------------------------------------------------------


@needs_postgresql
@pytest.mark.django_db
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit_auditevent SET action = 'x'",
        "UPDATE audit_chain SET is_demo = true",
        "DELETE FROM audit_auditevent",
        "DELETE FROM audit_chain",
        "TRUNCATE care_session",
        "ALTER TABLE care_session DISABLE ROW LEVEL SECURITY",
        "DROP POLICY of_the_tenant ON care_session",
        "ALTER TABLE audit_auditevent DISABLE TRIGGER ALL",
        "CREATE TABLE mine (id int)",
        "DELETE FROM django_migrations",
        "ALTER ROLE CURRENT_USER BYPASSRLS",
    ],
)
def test_the_role_changes_no_table_and_no_record(statement: str) -> None:
    with (
        pytest.raises(ProgrammingError, match=r"permission denied|must be (owner|superuser)"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)


@needs_postgresql
@pytest.mark.django_db
def test_a_role_that_would_see_all_is_refused(settings: Settings) -> None:
    settings.ANY_DATABASE_ROLE = False
    row_security.refuse_a_role_that_sees_all(connection)
    with as_owner(), pytest.raises(ImproperlyConfigured, match="is superuser") as refused:
        row_security.refuse_a_role_that_sees_all(connection)
    assert "\n" not in str(refused.value)
    with as_owner(), connection.cursor() as cursor:
        cursor.execute(f"GRANT CREATE ON SCHEMA public TO {APP}")
        cursor.execute(f"ALTER TABLE care_pause OWNER TO {APP}")
    with pytest.raises(ImproperlyConfigured, match="owns the tables"):
        row_security.refuse_a_role_that_sees_all(connection)
    settings.ANY_DATABASE_ROLE = True
    row_security.refuse_a_role_that_sees_all(connection)


def test_migrations_are_made_by_who_owns_the_tables(tmp_path: Path) -> None:
    """And nothing else is."""
    urls = {
        "DATABASE_URL": f"sqlite:///{tmp_path}/service.sqlite3",
        "MIGRATE_DATABASE_URL": f"sqlite:///{tmp_path}/owner.sqlite3",
    }
    said = "from backend import settings; print(settings.DATABASES['default']['NAME'])"
    for command, expected in (("migrate", "owner"), ("check", "service")):
        code = f"import sys; sys.argv = ['manage.py', '{command}']; {said}"
        done = run(tmp_path, "-c", code, DEBUG="1", **urls)
        assert done.stdout.strip() == f"{tmp_path}/{expected}.sqlite3", done.stderr
