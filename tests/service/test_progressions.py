"""Proposals: what the rules ask, what a physiotherapist answers, and what becomes of the plan."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.core.management import call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from structlog.testing import capture_logs

from backend import tasks
from backend.care import deciding, reviewing
from backend.care.models import Assignment, Event, Flag, Progression
from backend.care.rebuilding import rebuild
from backend.clinics.models import Clinic, Episode
from protocols.knowledge import metrics
from protocols.models import ProtocolVersion
from tests.service.cast import (
    OwnPhone,
    Somebody,
    Staff,
    make_episode,
    make_newer,
    make_patient,
    make_staff,
)
from tests.service.racing import at_once

DAY = timedelta(days=1)
FIRST = date(2026, 3, 2)  # a Monday, as in worked case C1
OUT_OF_PHASE_1 = {
    "walk_pain": 0, "jog_slow_pain": 0, "sl_squat_pain": 0, "iso90_pct": 65, "iso90_pain": 0,
    "knee_ext_lag_deg": 0,
}  # fmt: skip
AGAINST: dict[str, Any] = {"reason_code": "clinical_judgement", "note": "Seen in the clinic."}


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(datetime(2026, 3, 2, 9, tzinfo=UTC), tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


class Story:
    """Ben's days, one after the other, as he and Ana live them over HTTP."""

    def __init__(self, clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, plan: Any) -> None:
        self.clock, self.ana, self.ben, self.plan = clock, ana, ben, plan

    def at(self, on: date, hour: int) -> None:
        self.clock.move_to(datetime.combine(on, time(hour), self.ben.patient.zone))

    def trains(self, on: date, before: int = 1, during: int = 1, **more: Any) -> list[Any]:
        """Everything the plan asks for, in the evening."""
        self.at(on, 18)
        plan = self.assignment
        found = []
        for slot in self.day(on)["slots"]:
            if any(item["counts"] for item in slot["items"]):
                said = {"pain_before": before, "pain_during": during, **more}
                found.append(self.ben.logs(slot, plan, **said))
        assert found, f"nothing to do on {on}"
        return found

    def rates(self, on: date, pain: int = 1) -> Any:
        """The morning after `on`, at seven."""
        self.at(on + DAY, 7)
        return self.ben.checks_in(pain_now=pain)

    def lives(self, on: date, before: int = 1, during: int = 1, rated: int = 1) -> None:
        self.trains(on, before, during)
        self.rates(on, rated)

    def measures(self, on: date, **values: float) -> None:
        self.at(on, 17)
        for code, value in (values or OUT_OF_PHASE_1).items():
            self.ana.records(self.ben.patient, code, value, unit=metrics()[code].unit)

    def to_proposal(self) -> Any:
        """The first four dates of worked case C1, until progress is proposed on 6 March."""
        self.lives(FIRST, before=2, during=2, rated=2)
        return self.to_proposal_from(FIRST + DAY)

    def to_proposal_from(self, on: date) -> Any:
        self.lives(on, before=2, during=2, rated=1)
        self.measures(on + DAY, **(OUT_OF_PHASE_1 | {"jog_slow_pain": 1}))
        self.lives(on + DAY, before=1, during=1, rated=1)
        self.measures(on + 2 * DAY, jog_slow_pain=0)
        self.lives(on + 2 * DAY, before=1, during=1, rated=0)
        return self.open

    def day(self, on: date) -> Any:
        return self.ben.plan(**{"from": on.isoformat(), "days": 1})["days"][0]

    def phase(self, on: date) -> str:
        """In which phase the plan of a date is, by what it asks for."""
        [shown] = self.day(on)["assignments"]
        found: str = shown["phase"]["id"]
        return found

    @property
    def assignment(self) -> Any:
        return self.ana.get(f"assignments/{self.plan['id']}")

    @property
    def open(self) -> Any:
        """The open proposal, if there is one."""
        found = [*self.ana.get("progressions")["items"], None]
        assert len(found) <= 2
        return found[0]

    def evaluates(self, expect: int = 201, **said: Any) -> Any:
        return self.ana.post(f"assignments/{self.plan['id']}/progressions", said, expect)

    def answers(
        self, row: Any, outcome: str, expect: int = 200, by: Staff | None = None, **said: Any
    ) -> Any:
        body = {"outcome": outcome, **said}
        tag = f'"pr{row["version"]}"'
        where = f"progressions/{row['id']}/decision"
        return (by or self.ana).post(where, body, expect, If_Match=tag)

    def status(self, row: Any) -> str:
        found: str = self.ana.get(f"progressions/{row['id']}")["status"]
        return found

    def closes(self, on: date) -> None:
        """The day after `on`, past noon, the dates that have closed are judged."""
        self.at(on + DAY, 13)
        for patient_id in deciding.due_to_close(now=timezone.now(), limit=10):
            deciding.close(patient_id=patient_id, now=timezone.now())


