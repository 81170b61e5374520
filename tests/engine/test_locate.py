"""A target's path leads to the function that the source defines there, whatever is around it."""

from __future__ import annotations

import functools
import importlib
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import TYPE_CHECKING

import pytest
from tests.cycles import codes, cycle, refused

import livepatch

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteModule

SRC = Path(livepatch.__file__).resolve().parents[1]


@dataclass(frozen=True)
class Shape:
    """A way to hold a function: the module, the target's path, its replacement, and calls that reach it."""

    source: str
    target: str
    replacement: str
    probe: str
    old: object = "old"
    new: object = "new"


def plain(name: str, parameters: str = "") -> str:
    return f"def {name}({parameters}): return 'new'"


SHAPES = {
    "plain function": Shape("def f(): return 'old'", "f", plain("f"), "m.f()"),
    "method": Shape("class C:\n  def f(self): return 'old'", "C.f", plain("f", "self"), "m.C().f()"),
    "method of a nested class": Shape(
        "class A:\n  class B:\n    def f(self): return 'old'", "A.B.f", plain("f", "self"), "m.A.B().f()"
    ),
    "method of a class in a function": Shape(
        """
        def make():
            class Inner:
                def f(self): return 'old'
            return Inner
        One, Two = make(), make()
        """,
        "make.<locals>.Inner.f",
        plain("f", "self"),
        "(m.One().f(), m.Two().f(), m.make()().f())",
        ("old",) * 3,
        ("new",) * 3,
    ),
    "functools.wraps": Shape(
        """
        import functools
        def deco(function):
            @functools.wraps(function)
            def wrapper(*args): return ('w', function(*args))
            return wrapper
        @deco
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "functools.wraps three deep": Shape(
        """
        import functools
        def deco(tag):
            def around(function):
                @functools.wraps(function)
                def wrapper(*args): return tag + function(*args)
                return wrapper
            return around
        @deco('a')
        @deco('b')
        @deco('c')
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.f()",
        "abcold",
        "abcnew",
    ),
    "the wrapper that a decorator makes": Shape(
        """
        import functools
        def deco(function):
            @functools.wraps(function)
            def wrapper(*args): return ('old', function(*args))
            return wrapper
        @deco
        def f(): return 1
        @deco
        def g(): return 2
        """,
        "deco.<locals>.wrapper",
        "def wrapper(*args): return ('new', function(*args))",
        "(m.f(), m.g(), m.deco(lambda: 3)())",
        (("old", 1), ("old", 2), ("old", 3)),
        (("new", 1), ("new", 2), ("new", 3)),
    ),
    "decorator without __wrapped__": Shape(
        """
        def deco(function):
            def wrapper(*args): return ('w', function(*args))
            return wrapper
        @deco
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "decorator that keeps it in a list in its closure": Shape(
        """
        def deco(function):
            chain = [function]
            def wrapper(*args): return ('w', *[each(*args) for each in chain])
            return wrapper
        @deco
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "decorator that keeps it in a default": Shape(
        """
        def deco(function):
            def wrapper(*args, _f=function): return ('w', _f(*args))
            return wrapper
        @deco
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "class-based decorator": Shape(
        """
        class Deco:
            def __init__(self, function): self.function = function
            def __call__(self, *args): return ('w', self.function(*args))
        @Deco
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "class-based decorator with __slots__": Shape(
        """
        class Deco:
            __slots__ = ('function',)
            def __init__(self, function): self.function = function
            def __call__(self, *args): return ('w', self.function(*args))
        @Deco
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "descriptor of one's own": Shape(
        """
        class Lazy:
            def __init__(self, function): self.function = function
            def __get__(self, instance, owner=None): return self.function(instance)
        class C:
            @Lazy
            def f(self): return 'old'
        """,
        "C.f",
        plain("f", "self"),
        "m.C().f",
    ),
    "lru_cache": Shape(
        "import functools\n@functools.lru_cache(maxsize=8)\ndef f(a): return 'old'", "f", plain("f", "a"), "m.f(1)"
    ),
    "cache": Shape("import functools\n@functools.cache\ndef f(a): return 'old'", "f", plain("f", "a"), "m.f(1)"),
    "partial under the function's own name": Shape(
        "import functools\ndef f(a, b): return 'old'\nf = functools.partial(f, 1)",
        "f",
        plain("f", "a, b"),
        "m.f(2)",
    ),
    "function held by partials and bound methods": Shape(
        """
        import functools
        def f(a): return 'old'
        class C:
            def g(self, a): return 'old'
            h = functools.partialmethod(g, 1)
        bound, early = functools.partial(f, 1), C().g
        """,
        "C.g",
        plain("g", "self, a"),
        "(m.C().h(), m.early(2))",
        ("old", "old"),
        ("new", "new"),
    ),
    "partialmethod under the method's own name": Shape(
        "import functools\nclass C:\n  def f(self, a): return 'old'\n  f = functools.partialmethod(f, 1)",
        "C.f",
        plain("f", "self, a"),
        "m.C().f()",
    ),
    "singledispatch, main implementation": Shape(
        """
        import functools
        @functools.singledispatch
        def f(a): return 'old'
        @f.register
        def _(a: int): return 'int'
        """,
        "f",
        plain("f", "a"),
        "(m.f('x'), m.f(1))",
        ("old", "int"),
        ("new", "int"),
    ),
    "singledispatch, the only registered _": Shape(
        """
        import functools
        @functools.singledispatch
        def f(a): return 'main'
        @f.register
        def _(a: int): return 'old'
        """,
        "_",
        plain("_", "a"),
        "(m.f('x'), m.f(1))",
        ("main", "old"),
        ("main", "new"),
    ),
    "singledispatch, registered under a name of its own": Shape(
        """
        import functools
        @functools.singledispatch
        def f(a): return 'main'
        @f.register(int)
        def f_int(a): return 'old'
        @f.register(str)
        def f_str(a): return 'str'
        """,
        "f_int",
        plain("f_int", "a"),
        "(m.f(1.5), m.f(1), m.f(''))",
        ("main", "old", "str"),
        ("main", "new", "str"),
    ),
    "singledispatchmethod": Shape(
        """
        import functools
        class C:
            @functools.singledispatchmethod
            def f(self, a): return 'old'
            @f.register
            def _(self, a: int): return 'int'
        """,
        "C.f",
        plain("f", "self, a"),
        "(m.C().f(''), m.C().f(1))",
        ("old", "int"),
        ("new", "int"),
    ),
    "singledispatchmethod, registered": Shape(
        """
        import functools
        class C:
            @functools.singledispatchmethod
            def f(self, a): return 'main'
            @f.register
            def f_int(self, a: int): return 'old'
        """,
        "C.f_int",
        plain("f_int", "self, a"),
        "(m.C().f(''), m.C().f(1))",
        ("main", "old"),
        ("main", "new"),
    ),
    "contextmanager": Shape(
        """
        import contextlib
        @contextlib.contextmanager
        def f(): yield 'old'
        def call():
            with f() as value: return value
        """,
        "f",
        "def f(): yield 'new'",
        "m.call()",
    ),
    "asynccontextmanager": Shape(
        """
        import asyncio, contextlib
        @contextlib.asynccontextmanager
        async def f(): yield 'old'
        async def call():
            async with f() as value: return value
        """,
        "f",
        "async def f(): yield 'new'",
        "m.asyncio.run(m.call())",
    ),
    "wrapt.decorator": Shape(
        """
        import wrapt
        @wrapt.decorator
        def deco(wrapped, instance, args, kwargs): return ('w', wrapped(*args, **kwargs))
        @deco
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "wrapt.decorator on methods of each kind": Shape(
        """
        import wrapt
        @wrapt.decorator
        def deco(wrapped, instance, args, kwargs): return ('w', wrapped(*args, **kwargs))
        class C:
            @deco
            @classmethod
            def f(cls): return 'old'
        """,
        "C.f",
        plain("f", "cls"),
        "m.C.f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "wrapt.FunctionWrapper": Shape(
        """
        import wrapt
        class C:
            def f(self): return 'old'
            f = wrapt.FunctionWrapper(f, lambda wrapped, instance, args, kwargs: ('w', wrapped(*args, **kwargs)))
        """,
        "C.f",
        plain("f", "self"),
        "m.C().f()",
        ("w", "old"),
        ("w", "new"),
    ),
    "staticmethod": Shape(
        "class C:\n  @staticmethod\n  def f(): return 'old'",
        "C.f",
        plain("f"),
        "(m.C.f(), m.C().f())",
        ("old", "old"),
        ("new", "new"),
    ),
    "classmethod": Shape("class C:\n  @classmethod\n  def f(cls): return 'old'", "C.f", plain("f", "cls"), "m.C.f()"),
    "cached classmethod": Shape(
        "import functools\nclass C:\n  @classmethod\n  @functools.cache\n  def f(cls): return 'old'",
        "C.f",
        plain("f", "cls"),
        "m.C.f()",
    ),
    "__new__": Shape(
        "class C(str):\n  def __new__(cls): return super().__new__(cls, 'old')",
        "C.__new__",
        "def __new__(cls): return super().__new__(cls, 'new')",
        "str(m.C())",
    ),
    "__init_subclass__": Shape(
        "class C:\n  def __init_subclass__(cls): cls.seen = 'old'",
        "C.__init_subclass__",
        "def __init_subclass__(cls): cls.seen = 'new'",
        "type('D', (m.C,), {}).seen",
    ),
    "__call__ of a metaclass": Shape(
        "class M(type):\n  def __call__(cls): return 'old'\nclass C(metaclass=M): pass",
        "M.__call__",
        plain("__call__", "cls"),
        "m.C()",
    ),
    "method of an enum": Shape(
        "import enum\nclass E(enum.Enum):\n  A = 1\n  def f(self): return 'old'",
        "E.f",
        plain("f", "self"),
        "m.E.A.f()",
    ),
    "method that the source gives a dataclass": Shape(
        """
        import dataclasses
        @dataclasses.dataclass(slots=True)
        class C:
            a: int = 1
            def f(self): return ('old', self.a)
        """,
        "C.f",
        "def f(self): return ('new', self.a)",
        "m.C().f()",
        ("old", 1),
        ("new", 1),
    ),
    "abstract method": Shape(
        """
        import abc
        class A(abc.ABC):
            @abc.abstractmethod
            def f(self): return 'old'
        class C(A):
            def f(self): return super().f()
        """,
        "A.f",
        plain("f", "self"),
        "m.C().f()",
    ),
    "private method": Shape(
        "class C:\n  def __f(self): return 'old'\n  def f(self): return self.__f()",
        "C.__f",
        "def __f(self): return 'new'",
        "m.C().f()",
    ),
    "private method by its stored name": Shape(
        "class C:\n  def __f(self): return 'old'\n  def f(self): return self.__f()",
        "C._C__f",
        "def __f(self): return 'new'",
        "m.C().f()",
    ),
    "private method of a class with leading underscores": Shape(
        "class _C:\n  def __f(self): return 'old'\n  def f(self): return self.__f()",
        "_C.__f",
        "def __f(self): return 'new'",
        "m._C().f()",
    ),
    "lambda": Shape("f = lambda: 'old'", "f", "def f(): return 'new'", "m.f()"),
    "lambda in a class": Shape("class C:\n  f = lambda self: 'old'", "C.f", plain("f", "self"), "m.C().f()"),
    "handler held only in a registry": Shape(
        """
        handlers = {}
        def route(path):
            def register(function): handlers[path] = function; return function
            return register
        @route('/')
        def f(): return 'old'
        del f
        """,
        "f",
        plain("f"),
        "m.handlers['/']()",
    ),
    "handler whose decorator returns nothing": Shape(
        """
        handlers = []
        @handlers.append
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "m.handlers[0]()",
    ),
    "handler whose decorator returns a token": Shape(
        """
        handlers = {}
        class Token: pass
        def register(function):
            token = Token()
            handlers[token] = function
            return token
        @register
        def f(): return 'old'
        """,
        "f",
        plain("f"),
        "[*m.handlers.values()][0]()",
    ),
    "method held only in a registry": Shape(
        """
        handlers = []
        class C:
            def f(self): return 'old'
            handlers.append(f)
            del f
        """,
        "C.f",
        plain("f", "self"),
        "m.handlers[0](None)",
    ),
    "generator behind functools.wraps": Shape(
        """
        import functools
        def deco(function):
            @functools.wraps(function)
            def wrapper(*args): return [*function(*args)]
            return wrapper
        @deco
        def f(n):
            for i in range(n): yield 'old', i
        """,
        "f",
        "def f(n):\n    for i in range(n): yield 'new', i",
        "m.f(2)",
        [("old", 0), ("old", 1)],
        [("new", 0), ("new", 1)],
    ),
}

FIX = """
import livepatch
fix = livepatch.Patch({id!r}, package="specimen", versions="==1.0")
@fix.replace({target!r})
{replacement}
"""


def fix_of(write_module: WriteModule, new_patch: NewPatch, target: str, replacement: str) -> livepatch.Patch:
    """A patch whose replacement is written in a module of its own, as an author's would be."""
    replacement = textwrap.dedent(replacement).strip()
    text = FIX.format(id=new_patch().id, target=target, replacement=replacement)
    fix = write_module(text).fix
    assert isinstance(fix, livepatch.Patch)
    return fix


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_found_switched_and_put_back(shape: Shape, write_module: WriteModule, new_patch: NewPatch):
    m = write_module(shape.source)
    fix = fix_of(write_module, new_patch, f"{m.__name__}:{shape.target}", shape.replacement)
    cycle(fix, lambda: eval(shape.probe, {"m": m}), shape.old, shape.new, m)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 is Python 3.12's")
@pytest.mark.parametrize(
    ("source", "target", "replacement", "probe"),
    [
        ("def f[T](a: T) -> T: return 'old'", "f", "def f[T](a: T) -> T: return 'new'", "m.f(1)"),
        ("def f[T](a: T) -> T: return 'old'", "f", "def f(a): return 'new'", "m.f(1)"),
        (
            "class C[T]:\n  def f(self, a: T) -> T: return 'old'",
            "C.f",
            "def f(self, a): return 'new'",
            "m.C().f(1)",
        ),
        (
            "class C[T]:\n  def f[U](self, a: U) -> T: return 'old'",
            "C.f",
            "def f[U](self, a: U): return 'new'",
            "m.C().f(1)",
        ),
        (
            "class B:\n  def f(self): return 'old'\nclass C[T](B):\n  def f(self): return super().f()",
            "C.f",
            "def f(self): return super().f().replace('old', 'new')",
            "m.C().f()",
        ),
    ],
)
def test_generics_of_pep_695(
    source: str, target: str, replacement: str, probe: str, write_module: WriteModule, new_patch: NewPatch
):
    m = write_module(source)
    fix = fix_of(write_module, new_patch, f"{m.__name__}:{target}", replacement)
    cycle(fix, lambda: eval(probe, {"m": m}), "old", "new", m)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="PEP 695 is Python 3.12's")
def test_a_type_parameter_used_in_the_body(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f[T](a): return ('old', T.__name__, a)")
    fix = fix_of(write_module, new_patch, f"{m.__name__}:f", "def f[T](a): return ('new', T.__name__, a)")
    cycle(fix, lambda: m.f(1), ("old", "T", 1), ("new", "T", 1), m)


# Properties

PROPERTY = """
class C:
    @property
    def x(self): return ('old get', self._x)
    @x.setter
    def x(self, value): self._x = ('old set', value)
    @x.deleter
    def x(self): self._x = 'old del'
"""


def uses_of_property(m: ModuleType) -> tuple[str, str, str]:
    c = m.C()
    c.x = 1
    got, stored = c.x[0], c._x[0]
    del c.x
    return got, stored, c._x


@pytest.mark.parametrize(
    ("path", "replacement", "new"),
    [
        ("C.x", "def x(self): return ('new get', self._x)", ("new get", "old set", "old del")),
        ("C.x.fget", "def x(self): return ('new get', self._x)", ("new get", "old set", "old del")),
        ("C.x.fset", "def x(self, value): self._x = ('new set', value)", ("old get", "new set", "old del")),
        ("C.x.fdel", "def x(self): self._x = 'new del'", ("old get", "old set", "new del")),
    ],
)
def test_the_accessors_of_a_property_apart(
    path: str, replacement: str, new: object, write_module: WriteModule, new_patch: NewPatch
):
    m = write_module(PROPERTY)
    fix = fix_of(write_module, new_patch, f"{m.__name__}:{path}", replacement)
    cycle(fix, lambda: uses_of_property(m), ("old get", "old set", "old del"), new, m)


def test_a_property_given_as_a_property(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(PROPERTY)
    fix = new_patch()

    @fix.replace(f"{m.__name__}:C.x")
    @property
    def x(self):
        return ("new get", self._x)

    cycle(fix, lambda: uses_of_property(m), ("old get", "old set", "old del"), ("new get", "old set", "old del"), m)


def test_a_getter_behind_a_decorator(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        import functools
        def deco(function):
            @functools.wraps(function)
            def wrapper(self): return ('w', function(self))
            return wrapper
        class C:
            @property
            @deco
            def x(self): return 'old'
    """)
    fix = fix_of(write_module, new_patch, f"{m.__name__}:C.x", "def x(self): return 'new'")
    cycle(fix, lambda: m.C().x, ("w", "old"), ("w", "new"), m)


def test_an_accessor_that_is_not_there(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("class C:\n  @property\n  def x(self): return 'old'")
    fix = fix_of(write_module, new_patch, f"{m.__name__}:C.x.fset", "def x(self, value): pass")
    assert "fset" in refused(fix, "no-such-accessor", m).found


# Several functions of one name

TWO_REGISTERED = """
import functools
@functools.singledispatch
def f(a): return 'main'
@f.register
def _(a: int): return 'int'
@f.register
def _(a: str): return 'str'
"""


def test_one_of_several_registered_is_meant_by_its_fingerprint(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(TWO_REGISTERED)
    fix = new_patch()

    def _(a):
        return "new"

    fix.replace(f"{m.__name__}:_", expect=livepatch.fingerprint(m.f.registry[int]))(_)
    cycle(fix, lambda: (m.f(1.5), m.f(1), m.f("")), ("main", "int", "str"), ("main", "new", "str"), m)


def test_one_of_several_registered_is_never_a_guess(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(TWO_REGISTERED)
    fix = fix_of(write_module, new_patch, f"{m.__name__}:_", "def _(a): return 'new'")
    assert "expect" in refused(fix, "ambiguous", m).action


def test_the_pick_of_an_ambiguous_nested_function(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        def make(kind):
            if kind:
                def inner(): return 'one'
            else:
                def inner(): return 'two'
            return inner
        one, two = make(True), make(False)
    """)
    path = f"{m.__name__}:make.<locals>.inner"
    refused(fix_of(write_module, new_patch, path, "def inner(): return 'new'"), "ambiguous", m)
    fix = new_patch()

    def inner():
        return "new"

    fix.replace(path, expect=livepatch.fingerprint(m.two))(inner)
    cycle(fix, lambda: (m.one(), m.two(), m.make(False)()), ("one", "two", "two"), ("one", "new", "new"), m)


# Refusals

HOLLOW = """
import collections, dataclasses, functools, math, typing
from math import sqrt
from json import dumps as elsewhere
@dataclasses.dataclass
class Data:
    a: int = 1
P = collections.namedtuple('P', 'x y')
class T(typing.NamedTuple):
    x: int
class Base:
    def f(self): return 'old'
class C(Base):
    value = 1
def factory(k):
    def made(): return k
    return made
made = factory(1)
class Opaque:
    def __call__(self): return 1
opaque = Opaque()
number = 12
def plain(): return 'old'
attrs = {}
exec("def generated(self): return 1", attrs)
C.generated = attrs['generated']
"""


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("sqrt", "native", "wrap("),
        ("Data.__init__", "generated", "set("),
        ("Data.__eq__", "generated", "set("),
        ("T.__new__", "generated", "set("),
        ("P.__new__", "generated", "set("),
        ("P._replace", "made-by-factory", "collections:namedtuple.<locals>._replace"),
        ("C.generated", "generated", "set("),
        ("plian", "no-such-name", "plain"),
        ("C.missing", "no-such-name", "add()"),
        ("C.f", "inherited", "Base.f"),
        ("C.__str__", "inherited", "builtins"),
        ("C", "is-a-class", "method"),
        ("made", "made-by-factory", "factory.<locals>.made"),
        ("opaque", "is-an-instance", "Opaque.__call__"),
        ("number", "not-callable", "set("),
        ("C.value", "not-callable", "set("),
        ("plain.f", "not-a-class", "function"),
        ("plain.<locals>.inner", "no-such-name", "no function"),
        ("Missing.f", "no-such-name", "Missing"),
    ],
)
def test_what_has_no_function_of_its_own_is_refused(
    path: str, code: str, says: str, write_module: WriteModule, new_patch: NewPatch
):
    m = write_module(HOLLOW)
    fix = fix_of(write_module, new_patch, f"{m.__name__}:{path}", "def f(*args, **kwargs): return 'new'")
    finding = refused(fix, code, m)
    assert says in finding.found + finding.action


@pytest.mark.all_modules
@pytest.mark.parametrize(
    ("target", "code", "says"),
    [
        ("math:sqrt", "native", "wrap("),
        ("builtins:len", "native", "wrap("),
        ("builtins:str.upper", "native", ""),
        ("collections:OrderedDict.pop", "native", ""),
        ("no_such_module_at_all:f", "module-not-imported", "import"),
        ("json.no_such:f", "module-not-imported", "import"),
    ],
)
def test_native_code_and_missing_modules_are_refused(
    target: str, code: str, says: str, write_module: WriteModule, new_patch: NewPatch
):
    finding = refused(fix_of(write_module, new_patch, target, "def f(*args, **kwargs): return 'new'"), code)
    assert says in finding.action


def test_a_partial_of_another_function_says_whose_code_it_is(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("import functools\ndef f(a): return 'old'\ng = functools.partial(f, 1)")
    fix = fix_of(write_module, new_patch, f"{m.__name__}:g", "def g(a): return 'new'")
    report = livepatch.check(fix)
    assert not report.ok
    assert f"{m.__name__}:f" in str(report), "the partial has Python code behind it, which the report should name"


def test_another_module_s_function_is_named_as_an_alias(write_module: WriteModule, new_patch: NewPatch):
    home = write_module("def f(): return 'old'")
    m = write_module(f"from {home.__name__} import f")
    fix = fix_of(write_module, new_patch, f"{m.__name__}:f", "def f(): return 'new'")
    report = cycle(fix, lambda: (m.f(), home.f()), ("old", "old"), ("new", "new"), m, home)
    assert "alias" in codes(report, "warning")
    assert f"{home.__name__}:f" in str(report)


def test_no_descriptor_is_asked_and_no_getattr_runs(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("""
        asked = []
        class Meta(type):
            def __getattr__(cls, name):
                asked.append(name)
                raise AttributeError(name)
        class Nosy:
            def __init__(self, function): self.function = function
            def __get__(self, instance, owner=None):
                asked.append('get')
                return self.function
        class C(metaclass=Meta):
            @Nosy
            def f(self): return 'old'
        def __getattr__(name):
            asked.append(name)
            raise AttributeError(name)
    """)
    m.asked.clear()
    livepatch.apply(fix_of(write_module, new_patch, f"{m.__name__}:C.f", "def f(self): return 'new'")).revert()
    assert [name for name in m.asked if not name.startswith("__")] == []


# Copies


def test_the_same_function_bound_in_several_modules(write_module: WriteModule, new_patch: NewPatch):
    home = write_module("def f(): return 'old'")
    user = write_module(f"from {home.__name__} import f\nclass C:\n  f = staticmethod(f)\ntable = {{'f': f}}")
    fix = fix_of(write_module, new_patch, f"{home.__name__}:f", "def f(): return 'new'")
    uses = lambda: {home.f(), user.f(), user.C.f(), user.table["f"]()}
    cycle(fix, uses, {"old"}, {"new"}, home, user)


COPIES = """
from types import FunctionType
class Base:
    def f(self, a=1): return ('old', a)
class Copied(Base):
    f = FunctionType(Base.f.__code__, globals(), 'f', (2,))
hidden = [FunctionType(Base.f.__code__, globals(), 'f', (3,))]
"""


def test_copies_that_share_the_code_follow_and_keep_their_own_defaults(write_module: WriteModule, new_patch: NewPatch):
    m = write_module(COPIES)
    fix = fix_of(write_module, new_patch, f"{m.__name__}:Base.f", "def f(self, a=1): return ('new', a)")
    uses = lambda: (m.Base().f(), m.Copied().f(), m.hidden[0](None))
    cycle(fix, uses, tuple(("old", i) for i in (1, 2, 3)), tuple(("new", i) for i in (1, 2, 3)), m)


def test_a_copy_made_while_patched_follows_the_revert(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    fix = fix_of(write_module, new_patch, f"{m.__name__}:f", "def f(): return 'new'")
    applied = livepatch.apply(fix)
    late = FunctionType(m.f.__code__, vars(m))
    assert late() == "new"
    applied.revert()
    assert late() == "old"


@pytest.mark.parametrize("holder", ["a module", "a list"])
def test_what_a_reload_left_behind_follows(
    holder: str, write_module: WriteModule, new_patch: NewPatch, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("livepatch.engine.heap.UNNOTICED", 1.0)  # pytest's own heap takes longer than a small one
    m = write_module("def f(): return 'old'")
    user = write_module(f"from {m.__name__} import f\n" + ("" if holder == "a module" else "kept = [f]; del f"))
    importlib.reload(m)
    left = user.f if holder == "a module" else user.kept[0]
    assert left is not m.f
    assert left.__code__ is not m.f.__code__
    fix = fix_of(write_module, new_patch, f"{m.__name__}:f", "def f(): return 'new'")
    cycle(fix, lambda: (m.f(), left()), ("old", "old"), ("new", "new"), m, user)


def test_other_code_of_that_name_is_named(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    user = write_module(f"from {m.__name__} import f")
    Path(str(m.__file__)).write_text("def f(): return 'edited version'", encoding="utf-8")
    importlib.invalidate_caches()
    importlib.reload(m)
    assert (m.f(), user.f()) == ("edited version", "old")
    fix = fix_of(write_module, new_patch, f"{m.__name__}:f", "def f(): return 'new'")
    report = livepatch.check(fix)
    assert "variants" in codes(report, "warning")


def test_another_module_s_function_of_that_name_is_left_alone(write_module: WriteModule, new_patch: NewPatch):
    m, other = write_module("def f(): return 'old'"), write_module("def f(): return 'old'")
    fix = fix_of(write_module, new_patch, f"{m.__name__}:f", "def f(): return 'new'")
    cycle(fix, lambda: (m.f(), other.f()), ("old", "old"), ("new", "old"), m, other)


FROZEN = """
import gc, sys, types
sys.path.insert(0, {folder!r})
module = types.ModuleType
import frozen_target as m
import livepatch
gc.collect()
gc.freeze()
assert gc.get_freeze_count() > 1_000
import frozen_fixes
before = [f.__code__ for f in (m.handlers['/'], m.inners[0], m.copies[0])]
uses = lambda: (m.handlers['/'](), m.inners[0](), m.make(2)(), m.copies[0](None), m.C().f(), m.c.cached)
old = uses()
applied = livepatch.apply(frozen_fixes.fix)
new = uses()
applied.mode = 'off'
assert uses() == old, uses()
applied.mode = 'on'
applied.revert()
assert uses() == old, uses()
assert all(f.__code__ is c for f, c in zip((m.handlers['/'], m.inners[0], m.copies[0]), before))
print(old, new, sep=chr(10))
"""


def test_objects_that_gc_freeze_hides(distribution: Path):
    (distribution / "frozen_target.py").write_text(
        textwrap.dedent("""
        import functools
        from types import FunctionType
        handlers = {}
        def register(function): handlers['/'] = function
        @register
        def handler(): return 'old'
        del handler
        def make(k):
            def inner(): return ('old', k)
            return inner
        inners = [make(1)]
        class C:
            def f(self): return 'old'
            @functools.cached_property
            def cached(self): return 'old'
        copies = [FunctionType(C.f.__code__, globals())]
        c = C()
        c.cached
    """)
    )
    (distribution / "frozen_fixes.py").write_text(
        textwrap.dedent("""
        import livepatch
        fix = livepatch.Patch("FIX-F", package="specimen", versions="==1.0")
        @fix.replace("frozen_target:handler")
        def handler(): return 'new'
        @fix.replace("frozen_target:make.<locals>.inner")
        def inner(): return ('new', k)
        @fix.replace("frozen_target:C")
        class C:
            def f(self): return 'new'
            def cached(self): return 'new'
    """)
    )
    done = subprocess.run(
        [sys.executable, "-c", FROZEN.format(folder=str(distribution))],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": str(SRC)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    old, new = done.stdout.splitlines()[-2:]
    assert old == str(("old", ("old", 1), ("old", 2), "old", "old", "old"))
    assert new == str(("new", ("new", 1), ("new", 2), "new", "new", "new"))


def test_a_decorated_replacement_is_a_wrong_argument(new_patch: NewPatch):
    fix = new_patch()
    with pytest.raises(TypeError, match="replacement must be a plain function"):
        fix.replace("m:f")(functools.lru_cache(lambda: None))
    with pytest.raises(TypeError, match="replacement must be a plain function"):
        fix.replace("m:f")(functools.wraps(len)(lambda: None))
    assert fix.changes == ()
