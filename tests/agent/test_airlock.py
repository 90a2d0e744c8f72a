# SPDX-License-Identifier: MIT
"""The airlock: every message gets exactly one decision, and only what may pass passes (I5)."""

import dataclasses
import itertools
from typing import Any, get_args

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from tibet_nc_agent import event as events
from tibet_nc_agent.action import (
    PREFIX,
    Control,
    Execute,
    Explain,
    Leave,
    Misused,
    Peek,
    Report,
    StopAll,
    Tell,
    Type,
)
from tibet_nc_agent.airlock import (
    Cause,
    Ignored,
    Passed,
    Refused,
    Rules,
    Situation,
    addressed,
    command_of,
    decide,
)
from tibet_nc_agent.event import (
    Incoming,
    Invite,
    KeysChanged,
    MemberAdded,
    MemberRemoved,
    Missed,
    Origin,
    Replayed,
    RoomUnencrypted,
    TextMessage,
    Undecryptable,
    Unreadable,
    VerificationEvent,
)
from tibet_nc_agent.operators import Standing
from tibet_nc_agent.safety import Decision as Safety
from tibet_nc_agent.safety import Family, Finding, Verdict, judge
from tibet_nc_protocol.limits import COMMAND_CHARACTERS, INPUT_CHARACTERS, TEXT_CHARACTERS
from tibet_nc_protocol.messages import Refuse
from tibet_nc_protocol.terms import Signal, Stage

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


# --- every message, every context ---------------------------------------------------------------

ROOMS = st.sampled_from([DEDICATED, SHARED, OTHER])
SENDERS = st.sampled_from([OPERATOR, STRANGER, BOT])
BODIES = st.one_of(
    st.text(),
    st.sampled_from(
        ["$ uptime", "uptime", "$ ", "$", "", "status", "!kill 3", "? rm -rf /", "exit"]
    ),
    st.sampled_from(
        ["$ reboot", "* $ uptime", "$ echo “x”", "$ a\0b", "!cancel", "!x", "$ :(){ :|:& };:"]
    ),
)
AGES = st.sampled_from([-TIMEBOX - 1, -TIMEBOX, 0, TIMEBOX, TIMEBOX + 1, 10**9, NOW])
PLACED = {
    "room_id": ROOMS,
    "event_id": st.just("$event"),
    "sender": SENDERS,
    "sent_ms": AGES.map(lambda age: NOW - age),
    "age_ms": st.none(),
}
INCOMING: st.SearchStrategy[Incoming] = st.one_of(
    st.builds(
        TextMessage,
        **PLACED,
        body=BODIES,
        is_edit=st.booleans(),
        device_id=st.none(),
        origin=st.sampled_from([None, ORIGIN]),
    ),
    st.builds(Undecryptable, **PLACED, session_id=st.text()),
    st.builds(Unreadable, **PLACED, reason=st.text()),
    st.builds(Replayed, **PLACED, first_event_id=st.text()),
    st.builds(Invite, room_id=ROOMS, sender=SENDERS),
    st.builds(MemberAdded, room_id=ROOMS, user_id=SENDERS, invited=st.booleans()),
    st.builds(MemberRemoved, room_id=ROOMS, user_id=SENDERS),
    st.builds(RoomUnencrypted, room_id=ROOMS),
    st.builds(KeysChanged, user_id=SENDERS),
    st.builds(VerificationEvent, **PLACED, event_type=st.text(), content=st.just({})),
    st.builds(Missed, room_id=ROOMS),
)
SITUATIONS = st.builds(
    Situation,
    now_ms=st.just(NOW),
    listening_since_ms=st.sampled_from([0, NOW - 1, NOW]),
    skew_ms=st.sampled_from([None, 0, -40_000, 40_000]),
    standing=st.sampled_from(Standing),
    pins_problem=st.sampled_from(["", "the file is not there"]),
    device=st.sampled_from([None, "DEVICE"]),
    device_problem=st.text(),
    strangers=st.sampled_from([(), (STRANGER,)]),
)


