"""The caseload: who needs somebody, why, since when, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.api.records import report_of
from backend.audit.models import AuditEvent
from backend.care import deciding, recording
from backend.care.accounting import Done, slots_of
from backend.care.models import Assignment, ClosedDay, Flag, Revision
from backend.care.recording import Batch, Upload
from backend.care.selectors import course_of
from backend.clinics import actions
from backend.clinics.models import Clinic, Patient
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff, make_episode, make_patient

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)  # a Monday, 9:00 where the patients are
A_DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def now(clock: Any) -> datetime:
    return START


def days_later(clock: Any, days: int, *, hour: int = 13) -> datetime:
    """So many days after the start, at this hour UTC, with all dates judged that have closed."""
    clock.move_to(moment := (START + days * A_DAY).replace(hour=hour))
    while waiting := deciding.due_to_close(now=moment, limit=100):
        for patient_id in waiting:
            deciding.close(patient_id=patient_id, now=moment)
    return moment


def rows(who: Staff, query: str = "") -> list[Any]:
    return list(who.get(f"caseload?{query}")["items"])


def row_of(who: Staff, phone: OwnPhone, query: str = "include=on_track") -> Any:
    [row] = [row for row in rows(who, query) if row["patient"]["id"] == str(phone.patient.pk)]
    return row


def codes(row: Any) -> list[str]:
    return [reason["code"] for reason in row["reasons"]]


# --- Urgent -----------------------------------------------------------------------------------


def test_severe_pain_reaches_the_caseload(
    ana: Staff, ben: OwnPhone, olga: Staff, plan_of_ben: Any
) -> None:
    ben.logs(ben.slot(), plan_of_ben, pain_during=9)

    [row] = rows(ana)
    assert row["tier"] == "urgent"
    assert codes(row) == ["standing_stop", "severe", "progression_waiting"]
    assert olga.get("caseload")["items"] == []


def test_a_red_flag_puts_the_patient_at_the_top_at_once(
    ana: Staff, ben: OwnPhone, bea: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    bea.checks_in(stop_signs=["night_pain"])
    clock.shift(60)
    assert [codes(row) for row in rows(ana)] == [["night_pain"]]

    ben.checks_in(stop_signs=["ces_bladder"])
    clock.shift(60)

    first, second = rows(ana)
    assert first["patient"] == {
        "id": str(ben.patient.pk),
        "display_name": "Ben Patient",
        "age": 29,
    }
    assert (first["tier"], second["tier"]) == ("urgent", "review")
    [flag] = [one for one in first["reasons"] if "flag_id" in one]
    assert flag["text"].startswith("New trouble starting or stopping to pass urine")
    assert flag["since"] == "2026-03-02T08:01:00Z"
    assert flag["params"]["level"] == "emergency"
    assert Flag.objects.get(pk=flag["flag_id"]).patient_id == ben.patient.pk
    stop = next(one for one in first["reasons"] if one["code"] == "standing_stop")
    assert stop["since"] == "2026-03-01T23:00:00Z"  # the date began, where Ben is
    assert stop["text"].startswith("The plan stands still since 2 Mar")


def test_a_flag_stays_while_it_is_acknowledged_and_goes_when_it_is_resolved(
    ana: Staff, bea: OwnPhone, now: datetime
) -> None:
    bea.checks_in(stop_signs=["night_pain"])
    flag = Flag.objects.get()
    flag.status, flag.acknowledged_by, flag.acknowledged_at = "acknowledged", ana.user, now
    flag.save()
    [row] = rows(ana)
    assert row["reasons"][0]["params"]["status"] == "acknowledged"

    flag.status, flag.resolved_by, flag.resolved_at = "resolved", ana.user, now
    flag.action = "contacted"
    flag.save()
    assert rows(ana) == []


def test_who_was_discharged_is_there_for_a_flag_and_for_nothing_else(
    ana: Staff, bea: OwnPhone
) -> None:
    bea.checks_in(stop_signs=["night_pain"])
    Patient.objects.filter(pk=bea.patient.pk).update(status="discharged")
    told = ana.get("caseload?include=on_track")
    assert [codes(row) for row in told["items"]] == [["night_pain"]]
    assert told["counts"] == {"urgent": 0, "review": 1, "watch": 0, "on_track": 0}


# --- Review and watch, from the dates ---------------------------------------------------------


def test_a_red_day_is_there_at_once_and_for_as_long_as_it_counts(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    ben.logs(ben.slot(), plan_of_ben, pain_before=1, pain_during=6)
    row = row_of(ana, ben)
    assert (row["tier"], codes(row)) == ("review", ["red_day"])
    assert row["reasons"][0]["params"] == {"dates": ["2026-03-02"], "date": "2026-03-02"}

    days_later(clock, 6, hour=9)
    assert "red_day" in codes(row_of(ana, ben))
    days_later(clock, 8)
    assert "red_day" not in codes(row_of(ana, ben))


def test_two_red_days_step_back_and_say_so_until_somebody_answers(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    for day in range(2):
        days_later(clock, day, hour=9)
        ben.logs(ben.slot(), plan_of_ben, pain_before=1, pain_during=6)
    row = row_of(ana, ben)
    back = next(one for one in row["reasons"] if one["code"] == "stepped_back")
    assert back["text"].startswith("Stepped back to phase 1, Protect and activate")
    assert back["progression_id"]
    assert "regress-in-phase-1" in codes(row)
    assert "red_day" not in codes(row), "they were answered by the step back"


def test_missed_days_are_counted_and_low_adherence_has_a_first_date(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    ben.logs(ben.slot(), plan_of_ben)
    days_later(clock, 3)
    ben.checks_in()
    assert codes(row_of(ana, ben)) == []
    days_later(clock, 4)
    row = row_of(ana, ben)
    assert (row["tier"], codes(row)) == ("watch", ["missed_3"])
    assert row["reasons"][0]["since"] == "2026-03-04T23:00:00Z"
    assert row["reasons"][0]["text"] == "3 planned dates in a row missed"

    days_later(clock, 7)
    ben.checks_in()
    row = row_of(ana, ben)
    assert set(codes(row)) == {"missed_3", "low_adherence"}
    low = next(one for one in row["reasons"] if one["code"] == "low_adherence")
    assert low["params"]["date"] == "2026-03-08"
    assert low["params"]["limit"] == 0.8
    assert "below 80%" in low["text"]
    days_later(clock, 8)
    row = row_of(ana, ben)
    assert (row["tier"], codes(row)[0]) == ("review", "gap-7")
    low = next(one for one in row["reasons"] if one["code"] == "low_adherence")
    assert low["params"]["date"] == "2026-03-08"


def test_three_amber_session_days_in_a_row(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    for day in range(3):
        days_later(clock, day, hour=17)
        for slot in ben.plan(days=1)["days"][0]["slots"]:
            ben.logs(slot, plan_of_ben, pain_before=1, pain_during=3)
    assert "amber_run" not in codes(row_of(ana, ben)), "the third may turn out to be RED"
    days_later(clock, 3)
    row = row_of(ana, ben)
    assert codes(row) == ["amber_run"]
    assert row["reasons"][0]["params"] == {"session_days": 3, "date": "2026-03-04"}


def test_longer_in_a_phase_than_it_is_expected_to_take(
    ana: Staff, ben: OwnPhone, harbour: Clinic, clock: Any, now: datetime, library: None
) -> None:
    """1-2 weeks in the first phase of deep-gluteal; excused days are not days of the phase."""
    protocol = ProtocolVersion.objects.get(slug="deep-gluteal")
    episode = make_episode(ben.patient, ana.user, now)
    plan = ana.assigns(protocol, to=ben.patient, episode=episode, on=START.date())
    path = f"assignments/{plan['id']}"
    paused = {"from": "2026-03-03", "until": "2026-03-04", "reason": "Ill."}
    ana.post(f"{path}/pause", paused, If_Match=ana.call("GET", path)["ETag"])

    def trains(until: int) -> None:
        for day in range(until - 3, until):
            days_later(clock, day, hour=17)
            for slot in ben.plan(days=1)["days"][0]["slots"]:
                ben.logs(slot, plan, pain_before=1)
        days_later(clock, until)

    for until in (6, 11, 16):
        trains(until)
    assert "step_overdue" not in codes(row_of(ana, ben))
    days_later(clock, 17)
    reason = next(r for r in row_of(ana, ben)["reasons"] if r["code"] == "step_overdue")
    assert (reason["tier"], reason["assignment_id"]) == ("watch", plan["id"])
    assert reason["params"] == {
        "phase_id": "phase-1", "day_in_phase": 15, "expected": 14, "date": "2026-03-18",
    }  # fmt: skip
    assert reason["text"] == ("Day 15 of phase 1, Calm, which is expected to take 14 days at most")
    days_later(clock, 18)
    again = next(r for r in row_of(ana, ben)["reasons"] if r["code"] == "step_overdue")
    assert (again["since"], again["params"]["day_in_phase"]) == (reason["since"], 16)


def test_of_a_phase_of_which_nothing_is_expected_nothing_is_said(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    days_later(clock, 80)
    assert "step_overdue" not in codes(row_of(ana, ben))


def test_half_of_the_last_logs_typed_late(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    days_later(clock, 5, hour=9)
    for day in range(4):
        on = (START + day * A_DAY).date()
        begun = (START + day * A_DAY).isoformat()
        slot = ben.slot(on)
        ben.logs(
            slot, plan_of_ben, local_date=on.isoformat(), started_at=begun,
            ended_at=(START + day * A_DAY + timedelta(minutes=20)).isoformat(),
        )  # fmt: skip
    assert "data_late" not in codes(row_of(ana, ben)), "seven are looked at"
    for day in range(5, 8):
        days_later(clock, day, hour=9)
        ben.logs(ben.slot(), plan_of_ben)
    late = next(one for one in row_of(ana, ben)["reasons"] if one["code"] == "data_late")
    assert late["params"] == {"late": 4, "logs": 7, "date": "2026-03-05"}


def test_a_silent_phone_and_an_invitation_nobody_used(
    ana: Staff, ben: OwnPhone, harbour: Clinic, plan_of_ben: Any, clock: Any, now: datetime
) -> None:
    ben.checks_in()
    ina = Patient.objects.create(
        clinic=harbour, physiotherapist=ana.user, given_name="Ina", family_name="Andersson",
        birth_date="1990-01-01", timezone="Europe/Stockholm", created_at=now, updated_at=now,
    )  # fmt: skip
    actions.invite(patient=ina, by=ana.user, now=now)
    days_later(clock, 2)
    assert rows(ana) == []
    days_later(clock, 3, hour=8)
    [row] = rows(ana)
    assert codes(row) == ["never_signed_in"]
    assert row["waiting_since"] == "2026-03-05T08:00:00Z"
    assert "phase" not in row
    assert row["strip"] == "-------"

    days_later(clock, 5, hour=8)
    row = row_of(ana, ben)
    assert "not_heard" in codes(row)
    silent = next(one for one in row["reasons"] if one["code"] == "not_heard")
    assert silent["since"] == "2026-03-07T08:00:00Z"
    assert silent["text"] == "Phone not heard from for 5 days"
    ben.checks_in()
    assert "not_heard" not in codes(row_of(ana, ben))


# --- The row ----------------------------------------------------------------------------------


def test_the_strip_of_the_last_closed_dates(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    """Completed, partial, skipped, paused, missed, and not heard of."""
    for day, how in enumerate(("whole", "part", "skipped")):
        days_later(clock, day, hour=17)
        for slot in ben.plan(days=1)["days"][0]["slots"]:
            body = ben.session_of(slot, plan_of_ben, pain_before=1, pain_during=2)
            if how == "part":
                body["entries"] = body["entries"][:1]
            if how == "skipped":
                del body["pain_during"]
                body |= {"state": "skipped", "entries": [], "skip_reason": "no_time"}
            ben.put(f"me/sessions/{uuid4()}", body)
    days_later(clock, 3, hour=9)
    path = f"assignments/{plan_of_ben['id']}"
    tag = ana.call("GET", path)["ETag"]
    said = {"from": "2026-03-05", "until": "2026-03-05", "reason": "Away"}
    ana.post(f"{path}/pause", said, If_Match=tag)
    days_later(clock, 6)
    ben.checks_in()
    days_later(clock, 7)

    row = row_of(ana, ben)
    assert row["strip"] == "CPSXMM?"
    week = row["last_7_days"]
    assert week["pain_during_worst"] == 2
    assert "pain_morning_last" not in week
    book = {day.on.isoformat(): day for day in ClosedDay.objects.all()}
    due = [day.slots_due for _, day in sorted(book.items())]
    assert due[3] == 0
    assert book["2026-03-05"].slots_excused > 0
    assert week["due"] == sum(due[:6]), "what nobody knows is not due"
    assert week["done"] == due[0] + due[1]
    assert week["session_adherence"] == round(week["done"] / week["due"], 4)
    assert row["phase"] == {
        "number": 1, "count": 4, "title": "Protect and activate", "day_in_phase": 8,
    } | {"count": row["phase"]["count"]}  # fmt: skip
    assert row["last_received_at"] == "2026-03-08T13:00:00Z"
    assert row["physiotherapist_id"] == str(ana.user.pk)


def test_the_phase_is_of_a_plan_that_has_begun(
    ana: Staff, bea: OwnPhone, grade_1: ProtocolVersion, clock: Any
) -> None:
    episode = make_episode(bea.patient, ana.user, START)
    ana.assigns(grade_1, to=bea.patient, episode=episode, on=bea.today + A_DAY)
    assert "phase" not in row_of(ana, bea)

    days_later(clock, 1)
    assert row_of(ana, bea)["phase"]["day_in_phase"] == 1
    other = make_episode(bea.patient, ana.user, START, side="left")
    ana.assigns(
        grade_1, to=bea.patient, episode=other, on=bea.today + A_DAY, start_phase_id="phase-2"
    )
    assert row_of(ana, bea)["phase"]["number"] == 1


def test_a_late_log_changes_the_slots_of_its_date(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    """Also where it was done on the day after the slot's own."""
    days_later(clock, 2)
    first = ClosedDay.objects.get(on="2026-03-02")
    assert (first.slots_due, first.slots_completed, first.dose_ratios) == (first.slots_due, 0, 0)
    slots = ben.plan(**{"from": "2026-03-02"}, days=1)["days"][0]["slots"]
    id = UUID(int=7)
    told = {"local_date": "2026-03-03"}
    ben.logs(slots[0], plan_of_ben, id, **told)
    again = ClosedDay.objects.get(on="2026-03-02")
    assert (again.slots_completed, again.dose_ratios) == (1, 1)
    assert again.slots_due == first.slots_due

    ben.delete(f"me/sessions/{id}?revision=2")
    assert ClosedDay.objects.get(on="2026-03-02").slots_completed == 0


