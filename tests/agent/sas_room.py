# SPDX-License-Identifier: MIT
"""Two sides of a verification by emoji, and a homeserver between them that does as it likes."""

from collections.abc import Callable
from dataclasses import dataclass, field

from vodozemac import Sas

from tibet_nc_agent.identity import Device, Identity
from tibet_nc_agent.sas import (
    Compare,
    Ended,
    Handshake,
    Ours,
    Send,
    State,
    Verified,
)
from tibet_nc_agent.sas.handshake import Effect

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

    def took(self, effects: list[Effect]) -> list[Send]:
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

    def post(self, sender: Side, effects: list[Effect]) -> None:
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
