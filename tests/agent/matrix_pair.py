# SPDX-License-Identifier: MIT
"""An agent's receiving side and an operator's keys, with a homeserver between that may lie.

Everything is the agent's own code on a real Olm store; what the homeserver would answer is made
here, so that it can be changed before the agent reads it.
"""

import base64
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from tibet_nc_agent import sync
from tibet_nc_agent.airlock import Ignored, Rules, addressed
from tibet_nc_agent.canonical import JsonObject, as_object
from tibet_nc_agent.event import Incoming, TextMessage, VerificationEvent
from tibet_nc_agent.homeserver import parsed
from tibet_nc_agent.inbox import Inbox, Item
from tibet_nc_agent.login import Login
from tibet_nc_agent.olm import OlmMachine
from tibet_nc_agent.receiver import Receiver
from tibet_nc_agent.replay import ReplayGuard
from tibet_nc_agent.rooms import Room
from tibet_nc_agent.safety import judge
from tibet_nc_agent.service import item_of
from tibet_nc_agent.verification import is_request

BOT: Final = "@bot:example.org"
OPERATOR: Final = "@op:example.org"
STRANGER: Final = "@mallory:example.org"
ROOM: Final = "!room"
SECOND: Final = "!second"
"""Another room whose keys are taken in."""
SIGNED: Final = "signed_curve25519"

type Anything = dict[str, Any]


def to_device(sender: str, content: object) -> Anything:
    """Return an encrypted message to a device."""
    return {"type": "m.room.encrypted", "sender": sender, "content": content}


class Keys:
    """One device and its keys."""

    def __init__(self, directory: Path, user_id: str, device_id: str) -> None:
        directory.mkdir()
        self.user_id: Final = user_id
        self.device_id: Final = device_id
        self.machine: Final = OlmMachine.open(
            directory,
            Login(user_id=user_id, device_id=device_id, access_token="token"),
            bytes(32),
            admits=lambda room, sender: room in {ROOM, SECOND} and sender == OPERATOR,
        )
        upload = self.machine.keys_to_upload()
        assert upload is not None
        self.machine.keys_uploaded({"one_time_key_counts": {SIGNED: 50}})
        self.device_keys: Final = upload["device_keys"]
        self.one_time_keys: Final[Anything] = as_object(upload["one_time_keys"])

    def queried(self) -> Anything:
        """Return what the homeserver answers to ``/keys/query`` about this device's user."""
        unsigned = {"device_display_name": "phone"}
        device = json.loads(json.dumps(self.device_keys)) | {"unsigned": unsigned}
        return {"device_keys": {self.user_id: {self.device_id: device}}, "failures": {}}

    def claimed(self, number: int = 0) -> Anything:
        """Return what the homeserver answers when a one-time key of this device is claimed."""
        key_id, key = list(self.one_time_keys.items())[number]
        return {"one_time_keys": {self.user_id: {self.device_id: {key_id: key}}}, "failures": {}}

    def olm(self, other: "Keys", plaintext: str) -> Anything:
        """Return the content of an Olm message to a device that :meth:`Pair.meet` introduced."""
        session = self.machine._machine.session_store.get(other.machine.curve25519)
        assert session is not None
        kind, data = session.encrypt(plaintext).to_parts()
        ciphertext = {"type": kind, "body": base64.b64encode(data).decode().rstrip("=")}
        return {
            "algorithm": "m.olm.v1.curve25519-aes-sha2",
            "sender_key": self.machine.curve25519,
            "ciphertext": {other.machine.curve25519: ciphertext},
        }


