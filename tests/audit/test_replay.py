# SPDX-License-Identifier: MIT
"""Recordings, played again."""

import os
import pty
import select
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.audit.chains import Chain, cast, sample
from tests.audit.program import LISTENING, PROGRAM, safe, within
from tibet_nc_audit.errors import DisagreementError
from tibet_nc_audit.export import cast_lines
from tibet_nc_audit.locate import locate
from tibet_nc_audit.reader import State
from tibet_nc_audit.recordings import Printed
from tibet_nc_audit.replay import LONGEST_WAIT_SECONDS, RESET, VisibleText, frames, play
from tibet_nc_protocol.layout import RECORDINGS, recording_name

OUTPUT = b"\x1b[1mbold\x1b[0m \xff\xfe \xc3\xbc\r\n" * 200


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a chain of one command, whose output came in five pieces half a second apart."""
    chain = Chain(tmp_path)
    chain.outcome(chain.intent("top"), OUTPUT)
    return tmp_path


@pytest.mark.parametrize(
    ("speed", "waits"), [(1.0, [0.5] * 4), (2.0, [0.25] * 4), (0.5, [1.0] * 4), (None, [])]
)
def test_time(root: Path, speed: float | None, waits: list[float]) -> None:
    """A recording is played in its own time, or so many times as fast, or at once."""
    slept: list[float] = []
    written: list[bytes] = []
    with State(root) as state:
        play(frames(state, recording_name(1)), written.append, speed=speed, sleep=slept.append)
    assert b"".join(written) == OUTPUT
    assert slept[:4] == pytest.approx(waits)


def test_a_recording_that_asks_for_ages() -> None:
    """However long a recording says to wait, the wait has a bound and is none that fails."""
    slept: list[float] = []
    play(iter([(1e300, b"a"), (0.0, b"b")]), lambda _: None, speed=1e-300, sleep=slept.append)
    assert slept == [LONGEST_WAIT_SECONDS]


@given(st.lists(st.binary()))
def test_visible_output(pieces: list[bytes]) -> None:
    """However output comes in pieces, it is the same visible text, and safe."""
    text = VisibleText()
    shown = "".join(text.feed(piece) for piece in pieces) + text.feed(b"", last=True)
    assert shown == VisibleText().feed(b"".join(pieces), last=True)
    assert safe(shown, keep="\n\t")


def test_to_a_file(root: Path) -> None:
    """What isn't a terminal gets visible text."""
    done = within("replay", "--state", root, "1", "--no-wait")
    assert (done.status, done.err) == (0, "")
    assert done.out == "\\x1b[1mbold\\x1b[0m \\xff\\xfe ü\\r\n" * 200


