# SPDX-License-Identifier: MIT
"""What an event means, whatever its shape."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.agent.json_values import OBJECTS, VALUES, paths, replaced
from tibet_nc_agent.canonical import Json
from tibet_nc_agent.event import (
    Malformed,
    Origin,
    TextMessage,
    Unreadable,
    VerificationEvent,
    replayed,
    text_message,
    undecryptable,
    unreadable,
    verification_event,
)
from tibet_nc_agent.safety.budget import Budget
from tibet_nc_agent.safety.grammar import GrammarError, parse

ROOM = "!room"
ORIGIN = Origin(sender_key="key", session_id="session", ciphertext="0" * 64)
EVENT: dict[str, Any] = {
    "type": "m.room.encrypted",
    "event_id": "$event",
    "sender": "@op:example.org",
    "origin_server_ts": 1_000,
    "content": {"device_id": "DEVICE", "session_id": "session"},
    "unsigned": {"age": 5},
}
PAYLOAD: dict[str, Any] = {
    "type": "m.room.message",
    "room_id": ROOM,
    "content": {"msgtype": "m.text", "body": "$ uptime"},
}


def test_text_message() -> None:
    """An encrypted text message becomes a value with all that is known of it."""
    assert text_message(ROOM, EVENT, PAYLOAD, ORIGIN) == TextMessage(
        room_id=ROOM,
        event_id="$event",
        sender="@op:example.org",
        sent_ms=1_000,
        age_ms=5,
        body="$ uptime",
        is_edit=False,
        device_id="DEVICE",
        origin=ORIGIN,
    )


@pytest.mark.parametrize(
    ("where", "what"),
    [
        ("outer", {"m.relates_to": {"rel_type": "m.replace", "event_id": "$first"}}),
        ("inner", {"m.relates_to": {"rel_type": "m.replace", "event_id": "$first"}}),
        ("inner", {"m.new_content": {}}),
    ],
)
def test_every_mark_of_an_edit_counts(where: str, what: dict[str, Any]) -> None:
    """An edit is known by any one of its marks, so that hiding the others is of no use (I5)."""
    part = EVENT if where == "outer" else PAYLOAD
    changed = {**part, "content": {**part["content"], **what}}
    event, payload = (changed, PAYLOAD) if where == "outer" else (EVENT, changed)
    message = text_message(ROOM, event, payload, ORIGIN)
    assert isinstance(message, TextMessage)
    assert message.is_edit


REPLY: dict[str, Any] = {"m.relates_to": {"m.in_reply_to": {"event_id": "$quoted"}}}
IN_THREAD: dict[str, Any] = {
    "m.relates_to": {
        "rel_type": "m.thread",
        "event_id": "$root",
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": "$quoted"},
    }
}


def body_of(body: str, *, outer: dict[str, Any], inner: dict[str, Any]) -> str:
    """Return what is taken for the text of a message with these relations."""
    event = {**EVENT, "content": {**EVENT["content"], **outer}}
    payload = {**PAYLOAD, "content": {"msgtype": "m.text", "body": body, **inner}}
    message = text_message(ROOM, event, payload, ORIGIN)
    assert isinstance(message, TextMessage)
    return message.body


@pytest.mark.parametrize("relation", [REPLY, IN_THREAD])
@pytest.mark.parametrize("where", ["outer", "inner"])
@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("> <@bot:example.org> Filesystem\n> \n> /dev/vda\n\n$ df -h", "$ df -h"),
        ("> <@bot:example.org> up\n\ncat <<x\n> a\n\nx", "cat <<x\n> a\n\nx"),
        ("> <@bot:example.org> up\n\n> <@bot:example.org> b\n\nid", "> <@bot:example.org> b\n\nid"),
        ("> <@bot:example.org> up\n\n", ""),
        ("> <@bot:example.org> no empty line\n$ id", "> <@bot:example.org> no empty line\n$ id"),
        ("$ id", "$ id"),
        ("\n> <@bot:example.org> up\n\n$ id", "\n> <@bot:example.org> up\n\n$ id"),
        ("> out.txt\n\n$ id", "> out.txt\n\n$ id"),
        ("> <(id)\n\n$ id", "> <(id)\n\n$ id"),
    ],
)
def test_a_reply_is_without_its_quotation(
    relation: dict[str, Any], where: str, body: str, command: str
) -> None:
    """What an older client puts before a reply, and nothing else, is left out of it."""
    outer, inner = (relation, {}) if where == "outer" else ({}, relation)
    assert body_of(body, outer=outer, inner=inner) == command


def test_what_is_no_reply_has_no_quotation() -> None:
    """Without the relation of a reply, a text that looks like one is taken as it is."""
    body = "> <@bot:example.org> up\n\n$ id"
    edit = {"m.relates_to": {"rel_type": "m.replace", "event_id": "$first"}}
    others: list[dict[str, Any]] = [
        {},
        edit,
        {"m.relates_to": "m.in_reply_to"},
        REPLY["m.relates_to"],
    ]
    for content in others:
        assert body_of(body, outer=content, inner=content) == body


PIECES = (">", " ", "<", "@", "(", "a", "*", "\n", "> <@", "> <@a\n\n", "> a\n\n", "$ id")


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_what_is_left_out_could_not_have_run(body: str) -> None:
    """A homeserver that makes a message a reply makes no command into another one (I5)."""
    if body_of(body, outer=REPLY, inner={}) != body:
        with pytest.raises(GrammarError):
            parse(body, budget=Budget())


def test_every_message_knows_its_thread() -> None:
    """The thread of a message is known whatever became of it, and one without a name is none."""
    for relation, root in (
        (IN_THREAD, "$root"),
        (REPLY, None),
        ({"m.relates_to": {"rel_type": "m.thread", "event_id": "no event"}}, None),
        ({"m.relates_to": {"rel_type": "m.thread"}}, None),
        ({"m.relates_to": {"rel_type": "m.reference", "event_id": "$root"}}, None),
    ):
        event: Any = {**EVENT, "content": {**EVENT["content"], **relation}}
        for message in (
            text_message(ROOM, event, PAYLOAD, ORIGIN),
            undecryptable(ROOM, event),
            unreadable(ROOM, event, "reason"),
            replayed(ROOM, event, "$first"),
        ):
            assert message is not None
            assert message.thread == root


@pytest.mark.parametrize("msgtype", ["m.notice", "m.emote", "m.image", "m.file", 5, None])
def test_only_text_is_a_message(msgtype: object) -> None:
    """Only ``m.text`` is a message; the agent's own kind, ``m.notice``, is none."""
    payload: Any = {**PAYLOAD, "content": {"msgtype": msgtype, "body": "$ uptime"}}
    assert text_message(ROOM, EVENT, payload, ORIGIN) is None


