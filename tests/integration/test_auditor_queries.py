# SPDX-License-Identifier: MIT
"""Each query of docs/auditor.md finds in a real journal what it is for, and nothing else."""

import asyncio
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

from tests.executor.rig import OPERATOR, ROOM, SECONDS, Client, Executor, whole_chain
from tests.harness.journald import Journald, private_journald
from tibet_nc_protocol.messages import Finished, Recorded, Refuse, Started
from tibet_nc_protocol.records import RECORDS, SecurityEvent, digest
from tibet_nc_protocol.terms import Stage

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to start journald")

PAGE: Final = (Path(__file__).parents[2] / "docs" / "auditor.md").read_text()
QUERIES: Final = {
    question: query.replace("\\|", "|")
    for question, query in re.findall(r"^\| ([A-Z].*\??) \| `(journalctl .*)` \|$", PAGE, re.M)
}
EVENT: Final = "$asked-for:example.org"


@dataclass(frozen=True, kw_only=True)
class Past:
    """What happened, and whose journal tells it."""

    executor: Executor
    run: str


@pytest.fixture(scope="module")
def past() -> Iterator[Past]:
    """Make an executor live through everything that the queries ask about."""
    with (
        private_journald() as journald,
        tempfile.TemporaryDirectory(prefix="tibet-nc-") as name,
    ):
        Path(name).chmod(0o755)
        executor = Executor(Path(name))
        try:
            yield asyncio.run(_live(executor, journald))
        finally:
            executor.stop()


async def _live(executor: Executor, journald: Journald) -> Past:
    executor.start()
    client = await Client.connect(executor)
    finished = await client.run("exit 3", EVENT)
    assert isinstance(finished, Finished)
    await client.send(
        Refuse(
            request=client.number(),
            room=ROOM,
            event="$refused:example.org",
            sender="@mallory:example.org",
            device=None,
            command="reboot",
            stage=Stage.SENDER,
            family=None,
            reason="not an operator",
        )
    )
    assert isinstance(await client.receive(), Recorded)
    await client.send(client.request("sleep 60"))
    assert isinstance(await client.receive(), Started)
    await client.close()
    await _in_journal(executor, journald)  # what a killed one has not sent yet, nobody sends
    executor.kill()
    executor.start()
    executor.verb("erase", str(finished.number), "--reason", "a secret")
    await _in_journal(executor, journald)
    journald.stop()
    client = await Client.connect(executor)
    await client.run("true")
    journald.start()
    await client.run("true")
    await client.close()
    end = time.monotonic() + SECONDS
    while not any(
        getattr(record, "what", None) is SecurityEvent.JOURNAL for record in whole_chain(executor)
    ):
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
    executor.stop()
    executor.verb("identity", "--rotate")
    executor.start()
    subprocess.run(
        ["systemd-cat", "-t", "tibet-nc-executor", "echo", "I am the executor"], check=True
    )
    return Past(executor=executor, run=finished.run)


async def _in_journal(executor: Executor, journald: Journald) -> None:
    end = time.monotonic() + SECONDS
    heads = [digest(RECORDS.encode(record)) for record in whole_chain(executor)]
    while not set(heads) <= {entry.get("TIBET_NC_HEAD") for entry in journald.entries()}:
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


def _ask(past: Past, question: str) -> list[str]:
    """Run the query as it stands on the page, for this host; return its lines."""
    uid = str(past.executor.uids.executor)
    query = (
        QUERIES[question]
        .replace("$(id -u tibet-nc-executor)", uid)
        .replace("@alice:example.org", OPERATOR)
        .replace("6306e0c63f7b6458639a156ee8e4dca3", past.run)
        .replace("$event2", EVENT)
    )
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; E=_UID={uid}; {query}"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"SYSTEMD_PAGER": "cat", "SYSTEMD_COLORS": "0"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_there_are_ten_and_more() -> None:
    """The page answers at least ten questions; each has an expectation below."""
    assert len(QUERIES) >= 10
    assert set(QUERIES) == set(EXPECTED)


EXPECTED: Final = {
    "Everything, with explanations": "chain of did:jis:",
    "Which commands were begun?": "runs a command in",
    "How did they end?": "\t",
    "What did one operator do?": OPERATOR,
    "What was refused?": "@mallory:example.org was refused at sender",
    "What was suspicious, or erased?": r"security \((erased|journal|peer|retention)\)",
    "Which commands were cut off?": "was aborted",
    "All of one command": "command",
    "Was a message run, or refused?": "runs a command",
    "Is anything missing that the executor knows of?": "journald did not take",
    "Was the key changed?": "goes on with the key of",
    "Did a new chain begin?": "begins",
    "Did anybody else claim to be the executor?": "I am the executor",
}


@pytest.mark.parametrize("question", EXPECTED)
def test_each_question_is_answered(past: Past, question: str) -> None:
    """Every line of an answer is of what was asked for, and there is one."""
    lines = _ask(past, question)
    found = [line for line in lines if re.search(EXPECTED[question], line)]
    assert found, lines
    if question not in {
        "Everything, with explanations",
        "Did anybody else claim to be the executor?",
    }:
        assert found == [line for line in lines if line and not line.startswith("--")]


def test_a_command_has_its_two_entries(past: Past) -> None:
    """All of one command is its intent and its outcome."""
    lines = _ask(past, "All of one command")
    assert [line.split("]: ")[1].split()[1] for line in lines] == [OPERATOR, "command"]


def test_endings_are_numbers_and_statuses(past: Past) -> None:
    """The list of endings has the outcome's number and the exit status."""
    statuses = [line.split("\t")[1] for line in _ask(past, "How did they end?")]
    assert statuses[0] == "3"
    assert set(statuses[1:]) == {"0"}
