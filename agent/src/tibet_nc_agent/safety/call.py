# SPDX-License-Identifier: MIT
"""One command that would run, as the handlers of commands see it."""

import re
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from tibet_nc_agent.safety.paths import Place
from tibet_nc_agent.safety.rules.model import Rules
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import Field, Stream
from tibet_nc_agent.safety.verdict import Decision, Family

Span = tuple[int, int]

CLUSTER = re.compile(r"-[A-Za-z0-9]{1,7}$")
"""Several short options in one word."""

_OPTION = re.compile(r"-{1,2}[A-Za-z][\w-]*")


class Walk(Protocol):
    """What a handler may ask of the walk."""

    @property
    def rules(self) -> Rules:
        """The rules of this host."""
        raise NotImplementedError

    def run(self, fields: list[Field], state: State, stdin: Stream | None) -> Stream:
        """Judge a command made of these fields and return its output."""
        raise NotImplementedError

    def program(
        self, text: str, state: State, span: Span, stdin: Stream | None = None, *, lax: bool = False
    ) -> Stream:
        """Judge text as a shell program; `lax` if it may as well be no program at all."""
        raise NotImplementedError

    def feed(self, stdin: Stream | None, state: State, span: Span, language: str = "sh") -> Stream:
        """Judge a stream that becomes the program of an interpreter."""
        raise NotImplementedError

    def code(
        self, language: str, text: str, state: State, span: Span, stdin: Stream | None
    ) -> None:
        """Judge an inline program in another language."""

    def place(self, text: str, state: State) -> Place:
        """Return what a path names."""
        raise NotImplementedError

    def report(
        self,
        decision: Decision,
        family: Family,
        reason: str,
        span: Span,
        state: State,
        *,
        advice: str = "",
    ) -> None:
        """Add a finding; what changes only a container needs no more than an approval."""


class Call(Struct):
    """A command with its expanded arguments."""

    walk: Walk
    name: str
    fields: list[Field]
    words: list[str]  # the arguments as plain text
    state: State
    stdin: Stream | None

    @property
    def arguments(self) -> list[Field]:
        """The fields behind the command name."""
        return self.fields[1:]

    @property
    def span(self) -> Span:
        """From the command name to the last argument."""
        return self.fields[0].start, self.fields[-1].end

    def has(self, *options: str) -> bool:
        """Whether one of these is literally an argument."""
        return any(option in self.words for option in options)

    @property
    def short_options(self) -> list[tuple[str, Field | None]]:
        """The options of one letter up to the first operand, each with its value."""
        found: list[tuple[str, Field | None]] = []
        given = iter(self.arguments)
        for field in given:
            word = field.plain
            if word == "--" or len(word) < 2 or word[0] != "-":
                break
            for position, letter in enumerate(word[1:], start=2):
                value = None
                if takes := f"-{letter}" in self.values:
                    rest = field.text[position:]
                    value = field.with_text(rest) if rest else next(given, None)
                found.append((f"-{letter}", value))
                if takes:
                    break
        return found

    def gives(self, option: str) -> bool:
        """Whether this is among the short options."""
        return any(given == option for given, _ in self.short_options)

    def value_of(self, option: str) -> Field | None:
        """Return the value of a short option."""
        return next((value for given, value in self.short_options if given == option), None)

    def given_to(self, *options: str) -> list[Field]:
        """Return the values of options: behind them, behind a cluster, `=` or nothing at all."""
        values: list[Field] = []
        for index, word in enumerate(self.words if options else ()):
            for option in options:
                short = len(option) == 2
                ends_cluster = short and word.endswith(option[1]) and CLUSTER.match(word)
                if word == option or ends_cluster:
                    values.extend(self.arguments[index + 1 : index + 2])
                elif word.startswith(option if short else f"{option}="):
                    field = self.arguments[index]
                    text = field.text[len(option) :].removeprefix("=")
                    values.append(replace(field, text=text))
        return values

    def tell_shell(self, text: str, stdin: Stream | None = None) -> None:
        """Judge text that the program may hand to a shell of its own."""
        self.walk.program(text, self.state.started(), self.span, stdin, lax=True)

    def deny(self, family: Family, reason: str) -> None:
        """Report that the whole command is refused."""
        self.walk.report(Decision.DENY, family, reason, self.span, self.state)

    def ask(self, family: Family, reason: str) -> None:
        """Report that the whole command needs an approval."""
        self.walk.report(Decision.NEEDS_APPROVAL, family, reason, self.span, self.state)

    @property
    def values(self) -> frozenset[str]:
        """The options whose value is the next argument."""
        return self.walk.rules.arities.get(self.name, frozenset())

    @property
    def operands(self) -> list[Field]:
        """The arguments that are neither options nor their values."""
        operands: list[Field] = []
        values = self.values
        # `ip -json` is one option, where others have several letters in one word.
        clusters = not any(len(option) > 2 and option[1] != "-" for option in values)
        skip = False
        for index, (field, word) in enumerate(zip(self.arguments, self.words, strict=True)):
            if skip:
                skip = False
            elif word == "--":
                operands.extend(self.arguments[index + 1 :])
                break
            elif word.startswith("-") and len(word) > 1:
                skip = word in values or (clusters and _ends_with_one(word, values))
            else:
                operands.append(field)
        return operands

    @property
    def sure_operands(self) -> list[Field]:
        """The operands of which none can be the value of an option that the tables don't know."""
        before = dict(zip(map(id, self.arguments), ["", *self.words], strict=False))
        return [field for field in self.operands if not _OPTION.fullmatch(before[id(field)])]


def _ends_with_one(cluster: str, values: frozenset[str]) -> bool:
    """Whether only the last letter of a cluster takes a value, which so is the next argument."""
    *before, last = (f"-{letter}" for letter in cluster[1:])
    return CLUSTER.match(cluster) is not None and last in values and not values & set(before)
