"""The audit can be added to and proved; the database refuses everything else, in raw SQL too."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import StringIO
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from backend import tasks
from backend.audit import chain, guards
from backend.audit.actions import begin_demo, note_command
from backend.audit.models import AuditEvent, Chain
from backend.clinics.models import Clinic
from tests.roles import as_owner
from tests.service.cast import OwnPhone, Staff
from tests.service.racing import at_once
from tests.service.test_tenancy import plain

CLINIC, OTHER = UUID(int=1), UUID(int=2)
NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


def write(count: int = 1, clinic: UUID = CLINIC, **said: Any) -> list[UUID]:
    """New events, a second apart; their ids in order."""
    before = set(AuditEvent.objects.values_list("pk", flat=True))
    known = {"command": "test", "action": "test", "clinic_id": clinic, "run": uuid4()}
    for number in range(count):
        note_command(**{**known, "now": NOON + timedelta(seconds=number), **said})
    new = AuditEvent.objects.exclude(pk__in=before).order_by("at")
    return list(new.values_list("pk", flat=True))


def seal(limit: int = 10_000) -> int:
    return chain.seal(now=NOON + timedelta(hours=1), limit=limit)


def sql(statement: str, *values: Any) -> None:
    """In raw SQL, by the owner of the tables: the service's own role may do less."""
    bound = [plain(value) if isinstance(value, UUID) else value for value in values]
    with as_owner(), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, bound)


# --- The database refuses ---------------------------------------------------------------------

OTHERWISE: dict[str, object] = {
    "id": uuid4(), "at": "2020-01-01 00:00:00+00", "clinic_id": OTHER, "actor_id": uuid4(),
    "actor_role": "x", "action": "x", "patient_id": uuid4(), "object_id": uuid4(),
    "listed": '["x"]', "outcome": "denied", "request_id": uuid4(), "before": '{"a": 1}',
    "after": '{"a": 1}', "seq": 7, "hash": "x", "sealed_at": "2020-01-01 00:00:00+00",
    "ip_prefix": "10.0.0.0/24",
}  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("column", OTHERWISE)
def test_what_was_written_is_not_changed(column: str) -> None:
    [event] = write()
    change = f'UPDATE audit_auditevent SET "{column}" = %s WHERE id = %s'
    if column in (*guards.CONTENT, *guards.NETWORK):
        with pytest.raises(IntegrityError, match=r"audit_(event|network)_stands"):
            sql(change, OTHERWISE[column], event)
    seal()
    with pytest.raises(IntegrityError, match="_stands"):
        sql(change, OTHERWISE[column], event)


def test_every_column_is_watched_and_hashed() -> None:
    """A column that is added later is added there as well."""
    columns = {field.attname for field in AuditEvent._meta.concrete_fields}

    assert columns == OTHERWISE.keys() == {*guards.CONTENT, *guards.NETWORK, *guards.SEAL}
    assert {*chain.HASHED, *guards.NETWORK, "hash"} == columns


@pytest.mark.django_db
def test_nothing_is_deleted_and_nothing_begins_sealed() -> None:
    first, second = write(2)
    seal()
    with pytest.raises(IntegrityError, match="audit_event_stays"):
        sql("DELETE FROM audit_auditevent WHERE id = %s", first)
    with pytest.raises(IntegrityError), as_owner(), transaction.atomic():
        AuditEvent.objects.all().delete()
    forged = AuditEvent.objects.get(pk=second)
    forged.pk, forged.seq, forged._state.adding = uuid4(), 3, True
    with pytest.raises(IntegrityError, match="begins_unsealed"), transaction.atomic():
        forged.save(force_insert=True)
    assert AuditEvent.objects.count() == 2


