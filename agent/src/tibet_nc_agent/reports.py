# SPDX-License-Identifier: MIT
"""What the agent says when it is asked about itself: status, chain, jobs and help."""

from collections.abc import Iterable
from typing import Final

import msgspec

from tibet_nc_agent.action import PREFIX
from tibet_nc_agent.content import Part, clip
from tibet_nc_agent.excerpt import EDGE_LINES, excerpt, newest
from tibet_nc_agent.lanes import Waiting
from tibet_nc_agent.render import (
    OUTPUT_BUDGET,
    REASON_CHARACTERS,
    SHORT_DIGEST,
)
from tibet_nc_agent.screen import Size, moves
from tibet_nc_agent.units import counted, duration, grouped
from tibet_nc_agent.visible import as_typed, one_line
from tibet_nc_protocol.messages import (
    Announcement,
    ChainReport,
    Job,
    JobsReport,
    SessionNotice,
    StatusReport,
    TailReport,
)

CHAIN_ENTRIES: Final = 10
"""Records shown by ``chain``: as many lines as fit a phone."""

_HELP_COLUMN: Final = 17
_JOBS: Final = 20
_SUMMARY_CHARACTERS: Final = 60


class AgentFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent knows of itself; times are in milliseconds.

    ``given_up`` names the walls that its self-test found missing and its settings accept.
    """

    version: str
    device: str
    uptime_ms: int
    timebox_ms: int
    skew_ms: int | None
    waiting: int
    given_up: tuple[str, ...]
    emission: str = ""
    """How it goes to tell a service of TIBET tokens; empty when none is told."""


def status(agent: AgentFacts, report: StatusReport | str) -> tuple[Part, ...]:
    """Return the answer to ``status``; the report is the executor's, or why there is none."""
    skew = "unknown" if agent.skew_ms is None else f"{agent.skew_ms / 1000:+.1f} s"
    own = (
        f"agent {one_line(agent.version)} · device {one_line(agent.device)} · "
        f"up {duration(agent.uptime_ms)} · {grouped(agent.waiting)} unanswered · "
        f"homeserver's clock {skew}"
    )
    walls = f"agent's walls: {', '.join(agent.given_up) or 'all hold'}"
    if isinstance(report, str):
        why = f"executor: {clip(one_line(report), REASON_CHARACTERS)}"
        return (Part(own), Part(why), Part(walls))
    limits, session = report.limits, "none yet: the first command opens it"
    if report.session is not None:
        session = f"{one_line(report.session)}, {counted(report.session_commands, 'command')}"
    journal: list[str] = []
    if report.journal is not None:
        lacks = clip(one_line(report.journal), REASON_CHARACTERS)
        journal.append(f"journal NOT complete, the chain is: {lacks}")
    lines = [
        f"host {one_line(report.host)} · executor {one_line(report.version)} · "
        f"up {duration(report.uptime_s * 1000)}",
        own,
        f"session {session}",
        f"chain {counted(report.records, 'record')} · head {report.head[:SHORT_DIGEST]} · "
        f"{grouped(report.runs)} run, {grouped(report.refusals)} refused, "
        f"{grouped(report.running)} running or waiting",
        *journal,
        f"limits: a message {agent.timebox_ms / 1000:g} s old · a command "
        f"{duration(limits.idle_s * 1000)} without output, {duration(limits.total_s * 1000)} in "
        f"all · a session {duration(limits.session_idle_s * 1000)} without a command, "
        f"{duration(limits.session_total_s * 1000)} in all",
        f"shell {'restricted' if report.cage.restricted else 'not restricted'} · uids "
        f"{'separated' if report.cage.separated else 'NOT separated'}",
    ]
    if report.cage.walls:
        listed = clip(", ".join(map(one_line, report.cage.walls)), REASON_CHARACTERS)
        lines.append(f"executor's walls: {listed}")
    if agent.emission:
        lines.append(f"tokens told: {clip(one_line(agent.emission), REASON_CHARACTERS)}")
    lines.append(walls)
    return tuple(Part(line) for line in lines)


def chain(report: ChainReport) -> tuple[Part, ...]:
    """Return the answer to ``chain``."""
    lines = [
        f"#{entry.number} {one_line(entry.time[:19])}Z {one_line(entry.kind)} "
        f"{entry.digest[:SHORT_DIGEST]} {clip(one_line(entry.summary), _SUMMARY_CHARACTERS)}"
        for entry in report.entries
    ]
    return (
        Part(f"{counted(report.records, 'record')} · head {report.head}"),
        Part("\n".join(lines), code=True),
        Part(
            f"signed by {one_line(report.executor)}, key {report.key}; "
            "check with tibet-nc-audit verify"
        ),
    )


