"""The caseload as a page: whom it shows first, what can be done about a row, and taking it back."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from backend.audit.models import AuditEvent
from backend.care import clearing
from backend.care.models import Event, Flag
from backend.clinics.models import Patient
from tests.console.conftest import browses
from tests.service.cast import OwnPhone, Staff, make_patient, make_staff, session_token


@pytest.fixture
def flag(ana: Staff, ben: OwnPhone, plan_of_ben: Any) -> Any:
    """Something of Ben that a person has to look at."""
    ben.checks_in(stop_signs=["night_pain"])
    return ana.get("flags")["items"][0]


@pytest.fixture
def stop(ana: Staff, ben: OwnPhone, plan_of_ben: Any) -> Any:
    """Ben reported a sign that stops everything."""
    ben.logs(ben.slot(ben.today), plan_of_ben, stop_signs=["ces_saddle_numbness"])
    return next(one for one in ana.get("flags")["items"] if one["stops"])


def page(who: Staff, query: str = "") -> str:
    answer = browses(who).get(f"/console/caseload?{query}")
    assert answer.status_code == 200
    return answer.content.decode()


def test_it_begins_with_the_own_patients(ana: Staff, ben: OwnPhone, now: Any) -> None:
    colleague = make_staff(ana.user.clinic, "Cora", is_physiotherapist=True)  # type: ignore[arg-type]
    theirs = make_patient(ana.user.clinic, "Dag", now, colleague.user)  # type: ignore[arg-type]
    own, other = ben.patient.display_name, theirs.patient.display_name

    shown = {
        query: {name for name in (own, other) if name in page(ana, query)}
        for query in ("include=on_track", "include=on_track&physiotherapist_id=",
                      f"include=on_track&physiotherapist_id={colleague.user.pk}",
                      "include=on_track&q=Dag", "tier=urgent")
    }  # fmt: skip

    assert list(shown.values()) == [{own}, {own, other}, {other}, {other}, set()]


def test_who_runs_the_clinic_sees_everybody_and_can_acknowledge_nothing(
    cleo: Staff, ben: OwnPhone, flag: Any
) -> None:
    text = page(cleo)
    assert ben.patient.display_name in text
    address = f"/console/patients/{ben.patient.pk}/flags/{flag['id']}"
    assert browses(cleo).get(address).status_code == 403
    assert browses(cleo).post(address, {"action": "advised"}).status_code == 403


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "Nobody needs you now"),
        ("tier=watch", "Nobody fits these filters"),
        ("q=nobody-of-this-name", "Nobody fits these filters"),
    ],
)
def test_empty_says_so_and_offers_more(ana: Staff, ben: OwnPhone, query: str, words: str) -> None:
    assert words in page(ana, query)


def test_nobody_is_treated_yet(ana: Staff, ben: OwnPhone) -> None:
    ben.patient.physiotherapist = None
    ben.patient.save()
    assert "Nobody is treated here at present" in page(ana)
    assert "Nobody is treated here at present" not in page(ana, "physiotherapist_id=")


def test_old_data_is_shown_as_old(ana: Staff, ben: OwnPhone, now: Any) -> None:
    rows = Patient.objects.filter(pk=ben.patient.pk)
    rows.update(last_received_at=now - timedelta(minutes=59))
    assert "Nothing new for a while" not in page(ana)
    rows.update(last_received_at=now - timedelta(hours=3, minutes=5))
    assert "3 h ago" in page(ana)
    assert "Nothing new for a while" in page(ana)


def test_records_that_wait_to_be_judged_make_it_partial(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any
) -> None:
    assert "Not complete" not in page(ana)
    ben.patient.assignments.update(is_behind=True)
    assert "New records of 1 patient are still being judged" in page(ana)


def test_acknowledged_the_row_is_handled_until_midnight(
    ana: Staff, ben: OwnPhone, flag: Any
) -> None:
    client = browses(ana)
    address = f"/console/patients/{ben.patient.pk}/flags/{flag['id']}"
    assert address in page(ana)
    assert client.get(address).status_code == 200
    before = AuditEvent.objects.count()

    answer = client.post(address, {"note": "Spoke to <him>", "back": "caseload"})
    text = answer.content.decode()
    assert answer.status_code == 422
    assert "Spoke to &lt;him&gt;" in text
    assert 'href="#f-action"' in text

    answer = client.post(address, {"action": "contacted", "note": "Spoke", "back": "caseload"})
    assert (answer.status_code, answer["Location"]) == (302, "/console/caseload")
    text = client.get("/console/caseload").content.decode()
    assert address + '"' not in text
    assert f'action="{address}/undo"' in text
    assert "Contacted the patient" in text
    assert "“Spoke”" in text
    events = AuditEvent.objects.order_by("at")[before:]
    assert [(one.action, one.outcome) for one in events] == [
        ("console.flag_resolve", "refused"),
        ("console.flag_resolve", "ok"),
        ("console.caseload_list", "ok"),
    ]
    with time_machine.travel(timezone.now() + timedelta(days=1), tick=False):
        assert "Handled today" not in page(Staff(session_token(ana.user), user=ana.user))


def test_taken_back_it_waits_as_before(ana: Staff, ben: OwnPhone, flag: Any) -> None:
    client = browses(ana)
    address = f"/console/patients/{ben.patient.pk}/flags/{flag['id']}"
    waits = ana.get(f"caseload?q={ben.patient.given_name}")["items"]
    events = Event.objects.count()
    client.post(address, {"action": "no_action", "note": "A slip"})
    assert Flag.objects.get(pk=flag["id"]).status == "resolved"

    answer = client.post(f"{address}/undo")

    assert answer["Location"] == "/console/caseload"
    assert ana.get("flags")["items"][0] == flag
    assert ana.get(f"caseload?q={ben.patient.given_name}")["items"] == waits
    assert Event.objects.count() == events
    event = AuditEvent.objects.get(action="console.flag_take_back")
    assert (event.action, event.patient_id, str(event.object_id)) == (
        "console.flag_take_back", ben.patient.pk, flag["id"],
    )  # fmt: skip


def test_what_somebody_had_seen_before_stays_seen(ana: Staff, ben: OwnPhone, flag: Any) -> None:
    ana.post(f"flags/{flag['id']}/acknowledge", {"note": "Will call"})
    address = f"/console/patients/{ben.patient.pk}/flags/{flag['id']}"
    browses(ana).post(address, {"action": "contacted"})
    browses(ana).post(f"{address}/undo")

    row = Flag.objects.get(pk=flag["id"])
    assert (row.status, row.note, row.action) == ("acknowledged", "Will call", "")
    assert row.acknowledged_by == ana.user


def test_it_is_taken_back_at_once_or_not_at_all(
    ana: Staff, olga: Staff, ben: OwnPhone, flag: Any
) -> None:
    colleague = make_staff(ana.user.clinic, "Cora", is_physiotherapist=True)  # type: ignore[arg-type]
    address = f"/console/patients/{ben.patient.pk}/flags/{flag['id']}"
    assert browses(ana).post(f"{address}/undo").status_code == 409, "not resolved yet"
    browses(ana).post(address, {"action": "advised"})

    assert browses(colleague).post(f"{address}/undo").status_code == 409
    assert browses(olga).post(f"{address}/undo").status_code == 404
    assert browses(ana).get(f"{address}/undo").status_code == 404
    later = timezone.now() + clearing.TAKEN_BACK_WITHIN + timedelta(seconds=1)
    with time_machine.travel(later, tick=False):
        assert browses(ana).post(f"{address}/undo").status_code == 409
    assert Flag.objects.get(pk=flag["id"]).status == "resolved"


def test_a_stop_is_seen_and_stands_until_it_is_cleared(
    ana: Staff, ben: OwnPhone, stop: Any
) -> None:
    client = browses(ana)
    address = f"/console/patients/{ben.patient.pk}/flags/{stop['id']}"
    assert f"{address}/seen" in page(ana)

    answer = client.post(address, {"action": "advised"})
    assert answer.status_code == 409, "a stop is not resolved"
    assert "Clear the stop" in answer.content.decode() or "stop" in answer.content.decode()
    answer = client.post(f"{address}/seen", {"note": "Sent to hospital", "back": "caseload"})
    assert answer["Location"] == "/console/caseload"
    text = page(ana)
    clear = f"/console/patients/{ben.patient.pk}/clear-stop"
    assert clear in text
    assert ana.get("flags")["items"][0]["status"] == "acknowledged"

    answer = client.post(clear, {"action": "referred", "reason": ""})
    assert answer.status_code == 422
    assert 'href="#f-reason"' in answer.content.decode()
    said = {"action": "referred", "reason": "Examined, nothing found", "back": "caseload"}
    answer = client.post(clear, said)
    assert answer["Location"] == "/console/caseload"
    assert ana.get("flags")["items"] == []
    assert client.post(clear, said).status_code == 409, "nothing stands any more"
    event = AuditEvent.objects.filter(action="console.stop_clear").first()
    assert event is not None
    assert event.patient_id == ben.patient.pk


def test_a_stop_may_end_in_an_earlier_phase_only(ana: Staff, ben: OwnPhone, stop: Any) -> None:
    clear = f"/console/patients/{ben.patient.pk}/clear-stop"
    id = ben.patient.assignments.get().pk
    said = {"action": "advised", "reason": "Fine", f"resume_phase_ids/{id}": "phase-3"}

    answer = browses(ana).post(clear, said)

    assert answer.status_code == 422
    assert f'href="#f-resume_phase_ids-{id}"' in answer.content.decode()


def test_sixty_patients_fit_and_ask_no_more(ana: Staff, ben: OwnPhone, plan_of_ben: Any, now: Any
                                            ) -> None:  # fmt: skip
    counts = []
    for upto in (2, 40, 60):
        while Patient.objects.filter(clinic=ana.user.clinic).count() < upto:
            number = Patient.objects.count()
            make_patient(ana.user.clinic, f"Person{number}", now, ana.user)  # type: ignore[arg-type]
        with CaptureQueriesContext(connection) as seen:
            text = page(ana, "include=on_track")
        counts.append(len(seen))
        assert len(text.encode()) < 150_000
    assert counts[1] == counts[2] <= counts[0], counts
    assert "60 patients, 40 shown" in text
    assert "Next page" in text
