"""The plan as a phone reads it: every phase of every protocol, what became of days, and its tag."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest
import time_machine
import yaml
from django.conf import settings
from django.core.management import call_command
from django.utils import timezone

from backend.api import plan_shown
from backend.care import deciding
from backend.clinics.models import Clinic, Episode
from exercises.models import Exercise
from protocols.knowledge import safety
from protocols.models import ProtocolVersion
from tests.service.cast import OwnPhone, Staff, make_episode, make_patient, make_staff
from tests.service.matrix import an_exercise

MORNING = datetime(2026, 3, 10, 9, tzinfo=UTC)  # a Tuesday
TODAY = date(2026, 3, 10)
DAY = timedelta(days=1)
WEEKS = 4

LIBRARY = Path(settings.BASE_DIR) / "protocols"


@cache
def written(slug: str) -> Any:
    """A protocol as its file says, read without any of our code."""
    return yaml.safe_load((LIBRARY / f"library/{slug}.v1.0.0.yaml").read_text())


SLUGS = sorted(path.name.partition(".")[0] for path in (LIBRARY / "library").glob("*.yaml"))
PHASES = [(slug, phase["id"]) for slug in SLUGS for phase in written(slug)["phases"]]


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(MORNING, tick=False) as clock:
        yield clock


@pytest.fixture
def now(clock: time_machine.Traveller) -> datetime:
    return timezone.now()


def assign(ana: Staff, episode: Episode, slug: str, **more: Any) -> Any:
    on = more.pop("on", TODAY)
    protocol = ProtocolVersion.objects.get(slug=slug)
    return ana.assigns(protocol, to=episode.patient, episode=episode, on=on, **more)


def read(phone: OwnPhone, first: date = TODAY, days: int = 14) -> Any:
    return phone.plan(**{"from": first.isoformat()}, days=days)


# --- Every phase of the library ---------------------------------------------------------------


@pytest.fixture
def ready(ana: Staff, ben: OwnPhone) -> None:
    """What the two protocols with a surgeon ask for besides."""
    for fact in ("surgical_opinion_recorded", "surgeon_sheet_recorded"):
        ana.records(ben.patient, fact)


def phase_of(slug: str, phase_id: str) -> Any:
    return next(phase for phase in written(slug)["phases"] if phase["id"] == phase_id)


def on_day(row: Any, day: int) -> tuple[Any, Any]:
    """Dose and schedule of a row of the file on a day of its phase, from 1."""
    dose, schedule = row["dose"], row["schedule"]
    for stage in row.get("stages", ()):
        if day >= stage["from_day"]:
            dose, schedule = stage["dose"], stage["schedule"]
    return dose, schedule


def times_a_week(schedule: Any, week: int) -> Any:
    """How often a row of the file asks for an exercise in a week of its phase, from 0."""
    first = max(7 * week + 1, schedule.get("from_day", 1))
    last = min(7 * week + 7, schedule.get("to_day", 10_000))
    a_day, start = schedule.get("sessions_per_day", 1), schedule.get("from_day", 1)
    days = range(first, last + 1)
    if not days:
        return 0
    match schedule["kind"]:
        case "daily":
            return a_day * len(days)
        case "once":
            return a_day * (start in days)
        case "every_n_days":
            return a_day * sum((day - start) % schedule["every_n_days"] == 0 for day in days)
        case _:
            whole = len(days) == 7 and (first - start) % 7 == 0
            assert whole, "a week of the file is a week of the phase"
            return a_day * schedule["per_week"]


def in_full(dose: Any) -> Any:
    """A dose of the file as the plan shows it, its side aside."""
    reps = dose.get("reps")
    return dose | ({"reps": {"min": reps, "max": reps}} if isinstance(reps, int) else {})


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(("slug", "phase_id"), PHASES)
def test_every_phase_for_28_days(
    ana: Staff, ben: OwnPhone, thigh: Episode, slug: str, phase_id: str
) -> None:
    assign(ana, thigh, slug, start_phase_id=phase_id)
    plan = read(ben, days=28)
    phase = phase_of(slug, phase_id)
    rows = {row["exercise"]: row for row in phase["prescriptions"] if row.get("included", True)}
    assert len(rows) == sum(row.get("included", True) for row in phase["prescriptions"])
    catalogue = {row.slug: row for row in Exercise.objects.filter(slug__in=rows)}
    sides = {"affected": "right", "unaffected": "left", "alternating": "alternate",
             "each_side": "both", "bilateral": "both", "none": "none"}  # fmt: skip

    done: Counter[tuple[str, int]] = Counter()
    for number, day in enumerate(plan["days"], start=1):
        assert day["date"] == (TODAY + (number - 1) * DAY).isoformat()
        [assignment] = day["assignments"]
        assert assignment["phase"] | {"title": ""} == {
            "id": phase_id, "number": phase["number"], "title": "", "day_in_phase": number,
            "count": len(written(slug)["phases"]), "started_on": TODAY.isoformat(),
        }  # fmt: skip
        assert len(day["slots"]) <= 6
        counted = any(slot["counts"] for slot in day["slots"])
        assert day["day_type"] == ("training" if counted else "rest")
        for slot in day["slots"]:
            assert slot["items"], "no empty sessions"
            assert [item["order"] for item in slot["items"]] == [
                n + 1 for n in range(len(slot["items"]))
            ]
            assert slot["counts"] == any(item["counts"] for item in slot["items"])
            assert slot["estimated_min"] >= 1
            for item in slot["items"]:
                name = item["exercise"]["slug"]
                row = rows[name]
                dose = in_full(on_day(row, number)[0])
                assert item["dose"] == dose | {"side": sides[catalogue[name].side]}, name
                assert item["pain_limit"]["during_max"] == row["pain_ceiling"]
                assert item["counts"] == row.get("counts", True)
                assert item.get("note", "") == row.get("note", "")
                assert item["exercise"]["title"] == catalogue[name].title
                done[name, (number - 1) // 7] += item.get("times_a_day", 1)
    for name, row in rows.items():
        for week in range(WEEKS):
            schedule = on_day(row, 7 * week + 1)[1]
            if "not_on_days_of" not in schedule:
                assert done[name, week] == times_a_week(schedule, week), (name, week)


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("slug", SLUGS)
def test_slots_keep_their_ids_whatever_window_they_are_read_in(
    ana: Staff, ben: OwnPhone, thigh: Episode, slug: str
) -> None:
    assign(ana, thigh, slug)

    def ids(first: int, days: int) -> list[str]:
        plan = read(ben, TODAY + first * DAY, days)
        return [slot["slot_id"] for day in plan["days"] for slot in day["slots"]]

    whole = ids(0, 28)
    assert len(set(whole)) == len(whole)
    assert ids(0, 28) == whole
    assert [one for n in range(28) for one in ids(n, 1)] == whole
    assert ids(0, 10) + ids(10, 18) == whole


def test_what_is_done_on_other_days_stays_off_the_days_of_the_main_lift(
    ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    """pht stage 2: the long bridge on the days without heavy curls, and on all of them."""
    assign(ana, thigh, "pht", start_phase_id="phase-2")
    days = [
        {item["exercise"]["slug"] for slot in day["slots"] for item in slot["items"]}
        for day in read(ben, days=28)["days"]
    ]
    assert all(("sg-curl-hsr" in day) != ("sg-iso-bridge-long" in day) for day in days)


# --- What became of a day ---------------------------------------------------------------------

# The zone, a day that the clocks change in the night after (or none does), and its offset then.
ZONES = [
    ("Europe/Stockholm", date(2026, 3, 28)),
    ("Europe/Stockholm", date(2026, 10, 24)),
    ("America/New_York", date(2026, 3, 7)),
    ("America/New_York", date(2026, 10, 31)),
    ("America/Nuuk", date(2026, 3, 27)),
    ("Australia/Lord_Howe", date(2026, 4, 4)),
    ("Pacific/Kiritimati", date(2026, 6, 1)),
    ("Pacific/Niue", date(2026, 6, 1)),
    ("Asia/Kathmandu", date(2026, 6, 1)),
]


def status(phone: OwnPhone, on: date) -> set[str]:
    return {slot["status"] for slot in read(phone, on, 1)["days"][0]["slots"]}


@pytest.mark.parametrize(("zone", "on"), ZONES, ids=lambda value: str(value))
def test_a_day_closes_at_noon_of_the_next_on_the_patients_clock(
    clock: time_machine.Traveller, harbour: Clinic, zone: str, on: date
) -> None:
    there = ZoneInfo(zone)

    def at(day: date, hour: int, minute: int = 0, second: int = 0) -> None:
        clock.move_to(datetime(day.year, day.month, day.day, hour, minute, second, tzinfo=there))

    at(on, 9)
    ana = make_staff(harbour, "Ana", is_physiotherapist=True)
    phone = make_patient(harbour, "Zoe", timezone.now(), ana.user, timezone=zone)
    assign(ana, make_episode(phone.patient, ana.user, timezone.now()), "hs-grade-1", on=on)
    for moment in ((on, 9), (on, 23, 59, 59), (on + DAY, 0), (on + DAY, 11, 59, 59)):
        at(*moment)
        assert status(phone, on) == {"due"}, moment
    at(on + DAY, 12)
    assert status(phone, on) == {"not_heard"}, "closed, and the phone was silent since"
    at(on + DAY, 12, 0, 1)
    assert status(phone, on + DAY) == {"due"}
    phone.checks_in(timezone=zone)
    assert status(phone, on) == {"missed"}, "it was heard, and said nothing of that day"
    at(on + 2 * DAY, 12)
    assert status(phone, on + DAY) == {"not_heard"}, "what was heard before it closed says nothing"


def test_today_turns_at_midnight_of_the_patient(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    assign(ana, thigh, "hs-grade-1")
    clock.move_to(datetime(2026, 3, 10, 23, 59, 59, tzinfo=ZoneInfo("Europe/Stockholm")))
    assert ben.plan()["from"] == "2026-03-10"
    clock.shift(1)
    assert ben.plan()["from"] == "2026-03-11"
    ben.patch("me", {"timezone": "America/New_York"})
    assert ben.plan()["from"] == "2026-03-10", "who flies west has the evening again"


@pytest.mark.parametrize(
    ("logs", "shown"),
    [
        pytest.param([{}], "completed", id="all of it"),
        pytest.param([{"entries": 1}], "partial", id="one of many"),
        pytest.param([{"state": "open", "entries": 1}], "open", id="begun"),
        pytest.param([{"state": "skipped", "skip_reason": "pain", "entries": 0}], "skipped",
                     id="skipped"),
        pytest.param([{"state": "skipped", "skip_reason": "pain", "entries": 0}, {"entries": 1}],
                     "partial", id="skipped, then some of it"),
        pytest.param([{}, {"state": "open", "entries": 1}], "completed", id="done, begun again"),
    ],
)  # fmt: skip
def test_a_slot_shows_the_best_of_its_sessions(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    thigh: Episode,
    logs: list[Any],
    shown: str,
) -> None:
    made = assign(ana, thigh, "hs-grade-1")
    slot, ids = ben.slot(), []
    for log in logs:
        body = ben.session_of(slot, made) | log
        entries = ben.session_of(slot, made)["entries"]
        body["entries"] = entries[: log.get("entries", len(entries))]
        ids.append(str(uuid4()))
        ben.put(f"me/sessions/{ids[-1]}", body)

    def seen() -> Any:
        slots = read(ben, TODAY, 1)["days"][0]["slots"]
        return next(one for one in slots if one["slot_id"] == slot["slot_id"])

    assert (seen()["status"], seen()["session_ids"]) == (shown, sorted(ids))
    clock.shift(10 * DAY)
    assert seen()["status"] == shown, "a closed day keeps what was done on it"
    for id in ids:
        ben.delete(f"me/sessions/{id}?revision=2")
    assert (seen()["status"], seen()["session_ids"]) == ("missed", []), "withdrawn is not done"


def test_self_care_alone_is_never_missed(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    """The keep phase trains three days a week; on the others there is only something to read."""
    assign(ana, thigh, "back-hamstring-selfcare", start_phase_id="phase-3")
    days = read(ben, days=7)["days"]
    assert [day["day_type"] for day in days] == [
        "training", "rest", "rest", "training", "rest", "rest", "rest",
    ]  # fmt: skip
    assert all(
        slot["counts"] == (day["day_type"] == "training") for day in days for slot in day["slots"]
    )
    clock.shift(20 * DAY)
    told = [{slot["status"] for slot in day["slots"]} for day in read(ben, days=7)["days"]]
    assert told == [
        {"not_heard"}, {"excused"}, {"excused"}, {"not_heard"}, *[{"excused"}] * 3,
    ]  # fmt: skip


def test_check_ins_are_asked_for_once_a_day(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    assign(ana, thigh, "neural-thigh")
    asked = [day["check_in"] for day in read(ben, TODAY - DAY, 9)["days"]]

    assert asked[0] == {"due": False}
    usual = ["pain_now", "stiffness", "confidence", "leg_symptom"]
    weekly = [*usual, "nprs_worst", "night_symptoms", "constant_symptoms"]
    assert [one["fields"] for one in asked[1:]] == [weekly] + [usual] * 6 + [weekly]
    assert all(one["due"] for one in asked[1:])
    ben.checks_in()
    assert [day["check_in"]["due"] for day in read(ben, days=2)["days"]] == [False, True]


# --- Advice -----------------------------------------------------------------------------------

# protocols.md section 3: P_prog, RED_dur, SEV.
LIMITS = {
    "hs-grade-1": (2, 6, 8), "hs-grade-2": (2, 6, 8), "prevent-nordic": (2, 6, 8),
    "back-hamstring-selfcare": (2, 6, 8), "hs-grade-3": (2, 5, 7), "pht": (3, 6, 8),
    "post-repair": (2, 4, 7), "neural-thigh": (2, 5, 8), "deep-gluteal": (2, 5, 8),
    "lumbar-referred": (2, 5, 8),
}  # fmt: skip


def advice_for(plan: Any) -> dict[int, str]:
    """What the phone says to each number; every number has one answer."""
    said: dict[int, str] = {}
    for band in plan["on_device_advice"]["pain_during"]:
        for pain in range(band["from"], band["to"] + 1):
            assert pain not in said
            said[pain] = band["advice"]
    assert set(said) == set(range(11))
    return said


def advised(progress: int, red: int, severe: int) -> dict[int, str]:
    """protocols.md section 4, during a session."""
    return {
        pain: "stop_today"
        if pain >= severe
        else "ease_off"
        if pain >= red
        else "carry_on_with_care"
        if pain > progress
        else "carry_on"
        for pain in range(11)
    }


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("slug", SLUGS)
def test_the_phone_judges_pain_as_the_dossier_does(
    ana: Staff, ben: OwnPhone, thigh: Episode, slug: str
) -> None:
    assign(ana, thigh, slug)

    assert advice_for(ben.plan()) == advised(*LIMITS[slug])


@pytest.mark.usefixtures("ready")
def test_of_two_plans_the_stricter_limits_hold(
    ana: Staff, ben: OwnPhone, thigh: Episode, now: datetime
) -> None:
    other = make_episode(ben.patient, ana.user, now, title="Left sit bone", side="left")
    first = assign(ana, thigh, "post-repair")
    second = assign(ana, other, "pht")
    plan = ben.plan()
    assert advice_for(plan) == advised(2, 4, 7)
    day = plan["days"][0]
    assert [one["assignment_id"] for one in day["assignments"]] == sorted(
        (first["id"], second["id"])
    )
    assert {slot["assignment_id"] for slot in day["slots"]} == {first["id"], second["id"]}
    ids = [slot["slot_id"] for day in plan["days"] for slot in day["slots"]]
    assert len(ids) == len(set(ids))

    step = {"from": TODAY.isoformat(), "reason": "Healed"}
    tag = ana.call("GET", f"assignments/{first['id']}")["ETag"]
    ana.post(f"assignments/{first['id']}/end", step, If_Match=tag)
    assert advice_for(read(ben, TODAY, 2)) == advised(2, 4, 7), "today is still under both"
    assert advice_for(read(ben, TODAY + DAY, 2)) == advised(3, 6, 8)


def test_stop_signs_are_those_of_the_safety_library(ana: Staff, ben: OwnPhone, thigh: Episode):
    safety = yaml.safe_load((LIBRARY / "safety.yaml").read_text())
    asked = [f for f in safety["red_flags"] if f["asked"] and f["level"] != "routine"]
    assign(ana, thigh, "hs-grade-1")
    told = ben.plan()["on_device_advice"]

    assert [sign["code"] for sign in told["stop_signs"]] == [flag["code"] for flag in asked]
    for sign, flag in zip(told["stop_signs"], asked, strict=True):
        assert (sign["text"], sign["level"]) == (flag.get("sign") or flag["ask"], flag["level"])
        assert sign.get("patient_text", []) == flag.get("patient_text", [])
    texts = {light["advice"]: light["text"] for light in safety["pain_light"]}
    assert all(band["text"] == texts[band["advice"]] for band in told["pain_during"])
    assert told["levels"] == {level["code"]: level["patient_text"] for level in safety["levels"]}
    assert told["urgent_text"] in [text["text"] for text in safety["texts"]]
    codes = {sign["code"] for sign in told["stop_signs"]}
    for code in codes:  # what the phone offers, the service takes
        ben.checks_in(stop_signs=[code])


def test_the_phone_knows_whom_to_call(ben: OwnPhone, harbour: Clinic) -> None:
    before = ben.call("GET", "me/plan")
    assert before.json()["on_device_advice"]["emergency_number"] == "112"
    assert "urgent_contact" not in before.json()["on_device_advice"]
    Clinic.objects.filter(pk=harbour.pk).update(emergency_number="999", urgent_contact="The ward")

    after = ben.call("GET", "me/plan", If_None_Match=before["ETag"])
    told = after.json()["on_device_advice"]
    assert (told["emergency_number"], told["urgent_contact"]) == ("999", "The ward")


def test_without_a_plan_the_stop_signs_still_stand(ben: OwnPhone) -> None:
    plan = ben.plan()

    assert {day["day_type"] for day in plan["days"]} == {"none"}
    assert all(day["slots"] == day["assignments"] == [] for day in plan["days"])
    assert plan["on_device_advice"]["pain_during"] == [], "nobody has set limits"
    assert plan["on_device_advice"]["stop_signs"]


@pytest.mark.parametrize(
    ("wish", "language"),
    [("en", "en"), ("sv-SE, en;q=0.5", "en"), ("tlh", "en"), ("*", "en"), ("", "en")],
)
def test_the_language_is_told_and_codes_are_the_same_in_all(
    ana: Staff, ben: OwnPhone, thigh: Episode, wish: str, language: str
) -> None:
    assign(ana, thigh, "hs-grade-1")
    usual = ben.call("GET", "me/plan")
    answer = ben.call("GET", "me/plan", Accept_Language=wish)

    assert (answer.status_code, answer["Content-Language"]) == (200, language)
    assert "Accept-Language" in answer["Vary"]
    assert (answer["ETag"] == usual["ETag"]) == (language == "en")
    slots = [plan.json()["days"][0]["slots"][0]["slot_id"] for plan in (usual, answer)]
    assert slots[0] == slots[1]


# --- Bounds -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "query",
    ["days=0", "days=29", "days=-1", "days=1.5", "days=abc", "days=", "days=%C2%B2", "days=1e1",
     "days=0x1", "days=999999999999", "days=+7", "days=null", "from=", "from=today",
     "from=2026-02-30", "from=2026-3-1", "from=20260301", "from=2026-03-01T00:00:00Z",
     "from=1899-12-31", "from=2201-01-01", "from=10000-01-01", "from=%002026-03-01",
     "from=%D9%A2026-03-01"],
)  # fmt: skip
def test_a_window_that_cannot_be(ben: OwnPhone, query: str) -> None:
    assert ben.get(f"me/plan?{query}", 400)["code"] == "malformed-request"


@pytest.mark.parametrize("first", ["1900-01-01", "2200-12-31", "2026-01-31", "2028-02-29"])
@pytest.mark.parametrize("days", [1, 28])
def test_any_window_that_can(
    ana: Staff, ben: OwnPhone, thigh: Episode, first: str, days: int
) -> None:
    assign(ana, thigh, "hs-grade-1")
    plan = ben.get(f"me/plan?from={first}&days={days}")

    assert (plan["from"], len(plan["days"])) == (first, days)
    expected = "none" if first < TODAY.isoformat() else "training"
    assert {day["day_type"] for day in plan["days"]} == {expected}


def test_two_weeks_from_today_unless_asked_otherwise(ben: OwnPhone) -> None:
    plan = ben.get("me/plan")

    assert (plan["from"], len(plan["days"])) == (TODAY.isoformat(), 14)
    assert plan["day_closes_at"] == "12:00"


# --- The tag ----------------------------------------------------------------------------------

WINDOWS = ["", "?from=2026-03-08&days=3", "?from=2026-03-10&days=28", "?from=2026-04-20&days=7"]


class Course:
    """Ben's plan, and things that happen around it."""

    def __init__(self, ana: Staff, ben: OwnPhone, bea: OwnPhone, clock: Any, episode: Episode):
        self.ana, self.ben, self.bea, self.clock = ana, ben, bea, clock
        self.exercise = ana.post("exercises", an_exercise("st-ours", "Ours"))["id"]
        added = [{"op": "add", "exercise": "st-ours"}]
        self.made = assign(ana, episode, "hs-grade-1", tailoring=added)
        self.sent: list[tuple[str, Any]] = []
        self.count = 0

    def reads(self) -> list[tuple[str, bytes]]:
        answers = [self.ben.call("GET", f"me/plan{window}") for window in WINDOWS]
        return [(answer["ETag"], answer.content) for answer in answers]

    def step(self, word: str) -> None:
        path = f"assignments/{self.made['id']}"
        body = {"from": self.ben.today.isoformat(), "reason": word}
        tag = self.ana.call("GET", path)["ETag"]
        self.ana.call("POST", f"{path}/{word}", body, If_Match=tag)

    def log(self, **more: Any) -> None:
        slots = self.ben.plan(days=1)["days"][0]["slots"]
        if slots:
            path = f"me/sessions/{uuid4()}"
            self.sent.append((path, self.ben.session_of(slots[0], self.made, **more)))
            self.ben.put(*self.sent[-1])

    def repeat(self) -> None:
        """The phone is heard again, some time later, and has nothing new to say."""
        if self.sent:
            self.clock.shift(1200)
            self.ben.put(*self.sent[-1])

    def withdraw(self) -> None:
        if self.sent:
            self.ben.delete(f"{self.sent.pop()[0]}?revision=9")

    def clear(self) -> None:
        body = {"reason": "Seen", "action": "advised"}
        self.ana.call("POST", f"patients/{self.ben.patient.pk}/stop-clearances", body)

    def judge(self) -> None:
        for patient_id in deciding.due_to_close(now=timezone.now(), limit=9):
            deciding.close(patient_id=patient_id, now=timezone.now())

    def change_exercise(self) -> None:
        self.count += 1
        self.ana.patch(f"exercises/{self.exercise}", {"title": f"Ours {self.count}"})

    def move(self) -> None:
        self.count += 1
        zone = ("Europe/Oslo", "Asia/Tokyo", "America/Lima")[self.count % 3]
        self.ben.patch("me", {"timezone": zone})
        self.ben.patient.timezone = zone


