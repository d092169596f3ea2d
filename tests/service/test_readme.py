"""The README keeps its word: its commands start the demo, its lines answer what it says."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
WITHIN_S = 120


@pytest.fixture
def service(tmp_path: Path) -> Iterator[str]:
    """The demo, started as the README says, on a port of its own; its host and port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    bare = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    output = tmp_path / "output"
    with (
        output.open("w") as said,
        subprocess.Popen(
            ["./run", "demo"],
            cwd=ROOT,
            env=bare | {"VAR_DIR": str(tmp_path), "PORT": str(port)},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process,
    ):
        try:
            deadline = time.monotonic() + WITHIN_S
            while "Ready." not in output.read_text():
                assert process.poll() is None, output.read_text()
                assert time.monotonic() < deadline, output.read_text()
                time.sleep(0.2)
            yield f"localhost:{port}"
        finally:
            process.terminate()


def pasted(script: str, folder: Path) -> str:
    folder.mkdir()
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=True,
    )
    return done.stdout


def test_the_five_lines_answer_what_the_readme_says(service: str, tmp_path: Path):
    [script] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert script.count("curl ") == 5
    [rows] = re.findall(r"\| the `curl` line \| answers \|\n\|---\|---\|\n((?:\|.*\n)+)", README)

    said = pasted(script.replace("localhost:8000", service), tmp_path / "here")

    answers = said.split("\n", 4)
    for row, answer in zip(rows.splitlines(), answers, strict=True):
        fragments = re.findall(r"`([^`]+)`", row)
        assert fragments
        for fragment in fragments:
            assert fragment in answer, (fragment, said)

    # Whoever pastes them again logs another session, and that works, too.
    again = pasted(script.replace("localhost:8000", service), tmp_path / "there")
    assert '"status":"created"' in again

    told = (tmp_path / "output").read_text()
    written = json.loads((tmp_path / "demo.json").read_text())
    assert written["base_url"] == f"http://{service}"
    assert all(account["email"] in told for account in written["accounts"])


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)]+)\)", README))
def test_what_it_points_at_is_there(path: str):
    assert (ROOT / path).exists()


def test_its_folders_and_commands_exist():
    for folder in re.findall(r"^`([a-z]+)/` ", README, re.MULTILINE):
        assert (ROOT / folder).is_dir()
    offered = subprocess.run(
        ["./run", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    commands = {path.stem for path in (ROOT / "backend/management/commands").glob("*.py")}
    for word in re.findall(r"^\| `\./run ([a-z_]+)`", README, re.MULTILINE):
        assert f"./run {word} " in offered or word in commands


def test_every_test_that_a_promise_names_is_there():
    promises = (ROOT / "docs/what-we-promise.md").read_text()
    for path in re.findall(r"tests/[\w/.]+", promises):
        assert (ROOT / path).exists(), path
