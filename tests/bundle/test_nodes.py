"""Syntax trees walked fast, compared with what `ast` itself gives."""

from __future__ import annotations

import ast

from livepatch.bundle import nodes, words
from livepatch.bundle.parse import parse
from livepatch.bundle.syntax import Syntax

SOURCE = """
import a.b as c
from d import *
@e(f, *g, h=i, **j)
class K(L, metaclass=M):
    x: N = 1
    y: O
    async def p(self, q, /, r: S = 2, *t, u, v=3, **w) -> X:
        async with y as z, a: yield b
        async for c in d: await e
        else: return
        nonlocal_, (f.g, *h) = i[j:k, 1], l
        del m, n[o]; p += 1
        return not q or r < s <= t
try:
    while u: break
    for v in w: continue
    else: pass
except (x, y) as z: raise A from B
except C: raise
finally: assert D, f'{E!r:>{F}}'
match G:
    case {'h': I, **J} | K(L, m=N) if O: global P
    case [Q, *_]: R = lambda s, t=U: {V: W, **X}
Y = [a for b in c if d async for e in f], {g for h in i}, {j: k for l in m}, (n for o in p)
Z = (yield), (yield from q), (r := -s), t if u else v, {w}, [x, *y], 1 @ 2
"""


def below(node: ast.AST) -> list[ast.AST]:
    bare = (ast.expr_context, ast.boolop, ast.operator, ast.unaryop, ast.cmpop)
    return [child for child in ast.iter_child_nodes(node) if not isinstance(child, bare)]


def test_children_are_those_of_ast_in_its_order():
    tree = ast.parse(SOURCE)
    every = [node for node in ast.walk(tree) if below(node) or nodes.children(node)]
    assert len({type(node) for node in every}) > 50
    for node in every:
        assert nodes.children(node) == below(node), ast.dump(node)


def test_a_walk_finds_what_that_of_ast_finds():
    tree = ast.parse(SOURCE)
    found = nodes.walk(tree)
    assert set(map(id, found)) == {id(node) for node in ast.walk(tree) if node is tree or node in found}
    assert {type(node) for node in found} >= {ast.Name, ast.Constant, ast.Starred, ast.MatchStar, ast.keyword}


def test_words_begin_behind_their_digits_as_those_of_other_alphabets_do():
    text = "a1 = 0x1f + 2if b else _3; '4c' 5"
    expected = {"a1", "x1f", "if", "b", "else", "_3", "c"}
    assert words.words_of(text.encode()) == expected
    assert words.words_of(f"{text} \N{GREEK SMALL LETTER ALPHA}".encode()) == {
        *expected,
        "\N{GREEK SMALL LETTER ALPHA}",
    }


def test_what_calls_an_entry_is_told_by_its_brackets():
    calls = ["T['a']()", "(T\n ['a']\\\n  )(1)", "T.get('a') (1)", "[e() for e in T]", "(T['a'] # )\n ())"]
    source = "\n".join([*calls, "f(T)(1)", "f(T)", "T['a']"])
    module = parse("m", "m.py", source.encode())
    called = [set(Syntax().entries_called(item)) for item in module.items]
    assert called == [*[{("T",)}] * 5, {("f",)}, set(), set()]
