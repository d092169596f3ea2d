"""Fills two demo clinics with people whose weeks are already behind them; safe to repeat."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
from argparse import ArgumentParser
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid5

from allauth.account.internal.flows.login import record_authentication
from allauth.mfa.models import Authenticator
from allauth.mfa.utils import decrypt, encrypt
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib.auth import HASH_SESSION_KEY, login
from django.contrib.sessions.models import Session as SignInSession
from django.core.management.base import BaseCommand, CommandError
from django.db import models, transaction
from django.db.models import Q
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from backend.audit.actions import begin_demo
from backend.audit.models import AuditEvent, Chain
from backend.care import models as care
from backend.clinics import actions
from backend.clinics import models as people
from backend.clinics.models import Clinic, Patient, PatientIdentifier, User
from backend.clinics.sign_in import SessionStore
from backend.management.demo_stories import (
    PASSWORD,
    PLACES,
    STAFF,
    STORIES,
    VERSION,
    Colleague,
    Place,
    Story,
)
from backend.management.demo_telling import DEMO, tell
from backend.notifications.models import Delivery, Message, ReminderSettings
from backend.reports.models import Export
from exercises.models import Exercise
from protocols.models import ProtocolDraft, ProtocolVersion

SEED = 1
RENEWED_BEFORE = timedelta(days=7)
OPENED_BEFORE = timedelta(days=400)  # longer ago than any story begins
CLINIC_IDS = {place.name: uuid5(DEMO, place.name) for place in PLACES}

# Everything that can hang on a clinic, and how; what points at others goes first.
BELONGINGS: tuple[tuple[type[models.Model], str], ...] = (
    (Delivery, "message__clinic_id"),
    (Message, "clinic_id"),
    (ReminderSettings, "patient__clinic_id"),
    (care.Change, "patient__clinic_id"),
    (care.Progression, "patient__clinic_id"),
    (care.Event, "patient__clinic_id"),
    (care.ClosedDay, "assignment__patient__clinic_id"),
    (care.Flag, "patient__clinic_id"),
    (care.Revision, "patient__clinic_id"),
    (care.Session, "patient__clinic_id"),
    (care.CheckIn, "patient__clinic_id"),
    (care.Assessment, "patient__clinic_id"),
    (care.Pause, "assignment__patient__clinic_id"),
    (care.AssignmentVersion, "assignment__patient__clinic_id"),
    (care.Assignment, "patient__clinic_id"),
    (people.Device, "patient__clinic_id"),
    (people.Invitation, "patient__clinic_id"),
    (people.PatientIdentifier, "clinic_id"),
    (people.Episode, "patient__clinic_id"),
    (people.Patient, "clinic_id"),
    (ProtocolDraft, "clinic_id"),
    (ProtocolVersion, "clinic_id"),
    (Exercise, "clinic_id"),
    (Export, "clinic_id"),
    (AuditEvent, "clinic_id"),
    (Chain, "clinic_id"),
    (people.ServiceToken, "clinic_id"),
    (people.User, "clinic_id"),
    (people.Clinic, "pk"),
)

Account = dict[str, str]


class Command(BaseCommand):
    help = "Fills two demo clinics with people whose weeks are already behind them."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--reset", action="store_true", help="delete the demo, make it anew")
        parser.add_argument("--seed", type=int, default=SEED, help="another seed, other details")

    def handle(self, *, reset: bool, seed: int, **options: Any) -> None:
        if not settings.DEMO:
            raise CommandError("Demo accounts are public knowledge: this needs DEMO=1.")
        if not ProtocolVersion.objects.filter(clinic=None).exists():
            raise CommandError("There is no protocol to prescribe: load_library comes first.")
        now = timezone.now()
        if reset:
            self._say(remove())
        self._make(seed, now)
        accounts = accounts_of(now)
        write(accounts)
        self._show(accounts)

    def _make(self, seed: int, now: datetime) -> None:
        """Make what is missing. A story is one transaction, so a stop half-way does no harm."""
        stamp = f"demo {VERSION}.{seed}"
        treating = {place.name: _staffed(place, now) for place in PLACES}
        missing = [story for story in STORIES if _patient_of(story, treating[story.place]) is None]
        if not missing:
            self._say("The demo is there already.")
        if others := _stamps() - {stamp}:
            self._say(f"Some of it is {', '.join(sorted(others))}; demo --reset makes it anew.")
        console = Console(file=sys.stderr)
        with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
            task = progress.add_task("Demo", total=len(missing))
            for story in missing:
                progress.update(task, description=f"Demo: {story.about}")
                tell(story, by=treating[story.place], seed=seed, stamp=stamp, now=now)
                progress.advance(task)
        if missing:
            self._say(f"Told {len(missing)} stories ({stamp}), up to now.")

    def _show(self, accounts: list[Account]) -> None:
        table = Table("who", "e-mail", box=SIMPLE)
        told: list[Colleague | Story] = [*STAFF, *STORIES]
        for account, one in zip(accounts, told, strict=True):
            table.add_row(one.about, account["email"])
        console = Console(width=None if self.stdout.isatty() else 80)
        with console.capture() as shown:
            console.print(table)
        lines = [shown.get().rstrip(), f"The password of all: {PASSWORD}"]
        for account in accounts:
            if "totp_secret" in account:
                lines.append(f"TOTP secret of {account['email']}: {account['totp_secret']}")
            if "invitation_code" in account:
                code, year = account["invitation_code"], account["birth_year"]
                lines.append(f"Invitation of {account['email']}: {code}, born {year}")
        for place in PLACES:
            required = "required of staff" if place.second_factor else "off"
            lines.append(f"Second factor at {place.title}: {required}")
        lines.append(f"All of this, with session tokens: {_file()}")
        self._say("\n".join(lines))

    def _say(self, text: str) -> None:
        self.stdout.write(text)
        self.stdout.flush()


# --- Making and removing ----------------------------------------------------------------------


def _staffed(place: Place, now: datetime) -> User:
    """The clinic with its staff, and of them the physiotherapist who treats."""
    clinic = Clinic.objects.filter(pk=CLINIC_IDS[place.name]).first()
    if clinic is None:
        clinic = _opened(place, now)
    standing = {user.email: user for user in User.objects.filter(clinic=clinic)}
    treating = []
    for colleague in STAFF:
        if colleague.place != place.name:
            continue
        person = standing.get(colleague.email) or actions.add_staff(
            clinic=clinic,
            email=colleague.email,
            given_name=colleague.given_name,
            family_name=colleague.family_name,
            is_physiotherapist=colleague.physiotherapist,
            is_clinic_admin=colleague.clinic_admin,
            can_publish=colleague.physiotherapist,
            password=PASSWORD,
        )
        if place.second_factor and not _totp_of(person):
            digest = hashlib.sha256(f"{DEMO}/{person.email}".encode()).digest()
            secret = base64.b32encode(digest[:20]).decode()
            Authenticator.objects.create(
                user=person, type=Authenticator.Type.TOTP, data={"secret": encrypt(secret)}
            )
        if colleague.physiotherapist:
            treating.append(person)
    return treating[0]


@transaction.atomic
def _opened(place: Place, now: datetime) -> Clinic:
    """A new clinic, and from its first audit event on one whose audit may be deleted."""
    begin_demo(clinic_id=CLINIC_IDS[place.name])
    return actions.create_clinic(
        id=CLINIC_IDS[place.name],
        name=place.title,
        timezone=place.timezone,
        second_factor_required=place.second_factor,
        urgent_contact=f"Front desk of {place.title}",
        now=now - OPENED_BEFORE,
    )


def _patient_of(story: Story, by: User) -> Patient | None:
    """Whom a story was told of, also when the name, the address or the identifiers were changed."""
    stamped = Q(identifiers__system__startswith="demo ", identifiers__value=story.name)
    rows = Patient.objects.visible_to(by).select_related("user__clinic", "clinic")
    return rows.filter(stamped | Q(email=story.email) | Q(user__email=story.email)).first()


def _stamps() -> set[str]:
    """Of which making the stories are that are there."""
    rows = PatientIdentifier.objects.filter(
        clinic_id__in=CLINIC_IDS.values(), system__startswith="demo "
    )
    return set(rows.values_list("system", flat=True))


@transaction.atomic
def remove() -> str:
    """Delete the demo clinics and all that hangs on them. Says what went."""
    signed_in = UserSession.objects.filter(user__clinic_id__in=CLINIC_IDS.values())
    SignInSession.objects.filter(session_key__in=signed_in.values("session_key")).delete()
    gone = []
    for model, path in BELONGINGS:
        rows = model._default_manager.filter(**{f"{path}__in": CLINIC_IDS.values()})
        if count := rows.delete()[1].get(model._meta.label, 0):
            gone.append(f"{model._meta.verbose_name_plural} {count}")
    _file().unlink(missing_ok=True)
    return f"Deleted: {', '.join(gone)}." if gone else "There was no demo to delete."


# --- Accounts ---------------------------------------------------------------------------------


def accounts_of(now: datetime) -> list[Account]:
    """Every account, in the order of the stories, each with a session that lives."""
    staff = {user.email: user for user in User.objects.filter(clinic_id__in=CLINIC_IDS.values())}
    known = _tokens_written()
    accounts = [_account(one.name, staff[one.email], known, now) for one in STAFF]
    for story in STORIES:
        by = next(staff[one.email] for one in STAFF if one.place == story.place)
        patient = _patient_of(story, by)
        assert patient is not None
        if patient.user is None:
            account = _invited(story, patient, by, now)
        else:
            account = _account(story.name, patient.user, known, now)
        accounts.append(account | {"patient_id": str(patient.pk)})
    return accounts


def _account(story: str, person: User, known: Mapping[str, str], now: datetime) -> Account:
    assert person.clinic is not None
    token = known.get(person.email, "")
    account = {
        "story": story,
        "role": "+".join(person.roles),
        "email": person.email,
        "password": PASSWORD,
        "session_token": token if _lives(token, person, now) else _signed_in(person),
        "clinic": person.clinic.name,
    }
    secret = _totp_of(person)
    return account | ({"totp_secret": secret} if secret else {})


def _invited(story: Story, patient: Patient, by: User, now: datetime) -> Account:
    """Somebody who has a code and no account yet. A code that has run out is replaced."""
    open_ones = patient.invitations.filter(
        used_at=None, ended_at=None, expires_at__gt=now + timedelta(hours=1), tries_left__gt=0
    )
    invitation = open_ones.first() or actions.invite(patient=patient, by=by, now=now)
    return {
        "story": story.name,
        "role": "patient",
        "email": story.email,
        "password": PASSWORD,
        "session_token": "",
        "clinic": patient.clinic.name,
        "invitation_code": actions.code_of(invitation),
        "birth_year": str(patient.birth_date.year),
    }


def _totp_of(person: User) -> str:
    found = Authenticator.objects.filter(user_id=person.pk, type=Authenticator.Type.TOTP).first()
    return decrypt(found.data["secret"]) if found else ""


def _signed_in(person: User) -> str:
    """The token of a new session, made as the sign-in makes it."""
    request = HttpRequest()
    request.META |= {"REMOTE_ADDR": "127.0.0.1", "HTTP_USER_AGENT": "demo"}
    request.session = SessionStore()
    login(request, person, backend=settings.AUTHENTICATION_BACKENDS[0])
    record_authentication(request, person, "password", email=person.email)
    if _totp_of(person):
        record_authentication(request, person, "mfa", type=Authenticator.Type.TOTP)
    request.user = person
    request.session.save()
    UserSession.objects.create_from_request(request)
    assert request.session.session_key
    return request.session.session_key


def _lives(token: str, person: User, now: datetime) -> bool:
    row = SignInSession.objects.filter(session_key=token).first()
    if row is None or row.expire_date < now + RENEWED_BEFORE:
        return False
    made_with = row.get_decoded().get(HASH_SESSION_KEY, "")
    return constant_time_compare(made_with, person.get_session_auth_hash())


# --- The file ---------------------------------------------------------------------------------


def _file() -> Path:
    return Path(settings.VAR_DIR) / "demo.json"


def _tokens_written() -> dict[str, str]:
    try:
        said = json.loads(_file().read_text())
        return {one["email"]: one["session_token"] for one in said["accounts"]}
    except (OSError, ValueError, LookupError, TypeError):
        return {}  # it is written anew


def write(accounts: list[Account]) -> None:
    """For scripts and other programs; readable by its owner only, and never half-written."""
    beside = _file().with_suffix(".new")
    beside.unlink(missing_ok=True)
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump({"base_url": settings.PUBLIC_URL, "accounts": accounts}, file, indent=2)
    beside.replace(_file())
