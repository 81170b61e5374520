"""Cases of live code that a change has to reach, or to leave alone: two texts of a module, and what must come of it.

Each case gets a scene: the old module, imported, and a way to change it.  It raises an AssertionError that says what is
wrong; any other exception counts as wrong, too.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol

Undo = Callable[[], object]


class Scene(Protocol):
    """What a case is given."""

    module: Any

    def change(self, text: str, *changed: str) -> Undo: ...


@dataclass(frozen=True, slots=True)
class Case:
    """A name, the text of the module before, and what happens."""

    name: str
    old: str
    run: Callable[[Scene, str], None] = field(repr=False)


CASES: list[Case] = []


def case(name: str, old: str) -> Callable[[Callable[[Scene, str], None]], Callable[[Scene, str], None]]:
    """Add a case; its new text is the old one with NEW in the place of OLD."""

    def add(run: Callable[[Scene, str], None]) -> Callable[[Scene, str], None]:
        CASES.append(Case(name, old, run))
        return run

    return add


def is_equal(found: object, expected: object) -> None:
    assert found == expected, f"{found!r} and not {expected!r}"


@case("aliases", "def f(): return 'OLD'\nclass C:\n    def m(self): return 'OLD'\n")
def aliases(scene: Scene, new: str) -> None:
    """A name that was imported, an entry of a table, a partial and a bound method."""
    module = scene.module
    importer = ModuleType("importer")
    importer.f = module.f  # type: ignore[attr-defined]
    held = [importer.f, {"call": module.f}["call"], functools.partial(module.f), module.C().m]
    scene.change(new, "f", "C.m")
    is_equal([each() for each in held], ["NEW"] * 4)


@case("closures", "def make(k):\n    def inner(): return 'OLD', k\n    return inner\n")
def closures(scene: Scene, new: str) -> None:
    """A closure that was made before, and one that is made now."""
    live = scene.module.make(1)
    scene.change(new, "make")
    is_equal([live(), scene.module.make(2)()], [("NEW", 1), ("NEW", 2)])


_WRAPPED = """
import functools
def twice(f):
    @functools.wraps(f)
    def wrapper(*args): return f(*args), f(*args)
    return wrapper
@twice
def f(): return 'OLD'
"""


@case("wrapped", _WRAPPED)
def wrapped(scene: Scene, new: str) -> None:
    """The function behind a decorator, which somebody holds."""
    held = scene.module.f
    scene.change(new, "f.__wrapped__")
    is_equal([held(), scene.module.f()], [("NEW", "NEW")] * 2)


@case("cached", "import functools\n@functools.lru_cache\ndef f(n): return 'OLD'\n")
def cached(scene: Scene, new: str) -> None:
    """Answers of the old code that a cache keeps, which somebody holds."""
    held = scene.module.f
    held(1)
    scene.change(new, "f.__wrapped__")
    is_equal([held(1), scene.module.f(1)], ["NEW"] * 2)


@case("defaults", "def f(a='OLD', *, b='OLD'): return a, b\n")
def defaults(scene: Scene, new: str) -> None:
    """Changed defaults, by position and by keyword, of a function that somebody holds."""
    held = scene.module.f
    scene.change(new, "f")
    is_equal([held(), scene.module.f()], [("NEW", "NEW")] * 2)


@case("super()", "class A:\n    def m(self): return 'A'\nclass B(A):\n    def m(self): return 'OLD', super().m()\n")
def super_(scene: Scene, new: str) -> None:
    """A method that calls super(), on an object that exists."""
    live = scene.module.B()
    scene.change(new, "B.m")
    is_equal([live.m(), scene.module.B().m()], [("NEW", "A")] * 2)


_MANGLED = """
class C:
    def __init__(self): self.__x = 1
    def m(self): return 'OLD', self.__x, self.__y()
    def __y(self): return 'OLD'
"""


@case("name mangling", _MANGLED)
def mangling(scene: Scene, new: str) -> None:
    """Private names, on an object that exists."""
    live = scene.module.C()
    scene.change(new, "C.m", "C._C__y")
    is_equal([live.m(), scene.module.C().m()], [("NEW", 1, "NEW")] * 2)


_GENERIC = """
from typing import Generic, TypeVar
T = TypeVar('T')
class Box(Generic[T]):
    def __init__(self, x: T): self.x = x
    def get(self) -> T: return 'OLD', self.x
