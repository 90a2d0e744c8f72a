# SPDX-License-Identifier: MIT
"""The airlock's stages, in order, and what those of sender and freshness refuse (I5)."""

import dataclasses

import msgspec
import pytest

from tests.agent.airlock import (
    DEDICATED,
    NOW,
    OPERATOR,
    RULES,
    SHARED,
    SITUATION,
    STRANGER,
    TIMEBOX,
    refused,
    text,
)
from tibet_nc_agent.airlock import Cause, Ignored, Passed, decide
from tibet_nc_agent.event import Incoming, Replayed, Undecryptable, Unreadable
from tibet_nc_agent.operators import Standing
from tibet_nc_protocol.terms import Stage

SEALED = Undecryptable(
    room_id=DEDICATED, event_id="$e", sender=OPERATOR, sent_ms=NOW, age_ms=0, session_id="s"
)


@pytest.mark.parametrize(
    ("standing", "cause", "next_step"),
    [
        (Standing.STRANGER, Cause.STRANGER, f"tibet-nc-agent trust {OPERATOR}"),
        (Standing.UNPINNED, Cause.UNPINNED, f"tibet-nc-agent trust {OPERATOR}"),
        (Standing.READER, Cause.READER, "administrator"),
    ],
)
def test_who_may_not_command_is_told_what_next(
    standing: Standing, cause: Cause, next_step: str
) -> None:
    """Who isn't pinned is told the very command that the host's administrator has to type (I5)."""
    refusal = refused(text("uptime"), dataclasses.replace(SITUATION, standing=standing))
    assert refusal.family == cause
    assert next_step in refusal.next_step


@pytest.mark.parametrize(
    ("standing", "unknown"),
    [
        (Standing.PAUSED, "it was another one before"),
        (Standing.OPERATOR, "the sender's device is not known"),
    ],
)
def test_what_is_known_of_a_device_is_said(standing: Standing, unknown: str) -> None:
    """What is wrong with identity or device is told as it was found, or that nothing is known."""
    situation = dataclasses.replace(SITUATION, standing=standing, device=None)
    assert refused(text("uptime"), situation).reason.endswith(unknown)
    found = dataclasses.replace(situation, device_problem="it is X and not Y")
    assert refused(text("uptime"), found).reason.endswith("it is X and not Y")


def test_nothing_runs_in_company() -> None:
    """While somebody is in the room who may not read the answer, nothing runs, and who it is."""
    many = tuple(f"@{name}:example.org" for name in "abcdef")
    for strangers, named in (((STRANGER,), STRANGER), (many, ", ".join(many[:3]))):
        refusal = refused(text("uptime"), dataclasses.replace(SITUATION, strangers=strangers))
        assert (refusal.stage, refusal.family) == (Stage.SENDER, Cause.COMPANY)
        assert refusal.reason.endswith(f": {named}")


def test_pins_that_can_not_be_used_are_said_to_be_so() -> None:
    """When the file of the pins is unusable, nobody is told to pin anybody in it."""
    situation = dataclasses.replace(
        SITUATION, standing=Standing.UNPINNED, pins_problem="/etc/x: Permission denied"
    )
    refusal = refused(text("uptime"), situation)
    assert "can't be used" in refusal.reason
    assert "doctor" in refusal.next_step
    assert "/etc/x" not in refusal.reason


def test_first_objection_decides() -> None:
    """The stages are passed in order: who, how old, what."""
    worst = text("reboot", age_ms=10**6)
    stages = [refused(worst, dataclasses.replace(SITUATION, standing=Standing.STRANGER)).stage]
    stages.append(refused(worst).stage)
    stages.append(refused(text("reboot")).stage)
    assert stages == [Stage.SENDER, Stage.FRESHNESS, Stage.SAFETY]


@pytest.mark.parametrize(
    ("event", "cause"),
    [
        (text("$ uptime", origin=None), Cause.PLAINTEXT),
        (SEALED, Cause.UNDECRYPTABLE),
        (
            Unreadable(
                room_id=DEDICATED, event_id="$e", sender=OPERATOR, sent_ms=NOW, age_ms=0, reason="x"
            ),
            Cause.UNREADABLE,
        ),
        (
            Replayed(
                room_id=DEDICATED,
                event_id="$e",
                sender=OPERATOR,
                sent_ms=NOW,
                age_ms=0,
                first_event_id="$first",
            ),
            Cause.REPLAY,
        ),
    ],
)
@pytest.mark.parametrize("room_id", [DEDICATED, SHARED])
def test_unauthenticated_messages(event: Incoming, cause: Cause, room_id: str) -> None:
    """What doesn't prove who wrote it is refused at the first stage, with its own reason (I5)."""
    refusal = refused(msgspec.structs.replace(event, room_id=room_id))
    assert (refusal.stage, refusal.family) == (Stage.SENDER, cause)


@pytest.mark.parametrize("standing", Standing)
def test_what_is_not_readable_of_the_unpinned_is_ignored(standing: Standing) -> None:
    """It may be anything, and often is what another agent has answered to its own operators."""
    decision = decide(SEALED, dataclasses.replace(SITUATION, standing=standing), RULES)
    assert (decision is Ignored.SEALED) == (standing is Standing.UNPINNED)


def test_unknown_device() -> None:
    """A message that no checked device of the sender sent is refused with the reason (I5)."""
    situation = dataclasses.replace(
        SITUATION,
        device=None,
        device_problem="no device of @op:example.org owns the key that sent this message",
    )
    refusal = refused(text("uptime"), situation)
    assert (refusal.stage, refusal.family) == (Stage.SENDER, Cause.DEVICE)
    assert "owns the key" in refusal.reason


@pytest.mark.parametrize("body", ["* $ uptime", "* uptime", "$ uptime"])
def test_edits_are_refused(body: str) -> None:
    """An edit of a command is refused with a note, in every form that clients give it."""
    refusal = refused(text(body, is_edit=True))
    assert (refusal.stage, refusal.family) == (Stage.FRESHNESS, Cause.EDIT)


def test_edited_talk_is_ignored() -> None:
    """An edit of talk in a room that isn't dedicated is talk; an edit of a command is refused."""
    talk = text("* hello", room_id=SHARED, is_edit=True)
    command = text("* $ uptime", room_id=SHARED, is_edit=True)
    assert decide(talk, SITUATION, RULES) is Ignored.TALK
    assert refused(command).family == Cause.EDIT


def test_stale_says_how_old_and_whose_clock() -> None:
    """A stale message is refused with its age, the limit and the skew of the clocks in numbers."""
    situation = dataclasses.replace(SITUATION, listening_since_ms=NOW - 5_000, skew_ms=-37_000)
    refusal = refused(text("uptime", age_ms=31_500), situation)
    assert (refusal.stage, refusal.family) == (Stage.FRESHNESS, Cause.STALE)
    assert refusal.reason == (
        "it was sent 31.5 s ago and before the agent was listening; at most 30 s are permitted "
        "(the homeserver's clock is -37.0 s from this host's)"
    )
    assert "timedatectl" in refusal.next_step


def test_future() -> None:
    """A message from the future is refused with the distance."""
    refusal = refused(text("uptime", age_ms=-45_000))
    assert (refusal.stage, refusal.family) == (Stage.FRESHNESS, Cause.FUTURE)
    assert "45.0 s in the future" in refusal.reason


@pytest.mark.parametrize("age_ms", [-TIMEBOX, 0, TIMEBOX])
def test_within_the_timebox(age_ms: int) -> None:
    """The limits themselves are still fresh."""
    assert isinstance(decide(text("uptime", age_ms=age_ms), SITUATION, RULES), Passed)
