"""The one door for protocols: what it refuses, what it names, what it stores."""

from __future__ import annotations

from copy import deepcopy
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import yaml
from django.conf import settings

from backend.clinics.models import User
from backend.problems import ValidationFailed
from exercises.models import Exercise
from exercises.reading import MOST_BYTES, Finding, read_bytes
from protocols.knowledge import metrics
from protocols.models import ProtocolDraft, ProtocolVersion
from protocols.publishing import check, digest, known_exercises, publish
from tests.service.cast import Staff

FILE = Path(settings.BASE_DIR) / "protocols/library/neural-thigh.v1.0.0.yaml"


@pytest.fixture
def document() -> dict[str, Any]:
    loaded = yaml.safe_load(FILE.read_text())
    assert isinstance(loaded, dict)
    return loaded


def findings(document: object) -> list[Finding]:
    return check(document, exercises=known_exercises(None), metrics=metrics())


def at(document: Any, path: str) -> tuple[Any, str | int]:
    """The holder of a pointer, and the last step to it."""
    *steps, last = path.strip("/").split("/")
    for step in steps:
        document = document[int(step) if isinstance(document, list) else step]
    return document, int(last) if isinstance(document, list) else last


# --- Reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "code", "line"),
    [
        pytest.param(b"a: 1\nb: 2\na: 3\n", "twin-key", 3, id="a key written twice"),
        pytest.param(b"a: &x 1\n", "anchor", 1, id="an anchor"),
        pytest.param(b"a: 1\nb: *x\n", "alias", 2, id="an alias"),
        pytest.param(b"a: !!python/object/apply:os.system [ls]\n", "tag", 1, id="a tag"),
        pytest.param(b"a: !!str 1\n", "tag", 1, id="a harmless tag"),
        pytest.param(b"a: .nan\n", "number", 1, id="no number"),
        pytest.param(b"a: -.inf\n", "number", 1, id="no end"),
        pytest.param(b"a: 1e999\n", "number", 1, id="an exponent"),
        pytest.param(b"a: 12345678901234567890\n", "number", 1, id="a number too long"),
        pytest.param(b"a: 1\n---\nb: 2\n", "documents", 2, id="a second document"),
        pytest.param(b"a:\n  - b\n c: [\n", "yaml", 3, id="not YAML"),
        pytest.param(b"a: 1\nb: \xff\n", "encoding", 2, id="not UTF-8"),
        pytest.param(b'a: "\\0"\n', "character", 1, id="a NUL"),
        pytest.param(b"? [a, b]\n: 1\n", "key", 1, id="a list for a key"),
        pytest.param(b"a: " + b"[" * 100_000, "depth", 1, id="100,000 deep"),
        pytest.param(b"#" * (MOST_BYTES + 1), "too-large", 1, id="more than 2 MiB"),
        pytest.param(b"- 1\n" * 50_001, "too-many", 50_000, id="too many values"),
    ],
)
def test_what_no_file_may_hold(content, code, line):
    text = read_bytes(content, file="x.yaml")
    assert (text.findings[0].code, text.findings[0].line) == (code, line)
    assert text.findings[0].file == "x.yaml"
    assert text.value is None


def test_a_file_remembers_its_lines():
    text = read_bytes(b"a: no\nb:\n  - c: 1.5\n    d~/e: ~\n", file="x.yaml")
    assert text.value == {"a": "no", "b": [{"c": 1.5, "d~/e": None}]}
    assert text.findings == []
    assert [text.line_of(path) for path in ("", "/b/0/c", "/b/0/d~0~1e", "/b/0/gone")] == [
        1,
        3,
        4,
        3,
    ]


def test_names_every_fault_of_a_file_at_once():
    text = read_bytes(b"a: &x 1\na: 2\nb: *x\nc: .nan\n", file="x.yaml")
    assert [finding.code for finding in text.findings] == ["anchor", "twin-key", "alias", "number"]


# --- Checking ---------------------------------------------------------------------------------


def test_a_library_document_is_fine(library, document):
    assert findings(document) == []


ROW = "/phases/1/prescriptions/0"  # ng-sciatic-seated-slider, 2 x a day
TENSIONER = "/phases/2/prescriptions/1"
CRITERION = "/phases/0/exit/1"  # slump_pain


