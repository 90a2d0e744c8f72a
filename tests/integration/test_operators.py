# SPDX-License-Identifier: MIT
"""Pinned operators, from the command line to the room: trust, untrust, and what holds when (I5)."""

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.harness import Account, Operator, Synapse, terminal
from tests.harness.host import Host
from tests.redirected import FULL, redirected
from tests.serving import meeting
from tibet_nc_agent.fingerprint import spaced
from tibet_nc_protocol.records import Refusal

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to separate the uids")

type NewOperator = Callable[..., Awaitable[Operator]]


@pytest.fixture
def host(synapse: Synapse, bot: Account, room: str, directory: Path) -> Iterator[Host]:
    """Make a host, not started, on which nobody is pinned."""
    with Host(
        directory / "host", homeserver=synapse.url, bot=bot, operators={}, rooms=[room]
    ) as made:
        made.pins.unlink()
        yield made


async def trust(host: Host, user: str, key: str) -> subprocess.CompletedProcess[str]:
    """Pin somebody as a sysadmin would with a key in hand."""
    return await asyncio.to_thread(host.root, "trust", user, "--fingerprint", key)


def typed(host: Host, user: str, answer: str) -> tuple[int, str]:
    """Run ``trust`` on a terminal and type an answer; return its exit status and what it showed."""
    return terminal.typed([*host.program("agent"), "trust", user], {"Type 'yes'": answer})


async def test_from_nobody_to_an_operator_and_back(
    host: Host, operator: Operator, bot: Account, room: str
) -> None:
    """Without a restart: the invitation waits for the pin, then commands run, then none does."""
    await asyncio.to_thread(host.start)
    await asyncio.to_thread(host.wait_log, f"tibet-nc-agent trust {operator.user_id}")
    assert bot.user_id not in operator.client.rooms[room].users or (
        operator.client.rooms[room].users[bot.user_id].invited
    )
    done = await trust(host, operator.user_id, spaced(operator.master_key))
    assert (done.returncode, done.stderr) == (0, "")
    assert host.pins.stat().st_uid == 0
    await operator.wait_member(room, bot.user_id)
    answer = await operator.answer_to(await operator.send_text(room, "$ echo pinned"))
    assert answer.body.startswith("pinned\n")
    done = await asyncio.to_thread(host.root, "untrust", operator.user_id)
    assert done.returncode == 0
    sent = await operator.send_text(room, "$ echo again")
    await asyncio.to_thread(host.wait_log, f"{sent}: refused at sender (stranger)")


async def test_trust_asks_on_a_terminal(host: Host, operator: Operator) -> None:
    """The key is shown in groups of four, only ``yes`` pins it, and the list shows it (I5)."""
    status, shown = await asyncio.to_thread(typed, host, operator.user_id, "y")
    assert (status, "nobody was pinned" in shown) == (1, True)
    assert not host.pins.exists()
    assert spaced(operator.master_key) in shown
    assert operator.device_id in shown
    status, shown = await asyncio.to_thread(typed, host, operator.user_id, "yes")
    assert status == 0, shown
    listed = await asyncio.to_thread(host.root, "operators", "--json")
    (entry,) = json.loads(listed.stdout)
    assert (entry["user"], entry["master_key"], entry["how"]) == (
        operator.user_id,
        operator.master_key,
        "compared",
    )
    listed = await asyncio.to_thread(host.root, "operators")
    assert spaced(operator.master_key) in listed.stdout


async def test_trust_shows_that_a_key_is_another_one(host: Host, operator: Operator) -> None:
    """A pin is replaced only after it was said that the identity is not the pinned one."""
    first = operator.master_key
    assert (await trust(host, operator.user_id, first)).returncode == 0
    await operator.reset_identity()
    status, shown = await asyncio.to_thread(typed, host, operator.user_id, "no")
    assert status == 1
    assert "NOT the key that was pinned" in shown
    assert spaced(first) in shown
    assert spaced(operator.master_key) in shown


