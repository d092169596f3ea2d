"""Plans given to patients: assign and preview, tailor, pause, resume, end, and what is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from backend.care import prescribing
from backend.care.models import Assignment, AssignmentVersion
from backend.clinics.models import Clinic, Episode
from backend.problems import StateConflict, ValidationFailed
from exercises.models import Exercise
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Somebody, Staff, make_episode, make_patient, wish
from tests.service.racing import at_once

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)
TODAY = date(2026, 3, 10)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def version_of(slug: str) -> ProtocolVersion:
    return ProtocolVersion.objects.get(slug=slug)


def preview(ana: Staff, episode: Episode, slug: str, expect: int = 200, **more: Any) -> Any:
    body = wish(version_of(slug), episode, TODAY, **more)
    return ana.post(f"patients/{episode.patient_id}/assignments/preview", body, expect)


def assign(ana: Staff, episode: Episode, slug: str, **more: Any) -> Any:
    on = more.pop("on", TODAY)
    return ana.assigns(version_of(slug), to=episode.patient, episode=episode, on=on, **more)


def items(plan: Any, day: int = 0) -> list[Any]:
    return [item for slot in plan["days"][day]["slots"] for item in slot["items"]]


def rows(shown: Any, exercise: str) -> list[Any]:
    return [row for row in shown["prescriptions"] if row["exercise"] == exercise]


def errors(refused: Any) -> list[tuple[str, str]]:
    assert refused["code"] == "validation-failed"
    return [(error["pointer"], error["code"]) for error in refused["errors"]]


# --- Assign and preview -----------------------------------------------------------------------


def test_all_who_may_read_it_read_the_same(
    ana: Staff, cleo: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    body = wish(version_of("hs-grade-1"), thigh, TODAY)
    ana.clears_gates(ben.patient)
    answer = ana.call("POST", f"patients/{ben.patient.pk}/assignments", body)
    made = answer.json()

    for person in (ana, cleo, ben):
        read = person.call("GET", f"assignments/{made['id']}")
        assert (read.json(), read["ETag"]) == (made, answer["ETag"])
    assert ben.get("me/assignments")["items"] == [made]
    assert (made["status"], made["version"], made["side"]) == ("active", 1, "right")
    assert made["phase"] == {"id": "phase-1", "number": 1, "started_on": TODAY.isoformat()}
    assert {row["phase_id"] for row in made["prescriptions"]} == {"phase-1", "phase-2", "phase-3"}
    assert [change["version"] for change in made["changes"]] == [1]


def test_preview_is_what_assigning_gives_and_stores_nothing(
    ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    ana.clears_gates(ben.patient)
    more: dict[str, Any] = {
        "side": "left",
        "schedule": {"parts_of_day": ["midday", "evening"], "days": ["mon", "wed", "sat"]},
        "tailoring": [
            {"op": "remove", "key": "phase-1/ca-bike"},
            {"op": "add", "exercise": "co-dead-bug"},
        ],
    }
    before = (ben.plan(), ben.get("me/sync/changes")["items"])
    told = preview(ana, thigh, "hs-grade-1", **more)
    after = (ben.plan(), ben.get("me/sync/changes")["items"])
    assert before == after
    assert not Assignment.objects.exists()
    assert not AssignmentVersion.objects.exists()

    made = assign(ana, thigh, "hs-grade-1", **more)
    plan = ben.plan()
    assert told.pop("warnings") == made["warnings"]
    assert all(gate["passed"] for gate in told.pop("gates"))
    assert _without_ids(told) == _without_ids(plan)
    assert len(told["days"]) == 14


def _without_ids(shown: Any) -> Any:
    """A new plan has new ids, whenever it is looked at."""
    if isinstance(shown, dict):
        gone = ("assignment_id", "slot_id", "prescription_id")
        return {k: _without_ids(v) for k, v in shown.items() if k not in gone and k != "version"}
    return [_without_ids(one) for one in shown] if isinstance(shown, list) else shown


@pytest.mark.parametrize(
    ("start", "status"), [(TODAY, "active"), (TODAY + DAY, "scheduled")], ids=["today", "tomorrow"]
)
def test_a_plan_starts_on_its_day(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    start: date,
    status: str,
) -> None:
    made = assign(ana, thigh, "hs-grade-1", on=start)
    assert made["status"] == status
    days = {day["date"]: day for day in ben.plan()["days"]}
    first = next(date for date, day in days.items() if day["day_type"] != "none")
    assert first == start.isoformat()
    assert days[first]["assignments"][0]["phase"]["day_in_phase"] == 1

    clock.shift(DAY)
    assert ben.get(f"assignments/{made['id']}")["status"] == "active"


def test_yesterday_is_refused_and_today_is_the_patients(
    ana: Staff, harbour: Clinic, ben: OwnPhone, thigh: Episode, now: datetime
) -> None:
    body = wish(version_of("hs-grade-1"), thigh, TODAY - DAY)
    path = f"patients/{ben.patient.pk}/assignments/preview"
    assert errors(ana.post(path, body, 422)) == [("#/start_date", "invalid-value")]

    # 09:00 UTC: on Kiritimati (+14) it is still this day at 23:00, on Niue (-11) still yesterday.
    for zone, first in (("Pacific/Kiritimati", TODAY), ("Pacific/Niue", TODAY - DAY)):
        away = make_patient(harbour, f"Away{first}", now, ana.user, timezone=zone)
        there = make_episode(away.patient, ana.user, now)
        path = f"patients/{away.patient.pk}/assignments/preview"
        ana.post(path, wish(version_of("pht"), there, first), 200)
        ana.post(path, wish(version_of("pht"), there, first - DAY), 422)


def test_one_open_plan_an_episode(ana: Staff, ben: OwnPhone, thigh: Episode, now: datetime) -> None:
    first = assign(ana, thigh, "hs-grade-1")
    body = wish(version_of("pht"), thigh, TODAY)
    refused = ana.post(f"patients/{ben.patient.pk}/assignments", body, 409)
    assert refused["code"] == "overlapping-assignment"

    other = make_episode(ben.patient, ana.user, now, title="Left hip")
    assign(ana, other, "pht")
    end(ana, first)
    assign(ana, thigh, "pht")
    assert len(ben.get("me/assignments")["items"]) == 3


def test_what_cannot_be_assigned(
    ana: Staff, ben: OwnPhone, bea: OwnPhone, thigh: Episode, now: datetime
) -> None:
    protocol = version_of("hs-grade-1")
    usual = wish(protocol, thigh, TODAY)
    path = f"patients/{ben.patient.pk}/assignments"
    theirs = make_episode(bea.patient, ana.user, now)
    ended = make_episode(ben.patient, ana.user, now, ended_on=TODAY, end_reason="completed")
    table: list[tuple[dict[str, Any], list[tuple[str, str]]]] = [
        ({"protocol_id": str(uuid4())}, [("#/protocol_id", "unknown-reference")]),
        ({"protocol_version": "1.0.1"}, [("#/protocol_id", "unknown-reference")]),
        ({"episode_id": str(uuid4())}, [("#/episode_id", "unknown-reference")]),
        ({"episode_id": str(theirs.pk)}, [("#/episode_id", "unknown-reference")]),
        ({"start_phase_id": "phase-9"}, [("#/start_phase_id", "unknown-reference")]),
        ({"side": "affected"}, [("#/side", "invalid-value")]),
        ({"schedule": {"days": ["someday"]}}, [("#/schedule/days/0", "invalid-value")]),
        ({"surprise": 1}, [("#/surprise", "unknown-field")]),
        (
            {"tailoring": [{"op": "remove", "key": "phase-1/ca-bike"}] * 61},
            [("#/tailoring", "too-many")],
        ),
    ]
    for way in (path, f"{path}/preview"):
        for wrong, expected in table:
            assert errors(ana.post(way, usual | wrong, 422)) == expected, wrong
        refused = ana.post(way, usual | {"episode_id": str(ended.pk)}, 409)
        assert refused["code"] == "state-conflict"
        ProtocolVersion.objects.filter(pk=protocol.pk).update(
            status="retired", retired_at=timezone.now()
        )
        assert errors(ana.post(way, usual, 422)) == [("#/protocol_id", "unknown-reference")]
        ProtocolVersion.objects.filter(pk=protocol.pk).update(status="published", retired_at=None)
    assert not Assignment.objects.exists()


def test_a_retired_protocol_keeps_serving_the_plans_it_has(
    ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    assign(ana, thigh, "hs-grade-1")
    before = ben.plan()
    ProtocolVersion.objects.filter(slug="hs-grade-1").update(
        status="retired", retired_at=timezone.now()
    )

    assert ben.plan() == before


def test_start_in_a_later_phase(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    made = assign(ana, thigh, "pht", start_phase_id="phase-3")

    assert made["phase"]["number"] == 3
    phase = ben.plan()["days"][0]["assignments"][0]["phase"]
    assert (phase["id"], phase["number"], phase["count"], phase["day_in_phase"]) == (
        "phase-3", 3, 4, 1,
    )  # fmt: skip


def test_preferred_times_and_weekdays(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    """10 March 2026 is a Tuesday. Single-leg lifts, twice a week, move to the wished days."""
    schedule = {"parts_of_day": ["midday", "evening"], "days": ["sun", "mon", "thu"]}
    made = assign(ana, thigh, "hs-grade-1", start_phase_id="phase-3", schedule=schedule)
    assert made["schedule"] == schedule | {"days": ["mon", "thu", "sun"]}

    plan = ben.plan()
    lifts = [
        day["date"]
        for n, day in enumerate(plan["days"])
        if any(item["exercise"]["slug"] == "sg-rdl-single" for item in items(plan, n))
    ]
    weekdays = {date.fromisoformat(one).strftime("%a") for one in lifts}
    assert weekdays <= {"Mon", "Thu", "Sun"}
    assert len(lifts) == 4
    assert {slot["part_of_day"] for day in plan["days"] for slot in day["slots"]} <= {
        "midday", "evening",
    }  # fmt: skip


# --- Sides ------------------------------------------------------------------------------------

# One exercise of each word the catalogue has for a side, and what it means for a patient whose
# left, right, both or neither side is affected.
SIDES = {
    "sg-bridge-single": ("left", "right", "left right", "none"),
    "ng-sciatic-contra-slider": ("right", "left", "", "none"),
    "sg-quad-set": ("both", "both", "both", "both"),
    "sg-bridge-double": ("both", "both", "both", "both"),
    "co-dead-bug": ("alternate", "alternate", "alternate", "alternate"),
    "ed-pacing": ("none", "none", "none", "none"),
}


@pytest.mark.parametrize(
    ("exercise", "affected", "means"),
    [
        pytest.param(slug, affected, sides.split(), id=f"{slug} {affected}")
        for slug, meanings in SIDES.items()
        for affected, sides in zip(("left", "right", "both", "none"), meanings, strict=True)
    ],
)
def test_a_side_is_always_this_patients(
    ana: Staff, thigh: Episode, exercise: str, affected: str, means: list[str]
) -> None:
    added = [{"op": "add", "exercise": exercise, "schedule": {"kind": "daily"}}]
    if not means:
        refused = preview(ana, thigh, "pht", 422, side=affected, tailoring=added)
        assert errors(refused) == [("#/tailoring/0/exercise", "invalid-value")]
        return
    plan = preview(ana, thigh, "pht", side=affected, tailoring=added)
    found = [item["dose"]["side"] for item in items(plan) if item["exercise"]["slug"] == exercise]
    assert sorted(found) == means


def test_the_episode_says_the_side_unless_the_wish_does(
    ana: Staff, ben: OwnPhone, now: datetime
) -> None:
    left = make_episode(ben.patient, ana.user, now, side="left")
    dig = "sg-iso-heel-dig"

    def sides(plan: Any) -> set[str]:
        return {item["dose"]["side"] for item in items(plan) if item["exercise"]["slug"] == dig}

    assert sides(preview(ana, left, "hs-grade-1")) == {"left"}
    assert sides(preview(ana, left, "hs-grade-1", side="right")) == {"right"}
    assert sides(preview(ana, left, "hs-grade-1", side="both")) == {"left", "right"}


# --- Tailoring --------------------------------------------------------------------------------

BIKE, DIG = "phase-1/ca-bike", "phase-1/sg-iso-heel-dig"


def tailored(ana: Staff, episode: Episode, *changes: Any, slug: str = "hs-grade-1", **more: Any):
    """The plan with these changes, and the assignment as it is shown."""
    made = assign(ana, episode, slug, tailoring=list(changes), **more)
    assert [one["op"] for one in made["changes"][0]["diff"]] == [one["op"] for one in changes]
    return made


def test_set_dose(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    dose = {"sets": 2, "duration_s": 300, "effort": {"scale": "cr10", "min": 2, "max": 3.5},
            "load_text": "light gear", "tempo": "easy", "rest_s": 60}  # fmt: skip
    [row] = rows(tailored(ana, thigh, {"op": "set_dose", "key": BIKE, "dose": dose}), "ca-bike")

    assert row["dose"] == dose | {"side": "both"}
    [item] = [i for i in items(ben.plan()) if i["exercise"]["slug"] == "ca-bike"]
    assert item["dose"] == row["dose"]


def test_set_dose_replaces_the_stages_of_a_row(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    """The weeks of a ramp are the protocol's; a dose set by hand stands for all of them."""
    key, dose = "phase-1/sg-nordic", {"sets": 1, "reps": {"min": 3, "max": 3}}
    before = preview(ana, thigh, "prevent-nordic")
    assert any(i["dose"]["sets"] > 1 for n in range(14) for i in items(before, n))
    change = {"op": "set_dose", "key": key, "dose": dose}
    made = tailored(ana, thigh, change, slug="prevent-nordic")
    [row] = [row for row in made["prescriptions"] if row["key"] == key]

    assert "stages" not in row
    plan = ben.plan(days=28)
    nordic = [i for n in range(28) for i in items(plan, n) if i["exercise"]["slug"] == "sg-nordic"]
    assert nordic
    assert {i["dose"]["sets"] for i in nordic} == {1}


