# SPDX-License-Identifier: MIT
"""What phones type in place of what shells read."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tibet_nc_agent.typography import meant


@pytest.mark.parametrize(
    ("typed", "corrected"),
    [
        ("echo \u201chi\u201d", 'echo "hi"'),
        ("echo \u2018hi\u2019", "echo 'hi'"),
        ("echo \u201ehi\u201c", 'echo "hi"'),
        ("df\u00a0-h", "df -h"),
        ("df\u202f-h", "df -h"),
        ("df \u2013h", "df -h"),
        ("ls \u2014all", "ls --all"),
        ("\u2013x", "-x"),
        ("echo it\u2019s", "echo it's"),
    ],
)
def test_correction(typed: str, corrected: str) -> None:
    """The line that was probably meant is found."""
    assert meant(typed) == corrected


@pytest.mark.parametrize(
    "command",
    [
        "df -h",
        "echo 'a \u2013 b'",
        "echo café",
        "grep x\u2013y file",
        "echo 日本 \u2014 end",
        "echo \u2013",
    ],
)
def test_text_is_left_alone(command: str) -> None:
    """Dashes within a text, and other languages, are not suspicious."""
    assert meant(command) is None


@given(
    st.text(alphabet=st.sampled_from("a -'\"\u201c\u201d\u2018\u2019\u00a0\u202f\u2013\u2014\n$"))
)
def test_correction_is_final(command: str) -> None:
    """A corrected line is not corrected again."""
    corrected = meant(command)
    assert corrected is None or meant(corrected) is None
