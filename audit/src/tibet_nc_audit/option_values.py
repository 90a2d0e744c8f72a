# SPDX-License-Identifier: MIT
"""What was asked for: the values of options that the parser passed on as text.

Each function raises AuditError, for a person, if an option makes no sense.
"""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tibet_nc_audit import filters
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.filters import Filter
from tibet_nc_audit.heads import Depth
from tibet_nc_protocol.cosignature import Cosigner
from tibet_nc_protocol.errors import NoteError, SignatureError
from tibet_nc_protocol.signing import PublicKey

_KEY_BYTES: Final = 4096
_NUMBER_DIGITS: Final = 15

_GOES_WITH: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "verify": {"jobs": ("deep",)},
    "checkpoint": {
        "name": ("new_key",),
        "without_text": ("prove",),
        "note": ("prove", "grown_from"),
        "cosigner": ("check",),
        "json": ("check",),
    },
    "crosscheck": {
        "uid": ("live", "journal"),
        "exe": ("live", "journal"),
        "agent": ("room",),
    },
}
"""Options of a verb, and what each is an option of."""

_NOT_WITH: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "checkpoint": {"key": ("new_key",), "output": ("new_key", "check")},
}
"""Options of a verb, and what each has no meaning beside."""


def refuse_stray(options: argparse.Namespace) -> None:
    """Refuse what a verb would pass over in silence."""
    for name, doings in _GOES_WITH.get(options.verb, {}).items():
        if _given(options, name) and not any(_given(options, doing) for doing in doings):
            fitting = " or ".join(map(_written, doings))
            raise AuditError(f"{_written(name)} goes with {fitting}")
    for name, doings in _NOT_WITH.get(options.verb, {}).items():
        for doing in doings:
            if _given(options, name) and _given(options, doing):
                raise AuditError(f"{_written(name)} does not go with {_written(doing)}")


def _given(options: argparse.Namespace, name: str) -> bool:
    """Tell whether an option was given, be it as an empty text."""
    value = getattr(options, name)
    return value is not None and value is not False and value != []


def depth(options: argparse.Namespace) -> Depth:
    """Return how much is verified."""
    if options.deep:
        return Depth.DEEP
    return Depth.CHAIN if options.chain_only else Depth.RECORDS


def key(options: argparse.Namespace) -> PublicKey | None:
    """Return the executor's public key, which is 64 hexadecimal digits or a file that holds them.

    None if it wasn't given.
    """
    text = options.key
    if text is None:
        return None
    try:
        return PublicKey.from_hex(text)
    except SignatureError as error:
        reason = str(error)
    try:
        with Path(text).open("rb") as file:
            return PublicKey.from_hex(file.read(_KEY_BYTES).decode().strip())
    except OSError as error:
        raise AuditError(f"{text}: {reason}, or is such a file: {error.strerror}") from None
    except (SignatureError, ValueError) as error:
        raise AuditError(f"{text}: {error}") from None


def cosigners(options: argparse.Namespace) -> list[Cosigner]:
    """Return the auditors whose signatures are looked for."""
    try:
        return [Cosigner.from_vkey(text) for text in options.cosigner]
    except NoteError as error:
        raise AuditError(f"--cosigner: {error}") from None


def number(text: str) -> int | None:
    """Return the record's number that a text is; None if it is the name of a file."""
    if text.isascii() and text.isdigit() and len(text) <= _NUMBER_DIGITS:
        return int(text)
    return None


def wanted(options: argparse.Namespace) -> Filter:
    """Return which entries are asked for; times are counted back from now."""
    now = datetime.now(UTC)
    return Filter(
        operator=options.operator,
        command=options.command,
        text=options.text,
        exit=None if options.exit is None else filters.exit_status(options.exit),
        since=None if options.since is None else filters.moment(options.since, now),
        until=None if options.until is None else filters.moment(options.until, now),
        kind=options.kind,
        session=options.session,
        device=options.device,
        records=None if options.records is None else filters.records(options.records),
        verdict=options.verdict,
    )


def _written(option: str) -> str:
    return f"--{option.replace('_', '-')}"
