"""Change one thing of the clinical engine, or of the library, and see a test fail. Then the next.

    python -m tests.campaigns.mutants [--only gates] [--sample 200] [--seed 7] [--workers 2]
    python -m tests.campaigns.mutants --library [--only pht]

Each mutant lives in a process forked off for it: the changed module is compiled there and the tests
run until the first fails, so nothing is written. What changes nothing that anybody could see stands
with its reason in equivalents.yaml. Ends with 1 where fewer than 95 % of the others are killed, or
where that list names what was killed or is no mutant any more.
"""

from __future__ import annotations

import argparse
import ast
import importlib.abc
import importlib.util
import os
import random
import resource
import select
import signal
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from importlib.machinery import ModuleSpec
from io import StringIO
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from exercises import reading
from tests.campaigns.mutations import Mutant, of_file, of_python

ROOT = Path(__file__).parent.parent.parent
ENGINE = ROOT / "protocols/engine"
EQUIVALENTS = Path(__file__).with_name("equivalents.yaml")
ENGINE_TESTS = ("tests/engine",)
LIBRARY_TESTS = ("tests/library",)
LIBRARY = ("protocols/rules.yaml", "protocols/safety.yaml", "protocols/metrics.yaml")
ENOUGH = 0.95
DID_NOT_END = "did not end"
LONGEST = 4  # times the processor time of the tests without any change
MOST_BYTES = 2 * 1024**3
SLOW = ("test_simulation", "test_properties")  # asked when everything else has passed

# A test session of its own, of plain asserts, that neither reads nor leaves anything beside it.
# Tests that draw draw the same for every mutant.
LEFT_OUT = ("cacheprovider", "django", "xdist", "schemathesis", "faker", "anyio", "time_machine")
PYTEST = ("-q", "-x", "-c", os.devnull, "--rootdir", str(ROOT), "--import-mode=importlib",
          "--assert=plain", "-mnot campaign", "--hypothesis-seed=1",
          *(f"-pno:{name}" for name in LEFT_OUT))  # fmt: skip


class Asked(argparse.Namespace):
    """What the command was told."""

    library: bool
    only: str
    sample: int
    seed: int
    workers: int
    quick: bool
    killers: bool
    tests: Sequence[str]
    longest_s: float  # of processor time, for the tests of one mutant


# --- One mutant -------------------------------------------------------------------------------


