"""Which texts of a patch others may see: an allow-list.  What is not named here stays in the file and in reports.

A fix tells whoever reads it where the hole is, so events, the record and statuses take these texts alone.
"""

from __future__ import annotations

from typing import Final

__all__ = ["PUBLIC"]

PUBLIC: Final = ("id", "package", "versions", "summary", "flag", "requires", "compatible_with")
"""Fields of :class:`livepatch.Patch`."""
