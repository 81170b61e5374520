"""What a class statement does beside what its body says, when the body changes: as a restart would have it."""

from __future__ import annotations

import functools

import pytest
from tests.built import Release, Running

import livepatch


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


EQUAL = "  def __eq__(self, other): return type(other) is type(self)\n"
HASH = "  def __hash__(self): return 5\n"
IF = "  if {}:\n  " + EQUAL
C = "class C:\n  a = 1\n"
EQ = "def eq(one, other): return type(other) is type(one)\n"
HASHED = C + EQUAL + HASH
BASE = "class D(C): pass\nclass E(C):\n" + EQUAL + "class F(D):\n" + HASH
DATA = "import dataclasses\n@dataclasses.dataclass{}\nclass C:\n  a: int = 1\n"
REPR = "  def __repr__(self): return 'own'\n"
ORDERED = "import functools\n@functools.total_ordering\n" + C + EQUAL + "  def {0}(self, other): return '{0}'\n"
KEEPS = [
    *("__module__", "__doc__", "__dict__", "__weakref__", "__annotations__", "__annotate_func__", "__qualname__"),
    *("__firstlineno__", "__static_attributes__", "__annotations_cache__", "_abc_impl"),
]


def does(cls):
    """What a class holds, and how its objects behave."""
    try:
        one, other = cls(), cls()
    except TypeError as error:
        return sorted(set(vars(cls)) - set(KEEPS)), str(error)
    found = [sorted(set(vars(cls)) - set(KEEPS)), one == other, getattr(cls, "limit", None), getattr(one, "a", None)]
    try:
        found.append(hash(one) in (5, hash((1,))) or (hash(one) == object.__hash__(one) and "by identity"))
    except TypeError as error:
        found.append(str(error))
    found += [getattr(one, name)(other) for name in ("__lt__", "__gt__")]
    return [*found, repr(one) if " at 0x" not in repr(one) else "plain"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(C, C + EQUAL, id="__eq__ comes"),
        pytest.param(C + EQUAL, C, id="__eq__ goes"),
        pytest.param(C + EQUAL + HASH, C + EQUAL, id="__hash__ goes"),
        pytest.param(C + EQUAL, C + EQUAL + HASH, id="__hash__ comes"),
        pytest.param(C + EQUAL + HASH, C, id="both go"),
        pytest.param(C, C + EQUAL + HASH, id="both come"),
        pytest.param(C + HASH, C + EQUAL, id="one for the other"),
        pytest.param(EQ + C, EQ + C + "  __eq__ = eq\n", id="__eq__ is assigned"),
        pytest.param(EQ + C + "  __eq__ = eq\n", EQ + C, id="an assigned __eq__ goes"),
        pytest.param(C, C + IF.format("True"), id="under a condition that holds"),
        pytest.param(C, C + IF.format("not True"), id="under a condition that does not hold"),
        pytest.param(C + IF.format("True"), C, id="what was under a condition goes"),
        pytest.param(C + EQUAL + "  __hash__ = None\n", C, id="a written None goes with it"),
        pytest.param(C + EQUAL, C + EQUAL + "  __hash__ = object.__hash__\n", id="__hash__ is assigned"),
        pytest.param(C + "  __hash__ = None\n", C, id="a None alone goes"),
        pytest.param(C + BASE, C + EQUAL + BASE, id="subclasses"),
        pytest.param(HASHED + "class D(C):\n" + EQUAL, HASHED + "class D(C): pass\n", id="of a subclass"),
        pytest.param(DATA.format(""), DATA.format("") + EQUAL, id="dataclass, __eq__ comes"),
        pytest.param(DATA.format("") + EQUAL, DATA.format(""), id="dataclass, __eq__ goes"),
        pytest.param(DATA.format("(frozen=True)"), DATA.format("(frozen=True)") + EQUAL, id="frozen, __eq__ comes"),
        pytest.param(DATA.format("(frozen=True)") + EQUAL, DATA.format("(frozen=True)"), id="frozen, __eq__ goes"),
        pytest.param(DATA.format("(eq=False)"), DATA.format("(eq=False)") + EQUAL, id="eq=False, __eq__ comes"),
        pytest.param(DATA.format("(eq=False)") + EQUAL, DATA.format("(eq=False)"), id="eq=False, __eq__ goes"),
        pytest.param(DATA.format(""), DATA.format("") + HASH, id="dataclass, __hash__ comes"),
        pytest.param(DATA.format("") + REPR, DATA.format(""), id="dataclass, __repr__ goes"),
        pytest.param(DATA.format(""), DATA.format("") + "  def __post_init__(self): self.a = 7\n", id="__post_init__"),
        pytest.param(ORDERED.format("__lt__"), ORDERED.format("__gt__"), id="total_ordering"),
        pytest.param(
            "class C:\n  limit = 1\nclass D(C):\n  limit = 2\n", "class C:\n  limit = 1\nclass D(C): pass\n",
            id="an attribute that hides another goes",
        ),
        pytest.param(
            "class C: pass\nclass D(C):\n  limit = 2\n", "class C:\n  limit = 3\nclass D(C): pass\n",
            id="an attribute is pulled up",
        ),
        pytest.param(
            "class C: pass\nclass D(C):\n  def __lt__(self, o): return 1\n  def f(self): return 1\n",
            "class C:\n  def __lt__(self, o): return 2\n  def f(self): return 2\nclass D(C): pass\n",
            id="methods are pulled up",
        ),
    ],
)  # fmt: skip
def test_a_class_is_as_after_a_restart(releases, old, new):
    running = releases({"m.py": old}, {"m.py": new})
    restarted = {"__name__": running["m"].__name__}
    exec(new, restarted)
    names = [name for name in "CDEF" if name in restarted]
    was = {name: does(running["m"].__dict__[name]) for name in names}
    shall = {name: does(restarted[name]) for name in names}
    before = running.picture()
    applied = livepatch.apply(running.build())
    assert {name: does(running["m"].__dict__[name]) for name in names} == shall
    applied.revert()
    assert not running.differences(before, running.picture())
    assert {name: does(running["m"].__dict__[name]) for name in names} == was


