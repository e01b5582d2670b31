"""A small HTTP server that answers as a test says."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class Call:
    """A request as it arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Reply:
    """An answer; `claimed` bytes may be announced though fewer are sent."""

    status: int = 200
    content: Any = b""
    headers: dict[str, str] = field(default_factory=dict)
    claimed: int | None = None
    before: Callable[[], None] = lambda: None


class StandIn:
    """Answers with `handler`, which may be replaced; keeps what was asked in `calls`."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.handler: Callable[[Call], Reply] = lambda call: Reply(404)
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                call = Call(
                    self.command, self.path, dict(self.headers.items()), self.rfile.read(length)
                )
                outer.calls.append(call)
                reply = outer.handler(call)
                reply.before()
                raw = reply.content
                if not isinstance(raw, bytes):
                    raw = json.dumps(raw).encode()
                self.send_response(reply.status)
                kind = "application/json" if not isinstance(reply.content, bytes) else "image/png"
                for name, value in {"Content-Type": kind, **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(reply.claimed or len(raw)))
                if reply.claimed:
                    self.send_header("Connection", "close")
                    self.close_connection = True
                self.end_headers()
                self.wfile.write(raw)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, format: str, *args: object) -> None:
                """Keep quiet."""

        class Server(ThreadingHTTPServer):
            def handle_error(self, request: object, client_address: object) -> None:
                """Callers that hang up are part of the tests."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = int(self.server.server_address[1])
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
