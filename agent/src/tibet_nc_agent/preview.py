# SPDX-License-Identifier: MIT
"""What ``? cmd`` answers: each stage's verdict, and where and within which limits it would run."""

from collections.abc import Iterator
from typing import Final

import msgspec

from tibet_nc_agent.airlock import Refused
from tibet_nc_agent.content import Part, clip
from tibet_nc_agent.render import (
    ADVICE_CHARACTERS,
    NOTE_CHARACTERS,
    REASON_CHARACTERS,
    meant,
)
from tibet_nc_agent.safety.verdict import Decision, Verdict
from tibet_nc_agent.units import counted, duration, grouped, size
from tibet_nc_agent.visible import as_typed, one_line, visible
from tibet_nc_protocol.messages import Cage, Limits, StatusReport
from tibet_nc_protocol.terms import Stage

_FINDINGS: Final = 8
_COMMANDS: Final = 8
_PIECE_CHARACTERS: Final = 60

_DECISIONS: Final = {
    Decision.ALLOW: "passed",
    Decision.NEEDS_APPROVAL: "refused: it needs an approval, and this version has none",
    Decision.DENY: "refused",
}


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """A command that is asked about, and all that is known of it; times are in milliseconds.

    ``judged`` is the verdict on it, or why it gets none. ``report`` is the executor's, or why there
    is none.
    """

    command: str
    judged: Verdict | Refused
    sender: str
    device: str | None
    age_ms: int
    timebox_ms: int
    report: StatusReport | str


def parts(subject: Preview) -> tuple[Part, ...]:
    """Return the answer: the outcome first, then the stages in their order, place, limits."""
    return (
        Part(f"{_outcome(subject)} (nothing was run)"),
        Part(
            f"{Stage.SENDER}: passed · {one_line(subject.sender)} · "
            f"device {one_line(subject.device or 'unknown')}"
        ),
        Part(
            f"{Stage.FRESHNESS}: passed · sent {duration(max(0, subject.age_ms))} ago, "
            f"at most {subject.timebox_ms / 1000:g} s are permitted"
        ),
        *_safety(subject),
        Part(f"{Stage.CHAIN}: {_chain(subject)}"),
        *_place(subject.report),
    )


def _outcome(subject: Preview) -> str:
    report = subject.report
    if not _is_safe(subject):
        return f"would be refused at {Stage.SAFETY}"
    if isinstance(report, str):
        return "would wait for the executor"
    return "would run" if report.denial is None else "would be denied by the executor"


def _is_safe(subject: Preview) -> bool:
    return isinstance(subject.judged, Verdict) and subject.judged.decision is Decision.ALLOW


def _safety(subject: Preview) -> Iterator[Part]:
    verdict = subject.judged
    if isinstance(verdict, Refused):
        reason = clip(one_line(verdict.reason), REASON_CHARACTERS)
        yield Part(f"{Stage.SAFETY}: refused ({one_line(verdict.family)}): {reason}")
        yield Part(f"next: {clip(visible(verdict.next_step), ADVICE_CHARACTERS)}")
        yield from meant(verdict)
        return
    yield Part(f"{Stage.SAFETY}: {_DECISIONS[verdict.decision]}")
    for finding in verdict.findings[:_FINDINGS]:
        start, end = finding.span
        piece = clip(as_typed(subject.command[start:end]), _PIECE_CHARACTERS)
        yield Part(
            f"{finding.decision} ({finding.family}), characters {start + 1} to {end}, `{piece}`: "
            f"{clip(one_line(finding.reason), NOTE_CHARACTERS)}; "
            f"{clip(one_line(finding.advice), NOTE_CHARACTERS)}"
        )
    if len(verdict.findings) > _FINDINGS:
        yield Part(f"… and {counted(len(verdict.findings) - _FINDINGS, 'more finding')}")
    runs = [clip(as_typed(" ".join(words)), _PIECE_CHARACTERS) for words in verdict.commands]
    if runs:
        more = f"\n… and {len(runs) - _COMMANDS} more" if len(runs) > _COMMANDS else ""
        yield Part("as the shell would read it:")
        yield Part("\n".join(runs[:_COMMANDS]) + more, code=True)


def _chain(subject: Preview) -> str:
    report = subject.report
    if isinstance(report, str):
        return clip(one_line(report), REASON_CHARACTERS)
    if report.denial is not None:
        return f"denied: {clip(one_line(report.denial), REASON_CHARACTERS)}"
    if not _is_safe(subject):
        return f"the refusal would be recorded, as #{report.records}"
    return f"nothing speaks against it; it would be recorded from #{report.records} on"


def _place(report: StatusReport | str) -> Iterator[Part]:
    if isinstance(report, str):
        return
    session = "a new session"
    if report.session is not None:
        done = counted(report.session_commands, "command")
        session = f"session {one_line(report.session)} ({done} so far)"
    directory = "in its home"
    if report.directory is not None:
        directory = f"in {clip(one_line(report.directory), NOTE_CHARACTERS)}"
    host = one_line(report.host)
    yield Part(f"where: {host} · {session} · {directory} · {', '.join(_cage(report.cage))}")
    yield Part(f"limits: {' · '.join(_limits(report.limits))}")


def _cage(cage: Cage) -> Iterator[str]:
    yield "restricted shell" if cage.restricted else "shell without restrictions"
    yield "with network" if cage.network else "no network"
    if cage.read_only:
        yield "system read-only"
    if not cage.separated:
        yield "NO uid of its own"


def _limits(limits: Limits) -> Iterator[str]:
    yield f"{duration(limits.idle_s * 1000)} without output"
    yield f"{duration(limits.total_s * 1000)} in all"
    yield counted(limits.processes, "process", "processes")
    yield f"{size(limits.memory_bytes)} of memory, {size(limits.address_space_bytes)} a process"
    yield f"files of {size(limits.file_bytes)}"
    yield f"{grouped(limits.open_files)} open files"
    yield f"{size(limits.recording_bytes)} of output kept"
    idle, total = limits.session_idle_s, limits.session_total_s
    yield f"a session of {duration(total * 1000)}, {duration(idle * 1000)} unused"
