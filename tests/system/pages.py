# SPDX-License-Identifier: MIT
"""The pages, of which the tests type what is to be typed."""

import re
import textwrap
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]


def blocks(page: str, title: str) -> list[str]:
    """Return the code blocks of a section of a page, in order."""
    text = (ROOT / page).read_text()
    section = text.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^ *```\n(.*?)^ *```$", section, flags=re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for block in found]


def dead_links(root: Path) -> list[str]:
    """Return the links within the pages below a directory that lead to no page, or no heading."""
    dead: list[str] = []
    pages = {
        page for among in ("*", "docs/**/*", "protocol/*") for page in root.glob(f"{among}.md")
    }
    for page in sorted(pages):
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for link in re.findall(r"\]\(([^)\s:]+)\)", text):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in _anchors(target)):
                dead.append(f"{page.relative_to(root)}: {link}")
    return dead


def _anchors(page: Path) -> set[str]:
    """Return what a page's headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
