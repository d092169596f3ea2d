"""Whether a screen that is asked again and again was answered."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date


def is_unanswered(on: date, heard: Iterable[date], days: int) -> bool:
    """Whether as many days have passed since it was heard of last: an answer, or the start.

    What is dated later than `on` was heard as well.
    """
    return (on - max(heard)).days >= days
