# SPDX-License-Identifier: MIT
"""docs/operations.md, typed as it stands there; each time a command is answered afterwards."""

import pytest

from tests.harness.operator import Operator, OperatorError
from tests.system.documented import enter, log_the_agent_in
from tests.system.machine import wait_until
from tests.system.pages import ROOT, blocks
from tests.system.site import ANSWER_SECONDS, UNITS, Site

EXECUTOR, AGENT = UNITS
PAGES_END = 8
"""Commands for which the last pages of the chain's files, which a full disk still has, don't do."""
STATES = "/etc/tibet-nc /var/lib/tibet-nc /var/lib/tibet-nc-agent"


async def answered(site: Site) -> int:
    """Have a command run, and return the number of its record."""
    (answer,) = await site.ask("$ echo works")
    assert answer.result["exit"] == 0
    return int(answer.result["number"])


async def test_backup_and_restore(site: Site) -> None:
    """The backup is enough, with settings lost or added, and over a state that went on since it."""
    machine = site.machine
    verify = "tibet-nc-audit verify --key $(cat /etc/tibet-nc/executor.pub)"
    async with await site.login() as operator:
        await operator.wait_member(site.room, site.bot.user_id)

        async def number() -> int:
            event = await operator.send_text(site.room, "$ echo works")
            return int((await operator.answer_to(event, ANSWER_SECONDS)).result["number"])

        before = await number()
        site.follow("Back up and restore", 0)
        await number()
        machine.run("systemctl", "kill", "--signal=KILL", *UNITS)
        machine.sh("rm -r /etc/tibet-nc/*; touch /etc/tibet-nc/newer.toml")
        unpacked, started = blocks("docs/operations.md", "Back up and restore")[1].split("# if", 1)
        enter(machine, unpacked, {})
        machine.sh("mv /var/lib/tibet-nc-agent/matrix /var/lib/tibet-nc-agent/matrix.lost")
        log_the_agent_in(machine, site.bot)
        enter(machine, started.split("\n", 1)[1], {})
        machine.wait_active(*UNITS)
        assert await number() > before
    machine.run("rm", "/etc/credstore.encrypted/tibet-nc.password")
    machine.sh(f"{verify}; {verify} --state /var/lib/tibet-nc.before")
    modes = machine.sh(f"stat -c '%a %U %n' {STATES}").splitlines()
    assert "newer.toml" not in machine.sh("ls /etc/tibet-nc")
    machine.sh("rm -r /var/lib/tibet-nc.before /var/lib/tibet-nc-agent.before /etc/tibet-nc.before")
    assert modes == [
        "755 root /etc/tibet-nc",
        "700 tibet-nc-executor /var/lib/tibet-nc",
        "700 tibet-nc-agent /var/lib/tibet-nc-agent",
    ]


@pytest.mark.parametrize(("number", "whose"), [(0, "executor"), (1, "agent")])
async def test_key_is_rotated(site: Site, number: int, whose: str) -> None:
    """Each signing key is replaced, and that one alone; with the first key all of it verifies."""
    machine = site.machine
    names = ("executor", "agent")
    before = {name: machine.sh(f"cat /etc/tibet-nc/{name}.pub") for name in names}
    site.follow("Keys", number)
    await answered(site)
    after = {name: machine.sh(f"cat /etc/tibet-nc/{name}.pub") for name in names}
    assert [name for name in names if before[name] != after[name]] == [whose]
    if whose == "executor":
        machine.sh(f"tibet-nc-audit verify --key {before[whose].strip()}")


async def test_credentials_key_is_replaced(dropping: Site) -> None:
    """The executor's key, on the disk encrypted only, outlives the key that encrypts it."""
    machine = dropping.machine
    sealed = "sha256sum /etc/credstore.encrypted/* /var/lib/systemd/credential.secret"
    with dropping.sealed_key():
        drop_in = ROOT / "deploy" / "dropins" / f"{EXECUTOR}.d" / "encrypted-key.conf"
        dropping.drop_in(EXECUTOR, drop_in.read_text())
        before = machine.sh(sealed).splitlines()
        dropping.follow("Keys", 2)
        assert set(machine.sh(sealed).splitlines()).isdisjoint(before)
        await answered(dropping)


