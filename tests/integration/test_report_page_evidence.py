# SPDX-License-Identifier: MIT
"""The HTML report judges what records speak of as verify does, whatever else lies beside it."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec
import pytest

from tests.audit.chains import CHUNK, Chain, add, salt
from tests.harness.browser import Page
from tests.integration.report import export, findings, verdict
from tibet_nc_audit.payloads import DIFFERS
from tibet_nc_audit.reader import State
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import PAYLOADS_CODEC, RECORDINGS, Payload, recording_name
from tibet_nc_protocol.records import Outcome

type Alter = Callable[[Chain], object]


def _first_bad(page: Page, chain: Chain) -> int | None:
    """Return the record that verify and the page name, which has to be the same, or none."""
    with State(chain.root) as state:
        first = verify(state).first_bad
    said = verdict(page, export(chain.root))
    if first is None:
        assert "Verified in this browser" in said, findings(page)
        return None
    assert f"Not verified: record {first.record} is bad" in said, first
    return first.record


def _text(number: int, command: str, of: int) -> bytes:
    payload = Payload(seq=number, salt=salt(of).hex(), command=command)
    return PAYLOADS_CODEC.encode(payload) + b"\n"


def _texts(*lines: bytes) -> Alter:
    return lambda chain: chain.texts.write_bytes(b"".join(lines))


def _damaged_at_the_end(chain: Chain) -> None:
    chain.texts.write_bytes(DF + UP + b"{}\n")
    *lines, last = chain.lines
    chain.segments[0].write_bytes(b"\n".join([*lines, last[:-1], b""]))


DF: Final = _text(1, "df", 1)
UP: Final = _text(4, "uptime", 4)
DECOY: Final = _text(1, "rm", 1)


@pytest.mark.parametrize(
    ("alter", "bad"),
    [
        (_texts(DF, DECOY, UP), None),
        (_texts(DECOY, DF, UP), None),
        (_texts(DECOY, UP), 1),
        (_texts(DF, _text(3, "uptime", 4)), 4),
        (_texts(DF, _text(2, "uptime", 4)), 4),
        (_texts(DF, _text(99, "uptime", 4)), 4),
        (_texts(DF, _text(3, "lost in a crash", 3), UP), None),
        (_texts(), None),
        (_texts(DF, b"\n"), 4),
        (_texts(DF, UP[:-1]), 4),
        (_texts(DF, b'"\xff"\n', UP), 5),
        (_texts(b"{}\n"), 1),
        (_damaged_at_the_end, 4),
    ],
)
def test_texts(page: Page, tmp_path: Path, alter: Alter, bad: int | None) -> None:
    """One text that opens the commitment will do, and what no record speaks of is no fault (I8)."""
    chain = Chain(tmp_path / "state")
    chain.command("df", b"x\n")
    chain.session()
    chain.command("uptime", b"up\n")
    alter(chain)
    assert _first_bad(page, chain) == bad


STRAYS: Final[list[tuple[bytes, int | None]]] = [
    (_text(4, "uptime", 4), None),
    (_text(3, "uptime", 4), None),
    (_text(4, "df", 1), 1),
    (b"no payload\n", 1),
]


@pytest.mark.parametrize(("line", "bad"), STRAYS)
def test_texts_in_another_file(page: Page, tmp_path: Path, line: bytes, bad: int | None) -> None:
    """A text is looked for beside the records of its own file, and shown from nowhere else (I8)."""
    chain = Chain(tmp_path / "state", segment_records=3)
    chain.command("df", b"x\n")
    first = chain.texts
    chain.session()
    chain.command("uptime", b"up\n")
    first.write_bytes(line)
    chain.texts.write_bytes(b"")
    assert _first_bad(page, chain) == bad
    assert page.evaluate("document.querySelectorAll('.command .remark').length") == 2


def _cast(old: bytes, new: bytes) -> Alter:
    def alter(chain: Chain) -> None:
        path = chain.root / RECORDINGS / recording_name(1)
        data = path.read_bytes()
        assert old in data
        path.write_bytes(data.replace(old, new, 1))

    return alter


def _emptied(chain: Chain) -> None:
    (chain.root / RECORDINGS / recording_name(1)).write_bytes(b"")


@pytest.mark.parametrize(
    ("alter", "bad"),
    [
        (_cast(b'"x","0"]\n', b'"x","0"]'), 2),
        (_cast(b'"x","0"]\n', b'"x","0"]\n[0'), 2),
        (_emptied, 2),
        (_cast(b'"x","0"]\n', b'"x","0"]\r\n'), None),
        (_cast(b'"x","0"]\n', b'"x","0"]' + b" " * 400_000 + b"\n"), 2),
        (_cast(b"\xef\xbf\xbd", b"\\ud800"), 2),
        (_cast(b"[0.0", b"[-1"), 2),
        (_cast(b"[0.0", b"[-0"), None),
        (_cast(b"[0.0", b"[null"), 2),
        (_cast(b"[0.0", b"[1e400"), 2),
        (_cast(b"/w==", b"/w"), 2),
        (_cast(b"/w==", b"/ w=="), 2),
        (_cast(b'"version":3', b'"version":4'), 2),
        (_cast(b'"rows":24', b'"rows":"24"'), 2),
        (_cast(b'"title":', b'"name":'), 2),
        (_cast(b'"version":3', b'"version": 3 '), None),
        (_cast(b'command"}', b'command"}\r'), None),
        (_cast(b'"version":3', b'"version":3.0'), 2),
        (_cast(b'"rows":24', b'"rows":1e3'), 2),
        (_cast(b'"rows":24', b'"rows":1' + b"0" * 400), None),
        (_cast(b'"rows":24', b'"rows":2.5,"rows":24'), 2),
        (_cast(b'"version":3', b'"version":3.0,"version":3'), 2),
        (_cast(b'"title":', b'"title":3,"title":'), 2),
        (_cast(b'"title":', b'"title":"x","title":'), None),
        (_cast(b'"term":{', b'"term":[],"term":{'), 2),
        (_cast(b'"term":{', b'"term":{},"term":{'), 2),
        (_cast(b'"version":3', b'"ver\\u0073ion":3'), None),
        (_cast(b'"title":', b'"more":{"rows":2.5,"a:{}":[{}]},"title":'), None),
        (_cast(b'"title":', b'"\\ud800":0,"title":'), 2),
    ],
)
def test_recordings(page: Page, tmp_path: Path, alter: Alter, bad: int | None) -> None:
    """A recording is one to the page just when it is one to verify (I8)."""
    chain = Chain(tmp_path / "state")
    chain.command("df", "\ufffd".encode() + b"x" * CHUNK + b"\xff")
    alter(chain)
    assert _first_bad(page, chain) == bad


LIES: Final[list[Callable[[Outcome], Outcome]]] = [
    lambda outcome: msgspec.structs.replace(outcome, recording=recording_name(9)),
    lambda outcome: msgspec.structs.replace(outcome, output_bytes=outcome.output_bytes - 1),
    lambda outcome: msgspec.structs.replace(
        outcome, output_bytes=0, recorded_bytes=0, recording=""
    ),
]


@pytest.mark.parametrize("alter", LIES)
def test_what_an_outcome_says_of_its_recording(
    page: Page, tmp_path: Path, alter: Callable[[Outcome], Outcome]
) -> None:
    """An outcome whose recording, lengths or SHA-256 contradict one another is named (I8)."""
    chain = Chain(tmp_path / "state")
    number = chain.outcome(chain.intent("df"), b"x\n", alter=alter)
    assert _first_bad(page, chain) == number


def test_the_text_that_is_shown(page: Page, tmp_path: Path) -> None:
    """A text beside the one that a record commits to isn't shown, nor one that none commits to."""
    chain = Chain(tmp_path / "state")
    number = chain.intent("df")
    refused = chain.refusal(None)
    add(chain.texts, _text(number, "rm", 1) + _text(refused, "never asked for", 1))
    verdict(page, export(chain.root))
    shown = page.evaluate("document.getElementById('timeline').innerText")
    assert "df" in shown
    assert "rm" not in shown.split()
    assert "never asked for" not in shown


def test_another_text_is_not_shown(page: Page, tmp_path: Path) -> None:
    """What stands in the place of a text is named, and shown as little as by log and show."""
    chain = Chain(tmp_path / "state")
    number = chain.intent("df")
    chain.texts.write_bytes(_text(number, "never-typed", 1))
    assert _first_bad(page, chain) == number
    assert page.evaluate("document.querySelector('.command .remark').innerText") == DIFFERS
    search = "document.getElementById('search')"
    page.evaluate(f"({search}.value = 'never-typed', {search}.dispatchEvent(new Event('input')))")
    assert page.evaluate("document.getElementById('timeline').innerText") == "Nothing fits."
