"""Three times, three meanings: the patient's calendar, the phone's clock, and ours."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.utils import timezone

from backend.clinics.models import Clinic
from exercises.models import Exercise
from tests.service.cast import OwnPhone
from tests.service.uploading import WAYS, Way, check_in_at, item, pushed, session_at

HERE = "Europe/Stockholm"
NOW = datetime(2026, 11, 19, 18, 31, tzinfo=ZoneInfo(HERE))


@pytest.fixture(autouse=True)
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(NOW, tick=False) as traveller:
        yield traveller


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    return WAYS[request.param]


def at(text: str, zone: str = HERE, fold: int = 0) -> datetime:
    """Wall clock time in a zone."""
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold)


def rating(recorded: str, on: str, zone: str = HERE) -> dict[str, Any]:
    return {**check_in_at(at(recorded, zone), zone), "local_date": on}


# --- How late it was typed in, how late it came ------------------------------------------------

# Recorded at, for which day, zone: what becomes of it. Typing delay counts from the end of the day.
TYPED: list[tuple[str, str, str, str]] = [
    ("2026-11-19T07:00:00", "2026-11-19", HERE, "created"),
    ("2026-11-19T00:00:00", "2026-11-18", HERE, "created"),
    ("2026-11-19T18:31:00", "2026-11-12", HERE, "created"),
    ("2026-11-19T00:00:00", "2026-11-11", HERE, "created"),  # seven days to the second
    ("2026-11-19T00:00:01", "2026-11-11", HERE, "log-too-old"),
    ("2026-11-19T18:31:00", "2026-11-01", HERE, "log-too-old"),
    ("2026-11-19T18:31:00", "2026-11-20", HERE, "created"),  # it is tomorrow somewhere
    ("2026-11-19T18:31:00", "2026-11-21", HERE, "log-in-future"),
    # A clock change inside the seven days moves nothing: they are days on the patient's wall.
    ("2026-11-02T00:00:00", "2026-10-25", HERE, "created"),
    ("2026-11-02T00:00:01", "2026-10-25", HERE, "log-too-old"),
    ("2026-11-02T00:00:00", "2026-10-25", "America/New_York", "created"),
    ("2026-10-12T00:00:01", "2026-10-04", "Australia/Lord_Howe", "log-too-old"),
]


def test_typing_delay(way: Way, ben: OwnPhone, subtests: pytest.Subtests) -> None:
    for recorded, on, zone, expected in TYPED:
        with subtests.test(recorded=recorded, on=on, zone=zone):
            sent = way(ben, "check_in", uuid4(), 1, rating(recorded, on, zone))
            assert (sent.code or sent.status) == expected


def test_upload_delay(
    way: Way, ben: OwnPhone, clock: time_machine.Traveller, subtests: pytest.Subtests
) -> None:
    """A phone that was offline for weeks loses nothing."""
    said = rating("2026-11-19T18:00:00", "2026-11-19")
    recorded = at("2026-11-19T18:00:00")
    for wait, expected in (
        (timedelta(days=21), "created"),
        (timedelta(days=89, hours=23), "created"),
        (timedelta(days=90), "created"),
        (timedelta(days=90, seconds=1), "log-too-old"),
    ):
        with subtests.test(wait=wait):
            clock.move_to(recorded + min(wait, timedelta(days=80)))
            ben.get("me/plan?days=1")  # the app is used now and then, so its session lives on
            clock.move_to(recorded + wait)
            sent = way(ben, "check_in", uuid4(), 1, said)
            assert (sent.code or sent.status) == expected
            if not sent.code:
                assert sent.body["derived"] == {"clock": "ok"}


def test_both_limits_are_settings_of_the_clinic(
    way: Way, ben: OwnPhone, harbour: Clinic, clock: time_machine.Traveller
) -> None:
    harbour.typing_delay_days, harbour.upload_delay_days = 2, 3
    harbour.save()
    typed = way(ben, "check_in", uuid4(), 1, rating("2026-11-19T12:00:00", "2026-11-16"))
    clock.shift(timedelta(days=4))
    came = way(ben, "check_in", uuid4(), 1, rating("2026-11-19T18:00:00", "2026-11-19"))
    assert (typed.code, typed.body["delay"]) == ("log-too-old", "typing")
    assert (came.code, came.body["delay"]) == ("log-too-old", "upload")


def test_late_is_after_the_day_has_closed(
    way: Way, ben: OwnPhone, subtests: pytest.Subtests
) -> None:
    """A day closes at noon of the next one, on the patient's wall clock."""
    for recorded, on, zone, timeliness in (
        ("2026-11-18T20:00:00", "2026-11-18", HERE, "on_time"),
        ("2026-11-19T12:00:00", "2026-11-18", HERE, "on_time"),
        ("2026-11-19T12:00:01", "2026-11-18", HERE, "late"),
        ("2026-11-19T17:59:59", "2026-11-12", HERE, "late"),
        ("2026-11-19T12:00:00", "2026-11-18", "Pacific/Kiritimati", "on_time"),
        ("2026-11-19T12:00:01", "2026-11-18", "Pacific/Kiritimati", "late"),
        ("2026-11-19T06:00:00", "2026-11-18", "Pacific/Pago_Pago", "on_time"),
        # The night has 25 h, or 23, or half an hour less: noon is noon.
        ("2026-10-25T12:00:00", "2026-10-24", HERE, "on_time"),
        ("2026-10-25T12:00:01", "2026-10-24", HERE, "late"),
        ("2026-11-01T12:00:00", "2026-10-31", "America/New_York", "on_time"),
        ("2026-10-04T12:00:00", "2026-10-03", "Australia/Lord_Howe", "on_time"),
        ("2026-10-04T12:00:01", "2026-10-03", "Australia/Lord_Howe", "late"),
    ):
        with subtests.test(recorded=recorded, on=on, zone=zone):
            said = {**rating(recorded, on, zone), "state": "skipped", "skip_reason": "forgot"}
            del said["pain_now"]
            derived = way(ben, "session", uuid4(), 1, said).body["derived"]
            assert derived["timeliness"] == timeliness


