# SPDX-License-Identifier: MIT
"""Verification by emoji: two of our state machines meet, and the homeserver is honest."""

from dataclasses import replace

import pytest

from tests.agent.sas_room import AGENT, OPERATOR, Room, Side, room
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.sas import (
    EMOJI,
    Send,
    State,
)


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
    started: list[Side] = []
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
