# SPDX-License-Identifier: MIT
"""The chain against a room: what was asked for there, and what the agent answered.

Whatever the agent said in the room it had from the executor, with the number and the digest of the
record. So each final answer is held against that record, each checkpoint against the tree, each
command's text against what was typed; and each command of the room in the chain must have been
asked for and answered there, within the time that was exported. What is held of the chain beyond
its copy, the room has too.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from tibet_nc_audit.crosscheck.copy import ChainCopy
from tibet_nc_audit.crosscheck.discrepancies import Comparison, Discrepancies, Kind
from tibet_nc_audit.crosscheck.messages import Message, Result
from tibet_nc_audit.entries import Entry, Verdict, entries
from tibet_nc_audit.entries import Kind as What
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.reader import State
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import NoteError
from tibet_nc_protocol.note import Checkpoint, split_note

PREFIX: Final = "$ "
"""What begins a command where it isn't left out."""

MARGIN_MS: Final = 5 * 60 * 1000
"""How far the clocks of host and homeserver may be apart, when it is asked what the export covers.

It decides only whether a record without a message is missing or outside; two hosts that keep time
at all are nearer than that."""

_DENIED: Final = "denied"
"""The verdict of what the executor itself refused; the chain has it as a refusal."""

_RAN: Final = (
    "exit",
    "signal",
    "reason",
    "duration_ms",
    "output_bytes",
    "output_sha256",
    "token",
)
"""What an answer and its outcome both say."""


def compare(
    state: State, chain: ChainCopy, messages: Sequence[Message], agent: str | None, source: str
) -> Comparison:
    """Compare a chain with the messages of a room; raises AuditError.

    ``agent`` is the agent's user id; without it, whoever gives results is taken for the agent.
    """
    return _Comparing(state, chain, messages, agent).run(source)


