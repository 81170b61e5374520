"""What names in a patch file are made of.  Each check raises :class:`PatchError`, and gives nothing back."""

from __future__ import annotations

import re
import unicodedata

from livepatch.contents.identity import check_specifier
from livepatch.errors import PatchError, spelled

__all__ = [
    "check_claim",
    "check_code",
    "check_dotted",
    "check_file",
    "check_identifier",
    "check_identifier_or_nothing",
    "check_not_empty",
    "check_place",
    "check_requirement",
    "check_scope",
    "check_target_or_nothing",
    "check_versions",
]


def _refuse_unless(holds: bool, value: str, expected: str) -> None:
    if not holds:
        raise PatchError("not usable", found=spelled(value), expected=expected, action="build the file anew")


def _is_identifier(value: str) -> bool:
    # The compiler takes names in this normal form, so that a name has one spelling.
    return value.isidentifier() and (value.isascii() or unicodedata.is_normalized("NFKC", value))


def check_identifier(value: str) -> None:
    """A name of Python."""
    _refuse_unless(_is_identifier(value), value, "a Python identifier")


def check_identifier_or_nothing(value: str) -> None:
    """A name of Python, or nothing."""
    _refuse_unless(not value or _is_identifier(value), value, "a Python identifier, or nothing")


def check_target_or_nothing(value: str) -> None:
    """Where an attribute lies, or nothing."""
    module, _, qualname = value.partition(":")
    names = [*module.split("."), *qualname.split(".")]
    _refuse_unless(not value or all(map(_is_identifier, names)), value, "'module:Class.attribute', or nothing")


def check_dotted(value: str) -> None:
    """Names of Python with dots between them."""
    _refuse_unless(all(map(_is_identifier, value.split("."))), value, "Python identifiers with dots between them")


def check_place(value: str) -> None:
    """Such names; those before the last may end in that of a function whose variable the last one is."""
    check_dotted(value.replace(".<locals>.", ".", 1))


def check_scope(value: str) -> None:
    """Such names, or nothing for a module itself."""
    if value:
        check_dotted(value)


def check_not_empty(value: str) -> None:
    """Any text but an empty one."""
    _refuse_unless(value != "", value, "a text")


def check_code(value: str) -> None:
    """The code of an obstacle."""
    plain = value.isascii() and value.replace("-", "a").isalnum() and value == value.lower()
    _refuse_unless(plain, value, "a code of small letters, digits and -")


def check_file(value: str) -> None:
    """Where a module's file lies in its tree."""
    parts = value.split("/")
    plain = "\\" not in value and not any(unicodedata.category(character) == "Cc" for character in value)
    inside = not any(part in ("", ".", "..") for part in parts)
    _refuse_unless(plain and inside, value, "a path inside the tree, with / between its parts")


_VARIABLE = (
    "python_version|python_full_version|os_name|sys_platform|platform_release|platform_system|platform_version|"
    "platform_machine|platform_python_implementation|implementation_name|implementation_version"
)
_TERM = rf'(?:{_VARIABLE}|"[ !#-\[\]-~]*")'
_COMPARISON = re.compile(rf"(?<![\w\"]){_TERM} (?:===|==|~=|!=|<=|>=|<|>|in|not in) {_TERM}(?![\w\"])")
_DEEPEST = 20
_HOLDS = "\0"  # stands for a part that was looked at
_JOINED = re.compile(r"\(\0\)|\0 (?:and|or) \0")


def check_requirement(value: str) -> None:
    """What a release asks for.  A marker is looked at and not parsed: packaging would evaluate the texts in it."""
    from packaging.requirements import InvalidRequirement, Requirement

    asked, semicolon, marker = value.partition("; ")
    try:
        written = str(Requirement(asked))
    except InvalidRequirement:
        written = ""
    fine = written == asked and (_is_marker(marker) if semicolon else ";" not in asked)
    _refuse_unless(fine, value, "a requirement as PEP 508 writes it, such as 'name>=1'")


def _is_marker(text: str) -> bool:
    """Whether it says when a requirement holds: comparisons, without escapes in their texts, joined in some way."""
    left = _COMPARISON.sub(_HOLDS, text)
    for _ in range(_DEEPEST):
        left = _JOINED.sub(_HOLDS, left)
    return left == _HOLDS and _HOLDS not in text


def check_claim(value: str) -> None:
    """Versions, or nothing."""
    if value:
        check_versions(value)


def check_versions(value: str) -> None:
    """Versions."""
    if check_specifier(value) != value:
        raise PatchError(
            "not usable",
            found=spelled(value),
            expected="a PEP 440 specifier without blanks around it",
            action="build the file anew",
        )