HAPPENINGS: dict[str, Callable[[Course], object]] = {
    "nothing": lambda course: None,
    "a minute passes": lambda course: course.clock.shift(60),
    "half a day passes": lambda course: course.clock.shift(12 * 3600),
    "two days pass": lambda course: course.clock.shift(2 * DAY),
    "a session": lambda course: course.log(),
    "a session begun": lambda course: course.log(state="open"),
    "a session withdrawn": Course.withdraw,
    "the same session again": Course.repeat,
    "a check-in": lambda course: course.ben.checks_in(),
    "a stop sign": lambda course: course.ben.checks_in(stop_signs=["fever_with_pain"]),
    "a graver one": lambda course: course.ben.checks_in(stop_signs=["self_harm"]),
    "a bad session": lambda course: course.log(pain_during=6),
    "a clearance": Course.clear,
    "dates are judged": Course.judge,
    "a pause": lambda course: course.step("pause"),
    "going on": lambda course: course.step("resume"),
    "another title": Course.change_exercise,
    "a journey": Course.move,
    "somebody else's log": lambda course: course.bea.checks_in(),
    "a look": lambda course: course.ana.get(f"assignments/{course.made['id']}"),
    "a new name": lambda course: course.ana.call(
        "PATCH", f"patients/{course.ben.patient.pk}", {"given_name": f"Ben{course.clock.shift(1)}"},
        If_Match="*",
    ),
}  # fmt: skip
IDLE = {"nothing", "a look", "somebody else's log"}