@pytest.mark.parametrize(
    ("path", "value", "code", "found_at"),
    [
        pytest.param("/version", "1.0", "shape", "/version", id="no semantic version"),
        pytest.param("/slug", "Neural Thigh", "shape", "/slug", id="no slug"),
        pytest.param("/surprise", 1, "unknown", "/surprise", id="a name we do not know"),
        pytest.param("/limits/red", "5", "shape", "/limits/red", id="a text for a number"),
        pytest.param("/limits/nerve", 1, "shape", "/limits/nerve", id="a number for a truth"),
        pytest.param("/limits/red", 2, "limits", "/limits/red", id="red not above progress"),
        pytest.param("/limits/severe", 5, "limits", "/limits/severe", id="severe not above red"),
        pytest.param("/limits/amber_next", 1, "limits", "/limits/amber_next", id="amber too low"),
        pytest.param("/limits/source", "ours", "no-source", "/limits/source", id="no source"),
        pytest.param(
            f"{ROW}/source", "ZZZ99 [trial]", "unknown-source", f"{ROW}/source", id="unknown source"
        ),
        pytest.param(f"{ROW}/source", "[guess]", "unknown-tag", f"{ROW}/source", id="unknown tag"),
        pytest.param("/requires/0/fact", "luck", "unknown-metric", "/requires/0/fact", id="a fact"),
        pytest.param(
            "/requires/0/fact", "walk_pain", "unknown-metric", "/requires/0/fact", id="no flag"
        ),
        pytest.param(
            "/phases/1/number", 3, "phase-number", "/phases/1/number", id="a phase skipped"
        ),
        pytest.param("/phases/1/id", "phase-1", "phase-id", "/phases/1/id", id="a phase id twice"),
        pytest.param("/phases/0/exit", [], "unreachable-phase", "/phases/0/exit", id="no way out"),
        pytest.param(
            "/phases/0/min_days_source",
            "because",
            "no-source",
            "/phases/0/min_days_source",
            id="days",
        ),
        pytest.param(
            f"{ROW}/exercise", "sg-magic", "unknown-exercise", f"{ROW}/exercise", id="an exercise"
        ),
        pytest.param(
            f"{ROW}/dose/reps", 16, "catalogue-dose", f"{ROW}/dose/reps", id="not its dose"
        ),
        pytest.param(
            f"{ROW}/dose/reps", {"min": 9, "max": 8}, "range", f"{ROW}/dose/reps", id="a range"
        ),
        pytest.param(f"{ROW}/dose/duration_s", 60, "dose", f"{ROW}/dose", id="two amounts"),
        pytest.param(f"{ROW}/dose/sets", 21, "shape", f"{ROW}/dose/sets", id="too many sets"),
        pytest.param(
            f"{ROW}/dose/reps_by_set", [12, 8], "range", f"{ROW}/dose/reps_by_set", id="reps by set"
        ),
        pytest.param(
            f"{ROW}/dose/effort",
            {"scale": "cr10", "min": 5, "max": 11},
            "range",
            f"{ROW}/dose/effort/max",
            id="beyond the scale",
        ),
        pytest.param(
            f"{ROW}/schedule",
            {"kind": "weekly"},
            "schedule",
            f"{ROW}/schedule/per_week",
            id="weekly",
        ),
        pytest.param(
            f"{ROW}/schedule",
            {"kind": "daily", "from_day": 8, "to_day": 7},
            "range",
            f"{ROW}/schedule/to_day",
            id="ends before it begins",
        ),
        pytest.param(
            f"{ROW}/schedule/not_on_days_of",
            "sg-nordic",
            "unknown-exercise",
            f"{ROW}/schedule/not_on_days_of",
            id="not on the days of nothing",
        ),
        pytest.param(
            f"{ROW}/stages",
            [
                {"from_day": 8, "dose": {"sets": 1, "reps": 1}, "schedule": {"kind": "daily"}},
                {"from_day": 8, "dose": {"sets": 1}, "schedule": {"kind": "daily"}},
            ],
            "range",
            f"{ROW}/stages/1/from_day",
            id="two stages on a day",
        ),
        pytest.param(f"{TENSIONER}/gate", None, "gate", f"{TENSIONER}/gate", id="no gate"),
        pytest.param(f"{TENSIONER}/included", True, "gate", f"{TENSIONER}/gate", id="let through"),
        pytest.param(
            "/phases/0/prescriptions/5/counts",
            True,
            "counts",
            "/phases/0/prescriptions/5/counts",
            id="self-care counted",
        ),
        pytest.param(
            f"{CRITERION}/when", "slump_pain <= 3", "shape", f"{CRITERION}/when", id="no predicate"
        ),
        pytest.param(
            f"{CRITERION}/when",
            "latest(slump_pane; phase, age<=7d) <= 3",
            "unknown-metric",
            f"{CRITERION}/when",
            id="an unknown metric",
        ),
        pytest.param(
            f"{CRITERION}/when",
            "latest(slump_pain; phase, age<=7d) <= 11",
            "range",
            f"{CRITERION}/when",
            id="beyond the metric",
        ),
        pytest.param(
            f"{CRITERION}/when",
            "max(slump_pain; last:3, age<=7d) <= 3",
            "predicate",
            f"{CRITERION}/when",
            id="an age without latest",
        ),
        pytest.param(
            f"{CRITERION}/when",
            "ratio(done_sets; days:7) >= 0.8",
            "predicate",
            f"{CRITERION}/when",
            id="a ratio of one",
        ),
        pytest.param(f"{CRITERION}/unit", "deg", "unit", f"{CRITERION}/unit", id="another unit"),
        pytest.param(
            f"{CRITERION}/id", "slump_diff_deg", "twin-id", "/phases/0/exit/2/id", id="an id twice"
        ),
    ],
)
def test_what_a_protocol_must_not_hold(library, document, path, value, code, found_at):
    holder, step = at(document, path)
    holder[step] = value
    assert (code, found_at) in [(one.code, one.path) for one in findings(document)]
    assert all(one.expected for one in findings(document))


