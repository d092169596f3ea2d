"""Judging goes on from what it carried, and must never differ from a replay of everything."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.utils import timezone

from backend.care import deciding, recording
from backend.care.models import Assignment, ClosedDay, Flag, Progression
from backend.clinics.models import Episode, Patient
from protocols.knowledge import metrics
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff, make_episode, wish
from tests.service.judging import EXITS, GOOD, STEPS, Life, derived_of, difference, judged

STOCKHOLM = ZoneInfo("Europe/Stockholm")
MONDAY = datetime(2026, 3, 2, 9, tzinfo=STOCKHOLM)
A_DAY = timedelta(days=1)


@pytest.fixture
def clock(library: None) -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MONDAY, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def on(day: int) -> date:
    """Of the plan, from 1."""
    return MONDAY.date() + (day - 1) * A_DAY


def at(clock: time_machine.Traveller, day: int, hour: int, *, sweeps: bool = True) -> None:
    moment = datetime.combine(on(day), datetime.min.time(), STOCKHOLM) + timedelta(hours=hour)
    clock.move_to(moment)
    if sweeps:
        for patient_id in deciding.due_to_close(now=timezone.now(), limit=100):
            deciding.close(patient_id=patient_id, now=timezone.now())


def slots(ben: OwnPhone) -> list[Any]:
    found: list[Any] = ben.plan(days=1)["days"][0]["slots"]
    return [slot for slot in found if slot["counts"]]


def trains(ben: OwnPhone, plan: Any, **more: Any) -> None:
    """Everything that today asks for."""
    for slot in slots(ben):
        ben.logs(slot, plan, pain_before=1, **more)


def row(day: int) -> ClosedDay:
    return ClosedDay.objects.get(on=on(day))


def open_codes() -> dict[str, int]:
    return {flag.code: flag.occurrences for flag in Flag.objects.filter(status="open")}


# --- By chance --------------------------------------------------------------------------------


FULL = [pytest.param(seed, 100, marks=pytest.mark.campaign) for seed in range(100)]


@pytest.mark.parametrize(("seed", "steps"), [(0, 40), *FULL])
def test_onward_is_as_whole(
    ana: Staff, ben: OwnPhone, now: datetime, clock: time_machine.Traveller, seed: int, steps: int
) -> None:
    rng = Random(seed)
    slugs = (["hs-grade-1", "neural-thigh"], ["lumbar-referred"], ["pht", "hs-grade-2"])
    assigned = []
    for slug in slugs[seed % len(slugs)]:
        protocol = ProtocolVersion.objects.get(slug=slug)
        episode = make_episode(ben.patient, ana.user, now, title=slug)
        begins = ben.today + rng.randint(0, 1) * A_DAY
        answer = ana.assigns(protocol, to=ben.patient, episode=episode, on=begins)
        assigned.append(UUID(answer["id"]))
    life = Life(ben.patient, ana.user, rng, now, assigned)
    names, weights = zip(*STEPS, strict=True)
    for _ in range(steps):
        life.now += timedelta(minutes=rng.choice([1, 60, 200, 400, 600]))
        clock.move_to(life.now)
        if life.chance(0.5):
            life.do_sweep()
        getattr(life, f"do_{rng.choices(names, weights)[0]}")()

        whole = judged(ben.patient, life.now, whole=True)
        onward = judged(ben.patient, life.now, whole=False)
        assert difference(onward, whole) == [], (seed, life.told[-12:])
        if not deciding.due_to_close(now=life.now, limit=1) and life.has_judged:
            stored, again = (
                {name: rows for name, rows in one.items() if name != "standing"}
                for one in (derived_of(ben.patient), whole)
            )
            assert difference(stored, again) == [], (seed, life.told[-12:])


# --- What it found, one by one ----------------------------------------------------------------


def test_days_of_a_pause_are_excused_whoever_has_them_judged(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    paused = {"from": on(2).isoformat(), "until": on(5).isoformat(), "reason": "Travels."}
    path = f"assignments/{plan_of_ben['id']}"
    etag = ana.call("GET", path)["ETag"]
    ana.post(f"{path}/pause", paused, If_Match=etag)
    at(clock, 6, 13, sweeps=False)
    ben.logs(slots(ben)[0], plan_of_ben)

    days = ClosedDay.objects.order_by("on").values_list("is_excused", flat=True)
    assert list(days) == [False, True, True, True, True]


def test_worst_pain_told_in_the_first_week_is_the_baseline(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    at(clock, 3, 13)
    ben.checks_in(nprs_worst=6)
    at(clock, 8, 13)
    ben.checks_in(nprs_worst=4)

    at(clock, 10, 13)
    [assignment] = Assignment.objects.all()
    assert assignment.carried is not None
    assert assignment.carried["baseline"] == 6


def test_a_rating_taken_back_late_leaves_lived_plans_alone(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    trains(ben, plan_of_ben)
    full = sum(item["dose"]["sets"] for slot in slots(ben) for item in slot["items"])
    at(clock, 2, 8)
    rating = uuid4()
    ben.checks_in(rating, pain_now=3)  # two worse than before: RED
    at(clock, 2, 13)
    half = sum(item["dose"]["sets"] for slot in slots(ben) for item in slot["items"])
    assert half < full
    trains(ben, plan_of_ben)
    at(clock, 3, 13)
    lived = row(2).planned_sets
    assert row(2).is_half

    ben.delete(f"me/check-ins/{rating}?revision=2")
    assert (row(2).is_half, row(2).planned_sets) == (True, lived)
    assert row(1).colour == "RED" or row(1).pain_next is None


def test_a_measure_that_was_withdrawn_late_is_inherited_no_more(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    at(clock, 2, 9)
    id = uuid4()
    ben.checks_in(id, nprs_worst=3)
    at(clock, 4, 13)
    ben.delete(f"me/check-ins/{id}?revision=2")

    [assignment] = Assignment.objects.all()
    assert assignment.standing is not None
    assert "nprs_worst" not in assignment.standing["state"].get("latest", {})
    assert "nprs_worst" not in row(3).after.get("latest", {})


def test_the_level_before_is_the_one_that_was_known(
    ana: Staff, ben: OwnPhone, thigh: Episode, now: datetime, clock: time_machine.Traveller
) -> None:
    """What is told of it later can make a date RED, and eases from then on, not from that date."""
    protocol = ProtocolVersion.objects.get(slug="neural-thigh")
    plan = ana.assigns(protocol, to=ben.patient, episode=thigh, on=on(1))
    trains(ben, plan, leg_symptom="calf", settle_min=45)
    at(clock, 2, 9)
    trains(ben, plan, settle_min=5)
    at(clock, 4, 13)
    before = row(2).planned_sets, row(2).is_half

    told = (MONDAY - timedelta(hours=2)).isoformat()
    ben.checks_in(local_date=on(1).isoformat(), recorded_at=told, leg_symptom="thigh")
    assert (row(2).planned_sets, row(2).is_half) == before
    assert row(1).colour == "RED"
    [assignment] = Assignment.objects.all()
    assert assignment.standing is not None
    assert assignment.standing["state"]["half_left"] > 0


def test_late_records_of_an_ended_plan_are_counted(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    session = ben.session_of(slots(ben)[0], plan_of_ben)
    at(clock, 2, 9)
    rating = ben.check_in()
    path = f"assignments/{plan_of_ben['id']}"
    etag = ana.call("GET", path)["ETag"]
    said = {"from": on(1).isoformat(), "reason": "Moves away."}
    ana.post(f"{path}/end", said, If_Match=etag)
    at(clock, 5, 9)
    assert row(1).done_sets == 0

    ben.put(f"me/sessions/{uuid4()}", session, 201)
    assert row(1).done_sets > 0
    ben.put(f"me/check-ins/{uuid4()}", rating, 201)
    assert row(1).pain_next == 1


def test_an_alert_that_another_date_asks_for_stays(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    todo = slots(ben)
    ben.checks_in(stop_signs=["fever_with_pain"])
    at(clock, 2, 9)
    slot = {**todo[0], "slot_id": None}
    extra = ben.session_of(slot, plan_of_ben)
    del extra["slot_id"]
    ben.put(f"me/sessions/{uuid4()}", extra, 201)
    at(clock, 3, 13)
    again = ben.session_of(slot, plan_of_ben)
    del again["slot_id"]
    id = uuid4()
    ben.put(f"me/sessions/{id}", again, 201)
    assert open_codes()["session-during-stop"] == 2

    ben.delete(f"me/sessions/{id}?revision=2")
    assert open_codes()["session-during-stop"] == 1


def test_an_advised_rest_stays_one_in_the_plan(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    ben.logs(slots(ben)[0], plan_of_ben, pain_before=6, entries=[])
    [open_day] = ben.plan(days=1)["days"]
    at(clock, 2, 13)
    [closed_day] = ben.plan(**{"from": on(1).isoformat()}, days=1)["days"]

    assert open_day["day_type"] == closed_day["day_type"] == "rest"
    assert {slot["status"] for slot in closed_day["slots"]} <= {"skipped", "excused"}


def test_half_doses_after_a_gap_are_told_to_the_phone(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    at(clock, 7, 13)
    before = ben.plan()["version"]
    at(clock, 8, 13)  # seven planned dates missed in a row
    assert ben.plan()["version"] > before


def test_what_another_plan_raised_holds_this_one_back(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, now: datetime, clock: time_machine.Traveller
) -> None:
    at(clock, 2, 13)
    Patient.objects.filter(pk=ben.patient.pk).update(birth_date=date(1950, 1, 1))
    back = make_episode(ben.patient, ana.user, now, new_pain=True)
    ana.clears_gates(ben.patient)
    protocol = ProtocolVersion.objects.get(slug="hs-grade-2")
    ana.post(f"patients/{ben.patient.pk}/assignments", wish(protocol, back, on(2)), 201)

    first = Assignment.objects.get(pk=plan_of_ben["id"])
    assert first.standing is not None
    assert first.standing["state"]["reviews"] == ["age-review"]


def test_a_push_that_stored_nothing_has_no_place_for_effects(
    ben: OwnPhone, plan_of_ben: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settling may find what others left behind."""
    found = deciding.Difference(effects=[{"kind": "flag", "code": "gap-7"}])
    monkeypatch.setattr(recording, "settle", lambda **said: found)
    body = {"sent_at": timezone.now().isoformat(), "items": ["no record"]}

    [result] = ben.post("me/sync/push", body, 200)["results"]
    assert result["status"] == "rejected"


