"""Telling people of proposals, changes and flags: each once, to the right ones, in time."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import time_machine

from backend.care.flags import raise_flag
from backend.care.models import Flag
from backend.clinics import actions as people
from backend.clinics.models import Clinic, Patient
from backend.notifications.announcing import announce
from backend.notifications.delivering import deliver
from backend.notifications.gateways.base import Kind, Sent
from backend.notifications.models import Message
from backend.notifications.texts import all_texts
from backend.reports import exports
from backend.reports.models import Export
from tests.service.cast import make_export, make_patient, make_staff

pytestmark = pytest.mark.django_db
KINDS: tuple[Kind, ...] = ("fcm_token", "fcm_installation", "apns", "web_push", "email")
STOCKHOLM = ZoneInfo("Europe/Stockholm")


@pytest.fixture(autouse=True)
def clock() -> Iterator[Any]:
    with time_machine.travel(datetime(2026, 11, 18, 9, 30, tzinfo=STOCKHOLM), tick=False) as one:
        yield one


class Mailbox:
    """Every gateway: who was written to, and what."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, str]] = []

    def send(self, address, notice, *, now):
        self.letters.append((address.value, notice.title))
        return Sent("x")

    def close(self) -> None: ...

    def taken(self) -> list[tuple[str, str]]:
        letters, self.letters = self.letters, []
        return sorted(letters)


@pytest.fixture
def box() -> Mailbox:
    return Mailbox()


@pytest.fixture
def told(box, now):
    """Who is told what, so long after the start."""

    def after(**span: float) -> list[tuple[str, str]]:
        moment = now + timedelta(**span)
        announce(now=moment, limit=100)
        deliver(dict.fromkeys(KINDS, box), now=lambda: moment, senders=1)
        taken: list[tuple[str, str]] = box.taken()
        return taken

    return after


@pytest.fixture
def phone(ben, now):
    return people.put_device(
        patient=ben.patient, device_id=uuid4(), platform="android", push_token="bens phone",
        app_version="1.0.0", now=now,
    )  # fmt: skip


def flag(patient: Patient, code: str, now: datetime) -> Flag:
    patient = people.lock(patient)
    return raise_flag(
        patient=patient, code=code, on=now.date(), source=("session", uuid4()), now=now
    )


ANA, CLEO = "ana@example.org", "cleo@example.org"
EMERGENCY, URGENT = "EMERGENCY: please look now", "Urgent: please look today"
REVIEW, NEWS = "Something waits for your review", "There is news"


def test_an_emergency_is_told_until_somebody_has_acknowledged_it(ana, cleo, ben, told, now):
    emergency = flag(ben.patient, "ces_saddle_numbness", now)

    assert told(minutes=0) == [(ANA, EMERGENCY), (CLEO, EMERGENCY)]
    assert told(minutes=14) == []
    assert told(minutes=15) == [(ANA, EMERGENCY), (CLEO, EMERGENCY)]
    ana.post(f"flags/{emergency.pk}/acknowledge", {"note": ""})
    assert told(minutes=30) == told(minutes=45) == []


def test_an_emergency_that_is_reported_again_takes_another_look(ana, ben, told, now):
    emergency = flag(ben.patient, "ces_saddle_numbness", now)
    assert told() == [(ANA, EMERGENCY)]
    ana.post(f"flags/{emergency.pk}/acknowledge", {"note": ""})
    again = flag(ben.patient, "ces_saddle_numbness", now + timedelta(hours=1))

    assert (again.pk, again.status, again.occurrences) == (emergency.pk, "open", 2)
    assert told(hours=1) != []


def test_the_clinics_urgent_contact_is_told_where_there_is_one(ana, cleo, ben, told, now):
    Clinic.objects.update(urgent_email="ward@example.org")
    flag(ben.patient, "ces_saddle_numbness", now)

    assert told() == [(ANA, EMERGENCY), ("ward@example.org", EMERGENCY)]


