"""What lies elsewhere cannot be pointed at: the database itself refuses it, in raw SQL too."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.apps import apps
from django.db import IntegrityError, connection, transaction
from django.forms import modelform_factory
from django.utils import timezone

from backend.care.models import Assignment, ClosedDay, Event, Progression, Session
from backend.clinics import tenancy
from backend.clinics.admin import AccountForm
from backend.clinics.models import Clinic, Patient, PatientIdentifier, User
from protocols.models import ProtocolVersion
from tests.roles import as_owner
from tests.service.cast import (
    OwnPhone,
    Staff,
    make_episode,
    make_patient,
    make_reminder,
    make_staff,
)

REFERENCES = {one.name: one for one in tenancy.REFERENCES}


@dataclass
class Pointing:
    """A row that refers to something, and ids of what it may and may not refer to instead."""

    row: UUID | int
    fitting: UUID
    foreign: UUID
    target: UUID  # what it refers to now
    other_owner: UUID


@pytest.fixture
def pointing(
    ana: Staff,
    ben: OwnPhone,
    bea: OwnPhone,
    olga: Staff,
    harbour: Clinic,
    elsewhere: Clinic,
    plan_of_ben: Any,
    grade_1: ProtocolVersion,
) -> dict[str, Pointing]:
    now = timezone.now()
    dan = make_staff(harbour, "Dan", is_physiotherapist=True)
    otto = make_patient(elsewhere, "Otto", now, olga.user)
    ben.logs(ben.slot(), plan_of_ben)
    bens = Assignment.objects.get()
    copies = {}
    for key, phone, by in (("own", ben, ana), ("peer", bea, ana), ("away", otto, olga)):
        copies[key] = Assignment.objects.create(
            patient=phone.patient, clinic=phone.patient.clinic, protocol_version=grade_1,
            episode=make_episode(phone.patient, by.user, now), side="left",
            start_date=ben.today, start_phase_id="phase-1", assigned_by=ana.user,
            created_at=now, updated_at=now,
        )  # fmt: skip
    free = [make_episode(p.patient, ana.user, now) for p in (ben, bea)]
    versions = [_copy_of(grade_1, clinic) for clinic in (harbour, elsewhere)]
    spare = make_patient(harbour, "Spare", now, ana.user).patient.user
    assert spare is not None
    Patient.objects.filter(user=spare).update(user=None)
    number = PatientIdentifier.objects.create(
        clinic=harbour, patient=ben.patient, system="national", value="1"
    )
    session = Session.objects.get()
    event = Event.objects.create(
        patient=ben.patient, assignment=bens, kind="approved", on=ben.today, at=now, by=ana.user
    )
    proposal = Progression.objects.create(
        patient=ben.patient, assignment=bens, assignment_version=1, recommendation="hold",
        rule="R15", status="withdrawn", from_phase_id="phase-1", to_protocol_version=grade_1,
        on=ben.today, window_from=ben.today, waiting_since=now, computed_at=now, valid_until=now,
    )  # fmt: skip
    closed = ClosedDay.objects.create(
        assignment=bens, clinic=harbour, on=ben.today - timedelta(1), closed_at=now, day={},
        after={}, phase_id="phase-1", phase_started_on=ben.today, colour="GREEN", rule="R15",
        outcome="hold",
        planned_sets=0, done_sets=0, dose_ratios=0, slots_due=0, slots_completed=0,
        slots_partial=0, slots_skipped=0, slots_excused=0,
    )  # fmt: skip
    reminder = make_reminder(ben, now)
    assert ben.patient.user_id
    assert otto.patient.user_id
    bens_user, ottos_user = ben.patient.user_id, otto.patient.user_id
    patient, home, away = ben.patient.pk, elsewhere.pk, bea.patient.pk
    return {
        "clinics_patient_user_id_stays": Pointing(patient, spare.pk, ottos_user, bens_user, home),
        "clinics_patient_physiotherapist_id_stays": Pointing(
            patient, dan.user.pk, olga.user.pk, ana.user.pk, home
        ),
        "clinics_patientidentifier_patient_id_stays": Pointing(
            number.pk, bea.patient.pk, otto.patient.pk, patient, home
        ),
        "care_assignment_episode_id_stays": Pointing(
            bens.pk, free[0].pk, free[1].pk, bens.episode_id, away
        ),
        "care_session_assignment_id_stays": Pointing(
            session.pk, copies["own"].pk, copies["peer"].pk, bens.pk, away
        ),
        "care_assignment_protocol_version_id_stays": Pointing(
            bens.pk, versions[0].pk, versions[1].pk, grade_1.pk, away
        ),
        "care_event_assignment_id_stays": Pointing(
            event.pk, copies["own"].pk, copies["peer"].pk, bens.pk, away
        ),
        "care_progression_assignment_id_stays": Pointing(
            proposal.pk, copies["own"].pk, copies["peer"].pk, bens.pk, away
        ),
        "care_progression_to_protocol_version_id_stays": Pointing(
            proposal.pk, versions[0].pk, versions[1].pk, grade_1.pk, away
        ),
        "notifications_message_patient_id_stays": Pointing(
            reminder.pk, bea.patient.pk, otto.patient.pk, patient, home
        ),
        "care_assignment_patient_id_stays": Pointing(
            bens.pk, patient, otto.patient.pk, patient, home
        ),
        "care_closedday_assignment_id_stays": Pointing(
            closed.pk, copies["own"].pk, copies["away"].pk, bens.pk, home
        ),
    }


def _copy_of(version: ProtocolVersion, clinic: Clinic) -> ProtocolVersion:
    return ProtocolVersion.objects.create(
        protocol_id=uuid4(), slug="ours", version="1.0.0", clinic=clinic, title="Ours",
        condition=version.condition, document=version.document, sha256=version.sha256,
        published_at=timezone.now(),
    )  # fmt: skip


def plain(id: UUID | int) -> str | int:
    """An id as the database has it."""
    if isinstance(id, int):
        return id
    return str(id) if connection.vendor == "postgresql" else id.hex


def sql(statement: str, *ids: UUID | int) -> None:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, [plain(id) for id in ids])


def insert_a_copy(one: tenancy.Reference, row: UUID | int, pointing_at: UUID) -> None:
    """A new row like this one, which points elsewhere. Uniqueness is not what is asked here."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {one.table} WHERE id = %s", [plain(row)])
        names = [column[0] for column in cursor.description]
        values = dict(zip(names, cursor.fetchone(), strict=True))
    fresh = {"id": uuid4(), "phone_id": uuid4(), one.column: pointing_at}
    if isinstance(row, int):
        del values["id"], fresh["id"]
    values |= {name: plain(value) for name, value in fresh.items() if name in values}
    values |= {name: "2" for name in ("value",) if name in values}
    if one.column != "user_id" and "user_id" in values:
        values["user_id"] = None
    if one.table == "care_assignment":
        now = timezone.now()
        ended = {
            "ended_on": now.date(),
            "end_kind": "stopped",
            "ended_by_id": values["assigned_by_id"],
        }
        values |= ended
    marks = ", ".join(["%s"] * len(values))
    columns = ", ".join(f'"{name}"' for name in values)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            f"INSERT INTO {one.table} ({columns}) VALUES ({marks})",
            list(values.values()),
        )


