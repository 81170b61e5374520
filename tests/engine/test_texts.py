# ruff: noqa: E501  # a shape is read faster in one line
"""A text cut out of its file parses by itself, to the same syntax, with the lines that it has there."""

from __future__ import annotations

import ast
import json
import sys
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from livepatch.contents.edits import Text
from livepatch.engine.texts import dedented, first_line, source_lines, text_of


def statements(tree: ast.AST) -> Iterator[ast.stmt]:
    for node in ast.walk(tree):
        for block in ("body", "orelse", "finalbody"):
            inner = getattr(node, block, None)
            if isinstance(inner, list):  # and not the value of a lambda
                elif_ = block == "orelse" and isinstance(node, ast.If) and [type(one) for one in inner] == [ast.If]
                yield from () if elif_ else inner


def texts_in(source: str) -> dict[str, Text]:
    """Every statement of a file cut out, each checked, by what it defines or its first line."""
    lines = source_lines(source)
    found = {}
    for node in statements(ast.parse(source)):
        text = text_of(lines, node)
        (alone,) = ast.parse(text.source).body
        assert ast.dump(alone) == ast.dump(node)
        assert alone.lineno + text.line - 1 == node.lineno
        assert not text.source[0].isspace()
        found[getattr(node, "name", text.source.splitlines()[0])] = text
    return found


def test_a_definition_in_a_class_moves_to_the_margin_with_its_decorators():
    found = texts_in(
        "class C:\n    x = 1\n\n    @a\n    # why\n    @b(\n  2)\n    def m(self):\n        return 1  # one\n"
    )
    assert found["m"] == Text(source="@a\n# why\n@b(\n2)\ndef m(self):\n    return 1  # one\n", line=4)


def test_the_inside_of_a_string_stays_as_it_is():
    source = 'class C:\n    def m(self):\n        """Says.\n\n        more\n    """\n        return """a\n        b\n  c""" + \'d\\\n        e\'\n'
    text = texts_in(source)["m"]
    assert (
        text.source
        == 'def m(self):\n    """Says.\n\n        more\n    """\n    return """a\n        b\n  c""" + \'d\\\n        e\'\n'
    )
    assert textwrap.dedent("".join(source_lines(source)[1:])) != text.source


@pytest.mark.parametrize(
    "literal",
    [
        'f"""a\n        {x}\n        b"""',
        'f"""{\n        x = }"""',
        'f"""{{\n        {x:>5}\n        """ f"""\n        {f\'\'\'\n        {x}\n        \'\'\'}"""',
        'rb"""\n        a"""',
        "(\"a\"\n        \"b\"\n  '''c\n        '''\n)",
    ],
)
def test_literals_over_several_lines(literal: str):
    source = f"class C:\n    def m(self, x):\n        return {literal}\n"
    try:
        ast.parse(source)
    except SyntaxError:
        pytest.skip("not on this version")
    text = texts_in(source)["m"]
    before, after = {}, {}
    exec(compile(source, "whole", "exec"), before)
    exec(compile(text.source, "alone", "exec"), after)
    assert after["m"](None, 3) == before["C"]().m(3)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="template strings")
def test_a_template_string():
    assert (
        "\n        b" in texts_in('class C:\n    def m(self, x):\n        return t"""{x}\n        b"""\n')["m"].source
    )


@pytest.mark.parametrize(
    ("source", "name", "expected"),
    [
        ("class C:\n\tdef m(self):\n\t\tif self:\n\t\t\treturn 1\n\t\treturn 2\n", "m", "def m(self):\n\tif self:\n\t\treturn 1\n\treturn 2\n"),
        ("if 1:\n\tdef f():\n            return (1,\n  2)\n", "f", "def f():\n    return (1,\n  2)\n"),
        ("\x0cclass C:\n    pass\n", "C", "class C:\n    pass\n"),
        ("class C:\n    def m(self):\n# c\n        return \\\n 1\n\n    # after\n", "m", "def m(self):\n# c\n    return \\\n1\n"),
        ("class C:\n  @(\n    a\n  )\n  def m(self): pass", "m", "@(\n  a\n)\ndef m(self): pass\n"),
        ("if a: b = 'é'; c = (1,\n  2); d = 3\n", "c = (1,", "c = (1,\n  2)\n"),
        ("if a: b = 'é'; c = 2  # two\n", "c = 2  # two", "c = 2  # two\n"),
        ("x = 1;\n", "x = 1", "x = 1\n"),
        ("class C:\r\n  def m(self):\r\n    '''a\r\n    b'''\r\n", "m", "def m(self):\n  '''a\n    b'''\n"),
        ("class C:\n  def m(self): return '\x0c\x1c\u2028'\n  def n(self): pass\n", "n", "def n(self): pass\n"),
    ],
)  # fmt: skip
def test_layouts(source: str, name: str, expected: str):
    assert texts_in(source)[name].source == expected


def test_a_statement_of_other_lines_is_refused():
    (node,) = ast.parse("x = 1\n").body
    with pytest.raises(ValueError, match="line 1"):
        dedented(["x = 2\n"], node)
    with pytest.raises(ValueError, match="line 1"):
        dedented(["x = (\n"], node)


def test_the_first_line_is_that_of_the_first_decorator():
    source = "@(\n  # why\n  a\n)\n@b\ndef f(): pass\n"
    (node,) = ast.parse(source).body
    assert first_line(source_lines(source), node) == 1


@pytest.mark.parametrize("module", [ast, json.decoder, textwrap, types], ids=lambda module: module.__name__)
def test_every_statement_of_real_files(module: types.ModuleType):
    assert module.__file__ is not None
    assert texts_in(Path(module.__file__).read_text(encoding="utf-8"))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    indents=st.lists(st.sampled_from([" ", "  ", "\t", "        "]), min_size=1, max_size=3),
    inside=st.text(st.sampled_from(" \t\n#a'\\{}"), max_size=20),
    prefix=st.sampled_from(["", "f", "r", "b", "rf"]),
)
def test_any_string_inside_any_blocks(indents: list[str], inside: str, prefix: str):
    margin, lines = "", []
    for depth, indent in enumerate(indents):
        lines.append(f"{margin}class C{depth}:")
        margin += indent
    lines += [f"{margin}def m(a):", f"{margin} return {prefix}'''{inside}'''", f"{margin} # end"]
    source = "\n".join(lines)
    try:
        ast.parse(source)
    except (SyntaxError, ValueError):
        return
    texts_in(source)
