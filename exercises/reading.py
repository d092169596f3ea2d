"""Reads a YAML file of the library into values that know their lines, and trusts no byte of it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeVar

import yaml
from pydantic import TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

MOST_BYTES = 2 * 1024 * 1024
MOST_NODES = 50_000
MOST_DEPTH = 20
MOST_FINDINGS = 200
LONGEST_KEY = 64

T = TypeVar("T")

# The numbers of a library are short and written out; everything else stays text.
WHOLE = re.compile(r"[-+]?[0-9]{1,15}")
DECIMAL = re.compile(r"[-+]?[0-9]{1,15}\.[0-9]{1,15}")
NO_NUMBER = re.compile(
    r"[-+]?\.(inf|nan)|[-+]?[0-9.]+e[-+]?[0-9]+|[-+]?([0-9]{16,}|[0-9]+\.[0-9]{16,})",
    re.IGNORECASE,
)
UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")

# PyYAML's wheels carry libyaml, which reads 2 MiB in a fraction of a second.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong in a document, where, and what was expected."""

    code: str
    path: str  # JSON pointer
    message: str
    expected: str = ""
    severity: Literal["error", "warning"] = "error"
    file: str = ""
    line: int | None = None

    def __str__(self) -> str:
        hint = f" (expected {self.expected})" if self.expected else ""
        told = f"{self.path or '/'}: {self.message}{hint}"
        return f"{self.file}:{self.line}: {told}" if self.file else told


@dataclass(slots=True)
class Text:
    """A file as values. Where it could not be read, `value` is None and `findings` says why."""

    file: str
    value: object = None
    lines: dict[str, int] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def line_of(self, path: str) -> int:
        """The line of a pointer, or of the nearest thing around it that has one."""
        while path and path not in self.lines:
            path = path.rpartition("/")[0]
        return self.lines.get(path, 1)

    def typed(self, adapter: TypeAdapter[T]) -> T | None:
        """The value as what the adapter says it is; what keeps it from being so is found."""
        if self.findings:
            return None
        try:
            return typed(adapter, self.value)
        except Misshapen as error:
            self.find(error.findings)
            return None

    def find(self, findings: Iterable[Finding]) -> None:
        """Take findings about the value, and tell them their place in the file."""
        for found in findings:
            line = found.line or self.line_of(found.path)
            self.findings.append(replace(found, file=self.file, line=line))


class Misshapen(Exception):
    """A value has another shape than asked for."""

    def __init__(self, findings: list[Finding]) -> None:
        super().__init__("; ".join(map(str, findings)))
        self.findings = findings


class _Unreadable(Exception):
    """Reading ends here; the finding says why."""

    def __init__(self, code: str, message: str, expected: str, line: int, path: str = "") -> None:
        super().__init__(message)
        self.finding = Finding(code, path, message, expected, line=line)


def read(path: Path, *, root: Path) -> Text:
    """Read a file of the library. Findings name it relative to `root`."""
    name = path.relative_to(root).as_posix()
    try:
        with path.open("rb") as file:
            return read_bytes(file.read(MOST_BYTES + 1), file=name)
    except OSError as error:
        text = Text(name)
        text.find([Finding("file", "", f"cannot be opened: {error.strerror}", "a file", line=1)])
        return text


def read_bytes(content: bytes, *, file: str) -> Text:
    """Read YAML: one document of text, numbers, lists and mappings, of bounded size and depth.

    Aliases, anchors, tags, twin keys and numbers without end are findings, never values.
    """
    text = Text(file)
    try:
        if len(content) > MOST_BYTES:
            raise _Unreadable("too-large", "the file is too large", "at most 2 MiB", 1)
        text.value = _build(_decoded(content), text)
    except _Unreadable as stop:
        text.find([stop.finding])
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        message = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        line = mark.line + 1 if mark else 1
        text.find([Finding("yaml", "", f"this is not YAML: {message}", "YAML", line=line)])
    if text.findings:
        text.value = None
    return text


def typed(adapter: TypeAdapter[T], value: object) -> T:
    """A value as what the adapter says it is. Misshapen carries everything that is against it."""
    try:
        # as JSON: only there does strict let a list stand for a tuple
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        raise Misshapen([_of_pydantic(item) for item in error.errors(include_url=False)]) from error


