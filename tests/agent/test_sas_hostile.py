# SPDX-License-Identifier: MIT
"""Verification by emoji, with a homeserver in between that forges, drops, changes and repeats."""

import base64
import copy
import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vodozemac import Sas

from tests.agent.json_values import OBJECTS
from tests.agent.sas_room import (
    AGENT,
    OPERATOR,
    Room,
    Side,
    identity,
    nobody_verified,
    room,
)
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.sas import (
    Code,
    Ended,
    Handshake,
    Send,
    State,
)


@pytest.mark.parametrize("agent_asks", [True, False])
def test_a_key_in_the_middle_breaks_the_commitment(*, agent_asks: bool) -> None:
    """A homeserver that shows another key than was committed to ends it."""
    key = Sas().public_key.to_base64()

    def meddle(_: Side, event: Send) -> list[Send]:
        if event.event_type != "m.key.verification.key":
            return [event]
        return [replace(event, content={**event.content, "key": key})]

    met = room(meddle=meddle)
    met.begin(agent_asks=agent_asks)
    met.deliver()
    met.compare()
    nobody_verified(met)
    starter = met.agent if agent_asks else met.operator
    assert [end.code for end in starter.ended] == ["m.mismatched_commitment"]


def test_a_key_and_commitment_in_the_middle_give_other_emoji() -> None:
    """A homeserver that runs the whole protocol with each side can't make both see the same."""
    with_agent = room()
    with_operator = room()
    for met, asks in ((with_agent, True), (with_operator, False)):
        met.begin(agent_asks=asks)
        met.deliver()
    assert with_agent.agent.shown != with_operator.operator.shown
    with_agent.post(with_agent.agent, with_agent.agent.machine.decide(matches=False))
    assert with_agent.agent.ended[0].code == "m.mismatched_sas"
    with_agent.deliver()
    nobody_verified(with_agent)


@pytest.mark.parametrize("who", ["master", "ed25519"])
def test_a_key_that_is_not_the_operators_is_not_believed(who: str) -> None:
    """The homeserver shows the agent another key than the operator has: m.key_mismatch, no pin."""
    met = room(operator_claimed=replace(OPERATOR, **{who: "X" * 43}))
    met.begin()
    met.deliver()
    met.compare()
    assert met.agent.verified == []
    assert [end.code for end in met.agent.ended] == ["m.key_mismatch"]


def test_a_device_named_like_a_master_key_proves_nothing() -> None:
    """A device id that is made to look like a master key doesn't make its device's key one."""
    evil = replace(OPERATOR, device_id="E" * 43)
    met = room(operator=evil, operator_claimed=replace(evil, master="E" * 43))
    met.begin()
    met.deliver()
    met.compare()
    assert met.agent.verified == []
    assert [end.code for end in met.agent.ended] == ["m.key_mismatch"]


def test_without_a_proof_of_the_master_key_nobody_is_pinned() -> None:
    """A side that proves its device's key only is told m.key_mismatch."""
    met = room(
        operator=replace(OPERATOR, master="PHONE"),
        operator_claimed=replace(OPERATOR, ed25519="PHONE"),
    )
    met.begin()
    met.deliver()
    met.compare()
    assert met.agent.verified == []
    assert [end.code for end in met.agent.ended] == ["m.key_mismatch"]


def test_a_person_who_sees_other_emoji_ends_it() -> None:
    """Who says that they differ: both sides end with m.mismatched_sas, and nothing is pinned."""
    met = room()
    met.begin()
    met.deliver()
    met.post(met.agent, met.agent.machine.decide(matches=False))
    met.deliver()
    nobody_verified(met)
    assert [(end.code, end.by_them) for end in met.operator.ended] == [("m.mismatched_sas", True)]


def test_nobody_is_verified_before_a_person_has_agreed() -> None:
    """The other side's proof alone pins nothing, however right it is."""
    met = room()
    met.begin()
    met.deliver()
    met.post(met.operator, met.operator.machine.decide(matches=True))
    met.deliver()
    assert met.agent.machine.state is State.PROVED
    assert met.agent.verified == []


