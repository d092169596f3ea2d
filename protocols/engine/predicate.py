"""One line of the predicate grammar as a value: what to aggregate, over what, and the limit."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import fmean

GRAMMAR = re.compile(
    r"(?P<agg>max|min|mean|sum|count|latest|ratio)"
    r"\((?P<metric>[a-z0-9_]+(?:/[a-z0-9_]+)?);\s*"
    r"(?P<window>last:(?P<last>\d+)|days:(?P<days>\d+)|phase|episode)"
    r"(?:,\s*age<=(?P<age>\d+)d)?\)\s*"
    r"(?P<cmp><=|<|>=|>|==|!=)\s*(?P<value>-?\d+(?:\.\d+)?)"
)
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}


@dataclass(frozen=True, slots=True)
class Predicate:
    """`latest(walk_pain; phase, age<=7d) <= 0`. Missing data make it false, never true."""

    aggregate: str
    metric: str
    window: str  # last, days, phase, episode
    size: int | None
    most_days_old: int | None
    compare: str
    limit: float

    def holds(self, observed: float | None) -> bool:
        return observed is not None and COMPARE[self.compare](observed, self.limit)


@cache
def parse(text: str) -> Predicate:
    """Read one predicate; ValueError names what is not of the grammar."""
    found = GRAMMAR.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not a predicate: {text}")
    size = found["last"] or found["days"]
    return Predicate(
        aggregate=found["agg"],
        metric=found["metric"],
        window=found["window"].partition(":")[0],
        size=int(size) if size else None,
        most_days_old=int(found["age"]) if found["age"] else None,
        compare=found["cmp"],
        limit=float(found["value"]),
    )


def aggregate(how: str, values: Sequence[float], weights: Sequence[float] = ()) -> float | None:
    """The values as one number; None without any. `ratio` divides their sum by the weights'."""
    if how == "count":
        return float(len(values))
    if how == "ratio":
        return sum(values) / sum(weights) if sum(weights) else None
    if not values:
        return None
    simple: Mapping[str, Callable[[Sequence[float]], float]] = {
        "max": max,
        "min": min,
        "mean": fmean,
        "sum": sum,
        "latest": lambda found: found[-1],
    }
    return simple[how](values)