def pointer(*parts: object) -> str:
    """A JSON pointer (RFC 6901)."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in parts)


def _of_pydantic(item: ErrorDetails) -> Finding:
    path, message = pointer(*item["loc"]), item["msg"]
    match item["type"]:
        case "missing":
            return Finding("missing", path, "is missing", "a value")
        case "extra_forbidden":
            return Finding("unknown", path, "is not known here", "only the names of the schema")
        case _:
            expected = message.removeprefix("Input should be ").removeprefix("Value error, ")
            return Finding("shape", path, f"{_short(item['input'])} cannot stand here", expected)


def _short(value: object) -> str:
    shown = repr(value) if isinstance(value, str | int | float | None) else type(value).__name__
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _decoded(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise _Unreadable("encoding", "this is not UTF-8", "UTF-8 text", line) from error


@dataclass(slots=True)
class _Open:
    """A list or mapping that is being filled."""

    into: list[object] | dict[str, object]
    path: str
    key: str | None = None


def _build(content: str, text: Text) -> object:
    """Fill lists and mappings from YAML events: no recursion, whatever the depth."""
    stack: list[_Open] = []
    result: object = None
    nodes = documents = 0
    for event in yaml.parse(content, Loader=Loader):
        if isinstance(event, yaml.DocumentStartEvent):
            documents += 1
            if documents > 1:
                raise _Unreadable("documents", "a second document", "one document", _line(event))
        if isinstance(event, yaml.CollectionEndEvent):
            stack.pop()
        if not isinstance(event, yaml.NodeEvent):
            continue

        nodes += 1
        line = _line(event)
        top = stack[-1] if stack else None
        if nodes > MOST_NODES:
            raise _Unreadable("too-many", "too many values", f"at most {MOST_NODES}", line)
        if len(text.findings) > MOST_FINDINGS:
            raise _Unreadable("too-many", "too much is wrong here", "a library file", line)
        if top is not None and isinstance(top.into, dict) and top.key is None:
            _take_key(event, top, text, line)
            continue

        path = _path_of_next(top)
        text.lines.setdefault(path, line)
        text.find(_refused(event, path, line))
        value: object
        if isinstance(event, yaml.CollectionStartEvent):
            if len(stack) == MOST_DEPTH:
                raise _Unreadable("depth", "nested too deep", f"{MOST_DEPTH} levels", line, path)
            opened = _Open([] if isinstance(event, yaml.SequenceStartEvent) else {}, path)
            stack.append(opened)
            value = opened.into
        elif isinstance(event, yaml.ScalarEvent):
            value = _scalar(event, text, path, line)
        else:
            value = None  # an alias: refused above
        if top is None:
            result = value
        elif isinstance(top.into, list):
            top.into.append(value)
        elif top.key is not None:
            top.into[top.key], top.key = value, None
    return result


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _take_key(event: yaml.NodeEvent, top: _Open, text: Text, line: int) -> None:
    if not isinstance(event, yaml.ScalarEvent) or len(event.value) > LONGEST_KEY:
        raise _Unreadable("key", "this is no name", "a short name", line, top.path)
    path = top.path + pointer(event.value)
    text.find(_refused(event, path, line))
    if event.value in top.into:
        first = text.lines[path]
        message = f"{event.value!r} is written twice, first on line {first}"
        text.find([Finding("twin-key", path, message, "each name once", line=line)])
    text.lines[path] = line
    top.key = event.value


def _path_of_next(top: _Open | None) -> str:
    if top is None:
        return ""
    return top.path + pointer(len(top.into) if isinstance(top.into, list) else top.key)


def _refused(event: yaml.NodeEvent, path: str, line: int) -> list[Finding]:
    found = []
    if isinstance(event, yaml.AliasEvent):
        found.append(
            Finding("alias", path, f"alias {_short(event.anchor)}", "the text itself", line=line)
        )
    elif event.anchor is not None:
        found.append(
            Finding("anchor", path, f"anchor {_short(event.anchor)}", "no anchors", line=line)
        )
    if tag := getattr(event, "tag", None):
        found.append(Finding("tag", path, f"tag {_short(tag)}", "no tags", line=line))
    return found


def _scalar(event: yaml.ScalarEvent, text: Text, path: str, line: int) -> object:
    value: str = event.value
    if UNPRINTABLE.search(value):
        text.find([Finding("character", path, "an unprintable character", "text", line=line)])
    if event.style:  # quoted, or a block of text
        return value
    if value in ("", "~", "null"):
        return None
    if value in ("true", "false"):
        return value == "true"
    if WHOLE.fullmatch(value):
        return int(value)
    if DECIMAL.fullmatch(value):
        return float(value)
    if NO_NUMBER.fullmatch(value):
        text.find([Finding("number", path, _short(value), "a short, plain number", line=line)])
    return value
