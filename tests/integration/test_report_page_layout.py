# SPDX-License-Identifier: MIT
"""The HTML report on screens of any width, on paper, and for who uses no mouse."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.audit.chains import Chain, sample
from tests.harness.browser import Page
from tests.integration.report import export, verdict

COVERED: Final = """
[...document.querySelectorAll(".entry")].filter((entry) => {
  const over = entry.querySelector(".record summary").getBoundingClientRect();
  const texts = document.createTreeWalker(entry.querySelector(".body"), NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const range = document.createRange();
    range.selectNodeContents(texts.currentNode);
    if (!texts.currentNode.parentElement.closest("details") &&
        [...range.getClientRects()].some((box) => box.right > over.left && box.left < over.right
          && box.bottom > over.top + 2 && box.top < over.bottom - 2)) return true;
  }
  return false;
}).map((entry) => entry.className)
"""
"""The entries of which the word "record" at their right lies over a text."""


@pytest.fixture(autouse=True)
def _afterwards(page: Page) -> Iterator[None]:
    yield
    page.size(1200, 1200)
    page.medium("")


@pytest.mark.parametrize("width", [320, 1200])
def test_no_text_is_covered(page: Page, tmp_path: Path, width: int) -> None:
    """Nothing lies over the text of an entry of any kind, and nothing is wider than the screen."""
    chain = sample(tmp_path / "state")
    words = "word " * 60
    chain.security(words)
    number = chain.intent(words)
    chain.outcome(number, b"early\n", leftover=1)
    chain.remainder(number, b"late\n")
    chain.refusal(words, detail=words)
    page.size(width, 800)
    verdict(page, export(chain.root))
    assert page.evaluate(COVERED) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width


def test_paper_says_what_it_lacks(page: Page, tmp_path: Path) -> None:
    """On paper stands that output, entries, or what a filter leaves out, aren't all there."""
    chain = Chain(tmp_path / "state")
    chain.command("seq 1000", b"".join(b"%d\n" % number for number in range(1000)))
    for _ in range(300):
        chain.refusal("x")
    verdict(page, export(chain.root))
    page.evaluate("document.querySelector('#verdicts .chain').click()")
    page.medium("print")
    shown = page.evaluate("document.body.innerText")
    assert "301 of 302 entries" in shown
    assert "Show all 3.8 KiB" in shown
    assert "Show 101 of 101 more" in shown
    boxes = "[...document.querySelectorAll('#filters input, #filters select, #filters button')]"
    assert page.evaluate(f"{boxes}.filter((x) => x.getClientRects().length).length") == 0


FOCUSED: Final = "(() => { const x = document.activeElement; return x.id || x.ariaLabel })()"


def test_keys_go_on_from_where_they_were(page: Page, tmp_path: Path) -> None:
    """What a button or a link has brought has the focus, where the button itself is gone."""
    chain = Chain(tmp_path / "state")
    number = chain.command("seq 1000", b"".join(b"%d\n" % number for number in range(1000)))
    for _ in range(300):
        chain.refusal("x")
    verdict(page, export(chain.root))
    page.evaluate("document.querySelector('.more').click()")
    assert page.evaluate(FOCUSED) == f"Output of #{number}"
    page.evaluate("document.getElementById('more').click()")
    assert page.evaluate(FOCUSED) == "r201"
    page.evaluate(f"document.querySelector('#r{number} .facts button').click()")
    assert page.evaluate(FOCUSED) == "operator"
    page.evaluate("document.querySelector('#verdicts .refused').click()")
    page.evaluate("location.hash = '#r300'")
    page.wait(f"{FOCUSED} === 'r300'")


def test_the_verdict_is_told_once(page: Page, tmp_path: Path) -> None:
    """A screen reader is told the verdict, and not each step on the way or every number in it."""
    chain = sample(tmp_path / "state")
    verdict(page, export(chain.root))
    told = "[...document.querySelectorAll('#verdict, #verdict [aria-live]')]"
    assert page.evaluate(f"{told}.filter((x) => x.ariaLive).map((x) => x.innerText)") == [
        "Verified in this browser"
    ]
