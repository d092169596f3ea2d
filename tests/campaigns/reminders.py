"""Reminders while everything dies: worker, beat, Redis and database killed, a provider that fails.

python -m tests.campaigns.reminders [--reminders 10000] [--kills 50] [--faults 0.05] [--seed 1]

Every reminder reaches the provider, or stands in the ledger with its reason (R1); it is sent again
only where the answer was lost, under the same key (R2); and after the last kill all is done within
a period and a minute (R3).
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tests.bench.machine import ROOT, Process
from tests.campaigns.outages import Server, missing, own_postgres, own_redis
from tests.campaigns.two_services import environment, until
from tests.peers.base import HANGS, LOSES, Says
from tests.peers.fcm import ACCOUNT, FcmPeer, error

SWEEP_EVERY_S = 2
DRAINED_WITHIN_S = SWEEP_EVERY_S + 60  # a lease, and what came up meanwhile
BETWEEN_KILLS_S = (1.0, 4.0)
DOWN_S = (0.1, 1.0)
LOOKS_AFTER_A_KILL = 5
GAVE_UP = ("timeout", "connection_lost")  # the sender, before an answer came: it was lost, too
WORKER = ("celery", "--quiet", "--app", "backend.celery", "worker", "--concurrency", "1")
BEAT = ("celery", "--quiet", "--app", "backend.celery", "beat")


class FailingPeer(FcmPeer):
    """Fails so often: busy, over its limit, hanging, or taking a message and losing the answer."""

    def __init__(self, *args: Any, faults: float, seed: int, **more: Any) -> None:
        super().__init__(*args, **more)
        self.faults, self.luck = faults, random.Random(seed)
        self.tokens_of: dict[str, set[str]] = {}  # the addresses that each key was sent to
        self.lost: Counter[str] = Counter()

    def _answer(self, headers: dict[str, str], message: dict[str, Any]) -> Says:
        key = message["data"]["key"]
        self.tokens_of.setdefault(message["token"], set()).add(key)
        if self.luck.random() < self.faults:
            says = self.luck.choice(
                [
                    error(503, "UNAVAILABLE"),
                    Says(429, {}, {"Retry-After": "3"}),
                    *(HANGS, LOSES, LOSES),
                ]
            )
            if says is LOSES:
                self.lost[key] += 1
            return says
        return super()._answer(headers, message)


@dataclass
class Killed:
    """A process that is killed, and started again."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str]
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        log = Path(self.env["VAR_DIR"]) / f"{self.name}.log"
        self.process = Process(*self.command, env=self.env, log=log)

    def kill(self) -> None:
        _kill(self.process.pid)
        self.process.end()


def _kill(pid: int) -> None:
    """A process and its children, by their ids, without a word."""
    with suppress(OSError):
        said = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        os.kill(pid, signal.SIGKILL)
        for child in said.split():
            with suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)


def kill_server(server: Server) -> None:
    _kill(server.pid)
    server.end()


@dataclass
class Found:
    """What was seen from outside: in the ledger, and by the provider."""

    reminders: int
    kills: Counter[str]
    outcomes: Counter[str]
    lost: int  # neither sent nor accounted for, or sent and never seen by the provider
    again: int
    unexplained: int  # sent again though an answer had come and was written down
    second_keys: int
    drained_s: float

    @property
    def holds(self) -> bool:
        broken = self.lost or self.unexplained or self.second_keys
        return not broken and self.drained_s <= DRAINED_WITHIN_S


