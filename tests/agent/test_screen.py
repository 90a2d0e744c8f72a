# SPDX-License-Identifier: MIT
"""Output that moves a cursor: seen as on a terminal, whatever the bytes, and never an error."""

import unicodedata

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from tibet_nc_agent.screen import SPARE, USUAL, Size, moves, settled
from tibet_nc_agent.visible import visible

HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}

CONTROL = st.builds(
    "\x1b[{}{}{}".format,
    st.sampled_from(["", "?", ">", "="]),
    st.lists(st.integers(0, 99_999).map(str) | st.just("") | st.just("²"), max_size=4).map(
        ";".join
    ),
    st.characters(min_codepoint=0x40, max_codepoint=0x7E),
)
OTHER = st.sampled_from(
    [
        *("\x1b7", "\x1b8", "\x1bD", "\x1bE", "\x1bM", "\x1bc", "\x1b(0", "\x1b#8", "\x1b%G"),
        *("\x1bP$q\x1b\\", "\x1b_a\x1b\\", "\x1b]8;;http://x\x07", "\x1b]0;t", "\x1b", "\x9b2J"),
        *("\r", "\n", "\b", "\t", "\x0b", "\x0e", "\0", "\x1b[?1049h", "\x1b[?1049l"),
        *("日", "é", "\u0301", "\ufe0f", "\u200d", "\u1161", "\u202e", "\U000e0041", "🙂"),
    ]
)
HOSTILE = st.lists(st.one_of(CONTROL, OTHER, st.text(max_size=90)), max_size=60).map("".join)


@given(HOSTILE, st.builds(Size, rows=st.integers(1, 60), columns=st.integers(1, 200)))
@settings(deadline=None)
def test_any_output_gives_lines_of_text(text: str, size: Size) -> None:
    """Whatever is printed, there is a text, in which nothing acts, and no error (I9)."""
    seen = settled(text, size)
    assert not [c for c in seen if c not in "\n\t" and unicodedata.category(c) in HIDDEN]
    assert visible(seen) == seen


@given(
    st.lists(st.text("abc xyz", max_size=79).map(str.rstrip), max_size=60),
    st.builds(Size, rows=st.integers(1, 60), columns=st.integers(80, 200)),
)
@settings(deadline=None)
def test_plain_lines_stay(lines: list[str], size: Size) -> None:
    """Lines that do nothing with the cursor are all kept, also those that scroll off."""
    assert settled("\n".join(lines), size) == "\n".join(lines).rstrip("\n")


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("10%\r\x1b[K50%\r\x1b[K100%\n", "100%"),
        ("downloading\r\x1b[Kdone\n", "done"),
        ("a: 1\nb: 1\n\x1b[2Aa: 2\x1b[K\n\x1b[1Bc\n", "a: 2\nb: 1\nc"),
        ("".join(f"{n}\n" for n in range(40)) + "\x1b[Ax", "\n".join(map(str, range(39))) + "\nx9"),
        ("x\x1b[?1049hfull screen\x1b[?1049ly\n", "xy"),
        ("x\x1b[?1049h\x1b[Hfull screen", "full screen"),
        ("\x1b[2J\x1b[H\x1b[3;5Hhere", "\n\n    here"),
        ("a\x1b[?4mb\x1b[31mc\x1b[38:2:1:2:3md", "abcd"),
        ("=\x1b[9b>", "==========>"),
        ("日本\x1b[1Gx", "x本"),
        ("a\ufe0fb\u1161c\x1b[1D", "a\ufe0fb\u1161c"),
        ("e\u0301\x1b[1D", "e\u0301"),
        ("a\u202eb\x1b[1D", "a⟨U+202E⟩b"),
        ("\x1b[²;1Hx", "⟨U+001B⟩[²;1Hx"),
        ("a\x1b[9K\x1b[7Jb\x1b[1D", "ab"),
        ("one\ntwo\x1b[Sthree", "one\ntwo\n   three"),
        ("1\n2\n3\x1b[1;2r\x1b[2;1H\nx\x1b[r", "2\nx\n3"),
        ("1\n2\x1b[H\x1bMnew", "new\n1\n2"),
        ("a\x1b7b\x1b8c\n", "ac"),
        ("abc\x1b[2D\x1b[@-\x1b[P\x1b[X", "a-"),
        ("1\n2\n3\x1b[2H\x1b[M\x1b[Lx", "1\nx\n3"),
    ],
)
def test_what_is_seen(text: str, seen: str) -> None:
    """The screen shows what a terminal would, and what it doesn't know does nothing."""
    assert settled(text, USUAL) == seen


def test_lines_are_as_wide_as_the_terminal() -> None:
    """A screen has the size of the terminal that was printed for, its other screen too."""
    wide = Size(rows=30, columns=132)
    for begin in ("", "\x1b[?1049h"):
        text = f"{begin}\x1b[30;132Hx\x1b[99;999H"
        assert settled(text, wide) == "\n" * 29 + " " * 131 + "x"
        assert settled(text, USUAL) == "\n" * 23 + " " * 79 + "x"
    assert settled("a" * 100 + "\x1b[A", USUAL) == "a" * 80 + "\n" + "a" * 20


@pytest.mark.parametrize(
    "text",
    [
        "x" + "\x1b[9999b" * 200,
        "x\x1b[99999999999999999999b",
        "\x1b[9999S" * 200,
        "\x1b[9999L" * 200,
        "\x1b7" * 4000,
        "\x1b[1;2r" + "\n" * 8000,
        "日" * 8000,
    ],
)
def test_large_orders_are_bounded(text: str) -> None:
    """A few bytes can't order much more text than they are long."""
    assert len(settled(text, USUAL)) <= 3 * len(text) + SPARE


@pytest.mark.parametrize(
    ("text", "does"),
    [
        ("plain\n10%\r20%\n_\bb\t", False),
        ("\x1b[31mred\x1b[0m\x1b[K\n", False),
        ("a\r\x1b[Kb", True),
        ("\x1b[2A", True),
        ("\x1b[?1049h", True),
        ("\x1b[?25l", False),
        ("\x1bM", True),
    ],
)
def test_what_needs_a_screen(text: str, does: bool) -> None:
    """Colours and returns to the line's beginning need no screen; anything that goes on does."""
    assert moves(text) is does
