"""The dossier's worked cases, and ours, date by date through the production engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols import playing


@pytest.mark.parametrize("path", playing.case_files(), ids=lambda path: path.stem)
def test_worked_case(path: Path) -> None:
    case, text = playing.read_case(path)
    assert case is not None, [str(finding) for finding in text.findings]
    played = playing.play(case, playing.protocol_named(case.protocol))
    assert {f"D{one.number}": one.differences for one in played if one.differences} == {}
    assert all(one.expect is not None for one in case.dates), "a case says what it expects"