# --- The phone's clock -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew_s", "clock_is"),
    [(0, "ok"), (299, "ok"), (300, "ok"), (-300, "ok"), (301, "suspect"), (-301, "suspect"),
     (86_400 * 400, "suspect"), (-86_400 * 400, "suspect")],
)  # fmt: skip
def test_a_wrong_clock_is_marked_and_nothing_is_rewritten(
    skew_s: int, clock_is: str, ben: OwnPhone
) -> None:
    """`skew_s` is our clock minus the phone's. Its records lie on its own time line."""
    phone = NOW.astimezone(UTC) - timedelta(seconds=skew_s)
    said, id = check_in_at(phone - timedelta(hours=1)), uuid4()
    begun, session = session_at(phone - timedelta(hours=1)), uuid4()
    answer = ben.post(
        "me/sync/push",
        {"sent_at": phone.isoformat(),
         "items": [item("check_in", id, 1, said), item("session", session, 1, begun)]},
        200,
    )  # fmt: skip
    assert answer["clock_skew_s"] == skew_s
    assert [result["status"] for result in answer["results"]] == ["created", "created"]
    for path in (f"me/check-ins/{id}", f"me/sessions/{session}"):
        assert ben.get(path)["derived"]["clock"] == clock_is
    shown = ben.get(f"me/check-ins/{id}")
    assert {**shown, **said} == shown
    assert shown["received_at"] == "2026-11-19T17:31:00Z"


@pytest.mark.parametrize("year", ["1901", "1970", "2199"])
def test_the_worst_clock_loses_nothing(year: str, ben: OwnPhone) -> None:
    phone = at(f"{year}-06-01T12:00:00")
    [result] = pushed(ben, item("check_in", uuid4(), 1, check_in_at(phone)), sent_at=phone)
    assert (result["status"], result["derived"]["clock"]) == ("created", "suspect")


def test_a_single_upload_shows_a_clock_that_is_ahead(ben: OwnPhone) -> None:
    """A PUT does not say when it was sent; only a record from the future gives the clock away."""
    for ahead_s, clock_is in ((0, "ok"), (300, "ok"), (301, "suspect")):
        said = check_in_at(NOW + timedelta(seconds=ahead_s))
        result = ben.put(f"me/check-ins/{uuid4()}", {**said, "revision": 1}, 201)
        assert result["derived"]["clock"] == clock_is