@pytest.fixture
def stretched(document: dict[str, Any]) -> dict[str, Any]:
    """With a stretch to the end in each phase."""
    towel = {
        "exercise": "st-hamstring-towel",
        "dose": {"sets": 2, "reps": 1, "hold_s": 30},
        "schedule": {"kind": "daily"},
        "pain_ceiling": 2,
        "source": "HEI10 [expert]",
    }
    document["sources"].append({"id": "HEI10", "text": "a", "where": "b", "read": "c"})
    for phase in document["phases"]:
        phase["prescriptions"].append(dict(towel))
    return document


@pytest.mark.parametrize(
    ("condition", "phases"),
    [
        ("neural_dynamics_thigh", [0]),
        ("hamstring_strain", [0]),
        ("hamstring_tendon_repair", [0, 1]),
        ("proximal_hamstring_tendinopathy", [0, 1, 2]),
        ("lumbar_referred_pain", []),
    ],
)
def test_what_is_kept_back_stays_in_its_phases(library, stretched, condition, phases):
    stretched["condition"] = condition
    found = [one for one in findings(stretched) if one.code == "outside-its-phase"]
    last = {n: len(phase["prescriptions"]) - 1 for n, phase in enumerate(stretched["phases"])}
    assert [one.path for one in found] == [
        f"/phases/{n}/prescriptions/{last[n]}/exercise" for n in phases
    ]
    assert all(one.severity == "error" for one in found)


def test_one_that_a_clinician_may_switch_on_is_kept_back_as_well(library, stretched):
    stretched["phases"][0]["prescriptions"][-1]["included"] = False
    assert "outside-its-phase" in {one.code for one in findings(stretched)}


def test_what_moves_in_mid_range_may_come_early(library, stretched):
    for phase in stretched["phases"]:
        phase["prescriptions"][-1]["exercise"] = "st-hamstring-ake-active"
    assert "outside-its-phase" not in {one.code for one in findings(stretched)}


def test_names_every_fault_of_a_document_at_once(library, document):
    document["limits"]["severe"] = 5
    document["phases"][0]["exit"][0]["when"] = "never"
    document["phases"][2]["prescriptions"][0]["exercise"] = "sg-magic"
    del document["licence"]
    assert {one.path for one in findings(document)} == {
        "/limits/severe",
        "/phases/0/exit/0/when",
        "/phases/2/prescriptions/0/exercise",
        "/licence",
    }


def test_a_higher_pain_ceiling_is_a_warning(library, document):
    document["phases"][1]["prescriptions"][0]["pain_ceiling"] = 3
    [found] = findings(document)
    assert (found.severity, found.expected) == ("warning", "at most 2")


