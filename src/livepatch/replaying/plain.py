"""Plain values as bytes, between the process that replays and the two that run: msgpack, with tuples and large ints."""

from __future__ import annotations

from typing import Any

import msgpack

__all__ = ["PLAIN", "pack", "unpack", "unpacker"]

PLAIN = (type(None), bool, int, float, str, bytes)
_TUPLE, _INT, _TEXT = 1, 2, 3


def pack(value: object) -> bytes:
    """The bytes of a plain value, or of lists, tuples and dicts of such."""
    packed: bytes = msgpack.packb(_writable(value), strict_types=True)
    return packed


def unpack(data: bytes) -> Any:
    """The value of such bytes."""
    return msgpack.unpackb(data, ext_hook=_read, **_HOW)


def unpacker(file: Any = None) -> msgpack.Unpacker:
    """What reads such values one after the other, from a file or from what it is fed."""
    return msgpack.Unpacker(file, ext_hook=_read, max_buffer_size=2**31 - 1, **_HOW)


_HOW: dict[str, Any] = {"strict_map_key": False, "raw": False}


def _writable(value: Any) -> Any:
    kind = type(value)
    if kind is int and not -(2**63) <= value < 2**64:
        return msgpack.ExtType(_INT, value.to_bytes((value.bit_length() + 8) // 8, "big", signed=True))
    if kind is str and not value.isascii():
        # Half of a surrogate pair is a text for Python, and none for UTF-8.
        return msgpack.ExtType(_TEXT, value.encode("utf-8", "surrogatepass"))
    if kind is tuple:
        return msgpack.ExtType(_TUPLE, pack(list(value)))
    if kind is list:
        return [_writable(item) for item in value]
    if kind is dict:
        return {_writable(key): _writable(item) for key, item in value.items()}
    return value


def _read(code: int, data: bytes) -> object:
    if code == _INT:
        return int.from_bytes(data, "big", signed=True)
    return str(data, "utf-8", "surrogatepass") if code == _TEXT else tuple(unpack(data))
