"""The library as a test uses it: what the test applies is taken out at its end, and all must be as it was before."""

from __future__ import annotations

import contextlib
import os
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from livepatch.engine.modes import spelled_mode
from livepatch.errors import ExpectationError, LivepatchError
from livepatch.patch import Patch
from livepatch.process.applied import Applied, revert, status
from livepatch.process.arguments import check_seconds
from livepatch.process.live import live
from livepatch.process.public import apply
from livepatch.testing.picture import Picture

if TYPE_CHECKING:
    from livepatch.testing.cycles import Cycled, Switched

__all__ = ["Guard", "wait_until_settled"]


def wait_until_settled(timeout: float) -> bool:
    """Wait up to `timeout` seconds until no switch is open; say whether that is so."""
    end = time.monotonic() + timeout
    while live.state.open is not None:
        if time.monotonic() >= end:
            return False
        time.sleep(0.001)
    return True


class Guard:
    """Everything that ``import livepatch`` gives, with an :meth:`apply` that is taken back when the guard ends.

    A context manager.  At its end the patches that came since are reverted, newest first, whoever applied them, and
    :class:`ExpectationError` is raised if anything is not the very object (``is``) that it was: code, defaults and the
    other attributes of every function of the modules that a patch changes, their classes, and every place that a patch
    wrote, aliases in other modules among them.  So it is if calls do not leave the patch within `timeout` seconds.
    """

    def __init__(self, *, timeout: float = 10.0) -> None:
        check_seconds("timeout", timeout)
        self._timeout = timeout
        self._before = live.state.stack
        self._modes = {each.id: each.mode for each in status()}
        self._picture = Picture()
        self._closing = contextlib.ExitStack()
        live.observers.add(self)

    def __getattr__(self, name: str) -> Any:
        # A name of the public module, which stands above this room; whoever has this object has imported it.
        import sys

        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(sys.modules["livepatch"], name)

    def apply(self, patch: Patch | str | os.PathLike[str], **options: Any) -> Applied:
        """:func:`livepatch.apply`; of what it writes it is noted what was there before."""
        applied = apply(patch, **options)
        self._note(applied.id)
        return applied

    def before_apply(self, patch: Patch) -> None:
        """Look at what a patch will change, whoever applies it."""
        self._picture.take_of(patch)

    def watch(self, *modules: str) -> None:
        """Look at what imported modules hold now, so that it must be the same at the end."""
        self._picture.take(modules)

    def cycle(self, patch: Patch, n: int = 1, **options: Any) -> Cycled:
        """:func:`livepatch.testing.cycle`."""
        from livepatch.testing.cycles import cycle

        return cycle(patch, n, **options)

    def assert_switches(self, patch: Patch, probe: Any, **options: Any) -> Switched:
        """:func:`livepatch.testing.assert_switches`."""
        from livepatch.testing.cycles import assert_switches

        return assert_switches(patch, probe, **options)

    def _note(self, patch_id: str) -> None:
        self._picture.take_written(live.state.stack, patch_id, self._before)

    def differences(self) -> tuple[str, ...]:
        """What of the patches' places is another object than before, in words."""
        return tuple(self._picture.differences())

    def before_end(self, context: contextlib.AbstractContextManager[object]) -> None:
        """Enter a context, and leave it before anything is taken out."""
        self._closing.enter_context(context)

    def finish(self) -> tuple[str, ...]:
        """Take out what came since; what is then not as it was, in words.  Twice is harmless."""
        self._closing.close()
        live.observers.discard(self)
        troubles: list[str] = []
        # Inside a switch that is open, a revert is a turn; what it was applied over is looked at before that.
        for each in reversed(status()):
            if each.id not in self._modes:
                self._note(each.id)
                try:
                    gone = revert(each.id, timeout=self._timeout)
                except LivepatchError as error:
                    troubles.append(f"{each.id} cannot be taken out: {error}")
                    continue
                troubles += [f"changed by others: {place}" for place in gone.foreign]
                troubles += [f"left on the side of {each.id}: {place}" for place in gone.left]
        if not wait_until_settled(self._timeout):
            troubles.append(f"calls are still on another side after {self._timeout:g} s: {_draining()}")
            return tuple(troubles)
        now = {each.id: each.mode for each in status()}
        for name, mode in self._modes.items():
            if name not in now:
                troubles.append(f"patch {name}, which was there before, is gone")
            elif now[name] != mode:
                troubles.append(f"patch {name} was {spelled_mode(mode)} before, and is {spelled_mode(now[name])}")
        troubles += self._picture.differences()
        return tuple(dict.fromkeys(troubles))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        troubles = self.finish()
        if troubles and error is not None:
            error.add_note("\n".join([_HEAD, *troubles]))
        elif troubles:
            raise not_as_before(troubles)


def _draining() -> str:
    """How those patches stand whose calls have not ended."""
    gone = [live.draining.told(live.reverted[name]) for name in live.draining.about if name in live.reverted]
    return "; ".join(str(each) for each in (*status(), *gone) if not each.drained) or "they have just ended"


_HEAD = "the process is not as it was before the patches"


def not_as_before(troubles: tuple[str, ...]) -> ExpectationError:
    """The error that says so."""
    return ExpectationError(
        _HEAD,
        found="\n  ".join(["", *troubles]).rstrip(),
        expected="the very objects that were there before",
        action="see what of the test, or of the patch, changes these places and does not put them back",
    )