@pytest.mark.django_db
@pytest.mark.skipif("connection.vendor != 'sqlite'", reason="PostgreSQL has no REPLACE")
def test_replacing_is_refused_like_deleting() -> None:
    first, second = write(2)
    seal()
    [third] = write()
    copied = "INSERT OR REPLACE INTO audit_auditevent SELECT * FROM audit_auditevent WHERE id = %s"
    with pytest.raises(IntegrityError, match="begins_unsealed"):
        sql(copied, first)
    with pytest.raises(IntegrityError, match="audit_seal_stands"):
        sql("UPDATE OR REPLACE audit_auditevent SET seq = 2 WHERE id = %s", third)
    with pytest.raises(IntegrityError, match="audit_chain_begins_empty"):
        sql("INSERT OR REPLACE INTO audit_chain VALUES (%s, 0, '', false)", CLINIC)
    assert AuditEvent.objects.filter(pk__in=[first, second, third]).count() == 3


@pytest.mark.django_db
@pytest.mark.parametrize(
    "change",
    ["seq = 1", "seq = 0, hash = ''", "hash = 'x'", "is_demo = true"],
)
def test_the_end_of_a_chain_only_moves_on(change: str) -> None:
    write(2)
    seal()
    with pytest.raises(IntegrityError, match="audit_chain_goes_on"):
        sql(f"UPDATE audit_chain SET {change} WHERE clinic_id = %s", CLINIC)
    with pytest.raises(IntegrityError, match="audit_chain_stays"):
        sql("DELETE FROM audit_chain WHERE clinic_id = %s", CLINIC)


def refusals() -> set[str]:
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        return {row[0] for row in cursor.fetchall() if row[0].startswith("audit_")}


@pytest.mark.django_db(transaction=True)
def test_the_triggers_are_there_and_can_be_made_again() -> None:
    """As a migration does that changes these tables."""
    expected = {one.name for one in guards.REFUSALS}
    assert refusals() == expected
    for change, left in ((guards.take_down, set()), (guards.put_up, expected)) * 2:
        with as_owner(), connection.schema_editor() as editor:
            change(apps, editor)
        assert refusals() == left


# --- A demo -----------------------------------------------------------------------------------


@pytest.mark.django_db
def test_a_demo_may_be_deleted_and_nothing_becomes_one() -> None:
    begin_demo(clinic_id=CLINIC)
    write(2)
    seal()
    write(1)
    write(1, OTHER)
    with as_owner():
        with pytest.raises(IntegrityError, match="audit_chain_stays"), transaction.atomic():
            Chain.objects.all().delete()  # its events go first
        AuditEvent.objects.filter(clinic_id=CLINIC).delete()
        Chain.objects.filter(clinic_id=CLINIC).delete()
    assert AuditEvent.objects.get().clinic_id == OTHER

    with pytest.raises(IntegrityError, match="audit_chain_begins_empty"), transaction.atomic():
        begin_demo(clinic_id=OTHER)
    seal()
    with pytest.raises(IntegrityError), transaction.atomic():
        begin_demo(clinic_id=OTHER)


# --- Sealing ----------------------------------------------------------------------------------


def links(clinic: UUID = CLINIC) -> list[tuple[int | None, str]]:
    rows = AuditEvent.objects.filter(clinic_id=clinic).order_by("seq")
    return list(rows.values_list("seq", "hash"))


@pytest.mark.django_db
def test_each_event_is_sealed_once_in_the_order_of_its_clinic(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(chain, "A_BATCH", 3)
    ids = write(7)
    write(2, OTHER)
    assert seal() == 9
    first = links()
    assert [seq for seq, _ in first] == list(range(1, 8))
    assert list(AuditEvent.objects.filter(clinic_id=CLINIC).order_by("seq")
                .values_list("pk", flat=True)) == ids  # fmt: skip
    assert len({hash for _, hash in first + links(OTHER)}) == 9
    assert seal() == 0

    write(1, now=NOON - timedelta(days=1))  # committed late: it goes behind
    assert seal() == 1
    assert links()[:7] == first
    assert Chain.objects.get(pk=CLINIC).seq == 8
    assert links()[-1] == (8, Chain.objects.get(pk=CLINIC).hash)


@pytest.mark.django_db
def test_a_sweep_seals_so_many_and_the_next_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "A_BATCH", 2)
    write(5)
    assert [seal(limit=3), seal(limit=3)] == [4, 1]


