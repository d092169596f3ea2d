"""The seed of what is drawn."""

from __future__ import annotations

from random import SystemRandom

import pytest


@pytest.fixture
def seed(request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> int:
    """`--hypothesis-seed=N` repeats a run; a campaign says which N that is."""
    given = request.config.getoption("--hypothesis-seed")
    chosen = int(given) if given not in (None, "random") else SystemRandom().randrange(2**32)
    if request.node.get_closest_marker("campaign"):
        with capsys.disabled():
            print(f"\n{request.node.name}: --hypothesis-seed={chosen}")
    return chosen