async def test_trust_refuses(host: Host, operator: Operator, new_operator: NewOperator) -> None:
    """No terminal and no key, another key, no key, nobody's name: nothing is pinned, and why."""
    other = (await new_operator()).master_key
    for arguments, why in (
        ([operator.user_id], "--fingerprint"),
        ([operator.user_id, "--fingerprint", other], "another master key"),
        ([operator.user_id, "--fingerprint", "abcd"], "43 characters"),
        (["@none:localhost", "--fingerprint", other], "no usable master key"),
    ):
        done = await asyncio.to_thread(host.root, "trust", *arguments)
        assert (done.returncode, why in done.stderr) == (1, True), (arguments, done.stderr)
        assert done.stderr.startswith("tibet-nc-agent: ")
    for verb in ("trust", "untrust"):
        done = await asyncio.to_thread(host.root, verb, "operator")
        assert (done.returncode, "is no Matrix user" in done.stderr) == (2, True)
    assert not host.pins.exists()


async def test_what_was_pinned_stays_pinned(host: Host, operator: Operator) -> None:
    """Somebody is pinned, and unpinned, although nobody can be told."""
    where, why = FULL
    said = f"tibet-nc-agent: standard output: {why}\n"
    for arguments, pinned in (
        (["trust", operator.user_id, "--fingerprint", operator.master_key], 1),
        (["untrust", operator.user_id], 0),
    ):
        argv = [*host.program("agent"), *arguments]
        done = await asyncio.to_thread(redirected, where, argv)
        assert (done.returncode, done.stderr) == (2, said)
        listed = await asyncio.to_thread(host.root, "operators", "--json")
        assert len(json.loads(listed.stdout)) == pinned


async def test_only_root_pins(host: Host, operator: Operator) -> None:
    """The agent's own uid, which reads the network, can pin nobody (I2, I5)."""
    key = operator.master_key
    arguments = ("trust", operator.user_id, "--fingerprint", key)
    done = await asyncio.to_thread(host.admin, "agent", *arguments)
    assert done.returncode == 1
    assert "run this as root" in done.stderr
    assert not host.pins.exists()


def owner_of(port: int, other: int) -> int:
    """Return whose the socket on a port of this machine is, as the kernel says.

    It leads to the ``other`` port: what has ended may still have this one, and is nobody's.
    """
    ends = [f":{port:04X}", f":{other:04X}"]
    sockets = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (uid,) = [int(each[7]) for each in sockets if [each[1][-5:], each[2][-5:]] == ends]
    return uid


