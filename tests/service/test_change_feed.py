"""What a phone hears of changes: everything, in order, whatever else happens meanwhile."""

from __future__ import annotations

import base64
import json
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Event
from typing import Any
from uuid import UUID, uuid4

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from backend.care import feed, recording
from backend.care.models import Change, Revision
from backend.care.recording import Report, Upload
from backend.clinics.models import Patient
from exercises.models import Exercise
from tests.service.cast import OwnPhone, Staff
from tests.service.uploading import changes, check_in_at, follow, item, pushed, replica


@pytest.fixture
def rating(ben: OwnPhone) -> dict[str, Any]:
    return check_in_at(timezone.now().astimezone(ben.patient.zone))


def checks_in(ben: OwnPhone, rating: dict[str, Any], count: int = 1) -> list[UUID]:
    ids = [uuid4() for _ in range(count)]
    pushed(ben, *(item("check_in", id, 1, rating) for id in ids))
    return ids


def said(page: Any) -> list[tuple[str, str, str]]:
    return [(one["type"], one["id"], one["op"]) for one in page["items"]]


def versions(page: Any) -> dict[str, int]:
    return {one["id"]: one["version"] for one in page["items"]}


# --- A snapshot, then what follows ------------------------------------------------------------


def test_a_new_phone_gets_all_that_is_current(ben: OwnPhone, plan_of_ben: Any, rating: Any) -> None:
    session, gone = uuid4(), checks_in(ben, rating)[0]
    ben.logs(ben.slot(), plan_of_ben, session)
    ben.delete(f"me/check-ins/{gone}?revision=2", 200)
    page = changes(ben)

    assert (page["reset"], page["has_more"]) == (True, False)
    assert page["server_time"].endswith("Z")
    by_type = {one["type"]: one for one in page["items"]}
    assert set(by_type) == {"assignment", "exercise", "plan", "session"}
    assert by_type["plan"]["op"] == "refetch"
    assert "data" not in by_type["plan"]
    assert by_type["plan"]["id"] == str(ben.patient.pk)
    assert by_type["session"]["data"] == ben.get(f"me/sessions/{session}")
    assert by_type["assignment"]["data"] == ben.get("me/assignments")["items"][0]
    given = {row["exercise"]["slug"] for day in ben.plan()["days"] for slot in day["slots"]
             for row in slot["items"]}  # fmt: skip
    known = [one["data"]["slug"] for one in page["items"] if one["type"] == "exercise"]
    assert given <= set(known)
    assert known == sorted(known)  # not as the database happens to find them

    after = changes(ben, page["cursor"])
    assert (after["items"], after["reset"], after["has_more"]) == ([], False, False)


def test_what_follows_is_told_once_in_order_at_its_newest(ben: OwnPhone, rating: Any) -> None:
    one, two, three = checks_in(ben, rating, 3)
    cursor = changes(ben)["cursor"]
    pushed(
        ben,
        item("check_in", two, 2, {**rating, "note": "edited"}),
        item("check_in", one, 2, {**rating, "note": "edited"}),
        item("check_in", two, 3, {**rating, "note": "again"}),
        item("check_in", three, 2),
    )
    page = changes(ben, cursor)
    assert said(page) == [
        ("check_in", str(one), "upsert"),
        ("check_in", str(two), "upsert"),
        ("check_in", str(three), "delete"),
    ]
    assert [one.get("data", {}).get("revision") for one in page["items"]] == [2, 3, None]
    assert page["items"][1]["data"]["note"] == "again"
    assert "data" not in page["items"][2]


def test_pages_are_as_short_as_asked_and_end_in_the_same(ben: OwnPhone, rating: Any) -> None:
    checks_in(ben, rating, 7)
    whole, cursor = replica(ben)
    for limit in (1, 2, 3, 7, 200):
        assert replica(ben, limit) == (whole, cursor)
    page = changes(ben, limit=3)
    assert (len(page["items"]), page["has_more"], page["reset"]) == (3, True, True)
    assert changes(ben, page["cursor"], 3)["reset"] is False


