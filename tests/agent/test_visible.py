# SPDX-License-Identifier: MIT
"""Hostile text: nothing acts, nothing hides, and what is harmless stays as it is (I9)."""

import html
import re
import unicodedata

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tibet_nc_agent.visible import escaped, one_line, visible, visible_bytes

HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}

SEQUENCES = [
    *("\x1b[31m", "\x1b[0m", "\x1b[?25l", "\x9b1m", "\x1b(B"),
    *("\x1b]0;title\x07", "\x1b]8;;http://x\x1b\\", "\x1bPq#0\x1b\\"),
    *("\x1b", "\x1b[", "\x1b]", "\r", "\b", "\x07", "\u202e", "\u200b"),
]
TERMINAL = st.sampled_from(SEQUENCES)
HOSTILE = st.lists(st.one_of(st.text(), TERMINAL)).map("".join)


def acts(text: str) -> list[str]:
    """Return the characters of a text that are not what they look like."""
    return [c for c in text if c not in "\n\t" and unicodedata.category(c) in HIDDEN]


@given(HOSTILE)
def test_nothing_acts(text: str) -> None:
    """No control, format, surrogate or unassigned character gets through, whatever comes (I9)."""
    assert acts(visible(text)) == []
    assert not set(one_line(text)) & {"\n", "\t"}


@given(st.binary())
def test_any_bytes_are_text(data: bytes) -> None:
    """Any output has a visible text (I9)."""
    assert acts(visible_bytes(data)) == []


@given(HOSTILE)
def test_visible_text_is_final(text: str) -> None:
    """Making visible text visible changes nothing."""
    assert visible(visible(text)) == visible(text)


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"])))
def test_ordinary_text_stays(text: str) -> None:
    """Letters, digits, signs and spaces of any language stay, but for those that draw nothing."""
    blank = set("\u115f\u1160\u2800\u3164\uffa0")
    assert visible(text) == text or blank & set(text)


@given(st.text())
def test_escaped_text_is_no_markup(text: str) -> None:
    """Escaped text holds no markup, and a reader of HTML gets the text back (I9)."""
    shown = visible(text)
    markup = escaped(shown)
    assert not set(markup) & {"<", ">"}
    assert re.fullmatch(r"(?:[^&]|&(?:amp|lt|gt);)*", markup)
    assert html.unescape(markup) == html.unescape(html.escape(shown))


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("\x1b[1;31mred\x1b[0m", "red"),
        ("\x1b[38:2:1:2:3mx\x1b[K", "x"),
        ("\x1b]0;title\x07x", "x"),
        ("\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\", "click"),
        ("\x1bPq\x1b\\x\x1b_G\x1b\\", "x"),
        ("\x1b(B\x1b7x\x1b8", "x"),
        ("\x9b31mx", "x"),
        ("10%\r50%\r100%\n", "100%\n"),
        ("abc\rx", "xbc"),
        ("a\r\nb\r\n", "a\nb\n"),
        ("_\bb", "b"),
        ("ab\b\b\b\bc", "cb"),
        ("a\u202eb\u200bc\u2066", "a⟨U+202E⟩b⟨U+200B⟩c⟨U+2066⟩"),
        ("a\x00\x07", "a⟨U+0000⟩⟨U+0007⟩"),
        ("\u3164\u2800\U000e0041\ufeff\u00ad", "⟨U+3164⟩⟨U+2800⟩⟨U+E0041⟩⟨U+FEFF⟩⟨U+00AD⟩"),
        ("\u2028\u2029\u0085", "⟨U+2028⟩⟨U+2029⟩⟨U+0085⟩"),
        ("\x1b]unfinished", "⟨U+001B⟩]unfinished"),
        ("größe\t日本 🙂\n", "größe\t日本 🙂\n"),
    ],
)
def test_what_is_seen(text: str, seen: str) -> None:
    """Terminal sequences go, what overwrites overwrites, and what hides shows its code point."""
    assert visible(text) == seen


def test_invalid_utf8_is_shown() -> None:
    """Bytes that are no UTF-8 show as the replacement character."""
    assert visible_bytes(b"a\xffb\xc3") == "a\ufffdb\ufffd"


@pytest.mark.parametrize(
    "text",
    ["\x9d" * 30_000, "\x1b[" + "0" * 30_000, "\x1b]" * 15_000, "a\r" * 15_000, "\b" * 30_000],
)
def test_repetition_ends(text: str) -> None:
    """Input made to slow a pattern down is dealt with like any other."""
    assert acts(visible(text)) == []
