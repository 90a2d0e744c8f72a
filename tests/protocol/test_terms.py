# SPDX-License-Identifier: MIT
"""The words that messages and records share."""

from tibet_nc_protocol.terms import ending_of


def test_an_ending_is_a_status_a_signal_or_unknown() -> None:
    """A command that the kernel couldn't end has neither status nor signal, and is said so."""
    assert [ending_of(*ended) for ended in ((0, None), (None, 9), (None, None))] == [
        "0",
        "signal 9",
        "unknown",
    ]
