"""A running plan is tailored: what each change does, from when, and what stays as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from math import ceil
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from backend.audit.models import AuditEvent
from backend.care import deciding
from backend.care.models import AssignmentVersion, ClosedDay
from backend.clinics.models import Clinic, Episode
from exercises.models import Exercise
from protocols.knowledge import rules
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Somebody, Staff, entry_of, make_episode, wish
from tests.service.racing import at_once
from tests.service.test_assignments import assign, errors, items, preview, rows, since, step

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)
TODAY = date(2026, 3, 10)
DAY = timedelta(days=1)
BIKE, DIG = "phase-1/ca-bike", "phase-1/sg-iso-heel-dig"
DOSE = {"sets": 2, "duration_s": 300}
HOLDS = {"sets": 6, "reps": {"min": 5, "max": 5}, "hold_s": 10}


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


@pytest.fixture
def running(ana: Staff, thigh: Episode) -> Any:
    return assign(ana, thigh, "hs-grade-1")


def body(*changes: Any, on: date = TODAY, **more: Any) -> dict[str, Any]:
    return {"effective_date": on.isoformat(), "reason": "Sore", "changes": [*changes], **more}


def tailor(who: Somebody, shown: Any, *changes: Any, expect: int = 200, **more: Any) -> Any:
    """With the newest tag, from today on unless told otherwise."""
    path = f"assignments/{shown['id']}"
    tag = who.call("GET", path)["ETag"] or "*"
    return who.patch(path, body(*changes, **more), expect, If_Match=tag)


def of(key: str, **more: Any) -> dict[str, Any]:
    return {"key": key, **more}


def sets_of(day: Any) -> int:
    return sum(
        item["dose"]["sets"] for slot in day["slots"] for item in slot["items"] if item["counts"]
    )


def slugs(phone: OwnPhone, day: int = 0) -> set[str]:
    return {item["exercise"]["slug"] for item in items(phone.plan(), day)}


def with_key(shown: Any, key: str) -> list[Any]:
    return [row for row in shown["prescriptions"] if row["key"] == key]


# --- Each change ------------------------------------------------------------------------------


def test_every_change_at_once(ana: Staff, ben: OwnPhone, running: Any) -> None:
    twice = {"kind": "weekly", "per_week": 2, "sessions_per_day": 1}
    shown = tailor(
        ana,
        running,
        {"op": "set_dose", "key": BIKE, "dose": DOSE},
        {"op": "remove", "key": "phase-1/ca-grapevine"},
        {"op": "set_days", "key": "phase-1/co-plank-side", "schedule": twice},
        {"op": "set_limit", "key": "phase-1/sg-bridge-double", "during_max": 1},
        {"op": "swap", "key": DIG, "exercise": "sg-iso-prone-hold"},
        {"op": "add", "exercise": "co-dead-bug"},
    )
    assert (shown["version"], shown["status"]) == (2, "active")
    [bike], [bridge] = with_key(shown, BIKE), with_key(shown, "phase-1/sg-bridge-double")
    assert bike["dose"] == DOSE | {"side": "both"}
    assert bridge["pain_limit"]["during_max"] == 1
    assert not with_key(shown, "phase-1/ca-grapevine")
    assert [row["schedule"] for row in with_key(shown, "phase-1/co-plank-side")] == [twice]
    assert [row["exercise"] for row in with_key(shown, DIG)] == ["sg-iso-prone-hold"]
    assert [row["phase_id"] for row in rows(shown, "co-dead-bug")] == ["phase-1"]
    assert {"sg-iso-prone-hold", "co-dead-bug"} <= slugs(ben)
    assert not {"sg-iso-heel-dig", "ca-grapevine"} & slugs(ben)
    assert [i["dose"]["sets"] for i in items(ben.plan()) if i["exercise"]["slug"] == "ca-bike"] == [
        2
    ]
    first = {row["id"]: row for row in running["prescriptions"]}
    for row in shown["prescriptions"]:
        same = row["id"] not in first or row == first[row["id"]]
        assert row["version"] == (1 if same else 2), "counted on where it changed"


def test_who_tailored_is_written_down(ana: Staff, ben: OwnPhone, running: Any) -> None:
    change = {"op": "set_limit", "key": DIG, "during_max": 1}
    shown = tailor(ana, running, change, reason="Hurts above the knee")

    told = shown["changes"][-1]
    assert told == {
        "version": 2, "by": str(ana.user.pk), "at": "2026-03-10T09:00:00Z", "reason":
        "Hurts above the knee", "effective_date": "2026-03-10", "diff": [change],
    }  # fmt: skip
    event = AuditEvent.objects.get(action="assignment_tailor")
    assert (event.actor_id, event.outcome) == (ana.user.pk, "ok")
    assert (str(event.patient_id), str(event.object_id)) == (str(ben.patient.pk), running["id"])


def test_what_held_before_stays_readable(ana: Staff, ben: OwnPhone, running: Any) -> None:
    second = tailor(ana, running, {"op": "remove", "key": BIKE})
    step(ana, running, "pause", **since(TODAY + 9 * DAY))
    fourth = tailor(ana, running, {"op": "remove", "key": DIG})
    path = f"assignments/{running['id']}"

    for number, shown in ((1, running), (2, second), (3, second), (4, fourth)):
        assert ben.get(f"{path}?version={number}")["prescriptions"] == shown["prescriptions"]
    ben.get(f"{path}?version=5", 404)
    assert [one["version"] for one in fourth["changes"]] == [1, 2, 4]
    rows_kept = AssignmentVersion.objects.order_by("number").values_list("number", flat=True)
    assert list(rows_kept) == [1, 2, 4]


@pytest.mark.parametrize("how", ["key", "prescription_id"])
@pytest.mark.parametrize(
    "change",
    [
        {"op": "set_dose", "dose": DOSE},
        {"op": "set_days", "schedule": {"kind": "every_n_days", "every_n_days": 2}},
        {"op": "set_limit", "during_max": 0},
        {"op": "remove"},
        {"op": "swap", "exercise": "co-dead-bug"},
        {"op": "swap", "to": "easier"},
    ],
    ids=lambda change: "-".join(change),
)
def test_a_row_is_named_by_key_or_id(ana: Staff, running: Any, change: Any, how: str) -> None:
    [row] = with_key(running, BIKE)
    named = {"key": BIKE} if how == "key" else {"prescription_id": row["id"]}
    shown = tailor(ana, running, change | named)

    assert [one for one in with_key(shown, BIKE) if one == row] == []
    rest = [one for one in shown["prescriptions"] if one["key"] != BIKE]
    assert rest == [one for one in running["prescriptions"] if one["key"] != BIKE]


def test_what_was_taken_out_is_put_back_as_the_protocol_has_it(ana: Staff, running: Any) -> None:
    tailor(ana, running, {"op": "set_limit", "key": BIKE, "during_max": 0})
    tailor(ana, running, {"op": "remove", "key": BIKE})
    shown = tailor(ana, running, {"op": "add", "key": BIKE})

    [before], [after] = with_key(running, BIKE), with_key(shown, BIKE)
    assert after == before | {"version": 3}
    assert [row["key"] for row in shown["prescriptions"]] == [
        row["key"] for row in running["prescriptions"]
    ]


def test_an_addition_lands_in_the_phase_the_patient_is_in(ana: Staff, thigh: Episode) -> None:
    made = assign(ana, thigh, "hs-grade-1", start_phase_id="phase-2")
    shown = tailor(ana, made, {"op": "add", "exercise": "co-dead-bug"})

    assert [row["phase_id"] for row in rows(shown, "co-dead-bug")] == ["phase-2"]


@pytest.mark.parametrize(
    ("change", "pointer", "code"),
    [
        ({"op": "set_dose", "key": BIKE}, "/dose", "required"),
        ({"op": "set_dose", "key": BIKE, "dose": HOLDS}, "/dose/duration_s", "required"),
        ({"op": "set_dose", "key": DIG, "dose": DOSE}, "/dose/hold_s", "required"),
        ({"op": "set_dose", "key": "phase-1/ca-bke", "dose": DOSE}, "", "unknown-reference"),
        ({"op": "set_days", "key": BIKE, "schedule": {"kind": "weekly"}},
         "/schedule/per_week", "required"),
        ({"op": "set_limit", "key": BIKE, "during_max": 6}, "/during_max", "out-of-range"),
        ({"op": "set_limit", "prescription_id": str(uuid4()), "during_max": 1}, "",
         "unknown-reference"),
        ({"op": "remove", "key": "phase-9/x"}, "", "unknown-reference"),
        ({"op": "swap", "key": BIKE}, "/exercise", "required"),
        ({"op": "swap", "key": BIKE, "to": "harder", "exercise": "sg-clam"}, "/to",
         "invalid-value"),
        ({"op": "swap", "key": BIKE, "to": "other"}, "/to", "invalid-value"),
        ({"op": "swap", "key": BIKE, "exercise": "sg-unknown"}, "/exercise", "unknown-reference"),
        ({"op": "swap", "key": "phase-1/ba-single-leg", "to": "easier"}, "/to", "end-of-ladder"),
        ({"op": "swap", "key": "phase-3/co-plank-rotating", "to": "harder"}, "/to",
         "end-of-ladder"),
        ({"op": "swap", "key": "phase-3/ca-sprint-exposure", "to": "harder"}, "/to",
         "end-of-ladder"),
        ({"op": "remove", "key": BIKE, "to": "easier"}, "/to", "unknown-field"),
        ({"op": "add", "key": BIKE}, "/key", "duplicate"),
        ({"op": "add", "key": "phase-1/ca-unknown"}, "/key", "unknown-reference"),
        ({"op": "add", "exercise": "ng-sciatic-slr-tensioner"}, "/exercise", "invalid-value"),
        ({"op": "add", "exercise": "co-dead-bug", "phase_id": "phase-9"}, "/phase_id",
         "unknown-reference"),
        ({"op": "set_pace", "key": BIKE}, "/op", "invalid-value"),
    ],
)  # fmt: skip
def test_a_change_that_fits_nothing(
    ana: Staff, ben: OwnPhone, running: Any, change: Any, pointer: str, code: str
) -> None:
    before = ben.plan()
    refused = tailor(ana, running, {"op": "set_limit", "key": DIG, "during_max": 1}, change,
                     expect=422)  # fmt: skip

    assert errors(refused) == [(f"#/changes/1{pointer}", code)]
    assert ben.plan() == before
    assert AssignmentVersion.objects.count() == 1


def test_all_that_fits_nothing_is_named_at_once(ana: Staff, running: Any) -> None:
    refused = tailor(
        ana,
        running,
        {"op": "remove", "key": "phase-1/ca-bke"},
        {"op": "remove", "key": BIKE},
        {"op": "set_limit", "key": BIKE, "during_max": 1},
        {"op": "swap", "key": DIG, "exercise": "ng-sciatic-slr-tensioner"},
        {"op": "add", "exercise": "sg-nordic"},
        expect=422,
    )
    assert errors(refused) == [
        ("#/changes/0", "unknown-reference"),
        ("#/changes/2", "unknown-reference"),
        ("#/changes/3/exercise", "invalid-value"),
        ("#/changes/4/exercise", "outside-its-phase"),
    ]


@pytest.mark.parametrize(
    ("more", "pointer", "code"),
    [
        ({"effective_date": "2026-03-09"}, "effective_date", "invalid-value"),
        ({"effective_date": "2026-04-08"}, "effective_date", "invalid-value"),
        ({"effective_date": "10.3.2026"}, "effective_date", "invalid-value"),
        ({"effective_date": None}, "effective_date", "invalid-type"),
        ({"reason": ""}, "reason", "required"),
        ({"reason": "x" * 401}, "reason", "too-long"),
        ({"changes": []}, "changes", "required"),
        ({"changes": [{"op": "remove", "key": BIKE}] * 61}, "changes", "too-many"),
        ({"changes": {}}, "changes", "invalid-type"),
        ({"surprise": 1}, "surprise", "unknown-field"),
    ],
)
def test_a_wish_that_makes_no_sense(
    ana: Staff, running: Any, more: Any, pointer: str, code: str
) -> None:
    refused = tailor(ana, running, {"op": "remove", "key": BIKE}, expect=422, **more)

    assert errors(refused) == [(f"#/{pointer}", code)]
    tailor(ana, running, {"op": "remove", "key": BIKE}, on=TODAY + 28 * DAY)


# --- The ladder -------------------------------------------------------------------------------


def test_a_step_down_and_back_up(ana: Staff, ben: OwnPhone, running: Any) -> None:
    """Back up is what the protocol has in this place: its own dose, under its own id."""
    [before] = with_key(running, DIG)
    library = Exercise.objects.get(slug="sg-iso-heel-dig")
    easier = tailor(ana, running, {"op": "swap", "key": DIG, "to": "easier"})
    [row] = with_key(easier, DIG)
    variant = Exercise.objects.get(slug=library.easier_slug)
    assert row["exercise"] == variant.slug == "mo-heel-slide"
    assert row["pain_limit"]["during_max"] == variant.pain_ceiling
    assert row["schedule"] == before["schedule"], "as often as what it replaces"
    assert (row["id"], row["version"]) != (before["id"], before["version"])
    assert variant.slug in slugs(ben)

    harder = tailor(ana, running, {"op": "swap", "key": DIG, "exercise": "sg-iso-heel-dig"})
    assert with_key(harder, DIG) == [before]
    assert library.slug in slugs(ben)
    again = tailor(ana, running, {"op": "swap", "key": DIG, "to": "easier"})
    assert with_key(again, DIG) == [row]


def test_several_steps_in_one_change(ana: Staff, running: Any) -> None:
    """From the heel dig by way of the slide to the ankle pump, whose own easier one is none."""
    down = {"op": "swap", "key": DIG, "to": "easier"}
    shown = tailor(ana, running, down, down)
    assert [row["exercise"] for row in with_key(shown, DIG)] == ["mo-ankle-pump"]

    refused = tailor(ana, running, down, expect=422)
    assert refused["errors"][0]["params"] == {"exercise": "mo-ankle-pump"}


def test_a_step_may_bring_its_dose(ana: Staff, running: Any) -> None:
    dose = {"sets": 1, "reps": {"min": 3, "max": 3}, "hold_s": 5}
    change = {"op": "swap", "key": DIG, "to": "harder", "dose": dose, "during_max": 1}
    [row] = with_key(tailor(ana, running, change), DIG)

    assert row["exercise"] == "sg-iso-prone-hold"
    assert row["dose"] == dose | {"side": "right"}
    assert row["pain_limit"]["during_max"] == 1


def test_no_step_leads_behind_a_gate(ana: Staff, thigh: Episode) -> None:
    """The slump slider's harder one is a tensioner, a slider's easiest is reading matter."""
    slider = {"op": "add", "key": "phase-1/ng-sciatic-contra-slider"}
    made = assign(ana, thigh, "neural-thigh", tailoring=[slider])
    up = {"op": "swap", "key": "phase-3/ng-sciatic-slump-slider", "to": "harder"}
    down = {"op": "swap", "key": "phase-1/ng-sciatic-contra-slider", "to": "easier"}

    assert errors(tailor(ana, made, up, down, expect=422)) == [
        ("#/changes/0/to", "invalid-value"),
        ("#/changes/1/to", "end-of-ladder"),
    ]


def test_a_retired_step_is_none(ana: Staff, running: Any) -> None:
    Exercise.objects.filter(slug="mo-heel-slide").update(retired_at=MORNING)
    refused = tailor(ana, running, {"op": "swap", "key": DIG, "to": "easier"}, expect=422)

    assert errors(refused) == [("#/changes/0/to", "end-of-ladder")]


# --- What nobody brings in (NO-7) -------------------------------------------------------------

# Protocol, phase, exercise, and the rule that keeps it away; none where it is let in.
KEPT_BACK = [
    ("hs-grade-1", "phase-1", "st-hamstring-towel", "end-range-stretch"),
    ("hs-grade-1", "phase-1", "st-dynamic-leg-swing", "end-range-stretch"),
    ("hs-grade-1", "phase-2", "st-hamstring-wall", ""),
    ("hs-grade-1", "phase-1", "st-hamstring-ake-active", ""),
    ("hs-grade-1", "phase-1", "st-calf-wall", ""),
    ("hs-grade-2", "phase-1", "st-hamstring-seated", "end-range-stretch"),
    ("hs-grade-3", "phase-1", "st-hamstring-standing-bend", "end-range-stretch"),
    ("pht", "phase-3", "st-hamstring-standing-heel", "end-range-stretch"),
    ("pht", "phase-4", "st-hamstring-standing-heel", ""),
    ("post-repair", "phase-2", "st-hamstring-towel", "end-range-stretch"),
    ("post-repair", "phase-3", "st-hamstring-towel", ""),
    ("neural-thigh", "phase-1", "st-hamstring-towel", "end-range-stretch"),
    ("neural-thigh", "phase-2", "st-hamstring-towel", ""),
    ("lumbar-referred", "phase-1", "st-hamstring-towel", ""),
    ("hs-grade-1", "phase-2", "sg-nordic", "nordic"),
    ("hs-grade-1", "phase-2", "sg-nordic-assisted", "nordic"),
    ("hs-grade-1", "phase-3", "sg-nordic", ""),
    ("pht", "phase-3", "sg-nordic-assisted", "nordic"),
    ("pht", "phase-4", "sg-nordic-assisted", ""),
    ("post-repair", "phase-3", "sg-nordic", "nordic"),
    ("prevent-nordic", "phase-1", "sg-nordic", ""),
    ("lumbar-referred", "phase-3", "sg-nordic", "nordic"),
    ("hs-grade-1", "phase-2", "ca-sprint-exposure", "sprint"),
    ("hs-grade-2", "phase-3", "ca-sprint-exposure", "sprint"),
    ("hs-grade-2", "phase-4", "ca-sprint-exposure", ""),
    ("post-repair", "phase-4", "ca-sprint-exposure", "sprint"),
    ("deep-gluteal", "phase-3", "ca-sprint-exposure", "sprint"),
]


@pytest.mark.parametrize(("slug", "phase", "exercise", "rule"), KEPT_BACK)
def test_what_belongs_to_a_later_phase_stays_there(
    ana: Staff, thigh: Episode, slug: str, phase: str, exercise: str, rule: str
) -> None:
    """Neither as an extra, nor in the place of something else."""
    own = ProtocolVersion.objects.get(slug=slug).definition.phase(phase).prescriptions
    key = next(row.key for row in own if row.counts and row.included and row.exercise != exercise)
    for change in (
        {"op": "add", "exercise": exercise, "phase_id": phase},
        {"op": "swap", "key": key, "exercise": exercise},
    ):
        refused = preview(ana, thigh, slug, 422 if rule else 200, tailoring=[change])
        if rule:
            [error] = refused["errors"]
            assert (error["pointer"], error["code"]) == (
                "#/tailoring/0/exercise", "outside-its-phase",
            )  # fmt: skip
            assert error["params"] == {"rule": rule, "phase_id": phase}
            [said] = [one for one in rules().kept_back if one.id == rule]
            assert said.source in error["detail"]


def test_a_step_up_is_no_way_around(ana: Staff, running: Any, thigh: Episode) -> None:
    """From the active extension, in mid range, one step up is a stretch to the end."""
    mid = {"op": "add", "exercise": "st-hamstring-ake-active"}
    shown = tailor(ana, running, mid)
    [row] = rows(shown, "st-hamstring-ake-active")
    up = {"op": "swap", "prescription_id": row["id"], "to": "harder"}

    assert errors(tailor(ana, running, up, expect=422)) == [("#/changes/0/to", "outside-its-phase")]


def test_a_clinics_own_stretch_counts_as_one_to_the_end(
    ana: Staff, running: Any, harbour: Clinic
) -> None:
    own = Exercise.objects.get(slug="st-hamstring-wall")
    own.pk, own.slug, own.clinic = uuid4(), "st-ours", harbour
    own.save(force_insert=True)
    refused = tailor(ana, running, {"op": "add", "exercise": "st-ours"}, expect=422)

    assert errors(refused) == [("#/changes/0/exercise", "outside-its-phase")]
    tailor(ana, running, {"op": "add", "exercise": "st-ours", "phase_id": "phase-2"})


def test_what_is_kept_back_is_in_the_catalogue(library: None) -> None:
    named = {slug for rule in rules().kept_back for slug in (*rule.exercises, *rule.besides)}
    conditions = {one for rule in rules().kept_back for one in (rule.before or {})}

    assert named == set(Exercise.objects.filter(slug__in=named).values_list("slug", flat=True))
    known = {one.definition.condition for one in ProtocolVersion.objects.all()}
    assert conditions <= known


# --- From when --------------------------------------------------------------------------------


def test_from_tomorrow_on(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    before = ben.plan()["days"]
    shown = tailor(ana, running, {"op": "remove", "key": DIG}, on=TODAY + DAY)
    after = ben.plan()["days"]
    ids = [slot["slot_id"] for day in before for slot in day["slots"]]

    assert after[0]["slots"] == before[0]["slots"]
    assert "sg-iso-heel-dig" not in slugs(ben, 1)
    assert sets_of(after[1]) < sets_of(before[1])
    assert {slot["slot_id"] for day in after for slot in day["slots"]} <= {*ids}
    assert shown["changes"][-1]["effective_date"] == "2026-03-11"
    clock.shift(DAY)
    assert "sg-iso-heel-dig" not in slugs(ben)


def test_a_change_builds_on_the_one_that_is_scheduled(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    """Else a scheduled change would be lost, or come back later than what was made after it."""
    tailor(ana, running, {"op": "remove", "key": DIG}, on=TODAY + 5 * DAY)
    sooner = {"op": "remove", "key": BIKE}
    for on in (TODAY, TODAY + 4 * DAY):
        assert tailor(ana, running, sooner, on=on, expect=409)["code"] == "change-scheduled"
    tailor(ana, running, sooner, on=TODAY + 5 * DAY)

    assert {"ca-bike", "sg-iso-heel-dig"} <= slugs(ben, 4)
    assert not {"ca-bike", "sg-iso-heel-dig"} & slugs(ben, 5)
    clock.shift(5 * DAY)
    tailor(ana, running, {"op": "remove", "key": "phase-1/co-plank-front"}, on=TODAY + 5 * DAY)
    assert not {"ca-bike", "sg-iso-heel-dig", "co-plank-front"} & slugs(ben)


def test_a_plan_that_has_not_begun(ana: Staff, ben: OwnPhone, thigh: Episode) -> None:
    start = TODAY + DAY
    made = assign(ana, thigh, "hs-grade-1", on=start)
    change = {"op": "remove", "key": BIKE}

    refused = tailor(ana, made, change, on=start - DAY, expect=422)
    assert errors(refused) == [("#/effective_date", "time-order")]
    refused = tailor(ana, made, change, on=start + 29 * DAY, expect=422)
    assert errors(refused) == [("#/effective_date", "invalid-value")]
    tailor(ana, made, change, on=start)
    assert "ca-bike" not in slugs(ben, 1)


def test_today_is_the_patients(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    """At 23:30 UTC it is tomorrow in Stockholm."""
    clock.shift(timedelta(hours=14, minutes=30))
    change = {"op": "remove", "key": BIKE}

    tailor(ana, running, change, on=TODAY, expect=422)
    tailor(ana, running, change, on=TODAY + DAY)


def test_after_the_end(ana: Staff, running: Any) -> None:
    step(ana, running, "end")
    refused = tailor(ana, running, {"op": "remove", "key": BIKE}, expect=409)

    assert refused["code"] == "assignment-ended"


# --- Who, and twice ---------------------------------------------------------------------------


def test_who_may(
    ana: Staff, cleo: Staff, olga: Staff, ben: OwnPhone, bea: OwnPhone, nobody: Somebody,
    running: Any,
) -> None:  # fmt: skip
    path, said = f"assignments/{running['id']}", body({"op": "remove", "key": BIKE})
    for who, status in ((cleo, 403), (ben, 403), (bea, 403), (olga, 404), (nobody, 401)):
        who.patch(path, said, status, If_Match="*")
    denied = AuditEvent.objects.filter(action="assignment_tailor", outcome="denied")
    assert [(one.actor_id, one.patient_id) for one in denied] == [(cleo.user.pk, ben.patient.pk)]
    assert AssignmentVersion.objects.count() == 1


def test_a_stale_tag_and_none(ana: Staff, running: Any) -> None:
    path, said = f"assignments/{running['id']}", body({"op": "remove", "key": BIKE})
    tag = ana.call("GET", path)["ETag"]
    assert ana.patch(path, said, 428)["code"] == "precondition-required"
    first = ana.call("PATCH", path, said, If_Match=tag)
    assert (first.status_code, first["ETag"]) == (200, ana.call("GET", path)["ETag"])

    refused = ana.patch(path, said, 412, If_Match=tag)
    assert (refused["code"], refused["current_etag"]) == ("version-mismatch", first["ETag"])
    again = ana.patch(path, said, 422, If_Match=first["ETag"])
    assert errors(again) == [("#/changes/0", "unknown-reference")], "it is out already"


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_wins(ana: Staff, ben: OwnPhone, thigh: Episode, library: None) -> None:
    ana.clears_gates(ben.patient)
    plan = wish(ProtocolVersion.objects.get(slug="hs-grade-1"), thigh, ben.today)
    made = ana.post(f"patients/{ben.patient.pk}/assignments", plan, 201)
    path = f"assignments/{made['id']}"
    tag = ana.call("GET", path)["ETag"]

    def removes(key: str) -> Callable[[], Any]:
        said = body({"op": "remove", "key": key}, on=ben.today)
        return lambda: Somebody(ana.token).call("PATCH", path, said, If_Match=tag)

    answers = at_once(removes(BIKE), removes(DIG))
    assert sorted(answer.status_code for answer in answers) == [200, 412]
    [won] = [answer.json() for answer in answers if answer.status_code == 200]
    assert ana.get(path) == won
    assert won["version"] == 2


# --- What phones are told ---------------------------------------------------------------------


def test_phones_are_told_of_plan_and_new_exercises(ana: Staff, ben: OwnPhone, running: Any) -> None:
    before = ben.get("me/sync/changes")
    tag = ben.call("GET", "me/plan")["ETag"]
    tailor(ana, running, {"op": "swap", "key": DIG, "exercise": "sg-curl-prone"}, on=TODAY + DAY)

    told = ben.get(f"me/sync/changes?cursor={before['cursor']}")["items"]
    kinds = [one["type"] for one in told]
    assert sorted(set(kinds)) == ["assignment", "exercise", "plan"]
    held = {one["id"] for one in before["items"] if one["type"] == "exercise"}
    new = {one["data"]["slug"]: one["id"] for one in told if one["type"] == "exercise"}
    assert "sg-curl-prone" in new
    assert not held & {*new.values()}, "what the phone has is not sent again"
    [assignment] = [one["data"] for one in told if one["type"] == "assignment"]
    assert assignment["version"] == 2
    assert ben.call("GET", "me/plan")["ETag"] != tag
    with_easier = Exercise.objects.get(slug="sg-curl-prone").easier_slug
    known = {one["data"]["slug"] for one in before["items"] if one["type"] == "exercise"}
    assert with_easier in known | {*new}, "what may stand in for it is there as well"


# --- Stories ----------------------------------------------------------------------------------


def trains(phone: OwnPhone, shown: Any, **more: Any) -> None:
    """Everything that today's plan asks for."""
    for slot in phone.plan(days=1)["days"][0]["slots"]:
        if any(item["counts"] for item in slot["items"]):
            phone.logs(slot, shown, **more)