def test_raw_bytes(root: Path) -> None:
    """The very bytes are given to who asks for them."""
    done = subprocess.run(
        [*PROGRAM, "replay", "--state", root, "1", "--no-wait", "--raw"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == OUTPUT


def test_to_a_terminal(root: Path) -> None:
    """A terminal gets the very bytes, and its modes back."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*PROGRAM, "replay", "--state", root, "1", "--no-wait"], stdin=slave, stdout=slave
    ) as program:
        os.close(slave)
        received = b""
        while not received.endswith(RESET):
            received += os.read(master, 65536)
        assert program.wait(10) == 0
    os.close(master)
    # The terminal's own driver puts a carriage return before each line end.
    assert received == OUTPUT.replace(b"\n", b"\r\n") + RESET


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_replay_that_is_ended(root: Path, how: signal.Signals) -> None:
    """Whoever ends a replay gets the terminal's modes back, and the program ends by that."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*LISTENING, *PROGRAM, "replay", "--state", root, "1", "--speed", "0.001"],
        stdin=slave,
        stdout=slave,
    ) as program:
        os.close(slave)
        received = os.read(master, 65536)
        program.send_signal(how)
        with suppress(OSError):  # EIO: nobody has the other end any more
            while piece := os.read(master, 65536):
                received += piece
        assert program.wait(10) == (130 if how is signal.SIGINT else -how)
    os.close(master)
    assert received.startswith(b"\x1b[1mbold")
    assert received.endswith(RESET)


def test_a_replay_that_is_stopped(root: Path) -> None:
    """Whoever stops a replay (Ctrl-Z), and again after going on, gets the terminal's modes back."""
    master, slave = pty.openpty()
    with subprocess.Popen(
        [*LISTENING, *PROGRAM, "replay", "--state", root, "1", "--speed", "0.001"],
        stdin=slave,
        stdout=slave,
        process_group=0,  # one that a shell could continue: any other isn't stopped
    ) as program:
        os.close(slave)
        received = os.read(master, 65536)
        try:
            for _ in range(2):
                _await_catching(program.pid, signal.SIGTSTP)
                program.send_signal(signal.SIGTSTP)
                os.waitid(os.P_PID, program.pid, os.WSTOPPED)
                while not received.endswith(RESET):
                    assert select.select([master], [], [], 10)[0]
                    received += os.read(master, 65536)
                received = b""
                program.send_signal(signal.SIGCONT)
            program.send_signal(signal.SIGTERM)
            assert program.wait(10) == -signal.SIGTERM
        finally:
            program.kill()
    os.close(master)


def _await_catching(pid: int, number: signal.Signals) -> None:
    """Wait until a process sleeps, which a signal that it catches ends."""
    for _ in range(10_000):
        status = Path(f"/proc/{pid}/status").read_text()
        caught = int(status.partition("SigCgt:")[2].split()[0], 16) >> (number - 1) & 1
        if caught and "State:\tS" in status:
            return
        time.sleep(0.001)
    pytest.fail(f"{number.name} is not caught")


def test_another_recording(root: Path) -> None:
    """A recording that isn't the one on record is played, but never without a word (I8)."""
    (root / RECORDINGS / "000000000001.cast").write_bytes(cast(b"nothing happened\n", "0"))
    done = within("replay", "--state", root, "1", "--no-wait")
    assert (done.status, done.out) == (1, "nothing happened\n")
    assert "NOT what was recorded" in done.err


def test_a_recording_that_changes_meanwhile(tmp_path: Path) -> None:
    """What becomes another recording after it was checked is neither played nor copied as good."""
    chain = Chain(tmp_path)
    number = chain.command("yes", b"y\n" * 200_000)
    path = tmp_path / RECORDINGS / recording_name(number)
    with State(tmp_path) as state:
        recorded = locate(state, number).recorded
        assert recorded is not None
        copied = cast_lines(state, number)
        played = frames(state, recording_name(number), Printed.of(recorded))
        next(copied)
        next(played)  # both were found good, and have begun
        path.write_bytes(path.read_bytes().replace(b"y\\ny\\n", b"y\\nn\\n"))
        for going_on in (copied, played):
            with pytest.raises(DisagreementError, match="other output"):
                list(going_on)


def test_a_broken_recording(root: Path) -> None:
    """What is no recording is bad, as it is to show and verify, and is said to be none."""
    path = root / RECORDINGS / "000000000001.cast"
    for data in (b"\xff\n", None):
        path.unlink()
        if data is None:
            path.mkdir()
        else:
            path.write_bytes(data)
        done = within("replay", "--state", root, "1", "--no-wait")
        assert (done.status, done.out) == (1, "")
        assert "NOT what was recorded" in done.err
        assert "not a re" in done.err.splitlines()[-1]


def test_what_can_not_be_replayed(tmp_path: Path) -> None:
    """What isn't a command with output says so."""
    sample(tmp_path)
    for number, reason in ((4, "nothing was recorded"), (12, "not a command"), (17, "not there")):
        done = within("replay", "--state", tmp_path, str(number))
        assert (done.status, done.out) == (2, "")
        assert reason in done.err
