"""What an object gets from the object that makes it is told by the source only where all makers agree."""

from __future__ import annotations

import pytest
from tests.bundle.trees_of import built, edit_of

OLD = """
class Part:
    def __init__(self, size): self.size = size
    def use(self): return self.size

class Whole:
    def __init__(self):
        self.most = 3
        self.part = None
    def start(self):
        self.part = Part(1)
    def again(self):
        part = Part(2)
        self.part = part
"""
NEW = (
    OLD.replace("size): self.size = size", "size, most):\n        self.size = size\n        self.most = most")
    .replace("return self.size", "return self.most")
    .replace("Part(1)", "Part(1, most=self.most)")
    .replace("Part(2)", "Part(2, self.most)")
)


def attribute(tmp_path, new):
    (found,) = edit_of(built(tmp_path, OLD, new)).attributes
    return found


def test_where_all_makers_agree_it_is_what_the_keeper_has(tmp_path):
    found = attribute(tmp_path, NEW)
    assert (found.expression, found.of, found.kept_by) == ("self.most", "self", "app.m:Whole.part")
    assert (found.shared, found.reason) == (False, "")


@pytest.mark.parametrize(
    ("was", "becomes"),
    [
        ("Part(2, self.most)", "Part(2, 5)"),  # one maker passes something else
        ("Part(1, most=self.most)", "Part(1, most=self.least)"),  # or another attribute
        ("self.part = part", "self.other = part"),  # or keeps it elsewhere
        ("self.part = part", "return part"),  # or not at all
        ("self.most = most", "self.most = most + 1"),  # it is changed on the way
        ("self.size = size\n", "self.size = size\n        most = most or 4\n"),
    ],
)
def test_where_they_do_not_nothing_is_told(tmp_path, was, becomes):
    new = NEW.replace(was, becomes, 1)
    assert new != NEW
    found = attribute(tmp_path, new)
    assert (found.expression, found.kept_by) == ("", "")
    assert found.reason


def test_what_the_old_keepers_lack_is_not_told(tmp_path):
    patch = built(tmp_path, OLD.replace("self.most = 3", "self.least = 3"), NEW)
    found = {each.class_qualname: each for each in edit_of(patch).attributes}
    assert found["Part"].expression == ""
    assert found["Whole"].expression == "3"


def test_makers_outside_of_methods_pass_nothing_of_their_own(tmp_path):
    assert attribute(tmp_path, NEW + "def other(self): return Part(3, self.most)\n").expression == ""