@pytest.mark.parametrize(
    ("key", "dose", "where"),
    [
        pytest.param(BIKE, {"sets": 3, "reps": {"min": 5, "max": 5}}, "duration_s", id="minutes"),
        pytest.param(DIG, {"sets": 3, "reps": {"min": 5, "max": 5}}, "hold_s", id="holds"),
        pytest.param(DIG, {"sets": 3, "duration_s": 30}, "hold_s", id="holds, not time"),
        pytest.param("phase-1/mo-knee-arom", {"sets": 3, "duration_s": 30}, "reps", id="times"),
    ],
)
def test_a_dose_is_counted_as_its_exercise_is(
    ana: Staff, thigh: Episode, key: str, dose: Any, where: str
) -> None:
    """Else nothing would be prescribed, and doing nothing would count as all of it."""
    change = {"op": "set_dose", "key": key, "dose": dose}
    refused = preview(ana, thigh, "hs-grade-1", 422, tailoring=[change])

    assert errors(refused) == [(f"#/tailoring/0/dose/{where}", "required")]


@pytest.mark.parametrize(
    ("part", "wrong", "pointer", "code"),
    [
        ("dose", {"sets": 3}, "reps", "required"),
        ("dose", {"sets": 3, "hold_s": 10}, "reps", "required"),
        ("dose", {"sets": 3, "reps": {"min": 1, "max": 1}, "distance_m": 5}, "distance_m",
         "invalid-value"),
        ("dose", {"sets": 0, "duration_s": 5}, "sets", "out-of-range"),
        ("dose", {"sets": 21, "duration_s": 5}, "sets", "out-of-range"),
        ("dose", {"sets": 1, "reps": {"min": 6, "max": 5}}, "reps/max", "invalid-value"),
        ("dose", {"sets": 1, "duration_s": 5, "effort": {"scale": "cr10", "min": 6, "max": 5}},
         "effort/max", "invalid-value"),
        ("dose", {"sets": 1, "duration_s": 5, "side": "left"}, "side", "unknown-field"),
        ("schedule", {"kind": "weekly"}, "per_week", "required"),
        ("schedule", {"kind": "every_n_days"}, "every_n_days", "required"),
        ("schedule", {"kind": "daily", "per_week": 3}, "per_week", "invalid-value"),
        ("schedule", {"kind": "daily", "sessions_per_day": 7}, "sessions_per_day", "out-of-range"),
        ("schedule", {"kind": "daily", "from_day": 8, "to_day": 7}, "to_day", "invalid-value"),
    ],
)  # fmt: skip
def test_a_change_that_makes_no_sense(
    ana: Staff, thigh: Episode, part: str, wrong: Any, pointer: str, code: str
) -> None:
    op = {"dose": "set_dose", "schedule": "set_days"}[part]
    change = {"op": op, "key": BIKE, part: wrong}
    refused = preview(ana, thigh, "hs-grade-1", 422, tailoring=[change])

    assert errors(refused) == [(f"#/tailoring/0/{part}/{pointer}", code)]


