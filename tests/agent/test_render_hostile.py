# SPDX-License-Identifier: MIT
"""Whatever an answer is made of, it fits and nothing in it acts (I9)."""

import hypothesis.strategies as st
from hypothesis import given, settings

from tests.agent.answers import ANSWERER, EVENT, check_harmless, result
from tibet_nc_agent import reports
from tibet_nc_agent.airlock import Refused
from tibet_nc_agent.excerpt import excerpt, whole
from tibet_nc_agent.lanes import Waiting
from tibet_nc_agent.render import OUTPUT_BUDGET, Attached
from tibet_nc_agent.reports import AgentFacts
from tibet_nc_agent.screen import USUAL
from tibet_nc_protocol.messages import (
    Announcement,
    Cage,
    ChainEntry,
    ChainReport,
    Denied,
    Job,
    JobsReport,
    Limits,
    SessionNotice,
    StatusReport,
    TailReport,
)
from tibet_nc_protocol.terms import DenialCode, Reason, Stage

HOSTILE = st.one_of(
    st.text(max_size=400),
    st.sampled_from(
        ["<b>x</b>", "@room", "a\u202eb", "\x1b[31mx", "&lt;", "\u2028", "日" * 1024, "\r\n"]
    ),
)
TEXT = HOSTILE.map(lambda text: text[:1024])


@given(st.binary(max_size=40_000), st.integers(0, 255), st.lists(TEXT, max_size=16), TEXT)
def test_any_output_is_harmless_and_fits(
    output: bytes, exit_status: int, notes: list[str], token: str
) -> None:
    """Any output, shown whole or cut, makes a message that fits and in which nothing acts (I9)."""
    finished = result(
        output=output[: 32 * 1024],
        output_bytes=len(output),
        recorded_bytes=len(output),
        exit=exit_status,
        notes=tuple(notes),
        token=token,
    )
    shown: str | Attached | None = whole(output, OUTPUT_BUDGET, USUAL)
    if shown is None:
        lines = output.count(b"\n") + (not output.endswith(b"\n"))
        view = excerpt(
            output[:16384],
            output[-16384:],
            USUAL,
            size=len(output),
            lines=lines,
            budget=OUTPUT_BUDGET,
        )
        shown = Attached(excerpt=view, name="web1-42.txt", problem=None)
    content = ANSWERER.finished(EVENT, finished, shown)
    check_harmless(content)
    assert isinstance(content["body"], str)
    assert f"exit {exit_status}" in content["body"].splitlines()[-1]


@given(TEXT, TEXT, TEXT, st.text(max_size=64 * 1024))
def test_any_refusal_is_harmless_and_fits(
    family: str, reason: str, next_step: str, command: str
) -> None:
    """Any refusal makes a message that fits and in which nothing acts (I9)."""
    refusal = Refused(
        stage=Stage.SAFETY,
        family=family[:64],
        reason=reason,
        next_step=next_step + command,
        command=None,
    )
    check_harmless(ANSWERER.refused(EVENT, refusal, number=1, head="0" * 64))


@given(st.sampled_from(list(DenialCode)), TEXT, st.none() | st.integers(0, 2**53 - 1))
def test_any_denial_is_harmless_and_says_what_next(
    code: DenialCode, reason: str, number: int | None
) -> None:
    """Every denial has a next step."""
    denial = Denied(request=1, code=code, reason=reason, number=number)
    content = ANSWERER.denied(EVENT, denial)
    check_harmless(content)
    assert "\nnext: " in str(content["body"])


@given(TEXT, st.lists(TEXT, max_size=32), st.lists(TEXT, max_size=16), st.integers(0, 2**53 - 1))
@settings(deadline=None)  # what is slow here is this machine, at times
def test_any_report_is_harmless_and_fits(
    name: str, texts: list[str], walls: list[str], number: int
) -> None:
    """Reports are made of what others say, and nothing in them acts (I9)."""
    agent = AgentFacts(
        version=name,
        device=name,
        uptime_ms=number,
        timebox_ms=1,
        skew_ms=None,
        waiting=number,
        given_up=(),
    )
    status = StatusReport(
        request=1,
        host=name,
        version=name,
        uptime_s=number // 1000,
        records=number,
        head="0" * 64,
        runs=number,
        refusals=number,
        running=number,
        session=name,
        session_commands=number,
        directory=name,
        denial=name,
        journal=name,
        cage=Cage(
            separated=False,
            restricted=False,
            network=False,
            network_view=False,
            read_only=False,
            walls=tuple(walls),
        ),
        limits=Limits(
            idle_s=1,
            total_s=1,
            session_idle_s=3600,
            session_total_s=86400,
            processes=number,
            memory_bytes=number,
            address_space_bytes=number,
            file_bytes=number,
            open_files=number,
            recording_bytes=number,
            home_bytes=number,
        ),
    )
    chain = ChainReport(
        request=1,
        records=number,
        head="0" * 64,
        executor=name,
        key="0" * 64,
        entries=tuple(
            ChainEntry(number=number, kind=text, time=text, digest="0" * 64, summary=text)
            for text in texts
        ),
    )
    jobs = JobsReport(
        request=1,
        jobs=tuple(
            Job(
                number=number,
                sender="@" + "x" * 254,
                seconds=number // 1000,
                output_bytes=number,
                command=text,
                left=number,
            )
            for text in texts
        ),
    )
    nothing = JobsReport(request=1, jobs=())
    waiting = [Waiting(sender="@" + "x" * 254, command=text, behind=number) for text in texts]
    for parts in (
        reports.status(agent, status),
        reports.status(agent, name),
        reports.chain(chain),
        reports.jobs(jobs, ()),
        reports.jobs(nothing, waiting),
        reports.session(
            SessionNotice(
                room="!room:example.org",
                sender="@" + "x" * 254,
                session=name,
                seconds=number // 1000,
                reason=name,
            )
        ),
        reports.tail(
            TailReport(
                request=1, number=number, output_bytes=number, data="".join(texts).encode()[-8192:]
            ),
            USUAL,
        ),
        reports.checkpoint(Announcement(size=number, root="0" * 64, note=name)),
        reports.help_text(dedicated=True),
    ):
        check_harmless(ANSWERER.told(EVENT, *parts))


def test_every_reason_has_words() -> None:
    """No reason for an end is left without an answer."""
    for reason in Reason:
        check_harmless(ANSWERER.finished(EVENT, result(reason=reason), ""))
