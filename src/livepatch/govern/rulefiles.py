"""Files with rules, read from wherever somebody says they are."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from livepatch.compat.tables import LARGEST
from livepatch.errors import PolicyError, spelled

__all__ = ["read_rules"]


def read_rules(
    path: Path, source: str, noun: str = "policy", *, kind: str = "a TOML file", most: int = LARGEST
) -> bytes:
    """The bytes of a file with rules, one more than `most` of them at most.

    Raises :class:`PolicyError`, which calls it the `noun` of `source`.
    """
    try:
        # A pipe or a device would make the open, or the read, wait.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123  # it is the descriptor that is opened
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                # What it would hold at this moment, perhaps nothing, must not pass for all the rules that there are.
                raise ValueError("no regular file")
            return file.read(most + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise PolicyError(
            f"the {noun} of {source} cannot be read",
            found=f"{spelled(str(path))}: {reason}",
            expected=kind,
            action="correct the path, or put the file there"
            + ("; nothing is applied while a rule cannot be read" if noun == "policy" else ""),
        ) from error
