# /// case
# id = "CVE-2021-27291"
# package = "Pygments"
# vulnerable = "2.7.3"
# fixed = "2.7.4"
# what = "a long number takes exponential time to highlight"
# shape = "a class attribute from which a metaclass has built tables, also those of subclasses"
# modules = ["pygments", "pygments.lexers.archetype"]
# only = ["pygments.lexers.archetype:AtomsLexer.tokens"]
# ///
"""`(digits)*` splits a row of digits in every possible way before it gives up.  Other lexers had the like."""

from pygments.lexers.archetype import OdinLexer
from pygments.token import Number
from slow import blows_up

LEXER = OdinLexer()


def _slow(lexer: OdinLexer) -> bool:
    return blows_up(lambda size: list(lexer.get_tokens_unprocessed("x = " + "1" * size + "\n")), range(8, 40))


def _found(lexer: OdinLexer) -> list[object]:
    return [kind for _, kind, _ in lexer.get_tokens_unprocessed("12.5") if kind in Number]


def exploit() -> bool:
    return _slow(LEXER)


def regression() -> None:
    assert _found(OdinLexer()) == [Number.Float]
    assert _found(LEXER) == [Number.Float]