@pytest.mark.parametrize("name", REFERENCES)
def test_a_reference_stays_with_its_owner(pointing: dict[str, Pointing], name: str) -> None:
    one, at = REFERENCES[name], pointing[name]
    update = f"UPDATE {one.table} SET {one.column} = %s WHERE id = %s"

    sql(update, at.fitting, at.row)
    sql(update, at.target, at.row)
    # A plan is held to its patient by its episode as well.
    refusal = "_stays" if at.fitting == at.target else name
    with pytest.raises(IntegrityError, match=refusal):
        sql(update, at.foreign, at.row)
    if one.column != "user_id":  # an account has one patient
        insert_a_copy(one, at.row, at.fitting)
    with pytest.raises(IntegrityError, match=refusal):
        insert_a_copy(one, at.row, at.foreign)


@pytest.mark.parametrize("name", REFERENCES)
def test_neither_end_changes_hands(pointing: dict[str, Pointing], name: str) -> None:
    one, at = REFERENCES[name], pointing[name]

    with pytest.raises(IntegrityError, match="_stays"):
        sql(f"UPDATE {one.table} SET {one.owner} = %s WHERE id = %s", at.other_owner, at.row)
    if one.of_library:
        return
    with pytest.raises(IntegrityError, match="_stays"):
        sql(f"UPDATE {one.target} SET {one.owner} = %s WHERE id = %s", at.other_owner, at.target)