@pytest.fixture
def story(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    grade_1: ProtocolVersion,
) -> Story:
    plan = ana.assigns(grade_1, to=ben.patient, episode=thigh, on=FIRST)
    ana.records(ben.patient, "nprs_worst", 5, unit="0-10")
    return Story(clock, ana, ben, plan)


# --- The steady course ------------------------------------------------------------------------


def test_worked_case_c1_up_to_phase_2(story: Story) -> None:
    row = story.to_proposal()
    assert (row["recommendation"], row["rule"], row["status"]) == ("advance", "R14", "proposed")
    assert row["from_phase"]["id"] == "phase-1"
    assert row["to_phase"]["id"] == "phase-2"
    assert {one["result"] for one in row["criteria"]} == {"met"}
    assert row["failed_gates"] == []
    assert row["decision"] is None
    assert story.phase(FIRST + 4 * DAY) == story.phase(FIRST + 5 * DAY) == "phase-1"

    done = story.answers(row, "approve", note_to_patient="Well done.")

    assert (done["status"], done["effective_date"]) == ("approved", "2026-03-06")
    assert done["decision"] == {
        "by": str(story.ana.user.pk),
        "at": "2026-03-06T06:00:00Z",
        "outcome": "approve",
        "assignment_version": 2,
    }
    assert story.phase(FIRST + 3 * DAY) == "phase-1"
    assert story.phase(FIRST + 4 * DAY) == story.phase(FIRST + 10 * DAY) == "phase-2"
    assert story.assignment["phase"] == {
        "id": "phase-2", "number": 2, "started_on": "2026-03-06",
    }  # fmt: skip
    assert not story.open
    story.lives(FIRST + 4 * DAY, before=0, during=1, rated=0)
    assert not story.open


def test_approved_for_a_later_date_the_plan_shows_it_coming(story: Story) -> None:
    row = story.to_proposal()
    begins = FIRST + 6 * DAY
    story.answers(row, "approve", effective_date=begins.isoformat())

    assert story.phase(begins - DAY) == "phase-1"
    assert story.phase(begins) == story.phase(begins + DAY) == "phase-2"
    assert story.assignment["phase"]["id"] == "phase-1"
    story.lives(FIRST + 4 * DAY)
    assert not story.open, "nobody is asked again for what is coming"
    story.evaluates(409)
    story.at(begins, 6)  # before anything happens on that date
    assert story.assignment["phase"] == {
        "id": "phase-2", "number": 2, "started_on": begins.isoformat(),
    }  # fmt: skip
    story.lives(begins)
    assert story.phase(begins) == "phase-2"


def test_approved_with_other_doses_is_modified(story: Story) -> None:
    row = story.to_proposal()
    nordic = next(one for one in story.assignment["prescriptions"] if one["phase_id"] == "phase-2")
    dose = {"sets": 1, **({"reps": {"min": 3, "max": 3}} if "reps" in nordic["dose"] else {})}
    if "reps" not in nordic["dose"]:
        dose["duration_s"] = 60
    change = {"op": "set_dose", "prescription_id": nordic["id"], "dose": dose}
    wrong = change | {"prescription_id": str(uuid4())}
    refused = story.answers(row, "approve", 422, changes=[wrong])
    assert refused["errors"][0]["pointer"] == "#/changes/0"

    done = story.answers(row, "approve", changes=[change], note="Start low.")

    assert done["status"] == "modified"
    assert done["decision"]["changes"] == [change]
    plan = story.assignment
    after = next(one for one in plan["prescriptions"] if one["id"] == nordic["id"])
    assert (after["dose"]["sets"], after["version"]) == (1, nordic["version"] + 1)
    assert [one["version"] for one in plan["changes"]] == [1, 2]
    assert plan["changes"][1]["effective_date"] == "2026-03-06"


