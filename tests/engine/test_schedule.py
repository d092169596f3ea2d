"""When a reminder fires, and when it is quiet: by name, and in every zone around every change.

What is expected comes from watching the local clock minute by minute. `-m campaign` watches it
through all of 2024 to 2030, not only in the days around changes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from itertools import chain, pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest

from backend.notifications.schedule import (
    EVERY_DAY,
    Fire,
    fire_on,
    fires_between,
    in_quiet_hours,
    next_fire,
    quiet_ends,
)

A_SECOND, A_MINUTE = timedelta(seconds=1), timedelta(minutes=1)
AN_HOUR, A_DAY = timedelta(hours=1), timedelta(days=1)
SATURDAY = frozenset({5})


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# --- By name ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("zone", "local", "utc"),
    [
        pytest.param("UTC", "2026-05-01 08:00", "2026-05-01 08:00", id="no clock changes"),
        pytest.param("Asia/Kathmandu", "2026-05-01 00:15", "2026-04-30 18:30", id="5:45 ahead"),
        # Forward from 02:00 to 03:00
        pytest.param("Europe/Stockholm", "2026-03-29 01:59", "2026-03-29 00:59", id="before a gap"),
        pytest.param("Europe/Stockholm", "2026-03-29 02:00", "2026-03-29 01:00", id="a gap begins"),
        pytest.param("Europe/Stockholm", "2026-03-29 02:30", "2026-03-29 01:00", id="in a gap"),
        pytest.param("Europe/Stockholm", "2026-03-29 03:00", "2026-03-29 01:00", id="a gap ends"),
        pytest.param("Europe/Stockholm", "2026-03-29 03:01", "2026-03-29 01:01", id="after a gap"),
        pytest.param("America/New_York", "2026-03-08 02:30", "2026-03-08 07:00", id="in New York"),
        # Back from 03:00 to 02:00, and from 02:00 to 01:00
        pytest.param("Europe/Stockholm", "2026-10-25 02:30", "2026-10-25 00:30", id="doubled"),
        pytest.param("Europe/Stockholm", "2026-10-25 02:00", "2026-10-25 00:00", id="from here on"),
        pytest.param("Europe/Stockholm", "2026-10-25 03:00", "2026-10-25 02:00", id="to here"),
        pytest.param("America/New_York", "2026-11-01 01:30", "2026-11-01 05:30", id="twice there"),
        # Half an hour, two hours, and three quarters past
        pytest.param("Australia/Lord_Howe", "2026-10-04 02:15", "2026-10-03 15:30", id="half gap"),
        pytest.param("Australia/Lord_Howe", "2026-04-05 01:45", "2026-04-04 14:45", id="half fold"),
        pytest.param("Antarctica/Troll", "2026-03-29 02:59", "2026-03-29 01:00", id="two hours"),
        pytest.param("Pacific/Chatham", "2026-09-27 03:00", "2026-09-26 14:00", id="Chatham gap"),
        pytest.param("Pacific/Chatham", "2026-04-05 03:00", "2026-04-04 13:15", id="Chatham fold"),
        # Nuuk goes from 23:00 to midnight, and from midnight to 23:00
        pytest.param("America/Nuuk", "2026-03-27 23:30", "2026-03-28 01:30", id="Nuuk: day before"),
        pytest.param("America/Nuuk", "2026-03-28 23:30", "2026-03-29 01:00", id="Nuuk: next day"),
        pytest.param("America/Nuuk", "2026-03-29 00:00", "2026-03-29 01:00", id="Nuuk: midnight"),
        pytest.param("America/Nuuk", "2026-03-29 23:30", "2026-03-30 00:30", id="Nuuk: day after"),
        pytest.param("America/Nuuk", "2026-10-24 23:30", "2026-10-25 00:30", id="Nuuk: doubled"),
        pytest.param("America/Nuuk", "2026-10-25 00:00", "2026-10-25 02:00", id="Nuuk: once"),
        # Ramadan
        pytest.param("Africa/Casablanca", "2026-02-15 02:30", "2026-02-15 01:30", id="its start"),
        pytest.param("Africa/Casablanca", "2026-03-01 02:30", "2026-03-01 02:30", id="Ramadan"),
        pytest.param("Africa/Casablanca", "2026-03-22 02:30", "2026-03-22 02:00", id="its end"),
        # At midnight
        pytest.param("Africa/Cairo", "2026-04-24 00:00", "2026-04-23 22:00", id="no midnight"),
        pytest.param("Africa/Cairo", "2026-04-24 00:30", "2026-04-23 22:00", id="nor half past"),
        pytest.param("Africa/Cairo", "2026-10-29 23:30", "2026-10-29 20:30", id="Cairo: doubled"),
        pytest.param("Africa/Cairo", "2026-10-30 00:00", "2026-10-29 22:00", id="Cairo: once"),
        pytest.param("Asia/Beirut", "2026-03-29 00:30", "2026-03-28 22:00", id="Beirut: missing"),
        pytest.param("Asia/Beirut", "2026-10-24 23:30", "2026-10-24 20:30", id="Beirut: doubled"),
        pytest.param("America/Santiago", "2026-09-06 00:15", "2026-09-06 04:00", id="Santiago"),
        pytest.param("America/Havana", "2026-03-08 00:59", "2026-03-08 05:00", id="Havana"),
        pytest.param("America/St_Johns", "2000-10-29 00:00", "2000-10-29 02:30", id="at 00:01"),
        # Across the date line: a whole day missing, and one that was lived twice
        pytest.param("Pacific/Apia", "2011-12-30 00:00", "2011-12-30 10:00", id="no such day"),
        pytest.param("Pacific/Apia", "2011-12-30 12:00", "2011-12-30 10:00", id="nor its noon"),
        pytest.param("Pacific/Apia", "2011-12-31 00:00", "2011-12-30 10:00", id="the day after it"),
        pytest.param("Pacific/Kwajalein", "1969-09-30 12:00", "1969-09-30 01:00", id="two noons"),
    ],
)  # fmt: skip
def test_when_it_fires(zone: str, local: str, utc: str) -> None:
    wall = datetime.fromisoformat(local)
    fire = fire_on(wall.time(), ZoneInfo(zone), wall.date())
    assert (fire, fire.tzinfo) == (at(utc), UTC)
    assert fire_on(wall.time().replace(fold=1), ZoneInfo(zone), wall.date()) == fire


def test_to_the_second_and_below() -> None:
    stockholm, on = ZoneInfo("Europe/Stockholm"), date(2026, 3, 29)
    assert fire_on(time(2, 30, 59, 999), stockholm, on) == at("2026-03-29 01:00")
    assert fire_on(time(3, 0, 59, 999), stockholm, on) == at("2026-03-29 01:00:59.000999")


def test_a_fire_past_midnight_is_of_the_day_before() -> None:
    nuuk, late = ZoneInfo("America/Nuuk"), time(23, 30)
    saturday = Fire(at("2026-03-29 01:00"), date(2026, 3, 28))
    assert saturday.at.astimezone(nuuk).date() == date(2026, 3, 29)
    assert next_fire(late, nuuk, at("2026-03-28 12:00"), SATURDAY) == saturday
    assert next_fire(late, nuuk, saturday.at, SATURDAY).on == date(2026, 4, 4)
    assert next_fire(late, nuuk, saturday.at).on == date(2026, 3, 29)


def test_two_days_at_one_instant() -> None:
    """Both are among those between; the next one is the earlier of them, and then a later one."""
    apia, midnight, moved = ZoneInfo("Pacific/Apia"), time(), at("2011-12-30 10:00")
    both = [Fire(moved, date(2011, 12, 30)), Fire(moved, date(2011, 12, 31))]
    assert fires_between(midnight, apia, moved - A_SECOND, moved) == both
    assert fires_between(midnight, apia, moved, moved + AN_HOUR) == []
    assert next_fire(midnight, apia, moved - A_SECOND) == both[0]
    assert next_fire(midnight, apia, moved).on == date(2012, 1, 1)
    assert both[0] < both[1]


def test_strictly_after_and_up_to() -> None:
    fire = Fire(at("2026-05-01 06:00"), date(2026, 5, 1))
    asked = time(8), ZoneInfo("Europe/Stockholm")
    assert next_fire(*asked, fire.at - A_SECOND) == fire
    assert next_fire(*asked, fire.at) == Fire(fire.at + A_DAY, date(2026, 5, 2))
    assert fires_between(*asked, fire.at - A_SECOND, fire.at) == [fire]
    assert fires_between(*asked, fire.at - A_SECOND, fire.at - A_SECOND) == []
    assert fires_between(*asked, fire.at, fire.at + A_SECOND) == []
    assert fires_between(*asked, fire.at + A_DAY, fire.at) == []


@pytest.mark.parametrize("day", range(7))
def test_one_day_of_the_week(day: int) -> None:
    """Monday is 0, and the day that counts is the local one."""
    kathmandu, monday = ZoneInfo("Asia/Kathmandu"), date(2026, 5, 4)
    start = at("2026-05-03 12:00")
    [fire] = fires_between(time(0, 15), kathmandu, start, start + 7 * A_DAY, frozenset({day}))
    assert fire.on == monday + day * A_DAY
    assert fire == next_fire(time(0, 15), kathmandu, start, frozenset({day}))


@pytest.mark.parametrize("days", [frozenset(), frozenset({7}), EVERY_DAY | {-1}])
def test_days_that_are_none(days: frozenset[int]) -> None:
    with pytest.raises(ValueError, match="not weekdays"):
        next_fire(time(8), ZoneInfo("UTC"), at("2026-05-01"), days)


@pytest.mark.parametrize("fold", [0, 1])
def test_an_instant_may_be_written_in_any_zone(fold: int) -> None:
    """Even as a time that its zone does not have, on a day that it does not have."""
    apia = ZoneInfo("Pacific/Apia")
    asked = datetime(2011, 12, 30, 12, tzinfo=apia, fold=fold)
    expected = next_fire(time(23), apia, asked.astimezone(UTC))
    assert next_fire(time(23), apia, asked) == expected
    assert expected.on == date(2011, 12, 29 if fold else 31)


NIGHT, NEVER = (time(22), time(7)), (time(8), time(8))


@pytest.mark.parametrize(
    ("zone", "utc", "quiet", "ends"),
    [
        pytest.param("UTC", "2026-05-01 21:59", NIGHT, None, id="before"),
        pytest.param("UTC", "2026-05-01 22:00", NIGHT, "2026-05-02 07:00", id="from its first"),
        pytest.param("UTC", "2026-05-02 00:00", NIGHT, "2026-05-02 07:00", id="at midnight"),
        pytest.param("UTC", "2026-05-02 06:59", NIGHT, "2026-05-02 07:00", id="to its last"),
        pytest.param("UTC", "2026-05-02 07:00", NIGHT, None, id="not its end"),
        pytest.param("UTC", "2026-05-02 06:59:59.9", NIGHT, "2026-05-02 07:00", id="just before"),
        pytest.param("UTC", "2026-05-02 01:00", (time(1), time(1, 0, 0, 500_000)),
                     "2026-05-02 01:00:00.500", id="half a second"),
        pytest.param("UTC", "2026-05-02 08:00", NEVER, None, id="equal is never"),
        pytest.param("UTC", "2026-05-02 13:00", (time(13), time(14)), "2026-05-02 14:00", id="day"),
        pytest.param("UTC", "2026-05-02 14:00", (time(13), time(14)), None, id="after the day's"),
        pytest.param("UTC", "2026-05-02 23:00", (time(22), time()), "2026-05-03", id="until 0"),
        pytest.param("UTC", "2026-05-02 03:00", (time(), time(6)), "2026-05-02 06:00", id="from 0"),
        pytest.param("Asia/Tokyo", "2026-05-01 13:00", NIGHT, "2026-05-01 22:00", id="Tokyo"),
        pytest.param("Europe/Stockholm", "2026-03-28 21:00", NIGHT, "2026-03-29 05:00", id="short"),
        pytest.param("Europe/Stockholm", "2026-10-24 20:00", NIGHT, "2026-10-25 06:00", id="long"),
        pytest.param("Europe/Stockholm", "2026-03-29 00:10:00.5", (time(1), time(2, 30)),
                     "2026-03-29 01:00", id="its end is missing"),
        pytest.param("Europe/Stockholm", "2026-10-25 00:10", (time(1), time(2, 30)),
                     "2026-10-25 00:30", id="its end comes twice"),
        pytest.param("Europe/Stockholm", "2026-10-25 01:10", (time(1), time(2, 30)),
                     "2026-10-25 01:30", id="and so does it"),
        pytest.param("Europe/Stockholm", "2026-10-25 00:50", (time(2, 15), time(4)),
                     "2026-10-25 01:00", id="clocks go back out of it"),
        pytest.param("Pacific/Apia", "2011-12-30 09:00", NIGHT, "2011-12-30 17:00", id="no day"),
    ],
)  # fmt: skip
def test_quiet_hours(zone: str, utc: str, quiet: tuple[time, time], ends: str | None) -> None:
    assert in_quiet_hours(at(utc), ZoneInfo(zone), *quiet) is (ends is not None)
    end = quiet_ends(at(utc).astimezone(ZoneInfo(zone)), ZoneInfo(zone), *quiet)
    assert (end, end.tzinfo) == (at(ends or utc), UTC)


# --- In every zone ----------------------------------------------------------------------------

FIRST, LAST = date(2024, 1, 1), date(2030, 12, 31)
TIMES = [
    time.fromisoformat(text)
    for text in ("00:00", "00:15", "00:30", "01:30", "02:00", "02:30", "03:00",
                 "12:00", "23:30", "23:59")
]  # fmt: skip
QUIET = [
    (time.fromisoformat(start), time.fromisoformat(end))
    for start, end in (("22:00", "07:00"), ("00:00", "02:30"), ("02:15", "04:00"),
                       ("23:30", "00:30"), ("01:10", "02:05"), ("12:00", "12:00"))
]  # fmt: skip
YEARS = [pytest.param(year, marks=pytest.mark.campaign) for year in range(2024, 2031)]
EVERY = [(25, 2), pytest.param(5, None, marks=pytest.mark.campaign)]

Since = tuple[datetime, timedelta | None]  # since when which offset
History = tuple[Since, ...]
Wall = tuple[int, int, int]  # day of the month, hour and minute
Watched = list[tuple[datetime, Wall]]


@cache
def clocks(step: timedelta = 3 * A_DAY) -> dict[History, list[str]]:
    """All zones there are, by what their clocks show from 2024 to 2030, looked at now and then."""
    start = datetime.combine(FIRST - A_DAY, time(), UTC)
    looks = [start + n * step for n in range((LAST - FIRST + 3 * A_DAY) // step + 1)]
    found: dict[History, list[str]] = {}
    for name in sorted(available_timezones()):
        found.setdefault(tuple(history(ZoneInfo(name), looks)), []).append(name)
    return found


def history(zone: ZoneInfo, looks: list[datetime]) -> Iterator[Since]:
    """The first offset, and every change to another, to the minute."""
    offsets = [look.astimezone(zone).utcoffset() for look in looks]
    yield looks[0], offsets[0]
    for (look, before), (later, after) in pairwise(zip(looks, offsets, strict=True)):
        if before != after:
            minutes = bisect_left(
                range((later - look) // A_MINUTE),
                True,
                key=lambda n: (look + n * A_MINUTE).astimezone(zone).utcoffset() == after,
            )
            yield look + minutes * A_MINUTE, after


def changes() -> Iterator[tuple[ZoneInfo, list[tuple[date, date]]]]:
    """One zone of each sort, and the local days before and after each change of its clock."""
    for (_, *since), (name, *_) in clocks().items():
        zone = ZoneInfo(name)
        before = [(at_ - A_MINUTE).astimezone(zone).date() for at_, _ in since] or [FIRST]
        yield zone, [(on, on + A_DAY) for on in before]


def watch(zone: ZoneInfo, first: date, last: date) -> Watched:
    """The local clock, minute by minute, from before one local day until after another."""
    start = datetime.combine(first, time(), zone).astimezone(UTC) - 3 * AN_HOUR
    end = datetime.combine(last + A_DAY, time(), zone).astimezone(UTC) + 3 * AN_HOUR
    watched = []
    for n in range((end - start) // A_MINUTE):
        utc = start + n * A_MINUTE
        local = utc.astimezone(zone)
        watched.append((utc, (local.day, local.hour, local.minute)))
    return watched


def seen(shown: dict[Wall, datetime], wall: datetime) -> datetime:
    """When the clock first shows a time; if it never does, the first one after it that it shows."""
    while (wall.day, wall.hour, wall.minute) not in shown:
        wall += A_MINUTE
    return shown[wall.day, wall.hour, wall.minute]


def check_fires(zone: ZoneInfo, first: date, last: date) -> None:
    """Each day once and at its instant, from wherever one asks."""
    shown = {wall: utc for utc, wall in reversed(watch(zone, first, last))}
    dates = [first + n * A_DAY for n in range((last - first).days + 1)]
    for at_ in TIMES:
        fires = [Fire(seen(shown, datetime.combine(on, at_)), on) for on in dates]
        asked = f"{zone} at {at_}"
        assert [Fire(fire_on(at_, zone, on), on) for on in dates] == fires, asked

        start, end = fires[0].at - AN_HOUR, fires[-1].at
        assert fires_between(at_, zone, start, end) == fires, asked
        around = (-AN_HOUR, -A_SECOND, timedelta(), A_SECOND, 50 * A_MINUTE, 9 * AN_HOUR)
        instants = sorted({min(fire.at + by, end) for fire in fires for by in around})
        parts = [fires_between(at_, zone, *part) for part in pairwise(instants)]
        assert [*chain(*parts)] == fires, asked
        for instant in instants[:-1]:
            following = next(fire for fire in fires if fire.at > instant)
            assert next_fire(at_, zone, instant) == following, f"{asked}, from {instant}"


def check_quiet(zone: ZoneInfo, first: date, last: date, every: int) -> None:
    """Quiet is what lies between two times on the dial, and it ends at the first that does not."""
    watched = watch(zone, first, last)
    for start, end in QUIET:
        length = (minute_of(end) - minute_of(start)) % 1440
        dial = {(minute_of(start) + n) % 1440 for n in range(length)}
        ends = None
        for n, (utc, (_, hour, minute)) in enumerate(reversed(watched)):
            quiet = hour * 60 + minute in dial
            ends = ends if quiet else utc
            if ends and n % every == 0:
                asked = f"{zone}, {start} to {end}, at {utc}"
                assert in_quiet_hours(utc, zone, start, end) is quiet, asked
                assert quiet_ends(utc, zone, start, end) == ends, asked


def minute_of(at_: time) -> int:
    return at_.hour * 60 + at_.minute


def test_all_zones_are_asked() -> None:
    found = clocks()
    assert sorted(chain(*found.values())) == sorted(available_timezones())
    assert len(available_timezones()) > 590
    assert sum(map(len, found)) - len(found) > 400


@pytest.mark.campaign
def test_looking_every_hour_finds_no_other_changes() -> None:
    assert clocks(AN_HOUR) == clocks()


def test_every_fire_around_every_change() -> None:
    for zone, days in changes():
        for first, last in days:
            check_fires(zone, first, last)


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        pytest.param("Pacific/Apia", date(2011, 12, 28), date(2012, 1, 2), id="no 30 December"),
        pytest.param("Pacific/Kwajalein", date(1993, 8, 19), date(1993, 8, 23), id="no 21 August"),
        pytest.param("Pacific/Kwajalein", date(1969, 9, 28), date(1969, 10, 2), id="lived twice"),
        pytest.param("America/St_Johns", date(2000, 10, 28), date(2000, 10, 30), id="at 00:01"),
        pytest.param("Asia/Pyongyang", date(2018, 5, 3), date(2018, 5, 6), id="the last half hour"),
    ],
)
def test_every_fire_around_what_was_odd(name: str, first: date, last: date) -> None:
    check_fires(ZoneInfo(name), first, last)


@pytest.mark.parametrize("year", YEARS)
def test_every_fire_of_a_year(year: int) -> None:
    for zone, _ in changes():
        for n in range(0, 366, 20):
            first = date(year, 1, 1) + n * A_DAY
            check_fires(zone, first, first + 20 * A_DAY)


@pytest.mark.parametrize(("every", "most"), EVERY)
def test_quiet_hours_around_changes(every: int, most: int | None) -> None:
    for zone, days in changes():
        for first, last in days[:most]:
            check_quiet(zone, first, last, every)
