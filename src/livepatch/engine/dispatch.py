"""Code that chooses a side: plain function bodies whose constants are live functions.

The body has the argument layout, free variables, name and position of the function that it stands in for, and no
bytecode is assembled by hand: the compiler makes it from source with placeholder names, and each placeholder is then
made a constant.  Since CPython 3.11 a generator or coroutine is made by an opcode and not by a flag of the code, so the
kind flags are copied for introspection and the callee's own object is returned as it is.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import CodeType, FunctionType
from typing import Any, cast

from bytecode import Bytecode, Instr
from bytecode.instr import InstrLocation

from livepatch.engine.code import Parameter, parameters_of
from livepatch.engine.functions import defaults_of

__all__ = ["Cell", "Dispatch", "Way", "dispatching", "forwarding_code"]

KIND_FLAGS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_KEPT_FLAGS = KIND_FLAGS | getattr(inspect, "CO_METHOD", 0) | inspect.CO_NESTED
_MARK = "LIVEPATCH_"  # begins the placeholders' names


@dataclass(frozen=True, slots=True)
class Way:
    """One side that a call may go to: if `ask` says so, which is called with the call's own arguments `with_arguments`.

    Without `ask` a call goes there in any case.  A callee `beside` the sides takes whatever they take, as it is given.
    """

    callee: FunctionType
    ask: Callable[..., object] | None = None
    with_arguments: bool = False
    beside: bool = False


@dataclass(frozen=True, slots=True)
class Dispatch:
    """A body that chooses, and what a function that runs it must hold as ``__defaults__`` and ``__kwdefaults__``."""

    code: CodeType
    defaults: tuple[object, ...] | None
    kwdefaults: dict[str, object] | None


class Cell(list[Any]):
    """One place that a body reads by ``cell[0]``.  Hashable, because the code that has it as a constant must be."""

    __slots__ = ()
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]  # a list has none


class _Default:
    """Stands for a default value where the sides have different ones; shows as that of the shape."""

    __slots__ = ("_shown",)

    def __init__(self, shown: object) -> None:
        self._shown = shown

    def __repr__(self) -> str:
        return repr(self._shown)


def forwarding_code(
    shape: FunctionType, callee: FunctionType, free: tuple[str, ...], first: Callable[..., object] | None = None
) -> CodeType:
    """A body with the parameters and name of `shape`, and `free` variables, that calls `callee` with all it gets.

    It calls `first` before, with what its named parameters hold; that must be hashable, and no Python function.
    """
    parameters = parameters_of(shape)
    header, arguments = _layout(parameters)
    body = f"return {_MARK}NEW({arguments})"
    constants: dict[str, object] = {f"{_MARK}NEW": callee}
    if first is not None:
        named = ", ".join(parameter.name for parameter in parameters if parameter.kind not in ("*", "**"))
        body = f"{_MARK}FIRST({named})\n{body}"
        constants[f"{_MARK}FIRST"] = first
    return _assemble(shape, header, body, constants, free)


def dispatching(shape: FunctionType, ways: Sequence[Way], cell: Cell | None = None) -> Dispatch:
    """A body for `shape` that goes the first of `ways` that applies; with a `cell`, the last until ``cell[0]`` holds.

    The read of the cell and the load of the last callee are not interrupted by another thread.

    Where the sides have other default values than each other, the function must hold stand-ins for them, which each
    side's call exchanges for its own.  Where they have other parameters, the body takes ``*args, **kwargs``.
    """
    constants: dict[str, object] = {f"{_MARK}CELL": cell} if cell is not None else {}
    defaults, kwdefaults = shape.__defaults__, shape.__kwdefaults__
    layout = parameters_of(shape)
    given = [defaults_of(shape if way.beside else way.callee) for way in ways]
    alike = all(_identical(each, defaults_of(shape)) for each in given)
    if any(not way.beside and parameters_of(way.callee) != layout for way in ways):
        header, calls = "*args, **kwargs", ["*args, **kwargs"] * len(ways)
    elif alike:
        header, arguments = _layout(layout)
        calls = [arguments] * len(ways)
    elif any(way.beside for way in ways):
        header, calls = "*args, **kwargs", ["*args, **kwargs"] * len(ways)
    else:
        header, _ = _layout(layout)
        standing = {name: _Default(value) for name, value in defaults_of(shape).items()}
        constants |= {f"{_MARK}UNSET_{name}": each for name, each in standing.items()}
        calls = [_layout(layout, i, own)[1] for i, own in enumerate(given)]
        for i, own in enumerate(given):
            constants |= {f"{_MARK}DEFAULT{i}_{name}": Cell([value]) for name, value in own.items()}
        if defaults is not None:
            names = [p.name for p in layout if p.kind in "/-"][-len(defaults) :]
            defaults = tuple(standing[name] for name in names)
        if kwdefaults is not None:
            kwdefaults = {name: standing[name] for name in kwdefaults}
    lines = []
    for i, (way, call) in enumerate(zip(ways, calls, strict=True)):
        constants[f"{_MARK}CALL{i}"] = way.callee
        conditions = [f"{_MARK}CELL[0]"] if cell is not None and i < len(ways) - 1 else []
        if way.ask is not None:
            constants[f"{_MARK}ASK{i}"] = way.ask
            conditions.append(f"{_MARK}ASK{i}({call if way.with_arguments else ''})")
        condition = f"if {' and '.join(conditions)}: " if conditions else ""
        lines.append(f"{condition}return {_MARK}CALL{i}({call})")
    code = _assemble(shape, header, "\n".join(lines), constants, shape.__code__.co_freevars)
    return Dispatch(code, defaults, kwdefaults)


def _identical(one: dict[str, object], other: dict[str, object]) -> bool:
    return one.keys() == other.keys() and all(one[name] is other[name] for name in one)


def _layout(parameters: Sequence[Parameter], way: int = 0, own: dict[str, object] | None = None) -> tuple[str, str]:
    """The parameter list without its defaults, and the arguments that hand all of it on.

    With defaults of its `own`, a way gets those where nothing was given.
    """
    header: list[str] = []
    arguments: list[str] = []
    last = ""
    for parameter in parameters:
        name, kind = parameter.name, parameter.kind
        if last == "/" and kind != "/":
            header.append("/")
        if kind == "=" and last not in ("=", "*"):
            header.append("*")
        header.append({"*": "*", "**": "**"}.get(kind, "") + name)
        value = name
        if own is not None and name in own:
            value = f"({_MARK}DEFAULT{way}_{name}[0] if {name} is {_MARK}UNSET_{name} else {name})"
        arguments.append({"*": f"*{name}", "**": f"**{name}", "=": f"{name}={value}"}.get(kind, value))
        last = kind
    if last == "/":
        header.append("/")
    return ", ".join(header), ", ".join(arguments)


def _assemble(
    shape: FunctionType, header: str, body: str, constants: dict[str, object], free: tuple[str, ...]
) -> CodeType:
    code = shape.__code__
    template = _template(header, body, free, code.co_filename, code.co_firstlineno)
    return template.replace(
        co_consts=tuple(constants.get(c, c) if isinstance(c, str) else c for c in template.co_consts),
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_flags=(template.co_flags & ~_KEPT_FLAGS) | (code.co_flags & _KEPT_FLAGS),
    )


@functools.lru_cache(maxsize=1024)
def _template(header: str, body: str, free: tuple[str, ...], filename: str, line: int) -> CodeType:
    """The body with the placeholders' names in place of the constants."""
    # Nested in a function that binds them, the names in `free` become free variables of the body.
    lines = [f"def {_MARK}OUTER():", *(f"  {name} = None" for name in free), f"  def {_MARK}BODY({header}):"]
    lines += ["    " + each for each in body.splitlines()]
    if free:
        lines.append("    if 0: " + "; ".join(free))
    outer = compile("\n".join(lines) + "\n", filename, "exec", dont_inherit=True).co_consts[0]
    assert isinstance(outer, CodeType)
    plain = next(constant for constant in outer.co_consts if isinstance(constant, CodeType))
    where = InstrLocation(line, line, None, None)
    blocks = Bytecode.from_code(plain)
    made: list[Any] = []
    for instruction in blocks:
        if isinstance(instruction, Instr):
            if instruction.location is not None and instruction.location.lineno is not None:
                instruction.location = where
            if instruction.name == "LOAD_GLOBAL":
                for_call, name = cast("tuple[bool, str]", instruction.arg)
                # The name itself: equal constants are merged here, and those to come must not be.
                load = Instr("LOAD_CONST", name, location=where)
                null = [Instr("PUSH_NULL", location=where)] if for_call else []
                made += [load, *null] if sys.version_info >= (3, 13) else [*null, load]
                continue
        made.append(instruction)
    blocks[:] = made
    blocks.first_lineno = line
    return blocks.to_code()