# --- What becomes of proposals ----------------------------------------------------------------


def test_declined_it_is_held_and_proposed_again_on_the_next_date(story: Story) -> None:
    row = story.to_proposal()
    refused = story.answers(row, "decline", 422)
    assert refused["code"] == "reason-required"
    assert [one["pointer"] for one in refused["errors"]] == ["#/reason_code", "#/note"]

    done = story.answers(row, "decline", note_to_patient="One more day.", **AGAINST)

    assert done["status"] == "declined"
    assert done["decision"]["outcome"] == "decline"
    assert "effective_date" not in done
    assert not story.open
    assert story.phase(FIRST + 4 * DAY) == "phase-1"
    assert story.assignment["version"] == 1
    story.lives(FIRST + 4 * DAY, rated=0)
    again = story.open
    assert again["id"] != row["id"]
    assert (again["recommendation"], again["window"]["to"]) == ("advance", "2026-03-06")


def test_a_gate_that_fails_withdraws_it(story: Story) -> None:
    row = story.to_proposal()
    story.lives(FIRST + 4 * DAY, during=4)

    assert not story.open
    assert story.status(row) == "withdrawn"
    told = story.answers(row, "approve", 409)
    assert (told["code"], told["progression_status"]) == ("already-decided", "withdrawn")


def test_the_next_date_supersedes_it_and_the_queue_keeps_its_place(story: Story) -> None:
    row = story.to_proposal()
    story.lives(FIRST + 4 * DAY, rated=0)

    newer = story.open
    assert story.status(row) == "superseded"
    assert newer["window"]["to"] == "2026-03-06"
    assert newer["waiting_since"] == row["waiting_since"]
    assert story.answers(row, "approve", 409)["progression_status"] == "superseded"
    story.answers(newer, "approve")


def test_nobody_answers_and_it_expires(story: Story) -> None:
    row = story.to_proposal()
    until = datetime.fromisoformat(row["valid_until"])
    assert reviewing.due_to_expire(now=until - DAY, limit=9) == []
    assert reviewing.expire(patient_id=story.ben.patient.pk, now=until - DAY) == 0
    story.clock.move_to(until)
    assert story.answers(row, "approve", 409)["progression_status"] == "expired"

    tasks.expire_proposals()
    assert reviewing.expire(patient_id=story.ben.patient.pk, now=until) == 0

    assert story.status(row) == "expired"
    story.evaluates()
    assert Progression.objects.filter(recommendation="advance").count() == 1, "answered, so to say"


def test_what_was_answered_is_so_again_when_what_was_asked_anew_is_gone(story: Story) -> None:
    """Going on from what was stored says the same as looking everything up."""
    story.answers(story.to_proposal(), "decline", **AGAINST)
    anew = story.evaluates()
    assert anew["recommendation"] == "advance"

    story.ben.checks_in(stop_signs=["fever_with_pain"])

    assert story.status(anew) == "superseded"
    carried: Any = Assignment.objects.get().carried
    assert carried["proposal"]["answered_on"] == anew["window"]["to"]
    assert rebuild(patient_id=story.ben.patient.pk, now=timezone.now()) == []


