"""Reminders while worker, beat, Redis and database are killed, in a small size (R1 to R3, R7).

The full one: python -m tests.campaigns.reminders --reminders 10000 --kills 50
"""

from __future__ import annotations

import os

import pytest

from tests.campaigns.outages import missing
from tests.campaigns.reminders import run


@pytest.mark.skipif(
    "TEST_DATABASE_URL" not in os.environ, reason="it has servers of its own: once is enough"
)
def test_nothing_is_lost_and_nothing_is_sent_under_a_second_key():
    if lacking := missing():
        pytest.skip(lacking)

    found = run(reminders=150, kills=3, faults=0.05, seed=7, tell=lambda _: None)

    assert found.holds, found
    assert sum(found.outcomes.values()) == 150
