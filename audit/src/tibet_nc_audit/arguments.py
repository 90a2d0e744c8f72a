# SPDX-License-Identifier: MIT
"""The command line: verbs, options, and their help."""

import argparse
import math
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Final, NoReturn, override

from tibet_nc_audit import VERSION
from tibet_nc_audit.complaints import UNUSABLE
from tibet_nc_audit.crosscheck.sources import EXECUTOR
from tibet_nc_audit.entries import Kind, Verdict
from tibet_nc_audit.export import Format
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.limits import EXACT_INTEGER

_MOST_JOBS: Final = 256

STATE: Final = Path("/var/lib/tibet-nc")


class _Parser(argparse.ArgumentParser):
    """One line about what is wrong, and where help is."""

    @override
    def error(self, message: str) -> NoReturn:
        self.exit(UNUSABLE, f"{self.prog}: {visible(message)} (--help says more)\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser; ``verb`` is the name of what to do."""
    program = _Parser(
        prog="tibet-nc-audit",
        description="Check and read what a tibet-nc executor recorded, from its files alone.",
        epilog="Exit status: 0 good; 1 what was looked at is bad; 2 wrong usage, or unreadable.",
    )
    program.add_argument("--version", action="version", version=VERSION)
    program.add_argument("--state", type=Path, default=STATE, metavar="DIR", help=_STATE_HELP)
    verbs = program.add_subparsers(dest="verb", required=True, metavar="VERB", parser_class=_Parser)
    _verify_arguments(verbs)
    _log_arguments(verbs)
    _show_arguments(verbs)
    _replay_arguments(verbs)
    _export_arguments(verbs)
    _checkpoint_arguments(verbs)
    _crosscheck_arguments(verbs)
    return program


# argparse has no public name for it.
type _Verbs = "argparse._SubParsersAction[_Parser]"  # pyright: ignore[reportPrivateUsage]

_STATE_HELP: Final = f"the executor's state directory, or a copy of it (default {STATE})"
_KEY_HELP: Final = "the executor's public key: 64 hexadecimal digits, or a file that holds them"


def _verb(verbs: _Verbs, name: str, help_text: str, more: str) -> argparse.ArgumentParser:
    parser = verbs.add_parser(
        name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}. {more}"
    )
    parser.add_argument(
        "--state", type=Path, default=argparse.SUPPRESS, metavar="DIR", help=_STATE_HELP
    )
    return parser


def _verify_arguments(verbs: _Verbs) -> None:
    parser = _verb(
        verbs,
        "verify",
        "say whether the chain is whole and true, and name the first record that isn't",
        "Checks every record's number and link, the roots and signatures of all checkpoints, which"
        " vouch for the records before them, that each command ends once, and that command texts,"
        " recordings and tokens are those that the records commit to. Goes on after what is wrong"
        " and lists all of it. A chain that was cut short agrees with itself: only a head that"
        " someone else holds (--against) shows it.",
    )
    parser.add_argument("--key", metavar="HEX|FILE", help=_KEY_HELP)
    parser.add_argument(
        "--against",
        action="append",
        default=[],
        metavar="SEQ:HEAD|FILE",
        help="a head that is held: a record's number and its digest, or at least the first 8 digits"
        " of it, from the journal; '#SEQ:HEAD' as an answer in the room shows them; a file made by"
        " --save-head, or one that holds a checkpoint's note; may be repeated",
    )
    depth = parser.add_mutually_exclusive_group()
    depth.add_argument(
        "--deep", action="store_true", help="verify the signature of every record too, on all cores"
    )
    depth.add_argument(
        "--chain-only",
        action="store_true",
        help="fast: numbers, links, roots and checkpoints; not what records say and speak of",
    )
    parser.add_argument(
        "--save-head",
        type=Path,
        metavar="FILE",
        help="write the head to a file, if all is good, for the next --against or --resume-from",
    )
    parser.add_argument(
        "--resume-from",
        type=Path,
        metavar="FILE",
        help="read only what came after that head: what is before isn't read again, so a change"
        " there isn't seen",
    )
    parser.add_argument(
        "--jobs", type=_jobs, metavar="N", help="with --deep: so many processes (default: cores)"
    )
    parser.add_argument("--json", action="store_true", help="the whole report as one JSON object")


