"""The dossier's worked cases, and ours, date by date through the production engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocols import playing
from protocols.case_files import case_files, read_case


@pytest.mark.parametrize("path", case_files(), ids=lambda path: path.stem)
def test_worked_case(path: Path) -> None:
    case, text = read_case(path)
    assert case is not None, [str(finding) for finding in text.findings]
    played = playing.play(case, playing.protocol_named(case.protocol))
    assert {f"D{one.number}": one.differences for one in played if one.differences} == {}
    assert all(one.expect is not None for one in case.dates), "a case says what it expects"
