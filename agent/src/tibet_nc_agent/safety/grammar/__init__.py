# SPDX-License-Identifier: MIT
"""The bash command language, read without running anything.

`parse` turns a text into the tree of `nodes`; what bash refuses (`bash -n`) it refuses too, with
`GrammarError`. It never recurses deeper than `limits.MAX_DEPTH` and never goes back over the text
except to find a matching bracket, which the budget pays for.
"""

from msgspec import Struct

from tibet_nc_agent.safety.budget import Budget
from tibet_nc_agent.safety.grammar.errors import Fault, GrammarError
from tibet_nc_agent.safety.grammar.nodes import Sequence
from tibet_nc_agent.safety.grammar.parser import Parser
from tibet_nc_agent.safety.grammar.scanner import Place

__all__ = ["Doubt", "Fault", "GrammarError", "Parsed", "parse"]


class Doubt(Struct, frozen=True):
    """Something that parses here, but that another setting of the shell reads differently."""

    reason: str
    start: int
    end: int


class Parsed(Struct, frozen=True):
    """A syntax tree and the doubts about it."""

    body: Sequence
    doubts: tuple[Doubt, ...]


def parse(
    text: str, *, budget: Budget, depth: int = 0, span: tuple[int, int] | None = None
) -> Parsed:
    """Parse a whole text; `span` is the place in the source if the text was computed.

    Raises `GrammarError` for what is not one whole command, `TooComplexError` beyond the budget.
    """
    parser = Parser(text, budget=budget, depth=depth, place=Place(fixed=span))
    body = parser.program()
    return Parsed(body, tuple(Doubt(*doubt) for doubt in parser.doubts))
