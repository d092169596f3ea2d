"""What is done to clinics and people: taking them in, inviting, enrolling, changing, letting go."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID
from zoneinfo import ZoneInfo

from allauth.usersessions.models import UserSession
from django.db import IntegrityError, transaction
from django.db.models import F
from django.utils.crypto import constant_time_compare, salted_hmac

from backend import tenant
from backend.clinics.models import (
    Clinic,
    Device,
    Episode,
    Invitation,
    PasswordTries,
    Patient,
    PatientIdentifier,
    User,
)
from backend.problems import FieldError, NotFound, Problem, StateConflict, ValidationFailed

INVITATION_LIVES = timedelta(hours=72)
INVITATION_TRIES = 5
TRIES_WINDOW = timedelta(minutes=15)

# Crockford's base 32: no I, L, O, U, so that a code survives being read aloud and typed.
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LOOKALIKES = str.maketrans({"O": "0", "I": "1", "L": "1", "-": None, " ": None})
LOCATOR_LENGTH = 8
SECRET_LENGTH = 12  # 60 bits
GROUP = 4


class DuplicateIdentifier(Problem):
    """Another patient of this clinic has this identifier already."""

    code = "duplicate-identifier"
    status = 409
    title = "This identifier belongs to another patient"
    remedy = "Look for the patient under this identifier first; the person may be known already."


class AlreadyEnrolled(Problem):
    """The patient has an account already, so an invitation would be of no use."""

    code = "already-enrolled"
    status = 409
    title = "This patient has an account already"
    remedy = "Ask the patient to sign in, or to reset the password."


class InvitationExpired(Problem):
    """The code is unknown, wrong, used, expired, replaced by a newer one, or was tried too often.

    All of these have one answer, so that nobody learns which codes exist.
    """

    code = "invitation-expired"
    status = 410
    title = "This invitation is not valid any more"
    remedy = "Check the code for typing errors, then ask your clinic for a new invitation."


class LastAdmin(StateConflict):
    """Nobody would run the clinic any more."""

    code = "last-admin"
    status = 409
    title = "This is the last admin of the clinic"
    remedy = "Make somebody else a clinic admin first, then send again."


# --- Clinics and staff ------------------------------------------------------------------------


def create_clinic(*, name: str, timezone: str, now: datetime, **settings: Any) -> Clinic:
    return Clinic.objects.create(name=name, timezone=timezone, created_at=now, **settings)


def lock_clinic(clinic: Clinic) -> Clinic:
    """One editor a clinic, while rows that only refer to it may come and go."""
    return Clinic.objects.select_for_update(no_key=True).get(pk=clinic.pk)


@transaction.atomic
def update_clinic(*, clinic: Clinic, changes: Mapping[str, Any]) -> Clinic:
    """Change settings of a clinic. The caller holds its lock, and has those told whom it concerns:
    phones show whom to call, and open proposals hang on a switch."""
    for name, value in changes.items():
        setattr(clinic, name, value)
    clinic.save(update_fields=list(changes))
    return clinic


@transaction.atomic
def add_staff(
    *,
    clinic: Clinic,
    email: str,
    given_name: str,
    family_name: str,
    is_physiotherapist: bool = False,
    is_clinic_admin: bool = False,
    can_publish: bool = False,
    password: str | None = None,
    locale: str = "en",
) -> User:
    """Give somebody an account at a clinic. Without a password, it is set by reset code first."""
    try:
        with transaction.atomic():
            return User.objects.create_user(
                email,
                password,
                clinic=clinic,
                given_name=given_name,
                family_name=family_name,
                is_physiotherapist=is_physiotherapist,
                is_clinic_admin=is_clinic_admin,
                can_publish=can_publish,
                locale=locale,
                timezone=clinic.timezone,
            )
    except IntegrityError:
        raise ValidationFailed.at("#/email", "duplicate", "An account has this address.") from None


@transaction.atomic
def change_staff(
    *,
    person: User,
    by: User,
    changes: Mapping[str, Any],
    now: datetime,
    reassign_to: UUID | None = None,
) -> User:
    """Change, end or open again the account of a colleague. `changes` are fields of `User`.

    With `reassign_to` all patients go to another physiotherapist. That is required when who treats
    some does not any more. One change of a clinic's staff at a time, so that whoever is the last
    one to run it stays.
    """
    assert person.clinic is not None
    lock_clinic(person.clinic)
    person = lock_account(person)
    for name, value in changes.items():
        setattr(person, name, value)
    if not person.is_active and person.pk == by.pk:
        raise StateConflict("Nobody ends their own account.")
    admins = User.objects.filter(clinic=person.clinic, is_clinic_admin=True, is_active=True)
    is_run = person.is_active and person.is_clinic_admin
    if not is_run and not admins.exclude(pk=person.pk).exists():
        raise LastAdmin
    if reassign_to is not None:
        _hand_over(person, _colleague(person, reassign_to), now)
    elif not (person.is_active and person.is_physiotherapist) and person.caseload.exists():
        detail = "Say who treats this person's patients from now on."
        raise ValidationFailed.at("#/reassign_to", "required", detail)
    person.save(update_fields=list(changes))
    if not person.is_active:
        deactivate(person=person, now=now)
    return person


def _colleague(person: User, id: UUID) -> User:
    found = User.objects.filter(
        pk=id, clinic=person.clinic, is_physiotherapist=True, is_active=True
    ).exclude(pk=person.pk)
    if (colleague := found.first()) is None:
        detail = "No such physiotherapist besides this one."
        raise ValidationFailed.at("#/reassign_to", "unknown-reference", detail)
    return colleague


def _hand_over(person: User, to: User, now: datetime) -> None:
    """Phones do not show who treats, so none is told."""
    rows = Patient.objects.filter(physiotherapist=person).order_by("pk")
    ids = list(rows.select_for_update(of=("self",)).values_list("pk", flat=True))
    Patient.objects.filter(pk__in=ids).update(
        physiotherapist=to, version=F("version") + 1, updated_at=now
    )


def lock_account(person: User) -> User:
    """One writer an account, while rows that only refer to it may come and go."""
    rows = User.objects.select_for_update(of=("self",), no_key=True).select_related("clinic")
    return rows.get(pk=person.pk)


@transaction.atomic
def change_account(*, person: User, changes: Mapping[str, str]) -> User:
    """Change a staff member's own `locale` and `timezone`."""
    person = lock_account(person)
    for name in changes.keys() & {"locale", "timezone"}:
        setattr(person, name, changes[name])
    person.save(update_fields=["locale", "timezone"])
    return person


