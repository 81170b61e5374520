"""Who may see which part of a patch: every field of its file stands in exactly one of these lists.

A fix tells whoever reads it where the hole is.  So events, the record and statuses take what is listed for them, and
nothing else; what is under embargo is shown to nobody who does not ask for it in so many words before its date.
"""

from __future__ import annotations

from typing import Final

__all__ = ["EMBARGOED", "IN_REPORTS", "OPERATORS", "PUBLIC"]

PUBLIC: Final = ("id", "package", "versions", "summary", "flag", "requires", "compatible_with")
"""Fields of :class:`livepatch.Patch` that anybody may see."""

OPERATORS: Final = ("owners",)
"""What statuses and documents for operators show besides, and those for the public do not."""

IN_REPORTS: Final = (
    "edits", "obstacles", "plan", "needs", "waivers", "round_trips", "snapshots", "pure", "release",
)  # fmt: skip
"""What stays in the file, and in what is printed of the file and of how it fits a process."""

EMBARGOED: Final = ("embargo", "probes")
"""Of these only the date, and the names of probes; the rest after the date, or with ``livepatch show --embargoed``."""
