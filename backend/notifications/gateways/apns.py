"""Apple's push service, over HTTP/2 and with a provider token.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

from __future__ import annotations

import json
import re
import ssl
from datetime import datetime

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
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
    time_left,
    uuid_of,
)
from backend.notifications.gateways.calling import Answer, Caller, Timeouts, Unanswered, failure

URL = "https://api.push.apple.com"
MOST_BYTES = 4096
TOKEN_SECONDS = 30 * 60

# What Apple says about an address that is dead.
GONE = {(400, "BadDeviceToken"), (410, "Unregistered"), (410, "ExpiredToken")}
# Errors of a request that are errors of our set-up: the row is as good as before.
OURS = {"BadTopic", "DeviceTokenNotForTopic", "MissingTopic", "TopicDisallowed", "IdleTimeout"}


class Apns:
    """Sends to the app named by `topic`, its bundle id."""

    def __init__(
        self,
        key: str,
        *,
        key_id: str,
        team_id: str,
        topic: str,
        url: str = URL,
        timeouts: Timeouts | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        read = load_pem_private_key(key.encode(), password=None)
        if not isinstance(read, EllipticCurvePrivateKey):
            raise ValueError("the key of APNs is an elliptic-curve key")
        self._key = read
        self._key_id = key_id
        self._team_id = team_id
        self._topic = topic
        self._url = url.rstrip("/")
        self._caller = Caller(allow_local=True, is_http2=True, timeouts=timeouts, trust=trust)
        self._token = ("", 0)  # and when it was issued

    def send(self, address: Address, notice: Notice, *, now: datetime) -> Result:
        if notice.expires_at <= now:
            return Refused("expired")
        if not re.fullmatch("[0-9A-Fa-f]{2,400}", address.value):
            return Refused("address_invalid")  # it becomes part of a path
        content = _payload(notice)
        if len(content) > MOST_BYTES:
            return Refused("too_large")
        headers = {
            "authorization": f"bearer {self._provider_token(now)}",
            "apns-id": str(uuid_of(notice.key)),
            "apns-collapse-id": collapse_id(notice.key),
            "apns-expiration": str(int((now + time_left(notice, now=now)).timestamp())),
            "apns-priority": "10" if notice.is_urgent else "5",
            "apns-push-type": "alert",
            "apns-topic": self._topic,
        }
        url = f"{self._url}/3/device/{address.value}"
        try:
            answer = self._caller.post(url, headers=headers, content=content)
        except Unanswered as none:
            return none.later
        return _result(answer, now)

    def close(self) -> None:
        self._caller.close()

    def _provider_token(self, now: datetime) -> str:
        """Issued on the half hour before `now`.

        So it is at most half an hour old, changes no more often than Apple allows (20 minutes),
        also where a process starts anew, and is issued alike by all processes.
        """
        issued = int(now.timestamp()) // TOKEN_SECONDS * TOKEN_SECONDS
        if self._token[1] != issued:
            claim = {"iss": self._team_id, "iat": issued}
            signed = jwt.encode(claim, self._key, "ES256", headers={"kid": self._key_id})
            self._token = (signed, issued)
        return self._token[0]


def _payload(notice: Notice) -> bytes:
    payload = {
        "aps": {"alert": {"title": notice.title, "body": notice.body}, "sound": "default"},
        "key": notice.key,
        "url": notice.url,
    }
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def _result(answer: Answer, now: datetime) -> Result:
    if answer.status == 200:
        return Sent(answer.header("apns-id"))
    reason = answer.json().get("reason")
    if (answer.status, reason) in GONE:
        return Gone()
    if answer.status == 400 and reason in OURS:
        return Later(None, "setup")
    return failure(answer, now=now)
