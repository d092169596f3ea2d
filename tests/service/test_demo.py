"""The demo: every story is there, told by real actions, and shows what it is named after."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import time_machine
from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.apps import apps
from django.conf import settings
from django.contrib.sessions.models import Session as SignInSession
from django.core.management import CommandError, call_command
from django.db import models
from django.test import Client, override_settings
from django.utils import timezone

from backend.care import recording
from backend.care.models import Assignment, CheckIn, Flag, Revision, Session
from backend.clinics import actions
from backend.clinics.models import Clinic, Patient, User
from backend.management import demo_telling
from backend.management.commands import demo as command
from backend.management.demo_stories import PASSWORD, STORIES
from protocols.models import ProtocolVersion
from tests.roles import as_owner
from tests.service.cast import Somebody

pytestmark = pytest.mark.django_db

# The union of what the API description and the console promise as demo stories.
PROMISED = {
    "steady", "pain-rising", "pain-above-limit", "silent-phone", "typed-late", "wrong-clock",
    "two-phones", "progression-waiting", "hold-advised", "paused", "travelling", "discharged",
    "never-signed-in", "red-flag",
}  # fmt: skip
BY_MIGRATIONS = {"ContentType", "Permission", "Migration", "Heartbeat"}


def run(**options: Any) -> str:
    said = StringIO()
    call_command("demo", stdout=said, **options)
    return said.getvalue()


def written() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((Path(settings.VAR_DIR) / "demo.json").read_text())
    return found


Accounts = dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def made(django_db_setup: None, django_db_blocker: Any) -> Iterator[Accounts]:
    """The demo, made once for this module and removed after it."""
    with override_settings(DEMO=True):
        with django_db_blocker.unblock(), as_owner():
            if not ProtocolVersion.objects.exists():
                call_command("load_library", verbosity=0)
            run()
        yield {account["story"]: account for account in written()["accounts"]}
        with django_db_blocker.unblock(), as_owner():
            command.remove()


@pytest.fixture(autouse=True)
def by_the_owner(db: None) -> Iterator[None]:
    """A demo goes with its audit, which only the owner of the tables may delete."""
    with as_owner():
        yield


@pytest.fixture
def demo(made: Accounts) -> Iterator[Accounts]:
    """The accounts by story. What a test does to the database is undone, so is the file."""
    yield made
    command.write(list(made.values()))


@pytest.fixture
def few_stories(demo: Accounts, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Making three of them anew takes a fifth of the time; their family names."""
    told = [
        one for one in STORIES if one.name in ("progression-waiting", "typed-late", "travelling")
    ]
    monkeypatch.setattr(command, "STORIES", told)
    return {story.family_name for story in told}


def of(account: dict[str, str]) -> Patient:
    return Patient.objects.get(pk=account["patient_id"])


def counted() -> dict[str, int]:
    return {model.__name__: model._default_manager.count() for model in apps.get_models()}


def test_it_runs_in_demo_mode_only(settings):
    settings.DEMO = False
    before = counted()

    with pytest.raises(CommandError, match="DEMO=1"):
        run()

    assert counted() == before


def test_it_needs_the_library(settings):
    settings.DEMO = True
    command.remove()
    ProtocolVersion.objects.all().delete()

    with pytest.raises(CommandError, match="load_library comes first"):
        run()


def test_every_promised_story_is_told(demo):
    assert demo.keys() >= PROMISED
    assert {account["clinic"] for account in demo.values()} == {
        "Harbour Physiotherapy",
        "Riverside Clinic",
    }
    at_harbour = {a["role"] for a in demo.values() if a["clinic"].startswith("Harbour")}
    assert at_harbour == {
        "physiotherapist", "clinic_admin", "physiotherapist+clinic_admin", "patient",
    }  # fmt: skip
    for story, account in demo.items():
        assert account["email"].startswith(f"{story}@")


def test_several_protocols_and_phases_are_in_use(demo):
    used = set(Assignment.objects.values_list("protocol_version__slug", "start_phase_id"))
    assert len({slug for slug, _ in used}) == 8
    assert {phase for _, phase in used} == {"phase-1", "phase-2", "phase-3"}


