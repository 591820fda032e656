"""A schema registry over HTTP that answers what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from schemas.codec.inputs import Codec, Encoder, RegistrySettings
from schemas.records.base import CHAT
from schemas.released.catalogue import released
from tests.kit.records import MESSAGE

TEXT = released().text(CHAT, 1)
DATUM = Encoder(CHAT).encode(MESSAGE)[10:]
NAME = "chat.messages-value"
CodecOf = Callable[[RegistrySettings], Codec]


def by_id(number: int, datum: bytes = DATUM) -> bytes:
    return b"\x00" + number.to_bytes(4, "big") + datum


class Scripted:
    """A registry that answers over HTTP what a test tells it to, and keeps what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes]] = {}
        self.asked: list[str] = []
        self.queries: list[str] = []
        self.authorization: str | None = None
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                path, _, query = self.path.partition("?")
                scripted.queries.append(query)
                scripted.asked.append(f"{self.command} {path}")
                scripted.authorization = self.headers["Authorization"]
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                missing = (404, b'{"error_code": 404, "message": "HTTP 404 Not Found"}')
                status, body = scripted.answers.get(f"{self.command} {path}", missing)
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = answer  # noqa: N815 - the base class names them so

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})

    @property
    def settings(self) -> RegistrySettings:
        return RegistrySettings(url=f"http://127.0.0.1:{self.server.server_port}", retries=0)

    def put(self, request: str, status: int, body: object) -> None:
        self.answers[request] = (status, json.dumps(body).encode())


@contextmanager
def answering() -> Iterator[Scripted]:
    """Serve a registry that knows no schema but lists its types."""
    scripted = Scripted()
    scripted.put("GET /schemas/types", 200, ["AVRO"])
    scripted.thread.start()
    yield scripted
    scripted.server.shutdown()
    scripted.thread.join()
    scripted.server.server_close()
