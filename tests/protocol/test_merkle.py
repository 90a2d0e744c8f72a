# SPDX-License-Identifier: MIT
"""Merkle trees: the public vectors, the definition, and proofs that only the truth passes."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vectors.trees import consistency_proof, inclusion_proof
from tibet_nc_protocol.errors import ProofError
from tibet_nc_protocol.merkle import (
    EMPTY_ROOT,
    Frontier,
    RangeRoots,
    consistency_ranges,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    tree_root,
    verify_consistency,
    verify_inclusion,
)

# The inputs and roots that implementations of RFC 6962 share as their test data.
INPUTS = [
    b"",
    b"\x00",
    b"\x10",
    b"\x20\x21",
    b"\x30\x31",
    b"\x40\x41\x42\x43",
    bytes(range(0x50, 0x58)),
    bytes(range(0x60, 0x70)),
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]

# The proofs over them that the same implementations share: (index, size), (old, size).
INCLUSION = {
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
CONSISTENCY = {
    (1, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (6, 8): [
        "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 5): [
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}

SIZES = st.integers(1, 130)


def leaves(count: int) -> list[bytes]:
    """Return the digests of ``count`` different leaves."""
    return [leaf_hash(str(number).encode()) for number in range(count)]


def by_definition(digests: list[bytes]) -> bytes:
    """Compute MTH as RFC 6962, §2.1 defines it."""
    if not digests:
        return hashlib.sha256().digest()
    if len(digests) == 1:
        return digests[0]
    split = 1
    while split * 2 < len(digests):
        split *= 2
    left, right = by_definition(digests[:split]), by_definition(digests[split:])
    return hashlib.sha256(b"\1" + left + right).digest()


def test_the_public_vectors_come_out() -> None:
    """The roots over the shared test inputs are the published ones."""
    digests = [leaf_hash(data) for data in INPUTS]
    roots = [tree_root(digests[:size]).hex() for size in range(1, 9)]
    assert roots == ROOTS
    assert tree_root([]) == EMPTY_ROOT


def test_the_public_proofs_come_out() -> None:
    """The proofs over the shared test inputs are the published ones."""
    digests = [leaf_hash(data) for data in INPUTS]
    for (index, size), expected in INCLUSION.items():
        assert [step.hex() for step in inclusion_proof(digests[:size], index)] == expected
    for (old, size), expected in CONSISTENCY.items():
        assert [step.hex() for step in consistency_proof(digests[:size], old)] == expected


@given(size=SIZES, data=st.data())
def test_proofs_are_made_in_one_pass(size: int, data: st.DataObject) -> None:
    """What is told one leaf after the other makes the same proofs as all leaves at hand."""
    digests = leaves(size)
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    for ranges, proof in (
        (inclusion_ranges(index, size), inclusion_proof(digests, index)),
        (consistency_ranges(old, size), consistency_proof(digests, old)),
    ):
        roots = RangeRoots(ranges)
        for number, leaf in enumerate(digests):
            roots.append(number, leaf)
        assert roots.roots() == proof
    cut = RangeRoots([range(size)])
    for number, leaf in enumerate(digests[:-1]):
        cut.append(number, leaf)
    with pytest.raises(ProofError):
        cut.roots()


@given(counts=st.lists(st.integers(0, 40), max_size=6))
def test_many_leaves_at_once_are_the_same_tree(counts: list[int]) -> None:
    """A frontier that grew by batches is the one that grew leaf by leaf."""
    digests = leaves(sum(counts))
    one, many = Frontier(), Frontier()
    for leaf in digests:
        one.append(leaf)
    begin = 0
    for count in counts:
        many.extend(digests[begin : begin + count])
        begin += count
    assert (many.size, many.digests) == (one.size, one.digests)


@given(count=st.integers(0, 200))
def test_the_growing_root_is_the_defined_one(count: int) -> None:
    """A frontier that grew leaf by leaf has the root of the definition, also when gone on with."""
    frontier = Frontier()
    for leaf in leaves(count):
        frontier = Frontier(frontier.size, frontier.digests)
        frontier.append(leaf)
    assert frontier.root() == by_definition(leaves(count))


@given(size=SIZES, data=st.data())
def test_every_leaf_is_shown_to_be_where_it_is(size: int, data: st.DataObject) -> None:
    """An inclusion proof verifies for its leaf and place, and for no other leaf, place or root."""
    digests = leaves(size)
    index = data.draw(st.integers(0, size - 1))
    proof = inclusion_proof(digests, index)
    root = tree_root(digests)
    verify_inclusion(digests[index], index, size, proof, root)
    for leaf, place, trial, target in (
        (leaf_hash(b"other"), index, proof, root),
        (digests[index], index, proof, leaf_hash(b"root")),
        (digests[index], index, [*proof, root], root),
        (digests[index], index, proof[:-1], root if proof else leaf_hash(b"root")),
        (digests[index], size, proof, root),
    ):
        with pytest.raises(ProofError):
            verify_inclusion(leaf, place, size, trial, target)
    other = data.draw(st.integers(0, size - 1).filter(lambda place: place != index or size == 1))
    if other != index:
        with pytest.raises(ProofError):
            verify_inclusion(digests[index], other, size, proof, root)


@given(size=SIZES, data=st.data())
def test_growth_is_shown_to_keep_what_was(size: int, data: st.DataObject) -> None:
    """A consistency proof verifies for a true beginning and for nothing else."""
    digests = leaves(size)
    old = data.draw(st.integers(1, size))
    proof = consistency_proof(digests, old)
    old_root, new_root = tree_root(digests[:old]), tree_root(digests)
    verify_consistency(old, size, proof, old_root, new_root)
    forged = [*digests]
    forged[data.draw(st.integers(0, old - 1))] = leaf_hash(b"forged")
    with pytest.raises(ProofError):
        verify_consistency(old, size, proof, tree_root(forged[:old]), new_root)
    with pytest.raises(ProofError):
        verify_consistency(old, size, [*proof, new_root], old_root, new_root)
    if proof:
        with pytest.raises(ProofError):
            verify_consistency(old, size, proof[:-1], old_root, new_root)


@pytest.mark.parametrize(("size", "digests"), [(1, []), (3, [bytes(32)]), (1, [b"short"])])
def test_a_frontier_of_another_size_is_refused(size: int, digests: list[bytes]) -> None:
    """Stored digests that can't be of a tree of this size are not gone on with."""
    with pytest.raises(ProofError):
        Frontier(size, digests)


