# SPDX-License-Identifier: MIT
"""``tibet-nc-audit``: errors become text and exit status here and nowhere else.

Exit status: 0 good, 1 what was looked at is bad, 2 wrong usage or unreadable files.
"""

import argparse
import io
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Final

from tibet_nc_audit import (
    anchors,
    cosigning,
    dossier,
    export,
    filters,
    heads,
    option_values,
    proving,
    replay,
    show,
    shown,
    summary,
    table,
)
from tibet_nc_audit.arguments import parser
from tibet_nc_audit.complaints import BAD, GOOD, UNUSABLE, Complaints, status
from tibet_nc_audit.crosscheck import exports, journal, room, sources, text
from tibet_nc_audit.crosscheck.copy import ChainCopy
from tibet_nc_audit.crosscheck.discrepancies import Comparison
from tibet_nc_audit.crosscheck.journal import Sender
from tibet_nc_audit.crosscheck.messages import read_room
from tibet_nc_audit.dossier import Result
from tibet_nc_audit.entries import HOLD, entries
from tibet_nc_audit.errors import AuditError, DisagreementError, MissingError, UnreadableError
from tibet_nc_audit.export import Format
from tibet_nc_audit.filters import Filter
from tibet_nc_audit.heads import Depth
from tibet_nc_audit.keys import since
from tibet_nc_audit.locate import locate
from tibet_nc_audit.output import (
    let_go_of_standard_error,
    refuse_inside,
    say,
    standard_output,
    write_out,
    write_text,
)
from tibet_nc_audit.page import html_lines
from tibet_nc_audit.progress import Progress
from tibet_nc_audit.reader import State
from tibet_nc_audit.recordings import Printed, check_recording
from tibet_nc_audit.report import Report
from tibet_nc_audit.unwinding import unwinding
from tibet_nc_audit.verify import verify
from tibet_nc_audit.visible import visible
from tibet_nc_protocol import proofs
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.layout import recording_name
from tibet_nc_protocol.records import Intent, Remainder

INTERRUPTED: Final = 130

FOLLOW_SECONDS: Final = 0.5


def main() -> int:
    """Run the program with the arguments it was called with."""
    # A reader that goes away (head, less) ends us, silently, as it does other programs.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    if sys.stderr is None:  # closed by whoever started us; nothing of it belongs to the output
        sys.stderr = Path(os.devnull).open("w")  # noqa: SIM115  (as long as the program)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        return run(sys.argv[1:])
    finally:
        let_go_of_standard_error()


def run(arguments: Sequence[str]) -> int:
    """Do what the arguments say and return the exit status."""
    try:
        with standard_output():
            return _carry_out(parser().parse_args(arguments))
    except AuditError as error:
        _complain(str(error))
        return UNUSABLE
    except KeyboardInterrupt:
        return INTERRUPTED


def _carry_out(options: argparse.Namespace) -> int:
    option_values.refuse_stray(options)
    if options.verb == "checkpoint" and (options.check or options.new_key):
        return _offline(options)
    with State(options.state) as state:
        return _VERBS[options.verb](options, state)


# --- verbs ----------------------------------------------------------------------------------------


def _verify(options: argparse.Namespace, state: State) -> int:
    if options.save_head is not None:
        refuse_inside(state.path, options.save_head)
    held = [heads.held(text) for text in options.against]
    resume = None if options.resume_from is None else heads.load(options.resume_from)
    progress = Progress(sys.stderr, state.chain_bytes())
    kept: list[heads.SavedHead] = []
    with unwinding():  # the processes that verify signatures are ended before we are
        try:
            report = verify(
                state,
                key=option_values.key(options),
                heads=held,
                depth=option_values.depth(options),
                resume=resume,
                jobs=options.jobs,
                report=lambda done, records: progress.show(done, counted(records, "record")),
                keep=kept.append,
            )
        finally:
            progress.clear()
    _print([table.json_line(report)] if options.json else summary.lines(report))
    if report.good and options.save_head is not None:
        heads.save(options.save_head, kept[0])
    return _status(report)


def _status(report: Report) -> int:
    return status(bad=report.first_bad is not None, unread=report.unread_total > 0)


def _checkpoint(options: argparse.Namespace, state: State) -> int:
    note = None if options.note is None else proving.read_note(options.note)
    if options.cosign is not None:
        return _cosign(options, state)
    key = option_values.key(options)
    try:
        if options.prove is not None:
            proof = proving.prove_command(
                state, options.prove, key=key, note=note, text=not options.without_text
            )
            text = proofs.encode(proof).decode()
        elif options.grown_from is not None:
            old = _old_note(state, options.grown_from)
            growth = proving.prove_growth(state, old, key=key, note=note)
            text = proofs.encode(growth).decode()
        else:
            text = proving.latest_note(state, key)
    except DisagreementError as wrong:
        _complain(f"BAD: {wrong.file}: {wrong.reason}")
        _show_evidence(wrong)
        return BAD
    write_text(text, options.output, state.path)
    return GOOD


