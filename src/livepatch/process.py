"""The public calls: check, apply, switch, revert, and how things stand.

A patched function may itself apply and revert: its own call ends on the code that it began with.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from types import CellType, FunctionType
from typing import Literal, NamedTuple

from livepatch import standing
from livepatch.arguments import check_consistency, check_mode, check_patch, check_seconds, check_text, names_of
from livepatch.engine import code
from livepatch.engine.locate import find
from livepatch.engine.refusal import Refusal
from livepatch.engine.stack import Mode
from livepatch.errors import BundleError, IncompatibleError, PatchError, spelled
from livepatch.live import Record, live, unknown
from livepatch.patch import Patch, Target
from livepatch.report import Report
from livepatch.standing import Status, Verification

__all__ = ["Applied", "Flags", "apply", "check", "fingerprint", "flags", "revert", "status", "verify"]

# A look may have to go through the heap, which stops other threads: at most a fiftieth of the time goes into looking.
_RARELY = 50
_WAIT = 30.0  # seconds that a call without a timeout of its own waits for another thread's switch


def check(patch: Patch) -> Report:
    """Say whether `patch` may go into this process, what it would touch and who calls that.  Never changes anything.

    Raises :class:`TypeError` if it is no patch, :class:`TransitionError` while another switch does not end.
    """
    check_patch(patch)
    return live.transact(_WAIT, lambda: live.examine(patch, (), callers=True)[0])


def fingerprint(target: str | FunctionType) -> str:
    """The pin of the live function at ``"module:qualified.name"``, for ``replace(…, expect=…)``.

    It covers the code in memory and plain default values, and holds for this Python version and ``-O`` setting.
    Raises :class:`PatchError` if there is no such function; changes nothing.
    """
    if isinstance(target, FunctionType):
        return code.fingerprint(target)
    found = find(Target.parse(target), sys.modules)
    if isinstance(found, Refusal):
        raise PatchError(
            f"{target} has no fingerprint", found=found.found, expected=found.expected, action=found.action
        )
    if found.function is not None:
        return code.fingerprint(found.function)
    return code.fingerprint(FunctionType(found.code, {}, closure=tuple(CellType() for _ in found.code.co_freevars)))


def apply(
    patch: Patch | str | os.PathLike[str],
    *,
    mode: Mode = "on",
    consistency: Literal["immediate"] | None = None,
    timeout: float = 30.0,
    trust: object = None,
    policy: object = None,
    replaces: Iterable[str] = (),
) -> Applied:
    """Put `patch` into this process, in one step that no other thread sees half done; with ``mode="off"`` dormant.

    `timeout` is how many seconds to wait for another switch to end.  `replaces` names applied patches that this one
    takes the place of in the same step.  Returns once the new side is live; calls that are running end on the old one.

    Raises :class:`IncompatibleError`, which carries the whole report, :class:`TransitionError`, or
    :class:`TypeError` and :class:`PatchError` for a wrong argument.  Whatever is raised, every live object is
    identical to what it was before.
    """
    if isinstance(patch, (str, os.PathLike)):
        raise BundleError(
            "patch files cannot be read by this version",
            found=spelled(os.fspath(patch)),
            expected="a livepatch.Patch",
            action="describe the fix as a Patch in code",
        )
    check_patch(patch)
    check_mode(mode)
    check_consistency(consistency)
    check_seconds("timeout", timeout)
    for argument, value in (("trust", trust), ("policy", policy)):
        if value is not None:
            raise TypeError(f"{argument} is for patch files; a Patch made in the process is the process's own code")
    replaced = names_of("replaces", replaces)
    begun = time.perf_counter()

    def body() -> Applied:
        report, found = live.examine(patch, replaced, callers=False)
        if not report.ok:
            raise IncompatibleError(report)
        return Applied(live.put_in(patch, mode, replaced, report=report, found=found, begun=begun))

    return live.transact(timeout, body)


def revert(id: str) -> Status:  # noqa: A002  # the patch's own word for it
    """Take out the patch with that id: the very objects that were there before come back.

    Patches may be taken out in any order; what remains decides.  Twice is harmless.  What others have changed in the
    meantime is left alone and named in the returned status.  Raises :class:`UnknownPatchError` for an id that was
    never applied.
    """
    check_text("id", id)

    def body() -> Status:
        gone = live.reverted.get(id)
        return gone if gone is not None and id not in live.records else live.take_out(live.record(id))

    return live.transact(_WAIT, body)


def status() -> tuple[Status, ...]:
    """Every applied patch, newest last."""
    records = live.records
    every = [live.status(records[layer.patch_id]) for layer in live.state.stack.layers if layer.patch_id in records]
    return tuple(each for each in every if each.state != "reverted")  # a revert may overtake the look


def verify() -> Verification:
    """Whether every target still is what the stack of patches says; the findings name who probably changed it."""
    return standing.verified(live.state, sys.modules)


class Applied:
    """An applied patch: its mode, how it stands, and the way back."""

    def __init__(self, record: Record) -> None:
        self._record = record

    @property
    def id(self) -> str:
        """The patch's id."""
        return self._record.id

    @property
    def flag(self) -> str:
        """The name of its flag."""
        return self._record.flag

    @property
    def patch(self) -> Patch:
        """The patch itself."""
        return self._record.patch

    @property
    def report(self) -> Report:
        """The report on which the patch went in."""
        return self._record.report

    @property
    def switch_seconds(self) -> float:
        """How long the stores of the apply took."""
        return self._record.switch_seconds

    @property
    def mode(self) -> Mode:
        """``"on"`` or ``"off"``.  Setting it is one atomic switch.

        Raises :class:`PatchError` for another mode, :class:`UnknownPatchError` once reverted, and
        :class:`TransitionError`; then nothing has changed.
        """
        layer = live.state.stack.layer(self.id)
        return layer.mode if layer is not None and self._is_applied() else "off"

    @mode.setter
    def mode(self, mode: Mode) -> None:
        check_mode(mode)

        def body() -> None:
            if not self._is_applied():
                raise unknown("patch", self.id, live.records)
            live.set_mode(self._record, mode)

        live.transact(_WAIT, body)

    def status(self) -> Status:
        """How the patch stands now."""
        return live.status(self._record) if self._is_applied() else self._gone()

    def revert(self) -> Status:
        """Take the patch out; see :func:`livepatch.revert`.  From any thread; twice is harmless."""
        return live.transact(_WAIT, lambda: live.take_out(self._record) if self._is_applied() else self._gone())

    def wait(self, timeout: float | None = None) -> bool:
        """Wait up to `timeout` seconds until no call is left on the other side; say whether that is so."""
        if timeout is not None:
            check_seconds("timeout", timeout)
        end = float("inf") if timeout is None else time.monotonic() + timeout
        pause = 0.001
        while not (look := _look(self)).drained:
            left = end - time.monotonic()
            if left <= 0:
                return False
            pause = max(min(pause * 2, 0.1), look.seconds * _RARELY)
            time.sleep(min(pause, left))
        return True

    async def settled(self) -> None:
        """Wait, in asyncio, until no call is left on the other side."""
        import asyncio

        pause = 0.001
        while not (look := _look(self)).drained:
            pause = max(min(pause * 2, 0.1), look.seconds * _RARELY)
            await asyncio.sleep(pause)

    def _is_applied(self) -> bool:
        return live.records.get(self.id) is self._record

    def _gone(self) -> Status:
        known = live.reverted.get(self.id)
        return known if known is not None else self._record.gone()

    def __repr__(self) -> str:
        return f"<livepatch.Applied {self.id} {self.mode if self._is_applied() else 'reverted'}>"


