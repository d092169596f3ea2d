"""Input fields that take a value of exactly their type, and say what was wrong in our codes."""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Mapping, Sequence
from contextvars import ContextVar
from datetime import date, datetime, time
from functools import cache
from typing import Any, NoReturn
from uuid import UUID

from django.utils.functional import cached_property
from django.utils.translation import gettext as _
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError

from backend.problems import FieldError, MalformedRequest, ValidationFailed

MOST_WARNINGS = 30  # told of one record; a phone has no use for more
LONGEST_NAME = 80

# What Django REST Framework calls it → what our contract calls it (api: problems, errors[].code).
CODES = {
    "required": "required",
    "null": "invalid-type",
    "blank": "required",
    "empty": "required",
    "not_a_list": "invalid-type",
    "not_a_dict": "invalid-type",
    "invalid_choice": "invalid-value",
    "min_value": "out-of-range",
    "max_value": "out-of-range",
    "min_length": "invalid-value",
    "max_length": "too-long",
}


class Refused(str):
    """A code of our contract, with the limits that were broken.

    The library makes every error anew on its way up and keeps its text and code alone, so the
    limits travel with the code.
    """

    params: Mapping[str, object]

    def __new__(cls, code: str, params: Mapping[str, object]) -> Refused:
        self = super().__new__(cls, code)
        self.params = params
        return self


def refuse(code: str, detail: str, **params: object) -> NoReturn:
    raise ValidationError([_refused(code, detail, params)])


def _refused(code: str, detail: str, params: Mapping[str, object]) -> ErrorDetail:
    return ErrorDetail(detail, Refused(code, params))


