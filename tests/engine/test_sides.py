"""The new side of a function: its body and what changes with it; what does not change stays the very object."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import textwrap
import types
from collections.abc import AsyncGenerator, Coroutine, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.cycles import codes, cycle, refused

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule

SRC = Path(livepatch.__file__).resolve().parents[1]


def run(value: Any) -> object:
    """Run what a call gave to its end: the values of generators, the results of coroutines."""
    if isinstance(value, Generator):
        return [*value]
    if isinstance(value, Coroutine):
        try:
            while True:
                value.send(None)
        except StopIteration as done:
            return done.value
    if isinstance(value, AsyncGenerator):

        async def collect():
            return [item async for item in value]

        return run(collect())
    return value


# Defaults, annotations, docstring

ATTRIBUTES = {
    "a default": ("def f(a=1): return a", "def f(a=2): return a", "m.f()", 1, 2),
    "a default of another type": ("def f(a=1): return repr(a)", "def f(a=True): return repr(a)", "m.f()", "1", "True"),
    "a default's sign of zero": (
        "def f(a=0.0): return repr(a)",
        "def f(a=-0.0): return repr(a)",
        "m.f()",
        "0.0",
        "-0.0",
    ),
    "a first default": ("def f(a): return 'old'", "def f(a=1): return 'new'", "m.f(0)", "old", "new"),
    "a new parameter": ("def f(a): return a", "def f(a, b=2): return a, b", "m.f(1)", 1, (1, 2)),
    "a mutable default": ("def f(a=None): return a", "def f(a=[]): return a", "m.f()", None, []),
    "a keyword default": ("def f(*, a=1): return a", "def f(*, a=2): return a", "m.f()", 1, 2),
    "a first keyword default": ("def f(*, a): return 'old'", "def f(*, a=2): return 'new'", "m.f(a=0)", "old", "new"),
    "a new keyword parameter": ("def f(a): return a", "def f(a, *, b=2): return a, b", "m.f(1)", 1, (1, 2)),
    "both sorts of defaults": (
        "def f(a=1, *, b=2): return a, b",
        "def f(a=3, *, b=4): return a, b",
        "m.f()",
        (1, 2),
        (3, 4),
    ),
    "keyword defaults with their order": (
        "def f(*, a=1, b=2): return a, b",
        "def f(*, b=2, a=1): return b, a",
        "m.f()",
        (1, 2),
        (2, 1),
    ),
    "annotations": (
        "def f(a: int) -> int: return 1",
        "def f(a: str) -> bytes: return 1",
        "m.f.__annotations__",
        {"a": int, "return": int},
        {"a": str, "return": bytes},
    ),
    "first annotations": (
        "def f(a): return 1",
        "def f(a: str): return 1",
        "m.f.__annotations__",
        {},
        {"a": str},
    ),
    "annotations that were set by hand": (
        "def f(a): return 1\nf.__annotations__ = {'a': int}",
        "def f(a: str): return 1",
        "m.f.__annotations__",
        {"a": int},
        {"a": str},
    ),
    "annotations that are left out stay": (
        "def f(a: int) -> int: return 'old'",
        "def f(a): return 'new'",
        "(m.f(1), m.f.__annotations__)",
        ("old", {"a": int, "return": int}),
        ("new", {"a": int, "return": int}),
    ),
    "a docstring": ("def f(): 'old words'", "def f(): 'new words'", "m.f.__doc__", "old words", "new words"),
    "a first docstring": ("def f(): return 1", "def f():\n  'words'\n  return 1", "m.f.__doc__", None, "words"),
    "a docstring that is left out stays": (
        "def f():\n  'words'\n  return 'old'",
        "def f(): return 'new'",
        "(m.f(), m.f.__doc__)",
        ("old", "words"),
        ("new", "words"),
    ),
    "everything at once": (
        "def f(a: int = 1, *, b: int = 2) -> int:\n  'old words'\n  return a, b",
        "def f(a: str = 3, *, b: str = 4) -> str:\n  'new words'\n  return b, a",
        "(m.f(), m.f.__doc__, sorted(m.f.__annotations__))",
        ((1, 2), "old words", ["a", "b", "return"]),
        ((4, 3), "new words", ["a", "b", "return"]),
    ),
}


@pytest.mark.parametrize(("source", "replacement", "probe", "old", "new"), ATTRIBUTES.values(), ids=ATTRIBUTES.keys())
def test_what_is_around_the_body_changes_with_it(
    source: str,
    replacement: str,
    probe: str,
    old: object,
    new: object,
    write_module: WriteModule,
    write_fix: WriteFix,
):
    m = write_module(source)
    cycle(write_fix(f"{m.__name__}:f", replacement), lambda: eval(probe, {"m": m}), old, new, m)


ALIKE = """
def f(a=1000, b='some text', *, c=(1, 2.5), d=b'x') -> int:
    "words"
    return 'old'
