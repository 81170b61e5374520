"""Serves the page of a rollout to the browsers of this machine: on 127.0.0.1, to look at and for nothing else."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from livepatch.errors import NodeError, StateError
from livepatch.fleet.overview import overview
from livepatch.fleet.page import POLICY, page
from livepatch.fleet.state import Store

__all__ = ["Page"]

_HOST = "127.0.0.1"
_PATIENCE = 10.0  # seconds that a browser has for its request
_AT_ONCE = 16  # requests


class Page:
    """The page of one rollout: ``/`` is HTML and ``/status.json`` the same as JSON.

    Raises :class:`NodeError` if the port cannot be had; with port 0 the system chooses one.
    """

    def __init__(self, store: Store, rollout: str, *, port: int = 0) -> None:
        try:
            self._server = _Server(store, rollout, port)
        except (OSError, OverflowError) as error:
            raise NodeError(
                "the page cannot be served",
                found=f"port {port}: {error}",
                expected="a port of this machine that is free, 1 to 65535, or none",
                action="choose another port",
            ) from error

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://{_HOST}:{self._server.server_port}/"

    def serve(self) -> None:
        """Serve it, until another thread closes it."""
        self._server.serve_forever(poll_interval=0.2)

    def close(self) -> None:
        """Serve it no more."""
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, store: Store, rollout: str, port: int) -> None:
        super().__init__((_HOST, port), _Handler)
        self.store = store
        self.rollout = rollout
        self.turns = threading.BoundedSemaphore(_AT_ONCE)
        # A page of another site cannot have its own name lead here: it would be in this header.
        self.names = {f"{name}:{self.server_port}" for name in (_HOST, "localhost")}

    def handle_error(self, request: object, client_address: object) -> None:
        """A browser that goes away is no news."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = _PATIENCE
    server_version = "livepatch"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer."""
        self._answer(body=True)

    def do_HEAD(self) -> None:
        """Answer without the page."""
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if self.headers.get("Host") not in self.server.names:
            self._send(HTTPStatus.MISDIRECTED_REQUEST, "text/plain", "this page is for this machine\n", body=body)
            return
        if self.path not in ("/", "/status.json"):
            self._send(HTTPStatus.NOT_FOUND, "text/plain", "/ or /status.json\n", body=body)
            return
        if not self.server.turns.acquire(timeout=_PATIENCE):
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain", "too many at once\n", body=body)
            return
        try:
            told = overview(self.server.store, self.server.rollout)
        except StateError as error:
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", f"{error}\n", body=body)
            return
        finally:
            self.server.turns.release()
        self._send(HTTPStatus.OK, *_written(self.path, told), body=body)

    def _send(self, status: HTTPStatus, kind: str, text: str, *, body: bool) -> None:
        data = text.encode("utf-8", "backslashreplace")
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            "Content-Security-Policy": POLICY,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Who looks is no news."""


def _written(path: str, told: Mapping[str, Any]) -> tuple[str, str]:
    if path == "/":
        return "text/html; charset=utf-8", page(told)
    return "application/json", json.dumps(told, sort_keys=True)
