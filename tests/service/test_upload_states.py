"""Uploads as a machine: whatever order, split and repeats, the end state is what arrived.

`-m campaign` tries a thousand histories; `--hypothesis-seed=N` repeats a run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
import time_machine
from hypothesis import HealthCheck, Phase, event, given, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from backend.care.models import Change, CheckIn, Flag, Revision, Session
from backend.clinics.models import Patient
from exercises.models import Exercise
from protocols.knowledge import rules
from tests.service.cast import OwnPhone
from tests.service.uploading import (
    PATHS,
    WAYS,
    body_of,
    changes,
    check_in_at,
    follow,
    item,
    pushed,
    replica,
    session_at,
)

SIZES = [12, pytest.param(1000, marks=pytest.mark.campaign)]
TRIED = settings(
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
NOON = datetime(2026, 11, 19, 12, tzinfo=UTC)
ZONES = ["Europe/Stockholm", "Pacific/Kiritimati", "Pacific/Pago_Pago"]
IDS = [UUID(int=n + 1) for n in range(6)]


@pytest.fixture(autouse=True)
def clock() -> Iterator[None]:
    with time_machine.travel(NOON, tick=False):
        yield


@pytest.fixture
def forget(ben: OwnPhone) -> Callable[[], None]:
    """As if Ben had never sent anything."""

    def forgotten() -> None:
        for model in (Change, Flag, Revision, Session, CheckIn):
            model.objects.filter(patient=ben.patient).delete()
        Patient.objects.filter(pk=ben.patient.pk).update(change_seq=0, last_received_at=None)

    return forgotten


# --- Orders and splits (U5) --------------------------------------------------------------------


@st.composite
def data_of(draw: st.DrawFn, kind: str, exercise: str) -> dict[str, Any]:
    """A record of the last days, now and then one that cannot be taken."""
    zone = draw(st.sampled_from(ZONES))
    begun = (NOON - timedelta(hours=draw(st.integers(1, 90)))).astimezone(ZoneInfo(zone))
    beside = timedelta(days=draw(st.sampled_from([0, 0, 0, 1, -1, 9])))
    more: dict[str, Any] = {"local_date": (begun.date() + beside).isoformat()}
    more["stop_signs"] = draw(st.sampled_from([[], [], ["ces_bladder"], ["fever_with_pain"]]))
    if kind == "check_in":
        said = check_in_at(begun, zone, **more)
        if draw(st.integers(0, 5)) == 0:
            del said["pain_now"]
        return said
    done = {"exercise_id": exercise, "state": "done", "sets": [{"reps": 3}]}
    said = session_at(begun, zone, entries=[done], **more)
    match draw(st.sampled_from(["", "", "", "typed in late", "skipped", "popped"])):
        case "typed in late":
            del said["started_at"], said["ended_at"]
            said["recorded_at"] = NOON.isoformat()
        case "skipped":
            said |= {"state": "skipped", "skip_reason": "away"}
        case "popped":
            said["pop_felt"] = True
    return said


@st.composite
def shuffled(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]:
    """Items of a few records, one content a number; and the same anew: moved, repeated, cut."""
    exercise = str(Exercise.objects.filter(clinic=None).values_list("pk", flat=True)[0])
    items = []
    for id in IDS[: draw(st.integers(1, 6))]:
        kind = draw(st.sampled_from(sorted(PATHS)))
        for revision in sorted(draw(st.sets(st.integers(1, 4), min_size=1, max_size=3))):
            withdrawn = draw(st.integers(0, 4)) == 0
            data = None if withdrawn else draw(data_of(kind, exercise))
            items.append(item(kind, id, revision, data))
    again = draw(st.permutations(items + draw(st.lists(st.sampled_from(items), max_size=4))))
    cuts = sorted(draw(st.sets(st.integers(0, len(again)), max_size=4)))
    pieces = [again[a:b] for a, b in zip([0, *cuts], [*cuts, len(again)], strict=True)]
    return items, pieces


def state_of(ben: OwnPhone) -> dict[str, Any]:
    """Everything that can be read from outside, but for when it was received.

    The plan's version counts how often it changed on the way, so it too is left out.
    """
    held, _ = replica(ben)
    shown: dict[str, Any] = {}
    for kind, path in PATHS.items():
        shown[kind] = ben.get(f"{path}?limit=200")["items"]
        for id in IDS:
            answer = ben.call("GET", f"{path}/{id}")
            known = answer.status_code == 200
            shown[f"{kind} {id}"] = body_of(answer) if known else answer.status_code
    shown["feed"] = {key: key[0] == "plan" or held[key] for key in sorted(held)}
    shown["flags"] = sorted(Flag.objects.values_list("code", "occurrences", "status"))
    return {name: _timeless(value) for name, value in shown.items()}


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _timeless(inner) for key, inner in value.items() if key != "received_at"}
    if isinstance(value, list):
        return [_timeless(inner) for inner in value]
    return value


@pytest.mark.parametrize("size", SIZES)
def test_every_order_and_split_ends_in_the_same_state(
    size: int, ben: OwnPhone, forget: Callable[[], None]
) -> None:
    @settings(TRIED, max_examples=size)
    @given(shuffled())
    def tried(both: tuple[list[dict[str, Any]], list[list[dict[str, Any]]]]) -> None:
        items, pieces = both
        forget()
        pushed(ben, *items)
        expected = state_of(ben)
        ratings = {row.phone_id: (row.derived or {}).get("rates_session_day")
                   for row in CheckIn.objects.filter(withdrawn_at=None)}  # fmt: skip
        assert ratings == by_the_book()
        event(f"rated: {sum(map(bool, ratings.values()))}")
        forget()
        for piece in pieces:
            pushed(ben, *piece)
        note(f"{pieces}")
        assert state_of(ben) == expected

    tried()


def by_the_book() -> dict[UUID, str | None]:
    """Rule T3 over everything at once, as the dossier words it."""
    soonest = timedelta(hours=rules()["rating_after_h"].number)
    latest = timedelta(hours=rules()["rating_before_h"].number)
    began: dict[date, datetime] = {}
    for session in Session.objects.filter(withdrawn_at=None).exclude(outcome="skipped"):
        said, on = session.content or {}, session.local_date
        assert on
        midnight = datetime.combine(
            on + timedelta(days=1), datetime.min.time(), ZoneInfo(said["timezone"])
        )
        start = min(datetime.fromisoformat(said["recorded_at"]), midnight)
        if "started_at" in said:
            start = datetime.fromisoformat(said["started_at"])
        began[on] = max(began.get(on, start), start)
    rated: dict[UUID, str | None] = {}
    given_to: set[date] = set()
    rows = list(CheckIn.objects.filter(withdrawn_at=None))
    for row in sorted(rows, key=lambda row: (_recorded(row), row.phone_id)):
        on = _recorded(row).astimezone(ZoneInfo((row.content or {})["timezone"])).date()
        fitting = [
            day
            for day, start in began.items()
            if day not in given_to and soonest <= _recorded(row) - start <= latest
        ]
        rates = bool(fitting) and row.pain_now is not None and on == row.local_date
        rated[row.phone_id] = max(fitting).isoformat() if rates else None
        given_to |= {max(fitting)} if rates else set()
    return rated


def _recorded(row: CheckIn) -> datetime:
    return datetime.fromisoformat((row.content or {})["recorded_at"])


# --- Three devices (U7) ------------------------------------------------------------------------


@dataclass
class Phone:
    """What one of Ben's devices holds: its copy, by what it was told; and its place in the feed."""

    known: dict[UUID, int] = field(default_factory=dict)
    held: dict[tuple[str, str], Any] = field(default_factory=dict)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    cursor: str | None = None

    def pulls(self, ben: OwnPhone, limit: int = 200) -> bool:
        """Take over the next page, without what `version` says was seen before. More to come?"""
        page = changes(ben, self.cursor, limit)
        news = []
        for change in page["items"]:
            key = (change["type"], change["id"])
            if change["version"] > self.versions.get(key, 0):
                self.versions[key] = change["version"]
                news.append(change)
        follow(self.held, {**page, "items": news})
        self.cursor = page["cursor"]
        return bool(page["has_more"])