def test_the_file_is_for_its_owner_only(demo):
    path = Path(settings.VAR_DIR) / "demo.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert written()["base_url"] == settings.PUBLIC_URL
    needed = {"story", "role", "email", "password", "session_token", "clinic"}
    for account in written()["accounts"]:
        assert needed <= account.keys()
        assert ("patient_id" in account) == (account["role"] == "patient")
        assert all(isinstance(value, str) for value in account.values())


def test_every_token_is_a_sign_in(demo):
    for account in demo.values():
        if not account["session_token"]:
            continue
        person = Somebody(account["session_token"])
        assert "+".join(person.get("me")["role"]) == account["role"]
        if account["role"] == "patient":
            assert len(person.get("me/plan")["days"]) == 14
        else:  # also where a second factor is asked for
            assert person.get("patients")["items"]


def test_what_lies_elsewhere_does_not_exist(demo):
    ana, olga = demo["physiotherapist"], demo["staff-elsewhere"]
    ours, theirs = demo["steady"]["patient_id"], demo["patient-elsewhere"]["patient_id"]
    assert Somebody(ana["session_token"]).get(f"patients/{ours}")["family_name"] == "Steady"
    Somebody(ana["session_token"]).get(f"patients/{theirs}", 404)
    Somebody(olga["session_token"]).get(f"patients/{ours}", 404)
    assert len(Somebody(olga["session_token"]).get("patients")["items"]) == 1


