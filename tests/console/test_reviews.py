"""The queue of proposals, one with its reasons, and deciding, over the pages."""

from __future__ import annotations

from datetime import date, timedelta
from html import unescape
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.audit.models import AuditEvent
from backend.care.models import Progression
from tests.console.conftest import browses
from tests.service.cast import Staff, make_episode, make_patient
from tests.service.test_progressions import DAY, FIRST, Story, clock, now, story

__all__ = ["clock", "now", "story"]

REASON = {"declined/reason_code": "clinical_judgement", "declined/note": "Seen in the clinic."}


@pytest.fixture(autouse=True)
def nobody_is_idle(settings: Any) -> None:
    """Days pass in these stories between two looks."""
    settings.CONSOLE_IDLE_MINUTES = 100_000


def fields_of(page: Any) -> dict[str, str]:
    """What a browser would send of the form that approves, as it stands."""
    context = page.context
    rows = {
        input.name: input.value for one in context["rows"] for input in (*one.inputs, one.limit)
    }
    return {"etag": context["etag"], "plan_version": context["plan_version"], **rows}


@pytest.fixture
def waiting(story: Story) -> Any:
    return story.to_proposal()


def test_the_queue_says_who_waits_and_since_when(story: Story, ana: Staff, waiting: Any) -> None:
    text = browses(ana).get("/console/reviews").content.decode()

    assert story.ben.patient.display_name in text
    assert "Advance from 1 " in text
    assert f"/console/reviews/{waiting['id']}" in text
    assert "Reviews <span" in text
    event = AuditEvent.objects.get(action="console.progression_list")
    assert event.listed == [str(story.ben.patient.pk)]


def test_an_empty_queue_says_so(ana: Staff) -> None:
    assert "Nothing waits for a decision" in browses(ana).get("/console/reviews").content.decode()
    text = browses(ana).get("/console/reviews?status=declined").content.decode()
    assert "No such proposals" in text


def test_a_proposal_is_shown_with_all_it_rests_on(story: Story, ana: Staff, waiting: Any) -> None:
    page = browses(ana).get(f"/console/reviews/{waiting['id']}")
    text = unescape(page.content.decode())

    for one in [*waiting["criteria"], *waiting["citations"]]:
        assert one["text"] in text
    assert "1 of 1 in queue" in text
    assert f"{waiting['data_quality']['sessions']} sessions" in text
    assert "clock fine" in text
    kinds = {one["kind"] for one in page.context["changes_shown"]}
    assert "new" in kinds
    assert [one.action for one in AuditEvent.objects.filter(action__startswith="console")] == [
        "console.progression_get"
    ]


def test_the_records_are_those_that_the_api_names(story: Story, ana: Staff, waiting: Any) -> None:
    shown = browses(ana).get(f"/console/reviews/{waiting['id']}").context["behind"]

    assert [len(one["records"]) for one in shown] == [
        len(one["evidence"]) for one in waiting["criteria"]
    ]
    tests = [one for row in shown for one in row["records"] if one["kind"] == "Test"]
    assert tests
    assert all(one["on"] and one["value"] for one in tests)


def test_approving(story: Story, ana: Staff, waiting: Any) -> None:
    client, address = browses(ana), f"/console/reviews/{waiting['id']}"
    said = fields_of(client.get(address))

    answer = client.post(address, said | {"how": "approve", "note_to_patient": "Well done."})

    assert (answer.status_code, answer["Location"]) == (302, "/console/reviews")
    row = Progression.objects.get(pk=waiting["id"])
    assert (row.status, row.note_to_patient) == ("approved", "Well done.")
    assert story.phase(FIRST + 4 * DAY) == "phase-2"
    assert "Approved: Ben Patient" in client.get("/console/reviews").content.decode()
    event = AuditEvent.objects.get(action="console.progression_decide")
    assert (event.outcome, event.patient_id) == ("ok", story.ben.patient.pk)


