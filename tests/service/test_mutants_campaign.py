"""The campaign of mutants at a small size, what it changes, and whether it can fail at all."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from django.conf import settings

from tests.campaigns.mutations import of_file, of_python

ROOT = Path(settings.BASE_DIR)


def campaign(*asked: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.campaigns.mutants", *asked]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)


DATES = ["--only", "dates", "--tests", "tests/engine/test_dates.py"]


@pytest.mark.parametrize("asked", [DATES, ["--library", "--only", "rules"]])
def test_what_is_changed_is_noticed(asked: list[str]) -> None:
    ended = campaign(*asked, "--quick", "--sample", "2", "--seed", "3")
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "100.0%" in ended.stdout
    assert ended.stdout.startswith("0 did not end within"), "what was only slow is not killed"


def test_tests_that_look_elsewhere_let_it_live() -> None:
    """Gates are no matter of the tests about dates."""
    ended = campaign(
        "--only", "gates", "--sample", "3", "--seed", "3", "--tests", "tests/engine/test_dates.py"
    )
    assert ended.returncode == 1, ended.stdout + ended.stderr
    assert ended.stdout.count("survived: protocols.engine.gates:") == 3


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        pytest.param("a < b", ["a <= b", "a >= b"], id="a boundary"),
        pytest.param("a is None", ["a is not None"], id="an identity"),
        pytest.param("a in b", ["a not in b"], id="membership"),
        pytest.param("7", ["8", "6"], id="a number"),
        pytest.param("True", ["False"], id="a truth"),
        pytest.param("'R5'", ["'R5~'"], id="a word"),
        pytest.param("a + b", ["a - b"], id="arithmetic"),
        pytest.param("a and b", ["a or b", "b", "a"], id="logic"),
        pytest.param("not a", ["a"], id="a negation"),
        pytest.param("a[b:c]", ["a[:c]", "a[b:]"], id="a window"),
        pytest.param("max(a)", ["min(a)"], id="the other end"),
        pytest.param("f(a, b=c)", ["f(a)"], id="an argument"),
        pytest.param("(a, b)", ["(b,)", "(a,)"], id="one of several"),
        pytest.param(
            "[a for a in b if c]",
            ["[a for a in b if True]", "[a for a in b if False]"],
            id="a condition",
        ),
    ],
)
def test_what_an_expression_becomes(code: str, changes: list[str], tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text(f"x = {code}\n")
    found = [mutant.after for mutant in of_python("module", source, lambda tree: None)]
    assert found == [f"x = {changed}" for changed in changes]


def test_a_changed_tree_can_be_compiled_and_the_next_begins_anew(tmp_path: Path) -> None:
    source = tmp_path / "module.py"
    source.write_text("def f(a=None):\n    a += 1\n    if a > 2:\n        return a\n")
    made: list[str] = []
    for n in range(len(list(of_python("module", source, lambda tree: None)))):
        mutants = list(of_python("module", source, lambda tree: made.append(ast.unparse(tree))))
        mutants[n].apply()
    assert len(set(made)) == len(made) == 12
    assert ast.unparse(ast.parse(source.read_text())) not in made


def test_what_a_file_becomes(tmp_path: Path) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(
        "version: 1.0.0\n"
        "text: 3 sessions\n"
        "rows:\n"
        "  - id: way_out\n"
        "    when: latest(walk_pain; phase, age<=7d) <= 2\n"
        "    share: 0.5\n"
        "    stops: true\n"
    )
    made: list[str] = []
    for mutant in of_file("file", path, lambda content: made.append(content.decode())):
        mutant.apply()
    lines = [
        line
        for text in made
        for line, old in zip(text.splitlines(), path.read_text().splitlines(), strict=True)
        if line != old
    ]
    assert [line.strip() for line in lines] == [
        "when: latest(walk_pain; episode, age<=7d) <= 2",
        "when: latest(walk_pain; phase, age<=8d) <= 2",
        "when: latest(walk_pain; phase, age<=6d) <= 2",
        "when: latest(walk_pain; phase, age<=7d) < 2",
        "when: latest(walk_pain; phase, age<=7d) > 2",
        "when: latest(walk_pain; phase, age<=7d) <= 3",
        "when: latest(walk_pain; phase, age<=7d) <= 1",
        "share: 0.6",
        "share: 0.4",
        "stops: false",
    ]