async def test_sealed_key_is_rotated_and_lent(dropping: Site) -> None:
    """A key that only the unit can read is replaced, and signs an erasure; doctor knows it."""
    machine = dropping.machine
    sealed = "/etc/credstore.encrypted/tibet-nc.executor.key"
    first = machine.sh("cat /etc/tibet-nc/executor.pub")
    with dropping.sealed_key():
        drop_in = ROOT / "deploy" / "dropins" / f"{EXECUTOR}.d" / "encrypted-key.conf"
        dropping.drop_in(EXECUTOR, drop_in.read_text())
        machine.wait_active(*UNITS)
        dropping.follow("Keys", 3)
        machine.sh(f"systemd-creds decrypt --name=executor.key {sealed} - >/var/tmp/executor.key")
        number = await answered(dropping)
        told = machine.run("tibet-nc-executor", "doctor").stdout
        erasing = blocks("docs/operations.md", "Keys")[4]
        enter(machine, erasing.replace(" 42 ", f" {number} "), {})
    assert f"ok    key: {sealed} has it" in told
    assert machine.sh("cat /etc/tibet-nc/executor.pub") != first
    verified = machine.sh(f"tibet-nc-audit verify --key {first.strip()}")
    assert "1 [erased]" in verified


async def test_lost_key_begins_another_chain(site: Site) -> None:
    """Without its key a chain ends, another begins, and the old one verifies as before."""
    machine = site.machine
    public = machine.sh("cat /etc/tibet-nc/executor.pub")
    before = await answered(site)
    machine.sh("mv /var/lib/tibet-nc/executor.key /root/")
    machine.sh(f"systemctl restart {EXECUTOR}", check=False)
    machine.run("journalctl", "--sync")
    said = machine.sh(f"journalctl -u {EXECUTOR} -n 30 -o cat --no-pager")
    site.follow("Keys", 5)
    try:
        assert await answered(site) < before
        machine.sh("tibet-nc-audit verify --key $(cat /etc/tibet-nc/executor.pub)")
        machine.sh(f"tibet-nc-audit verify --state /var/lib/tibet-nc.old --key {public.strip()}")
    finally:
        machine.run("systemctl", "stop", *UNITS)
        machine.sh(
            "rm -r /var/lib/tibet-nc; mv /var/lib/tibet-nc.old /var/lib/tibet-nc\n"
            "mv /root/executor.key /var/lib/tibet-nc/"
        )
        machine.write("/etc/tibet-nc/executor.pub", public)
        site.start()
    assert "step CREDENTIALS" in said
    assert await answered(site) > before


async def test_agent_gets_another_device(site: Site) -> None:
    """A lost Matrix store is replaced by a new device that the same identity vouches for."""
    machine = site.machine
    before = machine.sh("cat /var/lib/tibet-nc-agent/matrix/login.json")
    (block,) = blocks("docs/operations.md", "When the agent's keys are lost")
    moved, started = block.split("# give the password", 1)
    enter(machine, moved, {})
    log_the_agent_in(machine, site.bot)
    enter(machine, started.split("\n", 1)[1], {})
    machine.wait_active(*UNITS)
    await answered(site)
    assert machine.sh("cat /var/lib/tibet-nc-agent/matrix/login.json") != before
    machine.run("rm", "/etc/credstore.encrypted/tibet-nc.password")


async def test_lost_device_is_signed_out(site: Site) -> None:
    """A device that another one signs out can say nothing any more, and the other one commands."""
    async with await site.login() as phone:
        await phone.wait_member(site.room, site.bot.user_id)
        answer = await phone.answer_to(await phone.send_text(site.room, "$ true"), ANSWER_SECONDS)
        site.homeserver.delete_device(site.person.user_id, phone.device_id)
        with pytest.raises(OperatorError):
            await phone.send_text(site.room, "$ touch /tmp/lost")
    assert answer.result["exit"] == 0
    (shown,) = await site.ask("$ ls /tmp")
    assert "lost" not in shown.body


async def test_operator_is_taken_out(site: Site) -> None:
    """I5: who was taken out runs nothing and is not even answered, until trusted again."""
    machine = site.machine
    async with await site.login() as operator:
        await operator.wait_member(site.room, site.bot.user_id)
        site.follow("A lost device, a stolen password", 0)
        try:
            event = await operator.send_text(site.room, "$ touch /tmp/never")
            log = f"journalctl -u {AGENT} -o cat --no-pager -n 50"
            wait_until(lambda: f"{event}: refused at sender" in machine.sh(log), "it is refused")
        finally:
            site.trust()
        (shown,) = await site.ask("$ ls /tmp")
        assert operator.answers_to(event) == []
    assert shown.result["exit"] == 0
    assert "never" not in shown.body


