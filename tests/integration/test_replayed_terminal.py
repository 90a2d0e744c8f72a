# SPDX-License-Identifier: MIT
"""A terminal after a replay: the agent's emulator, which the auditor's own environment lacks."""

from pathlib import Path

import pyte
import pytest

from tests.audit.chains import Chain
from tests.audit.program import terminal


@pytest.mark.parametrize("left_open", ["\x1b]0;title", "\x1b[5;", "\x1b(", ""])
def test_the_terminal_afterwards(tmp_path: Path, left_open: str) -> None:
    """Whatever modes a recording leaves, even a terminal without a soft reset has its own back."""
    modes = "\x1b[4h\x1b[?5h\x1b[?7l\x1b[?25l\x1b[5;10r\x1b[1;31;44m\x1b[7;3H\x1b(0\x0e"
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("top"), f"{modes}{left_open}".encode())
    screen, fresh = pyte.Screen(80, 24), pyte.Screen(80, 24)
    stream = pyte.Stream(screen)
    stream.feed(terminal("--state", tmp_path, "replay", "1", "--no-wait")[1])
    assert screen.mode == fresh.mode
    assert (screen.margins, screen.charset, screen.g0_charset) == (
        fresh.margins,
        fresh.charset,
        fresh.g0_charset,
    )
    assert screen.cursor.attrs == fresh.cursor.attrs
    assert (screen.cursor.hidden, screen.cursor.y) == (False, 6)
