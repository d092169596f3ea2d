"""Diabetes with insulin: the glucose a phone asks for before a session, and what it does."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.utils import timezone

from backend.care import deciding
from backend.care.models import ClosedDay, Flag
from tests.service.cast import OwnPhone, Staff

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def has(ana: Staff, ben: OwnPhone, *conditions: str) -> None:
    path = f"patients/{ben.patient.pk}"
    ana.patch(path, {"conditions": conditions}, If_Match=ana.call("GET", path)["ETag"])


def closed(clock: time_machine.Traveller) -> ClosedDay:
    clock.shift(DAY + timedelta(hours=4))
    for patient_id in deciding.due_to_close(now=timezone.now(), limit=9):
        deciding.close(patient_id=patient_id, now=timezone.now())
    return ClosedDay.objects.get()


# --- What is asked ----------------------------------------------------------------------------


def test_only_who_has_to_is_asked(ana: Staff, ben: OwnPhone, plan_of_ben: Any) -> None:
    def asked() -> Any:
        told = ben.plan()["on_device_advice"]
        rows = {one["moment"]: one for one in told["screening"]}
        return rows.get("before_session"), told.get("glucose")

    assert asked() == (None, None)
    has(ana, ben, "diabetes")
    assert asked() == (None, None)
    before = ben.plan()["version"]
    has(ana, ben, "diabetes_with_insulin")

    assert ben.plan()["version"] > before, "so that phones read it again"
    screen, bands = asked()
    assert screen["fields"] == ["glucose_mmol_l", "ketones"]
    assert [one["advice"] for one in bands] == [
        "no_exercise", "treat_first", "eat_first", "start", "check_ketones",
    ]  # fmt: skip
    assert bands[1] == {
        "from": 2.9, "to": 3.8, "from_mg_dl": 52, "to_mg_dl": 69, "advice": "treat_first",
        "text": "Do not start. Treat the low glucose first. Measure again after 15 minutes.",
    }  # fmt: skip
    assert "to" not in bands[-1]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("glucose_mmol_l", -1, "out-of-range"),
        ("glucose_mmol_l", 101, "out-of-range"),
        ("glucose_mmol_l", 5.55, "invalid-value"),
        ("ketones", "some", "invalid-value"),
    ],
)
def test_what_is_no_reading_is_refused(
    ben: OwnPhone, plan_of_ben: Any, name: str, value: object, code: str
) -> None:
    body = ben.session_of(ben.slot(), plan_of_ben, **{name: value})
    refused = ben.put(f"me/sessions/{uuid4()}", body, 422)
    assert [(one["pointer"], one["code"]) for one in refused["errors"]] == [(f"#/{name}", code)]


# --- What it does -----------------------------------------------------------------------------


SKIPPED: dict[str, Any] = {"state": "skipped", "entries": [], "skip_reason": "glucose"}


@pytest.mark.parametrize(
    ("said", "excused"),
    [
        (SKIPPED | {"glucose_mmol_l": 3.2}, True),
        (SKIPPED | {"skip_reason": "no_time", "glucose_mmol_l": 3.2}, False),
        (SKIPPED | {"glucose_mmol_l": 15, "ketones": "positive"}, True),
        ({"glucose_mmol_l": 15, "ketones": "positive"}, True),
        ({"glucose_mmol_l": 15, "ketones": "negative"}, False),
        ({"glucose_mmol_l": 4}, False),
    ],
)
def test_what_blocks_a_session_excuses_its_date(
    ben: OwnPhone, plan_of_ben: Any, clock: Any, said: dict[str, Any], excused: bool
) -> None:
    """Also where something was done in spite of it: nobody goes on from such a date (NO-3)."""
    told = ben.logs(ben.slot(), plan_of_ben, pain_before=1, **said)
    assert told["effects"] == []
    row = closed(clock)
    assert row.is_excused is excused
    if excused:
        assert (row.rule, row.planned_sets, row.slots_due) == ("R13", 0, 0)


def test_a_glucose_far_too_low_stops_as_if_it_had_been_reported(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    id = uuid4()
    told = ben.logs(ben.slot(), plan_of_ben, id, **SKIPPED, glucose_mmol_l=2.8)

    [effect] = told["effects"]
    assert (effect["code"], effect["level"], effect["advice"]) == (
        "hypoglycaemia_severe", "urgent", "stop_today",
    )  # fmt: skip
    assert told["derived"]["flags"] == ["hypoglycaemia_severe"]
    assert ben.plan()["stop"]["codes"] == ["hypoglycaemia_severe"]
    ben.delete(f"me/sessions/{id}?revision=2")
    assert Flag.objects.get().status == "open", "a stop ends by a clearance alone"


def test_from_the_lowest_that_may_be_treated_on_nothing_is_flagged(
    ben: OwnPhone, plan_of_ben: Any
) -> None:
    ben.logs(ben.slot(), plan_of_ben, **SKIPPED, glucose_mmol_l=2.9)
    assert not Flag.objects.exists()
