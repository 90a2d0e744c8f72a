# SPDX-License-Identifier: MIT
"""The airlock: every message gets exactly one decision, and only what may pass passes (I5)."""

import dataclasses
import itertools
from typing import Any, get_args

import hypothesis.strategies as st
import msgspec
from hypothesis import example, given, settings

from tests.agent.airlock import (
    BOT,
    DEDICATED,
    NOW,
    OPERATOR,
    ORIGIN,
    OTHER,
    RULES,
    SHARED,
    SITUATION,
    STRANGER,
    TIMEBOX,
    passed,
    text,
)
from tibet_nc_agent import event as events
from tibet_nc_agent.action import PREFIX, Execute
from tibet_nc_agent.airlock import (
    Ignored,
    Passed,
    Refused,
    Situation,
    addressed,
    command_of,
    decide,
)
from tibet_nc_agent.event import (
    Incoming,
    Invite,
    KeysChanged,
    MemberAdded,
    MemberRemoved,
    Missed,
    Replayed,
    RoomReplaced,
    RoomUnencrypted,
    TextMessage,
    Undecryptable,
    Unreadable,
    VerificationEvent,
)
from tibet_nc_agent.operators import Standing
from tibet_nc_protocol.limits import TEXT_CHARACTERS
from tibet_nc_protocol.messages import Refuse
from tibet_nc_protocol.terms import Stage

ROOMS = st.sampled_from([DEDICATED, SHARED, OTHER])
SENDERS = st.sampled_from([OPERATOR, STRANGER, BOT])
BODIES = st.one_of(
    st.text(),
    st.sampled_from(
        ["$ uptime", "uptime", "$ ", "$", "", "status", "!kill 3", "? rm -rf /", "exit"]
    ),
    st.sampled_from(
        ["$ reboot", "* $ uptime", "$ echo “x”", "$ a\0b", "!cancel", "!x", "$ :(){ :|:& };:"]
    ),
)
AGES = st.sampled_from([-TIMEBOX - 1, -TIMEBOX, 0, TIMEBOX, TIMEBOX + 1, 10**9, NOW])
PLACED = {
    "room_id": ROOMS,
    "event_id": st.just("$event"),
    "sender": SENDERS,
    "sent_ms": AGES.map(lambda age: NOW - age),
    "age_ms": st.none(),
}
KINDS: dict[type, dict[str, st.SearchStrategy[Any]]] = {
    TextMessage: {
        **PLACED,
        "body": BODIES,
        "is_edit": st.booleans(),
        "device_id": st.none(),
        "origin": st.sampled_from([None, ORIGIN]),
    },
    Undecryptable: {**PLACED, "session_id": st.text()},
    Unreadable: {**PLACED, "reason": st.text()},
    Replayed: {**PLACED, "first_event_id": st.text()},
    Invite: {"room_id": ROOMS, "sender": SENDERS},
    MemberAdded: {"room_id": ROOMS, "user_id": SENDERS, "invited": st.booleans()},
    MemberRemoved: {"room_id": ROOMS, "user_id": SENDERS},
    RoomUnencrypted: {"room_id": ROOMS},
    RoomReplaced: {"room_id": ROOMS, "replacement": st.text()},
    KeysChanged: {"user_id": SENDERS},
    VerificationEvent: {**PLACED, "event_type": st.text(), "content": st.just({})},
    Missed: {"room_id": ROOMS},
}
"""Kinds of events, and what their fields may be."""

INCOMING: st.SearchStrategy[Incoming] = st.one_of(
    *(st.builds(kind, **fields) for kind, fields in KINDS.items())
)
SITUATIONS = st.builds(
    Situation,
    now_ms=st.just(NOW),
    listening_since_ms=st.sampled_from([0, NOW - 1, NOW]),
    skew_ms=st.sampled_from([None, 0, -40_000, 40_000]),
    standing=st.sampled_from(Standing),
    pins_problem=st.sampled_from(["", "the file is not there"]),
    device=st.sampled_from([None, "DEVICE"]),
    device_problem=st.text(),
    strangers=st.sampled_from([(), (STRANGER,)]),
)


def test_every_kind_of_event_is_drawn() -> None:
    """The properties below cover every kind of event there is."""
    assert set(KINDS) == set(get_args(events.Incoming.__value__))