@pytest.mark.parametrize("skew_h", [0, 24 * 365, -24 * 365])
def test_the_future_is_what_the_phone_itself_calls_future(skew_h: int, ben: OwnPhone) -> None:
    phone = NOW - timedelta(hours=skew_h)
    begun = {
        name: session_at(phone + timedelta(minutes=minutes), recorded_at=phone.isoformat())
        for name, minutes in (("soon", 10), ("later", 11))
    }
    recorded = {
        name: check_in_at(phone + timedelta(minutes=minutes))
        for name, minutes in (("noted soon", 10), ("noted later", 11))
    }
    items = [item("session", uuid4(), 1, said) for said in begun.values()]
    items += [item("check_in", uuid4(), 1, said) for said in recorded.values()]
    results = pushed(ben, *items, sent_at=phone)
    assert [result.get("problem", {}).get("code", "") for result in results] == [
        "", "log-in-future", "", "log-in-future",
    ]  # fmt: skip


def test_a_session_put_alone_cannot_begin_after_it_was_recorded(ben: OwnPhone) -> None:
    said = session_at(NOW, recorded_at=(NOW - timedelta(minutes=11)).isoformat(), revision=1)
    assert ben.put(f"me/sessions/{uuid4()}", said, 422)["code"] == "log-in-future"
    said["recorded_at"] = (NOW - timedelta(minutes=10)).isoformat()
    assert ben.put(f"me/sessions/{uuid4()}", said, 201)["status"] == "created"


def test_an_offset_that_no_place_has_is_a_moment_all_the_same(ben: OwnPhone) -> None:
    """RFC 3339 allows it, PostgreSQL does not."""
    for hours in (-18, 18):
        odd = NOW.astimezone(timezone.get_fixed_timezone(hours * 60)).isoformat()
        said = {**check_in_at(NOW), "recorded_at": odd, "revision": 1}
        assert ben.put(f"me/check-ins/{uuid4()}", said, 201)["derived"]["clock"] == "ok"


# --- Zones and dates ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "zone",
    ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "America/St_Johns", "UTC",
     "Australia/Lord_Howe", "America/Nuuk", "Etc/GMT+12"],
)  # fmt: skip
def test_every_offset_keeps_its_day_and_its_words(zone: str, way: Way, ben: OwnPhone) -> None:
    begun = NOW.astimezone(ZoneInfo(zone)) - timedelta(hours=1)
    id, said = uuid4(), session_at(begun, zone)
    assert way(ben, "session", id, 1, said).status == "created"
    shown = ben.get(f"me/sessions/{id}")
    assert {**shown, **said} == shown
    assert shown["local_date"] == begun.date().isoformat()
    assert datetime.fromisoformat(shown["started_at"]).utcoffset() == begun.utcoffset()


# Began (wall clock), in which zone, put to which day: taken or not.
DAYS: list[tuple[str, str, str, bool]] = [
    ("2026-11-19T00:30:00", HERE, "2026-11-18", True),  # after midnight, for the evening before
    ("2026-11-19T00:30:00", HERE, "2026-11-19", True),
    ("2026-11-18T23:30:00", HERE, "2026-11-19", True),
    ("2026-11-19T00:30:00", HERE, "2026-11-17", False),
    ("2026-11-17T23:59:59", HERE, "2026-11-19", False),
    ("2026-10-25T02:30:00", HERE, "2026-10-25", True),  # the hour that comes twice
    ("2026-11-01T01:30:00", "America/New_York", "2026-10-31", True),
    ("2026-10-04T01:45:00", "Australia/Lord_Howe", "2026-10-03", True),
    # The same moment is another day in the zone it is said in.
    ("2026-11-19T01:00:00", "Pacific/Kiritimati", "2026-11-18", True),
    ("2026-11-18T23:00:00", "Pacific/Pago_Pago", "2026-11-17", True),
]


def test_the_day_is_the_one_it_began_on_or_beside_it(
    way: Way, ben: OwnPhone, clock: time_machine.Traveller, subtests: pytest.Subtests
) -> None:
    for began, zone, on, taken in DAYS:
        with subtests.test(began=began, zone=zone, on=on):
            begun = at(began, zone)
            clock.move_to(begun + timedelta(hours=1))
            sent = way(ben, "session", uuid4(), 1, session_at(begun, zone, local_date=on))
            if taken:
                assert sent.status == "created"
            else:
                [error] = sent.body["errors"]
                assert (error["pointer"], error["code"]) == ("#/local_date", "date-mismatch")
                assert zone in error["detail"]