def test_password_and_printed_secret_sign_in(demo):
    olga = demo["staff-elsewhere"]
    client = Client()

    def post(path: str, body: dict[str, str], token: str = "") -> Any:
        headers = {"X-Session-Token": token} if token else {}
        return client.post(
            f"/api/auth/app/v1/auth/{path}", body, "application/json", headers=headers
        ).json()

    first = post("login", {"email": olga["email"], "password": olga["password"]})
    assert first["status"] == 401  # the second factor is missing
    code = format_hotp_value(hotp_value(olga["totp_secret"], int(timezone.now().timestamp()) // 30))
    second = post("2fa/authenticate", {"code": code}, first["meta"]["session_token"])
    assert second["status"] == 200
    assert Somebody(second["meta"]["session_token"]).get("patients")["items"]

    ben = post("login", {"email": demo["steady"]["email"], "password": PASSWORD})
    assert Somebody(ben["meta"]["session_token"]).get("me/plan")["days"]


def test_nothing_lies_ahead(demo):
    now = timezone.now()
    for model, field in (
        (Revision, "received_at"),
        (Assignment, "created_at"),
        (Flag, "raised_at"),
    ):
        assert not model._default_manager.filter(**{f"{field}__gt": now}).exists()
    assert not Patient.objects.filter(created_at__gt=now).exists()


# --- Each story shows what it is named after --------------------------------------------------


def steady(patient: Patient, phone: Somebody) -> None:
    assert set(sessions(patient).values_list("outcome", flat=True)) == {"completed"}
    pains = list(sessions(patient).values_list("pain_during", flat=True))
    assert max(pains[:8]) < max(pains[-8:])
    assert {slot["status"] for slot in phone.get("me/plan?days=1")["days"][0]["slots"]} == {"due"}


def pain_rising(patient: Patient, phone: Somebody) -> None:
    by_day = list(CheckIn.objects.filter(patient=patient).order_by("local_date"))
    assert [row.pain_now for row in by_day] == sorted(row.pain_now or 0 for row in by_day)
    assert (by_day[0].pain_now, by_day[-1].pain_now) == (2, 6)


def pain_above_limit(patient: Patient, phone: Somebody) -> None:
    [assignment] = patient.assignments.all()
    limits = assignment.protocol_version.definition.limits
    above = sessions(patient).filter(pain_during__gte=limits.red)
    assert len(set(above.values_list("local_date", flat=True))) == 1
    assert not patient.flags.exists()


def silent_phone(patient: Patient, phone: Somebody) -> None:
    on = patient_today(patient) - timedelta(days=5)
    [day] = phone.get(f"me/plan?from={on}&days=1")["days"]
    assert {slot["status"] for slot in day["slots"] if slot["counts"]} == {"not_heard"}
    assert patient.last_received_at
    assert timezone.now() - patient.last_received_at > timedelta(days=9)


def typed_late(patient: Patient, phone: Somebody) -> None:
    late = sessions(patient).filter(late=True).count()
    assert late > sessions(patient).filter(late=False).count()
    assert Session.objects.filter(patient=patient).exclude(withdrawn_at=None).count() == 1


def wrong_clock(patient: Patient, phone: Somebody) -> None:
    assert not sessions(patient).filter(clock_suspect=False).exists()
    assert not CheckIn.objects.filter(patient=patient, clock_suspect=False).exists()
    assert list(patient.flags.values_list("code", flat=True)) == ["age-review"]


def two_phones(patient: Patient, phone: Somebody) -> None:
    assert patient.revisions.values("device_id").distinct().count() == 2
    by_slot: dict[object, set[object]] = {}
    for row in patient.revisions.filter(kind="session"):
        slot_id = (row.content or {})["slot_id"]
        by_slot.setdefault(slot_id, set()).add(row.device_id)
    assert max(len(devices) for devices in by_slot.values()) == 2
    on = sessions(patient).filter(slot_id__in=by_slot).values_list("local_date", flat=True)[0]
    [day] = phone.get(f"me/plan?from={on}&days=1")["days"]
    assert {slot["status"] for slot in day["slots"] if slot["counts"]} == {"completed"}


def progression_waiting(patient: Patient, phone: Somebody) -> None:
    [assignment] = patient.assignments.all()
    criteria = assignment.protocol_version.definition.phase("phase-1").exit
    measured = set(patient.assessments.values_list("code", flat=True))
    asked = {line.when.split("(")[1].split(";")[0] for line in criteria if "latest(" in line.when}
    assert asked <= measured
    assert set(sessions(patient).values_list("pain_during", flat=True)[:6]) <= {0, 1}


def hold_advised(patient: Patient, phone: Somebody) -> None:
    assert patient.assessments.get(code="iso90_pct").value < 50  # what phase 1 asks for
    assert sessions(patient).filter(outcome="skipped").exists()


def paused(patient: Patient, phone: Somebody) -> None:
    days = phone.get("me/plan?days=3")["days"]
    assert [day["day_type"] for day in days] == ["paused"] * 3
    assert sessions(patient).filter(content__skip_reason="illness").exists()


def travelling(patient: Patient, phone: Somebody) -> None:
    zones = {ZoneInfo(row.content["timezone"]) for row in sessions(patient)}
    assert len(zones) == 2
    [away] = {str(zone) for zone in zones} - {patient.timezone}
    there = sessions(patient).filter(content__timezone=away).order_by("local_date")
    offsets = {
        datetime.combine(row.local_date, datetime.min.time(), ZoneInfo(away))
        .replace(hour=12)
        .utcoffset()
        for row in there
    }
    assert len(offsets) == 2  # the clocks changed while she was there
    assert set(sessions(patient).values_list("outcome", flat=True)) == {"completed"}


def discharged(patient: Patient, phone: Somebody) -> None:
    assert patient.status == "discharged"
    [assignment] = phone.get("me/assignments")["items"]
    assert assignment["status"] == "completed"
    assert patient.episodes.get().end_reason == "completed"


def never_signed_in(patient: Patient, phone: Somebody) -> None:
    assert (patient.user, patient.status) == (None, "invited")
    [account] = [one for one in written()["accounts"] if one["story"] == "never-signed-in"]
    body = {"invitation_code": account["invitation_code"]}
    shown = Somebody().post("enrolments/check", body)
    assert shown["clinic_name"] == "Harbour Physiotherapy"
    assert account["birth_year"] == str(patient.birth_date.year)


def red_flag(patient: Patient, phone: Somebody) -> None:
    flags = patient.flags.values_list("code", "level", "status")
    assert set(flags) == {
        ("ces_saddle_numbness", "emergency", "open"),
        ("bilateral_leg_symptoms", "emergency", "open"),
    }


SHOWN: dict[str, Callable[[Patient, Somebody], None]] = {
    shown.__name__.replace("_", "-"): shown
    for shown in (
        steady, pain_rising, pain_above_limit, silent_phone, typed_late, wrong_clock, two_phones,
        progression_waiting, hold_advised, paused, travelling, discharged, never_signed_in,
        red_flag,
    )
}  # fmt: skip


def sessions(patient: Patient) -> Any:
    return Session.objects.filter(patient=patient).standing().order_by("-local_date", "slot_id")


def patient_today(patient: Patient) -> date:
    return timezone.now().astimezone(patient.zone).date()


@pytest.mark.parametrize("story", sorted(PROMISED))
def test_a_story_shows_what_it_is_named_after(demo, story):
    SHOWN[story](of(demo[story]), Somebody(demo[story]["session_token"]))


# --- Starting again ---------------------------------------------------------------------------


def test_a_second_start_finds_everything(demo, django_assert_max_num_queries):
    before = counted()

    with django_assert_max_num_queries(150):
        said = run()

    assert "The demo is there already." in said
    assert counted() == before
    assert {one["story"]: one for one in written()["accounts"]} == demo


def test_sessions_that_end_soon_are_renewed(demo):
    token = demo["steady"]["session_token"]
    SignInSession.objects.filter(session_key=token).update(
        expire_date=timezone.now() + timedelta(days=1)
    )

    run()

    [steady] = [one for one in written()["accounts"] if one["story"] == "steady"]
    assert steady["session_token"] != token
    assert Somebody(steady["session_token"]).get("me")


def test_an_invitation_that_ran_out_is_replaced(demo):
    patient = of(demo["never-signed-in"])
    patient.invitations.update(expires_at=timezone.now())

    run()

    [account] = [one for one in written()["accounts"] if one["story"] == "never-signed-in"]
    assert account["invitation_code"] != demo["never-signed-in"]["invitation_code"]
    assert actions.check_invitation(code=account["invitation_code"], now=timezone.now())


def test_a_lost_or_broken_file_is_written_anew(demo):
    for broken in (None, "", "{", '{"accounts": [1]}'):
        path = Path(settings.VAR_DIR) / "demo.json"
        path.unlink() if broken is None else path.write_text(broken)
        run()
        assert {one["story"] for one in written()["accounts"]} == demo.keys()


def test_what_people_changed_in_it_is_left_as_it_is(demo):
    renamed, moved = of(demo["steady"]), of(demo["paused"])
    now = timezone.now()
    gone = {"identifiers": [], "family_name": "Other", "email": "other@example.org"}
    actions.update_patient(patient=renamed, changes=gone, now=now)
    User.objects.filter(patient=moved).update(email="moved@example.org")

    assert "The demo is there already." in run()

    assert of(demo["steady"]).family_name == "Other"
    written_now = {one["story"]: one for one in written()["accounts"]}
    assert written_now["steady"]["patient_id"] == demo["steady"]["patient_id"]
    assert written_now["paused"]["email"] == "moved@example.org"


def facts(family_names: set[str]) -> list[tuple[object, ...]]:
    """What was reported, without the ids that the service gave out."""
    rows = Revision.objects.filter(patient__family_name__in=family_names)
    told: list[tuple[object, ...]] = []
    for row in rows.order_by("patient__family_name", "id"):
        content = row.content or {}
        own = {k: v for k, v in content.items() if k not in ("assignment_id", "slot_id", "entries")}
        sets = [entry.get("sets") for entry in content.get("entries", ())]
        told.append((row.kind, row.phone_id, row.number, row.received_at, own, sets))
    return told


def test_the_same_seed_makes_the_same_demo(few_stories):
    before, day = facts(few_stories), timezone.now().date()

    said = run(reset=True)

    assert said.startswith("Deleted: ")
    after = facts(few_stories)
    assert len(after) > 50
    if timezone.now().date() == day:  # else one more evening has come
        assert after[: len(before)] == before


def test_another_seed_makes_other_details_and_says_so(few_stories):
    first = facts(few_stories)

    said = run(seed=2)
    assert "demo 3.1; demo --reset makes it anew" in said
    assert facts(few_stories) == first

    run(seed=2, reset=True)
    assert len(facts(few_stories)) == len(first)
    assert facts(few_stories) != first


def test_removing_leaves_nothing_of_it(demo):
    # Reading a patient leaves an audit event.
    Somebody(demo["physiotherapist"]["session_token"]).get(
        f"patients/{demo['steady']['patient_id']}"
    )

    command.remove()

    left = {name for name, count in counted().items() if count}
    assert left <= BY_MIGRATIONS | {"Exercise", "ProtocolVersion"}
    assert command.remove() == "There was no demo to delete."


def test_whatever_holds_a_clinic_or_its_people_is_removed_before_them() -> None:
    removed = [model for model, _ in command.BELONGINGS]
    for number, model in enumerate(removed):
        for field in model._meta.related_objects:
            if field.on_delete is models.PROTECT:
                assert field.related_model in removed[:number], (model, field.related_model)


def test_other_clinics_are_left_alone(demo, harbour, ana, ben):
    command.remove()

    assert list(Clinic.objects.all()) == [harbour]
    assert set(User.objects.all()) == {ana.user, ben.patient.user}


def test_a_story_that_broke_off_is_told_whole_the_next_time(few_stories, monkeypatch):
    command.remove()
    taken: list[object] = []

    def put(**said: Any) -> Any:
        if len(taken) == 10:
            raise KeyboardInterrupt
        taken.append(recording.put(**said))

    with monkeypatch.context() as broken:
        broken.setattr(demo_telling, "recording", SimpleNamespace(put=put))
        with pytest.raises(KeyboardInterrupt):
            run()
    assert not Patient.objects.exists()

    assert f"Told {len(few_stories)} stories" in run()
    assert Session.objects.filter(patient__family_name="Waiting").count() == 14


@pytest.mark.parametrize("month", range(1, 13))
def test_there_is_always_a_clock_change_to_travel_across(month):
    """Wherever the story goes, it began less than half a year ago."""
    today = date(2027, month, 15)
    changed = max(demo_telling.last_change(ZoneInfo(zone), today) for zone in demo_telling.JOURNEYS)
    assert today - timedelta(days=150) < changed <= today


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param("2027-03-28T01:30Z", id="a clock change"),
        pytest.param("2028-02-29T23:30Z", id="a leap day", marks=pytest.mark.campaign),
        pytest.param("2027-01-01T00:05Z", id="a new year", marks=pytest.mark.campaign),
    ],
)
def test_it_can_be_made_on_any_day(few_stories, moment):
    with time_machine.travel(datetime.fromisoformat(moment), tick=False):
        said = run(reset=True)
        assert f"Told {len(few_stories)} stories" in said
        assert not Revision.objects.filter(received_at__gt=timezone.now()).exists()


