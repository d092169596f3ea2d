"""The library as it stands in the files, and how it comes into the database."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from jsonschema import Draft202012Validator

from backend.clinics.models import Clinic
from exercises.loader import Catalogue, exercise_id, read_catalogue
from exercises.models import Exercise
from exercises.reading import read
from exercises.sources import tags_of
from protocols import knowledge
from protocols.knowledge import metrics, rules, safety
from protocols.models import ProtocolVersion
from protocols.publishing import digest, protocol_id, read_library
from tests.service.dossier import (
    CONDITIONS,
    CONTENT,
    EXERCISES,
    METRICS,
    PUBLISHED,
    RED_FLAGS,
)

ROOT = Path(settings.BASE_DIR)


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return read_catalogue(ROOT)


@pytest.fixture(scope="module")
def documents(catalogue: Catalogue) -> dict[str, Any]:
    library = read_library(ROOT, catalogue=catalogue, shared=knowledge.check(ROOT))
    assert library.findings == []
    return {slug: document for (slug, _), (_, document) in library.documents.items()}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The library's files, to be broken."""
    for folder in ("exercises", "protocols"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.py", "__pycache__")
        )
    return tmp_path


def edit(root: Path, name: str, old: str, new: str) -> None:
    path = root / name
    content = path.read_text()
    assert old in content
    path.write_text(content.replace(old, new, 1))


def line_of(root: Path, name: str, content: str) -> int:
    return (root / name).read_text().splitlines().index(content) + 1


def load(root: Path = ROOT) -> str:
    told = StringIO()
    call_command("load_library", root=root, stdout=told, stderr=told)
    return told.getvalue()


def refused(root: Path) -> str:
    told = StringIO()
    with pytest.raises(CommandError, match="nothing was loaded"):
        call_command("load_library", root=root, stdout=told, stderr=told)
    return told.getvalue()


def stored() -> dict[str, Any]:
    return {
        "exercises": list(Exercise.objects.order_by("slug").values()),
        "protocols": list(ProtocolVersion.objects.order_by("slug", "version").values()),
    }


# --- What the files hold ----------------------------------------------------------------------


def test_nothing_is_wrong_with_the_files(catalogue):
    assert catalogue.findings == []
    assert knowledge.check(ROOT).findings == []


def test_every_exercise_of_the_dossier_is_there(catalogue):
    by_kind = defaultdict(list)
    for entry in catalogue.entries.values():
        by_kind[entry.kind].append(entry.slug)
    assert dict(by_kind) == {kind: slugs.split() for kind, (_, slugs) in EXERCISES.items()}
    assert {kind: len(slugs) for kind, slugs in by_kind.items()} == {
        kind: count for kind, (count, _) in EXERCISES.items()
    }
    assert len(catalogue.entries) == 131


def test_published_files_never_change(documents):
    """Who changes a number adds a version; this says so before anybody loads it."""
    assert {slug: digest(document)[:16] for slug, document in documents.items()} == PUBLISHED


def test_content_changes_on_purpose():
    """Texts and numbers the dossier gave stand here by their digest; layout is free."""
    assert {name: digest(read(ROOT / name, root=ROOT).value)[:16] for name in CONTENT} == CONTENT


def test_every_metric_flag_and_rule_of_the_dossier_is_there():
    assert not set(METRICS.split()) - set(metrics())
    by_level = defaultdict(list)
    for flag in safety().red_flags.values():
        by_level[flag.level].append(flag.code)
    by_level["emergency"].remove("self_harm")  # part of `distress` in the dossier
    assert dict(by_level) == {level: codes.split() for level, codes in RED_FLAGS.items()}
    known = rules()
    assert [row.id for row in known.daily_decision] == [f"R{n}" for n in range(1, 16)]
    assert [row.id for row in known.gates] == [f"GG{n}" for n in range(11)]
    assert [row.id for row in known.assignment_gates] == [f"AG{n}" for n in range(1, 8)]
    assert [row.id for row in known.dates] == [f"T{n}" for n in range(1, 9)]


def test_every_caution_of_the_dossier_is_there():
    """safety.md sections 8 to 10."""
    known = safety()
    assert list(known.conditions) == CONDITIONS.split()
    assert [rule.id for rule in known.ages] == [f"AGE-{n}" for n in range(1, 6)]
    assert [rule.id for rule in known.ice_and_heat] == [
        *(f"ICE-{n}" for n in range(1, 6)),
        *(f"HEAT-{n}" for n in range(1, 4)),
        *(f"NOT-{n}" for n in range(1, 4)),
    ]


