"""Messages between nodes as bytes: four bytes of length, and JSON with a ``kind``."""

from __future__ import annotations

import json
from asyncio import StreamReader
from typing import Any

LARGEST = 1 << 20
"""Bytes of a message."""


def encode(message: dict[str, Any]) -> bytes:
    """The bytes of a message."""
    data = json.dumps(message, separators=(",", ":")).encode()
    return len(data).to_bytes(4, "big") + data


def decode(data: bytes) -> dict[str, Any]:
    """The message in the bytes after the length.  Raises ValueError."""
    try:
        message = json.loads(data)
    except RecursionError as error:
        raise ValueError("nests too deeply") from error
    if not isinstance(message, dict) or not isinstance(message.get("kind"), str):
        raise ValueError("no message")  # noqa: TRY004  # whatever a peer sends wrongly is one kind of error
    return message


async def receive(reader: StreamReader) -> dict[str, Any]:
    """The next message.  Raises ValueError, and EOFError at the end."""
    size = int.from_bytes(await reader.readexactly(4), "big")
    if size > LARGEST:
        raise ValueError(f"a message of {size} bytes")
    return decode(await reader.readexactly(size))
