"""What syntax calls without naming it is followed when a package is imported: special methods, factories, arguments."""

# ruff: noqa: E501  # the sources of small packages, each on a line of its own

from __future__ import annotations

import ast
import functools

import pytest
from tests.built import Running

import livepatch
from livepatch.bundle.arguments import by_keyword, factories_in, in_order
from livepatch.bundle.implied import implied_by


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


# By a name: statements, of which MOST stands for what changes, and expressions that see what came of it.
IMPLIED = {
    "an entry": ("class C0:\n  def __getitem__(self, k): return MOST\nx0 = C0()[3]", "x0"),
    "an entry that is missing": ("class C1(dict):\n  def __missing__(self, k): return MOST\nc1 = C1()\nx1 = c1[3]", "x1"),
    "an operator": ("class C2:\n  def __add__(self, k): return MOST\n  def __rsub__(self, k): return MOST\nx2 = C2() + 1, 1 - C2()", "x2"),
    "a text": ("class C3:\n  def __str__(self): return str(MOST)\nx3 = f'{C3()}', '%s' % C3(), str(C3())", "x3"),
    "a length": ("class C4:\n  def __len__(self): return MOST\nx4 = len(C4())", "x4"),
    "a loop": ("class C5:\n  def __iter__(self): return iter([MOST])\nx5 = [each for each in C5()]\n(y5,) = C5()", "(x5, y5)"),
    "a context": ("class C6:\n  def __enter__(self): return MOST\n  def __exit__(self, *a): pass\nwith C6() as x6: pass\ndef f6(): return x6", "f6()"),
    "a comparison": ("class C7:\n  def __eq__(self, o): return MOST == 900\nx7 = C7() == 3, 3 in [C7()]", "x7"),
    "membership": ("class C8:\n  def __contains__(self, o): return MOST == 900\nx8 = 3 in C8()", "x8"),
    "truth": ("class C9:\n  def __bool__(self): return MOST == 900\nx9 = 'y' if C9() else 'n'\nif C9(): y9 = 1\nelse: y9 = 2", "(x9, y9)"),
    "an attribute that is not there": ("class C10:\n  def __getattr__(self, n): return MOST\nc10 = C10()\nx10 = C10().foo, c10.bar", "x10"),
    "a descriptor": ("class D11:\n  def __get__(self, o, t): return MOST\nclass C11:\n  a = D11()\nx11 = C11().a", "x11"),
    "an object that is called": ("class C12:\n  def __call__(self): return MOST\nx12 = C12()()", "x12"),
    "an entry that is set": ("T13 = {}\nclass C13:\n  def __setitem__(self, k, v): T13[k] = v * MOST\nc13 = C13()\nc13['a'] = 3", "T13"),
    "what is awaited": ("import asyncio\nclass C14:\n  def __await__(self):\n    return MOST\n    yield\nasync def f14(): return await C14()\nx14 = asyncio.run(f14())", "x14"),
    "in a function": ("class C15:\n  def __getitem__(self, k): return MOST\nc15 = C15()\ndef f15(k): return c15[k]\nx15 = f15(3)", "x15"),
    "of its own object": ("class C16:\n  def __init__(self): self.x = self[3]\n  def __getitem__(self, k): return MOST\nx16 = C16().x", "x16"),
    "a number": ("class C17:\n  def __index__(self): return MOST\nx17 = range(1000)[C17()], hex(C17())", "x17"),
    "a factory": ("import dataclasses\ndef f18(): return [MOST]\n@dataclasses.dataclass\nclass C18:\n  a: list = dataclasses.field(default_factory=f18)\n  b: list = dataclasses.field(default_factory=lambda: f18())\nx18 = C18()", "(x18.a, x18.b, C18().a)"),
    "a lambda that is called at once": ("def f19(): return MOST\nx19 = (lambda g, *, h: (g(), h()))(f19, h=f19)", "x19"),
    "a default": ("class C21:\n  def __getitem__(self, k): return MOST\ndef f21(x=C21()[3]): return x", "f21()"),
    "a definition on a condition": ("class C22:\n  def __bool__(self): return MOST == 900\ndef f22(): return 1\nif C22():\n  def f22(): return 2", "f22()"),
    "what a variable of a function holds": ("class C23:\n  def get(self): return MOST\ndef f23():\n  c = C23()\n  return c.get(), [c.get() for _ in 'a']\nx23 = f23()", "x23"),
    "a method of a field of an object": ("class D24:\n  def get(self): return MOST\nclass C24:\n  a = D24()\nx24 = C24().a.get()", "x24"),
    "what is unpacked for a call": ("def f20(): return MOST\ndef call20(g): return g()\nx20 = call20(*[f20]), call20(**{'g': f20})", "x20"),
}  # fmt: skip


