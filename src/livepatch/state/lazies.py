"""Lazy migrations: bodies of the new side that take an object up before they do anything with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from livepatch.compat.report import Finding
from livepatch.compat.rows import row
from livepatch.contents.changes import Replacement, Target
from livepatch.contents.edits import replaced_functions
from livepatch.engine.functions import make_function
from livepatch.engine.namespaces import is_class, is_module, namespace_of
from livepatch.engine.pace import breathe
from livepatch.engine.stack import SIDE, Slot
from livepatch.patch import Patch
from livepatch.state.migration import Migration
from livepatch.state.run import Run

__all__ = ["Toucher", "classes_of", "lazy_findings", "make_lazy", "up_to_date"]

# What is called while the object is not yet made, or not any more.
_NEVER = frozenset({"__init__", "__new__", "__del__", "__init_subclass__", "__class_getitem__", "__set_name__"})

_asked: list[tuple[Toucher, ...]] = [()]
"""Whom :func:`up_to_date` asks: one tuple, which is exchanged as a whole."""


class Toucher:
    """Called by a body of the new side with what it was given: takes up what belongs to a lazy migration."""

    __slots__ = ("classes", "run")

    def __init__(self, run: Run, classes: tuple[type, ...]) -> None:
        self.run = run
        self.classes = classes
        """Of which classes the objects are; empty: the run knows them one by one."""

    def __call__(self, *given: object) -> None:  # noqa: D102  # the class says it
        classes = self.classes
        for item in given:
            if not classes or issubclass(type(item), classes):
                self.run.touch(item)


class _All:
    """Several of them, one after another."""

    __slots__ = ("_touchers",)

    def __init__(self, touchers: tuple[Toucher, ...]) -> None:
        self._touchers = touchers

    def __call__(self, *given: object) -> None:
        for toucher in self._touchers:
            toucher(*given)


def up_to_date(item: Any) -> Any:
    """Take an object up if a lazy migration of an applied patch is for it, and give it back.

    For patched code that comes by an object otherwise than as an argument: ``for peer in self.peers:
    livepatch.up_to_date(peer)``.  Raises :class:`StateError` if ``up`` fails for it.
    """
    for toucher in _asked[0]:
        toucher(item)
    return item


def activate(toucher: Toucher) -> None:
    """From now on :func:`up_to_date` asks it."""
    if toucher not in _asked[0]:
        _asked[0] = (*_asked[0], toucher)


def retire(run: Run) -> None:
    """From now on :func:`up_to_date` asks none of the run's."""
    _asked[0] = tuple(toucher for toucher in _asked[0] if toucher.run is not run)


def make_lazy(values: dict[Slot, object], touchers: tuple[Toucher, ...]) -> None:
    """Let the new side of each function take up what it is given, before it runs.  Writes into `values` alone."""
    first = touchers[0] if len(touchers) == 1 else _All(touchers)
    for slot in [slot for slot in values if _is_reached(slot)]:
        breathe()
        values[slot] = _taking_up(slot, values, first)


def _taking_up(slot: Slot, values: dict[Slot, object], first: Any) -> object:
    from livepatch.engine.dispatch import forwarding_code

    function: Any = slot.owner
    defaults, kwdefaults = (values.get(each, getattr(function, each.name)) for each in slot.beside(*SIDE[1:]))
    code: Any = values[slot]
    callee = make_function(
        code,
        function.__globals__,
        function.__closure__ or (),
        defaults,  # type: ignore[arg-type]  # what a function holds there
        kwdefaults,  # type: ignore[arg-type]  # likewise
        behind=True,
    )
    callee.__qualname__ = function.__qualname__
    return forwarding_code(callee, callee, function.__code__.co_freevars, first)


def _is_reached(slot: Slot) -> bool:
    return slot.kind == "function" and slot.name == SIDE[0] and not _why_not(slot)


def _why_not(slot: Slot) -> str:
    function = slot.owner
    if not isinstance(function, FunctionType):
        return "no function any more"
    if function.__name__ in _NEVER:
        return "called while the object is not yet made, or not any more"
    if "<locals>" in function.__qualname__:
        return "a nested function, which has variables of its own each time that it is made"
    return ""


def classes_of(migration: Migration, patch: Patch) -> tuple[type, ...]:
    """The classes whose objects a lazy migration is for: those that it names, else those of the replaced methods."""
    if migration.of or migration.objects is not None:
        return migration.of
    targets = [change.target for change in patch.changes if isinstance(change, Replacement)]
    targets += [Target(*name.split(":")) for name in replaced_functions(patch.edits)]
    return tuple(dict.fromkeys(cls for target in targets if (cls := _class_at(target)) is not None))


def _class_at(target: Target) -> type | None:
    """The innermost class on the way to a target."""
    owner: object = sys.modules.get(target.module)
    found: type | None = None
    for name in target.qualname.split("."):
        if not (is_module(owner) or is_class(owner)):
            break
        owner = namespace_of(owner).get(name)
        if is_class(owner):
            found = owner
    return found


def lazy_findings(patch: Patch, values: dict[Slot, object]) -> Iterator[Finding]:
    """Whether patched code meets the objects of lazy migrations at all, and where it does not."""
    lazily = [migration for migration in patch.migrations if migration.lazy]
    if not lazily:
        return
    functions = [slot for slot in values if slot.kind == "function" and slot.name == SIDE[0]]
    missed = [f"{str(slot).removesuffix('.__code__')} ({why})" for slot in functions if (why := _why_not(slot))]
    for migration in lazily:
        if len(missed) == len(functions):
            yield row(
                "error",
                "migration-unreached",
                migration,
                "a lazy migration in a patch "
                + (
                    f"whose functions cannot take objects up: {', '.join(missed)}"
                    if missed
                    else "that changes no function"
                ),
                "a function that meets the objects, or lazy=False",
                "replace one, or give objects= and leave out lazy",
            )
        elif migration.objects is None and not classes_of(migration, patch):
            yield row(
                "error",
                "migration-unreached",
                migration,
                "a lazy migration of objects of which class is not known, as the patch replaces no method",
                "of=, the class or classes of the objects",
                "name them",
            )
        else:
            yield row(
                "info",
                "migration-lazy",
                migration,
                "objects are taken up when a replaced function is given them, and each call of one looks"
                + (f"; these do not: {', '.join(missed[:5])}" if missed else ""),
                "objects that come as arguments",
                "where new code comes by an object otherwise, let it call livepatch.up_to_date(object)",
            )
