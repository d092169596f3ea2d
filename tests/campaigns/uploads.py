"""Many phones on a bad network: nothing acknowledged is lost, doubled or altered (U1).

    python -m tests.campaigns.uploads --clients 50 --logs 10000 --faults 0.3 --seed 7
    python -m tests.campaigns.uploads --database postgresql://postgres@127.0.0.1:5432/postgres

Starts the service with a database of its own (an SQLite file, or a new database on that server),
lets every client send its logs, a share of the requests repeated at once, repeated late, sent out
of order, cut while sending or answered into the void, and then judges from outside only: by what
the lists and the change feeds say. Ends with 1 where the promise does not hold.
"""

from __future__ import annotations

import argparse
import gzip
import json
import logging
import os
import random
import signal
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from http.client import HTTPException, HTTPResponse
from math import ceil
from pathlib import Path
from threading import Lock
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from tests.bench.machine import surroundings, web

HOST = "127.0.0.1"
DAYS_BACK = 70  # phones that were offline for weeks; the service takes 90
FAULTS = ("repeated at once", "repeated late", "out of order", "cut while sending", "not listened")
TAKEN = {"created", "updated", "unchanged", "superseded"}
PATHS = {"session": "me/sessions", "check_in": "me/check-ins"}
PATIENCE_S = 60
MOST_TRIES = 50

Content = dict[str, Any]
Key = tuple[str, str]  # kind, id
Kept = dict[Key, dict[int, Content | None]]  # what was sent, by revision; None withdraws


# --- HTTP that can be interrupted --------------------------------------------------------------


def http(method: str, path: str, token: str, body: object, *, packed: bool = False) -> bytes:
    """The bytes of a request; `packed` as phones do it that pack a body while they send it."""
    content = b"" if body is None else json.dumps(body).encode()
    head = (
        f"{method} /api/v1/{path} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n"
        f"X-Session-Token: {token}\r\nContent-Type: application/json\r\n"
    )
    if packed:
        content = gzip.compress(content)
        content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
        head += "Content-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    else:
        head += f"Content-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


def talk(port: int, request: bytes) -> tuple[int, Any]:
    """The whole request, the whole answer."""
    with socket.create_connection((HOST, port), timeout=PATIENCE_S) as line:
        line.sendall(request)
        answer = HTTPResponse(line)
        answer.begin()
        content = answer.read()
    return answer.status, json.loads(content) if content else None


def hang_up(port: int, request: bytes) -> None:
    """Send this and go, whatever the answer."""
    with socket.create_connection((HOST, port), timeout=PATIENCE_S) as line:
        line.sendall(request)


# --- People and what they log ------------------------------------------------------------------


@dataclass
class Enrolled:
    """A patient with a running plan, as far as a phone knows."""

    token: str
    assignment_id: str
    slots: list[tuple[str, str, list[Content]]]  # date, slot id, items


def enrol(count: int, now: datetime) -> list[Enrolled]:
    """A clinic whose patients have had a plan for weeks."""
    from django.core.management import call_command

    from backend.care.models import Assignment, AssignmentVersion
    from protocols.models import ProtocolVersion
    from tests.roles import admit
    from tests.service.cast import (
        judged_again,
        make_clinic,
        make_episode,
        make_patient,
        make_staff,
    )

    call_command("migrate", verbosity=0)
    admit()
    call_command("load_library", verbosity=0)
    clinic = make_clinic("Harbour", now)
    ana = make_staff(clinic, "Ana", is_physiotherapist=True)
    grade_1 = ProtocolVersion.objects.get(slug="hs-grade-1")
    phones = [make_patient(clinic, f"Ben{n}", now, ana.user) for n in range(count)]
    plans = []
    for phone in phones:
        episode = make_episode(phone.patient, ana.user, now)
        plans.append(ana.assigns(grade_1, to=phone.patient, episode=episode, on=phone.today))
    start = phones[0].today - timedelta(days=DAYS_BACK)
    Assignment.objects.update(start_date=start)
    AssignmentVersion.objects.update(effective_date=start)
    judged_again()
    enrolled = []
    for phone, plan in zip(phones, plans, strict=True):
        first = start + timedelta(days=random.randrange(DAYS_BACK - 28))
        days = phone.plan(**{"from": first.isoformat()}, days=28)["days"]
        slots = [
            (day["date"], slot["slot_id"], slot["items"]) for day in days for slot in day["slots"]
        ]
        enrolled.append(Enrolled(phone.token, plan["id"], slots))
    return enrolled


