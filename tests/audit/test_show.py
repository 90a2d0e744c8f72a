# SPDX-License-Identifier: MIT
"""Everything about one command or record."""

import json
from pathlib import Path

import pytest

from tests.audit.chains import EXECUTOR, LATER, STRANGER, Chain, sample
from tests.audit.program import within
from tests.audit.verdicts import lines_of, put
from tibet_nc_protocol.layout import PAYLOADS, RECORDINGS, TOKENS, segment_name
from tibet_nc_protocol.records import ERASED_TEXT


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a chain with a bit of everything."""
    sample(tmp_path)
    return tmp_path


def _checks(root: Path, number: int, *more: str) -> dict[str, str]:
    done = within("show", "--state", root, "--json", str(number), *more)
    checks = {check["what"]: check["result"] for check in json.loads(done.out)["checks"]}
    assert done.status == (1 if "bad" in checks.values() else 0)
    return checks


GOOD = {
    "record 2, signature": "agrees",
    "record 2, link": "agrees",
    "record 3, signature": "agrees",
    "record 3, link": "agrees",
    "command text": "agrees",
    "recording": "agrees",
    "token": "agrees",
}


@pytest.mark.parametrize("number", [2, 3])
def test_a_command(root: Path, number: int) -> None:
    """A command is shown whole, by the number of its intent or of its outcome."""
    assert _checks(root, number) == GOOD
    shown = json.loads(within("show", "--state", root, "--json", f"#{number}").out)
    assert shown["entry"]["command"] == "df -h"
    assert [record["kind"] for record in shown["records"]] == ["intent", "outcome"]
    assert shown["token"]["token_id"] == shown["entry"]["token"]


@pytest.mark.parametrize("number", range(19))
def test_every_record(root: Path, number: int) -> None:
    """Every record can be shown, as text and as JSON, and of a good chain it is good."""
    done = within("show", "--state", root, str(number))
    assert (done.status, done.err) == (0, "")
    assert "BAD" not in done.out
    assert "bad" not in _checks(root, number, "--key", EXECUTOR.public_key.hex).values()


def test_the_text(root: Path) -> None:
    """The first lines say what ran and how it ended, the last what was checked."""
    lines = within("show", "--state", root, "4").out.splitlines()
    assert lines[:3] == [
        "#4  command, ran",
        "  command          sh -c 'exit 42'",
        "  exit             42",
    ]
    assert lines[-3:] == [
        "ok   command text",
        " -   recording: nothing was printed",
        "ok   token",
    ]


def test_another_key(root: Path) -> None:
    """With another key, no signature is good."""
    checks = _checks(root, 2, "--key", STRANGER.public_key.hex)
    assert checks == GOOD | {"record 2, signature": "bad", "record 3, signature": "bad"}


@pytest.mark.parametrize(
    ("fault", "wrong"),
    [
        ("record", {"record 2, signature", "record 3, link"}),
        ("text", {"command text"}),
        ("recording", {"recording"}),
        ("no recording", {"recording"}),
        ("token", {"token"}),
        ("no tokens", {"token"}),
    ],
)
def test_what_is_wrong_is_named(root: Path, fault: str, wrong: set[str]) -> None:
    """Each part that isn't what the records say is named, and only that (I8)."""
    recording = root / RECORDINGS / "000000000002.cast"
    texts = root / PAYLOADS / segment_name(0)
    match fault:
        case "record":
            lines = lines_of(root)
            lines[2] = lines[2].replace(b"DEVICE", b"FORGED")
            put(root, lines)
        case "text":
            texts.write_bytes(texts.read_bytes().replace(b"df -h", b"df -i"))
        case "recording":
            recording.write_bytes(recording.read_bytes().replace(b"Filesystem", b"filesystem"))
        case "no recording":
            recording.unlink()
        case "token":
            data = (root / TOKENS).read_bytes()
            (root / TOKENS).write_bytes(data.replace(b"an operator", b"no operator"))
        case _:
            (root / TOKENS).unlink()
    checks = _checks(root, 2)
    assert {what for what, result in checks.items() if result == "bad"} == wrong


def test_an_erased_command(tmp_path: Path) -> None:
    """What was erased is shown as erased, with the record that says so."""
    chain = Chain(tmp_path)
    chain.command("mysql -p secret", b"output")
    (tmp_path / PAYLOADS / segment_name(0)).write_bytes(b"")
    (tmp_path / RECORDINGS / "000000000001.cast").unlink()
    assert _checks(tmp_path, 1)["command text"] == "nothing to check"
    assert _checks(tmp_path, 1)["recording"] == "bad"
    chain.erased(1, ERASED_TEXT)
    assert _checks(tmp_path, 1)["recording"] == "bad"
    chain.erased(1)
    done = within("show", "--state", tmp_path, "1")
    assert done.status == 0
    assert " -   recording: [erased], record 4: text and recording of #1: a password" in done.out


def test_a_key_that_somebody_else_named(tmp_path: Path) -> None:
    """A key record that the key before didn't sign makes no later signature good (I8)."""
    chain = Chain(tmp_path)
    chain.identity = STRANGER
    chain.rotate(STRANGER)
    number = chain.session()
    done = within("show", "--state", tmp_path, str(number))
    assert done.status == 1
    assert f"BAD  record {number}, signature" in done.out


def test_after_a_change_of_keys(tmp_path: Path) -> None:
    """Each record is checked with the key that signed it."""
    chain = Chain(tmp_path)
    chain.command("before")
    chain.rotate(LATER)
    after = chain.command("after")
    for number in (1, 3, after):
        assert "bad" not in _checks(tmp_path, number, "--key", EXECUTOR.public_key.hex).values()
    done = within("show", "--state", tmp_path, str(after))
    assert f"with the key {LATER.public_key.hex}" in done.out
    later = LATER.public_key.hex
    assert "bad" not in _checks(tmp_path, after, "--key", later).values()
    done = within("show", "--state", tmp_path, "1", "--key", later)
    assert "since record 4" in done.err
    done = within("export", "--format", "html", "--state", tmp_path, "--key", later)
    assert (done.status, "since record 4" in done.err) == (2, True)
    assert "key, " not in within("log", "--state", tmp_path).out
    assert f"from here on the key is {LATER.public_key.hex}" in (
        within("log", "--state", tmp_path, "--kind", "key").out
    )


def test_no_such_record(root: Path) -> None:
    """A number beyond the chain is an error, not an empty answer."""
    done = within("show", "--state", root, "19")
    assert (done.status, done.out) == (2, "")
    assert done.err == "tibet-nc-audit: there is no record 19\n"


def test_damaged_records(root: Path) -> None:
    """What stands in the place of a record is shown, and is bad."""
    lines = lines_of(root)
    put(root, [*lines[:2], b"\x1b[31mgarbage", lines[5], *lines[4:]])
    for number in (2, 3):
        done = within("show", "--state", root, str(number))
        assert done.status == 1
        assert f"BAD  record {number}" in done.out


def test_outcomes_that_lead_astray(tmp_path: Path) -> None:
    """Outcomes that end one another, or themselves, are shown as what they are."""
    chain = Chain(tmp_path)
    for number in range(1, 3):
        chain.command(f"echo {number}")
    lines = lines_of(tmp_path)
    lines[2] = lines[2].replace(b'"intent":1', b'"intent":2')
    lines[4] = lines[4].replace(b'"intent":3', b'"intent":2')
    put(tmp_path, lines)
    for number in (2, 4):
        done = within("show", "--state", tmp_path, "--json", str(number))
        assert done.status == 1
        assert json.loads(done.out)["entry"]["kind"] == "damaged"
