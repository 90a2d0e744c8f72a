# SPDX-License-Identifier: MIT
"""The airlock: what becomes of one message, decided from values alone (I5).

    sender → freshness → safety → (chain: the executor)

The stages are passed in this order, and the first that objects decides. A message that is not for
the agent is ignored before the first stage: another room, the agent's own, talk without ``$ `` in
a room that isn't dedicated to it, what can't be read of who may be there unpinned. Everything else
gets exactly one decision, and every refusal names its stage, its reason and what to do next. No
clock, no socket and no file is used here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final

from tibet_nc_agent import pasted, typography
from tibet_nc_agent.action import PREFIX, Action, Execute, action_of
from tibet_nc_agent.event import (
    Incoming,
    Replayed,
    TextMessage,
    Undecryptable,
    Unreadable,
)
from tibet_nc_agent.operators import Standing
from tibet_nc_agent.safety.verdict import Decision as Safety
from tibet_nc_agent.safety.verdict import Verdict
from tibet_nc_agent.visible import one_line
from tibet_nc_protocol.limits import COMMAND_CHARACTERS
from tibet_nc_protocol.terms import Stage

_EDIT_MARK: Final = "* "
"""What clients put before the text of an edit, for programs that don't know edits."""

_IF_MEANT: Final = "if you mean this, send it"

type Message = TextMessage | Undecryptable | Unreadable | Replayed
"""What can be somebody's command; everything else is news of the room."""


class Cause(StrEnum):
    """Why a message was refused, where the safety stage's families don't say it."""

    STRANGER = "stranger"
    UNPINNED = "unpinned"
    READER = "reader"
    IDENTITY = "identity"
    PLAINTEXT = "plaintext"
    UNDECRYPTABLE = "undecryptable"
    UNREADABLE = "unreadable"
    REPLAY = "replay"
    DEVICE = "device"
    COMPANY = "company"
    EDIT = "edit"
    STALE = "stale"
    FUTURE = "future"
    EMPTY = "empty"
    TOO_LONG = "too-long"
    CHARACTER = "character"
    TYPOGRAPHY = "typography"
    MARKUP = "markup"
    PROMPT = "prompt"


@dataclass(frozen=True, kw_only=True)
class Passed:
    """The message passed; this is what it asks for."""

    action: Action


@dataclass(frozen=True, kw_only=True)
class Refused:
    """A stage objects. ``command`` is the text to record, if it may be recorded.

    ``part`` is the part of the command that ``reason`` is about. It is for the room alone: the
    reason goes into the chain and the journal, where nothing can be erased, so the command's own
    text stays out of it (I10). ``meant`` is the message that was probably meant, to be copied.
    """

    stage: Stage
    family: str
    reason: str
    next_step: str
    command: str | None
    part: str = ""
    meant: str | None = None


class Ignored(Enum):
    """The message is not for the agent."""

    NEWS = "not a message"
    OWN = "the agent's own"
    OTHER_ROOM = "not a configured room"
    TALK = "not marked as a command"
    SEALED = "not readable, and from who is not pinned"


type Decision = Passed | Refused | Ignored


@dataclass(frozen=True, kw_only=True)
class Rules:
    """What doesn't change while the agent runs; ``timebox_ms`` is in milliseconds."""

    user_id: str
    rooms: frozenset[str]
    dedicated_room: str
    timebox_ms: int
    judge: Callable[[str], Verdict]


@dataclass(frozen=True, kw_only=True)
class Situation:
    """What is known when a message is judged; times are in milliseconds since 1970, by our clock.

    ``standing`` is what the sender is to this host; ``pins_problem`` says why nobody is pinned, ""
    if that isn't so. ``device`` is the sender's device whose key the message was encrypted with,
    checked, or None; then ``device_problem`` says why there is none. ``skew_ms`` is how far the
    homeserver's clock is ahead of ours, None when that isn't known. ``strangers`` are the members
    of the room because of whom nothing is sent there.
    """

    now_ms: int
    listening_since_ms: int
    skew_ms: int | None
    standing: Standing
    pins_problem: str
    device: str | None
    device_problem: str
    strangers: tuple[str, ...] = ()


def addressed(event: Incoming, rules: Rules) -> Message | Ignored:
    """Return the message if it is for the agent, or why not."""
    if not isinstance(event, TextMessage | Undecryptable | Unreadable | Replayed):
        return Ignored.NEWS
    if event.room_id not in rules.rooms:
        return Ignored.OTHER_ROOM
    if event.sender == rules.user_id:
        return Ignored.OWN
    if (
        isinstance(event, TextMessage)
        and event.room_id != rules.dedicated_room
        and not _marked(_text_of(event))
    ):
        return Ignored.TALK
    return event