def test_a_snapshot_that_changes_while_it_is_read_misses_nothing(
    ben: OwnPhone, rating: Any
) -> None:
    ids = checks_in(ben, rating, 6)
    held: dict[tuple[str, str], Any] = {}
    page = changes(ben, limit=2)
    follow(held, page)
    pushed(
        ben,
        item("check_in", ids[0], 2),  # seen already, withdrawn
        item("check_in", ids[4], 2),  # not seen yet, withdrawn
        item("check_in", ids[1], 2, {**rating, "note": "edited"}),
        item("check_in", uuid4(), 1, rating),
    )
    while page["has_more"]:
        page = changes(ben, page["cursor"], 2)
        follow(held, page)
    assert (held, page["cursor"]) == replica(ben)
    assert len(held) == 5


def test_the_plan_is_read_again_when_it_changed(
    ben: OwnPhone, ana: Staff, plan_of_ben: Any
) -> None:
    before = changes(ben)
    path = f"assignments/{plan_of_ben['id']}"
    tag = ana.call("GET", path)["ETag"]
    pause = {"from": ben.today.isoformat(), "reason": "Flu"}
    ana.post(f"{path}/pause", pause, 200, If_Match=tag)

    told = changes(ben, before["cursor"])["items"]
    assert [(one["type"], one["op"]) for one in told] == [
        ("assignment", "upsert"), ("plan", "refetch"),
    ]  # fmt: skip
    assert told[0]["data"]["status"] == "paused"
    [plan] = [one for one in before["items"] if one["type"] == "plan"]
    assert told[1]["version"] > plan["version"]


def test_a_rating_that_moves_is_told(ben: OwnPhone) -> None:
    """A session that arrives late gives a check-in its day: that check-in has changed."""
    with time_machine.travel("2026-11-20T12:00:00+01:00", tick=False):
        morning = timezone.now().astimezone(ben.patient.zone) - timedelta(hours=4)
        [rating] = checks_in(ben, check_in_at(morning))
        before = changes(ben)
        evening = check_in_at(morning - timedelta(hours=13), state="finished", entries=[
            {"exercise_id": str(_any_exercise()), "state": "done", "sets": [{"reps": 1}]}
        ])  # fmt: skip
        del evening["pain_now"]
        pushed(ben, item("session", uuid4(), 1, evening))
        told = changes(ben, before["cursor"])["items"]
    [moved] = [one for one in told if one["type"] == "check_in"]
    assert moved["version"] > versions(before)[str(rating)], "or a phone takes it for a repeat"
    assert moved["id"] == str(rating)
    assert moved["data"]["derived"]["rates_session_day"] == "2026-11-19"


def _any_exercise() -> UUID:
    return Exercise.objects.filter(clinic=None).values_list("pk", flat=True)[0]


def test_a_late_older_revision_changes_what_is_shown(ben: OwnPhone, rating: Any) -> None:
    id = uuid4()
    pushed(ben, item("check_in", id, 2, rating))
    before = changes(ben)
    pushed(ben, item("check_in", id, 1, rating))
    [told] = changes(ben, before["cursor"])["items"]
    assert told["data"]["history_count"] == 2
    assert told["version"] > versions(before)[str(id)]
    pushed(ben, item("check_in", id, 1, rating))
    assert changes(ben, before["cursor"])["items"] == [told], "a repeat changes nothing"


def test_others_hear_nothing(ben: OwnPhone, bea: OwnPhone, ana: Staff, rating: Any) -> None:
    cursor = changes(bea)["cursor"]
    checks_in(ben, rating, 2)
    assert changes(bea)["items"] == changes(bea, cursor)["items"] == []
    assert ana.get("me/sync/changes", 403)["code"] == "forbidden"


# --- Who reads was heard ----------------------------------------------------------------------


