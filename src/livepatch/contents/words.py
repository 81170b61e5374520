"""Words that rules and criteria are written in."""

from __future__ import annotations

from typing import Literal

__all__ = ["APPROVERS", "AUTHOR", "CLASSES", "OPERATOR", "RESULTS", "REVIEWER", "STATES", "Class"]

AUTHOR, REVIEWER, OPERATOR = "author", "security-reviewer", "operator"
APPROVERS = (REVIEWER, OPERATOR)
"""The roles in which somebody may approve a patch: whoever wrote it does not."""

Class = Literal["hot-patch", "hot-patch-with-quorum", "full-update"]
CLASSES: tuple[Class, ...] = ("hot-patch", "hot-patch-with-quorum", "full-update")
"""Which way a fix should go.  The gravest last."""

RESULTS = ("PASSED", "WARNED", "FAILED")
"""What may come of a suite of tests."""

STATES = ("none", "attached", "reversible", "irreversible")
"""What becomes of data.  The gravest last."""
