"""Names that stand for one thing while a module is imported, and for another afterwards.

What a statement has computed from the first is computed anew from the first; or the patch is refused.
"""

from __future__ import annotations

import functools

import pytest
from tests.built import Running

import livepatch

MAKE = "def make():\n  def inner(*given): return 1\n  return inner\n"
LATER = "def f(x=1): return x\n"


@pytest.fixture
def releases(tmp_path, monkeypatch):
    yield functools.partial(Running, tmp_path, monkeypatch)
    for status in reversed(livepatch.status()):
        livepatch.revert(status.id)


def patched(releases, text: str, new: str = ""):
    """The module with its patch: each 1 in it has become a 2."""
    running = releases({"m.py": text}, {"m.py": new or text.replace("1", "2")})
    applied = livepatch.apply(running.build())
    return running["m"], applied


QUICK = (
    "a call",
    "by a function that gives what another gives",
    "an import that may fail",
    "a name that a function binds",
)


def cases(texts: dict[str, str]):
    """The texts of a table, of which a few are tried each time."""
    return [
        pytest.param(text, id=name, marks=() if name in QUICK else pytest.mark.slow) for name, text in texts.items()
    ]


COMPUTED = {
    "a call": f"{MAKE}f = make()\nA = f()\n{LATER}",
    "by a function that gives what another gives": f"{MAKE}def up(): return make()\nf = up()\nA = f()\n{LATER}",
    "by a function that puts it into a variable": f"{MAKE}def up():\n  x = make()\n  return x\nf = up()\nA = f()\n",
    "one of two": f"{MAKE}f, g = make(), make()\nA = f()\n{LATER}",
    "in a with statement": f"import contextlib\n{MAKE}with contextlib.nullcontext(make()) as f: A = f()\n{LATER}",
    "in a loop": f"{MAKE}for f in [make()]: A = f()\n{LATER}",
    "by the text of its name": f"{MAKE}globals()['f'] = make()\nA = f()\n",
    "an entry": f"{MAKE}D = {{'f': make()}}\nA = D['f']()\nD = {{}}\n",
    "a decorator": f"{MAKE}f = make()\n@f\ndef A(): pass\n{LATER}",
    "a bound method": f"class C:\n  def m(self): return 1\nf = C().m\nA = f()\n{LATER}",
    "an object that is called": f"class C:\n  def __call__(self): return 1\nf = C()\nA = f()\n{LATER}",
    "an object that is called, and stays": "class C:\n  def __call__(self): return 1\nf = C()\nA = f()\n",
    "a class": "class f:\n  n = 1\nA = f.n\nf = 0\nclass f:\n  n = 1\n",
}


@pytest.mark.parametrize("text", cases(COMPUTED))
def test_what_a_name_gave_before_it_was_bound_anew_is_computed_anew(releases, text):
    module, applied = patched(releases, text)
    assert module.A == 2
    applied.revert()
    assert module.A == 1


REFUSED = {
    "a call for what it does": f"R = []\n{MAKE.replace('return 1', 'R.append(1)')}f = make()\nf()\n{LATER}",
    "a name that a function binds": f"{MAKE}def start():\n  global f\n  f = make()\nstart()\nA = f()\n",
}


@pytest.mark.parametrize("text", cases(REFUSED))
def test_what_cannot_be_computed_anew_is_refused(releases, text):
    with pytest.raises(livepatch.IncompatibleError) as refused:
        patched(releases, text)
    assert "module-effect-changed" in [finding.code for finding in refused.value.report.errors]


STANDING_IN = {
    "an import that may fail": "try:\n  from nowhere import C\nexcept ImportError:\n{}",
    "an import that fails behind it": "{}try:\n  from nowhere import C\nexcept ImportError: pass\n",
    "nothing, at first": "C = None\n{}",
    "what a function makes of it": "import functools\n{}C = functools.total_ordering(C)\n",
    "nothing, if it fails": "try:\n{}except Exception: C = None\n",
}
CLASS = "  class C:\n    n = 1\n    def m(self): return 1\n    def __lt__(self, other): return False\n"


@pytest.mark.parametrize("text", cases(STANDING_IN))
def test_attributes_change_of_a_class_whose_name_is_bound_elsewhere_too(releases, text):
    indented = "try:\n{}" in text or "ImportError:\n{}" in text
    body = CLASS if indented else "\n".join(line[2:] for line in CLASS.splitlines()) + "\n"
    module, applied = patched(releases, text.format(body) + "ONE = C()\n")
    assert (module.ONE.n, module.ONE.m(), vars(module.C)["n"]) == (2, 2, 2)
    applied.revert()
    assert (module.ONE.n, module.ONE.m(), vars(module.C)["n"]) == (1, 1, 1)


def test_no_attribute_goes_to_another_class_that_has_taken_the_name(releases):
    text = "class C:\n  n = 1\nOld = C\nclass D:\n  n = 1\nC = D\n"
    with pytest.raises(livepatch.IncompatibleError) as refused:
        patched(releases, text, text.replace("class C:\n  n = 1", "class C:\n  n = 2"))
    assert "is the class D in this process" in str(refused.value)