def closes(clock: time_machine.Traveller, phone: OwnPhone) -> ClosedDay:
    """On to the afternoon of the next date, with what came before judged."""
    clock.move_to((timezone.now() + DAY).replace(hour=13))
    deciding.close(patient_id=phone.patient.pk, now=timezone.now())
    day = ClosedDay.objects.order_by("on").last()
    assert day is not None
    return day


def test_while_a_half_dose_stands(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    """After a red day the next session is halved; it is the tailored plan that is."""
    trains(ben, running, pain_during=6)
    full = sets_of(ben.plan(days=4)["days"][3])
    assert sets_of(ben.plan()["days"][1]) == ceil(full / 2)
    tailor(ana, running, {"op": "set_dose", "key": DIG, "dose": HOLDS}, on=TODAY + DAY)

    days = ben.plan()["days"]
    tailored = sets_of(days[3])
    assert tailored == full + 2 * (6 - 3), "twice a day three sets more"
    assert sets_of(days[1]) == ceil(tailored / 2)
    closes(clock, ben)
    trains(ben, running | {"version": 2})
    day = closes(clock, ben)
    assert (day.is_half, day.planned_sets, day.done_sets) == (
        True, ceil(tailored / 2), ceil(tailored / 2),
    )  # fmt: skip


def test_sets_are_judged_date_by_date(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    """Each date by what held on it, also when all of it is judged again."""
    full = sets_of(ben.plan()["days"][0])
    dose = HOLDS | {"sets": 1}
    tailor(ana, running, {"op": "set_dose", "key": DIG, "dose": dose}, on=TODAY + DAY)
    tailor(ana, running, {"op": "remove", "key": DIG}, on=TODAY + 2 * DAY)
    for _ in range(3):
        closes(clock, ben)
    planned = [row.planned_sets for row in ClosedDay.objects.order_by("on")]

    assert planned == [full, full - 4, full - 6]
    step(ana, running, "pause", **since(TODAY + 9 * DAY))
    assert [row.planned_sets for row in ClosedDay.objects.order_by("on")] == planned


@pytest.mark.parametrize("sets", [1, 6], ids=["less", "more"])
def test_what_was_done_before_the_change_is_measured_by_what_was_asked_then(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any, sets: int
) -> None:
    """Trained in the morning, tailored at noon from today on: the least of both is expected."""
    full = sets_of(ben.plan()["days"][0])
    trains(ben, running)
    clock.shift(timedelta(hours=3))
    tailor(ana, running, {"op": "set_dose", "key": DIG, "dose": HOLDS | {"sets": sets}})
    new = full + 2 * (sets - 3)
    assert sets_of(ben.plan()["days"][0]) == new

    day = closes(clock, ben)
    assert (day.planned_sets, day.done_sets) == (min(full, new), full)
    assert [s["derived"]["outcome"] for s in ben.get("me/sessions")["items"]] == (
        ["completed"] * 2
    )  # fmt: skip


def test_a_log_is_judged_by_the_version_the_phone_had(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    """Offline all day: the phone shows version 1, of which two thirds are now half as much."""
    slot = ben.slot()
    tailor(ana, running, {"op": "set_dose", "key": DIG, "dose": HOLDS})
    entries = [entry_of(item) for item in slot["items"] if item["counts"]]

    old = ben.logs(slot, running, entries=entries)
    assert (old["derived"]["outcome"], old["derived"]["dose_ratio"]) == ("completed", 1)
    new = ben.logs(slot, running | {"version": 2}, entries=entries)
    dig = {row["id"] for row in with_key(running, DIG)}
    for made, share in ((old, 1), (new, 0.5)):
        [item] = [one for one in made["derived"]["items"] if one["prescription_id"] in dig]
        assert item["performed"] / item["prescribed"] == pytest.approx(share)


def test_during_a_stop_it_is_taken_and_nothing_is_shown(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, running: Any
) -> None:
    ben.checks_in(stop_signs=["calf_swelling_dvt_suspected"])
    assert [day["day_type"] for day in ben.plan(days=3)["days"]] == ["paused"] * 3
    shown = tailor(ana, running, {"op": "set_dose", "key": BIKE, "dose": DOSE})

    assert shown["version"] == 2
    plan = ben.plan(days=3)
    assert [(day["day_type"], day["slots"]) for day in plan["days"]] == [("paused", [])] * 3


def test_while_paused(ana: Staff, ben: OwnPhone, running: Any) -> None:
    step(ana, running, "pause")
    shown = tailor(ana, running, {"op": "remove", "key": BIKE})

    assert (shown["status"], shown["version"]) == ("paused", 3)
    assert "ca-bike" not in slugs(ben)


def test_another_plan_of_the_patient_stays_as_it_is(
    ana: Staff, ben: OwnPhone, running: Any, now: datetime
) -> None:
    other = assign(ana, make_episode(ben.patient, ana.user, now, title="Hip"), "pht")
    tailor(ana, running, {"op": "remove", "key": BIKE})

    assert ana.get(f"assignments/{other['id']}") == other


# --- A phase that began before its plan -------------------------------------------------------


def test_the_clock_of_a_phase_may_have_begun_before(
    ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    """After a repair the weeks count from the operation, not from the day the app came."""
    begun: dict[str, Any] = {"phase_started_on": (TODAY - 35 * DAY).isoformat(), "side": "right"}
    told = preview(ana, thigh, "post-repair", **begun)
    assert told["days"][0]["assignments"][0]["phase"]["day_in_phase"] == 36
    for need in ProtocolVersion.objects.get(slug="post-repair").definition.requires:
        ana.records(ben.patient, need.fact)
    made = assign(ana, thigh, "post-repair", **begun)

    assert made["phase"]["started_on"] == begun["phase_started_on"]
    assert made["start_date"] == TODAY.isoformat()
    assert ben.plan()["days"][0]["assignments"][0]["phase"]["day_in_phase"] == 36
    assert ben.plan()["days"][0]["slots"]


@pytest.mark.parametrize(
    ("begun", "code"),
    [(TODAY + DAY, "time-order"), (TODAY - 731 * DAY, "invalid-value")],
    ids=["after the start", "years ago"],
)
def test_when_a_phase_cannot_have_begun(ana: Staff, thigh: Episode, begun: date, code: str) -> None:
    refused = preview(ana, thigh, "pht", 422, phase_started_on=begun.isoformat())

    assert errors(refused) == [("#/phase_started_on", code)]
    preview(ana, thigh, "pht", phase_started_on=TODAY.isoformat())