class Whole(serializers.IntegerField):
    """A whole JSON number; no string, no 3.0, no true."""

    def __init__(self, low: int, high: int, **options: Any) -> None:
        self.low, self.high = low, high
        super().__init__(min_value=low, max_value=high, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        empty, data = self.validate_empty_values(data)
        return data if empty else self.to_internal_value(data)

    def to_internal_value(self, data: object) -> int:
        if isinstance(data, bool) or not isinstance(data, int):
            refuse("invalid-type", _("Must be a whole number."))
        if not self.low <= data <= self.high:
            limits = {"min": self.low, "max": self.high}
            refuse("out-of-range", _("Must be between %(min)s and %(max)s.") % limits, **limits)
        return data


class Number(serializers.FloatField):
    """A JSON number, in steps where the scale has them (effort: halves; loads: hundredths)."""

    def __init__(self, low: float, high: float, *, per_unit: int = 100, **options: Any) -> None:
        self.low, self.high, self.per_unit = low, high, per_unit
        super().__init__(min_value=low, max_value=high, **options)

    def run_validation(self, data: Any = serializers.empty) -> Any:
        empty, data = self.validate_empty_values(data)
        return data if empty else self.to_internal_value(data)

    def to_internal_value(self, data: object) -> float | int:
        if isinstance(data, bool) or not isinstance(data, int | float):
            refuse("invalid-type", _("Must be a number."))
        if not self.low <= data <= self.high:
            limits = {"min": self.low, "max": self.high}
            refuse("out-of-range", _("Must be between %(min)s and %(max)s.") % limits, **limits)
        if abs(data * self.per_unit - round(data * self.per_unit)) > 1e-6:
            step = 1 / self.per_unit
            refuse("invalid-value", _("Must be in steps of %(step)s.") % {"step": step}, step=step)
        return data


class Truth(serializers.BooleanField):
    """true or false; no 1, no "yes"."""

    def to_internal_value(self, data: object) -> bool:
        if not isinstance(data, bool):
            refuse("invalid-type", _("Must be true or false."))
        return data


class Text(serializers.CharField):
    """Text of a limited length, kept exactly as sent. The parser has refused NUL already."""

    def __init__(self, longest: int, **options: Any) -> None:
        options.setdefault("trim_whitespace", False)
        self.longest = longest
        super().__init__(max_length=longest, **options)

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            refuse("invalid-type", _("Must be text."))
        text = data.strip() if self.trim_whitespace else data
        if len(text) > self.longest:
            refuse(
                "too-long",
                _("At most %(max)s characters.") % {"max": self.longest},
                max=self.longest,
            )
        return text


class Word(serializers.ChoiceField):
    """One of a list of codes."""

    def to_internal_value(self, data: object) -> str:
        if not isinstance(data, str):
            refuse("invalid-type", _("Must be text."))
        if data not in self.choices:
            refuse("invalid-value", _("Not one of the words known here."), known=list(self.choices))
        return data


class Day(serializers.DateField):
    """A calendar day, `YYYY-MM-DD`, without zone."""

    def to_internal_value(self, data: object) -> date:
        if not isinstance(data, str):
            refuse("invalid-type", _("Must be a day as YYYY-MM-DD."))
        if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", data, re.ASCII):
            refuse("invalid-value", _("Must be a day as YYYY-MM-DD."))
        try:
            day = date.fromisoformat(data)
        except ValueError:
            refuse("invalid-value", _("There is no such day."))
        if not 1900 <= day.year <= 2200:
            refuse("out-of-range", _("Must be between 1900 and 2200."))
        return day


class WallClock(serializers.TimeField):
    """A time of day on the wall clock of wherever the person is, `HH:MM`."""

    def to_internal_value(self, data: object) -> time:
        if not isinstance(data, str):
            refuse("invalid-type", _("Must be a time as HH:MM."))
        if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", data, re.ASCII):
            refuse("invalid-value", _("Must be a time as HH:MM."))
        return time.fromisoformat(data)


_INSTANT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


class Instant(serializers.DateTimeField):
    """A moment, RFC 3339 with offset."""

    def to_internal_value(self, data: object) -> datetime:
        if not isinstance(data, str):
            refuse("invalid-type", _("Must be a moment with offset, RFC 3339."))
        if not _INSTANT.fullmatch(data):
            refuse("invalid-value", _("Must be a moment with offset, RFC 3339."))
        try:
            moment = datetime.fromisoformat(data.upper())
        except ValueError:
            refuse("invalid-value", _("There is no such moment."))
        if not 1900 < moment.year < 2200:
            refuse("out-of-range", _("Must be between 1900 and 2200."))
        return moment


class Uid(serializers.UUIDField):
    """A UUID in its usual form."""

    def to_internal_value(self, data: object) -> UUID:
        if not isinstance(data, str):
            refuse("invalid-type", _("Must be a UUID."))
        try:
            return as_uuid(data)
        except ValueError:
            refuse("invalid-value", _("Must be a UUID."))


def as_uuid(text: str) -> UUID:
    """The canonical form only; ValueError otherwise."""
    if not re.fullmatch(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}", text, re.ASCII):
        raise ValueError(text)
    return UUID(text)


class Zone(Text):
    """An IANA time zone that this service knows."""

    def __init__(self, **options: Any) -> None:
        super().__init__(64, **options)

    def to_internal_value(self, data: object) -> str:
        name = super().to_internal_value(data)
        if name not in known_zones():
            refuse("invalid-value", _("Not a time zone known here (IANA name)."))
        return name


_zones: frozenset[str] = frozenset()


def known_zones() -> frozenset[str]:
    global _zones
    if not _zones:
        _zones = frozenset(zoneinfo.available_timezones())
    return _zones


class Many(serializers.ListField):
    """A list with a limit."""

    def __init__(
        self, child: serializers.Field[Any, Any, Any, Any], most: int, **options: Any
    ) -> None:
        self.most = most
        super().__init__(child=child, max_length=most, **options)

    def to_internal_value(self, data: object) -> list[Any]:
        if not isinstance(data, list):
            refuse("invalid-type", _("Must be a list."))
        if len(data) > self.most:
            refuse("too-many", _("At most %(max)s.") % {"max": self.most}, max=self.most)
        return self.run_child_validation(data)


class In(serializers.Serializer[Any]):
    """What a request may say. `checked` gives plain values or raises `ValidationFailed`.

    Staff requests with an unknown field are refused. Uploads from phones (`lenient`) keep unknown
    fields out and name them, because a newer app must not lose its records at an older service.
    """

    lenient = False

    @classmethod
    def checked(cls, sent: object, *, partial: bool = False) -> dict[str, Any]:
        return cls.checked_with_warnings(sent, partial=partial)[0]

    @classmethod
    def checked_with_warnings(
        cls, sent: object, *, partial: bool = False
    ) -> tuple[dict[str, Any], list[str]]:
        if not isinstance(sent, dict):
            raise MalformedRequest("The body must be an object.")
        warnings: list[str] = []
        noting = _warnings.set(warnings)
        try:
            values = _reader(cls, partial).run_validation(sent)
        except ValidationError as error:
            raise ValidationFailed.of(field_errors(error.detail)) from None
        finally:
            _warnings.reset(noting)
        return values, sorted(set(warnings))

    def run_validation(self, data: Any = serializers.empty) -> Any:
        empty, data = self.validate_empty_values(data)
        return data if empty else self.validate(self.to_internal_value(data))

    @cached_property
    def _known(self) -> frozenset[str]:
        return frozenset(self.fields)

    @cached_property
    def _parts(self) -> list[tuple[str, Any, Any, bool]]:
        """Of each field: its name, itself, what else looks at it, and whether it may be missing."""
        return [
            (
                name,
                field,
                getattr(self, f"validate_{name}", None),
                not field.required and field.default is serializers.empty,
            )
            for name, field in self.fields.items()
        ]

    def to_internal_value(self, data: object) -> dict[str, Any]:
        if not isinstance(data, dict):
            refuse("invalid-type", _("Must be an object."))
        unknown = data.keys() - self._known
        if unknown and not self.lenient:
            raise ValidationError(
                {
                    name: [_refused("unknown-field", _("Not a field known here."), {})]
                    for name in sorted(unknown)
                }
            )
        for name in unknown:
            _warnings.get().append(f"unknown-field: {shortened(name)}")
        values: dict[str, Any] = {}
        errors: dict[str, Any] = {}
        for name, field, also, may_be_missing in self._parts:
            if may_be_missing and name not in data:
                continue
            try:
                value = field.run_validation(data.get(name, serializers.empty))
                values[name] = also(value) if also else value
            except ValidationError as error:
                errors[name] = error.detail
        if errors:
            raise ValidationError(errors)
        return values


def shortened(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def warnings_shown(warnings: Iterable[str]) -> list[str]:
    """What an upload is told of itself: the first few, then how many more there were."""
    found = list(warnings)
    more = len(found) - MOST_WARNINGS
    return [*found[:MOST_WARNINGS], f"more-warnings: {more}"] if more > 0 else found


def warnings_out() -> serializers.ListField:
    return serializers.ListField(child=serializers.CharField(), max_length=MOST_WARNINGS + 1)


_warnings: ContextVar[list[str]] = ContextVar("warnings")  # of the input that is being read


@cache
def _reader(kind: type[In], partial: bool) -> In:
    """Made once, because copying the fields takes longer than reading; it keeps nothing it reads.

    With `partial` nothing is required of this object; what it holds is given whole.
    """
    reader = kind()
    if partial:
        for field in reader.fields.values():
            field.required, field.default = False, serializers.empty
    return reader


def field_errors(detail: object, pointer: str = "#") -> list[FieldError]:
    """The library's nested errors as a flat list with JSON pointers."""
    found: list[FieldError] = []
    if isinstance(detail, Mapping):
        for key, inner in detail.items():
            step = "" if key == "non_field_errors" else f"/{_escaped(str(key))}"
            found += field_errors(inner, pointer + step)
    elif isinstance(detail, Sequence) and not isinstance(detail, str):
        for index, inner in enumerate(detail):
            nested = isinstance(inner, Mapping) or (
                isinstance(inner, Sequence) and not isinstance(inner, str)
            )
            found += field_errors(inner, f"{pointer}/{index}" if nested else pointer)
    elif isinstance(detail, ErrorDetail) and isinstance(detail.code, Refused):
        found.append(FieldError(pointer, str(detail.code), str(detail), detail.code.params))
    elif isinstance(detail, ErrorDetail):
        code = CODES.get(str(detail.code), "invalid-value")
        found.append(FieldError(pointer, code, str(detail)))
    return found


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
