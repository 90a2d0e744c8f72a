# SPDX-License-Identifier: MIT
"""The pinned operators: ``operators.toml``, which the agent and the executor both read.

Facts. A pin says whose commands a host runs: a Matrix user together with the master key of that
user's cross-signing identity (Client-Server API v1.16, "Cross-signing"), as it was when somebody
compared it. The homeserver can change what it says of a user; it can't change a pin. The format is
in docs/adr/0006; nothing that it doesn't name is accepted.
"""

import base64
import binascii
import stat
import tomllib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from tibet_nc_protocol.errors import PinsError, SignatureError
from tibet_nc_protocol.signing import PublicKey
from tibet_nc_protocol.terms import UserId

PINS: Final = 256
"""Most operators of one host; a room of more is a crowd."""

PINS_BYTES: Final = 256 * 1024
"""Longest file: as many pins with the longest names, and room for remarks."""

_HEADING: Final = """\
# Whose commands this host runs: Matrix users and the master keys of their identities.
# Written by `tibet-nc-agent trust` and `untrust`; changes hold at once, without a restart.
"""

MasterKey = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9+/]{43}\Z")]


class How(StrEnum):
    """How somebody made sure that a master key is the operator's."""

    COMPARED = "compared"
    """It was shown on the host's terminal, and compared there."""
    FINGERPRINT = "fingerprint"
    """It was given by other means, and the homeserver showed the same one."""
    EMOJI = "emoji"
    """The same emoji were seen in the room and on the host (SAS)."""


class Pin(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One operator: the master key is Ed25519, unpadded base64; ``pinned`` is when, with a zone."""

    user: UserId
    master_key: MasterKey
    pinned: Annotated[datetime, Meta(tz=True)]
    how: How


type Pins = Mapping[str, Pin]
"""The pins of a host by user."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    operator: Annotated[tuple[Pin, ...], Meta(max_length=PINS)] = ()


def parse(data: bytes) -> Pins:
    """Return the pins in a file; raises PinsError, whatever the bytes are."""
    if len(data) > PINS_BYTES:
        raise PinsError(f"{len(data)} bytes; at most {PINS_BYTES} are permitted")
    try:
        file = msgspec.convert(tomllib.loads(data.decode()), _File, strict=True)
    except msgspec.ValidationError as error:
        what, _, where = str(error).partition(" - at `$.")
        raise PinsError(f"{where.rstrip('`')}: {what}" if where else what) from None
    except UnicodeDecodeError:
        raise PinsError("not UTF-8 text") from None
    except (ValueError, RecursionError):  # tomllib's, and one of a number with too many digits
        raise PinsError("not TOML") from None
    pins: dict[str, Pin] = {}
    for pin in file.operator:
        if pin.user in pins:
            raise PinsError(f"{pin.user} is pinned twice")
        check_master_key(pin.master_key)
        pins[pin.user] = pin
    return MappingProxyType(pins)


def render(pins: Iterable[Pin]) -> bytes:
    """Return the file that holds the pins, by user; raises PinsError if nobody could read it."""
    parts = [_HEADING]
    for pin in sorted(pins, key=lambda pin: pin.user):
        # A user id has neither control characters nor spaces: as JSON it is TOML's basic string.
        user = msgspec.json.encode(pin.user).decode()
        pinned = pin.pinned.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        parts.append(
            f"\n[[operator]]\nuser = {user}\n"
            f'master_key = "{pin.master_key}"\npinned = {pinned}\nhow = "{pin.how}"\n'
        )
    data = "".join(parts).encode()
    parse(data)
    return data


def check_master_key(text: str) -> None:
    """Raise PinsError unless a text is an Ed25519 public key in unpadded base64, in its one form.

    With a key of small order anybody could make the signatures of its owner.
    """
    try:
        data = base64.b64decode(text + "=", validate=True)
        if len(data) != 32 or base64.b64encode(data).decode() != text + "=":
            raise PinsError("a master key has 43 characters of base64")
        PublicKey(data)
    except (binascii.Error, ValueError):
        raise PinsError("a master key has 43 characters of base64") from None
    except SignatureError as error:
        raise PinsError(str(error)) from None


def check_file(*, owner: int, mode: int, reader: int) -> None:
    """Raise PinsError unless it is a file that only root, or the reading uid itself, can write.

    ``mode`` is the type and the permissions, as stat(2) gives them. In an installation the file is
    root's, which neither daemon is: then neither can pin anybody.
    """
    if not stat.S_ISREG(mode):
        raise PinsError("it is not a file")
    if owner not in {0, reader}:
        raise PinsError(f"it belongs to uid {owner} and not to root")
    if mode & 0o022:
        raise PinsError(f"mode {mode & 0o7777:04o} lets others than its owner write it")