def test_a_root_is_of_one_size_only() -> None:
    """A proof for a smaller tree isn't one for the same root said to be of a larger tree."""
    leaves = [leaf_hash(b"%d" % number) for number in range(2)]
    proof, root = consistency_proof(leaves, 1), tree_root(leaves)
    verify_consistency(1, 2, proof, leaves[0], root)
    with pytest.raises(ProofError):
        verify_consistency(1, 4, proof, leaves[0], root)
    with pytest.raises(ProofError):
        verify_inclusion(leaves[0], 0, 4, inclusion_proof(leaves, 0), root)


SMALL = [[leaf_hash(bytes([number])) for number in range(size)] for size in range(1, 10)]
OTHER = leaf_hash(b"other")


@pytest.mark.parametrize("leaves", SMALL)
def test_a_proof_of_another_length_shows_nothing(leaves: list[bytes]) -> None:
    """A proof with a step more or less is refused, though it leads to the root that is given."""
    size, root = len(leaves), tree_root(leaves)
    for index in range(size):
        proof = inclusion_proof(leaves, index)
        verify_inclusion(leaves[index], index, size, proof, root)
        above = node_hash(OTHER, root)
        with pytest.raises(ProofError, match="too long"):
            verify_inclusion(leaves[index], index, size, [*proof, OTHER], above)
        if proof:
            with pytest.raises(ProofError, match="too short"):
                verify_inclusion(leaves[index], index, size, proof[:-1], root)
    for old in range(1, size):
        proof = consistency_proof(leaves, old)
        begin = tree_root(leaves[:old])
        verify_consistency(old, size, proof, begin, root)
        above = node_hash(OTHER, begin)
        with pytest.raises(ProofError, match="too long"):
            verify_consistency(old, size, [*proof, OTHER], above, node_hash(OTHER, root))
        for cut in (proof[:-1], []):
            with pytest.raises(ProofError):
                verify_consistency(old, size, cut, begin, root)


@pytest.mark.parametrize("leaves", SMALL)
def test_what_is_not_within_a_tree(leaves: list[bytes]) -> None:
    """A place before the first leaf or after the last is none, nor is a larger or empty tree."""
    size, root = len(leaves), tree_root(leaves)
    for index in (-1, size, size + 1):
        with pytest.raises(ProofError, match=f"there is no leaf {index} in a tree of {size}"):
            inclusion_ranges(index, size)
        with pytest.raises(ProofError, match=f"there is no leaf {index} in a tree of {size}"):
            verify_inclusion(leaves[-1], index, size, inclusion_proof(leaves, size - 1), root)
    for old in (-1, 0, size + 1):
        with pytest.raises(ProofError, match=f"a tree of {old} is not within one of {size}"):
            consistency_ranges(old, size)
        with pytest.raises(ProofError, match=f"a tree of {old} is not within one of {size}"):
            verify_consistency(old, size, [], root, root)
    with pytest.raises(ProofError, match="a tree of 0 is not within one of 0"):
        verify_consistency(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)


@pytest.mark.parametrize("leaves", SMALL)
def test_a_tree_is_within_itself(leaves: list[bytes]) -> None:
    """That a tree kept what it was when it didn't grow is shown by nothing, and by nothing else."""
    size, root = len(leaves), tree_root(leaves)
    assert consistency_ranges(size, size) == []
    verify_consistency(size, size, [], root, root)
    for proof, other in (([], OTHER), ([root], root), ([OTHER], root)):
        with pytest.raises(ProofError, match="two trees of one size"):
            verify_consistency(size, size, proof, root, other)
