# SPDX-License-Identifier: MIT
"""Commands that are replies, with a quotation as older clients put it, or in a thread."""

import json
import os
from typing import Any

import pytest

from tests.harness import Operator
from tests.harness.host import Host

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")


def reply(event_id: str, quoted: str, body: str) -> dict[str, Any]:
    """Return a reply as clients sent it until version 1.12 of the specification."""
    quotation = "\n> ".join(quoted.splitlines())
    return {
        "msgtype": "m.text",
        "body": f"> <@somebody:example.org> {quotation}\n\n{body}",
        "format": "org.matrix.custom.html",
        "formatted_body": f"<mx-reply><blockquote>{quoted}</blockquote></mx-reply>{body}",
        "m.relates_to": {"m.in_reply_to": {"event_id": event_id}},
    }


async def test_a_reply_is_the_command_without_what_it_quotes(
    host: Host, operator: Operator, room: str
) -> None:
    """What is judged, run and recorded of a reply is its own text, in one and the same form."""
    first = await operator.answer_to(await operator.send_text(room, "$ printf 'a\\n\\nb\\n'"))
    run = await operator.send(room, reply(first.event_id, first.body, "$ echo one"))
    assert (await operator.answer_to(run)).body.startswith("one\n")
    refused = await operator.send(room, reply(first.event_id, first.body, "$ rm -rf /"))
    assert "refused at safety (wipe): `rm -rf /`" in (await operator.answer_to(refused)).body
    listed = map(json.loads, host.audit("log", "--json").stdout.splitlines())
    commands = {entry["event"]: entry["command"] for entry in listed if entry.get("event")}
    assert (commands[run], commands[refused]) == ("echo one", "rm -rf /")


async def in_thread(operator: Operator, room: str, root: str, body: str) -> str:
    """Send a message in a thread, as clients do; return its event id."""
    relation = {
        "rel_type": "m.thread",
        "event_id": root,
        "is_falling_back": True,
        "m.in_reply_to": {"event_id": root},
    }
    content = {"msgtype": "m.text", "body": body, "m.relates_to": relation}
    return await operator.send(room, content)


@pytest.mark.parametrize(
    ("body", "shown", "messages"),
    [
        ("$ echo one", "one\n", 1),
        ("$ sleep 2; echo two", "two\n", 2),
        ("$ seq 20000", "1\n2\n", 2),
        ("$ rm -rf /", "refused at safety", 1),
        ("!tail 4711", "denied by the executor", 1),
        ("help", "$ df -h", 1),
    ],
)
async def test_what_is_asked_in_a_thread_is_answered_there(
    host: Host, operator: Operator, room: str, body: str, shown: str, messages: int
) -> None:
    """Answers, notices of what started, files and refusals are replies in the command's thread."""
    assert host.agent.running
    root = await operator.send_text(room, "$ true")
    await operator.answer_to(root)
    asked = await in_thread(operator, room, root, body)
    assert (await operator.answer_to(asked)).body.startswith(shown)
    said = [seen for seen in operator.events if seen.result.get("event_id") == asked]
    answers = {seen.event_id: seen for seen in said if seen.replaces is None}
    assert len(answers) >= messages
    for answer in answers.values():
        assert answer.content["m.relates_to"] == {
            "rel_type": "m.thread",
            "event_id": root,
            "is_falling_back": False,
            "m.in_reply_to": {"event_id": asked},
        }
    path = f"/_matrix/client/v1/rooms/{room}/relations/{root}/m.thread"
    _, listed = await operator.request("GET", path)
    assert {event["event_id"] for event in listed["chunk"]} == {asked, *answers}
