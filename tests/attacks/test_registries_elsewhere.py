"""Registries in a module that has no change, into which another module enters what changes: as after a restart."""
# ruff: noqa: E501  # the sources of small packages, each on a line of its own

from __future__ import annotations

import pytest
from tests.built import Running

import livepatch

ROUTES = (
    "ROUTES = {}\ndef route(path, auth=False):\n  def put(f):\n    ROUTES[path] = f, auth\n    return f\n  return put\n"
)
APP = "class App:\n  def __init__(self): self.routes = {}\n  def route(self, path, auth=False):\n    def put(f):\n      self.routes[path] = f, auth\n      return f\n    return put\napp = App()\n"
PUT = "ROUTES = {}\ndef put(k, v): ROUTES[k] = (lambda: v), v\n"
VIEWS = "from PKG.low import route\n@route('/')\ndef view(): return 1\n@route('/b')\ndef other(): return 2\ndef own(): return 0\n"
OTHERS = "from PKG.low import route\n@route('/z')\ndef of_another(): return 9\n"
THIRD = "@route('/c')\ndef third(): return 3\n"


def see(running):
    routes = running["low"].app.routes if hasattr(running["low"], "app") else running["low"].ROUTES
    return {path: (f(), auth) for path, (f, auth) in routes.items()}


def views(was, now, text=VIEWS):
    assert was in text
    return text, text.replace(was, now)


@pytest.mark.parametrize(
    ("low", "old", "new"),
    [
        pytest.param(ROUTES, *views("'/')", "'/', auth=True)"), id="it is entered otherwise"),
        pytest.param(ROUTES, *views("'/b'", "'/c'"), id="under another key"),
        pytest.param(ROUTES, *views("def own", THIRD + "def own"), id="one comes"),
        pytest.param(ROUTES, *views("@route('/b')\ndef other(): return 2\n", ""), id="one goes"),
        pytest.param(ROUTES, *views("'/')", "'/', auth=True)", VIEWS.replace("import route", "import route as r").replace("@route", "@r")), id="under another name"),
        pytest.param(ROUTES, *views("'/')", "'/', auth=True)", VIEWS.replace("from PKG.low import route", "import PKG.low").replace("@route", "@PKG.low.route")), id="through the module"),
        pytest.param(APP, *views("'/')", "'/', auth=True)", VIEWS.replace("import route", "import app").replace("@route", "@app.route")), id="into an object"),
        pytest.param(APP, *views("def own", THIRD.replace("@", "@app.") + "def own", VIEWS.replace("import route", "import app").replace("@route", "@app.route")), id="one comes into an object"),
        pytest.param(PUT, *views("100", "10", "from PKG.low import put\nput('a', 100)\n"), id="a call enters it"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("others", [False, True])
def test_what_another_module_registers_is_as_after_a_restart(tmp_path, monkeypatch, low, old, new, others):
    rest = {"z.py": OTHERS} if others and low is ROUTES else {}
    running = Running(tmp_path / "a", monkeypatch, {"low.py": low, "m.py": old, **rest}, {"m.py": new})
    restarted = Running(tmp_path / "b", monkeypatch, {"low.py": low, "m.py": new, **rest}, {})
    was, shall, before = see(running), see(restarted), running.picture()
    assert was != shall
    fix = running.build()
    livepatch.check(fix)
    assert see(running) == was
    applied = livepatch.apply(fix)
    assert see(running) == shall
    applied.revert()
    assert see(running) == was
    assert not running.differences(before, running.picture())


def test_what_the_program_has_registered_since_stays(tmp_path, monkeypatch):
    running = Running(
        tmp_path, monkeypatch, {"low.py": ROUTES, "m.py": VIEWS}, {"m.py": views("'/')", "'/', auth=True)")[1]}
    )
    running["low"].route("/late")(lambda: 7)
    applied = livepatch.apply(running.build())
    assert see(running) == {"/": (1, True), "/b": (2, False), "/late": (7, False)}
    applied.revert()
    assert see(running) == {"/": (1, False), "/b": (2, False), "/late": (7, False)}
