"""Two documents side by side: what is told of them, and that nothing goes unnoticed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from protocols.case_files import ROOT
from protocols.differences import Change, Differences, Part, PhasePart, differences
from protocols.playing import LIBRARY

FILES = sorted((ROOT / LIBRARY).glob("*.yaml"))
NONE = Differences(changes=(), limits=(), requires=(), phases=(), sources=())


def read(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


def row(exercise: str, **more: Any) -> dict[str, Any]:
    return {
        "exercise": exercise, "dose": {"sets": 3, "reps": 8}, "schedule": {"kind": "daily"},
        "pain_ceiling": 2, "source": "catalogue", **more,
    }  # fmt: skip


def criterion(id: str, **more: Any) -> dict[str, Any]:
    usual = {"when": "latest(walk_pain; phase) <= 0", "text": "Walks", "unit": "0-10"}
    return {"id": id, **usual, "source": "[our default]", **more}


DOCUMENT: dict[str, Any] = {
    "slug": "calf",
    "version": "1.0.0",
    "title": "Calf strain",
    "limits": {"progress": 2, "red": 6, "red_rise": 2, "severe": 8, "nerve": False, "source": "A"},
    "phases": [
        {
            "id": "phase-1", "number": 1, "title": "Protect", "min_days": 3,
            "prescriptions": [row("sg-raise"), row("st-calf"), row("sg-raise", note="Slowly")],
            "exit": [criterion("c1"), criterion("c2")],
        },
        {
            "id": "phase-2", "number": 2, "title": "Load", "min_days": 0,
            "prescriptions": [row("sg-hop")], "exit": [],
        },
    ],
    "sources": [{"id": "ABC10", "text": "A", "where": "B", "read": "C"}],
}  # fmt: skip

Edit = Callable[[Any], object]
ROWS = "phases", 0, "prescriptions"


def phase(**more: Any) -> Differences:
    """Only this differs, in the first phase."""
    told = {"changes": (), "prescriptions": (), "exit": (), "title": "Protect", "kind": "changed"}
    return Differences((), (), (), (PhasePart(id="phase-1", **(told | more)),), ())


def rows(*parts: Part) -> Differences:
    return phase(prescriptions=parts)


def first(document: Any) -> Any:
    return document["phases"][0]


def put(*path: str | int, value: object) -> Edit:
    *above, last = path

    def edit(document: Any) -> None:
        for step in above:
            document = document[step]
        document[last] = value

    return edit


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        pytest.param(lambda d: None, NONE, id="nothing"),
        pytest.param(put("version", value="1.0.1"), NONE, id="the version alone"),
        pytest.param(
            put("title", value="Calf"),
            Differences((Change("title", "Calf strain", "Calf"),), (), (), (), ()),
            id="a text",
        ),
        pytest.param(
            put("limits", "red", value=5),
            Differences((), (Change("red", 6, 5),), (), (), ()),
            id="a limit",
        ),
        pytest.param(
            put("limits", "amber_next", value=3),
            Differences((), (Change("amber_next", None, 3),), (), (), ()),
            id="a limit that was not there",
        ),
        pytest.param(
            put("requires", value=[{"gate": "AG5", "fact": "x", "text": "T", "source": "S"}]),
            Differences(
                (), (),
                (Part("x", "added", (Change("gate", None, "AG5"), Change("text", None, "T"),
                                     Change("source", None, "S"))),), (), (),
            ),
            id="a requirement",
        ),
        pytest.param(
            put("sources", value=[]),
            Differences(
                (), (), (), (),
                (Part("ABC10", "removed", (Change("text", "A"), Change("where", "B"),
                                           Change("read", "C"))),),
            ),
            id="a source less",
        ),
        pytest.param(put(*ROWS, 0, "dose", "reps", value={"min": 8, "max": 8}), NONE, id="in full"),
        pytest.param(put(*ROWS, 0, "counts", value=True), NONE, id="what is usual, said"),
        pytest.param(put(*ROWS, 0, "note", value=""), NONE, id="nothing, said"),
        pytest.param(put(*ROWS, 0, "gate", value=None), NONE, id="null"),
        pytest.param(
            put(*ROWS, 0, "counts", value=False),
            rows(Part("sg-raise", "changed", (Change("counts", True, False),))),
            id="what is usual, no more",
        ),
        pytest.param(
            put(*ROWS, 1, "dose", value={"sets": 2, "reps": {"min": 4, "max": 6}, "load_kg": 1.5}),
            rows(Part("st-calf", "changed", (
                Change("dose.sets", 3, 2),
                Change("dose.reps", {"min": 8, "max": 8}, {"min": 4, "max": 6}),
                Change("dose.load_kg", None, 1.5),
            ))),
            id="a dose",
        ),
        pytest.param(
            put(*ROWS, 1, "schedule", value={"kind": "weekly", "per_week": 2}),
            rows(Part("st-calf", "changed", (
                Change("schedule.kind", "daily", "weekly"), Change("schedule.per_week", None, 2),
            ))),
            id="a schedule",
        ),
        pytest.param(
            put(*ROWS, 1, "stages", value=[
                {"from_day": 8, "dose": {"sets": 1, "reps": 5}, "schedule": {"kind": "once"}},
            ]),
            rows(Part("st-calf", "changed", (Change("stages", None, [{
                "from_day": 8,
                "dose": {"sets": 1, "reps": {"min": 5, "max": 5}},
                "schedule": {"kind": "once", "sessions_per_day": 1, "from_day": 1},
            }]),))),
            id="a stage",
        ),
        pytest.param(
            put(*ROWS, 2, "note", value="Slower"),
            rows(Part("sg-raise-2", "changed", (Change("note", "Slowly", "Slower"),))),
            id="the second row of an exercise",
        ),
        pytest.param(
            lambda d: first(d)["prescriptions"].insert(0, row("sg-new", included=False)),
            rows(Part("sg-new", "added", (
                Change("dose.sets", None, 3), Change("dose.reps", None, {"min": 8, "max": 8}),
                Change("schedule.kind", None, "daily"), Change("pain_ceiling", None, 2),
                Change("included", True, False), Change("source", None, "catalogue"),
            ))),
            id="a row more, the others where they were",
        ),
        pytest.param(
            lambda d: first(d)["prescriptions"].pop(1),
            rows(Part("st-calf", "removed", (
                Change("dose.sets", 3), Change("dose.reps", {"min": 8, "max": 8}),
                Change("schedule.kind", "daily"), Change("pain_ceiling", 2),
                Change("source", "catalogue"),
            ))),
            id="a row less",
        ),
        pytest.param(
            lambda d: first(d)["prescriptions"].insert(0, first(d)["prescriptions"].pop(1)),
            phase(changes=(Change("prescriptions.order", ["sg-raise", "st-calf", "sg-raise-2"],
                                  ["st-calf", "sg-raise", "sg-raise-2"]),)),
            id="another order of rows",
        ),
        pytest.param(
            lambda d: first(d)["exit"].reverse(),
            phase(changes=(Change("exit.order", ["c1", "c2"], ["c2", "c1"]),)),
            id="another order of criteria",
        ),
        pytest.param(
            put("phases", 0, "exit", 1, "when", value="latest(walk_pain; phase) <= 1"),
            phase(exit=(Part("c2", "changed", (Change(
                "when", "latest(walk_pain; phase) <= 0", "latest(walk_pain; phase) <= 1"
            ),)),)),
            id="a threshold",
        ),
        pytest.param(
            put("phases", 0, "exit", value=[criterion("c2"), criterion("c3")]),
            phase(exit=(
                Part("c3", "added", (
                    Change("when", None, "latest(walk_pain; phase) <= 0"),
                    Change("text", None, "Walks"), Change("unit", None, "0-10"),
                    Change("source", None, "[our default]"),
                )),
                Part("c1", "removed", (
                    Change("when", "latest(walk_pain; phase) <= 0"), Change("text", "Walks"),
                    Change("unit", "0-10"), Change("source", "[our default]"),
                )),
            )),
            id="a criterion for another",
        ),
        pytest.param(
            put("phases", 0, "min_days", value=0),
            phase(changes=(Change("min_days", 3, 0),)), id="days of a phase, down to none",
        ),
    ],
)  # fmt: skip
def test_what_is_told(edit: Edit, expected: Differences) -> None:
    changed = deepcopy(DOCUMENT)
    edit(changed)

    assert differences(DOCUMENT, changed) == expected


def test_a_phase_more_is_told_whole_and_the_other_way_round_as_one_less() -> None:
    longer = deepcopy(DOCUMENT)
    longer["phases"].append(
        {"id": "phase-3", "number": 3, "title": "Run", "prescriptions": [row("sg-hop")], "exit": []}
    )
    [more] = differences(DOCUMENT, longer).phases
    [less] = differences(longer, DOCUMENT).phases

    assert (more.id, more.kind, more.title) == ("phase-3", "added", "Run")
    assert (less.id, less.kind, less.title) == ("phase-3", "removed", "Run")
    assert more.changes == (Change("title", None, "Run"),)
    assert less.changes == (Change("title", "Run", None),)
    assert [(one.id, one.kind) for one in more.prescriptions] == [("sg-hop", "added")]
    assert [(one.id, one.kind) for one in less.prescriptions] == [("sg-hop", "removed")]


@pytest.mark.parametrize(
    "draft",
    [
        pytest.param({}, id="empty"),
        pytest.param({"version": "1.0.0"}, id="just opened"),
        pytest.param({"phases": [{}]}, id="an empty phase"),
        pytest.param({"phases": [{"prescriptions": [{}, {}], "exit": [{}, {}]}]}, id="empty rows"),
        pytest.param({"limits": {}, "sources": [{}], "requires": [{}]}, id="empty parts"),
        pytest.param({"phases": [{"prescriptions": [{"stages": [{}]}]}]}, id="an empty stage"),
    ],
)
def test_a_draft_may_lack_anything(draft: Any) -> None:
    assert differences(draft, draft) == NONE
    [one, *_] = differences(DOCUMENT, draft).changes
    assert (one.field, one.before, one.after) == ("slug", "calf", None)
    assert differences(draft, DOCUMENT) != NONE


Place = tuple[str | int, ...]


def kinds_of_leaves(document: Any) -> Iterable[Place]:
    """Where the last of each kind of single value stands: of all numbers of sets, one."""
    found = {
        tuple("*" if isinstance(step, int) else step for step in place): place
        for place in leaves(document)
    }
    return found.values()


def leaves(value: Any, path: Place = ()) -> Iterator[Place]:
    if isinstance(value, dict | list):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for step, one in inner:
            yield from leaves(one, (*path, step))
    elif value is not None:
        yield path


def is_content(place: Place) -> bool:
    """Neither what differs by its nature, nor what says again where a phase stands."""
    return place != ("version",) and not (place[0] == "phases" and place[2] in ("id", "number"))


def other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    return value + 1 if isinstance(value, int | float) else f"{value}x"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_change_of_a_library_protocol_goes_unnoticed(path: Path) -> None:
    document, changed = read(path), read(path)
    for place in kinds_of_leaves(document):
        *above, last = place
        holder = changed
        for step in above:
            holder = holder[step]
        kept, holder[last] = holder[last], other(holder[last])
        assert (differences(document, changed) != NONE) == is_content(place), place
        holder[last] = kept
    assert differences(document, changed) == NONE
