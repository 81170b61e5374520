"""Fields that only a new dataclass has, and attributes whose setter is left out."""

from __future__ import annotations

import sys

import pytest
from tests.bundle.trees_of import built, codes, edit_of, verdicts

import livepatch
from livepatch.compat.report import Report

OLD = """
import collections
import dataclasses
from dataclasses import dataclass, field
from typing import final
LIMIT = 5
def make(): return []
@dataclass
class D:
    a: int
    b: int = 1
def use(d): return 0
"""


def with_field(declared, use="return d.fresh", old=OLD):
    return old.replace("    a: int\n", f"    a: int\n    {declared}\n").replace("return 0", use)


@pytest.mark.parametrize(
    ("declared", "expression", "shared"),
    [
        ("fresh: int = 0", "0", True),
        ("fresh: int | None = None", "None", True),
        ("fresh: int = LIMIT", "LIMIT", True),
        ("fresh: int = field(default=LIMIT * 2, repr=False)", "LIMIT * 2", True),
        ("fresh: list[int] = field(default_factory=list)", "list()", False),
        ("fresh: list[int] = dataclasses.field(default_factory=make)", "make()", False),
        ("fresh: object = field(init=False, default_factory=collections.deque)", "collections.deque()", False),
        ("fresh: dict = field(default_factory=lambda: {'a': [LIMIT]})", "{'a': [LIMIT]}", False),
    ],
)
def test_objects_get_a_field_that_only_the_new_class_has(tmp_path, declared, expression, shared):
    patch = built(tmp_path, OLD, with_field(declared))
    assert patch.obstacles == ()
    (attribute,) = edit_of(patch).attributes
    assert (attribute.class_qualname, attribute.name, attribute.expression) == ("D", "fresh", expression)
    assert attribute.shared == shared
    assert "__init__ does not take it" in attribute.reason
    assert edit_of(patch).names == ()
    (entry,) = [entry for entry in patch.plan if entry.what == "shadow variable"]
    assert (entry.target, entry.verdict) == ("app.m:D.fresh", "needed")


@pytest.mark.parametrize(
    ("declared", "use"),
    [
        ("fresh: int", "return d.fresh"),  # without a default
        ("fresh: int = 0", "return D(1, fresh=2)"),
        ("fresh: int = 0", "return D(1, 2)"),  # another field by its place
        ("fresh: int = 0", "return D(*d)"),
        ("fresh: int = 0", "return D(**d)"),
        ("fresh: int = 0", "return type(d)(1, 2)"),
        ("fresh: int = 0", "return dataclasses.replace(d, fresh=1)"),
        ("fresh: int = field(default_factory=lambda n=1: n)", "return d.fresh"),
        ("fresh: int = OTHER", "return d.fresh"),
        ("fresh: 'dataclasses.InitVar[int]' = 0", "return d.fresh"),
        ("fresh: int = field(default_factory=make())", "return d.fresh"),
    ],
)
def test_a_field_that_new_code_gives_to_init_or_that_nothing_tells_is_refused(tmp_path, declared, use):
    new = with_field(declared, use).replace("LIMIT = 5", "LIMIT = 5\nOTHER = 6")
    assert set(codes(built(tmp_path, OLD, new))) == {"fields-changed"}


@pytest.mark.parametrize(
    "head",
    [
        "@dataclass(slots=True)\nclass D:",
        "@dataclass(order=True)\nclass D:",
        "@dataclass(frozen=True)\nclass D:",
        "@dataclass(unsafe_hash=True)\nclass D:",
        "@make\n@dataclass\nclass D:",
        "@dataclass\nclass D(collections.UserDict):",
        "class M(type): pass\n@dataclass\nclass D(metaclass=M):",
    ],
)
def test_a_class_that_is_made_of_its_fields_is_refused(tmp_path, head):
    old = OLD.replace("@dataclass\nclass D:", head)
    assert set(codes(built(tmp_path, old, with_field("fresh: int = 0", old=old)))) == {"fields-changed"}


