# SPDX-License-Identifier: MIT
"""``tibet-nc-audit``: errors become text and exit status here and nowhere else.

Exit status: 0 good, 1 what was looked at is bad, 2 wrong usage or unreadable files.
"""

import argparse
import io
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tibet_nc_audit import dossier, export, filters, heads, replay, show, summary, table
from tibet_nc_audit.arguments import UNUSABLE, parser
from tibet_nc_audit.entries import HOLD, Kind, entries
from tibet_nc_audit.errors import AuditError, DisagreementError
from tibet_nc_audit.export import Format
from tibet_nc_audit.filters import Filter
from tibet_nc_audit.locate import locate
from tibet_nc_audit.output import refuse_inside, replace_file
from tibet_nc_audit.page import html_lines
from tibet_nc_audit.progress import Progress
from tibet_nc_audit.reader import State
from tibet_nc_audit.recordings import check_recording, name_of
from tibet_nc_audit.verify import Depth, Report, verify
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.errors import SignatureError
from tibet_nc_protocol.layout import recording_name
from tibet_nc_protocol.records import Intent, Remainder
from tibet_nc_protocol.signing import PublicKey

GOOD: Final = 0
BAD: Final = 1
INTERRUPTED: Final = 130

FOLLOW_SECONDS: Final = 0.5
_KEY_BYTES: Final = 4096


def main() -> int:
    """Run the program with the arguments it was called with."""
    # A reader that goes away (head, less) ends us, silently, as it does other programs.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit status."""
    options = parser().parse_args(arguments)
    try:
        with State(options.state) as state:
            return _VERBS[options.verb](options, state)
    except AuditError as error:
        _complain(str(error))
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED


# --- verbs ----------------------------------------------------------------------------------------


def _verify(options: argparse.Namespace, state: State) -> int:
    if options.save_head is not None:
        refuse_inside(state.path, options.save_head)
    held = [heads.held(text) for text in options.against]
    key = None if options.key is None else _key(options.key)
    progress = Progress(sys.stderr, state.chain_bytes())
    report = verify(
        state,
        key=key,
        heads=held,
        depth=Depth.LINKS if options.no_signatures else Depth.ALL,
        report=lambda done, records: progress.show(done, f"{records} records"),
    )
    progress.clear()
    _print([table.json_line(report)] if options.json else summary.lines(report))
    if not report.good:
        return BAD
    if options.save_head is not None:
        heads.save(options.save_head, _saved(report))
    return GOOD


def _saved(report: Report) -> heads.SavedHead:
    return heads.SavedHead(
        record=report.length - 1,
        head=report.head,
        key=report.key,
        host=report.host,
        time=report.ended,
    )


def _log(options: argparse.Namespace, state: State) -> int:
    wanted = _filter(options)
    wait = (lambda: time.sleep(FOLLOW_SECONDS)) if options.follow else None
    status = GOOD
    if not options.json:
        _print([table.HEADER])
    for entry in entries(state, hold=0 if options.follow else HOLD, wait=wait):
        if entry.kind is Kind.DAMAGED:
            status = BAD
        if wanted.matches(entry):
            line = table.json_line(entry) if options.json else table.row(entry)
            print(line, flush=options.follow)
    if status is BAD:
        _complain("the chain is damaged: tibet-nc-audit verify says where and how")
    return status


def _show(options: argparse.Namespace, state: State) -> int:
    key = None if options.key is None else _key(options.key)
    found = dossier.dossier(state, options.number, key)
    _print([table.json_line(found)] if options.json else show.lines(found))
    return GOOD if found.good else BAD


