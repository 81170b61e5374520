"""The tools import one another as scripts do: from their own folder."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(
    str(Path(__file__).resolve().parents[2] / "tools")
)  # last: one of them is called as a standard module is
