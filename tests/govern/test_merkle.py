from __future__ import annotations

import pytest

from livepatch.govern import merkle
from livepatch.govern.merkle import Frontier, leaf_hash

# The test vectors of the reference implementation of RFC 6962.
LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
HASHES = [leaf_hash(bytes.fromhex(leaf)) for leaf in LEAVES]
MANY = [leaf_hash(b"%d" % number) for number in range(70)]


def test_the_roots_are_those_of_the_standard():
    for size, root in enumerate(ROOTS):
        assert merkle.root_of(HASHES[:size]).hex() == root


@pytest.mark.parametrize("steps", [[1] * 70, [70], [3, 4, 63], [64, 6], [7, 0, 63]])
def test_a_frontier_comes_to_the_same_whatever_the_steps(steps):
    tree, done = Frontier(), 0
    for step in steps:
        tree.extend(MANY[done : done + step])
        done += step
        tree = Frontier(tree.size, tree.roots)  # and however often it is taken up anew
        assert (tree.size, tree.root()) == (done, merkle.root_of(MANY[:done]))


def test_a_frontier_grows_leaf_by_leaf_and_a_copy_goes_on_by_itself():
    tree, before = Frontier(), Frontier()
    for size, leaf in enumerate(MANY[:40]):
        assert (tree.size, tree.roots, tree.root()) == (size, before.roots, merkle.root_of(MANY[:size]))
        copy = tree.copy()
        tree.add(leaf)
        before.extend([leaf])
        assert (copy.size, copy.root()) == (size, merkle.root_of(MANY[:size]))
        copy.extend(MANY[size : size + 5])
        assert copy.root() == merkle.root_of(MANY[: size + 5])


def test_many_leaves_are_hashed_as_one_is():
    leaves = [bytes.fromhex(leaf) for leaf in LEAVES]
    assert [*map(leaf_hash, leaves)] == HASHES == merkle.leaf_hashes(iter(leaves))


@pytest.mark.parametrize(
    ("size", "roots"), [(3, [bytes(32)]), (1, [bytes(31)]), (3, [bytes(32), b""]), (0, [bytes(32)]), (-1, [bytes(32)])]
)
def test_a_frontier_has_as_many_subtrees_as_its_size_has_bits(size, roots):
    with pytest.raises(ValueError, match=r"^a tree of that size has other subtrees$"):
        Frontier(size, roots)


def test_consistency_is_proved_from_every_size_to_every_other():
    roots = [merkle.root_of(MANY[:size]) for size in range(40)]
    for second in range(1, 40):
        for first in range(1, second + 1):
            proof = merkle.consistency_proof(MANY[:second], first)
            assert merkle.is_consistent(first, second, roots[first], roots[second], proof)
            assert not merkle.is_consistent(first, second, roots[first - 1], roots[second], proof)
            assert not merkle.is_consistent(first, second, roots[first], roots[second - 1], proof)
            assert not merkle.is_consistent(first, second, roots[first], roots[second], [*proof, bytes(32)])
            if proof:
                assert not merkle.is_consistent(first, second, roots[first], roots[second], proof[:-1])


def test_inclusion_is_proved_of_every_leaf():
    for size in range(1, 20):
        root = merkle.root_of(MANY[:size])
        for index in range(size):
            proof = merkle.inclusion_proof(MANY[:size], index)
            assert merkle.is_included(MANY[index], index, size, proof, root)
            assert not merkle.is_included(MANY[index + 1], index, size, proof, root)
            assert not merkle.is_included(MANY[index], index, size, [*proof, bytes(32)], root)
            if size > 1:
                assert not merkle.is_included(MANY[index], (index + 1) % size, size, proof, root)


def test_there_is_no_proof_of_what_is_not_there():
    for size in (-1, 0, 71):
        with pytest.raises(ValueError, match=r"^a proof is from a tree of one leaf or more to one that is no smaller$"):
            merkle.consistency_proof(MANY, size)
    for index in (-1, 70):
        with pytest.raises(ValueError, match=r"^there is no leaf with that index$"):
            merkle.inclusion_proof(MANY, index)


def test_no_proof_shows_what_cannot_be():
    """Each of these would be taken by who only follows the hashes."""
    leaf, root = MANY[0], merkle.root_of(MANY[:5])
    assert merkle.is_included(leaf, 0, 1, [], leaf)
    assert not merkle.is_included(leaf, 1, 1, [], leaf)
    assert not merkle.is_included(leaf, -1, 1, [], leaf)
    assert not merkle.is_included(leaf, 0, 2, [], leaf)
    assert not merkle.is_consistent(0, 5, merkle.EMPTY, root, [])
    assert not merkle.is_consistent(0, 0, merkle.EMPTY, merkle.EMPTY, [])
    assert not merkle.is_consistent(5, 4, root, root, [])
    assert not merkle.is_consistent(3, 5, root, root, [])  # from no power of two to another size takes hashes
    assert not merkle.is_consistent(4, 5, root, root, [])
