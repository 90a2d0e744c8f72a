# SPDX-License-Identifier: MIT
"""Verifying a state directory, and altering its chain, in one line each."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import pytest

from tests.audit.chains import EXECUTOR
from tibet_nc_audit.heads import Depth, Held, SavedHead
from tibet_nc_audit.reader import State
from tibet_nc_audit.report import Report
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, segment_name
from tibet_nc_protocol.records import RECORDS

ALL: Final = Depth.RECORDS
CHAIN_ONLY: Final = Depth.CHAIN
DEEP: Final = Depth.DEEP
EACH: Final = pytest.mark.parametrize("depth", list(Depth))

SEGMENT: Final = Path(CHAIN) / segment_name(0)
TEXTS: Final = Path(PAYLOADS) / segment_name(0)
"""The first files of a chain and of its texts, below the state directory."""


def report(
    root: Path,
    *,
    depth: Depth = ALL,
    heads: Sequence[Held] = (),
    pinned: bool = False,
    resume: SavedHead | None = None,
    jobs: int = 1,
) -> Report:
    """Verify a state directory, with the executor's key if it is pinned."""
    key = EXECUTOR.public_key if pinned else None
    with State(root) as state:
        return verify(state, key=key, heads=heads, depth=depth, resume=resume, jobs=jobs)


def saved_head(root: Path, *, depth: Depth = ALL, resume: SavedHead | None = None) -> SavedHead:
    """Verify a state directory that is good, and return where the next one can go on."""
    kept: list[SavedHead] = []
    with State(root) as state:
        verify(state, key=EXECUTOR.public_key, depth=depth, resume=resume, keep=kept.append)
    return kept[0]


def lines_of(root: Path) -> list[bytes]:
    """Return the lines of a chain that is in one file."""
    return (root / SEGMENT).read_bytes().split(b"\n")[:-1]


def put(root: Path, lines: list[bytes]) -> None:
    """Write a chain that is in one file."""
    data = b"".join(line + b"\n" for line in lines)
    (root / SEGMENT).write_bytes(data)


def number_at(data: bytes, at: int) -> int:
    """Return the number of the record that holds a byte of the first segment."""
    return data.count(b"\n", 0, at)


def prev_of(line: bytes) -> bytes:
    """Return the digest by which a record's line is linked to the one before."""
    return RECORDS.decode(line).prev.encode()
