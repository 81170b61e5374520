"""The Merkle tree over the lines of a record (RFC 6962 and 9162), and proofs that one tree goes on from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Self

__all__ = ["EMPTY", "Frontier", "consistency_proof", "inclusion_proof", "is_consistent", "is_included", "leaf_hash"]

_sha256 = hashlib.sha256
EMPTY = _sha256(b"").digest()
"""The root of a tree without leaves."""
_leaf_begun = _sha256(b"\x00").copy
_node_begun = _sha256(b"\x01").copy  # to copy one that was begun takes OpenSSL less than to begin one


def leaf_hash(line: bytes) -> bytes:
    """The hash of one leaf."""
    made = _leaf_begun()
    made.update(line)
    return made.digest()


def leaf_hashes(lines: Iterable[bytes]) -> list[bytes]:
    """The hashes of many leaves; as little Python for each as can be."""
    sha256 = _sha256
    return [sha256(b"\x00" + line).digest() for line in lines]


def _node(left: bytes, right: bytes) -> bytes:
    made = _node_begun()
    made.update(left + right)
    return made.digest()


class Frontier:
    """What is needed of a tree to go on with it: the roots of its whole subtrees, the smallest first.

    Adding a leaf, and telling the root, take at most as many hashes as the size has bits.
    """

    def __init__(self, size: int = 0, roots: Sequence[bytes] = ()) -> None:
        """`roots` are those of the whole subtrees, the smallest first; there is one for each bit of `size`."""
        if size < 0 or len(roots) != size.bit_count() or any(len(root) != 32 for root in roots):
            raise ValueError("a tree of that size has other subtrees")
        self.size = size
        self._levels: list[bytes | None] = []
        left = iter(roots)
        while size >> len(self._levels):
            self._levels.append(next(left) if size >> len(self._levels) & 1 else None)

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The roots of the whole subtrees, the smallest first."""
        return tuple(root for root in self._levels if root is not None)

    def copy(self) -> Self:
        """Another one that may go on by itself."""
        return type(self)(self.size, self.roots)

    def add(self, leaf: bytes) -> None:
        """Add one leaf, given by its hash."""
        levels = self._levels
        for level, left in enumerate(levels):
            if left is None:
                levels[level] = leaf
                break
            leaf = _node(left, leaf)
            levels[level] = None
        else:
            levels.append(leaf)
        self.size += 1

    def extend(self, hashes: Sequence[bytes]) -> None:
        """Add leaves, given by their hashes."""
        sha256 = _sha256
        carry = list(hashes)
        self.size += len(carry)
        level = 0
        while carry:
            if level == len(self._levels):
                self._levels.append(None)
            left = self._levels[level]
            if left is not None:
                carry.insert(0, left)
            self._levels[level] = carry.pop() if len(carry) % 2 else None
            pairs = iter(carry)
            carry = [sha256(b"\x01" + a + b).digest() for a, b in zip(pairs, pairs, strict=True)]
            level += 1

    def root(self) -> bytes:
        """The root of the tree so far."""
        begun = _node_begun
        root = None
        for left in self._levels:
            if left is None:
                continue
            if root is None:
                root = left
            else:
                made = begun()
                made.update(left + root)
                root = made.digest()
        return EMPTY if root is None else root


def root_of(hashes: Sequence[bytes]) -> bytes:
    """The root of a tree of leaves, given by their hashes."""
    tree = Frontier()
    tree.extend(hashes)
    return tree.root()


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return int(1 << ((size - 1).bit_length() - 1))


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """What proves that the leaf with that index is in the tree (RFC 9162, 2.1.3)."""
    if not 0 <= index < len(hashes):
        raise ValueError("there is no leaf with that index")
    if len(hashes) == 1:
        return []
    middle = _split(len(hashes))
    if index < middle:
        return [*inclusion_proof(hashes[:middle], index), root_of(hashes[middle:])]
    return [*inclusion_proof(hashes[middle:], index - middle), root_of(hashes[:middle])]


def is_included(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether the proof shows that the leaf of that hash is in the tree of that size and root (RFC 9162, 2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, made = index, size - 1, leaf
    for each in proof:
        if last == 0:
            return False
        if position & 1 or position == last:
            made = _node(each, made)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            made = _node(made, each)
        position, last = position >> 1, last >> 1
    return last == 0 and made == root


def consistency_proof(hashes: Sequence[bytes], size: int) -> list[bytes]:
    """What proves that the tree of those leaves goes on from its own first `size` (RFC 9162, 2.1.4)."""
    if not 0 < size <= len(hashes):
        raise ValueError("a proof is from a tree of one leaf or more to one that is no smaller")
    return _consistency(hashes, size, whole=True)


def _consistency(hashes: Sequence[bytes], size: int, *, whole: bool) -> list[bytes]:
    if size == len(hashes):
        return [] if whole else [root_of(hashes)]
    middle = _split(len(hashes))
    if size <= middle:
        return [*_consistency(hashes[:middle], size, whole=whole), root_of(hashes[middle:])]
    return [*_consistency(hashes[middle:], size - middle, whole=False), root_of(hashes[:middle])]


def is_consistent(first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether the proof shows that the second tree goes on from the first (RFC 9162, 2.1.4.2)."""
    if not 0 < first <= second:
        return False
    if first == second:
        return not proof and first_root == second_root
    rest = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    if not rest:
        return False
    position, last = first - 1, second - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    one = two = rest[0]
    for each in rest[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            one, two = _node(each, one), _node(each, two)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            two = _node(two, each)
        position, last = position >> 1, last >> 1
    return last == 0 and one == first_root and two == second_root
