# SPDX-License-Identifier: MIT
"""The list of what was asked for and what became of it."""

import json
import signal
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.chains import ALICE, BOB, Chain, sample
from tests.audit.program import PROGRAM, within
from tests.audit.verdicts import lines_of, put
from tibet_nc_audit.entries import HOLD, HOLD_CHARACTERS, LATE, Entry, Kind, Verdict, entries
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.filters import Filter, exit_status, moment
from tibet_nc_audit.reader import State
from tibet_nc_audit.table import duration
from tibet_nc_protocol.layout import PAYLOADS, segment_name
from tibet_nc_protocol.limits import COMMAND_CHARACTERS
from tibet_nc_protocol.terms import Reason

NOW = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a chain with a bit of everything, in several files."""
    path = tmp_path_factory.mktemp("log")
    sample(path, segment_records=4)
    return path


def _entries(root: Path, hold: int = 100) -> list[Entry]:
    with State(root) as state:
        return list(entries(state, hold=hold))


def test_the_table(root: Path) -> None:
    """Every command, refusal and event has one line, in the order of the chain."""
    assert [line.rstrip() for line in within("log", "--state", root).out.splitlines()] == [
        " NUMBER  TIME (UTC)           OPERATOR                        EXIT   DURATION  COMMAND",
        "     #0  2026-11-25 10:00:00"
        "                                                   [chain of did:jis:56475aa75463474c"
        " on db1.example.org, version 1.0.0]",
        "     #1  2026-11-25 10:00:01  @alice:example.org"
        "                               [session s1 opened: first command]",
        "     #2  2026-11-25 10:00:02  @alice:example.org                 0      38 ms  df -h",
        "     #4  2026-11-25 10:00:04  @alice:example.org                42      38 ms  "
        "sh -c 'exit 42'",
        "     #6  2026-11-25 10:00:06  @alice:example.org                 0      38 ms  "
        r"sleep 2; printf '\xff\xfe'",
        "     #7  2026-11-25 10:00:07  @alice:example.org                 0      38 ms  uptime",
        "    #10  2026-11-25 10:00:10  @bob:example.org             refused             "
        "reboot  [refused by safety, power: stops the host]",
        "    #11  2026-11-25 10:00:11  @bob:example.org             refused             "
        "[refused by safety, power: not an operator of this host]",
        "    #12  2026-11-25 10:00:12"
        "                                                   [security, peer: a process of uid"
        " 1000 connected]",
        "    #13  2026-11-25 10:00:13  @alice:example.org          signal 9      38 ms  "
        "yes  [killed]",
        "    #15  2026-11-25 10:00:15  @alice:example.org           aborted             make world",
        "    #17  2026-11-25 10:00:17  @bob:example.org             running             "
        "tail -f /var/log/syslog",
        "    #18  2026-11-25 10:00:18"
        "                                                   [checkpoint of 18 records, root "
        + _root_of(root)
        + "]",
    ]


def _root_of(root: Path) -> str:
    detail = _entries(root)[-1].detail
    assert detail is not None
    return detail.split()[-1]


@pytest.mark.parametrize(
    ("arguments", "numbers"),
    [
        (["--operator", BOB], [10, 11, 17]),
        (["--command", "*exit*"], [4]),
        (["--command", "df"], []),
        (["--command", "df -[gh]"], [2]),
        (["--text", "f -"], [2]),
        (["--text", "exit 42"], [4]),
        (["--text", "*exit*"], []),
        (["--text", "EXIT"], []),
        (["--exit", "0"], [2, 6, 7]),
        (["--exit", "42"], [4]),
        (["--exit", "nonzero"], [4, 13]),
        (["--exit", "signal 9"], [13]),
        (["--exit", "signal 15"], []),
        (["--exit", "9"], []),
        (["--verdict", "ran"], [2, 4, 6, 7, 13]),
        (["--verdict", "refused"], [10, 11]),
        (["--verdict", "aborted"], [15]),
        (["--verdict", "running"], [17]),
        (["--device", "DEVICE", "--operator", BOB], [10, 11, 17]),
        (["--device", "OTHER"], []),
        (["--records", "7-11"], [7, 10, 11]),
        (["--records", "#15-"], [15, 17, 18]),
        (["--kind", "security"], [12]),
        (["--kind", "session"], [1]),
        (["--kind", "command", "--operator", ALICE, "--exit", "0"], [2, 6, 7]),
        (["--session", "s1"], [1, 2, 4, 6, 7, 13, 15, 17]),
        (["--since", "2026-11-25T10:00:12"], [12, 13, 15, 17, 18]),
        (["--until", "2026-11-25T11:00:02+01:00"], [0, 1]),
        (["--since", "2026-11-25T10:00:04Z", "--until", "2026-11-25T10:00:07Z"], [4, 6]),
    ],
)
def test_filters(root: Path, arguments: list[str], numbers: list[int]) -> None:
    """Each filter keeps what fits, and all that are given must."""
    done = within("log", "--state", root, "--json", *arguments)
    assert done.status == 0
    assert [json.loads(line)["seq"] for line in done.out.splitlines()] == numbers


def test_what_could_not_be_searched(tmp_path: Path) -> None:
    """That a search found nothing says how many texts weren't there to be searched."""
    sample(tmp_path)
    (tmp_path / PAYLOADS / segment_name(0)).unlink()
    note = "tibet-nc-audit: not searched: {}, erased, never kept or not to be read, of what fits"
    for filters, texts in (
        (["--text", "shadow"], "8 texts"),
        (["--command", "*shadow*", "--operator", BOB], "2 texts"),
        (["--text", "shadow", "--records", "2-3"], "1 text"),
    ):
        exports = [["export", "--format", form] for form in ("jsonl", "csv", "html")]
        done = [within("--state", tmp_path, *verb, *filters) for verb in (["log"], *exports)]
        for one in done:
            assert (one.status, one.err) == (0, f"{note.format(texts)} otherwise\n")
        assert f"Not searched: {texts}, erased, never kept or not to be read" in done[-1].out
    assert not within("--state", tmp_path, "log", "--operator", BOB).err