def test_add_by_key_switches_on_what_the_protocol_leaves_open(
    ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    assert not rows(assign(ana, thigh, "hs-grade-2"), "ca-bike")
    end(ana, ben.get("me/assignments")["items"][0])

    [row] = rows(tailored(ana, thigh, {"op": "add", "key": BIKE}, slug="hs-grade-2"), "ca-bike")
    written = version_of("hs-grade-2").definition.phase("phase-1").prescriptions
    [library] = [one for one in written if one.exercise == "ca-bike"]
    assert (row["key"], row["order"]) == (library.key, library.order)
    assert row["dose"]["duration_s"] == library.dose.duration_s
    assert row["pain_limit"]["during_max"] == library.pain_ceiling


def test_add_an_exercise_with_its_own_dose_or_one_of_ours(
    ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    dose = {"sets": 1, "reps": {"min": 4, "max": 6}}
    schedule = {"kind": "every_n_days", "every_n_days": 3, "sessions_per_day": 2, "from_day": 2}
    made = tailored(
        ana,
        thigh,
        {"op": "add", "exercise": "co-dead-bug"},
        {"op": "add", "exercise": "sg-clam", "dose": dose, "schedule": schedule},
        {"op": "add", "exercise": "ed-pacing", "phase_id": "phase-3"},
        start_phase_id="phase-2",
    )
    library = Exercise.objects.get(slug="co-dead-bug")
    [bug], [clam], [pacing] = (rows(made, s) for s in ("co-dead-bug", "sg-clam", "ed-pacing"))
    assert bug["phase_id"] == clam["phase_id"] == "phase-2", "where the patient is"
    assert bug["dose"]["sets"] == library.dose["sets"]
    assert bug["dose"]["reps"] == {"min": library.dose["reps"], "max": library.dose["reps"]}
    assert bug["pain_limit"]["during_max"] == library.pain_ceiling
    assert (clam["dose"], clam["schedule"]) == (dose | {"side": "right"}, schedule)
    assert (pacing["phase_id"], pacing["counts"]) == ("phase-3", False)

    plan = ben.plan()
    clams = [
        n for n in range(14) if any(i["exercise"]["slug"] == "sg-clam" for i in items(plan, n))
    ]
    assert clams == [1, 4, 7, 10, 13]
    assert len({row["id"] for row in made["prescriptions"]}) == len(made["prescriptions"])


def test_remove_set_days_and_set_limit(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    twice = {"kind": "weekly", "per_week": 2, "sessions_per_day": 1}
    made = tailored(
        ana,
        thigh,
        {"op": "remove", "key": BIKE},
        {"op": "set_days", "key": DIG, "schedule": twice},
        {"op": "set_limit", "key": DIG, "during_max": 1},
        side="both",
    )
    assert not rows(made, "ca-bike")
    both = rows(made, "sg-iso-heel-dig")
    assert sorted(row["dose"]["side"] for row in both) == ["left", "right"]
    assert [row["schedule"] for row in both] == [twice, twice]
    assert {row["pain_limit"]["during_max"] for row in both} == {1}

    plan = ben.plan()
    digs = [
        [i["exercise"]["slug"] for i in items(plan, n)].count("sg-iso-heel-dig") for n in range(7)
    ]
    assert digs == [2, 0, 0, 2, 0, 0, 0]


@pytest.mark.parametrize(
    ("side", "new", "sides"),
    [
        pytest.param("right", "sg-bridge-single", ["right"], id="one-sided for one-sided"),
        pytest.param("right", "sg-bridge-double", ["both"], id="both legs for one"),
        pytest.param("both", "sg-bridge-double", ["both"], id="both legs for two rows"),
        pytest.param("both", "sg-bridge-single", ["left", "right"], id="a row a side"),
        pytest.param("left", "ng-sciatic-contra-slider", ["right"], id="the healthy side"),
        pytest.param("right", "ed-pacing", ["none"], id="something to read"),
    ],
)
def test_swap_is_for_the_sides_of_the_new_exercise(
    ana: Staff, ben: OwnPhone, thigh: Episode, side: str, new: str, sides: list[str]
) -> None:
    made = tailored(ana, thigh, {"op": "swap", "key": DIG, "exercise": new}, side=side)
    library = Exercise.objects.get(slug=new)
    swapped = [row for row in rows(made, new) if row["key"] == DIG]

    assert not rows(made, "sg-iso-heel-dig")
    assert sorted(row["dose"]["side"] for row in swapped) == sides
    for row in swapped:
        assert row["dose"]["sets"] == library.dose["sets"]
        assert row["pain_limit"]["during_max"] == library.pain_ceiling
        assert row["schedule"]["sessions_per_day"] == 2, "as often as what it replaces"
        assert row["counts"] == (library.kind != "education_self_care")
    assert len({row["id"] for row in made["prescriptions"]}) == len(made["prescriptions"])


def test_changes_are_made_in_order(ana: Staff, thigh: Episode) -> None:
    dose = {"sets": 2, "reps": {"min": 6, "max": 6}, "hold_s": 5}
    made = tailored(
        ana,
        thigh,
        {"op": "swap", "key": DIG, "exercise": "sg-bridge-double"},
        {"op": "set_dose", "key": DIG, "dose": dose},
        {"op": "set_limit", "key": DIG, "during_max": 0},
    )
    [row] = [row for row in rows(made, "sg-bridge-double") if row["key"] == DIG]

    assert (row["dose"], row["pain_limit"]["during_max"]) == (dose | {"side": "both"}, 0)


def test_a_swap_may_bring_its_dose(ana: Staff, thigh: Episode) -> None:
    dose = {"sets": 1, "reps": {"min": 3, "max": 3}, "hold_s": 7}
    swap = {"op": "swap", "key": BIKE, "exercise": "sg-bridge-double", "dose": dose}
    [row] = [row for row in tailored(ana, thigh, swap)["prescriptions"] if row["key"] == BIKE]

    assert row["dose"] == dose | {"side": "both"}


TENSIONERS = ("ng-sciatic-slr-tensioner", "ng-sciatic-slump-tensioner")
GATED = "phase-3/ng-sciatic-slr-tensioner"


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        pytest.param({"op": "swap", "key": GATED, "exercise": "co-dead-bug"}, "",
                     "unknown-reference", id="swapped away"),
        *(
            pytest.param({"op": op, "exercise": slug} | more, "/exercise", "invalid-value",
                         id=f"{op} {slug}")
            for slug in TENSIONERS
            for op, more in (("add", {}), ("add", {"phase_id": "phase-3"}),
                             ("swap", {"key": "phase-3/ca-run-speed-stage"}))
        ),
    ],
)  # fmt: skip
def test_a_tensioner_stays_behind_its_gate(
    ana: Staff, thigh: Episode, change: Any, pointer: str, code: str
) -> None:
    """NO-7: never shown outside N-TENS, also not as an extra or in the place of something else."""
    more = {"start_phase_id": "phase-3", "tailoring": [change]}
    refused = preview(ana, thigh, "neural-thigh", 422, **more)

    assert errors(refused) == [(f"#/tailoring/0{pointer}", code)]


def test_a_tensioner_that_is_switched_on_waits_for_its_gate(ana: Staff, thigh: Episode) -> None:
    switched_on = [{"op": "add", "key": GATED}]
    plan = preview(ana, thigh, "neural-thigh", start_phase_id="phase-3", tailoring=switched_on)

    shown = {i["exercise"]["slug"] for n in range(14) for i in items(plan, n)}
    assert not shown & set(TENSIONERS)


def test_no_library_plan_shows_a_tensioner(ana: Staff, thigh: Episode) -> None:
    slugs = set(
        Exercise.objects.filter(kind="nerve_glide_tensioner").values_list("slug", flat=True)
    )
    assert set(TENSIONERS) <= slugs
    for protocol in ProtocolVersion.objects.all():
        for phase in protocol.definition.phases:
            plan = preview(ana, thigh, protocol.slug, start_phase_id=phase.id)
            shown = {i["exercise"]["slug"] for n in range(14) for i in items(plan, n)}
            assert not shown & slugs, (protocol.slug, phase.id)


def test_every_change_that_fits_nothing_is_named_at_once(
    ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    Exercise.objects.filter(slug="fr-calf").update(retired_at=MORNING)
    changes = [
        {"op": "remove", "key": "phase-1/ca-bke"},
        {"op": "set_limit", "key": DIG, "during_max": 1},
        {"op": "swap", "key": DIG, "exercise": "sg-does-not-exist"},
        {"op": "add", "exercise": "fr-calf"},
        {"op": "add", "exercise": "co-dead-bug", "phase_id": "phase-7"},
        {"op": "add", "exercise": "co-dead-bug"},
        {"op": "add", "exercise": "co-dead-bug"},
        {"op": "set_limit", "prescription_id": str(uuid4()), "during_max": 1},
        {"op": "remove", "key": BIKE},
        {"op": "remove", "key": BIKE},
        {"op": "add", "exercise": "ng-sciatic-slump-tensioner"},
    ]
    ana.clears_gates(ben.patient)
    body = wish(version_of("hs-grade-1"), thigh, TODAY, tailoring=changes)
    expected = [
        ("#/tailoring/0", "unknown-reference"),
        ("#/tailoring/2/exercise", "unknown-reference"),
        ("#/tailoring/3/exercise", "unknown-reference"),
        ("#/tailoring/4/phase_id", "unknown-reference"),
        ("#/tailoring/6/exercise", "duplicate"),
        ("#/tailoring/7", "unknown-reference"),
        ("#/tailoring/9", "unknown-reference"),
        ("#/tailoring/10/exercise", "invalid-value"),
    ]
    for path in ("assignments/preview", "assignments"):
        assert errors(ana.post(f"patients/{ben.patient.pk}/{path}", body, 422)) == expected
    assert not Assignment.objects.exists()


DOSE = {"sets": 2, "duration_s": 300}
TWICE = {"kind": "weekly", "per_week": 2, "sessions_per_day": 1}


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"op": "remove", "key": BIKE, "dose": DOSE}, "dose"),
        ({"op": "set_dose", "key": BIKE, "dose": DOSE, "schedule": TWICE}, "schedule"),
        ({"op": "set_days", "key": BIKE, "schedule": TWICE, "during_max": 1}, "during_max"),
        ({"op": "set_limit", "key": BIKE, "during_max": 1, "exercise": "sg-clam"}, "exercise"),
        ({"op": "swap", "key": BIKE, "exercise": "sg-clam", "phase_id": "phase-2"}, "phase_id"),
        ({"op": "add", "key": BIKE, "exercise": "sg-clam"}, "exercise"),
        ({"op": "add", "key": BIKE, "phase_id": "phase-2"}, "phase_id"),
        ({"op": "add", "exercise": "sg-clam", "prescription_id": str(uuid4())}, "prescription_id"),
    ],
)
def test_a_change_says_nothing_that_it_would_not_do(
    ana: Staff, thigh: Episode, change: Any, pointer: str
) -> None:
    refused = preview(ana, thigh, "hs-grade-1", 422, tailoring=[change])

    assert errors(refused) == [(f"#/tailoring/0/{pointer}", "unknown-field")]


