"""One line of the predicate grammar as a value: what to aggregate, over what, and the limit."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean

GRAMMAR = re.compile(
    r"(?P<agg>max|min|mean|sum|count|latest|ratio)"
    r"\((?P<metric>[a-z][a-z0-9_]*(?:/[a-z][a-z0-9_]*)?);"
    r" (?P<window>last:(?P<last>[1-9][0-9]{0,2})|days:(?P<days>[1-9][0-9]{0,2})|phase|episode)"
    r"(?:, age<=(?P<age>[1-9][0-9]{0,2})d)?\)"
    r" (?P<cmp><=|<|>=|>|==|!=) (?P<value>-?[0-9]{1,6}(?:\.[0-9]{1,6})?)"
)
COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    "<=": operator.le,
    "<": operator.lt,
    ">=": operator.ge,
    ">": operator.gt,
    "==": operator.eq,
    "!=": operator.ne,
}
AGGREGATES: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "min": min,
    "mean": fmean,
    "sum": sum,
    "count": lambda values: float(len(values)),
    "latest": lambda values: values[-1],
}


@dataclass(frozen=True, slots=True)
class Predicate:
    """`latest(walk_pain; phase, age<=7d) <= 0`. Missing data make it false, never true."""

    aggregate: str
    metric: str
    window: str  # last, days, phase, episode
    size: int  # of last and days; else 0
    most_days_old: int | None
    compare: str
    limit: float

    @property
    def is_newest_of_phase(self) -> bool:
        """`latest(…; phase)`, which is what nearly every exit asks."""
        return self.aggregate == "latest" and self.window == "phase"

    def observed(self, values: Sequence[float], divisors: Sequence[float] = ()) -> float | None:
        """The values of the window as one number; None where any that it needs is missing."""
        too_few = self.window == "last" and len(values) != self.size
        if not values or (too_few and self.aggregate != "count"):
            return None
        if self.aggregate == "ratio":
            return sum(values) / sum(divisors) if sum(divisors) else None
        return AGGREGATES[self.aggregate](values)

    def holds(self, observed: float | None) -> bool:
        return observed is not None and COMPARE[self.compare](observed, self.limit)


@lru_cache(maxsize=2048)  # drafts bring lines of their own
def parse(text: str) -> Predicate:
    """Read one predicate; ValueError names what is not of the grammar."""
    found = GRAMMAR.fullmatch(text)
    if found is None:
        raise ValueError(f"not a predicate: {text}")
    size = found["last"] or found["days"]
    return Predicate(
        aggregate=found["agg"],
        metric=found["metric"],
        window=found["window"].partition(":")[0],
        size=int(size or 0),
        most_days_old=int(found["age"]) if found["age"] else None,
        compare=found["cmp"],
        limit=float(found["value"]),
    )
