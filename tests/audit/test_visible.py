# SPDX-License-Identifier: MIT
"""Text of unknown origin on a terminal."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tibet_nc_audit.visible import visible


@given(st.text())
def test_nothing_invisible_is_left(text: str) -> None:
    """No control, format, surrogate, private, unassigned or separator character is left."""
    shown = visible(text)
    kinds = {unicodedata.category(character)[0] for character in shown if character != " "}
    assert kinds <= {"L", "M", "N", "P", "S"}


@given(st.text(alphabet=st.characters(categories=["L", "N", "P", "S"], max_codepoint=0x2FF)))
def test_what_can_be_seen_stays(text: str) -> None:
    """Visible text is left as it is, backslashes included."""
    assert visible(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rm -rf x\x1b[2K\rls", r"rm -rf x\x1b[2K\rls"),
        ("a\u202eb\u2066c", r"a\u202eb\u2066c"),
        ("zero\u200bwidth\u00ad\ufeff", r"zero\u200bwidth\xad\ufeff"),
        ("filler\u3164\u115f\u034f\ufe0f", r"filler\u3164\u115f\u034f\ufe0f"),
        ("tag\U000e0041\U000e0101", r"tag\U000e0041\U000e0101"),
        ("\x9b31m\x7f\x00", r"\x9b31m\x7f\x00"),
        ("two\nlines\u2028\u2029\x85", r"two\nlines\u2028\u2029\x85"),
        ("no-break\u00a0space\u3000", r"no-break\xa0space\u3000"),
    ],
)
def test_examples(text: str, shown: str) -> None:
    """Each kind of invisible character has an escape that names it."""
    assert visible(text) == shown


def test_what_is_kept() -> None:
    """Line ends and tabs stay where they are asked for."""
    assert visible("a\tb\nc\r", keep="\n\t") == "a\tb\nc\\r"
