"""What makes the hot paths quick: SQL written once, JSON put in as it is, readers made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db.models import CharField, UUIDField
from django.db.models.sql.compiler import SQLCompiler

from backend.api.base import Encoded, as_json
from backend.api.fields import In, Whole
from backend.care.models import AssignmentVersion
from backend.clinics.models import User
from backend.problems import ValidationFailed
from backend.queries import AnyGiven, Given, Written
from exercises.models import Exercise
from tests.service.cast import OwnPhone, Staff

# --- Written ----------------------------------------------------------------------------------


def people() -> Written[User]:
    return Written(
        lambda: User.objects.select_related("clinic", "patient").filter(
            pk=Given("id", UUIDField()), is_active=True
        )
    )


@pytest.fixture
def nobody_writes_sql(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    def refuse() -> None:
        def as_sql(*_: object, **__: object) -> None:
            raise AssertionError("SQL is written again")

        monkeypatch.setattr(SQLCompiler, "as_sql", as_sql)

    return refuse


def test_models_come_with_what_they_select(
    ana: Staff, ben: OwnPhone, nobody_writes_sql: Callable[[], None]
) -> None:
    find = people()
    [first] = find(id=ana.user.pk)
    nobody_writes_sql()
    [second] = find(id=ben.patient.user_id)

    assert (first, first.clinic, first.own_patient) == (ana.user, ana.user.clinic, None)
    assert second.patient == ben.patient
    assert second.patient.created_at == ben.patient.created_at
    assert not second._state.adding


def test_an_id_may_be_text_and_may_be_unknown(ana: Staff) -> None:
    find = people()
    assert find(id=str(ana.user.pk)) == [ana.user]
    assert find(id=uuid4()) == []


def test_lists_of_any_length(library: None, nobody_writes_sql: Callable[[], None]) -> None:
    find = Written(
        lambda: (
            Exercise.objects.filter(clinic=None, slug__in=[AnyGiven("slugs", CharField())])
            .order_by("slug")
            .values_list("slug", "id", "cues")
        )
    )
    known = list(Exercise.objects.order_by("slug").values_list("slug", "id", "cues")[:30])
    assert find(slugs=[known[0][0]]) == known[:1]
    nobody_writes_sql()
    assert find(slugs=[row[0] for row in known]) == known
    assert find(slugs=["no-such", known[2][0]]) == [known[2]]


def test_what_is_deferred_is_read_when_it_is_asked_for(plan_of_ben: Any) -> None:
    find = Written(
        lambda: AssignmentVersion.objects.filter(assignment=Given("id", UUIDField())).defer(
            "changes", "prescriptions"
        )
    )
    [version] = find(id=UUID(plan_of_ben["id"]))
    assert version.get_deferred_fields() == {"changes", "prescriptions"}
    assert version.prescriptions


@pytest.mark.django_db(transaction=True)
def test_threads_share_the_sql_and_nothing_else(ana: Staff, ben: OwnPhone) -> None:
    from django.db import connection

    find = people()
    asked = [ana.user.pk, ben.patient.user_id] * 20

    def one(id: UUID) -> UUID:
        try:
            return find(id=id)[0].pk
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(one, asked)) == asked


# --- Encoded ----------------------------------------------------------------------------------


def test_json_is_put_in_where_it_stands() -> None:
    plain = {
        "a": [1, "\\u0000", '"\\u0000"', "ü"],
        "b": {"c": None},
        "d": datetime(2026, 1, 2, tzinfo=UTC),
    }
    written = Encoded(as_json(plain).decode())
    data = {"first": plain, "list": [plain, plain], "text": "\\u0000"}
    same = {"first": written, "list": [written, written], "text": "\\u0000"}
    assert as_json(same) == as_json(data)
    assert json.loads(as_json(same))["list"][1]["a"] == plain["a"]


def test_the_feed_shows_a_record_as_its_own_address_does(ben: OwnPhone, plan_of_ben: Any) -> None:
    """The feed passes the stored text on; the address reads it. Both say the same."""
    session = ben.logs(ben.slot(), plan_of_ben, note='knee: 3 × 10 – "fine", ünd \\u0000 {}')
    check_in = ben.checks_in(note="[1,2]}")

    told = {one["id"]: one.get("data") for one in ben.get("me/sync/changes")["items"]}

    assert told[session["id"]] == ben.get(f"me/sessions/{session['id']}")
    assert told[check_in["id"]] == ben.get(f"me/check-ins/{check_in['id']}")


# --- Readers ----------------------------------------------------------------------------------


class PairIn(In):
    lenient = True

    a = Whole(1, 9)
    b = Whole(1, 9, required=False)


def test_a_reader_keeps_nothing_of_what_it_read() -> None:
    assert PairIn.checked_with_warnings({"a": 1, "x": 0}) == ({"a": 1}, ["unknown-field: x"])
    assert PairIn.checked_with_warnings({"a": 2, "b": 3}) == ({"a": 2, "b": 3}, [])
    with pytest.raises(ValidationFailed):
        PairIn.checked({"b": 3})
    assert PairIn.checked({"b": 3}, partial=True) == {"b": 3}
    with pytest.raises(ValidationFailed):
        PairIn.checked({"b": 3})
