# SPDX-License-Identifier: MIT
"""Texts, recordings and tokens are what the records say of them, or are found not to be (I8)."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from tests.audit.chains import Chain, cast
from tests.audit.verdicts import TEXTS, report
from tibet_nc_audit.findings import What
from tibet_nc_protocol.layout import RECORDINGS, TOKENS
from tibet_nc_protocol.records import Outcome


def test_texts_are_swapped(state: Path) -> None:
    """A command's text under another command's number is found in both (I8)."""
    path = state / TEXTS
    path.write_bytes(
        path.read_bytes()
        .replace(b'"seq":2}', b'"seq":X}')
        .replace(b'"seq":4}', b'"seq":2}')
        .replace(b'"seq":X}', b'"seq":4}')
    )
    found = report(state)
    assert [(f.what, f.record) for f in found.findings] == [(What.PAYLOAD, 2), (What.PAYLOAD, 4)]


def test_a_text_is_filed_under_no_commands_number(state: Path) -> None:
    """A text can't be made to look erased by filing it under another number (I8)."""
    path = state / TEXTS
    path.write_bytes(path.read_bytes().replace(b'"seq":2}', b'"seq":3}'))
    found = report(state)
    assert [(f.what, f.record) for f in found.findings] == [(What.PAYLOAD, 2)]


def test_recordings_are_swapped(state: Path) -> None:
    """A recording under another command's name is found in both (I8)."""
    one, other = (state / RECORDINGS / f"{number:012d}.cast" for number in (2, 7))
    first, second = one.read_bytes(), other.read_bytes()
    one.write_bytes(second)
    other.write_bytes(first)
    found = report(state)
    # Each is named by the outcome's record, which holds the digest.
    assert [(f.what, f.record) for f in found.findings] == [
        (What.RECORDING, 3),
        (What.RECORDING, 8),
    ]


def test_what_is_found_last_may_come_first(state: Path) -> None:
    """The first bad record is named, also if it is known to be bad only at the chain's end (I8)."""
    one, other = (state / RECORDINGS / f"{number:012d}.cast" for number in (2, 7))
    one.unlink()
    other.write_bytes(other.read_bytes()[:-1])
    found = report(state)
    assert [finding.record for finding in found.findings] == [3, 8]
    assert found.first_bad == found.findings[0]


@pytest.mark.parametrize("replace", ["nothing", "directory", "link", "pipe", "empty", "torn"])
def test_a_recording_is_not_there(state: Path, replace: str) -> None:
    """A recording that is gone, or something else, or cut, is found (I8)."""
    path = state / RECORDINGS / "000000000002.cast"
    whole = path.read_bytes()
    path.unlink()
    match replace:
        case "directory":
            path.mkdir()
        case "link":
            aside = state.parent / "aside.cast"
            aside.write_bytes(whole)
            path.symlink_to(aside)
        case "pipe":
            os.mkfifo(path)
        case "empty":
            path.touch()
        case "torn":
            path.write_bytes(whole[:-1])
        case _:
            pass
    found = report(state)
    assert [(f.what, f.record) for f in found.findings] == [(What.RECORDING, 3)]


def test_tokens_are_dropped_and_swapped(state: Path) -> None:
    """A token that is gone is found; the order in which tokens stand proves nothing (I8)."""
    path = state / TOKENS
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([lines[1], lines[0], *lines[2:]]))
    assert report(state).good
    path.write_bytes(b"".join(lines[:1] + lines[2:]))
    assert [(f.what, f.record) for f in report(state).findings] == [(What.TOKEN, 5)]


def test_a_forged_token_is_no_evidence(state: Path) -> None:
    """A token that no record names is counted and said, and isn't taken for evidence."""
    path = state / TOKENS
    line = path.read_bytes().splitlines(keepends=True)[0]
    path.write_bytes(path.read_bytes() + line.replace(b"tibet_", b"forged_") + line)
    found = report(state)
    assert found.good
    assert found.counts.unclaimed_tokens == 2


def test_the_last_text_is_cut(state: Path) -> None:
    """A file of texts that ends within a line is found, be it by its line end alone (I8)."""
    path = state / TEXTS
    data = path.read_bytes()
    for cut in (1, 2, 50):
        path.write_bytes(data[:-cut])
        found = report(state).findings
        assert [(f.what, f.record) for f in found] == [(What.PAYLOAD, 17)]
        assert found[0].reason == "the last line is incomplete"