@pytest.mark.parametrize("agent_asks", [True, False])
@given(data=st.data())
def test_events_dropped_repeated_or_out_of_order_verify_nobody_wrongly(
    data: st.DataObject, *, agent_asks: bool
) -> None:
    """Whatever a homeserver drops, repeats or turns round: the right key, or none."""
    met = room()
    history: list[Send] = []

    def meddle(_: Side, event: Send) -> list[Send]:
        history.append(event)
        choice = data.draw(st.sampled_from(["pass", "pass", "drop", "twice", "old"]))
        old = data.draw(st.sampled_from(history))
        return {"pass": [event], "drop": [], "twice": [event, event], "old": [old, event]}[choice]

    met.meddle = meddle
    met.begin(agent_asks=agent_asks)
    met.deliver()
    met.compare()
    assert met.agent.verified in ([], [OPERATOR.master])
    assert met.operator.verified in ([], [AGENT.master])
    for side in (met.agent, met.operator):
        assert len(side.verified) + len(side.ended) <= 1


@pytest.mark.parametrize("agent_asks", [True, False])
def test_a_repeated_event_ends_it(*, agent_asks: bool) -> None:
    """Each event counts once: the same again is m.unexpected_message, and pins nothing."""
    sent = room()
    sent.begin(agent_asks=agent_asks)
    sent.deliver()
    assert sent.operator.sent
    for number in range(len(sent.operator.sent)):
        met = room()
        seen = 0

        def meddle(receiver: Side, event: Send) -> list[Send]:
            nonlocal seen
            if receiver is met.operator:  # noqa: B023 - used within this turn
                return [event]
            seen += 1
            return [event] * (2 if seen == number + 1 else 1)  # noqa: B023

        met.meddle = meddle
        met.begin(agent_asks=agent_asks)
        met.deliver()
        met.compare()
        assert met.agent.verified == []
        assert [end.code for end in met.agent.ended] == ["m.unexpected_message"]


PERMITTED: dict[State, set[str]] = {
    State.REQUESTED: {"ready"},
    State.READY: {"start"},
    State.STARTED: {"accept", "start"},
    State.ACCEPTED: {"key"},
    State.REVEALED: {"key"},
    State.COMPARING: {"mac"},
    State.PROVED: set(),
    State.AGREED: {"mac"},
}
"""What each state takes; after the two that are left out nothing has any effect."""


def reached(state: State) -> Room:
    """Return two sides of which the agent's has just come as far as a state."""
    met = room()
    met.begin(agent_asks=state not in {State.READY, State.ACCEPTED})
    if state is State.REQUESTED:
        met = room()
        met.agent.machine.requested("$request")
    while met.agent.machine.state is not state and met.under_way:
        receiver, event = met.under_way.pop(0)
        met.post(receiver, receiver.machine.receive(event.event_type, event.content))
    if state is State.AGREED:
        met.agent.took(met.agent.machine.decide(matches=True))
    if state is State.PROVED:
        met.post(met.operator, met.operator.machine.decide(matches=True))
        met.deliver()
    assert met.agent.machine.state is state
    return met


def said_by_operators() -> dict[str, Send]:
    """Return a well-formed event of each type, of an operator who asked and of one who was."""
    events: dict[str, Send] = {}
    for agent_asks in (True, False):
        met = room()
        met.begin(agent_asks=agent_asks)
        met.deliver()
        met.compare()
        for event in met.operator.sent:
            events[event.event_type.removeprefix("m.key.verification.")] = event
    return events


@pytest.mark.parametrize("state", PERMITTED)
def test_what_has_no_place_ends_it(state: State) -> None:
    """Each state takes what is due, and anything else is m.unexpected_message, said by us.

    Above all, who has seen our key can't commit to another one of his own any more.
    """
    events = said_by_operators()
    assert set(events) == {"ready", "start", "accept", "key", "mac", "done"}
    for kind in set(events) - PERMITTED[state]:
        side = reached(state).agent
        side.took(side.machine.receive(events[kind].event_type, events[kind].content))
        assert side.verified == []
        assert [(end.code, end.by_them) for end in side.ended] == [("m.unexpected_message", False)]


