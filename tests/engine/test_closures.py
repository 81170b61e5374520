"""Functions that another one makes change with it, whether they were made before, while or after the patch is on."""

from __future__ import annotations

import gc
from types import FunctionType
from typing import TYPE_CHECKING

import pytest
from tests.cycles import codes, cycle, differences, picture, refused

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule

MAKER = """
def make(k):
    def inner(a=0): return 'old', k, a
    return inner
before = make(1)
"""
WAYS = {
    "the maker": ("make", "def make(k):\n    def inner(a=0): return 'new', k, a\n    return inner"),
    "the nested function": ("make.<locals>.inner", "def inner(a=0): return 'new', k, a"),
}


@pytest.mark.parametrize(("path", "replacement"), WAYS.values(), ids=WAYS.keys())
def test_made_before_and_after(path: str, replacement: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    fix = write_fix(f"{m.__name__}:{path}", replacement)
    cycle(fix, lambda: (m.before(5), m.make(2)(6)), (("old", 1, 5), ("old", 2, 6)), (("new", 1, 5), ("new", 2, 6)), m)


@pytest.mark.parametrize(("path", "replacement"), WAYS.values(), ids=WAYS.keys())
def test_made_while_patched(path: str, replacement: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    code = m.before.__code__
    applied = livepatch.apply(write_fix(f"{m.__name__}:{path}", replacement))
    meanwhile = m.make(2)
    assert meanwhile() == ("new", 2, 0)
    applied.mode = "off"
    assert (m.before(), meanwhile()) == (("old", 1, 0), ("old", 2, 0))
    while_off = m.make(3)
    applied.mode = "on"
    assert (meanwhile(), while_off()) == (("new", 2, 0), ("new", 3, 0))
    applied.revert()
    made = (m.before, meanwhile, while_off, m.make(4))
    assert [function()[0] for function in made] == ["old"] * 4
    assert all(function.__code__ is code for function in made)


@pytest.mark.parametrize(("path", "replacement"), WAYS.values(), ids=WAYS.keys())
def test_made_before_a_patch_that_goes_in_dormant(
    path: str, replacement: str, write_module: WriteModule, write_fix: WriteFix
):
    m = write_module(MAKER)
    before = picture(m)
    applied = livepatch.apply(write_fix(f"{m.__name__}:{path}", replacement), mode="off")
    late = m.make(2)
    assert differences(before) == []
    applied.mode = "on"
    assert (m.before(), late()) == (("new", 1, 0), ("new", 2, 0))
    applied.revert()
    assert (m.before(), late()) == (("old", 1, 0), ("old", 2, 0))
    assert differences(before) == []


@pytest.mark.parametrize(("path", "replacement"), WAYS.values(), ids=WAYS.keys())
def test_instances_may_go_while_patched(path: str, replacement: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    applied = livepatch.apply(write_fix(f"{m.__name__}:{path}", replacement))
    del m.before
    gc.collect()
    assert livepatch.verify(), str(livepatch.verify())
    status = applied.revert()
    assert (status.foreign, status.left) == ((), ())
    assert m.make(2)() == ("old", 2, 0)


def test_each_instance_keeps_its_own_defaults_and_cells(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        def make(k, default):
            def inner(a=default):
                nonlocal k
                k += 1
                return 'old', k, a
            return inner
        one, two = make(10, 'x'), make(20, 'y')
    """)
    fix = write_fix(
        f"{m.__name__}:make.<locals>.inner",
        """
        def around(k):
            @replace
            def inner(a=None):
                nonlocal k
                k += 100
                return 'new', k, a
        around(None)
        """,
    )
    applied = livepatch.apply(fix)
    assert (m.one(), m.two(), m.make(0, "z")()) == (("new", 110, "x"), ("new", 120, "y"), ("new", 100, "z"))
    applied.revert()
    assert (m.one(), m.two()) == (("old", 111, "x"), ("old", 121, "y"))


LEVELS = """
def outer(a):
    def middle(b):
        def inner(c): return 'old', a, b, c
        return inner
    return middle
middle = outer(1)
inner = middle(2)
"""


@pytest.mark.parametrize(
    ("path", "replacement"),
    [
        ("outer.<locals>.middle.<locals>.inner", "def inner(c): return 'new', a, b, c"),
        ("outer.<locals>.middle", "def middle(b):\n    def inner(c): return 'new', a, b, c\n    return inner"),
        (
            "outer",
            "def outer(a):\n def middle(b):\n  def inner(c): return 'new', a, b, c\n  return inner\n return middle",
        ),
    ],
)
def test_several_levels(path: str, replacement: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(LEVELS)
    uses = lambda: {use(3)[0] for use in (m.inner, m.middle(2), m.outer(1)(2))}
    cycle(write_fix(f"{m.__name__}:{path}", replacement), uses, {"old"}, {"new"}, m)


def test_what_a_decorator_made_of_every_handler(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        import functools
        def checked(limit):
            def around(function):
                @functools.wraps(function)
                def wrapper(n): return function(n) if n < limit else 'refused'
                return wrapper
            return around
        @checked(3)
        def f(n): return 'f'
        class C:
            @staticmethod
            @checked(5)
            def g(n): return 'g'
    """)
    fix = write_fix(
        f"{m.__name__}:checked.<locals>.around.<locals>.wrapper",
        "def wrapper(n): return function(n) if 0 <= n < limit else 'refused'",
    )
    cycle(
        fix,
        lambda: [m.f(-1), m.f(1), m.C.g(-1), m.C.g(5)],
        ["f", "f", "g", "refused"],
        ["refused", "f"] + ["refused"] * 2,
        m,
    )


@pytest.mark.parametrize(
    ("source", "path", "replacement"),
    [
        (
            "def make(k): return lambda: ('old', k)\nmade = make(1)",
            "make",
            "def make(k): return lambda: ('new', k)",
        ),
        (
            "def make(k):\n    f = lambda: ('old', k)\n    return f\nmade = make(1)",
            "make.<locals>.<lambda>",
            "def f(): return ('new', k)",
        ),
        (
            "make = lambda k: (lambda: ('old', k))\nmade = make(1)",
            "make",
            "def make(k): return lambda: ('new', k)",
        ),
    ],
    ids=["in a replaced function", "by its path", "in a replaced lambda"],
)
def test_lambdas(source: str, path: str, replacement: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(source)
    fix = write_fix(f"{m.__name__}:{path}", replacement)
    cycle(fix, lambda: (m.made(), m.make(2)()), (("old", 1), ("old", 2)), (("new", 1), ("new", 2)), m)


def test_several_lambdas_change_by_their_order(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def make(k): return [lambda: ('old', k), lambda: ('same', k)]\nmade = make(1)")
    fix = write_fix(f"{m.__name__}:make", "def make(k): return [lambda: ('new', k), lambda: ('same', k)]")
    cycle(fix, lambda: [f()[0] for f in m.made + m.make(2)], ["old", "same"] * 2, ["new", "same"] * 2, m)


@pytest.mark.parametrize("kind", ["generator", "coroutine", "async generator"])
def test_nested_functions_of_every_kind(kind: str, write_module: WriteModule, write_fix: WriteFix):
    body = {
        "generator": "def inner(): yield {tag!r}, k",
        "coroutine": "async def inner(): return {tag!r}, k",
        "async generator": "async def inner(): yield {tag!r}, k",
    }[kind]
    m = write_module(f"def make(k):\n    {body.format(tag='old')}\n    return inner\nmade = make(1)")
    run = {
        "generator": lambda made: next(made()),
        "coroutine": lambda made: finish(made()),
        "async generator": lambda made: finish(anext(made())),
    }[kind]
    fix = write_fix(f"{m.__name__}:make.<locals>.inner", body.format(tag="new"))
    cycle(fix, lambda: (run(m.made), run(m.make(2))), (("old", 1), ("old", 2)), (("new", 1), ("new", 2)), m)


def finish(awaitable):
    try:
        awaitable.__await__().send(None)
    except StopIteration as done:
        return done.value


def test_methods_of_a_class_that_a_function_makes(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        def make(k):
            class Made:
                __private = 'p'
                def f(self): return 'old', k, self.__private
            return Made
        Before = make(1)
        instance = Before()
    """)
    fix = write_fix(
        f"{m.__name__}:make",
        """
        def make(k):
            class Made:
                __private = 'p'
                def f(self): return 'new', k, self.__private
            return Made
        """,
    )
    cycle(fix, lambda: {m.instance.f(), m.make(1)().f()}, {("old", 1, "p")}, {("new", 1, "p")}, m)


def test_a_name_that_the_nested_replacement_brings_along(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    fix = write_fix(
        f"{m.__name__}:make.<locals>.inner", "def inner(a=0): return TAG, k, a", above="TAG = 'new ' + 'tag'"
    )
    cycle(fix, m.before, ("old", 1, 0), ("new tag", 1, 0), m)


@pytest.mark.parametrize("made", ["while on", "while off"])
def test_copies_made_later_follow_off_and_on(made: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f(): return 'new'")
    applied = livepatch.apply(fix, mode="on" if made == "while on" else "off")
    copy = FunctionType(m.f.__code__, vars(m))
    applied.mode = "off"
    assert copy() == "old"
    applied.mode = "on"
    assert copy() == "new", "the fix is on, and a live function does not have it"
    applied.revert()
    assert copy() == "old"


# What cannot follow is left as it is and named


OTHER_SHAPES = [
    "def inner(a=0, b=0): return 'new', k, a",
    "def inner(b=0): return 'new', k, b",
    "def inner(a=0, /): return 'new', k, a",
    "def inner(*a): return 'new', k, a",
    "def inner(a=0): return 'new', k, a, l",
    "def other(a=0): return 'new', k, a\n    inner = other",
]


@pytest.mark.parametrize("inner", OTHER_SHAPES)
def test_instances_of_another_shape_stay_on_their_side(inner: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    before = picture(m)
    applied = livepatch.apply(
        write_fix(f"{m.__name__}:make", f"def make(k):\n    l = k\n    {inner}\n    return inner")
    )
    assert m.before() == ("old", 1, 0)
    late = m.make(2)
    assert late()[0] == "new"
    status = applied.revert()
    assert (m.before(), m.make(2)()) == (("old", 1, 0), ("old", 2, 0))
    assert differences(before) == []
    assert late()[0] == "new"
    assert any("make.<locals>." in left for left in status.left), (
        "an instance that still runs the new side is not named"
    )


def test_instances_that_stay_on_the_old_side_are_named_before_and_after(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    fix = write_fix(f"{m.__name__}:make", f"def make(k):\n    {OTHER_SHAPES[0]}\n    return inner")
    report = livepatch.check(fix)
    assert report.ok
    assert "closures-left-behind" in codes(report, "warning"), "nobody is told that a live instance stays vulnerable"
    assert "make.<locals>.inner" in str(report)
    status = livepatch.apply(fix).status()
    assert any("make.<locals>.inner" in left for left in status.left)


@pytest.mark.parametrize(
    "inner",
    [
        "def inner(a=0, b=0): return 'new', k, a",
        "def inner(b=0): return 'new', k, b",
        "def inner(*, a=0): return 'new', k, a",
        "def inner(a=0): return 'new', later, a",
    ],
)
def test_a_nested_function_of_another_shape_is_refused(inner: str, write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER.replace("return inner", "later = k; keep = lambda: later; return inner"))
    finding = refused(write_fix(f"{m.__name__}:make.<locals>.inner", inner), "closure-shape-changed", m)
    assert f"{m.__name__}:make" in finding.action


def test_a_variable_less_is_no_other_shape(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    fix = write_fix(f"{m.__name__}:make.<locals>.inner", "def inner(a=0): return 'new'")
    cycle(fix, lambda: (m.before(), m.make(2)()), (("old", 1, 0), ("old", 2, 0)), ("new", "new"), m)


def test_a_variable_less_in_a_replaced_maker_is_no_other_shape(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    fix = write_fix(f"{m.__name__}:make", "def make(k):\n    def inner(a=0): return 'new'\n    return inner")
    cycle(fix, lambda: (m.before(), m.make(2)()), (("old", 1, 0), ("old", 2, 0)), ("new", "new"), m)


# Several changes of one maker


def test_a_second_patch_inside_a_patched_maker_is_refused(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        def make(k):
            def one(): return 'old', k
            def two(): return 'old', k
            return one, two
        made = make(1)
    """)
    first = livepatch.apply(write_fix(f"{m.__name__}:make.<locals>.one", "def one(): return 'new', k"))
    second = write_fix(f"{m.__name__}:make.<locals>.two", "def two(): return 'new', k")
    assert first.id in refused(second, "maker-is-patched", m).found
    assert livepatch.apply(second, replaces=[first.id]).mode == "on"
    assert [f()[0] for f in (*m.made, *m.make(2))] == ["old", "new"] * 2


@pytest.mark.parametrize("out", [0, 1])
def test_a_patch_on_the_maker_goes_over_one_on_what_it_makes(out: int, write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        def make(k):
            tag = 'old'
            def inner(): return tag, 'old', k
            return inner
        made = make(1)
    """)
    before = picture(m)
    nested = write_fix(f"{m.__name__}:make.<locals>.inner", "def inner(): return tag, 'nested', k")
    maker = write_fix(
        f"{m.__name__}:make", "def make(k):\n    tag = 'new'\n    def inner(): return tag, 'maker', k\n    return inner"
    )
    applied = [livepatch.apply(nested), livepatch.apply(maker)]
    assert (m.made()[1], m.make(2)()[1]) == ("maker", "maker")
    assert livepatch.verify(), str(livepatch.verify())
    applied.pop(out).revert()
    assert livepatch.verify(), str(livepatch.verify())
    assert m.made()[1] == m.make(2)()[1] == ("maker", "nested")[out]
    applied.pop().revert()
    assert (m.made(), m.make(2)()) == (("old", "old", 1), ("old", "old", 2))
    assert differences(before) == []


def test_one_patch_on_two_nested_functions(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("""
        def make(k):
            def one(): return 'old', k
            def two(): return 'old', k
            return one, two
        made = make(1)
    """)
    fix = write_fix(
        f"{m.__name__}:make.<locals>.one",
        f"""
        @replace
        def one(): return 'new', k
        @fix.replace("{m.__name__}:make.<locals>.two")
        def two(): return 'new', k
        """,
    )
    cycle(fix, lambda: {f()[0] for f in (*m.made, *m.make(2))}, {"old"}, {"new"}, m)


def test_one_patch_on_the_maker_and_what_it_makes_is_whole_or_refused(write_module: WriteModule, write_fix: WriteFix):
    m = write_module(MAKER)
    fix = write_fix(
        f"{m.__name__}:make",
        f"""
        @replace
        def make(k):
            def inner(a=0): return 'maker', k, a
            return inner
        @fix.replace("{m.__name__}:make.<locals>.inner")
        def inner(a=0): return 'nested', k, a
        """,
    )
    if livepatch.check(fix).ok:
        cycle(fix, lambda: (m.before()[0], m.make(2)()[0]), ("old", "old"), ("nested", "nested"), m)
    else:
        refused(fix, "changed-twice", m)


def test_instances_that_somebody_else_changed_are_left_alone(
    write_module: WriteModule, write_fix: WriteFix, new_patch: NewPatch
):
    m = write_module(MAKER)
    other = m.make(2)
    applied = livepatch.apply(write_fix(f"{m.__name__}:make", WAYS["the maker"][1]))

    def instrumented(a=0):
        return m, "theirs"

    def made_by_others():
        k = None
        return lambda a=0: ("theirs", k)

    other.__code__ = made_by_others().__code__
    applied.revert()
    assert m.before() == ("old", 1, 0)
    assert other() == ("theirs", 2)
