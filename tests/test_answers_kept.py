"""What a process has computed by code that changes: it is computed anew, or the report names where it is kept."""

from __future__ import annotations

import functools
import gc

import pytest
from tests.built import Running

import livepatch
from livepatch.contents.edits import Memo
from livepatch.engine.hidden import hidden_values
from livepatch.engine.keepers import held_of
from livepatch.engine.stack import ABSENT


@pytest.fixture
def releases(tmp_path, monkeypatch):
    return functools.partial(Running, tmp_path, monkeypatch)


def running_with(releases, text):
    return releases({"m.py": text}, {"m.py": text.replace("(1,)", "(1, 2)")})


GET = (
    "import operator\nclass C:\n    @property\n    def p(self): return (1,)\n    def get(self): return (1,)\nc = C()\n"
)
F = "def f(): return (1,)\ndef g(): return 2\n"
AT_IMPORT = {
    "methodcaller": f"{GET}X = operator.methodcaller('get')(c)",
    "methodcaller with a name": f"{GET}get = operator.methodcaller('get')\nX = get(c)",
    "methodcaller over a list": f"{GET}X = list(map(operator.methodcaller('get'), [c]))",
    "attrgetter": f"{GET}X = operator.attrgetter('p')(c)",
    "itemgetter": f"import operator\n{F}T = {{'a': f}}\nX = operator.itemgetter('a')(T)()",
    "comprehension": f"{F}X = [each() for each in (f, g)]",
    "pairs": f"{F}X = {{k: each() for k, each in {{'a': f}}.items()}}",
    "several at once": f"{F}X = [each() for _, each in zip('ab', [g, f])]",
    "method": f"{GET}X = [each.get() for each in (c,)]",
    "loop": f"{F}X = []\nfor each in (g, f):\n    X.append(each())",
    "condition": f"{F}X = (f if True else g)()",
    "either": f"{F}X = (None or f)()",
    "named": f"{F}X = (h := f)()",
}


@pytest.mark.parametrize("text", AT_IMPORT.values(), ids=AT_IMPORT.keys())
def test_what_came_of_a_call_under_another_name_is_computed_anew(text, releases):
    running = running_with(releases, text)
    was = repr(running["m"].X)
    applied = livepatch.apply(running.build())
    assert repr(running["m"].X) == was.replace("(1,)", "(1, 2)") != was
    applied.revert()
    assert repr(running["m"].X) == was


MEMO = "        if 'a' not in memo: memo['a'] = {}()\n        return memo['a']\n    return inner\n"
NONLOCAL = """\
def make():
    memo = None
    def inner():
        nonlocal memo
        if memo is None: memo = f()
        return memo
    return inner
"""
HIDDEN = {
    "attribute": (f"{F}def X():\n    if not hasattr(X, 'v'): X.v = f()\n    return X.v", "X.v"),
    "entry of an attribute": (f"{F}def X():\n    return X.v.setdefault('a', f())\nX.v = {{}}", "X.v"),
    "default": (f"{F}def X(memo={{}}):\n    if 'a' not in memo: memo['a'] = f()\n    return memo['a']", "X.memo"),
    "keyword": (f"{F}def X(*, memo={{}}):\n    if not memo: memo['a'] = f()\n    return memo['a']", "X.memo"),
    "closure": (
        f"{F}def make():\n    memo = {{}}\n    def inner():\n{MEMO.format('f')}X = make()",
        "make.<locals>.memo",
    ),
    "nonlocal": (f"{F}{NONLOCAL}X = make()", "make.<locals>.memo"),
    "decorator": (
        f"def kept(h):\n    memo = {{}}\n    def inner():\n{MEMO.format('h')}@kept\ndef X(): return (1,)",
        "kept.<locals>.memo",
    ),
    "decorator of a caller": (
        f"{F}def kept(h):\n    memo = {{}}\n    def inner():\n{MEMO.format('h')}@kept\ndef X(): return f()",
        "kept.<locals>.memo",
    ),
    "factory": (f"from collections import defaultdict\n{F}D = defaultdict(f)\ndef X(): return D['a']", "D"),
}