class Uploads(RuleBasedStateMachine):
    """Three devices edit, withdraw, repeat and pull. The model: number → first content stored."""

    ben: OwnPhone
    forget: Callable[[], None]
    sent = Bundle("sent")

    @initialize()
    def start(self) -> None:
        type(self).forget()
        self.stored: dict[tuple[str, UUID], dict[int, dict[str, Any] | None]] = {}
        self.phones = [Phone() for _ in range(3)]

    @rule(
        target=sent,
        phone=st.integers(0, 2),
        kind=st.sampled_from(sorted(PATHS)),
        id=st.sampled_from(IDS[:2]),
        ahead=st.sampled_from([1, 1, 1, 2, 0, -1]),
        text=st.sampled_from(["a", "b", "", "withdraw"]),
        way=st.sampled_from(sorted(WAYS)),
    )
    def sends(
        self, phone: int, kind: str, id: UUID, ahead: int, text: str, way: str
    ) -> tuple[str, UUID, int, str]:
        """An edit on top of what this device knows, which may be old."""
        known = self.phones[phone].known.get(id, 0)
        revision = max(1, known + ahead)
        if text == "withdraw" and (kind, id) not in self.stored:
            way = "in a push"  # by itself it would be 404
        self.upload(phone, kind, id, revision, text, way)
        return kind, id, revision, text

    @rule(sent=sent, phone=st.integers(0, 2), way=st.sampled_from(sorted(WAYS)))
    def sends_again(self, sent: tuple[str, UUID, int, str], phone: int, way: str) -> None:
        """A late retry, perhaps from a copy of the queue on another device."""
        self.upload(phone, *sent, way)

    def upload(self, phone: int, kind: str, id: UUID, revision: int, text: str, way: str) -> None:
        data = None if text == "withdraw" else self.content(kind, text)
        history = self.stored.setdefault((kind, id), {})
        top = max(history, default=0)
        if revision > top:
            expected = "updated" if history else "created"
        elif revision < top:
            expected = "superseded"
        else:
            expected = "unchanged" if history[revision] == data else "conflict"
        answer = WAYS[way](self.ben, kind, id, revision, data)
        assert answer.status == expected
        history.setdefault(revision, data)
        if expected in ("superseded", "conflict"):
            assert answer.body["current"]["revision"] == max(history)
        self.phones[phone].known[id] = max(history)

    @staticmethod
    def content(kind: str, text: str) -> dict[str, Any]:
        return (check_in_at if kind == "check_in" else session_at)(
            NOON - timedelta(hours=3), "UTC", note=text
        )

    @rule(phone=st.integers(0, 2), limit=st.integers(1, 3))
    def pulls(self, phone: int, limit: int) -> None:
        self.phones[phone].pulls(self.ben, limit)

    @invariant()
    def the_highest_stands_and_all_is_kept(self) -> None:
        for (kind, id), history in self.stored.items():
            shown, top = self.ben.get(f"{PATHS[kind]}/{id}"), max(history)
            data = history[top]
            assert shown["revision"] == top
            if data is None:
                assert shown["withdrawn"] is True
            else:
                assert {**shown, **data} == shown
                assert shown["history_count"] == len(history)

    def teardown(self) -> None:
        """Whoever pulls to the end holds the same as one who starts from nothing."""
        if not hasattr(self, "phones"):
            return
        fresh, _ = replica(self.ben)
        for one in self.phones:
            while one.pulls(self.ben):
                pass
            assert one.held == fresh


@pytest.mark.parametrize("size", SIZES)
def test_three_devices_lose_no_update(size: int, ben: OwnPhone, forget: Callable[[], None]) -> None:
    machine = type("BensUploads", (Uploads,), {"ben": ben, "forget": staticmethod(forget)})
    run_state_machine_as_test(
        machine, settings=settings(TRIED, max_examples=size, stateful_step_count=15)
    )
