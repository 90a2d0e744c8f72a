# SPDX-License-Identifier: MIT
"""Much output: all of it attached, in little memory, and nobody else waits (I12)."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host
from tests.harness.proxy import Proxy
from tests.integration.test_end_to_end import until
from tibet_nc_protocol.records import Outcome

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

ANSWER_SECONDS: Final = 240.0
RECORDING_BYTES: Final = 32 * 1024**2
FLOOD_BYTES: Final = 256 * 1024**2
GROWTH_BYTES: Final = 12 * 1024**2
"""Most that the agent may grow: far less than what it attaches, let alone what was printed."""


async def start(host: Host, bot: Account, room: str, *operators: Operator) -> None:
    """Start a host and wait until its bot is in the room."""
    await asyncio.to_thread(host.start)
    for operator in operators:
        await operator.wait_member(room, bot.user_id)


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has had since this was last reset."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def reset_peak(pid: int) -> None:
    """Make the kernel forget the most memory that a process has had (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


async def test_a_flood_costs_the_agent_no_memory(
    synapse: Synapse, bot: Account, operator: Operator, room: str, directory: Path
) -> None:
    """A quarter GiB printed and 32 MiB attached: the agent's memory stays where it was."""
    with Host(
        directory / "host",
        homeserver=synapse.url,
        bot=bot,
        operators={operator.user_id: operator.master_key},
        rooms=[room],
        executor_settings=f"[audit]\nrecording_bytes = {RECORDING_BYTES}\n",
    ) as host:
        await start(host, bot, room, operator)
        warm = await operator.send_text(room, "$ seq 1 50000")  # what is loaded once is not growth
        await operator.answer_to(warm, ANSWER_SECONDS)
        reset_peak(host.agent.pid)
        before = peak_bytes(host.agent.pid)
        event = await operator.send_text(room, f"$ yes | head -c {FLOOD_BYTES}")
        answer = await operator.answer_to(event, ANSWER_SECONDS)
        growth = peak_bytes(host.agent.pid) - before
        files = [
            seen
            for seen in operator.events
            if seen.content.get("msgtype") == "m.file" and seen.result.get("event_id") == event
        ]
        attached = b"".join([await operator.download(file) for file in files])
    whole = hashlib.sha256(b"y\n" * (FLOOD_BYTES // 2)).hexdigest()
    assert answer.result["output_bytes"] == FLOOD_BYTES
    assert answer.result["output_sha256"] == whole
    assert whole in answer.body
    assert "\nlimit: 32 MiB of output are kept; " in answer.body
    assert attached == b"y\n" * (RECORDING_BYTES // 2)
    assert growth < GROWTH_BYTES


async def test_more_than_the_homeserver_takes_is_attached_in_pieces(
    tmp_path: Path,
    directory: Path,
) -> None:
    """Output longer than one upload comes as several files that make up all of it."""
    with Synapse(tmp_path, upload_bytes=1_000_000) as synapse:
        bot, person = synapse.register("bot"), synapse.register("op")
        async with await Operator.login(synapse.url, person.user_id, person.password) as operator:
            room = await operator.create_room(invite=[bot.user_id])
            with Host(
                directory / "host",
                homeserver=synapse.url,
                bot=bot,
                operators={operator.user_id: operator.master_key},
                rooms=[room],
            ) as host:
                await start(host, bot, room, operator)
                event = await operator.send_text(room, "$ seq 1 400000")
                answer = await operator.answer_to(event, ANSWER_SECONDS)
            files = [seen for seen in operator.events if seen.content.get("msgtype") == "m.file"]
            attached = b"".join([await operator.download(file) for file in files])
    number = answer.result["number"]
    names = [f"demo-host-{number}.{index}of3.txt" for index in (1, 2, 3)]
    assert [file.body for file in files] == names
    assert f"all of it is attached as {names[0]} to {names[2]}" in answer.body
    assert hashlib.sha256(attached).hexdigest() == answer.result["output_sha256"]


async def test_output_is_not_attached_in_countless_pieces(
    behind: Host, proxy: Proxy, operator: Operator, room: str
) -> None:
    """A homeserver that takes a byte a file gets none, and the answer comes and says so (I12)."""
    proxy.rewrite("/media/config", lambda _: {"m.upload.size": 1})
    answer = await operator.answer_to(await operator.send_text(room, "$ seq 1 50000"))
    assert "could not be attached (the homeserver takes 1 byte a file, " in answer.body
    assert answer.result["output_sha256"] in answer.body
    assert not any("/media/v3/upload" in path for _, path in proxy.seen)
    assert behind.agent.running


async def test_a_file_whose_message_is_not_taken_is_said_not_to_be_attached(
    behind: Host, proxy: Proxy, operator: Operator, room: str
) -> None:
    """A homeserver that finds the message of a file too large still gets the answer (I4, I12)."""
    proxy.refuse("/send/m.room.encrypted/", status=413)
    answer = await operator.answer_to(await operator.send_text(room, "$ seq 1 50000"))
    assert "could not be attached (the homeserver takes no message as large as this" in answer.body
    assert answer.result["output_sha256"] in answer.body
    assert behind.agent.running


async def test_a_flood_keeps_nobody_waiting(
    synapse: Synapse,
    bot: Account,
    operator: Operator,
    new_operator: Callable[..., Awaitable[Operator]],
    room: str,
    directory: Path,
) -> None:
    """While one operator's command prints without end, another's are run and answered."""
    colleague = await new_operator()
    await operator.invite(room, colleague.user_id)
    await colleague.join(room)
    with Host(
        directory / "host",
        homeserver=synapse.url,
        bot=bot,
        operators={each.user_id: each.master_key for each in (operator, colleague)},
        rooms=[room],
    ) as host:
        await start(host, bot, room, operator, colleague)
        flood = await operator.send_text(room, "$ yes")
        notice = await operator.wait(lambda seen: seen.body.startswith("started"))
        for number in range(5):
            event = await colleague.send_text(room, f"$ echo {number}")
            answer = await colleague.answer_to(event, ANSWER_SECONDS)
            assert answer.body.startswith(f"{number}\n")
        assert operator.answers_to(flood) == []
        await operator.send_text(room, f"!kill {notice.result['number']}")
        assert (await operator.answer_to(flood, ANSWER_SECONDS)).result["reason"] == "killed"


async def test_what_the_host_no_longer_has_is_not_said_to_be_there(
    host: Host, operator: Operator, room: str
) -> None:
    """Output that was erased before it could be told is told by its hash, and with no way to it."""
    event = await operator.send_text(room, "$ sleep 2; echo done")
    notice = await operator.wait(lambda seen: seen.body.startswith("started"))
    number = str(notice.result["number"])
    host.agent.kill()
    await until(lambda: any(isinstance(record, Outcome) for record in host.records()))
    erase = ("erase", number, "--recording", "--reason", "a secret")
    done = await asyncio.to_thread(host.admin, "executor", *erase)
    assert done.returncode == 0, done.stderr
    await asyncio.to_thread(host.start_agent)
    answer = await operator.answer_to(event, ANSWER_SECONDS)
    told, digest, *_ = answer.body.split("\n")
    assert told.endswith("not shown; it could not be attached (the recording is kept no longer)")
    assert digest == f"SHA-256 of the output: {hashlib.sha256(b'done\n').hexdigest()}"
