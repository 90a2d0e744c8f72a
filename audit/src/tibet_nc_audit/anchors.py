# SPDX-License-Identifier: MIT
"""Where a chain can be held: its genesis, its key records, its checkpoints.

Found by reading, not by verifying: whoever uses them checks what they say.
"""

from collections.abc import Iterator

from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.lines import CHECKPOINT, KEY, decoded
from tibet_nc_audit.reader import State
from tibet_nc_protocol.layout import CHAIN, segment_name
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.records import Checkpoint, Key


def latest_checkpoint(state: State) -> Checkpoint:
    """Return the last checkpoint of a chain, reading from its end; raises AuditError."""
    for first in reversed(state.segments()):
        found: Checkpoint | None = None
        with state.open(segment_name(first), RECORD_BYTES, CHAIN) as file:
            for line in file:
                if CHECKPOINT in line and isinstance(record := decoded(line), Checkpoint):
                    found = record
        if found is not None:
            return found
    raise AuditError("the chain has no checkpoint yet")


def checkpoint_at(state: State, number: int) -> Checkpoint:
    """Return the checkpoint that is a certain record; raises AuditError."""
    for place, line in state.records_from(number):
        record = decoded(line)
        if place != number or not isinstance(record, Checkpoint):
            break
        return record
    raise AuditError(f"record {number}: not a checkpoint")


def genesis_line(state: State) -> bytes:
    """Return the first line of a chain; raises AuditError."""
    for _, line in state.records_from(0):
        return line
    raise AuditError("the chain is empty")


def key_lines(state: State, before: int) -> Iterator[bytes]:
    """Yield the lines of the key records before a record."""
    for place, line in state.records_from(0):
        if place >= before:
            return
        if KEY in line and isinstance(decoded(line), Key):
            yield line
