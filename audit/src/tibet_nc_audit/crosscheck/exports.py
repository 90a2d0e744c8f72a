# SPDX-License-Identifier: MIT
"""Journal files as journalctl writes them: ``-o export``, and ``-o json`` (one object a line).

Facts (systemd, Journal Export Formats; journalctl(1)). In the export form a field is ``NAME=value``
on a line, or, if its value has line ends or other control characters, ``NAME`` on a line, then the
length in eight bytes, little-endian, the value and a line end; an empty line ends an entry. In
JSON a value is a text, an array of byte values if it is not UTF-8, null if it is long, or an array
of these when the field stands several times. Fields whose names begin with ``_`` are journald's
own word; the others are the sender's.

What isn't of interest is passed over without being kept, so memory doesn't grow with the file.
"""

import re
from collections.abc import Iterator
from typing import IO, Final, cast

import msgspec

from tibet_nc_audit.crosscheck.copy import FIELDS
from tibet_nc_audit.errors import AuditError

FIELD_BYTES: Final = 64 * 1024
"""Longest value that is kept: a checkpoint's note is the longest of ours, under 2 KiB."""

LINE_BYTES: Final = 16 * 1024 * 1024
"""Longest line of a JSON file, which is one entry."""

WANTED: Final = frozenset(
    {
        *FIELDS,
        "TIBET_NC_SEQ",
        "TIBET_NC_HEAD",
        "N_DROPPED",
        "OBJECT_UID",
        "_UID",
        "_EXE",
        "_TRANSPORT",
    }
)

_NAME: Final = re.compile(rb"\A[A-Z0-9_]{1,256}\Z")
_LENGTH_BYTES: Final = 8
_PIECE: Final = 64 * 1024
_OBJECT: Final = msgspec.json.Decoder(dict[str, object])

DOUBLED: Final = "\ufffd(stands several times)"
"""The value of a field that stands several times: nobody can say which one counts."""

type Entry = dict[str, str]
"""The fields of an entry that are of interest."""


def entries(file: IO[bytes], name: str) -> Iterator[Entry]:
    """Yield each entry of a journal file; raises AuditError when it is none or is cut."""
    try:
        begin = file.readline(LINE_BYTES)
        if begin.startswith(b"{"):
            yield from _json(begin, file, name)
        else:
            yield from _export(begin, file, name)
    except OSError as error:
        raise AuditError(f"{name}: {error.strerror}") from None


def _json(line: bytes, file: IO[bytes], name: str) -> Iterator[Entry]:
    number = 1
    while line:
        if not line.endswith(b"\n") and len(line) >= LINE_BYTES:
            raise AuditError(f"{name}: line {number} is over {LINE_BYTES} bytes")
        try:
            fields = _OBJECT.decode(line)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            raise AuditError(f"{name}: line {number} is no entry of journalctl -o json") from None
        yield {key: _value(value) for key, value in fields.items() if key in WANTED}
        line = file.readline(LINE_BYTES)
        number += 1


def _value(value: object) -> str:
    match value:
        case str():
            return value
        case list():
            values = cast(list[object], value)
            octets = [byte for byte in values if isinstance(byte, int) and 0 <= byte < 256]
            if not octets or len(octets) < len(values):
                return DOUBLED
            return bytes(octets).decode(errors="backslashreplace")
        case _:
            return ""


def _export(line: bytes, file: IO[bytes], name: str) -> Iterator[Entry]:
    entry: Entry = {}
    empty = True
    while line:
        if not line.endswith(b"\n"):
            raise AuditError(f"{name}: the last entry is cut off, or a line is too long")
        if line == b"\n":
            if not empty:
                yield entry
            entry, empty = {}, True
        else:
            field, separator, text = line[:-1].partition(b"=")
            if not _NAME.match(field):
                raise AuditError(f"{name}: not what journalctl -o export writes")
            value = text if separator else _binary(file, name)
            empty = False
            key = field.decode()
            if key in WANTED:
                text_value = value[:FIELD_BYTES].decode(errors="backslashreplace")
                entry[key] = DOUBLED if key in entry else text_value
        line = file.readline(LINE_BYTES)
    if not empty:
        raise AuditError(f"{name}: the last entry is cut off")


def _binary(file: IO[bytes], name: str) -> bytes:
    """Read a value that has its length before it, keeping its beginning."""
    length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    kept = b""
    left = length
    while left:
        piece = file.read(min(left, _PIECE))
        if not piece:
            raise AuditError(f"{name}: the last entry is cut off")
        left -= len(piece)
        if len(kept) < FIELD_BYTES:
            kept += piece
    if file.read(1) != b"\n":
        raise AuditError(f"{name}: a value is not of the length that it says")
    return kept