def test_the_day_is_seen_in_the_zone_that_is_named(way: Way, ben: OwnPhone) -> None:
    """18:05 in Stockholm is the morning after in Kiritimati: one day more may be named there."""
    said = session_at(NOW - timedelta(minutes=26))
    for zone, on, taken in (
        (HERE, "2026-11-20", True), (HERE, "2026-11-21", False),
        ("Pacific/Kiritimati", "2026-11-21", True), ("Pacific/Kiritimati", "2026-11-18", False),
    ):  # fmt: skip
        sent = way(ben, "session", uuid4(), 1, {**said, "timezone": zone, "local_date": on})
        assert sent.status == ("created" if taken else "rejected"), (zone, on, sent.body)


@pytest.mark.parametrize(
    ("before", "after", "zone", "lasted_s"),
    [
        ("2026-10-25T02:50:00", "2026-10-25T02:10:00", HERE, 20 * 60),
        ("2026-11-01T01:50:00", "2026-11-01T01:10:00", "America/New_York", 20 * 60),
        ("2026-04-05T01:50:00", "2026-04-05T01:40:00", "Australia/Lord_Howe", 20 * 60),
        ("2026-03-29T01:50:00", "2026-03-29T03:10:00", HERE, 20 * 60),
        ("2026-10-04T01:55:00", "2026-10-04T02:35:00", "Australia/Lord_Howe", 10 * 60),
    ],
)
def test_a_session_across_a_clock_change_lasts_as_long_as_it_did(
    before: str, after: str, zone: str, lasted_s: int, way: Way, ben: OwnPhone,
    clock: time_machine.Traveller,
) -> None:  # fmt: skip
    began, ended = at(before, zone), at(after, zone, fold=1)
    clock.move_to(ended.astimezone(UTC) + timedelta(minutes=1))
    said = session_at(began, zone, ended_at=ended.isoformat(), recorded_at=ended.isoformat())
    derived = way(ben, "session", uuid4(), 1, said).body["derived"]
    assert (derived["duration_s"], derived["timeliness"]) == (lasted_s, "on_time")


def test_over_the_date_line(ben: OwnPhone, clock: time_machine.Traveller) -> None:
    """Westward a day is lived twice, eastward one is missing. What was said stays said."""
    auckland, honolulu = "Pacific/Auckland", "Pacific/Honolulu"
    clock.move_to(at("2026-11-20T06:00:00", honolulu))
    twice = [
        session_at(at("2026-11-20T08:00:00", auckland), auckland),
        session_at(at("2026-11-19T20:00:00", honolulu), honolulu),
        session_at(at("2026-11-20T05:00:00", honolulu), honolulu),
    ]
    results = pushed(ben, *(item("session", uuid4(), 1, said) for said in twice))
    assert {result["status"] for result in results} == {"created"}
    assert [row["local_date"] for row in ben.get("me/sessions")["items"]] == [
        "2026-11-20", "2026-11-20", "2026-11-19",
    ]  # fmt: skip


def test_start_and_end(way: Way, ben: OwnPhone, subtests: pytest.Subtests) -> None:
    began = NOW - timedelta(hours=8)
    for name, ended, state, error in (
        ("at once", began, "finished", None),
        ("six hours", began + timedelta(hours=6), "finished", None),
        ("more", began + timedelta(hours=6, seconds=1), "finished", ("#/ended_at", "time-order")),
        ("before", began - timedelta(seconds=1), "finished", ("#/ended_at", "time-order")),
        ("no end", None, "finished", ("#/ended_at", "required")),
        ("no end yet", None, "open", None),
    ):
        with subtests.test(name):
            said = session_at(began, state=state, recorded_at=NOW.isoformat())
            if ended is None:
                del said["ended_at"]
            else:
                said["ended_at"] = ended.isoformat()
            sent = way(ben, "session", uuid4(), 1, said)
            errors = [(e["pointer"], e["code"]) for e in sent.body.get("errors", ())]
            assert errors == ([error] if error else [])


# --- Which session day a rating belongs to (rule T3) -------------------------------------------


def exercise() -> dict[str, Any]:
    known = Exercise.objects.filter(clinic=None).values_list("pk", flat=True)[0]
    return {"entries": [{"exercise_id": str(known), "state": "done", "sets": [{"reps": 1}]}]}


