# SPDX-License-Identifier: MIT
"""A sync answer of any shape, the state of rooms, and the cut at the agent's own joining."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.json_values import OBJECTS, VALUES, paths, replaced
from tibet_nc_agent import sync
from tibet_nc_agent.canonical import Json
from tibet_nc_agent.matrix_errors import Unreachable
from tibet_nc_agent.rooms import Room

ME = "@bot:example.org"
OPERATOR = "@op:example.org"


def member(user: str, membership: object, before: str | None = None) -> dict[str, Any]:
    """Return a membership event."""
    event: dict[str, Any] = {
        "type": "m.room.member",
        "state_key": user,
        "content": {"membership": membership},
    }
    if before is not None:
        event["unsigned"] = {"prev_content": {"membership": before}}
    return event


def text(event_id: str) -> dict[str, Any]:
    """Return a message."""
    return {"type": "m.room.message", "event_id": event_id}


ANSWER: dict[str, Any] = {
    "next_batch": "token",
    "to_device": {"events": [{"type": "m.room.encrypted"}]},
    "device_lists": {"changed": [OPERATOR]},
    "device_one_time_keys_count": {"signed_curve25519": 7},
    "device_unused_fallback_key_types": ["signed_curve25519"],
    "rooms": {
        "join": {
            "!room": {
                "state": {"events": [member(ME, "join")]},
                "timeline": {"events": [text("$1")], "limited": True, "prev_batch": "before"},
            }
        },
        "invite": {
            "!other": {"invite_state": {"events": [{**member(ME, "invite"), "sender": OPERATOR}]}}
        },
        "leave": {"!left": {}},
    },
}


def test_answer_is_read() -> None:
    """All that the agent cares for is found where the specification puts it."""
    read = sync.read(ANSWER, ME)
    (room,) = read.rooms
    assert (read.token, read.invites, read.left) == ("token", (("!other", OPERATOR),), ("!left",))
    assert (read.one_time_keys, read.has_fallback_key) == (7, True)
    assert (read.changed_users, len(read.to_device)) == ((OPERATOR,), 1)
    assert (room.room_id, room.gap_start, room.timeline) == ("!room", "before", (text("$1"),))


def test_who_has_changed_is_a_name() -> None:
    """What else stands in a list of users is passed over."""
    odd: Any = [5, None, "", OPERATOR, {}]
    changed: Any = {**ANSWER, "device_lists": {"changed": odd}}
    assert sync.read(changed, ME).changed_users == (OPERATOR,)


def test_no_keys_left_is_zero() -> None:
    """A count that leaves the kind out is 0, and no count is none (the outage of nio 0.26)."""
    answer: Any = {"next_batch": "t", "device_one_time_keys_count": {}}
    assert sync.read(answer, ME).one_time_keys == 0
    assert sync.read({"next_batch": "t"}, ME).one_time_keys is None


@given(OBJECTS)
def test_any_answer(answer: dict[str, Any]) -> None:
    """Any JSON gives a value or, without a token, our error."""
    sync.read({**answer, "next_batch": "t"}, ME)
    with pytest.raises(Unreachable):
        sync.read({**answer, "next_batch": 5}, ME)


@given(data=st.data(), new=VALUES)
def test_nearly_right_answer(data: st.DataObject, new: Json) -> None:
    """An answer with any part replaced gives all that is in the others, and rooms take it."""
    way = data.draw(st.sampled_from(paths(ANSWER)))
    changed = replaced(ANSWER, way, new)
    if changed["next_batch"] and isinstance(changed["next_batch"], str):
        read, before = sync.read(changed, ME), sync.read(ANSWER, ME)
        if way[:2] != ("rooms", "join") and way != ("rooms",):
            assert read.rooms == before.rooms
        if way[0] != "to_device":
            assert read.to_device == before.to_device
        for update in read.rooms:
            whole = sync.after_own_join(update, ME)
            room = Room(update.room_id, encrypted=True)
            room.apply((*whole.state, *whole.timeline))
            assert room.encrypted


def test_more_than_was_asked_for_is_cut() -> None:
    """Of a timeline that is too long the newest is kept, with the state, and that it is cut."""
    topic: dict[str, Any] = {"type": "m.room.topic", "state_key": ""}
    many = [topic, *(text(f"${n}") for n in range(sync.TIMELINE_EVENTS + 1))]
    for events, is_cut in ((many[2:], False), (many, True)):
        answer: Any = {
            "next_batch": "t",
            "rooms": {"join": {"!r": {"timeline": {"events": events}}}},
        }
        (room,) = sync.read(answer, ME).rooms
        assert room.cut == is_cut
        assert room.state == ((topic,) if is_cut else ())
        assert room.timeline == tuple(many[2:])


def update(*timeline: dict[str, Any]) -> sync.RoomUpdate:
    """Return an update of a room with a timeline."""
    return sync.RoomUpdate(room_id="!room", state=(), timeline=timeline, gap_start=None)


def test_messages_before_joining_are_cut() -> None:
    """Messages from before the last joining go, and the state before it stays."""
    created: dict[str, Any] = {"type": "m.room.encryption", "state_key": "", "content": {}}
    joined = member(ME, "join", before="invite")
    whole = sync.after_own_join(update(created, text("$1"), joined, text("$2")), ME)
    assert (whole.state, whole.timeline) == ((created,), (joined, text("$2")))


def test_change_of_profile_is_no_joining() -> None:
    """A membership event that changes only the profile cuts nothing."""
    renamed = member(ME, "join", before="join")
    whole = update(text("$1"), renamed, text("$2"))
    assert sync.after_own_join(whole, ME) == whole


def test_joining_of_others_cuts_nothing() -> None:
    """Others' joining is not the agent's."""
    whole = update(text("$1"), member(OPERATOR, "join", before="invite"))
    assert sync.after_own_join(whole, ME) == whole


@pytest.mark.parametrize(
    "event",
    [
        {**member(ME, "join", before="invite"), "type": "m.room.message"},
        member(ME, "invite"),
        member(ME, "leave", before="invite"),
    ],
)
def test_what_is_no_joining_cuts_nothing(event: dict[str, Any]) -> None:
    """No other event with the agent's name hides the commands before it."""
    whole = update(text("$1"), event, text("$2"))
    assert sync.after_own_join(whole, ME) == whole


