"""What looks alike and is not the same: other settings of equal value, other lambdas, the dead and their successors."""

from __future__ import annotations

import asyncio
import importlib
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.cycles import codes

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

SETTINGS = """
import socket
MAX_HEADER = 8190
MAX_BODY = 8190
MAX_TRAILER = MAX_HEADER
TIMEOUT = socket._GLOBAL_DEFAULT_TIMEOUT
class A:
    content_type = "text/html; charset=utf-8"
    limit = MAX_HEADER
class B:
    content_type = "text/html; charset=utf-8"
"""


def test_an_equal_setting_beside_it_is_another(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module(SETTINGS)
    fix = new_patch()
    fix.set(f"{m.__name__}:MAX_HEADER", 1024)
    livepatch.apply(fix)
    assert (m.MAX_HEADER, m.MAX_BODY, m.MAX_TRAILER, m.A.limit) == (1024, 8190, 1024, 1024)


def test_what_was_taken_from_elsewhere_changes_only_here(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module(SETTINGS)
    theirs = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
    fix = new_patch()
    fix.set(f"{m.__name__}:TIMEOUT", 5.0)
    livepatch.apply(fix)
    assert m.TIMEOUT == 5.0
    assert socket._GLOBAL_DEFAULT_TIMEOUT is theirs  # type: ignore[attr-defined]


def test_a_class_beside_it_keeps_its_equal_attribute(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module(SETTINGS)
    fix = new_patch()
    fix.set(f"{m.__name__}:A.content_type", "text/plain; charset=utf-8")
    livepatch.apply(fix)
    assert m.B.content_type == "text/html; charset=utf-8"


MAKERS = """
def guard(fn):
    def wrapper(*a, **k): return fn(*a, **k)
    return wrapper
def mk(is_async):
    if is_async:
        async def handler(x): return ("async", x)
    else:
        def handler(x): return ("sync", x)
    return handler
def keys(): return [lambda o: o["name"], lambda o: o["id"]]
@guard
def pay(x): return x
sync, coroutine, live_keys = mk(False), mk(True), keys()
"""


def test_live_closures_never_become_another_kind(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module(MAKERS)
    fix = new_patch()

    @fix.replace(f"{m.__name__}:guard")
    def guard(fn):
        async def wrapper(*a, **k):
            return fn(*a, **k)

        return wrapper

    @fix.replace(f"{m.__name__}:mk")
    def mk(is_async):
        if not is_async:

            def handler(x):
                return ("sync, fixed", x)

        else:

            async def handler(x):
                return ("async, fixed", x)

        return handler

    assert "closures-left-behind" in codes(livepatch.check(fix), "warning")
    applied = livepatch.apply(fix)
    assert m.pay(1) == 1
    assert m.sync(1) == ("sync, fixed", 1)
    assert asyncio.run(m.coroutine(1)) == ("async, fixed", 1)
    assert "guard.<locals>.wrapper" in " ".join(applied.status().left)


def test_live_lambdas_are_never_swapped_with_each_other(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module(MAKERS)
    fix = new_patch()

    @fix.replace(f"{m.__name__}:keys")
    def keys():
        by_id = lambda o: o["id"]
        return [lambda o: o["name"], by_id]

    livepatch.apply(fix)
    assert [key({"name": "n", "id": 1}) for key in m.live_keys] == ["n", 1]


def test_a_function_at_the_address_of_a_dead_one_is_patched(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module("def f(): return 'flawed'")
    for _ in range(20):
        fixes = [new_patch(), new_patch()]
        for fix in fixes:
            fix.replace(f"{m.__name__}:f")(lambda: "fixed")
        first = livepatch.apply(fixes[0])
        importlib.reload(importlib.reload(m))
        second = livepatch.apply(fixes[1])
        assert m.f() == "fixed"
        assert livepatch.verify()
        first.revert()
        second.revert()
        assert m.f() == "flawed"


def test_the_other_copy_of_a_module_gets_the_names_too(write_module: WriteModule, new_patch: NewPatch) -> None:
    """As after ``python -m``: the same source as ``__main__`` and under its own name."""
    m = write_module("def serve(x): return ('flawed', x)")
    other = type(sys)("other_main")
    source = Path(m.__file__).read_text(encoding="utf-8")
    exec(compile(source, m.__file__, "exec", dont_inherit=True), vars(other))
    sys.modules["other_main"] = other
    try:
        helper = write_module("def clean(x): return abs(x)\ndef serve(x): return ('fixed', clean(x))")
        fix = new_patch()
        fix.replace(f"{m.__name__}:serve")(helper.serve)
        applied = livepatch.apply(fix)
        assert (m.serve(-1), other.serve(-1)) == (("fixed", 1), ("fixed", 1))
        applied.revert()
        assert not hasattr(other, "clean")
    finally:
        del sys.modules["other_main"]


def test_a_wrapper_that_wraps_itself_stops_nobody(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module("def f(): return 'old'\ndef g(): pass\ng.__wrapped__ = g")
    fix = new_patch()
    fix.replace(f"{m.__name__}:f")(lambda: "new")
    livepatch.apply(fix)
    assert m.f() == "new"


def test_other_peoples_equality_is_never_asked(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module(
        "class Column:\n  def __eq__(self, other): raise RuntimeError('asked')\ndef f(x: Column()): return x"
    )
    fix = new_patch()

    @fix.replace(f"{m.__name__}:f")
    def f(x: int):
        return x

    assert livepatch.check(fix).ok


def test_a_new_descriptor_is_told_its_name(write_module: WriteModule, new_patch: NewPatch) -> None:
    import functools

    m = write_module("class C: x = 1")
    fix = new_patch()
    fix.add(f"{m.__name__}:C", y=functools.cached_property(lambda self: 2))
    fix.set(f"{m.__name__}:C.x", functools.cached_property(lambda self: 3))
    applied = livepatch.apply(fix)
    assert (m.C().x, m.C().y) == (3, 2)
    applied.revert()
    assert m.C.x == 1


def test_answers_kept_beside_the_instances_dict_are_cleared(write_module: WriteModule, new_patch: NewPatch) -> None:
    m = write_module(
        """
        class reify:
            def __init__(self, wrapped): self.wrapped, self.name = wrapped, wrapped.__name__
            def __get__(self, inst, owner):
                return inst._cache.setdefault(self.name, None) or inst._cache.__setitem__(
                    self.name, self.wrapped(inst)) or inst._cache[self.name]
            def __set__(self, inst, value): raise AttributeError
        class URL:
            __slots__ = ("_cache", "__weakref__")
            def __init__(self): self._cache = {}
            @reify
            def host(self): return "evil"
        """
    )
    url = m.URL()
    assert url.host == "evil"
    fix = new_patch()
    fix.replace(f"{m.__name__}:URL.host")(lambda self: "safe")
    applied = livepatch.apply(fix)
    assert url.host == "safe"
    applied.revert()
    assert url.host == "evil"


@pytest.mark.parametrize("default", [100, None])
def test_defaults_of_a_nested_function_are_its_makers(
    default: int | None, write_module: WriteModule, new_patch: NewPatch
) -> None:
    m = write_module("def lim():\n  def inner(x, limit=None): return (x, limit)\n  return inner")
    fix = new_patch()
    fix.replace(f"{m.__name__}:lim.<locals>.inner")(eval(f"lambda x, limit={default}: (x, limit, 'new')"))
    report = livepatch.check(fix)
    assert "defaults-of-the-maker" in codes(report, "warning") or not report.ok
