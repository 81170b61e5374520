"""A replacement's names mean what they mean in the target's module."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.cycles import cycle, refused

if TYPE_CHECKING:
    from tests.conftest import NewPatch, WriteFix, WriteModule


def test_a_name_that_the_same_patch_adds(write_module: WriteModule, new_patch: NewPatch):
    m = write_module("def f(): return 'old'")
    fix = new_patch()

    @fix.replace(f"{m.__name__}:f")
    def f():
        return MAX_TX  # noqa: F821  # the patch adds it

    fix.add(m.__name__, MAX_TX=4096)
    cycle(fix, lambda: m.f(), "old", 4096, m)


def test_a_name_that_nobody_has(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f():\n    return MAX_TX")
    finding = refused(fix, "unresolved-name", m)
    assert "'MAX_TX' is neither in" in finding.found
    assert f"add('{m.__name__}', MAX_TX=" in finding.action


def test_a_name_that_the_old_code_looked_up_in_vain_may_stay(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(late=True): return 'old' if late else MAX_TX")
    fix = write_fix(f"{m.__name__}:f", "def f(late=True):\n    return 'new' if late else MAX_TX")
    cycle(fix, lambda: m.f(), "old", "new", m)


@pytest.mark.parametrize(
    ("module", "above", "named"),
    [
        ("LIMIT = []\n", "LIMIT = [1]", "LIMIT"),
        ("", "def len(values):\n    return 0", "len"),
    ],
)
def test_a_name_with_two_meanings(write_module: WriteModule, write_fix: WriteFix, module, above, named):
    m = write_module(f"{module}def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", f"def f():\n    return {named}", above=above)
    finding = refused(fix, "ambiguous-name", m)
    assert f"{named!r} means one object in" in finding.found
    assert ("the builtins" in finding.found) == (named == "len")


def test_a_name_that_the_patch_adds_otherwise_than_it_is_where_the_fix_is_written(
    write_module: WriteModule, write_fix: WriteFix
):
    m = write_module("def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f():\n    return LIMIT", above="LIMIT = [1]")
    fix.add(m.__name__, LIMIT=[2])
    assert "what the patch adds" in refused(fix, "ambiguous-name", m).found


def test_a_name_that_only_the_fix_has_is_carried(write_module: WriteModule, write_fix: WriteFix):
    m = write_module("def f(): return 'old'")
    fix = write_fix(f"{m.__name__}:f", "def f():\n    return LIMIT", above="LIMIT = 4096")
    cycle(fix, lambda: m.f(), "old", 4096, m)
