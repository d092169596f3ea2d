"""Web Push: browsers, through whichever push service each of them has.

RFC 8030 (the request), RFC 8291 (only the browser can read it), RFC 8292 (who sends, VAPID).
"""

from __future__ import annotations

import json
import re
import secrets
import ssl
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from backend.notifications.gateways.base import (
    Address,
    Gone,
    Notice,
    Refused,
    Result,
    Sent,
    time_left,
)
from backend.notifications.gateways.calling import (
    Caller,
    ForbiddenPlace,
    Timeouts,
    Unanswered,
    failure,
)

MOST_BYTES = 3993  # of a text, so that 4096 leave, which every push service takes
TOKEN_SECONDS = 12 * 3600  # push services take a day at most


class WebPush:
    """Sends as the owner of a VAPID key; `contact` is where a push service finds a person.

    The endpoint is whatever a phone told us. Without `allow_local` it has to be https at port 443
    of a public address, so that nobody makes this service ask its own neighbours.
    """

    def __init__(
        self,
        key: str,
        *,
        contact: str,
        allow_local: bool = False,
        timeouts: Timeouts | None = None,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._key = _read_key(key)
        self._contact = contact if contact.startswith("https://") else _mailto(contact)
        self._allow_local = allow_local
        self._caller = Caller(allow_local=allow_local, timeouts=timeouts, trust=trust)

    @property
    def public_key(self) -> str:
        """What a browser wants as `applicationServerKey` when it subscribes."""
        return _encode(_point(self._key.public_key()))

    def send(self, address: Address, notice: Notice, *, now: datetime) -> Result:
        if notice.expires_at <= now:
            return Refused("expired")
        try:
            to = _Subscription.of(address.value)
        except (ValueError, TypeError, KeyError, RecursionError):
            return Refused("address_invalid")
        if not self._allow_local and not _is_outside(to.endpoint):
            return Refused("address_forbidden")
        text = _text(notice)
        if len(text) > MOST_BYTES:
            return Refused("too_large")
        headers = {
            "Authorization": f"vapid t={self._token(to.endpoint, now)}, k={self.public_key}",
            "Content-Encoding": "aes128gcm",
            "Content-Type": "application/octet-stream",
            "TTL": str(int(time_left(notice, now=now).total_seconds())),
            "Topic": topic(notice.key),
            "Urgency": "high" if notice.is_urgent else "normal",
        }
        content = encrypt(
            _padded(text),
            to.public,
            to.auth,
            salt=secrets.token_bytes(16),
            key=ec.generate_private_key(ec.SECP256R1()),
        )
        try:
            answer = self._caller.post(to.endpoint, headers=headers, content=content)
        except ForbiddenPlace:
            return Refused("address_forbidden")
        except Unanswered as none:
            return none.later
        if 200 <= answer.status < 300:
            return Sent(answer.header("location"))
        if answer.status in (404, 410):
            return Gone()
        return failure(answer, now=now)

    def close(self) -> None:
        self._caller.close()

    def _token(self, endpoint: str, now: datetime) -> str:
        parts = urlsplit(endpoint)
        claim = {
            "aud": f"{parts.scheme}://{parts.netloc}",
            "exp": int(now.timestamp()) + TOKEN_SECONDS,
            "sub": self._contact,
        }
        return jwt.encode(claim, self._key, "ES256")


def topic(key: str) -> str:
    """A push service replaces what waits under the same topic: 32 letters at most."""
    return _encode(sha256(key.encode()).digest()[:24])


def encrypt(
    text: bytes,
    receiver: ec.EllipticCurvePublicKey,
    auth: bytes,
    *,
    salt: bytes,
    key: ec.EllipticCurvePrivateKey,
) -> bytes:
    """RFC 8291, one record. `salt` and `key` are new for each message; `text` ends as padded."""
    ours, theirs = _point(key.public_key()), _point(receiver)
    shared = key.exchange(ec.ECDH(), receiver)
    secret = _derive(shared, salt=auth, info=b"WebPush: info\0" + theirs + ours, length=32)
    cipher = AESGCM(_derive(secret, salt=salt, info=b"Content-Encoding: aes128gcm\0", length=16))
    nonce = _derive(secret, salt=salt, info=b"Content-Encoding: nonce\0", length=12)
    header = salt + (4096).to_bytes(4, "big") + bytes([len(ours)]) + ours
    return header + cipher.encrypt(nonce, text, None)


@dataclass(frozen=True)
class _Subscription:
    """A PushSubscription as browsers write it."""

    endpoint: str
    public: ec.EllipticCurvePublicKey
    auth: bytes

    @classmethod
    def of(cls, value: str) -> _Subscription:
        found = json.loads(value)
        endpoint, keys = found["endpoint"], found["keys"]
        if not re.fullmatch("https?://[!-~]+", endpoint):
            raise ValueError
        parts = urlsplit(endpoint)
        if not parts.hostname or parts.port == 0:  # reading the port checks that it is a number
            raise ValueError
        auth = _decode(keys["auth"])
        if len(auth) != 16:
            raise ValueError
        point = ec.EllipticCurvePublicKey.from_encoded_point(
            ec.SECP256R1(), _decode(keys["p256dh"])
        )
        return cls(endpoint, point, auth)


def _is_outside(endpoint: str) -> bool:
    """As far as the address itself tells; what its name stands for is seen when connecting."""
    parts = urlsplit(endpoint)
    return parts.scheme == "https" and parts.port in (None, 443) and "@" not in parts.netloc


def _text(notice: Notice) -> bytes:
    """What the service worker of the app gets."""
    text = {"key": notice.key, "title": notice.title, "body": notice.body, "url": notice.url}
    return json.dumps(text, ensure_ascii=False, separators=(",", ":")).encode()


def _padded(text: bytes) -> bytes:
    """To the next full kilobyte: a length tells which message it is."""
    length = min(-(-(len(text) + 1) // 1024) * 1024, MOST_BYTES + 1)
    return (text + b"\2").ljust(length, b"\0")


def _derive(secret: bytes, *, salt: bytes, info: bytes, length: int) -> bytes:
    return HKDF(algorithm=SHA256(), length=length, salt=salt, info=info).derive(secret)


def _point(key: ec.EllipticCurvePublicKey) -> bytes:
    return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


def _read_key(key: str) -> ec.EllipticCurvePrivateKey:
    """As PEM, or as the 43 letters that generators of VAPID keys print."""
    if not key.startswith("-----BEGIN"):
        return ec.derive_private_key(int.from_bytes(_decode(key), "big"), ec.SECP256R1())
    read = load_pem_private_key(key.encode(), password=None)
    if not isinstance(read, ec.EllipticCurvePrivateKey):
        raise ValueError("a VAPID key is an elliptic-curve key")
    return read


def _mailto(contact: str) -> str:
    address = contact.removeprefix("mailto:")
    if "@" not in address:
        raise ValueError("the contact of a VAPID key is an e-mail address or an https address")
    return f"mailto:{address}"


def _encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))
