"""The gates before phase 1: AG1 to AG7 by name, each failing and passing, at its very boundary."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.utils import timezone

from backend.care.models import Assignment, Flag
from backend.clinics.models import Clinic, Episode
from protocols.knowledge import rules
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff, make_episode, make_patient, wish

STOCKHOLM = ZoneInfo("Europe/Stockholm")
TEN = datetime(2026, 3, 10, 10, tzinfo=STOCKHOLM)
TODAY, TOMORROW = date(2026, 3, 10), date(2026, 3, 11)
ALL = tuple(f"AG{n}" for n in range(1, 8))

INTAKE = ("red_flag_screen_clear", "grade_recorded", "diagnosis_recorded", "neuro_screen_recorded")


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(TEN, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def protocol(slug: str) -> ProtocolVersion:
    return ProtocolVersion.objects.get(slug=slug)


def gates(ana: Staff, episode: Episode, slug: str = "hs-grade-1", on: date = TODAY) -> Any:
    """What the preview says of each gate: nothing where it passes, else what is missing."""
    body = wish(protocol(slug), episode, on)
    answer = ana.post(f"patients/{episode.patient_id}/assignments/preview", body, 200)
    assert [gate["id"] for gate in answer["gates"]] == list(ALL)
    assert all(gate["passed"] == ("missing" not in gate) for gate in answer["gates"])
    return {gate["id"]: gate.get("missing", "") for gate in answer["gates"]}


def failing(*args: Any, **options: Any) -> set[str]:
    return {gate for gate, missing in gates(*args, **options).items() if missing}


def assign(ana: Staff, episode: Episode, slug: str = "hs-grade-1", expect: int = 201) -> Any:
    body = wish(protocol(slug), episode, TODAY)
    return ana.post(f"patients/{episode.patient_id}/assignments", body, expect)


def aged(years: int, days: int = 0) -> date:
    """Born so that today is this birthday, or some days after it."""
    return TODAY.replace(year=TODAY.year - years) - timedelta(days)


def test_gates_are_the_dossiers(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    body = wish(protocol("hs-grade-1"), thigh, TODAY)
    answer = ana.post(f"patients/{ben.patient.pk}/assignments/preview", body)

    texts = {gate.id: gate.text for gate in rules().assignment_gates}
    assert {gate["id"]: gate["text"] for gate in answer["gates"]} == texts
    assert set(texts) == set(ALL)


def test_nothing_recorded_is_never_taken_for_good(ana: Staff, ben: OwnPhone, thigh: Episode):
    assert failing(ana, thigh) == {"AG2", "AG3", "AG4"}

    refused = assign(ana, thigh, expect=422)
    assert refused["code"] == "assignment-gate-failed"
    assert {gate["id"] for gate in refused["gates"] if not gate["passed"]} == {"AG2", "AG3", "AG4"}
    assert not Assignment.objects.exists()
    assert ben.plan()["days"][0]["day_type"] == "none"

    ana.clears_gates(ben.patient)
    assert failing(ana, thigh) == set()
    assign(ana, thigh)


@pytest.mark.parametrize(
    ("code", "status", "fails"),
    [
        pytest.param("ces_bladder", "open", True, id="an emergency"),
        pytest.param("fever_with_pain", "open", True, id="an urgent one"),
        pytest.param("fever_with_pain", "acknowledged", True, id="seen is not solved"),
        pytest.param("fever_with_pain", "resolved", False, id="resolved"),
        pytest.param("fever_with_pain", "auto_resolved", False, id="resolved by a rule"),
        pytest.param("night_pain", "open", False, id="a routine one"),
    ],
)
def test_ag1_open_stops(
    ana: Staff, ben: OwnPhone, thigh: Episode, code: str, status: str, fails: bool
) -> None:
    ana.clears_gates(ben.patient)
    ana.records(ben.patient, "nprs_worst", 3, unit="0-10", findings=[code])
    Flag.objects.filter(patient=ben.patient, code=code).update(
        status=status, resolved_by=ana.user, resolved_at=timezone.now(), action="referred"
    )

    found = gates(ana, thigh)
    assert bool(found["AG1"]) is fails
    assert (code in found["AG1"]) is fails, "the gate names the flag"
    assign(ana, thigh, expect=422 if fails else 201)


def test_ag1_another_patients_stop_is_no_obstacle(
    ana: Staff, ben: OwnPhone, bea: OwnPhone, thigh: Episode
) -> None:
    ana.clears_gates(ben.patient)
    ana.records(bea.patient, "nprs_worst", 3, unit="0-10", findings=["ces_bladder"])

    assert failing(ana, thigh) == set()


A_MINUTE, A_DAY = timedelta(minutes=1), timedelta(hours=24)


@pytest.mark.parametrize(
    ("screens", "start", "fails"),
    [
        pytest.param([], TODAY, True, id="never asked"),
        pytest.param([(TEN, 1)], TODAY, False, id="just now"),
        pytest.param([(TEN - A_DAY, 1)], TODAY, False, id="24 h ago"),
        pytest.param([(TEN - A_DAY - A_MINUTE, 1)], TODAY, True, id="24 h and a minute ago"),
        pytest.param([(TEN, 0)], TODAY, True, id="asked, and not clear"),
        pytest.param([(TEN - A_MINUTE, 1), (TEN, 0)], TODAY, True, id="not clear any more"),
        pytest.param([(TEN - A_MINUTE, 0), (TEN, 1)], TODAY, False, id="clear since"),
        pytest.param(
            [(TEN - A_MINUTE, 1), (TEN + 5 * A_MINUTE, 0)], TODAY, True, id="their clock is ahead"
        ),
        pytest.param([(TEN, 1)], TOMORROW, False, id="for tomorrow, at ten"),
        pytest.param(
            [(TEN.replace(hour=0), 1)], TOMORROW, False, id="for tomorrow, 24 h before it begins"
        ),
        pytest.param(
            [(TEN.replace(hour=0) - A_MINUTE, 1)], TOMORROW, True, id="for tomorrow, yesterday"
        ),
        pytest.param([(TEN, 1)], TOMORROW + timedelta(1), True, id="for the day after tomorrow"),
    ],
)
def test_ag2_screen_within_24_h_before_the_start(
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    screens: list[tuple[datetime, int]],
    start: date,
    fails: bool,
) -> None:
    for fact in INTAKE[1:]:
        ana.records(ben.patient, fact)
    for at, clear in screens:
        ana.records(ben.patient, INTAKE[0], clear, measured_at=at.isoformat())

    assert failing(ana, thigh, on=start) == ({"AG2"} if fails else set())


@pytest.mark.parametrize(("minutes", "fails"), [(0, False), (1, True)])
def test_ag2_counts_hours_and_not_clock_faces(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    minutes: int,
    fails: bool,
) -> None:
    """29 March has 23 hours: a plan for the 30th begins 24 hours after 23:00 on the 28th."""
    clock.move_to(datetime(2026, 3, 29, 10, tzinfo=STOCKHOLM))
    for fact in INTAKE[1:]:
        ana.records(ben.patient, fact)
    asked = datetime(2026, 3, 28, 23, tzinfo=STOCKHOLM) - timedelta(minutes=minutes)
    ana.records(ben.patient, INTAKE[0], measured_at=asked.isoformat())

    assert failing(ana, thigh, on=date(2026, 3, 30)) == ({"AG2"} if fails else set())


@pytest.mark.parametrize(
    ("slug", "gate", "fact"),
    [
        ("hs-grade-1", "AG3", "grade_recorded"),
        ("hs-grade-2", "AG3", "grade_recorded"),
        ("hs-grade-3", "AG3", "grade_recorded"),
        ("pht", "AG3", "diagnosis_recorded"),
        ("neural-thigh", "AG3", "diagnosis_recorded"),
        ("hs-grade-1", "AG4", "neuro_screen_recorded"),
        ("lumbar-referred", "AG4", "neuro_screen_recorded"),
        ("hs-grade-3", "AG5", "surgical_opinion_recorded"),
        ("post-repair", "AG5", "surgeon_sheet_recorded"),
    ],
)
def test_ag3_to_ag5_what_a_clinician_must_have_recorded(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    slug: str,
    gate: str,
    fact: str,
) -> None:
    facts = {*INTAKE, "surgical_opinion_recorded", "surgeon_sheet_recorded"} - {fact}
    for other in facts:
        ana.records(ben.patient, other)

    assert gates(ana, thigh, slug)[gate] == f"not recorded: {fact}"
    assert failing(ana, thigh, slug) == {gate}
    refused = assign(ana, thigh, slug, expect=422)
    assert [one["id"] for one in refused["gates"] if not one["passed"]] == [gate]

    for answer in (0, 1, 0, 1):  # a recorded no is no record of it, and the last word counts
        clock.shift(1)
        ana.records(ben.patient, fact, answer)
        assert failing(ana, thigh, slug) == (set() if answer else {gate})
    assign(ana, thigh, slug)


def test_ag5_is_asked_of_two_protocols_only(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    ana.clears_gates(ben.patient)

    asked = {
        row.slug for row in ProtocolVersion.objects.all() if "AG5" in failing(ana, thigh, row.slug)
    }
    assert asked == {"hs-grade-3", "post-repair"}


def test_ag3_is_met_by_the_diagnosis_of_the_episode(
    ana: Staff, ben: OwnPhone, now: datetime
) -> None:
    for fact in ("red_flag_screen_clear", "neuro_screen_recorded"):
        ana.records(ben.patient, fact)
    bare = make_episode(ben.patient, ana.user, now)
    named = make_episode(ben.patient, ana.user, now, diagnosis_text="Hamstring strain, grade I")

    assert failing(ana, bare) == {"AG3"}
    assert failing(ana, named) == set()


def test_what_was_recorded_before_the_problem_began_does_not_count(
    ana: Staff, ben: OwnPhone, now: datetime
) -> None:
    fresh = make_episode(ben.patient, ana.user, now, started_on=TODAY)
    long_ago = (TEN - timedelta(days=30)).isoformat()
    ana.records(ben.patient, "red_flag_screen_clear")
    for fact in ("grade_recorded", "neuro_screen_recorded"):
        ana.records(ben.patient, fact, measured_at=long_ago)

    assert failing(ana, fresh) == {"AG3", "AG4"}
    for fact in ("grade_recorded", "neuro_screen_recorded"):
        ana.records(ben.patient, fact)
    assert failing(ana, fresh) == set()


@pytest.mark.parametrize(
    ("birth_date", "region", "fails"),
    [
        pytest.param(aged(17, 364), "sit_bone", True, id="17, the day before the birthday"),
        pytest.param(aged(18), "sit_bone", False, id="18 today"),
        pytest.param(aged(17), "posterior_thigh", False, id="17, pain elsewhere"),
        pytest.param(aged(30), "sit_bone", False, id="30"),
    ],
)
def test_ag6_imaging_decision_under_18_with_sit_bone_pain(
    ana: Staff, harbour: Clinic, now: datetime, birth_date: date, region: str, fails: bool
) -> None:
    young = make_patient(harbour, "Yuri", now, ana.user, birth_date=birth_date)
    episode = make_episode(young.patient, ana.user, now, body_region=region)
    ana.clears_gates(young.patient)

    assert failing(ana, episode, "pht") == ({"AG6"} if fails else set())
    if fails:
        assign(ana, episode, "pht", expect=422)
        ana.records(young.patient, "imaging_decision_recorded")
        assert failing(ana, episode, "pht") == set()
    assign(ana, episode, "pht")


@pytest.mark.parametrize(
    ("birth_date", "new_pain", "opens"),
    [
        pytest.param(aged(17, 364), True, True, id="17"),
        pytest.param(aged(18), True, False, id="18 today"),
        pytest.param(aged(50, 364), True, False, id="50, 51 tomorrow"),
        pytest.param(aged(51), True, True, id="51 today"),
        pytest.param(aged(17), False, False, id="17, known pain"),
        pytest.param(aged(80), False, False, id="80, known pain"),
        pytest.param(date(1975, 2, 28), True, True, id="born before a leap day"),
    ],
)
def test_ag7_opens_a_review_and_lets_the_plan_start(
    ana: Staff, harbour: Clinic, now: datetime, birth_date: date, new_pain: bool, opens: bool
) -> None:
    person = make_patient(harbour, "Vera", now, ana.user, birth_date=birth_date)
    episode = make_episode(person.patient, ana.user, now, new_pain=new_pain)
    ana.clears_gates(person.patient)

    assert failing(ana, episode) == set()
    assert not Flag.objects.exists(), "a preview stores nothing"
    made = assign(ana, episode)

    flags = list(Flag.objects.filter(patient=person.patient))
    assert [(f.code, f.level, f.status) for f in flags] == (
        [("age-review", "routine", "open")] if opens else []
    )
    assert [str(flag.source_id) for flag in flags] == ([made["id"]] if opens else [])
    assert person.plan()["days"][0]["day_type"] == "training"


def test_an_open_age_review_does_not_keep_a_second_plan_away(
    ana: Staff, harbour: Clinic, now: datetime
) -> None:
    person = make_patient(harbour, "Vera", now, ana.user, birth_date=aged(60))
    first, second = (make_episode(person.patient, ana.user, now) for _ in range(2))
    ana.clears_gates(person.patient)
    assign(ana, first)
    assert failing(ana, second, "pht") == set()
    assign(ana, second, "pht")

    [flag] = Flag.objects.all()
    assert (flag.code, flag.occurrences) == ("age-review", 2)
