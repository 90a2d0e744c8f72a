# SPDX-License-Identifier: MIT
"""What the journal is told of a record."""

import msgspec

from tests.executor import chainkit as kit
from tibet_nc_executor.journal import fields
from tibet_nc_executor.ledger import Place
from tibet_nc_protocol.merkle import Frontier
from tibet_nc_protocol.records import FIRST_PREV

PLACE = Place(seq=2, prev=FIRST_PREV, time="2026-11-25T10:00:00.000000Z", tree=Frontier())


def test_a_shell_that_the_kernel_could_not_end_has_no_signal() -> None:
    """An outcome without status and signal is an unknown ending in the entry's field and text."""
    outcome = msgspec.structs.replace(kit.outcome("$e", 1)(PLACE), exit=None)
    entry = fields(outcome, "00" * 32)
    assert entry["TIBET_NC_EXIT"] == "unknown"
    assert entry["MESSAGE"] == "#2 command #1 ended: unknown, exited"
