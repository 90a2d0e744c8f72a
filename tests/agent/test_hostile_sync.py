# SPDX-License-Identifier: MIT
"""Whatever a homeserver answers, the agent goes on, and hears the next honest command."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.agent.json_values import VALUES, Way, paths, replaced
from tests.agent.matrix_pair import (
    BOT,
    OPERATOR,
    ROOM,
    SECOND,
    STRANGER,
    Keys,
    Pair,
    to_device,
)
from tibet_nc_agent import receiver
from tibet_nc_agent.event import Invite, MemberRemoved, TextMessage, Undecryptable, Unreadable
from tibet_nc_agent.matrix_errors import Unreachable

# One pair serves all examples: the agent, too, goes on with what the last answer left.
LIVING = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

BAD_TEXTS = st.sampled_from(
    ["", "\ud800", "$\ud800", "@\udfff:x", "!\ud800", "\0", "a b", "x" * 300, "é" * 43, "AAAA", "0"]
)
BAD_NUMBERS = st.sampled_from([-1, 2**63, 2**64, 10**400, float("nan"), float("inf"), 0.5])
BAD: st.SearchStrategy[Any] = st.one_of(BAD_TEXTS, BAD_NUMBERS, VALUES)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """Make an agent and an operator that know each other."""
    pair = Pair(tmp_path)
    yield pair
    pair.close()


def spoiled(data: st.DataObject, value: Any) -> Any:  # noqa: ANN401 - any JSON
    """Return a copy with up to three values, or names of values, replaced."""
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(paths(value) or list[Way]([()])))
        new = data.draw(BAD)
        if path and isinstance(path[-1], str) and isinstance(new, str) and data.draw(st.booleans()):
            parent = dict(_at(value, path[:-1]))
            parent[new] = parent.pop(path[-1])
            value = replaced(value, path[:-1], parent)
        else:
            value = replaced(value, path, new)
    return value


def _at(value: Any, path: tuple[Any, ...]) -> Any:  # noqa: ANN401 - any JSON
    for step in path:
        value = value[step]
    return value


@LIVING
@given(st.data())
def test_no_sync_answer_stops_the_agent(pair: Pair, data: st.DataObject) -> None:
    """A sync answer with anything in the place of anything is taken, and the next one, too."""
    answer, _ = pair.answer("$ id")
    with suppress(Unreachable):  # it has no token: the agent asks again
        pair.take(spoiled(data, answer))
    assert pair.hears()


@LIVING
@given(st.data())
def test_no_answer_about_keys_stops_the_agent(pair: Pair, data: st.DataObject) -> None:
    """Spoiled keys of devices, and spoiled one-time keys, are no keys; sound ones are, after."""
    machine = pair.agent.machine
    machine.learn_devices(pair.sent(spoiled(data, pair.operator.queried())), (OPERATOR,))
    machine.trust((OPERATOR,), lambda device: device.user_id == OPERATOR)
    machine.keys_claimed(pair.sent(spoiled(data, pair.operator.claimed())))
    machine.learn_devices(pair.operator.queried(), (OPERATOR,))
    trusted, _ = machine.trust((OPERATOR,), lambda _: True)
    assert trusted == 1
    assert pair.hears()


@LIVING
@given(st.data())
def test_no_message_of_an_operator_stops_the_agent(pair: Pair, data: st.DataObject) -> None:
    """What a broken client of an operator encrypts is dropped or refused, and the next is heard."""
    keys, message = pair.spoiled(lambda payload: spoiled(data, payload))
    answer, _ = pair.answer("$ id")
    answer["to_device"]["events"] += keys
    answer["rooms"]["join"][ROOM]["timeline"]["events"].append(message)
    pair.take(answer)
    assert pair.hears()


def test_invitation_to_a_room_says_that_the_agent_was_removed(pair: Pair) -> None:
    """Who was removed and invited again between two answers is told so by the invitation alone."""
    answer, _ = pair.answer("$ id")
    pair.take(answer)
    answer["rooms"]["invite"] = {ROOM: answer["rooms"]["invite"]["!other"]}
    answer["rooms"]["join"] = {}
    told = pair.take(answer)
    assert told == [
        MemberRemoved(room_id=ROOM, user_id=BOT),
        Invite(room_id=ROOM, sender=OPERATOR),
    ]
    assert pair.hears()


def test_device_that_was_left_out_comes_back(pair: Pair) -> None:
    """A device that one answer leaves out has our keys again when the next one has it."""
    machine = pair.agent.machine
    machine.learn_devices({"device_keys": {OPERATOR: {}}}, (OPERATOR,))
    assert machine.trust((OPERATOR,), lambda _: True) == (0, set())
    assert machine.learn_devices(pair.operator.queried(), (OPERATOR,)) == {OPERATOR}
    trusted, _ = machine.trust((OPERATOR,), lambda _: True)
    assert trusted == 1


@pytest.mark.parametrize("unsigned", [5, {"device_display_name": {}}, {"device_display_name": 5}])
def test_unsigned_part_of_device_keys_is_not_read(pair: Pair, unsigned: object) -> None:
    """What a homeserver adds to a device's keys, outside of the signature, changes nothing."""
    answer = pair.operator.queried()
    answer["device_keys"][OPERATOR]["PHONE"]["unsigned"] = unsigned
    assert pair.agent.machine.learn_devices(answer, (OPERATOR,)) == set()
    assert pair.hears()


