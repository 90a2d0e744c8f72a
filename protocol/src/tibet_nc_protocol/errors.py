# SPDX-License-Identifier: MIT
"""What can go wrong: the peer broke the rules, a record did, or we were about to.

Each error carries its evidence. Whatever lies beneath (msgspec, cryptography) never escapes.
"""


class ProtocolError(Exception):
    """The root of everything this package raises."""


class EncodeError(ProtocolError):
    """We made a value that its own type forbids, which every reader would refuse (SPEC §4)."""


class PeerError(ProtocolError):
    """The peer sent what the specification forbids; the connection can't go on."""


class FramingError(PeerError):
    """A length prefix announces an empty frame or one over the limit (SPEC §2)."""


class DecodeError(PeerError):
    """The bytes are not a message in its one canonical form (SPEC §4)."""


class SignatureError(PeerError):
    """A signature does not verify, or a public key is unfit to verify with (SPEC §3)."""


class NoteError(ProtocolError):
    """A signed note is malformed, or not signed by the key that should have signed it."""


class PinsError(ProtocolError):
    """The file of the pinned operators is not what it must be, so nobody is pinned."""


class ProofError(ProtocolError):
    """A Merkle proof does not show what it should."""


class RecordError(ProtocolError):
    """A record of the chain is wrong.

    ``position`` is the number the record should have, counted from 0; ``expected`` and ``found``
    are what the check compared.
    """

    def __init__(self, position: int, reason: str, *, expected: str = "", found: str = "") -> None:
        self.position = position
        self.reason = reason
        self.expected = expected
        self.found = found
        evidence = f": expected {expected}, found {found}" if expected or found else ""
        super().__init__(f"record {position}: {reason}{evidence}")