def session_of(enrolled: Enrolled, dice: random.Random, note: str) -> Content:
    from tests.service.cast import entry_of

    on, slot_id, items = dice.choice(enrolled.slots)
    began = datetime.fromisoformat(f"{on}T17:00:00+02:00") + timedelta(minutes=dice.randrange(120))
    ended = began + timedelta(minutes=dice.randrange(5, 60))
    return {
        "assignment_id": enrolled.assignment_id,
        "assignment_version": 1,
        "slot_id": slot_id,
        "local_date": on,
        "timezone": "Europe/Stockholm",
        "started_at": began.isoformat(),
        "ended_at": ended.isoformat(),
        "recorded_at": (ended + timedelta(seconds=20)).isoformat(),
        "state": "finished",
        "pain_during": dice.randrange(6),
        "effort": dice.randrange(20) / 2,
        "entries": [entry_of(row, dice.choice([1, 1, 0.5])) for row in items if row["counts"]],
        "note": note,
    }


def check_in_of(enrolled: Enrolled, dice: random.Random, note: str) -> Content:
    on, _, _ = dice.choice(enrolled.slots)
    recorded = datetime.fromisoformat(f"{on}T06:00:00+02:00") + timedelta(
        minutes=dice.randrange(90)
    )
    return {
        "local_date": on,
        "timezone": "Europe/Stockholm",
        "recorded_at": recorded.isoformat(),
        "pain_now": dice.randrange(6),
        "stiffness": dice.randrange(11),
        "note": note,
    }


# --- A phone -----------------------------------------------------------------------------------


@dataclass
class Upload:
    """One request, and what goes wrong with it at first."""

    raw: bytes
    fault: str = ""


@dataclass
class Score:
    """What the clients saw, all together."""

    requests: int = 0
    faulty: Counter[str] = field(default_factory=Counter)
    answers: Counter[int] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    over: bool = False
    lock: Lock = field(default_factory=Lock)

    def saw(self, status: int) -> None:
        with self.lock:
            self.requests += 1
            self.answers[status] += 1

    def fails(self, fault: str) -> None:
        with self.lock:
            self.faulty[fault] += 1

    def let_go(self) -> None:
        with self.lock:
            self.requests += 1


class Phone:
    """Sends everything, however often it takes, and remembers what it sent."""

    def __init__(self, enrolled: Enrolled, logs: int, faults: float, dice: random.Random) -> None:
        self.enrolled = enrolled
        self.dice = dice
        self.kept: Kept = {}
        items = [one for n in range(logs) for one in self._log(n)]
        self.queue = list(self._packed(items))
        chosen = dice.sample(self.queue, ceil(faults * len(self.queue)))
        for n, upload in enumerate(chosen, start=dice.randrange(len(FAULTS))):
            upload.fault = FAULTS[n % len(FAULTS)]

    def _log(self, n: int) -> Iterator[tuple[Key, int, Content | None]]:
        """One record with its edits: now and then a second revision, now and then a withdrawal."""
        dice = self.dice
        kind, make = dice.choice([("session", session_of)] * 2 + [("check_in", check_in_of)])
        key = kind, str(UUID(int=dice.getrandbits(128)))
        history: dict[int, Content | None] = {1: make(self.enrolled, dice, f"log {n}")}
        if dice.random() < 0.2:
            history[2] = make(self.enrolled, dice, f"log {n}, edited")
        if dice.random() < 0.05:
            history[max(history) + 1] = None
        self.kept[key] = history
        for revision, content in history.items():
            yield key, revision, content

    def _packed(self, items: list[tuple[Key, int, Content | None]]) -> Iterator[Upload]:
        """By themselves, or a few together."""
        while items:
            count = self.dice.choice([1, 1, 1, self.dice.randint(2, 12)])
            some, items = items[:count], items[count:]
            [(key, revision, content), *others] = some
            if others or content is None:
                asked: tuple[str, str, Content] = ("POST", "me/sync/push", _push(some))
            else:
                body = {**content, "revision": revision}
                asked = ("PUT", f"{PATHS[key[0]]}/{key[1]}", body)
            method, path, sent = asked
            packed = self.dice.random() < 0.2
            yield Upload(http(method, path, self.enrolled.token, sent, packed=packed))

    def run(self, port: int, score: Score, step: Callable[[], None]) -> None:
        tries = 0
        while self.queue and not score.over:
            upload = self.queue.pop(0)
            fault, upload.fault = upload.fault, ""
            if fault:
                score.fails(fault)
            try:
                done = self._send(port, upload, fault, score)
            except (OSError, HTTPException):
                done = False
            if done:
                step()
                tries = 0
                continue
            self._later(upload)
            if not fault:  # nobody's wish: the service was busy or away
                tries += 1
                if tries > MOST_TRIES:
                    raise RuntimeError("The service has been away for too long.")
                time.sleep(min(2.0, 0.01 * 2**tries) * self.dice.random())

    def _later(self, upload: Upload) -> None:
        self.queue.insert(self.dice.randint(0, len(self.queue)), upload)

    def _send(self, port: int, upload: Upload, fault: str, score: Score) -> bool:
        """Whether the service acknowledged it, and this phone read so."""
        match fault:
            case "out of order":
                return False
            case "cut while sending":
                score.let_go()
                hang_up(port, upload.raw[: self.dice.randint(1, len(upload.raw) - 1)])
                return False
            case "not listened":
                score.let_go()
                hang_up(port, upload.raw)
                return False
            case "repeated at once":
                with ThreadPoolExecutor(1) as other:
                    twin = other.submit(self._acknowledged, port, upload, score)
                    first = self._acknowledged(port, upload, score)
                    return twin.result() and first
            case "repeated late":
                self._acknowledged(port, upload, score)
                return False
            case _:
                return self._acknowledged(port, upload, score)

    def _acknowledged(self, port: int, upload: Upload, score: Score) -> bool:
        status, body = talk(port, upload.raw)
        score.saw(status)
        if status >= 500 or status == 429:
            return False
        if status not in (200, 201):
            score.refused.append(f"{status} {body.get('code')}")
            return True
        results = body.get("results", [body])
        score.refused += [
            json.dumps(one.get("problem", one)) for one in results
            if one["status"] not in TAKEN | {"retry"}
        ]  # fmt: skip
        return all(one["status"] != "retry" for one in results)