@contextmanager
def provider(faults: float, seed: int) -> Iterator[tuple[FailingPeer, str]]:
    """The provider, and the credentials for it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
    peer = FailingPeer(key.public_key(), key_id="k1", faults=faults, seed=seed)
    with peer:
        credentials = {
            "type": "service_account",
            "project_id": "rehab-test",
            "private_key_id": "k1",
            "private_key": pem,
            "client_email": ACCOUNT,
            "token_uri": f"{peer.url}/token",
        }
        yield peer, json.dumps(credentials)


def run(
    *, reminders: int, kills: int, faults: float, seed: int, tell: Callable[[int], None]
) -> Found:
    luck = random.Random(seed)
    with ExitStack() as stack:
        peer, credentials = stack.enter_context(provider(faults, seed))
        redis, database = stack.enter_context(own_redis()), stack.enter_context(own_postgres())
        env = environment(
            stack,
            secrets.token_urlsafe(50),
            DATABASE_URL=f"postgresql://postgres@127.0.0.1:{database.port}/postgres",
            REDIS_URL=f"redis://127.0.0.1:{redis.port}/0",
            FCM_CREDENTIALS=credentials,
            FCM_URL=peer.url,
            SWEEP_EVERY_S=str(SWEEP_EVERY_S),
        )
        over = kills * sum(BETWEEN_KILLS_S) / 2 * 0.8
        subprocess.run(
            [sys.executable, "-m", "tests.campaigns.due", str(reminders), str(over)],
            cwd=ROOT, env=env, check=True,
        )  # fmt: skip
        parts = [Killed(f"worker-{n}", WORKER, env) for n in (1, 2)]
        parts += [Killed(f"beat-{n}", BEAT, env) for n in (1, 2)]  # two are harmless (R7)
        for part in parts:
            stack.callback(part.kill)
        victims: dict[str, Killed | Server] = {part.name: part for part in parts}
        victims |= {"Redis": redis, "database": database}
        ledger = Ledger(f"postgresql://postgres@127.0.0.1:{database.port}/postgres")
        unwritten: set[str] = set()
        counts: Counter[str] = Counter()
        for number in range(kills):
            time.sleep(luck.uniform(*BETWEEN_KILLS_S))
            name = luck.choice([*victims])
            victim = victims[name]
            counts[name.split("-")[0]] += 1
            if isinstance(victim, Killed):
                victim.kill()
            else:
                kill_server(victim)
            time.sleep(luck.uniform(*DOWN_S))
            victim.start()
            for _ in range(LOOKS_AFTER_A_KILL):  # a worker whose broker is gone gives up later
                unwritten |= ledger.waiting() & set(peer.taken)
                time.sleep(0.3)
            tell(number + 1)
        drained_s = until(lambda: not ledger.waiting(), 600)
        rows = ledger.rows()
    outcomes = Counter(f"{status}: {why}" for status, why, _ in rows.values())
    sent = {id for id, (status, *_) in rows.items() if status == "sent"}
    unheard = {id for id, (*_, failure) in rows.items() if failure in GAVE_UP}
    again = {key: count - 1 for key, count in peer.taken.items() if count > 1}
    return Found(
        reminders=reminders,
        kills=counts,
        outcomes=outcomes,
        lost=reminders
        - len(rows)
        + sum(n for name, n in outcomes.items() if "waiting" in name)
        + len(sent - set(peer.taken)),
        again=sum(again.values()),
        unexplained=sum(
            key not in unwritten | unheard and count > peer.lost[key]
            for key, count in again.items()
        ),
        second_keys=sum(len(keys) > 1 for keys in peer.tokens_of.values()),
        drained_s=drained_s,
    )


@dataclass
class Ledger:
    url: str

    def rows(self) -> dict[str, tuple[str, str, str]]:
        asked = "SELECT id::text, status, why, failure FROM notifications_message"
        while True:
            try:
                with psycopg.connect(self.url, connect_timeout=2) as server:
                    return {row[0]: row[1:] for row in server.execute(asked)}
            except psycopg.OperationalError:  # it is starting
                time.sleep(0.1)

    def waiting(self) -> set[str]:
        return {id for id, (status, *_) in self.rows().items() if status == "waiting"}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reminders", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--faults", type=float, default=0.05, help="of the provider, 0 to 1")
    parser.add_argument("--seed", type=int, default=secrets.randbits(32))
    asked = parser.parse_args()
    if lacking := missing():
        sys.exit(f"skipped: {lacking}")
    terminal = sys.stdout.isatty()
    with Progress(console=Console(stderr=True), disable=not terminal, transient=True) as progress:
        task = progress.add_task("Killing", total=asked.kills)
        found = run(**vars(asked), tell=lambda number: progress.update(task, completed=number))
    table = Table("what", "found", "promised", title=f"seed {asked.seed}")
    table.add_row("reminders", str(found.reminders), "")
    table.add_row("killed", ", ".join(f"{n} × {name}" for name, n in found.kills.items()), "")
    for outcome, count in found.outcomes.most_common():
        table.add_row(outcome, str(count), "")
    table.add_row("lost", str(found.lost), "0")
    table.add_row("sent again", str(found.again), "")
    table.add_row("… though the answer had come", str(found.unexplained), "0")
    table.add_row("under a second key", str(found.second_keys), "0")
    table.add_row("drained after the last kill, s", f"{found.drained_s:.0f}", str(DRAINED_WITHIN_S))
    Console(width=None if terminal else 100).print(table)
    return 0 if found.holds else 1


if __name__ == "__main__":
    sys.exit(main())