@pytest.mark.parametrize(
    ("slug", "change"),
    [
        pytest.param("hs-grade-2", {"op": "add", "key": BIKE}, id="switched on"),
        pytest.param("hs-grade-1", {"op": "add", "exercise": "ca-elliptical"}, id="added"),
        pytest.param("hs-grade-1", {"op": "swap", "key": DIG, "exercise": "ca-bike"}, id="swapped"),
    ],
)
def test_what_is_brought_in_may_have_its_own_dose_days_and_limit(
    ana: Staff, thigh: Episode, slug: str, change: Any
) -> None:
    change |= {"dose": DOSE, "schedule": TWICE, "during_max": 1}
    made = tailored(ana, thigh, change, slug=slug)
    own = [row for row in made["prescriptions"] if row["schedule"] == TWICE
           and row["pain_limit"]["during_max"] == 1]  # fmt: skip

    assert [row["dose"] | {"side": ""} for row in own] == [DOSE | {"side": ""}]


@pytest.mark.parametrize("change", [
    {"op": "set_limit", "key": DIG},
    {"op": "add", "exercise": "sg-clam"},
    {"op": "swap", "key": DIG, "exercise": "sg-clam"},
])  # fmt: skip
def test_no_limit_reaches_where_the_protocol_eases_off(
    ana: Staff, thigh: Episode, change: Any
) -> None:
    refused = preview(ana, thigh, "hs-grade-1", 422, tailoring=[change | {"during_max": 6}])
    [error] = refused["errors"]

    assert (error["pointer"], error["code"]) == ("#/tailoring/0/during_max", "out-of-range")
    assert error["params"] == {"min": 0, "max": 5}
    preview(ana, thigh, "hs-grade-1", tailoring=[change | {"during_max": 5}])


