"""Rounds in turns, ratios of their medians' kind, and whether a goal holds."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

from tests.bench.load import Load, Window

WARM_UP = 0.3  # of a window: what is loaded on first use is no part of a measurement


@dataclass(frozen=True)
class Figure:
    """What several rounds gave: their median, and how far they lay apart."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Figure:
        return cls(median(values), min(values), max(values))


@dataclass(frozen=True)
class Goal:
    """A bound, on one side."""

    at_least: float | None = None
    at_most: float | None = None

    def holds(self, figure: Figure) -> bool:
        value = figure.median
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )

    def __str__(self) -> str:
        return f"≥ {self.at_least:g}" if self.at_least is not None else f"≤ {self.at_most:g}"


@dataclass(frozen=True)
class Result:
    """One line of the table. Without a goal it is there to be read."""

    part: str
    job: str
    against: str
    figure: Figure
    goal: Goal | None = None
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return self.goal is None or self.goal.holds(self.figure)


def in_turns(
    load: Load,
    lanes: Sequence[str],
    *,
    concurrency: int,
    rounds: int,
    seconds: float,
    step: Callable[[str], None],
    before: Callable[[], None] = lambda: None,
) -> dict[str, list[Window]]:
    """The windows of each lane, `before` which something may be made as it was. Who goes first
    changes from round to round."""
    seen: dict[str, list[Window]] = {lane: [] for lane in lanes}
    for lane in lanes:
        load.run(lane, concurrency=concurrency, seconds=seconds * WARM_UP)
    for number in range(rounds):
        for lane in lanes if number % 2 == 0 else reversed(lanes):
            step(f"{lane}, {concurrency} at a time, round {number + 1} of {rounds}")
            before()
            seen[lane].append(load.run(lane, concurrency=concurrency, seconds=seconds))
    return seen


def ratio(windows: Sequence[Window], floor: Sequence[Window], times: float = 1) -> Figure:
    """Requests a second against those of the floor, round by round."""
    return Figure.of([a.rate * times / b.rate for a, b in zip(windows, floor, strict=True)])


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that this share of the values does not exceed."""
    in_order = sorted(values)
    return in_order[max(0, -(-len(in_order) * round(share * 1000) // 1000) - 1)]


def times_of(windows: Sequence[Window]) -> dict[str, float]:
    """What a reader wants to know besides the ratio."""
    every = [latency for window in windows for latency in window.latencies]
    return {
        "a_second": median(window.rate for window in windows),
        "p50_ms": percentile(every, 0.5) * 1000,
        "p99_ms": percentile(every, 0.99) * 1000,
    }


def tail(windows: Sequence[Window]) -> Figure:
    """How many times the usual latency the slowest hundredth takes."""
    return Figure.of(
        [percentile(w.latencies, 0.99) / percentile(w.latencies, 0.5) for w in windows]
    )


def usual(windows: Sequence[Window]) -> list[float]:
    return [percentile(window.latencies, 0.5) for window in windows]
