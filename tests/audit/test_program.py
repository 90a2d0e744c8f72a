# SPDX-License-Identifier: MIT
"""The program as its users meet it: exit status, output, errors."""

import io
import json
import os
import pty
import re
import subprocess
import termios
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acting import NOBODY, acting_as
from tests.audit.chains import EXECUTOR, STRANGER, Chain, sample
from tests.audit.program import PROGRAM, process, within
from tests.audit.verdicts import lines_of, put
from tests.directories import reachable_directory
from tests.redirected import CLOSED, FULL, redirected
from tibet_nc_audit.entries import Kind, Verdict
from tibet_nc_audit.progress import Progress
from tibet_nc_protocol.records import digest

KEY = EXECUTOR.public_key.hex


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a chain with a bit of everything."""
    sample(tmp_path / "state")
    return tmp_path / "state"


def test_a_good_chain(root: Path) -> None:
    """A good chain ends with 0 and says what was checked."""
    done = process("verify", "--state", root, "--key", KEY)
    assert (done.status, done.err) == (0, "")
    lines = done.out.splitlines()
    assert lines[:3] == [
        f"state        {root}",
        "host         db1.example.org, executor did:jis:56475aa75463474c",
        f"key          {KEY}",
    ]
    assert "pinned       yes, by --key" in lines
    assert "open         #17: still running, or interrupted" in lines
    assert lines[-1].startswith("GOOD: 19 records")


def test_a_bad_chain(root: Path) -> None:
    """A bad chain ends with 1 and names the first bad record, what was expected and found."""
    lines = lines_of(root)
    put(root, lines[:4] + lines[6:])
    done = process("verify", "--state", root, "--key", KEY)
    assert (done.status, done.err) == (1, "")
    assert done.out.splitlines()[-4:] == [
        "BAD: 1 finding, first bad record 4",
        "  record 4: wrong number (chain/000000000000.jsonl, line 5)",
        "    expected 4",
        "    found    6",
    ]


@pytest.mark.parametrize(
    ("verb", "option", "names"),
    [
        ("export", "--format", "jsonl, csv, tibet, cast, html"),
        ("log", "--kind", ", ".join(Kind)),
        ("log", "--verdict", ", ".join(Verdict)),
    ],
)
def test_a_wrong_name_gets_the_right_ones(root: Path, verb: str, option: str, names: str) -> None:
    """What is none of an option's names is told which there are, in one line."""
    done = process(verb, "--state", root, option, "pdf")
    said = f"argument {option}: pdf: one of {names} is wanted (--help says more)"
    assert (done.status, done.out) == (2, "")
    assert done.err == f"tibet-nc-audit {verb}: {said}\n"


@pytest.mark.parametrize(
    "verb",
    [
        "verify",
        "verify --chain-only",
        "show 2",
        "checkpoint",
        "checkpoint --prove 2",
        "export --format html",
        "export --format html --since 2026-11-25T10:00:05",
    ],
)
def test_another_executors_key(root: Path, verb: str) -> None:
    """With a key that isn't the chain's the status is 1, whatever is asked (I8)."""
    assert within(*verb.split(), "--state", root, "--key", KEY).status == 0
    assert within(*verb.split(), "--state", root, "--key", STRANGER.public_key.hex).status == 1


VERBS = {
    "verify": ["verify"],
    "its JSON": ["verify", "--json"],
    "log": ["log"],
    "export": ["export", "--format", "jsonl"],
    "show": ["show", "1"],
    "checkpoint": ["checkpoint"],
    "a page": ["export", "--format", "html"],
    "replay": ["replay", "3"],
}
USAGE = {"help": ["--help"], "the version": ["--version"], "help for a verb": ["verify", "--help"]}


@pytest.mark.parametrize(("where", "why"), [FULL, CLOSED], ids=["full", "closed"])
@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_takes_nothing(root: Path, verb: str, where: str, why: str) -> None:
    """What can't be written is an error of its own, and no bad chain."""
    done = redirected(where, [*PROGRAM, *VERBS[verb], "--state", root])
    said = f"tibet-nc-audit: standard output: {why}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


@pytest.mark.parametrize("where", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("verb", "status"),
    [("verify", 0), ("show 1", 0), ("replay 999", 2), ("replay 3", 0), ("nonsense", 2)],
)
def test_without_standard_error(root: Path, verb: str, status: int, where: str) -> None:
    """Where standard error takes nothing, output and status are as they are otherwise."""
    command: list[str | Path] = [*PROGRAM, *verb.split(), "--state", root]
    usual = subprocess.run(command, capture_output=True, check=False)
    done = redirected(where, command)
    assert (done.returncode, done.stderr) == (status, "")
    seconds = re.compile(r"in [0-9.]+ s")
    assert seconds.sub("", done.stdout) == seconds.sub("", usual.stdout.decode())


