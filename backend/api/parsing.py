"""Reading a request body: strict JSON, optionally gzip, never more than the limit."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterable, Mapping
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, NoReturn

from django.conf import settings
from django.http import UnreadablePostError
from rest_framework.parsers import BaseParser
from rest_framework.request import Request

from backend.problems import MalformedRequest, PayloadTooLarge, UnsupportedMediaType

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication

MAX_DEPTH = 32
HALF_A_PAIR = re.compile("[\ud800-\udfff]")


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 means it: no NaN, twin keys, NUL, half surrogates or depth bombs."""

    media_type = "application/json"

    def parse(  # type: ignore[override]  # a body may be any JSON; the input says what it wants
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> object:
        request = (parser_context or {})["request"]
        encoding = request.META.get("HTTP_CONTENT_ENCODING", "")
        return loads(_unpacked(stream, encoding.strip().lower()))


def loads(raw: bytes) -> object:
    try:
        text = raw.decode("utf-8")
        parsed: object = json.loads(
            text,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            object_pairs_hook=_without_twins,
        )
        if isinstance(parsed, (dict, list)):
            _check_depth(parsed, 0)
        if "\\u" in text:  # the only way to write what must not be in a text
            _check_strings(parsed)
    except MalformedRequest:
        raise
    except RecursionError:
        raise MalformedRequest("The JSON is nested too deeply.") from None
    except UnicodeDecodeError:
        raise MalformedRequest("The body is not UTF-8.") from None
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise MalformedRequest(f"The body is not JSON{where}.") from None
    return parsed


def body_of(request: Request) -> object:
    """What a request says that has to say something."""
    if request.stream is None:
        raise MalformedRequest("The body is empty.")
    sent: object = request.data
    return sent


def with_length(application: WSGIApplication) -> WSGIApplication:
    """Django asks for the length, which a phone that packs while it sends cannot say."""

    def called(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        chunked = environ.get("HTTP_TRANSFER_ENCODING", "").lower() == "chunked"
        if chunked and environ.get("wsgi.input_terminated"):
            body: bytes = environ["wsgi.input"].read(settings.BODY_BYTES + 1)
            environ |= {"wsgi.input": BytesIO(body), "CONTENT_LENGTH": str(len(body))}
        return application(environ, start_response)

    return called


def _unpacked(stream: IO[Any], encoding: str) -> bytes:
    limit: int = settings.BODY_BYTES
    too_large = PayloadTooLarge(f"At most {limit} bytes.", params={"limit": limit})
    try:
        raw: bytes = stream.read(limit + 1)
    except UnreadablePostError:
        raise MalformedRequest("The body was cut off.") from None
    if len(raw) > limit:
        raise too_large
    if encoding in ("", "identity"):
        return raw
    if encoding not in ("gzip", "x-gzip"):
        raise UnsupportedMediaType("Content-Encoding can be gzip or absent.")
    inflate = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    try:
        raw = inflate.decompress(raw, limit + 1)
    except zlib.error:
        raise MalformedRequest("The body is not gzip.") from None
    if len(raw) > limit:
        raise too_large
    if not inflate.eof or inflate.unused_data:
        raise MalformedRequest("The gzip body is not whole.")
    return raw


def _refuse_constant(name: str) -> NoReturn:
    raise MalformedRequest(f"{name} is not a JSON number.")


def _finite(text: str) -> float:
    number = float(text)
    if number in (float("inf"), float("-inf")):
        raise MalformedRequest("A number is too large.")
    return number


def _without_twins(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise MalformedRequest("A key stands twice in one object.")
    return found


def _check_depth(value: dict[Any, Any] | list[Any], depth: int) -> None:
    if depth == MAX_DEPTH:
        raise MalformedRequest("The JSON is nested too deeply.")
    for one in value.values() if isinstance(value, dict) else value:
        if isinstance(one, (dict, list)):
            _check_depth(one, depth + 1)


def _check_strings(value: object) -> None:
    if isinstance(value, str):
        if "\0" in value or HALF_A_PAIR.search(value):
            raise MalformedRequest("A text holds a NUL or half a surrogate pair.")
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check_strings(key)
            _check_strings(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_strings(inner)