IntBox = Box[int]
"""


@case("generics", _GENERIC)
def generics(scene: Scene, new: str) -> None:
    """A generic class, by an alias with its parameter, and an object that exists."""
    alias = scene.module.IntBox
    live = alias(1)
    scene.change(new, "Box.get")
    is_equal([live.get(), alias(2).get(), scene.module.Box(3).get()], [("NEW", 1), ("NEW", 2), ("NEW", 3)])


@case("slots", "class C:\n    __slots__ = ('x',)\n    def m(self): return 'OLD', type(self)\n")
def slots(scene: Scene, new: str) -> None:
    """A class with slots: objects that exist stay of the one class that there is."""
    live = scene.module.C()
    scene.change(new, "C.m")
    is_equal(live.m(), ("NEW", scene.module.C))


_IN_FLIGHT = """
def a(): return 'OLD'
def b(): return 'OLD'
def steps():
    first = a()
    yield
    yield first, b(), 'OLD'
"""


@case("in flight", _IN_FLIGHT)
def in_flight(scene: Scene, new: str) -> None:
    """A call that is under way ends on the side that it began on, with all that it calls; the next is on the other."""
    running = scene.module.steps()
    next(running)
    scene.change(new, "a", "b", "steps")
    is_equal(next(running), ("OLD",) * 3)
    running.close()
    later = scene.module.steps()
    next(later)
    is_equal(next(later), ("NEW",) * 3)


_HALF = """
class Meta(type):
    def __setattr__(cls, name, value): raise TypeError('frozen')
def a(): return 'OLD'
class C(metaclass=Meta):
    def b(self): return 'OLD'
"""


@case("half-failed", _HALF)
def half_failed(scene: Scene, new: str) -> None:
    """Two functions, of which the second lies in a class that refuses stores: both change for all, or none."""
    live, held = scene.module.C(), scene.module.a
    with contextlib.suppress(Exception):  # a refusal is as good, if nothing has changed
        scene.change(new, "a", "C.b")
    sides = {scene.module.a(), held(), live.b(), scene.module.C().b()}
    assert len(sides) == 1, f"some callers get {' and some '.join(sorted(sides))}"


@case("revert", "def f(a=1): return 'OLD', a\nclass C:\n    def m(self): return 'OLD'\n")
def revert(scene: Scene, new: str) -> None:
    """Taken back, the very objects are there that were there before."""
    module = scene.module
    before = [module.f, module.f.__code__, module.f.__defaults__, module.C, module.C.m, module.C.m.__code__]
    undo = scene.change(new, "f", "C.m")
    is_equal(module.f(), ("NEW", 1))
    undo()
    is_equal(module.f(), ("OLD", 1))
    after = [module.f, module.f.__code__, module.f.__defaults__, module.C, module.C.m, module.C.m.__code__]
    others = sum(one is not other for one, other in zip(before, after, strict=True))
    assert not others, f"{others} of {len(before)} objects are others"


@case("any order", "def f(): return 'OLD'\n")
def any_order(scene: Scene, new: str) -> None:
    """Two changes of one function; the first is taken back first, and the second stays until it is."""
    held = scene.module.f
    first = scene.change(new, "f")
    second = scene.change(new.replace("NEW", "NEWER"), "f")
    is_equal(held(), "NEWER")
    first()
    is_equal(held(), "NEWER")
    second()
    is_equal(held(), "OLD")


_MIXED = """
import time
def a(): return 'OLD'
def b(): return 'OLD'
def both():
    first = a()
    time.sleep(0.0005)
    return first, b(), 'OLD'
"""


@case("threads", _MIXED)
def threads(scene: Scene, new: str) -> None:
    """Callers on threads, while three functions that belong together change and change back: nobody sees both sides."""
    module = scene.module
    seen: list[tuple[str, ...]] = []
    failed: list[str] = []
    over = threading.Event()

    def work() -> None:
        try:
            while not over.is_set():
                seen.append(module.both())
        except Exception as error:  # noqa: BLE001  # a caller that fails is an answer, too
            failed.append(f"{type(error).__name__}: {error}")

    workers = [threading.Thread(target=work, daemon=True) for _ in range(4)]
    for worker in workers:
        worker.start()
    try:
        for _ in range(5):
            undo = scene.change(new, "a", "b", "both")
            _until(lambda: ("NEW",) * 3 in seen[-8:])
            undo()
            _until(lambda: ("OLD",) * 3 in seen[-8:])
    finally:
        over.set()
        for worker in workers:
            worker.join(5)
    sides = set(seen)
    mixed = sum(len(set(answer)) > 1 for answer in seen)
    assert not failed, f"{len(failed)} callers failed: {failed[0]}"
    assert ("NEW",) * 3 in sides, "nobody got the new side"
    assert not mixed, f"{mixed} of {len(seen)} answers were mixed"


def _until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not true() and time.monotonic() < end:
        time.sleep(0.0002)


def run(each: Case, scene: Scene) -> str:
    """What is wrong; empty if nothing."""
    try:
        each.run(scene, each.old.replace("OLD", "NEW"))
    except AssertionError as error:
        return str(error)
    except BaseException as error:  # noqa: BLE001  # other people's tools
        return f"{type(error).__name__}: {error}".partition("\n")[0][:160]
    finally:
        sys.stdout.flush()
    return ""
