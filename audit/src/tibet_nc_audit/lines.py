# SPDX-License-Identifier: MIT
"""A line of the chain by itself: the record in it, whether it is signed, which key it names."""

from typing import Final

from tibet_nc_protocol.errors import DecodeError, SignatureError
from tibet_nc_protocol.records import RECORDS, Genesis, Key, Record, verify_signature
from tibet_nc_protocol.signing import PublicKey

# What stands in such records only: within a string, quotation marks are escaped. To look for it
# is many times as fast as to decode.
CHECKPOINT: Final = b'"kind":"checkpoint"'
KEY: Final = b'"kind":"key"'
RETENTION: Final = b'"what":"retention"'
ERASED: Final = b'"what":"erased"'
INTENT: Final = b'"intent":%d,'
"""With a command's number: of whatever speaks of that command."""


def decoded(line: bytes) -> Record | None:
    """Return the record in a line, None if it holds none."""
    try:
        return RECORDS.decode(line)
    except DecodeError:
        return None


def signed(record: Record | None, key: PublicKey | None) -> bool:
    """Tell whether a record is the executor's."""
    if record is None or key is None:
        return False
    try:
        verify_signature(record, key)
    except SignatureError:
        return False
    return True


def named_key(record: Genesis | Key) -> PublicKey | None:
    """Return the key that a record names, None if that is no good key."""
    try:
        return PublicKey.from_hex(record.key)
    except SignatureError:
        return None
