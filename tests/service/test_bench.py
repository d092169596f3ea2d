"""The benchmark itself: its statistics, and that every part of it still runs. Nothing is timed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.load import Window
from tests.bench.measuring import Figure, Goal, Result, percentile, ratio, tail, times_of

ROOT = Path(__file__).resolve().parents[2]


def window(*milliseconds: float, seconds: float = 1) -> Window:
    return Window(seconds, tuple(one / 1000 for one in milliseconds))


def test_a_figure_is_the_median_and_its_spread() -> None:
    assert Figure.of([3, 1, 2, 9, 2]) == Figure(2, 1, 9)


@pytest.mark.parametrize(
    ("share", "expected"),
    [
        pytest.param(0.5, 50, id="half"),
        pytest.param(0.99, 99, id="all but one in a hundred"),
        pytest.param(1, 100, id="all"),
        pytest.param(0, 1, id="none"),
    ],
)
def test_percentiles(share: float, expected: float) -> None:
    assert percentile(range(100, 0, -1), share) == expected


def test_a_few_values_have_percentiles_too() -> None:
    assert percentile([7], 0.99) == 7
    assert percentile([3, 1], 0.5) == 1


def test_ratios_are_taken_round_by_round() -> None:
    """So that a slow minute of the machine, which slows both, does not count."""
    fast, slow = [window(1, 1, 1, 1), window(1, 1)], [window(2, 2), window(2)]
    assert ratio(slow, fast) == Figure(0.5, 0.5, 0.5)
    assert ratio(slow, fast, times=24).median == 12


def test_the_tail_and_the_times() -> None:
    windows = [window(*[1] * 98, 4, 9, seconds=2)] * 3
    assert tail(windows).median == pytest.approx(4)
    assert times_of(windows) == pytest.approx({"a_second": 50, "p50_ms": 1, "p99_ms": 4})


@pytest.mark.parametrize(
    ("goal", "value", "holds"),
    [
        pytest.param(Goal(at_least=0.8), 0.8, True, id="just enough"),
        pytest.param(Goal(at_least=0.8), 0.79, False, id="too little"),
        pytest.param(Goal(at_most=12), 12, True, id="just allowed"),
        pytest.param(Goal(at_most=12), 13, False, id="too much"),
        pytest.param(None, 5, True, id="only to be read"),
    ],
)
def test_goals(goal: Goal | None, value: float, holds: bool) -> None:
    assert Result("part", "job", "floor", Figure.of([value]), goal).holds is holds


@pytest.mark.campaign
def test_it_runs_from_beginning_to_end(tmp_path: Path) -> None:
    """Every part, at its smallest; whether goals hold is no matter here."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--quick", "--rounds", "1", "--to", tmp_path / "b"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode in (0, 1), ran.stderr
    told = json.loads((tmp_path / "b").read_text())
    parts = {"floors", "plan", "flat", "session", "push", "feed", "engine", "start", "memory"}
    assert {one["part"] for one in told["results"]} == parts
    assert told["sizes"]["uploaders"] > 0
    assert told["commit"]
