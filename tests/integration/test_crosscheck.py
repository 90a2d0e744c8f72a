# SPDX-License-Identifier: MIT
"""The chain against a real journal and a real room: what a running system leaves agrees.

The room is exported by the stack that Element is built on, as Element exports it.
"""

import asyncio
import json
import os
import secrets
import subprocess
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.harness import Synapse
from tests.harness.element import ElementOperator
from tests.harness.host import Host
from tests.harness.journald import Journald
from tibet_nc_protocol.layout import CHAIN

pytestmark = [
    pytest.mark.skipif(os.getuid() != 0, reason="needs root, to start journald and separate uids"),
    pytest.mark.asyncio(loop_scope="module"),
]


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What a run has left: its host, now stopped, its journal in both forms, its room."""

    host: Host
    agent: str
    export: Path
    lines: Path
    room: Path

    def crosscheck(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Compare the chain with something."""
        with_journal = not {"--journal", "--live"}.isdisjoint(arguments)
        uid = ("--uid", str(self.host.uids.executor)) if with_journal else ()
        return self.host.audit("crosscheck", *uid, *map(str, arguments))

    def found(self, *arguments: str | Path) -> list[dict[str, Any]]:
        """Return what a comparison finds."""
        report = json.loads(self.crosscheck("--json", *arguments).stdout)
        return [found for one in report["comparisons"] for found in one["discrepancies"]]


def journal_since(cursor: str, form: str) -> bytes:
    """Return all that the journal has since a place in it, by every uid."""
    subprocess.run(["journalctl", "--sync"], capture_output=True, check=False)
    return subprocess.run(
        ["journalctl", f"--output={form}", "--no-pager", f"--after-cursor={cursor}"],
        capture_output=True,
        check=True,
    ).stdout


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kept(synapse: Synapse, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kept]:
    """Run commands, have one refused, one edited, one in a reply, and keep what is left."""
    files = tmp_path_factory.mktemp("kept")
    bot, account = (synapse.register(f"{role}-{secrets.token_hex(6)}") for role in ("bot", "op"))
    with Journald() as journald, tempfile.TemporaryDirectory(prefix="tibet-nc-") as name:
        Path(name).chmod(0o755)
        subprocess.run(["systemd-cat", "true"], check=True)
        cursor = journald.entries("-n", "1")[-1]["__CURSOR"]
        async with await ElementOperator.login(
            synapse.url, account.user_id, account.password
        ) as operator:
            master_key = await operator.cross_sign()
            room = await operator.create_room(invite=[bot.user_id])
            host = Host(
                Path(name) / "host",
                homeserver=synapse.url,
                bot=bot,
                operators={operator.user_id: master_key},
                rooms=[room],
            )
            try:
                await asyncio.to_thread(host.start)
                await operator.wait_member(room, bot.user_id)
                for command in ("$ echo hello; exit 3", "$ reboot", "$ seq 1 3", "status"):
                    await operator.answer_to(await operator.send_text(room, command))
                first = await operator.send_text(room, "$ echo first")
                await operator.answer_to(first)
                edit = await operator.edit(room, first, "$ echo second")
                await operator.answer_to(edit)
                reply = {
                    "msgtype": "m.text",
                    "body": f"> <{bot.user_id}> first\n> \n> exit 0\n\n$ echo third",
                    "m.relates_to": {"m.in_reply_to": {"event_id": first}},
                }
                await operator.answer_to(await operator.send(room, reply))
                exported = await operator.export_room(room)
            finally:
                await asyncio.to_thread(host.close)
        (files / "room.json").write_text(json.dumps(exported, indent=2))
        (files / "journal.export").write_bytes(journal_since(cursor, "export"))
        (files / "journal.json").write_bytes(journal_since(cursor, "json"))
        yield Kept(
            host=host,
            agent=bot.user_id,
            export=files / "journal.export",
            lines=files / "journal.json",
            room=files / "room.json",
        )


