# SPDX-License-Identifier: MIT
"""The records of the chain (SPEC §6): one canonical JSON object a line, each signed.

A record is signed over its canonical form without ``sig``; ``prev`` of the next is the SHA-256 of
the whole line, signature included, without the line end. So nothing in a line can be altered
without the next record telling.
"""

import hashlib
from enum import StrEnum
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tibet_nc_protocol.codec import JsonCodec
from tibet_nc_protocol.limits import RECORD_BYTES
from tibet_nc_protocol.signing import Identity, PublicKey, Purpose, signed_text
from tibet_nc_protocol.terms import (
    Count,
    DeviceId,
    Digest,
    EventId,
    Notes,
    Reason,
    RoomId,
    RunId,
    Stage,
    Text,
    UserId,
)

FIRST_PREV: Final = "0" * 64
"""``prev`` of the first record, which has none before it."""

FORMAT: Final = 1
"""The version of the record format, in the genesis record."""

Time = Annotated[
    str, Meta(pattern=r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z\Z")
]
"""UTC with microseconds, of one fixed width, so that text order is time order (RFC 3339)."""

SignatureHex = Annotated[str, Meta(pattern=r"\A([0-9a-f]{128})?\Z")]
Actor = Annotated[str, Meta(max_length=300, pattern=r"\Ajis:matrix:@[^\s\x00-\x20\x7f-\x9f]+\Z")]


def actor(user: str) -> str:
    """Return the JIS name of a Matrix user."""
    return f"jis:matrix:{user}"


ERASED_TEXT: Final = "text"
ERASED_BOTH: Final = "text and recording"
"""What an ``erased`` record speaks of: the first words of its detail."""


class SecurityEvent(StrEnum):
    """What a security record is about."""

    PEER = "peer"
    """A process of another uid connected to the socket."""
    PROTOCOL = "protocol"
    """The peer broke the rules of the protocol."""
    POLICY = "policy"
    """The agent asked for what this host's own policy forbids."""
    REPLAY = "replay"
    """A ciphertext came again under another event id."""
    TORN_RECORD = "torn-record"
    """The last line of the chain was incomplete when the executor started, and was cut off."""
    ERASED = "erased"
    """The text of a command was erased, or its recording; ``number`` says which command's."""
    RETENTION = "retention"
    """Recordings are kept no longer: those of the commands up to ``number`` are deleted."""
    JOURNAL = "journal"
    """Entries did not reach journald; the detail says of which records."""
    AGENT = "agent"
    """The agent reports something; the detail says what."""


class SessionState(StrEnum):
    """What a session record says."""

    OPENED = "opened"
    CLOSED = "closed"


class _Record(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="kind"
):
    """What all records have in common."""


class Genesis(_Record, frozen=True, kw_only=True, tag="genesis"):
    """The first record: whose chain this is and with which key to check it."""

    seq: Count
    prev: Digest
    time: Time
    format: Count
    host: Text
    executor: Text
    key: Digest
    agent: Text
    agent_key: Digest
    version: Text
    sig: SignatureHex = ""


class Intent(_Record, frozen=True, kw_only=True, tag="intent"):
    """A command is about to run; it is on disk before anything runs (I1).

    ``command`` commits to the text: SHA-256(salt ‖ UTF-8 text); both are in the payload file.
    """

    seq: Count
    prev: Digest
    time: Time
    run: RunId
    room: RoomId
    event: EventId
    sender: UserId
    actor: Actor
    device: DeviceId
    session: Text
    ciphertext: Digest
    command: Digest
    request: Digest
    sig: SignatureHex = ""


class Outcome(_Record, frozen=True, kw_only=True, tag="outcome"):
    """A command ended; it is on disk before the result is told (I1).

    ``intent`` is that record's number. ``output_bytes`` and ``output_sha256`` are of everything
    that was printed, ``recorded_bytes`` how much of it the recording holds. With ``leftover`` a
    remainder follows when those processes have ended.
    """

    seq: Count
    prev: Digest
    time: Time
    intent: Count
    run: RunId
    session: Text
    reason: Reason
    duration_ms: Count
    output_bytes: Count
    output_sha256: Digest
    recorded_bytes: Count
    recording: Text
    leftover: Count
    token: Text
    token_sha256: Digest
    exit: Count | None = None
    signal: Count | None = None
    notes: Notes = ()
    sig: SignatureHex = ""


class Aborted(_Record, frozen=True, kw_only=True, tag="aborted"):
    """The executor ended while this command ran; nothing more is known of it."""

    seq: Count
    prev: Digest
    time: Time
    intent: Count
    run: RunId
    detail: Text
    sig: SignatureHex = ""


class Remainder(_Record, frozen=True, kw_only=True, tag="remainder"):
    """What a command had left running has ended, by itself or with its session.

    Output and duration are of the time after the command's outcome. With the reason ``aborted``
    nothing is known of them, and all of them are 0 or empty.
    """

    seq: Count
    prev: Digest
    time: Time
    intent: Count
    run: RunId
    session: Text
    reason: Reason
    duration_ms: Count
    output_bytes: Count
    output_sha256: Digest
    recorded_bytes: Count
    recording: Text
    killed: Count
    notes: Notes = ()
    sig: SignatureHex = ""


class Refusal(_Record, frozen=True, kw_only=True, tag="refusal"):
    """A message was refused; ``command``, if it was readable, commits to it as in an intent."""

    seq: Count
    prev: Digest
    time: Time
    room: RoomId
    event: EventId
    sender: UserId
    actor: Actor
    stage: Stage
    detail: Text
    device: DeviceId | None = None
    family: Text | None = None
    command: Digest | None = None
    sig: SignatureHex = ""


class Security(_Record, frozen=True, kw_only=True, tag="security"):
    """Something happened that an auditor must know."""

    seq: Count
    prev: Digest
    time: Time
    what: SecurityEvent
    detail: Text
    room: RoomId | None = None
    event: EventId | None = None
    sender: UserId | None = None
    uid: Count | None = None
    number: Count | None = None
    sig: SignatureHex = ""

    @property
    def erases_recording(self) -> bool:
        """Whether it says of a command's recording, too, that it was erased (SPEC §9)."""
        return self.what is SecurityEvent.ERASED and self.detail.startswith(f"{ERASED_BOTH} ")


class Session(_Record, frozen=True, kw_only=True, tag="session"):
    """An operator's shell session in a room began or ended."""

    seq: Count
    prev: Digest
    time: Time
    session: Text
    state: SessionState
    room: RoomId
    sender: UserId
    actor: Actor
    detail: Text
    sig: SignatureHex = ""


class Checkpoint(_Record, frozen=True, kw_only=True, tag="checkpoint"):
    """How large the chain was and what its root was, as a signed note (C2SP tlog-checkpoint).

    ``size`` counts the records before this one, so it is this one's number. ``note`` says the same
    in the form that other tools read, signed with the chain's key under the name of its origin,
    which is the genesis record's ``executor``.
    """

    seq: Count
    prev: Digest
    time: Time
    size: Count
    root: Digest
    note: Text
    sig: SignatureHex = ""


class Key(_Record, frozen=True, kw_only=True, tag="key"):
    """The chain goes on with another key; this record is signed with the one before it."""

    seq: Count
    prev: Digest
    time: Time
    executor: Text
    key: Digest
    sig: SignatureHex = ""


type Record = (
    Genesis
    | Intent
    | Outcome
    | Aborted
    | Remainder
    | Refusal
    | Security
    | Session
    | Checkpoint
    | Key
)

RECORDS: Final[JsonCodec[Record]] = JsonCodec(Record.__value__, max_bytes=RECORD_BYTES)


def digest(line: bytes) -> str:
    """Return the SHA-256 of a record's line, without its line end, as hexadecimal digits."""
    return hashlib.sha256(line).hexdigest()


def commitment(salt: bytes, command: str) -> str:
    """Return the commitment to a command's text: SHA-256(salt ‖ UTF-8 text)."""
    return hashlib.sha256(salt + command.encode()).hexdigest()


def sign[R: Record](record: R, identity: Identity) -> R:
    """Return the record with its signature; whether it may be one is found when it is encoded."""
    signature = identity.sign(_text(record))
    return msgspec.structs.replace(record, sig=signature.hex())


def verify_signature(record: Record, key: PublicKey) -> None:
    """Raise SignatureError unless the record was signed with the key."""
    key.verify(_text(record), bytes.fromhex(record.sig))


def _text(record: Record) -> str:
    # Checking it costs eight times as much as encoding it, and is done with the signature in it.
    unsigned = RECORDS.encode_unchecked(msgspec.structs.replace(record, sig=""))
    return signed_text(Purpose.RECORD, unsigned)
