"""HTTP server of metrics and health: `/metrics`, `/live` and `/ready`, and 404 for any other path."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from socketserver import TCPServer, ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from dataflows.runtime.health import Health

StartResponse = Callable[..., Any]
Application = Callable[[dict[str, Any], StartResponse], Iterable[bytes]]
TEXT = ("Content-Type", "text/plain; charset=utf-8")


class MetricsServer:
    """HTTP server on a port of one address, running on its own threads until closed.

    Raises:
        OSError: if the address cannot be bound.
    """

    def __init__(self, host: str, port: int, registry: CollectorRegistry, health: Health) -> None:
        family, _, _, _, _ = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]

        class Server(ThreadingMixIn, WSGIServer):
            address_family = family
            daemon_threads = True

            def server_bind(self) -> None:
                """Bind without the base class's lookup of the host name."""
                TCPServer.server_bind(self)
                self.server_name, self.server_port = host, self.server_address[1]
                self.setup_environ()

        self._server = Server((host, port), _Quiet)
        self._server.set_app(answer_with(registry, health))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True, name="metrics")
        self._thread.start()

    @property
    def port(self) -> int:
        """Return the port on which the server listens."""
        return self._server.server_port

    def close(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def answer_with(registry: CollectorRegistry, health: Health) -> Application:
    """Return the WSGI application that serves metrics and health."""
    metrics: Any = make_wsgi_app(registry)

    def answer(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
        match environ.get("PATH_INFO"):
            case "/metrics":
                answered: Iterable[bytes] = metrics(environ, start_response)
                return answered
            case "/live":
                return _say(start_response, health.dead(), "live")
            case "/ready":
                return _say(start_response, health.unready(), "ready")
            case _:
                start_response("404 Not Found", [TEXT])
                return [b"/metrics, /live and /ready are here.\n"]

    return answer


def _say(start_response: StartResponse, problem: str | None, fine: str) -> Iterable[bytes]:
    start_response("200 OK" if problem is None else "503 Service Unavailable", [TEXT])
    return [f"{fine if problem is None else problem}\n".encode()]


class _Quiet(WSGIRequestHandler):
    """Request handler that does not log requests."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Discard the message."""
