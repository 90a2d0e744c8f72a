# SPDX-License-Identifier: MIT
"""The chain in formats that other programs load."""

import csv
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.audit.chains import Chain, sample
from tests.audit.program import LISTENING, Done, safe, terminal, within
from tests.audit.verdicts import lines_of, put
from tibet_nc_audit.complaints import Complaints
from tibet_nc_audit.export import COLUMNS, FORMULA, tibet_lines
from tibet_nc_audit.reader import State
from tibet_nc_audit.visible import visible
from tibet_nc_protocol.layout import PAYLOADS, RECORDINGS, TOKENS, segment_name


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a chain with a bit of everything."""
    sample(tmp_path / "state")
    return tmp_path / "state"


def _export(root: Path, *arguments: str | Path) -> Done:
    return within("export", "--state", root, "--format", *arguments)


def test_json_lines(root: Path) -> None:
    """JSON Lines hold all that the list shows and more, one object each."""
    done = _export(root, "jsonl")
    assert (done.status, done.err) == (0, "")
    exported = [json.loads(line) for line in done.out.splitlines()]
    assert [entry["seq"] for entry in exported] == [0, 1, 2, 4, 6, 7, 10, 11, 12, 13, 15, 17, 18]
    assert (
        exported[2]["output_sha256"]
        == hashlib.sha256(
            b"Filesystem      Size  Used Avail Use% Mounted on\n/dev/sda1 20G\n"
        ).hexdigest()
    )


def test_csv(root: Path) -> None:
    """CSV is RFC 4180: a header, CRLF, every cell quoted, as many cells in every row."""
    done = _export(root, "csv", "--kind", "command")
    assert (done.status, done.err) == (0, "")
    assert all(line.startswith('"') and line.endswith('"') for line in done.out.split("\r\n")[:-1])
    rows = list(csv.DictReader(io.StringIO(done.out, newline="")))
    assert [row["seq"] for row in rows] == ["2", "4", "6", "7", "13", "15", "17"]
    assert rows[0]["command"] == "df -h"
    assert rows[0]["operator"] == "'@alice:example.org"
    assert rows[1]["exit"] == "42"
    assert all(len(row) == len(COLUMNS) for row in rows)


@given(text=st.text(min_size=1).filter(lambda text: text.isprintable()) | st.sampled_from(FORMULA))
@settings(max_examples=50, deadline=None)
def test_csv_and_formulas(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    """No cell begins with what a spreadsheet takes for a formula; else a text is as it is shown."""
    for prefix in ("", " ", *FORMULA):
        root = tmp_path_factory.mktemp("csv")
        Chain(root).command(prefix + text)
        done = _export(root, "csv", "--kind", "command")
        cell = next(csv.DictReader(io.StringIO(done.out, newline="")))["command"]
        shown = visible(prefix + text, keep="\n\t")
        assert cell == ("'" if shown.lstrip(" ").startswith(FORMULA) else "") + shown
        assert safe(done.out, keep="\r\n\t")


EXPORTS = [["export", "--format", form] for form in ("jsonl", "csv", "html")]


@pytest.mark.parametrize("verb", [["log"], ["log", "--json"], *EXPORTS])
@pytest.mark.parametrize("of", ["record", "place", "text"])
def test_damage_is_in_the_status(root: Path, verb: list[str], of: str) -> None:
    """Whatever lists entries ends as verify does where a line or a text is bad, and goes on."""
    whole = within(*verb, "--state", root)
    assert (whole.status, whole.err) == (0, "")
    if of == "text":
        path = root / PAYLOADS / segment_name(0)
        path.write_bytes(path.read_bytes().replace(b"df -h", b"df -k"))
    else:
        lines = lines_of(root)
        lines[6] = lines[7] if of == "place" else b"{}"
        put(root, lines)
    number = 2 if of == "text" else 6
    done = within(*verb, "--state", root)
    assert (within("verify", "--state", root).status, done.status) == (1, 1)
    assert len(done.out.splitlines()) > 10
    if verb[0] == "export":
        assert f"tibet-nc-audit: record {number}: " in done.err


def test_tokens(root: Path) -> None:
    """Exactly the tokens that the chain anchors are exported, byte for byte."""
    tokens = (root / TOKENS).read_bytes()
    line = tokens.splitlines(keepends=True)[0]
    (root / TOKENS).write_bytes(line.replace(b"tibet_", b"forged_") + tokens)
    done = _export(root, "tibet")
    assert (done.status, done.out.encode()) == (0, tokens)


def test_tokens_that_are_no_good(root: Path) -> None:
    """A token that isn't the one on record is left out, and that is said (I8)."""
    tokens = (root / TOKENS).read_bytes().splitlines(keepends=True)
    changed = tokens[1].replace(b"an operator", b"no operator")
    (root / TOKENS).write_bytes(b"".join([tokens[0], changed, *tokens[2:]]))
    done = _export(root, "tibet")
    assert done.status == 1
    assert done.out.encode() == b"".join([tokens[0], *tokens[2:]])
    assert "record 5" in done.err


