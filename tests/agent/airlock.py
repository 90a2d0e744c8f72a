# SPDX-License-Identifier: MIT
"""An airlock with its usual rules, and a message that passes it, to be varied."""

from tibet_nc_agent.airlock import Passed, Refused, Rules, Situation, decide
from tibet_nc_agent.event import Incoming, Origin, TextMessage
from tibet_nc_agent.operators import Standing
from tibet_nc_agent.safety import judge

BOT, OPERATOR, STRANGER = "@bot:example.org", "@op:example.org", "@eve:example.org"
DEDICATED, SHARED, OTHER = "!dedicated:example.org", "!shared", "!other:example.org"
NOW = 1_764_000_000_000
TIMEBOX = 30_000

RULES = Rules(
    user_id=BOT,
    rooms=frozenset({DEDICATED, SHARED}),
    dedicated_room=DEDICATED,
    timebox_ms=TIMEBOX,
    judge=judge,
)
SITUATION = Situation(
    now_ms=NOW,
    listening_since_ms=NOW - 3_600_000,
    skew_ms=120,
    standing=Standing.OPERATOR,
    pins_problem="",
    device="DEVICE",
    device_problem="",
)
ORIGIN = Origin(sender_key="key", session_id="session", ciphertext="0" * 64)


def text(
    body: str,
    *,
    room_id: str = DEDICATED,
    sender: str = OPERATOR,
    age_ms: int = 100,
    is_edit: bool = False,
    origin: Origin | None = ORIGIN,
) -> TextMessage:
    """Return a message."""
    return TextMessage(
        room_id=room_id,
        event_id="$event",
        sender=sender,
        sent_ms=NOW - age_ms,
        age_ms=age_ms,
        body=body,
        is_edit=is_edit,
        device_id="CLAIMED",
        origin=origin,
    )


def passed(body: str, *, room_id: str = DEDICATED) -> object:
    """Return what a message that passes asks for."""
    decision = decide(text(body, room_id=room_id), SITUATION, RULES)
    assert isinstance(decision, Passed), decision
    return decision.action


def refused(event: Incoming, situation: Situation = SITUATION) -> Refused:
    """Return the refusal of a message."""
    decision = decide(event, situation, RULES)
    assert isinstance(decision, Refused), decision
    return decision
