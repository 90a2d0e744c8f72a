# SPDX-License-Identifier: MIT
"""The form of everything the agent says in a room: text, HTML, and a block for programs.

Facts. ``m.notice`` is what bots send: other bots don't answer it, and clients don't ring for it
(Client-Server API v1.16, §m.notice; rule .m.rule.suppress_notices). ``m.mentions`` is always
there and empty, so that no name in an output mentions anybody (§User and room mentions). Text in
``<pre>`` or ``<code>`` is neither linked nor made a pill by the clients we know.

Answers are replies. nio puts ``m.relates_to`` in clear, beside the ciphertext, so the homeserver
learns which message an answer belongs to; it could tell so by the time anyway, and operators who
share a room must not have to guess. The answer to a message in a thread is in that thread, and an
edit of ours stays where it was said (§Threading).
"""

import hashlib
import json
from enum import StrEnum
from typing import Final

import msgspec

from tibet_nc_agent.canonical import JsonObject, as_object
from tibet_nc_agent.visible import escaped, visible

MESSAGE_BYTES: Final = 20 * 1024
"""Longest content as JSON. 47 KiB pass a homeserver encrypted, yet people read it on a phone."""

NO_PREVIEWS: Final = "com.beeper.linkpreviews"
"""An empty list of link previews: the one way to say in a message that there are to be none
(MSC4095, still under its vendor's name). Clients that don't know it decide by themselves."""

RESULT_KEY: Final = "nc.tibet.result"
BLOCK_VERSION: Final = 1
_CLIPPED: Final = "…"
_THREAD: Final = "m.thread"


class Verdict(StrEnum):
    """What became of a message, for programs."""

    RAN = "ran"
    REFUSED = "refused"
    """By the airlock."""
    DENIED = "denied"
    """By the executor."""
    ABORTED = "aborted"
    """It began, and the executor ended before it did."""
    INFO = "info"
    """The agent answers by itself, or says how things go."""


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """The machine-readable part; a field that doesn't apply is null.

    ``number`` and ``outcome`` are records of the chain, ``head`` the digest of the latter;
    ``duration_ms`` is in milliseconds; ``output_sha256`` is of everything that was printed.
    """

    event_id: str | None
    final: bool
    host: str
    verdict: Verdict
    version: int = BLOCK_VERSION
    number: int | None = None
    outcome: int | None = None
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
    repeated: bool = False


class Part(msgspec.Struct, frozen=True):
    """A piece of a message. Code keeps its lines and spaces."""

    text: str
    code: bool = False


def message(block: Block, *parts: Part) -> JsonObject:
    """Return the content of a notice that says the parts, one below the other.

    The parts must fit (see :func:`cost`). Whoever made them has made visible what came from
    outside; it is done once more here, where nothing can go round it, and changes nothing then.
    """
    parts = tuple(Part(visible(part.text), part.code) for part in parts)
    body = "\n".join(part.text for part in parts)
    formatted = "".join(_html(part) for part in parts)
    content: JsonObject = {
        "msgtype": "m.notice",
        "body": body,
        "format": "org.matrix.custom.html",
        "formatted_body": formatted,
    }
    return content | _common(block)


def edit_of(event_id: str, content: JsonObject) -> JsonObject:
    """Return the content that replaces an earlier message of ours by another one.

    Programs that don't know edits show the outer text (Client-Server API v1.16, §Event
    replacements). The reply that the first form was stays what it is.
    """
    new = {key: value for key, value in content.items() if key != "m.relates_to"}
    relation: JsonObject = {"rel_type": "m.replace", "event_id": event_id}
    return {
        **new,
        "body": f"* {new['body']}",
        "formatted_body": f"* {new['formatted_body']}",
        "m.new_content": new,
        "m.relates_to": relation,
    }


def in_thread(content: JsonObject, root: str) -> JsonObject:
    """Return an answer as one in the thread that began with ``root``; it is a reply there, too."""
    thread: JsonObject = {"rel_type": _THREAD, "event_id": root, "is_falling_back": False}
    return {**content, "m.relates_to": thread | as_object(content.get("m.relates_to"))}


def outside_threads(content: JsonObject) -> JsonObject | None:
    """Return an answer that is in a thread as one that is in none, None if it isn't in one."""
    relation = as_object(content.get("m.relates_to"))
    if relation.get("rel_type") != _THREAD:
        return None
    return {**content, "m.relates_to": {"m.in_reply_to": relation.get("m.in_reply_to")}}


def with_block(block: Block, content: JsonObject) -> JsonObject:
    """Return a content that was made elsewhere, a file's, as one of ours."""
    return content | _common(block)


def cost(code: str) -> int:
    """Return how many bytes of a content a part of code takes, as text and as HTML."""
    return _json_bytes(code) + _json_bytes(_html(Part(code, code=True))) + len("\\n")


def json_bytes(content: JsonObject) -> int:
    """Return the length of a content as nio writes it: ASCII, everything else escaped."""
    return len(json.dumps(content, separators=(",", ":")))


def clip(text: str, limit: int) -> str:
    """Return the text, or its beginning and an ellipsis, in at most ``limit`` characters."""
    return text if len(text) <= limit else text[: limit - 1] + _CLIPPED


def transaction(room_id: str, event_id: str, what: str) -> str:
    """Return the transaction id of the one message of this kind about an event (I4).

    Sending twice under it is sending once (Client-Server API v1.16, §Transaction identifiers).
    """
    text = f"tibet-nc transaction\n{room_id}\n{event_id}\n{what}"
    return hashlib.sha256(text.encode()).hexdigest()


def _common(block: Block) -> JsonObject:
    common: JsonObject = {
        "m.mentions": {},
        NO_PREVIEWS: [],
        RESULT_KEY: msgspec.to_builtins(block),
    }
    if block.event_id is not None:
        common["m.relates_to"] = {"m.in_reply_to": {"event_id": block.event_id}}
    return common


def _html(part: Part) -> str:
    text = escaped(part.text)
    if part.code:
        return f"<pre><code>{text}\n</code></pre>"
    return "<p>" + text.replace("\n", "<br>") + "</p>"


def _json_bytes(text: str) -> int:
    return len(json.dumps(text)) - len('""')