@pytest.mark.parametrize("document", [None, [], "text", 3, {"phases": [None]}, {"limits": []}])
def test_anything_may_come_in(library, document):
    assert findings(document)


# --- Publishing -------------------------------------------------------------------------------


@pytest.fixture
def own(document: dict[str, Any]) -> dict[str, Any]:
    """A clinic's own version of a library protocol."""
    return deepcopy(document) | {"slug": "our-thigh", "title": "Our thigh"}


@pytest.fixture
def published(ana: Staff, now: datetime, own: dict[str, Any]) -> ProtocolVersion:
    return publish_for(ana, own, now, protocol_id=uuid4())


def publish_for(
    staff: Staff, document: dict[str, Any], now: datetime, *, protocol_id: UUID
) -> ProtocolVersion:
    clinic = staff.user.clinic
    return publish(
        protocol_id=protocol_id,
        document=document,
        exercises=known_exercises(clinic),
        clinic=clinic,
        by=staff.user,
        change_note="first",
        now=now,
    )


def test_a_clinic_publishes_its_own(library, ana, own, published):
    kept = ProtocolVersion.objects.get(pk=published.pk)
    assert (kept.slug, kept.version, kept.title) == ("our-thigh", "1.0.0", "Our thigh")
    assert (kept.clinic, kept.published_by) == (ana.user.clinic, ana.user)
    assert (kept.document, kept.sha256) == (own, digest(own))
    assert kept.definition.phases[0].prescriptions[0].included is False
    assert kept.definition is published.definition  # read once


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("1.0.0", "published-changed"),
        ("0.9.9", "version-order"),
    ],
)
def test_a_published_version_is_final(library, ana, own, now, published, version, code):
    changed = own | {"title": "Our other thigh", "version": version}
    with pytest.raises(ValidationFailed) as refusal:
        publish_for(ana, changed, now, protocol_id=published.protocol_id)

    [error] = refusal.value.errors
    assert (error.pointer, error.code) == ("/version", code)
    assert "1.0.1" in error.detail
    assert ProtocolVersion.objects.get(slug="our-thigh").title == "Our thigh"


def test_the_next_version_stands_beside_it(library, ana, own, now, published):
    publish_for(ana, own | {"version": "1.1.0"}, now, protocol_id=published.protocol_id)
    versions = ProtocolVersion.objects.filter(protocol_id=published.protocol_id)
    assert set(versions.values_list("version", flat=True)) == {"1.0.0", "1.1.0"}


def test_what_is_wrong_is_not_published(library, ana, own, now):
    own["phases"][0]["prescriptions"][0]["exercise"] = "sg-magic"
    with pytest.raises(ValidationFailed) as refusal:
        publish_for(ana, own, now, protocol_id=uuid4())

    [error] = refusal.value.errors
    assert error.pointer == "/phases/0/prescriptions/0/exercise"
    assert error.code == "unknown-exercise"
    assert not ProtocolVersion.objects.filter(slug="our-thigh").exists()


def test_a_clinics_own_stretch_is_kept_back_as_well(library, ana, stretched, now):
    ours = Exercise.objects.get(slug="st-hamstring-wall")
    ours.pk, ours.slug, ours.clinic = uuid4(), "st-ours", ana.user.clinic
    ours.save(force_insert=True)
    for phase in stretched["phases"]:
        phase["prescriptions"][-1]["exercise"] = "st-ours"
    with pytest.raises(ValidationFailed) as refusal:
        publish_for(ana, stretched | {"slug": "our-thigh"}, now, protocol_id=uuid4())

    [error] = refusal.value.errors
    assert error.code == "outside-its-phase"
    assert "phase 2" in error.detail


def test_versions_and_drafts_of_a_clinic_are_its_own(library, ana, olga, own, now, published):
    ProtocolDraft.objects.create(
        protocol_id=published.protocol_id,
        clinic=ana.user.clinic,
        document=own,
        updated_by=ana.user,
        updated_at=now,
    )
    operator = User(email="operator@example.org")

    def seen(person: User) -> tuple[int, int]:
        versions = ProtocolVersion.objects.visible_to(person)
        return versions.count(), ProtocolDraft.objects.visible_to(person).count()

    assert (seen(ana.user), seen(olga.user), seen(operator)) == ((11, 1), (10, 0), (0, 0))
