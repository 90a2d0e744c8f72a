# SPDX-License-Identifier: MIT
"""A room as a client exported it: Element's JSON export.

Facts (Element Web, JSONExport). The file is one object; ``messages`` is an array of events, oldest
first, each as the client shows it: decrypted, and an edited message with the content of its last
edit. Events that the client doesn't show are left out, and so is everything outside the range that
was exported. What the agent says carries ``nc.tibet.result`` in its content. A reply by an older
client begins with what it replies to, which the agent leaves out.

The file is what somebody's client says. It proves nothing by itself; what makes it worth comparing
is that the host doesn't hold it.
"""

import re
from pathlib import Path
from typing import Annotated, Final, cast

import msgspec
from msgspec import Meta

from tibet_nc_audit.errors import AuditError

ROOM_BYTES: Final = 1024 * 1024 * 1024
"""Longest export that is read; it is held in memory, some times over."""

RESULT_KEY: Final = "nc.tibet.result"

_QUOTATION: Final = re.compile(r"\A> <@[^\n]*\n(?:> [^\n]*\n)*\n")
"""Client-Server API v1.12, §Fallbacks for rich replies."""

type Number = Annotated[int, Meta(ge=0)]


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What the agent says to programs of one answer; a field that doesn't apply is null."""

    event_id: str | None = None
    final: bool = False
    verdict: str = ""
    number: Number | None = None
    outcome: Number | None = None
    exit: int | None = None
    signal: int | None = None
    reason: str | None = None
    duration_ms: int | None = None
    output_bytes: int | None = None
    output_sha256: str | None = None
    head: str | None = None
    token: str | None = None
    stage: str | None = None
    family: str | None = None


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a room; ``sent_ms`` is the homeserver's time."""

    event_id: str
    sender: str
    room_id: str
    sent_ms: int
    kind: str
    text: str
    result: Result | None
    edits: bool


class _Event(msgspec.Struct, frozen=True, kw_only=True):
    type: str = ""
    event_id: str = ""
    sender: str = ""
    room_id: str = ""
    origin_server_ts: int = 0
    content: dict[str, object] = {}


class _Export(msgspec.Struct, frozen=True, kw_only=True):
    messages: list[dict[str, object]]


_FOREIGN: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)


def read_room(path: Path) -> list[Message]:
    """Return the messages of an exported room; raises AuditError.

    An event that is of no use, or of a form that a client shouldn't have, is passed over.
    """
    try:
        with path.open("rb") as file:
            data = file.read(ROOM_BYTES + 1)
    except OSError as error:
        raise AuditError(f"{path}: {error.strerror}") from None
    if len(data) > ROOM_BYTES:
        raise AuditError(f"{path}: over {ROOM_BYTES} bytes; export a shorter range")
    try:
        export = msgspec.json.decode(data, type=_Export)
    except _FOREIGN:
        raise AuditError(f"{path}: not a room that Element exported as JSON") from None
    messages = (_message(event) for event in export.messages)
    return [message for message in messages if message is not None]


def _message(plain: dict[str, object]) -> Message | None:
    decrypted = plain.get("decrypted")
    try:
        event = msgspec.convert(decrypted if isinstance(decrypted, dict) else plain, _Event)
    except _FOREIGN:
        return None
    if event.type != "m.room.message":
        return None
    body = event.content.get("body")
    text = body if isinstance(body, str) else ""
    relation = event.content.get("m.relates_to")
    relates = cast(dict[str, object], relation) if isinstance(relation, dict) else {}
    if "m.in_reply_to" in relates:
        text = _QUOTATION.sub("", text, count=1)
    return Message(
        event_id=event.event_id,
        sender=event.sender,
        room_id=event.room_id,
        sent_ms=event.origin_server_ts,
        kind=str(event.content.get("msgtype", "")),
        text=text,
        result=_result(event.content.get(RESULT_KEY)),
        edits=relates.get("rel_type") == "m.replace",
    )


def _result(block: object) -> Result | None:
    if not isinstance(block, dict):
        return None
    try:
        return msgspec.convert(block, Result)
    except _FOREIGN:
        return None