def test_approving_with_other_doses(story: Story, ana: Staff, waiting: Any) -> None:
    client, address = browses(ana), f"/console/reviews/{waiting['id']}"
    page = client.get(address)
    [row, *_] = page.context["rows"]
    field = f"changes/{row.row.number}/dose/sets"
    said = fields_of(page) | {"how": "changes"}

    nothing = client.post(address, said)
    assert (nothing.status_code, b"Nothing is changed yet" in nothing.content) == (422, True)
    silent = client.post(address, said | {field: "1", "how": "approve"})
    assert (silent.status_code, b"approve with changes" in silent.content) == (422, True)
    wrong = client.post(address, said | {field: "99", "note": "Start low."})
    assert wrong.status_code == 422
    text = wrong.content.decode()
    assert f'href="#f-{field.replace("/", "-")}"' in text
    assert "Start low." in text

    client.post(address, said | {field: "1", "note": "Start low."})

    done = ana.get(f"progressions/{waiting['id']}")
    assert done["status"] == "modified"
    [change] = done["decision"]["changes"]
    assert (change["op"], change["key"], change["dose"]["sets"]) == (
        "set_dose", row.row.named["key"], 1,
    )  # fmt: skip
    assert {k: v for k, v in change["dose"].items() if k != "sets"} == {
        k: v for k, v in row.row.dose.items() if k != "sets"
    }


def test_declining_needs_a_reason(story: Story, ana: Staff, waiting: Any) -> None:
    client, address = browses(ana), f"/console/reviews/{waiting['id']}"
    said = fields_of(client.get(address)) | {"how": "decline"}

    refused = client.post(address, said | {"declined/note_to_patient": "One more day."})
    text = refused.content.decode()
    assert refused.status_code == 422
    assert 'href="#f-declined-reason_code"' in text
    assert 'href="#f-declined-note"' in text
    assert "One more day." in text
    assert "<dialog" in text
    assert "data-static" in text, "the dialog is open, also without scripts"

    answer = client.post(address, said | REASON)
    assert answer.status_code == 302
    done = ana.get(f"progressions/{waiting['id']}")
    assert (done["status"], done["decision"]["reason_code"]) == ("declined", "clinical_judgement")


def test_going_against_the_recommendation_needs_a_reason(story: Story, ana: Staff) -> None:
    story.trains(FIRST)
    row = story.evaluates(to_phase_id="phase-2", note="Strong.")
    client, address = browses(ana), f"/console/reviews/{row['id']}"
    page = client.get(address)
    assert "goes against the recommendation" in page.content.decode()
    said = fields_of(page) | {"how": "approve"}

    refused = client.post(address, said)
    assert refused.status_code == 422
    assert 'href="#f-reason_code"' in refused.content.decode()

    client.post(address, said | {"reason_code": "other", "note": "Team doctor's wish."})
    assert ana.get(f"progressions/{row['id']}")["status"] == "approved"


def test_a_stale_decision_is_refused_once_and_the_difference_is_marked(
    story: Story, ana: Staff, waiting: Any
) -> None:
    client, address = browses(ana), f"/console/reviews/{waiting['id']}"
    said = fields_of(client.get(address)) | {"how": "approve", "note_to_patient": "Go on."}
    story.lives(FIRST + 4 * DAY, during=2, rated=0)
    newer = story.open
    assert newer["id"] != waiting["id"]

    refused = client.post(address, said)
    text = refused.content.decode()

    assert refused.status_code == 412
    assert "New data came in while this was open" in text
    assert "Go on." in text
    assert refused.context["shown"]["id"] == newer["id"]
    told = {one.text for one in refused.context["differences"]}
    assert "Data up to" in told
    assert len(told) > 1, "what was measured differs, too"
    assert Progression.objects.get(pk=waiting["id"]).status == "superseded"
    assert story.status(newer) == "proposed"

    again = fields_of(refused) | {"how": "approve", "note_to_patient": "Go on."}
    assert client.post(f"/console/reviews/{newer['id']}", again).status_code == 302
    assert story.status(newer) == "approved"


