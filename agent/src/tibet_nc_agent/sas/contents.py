# SPDX-License-Identifier: MIT
"""What the events of a verification hold (Client-Server API v1.16, "Key verification framework").

Unknown fields are passed over, as the specification asks. A content that isn't what its type says
becomes :class:`Malformed`; any JSON object gives a content or that.
"""

from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tibet_nc_agent.canonical import JsonObject

METHOD: Final = "m.sas.v1"
KEY_AGREEMENT: Final = "curve25519-hkdf-sha256"
HASH: Final = "sha256"
MAC: Final = "hkdf-hmac-sha256.v2"
EMOJI_STRING: Final = "emoji"
DECIMAL_STRING: Final = "decimal"

REQUEST_MSGTYPE: Final = "m.key.verification.request"
"""The first event is a room message of this type; all others are events of types of their own."""


CANCEL_TYPE: Final = "m.key.verification.cancel"


class Code(StrEnum):
    """Why a verification was cancelled; those that we send."""

    USER = "m.user"
    TIMEOUT = "m.timeout"
    UNKNOWN_METHOD = "m.unknown_method"
    UNEXPECTED = "m.unexpected_message"
    INVALID = "m.invalid_message"
    COMMITMENT = "m.mismatched_commitment"
    SAS = "m.mismatched_sas"
    KEY = "m.key_mismatch"


_Text = Annotated[str, Meta(max_length=255)]
_Texts = Annotated[tuple[_Text, ...], Meta(max_length=32)]


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """The content of one event."""


class Request(Content, frozen=True, kw_only=True):
    """The wish to verify, addressed to one user."""

    from_device: _Text
    methods: _Texts
    to: _Text


class Ready(Content, frozen=True, kw_only=True):
    """The consent to a request."""

    from_device: _Text
    methods: _Texts


class Start(Content, frozen=True, kw_only=True):
    """The offer of a method, and how it may be carried out."""

    from_device: _Text
    method: _Text
    key_agreement_protocols: _Texts = ()
    hashes: _Texts = ()
    message_authentication_codes: _Texts = ()
    short_authentication_string: _Texts = ()


class Accept(Content, frozen=True, kw_only=True):
    """The choice among what was offered, and the commitment to a key not yet shown."""

    method: _Text = METHOD  # Element's crypto leaves it out
    key_agreement_protocol: _Text
    hash: _Text
    message_authentication_code: _Text
    short_authentication_string: _Texts
    commitment: _Text


class Key(Content, frozen=True, kw_only=True):
    """An ephemeral Curve25519 key, unpadded base64."""

    key: _Text


class Mac(Content, frozen=True, kw_only=True):
    """The MACs of the sender's long-term keys by key id, and the MAC of those ids."""

    mac: Annotated[dict[_Text, _Text], Meta(max_length=32)]
    keys: _Text


class Done(Content, frozen=True, kw_only=True):
    """The sender has verified us."""


class Cancel(Content, frozen=True, kw_only=True):
    """The sender has given up; code and reason are for people."""

    code: _Text
    reason: _Text = ""


_BY_TYPE: Final[dict[str, type[Content]]] = {
    f"m.key.verification.{kind.__name__.lower()}": kind
    for kind in (Request, Ready, Start, Accept, Key, Mac, Done, Cancel)
}


class Malformed(Exception):  # noqa: N818 - a state of an event, not a failure of ours
    """A content isn't what its type says."""


def parsed(event_type: str, content: JsonObject) -> Content:
    """Return the content of an event of ``m.key.verification.…``; raises :class:`Malformed`."""
    kind = _BY_TYPE.get(event_type)
    if kind is None:
        raise Malformed(f"there is no event {event_type}")
    try:
        return msgspec.convert(content, kind, strict=True)
    except msgspec.ValidationError as error:
        raise Malformed(str(error)) from error


def event_type_of(kind: type[Content]) -> str:
    """Return the type of the events that hold such a content."""
    return f"m.key.verification.{kind.__name__.lower()}"


def relation(transaction_id: str) -> JsonObject:
    """Return what says to which request an event belongs."""
    return {"m.relates_to": {"rel_type": "m.reference", "event_id": transaction_id}}