def rated(ben: OwnPhone, *ids: UUID) -> list[str | None]:
    return [ben.get(f"me/check-ins/{id}")["derived"].get("rates_session_day") for id in ids]


# Sessions began; ratings came; the day each rates, or None: a free check-in.
T3: dict[str, tuple[list[str], list[str], list[str | None]]] = {
    "the morning after": (["18T18:00"], ["19T07:00"], ["18"]),
    "six hours later": (["19T06:00"], ["19T12:00"], ["19"]),
    "a minute too soon": (["19T06:00"], ["19T11:59"], [None]),
    "thirty hours later": (["18T06:00"], ["19T12:00"], ["18"]),
    "a minute too late": (["18T06:00"], ["19T12:01"], [None]),
    "no session": ([], ["19T07:00"], [None]),
    "the latest of two days": (["17T20:00", "18T10:00"], ["18T17:00"], ["18"]),
    "the earlier where the latest is too fresh": (["17T20:00", "18T10:00"], ["18T12:00"], ["17"]),
    "the last session of a day counts": (["18T08:00", "18T20:00"], ["19T01:00"], [None]),
    "each day once": (["18T18:00"], ["19T07:00", "19T08:00"], ["18", None]),
    "the second takes the day before": (
        ["17T20:00", "18T08:00"], ["18T15:00", "18T16:00"], ["18", "17"],
    ),
    "the evening took it, the morning is free": (
        ["17T08:00", "19T17:00"], ["17T20:00", "18T08:00"], ["17", None],
    ),
}  # fmt: skip


@pytest.mark.parametrize("late", ["sessions", "ratings"])
def test_a_rating_belongs_to_the_latest_unrated_day(
    late: str, ben: OwnPhone, bea: OwnPhone, subtests: pytest.Subtests
) -> None:
    done = exercise()
    for name, (began, came, days) in T3.items():
        with subtests.test(name):
            sessions = {uuid4(): session_at(at(f"2026-11-{text}"), **done) for text in began}
            ratings = {uuid4(): check_in_at(at(f"2026-11-{text}")) for text in came}
            batch = [item("session", id, 1, said) for id, said in sessions.items()]
            others = [item("check_in", id, 1, said) for id, said in ratings.items()]
            for one in [*batch, *others] if late == "ratings" else [*others, *batch]:
                pushed(ben, one)
            assert rated(ben, *ratings) == [f"2026-11-{day}" if day else None for day in days]
            for id in sessions:
                ben.delete(f"me/sessions/{id}?revision=2")
            assert rated(ben, *ratings) == [None] * len(ratings)
            for id in ratings:
                ben.delete(f"me/check-ins/{id}?revision=2")


def test_a_rating_that_says_no_pain_score_rates_nothing(ben: OwnPhone) -> None:
    silent, told, skipped = uuid4(), uuid4(), uuid4()
    morning = check_in_at(at("2026-11-19T07:00:00"))
    without = {name: morning[name] for name in morning if name != "pain_now"}
    skip = {**session_at(at("2026-11-18T20:00:00")), "state": "skipped", "skip_reason": "pain"}
    pushed(
        ben,
        item("session", uuid4(), 1, session_at(at("2026-11-18T18:00:00"), **exercise())),
        item("session", skipped, 1, skip),
        item("check_in", silent, 1, without),
        item("check_in", told, 1, {**morning, "recorded_at": "2026-11-19T08:00:00+01:00"}),
    )
    assert rated(ben, silent, told) == [None, "2026-11-18"]


def test_what_is_typed_in_on_another_date_is_memory(ben: OwnPhone) -> None:
    """A rating is how it felt then; typed in two days later it belongs to no session day."""
    id = uuid4()
    pushed(
        ben,
        item("session", uuid4(), 1, session_at(at("2026-11-18T18:00:00"), **exercise())),
        item("check_in", id, 1, rating("2026-11-19T07:00:00", "2026-11-17")),
    )
    assert rated(ben, id) == [None]
    pushed(ben, item("check_in", id, 2, rating("2026-11-19T07:00:00", "2026-11-19")))
    assert rated(ben, id) == ["2026-11-18"]