def test_a_hash_can_be_made_without_us() -> None:
    event = AuditEvent(
        id=UUID(int=3), at=NOON, clinic_id=CLINIC, actor_role="proposals", outcome="ok",
        action="proposals_switch", request_id=UUID(int=9), before={"on": False},
        after={"on": True}, seq=2, sealed_at=NOON + timedelta(microseconds=5),
    )  # fmt: skip
    told = (
        '{"action":"proposals_switch","actor_id":null,"actor_role":"proposals",'
        '"after":{"on":true},"at":"2026-03-10T12:00:00.000000+00:00","before":{"on":false},'
        '"clinic_id":"00000000-0000-0000-0000-000000000001","format":1,'
        '"id":"00000000-0000-0000-0000-000000000003","listed":[],"object_id":null,"outcome":"ok",'
        '"patient_id":null,"request_id":"00000000-0000-0000-0000-000000000009",'
        '"sealed_at":"2026-03-10T12:00:00.000005+00:00","seq":2}'
    )
    before = "0" * 64
    assert chain.digest(before, event) == sha256(f"{before}\n{told}".encode()).hexdigest()


@pytest.mark.django_db(transaction=True)
def test_many_may_seal_at_once_while_others_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "A_BATCH", 5)

    def writes(number: int) -> Callable[[], int]:
        def run() -> int:
            for second in range(10):
                note_command(
                    command="test", action=f"{number}", clinic_id=CLINIC, run=uuid4(),
                    now=NOON + timedelta(seconds=second),
                )  # fmt: skip
            return 0

        return run

    write(20)
    at_once(*(writes(number) for number in range(4)), *([seal] * 4))
    seal()
    assert [seq for seq, _ in links()] == list(range(1, 61))
    assert chain.verify(clinic_id=CLINIC, step=lambda _: None).broken is None


@pytest.mark.django_db(transaction=True)
def test_whoever_writes_does_not_wait_for_sealing() -> None:
    """A request that holds nothing but its own new row commits while a batch is being sealed."""
    if connection.vendor == "sqlite":
        pytest.skip("all writers of SQLite wait for each other")
    write(2)
    seal()
    write(3)
    with transaction.atomic():
        assert seal() == 3
        at_once(lambda: write(1, clinic=CLINIC))
        assert at_once(seal) == [0], "the end is taken; nobody waits for it either"
    assert seal() == 1


@pytest.mark.django_db
def test_the_sweep_seals(ana: Staff, ben: OwnPhone, harbour: Clinic) -> None:
    ana.get(f"patients/{ben.patient.pk}")
    tasks.seal_audit()
    assert AuditEvent.objects.get().seq == 1


# --- Proving ----------------------------------------------------------------------------------


def verify(*words: str) -> tuple[int, str]:
    out, code = StringIO(), 0
    try:
        call_command("audit", "verify", *words, stdout=out)
    except SystemExit as end:
        code = int(str(end.code))
    return code, out.getvalue()


@contextmanager
def unguarded() -> Iterator[None]:
    """By whoever owns the database."""
    with as_owner(), connection.schema_editor() as editor:
        guards.take_down(apps, editor)
    yield
    with as_owner(), connection.schema_editor() as editor:
        guards.put_up(apps, editor)


def test_what_was_sealed_is_proved(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "A_BATCH", 4)
    write(9, patient_id=uuid4(), before={"a": False, "b": None}, after={"å": "ö", "n": 3})
    seal()
    write(2)
    code, said = verify()

    assert code == 0
    last = Chain.objects.get().hash
    assert said == (
        f"clinic {CLINIC}: 9 events stand as sealed, 2 wait to be sealed; the last hash is {last}\n"
    )


def test_without_events_there_is_nothing_to_prove(db: None) -> None:
    assert verify() == (0, "")
    with pytest.raises(CommandError, match="No event"):
        verify("--clinic", str(CLINIC))
    write()
    assert verify("--clinic", str(CLINIC))[1].endswith(
        "0 events stand as sealed, 1 wait to be sealed\n"
    )


