"""When two graphs are one: by value, by name, by shape; and that nothing in them is asked."""

from __future__ import annotations

import copy
import sys
from types import ModuleType

import pytest

from livepatch.engine.anatomy import members_of
from livepatch.engine.counterparts import ModuleSides, Sides
from livepatch.engine.graph import Comparison

SETUP = """
import collections, contextlib, datetime, decimal, enum, functools
import logging, pathlib, re, struct, threading, typing, weakref
from dataclasses import dataclass, field
class C:
    def m(self): return 1
class S:
    __slots__ = ('a', 'b')
@dataclass(frozen=True)
class D:
    a: object
class E(enum.Enum):
    A = 1
    B = 2
class L(list): pass
T = typing.TypeVar('T')
class G(typing.Generic[T], typing.MutableSet[T]):
    def __init__(self, x): self.x = x
    __contains__ = __iter__ = __len__ = add = discard = lambda self, *x: 0
def f(x): return x
def maker(x): return lambda: x
def slotted(a):
    s = S()
    s.a = a
    return s
def cyclic(x):
    found = [x]
    found.append(found)
    return found
c = C()
"""


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "specimen", ModuleType("specimen"))


def two(one: str, other: str, *, live: bool = False, more: bool = True) -> bool:
    before: dict[str, object] = {"__name__": "specimen"}
    after: dict[str, object] = {"__name__": "specimen"}
    exec(f"{SETUP}\nX = {one}", before)
    exec(f"{SETUP}\nX = {other}", after)
    sides = Sides([ModuleSides("specimen", before if live else {}, before, after)], ["specimen:X"])
    return Comparison(sides, live=live, more=more).holds(before["X"], after["X"], root=True)


ALIKE = (
    """
1 | float('nan') | -0.0 | 'a' | b'a' | ... | range(3) | (1, [2], {3: {4}}) | frozenset({1, (2, 'x')})
re.compile('a', re.I) | decimal.Decimal('1.50') | datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
struct.Struct('!I') | pathlib.PurePosixPath('/a/b') | slice(1, 2) | logging.getLogger('x')
C | c | C() | c.m | C.m | [c, c] | slotted(1) | slotted([c]) | D(1) | {D(1): 2, D(2): 3} | E.A | {E.A: 1, E.B: 2}
L([1, 2]) | G(1) | G[int]([c]) | f | maker(1) | maker([c]) | maker(f) | cyclic(1) | functools.partial(f, 1, a=2)
functools.lru_cache(3)(f)
property(f) | staticmethod(f) | classmethod(f) | functools.cached_property(f) | contextlib.contextmanager(f)
collections.OrderedDict(a=1) | collections.defaultdict(list, a=1) | collections.deque([1], 5) | [].append | {}.get
object() | threading.Lock() | weakref.ref(c) | weakref.WeakSet([c]) | weakref.WeakValueDictionary({1: c})
ValueError('x', 1) | type('T', (C,), {'a': 1})
collections.namedtuple('P', 'a b') | collections.namedtuple('P', 'a')(1)
""".replace("\n", " | ")
    .strip(" |")
    .split(" | ")
)

DIFFERENT = (
    """
1 ; True | 0.0 ; -0.0 | 1 ; 1.0 | 'a' ; b'a' | (1,) ; [1]
[1, 2] ; [2, 1] | {1: 2, 3: 4} ; {3: 4, 1: 2} | {1} ; {2}
re.compile('a') ; re.compile('a', re.I) | decimal.Decimal('1.5') ; decimal.Decimal('1.50')
slotted(1) ; slotted(2) | S() ; slotted(1) | D(1) ; D(2) | {D(1): 2} ; {D(2): 2} | E.A ; E.B | L([1]) ; [1]
G(1) ; G(2)
maker(1) ; maker(2) | f ; maker | (lambda: 1) ; (lambda: 2) | cyclic(1) ; cyclic(2)
functools.partial(f, 1) ; functools.partial(f, 2) | functools.lru_cache(3)(f) ; functools.lru_cache(4)(f)
staticmethod(f) ; classmethod(f) | property(f) ; property(None, f)
collections.deque([1], 5) ; collections.deque([1], 6)
collections.defaultdict(list) ; collections.defaultdict(dict) | [c, C()] ; [c, f] | ValueError('x') ; ValueError('y')
type('T', (C,), {'a': 1}) ; type('T', (C,), {'a': 2}) | type('T', (C,), {}) ; type('T', (), {})
iter([1]) ; iter([1]) | (i for i in ()) ; (i for i in ()) | threading.local() ; threading.local()
(lambda o: [o, o])(object()) ; [object(), object()]
""".replace("\n", " | ")
    .strip(" |")
    .split(" | ")
)


@pytest.mark.parametrize("value", ALIKE)
def test_what_the_same_text_makes_is_one(value: str):
    assert two(value, value)
    assert two(value, value, live=True)


@pytest.mark.parametrize("pair", DIFFERENT)
def test_what_differs_or_cannot_be_looked_into_is_not(pair: str):
    one, _, other = pair.partition(" ; ")
    assert not two(one, other)
    assert not two(one, other, live=True) or one.startswith("{1: 2, 3")  # the order may be the program's own


@pytest.mark.parametrize(
    ("live", "before"), [("{1: 2, 3: 4}", "{3: 4}"), ("[1, 2]", "[1]"), ("{1, 2}", "{2}"), ("slotted(1)", "S()")]
)
def test_a_live_value_may_have_more(live: str, before: str):
    assert two(live, before, live=True)
    assert not two(live, before, live=True, more=False)
    assert not two(before, live, live=True)
    assert not two(live, before)


def test_what_copy_remembers_of_a_class_is_no_member_of_it():
    class Copied:
        most = 900

    before = members_of(Copied)
    copy.copy(Copied())
    assert "__slotnames__" in vars(Copied)
    assert members_of(Copied) == before
