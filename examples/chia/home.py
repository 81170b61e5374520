"""Where the example keeps things, and what its processes tell each other.  To be imported before chia."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

HOST = "127.0.0.1"
LIMIT = 10
"""To so many coins a wallet may subscribe."""
READY, IDENTITY = "ready.json", "identity.json"

HOME = Path(os.environ.setdefault("CHIA_SIM_HOME", str(Path(tempfile.gettempdir()) / "chia-home"))).resolve()
HOME.mkdir(parents=True, exist_ok=True)
os.environ["HOME"], os.environ["CHIA_ROOT"] = str(HOME), str(HOME / ".chia" / "mainnet")


def write(path: Path, told: dict[str, Any]) -> None:
    """Write a file that nobody reads half."""
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(told), encoding="utf-8")
    beside.replace(path)
