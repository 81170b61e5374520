"""Tables that can be emptied are told from all others."""

from __future__ import annotations

import pytest
from tests.bundle.trees_of import built

OLD = """
class Base:
    RULE = '(a+)+b'
    def __init__(self):
        self._kept = {}
    def made(self, key):
        found = self._kept.get(key)
        if found:
            return found
        found = [self.RULE, key]
        self._kept[key] = found
        return found
"""
LOOKED_UP = "        found = self._kept.get(key)\n        if found:\n            return found\n"


def tables(tmp_path, old, **more):
    files = {"app/__init__.py": "", "app/m.py": old, **more}
    patch = built(tmp_path, files, {**files, "app/m.py": old.replace("(a+)+b", "a+b")})
    return [(edit.module, edit.tables) for edit in patch.edits if edit.tables]


@pytest.mark.parametrize(
    "looked_up",
    [
        LOOKED_UP,
        LOOKED_UP.replace("if found:", "if found is not None:"),
        "        if key in self._kept:\n            return self._kept[key]\n",
        "        try:\n            return self._kept[key]\n        except KeyError:\n            pass\n",
    ],
)
def test_what_one_method_computes_and_takes_is_a_table(tmp_path, looked_up):
    assert tables(tmp_path, OLD.replace(LOOKED_UP, looked_up)) == [("app.m", ("Base._kept",))]


def test_it_may_stand_in_a_base_in_another_module(tmp_path):
    sub = "from app.m import Base\nclass Sub(Base):\n    OTHER = 'old'\n"
    files = {"app/__init__.py": "", "app/m.py": OLD, "app/n.py": sub}
    patch = built(tmp_path, files, {**files, "app/n.py": sub.replace("'old'", "'new'")})
    assert [(edit.module, edit.tables) for edit in patch.edits if edit.tables] == [("app.m", ("Base._kept",))]


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("self._kept = {}", "self._kept = {'a': 1}"),  # something is in it from the start
        ("self._kept = {}", "self._kept = load()"),
        (LOOKED_UP, ""),  # it is written only
        ("            return found\n        found", "            pass\n        found"),
        ("        return found\n", "        return found\n    def all(self): return list(self._kept)\n"),
        ("class Base:", "def register(base, v): base._kept['a'] = v\nclass Base:"),
        ("class Base:", "NAME = '_kept'\nclass Base:"),
    ],
)
def test_what_is_used_in_any_other_way_is_none(tmp_path, was, becomes):
    assert was in OLD
    assert tables(tmp_path, OLD.replace(was, becomes, 1)) == []


def test_other_modules_count(tmp_path):
    assert tables(tmp_path, OLD, **{"app/n.py": "def peek(base): return base._kept"}) == []
    assert tables(tmp_path / "2", OLD.replace("RULE = ", "rule = ").replace("self.RULE", "self.rule")) != []


def test_where_no_class_attribute_changes_there_is_none(tmp_path):
    files = {"app/__init__.py": "", "app/m.py": OLD}
    patch = built(tmp_path, files, {**files, "app/m.py": OLD.replace("[self.RULE, key]", "[key, self.RULE]")})
    assert [edit.tables for edit in patch.edits] == [()]
