# SPDX-License-Identifier: MIT
"""Answers to commands: what ran and how it ended, what was refused and what to do next.

Everything that comes from a command, an operator, a homeserver or the executor passes
:mod:`tibet_nc_agent.visible` before it becomes a part of a message (I9).
"""

from collections.abc import Iterable
from signal import Signals
from typing import Final

import msgspec

from tibet_nc_agent.airlock import Refused
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import (
    MESSAGE_BYTES,
    Block,
    Part,
    Verdict,
    clip,
    cost,
    json_bytes,
    message,
)
from tibet_nc_agent.excerpt import Excerpt, newest
from tibet_nc_agent.screen import Size, moves
from tibet_nc_agent.units import counted, duration, grouped
from tibet_nc_agent.visible import as_typed, one_line, visible
from tibet_nc_protocol.messages import Denied, Finished, Started, TailReport
from tibet_nc_protocol.terms import DenialCode, Reason

OUTPUT_BUDGET: Final = MESSAGE_BYTES - 8 * 1024
"""How much of a message an output may take; the rest is for notes, footer, block and ids, the
longest of which are some identifiers of 255 characters that JSON writes with 12 bytes each."""

NOTE_CHARACTERS: Final = 100
MOST_NOTES: Final = 4
REASON_CHARACTERS: Final = 300
PART_CHARACTERS: Final = 80
ADVICE_CHARACTERS: Final = 400
SHORT_DIGEST: Final = 8

_ENDINGS: Final = {
    Reason.EXITED: "",
    Reason.CANCELLED: "cancelled by an operator",
    Reason.KILLED: "killed",  # a note says by whom: an operator, or the executor as it stops
    Reason.IDLE: "ended because it printed nothing for too long",
    Reason.TIMED_OUT: "ended because it ran for too long",
    Reason.STOPPED: "ended because it stopped itself",
    Reason.ABORTED: "the executor ended while it ran; what it did until then is not known",
}

_DENIALS: Final = {
    DenialCode.SENDER: "ask the administrator to run `tibet-nc-executor doctor` on the host",
    DenialCode.ROOM: "ask the administrator: policy.rooms in executor.toml",
    DenialCode.STALE: "send it again if you still want it",
    DenialCode.REPLAY: "nothing was run again; if you didn't send it, tell your administrator",
    DenialCode.BUSY: "send it again later; `!jobs` shows what runs",
    DenialCode.UNRECORDED: "tell the administrator: tibet-nc-executor doctor, "
    "and journalctl -u tibet-nc-executor",
    DenialCode.SHELL: "tell the administrator: tibet-nc-executor doctor",
    DenialCode.RAN: "`chain` shows its records",
    DenialCode.REFUSED: "send it again if you still want it",
    DenialCode.UNKNOWN: "see `!jobs`",
    DenialCode.CANCELLED: "send it again if you still want it",
}


class Attached(msgspec.Struct, frozen=True, kw_only=True):
    """Where the output that doesn't fit can be found: as an attachment, or why not.

    Without one it is on the host, if that has ``kept`` the recording.
    """

    excerpt: Excerpt
    name: str
    problem: str | None
    kept: bool = True


