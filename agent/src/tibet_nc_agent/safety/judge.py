# SPDX-License-Identifier: MIT
"""From the text of a command to a verdict.

`judge` is total: whatever the text, it answers with a verdict, and every failure on the way (a
syntax error, too much work, an error of our own) is never `allow`.
"""

import re
import unicodedata

from tibet_nc_agent.safety import limits
from tibet_nc_agent.safety.budget import Budget, TooComplexError
from tibet_nc_agent.safety.grammar import GrammarError, parse
from tibet_nc_agent.safety.grammar.nodes import Sequence
from tibet_nc_agent.safety.policy import policy_for
from tibet_nc_agent.safety.rules import Rules, load_rules
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import TERMINAL
from tibet_nc_agent.safety.verdict import Decision, Family, Verdict
from tibet_nc_agent.safety.walk import Walker

_UNUSUAL = re.compile(r"[^\t\n -~]")
_INVISIBLE = frozenset(
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200c\u200d\u200e\u200f"
    "\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2062\u2063\u2064\u2066\u2067\u2068\u2069"
    "\u206a\u206b\u206c\u206d\u206e\u206f\u3164\ufeff\uffa0"
)
_REFUSED_CATEGORIES = frozenset(["Cc", "Cs", "Co", "Cn"])
_UNSPECIFIC = frozenset([Family.ENCODED, Family.OPAQUE, Family.TEXT])
_SEPARATORS = re.compile(r"[;&|\n]+")
_MOST_PIECES = 20
# Commands that run beside each other: `a & b`, `a | b`, coprocesses, `<(…)`.
_BESIDE = re.compile(r"(?<![&|>])[&|](?![&|>])|\|&|\bcoproc\b|[<>]\(")


def judge(
    command: str, *, rules: Rules | None = None, cwd: str | None = None, home: str = "/root"
) -> Verdict:
    """Decide whether a command may run; never raises, whatever the text.

    `cwd` is the directory that relative names are in, None if it isn't known; `home` is what `~`
    stands for. At most 64 KiB of UTF-8 are judged, with a bounded number of steps.
    """
    policy = policy_for(rules if rules is not None else load_rules())
    walker = Walker(policy, Budget())
    state = State(home=home, cwd=cwd)
    if not _is_readable(command, walker, state):
        return _verdict(walker)
    try:
        parsed = parse(command, budget=walker.budget)
        for doubt in parsed.doubts:
            span = (doubt.start, doubt.end)
            walker.report(Decision.NEEDS_APPROVAL, Family.TEXT, doubt.reason, span, state)
        walker.sequence(parsed.body, state, TERMINAL)
        if state.files or state.downloaded or state.decoded:
            _judge_later_files(command, parsed.body, walker, state, cwd)
    except GrammarError as error:
        span = (min(error.position, len(command)), len(command))
        walker.report(Decision.DENY, Family.TEXT, str(error), span, state)
        _judge_pieces(command, walker)
    except (TooComplexError, RecursionError):
        advice = "write it as several shorter commands"
        walker.doubt("too complex to decide", (0, len(command)), advice=advice)
    except Exception as error:
        walker.doubt(f"cannot be decided: {type(error).__name__}", (0, len(command)))
    return _verdict(walker)


def _judge_later_files(
    command: str, body: Sequence, walker: Walker, before: State, cwd: str | None
) -> None:
    """Judge once more, with what is written anywhere in every file from the start.

    A job in the background, the end of a pipe or a reader of a named pipe runs what another command
    only writes later.
    """
    state = State(home=before.home, cwd=cwd)
    state.files, state.downloaded, state.decoded = before.files, before.downloaded, before.decoded
    state.conditional = 1 if _BESIDE.search(command) else 0  # nobody knows who writes last
    count = len(walker.commands)
    walker.sequence(body, state, TERMINAL)
    del walker.commands[count:]


def _verdict(walker: Walker) -> Verdict:
    findings = sorted(
        walker.findings,
        key=lambda finding: (
            -finding.decision.rank,
            finding.family in _UNSPECIFIC,
            finding.span[0],
        ),
    )
    decision = findings[0].decision if findings else Decision.ALLOW
    return Verdict(decision=decision, findings=tuple(findings), commands=tuple(walker.commands))


def _is_readable(command: str, walker: Walker, state: State) -> bool:
    """Report what makes the text itself unsafe; False if it cannot even be parsed."""
    if len(command) > limits.MAX_BYTES or (
        not command.isascii() and len(command.encode("utf-8", "surrogatepass")) > limits.MAX_BYTES
    ):
        reason = f"longer than {limits.MAX_BYTES} bytes"
        walker.report(Decision.DENY, Family.TEXT, reason, (0, len(command)), state)
        return False
    reported: set[str] = set()
    for found in _UNUSUAL.finditer(command):
        character = found.group()
        if character in reported:
            continue
        name = f"U+{ord(character):04X}"
        if unicodedata.category(character) in _REFUSED_CATEGORIES:
            reason = f"the control or private character {name}"
            walker.report(Decision.DENY, Family.TEXT, reason, found.span(), state)
            return False
        if character in _INVISIBLE or character.isspace() or _is_tag(character):
            reason = f"the invisible or look-alike character {name}"
            walker.report(Decision.NEEDS_APPROVAL, Family.TEXT, reason, found.span(), state)
        reported.add(character)
    return True


def _is_tag(character: str) -> bool:
    return "\U000e0000" <= character <= "\U000e0fff" or "\ufe00" <= character <= "\ufe0f"


def _judge_pieces(command: str, walker: Walker) -> None:
    """Name what is dangerous in text that does not parse, since that is what was meant."""
    for piece in _SEPARATORS.split(command)[:_MOST_PIECES]:
        state = State(home="/root", cwd=None)
        try:
            span = (0, len(command))
            parsed = parse(piece.strip(), budget=walker.budget, span=span)
            walker.sequence(parsed.body, state, TERMINAL)
        except GrammarError:
            continue
        except (TooComplexError, RecursionError):
            return
