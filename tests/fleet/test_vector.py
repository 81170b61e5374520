"""A list that never changes: like a plain one, and the old versions stay."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from livepatch.fleet.vector import Vector


@settings(max_examples=30, deadline=None)
@given(st.data(), st.sampled_from([1, 2, 31, 32, 33, 1024, 1025, 1100]))
def test_it_is_like_a_list_of_which_every_version_is_kept(data, size):
    plain, vector = [0] * size, Vector.filled(size, 0)
    versions = [(list(plain), vector)]
    for index in data.draw(st.lists(st.integers(0, size - 1), max_size=5)):
        plain[index] = len(versions)
        vector = vector.replaced(index, len(versions))
        versions.append((list(plain), vector))
    for expected, version in versions:
        assert len(version) == size
        assert list(version) == expected


@pytest.mark.parametrize("index", [-1, 3, 31])
def test_what_is_beyond_its_end_is_an_error(index):
    vector = Vector.filled(3, "a")
    with pytest.raises(IndexError):
        vector[index]
    with pytest.raises(IndexError):
        vector.replaced(index, "b")
