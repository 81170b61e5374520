"""What is told while it happens, and the promises that are held against what did."""

from __future__ import annotations

import shutil
import textwrap
import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Story:
    """What is printed as it happens, and what is claimed and has to hold."""

    started: float = field(default_factory=time.monotonic)
    claims: list[tuple[bool, str]] = field(default_factory=list)

    def tell(self, who: str, what: str) -> None:
        """Print what happened, line by line, with the second in which it did."""
        head = f"{time.monotonic() - self.started:5.1f}s  {who:<8}  "
        width = max(shutil.get_terminal_size((100, 0)).columns - len(head), 40)
        for line in what.splitlines():
            for part in textwrap.wrap(line, width, subsequent_indent="    ", break_on_hyphens=False):
                print(f"{head}{part}", flush=True)
                head = " " * len(head)

    def claim(self, held: bool, what: str) -> None:
        """Note whether something that the demo promises held."""
        self.claims.append((held, what))

    @property
    def held(self) -> bool:
        """Whether there were claims, and all of them held."""
        return bool(self.claims) and all(held for held, _ in self.claims)


def milliseconds(seconds: float) -> str:
    """Format a duration."""
    return f"{seconds * 1e3:.2f} ms"