def test_every_kind_of_event_is_drawn() -> None:
    """The properties below cover every kind of event there is."""
    drawn: set[type] = {TextMessage, Undecryptable, Unreadable, Replayed, RoomUnencrypted, Missed}
    drawn |= {Invite, KeysChanged, MemberAdded, MemberRemoved, VerificationEvent}
    assert drawn == set(get_args(events.Incoming.__value__))


@given(INCOMING, SITUATIONS)
def test_exactly_one_decision(event: Incoming, situation: Situation) -> None:
    """Every event in every context gets one decision, and always the same one."""
    decision = decide(event, situation, RULES)
    assert isinstance(decision, Passed | Refused | Ignored)
    assert decide(event, situation, RULES) == decision
    assert isinstance(decision, Ignored) == isinstance(addressed(event, RULES), Ignored)


PASSES: dict[str, tuple[tuple[object, ...], tuple[object, ...]]] = {
    "room_id": ((DEDICATED,), (SHARED, OTHER)),
    "sender": ((OPERATOR,), (BOT,)),
    "age_ms": ((0, 100, TIMEBOX, -TIMEBOX), (TIMEBOX + 1, -TIMEBOX - 1, 10**9, NOW)),
    "is_edit": ((False,), (True,)),
    "origin": ((ORIGIN,), (None,)),
    "standing": ((Standing.OPERATOR,), tuple(set(Standing) - {Standing.OPERATOR})),
    "device": (("DEVICE",), (None,)),
    "strangers": (((),), ((STRANGER,),)),
}
"""What a message and its situation may be for the text ``uptime`` to pass, and what not."""


def test_what_passes() -> None:
    """What passes, and all of that, is a fresh, first, encrypted text of an operator's device (I5).

    Its device is checked, the room is the agent's own, and nobody else is there.
    """
    names = tuple(PASSES)
    for drawn in itertools.product(*(good + bad for good, bad in PASSES.values())):
        value: dict[str, Any] = dict(zip(names, drawn, strict=True))
        situation = dataclasses.replace(
            SITUATION, **{name: value.pop(name) for name in ("standing", "device", "strangers")}
        )
        decision = decide(text("uptime", **value), situation, RULES)
        expected = all(
            found in good for found, (good, _) in zip(drawn, PASSES.values(), strict=True)
        )
        assert isinstance(decision, Passed) == expected, drawn


@given(INCOMING, SITUATIONS)
def test_every_refusal_says_why_and_can_be_recorded(event: Incoming, situation: Situation) -> None:
    """A refusal names stage, cause, reason and next step, and fits the executor's record."""
    decision = decide(event, situation, RULES)
    if not isinstance(decision, Refused):
        return
    assert decision.stage in {Stage.SENDER, Stage.FRESHNESS, Stage.SAFETY}
    assert decision.family
    assert decision.reason or isinstance(event, Unreadable)
    assert decision.next_step
    request = Refuse(
        request=1,
        room=DEDICATED,
        event="$event",
        sender=OPERATOR,
        device=situation.device,
        command=decision.command,
        stage=decision.stage,
        family=str(decision.family),
        reason=decision.reason[:TEXT_CHARACTERS],
    )
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(request), type=Refuse) == request


@given(INCOMING, SITUATIONS)
def test_strangers_words_are_not_kept(event: Incoming, situation: Situation) -> None:
    """Who may not command decides neither what runs nor how much is recorded (I5)."""
    decision = decide(event, situation, RULES)
    if situation.standing is not Standing.OPERATOR and not isinstance(decision, Ignored):
        assert isinstance(decision, Refused)
        assert (decision.stage, decision.command) == (Stage.SENDER, None)


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


