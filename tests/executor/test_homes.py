# SPDX-License-Identifier: MIT
"""A home is private, and goes with its session, whatever is in it (I6)."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.directories import reachable_directory
from tests.executor.exchange import run
from tests.executor.rig import OPERATOR, OTHER_OPERATOR, ROOM, UNRESTRICTED, Client, Executor
from tests.mounts import mount_memory, private_mounts
from tibet_nc_protocol.messages import (
    CloseSession,
    Finished,
    Recorded,
    Started,
    Status,
    StatusReport,
)

pytestmark = pytest.mark.executor(shell=UNRESTRICTED)


async def test_a_home_is_private_and_goes_with_its_session(
    executor: Executor, client: Client
) -> None:
    """Another session can't enter it, and nothing of it is left, whatever a command did to it."""
    first = await run(client, "echo $PWD; mkdir -p a/b; echo secret >a/f; chmod 0 a/b a; mkfifo .p")
    home = first.output.decode().strip()
    assert home.startswith(f"{executor.directory}/home/")
    attack = (
        f"ls {home}; cat {home}/a/f; touch {home}/x; chmod 777 {home}; mv {home} ~/mine;"
        f" rm -rf {home}; ln -s /etc {home}/etc; echo $PWD"
    )
    await client.send(client.request(attack, sender=OTHER_OPERATOR))
    assert isinstance(await client.receive(), Started)
    finished = await client.receive()
    assert isinstance(finished, Finished)
    *refused, own = finished.output.decode().splitlines()
    assert own != home
    assert own.startswith(f"{executor.directory}/home/")
    assert len(refused) >= 6
    assert all("denied" in line or "not permitted" in line for line in refused), refused
    assert (await run(client, "chmod 700 a; cat a/f")).output == b"secret\n"
    await run(client, "chmod 0 a")
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), Recorded)
    assert not Path(home).exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs a uid of the shell's own")
async def test_removing_a_home_follows_no_link(executor: Executor, client: Client) -> None:
    """What links in a home lead to isn't touched, nor walked through, when its session ends."""
    outside = executor.directory / "outside"
    outside.mkdir()
    os.chown(outside, executor.uids.shell, executor.uids.shell)
    outside.chmod(0)
    home = Path((await run(client, f"ln -s {outside} link; echo $PWD")).output.decode().strip())
    await client.send(CloseSession(request=client.number(), room=ROOM, sender=OPERATOR))
    assert isinstance(await client.receive(), Recorded)
    assert not home.exists()
    assert outside.stat().st_mode & 0o777 == 0


async def test_homes_of_a_dead_executor_are_removed(executor: Executor, client: Client) -> None:
    """What a crash leaves is emptied at the next start."""
    home = Path((await run(client, "mkdir -p d; chmod 0 d; echo $PWD")).output.decode().strip())
    assert home.exists()
    executor.kill()
    executor.start()
    assert not home.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to mount a small file system")
@pytest.mark.parametrize("own", [True, False])
async def test_what_the_homes_hold_is_told(place: Path, *, own: bool) -> None:
    """Homes with a file system of their own are limited by it; the report has its size, or 0."""
    homes = place / "home"
    homes.mkdir()
    with private_mounts(), reachable_directory("/") as of_root:  # /tmp may be one of its own
        if own:
            mount_memory(homes, "size=1m")
        else:
            subprocess.run(["mount", "--bind", of_root, homes], check=True)
        with Executor(place, shell=UNRESTRICTED) as executor:
            client = await Client.connect(executor)
            await client.send(Status(request=client.number(), room=ROOM, sender=OPERATOR))
            report = await client.receive()
            assert isinstance(report, StatusReport)
            assert report.limits.home_bytes == own << 20
            full = await run(client, "head -c 2000000 /dev/zero >big")
            assert (b"No space left on device" in full.output) == own
            await client.close()
