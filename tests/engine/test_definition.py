"""A protocol document as values."""

from __future__ import annotations

import dataclasses
from copy import deepcopy
from typing import Any, get_args

import pytest

from protocols import shape
from protocols.engine import definition
from protocols.engine.definition import (
    Dose,
    Limits,
    Prescription,
    Reps,
    Schedule,
    Source,
    Stage,
    in_full,
    parse,
    read,
)

DOCUMENT: dict[str, Any] = {
    "slug": "calf",
    "version": "1.0.0",
    "title": "Calf strain",
    "condition": "calf_strain",
    "indications": "…",
    "not_for": "…",
    "expected_course": "…",
    "regression": "…",
    "limits": {"progress": 2, "red": 6, "red_rise": 2, "severe": 8, "nerve": False, "source": "A"},
    "phases": [
        {
            "id": "phase-1",
            "number": 1,
            "title": "Load",
            "goals": "…",
            "min_days": 3,
            "min_days_source": "[our default]",
            "prescriptions": [
                {
                    "exercise": "sg-calf-raise",
                    "dose": {"sets": 3, "reps": 12},
                    "schedule": {"kind": "weekly", "per_week": 3},
                    "pain_ceiling": 3,
                    "source": "ACSM [guideline]",
                    "stages": [
                        {
                            "from_day": 8,
                            "dose": {"sets": 3, "reps": {"min": 6, "max": 8}},
                            "schedule": {"kind": "daily"},
                        }
                    ],
                },
                {
                    "exercise": "sg-calf-raise",
                    "dose": {"sets": 1, "duration_s": 60, "load_kg": 10},
                    "schedule": {"kind": "once"},
                    "pain_ceiling": 3,
                    "source": "ACSM [guideline]",
                },
            ],
        }
    ],
    "sources": [],
    "licence": "…",
}


def test_reads_a_document():
    protocol = parse(DOCUMENT)

    [phase] = protocol.phases
    [first, second] = phase.prescriptions
    assert protocol.limits == Limits(
        progress=2, red=6, red_rise=2, severe=8, nerve=False, source="A"
    )
    assert first.dose == Dose(sets=3, reps=Reps(12, 12))
    assert first.stages == (Stage(8, Dose(sets=3, reps=Reps(6, 8)), Schedule("daily")),)
    assert second.dose.load_kg == 10.0
    assert (first.counts, first.included, first.gate) == (True, True, None)
    assert (phase.exit, protocol.requires) == ((), ())


def test_what_a_document_leaves_out_is_not_said():
    [phase] = parse(DOCUMENT).phases
    [first, second] = phase.prescriptions
    assert first.schedule == Schedule(
        "weekly", per_week=3, every_n_days=None, sessions_per_day=1, from_day=1, to_day=None,
        not_on_days_of=None,
    )  # fmt: skip
    assert second.dose == Dose(
        sets=1, reps=None, reps_by_set=(), hold_s=None, duration_s=60, distance_m=None,
        load_kg=10, load_text=None, effort=None, tempo=None, rest_s=None,
    )  # fmt: skip
    assert parse(DOCUMENT).limits.amber_next is None
    assert read(Source, {"id": "A", "text": "…", "where": "…", "read": "…"}).tag is None
    alone = read(Prescription, DOCUMENT["phases"][0]["prescriptions"][0])
    assert (alone.key, alone.order) == ("", 0)


def test_nothing_may_be_written_as_nothing():
    path: list[str | int] = ["phases", 0, "prescriptions", 1, "dose", "rest_s"]
    assert parse(changed(path, None)).phases[0].prescriptions[1].dose.rest_s is None


def test_reads_only_what_a_document_can_hold():
    with pytest.raises(TypeError, match="no document holds"):
        read(dict[str, int], {})


@pytest.mark.parametrize(
    ("short", "full"),
    [
        ({"reps": 8}, {"reps": {"min": 8, "max": 8}}),
        ({"reps": {"min": 6, "max": 8}}, {"reps": {"min": 6, "max": 8}}),
        ({"sets": 3, "rest_s": None}, {"sets": 3}),
        ({"rows": [{"reps": 8, "hold_s": None}, "text", 1]},
         {"rows": [{"reps": {"min": 8, "max": 8}}, "text", 1]}),
    ],
)  # fmt: skip
def test_a_document_in_full(short, full):
    assert in_full(short) == full


