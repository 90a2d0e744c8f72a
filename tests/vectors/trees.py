# SPDX-License-Identifier: MIT
"""Merkle proofs from all leaves at hand (RFC 6962, §2.1.1 and §2.1.2)."""

from collections.abc import Sequence

from tibet_nc_protocol.merkle import consistency_ranges, inclusion_ranges, tree_root


def inclusion_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the digests that lead from one leaf to the root; raises ProofError without it."""
    parts = inclusion_ranges(index, len(leaves))
    return [tree_root(leaves[part.start : part.stop]) for part in parts]


def consistency_proof(leaves: Sequence[bytes], size: int) -> list[bytes]:
    """Return the digests that show that the first ``size`` leaves are as they were.

    Raises ProofError for a size that is not within the tree.
    """
    parts = consistency_ranges(size, len(leaves))
    return [tree_root(leaves[part.start : part.stop]) for part in parts]
