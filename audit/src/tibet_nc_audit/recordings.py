# SPDX-License-Identifier: MIT
"""Recordings against the records that speak of them.

The bytes that were printed are derived from the asciicast file again; their number and SHA-256
are in the outcome's record. Of a recording that was capped only the number can be checked. Times,
title and markers aren't in the digest.
"""

import hashlib
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Self

from tibet_nc_audit.errors import DisagreementError, MissingError, MissingFileError, NotAFileError
from tibet_nc_audit.reader import State
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import DecodeError
from tibet_nc_protocol.layout import RECORDINGS, recording_name, remainder_name
from tibet_nc_protocol.limits import RECORDING_LINE_BYTES
from tibet_nc_protocol.recording import CastReader
from tibet_nc_protocol.records import Outcome, Remainder

_NOTHING: Final = hashlib.sha256().hexdigest()


class Checked(StrEnum):
    """How far a recording could be checked."""

    AGREES = "agrees"
    CAPPED = "capped"
    NONE = "none"
    """There is none, since nothing was printed."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """What a record says of what was printed; ``name`` is what its recording has to be named."""

    name: str
    recording: str
    recorded_bytes: int
    output_bytes: int
    output_sha256: str

    @classmethod
    def of(cls, record: Outcome | Remainder) -> Self:
        """Return what a record says."""
        return cls(
            name=name_of(record),
            recording=record.recording,
            recorded_bytes=record.recorded_bytes,
            output_bytes=record.output_bytes,
            output_sha256=record.output_sha256,
        )


def name_of(record: Outcome | Remainder) -> str:
    """Return the name that the recording has of which a record speaks."""
    if isinstance(record, Remainder):
        return remainder_name(record.intent)
    return recording_name(record.intent)


def check_recording(state: State, printed: Printed) -> Checked:
    """Say how far the recording of a command, or of what it left running, agrees with its record.

    Raises DisagreementError when it doesn't, MissingError when it isn't there, and AuditError when
    it can't be read.
    """
    shown = f"{RECORDINGS}/{printed.name}"
    if printed.recorded_bytes > printed.output_bytes:
        raise DisagreementError(
            shown,
            "the record says that more was recorded than printed",
            expected=f"at most {counted(printed.output_bytes, 'byte')}",
            found=counted(printed.recorded_bytes, "byte"),
        )
    if not printed.recording and not printed.recorded_bytes:
        if printed.output_bytes:
            return Checked.CAPPED
        if printed.output_sha256 != _NOTHING:
            raise DisagreementError(
                shown,
                "the record says that nothing was printed, with another SHA-256",
                expected=_NOTHING,
                found=printed.output_sha256,
            )
        return Checked.NONE
    if printed.recording != printed.name:
        raise DisagreementError(
            shown, "the record names another file", expected=printed.name, found=printed.recording
        )
    reader = CastReader()
    tally = Tally(printed, reader)
    try:
        with state.open(printed.name, RECORDING_LINE_BYTES, RECORDINGS) as file:
            for row, line in enumerate(file, 1):
                try:
                    tally.add(reader.feed(line))
                except DecodeError as error:
                    raise DisagreementError(shown, f"line {row}: {error}") from None
            return tally.finish(file.torn)
    except MissingFileError:
        raise missing_recording(printed.name) from None
    except NotAFileError:
        raise DisagreementError(shown, "not a regular file") from None


class Tally:
    """What a recording holds, added up while it is read, against what a record says of it.

    Whoever plays or copies a recording that was checked reads it once more; it may be another then.
    """

    def __init__(self, printed: Printed, reader: CastReader) -> None:
        self._printed = printed
        self._reader = reader
        self._shown = f"{RECORDINGS}/{printed.name}"
        self._sha256 = hashlib.sha256()
        self._length = 0

    def add(self, data: bytes) -> None:
        """Take the bytes printed that a line holds."""
        self._sha256.update(data)
        self._length += len(data)

    def finish(self, torn: int) -> Checked:
        """Say how far it agreed, with so many bytes after its last line end.

        Raises DisagreementError.
        """
        printed = self._printed
        if torn:
            raise DisagreementError(
                self._shown, "its last line is incomplete", found=counted(torn, "byte")
            )
        if self._reader.header is None and printed.recorded_bytes == 0 < printed.output_bytes:
            # What a full disk leaves: the file was made, and not one line found room in it.
            return Checked.CAPPED
        try:
            self._reader.end()
        except DecodeError as error:
            raise DisagreementError(self._shown, f"its last line: {error}") from None
        if self._length != printed.recorded_bytes:
            raise DisagreementError(
                self._shown,
                "another length",
                expected=counted(printed.recorded_bytes, "byte"),
                found=counted(self._length, "byte"),
            )
        if printed.recorded_bytes < printed.output_bytes:
            return Checked.CAPPED
        found = self._sha256.hexdigest()
        if found != printed.output_sha256:
            raise DisagreementError(
                self._shown, "other output (SHA-256)", expected=printed.output_sha256, found=found
            )
        return Checked.AGREES


def missing_recording(name: str) -> MissingError:
    """Return the error for a recording that isn't there."""
    return MissingError(f"{RECORDINGS}/{name}", "not there")
