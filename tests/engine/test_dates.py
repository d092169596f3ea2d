"""Which date something belongs to (protocols.md section 7)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from protocols.engine.dates import closes_at, hours_of, is_cut_short, rated_days
from tests.builders import numbers

ON = date(2026, 3, 10)
BEGAN = datetime(2026, 3, 10, 18, tzinfo=UTC)


@pytest.mark.parametrize(
    ("on", "begun", "ended", "hours"),
    [
        pytest.param(ON, "Europe/London", "Europe/London", 24, id="at home"),
        pytest.param(ON, "Europe/London", "Asia/Tokyo", 15, id="east"),
        pytest.param(ON, "Asia/Tokyo", "Europe/London", 33, id="west"),
        pytest.param(ON, "Europe/London", "Asia/Dubai", 20, id="a little east"),
        pytest.param(date(2026, 3, 29), "Europe/London", "Europe/London", 23, id="clocks forward"),
        pytest.param(date(2026, 10, 25), "Europe/London", "Europe/London", 25, id="clocks back"),
        pytest.param(ON, "Pacific/Auckland", "Pacific/Honolulu", 47, id="lived twice"),
        pytest.param(ON, "Pacific/Honolulu", "Pacific/Auckland", 1, id="hardly lived"),
    ],
)
def test_hours_of_a_local_date(on: date, begun: str, ended: str, hours: int) -> None:
    zones = ZoneInfo(begun), ZoneInfo(ended)
    assert hours_of(on, *zones) == hours
    assert is_cut_short(on, *zones, numbers()) is (hours < 18)


def test_eighteen_hours_are_a_date() -> None:
    zones = ZoneInfo("Etc/GMT"), ZoneInfo("Etc/GMT-6")
    assert hours_of(ON, *zones) == 18
    assert not is_cut_short(ON, *zones, numbers())


def test_a_rating_is_awaited_until_noon_of_the_next_date() -> None:
    madrid = ZoneInfo("Europe/Madrid")
    assert closes_at(date(2026, 3, 28), madrid, numbers()) == datetime(2026, 3, 29, 10, tzinfo=UTC)


@pytest.mark.parametrize(("hours", "rates"), [(5.9, False), (6, True), (30, True), (30.1, False)])
def test_a_rating_six_to_thirty_hours_later(hours: float, rates: bool) -> None:
    at = BEGAN + timedelta(hours=hours)
    assert rated_days({ON: BEGAN}, [at], numbers()) == ({at: ON} if rates else {})


def test_the_latest_unrated_session_day() -> None:
    yesterday = ON - timedelta(days=1)
    begun = {yesterday: BEGAN - timedelta(hours=20), ON: BEGAN}
    first, second = BEGAN + timedelta(hours=7), BEGAN + timedelta(hours=9)
    assert rated_days(begun, [second, first], numbers()) == {first: ON, second: yesterday}
