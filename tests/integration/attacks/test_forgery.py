# SPDX-License-Identifier: MIT
"""What a homeserver makes up is refused, or is not even looked at (I5)."""

from tests.integration.attacks.attack import (
    Attack,
    Body,
    in_the_clear,
    needs_root,
    refused,
    timeline,
)

pytestmark = needs_root


async def test_plaintext_command_in_an_operators_name(attack: Attack) -> None:
    """A command that the homeserver makes up, in an operator's name, is refused as plain text."""
    made_up = in_the_clear(attack.operator.user_id, {"msgtype": "m.text", "body": "$ id"})
    await attack.inject(made_up)
    await refused(attack, made_up["event_id"], "plaintext", "not encrypted")


async def test_reaction_commands_nothing(attack: Attack) -> None:
    """A reaction, always in the clear, is never a command and moves none."""
    first = attack.ran()
    relation = {"rel_type": "m.annotation", "event_id": first[0], "key": "$ id"}
    reaction = in_the_clear(attack.operator.user_id, {"m.relates_to": relation}, "m.reaction")
    await attack.inject(reaction)
    later = await attack.runs("$ echo later", "later\n")
    assert attack.ran() == [*first, later]


async def test_relation_to_another_message_is_not_followed(attack: Attack) -> None:
    """A relation that the homeserver adds in the clear neither repeats nor answers another one."""
    (first,) = attack.ran()

    def point_elsewhere(body: Body) -> Body:
        for event in timeline(body, attack.room):
            if event["type"] == "m.room.encrypted" and event["sender"] == attack.operator.user_id:
                event["content"]["m.relates_to"] = {
                    "rel_type": "m.thread",
                    "event_id": first,
                    "m.in_reply_to": {"event_id": first},
                }
        return body

    attack.proxy.rewrite("/sync", point_elsewhere)
    second = await attack.runs("$ echo second", "second\n")
    assert attack.ran() == [first, second]
    assert len(attack.operator.answers_to(first)) == 1


async def test_thread_that_is_none_keeps_no_answer_back(attack: Attack) -> None:
    """A thread that the homeserver makes up, and takes no answer in, is left for the room (I4)."""

    def make_up(body: Body) -> Body:
        for event in timeline(body, attack.room):
            if event["type"] == "m.room.encrypted" and event["sender"] == attack.operator.user_id:
                event["content"]["m.relates_to"] = {"rel_type": "m.thread", "event_id": "$none"}
        return body

    attack.proxy.rewrite("/sync", make_up)
    asked = await attack.runs("$ echo heard", "heard\n")
    answer = await attack.answer_to(asked)
    assert answer.content["m.relates_to"] == {"m.in_reply_to": {"event_id": asked}}
