# SPDX-License-Identifier: MIT
"""What a sysadmin has: the machine, a homeserver, a room with an operator in it, tibet-nc."""

import asyncio
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from tests.harness.operator import Operator, Seen
from tests.harness.synapse import Account, Synapse
from tests.system.documented import enter, examples
from tests.system.machine import Machine
from tests.system.pages import blocks
from tibet_nc_agent.crosssign import CrossSigning, Use

INSTALL: Final = "/srv/tibet-nc/deploy/install.sh"
ENV_FILE: Final = "/root/tibet-nc.env"
UNITS: Final = ("tibet-nc-executor.service", "tibet-nc-agent.service")
SOCKET: Final = "tibet-nc-executor.socket"
NOT_INSTALLED: Final = ("/proc", "/root", "/srv", "/tmp", "/var/lib/tibet-nc*", "/var/tmp")
INSTALL_SECONDS: Final = 400.0
ANSWER_SECONDS: Final = 40.0


@dataclass(frozen=True, kw_only=True)
class Site:
    """One installed host and those around it."""

    machine: Machine
    homeserver: Synapse
    bot: Account
    person: Account
    identity: CrossSigning
    room: str

    async def ask(self, *commands: str) -> list[Seen]:
        """Send commands one after another and return their final answers."""
        async with await self.login() as operator:
            await operator.wait_member(self.room, self.bot.user_id)
            answers: list[Seen] = []
            for command in commands:
                event = await operator.send_text(self.room, command)
                answers.append(await operator.answer_to(event, ANSWER_SECONDS))
                assert len(operator.answers_to(event)) == 1
            return answers

    async def interrupt(self, end: Callable[[], object]) -> tuple[Seen, Seen]:
        """End the daemons while one command runs and the next waits; return both final answers.

        They are waited for right after that, so whatever gives them is still there or back then.
        """
        async with await self.login() as operator:
            await operator.wait_member(self.room, self.bot.user_id)
            sent = [
                await operator.send_text(self.room, text) for text in ("$ sleep 9876", "$ true")
            ]
            await operator.wait(lambda seen: seen.body.startswith("waits until #"), ANSWER_SECONDS)
            await asyncio.to_thread(end)
            ran, waited = [await operator.answer_to(event, ANSWER_SECONDS) for event in sent]
            assert [len(operator.answers_to(event)) for event in sent] == [1, 1]
        return ran, waited

    async def login(self) -> Operator:
        """Log the operator in on a new device, signed by the operator's identity."""
        return await log_in(self.homeserver, self.person, self.identity)

    def follow(self, title: str, number: int = 0) -> None:
        """Type a block of a section of docs/operations.md, and wait until both units are up."""
        real = examples(self.homeserver, self.bot, self.person, self.room)
        enter(self.machine, blocks("docs/operations.md", title)[number], real)
        self.machine.wait_active(*UNITS)

    def trust(self) -> None:
        """Pin the operator, as the installer's last words say."""
        key = self.identity.public_key(Use.MASTER)
        self.machine.run("tibet-nc-agent", "trust", self.person.user_id, "--fingerprint", key)

    def install(self, *arguments: str, check: bool = True) -> str:
        """Run the installer and return what it said."""
        done = self.machine.run(INSTALL, *arguments, check=check, seconds=INSTALL_SECONDS)
        return done.stdout + done.stderr

    def start(self) -> None:
        """Start both units, as the installer's last words say, and wait until they are ready."""
        self.machine.run("systemctl", "start", "--no-block", *UNITS)
        self.machine.wait_active(*UNITS)

    def others_may_write(self) -> str:
        """Return what is installed and others than root can change."""
        left = " -o ".join(f"-path '{path}'" for path in NOT_INSTALLED)
        others = "! -uid 0 -o -perm /022"
        return self.machine.sh(
            f"find / -xdev \\( {left} \\) -prune"
            f" -o -path '*tibet-nc*' ! -type l \\( {others} \\) -print"
        )

    def drop_in(self, unit: str, text: str, *, settings: str = "") -> None:
        """Put a drop-in and that daemon's settings in force, as a sysadmin would."""
        machine = self.machine
        machine.write(f"/etc/systemd/system/{unit}.d/50-test.conf", text)
        if settings:
            path = f"/etc/tibet-nc/{unit.removeprefix('tibet-nc-').removesuffix('.service')}.toml"
            machine.sh(f"cp -p {path} {path}.kept && cat >>{path} <<'EOF'\n{settings}\nEOF")
        machine.run("systemctl", "daemon-reload")
        machine.sh(f"systemctl reset-failed; systemctl restart {unit}", check=False)

    @contextmanager
    def sealed_key(self) -> Generator[None]:
        """Have the executor's key on the disk encrypted only, for the length of a block."""
        machine = self.machine
        machine.sh(
            "install -d -m 700 /etc/credstore.encrypted\n"
            "systemd-creds encrypt --name=executor.key /var/lib/tibet-nc/executor.key"
            " /etc/credstore.encrypted/tibet-nc.executor.key\n"
            "mv /var/lib/tibet-nc/executor.key /var/tmp/executor.key"
        )
        try:
            yield
        finally:
            machine.run("mv", "/var/tmp/executor.key", "/var/lib/tibet-nc/executor.key")
            machine.run("rm", "/etc/credstore.encrypted/tibet-nc.executor.key")

    def no_drop_ins(self) -> None:
        """Take all drop-ins and settings of tests back."""
        self.machine.sh(
            "for kept in /etc/tibet-nc/*.kept; do [ ! -e $kept ] || mv $kept ${kept%.kept}; done\n"
            "rm -f /etc/systemd/system/*.service.d/50-test.conf; systemctl daemon-reload\n"
            f"systemctl reset-failed; systemctl restart {' '.join(UNITS)}"
        )
        self.machine.wait_active(*UNITS)


def environment(homeserver: Synapse, bot: Account, person: Account, room: str) -> str:
    """Return an environment file as tibet-nc 0.1.2 had it."""
    return f"""\
# tibet-nc 0.1.2
MATRIX_HOMESERVER={homeserver.url}
export TIBET_NC_USER_ID="{bot.user_id}"
TIBET_NC_ACCESS_TOKEN='{bot.access_token}'
TIBET_NC_ROOM={room}
TIBET_NC_ALLOWED_USERS={person.user_id}
TIBET_NC_HOSTNAME=host1
"""


async def log_in(homeserver: Synapse, person: Account, identity: CrossSigning) -> Operator:
    """Log a person in on a new device that the identity signs."""
    return await Operator.login(homeserver.url, person.user_id, person.password, identity=identity)


def make_room(homeserver: Synapse, bot: Account, person: Account, identity: CrossSigning) -> str:
    """Have the operator make an encrypted room and invite the agent; return its id."""

    async def make() -> str:
        async with await log_in(homeserver, person, identity) as operator:
            return await operator.create_room(invite=[bot.user_id])

    return asyncio.run(make())