def test_a_plan_that_changed_meanwhile_is_looked_at_again(
    story: Story, ana: Staff, waiting: Any
) -> None:
    client, address = browses(ana), f"/console/reviews/{waiting['id']}"
    said = fields_of(client.get(address)) | {"how": "approve"}
    plan = ana.call("GET", f"assignments/{story.plan['id']}")
    row = next(one for one in plan.json()["prescriptions"] if one["phase_id"] == "phase-2")
    ana.patch(
        f"assignments/{story.plan['id']}",
        {"effective_date": (FIRST + 4 * DAY).isoformat(), "reason": "Travels",
         "changes": [{"op": "set_limit", "key": row["key"], "during_max": 1}]},
        If_Match=plan["ETag"],
    )  # fmt: skip

    assert client.post(address, said).status_code == 412
    again = fields_of(client.get(address)) | {"how": "approve"}
    assert client.post(address, again).status_code == 302


def test_what_is_withdrawn_says_so(story: Story, ana: Staff, waiting: Any) -> None:
    client, address = browses(ana), f"/console/reviews/{waiting['id']}"
    said = fields_of(client.get(address)) | {"how": "approve"}
    story.lives(FIRST + 4 * DAY, during=4)

    refused = client.post(address, said)
    assert refused.status_code == 409
    assert "was withdrawn" in refused.content.decode()
    assert 'value="approve"' not in client.get(address).content.decode()


def test_whoever_comes_back_to_the_page_is_told(story: Story, ana: Staff, waiting: Any) -> None:
    client, address = browses(ana), f"/console/reviews/{waiting['id']}"
    assert client.get(address, headers={"HX-Request": "true"}).status_code == 204
    story.lives(FIRST + 4 * DAY, during=4)
    bar = client.get(address, headers={"HX-Request": "true"})
    assert "not open any more" in bar.content.decode()


def test_a_step_back_is_confirmed_or_put_back(story: Story, ana: Staff, waiting: Any) -> None:
    story.answers(waiting, "approve")
    story.lives(FIRST + 4 * DAY, during=6)
    story.trains(FIRST + 5 * DAY, during=6)
    row = story.open
    client, address = browses(ana), f"/console/reviews/{row['id']}"
    page = client.get(address)
    text = page.content.decode()
    assert "Confirm" in text
    assert "Put the phase back" in text
    assert "in force already" in text

    answer = client.post(address, fields_of(page) | {"how": "decline"} | REASON)
    assert answer.status_code == 302
    assert story.phase(FIRST + 7 * DAY) == "phase-2"


def test_a_stop_can_only_be_confirmed(story: Story, ana: Staff) -> None:
    story.trains(FIRST)
    story.ben.checks_in(stop_signs=["fever_with_pain"])
    row = story.open
    assert row["recommendation"] == "stop_and_review"
    client, address = browses(ana), f"/console/reviews/{row['id']}"
    page = client.get(address)
    assert 'value="decline"' not in page.content.decode()

    client.post(address, fields_of(page) | {"how": "approve"})
    assert story.status(row) == "approved"


def test_nobody_else_sees_it(
    story: Story, olga: Staff, cleo: Staff, waiting: Any
) -> None:  # fmt: skip
    address = f"/console/reviews/{waiting['id']}"
    assert browses(olga).get(address).status_code == 404
    assert browses(cleo).get(address).status_code == 403
    assert browses(cleo).get("/console/reviews").status_code == 403


def test_queries_do_not_grow_with_the_queue(
    story: Story, ana: Staff, grade_1: Any, waiting: Any
) -> None:
    counts = []
    assert ana.user.clinic
    born = story.ben.patient.created_at
    today = date.fromisoformat(waiting["window"]["to"]) + timedelta(days=1)
    for number in range(3):
        phone = make_patient(ana.user.clinic, f"Person{number}", born, ana.user)
        episode = make_episode(phone.patient, ana.user, born)
        plan = ana.assigns(grade_1, to=phone.patient, episode=episode, on=today)
        ana.post(f"assignments/{plan['id']}/progressions", {}, 201)
        with CaptureQueriesContext(connection) as seen:
            assert browses(ana).get("/console/reviews").status_code == 200
        with CaptureQueriesContext(connection) as seen_one:
            browses(ana).get(f"/console/reviews/{waiting['id']}")
        counts.append((len(seen), len(seen_one)))
    assert len(set(counts[1:])) == 1, counts
