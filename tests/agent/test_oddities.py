# SPDX-License-Identifier: MIT
"""Each odd output is shown exactly as the corpus says: as text, and as nothing else (I9)."""

import pytest

from tests.agent.answers import ANSWERER, EVENT, check_harmless, result
from tests.oddities import Oddity, oddities
from tibet_nc_agent.excerpt import whole
from tibet_nc_agent.render import OUTPUT_BUDGET
from tibet_nc_agent.screen import USUAL

ALL = list(oddities())


@pytest.mark.parametrize("oddity", ALL, ids=[oddity.name for oddity in ALL])
def test_an_odd_output_is_shown_as_text(oddity: Oddity) -> None:
    """Body and HTML are those of the corpus, to the character."""
    size = len(oddity.output)
    finished = result(output=oddity.output, output_bytes=size, recorded_bytes=size)
    text = whole(oddity.output, OUTPUT_BUDGET, USUAL)
    assert text is not None
    content = ANSWERER.finished(EVENT, finished, text)
    check_harmless(content)
    body, formatted = str(content["body"]), str(content["formatted_body"])
    before = f"{oddity.body}\n" if oddity.body else ""
    assert body.startswith(before)
    assert formatted.startswith(f"{oddity.formatted}<p>")
    rest = body[len(before) :].splitlines()
    assert rest[-1].startswith("exit 0 · ")
    drawn = "shown as a terminal would have left it; every byte: tibet-nc-audit replay 42"
    assert rest[:-1] in ([], [drawn])


def test_the_corpus_has_each_oddity_once() -> None:
    """No name stands twice, so that a failure points to one output."""
    assert len({oddity.name for oddity in ALL}) == len(ALL) > 50
