"""What the node has on disk: snapshots that it serves, and a key beside them that it must never serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "key-7f3c"  # noqa: S105 -- the demo's bait
_ARCHIVE = bytes(range(256)) * 64

# Name as served -> bytes. `archive/` is a symbolic link to another disk: what the option is there for.
FILES = {
    "latest.json": b'{"height": 0}\n',
    "state/0001.bin": _ARCHIVE,
    "archive/0000.bin": _ARCHIVE[::-1],
}

# Spellings of one path out of the served directory.
EXPLOITS = (
    "/snapshots/../keys/node.key",
    "/snapshots/%2e%2e/keys/node.key",
    "/snapshots/state/../../keys/node.key",
    "/snapshots/..%2fkeys/node.key",
)


def lay_out(directory: Path) -> None:
    """Write the node's files below a directory."""
    (directory / "keys").mkdir()
    (directory / "keys" / "node.key").write_text(SECRET)
    (directory / "snapshots" / "state").mkdir(parents=True)
    (directory / "other-disk").mkdir()
    (directory / "snapshots" / "archive").symlink_to(directory / "other-disk", target_is_directory=True)
    for name, content in FILES.items():
        (directory / "snapshots" / name).write_bytes(content)
