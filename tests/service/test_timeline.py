"""A patient's dates in a row: what staff and the patient see of them, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.care import deciding
from backend.care.models import ClosedDay, Flag
from tests.service.cast import OwnPhone, Staff

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)  # a Monday, 9:00 where the patients are
A_DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def now(clock: Any) -> datetime:
    return START


Live = Callable[..., None]


@pytest.fixture
def live(ben: OwnPhone, plan_of_ben: Any, clock: Any) -> Live:
    """Live dates, each with this of its session, or none; the last one stays open."""

    def live(*said: dict[str, Any] | None) -> None:
        for day, more in enumerate(said):
            clock.move_to((START + day * A_DAY).replace(hour=7))
            if day:
                ben.checks_in(pain_now=1)
            clock.move_to(evening := (START + day * A_DAY).replace(hour=17))
            deciding.close(patient_id=ben.patient.pk, now=evening)
            if more is not None:
                for slot in ben.plan(days=1)["days"][0]["slots"]:
                    ben.logs(slot, plan_of_ben, **more)

    return live


def chart(ana: Staff, ben: OwnPhone, query: str = "") -> Any:
    return ana.get(f"patients/{ben.patient.pk}/timeline?{query}")


def by_date(told: Any) -> dict[str, Any]:
    return {day["date"][-2:]: day for day in told["days"]}


def marks(told: Any) -> list[tuple[str, str, str]]:
    return [(one["date"][-2:], one["kind"], one["text"]) for one in told["markers"]]


def test_what_was_done_and_felt_and_what_nobody_said(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, live: Live
) -> None:
    live(
        {"pain_before": 0, "pain_during": 2, "pain_after": 1, "effort": 6.5},
        None,
        {"pain_during": 1},
    )
    told = chart(ana, ben)
    assert (told["patient_id"], told["timezone"]) == (str(ben.patient.pk), "Europe/Stockholm")
    assert (told["from"], told["to"]) == ("2026-02-05", "2026-03-04")
    first, second, third = told["days"]

    slots = first.pop("due")
    load = first.pop("load")
    assert first == {
        "date": "2026-03-02", "done": slots, "outcome": "completed", "dose_ratio": 1,
        "timeliness": "on_time", "pain_before": 0, "pain_during": 2, "pain_after": 1, "effort": 6.5,
    }  # fmt: skip
    assert load["session_load_au"] == slots * 6.5 * 24
    assert load["reps"] > 0
    assert second == {
        "date": "2026-03-03", "due": second["due"], "done": 0, "outcome": "missed",
        "pain_morning": 1,
    }  # fmt: skip
    assert second["due"] > 0
    assert "effort" not in third
    assert "session_load_au" not in third["load"]
    assert not ClosedDay.objects.filter(on="2026-03-04").exists(), "open still"
    assert (third["outcome"], third["done"], third["dose_ratio"]) == ("completed", third["due"], 1)


def test_open_dates_are_told_by_the_plan(ana: Staff, ben: OwnPhone, live: Live) -> None:
    live(None, None)
    days = by_date(chart(ana, ben))

    assert days["03"]["outcome"] == "due"
    assert days["03"]["due"] == days["02"]["due"] > 0
    assert list(days) == ["02", "03"], "nothing of dates to come"


def test_the_same_whether_a_date_is_open_or_closed(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, live: Live, clock: Any
) -> None:
    """Closing a date changes nothing that the phone told of it."""
    live({"pain_during": 1}, None)
    for slot in ben.plan(days=1)["days"][0]["slots"]:
        ben.logs(slot, plan_of_ben, entries=[], state="skipped", skip_reason="no_time")
    opened = by_date(chart(ana, ben))["03"]
    assert (opened["outcome"], opened["dose_ratio"]) == ("skipped", 0)
    assert "load" not in opened
    clock.move_to(later := (START + 3 * A_DAY).replace(hour=17))
    ben.checks_in()
    deciding.close(patient_id=ben.patient.pk, now=later)
    assert ClosedDay.objects.filter(on="2026-03-03").exists()

    closed = by_date(chart(ana, ben))["03"]
    assert closed == opened


def test_phases_limits_and_what_stands_out(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, live: Live, clock: Any
) -> None:
    live({"pain_during": 1}, {"pain_during": 6}, {"pain_during": 6}, None, None)
    path = f"assignments/{plan_of_ben['id']}"
    tag = ana.call("GET", path)["ETag"]
    pause = {"from": "2026-03-07", "until": "2026-03-08", "reason": "A secret journey"}
    ana.post(f"{path}/pause", pause, 200, If_Match=tag)
    told = chart(ana, ben, "from=2026-03-02&to=2026-03-31")

    first = told["phases"][0]
    assert (first["id"], first["number"], first["from"]) == ("phase-1", 1, "2026-03-02")
    limits = {one["metric"]: one["value"] for one in told["limits"]}
    assert limits["pain_during"] < limits["pain_during_red"] < limits["pain_during_severe"]
    assert {one["from"] for one in told["limits"]} == {"2026-03-02"}
    assert ("04", "stepped_back", "Back to phase 1") in marks(told)
    [paused] = [one for one in told["markers"] if one["kind"] == "pause"]
    assert (paused["date"], paused["until"]) == ("2026-03-07", "2026-03-08")
    assert "journey" not in str(told), "why is for the record"


def test_stops_clearances_and_decisions_are_marked(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, live: Live, clock: Any
) -> None:
    live({"pain_during": 1})
    ben.checks_in(stop_signs=["ces_bladder"])
    clock.shift(A_DAY)
    clears = {"reason": "Seen by a doctor", "action": "referred"}
    ana.post(f"patients/{ben.patient.pk}/stop-clearances", clears, 201)
    clock.shift(A_DAY)
    wish = ana.post(f"assignments/{plan_of_ben['id']}/progressions", {"to_phase_id": "phase-2"})
    tag = ana.call("GET", f"progressions/{wish['id']}")["ETag"]
    no = {"outcome": "decline", "note": "Not yet", "reason_code": "other"}
    ana.post(f"progressions/{wish['id']}/decision", no, 200, If_Match=tag)

    found = marks(chart(ana, ben))
    assert [(on, kind) for on, kind, _ in found] == [
        ("02", "stop"), ("03", "clearance"), ("04", "progression_declined"),
    ]  # fmt: skip
    assert found[0][2].startswith("New trouble starting or stopping to pass urine")
    assert found[2][2] == "Phase 2"
    assert "Not yet" not in str(ben.get("me/progress"))
    assert marks(ben.get("me/progress")) == found


def test_a_patient_is_not_told_what_only_asks_a_clinician_to_look(
    ana: Staff, ben: OwnPhone, live: Live
) -> None:
    live({"pain_during": 1}, {"pain_during": 1})
    ben.checks_in(stop_signs=["night_pain"])
    flag = Flag.objects.get(code="night_pain")
    for code in ("late-data", "consider-lumbar"):
        Flag.objects.create(
            patient=ben.patient, code=code, level="routine", raised_at=flag.raised_at,
            observed_on=flag.observed_on, source_type="rule", source_id=flag.pk,
        )  # fmt: skip
    staff, mine = chart(ana, ben), ben.get("me/progress")

    codes = [one.get("code") for one in staff["markers"]]
    assert {"night_pain", "late-data", "consider-lumbar"} <= set(codes)
    assert [one.get("code") for one in mine["markers"]] == ["night_pain"]
    assert mine["days"] == staff["days"]
    assert mine["phases"] == staff["phases"]


def test_records_without_a_plan_are_there(ana: Staff, bea: OwnPhone, clock: Any) -> None:
    bea.checks_in(pain_now=3)
    told = chart(ana, bea)

    assert told["days"] == [
        {"date": "2026-03-02", "due": 0, "done": 0, "outcome": "none", "pain_morning": 3}
    ]
    assert told["phases"] == told["limits"] == told["markers"] == []
    clock.move_to(START.replace(hour=17))
    bea.checks_in(pain_now=7)
    assert chart(ana, bea)["days"] == told["days"], "no rating of a morning"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        pytest.param("from=2026-01-01&to=2027-01-01", 200, id="366 days"),
        pytest.param("from=2026-01-01&to=2027-01-02", 400, id="one more"),
        pytest.param("from=2026-03-02&to=2026-03-01", 400, id="backwards"),
        pytest.param("from=yesterday", 400, id="no day"),
        pytest.param("to=2026-03-32", 400, id="no such day"),
        pytest.param("from=2150-01-01&to=2150-02-01", 200, id="to come"),
    ],
)
def test_dates_that_may_be_asked_for(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, query: str, status: int
) -> None:
    ana.get(f"patients/{ben.patient.pk}/timeline?{query}", status)
    ben.get(f"me/progress?{query}", status)


def test_it_costs_the_same_for_a_day_and_for_a_year(ana: Staff, ben: OwnPhone, live: Live) -> None:
    live(*[{"pain_during": 1} for _ in range(9)])
    counts = []
    chart(ana, ben)
    for query in ("from=2026-03-10", "from=2026-03-05", "from=2025-03-11"):
        with CaptureQueriesContext(connection) as queries:
            chart(ana, ben, query)
        counts.append(len(queries))
    assert len(set(counts)) == 1, counts
