"""Why a plan changed: the verdicts on dates, in short and in full, as the day book has them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any
from uuid import uuid4

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.care import deciding
from backend.care.models import Assignment, ClosedDay, Progression
from backend.care.selectors import course_of
from backend.reports.decisions import Told
from protocols.engine.storing import day_as_json, state_as_json
from tests.service.cast import OwnPhone, Staff

START = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
A_DAY = timedelta(days=1)


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def now(clock: Any) -> datetime:
    return START


@pytest.fixture
def lived(ben: OwnPhone, plan_of_ben: Any, clock: Any) -> Callable[..., datetime]:
    """Live dates with this pain during, each closed before the next; then on to a date."""

    def live(*pains: int | None, until: int) -> datetime:
        for day in range(until + 1):
            moment = START + day * A_DAY
            clock.move_to(moment.replace(hour=17))
            deciding.close(patient_id=ben.patient.pk, now=moment.replace(hour=17))
            if day < len(pains) and (pain := pains[day]) is not None:
                for slot in ben.plan(days=1)["days"][0]["slots"]:
                    ben.logs(slot, plan_of_ben, pain_before=1, pain_during=pain)
                clock.move_to((moment + A_DAY).replace(hour=7))
                ben.checks_in(pain_now=1)
                clock.move_to(moment.replace(hour=17))
        return (START + until * A_DAY).replace(hour=17)

    return live


def test_dates_with_their_rules_in_the_dossiers_words(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, lived: Callable[..., datetime]
) -> None:
    lived(1, 6, None, 6, until=4)
    told = ana.get(f"assignments/{plan_of_ben['id']}/decisions")
    assert (told["from"], told["to"]) == ("2026-02-07", "2026-03-06")
    found = {one["date"]: one for one in told["items"]}
    assert list(found) == [f"2026-03-0{n}" for n in range(2, 7)]
    red, again = found["2026-03-03"], found["2026-03-05"]
    assert (red["colour"], red["rule"], red["outcome"]) == ("RED", "R6", "hold")
    assert again["rule"] == "R5"
    assert again["outcome"] == "step_back"
    assert "second RED within the 7 dates" in again["condition"]
    assert again["decision"]
    assert [one["code"] for one in again["alerts"]] == ["regress-in-phase-1"]
    assert found["2026-03-06"]["is_open"]
    assert found["2026-03-06"]["half"]
    assert "GG1" in found["2026-03-02"]["failed_gates"]

    some = ana.get(f"assignments/{plan_of_ben['id']}/decisions?from=2026-03-03&to=2026-03-03")
    assert some["items"] == [red]


def test_what_is_worked_out_again_is_what_the_day_book_says(
    ben: OwnPhone, plan_of_ben: Any, lived: Callable[..., datetime]
) -> None:
    now = lived(1, 3, 6, None, 1, 6, 9, None, until=9)
    row = Assignment.objects.with_record().get(pk=plan_of_ben["id"])
    told = Told.of(course_of(row), ben.patient, now)
    book = {day.on: day for day in ClosedDay.objects.all()}
    assert len(book) == len(told.verdicts.closed) >= 9
    for judged in told.verdicts.closed:
        day = book[judged.on]
        assert (day.colour, day.rule, day.outcome) == (
            judged.colour.value,
            judged.rule,
            judged.outcome.value,
        )
        assert (day.planned_sets, day.done_sets) == (judged.planned, judged.day.done)
        assert (day.day, day.after) == (day_as_json(judged.day), state_as_json(judged.after))


def test_one_date_in_full_leads_to_records_and_sources(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, lived: Callable[..., datetime]
) -> None:
    lived(1, 6, 6, until=3)
    told = ana.get(f"assignments/{plan_of_ben['id']}/decisions/2026-03-04")
    assert (told["rule"], told["outcome"]) == ("R5", "step_back")
    known = {one["id"] for one in ana.get(f"patients/{ben.patient.pk}/sessions")["items"]}
    sessions = [one for one in told["facts"]["evidence"] if one["type"] == "session"]
    assert sessions
    assert {one["id"] for one in sessions} <= known
    assert {one["value"] for one in sessions} == {6}
    assert [one["params"]["date"] for one in told["reasons"] if one["code"] == "red_day"] == [
        "2026-03-03",
        "2026-03-04",
    ]
    sources = {one["of"]: one["text"] for one in told["sources"]}
    assert sources["R5"]
    assert sources["limits"].startswith("progress 2")
    cited = {key for one in told["sources"] for key in one["citation_ids"]}
    assert {one["id"] for one in told["citations"]} == cited != set()
    assert told["after"]["half_dose_days_left"] == 2
    assert told["engine"]["protocol_version"] == "1.0.0"
    proposal = Progression.objects.get(status="proposed")
    assert proposal.inputs_sha256 == told["inputs_sha256"]

    gates = ana.get(f"assignments/{plan_of_ben['id']}/decisions/2026-03-02")["criteria"]
    pain = next(one for one in gates if one["id"] == "GG2")
    assert (pain["observed"], pain["result"]) == (1, "not_met"), "three session days are needed"
    assert pain["source"]


def test_a_patient_reads_his_own_without_what_is_for_clinicians(
    ana: Staff, ben: OwnPhone, bea: OwnPhone, plan_of_ben: Any, lived: Callable[..., datetime]
) -> None:
    lived(1, 6, 6, until=3)
    path = f"assignments/{plan_of_ben['id']}/decisions"
    assert ana.get(f"{path}/2026-03-04")["alerts"]
    mine = ben.get(f"{path}/2026-03-04")
    assert mine["alerts"] == []
    first = ben.get(f"{path}/2026-03-02")
    assert {name for one in first["criteria"] for name in one} == {"id", "text", "result"}
    assert [one["date"] for one in ben.get(path)["items"]][-1] == "2026-03-05"
    assert bea.get(path, 404)
    assert bea.get(f"{path}/2026-03-04", 404)


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("from=2026-03-05&to=2026-03-04", 400),
        ("from=2020-01-01", 400),
        ("from=x", 400),
        ("to=1900-01-01", 200),
        ("from=2199-12-31&to=2199-12-31", 200),
    ],
)
def test_dates_that_are_none_or_too_many(
    ana: Staff, plan_of_ben: Any, query: str, status: int
) -> None:
    ana.get(f"assignments/{plan_of_ben['id']}/decisions?{query}", status)


@pytest.mark.parametrize(
    "on", ["2026-03-01", "2027-01-01", "x", "2026-3-1", "20260302", "2026-W10-1", "0000-00-00"]
)
def test_a_date_that_was_not_judged_is_unknown(ana: Staff, plan_of_ben: Any, on: str) -> None:
    assert ana.get(f"assignments/{plan_of_ben['id']}/decisions/{on}", 404)
    assert ana.get(f"assignments/{uuid4()}/decisions/{on}", 404)


def test_the_number_of_queries_does_not_grow_with_the_course(
    ana: Staff, plan_of_ben: Any, lived: Callable[..., datetime]
) -> None:
    def asked(path: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            ana.get(f"assignments/{plan_of_ben['id']}/decisions{path}")
        return len(queries)

    lived(1, until=1)
    few = (asked(""), asked("/2026-03-02"))
    lived(1, 6, 1, 1, 1, 1, until=7)
    assert (asked(""), asked("/2026-03-08")) == few == (11, 13)


def test_the_command_says_the_same(
    ana: Staff, plan_of_ben: Any, lived: Callable[..., datetime], capsys: Any
) -> None:
    lived(1, 6, 6, until=3)
    path = f"assignments/{plan_of_ben['id']}/decisions/2026-03-04"
    call_command("explain", plan_of_ben["id"], "2026-03-04", json=True, stdout=StringIO())
    assert json.loads(capsys.readouterr().out) == ana.get(path)
    call_command("explain", plan_of_ben["id"], "2026-03-04")
    text = capsys.readouterr().out
    assert "RED  R5  step_back" in text
    assert "record: session" in text
    for wrong in ((str(uuid4()), "2026-03-04"), (plan_of_ben["id"], "2027-01-01")):
        with pytest.raises(CommandError):
            call_command("explain", *wrong)
