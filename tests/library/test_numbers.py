"""Every number of the library against tables that were typed off the clinical dossier.

The tables stand beside this file, in the dossier's own notation, so that a clinician can read them.
Whoever changes a number of the library on purpose changes it there as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from exercises.reading import read
from protocols import playing
from protocols.knowledge import expected_days, metrics, rules, safety

HERE = Path(__file__).parent
ROOT = HERE.parent.parent

Table = list[list[str]]


def rows_of(text: str) -> Table:
    """The cells of every row of a page's tables, heads and rules left out."""
    lines = text.splitlines()
    rules = {n for n, line in enumerate(lines) if line.startswith("|---")}
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for n, line in enumerate(lines)
        if line.startswith("| ") and n + 1 not in rules
    ]


def page(name: str) -> str:
    return (HERE / name).read_text()


def file(name: str) -> Any:
    return read(ROOT / name, root=ROOT).value


# --- Protocols --------------------------------------------------------------------------------


@dataclass
class Written:
    """A protocol as the dossier lists it."""

    limits: str = ""
    days: list[int] = field(default_factory=list)
    rows: list[Table] = field(default_factory=list)  # per phase
    exits: list[list[str]] = field(default_factory=list)


@cache
def dossier() -> dict[str, Written]:
    found: dict[str, Written] = {}
    for section in page("protocols.md").split("\n## ")[1:]:
        head, *phases = section.split("\n### ")
        slug, _, limits = head.partition("\n")
        one = found[slug] = Written(limits.strip())
        for phase in phases:
            title, _, tables = phase.partition("\n")
            least = re.fullmatch(r"Phase \d, at least (\d+) days", title)
            assert least, title
            one.days.append(int(least[1]))
            rows = rows_of(tables)
            one.rows.append([row for row in rows if len(row) > 1])
            one.exits.append([row[0].strip("`") for row in rows if len(row) == 1])
    return found


@cache
def catalogue() -> dict[str, Any]:
    """Entries of the exercise files, for what a dose is counted in."""
    folder = ROOT / "exercises/library"
    return {
        entry["slug"]: entry
        for path in sorted(folder.glob("*.yaml"))
        for entry in file(path.relative_to(ROOT).as_posix())
    }


@cache
def written_doses() -> dict[str, list[str]]:
    return {row[0]: row for row in rows_of(page("exercises.md"))}


def amount(slug: str, sets: str, reps: str, hold_s: str) -> dict[str, object]:
    """Sets, repetitions and seconds as a dose of the library; metres stand as a tempo."""
    if metres := re.fullmatch(r"(\d+) m", written_doses()[slug][4]):
        return {"sets": int(sets), "distance_m": int(metres[1])}
    if catalogue()[slug]["dose_unit"] == "duration_s":
        return {"sets": int(sets), "duration_s": int(hold_s)}
    hold = {"hold_s": int(hold_s)} if int(hold_s) else {}
    return {"sets": int(sets), "reps": int(reps), **hold}


def how_often(said: str) -> dict[str, object]:
    if said == "once":
        return {"kind": "once"}
    if found := re.fullmatch(r"(?:(\d)/)?d", said):
        often = {"sessions_per_day": int(found[1])} if found[1] else {}
        return {"kind": "daily", **often}
    if found := re.fullmatch(r"(\d)/wk", said):
        return {"kind": "weekly", "per_week": int(found[1])}
    found = re.fullmatch(r"q(\d)d", said)
    assert found, said
    return {"kind": "every_n_days", "every_n_days": int(found[1])}


WEEKLY_3 = {"kind": "weekly", "per_week": 3}
OFF = {"included": False}  # until a clinician switches it on


def effort(least: int, most: int) -> dict[str, object]:
    return {"dose": {"effort": {"scale": "percent", "min": least, "max": most}}}


def stage(from_day: int, sets: int, reps: object, *, per_week: int = 3, **more: object) -> object:
    schedule = {"kind": "weekly", "per_week": per_week}
    return {
        "from_day": from_day,
        "dose": {"sets": sets, "reps": reps, **more},
        "schedule": schedule,
    }


def heavy(from_day: int, sets: int, reps: int) -> object:
    return stage(from_day, sets, reps, load_text=f"{reps} RM", rest_s=150)


TWELVE_TEN_EIGHT = {"dose": {"reps_by_set": [12, 10, 8]}}

