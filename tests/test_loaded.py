"""Modules that statements of a patch load: gone after a check, a failure and a revert, unless somebody holds them."""

from __future__ import annotations

import itertools
import sys

import pytest
from tests.built import Running

import livepatch

_numbers = itertools.count(1)
LIBRARY = """
import logging
import re
_log = logging.getLogger(__name__)
_word = re.compile("[a-z]+")
REGISTRY = {}
class Error(Exception): pass
class Base:
    def __init_subclass__(cls, **kw): super().__init_subclass__(**kw)
    def limit(self): return helper(30)
def helper(n): return n
REGISTRY["helper"] = helper
"""


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A package that is installed beside the patched one and that the process has not imported."""
    name = f"library{next(_numbers)}"
    folder = tmp_path / "beside" / name
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "limits.py").write_text(f"from {name} import inner\n" + LIBRARY)
    (folder / "inner.py").write_text("MOST = 30\n")
    monkeypatch.syspath_prepend(str(tmp_path / "beside"))
    return name


USES = {
    "an import": "import LIB.limits\ndef f(n): return min(n, LIB.limits.helper(30))",
    "a name from it": "from LIB.limits import helper\ndef f(n): return min(n, helper(30))",
    "a name of its submodule": "from LIB.inner import MOST\ndef f(n): return min(n, MOST)",
    "a base class": "from LIB.limits import Base\nclass Limit(Base): pass\ndef f(n): return min(n, Limit().limit())",
    "a value": "import LIB.limits as lib\nMOST = lib.helper(30)\ndef f(n): return min(n, MOST)",
    "an exception": (
        "from LIB.limits import Error\nclass Large(Error): pass\ndef f(n):\n"
        "    try:\n        raise Large\n    except Error:\n        return min(n, 30)"
    ),
}
OLD = "def f(n): return n"


@pytest.fixture
def running(tmp_path, monkeypatch):
    def make(new, old=OLD):
        return Running(tmp_path, monkeypatch, {"m.py": old}, {"m.py": new})

    return make


@pytest.mark.parametrize("use", USES.values(), ids=USES.keys())
def test_what_a_patch_loads_is_there_while_the_patch_is(use, library, running):
    release = running(use.replace("LIB", library))
    fix = release.build()

    def came():
        return {name for name in sys.modules if name.startswith(library)}

    report = livepatch.check(fix)
    assert report.ok, report
    assert [f.code for f in report.findings if f.code == "modules-loaded"] == ["modules-loaded"]
    assert not came()

    applied = livepatch.apply(fix)
    assert came()
    assert release["m"].f(99) == 30
    applied.revert()
    assert release["m"].f(99) == 99
    assert not came()

    livepatch.apply(fix)  # and so it can be loaded anew
    assert release["m"].f(99) == 30
    livepatch.revert(fix.id)


def test_a_refusal_leaves_nothing_loaded(library, running):
    new = (
        f"import {library}.limits\nA = {library}.limits.helper(2)\ndef f(n): return min(n, {library}.limits.helper(30))"
    )
    release = running(new, "A = 1\ndef f(n): return n")
    release["m"].A = 7
    before = set(sys.modules)
    with pytest.raises(livepatch.IncompatibleError) as caught:
        livepatch.apply(release.build())
    assert "value-differs-from-before" in {finding.code for finding in caught.value.report.errors}
    assert set(sys.modules) == before


def test_a_switch_that_fails_leaves_nothing_loaded(library, running):
    release = running(USES["a base class"].replace("LIB", library))
    fix = release.build()

    @fix.pre_apply
    def stop():
        raise RuntimeError("not now")

    before = set(sys.modules)
    with pytest.raises(livepatch.LivepatchError):
        livepatch.apply(fix)
    assert set(sys.modules) == before


def test_the_package_around_a_module_forgets_it(library, running):
    __import__(library)
    release = running(USES["an import"].replace("LIB", library))
    package = sys.modules[library]
    names = set(vars(package))
    livepatch.check(release.build())
    assert set(vars(package)) == names
    assert sys.modules[library] is package
    assert f"{library}.limits" not in sys.modules


HELD = {
    "the module": lambda lib: lib,
    "a function": lambda lib: lib.helper,
    "a class": lambda lib: lib.Error,
    "an object of a class": lambda lib: lib.Base(),
    "what it keeps": lambda lib: lib.REGISTRY,
    "a method": lambda lib: lib.Base().limit,
}


@pytest.mark.parametrize("hold", HELD.values(), ids=HELD.keys())
def test_what_somebody_holds_stays(hold, library, running):
    release = running(USES["an import"].replace("LIB", library))
    applied = livepatch.apply(release.build())
    module = sys.modules[f"{library}.limits"]
    held = [hold(module)]
    applied.revert()
    assert sys.modules[f"{library}.limits"] is module
    assert getattr(sys.modules[library], "limits", None) is module
    assert sys.modules[f"{library}.inner"] is module.inner
    del held, module
    livepatch.check(release.build())  # it goes when nobody needs it any more
    assert f"{library}.limits" not in sys.modules


def test_another_patch_that_uses_it_keeps_it(library, running, tmp_path, monkeypatch):
    first = running(USES["an import"].replace("LIB", library))
    second = Running(
        tmp_path / "second", monkeypatch, {"m.py": OLD}, {"m.py": USES["a name from it"].replace("LIB", library)}
    )
    one, other = livepatch.apply(first.build()), livepatch.apply(second.build())
    one.revert()
    assert f"{library}.limits" in sys.modules
    assert second["m"].f(99) == 30
    other.revert()
    assert f"{library}.limits" not in sys.modules


def test_what_registers_itself_elsewhere_stays(library, running, tmp_path):
    """It could not be loaded a second time."""
    known = sys.modules["tests.built"].__dict__.setdefault("known_to_all", {})
    text = "from tests.built import known_to_all\nclass Counter: pass\nassert not known_to_all\n"
    text += "known_to_all['counter'] = COUNTER = Counter()\nMOST = 30\n"
    (tmp_path / "beside" / library / "inner.py").write_text(text)
    release = running(USES["a name of its submodule"].replace("LIB", library))
    fix = release.build()
    try:
        livepatch.check(fix)
        assert f"{library}.inner" in sys.modules
        livepatch.apply(fix)
        assert release["m"].f(99) == 30
    finally:
        livepatch.revert(fix.id)
        del sys.modules["tests.built"].known_to_all
        known.clear()


def test_an_extension_module_stays(running):
    sys.modules.pop("cProfile", None)
    if "_lsprof" in sys.modules:
        pytest.skip("something has loaded it already")
    release = running("import cProfile\ndef f(n): return min(n, cProfile.label(cProfile.label.__code__)[1])")
    livepatch.check(release.build())
    assert "cProfile" not in sys.modules
    assert "_lsprof" in sys.modules


ODD = {
    "a module without a spec": "del __spec__\n",
    "a class that does not tell its module": (
        "class Meta(type):\n"
        "    @property\n"
        "    def __module__(cls):\n"
        "        if ODD: raise RuntimeError('not told')\n"
        "        return __name__\n"
        "class Odd(metaclass=Meta): pass\n"
    ),
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD.keys())
def test_a_module_of_an_odd_kind_keeps_no_switch_from_being_done(odd, library, running, tmp_path):
    (tmp_path / "beside" / library / "inner.py").write_text(f"MOST = 30\nODD = [1]\n{odd}")
    release = running(USES["a name of its submodule"].replace("LIB", library))
    fix = release.build()
    try:
        assert livepatch.check(fix).ok
        applied = livepatch.apply(fix)
        assert release["m"].f(99) == 30
        applied.revert()
        assert release["m"].f(99) == 99
        assert livepatch.status() == ()
    finally:
        for name in [each for each in sys.modules if each.startswith(library)]:
            getattr(sys.modules.pop(name), "ODD", []).clear()  # other tests ask all classes that there are


def test_an_error_that_the_caller_is_about_keeps_what_its_frames_hold(library, running):
    release = running(USES["an import"].replace("LIB", library))

    def fail():
        why = "kept"
        raise ValueError(why)

    applied = livepatch.apply(release.build())
    frames = []
    try:
        fail()
    except ValueError as error:
        applied.revert()  # as an operator's handler may
        with pytest.raises(livepatch.LivepatchError):
            livepatch.revert("nothing")
        livepatch.check(release.build())
        frames.append(error.__traceback__.tb_next.tb_frame)
    assert frames[0].f_locals == {"why": "kept"}
    assert f"{library}.limits" not in sys.modules
