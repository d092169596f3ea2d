"""Asking two services the same, and whether their answers are, apart from what is drawn anew."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any
from uuid import uuid5

from tests.campaigns.same_people import NAMESPACE
from tests.campaigns.two_services import Answer, Service

SOON = timedelta(seconds=60)
SOON_S = 60
RUN_S = 3600  # no campaign is longer
SHOWN = 3  # of the differences of one answer
UNCOMPARED = {"date", "server", "connection", "content-length", "transfer-encoding"}
# What is drawn at random, and stands for the same thing wherever it stands again.
DRAWN = re.compile(
    r"(?P<uuid>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"
    r"|(?P<etag>\"[0-9a-f]{32}\")"
    r"|(?P<code>\b[0-9A-Z]{4}(?:-[0-9A-Z]{4}){4}\b)"
    r"|(?P<instant>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d))"
)
# What is signed or drawn anew each time it is told. The script shows what it is worth by using it.
SEALED = re.compile(
    r"(?<=[?&]cursor=)[^&>\"]+"
    r"|(?<=csrftoken=)\w+|(?<=sessionid=)\w+|\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT"
    r"|(?<=name=\"csrfmiddlewaretoken\" value=\")\w+"
    r"|(?<=/invitations/)[^\"<]+"
)
SEALED_NAMES = {
    "next_cursor", "cursor", "print_url", "session_token", "token", "secret", "totp_url",
    "totp_svg",
    "unused_codes", "user_agent", "inputs_sha256",  # of ids, among others
}  # fmt: skip
# What a sweep adds to an event of the audit when it comes by; a hash is of moments and ids.
SWEPT_NAMES = {"seq", "hash", "first_hash", "last_hash"}
MEASURED_NAMES = {"clock_skew_s"}  # in seconds, and the second of two is asked later


@dataclass
class Sameness:
    """Remembers which of ours stands for which of theirs, so that it has to stay so.

    `sent` are moments that the script named: those come back exactly.
    """

    sent: set[datetime] = field(default_factory=set)
    _theirs: dict[str, str] = field(default_factory=dict)
    _ours: dict[str, str] = field(default_factory=dict)

    def differences(self, ours: Answer, theirs: Answer) -> list[str]:
        """What differs. Answers that do teach nothing about what stands for what."""
        before = dict(self._theirs), dict(self._ours)
        found = list(self._differences(ours, theirs))
        if found:
            self._theirs, self._ours = before
        return found

    def _differences(self, ours: Answer, theirs: Answer) -> Iterator[str]:
        if ours.status != theirs.status:
            yield f"status: {ours.status} | {theirs.status}"
        for name in sorted((ours.headers.keys() | theirs.headers.keys()) - UNCOMPARED):
            found = ours.headers.get(name, "(none)"), theirs.headers.get(name, "(none)")
            if not self._is_same_text(*found):
                yield f"{name}: {found[0]} | {found[1]}"
        if ours.is_json and theirs.is_json:
            yield from self._compared(ours.json, theirs.json, "")
        elif not self._is_same_text(_text(ours), _text(theirs)):
            yield f"body: {_text(ours)[:200]} | {_text(theirs)[:200]}"

    def _compared(self, ours: object, theirs: object, at: str) -> Iterator[str]:
        if type(ours) is not type(theirs):
            yield f"{at}: {_short(ours)} | {_short(theirs)}"
        elif isinstance(ours, dict) and isinstance(theirs, dict):
            for name in sorted((ours.keys() | theirs.keys()) - SWEPT_NAMES):
                if name not in ours or name not in theirs:
                    yield f"{at}/{name}: {_short(ours.get(name))} | {_short(theirs.get(name))}"
                elif name not in SEALED_NAMES or bool(ours[name]) != bool(theirs[name]):
                    yield from self._compared(ours[name], theirs[name], f"{at}/{name}")
        elif isinstance(ours, list) and isinstance(theirs, list):
            if len(ours) != len(theirs):
                yield f"{at}: {len(ours)} | {len(theirs)} of them"
            for number, (one, other) in enumerate(zip(ours, theirs, strict=False)):
                yield from self._compared(one, other, f"{at}/{number}")
        elif not self._is_same(ours, theirs, at.rpartition("/")[2]):
            yield f"{at}: {_short(ours)} | {_short(theirs)}"

    def _is_same(self, ours: object, theirs: object, name: str) -> bool:
        if isinstance(ours, str) and isinstance(theirs, str):
            return self._is_same_text(ours, theirs)
        if isinstance(ours, int | float) and isinstance(theirs, int | float) and ours != theirs:
            apart, now = abs(ours - theirs), time.time()
            if name in MEASURED_NAMES:
                return apart <= 2
            return apart < SOON_S and abs(ours - now) < RUN_S  # Unix time
        return ours == theirs

    def _is_same_text(self, ours: str, theirs: str) -> bool:
        ours, theirs = SEALED.sub("", ours), SEALED.sub("", theirs)
        if DRAWN.sub("", ours) != DRAWN.sub("", theirs):
            return False
        pairs = zip(DRAWN.finditer(ours), DRAWN.finditer(theirs), strict=False)
        return all(self._are_twins(one, other) for one, other in pairs)

    def _are_twins(self, ours: re.Match[str], theirs: re.Match[str]) -> bool:
        if ours.lastgroup != theirs.lastgroup:
            return False
        one, other = ours.group(), theirs.group()
        if ours.lastgroup == "instant":
            return self._is_same_moment(datetime.fromisoformat(one), datetime.fromisoformat(other))
        return (
            self._theirs.setdefault(one, other) == other
            and self._ours.setdefault(other, one) == one
        )

    def _is_same_moment(self, ours: datetime, theirs: datetime) -> bool:
        if ours == theirs:
            return True
        return not {ours, theirs} & self.sent and abs(ours - theirs) < SOON


def moments_in(text: str) -> Iterator[datetime]:
    for match in DRAWN.finditer(text):
        if match.lastgroup == "instant":
            with suppress(ValueError):
                yield datetime.fromisoformat(match.group())


def _text(answer: Answer) -> str:
    return answer.body.decode(errors="replace")


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"


# --- Asking -----------------------------------------------------------------------------------


@dataclass
class Row:
    """What was asked of one operation, and what came of it."""

    statuses: Counter[int] = field(default_factory=Counter)
    differences: list[str] = field(default_factory=list)


@dataclass
class Both:
    """The two services. Whatever is asked of one is asked of the other."""

    services: tuple[Service, Service]
    rows: dict[str, Row] = field(default_factory=dict)
    sameness: Sameness = field(default_factory=Sameness)

    def ask(
        self,
        who: str,
        method: str,
        path: str,
        body: object = None,
        *,
        raw: bytes | None = None,
        keep: Mapping[str, str] | None = None,
        tag: str = "",
        key: str = "",
        expect: int | None = None,
        **headers: str,
    ) -> bool:
        """Ask both as `who`. `keep` and `tag` name what is in the answers for later requests.

        Says whether everything was there that was to be kept.
        """
        path = path if path.startswith("/") else f"/api/v1/{path}"
        answers = []
        for service in self.services:
            sent = {name.replace("_", "-"): value for name, value in headers.items()}
            if who:
                sent["X-Session-Token"] = f"{{{who}}}"
            if key:
                sent["Idempotency-Key"] = str(uuid5(NAMESPACE, key))
            sent = {name: service.filled(value) for name, value in sent.items()}
            content = raw
            if raw is None and body is not None:
                content = service.filled(json.dumps(body)).encode()
            if content is not None:
                sent.setdefault("Content-Type", "application/json")
                self.sameness.sent.update(moments_in(content.decode(errors="replace")))
            answers.append(service.send(method, service.filled(path), content, sent))
        ours, theirs = answers
        row = self.rows.setdefault(self._operation(method, path), Row())
        row.statuses[ours.status] += 1
        asked = f"{who or 'nobody'}: {method} {path} {_short(raw or body)}"
        if found := self.sameness.differences(ours, theirs):
            more = f"; and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
            row.differences.append(f"{asked}: {'; '.join(found[:SHOWN])}{more}")
        if expect is not None and ours.status != expect:
            row.differences.append(f"{asked}: {ours.status}, not {expect}: {_text(ours)[:300]}")
        kept = {
            self._keep(service, answer, keep or {}, tag)
            for service, answer in zip(self.services, answers, strict=True)
        }
        return kept == {True}

    def keep_mailed(self, word: str) -> None:
        """The code in the newest mail."""
        for service in self.services:
            lines = service.newest_mail().splitlines()
            codes = [line for line in lines if re.fullmatch(r"[0-9A-Z-]{4,12}", line)]
            service.known[word] = codes[-1] if codes else ""

    def _keep(self, service: Service, answer: Answer, keep: Mapping[str, str], tag: str) -> bool:
        if tag:
            service.known[f"{tag}_tag"] = answer.headers.get("etag", '"none"')
        for word, at in keep.items():
            found: Any = answer.json if answer.is_json else None
            for step in at.split("/"):
                try:
                    found = found[int(step) if isinstance(found, list) else step]
                except (LookupError, TypeError, ValueError):
                    found = None
            if found is None:
                return False
            service.known[word] = str(found)
        return True

    def _operation(self, method: str, path: str) -> str:
        plain = path.split("?")[0]
        for kind, pattern, name in self._operations:
            if kind == method and pattern.fullmatch(plain):
                return name
        place = "/api/auth/" if plain.startswith("/api/auth/") else "elsewhere"
        return place if place != "elsewhere" else f"{method} elsewhere"

    @cached_property
    def _operations(self) -> list[tuple[str, re.Pattern[str], str]]:
        return [
            (method.upper(), re.compile(re.sub(r"{\w+}", "[^/]+", path)), said["operationId"])
            for path, methods in self.description["paths"].items()
            for method, said in methods.items()
        ]

    @cached_property
    def description(self) -> Any:
        return self.services[0].send("GET", "/api/schema.json", None, {}).json

    @cached_property
    def library(self) -> dict[str, Any]:
        """The document of the protocol that the script copies, as a draft has it."""
        service = self.services[0]
        token = {"X-Session-Token": service.known["ana"]}
        path = service.filled("/api/v1/protocols/{library}")
        told: Any = service.send("GET", path, None, token).json
        members = self.description["components"]["schemas"]["ProtocolDocument"]["properties"]
        return {name: value for name, value in told.items() if name in members}
