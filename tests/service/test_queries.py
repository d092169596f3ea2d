"""What makes the hot paths quick: SQL written once, JSON put in as it is, readers made once."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, transaction
from django.db.models import CharField, UUIDField
from django.db.models.sql.compiler import SQLCompiler

from backend.api.base import Encoded, as_json, moment
from backend.api.exercises import exercise_shown
from backend.api.fields import In, Whole
from backend.care.models import AssignmentVersion, Change, Revision
from backend.clinics.models import Patient, User
from backend.problems import ValidationFailed
from backend.queries import AnyGiven, Given, IdText, Insert, MomentText, Update, Written
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


# --- Rows that are written, and what is passed on as text ----------------------------------------

AT = datetime(2026, 5, 4, 10, 30, 0, 120_500, tzinfo=UTC)
PLACES = Insert(
    Change, unique=("patient", "type", "object_id"), update=("seq", "version", "deleted", "at")
)


def place(ben: OwnPhone, seq: int, id: UUID, **more: Any) -> Change:
    said = {"type": Change.Type.SESSION, "version": 1, "at": AT, **more}
    return Change(patient=ben.patient, seq=seq, object_id=id, **said)


def test_rows_are_stored_as_django_stores_them(ben: OwnPhone) -> None:
    def revision(number: int) -> Revision:
        return Revision(
            patient=ben.patient, kind=Revision.Kind.SESSION, phone_id=uuid4(), number=number,
            content={"note": "ü 'x' %s", "list": [1, 2.5, None]}, sha256="0" * 64, received_at=AT,
        )  # fmt: skip

    ours, djangos = revision(1), revision(2)
    Insert(Revision)(ours)
    djangos.save()
    first: dict[str, Any]
    second: dict[str, Any]
    first, second = map(dict, Revision.objects.order_by("number").values())
    differ = {name for name in first if first[name] != second[name]}
    assert differ == {"id", "phone_id", "number"}
    assert first["phone_id"] == ours.phone_id
    assert not ours._state.adding


def test_a_row_that_is_there_takes_over_what_it_should(ben: OwnPhone) -> None:
    here, new = uuid4(), uuid4()
    PLACES(place(ben, 1, here))
    later = AT + timedelta(days=1)
    PLACES(place(ben, 2, here, version=7, at=later), place(ben, 3, new, deleted=True))
    rows = Change.objects.order_by("seq").values_list(
        "seq", "object_id", "version", "deleted", "at"
    )
    assert list(rows) == [(2, here, 7, False, later), (3, new, 1, True, AT)]


def test_only_the_named_fields_of_one_row_change(ben: OwnPhone, bea: OwnPhone) -> None:
    patient = Patient.objects.get(pk=ben.patient.pk)
    patient.change_seq, patient.last_received_at, patient.given_name = 41, AT, "Nobody"
    Update(Patient, "change_seq", "last_received_at")(patient)
    read = Patient.objects.get(pk=patient.pk)
    assert (read.change_seq, read.last_received_at) == (41, AT)
    assert read.given_name == ben.patient.given_name
    assert Patient.objects.get(pk=bea.patient.pk).change_seq == bea.patient.change_seq


def test_what_is_refused_is_not_stored(ben: OwnPhone) -> None:
    PLACES(place(ben, 1, uuid4()))
    with pytest.raises(IntegrityError), transaction.atomic():
        PLACES(place(ben, 2, uuid4()), place(ben, 1, uuid4()))
    assert Change.objects.count() == 1


@pytest.mark.parametrize(
    "at", [AT, AT.replace(microsecond=0), AT.replace(microsecond=7), AT.replace(year=1999)]
)
def test_ids_and_instants_come_as_answers_show_them(at: datetime, ben: OwnPhone) -> None:
    id = uuid4()
    PLACES(place(ben, 1, id, at=at))
    rows = Change.objects.values_list(IdText("object_id"), MomentText("at"))
    assert list(rows) == [(str(id), moment(at))]


def test_json_that_is_only_passed_on_is_not_read(library: None) -> None:
    def build() -> Any:
        return Exercise.objects.filter(slug=Given("slug", CharField()))

    slug = Exercise.objects.values_list("slug", flat=True)[0]
    [read], [passed_on] = Written(build)(slug=slug), Written(build, json=Encoded)(slug=slug)
    assert isinstance(passed_on.cues, Encoded)
    assert json.loads(as_json(exercise_shown(passed_on))) == exercise_shown(read)


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
