"""Shadow attributes as they are declared: what is refused, and what goes into a patch file."""

from __future__ import annotations

import asyncio
import sys

import pytest
from tests.bundle.trees_of import write_tree

import livepatch
from livepatch.errors import BundleError, PatchError


@pytest.mark.parametrize(
    ("default", "words"),
    [
        ([], "would be one object for all.*such as x=list"),
        ({}, "would be one object for all"),
        (lambda a, b: 1, "cannot be called"),
        (lambda *, k: 1, "cannot be called"),
        (asyncio.sleep, "is a coroutine function"),
    ],
)
def test_a_default_that_cannot_serve_is_refused_when_it_is_declared(new_patch, default, words):
    fix = new_patch()
    with pytest.raises(PatchError, match=words):
        fix.shadow("m:C", x=default)
    assert fix.changes == ()


OLD = "class C:\n    def f(self): return 0\n"
NEW = "class C:\n    def f(self): return self.seen, self.most\n"


@pytest.fixture
def declared_in(tmp_path, monkeypatch):
    """A built patch, of which the author has to say what objects start with, and the module that runs."""
    trees = [
        write_tree(tmp_path / name, {"shadowed.py": text}, package="shadowed", version=version)
        for name, text, version in (("old", OLD, "1.0"), ("new", NEW, "1.1"))
    ]
    monkeypatch.syspath_prepend(str(trees[0]))
    import shadowed

    yield livepatch.build(*trees, package="shadowed"), shadowed
    del sys.modules["shadowed"]


def test_a_file_carries_what_is_declared_if_its_text_is_known(declared_in, tmp_path):
    fix, shadowed = declared_in
    fix.shadow("shadowed:C", seen=list, most=(5, -1, "x", None, 2.5, b"y", True))
    fix.save(tmp_path / "fix.lpatch")
    loaded = livepatch.load(tmp_path / "fix.lpatch", trust=livepatch.UNSIGNED)
    assert [(each.name, each.expression, each.shared) for each in loaded.edits[0].attributes] == [
        ("seen", "list()", False),
        ("most", "(5, -1, 'x', None, 2.5, b'y', True)", True),
    ]
    one, other = shadowed.C(), shadowed.C()
    applied = livepatch.apply(loaded)
    one.seen.append(1)
    assert (one.f(), other.f()) == (([1], one.most), ([], one.most))
    assert one.most == (5, -1, "x", None, 2.5, b"y", True)
    applied.revert()
    assert (vars(one), one.f()) == ({}, 0)
    in_code = livepatch.apply(fix)
    assert one.f() == ([], one.most)
    in_code.revert()


class Own:
    pass


@pytest.mark.parametrize("default", [lambda: [1], Own, float("nan"), (list,), Own()])
def test_a_default_without_a_text_is_not_saved(declared_in, tmp_path, default):
    fix, _ = declared_in
    fix.shadow("shadowed:C", seen=default)
    with pytest.raises(BundleError, match=r"a change of shadowed:C\.seen, written in code"):
        fix.save(tmp_path / "fix.lpatch")
    assert not (tmp_path / "fix.lpatch").exists()
