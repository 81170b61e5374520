"""Serves a page to the browsers of this machine: on a loopback address, to look at and for nothing else.

Whoever asks costs no more than is bounded here: the head of a request and the time for it, how many are answered at a
time, and how often what the page tells of is looked at, whatever the number of those who ask.
"""

from __future__ import annotations

import io
import ipaddress
import json
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6
from socketserver import TCPServer
from sys import exc_info
from types import TracebackType
from typing import Any, Self

from livepatch.errors import LivepatchError, NodeError, PatchError, spelled
from livepatch.events import emit
from livepatch.pages.callers import owner, whose
from livepatch.pages.html import POLICY

__all__ = ["Limits", "Page", "Place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a browser may cost."""

    head: int = 16 << 10
    """Bytes of a request: its line and its headers."""
    seconds: float = 10.0
    """Seconds for all of a request to come, and for all of the answer to be taken up."""
    at_once: int = 16
    """Requests at a time."""
    strangers: int = 2
    """And of users who are told nothing."""
    fresh: float = 1.0
    """Seconds for which what was looked at is told again."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page is served: a loopback address, and a port; with port 0 the system chooses one."""

    host: str = "127.0.0.1"
    port: int = 0

    @classmethod
    def parse(cls, text: str) -> Self:
        """From ``8080``, ``127.0.0.1:8080``, ``localhost:8080`` or ``[::1]:8080``.  Raises :class:`PatchError`."""
        head, _, port = text.rpartition(":")
        host = {"": "127.0.0.1", "localhost": "127.0.0.1"}.get(head, head.removeprefix("[").removesuffix("]"))
        try:
            address = ipaddress.ip_address(host)
            number = int(port) if port.isascii() and port.isdecimal() else -1
        except ValueError:
            address, number = None, -1
        # What IPv6 has for addresses of IPv4, or with a scope, is written in too many ways to compare names with.
        is_loopback = address is not None and (address.is_loopback if address.version == 4 else host == "::1")
        if not is_loopback or not 0 <= number <= 65535:
            raise PatchError(
                "the page cannot be served there",
                found=spelled(text),
                expected="a port, or a loopback address and a port: 8080, 127.0.0.1:8080, localhost:8080, [::1]:8080",
                action="name a port of this machine alone; to look from another one, forward it: "
                "ssh -L 8080:127.0.0.1:8080 HOST",
            )
        return cls(host, number)

    def __str__(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host


class Page:
    """A page: ``/`` is what `made` makes of what `look` gives, and ``/status.json`` that as JSON.

    What `look` raises, if it is one of livepatch's errors, is told as text.  It is shown to this process's own user and
    to root, and to the user who has called ``sudo``.

    Raises :class:`NodeError` if the port cannot be had.
    """

    def __init__(
        self,
        look: Callable[[], Mapping[str, Any]],
        made: Callable[[Mapping[str, Any]], str],
        place: Place = Place(),
        *,
        limits: Limits = Limits(),
    ) -> None:
        try:
            self._server = _Server(look, made, place, limits)
        except (OSError, OverflowError) as error:
            raise NodeError(
                "the page cannot be served",
                found=f"port {place.port} of {place.host}: {error}",
                expected="a port of this machine that is free, 1 to 65535, or none",
                action="choose another port",
            ) from error

    @property
    def address(self) -> str:
        """Where it is."""
        return f"http://{self._server.place}:{self._server.server_port}/"

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

    def __init__(
        self,
        look: Callable[[], Mapping[str, Any]],
        made: Callable[[Mapping[str, Any]], str],
        place: Place,
        limits: Limits,
    ) -> None:
        self.address_family = AF_INET6 if ":" in place.host else AF_INET
        super().__init__((place.host, place.port), _Handler)
        self.made = made
        self.place = place
        self.limits = limits
        self.shown_to = whose()
        # A page of another site cannot have its own name lead here: it would be in this header.
        names = {str(place), "localhost"}
        self.names = {f"{name}:{self.server_port}" for name in names} | (names if self.server_port == 80 else set())
        self._look = look
        self._turn = threading.Lock()
        self._seen: tuple[float, Mapping[str, Any] | LivepatchError] | None = None
        self._rooms = {
            True: threading.BoundedSemaphore(limits.at_once),
            False: threading.BoundedSemaphore(limits.strangers),
        }
        self._taken: dict[Any, bool] = {}
        """The connections that are answered, and whether those who ask are shown the page."""

    def server_bind(self) -> None:
        """Have the port.  Unlike the class above, without asking for the name of the address."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.server_address[:2]  # type: ignore[assignment]  # it is no path

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer in a thread of its own, if there is room."""
        known = owner(client_address[:2], request.getsockname()[:2]) in self.shown_to
        if not self._rooms[known].acquire(blocking=False):
            with suppress(OSError):
                request.setblocking(False)
                request.send(b"HTTP/1.0 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            self.shutdown_request(request)
            return
        self._taken[request] = known
        try:
            super().process_request(request, client_address)
        except BaseException:  # no room for a thread
            self._let_go(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In that thread."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._let_go(request)

    def _let_go(self, request: Any) -> None:
        self._rooms[self._taken.pop(request)].release()

    def shows(self, request: Any) -> bool:
        """Whether who asks is shown the page."""
        return self._taken[request]

    def told(self) -> Mapping[str, Any]:
        """What the page is about, looked at by one at a time and not too often.  Raises :class:`LivepatchError`."""
        if not self._turn.acquire(timeout=self.limits.seconds):
            raise NodeError(
                "the page cannot be made now",
                found="a look that others have asked for and that takes long",
                expected="an answer within seconds",
                action="try again",
            )
        try:
            if self._seen is None or time.monotonic() - self._seen[0] >= self.limits.fresh:
                seen: Mapping[str, Any] | LivepatchError
                try:
                    seen = self._look()
                except LivepatchError as error:
                    seen = error
                self._seen = time.monotonic(), seen
            found = self._seen[1]
        finally:
            self._turn.release()
        if isinstance(found, LivepatchError):
            raise found
        return found

    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002  # as it is called
        """A browser that goes away is no news."""
        error = exc_info()[1]
        if not isinstance(error, OSError):
            emit("page_failed", level="error", error=type(error).__qualname__)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "livepatch"
    sys_version = ""
    default_request_version = "HTTP/1.0"  # and none of those before it, whose answers have no head
    # Until a request is read:
    command = ""
    requestline = ""
    request_version = "HTTP/1.0"

    def handle(self) -> None:
        """Answer one request, once all of its head has come."""
        head = self._head()
        if isinstance(head, HTTPStatus):
            self._plain(head, head.phrase)
        elif head:
            self.rfile = io.BufferedReader(io.BytesIO(head))
            self.handle_one_request()

    def _head(self) -> bytes | HTTPStatus:
        """The line and the headers of a request; nothing if it ends before, or a status for what is too much."""
        end = time.monotonic() + self.server.limits.seconds
        data = bytearray()
        while b"\n\r\n" not in data[-4096 - 3 :] and b"\n\n" not in data[-4096 - 3 :]:
            left = end - time.monotonic()
            if len(data) >= self.server.limits.head:
                return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            if left <= 0:
                return HTTPStatus.REQUEST_TIMEOUT
            self.connection.settimeout(left)
            try:
                chunk = self.connection.recv(4096)
            except TimeoutError:
                continue
            if not chunk:
                return b""
            data += chunk
        return bytes(data)

    def do_GET(self) -> None:
        """Answer."""
        self._answer()

    def do_HEAD(self) -> None:
        """Answer without the page."""
        self._answer()

    def _answer(self) -> None:
        if not self.server.shows(self.request):
            self._plain(HTTPStatus.FORBIDDEN, "this page is shown to the user who serves it")
            return
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or hosts[0].strip().lower() not in self.server.names:
            self._plain(HTTPStatus.MISDIRECTED_REQUEST, "this page is for this machine")
            return
        if self.path not in ("/", "/status.json"):
            self._plain(HTTPStatus.NOT_FOUND, "/ or /status.json")
            return
        try:
            told = self.server.told()
        except LivepatchError as error:
            self._plain(HTTPStatus.SERVICE_UNAVAILABLE, str(error))
            return
        if self.path == "/":
            self._send(HTTPStatus.OK, "text/html; charset=utf-8", self.server.made(told))
        else:
            self._send(HTTPStatus.OK, "application/json", json.dumps(told, sort_keys=True))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002  # as it is called
        """What is no request, or one of another kind."""
        self.close_connection = True
        self._plain(HTTPStatus(code), HTTPStatus(code).phrase)

    def _plain(self, status: HTTPStatus, text: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{text}\n")

    def _send(self, status: HTTPStatus, kind: str, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        self.connection.settimeout(self.server.limits.seconds)
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(data)),
            "Content-Security-Policy": POLICY,
            "Cross-Origin-Resource-Policy": "same-origin",
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
            "Connection": "close",
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Who looks is no news."""
