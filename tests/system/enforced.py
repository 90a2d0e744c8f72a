# SPDX-License-Identifier: MIT
"""What a container can't show: the kernel holds commands to the limits of the real units.

``python -m tests.system.enforced PAGE`` installs tibet-nc in a container as every system test does,
boots what came out in QEMU, lets operators run bombs in the room, and writes what was asked and
answered into PAGE. It fails at the first thing that isn't held, and leaves the page alone.

The bombs are small C programs: Python's processes would fill the memory before they are many.
"""

import asyncio
import contextlib
import datetime
import re
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.harness.operator import Operator, Seen, new_identity
from tests.harness.synapse import Account, Synapse
from tests.system.base import CACHE, prepare_kernel
from tests.system.machine import Machine, leave_network
from tests.system.pages import ROOT
from tests.system.site import ENV_FILE, Site, environment, log_in, make_room
from tests.system.virtual import GATEWAY, VirtualMachine, make_bootable
from tibet_nc_agent.crosssign import CrossSigning, Use

MEMORY_MIB: Final = 2048
PROCESSES: Final = 1200
COMMAND_MIB: Final = 640
TAKEN_MIB: Final = 560
SETTINGS: Final = (f"processes = {PROCESSES}", f"memory_bytes = {COMMAND_MIB * 1024**2}")
"""Two commands at their limits are over the unit's: TasksMax=2048 and MemoryMax=50%.

So are two that take TAKEN_MIB each, of which neither is at its own.
"""

BOOT_SECONDS: Final = 600.0
ANSWER_SECONDS: Final = 120.0
MEANWHILE: Final = 5
REFUSED_AT_LAST: Final = 60

NARROWED: Final = "tibet-nc-agent.service.d/homeserver-only.conf"
REACH: Final = """\
[Unit]
After=network-online.target
Wants=network-online.target
[Service]
ExecStart=/usr/bin/curl --silent --max-time 20 --output /dev/null {url}
Type=oneshot
[Install]
WantedBy=multi-user.target
"""
"""Reaches for the homeserver past its stand-in on the loopback, and is narrowed or not."""

UNIT: Final = "/sys/fs/cgroup/system.slice/tibet-nc-executor.service"

BOMBS: Final = {
    "fork-bomb": """\
#include <unistd.h>
int main(void) { for (;;) fork(); }
""",
    "memory-bomb": """\
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
int main(void) {
    for (int n = 0; n < 4; n++)
        if (fork() == 0)
            for (char *p;;) if ((p = malloc(1 << 20))) memset(p, 1, 1 << 20);
    for (int status; wait(&status) > 0;)
        if (WIFSIGNALED(status)) printf("a child was ended by signal %d\\n", WTERMSIG(status));
    return 0;
}
""",
    "memory-taker": f"""\
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
int main(void) {{
    for (int n = 0; n < {TAKEN_MIB}; n++) memset(malloc(1 << 20), 1, 1 << 20);
    pause();
}}
""",
    "left-behind": """\
#include <signal.h>
#include <unistd.h>
int main(void) {
    signal(SIGTERM, SIG_IGN), signal(SIGHUP, SIG_IGN), signal(SIGINT, SIG_IGN);
    for (int n = 0; n < 8; n++)
        if (fork() == 0) {
            setsid();
            for (int fd = 0; fd < 3; fd++) close(fd);
            for (;;) pause();
        }
    return 0;
}
""",
}


class NotHeldError(Exception):
    """The kernel did not hold something to its limit."""


@dataclass(kw_only=True)
class Talk:
    """The room with its three operators, and what was said, as the page shows it.

    Two of them run what is bad, and the third looks; one operator's commands wait for each other.
    """

    room: str
    operators: dict[str, Operator]
    lines: list[str] = field(default_factory=list)

    async def send(self, who: str, text: str) -> str:
        """Have an operator say something; return the event."""
        self.lines.append(f"{who:<6} {text}")
        return await self.operators[who].send_text(self.room, text)

    async def answer(self, who: str, event: str) -> Seen:
        """Return the answer to what an operator said."""
        seen = await self.operators[who].answer_to(event, ANSWER_SECONDS)
        self.lines += [f"host   {line}" for line in seen.body.splitlines()]
        return seen

    async def ask(self, who: str, text: str) -> str:
        """Have an operator say something; return the answer's text."""
        return (await self.answer(who, await self.send(who, text))).body

    async def run(self, who: str, command: str) -> str:
        """Have an operator run a command that must end well; return what it printed."""
        seen = await self.answer(who, await self.send(who, f"$ {command}"))
        hold(seen.result.get("exit") == 0, f"{command}: {seen.body}")
        return seen.body

    async def refused(self, who: str, command: str) -> None:
        """Have an operator run a command until it can't be run any more; tell of the last time."""
        before = len(self.lines)
        for _ in range(REFUSED_AT_LAST):
            del self.lines[before:]
            seen = await self.answer(who, await self.send(who, f"$ {command}"))
            if seen.result.get("exit") is None:
                return
        raise NotHeldError(f"{command} still runs")

    async def gone(self, who: str, command: str) -> None:
        """Have an operator ask for the jobs until one is over; tell of the last time."""
        before = len(self.lines)
        while command in await self.ask(who, "!jobs"):
            await asyncio.sleep(1)
            del self.lines[before:]

    def scene(self, title: str, about: str) -> None:
        """Begin another part of the page."""
        print(title, flush=True)
        if self.lines:
            self.lines.append("```")
        self.lines += ["", f"## {title}", "", about, "", "```"]


