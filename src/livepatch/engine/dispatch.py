"""Code that chooses a side: plain function bodies whose constants are live functions.

The body has the argument layout, free variables, name and position of the function that it stands in for, and no
bytecode is assembled by hand: the compiler makes it from source with placeholder names, and each placeholder is then
made a constant.  Since CPython 3.11 a generator or coroutine is made by an opcode and not by a flag of the code, so the
kind flags are copied for introspection and the callee's own object is returned as it is.
"""

from __future__ import annotations

import inspect
import sys
from types import CodeType, FunctionType
from typing import Any, cast

from bytecode import Bytecode, Instr
from bytecode.instr import InstrLocation

from livepatch.engine.code import parameters_of

__all__ = ["forwarding_code", "guarded_code"]

KIND_FLAGS = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ASYNC_GENERATOR | inspect.CO_ITERABLE_COROUTINE
_KEPT_FLAGS = KIND_FLAGS | getattr(inspect, "CO_METHOD", 0) | inspect.CO_NESTED


def forwarding_code(shape: FunctionType, callee: FunctionType, free: tuple[str, ...]) -> CodeType:
    """A body with the parameters and name of `shape`, and `free` variables, that calls `callee` with all it gets."""
    call = "return LIVEPATCH_NEW({arguments})"
    return _assemble(shape, call, {"LIVEPATCH_NEW": callee}, free)


def guarded_code(shape: FunctionType, cell: list[bool], old: FunctionType, new: FunctionType) -> CodeType:
    """A body that calls `new` once ``cell[0]`` is true and `old` until then."""
    body = "if LIVEPATCH_CELL[0]: return LIVEPATCH_NEW({arguments})\nreturn LIVEPATCH_OLD({arguments})"
    constants: dict[str, object] = {"LIVEPATCH_CELL": cell, "LIVEPATCH_NEW": new, "LIVEPATCH_OLD": old}
    return _assemble(shape, body, constants, shape.__code__.co_freevars)


def _layout(shape: FunctionType) -> tuple[str, str]:
    """The parameter list of `shape` without its defaults, and the arguments that hand all of it on."""
    header: list[str] = []
    arguments: list[str] = []
    last = ""
    for parameter in parameters_of(shape):
        name, kind = parameter.name, parameter.kind
        if last == "/" and kind != "/":
            header.append("/")
        if kind == "=" and last not in ("=", "*"):
            header.append("*")
        header.append({"*": "*", "**": "**"}.get(kind, "") + name)
        arguments.append({"*": f"*{name}", "**": f"**{name}", "=": f"{name}={name}"}.get(kind, name))
        last = kind
    if last == "/":
        header.append("/")
    return ", ".join(header), ", ".join(arguments)


def _assemble(shape: FunctionType, body: str, constants: dict[str, object], free: tuple[str, ...]) -> CodeType:
    header, arguments = _layout(shape)
    # Nested in a function that binds them, the names in `free` become free variables of the body.
    lines = ["def LIVEPATCH_OUTER():", *(f"  {name} = None" for name in free), f"  def LIVEPATCH_BODY({header}):"]
    lines += ["    " + line.format(arguments=arguments) for line in body.splitlines()]
    if free:
        lines.append("    if 0: " + "; ".join(free))
    outer = compile("\n".join(lines) + "\n", shape.__code__.co_filename, "exec", dont_inherit=True).co_consts[0]
    assert isinstance(outer, CodeType)
    plain = next(constant for constant in outer.co_consts if isinstance(constant, CodeType))
    code = shape.__code__
    made = _with_constants(plain, constants, code.co_firstlineno)
    return made.replace(
        co_name=code.co_name,
        co_qualname=code.co_qualname,
        co_flags=(made.co_flags & ~_KEPT_FLAGS) | (code.co_flags & _KEPT_FLAGS),
    )


def _with_constants(code: CodeType, constants: dict[str, object], line: int) -> CodeType:
    """The same code with the globals named in `constants` made constants, all of it at one line."""
    where = InstrLocation(line, line, None, None)
    blocks = Bytecode.from_code(code)
    made: list[Any] = []
    for instruction in blocks:
        if isinstance(instruction, Instr):
            if instruction.location is not None and instruction.location.lineno is not None:
                instruction.location = where
            if instruction.name == "LOAD_GLOBAL":
                for_call, name = cast("tuple[bool, str]", instruction.arg)
                load = Instr("LOAD_CONST", constants[name], location=where)
                null = [Instr("PUSH_NULL", location=where)] if for_call else []
                made += [load, *null] if sys.version_info >= (3, 13) else [*null, load]
                continue
        made.append(instruction)
    blocks[:] = made
    blocks.first_lineno = line
    return blocks.to_code()
