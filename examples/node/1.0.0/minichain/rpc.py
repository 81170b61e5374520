"""JSON-RPC 2.0 over HTTP, one request a connection, and the metrics beside it."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable, Mapping
from typing import Any

LARGEST_HEAD = 8 << 10
LARGEST_BODY = 1 << 20
PATIENCE = 10.0
"""Seconds that a client has for its request."""

Method = Callable[..., object]


class Rpc:
    """Answers with the methods that it is given; `metrics` is what ``GET /metrics`` gives."""

    def __init__(self, methods: Mapping[str, Method], metrics: Callable[[], str]) -> None:
        self._methods = methods
        self._metrics = metrics
        self.calls = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Handle a connection."""
        with contextlib.suppress(asyncio.CancelledError):  # the node stops, and nobody waits for this task
            await self._serve(reader, writer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, kind, body = await asyncio.wait_for(self._answer(reader), PATIENCE)
            head = (
                f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
            )
            writer.write(head.encode() + body)
            await asyncio.wait_for(writer.drain(), PATIENCE)
        except (OSError, EOFError, asyncio.TimeoutError):  # noqa: UP041  # it is another one before Python 3.11
            pass  # the client has gone, or is too slow
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> tuple[str, str, bytes]:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            line, *rest = head.split("\r\n")
            headers = {name.strip().lower(): value.strip() for name, _, value in (each.partition(":") for each in rest)}
            size = int(headers.get("content-length", "0"))
        except (ValueError, asyncio.LimitOverrunError):
            return "400 Bad Request", "text/plain", b"no request\n"
        if line.startswith("GET /metrics "):
            return "200 OK", "text/plain; version=0.0.4", self._metrics().encode()
        if not line.startswith("POST / "):
            return "404 Not Found", "text/plain", b"POST / or GET /metrics\n"
        if not 0 <= size <= LARGEST_BODY:
            return "413 Content Too Large", "text/plain", b"too large\n"
        return "200 OK", "application/json", json.dumps(self._handle(await reader.readexactly(size))).encode()

    def _handle(self, body: bytes) -> object:
        try:
            request = json.loads(body)
        except (ValueError, RecursionError):
            return _error(None, -32700, "no JSON")
        return [self._call(each) for each in request] if isinstance(request, list) else self._call(request)

    def _call(self, request: Any) -> dict[str, object]:
        self.calls += 1
        if not isinstance(request, dict) or not isinstance(request.get("params", {}), dict):
            return _error(None, -32600, "no request")
        method = self._methods.get(request["method"]) if isinstance(request.get("method"), str) else None
        if method is None:
            return _error(request.get("id"), -32601, "no such method")
        try:
            return {"jsonrpc": "2.0", "id": request.get("id"), "result": method(**request.get("params", {}))}
        except (ValueError, TypeError) as error:
            return _error(request.get("id"), -32602, str(error))


def _error(id_: object, code: int, message: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id_, "error": {"code": code, "message": message}}