class Answerer:
    """Makes the messages of one host."""

    def __init__(self, host: str) -> None:
        self._host = host

    def started(self, event_id: str, started: Started) -> JsonObject:
        """Say that a command takes longer than a moment."""
        block = self._block(event_id, Verdict.INFO, final=False, number=started.number)
        return message(block, Part(f"started · #{started.number} · {_handles(started.number)}"))

    def waits(self, event_id: str, number: int) -> JsonObject:
        """Say that a message is dealt with when the command of this number has ended."""
        block = self._block(event_id, Verdict.INFO, final=False)
        text = f"waits until #{number} has ended · !cancel {number} interrupts that"
        return message(block, Part(text))

    def progress(
        self, event_id: str, report: TailReport, screen: Size, *, age_ms: int
    ) -> JsonObject:
        """Say how far a running command is: the end of what a terminal would show now."""
        number = report.number
        block = self._block(
            event_id,
            Verdict.INFO,
            final=False,
            number=number,
            output_bytes=report.output_bytes,
        )
        told = (
            f"#{number} is running · sent {duration(age_ms)} ago · "
            f"{counted(report.output_bytes, 'byte')} so far · {_handles(number)}"
        )
        shown = newest(report.data, screen, whole=report.output_bytes == len(report.data))
        parts = [Part(shown, code=True)] if shown else []
        return _fitting(block, [*parts, Part(told)])

    def over(self, event_id: str, number: int, age_ms: int) -> JsonObject:
        """Say that a command no longer runs, in place of how far it was."""
        block = self._block(event_id, Verdict.INFO, final=False, number=number)
        text = f"#{number} is over · sent {duration(age_ms)} ago · its answer follows"
        return message(block, Part(text))

    def finished(
        self,
        event_id: str,
        result: Finished,
        output: str | Attached,
        *,
        wall: str | None = None,
    ) -> JsonObject:
        """Say how a command ended, with its output: visible text, or an excerpt of it.

        ``wall`` is the line that says which wall of the cage it met.
        """
        aborted = result.reason is Reason.ABORTED
        block = self._block(
            event_id,
            Verdict.ABORTED if aborted else Verdict.RAN,
            number=result.number,
            outcome=result.outcome,
            exit=result.exit,
            signal=result.signal,
            reason=result.reason.value,
            duration_ms=result.duration_ms,
            output_bytes=result.output_bytes,
            output_sha256=result.output_sha256,
            head=result.head,
            token=clip(result.token, NOTE_CHARACTERS) or None,
            repeated=result.repeated,
        )
        drawn = isinstance(output, str) and moves(result.output.decode(errors="replace"))
        notes = [Part(note) for note in _notes(result, wall, drawn=drawn)]
        parts = [*_output(output, result), *notes, Part(_footer(result))]
        return _fitting(block, parts)

    def refused(
        self, event_id: str, refusal: Refused, *, number: int | None, head: str | None
    ) -> JsonObject:
        """Say which stage refused a message, why, and what to do next."""
        about = f"`{clip(as_typed(refusal.part), PART_CHARACTERS)}`: " if refusal.part else ""
        reason = clip(one_line(f"{about}{refusal.reason}"), REASON_CHARACTERS)
        block = self._block(
            event_id,
            Verdict.REFUSED,
            number=number,
            head=head,
            stage=refusal.stage.value,
            family=refusal.family,
            reason=reason,
        )
        parts = [
            Part(f"refused at {refusal.stage.value} ({one_line(refusal.family)}): {reason}"),
            Part(f"next: {clip(visible(refusal.next_step), ADVICE_CHARACTERS)}"),
            *meant(refusal),
        ]
        if number is not None:
            parts.append(Part(_mark(number, head)))
        return _fitting(block, parts)

    def denied(self, event_id: str, denial: Denied, next_step: str = "") -> JsonObject:
        """Say that the executor refuses, why, and what to do next: mostly its code tells."""
        reason = clip(one_line(denial.reason), REASON_CHARACTERS)
        block = self._block(
            event_id,
            Verdict.DENIED,
            number=denial.number,
            stage="chain",
            family=denial.code.value,
            reason=reason,
        )
        parts = [
            Part(f"denied by the executor ({denial.code.value}): {reason}"),
            Part(f"next: {next_step or _DENIALS[denial.code]}"),
        ]
        if denial.number is not None:
            parts.append(Part(_mark(denial.number, None)))
        return _fitting(block, parts)

    def told(self, event_id: str | None, *parts: Part, final: bool = True) -> JsonObject:
        """Say something that the agent knows by itself."""
        return _fitting(self._block(event_id, Verdict.INFO, final=final), list(parts))

    def failed(self, event_id: str, reason: str, next_step: str) -> JsonObject:
        """Say that a message can't be answered better than by this."""
        text = clip(one_line(reason), REASON_CHARACTERS)
        block = self._block(event_id, Verdict.ABORTED, reason=text)
        return message(block, Part(text), Part(f"next: {next_step}"))

    def attachment_block(self, event_id: str, result: Finished) -> Block:
        """Return the block of a file that goes before a final answer."""
        return self._block(
            event_id,
            Verdict.INFO,
            final=False,
            number=result.number,
            output_bytes=result.output_bytes,
            output_sha256=result.output_sha256,
        )

    def file_name(self, number: int, index: int, count: int) -> str:
        """Return the name of an attachment with a piece of the output of a command."""
        piece = f".{index}of{count}" if count > 1 else ""
        return f"{self._host}-{number}{piece}.txt"

    def file_names(self, number: int, count: int) -> str:
        """Return the names of all attachments with the output of a command, for people."""
        first = self.file_name(number, 1, count)
        return first if count == 1 else f"{first} to {self.file_name(number, count, count)}"

    def _block(
        self, event_id: str | None, verdict: Verdict, *, final: bool = True, **fields: object
    ) -> Block:
        base = Block(event_id=event_id, final=final, host=self._host, verdict=verdict)
        return msgspec.structs.replace(base, **fields)