def _torn(token: bytes) -> bytes:
    return token[:-1]


def _name_alone(token: bytes) -> bytes:
    return b'{"token_id":%b}' % token.partition(b'"token_id":')[2].partition(b",")[0]


def _of_somebody_else(token: bytes) -> bytes:
    return token.replace(b"an operator", b"no operator")


@pytest.mark.parametrize("wrong", [_torn, _name_alone, _of_somebody_else])
def test_tokens_that_are_none(tmp_path: Path, wrong: Callable[[bytes], bytes]) -> None:
    """Nor is one exported that isn't intact, though the executor has put that on record (I8)."""
    chain = Chain(tmp_path)
    chain.command("good")
    number = chain.outcome(chain.intent("df -h"), token=wrong)
    done = _export(tmp_path, "tibet")
    assert done.status == 1
    assert done.out.encode() == (tmp_path / TOKENS).read_bytes().splitlines(keepends=True)[0]
    assert f"record {number}: " in done.err


def test_a_recording_for_which_there_was_no_room(tmp_path: Path) -> None:
    """Where nothing of what was printed could be recorded, that is said."""
    chain = Chain(tmp_path)
    intent = chain.intent("df -h")
    chain.outcome(intent, b"out", cap=0, alter=lambda outcome: replace(outcome, recording=""))
    done = _export(tmp_path, "cast", str(intent))
    assert (done.status, done.out) == (2, "")
    assert f"record {intent}: nothing was recorded" in done.err


def test_a_recording(root: Path, tmp_path: Path) -> None:
    """A recording is copied byte for byte."""
    output = tmp_path / "df.cast"
    done = _export(root, "cast", "2", "--output", output)
    assert (done.status, done.out, done.err) == (0, "", "")
    assert output.read_bytes() == (root / RECORDINGS / "000000000002.cast").read_bytes()


def test_a_recording_that_is_another(root: Path, tmp_path: Path) -> None:
    """A recording that isn't the one on record isn't exported, and nothing is left (I8)."""
    recording = root / RECORDINGS / "000000000002.cast"
    recording.write_bytes(recording.read_bytes().replace(b"20G", b"30G"))
    done = _export(root, "cast", "2", "--output", tmp_path / "df.cast")
    assert done.status == 1
    assert "other output" in done.err
    assert [path.name for path in tmp_path.iterdir()] == ["state"]


def test_a_damaged_chain(root: Path) -> None:
    """A damaged chain is exported as far as it goes, and never with status 0."""
    lines = lines_of(root)
    lines[4] = b"garbage"
    put(root, lines)
    for form in ("jsonl", "csv", "tibet"):
        done = _export(root, form)
        assert done.status == 1
        assert "record 4" in done.err


def test_a_file_appears_when_it_is_complete(root: Path, tmp_path: Path) -> None:
    """An older file is replaced at once, or stays as it was."""
    output = tmp_path / "export"
    output.write_text("older")
    assert _export(root, "cast", "4", "--output", output).status == 2
    assert output.read_text() == "older"
    assert _export(root, "jsonl", "--output", output).status == 0
    assert len(output.read_text().splitlines()) == 13
    assert sorted(path.name for path in tmp_path.iterdir()) == ["export", "state"]