def test_other_changes_of_the_fields_are_refused(tmp_path):
    new = with_field("fresh: int = 0").replace("b: int = 1", "b: int = 2")
    assert "fields-changed" in codes(built(tmp_path, OLD, new))


def test_a_field_is_brought_in_by_the_code_that_reads_it_under_a_name_that_nothing_else_has(tmp_path):
    new = with_field("fresh: int = 0")
    patch = built(tmp_path / "1", OLD, new, only=["app.m:use"])
    assert [each.name for each in edit_of(patch).attributes] == ["fresh"]
    assert verdicts(patch)["app.m:use"] == "taken"
    known = "\nclass E:\n    fresh = 1\n"  # then it may be another object's
    assert edit_of(built(tmp_path / "2", OLD + known, new + known, only=["app.m:use"])).attributes == ()


def test_a_field_that_is_left_out_and_cannot_be_given_is_an_obstacle(tmp_path):
    patch = built(tmp_path, OLD, with_field("fresh: int"), only=["app.m:use"])
    assert codes(patch) == ["attribute-unset"]
    assert "it has no default" in patch.obstacles[0].found


CLASS = """
class C:
    def __init__(self, a):
        self.a = a
    def f(self): return 0
def g(c): return 0
"""
SET = CLASS.replace("self.a = a", "self.a = a\n        self.fresh = []").replace(
    "return 0", "return len(self.fresh)", 1
)


@pytest.mark.parametrize("only", ["app.m:C.f", "app.m:g"])
def test_an_attribute_whose_setter_is_left_out_is_given_to_all(tmp_path, only):
    new = SET.replace("def g(c): return 0", "def g(c): return c.fresh")
    patch = built(tmp_path, CLASS, new, only=[only])
    assert [(each.name, each.expression) for each in edit_of(patch).attributes] == [("fresh", "[]")]


def test_one_that_the_source_does_not_tell_is_an_obstacle(tmp_path):
    patch = built(tmp_path / "1", CLASS, SET.replace("= []", "= a.b"), only=["app.m:C.f"])
    assert codes(patch) == ["attribute-unset"]
    assert "only C.__init__ sets" in patch.obstacles[0].found
    assert codes(built(tmp_path / "2", CLASS, SET.replace("= []", "= a.b"), only=["app.m:C"])) == []


def test_a_process_gives_the_field_to_objects_old_and_new_and_takes_it_back(tmp_path, monkeypatch):
    old = OLD.replace("    b: int = 1\n", "    b: int = 1\n    def hit(self): return 0\n")
    new = with_field("fresh: int = 0\n    seen: list = field(default_factory=list)", old=old)
    body = "self.fresh += 1\n        self.seen.append(1)\n        return self.fresh + len(self.seen)"
    new = new.replace("def hit(self): return d.fresh", f"def hit(self):\n        {body}")
    new = new.replace("def use(d): return 0", "def use(d): return d.fresh")
    patch = built(tmp_path, {"fielded.py": old}, {"fielded.py": new})
    monkeypatch.syspath_prepend(str(tmp_path / "old"))
    import fielded

    try:
        before = fielded.D(1)
        applied = livepatch.apply(patch)
        report: Report = applied.report
        assert [f.target for f in report.findings if f.code == "field-attached"] == [
            "fielded:D.fresh",
            "fielded:D.seen",
        ]
        assert [before.hit(), before.hit(), fielded.D(2).hit()] == [2, 4, 2]
        assert fielded.use(before) == 2
        assert fielded.D.fresh == 0  # dataclass leaves a plain default in the class
        assert not hasattr(fielded.D, "seen")
        applied.revert()
        assert vars(before) == {"a": 1, "b": 1}
        assert not hasattr(fielded.D(3), "fresh")
    finally:
        del sys.modules["fielded"]
