"""Below the queries, PostgreSQL keeps clinics apart: what a forgotten filter would show is not
there. SQLite has the queries and the guards of `test_tenancy.py` alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.apps import apps
from django.core import management
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, ProgrammingError, connection, transaction
from django.db.models import BigAutoField, Model
from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from django.utils import timezone
from pytest_django import DjangoDbBlocker, Settings

import manage
from backend import row_security, tasks, tenant
from backend.api.models import IdempotencyKey
from backend.audit import chain, guards
from backend.care import deciding, reviewing
from backend.care.models import Assignment, ClosedDay
from backend.clinics.models import Clinic, Patient, User
from backend.notifications import announcing, planning
from backend.notifications.models import Delivery, Message
from backend.reports import exports
from backend.tenant import ALL, NOWHERE, Scope
from protocols.models import ProtocolVersion
from tests.roles import APP, as_owner
from tests.service.cast import OwnPhone, Staff, make_export, make_patient, make_staff
from tests.service.matrix import World, make_world
from tests.service.test_settings import run

ON_POSTGRESQL = connection.vendor == "postgresql"
needs_postgresql = pytest.mark.skipif(not ON_POSTGRESQL, reason="SQLite has no roles and policies")
TENANTS = {
    one._meta.db_table: one for one in row_security.our_models() if row_security.policies_of(one)
}
LIBRARIES = ("exercises_exercise", "protocols_protocolversion")

# Tables that came with libraries: none knows a clinic or a patient.
OF_LIBRARIES = {
    "django_admin_log", "auth_permission", "auth_group", "auth_group_permissions",
    "django_content_type", "django_session", "account_emailaddress", "account_emailconfirmation",
    "mfa_authenticator", "usersessions_usersession", "clinics_user_groups",
    "clinics_user_user_permissions",
}  # fmt: skip


def count(table: str) -> int:
    """As whoever forgot everything would ask."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        found: int = cursor.fetchone()[0]
    return found


def way_of(model: type[Model]) -> str:
    """The column that leads to the clinic."""
    owner = row_security.owner_of(model)
    assert owner is not None
    return str(owner.column)


# --- Which tables, and whose ------------------------------------------------------------------


def test_every_table_is_a_tenants_or_it_is_said_why_not() -> None:
    """A new table that nothing leads to a clinic from has to be thought about."""
    tables = {one._meta.db_table for one in apps.get_models(include_auto_created=True)}

    assert tables - TENANTS.keys() == row_security.TENANTLESS.keys() | OF_LIBRARIES
    assert row_security.policies().keys() == TENANTS.keys()


def test_what_leads_to_the_clinic() -> None:
    ways = {table: way_of(model) for table, model in TENANTS.items()}
    usual = ("clinic_id", "patient_id")
    others = {table: way for table, way in ways.items() if way not in usual}

    assert others == {
        "care_assignmentversion": "assignment_id",
        "care_pause": "assignment_id",
        "care_closedday": "assignment_id",
        "notifications_delivery": "message_id",
        "reports_exportpart": "export_id",
        "api_idempotencykey": "user_id",
    }


def test_what_is_only_added_to_is_what_the_audit_guards() -> None:
    assert row_security.APPENDED == {guards.EVENTS: guards.SEAL, guards.CHAINS: ("seq", "hash")}


@needs_postgresql
@pytest.mark.django_db
def test_the_policies_are_in_force() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname, p.polname, c.relrowsecurity, c.relforcerowsecurity "
            "FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid"
        )
        found = cursor.fetchall()

    assert {(table, name) for table, name, _, _ in found} == {
        (table, one.name) for table, some in row_security.policies().items() for one in some
    }
    assert all(enabled and forced for _, _, enabled, forced in found)


@needs_postgresql
@pytest.mark.django_db
def test_what_is_missing_is_put_up_again_and_nothing_else_touched() -> None:
    with as_owner(), connection.cursor() as cursor:
        assert row_security.put_up(cursor) == 0
        cursor.execute("DROP POLICY library ON exercises_exercise")
        cursor.execute("ALTER TABLE care_session NO FORCE ROW LEVEL SECURITY")
        cursor.execute("CREATE POLICY loose ON care_event USING (true)")
        assert row_security.put_up(cursor) == 3
        assert row_security.put_up(cursor) == 0


# --- Who sees what ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def built(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[World]:
    """Two clinics with something in every table, made once and never committed."""
    with django_db_blocker.unblock(), transaction.atomic():
        if not ProtocolVersion.objects.exists():  # a test with real transactions emptied it
            management.call_command("load_library", verbosity=0)
        now = timezone.now()
        world = make_world(now)
        for plan in Assignment.objects.all():
            ClosedDay.objects.create(
                assignment=plan, on=plan.start_date, phase_id="phase-1", planned_sets=1,
                phase_started_on=plan.start_date, colour="GREEN", rule="R15", outcome="hold",
                done_sets=1, day={}, after={}, closed_at=now, slots_due=1, slots_completed=1,
                slots_partial=0, slots_skipped=0, slots_excused=0, dose_ratios=1,
            )  # fmt: skip
        for message in Message.objects.all():
            Delivery.objects.create(
                message=message, key=uuid4(), channel="email", status="sent", at=now
            )
        for person in User.objects.exclude(clinic=None):
            IdempotencyKey.objects.create(
                user=person, key=uuid4(), request_sha256="", status=200, created_at=now
            )
        chain.seal(now=now, limit=10_000)
        yield world
        transaction.set_rollback(True)


