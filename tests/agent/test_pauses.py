# SPDX-License-Identifier: MIT
"""A pause holds until the operator is pinned anew, whatever happens in between (I5)."""

from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from tests.agent.test_pinfile import OP, OTHER, a_pin
from tibet_nc_agent.matrix_errors import StoreDamaged
from tibet_nc_agent.operators import Operators, Standing
from tibet_nc_agent.pauses import DEVICES, FILE_NAME, Pauses
from tibet_nc_agent.pinfile import pin


def test_a_pause_outlives_a_restart_and_ends_with_a_new_pin(tmp_path: Path) -> None:
    """Who is paused is no operator and gets no keys, after a restart too, until pinned anew."""
    file = tmp_path / "operators.toml"
    first = a_pin(OP)
    pin(file, first)
    pin(file, a_pin(OTHER))
    Pauses(tmp_path).pause(first, "another key")
    operators = Operators(file, frozenset(), Pauses(tmp_path))
    assert operators.standing(OP) is Standing.PAUSED
    assert operators.master_key(OP) is None
    assert operators.standing(OTHER) is Standing.OPERATOR
    assert OP in operators.members()
    # The very same key, pinned again by somebody who has looked.
    pin(file, msgspec.structs.replace(first, pinned=first.pinned + timedelta(seconds=1)))
    assert operators.standing(OP) is Standing.OPERATOR
    assert operators.master_key(OP) == first.master_key


def test_a_pause_is_of_one_key(tmp_path: Path) -> None:
    """Another key, pinned within the same second, is not paused for the one before it."""
    pauses = Pauses(tmp_path)
    pauses.pause(a_pin(OP), "another key")
    assert pauses.of(a_pin(OP)) is not None
    assert pauses.of(a_pin(OP, seed=2)) is None


def test_the_first_reason_stays_and_is_told_once(tmp_path: Path) -> None:
    """What is seen later changes nothing, and that it was told survives a restart."""
    pauses = Pauses(tmp_path)
    pauses.pause(a_pin(OP), "first")
    pauses.pause(a_pin(OP), "second")
    before = Pauses(tmp_path).of(a_pin(OP))
    assert before is not None
    assert (before.reason, before.told) == ("first", False)
    pauses.told(a_pin(OP))
    again = Pauses(tmp_path).of(a_pin(OP))
    assert again is not None
    assert (again.reason, again.told) == ("first", True)


def test_a_device_is_new_until_it_was_told(tmp_path: Path) -> None:
    """An unsigned device is new until it was told, across restarts, and again after it was away."""
    pauses = Pauses(tmp_path)
    assert pauses.untold(OP, ["B", "A"]) == ["A", "B"]
    assert Pauses(tmp_path).untold(OP, ["B", "A"]) == ["A", "B"]
    pauses.told_of(OP, ["A", "B"])
    assert pauses.untold(OP, ["A", "B", "C"]) == ["C"]
    pauses.told_of(OP, ["C"])
    assert Pauses(tmp_path).untold(OP, ["C"]) == []
    assert Pauses(tmp_path).untold(OP, ["A", "C"]) == ["A"]


def test_many_devices_are_bounded(tmp_path: Path) -> None:
    """A homeserver that makes up devices without end fills no disk."""
    pauses = Pauses(tmp_path)
    new = pauses.untold(OP, [f"D{number:05}" for number in range(10 * DEVICES)])
    assert len(new) == DEVICES


def test_what_can_not_be_written_ends_the_agent(tmp_path: Path) -> None:
    """A pause that a restart would forget is no fault of one message, and is not gone on from."""
    pauses = Pauses(tmp_path)
    (tmp_path / f".{FILE_NAME}.new").mkdir()  # where the new file would be written
    with pytest.raises(StoreDamaged, match="can't be written"):
        pauses.pause(a_pin(OP), "another key")
    with pytest.raises(StoreDamaged, match="can't be written"):
        pauses.told_of(OP, ["A"])


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'{"paused": 5}', b'{"paused": {"a": {}}}'])
def test_a_damaged_file_stops_the_start(tmp_path: Path, data: bytes) -> None:
    """If it isn't known who is paused, the agent doesn't guess, and says what to do."""
    (tmp_path / FILE_NAME).write_bytes(data)
    with pytest.raises(StoreDamaged, match="pin the operators anew"):
        Pauses(tmp_path)
