# SPDX-License-Identifier: MIT
"""Whose room keys are taken in (I5)."""

from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.agent.test_pinfile import a_pin
from tibet_nc_agent.admission import Admission
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.pauses import Pauses
from tibet_nc_agent.pinfile import pin, unpin

ROOM: Final = "!room"
OPERATOR: Final = "@op:example.org"
GUEST: Final = "@guest:example.org"
STRANGER: Final = "@mallory:example.org"


@pytest.fixture
def admission(tmp_path: Path) -> Admission:
    """Make the door of a host with one operator."""
    pin(tmp_path / "operators.toml", a_pin(OPERATOR))
    operators = Operators(tmp_path / "operators.toml", frozenset(), Pauses(tmp_path))
    return Admission((ROOM,), operators)


def test_operators_keys_of_the_configured_rooms(admission: Admission) -> None:
    """An operator's key for a configured room is taken, no other room's and nobody else's."""
    assert (admission.hears(OPERATOR), admission.hears(STRANGER)) == (True, False)
    assert admission.admits(ROOM, OPERATOR)
    assert not admission.admits("!other", OPERATOR)
    assert not admission.admits(ROOM, STRANGER)


def test_a_guest_is_heard_while_it_is_verified(admission: Admission) -> None:
    """Who is being verified is heard for so long, also if that fails, and then no more."""
    with suppress(KeyError), admission.guest(GUEST):
        assert admission.admits(ROOM, GUEST)
        assert not admission.admits("!other", GUEST)
        assert not admission.hears(STRANGER)
        raise KeyError
    assert not admission.hears(GUEST)


def test_who_was_taken_out_is_not_heard(admission: Admission, tmp_path: Path) -> None:
    """A pin that is gone is gone at once, without a restart."""
    unpin(tmp_path / "operators.toml", OPERATOR)
    assert not admission.admits(ROOM, OPERATOR)
