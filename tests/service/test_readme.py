"""The README keeps its word: its commands start the demo, its lines answer what it says."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo_clinic import DemoClinic, made, running

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
WITHIN_S = 120


@pytest.fixture
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoClinic]:
    """The demo, started as the README says."""
    with running(made(tmp_path_factory)) as demo:
        yield demo


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


def test_the_five_lines_answer_what_the_readme_says(demo: DemoClinic, tmp_path: Path):
    [script] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert script.count("curl ") == 5
    [rows] = re.findall(r"\| the `curl` line \| answers \|\n\|---\|---\|\n((?:\|.*\n)+)", README)

    script = script.replace("http://localhost:8000", demo.origin)
    said = pasted(script, tmp_path / "here")

    answers = said.split("\n", 4)
    for row, answer in zip(rows.splitlines(), answers, strict=True):
        fragments = re.findall(r"`([^`]+)`", row)
        assert fragments
        for fragment in fragments:
            assert fragment in answer, (fragment, said)

    # Whoever pastes them again logs another session, and that works, too.
    again = pasted(script, tmp_path / "there")
    assert '"status":"created"' in again

    told = (demo.var / "output").read_text()
    written = json.loads((demo.var / "demo.json").read_text())
    assert written["base_url"] == demo.origin
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