@pytest.mark.parametrize(
    ("name", "where", "why"),
    [
        ("-", "<&-", "Bad file descriptor"),
        ("/", "", "Is a directory"),
        ("/proc/self/mem", "", "Input/output error"),
    ],
)
def test_a_journal_that_can_not_be_read(root: Path, name: str, where: str, why: str) -> None:
    """A journal that can't be read is one line with its name, and no verdict."""
    command: list[str | Path] = [
        *PROGRAM,
        "crosscheck",
        "--uid",
        "0",
        "--journal",
        name,
        "--state",
        root,
    ]
    done = redirected(where, command)
    said = f"tibet-nc-audit: {name}: {why}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_an_output_with_too_long_a_name(root: Path, tmp_path: Path) -> None:
    """What can't be the name of a file is said of that, not of the standard output."""
    path = tmp_path / ("a" * 256)
    done = within("--state", root, "export", "--format", "jsonl", "--output", path)
    assert (done.status, done.out) == (2, "")
    assert done.err == f"tibet-nc-audit: {path}: File name too long\n"


@pytest.mark.parametrize("usage", USAGE)
def test_help_that_is_not_taken(usage: str) -> None:
    """Help that can't be written is the same error."""
    where, why = FULL
    done = redirected(where, [*PROGRAM, *USAGE[usage]])
    assert (done.returncode, done.stderr) == (2, f"tibet-nc-audit: standard output: {why}\n")


def test_an_unpinned_key_is_told(root: Path) -> None:
    """Without a key the program says plainly that the chain only agrees with itself."""
    done = process("verify", "--state", root)
    assert done.status == 0
    assert "only agrees with itself" in done.out


def test_the_fast_mode_says_what_it_left_out(root: Path) -> None:
    """The fast mode never looks like the whole check."""
    done = process("verify", "--state", root, "--chain-only")
    assert done.status == 0
    assert "not checked  each record by itself, command texts, recordings, tokens" in done.out


def test_json(root: Path) -> None:
    """The whole report is one JSON object, good or bad."""
    report = json.loads(process("verify", "--state", root, "--json").out)
    assert (report["good"], report["findings"]) == (True, [])
    put(root, lines_of(root)[1:])
    done = process("verify", "--state", root, "--json")
    assert done.status == 1
    report = json.loads(done.out)
    assert report["good"] is False
    assert report["first_bad"]["record"] == 0


def test_the_ratchet(tmp_path: Path) -> None:
    """Each verification can hold the next one to its head (I8)."""
    chain = sample(tmp_path / "state")
    head = tmp_path / "head.json"
    verify = ("verify", "--state", chain.root, "--key", KEY)
    assert process(*verify, "--save-head", head).status == 0
    chain.command("id")
    again = (*verify, "--against", head, "--save-head", head)
    assert process(*again).status == 0
    assert json.loads(head.read_text())["record"] == 20
    put(chain.root, lines_of(chain.root)[:15])
    saved = head.read_text()
    done = process(*again)
    assert done.status == 1
    assert "first bad record 15" in done.out
    assert f"expected record 20 with head {chain.head}" in done.out
    assert f"found    the end after 15 records, with head {digest(lines_of(chain.root)[14])}" in (
        done.out
    )
    assert head.read_text() == saved


@pytest.mark.parametrize("form", ["hexadecimal", "file"])
def test_the_key_is_given_or_in_a_file(root: Path, tmp_path: Path, form: str) -> None:
    """A key can be written out or be the name of a file that holds it."""
    (tmp_path / "executor.pub").write_text(KEY + "\n")
    key = KEY if form == "hexadecimal" else tmp_path / "executor.pub"
    assert process("verify", "--state", root, "--key", key).status == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "required"),
        (["nonsense"], "invalid choice"),
        (["verify", "--nonsense"], "unrecognized"),
        (["verify", "--key", "abc"], "64 hexadecimal digits"),
        (["verify", "--key", "01" + "00" * 31], "small order"),
        (["verify", "--against", "5:abc"], "at least 8 digits"),
        (["verify", "--against", "nonsense"], "neither SEQ:HEAD, nor"),
        (["show"], "required"),
        (["show", "x"], "record's number"),
        (["show", "-1"], "record's number"),
        (["show", "9" * 30], "record's number"),
        (["replay", "2", "--speed", "0"], "over 0"),
        (["replay", "2", "--speed", "nan"], "over 0"),
        (["replay", "2", "--speed", "2", "--no-wait"], "not allowed with"),
        (["verify", "--jobs", "2"], "--jobs goes with --deep"),
        (["crosscheck", "--live", "--agent", "@a:b"], "--agent goes with --room"),
        (["crosscheck", "--room", "x", "--uid", "0"], "--uid goes with --live or --journal"),
        (["crosscheck", "--room", "x", "--exe", "x"], "--exe goes with --live or --journal"),
        (["log", "--since", "yesterday"], "a time is written"),
        (["log", "--exit", "x"], "an exit status"),
        (["log", "--kind", "x"], "one of command, "),
        (["export"], "--format"),
    ],
)
def test_wrong_usage(root: Path, arguments: list[str], reason: str) -> None:
    """Wrong usage ends with 2 and one line that says what is wrong."""
    done = process("--state", root, *arguments)
    assert (done.status, done.out) == (2, "")
    assert len(done.err.splitlines()) == 1
    assert reason in done.err


