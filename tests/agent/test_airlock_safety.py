# SPDX-License-Identifier: MIT
"""What the airlock's safety stage refuses, and what it says to send instead."""

import dataclasses

import pytest

from tests.agent.airlock import DEDICATED, RULES, SHARED, SITUATION, passed, refused, text
from tibet_nc_agent.action import Execute
from tibet_nc_agent.airlock import Cause, Refused, Rules, decide
from tibet_nc_agent.safety import Decision as Safety
from tibet_nc_agent.safety import Family, Finding, Verdict
from tibet_nc_protocol.limits import COMMAND_CHARACTERS
from tibet_nc_protocol.terms import Stage


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


def test_the_longest_command_is_one() -> None:
    """As long as a command may be, it is none that is too long."""
    longest = "x" * COMMAND_CHARACTERS
    assert passed(f"$ {longest}") == Execute(command=longest)


def test_what_a_phone_typed_is_given_back_as_it_was_meant() -> None:
    """The corrected line is a message to be sent as it stands; nothing is rewritten silently."""
    refusal = refused(text("$ ls \u2014all \u201ca b\u201d\u00a0c"))
    assert refusal.meant == '$ ls --all "a b" c'
    assert passed(refusal.meant) == Execute(command='ls --all "a b" c')


@pytest.mark.parametrize("room_id", [DEDICATED, SHARED])
@pytest.mark.parametrize("space", ["\u00a0", "\u202f"])
def test_mark_that_a_phone_typed_is_a_mark(room_id: str, space: str) -> None:
    """A no-break space behind the ``$`` gets the line to send, where talk is ignored, too."""
    refusal = refused(text(f"${space}df -h", room_id=room_id))
    assert (refusal.family, refusal.meant) == (Cause.TYPOGRAPHY, "$ df -h")


def test_dangerous_command_is_refused_with_its_part() -> None:
    """A refusal by the safety stage names the family and shows which part it is about."""
    refusal = refused(text("$ uptime; reboot"))
    assert (refusal.stage, refusal.family) == (Stage.SAFETY, "power")
    assert (refusal.part, refusal.reason) == ("reboot", "powers off or reboots the machine")
    assert refusal.command == "$ uptime; reboot"[2:]


def judged_by(verdict: Verdict) -> Rules:
    """Return rules by which every command gets this verdict."""

    def judge(_command: str) -> Verdict:
        return verdict

    return dataclasses.replace(RULES, judge=judge)


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
    rules = judged_by(verdict)
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
    rules = judged_by(verdict)
    assert isinstance(decide(text("uptime"), SITUATION, rules), Refused)
