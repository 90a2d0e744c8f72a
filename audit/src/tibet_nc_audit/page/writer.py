# SPDX-License-Identifier: MIT
"""Writing the page: its frame, the chain's lines, texts and recordings, and what was left out.

Data stands in elements that aren't shown, as text in which ``&`` and ``<`` are escaped; so every
line is there for any reader, byte for byte, and none can end its element. Nothing is kept in
memory but the numbers of the entries that are wanted.
"""

import base64
import hashlib
import html
import json
from collections.abc import Iterator
from datetime import datetime
from importlib import resources
from itertools import chain
from typing import Final

import msgspec

from tibet_nc_audit import VERSION, payloads
from tibet_nc_audit.complaints import Complaints
from tibet_nc_audit.entries import Entry, Kind, Text, entries
from tibet_nc_audit.errors import DisagreementError, MissingFileError, UnreadableError
from tibet_nc_audit.filters import Filter, passed_over
from tibet_nc_audit.page.excerpt import ChainFile, Excerpt
from tibet_nc_audit.reader import State
from tibet_nc_audit.recordings import Printed, check_recording
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.layout import (
    PAYLOADS,
    RECORDINGS,
    recording_name,
    remainder_name,
    segment_name,
)
from tibet_nc_protocol.limits import RECORDING_LINE_BYTES
from tibet_nc_protocol.signing import PublicKey

TEXTS_BYTES: Final = 8 * 1024 * 1024
"""Most bytes of command texts."""

RECORDING_BYTES: Final = 2 * 1024 * 1024
"""Largest recording: nobody reads more in a browser."""

RECORDINGS_BYTES: Final = 24 * 1024 * 1024
"""Most bytes of recordings: with all the rest, what a browser loads without trouble."""

BLOCK_LINES: Final = 4096
"""Lines in one element."""

_SCRIPTS: Final = (
    "data.js",
    "records.js",
    "note.js",
    "check.js",
    "entries.js",
    "view.js",
    "main.js",
)


def html_lines(
    state: State, wanted: Filter, key: PublicKey | None, now: datetime, complaints: Complaints
) -> Iterator[bytes]:
    """Yield the page, piece by piece; raises AuditError.

    Times in the filter say which records are in it; the rest of the filter, whose texts and output
    are, and what is shown of the others: nothing. The page says itself what is bad; complained of
    is what other formats complain of, too, a chain of another key than the one given, and what is
    wrong with the recordings in the page.
    """
    excerpt = Excerpt(state, wanted, key)
    evidence = _Evidence(state, excerpt)
    lines = excerpt.lines()
    first = next(lines, None)
    top, bottom = _frame(excerpt.host)
    yield top
    yield from _blocks("chain", chain(() if first is None else (first,), lines))
    if key is not None and excerpt.first_key not in {"", key.hex}:
        complaints.bad(f"record 0: another executor's chain, with the key {excerpt.first_key}")
    yield from evidence.blocks(wanted, complaints)
    if evidence.unsearched:
        complaints.say(passed_over(evidence.unsearched))
    about = _about(excerpt, evidence, key, now, selected=_selects(wanted))
    yield from _blocks("about", iter([json.dumps(about).encode()]))
    yield bottom


class _Evidence:
    """Texts and recordings of the wanted entries, and how many there was no room for."""

    def __init__(self, state: State, excerpt: Excerpt) -> None:
        self.unsearched = 0
        """Entries whose texts would have to be searched, and aren't there."""
        self.texts_omitted = 0
        self.recordings_omitted = 0
        self._texts_room = TEXTS_BYTES
        self._state = state
        self._excerpt = excerpt

    def blocks(self, wanted: Filter, complaints: Complaints) -> Iterator[bytes]:
        """Yield the elements; what is wrong with those, or in the chain, is complained of."""
        numbers: set[int] = set()
        room = RECORDINGS_BYTES
        for entry in entries(self._state):
            complaints.look_at(entry)
            if not self._excerpt.start <= entry.seq < self._excerpt.end:
                continue
            if entry.text is Text.ERASED:
                self._excerpt.lacks_text(entry.seq)
            self.unsearched += wanted.leaves_open(entry)
            if not wanted.matches(entry):
                continue
            numbers.add(entry.seq)
            number = entry.seq if entry.outcome is None else entry.outcome
            printed = _printed(entry)
            if printed is None or number >= self._excerpt.end:
                continue
            limit = min(room, RECORDING_BYTES)
            recording = self._recording(number, printed, limit, complaints)
            if recording is not None:
                lines, torn = recording
                room -= sum(len(line) + 1 for line in lines)
                about = f'data-of="recording" data-name="{printed.name}" data-torn="{torn}"'
                yield f"<pre hidden {about}>\n".encode()
                yield from (_exact(line) + b"\n" for line in lines)
                yield b"</pre>\n"
        if _selects(wanted):
            yield from _blocks("selected", (b"%d" % number for number in sorted(numbers)))
        asked = numbers if _selects(wanted) else None
        for file in self._excerpt.files:
            yield from _blocks("texts", self._texts(file, asked), f' data-first="{file.first}"')

    def _recording(
        self, number: int, printed: Printed, limit: int, complaints: Complaints
    ) -> tuple[list[bytes], int] | None:
        """Return the lines of a recording, and how many bytes stand after the last line end.

        None if it isn't there, can't be read, or there is no room for it. It is held against what
        the record with a number says, as verify does that.
        """
        recording: tuple[list[bytes], int] | None = None
        if printed.recording:
            try:
                with self._state.open(printed.name, RECORDING_LINE_BYTES, RECORDINGS) as file:
                    if file.size > limit:
                        self.recordings_omitted += 1
                        return None
                    recording = list(file), file.torn
            except MissingFileError:  # it may have been erased; the page says that it isn't there
                return None
            except UnreadableError:  # which is told below
                pass
        try:
            check_recording(self._state, printed)
        except DisagreementError as wrong:
            complaints.bad(f"record {number}: {wrong}")
        except UnreadableError as error:
            complaints.unread(f"record {number}: {error}")
        return recording

    def _texts(self, file: ChainFile, numbers: set[int] | None) -> Iterator[bytes]:
        """Yield the texts of some records, or those of all here and of no record."""
        with self._state.open_if_there(
            segment_name(file.first), payloads.LINE_BYTES, PAYLOADS
        ) as lines:
            for line in lines or ():
                item = payloads.read_payload(line)
                if item is None:
                    file.no_texts += 1
                    continue
                if not (self._excerpt.spans(item.key) if numbers is None else item.key in numbers):
                    continue
                if len(line) > self._texts_room:
                    self.texts_omitted += 1
                    continue
                self._texts_room -= len(line)
                yield line
            file.no_texts += lines is not None and lines.torn > 0