def heard_at(ben: OwnPhone) -> Any:
    return Patient.objects.get(pk=ben.patient.pk).last_received_at


def test_a_phone_that_reads_the_feed_was_heard(ben: OwnPhone, plan_of_ben: Any) -> None:
    """What it has not sent by then was not done, as far as anybody can know."""
    day = {"from": ben.today.isoformat(), "days": 1}

    def status() -> set[str]:
        slots = ben.plan(**day)["days"][0]["slots"]
        return {slot["status"] for slot in slots if any(item["counts"] for item in slot["items"])}

    start = timezone.now() + timedelta(days=3)
    with time_machine.travel(start, tick=False) as clock:
        assert status() == {"not_heard"}, "reading the plan is no sync"
        ben.get("me/sync/changes?cursor=x", 400)
        assert heard_at(ben) is None
        cursor = changes(ben)["cursor"]
        assert heard_at(ben) == start
        assert status() == {"missed"}

        clock.move_to(start + recording.HEARD_EVERY)
        changes(ben, cursor)
        assert heard_at(ben) == start, "noted now and then"
        clock.shift(1)
        changes(ben, cursor)
        assert heard_at(ben) == start + recording.HEARD_EVERY + timedelta(seconds=1)


def test_what_was_noted_meanwhile_stays(ben: OwnPhone) -> None:
    now = timezone.now()
    read_before = Patient.objects.get(pk=ben.patient.pk)
    Patient.objects.update(last_received_at=now + timedelta(seconds=1))
    recording.heard_from(read_before, now)
    assert heard_at(ben) == now + timedelta(seconds=1)


def test_a_moment_of_the_demo_is_not_noted(ben: OwnPhone, settings: Any) -> None:
    settings.DEMO = True
    ahead = timezone.now() + timedelta(days=30)
    ben.get("me/sync/changes", Demo_Now=ahead.isoformat())
    assert heard_at(ben) is None


# --- Cursors ----------------------------------------------------------------------------------


def forged(*parts: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(parts).encode()).decode().rstrip("=")


def test_what_is_no_cursor(ben: OwnPhone, bea: OwnPhone, rating: Any, subtests: Any) -> None:
    checks_in(ben, rating)
    checks_in(bea, rating)
    good, foreign = changes(ben)["cursor"], changes(bea)["cursor"]
    tag = ben.patient.pk.hex[:8]
    wrong = [
        "", "x", "null", "%00", "å", good[:-3], good + "x" * 5, "A" * 5000, foreign,
        forged(), forged(1), forged(1, 1, 1), forged(-1, 1, 1, tag), forged(1.0, 1, 1, tag),
        forged("1", 1, 1, tag), forged(True, 1, 1, tag), forged(2**60, 1, 1, tag),
        forged([[]] * 4), forged(1, 1, 1, None), forged(1, 1, 1, tag, 1),
    ]  # fmt: skip
    for cursor in wrong:
        with subtests.test(cursor[:40]):
            refused = ben.get(f"me/sync/changes?cursor={cursor}", 400)
            assert refused["code"] == "cursor-invalid"
    assert changes(ben, good)["items"] == []
    for limit in ("0", "201", "x", ""):
        assert ben.get(f"me/sync/changes?limit={limit}", 400)["code"] == "malformed-request"


def test_a_cursor_lives_180_days_after_it_was_last_used(ben: OwnPhone, rating: Any) -> None:
    checks_in(ben, rating)
    cursor = changes(ben)["cursor"]
    patient = Patient.objects.get(pk=ben.patient.pk)
    read = feed.Cursor.decoded(cursor, patient)
    now = timezone.now()
    feed.check_cursor(read, patient, now=now + timedelta(days=180))
    with pytest.raises(feed.CursorExpired):
        feed.check_cursor(read, patient, now=now + timedelta(days=181))
    _, used, _ = feed.page_of(patient, read, limit=1, now=now + timedelta(days=100))
    feed.check_cursor(used, patient, now=now + timedelta(days=280))

    old = feed.Cursor(read.seq, read.epoch, read.day - 181).encoded(patient)
    assert ben.get(f"me/sync/changes?cursor={old}", 410)["code"] == "cursor-expired"


