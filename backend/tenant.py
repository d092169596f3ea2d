"""Whose rows this thread may touch: one clinic's, or, where it is named, everybody's.

Every query says by itself whose rows it is about (`visible_to`). This stands below it, for the one
that was forgotten: on PostgreSQL the database shows and takes rows of this clinic only, and none
where nobody was named (docs/decisions/row-level-security.md). SQLite does not look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from uuid import UUID

from django.http import HttpRequest, StreamingHttpResponse
from django.http.response import HttpResponseBase

CLINIC, PATIENT, EVERYWHERE = "rehab.clinic", "rehab.patient", "rehab.everywhere"


@dataclass(frozen=True)
class Scope:
    """`patient_id` widens nothing: it spares the database looking up whose patient that is."""

    clinic_id: UUID | None = None
    patient_id: UUID | None = None
    is_everywhere: bool = False

    @cached_property
    def said(self) -> tuple[str, ...]:
        """What tells the database at the beginning of a transaction, when nothing is set."""
        return tuple(
            f"SET LOCAL {name} = '{value}'" for name, value in self._settings.items() if value
        )

    @cached_property
    def said_instead(self) -> tuple[str, ...]:
        """What tells it when something else may be set."""
        return tuple(f"SET LOCAL {name} = '{value}'" for name, value in self._settings.items())

    @property
    def _settings(self) -> dict[str, str]:
        return {
            CLINIC: str(UUID(str(self.clinic_id))) if self.clinic_id else "",
            PATIENT: str(UUID(str(self.patient_id))) if self.patient_id else "",
            EVERYWHERE: "on" if self.is_everywhere else "",
        }


NOWHERE = Scope()
ALL = Scope(is_everywhere=True)

_scope: ContextVar[Scope] = ContextVar("scope", default=NOWHERE)


def current() -> Scope:
    return _scope.get()


@contextmanager
def within(scope: Scope) -> Iterator[None]:
    token = _scope.set(scope)
    try:
        yield
    finally:
        _scope.reset(token)


def of_clinic(
    clinic_id: UUID | None, *, patient_id: UUID | None = None
) -> AbstractContextManager[None]:
    """In one clinic; in none where there is none."""
    return within(_in(clinic_id, patient_id))


def everywhere() -> AbstractContextManager[None]:
    """Across clinics: sweeps that look what is due, operators, and finding out who somebody is."""
    return within(ALL)


def nowhere() -> AbstractContextManager[None]:
    return within(NOWHERE)


def enter(clinic_id: UUID | None, *, patient_id: UUID | None = None) -> None:
    """From here to the end of the request, which `Middleware` watches over."""
    _scope.set(_in(clinic_id, patient_id))


def enter_everywhere() -> None:
    """The same, for operators."""
    _scope.set(ALL)


def _in(clinic_id: UUID | None, patient_id: UUID | None) -> Scope:
    return Scope(clinic_id, patient_id) if clinic_id is not None else NOWHERE


class Middleware:
    """A request begins nowhere, and takes along nothing of the one before. What is sent piece by
    piece is still read where the request was."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        with nowhere():
            answer = self.get_response(request)
            if isinstance(answer, StreamingHttpResponse) and not answer.is_async:
                pieces: Iterable[bytes] = answer.streaming_content  # type: ignore[assignment]
                answer.streaming_content = _read_within(current(), pieces)
        return answer


def _read_within(scope: Scope, pieces: Iterable[bytes]) -> Iterator[bytes]:
    source = iter(pieces)
    while True:
        with within(scope):
            piece = next(source, None)
        if piece is None:
            return
        yield piece
