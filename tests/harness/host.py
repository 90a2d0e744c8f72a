# SPDX-License-Identifier: MIT
"""One tibet-nc host: its settings, keys and state in a directory, and its two daemons."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.harness.pins import write_pins
from tests.harness.synapse import Account
from tests.separation import (
    Uids,
    as_agent,
    as_executor,
    choose_uids,
    delegate_cgroup,
    remove_cgroup,
)
from tests.written import whole_chain
from tibet_nc_protocol.records import Record, Security
from tibet_nc_protocol.signing import PublicKey

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 120.0
STOP_SECONDS = 60.0


class HostError(Exception):
    """A daemon did not do what it should; the text has the end of its log."""


class Daemon:
    """One of the two processes, with its log."""

    def __init__(self, name: str, argv: list[str], log: Path) -> None:
        self.name = name
        self._argv = argv
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, ready: str) -> None:
        """Start it and wait until its log says that it is ready; raises HostError."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={"PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "LANG": "C.UTF-8"},
                cwd="/",
            )
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            if ready in self.log.read_bytes()[begin:].decode(errors="replace"):
                return
            if self._process.poll() is not None:
                raise HostError(f"{self.name} ended: {self.tail()}")
            time.sleep(0.02)
        raise HostError(f"{self.name} is not ready after {READY_SECONDS:g} s: {self.tail()}")

    @property
    def pid(self) -> int:
        """The process id of the running daemon."""
        if self._process is None:
            raise HostError(f"{self.name} is not running")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    def wait(self, seconds: float = STOP_SECONDS) -> int:
        """Wait until it ends by itself and return its exit status; raises HostError."""
        if self._process is None:
            raise HostError(f"{self.name} is not running")
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise HostError(f"{self.name} goes on: {self.tail()}") from None

    def kill(self) -> None:
        """End it as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self) -> int | None:
        """End it as systemd would (SIGTERM), by force if it must; return its exit status."""
        if self._process is None:
            return None
        self._process.terminate()
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise HostError(f"{self.name} did not stop: {self.tail()}") from None
        self._process = None
        return status

    def tail(self) -> str:
        """Return the last lines of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-15:])