def _checkpoint_arguments(verbs: _Verbs) -> None:
    parser = _verb(
        verbs,
        "checkpoint",
        "print the latest checkpoint, or make and check proofs with it",
        "A checkpoint is a C2SP signed note. Without an option, prints the latest one.",
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--prove",
        type=_number,
        metavar="SEQ",
        help="make a proof of one record, or of a command and its end, for somebody who doesn't get"
        " the others",
    )
    what.add_argument(
        "--grown-from",
        metavar="SEQ|FILE",
        help="make a proof that the chain only grew since a checkpoint: its record, or its note",
    )
    what.add_argument(
        "--check", type=Path, metavar="FILE", help="check a proof by itself; needs no chain"
    )
    what.add_argument(
        "--cosign",
        type=Path,
        metavar="KEYFILE",
        help="verify the chain (--chain-only), and print the latest checkpoint with a cosignature"
        " by this key; never of fewer records than before, nor of other ones",
    )
    what.add_argument(
        "--new-key",
        type=Path,
        metavar="KEYFILE",
        help="make a key to cosign with, and print its verifier key",
    )
    parser.add_argument("--key", metavar="HEX|FILE", help=_KEY_HELP)
    parser.add_argument("--name", help="with --new-key: the key's name, such as example.org/audit")
    parser.add_argument(
        "--note", type=Path, metavar="FILE", help="use this checkpoint, maybe cosigned, in a proof"
    )
    parser.add_argument(
        "--without-text", action="store_true", help="with --prove: leave the command's text out"
    )
    parser.add_argument(
        "--cosigner",
        action="append",
        default=[],
        metavar="VKEY",
        help="with --check: whose cosignature must be there; may be repeated",
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="appears when it is complete; without it, to standard output",
    )
    parser.add_argument("--json", action="store_true", help="with --check: as one JSON object")


def _crosscheck_arguments(verbs: _Verbs) -> None:
    parser = _verb(
        verbs,
        "crosscheck",
        "compare the chain with what the journal and the room have of it",
        "Names what is missing there, what is there and not in the chain, and what differs. Whether"
        " the chain is true in itself is what verify says.",
    )
    parser.add_argument(
        "--journal",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a file that journalctl -o export or -o json wrote, '-' for standard input; may be"
        " repeated: each is compared for itself",
    )
    parser.add_argument("--live", action="store_true", help="this host's journal, by journalctl")
    parser.add_argument(
        "--uid",
        metavar="UID|USER",
        help=f"the executor's, whose entries alone count (default: that of {EXECUTOR} here)",
    )
    parser.add_argument(
        "--exe", metavar="PATH", help="the executor's program, if entries by others shall not count"
    )
    parser.add_argument(
        "--room",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a room that Element exported as JSON; may be repeated",
    )
    parser.add_argument(
        "--agent", metavar="USER", help="the agent's Matrix user (default: who gives results there)"
    )
    parser.add_argument("--json", action="store_true", help="all of it as one JSON object")


