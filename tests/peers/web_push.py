"""A push service with one browser behind it, which reads what it is sent (RFC 8030, 8291, 8292)."""

from __future__ import annotations

import json
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from time import time

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.peers.base import HttpPeer, Says


def encode(raw: bytes) -> str:
    return urlsafe_b64encode(raw).decode().rstrip("=")


def decode(text: str) -> bytes:
    return urlsafe_b64decode(text + "==")


class WebPushPeer(HttpPeer):
    def __init__(self, application_server_key: str) -> None:
        super().__init__()
        self.sender = application_server_key
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.auth = secrets.token_bytes(16)
        self.sizes: list[int] = []

    def subscription(self) -> str:
        point = self.key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        keys = {"p256dh": encode(point), "auth": encode(self.auth)}
        endpoint = f"{self.url}/push/a-secret-path"
        return json.dumps({"endpoint": endpoint, "expirationTime": None, "keys": keys})

    def on_post(self, path: str, headers: dict[str, str], content: bytes) -> Says:
        if self.told and self.told[0].manner == "answers":
            return self.told.popleft()
        if wrong := self._wrong(path, headers, content):
            return wrong
        text = json.loads(decrypt(content, self.key, self.auth))
        says = (
            self.told.popleft() if self.told else Says(201, None, {"Location": f"{self.url}/m/1"})
        )
        self.heard.append(headers | text)
        self.sizes.append(len(content))
        if says.manner in ("answers", "loses"):
            self.taken[text["key"]] += 1
        return says

    def _wrong(self, path: str, headers: dict[str, str], content: bytes) -> Says | None:
        if path != "/push/a-secret-path":
            return Says(404)
        if not headers.get("ttl", "").isdigit() or headers.get("content-encoding") != "aes128gcm":
            return Says(400)
        if not re.fullmatch("[A-Za-z0-9_-]{1,32}", headers.get("topic", "")):
            return Says(400)
        if headers.get("urgency") not in ("very-low", "low", "normal", "high"):
            return Says(400)
        if len(content) > 4096:
            return Says(413)
        vapid = re.fullmatch("vapid t=([^,]+), k=([^,]+)", headers.get("authorization", ""))
        if vapid is None or vapid[2] != self.sender:
            return Says(403)
        key = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), decode(vapid[2]))
        try:
            claims = jwt.decode(vapid[1], key, ["ES256"], audience=self.url)
        except jwt.PyJWTError:
            return Says(401)
        is_good = claims["exp"] - time() <= 24 * 3600 and claims["sub"].startswith("mailto:")
        return None if is_good else Says(403)


def decrypt(content: bytes, key: ec.EllipticCurvePrivateKey, auth: bytes) -> bytes:
    """RFC 8188 and RFC 8291 from the browser's side."""
    salt, size, length = content[:16], int.from_bytes(content[16:20], "big"), content[20]
    theirs, record = content[21 : 21 + length], content[21 + length :]
    assert len(record) <= size
    ours = key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    sender = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP256R1(), theirs)
    shared = key.exchange(ec.ECDH(), sender)
    secret = HKDF(SHA256(), 32, auth, b"WebPush: info\x00" + ours + theirs).derive(shared)
    cipher = HKDF(SHA256(), 16, salt, b"Content-Encoding: aes128gcm\x00").derive(secret)
    nonce = HKDF(SHA256(), 12, salt, b"Content-Encoding: nonce\x00").derive(secret)
    text, mark, padding = AESGCM(cipher).decrypt(nonce, record, None).rpartition(b"\x02")
    assert mark
    assert not padding.strip(b"\x00")
    return text
