"""Definitions that a process has not made, that stand in a base of the same name, or that enter what others hold."""

from __future__ import annotations

import functools

import pytest
from tests.built import Running

import livepatch


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


def seen_with(releases, text, new, see):
    """What is seen of the module: before, with the patch and after a revert."""
    running = releases({"m.py": text}, {"m.py": new})
    module, before = running["m"], running.picture()
    was = see(module)
    applied = livepatch.apply(running.build())
    now = see(module)
    applied.revert()
    assert not running.differences(before, running.picture())
    assert see(module) == was
    return was, now


def slow(*values, name):
    return pytest.param(*values, id=name, marks=pytest.mark.slow)


MEMBERS = "  n = 1\n    def __init__(self): self.a = 1\n    def m(self): return 1\n"
OTHER = "def f(): return 1\n"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"if not __name__:\n  class C:\n  {MEMBERS}{OTHER}", id="a class under a condition"),
        slow(
            f"try: from decimal import Decimal as C\nexcept ImportError:\n  class C:\n  {MEMBERS}{OTHER}",
            name="a class in whose place there is another",
        ),
        slow(
            f"try: from _json import scanstring as g\nexcept ImportError:\n  def g(x=1): return 1\n{OTHER}",
            name="a function in whose place there is a native one",
        ),
        slow(
            f"try: from os.path import join as g\nexcept ImportError:\n  def g(x): return 1\n{OTHER}",
            name="a function in whose place there is another",
        ),
    ],
)
def test_what_the_process_has_not_made_is_left_and_told(releases, text):
    was, now = seen_with(releases, text, text.replace("1", "2"), lambda m: m.f())
    assert (was, now) == (1, 2)


def test_a_class_that_was_made_and_lost_its_name_is_no_such_class(releases):
    text = f"if __name__:\n  class C:\n  {MEMBERS}ONE = C()\ndel C\n"
    running = releases({"m.py": text}, {"m.py": text.replace("1", "2")})
    with pytest.raises(livepatch.IncompatibleError):
        livepatch.apply(running.build())
    assert running["m"].ONE.m() == 1


def test_members_change_of_a_class_on_top_of_which_a_decorator_has_put_another(releases):
    text = (
        "def on_top(cls):\n  class Top(cls):\n    def __init__(self):\n      super().__init__(); self.top = 0\n"
        "  Top.__qualname__, Top.__name__ = cls.__qualname__, cls.__name__\n  Top.__module__ = cls.__module__\n"
        f"  return Top\n@on_top\nclass C:\n{MEMBERS.replace('    def', '  def')}"
    )
    was, now = seen_with(releases, text, text.replace("1", "2"), lambda m: (m.C.n, m.C().a, m.C().m()))
    assert (was, now) == ((1, 1, 1), (2, 2, 2))


HOOK = "R = {}\nclass B:\n  def __init_subclass__(cls): R[cls.__name__] = cls\nclass A(B):\n  def m(self): return 1\n"
META = (
    "R = []\nclass M(type):\n  def __new__(cls, *given):\n    made = super().__new__(cls, *given)\n"
    "    R.append(made)\n    return made\nclass A(metaclass=M):\n  def m(self): return 1\n"
)


@pytest.mark.parametrize(
    ("text", "base"), [pytest.param(HOOK, "B", id="a base"), slow(META, "metaclass=M", name="a metaclass")]
)
def test_a_new_class_enters_where_its_base_or_metaclass_enters_it(releases, text, base):
    new = f"{text}class C({base}):\n  def m(self): return 2\n"
    was, now = seen_with(
        releases, text, new, lambda m: [(e.__name__, e().m(), type(e).__module__) for e in _entered(m.R)]
    )
    assert [each[:2] for each in now if each[0] in "AC"] == [("A", 1), ("C", 2)]
    assert now[: len(was)] == was


def _entered(registry):
    return [each for each in (registry.values() if isinstance(registry, dict) else registry) if hasattr(each, "m")]


TOKENS = (
    "class Meta(type):\n  def __call__(cls):\n    if '_kept' not in cls.__dict__: cls._kept = list(cls.tokens)\n"
    "    return type.__call__(cls)\nclass L(metaclass=Meta):\n  tokens = []\n"
    "class A(L):\n  tokens = [1]\nclass B(L):\n  tokens = [1]\n"
)


def test_what_each_of_several_classes_has_computed_from_its_own_is_found(releases):
    running = releases({"m.py": TOKENS}, {"m.py": TOKENS.replace("1", "2")})
    assert running["m"].B()._kept == [1]
    with pytest.raises(livepatch.IncompatibleError, match="computed-from-old"):
        livepatch.apply(running.build())


def test_live_closures_get_other_defaults_of_the_same_parameters(releases):
    text = "def make(n):\n  def inner(x=1, *, y=1): return n, x, y\n  return inner\nf = make('n')\n"
    was, now = seen_with(releases, text, text.replace("1", "2"), lambda m: (m.f(), m.make("o")()))
    assert (was, now) == ((("n", 1, 1), ("o", 1, 1)), (("n", 2, 2), ("o", 2, 2)))


