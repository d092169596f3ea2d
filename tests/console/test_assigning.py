"""Giving a plan to a patient and changing one, over the pages."""

from __future__ import annotations

from datetime import timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.audit.models import AuditEvent
from backend.care.models import Assessment, Assignment
from backend.clinics.models import Episode
from protocols.models import ProtocolVersion
from tests.console.conftest import browses
from tests.service.cast import OwnPhone, Staff


def query_of(protocol: ProtocolVersion, episode: Episode) -> str:
    return f"protocol_id={protocol.protocol_id}&episode_id={episode.pk}"


def fields_of(page: Any) -> dict[str, Any]:
    """What a browser would send of the form, as it stands."""
    form = page.context["form"]
    names = ("protocol_id", "episode_id", "protocol_version", "start_phase_id", "start_date",
             "effective_date")  # fmt: skip
    said = {name: form.value(name) for name in names if form.value(name)}
    rows = {
        input.name: input.value for one in page.context["rows"]
        for input in (*one.inputs, one.limit)
    }  # fmt: skip
    return said | rows


@pytest.fixture
def assign(ben: OwnPhone) -> str:
    return f"/console/patients/{ben.patient.pk}/assign"


# --- Assign -----------------------------------------------------------------------------------


def test_the_steps_work_as_pages(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion, assign: str
) -> None:
    client = browses(ana)
    first = client.get(assign).content.decode()
    assert grade_1.title in first
    assert thigh.title in first
    assert "Tailor phase" not in first

    page = client.get(f"{assign}?{query_of(grade_1, thigh)}")
    text = page.content.decode()
    assert "Tailor phase 1" in text
    for gate in ("AG1", "AG2", "AG3", "AG4", "AG5", "AG6", "AG7"):
        assert gate in text
    assert {one["id"] for one in page.context["failed"]} == {"AG2", "AG3", "AG4"}
    shown = client.post(f"{assign}/preview", fields_of(page)).content.decode()
    assert "<h1>" in shown, "without scripts it is a whole page"
    assert "The next 14 days" in shown


def test_assigning_from_gates_to_plan(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion, assign: str
) -> None:
    client = browses(ana)
    said = fields_of(client.get(f"{assign}?{query_of(grade_1, thigh)}"))

    refused = client.post(assign, said)
    text = refused.content.decode()
    assert refused.status_code == 422
    assert "The plan may not start yet" in text
    assert "Answer what is missing" in text

    screening = f"/console/patients/{ben.patient.pk}/screening"
    page = client.get(f"{screening}?{query_of(grade_1, thigh)}")
    assert {one["code"] for one in page.context["facts"]} >= {
        "grade_recorded", "neuro_screen_recorded",
    }  # fmt: skip
    ids = {"protocol_id": str(grade_1.protocol_id), "episode_id": str(thigh.pk)}
    assert client.post(screening, ids).status_code == 422
    answer = client.post(
        screening, ids | {"asked": "on", "facts": ["grade_recorded", "neuro_screen_recorded"]}
    )
    assert answer["Location"] == f"{assign}?{query_of(grade_1, thigh)}"
    recorded = {(one.code, int(one.value)) for one in Assessment.objects.all()}
    assert recorded == {
        ("red_flag_screen_clear", 1), ("grade_recorded", 1), ("neuro_screen_recorded", 1),
    }  # fmt: skip
    assert AuditEvent.objects.filter(action="console.assessment_create", outcome="ok").count() == 1

    answer = client.post(assign, said)
    assert answer.status_code == 302
    made = Assignment.objects.get(patient=ben.patient)
    assert made.start_date == ben.today
    event = AuditEvent.objects.get(action="console.assignment_create", outcome="ok")
    assert (event.patient_id, event.object_id) == (ben.patient.pk, made.pk)


def test_what_is_found_in_the_screen_is_flagged(
    ana: Staff, ben: OwnPhone, grade_1: ProtocolVersion, thigh: Episode
) -> None:
    client, screening = browses(ana), f"/console/patients/{ben.patient.pk}/screening"
    assert client.post(screening, {"findings": "fever_with_pain"}).status_code == 422
    assert not Assessment.objects.exists()

    client.post(screening, {"findings": "fever_with_pain", "asked": "on"})

    row = Assessment.objects.get()
    assert (int(row.value), row.findings) == (0, ["fever_with_pain"])
    assert ana.get("flags")["items"]