def _old_note(state: State, text: str) -> str:
    """Return the note of a checkpoint that is given as a record's number, or in a file."""
    number = option_values.number(text)
    if number is None:
        return proving.read_note(Path(text))
    return anchors.checkpoint_at(state, number).note


def _cosign(options: argparse.Namespace, state: State) -> int:
    """Verify the chain up to its latest checkpoint, then put the auditor's signature to that."""
    if options.key is None:
        raise AuditError("--cosign needs --key: a signature is for a chain whose key is known")
    mine = cosigning.load_key(options.cosign)
    before: str | None = None
    with suppress(UnreadableError):  # then the chain isn't good, and what else is wrong is told
        origin = anchors.latest_checkpoint(state).note.partition("\n")[0]
        before = cosigning.seen(mine, origin)
    held = [] if before is None else [heads.held_note(before, f"{mine.file}.seen")]
    report = verify(state, key=option_values.key(options), heads=held, depth=Depth.CHAIN)
    if not report.good:
        _complain(f"not cosigned: the chain {'is bad' if report.first_bad else 'can not be read'}")
        for line in summary.verdict(report):
            say(line)
        return _status(report)
    if cosigning.seen(mine, report.checkpoint.partition("\n")[0]) != before:
        raise AuditError(
            "not cosigned: the files were of another chain than a moment before, or it was cosigned"
            " meanwhile; do it again"
        )
    signed = cosigning.cosign(mine, report.checkpoint, int(time.time()))
    write_text(signed, options.output, state.path)
    return GOOD


def _crosscheck(options: argparse.Namespace, state: State) -> int:
    if not (options.live or options.journal or options.room):
        raise AuditError("crosscheck needs something to compare with: --live, --journal, --room")
    if options.journal.count(sources.STANDARD_INPUT) > 1:
        raise AuditError("--journal - can't be repeated: standard input is read once")
    comparisons: list[Comparison] = []
    complaints = Complaints(_complain)
    journals: list[Path | None] = [*options.journal, *([None] if options.live else [])]
    compare: list[Callable[[], Comparison]] = [
        *(partial(_compare_journal, options, state, path) for path in journals),
        *(partial(_compare_room, options, state, path) for path in options.room),
    ]
    for one in compare:
        try:
            comparisons.append(one())
        except AuditError as error:  # which hides nothing of the others
            complaints.unread(str(error))
    bad = any(comparison.total for comparison in comparisons)
    unread = complaints.status != GOOD or any(comparison.unread for comparison in comparisons)
    if not comparisons:
        return complaints.status
    if options.json:
        _print([table.json_line({"good": not (bad or unread), "comparisons": comparisons})])
    else:
        _print(text.lines(comparisons))
    return status(bad=bad, unread=unread)


def _compare_journal(options: argparse.Namespace, state: State, path: Path | None) -> Comparison:
    sender = Sender(uid=sources.uid_of(options.uid), exe=options.exe)
    name = "journalctl" if path is None else str(path)
    with sources.journal(path, sender.uid) as file:
        chain = ChainCopy(state)  # after a running journalctl has ended
        return journal.compare(chain, exports.entries(file, name), sender, name)


def _compare_room(options: argparse.Namespace, state: State, path: Path) -> Comparison:
    messages = read_room(path)
    return room.compare(state, ChainCopy(state), messages, options.agent, str(path))


def _offline(options: argparse.Namespace) -> int:
    """Do what needs no chain: check a proof by itself, or make an auditor's key."""
    if options.new_key is not None:
        if options.name is None:
            raise AuditError("--new-key needs --name, such as example.org/audit")
        made = cosigning.make_key(options.new_key, options.name)
        print(made.cosigner.vkey)
        return GOOD
    cosigners = option_values.cosigners(options)
    verdict = shown.check(options.check, option_values.key(options), cosigners)
    _print([table.json_line(verdict)] if options.json else shown.lines(verdict))
    return GOOD if verdict.good else BAD


def _log(options: argparse.Namespace, state: State) -> int:
    wanted = option_values.wanted(options)
    wait = (lambda: time.sleep(FOLLOW_SECONDS)) if options.follow else None
    complaints = Complaints(lambda _text: None)  # each stands in its row
    unsearched = 0
    state.segments()  # where there is no chain nothing is printed
    if not options.json:
        _print([table.HEADER])
    for entry in entries(state, hold=0 if options.follow else HOLD, wait=wait):
        complaints.look_at(entry)
        unsearched += wanted.leaves_open(entry)
        if wanted.matches(entry):
            line = table.json_line(entry) if options.json else table.row(entry)
            print(line, flush=options.follow)
    if unsearched:
        _complain(filters.passed_over(unsearched))
    if complaints.status != GOOD:
        good_or_read = "is good" if complaints.status == BAD else "can be read"
        _complain(f"not all of it {good_or_read}: tibet-nc-audit verify says where and how")
    return complaints.status


