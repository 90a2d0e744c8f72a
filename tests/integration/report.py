# SPDX-License-Identifier: MIT
"""The HTML report of a chain, made by the auditor's program and opened in a browser."""

from pathlib import Path

from tests.audit.program import KEY, within
from tests.harness.browser import Page


def export(root: Path, *arguments: str, key: str | None = KEY) -> Path:
    """Write the report of a chain beside it."""
    path = root.parent / "page.html"
    pinned = () if key is None else ("--key", key)
    done = within(
        "export", "--state", root, "--format", "html", "--output", path, *pinned, *arguments
    )
    assert done.status == (1 if done.err else 0), done.err  # it is written, whatever is bad in it
    return path


def verdict(page: Page, path: Path) -> str:
    """Open the report, wait for its word, and return what it says."""
    page.open(path)
    page.wait("document.readyState === 'complete' && document.title !== ''")
    page.wait("document.getElementById('verdict').className !== 'checking'")
    text = page.evaluate("document.getElementById('verdict').innerText")
    assert isinstance(text, str)
    return text


def findings(page: Page) -> list[str]:
    """Return what the report found wrong."""
    found: list[str] = page.evaluate(
        "[...document.querySelectorAll('#findings li')].map(x => x.innerText)"
    )
    return found