def test_texts_a_phone_needs_are_there():
    known = safety()
    assert set(known.levels) == {"emergency", "urgent", "routine"}
    assert {flag.code for flag in known.red_flags.values() if flag.asked and not flag.sign} == set()
    assert set(known.pain_advice) == {
        "carry_on",
        "carry_on_with_care",
        "ease_off",
        "rest_today",
        "stop_today",
    }
    assert known.texts["urgent"]


def test_numbers_are_read_by_their_ids():
    assert rules()["red_flag_screen_within_h"].number == 24
    assert rules()["half_dose_ratio"].number == 0.5
    with pytest.raises(KeyError):
        rules()["no-such-number"]


@pytest.mark.parametrize(
    ("code", "value", "taken"),
    [
        ("pain_during", 10, True),
        ("pain_during", 11, False),
        ("pain_during", 2.5, False),
        ("ake_deficit_pct", -12, True),
        ("run_pct_painfree", 70, True),
        ("run_pct_painfree", 75, False),
        ("gait_normal", 2, False),
    ],
)
def test_a_metric_refuses_what_lies_outside(code, value, taken):
    assert metrics()[code].takes(value) is taken


def test_what_waits_for_a_clinician_is_switched_off(documents):
    off = {
        (slug, phase["id"], row["exercise"])
        for slug, document in documents.items()
        for phase in document["phases"]
        for row in phase["prescriptions"]
        if not row.get("included", True)
    }
    assert off == {
        ("hs-grade-2", "phase-1", "ca-bike"),
        ("neural-thigh", "phase-1", "ng-sciatic-contra-slider"),
        ("neural-thigh", "phase-2", "ng-peroneal-slider"),
        ("neural-thigh", "phase-3", "ng-sciatic-slr-tensioner"),
        ("deep-gluteal", "phase-1", "fr-glute"),
        ("deep-gluteal", "phase-3", "st-piriformis-fair"),
        ("lumbar-referred", "phase-1", "mo-ext-prone-lying"),
        ("lumbar-referred", "phase-1", "mo-ext-pressup"),
        ("lumbar-referred", "phase-1", "mo-flex-lying"),
        ("lumbar-referred", "phase-2", "st-hamstring-wall"),
        ("prevent-nordic", "phase-2", "ca-sprint-exposure"),
    }


def test_pages_made_from_the_library_are_current():
    call_command("library_schemas", check=True)
    call_command("our_defaults", check=True)


@pytest.mark.parametrize("folder", ["exercises", "protocols"])
def test_editors_accept_every_file(folder):
    schema = json.loads((ROOT / folder / "schema.json").read_text())
    validator = Draft202012Validator(schema)
    paths = sorted((ROOT / folder / "library").glob("*.yaml"))
    assert paths
    for path in paths:
        assert list(validator.iter_errors(read(path, root=ROOT).value)) == []
        assert "$schema=../schema.json" in path.read_text().splitlines()[0]


def test_the_page_for_sign_off_lists_every_default(catalogue):
    page = (ROOT / "docs/our-defaults.md").read_text()
    for entry in catalogue.entries.values():
        assert (f"| {entry.slug} |" in page) == ("our default" in tags_of(entry.source))


# --- How it comes into the database -----------------------------------------------------------


def test_loads_everything(db):
    ProtocolVersion.objects.all().delete()
    Exercise.objects.all().delete()

    assert load() == "exercises: 131 new; protocols: 10 new\n"

    nordic = Exercise.objects.get(slug="sg-nordic")
    assert nordic.id == exercise_id("sg-nordic")
    assert (nordic.dose_unit, nordic.pain_ceiling, nordic.clinic) == ("reps", 4, None)
    assert nordic.easier_slug == "sg-nordic-assisted"
    assert nordic.cues[0] == "Body straight from knee to shoulder"
    assert nordic.sources[0]["text"].startswith("exercise S002 [seed]; weekly plan OSL")
    assert [source["id"] for source in nordic.sources[1:]] == ["S002", "OSL", "PET11", "CUT20"]

    version = ProtocolVersion.objects.get(slug="prevent-nordic")
    assert version.protocol_id == protocol_id("prevent-nordic")
    assert (version.version, version.status, version.clinic) == ("1.0.0", "published", None)
    assert version.definition.phases[0].prescriptions[1].stages[0].dose.sets == 2


def test_loading_again_changes_nothing(library):
    load()
    before = stored()

    assert load() == "exercises: 131 unchanged; protocols: 10 unchanged\n"
    assert stored() == before


def test_a_changed_published_protocol_is_refused(library, root):
    before = stored()
    edit(root, "protocols/library/pht.v1.0.0.yaml", "min_days: 14", "min_days: 7")

    told = refused(root)

    assert (
        "protocols/library/pht.v1.0.0.yaml:5: /version: 1.0.0 is published with other content "
        "(expected add version 1.0.1)"
    ) in told
    assert stored() == before