def hold(condition: bool, what: str) -> None:
    """Raise NotHeldError unless a condition is true."""
    if not condition:
        raise NotHeldError(what)


def value(text: str, name: str) -> int:
    """Return a number from what ``grep . FILE…`` prints: FILE:NUMBER or FILE:NAME NUMBER."""
    found = re.search(rf"{re.escape(name)}[: ](\d+)", text)
    hold(found is not None, f"there is no {name} in {text}")
    assert found is not None
    return int(found[1])


async def limits(talk: Talk) -> None:
    """Show what the kernel was told."""
    talk.scene(
        "What the kernel was told",
        "`TasksMax=` and `MemoryMax=` of the unit, as it holds them. One command has `processes = "
        f"{PROCESSES}` and `memory_bytes` of {COMMAND_MIB} MiB here, so two are over the unit's.",
    )
    await talk.run("look", "uname -sr; systemctl --version | head -n 1")
    unit = await talk.run("look", f"grep -H . {UNIT}/pids.max {UNIT}/memory.max {UNIT}/cpu.weight")
    hold(value(unit, "pids.max") == 2048, "the unit's TasksMax")
    hold(value(unit, "memory.max") < MEMORY_MIB * 1024**2 // 2, "the unit's MemoryMax")


async def fork_bomb(talk: Talk) -> None:
    """Run a fork bomb, and others' commands beside it."""
    talk.scene(
        "A fork bomb in one command",
        "It stops at the command's own limit, other operators' commands run all the while, and "
        "`!kill` (`cgroup.kill`) ends all of it at once.",
    )
    event = await talk.send("one", "$ fork-bomb")
    for _ in range(MEANWHILE):
        await talk.run("look", "true")
    seen = await talk.run("look", f"grep -H . {UNIT}/pids.current")
    others = value(seen, "pids.current") - PROCESSES
    hold(0 < others < 64, "the bomb fills its own limit and no more")
    jobs = await talk.ask("look", "!jobs")
    number = re.search(r"#(\d+) .*fork-bomb", jobs)
    hold(number is not None, f"the bomb is among the jobs: {jobs}")
    assert number is not None
    await talk.ask("one", f"!kill {number[1]}")
    ended = await talk.answer("one", event)
    hold(ended.result.get("exit") != 0, "the bomb was killed")
    gone = await talk.run("look", "pgrep -c fork-bomb || true")
    hold(gone.split()[0] == "0", "nothing of the bomb is left")


async def two_fork_bombs(talk: Talk) -> None:
    """Fill the whole unit with processes."""
    talk.scene(
        "Two fork bombs at once",
        "Together they reach the unit's `TasksMax=`. The executor can start nothing more then, and "
        "says so; it goes on to answer, and `!stop` ends both.",
    )
    events = [(who, await talk.send(who, "$ fork-bomb")) for who in ("one", "two")]
    await talk.refused("look", "true")
    hold("uids separated" in await talk.ask("look", "status"), "the executor answers")
    await talk.ask("look", "!stop")
    for who, event in events:
        await talk.answer(who, event)
    seen = await talk.run("look", f"grep -H . {UNIT}/pids.max {UNIT}/pids.peak")
    # A process that moves between cgroups of the unit counts twice for a moment, limit or not.
    hold(value(seen, "pids.peak") in (2048, 2049), f"TasksMax was reached, and not passed: {seen}")


async def memory_bomb(talk: Talk) -> None:
    """Run a memory bomb in one command, then in two."""
    talk.scene(
        "A memory bomb in one command",
        "Four processes take memory without end. The kernel ends processes of that command and of "
        "no other.",
    )
    event = await talk.send("one", "$ memory-bomb")
    for _ in range(MEANWHILE):
        await talk.run("look", "true")
    await talk.answer("one", event)
    seen = await talk.run("look", f"grep -H . {UNIT}/memory.events {UNIT}/memory.events.local")
    hold(value(seen, "memory.events:oom_kill") > 0, "the command's memory was limited")
    before = value(seen, "memory.events.local:max")
    talk.scene(
        "A memory bomb that is left running",
        "Its command has had its answer long before. The next one of the session tells the end.",
    )
    await talk.run("one", "memory-bomb &")
    await talk.gone("look", "memory-bomb")
    seen = await talk.run("one", "true")
    used = rf"#\d+: its {COMMAND_MIB} MiB of memory were used up, .*; to raise it: shell\.memory"
    hold(re.search(used, seen) is not None, f"its end is told: {seen}")
    talk.scene(
        "Two memory bombs at once",
        "Together they reach the unit's `MemoryMax=`. Commands are ended, the executor is not.",
    )
    events = [(who, await talk.send(who, "$ memory-bomb")) for who in ("one", "two")]
    for who, event in events:
        await talk.answer(who, event)
    seen = await talk.run("look", f"grep -H . {UNIT}/memory.events {UNIT}/memory.events.local")
    hold(value(seen, "memory.events.local:max") > before, "MemoryMax was reached")


async def memory_takers(talk: Talk) -> None:
    """Have two commands take more together than the unit has, and neither more than it may."""
    talk.scene(
        "Two commands that take less than they may, and too much together",
        "The kernel ends one of them. Its answer doesn't blame the command's own limit, of which "
        f"{COMMAND_MIB - TAKEN_MIB} MiB are left.",
    )
    events = [(who, await talk.send(who, "$ memory-taker")) for who in ("one", "two")]
    answers = [asyncio.create_task(talk.answer(who, event)) for who, event in events]
    (ended, *_), _ = await asyncio.wait(answers, return_when=asyncio.FIRST_COMPLETED)
    together = (
        "limit: all commands' memory (MemoryMax=), or the host's, was used up, 1 process killed"
    )
    hold(f"{together}\n" in ended.result().body, "the unit's memory was used up")
    await talk.ask("look", "!stop")
    await asyncio.gather(*answers)


async def tunables(talk: Talk) -> None:
    """Look at what a container hides by itself, and the unit must."""
    talk.scene(
        "The kernel's own files",
        "`ProtectKernelTunables=` and `ProtectKernelLogs=`: settings are shown and can't be "
        "written, and what only helps an attacker isn't there.",
    )
    seen = await talk.run(
        "look", "findmnt -n -o TARGET,OPTIONS /proc/sys; findmnt -n -o OPTIONS /sys"
    )
    options = [line.split()[-1].split(",") for line in seen.splitlines()[:2]]
    hold(all("ro" in each for each in options), f"settings are read-only: {seen}")
    seen = await talk.run("look", "stat -c '%a %n' /proc/kallsyms /proc/kmsg /proc/kcore")
    modes = [line.split()[0] for line in seen.splitlines()[:3]]
    hold(modes == ["0"] * 3, "nobody reads the kernel's symbols, log or memory")


async def narrowed(talk: Talk) -> None:
    """Look at what two units reached that differ by a drop-in of the agent's."""
    talk.scene(
        "homeserver-only.conf",
        "`reach` asks for an address that the drop-in doesn't name; `reach-narrowed` does the same "
        "with the drop-in in force.",
    )
    seen = await talk.run("look", "systemctl show -p Id -p ExecMainStatus reach reach-narrowed")
    statuses = re.findall(r"ExecMainStatus=(\d+)", seen)
    hold(statuses[0] == "0" and statuses[1] not in {"", "0"}, "only one of them reaches it")


async def left_behind(talk: Talk) -> None:
    """Leave processes behind that obey no signal and belong to no terminal."""
    talk.scene(
        "What a command leaves behind",
        "Eight processes that left the terminal and ignore every signal that can be ignored. The "
        "end of the session ends them.",
    )
    await talk.run("one", "left-behind; sleep 1; pgrep -c left-behind")
    await talk.ask("one", "exit")
    gone = await talk.run("look", "pgrep -c left-behind || true")
    hold(gone.split()[0] == "0", "nothing that was left is left")


async def perform(talk: Talk) -> None:
    """Play all scenes; the executor must be the same process before and after."""
    talk.scene("Before", "The executor's process, to compare with at the end.")
    shown = "systemctl show -p MainPID,NRestarts tibet-nc-executor"
    before = (await talk.run("look", shown)).splitlines()[:2]
    await limits(talk)
    await fork_bomb(talk)
    await two_fork_bombs(talk)
    await memory_bomb(talk)
    await memory_takers(talk)
    await tunables(talk)
    await narrowed(talk)
    await left_behind(talk)
    talk.scene("After", "The same process as before all of it.")
    after = (await talk.run("look", shown)).splitlines()[:2]
    hold(before == after, "the executor is the same process")
    talk.lines.append("```")


def page(lines: list[str]) -> str:
    """Return the page."""
    today = datetime.datetime.now(datetime.UTC).date()
    about = (
        f"Written by `make system-vm` on {today:%Y-%m-%d}, which fails at the first thing that",
        "isn't held. It is Debian's cloud kernel under QEMU, without hardware acceleration, so no",
        "duration here says anything. What three operators typed in the room, and the answers:",
    )
    title = "# Limits on the real units, in a virtual machine"
    return "\n".join([title, "", *about, *lines, ""])


@dataclass(frozen=True, kw_only=True)
class Person:
    """An operator: an account and the identity that signs its devices."""

    account: Account
    identity: CrossSigning


async def introduce(homeserver: Synapse, people: dict[str, Person]) -> None:
    """Have each operator log in, which tells the homeserver the identity that is to be pinned."""
    for person in people.values():
        await (await log_in(homeserver, person.account, person.identity)).close()


def install(site: Site, people: dict[str, Person]) -> None:
    """Install as documented, with bombs on the path, and limits that two of them are over."""
    machine = site.machine
    users = ",".join(person.account.user_id for person in people.values())
    text = environment(site.homeserver, site.bot, site.person, site.room)
    text = text.replace(f"USERS={site.person.user_id}", f"USERS={users}")
    machine.write(ENV_FILE, text, 0o600)
    site.install("--from-env", ENV_FILE)
    for name, source in BOMBS.items():
        machine.write(f"/root/{name}.c", source)
        machine.run("gcc", "-O1", "-o", f"/usr/local/bin/{name}", f"/root/{name}.c")
    for setting in SETTINGS:
        machine.sh(f"sed -i '/^.shell.$/a {setting}' /etc/tibet-nc/executor.toml")
    site.start()
    for person in people.values():
        key = person.identity.public_key(Use.MASTER)
        machine.run("tibet-nc-agent", "trust", person.account.user_id, "--fingerprint", key)
    make_bootable(machine, site.homeserver.port)
    drop_in = (ROOT / "deploy" / "dropins" / NARROWED).read_text()
    url = f"http://{GATEWAY}:{site.homeserver.port}/_matrix/client/versions"
    for unit, text in (("reach", ""), ("reach-narrowed", drop_in)):
        machine.write(f"/etc/systemd/system/{unit}.service", f"{REACH.format(url=url)}{text}")
        machine.run("systemctl", "enable", "--quiet", unit)


async def in_the_room(site: Site, people: dict[str, Person]) -> list[str]:
    """Have the operators play all scenes; return the page's lines."""
    operators: dict[str, Operator] = {}
    async with contextlib.AsyncExitStack() as stack:
        for who, person in people.items():
            login = log_in(site.homeserver, person.account, person.identity)
            operators[who] = await stack.enter_async_context(await login)
        for operator in list(operators.values())[1:]:
            await operators["one"].invite(site.room, operator.user_id)
            await operator.join(site.room)
        talk = Talk(room=site.room, operators=operators)
        # The first answer comes when it has booted; what was asked before is refused as stale.
        async with asyncio.timeout(BOOT_SECONDS):
            while True:
                event = await operators["look"].send_text(site.room, "status")
                with contextlib.suppress(TimeoutError):
                    answer = await operators["look"].answer_to(event, 20.0)
                    if "uids separated" in answer.body:
                        break
        await perform(talk)
        return talk.lines


def main(path: Path) -> None:
    """Install, boot, play, write the page."""
    base, packages = prepare_kernel()  # the only part that needs a network
    leave_network()
    with (
        tempfile.TemporaryDirectory() as store,
        tempfile.TemporaryDirectory(dir=CACHE) as work,
        Synapse(Path(store)) as homeserver,
        Machine(base, packages) as machine,
    ):
        bot = homeserver.register("host1")
        people = {
            who: Person(account=homeserver.register(who), identity=new_identity())
            for who in ("one", "two", "look")
        }
        asyncio.run(introduce(homeserver, people))
        one = people["one"]
        room = make_room(homeserver, bot, one.account, one.identity)
        site = Site(
            machine=machine,
            homeserver=homeserver,
            bot=bot,
            person=one.account,
            identity=one.identity,
            room=room,
        )
        print("installing", flush=True)
        install(site, people)
        machine.power_off()
        print("booting in QEMU", flush=True)
        with VirtualMachine(machine.root, Path(work), memory_mib=MEMORY_MIB) as virtual:
            try:
                lines = asyncio.run(in_the_room(site, people))
            except (NotHeldError, TimeoutError):
                print(virtual.tail(), file=sys.stderr)
                raise
    path.write_text(page(lines))
    print(f"wrote {path}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
