"""Google: the tokens of service accounts, and Firebase Cloud Messaging with its errors.

https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import parse_qs
from uuid import uuid4

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tests.peers.base import HttpPeer, Says

ACCOUNT = "sender@rehab-test.iam.gserviceaccount.com"
SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
FIELDS = {"token", "fid", "notification", "data", "android", "apns", "webpush"}


def error(status: int, google: str, code: str = "") -> Says:
    """Google's JSON of an error; `code` is FCM's own."""
    details = [{"@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": code}]
    said: dict[str, Any] = {"code": status, "message": "In words.", "status": google}
    return Says(status, {"error": said | ({"details": details} if code else {})})


class FcmPeer(HttpPeer):
    def __init__(self, key: RSAPublicKey, *, key_id: str) -> None:
        super().__init__()
        self.key, self.key_id = key, key_id
        self.unregistered: set[str] = set()
        self.tokens: list[str] = []
        self.token_told: list[Says] = []

    def on_post(self, path: str, headers: dict[str, str], content: bytes) -> Says:
        if path == "/token":
            return self.token_told.pop(0) if self.token_told else self._give_token(content)
        assert path == "/v1/projects/rehab-test/messages:send"
        message = json.loads(content)["message"]
        self.heard.append(message)
        says = self.told.popleft() if self.told else self._answer(headers, message)
        if says.status == 200 and says.manner in ("answers", "loses"):
            self.taken[message["data"]["key"]] += 1
        return says

    def forget_tokens(self) -> None:
        """As if they had been revoked."""
        self.tokens = ["" for _ in self.tokens]

    def _give_token(self, content: bytes) -> Says:
        form = parse_qs(content.decode())
        if form["grant_type"] != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]:
            return Says(400, {"error": "unsupported_grant_type"})
        [assertion] = form["assertion"]
        try:
            claims = jwt.decode(
                assertion, self.key, ["RS256"], audience=f"{self.url}/token", issuer=ACCOUNT
            )
        except jwt.PyJWTError as wrong:
            return Says(400, {"error": "invalid_grant", "error_description": str(wrong)})
        if jwt.get_unverified_header(assertion)["kid"] != self.key_id or claims["scope"] != SCOPE:
            return Says(400, {"error": "invalid_scope"})
        if claims["exp"] - claims["iat"] > 3600:
            return Says(400, {"error": "invalid_grant"})
        self.tokens.append(f"ya29.{uuid4().hex}")
        given = {"access_token": self.tokens[-1], "expires_in": 3599, "token_type": "Bearer"}
        return Says(200, given)

    def _answer(self, headers: dict[str, str], message: dict[str, Any]) -> Says:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not token or token not in self.tokens:
            return error(401, "UNAUTHENTICATED")
        targets = [message[name] for name in ("token", "fid") if name in message]
        is_good = (
            message.keys() <= FIELDS
            and len(targets) == 1
            and all(isinstance(value, str) for value in message["data"].values())
            and re.fullmatch(r"\d+s", message["android"]["ttl"])
            and message["android"]["priority"] in ("NORMAL", "HIGH")
            and all(isinstance(one, str) for one in message["webpush"]["headers"].values())
            and all(isinstance(one, str) for one in message["apns"]["headers"].values())
        )
        if not is_good or targets == ["malformed"]:
            return error(400, "INVALID_ARGUMENT", "INVALID_ARGUMENT")
        if targets[0] in self.unregistered:
            return error(404, "NOT_FOUND", "UNREGISTERED")
        return Says(200, {"name": f"projects/rehab-test/messages/{uuid4().hex}"})