def test_the_day_book_and_what_it_says_do_not_depend_on_when_it_was_written(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    """Date by date, as time passed, or all at once."""
    for day in range(12):
        now = days_later(clock, day, hour=17)
        slots = ben.plan(days=1)["days"][0]["slots"]
        for slot in slots if day % 3 else []:
            ben.logs(slot, plan_of_ben, pain_before=1, pain_during=3 if day < 9 else 6)
        if day % 4 == 0:
            ben.checks_in(pain_now=2)
    now = days_later(clock, 12)
    assignment = Assignment.objects.with_record().get()
    before = kept_of(assignment)
    assert before[0]

    found = deciding.recompute(course=course_of(assignment), patient=ben.patient, now=now)

    assert found.rows == []
    assert kept_of(Assignment.objects.get()) == before


def kept_of(assignment: Assignment) -> tuple[object, ...]:
    assert assignment.carried is not None
    return assignment.concerns, assignment.carried["since"], assignment.carried["typed"]


# --- Order, filters, pages --------------------------------------------------------------------


def crowd(harbour: Clinic, ana: Staff, now: datetime, count: int) -> list[OwnPhone]:
    return [
        make_patient(harbour, f"P{n:02}", now, ana.user, family_name=f"Family{n:02}")
        for n in range(count)
    ]


def names(found: list[Any]) -> list[str]:
    return [row["patient"]["display_name"].split()[0] for row in found]


def test_the_order_is_tier_then_oldest_reason_then_name(
    ana: Staff, harbour: Clinic, clock: Any, now: datetime
) -> None:
    one, two, three, four, five = crowd(harbour, ana, now, 5)
    two.checks_in(stop_signs=["night_pain"])
    one.checks_in(stop_signs=["night_pain"])
    clock.shift(60)
    three.checks_in(stop_signs=["recurrent"])
    clock.shift(60)
    four.checks_in(stop_signs=["ces_bowel"])

    told = ana.get("caseload?include=on_track")
    assert names(told["items"]) == ["P03", "P00", "P01", "P02", "P04"]
    assert told["counts"] == {"urgent": 1, "review": 3, "watch": 0, "on_track": 1}
    assert names(rows(ana)) == ["P03", "P00", "P01", "P02"]
    assert names(rows(ana, "tier=review")) == ["P00", "P01", "P02"]
    assert names(rows(ana, "tier=on_track")) == ["P04"]
    assert names(rows(ana, "q=family02")) == ["P02"]
    assert ana.get("caseload?q=family02")["counts"]["review"] == 1
    assert five.patient.given_name == "P04"


def test_filters_by_who_treats_and_by_protocol(
    ana: Staff, cleo: Staff, ben: OwnPhone, bea: OwnPhone, plan_of_ben: Any,
    grade_1: ProtocolVersion,
) -> None:  # fmt: skip
    for phone in (ben, bea):
        phone.checks_in(stop_signs=["night_pain"])
    mine = f"physiotherapist_id={ana.user.pk}"
    assert len(rows(cleo, mine)) == 2
    assert rows(cleo, f"physiotherapist_id={cleo.user.pk}") == []
    assert names(rows(ana, f"protocol_id={grade_1.protocol_id}")) == ["Ben"]
    assert rows(ana, f"protocol_id={UUID(int=1)}") == []
    for wrong in ("tier=all", "include=x", "protocol_id=x", "physiotherapist_id=1", "limit=0"):
        assert ana.get(f"caseload?{wrong}", 400)["code"] == "malformed-request"


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_pages_pass_nobody_over(
    ana: Staff, harbour: Clinic, now: datetime, clock: Any, limit: int
) -> None:
    phones = crowd(harbour, ana, now, 7)
    for phone in phones[::2]:
        phone.checks_in(stop_signs=["night_pain"])
        clock.shift(1)
    whole = names(rows(ana, "include=on_track"))
    assert len(whole) == 7

    found, query = [], f"include=on_track&limit={limit}"
    page: Any = {"next_cursor": ""}
    while (cursor := page["next_cursor"]) is not None:
        page = ana.get(f"caseload?{query}{cursor and '&cursor=' + cursor}")
        found += names(page["items"])
    assert found == whole


def test_the_next_page_is_found_though_the_last_row_was_dealt_with(
    ana: Staff, harbour: Clinic, now: datetime, clock: Any
) -> None:
    for phone in crowd(harbour, ana, now, 4):
        phone.checks_in(stop_signs=["night_pain"])
        clock.shift(1)
    page = ana.get("caseload?include=on_track&limit=2")
    Flag.objects.filter(patient=page["items"][1]["patient"]["id"]).update(status="auto_resolved")
    rest = ana.get(f"caseload?include=on_track&limit=9&cursor={page['next_cursor']}")
    assert names(rest["items"]) == ["P02", "P03", "P01"]


def test_a_cursor_tells_nothing_and_fits_its_own_list_only(
    ana: Staff, olga: Staff, harbour: Clinic, now: datetime
) -> None:
    phones = crowd(harbour, ana, now, 3)
    for phone in phones:
        phone.checks_in(stop_signs=["night_pain"])
    cursor = ana.get("caseload?limit=1")["next_cursor"]
    assert phones[0].patient.pk.hex not in cursor
    assert ana.get("caseload?limit=1")["next_cursor"] == cursor
    wrong = [cursor[:-2] + "AA", "x", "", "é", "A" * 60, cursor + "A" * 200]
    for query in (f"tier=review&cursor={cursor}", *(f"cursor={one}" for one in wrong)):
        assert ana.get(f"caseload?{query}", 400)["code"] == "cursor-invalid", query
    assert olga.get(f"caseload?cursor={cursor}", 400)["code"] == "cursor-invalid"


def test_who_was_shown_is_in_the_audit(ana: Staff, harbour: Clinic, now: datetime) -> None:
    phones = crowd(harbour, ana, now, 3)
    phones[1].checks_in(stop_signs=["night_pain"])
    ana.get("caseload")
    event = AuditEvent.objects.get(action="caseload_list")
    assert event.listed == [str(phones[1].patient.pk)]
    assert event.patient_id is None


def test_the_number_of_queries_does_not_depend_on_the_clinic(
    ana: Staff, harbour: Clinic, grade_1: ProtocolVersion, clock: Any, now: datetime
) -> None:
    def asked() -> int:
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert ana.get("caseload?include=on_track&limit=200")["items"]
        return len(queries)

    def one_more(n: int) -> None:
        phone = make_patient(harbour, f"P{n}", now, ana.user)
        episode = make_episode(phone.patient, ana.user, now)
        plan = ana.assigns(grade_1, to=phone.patient, episode=episode, on=phone.today)
        phone.logs(phone.slot(), plan, pain_before=1, pain_during=6, stop_signs=["night_pain"])

    one_more(0)
    ana.get("caseload")
    few = asked()
    for n in range(1, 6):
        one_more(n)
    assert asked() == few == 13


# --- Slots, as a table ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        pytest.param([], (0, 0, 0, 0), id="nothing"),
        pytest.param([("completed", 1.0)], (1, 0, 0, 1.0), id="completed"),
        pytest.param([("partial", 0.4), ("partial", 0.6)], (0, 1, 0, 0.6), id="the better dose"),
        pytest.param([("skipped", 0), ("partial", 0.3)], (0, 1, 0, 0.3), id="the better outcome"),
        pytest.param([("skipped", 0)], (0, 0, 1, 0), id="skipped"),
        pytest.param([("open", 0.5)], (0, 0, 0, 0), id="never finished"),
        pytest.param([("open", 0.9), ("partial", 0.4)], (0, 1, 0, 0.4), id="finished elsewhere"),
    ],
)
def test_the_best_session_of_a_slot_counts(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any, sessions: Any, expected: Any
) -> None:
    now = days_later(clock, 1)
    course = course_of(Assignment.objects.with_record().get())
    verdicts = deciding.judged_now(course=course, patient=ben.patient, now=now)
    judged = verdicts.closed[0]
    terms = deciding.terms_of(course, judged)
    [slot, *_] = [one for one in course.slots_under(terms, judged.on) if one.counts]
    told = slots_of(course, judged, terms, {slot.id: [Done(*one) for one in sessions]})
    names = ("slots_completed", "slots_partial", "slots_skipped", "dose_ratios")
    assert tuple(told[name] for name in names) == expected  # type: ignore[literal-required]


def test_a_measurement_between_two_records_of_one_push_is_not_forgotten(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    """The push has read the course before; what judging carries has moved on meanwhile."""
    batch = Batch()

    def sends(kind: Revision.Kind, said: dict[str, Any]) -> None:
        report = report_of(kind, uuid4(), said.pop("revision"), said)
        patient = Patient.objects.get(pk=ben.patient.pk)
        upload = Upload(datetime.now(UTC))
        recording.put(patient=patient, report=report, upload=upload, batch=batch)

    days_later(clock, 2, hour=9)
    slot = ben.slot()
    for _ in range(2):
        sends(Revision.Kind.SESSION, ben.session_of(slot, plan_of_ben, pain_before=1))
        ana.records(ben.patient, "iso90_pain", 1, unit="0-10")
    sends(Revision.Kind.SESSION, ben.session_of(slot, plan_of_ben, pain_before=1))
    now = days_later(clock, 4)

    assignment = Assignment.objects.with_record().get()
    found = deciding.recompute(course=course_of(assignment), patient=ben.patient, now=now)
    assert found.rows == []
