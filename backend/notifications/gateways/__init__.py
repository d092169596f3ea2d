"""The ways out: each kind of address has its gateway. They know no models, only what is sent where.

The settings are read here alone; the gateways take theirs as arguments.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.mail import get_connection

from backend.notifications.gateways.apns import Apns
from backend.notifications.gateways.base import Gateway, Kind
from backend.notifications.gateways.fcm import Fcm
from backend.notifications.gateways.log import Log
from backend.notifications.gateways.mail import Mail, Smtp
from backend.notifications.gateways.web_push import WebPush

_SMTP = "django.core.mail.backends.smtp.EmailBackend"
_DUMMY = "django.core.mail.backends.dummy.EmailBackend"


def gateways_of_settings() -> Mapping[Kind, Gateway]:
    """One for each kind, the log where credentials are missing; make them in the sending process.

    Both kinds of FCM share one; `close` may be called twice.
    """
    log = Log()
    fcm = _fcm() or log
    return {
        "fcm_token": fcm,
        "fcm_installation": fcm,
        "apns": _apns() or log,
        "web_push": _web_push() or log,
        "email": _mail() or log,
    }


def _fcm() -> Fcm | None:
    if not settings.FCM_CREDENTIALS:
        return None
    try:
        return Fcm(_credentials(_text(settings.FCM_CREDENTIALS)), url=settings.FCM_URL)
    except (OSError, ValueError, KeyError, TypeError):
        raise ImproperlyConfigured("FCM_CREDENTIALS is no service account's JSON.") from None


def _credentials(text: str) -> Mapping[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise TypeError
    return found


def _apns() -> Apns | None:
    if not settings.APNS_KEY:
        return None
    _need("APNS_KEY", "APNS_KEY_ID", "APNS_TEAM_ID", "APNS_TOPIC")
    try:
        return Apns(
            _text(settings.APNS_KEY),
            key_id=settings.APNS_KEY_ID,
            team_id=settings.APNS_TEAM_ID,
            topic=settings.APNS_TOPIC,
            url=settings.APNS_URL,
        )
    except (OSError, ValueError, TypeError):
        raise ImproperlyConfigured("APNS_KEY is no elliptic-curve key in PEM.") from None


def _web_push() -> WebPush | None:
    if not settings.VAPID_KEY:
        return None
    _need("VAPID_KEY", "VAPID_CONTACT")
    try:
        return WebPush(
            _text(settings.VAPID_KEY),
            contact=settings.VAPID_CONTACT,
            allow_local=settings.DEBUG,
        )
    except (OSError, ValueError, TypeError):
        raise ImproperlyConfigured("VAPID_KEY or VAPID_CONTACT is malformed.") from None


def _mail() -> Mail | None:
    if settings.EMAIL_BACKEND == _DUMMY:
        return None
    connection = Smtp() if settings.EMAIL_BACKEND == _SMTP else get_connection()
    return Mail(connection, sender=settings.DEFAULT_FROM_EMAIL, links_from=settings.PUBLIC_URL)


def _need(first: str, *others: str) -> None:
    missing = [name for name in others if not getattr(settings, name)]
    if missing:
        raise ImproperlyConfigured(f"{first} is set, and {', '.join(missing)} missing.")


def _text(setting: str) -> str:
    """A setting that is the text itself, or the path of a file with it."""
    if setting.startswith("-----BEGIN"):
        return setting.replace("\\n", "\n")  # one line of an environment file holds all of it
    is_path = "/" in setting and not setting.startswith("{")
    return Path(setting).read_text() if is_path else setting