def test_wishes_that_do_not_suffice_are_named(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    few = {"days": ["mon"], "parts_of_day": ["evening"]}
    told = preview(ana, thigh, "hs-grade-1", schedule=few)["warnings"]

    assert f"too-few-parts-of-day: {DIG} is due 2 times a day" in told
    assert "too-few-days: phase-3/sg-rdl-single is due 2 times a week" in told
    assert assign(ana, thigh, "hs-grade-1", schedule=few)["warnings"] == told


def test_what_changed_since_the_wish_is_seen_under_the_lock(
    ana: Staff, ben: OwnPhone, thigh: Episode, now: datetime
) -> None:
    ana.clears_gates(ben.patient)
    protocol = version_of("hs-grade-1")
    asked = prescribing.Wish(protocol_version=protocol, episode=thigh, start_date=TODAY)

    def refused(kind: type[Exception]) -> None:
        with pytest.raises(kind):
            prescribing.assign(patient=ben.patient, wish=asked, by=ana.user, now=now)

    ProtocolVersion.objects.filter(pk=protocol.pk).update(
        status="retired", retired_at=timezone.now()
    )
    refused(ValidationFailed)
    ProtocolVersion.objects.filter(pk=protocol.pk).update(status="published", retired_at=None)
    Episode.objects.filter(pk=thigh.pk).update(ended_on=TODAY, end_reason="completed")
    refused(StateConflict)


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"op": "set_dose", "key": BIKE}, "dose"),
        ({"op": "set_days", "key": BIKE}, "schedule"),
        ({"op": "set_limit", "key": BIKE}, "during_max"),
        ({"op": "swap", "key": BIKE}, "exercise"),
        ({"op": "remove"}, "key"),
        ({"op": "add"}, "exercise"),
        ({"key": BIKE}, "op"),
    ],
)
def test_a_change_says_all_it_needs(ana: Staff, thigh: Episode, change: Any, pointer: str) -> None:
    refused = preview(ana, thigh, "hs-grade-1", 422, tailoring=[change])

    assert errors(refused) == [(f"#/tailoring/0/{pointer}", "required")]