def test_a_session_without_a_start_began_on_its_day(ben: OwnPhone) -> None:
    """Typed in the morning after, it began at the latest at midnight, not when it was typed in."""
    said = session_at(at("2026-11-18T18:00:00"), recorded_at="2026-11-19T08:05:00+01:00",
                      **exercise())  # fmt: skip
    del said["started_at"], said["ended_at"]
    early, morning = uuid4(), uuid4()
    pushed(
        ben,
        item("check_in", early, 1, check_in_at(at("2026-11-19T05:59:00"))),
        item("check_in", morning, 1, check_in_at(at("2026-11-19T08:00:00"))),
        item("session", uuid4(), 1, said),
    )
    assert rated(ben, early, morning) == [None, "2026-11-18"]


def test_a_session_that_moves_takes_its_rating_along(ben: OwnPhone) -> None:
    id, first, second = uuid4(), uuid4(), uuid4()
    pushed(
        ben,
        item("session", id, 1, session_at(at("2026-11-14T18:00:00"), **exercise())),
        item("check_in", first, 1, check_in_at(at("2026-11-15T07:00:00"))),
        item("check_in", second, 1, check_in_at(at("2026-11-19T07:00:00"))),
    )
    assert rated(ben, first, second) == ["2026-11-14", None]
    pushed(ben, item("session", id, 2, session_at(at("2026-11-18T18:00:00"), **exercise())))
    assert rated(ben, first, second) == [None, "2026-11-18"]


def test_a_day_lived_twice_is_rated_after_its_later_session(
    ben: OwnPhone, clock: time_machine.Traveller
) -> None:
    """Rule T4. Zones far apart: the rating's date and the session's differ more than a day."""
    auckland, honolulu = "Pacific/Auckland", "Pacific/Honolulu"
    clock.move_to(at("2026-11-21T10:00:00", honolulu))
    too_soon, right = uuid4(), uuid4()
    pushed(
        ben,
        item("session", uuid4(), 1,
             session_at(at("2026-11-20T08:00:00", auckland), auckland, **exercise())),
        item("session", uuid4(), 1,
             session_at(at("2026-11-20T06:00:00", honolulu), honolulu, **exercise())),
        item("check_in", too_soon, 1, check_in_at(at("2026-11-20T09:00:00", honolulu), honolulu)),
        item("check_in", right, 1, check_in_at(at("2026-11-21T07:00:00", honolulu), honolulu)),
    )  # fmt: skip
    assert rated(ben, too_soon, right) == [None, "2026-11-20"]


# --- The plan and the calendar -----------------------------------------------------------------


def test_a_plan_is_made_of_days_whatever_the_clocks_do(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    days = ben.plan(**{"from": "2026-11-19"}, days=28)["days"]
    assert [day["date"] for day in days] == [
        (date(2026, 11, 19) + timedelta(days=n)).isoformat() for n in range(28)
    ]
    slots = [slot["slot_id"] for day in days for slot in day["slots"]]
    ben.patient.timezone = "Australia/Lord_Howe"
    ben.patient.save()
    moved = ben.plan(**{"from": "2026-11-19"}, days=28)["days"]
    assert [slot["slot_id"] for day in moved for slot in day["slots"]] == slots


def test_a_day_is_missed_once_it_has_closed_and_the_phone_was_heard_since(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    def status() -> str:
        return str(ben.slot(date(2026, 11, 19))["status"])

    for moment, expected in (
        ("2026-11-20T11:59:59", "due"),
        ("2026-11-20T12:00:00", "not_heard"),
        ("2026-11-25T12:00:00", "not_heard"),
    ):
        clock.move_to(at(moment))
        assert status() == expected
    ben.put(f"me/check-ins/{uuid4()}", {**check_in_at(timezone.now()), "revision": 1}, 201)
    assert status() == "missed"


def test_the_plan_is_current_until_something_it_shows_changes(
    ben: OwnPhone, plan_of_ben: Any, clock: time_machine.Traveller
) -> None:
    path = "me/plan?from=2026-11-19&days=3"

    def tag() -> str:
        return str(ben.call("GET", path)["ETag"])

    first = tag()
    clock.move_to(at("2026-11-20T11:59:59"))
    assert ben.call("GET", path, If_None_Match=first).status_code == 304
    clock.move_to(at("2026-11-20T12:00:00"))
    closed = tag()
    assert closed != first
    ben.put(f"me/check-ins/{uuid4()}", {**check_in_at(timezone.now()), "revision": 1}, 201)
    assert tag() != closed