@transaction.atomic
def deactivate(*, person: User, now: datetime) -> None:
    """Close an account. Every session of it ends with this transaction."""
    person = lock_account(person)
    person.is_active = False
    person.save(update_fields=["is_active"])
    patient = Patient.objects.select_for_update().filter(user=person).first()
    if patient is not None:
        patient.status = Patient.Status.DEACTIVATED
        _save(patient, ["status"], now)
    end_sessions(person=person)


def end_sessions(*, person: User) -> None:
    """Sign somebody out everywhere."""
    for session in UserSession.objects.filter(user_id=person.pk):
        session.end()


# --- Tries of a password ----------------------------------------------------------------------


def take_tries(*, counters: Mapping[str, int], now: datetime) -> dict[str, float] | None:
    """Take one try from each counter, or none where one is used up.

    `counters` maps what is counted to how many there are in `TRIES_WINDOW`. Whatever runs in
    parallel, no more are taken than there are. What comes back is for `give_tries_back`.
    """
    taken: dict[str, float] = {}
    for counter, most in counters.items():
        if not _take_try(key=_hashed(counter), most=most, now=now):
            return None
        taken[_hashed(counter)] = now.timestamp()
    return taken


@transaction.atomic
def _take_try(*, key: str, most: int, now: datetime) -> bool:
    PasswordTries.objects.bulk_create([PasswordTries(key=key, last_at=now)], ignore_conflicts=True)
    row = PasswordTries.objects.select_for_update().get(key=key)
    since = (now - TRIES_WINDOW).timestamp()
    row.at = [at for at in row.at if at > since]
    if len(row.at) >= most:
        return False
    row.at.append(now.timestamp())
    row.last_at = now
    row.save()
    return True


@transaction.atomic
def give_tries_back(*, tries: Mapping[str, float]) -> None:
    """The password was right: only failures count."""
    for row in PasswordTries.objects.select_for_update().filter(key__in=tries).order_by("key"):
        if tries[row.key] in row.at:
            row.at.remove(tries[row.key])
            row.save()


