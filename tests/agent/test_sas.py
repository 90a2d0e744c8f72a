# SPDX-License-Identifier: MIT
"""Verification by emoji: two of our state machines meet, and a homeserver stands between them."""

import base64
import copy
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vodozemac import Sas

from tests.agent.json_values import OBJECTS
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.identity import Device, Identity
from tibet_nc_agent.sas import (
    EMOJI,
    Code,
    Compare,
    Ended,
    Handshake,
    Ours,
    Send,
    State,
    Verified,
)

AGENT = Ours(user_id="@agent:example.org", device_id="AGENT", ed25519="a" * 43, master="A" * 43)
OPERATOR = Ours(user_id="@op:example.org", device_id="PHONE", ed25519="p" * 43, master="P" * 43)


def identity(ours: Ours) -> Identity:
    """Return what a homeserver says of somebody."""
    device = Device(
        user_id=ours.user_id,
        device_id=ours.device_id,
        ed25519=ours.ed25519,
        curve25519="c" * 43,
        cross_signed=True,
    )
    return Identity(
        user_id=ours.user_id, master=ours.master, self_signing="s" * 43, devices=(device,)
    )


@dataclass
class Side:
    """One side: its machine, and what it has said so far."""

    machine: Handshake
    sent: list[Send] = field(default_factory=list)
    shown: list[Compare] = field(default_factory=list)
    verified: list[str] = field(default_factory=list)
    ended: list[Ended] = field(default_factory=list)

    def took(self, effects: list[Any]) -> list[Send]:
        """Sort what the machine wants; return what it sends."""
        for effect in effects:
            match effect:
                case Send():
                    self.sent.append(effect)
                case Compare():
                    self.shown.append(effect)
                case Verified(master=master):
                    self.verified.append(master)
                case Ended():
                    self.ended.append(effect)
        return [effect for effect in effects if isinstance(effect, Send)]


type Meddle = Callable[[Side, Send], list[Send]]
"""What the homeserver makes of an event on its way to a side."""


def faithful(_: Side, event: Send) -> list[Send]:
    """Pass an event on."""
    return [event]


@dataclass
class Room:
    """Two sides and the homeserver between them; by default the agent asks."""

    agent: Side
    operator: Side
    meddle: Meddle = faithful
    under_way: list[tuple[Side, Send]] = field(default_factory=list)

    def begin(self, *, agent_asks: bool = True) -> None:
        """Let one side ask and the other consent."""
        asking, asked = (self.agent, self.operator) if agent_asks else (self.operator, self.agent)
        request = asking.machine.request()
        asking.machine.requested("$request")
        self.post(asked, asked.machine.answer("$request", request))

    def post(self, sender: Side, effects: list[Any]) -> None:
        """Put what a side sends on its way."""
        receiver = self.operator if sender is self.agent else self.agent
        self.under_way += [(receiver, event) for event in sender.took(effects)]

    def deliver(self) -> None:
        """Deliver all that is under way, and what follows from it."""
        while self.under_way:
            receiver, event = self.under_way.pop(0)
            for each in self.meddle(receiver, event):
                self.post(receiver, receiver.machine.receive(each.event_type, each.content))

    def compare(self) -> None:
        """Let both people look, and say truly whether they see the same."""
        matches = self.agent.shown[:1] == self.operator.shown[:1] != []
        for side in (self.agent, self.operator):
            self.post(side, side.machine.decide(matches=matches))
        self.deliver()


def room(
    *, agent: Ours = AGENT, operator: Ours = OPERATOR, meddle: Meddle = faithful, **claimed: Ours
) -> Room:
    """Put two sides into a room; ``agent_claimed`` and so on is what the homeserver says of one."""
    sees_operator = identity(claimed.get("operator_claimed", operator))
    sees_agent = identity(claimed.get("agent_claimed", agent))
    return Room(
        agent=Side(Handshake(ours=agent, theirs=sees_operator, sas=Sas())),
        operator=Side(Handshake(ours=operator, theirs=sees_agent, sas=Sas())),
        meddle=meddle,
    )


def nobody_verified(met: Room) -> None:
    """Check that neither side has come to believe anything."""
    assert met.agent.verified == met.operator.verified == []
    assert State.DONE not in {met.agent.machine.state, met.operator.machine.state}


@pytest.mark.parametrize("agent_asks", [True, False])
def test_both_sides_end_with_the_others_master_key(*, agent_asks: bool) -> None:
    """Whoever asks: the same emoji on both sides, and each has proved its keys to the other."""
    met = room()
    met.begin(agent_asks=agent_asks)
    met.deliver()
    assert met.agent.shown == met.operator.shown
    assert len(met.agent.shown[0].emoji) == 7
    assert all(1000 <= number <= 9191 for number in met.agent.shown[0].decimals)
    met.compare()
    assert met.agent.verified == [OPERATOR.master]
    assert met.operator.verified == [AGENT.master]


def test_a_side_without_emoji_compares_numbers() -> None:
    """A client that can only show numbers is verified by them."""

    def meddle(_: Side, event: Send) -> list[Send]:
        if event.event_type != "m.key.verification.accept":
            return [event]
        only: JsonObject = {"short_authentication_string": ["decimal"]}
        return [replace(event, content=event.content | only)]

    met = room(meddle=meddle)
    met.begin()
    met.deliver()
    assert met.agent.shown[0].emoji == ()
    assert met.agent.shown[0].decimals == met.operator.shown[0].decimals


def test_there_are_64_different_emoji() -> None:
    """Six bits choose an emoji, and no two choices look or sound alike."""
    assert len({symbol for symbol, _ in EMOJI}) == len({name for _, name in EMOJI}) == 64


@pytest.mark.parametrize("first", ["agent", "operator"])
def test_people_may_agree_in_any_order(first: str) -> None:
    """One side's proof may come before or after the other's person has looked."""
    met = room()
    met.begin()
    met.deliver()
    sides = [met.agent, met.operator]
    for side in sides if first == "agent" else sides[::-1]:
        met.post(side, side.machine.decide(matches=True))
        met.deliver()
    assert met.agent.verified == [OPERATOR.master]
    assert met.operator.verified == [AGENT.master]


@pytest.mark.parametrize("agent_name", ["@a:example.org", "@z:example.org"])
def test_when_both_start_the_smaller_user_id_counts(agent_name: str) -> None:
    """Two starts that cross on their way end in one verification, whichever way round."""
    started = []
    for agent_asks in (True, False):
        one = room(agent=replace(AGENT, user_id=agent_name))
        one.begin(agent_asks=agent_asks)
        asking, ready = one.under_way.pop()
        one.post(asking, asking.machine.receive(ready.event_type, ready.content))
        assert asking.machine.state is State.STARTED
        started.append(asking)
    met = Room(agent=started[0], operator=started[1])
    met.under_way = [(met.operator, met.agent.sent[-1]), (met.agent, met.operator.sent[-1])]
    met.deliver()
    met.compare()
    assert met.agent.verified == [OPERATOR.master]
    assert met.operator.verified == [AGENT.master]
    accepting = met.operator if agent_name < OPERATOR.user_id else met.agent
    assert "m.key.verification.accept" in {event.event_type for event in accepting.sent}


# --- hostile --------------------------------------------------------------------------------------


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
        value: Any = content[name]
        if isinstance(value, list):
            value.clear()
        elif isinstance(value, dict):
            key = data.draw(st.sampled_from(sorted(value)))
            value[key] = value.pop(key)[::-1]
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