def test_nothing_runs_in_company() -> None:
    """While somebody is in the room who may not read the answer, nothing runs, and who it is."""
    refusal = refused(text("uptime"), dataclasses.replace(SITUATION, strangers=(STRANGER,)))
    assert (refusal.stage, refusal.family) == (Stage.SENDER, Cause.COMPANY)
    assert STRANGER in refusal.reason


def test_pins_that_can_not_be_used_are_said_to_be_so() -> None:
    """When the file of the pins is unusable, nobody is told to pin anybody in it."""
    situation = dataclasses.replace(
        SITUATION, standing=Standing.UNPINNED, pins_problem="/etc/x: Permission denied"
    )
    refusal = refused(text("uptime"), situation)
    assert "can't be used" in refusal.reason
    assert "doctor" in refusal.next_step
    assert "/etc/x" not in refusal.reason


@given(st.sampled_from([OTHER, SHARED]), BODIES)
def test_talk_is_ignored(room_id: str, body: str) -> None:
    """Other rooms, and talk in rooms that aren't dedicated, are none of the agent's business."""
    if room_id == SHARED and body.startswith(PREFIX):
        return
    assert isinstance(decide(text(body, room_id=room_id), SITUATION, RULES), Ignored)


# --- the order of the stages --------------------------------------------------------------------


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
        (text("uptime", origin=None), Cause.PLAINTEXT),
        (
            Undecryptable(
                room_id=DEDICATED,
                event_id="$e",
                sender=OPERATOR,
                sent_ms=NOW,
                age_ms=0,
                session_id="s",
            ),
            Cause.UNDECRYPTABLE,
        ),
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
def test_unauthenticated_messages(event: Incoming, cause: Cause) -> None:
    """What doesn't prove who wrote it is refused at the first stage, with its own reason (I5)."""
    refusal = refused(event)
    assert (refusal.stage, refusal.family) == (Stage.SENDER, cause)


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


# --- what is asked for --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "action"),
    [
        ("$ uptime", Execute(command="uptime")),
        ("uptime", Execute(command="uptime")),
        ("$  df -h ", Execute(command="df -h")),
        ("$ echo a\necho b", Execute(command="echo a\necho b")),
        ("$ $HOME", Execute(command="$HOME")),
        ("! true", Execute(command="! true")),
        ("status", Tell(report=Report.STATUS)),
        ("$ Status", Tell(report=Report.STATUS)),
        ("$ chain", Tell(report=Report.CHAIN)),
        ("help", Tell(report=Report.HELP)),
        ("jobs", Tell(report=Report.JOBS)),
        ("$ !jobs", Tell(report=Report.JOBS)),
        ("exit", Leave()),
        ("$ quit", Leave()),
        ("bye", Leave()),
        ("exit 3", Execute(command="exit 3")),
        ("!cancel 42", Control(number=42, signal=Signal.INTERRUPT)),
        ("$ !kill #7", Control(number=7, signal=Signal.KILL)),
        ("!stop", StopAll()),
        ("!tail 42", Peek(number=42)),
        ("!eof 42", Type(number=42, text="", end=True)),
        ("!in 42 yes", Type(number=42, text="yes\n", end=False)),
        (
            "$ !in 42  two  words\nand more",
            Type(number=42, text=" two  words\nand more\n", end=False),
        ),
        ("!in 42 7", Type(number=42, text="7\n", end=False)),
    ],
)
def test_what_is_asked_for(body: str, action: object) -> None:
    """Commands, reports, controls and goodbyes are told apart; ``$ `` is optional here."""
    assert passed(body) == action


@pytest.mark.parametrize(
    "body",
    [
        *("!", "!x", "!cancel", "!kill", "!cancel x", "!kill -1", "!kill 1 2", "!stop 3"),
        *("!jobs x", "!in", "!in 3", "!in x", "!tail", "!eof 3 x"),
        "!in 3 " + "x" * INPUT_CHARACTERS,
    ],
)
def test_misused_controls(body: str) -> None:
    """A control that isn't one is explained, never given to the shell."""
    assert isinstance(passed(body), Misused)