def meant(refusal: Refused) -> tuple[Part, ...]:
    """Return the line that was probably meant, whole or not at all: it is there to be copied."""
    if refusal.meant is None:
        return ()
    line = visible(refusal.meant)
    if line != refusal.meant:
        return (Part("(it holds characters that can't be seen, too: type it anew)"),)
    if cost(line) > OUTPUT_BUDGET:
        return (Part("(it is too long to be shown: put it into a script on the host)"),)
    return (Part(line, code=True),)


def _handles(number: int) -> str:
    """Return how a running command is ended, and how a question that it asks is answered."""
    return f"!cancel {number} interrupts it, !in {number} text types into it"


def _output(output: str | Attached, result: Finished) -> list[Part]:
    if isinstance(output, str):
        return [Part(output, code=True)] if output else []
    excerpt = output.excerpt
    hidden = counted(excerpt.hidden_bytes, "byte")
    if excerpt.hidden_lines:
        hidden = f"{counted(excerpt.hidden_lines, 'line')} ({hidden})"
    hidden = f"… {hidden} not shown"
    if excerpt.drawn:
        end = "below is the end of what a terminal would show"
        hidden = end if excerpt.tail else "a terminal would show nothing of it any more"
    if output.problem is None:
        where = f"all of it is attached as {output.name}"
    else:
        where = f"it could not be attached ({clip(one_line(output.problem), NOTE_CHARACTERS)})"
        if output.kept:
            where += f"; on the host: tibet-nc-audit replay {result.number}"
    note = Part(f"{hidden}; {where}\nSHA-256 of the output: {result.output_sha256}")
    parts = [Part(excerpt.head, code=True), note, Part(excerpt.tail, code=True)]
    return [part for part in parts if part.text]


def _notes(result: Finished, wall: str | None, *, drawn: bool) -> Iterable[str]:
    if result.recorded_bytes < result.output_bytes:
        yield (
            f"the host kept the first {grouped(result.recorded_bytes)} of "
            f"{counted(result.output_bytes, 'byte')}; the rest is lost, but counted in the SHA-256 "
            f"{result.output_sha256}"
        )
    if wall is not None:
        yield wall
    if drawn:
        yield (
            "shown as a terminal would have left it; every byte: "
            f"tibet-nc-audit replay {result.number}"
        )
    if result.leftover:
        left = counted(result.leftover, "process that it left runs", "processes that it left run")
        yield (
            f"{left} on until your session ends: "
            f"!tail {result.number}, !kill {result.number}, !jobs"
        )
    for note in result.notes[:MOST_NOTES]:
        yield clip(one_line(note), NOTE_CHARACTERS)
    if len(result.notes) > MOST_NOTES:
        yield f"and {counted(len(result.notes) - MOST_NOTES, 'note')} more in the record"
    if result.repeated and result.reason is not Reason.ABORTED:
        yield "this is the recorded result; it was not run again"


def _footer(result: Finished) -> str:
    pieces = [_status(result), _ENDINGS[result.reason]]
    if result.reason is not Reason.ABORTED:
        pieces.append(duration(result.duration_ms))
    pieces += [_mark(result.number, result.head), one_line(clip(result.token, NOTE_CHARACTERS))]
    return " · ".join(piece for piece in pieces if piece)


def _status(result: Finished) -> str:
    if result.exit is not None:
        return f"exit {result.exit}"
    if result.signal is None:
        return "no exit status"
    try:
        return f"signal {result.signal} ({Signals(result.signal).name})"
    except ValueError:
        return f"signal {result.signal}"


def _mark(number: int, head: str | None) -> str:
    return f"#{number}" if head is None else f"#{number} · {head[:SHORT_DIGEST]}"


def _fitting(block: Block, parts: list[Part]) -> JsonObject:
    """Return the message; if it is too long, cut its longest parts, since it must be sent."""
    content = message(block, *parts)
    while json_bytes(content) > MESSAGE_BYTES:
        longest = max(range(len(parts)), key=lambda index: len(parts[index].text))
        part = parts[longest]
        parts[longest] = Part(clip(part.text, max(1, len(part.text) * 3 // 4)), part.code)
        content = message(block, *parts)
    return content