def test_a_new_version_of_a_protocol_is_added(library, root):
    old = root / "protocols/library/pht.v1.0.0.yaml"
    new = root / "protocols/library/pht.v1.0.1.yaml"
    new.write_text(old.read_text().replace("version: 1.0.0", "version: 1.0.1"))

    assert "protocols: 10 unchanged, 1 new" in load(root)
    versions = ProtocolVersion.objects.filter(protocol_id=protocol_id("pht"))
    assert set(versions.values_list("version", flat=True)) == {"1.0.0", "1.0.1"}


def test_a_version_before_a_published_one_is_refused(library, root):
    old = root / "protocols/library/pht.v1.0.0.yaml"
    new = root / "protocols/library/pht.v0.9.0.yaml"
    new.write_text(old.read_text().replace("version: 1.0.0", "version: 0.9.0"))

    assert "0.9.0 comes before 1.0.0" in refused(root)


def test_a_changed_exercise_needs_a_new_version(library, root):
    name = "exercises/library/foam_rolling.yaml"
    edit(root, name, "Foam roll: calf", "Calf on the roller")
    assert "/3/version: fr-calf 1.0.0 is loaded with other content (expected version 1.0.1)" in (
        refused(root)
    )

    edit(root, name, "slug: fr-calf\n  version: 1.0.0", "slug: fr-calf\n  version: 1.0.1")
    assert "exercises: 130 unchanged, 1 changed" in load(root)
    calf = Exercise.objects.get(slug="fr-calf")
    assert (calf.id, calf.title) == (exercise_id("fr-calf"), "Calf on the roller")


def test_an_exercise_that_left_the_files_is_retired(library, root):
    path = root / "exercises/library/foam_rolling.yaml"
    path.write_text(path.read_text().split("- slug: fr-calf")[0])

    assert "exercises: 130 unchanged, 1 retired" in load(root)
    assert Exercise.objects.get(slug="fr-calf").retired_at
    assert "exercises: 130 unchanged, 1 changed" in load()
    assert not Exercise.objects.get(slug="fr-calf").retired_at


def test_comments_and_layout_are_not_content(library, root):
    edit(root, "protocols/library/pht.v1.0.0.yaml", "nerve: false", "nerve:   false  # not here")
    assert "10 unchanged" in load(root)


def test_a_broken_library_names_everything_and_loads_nothing(library, root):
    ProtocolVersion.objects.all().delete()
    Exercise.objects.all().delete()
    name = "protocols/library/hs-grade-1.v1.0.0.yaml"
    edit(root, "exercises/library/foam_rolling.yaml", "pain_ceiling: 4", "pain_ceiling: 40")
    edit(root, name, "severe: 8", "severe: 5")
    edit(root, name, "per_week: 3", "per_week: nine")
    edit(root, name, "latest(walk_pain;", "lates(walk_pain;")
    edit(root, "protocols/safety.yaml", "level: emergency", "level: panic")

    safety_yaml = "protocols/safety.yaml"
    assert sorted(refused(root).splitlines()) == [
        "exercises/library/foam_rolling.yaml:20: /0/pain_ceiling: 40 cannot stand here "
        "(expected less than or equal to 10)",
        f"{name}:{line_of(root, name, '      - id: walk_pain') + 1}: /phases/0/exit/0/when: "
        "'lates(walk_pain; phase, age<=7d) <= 0' cannot stand here "
        "(expected a predicate such as latest(walk_pain; phase, age<=7d) <= 0)",
        f"{name}:{line_of(root, name, '  severe: 5')}: /limits/severe: not above red "
        "(expected 7 up)",
        f"{name}:276: /phases/2/prescriptions/1/schedule/per_week: 'nine' cannot stand here "
        "(expected a valid integer)",
        f"{safety_yaml}:{line_of(root, safety_yaml, '    level: panic')}: "
        "/red_flags/0/level: 'panic' cannot stand here "
        "(expected 'emergency', 'urgent' or 'routine')",
    ]
    assert stored() == {"exercises": [], "protocols": []}


def test_a_missing_file_is_told(library, root):
    (root / "protocols/metrics.yaml").unlink()
    assert "protocols/metrics.yaml:1: /: cannot be opened: No such file" in refused(root)


def test_an_empty_folder_is_no_library(library, tmp_path):
    before = stored()
    told = refused(tmp_path)
    assert "exercises/library:1: /: no file here (expected catalogue files)" in told
    assert "protocols/library:1: /: no file here (expected protocol files)" in told
    assert stored() == before


def test_a_broken_bibliography_is_told_once(library, root):
    (root / "exercises/sources.yaml").write_text("- {id: S000}\n")
    assert refused(root).splitlines() == [
        f"exercises/sources.yaml:1: /0/{name}: is missing (expected a value)"
        for name in ("text", "where", "read")
    ]