def test_what_syntax_calls_is_followed(releases):
    """One package holds them all: each in a module of its own."""
    files = {f"m{number}.py": text for number, (text, _) in enumerate(IMPLIED.values())}
    sides = [{name: text.replace("MOST", value) for name, text in files.items()} for value in ("900", "30")]
    running = releases(*sides)

    def seen():
        return {name: eval(see, vars(running[f"m{number}"])) for number, (name, (_, see)) in enumerate(IMPLIED.items())}

    def alone(value):
        found = {}
        for name, (text, see) in IMPLIED.items():
            namespace = {"__name__": __name__}
            exec(text.replace("MOST", value), namespace)
            found[name] = eval(see, namespace)
        return found

    assert seen() == alone("900")
    assert all(alone("900")[name] != value for name, value in alone("30").items())
    before = running.picture()
    applied = livepatch.apply(running.build())
    assert seen() == alone("30")
    applied.revert()
    assert seen() == alone("900")
    assert running.differences(before, running.picture()) == []


def test_objects_that_keep_what_a_factory_gave_are_reported(releases):
    text = "import dataclasses\ndef f(): return [{}]\n@dataclasses.dataclass\nclass C:\n  a: list = dataclasses.field(default_factory=f)\n"
    running = releases({"m.py": text.format(900)}, {"m.py": text.format(30)})
    held = running["m"].C()
    report = livepatch.check(running.build())
    assert held.a == [900]
    assert [(each.code, str(each.target).rpartition(":")[2]) for each in report.findings if each.severity == "warning"] == [("objects-keep-old", "C.a")]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "operands"),
    [
        ("a[b]", {"a": "__getitem__", "b": "__index__"}),
        ("del a[b]", {"a": "__delitem__"}),
        ("a @ b", {"a": "__matmul__", "b": "__rmatmul__"}),
        ("a += b", {"a": "__iadd__", "b": "__radd__"}),
        ("a < b < c", {"a": "__lt__", "b": "__gt__", "c": "__gt__"}),
        ("a is b", {}),
        ("async def f():\n  async with a: pass\n  async for i in b: await c\n", {"a": "__aexit__", "b": "__anext__", "c": "__await__"}),
        ("[i async for i in a if b]", {"a": "__aiter__", "b": "__bool__"}),
        ("not a or b", {"a": "__bool__", "b": "__len__"}),
        ("'%s' % (a, b)", {"a": "__str__", "b": "__format__"}),
        ("', '.join(a)", {"a": "__iter__"}),
        ("f(*a)", {"a": "__iter__"}),
    ],
)  # fmt: skip
def test_each_syntax_names_what_it_asks(text, operands):
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(text)):
        for operand, methods in implied_by(node):
            found.setdefault(ast.unparse(operand), set()).update(methods)
    for name, method in operands.items():
        assert method in found[name], name
    assert operands or not found


def test_arguments_are_read_out_of_what_is_unpacked():
    call = ast.parse("f(a, *[b, c], *d, e, x=g, **{'y': h, z: i}, **j)", mode="eval").body
    assert isinstance(call, ast.Call)
    assert [ast.unparse(each) for each in in_order(call)] == ["a", "b", "c"]
    assert [(name, ast.unparse(value)) for name, value in by_keyword(call)] == [("x", "g"), ("y", "h")]
    assert factories_in(call) == []