@pytest.mark.parametrize(("text", "place"), HIDDEN.values(), ids=HIDDEN.keys())
def test_answers_that_functions_keep_out_of_sight_are_named(text, place, releases):
    running = running_with(releases, text)
    fix = running.build()
    assert "answers-kept" not in {finding.code for finding in livepatch.check(fix).findings}
    was = running["m"].X()
    (said,) = [finding for finding in livepatch.check(fix).findings if finding.code == "answers-kept"]
    assert (said.severity, said.target) == ("warning", f"{running.name}.m:{place}")
    applied = livepatch.apply(fix)
    assert running["m"].X() == was == (1,)
    applied.revert()


def test_a_closure_is_found_in_its_module_where_a_walk_through_the_heap_is_not_granted(releases, monkeypatch):
    monkeypatch.setattr("livepatch.engine.hidden.is_unnoticed", lambda: False)
    running = running_with(releases, HIDDEN["decorator"][0])
    running["m"].X()
    assert "answers-kept" in {finding.code for finding in livepatch.check(running.build()).findings}


def test_what_a_function_keeps_of_other_things_is_not_named(releases):
    text = f"{F}def X(memo={{}}):\n    memo['a'] = g()\n    y = [f()]\n    y.append(f())\n    return memo, y\nX.v = 1"
    running = running_with(releases, text)
    running["m"].X()
    assert "answers-kept" not in {finding.code for finding in livepatch.check(running.build()).findings}


def test_a_patch_that_names_the_variable_of_a_closure_is_read_again(releases, tmp_path):
    fix = running_with(releases, HIDDEN["closure"][0]).build()
    fix.save(tmp_path / "a.lpatch")
    assert livepatch.load(tmp_path / "a.lpatch", trust=livepatch.UNSIGNED).edits == fix.edits


def test_a_parameter_of_an_inner_function_is_not_taken_for_a_name_of_the_module(releases):
    text = (
        f"{F}class T: kept = None\nt = T\n"
        "def make():\n    def inner(t):\n        t.kept = f()\n        return t\n    return inner\nX = make()"
    )
    running = running_with(releases, text)
    running["m"].T.kept = 3
    assert "answers-kept" not in {finding.code for finding in livepatch.check(running.build()).findings}


def test_objects_that_make_any_attribute_are_not_asked_for_one(releases, monkeypatch):
    monkeypatch.setattr("livepatch.engine.hidden.is_unnoticed", lambda: False)
    text = f"class Any:\n    def __getattr__(self, name): return Any()\nany_of = Any()\n{HIDDEN['decorator'][0]}"
    running = running_with(releases, text)
    running["m"].X()
    assert "answers-kept" in {finding.code for finding in livepatch.check(running.build()).findings}


def test_more_defaults_than_parameters_are_read_from_the_end(write_module):
    m = write_module("def f(a, memo={}): return memo")
    m.f.__defaults__ = (0, 1, {"a": 2})
    memo = Memo(target="f.memo", of=f"{m.__name__}:f", initial="{}")
    assert [*hidden_values(m, memo, {m.__name__: m})] == [(f"the default memo of {m.__name__}:f", {"a": 2})]


MATCH = "import re\nclass P:\n    PAT = '(a)+b'\n{}class D(P): PAT = 'a+b+'\nclass E(P): pass\nclass F(D): pass\n"
LAZILY = {
    "when made": "    def __init__(self): self.rx = re.compile(self.PAT)\n    def get(self): return self.rx.pattern\n",
    "of the class": (
        "    rx = None\n    def get(self):\n        if self.rx is None: self.rx = re.compile(self.PAT)\n"
        "        return self.rx.pattern\n"
    ),
    "of the object": (
        "    def __init__(self): self.rx = None\n    def get(self):\n        if not self.rx:\n"
        "            self.rx = re.compile(self.PAT)\n        return self.rx.pattern\n"
    ),
    "asked": (
        "    def get(self):\n        if not hasattr(self, 'rx'): self.rx = re.compile(self.PAT)\n"
        "        return self.rx.pattern\n"
    ),
    "returned": (
        "    rx = None\n    def get(self):\n        rx = self.rx\n        if rx is not None: return rx.pattern\n"
        "        self.rx = re.compile(self.PAT)\n        return self.rx.pattern\n"
    ),
    "handled": (
        "    def get(self):\n        try: return self.rx.pattern\n"
        "        except AttributeError: self.rx = re.compile(self.PAT)\n        return self.rx.pattern\n"
    ),
}