@pytest.mark.parametrize("text", ["", "-", "7", "-7", "7-x", "1" * 16 + "-"])
def test_what_are_no_records(root: Path, text: str) -> None:
    """Records are a first and a last number, or all from one on."""
    done = within("--state", root, "log", f"--records={text}")
    assert (done.status, done.out) == (2, "")
    assert "records are written as" in done.err


def test_a_command_that_the_kernel_could_not_end(tmp_path: Path) -> None:
    """An outcome with neither status nor signal is listed as an unknown ending."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("cat /stuck"), status=None, reason=Reason.KILLED)
    assert " unknown " in within("log", "--state", tmp_path).out


def test_more_commands_than_can_run(tmp_path: Path) -> None:
    """A chain in which no command ever ends is listed with each of them once, in bounded memory."""
    chain = Chain(tmp_path)
    begun = [chain.intent("true") for _ in range(LATE + 50)]
    with State(tmp_path) as state:
        listing = entries(state, hold=10)
        first = [next(listing) for _ in range(2)]
        rest = list(listing)
    listed = [entry for entry in [*first, *rest] if entry.kind is Kind.COMMAND]
    assert sorted(entry.seq for entry in listed) == begun
    assert {entry.verdict for entry in listed} == {Verdict.RUNNING}
    chain.outcome(begun[0])
    with State(tmp_path) as state:
        # It was given up on, so its end belongs to nothing that is known.
        assert [entry.seq for entry in entries(state, hold=10) if entry.kind is Kind.DAMAGED] == [
            chain.length - 1
        ]


def test_long_texts_hold_less_back(tmp_path: Path) -> None:
    """What a running command holds back is bounded by the length of the texts, too."""
    chain = Chain(tmp_path)
    running = chain.intent("tail -f log")
    numbers = [chain.refusal("x" * COMMAND_CHARACTERS) for _ in range(300)]
    chain.outcome(running)
    assert 300 * COMMAND_CHARACTERS > HOLD_CHARACTERS
    assert [entry.seq for entry in _entries(tmp_path, HOLD)] == [0, *numbers, running]
    few = Chain(tmp_path / "few")
    running = few.intent("tail -f log")
    numbers = [few.refusal("x" * COMMAND_CHARACTERS) for _ in range(3)]
    few.outcome(running)
    assert [entry.seq for entry in _entries(tmp_path / "few", HOLD)] == [0, running, *numbers]


def test_the_exact_text_in_json(tmp_path: Path) -> None:
    """JSON lines hold the exact text, in ASCII."""
    text = "printf 'ü\x1b[1m\u202e\n'"
    Chain(tmp_path).command(text)
    done = within("log", "--state", tmp_path, "--json", "--kind", "command")
    assert done.out.isascii()
    assert json.loads(done.out)["command"] == text


def test_texts_that_are_gone_or_wrong(tmp_path: Path) -> None:
    """An erased text is shown as erased, a wrong one as wrong, never as the command's."""
    chain = Chain(tmp_path)
    for text in ("one", "two", "three"):
        chain.command(text)
    path = tmp_path / PAYLOADS / segment_name(0)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[2].replace(b"three", b"forged"))
    texts = [
        line.split("ms  ")[1] for line in within("log", "--state", tmp_path).out.splitlines()[2:]
    ]
    assert texts == ["one", "[erased]", "[not the text that the record commits to]"]


def test_a_damaged_chain(tmp_path: Path) -> None:
    """What is no record is a line of the list and an error, whatever the filters."""
    sample(tmp_path)
    lines = lines_of(tmp_path)
    lines[2] = b"\x1b]0;garbage\x07"
    put(tmp_path, lines)
    done = within("log", "--state", tmp_path, "--kind", "session")
    assert done.status == 1
    assert [line.split()[0] for line in done.out.splitlines()[1:]] == ["#1", "#2", "#3"]
    assert "DAMAGED" in done.out
    assert "verify" in done.err


