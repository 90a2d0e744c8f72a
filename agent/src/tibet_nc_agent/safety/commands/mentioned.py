# SPDX-License-Identifier: MIT
"""Text in a program of another language that may be run or deleted, though no call says so.

A function that runs commands can be renamed, passed on or looked up by its name, and what it gets
can be put together. So in a program that names such a function at all, each text that is a
dangerous command needs an approval; and so do paths, where something that is computed is deleted.
"""

from collections.abc import Iterable

from tibet_nc_agent.safety.call import Call, Span, Walk
from tibet_nc_agent.safety.state import Context, State
from tibet_nc_agent.safety.values import Field
from tibet_nc_agent.safety.writes import judge_removal

_AROUND = "| \t\n-"  # `open(F, "reboot|")`


def judge_mentioned(walk: Walk, texts: Iterable[str], state: State, span: Span) -> None:
    """Judge texts as commands that may run."""
    for text in dict.fromkeys(text.strip(_AROUND) for text in texts):
        walk.program(text, as_mentioned(state), span, lax=True)


def judge_mentioned_paths(walk: Walk, texts: Iterable[str], state: State, span: Span) -> None:
    """Judge those texts that are paths as what may be deleted, with all that is in it."""
    for text in dict.fromkeys(texts):
        if text.startswith("/"):
            target = Field(text, *span, quoted=True)
            call = Call(walk, "rmtree", [target], [], as_mentioned(state), None)
            judge_removal(call, [target], "an inline program deletes", recursive=True)


def as_mentioned(state: State) -> State:
    """Return the state for what may run as well not: of the host's it needs an approval at most."""
    inner = state.copy()
    if inner.context is Context.HOST:
        inner.context = Context.MENTIONED
    return inner


def lines_of(texts: list[str]) -> list[str]:
    """Return texts that stand beside each other, and the command lines that they would make."""
    return texts if len(texts) < 2 else [*texts, " ".join(texts), "".join(texts)]