class _Look(NamedTuple):
    drained: bool
    seconds: float


def _look(applied: Applied) -> _Look:
    """See whether a patch is drained, and what seeing it took."""
    begun = time.perf_counter()
    return _Look(applied.status().drained, time.perf_counter() - begun)


class Flags(Mapping[str, Mode]):
    """The flags of the applied patches: ``flags[name]`` is a mode, and setting it switches the patch."""

    def __getitem__(self, name: str) -> Mode:
        check_text("flag", name)
        layer = live.state.stack.layer(live.flagged(name).id)
        return layer.mode if layer is not None else "off"

    def __setitem__(self, name: str, mode: Mode) -> None:
        check_text("flag", name)
        check_mode(mode)
        live.transact(_WAIT, lambda: live.set_mode(live.flagged(name), mode))

    def __iter__(self) -> Iterator[str]:
        return iter([record.flag for record in live.records.values()])

    def __len__(self) -> int:
        return len(live.records)

    def __contains__(self, name: object) -> bool:
        return any(record.flag == name for record in live.records.values())

    def __repr__(self) -> str:
        flags = {record.id: record.flag for record in live.records.values()}
        modes = {flags[layer.patch_id]: layer.mode for layer in live.state.stack.layers if layer.patch_id in flags}
        return f"<livepatch.flags {modes}>"


flags = Flags()
