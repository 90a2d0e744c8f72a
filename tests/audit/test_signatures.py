# SPDX-License-Identifier: MIT
"""``verify --deep`` on many cores: whatever becomes of the processes, no verdict is made up."""

import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from multiprocessing import active_children
from pathlib import Path

import pytest

from tests.audit.chains import EXECUTOR, Chain
from tests.audit.program import LISTENING, PROGRAM
from tests.audit.verdicts import DEEP, report
from tibet_nc_audit import signatures
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.reader import State
from tibet_nc_audit.signatures import WORTH_BYTES, Signatures
from tibet_nc_audit.verify import verify

WAIT_SECONDS = 60.0


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start processes for the smallest chain, and let batches be of one or two records."""
    monkeypatch.setattr(signatures, "WORTH_BYTES", 0)
    monkeypatch.setattr("tibet_nc_audit.reader.BLOCK_BYTES", 1000)


def _kill_workers() -> None:
    for child in active_children():
        child.kill()


def _batches(lines: list[bytes], then: Callable[[], None], after: int) -> Iterator[list[bytes]]:
    for number, line in enumerate(lines):
        if number == after:
            then()
        yield [line]


@pytest.mark.parametrize("after", [1, 5, 13, 40])
def test_a_worker_that_is_ended(tmp_path: Path, after: int) -> None:
    """Processes that are killed are one clear error, be it before, while or after work is given."""
    chain = Chain(tmp_path)
    while chain.length < 40:
        chain.security()
    batches = _batches([*chain.lines, b"the last"], _kill_workers, after)
    with Signatures(WORTH_BYTES, 3) as many, pytest.raises(AuditError, match="was ended"):
        for _ in many.verify(batches, lambda: EXECUTOR.public_key):
            pass
    assert active_children() == []


def test_a_worker_that_is_ended_with_work_in_hand(tmp_path: Path) -> None:
    """Work that was given to processes that are killed then is missed, not passed over."""
    chain = Chain(tmp_path)
    while chain.length < 10:
        chain.security()

    def batches() -> Iterator[list[bytes]]:
        for line in chain.lines:
            for child in active_children():
                assert child.pid is not None
                os.kill(child.pid, signal.SIGSTOP)
            yield [line]
        _kill_workers()

    with Signatures(WORTH_BYTES, 3) as many, pytest.raises(AuditError, match="was ended"):
        assert len(list(many.verify(batches(), lambda: EXECUTOR.public_key))) < 10


@contextmanager
def _no_more_files() -> Generator[None]:
    """Let this process open no file besides those that it has."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_no_process_can_be_made(tmp_path: Path) -> None:
    """Where the system gives no process, early or late, that is said, and what does without."""
    line = Chain(tmp_path).lines[0]
    said = "Too many open files; --jobs 1 does it without"
    with _no_more_files(), pytest.raises(AuditError, match=said):
        Signatures(WORTH_BYTES, 2)
    with Signatures(WORTH_BYTES, 2) as many:
        verified = many.verify(iter([[line]]), lambda: EXECUTOR.public_key)
        with _no_more_files(), pytest.raises(AuditError, match=said):
            next(verified)


@pytest.mark.usefixtures("at_once")
def test_no_verdict_without_a_worker(tmp_path: Path) -> None:
    """A verification whose processes are killed ends in the error, and never in a verdict."""
    chain = Chain(tmp_path)
    while chain.length < 100:
        chain.security()
    with State(tmp_path) as state, pytest.raises(AuditError, match="was ended"):
        verify(state, depth=DEEP, jobs=2, report=lambda _bytes, _lines: _kill_workers())
    assert report(tmp_path, depth=DEEP, jobs=2).good