@pytest.mark.parametrize(
    "verb", ["verify", "log", "show 1", "replay 1", "export --format csv", "checkpoint"]
)
def test_no_chain(tmp_path: Path, verb: str) -> None:
    """Where there is no chain, every verb ends with 2 and one line."""
    for state in (tmp_path / "nowhere", tmp_path):
        done = process("--state", state, *verb.split())
        assert (done.status, done.out, len(done.err.splitlines())) == (2, "", 1)


@pytest.mark.parametrize("name", [".", "chain"])
def test_unreadable_directories(name: str) -> None:
    """Where nothing may be read there is one clear error, and no verdict (others: test_unread)."""
    with reachable_directory() as root:
        sample(root)
        for path in (root / "chain", root / "payloads", root / "recordings"):
            path.chmod(0o755)
        (root / name).chmod(0)
        with acting_as(NOBODY):
            done = within("verify", "--state", root)
    assert (done.status, done.out) == (2, "")
    assert "Permission denied" in done.err


def test_the_state_can_stand_before_or_after_the_verb(root: Path) -> None:
    """Both places of --state mean the same."""
    before = process("--state", root, "verify")
    after = process("verify", "--state", root)
    assert before.status == after.status == 0


@pytest.mark.parametrize(
    "verb", ["", "verify", "log", "show", "replay", "export", "checkpoint", "crosscheck"]
)
def test_help(verb: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every verb has help, which fits a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    done = process(*verb.split(), "--help")
    assert max(map(len, done.out.splitlines())) < 80
    assert (done.status, done.err) == (0, "")
    assert "--state DIR" in done.out


def test_a_reader_that_goes_away(tmp_path: Path) -> None:
    """``| head`` ends the program without a word."""
    chain = Chain(tmp_path)
    for number in range(2_000):
        chain.refusal(f"command {number}")
    with subprocess.Popen(
        [*PROGRAM, "log", "--state", tmp_path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as program:
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline().startswith(b" NUMBER")
        program.stdout.close()
        assert program.stderr.read() == b""


def test_an_old_terminal(root: Path, tmp_path: Path) -> None:
    """Where the terminal knows ASCII only, other characters are escaped, and nothing fails."""
    chain = Chain(tmp_path / "other")
    chain.command("echo größer 漢字")
    environment = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PATH": os.environ["PATH"]}
    done = process("log", "--state", chain.root, env=environment)
    assert done.status == 0
    done = process("verify", "--state", root, env=environment)
    assert done.status == 0


@pytest.mark.parametrize(
    ("columns", "bar"),
    [
        (0, "████████······················  25%  7 records  3 s left"),
        (70, "████████······················  25%  7 records  3 s left"),
        (40, "███··········  25%  7 records  3 s left"),
        (27, "  25%  7 records  3 s left"),
        (12, "  25%  7 re"),
        (1, ""),
    ],
)
def test_the_progress_bar(monkeypatch: pytest.MonkeyPatch, columns: int, bar: str) -> None:
    """Progress is shown on a terminal only, in one line of it, and taken away at the end."""
    now = 100.0
    monkeypatch.setattr("tibet_nc_audit.progress.time.monotonic", lambda: now)
    monkeypatch.setenv("TERM", "vt100")
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (24, columns))
    file = io.StringIO()
    with open(slave, "w", encoding="utf-8") as terminal:
        bars = [Progress(terminal, 200), Progress(file, 200)]
        now += 1
        for progress in bars:
            progress.show(50, "7 records")
            progress.clear()
    shown = b""
    with suppress(OSError):  # EIO: nobody has the other end any more
        while True:
            shown += os.read(master, 4096)
    os.close(master)
    assert shown.decode() == f"\r\x1b[K{bar}\r\x1b[K"
    assert file.getvalue() == ""


@pytest.mark.parametrize(
    ("name", "encoding", "shown"),
    [
        ("dumb", "utf-8", ""),
        ("vt100", "ascii", "\r\x1b[K########......................  25%  7 records  3 s left"),
    ],
)
def test_a_terminal_that_knows_little(
    monkeypatch: pytest.MonkeyPatch, name: str, encoding: str, shown: str
) -> None:
    """The bar is of what the terminal can show; one that can't clear a line gets none."""
    now = 100.0
    monkeypatch.setattr("tibet_nc_audit.progress.time.monotonic", lambda: now)
    monkeypatch.setenv("TERM", name)
    master, slave = pty.openpty()
    with open(slave, "w", encoding=encoding, errors="backslashreplace") as terminal:
        progress = Progress(terminal, 200)
        now += 1
        progress.show(50, "7 records")
        terminal.write("|\n")
        terminal.flush()
        said = b""
        while not said.endswith(b"|\r\n"):
            said += os.read(master, 4096)
        assert said.decode() == f"{shown}|\r\n"
    os.close(master)
