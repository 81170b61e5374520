"""What came of attacks on a patch: a result for each, and evidence for approvals."""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from livepatch.errors import PatchError, counted

if TYPE_CHECKING:
    from livepatch.bundle.keys import Signer

__all__ = ["Attacked", "Result", "Verdict"]

Verdict = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """One attack: its name, with a target where it is made for each; how it ended; and what is to be said of it."""

    name: str
    verdict: Verdict
    said: str = ""

    def __str__(self) -> str:
        return f"{self.verdict:7} {self.name}" + (f": {self.said}" if self.said else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacked:
    """What came of the attacks on a patch.  True if none succeeded; one that was `skipped` proves nothing."""

    patch: str
    digest: str
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Attacks were made, and none has failed."""
        made = [each for each in self.results if each.verdict != "skipped"]
        return bool(made) and all(each.verdict == "passed" for each in made)

    @property
    def failed(self) -> tuple[str, ...]:
        """The names of what failed."""
        return tuple(each.name for each in self.results if each.verdict == "failed")

    @property
    def skipped(self) -> tuple[str, ...]:
        """The names of what was not tried."""
        return tuple(each.name for each in self.results if each.verdict == "skipped")

    @property
    def result(self) -> str:
        """In the words of evidence: ``PASSED``, ``WARNED`` if something was skipped, or ``FAILED``."""
        return "FAILED" if not self.ok else "WARNED" if self.skipped else "PASSED"

    def __bool__(self) -> bool:
        return self.ok

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain values, fit for JSON."""
        results = [asdict(each) for each in self.results]
        return {"patch": self.patch, "digest": self.digest, "ok": self.ok, "result": self.result, "results": results}

    def __str__(self) -> str:
        head = f"{self.patch}: {counted(len(self.results), 'attack')}, {len(self.failed)} failed"
        return "\n  ".join([head + (f", {len(self.skipped)} skipped" if self.skipped else ""), *map(str, self.results)])

    def attest(
        self,
        path: str | os.PathLike[str],
        *,
        key: str | os.PathLike[str] | Signer,
        suite: str = "livepatch-attack",
        passphrase: str | None = None,
        url: str = "",
        output: str | os.PathLike[str] | None = None,
    ) -> Path:
        """Write signed evidence of it for the patch file at `path`, as :func:`livepatch.attest` does.

        Raises :class:`PatchError` if the attacks were on another patch than that in the file, and what that raises.
        """
        from livepatch.bundle.evidence import attest
        from livepatch.bundle.load import load

        origin = load(path).origin
        assert origin is not None
        if origin.digest != self.digest:
            raise PatchError(
                "the attacks were on another patch than that in the file",
                found=f"results for {self.digest or 'a patch that came from no file'}",
                expected=f"results for {origin.digest}",
                action="attack the very file: livepatch.testing.attack(livepatch.load(path, trust=…), …)",
            )
        failed = [name.encode("ascii", "backslashreplace").decode() for name in self.failed]
        return attest(
            path,
            suite=suite,
            key=key,
            passphrase=passphrase,
            result=self.result,
            failed=failed,
            url=url,
            output=output,
        )
