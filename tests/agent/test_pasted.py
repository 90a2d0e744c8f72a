# SPDX-License-Identifier: MIT
"""What is copied together with a command: refused with the line that was meant, or left alone."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from tests.agent.airlock import RULES, passed, refused, text
from tibet_nc_agent.action import Execute, Misused
from tibet_nc_agent.airlock import Cause, Refused, judged
from tibet_nc_agent.safety import Family
from tibet_nc_protocol.terms import Stage


@pytest.mark.parametrize(
    ("body", "cause", "meant"),
    [
        ("$ $ uptime", Cause.PROMPT, "$ uptime"),
        ("$ echo a\n$ echo b", Cause.PROMPT, "$ echo a\necho b"),
        ("alice@web:~$ uptime", Cause.PROMPT, "$ uptime"),
        ("alice@web-1.example.org:~/src$ df -h", Cause.PROMPT, "$ df -h"),
        ("[alice@web ~]$ uptime", Cause.PROMPT, "$ uptime"),
        ("root@web-1:/# uptime", Cause.PROMPT, "$ uptime"),
        ("root@web-1:/etc# uptime\n\nroot@web-1:/etc# w", Cause.PROMPT, "$ uptime\nw"),
        ("# uptime", Cause.PROMPT, "$ uptime"),
        ("$ uptime\n10:00 up\n$ w", Cause.PROMPT, None),
        ("sudo $ uptime", Cause.PROMPT, None),
        ("```\nuptime\n```", Cause.MARKUP, "$ uptime"),
        ("```bash\nuptime\nw\n```", Cause.MARKUP, "$ uptime\nw"),
        ("```\n$ uptime\n```", Cause.MARKUP, "$ uptime"),
        ("```uptime```", Cause.MARKUP, "$ uptime"),
        ("`$ uptime`", Cause.MARKUP, "$ uptime"),
        ("$ `uptime`", Cause.MARKUP, "$ uptime"),
    ],
)
def test_what_was_copied_as_well(body: str, cause: Cause, meant: str | None) -> None:
    """Prompts and code marks run nothing; what was meant can be sent as it stands, and runs."""
    refusal = refused(text(body))
    assert (refusal.stage, refusal.family, refusal.meant) == (Stage.SAFETY, cause, meant)
    if meant is not None:
        assert passed(meant) == Execute(command=meant.removeprefix("$ "))


def test_a_danger_behind_a_prompt_is_told_as_such() -> None:
    """What is dangerous with its prompt is not offered without it."""
    refusal = refused(text("$ $ cd /; rm -rf /"))
    assert (refusal.family, refusal.meant) == (Family.WIPE, None)


@pytest.mark.parametrize(
    "command",
    [
        "cat <<E\n$ uptime\nE",
        "echo '\n$ b'",
        "echo a # b",
        "# what it is\nuptime",
        "ssh alice@web uptime",
        "echo `date`",
        "echo '```'",
        "[ a@b = a@b ]",
        "x=1",
    ],
)
def test_what_is_a_command_is_left_alone(command: str) -> None:
    """A prompt or a mark within a text, a here-document or a comment is none."""
    assert passed(f"$ {command}") == Execute(command=command)


@given(st.text(alphabet=st.sampled_from("ab@ $#`\n[:")))
def test_no_correction_is_refused_for_the_same(command: str) -> None:
    """What is offered in place of a prompt or a mark has no such mark at its beginning any more."""
    command = command.strip() or "x"
    found = judged(command, RULES)
    if isinstance(found, Refused) and found.family is Cause.PROMPT and found.meant is not None:
        assert len(found.meant) < len(f"$ {command}")


def test_a_lone_question_mark_is_explained() -> None:
    """``?`` without a command says how it is written, and where there is more."""
    for body in ("?", "? ", "$ ?"):
        misused = passed(body)
        assert isinstance(misused, Misused)
        assert "help" in misused.hint
