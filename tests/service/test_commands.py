"""Commands that play cases and simulate cohorts: what they print, and how they end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from protocols.case_files import case_files
from protocols.simulation import COMPLETED

ROOT = Path(settings.BASE_DIR)
C2 = ROOT / "protocols/cases/c2-grade-2-two-red-days.yaml"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run() -> Run:
    """The exit code of a command, what it said, and what it complained about."""

    def command(*words: str) -> tuple[int, str, str]:
        out, err, code = StringIO(), StringIO(), 0
        try:
            call_command(*words, stdout=out, stderr=err)
        except SystemExit as end:
            code = int(str(end.code))
        return code, out.getvalue(), err.getvalue()

    return command


# --- play_case --------------------------------------------------------------------------------


@pytest.mark.parametrize("path", case_files(), ids=lambda path: path.stem)
def test_every_case_ends_well(run: Run, path: Path) -> None:
    code, _, complaint = run("play_case", str(path))
    assert (code, complaint) == (0, "")


def test_one_line_a_date(run: Run) -> None:
    _, said, _ = run("play_case", str(C2))
    lines = said.splitlines()
    assert len(lines) == 28
    assert lines[13].split() == [
        "D14", "2026-04-19", "phase-2", "14/14", "RED", "step_back", "R5",
    ]  # fmt: skip


def test_one_object_a_date(run: Run) -> None:
    _, said, _ = run("play_case", str(C2), "--json")
    dates = [json.loads(line) for line in said.splitlines()]
    assert [one["d"] for one in dates] == list(range(1, 29))
    red = dates[9]
    assert (red["colour"], red["decision"], red["rule"]) == ("RED", "hold", "R6")
    assert (red["phase_of_next_date"], red["planned_on_next_date"]) == ("phase-2", 7)
    held = {one["gate"]: one for one in dates[10]["findings"]}
    assert held["GG7"] == {
        "gate": "GG7", "passed": False, "text": "RED on 2026-04-15", "observed": 1, "limit": 0,
        "samples": 1, "records": ["2026-04-15"],
    }  # fmt: skip


def elsewhere(folder: Path, old: str, new: str) -> Path:
    """A case that lies outside the project and says something else."""
    content = C2.read_text()
    assert old in content
    path = folder / "mine.yaml"
    path.write_text(content.replace(old, new, 1))
    return path


def test_the_first_difference_ends_with_1(run: Run, tmp_path: Path) -> None:
    path = elsewhere(tmp_path, "colour: RED, decision: hold, rule: R6", "rule: R15")
    code, said, complaint = run("play_case", str(path))
    assert code == 1
    assert len(said.splitlines()) == 28
    assert complaint.splitlines() == ["D10 2026-04-15: rule: expected R15, got R6"]


def test_a_case_without_expectations_is_only_played(run: Run, tmp_path: Path) -> None:
    lines = C2.read_text().split("dates:\n")[0].splitlines()
    told = ["dates:", *(f"  - {{on: 2026-04-{n:02}}}" for n in range(6, 12))]
    path = tmp_path / "bare.yaml"
    path.write_text("\n".join([*lines, *told]))
    code, said, complaint = run("play_case", str(path))
    assert (code, complaint) == (0, "")
    assert "R8" in said


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("protocol: hs-grade-2", "protocol: hs-grade-9", "there is no protocol hs-grade-9"),
        ("  phase-2: 14", "  phase-9: 14", "hs-grade-2 has no phase-9"),
        ("walk_pain: 0", "walk_fun: 0", "mine.yaml:42: /dates/4/measured: walk_fun is no metric"),
        ("on: 2026-04-07", "on: 2026-04-09", "dates/1: expected 2026-04-07"),
        ("starts: 2026-04-06", "starts: 2026-02-30", "mine.yaml:5: /starts:"),
        ("Europe/Berlin", "Europe/Atlantis", "mine.yaml:4: /timezone: Europe/Atlantis"),
        ("log: {done: 12,", "log: {did: 12,", "/dates/0/log/did: is not known here"),
        ("before: 3", "before: 11", "/dates/0/log/before"),
        ("id: C2", "id: [", "this is not YAML"),
    ],
)
def test_what_cannot_be_played_is_refused_with_its_place(
    run: Run, tmp_path: Path, old: str, new: str, told: str
) -> None:
    path = elsewhere(tmp_path, old, new)
    with pytest.raises(CommandError) as refused:
        run("play_case", str(path))
    assert told in str(refused.value)


def test_a_file_that_is_not_there(run: Run, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be opened"):
        run("play_case", str(tmp_path / "none.yaml"))


# --- Cases and the library --------------------------------------------------------------------


def test_a_new_version_that_breaks_a_worked_case_is_refused(library: None, tmp_path: Path) -> None:
    for folder in ("exercises", "protocols"):
        ignored = shutil.ignore_patterns("*.py", "__pycache__")
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=ignored)
    file = tmp_path / "protocols/library/hs-grade-2.v1.0.0.yaml"
    content = file.read_text()
    assert "red: 6" in content
    changed = content.replace("version: 1.0.0", "version: 1.0.1").replace("red: 6", "red: 7")
    file.with_name("hs-grade-2.v1.0.1.yaml").write_text(changed)
    complaint = StringIO()
    with pytest.raises(CommandError, match="nothing was loaded"):
        call_command("load_library", root=tmp_path, stdout=StringIO(), stderr=complaint)
    first = complaint.getvalue().splitlines()[0]
    assert first.startswith("protocols/cases/c2-grade-2-two-red-days.yaml:")
    assert "/dates/9/expect/colour: 2026-04-15: expected RED, got AMBER" in first


# --- simulate ---------------------------------------------------------------------------------

SMALL = ("simulate", "--cohort", "6", "--days", "40", "--seed", "4", "--protocol")


def test_a_plain_table(run: Run) -> None:
    code, said, complaint = run(*SMALL, "hs-grade-1")
    assert (code, complaint) == (0, "")
    assert said.startswith("hs-grade-1 1.0.0: 6 synthetic people over 40 days, seed 4.")
    for word in ("advance", "hold", "step back", "stop", "2. Strength through range", "completed"):
        assert word in said


def test_the_same_seed_says_the_same(run: Run, tmp_path: Path) -> None:
    pictures = [tmp_path / "one.svg", tmp_path / "two.svg"]
    said = [run(*SMALL, "pht", "--json", "--svg", str(path))[1] for path in pictures]
    assert said[0] == said[1]
    assert pictures[0].read_bytes() == pictures[1].read_bytes()
    assert ElementTree.fromstring(pictures[0].read_text()).get("role") == "img"


def test_a_line_a_person_then_the_summary(run: Run) -> None:
    _, said, _ = run(*SMALL, "hs-grade-1", "--json")
    *people, summary = [json.loads(line) for line in said.splitlines()]
    assert [one["person"] for one in people] == [1, 2, 3, 4, 5, 6]
    assert {len(one["days"]) for one in people} == {40}
    assert people[0]["days"][0]["rule"] in ("R13", "R15")
    assert summary["cohort"] == 6
    assert sum(one["dates"] for one in summary["decisions"].values()) == 240
    assert summary["shares"]["phase-1"][0] == 1
    assert set(summary["shares"]) >= {"phase-1", "phase-2", "phase-3", COMPLETED}


def test_a_draft_in_a_file(run: Run, tmp_path: Path) -> None:
    content = (ROOT / "protocols/library/hs-grade-1.v1.0.0.yaml").read_text()
    draft = tmp_path / "draft.yaml"
    draft.write_text(content.replace("slug: hs-grade-1", "slug: my-draft"))
    assert run(*SMALL, str(draft))[1].startswith("my-draft 1.0.0: ")

    draft.write_text(content.replace("severe: 8", "severe: 5"))
    with pytest.raises(CommandError, match="/limits/severe: not above red"):
        run(*SMALL, str(draft))


def test_neither_a_file_nor_a_slug(run: Run) -> None:
    with pytest.raises(CommandError, match="neither a file nor a slug"):
        run(*SMALL, "no-such-protocol")


@pytest.mark.parametrize("count", ["0", "-3", "many", "1000000"])
def test_a_cohort_of_nobody_is_refused(run: Run, count: str) -> None:
    with pytest.raises(CommandError, match="whole number from 1 to"):
        run("simulate", "--protocol", "pht", f"--cohort={count}")


def test_a_picture_that_cannot_be_written(run: Run, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        run(*SMALL, "pht", "--svg", str(tmp_path / "nowhere" / "plot.svg"))


def test_a_trace_in_a_file(run: Run, tmp_path: Path) -> None:
    """The same lines that --json prints, beside the table."""
    path = tmp_path / "trace.ndjson"
    assert "completed" in run(*SMALL, "hs-grade-1", "--trace", str(path))[1]
    *people, _ = run(*SMALL, "hs-grade-1", "--json")[1].splitlines()
    assert path.read_text().splitlines() == people
    with pytest.raises(CommandError, match="No such file"):
        run(*SMALL, "pht", "--trace", str(tmp_path / "nowhere" / "trace"))


# --- simulate with histories ------------------------------------------------------------------


def lived(*, name: str = "h1", days: int = 9, **said: object) -> dict[str, object]:
    """Somebody who does everything, is assessed on the third date, and hurts on the last."""
    clear = {"walk_pain": 0, "jog_slow_pain": 0, "sl_squat_pain": 0, "iso90_pct": 60,
             "iso90_pain": 0, "knee_ext_lag_deg": 0}  # fmt: skip
    dates: list[dict[str, object]] = [
        {
            "on": f"2026-01-{5 + n:02}",
            "log": {"done": 99, "before": 1, "during": 6 if n == days - 1 else 1, "next": 1},
        }
        for n in range(days)
    ]
    if days > 2:
        dates[2]["measured"] = clear
    return {"id": name, "starts": "2026-01-05", "dates": dates, **said}


@pytest.fixture
def of_histories(run: Run, tmp_path: Path) -> Callable[..., str]:
    def simulate(*lines: object, words: tuple[str, ...] = ()) -> str:
        path = tmp_path / "histories.ndjson"
        told = (line if isinstance(line, str) else json.dumps(line) for line in lines)
        path.write_text("".join(f"{line}\n" for line in told))
        return run("simulate", "--protocol", "hs-grade-1", "--histories", str(path), *words)[1]

    return simulate


def test_histories_that_were_lived(of_histories: Callable[..., str]) -> None:
    said = of_histories(lived(), lived(name="h2", days=2), words=("--json",))
    first, second, summary = [json.loads(line) for line in said.splitlines()]
    assert (first["id"], [one["day"] for one in first["days"]]) == ("h1", list(range(1, 10)))
    assert [one["rule"] for one in first["days"]][:4] == ["R15", "R15", "R14", "R15"]
    assert [one["phase_id"] for one in first["days"]][2:4] == ["phase-1", "phase-2"]
    assert first["days"][-1]["colour"] == "RED"
    assert len(second["days"]) == 2
    assert (summary["cohort"], summary["days"], summary["seed"]) == (2, 9, None)
    assert summary["shares"]["phase-2"] == [0, 0, 0, 1, 1, 1, 1, 1, 1]  # of who is still told of


def test_histories_as_they_were_decided_and_cut_short(of_histories: Callable[..., str]) -> None:
    said = of_histories(lived(approvals="as_dated"), words=("--json", "--days", "4"))
    person, _ = [json.loads(line) for line in said.splitlines()]
    assert [one["phase_id"] for one in person["days"]] == ["phase-1"] * 4
    assert of_histories(lived()).startswith(
        "hs-grade-1 1.0.0: 1 histories of histories.ndjson over 9 days."
    )


@pytest.mark.parametrize(
    ("line", "told"),
    [
        pytest.param("{", r":2: : Invalid JSON", id="no JSON"),
        pytest.param(lived(age=40), ":2: /age: Extra inputs", id="more than is asked for"),
        pytest.param(lived(days=0), ":2: /dates: List should have", id="no date"),
        pytest.param(lived(phase="phase-9"), "h1: hs-grade-1 has no phase-9", id="another phase"),
        pytest.param(
            {"id": "h3", "starts": "2026-01-05", "dates": [{"on": "2026-01-07"}]},
            "dates/0: expected 2026-01-05", id="a hole",
        ),
        pytest.param(
            {"id": "h3", "starts": "2026-01-05",
             "dates": [{"on": "2026-01-05", "measured": {"mood": 1}}]},
            "/dates/0/measured: mood is no metric", id="a metric nobody knows",
        ),
    ],
)  # fmt: skip
def test_a_line_that_is_no_history(
    of_histories: Callable[..., str], line: object, told: str
) -> None:
    with pytest.raises(CommandError, match=told):
        of_histories(lived(), line)


def test_no_histories(run: Run, of_histories: Callable[..., str], tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="holds no history"):
        of_histories()
    with pytest.raises(CommandError, match="No such file"):
        run("simulate", "--protocol", "pht", "--histories", str(tmp_path / "nowhere"))
    with pytest.raises(CommandError, match="not allowed with argument"):
        of_histories(lived(), words=("--cohort", "3"))