def test_message_of_another_room_has_no_key_here(pair: Pair) -> None:
    """A command that was said in one of the agent's rooms is not opened in another one (I5)."""
    keys, moved = pair.said("$ id", SECOND)
    answer, _ = pair.answer("$ uptime")
    answer["to_device"]["events"] += keys
    answer["rooms"]["join"][ROOM]["timeline"]["events"].append(moved)
    refused = [event for event in pair.take(answer) if isinstance(event, Undecryptable)]
    assert [event.event_id for event in refused] == [moved["event_id"]]
    assert pair.agent.machine.has_session(SECOND, moved["content"]["session_id"])


def test_messages_that_wait_for_a_key_take_little_memory(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest wait for their key; what is too much for the memory is refused, not forgotten."""
    monkeypatch.setattr(receiver, "PENDING_COST", 40_000)
    answer, first = pair.answer("$ first")
    keys, events = (
        answer["to_device"]["events"],
        answer["rooms"]["join"][ROOM]["timeline"]["events"],
    )
    later, message = pair.said("$ later")
    large = [
        pair.event(
            {**message["content"], "session_id": f"other{n}", "ciphertext": "x" * 12_000},
            "m.room.encrypted",
        )
        for n in range(3)
    ]
    answer["to_device"]["events"] = []
    events += [*large, message]
    waiting = [event for event in pair.take(answer) if isinstance(event, Undecryptable)]
    assert [event.event_id for event in waiting] == [
        first,
        *(e["event_id"] for e in (*large, message)),
    ]
    brought, _ = pair.answer("$ now")
    brought["to_device"]["events"] += [*keys, *later]
    heard = [event.body for event in pair.take(brought) if isinstance(event, TextMessage)]
    assert ("$ later" in heard, "$ first" in heard) == (True, False)
    assert pair.inbox.provisional(ROOM, first)  # until it is refused


@pytest.mark.parametrize(("most", "heard"), [(2, True), (1, False)])
def test_message_that_comes_again_takes_no_place(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, most: int, heard: bool
) -> None:
    """Events are counted once, whatever comes again, and no more wait than there are places."""
    monkeypatch.setattr(receiver, "PENDING_COST", 10_000)
    monkeypatch.setattr(receiver, "PENDING_EVENTS", most)
    keys, message = pair.said("$ later")
    content = {**message["content"], "session_id": "other", "ciphertext": "x" * 2_000}
    again = pair.event(content, "m.room.encrypted")
    answer, _ = pair.answer("$ id")
    answer["rooms"]["join"][ROOM]["timeline"]["events"] = [message, *[again] * 9]
    pair.take(answer)
    brought, _ = pair.answer("$ now")
    brought["to_device"]["events"] += keys
    bodies = [event.body for event in pair.take(brought) if isinstance(event, TextMessage)]
    assert ("$ later" in bodies) == heard


@pytest.mark.parametrize("kind", ["m.room.encrypted", "m.room.message", "m.reaction"])
def test_event_that_is_larger_than_any(pair: Pair, kind: str) -> None:
    """A message that no client can have sent is refused as unreadable, and nothing of it kept."""
    answer, _ = pair.answer("$ id")
    large = pair.event({"msgtype": "m.text", "body": "x" * 1_000_000, "ciphertext": "x"}, kind)
    answer["rooms"]["join"][ROOM]["timeline"]["events"].append(large)
    told = [event for event in pair.take(answer) if isinstance(event, Unreadable)]
    refused = (
        []
        if kind == "m.reaction"
        else [(large["event_id"], "the message is larger than any may be")]
    )
    assert [(event.event_id, event.reason) for event in told] == refused
    assert pair.hears()


def test_session_that_is_none(pair: Pair) -> None:
    """What names no session by its length is refused at once, and doesn't wait for a key."""
    answer, _ = pair.answer("$ id")
    odd = pair.event({"ciphertext": "x", "session_id": "x" * 256}, "m.room.encrypted")
    answer["rooms"]["join"][ROOM]["timeline"]["events"].append(odd)
    told = [event for event in pair.take(answer) if isinstance(event, Unreadable)]
    assert [(event.event_id, event.reason) for event in told] == [
        (odd["event_id"], "the message names no session")
    ]


def test_event_id_that_no_disk_takes(pair: Pair) -> None:
    """A sound message under an id with half a character in it is taken, as under any other id."""
    answer, _ = pair.answer("$ id")
    answer["rooms"]["join"][ROOM]["timeline"]["events"][-1]["event_id"] = "$\ud800"
    ids = [event.event_id for event in pair.take(answer) if isinstance(event, TextMessage)]
    assert ids[-1] == "$\N{REPLACEMENT CHARACTER}"
    assert pair.hears()


@pytest.mark.parametrize(("sender", "kept"), [(OPERATOR, 1), (STRANGER, 0)])
def test_stranger_leaves_nothing_on_the_disk(
    pair: Pair, tmp_path: Path, sender: str, kept: int
) -> None:
    """A first message of a device makes a session; that of somebody unknown isn't even read."""
    other = Keys(tmp_path / "other", sender, "OTHER")
    pair.meet(other, pair.agent, 1)
    assert pair.hears()
    before = sessions(tmp_path)
    answer, _ = pair.answer("$ id")
    answer["to_device"]["events"].append(to_device(sender, other.olm(pair.agent, "{}")))
    pair.take(answer)
    other.machine.close()
    assert sessions(tmp_path) - before == kept


def sessions(directory: Path) -> int:
    """Return how many Olm sessions the agent keeps."""
    with closing(sqlite3.connect(directory / "agent" / "olm.db")) as database:
        (count,) = database.execute("select count(*) from olmsessions").fetchone()
    return int(count)