# What the note of a row means, beside its columns: (protocol, phase, exercise).
NOTED: dict[tuple[str, int, str], dict[str, Any]] = {
    ("hs-grade-1", 1, "ed-ice"): {"schedule": {"to_day": 2}},
    ("hs-grade-1", 2, "ca-walk-jog"): effort(25, 70),
    ("hs-grade-2", 1, "ed-rice"): {"schedule": {"to_day": 3}},
    ("hs-grade-2", 1, "ed-ice"): {"schedule": {"to_day": 2}},
    ("hs-grade-2", 1, "ca-bike"): OFF,
    ("hs-grade-2", 2, "ca-walk-jog"): effort(25, 50),
    # Nordic weeks, "also when a strain plan reaches its last phase"
    ("hs-grade-2", 4, "sg-nordic-assisted"): {"schedule": {"to_day": 7}},
    ("hs-grade-2", 4, "sg-nordic"): {"schedule": {"from_day": 8}},
    ("hs-grade-3", 1, "sg-iso-heel-dig"): {**effort(30, 30), "schedule": {"from_day": 7}},
    ("hs-grade-3", 3, "ca-walk-jog"): effort(25, 50),
    ("pht", 2, "sg-curl-hsr"): {
        "dose": {"load_text": "15 RM"},
        "stages": [heavy(8, 3, 12), heavy(22, 4, 10), heavy(36, 4, 8)],
    },
    ("pht", 2, "sg-iso-bridge-long"): {"schedule": {"not_on_days_of": "sg-curl-hsr"}},
    ("pht", 3, "sg-curl-hsr"): {"dose": {"load_text": "8 RM"}, "stages": [heavy(29, 4, 6)]},
    ("post-repair", 1, "sg-hip-abd-sidelying"): {"schedule": {"from_day": 8, "to_day": 42}},
    ("post-repair", 3, "sg-rdl-double"): {"dose": {"load_text": "light"}},
    ("neural-thigh", 1, "ng-sciatic-contra-slider"): OFF,
    ("neural-thigh", 3, "ng-sciatic-slr-tensioner"): {**OFF, "gate": "N-TENS"},
    ("deep-gluteal", 1, "fr-glute"): OFF,
    ("deep-gluteal", 3, "st-piriformis-fair"): OFF,
    ("lumbar-referred", 1, "mo-ext-prone-lying"): OFF,
    ("lumbar-referred", 1, "mo-ext-pressup"): OFF,
    ("lumbar-referred", 1, "mo-flex-lying"): OFF,
    ("lumbar-referred", 2, "st-hamstring-wall"): OFF,
    ("prevent-nordic", 1, "sg-nordic-assisted"): {"schedule": {"to_day": 7}},
    ("prevent-nordic", 1, "sg-nordic"): {
        "schedule": {"from_day": 8},
        "stages": [
            stage(8, 2, 6, per_week=2, rest_s=120),
            stage(15, 3, {"min": 6, "max": 8}, rest_s=120),
            stage(22, 3, {"min": 8, "max": 10}, rest_s=120),
        ],
    },
    ("prevent-nordic", 2, "sg-nordic"): TWELVE_TEN_EIGHT,
    ("prevent-nordic", 2, "ca-sprint-exposure"): OFF,
    ("prevent-nordic", 3, "sg-nordic"): TWELVE_TEN_EIGHT,
}
# One row of the dossier names two exercises, of which a clinician chooses one.
SECOND_CHOICE = ("neural-thigh", 2, "ng-peroneal-slider")


def prescribed(slug: str, phase: int, row: list[str]) -> dict[str, Any]:
    """A row of the dossier as the library writes it: its columns, the catalogue's rest and ceiling,
    and what its note adds."""
    exercise, sets, reps, hold_s, often, _ = row
    of_catalogue = written_doses()[exercise]
    rest_s, ceiling = int(of_catalogue[7]), int(of_catalogue[8])
    noted = NOTED.get((slug, phase, exercise), {})
    expected = {
        "exercise": exercise,
        "dose": amount(exercise, sets, reps, hold_s)
        | ({"rest_s": rest_s} if rest_s else {})
        | noted.get("dose", {}),
        "schedule": how_often(often) | noted.get("schedule", {}),
        "pain_ceiling": ceiling,
    }
    if exercise.startswith("ed-"):
        expected["counts"] = False  # shown and ticked off, never in adherence
    return expected | {name: noted[name] for name in noted.keys() - {"dose", "schedule"}}


