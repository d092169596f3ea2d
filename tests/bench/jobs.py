"""The jobs of the benchmark, part by part, each against its floor."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch
from uuid import uuid4

from django.db import connection, reset_queries, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext

from backend.care import deciding
from backend.care.feed import Cursor
from backend.care.models import Session
from backend.care.selectors import course_for_log
from backend.health.models import Heartbeat
from tests.bench import of_clinics, sweeping
from tests.bench.filling import A_DAY, REPORTED, Phone, Stock, push, tidied, upload
from tests.bench.load import FRESH, Load, Unexpected, Window
from tests.bench.machine import READY_WITHIN_S, ROOT, Memory, Process, web
from tests.bench.measuring import Figure, Goal, Result, in_turns, ratio, tail, times_of, usual
from tests.bench.replaying import FOUR_WEEKS, YEAR, f6, lives, processor_time, replayed
from tests.roles import become_the_owner, become_the_service

CONCURRENCIES = (1, 8)
PUSHED = 24
PAGE = 200
NEWEST_DAYS = 14
LATE = 21  # days ago, of what a phone tells that was offline
RUNS = 5  # of a round that is timed in this process
MOST_SLOW_ROUNDS = 5  # of what takes seconds
CASELOAD_QUERIES = 12
AFTER_FEW, AFTER_MANY = 100, 10_000
FLAT = Goal(at_most=1.1)
MARK = FRESH.decode()


@dataclass(frozen=True)
class Answer:
    status: int
    content: bytes
    etag: str
    queries: int


@dataclass(frozen=True)
class Call:
    """One request, to be sent over the wire or answered in this process."""

    method: str
    path: str
    token: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def wire(self) -> bytes:
        lines = [
            f"{self.method} {self.path} HTTP/1.1",
            "Host: 127.0.0.1",
            f"X-Session-Token: {self.token}",
            "Content-Type: application/json",
            f"Content-Length: {len(self.body)}",
            *(f"{name}: {value}" for name, value in self.headers.items()),
        ]
        return "\r\n".join([*lines, "", ""]).encode() + self.body

    def here(self) -> Answer:
        """The same without a server, to count its queries and the bytes it gives."""
        parts = self.body.split(FRESH)
        body = b"".join([parts[0], *(str(uuid4()).encode() + part for part in parts[1:])])
        reset_queries()
        with CaptureQueriesContext(connection) as queries:
            given = Client().generic(
                self.method,
                self.path.replace(MARK, str(uuid4())),
                body,
                "application/json",
                headers={"Host": "127.0.0.1", "X-Session-Token": self.token, **self.headers},
            )
        if given.status_code >= 400:
            raise Unexpected(f"{self.method} {self.path}: {given.content[:2000]!r}")
        framing = ("BEGIN", "SAVEPOINT", "RELEASE", "COMMIT")
        count = sum(not one["sql"].startswith(framing) for one in queries.captured_queries)
        return Answer(given.status_code, given.content, given.headers.get("ETag", ""), count)


@dataclass
class Bench:
    """What every part needs."""

    env: Mapping[str, str]
    stock: Stock
    load: Load
    port: int
    rounds: int
    seconds: float
    quick: bool
    step: Callable[[str], None]

    def lane(self, name: str, calls: Sequence[Call], *, port: int | None = None) -> Answer:
        """Calls to be sent in turn under this name. The first is answered here, too."""
        answer = calls[0].here()
        requests = [(call.wire(), answer.status) for call in calls]
        self.load.prepare(name, port or self.port, requests)
        return answer

    def floor_1(self, like: Answer, token: str) -> str:
        """F1 with as many bytes out; its lane."""
        size = len(like.content)
        name = f"F1, {size:,} bytes"
        self.lane(name, [Call("GET", f"/floor/1/{size}", token)])
        return name

    def turns(
        self, lanes: Sequence[str], concurrency: int, before: Callable[[], None] = lambda: None
    ) -> dict[str, list[Window]]:
        return in_turns(
            self.load,
            lanes,
            concurrency=concurrency,
            rounds=self.rounds,
            seconds=self.seconds,
            step=self.step,
            before=before,
        )

    def tidy(self) -> None:
        """The uploaders as they were before the load."""
        tidied(self.stock.uploaders, self.stock.today)

    def against(
        self,
        part: str,
        goals: Mapping[str, tuple[str, Goal | None]],
        times: float = 1,
        before: Callable[[], None] = lambda: None,
    ) -> list[Result]:
        """Each of these lanes against its floor, one at a time and eight."""
        lanes = list(
            dict.fromkeys(lane for job, (floor, _) in goals.items() for lane in (job, floor))
        )
        results = []
        for concurrency in CONCURRENCIES:
            seen = self.turns(lanes, concurrency, before)
            for job, (floor, goal) in goals.items():
                figure = ratio(seen[job], seen[floor], times)
                times_ = times_of(seen[job])
                results.append(
                    Result(part, f"{job}, at {concurrency}", floor, figure, goal, times_)
                )
        return results


def _plan(phone: Phone, days: int, etag: str = "") -> Call:
    headers = {"If-None-Match": etag} if etag else {}
    return Call("GET", f"/api/v1/me/plan?days={days}", phone.token, headers=headers)


def _put(phone: Phone, on: date, id: str = MARK) -> Call:
    return Call("PUT", f"/api/v1/me/sessions/{id}", phone.token, upload(phone, on))


def _push(phone: Phone, days: Sequence[date]) -> Call:
    body = push(phone, days, MARK, datetime.now().astimezone())
    return Call("POST", "/api/v1/me/sync/push", phone.token, body)


def _page(phone: Phone, seq: int, today: date) -> Call:
    cursor = Cursor(seq, phone.patient.feed_epoch, today.toordinal()).encoded(phone.patient)
    return Call("GET", f"/api/v1/me/sync/changes?limit={PAGE}&cursor={cursor}", phone.token)


def _newest_days(stock: Stock) -> list[date]:
    return [stock.today - n * A_DAY for n in range(1, NEWEST_DAYS)]


def _stored(phone: Phone, on: date) -> str:
    """The id of the session that the history has for this day."""
    rows = Session.objects.filter(patient=phone.patient, local_date=on)
    return str(rows.order_by("received_at", "id")[0].phone_id)


def _queries(part: str, job: str, count: int, most: int) -> Result:
    return Result(part, job, "queries", Figure.of([count]), Goal(at_most=most))


def _flat(part: str, job: str, windows: list[Window], than: str, base: list[Window]) -> Result:
    """The usual time of one against that of another."""
    pairs = zip(usual(windows), usual(base), strict=True)
    figure = Figure.of([a / b for a, b in pairs])
    return Result(part, job, f"time {than}", figure, FLAT, times_of(windows))


def floors(bench: Bench) -> list[Result]:
    """What the frame, sign-in and Django REST Framework cost, to read the other ratios by."""
    token = bench.stock.uploaders[0].token
    for number in (0, 1, 2):
        bench.lane(f"F{number}, 4 kB", [Call("GET", f"/floor/{number}/4096", token)])
    goals = {f"F{number}, 4 kB": ("F1, 4 kB", None) for number in (0, 2)}
    return bench.against("floors", goals)


def plan(bench: Bench) -> list[Result]:
    phones = bench.stock.readers[90]
    token = phones[0].token
    tags = [_plan(phone, 14).here().etag for phone in phones]
    same = bench.lane("plan, unchanged", [_plan(phones[n], 14, tag) for n, tag in enumerate(tags)])
    one = bench.lane("plan, 1 day", [_plan(phone, 1) for phone in phones])
    full = bench.lane("plan, 14 days", [_plan(phone, 14) for phone in phones])
    goals = {
        "plan, unchanged": (bench.floor_1(same, token), Goal(at_least=0.8)),
        "plan, 1 day": (bench.floor_1(one, token), Goal(at_least=0.4)),
        "plan, 14 days": (bench.floor_1(full, token), Goal(at_least=0.25)),
    }
    results = bench.against("plan", goals)
    slow = bench.turns(["plan, 14 days"], 8)["plan, 14 days"]
    return [
        *results,
        Result("plan", "plan, 14 days, at 8", "p99 / p50", tail(slow), Goal(at_most=4)),
        _queries("plan", "plan, 14 days", full.queries, 8),
    ]


def flat(bench: Bench) -> list[Result]:
    """What a plan costs must not depend on how much else there is."""
    phones = {f"after {days} days": them for days, them in bench.stock.readers.items()}
    phones["in a large clinic"] = bench.stock.among_many
    queries = {
        name: bench.lane(name, [_plan(phone, 14) for phone in them]).queries
        for name, them in phones.items()
    }
    first, _, usual_one, longest, crowded = phones
    seen = bench.turns(list(phones), 1)
    return [
        _flat("flat", f"plan {usual_one}", seen[usual_one], first, seen[first]),
        _flat("flat", f"plan {longest}", seen[longest], first, seen[first]),
        _flat("flat", f"plan {crowded}", seen[crowded], "in a small one", seen[usual_one]),
        _queries("flat", "plan, most of these", max(queries.values()), min(queries.values())),
    ]


def session(bench: Bench) -> list[Result]:
    """Uploads of today, which go on from what was judged. Unless said otherwise they are judged."""
    stock = bench.stock
    yesterday = stock.today - A_DAY
    calls = [_put(phone, stock.today) for phone in stock.uploaders]
    made = bench.lane("session PUT", calls)
    size = len(made.content)
    f3 = f"F3, {size:,} bytes"
    bench.lane(f3, [Call("POST", f"/floor/3/{MARK}/{size}", c.token, c.body) for c in calls])
    again = [_put(phone, yesterday, _stored(phone, yesterday)) for phone in stock.uploaders]
    repeated = bench.lane("session PUT again", again)
    if b'"unchanged"' not in repeated.content:
        raise Unexpected(f"a repeat was none: {repeated.content!r}")
    goals: dict[str, tuple[str, Goal | None]] = {
        "session PUT": (f3, Goal(at_least=0.3)),
        "session PUT again": (bench.floor_1(repeated, calls[0].token), Goal(at_least=0.6)),
        "session PUT, not judged": ("session PUT", Goal(at_most=1.5)),
    }
    with web(env={**bench.env, "BENCH_URLS": "tests.bench.unjudged"}) as unjudged:
        bench.lane("session PUT, not judged", calls, port=unjudged.port)
        results = bench.against("session", goals, before=bench.tidy)
    return [
        *results,
        _queries("session", "session PUT", made.queries, 12),
        _queries("session", "session PUT again", repeated.queries, 12),
    ]


def judging(bench: Bench) -> list[Result]:
    """What judging takes of an upload of today must not grow with the history before it."""
    few, many = bench.stock.readers[FOUR_WEEKS][0], bench.stock.readers[YEAR][0]
    seen = {phone.token: [_judging_of(bench, phone)] for phone in (few, many)}
    for number in range(1, bench.rounds):
        bench.step(f"judging, round {number + 1} of {bench.rounds}")
        for phone in (few, many):
            seen[phone.token].append(_judging_of(bench, phone))
    pairs = zip(seen[many.token], seen[few.token], strict=True)
    figure = Figure.of([a / b for a, b in pairs])
    details = {"p50_ms": median(seen[many.token]) * 1000}
    job, than = f"judging inside a PUT, {YEAR} days", f"time, {FOUR_WEEKS} days"
    return [Result("judging", job, than, figure, Goal(at_most=1.5), details)]


@transaction.atomic
def _judging_of(bench: Bench, phone: Phone) -> float:
    """Seconds; what it did is undone."""
    with patch("backend.care.deciding.recompute", lambda **_: deciding.Difference()):
        _put(phone, bench.stock.today).here()
    took = []
    for _ in range(RUNS):
        with transaction.atomic():
            course = course_for_log(phone.patient, phone.course.id)
            assert course is not None
            began = time.perf_counter()
            deciding.recompute(
                course=course, patient=phone.patient, now=phone.now, since=bench.stock.today
            )
            took.append(time.perf_counter() - began)
            transaction.set_rollback(True)
    transaction.set_rollback(True)
    return median(took)


def pushes(bench: Bench) -> list[Result]:
    stock = bench.stock
    days = [stock.today] * PUSHED
    pushed = bench.lane("push of 24 records", [_push(phone, days) for phone in stock.uploaders])
    _expect_all(pushed)
    bench.lane("single PUTs", [_put(phone, stock.today) for phone in stock.uploaders])
    goals: dict[str, tuple[str, Goal | None]] = {
        "push of 24 records": ("single PUTs", Goal(at_least=2.5))
    }
    results = bench.against("push", goals, times=PUSHED, before=bench.tidy)
    return [*results, *_late_pushes(bench)]


def _late_pushes(bench: Bench) -> list[Result]:
    """What a phone tells that was offline for weeks: all is replayed, once."""
    today, results = bench.stock.today, []
    days = [today - (LATE - n % 7) * A_DAY for n in range(PUSHED)]
    for history, most in ((90, 1.0), (YEAR, 1.5)):
        phone = bench.stock.readers[history][0]
        late, single = _push(phone, days), _put(phone, today)
        _expect_all(_undone(late)[1])
        ratios, took = [], []
        for number in range(bench.rounds):
            bench.step(f"late push after {history} days, round {number + 1} of {bench.rounds}")
            took.append(_undone(late)[0])
            ratios.append(took[-1] / median(_undone(single)[0] for _ in range(RUNS)) / PUSHED)
        job = f"push of 24 of 3 weeks ago, {history} days"
        details = {"p50_ms": median(took) * 1000}
        goal = Goal(at_most=most)
        results.append(
            Result("push", job, "time, 24 single PUTs of today", Figure.of(ratios), goal, details)
        )
    return results


@transaction.atomic
def _undone(call: Call) -> tuple[float, Answer]:
    """How many seconds it took in this process. Nothing of it stays."""
    began = time.perf_counter()
    answer = call.here()
    took = time.perf_counter() - began
    transaction.set_rollback(True)
    return took, answer


def _expect_all(pushed: Answer) -> None:
    if pushed.content.count(b'"created"') != PUSHED:
        raise Unexpected(f"a push was not taken: {pushed.content[:2000]!r}")


def feed(bench: Bench) -> list[Result]:
    goals, answers = {}, {}
    for size, phone in bench.stock.feeds.items():
        name = f"page of {PAGE} from {size:,}"
        places = [_page(phone, seq, bench.stock.today) for seq in (0, size // 2, size - PAGE)]
        answers[name] = bench.lane(name, places)
        goals[name] = (bench.floor_1(answers[name], phone.token), Goal(at_least=0.4))
    shorter, longer = goals
    results = bench.against("feed", {longer: goals[longer]})
    seen = bench.turns([shorter, longer], 1)
    return [
        *results,
        _flat("feed", longer, seen[longer], shorter, seen[shorter]),
        _queries("feed", longer, answers[longer].queries, answers[shorter].queries),
    ]


def engine(bench: Bench) -> list[Result]:
    """What a replay takes of a processor, one patient of each protocol, against F6."""
    results = []
    for count, goal in ((FOUR_WEEKS, None), (YEAR, Goal(at_most=30))):
        people = lives(count)
        dates = [day for one in people for day in one.days]
        replays, floors_ = [], []
        for number in range(bench.rounds):
            bench.step(f"replay of {count} days, round {number + 1} of {bench.rounds}")
            replays.append(processor_time(partial(replayed, people), bench.seconds / 4))
            floors_.append(processor_time(partial(f6, dates), bench.seconds / 4))
        figure = Figure.of([a / b for a, b in zip(replays, floors_, strict=True)])
        details = {"p50_ms": Figure.of(replays).median * 1000 / len(people)}
        results.append(Result("engine", f"replay of {count} days", "F6", figure, goal, details))
    return results


def sweeps(bench: Bench) -> list[Result]:
    """Claim, decide, send to nobody and write down, against the bare claim (F4)."""
    is_large = connection.vendor == "postgresql"
    count = (20_000 if bench.quick else 1_000_000) if is_large else 10_000
    bench.step(f"filling: {count:,} reminders that are due")
    sweeping.fill_due(count, people=min(count, 20_000) // 2)
    bare: list[float] = []
    one: list[float] = []
    two: list[float] = []
    spent = min(2 * bench.seconds, 1.0)
    before = Memory.of(os.getpid())
    for number in range(bench.rounds):
        bench.step(f"sweep, round {number + 1} of {bench.rounds}")
        bare.append(sweeping.f4(spent))
        sweeping.come_up_again()
        one.append(sweeping.sweep(spent))
        if number < bench.rounds // 3:
            two.append(sweeping.sweep_of_two(bench.env, 3 * spent) / one[-1])
        sweeping.come_up_again()
    after = Memory.of(os.getpid())
    found = Figure.of([a / b for a, b in zip(one, bare, strict=True)])
    details = {"a_second": median(one)}
    job = f"sweep, {count:,} messages due"
    of_two = Goal(at_least=1.6) if is_large else None  # SQLite has one writer at a time
    return [
        Result("sweeps", job, "F4", found, Goal(at_least=0.25), details),
        Result("sweeps", "two workers", "one", Figure.of(two), of_two),
        Result(
            "sweeps", "memory of the worker, after", "before",
            Figure.of([after.share / before.share]), Goal(at_most=1.1),
        ),
    ]  # fmt: skip


def clinic(bench: Bench) -> list[Result]:
    """What staff ask of a whole clinic, by the role that the service has, against the bare read of
    the rows that it stands on."""
    of_clinics.owner()
    if connection.vendor == "postgresql":
        become_the_service()
    gc.freeze()  # as gunicorn.conf.py has it
    gc.set_threshold(10_000, 10, 10)
    stock, results = bench.stock, []
    last = stock.today - A_DAY
    window = f"from={last - (REPORTED - 1) * A_DAY}&to={last}"
    report, token = f"/api/v1/reports/adherence?{window}", stock.treating
    csv = {"Accept": "text/csv"}
    page, bare = Call("GET", "/api/v1/caseload", token), partial(of_clinics.caseload, stock)
    jobs: list[tuple[str, Call, Callable[[], object], str, Goal | None]] = [
        ("report, JSON", Call("GET", report, token), partial(of_clinics.f5, stock), "F5",
         Goal(at_most=2)),
        ("report, CSV", Call("GET", report, token, headers=csv), partial(of_clinics.f5, stock),
         "F5", Goal(at_most=3)),
    ]  # fmt: skip
    jobs += [
        (f"report, CSV, by {group}", Call("GET", f"{report}&group_by={group}", token, headers=csv),
         partial(of_clinics.f5, stock, group), "F5", Goal(at_most=3))
        for group in ("physiotherapist", "phase", "week", "exercise_kind")
    ]  # fmt: skip
    jobs += [
        (f"caseload page, {who} silent", page, bare, "the bare read", Goal(at_most=3))
        for who in ("nobody", "everybody")
    ]
    before = Memory.of(os.getpid())
    for job, call, floor, against, goal in jobs:
        if "everybody" in job:
            of_clinics.fall_silent(stock)
        ratios, took = [], []
        for number in range(min(bench.rounds, MOST_SLOW_ROUNDS)):
            bench.step(f"{job}, round {number + 1}")
            took.append(_seconds(call.here))
            ratios.append(took[-1] / _seconds(floor))
        details = {"p50_ms": median(took) * 1000}
        results.append(Result("clinic", job, against, Figure.of(ratios), goal, details))
    after = Memory.of(os.getpid())
    memory = Figure.of([after.share / before.share])
    queries = page.here().queries
    of_clinics.owner().close()
    if connection.vendor == "postgresql":
        become_the_owner()
    return [
        *results,
        Result("clinic", "memory, after", "before", memory),
        _queries("clinic", "caseload page", queries, CASELOAD_QUERIES),
    ]


def _seconds(job: Callable[[], object]) -> float:
    began = time.perf_counter()
    job()
    return time.perf_counter() - began


def export(bench: Bench) -> list[Result]:
    """All sessions of the large clinic as one file, against a cursor that reads them and no more;
    each in a process of its own, whose memory is looked at."""
    ratios, rates, peaks = [], [], []
    for number in range(min(bench.rounds, MOST_SLOW_ROUNDS)):
        bench.step(f"export, round {number + 1}")
        written = of_clinics.in_a_process("export", bench.stock, bench.env)
        read = of_clinics.in_a_process("cursor", bench.stock, bench.env)
        rates.append(written.rows / written.seconds)
        ratios.append(rates[-1] / (read.rows / read.seconds))
        peaks.append(written.peak)
    details = {"a_second": median(rates)}
    goal = Goal(at_least=0.3)
    return [
        Result("export", "sessions as CSV", "a bare cursor", Figure.of(ratios), goal, details),
        Result("export", "worker, peak", "MB", Figure.of(peaks), Goal(at_most=300)),
    ]


def start(bench: Bench) -> list[Result]:
    """How long until a web worker answers, against Django alone with the same apps."""
    alone = [sys.executable, "-c", "import django; django.setup()"]
    served, set_up = [], []
    for number in range(bench.rounds):
        bench.step(f"cold start, round {number + 1} of {bench.rounds}")
        began = time.perf_counter()
        subprocess.run(alone, env=bench.env, check=True, cwd=ROOT)
        set_up.append(time.perf_counter() - began)
        began = time.perf_counter()
        with web(env=bench.env, workers=1):
            served.append(time.perf_counter() - began)
    figure = Figure.of([a / b for a, b in zip(served, set_up, strict=True)])
    details = {"p50_ms": Figure.of(served).median * 1000}
    return [
        Result(
            "start", "a web worker answers", "django.setup()", figure, Goal(at_most=2.5), details
        )
    ]


def memory(bench: Bench) -> list[Result]:
    """What a web worker holds on to, and the peaks of web and background worker."""
    count = AFTER_MANY // 10 if bench.quick else AFTER_MANY
    with web(env=bench.env, workers=1) as server:
        [worker] = server.children()
        bench.load.prepare("mixed", server.port, _mixture(bench.stock))
        bench.step(f"{AFTER_FEW} mixed requests")
        bench.load.run("mixed", concurrency=1, count=AFTER_FEW)
        few = Memory.of(worker)
        bench.step(f"{count:,} mixed requests")
        bench.load.run("mixed", concurrency=4, count=count - AFTER_FEW)
        many = Memory.of(worker)
    job, against = f"web worker after {count:,} requests", f"after {AFTER_FEW}"
    grown = Figure.of([many.share / few.share])
    return [
        Result("memory", job, against, grown, Goal(at_most=1.3)),
        Result("memory", f"web worker after {AFTER_FEW} requests", "MB", Figure.of([few.share])),
        Result("memory", "web worker, peak", "MB", Figure.of([many.peak])),
        Result("memory", "background worker, peak", "MB", Figure.of([_celery_peak(bench)])),
    ]


def _mixture(stock: Stock) -> list[tuple[bytes, int]]:
    """A hundred requests, in proportions a day may have."""
    reader, long_feed = stock.readers[90][0], list(stock.feeds.values())[-1]
    tag = _plan(reader, 14).here().etag
    days, yesterday = _newest_days(stock), stock.today - A_DAY
    mixed: list[tuple[Call, int]] = []
    for n in range(10):
        phone = stock.uploaders[n % len(stock.uploaders)]
        again = _put(phone, yesterday, _stored(phone, yesterday))
        mixed += [(_plan(reader, 14, tag), 304)] * 3
        mixed += [(_plan(phone, 14), 200), (_plan(phone, 1), 200)]
        mixed += [(_put(phone, days[n]), 201), (_put(phone, days[n]), 201), (again, 200)]
        mixed += [(_page(long_feed, n * PAGE, stock.today), 200)]
        mixed += [(_push(phone, days[:3]), 200)]
    return [(call.wire(), status) for call, status in mixed]


def _celery_peak(bench: Bench) -> float:
    """The background worker with everything it imports, once it has shown life."""
    bench.step("a background worker")
    Heartbeat.objects.all().delete()
    pool = ("--concurrency", "2") if bench.env["REDIS_URL"] else ("--pool", "solo")
    log = Path(bench.env["VAR_DIR"]) / "worker.log"
    worker = Process(
        *("celery", "--quiet", "--app", "backend.celery", "worker", *pool), env=bench.env, log=log
    )
    try:
        deadline = time.monotonic() + READY_WITHIN_S
        while not Heartbeat.objects.exists():
            worker.check()
            if time.monotonic() > deadline:
                sys.exit(f"No background worker: {log.read_text()[-4000:]}")
            time.sleep(0.1)
        return sum(Memory.of(pid).share for pid in [worker.pid, *worker.children()])
    finally:
        worker.end()


def server(bench: Bench) -> list[Result]:
    """gunicorn's two kinds of worker against each other."""
    stock = bench.stock
    jobs = {
        "plan, 14 days": [_plan(phone, 14) for phone in stock.readers[90]],
        "session PUT": [_put(phone, stock.today) for phone in stock.uploaders],
    }
    goals: dict[str, tuple[str, Goal | None]] = {}
    with (
        web("--worker-class", "gthread", "--threads", "4", env=bench.env) as threads,
        web("--worker-class", "sync", env=bench.env) as alone,
    ):
        for job, calls in jobs.items():
            bench.lane(f"{job}, gthread", calls, port=threads.port)
            bench.lane(f"{job}, sync", calls, port=alone.port)
            goals |= {
                f"{job}, gthread": (f"{job}, sync", None),
                f"{job}, sync": (f"{job}, sync", None),
            }
        return bench.against("server", goals, before=bench.tidy)


PARTS: Mapping[str, Callable[[Bench], list[Result]]] = {
    "floors": floors,
    "plan": plan,
    "flat": flat,
    "session": session,
    "judging": judging,
    "push": pushes,
    "feed": feed,
    "engine": engine,
    "sweeps": sweeps,
    "clinic": clinic,
    "export": export,
    "start": start,
    "memory": memory,
    "server": server,
}