def test_what_is_picked_brings_what_the_class_statement_makes_of_it(releases):
    running = releases({"m.py": C + "  b = 1\n"}, {"m.py": C + "  b = 2\n" + EQUAL})
    fix = running.build(only=["C.__eq__"])
    assert {e.target.partition(":")[2]: e.verdict for e in fix.plan} == {
        "C.__eq__": "taken",
        "C.__hash__": "needed",
        "C.b": "left-out",
    }
    livepatch.apply(fix)
    with pytest.raises(TypeError, match="unhashable"):
        hash(running["m"].C())


ABC = "import abc\nclass B({}):\n  def f(self): return 1\n  {}\n  def g(self): return 1\n"
BASE_OF = ABC.format("abc.ABC", "")
MARKED = "  @abc.abstractmethod\n  def g"
HEIRS = "class D(B): pass\nclass E(B):\n  def g(self): return 2\nclass F(D, E): pass\n"
ABSTRACT = BASE_OF.replace("  def g", MARKED)
OWN = "D(B):\n  def g(self): return 3"
OTHER = f"class {OWN}\nclass F(D): pass\n"
CLASS = "  @classmethod\n"
PROPERTY = "import abc\nclass B(abc.ABC):\n  @property\n  {}def g(self): return 1\nclass D(B): pass\n"
MIXED = ABSTRACT + "class Mix:\n  {}def g(self): return 1\nclass D(Mix, B): pass\n"
MARK = "@abc.abstractmethod\n  "


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param(BASE_OF, ABSTRACT, id="becomes abstract"),
        pytest.param(ABSTRACT, BASE_OF, id="no longer abstract"),
        pytest.param(BASE_OF + HEIRS, ABSTRACT + HEIRS, id="heirs"),
        pytest.param(ABSTRACT + HEIRS, BASE_OF + HEIRS, id="heirs, no longer"),
        pytest.param(ABSTRACT + HEIRS, ABSTRACT + HEIRS.replace("D(B): pass", OWN), id="an heir gets its own"),
        pytest.param(ABSTRACT + OTHER, ABSTRACT + OTHER.replace(OWN[5:], " pass"), id="an heir loses its own"),
        pytest.param(BASE_OF, BASE_OF + MARKED.replace("g", "h") + "(self): pass\n", id="an abstract method comes"),
        pytest.param(BASE_OF + MARKED.replace("g", "h") + "(self): pass\n", BASE_OF, id="an abstract method goes"),
        pytest.param(PROPERTY.format(""), PROPERTY.format(MARK), id="property"),
        pytest.param(PROPERTY.format(MARK), PROPERTY.format(""), id="property, no longer"),
        pytest.param(MIXED.format(""), MIXED.format(MARK), id="a plain base of an abstract class"),
        pytest.param(
            BASE_OF.replace("  def g", CLASS + "  def g"), ABSTRACT.replace(MARKED, CLASS + MARKED), id="classmethod"
        ),
    ],
)  # fmt: skip
def test_a_class_is_abstract_as_after_a_restart(releases, old, new):
    def abstract(space):
        return {n: sorted(space[n].__abstractmethods__) for n in "BDEF" if hasattr(space.get(n), "__abstractmethods__")}

    running = releases({"m.py": old}, {"m.py": new})
    restarted = {"__name__": running["m"].__name__}
    exec(new, restarted)
    was, before = abstract(vars(running["m"])), running.picture()
    assert was != abstract(restarted)
    applied = livepatch.apply(running.build())
    assert abstract(vars(running["m"])) == abstract(restarted)
    applied.mode = "off"
    assert abstract(vars(running["m"])) == was
    applied.mode = "on"
    applied.revert()
    assert abstract(vars(running["m"])) == was
    assert not running.differences(before, running.picture())


def test_of_two_patches_one_says_which_methods_of_a_class_are_abstract(releases, tmp_path):
    texts = [BASE_OF, BASE_OF.replace("  def g", MARKED), BASE_OF.replace("  def", MARKED.removesuffix(" g"))]
    running = releases({"m.py": texts[0]}, {"m.py": texts[1]})
    further = Release(tmp_path / "further", running.name, "1.2", {"m.py": texts[2]})
    first = livepatch.apply(running.build())
    second = livepatch.build(running.new.root, further.root, package=running.name, versions="==1.0")
    assert "abstract-methods-shared" in [finding.code for finding in livepatch.check(second).errors]
    assert running["m"].B.__abstractmethods__ == {"g"}
    first.revert()


def test_abstract_methods_that_others_have_set_are_not_overwritten(releases):
    running = releases({"m.py": BASE_OF}, {"m.py": BASE_OF.replace("  def g", MARKED)})
    running["m"].B.__abstractmethods__ = frozenset({"other"})
    assert [finding.code for finding in livepatch.check(running.build()).errors] == ["value-differs-from-before"]