@pytest.mark.parametrize("text", LAZILY.values(), ids=LAZILY.keys())
@pytest.mark.parametrize(("was", "now"), [("(a)+b", "(a)+bc"), ("a+b+", "a{1,9}b")], ids=["base", "derived"])
def test_what_objects_made_of_a_class_attribute_is_made_anew_for_each_class(text, was, now, releases):
    text = MATCH.format(text)
    running = releases({"m.py": text}, {"m.py": text.replace(was, now)})
    m = running["m"]
    held = [cls() for cls in (m.P, m.D, m.E, m.F)]
    before = [each.get() for each in held]
    patterns = [each.rx for each in held]
    fix = running.build()
    assert "objects-keep-old" not in {finding.code for finding in livepatch.check(fix).findings}
    unasked = m.D()
    applied = livepatch.apply(fix)
    assert [each.get() for each in held] == [each.replace(was, now) for each in before] != before
    assert unasked.get() == held[1].get()
    applied.revert()
    assert all(each.rx is pattern for each, pattern in zip(held, patterns, strict=True))


GETS = "def f(): return (1,)\nclass X:\n    v = None\n    def g(self): return (1,)\n"
IF_NONE = "    def get(self):\n        if self.v is None: self.v = {}\n        return self.v\n"
IN_OBJECTS = {
    "function": GETS + IF_NONE.format("f()"),
    "method": GETS + IF_NONE.format("self.g()"),
    "when made": f"{GETS}    def __init__(self): self.v = [f()]\n    def get(self): return self.v\n",
}


@pytest.mark.parametrize("text", IN_OBJECTS.values(), ids=IN_OBJECTS.keys())
def test_what_objects_keep_of_a_changed_function_is_named(text, releases):
    running = running_with(releases, text)
    fix = running.build()
    assert "objects-keep-old" not in {finding.code for finding in livepatch.check(fix).findings}
    held = running["m"].X()
    held.get()
    (said,) = [finding for finding in livepatch.check(fix).findings if finding.code == "objects-keep-old"]
    assert (said.severity, said.target, said.found[:9]) == ("warning", f"{running.name}.m:X.v", "1 objects")


def test_what_a_changed_method_sets_when_it_is_first_asked_is_set_anew(releases):
    running = running_with(releases, "class X:\n    v = None\n" + IF_NONE.format("(1,)"))
    held, unasked = running["m"].X(), running["m"].X()
    was = held.get()
    applied = livepatch.apply(running.build())
    assert held.get() == (1, 2)
    assert unasked.v is None
    applied.revert()
    assert held.get() is was


@pytest.mark.parametrize(
    "text",
    [
        IF_NONE.format("g()"),  # of another function
        "    def get(self):\n        self.v = f()\n        return self.v\n",  # set at each call
        "    def get(self):\n        if self.v: self.v = self.v + f()\n        return f()\n",  # no answer, but a state
    ],
)
def test_what_is_no_answer_that_an_object_keeps_is_not_named(text, releases):
    running = running_with(releases, f"{F}class X:\n    v = None\n{text}")
    held = running["m"].X()
    held.get()
    assert "objects-keep-old" not in {finding.code for finding in livepatch.check(running.build()).findings}


def test_a_look_at_what_an_object_holds_gives_it_no_dict():
    class Holder:
        def __init__(self) -> None:
            self.text = "text" * 3

    class Slotted:
        __slots__ = ("text",)

    holder, slotted = Holder(), Slotted()
    assert (held_of(holder, "text"), held_of(holder, "other"), held_of(slotted, "text")) == ("text" * 3, ABSENT, ABSENT)
    slotted.text = "slot"
    assert held_of(slotted, "text") == "slot"
    assert not any(type(each) is dict for each in gc.get_referents(holder))
    holder.__dict__["other"] = 1
    assert held_of(holder, "other") == 1
