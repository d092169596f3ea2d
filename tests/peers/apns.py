"""Apple's push service: HTTP/2 over TLS, with Apple's reasons.

https://developer.apple.com/documentation/usernotifications/handling-error-responses-from-apns
"""

from __future__ import annotations

import json
import re
import socket
import ssl
from threading import Thread
from time import time
from typing import Any
from uuid import UUID

import jwt
import trustme
from cryptography.hazmat.primitives.asymmetric import ec
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError

from tests.peers.base import Peer, Says


class ApnsPeer(Peer):
    def __init__(
        self, key: ec.EllipticCurvePublicKey, *, key_id: str, team_id: str, topic: str
    ) -> None:
        super().__init__()
        self.key, self.key_id, self.team_id, self.topic = key, key_id, team_id, topic
        self.unregistered: set[str] = set()
        self.connections = 0
        authority = trustme.CA()
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.set_alpn_protocols(["h2"])
        authority.issue_cert("localhost").configure_cert(self._tls)
        self._threads: list[Thread] = []

    def start(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.02)
        self.url = f"https://localhost:{self._listener.getsockname()[1]}"
        self._thread = Thread(target=self._accept)
        self._thread.start()

    def stop(self) -> None:
        self._thread.join()
        self.hang_up()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                plain, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.connections += 1
            thread = Thread(target=self._serve, args=(plain,))
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        plain.settimeout(5)
        try:
            with self._tls.wrap_socket(plain, server_side=True) as sock:
                self.open.add(sock)
                self._talk(sock)
                self.open.discard(sock)
        except (OSError, ProtocolError):
            plain.close()

    def _talk(self, sock: ssl.SSLSocket) -> None:
        talk = H2Connection(H2Configuration(client_side=False, header_encoding="utf-8"))
        talk.initiate_connection()
        sock.sendall(talk.data_to_send())
        asked: dict[int, tuple[dict[str, str], bytearray]] = {}
        while data := sock.recv(65536):
            for event in talk.receive_data(data):
                if isinstance(event, RequestReceived):
                    headers = {str(name): str(value) for name, value in event.headers}
                    asked[event.stream_id] = (headers, bytearray())
                elif isinstance(event, DataReceived):
                    asked[event.stream_id][1].extend(event.data)
                    talk.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                elif isinstance(event, StreamEnded):
                    headers, content = asked.pop(event.stream_id)
                    says = self._on_request(headers, bytes(content))
                    if says.manner == "loses":
                        return
                    if says.manner == "hangs":
                        self.stopped.wait(5)
                        return
                    head = {":status": str(says.status), **says.headers}
                    talk.send_headers(event.stream_id, [*head.items()], end_stream=not says.raw)
                    if says.raw:
                        talk.send_data(event.stream_id, says.raw, end_stream=True)
            sock.sendall(talk.data_to_send())

    def _on_request(self, headers: dict[str, str], content: bytes) -> Says:
        self.heard.append(headers)
        says = self.told.popleft() if self.told else None
        says = (
            says or self._wrong(headers, content) or Says(headers={"apns-id": headers["apns-id"]})
        )
        if says.status == 200 and says.manner in ("answers", "loses"):
            self.taken[json.loads(content)["key"]] += 1
        return says

    def _wrong(self, headers: dict[str, str], content: bytes) -> Says | None:
        """What Apple finds wrong, in about its order."""
        path = re.fullmatch("/3/device/([0-9a-fA-F]+)", headers[":path"])
        if headers[":method"] != "POST":
            return _reason(405, "MethodNotAllowed")
        if path is None:
            return _reason(404, "BadPath")
        if reason := self._wrong_token(headers.get("authorization", "")):
            return _reason(403, reason)
        if len(content) > 4096:
            return _reason(413, "PayloadTooLarge")
        if headers.get("apns-topic") != self.topic:
            return _reason(400, "BadTopic" if "apns-topic" in headers else "MissingTopic")
        if headers.get("apns-push-type") != "alert":
            return _reason(400, "InvalidPushType")
        if headers.get("apns-priority", "10") not in ("1", "5", "10"):
            return _reason(400, "BadPriority")
        if len(headers.get("apns-collapse-id", "").encode()) > 64:
            return _reason(400, "BadCollapseId")
        if not headers.get("apns-expiration", "0").isdigit():
            return _reason(400, "BadExpirationDate")
        if str(UUID(headers["apns-id"])) != headers["apns-id"]:
            return _reason(400, "BadMessageId")
        if len(path[1]) != 64:
            return _reason(400, "BadDeviceToken")
        if path[1] in self.unregistered:
            return _reason(410, "Unregistered", timestamp=1_700_000_000_000)
        payload = json.loads(content)
        assert payload["aps"]["alert"].keys() == {"title", "body"}
        return None

    def _wrong_token(self, authorization: str) -> str | None:
        scheme, _, token = authorization.partition(" ")
        if scheme != "bearer":
            return "MissingProviderToken"
        try:
            claims = jwt.decode(token, self.key, ["ES256"], options={"require": ["iss", "iat"]})
        except jwt.PyJWTError:
            return "InvalidProviderToken"
        head = jwt.get_unverified_header(token)
        if (head.get("kid"), claims["iss"]) != (self.key_id, self.team_id):
            return "InvalidProviderToken"
        return "ExpiredProviderToken" if abs(time() - claims["iat"]) > 3660 else None


def _reason(status: int, reason: str, **more: Any) -> Says:
    return Says(status, {"reason": reason, **more})