@pytest.mark.parametrize("where", [0, 1, 3])
def test_a_text_is_overwritten(state: Path, where: int) -> None:
    """A line that is no text, in the place of one, is found, and where it stands (I8)."""
    path = state / TEXTS
    lines = path.read_bytes().splitlines(keepends=True)
    numbers = [json.loads(line)["seq"] for line in lines]
    path.write_bytes(b"".join([*lines[:where], b"erased by hand\n", *lines[where + 1 :]]))
    (finding,) = report(state).findings
    assert (finding.what, finding.record) == (What.PAYLOAD, numbers[where])
    assert (finding.reason, finding.line) == ("a line that is no payload", where + 1)


WRONG: list[tuple[Callable[[bytes], bytes], Callable[[Outcome], Outcome], What, str]] = [
    (
        lambda line: line.replace(b"an operator", b"no operator"),
        lambda outcome: outcome,
        What.TOKEN,
        "the content hash isn't that of the content",
    ),
    (
        lambda line: line.replace(b'"state": "resolved"', b'"state": "unheard of"'),
        lambda outcome: outcome,
        What.TOKEN,
        "not a TIBET token of the twelve keys (ValidationError)",
    ),
    (
        lambda line: line,
        lambda outcome: msgspec.structs.replace(outcome, recording="../../etc/passwd"),
        What.RECORDING,
        "the record names another file",
    ),
    (
        lambda line: line,
        lambda outcome: msgspec.structs.replace(outcome, output_bytes=1),
        What.RECORDING,
        "the record says that more was recorded than printed",
    ),
    (
        lambda line: line,
        lambda outcome: msgspec.structs.replace(
            outcome, output_bytes=0, recorded_bytes=0, recording=""
        ),
        What.RECORDING,
        "the record says that nothing was printed, with another SHA-256",
    ),
    (
        lambda line: line,
        lambda outcome: msgspec.structs.replace(outcome, recording=""),
        What.RECORDING,
        "the record names another file",
    ),
    (
        lambda line: line,
        lambda outcome: msgspec.structs.replace(outcome, recorded_bytes=0),
        What.RECORDING,
        "another length",
    ),
]


@pytest.mark.parametrize(
    ("token", "alter", "what", "reason"),
    WRONG,
    ids=["content hash", "state", "recording's name", "lengths", "nothing", "no name", "none kept"],
)
def test_the_executor_itself_is_wrong(
    tmp_path: Path,
    token: Callable[[bytes], bytes],
    alter: Callable[[Outcome], Outcome],
    what: What,
    reason: str,
) -> None:
    """What the executor signed is checked all the same."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("id"), b"uid=0", token=token, alter=alter)
    found = report(tmp_path).findings
    assert [(f.record, f.what, f.reason) for f in found] == [(2, what, reason)]


def test_a_recording_that_could_not_be_written(tmp_path: Path) -> None:
    """A full disk ends the recording; an empty file of which nothing was kept is no fault."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("df -h"), b"output", cap=0)
    (tmp_path / RECORDINGS / "000000000001.cast").write_bytes(b"")
    found = report(tmp_path)
    assert (found.good, found.counts.capped) == (True, 1)


def test_a_recording_longer_than_recorded(tmp_path: Path) -> None:
    """Of a capped recording the length is checked."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("yes"), b"y\n" * 100, cap=10)
    (tmp_path / RECORDINGS / "000000000001.cast").write_bytes(cast(b"y\n" * 6, "0"))
    found = report(tmp_path)
    assert found.first_bad is not None
    assert (found.first_bad.expected, found.first_bad.found) == ("10 bytes", "12 bytes")


def test_a_recording_with_a_line_more(tmp_path: Path) -> None:
    """A line that is none of a recording's is found, though all that was printed is there."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("id"), b"uid=0")
    path = tmp_path / RECORDINGS / "000000000001.cast"
    header, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([header, b"none\n", *rest]))
    (finding,) = report(tmp_path).findings
    assert (finding.what, finding.record) == (What.RECORDING, 2)
    assert finding.reason.startswith("line 2: ")


def test_a_recording_whose_last_bytes_players_would_not_show(tmp_path: Path) -> None:
    """All bytes are there and fit their hash, but what shows those that are no text was cut off."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("head -c 1 /dev/urandom"), b"\xff")
    path = tmp_path / RECORDINGS / "000000000001.cast"
    header, raw, *shown = path.read_bytes().splitlines(keepends=True)
    assert len(shown) == 2
    path.write_bytes(header + raw)
    (finding,) = report(tmp_path).findings
    assert (finding.what, finding.record) == (What.RECORDING, 2)
    assert "not followed by what they show" in finding.reason