@pytest.mark.parametrize("agent_asks", [True, False])
@given(data=st.data())
def test_an_event_changed_anywhere_verifies_nobody(
    data: st.DataObject, *, agent_asks: bool
) -> None:
    """One text of one event on its way to the agent changed: the agent pins nothing."""
    met = room()
    target = data.draw(st.integers(0, 3))
    seen = -1
    changed = False

    def meddle(receiver: Side, event: Send) -> list[Send]:
        nonlocal seen, changed
        if receiver is met.operator:
            return [event]
        seen += 1
        content = copy.deepcopy(event.content)
        content.pop("m.relates_to")
        if seen != target or not content:
            return [event]
        name = data.draw(st.sampled_from(sorted(content)))
        value = content[name]
        if isinstance(value, list):
            value.clear()
        elif isinstance(value, dict):
            key = data.draw(st.sampled_from(sorted(value)))
            value[key] = str(value.pop(key))[::-1]
        else:
            content[name] = str(value)[::-1]
        changed = True
        return [replace(event, content=content | {"m.relates_to": event.content["m.relates_to"]})]

    met.meddle = meddle
    met.begin(agent_asks=agent_asks)
    met.deliver()
    met.compare()
    if changed:
        assert met.agent.verified == []
        assert met.agent.machine.state is State.CANCELLED


EVENT_TYPES = [
    f"m.key.verification.{name}"
    for name in ("request", "ready", "start", "accept", "key", "mac", "done", "cancel", "other")
]


@given(
    events=st.lists(st.tuples(st.sampled_from(EVENT_TYPES), OBJECTS), max_size=4),
    steps=st.integers(0, 4),
)
def test_any_content_is_an_answer_and_never_a_failure(
    events: list[tuple[str, JsonObject]], steps: int
) -> None:
    """Whatever the events hold, at any point: the verification ends, and nobody is verified."""
    met = room()
    met.begin()
    for _ in range(steps):
        if met.under_way:
            receiver, event = met.under_way.pop(0)
            met.post(receiver, receiver.machine.receive(event.event_type, event.content))
    for event_type, content in events:
        met.agent.took(met.agent.machine.receive(event_type, content))
    met.agent.took(met.agent.machine.answer("$again", {}))
    assert met.agent.verified == []
    json.dumps([event.content for event in met.agent.sent])


@given(content=OBJECTS)
def test_a_request_may_hold_anything(content: JsonObject) -> None:
    """A request that isn't one, or is for somebody else, is cancelled."""
    side = Side(Handshake(ours=AGENT, theirs=identity(OPERATOR), sas=Sas()))
    side.took(side.machine.answer("$request", content))
    assert [event.event_type for event in side.sent] == ["m.key.verification.cancel"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"methods": ["m.qr_code.show.v1"]}, "m.unknown_method"),
        ({"to": "@other:example.org"}, "m.invalid_message"),
        ({"from_device": 7}, "m.invalid_message"),
    ],
)
def test_a_request_that_cant_be_met_is_cancelled_with_its_code(
    change: JsonObject, code: str
) -> None:
    """What is wrong with a request is told by the code that the specification has for it."""
    asking = Handshake(ours=OPERATOR, theirs=identity(AGENT), sas=Sas())
    side = Side(Handshake(ours=AGENT, theirs=identity(OPERATOR), sas=Sas()))
    side.took(side.machine.answer("$request", {**asking.request(), **change}))
    assert side.sent[0].content["code"] == code