def without_words(row: dict[str, Any]) -> dict[str, Any]:
    """A prescription without what is no number: its note, its source, its tempo."""
    bare = {name: value for name, value in row.items() if name not in ("note", "source")}
    bare["dose"] = {name: value for name, value in row["dose"].items() if name != "tempo"}
    if "stages" in row:
        bare["stages"] = [
            {name: value for name, value in one.items() if name != "dose"}
            | {"dose": {name: value for name, value in one["dose"].items() if name != "tempo"}}
            for one in row["stages"]
        ]
    return bare


def in_phases(slug: str) -> Iterator[tuple[int, Any]]:
    """The phases of the protocol's file, with the numbers they should have."""
    yield from enumerate(file(f"protocols/library/{slug}.v1.0.0.yaml")["phases"], start=1)


SLUGS = sorted(dossier())


@pytest.mark.parametrize("slug", SLUGS)
def test_limits(slug: str) -> None:
    said = dossier()[slug].limits
    found = dict(re.findall(r"(\w+) (\d+|yes|no)", said))
    expected = {
        "progress": int(found["P_prog"]),
        "red": int(found["RED_dur"]),
        "red_rise": int(found["RED_delta"]),
        "severe": int(found["SEV"]),
        "nerve": found["neural"] == "yes",
        # section 4, AMBER: (pht) pain_next >= 4
        **({"amber_next": 4} if slug == "pht" else {}),
    }
    limits = file(f"protocols/library/{slug}.v1.0.0.yaml")["limits"]
    assert {name: value for name, value in limits.items() if name != "source"} == expected


@pytest.mark.parametrize("slug", SLUGS)
def test_phases(slug: str) -> None:
    found = [(phase["id"], phase["number"], phase["min_days"]) for _, phase in in_phases(slug)]
    days = dossier()[slug].days
    assert found == [(f"phase-{n}", n, least) for n, least in enumerate(days, start=1)]


@pytest.mark.parametrize("slug", SLUGS)
def test_doses(slug: str) -> None:
    for number, phase in in_phases(slug):
        found = [without_words(row) for row in phase["prescriptions"]]
        expected = [prescribed(slug, number, row) for row in dossier()[slug].rows[number - 1]]
        if slug == SECOND_CHOICE[0] and number == SECOND_CHOICE[1]:
            n = next(n for n, row in enumerate(expected) if row["exercise"] == "ng-tibial-slider")
            expected.insert(n + 1, {**expected[n], "exercise": SECOND_CHOICE[2], **OFF})
        assert found == expected, phase["id"]


@pytest.mark.parametrize("slug", SLUGS)
def test_ways_out(slug: str) -> None:
    found = [[criterion["when"] for criterion in phase["exit"]] for _, phase in in_phases(slug)]
    assert found == dossier()[slug].exits


def test_every_protocol_file_is_in_the_tables() -> None:
    files = {path.name.partition(".")[0] for path in (ROOT / "protocols/library").glob("*.yaml")}
    assert files == set(SLUGS)
    rows = sum(len(table) for one in dossier().values() for table in one.rows)
    exits = sum(len(table) for one in dossier().values() for table in one.exits)
    assert (len(SLUGS), rows, exits) == (10, 242, 142)


# --- Exercises --------------------------------------------------------------------------------


def test_catalogue_doses() -> None:
    """Words in the column of the tempo are no number of a dose; three numbers are."""
    expected = {}
    for slug, sets, reps, hold_s, tempo, per_day, days, rest_s, ceiling in rows_of(
        page("exercises.md")
    ):
        expected[slug] = amount(slug, sets, reps, hold_s) | {
            "tempo": tempo if re.fullmatch(r"\d-\d-\d", tempo) else None,
            "per_day": per_day,
            "days_per_week": days,
            "rest_s": int(rest_s),
            "ceiling": int(ceiling),
        }
    found = {}
    for slug, entry in catalogue().items():
        tempo = entry["dose"].get("tempo", "")
        found[slug] = entry["dose"] | {
            "tempo": tempo if re.fullmatch(r"\d-\d-\d", tempo) else None,
            "per_day": str(entry["dose"]["per_day"]),
            "days_per_week": str(entry["dose"]["days_per_week"]),
            "ceiling": entry["pain_ceiling"],
        }
    assert found == expected


