# SPDX-License-Identifier: MIT
"""TIBET tokens: one JSON object a line, whose SHA-256 is in the outcome's record.

The keys and the content hash are tibet-core's (Token.from_dict, Token.verify): SHA-256 of the ten
content keys as json.dumps writes them, sorted, in ASCII.
"""

import hashlib
import json
from typing import Final, Literal

import msgspec

from tibet_nc_audit.errors import DisagreementError
from tibet_nc_audit.lookahead import WINDOW, DiffersError, Item, Lookahead
from tibet_nc_protocol.layout import TOKENS
from tibet_nc_protocol.records import Outcome, digest

LINE_BYTES: Final = 64 * 1024
"""Longest token: it holds digests, names and numbers, no output."""


class Token(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Exactly the twelve keys that readers of TIBET files accept, in their order."""

    token_id: str
    action: str
    timestamp: str
    actor: str
    erin: object
    eraan: list[str]
    eromheen: dict[str, object]
    erachter: str
    parent_id: str | None
    state: Literal["created", "detected", "classified", "mitigated", "resolved"]
    content_hash: str
    signature: str


class _Name(msgspec.Struct):
    token_id: str


_NAME: Final = msgspec.json.Decoder(_Name)
_TOKEN: Final = msgspec.json.Decoder(Token)
_FOREIGN: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
_NOT_CONTENT: Final = ("content_hash", "signature")


def read_token(line: bytes) -> Item[str, bytes] | None:
    """Return whose token a line is, its digest and the line; None if it names no token."""
    try:
        name = _NAME.decode(line)
    except _FOREIGN:
        return None
    return Item(name.token_id, digest(line), line) if len(line) <= LINE_BYTES else None


def take_token(tokens: Lookahead[str, bytes], outcome: Outcome) -> bytes:
    """Return the line of the token that an outcome anchors; raises DisagreementError."""
    try:
        line = tokens.take(outcome.token, outcome.token_sha256)
    except DiffersError as differs:
        raise DisagreementError(
            TOKENS,
            "not the token that the record names (SHA-256 of its line)",
            expected=outcome.token_sha256,
            found=differs.found,
        ) from None
    if line is None:
        reason = "the record's token isn't there"
        if tokens.gave_up:
            reason = (
                f"the record's token isn't within {WINDOW} lines of its place; too many others"
                " aren't for it to be looked for further"
            )
        raise DisagreementError(TOKENS, reason, expected=outcome.token)
    return line


def check_token(line: bytes) -> Token:
    """Return the token in a line; raises DisagreementError if it is none, or not intact."""
    try:
        token = _TOKEN.decode(line)
        content = msgspec.to_builtins(token)
        for key in _NOT_CONTENT:
            del content[key]
        found = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    except _FOREIGN as error:
        raise DisagreementError(
            TOKENS, f"not a TIBET token of the twelve keys ({type(error).__name__})"
        ) from None
    if token.content_hash != found:
        raise DisagreementError(
            TOKENS,
            "the content hash isn't that of the content",
            expected=found,
            found=token.content_hash,
        )
    return token