@pytest.mark.parametrize("verb", ["trust", "login", "doctor"])
async def test_root_itself_asks_no_homeserver(
    bot: Account, operator: Operator, room: str, directory: Path, verb: str
) -> None:
    """Whatever root types, what reads the network is the agent's own uid (I2)."""
    owners: set[int] = set()

    def look(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ports = (writer.get_extra_info(name)[1] for name in ("peername", "sockname"))
        owners.add(owner_of(*ports))
        writer.close()

    arguments = [operator.user_id, "--fingerprint", operator.master_key] if verb == "trust" else []
    async with meeting(look) as port:
        url = f"http://127.0.0.1:{port}"
        with Host(directory / "host", homeserver=url, bot=bot, operators={}, rooms=[room]) as host:
            done = await asyncio.to_thread(host.root, verb, *arguments)
    assert done.returncode != 0
    assert owners == {host.uids.agent}, done


async def test_the_unpinned_are_told_the_command(
    host: Host, operator: Operator, new_operator: NewOperator, bot: Account, room: str
) -> None:
    """Who is named in the settings but not pinned gets one answer: what to type on the host.

    All that he says is recorded, and he isn't told again: he might answer every answer.
    """
    newcomer = await new_operator()
    host.allow(operator.user_id, newcomer.user_id)
    host.pin({operator.user_id: operator.master_key})
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    await operator.invite(room, newcomer.user_id)
    await newcomer.join(room)
    await newcomer.wait_member(room, bot.user_id)
    sent = await newcomer.send_text(room, "$ id")
    answer = await newcomer.answer_to(sent)
    assert f"tibet-nc-agent trust {newcomer.user_id}" in answer.body
    assert answer.result["stage"] == "sender"
    again = await newcomer.send_text(room, "$ id again")
    await asyncio.to_thread(host.wait_log, f"{again}: refused at sender (unpinned)")
    # What is answered to others stays theirs.
    later = await operator.answer_to(await operator.send_text(room, "$ echo secret"))
    assert later.body.startswith("secret\n")
    unread = await newcomer.wait(lambda seen: seen.event_id == later.event_id)
    assert not unread.decrypted
    assert (await trust(host, newcomer.user_id, newcomer.master_key)).returncode == 0
    answer = await newcomer.answer_to(await newcomer.send_text(room, "$ echo welcome"))
    assert answer.body.startswith("welcome\n")
    assert newcomer.answers_to(again) == []
    assert [record.event for record in refusals(host)] == [sent, again]


def refusals(host: Host) -> list[Refusal]:
    """Return what was refused."""
    return [record for record in host.records() if isinstance(record, Refusal)]


async def test_another_identity_pauses_until_pinned_anew(
    host: Host, operator: Operator, new_operator: NewOperator, bot: Account, room: str
) -> None:
    """An operator with a new identity is paused, told so once, recorded, and back after trust."""
    colleague = await new_operator()
    host.pin({each.user_id: each.master_key for each in (operator, colleague)})
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    await operator.invite(room, colleague.user_id)
    await colleague.join(room)
    await colleague.wait_member(room, bot.user_id)
    assert (await operator.answer_to(await operator.send_text(room, "$ true"))).result["exit"] == 0

    await operator.reset_identity()
    for reader in (operator, colleague):
        notice = await reader.wait(lambda seen: "is paused" in seen.body)
        assert f"tibet-nc-agent trust {operator.user_id}" in notice.body
        assert spaced(operator.master_key) in notice.body
    refused = await operator.answer_to(await operator.send_text(room, "$ echo no"))
    assert refused.result["family"] == "identity"
    await asyncio.to_thread(host.agent.stop)
    await asyncio.to_thread(host.start_agent)
    refused = await operator.answer_to(await operator.send_text(room, "$ echo still no"))
    assert refused.result["family"] == "identity"
    answer = await colleague.answer_to(await colleague.send_text(room, "$ echo colleague"))
    assert answer.body.startswith("colleague\n")
    (record,) = host.alerts("identity")
    assert record.sender == operator.user_id
    assert len([seen for seen in colleague.events if "is paused" in seen.body]) == 1

    assert (await trust(host, operator.user_id, operator.master_key)).returncode == 0
    answer = await operator.answer_to(await operator.send_text(room, "$ echo back"))
    assert answer.body.startswith("back\n")


async def test_an_invitation_of_who_is_paused_waits(
    host: Host, operator: Operator, bot: Account, room: str
) -> None:
    """An operator who is paused gets the agent into no room, until pinned anew."""
    host.pin({operator.user_id: operator.master_key})
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    assert (await operator.answer_to(await operator.send_text(room, "$ true"))).result["exit"] == 0

    await operator.reset_identity()
    await operator.wait(lambda seen: "is paused" in seen.body)
    await operator.kick(room, bot.user_id)
    await asyncio.to_thread(host.wait_log, "the agent is no longer in this room")
    await operator.invite(room, bot.user_id)
    told = f"an invitation to {room} by {operator.user_id} waits"
    await asyncio.to_thread(host.wait_log, told)
    assert (await trust(host, operator.user_id, operator.master_key)).returncode == 0
    await operator.wait_member(room, bot.user_id)
    answer = await operator.answer_to(await operator.send_text(room, "$ echo back"))
    assert answer.body.startswith("back\n")


async def test_a_new_unsigned_device_is_told_once(
    host: Host, operator: Operator, new_operator: NewOperator, bot: Account, room: str
) -> None:
    """A device that appears on an operator's account is told in the room, once, and recorded."""
    host.pin({operator.user_id: operator.master_key})
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    rogue = await new_operator(operator, signed=False)
    notice = await operator.wait(lambda seen: rogue.device_id in seen.body)
    assert "nothing that it sends is run" in notice.body
    await asyncio.to_thread(host.agent.stop)
    await asyncio.to_thread(host.start_agent)
    await operator.answer_to(await operator.send_text(room, "$ true"))
    second = await new_operator(operator, signed=False)
    await operator.wait(lambda seen: second.device_id in seen.body)
    assert len([seen for seen in operator.events if rogue.device_id in seen.body]) == 1
    assert [rogue.device_id in each.detail for each in host.alerts("device")] == [True, False]


async def test_a_new_unsigned_device_is_told_by_the_next_agent_if_this_one_could_not(
    host: Host, operator: Operator, new_operator: NewOperator, bot: Account, room: str
) -> None:
    """What was seen while the executor was away is recorded and told, although the agent ended."""
    host.pin({operator.user_id: operator.master_key})
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    await asyncio.to_thread(host.executor.stop)
    rogue = await new_operator(operator, signed=False)
    await asyncio.to_thread(host.wait_log, f"has not signed: {rogue.device_id}")
    await asyncio.to_thread(host.agent.stop)
    await asyncio.to_thread(host.start)
    await operator.wait(lambda seen: rogue.device_id in seen.body)
    assert [rogue.device_id in each.detail for each in host.alerts("device")] == [True]


async def test_an_unsigned_device_commands_nothing(
    host: Host, operator: Operator, new_operator: NewOperator, bot: Account, room: str
) -> None:
    """A device that was added to an operator's account runs nothing until the operator signs it."""
    host.pin({operator.user_id: operator.master_key})
    await asyncio.to_thread(host.start)
    await operator.wait_member(room, bot.user_id)
    rogue = await new_operator(operator, signed=False)
    await rogue.wait_member(room, bot.user_id)
    sent = await rogue.send_text(room, "$ id")
    answer = await operator.answer_to(sent)
    assert "not signed" in answer.body
    assert answer.result["verdict"] == "refused"
    assert not (await rogue.wait(lambda seen: seen.event_id == answer.event_id)).decrypted
    await rogue.sign_device()
    answer = await rogue.answer_to(await rogue.send_text(room, "$ echo signed"))
    assert answer.body.startswith("signed\n")


async def test_the_doctor_names_what_is_wrong_with_operators(
    host: Host, operator: Operator, new_operator: NewOperator, room: str
) -> None:
    """Nobody pinned, an invitation that waits, a stranger, a pause, a bad file: all have a fix."""

    async def failures() -> dict[str, str]:
        done = await asyncio.to_thread(host.admin, "agent", "doctor", "--json")
        checks = json.loads(done.stdout)
        assert done.returncode == (0 if all(check["ok"] for check in checks) else 1)
        return {check["name"]: check["fix"] for check in checks if not check["ok"]}

    await asyncio.to_thread(host.start)
    assert await failures() == {
        "operators": "tibet-nc-agent trust @you:server",
        f"room {room}": f"tibet-nc-agent trust {operator.user_id}",
    }
    host.pin({operator.user_id: operator.master_key})
    assert await failures() == {}  # it waits until the agent has followed the invitation
    mallory = await new_operator()
    await operator.invite(room, mallory.user_id)
    assert "remove them" in (await failures())[f"room {room}"]
    await operator.kick(room, mallory.user_id)
    await operator.reset_identity()
    await asyncio.to_thread(host.wait_log, f"{operator.user_id} is paused")
    assert f"trust {operator.user_id}" in (await failures())[f"operator {operator.user_id}"]
    host.pins.chmod(0o666)
    assert "chmod 644" in (await failures())["operators"]
