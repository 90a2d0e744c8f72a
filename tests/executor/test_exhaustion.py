# SPDX-License-Identifier: MIT
"""What the executor does when the machine has nothing left of something that it needs (I6, I7)."""

import os
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.executor.rig import OPERATOR, OTHER_OPERATOR, ROOM, Client, Executor
from tests.executor.shell.driver import commands_of
from tibet_nc_protocol.messages import CloseSession, Denied, Finished, Response, Started
from tibet_nc_protocol.terms import DenialCode

pytestmark = pytest.mark.skipif(
    os.getuid() != 0, reason="the limit would count whatever else this uid runs"
)

PROCESSES = 30
JOURNAL = (
    "tibet-nc-executor: journald does not take records (Connection refused); the chain goes on"
)
"""What is said before where this machine has no journald."""


class Limited(Executor):
    """An executor that may have little of something: its uid few processes, as under TasksMax=."""

    limit = f"--nproc={PROCESSES}"

    def argv(self) -> list[str]:
        """Return the start of its command line."""
        return ["/usr/bin/prlimit", self.limit, *super().argv()]


@contextmanager
def none_left(uid: int) -> Generator[None]:
    """Have others take every process that a uid may have."""
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    others = [subprocess.Popen([*become, "sleep", "1000"]) for _ in range(PROCESSES)]
    try:
        while len([line for line in commands_of(uid) if line == "sleep 1000 "]) < PROCESSES:
            assert [other.args for other in others if other.poll() is not None] == []
            time.sleep(0.01)
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


async def end_of(client: Client, sender: str) -> Response:
    """Run a command in a session that begins with it and ends after it; return its answer."""
    await client.send(client.request("echo works", sender=sender))
    while isinstance(answer := await client.receive(), Started):
        pass
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=sender))
    await client.receive()
    return answer


async def test_without_processes_it_refuses_and_goes_on() -> None:
    """When neither a process nor a thread can be had, commands are refused, and later they run."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-") as name:
        place = Path(name)
        with Limited(place, shell="restricted = false") as executor:
            client = await Client.connect(executor)
            with none_left(executor.uids.executor):
                answers = [
                    await end_of(client, sender)
                    for _ in range(10)
                    for sender in (OPERATOR, OTHER_OPERATOR)
                ]
            refused = [answer for answer in answers if isinstance(answer, Denied)]
            assert {answer.code for answer in refused} == {DenialCode.SHELL}
            assert len(refused) >= len(answers) - 1  # a shell may have been waiting
            for sender in (OPERATOR, OTHER_OPERATOR):
                answer = await end_of(client, sender)
                assert isinstance(answer, Finished)
                assert answer.output == b"works\n"
            await client.close()


@pytest.mark.executor(shell="processes = 1")
async def test_a_command_whose_shell_cannot_begin_leaves_no_file_open(
    executor: Executor, client: Client
) -> None:
    """What a failing cage says is no command's output, and its file is closed again (I6)."""
    with none_left(executor.uids.shell):
        answers = [await end_of(client, OPERATOR) for _ in range(5)]
    reasons = [answer.reason for answer in answers if isinstance(answer, Denied)]
    assert len(reasons) >= len(answers) - 1  # a shell may have been waiting
    assert all("setpriv: " in reason for reason in reasons)
    assert executor.recordings_open() == 0


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        *((f"--nproc={number}", "TasksMax=") for number in (1, 2)),
        ("--nproc=3", "the self-test can't be made: Resource temporarily unavailable"),
        ("--nproc=4", "no shell: [Errno 11] Resource temporarily unavailable"),
        *((f"--nofile={number}", "LimitNOFILE=") for number in (6, 16, 64, 255)),
    ],
)
def test_a_start_with_too_little_says_of_what(place: Path, limit: str, told: str) -> None:
    """One line says what the unit must give more of, at whatever point of the start it lacks."""
    executor = Limited(place)
    executor.limit = limit
    *before, line = executor.refusal().splitlines()
    assert before in ([], [JOURNAL])
    assert line.startswith("tibet-nc-executor: ")
    assert told in line