class _Comparing:
    def __init__(
        self, state: State, chain: ChainCopy, messages: Sequence[Message], agent: str | None
    ) -> None:
        self._state = state
        self._chain = chain
        self._found = Discrepancies()
        self._unasked = 0
        """Answers to messages that aren't in the export themselves."""
        self._unclaimed = 0
        """Answers that name no record."""
        self._edited = 0
        """Commands that were edited after they ran; the edit was refused."""
        self._unended = 0
        """Commands whose end can't be read."""
        self._unsure = 0
        """What in the room is of records that can't be read, or may be."""
        self._other_text: list[tuple[Entry, str, str]] = []
        """Commands whose text in the room is another, with the message and that text."""
        self._refused: set[tuple[str | None, str]] = set()
        """Who was refused what, of all that was typed."""
        self._compared = 0
        self._agent = _agent(messages) if agent is None else agent
        self._messages = messages
        self._asked = {
            message.event_id: message for message in messages if message.sender != self._agent
        }
        self._typed = {_typed(message.text) for message in self._asked.values()}
        self._answers: dict[str, list[Message]] = {}
        for message in messages:
            result = message.result
            if message.sender == self._agent and result and result.final and result.event_id:
                self._answers.setdefault(result.event_id, []).append(message)
        self._rooms = {message.room_id for message in messages}
        times = [message.sent_ms for message in messages]
        self._from_ms, self._until_ms = min(times, default=0), max(times, default=0)

    def run(self, source: str) -> Comparison:
        """Compare everything."""
        outside = 0
        known: set[str] = set()
        unread: list[str] = []
        for entry in entries(self._state):
            if entry.kind is What.UNREADABLE:
                unread.append(f"record {entry.seq}: {entry.detail}")
            if entry.kind not in {What.COMMAND, What.REFUSAL} or entry.room not in self._rooms:
                continue
            event = entry.event or ""
            if entry.kind is What.REFUSAL and entry.command is not None:
                refused = _typed(entry.command)
                if refused in self._typed:
                    self._refused.add((entry.operator, refused))
            answers = self._answers.get(event, [])
            asked = self._asked.get(event)
            if answers or asked is not None:
                known.add(event)
            if asked is None and not answers:
                if self._covers(entry):
                    self._add(Kind.MISSING, entry, "what it came from is not in the room")
                else:
                    outside += 1
                continue
            self._compare_text(entry, asked)
            if entry.verdict is Verdict.RUNNING and self._chain.lost.after(entry.seq):
                self._unended += 1
                continue
            self._compare_answers(entry, answers)
        self._compare_edited()
        self._unknown(known)
        self._checkpoints()
        numbers = (
            (outside, "commands and refusals outside what was exported"),
            (self._unasked, "answered, and the message itself not in the export"),
            (self._unclaimed, "answers that name no record"),
            (self._unended, "commands whose end can't be read"),
            (self._unsure, "messages that may be of records that can't be read"),
            (self._edited, "commands edited after they ran, and the edit refused"),
        )
        return Comparison(
            source=source,
            compared=self._compared,
            notes=[
                f"answers are those of {self._agent}",
                *(f"{what}: {number}" for number, what in numbers if number),
            ],
            total=self._found.total,
            counts=self._found.counts,
            discrepancies=self._found.kept,
            unread=unread,
        )

    # --- one command ------------------------------------------------------------------------------

    def _compare_text(self, entry: Entry, asked: Message | None) -> None:
        if asked is None:
            self._unasked += 1
            return
        if asked.sender != entry.operator:
            self._add(
                Kind.DIFFERS,
                entry,
                "asked for by somebody else",
                place=asked.event_id,
                expected=entry.operator or "",
                found=asked.sender,
            )
        typed = _typed(asked.text)
        if entry.kind is What.COMMAND and entry.command not in {None, typed}:
            self._other_text.append((entry, asked.event_id, typed))

    def _compare_edited(self) -> None:
        """Tell what ran and isn't what stands in the room, unless it was edited since.

        A client shows the text of the last edit. Edits are refused, and that is on record.
        """
        edited = 0
        for entry, place, typed in self._other_text:
            if (entry.operator, typed) in self._refused:
                edited += 1
                continue
            if self._chain.lost.after(entry.seq):  # that it was refused may be there
                self._unsure += 1
                continue
            self._add(
                Kind.DIFFERS,
                entry,
                "what ran is not what was typed",
                place=place,
                expected=entry.command or "",
                found=typed,
            )
        self._edited = edited

    def _compare_answers(self, entry: Entry, answers: Sequence[Message]) -> None:
        if not answers:
            if entry.verdict is not Verdict.RUNNING and self._covers(entry):
                self._add(Kind.MISSING, entry, "it was never answered in the room")
            return
        if len(answers) > 1:
            self._add(
                Kind.DIFFERS,
                entry,
                f"answered {len(answers)} times",
                place=", ".join(answer.event_id for answer in answers),
            )
        self._compared += 1
        for answer in answers:
            if answer.result is not None:
                self._compare_answer(entry, answer.result, answer.event_id)

    def _compare_answer(self, entry: Entry, result: Result, place: str) -> None:
        if result.number is None:
            self._unclaimed += 1
            return
        said: dict[str, object] = {"number": result.number}
        recorded: dict[str, object] = {"number": entry.seq}
        last = entry.seq
        if result.verdict != _DENIED:
            said["verdict"], recorded["verdict"] = result.verdict, entry.verdict
        if result.verdict == Verdict.RAN:
            said |= {name: getattr(result, name) for name in _RAN}
            recorded |= {name: getattr(entry, name) for name in _RAN}
        if result.outcome is not None:
            said["outcome"], recorded["outcome"] = result.outcome, entry.outcome
            last = entry.seq if entry.outcome is None else entry.outcome
        if result.verdict == Verdict.REFUSED:
            said |= {"stage": result.stage, "family": result.family}
            recorded |= {"stage": entry.stage, "family": entry.family}
        if result.head is not None:
            at = self._chain.place(last)
            said["head"] = result.head
            recorded["head"] = None if at is None else self._chain.digest(at)
        for name, value in said.items():
            if value != recorded[name]:
                self._add(
                    Kind.DIFFERS,
                    entry,
                    f"the answer says another {name}",
                    place=place,
                    expected=_text(recorded[name]),
                    found=_text(value),
                )

    # --- what the chain doesn't know --------------------------------------------------------------

    def _unknown(self, known: set[str]) -> None:
        """Find answers that name records, and commands, of which there is no record."""
        for event, answers in self._answers.items():
            for answer in answers:
                result = answer.result
                if event in known or result is None or result.number is None:
                    continue
                number = result.number if result.outcome is None else result.outcome
                if number in self._chain.lost or result.number in self._chain.lost:
                    self._unsure += 1
                    continue
                end = self._chain.end
                reason = (
                    "the chain does not have this record: it was cut, or replaced"
                    if number >= end
                    else "the record is of something else"
                )
                self._found.add(
                    Kind.EXTRA,
                    number,
                    reason,
                    place=answer.event_id,
                    expected=f"the end after {counted(end, 'record')}" if number >= end else "",
                    found=f"{result.verdict}, head {result.head}",
                )
        first = min((m.sent_ms for m in self._messages if m.sender == self._agent), default=None)
        for event, asked in self._asked.items():
            unasked = event in known or event in self._answers or asked.edits
            if unasked or first is None or asked.kind != "m.text":
                continue
            if asked.text.startswith(PREFIX) and first < asked.sent_ms < self._until_ms - MARGIN_MS:
                if self._chain.lost:
                    self._unsure += 1
                    continue
                self._found.add(
                    Kind.EXTRA,
                    None,
                    "a command that was neither recorded nor answered",
                    place=event,
                    found=f"{asked.sender}: {asked.text}",
                )

    def _checkpoints(self) -> None:
        """Hold the checkpoints that the agent put into the room against the chain."""
        for message in self._messages:
            if message.sender != self._agent or "\n— " not in message.text:
                continue
            note = message.text.partition("\n")[2].rstrip("\n") + "\n"
            try:
                held = Checkpoint.from_text(split_note(note)[0])
            except NoteError:
                continue
            if held.size in self._chain.lost:
                self._unsure += 1
                continue
            self._compared += 1
            root = self._chain.roots.get(held.size)
            if held.size >= self._chain.end:
                self._found.add(
                    Kind.EXTRA,
                    held.size,
                    "a checkpoint of more records than the chain has",
                    place=message.event_id,
                    expected=f"the end after {counted(self._chain.end, 'record')}",
                    found=note,
                )
            elif root != held.root.hex():
                self._found.add(
                    Kind.DIFFERS,
                    held.size,
                    "a checkpoint with another root",
                    place=message.event_id,
                    expected=f"root {root}" if root else "no checkpoint there",
                    found=note,
                )

    def _covers(self, entry: Entry) -> bool:
        """Tell whether the export is of the time of a record, and well so."""
        try:
            recorded = datetime.fromisoformat(entry.ended or entry.time).timestamp() * 1000
        except (ValueError, OverflowError):
            return True
        return self._from_ms + MARGIN_MS < recorded < self._until_ms - MARGIN_MS

    def _add(
        self,
        kind: Kind,
        entry: Entry,
        reason: str,
        *,
        place: str = "",
        expected: str = "",
        found: str = "",
    ) -> None:
        self._found.add(kind, entry.seq, reason, place=place, expected=expected, found=found)


def _agent(messages: Sequence[Message]) -> str:
    """Return who gives results in a room; raises AuditError when that isn't one user."""
    senders = {message.sender for message in messages if message.result is not None}
    if len(senders) != 1:
        who = ", ".join(sorted(senders)) or "nobody"
        raise AuditError(f"results in this room are by {who}: --agent says who the agent is")
    return senders.pop()


def _typed(text: str) -> str:
    """Return the command in what somebody typed."""
    return text.removeprefix(PREFIX).strip()


def _text(value: object) -> str:
    return "nothing" if value is None else str(value)