# --- order ----------------------------------------------------------------------------------------


@given(st.data())
def test_commands_that_overlap(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """Every command is listed once, in order, or, beyond what is held back, when it ends."""
    chain = Chain(tmp_path_factory.mktemp("overlap"))
    hold = data.draw(st.integers(min_value=0, max_value=10))
    running: list[int] = []
    ended: set[int] = set()
    for _ in range(data.draw(st.integers(min_value=1, max_value=12))):
        if data.draw(st.booleans()) and running:
            number = running.pop(data.draw(st.sampled_from(range(len(running)))))
            chain.outcome(number)
            ended.add(number)
        else:
            running.append(chain.intent("true"))
    listed = [entry for entry in _entries(chain.root, hold) if entry.kind is Kind.COMMAND]
    assert sorted(entry.seq for entry in listed) == sorted([*running, *ended])
    assert {entry.seq for entry in listed if entry.verdict is Verdict.RAN} == ended
    in_order = _entries(chain.root)
    assert [entry.seq for entry in in_order] == sorted(entry.seq for entry in in_order)


def test_follow(tmp_path: Path) -> None:
    """What is added is listed as it comes, also when a new file of the chain begins."""
    chain = Chain(tmp_path, segment_records=3)
    with subprocess.Popen(
        [*PROGRAM, "log", "--state", tmp_path, "--json", "--follow"],
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        try:
            assert program.stdout is not None
            assert json.loads(program.stdout.readline())["kind"] == "genesis"
            for number in range(5):
                texts = chain.texts
                if number % 2 and texts.exists():  # as an erasure does
                    texts.write_bytes(b"")
                    copy = texts.with_suffix(".new")
                    copy.write_bytes(b"")
                    copy.replace(texts)
                chain.command(f"echo {number}")
                assert json.loads(program.stdout.readline())["command"] == f"echo {number}"
            assert len(chain.segments) > 3
        finally:
            program.terminate()
        assert program.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize("erased", [True, False])
def test_texts_that_are_written_meanwhile(tmp_path: Path, erased: bool) -> None:
    """What is added while it is read has its text, also in a file that is new or was replaced."""
    chain = Chain(tmp_path)
    if erased:
        chain.command("echo one")
    with State(tmp_path) as state:
        listed = entries(state, hold=0)
        assert next(listed).kind is Kind.GENESIS
        if erased:
            copy = chain.texts.with_suffix(".new")
            copy.write_bytes(b"")
            copy.replace(chain.texts)
        for number in range(200):
            chain.command(f"echo {number} " + "x" * 500)
        texts = [entry.command for entry in listed]
    assert texts[-1] == "echo 199 " + "x" * 500
    assert None not in texts


# --- what is asked for ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("2026-11-25", "2026-11-25T00:00:00.000000Z"),
        ("2026-11-25T10:00", "2026-11-25T10:00:00.000000Z"),
        ("2026-11-25 10:00:01.5", "2026-11-25T10:00:01.500000Z"),
        ("2026-11-25T10:00+02:00", "2026-11-25T08:00:00.000000Z"),
        ("0001-01-01", "0001-01-01T00:00:00.000000Z"),
        ("30s", "2026-11-25T11:59:30.000000Z"),
        ("90m", "2026-11-25T10:30:00.000000Z"),
        ("2h", "2026-11-25T10:00:00.000000Z"),
        ("1d", "2026-11-24T12:00:00.000000Z"),
        ("2w", "2026-11-11T12:00:00.000000Z"),
    ],
)
def test_times(text: str, time: str) -> None:
    """A time is compared as records write it."""
    assert moment(text, NOW) == time


@given(st.text())
def test_any_other_time(text: str) -> None:
    """Whatever is asked for is a time or one error."""
    with suppress(AuditError):
        assert len(moment(text, NOW)) == len("2026-11-25T10:00:00.000000Z")


@pytest.mark.parametrize(
    "text", ["-1", "256", "1e2", "signal", "signal 0", "signal 9 ", "٣", "", "0x1", "9" * 9999]
)
def test_what_is_no_exit_status(text: str) -> None:
    """An exit status that can't be is refused, and doesn't just match nothing."""
    with pytest.raises(AuditError):
        exit_status(text)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, ""),
        (0, "0 ms"),
        (999, "999 ms"),
        (1_000, "1.00 s"),
        (59_990, "59.99 s"),
        (61_000, "1 m 01 s"),
        (3_661_000, "1 h 01 m"),
    ],
)
def test_durations(milliseconds: int | None, text: str) -> None:
    """A duration has the unit that suits it."""
    assert duration(milliseconds) == text


def test_no_filter_fits_all() -> None:
    """Without a filter, everything is wanted."""
    assert Filter().matches(Entry(seq=1, kind=Kind.SECURITY, time="t"))