def _replay(options: argparse.Namespace, state: State) -> int:
    command = locate(state, options.number)
    if not isinstance(command.begin.record, Intent | Remainder):
        raise AuditError(f"record {options.number}: not a command, nor what one left running")
    status = GOOD
    name = recording_name(command.begin.number)
    if command.recorded is None:
        _complain("the command has no outcome: nothing to check the recording against")
    elif not command.recorded.recording:
        raise AuditError(f"record {options.number}: nothing was recorded")
    else:
        try:
            name = name_of(command.recorded)
            check_recording(state, command.recorded)
        except DisagreementError as wrong:
            _complain(f"NOT what was recorded: {wrong.file}: {wrong.reason}")
            status = BAD
    terminal = sys.stdout.isatty()
    text = None if terminal or options.raw else replay.VisibleText()

    def write(data: bytes) -> None:
        if text is not None:
            data = text.feed(data).encode()
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    try:
        frames = replay.frames(state, name)
        replay.play(frames, write, speed=None if options.no_wait else options.speed)
        if text is not None:
            sys.stdout.buffer.write(text.feed(b"", last=True).encode())
    finally:
        if terminal:
            sys.stdout.buffer.write(replay.RESET)
            _forget_answers()
        sys.stdout.buffer.flush()
    return status


def _export(options: argparse.Namespace, state: State) -> int:
    wanted = _filter(options)
    complaints = 0

    def complain(text: str) -> None:
        nonlocal complaints
        complaints += 1
        _complain(text)

    match options.format:
        case Format.JSONL:
            lines = export.json_lines(state, wanted, complain)
        case Format.CSV:
            lines = export.csv_lines(state, wanted, complain)
        case Format.HTML:
            key = None if options.key is None else _key(options.key)
            lines = html_lines(state, wanted, key, datetime.now(UTC))
        case Format.TIBET | Format.CAST if wanted != Filter():
            raise AuditError(f"--format {options.format} takes no filters")
        case Format.TIBET:
            lines = export.tibet_lines(state, complain)
        case _ if options.number is None:
            raise AuditError("--format cast needs the number of a command")
        case _:
            lines = export.cast_lines(state, options.number)
    if options.number is not None and options.format is not Format.CAST:
        raise AuditError(f"--format {options.format} takes no number")
    if options.key is not None and options.format is not Format.HTML:
        raise AuditError(f"--format {options.format} takes no key")
    try:
        _write(options, state, lines)
    except DisagreementError as wrong:
        complain(f"not exported: {wrong.file}: {wrong.reason}")
    return BAD if complaints else GOOD


def _write(options: argparse.Namespace, state: State, lines: Iterable[bytes]) -> None:
    if options.output is None:
        if sys.stdout.isatty() and options.format in {Format.TIBET, Format.CAST, Format.HTML}:
            raise AuditError(f"--format {options.format} is not for a terminal: use --output")
        for line in lines:
            sys.stdout.buffer.write(line)
        sys.stdout.buffer.flush()
        return
    refuse_inside(state.path, options.output)
    with replace_file(options.output) as file:
        file.writelines(lines)


_VERBS: Final[dict[str, Callable[[argparse.Namespace, State], int]]] = {
    "verify": _verify,
    "log": _log,
    "show": _show,
    "replay": _replay,
    "export": _export,
}


# --- what they share ------------------------------------------------------------------------------


def _key(text: str) -> PublicKey:
    """Read a public key: 64 hexadecimal digits, or a file that holds them."""
    try:
        return PublicKey.from_hex(text)
    except SignatureError as error:
        path = Path(text)
        reason = str(error)
    try:
        with path.open("rb") as file:
            return PublicKey.from_hex(file.read(_KEY_BYTES).decode().strip())
    except OSError as error:
        raise AuditError(f"{text}: {reason}, or is such a file: {error.strerror}") from None
    except (SignatureError, ValueError) as error:
        raise AuditError(f"{text}: {error}") from None


def _filter(options: argparse.Namespace) -> Filter:
    now = datetime.now(UTC)
    return Filter(
        operator=options.operator,
        command=options.command,
        exit=None if options.exit is None else filters.exit_status(options.exit),
        since=None if options.since is None else filters.moment(options.since, now),
        until=None if options.until is None else filters.moment(options.until, now),
        kind=options.kind,
        session=options.session,
        verdict=options.verdict,
    )


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _complain(text: str) -> None:
    print(f"tibet-nc-audit: {visible(text)}", file=sys.stderr)


def _forget_answers() -> None:
    """Drop what a terminal answered to queries in the recording: it would look like typing."""
    if sys.stdin.isatty():
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


if __name__ == "__main__":
    sys.exit(main())