def test_a_tailored_plan(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion, assign: str
) -> None:
    ana.clears_gates(ben.patient)
    client = browses(ana)
    page = client.get(f"{assign}?{query_of(grade_1, thigh)}")
    first, second, third = [one.row for one in page.context["rows"][:3]]
    said = fields_of(page) | {
        f"tailoring/{first.number}/dose/sets": 2,
        f"tailoring/{second.number}/remove": "on",
        f"tailoring/{third.number}/schedule": "weekly-3",
        "schedule/days": ["mon", "wed", "fri"],
    }

    wrong = client.post(assign, said | {f"tailoring/{first.number}/dose/sets": 99})
    assert wrong.status_code == 422
    assert f'href="#f-tailoring-{first.number}-dose-sets"' in wrong.content.decode()
    assert 'value="99"' in wrong.content.decode()

    assert client.post(assign, said).status_code == 302
    [made] = Assignment.objects.filter(patient=ben.patient)
    plan = ana.get(f"assignments/{made.pk}")
    rows = {one["key"]: one for one in plan["prescriptions"]}
    assert rows[first.named["key"]]["dose"]["sets"] == 2
    assert second.named["key"] not in rows
    assert rows[third.named["key"]]["schedule"]["per_week"] == 3
    assert plan["schedule"]["days"] == ["mon", "wed", "fri"]


def test_the_live_preview_is_a_part(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion, assign: str
) -> None:
    client = browses(ana)
    said = fields_of(client.get(f"{assign}?{query_of(grade_1, thigh)}"))

    part = client.post(f"{assign}/preview", said, headers={"HX-Request": "true"})
    assert part.status_code == 200
    assert "<h1>" not in part.content.decode()
    assert "The next 14 days" in part.content.decode()
    row = "tailoring/0/dose/sets"
    wrong = client.post(f"{assign}/preview", said | {row: 99}, headers={"HX-Request": "true"})
    assert (wrong.status_code, b"cannot be made yet" in wrong.content) == (422, True)
    assert not Assignment.objects.exists()
    actions = set(AuditEvent.objects.values_list("action", flat=True))
    assert actions == {"console.patient_get", "console.assignment_preview"}


def test_an_overlap_is_told_before_and_refused(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion, plan_of_ben: Any,
    assign: str,
) -> None:  # fmt: skip
    client = browses(ana)
    page = client.get(f"{assign}?{query_of(grade_1, thigh)}")
    assert "has a plan already" in page.content.decode()
    assert f"/console/assignments/{plan_of_ben['id']}/end" in page.content.decode()

    assert client.post(assign, fields_of(page)).status_code == 409


def test_queries_of_a_preview_do_not_grow_with_days_or_rows(
    ana: Staff, ben: OwnPhone, thigh: Episode, grade_1: ProtocolVersion, assign: str
) -> None:
    client, counts = browses(ana), []
    client.get(assign)
    for phase in ("phase-1", "phase-2", "phase-3"):
        with CaptureQueriesContext(connection) as seen:
            client.get(f"{assign}?{query_of(grade_1, thigh)}&start_phase_id={phase}")
        counts.append(len(seen))
    assert len(set(counts)) == 1, counts


# --- Tailor, pause, resume, end ---------------------------------------------------------------


def step(plan: Any, name: str) -> str:
    return f"/console/assignments/{plan['id']}/{name}"


def etag_of(client: Any, address: str) -> dict[str, str]:
    return {"etag": client.get(address).context["etag"]}


