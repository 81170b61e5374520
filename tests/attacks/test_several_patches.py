"""Patches that meet on one function, name or closure: each keeps what it wants, and with all out nothing is left."""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule


import livepatch


def _fix(new_patch: NewPatch, node: ModuleType, written: ModuleType, *names: str) -> livepatch.Patch:
    fix = new_patch()
    for name in names:
        fix.replace(f"{node.__name__}:{name}")(getattr(written, name))
    return fix


MAKER = """
    def make(k):
        def made(x):
            return ({word!r}, k, x)
        return made
"""


def test_a_closure_comes_back_when_a_cumulative_patch_makes_the_same_closures(
    write_module: WriteModule, new_patch: NewPatch
) -> None:
    node, written = write_module(MAKER.format(word="old")), write_module(MAKER.format(word="new"))
    closure = node.make(1)
    original = closure.__code__
    first = livepatch.apply(_fix(new_patch, node, written, "make"))
    second = livepatch.apply(_fix(new_patch, node, written, "make"), replaces=[first.id])
    assert closure(2) == ("new", 1, 2)
    second.revert()
    assert node.make(1)(2) == ("old", 1, 2)
    assert closure(2) == ("old", 1, 2)
    assert closure.__code__ is original


def test_a_closure_comes_back_whichever_of_two_equal_patches_goes_first(
    write_module: WriteModule, new_patch: NewPatch
) -> None:
    node, written = write_module(MAKER.format(word="old")), write_module(MAKER.format(word="new"))
    closure = node.make(1)
    original = closure.__code__
    first = livepatch.apply(_fix(new_patch, node, written, "make"))
    second = livepatch.apply(_fix(new_patch, node, written, "make"))
    first.revert()
    assert closure(2) == ("new", 1, 2)
    second.revert()
    assert closure(2) == ("old", 1, 2)
    assert closure.__code__ is original


CARRIER = """
    HELP = {word!r}

    def f():
        return "f", HELP

    def g():
        return "g", HELP
"""


def test_two_patches_that_carry_one_name_do_not_take_it_from_each_other(
    write_module: WriteModule, new_patch: NewPatch
) -> None:
    node = write_module("def f(): return 'f'\ndef g(): return 'g'\n")
    one, other = write_module(CARRIER.format(word="one")), write_module(CARRIER.format(word="other"))
    livepatch.apply(_fix(new_patch, node, one, "f"))
    # Refusing the second as ambiguous is right, and so is giving each its own; changing what the first means is not.
    try:
        livepatch.apply(_fix(new_patch, node, other, "g"))
    except livepatch.IncompatibleError as error:
        assert "ambiguous-name" in {finding.code for finding in error.report.errors}  # noqa: PT017  # it may also go in
        assert node.g() == "g"
    else:
        assert node.g() == ("g", "other")
    assert node.f() == ("f", "one")


DOCUMENTED = """
    def f(x: int = 2) -> str:
        "doc of the fix"
        return {word!r}
"""


def test_what_two_patches_agree_on_stays_when_the_lower_one_goes(
    write_module: WriteModule, new_patch: NewPatch
) -> None:
    node = write_module('def f(x: bytes = 1):\n    "doc of the original"\n    return "old"\n')
    one, other = write_module(DOCUMENTED.format(word="one")), write_module(DOCUMENTED.format(word="other"))
    lower = livepatch.apply(_fix(new_patch, node, one, "f"))
    upper = livepatch.apply(_fix(new_patch, node, other, "f"))
    lower.revert()
    assert node.f() == "other"
    assert node.f.__doc__ == "doc of the fix"
    assert node.f.__annotations__ == {"x": int, "return": str}
    assert node.f.__defaults__ == (2,)
    upper.revert()
    assert node.f.__doc__ == "doc of the original"
    assert node.f.__annotations__ == {"x": bytes}


EXTENDED = """
    class C:
        def value(self):
            return self.extra()

        def extra(self):
            return "new"
"""


def test_a_cumulative_patch_may_bring_the_method_that_the_replaced_one_added(
    write_module: WriteModule, new_patch: NewPatch
) -> None:
    node = write_module("class C:\n    def value(self):\n        return 'old'\n")
    written = write_module(EXTENDED)
    first = livepatch.apply(_fix(new_patch, node, written, "C"))
    again = _fix(new_patch, node, written, "C")
    second = livepatch.apply(again, replaces=[first.id])
    assert node.C().value() == "new"
    second.revert()
    assert node.C().value() == "old"
    assert not hasattr(node.C, "extra")


def test_a_patch_may_replace_itself_by_its_next_form(write_module: WriteModule, new_patch: NewPatch) -> None:
    node = write_module("class C:\n    def value(self):\n        return 'old'\n")
    fix = _fix(new_patch, node, write_module(EXTENDED), "C")
    first = livepatch.apply(fix)
    second = livepatch.apply(fix, replaces=[fix.id])
    assert node.C().value() == "new"
    assert first.status().state == "reverted"
    second.revert()
    assert node.C().value() == "old"


def test_what_no_patch_speaks_of_any_more_is_forgotten(write_module: WriteModule, new_patch: NewPatch) -> None:
    node = write_module("def f(): return 'f'\ndef g(): return 'g'\n")
    written = write_module("def f(): return 'new f'\ndef g(): return 'new g'\ndef own(): return 'own'\n")
    both = livepatch.apply(_fix(new_patch, node, written, "f", "g"))
    livepatch.apply(_fix(new_patch, node, written, "f"), replaces=[both.id])
    node.g.__code__ = written.own.__code__  # nobody's business any more
    assert livepatch.verify()


@pytest.mark.parametrize(
    ("target", "live"),
    [
        ("C.p", "@property\n  def p(self): return 'old'"),
        ("C.p", "@classmethod\n  def p(cls): return 'old'"),
        ("C.p", "@functools.lru_cache\n  def p(self): return 'old'"),
        ("C.p", "def p(self): return 'old'"),
    ],
)
def test_a_patch_goes_over_one_that_brought_variables(
    target: str, live: str, write_module: WriteModule, new_patch: NewPatch
) -> None:
    m = write_module(f"import functools\nclass C:\n  {live}")
    ask = lambda: m.C().p if isinstance(m.C().p, str) else m.C().p()
    said = ["first"]

    first, second = new_patch(), new_patch()

    @first.replace(f"{m.__name__}:{target}")
    def p(self):
        return said[0]

    second.replace(f"{m.__name__}:{target}")(lambda self: "second")
    below = livepatch.apply(first)
    assert ask() == "first"
    report = livepatch.check(second)
    assert report.ok, report
    assert not [finding for finding in report.findings if finding.code == "variants"]
    livepatch.apply(second, replaces=[first.id]).revert()
    assert ask() == "old"
    assert below.status().state == "reverted"
