# SPDX-License-Identifier: MIT
"""``? cmd``: every stage's verdict, the place and the limits, and nothing in it acts (I9)."""

import unicodedata
from typing import Final

import hypothesis.strategies as st
import msgspec
import pytest
from hypothesis import given

from tests.agent.airlock import RULES
from tibet_nc_agent import preview
from tibet_nc_agent.airlock import judged
from tibet_nc_agent.content import MESSAGE_BYTES, json_bytes
from tibet_nc_agent.preview import Preview
from tibet_nc_agent.render import Answerer
from tibet_nc_agent.units import size
from tibet_nc_protocol.messages import Cage, Limits, StatusReport

REPORT: Final = StatusReport(
    request=1,
    host="web1",
    version="1",
    uptime_s=1,
    records=42,
    head="0" * 64,
    runs=3,
    refusals=1,
    running=0,
    session="a1b2c3d4e5f60708",
    session_commands=3,
    directory="/var/lib/tibet-nc-shell",
    denial=None,
    journal=None,
    cage=Cage(separated=True, restricted=True, network=False, network_view=False, read_only=True,
              walls=()),
    limits=Limits(
        idle_s=120,
        total_s=3600,
        session_idle_s=3600,
        session_total_s=86400,
        processes=256,
        memory_bytes=2 * 1024**3,
        address_space_bytes=2 * 1024**3,
        file_bytes=256 * 1024**2,
        open_files=1024,
        recording_bytes=64 * 1024**2,
        home_bytes=512 * 1024**2,
    ),
)  # fmt: skip


def subject(command: str, report: StatusReport | str = REPORT) -> Preview:
    """Return what is known of a command that is asked about."""
    return Preview(
        command=command,
        judged=judged(command, RULES),
        sender="@op:example.org",
        device="QBUAZIFURK",
        age_ms=300,
        timebox_ms=30_000,
        report=report,
    )


def lines(command: str, report: StatusReport | str = REPORT) -> list[str]:
    """Return the lines of an answer."""
    told = Answerer("web1").told("$event", *preview.parts(subject(command, report)))
    return str(told["body"]).splitlines()


def test_a_command_that_would_run() -> None:
    """The stages in their order, the commands, the place and the executor's own limits."""
    assert lines("df -h | sort") == [
        "would run (nothing was run)",
        "sender: passed · @op:example.org · device QBUAZIFURK",
        "freshness: passed · sent 300 ms ago, at most 30 s are permitted",
        "safety: passed",
        "as the shell would read it:",
        "df -h",
        "sort",
        "chain: nothing speaks against it; it would be recorded from #42 on",
        "where: web1 · session a1b2c3d4e5f60708 (3 commands so far) · in /var/lib/tibet-nc-shell · "
        "restricted shell, no network, system read-only",
        "limits: 2 min without output · 1 h in all · 256 processes · 2 GiB of memory, 2 GiB a "
        "process · files of 256 MiB · 1 024 open files · 64 MiB of output kept · "
        "a session of 24 h, 1 h unused",
    ]


def test_a_command_that_would_be_refused() -> None:
    """Each finding has its family and the place in the line, and the other stages still speak."""
    shown = lines("echo hi; reboot")
    assert shown[0] == "would be refused at safety (nothing was run)"
    assert shown[3] == "safety: refused"
    assert shown[4].startswith("deny (power), characters 10 to 15, `reboot`: ")
    assert "chain: the refusal would be recorded, as #42" in shown


def test_a_command_is_shown_as_it_was_typed() -> None:
    """What would move or erase in a terminal is named, in the findings as in what would run."""
    shown = lines("echo rm\recho; reboot")
    assert any("`⟨U+000D⟩`: the control or private character U+000D" in line for line in shown)
    assert "echo rm⟨U+000D⟩id⟨U+001B⟩[2K" in lines("echo $'rm\\rid\\e[2K'")


@pytest.mark.parametrize(
    ("command", "family", "next_step"),
    [
        (
            "echo \u201chi\u201d",
            "typography",
            "next: if you mean this, send it; to mean such a "
            "character itself, write it as $'\\u2019'",
        ),
        ("x" * 70_000, "too-long", "next: put it into a script on the host"),
        ("a\0b", "character", "next: leave it out"),
    ],
)
def test_what_is_not_judged_is_refused_here_too(command: str, family: str, next_step: str) -> None:
    """What the airlock refuses before it judges is foretold with the same next step."""
    shown = lines(command)
    assert shown[0] == "would be refused at safety (nothing was run)"
    assert shown[3].startswith(f"safety: refused ({family}): ")
    assert shown[4] == next_step


def test_an_executor_that_would_deny_or_is_away() -> None:
    """The executor's own objection is foretold, and that it can't be asked is said."""
    denying = msgspec.structs.replace(REPORT, denial="64 commands run or wait")
    assert lines("true", denying)[0] == "would be denied by the executor (nothing was run)"
    assert "chain: denied: 64 commands run or wait" in lines("true", denying)
    away = lines("true", "the socket is not there")
    assert away[0] == "would wait for the executor (nothing was run)"
    assert away[-1] == "chain: the socket is not there"


@given(st.text(), st.text(max_size=1024))
def test_any_command_is_harmless_and_fits(command: str, name: str) -> None:
    """Whatever is asked about, the answer fits and nothing in it acts (I9)."""
    report = msgspec.structs.replace(
        REPORT, host=name, session=name, directory=name, denial=name or None
    )
    told = Answerer("web1").told("$event", *preview.parts(subject(command, report)))
    assert json_bytes(told) <= MESSAGE_BYTES
    for text in (str(told["body"]), str(told["formatted_body"])):
        hidden = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}
        assert not [c for c in text if c not in "\n\t" and unicodedata.category(c) in hidden]


@pytest.mark.parametrize(
    ("number", "words"), [(0, "0 bytes"), (1023, "1 023 bytes"), (4096, "4 KiB"), (2**40, "1 TiB")]
)
def test_sizes(number: int, words: str) -> None:
    """A size is told exactly, in the largest unit in which it is whole."""
    assert size(number) == words
