# SPDX-License-Identifier: MIT
"""Names of the files in the executor's state directory (SPEC §9).

``chain/`` holds the records, ``payloads/`` the command texts with their salts, in segments that
begin at the same record; ``recordings/`` one file for each command that printed something,
and one more for what it left running.
"""

import re
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tibet_nc_protocol.codec import JsonCodec
from tibet_nc_protocol.limits import COMMAND_CHARACTERS
from tibet_nc_protocol.terms import CommandText, Count

CHAIN: Final = "chain"
PAYLOADS: Final = "payloads"
RECORDINGS: Final = "recordings"
TOKENS: Final = "tokens.jsonl"

SALT_BYTES: Final = 16

_SEGMENT: Final = re.compile(r"\A([0-9]{12})\.jsonl\Z")


class Payload(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The text that a record commits to; erasing it leaves the chain as it is."""

    seq: Count
    salt: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    command: CommandText


# JSON writes a control character with six bytes, and the salt and names need a few hundred.
PAYLOADS_CODEC: Final[JsonCodec[Payload]] = JsonCodec(
    Payload, max_bytes=6 * COMMAND_CHARACTERS + 1024
)


def segment_name(first: int) -> str:
    """Return the file name of the segment that begins with this record."""
    return f"{first:012d}.jsonl"


def segment_first(name: str) -> int | None:
    """Return the number of the first record of a segment, None for another file."""
    match = _SEGMENT.match(name)
    return int(match[1]) if match else None


def recording_name(number: int) -> str:
    """Return the file name of the recording of the command with this intent."""
    return f"{number:012d}.cast"


def remainder_name(number: int) -> str:
    """Return the file name of what processes printed after the command with this intent ended."""
    return f"{number:012d}.remainder.cast"