"""


def test_what_does_not_change_stays_the_very_object(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(ALIKE)
    held = lambda: [m.f.__defaults__, m.f.__kwdefaults__, m.f.__doc__, m.f.__annotations__, m.f.__dict__]
    before = held()
    applied = livepatch.apply(write_fix(f"{m.__name__}:f", ALIKE.replace("old", "new")))
    assert m.f() == "new"
    assert [a is b for a, b in zip(held(), before, strict=True)] == [True] * 5
    applied.mode = "off"
    applied.revert()
    assert [a is b for a, b in zip(held(), before, strict=True)] == [True] * 5


STORES = """
import dataclasses, sys
sys.path.insert(0, {folder!r})
import livepatch, target, fixes
from livepatch.process import examining, switching
really = examining.observe
examining.observe = switching.observe = lambda: dataclasses.replace(really(), audit_hooked=False)
stores = []
sys.addaudithook(
    lambda event, args: stores.append(args[1])
    if event == 'object.__setattr__' and args[0] is target.f else None
)
applied = livepatch.apply(fixes.fix)
assert target.f() == 'new'
applied.mode = 'off'
applied.revert()
assert target.f() == 'old'
print(*stores)
"""


@pytest.mark.parametrize(
    ("replacement", "stored"),
    [
        (ALIKE.replace("old", "new"), ["__code__"] * 2),
        (ALIKE.replace("old", "new").replace("1000", "1001"), ["__code__", "__defaults__"] * 2),
        (ALIKE.replace("old", "new").replace("2.5", "3"), ["__code__", "__kwdefaults__"] * 2),
    ],
)
def test_only_what_changes_is_stored_to(replacement: str, stored: list[str], distribution: Path):
    # An audit hook sees every store to a function. It cannot be removed, so it gets a process of its own, and it would
    # forbid the patch, so it is kept from the checks.
    (distribution / "target.py").write_text(ALIKE)
    (distribution / "fixes.py").write_text(
        "import livepatch\nfix = livepatch.Patch('FIX-S', package='specimen', versions='==1.0')\n"
        f"@fix.replace('target:f')\n{replacement.strip()}\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", STORES.format(folder=str(distribution))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(done.stdout.splitlines()[-1].split()) == sorted(stored)


def test_name_module_and_dict_are_the_target_s_own(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'\nf.tag = 'theirs'")
    fix = new_patch()

    def quite_another_name():
        return "new"

    quite_another_name.tag = "ours"
    fix.replace(f"{m.__name__}:f")(quite_another_name)
    with_names = lambda: (m.f.__name__, m.f.__qualname__, m.f.__module__, m.f.__code__.co_qualname, m.f.tag)
    before = with_names()
    livepatch.apply(fix)
    assert m.f() == "new"
    assert with_names() == before


# Kinds and parameters

# parameters, what a call gives, and calls
FORMS = [
    ("", "()", ["f()"]),
    ("a, b=2", "(a, b)", ["f(1)", "f(1, 3)", "f(b=4, a=5)"]),
    ("a, b=2, /", "(a, b)", ["f(1)", "f(1, 3)"]),
    ("*, a, b=2", "(a, b)", ["f(a=1)", "f(b=3, a=1)"]),
    ("a, *rest", "(a, rest)", ["f(1)", "f(1, 2, 3)"]),
    ("a=0, **named", "(a, named)", ["f()", "f(1, x=2)", "f(a=3, y=4)"]),
    ("*rest, **named", "(rest, named)", ["f()", "f(1, x=2)"]),
    (
        "a, /, b, c=3, *rest, d, e=5, **named",
        "(a, b, c, rest, d, e, named)",
        ["f(1, 2, d=4)", "f(1, b=2, d=4, e=6, a=7)", "f(1, 2, 3, 4, 5, d=6, x=7)"],
    ),
]
KINDS = {
    "function": "def f{i}({form}): return ({tag!r}, {result})",
    "generator": "def f{i}({form}):\n    yield ({tag!r})\n    yield {result}",
    "coroutine": "async def f{i}({form}): return ({tag!r}, {result})",
    "async generator": "async def f{i}({form}):\n    yield ({tag!r})\n    yield {result}",
}


def source_of(kind: str, tag: str) -> str:
    """One function for each form of parameters."""
    return "\n".join(
        KINDS[kind].format(i=i, form=parameters, tag=tag, result=result)
        for i, (parameters, result, _) in enumerate(FORMS)
    )


@pytest.mark.parametrize("way", ["in place", "forwarded"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_with_every_form_of_parameters(kind: str, way: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(source_of(kind, "old"))
    new = source_of(kind, "new")
    if way == "forwarded":
        # A variable of the replacement's own makes it a function of its own.
        new = textwrap.indent(new.replace("yield (", "own; yield (").replace("return", "own; return"), "    ")
        new = f"def around(own):\n{new}\n    return locals()\nlocals().update(around('own'))"
    new += "".join(f"\nfix.replace('{m.__name__}:f{i}')(f{i})" for i in range(len(FORMS)))
    fix = write_fix("", f"# @replace\n{new}")
    functions = [vars(m)[f"f{i}"] for i in range(len(FORMS))]
    introspection = lambda: [
        (
            str(inspect.signature(f)),
            inspect.iscoroutinefunction(f),
            inspect.isgeneratorfunction(f),
            inspect.isasyncgenfunction(f),
            inspect.getfullargspec(f),
            f.__name__,
        )
        for f in functions
    ]
    before, seen = introspection(), []

    def probe():
        assert introspection() == before
        calls = [(f, call) for f, (_, _, calls) in zip(functions, FORMS, strict=True) for call in calls]
        results = [run(eval(call, {"f": f})) for f, call in calls]
        seen.append([result[1:] for result in results])
        return {result[0] for result in results}

    report = cycle(fix, probe, {"old"}, {"new"}, m)
    assert codes(report, "info").count("forwarded") == (len(FORMS) if way == "forwarded" else 0)
    assert seen == [seen[0]] * len(seen)


def test_wrong_calls_of_a_forwarded_side_name_the_target(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(a, /, *, b): return 'old'")
    fix, own = new_patch(), "new"

    @fix.replace(f"{m.__name__}:f")
    def f(a, /, *, b):
        return own

    livepatch.apply(fix)
    assert m.f(1, b=2) == "new"
    with pytest.raises(TypeError, match=r"f\(\) missing 1 required keyword-only argument: 'b'"):
        m.f(1)


def test_a_forwarded_generator_is_the_real_one(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): yield 'old'")
    fix, seen = new_patch(), []

    @fix.replace(f"{m.__name__}:f")
    def f():
        try:
            seen.append((yield 1))
            try:
                yield 2
            except KeyError:
                yield 3
            return "done"
        finally:
            seen.append("closed")

    livepatch.apply(fix)
    generator = m.f()
    assert [next(generator), generator.send("sent"), generator.throw(KeyError)] == [1, 2, 3]
    with pytest.raises(StopIteration) as done:
        next(generator)
    assert done.value.value == "done"
    assert generator.gi_code.co_qualname == "f"
    other = m.f()
    next(other)
    other.close()
    assert seen == ["sent", "closed", "closed"]


@pytest.mark.parametrize("way", ["in place", "forwarded"])
def test_a_generator_based_coroutine(way: str, write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        import types
        @types.coroutine
        def f():
            yield
            return 'old'
        async def call(): return await f()
    """)
    fix, own = new_patch(), "new"
    if way == "forwarded":

        def f():
            yield
            return own
    else:

        def f():
            yield
            return "new"

    made = types.coroutine(f)
    assert made is f
    fix.replace(f"{m.__name__}:f")(made)
    cycle(fix, lambda: run(m.call()), "old", "new", m)