def test_one_whose_proposal_cannot_expire_stands_in_nobodys_way(
    story: Story, bea: OwnPhone, grade_1: ProtocolVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = []
    for one, from_on in ((story.ben, FIRST), (bea, FIRST + 10 * DAY)):
        story.at(from_on, 9)
        if one is bea:
            episode = make_episode(bea.patient, story.ana.user, timezone.now())
            plan = story.ana.assigns(grade_1, to=bea.patient, episode=episode, on=from_on)
            story = Story(story.clock, story.ana, bea, plan)
        where = f"assignments/{story.plan['id']}/progressions"
        rows.append(story.ana.post(where, {}, 201))
    story.clock.shift(8 * DAY)
    expire = reviewing.expire

    def fails_for_ben(*, patient_id: UUID, now: datetime) -> int:
        if str(patient_id) == rows[0]["patient_id"]:
            raise ValueError
        return expire(patient_id=patient_id, now=now)

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(reviewing, "expire", fails_for_ben)
        tasks.expire_proposals()
    assert [story.status(row) for row in rows] == ["proposed", "expired"]
    [told] = [one for one in logs if one["event"] == "expiring failed"]
    assert told["patient_id"] == rows[0]["patient_id"]

    tasks.expire_proposals()
    assert story.status(rows[0]) == "expired"


def test_late_data_undo_nothing_that_a_person_approved(story: Story) -> None:
    row = story.to_proposal()
    story.answers(row, "approve")
    story.lives(FIRST + 4 * DAY)
    story.closes(FIRST + 4 * DAY)
    before = Progression.objects.get(pk=row["id"])
    told = story.ben.get("me/sessions?from=2026-03-05&to=2026-03-05")["items"][0]
    body = {k: v for k, v in told.items() if k not in ("id", "derived", "received_at",
            "history_count", "revision")}  # fmt: skip
    story.ben.put(f"me/sessions/{told['id']}", body | {"revision": 2, "pain_during": 4})

    assert story.phase(FIRST + 5 * DAY) == "phase-2"
    assert Flag.objects.filter(code="late-data", status="open").exists()
    after = Progression.objects.get(pk=row["id"])
    assert (after.status, after.version, after.criteria) == ("approved", before.version,
                                                             before.criteria)  # fmt: skip


def test_a_step_back_since_then_voids_what_was_approved_for_later(story: Story) -> None:
    """Nobody who approved phase 3 had seen the two red days."""
    story.answers(story.to_proposal(), "approve")
    by_hand = story.evaluates(to_phase_id="phase-3", note="Strong.")
    later = FIRST + 7 * DAY
    story.answers(by_hand, "approve", effective_date=later.isoformat(), **AGAINST)
    assert story.phase(later) == "phase-3"
    story.lives(FIRST + 4 * DAY, during=6)
    story.lives(FIRST + 5 * DAY, during=6)

    assert story.phase(later) == "phase-1"
    acted = story.open
    assert acted["recommendation"] == "step_back"
    assert (acted["from_phase"]["id"], acted["to_phase"]["id"]) == ("phase-2", "phase-1")
    story.lives(FIRST + 6 * DAY)
    story.at(later, 18)
    story.closes(FIRST + 6 * DAY)
    assert story.phase(later) == "phase-1"


def test_red_on_the_date_that_was_answered_is_told_all_the_same(story: Story) -> None:
    story.answers(story.to_proposal(), "approve")
    story.lives(FIRST + 4 * DAY, during=6)
    story.trains(FIRST + 5 * DAY)
    seen = story.evaluates(to_phase_id="phase-1")
    story.answers(seen, "decline")
    story.rates(FIRST + 5 * DAY, 3)  # two worse than before

    assert story.phase(FIRST + 6 * DAY) == "phase-1"
    assert story.open["recommendation"] == "step_back"


# --- Deciding otherwise -----------------------------------------------------------------------


@pytest.fixture
def stepped_back(story: Story) -> Any:
    story.answers(story.to_proposal(), "approve")
    story.lives(FIRST + 4 * DAY, during=6)
    story.trains(FIRST + 5 * DAY, during=6)
    row = story.open
    assert row["recommendation"] == "step_back"
    assert story.phase(FIRST + 6 * DAY) == "phase-1", "lighter does not wait"
    return row


def test_a_step_back_is_confirmed(story: Story, stepped_back: Any) -> None:
    version = story.assignment["version"]
    done = story.answers(stepped_back, "approve")
    assert done["status"] == "approved"
    assert story.assignment["version"] == version
    assert story.phase(FIRST + 7 * DAY) == "phase-1"
    story.rates(FIRST + 5 * DAY)
    assert not story.open


def test_a_step_back_is_overruled_with_a_reason(story: Story, stepped_back: Any) -> None:
    assert story.answers(stepped_back, "decline", 422)["code"] == "reason-required"
    today = (FIRST + 5 * DAY).isoformat()
    early = story.answers(stepped_back, "decline", 422, effective_date=today, **AGAINST)
    assert early["errors"][0]["pointer"] == "#/effective_date"

    done = story.answers(stepped_back, "decline", **AGAINST)

    assert done["effective_date"] == (FIRST + 6 * DAY).isoformat()
    assert story.phase(FIRST + 6 * DAY) == "phase-2"
    story.lives(FIRST + 6 * DAY)
    assert story.phase(FIRST + 7 * DAY) == "phase-2"
    assert not story.open


def test_a_stop_is_confirmed_and_ends_by_no_decision(story: Story) -> None:
    story.trains(FIRST, during=9)
    row = story.open
    assert row["recommendation"] == "stop_and_review"

    refused = story.answers(row, "decline", 422, **AGAINST)
    assert refused["errors"][0]["pointer"] == "#/outcome"
    story.answers(row, "approve")
    for phase in ("phase-1", "phase-2"):
        story.evaluates(409 if phase == "phase-2" else 422, to_phase_id=phase)
    assert story.day(FIRST + DAY)["day_type"] == "paused"
    assert reviewing.due_to_expire(now=timezone.now() + 30 * DAY, limit=9) == []


def test_one_phase_up_by_hand_against_failed_gates_needs_a_reason(story: Story) -> None:
    story.lives(FIRST)
    story.evaluates(422, to_phase_id="phase-3")
    story.evaluates(422, to_phase_id="phase-9")
    row = story.evaluates(to_phase_id="phase-2", note="Knows all of it.")
    assert (row["recommendation"], row["proposal_note"]) == ("hold", "Knows all of it.")
    assert "GG1" in row["failed_gates"]
    assert story.evaluates(409, to_phase_id="phase-2")["code"] == "progression-open"

    assert story.answers(row, "approve", 422)["code"] == "reason-required"
    assert story.answers(row, "approve", 422, note="Only this.")["code"] == "reason-required"
    story.answers(row, "approve", **AGAINST)
    assert story.phase(FIRST + DAY) == "phase-2"


def test_down_by_hand_needs_no_reason_and_begins_at_once(story: Story) -> None:
    story.answers(story.to_proposal(), "approve")
    story.trains(FIRST + 4 * DAY)
    row = story.evaluates(to_phase_id="phase-1")
    done = story.answers(row, "approve")
    assert done["effective_date"] == "2026-03-06"
    assert story.phase(FIRST + 5 * DAY) == "phase-1"


def test_what_is_harder_begins_behind_the_newest_log(story: Story) -> None:
    row = story.to_proposal()
    story.trains(FIRST + 4 * DAY)
    today = story.ben.today.isoformat()
    refused = story.answers(row, "approve", 422, effective_date=today)
    assert refused["errors"][0]["params"] == {"min": "2026-03-07", "max": "2026-03-19"}
    assert story.answers(row, "approve")["effective_date"] == "2026-03-07"


@pytest.mark.parametrize("days", [-1, 14], ids=["in the past", "too far"])
def test_effective_dates_have_limits(story: Story, days: int) -> None:
    row = story.to_proposal()
    on = (story.ben.today + days * DAY).isoformat()
    refused = story.answers(row, "approve", 422, effective_date=on)
    assert refused["errors"][0]["code"] == "out-of-range"


def test_the_rules_are_run_when_somebody_asks(story: Story) -> None:
    story.lives(FIRST, before=2, during=2, rated=2)
    row = story.evaluates(note="How is he?")
    assert (row["recommendation"], row["rule"]) == ("hold", "R15")
    assert row["failed_gates"][0] == "GG1"
    assert {one["result"] for one in row["criteria"]} >= {"not_met", "unknown"}
    assert story.evaluates(409)["progression_id"] == row["id"]
    story.lives(FIRST + DAY)
    newer = story.evaluates()
    assert newer["window"]["to"] == "2026-03-03"
    assert story.status(row) == "superseded"


def test_a_hold_that_somebody_asked_for_gives_way_to_the_rules(story: Story) -> None:
    story.lives(FIRST)
    story.evaluates()
    row = story.to_proposal_from(FIRST + DAY)
    assert row["recommendation"] == "advance"


# --- Completion and newer versions ------------------------------------------------------------


RETURN_TO_SPORT = {
    "sprint_pain": 0, "cod_pain": 0, "palpation_pain": 0, "ake_deficit_pct": 5, "hhd_outer_pct": 94,
    "slhb_pct": 96, "htest_insecurity": 0, "ready_self": 1, "clinician_signoff": 1,
}  # fmt: skip


def test_completion_ends_the_plan_the_day_before(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    grade_1: ProtocolVersion,
) -> None:
    plan = ana.assigns(grade_1, to=ben.patient, episode=thigh, on=FIRST, start_phase_id="phase-3")
    ana.records(ben.patient, "nprs_worst", 5, unit="0-10")
    story = Story(clock, ana, ben, plan)
    last = FIRST
    while story.open is None:
        done = (last - FIRST).days + 1
        story.measures(last, **RETURN_TO_SPORT, full_trainings=done)
        if any(item["counts"] for slot in story.day(last)["slots"] for item in slot["items"]):
            story.trains(last, before=0, during=1)
        story.rates(last, 0)
        last += DAY
        assert done < 10, story.evaluates()["failed_gates"]
    row = story.open
    assert (row["recommendation"], "to_phase" in row) == ("discharge", False)
    story.answers(row, "approve", 422, changes=[{"op": "remove", "key": "phase-3/x"}])
    far = (story.ben.today + 2 * DAY).isoformat()
    story.answers(row, "approve", 422, effective_date=far)

    done = story.answers(row, "approve")

    assert done["effective_date"] == last.isoformat()
    shown = story.assignment
    assert (shown["status"], shown["end_date"]) == ("completed", (last - DAY).isoformat())
    assert done["decision"]["assignment_version"] == shown["version"]
    assert Event.objects.filter(kind="ended", on=last).exists()
    assert story.day(last)["day_type"] == "none"
    assert not story.open
    assert story.evaluates(409)["code"] == "assignment-ended"


def test_with_the_plan_its_proposals_end(story: Story) -> None:
    row = story.to_proposal()
    where = f"assignments/{story.plan['id']}"
    tag = story.ana.call("GET", where)["ETag"]
    said = {"from": story.ben.today.isoformat(), "reason": "Moved away"}
    story.ana.post(f"{where}/end", said, If_Match=tag)
    assert story.status(row) == "withdrawn"
    assert story.answers(row, "approve", 409)["code"] == "assignment-ended"


def test_a_newer_version_is_a_proposal_like_any(story: Story, grade_1: ProtocolVersion) -> None:
    make_newer(grade_1, "1.1.0", timezone.now())
    story.answers(story.to_proposal(), "approve")
    where = f"assignments/{story.plan['id']}/version-proposals"
    story.ana.post(where, {"protocol_version": "1.0.0"}, 422)
    story.ana.post(where, {"protocol_version": "2.0.0"}, 422)
    row = story.ana.post(where, {"protocol_version": "1.1.0", "note": "Newer doses."}, 201)
    assert (row["recommendation"], row["to_protocol_version"]) == ("hold", "1.1.0")
    assert story.assignment["protocol_version"] == "1.0.0"

    story.answers(row, "approve")

    old = story.assignment
    assert (old["status"], old["end_date"]) == ("stopped", "2026-03-05")
    new = next(one for one in story.ben.get("me/assignments")["items"] if one["id"] != old["id"])
    assert (new["protocol_version"], new["start_date"]) == ("1.1.0", "2026-03-06")
    assert new["phase"]["id"] == "phase-2"
    assert (new["side"], new["episode_id"], new["schedule"]) == (
        old["side"], old["episode_id"], old["schedule"],
    )  # fmt: skip
    assert story.answers(row, "approve", 409)["code"] == "already-decided"


def test_what_was_added_to_a_phase_stays_there_in_a_newer_version(
    story: Story, grade_1: ProtocolVersion
) -> None:
    """An extra exercise of phase 1 is none of phase 2, in which the newer version begins."""
    make_newer(grade_1, "1.1.0", timezone.now())
    where = f"assignments/{story.plan['id']}"

    def tailors(*changes: Any) -> Any:
        said = {"effective_date": FIRST.isoformat(), "reason": "As well.", "changes": changes}
        return story.ana.patch(where, said, If_Match=story.ana.call("GET", where)["ETag"])

    def added(plan: Any) -> list[tuple[str, str, int]]:
        rows = [row for row in plan["prescriptions"] if row["exercise"] == "sg-clam"]
        return [(row["phase_id"], row["key"], row["dose"]["sets"]) for row in rows]

    [row] = [
        one
        for one in tailors({"op": "add", "exercise": "sg-clam"})["prescriptions"]
        if one["exercise"] == "sg-clam"
    ]
    dose = {"sets": 1, "reps": {"min": 5, "max": 5}}
    old = tailors({"op": "set_dose", "prescription_id": row["id"], "dose": dose})
    assert added(old) == [("phase-1", "phase-1/sg-clam+", 1)]
    story.answers(story.to_proposal(), "approve")
    newer = story.ana.post(f"{where}/version-proposals", {"protocol_version": "1.1.0"}, 201)

    story.answers(newer, "approve")

    new = next(
        one for one in story.ben.get("me/assignments")["items"] if one["id"] != story.plan["id"]
    )
    assert new["phase"]["id"] == "phase-2"
    assert added(new) == added(old)


def test_a_newer_version_without_the_phase_is_refused(
    story: Story, grade_1: ProtocolVersion
) -> None:
    phases = [p | {"id": f"stage-{n}"} for n, p in enumerate(grade_1.document["phases"])]
    make_newer(grade_1, "1.1.0", timezone.now(), phases=phases)
    story.lives(FIRST)
    where = f"assignments/{story.plan['id']}/version-proposals"
    refused = story.ana.post(where, {"protocol_version": "1.1.0"}, 422)
    assert refused["errors"][0]["pointer"] == "#/protocol_version"


def test_what_is_eased_off_is_not_lost_on_the_way_to_a_newer_version(
    story: Story, grade_1: ProtocolVersion
) -> None:
    make_newer(grade_1, "1.1.0", timezone.now())
    story.lives(FIRST, during=6)  # red: the next session day at half dose
    where = f"assignments/{story.plan['id']}/version-proposals"
    story.ana.post(where, {"protocol_version": "1.1.0"}, 409)


# --- Who sees what ----------------------------------------------------------------------------


def test_patients_read_their_own_without_what_staff_note(story: Story, cleo: Staff) -> None:
    row = story.to_proposal()
    story.answers(row, "decline", note_to_patient="One more day.", **AGAINST)
    answer = story.ben.call("GET", f"progressions/{row['id']}")
    shown = answer.json()

    assert answer["ETag"] == '"pr2"'
    assert shown["note_to_patient"] == "One more day."
    assert (shown["recommendation"], shown["status"]) == ("advance", "declined")
    assert all(one.keys() == {"id", "text", "result"} for one in shown["criteria"])
    for word in ("decision", "reasons", "data_quality", AGAINST["note"]):
        assert word not in answer.content.decode()
    again = story.ben.call("GET", f"progressions/{row['id']}", If_None_Match='"pr2"')
    assert again.status_code == 304
    [told] = [
        one for one in story.ben.get("me/sync/changes")["items"] if one["type"] == "progression"
    ]
    assert (told["op"], told["version"], told["data"]) == ("upsert", 2, shown)
    cleo.get(f"progressions/{row['id']}", 403)


def test_it_names_its_sources_and_records(story: Story) -> None:
    row = story.to_proposal()
    cited = {key for one in row["criteria"] for key in one["citation_ids"]}
    assert {one["id"] for one in row["citations"]} == cited
    [pain] = [one for one in row["criteria"] if one["gate"] == "GG2"]
    assert len(pain["evidence"]) >= 3
    for record in pain["evidence"]:
        story.ana.get(f"patients/{story.ben.patient.pk}/sessions")
        assert story.ben.get(f"me/sessions/{record['id']}")["local_date"] == record["local_date"]
    assert row["data_quality"]["days_not_heard"] == 0
    assert row["window"] == {"from": "2026-03-02", "to": "2026-03-05"}
    assert row["engine"]["protocol_version"] == "1.0.0"


def test_the_queue_is_of_ones_clinic_oldest_first_and_costs_the_same(
    story: Story, olga: Staff, cleo: Staff, grade_1: ProtocolVersion, harbour: Clinic
) -> None:
    story.at(FIRST, 9)

    def waiting(name: str) -> str:
        one = make_patient(harbour, name, timezone.now(), story.ana.user)
        episode = make_episode(one.patient, story.ana.user, timezone.now())
        plan = story.ana.assigns(grade_1, to=one.patient, episode=episode, on=FIRST)
        story.clock.shift(60)
        row = story.ana.post(f"assignments/{plan['id']}/progressions", {}, 201)
        return str(row["id"])

    def read() -> tuple[list[str], int]:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            found = story.ana.get("progressions")
        return [one["id"] for one in found["items"]], len(queries)

    ids = [waiting("Ann")]
    assert read()[0] == ids
    _, few = read()
    ids += [waiting(name) for name in ("Bob", "Cyd", "Dee")]
    assert read() == (ids, few)
    first = story.ana.get("progressions?limit=3")
    rest = story.ana.get(f"progressions?limit=3&cursor={first['next_cursor']}")
    assert [one["id"] for one in first["items"] + rest["items"]] == ids
    assert story.ana.get(f"progressions?patient_id={story.ben.patient.pk}")["items"] == []
    assert story.ana.get("progressions?status=approved")["items"] == []
    story.ana.get("progressions?status=open", 400)
    assert olga.get("progressions")["items"] == []
    olga.get(f"progressions/{ids[0]}", 404)
    cleo.get("progressions", 403)
    story.ben.get("progressions", 403)


# --- The clinic's switch ----------------------------------------------------------------------


def test_the_clinic_switches_proposals_off_and_on(story: Story, harbour: Clinic) -> None:
    row = story.to_proposal()
    call_command("proposals", str(harbour.pk), "off")

    assert story.status(row) == "withdrawn"
    story.lives(FIRST + 4 * DAY, rated=0)
    assert not story.open
    assert story.evaluates(409)["code"] == "state-conflict"
    story.trains(FIRST + 5 * DAY, during=9)
    assert story.open["recommendation"] == "stop_and_review", "what is lighter goes on"


def test_switched_on_again_it_is_asked_at_once(story: Story, harbour: Clinic) -> None:
    row = story.to_proposal()
    for wish in ("off", "on"):
        call_command("proposals", str(harbour.pk), wish)
    assert story.open["id"] != row["id"]
    assert story.open["recommendation"] == "advance"


# --- Two at once ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tag", "code"), [('"pr9"', "version-mismatch"), (None, "precondition-required")]
)
def test_one_says_which_version_one_decides_on(story: Story, tag: str | None, code: str) -> None:
    row = story.to_proposal()
    headers: dict[str, Any] = {} if tag is None else {"If_Match": tag}
    answer = story.ana.call(
        "POST", f"progressions/{row['id']}/decision", {"outcome": "approve"}, **headers
    )
    assert answer.json()["code"] == code


