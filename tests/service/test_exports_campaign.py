"""A large file while its writer is killed, in a small size.

The full one: python -m tests.campaigns.exports --logs 1000000 --kill 1
"""

from __future__ import annotations

import subprocess
import sys


def test_a_killed_writer_loses_no_row_and_doubles_none() -> None:
    asked = ["--logs", "12000", "--kill", "1", "--impatient"]
    command = [sys.executable, "-m", "tests.campaigns.exports", *asked]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=900)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    said = " ".join(ended.stdout.split())
    assert "12,000 of 12,000 rows" in said
    assert "with 1 kills" in said
    assert "Missing 0, twice 0, checksum right." in said
