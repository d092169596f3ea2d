"""Whether a message is sent, when it comes to it: a function of facts, its reasons in one order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time
from zoneinfo import ZoneInfo

from backend.notifications.models import Message
from backend.notifications.schedule import in_quiet_hours, quiet_ends

Kind = Message.Kind
Why = Message.Why

REMINDERS = frozenset({Kind.EXERCISES, Kind.NUDGE, Kind.CHECK_IN})
OF_SETTINGS = REMINDERS | {Kind.PATIENT_WEEK}
TO_PATIENTS = OF_SETTINGS | {Kind.PLAN_CHANGED, Kind.MISSED}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a patient has set, as far as a message depends on it."""

    enabled: bool
    weekly_summary: bool
    paused_until: date | None
    quiet: tuple[time, time] | None
    channels: frozenset[str]


@dataclass(frozen=True, slots=True)
class Facts:
    """What is so when a message comes up. `due`, `done` and `logged` are of the day it is for."""

    is_reachable: bool  # an account that is open, and a patient who agrees to be written to
    is_handled: bool = False  # what a message to staff is about
    wishes: Wishes | None = None
    zone: ZoneInfo | None = None
    is_stopped: bool = False
    day_type: str = ""
    due: int = 0
    done: int = 0
    is_logged: bool = False
    is_checked_in: bool = False
    addresses: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """To send it, to be silent, or, with `again_at`, to look again later; and why."""

    is_sent: bool
    why: Why
    again_at: datetime | None = None


def verdict(message: Message, facts: Facts, now: datetime) -> Verdict:
    """The first reason for silence that fits; without one it is sent."""
    if not facts.is_reachable:
        return Verdict(False, Why.ENDED)
    if facts.is_handled:
        return Verdict(False, Why.HANDLED)
    if now > message.valid_until:
        return Verdict(False, Why.EXPIRED)
    silence = _of_settings(message, facts) if message.kind in OF_SETTINGS else None
    if silence is None and message.kind in REMINDERS:
        silence = _of_the_day(message, facts)
    if silence is not None:
        return Verdict(False, silence)
    if quiet := _quiet_until(message, facts, now):
        return quiet
    if not facts.addresses:
        is_local = facts.wishes is not None and "local" in facts.wishes.channels
        return Verdict(False, Why.LOCAL if is_local else Why.NO_CHANNEL)
    return Verdict(True, _reason(message, facts))


def _of_settings(message: Message, facts: Facts) -> Why | None:
    wishes = facts.wishes
    if wishes is None:
        return Why.OFF
    if message.kind == Kind.PATIENT_WEEK:
        return None if wishes.weekly_summary else Why.OFF
    if not wishes.enabled:
        return Why.OFF
    if wishes.paused_until is not None and message.on <= wishes.paused_until:
        return Why.PAUSED
    return None


def _of_the_day(message: Message, facts: Facts) -> Why | None:
    if facts.is_stopped:
        return Why.STOPPED
    if facts.day_type == "none":
        return Why.RESTING
    if message.kind == Kind.CHECK_IN:
        return Why.DONE if facts.is_checked_in else None
    if facts.day_type == "paused":
        return Why.PAUSED
    if not facts.due:
        return Why.RESTING
    if facts.done >= facts.due or (message.kind == Kind.NUDGE and facts.is_logged):
        return Why.DONE
    return None


def _quiet_until(message: Message, facts: Facts, now: datetime) -> Verdict | None:
    """What the patient picked a time for is late by now, and not shown; news waits for the end."""
    wishes, zone = facts.wishes, facts.zone
    if message.kind not in TO_PATIENTS or wishes is None or wishes.quiet is None or zone is None:
        return None
    if not in_quiet_hours(now, zone, *wishes.quiet):
        return None
    ends = quiet_ends(now, zone, *wishes.quiet)
    if message.kind in REMINDERS or ends > message.valid_until:
        return Verdict(False, Why.QUIET)
    return Verdict(False, Why.QUIET, again_at=ends)


def _reason(message: Message, facts: Facts) -> Why:
    if message.why == Why.SNOOZED:
        return Why.SNOOZED
    if message.kind not in REMINDERS:
        return Why.ASKED
    return Why.PARTLY_DONE if facts.done else Why.DUE
