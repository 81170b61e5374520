"""What a class statement does elsewhere, by hooks of its bases, its metaclass and its members: as after a restart."""
# ruff: noqa: E501  # the sources of small packages, each on a line of its own

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


HOOK = "REG = {}\nclass B:\n  def __init_subclass__(cls, **k): REG[cls.__name__] = cls.limit\nclass X(B):\n  limit = 100\nclass Y(X): pass\n"
CLASSES = HOOK.replace("= cls.limit", "= cls")
SUPER = "REG = {}\nclass A:\n  def __init_subclass__(cls): REG[cls.__name__] = 100\nclass B(A):\n  def __init_subclass__(cls): super().__init_subclass__()\nclass X(B): pass\n"
META = "REG = {}\nclass M(type):\n  def __init__(cls, name, bases, ns):\n    REG[name] = ns.get('limit')\n    super().__init__(name, bases, ns)\nclass X(metaclass=M):\n  limit = 100\nclass Y(X):\n  limit = 200\n"
NAMED = "REG = {}\ndef enter(k, v): REG[k] = v\nclass F:\n  def __init__(self, most): self.most = most\n  def __set_name__(self, owner, name): self.name = name; enter(name, self.most)\nclass C:\n  x = F(100)\n"
SEE = "def see(): return dict(REG)\n"
SHOW = "def see(): return sorted((k, getattr(v, 'limit', v)) for k, v in REG.items())\n"
LIMIT = "LIMIT = 1000\n"
TUPLE = (
    LIMIT
    + "from typing import NamedTuple\nclass N(NamedTuple):\n  a: int = LIMIT\n  b: int = 5\nclass O(N): pass\ndef see(): return N(), N(b=1), N._field_defaults\n"
)


def done(name, text, was="100", now="10"):
    assert was in text
    return pytest.param(text, text.replace(was, now), id=name)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        done("a hook's body", HOOK + SEE, "= cls.limit", "= min(cls.limit, 50)"),
        done("a hook that enters the class", CLASSES + SHOW, "cls.__name__", "cls.__name__.lower()"),
        done("a constant of the hook", "MOST = 100\n" + HOOK.replace("= cls.limit", "= min(cls.limit, MOST)") + SEE, "MOST = 100", "MOST = 10"),
        done("a hook that another calls", SUPER + SEE),
        done("a function that a hook calls", "def most(): return 100\n" + HOOK.replace("= cls.limit", "= most()") + SEE, "return 100", "return 10"),
        done("a function that enters for a hook", "def enter(k): REG[k] = 100\n" + HOOK.replace("REG[cls.__name__] = cls.limit", "enter(cls.__name__)") + SEE, "= 100\nREG", "= 10\nREG"),
        done("a list", HOOK.replace("REG = {}", "REG = []").replace("REG[cls.__name__] = cls.limit", "REG.append(cls.limit)") + "def see(): return list(REG)\n", "(cls.limit)", "(cls.limit + 1)"),
        done("a table of the base", "class B:\n  subs = {}\n  def __init_subclass__(cls): cls.subs[cls.__name__] = 100\nclass X(B): pass\ndef see(): return dict(B.subs)\n"),
        done("an attribute of the class", "class B:\n  def __init_subclass__(cls): cls.most = 100\nclass X(B): pass\ndef see(): return X.most\n"),
        done("a table with another beginning", CLASSES + SHOW, "REG = {}", "REG = {'z': 1}"),
        done("a metaclass", META + SEE, "= ns.get('limit')", "= min(ns.get('limit'), 50)"),
        done("__set_name__", NAMED + SEE, "enter(name, self.most)", "enter(name, self.most + 1)"),
        done("what __set_name__ enters", NAMED + SEE),
        done("what is told its name", LIMIT + NAMED.replace("100", "LIMIT") + "def see(): return C.x.most, C.x.name\n", "1000", "10"),
        done("a default of a named tuple", TUPLE, "1000", "10"),
    ],
)  # fmt: skip
def test_what_hooks_did_is_done_again(releases, old, new):
    running = releases({"m.py": old}, {"m.py": new})
    restarted = {"__name__": running["m"].__name__}
    exec(new, restarted)
    was, before, shall = running["m"].see(), running.picture(), restarted["see"]()
    assert shall != was
    fix = running.build()
    assert livepatch.check(fix).ok
    assert running["m"].see() == was
    applied = livepatch.apply(fix)
    assert running["m"].see() == shall
    applied.revert()
    assert running["m"].see() == was
    assert not running.differences(before, running.picture())


DATA = LIMIT + "import dataclasses\n@dataclasses.dataclass\nclass C:\n  limit: int = dataclasses.field({})\n"


@pytest.mark.parametrize("given", ["default=LIMIT", "default_factory=lambda n=LIMIT: n", "metadata={'most': LIMIT}"])
def test_a_field_whose_default_changes_is_said_to_be_one(releases, given):
    old = DATA.format(given)
    running = releases({"m.py": old}, {"m.py": old.replace("1000", "10")})
    before = running.picture()
    report = livepatch.check(running.build())
    assert [finding.code for finding in report.errors] == ["fields-changed"]
    assert not running.differences(before, running.picture())