@pytest.mark.parametrize("body", [None, 5, [], {}])
def test_text_without_text_is_unreadable(body: object) -> None:
    """A text message whose text is none gets an answer, too."""
    payload: Any = {**PAYLOAD, "content": {"msgtype": "m.text", "body": body}}
    assert isinstance(text_message(ROOM, EVENT, payload, ORIGIN), Unreadable)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_id", None),
        ("event_id", "event"),
        ("event_id", "$a b"),
        ("event_id", "$" + "x" * 300),
        ("sender", "op"),
        ("sender", "@op\n:example.org"),
        ("sender", 5),
        ("origin_server_ts", -1),
        ("origin_server_ts", True),
        ("origin_server_ts", 1.5),
        ("origin_server_ts", 2**60),
    ],
)
def test_event_that_can_not_be_named(field: str, value: object) -> None:
    """Without a usable id, sender and time there is nothing to answer."""
    event: Any = {**EVENT, field: value}
    with pytest.raises(Malformed):
        text_message(ROOM, event, PAYLOAD, ORIGIN)


@given(event=OBJECTS, payload=OBJECTS)
def test_any_json(event: dict[str, Any], payload: dict[str, Any]) -> None:
    """Any event and payload give a value, nothing, or :class:`Malformed`."""
    for read in (
        lambda: text_message(ROOM, event, payload, None),
        lambda: undecryptable(ROOM, event),
        lambda: unreadable(ROOM, event, "reason"),
        lambda: replayed(ROOM, event, "$first"),
    ):
        with suppress(Malformed):
            read()


@given(data=st.data(), new=VALUES)
def test_nearly_right_json(data: st.DataObject, new: Json) -> None:
    """A message with any part replaced gives a value that can be written, or our error."""
    whole: dict[str, Json] = {"event": EVENT, "payload": PAYLOAD}
    changed = replaced(whole, data.draw(st.sampled_from(paths(whole))), new)
    event: Json = changed["event"]
    payload: Json = changed["payload"]
    if isinstance(event, dict) and isinstance(payload, dict):
        with suppress(Malformed):
            message = text_message(ROOM, event, payload, ORIGIN)
            if isinstance(message, TextMessage):
                message.body.encode()


@pytest.mark.parametrize("encrypted", [False, True])
@pytest.mark.parametrize(
    ("event_type", "content", "meant"),
    [
        ("m.key.verification.start", {}, "m.key.verification.start"),
        (
            "m.room.message",
            {"msgtype": "m.key.verification.request"},
            "m.key.verification.request",
        ),
    ],
)
def test_an_event_of_a_verification(
    event_type: str, content: dict[str, Any], meant: str, *, encrypted: bool
) -> None:
    """In the clear or encrypted, it is the same; what it relates to is always in the clear."""
    relation = {"m.relates_to": {"rel_type": "m.reference", "event_id": "$request"}}
    payload: Any = {"type": event_type, "content": content}
    if encrypted:
        event: Any = {**EVENT, "content": {**EVENT["content"], **relation}}
    else:
        event = payload = {**EVENT, "type": event_type, "content": {**content, **relation}}
    assert verification_event(ROOM, event, payload) == VerificationEvent(
        room_id=ROOM,
        event_id="$event",
        sender="@op:example.org",
        sent_ms=1_000,
        age_ms=5,
        event_type=meant,
        content={**content, **relation},
    )


@given(event=OBJECTS, payload=OBJECTS)
def test_any_event_may_be_of_a_verification(event: Any, payload: Any) -> None:  # noqa: ANN401 - JSON
    """Whatever an event holds, it becomes a value, nothing, or Malformed."""
    for kind in ("m.key.verification.key", "m.room.message", "m.room.encrypted"):
        with suppress(Malformed):
            verification_event(ROOM, event, {**payload, "type": kind})
        value = verification_event(
            ROOM, EVENT, {"type": "m.key.verification.key", "content": payload}
        )
        assert isinstance(value, VerificationEvent)