def test_an_urgent_flag_goes_to_the_urgent_contact_after_four_hours(ana, cleo, ben, told, now):
    flag(ben.patient, "new_motor_weakness", now)

    assert told() == [(ANA, URGENT)]
    assert told(hours=3, minutes=59) == []
    assert told(hours=4) == [(ANA, URGENT), (CLEO, URGENT)]
    assert told(hours=8) == []


def test_what_is_routine_is_gathered_by_the_hour(ana, ben, bea, told, now):
    for patient in (ben.patient, bea.patient):
        flag(patient, "age-review", now)
        flag(patient, "review-4wk", now)

    assert told() == [(ANA, REVIEW)]
    flag(bea.patient, "late-data", now + timedelta(minutes=5))
    assert told(minutes=5) == []
    assert told(minutes=31) == [(ANA, REVIEW)]
    assert told(hours=5) == []


def test_a_routine_flag_is_told_again_when_its_time_is_over(ana, ben, told, now):
    waits = flag(ben.patient, "age-review", now)
    assert told() == [(ANA, REVIEW)]

    assert waits.respond_by is not None
    late = waits.respond_by - now

    assert (ANA, REVIEW) not in told(seconds=late.total_seconds() - 1)
    assert (ANA, REVIEW) in told(seconds=late.total_seconds())
    assert (ANA, REVIEW) not in told(days=30)


def test_who_has_no_physiotherapist_any_more_is_everybodys(ana, harbour, ben, told, now):
    make_staff(harbour, "Dan", is_physiotherapist=True)
    people.deactivate(person=ana.user, now=now)

    flag(ben.patient, "new_motor_weakness", now)

    assert told() == [("dan@example.org", URGENT)]


def test_a_flag_that_was_dealt_with_before_the_send_is_not_sent(ana, ben, told, now, box):
    urgent = flag(ben.patient, "new_motor_weakness", now)
    announce(now=now, limit=10)
    ana.post(f"flags/{urgent.pk}/acknowledge", {"note": ""})

    assert told() == []
    assert Message.objects.get().why == "handled"


def test_seven_missed_dates_are_told_to_both(ana, ben, phone, told, now):
    flag(ben.patient, "gap-7", now)

    assert told() == [(ANA, REVIEW), ("bens phone", "We have not heard from you")]


def test_a_change_of_the_plan_is_one_piece_of_news(ana, ben, phone, plan_of_ben, told):
    assert ("bens phone", NEWS) in told()  # the new plan itself
    path = f"assignments/{plan_of_ben['id']}"
    ana.post(f"{path}/pause", {"from": ben.today.isoformat(), "reason": "x"}, If_Match="*")
    ana.post(f"{path}/resume", {"from": ben.today.isoformat(), "reason": "y"}, If_Match="*")

    assert told(minutes=1) == [("bens phone", NEWS)]
    assert told(minutes=2) == []


def test_news_waits_for_the_end_of_quiet_hours(ana, ben, phone, plan_of_ben, told, clock):
    told()
    ben.patch("me/reminder-settings", {"quiet_from": "21:00", "quiet_to": "07:00"})
    clock.move_to(datetime(2026, 11, 18, 22, 0, tzinfo=STOCKHOLM))
    path = f"assignments/{plan_of_ben['id']}"
    ana.post(f"{path}/pause", {"from": ben.today.isoformat(), "reason": "x"}, If_Match="*")

    assert told(hours=12.5) == []
    assert told(hours=21) == []
    assert told(hours=21.5) == [("bens phone", NEWS)]


def test_what_a_patient_logs_himself_is_no_news(ben, phone, plan_of_ben, told):
    told()
    ben.logs(ben.slot(), plan_of_ben)

    assert told(minutes=1) == []


def test_a_stop_is_told_to_both_at_once(ana, ben, phone, plan_of_ben, told):
    told()
    slot = ben.slot()
    ben.logs(slot, plan_of_ben, pain_during=9)

    letters = told(minutes=1)
    assert (ANA, URGENT) in letters
    assert ("bens phone", NEWS) in letters


