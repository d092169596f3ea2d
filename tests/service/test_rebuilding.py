"""All that is derived follows from the facts: made anew it is the same; what differs is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone
from structlog.testing import capture_logs

from backend import tasks
from backend.care import deciding, rebuilding
from backend.care.lived import check_in_pieces, facts_of
from backend.care.models import Assignment, ClosedDay, Flag
from backend.care.selectors import course_of
from backend.clinics.models import Clinic, Patient
from tests.service.cast import OwnPhone, Staff, make_episode
from tests.service.matrix import everything
from tests.service.racing import at_once
from tests.service.test_assignments import assign

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)
TODAY = date(2026, 3, 10)
DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


@pytest.fixture
def lived(clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Any) -> Patient:
    """Ten days of Ben: two red ones, so that there is a proposal, and one without a session."""
    made = assign(ana, thigh, "hs-grade-1", start_phase_id="phase-2")
    for n, pain in enumerate((1, 6, 1, None, 7, 1, 1, 1, 1, 1)):
        if pain is not None:
            ben.logs(ben.slot(), made, pain_before=1, pain_during=pain)
        clock.move_to(MORNING + (n + 1) * DAY - timedelta(hours=2))
        if pain is not None:
            ben.checks_in(pain_now=1)
        clock.move_to(MORNING + (n + 1) * DAY + timedelta(hours=4))
        tasks.close_days()
    return ben.patient


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def rebuild() -> Run:
    """The exit code of the command, what it said, and what it complained about."""

    def command(*words: str) -> tuple[int, str, str]:
        out, err, code = StringIO(), StringIO(), 0
        try:
            call_command("rebuild", *words, stdout=out, stderr=err)
        except SystemExit as end:
            code = int(str(end.code))
        return code, out.getvalue(), err.getvalue()

    return command


def altered(on: date, **values: str) -> None:
    """Something went wrong in the database."""
    names = ", ".join(f'"{name}" = %s' for name in values)
    with connection.cursor() as cursor:
        cursor.execute(
            f'UPDATE care_closedday SET {names} WHERE "on" = %s',
            [*values.values(), on],
        )


# --- rebuild ----------------------------------------------------------------------------------


def test_there_is_no_difference(lived: Patient, rebuild: Run) -> None:
    assert ClosedDay.objects.count() == 10
    before = everything(library=False)
    code, said, complaint = rebuild()

    assert (code, said, complaint) == (
        0, "1 patients; 0 plans made anew; 0 not judged\n", "",
    )  # fmt: skip
    changed = {key for key, row in everything(library=False).items() if before[key] != row}
    assert {table for table, _ in changed} <= {"clinics.Patient"}, "its counter alone"


def test_what_is_due_anyway_is_no_difference(
    clock: time_machine.Traveller, lived: Patient, rebuild: Run
) -> None:
    clock.shift(3 * DAY)

    assert rebuild()[0] == 0
    assert ClosedDay.objects.count() == 13


@pytest.mark.parametrize("how", ["--check", "--quiet", ""])
def test_a_date_that_says_otherwise_is_told_and_mended(
    lived: Patient, rebuild: Run, how: str
) -> None:
    on = TODAY + DAY
    altered(on, colour="GREEN", rule="R15")
    [course] = Assignment.objects.values_list("pk", flat=True)
    code, said, _ = rebuild(*filter(None, [how]))

    line = f"patient {lived.pk}, plan {course}: day book: {on}\n"
    assert code == (0 if how == "--quiet" else 1)
    assert (line in said) == (how != "--quiet")
    assert said.endswith(
        "1 plans would be made anew; 0 not judged\n"
        if how == "--check"
        else "1 plans made anew; 0 not judged\n"
    )
    colour = ClosedDay.objects.get(on=on).colour
    assert colour == ("GREEN" if how == "--check" else "RED")
    assert rebuild("--quiet", "--check")[1].startswith(
        f"1 patients; {1 if how == '--check' else 0} plans"
    )


def test_a_date_that_is_gone_and_one_too_many(lived: Patient, rebuild: Run) -> None:
    gone, extra = TODAY, TODAY - DAY
    row = ClosedDay.objects.get(on=gone)
    ClosedDay.objects.filter(pk=row.pk).update(on=extra)
    code, said, _ = rebuild()

    assert code == 1
    assert f"day book: {extra}, {gone}\n" in said
    assert list(ClosedDay.objects.order_by("on").values_list("on", flat=True)[:1]) == [gone]


def test_what_the_plan_rests_on_is_mended(lived: Patient, rebuild: Run) -> None:
    course = Assignment.objects.get()
    assert course.standing is not None
    state = course.standing["state"] | {"half_left": 9}
    Assignment.objects.update(standing=course.standing | {"state": state})
    before = Patient.objects.get(pk=lived.pk).plan_version
    carried = course.carried
    assert carried is not None
    after = carried["after"] | {"half_left": 9}  # or going on would mend it, as on any day
    Assignment.objects.update(carried=carried | {"after": after})
    code, said, _ = rebuild()

    assert code == 1
    assert "stored: standing, carried\n" in said
    mended = Assignment.objects.get()
    assert (mended.standing, mended.carried) == (course.standing, carried)
    assert Patient.objects.get(pk=lived.pk).plan_version == before + 1, "phones read it again"


def test_a_flag_that_no_rule_asks_for_is_lowered(lived: Patient, rebuild: Run) -> None:
    """The day book asked for it, the facts do not."""
    [course] = Assignment.objects.values_list("pk", flat=True)
    Flag.objects.create(
        patient=lived, code="gap-7", level="routine", raised_at=MORNING, observed_on=TODAY,
        source_type="assignment", source_id=course,
    )  # fmt: skip
    altered(TODAY, alerts='[["routine", "gap-7"]]')
    code, said, _ = rebuild()

    assert code == 1
    assert f"flags: no gap-7 on {TODAY}" in said
    assert Flag.objects.get(code="gap-7").status == Flag.Status.AUTO_RESOLVED


def test_one_patient_and_one_clinic(
    lived: Patient, ana: Staff, bea: OwnPhone, elsewhere: Clinic, rebuild: Run, now: datetime
) -> None:
    assign(ana, make_episode(bea.patient, ana.user, now), "pht", on=timezone.now().date())

    assert rebuild("--check")[1].startswith("2 patients")
    assert rebuild("--patient", str(lived.pk))[1].startswith("1 patients")
    assert rebuild("--clinic", str(lived.clinic_id))[1].startswith("2 patients")
    assert rebuild("--clinic", str(elsewhere.pk))[1].startswith("0 patients")
    for option in ("--patient", "--clinic"):
        with pytest.raises(CommandError, match="There is no such"):
            rebuild(option, str(uuid4()))
        with pytest.raises(CommandError, match="invalid UUID"):
            rebuild(option, "Ben")


def test_who_cannot_be_judged_is_named_and_the_others_are(
    lived: Patient, ana: Staff, bea: OwnPhone, rebuild: Run, now: datetime,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assign(ana, make_episode(bea.patient, ana.user, now), "pht", on=timezone.now().date())
    altered(TODAY, rule="R1")
    _fails_for(bea.patient, monkeypatch, rebuilding)
    code, said, complaint = rebuild()

    assert code == 1
    assert complaint == f"patient {bea.patient.pk}: not judged: ValueError\n"
    assert f"day book: {TODAY}\n" in said
    assert said.endswith("2 patients; 1 plans made anew; 1 not judged\n")


def _fails_for(patient: Patient, monkeypatch: pytest.MonkeyPatch, module: Any) -> None:
    whole = deciding.recompute

    def recompute(**said: Any) -> deciding.Difference:
        if said["patient"].pk == patient.pk:
            raise ValueError(f"{patient.given_name} says it hurts")
        return whole(**said)

    monkeypatch.setattr(deciding, "recompute", recompute)
    assert module


def test_the_order_of_records_says_nothing(lived: Patient) -> None:
    """The database gives them in any order, and a push brings several at one moment."""
    facts = facts_of(course_of(Assignment.objects.with_record().get()), lived)
    [told] = [one for one in facts.pieces[TODAY] if one.kind == "rating"]
    for pain in (2, 7):
        said = told.content | {"pain_now": pain, "nprs_worst": pain}
        said["local_date"] = TODAY.isoformat()
        facts.add(check_in_pieces(uuid4(), told.at, None, said, [(told.at, None, TODAY)]))
    once = facts.day(TODAY)
    assert (len(once.felt) > 1, once.next_morning) == (True, 7)
    [worst] = [one.value for one in once.measured if one.metric == "nprs_worst"][-1:]
    assert worst == 7
    by_staff = [one for one in facts.pieces[TODAY] if one.kind == "assessed"]
    by_phone = [one for one in facts.pieces[TODAY] if one.kind != "assessed"]
    for seed in range(20):
        Random(seed).shuffle(by_phone)
        facts.pieces[TODAY] = [*by_phone, *by_staff]
        assert facts.day(TODAY) == once


# --- The sweep --------------------------------------------------------------------------------


def test_dates_close_at_noon_of_the_next_one(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Any
) -> None:
    """11:00 UTC is noon in Stockholm."""
    assign(ana, thigh, "hs-grade-1")
    closed = []
    for day, hour, minute in ((10, 23, 0), (11, 10, 59), (11, 11, 0), (12, 10, 59), (12, 11, 0)):
        clock.move_to(datetime(2026, 3, day, hour, minute, tzinfo=UTC))
        call_command("tick")
        closed.append(ClosedDay.objects.count())

    assert closed == [0, 0, 1, 1, 2]


def test_a_repeat_changes_nothing(lived: Patient, clock: time_machine.Traveller) -> None:
    clock.shift(DAY)
    tasks.close_days()
    before = everything(library=False)
    tasks.close_days()
    deciding.close(patient_id=lived.pk, now=timezone.now())

    assert everything(library=False) == before


def test_one_who_cannot_be_judged_stands_in_nobodys_way(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, bea: OwnPhone, thigh: Any,
    now: datetime, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assign(ana, thigh, "hs-grade-1")
    assign(ana, make_episode(bea.patient, ana.user, now), "pht")
    clock.shift(2 * DAY)
    with monkeypatch.context() as patch:
        _fails_for(ben.patient, patch, tasks)
        with capture_logs() as logs:
            tasks.close_days()

    assert {row.assignment.patient_id for row in ClosedDay.objects.all()} == {bea.patient.pk}
    [told] = [one for one in logs if one["event"] == "closing failed"]
    assert told["patient_id"] == str(ben.patient.pk)
    assert "Ben" not in str({name: said for name, said in told.items() if name != "exc_info"})
    tasks.close_days()
    assert ClosedDay.objects.filter(assignment__patient=ben.patient).exists()


def test_a_sweep_takes_so_many_and_the_next_the_others(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, bea: OwnPhone, thigh: Any,
    now: datetime, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assign(ana, thigh, "hs-grade-1")
    assign(ana, make_episode(bea.patient, ana.user, now), "pht")
    clock.shift(2 * DAY)
    monkeypatch.setattr(tasks, "A_SWEEP", 1)

    def judged() -> set[UUID]:
        tasks.close_days()
        return {row.assignment.patient_id for row in ClosedDay.objects.all()}

    assert [len(judged()), len(judged())] == [1, 2]


@pytest.mark.django_db(transaction=True)
def test_two_sweeps_at_once(ana: Staff, ben: OwnPhone, thigh: Any, library: None) -> None:
    real = datetime.now(UTC)
    made = assign(ana, thigh, "hs-grade-1", on=ben.today)
    later = real + 4 * DAY
    at_once(*[lambda: deciding.close(patient_id=ben.patient.pk, now=later)] * 2)

    course = Assignment.objects.get(pk=made["id"])
    days = list(ClosedDay.objects.order_by("on").values_list("on", flat=True))
    assert days == [ben.today + n * DAY for n in range(len(days))]
    assert days[-1] == course.judged_to
    assert rebuilding.rebuild(patient_id=ben.patient.pk, now=later, keep=False) == []