class Host:
    """Everything that one installation has, under one directory.

    ``operators`` are pinned: the master key of each user. With ``allowed`` only those may command.
    Use as a context manager: leaving it stops the daemons and ends what they left.
    """

    def __init__(
        self,
        directory: Path,
        *,
        homeserver: str,
        bot: Account,
        operators: Mapping[str, str],
        rooms: list[str],
        name: str = "demo-host",
        uids: Uids | None = None,
        timebox_s: int = 30,
        allowed: Sequence[str] = (),
        executor_settings: str = "",
    ) -> None:
        self.uids = choose_uids() if uids is None else uids
        self.directory = directory
        self.state = directory / "executor"
        self.etc = directory / "etc"
        self._run = directory / "run"
        self._cgroup: Path | None = None
        self._homeserver = homeserver
        self._bot = bot
        self.pins = self.etc / "operators.toml"
        self._allowed = allowed
        self._rooms = rooms
        self._name = name
        self._timebox_s = timebox_s
        self._executor_settings = executor_settings
        self._make_directories()
        self._write_settings()
        self.pin(operators)
        self._make_keys()
        if self.uids.separated:
            self._cgroup = delegate_cgroup(f"tibet-nc-{os.getpid()}-{id(self)}", self.uids.executor)
        self.executor = Daemon(
            "the executor",
            [*as_executor(self.uids, self._cgroup), *self.program("executor"), "run"],
            directory / "executor.log",
        )
        self.agent = Daemon(
            "the agent",
            [*as_agent(self.uids), *self.program("agent"), "run"],
            directory / "agent.log",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start both daemons and wait until they are ready; raises HostError."""
        self.start_executor()
        self.start_agent()

    def start_executor(self) -> None:
        """Start the executor and wait until it listens."""
        self.executor.start("ready: ")

    def start_agent(self) -> None:
        """Start the agent and wait until it answers."""
        self.agent.start("ready: ")

    def close(self) -> None:
        """Stop both daemons, agent first, and end whatever they left."""
        self.agent.stop()
        self.executor.stop()
        if self._cgroup is not None:
            remove_cgroup(self._cgroup)

    def pin(self, operators: Mapping[str, str]) -> None:
        """Pin the master keys of these users, and nobody else, as root does it."""
        write_pins(self.pins, operators)

    def allow(self, *users: str) -> None:
        """Name those in both settings who alone may command; before the start."""
        self._allowed = users
        self._write_settings()

    def limit_age(self, timebox_s: int) -> None:
        """Let messages be so old at most, from the next starts of the daemons on."""
        self._timebox_s = timebox_s
        self._write_settings()

    def log_in_by_password(self) -> None:
        """Have the agent make a device of its own, instead of using the account's first one."""
        secret = self.directory / "agent" / "password"
        secret.write_text(self._bot.password + "\n")
        secret.chmod(0o600)
        if self.uids.separated:
            os.chown(secret, self.uids.agent, self.uids.agent)
        settings = self.etc / "agent.toml"
        by_token = f"access_token_file = {json.dumps(str(secret.with_name('access-token')))}"
        by_password = f"password_file = {json.dumps(str(secret))}"
        settings.write_text(settings.read_text().replace(by_token, by_password))

    def wait_log(self, text: str, seconds: float = READY_SECONDS) -> None:
        """Wait until a text is in the agent's log; raises HostError."""
        end = time.monotonic() + seconds
        while text not in self.agent.log.read_text(errors="replace"):
            if time.monotonic() > end:
                raise HostError(f"{text!r} is not in the log: {self.agent.tail()}")
            time.sleep(0.02)

    def root(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of the agent's command line as whoever runs this, as a sysadmin would."""
        return subprocess.run(
            [*self.program("agent"), *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )

    def records(self) -> list[Record]:
        """Return the chain's records, which must verify."""
        return whole_chain(self.state, PublicKey.from_hex(self.executor_key))

    def alerts(self, what: str) -> list[Security]:
        """Return what the chain says of one kind of alert."""
        found = [record for record in self.records() if isinstance(record, Security)]
        return [record for record in found if record.detail.startswith(f"{what}: ")]

    def audit(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the auditor's tool on what the executor wrote."""
        return subprocess.run(
            [
                ROOT / ".venv/audit/bin/tibet-nc-audit",
                arguments[0],
                "--state",
                self.state,
                *arguments[1:],
            ],
            capture_output=True,
            text=True,
            check=False,
        )

    def admin(self, daemon: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of a daemon's command line as that daemon's uid."""
        prefix = as_agent(self.uids) if daemon == "agent" else as_executor(self.uids, None)
        return subprocess.run(
            [*prefix, *self.program(daemon), *arguments],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
        )

    @property
    def executor_key(self) -> str:
        """The executor's public key, as the auditor is given it."""
        return (self.etc / "executor.pub").read_text().strip()

    def program(self, daemon: str) -> list[str]:
        """Return the command line of a daemon, without its verb."""
        python = str(ROOT / f".venv/{daemon}/bin/python")
        settings = str(self.etc / f"{daemon}.toml")
        return [python, "-I", "-m", f"tibet_nc_{daemon}", "--config", settings]

    def _make_directories(self) -> None:
        uids = self.uids
        for path in (self.directory, self.etc):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o755)
        for path, owner, group, mode in (
            (self.state, uids.executor, uids.executor, 0o700),
            (self.directory / "agent", uids.agent, uids.agent, 0o700),
            (self.directory / "home", uids.executor, uids.executor, 0o711),
            # setgid, so that the socket gets the agent's group though the executor is not in it.
            (self._run, uids.executor, uids.agent, 0o2750),
        ):
            path.mkdir(exist_ok=True)
            if uids.separated:
                os.chown(path, owner, group)
            path.chmod(mode)

    def _write_settings(self) -> None:
        quoted = json.dumps  # TOML's basic strings and arrays of them are JSON's
        secret = self.directory / "agent" / "access-token"
        secret.write_text(self._bot.access_token + "\n")
        secret.chmod(0o600)
        if self.uids.separated:
            os.chown(secret, self.uids.agent, self.uids.agent)
        (self.etc / "agent.toml").write_text(f"""\
[matrix]
homeserver = {quoted(self._homeserver)}
user_id = {quoted(self._bot.user_id)}
rooms = {quoted(self._rooms)}
access_token_file = {quoted(str(secret))}

[operators]
file = {quoted(str(self.pins))}
{f"allowed = {quoted(list(self._allowed))}" if self._allowed else ""}

[airlock]
timebox_s = {self._timebox_s}

[executor]
socket = {quoted(str(self._run / "executor.sock"))}
key_file = {quoted(str(self.etc / "executor.pub"))}
user = {self.uids.executor}

[state]
directory = {quoted(str(self.directory / "agent"))}

[host]
name = {quoted(self._name)}

[walls]
# Without the unit's sandbox the self-test finds these missing.
accepted = ["files", "network", "privilege", "secrets", "shell"]
""")
        (self.etc / "executor.toml").write_text(f"""\
[agent]
user = {self.uids.agent}
key_file = {quoted(str(self.etc / "agent.pub"))}

[shell]
user = {self.uids.shell}
home = {quoted(str(self.directory / "home"))}

[policy]
operators_file = {quoted(str(self.pins))}
{f"operators = {quoted(list(self._allowed))}" if self._allowed else ""}
rooms = {quoted(self._rooms)}
timebox_s = {self._timebox_s}

[socket]
path = {quoted(str(self._run / "executor.sock"))}

[state]
directory = {quoted(str(self.state))}

[walls]
# Without the unit's sandbox the self-test finds these missing.
accepted = ["files", "network", "network-view", "privilege", "secrets"]

[host]
name = {quoted(self._name)}
{self._executor_settings}
""")

    def _make_keys(self) -> None:
        """Make both keys as their owners, then exchange the public ones as the sysadmin would."""
        made = self.admin("executor", "init")
        if made.returncode != 0:
            raise HostError(f"tibet-nc-executor init: {made.stderr.strip()}")
        public = made.stdout.split()[-1]
        (self.etc / "executor.pub").write_text(public + "\n")
        shown = self.admin("agent", "identity")
        if shown.returncode != 0:
            raise HostError(f"tibet-nc-agent identity: {shown.stderr.strip()}")
        (self.etc / "agent.pub").write_text(shown.stdout.split()[-1] + "\n")


def remove(directory: Path) -> None:
    """Remove an earlier host's directory."""
    shutil.rmtree(directory, ignore_errors=True)