def forget_tries(*, counter: str) -> None:
    """Somebody proved in another way who they are, and has a new password."""
    PasswordTries.objects.filter(key=_hashed(counter)).delete()


def forget_old_tries(*, now: datetime) -> int:
    """Delete counters that count nothing any more. Returns how many went."""
    return PasswordTries.objects.filter(last_at__lt=now - TRIES_WINDOW).delete()[0]


def _hashed(counter: str) -> str:
    return salted_hmac("backend.clinics.tries", counter, algorithm="sha256").hexdigest()


# --- Patients ---------------------------------------------------------------------------------


def lock(patient: Patient) -> Patient:
    """The one lock of everything that happens to a patient (see `Patient`)."""
    rows = Patient.objects.select_for_update(of=("self",)).select_related("clinic")
    found = rows.filter(pk=patient.pk).first()
    if found is None:  # erased since it was looked up
        raise NotFound
    return found


@transaction.atomic
def create_patient(
    *,
    clinic: Clinic,
    given_name: str,
    family_name: str,
    birth_date: date,
    physiotherapist: User | None,
    now: datetime,
    sex: str = Patient.Sex.UNSPECIFIED,
    email: str = "",
    phone: str = "",
    locale: str = "en",
    timezone: str = "",
    identifiers: Iterable[Mapping[str, str]] = (),
    conditions: Iterable[str] = (),
) -> Patient:
    patient = Patient(
        clinic=clinic,
        physiotherapist=physiotherapist,
        given_name=given_name,
        family_name=family_name,
        birth_date=birth_date,
        sex=sex,
        email=email,
        phone=phone,
        locale=locale,
        timezone=timezone or clinic.timezone,
        zones=[[now.isoformat(), timezone or clinic.timezone]],
        conditions=list(conditions),
        created_at=now,
        updated_at=now,
    )
    patient.save(force_insert=True)
    _identify(patient, identifiers)
    return patient


@transaction.atomic
def update_patient(*, patient: Patient, changes: Mapping[str, Any], now: datetime) -> Patient:
    """Change what a patient's record says. `identifiers`, where given, replace all there were."""
    patient = lock(patient)
    changes = dict(changes)
    identifiers = changes.pop("identifiers", None)
    if changes.get("timezone", patient.timezone) != patient.timezone:
        known = patient.zones or [[patient.created_at.isoformat(), patient.timezone]]
        changes["zones"] = [*known, [now.isoformat(), changes["timezone"]]]
    for name, value in changes.items():
        setattr(patient, name, value)
    _save(patient, changes, now)
    if identifiers is not None:
        patient.identifiers.all().delete()
        _identify(patient, identifiers)
    own = {name: changes[name] for name in changes.keys() & {"locale", "timezone"}}
    if own and patient.user_id is not None:
        User.objects.filter(pk=patient.user_id).update(**own)
    return patient


@transaction.atomic
def set_consent(*, patient: Patient, granted: bool, now: datetime) -> Patient:
    """Give or withdraw consent to process health data. What is so already keeps its date."""
    patient = lock(patient)
    if granted == is_consent_given(patient):
        return patient
    if granted:
        patient.consented_at, patient.consent_withdrawn_at = now, None
    else:
        patient.consent_withdrawn_at = now
    _save(patient, ["consented_at", "consent_withdrawn_at"], now)
    return patient


class Consenting(Protocol):
    @property
    def consented_at(self) -> datetime | None: ...

    @property
    def consent_withdrawn_at(self) -> datetime | None: ...


def is_consent_given(patient: Consenting) -> bool:
    return patient.consented_at is not None and patient.consent_withdrawn_at is None


def _save(patient: Patient, fields: Iterable[str], now: datetime) -> None:
    patient.version += 1
    patient.updated_at = now
    patient.save(update_fields=[*fields, "version", "updated_at"])


def _identify(patient: Patient, identifiers: Iterable[Mapping[str, str]]) -> None:
    rows = [
        PatientIdentifier(clinic_id=patient.clinic_id, patient=patient, **identifier)
        for identifier in identifiers
    ]
    try:
        with transaction.atomic():
            PatientIdentifier.objects.bulk_create(rows)
    except IntegrityError:
        raise DuplicateIdentifier from None


# --- Invitations ------------------------------------------------------------------------------