@pytest.fixture
def world(built: World, db: None) -> World:
    return built


def counts() -> dict[str, int]:
    return {table: count(table) for table in TENANTS}


NOTHING = dict.fromkeys(TENANTS, 0)


@needs_postgresql
def test_a_session_sees_its_clinic_and_without_one_nothing(world: World) -> None:
    """Not even the library. The sums say that each row is somebody's, and nobody's twice."""
    with tenant.everywhere():
        all_there = counts()
        library = {table: count(f"{table} WHERE clinic_id IS NULL") for table in LIBRARIES}
    with tenant.of_clinic(world.harbour.pk):
        ours = counts()
    with tenant.nowhere():
        assert counts() == NOTHING
    with tenant.of_clinic(world.foreign.pk):
        theirs = counts()
    with tenant.of_clinic(uuid4()):
        assert counts() == NOTHING | library

    assert all(theirs[table] > library.get(table, 0) for table in TENANTS), theirs
    assert all(ours[table] > library.get(table, 0) for table in TENANTS), ours
    assert all_there == {
        table: ours[table] + theirs[table] - library.get(table, 0) for table in TENANTS
    }


@needs_postgresql
def test_what_is_of_another_clinic_cannot_be_written(world: World) -> None:
    done = []
    for table, model in TENANTS.items():
        key, way = str(model._meta.pk.column), way_of(model)
        theirs, ours = _one_of(table, world.foreign), _one_of(table, world.harbour)
        with tenant.of_clinic(world.harbour.pk):
            for change in (f"UPDATE {table} SET {way} = {way}", f"DELETE FROM {table}"):
                assert _tried(f"{change} WHERE {key} = %s", theirs[key]) in (0, None), change
            moving = f"UPDATE {table} SET {way} = %s WHERE {key} = %s"
            assert _tried(moving, theirs[way], ours[key]) is None, f"{table} was handed over"
            assert _tried(*_insert(table, model, theirs)) is None, f"{table} was added to"
        with tenant.everywhere():
            assert _one(table, key, theirs[key]) == theirs
        done.append(table)
    assert done == list(TENANTS)


def _one_of(table: str, clinic: Clinic) -> dict[str, Any]:
    library = " WHERE clinic_id IS NOT NULL" if table in LIBRARIES else ""
    with tenant.of_clinic(clinic.pk):
        return _rows(f"SELECT * FROM {table}{library} LIMIT 1")[0]


def _one(table: str, key: str, value: object) -> dict[str, Any]:
    return _rows(f"SELECT * FROM {table} WHERE {key} = %s", value)[0]


def _rows(statement: str, *values: Any) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _insert(table: str, model: type[Model], row: dict[str, Any]) -> tuple[Any, ...]:
    """A copy under another key."""
    key: Any = model._meta.pk
    fresh = {**row, key.column: uuid4()}
    if isinstance(key, BigAutoField):
        del fresh[key.column]
    if key.column == way_of(model):
        fresh[key.column] = row[key.column]
    names = ", ".join(f'"{name}"' for name in fresh)
    places = ", ".join(["%s"] * len(fresh))
    return (f"INSERT INTO {table} ({names}) VALUES ({places})", *fresh.values())


REFUSED = ("row-level security", "permission denied", "_stays", "audit_")


def _tried(statement: str, *values: Any) -> int | None:
    """How many rows it changed; None where the database refused."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, values)
            changed: int = cursor.rowcount
    except DatabaseError as error:
        if not any(reason in str(error) for reason in REFUSED):
            raise
        return None
    return changed


@needs_postgresql
def test_the_library_is_read_by_all_and_written_by_none(world: World) -> None:
    with tenant.of_clinic(world.harbour.pk):
        for table in LIBRARIES:
            assert count(f"{table} WHERE clinic_id IS NULL") > 0
            assert _tried(f"UPDATE {table} SET title = 'Ours' WHERE clinic_id IS NULL") == 0
            assert _tried(f"DELETE FROM {table} WHERE clinic_id IS NULL") == 0


# --- What is left on a connection -------------------------------------------------------------


def _said() -> list[str]:
    """What the settings are, asked without saying anything first."""
    names = (tenant.CLINIC, tenant.PATIENT, tenant.EVERYWHERE)
    asked = ", ".join(f"coalesce(current_setting('{name}', true), '')" for name in names)
    with tenant.nowhere():
        [row] = _rows(f"SELECT ARRAY[{asked}] AS said")
    said: list[str] = row["said"]
    return said


@needs_postgresql
@pytest.mark.django_db(transaction=True)
def test_nothing_is_left_of_the_request_before(ben: OwnPhone, ana: Staff) -> None:
    """On the same connection, after reads and writes, with and without an error."""
    backend = _rows("SELECT pg_backend_pid()")
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
    assert _rows("SELECT pg_backend_pid()") == backend


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
        (tasks, "call_command"), (tasks, "forget_old_keys"),
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