def jobs(report: JobsReport, waiting: Iterable[Waiting]) -> tuple[Part, ...]:
    """Return the answer to ``!jobs``: what runs, and what waits for it."""
    lines = [
        f"#{job.number} {duration(job.seconds * 1000)} · {_left(job)}"
        f"{counted(job.output_bytes, 'byte')} · "
        f"{one_line(job.sender)} · {clip(as_typed(job.command), _SUMMARY_CHARACTERS)}"
        for job in report.jobs
    ]
    lines += [
        f"waits for #{one.behind} · {one_line(one.sender)} · "
        f"{clip(as_typed(one.command), _SUMMARY_CHARACTERS)}"
        for one in waiting
    ]
    if not lines:
        return (Part("nothing is running"),)
    if len(lines) > _JOBS:
        lines[_JOBS:] = [f"… and {len(lines) - _JOBS} more"]
    return (Part("\n".join(lines), code=True), Part("!cancel N interrupts, !kill N kills"))


def _left(job: Job) -> str:
    """Return what is said of a command that has ended and whose processes go on."""
    if not job.left:
        return ""
    return f"ended; {job.left} left running · "


def session(notice: SessionNotice) -> tuple[Part, ...]:
    """Return the notice of a session that ends soon, or has ended."""
    whose = f"the session of {one_line(notice.sender)}"
    reason = clip(one_line(notice.reason), REASON_CHARACTERS)
    if notice.seconds:
        left = duration(notice.seconds * 1000)
        return (Part(f"{whose} ends in {left}, with what it left running: {reason}"),)
    return (Part(f"{whose} has ended: {reason}"), Part("next: the next command opens a new one"))


def tail(report: TailReport, screen: Size) -> tuple[Part, ...]:
    """Return the answer to ``!tail N``: the end of what the command has printed so far."""
    size = len(report.data)
    told = f"#{report.number} has printed {counted(report.output_bytes, 'byte')} so far"
    if moves(report.data.decode(errors="replace")):
        shown = newest(report.data, screen, whole=size == report.output_bytes, lines=EDGE_LINES)
        return (Part(shown, code=True), Part(f"{told}; this is the end of what a terminal shows"))
    lines = report.data.count(b"\n") + 1
    view = excerpt(b"", report.data, screen, size=size, lines=lines, budget=OUTPUT_BUDGET)
    seen = size - view.hidden_bytes
    if seen < report.output_bytes:
        told += f"; these are the last {grouped(seen)}"
    return (Part(view.tail, code=True), Part(told)) if view.tail else (Part(told),)


def checkpoint(announced: Announcement) -> tuple[Part, ...]:
    """Return the notice of a checkpoint, which the room is to hold: so a cut chain shows."""
    return (
        Part(f"checkpoint · {counted(announced.size, 'record')} · root {announced.root}"),
        Part(announced.note, code=True),
    )


def help_text(*, dedicated: bool) -> tuple[Part, ...]:
    """Return the answer to ``help``; where ``$ `` has to be typed, every line has it."""
    mark = "" if dedicated else PREFIX
    what = f"run a command (here the `{PREFIX}` may be left out)" if dedicated else "run a command"
    lines = [
        (f"{PREFIX}df -h", what),
        (f"{mark}status", "versions, session, chain, limits"),
        (f"{mark}chain", "the newest records"),
        (f"{mark}!jobs", "what runs, and what waits for it"),
        (f"{mark}!tail 42", "the newest output of #42"),
        (f"{mark}!in 42 text", "type a line into #42; without a text, just Enter"),
        (f"{mark}!eof 42", "end the input of #42"),
        (f"{mark}!cancel 42", "interrupt #42, as ^C"),
        (f"{mark}!kill 42", f"kill #42 and everything it started; {mark}!stop kills everything"),
        (f"{mark}? rm -rf x", "what the airlock would say, without running it"),
        (f"{mark}exit", "end your session here: its directory, variables, functions"),
    ]
    return (
        Part("\n".join(f"{typed:<{_HELP_COLUMN}}{told}" for typed, told in lines), code=True),
        Part(
            "every message is answered once; edits are never run; "
            "each answer ends with its record in the chain"
        ),
    )
