# SPDX-License-Identifier: MIT
"""What a message that passes the airlock asks for."""

import pytest

from tests.agent.airlock import DEDICATED, RULES, SHARED, SITUATION, passed, text
from tibet_nc_agent import reports
from tibet_nc_agent.action import (
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
from tibet_nc_agent.airlock import Ignored, Passed, decide
from tibet_nc_agent.visible import one_line
from tibet_nc_protocol.limits import INPUT_CHARACTERS
from tibet_nc_protocol.terms import Signal


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
        ("!in 42", Type(number=42, text="\n", end=False)),
        ("$ !in 42 ", Type(number=42, text="\n", end=False)),
        ("!in 42\nyes", Type(number=42, text="yes\n", end=False)),
        ("!(true)", Execute(command="!(true)")),
        ("!Kill 42", Control(number=42, signal=Signal.KILL)),
        ("!CANCEL 42", Control(number=42, signal=Signal.INTERRUPT)),
        ("!kill\u00a042", Control(number=42, signal=Signal.KILL)),
        ("$ !Jobs", Tell(report=Report.JOBS)),
    ],
)
def test_what_is_asked_for(body: str, action: object) -> None:
    """Commands, reports, controls and goodbyes are told apart; ``$ `` is optional here."""
    assert passed(body) == action


@pytest.mark.parametrize(
    "body",
    [
        *("!", "!x", "!cancel", "!kill", "!cancel x", "!kill -1", "!kill 1 2", "!stop 3"),
        *("!jobs x", "!in", "!in x", "!tail", "!eof 3 x"),
        *("!kill42", "!kill 42;", "!kill 42x", "!jobs;ls", "!42", "!!", "!-1", "!$", "!Stop it"),
        "!kill " + "4" * 16,
        "!in 3 " + "x" * INPUT_CHARACTERS,
    ],
)
def test_misused_controls(body: str) -> None:
    """A control that isn't one is explained, never given to the shell."""
    assert isinstance(passed(body), Misused)


@pytest.mark.parametrize("body", ["!" + "x" * 60_000, "!\u202eslaer", "!<b>x"])
def test_what_is_no_control_is_shown_short_and_visible(body: str) -> None:
    """The answer names what was typed, in one line that fits, whatever it was."""
    misused = passed(body)
    assert isinstance(misused, Misused)
    assert len(misused.hint) < 200
    assert misused.hint == one_line(misused.hint)


def test_explain_judges_and_runs_nothing() -> None:
    """``? cmd`` asks about a command that would be refused."""
    assert passed("? $ rm -rf /") == Explain(command="rm -rf /")


def test_shared_room_needs_the_mark() -> None:
    """In a room that isn't dedicated only ``$ `` makes a command, for built-ins, too."""
    assert passed("$ status", room_id=SHARED) == Tell(report=Report.STATUS)
    assert decide(text("status", room_id=SHARED), SITUATION, RULES) is Ignored.TALK


def test_help_can_be_typed_as_it_is_shown() -> None:
    """In each room, what ``help`` lists is taken as what it says, and nothing as talk."""
    for room_id in (DEDICATED, SHARED):
        listed = reports.help_text(dedicated=room_id == DEDICATED)[0].text
        for line in listed.splitlines():
            decision = decide(text(line[:17].strip(), room_id=room_id), SITUATION, RULES)
            assert isinstance(decision, Passed), line
            assert not isinstance(decision.action, Misused), line
