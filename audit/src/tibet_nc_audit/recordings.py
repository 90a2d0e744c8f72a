# SPDX-License-Identifier: MIT
"""Recordings against the records that speak of them.

The bytes that were printed are derived from the asciicast file again; their number and SHA-256
are in the outcome's record. Of a recording that was capped only the number can be checked. Times,
title and markers aren't in the digest.
"""

import hashlib
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Final

import msgspec

from tibet_nc_audit.errors import DisagreementError, MissingError, MissingFileError, NotAFileError
from tibet_nc_audit.reader import State
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import RECORDINGS, recording_name, remainder_name
from tibet_nc_protocol.limits import RECORDING_LINE_BYTES
from tibet_nc_protocol.recording import CastReader
from tibet_nc_protocol.records import Outcome, Remainder


class Checked(StrEnum):
    """How far a recording could be checked."""

    AGREES = "agrees"
    CAPPED = "capped"
    NONE = "none"
    """There is none, since nothing was printed."""


_EVENT: Final = msgspec.json.Decoder(tuple[float, str, str])


def name_of(record: Outcome | Remainder) -> str:
    """Return the name that the recording has of which a record speaks."""
    if isinstance(record, Remainder):
        return remainder_name(record.intent)
    return recording_name(record.intent)


def check_recording(state: State, outcome: Outcome | Remainder) -> Checked:
    """Say how far the recording of a command, or of what it left running, agrees with its record.

    Raises DisagreementError when it doesn't, MissingError when it isn't there, and AuditError when
    it can't be read.
    """
    name = name_of(outcome)
    shown = f"{RECORDINGS}/{name}"
    if outcome.recorded_bytes > outcome.output_bytes:
        raise DisagreementError(
            shown,
            "the record says that more was recorded than printed",
            expected=f"at most {outcome.output_bytes} bytes",
            found=f"{outcome.recorded_bytes} bytes",
        )
    if not outcome.recording and not outcome.recorded_bytes:
        return Checked.CAPPED if outcome.output_bytes else Checked.NONE
    if outcome.recording != name:
        raise DisagreementError(
            shown, "the record names another file", expected=name, found=outcome.recording
        )
    try:
        with state.open(name, RECORDING_LINE_BYTES, RECORDINGS) as file:
            length, found = _derive(file, shown)
            torn = file.torn
    except MissingFileError:
        raise missing_recording(name) from None
    except NotAFileError:
        raise DisagreementError(shown, "not a regular file") from None
    if torn:
        raise DisagreementError(shown, "its last line is incomplete", found=f"{torn} bytes")
    if length != outcome.recorded_bytes:
        raise DisagreementError(
            shown,
            "another length",
            expected=f"{outcome.recorded_bytes} bytes",
            found=f"{length} bytes",
        )
    if outcome.recorded_bytes < outcome.output_bytes:
        return Checked.CAPPED
    if found != outcome.output_sha256:
        raise DisagreementError(
            shown, "other output (SHA-256)", expected=outcome.output_sha256, found=found
        )
    return Checked.AGREES


def missing_recording(name: str) -> MissingError:
    """Return the error for a recording that isn't there."""
    return MissingError(f"{RECORDINGS}/{name}", "not there")


def played(lines: Iterable[bytes]) -> Iterator[tuple[float, bytes]]:
    """Yield (seconds since the event before, bytes printed); raises DecodeError."""
    reader = CastReader()
    for line in lines:
        first = reader.header is None
        data = reader.feed(line)
        if not first:
            yield _EVENT.decode(line)[0], data


def _derive(lines: Iterable[bytes], shown: str) -> tuple[int, str]:
    """Return the number and the SHA-256 of the bytes that a command printed."""
    reader = CastReader()
    sha256 = hashlib.sha256()
    length = 0
    for row, line in enumerate(lines, 1):
        try:
            data = reader.feed(line)
        except DecodeError as error:
            raise DisagreementError(shown, f"line {row}: {error}") from None
        sha256.update(data)
        length += len(data)
    return length, sha256.hexdigest()
