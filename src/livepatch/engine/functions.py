"""Functions made as a ``def`` statement makes them.

Since CPython 3.13 only the opcode behind ``def`` gives a function the version by which call sites specialise for it;
one from ``types.FunctionType(…)``, or one whose defaults were stored afterwards, is called slower for good.  So the
code is put where a compiled ``def`` has its own, and that ``def`` is run.
"""

from __future__ import annotations

import weakref
from types import CellType, CodeType, FunctionType
from typing import Any, NamedTuple

__all__ = [
    "Held",
    "code_of",
    "defaults_of",
    "held_by",
    "is_own",
    "make_function",
    "own",
    "stand_for",
    "standing",
    "stands",
]

# What our bodies call: alive under a target's name and module, and no function of the program.
_own: weakref.WeakSet[FunctionType] = weakref.WeakSet()

# Bodies that choose between sides, by id, each with the code that the function has as far as anybody is told.  A body
# that was built for a switch that then failed is held by nobody, so it must not be held here either.
_standing: dict[int, tuple[weakref.ref[CodeType], CodeType]] = {}


def own(function: FunctionType) -> None:
    """Remember that livepatch made the function to stand behind a live one."""
    _own.add(function)


def is_own(function: FunctionType) -> bool:
    """Whether livepatch made the function to stand behind a live one."""
    return function in _own


def stand_for(body: CodeType, code: CodeType | None) -> None:
    """Let a body that chooses count as `code`; ``None``: it is out of use."""
    key = id(body)
    if code is None:
        _standing.pop(key, None)
    else:
        _standing[key] = weakref.ref(body, lambda gone: _forget(key, gone)), code


def _forget(key: int, body: weakref.ref[CodeType]) -> None:
    if key in _standing and _standing[key][0] is body:
        del _standing[key]


def stands(code: object) -> bool:
    """Whether it is a body that chooses between sides."""
    known = _standing.get(id(code))
    return known is not None and known[0]() is code


def standing() -> list[CodeType]:
    """Every code object that is referred to here, once for each reference."""
    return [code for _, code in list(_standing.values())]


def code_of(function: FunctionType) -> CodeType:
    """The code that a function has, seen through a body that chooses between sides."""
    code = function.__code__
    while (known := _standing.get(id(code))) is not None and known[0]() is code:
        code = known[1]
    return code


class Held(NamedTuple):
    """What a call of a function runs, and the values of the parameters that it leaves out."""

    code: CodeType
    defaults: tuple[object, ...] | None
    kwdefaults: dict[str, object] | None

    def by_parameter(self) -> dict[str, object]:
        """The default of each parameter that has one."""
        given = self.defaults or ()
        positional = self.code.co_varnames[: self.code.co_argcount]
        by_position = dict(zip(positional[len(positional) - len(given) :], given, strict=True))
        return {**by_position, **(self.kwdefaults or {})}


def held_by(function: FunctionType) -> Held:
    """What a function holds, its code seen through a body that chooses between sides."""
    return Held(code_of(function), function.__defaults__, function.__kwdefaults__)


def defaults_of(function: FunctionType) -> dict[str, object]:
    """The default of each parameter that has one."""
    return Held(function.__code__, function.__defaults__, function.__kwdefaults__).by_parameter()


def make_function(
    code: CodeType,
    namespace: dict[str, Any],
    cells: tuple[CellType, ...] = (),
    defaults: tuple[object, ...] | None = None,
    kwdefaults: dict[str, object] | None = None,
    *,
    behind: bool = False,
) -> FunctionType:
    """A function of `code` with those globals, closure cells and defaults; `behind`: it is to stand behind another."""
    taken = {*code.co_freevars, *(kwdefaults or ())}
    mark = "_"
    while any(name.startswith(mark) for name in taken):
        mark += "_"
    by_position = [f"{mark}default{i}" for i in range(len(defaults or ()))]
    by_keyword = {name: f"{mark}keyword{i}" for i, name in enumerate(kwdefaults or ())}
    parameters = [f"{name}p={name}" for name in by_position]
    if by_keyword:
        parameters += ["*", *(f"{name}={given}" for name, given in by_keyword.items())]
    lines = [f"def {mark}scope():", *(f"  {name} = None" for name in code.co_freevars)]
    lines += [f"  def {mark}maker({', '.join([*by_position, *by_keyword.values()])}):"]
    lines += [f"    def {mark}made({', '.join(parameters)}):", "      pass"]
    lines += [f"      {name}" for name in code.co_freevars]
    lines += [f"    return {mark}made"]
    scope = _inner(compile("\n".join(lines), "<livepatch>", "exec", dont_inherit=True))
    maker = _inner(scope)
    made = _inner(maker)
    constants = tuple(code if constant is made else constant for constant in maker.co_consts)
    by_name = dict(zip(code.co_freevars, cells, strict=True))
    closure = tuple(by_name[name] for name in maker.co_freevars)
    run = FunctionType(maker.replace(co_consts=constants), namespace, closure=closure)
    function: FunctionType = run(*(defaults or ()), *(kwdefaults or {}).values())
    if behind:
        own(function)
    return function


def _inner(code: CodeType) -> CodeType:
    return next(constant for constant in code.co_consts if isinstance(constant, CodeType))
