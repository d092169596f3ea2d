"""Thousands of damaged library files: each is refused with a reason, none comes in by halves.

The full size is one command: `MUTANTS=5000 pytest tests/service/test_library_mutants.py -s`.
`MUTANTS_SEED` repeats a run.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command
from django.db import transaction

from exercises.loader import read_catalogue
from exercises.models import Exercise
from exercises.reading import Finding
from protocols import knowledge
from protocols.models import ProtocolVersion
from protocols.publishing import errors_of, read_library

ROOT = Path(settings.BASE_DIR)
COUNT = int(os.environ.get("MUTANTS", "80"))
SEED = int(os.environ.get("MUTANTS_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
THROUGH_THE_COMMAND = 1 if COUNT >= 5000 else 20  # every n-th, beside those found sound
LONGEST_S = 2.0

WRONG = [
    *(".nan", "-.inf", "1e999", "9" * 400, "-1", "0", "3.5", "1_000", "0x1F", "2026-02-30"),
    *("null", "~", "true", "no", "''", "[]", "{}", "[[1]]", "{a: {b: c}}", '"\\0"', '"\\ud800"'),
    *("!!python/object/apply:os.system ['false']", "!!binary aGk=", "!x y", "&a 1", "*a", "<<"),
    *(
        "|\n  block",
        "% directive",
        "@at",
        "`tick`",
        "'open",
        '"open',
        "- a",
        "? b",
        "a: b: c",
        "\t",
    ),
    *("\U0001f9b5", "\u202e", "x" * 100_000, "[" * 100_000, "{a: " * 50_000, "- " * 50_000),
]
LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join([f'*{chr(97 + n)}'] * 9)}]\n" for n in range(9)
)

Mutator = Callable[[random.Random, str], bytes]


def cut(chance: random.Random, text: str) -> bytes:
    return text.encode()[: chance.randrange(len(text))]


def hole(chance: random.Random, text: str) -> bytes:
    start = chance.randrange(len(text))
    return (text[:start] + text[start + chance.randrange(1, 400) :]).encode()


def twice(chance: random.Random, text: str) -> bytes:
    start = chance.randrange(len(text))
    return (text[: start + chance.randrange(1, 2000)] + text[start:]).encode()


def noise(chance: random.Random, text: str) -> bytes:
    content = bytearray(text.encode())
    for _ in range(chance.randrange(1, 20)):
        content[chance.randrange(len(content))] = chance.randrange(256)
    return bytes(content)


def wrong_value(chance: random.Random, text: str) -> bytes:
    values = [match.span(1) for match in re.finditer(r"^ *(?:- )?[\w-]+: (\S.*)$", text, re.M)]
    start, end = chance.choice(values)
    return (text[:start] + chance.choice(WRONG) + text[end:]).encode(errors="surrogatepass")


def wrong_name(chance: random.Random, text: str) -> bytes:
    names = [match.span(1) for match in re.finditer(r"^ *(?:- )?([\w-]+):", text, re.M)]
    start, end = chance.choice(names)
    other = chance.choice(names)
    return (text[:start] + text[slice(*other)] + text[end:]).encode()


def wrong_lines(chance: random.Random, text: str) -> bytes:
    lines = text.splitlines()
    one, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(5):
        case 0:
            del lines[one]
        case 1:
            lines.insert(other, lines[one])
        case 2:
            lines[one], lines[other] = lines[other], lines[one]
        case 3:
            lines[one] = " " * chance.randrange(1, 8) + lines[one]
        case 4:
            lines[one] = lines[one].replace("  ", "\t", 1)
    return "\n".join(lines).encode()


def wrong_number(chance: random.Random, text: str) -> bytes:
    numbers = [match.span() for match in re.finditer(r"\b\d+\b", text)]
    start, end = chance.choice(numbers or [(0, 0)])
    return (text[:start] + str(chance.choice([0, 1, 7, 99, -3, 10**6])) + text[end:]).encode()


def circle(chance: random.Random, text: str) -> bytes:
    slugs = re.findall(r"(?:slug|exercise): (\S+)", text) or ["sg-nordic"]
    return re.sub(
        r"(easier|harder|not_on_days_of): \S+", lambda _: f"easier: {chance.choice(slugs)}", text
    ).encode()


def bomb(chance: random.Random, text: str) -> bytes:
    return (LAUGHS + text).encode()


def deep(chance: random.Random, text: str) -> bytes:
    opening = chance.choice(["[", "{a: ", "- ", "? ", "!!seq [", "\n".join(["a:", " "])])
    return (text + "\nx: " + opening * 100_000).encode()


def huge(chance: random.Random, text: str) -> bytes:
    piece = chance.choice(["#", "- 1\n", "a: 1\n", "x", "\n", "'", "&a ", "{", "\u00e9"])
    size = chance.choice([2_097_152 - len(text.encode()), 2_097_153, 3_000_000])
    return (text + piece * (size // len(piece.encode()))).encode()


def other_encoding(chance: random.Random, text: str) -> bytes:
    return text.encode(chance.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7", "cp037"]), "ignore")


def junk(chance: random.Random, text: str) -> bytes:
    return chance.choice([b"", b"\n", b"null", b"[]", b"{}", b"- ", b"\0", chance.randbytes(5000)])


MUTATORS: list[Mutator] = [
    *(cut, hole, twice, noise, wrong_value, wrong_value, wrong_value, wrong_name, wrong_lines),
    *(wrong_lines, wrong_number, circle, bomb, deep, huge, other_encoding, junk),
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for folder in ("exercises", "protocols"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("*.py", "__pycache__")
        )
    return tmp_path


def test_no_damaged_file_breaks_anything(library: None, root: Path) -> None:
    print(f"\nMUTANTS={COUNT} MUTANTS_SEED={SEED}")
    chance = random.Random(SEED)
    checker = Checker(root)
    files = sorted(root.rglob("*.yaml"))
    before = stored()
    tally: Counter[str] = Counter()
    for number in range(COUNT):
        path, mutate, whole, damaged = a_mutant(chance, files)
        told = f"mutant {number} of seed {SEED}: {mutate.__name__} of {path.name}"

        path.write_bytes(damaged)
        with in_time(told):
            findings = errors_of(checker.check(path))
        for found in findings:
            place = (found.file, found.line, found.message, found.expected)
            assert all(place), f"{told}: {found}"
        if not findings or number % THROUGH_THE_COMMAND == 0:
            with in_time(told):
                outcome = loaded(root, before, told)
            assert outcome == "refused" or not findings, told
            tally[outcome] += 1
        path.write_bytes(whole)
        tally[f"{mutate.__name__}, {'refused' if findings else 'sound'}"] += 1

    assert stored() == before
    print(dict(sorted(tally.items())))


def a_mutant(chance: random.Random, files: list[Path]) -> tuple[Path, Mutator, bytes, bytes]:
    while True:
        path, mutate = chance.choice(files), chance.choice(MUTATORS)
        whole = path.read_bytes()
        damaged = mutate(chance, whole.decode())
        if damaged != whole:
            return path, mutate, whole, damaged


@contextmanager
def in_time(told: str) -> Iterator[None]:
    began = time.process_time()  # of ours, whatever else the machine does
    yield
    took = time.process_time() - began
    assert took <= LONGEST_S, f"{told}: {took:.1f} s"


class Checker:
    """What `load_library` checks before it touches the database, but only the damaged part."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.catalogue, self.shared = read_catalogue(root), knowledge.check(root)

    def check(self, path: Path) -> list[Finding]:
        name = path.relative_to(self.root)
        if name.parts[0] == "exercises":
            return read_catalogue(self.root).findings
        if "library" not in name.parts:
            return knowledge.check(self.root).findings
        alone = self.root / "alone" / name
        alone.parent.mkdir(parents=True, exist_ok=True)
        path.replace(alone)  # one file of ten
        library = read_library(self.root / "alone", catalogue=self.catalogue, shared=self.shared)
        alone.replace(path)
        return library.findings


def loaded(root: Path, before: dict[str, str], told: str) -> str:
    """Run the command, see that it was all or nothing, and undo it."""
    with transaction.atomic():
        try:
            call_command("load_library", root=root, verbosity=0, stderr=StringIO())
            after = stored()
            # sound: either nothing but layout changed, or what is new came in whole
            assert after.keys() >= before.keys(), told
            outcome = "unchanged" if after == before else "a new version"
        except CommandError:
            assert stored() == before, told
            outcome = "refused"
        transaction.set_rollback(True)
    return outcome


def stored() -> dict[str, str]:
    """The digest of every row of the library. What is in no file is retired, not gone."""
    exercises = Exercise.objects.filter(clinic=None)
    versions = ProtocolVersion.objects.filter(clinic=None)
    return {
        **{one.slug: f"{one.sha256}{' retired' * bool(one.retired_at)}" for one in exercises},
        **{
            f"{slug} {version}": sha
            for slug, version, sha in versions.values_list("slug", "version", "sha256")
        },
    }
