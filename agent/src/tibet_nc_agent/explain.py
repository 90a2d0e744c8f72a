# SPDX-License-Identifier: MIT
"""`tibet-nc-agent explain`: what the safety stage would say, without running anything."""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

from tibet_nc_agent.safety import Decision, Rules, Verdict, judge, load_rules

_ESCAPE = re.compile(r"\\([nt\\])")
_ESCAPED = {"n": "\n", "t": "\t", "\\": "\\"}
_ONE_WORD = re.compile(r"[^\s'\"\\]+")
# More than any command that is judged needs, even if every byte of it is escaped.
_LONGEST_LINE = 256 * 1024
_TAB_WIDTH = 8

_MEANING = {
    Decision.ALLOW: "allow: may run",
    Decision.NEEDS_APPROVAL: "needs-approval: refused in the room until approvals exist",
    Decision.DENY: "deny: never runs from the room",
}


class ExplainError(Exception):
    """The arguments don't say what to judge, or name what can't be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command to a parser."""
    parser.add_argument("command", nargs="?", help="the command to judge, as one argument")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument(
        "--lines",
        metavar="FILE",
        help="judge one command a line (a newline in it written \\n, a tab \\t, a backslash \\\\); "
        "print one JSON object a line; - is the standard input",
    )
    parser.add_argument(
        "--rules",
        metavar="FILE",
        help="rules of a host, added to the shipped (default: what airlock.rules_file names)",
    )


def explain(arguments: argparse.Namespace, *, out: TextIO) -> None:
    """Judge what the arguments name and write the verdicts; raises ExplainError or RulesError."""
    command: str | None = arguments.command
    lines: str | None = arguments.lines
    if (command is None) == (lines is None):
        raise ExplainError("give either a command or --lines FILE")
    rules = load_rules(arguments.rules)
    if lines is not None:
        _judge_file(lines, rules, out)
    elif command is not None:
        verdict = judge(command, rules=rules)
        if arguments.json:
            out.write(json.dumps({**as_object(command, verdict), **_details(verdict)}) + "\n")
        else:
            out.write(as_text(command, verdict))


def as_object(command: str, verdict: Verdict) -> dict[str, object]:
    """Return the object of one line: command, verdict, and the finding that decided."""
    worst = verdict.worst
    return {
        "command": command,
        "verdict": verdict.decision.value,
        "family": worst.family.value if worst else None,
        "reason": worst.reason if worst else None,
        "span": list(worst.span) if worst else None,
    }


def as_text(command: str, verdict: Verdict) -> str:
    """Return the verdict for people, with the place of each finding marked."""
    lines = [_MEANING[verdict.decision]]
    for finding in verdict.findings:
        lines.append(f"{finding.decision.value} {finding.family.value}: {_visible(finding.reason)}")
        lines.extend(_marked(command, finding.span))
        lines.append(f"    instead: {finding.advice}")
    if verdict.commands:
        runs = verdict.decision is Decision.ALLOW
        lines.append("would run:" if runs else "the commands in it:")
        lines.extend(f"    {_visible(' '.join(map(_word, argv)))}" for argv in verdict.commands)
    return "\n".join(lines) + "\n"


def unescape(line: str) -> str:
    r"""Return the command that a line stands for; an escape other than `\n \t \\` is literal."""
    return _ESCAPE.sub(lambda found: _ESCAPED[found.group(1)], line)


def _word(word: str) -> str:
    """Return a word so that it is seen where it begins and ends."""
    return word if _ONE_WORD.fullmatch(word) else shlex.quote(word)


def _details(verdict: Verdict) -> dict[str, object]:
    return {
        "findings": [
            {
                "verdict": finding.decision.value,
                "family": finding.family.value,
                "reason": finding.reason,
                "span": list(finding.span),
                "advice": finding.advice,
            }
            for finding in verdict.findings
        ],
        "commands": [list(argv) for argv in verdict.commands],
    }


def _judge_file(name: str, rules: Rules, out: TextIO) -> None:
    try:
        if name == "-":
            _judge_lines(sys.stdin.buffer, rules, out)
        else:
            with Path(name).open("rb") as file:
                _judge_lines(file, rules, out)
    except OSError as error:
        raise ExplainError(f"{name}: {error.strerror}") from None


def _judge_lines(file: BinaryIO, rules: Rules, out: TextIO) -> None:
    for line in _lines(file):
        command = unescape(line.decode("utf-8", "surrogateescape"))
        verdict = judge(command, rules=rules)
        out.write(json.dumps(as_object(command, verdict)) + "\n")


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Yield lines without their newline; one that is too long for any verdict loses its end."""
    while line := file.readline(_LONGEST_LINE):
        rest = line
        while not rest.endswith(b"\n") and len(rest) == _LONGEST_LINE:
            rest = file.readline(_LONGEST_LINE)
        yield line.removesuffix(b"\n")


def _marked(command: str, span: tuple[int, int]) -> list[str]:
    """Return the line of the command where the span begins, and a line of carets below it."""
    start, end = span
    first = command.rfind("\n", 0, start) + 1
    last = command.find("\n", start)
    line = command[first:] if last < 0 else command[first:last]
    indent = len(_visible(command[first:start]))
    width = len(_visible(line[start - first : end - first]))
    return [f"    {_visible(line)}", f"    {' ' * indent}{'^' * max(width, 1)}"]


def _visible(text: str) -> str:
    """Return text that cannot control a terminal."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode("ascii")
        for character in text.expandtabs(_TAB_WIDTH)
    )
