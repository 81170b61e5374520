"""What a patch is known by in the record: its file, else all that it would change, code included."""

from __future__ import annotations

import types
from functools import cached_property

import livepatch
from livepatch.govern.digests import digest_of
from livepatch.govern.risk import _functions, _lines

KIND = """
class Held:
    def plain(self):
        return 1

    @staticmethod
    def static():
        return 1

    @classmethod
    def of_class(cls):
        return 1

    @property
    def read(self):
        return 1

    @cached_property
    def kept(self):
        return 1
"""


def empty():
    return livepatch.Patch("FIX-1", package="specimen", versions="==1.0")


def of_class(text):
    space = {"__name__": "some_fix", "cached_property": cached_property}
    exec(text, space)
    patch = empty()
    patch.add("specimen:Kind", Held=space["Held"])
    return digest_of(patch)


def test_code_in_a_class_counts_however_it_is_held():
    whole, line = of_class(KIND), "        return 1"
    assert of_class(KIND) == whole
    parts = KIND.split(line)
    changed = [f"{line.join(parts[:i])}        return 2{line.join(parts[i:])}" for i in range(1, len(parts))]
    assert len({whole, *map(of_class, changed)}) == 6


def test_values_and_what_wraps_count():
    def one(value, wrapper):
        patch = empty()
        patch.set("specimen:LIMIT", value)
        patch.wrap("specimen:f")(wrapper)
        return digest_of(patch)

    def wrapper(wrapped, instance, args, kwargs):
        return wrapped(*args, **kwargs)

    def other(wrapped, instance, args, kwargs):
        return wrapped(*args, **kwargs) or 1

    found = [one(1, wrapper), one(1, wrapper), one(2, wrapper), one(1, other)]
    assert found[0] == found[1]
    assert len(set(found)) == 3


def test_lines_of_all_that_is_new_are_counted():
    def wrapper(wrapped, instance, args, kwargs):
        return wrapped(*args, **kwargs)

    patch = empty()
    patch.set("specimen:LIMIT", 1)
    patch.wrap("specimen:f")(wrapper)
    assert _lines(patch) == (3, "lines of new code")


def test_every_function_of_a_class_is_found():
    space = {"cached_property": cached_property}
    exec(KIND, space)
    names = [one.__name__ for one in _functions(space["Held"])]
    assert sorted(names) == ["kept", "of_class", "plain", "read", "static"]
    assert all(type(one) is types.FunctionType for one in _functions(space["Held"]))
