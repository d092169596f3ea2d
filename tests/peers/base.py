"""What all peers have: a place, a memory, and what they were told to say."""

from __future__ import annotations

import json
import socket
import sys
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread
from typing import Any, Literal, Self


@dataclass(frozen=True)
class Says:
    """An answer, or another manner of not giving one.

    `loses`: the message is taken and counted, and the connection breaks before the answer.
    """

    status: int = 200
    body: Mapping[str, Any] | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    manner: Literal["answers", "hangs", "loses", "drips"] = "answers"

    @property
    def raw(self) -> bytes:
        return b"" if self.body is None else json.dumps(self.body).encode()


HANGS = Says(manner="hangs")
LOSES = Says(manner="loses")
DRIPS = Says(manner="drips")


class Peer:
    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.heard: list[dict[str, Any]] = []
        self.told: deque[Says] = deque()
        self.stopped = Event()
        self.open: set[socket.socket] = set()

    def says(self, *answers: Says) -> None:
        """Instead of what it would answer by itself, to the next messages."""
        self.told.extend(answers)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.stop()

    def hang_up(self) -> None:
        """Whoever is still connected learns that this peer is gone."""
        for one in list(self.open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def start(self) -> None:
        raise AssertionError

    def stop(self) -> None:
        raise AssertionError


class HttpPeer(Peer):
    """HTTP/1.1 without TLS; subclasses answer in `on_post`."""

    def start(self) -> None:
        peer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 5

            def setup(self) -> None:
                super().setup()
                peer.open.add(self.connection)

            def finish(self) -> None:
                peer.open.discard(self.connection)
                super().finish()

            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                says = peer.on_post(self.path, headers, content)
                if says.manner == "answers":
                    self.send_response(says.status)
                    for name, value in says.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(says.raw)))
                    self.end_headers()
                    self.wfile.write(says.raw)
                    return
                self.close_connection = True
                if says.manner == "hangs":
                    peer.stopped.wait(5)
                elif says.manner == "drips":
                    for letter in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"." * 100:
                        if peer.stopped.wait(0.05):
                            break
                        try:
                            self.connection.sendall(bytes([letter]))
                        except OSError:
                            break

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: Any, client_address: Any) -> None:
                """Whoever asked may be gone: some tests kill senders."""
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(request, client_address)

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = False
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = Thread(target=self.server.serve_forever, args=(0.02,))
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.thread.join()
        self.hang_up()
        self.server.server_close()

    def on_post(self, path: str, headers: dict[str, str], content: bytes) -> Says:
        raise AssertionError


def closed_port() -> int:
    """A port of this machine where nobody listens."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