# --- Demo-Now ---------------------------------------------------------------------------------


def test_demo_now_moves_the_clock_of_reads(demo):
    phone = Somebody(demo["steady"]["session_token"])
    then = (datetime.now(UTC) + timedelta(days=9)).replace(hour=12, minute=0)

    plan = phone.get("me/plan?days=1", Demo_Now=then.isoformat())

    assert plan["from"] == then.date().isoformat()
    for wrong in ("tomorrow", "2026-11-19T07:00:00", "9999-12-31T23:59:59+00:00"):
        assert phone.get("me/plan", 400, Demo_Now=wrong)["code"] == "malformed-request"


def test_demo_now_is_for_reads_only(demo):
    phone = Somebody(demo["steady"]["session_token"])
    now = timezone.now().isoformat()
    refused = phone.put(f"me/sessions/{uuid4()}", {}, 400, Demo_Now=now)
    assert refused["code"] == "malformed-request"


def test_demo_now_is_refused_outside_demo_mode(demo, settings):
    settings.DEMO = False
    phone = Somebody(demo["steady"]["session_token"])
    refused = phone.get("me/plan", 400, Demo_Now=timezone.now().isoformat())
    assert refused["code"] == "malformed-request"
    assert phone.get("me/plan")


def test_all_that_is_derived_follows_from_the_facts(demo: Accounts) -> None:
    """Made anew it is the same: going on from day to day led where replaying does."""
    clinics = {of(account).clinic_id for account in demo.values() if "patient_id" in account}
    assert len(clinics) == 2
    for clinic in sorted(clinics):
        said = StringIO()
        call_command("rebuild", "--check", "--quiet", f"--clinic={clinic}", stdout=said)
        assert " 0 plans would be made anew; 0 not judged" in said.getvalue()