@pytest.mark.parametrize(
    ("how", "nameless"),
    [(signal.SIGKILL, "os.O_TMPFILE")]
    + [(how, "os.O_DIRECTORY") for how in (signal.SIGTERM, signal.SIGHUP)],
)
def test_an_ended_export_leaves_nothing(tmp_path: Path, how: signal.Signals, nameless: str) -> None:
    """An export that is ended in the middle leaves no draft, and an older file as it was.

    Where no file is without a name, that takes a signal which isn't SIGKILL.
    """
    output = tmp_path / "export"
    output.write_text("older")
    script = (
        f"import os\nos.O_TMPFILE = {nameless}\n"
        "import sys, pathlib, tibet_nc_audit.output as output\n"
        "with output.replace_file(pathlib.Path(sys.argv[1])) as file:\n"
        "    file.write(bytes(100_000))\n"
        "    print(flush=True)\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [*LISTENING, sys.executable, "-I", "-c", script, output],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == b"\n"
        program.send_signal(how)
        assert program.wait(10) == -how
    assert [path.name for path in tmp_path.iterdir()] == ["export"]
    assert output.read_text() == "older"


def test_where_every_file_has_a_name(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without nameless files takes an export too, whatever becomes of it."""
    monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)  # what such a kernel makes of it
    output = root.parent / ("\U0001f512" * 63)
    assert _export(root, "jsonl", "--output", output).status == 0
    assert len(output.read_text().splitlines()) == 13
    assert output.stat().st_mode & 0o777 == 0o600
    (root / RECORDINGS / "000000000002.cast").write_bytes(b"{}\n")
    assert _export(root, "cast", "2", "--output", output).status == 1
    assert sorted(path.name for path in root.parent.iterdir()) == sorted(["state", output.name])


def test_only_files_are_replaced(root: Path, tmp_path: Path) -> None:
    """A device or a directory is never replaced by a file, and a symbolic link stays one."""
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for name in ("directory", "pipe"):
        done = _export(root, "jsonl", "--output", tmp_path / name)
        assert (done.status, done.out) == (2, "")
        assert "not a regular file" in done.err
        assert not (tmp_path / name).is_file()
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "directory" / "export")
    assert _export(root, "jsonl", "--output", link).status == 0
    assert link.is_symlink()
    assert len((tmp_path / "directory" / "export").read_text().splitlines()) == 13


def test_what_is_for_a_terminal(root: Path) -> None:
    """On a terminal only formats come that are safe there."""
    for form in ("jsonl", "csv"):
        status, shown = terminal("export", "--state", root, "--format", form)
        assert status == 0
        assert safe(shown, keep="\n\r")
    for arguments in (["tibet"], ["cast", "2"], ["html"]):
        status, shown = terminal("export", "--state", root, "--format", *arguments)
        assert status == 2
        assert "not for a terminal" in shown


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["cast"], "needs the number"),
        (["jsonl", "2"], "takes no number"),
        (["tibet", "--exit", "0"], "takes no filters"),
        (["cast", "2", "--operator", "@alice:example.org"], "takes no filters"),
        (["cast", "4"], "nothing was recorded"),
        (["cast", "12"], "not a command"),
        (["cast", "99"], "no record 99"),
        (["jsonl", "--output", "/nonexistent/file"], "No such file or directory"),
    ],
)
def test_what_makes_no_sense(root: Path, arguments: list[str], reason: str) -> None:
    """What can't be exported ends in one error."""
    done = _export(root, *arguments)
    assert (done.status, done.out) == (2, "")
    assert reason in done.err


def test_the_state_directory_is_only_read(root: Path) -> None:
    """Nothing is ever written where the evidence is."""
    for arguments in (
        ("export", "--format", "jsonl", "--output", root / "export"),
        ("export", "--format", "jsonl", "--output", root / "chain" / ".." / TOKENS),
        ("verify", "--save-head", root / "head"),
    ):
        done = within("--state", root, *arguments)
        assert done.status == 2
        assert "only read" in done.err


def test_tokens_that_are_begun_meanwhile(tmp_path: Path) -> None:
    """The first token of a chain may be written while its tokens are exported already."""
    chain = Chain(tmp_path)
    chain.security()
    chain.command("df")
    put(tmp_path, [chain.lines[0], b"garbage", *chain.lines[2:]])
    token = (tmp_path / TOKENS).read_bytes()
    (tmp_path / TOKENS).unlink()
    complaints: list[str] = []

    def begin(text: str) -> None:
        complaints.append(text)
        (tmp_path / TOKENS).write_bytes(token)

    with State(tmp_path) as state:
        assert b"".join(tibet_lines(state, Complaints(begin))) == token
    assert [text.partition(":")[0] for text in complaints] == ["record 1"]
