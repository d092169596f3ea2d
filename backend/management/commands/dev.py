"""Run the whole service here: web, and a Celery worker with its clock, ended together.

However this command ends - Ctrl-C, TERM, KILL - its children end, too. They form a process group
of their own, led by a guard that waits on a pipe whose other end only this process holds: when
this process is gone, for whatever reason, the guard reads the end of the pipe and kills the group.
"""

import errno
import http.client
import json
import os
import signal
import socket
import sys
import time
from argparse import ArgumentParser
from contextlib import suppress
from subprocess import PIPE, Popen, TimeoutExpired
from types import FrameType, TracebackType
from typing import Any, NoReturn, Self

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

READY_WITHIN_S = 60
GRACE_S = 10

GUARD = "trap '' INT TERM HUP; read nothing; kill -KILL 0"
WEB = ("gunicorn", "backend.wsgi")
WORKER = (
    *("celery", "--quiet", "--app", "backend.celery", "worker", "--beat"),
    # One process that polls files: a pool of threads starves on that broker.
    *("--pool", "solo", "--without-gossip", "--without-mingle", "--without-heartbeat"),
)


class Command(BaseCommand):
    help = "Run the whole service here: web, worker and clock, ended together."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reset", action="store_true", help="make the demo anew")

    def handle(self, *, reset: bool = False, **options: Any) -> None:
        signal.signal(signal.SIGTERM, _stop)
        signal.signal(signal.SIGINT, _stop)  # a shell starts background jobs deaf to it
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
            signal.signal(signal.SIGHUP, _stop)
        try:
            with _door() as door:
                self._prepare(reset=reset)
                self._serve(door)
        except KeyboardInterrupt:
            self._say("Stopped.")

    def _prepare(self, *, reset: bool) -> None:
        self._say("Preparing the database ...")
        call_command("migrate", verbosity=0)
        call_command("load_library")
        if settings.DEMO:
            call_command("demo", reset=reset)

    def _serve(self, door: socket.socket) -> None:
        with Group() as group:
            group.start(*WEB, "--bind", f"fd://{door.fileno()}", keep=door.fileno())
            door.close()
            group.start(*WORKER)
            self._say("Starting ...")
            _wait_until_ready(group)
            self._say(
                f"Ready.\n  API      {settings.PUBLIC_URL}/api/v1/meta\n"
                f"  reading  {settings.PUBLIC_URL}/api/docs\n"
                f"  health   {settings.PUBLIC_URL}/readyz\nCtrl-C ends everything."
            )
            while True:
                group.check()
                time.sleep(0.5)

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()  # a file or a pipe must show it now, too


class Group:
    """Processes that do not outlive this one."""

    def __init__(self) -> None:
        self._guard = Popen(["/bin/sh", "-c", GUARD], stdin=PIPE, process_group=0)
        self._members: list[Popen[bytes]] = []

    def start(self, module: str, *arguments: str, keep: int | None = None) -> None:
        self._members.append(
            Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=settings.BASE_DIR,
                process_group=self._guard.pid,
                pass_fds=[] if keep is None else [keep],
            )
        )

    def check(self) -> None:
        if any(member.poll() is not None for member in [self._guard, *self._members]):
            raise CommandError("A part has ended by itself; the lines above say why.")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        """Ask each to finish what it does, then leave nobody."""
        deadline = time.monotonic() + GRACE_S
        try:
            for member in self._members:
                member.terminate()
            for member in self._members:
                member.wait(max(0, deadline - time.monotonic()))
        except TimeoutExpired:
            pass
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self._guard.pid, signal.SIGKILL)
            for process in [self._guard, *self._members]:
                process.communicate()


def _stop(*_: int | FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


def _door() -> socket.socket:
    """The listening socket, before anything else, so that a taken port is told at once."""
    family = socket.AF_INET6 if ":" in settings.BIND else socket.AF_INET
    address = (settings.BIND.strip("[]"), settings.PORT)
    try:
        return socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"Port {settings.PORT} is taken; PORT={settings.PORT + 1} ./run ... uses another."
            ) from None
        raise CommandError(f"Cannot listen on {settings.BIND}:{settings.PORT}: {error}.") from None


def _wait_until_ready(group: Group) -> None:
    deadline = time.monotonic() + READY_WITHIN_S
    while missing := _what_is_missing():
        group.check()
        if time.monotonic() > deadline:
            raise CommandError(f"Not ready within {READY_WITHIN_S} s: {missing}.")
        time.sleep(0.2)


def _what_is_missing() -> str:
    """Ask as a load balancer would; empty when everything is there."""
    bind = settings.BIND.strip("[]")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104
    name = settings.ALLOWED_HOSTS[0].strip("*.") or "localhost"
    asked = http.client.HTTPConnection(host, settings.PORT, timeout=5)
    try:
        asked.request("GET", "/readyz", headers={"Host": name})
        answer = asked.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        asked.close()
    if answer.status == http.HTTPStatus.OK:
        return ""
    try:
        checks = json.loads(body)["checks"]
    except (ValueError, KeyError):
        return f"/readyz answers {answer.status}"
    return ", ".join(f"{name}: {c['said']}" for name, c in checks.items() if not c["ok"])