def test_what_was_rolled_back_is_not_settled(
    ben: OwnPhone, plan_of_ben: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = recording.Batch(defers=True)
    content = {k: v for k, v in ben.check_in().items() if k != "revision"}
    report = recording.Report(recording.Kind.CHECK_IN, uuid4(), 1, content)
    upload = recording.Upload(timezone.now())
    with monkeypatch.context() as patched:
        patched.setattr(recording, "_tell", _breaks)
        with pytest.raises(TimeoutError):
            recording.put(patient=ben.patient, report=report, upload=upload, batch=batch)
    assert (batch.unsettled, batch.behind) == ({}, set())

    recording.put(patient=ben.patient, report=report, upload=upload, batch=batch)
    assert Assignment.objects.get().is_behind, "a sweep finds it, if nobody settles"


def _breaks(*args: object, **more: object) -> None:
    raise TimeoutError


# --- Proposals --------------------------------------------------------------------------------


@pytest.fixture
def proposed(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> Progression:
    """Ben has earned phase 2; nobody has decided yet. It is the morning of day 6."""
    for day in range(1, 6):
        at(clock, day, 7)
        if day > 1:
            ben.checks_in()
        at(clock, day, 18)
        trains(ben, plan_of_ben)
    for code in EXITS:
        ana.records(ben.patient, code, GOOD.get(code, 0), unit=metrics()[code].unit)
    at(clock, 6, 7)
    ben.checks_in()
    return Progression.objects.get(status="proposed")


def test_it_is_proposed_and_stays_over_a_rest_day(
    ben: OwnPhone, plan_of_ben: Any, proposed: Progression, clock: time_machine.Traveller
) -> None:
    assert (proposed.recommendation, proposed.on) == ("advance", on(5))
    ben.logs(slots(ben)[0], plan_of_ben, state="skipped", skip_reason="illness", entries=[])
    at(clock, 7, 13)
    proposed.refresh_from_db()
    assert proposed.status == "proposed"


def test_a_missed_date_takes_a_proposal_back_once_it_has_closed(
    ben: OwnPhone, plan_of_ben: Any, proposed: Progression, clock: time_machine.Traveller
) -> None:
    """GG0 fails on it, and with more of them GG4; on a rest day no gate is asked."""
    at(clock, 7, 7)
    proposed.refresh_from_db()
    assert proposed.status == "proposed", "it may still be logged"
    at(clock, 7, 13)
    proposed.refresh_from_db()
    assert proposed.status == "withdrawn"
    assert row(6).rule == "R13"


def test_a_missed_date_that_was_lived_after_all_brings_it_back(
    ben: OwnPhone, plan_of_ben: Any, proposed: Progression, clock: time_machine.Traveller
) -> None:
    at(clock, 6, 18)
    sent = [ben.session_of(slot, plan_of_ben, pain_before=1) for slot in slots(ben)]
    at(clock, 7, 8)
    rating = ben.check_in()
    at(clock, 7, 13)
    for content in sent:
        ben.put(f"me/sessions/{uuid4()}", content, 201)
    ben.put(f"me/check-ins/{uuid4()}", rating, 201)

    [again] = Progression.objects.filter(status="proposed")
    assert (again.recommendation, again.on) == ("advance", on(6))


def test_red_takes_a_proposal_back_at_once(
    ben: OwnPhone, plan_of_ben: Any, proposed: Progression
) -> None:
    """GG7 fails, also where another row than R15 decides the date."""
    ben.logs(slots(ben)[0], plan_of_ben, pain_during=6)
    proposed.refresh_from_db()
    assert proposed.status == "withdrawn"


def test_what_acted_waits_for_weeks_unchanged(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    """Uploads see a part of the course; a proposal is not made anew because of that."""
    for day in (1, 2):
        at(clock, day, 18)
        ben.logs(slots(ben)[0], plan_of_ben, pain_during=6)
    at(clock, 3, 13)  # all that is said of day 2 is known
    [proposed] = Progression.objects.filter(status="proposed")
    assert (proposed.recommendation, proposed.rule) == ("step_back", "R5")
    for day in range(3, 22):
        at(clock, day, 18)
        trains(ben, plan_of_ben)

    assert Progression.objects.get(status="proposed") == proposed
