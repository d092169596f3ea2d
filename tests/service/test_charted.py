"""Charts of what selectors answer about people who did, or did not, what was due."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.care import deciding
from backend.care.models import Assignment, Progression, Session
from backend.care.selectors import course_of
from backend.clinics.models import Clinic, Patient
from backend.console import charted
from backend.console.charts import (
    adherence_heat_map,
    cohort_dots,
    criteria_ladder,
    dose_charts,
    pain_sparkline,
    recovery_timeline,
    week_strip,
    weeks_on_target,
    words,
)
from backend.console.charts.states import State
from backend.reports import adherence
from backend.reports.adherence import Grouping, Scope
from backend.reports.recent import recent_days
from backend.reports.selectors import shown_of
from backend.reports.timeline import timeline_of
from exercises.models import Exercise
from protocols.engine.adherence import Weeks, ratio
from protocols.engine.definition import Dose as DoseAsked
from protocols.engine.definition import Reps
from tests.service.cast import OwnPhone, Staff, make_staff
from tests.service.test_adherence import LAST, cohort
from tests.service.test_cohort import FIRST, at
from tests.service.test_progressions import Story

START = datetime(2026, 3, 2, 8, tzinfo=UTC)  # a Monday, 9:00 where the patients are
MONDAY = START.date()
A_DAY = timedelta(days=1)
TARGET = 8_000


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def now(clock: Any) -> datetime:
    return START


@pytest.fixture
def week(ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any) -> datetime:
    """Done, half done, skipped, nothing, done with too much pain; the sixth date is open still,
    and what was told of the first came late."""

    def says(on: date, share: float, **more: Any) -> None:
        for slot in ben.plan(**{"from": on}, days=1)["days"][0]["slots"]:
            body = ben.session_of(slot, plan_of_ben, local_date=on.isoformat(), **more)
            body["entries"] = body["entries"][: max(1, round(len(body["entries"]) * share))]
            if not share:
                body |= {"state": "skipped", "entries": [], "skip_reason": "no_time"}
                del body["pain_during"]
            ben.put(f"me/sessions/{uuid4()}", body)

    for day, (share, pain) in enumerate(
        ((None, 0), (0.5, 3), (0, 0), (None, 0), (1, 6), (None, 0))
    ):
        clock.move_to(moment := (START + day * A_DAY).replace(hour=17))
        deciding.close(patient_id=ben.patient.pk, now=moment)
        ben.checks_in(pain_now=1)
        if share is not None:
            says(moment.date(), share, pain_during=pain)
        if day == 1:
            says(MONDAY, 1, pain_during=2, **begun(MONDAY))
    ben.patient.refresh_from_db()
    return moment


def begun(on: date) -> dict[str, str]:
    evening = datetime.combine(on, START.time(), UTC).replace(hour=17)
    ended = evening + timedelta(minutes=20)
    return {"started_at": evening.isoformat(), "ended_at": ended.isoformat()}


def timeline(ben: OwnPhone, now: datetime, **more: Any) -> Any:
    found = timeline_of(ben.patient, MONDAY, MONDAY + 13 * A_DAY, now=now, to_patient=False)
    return charted.from_timeline(found, today=now.date(), **more)


def test_a_timeline_is_what_was_lived(ben: OwnPhone, week: datetime) -> None:
    shown = timeline(ben, week)
    states = "".join(one.state.value for one in shown.days)

    assert states == "CPSMCo"
    assert [one.pain_during for one in shown.days] == [2, 3, None, None, 6, None]
    assert [one.late for one in shown.days] == [True, False, False, False, False, False]
    assert [one.prescribed for one in shown.days] == [1.0] * 6
    loads = [one.load for one in shown.days]
    assert loads[0] == loads[4] == 1
    assert loads[2] == 0
    assert loads[3] is loads[5] is None
    assert {one.value for one in shown.limits} == {shown.limit_on(MONDAY)}
    assert shown.bands[0].first == MONDAY

    chart = recovery_timeline("c1", shown)
    assert chart.sentence.startswith("Pain during exercise rose from 2 to 6 between 2 and 6 March")
    due, done = sum(one.due for one in shown.days[:-1]), sum(one.done for one in shown.days[:-1])
    assert f"{done} of {due} sessions were done; 1 day was typed in late." in chart.sentence
    assert chart.table is not None
    assert len(chart.table.rows) == 6, "none of dates to come"


@pytest.mark.parametrize("measure", charted.MEASURES)
def test_every_measure_is_that_of_the_timeline(ben: OwnPhone, week: datetime, measure: str) -> None:
    found = timeline_of(ben.patient, MONDAY, MONDAY + 13 * A_DAY, now=week, to_patient=False)
    shown = charted.from_timeline(found, today=week.date(), measure=measure)
    told = [one.dose_ratio if measure == "dose_ratio" else one.load.get(measure)
            for one in found.days]  # fmt: skip
    assert [one.load for one in shown.days] == told
    assert recovery_timeline("c1", shown).table


def test_pauses_and_decisions_become_lines(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, week: datetime
) -> None:
    path = f"assignments/{plan_of_ben['id']}"
    tag = ana.call("GET", path)["ETag"]
    pause = {"from": "2026-03-08", "until": "2026-03-10", "reason": "Away"}
    ana.post(f"{path}/pause", pause, 200, If_Match=tag)

    ben.checks_in(stop_signs=["night_pain"])

    shown = timeline(ben, week)
    assert "Paused until 10 Mar" in [one.text for one in shown.decisions]
    assert [one.on for one in shown.flags] == [week.date()]
    found = timeline_of(ben.patient, MONDAY + 7 * A_DAY, MONDAY + 9 * A_DAY, now=week,
                        to_patient=False)  # fmt: skip
    [inside] = charted.from_timeline(found, today=week.date()).decisions
    assert (inside.on, inside.text) == (MONDAY + 7 * A_DAY, "Paused until 10 Mar")


def test_plans_side_by_side_have_lanes_and_one_after_the_other_share_one(
    ben: OwnPhone, plan_of_ben: Any, week: datetime
) -> None:
    found = timeline_of(ben.patient, MONDAY, MONDAY + 13 * A_DAY, now=week, to_patient=False)
    [span, *_] = found.phases
    other = replace(span, assignment_id=UUID(int=1), begun=MONDAY + 3 * A_DAY)
    both = replace(found, phases=[span, other])

    beside = charted.from_timeline(both, today=week.date()).bands
    assert [(one.first, one.lane) for one in beside] == [(other.begun, 0), (span.begun, 1)]
    ended = {span.assignment_id: MONDAY + 2 * A_DAY}
    after = charted.from_timeline(both, today=week.date(), ended=ended).bands
    assert [(one.last - MONDAY).days for one in after] == [13, 2]
    assert [one.lane for one in after] == [0, 0]


def test_rows_of_the_caseload_show_the_same_week(
    ben: OwnPhone, bea: OwnPhone, week: datetime
) -> None:
    [shown] = shown_of([ben.patient.pk], Patient.objects.all(), now=week)
    patients = [ben.patient, bea.patient]
    with CaptureQueriesContext(
        connection,
    ) as asked:
        found = recent_days(patients, days=7, now=week)
    assert len(asked) == 1
    days = found[ben.patient.pk]

    assert "".join(one.letter for one in days) == shown.week.strip
    assert max(one.pain_during or 0 for one in days) == shown.week.pain_during_worst
    assert [one.late for one in days].count(True) == 1
    assert {one.letter for one in found[bea.patient.pk]} == {"-"}
    longer = recent_days(patients, days=14, now=week)[ben.patient.pk]
    assert longer[7:] == days

    strip = week_strip("c2", charted.strip_from(days))
    assert [State(letter) for letter in shown.week.strip] == [
        one.state for one in charted.strip_from(days).days
    ]
    assert strip.table is not None
    assert strip.table.rows[-1][0] == words.day_named(days[-1].on)
    pain = pain_sparkline("c3", charted.pain_from(days, limit=2))
    assert "above the limit of 2" in pain.sentence


def test_a_proposal_shows_its_criteria(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    story = Story(clock, ana, ben, plan_of_ben)
    story.lives(MONDAY)
    story.evaluates()
    row = Progression.objects.filter(patient=ben.patient).latest("computed_at")
    found = charted.from_progression(row)

    assert {one.result for one in found} >= {"met", "unknown"}
    assert [one.result for one in found] == [one["result"] for one in row.criteria]
    chart = criteria_ladder("c4", found)
    met = sum(one.result == "met" for one in found)
    assert chart.sentence.startswith(f"{met} of {len(found)} criteria met")
    for one in row.criteria:
        if one.get("observed") is not None and one["unit"] == "nrs11":
            assert f">{one['observed']:g}<" in chart.picture


def test_charts_say_what_the_report_says(library: None, harbour: Clinic, ana: Staff) -> None:
    """One cohort, which takes a while to live, and four charts of it."""
    cohort(harbour, [ana, make_staff(harbour, "Dan", is_physiotherapist=True)], seed=1)
    scope = Scope(
        patients=Patient.objects.all(), first=FIRST, last=LAST, now=at(LAST + A_DAY, 13),
        target=TARGET,
    )  # fmt: skip
    groups = adherence.patient_groups(scope, adherence.patients_of(scope, limit=99))
    a_heat_map_says_what_the_report_says(scope, groups)
    a_heat_map_of_weeks_adds_up_to_the_report(scope)
    a_cohort_has_a_dot_for_everybody_who_is_measured(scope)
    weeks_on_target_are_those_of_the_report(scope, groups)


def a_heat_map_says_what_the_report_says(scope: Scope, groups: list[adherence.Group]) -> None:
    groups = adherence.with_days(scope, Grouping.PATIENT, groups)
    heat = charted.heat_of_days(groups, FIRST, links={groups[0].key: "/patients/1"})
    chart = adherence_heat_map("c5", heat)

    assert ["".join(cell.state or "" for cell in row.cells) for row in heat.rows] == [
        one.days for one in groups
    ]
    assert {cell.state for row in heat.rows for cell in row.cells} >= set("PSM?X")
    for one, row in zip(groups, heat.rows, strict=True):
        exact = ratio(one.counts.done, one.counts.due)
        assert row.done == exact
        assert f'data-value="{exact:g}"' in chart.picture
        assert (row.low != row.done) == bool(one.counts.not_heard)
    assert 'href="/patients/1"' in chart.picture


def a_heat_map_of_weeks_adds_up_to_the_report(scope: Scope) -> None:
    for grouping in (Grouping.PATIENT, Grouping.PHYSIOTHERAPIST, Grouping.PROTOCOL):
        groups = adherence.groups_of(scope, grouping)
        with CaptureQueriesContext(connection) as asked:
            weeks = adherence.weekly(scope, grouping)
        assert len(asked) == 1
        heat = charted.heat_of_weeks(groups, weeks, FIRST, LAST, of="Row")
        for one, row in zip(groups, heat.rows, strict=True):
            pairs = weeks[one.key].values()
            assert sum(due for due, _ in pairs) == one.counts.due
            assert sum(done for _, done in pairs) == one.counts.done
            assert len(row.cells) == len(heat.columns)
        assert adherence_heat_map("c5", heat).picture


def a_cohort_has_a_dot_for_everybody_who_is_measured(scope: Scope) -> None:
    pairs = []
    for one in adherence.groups_of(scope, Grouping.PROTOCOL):
        within = replace(scope, protocol_id=UUID(one.key))
        ids = adherence.patients_of(within, limit=99)
        pairs.append((one, adherence.patient_groups(within, ids)))
    shown = charted.cohort_from(pairs, TARGET)

    for (group, patients), drawn in zip(pairs, shown.groups, strict=True):
        spread = group.spread
        assert spread is not None
        assert len(drawn.dots) == spread.measured
        assert len(drawn.dots) + drawn.left_out == len(patients) == spread.patients
        assert (drawn.median, drawn.quartiles) == (spread.median, spread.quartiles)
        assert sum(dot.ratio >= shown.target for dot in drawn.dots) == spread.on_target
    assert any(dot.low is not None for group in shown.groups for dot in group.dots)
    assert cohort_dots("c6", shown).table


def weeks_on_target_are_those_of_the_report(scope: Scope, groups: list[adherence.Group]) -> None:
    weeks = adherence.weekly(scope, Grouping.PATIENT)
    for one in groups:
        assert isinstance(one.weeks, Weeks)
        found = charted.target_weeks(
            weeks[one.key], FIRST, LAST, target=TARGET, today=LAST + 7 * A_DAY
        )
        assert sum(bool(week.due) for week in found) == one.weeks.of
        assert sum(week.on_target for week in found) == one.weeks.on_target
        chart = weeks_on_target("c7", found)
        assert chart.sentence.startswith(f"{one.weeks.on_target} of {one.weeks.of} week")


def test_doses_are_those_of_the_sessions(ben: OwnPhone, week: datetime) -> None:
    sessions = list(Session.objects.filter(patient=ben.patient).standing())
    courses = [course_of(one) for one in Assignment.objects.with_record()]
    titles = dict(Exercise.objects.values_list("slug", "title"))
    doses = charted.doses_from(sessions, courses, titles)

    performed = sum(item["performed"] for one in sessions for item in (one.derived or {})["items"])
    assert sum(point.performed for one in doses for point in one.points) == performed > 0
    assert {one.exercise for one in doses} <= set(titles.values())
    for one in doses:
        assert all(point.low <= point.high for point in one.points)
        assert [point.on for point in one.points] == sorted(point.on for point in one.points)
    assert any(point.late for one in doses for point in one.points)
    assert dose_charts("c8", doses, MONDAY, week.date()).table


@pytest.mark.parametrize(
    ("asked", "low", "high"),
    [
        (DoseAsked(3, Reps(4, 6)), 12, 18),
        (DoseAsked(3, Reps(8, 8)), 24, 24),
        (DoseAsked(2, reps_by_set=(12, 8)), 20, 20),
        (DoseAsked(3, Reps(4, 6)), 9, 9),  # asked under terms that the plan no longer has
    ],
)
def test_a_range_ends_where_the_plan_says(asked: DoseAsked, low: int, high: int) -> None:
    row = SimpleNamespace(id="a", exercise="curl", unit="reps", dose=asked, stages=())
    course: Any = SimpleNamespace(
        versions=[None],
        protocol=SimpleNamespace(phases=[SimpleNamespace(id="phase-1")]),
        prescriptions=lambda version, phase_id: [row],
    )
    item = {"prescription_id": "a", "dose_unit": "reps", "prescribed": low, "performed": 10}
    gone = item | {"prescription_id": "b"}
    session: Any = SimpleNamespace(
        local_date=MONDAY, phone_id=1, late=False, derived={"items": [item, gone]}
    )
    [dose] = charted.doses_from([session], [course], {"curl": "Curl"})
    [point] = dose.points
    assert (dose.exercise, point.low, point.high, point.performed) == ("Curl", low, high, 10)
