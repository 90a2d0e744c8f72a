# SPDX-License-Identifier: MIT
"""What is kept of a room's event, and what it costs to keep it."""

import sys
from typing import Any

import pytest
from hypothesis import given

from tests.agent.json_values import VALUES
from tibet_nc_agent.canonical import Json
from tibet_nc_agent.extract import EVENT_COST, OVERSIZED, cost, extract

JOIN: dict[str, Any] = {
    "type": "m.room.member",
    "event_id": "$1",
    "sender": "@op:example.org",
    "state_key": "@op:example.org",
    "origin_server_ts": 1,
    "content": {"membership": "join", "displayname": "x" * 1000, "reason": []},
    "unsigned": {"age": 5, "prev_content": {"membership": "invite", "reason": []}, "more": []},
    "room_id": "!room",
    "more": {},
}


def test_what_is_read_is_kept() -> None:
    """Of an event of the state the agent keeps what it reads, and nothing else."""
    assert extract(JOIN) == {
        "type": "m.room.member",
        "event_id": "$1",
        "sender": "@op:example.org",
        "state_key": "@op:example.org",
        "origin_server_ts": 1,
        "content": {"membership": "join"},
        "unsigned": {"age": 5, "prev_content": {"membership": "invite"}},
    }


def test_a_message_keeps_its_content() -> None:
    """What a message says is kept as it is, and no key that a homeserver adds stands for ours."""
    message: dict[str, Any] = {"type": "m.room.message", "content": {"body": "$ id", "x": [1, {}]}}
    assert extract(message | {OVERSIZED: True}) == message


LONG: dict[str, Any] = {"body": "x" * (EVENT_COST + 1)}
LISTS: dict[str, Any] = {"x": [[0]] * (EVENT_COST // 50)}
KEYS: dict[str, Any] = {str(number): number for number in range(9999)}


@pytest.mark.parametrize("content", [LONG, LISTS, KEYS], ids=["long", "lists", "keys"])
def test_content_that_no_event_can_have_is_not_kept(content: dict[str, Any]) -> None:
    """Neither a text that is too long nor too many small values stay in memory; that is noted."""
    assert extract({"type": "m.room.message", "content": content}) == {
        "type": "m.room.message",
        OVERSIZED: True,
    }


def test_the_largest_event_is_kept() -> None:
    """What fits into 64 KiB is kept, whatever characters it is written in."""
    for text in (
        "x" * 65_000,
        "\N{CJK UNIFIED IDEOGRAPH-4E00}" * 21_600,
        "x" * 65_000 + "\U0001f600",
    ):
        message: dict[str, Any] = {"type": "m.room.message", "content": {"body": text}}
        assert extract(message) == message


def test_depth_is_no_way_round() -> None:
    """A value that is too deep to be written costs more than is ever kept."""
    deep: Json = []
    for _ in range(sys.getrecursionlimit() * 100):
        deep = [deep]
    assert extract({"type": "m.room.message", "content": deep}) == {
        "type": "m.room.message",
        OVERSIZED: True,
    }


@given(VALUES)
def test_any_event(value: Json) -> None:
    """Any value in the place of any part of a state event is taken, and costs little."""
    for key in JOIN:
        kept = extract(JOIN | {key: value})
        assert cost(kept) <= 10_000
