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