def test_explain_judges_and_runs_nothing() -> None:
    """``? cmd`` asks about a command that would be refused."""
    assert passed("? $ rm -rf /") == Explain(command="rm -rf /")


def test_shared_room_needs_the_mark() -> None:
    """In a room that isn't dedicated only ``$ `` makes a command, for built-ins, too."""
    assert passed("$ status", room_id=SHARED) == Tell(report=Report.STATUS)
    assert decide(text("status", room_id=SHARED), SITUATION, RULES) is Ignored.TALK


@pytest.mark.parametrize(
    ("body", "cause", "next_step"),
    [
        ("$ ", Cause.EMPTY, "uptime"),
        ("$", Cause.EMPTY, "uptime"),
        ("", Cause.EMPTY, "uptime"),
        ("$ a\0b", Cause.CHARACTER, "leave it out"),
        ("$ echo \u201chi\u201d", Cause.TYPOGRAPHY, "if you mean this, send it"),
        ("$ " + "x" * (COMMAND_CHARACTERS + 1), Cause.TOO_LONG, "script"),
    ],
)
def test_what_is_no_command(body: str, cause: Cause, next_step: str) -> None:
    """What can't be a command is refused with what to send instead."""
    refusal = refused(text(body))
    assert (refusal.stage, refusal.family) == (Stage.SAFETY, cause)
    assert next_step in refusal.next_step


def test_what_a_phone_typed_is_given_back_as_it_was_meant() -> None:
    """The corrected line is a message to be sent as it stands; nothing is rewritten silently."""
    refusal = refused(text("$ ls \u2014all \u201ca b\u201d\u00a0c"))
    assert refusal.meant == '$ ls --all "a b" c'
    assert passed(refusal.meant) == Execute(command='ls --all "a b" c')


def test_dangerous_command_is_refused_with_its_part() -> None:
    """A refusal by the safety stage names the family and shows which part it is about."""
    refusal = refused(text("$ uptime; reboot"))
    assert (refusal.stage, refusal.family) == (Stage.SAFETY, "power")
    assert (refusal.part, refusal.reason) == ("reboot", "powers off or reboots the machine")
    assert refusal.command == "$ uptime; reboot"[2:]


def test_command_that_needs_an_approval_is_refused_and_says_so() -> None:
    """What would need an approval is refused, since there are none yet."""
    finding = Finding(
        decision=Safety.NEEDS_APPROVAL,
        family=Family.SERVICES,
        reason="stops a service",
        span=(0, 4),
        advice="ask first",
    )
    verdict = Verdict(decision=Safety.NEEDS_APPROVAL, findings=(finding, finding), commands=())
    rules = dataclasses.replace(RULES, judge=lambda _: verdict)
    refusal = decide(text("stop it"), SITUATION, rules)
    assert refusal == Refused(
        stage=Stage.SAFETY,
        family=Family.SERVICES,
        reason="stops a service (and 1 more: `? …` lists them); "
        "it needs an approval, and this version has none",
        next_step="ask first, or run it on the host itself",
        command="stop it",
        part="stop",
    )


def test_no_verdict_but_allow_lets_a_command_run() -> None:
    """A verdict without a finding that isn't ALLOW still refuses."""
    verdict = Verdict(decision=Safety.DENY, findings=(), commands=())
    rules = dataclasses.replace(RULES, judge=lambda _: verdict)
    assert isinstance(decide(text("uptime"), SITUATION, rules), Refused)


def test_command_of_a_forwarded_message() -> None:
    """After a restart the command is read from the message as it was the first time."""
    for body, room_id in itertools.product(["$ df -h", "$  df -h "], [DEDICATED, SHARED]):
        message = text(body, room_id=room_id)
        assert passed(body, room_id=room_id) == Execute(command=command_of(message))
