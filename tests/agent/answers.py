# SPDX-License-Identifier: MIT
"""Answers to an event: made for a test, read as a client reads them, and what must hold of each."""

import unicodedata
from html.parser import HTMLParser

import msgspec

from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.content import MESSAGE_BYTES, RESULT_KEY, Block, json_bytes
from tibet_nc_agent.render import Answerer
from tibet_nc_protocol.messages import Finished
from tibet_nc_protocol.terms import Reason

EVENT = "$RhQXZHa-OaO8i-zu7MNYiL3OlItg5NbTEMXU94j"
ANSWERER = Answerer("web1")
HIDDEN = {"Cc", "Cf", "Cs", "Cn", "Zl", "Zp"}


def result(**changes: object) -> Finished:
    """Return the result of a command, with changes."""
    usual = Finished(
        request=1,
        run="0" * 32,
        number=42,
        outcome=43,
        head="9f3ac2d1" + "0" * 56,
        exit=0,
        signal=None,
        reason=Reason.EXITED,
        duration_ms=38,
        output_bytes=3,
        output_sha256="a" * 64,
        recorded_bytes=3,
        output=b"hi\n",
        leftover=0,
        token="tibet_1",
        notes=(),
        repeated=False,
    )
    return msgspec.structs.replace(usual, **changes)


def block(content: JsonObject) -> Block:
    """Return the machine-readable part of a message, read strictly."""
    return msgspec.convert(content[RESULT_KEY], Block, strict=True)


class Tags(HTMLParser):
    """Reads HTML as a client would: which tags, and which text."""

    def __init__(self, markup: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.text = ""
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag; ours have no attributes."""
        assert not attrs
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += data


def check_harmless(content: JsonObject) -> None:
    """Assert what must hold of every message, whatever it was made of."""
    assert json_bytes(content) <= MESSAGE_BYTES
    assert content["msgtype"] == "m.notice"
    assert content["m.mentions"] == {}
    assert content["com.beeper.linkpreviews"] == []
    body, formatted = content["body"], content["formatted_body"]
    assert isinstance(body, str)
    assert isinstance(formatted, str)
    for text in (body, formatted):
        assert not [c for c in text if c not in "\n\t" and unicodedata.category(c) in HIDDEN]
    assert set(Tags(formatted).tags) <= {"p", "br", "pre", "code"}
    block(content)
