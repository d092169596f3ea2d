"""What we tell django-allauth, and what we ask of its sessions. An edge: the clock is read here."""

from __future__ import annotations

from base64 import urlsafe_b64encode
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from smtplib import SMTPException
from typing import Any

import segno
import structlog
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.authentication import AUTHENTICATION_METHODS_SESSION_KEY
from allauth.account.models import EmailAddress
from allauth.core.context import request_context
from allauth.core.exceptions import ImmediateHttpResponse
from allauth.core.internal.ratelimit import get_ip
from allauth.headless.internal.restkit.response import ErrorResponse
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from cryptography.fernet import Fernet, MultiFernet
from django import forms
from django.conf import settings
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.sessions.backends import db
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.models import Session
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.translation import gettext_lazy as _

from backend.clinics import actions
from backend.clinics.actions import InvitationExpired
from backend.clinics.models import User
from backend.problems import ValidationFailed

SLIDE_AFTER = timedelta(days=1)

_log = structlog.stdlib.get_logger("backend.sign_in")


# --- Sessions ---------------------------------------------------------------------------------


class SessionStore(db.SessionStore):
    """Sessions that slide: used once in 90 days, they live on."""

    def _validate_session_key(self, key: str | None) -> bool:
        """A cookie can spell out any letter, NUL included; a key of ours has few kinds."""
        return bool(key and len(key) >= 8 and key.isascii() and key.isalnum())

    def _get_session_from_db(self) -> Session | None:
        row: Session | None = super()._get_session_from_db()  # type: ignore[misc]
        if row is not None and is_to_slide(row.expire_date, timezone.now()):
            self.modified = True  # is saved at the end of the request, with a new date and cookie
        return row


def is_to_slide(expires_at: datetime, now: datetime) -> bool:
    """Whether the end of a session in use moves on; once a day is enough."""
    lives = timedelta(seconds=settings.SESSION_COOKIE_AGE)
    return expires_at - now < lives - SLIDE_AFTER


def has_second_factor(person: User, session: SessionBase) -> bool:
    """Whether a second factor was used in this session and is still set up.

    No query where none was used, else one: a factor that was taken off the account counts no more.
    """
    used: list[Mapping[str, Any]] = session.get(AUTHENTICATION_METHODS_SESSION_KEY) or []
    return any(record.get("method") == "mfa" for record in used) and has_factor_set_up(person)


def has_factor_set_up(person: User) -> bool:
    rows = Authenticator.objects.filter(user_id=person.pk)
    return bool(rows.exclude(type=Authenticator.Type.RECOVERY_CODES).exists())


class SecondFactors(DefaultMFAAdapter):  # type: ignore[misc]
    """Secrets of second factors are sealed in the database, with a key that follows SECRET_KEY."""

    def encrypt(self, text: str) -> str:
        return _seals().encrypt(text.encode()).decode()

    def decrypt(self, encrypted_text: str) -> str:
        return _seals().decrypt(encrypted_text.encode()).decode()

    def build_totp_svg(self, url: str) -> str:
        """Without styles of its own, which the pages' policy would not let through."""
        drawn: str = segno.make(url, micro=False).svg_inline(scale=5, border=2, omitsize=True)
        return drawn


def _seals() -> MultiFernet:
    """The newest key seals; older ones (SECRET_KEY_FALLBACKS) still open."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    return MultiFernet([Fernet(urlsafe_b64encode(_derived(key))) for key in keys])


def _derived(key: str | bytes) -> bytes:
    return salted_hmac("backend.clinics.second_factor", "", secret=key, algorithm="sha256").digest()


# --- Signing up and in ------------------------------------------------------------------------


class SignUpForm(forms.Form):
    """What a sign-up needs besides address and password: the clinic's invitation."""

    invite = forms.CharField(required=False, max_length=40)
    birth_year = forms.IntegerField(required=False)

    account_already_exists: bool  # allauth's form, which inherits from this one, sets it

    def clean(self) -> dict[str, Any]:
        """Look at the invitation last, because a wrong one costs a try."""
        said: dict[str, Any] = super().clean() or {}
        if self.errors:
            return said
        adapter = Adapter()
        try:
            actions.check_invitation(
                code=said.get("invite", ""),
                birth_year=said.get("birth_year") or 0,
                now=timezone.now(),
            )
        except InvitationExpired:
            self.add_error("invite", adapter.validation_error("invite_invalid"))
            return said
        # Only who holds a valid invitation learns that an address has an account.
        if self.account_already_exists:
            self.add_error("email", adapter.validation_error("email_taken"))
        return said

    def signup(self, request: HttpRequest, user: User) -> None:
        """All is done when the account is made (`Adapter.save_user`)."""


