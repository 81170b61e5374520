"""The whole life of a patch, held against the process of before; and a probe held against both sides."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from livepatch.engine.modes import Mode, spelled_mode
from livepatch.errors import ExpectationError, PatchError, spelled
from livepatch.patch import Patch
from livepatch.process.applied import Applied, verify
from livepatch.testing.guard import Guard, not_as_before, wait_until_settled
from livepatch.testing.probing import Probe, alike, check_probe, steady_answer, told

__all__ = ["Cycled", "Switched", "assert_switches", "cycle"]

_SETTLE = 10.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Cycled:
    """That so many cycles were made, each of which left the process as it was."""

    patch: str
    cycles: int

    def __str__(self) -> str:
        return f"{self.patch}: {self.cycles} cycles, each time as before"


def cycle(patch: Patch, n: int = 1, *, probe: Probe | None = None, **options: Any) -> Cycled:
    """Apply `patch`, switch it off and on and revert it, `n` times; each time all must be as before, by identity.

    While it is off all must be as before, too.  With a `probe`, its answers must be one while the patch is on and one
    while it is not, in every cycle.  `options` are those of :func:`livepatch.apply`.

    Raises :class:`ExpectationError` if anything is otherwise, whatever `apply` raises, and :class:`PatchError` or
    :class:`TypeError` for a wrong argument; the patch is taken out.
    """
    if isinstance(n, bool) or not isinstance(n, int):
        raise TypeError(f"n must be an int, not {spelled(n)}")
    if n < 1:
        raise PatchError("no cycle was asked for", found=f"n={n}", expected="1 or more", action="give a number")
    if "mode" in options:
        raise PatchError(
            "a cycle has modes of its own",
            found=f"mode={spelled(options['mode'])}",
            expected="no mode: it goes on, off and on",
            action="leave it out",
        )
    if probe is not None:
        check_probe("probe", probe)
    off = steady_answer(probe) if probe is not None else None
    on = None
    for _ in range(n):
        with Guard(timeout=_SETTLE) as guard:
            applied = guard.apply(patch, **options)
            _must_verify(applied)
            if probe is not None:
                on = on or steady_answer(probe)
            for mode in ("off", "on"):
                _set(applied, mode)
                if mode == "off" and (troubles := guard.differences()):
                    raise not_as_before(troubles)
                wanted = off if mode == "off" else on
                if probe is not None and wanted is not None:
                    _must_answer(probe, wanted, f"while {patch.id} is {mode}")
        if probe is not None and off is not None:
            _must_answer(probe, off, f"after the revert of {patch.id}")
    return Cycled(patch=patch.id, cycles=n)


@dataclass(frozen=True, slots=True, kw_only=True)
class Switched:
    """What a probe answered without the patch, and with it."""

    patch: str
    off: str
    on: str

    def __str__(self) -> str:
        return f"{self.patch}: {self.off} without it, {self.on} with it"


def assert_switches(patch: Patch, probe: Probe, **options: Any) -> Switched:
    """Hold the answers of `probe` to the patch: they differ with and without it, and are as before when it is out.

    `probe` takes nothing, and returns or raises; a coroutine function will do.  Answers are the same if they are equal
    and of one type, or exceptions of one type and text.  It is asked twice each time.  `options` are those of
    :func:`livepatch.apply`.

    Raises :class:`ExpectationError` if that does not hold, or anything is not as it was, whatever `apply` raises, and
    :class:`TypeError` for a wrong argument; the patch is taken out.
    """
    check_probe("probe", probe)
    off = steady_answer(probe)
    with Guard(timeout=_SETTLE) as guard:
        applied = guard.apply(patch, **options)
        on = steady_answer(probe)
        if alike(off, on):
            raise ExpectationError(
                f"the probe does not notice {patch.id}",
                found=f"{told(off)} without it and with it",
                expected="another answer with the patch",
                action="ask for what the patch changes; or see whether the patch does change it",
            )
        _set(applied, "off")
        _must_answer(probe, off, f"while {patch.id} is off")
        _set(applied, "on")
        _must_answer(probe, on, f"while {patch.id} is on again")
    _must_answer(probe, off, f"after the revert of {patch.id}")
    return Switched(patch=patch.id, off=told(off), on=told(on))


def _set(applied: Applied, mode: Mode) -> None:
    applied.mode = mode
    if not wait_until_settled(_SETTLE):
        raise ExpectationError(
            f"{applied.id} does not settle as {spelled_mode(mode)}",
            found=str(applied.status()),
            expected=f"no call on the other side within {_SETTLE:g} s",
            action="end what runs there before the switch",
        )


def _must_verify(applied: Applied) -> None:
    verified = verify()
    if not verified:
        raise ExpectationError(
            f"{applied.id} is not wholly in place",
            found=str(verified),
            expected="every place to hold what the patches say",
            action="see who writes to it",
        )


def _must_answer(probe: Probe, wanted: Any, when: str) -> None:
    answer = steady_answer(probe)
    if not alike(answer, wanted):
        raise ExpectationError(
            f"the probe answers otherwise {when}",
            found=told(answer),
            expected=told(wanted),
            action="see what of the patch, or of the probe, outlives the switch",
        )