@pytest.mark.django_db(transaction=True)
def test_two_decide_at_once_and_one_is_told(library: None, story: Story, harbour: Clinic) -> None:
    row = story.to_proposal()
    dan = make_staff(harbour, "Dan", is_physiotherapist=True)
    said = {"outcome": "approve"}, {"outcome": "decline", **AGAINST}
    where = f"progressions/{row['id']}/decision"

    def decides(who: Staff, body: Any) -> Any:
        caller = Somebody(who.token)
        return lambda: caller.call("POST", where, body, If_Match='"pr1"')

    answers = at_once(decides(story.ana, said[0]), decides(dan, said[1]))
    won, lost = sorted(answers, key=lambda one: one.status_code)
    assert (won.status_code, lost.status_code) == (200, 409)
    assert lost.json()["progression_status"] == won.json()["status"]
    assert Event.objects.filter(kind="approved").count() == (won.json()["status"] == "approved")


@pytest.mark.django_db(transaction=True)
def test_fifty_evaluations_at_once_give_one_proposal(library: None, story: Story) -> None:
    story.lives(FIRST)
    where = f"assignments/{story.plan['id']}/progressions"

    def asks() -> int:
        return int(Somebody(story.ana.token).call("POST", where, {}).status_code)

    answers = at_once(*[asks] * 50)
    assert sorted(answers) == [201, *[409] * 49]
    assert Progression.objects.filter(status="proposed").count() == 1


def test_a_decision_is_repeated_under_its_key(story: Story) -> None:
    row = story.to_proposal()
    where = f"progressions/{row['id']}/decision"
    said: dict[str, Any] = {"If_Match": '"pr1"', "Idempotency_Key": str(uuid4())}
    first, again = (story.ana.call("POST", where, {"outcome": "approve"}, **said) for _ in range(2))
    assert (first.status_code, again.status_code) == (200, 200)
    assert again.content == first.content
    assert again["Idempotency-Replayed"] == "true"
    assert Event.objects.filter(kind="approved").count() == 1