# --- Pause, resume, end -----------------------------------------------------------------------


def step(ana: Somebody, shown: Any, word: str, expect: int = 200, **body: Any) -> Any:
    """One of the steps, with the newest tag."""
    tag = ana.call("GET", f"assignments/{shown['id']}")["ETag"]
    body = {"from": TODAY.isoformat(), "reason": "Away"} | body
    return ana.post(f"assignments/{shown['id']}/{word}", body, expect, If_Match=tag)


def since(on: date) -> dict[str, Any]:
    return {"from": on.isoformat()}


def end(ana: Staff, shown: Any, expect: int = 200, **body: Any) -> Any:
    return step(ana, shown, "end", expect, **body)


def types(phone: OwnPhone, first: date = TODAY, days: int = 7) -> str:
    plan = phone.plan(**since(first), days=days)
    return "".join(day["day_type"][0] for day in plan["days"])  # training, rest, paused, none


@pytest.fixture
def running(ana: Staff, thigh: Episode) -> Any:
    return assign(ana, thigh, "hs-grade-1")


def test_a_pause_with_an_end(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    until = TODAY + 2 * DAY
    shown = step(ana, running, "pause", until=until.isoformat(), reason="A cold")

    assert (shown["status"], shown["version"]) == ("paused", 2)
    assert shown["pauses"] == [{"from": "2026-03-10", "until": "2026-03-12", "reason": "A cold"}]
    assert types(ben) == "ppptttt"
    paused = ben.plan(days=1)["days"][0]
    assert {slot["status"] for slot in paused["slots"]} == {"excused"}
    assert paused["check_in"] == {"due": False}
    clock.shift(3 * DAY)
    assert ben.get(f"assignments/{running['id']}")["status"] == "active"


def test_a_pause_until_resumed(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    before = ben.plan(days=28)
    step(ana, running, "pause")
    assert types(ben) == "ppppppp"
    clock.shift(3 * DAY)
    shown = step(ana, running, "resume", **since(TODAY + 3 * DAY))

    assert (shown["status"], shown["version"]) == ("active", 3)
    assert types(ben) == "ppptttt"
    after = ben.plan(**since(TODAY), days=28)
    ids = {slot["slot_id"] for day in before["days"] for slot in day["slots"]}
    assert {s["slot_id"] for day in after["days"] for s in day["slots"]} == ids, (
        "slots keep their id"
    )


def test_a_pause_taken_back_before_it_began(ana: Staff, ben: OwnPhone, running: Any) -> None:
    step(ana, running, "pause", **since(TODAY + DAY))
    assert types(ben) == "tpppppp"
    shown = step(ana, running, "resume", **since(TODAY + DAY))

    assert types(ben) == "ttttttt"
    assert shown["pauses"] == [], "it covers no day"
    assert step(ana, running, "pause")["status"] == "paused", "and is in nobody's way"


def test_two_pauses_one_after_the_other(ana: Staff, ben: OwnPhone, running: Any) -> None:
    a, b, c, d = (TODAY + n * DAY for n in (1, 2, 4, 5))
    step(ana, running, "pause", **since(c), until=d.isoformat())
    step(ana, running, "pause", **since(a), until=b.isoformat())
    assert types(ben) == "tpptppt"

    for first, last in ((a, a), (b, c), (TODAY, None), (d, None), (TODAY, d)):
        until = {"until": last.isoformat()} if last else {}
        refused = step(ana, running, "pause", 409, **since(first), **until)
        assert refused["code"] == "state-conflict"
    assert types(ben) == "tpptppt"
    step(ana, running, "pause", **since(d + DAY))
    assert types(ben) == "tpptppp"


def test_resume_in_the_middle_of_a_pause(ana: Staff, ben: OwnPhone, running: Any) -> None:
    step(ana, running, "pause", until=(TODAY + 5 * DAY).isoformat())
    step(ana, running, "resume", **since(TODAY + 2 * DAY))

    assert types(ben) == "ppttttt"


def test_a_pause_hides_nothing_that_was_done(ana: Staff, ben: OwnPhone, running: Any) -> None:
    slots = ben.plan(days=1)["days"][0]["slots"]
    ben.logs(slots[0], running)
    step(ana, running, "pause")

    day = ben.plan(days=1)["days"][0]
    assert (day["day_type"], [slot["slot_id"] for slot in day["slots"]]) == (
        "paused", [slot["slot_id"] for slot in slots],
    )  # fmt: skip
    assert [slot["status"] for slot in day["slots"]] == [
        "completed", *["excused"] * (len(slots) - 1),
    ]  # fmt: skip


def test_why_it_was_resumed_is_kept(ana: Staff, ben: OwnPhone, running: Any) -> None:
    step(ana, running, "pause")
    shown = step(ana, running, "resume", **since(TODAY + DAY), reason="Fever is gone")

    assert [pause["resume_reason"] for pause in shown["pauses"]] == ["Fever is gone"]


@pytest.mark.parametrize("said", [1, 2, 999], ids=["before", "after", "never heard of"])
def test_a_log_is_judged_by_what_held_at_its_version(
    ana: Staff, ben: OwnPhone, running: Any, said: int
) -> None:
    """A phone names the version that it was shown, which a pause has moved on."""
    plan = AssignmentVersion.objects.get()
    step(ana, running, "pause", **since(TODAY + DAY))
    [now_has] = ben.plan(days=1)["days"][0]["assignments"]
    assert now_has["version"] == 2
    later = AssignmentVersion.objects.create(
        assignment=plan.assignment, number=3, effective_date=TODAY, made_at=MORNING,
        made_by=ana.user, parts_of_day=[], training_days=[],
        prescriptions=[row | {"dose": with_more_sets(row)} for row in plan.prescriptions],
    )  # fmt: skip
    Assignment.objects.update(version=3)
    slot = ben.slot()
    counted = [item for item in slot["items"] if item["counts"]]
    assert all(item["dose"]["sets"] > 10 for item in counted), later

    made = ben.logs(slot, running, assignment_version=said)
    [of_plan] = [row for row in plan.prescriptions if row["id"] == counted[0]["prescription_id"]]
    sets = of_plan["dose"]["sets"] if said < 3 else counted[0]["dose"]["sets"]
    judged = {item["prescription_id"]: item for item in made["derived"]["items"]}
    one = judged[counted[0]["prescription_id"]]
    assert one["prescribed"] / one["performed"] == pytest.approx(sets / counted[0]["dose"]["sets"])


def with_more_sets(row: Any) -> Any:
    return row["dose"] | {"sets": 10 + row["dose"]["sets"]}


@pytest.mark.parametrize(
    ("word", "body", "pointer", "code"),
    [
        ("pause", {"from": "2026-03-09"}, "from", "invalid-value"),
        ("pause", {"until": "2026-03-09"}, "until", "time-order"),
        ("pause", {"reason": ""}, "reason", "required"),
        ("pause", {"reason": "x" * 401}, "reason", "too-long"),
        ("pause", {"from": "10.3.2026"}, "from", "invalid-value"),
        ("pause", {"status": "stopped"}, "status", "unknown-field"),
        ("resume", {"from": "2026-03-09"}, "from", "invalid-value"),
        ("end", {"from": "2026-03-11"}, "from", "invalid-value"),
        ("end", {"from": "2026-03-08"}, "from", "time-order"),
        ("end", {"status": "paused"}, "status", "invalid-value"),
    ],
)
def test_a_step_that_makes_no_sense(
    ana: Staff, running: Any, word: str, body: Any, pointer: str, code: str
) -> None:
    if word == "resume":
        step(ana, running, "pause")
    assert errors(step(ana, running, word, 422, **body)) == [(f"#/{pointer}", code)]


def test_there_must_be_a_pause_to_resume(ana: Staff, running: Any) -> None:
    assert step(ana, running, "resume", 409)["code"] == "state-conflict"


@pytest.mark.parametrize(
    ("said", "status"), [({}, "stopped"), ({"status": "completed"}, "completed")]
)
def test_an_ended_plan_ends_with_its_last_day(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any, said: Any, status: str
) -> None:
    clock.shift(3 * DAY)
    last = TODAY + 2 * DAY
    shown = end(ana, running, **since(last), **said)

    assert (shown["status"], shown["end_date"]) == (status, "2026-03-12")
    assert types(ben) == "tttnnnn", "past days stay readable"
    assert ben.get(f"assignments/{running['id']}") == shown
    assert ana.get(f"assignments/{running['id']}") == shown


def test_no_log_is_after_the_end(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    slot = ben.slot()
    clock.shift(DAY)
    today = ben.logs(ben.slot(), running)
    assert errors(end(ana, running, 422)) == [("#/from", "time-order")]
    ben.delete(f"me/sessions/{today['id']}?revision=2")
    end(ana, running)

    yesterday: dict[str, Any] = {name: (MORNING - timedelta(minutes=n)).isoformat() for n, name in
                 enumerate(("recorded_at", "ended_at", "started_at"))}  # fmt: skip
    ben.logs(slot, running, local_date=TODAY.isoformat(), **yesterday)


def test_yesterday_is_as_far_back_as_a_plan_ends(
    clock: time_machine.Traveller, ana: Staff, running: Any
) -> None:
    clock.shift(2 * DAY)
    assert errors(end(ana, running, 422)) == [("#/from", "time-order")]


def test_an_ended_plan_takes_no_more_changes(ana: Staff, ben: OwnPhone, running: Any) -> None:
    ended = end(ana, running)
    for word in ("pause", "resume", "end"):
        assert step(ana, running, word, 409)["code"] == "assignment-ended"
    assert ben.get(f"assignments/{running['id']}") == ended


def test_a_plan_ended_before_it_began_asks_for_nothing(
    ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    made = assign(ana, thigh, "hs-grade-1", on=TODAY + DAY)
    end(ana, made)

    assert types(ben) == "nnnnnnn"
    assign(ana, thigh, "hs-grade-1")
    assert types(ben) == "ttttttt"


def test_a_plan_ended_while_paused(ana: Staff, ben: OwnPhone, running: Any) -> None:
    step(ana, running, "pause")
    assert end(ana, running)["status"] == "stopped"
    assert types(ben) == "pnnnnnn"


def test_older_prescriptions_stay_readable(ana: Staff, ben: OwnPhone, running: Any) -> None:
    """A pause changes the plan, not what is prescribed: there is one version of that."""
    step(ana, running, "pause")
    path = f"assignments/{running['id']}"

    assert ben.get(f"{path}?version=1")["prescriptions"] == running["prescriptions"]
    assert ben.get(f"{path}?version=2")["prescriptions"] == running["prescriptions"]
    for unknown in ("3", "0", "999999"):
        assert ben.get(f"{path}?version={unknown}", 404)["code"] == "not-found"
    for nonsense in ("one", "-1", "1.0", "", "1234567", "%C2%B2"):
        assert ben.get(f"{path}?version={nonsense}", 400)["code"] == "malformed-request"


# --- Two at once ------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_wins(ana: Staff, ben: OwnPhone, thigh: Episode, library: None) -> None:
    """Ends, an end and a pause, and two plans for one episode, each pair in the same moment."""
    now, today = datetime.now(UTC), ben.today
    ana.clears_gates(ben.patient)
    plan = wish(version_of("hs-grade-1"), thigh, today)
    create = f"patients/{ben.patient.pk}/assignments"
    step = {"from": today.isoformat(), "reason": "Away"}

    def same(path: str, body: Any, **headers: Any) -> Callable[[], Any]:
        return lambda: Somebody(ana.token).call("POST", path, body, **headers)

    made = at_once(same(create, plan), same(create, plan))
    assert sorted(answer.status_code for answer in made) == [201, 409]
    assert {answer.json().get("code") for answer in made} == {None, "overlapping-assignment"}

    words = [("end", "end"), ("end", "pause"), ("pause", "pause")]
    for n, pair in enumerate(words):
        [open_one] = Assignment.objects.filter(ended_on=None)
        path = f"assignments/{open_one.pk}"
        tag = ana.call("GET", path)["ETag"]
        answers = at_once(*(same(f"{path}/{word}", step, If_Match=tag) for word in pair))
        by_status = {answer.status_code: answer.json() for answer in answers}
        assert len(by_status) == 2, pair
        won = by_status.pop(200)
        [(status, lost)] = by_status.items()
        assert (status, lost["code"]) in ((412, "version-mismatch"), (409, "assignment-ended"))
        if status == 412:
            assert lost["current_etag"] == ana.call("GET", path)["ETag"]
        assert ana.get(path) == won
        assert won["version"] == 2
        if won["status"] == "paused":
            end_tag = ana.call("GET", path)["ETag"]
            ana.post(f"{path}/end", step, If_Match=end_tag)
        if n + 1 < len(words):
            thigh = make_episode(ben.patient, ana.user, now)
            ana.post(create, wish(version_of("hs-grade-1"), thigh, today), 201)