@given(INCOMING, SITUATIONS)
@settings(max_examples=1000)  # few are from the unpinned, for the agent and unreadable
def test_exactly_one_decision(event: Incoming, situation: Situation) -> None:
    """Every event in every context gets one decision, and always the same one.

    Ignored is what isn't for the agent, and what can't be read of the unpinned.
    """
    decision = decide(event, situation, RULES)
    assert isinstance(decision, Passed | Refused | Ignored)
    assert decide(event, situation, RULES) == decision
    sealed = isinstance(event, Undecryptable) and situation.standing is Standing.UNPINNED
    ignored = sealed or isinstance(addressed(event, RULES), Ignored)
    assert isinstance(decision, Ignored) == ignored


PASSES: dict[str, tuple[tuple[object, ...], tuple[object, ...]]] = {
    "room_id": ((DEDICATED,), (SHARED, OTHER)),
    "sender": ((OPERATOR,), (BOT,)),
    "age_ms": ((0, 100, TIMEBOX, -TIMEBOX), (TIMEBOX + 1, -TIMEBOX - 1, 10**9, NOW)),
    "is_edit": ((False,), (True,)),
    "origin": ((ORIGIN,), (None,)),
    "standing": ((Standing.OPERATOR,), tuple(set(Standing) - {Standing.OPERATOR})),
    "device": (("DEVICE",), (None,)),
    "strangers": (((),), ((STRANGER,),)),
}
"""What a message and its situation may be for the text ``uptime`` to pass, and what not."""


def test_what_passes() -> None:
    """What passes, and all of that, is a fresh, first, encrypted text of an operator's device (I5).

    Its device is checked, the room is the agent's own, and nobody else is there.
    """
    names = tuple(PASSES)
    for drawn in itertools.product(*(good + bad for good, bad in PASSES.values())):
        value: dict[str, Any] = dict(zip(names, drawn, strict=True))
        situation = dataclasses.replace(
            SITUATION, **{name: value.pop(name) for name in ("standing", "device", "strangers")}
        )
        decision = decide(text("uptime", **value), situation, RULES)
        expected = all(
            found in good for found, (good, _) in zip(drawn, PASSES.values(), strict=True)
        )
        assert isinstance(decision, Passed) == expected, drawn


@given(INCOMING, SITUATIONS)
@example(text(""), SITUATION)
@example(text("", is_edit=True), SITUATION)
@example(text("", origin=None), SITUATION)
def test_every_refusal_says_why_and_can_be_recorded(event: Incoming, situation: Situation) -> None:
    """A refusal names stage, cause, reason and next step, and fits the executor's record."""
    decision = decide(event, situation, RULES)
    if not isinstance(decision, Refused):
        return
    assert decision.stage in {Stage.SENDER, Stage.FRESHNESS, Stage.SAFETY}
    assert decision.family
    assert decision.reason or isinstance(event, Unreadable)
    assert decision.next_step
    request = Refuse(
        request=1,
        room=DEDICATED,
        event="$event",
        sender=OPERATOR,
        device=situation.device,
        command=decision.command,
        stage=decision.stage,
        family=str(decision.family),
        reason=decision.reason[:TEXT_CHARACTERS],
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=Refuse) == request


@given(INCOMING, SITUATIONS)
def test_strangers_words_are_not_kept(event: Incoming, situation: Situation) -> None:
    """Who may not command decides neither what runs nor how much is recorded (I5)."""
    decision = decide(event, situation, RULES)
    if situation.standing is not Standing.OPERATOR and not isinstance(decision, Ignored):
        assert isinstance(decision, Refused)
        assert (decision.stage, decision.command) == (Stage.SENDER, None)


@given(st.sampled_from([OTHER, SHARED]), BODIES)
def test_talk_is_ignored(room_id: str, body: str) -> None:
    """Other rooms, and talk in rooms that aren't dedicated, are none of the agent's business."""
    if room_id == SHARED and body.startswith(PREFIX):
        return
    assert isinstance(decide(text(body, room_id=room_id), SITUATION, RULES), Ignored)


def test_command_of_a_forwarded_message() -> None:
    """After a restart the command is read from the message as it was the first time."""
    for body, room_id in itertools.product(["$ df -h", "$  df -h "], [DEDICATED, SHARED]):
        message = text(body, room_id=room_id)
        assert passed(body, room_id=room_id) == Execute(command=command_of(message))
