# SPDX-License-Identifier: MIT
"""The memory of all commands together is used up, and the kernel ends what it chooses (I3, I6).

The limit is one that systemd would make of the unit's MemoryMax=.
"""

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.executor.rig import OTHER_OPERATOR, UNRESTRICTED, Client, Connect, Executor, records
from tests.mounts import mount_memory, private_mounts
from tibet_nc_protocol.messages import Finished, Started
from tibet_nc_protocol.records import Aborted, Intent, Outcome

GROUPS: Final = Path("/sys/fs/cgroup/memory")
LIMIT: Final = 200 << 20
PIECE: Final = 20 << 20

pytestmark = pytest.mark.skipif(
    not os.access(GROUPS, os.W_OK),
    reason="needs groups of version 1, of which one can be made; docs/system-vm.md has the others",
)


class Cramped(Executor):
    """An executor that enters a group with little memory, and has a /tmp in memory for it."""

    def __init__(self, directory: Path, group: Path) -> None:
        self.group: Final = group
        self.filled: Final = directory / "tmp"
        super().__init__(directory, shell=UNRESTRICTED)

    def argv(self) -> list[str]:
        """Return the start of its command line."""
        enter = f'echo $$ >{self.group}/cgroup.procs && exec "$@"'
        return ["/bin/sh", "-c", enter, "enter", *super().argv()]

    @property
    def killed(self) -> int:
        """How many processes the kernel has killed for want of memory."""
        _, _, count = (self.group / "memory.oom_control").read_text().partition("oom_kill ")
        return int(count)

    def died_of(self) -> int:
        """Wait for its end, which nobody here has asked for; return the signal."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        self.kill()
        return ended.si_status

    async def fill(self, client: Client) -> None:
        """Have commands leave more in memory than there may be."""
        for number in range(2 * LIMIT // PIECE):
            await client.run(f"head -c {PIECE} /dev/zero >{self.filled}/{number}")

    def empty(self) -> None:
        """Remove that, as it is gone with the unit's mounts."""
        for file in self.filled.iterdir():
            file.unlink()


@pytest.fixture
def cramped(place: Path) -> Iterator[Cramped]:
    """Start an executor that has 200 MiB for all."""
    group = GROUPS / f"tibet-nc-test-{os.getpid()}"
    group.mkdir()
    try:
        (group / "memory.limit_in_bytes").write_text(str(LIMIT))
        with private_mounts():
            (place / "tmp").mkdir()
            mount_memory(place / "tmp", f"size={2 * LIMIT}")
            (place / "tmp").chmod(0o1777)
            with Cramped(place, group) as executor:
                yield executor
    finally:
        group.rmdir()


async def test_the_command_that_takes_most_is_ended(cramped: Cramped, connect: Connect) -> None:
    """Its shell tells what became of it; another's command and the executor go on."""
    client, other = await connect(cramped), await connect(cramped)
    await other.send(other.request("sleep 4721", sender=OTHER_OPERATOR))
    while not isinstance(await other.receive(), Started):
        pass
    done = await client.run(f"perl -e '$x = \"x\" x {2 * LIMIT}'; echo $?")
    assert isinstance(done, Finished)
    assert done.output.endswith(b"\n137\n")
    assert cramped.killed == 1
    assert len(cramped.commands("sleep 4721")) == 1
    again = await client.run("echo works")
    assert isinstance(again, Finished)
    assert again.output == b"works\n"


async def test_an_executor_that_is_ended_goes_on_from_its_chain(
    cramped: Cramped, connect: Connect
) -> None:
    """What is left in memory can end it; each command has one end then, and the next one runs."""
    client = await connect(cramped)
    with pytest.raises(ConnectionResetError):
        await cramped.fill(client)
    assert cramped.died_of() == signal.SIGKILL
    cramped.empty()
    cramped.start()
    done = await (await connect(cramped)).run("echo works")
    assert isinstance(done, Finished)
    assert done.output == b"works\n"
    chain = records(cramped)
    intents = [record.seq for record in chain if isinstance(record, Intent)]
    ends = [record.intent for record in chain if isinstance(record, Outcome | Aborted)]
    assert ends == intents
