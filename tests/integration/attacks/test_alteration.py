# SPDX-License-Identifier: MIT
"""What a homeserver changes of a command, or moves elsewhere, is refused (I5)."""

from tests.harness import Account
from tests.integration import forge
from tests.integration.attacks.attack import (
    Attack,
    Body,
    NewOperator,
    a_copy,
    needs_root,
    refused,
    timeline,
)

pytestmark = needs_root


async def test_relabelled_sender(attack: Attack, new_operator: NewOperator, bot: Account) -> None:
    """One operator's command under another's name is of no device of the other, and is refused."""
    first, second = attack.operator, await new_operator()
    pins = {each.user_id: each.master_key for each in (first, second)}
    attack.host.pin(pins)
    await first.invite(attack.room, second.user_id)
    await second.join(attack.room)
    await second.wait_member(attack.room, bot.user_id)
    own = await second.send_text(attack.room, "$ echo own")
    assert (await second.answer_to(own, 90)).body.startswith("own\n")

    def relabel(body: Body) -> Body:
        for event in timeline(body, attack.room):
            if event["sender"] == second.user_id:
                event["sender"] = first.user_id
                if "device_id" in event["content"]:
                    event["content"]["device_id"] = first.device_id
        return body

    attack.proxy.rewrite("/sync", relabel)
    sent = await second.send_text(attack.room, "$ id")
    await refused(attack, sent, "device", "no device of")


async def test_edit_disguised_as_a_message(attack: Attack) -> None:
    """An edit stays one when the homeserver takes away that it replaces something."""

    def disguise(body: Body) -> Body:
        for event in timeline(body, attack.room):
            event["content"].pop("m.relates_to", None)
        return body

    attack.proxy.rewrite("/sync", disguise)
    edit = await attack.operator.edit(attack.room, attack.ran()[0], "$ id")
    await refused(attack, edit, "edit", "an edit is never run")


async def test_message_disguised_as_an_edit(attack: Attack) -> None:
    """A command that the homeserver turns into an edit is refused, not run in another's place."""

    def disguise(body: Body) -> Body:
        for event in timeline(body, attack.room):
            if event["type"] == "m.room.encrypted" and event["sender"] == attack.operator.user_id:
                relation = {"rel_type": "m.replace", "event_id": "$another"}
                event["content"]["m.relates_to"] = relation
        return body

    attack.proxy.rewrite("/sync", disguise)
    sent = await attack.command("$ id")
    record = await attack.refusal(sent)
    assert record.family == "edit"
    assert len(attack.ran()) == 1


async def test_another_rooms_command(attack: Attack) -> None:
    """What an operator said in another room is not said in this one."""
    elsewhere = await attack.operator.create_room()
    said = await attack.operator.send_text(elsewhere, "$ id")
    moved = a_copy(await forge.event(attack.operator, elsewhere, said), room_id=attack.room)
    await attack.inject(moved)
    await refused(attack, moved["event_id"], "undecryptable", "key")
