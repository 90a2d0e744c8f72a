# SPDX-License-Identifier: MIT
"""What a message that passed can ask for, and how the agent's own words and controls are written.

A word of the agent's own is the whole message; with anything behind it, it is a command of the
shell. What begins with ``!`` and goes on at once is a control and never given to the shell, where
it would mean nothing anybody means: the shell has no history here. The one exception is ``!(``,
which to bash is ``! (``. Capitals, which phones put where a message begins, make no difference.
"""

import re
from dataclasses import dataclass
from enum import Enum
from typing import Final

from tibet_nc_agent.content import clip
from tibet_nc_agent.visible import as_typed
from tibet_nc_protocol.limits import INPUT_CHARACTERS
from tibet_nc_protocol.terms import Signal

PREFIX: Final = "$ "
"""What marks a command; in the dedicated room it may be left out."""

_CONTROL: Final = re.compile(
    r"!(?P<verb>[^\s(]\S*|\Z)(?:\s+#?(?P<number>\d{1,15})(?!\S))?(?:\s(?P<rest>.*))?\Z",
    re.DOTALL,
)
_CONTROLS: Final = "!jobs, !tail N, !in N text, !eof N, !cancel N, !kill N and !stop (see help)"
_SHOWN_CHARACTERS: Final = 30


class Report(Enum):
    """What an operator can ask about."""

    STATUS = "status"
    CHAIN = "chain"
    HELP = "help"
    JOBS = "jobs"


_WORDS: Final = {
    "status": Report.STATUS,
    "chain": Report.CHAIN,
    "help": Report.HELP,
    "jobs": Report.JOBS,
}
_GOODBYES: Final = frozenset({"exit", "quit", "bye"})


@dataclass(frozen=True, kw_only=True)
class Execute:
    """Run this command."""

    command: str


@dataclass(frozen=True, kw_only=True)
class Tell:
    """Answer with a report."""

    report: Report


@dataclass(frozen=True, kw_only=True)
class Control:
    """Signal the running command of this number."""

    number: int
    signal: Signal


@dataclass(frozen=True, kw_only=True)
class Type:
    """Type a text into the running command of this number, or end its input.

    The text ends with its line; without one, Enter alone is typed.
    """

    number: int
    text: str
    end: bool


@dataclass(frozen=True, kw_only=True)
class Peek:
    """Show the newest output of the running command of this number."""

    number: int


@dataclass(frozen=True, kw_only=True)
class StopAll:
    """Kill everything that runs, whoever started it."""


@dataclass(frozen=True, kw_only=True)
class Explain:
    """Say what the airlock finds in a command and where it would run, without running it."""

    command: str


@dataclass(frozen=True, kw_only=True)
class Leave:
    """End the operator's session in this room."""


@dataclass(frozen=True, kw_only=True)
class Misused:
    """A control that isn't one; ``hint`` says how it is written."""

    hint: str


type Action = Execute | Tell | Control | Type | Peek | StopAll | Explain | Leave | Misused


def action_of(command: str) -> Action | None:
    """Return what a word or control of the agent's own asks for, None for a shell command."""
    word = command.lower()
    if word in _WORDS:
        return Tell(report=_WORDS[word])
    if word in _GOODBYES:
        return Leave()
    if command == "?":
        return Misused(hint="it is written ? command, as ? rm -rf x; help lists what there is")
    if command.startswith("? ") and command[2:].strip():
        return Explain(command=command[2:].strip().removeprefix(PREFIX).strip())
    control = _CONTROL.match(command)
    return None if control is None else _control(control)


def _control(match: re.Match[str]) -> Action:
    """Return what a ``!word`` asks for; it is never given to the shell."""
    verb, number, rest = match["verb"].lower(), match["number"], match["rest"]
    if verb in {"jobs", "stop"}:
        if number is not None or rest is not None:
            return Misused(hint=f"it is written !{verb}, with nothing behind it")
        return Tell(report=Report.JOBS) if verb == "jobs" else StopAll()
    if verb not in {"cancel", "kill", "tail", "eof", "in"}:
        named = clip(as_typed(match["verb"]), _SHOWN_CHARACTERS)
        return Misused(hint=f"there is no control !{named}: the controls are {_CONTROLS}")
    if number is None or (rest is not None and verb != "in"):
        text = " text" if verb == "in" else ""
        return Misused(
            hint=f"it is written !{verb} N{text}, as !{verb} 42{text}; !jobs shows the numbers"
        )
    typed = rest or ""
    match verb:
        case "tail":
            return Peek(number=int(number))
        case "eof":
            return Type(number=int(number), text="", end=True)
        case "in" if len(typed) >= INPUT_CHARACTERS:
            return Misused(hint=f"at most {INPUT_CHARACTERS - 1} characters can be typed at once")
        case "in":
            return Type(number=int(number), text=typed + "\n", end=False)
        case _:
            signal = Signal.INTERRUPT if verb == "cancel" else Signal.KILL
            return Control(number=int(number), signal=signal)
