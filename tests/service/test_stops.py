"""A stop: what it takes away at once, and that a clinician's clearance alone brings it back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.utils import timezone

from backend.audit.models import AuditEvent
from backend.care import deciding
from backend.care.models import Assignment, Event, Flag, Progression
from backend.clinics.models import Clinic, Episode
from protocols.knowledge import safety
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff, make_episode, wish
from tests.service.uploading import check_in_at, item, push

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)  # a Tuesday
TODAY = date(2026, 3, 10)
DAY = timedelta(days=1)
SEEN = {"reason": "Seen by a doctor, no sign of pressure on the nerve", "action": "referred"}


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def here(phone: OwnPhone) -> datetime:
    return timezone.now().astimezone(phone.patient.zone)


def reports(phone: OwnPhone, *codes: str, on: date | None = None, id: UUID | None = None) -> Any:
    """A check-in with stop signs, through the push; what became of it."""
    said = check_in_at(here(phone), stop_signs=list(codes))
    if on is not None:
        said["local_date"] = on.isoformat()
    [result] = push(phone, item("check_in", id or uuid4(), 1, said))["results"]
    return result


def clears(by: Staff, phone: OwnPhone, expect: int = 201, **more: Any) -> Any:
    return by.post(f"patients/{phone.patient.pk}/stop-clearances", SEEN | more, expect)


def tick() -> None:
    """What Celery or cron does every few minutes."""
    while due := deciding.due_to_close(now=timezone.now(), limit=50):
        for patient_id in due:
            deciding.close(patient_id=patient_id, now=timezone.now())


def is_stopped(phone: OwnPhone) -> bool:
    """Whether the next four weeks ask for nothing, and say why."""
    plan = phone.plan(days=28)
    asked = [
        slot
        for day in plan["days"]
        for slot in day["slots"]
        if slot["status"] in ("due", "open") or day["day_type"] == "training"
    ]
    if "stop" not in plan:
        return False
    for day in plan["days"]:
        given = {one["assignment_id"] for one in day["assignments"]}
        told = {a["assignment_id"] for a in day["adjustments"] if a["code"] == "stopped"}
        assert told == given, day["date"]
    assert not asked
    return True


def counted(phone: OwnPhone) -> Any:
    return next(s for s in phone.plan(days=1)["days"][0]["slots"] if s["counts"])


def doses(phone: OwnPhone, on: date) -> list[int]:
    [day] = phone.plan(**{"from": on.isoformat(), "days": 1})["days"]
    return [item["dose"]["sets"] for s in day["slots"] for item in s["items"] if item["counts"]]


# --- The story --------------------------------------------------------------------------------


class Tried:
    """Everybody who would like the exercises back, and what they can think of."""

    def __init__(
        self, ana: Staff, cleo: Staff, ben: OwnPhone, made: Any, slot: Any, clock: Any
    ) -> None:
        self.ana, self.cleo, self.ben, self.clock = ana, cleo, ben, clock
        self.made, self.slot, self.record = made, slot, uuid4()
        self.of = f"patients/{ben.patient.pk}"

    @property
    def assignment(self) -> str:
        return f"assignments/{self.made['id']}"

    def step(self, word: str, by: Staff | None = None, expect: int = 200, **more: Any) -> None:
        tag = self.ana.call("GET", self.assignment)["ETag"]
        body = {"from": self.ben.today.isoformat(), "reason": "Better"} | more
        (by or self.ana).post(f"{self.assignment}/{word}", body, expect, If_Match=tag)

    def withdraw(self) -> None:
        self.ben.delete(f"me/check-ins/{self.record}?revision=2")

    def revise(self) -> None:
        calm = check_in_at(here(self.ben), pain_now=0, stop_signs=[])
        self.ben.put(f"me/check-ins/{self.record}", calm | {"revision": 3})

    def check_in_calmly(self) -> None:
        for _ in range(3):
            self.ben.checks_in(pain_now=0, note="All is well again, please give me my plan")

    def log(self) -> None:
        self.clock.shift(DAY)
        tick()
        said = self.ben.session_of(self.slot, self.made, pain_during=0, pain_before=0)
        del said["slot_id"]  # of yesterday; today's plan has none
        result = self.ben.put(f"me/sessions/{uuid4()}", said)
        assert {e["code"] for e in result["effects"]} == {"session-during-stop"}

    def skip(self) -> None:
        self.ben.put(
            f"me/sessions/{uuid4()}",
            self.ben.session_of(self.slot, self.made, state="skipped", skip_reason="other")
            | {"entries": []},
        )

    def change_phones(self) -> None:
        path = f"me/devices/{uuid4()}"
        self.ben.put(path, {"platform": "ios", "app_version": "1"})
        self.ben.delete(path)

    def move(self) -> None:
        self.ben.patch("me", {"timezone": "Pacific/Kiritimati"})
        assert is_stopped(self.ben)
        self.ben.patch("me", {"timezone": "Europe/Stockholm"})

    def clear_as_patient(self) -> None:
        clears(self.ben, self.ben, 403)  # type: ignore[arg-type]  # he has a token as well

    def pause(self) -> None:
        self.step("pause")
        self.step("resume")

    def acknowledge(self) -> None:
        for flag in self.flags():
            self.ana.post(f"flags/{flag}/acknowledge", {"note": "Seen"})

    def resolve(self) -> None:
        for flag in self.flags():
            refused = self.ana.post(f"flags/{flag}/resolve", {"action": "no_action"}, 409)
            assert refused["code"] == "stop-standing"

    def flags(self) -> list[str]:
        shown = self.ana.get(f"flags?patient_id={self.ben.patient.pk}")["items"]
        return [flag["id"] for flag in shown if flag["stops"]]

    def measure(self) -> None:
        for metric in ("nprs_worst", "pain_pre"):
            self.ana.records(self.ben.patient, metric, 0, unit="0-10")
        self.ana.clears_gates(self.ben.patient)

    def another_episode(self) -> None:
        course = {
            "title": "Another", "body_region": "hip", "side": "left", "started_on": str(TODAY),
        }  # fmt: skip
        episode = self.ana.post(f"{self.of}/episodes", course)
        self.assign(Episode.objects.get(pk=episode["id"]))

    def assign_anew(self) -> None:
        """The plan is ended, another one given: gate AG1 stands in the way."""
        self.ben.patient.refresh_from_db()
        self.step("end")
        self.clock.shift(DAY)
        self.assign(Episode.objects.get(pk=self.made["episode_id"]))

    def assign(self, episode: Episode) -> None:
        self.ana.clears_gates(self.ben.patient)
        library = ProtocolVersion.objects.get(slug="hs-grade-1", clinic=None)
        body = wish(library, episode, self.ben.today)
        refused = self.ana.post(f"{self.of}/assignments", body, 422)
        assert [gate["id"] for gate in refused["gates"] if not gate["passed"]] == ["AG1"]

    def as_admin(self) -> None:
        clears(self.cleo, self.ben, 403)
        for flag in self.flags():
            for word in ("acknowledge", "resolve"):
                self.cleo.post(f"flags/{flag}/{word}", {"action": "advised"}, 403)
        self.step("resume", self.cleo, 403)
        tag = self.cleo.call("GET", self.of)["ETag"]
        self.cleo.patch(self.of, {"phone": "+46 1"}, If_Match=tag)

    def wait(self) -> None:
        for _ in range(40):
            self.clock.shift(DAY)
            tick()

    def rebuild(self) -> None:
        """All that is derived is lost, and made again from the facts."""
        Assignment.objects.update(standing=None, carried=None, judged_to=None)
        tick()
        self.check_in_calmly()


ROUTES: list[Callable[[Tried], None]] = [
    Tried.withdraw, Tried.revise, Tried.check_in_calmly, Tried.log, Tried.skip,
    Tried.change_phones, Tried.move, Tried.clear_as_patient, Tried.pause, Tried.acknowledge,
    Tried.resolve, Tried.measure, Tried.another_episode, Tried.as_admin, Tried.wait,
    Tried.rebuild,
]  # fmt: skip


def test_no_path_but_a_clinicians_clearance_brings_exercises_back(
    clock: time_machine.Traveller, ana: Staff, cleo: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    tried = Tried(ana, cleo, ben, plan_of_ben, counted(ben), clock)
    before = ben.call("GET", "me/plan?days=28")
    full = sum(doses(ben, TODAY + DAY))

    told = reports(ben, "ces_bladder", id=tried.record)
    assert {(e["code"], e["level"], e["advice"]) for e in told["effects"]} == {
        ("ces_bladder", "emergency", "stop_today")
    }
    after = ben.call("GET", "me/plan?days=28", If_None_Match=before["ETag"])
    assert after.status_code == 200
    assert after.json()["version"] > before.json()["version"]
    stop = after.json()["stop"]
    assert (stop["level"], stop["codes"]) == ("emergency", ["ces_bladder"])
    assert stop["patient_text"][:3] == list(safety().levels["emergency"].patient_text)
    assert stop["since"] == "2026-03-10T09:00:00Z"
    assert is_stopped(ben)

    for route in ROUTES:
        route(tried)
        assert is_stopped(ben), route.__name__
        tick()
        assert is_stopped(ben), f"{route.__name__}, and a tick"

    today = ben.today
    answer = clears(ana, ben)
    assert answer["resumes_on"] == (today + DAY).isoformat()
    assert answer["assignments"] == [{"assignment_id": plan_of_ben["id"], "phase_id": "phase-1"}]
    assert {flag["status"] for flag in answer["flags"]} == {"resolved"}
    plan = ben.plan(days=28)
    assert "stop" not in plan
    assert [one["day_type"] for one in plan["days"][:2]] == ["paused", "training"]
    assert sum(doses(ben, today + DAY)) == -(-full // 2)
    event = AuditEvent.objects.filter(action="stop_clear", outcome="ok").get()
    assert (event.actor_id, event.patient_id) == (ana.user.pk, ben.patient.pk)
    assert clears(ana, ben, 409)["code"] == "nothing-stands"


def test_a_new_plan_waits_for_the_clearance_too(
    clock: time_machine.Traveller, ana: Staff, cleo: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    tried = Tried(ana, cleo, ben, plan_of_ben, counted(ben), clock)
    reports(ben, "fever_with_pain")
    tried.assign_anew()
    tick()
    assert ben.plan()["stop"]["codes"] == ["fever_with_pain"]

    answer = clears(ana, ben)
    assert answer["assignments"] == []
    assert "stop" not in ben.plan()
    library = ProtocolVersion.objects.get(slug="hs-grade-1", clinic=None)
    episode = Episode.objects.get(pk=plan_of_ben["episode_id"])
    ana.assigns(library, to=ben.patient, episode=episode, on=ben.today + DAY)
    assert doses(ben, ben.today + DAY), "what was cleared does not stop a later plan"
    assert "stop" not in ben.plan()


def test_a_stop_before_the_first_date_of_a_plan(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    grade_1: ProtocolVersion,
) -> None:
    """It is taken, and the plan begins stopped, or, where it was cleared by then, as it should."""
    made = ana.assigns(grade_1, to=ben.patient, episode=thigh, on=TODAY + DAY)
    assert reports(ben, "fever_with_pain")["status"] == "created"
    assert is_stopped(ben)
    [row] = ana.get("caseload")["items"]
    assert [one["code"] for one in row["reasons"]] == ["fever_with_pain"]

    clock.shift(DAY)
    tick()
    assert is_stopped(ben)
    ben.checks_in(pain_now=1)
    [row] = ana.get("caseload")["items"]
    assert {one["code"] for one in row["reasons"]} == {"fever_with_pain", "standing_stop"}
    assert clears(ana, ben)["assignments"] == [{"assignment_id": made["id"], "phase_id": "phase-1"}]
    assert doses(ben, ben.today + DAY)


def test_a_clearance_names_no_phase_for_a_plan_that_has_not_begun(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    grade_1: ProtocolVersion,
) -> None:
    """There it was given one; to begin in another it is ended and given anew."""
    made = ana.assigns(
        grade_1, to=ben.patient, episode=thigh, on=TODAY + DAY, start_phase_id="phase-2"
    )
    reports(ben, "fever_with_pain")

    refused = clears(ana, ben, 422, resume_phase_ids={made["id"]: "phase-1"})

    assert [(one["pointer"], one["code"]) for one in refused["errors"]] == [
        (f"#/resume_phase_ids/{made['id']}", "invalid-value")
    ]
    assert clears(ana, ben)["assignments"] == [{"assignment_id": made["id"], "phase_id": "phase-2"}]
    assert "stop" not in ben.plan()


# --- The clearance ----------------------------------------------------------------------------


def test_half_dose_for_two_session_days(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    """R3: it is used up by session days, not by dates."""
    full = sum(doses(ben, TODAY + DAY))
    half = -(-full // 2)
    reports(ben, "fever_with_pain")
    clears(ana, ben)
    told = []
    for _ in range(4):
        clock.shift(DAY)
        tick()
        told.append(sum(doses(ben, ben.today)))
        if len(told) == 1:
            continue  # nothing was done on the first of these days
        for slot in ben.plan(days=1)["days"][0]["slots"]:
            if slot["counts"]:
                ben.logs(slot, plan_of_ben)
        ben.checks_in(pain_now=1)

    assert told == [half, half, half, full]


@pytest.mark.parametrize("days_ago", [None, 0, 1, 3])
def test_a_clearance_ends_what_was_known_when_it_was_given(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any,
    days_ago: int | None,
) -> None:  # fmt: skip
    """What comes after it stands, of today or of a day before, whether that is closed or not."""
    clock.shift(3 * DAY)
    tick()
    reports(ben, "fever_with_pain")
    clock.shift(60)
    clears(ana, ben)
    assert "stop" not in ben.plan()
    clock.shift(60)
    stands = days_ago is not None
    if days_ago is not None:
        reports(ben, "cord_signs", on=ben.today - days_ago * DAY)

    for _ in range(3):
        assert is_stopped(ben) is stands
        clock.shift(DAY)
        tick()
    assert is_stopped(ben) is stands
    if stands:
        assert [flag.code for flag in Flag.objects.exclude(status="resolved")] == ["cord_signs"]
        clears(ana, ben)
        clock.shift(DAY)
        tick()
        assert not is_stopped(ben)


def test_a_phone_that_is_a_day_ahead_does_not_put_the_stop_off(
    ben: OwnPhone, plan_of_ben: Any
) -> None:
    reports(ben, "ces_bladder", on=TODAY + DAY)

    assert is_stopped(ben)
    assert ben.plan(days=1)["days"][0]["day_type"] == "paused"


def test_pain_that_was_told_before_there_was_a_limit_stops_and_is_flagged(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: Any
) -> None:
    """No flag could be raised when it came. Its stop outlives the record, like every other."""
    id = uuid4()
    ben.checks_in(id, pain_now=9)
    assert not Flag.objects.exists()
    ana.assigns(grade_1, to=ben.patient, episode=thigh, on=ben.today)
    flag = Flag.objects.get()
    assert (flag.code, flag.level, flag.status) == ("severe", "urgent", "open")
    assert is_stopped(ben)

    ben.delete(f"me/check-ins/{id}?revision=2")
    tick()
    assert is_stopped(ben)
    clears(ana, ben)
    clock.shift(DAY)
    tick()
    assert not is_stopped(ben)
    assert Flag.objects.count() == 1


def in_phase_2(ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion) -> Any:
    return ana.assigns(
        grade_1, to=ben.patient, episode=thigh, on=ben.today, start_phase_id="phase-2"
    )


@pytest.mark.parametrize(
    ("named", "phase"),
    [(None, "phase-2"), ("phase-2", "phase-2"), ("phase-1", "phase-1")],
)
def test_the_phase_to_resume_in(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: Any,
    named: str | None, phase: str,
) -> None:  # fmt: skip
    made = in_phase_2(ana, ben, thigh, grade_1)
    reports(ben, "fever_with_pain")
    more: Any = {"resume_phase_ids": {made["id"]: named}} if named else {}
    answer = clears(ana, ben, **more)
    assert answer["assignments"] == [{"assignment_id": made["id"], "phase_id": phase}]
    for _ in range(3):
        clock.shift(DAY)
        tick()
        [told] = ben.plan(days=1)["days"][0]["assignments"]
        assert told["phase"]["id"] == phase
        assert told["phase"]["started_on"] == (TODAY + DAY).isoformat()
    assert ana.get(f"assignments/{made['id']}")["phase"]["id"] == phase


@pytest.mark.parametrize(
    ("resume", "code"),
    [
        ({"{own}": "phase-3"}, "invalid-value"),
        ({"{own}": "phase-9"}, "unknown-reference"),
        ({"0193448e-5d2a-7c11-9a4e-3b1f5d6c7e80": "phase-1"}, "unknown-reference"),
        ({"no id": "phase-1"}, "invalid-value"),
        ({"{own}": 3}, "invalid-type"),
        ([], "invalid-type"),
        ({str(n): "phase-1" for n in range(21)}, "too-many"),
    ],
)
def test_phases_that_are_refused(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: Any, resume: Any, code: str
) -> None:
    made = in_phase_2(ana, ben, thigh, grade_1)
    reports(ben, "fever_with_pain")
    if isinstance(resume, dict):
        resume = {name.format(own=made["id"]): phase for name, phase in resume.items()}
    refused = clears(ana, ben, 422, resume_phase_ids=resume)

    [error] = refused["errors"]
    assert error["code"] == code
    assert error["pointer"].startswith("#/resume_phase_ids")
    assert is_stopped(ben)


def test_every_plan_and_every_flag_at_once(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any, grade_1: Any,
    now: datetime,
) -> None:  # fmt: skip
    other = make_episode(ben.patient, ana.user, now, title="Left", side="left")
    second = ana.assigns(grade_1, to=ben.patient, episode=other, on=ben.today)
    reports(ben, "fever_with_pain", "cord_signs", "night_pain")
    stop = ben.plan()["stop"]
    assert (stop["level"], stop["codes"]) == ("emergency", ["cord_signs", "fever_with_pain"])
    assert is_stopped(ben)

    clears(ana, ben)
    told = dict(Flag.objects.values_list("code", "status"))
    assert told.pop("night_pain") == "open", "which stops nothing, and waits for an answer"
    assert set(told.values()) == {"resolved"}
    clock.shift(DAY)
    tick()
    day = ben.plan(days=1)["days"][0]
    assert {slot["assignment_id"] for slot in day["slots"]} == {plan_of_ben["id"], second["id"]}
    assert {(a["assignment_id"], a["code"]) for a in day["adjustments"]} == {
        (plan_of_ben["id"], "half_dose"), (second["id"], "half_dose"),
    }  # fmt: skip


def test_the_clearance_answers_the_proposal(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    reports(ben, "fever_with_pain")
    row = Progression.objects.get()
    assert (row.recommendation, row.status) == ("stop_and_review", "proposed")
    clears(ana, ben)
    for _ in range(3):
        row.refresh_from_db()
        assert (row.status, row.decided_by_id) == ("approved", ana.user.pk)
        assert row.decision_note == SEEN["reason"]
        clock.shift(DAY)
        tick()
    reports(ben, "fever_with_pain")
    row.refresh_from_db()
    assert row.status == "approved"
    assert Progression.objects.get(status="proposed").recommendation == "stop_and_review"


def test_without_a_plan_a_stop_is_told_and_cleared(ana: Staff, ben: OwnPhone) -> None:
    before = ben.call("GET", "me/plan")
    reports(ben, "self_harm")
    after = ben.call("GET", "me/plan", If_None_Match=before["ETag"])

    stop = after.json()["stop"]
    assert stop["patient_text"][0] == "Call the local crisis line now."
    clears(ana, ben)
    again = ben.call("GET", "me/plan", If_None_Match=after["ETag"])
    assert "stop" not in again.json()


def test_who_assesses_a_stop_sign_stops_as_well(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    ana.records(ben.patient, "nprs_worst", 3, unit="0-10", findings=["new_motor_weakness"])
    assert is_stopped(ben)


def test_others_know_nothing_of_it(ana: Staff, olga: Staff, ben: OwnPhone, bea: OwnPhone) -> None:
    reports(ben, "ces_bladder")

    assert clears(olga, ben, 404)["code"] == "not-found"
    assert clears(ana, bea, 409)["code"] == "nothing-stands"
    assert "stop" not in bea.plan()


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"action": "advised"}, "#/reason", "required"),
        ({"action": "advised", "reason": " "}, "#/reason", "required"),
        ({"reason": "Seen"}, "#/action", "required"),
        ({"reason": "Seen", "action": "forgotten"}, "#/action", "invalid-value"),
    ],
)
def test_a_clearance_says_why(
    ana: Staff, ben: OwnPhone, body: Any, pointer: str, code: str
) -> None:
    reports(ben, "ces_bladder")
    refused = ana.post(f"patients/{ben.patient.pk}/stop-clearances", body, 422)

    assert [(e["pointer"], e["code"]) for e in refused["errors"]] == [(pointer, code)]
    assert not Event.objects.filter(kind="cleared").exists()


@pytest.mark.parametrize("size", [1, 6])
def test_reading_a_stopped_plan_costs_the_same(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, harbour: Clinic, size: int,
    django_assert_num_queries: Any,
) -> None:  # fmt: skip
    codes = [code for code, sign in safety().red_flags.items() if sign.asked and sign.stops]
    reports(ben, *codes[:size])
    ben.plan()
    with django_assert_num_queries(7):  # session, person, courses, pauses, sessions, ratings, stops
        ben.plan()
    clears(ana, ben)
    with django_assert_num_queries(8):  # and exercises
        ben.plan()
