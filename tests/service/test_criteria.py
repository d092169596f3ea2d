"""How many people would meet a criterion of a draft, as a check of the draft counts them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.care import criteria, deciding
from backend.care.models import Assignment
from backend.care.selectors import course_of
from protocols.engine.definition import Criterion
from protocols.engine.gates import exit_finding
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff, make_episode, make_patient
from tests.service.test_progressions import DAY, FIRST, Story, clock, now, story

__all__ = ["clock", "now", "story"]

CONDITION = "hamstring_strain"
MET, NOT_MET, UNKNOWN = (1, 0), (0, 0), (0, 1)


def draft(*lines: object, condition: object = CONDITION) -> dict[str, Any]:
    return {"condition": condition, "phases": [{"exit": [{"when": one} for one in lines]}]}


def counted(by: Staff, *lines: object, **more: object) -> list[tuple[int, int]]:
    found = criteria.counted(document=draft(*lines, **more), by=by.user)
    return [(one.met, one.unknown) for one in found]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param("latest(walk_pain; phase) <= 0", MET, id="assessed"),
        pytest.param("latest(iso90_pct; phase) >= 65", MET, id="just so much"),
        pytest.param("latest(iso90_pct; phase) >= 66", NOT_MET, id="a little more"),
        pytest.param("latest(hop_pain; phase) <= 0", UNKNOWN, id="nobody looked"),
        pytest.param("max(pain_during; last:2) <= 1", MET, id="last two sessions"),
        pytest.param("max(pain_during; last:3) <= 1", NOT_MET, id="the second day was worse"),
        pytest.param("max(pain_during; last:9) <= 5", UNKNOWN, id="not so many sessions yet"),
        pytest.param("max(pain_during; phase) <= 2", MET, id="since the phase began"),
        pytest.param("max(pain_during; episode) <= 1", NOT_MET, id="since the plan began"),
        pytest.param("count(pain_during; days:30) >= 4", MET, id="more days than there are"),
        pytest.param("latest(pain_next; phase) <= 0", MET, id="a rating"),
    ],
)
def test_what_is_asked_of_the_date_that_was_judged_last(
    story: Story, line: str, expected: tuple[int, int]
) -> None:
    story.to_proposal()
    story.closes(FIRST + 3 * DAY)

    assert counted(story.ana, line) == [expected]

    [row] = Assignment.objects.with_record()
    judged = deciding.judged_now(
        course=course_of(row), patient=row.patient, now=row.updated_at + 9 * DAY
    )
    case = next(one.case for one in judged.closed if one.on == FIRST + 3 * DAY)
    whole = exit_finding(case, Criterion(id="", when=line, text="", unit="", source=""))
    assert (int(whole.passed), int(whole.observed is None)) == expected


def test_where_it_looks_further_back_than_is_kept_it_is_not_known(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    story.to_proposal()
    story.closes(FIRST + 3 * DAY)
    [plan] = Assignment.objects.all()
    assert plan.carried
    plan.carried["chain"] = plan.carried["chain"][-2:]
    plan.save()

    assert counted(
        story.ana, "max(pain_during; days:2) <= 1", "max(pain_during; days:3) <= 1",
        "max(pain_during; last:2) <= 1", "max(pain_during; last:3) <= 1",
        "max(pain_during; phase) <= 2", "max(pain_during; episode) <= 2",
        "latest(walk_pain; phase) <= 0",
    ) == [MET, UNKNOWN, MET, UNKNOWN, UNKNOWN, UNKNOWN, MET]  # fmt: skip


@pytest.mark.parametrize(
    "document",
    [
        {}, {"phases": []}, {"phases": [{}], "condition": CONDITION},
        draft("latest(walk_pain; phase) <= 0", condition=None),
        draft("walks well"), draft(""), draft(None),
    ],
)  # fmt: skip
def test_what_is_no_criterion_yet_is_left_out(ana: Staff, document: dict[str, Any]) -> None:
    assert criteria.counted(document=document, by=ana.user) == []


def test_only_ones_own_people_with_the_same_condition_whose_plan_runs(
    story: Story, olga: Staff, cleo: Staff
) -> None:
    line = "latest(walk_pain; phase) <= 0"
    story.to_proposal()
    story.closes(FIRST + 3 * DAY)

    def patients(by: Staff, **more: object) -> list[int]:
        found = criteria.counted(document=draft(line, **more), by=by.user)
        return [one.patients for one in found]

    assert patients(story.ana) == [1]
    assert patients(olga) == [0]
    assert patients(story.ana, condition="hamstring_prevention") == [0]
    on, path = story.ben.today.isoformat(), f"assignments/{story.plan['id']}/end"
    story.ana.post(path, {"from": on, "reason": "Moved away."}, If_Match="*")
    assert patients(story.ana) == [0]


def test_the_draft_is_checked_with_its_counts_in_the_same_queries_for_many(
    story: Story, grade_1: ProtocolVersion, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    ana = story.ana
    path = f"protocols/{ana.post('protocols', {'copy_of': str(grade_1.protocol_id)}, 201)['id']}"
    story.to_proposal()
    story.closes(FIRST + 3 * DAY)

    def asked() -> tuple[list[Any], int]:
        with CaptureQueriesContext(connection) as queries:
            found = ana.post(f"{path}/check", {})["criteria"]
        return found, len(queries)

    [first, *_], one = asked()
    assert first == {"pointer": "#/phases/0/exit/0", "patients": 1, "met": 1, "unknown": 0}
    for name in ("Dan", "Eli", "Fay"):
        phone: OwnPhone = make_patient(story.ben.patient.clinic, name, now, ana.user)
        episode = make_episode(phone.patient, ana.user, now)
        ana.assigns(grade_1, to=phone.patient, episode=episode, on=phone.today)
        deciding.recompute_all(patient=phone.patient, now=phone.patient.updated_at + 9 * DAY)
        deciding.close(patient_id=phone.patient.pk, now=phone.patient.updated_at + 9 * DAY)

    [first, *_], many = asked()
    assert (first["patients"], first["met"], first["unknown"]) == (4, 1, 3)
    assert many == one

    monkeypatch.setattr(criteria, "MOST", 2)
    assert asked()[0][0]["patients"] == 2
