"""Nothing gets harder without a physiotherapist of that patient's clinic who approves it.

Every operation that there is, by everybody there is, is tried on a plan that waits for approval; so
are time that passes, the sweeps, and one's own logs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core.management import call_command
from django.db import transaction
from django.utils import timezone

from backend.care import deciding, reviewing
from backend.care.models import Assignment, Event, Progression
from backend.clinics.models import Clinic, Patient
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Somebody, Staff, make_newer
from tests.service.matrix import operations
from tests.service.test_progressions import AGAINST, DAY, FIRST, Story, clock, now, story

__all__ = ["clock", "now", "story"]


def heights(plan: Any) -> list[int]:
    """The phase of each day of two weeks."""
    return [shown["phase"]["number"] for day in plan["days"] for shown in day["assignments"]]


@pytest.fixture
def waiting(story: Story, grade_1: ProtocolVersion) -> Story:
    """Progress to phase 2 is proposed; a change of version, and phase 3 by hand, could be."""
    make_newer(grade_1, "1.1.0", timezone.now())
    story.to_proposal()
    return story


BODIES: list[dict[str, Any]] = [
    {},
    {"outcome": "approve"},
    {"outcome": "approve", **AGAINST},
    {"outcome": "decline", **AGAINST},
    {"to_phase_id": "phase-2"},
    {"to_phase_id": "phase-3"},
    {"protocol_version": "1.1.0"},
    {"phase": "phase-2", "phase_id": "phase-2", "status": "approved"},
    {"from": "2026-03-06", "reason": "Away"},
]


def test_nobody_but_a_physiotherapist_of_the_clinic_gets_it_harder_by_any_address(
    waiting: Story, olga: Staff, cleo: Staff, bea: OwnPhone, nobody: Somebody
) -> None:
    ids = {
        "assignments": waiting.plan["id"],
        "progressions": waiting.open["id"],
        "patients": str(waiting.ben.patient.pk),
        "episodes": waiting.plan["episode_id"],
        "protocols": waiting.plan["protocol_id"],
    }
    before = heights(waiting.ben.plan())
    assert set(before) == {1}
    tried = 0
    for who in (waiting.ben, olga, cleo, bea, nobody):
        for one in operations():
            if one.method == "GET":
                continue
            id = ids.get(one.route.split("/")[0], waiting.plan["id"])
            for body in BODIES:
                with transaction.atomic():
                    where = one.route.replace("<str:id>", id)
                    answer = who.call(one.method, where, body, If_Match="*")
                    assert answer.status_code != 500, (one.id, body)
                    running = Assignment.objects.filter(ended_on=None)
                    assert [str(row.pk) for row in running] == [waiting.plan["id"]], one.id
                    assert not Event.objects.exclude(kind="reported").exists(), (one.id, body)
                    transaction.set_rollback(True)
                tried += 1
    assert tried > 1000
    assert heights(waiting.ben.plan()) == before


def test_staff_change_the_phase_by_a_decision_alone(waiting: Story) -> None:
    """Ana herself, by every address but that one."""
    ids = {"assignments": waiting.plan["id"], "progressions": waiting.open["id"]}
    for one in operations():
        if one.method == "GET" or one.id == "progression_decide":
            continue
        id = ids.get(one.route.split("/")[0], str(waiting.ben.patient.pk))
        for body in BODIES:
            with transaction.atomic():
                waiting.ana.call(one.method, one.route.replace("<str:id>", id), body, If_Match="*")
                assert set(heights(waiting.ben.plan())) <= {1}, (one.id, body)
                transaction.set_rollback(True)


def _a_month(story: Story) -> None:
    for n in range(30):
        story.closes(FIRST + (4 + n) * DAY)
        call_command("tick")


def _switched(story: Story) -> None:
    [clinic] = Clinic.objects.filter(pk=story.ben.patient.clinic_id)
    for on in (False, True):
        reviewing.switch_proposals(clinic=clinic, on=on, now=timezone.now())


def _judged_again(story: Story) -> None:
    patient = Patient.objects.select_related("clinic").get(pk=story.ben.patient.pk)
    for _ in range(3):
        deciding.recompute_all(patient=patient, now=timezone.now())


def _good_days(story: Story) -> None:
    for n in range(4, 12):
        story.measures(FIRST + n * DAY)
        story.lives(FIRST + n * DAY, before=0, during=0, rated=0)


def _declined(story: Story) -> None:
    story.answers(story.open, "decline", **AGAINST)


def _wrong_version(story: Story) -> None:
    where = f"progressions/{story.open['id']}/decision"
    story.ana.post(where, {"outcome": "approve"}, 412, If_Match='"pr7"')
    story.ana.post(where, {"outcome": "approve"}, 428)


@pytest.mark.parametrize(
    "happens",
    [_a_month, _switched, _judged_again, _good_days, _declined, _wrong_version],
    ids=lambda one: one.__name__.strip("_"),
)
def test_whatever_happens_it_waits(waiting: Story, happens: Callable[[Story], None]) -> None:
    happens(waiting)

    assert set(heights(waiting.ben.plan())) == {1}
    assert not Event.objects.filter(kind__in=["approved", "ended"]).exists()
    assert not Progression.objects.filter(status__in=["approved", "modified"]).exists()


def test_it_is_not_blind(waiting: Story) -> None:
    """What is looked at here does change once somebody approves."""
    waiting.answers(waiting.open, "approve")
    assert 2 in heights(waiting.ben.plan())
    assert Event.objects.filter(kind="approved", by=waiting.ana.user).exists()