def _show(options: argparse.Namespace, state: State) -> int:
    found = dossier.dossier(state, options.number, option_values.key(options))
    _print([table.json_line(found)] if options.json else show.lines(found))
    return status(bad=found.has(Result.BAD), unread=found.has(Result.UNREADABLE))


def _replay(options: argparse.Namespace, state: State) -> int:
    command = locate(state, options.number)
    if not isinstance(command.begin.record, Intent | Remainder):
        raise AuditError(f"record {options.number}: not a command, nor what one left running")
    ending = GOOD
    checked: Printed | None = None
    name = recording_name(command.begin.number)
    if command.recorded is None:
        why = command.unread or "the command has no outcome"
        _complain(f"{why}: nothing to check the recording against")
        ending = UNUSABLE if command.unread else GOOD
    elif not command.recorded.recording:
        raise AuditError(f"record {options.number}: nothing was recorded")
    else:
        try:
            printed = Printed.of(command.recorded)
            name = printed.name
            check_recording(state, printed)
            checked = printed
        except MissingError as wrong:
            raise AuditError(f"{wrong.file}: {_absent(state, options.number)}") from None
        except DisagreementError as wrong:
            _complain(f"NOT what was recorded: {wrong.file}: {wrong.reason}")
            ending = BAD
    try:
        frames = replay.frames(state, name, checked)
        replay.play_out(frames, raw=options.raw, speed=None if options.no_wait else options.speed)
    except DisagreementError as wrong:
        _complain(f"NOT what was recorded, it changed meanwhile: {wrong.file}: {wrong.reason}")
        ending = BAD
    except AuditError as wrong:
        if ending is GOOD:
            raise
        _complain(str(wrong))  # it is bad, whether it can be played or not
    return ending


def _export(options: argparse.Namespace, state: State) -> int:
    wanted = option_values.wanted(options)
    state.segments()  # where there is no chain nothing is written
    complaints = Complaints(_complain)
    match options.format:
        case Format.JSONL:
            lines = export.json_lines(state, wanted, complaints)
        case Format.CSV:
            lines = export.csv_lines(state, wanted, complaints)
        case Format.HTML:
            key = option_values.key(options)
            if key is not None and (later := since(state, key).record):
                raise AuditError(
                    f"the key given is this chain's since record {later}: a page is checked with"
                    " the first"
                )
            lines = html_lines(state, wanted, key, datetime.now(UTC), complaints)
        case Format.TIBET | Format.CAST if wanted != Filter():
            raise AuditError(f"--format {options.format} takes no filters")
        case Format.TIBET:
            lines = export.tibet_lines(state, complaints)
        case _ if options.number is None:
            raise AuditError("--format cast needs the number of a command")
        case _:
            lines = export.cast_lines(state, options.number)
    if options.number is not None and options.format is not Format.CAST:
        raise AuditError(f"--format {options.format} takes no number")
    if options.key is not None and options.format is not Format.HTML:
        raise AuditError(f"--format {options.format} takes no key")
    if options.output is None and sys.stdout.isatty() and options.format not in _READABLE:
        raise AuditError(f"--format {options.format} is not for a terminal: use --output")
    try:
        write_out(lines, options.output, state.path)
    except DisagreementError as wrong:
        complaints.bad(f"not exported: {wrong.file}: {wrong.reason}")
    except UnreadableError as error:
        complaints.unread(f"not exported: {error}")
    return complaints.status


_READABLE: Final = frozenset({Format.JSONL, Format.CSV})
"""Formats in which nothing is left that a terminal would act on."""

_VERBS: Final[dict[str, Callable[[argparse.Namespace, State], int]]] = {
    "verify": _verify,
    "log": _log,
    "show": _show,
    "replay": _replay,
    "export": _export,
    "checkpoint": _checkpoint,
    "crosscheck": _crosscheck,
}


def _absent(state: State, number: int) -> str:
    """Say why there is no recording, in the words of show."""
    checks = dossier.dossier(state, number).checks
    return next(check.detail for check in checks if check.what == "recording")


# --- what they share ------------------------------------------------------------------------------


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _show_evidence(wrong: DisagreementError) -> None:
    for name, said in (("expected", wrong.expected), ("found", wrong.found)):
        if said:
            say(f"  {name} {visible(said, keep='\n')}".rstrip("\n"))


def _complain(text: str) -> None:
    say(f"tibet-nc-audit: {visible(text)}")


if __name__ == "__main__":
    sys.exit(main())
