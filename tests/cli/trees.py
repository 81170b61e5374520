"""A package before and after a fix, as pip installs it."""

from __future__ import annotations

from pathlib import Path

BEFORE = '''\
"""The transactions that wait for a block."""

import math

MAX_SIZE = 4096  # bytes


class Mempool:
    """Waiting transactions."""

    waiting: list

    @property
    def size(self):
        return len(self.waiting)

    @size.setter
    def size(self, value):
        del self.waiting[value:]

    def admit(self, transaction: bytes) -> str:
        """Take a transaction in.

        Whatever its size.
        """
        self.waiting.append(transaction)
        return "admitted"


def fee(size):
    return math.ceil(size / 100)
'''
AFTER = BEFORE.replace("4096  # bytes", "1024").replace(
    "        self.waiting.append",
    '        if len(transaction) > MAX_SIZE:\n            return "refused"\n        self.waiting.append',
)


def tree(root: Path, source: str = BEFORE, version: str = "2.1.0", package: str = "nodeclient") -> Path:
    metadata = root / f"nodeclient-{version}.dist-info" / "METADATA"
    metadata.parent.mkdir(parents=True)
    metadata.write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (root / "nodeclient").mkdir()
    (root / "nodeclient" / "__init__.py").touch()
    (root / "nodeclient" / "mempool.py").write_text(source, encoding="utf-8")
    return root
