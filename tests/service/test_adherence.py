"""The adherence report: counted in two ways that share nothing, and what its address says."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

import pytest
import time_machine
from django.db import connection
from django.test.utils import CaptureQueriesContext

from backend.api.records import report_of
from backend.audit.models import AuditEvent
from backend.care import deciding, prescribing, recording
from backend.care.models import Assignment, ClosedDay, Flag, Revision
from backend.care.rebuilding import rebuild
from backend.care.recording import Report, Upload
from backend.care.selectors import Course, course_of
from backend.clinics.models import Clinic, Patient
from backend.reports.adherence import Scope, patient_groups, patients_of
from protocols.engine.adherence import WHOLE, BookedDay, measure
from protocols.models import ProtocolVersion
from tests.service import counting
from tests.service.cast import OwnPhone, Staff, make_episode, make_patient, make_staff
from tests.service.test_cohort import FIRST, GATES, ZONE, Life, at

A_DAY = timedelta(days=1)
Kind = Revision.Kind
GROUPINGS = ("patient", "physiotherapist", "protocol", "phase", "week", "exercise_kind")
LAST = FIRST + 20 * A_DAY


# --- A cohort in which everything happens -------------------------------------------------------


class Person(Life):
    """Somebody who does what is due, or not, and whose phone tells of it, or later, or never."""

    def __init__(self, number: int, clinic: Clinic, by: Any, seed: int) -> None:
        super().__init__(number, clinic, by, seed)
        self.waiting: list[tuple[datetime, Kind, UUID, int, Any]] = []
        self.sent: list[tuple[Kind, UUID]] = []
        self.keen = self.dice.choice((0.3, 0.6, 0.85, 0.97))
        self.silent_from = FIRST + self.dice.choice((9, 15, 99)) * A_DAY

    def another_plan(self) -> None:
        now = at(FIRST, 1)
        for fact in GATES:
            self._assess(fact, 1, now)
        version = ProtocolVersion.objects.get(slug="hs-grade-1", version="1.0.0")
        episode = make_episode(self.patient, self.by, now, title="Left hamstring", side="left")
        wish = prescribing.Wish(protocol_version=version, episode=episode, start_date=FIRST + A_DAY)
        prescribing.assign(patient=self.patient, wish=wish, by=self.by, now=now)

    @property
    def courses(self) -> list[Course]:
        return [
            course_of(one) for one in Assignment.objects.with_record().filter(patient=self.patient)
        ]

    def lives_on(self, on: date) -> None:
        deciding.close(patient_id=self.patient.pk, now=at(on, 12, 1))
        if self.dice.random() < 0.5:
            self._says(Kind.CHECK_IN, self.morning(on), at(on, 13))
        for course in self.courses:
            if not course.assignment.covers(on) or course.is_paused(on):
                continue
            for slot in course.slots(on):
                if slot.counts and self.dice.random() < self.keen:
                    self._says(Kind.SESSION, self._session(course, slot, on), at(on, 18, 40))
        if self.dice.random() < 0.04:
            assignment = self.dice.choice(self.courses).assignment
            if not assignment.pauses.all():
                prescribing.pause(
                    assignment=assignment, first=on + A_DAY,
                    last=on + self.dice.choice((1, 3)) * A_DAY, reason="Away", by=self.by,
                    now=at(on, 19),
                )  # fmt: skip
        self.sends(at(on, 20))

    def _session(self, course: Course, slot: Any, on: date) -> dict[str, Any]:
        mode = self.dice.choice(("whole", "whole", "whole", "part", "skipped", "open"))
        items = list(slot.items)
        if mode == "part":
            items = items[: max(1, len(items) // 2)]
        pain = min(10, max(0, round(self.hurts + self.dice.gauss(0, 1.2))))
        said = {
            "assignment_id": str(course.id), "assignment_version": course.assignment.version,
            "slot_id": str(slot.id), "local_date": on.isoformat(), "timezone": str(ZONE),
            "recorded_at": at(on, 18, 30).isoformat(), "started_at": at(on, 17, 50).isoformat(),
            "ended_at": at(on, 18, 20).isoformat(),
            "state": {"skipped": "skipped", "open": "open"}.get(mode, "finished"),
        }  # fmt: skip
        if mode == "skipped":
            reason = self.dice.choice(("no_time", "no_time", "illness"))
            return said | {"skip_reason": reason, "entries": []}
        entries = [
            {"prescription_id": one.prescribed.id, "state": "done",
             "sets": [self._set(one.prescribed.unit)] * self.dice.randrange(1, one.dose.sets + 1)}
            for one in items if one.prescribed.counts
        ]  # fmt: skip
        return said | {"pain_during": pain, "entries": entries}

    def _set(self, unit: str) -> dict[str, int]:
        amount = self.dice.choice((5, 12, 30, 90))
        return {unit: amount, "reps": self.dice.choice((3, 8, 15))}

    def _says(self, kind: Kind, said: Any, moment: datetime) -> None:
        """Most is sent at once; some when its date has long been closed; some changes again."""
        id, chance = UUID(int=self.dice.getrandbits(128), version=4), self.dice.random()
        if chance < 0.15:
            moment += timedelta(days=self.dice.randrange(1, 7))
            said = said | {"recorded_at": (moment - timedelta(minutes=5)).isoformat()}
        self.waiting.append((moment, kind, id, 1, said))
        if 0.15 < chance < 0.25:
            later = moment + timedelta(days=self.dice.randrange(0, 4))
            self.waiting.append((later, kind, id, 2, None))

    def sends(self, now: datetime) -> None:
        due = [one for one in self.waiting if one[0] <= now]
        self.waiting = [one for one in self.waiting if one[0] > now]
        for moment, kind, id, revision, said in sorted(due, key=lambda one: (one[0], one[3])):
            if moment.date() < self.silent_from:
                self.puts(kind, id, revision, said, now)

    def puts(self, kind: Kind, id: UUID, revision: int, said: Any, now: datetime) -> None:
        if said is None:
            report = Report(kind, id, revision, None)
        else:
            report = report_of(kind, id, revision, said)
        patient = Patient.objects.select_related("clinic").get(pk=self.patient.pk)
        recording.put(patient=patient, report=report, upload=Upload(now))
        self.sent.append((kind, id))


def cohort(
    clinic: Clinic, staff: list[Staff], seed: int, people: int = 6, last: date = LAST
) -> list[Person]:
    found = [Person(n, clinic, staff[n % len(staff)].user, seed) for n in range(people)]
    found[1].another_plan()
    Patient.objects.filter(pk=found[2].patient.pk).update(physiotherapist=None)
    for n in range((last - FIRST).days + 1):
        for person in found:
            person.lives_on(FIRST + n * A_DAY)
    for person in found:
        deciding.close(patient_id=person.patient.pk, now=at(last + A_DAY, 12, 1))
    for n, flag in enumerate(Flag.objects.order_by("raised_at", "pk")):
        if n % 3 == 0:
            flag.acknowledged_by = staff[0].user
            flag.acknowledged_at = flag.raised_at + timedelta(minutes=37 * (n + 1))
            flag.save()
    return found


def agree(cleo: Staff, now: datetime, first: date, last: date, query: str = "") -> Any:
    """Both ways, for every kind of group; the report by patient as answered."""
    dates = counting.lived(first, last)
    answers: dict[str, Any] = {}
    with time_machine.travel(now, tick=False):
        for group_by in GROUPINGS:
            window = f"from={first}&to={last}&heatmap=day&limit=200&group_by={group_by}"
            told = answers[group_by] = cleo.get(f"reports/adherence?{window}{query}")
            assert told["groups"] == counting.groups(dates, group_by, first, last), group_by
            assert told["total"] == counting.total(dates), group_by
            assert told["flags"] == counting.flags(first, last)
            assert (
                told["data_cutoff"][:19]
                == max(
                    one.patient.last_received_at for one in dates if one.patient.last_received_at
                ).isoformat()[:19]
            )
    return answers["patient"]


@pytest.fixture
def dan(harbour: Clinic) -> Staff:
    return make_staff(harbour, "Dan", is_physiotherapist=True)


COHORTS = [1, *(pytest.param(seed, marks=pytest.mark.campaign) for seed in range(2, 13))]


@pytest.mark.parametrize("seed", COHORTS)
def test_two_ways_agree_to_the_last_digit(
    library: None, harbour: Clinic, ana: Staff, dan: Staff, cleo: Staff, seed: int
) -> None:
    people = cohort(harbour, [ana, dan], seed)
    now = at(LAST + A_DAY, 13)
    before = agree(cleo, now, FIRST, LAST)
    agree(cleo, now, FIRST + 3 * A_DAY, LAST - 6 * A_DAY)
    states = ("completed", "partial", "skipped", "missed", "not_heard", "excused")
    assert all(sum(one[state] for one in before["groups"]) for state in states), "all happens"

    later = now + timedelta(hours=6)
    for person in people:  # what was late arrives, and what was sent is taken back
        person.silent_from = LAST + 99 * A_DAY
        person.sends(later)
        for kind, id in person.dice.sample(person.sent, min(4, len(person.sent))):
            person.puts(kind, id, 9, None, later)
    after = agree(cleo, later, FIRST, LAST)
    assert after["groups"] != before["groups"]
    assert after["data_cutoff"] > before["data_cutoff"]
    assert [one["due"] for one in after["groups"]] >= [0] * len(people)

    for person in people:
        found = rebuild(patient_id=person.patient.pk, now=later, keep=False)
        assert not [one for one in found if one]


@pytest.mark.django_db
def test_sql_and_engine_make_the_same_sums(
    library: None, harbour: Clinic, ana: Staff, dan: Staff
) -> None:
    cohort(harbour, [ana, dan], seed=4)
    window = FIRST + A_DAY, LAST
    scope = Scope(
        patients=Patient.objects.all(), first=window[0], last=window[1],
        now=at(LAST + A_DAY, 13), target=8_000,
    )  # fmt: skip
    groups = patient_groups(scope, patients_of(scope, limit=99))

    assert len(groups) == 6
    for one in groups:
        rows = ClosedDay.objects.filter(assignment__patient=UUID(one.key)).select_related(
            "assignment__patient"
        )
        found = measure(map(booked, rows), *window, scope.target)
        assert (one.counts, one.weeks, one.pain) == (found.counts, found.weeks, found.pain)


def booked(row: ClosedDay) -> BookedDay:
    heard = row.assignment.patient.last_received_at
    return BookedDay(
        plan=str(row.assignment_id), on=row.on, due=row.slots_due, completed=row.slots_completed,
        partial=row.slots_partial, skipped=row.slots_skipped, excused=row.slots_excused,
        dose=round(row.dose_ratios * WHOLE), is_heard=heard is not None and heard >= row.closed_at,
        is_active=row.is_active, is_told=row.is_told, sessions=row.sessions,
        sessions_late=row.sessions_late, pain_during=row.pain_during,
    )  # fmt: skip


# --- The address ------------------------------------------------------------------------------

START = datetime(2026, 3, 2, 8, tzinfo=UTC)  # a Monday, 9:00 where the patients are
ADDRESS = "reports/adherence?from=2026-03-02&to=2026-03-08"


@pytest.fixture
def clock() -> Iterator[Any]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller


@pytest.fixture
def now(clock: Any) -> datetime:
    return START


def days_later(clock: Any, days: int, *, hour: int = 13) -> datetime:
    clock.move_to(moment := (START + days * A_DAY).replace(hour=hour))
    while waiting := deciding.due_to_close(now=moment, limit=100):
        for patient_id in waiting:
            deciding.close(patient_id=patient_id, now=moment)
    return moment


@pytest.fixture
def week_of_ben(ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any) -> Any:
    """Two dates done, one skipped, then silence until the next Monday, when a check-in comes."""
    for day, share in enumerate((1, 0.5, 0)):
        days_later(clock, day, hour=17)
        for slot in ben.plan(days=1)["days"][0]["slots"]:
            body = ben.session_of(slot, plan_of_ben, pain_before=1, pain_during=2)
            if share == 0.5:
                body["entries"] = body["entries"][:1]
            if not share:
                del body["pain_during"]
                body |= {"state": "skipped", "entries": [], "skip_reason": "no_time"}
            ben.put(f"me/sessions/{uuid4()}", body)
    days_later(clock, 7)
    return plan_of_ben


def test_a_week_with_a_phone_that_falls_silent(
    ana: Staff, ben: OwnPhone, week_of_ben: Any, clock: Any
) -> None:
    told = ana.get(f"{ADDRESS}&heatmap=day")
    [row] = told["groups"]

    assert (row["label"], row["days"]) == ("Ben Patient", "CPS????")
    assert (row["due"], row["not_heard"], row["missed"]) == (6, 8, 0), "two slots a date"
    assert (row["session_adherence"], row["session_adherence_low"]) == (0.6667, 0.2857)
    assert (row["completed_ratio"], row["active_days"], row["data_days"]) == (0.3333, 2, 3)
    assert (row["missed_runs"], row["interruptions"], row["late_ratio"]) == (1, 0, 0)
    assert row["weeks_on_target"] == {"of": 1, "on_target": 0, "current": 0, "longest": 0}
    assert row["pain_during"] == {"median": 2, "worst": 2}
    assert told["as_of"] == "2026-03-09T11:00:00Z", "noon, where Ben is"
    assert told["data_cutoff"] == "2026-03-04T17:00:00Z"
    assert (told["definition"], told["target"]) == ("adherence-1", 0.8)
    assert told["total"]["median_session_adherence"] == 0.6667

    ben.checks_in()
    [row] = ana.get(f"{ADDRESS}&heatmap=day")["groups"]
    assert (row["days"], row["missed"], row["not_heard"]) == ("CPSMMMM", 8, 0)
    assert row["session_adherence"] == row["session_adherence_low"] == 0.2857
    assert (row["missed_runs"], row["interruptions"]) == (0, 1), "skipped, and then missed"


def test_today_is_inside_when_it_has_closed(
    ana: Staff, ben: OwnPhone, plan_of_ben: Any, clock: Any
) -> None:
    days_later(clock, 1, hour=10)
    assert ana.get(ADDRESS)["groups"] == []
    days_later(clock, 1)
    assert [one["not_heard"] for one in ana.get(ADDRESS)["groups"]] == [2]


def test_a_late_log_moves_its_own_date(
    ana: Staff, ben: OwnPhone, week_of_ben: Any, clock: Any
) -> None:
    before = ana.call("GET", f"{ADDRESS}&heatmap=day")
    on = date(2026, 3, 5)
    begun = datetime(2026, 3, 5, 17, tzinfo=UTC)
    ben.logs(
        ben.slot(on), week_of_ben, local_date=on.isoformat(), started_at=begun.isoformat(),
        ended_at=(begun + timedelta(minutes=20)).isoformat(),
    )  # fmt: skip
    after = ana.call("GET", f"{ADDRESS}&heatmap=day", If_None_Match=before["ETag"])

    assert after.status_code == 200
    [row] = after.json()["groups"]
    assert (row["days"], row["late_ratio"]) == ("CPSMMMM", 0.1429), "one of two, and late"
    assert (row["completed"], row["missed"]) == (3, 7)
    again = ana.call("GET", f"{ADDRESS}&heatmap=day", If_None_Match=after["ETag"])
    assert again.status_code == 304


def test_a_physiotherapist_sees_the_own_caseload_and_an_admin_the_clinic(
    ana: Staff, dan: Staff, cleo: Staff, olga: Staff, ben: OwnPhone, week_of_ben: Any
) -> None:
    def names(who: Staff, query: str = "") -> list[str]:
        return [one["label"] for one in who.get(ADDRESS + query)["groups"]]

    assert names(ana) == names(cleo) == ["Ben Patient"]
    assert names(dan) == names(olga) == []
    assert names(dan, f"&physiotherapist_id={ana.user.pk}") == []
    assert names(cleo, f"&physiotherapist_id={ana.user.pk}") == ["Ben Patient"]
    assert names(cleo, f"&physiotherapist_id={dan.user.pk}") == []
    ben.get(ADDRESS, 403)
    nobody = dan.get(f"{ADDRESS}&group_by=week")
    assert (nobody["groups"], nobody["total"]["patients"]) == ([], 0)
    assert "as_of" not in nobody


def test_filters_narrow_and_are_told(ana: Staff, week_of_ben: Any) -> None:
    def found(query: str) -> int:
        return len(ana.get(f"{ADDRESS}&{query}")["groups"])

    protocol = week_of_ben["protocol_id"]
    assert [found(f"protocol_id={one}") for one in (protocol, uuid4())] == [1, 0]
    assert [found(f"phase_id={one}") for one in ("phase-1", "phase-2")] == [1, 0]
    assert [found(f"min_due={one}") for one in (6, 7)] == [1, 0]
    assert [found(f"min_due={one}&group_by=week") for one in (6, 7)] == [1, 0]
    told = ana.get(f"{ADDRESS}&min_due=7&target=0.5&phase_id=phase-1")
    assert told["filters"] == {"min_due": "7", "phase_id": "phase-1"}
    assert (told["target"], told["total"]["due"]) == (0.5, 6), "the total is of everybody"
    [row] = ana.get(f"{ADDRESS}&target=0.6667&group_by=phase")["groups"]
    assert row["key"] == f"{protocol}/phase-1"
    assert (row["small"], row["patients"]) == (True, 1)
    assert row["weeks_on_target"] == {"of": 1, "on_target": 0}, "two thirds is not so much"
    [row] = ana.get(f"{ADDRESS}&target=0.6666&group_by=physiotherapist")["groups"]
    assert (row["label"], row["weeks_on_target"]["on_target"]) == ("Ana Staff", 1)


@pytest.mark.parametrize(
    "query",
    [
        "from=2026-02-30", "to=x", "from=2026-03-09&to=2026-03-08", "from=2024-01-01&to=2025-01-01",
        "group_by=clinic", "physiotherapist_id=x", "protocol_id=1", "phase_id=", "min_due=-1",
        "min_due=x", "min_due=10000", "target=1.1", "target=-0.1", "target=nan", "target=x",
        "heatmap=week", "bom=2", "preamble=x", "limit=0", "limit=201", "cursor=x",
    ],
)  # fmt: skip
def test_what_cannot_be_asked(ana: Staff, query: str) -> None:
    window = "" if "from" in query or "to=" in query else "from=2026-03-02&to=2026-03-08&"
    for accept in ("application/json", "text/csv"):
        if accept == "text/csv" and query.startswith(("limit", "cursor")):
            continue  # all groups are in the file
        refused = ana.call("GET", f"reports/adherence?{window}{query}", Accept=accept)
        assert (refused.status_code, refused["Content-Type"]) == (400, "application/problem+json")
        assert refused.json()["code"] in ("malformed-request", "cursor-invalid")


def test_366_days_and_the_last_four_weeks(ana: Staff, clock: Any, now: datetime) -> None:
    ana.get("reports/adherence?from=2024-01-02&to=2025-01-01")
    told = ana.get("reports/adherence")
    assert (told["from"], told["to"]) == ("2026-02-02", "2026-03-01")


# --- CSV --------------------------------------------------------------------------------------


def test_the_same_rows_as_csv(ana: Staff, ben: OwnPhone, week_of_ben: Any, clock: Any) -> None:
    answer = ana.call("GET", ADDRESS, Accept="text/csv")
    doses = ana.get(ADDRESS)["groups"][0]["dose_adherence"]

    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert answer["Content-Disposition"] == (
        'attachment; filename="adherence-2026-03-02-2026-03-08.csv"'
    )
    assert answer.content.decode() == (
        "# definition,adherence-1,from,2026-03-02,to,2026-03-08,as_of,2026-03-09T11:00:00Z\r\n"
        "patient_id,label,due,completed,partial,skipped,missed,not_heard,excused,"
        "session_adherence,session_adherence_low,completed_ratio,dose_adherence,active_days,"
        "data_days,missed_runs,interruptions,late_ratio\r\n"
        f"{ben.patient.pk},Ben Patient,6,2,2,2,0,8,0,0.6667,0.2857,0.3333,{doses:g},2,3,1,0,0\r\n"
    )
    again = ana.call("GET", ADDRESS, Accept="text/csv", If_None_Match=answer["ETag"])
    assert (again.status_code, again.content) == (304, b"")
    assert again["ETag"] != ana.call("GET", ADDRESS)["ETag"]
    assert "Accept" in answer["Vary"].split(", ")
    bare = ana.call("GET", f"{ADDRESS}&preamble=0&bom=1", Accept="text/csv;q=0.9, */*")
    assert bare.content.startswith(b"\xef\xbb\xbfpatient_id,")


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_a_name_is_no_formula(ana: Staff, ben: OwnPhone, week_of_ben: Any, start: str) -> None:
    Patient.objects.update(given_name=f'{start}1+1", "x', family_name="\nB")
    answer = ana.call("GET", f"{ADDRESS}&preamble=0", Accept="text/csv")
    _, row = csv.reader(io.StringIO(answer.content.decode(), newline=""))

    assert len(row) == 18
    expected = f'{start}1+1", "x \nB'.strip()
    assert row[1] == (expected if start in "\t\r" else f"'{expected}")


@pytest.mark.parametrize("group_by", GROUPINGS)
def test_csv_of_each_grouping(ana: Staff, week_of_ben: Any, group_by: str) -> None:
    asked = f"{ADDRESS}&group_by={group_by}&heatmap=day"
    answer = ana.call("GET", f"{asked}&preamble=0", Accept="text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.content.decode(), newline="")))
    told = ana.get(asked)["groups"]

    assert [next(iter(row.values())) for row in rows] == [one["key"] for one in told]
    for row, one in zip(rows, told, strict=True):
        for name in ("due", "excused", "interruptions", "days", "session_adherence", "label"):
            assert row[name] == str(one.get(name, "")), name


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("text/csv", "text/csv; charset=utf-8"), ("text/*", "text/csv; charset=utf-8"),
        ("*/*", "application/json"), ("application/json, text/csv", "application/json"),
        ("text/csv;q=0, */*", "application/json"),
        ("image/png, text/csv", "text/csv; charset=utf-8"),
        ("image/png", None), ("text/csv;q=0", None),
    ],
)  # fmt: skip
def test_what_is_spoken(ana: Staff, accept: str, kind: str | None) -> None:
    answer = ana.call("GET", ADDRESS, Accept=accept)
    assert answer.status_code == (200 if kind else 406)
    assert answer["Content-Type"] == (kind or "application/problem+json")


# --- Pages, flags, audit, queries -------------------------------------------------------------


def with_plans(
    ana: Staff, harbour: Clinic, protocol: ProtocolVersion, now: datetime, count: int
) -> list[OwnPhone]:
    phones = []
    for _ in range(count):
        phone = make_patient(harbour, f"P{uuid4().hex[:6]}", now, ana.user)
        episode = make_episode(phone.patient, ana.user, now)
        plan = ana.assigns(protocol, to=phone.patient, episode=episode, on=phone.today)
        phone.logs(phone.slot(), plan, stop_signs=["night_pain"])
        phones.append(phone)
    return phones


def test_pages_follow_the_ids(
    ana: Staff, dan: Staff, harbour: Clinic, grade_1: ProtocolVersion, clock: Any, now: datetime
) -> None:
    phones = with_plans(ana, harbour, grade_1, now, 5)
    days_later(clock, 7)
    seen, path = [], f"{ADDRESS}&limit=2&min_due=1"
    for count in (2, 2, 1):
        answer = ana.call("GET", path)
        told = answer.json()
        assert (len(told["groups"]), told["total"]["patients"]) == (count, 5)
        seen += [one["key"] for one in told["groups"]]
        cursor = told["next_cursor"]
        if cursor:
            assert f"cursor={quote(cursor)}" in answer["Link"]
            path = f"{ADDRESS}&limit=2&min_due=1&cursor={quote(cursor)}"
    assert cursor is None
    assert seen == sorted(str(one.patient.pk) for one in phones)
    first = ana.get(f"{ADDRESS}&limit=2")["next_cursor"]
    for other in ("&min_due=1", "&group_by=week", "&to=2026-03-07"):
        wrong = ana.call("GET", f"{ADDRESS}{other}&cursor={quote(first)}")
        assert wrong.json()["code"] == "cursor-invalid", other

    noted = AuditEvent.objects.filter(action="report_adherence")
    assert seen[:2] in list(noted.values_list("listed", flat=True)), "those shown"
    weeks = ana.get(f"{ADDRESS}&group_by=exercise_kind&limit=1")
    assert len(weeks["groups"]) == 1
    more = ana.get(f"{ADDRESS}&group_by=exercise_kind&cursor={quote(weeks['next_cursor'])}")
    assert more["groups"][0]["key"] > weeks["groups"][0]["key"]


def test_how_long_flags_took(
    ana: Staff, harbour: Clinic, grade_1: ProtocolVersion, clock: Any, now: datetime
) -> None:
    with_plans(ana, harbour, grade_1, now, 2)
    assert ana.get(ADDRESS)["flags"] == {"raised": 2}
    clock.shift(timedelta(hours=2, minutes=3))
    one, other = Flag.objects.filter(code="night_pain")
    ana.post(f"flags/{one.pk}/acknowledge", {}, 200)
    clock.shift(timedelta(hours=3))
    ana.post(f"flags/{other.pk}/acknowledge", {}, 200)
    ana.post(f"flags/{other.pk}/resolve", {"action": "advised"}, 200)

    assert ana.get(ADDRESS)["flags"] == {
        "raised": 2, "median_hours_to_acknowledge": 3.6, "median_hours_to_resolve": 5.1,
    }  # fmt: skip
    assert ana.get(f"{ADDRESS}&phase_id=phase-9")["flags"] == {"raised": 0}


@pytest.mark.parametrize("group_by", GROUPINGS)
def test_the_number_of_queries_is_the_same_for_any_clinic(
    ana: Staff, harbour: Clinic, grade_1: ProtocolVersion, clock: Any, now: datetime, group_by: str
) -> None:
    def asked(accept: str) -> int:
        with CaptureQueriesContext(connection) as queries:
            path = f"{ADDRESS}&heatmap=day&group_by={group_by}"
            assert ana.call("GET", path, Accept=accept).status_code == 200
        return len(queries)

    with_plans(ana, harbour, grade_1, now, 1)
    days_later(clock, 2)
    few = [asked(accept) for accept in ("application/json", "text/csv")]
    clock.move_to(START)
    with_plans(ana, harbour, grade_1, now, 4)
    days_later(clock, 7)
    assert [asked(accept) for accept in ("application/json", "text/csv")] == few
    assert max(few) <= 14