def test_an_invitation_is_mailed_with_its_code(ana, harbour, told, now, box):
    nils = make_patient(
        harbour, "Nils", now, ana.user, user=None, email="nils@example.org", status="invited"
    )
    bodies = []
    send = box.send

    def kept(address, notice, *, now):
        bodies.append(notice.body)
        return send(address, notice, now=now)

    box.send = kept
    made = ana.post(f"patients/{nils.patient.pk}/invitations", {})

    assert told() == [("nils@example.org", "Your invitation")], [
        (m.why, m.status) for m in Message.objects.all()
    ]
    assert made["code"] in bodies[0]
    assert "params" not in str(Message.objects.get().params)


def test_an_invitation_that_was_replaced_is_not_mailed(ana, harbour, told, now):
    nils = make_patient(
        harbour, "Nils", now, ana.user, user=None, email="nils@example.org", status="invited"
    )
    for _ in range(2):
        ana.post(f"patients/{nils.patient.pk}/invitations", {})

    assert told() == [("nils@example.org", "Your invitation")]


def test_on_monday_each_physiotherapist_hears_how_much_waits(ana, ben, told, now):
    Clinic.objects.update(created_at=now - timedelta(days=100))
    assert told() == []
    flag(ben.patient, "age-review", now)
    told(hours=1)
    monday = datetime(2026, 11, 23, 7, 0, tzinfo=STOCKHOLM) - now

    told(seconds=monday.total_seconds() - 60)
    assert told(seconds=monday.total_seconds()) == [(ANA, "Your week")]
    assert told(seconds=monday.total_seconds() + 3600) == []
    row = Message.objects.get(kind="staff_week")
    assert row.params == {"proposals": 0, "flags": 1}


def test_whoever_asked_for_a_file_is_told_of_it_once(cleo, ben, told, now):
    wish = {
        "kind": "sessions", "format": "csv", "from": "2026-11-01", "to": "2026-11-18",
        "de_identified": False, "purpose": "Only Ben's pain",
    }  # fmt: skip
    made = cleo.post("exports", wish, 202)
    assert told() == [], "it is not ready"

    while exports.write(export_id=UUID(made["id"]), now=now):
        pass
    assert told() == [(CLEO, "A file is ready")]
    assert told(minutes=1) == []
    [row] = Message.objects.filter(kind="export")
    assert (row.person_id, row.about_id, row.why) == (cleo.user.pk, UUID(made["id"]), "asked")
    assert row.params == {"status": "ready"}, "a message says that, never what"


def test_of_a_file_that_has_expired_nobody_is_told(cleo, ben, told, now):
    for title, tries in (("ready", 0), ("failed", exports.MOST_TRIES)):
        row = make_export(cleo.user.clinic, cleo.user, "Review", now)
        Export.objects.filter(pk=row.pk).update(
            status="running", attempt_due_at=now, unanswered=tries, ready_at=None, total=1,
            position=max(Patient.objects.values_list("pk", flat=True)),
        )  # fmt: skip
        exports.write(export_id=row.pk, now=now)
        assert Export.objects.get(pk=row.pk).status == title
    announce(now=now, limit=100)
    exports.throw_away(now=now + timedelta(hours=24))

    assert told(hours=24) == [(CLEO, "A file could not be made")]
    assert set(Message.objects.values_list("why", flat=True)) == {"handled", "asked"}


def test_every_language_says_everything():
    kinds = {language: set(texts) for language, texts in all_texts().items()}
    places = {
        language: {
            kind: [part.split("}")[0] for part in text["body"].split("{")[1:]]
            for kind, text in texts.items()
        }
        for language, texts in all_texts().items()
    }

    assert kinds["de"] == kinds["en"]
    assert places["de"] == places["en"]


def test_every_kind_of_message_has_its_words():
    several = ("flag_", "export_")
    texts = all_texts()["en"]
    named = {kind.split("_")[0] if kind.startswith(several) else kind for kind in texts}

    assert named == set(Message.Kind.values)