def test_tailoring_a_plan(ana: Staff, ben: OwnPhone, plan_of_ben: Any) -> None:
    client, address = browses(ana), step(plan_of_ben, "tailor")
    page = client.get(address)
    [row, *_] = [one.row for one in page.context["rows"]]
    said = fields_of(page) | {
        "etag": page.context["etag"], "reason": "Travels light", "rows_of": "phase-1",
    }  # fmt: skip

    nothing = client.post(address, said)
    assert (nothing.status_code, b"Nothing is changed yet" in nothing.content) == (422, True)
    silent = client.post(address, said | {f"changes/{row.number}/during_max": 1, "reason": ""})
    assert 'href="#f-reason"' in silent.content.decode()

    assert client.post(address, said | {f"changes/{row.number}/during_max": 1}).status_code == 302
    plan = ana.get(f"assignments/{plan_of_ben['id']}")
    assert plan["changes"][-1]["reason"] == "Travels light"
    hit = next(one for one in plan["prescriptions"] if one["key"] == row.named["key"])
    assert hit["pain_limit"]["during_max"] == 1
    event = AuditEvent.objects.get(action="console.assignment_tailor", outcome="ok")
    assert event.patient_id == ben.patient.pk


def test_a_plan_that_somebody_else_changed_is_shown_anew(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    client, address = browses(ana), step(plan_of_ben, "tailor")
    page = client.get(address)
    said = fields_of(page) | {"etag": page.context["etag"], "reason": "Kept"}
    first = said | {"changes/0/during_max": 1}
    assert client.post(address, first).status_code == 302

    refused = client.post(address, said | {"changes/1/during_max": 1})
    text = refused.content.decode()
    assert refused.status_code == 412
    assert "Kept" in text
    assert refused.context["etag"] != said["etag"]


def test_an_exercise_is_added_and_one_switched_off(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    client, address = browses(ana), step(plan_of_ben, "tailor")
    page = client.get(address)
    row = page.context["rows"][0].row
    said = fields_of(page) | {
        "etag": page.context["etag"], "reason": "As seen", f"changes/{row.number}/remove": "on",
        "changes/added": "ca-walk",
    }  # fmt: skip

    answer = client.post(address, said)

    assert answer.status_code == 302, unescape(answer.content.decode())[-3000:]
    plan = ana.get(f"assignments/{plan_of_ben['id']}")
    keys = {one["key"] for one in plan["prescriptions"]}
    assert row.named["key"] not in keys
    assert "phase-1/ca-walk+" in keys


def test_pausing_resuming_and_ending(ana: Staff, ben: OwnPhone, plan_of_ben: Any) -> None:
    client, today = browses(ana), ben.today
    pause, resume, end = (step(plan_of_ben, name) for name in ("pause", "resume", "end"))

    refused = client.post(pause, etag_of(client, pause) | {"from": today.isoformat()})
    assert refused.status_code == 422
    assert 'href="#f-reason"' in refused.content.decode()
    said = {"from": today.isoformat(), "reason": "Flu"}
    until = (today - timedelta(days=1)).isoformat()
    wrong = client.post(pause, etag_of(client, pause) | said | {"until": until})
    assert 'href="#f-until"' in wrong.content.decode()
    assert client.post(pause, etag_of(client, pause) | said).status_code == 302
    assert ana.get(f"assignments/{plan_of_ben['id']}")["status"] == "paused"

    assert "Flu" in client.get(resume).content.decode()
    assert client.post(resume, etag_of(client, resume) | {"from": today.isoformat()}).status_code \
        == 302  # fmt: skip
    assert ana.get(f"assignments/{plan_of_ben['id']}")["status"] == "active"

    said = {"from": today.isoformat(), "status": "stopped", "reason": "Moved away"}
    stale = etag_of(client, end)
    assert client.post(end, {"etag": '"other"'} | said).status_code == 412
    assert client.post(end, stale | said).status_code == 302
    assert ana.get(f"assignments/{plan_of_ben['id']}")["status"] == "stopped"
    assert "This plan has ended" in client.get(end).content.decode()
    done = list(
        AuditEvent.objects.filter(action__startswith="console.assignment", outcome="ok")
        .exclude(action="console.assignment_get").order_by("at").values_list("action", flat=True)
    )  # fmt: skip
    assert done == [
        "console.assignment_pause", "console.assignment_resume", "console.assignment_end",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["tailor", "pause", "resume", "end"])
def test_nobody_else_may(name: str, olga: Staff, cleo: Staff, plan_of_ben: Any) -> None:
    assert browses(olga).get(step(plan_of_ben, name)).status_code == 404
    assert browses(cleo).get(step(plan_of_ben, name)).status_code == 403
