"""Does a live function run exactly the code that a given source gives?

The process's own compiler answers (see :mod:`livepatch.engine.compiling`); whatever else the process runs was not made
from this source.  That needs no source file on disk, and catches a package that was upgraded under a running process.
"""

from __future__ import annotations

from types import CodeType

from livepatch.contents.edits import Text
from livepatch.engine.code import nested_codes
from livepatch.engine.compiling import Context, compile_at, compile_function, surroundings_of
from livepatch.engine.default_values import Defaults, OpenDefault, defaults_match
from livepatch.engine.differing import Mismatch, differs_where, same_shape
from livepatch.engine.pace import breathe

__all__ = [
    "Context",
    "Defaults",
    "Mismatch",
    "OpenDefault",
    "compile_function",
    "defaults_match",
    "differs_where",
    "matches",
]


def matches(function_code: CodeType, context: Context, qualname: str, text: Text) -> Mismatch | None:
    """``None`` if the live code is the one that the text gives; else the first line that the process does not run.

    A text that this Python cannot compile gives a mismatch at the line at which it cannot.
    """
    around = surroundings_of(function_code)
    moved = 0
    try:
        compiled = compile_at(context, qualname, text, text.line, around)
        if same_shape(function_code, compiled):
            return None
        if any("__firstlineno__" in inner.co_names for inner in nested_codes(compiled)):
            # From 3.13 a class inside the function has its line among its constants.
            moved = function_code.co_firstlineno - compiled.co_firstlineno
            if moved:
                breathe()
                compiled = compile_at(context, qualname, text, text.line + moved, around)
                if same_shape(function_code, compiled):
                    return None
    except SyntaxError as error:
        line = error.lineno or text.line
        return Mismatch(line, (error.text or "").strip(), f"line {line} does not compile here: {error.msg}")
    breathe()
    return differs_where(function_code, compiled, text, moved=moved)