def _push(items: list[tuple[Key, int, Content | None]]) -> Content:
    return {
        "sent_at": datetime.now().astimezone().isoformat(),
        "items": [
            {"type": key[0], "id": key[1], "revision": revision}
            | ({"withdrawn": True} if content is None else {"data": content})
            for key, revision, content in items
        ],
    }


# --- The verdict -------------------------------------------------------------------------------


@dataclass
class Verdict:
    """The records that went wrong."""

    lost: set[Key] = field(default_factory=set)
    doubled: set[Key] = field(default_factory=set)
    altered: set[Key] = field(default_factory=set)


def judge(kept: Kept, found: list[tuple[Key, Mapping[str, Any]]], verdict: Verdict) -> None:
    """Compare what a phone sent with what a list or a feed tells of it."""
    times = Counter(key for key, _ in found)
    told = dict(found)
    for key, history in kept.items():
        top = max(history)
        content = history[top]
        if content is None:
            if key in told:
                verdict.altered.add(key)
        elif key not in told:
            verdict.lost.add(key)
        else:
            shown = told[key]
            whole = {**shown, **content} == shown and shown["revision"] == top
            if not whole or shown["history_count"] != len(history):
                verdict.altered.add(key)
    for key, count in times.items():
        if count > 1 or key not in kept:
            verdict.doubled.add(key)


def read_back(port: int, token: str) -> tuple[list[Any], list[Any]]:
    """All a patient can read: both lists, and the feed from the start."""
    listed: list[tuple[Key, Any]] = []
    for kind, path in PATHS.items():
        query = "?limit=200"
        while query:
            page = _get(port, token, path + query)
            listed += [((kind, row["id"]), row) for row in page["items"]]
            query = f"?limit=200&cursor={page['next_cursor']}" if page["next_cursor"] else ""
    fed: list[tuple[Key, Any]] = []
    query = "?limit=200"
    while query:
        page = _get(port, token, f"me/sync/changes{query}")
        fed += [
            ((one["type"], one["id"]), one["data"])
            for one in page["items"]
            if one["type"] in PATHS and one["op"] == "upsert"
        ]
        query = f"?limit=200&cursor={page['cursor']}" if page["has_more"] else ""
    return listed, fed


def failures_in(log: Path) -> int:
    """Answers of 500 and above, also those that nobody waited for."""
    count = 0
    for line in log.read_text().splitlines():
        if line.startswith("{"):
            count += int(json.loads(line).get("status", 0) or 0) >= 500
    return count


def _get(port: int, token: str, path: str) -> Any:
    status, body = talk(port, http("GET", path, token, None))
    assert status == 200, (status, body)
    return body


# --- Everything together -----------------------------------------------------------------------