EVENT = "UPDATE audit_auditevent SET"
SWAPPED = [
    f"{EVENT} seq = 100 WHERE seq = 3",
    f"{EVENT} seq = 3 WHERE seq = 4",
    f"{EVENT} seq = 4 WHERE seq = 100",
]


@pytest.mark.parametrize(
    ("tampering", "broken"),
    [
        ([f"{EVENT} action = 'x' WHERE seq = 3"], "broken at 3, event ID: it is not what"),
        ([f"{EVENT} listed = '[\"x\"]' WHERE seq = 1"], "broken at 1, event ID: it is not"),
        ([f"{EVENT} actor_id = request_id WHERE seq = 8"], "broken at 8, event ID: it is not"),
        ([f"{EVENT} sealed_at = at WHERE seq = 8"], "broken at 8, event ID: it is not"),
        (["DELETE FROM audit_auditevent WHERE seq = 3"], "broken at 3: it is missing; 4 is"),
        (["DELETE FROM audit_auditevent WHERE seq = 1"], "broken at 1: it is missing; 2 is"),
        (["DELETE FROM audit_auditevent WHERE seq > 6"], "broken at 7: it is missing"),
        (["DELETE FROM audit_auditevent"], "broken at 1: it is missing"),
        (SWAPPED, "broken at 3, event ID: it is not what"),
        ([f"{EVENT} hash = 'x' WHERE seq = 5"], "broken at 5, event ID: it is not what"),
        ([f"{EVENT} seq = 0 WHERE seq = 8"], "broken at 1: it is missing; 0 is the next"),
        (["UPDATE audit_chain SET hash = 'x'"], "broken at 8, event ID: the chain ended"),
        (["UPDATE audit_chain SET seq = 7"], "broken at 7, event ID: the chain ended with"),
        (["UPDATE audit_chain SET seq = 9"], "broken at 9: it is missing"),
        (["DELETE FROM audit_chain"], "broken at 8: the chain ends before it"),
    ],
)  # fmt: skip
@pytest.mark.django_db(transaction=True)
def test_what_was_tampered_with_is_found(
    monkeypatch: pytest.MonkeyPatch, tampering: list[str], broken: str
) -> None:
    monkeypatch.setattr(chain, "A_BATCH", 3)
    write(8)
    write(2, OTHER)
    seal()
    with unguarded():
        for statement in tampering:
            sql(f"{statement} {'AND' if 'WHERE' in statement else 'WHERE'} clinic_id = %s", CLINIC)
    code, said = verify()

    told, whole = said.splitlines()
    assert code == 1
    assert re.sub(r"event [0-9a-f-]{36}", "event ID", told).startswith(f"clinic {CLINIC}: {broken}")
    assert whole.startswith(f"clinic {OTHER}: 2 events stand")
    assert verify("--clinic", str(OTHER))[0] == 0


@pytest.mark.django_db(transaction=True)
def test_a_chain_that_was_made_anew_has_other_hashes() -> None:
    """Whoever owns the database can make a whole chain; only a hash kept elsewhere tells."""
    write(4)
    seal()
    kept = links()
    with unguarded():
        sql("UPDATE audit_auditevent SET actor_role = 'x' WHERE seq = 2")
        sql("UPDATE audit_auditevent SET seq = NULL, hash = ''")
        sql("DELETE FROM audit_chain")
    seal()
    assert verify()[0] == 0
    assert [hash for _, hash in links()][1:] != [hash for _, hash in kept][1:]
    assert links()[0] == kept[0]


@pytest.mark.django_db
def test_proving_takes_as_many_queries_as_batches(
    monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    monkeypatch.setattr(chain, "A_BATCH", 10)
    write(35)
    seal()
    with django_assert_num_queries(4 + 3):  # batches; the end before and after, what waits
        assert chain.verify(clinic_id=CLINIC, step=lambda _: None).seq == 35


def test_a_sealed_moment_is_now(db: None) -> None:
    write()
    now = timezone.now()
    chain.seal(now=now, limit=10)
    assert AuditEvent.objects.get().sealed_at == now