class Pair:
    """An agent with one operator; ``close`` ends it."""

    def __init__(self, directory: Path) -> None:
        self._resources = ExitStack()
        self.agent: Final = Keys(directory / "agent", BOT, "BOT")
        self.operator: Final = Keys(directory / "operator", OPERATOR, "PHONE")
        self.inbox: Final = Inbox(directory)
        replay = ReplayGuard.open(directory / "agent" / "replay.db")
        self.rooms: Final[dict[str, Room]] = {}
        self.receiver: Final = Receiver(
            user_id=BOT,
            machine=self.agent.machine,
            replay=replay,
            rooms=self.rooms,
            members=lambda: frozenset({OPERATOR}),
            hears=lambda user_id: user_id == OPERATOR,
        )
        self.rules: Final = Rules(
            user_id=BOT,
            rooms=frozenset({ROOM}),
            dedicated_room=ROOM,
            timebox_ms=30_000,
            judge=judge,
        )
        for close in (self.agent.machine.close, self.operator.machine.close, replay.close):
            self._resources.callback(close)
        self._resources.callback(self.inbox.close)
        self._number = 0
        self.meet(self.operator, self.agent)
        self.meet(self.agent, self.operator)

    def close(self) -> None:
        """Close all files."""
        self._resources.close()

    @staticmethod
    def meet(one: Keys, other: Keys, number: int = 0) -> None:
        """Have one side learn the other's device and make an Olm session with it."""
        one.machine.learn_devices(other.queried(), (other.user_id,))
        one.machine.trust((other.user_id,), lambda _: True)
        one.machine.keys_claimed(other.claimed(number))

    @staticmethod
    def sent(answer: object) -> JsonObject:
        """Return what the agent reads when the homeserver answers this."""
        return as_object(parsed(json.dumps(answer).encode()))

    def event(self, content: JsonObject, event_type: str = "m.room.message") -> Anything:
        """Return an event of the operator's, in the clear."""
        self._number += 1
        return {
            "type": event_type,
            "event_id": f"$event{self._number}",
            "sender": OPERATOR,
            "origin_server_ts": 1_700_000_000_000 + self._number,
            "unsigned": {"age": 5},
            "content": content,
        }

    def said(self, body: str, room: str = ROOM) -> tuple[list[Anything], Anything]:
        """Return the message to the agent's device with a new room key, and the room message."""
        machine = self.operator.machine
        machine.discard_room_key(room)
        keys = [
            self._to_device(as_object(share.messages[BOT])["BOT"])
            for share in machine.room_key_shares(room, (BOT,))
        ]
        encrypted = machine.encrypt(room, "m.room.message", {"msgtype": "m.text", "body": body})
        return keys, self.event(encrypted, "m.room.encrypted")

    def spoiled(self, spoil: Callable[[Anything], Any]) -> tuple[list[Anything], Anything]:
        """Return as :meth:`said`, and with the sound key one whose payload is spoiled.

        The payload of the room message is spoiled, too.
        """
        keys, message = self.said("$ id")
        olm = self.operator.machine._machine
        room_key = spoil(
            {
                "sender": OPERATOR,
                "sender_device": "PHONE",
                "keys": {"ed25519": self.operator.machine.ed25519},
                "recipient": BOT,
                "recipient_keys": {"ed25519": self.agent.machine.ed25519},
                "type": "m.room_key",
                "content": {
                    "algorithm": "m.megolm.v1.aes-sha2",
                    "room_id": ROOM,
                    "session_id": message["content"]["session_id"],
                    "session_key": olm.outbound_group_sessions[ROOM].session_key,
                },
            }
        )
        content = self.operator.olm(self.agent, json.dumps(room_key))
        text = spoil(
            {
                "type": "m.room.message",
                "room_id": ROOM,
                "content": {"msgtype": "m.text", "body": "$ id", "m.new_content": {}},
            }
        )
        group = olm.outbound_group_sessions[ROOM]._session
        message["content"]["ciphertext"] = group.encrypt(json.dumps(text).encode()).to_base64()
        return [*keys, self._to_device(content)], message

    @staticmethod
    def _to_device(content: object) -> Anything:
        return to_device(OPERATOR, content)

    def answer(self, body: str) -> tuple[Anything, str]:
        """Return a whole ``/sync`` answer that brings a command, and the id of its event."""
        keys, message = self.said(body)
        me: Anything = {
            **self.event({"membership": "join"}, "m.room.member"),
            "sender": BOT,
            "state_key": BOT,
        }
        members: list[Anything] = [
            {**self.event({"membership": "join"}, "m.room.member"), "state_key": OPERATOR},
            {**self.event({"algorithm": "x"}, "m.room.encryption"), "state_key": ""},
        ]
        reaction: JsonObject = {"m.relates_to": {"rel_type": "m.annotation", "event_id": "$x"}}
        asked: JsonObject = {"msgtype": "m.key.verification.request", "to": BOT, "methods": []}
        begun: JsonObject = {"from_device": "PHONE", "method": "m.sas.v1", "hashes": ["sha256"]}
        invited = {**me, "content": {"membership": "invite"}, "sender": OPERATOR}
        whole: Anything = {
            "next_batch": f"token{self._number}",
            "to_device": {"events": keys},
            "device_lists": {"changed": [OPERATOR], "left": []},
            "device_one_time_keys_count": {SIGNED: 50},
            "device_unused_fallback_key_types": [SIGNED],
            "rooms": {
                "join": {
                    ROOM: {
                        "state": {"events": [me, *members]},
                        "timeline": {
                            "events": [
                                self.event({"msgtype": "m.text", "body": "$ in the clear"}),
                                self.event(reaction, "m.reaction"),
                                self.event(asked),
                                self.event(begun, "m.key.verification.start"),
                                {**members[0], "sender": STRANGER},
                                message,
                            ],
                            "limited": True,
                            "prev_batch": "before",
                        },
                    }
                },
                "invite": {"!other": {"invite_state": {"events": [invited]}}},
                "leave": {"!left": {}},
            },
        }
        return whole, str(message["event_id"])

    def take(self, answer: JsonObject) -> list[Incoming]:
        """Do what the agent does with a sync answer, from its bytes to the inbox.

        Raises what would end the agent; an answer that is none raises Unreachable.
        """
        read = sync.read(self.sent(answer), BOT)
        machine = self.agent.machine
        machine.count_keys(one_time_keys=read.one_time_keys, has_fallback_key=read.has_fallback_key)
        machine.must_query(read.changed_users)
        configured = [update for update in read.rooms if update.room_id in self.rules.rooms]
        events = self.receiver.take_in(read, configured)
        items: list[Item] = []
        for event in events:
            if isinstance(event, VerificationEvent):
                is_request(event, BOT)
                continue
            message = addressed(event, self.rules)
            if not isinstance(message, Ignored):
                items.append(item_of(message))
        self.inbox.accept(read.token, items)
        return events

    def hears(self) -> bool:
        """Whether an honest command still reaches the agent."""
        answer, event_id = self.answer("$ uptime")
        return any(
            isinstance(event, TextMessage)
            and (event.event_id, event.body) == (event_id, "$ uptime")
            for event in self.take(answer)
        )
