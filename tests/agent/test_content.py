# SPDX-License-Identifier: MIT
"""The identity of the messages about an event."""

import re

import hypothesis.strategies as st
from hypothesis import given

from tibet_nc_agent.content import transaction

NAMES = st.text(alphabet=st.characters(exclude_categories=["C", "Z"]))  # as identifiers have it


@given(st.tuples(NAMES, NAMES), st.tuples(NAMES, NAMES))
def test_transactions(one: tuple[str, str], other: tuple[str, str]) -> None:
    """Each message about an event has a transaction id of its own, always the same one (I4)."""
    ids = {transaction(*one, "final"), transaction(*other, "final"), transaction(*one, "started")}
    assert len(ids) == (2 if one == other else 3)
    assert transaction(*one, "final") == transaction(*one, "final")
    assert all(re.fullmatch("[0-9a-f]{64}", made) for made in ids)