def test_a_default_from_a_variable_of_the_maker_is_told(releases):
    text = "def make(n):\n  def inner(x=(n, 1)): return x\n  return inner\nf = make('n')\n"
    running = releases({"m.py": text}, {"m.py": text.replace("1", "2")})
    assert "defaults-of-the-maker" in [finding.code for finding in livepatch.check(running.build()).findings]


DATA = (
    "import dataclasses, typing\n@dataclasses.dataclass\nclass C:\n"
    "  a: int = 1\n  k: typing.ClassVar[int] = 1\nONE = C()\n"
)


def test_a_dataclass_gets_another_plain_default_and_class_variable(releases):
    was, now = seen_with(releases, DATA, DATA.replace("1", "2"), lambda m: (m.C().a, m.C.k, m.ONE.k, m.ONE.a))
    assert (was, now) == ((1, 1, 1, 1), (2, 2, 2, 1))


def test_another_name_for_a_changed_function_is_changed_once(releases):
    text = "def f(): return 1\nold = f\ntry: from operator import neg as f\nexcept ImportError: pass\nA = f(3)\n"
    was, now = seen_with(releases, text, text.replace("return 1", "return 2"), lambda m: (m.old(), m.A))
    assert (was, now) == ((1, -3), (2, -3))


def test_a_version_that_the_package_states_on_purpose_is_no_sign_of_an_upgrade(releases):
    text = '__version__ = "9.9"\ndef f(): return 1\n'
    running = releases({"__init__.py": text}, {"__init__.py": text.replace("return 1", "return 2")})
    livepatch.apply(running.build())
    assert running["__init__"].f() == 2


def test_a_method_that_is_called_through_its_class_takes_the_object_as_well(releases):
    text = "class A:\n  def m(self, x): return x\nclass B(A):\n  def m(self, x): return A.m(self, x)\nONE = B()\n"
    new = text.replace("x): return x", "x=2): return x").replace("x): return A", "x=3): return 'new', A")
    was, now = seen_with(releases, text, new, lambda m: m.ONE.m(1))
    assert (was, now) == (1, ("new", 1))


def test_objects_get_an_attribute_from_a_new_parameter_whose_default_the_class_body_binds(releases):
    text = "class C:\n  names = ('a',)\n  def get(self): return 0\n  def __init__(self, n=1): self.n = n\nONE = C()\n"
    new = text.replace("n=1): self.n", "n=1, drop=names): self.drop = drop; self.n").replace("0", "self.drop")
    was, now = seen_with(releases, text, new, lambda m: (m.ONE.get(), m.C().get()))
    assert (was, now) == ((0, 0), (("a",), ("a",)))


def test_an_import_of_the_standard_library_that_needs_no_stand_in_any_more_changes_nothing(releases):
    stand_in = "try:\n  from logging import NullHandler\nexcept ImportError:\n  class NullHandler: pass\n"
    text = f"import logging\n{stand_in}logging.getLogger(__name__).addHandler(NullHandler())\ndef f(): return 1\n"
    new = text.replace(stand_in, "from logging import NullHandler\n").replace("return 1", "return 2")
    was, now = seen_with(releases, text, new, lambda m: m.f())
    assert (was, now) == (1, 2)


def test_a_caller_that_the_new_release_has_no_more_is_no_caller_of_it(releases):
    text = (
        "class C:\n  def go(self): return self.old()\n  def old(self): return self.do(x=1)\n"
        "  def do(self, x=0): return x\nONE = C()\n"
    )
    new = "class C:\n  def go(self): return self.do()\n  def do(self): return 2\nONE = C()\n"
    was, now = seen_with(releases, text, new, lambda m: m.ONE.go())
    assert (was, now) == (1, 2)


def test_a_new_import_comes_along_for_a_condition_beside_what_changes(releases):
    text = "A = 'x'\ntry:\n  import nowhere\nexcept ImportError: A += '1'\n"
    tried = "  if sys.version_info > (9,):\n    import nowhere\n  A += '2'\n"
    new = f"import sys\nA = 'x'\ntry:\n{tried}except ImportError: A += '3'\n"
    was, now = seen_with(releases, text, new, lambda m: m.A)
    assert (was, now) == ("x1", "x2")


@pytest.mark.parametrize(
    ("text", "new"),
    [
        ("def f(): return 1\n", "made = None\ndef f():\n  global made\n  made = made or 2\n  return made\n"),
        slow(
            "class C:\n  def g(self): return 1\ndef f(): return C().g()\n",
            "class C:\n  made = None\n  def g(self):\n    C.made = C.made or 2\n    return C.made\n"
            "def f(): return C().g()\n",
            name="of a class",
        ),
    ],
)
def test_a_new_name_that_new_code_binds_anew_goes_with_the_patch(releases, text, new):
    was, now = seen_with(releases, text, new, lambda m: m.f())
    assert (was, now) == (1, 2)


def test_a_new_module_is_there_for_what_is_computed_from_it(releases):
    text = "import PKG.other\nA = 1\n"
    new = {"m.py": "import PKG.fresh\nA = PKG.fresh.f()\n", "fresh.py": "def f(): return 2\n"}
    running = releases({"m.py": text, "other.py": ""}, new)
    livepatch.apply(running.build())
    assert running["m"].A == 2