def test_who_has_nothing_may_go(ana: Staff, elsewhere: Clinic, olga: Staff) -> None:
    """Once the caseload is handed over, a colleague may move to another clinic, or leave."""
    ana.user.clinic = elsewhere
    ana.user.save()
    ana.user.is_physiotherapist, ana.user.clinic = False, None
    ana.user.save()


def test_operators_are_told_why(ana: Staff, ben: OwnPhone, elsewhere: Clinic) -> None:
    form = modelform_factory(User, form=AccountForm, fields=["clinic"])
    move = {"clinic": str(elsewhere.pk)}

    assert ben.patient.physiotherapist == ana.user
    assert form(move, instance=ana.user).errors == {
        "clinic": ["This person's patients have to be handed over first."]
    }
    Patient.objects.update(physiotherapist=None)
    assert form(move, instance=ana.user).is_valid()


def installed() -> set[str]:
    """The triggers there are, but those of the audit, which have a test of their own."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
        else:
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        return {row[0] for row in cursor.fetchall() if not row[0].startswith("audit_")}


@pytest.mark.django_db
def test_the_triggers_are_there_after_all_migrations() -> None:
    """A migration that remakes a table on SQLite drops them; it has to put them back."""
    expected = {guard.name for one in REFERENCES.values() for guard in one.guards}

    assert installed() == expected
    assert len(expected) == 34


@pytest.mark.django_db(transaction=True)
def test_they_can_be_made_again() -> None:
    before = installed()
    for change in (tenancy.take_down, tenancy.take_down, tenancy.put_up, tenancy.put_up):
        with as_owner(), connection.schema_editor() as editor:
            change(apps, editor)
        assert installed() in (before, set())

    assert installed() == before


@pytest.mark.django_db
def test_every_reference_between_tenants_is_guarded() -> None:
    """A foreign key that leads from one owned table to another is guarded, leads to the owner
    itself, or only says who acted."""
    acted = {"recorded_by", "assigned_by", "ended_by", "made_by", "paused_by", "resumed_by",
             "created_by", "published_by", "retired_by", "updated_by", "by", "proposed_by",
             "decided_by", "acknowledged_by", "resolved_by"}  # fmt: skip
    guarded = {(one.table, one.column) for one in REFERENCES.values()}
    told = {
        # Staff are told by where they work when it is sent, and may leave afterwards.
        ("notifications_message", "person_id"),
    }
    loose = []
    for label in ("clinics", "care", "protocols", "exercises", "notifications"):
        for model in apps.get_app_config(label).get_models():
            names = {field.name for field in model._meta.concrete_fields}
            owner = "patient" if "patient" in names else "clinic"
            for field in model._meta.concrete_fields:
                if field.related_model in (None, Clinic) or field.name in acted:
                    continue
                key = (model._meta.db_table, field.attname)
                if field.name != owner and owner in names and key not in guarded | told:
                    loose.append(key)
    assert loose == []