def test_a_failure_half_way_leaves_nothing(db, monkeypatch):
    ProtocolVersion.objects.all().delete()
    Exercise.objects.all().delete()

    def fail(**kwargs: object) -> None:
        raise RuntimeError("the power went out")

    monkeypatch.setattr("protocols.publishing.publish", fail)
    with pytest.raises(RuntimeError):
        load()
    assert stored() == {"exercises": [], "protocols": []}


# --- Ladders and sources ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "old", "new", "told"),
    [
        pytest.param(
            "exercises/library/core.yaml",
            "easier: co-abdominal-brace",
            "easier: co-no-such",
            "/1/easier: there is no co-no-such (expected a known slug)",
            id="an easier exercise that is not there",
        ),
        pytest.param(
            "exercises/library/core.yaml",
            "harder: co-plank-rotating",
            "harder: co-abdominal-brace",
            "/1/harder: a circle: co-plank-front > co-abdominal-brace > co-plank-front "
            "(expected a ladder that ends)",
            id="a circle",
        ),
        pytest.param(
            "exercises/library/core.yaml",
            "exercise S002 [seed]; 5 x 10 s HEI10 phase I [expert]; rest [our default]",
            "somebody said so",
            "/1/source: nothing says where this is from (expected source or tag)",
            id="a number without a source",
        ),
        pytest.param(
            "exercises/library/core.yaml",
            "tags: [seed, trial, our default]",
            "tags: [seed]",
            "/0/tags: not the tags of the source (expected seed, trial, our default)",
            id="a tag that was lost",
        ),
        pytest.param(
            "exercises/library/core.yaml",
            "side: bilateral",
            "side: both sides",
            "/0/side: 'both sides' cannot stand here (expected 'affected', 'unaffected',",
            id="a side that is no word of ours",
        ),
        pytest.param(
            "exercises/library/core.yaml",
            "slug: co-plank-front",
            "slug: co-pelvic-tilt",
            "/1/slug: co-pelvic-tilt stands in exercises/library/core.yaml already",
            id="a slug that stands twice",
        ),
        pytest.param(
            "exercises/library/core.yaml",
            "dose_unit: hold_s",
            "dose_unit: duration_s",
            "/0/dose_unit: the dose has no duration_s",
            id="a unit without a dose",
        ),
        pytest.param(
            "exercises/ladders.yaml",
            "sg-curl-prone",
            "sg-no-such",
            "there is no sg-no-such",
            id="a ladder over an unknown exercise",
        ),
        pytest.param(
            "protocols/rules.yaml",
            "id: missed_gap",
            "id: missed_nudge",
            "missed_nudge stands 2 times (expected each id once)",
            id="a number that stands twice",
        ),
        pytest.param(
            "protocols/rules.yaml",
            "go back after a failed step PRP [expert]; count [our default]",
            "go back after a failed step PRX99 [expert]; count [our default]",
            "PRX99 is not among the sources",
            id="an unknown source",
        ),
        pytest.param(
            "protocols/rules.yaml",
            "source: count [our default]",
            "source: count [our guess]",
            "tag [our guess] (expected [seed], [trial], [guideline], [expert], [our default])",
            id="an unknown tag",
        ),
        pytest.param(
            "protocols/metrics.yaml",
            "max: 1440",
            "max: 0",
            "/max: not above min (expected more than 0)",
            id="a range that holds nothing",
        ),
    ],
)
def test_what_a_file_must_not_hold(library, root, name, old, new, told):
    edit(root, name, old, new)
    assert told in refused(root)


# --- Who sees what ----------------------------------------------------------------------------


class Person:
    """Whoever asks, with nothing but a clinic."""

    def __init__(self, clinic: Clinic | None) -> None:
        self.clinic_id: UUID | None = clinic.pk if clinic else None


def test_exercises_of_a_clinic_are_its_own(library, harbour, elsewhere):
    own = Exercise.objects.get(slug="sg-nordic")
    own.pk, own.clinic, own.slug = exercise_id("harbour/own"), harbour, "own"
    own.save(force_insert=True)

    seen = {
        clinic: Exercise.objects.visible_to(Person(clinic)).count()
        for clinic in (harbour, elsewhere, None)
    }
    assert seen == {harbour: 132, elsewhere: 131, None: 0}


def test_a_library_exercise_stands_once_a_version(library):
    """NULL is not NULL in a unique index, so this is not for the asking."""
    twin = Exercise.objects.get(slug="sg-nordic")
    twin.pk = exercise_id("twin")
    with pytest.raises(IntegrityError), transaction.atomic():
        twin.save(force_insert=True)