@transaction.atomic
def invite(*, patient: Patient, by: User, now: datetime) -> Invitation:
    """Make a one-time code for a patient (`code_of`). Earlier ones end."""
    patient = lock(patient)
    if patient.user_id is not None:
        raise AlreadyEnrolled
    if patient.status == Patient.Status.DEACTIVATED:
        raise StateConflict("This patient is deactivated.")
    patient.invitations.filter(used_at=None, ended_at=None).update(ended_at=now)
    return Invitation.objects.create(
        patient=patient,
        locator="".join(secrets.choice(ALPHABET) for _ in range(LOCATOR_LENGTH)),
        tries_left=INVITATION_TRIES,
        created_by=by,
        created_at=now,
        expires_at=now + INVITATION_LIVES,
        tell_at=now if patient.email else None,
    )


def code_of(invitation: Invitation) -> str:
    """The code as it is printed: `XXXX-XXXX-XXXX-XXXX-XXXX`."""
    code = _code_of(invitation)
    return "-".join(code[at : at + GROUP] for at in range(0, len(code), GROUP))


def _code_of(invitation: Invitation) -> str:
    """Locator and secret. The secret is kept nowhere: it follows from the row and the key."""
    hmac = salted_hmac("backend.clinics.invitation", str(invitation.pk), algorithm="sha256")
    number = int.from_bytes(hmac.digest())
    letters = (ALPHABET[number >> 5 * place & 31] for place in range(SECRET_LENGTH))
    return invitation.locator + "".join(letters)


def check_invitation(*, code: str, now: datetime, birth_year: int | None = None) -> Invitation:
    """The invitation of a code, or `InvitationExpired`. A wrong secret or year costs a try."""
    with _where_it_was_made(code):
        found = _tried(code, birth_year, now)
    if found is None:
        raise InvitationExpired
    return found


@transaction.atomic
def enrol(*, code: str, birth_year: int, email: str, password: str, now: datetime) -> User:
    """Make the patient's account, once. Of two at the same moment, one gets it.

    Raises `InvitationExpired`, or `ValidationFailed` where an account has the address already.
    The caller has checked the code outside this transaction, where a wrong try is kept.
    """
    with _where_it_was_made(code):
        return _enrol(code, birth_year, email, password, now)


@contextmanager
def _where_it_was_made(code: str) -> Iterator[None]:
    """In the clinic that an invitation is of: nobody is signed in who would be of one."""
    with tenant.everywhere():
        rows = Invitation.objects.filter(locator=_plain(code)[:LOCATOR_LENGTH])
        clinic_id = rows.values_list("patient__clinic_id", flat=True).first()
    with tenant.of_clinic(clinic_id):
        yield


def _plain(code: str) -> str:
    return code.upper().translate(LOOKALIKES)


def _enrol(code: str, birth_year: int, email: str, password: str, now: datetime) -> User:
    invitation = _tried(code, birth_year, now)
    if invitation is None:
        raise InvitationExpired
    patient = invitation.patient
    user = add_account(patient=patient, email=email, password=password)
    patient.user = user
    patient.status = Patient.Status.ACTIVE
    patient.consented_at, patient.consent_withdrawn_at = now, None
    patient.email = patient.email or user.email
    _save(patient, ["user", "status", "consented_at", "consent_withdrawn_at", "email"], now)
    Invitation.objects.filter(pk=invitation.pk).update(used_at=now)
    return user


def add_account(*, patient: Patient, email: str, password: str) -> User:
    try:
        with transaction.atomic():
            return User.objects.create_user(
                email,
                password,
                clinic=patient.clinic,
                given_name=patient.given_name,
                family_name=patient.family_name,
                locale=patient.locale,
                timezone=patient.timezone,
            )
    except IntegrityError:
        raise ValidationFailed.at("#/email", "duplicate", "An account has this address.") from None


@transaction.atomic
def _tried(code: str, birth_year: int | None, now: datetime) -> Invitation | None:
    """The open invitation that fits, under its patient's lock; a misfit has cost a try."""
    code = _plain(code)
    found = Invitation.objects.filter(locator=code[:LOCATOR_LENGTH]).first()
    if found is None:
        return None
    patient = lock(found.patient)
    invitation = Invitation.objects.filter(
        pk=found.pk, used_at=None, ended_at=None, expires_at__gt=now, tries_left__gt=0
    ).first()
    if invitation is None or patient.user_id is not None:
        return None
    fits = constant_time_compare(code, _code_of(invitation))
    if fits and birth_year in (None, patient.birth_date.year):
        invitation.patient = patient
        return invitation
    Invitation.objects.filter(pk=invitation.pk).update(tries_left=F("tries_left") - 1)
    return None


