"""Below the queries, PostgreSQL keeps clinics apart: what a forgotten filter would show is not
there. SQLite has the queries and the guards of `test_tenancy.py` alone."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.apps import apps
from django.core import management
from django.db import DatabaseError, connection, transaction
from django.db.models import BigAutoField, Model
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from backend import row_security, tenant
from backend.api.models import IdempotencyKey
from backend.audit import chain, guards
from backend.care.models import Assignment, ClosedDay, OfPatientQuerySet
from backend.clinics import tokens
from backend.clinics.models import Clinic, PatientQuerySet, User
from backend.notifications.models import Delivery, Message
from backend.rights.models import Erasure
from exercises.models import ExerciseQuerySet
from protocols.models import DraftQuerySet, ProtocolVersion
from tests.roles import as_owner
from tests.service.matrix import World, make_world

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
                assignment=plan, clinic_id=plan.clinic_id, on=plan.start_date, phase_id="phase-1",
                phase_started_on=plan.start_date, colour="GREEN", rule="R15", outcome="hold",
                planned_sets=1, done_sets=1, day={}, after={}, closed_at=now, slots_due=1,
                slots_completed=1, slots_partial=0, slots_skipped=0, slots_excused=0, dose_ratios=1,
            )  # fmt: skip
        for message in Message.objects.all():
            Delivery.objects.create(
                message=message, key=uuid4(), channel="email", status="sent", at=now
            )
        for person in User.objects.exclude(clinic=None):
            IdempotencyKey.objects.create(
                user=person, key=uuid4(), request_sha256="", status=200, created_at=now
            )
        for clinic in (world.harbour, world.foreign):
            Erasure.objects.create(
                clinic_id=clinic.pk, patient_id=uuid4(), reason="ordered", decided_at=now,
                attempt_due_at=now,
            )  # fmt: skip
            someone = User.objects.filter(clinic=clinic).first()
            assert someone is not None
            tokens.make(
                clinic=clinic, by=someone, name="Board", scopes=(), lives=timedelta(days=1), now=now
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
        return rows_of(f"SELECT * FROM {table}{library} LIMIT 1")[0]


def _one(table: str, key: str, value: object) -> dict[str, Any]:
    return rows_of(f"SELECT * FROM {table} WHERE {key} = %s", value)[0]


def rows_of(statement: str, *values: Any) -> list[dict[str, Any]]:
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


@needs_postgresql
def test_a_forgotten_filter_shows_nothing_of_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leaks that the matrix finds where only queries keep clinics apart."""
    elsewhere = world.ids["elsewhere"]
    for queryset in (PatientQuerySet, OfPatientQuerySet, ExerciseQuerySet, DraftQuerySet):
        monkeypatch.setattr(queryset, "visible_to", lambda rows, person: rows.all())
    for path in ("patients/{patient}", "assignments/{assignment}", "exercises/{exercise}"):
        world.ana.get(path.format(**elsewhere), 404)
        world.ana.get(path.format(**world.ids["peer"]))
    for path in ("patients", "exercises?q=stretch", "protocols?status=draft", "flags"):
        assert "Ottomark" not in str(world.ana.get(path))