@pytest.mark.parametrize(
    ("event_type", "change", "code"),
    [
        ("start", {"method": "m.reciprocate.v1"}, "m.unknown_method"),
        ("start", {"hashes": ["md5"]}, "m.unknown_method"),
        ("start", {"key_agreement_protocols": ["curve25519"]}, "m.unknown_method"),
        ("start", {"message_authentication_codes": ["hmac-sha256"]}, "m.unknown_method"),
        ("start", {"short_authentication_string": []}, "m.unknown_method"),
        ("start", {"from_device": "OTHER"}, "m.unexpected_message"),
        ("start", {"no canonical JSON": 0.5}, "m.invalid_message"),
        ("start", {"no UTF-8": "\ud800"}, "m.invalid_message"),
        ("key", {"key": "A" * 43}, "m.invalid_message"),  # of small order
        ("key", {"key": "é"}, "m.invalid_message"),
        ("mac", {"keys": "AAAA"}, "m.key_mismatch"),
        ("mac", {"mac": {}}, "m.key_mismatch"),
        ("done", {}, "m.unexpected_message"),
    ],
)
def test_what_is_wrong_is_told_by_its_code(event_type: str, change: JsonObject, code: str) -> None:
    """Each fault in an event of the operator's ends it with the code that is specified for it."""
    wanted = f"m.key.verification.{event_type}"
    met = room()

    def meddle(receiver: Side, event: Send) -> list[Send]:
        if receiver is met.operator or event.event_type not in {wanted, "m.key.verification.mac"}:
            return [event]
        return [Send(event_type=wanted, content={**event.content, **change})]

    met.meddle = meddle
    met.begin(agent_asks=False)
    met.deliver()
    met.compare()
    assert met.agent.verified == []
    assert [(end.code, end.by_them) for end in met.agent.ended] == [(code, False)]
    cancel = met.agent.sent[-1]
    assert cancel.event_type == "m.key.verification.cancel"
    assert cancel.content["code"] == code
    assert cancel.content["m.relates_to"] == {"rel_type": "m.reference", "event_id": "$request"}


@pytest.mark.parametrize(
    "change",
    [
        {"method": "m.reciprocate.v1"},
        {"key_agreement_protocol": "curve25519"},
        {"hash": "md5"},
        {"message_authentication_code": "hkdf-hmac-sha256"},
        {"short_authentication_string": ["colours"]},
    ],
)
def test_what_was_not_offered_is_not_taken(change: JsonObject) -> None:
    """A choice that the agent didn't offer ends it before a key is shown."""
    met = room()

    def meddle(_: Side, event: Send) -> list[Send]:
        chosen = event.event_type == "m.key.verification.accept"
        return [replace(event, content={**event.content, **change}) if chosen else event]

    met.meddle = meddle
    met.begin()
    met.deliver()
    nobody_verified(met)
    assert [end.code for end in met.agent.ended] == ["m.unknown_method"]
    assert "m.key.verification.key" not in {event.event_type for event in met.agent.sent}


def test_the_ephemeral_key_comes_after_the_other_sides_commitment() -> None:
    """The side that starts shows its key only when the other can't change its own any more."""
    met = room()
    met.begin()
    met.deliver()
    types = [event.event_type.removeprefix("m.key.verification.") for event in met.agent.sent]
    assert types == ["start", "key"]
    types = [event.event_type.removeprefix("m.key.verification.") for event in met.operator.sent]
    assert types == ["ready", "accept", "key"]
    assert len(base64.b64decode(str(met.operator.sent[1].content["commitment"]) + "=")) == 32


def test_after_the_end_nothing_has_any_effect() -> None:
    """A verification that has ended neither sends nor changes, whatever comes."""
    met = room()
    met.begin()
    met.agent.took(met.agent.machine.cancel(Code.TIMEOUT, "nobody came"))
    assert met.agent.machine.cancel(Code.USER, "again") == []
    assert met.agent.machine.decide(matches=True) == []
    for event in met.operator.sent:
        assert met.agent.machine.receive(event.event_type, event.content) == []
    assert [end.code for end in met.agent.ended] == ["m.timeout"]


def test_after_the_proof_nothing_takes_it_back() -> None:
    """Who is verified stays so: no time that is up, no answer and no event changes it."""
    met = room()
    met.begin()
    met.deliver()
    met.compare()
    assert met.agent.machine.state is State.DONE
    assert met.agent.machine.cancel(Code.TIMEOUT, "nobody came") == []
    assert met.agent.machine.decide(matches=False) == []
    for event in met.operator.sent:
        assert met.agent.machine.receive(event.event_type, event.content) == []
    assert met.agent.machine.state is State.DONE


def test_a_person_is_asked_once() -> None:
    """What is said again of the same emoji sends no second proof."""
    met = room()
    met.begin()
    met.deliver()
    assert len(met.agent.machine.decide(matches=True)) == 1
    assert met.agent.machine.decide(matches=True) == []


def test_what_nobody_was_asked_for_is_cancelled_in_silence() -> None:
    """Before a request there is no verification that another side could be told of."""
    machine = room().agent.machine
    effects = machine.cancel(Code.USER, "not now")
    assert [type(effect) for effect in effects] == [Ended]