# Free variables


def test_a_replacement_with_variables_around_it(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(a): return 'old', a")
    fix, seen = new_patch(), []

    @fix.replace(f"{m.__name__}:f")
    def f(a):
        seen.append(a)
        return "new", len(seen) > 0

    report = cycle(fix, lambda: m.f(1)[0], "old", "new", m)
    assert codes(report, "info").count("forwarded") == 1
    assert seen == [1, 1]


def test_a_replacement_that_stores_to_a_variable_around_it(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    fix, count = new_patch(), 0

    @fix.replace(f"{m.__name__}:f")
    def f():
        nonlocal count
        count += 1
        return count

    applied = livepatch.apply(fix)
    assert [m.f(), m.f(), count] == [1, 2, 2]
    count = 10
    assert m.f() == 11
    applied.revert()
    assert (m.f(), count) == ("old", 11)


def test_a_variable_bound_after_the_definition(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    fix = new_patch()

    @fix.replace(f"{m.__name__}:f")
    def f():
        return later

    applied = livepatch.apply(fix)
    with pytest.raises(NameError):
        m.f()
    later = "new"
    assert m.f() == "new"
    applied.revert()


def test_a_replacement_that_calls_itself_by_its_local_name(write_module: WriteModule, new_patch: NewPatch):
    # Written inside a function, its own name is a variable around it: that is the replacement, and so the new side.
    m = write_module("def f(n): return 'old'")
    fix = new_patch()

    @fix.replace(f"{m.__name__}:f")
    def f(n):
        return ["new", *f(n - 1)] if n else []

    cycle(fix, lambda: m.f(2), "old", ["new", "new"], m)


@pytest.mark.parametrize("copies", [1, 2])
def test_every_copy_is_forwarded(copies: int, write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        from types import FunctionType
        def f(a=1): return 'old', a
        copies = [FunctionType(f.__code__, globals(), 'f', (i,)) for i in (2, 3)]
    """)
    del m.copies[copies:]
    fix, own = new_patch(), "new"

    @fix.replace(f"{m.__name__}:f")
    def f(a=1):
        return own, a

    uses = lambda: [m.f(), *(copy() for copy in m.copies)]
    defaults = [1, 2, 3][: copies + 1]
    cycle(fix, uses, [("old", a) for a in defaults], [("new", a) for a in defaults], m)


# super() and __class__

SUPER = """
import functools
class Base:
    def f(self): return 'base'
    @classmethod
    def k(cls): return 'base ' + cls.__name__
    @property
    def x(self): return 'base'
class C(Base):
    def f(self): return 'old'
    def g(self): return 'old ' + super().f()
    def h(self): return 'old ' + __class__.__name__
    @classmethod
    def k(cls): return 'old'
    @property
    def x(self): return 'old'
    @functools.cached_property
    def y(self): return 'old'
    def gen(self): yield 'old'
    async def co(self): return 'old'
class D(C):
    pass
"""


@pytest.mark.parametrize(
    ("path", "replacement", "probe", "old", "new", "forwarded"),
    [
        ("C.f", "def f(self): return 'new ' + super().f()", "m.D().f()", "old", "new base", True),
        ("C.f", "def f(self): return 'new ' + super(C, self).f()", "m.D().f()", "old", "new base", True),
        ("C.f", "def f(self): return 'new ' + __class__.__name__", "m.D().f()", "old", "new C", True),
        ("C.f", "def f(self): return [s().f() for s in [super]] if 0 else 'new'", "m.D().f()", "old", "new", True),
        (
            "C.f",
            "def f(self): return (lambda: 'new ' + super(__class__, self).f())()",
            "m.D().f()",
            "old",
            "new base",
            True,
        ),
        ("C.g", "def g(self): return 'new ' + super().f()", "m.D().g()", "old base", "new base", False),
        ("C.g", "def g(self): return 'new'", "m.D().g()", "old base", "new", False),
        ("C.h", "def h(self): return 'new ' + super().f()", "m.D().h()", "old C", "new base", False),
        ("C.k", "def k(cls): return 'new ' + super().k()", "m.D.k()", "old", "new base D", True),
        ("C.x", "def x(self): return 'new ' + super().x", "m.D().x", "old", "new base", True),
        ("C.y", "def y(self): return 'new ' + super().f()", "m.D().y", "old", "new base", True),
        ("C.gen", "def gen(self): yield 'new ' + super().f()", "next(m.D().gen())", "old", "new base", True),
        ("C.co", "async def co(self): return 'new ' + super().f()", "run(m.D().co())", "old", "new base", True),
    ],
)
def test_super_comes_and_goes(
    path: str,
    replacement: str,
    probe: str,
    old: object,
    new: object,
    forwarded: bool,
    write_module: WriteModule,
    write_fix: WriteFix,
):
    m = write_module(SUPER)
    report = cycle(
        write_fix(f"{m.__name__}:{path}", replacement), lambda: eval(probe, {"m": m, "run": run}), old, new, m
    )
    assert ("forwarded" in codes(report, "info")) == forwarded


def test_super_beside_a_variable_of_the_replacement(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(SUPER)
    fix, own = new_patch(), "new "

    def f(self):
        return own + super().f()

    def g(self):
        return own + super().f()

    fix.replace(f"{m.__name__}:C.f")(f)
    fix.replace(f"{m.__name__}:C.g")(g)
    cycle(fix, lambda: (m.D().f(), m.D().g()), ("old", "old base"), ("new base", "new base"), m)


def test_super_in_a_class_that_a_decorator_made_anew(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        import dataclasses
        class Base:
            def f(self): return 'base'
        @dataclasses.dataclass(slots=True)
        class C(Base):
            a: int = 1
            def f(self): return 'old'
    """)
    fix = write_fix(f"{m.__name__}:C.f", "def f(self): return 'new ' + super().f()")
    cycle(fix, lambda: m.C().f(), "old", "new base", m)


def test_super_of_a_nested_class(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        class Base:
            def f(self): return 'base'
        class A:
            class B(Base):
                def f(self): return 'old'
    """)
    fix = write_fix(f"{m.__name__}:A.B.f", "def f(self): return 'new ' + super().f()")
    cycle(fix, lambda: m.A.B().f(), "old", "new base", m)


def test_private_names_are_those_of_the_target_s_class(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        class _C:
            __secret = 'hidden'
            def f(self): return 'old'
    """)
    fix = write_fix(f"{m.__name__}:_C.f", "def f(self, __a=1): return [self.__secret for _ in 'x'][0] + str(__a)")
    cycle(fix, lambda: m._C().f(), "old", "hidden1", m)


def test_the_replacement_itself_stays_a_function_of_its_own(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(a=1): return 'old'")
    fix = new_patch()

    @fix.replace(f"{m.__name__}:f")
    def f(a=2):
        return "new"

    held = [f.__code__, f.__defaults__, f.__globals__, f.__closure__]
    livepatch.apply(fix)
    assert m.f() == f() == "new"
    assert [f.__code__, f.__defaults__, f.__globals__, f.__closure__] == held
    assert m.f is not f


def test_a_target_behind_a_decorator_keeps_the_decorator_s_attributes(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        import functools
        def deco(function):
            @functools.wraps(function)
            def wrapper(*args): return function(*args)
            wrapper.extra = 1
            return wrapper
        @deco
        def f(a=1):
            "words"
            return 'old', a
    """)
    outside = lambda: (m.f.__name__, m.f.__doc__, m.f.extra, m.f.__wrapped__, m.f.__code__)
    before = outside()
    fix = write_fix(f"{m.__name__}:f", "def f(a=2):\n    'other words'\n    return 'new', a")
    livepatch.apply(fix)
    assert m.f() == ("new", 2)
    assert [a is b for a, b in zip(outside(), before, strict=True)] == [True] * len(before)
    assert m.f.__wrapped__.__doc__ == "other words"


def test_signatures_that_tools_kept_are_not_touched(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("import inspect\ndef f(a): return 'old'\nf.__signature__ = inspect.Signature()")
    kept = m.f.__signature__
    livepatch.apply(write_fix(f"{m.__name__}:f", "def f(a, b=1): return 'new'"))
    assert m.f.__signature__ is kept


def test_super_in_what_is_no_method(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f():\n    def inner():\n        return super()\n    return inner()")
    assert "which is no method" in refused(fix, "super-outside-class", m).found


def test_super_of_a_class_within_is_its_own(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'")
    inner = "class C:\n        def told(self):\n            return super().__init__()"
    fix = write_fix(f"{m.__name__}:f", f"def f():\n    {inner}\n    return C().told()")
    cycle(fix, m.f, "old", None, m)


@pytest.mark.parametrize(
    ("member", "needs"),
    [
        ("def f(self): return self.__hidden", "private names (__hidden)"),
        ("def f(self): return super().f()", "super() outside a class"),
    ],
)
def test_what_needs_source_without_source(write_module: WriteModule, new_patch: NewPatch, member: str, needs: str):
    m = write_module("class C:\n    __hidden = 1\n    def f(self): return 'old'")
    space: dict[str, Any] = {"__name__": "nowhere"}
    exec(member, space)  # a file that is nowhere
    fix = new_patch()
    fix.replace(f"{m.__name__}:C.f")(space["f"])
    assert needs in refused(fix, "source-needed", m).found
