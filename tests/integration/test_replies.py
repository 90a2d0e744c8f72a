# SPDX-License-Identifier: MIT
"""Commands that are replies: by clients of today, and by those that quote what they reply to."""

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
