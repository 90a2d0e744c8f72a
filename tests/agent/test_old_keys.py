# SPDX-License-Identifier: MIT
"""Room keys that are of no use any more are forgotten, in memory and on the disk."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.matrix_pair import BOT, ROOM, Anything, Pair
from tibet_nc_agent.login import Login
from tibet_nc_agent.nio_machine import DATABASE
from tibet_nc_agent.olm import OlmMachine
from tibet_nc_agent.olm_messages import KeyMissing

NOW = 1_800_000_000.0
HOUR = 3600.0
WEEK = 7 * 24 * HOUR
"""How long SECURITY.md says that such a key is kept."""


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Return an agent with one operator."""
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def heard(pair: Pair) -> Anything:
    """Have the agent take in a new room key; return the message that it opens."""
    keys, message = pair.said("$ id")
    pair.agent.machine.receive(keys)
    assert opens(pair.agent.machine, message)
    return message


def opens(machine: OlmMachine, message: Anything) -> bool:
    """Whether a message can be read."""
    try:
        return machine.decrypt(ROOM, message).payload["type"] == "m.room.message"
    except KeyMissing:
        return False


def test_a_key_goes_when_a_newer_one_is_old_enough(pair: Pair) -> None:
    """Not before, since messages that it opens may be on their way; and the newest one stays."""
    machine = pair.agent.machine
    first = heard(pair)
    assert machine.forget_old_keys(NOW) == 0
    second = heard(pair)
    assert machine.forget_old_keys(NOW + HOUR) == 0
    assert machine.forget_old_keys(NOW + HOUR + WEEK - 1) == 0
    assert opens(machine, first)
    assert machine.forget_old_keys(NOW + HOUR + WEEK) == 1
    assert not opens(machine, first)
    assert machine.forget_old_keys(NOW + 1000 * WEEK) == 0
    assert opens(machine, second)
    assert pair.hears()


def test_a_key_that_has_no_successor_is_never_forgotten(pair: Pair) -> None:
    """Who says nothing for years is understood, and nobody's keys count for another's."""
    machine = pair.agent.machine
    operators = heard(pair)
    assert machine.forget_old_keys(NOW) == 0
    machine.discard_room_key(ROOM)
    list(machine.room_key_shares(ROOM, ()))  # the agent's own, which is kept as others' are
    assert machine.forget_old_keys(NOW + HOUR) == 0
    assert machine.forget_old_keys(NOW + 1000 * WEEK) == 0
    assert opens(machine, operators)


def test_keys_found_at_once_are_all_kept_until_there_is_a_newer_one(pair: Pair) -> None:
    """So it is with what an older version has left, which did not write down when they came."""
    machine = pair.agent.machine
    messages = [heard(pair) for _ in range(3)]
    assert machine.forget_old_keys(NOW) == 0
    assert machine.forget_old_keys(NOW + 1000 * WEEK) == 0
    last = heard(pair)
    assert machine.forget_old_keys(NOW + 1001 * WEEK) == 0
    assert machine.forget_old_keys(NOW + 1002 * WEEK) == 3
    assert [opens(machine, message) for message in [*messages, last]] == [False] * 3 + [True]


def test_what_is_forgotten_is_nowhere_in_the_file(pair: Pair, tmp_path: Path) -> None:
    """Neither a restart nor whoever reads the file brings it back; what is kept is still there."""
    machine = pair.agent.machine
    old = heard(pair)
    machine.forget_old_keys(NOW)
    new = heard(pair)
    machine.forget_old_keys(NOW + HOUR)
    name, kept = (message["content"]["session_id"].encode() for message in (old, new))
    file = tmp_path / "agent" / DATABASE
    assert name in file.read_bytes()
    assert machine.forget_old_keys(NOW + HOUR + WEEK) == 1
    assert name not in file.read_bytes()
    assert kept in file.read_bytes()
    login = Login(user_id=BOT, device_id="BOT", access_token="token")
    again = OlmMachine.open(
        tmp_path / "agent", login, bytes(32), admits=lambda _room, _sender: False
    )
    assert (opens(again, old), opens(again, new)) == (False, True)
    assert again.forget_old_keys(NOW + 1000 * WEEK) == 0
    again.close()


def test_a_key_that_was_given_for_two_rooms_ends_nothing(pair: Pair) -> None:
    """Forgotten for one room it is not in the table any more, and may still be in memory."""
    machine = pair.agent.machine
    first = heard(pair)
    session = machine._machine.session(ROOM, first["content"]["session_id"])
    assert session is not None
    other = "!other"
    machine._machine.create_group_session(
        session.sender_key,
        session.ed25519,
        other,
        session.id,
        pair.operator.machine._machine.outbound_group_sessions[ROOM].session_key,
    )
    machine.forget_old_keys(NOW)
    heard(pair)
    machine.forget_old_keys(NOW + HOUR)
    assert machine.forget_old_keys(NOW + HOUR + WEEK) == 1
    assert machine.has_session(other, session.id)
    assert machine.forget_old_keys(NOW + 1000 * WEEK) == 0
    assert pair.hears()
