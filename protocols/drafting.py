"""A clinic's protocol in the making: open a draft, save it whole, check it, publish it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID, uuid4

from django.db import IntegrityError, transaction

from backend.clinics.models import Clinic, User
from backend.problems import FieldError, StateConflict, ValidationFailed, VersionMismatch
from exercises.loader import next_patch, semver
from exercises.reading import Finding, Misshapen, pointer, typed
from protocols import publishing
from protocols.knowledge import metrics
from protocols.models import ProtocolDraft, ProtocolVersion
from protocols.shape import PROTOCOL

FIRST_VERSION = "1.0.0"

# What a check calls it → what the contract calls it in `errors`; everything else has one name.
CODES = {
    "missing": "required",
    "unknown": "unknown-field",
    "shape": "invalid-value",
    "range": "out-of-range",
    "twin-id": "duplicate",
    "unknown-exercise": "unknown-reference",
    "unknown-metric": "unknown-reference",
    "unknown-source": "unknown-reference",
}


class NotADraft(StateConflict):
    """What is published is never changed, and the library is written in files."""

    code = "not-a-draft"
    status = 409
    title = "This protocol is not a draft"
    remedy = "Make a draft of it with `POST /protocols` and `copy_of`, then change that."


def newest(person: User) -> dict[UUID, ProtocolVersion]:
    """The newest version of each protocol that a person may see, without its document.

    A retired one only where none is left that can be assigned.
    """
    found: dict[UUID, ProtocolVersion] = {}
    for row in ProtocolVersion.objects.visible_to(person).defer("document"):
        known = found.get(row.protocol_id)
        if known is None or _rank(known) < _rank(row):
            found[row.protocol_id] = row
    return found


def _rank(row: ProtocolVersion) -> tuple[bool, tuple[int, ...]]:
    return row.status == ProtocolVersion.Status.PUBLISHED, semver(row.version)


@transaction.atomic
def open_draft(
    *, of: ProtocolVersion | ProtocolDraft | None, clinic: Clinic, by: User, now: datetime
) -> ProtocolDraft:
    """A new draft: empty, the next version of the clinic's own protocol, or a copy of another."""
    document = copy.deepcopy(of.document) if of else {}
    if isinstance(of, ProtocolVersion) and of.clinic_id == clinic.pk:
        protocol_id = of.protocol_id
        versions = publishing.versions_of(of.protocol_id)  # a retired one may be newer
        document["version"] = next_patch(max(versions, key=semver))
    else:
        protocol_id = uuid4()
        document["version"] = FIRST_VERSION
        if "slug" in document:
            document["slug"] = _free_slug(document["slug"], by)
    try:
        with transaction.atomic():
            return ProtocolDraft.objects.create(
                protocol_id=protocol_id,
                clinic=clinic,
                document=document,
                updated_by=by,
                updated_at=now,
            )
    except IntegrityError:
        raise StateConflict("There is a draft of the next version already.") from None


@transaction.atomic
def save(
    *, draft: ProtocolDraft, document: Mapping[str, object], by: User, now: datetime
) -> ProtocolDraft:
    """Keep a draft as it stands. Values may be missing; what is there has its proper shape."""
    draft = _locked(draft)
    errors = [*_shorthand(document, "")]
    try:
        typed(PROTOCOL, document)
    except Misshapen as error:
        errors += [finding for finding in error.findings if finding.code != "missing"]
    if errors:
        raise refusal(errors)
    draft.document = dict(document)
    draft.revision += 1
    draft.updated_by, draft.updated_at = by, now
    draft.save()
    return draft


def check(*, draft: ProtocolDraft, by: User) -> list[Finding]:
    """Everything that publishing would refuse or warn of.

    Worked cases name protocols of the library, and no draft may have the name of one, so there is
    none to play: what a draft does to people is seen by trying it on synthetic ones.
    """
    exercises = publishing.known_exercises(draft.clinic)
    findings = publishing.check(draft.document, exercises=exercises, metrics=metrics())
    if not any(finding.path == "/version" for finding in findings):
        versions = publishing.versions_of(draft.protocol_id)
        findings += publishing.against_published(draft.document, versions)
    return [*findings, *_check_slug(draft, by)]


@transaction.atomic
def publish(
    *, draft: ProtocolDraft, version: str, change_note: str, by: User, now: datetime
) -> ProtocolVersion:
    """Freeze a draft as a version; the draft is gone then."""
    draft = _locked(draft)
    draft.document = {**draft.document, "version": version}
    if errors := publishing.errors_of(check(draft=draft, by=by)):
        raise refusal(errors)
    published = publishing.publish(
        protocol_id=draft.protocol_id,
        document=draft.document,
        exercises=publishing.known_exercises(draft.clinic),
        now=now,
        clinic=draft.clinic,
        by=by,
        change_note=change_note,
    )
    draft.delete()
    return published


def refusal(findings: list[Finding]) -> ValidationFailed:
    return ValidationFailed.of(error_of(finding) for finding in findings)


def error_of(finding: Finding) -> FieldError:
    """A finding in the words of the contract."""
    told = f"{finding.message[:1].upper()}{finding.message[1:]}."
    params = {"expected": finding.expected} if finding.expected else {}
    return FieldError(f"#{finding.path}", CODES.get(finding.code, finding.code), told, params)


def _locked(draft: ProtocolDraft) -> ProtocolDraft:
    """The draft as its writer saw it, or nobody's."""
    same = ProtocolDraft.objects.select_for_update(of=("self",)).select_related("clinic")
    found = same.filter(pk=draft.pk, revision=draft.revision).first()
    if found is None:
        raise VersionMismatch
    return found


def _shorthand(value: object, path: str) -> Iterator[Finding]:
    """What files may write in short, a draft says in full: a range, and nothing for nothing."""
    if value is None:
        yield Finding("shape", path, "null cannot stand here", "a value, or nothing at all")
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            if name == "reps" and type(inner) is int:
                yield Finding("shape", f"{path}/reps", "a number cannot stand here", "min and max")
            yield from _shorthand(inner, path + pointer(name))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _shorthand(inner, path + pointer(number))


def _check_slug(draft: ProtocolDraft, by: User) -> Iterator[Finding]:
    """A name in addresses of files and reports stands for one protocol."""
    slug = draft.document.get("slug")
    others = ProtocolVersion.objects.visible_to(by).exclude(protocol_id=draft.protocol_id)
    if isinstance(slug, str) and others.filter(slug=slug).exists():
        yield Finding("twin-id", "/slug", f"{slug} is another protocol", "a name of its own")


def _free_slug(wanted: str, by: User) -> str:
    taken = set(ProtocolVersion.objects.visible_to(by).values_list("slug", flat=True))
    number = 1
    slug = wanted
    while slug in taken:
        number += 1
        slug = f"{wanted[:60]}-{number}"
    return slug
