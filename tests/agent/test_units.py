# SPDX-License-Identifier: MIT
"""Durations and counts are written as people say them."""

import pytest

from tibet_nc_agent.units import counted, duration, grouped


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 ms"),
        (999, "999 ms"),
        (1000, "1.0 s"),
        (59_999, "59.9 s"),
        (60_000, "1 min"),
        (61_000, "1 min 1 s"),
        (3_599_999, "59 min 59 s"),
        (3_600_000, "1 h"),
        (172_800_000, "2 d"),
    ],
)
def test_durations(milliseconds: int, words: str) -> None:
    """Durations are told as people say them."""
    assert duration(milliseconds) == words


def test_counts() -> None:
    """Counts have their thousands apart and their nouns in the right number."""
    assert [grouped(1234567), counted(1, "line"), counted(0, "line")] == [
        "1 234 567",
        "1 line",
        "0 lines",
    ]
    assert [counted(number, "process", "processes") for number in (1, 1234)] == [
        "1 process",
        "1 234 processes",
    ]
