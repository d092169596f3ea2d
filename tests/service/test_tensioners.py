"""N-TENS through the service: a tensioner is shown once all of it holds, and hidden when one fails.

protocols.md 10.1 and 10.2.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.utils import timezone

from backend.care import deciding
from backend.clinics.models import Episode
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff
from tests.service.matrix import undone

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)
DAY = timedelta(days=1)
TENSIONER = "ng-sciatic-slr-tensioner"
CALM = {"leg_symptom": "thigh", "night_symptoms": False, "constant_symptoms": False}


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


class Nerve:
    """Ben in phase 3 of neural-thigh, with the tensioner switched on, or not."""

    def __init__(
        self, ana: Staff, ben: OwnPhone, clock: time_machine.Traveller, episode: Episode, **on: Any
    ) -> None:
        self.ana, self.ben, self.clock = ana, ben, clock
        protocol = ProtocolVersion.objects.get(slug="neural-thigh", clinic=None)
        self.made = ana.assigns(
            protocol, to=ben.patient, episode=episode, on=ben.today, start_phase_id="phase-3", **on
        )

    def lives(self, days: int, *, settle_min: int = 5, calm: dict[str, Any] | None = None) -> None:
        """Each morning a rating, then all that the plan asks for."""
        for _ in range(days):
            self.ben.checks_in(pain_now=1, **(calm or CALM))
            for slot in self.ben.plan(days=1)["days"][0]["slots"]:
                if slot["counts"]:
                    more: Any = {"pain_before": 1, "pain_during": 1, "settle_min": settle_min}
                    self.ben.logs(slot, self.made, **more)
            self.clock.shift(DAY)
            for patient_id in deciding.due_to_close(now=timezone.now(), limit=9):
                deciding.close(patient_id=patient_id, now=timezone.now())
        self.ben.checks_in(pain_now=1, **(calm or CALM))

    def examines(self, normal: int = 1) -> None:
        self.ana.records(self.ben.patient, "neuro_exam_normal", normal)

    def is_shown(self) -> bool:
        plan = self.ben.plan(days=7)
        return any(
            item["exercise"]["slug"] == TENSIONER
            for day in plan["days"]
            for slot in day["slots"]
            for item in slot["items"]
        )


FAILS: dict[str, Callable[[Nerve], None]] = {
    "symptoms at night": lambda one: one.ben.checks_in(night_symptoms=True),
    "constant symptoms": lambda one: one.ben.checks_in(constant_symptoms=True),
    "told by a clinician": lambda one: one.ana.records(one.ben.patient, "night_symptoms"),
    "below the knee": lambda one: one.ben.checks_in(leg_symptom="calf"),
    "an examination that is not normal": lambda one: one.examines(0),
    "an open flag": lambda one: one.ben.checks_in(stop_signs=["night_pain"]),
    "a stop": lambda one: one.ben.checks_in(stop_signs=["fever_with_pain"]),
    "slow to settle": lambda one: one.lives(1, settle_min=11),
}


def test_shown_when_all_holds_hidden_when_one_fails(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    nerve = Nerve(ana, ben, clock, thigh, tailoring=[{"op": "add", "key": f"phase-3/{TENSIONER}"}])
    nerve.lives(6)
    nerve.examines()
    assert not nerve.is_shown(), "sliders on six days are not enough"
    nerve.lives(1)
    assert nerve.is_shown()

    for why, happens in FAILS.items():
        at = timezone.now()
        with undone(True):
            clock.shift(60)
            happens(nerve)
            assert not nerve.is_shown(), why
        clock.move_to(at)
        assert nerve.is_shown(), f"as it was before: {why}"

    clock.shift(14 * DAY)
    assert not nerve.is_shown(), "the examination is too old"


def test_what_was_never_told_is_not_calm(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    nerve = Nerve(ana, ben, clock, thigh, tailoring=[{"op": "add", "key": f"phase-3/{TENSIONER}"}])
    nerve.lives(8, calm={"leg_symptom": "thigh"})
    nerve.examines()
    assert not nerve.is_shown()
    ben.checks_in(night_symptoms=False, constant_symptoms=False)
    assert nerve.is_shown()


def test_switched_on_by_a_clinician_or_never(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    nerve = Nerve(ana, ben, clock, thigh)
    nerve.lives(8)
    nerve.examines()

    assert not nerve.is_shown()


def test_asked_weekly_where_a_nerve_is_treated(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    Nerve(ana, ben, clock, thigh)
    asked = [day["check_in"]["fields"] for day in ben.plan(days=8)["days"]]
    weekly = {"nprs_worst", "night_symptoms", "constant_symptoms"}

    assert [weekly <= set(fields) for fields in asked] == [n % 7 == 0 for n in range(8)]
    assert all("leg_symptom" in fields for fields in asked)