def _log_arguments(verbs: _Verbs) -> None:
    parser = _verb(
        verbs,
        "log",
        "list what was asked for and what became of it",
        "Shows what the files say; whether they are to be believed is what verify says. What isn't"
        " a visible character is shown as a backslash escape; --json gives the exact text.",
    )
    _filter_arguments(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object a line")
    parser.add_argument(
        "--follow",
        action="store_true",
        help="go on with what is added; a command is listed when it ends",
    )


def _show_arguments(verbs: _Verbs) -> None:
    parser = _verb(
        verbs,
        "show",
        "show everything about one command or record, and check it",
        "A command can be named by the number of its intent, as in the room, or of its outcome.",
    )
    parser.add_argument("number", type=_number, metavar="SEQ", help="the record's number")
    parser.add_argument("--key", metavar="HEX|FILE", help=_KEY_HELP)
    parser.add_argument("--json", action="store_true", help="as one JSON object")


def _replay_arguments(verbs: _Verbs) -> None:
    parser = _verb(
        verbs,
        "replay",
        "play the recording of a command",
        "A terminal gets the bytes that were printed; anything else gets them made visible.",
    )
    parser.add_argument("number", type=_number, metavar="SEQ", help="the command's number")
    pace = parser.add_mutually_exclusive_group()
    pace.add_argument(
        "--speed", type=_speed, default=1.0, metavar="N", help="play N times as fast (default 1)"
    )
    pace.add_argument("--no-wait", action="store_true", help="print everything at once")
    parser.add_argument(
        "--raw", action="store_true", help="the very bytes, wherever the output goes"
    )


def _export_arguments(verbs: _Verbs) -> None:
    parser = _verb(
        verbs,
        "export",
        "write the chain in a format that other programs load",
        "jsonl: one object for each command, refusal and event. csv: the same for spreadsheets,"
        " with an apostrophe before text that one could take for a formula. tibet: the TIBET tokens"
        " that the chain anchors, for tibet-core's FileStore. cast: one recording, for asciinema."
        " html: one page that shows what ran, and checks the chain in the browser by itself.",
    )
    parser.add_argument(
        "number", type=_number, nargs="?", metavar="SEQ", help="with cast: the command's number"
    )
    parser.add_argument("--format", type=_one_of(Format), choices=list(Format), required=True)
    parser.add_argument(
        "--key", metavar="HEX|FILE", help=f"with html: {_KEY_HELP}; the page checks with it"
    )
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        help="appears when it is complete; without it, to standard output",
    )
    _filter_arguments(parser)


def _filter_arguments(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("filters", "an entry must fit all that are given")
    group.add_argument("--operator", metavar="USER", help="of this Matrix user")
    group.add_argument(
        "--command", metavar="GLOB", help="whose whole text fits: 'rm *', '*docker*'"
    )
    group.add_argument("--text", help="whose text contains this, to the letter")
    group.add_argument(
        "--exit", metavar="N", help="that ended with this status, 'signal 9', or 'nonzero'"
    )
    group.add_argument(
        "--since",
        metavar="TIME",
        help="from a time on: 2026-11-25, 2026-11-25T10:00+01:00 (UTC unless said), 2h (ago)",
    )
    group.add_argument("--until", metavar="TIME", help="before a time")
    group.add_argument(
        "--kind",
        type=_one_of(Kind),
        choices=list(Kind),
        metavar="KIND",
        help=f"of this kind: {', '.join(Kind)}",
    )
    group.add_argument("--session", metavar="ID", help="in this session")
    group.add_argument("--device", metavar="ID", help="sent by this device of a Matrix user")
    group.add_argument(
        "--records",
        metavar="FIRST-LAST",
        help="with these numbers, such as those of two checkpoints: 18-42, or 18-",
    )
    group.add_argument("--verdict", type=_one_of(Verdict), choices=list(Verdict))


def _one_of[Name: StrEnum](names: type[Name]) -> Callable[[str], Name]:
    """Return what reads one of these names; argparse itself doesn't say which there are."""

    def read(text: str) -> Name:
        if text not in names:
            raise argparse.ArgumentTypeError(f"{text}: one of {', '.join(names)} is wanted")
        return names(text)

    return read


def _number(text: str) -> int:
    digits = text.removeprefix("#")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 16):
        raise argparse.ArgumentTypeError(f"{text}: a record's number is wanted")
    return min(int(digits), EXACT_INTEGER)


def _jobs(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 3 and 0 < int(text) <= _MOST_JOBS):
        raise argparse.ArgumentTypeError(f"{text}: from 1 to {_MOST_JOBS} processes")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = math.nan
    if not 0 < speed < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: a speed is a number over 0")
    return speed