class _Changed(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports one module from a changed tree."""

    def __init__(self, name: str, tree: ast.Module) -> None:
        self.name, self.code = name, compile(tree, name, "exec")

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        return importlib.util.spec_from_loader(name, self) if name == self.name else None

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code, module.__dict__)


def forget() -> None:
    """What was imported of engine and tests, so that it is imported anew. Models cannot be."""
    for name in list(sys.modules):
        ours = name.startswith(("protocols.", "tests.engine", "tests.library", "tests.builders"))
        if ours and not name.startswith(("protocols.models", "protocols.migrations")):
            del sys.modules[name]
            package, _, module = name.rpartition(".")
            if package in sys.modules and hasattr(sys.modules[package], module):
                delattr(sys.modules[package], module)


def install_module(name: str, tree: ast.Module) -> None:
    sys.meta_path.insert(0, _Changed(name, tree))


read_bytes = reading.read_bytes
KNOWN: dict[str, reading.Text] = {}  # every file is read once, before anything is forked off


def install_file(name: str, content: bytes) -> None:
    """Whoever reads this file of the library reads this instead."""
    KNOWN[name] = read_bytes(content, file=name)


def known_file(content: bytes, *, file: str) -> reading.Text:
    if file not in KNOWN:
        KNOWN[file] = read_bytes(content, file=file)
    return KNOWN[file]


class Watch:
    """Puts the tests that killed something alike first, and remembers the one that fails."""

    def __init__(self, first: Sequence[str], *, quick: bool) -> None:
        self.rank = {name: n for n, name in enumerate(first)}
        self.quick = quick
        self.failed = ""

    def pytest_configure(self, config: pytest.Config) -> None:
        config.addinivalue_line("markers", "campaign: not here")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        if self.quick:
            items[:] = [item for item in items if not _draws(item)]
        items.sort(key=lambda item: (self.rank.get(item.nodeid, len(self.rank)), _draws(item)))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.failed:
            self.failed = report.nodeid


def _draws(item: pytest.Item) -> bool:
    """Whether a test draws its examples, or a whole cohort: it is asked last."""
    return (
        hasattr(getattr(item, "obj", None), "hypothesis")
        or "seed" in getattr(item, "fixturenames", ())
        or any(name in item.nodeid for name in SLOW)
    )


def run_tests(asked: Asked, first: Sequence[str] = ()) -> tuple[int, str]:
    watch = Watch(first, quick=asked.quick)
    with redirect_stdout(StringIO()):
        code = pytest.main([*PYTEST, *asked.tests], plugins=[watch])
    return int(code), watch.failed


def live(mutant: Mutant, asked: Asked, first: Sequence[str], told: int) -> None:
    """The life of a forked process: change, test, tell. It does not return."""
    try:
        silence = os.open(os.devnull, os.O_WRONLY)
        os.dup2(silence, 1)
        os.dup2(silence, 2)
        resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
        signal.signal(signal.SIGVTALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_VIRTUAL, asked.longest_s)
        forget()
        mutant.apply()
        code, failed = run_tests(asked, first)
        os.write(told, f"{code} {failed}".encode()[: select.PIPE_BUF])
    finally:
        os._exit(0)


# --- All of them ------------------------------------------------------------------------------


@dataclass
class Score:
    """What became of the mutants of one place."""

    killed: int = 0
    survivors: list[Mutant] = field(default_factory=list)
    equivalent: int = 0

    @property
    def share(self) -> float:
        counted = self.killed + len(self.survivors)
        return self.killed / counted if counted else 1.0


Key = tuple[str, str, str, str]


def key_of(mutant: Mutant) -> Key:
    return mutant.place, mutant.where, mutant.before, mutant.after


def engine_mutants(only: str) -> list[Mutant]:
    found: list[Mutant] = []
    for path in sorted(ENGINE.glob("*.py")):
        name = f"protocols.engine.{path.stem}"
        if only in ("", path.stem):
            found += of_python(name, path, lambda tree, name=name: install_module(name, tree))  # type: ignore[misc]
    return found


def library_mutants(only: str) -> list[Mutant]:
    paths = [
        *(ROOT / name for name in LIBRARY),
        *sorted((ROOT / "protocols/library").glob("*.yaml")),
    ]
    found: list[Mutant] = []
    for path in paths:
        place = path.relative_to(ROOT).as_posix()
        if only in ("", path.name.partition(".")[0]):
            found += of_file(place, path, lambda text, place=place: install_file(place, text))  # type: ignore[misc]
    return found


def killed_or_not(mutants: Iterable[Mutant], asked: Asked) -> Iterator[tuple[Mutant, str]]:
    """Each mutant with what killed it; empty where nothing did."""
    waiting = deque(mutants)
    running: dict[int, tuple[Mutant, int]] = {}
    killers: defaultdict[str, list[str]] = defaultdict(list)  # by place, the latest first
    while waiting or running:
        while waiting and len(running) < asked.workers:
            mutant = waiting.popleft()
            hear, tell = os.pipe()
            if (pid := os.fork()) == 0:
                live(mutant, asked, killers[mutant.place], tell)
            os.close(tell)
            running[pid] = mutant, hear
        pid, _ = os.wait()
        mutant, hear = running.pop(pid)
        with os.fdopen(hear) as pipe:
            code, _, failed = pipe.read().partition(" ")
        if failed:
            known = killers[mutant.place]
            known[:] = [failed, *(one for one in known if one != failed)]
        if code == "0":
            yield mutant, ""
        else:
            yield mutant, failed or ("could not be imported" if code else DID_NOT_END)


def known_equivalents() -> dict[Key, str]:
    said = yaml.safe_load(EQUIVALENTS.read_text())
    return {
        (place, where, row["before"], row["after"]): row["why"]
        for place, functions in said.items()
        for where, rows in functions.items()
        for row in rows
    }


def run(asked: Asked, console: Console) -> tuple[dict[str, Score], list[Key]]:
    begun = time.process_time()
    code, failed = run_tests(asked)  # here, so that files are known to all
    if code:
        sys.exit(f"without any change {failed or 'the tests'} must pass first")
    asked.longest_s = LONGEST * (time.process_time() - begun)
    mutants = (library_mutants if asked.library else engine_mutants)(asked.only)
    chance = random.Random(asked.seed)
    if asked.sample and asked.sample < len(mutants):
        mutants = chance.sample(mutants, asked.sample)
    equivalents = {} if asked.library else known_equivalents()
    scores: dict[str, Score] = {mutant.place: Score() for mutant in mutants}
    wrong = equivalents.keys() - {key_of(m) for m in engine_mutants("")} if equivalents else set()
    by: Counter[str] = Counter()
    with _progress(console) as bars:
        bar = bars.add_task("mutants", total=len(mutants))
        for mutant, killer in killed_or_not(mutants, asked):
            bars.advance(bar)
            score = scores[mutant.place]
            if killer and key_of(mutant) in equivalents:
                wrong.add(key_of(mutant))
            if killer:
                score.killed += 1
                by[killer] += 1
            elif key_of(mutant) in equivalents:
                score.equivalent += 1
            else:
                score.survivors.append(mutant)
                bars.console.print(f"survived: {mutant}", markup=False, soft_wrap=True)
    console.print(f"{by[DID_NOT_END]} {DID_NOT_END} within {asked.longest_s:.0f} s of a processor")
    if asked.killers:
        for killer, count in by.most_common():
            console.print(f"{count:5} {killer}", markup=False, soft_wrap=True)
    return scores, sorted(wrong)


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TimeRemainingColumn())  # fmt: skip
    return Progress(*columns, console=console, disable=not console.is_terminal)


def show(scores: dict[str, Score], console: Console, seconds: float) -> Score:
    table = Table("changed", "mutants", "killed", "survived", "equivalent", "score")
    whole = Score()
    for place, score in sorted(scores.items()):
        _row(table, place, score)
        whole.killed += score.killed
        whole.survivors += score.survivors
        whole.equivalent += score.equivalent
    _row(table, f"all, in {seconds:.0f} s", whole)
    console.print(table)
    return whole


def _row(table: Table, name: str, score: Score) -> None:
    counts = score.killed, len(score.survivors), score.equivalent
    table.add_row(name, str(sum(counts)), *map(str, counts), f"{score.share:.1%}")


def prepare() -> None:
    """What all mutants share, once: settings, and how hypothesis looks for a failure."""
    import django
    from hypothesis import HealthCheck, Phase, settings

    sys.dont_write_bytecode = True
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    reading.read_bytes = known_file
    settings.register_profile(
        "mutants",
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutants")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--library", action="store_true", help="the library's files, not the engine"
    )
    parser.add_argument("--only", default="", metavar="NAME", help="one module, or one file")
    parser.add_argument("--sample", type=int, default=0, metavar="N", help="so many by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the sample")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--tests", nargs="+", help="only these, to see what they are worth")
    parser.add_argument("--killers", action="store_true", help="say which test killed how many")
    parser.add_argument("--quick", action="store_true", help="without the tests that draw")
    asked = parser.parse_args(namespace=Asked())
    asked.tests = asked.tests or (LIBRARY_TESTS if asked.library else ENGINE_TESTS)
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    begun = time.monotonic()
    prepare()
    scores, wrong = run(asked, console)
    whole = show(scores, console, time.monotonic() - begun)
    for key in wrong:
        told = f"no equivalent: {' '.join(key)}"
        console.print(told, style="red", markup=False, soft_wrap=True)
    return 0 if whole.share >= ENOUGH and not wrong else 1


if __name__ == "__main__":
    sys.exit(main())
