"""Replays: recorded calls run on the old side and on the new one, each in a fresh interpreter, and compared.

The two share nothing with this process but what is installed: no object of it is touched, and nothing of it is sent.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from livepatch.errors import PatchError, spelled
from livepatch.patch import Patch
from livepatch.process.arguments import check_seconds
from livepatch.replaying.bringing import bring
from livepatch.replaying.comparing import Comparing
from livepatch.replaying.folders import temporary_folder
from livepatch.replaying.inputs import Input, Inputs, check_name_of_place, read_inputs
from livepatch.replaying.plain import pack, unpacker
from livepatch.replaying.replayed import Replayed
from livepatch.replaying.scratch import Scratch
from livepatch.replaying.side import Order
from livepatch.replaying.within import IN_SCRATCH

__all__ = ["replay"]


def replay(
    patch: Patch | str | os.PathLike[str],
    inputs: Inputs,
    *,
    activation: int | None = None,
    declared: Iterable[str] = (),
    observe: Iterable[str] = (),
    setup: str | None = None,
    timeout: float = 30.0,
    trust: object = None,
) -> Replayed:
    """Run recorded calls without `patch` and with it, each side in a scratch process, and say where they differ.

    A scratch process is a fresh interpreter that imports the package as installed.  `patch` is one that is built or
    loaded, the path of a patch file (then `trust` as for :func:`livepatch.apply`), or ``"module:name"`` of a patch
    written in code, or of a function without parameters that gives it; a patch written in code that a module holds
    under a name may be given itself.

    `inputs` is a file of JSON lines or of msgpack maps, or an iterable of mappings: each with the ``target`` that is
    called (``"module:name"``), its ``args`` and ``kwargs``, plain values all, and perhaps the ``height`` at which it
    was recorded, and whether it ``differs``.  They are run in order, so that state grows as it did.  After each the
    answers are compared, what a coroutine or generator gives in the end, or what was raised; and digests of the
    arguments, of the object whose method was called, and of what the names in `observe` lead to (functions are called).
    `setup` names a function that is called on each side first, with nothing.

    Differences have to be declared: for a target with `declared`, which may differ, and for a single input with its own
    ``differs``, which then must.  With an `activation` height the patch is in mode ``at``, and below that height no
    difference can be declared.

    `timeout` is how many seconds each call, and the beginning, may take on either side; what takes longer ends the
    replay.  What the calls do to files, except relative paths, and to the network they do, twice.

    Raises :class:`PatchError` or :class:`TypeError` for a wrong argument or input, before anything is run, and for
    names that are not to be had; :class:`TrustError` or :class:`BundleError` for the file; :class:`IncompatibleError`
    if the patch does not go in; :class:`TransitionError` if a side does not begin in time.  This process is unchanged.
    """
    if IN_SCRATCH in os.environ:
        raise PatchError(
            "a replay cannot start another",
            found="a scratch process, in which a module calls livepatch.replay when it is imported",
            expected="a call that is made by the program itself",
            action="put the call below if __name__ == '__main__':",
        )
    check_seconds("timeout", timeout)
    if activation is not None and (type(activation) is not int or not 0 <= activation < 2**63):
        raise PatchError(
            "activation is no height",
            found=spelled(activation),
            expected="a whole number from 0",
            action="give the height from which on the patch is in force",
        )
    may_differ = _names("declared", declared)
    observed = _names("observe", observe)
    begun = time.perf_counter()
    with temporary_folder() as folder:
        brought = bring(patch, trust, folder.joinpath("patch.lpatch"))
        order = Order(
            new=False,
            **dataclasses.asdict(brought),
            setup=check_name_of_place("setup", setup) if setup is not None else "",
            observe=tuple(observed),
            activation=activation,
            inputs=str(folder.joinpath("inputs")),
        )
        order = dataclasses.replace(order, targets=_spooled(inputs, activation, Path(order.inputs)))
        comparing = Comparing(activation, may_differ)
        with ExitStack() as stack:
            old, new = (stack.enter_context(_side(order, new, folder, timeout)) for new in (False, True))
            old.wait_begun()
            patch_id = new.wait_begun()
            _compare(old, new, Path(order.inputs), comparing)
    return comparing.report(patch_id, time.perf_counter() - begun)


def _side(order: Order, new: bool, folder: Path, timeout: float) -> Scratch:  # the two sides
    name = "new" if new else "old"
    return Scratch(f"{name} side", dataclasses.replace(order, new=new), folder / name, timeout)


def _names(argument: str, given: Iterable[str]) -> dict[str, None]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise TypeError(f"{argument} must be names such as ['package.module:name'], not {spelled(given)}")
    return dict.fromkeys(check_name_of_place(argument, name) for name in given)


def _spooled(inputs: Inputs, activation: int | None, path: Path) -> tuple[tuple[str, str], ...]:
    """Read all inputs, and write them down for the sides; the targets, each with where it is first."""
    targets: dict[str, str] = {}
    with path.open("wb") as file:
        for each in read_inputs(inputs, activation):
            targets.setdefault(each.target, each.where)
            file.write(pack(dataclasses.asdict(each)))
    return tuple(targets.items())


# What both tell


def _compare(old: Scratch, new: Scratch, spool: Path, comparing: Comparing) -> None:
    for each in _spool(spool):
        before, after = old.next(), new.next()
        if isinstance(before, str) or isinstance(after, str):
            comparing.ends(each, before, after)
            return
        comparing.take(each, before, after)
    last = new.next()
    comparing.calls = last.get("calls") if isinstance(last, dict) else None


def _spool(path: Path) -> Iterator[Input]:
    with path.open("rb") as file:
        for record in unpacker(file):
            yield Input(**record)