def test_keys_are_stable_and_unique():
    [phase] = parse(DOCUMENT).phases
    assert [(row.key, row.order) for row in phase.prescriptions] == [
        ("phase-1/sg-calf-raise", 1),
        ("phase-1/sg-calf-raise-2", 2),
    ]


def test_finds_its_phases():
    protocol = parse(DOCUMENT)
    assert protocol.phase("phase-1") is protocol.phases[0]
    with pytest.raises(KeyError):
        protocol.phase("phase-2")


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        pytest.param(["slug"], None, "/slug: expected str", id="nothing for a text"),
        pytest.param(["limits"], [], "/limits: expected a mapping", id="a list for a mapping"),
        pytest.param(
            ["limits", "red"], True, "/limits/red: expected int", id="a truth for a number"
        ),
        pytest.param(
            ["limits", "red"], 6.0, "/limits/red: expected int", id="a fraction for a whole"
        ),
        pytest.param(
            ["limits", "nerve"], 0, "/limits/nerve: expected bool", id="a number for a truth"
        ),
        pytest.param(["phases"], 7, "/phases: expected a list", id="a number for a list"),
        pytest.param(["phases"], {}, "/phases: expected a list", id="a mapping for a list"),
        pytest.param(
            ["phases", 0, "prescriptions", 1, "dose", "load_kg"],
            True,
            "/phases/0/prescriptions/1/dose/load_kg: expected float",
            id="a truth for a fraction",
        ),
        pytest.param(
            ["phases", 0, "prescriptions", 1, "dose", "effort"],
            7,
            "/phases/0/prescriptions/1/dose/effort: expected a mapping",
            id="a number for a mapping",
        ),
        pytest.param(["phases"], "none", "/phases: expected a list", id="a text for a list"),
        pytest.param(
            ["phases", 0, "prescriptions", 0, "schedule", "kind"],
            "hourly",
            "/phases/0/prescriptions/0/schedule/kind: expected one of daily, weekly",
            id="an unknown word",
        ),
        pytest.param(
            ["phases", 0, "prescriptions", 1, "dose", "reps"],
            "8",
            "/phases/0/prescriptions/1/dose/reps: expected a mapping",
            id="deep inside",
        ),
        pytest.param(["limits", "colour"], 1, "/limits/colour: unknown", id="an unknown name"),
    ],
)
def test_refuses_to_guess(path, value, told):
    with pytest.raises(ValueError, match=f"^{told}"):
        parse(changed(path, value))


def test_names_what_is_missing():
    document = deepcopy(DOCUMENT)
    del document["phases"][0]["min_days"]
    with pytest.raises(ValueError, match=r"^/phases/0/min_days: missing"):
        parse(document)


KINDS = [
    *("Reps", "Effort", "Dose", "Schedule", "Stage", "Prescription"),
    *("Criterion", "Phase", "Limits", "Requirement", "Source", "Protocol"),
]


@pytest.mark.parametrize("name", KINDS)
def test_has_the_fields_of_the_checked_shape(name):
    """What passes the check can be read: both list the same names."""
    kind, shaped = getattr(definition, name), getattr(shape, f"{name}Shape")
    set_by_parse = {"key", "order"} if name == "Prescription" else set()
    assert {field.name for field in dataclasses.fields(kind)} - set_by_parse == set(
        shaped.model_fields
    )
    for field in dataclasses.fields(kind):
        if field.name in shaped.model_fields and field.default is dataclasses.MISSING:
            assert shaped.model_fields[field.name].is_required(), field.name


def test_knows_the_kinds_of_the_checked_shape():
    kinds = shape.ScheduleShape.model_fields["kind"].annotation
    assert get_args(kinds) == get_args(definition.Kind)


def changed(path: list[str | int], value: object) -> dict[str, Any]:
    document = deepcopy(DOCUMENT)
    inner: Any = document
    for part in path[:-1]:
        inner = inner[part]
    inner[path[-1]] = value
    return document
