# SPDX-License-Identifier: MIT
"""The texts of commands, which records commit to by a salted digest."""

from typing import Final

from tibet_nc_audit.lookahead import Item
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import PAYLOADS_CODEC
from tibet_nc_protocol.limits import COMMAND_CHARACTERS
from tibet_nc_protocol.records import commitment

LINE_BYTES: Final = 6 * COMMAND_CHARACTERS + 1024
"""Longest line of a payload file; the protocol's own bound."""

ERASED: Final = "[erased]"
"""What is shown for a text that isn't there any more, or never was (audit.command_text)."""

UNREADABLE: Final = "[can't be read]"

DIFFERS: Final = "[not the text that the record commits to]"


def read_payload(line: bytes) -> Item[int, str] | None:
    """Return whose text a line holds, its commitment and the text; None if it is no payload."""
    try:
        payload = PAYLOADS_CODEC.decode(line)
    except DecodeError:
        return None
    digest = commitment(bytes.fromhex(payload.salt), payload.command)
    return Item(payload.seq, digest, payload.command)
