"""Each reason for silence and for sending, and which one is told where several fit."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from itertools import combinations
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backend.notifications.models import Message
from backend.notifications.verdict import Facts, Verdict, Wishes, verdict

STOCKHOLM = ZoneInfo("Europe/Stockholm")
NOW = datetime(2026, 11, 18, 17, 5, tzinfo=UTC)  # 18:05 in Stockholm, a Wednesday
TODAY, YESTERDAY = date(2026, 11, 18), date(2026, 11, 17)
QUIET_NOW = (time(18), time(7))

WISHES: dict[str, Any] = {
    "enabled": True, "weekly_summary": True, "paused_until": None, "quiet": None,
    "channels": frozenset({"push"}),
}  # fmt: skip
FACTS: dict[str, Any] = {
    "is_reachable": True, "zone": STOCKHOLM, "day_type": "training", "due": 2, "addresses": 1,
}  # fmt: skip


def message(kind: str = "exercises", **said: Any) -> Message:
    """A message whose time has just come."""
    usual: dict[str, Any] = {
        "on": TODAY, "due_at": NOW - timedelta(minutes=5), "valid_until": NOW + timedelta(hours=2),
    }  # fmt: skip
    return Message(**usual | {"kind": kind, "slot": "18:00"} | said)


def facts(**said: Any) -> Facts:
    """A plan with two slots, nothing done yet, and one phone; unless said otherwise."""
    wished = {name: said.pop(name) for name in WISHES.keys() & said.keys()}
    return Facts(**FACTS | {"wishes": Wishes(**WISHES | wished)} | said)


def found(kind: str, *, of: dict[str, Any] | None = None, **said: Any) -> Verdict:
    return verdict(message(kind, **(of or {})), facts(**said), NOW)


# --- Each reason ------------------------------------------------------------------------------

SENT = [
    pytest.param("exercises", {}, {}, "due", id="nothing is done yet"),
    pytest.param("exercises", {}, {"done": 1}, "partly_done", id="one of two is done"),
    pytest.param("exercises", {}, {"is_logged": True}, "due", id="only begun"),
    pytest.param("exercises", {"why": "snoozed"}, {}, "snoozed", id="put off"),
    pytest.param("exercises", {"valid_until": NOW}, {}, "due", id="in its last moment"),
    pytest.param("exercises", {}, {"paused_until": YESTERDAY}, "due", id="the pause is over"),
    pytest.param("exercises", {}, {"weekly_summary": False}, "due", id="another wish"),
    pytest.param(
        "exercises", {}, {"quiet": (time(21), time(7))}, "due", id="the quiet hours are to come"
    ),
    pytest.param(
        "exercises", {}, {"quiet": (time(7), time(18, 5))}, "due", id="the quiet hours just ended"
    ),
    pytest.param("exercises", {}, {"quiet": QUIET_NOW, "zone": None}, "due", id="no clock to ask"),
    pytest.param("nudge", {}, {}, "due", id="still nothing is logged"),
    pytest.param("check_in", {}, {}, "due", id="no check-in yet"),
    pytest.param("check_in", {}, {"day_type": "paused"}, "due", id="a check-in in a pause"),
    pytest.param("check_in", {}, {"day_type": "rest", "due": 0}, "due", id="and on a rest day"),
    pytest.param("patient_week", {}, {"enabled": False}, "asked", id="the week alone"),
    pytest.param("patient_week", {}, {"is_stopped": True}, "asked", id="a week with a stop in it"),
    pytest.param("plan_changed", {}, {"wishes": None}, "asked", id="news without wishes"),
    pytest.param("plan_changed", {}, {"enabled": False}, "asked", id="news without reminders"),
    pytest.param("missed", {}, {"paused_until": TODAY}, "asked", id="missed, and paused since"),
    pytest.param("review", {}, {"wishes": None}, "asked", id="for staff"),
    pytest.param("flag", {}, {"quiet": QUIET_NOW}, "asked", id="a flag knows no quiet hours"),
]

SILENT = [
    pytest.param("exercises", {}, {"is_reachable": False}, "ended", id="the account is closed"),
    pytest.param("flag", {}, {"is_reachable": False}, "ended", id="a colleague has left"),
    pytest.param("flag", {}, {"is_handled": True}, "handled", id="the flag was acknowledged"),
    pytest.param(
        "exercises", {"valid_until": NOW - timedelta(seconds=1)}, {}, "expired", id="too late"
    ),
    pytest.param("exercises", {}, {"wishes": None}, "off", id="nothing was wished"),
    pytest.param("exercises", {}, {"enabled": False}, "off", id="reminders are off"),
    pytest.param("patient_week", {}, {"weekly_summary": False}, "off", id="the week is off"),
    pytest.param("exercises", {}, {"paused_until": TODAY}, "paused", id="the patient's own pause"),
    pytest.param("exercises", {}, {"is_stopped": True}, "stopped", id="a stop stands"),
    pytest.param("check_in", {}, {"is_stopped": True}, "stopped", id="of check-ins, too"),
    pytest.param("exercises", {}, {"day_type": "none"}, "resting", id="no plan"),
    pytest.param("check_in", {}, {"day_type": "none"}, "resting", id="no plan to check in for"),
    pytest.param("exercises", {}, {"day_type": "paused"}, "paused", id="the plan is paused"),
    pytest.param("exercises", {}, {"day_type": "rest", "due": 0}, "resting", id="a rest day"),
    pytest.param("exercises", {}, {"done": 2}, "done", id="all is done"),
    pytest.param("exercises", {}, {"done": 3}, "done", id="more than all"),
    pytest.param("nudge", {}, {"is_logged": True}, "done", id="no nudge where something is logged"),
    pytest.param("check_in", {}, {"is_checked_in": True}, "done", id="checked in already"),
    pytest.param("exercises", {}, {"quiet": QUIET_NOW}, "quiet", id="quiet by now"),
    pytest.param(
        "exercises", {"why": "snoozed"}, {"quiet": QUIET_NOW}, "quiet", id="put off into it"
    ),
    pytest.param("plan_changed", {}, {"quiet": QUIET_NOW}, "quiet", id="quiet until it is old"),
    pytest.param(
        "exercises", {}, {"addresses": 0, "channels": frozenset({"local", "push"})}, "local",
        id="the phone shows it by itself",
    ),
    pytest.param("exercises", {}, {"addresses": 0}, "no_channel", id="no phone"),
    pytest.param("review", {}, {"addresses": 0, "wishes": None}, "no_channel", id="no address"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "of", "said", "why"), SENT)
def test_it_is_sent(kind: str, of: dict[str, Any], said: dict[str, Any], why: str) -> None:
    assert found(kind, of=of, **said) == Verdict(True, Message.Why(why))


@pytest.mark.parametrize(("kind", "of", "said", "why"), SILENT)
def test_it_is_silent(kind: str, of: dict[str, Any], said: dict[str, Any], why: str) -> None:
    assert found(kind, of=of, **said) == Verdict(False, Message.Why(why))


@pytest.mark.parametrize("kind", ["plan_changed", "missed", "patient_week"])
def test_news_waits_for_the_end_of_the_quiet_hours(kind: str) -> None:
    ends = datetime(2026, 11, 19, 7, tzinfo=STOCKHOLM)
    for last, again_at in ((ends, ends), (ends - timedelta(seconds=1), None)):
        told = found(kind, of={"valid_until": last}, quiet=QUIET_NOW)
        assert told == Verdict(False, Message.Why.QUIET, again_at)


def test_every_reason_has_a_row() -> None:
    """But those that are not found here: what a provider refused, and what is set aside."""
    rows = {row.values[3] for row in [*SENT, *SILENT]}

    assert set(Message.Why.values) - rows == {"refused", "quarantined"}


# --- The first one wins -----------------------------------------------------------------------

# Of a reminder, in the order in which they are told: what makes it so, and of which kind.
ORDER: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("ended", "nobody to be reached", {}, {"is_reachable": False}),
    ("handled", "dealt with", {}, {"is_handled": True}),
    ("expired", "too late", {"valid_until": NOW - timedelta(hours=1)}, {}),
    ("off", "switched off", {}, {"enabled": False}),
    ("paused", "the patient's pause", {}, {"paused_until": TODAY}),
    ("stopped", "a stop", {}, {"is_stopped": True}),
    ("paused", "the plan's pause", {}, {"day_type": "paused"}),
    ("resting", "nothing due", {}, {"due": 0}),
    ("done", "done", {}, {"is_logged": True}),
    ("quiet", "quiet hours", {}, {"quiet": QUIET_NOW}),
    ("no_channel", "no address", {}, {"addresses": 0}),
]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        pytest.param(first, second, id=f"{first[1]} before {second[1]}")
        for first, second in combinations(ORDER, 2)
    ],
)
def test_of_two_reasons_the_first_is_told(first: Any, second: Any) -> None:
    both = found("nudge", of=second[2] | first[2], **second[3] | first[3])

    assert (both.is_sent, both.why) == (False, first[0])


def test_of_all_reasons_the_first_is_told() -> None:
    """Taken away one after the other, each comes to its turn, and at last it is sent."""
    for count in range(len(ORDER) + 1):
        of: dict[str, Any] = {}
        said: dict[str, Any] = {}
        for _, _, more_of, more in ORDER[count:]:
            of |= more_of
            said |= more
        told = found("nudge", of=of, **said)
        assert told.why == (ORDER[count][0] if count < len(ORDER) else "due")
        assert told.is_sent == (count == len(ORDER))


def test_without_a_plan_comes_before_what_the_day_asks_for() -> None:
    for kind, said in (
        ("check_in", {"is_checked_in": True}), ("exercises", {"due": 1, "done": 1}),
    ):  # fmt: skip
        assert found(kind, day_type="none", **said).why == "resting"
        assert found(kind, day_type="none", is_stopped=True, **said).why == "stopped"
