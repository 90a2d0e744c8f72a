# SPDX-License-Identifier: MIT
"""Whatever ends, hangs or goes away, in any order: nothing is lost and nothing happens twice.

Two operators go on sending while agent, executor, homeserver and journald are killed, stopped,
frozen and started again, in an order and at moments that are new in each run.
"""

import asyncio
import os
import random
import re
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import pytest

from tests.harness import Account, Operator, Synapse
from tests.harness.host import Host
from tests.harness.journald import Journald, private_journald
from tests.harness.operator import OperatorError
from tibet_nc_protocol.limits import OPEN_RUNS
from tibet_nc_protocol.records import Intent, Refusal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

TROUBLES: Final = 16
LONGEST_S: Final = 2.0
"""A trouble, and the quiet before the next one."""
ANSWER_S: Final = 60.0
STOPPED: Final = re.compile("the executor.*stop")
LINES: Final = (
    "echo {}",
    "sleep 0.3; echo {}",
    "seq 1 3000; echo {}",
    "echo {}; sleep 1 & disown",
    "status",
)


@pytest.fixture
def journald() -> Iterator[Journald]:
    """Start a journald that only this test sees."""
    with private_journald() as running:
        yield running


@dataclass(frozen=True, kw_only=True)
class Scene:
    """What can get into trouble."""

    host: Host
    synapse: Synapse
    journald: Journald

    def troubles(self) -> dict[str, Callable[[float], None]]:
        """Return what can happen, for some seconds each; afterwards all runs again."""
        agent, executor = self.host.agent, self.host.executor

        def both_killed(seconds: float) -> None:
            executor.kill()
            agent.kill()
            time.sleep(seconds)
            self.host.start()

        return {
            "agent killed": lambda s: _gone(agent.kill, self.host.start_agent, s),
            "agent stopped": lambda s: _gone(agent.stop, self.host.start_agent, s),
            "agent frozen": lambda s: _frozen(agent.pid, s),
            "executor killed": lambda s: _gone(executor.kill, self.host.start_executor, s),
            "executor stopped": lambda s: _gone(executor.stop, self.host.start_executor, s),
            "executor frozen": lambda s: _frozen(executor.pid, s),
            "both killed": both_killed,
            "homeserver frozen": lambda s: _frozen(self.synapse.pid, s),
            "homeserver stopped": lambda s: _gone(self.synapse.stop, self.synapse.start, s),
            "journald frozen": lambda s: _frozen(self.journald.pid, s),
        }


def _gone(end: Callable[[], object], start: Callable[[], None], seconds: float) -> None:
    end()
    time.sleep(seconds)
    start()


def _frozen(pid: int, seconds: float) -> None:
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(seconds)
    finally:
        os.kill(pid, signal.SIGCONT)


async def _talk(operator: Operator, room: str, chance: random.Random) -> dict[str, str]:
    """Send lines until cancelled; return those of each event that the homeserver has."""
    sent: dict[str, str] = {}
    try:
        while True:
            line = chance.choice(LINES).format(secrets.token_hex(4))
            event = await _send(operator, room, line if line == "status" else f"$ {line}")
            sent[event] = line
            await asyncio.sleep(chance.uniform(0, 0.6))
    except asyncio.CancelledError:
        return sent


async def _send(operator: Operator, room: str, body: str) -> str:
    """Send a message until the homeserver has it, as a client does, each time as the same one."""
    number = secrets.token_hex(8)
    content = {"msgtype": "m.text", "body": body}
    while True:
        try:
            async with asyncio.timeout(10):
                return await operator.send(room, content, txn_id=number)
        except (OperatorError, aiohttp.ClientError, OSError):  # of which a timeout is one
            await asyncio.sleep(0.2)


async def test_nothing_is_lost_and_nothing_happens_twice(
    journald: Journald,  # first, so that its mounts go when no thread is left that has them
    synapse: Synapse,
    bot: Account,
    room: str,
    operator: Operator,
    new_operator: Callable[..., Awaitable[Operator]],
    directory: Path,
) -> None:
    """Every message has one final answer (I4), ran at most once (I3), and left what it says.

    Then the chain, its texts, recordings and tokens verify, and the journal has every record (I8).
    """
    seed = secrets.randbits(32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    operators = [operator, await new_operator()]
    await operator.invite(room, operators[1].user_id)
    await operators[1].join(room)
    with Host(
        directory / "host",
        homeserver=synapse.url,
        bot=bot,
        operators={each.user_id: each.master_key for each in operators},
        rooms=[room],
        timebox_s=300,  # nothing becomes stale while all of it is slow
    ) as host:
        await asyncio.to_thread(host.start)
        for each in operators:
            for other in (bot.user_id, *(one.user_id for one in operators)):
                await each.wait_member(room, other)
        talks = [asyncio.create_task(_talk(each, room, chance)) for each in operators]
        troubles = Scene(host=host, synapse=synapse, journald=journald).troubles()
        for _ in range(TROUBLES):
            await asyncio.sleep(chance.uniform(0, LONGEST_S))
            name, seconds = chance.choice([*troubles]), chance.uniform(0, LONGEST_S)
            print(f"{name}, {seconds:.1f} s")
            await asyncio.to_thread(troubles[name], seconds)
        for talk in talks:
            talk.cancel()
        sent = [await talk for talk in talks]
        denied = set[str]()
        for each, lines in zip(operators, sent, strict=True):
            for event, line in lines.items():
                answer = await each.answer_to(event, ANSWER_S)
                if answer.result["exit"] == 0:
                    assert line.partition("echo ")[2].partition(";")[0] in answer.body
                elif answer.result["verdict"] == "denied":
                    # The executor was stopped before it started, and says so however often asked;
                    # or had too many to do, when a slow machine brings all of them at once.
                    assert STOPPED.search(answer.result["reason"]) or (
                        answer.result["reason"] == f"{OPEN_RUNS} commands run or wait"
                    )
                    denied.add(event)
                else:
                    assert answer.result["reason"] in {"killed", "aborted"} or line == "status"
        for each in operators:  # a session answers in order: no other answer can be on its way
            await each.answer_to(await _send(each, room, "$ true"), ANSWER_S)
        for each, lines in zip(operators, sent, strict=True):
            assert {len(each.answers_to(event)) for event in lines} == {1}
        runs = Counter(record.event for record in host.records() if isinstance(record, Intent))
        assert set(runs.values()) == {1}
        refusals = {record.event for record in host.records() if isinstance(record, Refusal)}
        assert refusals <= denied - set(runs)
        assert set(runs) | refusals >= {
            event for lines in sent for event, line in lines.items() if line != "status"
        }
        host.agent.stop()
        host.executor.stop()
        _audit(host, directory / "journal.export")


def _audit(host: Host, export: Path) -> None:
    """Have the auditor's tool look at all of it, which must find nothing."""
    uid = str(host.uids.executor)
    journal = subprocess.run(
        ["journalctl", "--output=export", f"_UID={uid}"], capture_output=True, check=True
    )
    export.write_bytes(journal.stdout)
    for verb in (
        ("verify", "--key", host.executor_key),
        ("crosscheck", "--journal", str(export), "--uid", uid),
    ):
        done = host.audit(*verb)
        assert done.returncode == 0, done.stdout + done.stderr