# --- What all protocols share -----------------------------------------------------------------


def test_numbers_of_the_rules() -> None:
    rows = rows_of(page("rules.md").partition("\n## ")[0])
    found = {parameter.id: parameter.value for parameter in rules().parameters}
    assert found == {name: float(value) for name, value, _ in rows}


def test_what_is_kept_back() -> None:
    rows = {name: (exercises, phases) for name, exercises, phases in rows_of(page("kept_back.md"))}
    found = {
        one["id"]: (
            ", ".join(one.get("exercises", [f"{one.get('kind')} {one.get('body_region')}"])),
            ", ".join(f"{slug} {phase}" for slug, phase in one.get("before", {}).items())
            or "its own",
        )
        for one in file("protocols/rules.yaml")["kept_back"]
    }
    assert found == rows


def test_nordic_weeks() -> None:
    rows = rows_of(page("rules.md").split("\n## ")[1])
    found = [(one["week"], one["sessions"], one["sets_x_reps"]) for one in rules().nordic_weeks]
    assert found == [(week, int(sessions), sets) for week, sessions, sets in rows]


def test_how_long_phases_are_expected_to_take() -> None:
    rows = rows_of(page("rules.md").split("\n## ")[2])
    expected = {(slug, f"phase-{phase}"): int(days) for slug, phase, days in rows}
    assert expected_days() == expected
    for (slug, phase), days in expected.items():
        assert playing.protocol_named(slug).phase(phase).min_days <= days


def test_ranges_of_metrics() -> None:
    def number(said: str) -> float | None:
        return None if said == "-" else float(said)

    expected = {
        code: (number(least), number(most), number(step), None if better == "-" else better)
        for least, most, step, better, codes in rows_of(page("metrics.md"))
        for code in codes.split()
    }
    found = {one.code: (one.min, one.max, one.step, one.better) for one in metrics().values()}
    assert found == expected


def test_levels_of_safety() -> None:
    """Emergency and urgent stop; the times are those of the dossier's levels."""
    found = {
        level.code: (
            level.stops,
            level.resend_every_min,
            level.escalate_after_h,
            level.review_within_working_days,
        )
        for level in safety().levels.values()
    }
    assert found == {
        "emergency": (True, 15, None, None),
        "urgent": (True, None, 4, None),
        "routine": (False, None, None, 3),
    }
    assert safety().unanswered_weekly_days == 14


def test_when_questions_are_asked() -> None:
    """Section 3 of safety: within 24 h before the start, weekly, monthly, and always."""
    found = {
        row["moment"]: (row.get("within_h"), row.get("every_days"), row.get("all_signs", False))
        for row in file("protocols/safety.yaml")["asking"]
    }
    assert found == {
        "intake": (24, None, True),
        "session_start": (None, None, False),
        "next_morning": (None, None, False),
        "weekly": (None, 7, False),
        "always": (None, None, True),
        "warning_card": (None, 30, False),
        "before_session": (None, None, False),
    }


def test_glucose_before_a_session() -> None:
    """Section 10 of safety; one decimal in mmol/L, and no value between two bands."""
    found = [
        (one.from_, one.to, one.from_mg_dl, one.to_mg_dl, one.advice, one.flag)
        for one in safety().glucose_bands
    ]
    assert found == [
        (0, 2.8, 0, 51, "no_exercise", "hypoglycaemia_severe"),
        (2.9, 3.8, 52, 69, "treat_first", ""),
        (3.9, 5.5, 70, 99, "eat_first", ""),
        (5.6, 13.9, 100, 250, "start", ""),
        (14, None, 251, None, "check_ketones", ""),
    ]
    for tenths in range(400):
        assert sum(one.holds(tenths / 10) for one in safety().glucose_bands) == 1, tenths


# What a rule finds out by itself; everything else is asked of the patient.
COMPUTED = """
    severe review-4wk review-6wk age-review regress-in-phase-1 red-after-regress gap-7 late-data
    high-pain-before session-during-stop reclassify-nerve consider-glides consider-pht
    consider-lumbar consider-root screen-unanswered
"""


def test_what_is_asked_and_what_is_computed() -> None:
    found = {flag.code for flag in safety().red_flags.values() if not flag.asked}
    assert found == set(COMPUTED.split())