def decide(event: Incoming, situation: Situation, rules: Rules) -> Decision:
    """Return what becomes of a message."""
    message = addressed(event, rules)
    if isinstance(message, Ignored):
        return message
    if isinstance(message, Undecryptable) and situation.standing is Standing.UNPINNED:
        # Agents that share a room can't read each other: they would refuse each other's refusals,
        # without end.
        return Ignored.SEALED
    return (
        _sender(message, situation)
        or _freshness(message, situation, rules)
        or _safety(message, rules)
    )


def command_of(message: TextMessage) -> str:
    """Return the command in a message that passed the airlock before."""
    return _text_of(message).removeprefix(PREFIX).strip()


def judged(command: str, rules: Rules) -> Verdict | Refused:
    """Return the safety stage's verdict on a command, or its refusal of what isn't one."""
    fault = _malformed(command)
    if fault is not None:
        return fault
    verdict = rules.judge(command)
    if verdict.decision is Safety.ALLOW and pasted.prompted(verdict.commands):
        return _prompt("a prompt was copied as well: a shell would look for a program", command)
    return verdict


def _malformed(command: str) -> Refused | None:
    """Return the refusal of a text that isn't even judged, None if it may be."""
    if len(command) > COMMAND_CHARACTERS:
        reason = f"{len(command)} characters; at most {COMMAND_CHARACTERS} are permitted"
        return _unsafe(Cause.TOO_LONG, reason, "put it into a script on the host", command)
    if "\0" in command:
        return _unsafe(
            Cause.CHARACTER, "a command can't hold the character U+0000", "leave it out", command
        )
    corrected = typography.meant(command)
    if corrected is not None:
        return _unsafe(
            Cause.TYPOGRAPHY,
            "it holds quotation marks, dashes or spaces that mean nothing to a shell",
            f"{_IF_MEANT}; to mean such a character itself, write it as $'\\u2019'",
            command,
            meant=f"{PREFIX}{corrected.removeprefix(PREFIX)}",
        )
    unmarked = pasted.unmarked(command)
    if unmarked is not None:
        return _unsafe(
            Cause.MARKUP,
            "it stands in code marks, which to a shell mean that what it prints is run",
            _IF_MEANT,
            command,
            meant=f"{PREFIX}{unmarked.removeprefix(PREFIX)}",
        )
    if pasted.is_comment(command):
        return _prompt("to a shell it is a comment, and no command", command)
    return None


def _prompt(reason: str, command: str) -> Refused:
    unprompted = pasted.unprompted(command)
    if unprompted is None:
        advice = "send the commands alone, without prompts and without what was printed"
        return _unsafe(Cause.PROMPT, reason, advice, command)
    return _unsafe(Cause.PROMPT, reason, _IF_MEANT, command, meant=f"{PREFIX}{unprompted}")


# --- the stages -----------------------------------------------------------------------------------


def _standing(message: Message, situation: Situation) -> Refused | None:
    """Refuse who is no operator; such a sender doesn't decide how much is recorded."""
    trust = f"on the host, as root: tibet-nc-agent trust {one_line(message.sender)}"
    match situation.standing:
        case Standing.OPERATOR:
            return None
        case _ if situation.pins_problem:
            return _unreadable(
                Cause.UNPINNED,
                "nobody may command this host: the file of its operators can't be used",
                "see `tibet-nc-agent doctor` on the host",
            )
        case Standing.UNPINNED:
            return _unreadable(
                Cause.UNPINNED,
                "your identity is not pinned on this host, so nobody knows whether this is you",
                trust,
            )
        case Standing.PAUSED:
            return _unreadable(
                Cause.IDENTITY,
                "you are paused, since your identity is not the one that was pinned: "
                + (situation.device_problem or "it was another one before"),
                f"if you have reset it: {trust}",
            )
        case Standing.READER:
            return _unreadable(
                Cause.READER,
                "you may read here; [operators] allowed doesn't name you",
                "ask the host's administrator",
            )
        case Standing.STRANGER:
            return _unreadable(Cause.STRANGER, "you are not an operator of this host", trust)


def _sender(message: Message, situation: Situation) -> Refused | None:
    objection = _standing(message, situation)
    if objection is not None:
        return objection
    match message:
        case Undecryptable():
            return _unreadable(
                Cause.UNDECRYPTABLE,
                "the key to this message has not come",
                "please send it again; if that fails too, check that your client sends keys to the "
                "agent's device",
            )
        case Unreadable():
            return _unreadable(
                Cause.UNREADABLE, message.reason, "send the command again from your client"
            )
        case Replayed():
            return _unreadable(
                Cause.REPLAY,
                "the homeserver delivered this ciphertext before, "
                f"as {one_line(message.first_event_id)}",
                "nothing was run again; if you didn't send it twice, tell your administrator",
            )
        case TextMessage(origin=None):
            return Refused(
                stage=Stage.SENDER,
                family=Cause.PLAINTEXT,
                reason="the message was not encrypted, so nobody knows who wrote it",
                next_step="send it from a client that encrypts in this room",
                command=_recordable(_text_of(message)),
            )
        case TextMessage() if situation.device is None:
            return Refused(
                stage=Stage.SENDER,
                family=Cause.DEVICE,
                reason=situation.device_problem or "the sender's device is not known",
                next_step="verify this session in your client, then send it again",
                command=_recordable(_text_of(message)),
            )
        case TextMessage() if situation.strangers:
            names = ", ".join(map(one_line, situation.strangers[:3]))
            return Refused(
                stage=Stage.SENDER,
                family=Cause.COMPANY,
                reason=f"nothing runs while somebody is here who is no operator: {names}",
                next_step="remove them from the room, or have them pinned, then send it again",
                command=_recordable(_text_of(message)),
            )
        case TextMessage():
            return None


