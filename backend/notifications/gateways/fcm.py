"""Firebase Cloud Messaging, HTTP v1: Android, and iOS and browsers that are reached through it.

https://firebase.google.com/docs/reference/fcm/rest/v1/projects.messages
"""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from backend.notifications.gateways.base import (
    Address,
    Gone,
    Later,
    Notice,
    Refused,
    Result,
    Sent,
    collapse_id,
    retry_after,
    time_left,
)
from backend.notifications.gateways.calling import Answer, Caller, Timeouts, Unanswered, failure

URL = "https://fcm.googleapis.com"
TOKEN_URL = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address)
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
RENEW_BEFORE = timedelta(minutes=5)
QUOTA_PAUSE = timedelta(minutes=1)  # what Google asks for where it names no time

# `fid` is the field of an installation id; `token` is deprecated there, and taken.
TARGETS = {"fcm_token": "token", "fcm_installation": "fid"}


class Fcm:
    """Sends as a service account, whose credentials are the JSON that Google hands out."""

    def __init__(
        self,
        credentials: Mapping[str, Any],
        *,
        url: str = URL,
        timeouts: Timeouts | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        key = load_pem_private_key(str(credentials["private_key"]).encode(), password=None)
        if not isinstance(key, RSAPrivateKey):
            raise ValueError("the key of a service account is an RSA key")
        self._key = key
        self._key_id = str(credentials.get("private_key_id", ""))
        self._account = str(credentials["client_email"])
        self._token_url = str(credentials.get("token_uri", TOKEN_URL))
        self._url = f"{url.rstrip('/')}/v1/projects/{credentials['project_id']}/messages:send"
        self._caller = Caller(allow_local=True, timeouts=timeouts, trust=trust)
        self._token: tuple[str, datetime] | None = None  # and when to ask for another

    def send(self, address: Address, notice: Notice, *, now: datetime) -> Result:
        if notice.expires_at <= now:
            return Refused("expired")
        content = json.dumps({"message": _message(address, notice, now)}).encode()
        try:
            answer = self._post(content, now)
            if answer.status == 401 and _code(answer) != "THIRD_PARTY_AUTH_ERROR":
                self._token = None
                answer = self._post(content, now)
        except Unanswered as none:
            return none.later
        if answer.status == 200:
            return Sent(str(answer.json().get("name", ""))[:255])
        return _result(answer, now)

    def close(self) -> None:
        self._caller.close()

    def _post(self, content: bytes, now: datetime) -> Answer:
        headers = {
            "Authorization": f"Bearer {self._access_token(now)}",
            "Content-Type": "application/json",
        }
        return self._caller.post(self._url, headers=headers, content=content)

    def _access_token(self, now: datetime) -> str:
        """RFC 7523: a signed claim to be this account, for a token of an hour."""
        if self._token is not None and now < self._token[1]:
            return self._token[0]
        issued = int(now.timestamp())
        claim = jwt.encode(
            {
                "iss": self._account,
                "scope": SCOPE,
                "aud": self._token_url,
                "iat": issued,
                "exp": issued + 3600,
            },
            self._key,
            algorithm="RS256",
            headers={"kid": self._key_id},
        )
        answer = self._caller.post(
            self._token_url,
            headers={"Content-Type": "application/x-www-form-urlencoded"},
            content=urlencode({"grant_type": GRANT, "assertion": claim}).encode(),
        )
        given = answer.json()
        token, lasts = given.get("access_token"), given.get("expires_in")
        if answer.status == 200 and isinstance(token, str) and isinstance(lasts, int):
            self._token = (token, now + timedelta(seconds=lasts) - RENEW_BEFORE)
            return token
        is_away = answer.status == 429 or answer.status >= 500
        after = retry_after(answer.headers.get("retry-after"), now=now)
        raise Unanswered("unavailable" if is_away else "auth", after)


def _message(address: Address, notice: Notice, now: datetime) -> dict[str, Any]:
    """For every platform at once: FCM takes what the phone at the address needs.

    On Android `tag` replaces what is on screen, which `collapse_key` does not.
    """
    seconds = int(time_left(notice, now=now).total_seconds())
    return {
        TARGETS[address.kind]: address.value,
        "notification": {"title": notice.title, "body": notice.body},
        "data": {"key": notice.key, "url": notice.url},
        "android": {
            "collapse_key": notice.key,
            "ttl": f"{seconds}s",
            "priority": "HIGH" if notice.is_urgent else "NORMAL",
            "notification": {"tag": notice.key},
        },
        "apns": {
            "headers": {
                "apns-collapse-id": collapse_id(notice.key),
                "apns-expiration": str(int(now.timestamp()) + seconds),
                "apns-priority": "10" if notice.is_urgent else "5",
            },
            "payload": {"aps": {"sound": "default"}},
        },
        "webpush": {
            "headers": {"TTL": str(seconds), "Urgency": "high" if notice.is_urgent else "normal"},
            "notification": {"tag": notice.key},
        },
    }


def _code(answer: Answer) -> str:
    """FCM's own code where it gives one, else Google's general status."""
    error = answer.json().get("error")
    if not isinstance(error, dict):
        return ""
    details = error.get("details")
    for detail in details if isinstance(details, list) else []:
        if isinstance(detail, dict) and str(detail.get("@type", "")).endswith(".FcmError"):
            return str(detail.get("errorCode", ""))
    return str(error.get("status", ""))


def _result(answer: Answer, now: datetime) -> Result:
    """A 404 without the code UNREGISTERED is about our project or address, and removes nobody."""
    match answer.status, _code(answer):
        case 404, "UNREGISTERED":
            return Gone()
        case _, "SENDER_ID_MISMATCH" | "THIRD_PARTY_AUTH_ERROR":
            return Later(None, "auth")
        case 429, _:
            found = failure(answer, now=now)
            after = found.after if isinstance(found, Later) else None
            return Later(after or QUOTA_PAUSE, "too_many")
        case _:
            return failure(answer, now=now)
