"""Where policy comes from: the process itself, the packages that are installed, and the operator's file.

Rules are only ever added.  What a client package protects, no file of the operator lays open, and no call in the
process; what somebody protects from code lasts until that very caller lifts it.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from livepatch.compat.patterns import Pattern
from livepatch.compat.policy import Policy, Protected, merged, read_policy
from livepatch.engine.pace import breathe
from livepatch.errors import PolicyError, spelled
from livepatch.govern.rulefiles import read_rules

__all__ = [
    "FILE",
    "GROUP",
    "VARIABLE",
    "Protection",
    "check_policy",
    "policy_in_force",
    "protect",
    "rehearsal",
    "rehearse",
]

FILE = "livepatch.toml"
"""The file that is read from the working directory, if it is there and :data:`VARIABLE` names none."""
VARIABLE = "LIVEPATCH_POLICY"
GROUP = "livepatch.policy"
"""The group of entry points by which a package ships rules: ``name = "package:file.toml"``."""

_protections: list[Protection] = []
_rehearsals: list[bool] = []
"""Whether rules about code hold in each rehearsal."""
_lock = threading.Lock()
_shipped: dict[tuple[str, ...], tuple[Policy, ...]] = {}


class Protection:
    """What :func:`protect` has protected, until :meth:`lift` is called.  A context manager, too."""

    def __init__(self, rule: Protected) -> None:
        self.rule = rule

    @property
    def patterns(self) -> tuple[str, ...]:
        """What it protects, as it was written."""
        return tuple(map(str, self.rule.paths))

    def lift(self) -> None:
        """Take back this one call of :func:`protect`; what other rules protect stays so.  Twice is harmless."""
        with _lock:
            _protections[:] = [other for other in _protections if other is not self]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.lift()

    def __repr__(self) -> str:
        lifted = "" if self in _protections else ", lifted"
        return f"<livepatch.protect {', '.join(self.patterns)}{lifted}>"


def protect(*patterns: str, reason: str = "", approvals: int = 0) -> Protection:
    """Protect code that must be alike in all processes that work together, such as the consensus of a network.

    Each pattern is ``"package.module"`` or ``"package.module:Class.method"``, and is about all that lies below; ``*``
    stands for any characters of one part of a name.  From the next check on, a patch that changes such code, or what it
    calls, is refused unless it goes live at an activation height and claims what it stays compatible with
    (docs/compatibility.md).  `reason` shows in reports; `approvals` is how many people must have approved the patch.

    It lasts for as long as the process, or until the ``lift()`` of what it gives: that is a context manager as well,
    for tests.  Raises :class:`PolicyError` or :class:`TypeError` for a wrong argument, and protects nothing then.
    """
    if not patterns:
        raise TypeError("protect needs one pattern or more, such as 'package.consensus.*'")
    if not isinstance(reason, str):
        raise TypeError(f"reason must be a str, not {spelled(reason)}")
    if isinstance(approvals, bool) or not isinstance(approvals, int):
        raise TypeError(f"approvals must be an int, not {spelled(approvals)}")
    if approvals < 0:
        raise PolicyError(
            "approvals is no number of people",
            found=spelled(approvals),
            expected="0 or more",
            action="say how many people must approve",
        )
    rule = Protected(
        paths=tuple(map(Pattern, patterns)), source="livepatch.protect", reason=reason, approvals=approvals
    )
    made = Protection(rule)
    with _lock:
        _protections.append(made)
    return made


def rehearse(*, code: bool = True) -> None:
    """Ask from here on for nobody's approval and for no time in this process: nothing in it is in use.

    Without `code` there are no rules about code either: what is in the process agrees with no others.  For scratch
    processes alone, in which people see what a patch does before they approve it, or whether it still holds.
    """
    _rehearsals.append(code)


@contextlib.contextmanager
def rehearsal() -> Iterator[None]:
    """Ask for nobody's approval and for no time within: in a process of tests, in which a patch is tried."""
    _rehearsals.append(True)
    try:
        yield
    finally:
        _rehearsals.remove(True)


def check_policy(policy: object) -> None:
    """Raise :class:`TypeError` unless it is a path, or ``None``."""
    if policy is not None and not isinstance(policy, (str, os.PathLike)):
        raise TypeError(f"policy must be the path of a TOML file or None, not {spelled(policy)}")


def policy_in_force(path: str | os.PathLike[str] | None = None) -> Policy:
    """All rules: of ``protect()``, of installed packages, of the operator's file, and of the file at `path`.

    The operator's file is the one that ``$LIVEPATCH_POLICY`` names, else ``livepatch.toml`` in the working directory.
    Files are read anew each time.  Raises :class:`PolicyError` for one that cannot be read: a rule that is not known
    could not be kept.
    """
    if not all(_rehearsals):
        return Policy()
    with _lock:
        called = Policy(protected=tuple(each.rule for each in _protections))
    named = os.environ.get(VARIABLE)
    files = [_read(Path(named), f"{VARIABLE}={named}")] if named else list(_of_the_working_directory())
    if path is not None:
        files.append(_read(Path(path), os.fspath(path)))
    found = merged([called, *_of_packages(), *files])
    return found.about_code() if _rehearsals else found


def _of_the_working_directory() -> Iterator[Policy]:
    try:
        os.lstat(FILE)
    except FileNotFoundError:
        return
    except OSError:
        pass  # reading it says what is wrong
    # A link that leads nowhere, too: rules that cannot be reached must not pass for none.
    yield _read(Path(FILE), FILE)


def _read(path: Path, source: str) -> Policy:
    return read_policy(read_rules(path, source), source)


def _of_packages() -> tuple[Policy, ...]:
    """What installed distributions ship.  They are looked for once for each ``sys.path``; nothing of them is run."""
    paths = tuple(sys.path)
    known = _shipped.get(paths)
    if known is None:
        breathe(now=True)
        points = sorted(importlib.metadata.entry_points(group=GROUP), key=lambda point: (point.name, point.value))
        breathe(now=True)
        known = tuple(_shipped_by(point) for point in dict.fromkeys(points))
        _shipped.clear()
        _shipped[paths] = known
    return known


def _shipped_by(point: importlib.metadata.EntryPoint) -> Policy:
    distribution = point.dist.name if point.dist is not None else point.name
    source = f"{distribution}, entry point {point.name}"
    package, colon, file = point.value.replace(" ", "").partition(":")
    if not colon or not file.endswith(".toml"):
        raise PolicyError(
            f"the policy of {source} is not named",
            found=spelled(point.value),
            expected="'package:file.toml', a file in the folder of the package",
            action=f"correct the entry point of {distribution}",
        )
    for folder in _folders(package):
        path = folder / file
        if path.is_file():
            return _read(path, f"{distribution}, {file}")
    raise PolicyError(
        f"the policy of {source} is not there",
        found=f"no {file} in the folder of {package}",
        expected="the file that the package ships",
        action=f"install {distribution} anew",
    )


def _folders(package: str) -> list[Path]:
    """Where a package lies, without importing any of it."""
    top, *inner = package.split(".")
    module = sys.modules.get(package)
    found = [Path(each) for each in getattr(module, "__path__", ())]
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return found
    locations = (spec.submodule_search_locations if spec is not None else None) or ()
    return [*found, *(Path(each, *inner) for each in locations)]
