# SPDX-License-Identifier: MIT
"""A program of another language that a command runs, and what the calls in it would do.

A function that runs commands can be renamed, passed on or looked up by its name, and what it gets
can be put together. So in a program that names such a function at all, each text that is a
dangerous command needs an approval; and so do paths, where something that is computed is deleted.
"""

from collections.abc import Iterable

from msgspec import Struct

from tibet_nc_agent.safety.call import Span, Walk
from tibet_nc_agent.safety.commands.modules import written
from tibet_nc_agent.safety.marks import UNKNOWN
from tibet_nc_agent.safety.paths import known_as
from tibet_nc_agent.safety.redirections import remember
from tibet_nc_agent.safety.state import State
from tibet_nc_agent.safety.values import Field, Stream
from tibet_nc_agent.safety.verdict import Decision, Family
from tibet_nc_agent.safety.writes import judge_change, judge_deletion, judge_write

_AROUND = "| \t\n-"  # `open(F, "reboot|")`


class Foreign(Struct):
    """An inline program of another language where it runs, with what it reads."""

    walk: Walk
    state: State
    span: Span
    stdin: Stream | None

    def deny(self, family: Family, reason: str) -> None:
        """Report that the program is refused."""
        self.walk.report(Decision.DENY, family, reason, self.span, self.state)

    def ask(self, family: Family, reason: str) -> None:
        """Report that the program needs an approval."""
        self.walk.report(Decision.NEEDS_APPROVAL, family, reason, self.span, self.state)

    def field(self, text: str | None) -> Field:
        """Return a word of a command that the program makes; None stands for what it computes."""
        return Field(UNKNOWN if text is None else text, *self.span, quoted=True)

    def tell_shell(self, text: str, *, lax: bool = True) -> None:
        """Judge text that the program hands to a shell; `lax` if it may be no program."""
        self.walk.program(text, self.state.started(), self.span, self.stdin, lax=lax)

    def run(self, fields: list[Field]) -> None:
        """Judge a command that the program runs without a shell."""
        self.walk.run(fields, self.state.copy(), self.stdin)

    def runs_input(self, language: str) -> None:
        """Judge that the program runs what it reads, as code of a language."""
        if self.stdin is not None and self.stdin.downloaded:
            self.deny(Family.PIPE_TO_SHELL, "an inline program runs its downloaded input")
        else:
            self.walk.feed(self.stdin, self.state, self.span, language)

    def code(self, language: str, text: str) -> None:
        """Judge code that the program runs itself."""
        self.walk.code(language, text, self.state, self.span, self.stdin)

    def load(self, language: str, names: Iterable[str]) -> None:
        """Judge the modules of these names, if the same line has written them."""
        known = self.state
        for file in written(names, language, self.walk.rules.languages, known):
            if file in known.active:
                continue
            if file in known.downloaded:
                self.deny(Family.PIPE_TO_SHELL, "an inline program loads a download")
            if file in known.decoded:
                self.deny(Family.ENCODED, "an inline program loads decoded data")
            inner = known.copy()
            inner.active = (*known.active, file)
            self.walk.code(language, known.files.get(file, ""), inner, self.span, self.stdin)

    def remove(self, path: str, verb: str = "deletes", *, recursive: bool = True) -> None:
        """Judge that the program deletes a path."""
        what = f"an inline program {verb}"
        judge_deletion(
            self.walk, self.field(path), self.state, self.span, what, recursive=recursive
        )

    def change(self, path: str, *, recursive: bool = False) -> None:
        """Judge that the program changes owner or mode of a path."""
        what = "an inline program changes"
        judge_change(self.walk, self.field(path), self.state, self.span, what, recursive=recursive)

    def write(self, path: str, *, append: bool = False) -> None:
        """Judge that the program writes to a path."""
        what = "an inline program writes to"
        judge_write(self.walk, self.field(path), self.state, self.span, what, append=append)
        remember(self.state, known_as(path, self.state), Stream(), append=append)

    def mention(self, texts: Iterable[str]) -> None:
        """Judge texts as commands that may run."""
        for text in dict.fromkeys(text.strip(_AROUND) for text in texts):
            self.walk.program(text, self.state.mentioned(), self.span, lax=True)

    def mention_paths(self, texts: Iterable[str]) -> None:
        """Judge those texts that are paths as what may be deleted, with all that is in it."""
        perhaps = Foreign(self.walk, self.state.mentioned(), self.span, self.stdin)
        for text in dict.fromkeys(texts):
            if text.startswith("/"):
                perhaps.remove(text)


def lines_of(texts: list[str]) -> list[str]:
    """Return texts that stand beside each other, and the command lines that they would make."""
    return texts if len(texts) < 2 else [*texts, " ".join(texts), "".join(texts)]