@pytest.mark.parametrize("seed", range(4))
def test_the_tag_changes_whenever_the_answer_does(
    clock: time_machine.Traveller,
    ana: Staff,
    ben: OwnPhone,
    bea: OwnPhone,
    thigh: Episode,
    seed: int,
) -> None:
    """Whoever holds a tag holds this answer; and while nothing happens, the tag stays."""
    chance, course = random.Random(seed), Course(ana, ben, bea, clock, thigh)
    held = course.reads()
    told: dict[tuple[int, str], bytes] = {}
    happened = []
    for _ in range(25):
        happened.append(chance.choice(list(HAPPENINGS)))
        HAPPENINGS[happened[-1]](course)
        seen = course.reads()
        for window, ((old, before), (new, after)) in enumerate(zip(held, seen, strict=True)):
            assert after == before or new != old, (seed, happened, WINDOWS[window])
            assert told.setdefault((window, new), after) == after, (seed, happened)
            if happened[-1] in IDLE:
                assert (new, after) == (old, before), (seed, happened)
        for (tag, _), query in zip(seen, WINDOWS, strict=True):
            answer = ben.call("GET", f"me/plan{query}", If_None_Match=tag)
            assert (answer.status_code, answer.content) == (304, b"")
        held = seen


def test_another_text_is_another_tag(ben: OwnPhone, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a new release: nothing of the patient's has changed."""
    before = ben.call("GET", "me/plan")
    texts = {**safety().texts, "urgent": "Call us."}
    monkeypatch.setattr(plan_shown, "safety", lambda: replace(safety(), texts=texts))
    plan_shown.edition.cache_clear()
    after = ben.call("GET", "me/plan", If_None_Match=before["ETag"])
    plan_shown.edition.cache_clear()

    assert after.json()["on_device_advice"]["urgent_text"] == "Call us."


def test_a_phone_that_breaks_its_silence_has_another_tag(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    """Nothing new is stored by a repeat, and yet what was not heard is missed from now on."""
    made = assign(ana, thigh, "hs-grade-1")
    path, body = f"me/sessions/{uuid4()}", ben.session_of(ben.slot(), made)
    ben.put(path, body)
    clock.shift(3 * DAY)
    window = f"me/plan?from={TODAY + DAY}&days=1"
    before = ben.call("GET", window)
    ben.put(path, body)
    after = ben.call("GET", window, If_None_Match=before["ETag"])

    told = [plan.json()["days"][0]["slots"][0]["status"] for plan in (before, after)]
    assert told == ["not_heard", "missed"]


def test_a_repeated_upload_leaves_the_tag_alone(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, thigh: Episode
) -> None:
    """A phone that sends everything again need not read everything again."""
    made = assign(ana, thigh, "hs-grade-1")
    id, body = uuid4(), ben.session_of(ben.slot(), made)
    ben.put(f"me/sessions/{id}", body)
    before = ben.call("GET", "me/plan")
    clock.shift(1200)
    ben.put(f"me/sessions/{id}", body)

    assert ben.call("GET", "me/plan")["ETag"] == before["ETag"]


def test_a_changed_library_reaches_the_phones(
    clock: time_machine.Traveller, ana: Staff, ben: OwnPhone, bea: OwnPhone, thigh: Episode
) -> None:
    """As after a new release: the catalogue has a newer version of an exercise in the plan."""
    Exercise.objects.filter(slug="ca-bike").update(version="0.9.0", title="Bicycle", sha256="older")
    assign(ana, thigh, "hs-grade-1")
    before, others = ben.call("GET", "me/plan"), bea.call("GET", "me/plan")
    cursor = ben.get("me/sync/changes")["cursor"]
    clock.shift(60)
    call_command("load_library", verbosity=0)

    after = ben.call("GET", "me/plan")
    told = [b"Bicycle" in plan.content for plan in (before, after)]
    assert told == [True, False]
    assert after["ETag"] != before["ETag"]
    assert [
        (item["type"], item["op"], item.get("data", {}).get("slug"))
        for item in ben.get(f"me/sync/changes?cursor={cursor}")["items"]
    ] == [("exercise", "upsert", "ca-bike"), ("plan", "refetch", None)]
    silent = bea.call("GET", "me/plan")["ETag"]
    assert silent == others["ETag"], "who does not have it hears nothing"
