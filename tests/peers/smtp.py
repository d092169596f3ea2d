"""A mail server that takes what it is not told to refuse."""

from __future__ import annotations

import socketserver
import ssl
from email import message_from_bytes
from email.message import Message
from threading import Thread
from typing import Literal

import trustme

from tests.peers.base import Peer


class Server(socketserver.ThreadingTCPServer):
    def handle_error(self, *_: object) -> None:
        """Whoever does not trust us hangs up in the middle, which is their right."""


class SmtpPeer(Peer):
    """`replies` is what it says to a command instead of 250, for instance to RCPT.

    "hangs" and "loses" are other manners; "." stands for the end of a message. Encrypts from the
    first byte, or once it is asked to.
    """

    def __init__(self, *, encrypts: Literal["never", "asked", "always"] = "never") -> None:
        super().__init__()
        self.encrypts = encrypts
        authority = trustme.CA()
        self.trust = ssl.create_default_context()
        authority.configure_trust(self.trust)
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(self._tls)
        self.replies: dict[str, str] = {}
        self.messages: list[Message] = []
        self.connections = 0
        if encrypts == "asked":
            self.replies["EHLO"] = "250-mail.test\r\n250 STARTTLS"

    def start(self) -> None:
        peer = self

        class Handler(socketserver.StreamRequestHandler):
            timeout = 5

            def setup(self) -> None:
                super().setup()
                peer.open.add(self.request)
                if peer.encrypts == "always":
                    self.encrypt()

            def finish(self) -> None:
                peer.open.discard(self.request)
                super().finish()
                self.request.close()

            def encrypt(self) -> None:
                peer.open.discard(self.request)
                self.request = peer._tls.wrap_socket(self.request, server_side=True)
                peer.open.add(self.request)
                super().setup()

            def handle(self) -> None:
                peer.connections += 1
                if not self.say(peer.replies.get("hello", "220 mail.test ESMTP")):
                    return
                while line := self.rfile.readline().decode().strip():
                    verb = line.partition(" ")[0].upper()
                    if verb == "STARTTLS":
                        self.say("220 2.0.0 go on")
                        self.encrypt()
                        continue
                    usual = {"DATA": "354 go on", "QUIT": "221 bye"}.get(verb, "250 2.0.0 ok")
                    reply = peer.replies.get(verb, usual)
                    if not self.say(reply) or verb == "QUIT":
                        return
                    if verb == "DATA" and reply.startswith("354") and not self.take():
                        return

            def take(self) -> bool:
                content = b""
                while (line := self.rfile.readline()) not in (b".\r\n", b""):
                    content += line.removeprefix(b".")
                reply = peer.replies.get(".", "250 2.0.0 queued")
                if reply.startswith("250") or reply == "loses":
                    message = message_from_bytes(content)
                    peer.messages.append(message)
                    peer.taken[message["Message-ID"]] += 1
                return self.say(reply)

            def say(self, reply: str) -> bool:
                if reply == "hangs":
                    peer.stopped.wait(5)
                if reply in ("hangs", "loses"):
                    return False
                self.wfile.write(f"{reply}\r\n".encode())
                return True

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = int(self.server.server_address[1])
        self.thread = Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.hang_up()
        self.server.server_close()