def test_a_cursor_from_before_a_restored_backup_starts_again(ben: OwnPhone, rating: Any) -> None:
    checks_in(ben, rating)
    cursor = changes(ben)["cursor"]
    Patient.objects.update(feed_epoch=2)
    assert ben.get(f"me/sync/changes?cursor={cursor}", 410)["code"] == "cursor-expired"
    ahead = feed.Cursor(10_000, 2, timezone.now().toordinal()).encoded(ben.patient)
    assert ben.get(f"me/sync/changes?cursor={ahead}", 410)["code"] == "cursor-expired"
    held, _ = replica(ben)
    assert len(held) == 1


def test_a_snapshot_can_be_finished_where_old_tombstones_are_gone(
    ben: OwnPhone, rating: Any
) -> None:
    checks_in(ben, rating, 5)
    Patient.objects.update(feed_pruned_to=3)
    held, _ = replica(ben, limit=1)
    assert len(held) == 5


# --- While others write (U8) ------------------------------------------------------------------

WRITERS = 8


@pytest.fixture
def slow_commits(monkeypatch: pytest.MonkeyPatch) -> random.Random:
    """Transactions stay open for a random while after they took their place in the feed."""
    seed = int(os.environ.get("SEED", random.randrange(10**6)))
    print(f"SEED={seed}")
    dice = random.Random(seed)
    touch = feed.touch

    def touch_and_linger(*args: Any, **said: Any) -> None:
        touch(*args, **said)
        time.sleep(dice.random() * 0.004)

    monkeypatch.setattr(feed, "touch", touch_and_linger)
    return dice


def all_writers_at_once(ben: OwnPhone, rows: int, dice: random.Random) -> None:
    """Write from many threads while one reads by cursor; the reader must end up with everything."""
    rating = check_in_at(timezone.now().astimezone(ben.patient.zone))
    del rating["pain_now"]  # thousands of ratings of one day would be judged against each other
    written, stop = {str(UUID(int=dice.getrandbits(128))) for _ in range(rows)}, Event()
    queues = [sorted(written)[n::WRITERS] for n in range(WRITERS)]

    def write(ids: list[str], delays: list[float]) -> None:
        try:
            for id, delay in zip(ids, delays, strict=True):
                time.sleep(delay)
                patient = Patient.objects.get(pk=ben.patient.pk)
                report = Report(Revision.Kind.CHECK_IN, UUID(id), 1, rating)
                recording.put(patient=patient, report=report, upload=Upload(timezone.now()))
        finally:
            connection.close()

    def read() -> list[str]:
        seen: list[str] = []
        cursor = None
        try:
            while True:
                last = stop.is_set()
                page = changes(ben, cursor, 7)
                seen += [one["id"] for one in page["items"]]
                cursor = page["cursor"]
                if last and not page["has_more"]:
                    return seen
        finally:
            connection.close()

    with ThreadPoolExecutor(WRITERS + 1) as pool:
        reader = pool.submit(read)
        writers = [pool.submit(write, ids, [dice.random() * 0.004 for _ in ids]) for ids in queues]
        try:
            for writer in writers:
                writer.result(timeout=900)
        finally:
            stop.set()
        seen = reader.result(timeout=60)
    assert (len(seen), set(seen)) == (rows, written)
    assert list(Change.objects.order_by("seq").values_list("seq", flat=True)) == list(
        range(1, rows + 1)
    )


@pytest.mark.parametrize("rows", [80, pytest.param(3200, marks=pytest.mark.campaign)])
@pytest.mark.django_db(transaction=True)
def test_a_reader_misses_nothing_while_others_write(
    rows: int, ben: OwnPhone, slow_commits: random.Random
) -> None:
    all_writers_at_once(ben, rows, slow_commits)