async def test_everything_agrees(kept: Kept) -> None:
    """What a running system put into the journal and the room agrees with its chain."""
    done = kept.crosscheck("--journal", kept.export, "--journal", kept.lines, "--room", kept.room)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout.count("GOOD") == 3
    assert f"answers are those of {kept.agent}" in done.stdout
    assert "commands edited after they ran, and the edit refused: 1" in done.stdout
    assert "compared     0" not in done.stdout


async def test_the_hosts_own_journal(kept: Kept) -> None:
    """Journalctl is asked on the spot; entries of earlier chains under that uid are told apart."""
    done = kept.crosscheck("--live", "--json")
    assert done.stderr == ""
    (comparison,) = json.loads(done.stdout)["comparisons"]
    assert comparison["compared"] == len(lines_of(kept.host))
    reasons = [found["reason"] for found in comparison["discrepancies"]]
    assert all("of another chain, before this one" in reason for reason in reasons)


async def test_a_shortened_chain_is_told_by_both(kept: Kept, tmp_path: Path) -> None:
    """Journal and room each have records and results that a cut chain lacks (I8)."""
    segment = next((kept.host.state / CHAIN).iterdir())
    whole = segment.read_bytes()
    lines = whole.splitlines(keepends=True)
    outcome = next(n for n, line in enumerate(lines) if b'"kind":"outcome"' in line)
    try:
        segment.write_bytes(b"".join(lines[: outcome + 1]))
        journal = kept.found("--journal", kept.export)
        assert {found["kind"] for found in journal} == {"extra"}
        assert journal[0]["record"] == outcome + 1
        room = kept.found("--room", kept.room)
        assert {found["kind"] for found in room} == {"extra"}
        assert min(found["record"] for found in room) > outcome
    finally:
        segment.write_bytes(whole)
    assert kept.crosscheck("--room", kept.room, "--journal", kept.lines).returncode == 0
    assert tmp_path.is_dir()


async def test_a_forged_answer_is_told(kept: Kept, tmp_path: Path) -> None:
    """An answer that says another status, output or head than the record is named with both."""
    plain = json.loads(kept.room.read_text())
    blocks = [
        message["content"]["nc.tibet.result"]
        for message in plain["messages"]
        if "nc.tibet.result" in message["content"]
    ]
    ran = next(block for block in blocks if block["final"] and block["verdict"] == "ran")
    for field, value in (("exit", 0), ("head", "0" * 64), ("output_sha256", "0" * 64)):
        before, ran[field] = ran[field], value
        path = tmp_path / "forged.json"
        path.write_text(json.dumps(plain))
        (found,) = kept.found("--room", path)
        assert (found["kind"], found["record"]) == ("differs", ran["number"])
        assert found["reason"] == f"the answer says another {field}"
        ran[field] = before


async def test_a_process_of_another_uid_forges_nothing(kept: Kept, tmp_path: Path) -> None:
    """Entries that another process made up, by journald's own protocol, are no evidence (I8)."""
    subprocess.run(["systemd-cat", "true"], check=True)
    cursor = Journald.entries("-n", "1")[-1]["__CURSOR"]
    made_up = "MESSAGE=forged\nSYSLOG_IDENTIFIER=tibet-nc-executor\nTIBET_NC_SEQ=1\nTIBET_NC_HEAD="
    subprocess.run(["logger", "--journald"], input=f"{made_up}{'0' * 64}\n", text=True, check=True)
    path = tmp_path / "journal"
    path.write_bytes(kept.export.read_bytes() + journal_since(cursor, "export"))
    done = kept.crosscheck("--journal", path)
    assert done.returncode == 0
    assert "others claim to be an executor, and are no evidence: " in done.stdout
    assert "uid 0 (1)" in done.stdout


def lines_of(host: Host) -> list[bytes]:
    """Return the lines of a host's chain."""
    return [
        line
        for path in sorted((host.state / CHAIN).iterdir())
        for line in path.read_bytes().splitlines()
    ]