# --- Episodes ---------------------------------------------------------------------------------


@transaction.atomic
def create_episode(
    *, patient: Patient, by: User, now: datetime, said: Mapping[str, Any]
) -> Episode:
    """Open a course of care. `said` holds fields of `Episode`. A discharged patient is back."""
    patient = lock(patient)
    episode = Episode(patient=patient, recorded_by=by, created_at=now, updated_at=now, **said)
    _check(episode)
    episode.save(force_insert=True)
    if _is_open(episode, now):
        _take_back(patient, now)
    return episode


@transaction.atomic
def update_episode(*, episode: Episode, changes: Mapping[str, Any], now: datetime) -> Episode:
    """Change or end a course of care: with the last one the patient is discharged. The caller holds
    the patient's lock."""
    was_open = _is_open(episode, now)
    for name, value in changes.items():
        setattr(episode, name, value)
    _check(episode)
    episode.version += 1
    episode.updated_at = now
    episode.save(update_fields=[*changes, "version", "updated_at"])
    is_open = _is_open(episode, now)
    if is_open and not was_open:
        _take_back(episode.patient, now)
    elif was_open and not is_open:
        _let_go(episode.patient, now)
    return episode


def _is_open(episode: Episode, now: datetime) -> bool:
    today = now.astimezone(ZoneInfo(episode.patient.timezone)).date()
    return episode.ended_on is None or episode.ended_on > today


def _take_back(patient: Patient, now: datetime) -> None:
    if patient.status == Patient.Status.DISCHARGED:
        uses_app = patient.user_id is not None
        patient.status = Patient.Status.ACTIVE if uses_app else Patient.Status.INVITED
        _save(patient, ["status"], now)


def _let_go(patient: Patient, now: datetime) -> None:
    """Unless something else is still treated."""
    in_care = patient.status in (Patient.Status.INVITED, Patient.Status.ACTIVE)
    if in_care and not any(_is_open(one, now) for one in patient.episodes.all()):
        patient.status = Patient.Status.DISCHARGED
        _save(patient, ["status"], now)


def _check(episode: Episode) -> None:
    errors = []
    if episode.ended_on and episode.ended_on < episode.started_on:
        errors.append(FieldError("#/ended_on", "time-order", "Not before its first day."))
    if episode.ended_on and not episode.end_reason:
        errors.append(FieldError("#/end_reason", "required", "An end has a reason."))
    if episode.end_reason and not episode.ended_on:
        errors.append(FieldError("#/ended_on", "required", "An end has a day."))
    coded = {"system": episode.diagnosis_system, "code": episode.diagnosis_code}
    for part, other in (("system", "code"), ("code", "system")):
        if coded[other] and not coded[part]:
            detail = f"A {other} goes together with its {part}."
            errors.append(FieldError(f"#/diagnosis_code/{part}", "required", detail))
    if errors:
        raise ValidationFailed.of(errors)


# --- Devices ----------------------------------------------------------------------------------


@transaction.atomic
def put_device(
    *,
    patient: Patient,
    device_id: UUID,
    platform: str,
    push_token: str,
    app_version: str,
    now: datetime,
    push_kind: str = "",
) -> Device:
    """Note where this phone is reached. A phone that changed hands leaves its former owner."""
    if push_token:
        others = Device.objects.filter(push_token=push_token)
        with tenant.everywhere():  # its former owner may be of another clinic
            others.exclude(patient=patient, device_id=device_id).update(push_token="")
    device, _ = Device.objects.update_or_create(
        patient=patient,
        device_id=device_id,
        defaults={
            "platform": platform,
            "push_kind": push_kind,
            "push_token": push_token,
            "app_version": app_version,
            "updated_at": now,
        },
    )
    return device


def remove_device(*, patient: Patient, device_id: UUID) -> bool:
    """Forget a phone. Says whether there was one."""
    return Device.objects.filter(patient=patient, device_id=device_id).delete()[0] > 0
