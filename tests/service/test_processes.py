"""`./run dev` is one thing: it starts whole, and nothing of it is left when it ends."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITHIN_S = 90


@contextmanager
def starting(var: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """As a person starts it; in a session of its own, so that no signal to the test reaches it."""
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    with (
        (var / "output").open("w") as output,
        subprocess.Popen(
            ["/bin/sh", "-c", "trap '' INT; exec ./run dev"],  # what a script's `&` does
            cwd=ROOT,
            env=bare | {"DEBUG": "1", "VAR_DIR": str(var), "PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        ) as service,
    ):
        try:
            yield service
        finally:
            service.kill()


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One machine for all: who starts goes on with what the last one left, however it ended."""
    return tmp_path_factory.mktemp("var")


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def processes() -> list[tuple[int, int, int, str]]:
    """Process, parent, group and command of everything that runs; the dead are not counted."""
    listed = subprocess.run(
        ["ps", "-A", "-o", "stat=,pid=,ppid=,pgid=,command="],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(None, 4) for line in listed.stdout.splitlines()]
    return [
        (int(pid), int(parent), int(group), command)
        for state, pid, parent, group, command in rows
        if not state.startswith("Z")
    ]


def wait_until(condition: Callable[[], bool], var: Path) -> None:
    deadline = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < deadline, (var / "output").read_text()
        time.sleep(0.1)


def group_of(service: subprocess.Popen[str], var: Path) -> int:
    """The process group of everything it started, once it says that it is ready."""
    wait_until(lambda: service.poll() is not None or "Ready." in (var / "output").read_text(), var)
    assert service.poll() is None, (var / "output").read_text()
    [group] = {group for _, parent, group, _ in processes() if parent == service.pid}
    return group


WHOLE = {"gunicorn": 3, "celery": 2}  # one leads two; worker and clock


def parts(group: int) -> dict[str, int]:
    running = members(group)
    return {name: sum(name in command for command in running) for name in WHOLE}


def members(group: int) -> list[str]:
    return [command for _, _, its_group, command in processes() if its_group == group]


@pytest.mark.parametrize(
    ("how", "ends_with"),
    [
        pytest.param(signal.SIGINT, 0, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, 0, id="TERM"),
        pytest.param(signal.SIGKILL, -signal.SIGKILL, id="KILL"),
    ],
)
def test_nothing_outlives_it(how: signal.Signals, ends_with: int, port: int, var: Path):
    with starting(var, port) as service:
        group = group_of(service, var)
        wait_until(lambda: parts(group) == WHOLE, var)

        service.send_signal(how)

        assert service.wait(WITHIN_S) == ends_with
        wait_until(lambda: not members(group), var)
        socket.create_server(("127.0.0.1", port)).close()


def test_it_ends_whole_when_a_part_dies(port: int, var: Path):
    with starting(var, port) as service:
        group = group_of(service, var)
        worker = min(pid for pid, _, its, cmd in processes() if its == group and "celery" in cmd)

        os.kill(worker, signal.SIGKILL)

        assert service.wait(WITHIN_S) == 1
        assert "A part has ended by itself" in (var / "output").read_text()
        wait_until(lambda: not members(group), var)


def test_a_taken_port_is_told_in_one_line_before_anything_is_done(port: int, tmp_path: Path):
    with socket.create_server(("127.0.0.1", port)), starting(tmp_path, port) as service:
        assert service.wait(WITHIN_S) == 1

    [line] = (tmp_path / "output").read_text().splitlines()
    assert f"Port {port} is taken" in line
    assert not (tmp_path / "db.sqlite3").exists()