def _printed(entry: Entry) -> Printed | None:
    """Return what the record of an entry's end says of what was printed, if that says anything."""
    if entry.output_bytes is None:
        return None
    remainder = entry.kind is Kind.REMAINDER
    return Printed(
        name=remainder_name(entry.number or 0) if remainder else recording_name(entry.seq),
        recording=entry.recording or "",
        recorded_bytes=entry.recorded_bytes or 0,
        output_bytes=entry.output_bytes,
        output_sha256=entry.output_sha256 or "",
    )


def _about(
    excerpt: Excerpt,
    evidence: _Evidence,
    key: PublicKey | None,
    now: datetime,
    *,
    selected: bool,
) -> dict[str, object]:
    """Return what the page has to know beside the data."""
    omitted: list[str] = []
    if excerpt.start:
        omitted.append(
            f"Records before #{excerpt.start} are not here; the page checks from that one on, and"
            " takes the state before it from this file."
        )
    if excerpt.end < excerpt.total:
        omitted.append(f"Records from {excerpt.end} on are not here: they are later.")
    if selected:
        omitted.append("Only some entries are shown, as was asked for; every record is checked.")
    if evidence.unsearched:
        omitted.append(f"{passed_over(evidence.unsearched).capitalize()}.")
    for number, what in (
        (evidence.texts_omitted, "command texts"),
        (evidence.recordings_omitted, "recordings"),
    ):
        if number:
            omitted.append(f"Too large for this page, {what}: {number}.")
    return {
        "version": VERSION,
        "made": now.strftime("%Y-%m-%d %H:%M:%S UTC"),
        "host": excerpt.host,
        "origin": excerpt.origin,
        "pinned": key is not None,
        "key": "" if key is None else key.hex,
        "key_here": "" if excerpt.key is None else excerpt.key.hex,
        "start": excerpt.start,
        "total": excerpt.total,
        "files": [msgspec.structs.asdict(file) for file in excerpt.files],
        "prev": excerpt.prev,
        "subtrees": excerpt.subtrees,
        "selected": selected,
        "omitted": omitted,
    }


def _selects(wanted: Filter) -> bool:
    """Tell whether a filter asks for more than times."""
    return wanted != Filter(since=wanted.since, until=wanted.until)


def _frame(host: str) -> tuple[bytes, bytes]:
    """Return what stands before and after the data."""
    folder = resources.files(__package__)
    style = folder.joinpath("page.css").read_text()
    script = "".join(folder.joinpath(name).read_text() for name in _SCRIPTS)
    policy = (
        f"default-src 'none'; script-src '{_source(script)}'; style-src '{_source(style)}';"
        " require-trusted-types-for 'script'; trusted-types 'none'; base-uri 'none';"
        " form-action 'none'"
    )
    top, bottom = folder.joinpath("page.html").read_text().split("{{data}}\n")
    top = top.replace("{{policy}}", policy).replace("{{style}}", style)
    title = html.escape(f"{visible(host)}: tibet-nc evidence")
    return top.replace("{{title}}", title).encode(), bottom.replace("{{script}}", script).encode()


def _source(text: str) -> str:
    """Return what names an inline script or style in a policy (CSP Level 3)."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _blocks(kind: str, lines: Iterator[bytes], more: str = "") -> Iterator[bytes]:
    """Yield lines in elements that aren't shown."""
    written = 0
    for line in lines:
        if written % BLOCK_LINES == 0:
            yield b"</pre>\n" if written else b""
            # HTML drops a line end directly after the tag.
            yield f'<pre hidden data-of="{kind}"{more}>\n'.encode()
        written += 1
        yield _exact(line) + b"\n"
    if written:
        yield b"</pre>\n"


def _exact(line: bytes) -> bytes:
    """Return a line as HTML from whose text a reader gets the very bytes."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text or "\r" in text or text.startswith("base64:"):
        return b"base64:" + base64.b64encode(line)
    return line.replace(b"&", b"&amp;").replace(b"<", b"&lt;")