@contextmanager
def _program(root: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run the program in a session of its own, on a chain that keeps two workers busy for long."""
    chain = Chain(root)
    while sum(path.stat().st_size for path in chain.segments) < 8 * WORTH_BYTES:
        for _ in range(500):
            chain.security("x" * 500)
    with subprocess.Popen(
        [*LISTENING, *PROGRAM, "verify", "--deep", "--jobs", "2", "--state", root],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as program:
        try:
            yield program
        finally:
            for pid in _session(program.pid):
                os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("how", ["at once", "as it begins", "at work"])
def test_an_interrupt_is_quiet(tmp_path: Path, how: str) -> None:
    """^C ends the program and its processes, whenever it comes, without a word or a verdict."""
    with _program(tmp_path) as program:
        workers = _awaited(lambda: _workers(program.pid))
        if how != "at once":
            program.send_signal(signal.SIGSTOP)  # it can't end meanwhile
            if how == "at work":
                _awaited(lambda: all(map(_has_begun, workers)))
        os.killpg(program.pid, signal.SIGINT)
        program.send_signal(signal.SIGCONT)
        out, err = program.communicate(timeout=WAIT_SECONDS)
        assert (program.returncode, out, err) == (130, b"", b"")
        _awaited(lambda: not _session(program.pid))


@pytest.mark.parametrize(
    ("how", "whom", "by"),
    [
        ("as it begins", "program", signal.SIGTERM),
        ("at work", "program", signal.SIGTERM),
        ("at work", "group", signal.SIGTERM),
        ("at work", "group", signal.SIGHUP),
    ],
)
def test_a_request_to_end_is_quiet(tmp_path: Path, how: str, whom: str, by: signal.Signals) -> None:
    """Asked to end, the program ends its processes first, and leaves nothing that is warned of.

    timeout(1), and a terminal that is closed, ask its whole group.
    """
    with _program(tmp_path) as program:
        workers = _awaited(lambda: _workers(program.pid))
        if how == "at work":
            _awaited(lambda: all(map(_has_begun, workers)))
        (os.kill if whom == "program" else os.killpg)(program.pid, by)
        out, err = program.communicate(timeout=WAIT_SECONDS)
        assert (program.returncode, out, err) == (-by, b"", b"")
        _awaited(lambda: not _session(program.pid))


def test_a_worker_of_the_program_that_is_ended(tmp_path: Path) -> None:
    """The program says so, too, though what it writes to a process that ended would end it."""
    with _program(tmp_path) as program:
        workers = _awaited(lambda: _workers(program.pid))
        os.kill(workers[0], signal.SIGKILL)
        out, err = program.communicate(timeout=WAIT_SECONDS)
    said = b"tibet-nc-audit: a process that verified signatures was ended\n"
    assert (program.returncode, out, err) == (2, b"", said)


def test_nothing_outlives_the_program(tmp_path: Path) -> None:
    """Where the program is killed, its processes end with it."""
    with _program(tmp_path) as program:
        workers = _awaited(lambda: _workers(program.pid))
        program.send_signal(signal.SIGSTOP)
        _awaited(lambda: all(map(_has_begun, workers)))
        program.kill()
        program.send_signal(signal.SIGCONT)
        assert program.wait(WAIT_SECONDS) == -signal.SIGKILL
        _awaited(lambda: not _session(program.pid))


def _awaited[T](found: Callable[[], T]) -> T:
    """Return what is found, as soon as it is something."""
    end = time.monotonic() + WAIT_SECONDS
    while not (now := found()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.002)
    return now


def _session(session: int) -> dict[int, int]:
    """Return the processes of a session that haven't ended, each with its parent."""
    found: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, of, *_ = path.read_text().rpartition(") ")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(of) == session and state != "Z":
            found[int(path.parent.name)] = int(parent)
    return found


def _workers(program: int) -> list[int]:
    """Return the processes that verify: the fork server's children, the program's grandchildren."""
    parents = _session(program)
    return [pid for pid, parent in parents.items() if parents.get(parent) == program]


def _has_begun(pid: int) -> bool:
    """Tell whether a worker does what it is there for: it has a second thread, which waits."""
    return len(list(Path(f"/proc/{pid}/task").iterdir())) > 1
