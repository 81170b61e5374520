"""What went wrong, grouped by who must act.

Every error says what was found, what was expected and what to do.  All of them derive from
:class:`LivepatchError`; where a caller would reach for a builtin (``ValueError``, ``LookupError``,
``TimeoutError``), the error is one of those too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from livepatch.compat.report import Report

__all__ = [
    "AuditError",
    "BundleError",
    "ExpectationError",
    "IncompatibleError",
    "LivepatchError",
    "NodeError",
    "PatchError",
    "PeerError",
    "PolicyError",
    "ProtectedError",
    "RolloutError",
    "StateError",
    "TransitionError",
    "TrustError",
    "UnknownPatchError",
    "UntrustedFileError",
    "counted",
    "shortened",
    "spelled",
]


_PLAIN = (type(None), bool, int, float, complex, str, bytes)
_KEY = "PRIVATE KEY"  # what is in the first line of every private key in PEM


def spelled(value: object) -> str:
    """A value in a few characters.  Only plain values are shown: any other's ``repr`` is somebody's code.

    A private key, given where something else is meant, is not shown either.
    """
    if type(value) not in _PLAIN:
        return f"a {type(value).__module__}.{type(value).__qualname__}"
    if (isinstance(value, str) and _KEY in value) or (isinstance(value, bytes) and _KEY.encode() in value):
        return "a private key"
    if type(value) is int and value.bit_length() > 200:
        return f"an int of {value.bit_length()} bits"
    text = repr(value if not isinstance(value, (str, bytes)) else value[:100])
    return text if len(text) <= 60 else text[:57] + "..."


def counted(number: int, noun: str) -> str:
    """``1 call``, ``2 calls``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def shortened(text: str, most: int) -> str:
    """A text of at most so many characters, with a mark where it was cut."""
    return text if len(text) <= most else text[: most - 1] + "…"


class LivepatchError(Exception):
    """The base of every error that livepatch raises on purpose.

    ``found``, ``expected`` and ``action`` hold the three parts of the message for programs.
    """

    def __init__(self, message: str, *, found: str = "", expected: str = "", action: str = "") -> None:
        self.found = found
        self.expected = expected
        self.action = action
        parts = [message]
        if found:
            parts.append(f"found: {found}")
        if expected:
            parts.append(f"expected: {expected}")
        if action:
            parts.append(f"do: {action}")
        super().__init__("; ".join(parts))


# The author of the patch must act.


class PatchError(LivepatchError, ValueError):
    """A patch is described wrongly (an id, a target path, a version specifier, a replacement).

    Raised while a patch is being written; nothing in the process has changed.
    """


class BundleError(LivepatchError, ValueError):
    """A patch file cannot be read or written.  Nothing in the process has changed."""


# The operator must act: this process is not the one that the patch was made for.


class IncompatibleError(LivepatchError):
    """The patch does not fit this process.  ``report`` says all that was found.

    Every live object is identical (``is``) to what it was before the call.  The three parts are those of the first
    finding that refuses it.
    """

    def __init__(self, report: Report) -> None:
        self.report = report
        super().__init__(str(report))
        for finding in report.errors[:1]:
            self.found, self.expected, self.action = finding.found, finding.expected, finding.action


class UnknownPatchError(LivepatchError, KeyError):
    """No applied patch, or no flag, has that name in this process.  Nothing has changed."""

    def __str__(self) -> str:
        return str(self.args[0])  # a KeyError would show it quoted


class RolloutError(LivepatchError):
    """A rollout must not start as it is planned.  Nothing has changed on any node.

    ``problems`` has all the reasons; the three parts are those of the first.
    """

    def __init__(
        self,
        message: str,
        *,
        problems: Sequence[object] = (),
        found: str = "",
        expected: str = "",
        action: str = "",
    ) -> None:
        self.problems = tuple(problems)
        super().__init__(message, found=found, expected=expected, action=action)


class TransitionError(LivepatchError):
    """A switch could not be made now.  Every live object is identical to what it was before the call.

    ``timeout`` is the number of seconds that were waited, or ``None`` if waiting would not have helped.
    """

    def __init__(
        self,
        message: str,
        *,
        timeout: float | None = None,
        found: str = "",
        expected: str = "",
        action: str = "",
    ) -> None:
        self.timeout = timeout
        super().__init__(message, found=found, expected=expected, action=action)


class StateError(LivepatchError):
    """Data that a patch changes, or the store of a node, could not be changed, restored or read.

    The message says whether everything is as it was before; if it is not, what was done and how to go on.
    """


class NodeError(LivepatchError):
    """A node cannot be asked, did not answer as a node does, or the agent of this process cannot serve.

    The message says whether what was asked for may have been done all the same.
    """


# Another node must act.


class PeerError(LivepatchError, ValueError):
    """A peer said of itself what cannot be read.  Nothing has changed, and this node may go on without it."""


# Whoever governs must act.


class TrustError(LivepatchError):
    """A patch file is not approved by the keys that this process trusts.  Nothing was compiled."""


class UntrustedFileError(TrustError, BundleError):
    """A file cannot be read as the signed file that it is said to be: too large, malformed, or of another kind.

    Nothing of it was compiled, and nothing in the process has changed.
    """


class PolicyError(LivepatchError):
    """Policy forbids this.  Nothing in the process has changed."""


class ProtectedError(IncompatibleError, PolicyError):
    """Policy forbids the patch.  ``report`` says all that was found.  Nothing in the process has changed."""


class AuditError(LivepatchError):
    """The record of actions cannot be written or does not hold.  The action was not taken."""


# Whoever tests a patch must act.


class ExpectationError(LivepatchError, AssertionError):
    """A patch does not do what its test expects.  The patch was taken out again."""
