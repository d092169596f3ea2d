"""Single changes to source code and to library files, each of which some test should notice.

Python is changed as a syntax tree: comparisons, numbers, truths, words, defaults, arithmetic,
logic, conditions, slices, arguments, and statements that are left out. Library files are changed at
one number, truth or word of a schedule, or at one part of an exit predicate.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

LONGEST = 76  # characters of code that a reader is shown of a change

COMPARISONS: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr,
}
SWAPPED = {"max": "min", "min": "max", "any": "all", "all": "any", "ceil": "floor", "floor": "ceil"}
# Types and decorators decide nothing at run time.
SILENT = {"annotation", "returns", "decorator_list", "type_params"}


@dataclass(frozen=True)
class Mutant:
    """One change; `apply` carries it out, in a process of its own."""

    place: str  # module, or path of a file
    line: int
    where: str  # function or class; path of a value
    before: str
    after: str
    apply: Callable[[], None] = field(compare=False, repr=False)

    def __str__(self) -> str:
        return f"{self.place}:{self.line} {self.where}: {self.before}  →  {self.after}"


# --- Python -----------------------------------------------------------------------------------


def of_python(module: str, path: Path, install: Callable[[ast.Module], None]) -> Iterator[Mutant]:
    """Every change of a module. `install` is called with the changed tree."""
    tree = ast.parse(path.read_text(), str(path))
    for site in _Walk().visited(tree):
        yield site.mutant(module, tree, install)


@dataclass
class _Site:
    """Where one node stands, and what is put there instead."""

    parents: tuple[ast.AST, ...]
    name: str  # the field of the last parent
    index: int | None
    new: ast.AST | None  # None: left out
    where: str

    def put(self) -> object:
        """Make the change, and give back what the field held."""
        holder = self.parents[-1]
        held = getattr(holder, self.name)
        if self.index is None:
            setattr(holder, self.name, self.new)
        else:
            instead = [] if self.new is None else [self.new]
            changed = [*held[: self.index], *instead, *held[self.index + 1 :]]
            setattr(holder, self.name, changed)
        return held

    def mutant(
        self, module: str, tree: ast.Module, install: Callable[[ast.Module], None]
    ) -> Mutant:
        old, shown = self._old(), self._shown()
        before = _text(shown)
        held = self.put()
        after = _text(shown) if shown is not old else _text(self.new)
        setattr(self.parents[-1], self.name, held)

        def apply() -> None:
            self.put()
            install(ast.fix_missing_locations(tree))

        line = next(n.lineno for n in (old, *self.parents[::-1]) if isinstance(n, _PLACED))
        return Mutant(module, line, self.where, before, after or "left out", apply)

    def _old(self) -> ast.AST:
        old = getattr(self.parents[-1], self.name)
        node: ast.AST = old if self.index is None else old[self.index]
        return node

    def _shown(self) -> ast.AST:
        """The largest piece of code around that still is short."""
        shown = self._old()
        for node in () if isinstance(shown, ast.stmt) else self.parents[::-1]:
            if isinstance(node, _BLOCKS) or not isinstance(node, _PIECES):
                break
            if len(_text(node)) > LONGEST and shown is not self._old():
                break
            shown = node
        return shown


_PIECES = (ast.expr, ast.stmt, ast.keyword, ast.comprehension, ast.arguments, ast.match_case)
_PLACED = (ast.expr, ast.stmt, ast.keyword, ast.arg)
_BLOCKS = (ast.FunctionDef, ast.ClassDef, ast.If, ast.For, ast.While, ast.Match)


def _text(node: ast.AST | None) -> str:
    if isinstance(node, ast.If | ast.While):
        return f"{type(node).__name__.lower()} {ast.unparse(node.test)}:"
    return "" if node is None else " ".join(ast.unparse(node).split())


class _Walk:
    """Goes through a tree and names what can be changed, in the order of the source."""

    bound: frozenset[str] | set[str] = frozenset()  # names that hold a value in the function so far

    def visited(self, tree: ast.Module) -> Iterator[_Site]:
        yield from self._inside(tree, (), "")

    def _inside(self, node: ast.AST, parents: tuple[ast.AST, ...], where: str) -> Iterator[_Site]:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            where = f"{where}.{node.name}".lstrip(".")
            self.bound = {one.arg for one in ast.walk(node) if isinstance(one, ast.arg)}
        above = (*parents, node)
        for name, value in ast.iter_fields(node):
            if name in SILENT:
                continue
            nodes = list(enumerate(value)) if isinstance(value, list) else [(None, value)]
            for index, child in nodes:
                if not isinstance(child, ast.AST) or _is_silent(child, node):
                    continue
                for new in _changes(child, node, name):
                    yield _Site(above, name, index, new, where)
                if isinstance(child, ast.Assign) and self._binds_again(child):
                    yield _Site(above, name, index, ast.Pass(), where)
                yield from self._inside(child, above, where)

    def _binds_again(self, node: ast.Assign) -> bool:
        """Whether a name keeps another value where this is left out; else all would fail."""
        names = {
            n.id for target in node.targets for n in ast.walk(target) if isinstance(n, ast.Name)
        }
        again = names <= self.bound
        self.bound |= names
        return again


def _is_silent(node: ast.AST, parent: ast.AST) -> bool:
    """Documentation, imports, names for types, and the words of sentences that are put together."""
    if isinstance(node, ast.Import | ast.ImportFrom | ast.JoinedStr):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.Assign) and isinstance(parent, ast.Module):
        match node.value:
            case ast.Subscript(slice=ast.Slice()):
                return False
            case ast.Subscript():
                return True
            case value:
                return "TypeVar" in ast.unparse(value)
    return isinstance(node, ast.Assert)


def _changes(node: ast.AST, parent: ast.AST, name: str) -> Iterator[ast.AST | None]:
    """What may stand in place of a node; None leaves it out."""
    match node:
        case ast.Constant():
            yield from _constants(node, parent, name)
        case ast.Compare():
            for n, op in enumerate(node.ops):
                for other in COMPARISONS[type(op)]:
                    ops = [*node.ops[:n], other(), *node.ops[n + 1 :]]
                    yield ast.Compare(node.left, ops, node.comparators)
        case ast.BinOp() if type(node.op) in ARITHMETIC:
            yield ast.BinOp(node.left, ARITHMETIC[type(node.op)](), node.right)
        case ast.AugAssign() if type(node.op) in ARITHMETIC:
            yield ast.AugAssign(node.target, ARITHMETIC[type(node.op)](), node.value)
            yield ast.Pass()
        case ast.BoolOp():
            yield ast.BoolOp(ast.And() if isinstance(node.op, ast.Or) else ast.Or(), node.values)
            for n in range(len(node.values)):
                kept = [*node.values[:n], *node.values[n + 1 :]]
                yield kept[0] if len(kept) == 1 else ast.BoolOp(node.op, kept)
        case ast.UnaryOp(op=ast.Not() | ast.USub()):
            yield node.operand
        case ast.Call():
            yield from _calls(node)
        case ast.Slice():
            for part in ("lower", "upper", "step"):
                if getattr(node, part) is not None:
                    parts = {f: getattr(node, f) for f in node._fields if f != part}
                    yield ast.Slice(**parts)
        case ast.Return(value=ast.expr()) if _text(node.value) != "None":
            yield ast.Return(ast.Constant(None))
        case ast.Tuple(ctx=ast.Load()) | ast.List(ctx=ast.Load()) | ast.Set():
            if len(node.elts) > 1 and not _is_unpacked(parent):
                for n in range(len(node.elts)):
                    elts = [*node.elts[:n], *node.elts[n + 1 :]]
                    yield ast.Set(elts) if isinstance(node, ast.Set) else type(node)(elts, node.ctx)
        case ast.Expr() | ast.Raise() if not isinstance(parent, ast.Module | ast.ClassDef):
            yield ast.Pass()
        case ast.Continue() | ast.Break():
            yield ast.Pass()
        case ast.match_case() if len(parent.cases) > 1:  # type: ignore[attr-defined]
            yield None
    if isinstance(node, ast.expr) and (
        name == "test"
        or name == "guard"
        or (name == "ifs" and isinstance(parent, ast.comprehension))
    ):
        yield ast.Constant(True)
        yield ast.Constant(False)


def _is_unpacked(parent: ast.AST) -> bool:
    """Whether the parts of a tuple get names, so that none can be missing; or are types."""
    of_names = isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Tuple)
    return of_names or isinstance(parent, ast.Subscript | ast.Return)


def _constants(node: ast.Constant, parent: ast.AST, name: str) -> Iterator[ast.AST]:
    match node.value:
        case bool():
            yield ast.Constant(not node.value)
        case int() | float():
            yield ast.Constant(node.value + 1)
            yield ast.Constant(node.value - 1)
        case str() if node.value:
            yield ast.Constant(f"{node.value}~")
        case None if isinstance(parent, ast.arguments) or (
            isinstance(parent, ast.AnnAssign) and name == "value"
        ):
            yield ast.Constant(0)


def _calls(node: ast.Call) -> Iterator[ast.AST]:
    if isinstance(node.func, ast.Name) and node.func.id in SWAPPED:
        yield ast.Call(ast.Name(SWAPPED[node.func.id], ast.Load()), node.args, node.keywords)
    for n, keyword in enumerate(node.keywords):
        if keyword.arg is not None:
            kept = [*node.keywords[:n], *node.keywords[n + 1 :]]
            yield ast.Call(node.func, node.args, kept)


# --- Library files ----------------------------------------------------------------------------

NUMBER = re.compile(r"-?\d+(\.\d+)?")
IN_PREDICATES = re.compile(
    r"(?P<cmp><=|>=|<|>)(?= -?\d)|(?P<number>-?\d+(?:\.\d+)?)|(?P<window>phase)"
)
OTHER_CMP = {"<=": ("<", ">"), ">=": (">", "<"), "<": ("<=", ">="), ">": (">=", "<=")}
TRUTHS = {"true": "false", "false": "true"}
KINDS = {"daily": "once", "weekly": "daily", "every_n_days": "daily", "once": "daily"}
VERSIONS = {"version"}


def of_file(place: str, path: Path, install: Callable[[bytes], None]) -> Iterator[Mutant]:
    """Every change of a number or a switch of a file. `install` gets the changed bytes."""
    text = path.read_text()
    for start, end, new, where in _scalars(yaml.compose(text, yaml.SafeLoader), ""):

        def apply(start: int = start, end: int = end, new: str = new) -> None:
            install((text[:start] + new + text[end:]).encode())

        line = text.count("\n", 0, start) + 1
        yield Mutant(place, line, where, text[start:end], new, apply)


def _scalars(node: yaml.Node | None, where: str) -> Iterator[tuple[int, int, str, str]]:
    """Where something can be changed, and to what."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value not in VERSIONS:
                yield from _scalars(value, f"{where}/{key.value}")
    elif isinstance(node, yaml.SequenceNode):
        for n, value in enumerate(node.value):
            yield from _scalars(value, f"{where}/{_name(value) or n}")
    elif isinstance(node, yaml.ScalarNode) and not (node.style and node.style in "|>'\""):
        start, end = node.start_mark.index, node.end_mark.index
        if NUMBER.fullmatch(node.value):
            for new in _numbers(node.value):
                yield start, end, new, where
        elif node.value in TRUTHS:
            yield start, end, TRUTHS[node.value], where
        elif where.endswith("/kind") and node.value in KINDS:
            yield start, end, KINDS[node.value], where
        elif where.endswith("/when") and "(" in node.value:  # a predicate
            for found in IN_PREDICATES.finditer(node.value):
                for new in _in_predicate(found):
                    yield start + found.start(), start + found.end(), new, where


def _name(node: yaml.Node) -> str:
    """How a reader finds an item of a list."""
    if isinstance(node, yaml.MappingNode):
        said = {key.value: value.value for key, value in node.value}
        for name in ("id", "code", "exercise", "slug", "light"):
            if isinstance(said.get(name), str):
                return str(said[name])
    return ""


def _numbers(said: str) -> tuple[str, ...]:
    if "." in said:
        return f"{float(said) + 0.1:.10g}", f"{float(said) - 0.1:.10g}"
    return str(int(said) + 1), str(int(said) - 1)


def _in_predicate(found: re.Match[str]) -> tuple[str, ...]:
    if found["cmp"]:
        return OTHER_CMP[found["cmp"]]
    if found["number"]:
        return _numbers(found["number"])
    return ("episode",)
