"""A list that never changes: another one with a few items replaced shares all the rest with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, TypeVar

__all__ = ["Vector"]

T = TypeVar("T")

_BITS = 5
_WIDE = 1 << _BITS
_MASK = _WIDE - 1


class Vector(Generic[T]):
    """So many items, in a tree of tuples of 32: reading and replacing one takes as long as the tree is high.

    (Bagwell and Rompf, "RRB-Trees: Efficient Immutable Vectors", 2011, without its concatenation.)
    """

    __slots__ = ("_height", "_root", "_size")

    def __init__(self, root: tuple[Any, ...], height: int, size: int) -> None:
        self._root = root
        self._height = height
        self._size = size

    @classmethod
    def filled(cls, size: int, item: T) -> Vector[T]:
        """So many times the same item."""
        height = 0
        root: tuple[Any, ...] = (item,) * _WIDE
        while _WIDE << (_BITS * height) < size:
            height, root = height + 1, (root,) * _WIDE
        return cls(root, height, size)

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> T:
        if not 0 <= index < self._size:
            raise IndexError(index)
        node: Any = self._root
        for level in range(self._height, -1, -1):
            node = node[(index >> (_BITS * level)) & _MASK]
        found: T = node
        return found

    def __iter__(self) -> Iterator[T]:
        return map(self.__getitem__, range(self._size))

    def replaced(self, index: int, item: T) -> Vector[T]:
        """The vector with one item replaced; this one stays as it is."""
        if not 0 <= index < self._size:
            raise IndexError(index)
        return Vector(_replaced(self._root, self._height, index, item), self._height, self._size)


def _replaced(node: tuple[Any, ...], level: int, index: int, item: object) -> tuple[Any, ...]:
    place = (index >> (_BITS * level)) & _MASK
    new = item if not level else _replaced(node[place], level - 1, index, item)
    return (*node[:place], new, *node[place + 1 :])
