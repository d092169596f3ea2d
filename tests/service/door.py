"""What an app does at the sign-in: allauth's headless API, by the token of a session."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any, cast

from allauth.mfa.totp.internal.auth import format_hotp_value, hotp_value
from django.core import mail
from django.http import HttpResponse
from django.test import Client


@dataclass
class Door:
    """An app in front of the service, signed in or not."""

    token: str = ""
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def call(self, method: str, path: str, body: object = None, **headers: str) -> HttpResponse:
        """`path` below /api/auth/app/v1. A new token is taken over, as an app does."""
        if self.token:
            headers["X-Session-Token"] = self.token
        data = b"" if body is None else json.dumps(body).encode()
        answer: Any = self.client.generic(
            method, f"/api/auth/app/v1/{path}", data, "application/json", headers=headers
        )
        self.token = _meta(answer).get("session_token", self.token)
        return cast(HttpResponse, answer)

    def post(self, path: str, expect: int = 200, **body: object) -> Any:
        answer = self.call("POST", path, body)
        assert answer.status_code == expect, (answer.status_code, answer.content)
        return json.loads(answer.content)

    def get(self, path: str, expect: int = 200) -> Any:
        answer = self.call("GET", path)
        assert answer.status_code == expect, (answer.status_code, answer.content)
        return json.loads(answer.content)

    def signs_in(self, email: str, password: str, expect: int = 200) -> Any:
        return self.post("auth/login", expect, email=email, password=password)

    def signs_up(self, expect: int = 200, **body: object) -> Any:
        return self.post("auth/signup", expect, **body)

    def sets_up_totp(self, password: str) -> str:
        """The secret of a new authenticator app."""
        secret: str = self.get("account/authenticators/totp", 404)["meta"]["secret"]
        self.post("auth/reauthenticate", password=password)
        self.post("account/authenticators/totp", code=totp(secret))
        return secret


def _meta(answer: HttpResponse) -> dict[str, Any]:
    if not answer.headers.get("Content-Type", "").startswith("application/json"):
        return {}
    meta: dict[str, Any] = json.loads(answer.content).get("meta", {})
    return meta


def codes(answer: Any) -> list[str]:
    """The error codes of an answer."""
    return [error["code"] for error in answer["errors"]]


def totp(secret: str) -> str:
    """What an authenticator app shows now."""
    return str(format_hotp_value(hotp_value(secret, int(time.time()) // 30)))


def mailed_code() -> str:
    """The code in the newest mail: the line that stands alone and has no spaces."""
    lines = str(mail.outbox[-1].body).splitlines()
    [code] = [line for line in lines if line and " " not in line and line.isupper()]
    return code
