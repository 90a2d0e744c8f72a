# SPDX-License-Identifier: MIT
"""What an executor has written, as an auditor reads it."""

from pathlib import Path

from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.records import Record
from tibet_nc_protocol.signing import PublicKey


def whole_chain(state: Path, key: PublicKey) -> list[Record]:
    """Return all records of the chain under a state directory, which must verify against a key."""
    verifier = ChainVerifier(key)
    return [
        verifier.feed(line)
        for path in sorted((state / CHAIN).iterdir())
        for line in path.read_bytes().splitlines()
    ]
