# SPDX-License-Identifier: MIT
"""What an executor has written, as an auditor reads it."""

import time
from pathlib import Path
from typing import Final

from tibet_nc_protocol.chain import ChainVerifier
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.records import Record
from tibet_nc_protocol.signing import PublicKey

WRITTEN_S: Final = 2.0
"""Within this a line is whole that an executor has begun to write."""


def whole_chain(state: Path, key: PublicKey) -> list[Record]:
    """Return all records of the chain under a state directory, which must verify against a key."""
    verifier = ChainVerifier(key)
    return [
        verifier.feed(line) for path in sorted((state / CHAIN).iterdir()) for line in _lines(path)
    ]


def _lines(path: Path) -> list[bytes]:
    """Return the lines of a file; one that is just being written is waited for.

    A write isn't seen at once but page by page, and on a busy machine not soon after another.
    """
    end = time.monotonic() + WRITTEN_S
    while (data := path.read_bytes()) and not data.endswith(b"\n") and time.monotonic() < end:
        time.sleep(0.01)
    return data.splitlines()