@pytest.mark.parametrize(
    "event",
    [
        {**member(ME, "invite"), "type": "m.room.message"},
        member(ME, "leave"),
        member("@mallory:b", "invite"),
    ],
)
def test_who_invites_is_who_invited_the_agent(event: dict[str, Any]) -> None:
    """Of what comes with an invitation, only the one of the agent itself says whose it is."""
    events = [{**event, "sender": "@mallory:b"}, {**member(ME, "invite"), "sender": OPERATOR}]
    invited: Any = {**ANSWER, "rooms": {"invite": {"!other": {"invite_state": {"events": events}}}}}
    assert sync.read(invited, ME).invites == (("!other", OPERATOR),)


def test_members() -> None:
    """Who joined or was invited is a member; who left, was banned or knocks is none."""
    room = Room("!room", encrypted=False)
    room.apply([member("@a:b", "join"), member("@c:d", "invite"), member("@e:f", "knock")])
    assert room.members == {"@a:b": False, "@c:d": True}
    room.apply([member("@a:b", "ban"), member("@c:d", "leave")])
    assert room.members == {}


def test_member_with_a_malformed_profile() -> None:
    """A member is seen whatever else its event holds."""
    room = Room("!room", encrypted=False)
    content: Json = {"membership": "join", "displayname": {"x": 1}, "avatar_url": 5}
    room.apply([{**member("@mallory:b", "join"), "content": content}])
    assert room.strangers(frozenset({ME})) == ("@mallory:b",)


def test_encryption_is_never_taken_back() -> None:
    """Once encrypted, a room stays so."""
    room = Room("!room", encrypted=False)
    room.apply([{"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "x"}}])
    room.apply([{"type": "m.room.encryption", "state_key": "", "content": {}}])
    assert room.encrypted
