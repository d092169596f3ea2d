"""One patient as pages: what each tab says, who may see it, and what is entered there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from backend.audit.models import AuditEvent
from backend.care.models import Assessment
from tests.console.conftest import browses
from tests.service.cast import OwnPhone, Staff

TABS = ("", "/exercises", "/log", "/plan", "/tests", "/history")


def page(who: Staff, phone: OwnPhone, tab: str = "", status: int = 200) -> str:
    answer = browses(who).get(f"/console/patients/{phone.patient.pk}{tab}")
    assert answer.status_code == status, tab
    return answer.content.decode()


@pytest.mark.parametrize("tab", TABS)
def test_whose_it_is_and_what_a_look_leaves(
    tab: str, ana: Staff, cleo: Staff, olga: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    before = AuditEvent.objects.count()
    text = page(ana, ben, tab)
    page(cleo, ben, tab, 403 if tab else 200)
    page(olga, ben, tab, 404)
    assert browses(ben).get(f"/console/patients/{ben.patient.pk}{tab}").status_code == 403

    assert f"<h1>{ben.patient.display_name}" in text
    assert plan_of_ben["title"] in text
    assert len(text.encode()) < 150_000
    events = AuditEvent.objects.order_by("at", "pk")[before:]
    assert (events[0].patient_id, events[0].outcome) == (ben.patient.pk, "ok")
    assert events[0].action == {
        "/log": "console.patient_sessions", "/tests": "console.assessment_list",
    }.get(tab, "console.patient_get")  # fmt: skip
    assert [one.actor_id for one in events].count(ana.user.pk) == 1


@pytest.mark.parametrize("tab", TABS)
def test_without_a_plan_it_says_so(tab: str, ana: Staff, bea: OwnPhone) -> None:
    assert 'class="empty"' in page(ana, bea, tab) or tab == "/plan"


@pytest.mark.parametrize("tab", TABS)
def test_queries_are_as_many_whatever_was_logged(
    tab: str, ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    counts = []
    for _ in range(3):
        ben.logs(ben.slot(ben.today), plan_of_ben, note="Fine")
        ben.checks_in(note="Stiff")
        ana.records(ben.patient, "ake_deg", 12, unit="deg", side="left")
        with CaptureQueriesContext(connection) as seen:
            page(ana, ben, tab)
        counts.append(len(seen))
    assert counts[1] == counts[2], counts


def test_the_overview_tells_in_words_what_was_logged(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    ben.logs(ben.slot(ben.today), plan_of_ben, pain_during=2, note="Felt <tight> at the end")
    ben.checks_in(stop_signs=["night_pain"])

    text = page(ana, ben)

    assert "Pain during exercise was 2 on" in text
    assert "“Felt &lt;tight&gt; at the end”" in text
    assert "Plan version 1" in text
    assert f"Treated by {ana.user.display_name}" not in text
    assert "Treated by you" in text
    [flag] = ana.get("flags")["items"]
    assert f"/flags/{flag['id']}?back=patient" in text
    for window in ("2w", "6w", "all", "nonsense"):
        assert "Recovery timeline" in page(ana, ben, f"?window={window}&measure=reps")


def test_a_day_opens_beside_it(ana: Staff, cleo: Staff, ben: OwnPhone, plan_of_ben: Any) -> None:
    ben.logs(ben.slot(ben.today), plan_of_ben, note="Sharp on the last rep")
    day = ben.today

    assert "Sharp on the last rep</q>" in page(ana, ben, f"?day={day}")
    before = page(ana, ben, f"?day={day - timedelta(days=1)}")
    assert "Nothing was logged for this day" in before
    assert 'id="day-panel"' not in page(cleo, ben, f"?day={day}"), "the API shows admins no records"
    page(ana, ben, "?day=tomorrow", 400)


def test_the_log_keeps_what_was_changed_and_withdrawn(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    slot, id, late = ben.slot(ben.today), uuid4(), uuid4()
    first = ben.session_of(slot, plan_of_ben, note="First words")
    ben.put(f"me/sessions/{id}", first)
    ben.put(f"me/sessions/{id}", first | {"revision": 2, "note": "Other words"})
    ben.checks_in(late, note="Taken back later")
    ben.delete(f"me/check-ins/{late}?revision=2")

    text = page(ana, ben, "/log")

    assert "Other words</q>" in text
    assert "1 earlier revision" in text
    assert "“First words”" in text
    gone = text[text.index("<del>") : text.index("</del>")]
    assert "Taken back later" in gone
    assert "withdrawn" in text
    page(ana, ben, "/log?to=x", 400)
    assert "Nothing was logged" in page(ana, ben, f"/log?to={ben.today - timedelta(days=30)}")


def test_the_plan_is_that_of_the_phone(ana: Staff, ben: OwnPhone, plan_of_ben: Any) -> None:
    text = page(ana, ben, "/plan")

    days = ben.plan(**{"from": ben.today.isoformat()}, days=14)["days"]
    assert text.count('class="slot"') == sum(len(day["slots"]) for day in days)
    tag = ana.call("GET", f"assignments/{plan_of_ben['id']}").headers["ETag"]
    ana.post(
        f"assignments/{plan_of_ben['id']}/pause",
        {"from": (ben.today + timedelta(days=1)).isoformat(), "reason": "Away"}, If_Match=tag,
    )  # fmt: skip
    assert page(ana, ben, "/plan").count('class="slot"') == len(days[0]["slots"])
    for title in (item["exercise"]["title"] for slot in days[0]["slots"] for item in slot["items"]):
        assert escape(title) in text


def test_a_test_is_entered_with_its_unit_and_shown_by_side(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    client, address = browses(ana), f"/console/patients/{ben.patient.pk}/tests"
    at = timezone.now().strftime("%Y-%m-%dT%H:%M")
    side = ana.get(f"assignments/{plan_of_ben['id']}")["side"]
    said = {"code": "slhb_reps", "value": "20", "side": "left", "measured_at": at}

    for wrong, field in (
        ({"value": "-1"}, "value"),
        ({"code": ""}, "code"),
        ({"measured_at": "soon"}, "measured_at"),
        ({"value": "ten"}, "value"),
    ):
        answer = client.post(address, said | wrong | {"note": "Kept"})
        assert answer.status_code == 422, wrong
        text = answer.content.decode()
        assert f'href="#f-{field}"' in text, wrong
        assert ">Kept</textarea>" in text
    assert client.post(address, said).status_code == 302
    assert client.post(address, said | {"side": "right", "value": "25"}).status_code == 302

    assert Assessment.objects.filter(code="slhb_reps", unit="reps").count() == 2
    text = page(ana, ben, "/tests")
    assert "80 %" in text.replace("\u00a0", " ") or "125 %" in text.replace("\u00a0", " ")
    assert ("left to right" if side == "left" else "right to left" if side == "right"
            else "weaker to stronger") in text  # fmt: skip


def test_a_sign_found_in_a_test_raises_its_flag(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    said = {"code": "slump_pain", "value": "3", "side": "none", "findings": "ces_bladder",
            "measured_at": timezone.now().strftime("%Y-%m-%dT%H:%M")}  # fmt: skip
    browses(ana).post(f"/console/patients/{ben.patient.pk}/tests", said)

    assert [one["code"] for one in ana.get("flags")["items"]] == ["ces_bladder"]
    assert f"/console/patients/{ben.patient.pk}/clear-stop" in page(ana, ben)
    assert "All exercise is stopped." in page(ana, ben, "/plan")


def test_the_history_says_who_did_what(ana: Staff, ben: OwnPhone, plan_of_ben: Any) -> None:
    ben.checks_in(stop_signs=["night_pain"])
    [flag] = ana.get("flags")["items"]
    ana.post(f"flags/{flag['id']}/resolve", {"action": "advised", "note": "Sleep on the side"})
    tag = ana.call("GET", f"assignments/{plan_of_ben['id']}").headers["ETag"]
    ana.post(
        f"assignments/{plan_of_ben['id']}/pause",
        {"from": ben.today.isoformat(), "reason": "Flu"}, If_Match=tag,
    )  # fmt: skip

    text = page(ana, ben, "/history")

    for words in ("Assigned: ", "Handled: ", "Gave advice.", "“Sleep on the side”", "Paused",
                  "“Flu”", ana.user.display_name):  # fmt: skip
        assert words in text, words
    assert "“Flu”" not in page(ana, ben, "/history?kind=Flags")
