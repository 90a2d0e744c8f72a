# SPDX-License-Identifier: MIT
"""Merkle trees over the record lines (RFC 6962, §2.1): root, inclusion, consistency.

A leaf is hashed with 0x00 before it and a node with 0x01, so neither can pass for the other.
``Frontier`` grows with the chain and holds one digest for each set bit of its size; proofs are
made from the leaf digests, one after the other (``RangeRoots``), and verified from
the roots alone. Verification raises.
"""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from tibet_nc_protocol.errors import ProofError

DIGEST_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256().digest()


def leaf_hash(data: bytes) -> bytes:
    """Return the digest of a leaf."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the digest of a node."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The roots of the full subtrees that a growing tree consists of, largest first."""

    def __init__(self, size: int = 0, digests: Sequence[bytes] = ()) -> None:
        """Go on with a tree of this size; raises ProofError if the digests can't be of it."""
        if len(digests) != size.bit_count() or any(len(d) != DIGEST_BYTES for d in digests):
            raise ProofError(f"these are not the subtrees of a tree of {size} leaves")
        self.size = size
        self.digests = list(digests)

    def append(self, leaf: bytes) -> None:
        """Add the digest of one leaf."""
        digest = leaf
        size = self.size
        while size & 1:
            digest = node_hash(self.digests.pop(), digest)
            size >>= 1
        self.digests.append(digest)
        self.size += 1

    def extend(self, leaves: Sequence[bytes]) -> None:
        """Add the digests of many leaves, level by level: twice as fast as one by one."""
        sha256 = hashlib.sha256
        level = list(leaves)
        size, self.size = self.size, self.size + len(level)
        kept: list[bytes] = []
        while level:
            if size & 1:
                level.insert(0, self.digests.pop())
            if len(level) & 1:
                kept.append(level.pop())
            pairs = itertools.batched(level, 2, strict=True)
            level = [sha256(b"\1" + left + right).digest() for left, right in pairs]
            size >>= 1
        self.digests.extend(reversed(kept))

    def root(self) -> bytes:
        """Return the root of the tree as it is."""
        if not self.digests:
            return EMPTY_ROOT
        root = self.digests[-1]
        for digest in reversed(self.digests[:-1]):
            root = node_hash(digest, root)
        return root


def tree_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over leaf digests."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def inclusion_ranges(index: int, size: int) -> list[range]:
    """Return the leaves under each digest of an inclusion proof, from the leaf's sibling upwards.

    (RFC 6962, §2.1.1.) Raises ProofError when there is no such leaf.
    """
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    begin, end = 0, size
    found: list[range] = []
    while end - begin > 1:
        split = begin + _split(end - begin)
        if index < split:
            found.append(range(split, end))
            end = split
        else:
            found.append(range(begin, split))
            begin = split
    return found[::-1]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Raise ProofError unless the leaf digest is at this index of the tree (RFC 9162, §2.1.3.2)."""
    if not 0 <= index < size:
        raise ProofError(f"there is no leaf {index} in a tree of {size}")
    digest = leaf
    for is_left, step in _climb(index, size - 1, proof):
        digest = node_hash(step, digest) if is_left else node_hash(digest, step)
    if digest != root:
        raise ProofError("the leaf is not in this tree")


def consistency_ranges(old: int, size: int) -> list[range]:
    """Return the leaves under each digest of a consistency proof, in its order.

    (RFC 6962, §2.1.2.) Raises ProofError for an old size that is not within the tree.
    """
    if not 0 < old <= size:
        raise ProofError(f"a tree of {old} is not within one of {size}")
    begin, end, whole = 0, size, True
    found: list[range] = []
    while old < end:
        split = begin + _split(end - begin)
        if old <= split:
            found.append(range(split, end))
            end = split
        else:
            found.append(range(begin, split))
            begin, whole = split, False
    # The old tree itself is known to whoever holds its root; a part of it has to be given.
    return [*([] if whole else [range(begin, end)]), *found[::-1]]


def verify_consistency(
    old_size: int, new_size: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes
) -> None:
    """Raise ProofError unless the new tree begins with the old one (RFC 9162, §2.1.4.2)."""
    if not 0 < old_size <= new_size:
        raise ProofError(f"a tree of {old_size} is not within one of {new_size}")
    if old_size == new_size:
        if proof or old_root != new_root:
            raise ProofError("two trees of one size have different roots")
        return
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        raise ProofError("the proof is too short")
    place, last = old_size - 1, new_size - 1
    while place & 1:
        place >>= 1
        last >>= 1
    old = new = path[0]
    for is_left, step in _climb(place, last, path[1:]):
        if is_left:  # of the old tree as well, which has nothing to the right of it
            old = node_hash(step, old)
        new = node_hash(step, new) if is_left else node_hash(new, step)
    if old != old_root or new != new_root:
        raise ProofError("the new tree does not begin with the old one")


def _climb(place: int, last: int, proof: Sequence[bytes]) -> Iterator[tuple[bool, bytes]]:
    """Yield each digest of a proof with whether it is the left one of its pair.

    It leads from a node to the root, by the node's place and the last one of its level. Raises
    ProofError if it is longer or shorter than that.
    """
    for step in proof:
        if last == 0:
            raise ProofError("the proof is too long")
        is_left = bool(place & 1) or place == last
        if is_left:
            while not place & 1 and place:  # alone on these levels
                place >>= 1
                last >>= 1
        place >>= 1
        last >>= 1
        yield is_left, step
    if last != 0:
        raise ProofError("the proof is too short")


class RangeRoots:
    """The roots over some ranges of leaves, of which it is told one leaf after the other.

    So a proof is made in one pass over a chain, in memory that doesn't grow with it. The ranges
    must not overlap.
    """

    def __init__(self, ranges: Sequence[range]) -> None:
        self._ranges = ranges
        self._trees = [Frontier() for _ in ranges]
        self._order = sorted(range(len(ranges)), key=lambda at: ranges[at].start)
        self._next = 0

    def append(self, number: int, leaf: bytes) -> None:
        """Take the digest of a leaf; they come in order, each once."""
        while self._next < len(self._order):
            at = self._order[self._next]
            if number < self._ranges[at].start:
                return
            if number < self._ranges[at].stop:
                self._trees[at].append(leaf)
                return
            self._next += 1

    def roots(self) -> list[bytes]:
        """Return the roots, in the order of the ranges; raises ProofError if leaves are missing."""
        for part, tree in zip(self._ranges, self._trees, strict=True):
            if tree.size != len(part):
                raise ProofError(f"leaves {part.start} to {part.stop - 1} are not all there")
        return [tree.root() for tree in self._trees]


def _split(size: int) -> int:
    """Return the largest power of two below a size of at least two."""
    return 1 << ((size - 1).bit_length() - 1)
