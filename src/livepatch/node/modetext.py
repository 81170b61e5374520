"""Modes as text, for files and messages: the words in which :func:`~livepatch.engine.modes.spelled_mode` tells them.

A key or source that is a function has no text, and a mode that measures is none to come up in.  The height of
``at(…)`` is given by whoever reads it; a key must be the name of a parameter.
"""

from __future__ import annotations

import ast
import re
from typing import Any

from livepatch.contents.parsing import tree_of
from livepatch.engine.modes import At, Measured, Mode, Shadow, Split, check_mode, spelled_mode
from livepatch.errors import PatchError, spelled

__all__ = ["LONGEST", "read_mode", "written_mode"]

LONGEST = 500
"""Characters of the longest text."""
_NUMBER = r"[0-9]{1,9}(?:\.[0-9]{1,30})?(?:e-[0-9]{1,3})?"
_ESCAPE = r"""\\(?:[\\'"nrt]|x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8})"""
_TEXT = rf"""'(?:[^'\\]|{_ESCAPE})*'|"(?:[^"\\]|{_ESCAPE})*\""""
_SPLIT = re.compile(rf"split\(({_NUMBER})%(?:, key=([A-Za-z_][A-Za-z0-9_]*))?(?:, seed=({_TEXT}))?\)")
_AT = re.compile(r"at\(([0-9]{1,30})\)")
_MORE = r"(?:, (?=[a-z]))?"
_SHADOW = re.compile(
    rf"shadow\((?=[a-z])(?:limit=({_NUMBER}){_MORE})?(?:share=({_NUMBER}){_MORE})?(?:keep=([0-9]{{1,4}}))?\)"
)


def written_mode(mode: Mode) -> str:
    """The mode as text that :func:`read_mode` reads.

    Raises :class:`PatchError` for a split by a function, for a mode that measures, and for what is not told in ASCII
    and a few characters.
    """
    text = spelled_mode(mode)
    if isinstance(mode, Measured):
        raise PatchError(
            f"mode {text} cannot be kept",
            found="a mode for as long as somebody looks at what is measured",
            expected="a mode in which the patch can come up at the next start, such as on or off",
            action="let the patch soak, which measures it meanwhile; or set the mode in the program",
        )
    if isinstance(mode, Split) and mode.key is not None and not isinstance(mode.key, str):
        raise PatchError(
            f"mode {text} cannot be kept",
            found="a key that is a function of this process",
            expected="the name of a parameter of the patched functions, or no key",
            action="split by a parameter's name, or apply it in the program, without a store",
        )
    if not text.isascii() or not text.isprintable() or len(text) > LONGEST:
        raise PatchError(
            "the mode cannot be kept",
            found=spelled(text),
            expected=f"a mode in at most {LONGEST} characters of ASCII",
            action="give a seed and a key in ASCII",
        )
    return text


def read_mode(text: str, height: object = None) -> Mode:
    """The mode that was written as that text.  `height` gives the node's height, which ``at(…)`` is asked by.

    Raises :class:`PatchError` for a text that is no mode, and for ``at(…)`` where there is no height;
    :class:`TypeError` for a height that cannot be called.
    """
    if text in ("on", "off", "shadow"):
        return check_mode(text)
    if not text.isascii() or len(text) > LONGEST:
        raise _unknown(text)
    if match := _SPLIT.fullmatch(text):
        share, key, seed = match.groups()
        return Split(_number(share), key, None if seed is None else ast.literal_eval(tree_of(seed, mode="eval")))
    if match := _SHADOW.fullmatch(text):
        names = ("limit", "share", "keep")
        given: dict[str, Any] = {n: _number(v) for n, v in zip(names, match.groups(), strict=True) if v is not None}
        return Shadow(**given)
    match = _AT.fullmatch(text)
    if match is None:
        raise _unknown(text)
    if height is None:
        raise PatchError(
            f"mode {text} needs the node's height",
            found="nothing that gives it",
            expected="a function of no argument that gives an int",
            action="pass height= where the agent is made",
        )
    return At(int(match[1]), height)  # type: ignore[arg-type]  # which checks it


def _number(text: str) -> float:
    value = float(text)
    return int(value) if value.is_integer() else value


def _unknown(text: str) -> PatchError:
    return PatchError(
        "mode is unknown",
        found=spelled(text),
        expected="on, off, shadow, shadow(limit=0.05, share=0.5, keep=20), split(5%), split(5%, key=peer, seed='a') or "
        "at(1200)",
        action="give one of these modes",
    )