class Adapter(DefaultAccountAdapter):  # type: ignore[misc]
    """Where this service differs from allauth's usual ways."""

    error_messages = DefaultAccountAdapter.error_messages | {
        "invite_invalid": _("The invitation or the year of birth is not valid."),
    }

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Patients sign up in the app. The pages are for operators and staff."""
        return hasattr(request.allauth, "headless")  # type: ignore[attr-defined]

    def get_login_redirect_url(self, request: HttpRequest) -> str:
        """Staff come to their console."""
        person = request.user
        if isinstance(person, User) and person.works_in_clinic:
            return reverse("console:home")
        return str(super().get_login_redirect_url(request))

    def get_login_stages(self) -> list[str]:
        """An address is verified when it changes, and by a code sent to it; not at the door.

        Who signs up holds an invitation, and staff were given their account.
        """
        stages = super().get_login_stages()
        return [stage for stage in stages if not stage.endswith(".EmailVerificationStage")]

    def save_user(
        self, request: HttpRequest, user: AbstractBaseUser, form: forms.Form, commit: bool = True
    ) -> User:
        """Make the account and use up the invitation, both or neither."""
        said = form.cleaned_data
        try:
            return actions.enrol(
                code=said["invite"],
                birth_year=said["birth_year"],
                email=said["email"],
                password=said["password"],
                now=timezone.now(),
            )
        except InvitationExpired:
            refused = self.validation_error("invite_invalid")
        except ValidationFailed:
            refused = self.validation_error("email_taken")
        raise _refusal(request, refused)  # a twin was faster since the form was checked

    def confirm_email(self, request: HttpRequest, email_address: EmailAddress) -> bool:
        """A code came back from a new address. Another account may have it all the same."""
        others = User.objects.exclude(pk=email_address.user_id)
        if others.filter(email__iexact=email_address.email).exists():
            raise _refusal(request, self.validation_error("email_taken"))
        return bool(super().confirm_email(request, email_address))

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Every check of a password is counted before it happens."""
        counters = self._counters(request, credentials)
        self._tries = actions.take_tries(counters=counters, now=timezone.now())
        if self._tries is None:
            raise _locked_out(request, self.validation_error("too_many_login_attempts"))

    def authenticate(self, request: HttpRequest, **credentials: Any) -> AbstractBaseUser | None:
        user: AbstractBaseUser | None = super().authenticate(request, **credentials)
        if user is not None and self._tries is not None:
            actions.give_tries_back(tries=self._tries)
        return user

    def reauthenticate(self, user: User, password: str) -> bool:
        found = self.authenticate(self.request, email=user.email, password=password)
        return found is not None and found.pk == user.pk

    def set_password(self, user: User, password: str) -> None:
        super().set_password(user, password)
        actions.forget_tries(counter=_account(user.email))

    def _counters(self, request: HttpRequest, said: Mapping[str, Any]) -> dict[str, int]:
        # The address first: who is shut out by it cannot use up other people's tries.
        return {
            f"address {get_ip(request)}": settings.SIGN_IN_TRIES_AN_ADDRESS,
            _account(said.get("email", "")): settings.SIGN_IN_TRIES_AN_ACCOUNT,
        }

    def welcome(self, request: HttpRequest, user: User) -> None:
        """Tell somebody of an account that was made for them, and where its password is set."""
        page = request.build_absolute_uri(reverse("account_reset_password"))
        said = {"user": user, "clinic": user.clinic, "page": page}
        with request_context(request):  # it is no request of the library's own
            self.send_mail("account/email/welcome", user.email, said)

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """A mail server that is away fails nobody's request. Codes can be asked for again."""
        try:
            super().send_mail(template_prefix, email, context)
        except (OSError, SMTPException) as error:
            _log.error("mail not sent", template=template_prefix, exc_info=error)


def _refusal(request: HttpRequest, error: forms.ValidationError) -> Exception:
    """What allauth's checks of a form came too early for, in the shape of its own refusals."""
    refusal: Exception = PermissionDenied(error.message)
    if hasattr(request.allauth, "headless"):  # type: ignore[attr-defined]
        refusal = ImmediateHttpResponse(ErrorResponse(request, exception=error))
    return refusal


def _locked_out(request: HttpRequest, error: forms.ValidationError) -> Exception:
    """429 for apps, in allauth's shape. The wait told is the longest it can be."""
    if not hasattr(request.allauth, "headless"):  # type: ignore[attr-defined]
        return error
    answer = ErrorResponse(request, exception=error, status=HTTPStatus.TOO_MANY_REQUESTS)
    answer["Retry-After"] = str(int(actions.TRIES_WINDOW.total_seconds()))
    refusal: Exception = ImmediateHttpResponse(answer)
    return refusal


def _account(email: str) -> str:
    return f"account {email.lower()}"
