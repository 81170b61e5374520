"""Which user asks over this machine's own network: the system keeps a table of who has which connection.

A port of 127.0.0.1 can be reached by every user of the machine, and by their programs; what is told there may be meant
for one of them.
"""

from __future__ import annotations

import ipaddress
import os
import sys
from pathlib import Path

__all__ = ["owner", "whose"]

_TABLES = {4: Path("/proc/net/tcp"), 6: Path("/proc/net/tcp6")}
_ESTABLISHED = "01"
_LOOKS = 3  # at a table that changes while it is read


def whose() -> frozenset[int]:
    """The ids of users for whom this process shows something: its own, root, and who has called sudo to start it."""
    caller = os.environ.get("SUDO_UID", "")
    known = int(caller) if caller.isascii() and caller.isdecimal() and len(caller) < 11 else os.geteuid()
    return frozenset({0, os.geteuid(), known})


def owner(there: tuple[str, int], here: tuple[str, int]) -> int | None:
    """The id of the user whose connection from `there` to `here` is open; ``None`` if the system does not tell."""
    asked = f"{_written(*there)} {_written(*here)}"
    for _ in range(_LOOKS):
        try:
            rows = _TABLES[ipaddress.ip_address(there[0]).version].read_text("ascii").splitlines()
        except OSError:
            return None
        for row in rows:
            if asked in row:
                columns = row.split()
                return int(columns[7]) if columns[3] == _ESTABLISHED else None
    return None


def _written(host: str, port: int) -> str:
    """As in the table: each word of the address as this machine has it in memory."""
    packed = ipaddress.ip_address(host).packed
    words = (int.from_bytes(packed[start : start + 4], sys.byteorder) for start in range(0, len(packed), 4))
    return f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"