async def test_stolen_password(site: Site) -> None:
    """I5: a thief's new device commands nothing, reads no answer, and is told and on record."""
    machine, url = site.machine, site.homeserver.url
    name, password = site.person.user_id, site.person.password
    async with (
        await site.login() as operator,
        await Operator.login(url, name, password, signed=False) as thief,
    ):
        await operator.wait(lambda seen: thief.device_id in seen.body, ANSWER_SECONDS)
        await thief.wait_member(site.room, site.bot.user_id)
        event = await thief.send_text(site.room, "$ echo stolen")
        answer = await operator.answer_to(event, ANSWER_SECONDS)
        seen = await thief.wait(lambda seen: seen.event_id == answer.event_id)
        await operator.answer_to(await operator.send_text(site.room, "$ true"), ANSWER_SECONDS)
    assert answer.result["verdict"] == "refused"
    assert "not signed" in answer.body
    assert not seen.decrypted
    machine.run("journalctl", "--sync")
    commands = blocks("docs/operations.md", "A lost device, a stolen password")[1].splitlines()
    said = [machine.sh(command.replace("@you:example.org", name)) for command in commands]
    assert all("not signed" in one for one in said), said
    assert f"not signed by {name}: {thief.device_id}" in said[-1]  # of itself, not of what it sent


async def test_secret_is_erased(site: Site) -> None:
    """By the number that the room shows text and output are gone from the state directory."""
    machine = site.machine
    (shown,) = await site.ask("$ echo hunter2 | tr a-z A-Z")
    (erase,) = blocks("docs/operations.md", "A secret was typed")
    looked = "grep -rilF hunter2 /var/lib/tibet-nc /var/lib/tibet-nc-agent"
    assert "payloads" in machine.sh(looked)
    enter(machine, erase.replace(" 42 ", f" {shown.result['number']} "), {})
    assert machine.sh(looked, check=False) == ""
    (listed,) = blocks("docs/operations.md", "What a warning means")
    machine.run("journalctl", "--sync")
    assert f"of #{shown.result['number']}: a password, typed by mistake" in machine.sh(listed)


async def test_disk_full(site: Site) -> None:
    """I7: on a full disk nothing runs and the room is told why; with room again, it serves."""
    machine = site.machine
    machine.run("systemctl", "stop", *UNITS)
    machine.sh(
        "size=$(($(du -sm /var/lib/tibet-nc | cut -f 1) + 8))\n"
        "mkdir /root/small; mount -t tmpfs -o size=${size}M,mode=700 none /root/small\n"
        "cp -a /var/lib/tibet-nc/. /root/small; chown tibet-nc-executor: /root/small\n"
        "mount --bind /root/small /var/lib/tibet-nc"
    )
    site.start()
    try:
        await answered(site)
        machine.sh("cat /dev/zero >/root/small/fill", check=False)
        *_, refused = await site.ask(*(f"$ touch /tmp/ran-{n}" for n in range(PAGES_END)))
        doctor = machine.run("tibet-nc-executor", "doctor", check=False)
        machine.sh("rm /root/small/fill")
        (shown,) = await site.ask("$ ls /tmp")
        number = await answered(site)
    finally:
        machine.run("systemctl", "stop", *UNITS)
        machine.sh(
            "umount /var/lib/tibet-nc; rm -f /root/small/fill\n"
            "cp -a /root/small/. /var/lib/tibet-nc; umount /root/small; rmdir /root/small"
        )
        site.start()
    assert refused.result.get("exit") is None
    assert "record" in refused.body
    assert doctor.returncode == 1
    assert "FAIL  disk: " in doctor.stdout
    assert f"ran-{PAGES_END - 1}" not in shown.body
    assert await answered(site) > number


async def test_homeserver_moves(site: Site) -> None:
    """The agent goes on with the same device at the homeserver's other address."""
    machine = site.machine
    device = machine.sh("cat /var/lib/tibet-nc-agent/matrix/login.json")
    machine.sh("cp -p /etc/tibet-nc/agent.toml /root/agent.toml")
    site.follow("The homeserver moves")
    try:
        assert "localhost" in machine.sh("grep ^homeserver /etc/tibet-nc/agent.toml")
        await answered(site)
        assert machine.sh("cat /var/lib/tibet-nc-agent/matrix/login.json") == device
    finally:
        machine.sh(f"cat /root/agent.toml >/etc/tibet-nc/agent.toml; systemctl restart {AGENT}")
        machine.wait_active(*UNITS)
