# SPDX-License-Identifier: MIT
"""How a count is said."""

from tibet_nc_protocol.counts import counted


def test_one_is_singular_and_all_else_plural() -> None:
    """Of one there is one, of none and of many there are several."""
    assert [counted(number, "record") for number in (0, 1, 2)] == [
        "0 records",
        "1 record",
        "2 records",
    ]
    assert [counted(number, "entry", "entries") for number in (0, 1, 11)] == [
        "0 entries",
        "1 entry",
        "11 entries",
    ]