@dataclass
class Report:
    """What is printed, and written where `--report` says."""

    seed: int
    database: str
    clients: int
    logs: int
    uploads: int
    requests: int
    faulty: dict[str, int]
    faulty_share: float
    answers: dict[int, int]
    seconds: float
    lost: list[Key]
    doubled: list[Key]
    altered: list[Key]
    refused: list[str]
    failed: int

    @property
    def holds(self) -> bool:
        return not (self.lost or self.doubled or self.altered or self.refused or self.failed)


def run(asked: argparse.Namespace, console: Console) -> Report:
    seed = asked.seed if asked.seed is not None else random.SystemRandom().randrange(10**6)
    console.print(f"seed {seed}")
    random.seed(seed)
    os.environ["DATABASE_URL"] = asked.database
    with surroundings() as env:
        env |= {"DJANGO_SETTINGS_MODULE": "backend.settings", "ALLOWED_HOSTS": f"{HOST},testserver"}
        os.environ |= env
        enrolled = _enrolled(asked.clients)
        share = [asked.logs // asked.clients + (n < asked.logs % asked.clients)
                 for n in range(asked.clients)]  # fmt: skip
        phones = [
            Phone(one, logs, asked.faults, random.Random(f"{seed} {n}"))
            for n, (one, logs) in enumerate(zip(enrolled, share, strict=True))
        ]
        score, verdict = Score(), Verdict()
        uploads = sum(len(phone.queue) for phone in phones)
        with web(env=env) as server, _progress(console) as bars:
            bar = bars.add_task("sending", total=uploads)
            began = time.monotonic()
            with ThreadPoolExecutor(asked.clients) as pool:
                running = [
                    pool.submit(phone.run, server.port, score, lambda: bars.advance(bar))
                    for phone in phones
                ]
                try:
                    for one in running:
                        one.result()
                finally:
                    score.over = True  # whatever ended it, the others end too
            seconds = time.monotonic() - began
            reading = bars.add_task("reading back", total=len(phones))
            for phone in phones:
                for found in read_back(server.port, phone.enrolled.token):
                    judge(phone.kept, found, verdict)
                bars.advance(reading)
        return Report(
            seed=seed,
            database="PostgreSQL" if asked.database else "SQLite",
            clients=asked.clients,
            logs=sum(len(phone.kept) for phone in phones),
            uploads=uploads,
            requests=score.requests,
            faulty=dict(score.faulty),
            faulty_share=score.faulty.total() / uploads,
            answers=dict(sorted(score.answers.items())),
            seconds=round(seconds, 1),
            lost=sorted(verdict.lost),
            doubled=sorted(verdict.doubled),
            altered=sorted(verdict.altered),
            refused=score.refused,
            failed=failures_in(server.log),
        )


def _enrolled(clients: int) -> list[Enrolled]:
    import django
    from django.db import connections
    from django.utils import timezone

    django.setup()
    logging.disable(logging.INFO)
    try:
        return enrol(clients, timezone.now())
    finally:
        connections.close_all()


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    return Progress(*columns, console=console, disable=not console.is_terminal)


def show(report: Report, console: Console) -> None:
    table = Table(title=f"Uploads on {report.database}, seed {report.seed}", show_header=False)
    rows: dict[str, object] = {
        "clients": report.clients,
        "logs": report.logs,
        "uploads": report.uploads,
        "of them faulty": f"{report.faulty_share:.1%}",
        **{f"  {name}": report.faulty.get(name, 0) for name in FAULTS},
        "requests sent": report.requests,
        "answers read": ", ".join(f"{count} × {code}" for code, count in report.answers.items()),
        "seconds": report.seconds,
        "requests a second": round(report.requests / report.seconds),
        "lost": len(report.lost),
        "doubled": len(report.doubled),
        "altered": len(report.altered),
        "refused": len(report.refused),
        "answers of 500 and above": report.failed,
    }
    for name, value in rows.items():
        table.add_row(name, str(value))
    console.print(table)
    for wrong in (*report.lost, *report.doubled, *report.altered, *report.refused)[:20]:
        console.print(str(wrong), markup=False)


def main() -> int:
    said = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    said.add_argument("--clients", type=int, default=50)
    said.add_argument("--logs", type=int, default=10_000)
    said.add_argument("--faults", type=float, default=0.3, help="share of faulty requests")
    said.add_argument("--seed", type=int)
    said.add_argument("--database", default="", help="a PostgreSQL server; absent: SQLite")
    said.add_argument("--report", type=Path, help="write the figures there as JSON")
    asked = said.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # and leave nothing behind
    console = Console()
    report = run(asked, console)
    show(report, console)
    if asked.report:
        asked.report.write_text(json.dumps(asdict(report)))
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