def _freshness(message: Message, situation: Situation, rules: Rules) -> Refused | None:
    text = _text_of(message)
    if isinstance(message, TextMessage) and message.is_edit:
        return Refused(
            stage=Stage.FRESHNESS,
            family=Cause.EDIT,
            reason="an edit is never run: only the first form of a message is a command",
            next_step="send it as a new message",
            command=_recordable(text),
        )
    age_ms = situation.now_ms - message.sent_ms
    if abs(age_ms) <= rules.timebox_ms:
        return None
    limit = f"{rules.timebox_ms / 1000:g} s"
    if age_ms > 0:
        before = " and before the agent was listening" * (
            message.sent_ms < situation.listening_since_ms
        )
        reason = f"it was sent {age_ms / 1000:.1f} s ago{before}; at most {limit} are permitted"
    else:
        reason = f"it is dated {-age_ms / 1000:.1f} s in the future; at most {limit} are permitted"
    return Refused(
        stage=Stage.FRESHNESS,
        family=Cause.STALE if age_ms > 0 else Cause.FUTURE,
        reason=f"{reason} ({_clock(situation.skew_ms)})",
        next_step=_freshness_advice(situation.skew_ms, rules.timebox_ms),
        command=_recordable(text),
    )


def _safety(message: Message, rules: Rules) -> Passed | Refused:
    text = _text_of(message)
    command = text.removeprefix(PREFIX).strip()
    if command in {"", PREFIX.strip()}:
        return _unsafe(Cause.EMPTY, "there is no command", "type one, as `$ uptime`", text)
    action = action_of(command)
    if action is not None:
        return Passed(action=action)
    verdict = judged(command, rules)
    if isinstance(verdict, Refused):
        return verdict
    if verdict.decision is Safety.ALLOW:
        return Passed(action=Execute(command=command))
    return _objection(verdict, command)


def _objection(verdict: Verdict, command: str) -> Refused:
    worst = verdict.worst
    if worst is None:  # a verdict that isn't ALLOW has findings; without one nothing may run
        return _unsafe("unknown", "the safety stage objects", "run it on the host itself", command)
    start, end = worst.span
    part = command[start:end] if 0 <= start < end <= len(command) else ""
    more = len(verdict.findings) - 1
    others = f" (and {more} more: `? …` lists them)" if more else ""
    if verdict.decision is Safety.NEEDS_APPROVAL:
        return _unsafe(
            worst.family,
            f"{worst.reason}{others}; it needs an approval, and this version has none",
            f"{worst.advice}, or run it on the host itself",
            command,
            part=part,
        )
    return _unsafe(worst.family, f"{worst.reason}{others}", worst.advice, command, part=part)


# --- words ----------------------------------------------------------------------------------------


def _text_of(message: Message) -> str:
    if not isinstance(message, TextMessage):
        return ""
    return message.body.removeprefix(_EDIT_MARK) if message.is_edit else message.body


def _marked(text: str) -> bool:
    """Whether a text is marked as a command, maybe by a phone: then it is told so, not ignored."""
    return PREFIX in {text[: len(PREFIX)], typography.meant(text[: len(PREFIX)])}


def _recordable(text: str) -> str | None:
    """Return what the record of a refusal may hold: as much as a command may have, or nothing."""
    return text[:COMMAND_CHARACTERS] or None


def _unreadable(cause: Cause, reason: str, next_step: str) -> Refused:
    return Refused(
        stage=Stage.SENDER, family=cause, reason=reason, next_step=next_step, command=None
    )


def _unsafe(
    family: str,
    reason: str,
    next_step: str,
    text: str,
    *,
    part: str = "",
    meant: str | None = None,
) -> Refused:
    return Refused(
        stage=Stage.SAFETY,
        family=family,
        reason=reason,
        next_step=next_step,
        command=_recordable(text),
        part=part,
        meant=meant,
    )


def _clock(skew_ms: int | None) -> str:
    if skew_ms is None:
        return "the homeserver's clock is not known"
    return f"the homeserver's clock is {skew_ms / 1000:+.1f} s from this host's"


def _freshness_advice(skew_ms: int | None, timebox_ms: int) -> str:
    if skew_ms is not None and abs(skew_ms) > timebox_ms // 2:
        return "set the clocks right (timedatectl on this host), then send it again"
    return "send it again if you still want it"
