# SPDX-License-Identifier: MIT
"""A real executor process and a client on its socket, for the tests of the upper half."""

import asyncio
import base64
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from tests import written
from tests.executor.shell.driver import commands_of
from tests.separation import Uids, as_executor, choose_uids
from tibet_nc_protocol.envelope import Opener, Sealer
from tibet_nc_protocol.framing import FrameReader, frame
from tibet_nc_protocol.messages import (
    REQUESTS,
    RESPONSES,
    Announcement,
    Challenge,
    Denied,
    Finished,
    Hello,
    Input,
    Request,
    Response,
    Run,
    SessionNotice,
    Started,
    Welcome,
)
from tibet_nc_protocol.pins import How, Pin, render
from tibet_nc_protocol.records import Record, Remainder, Security, SecurityEvent
from tibet_nc_protocol.signing import Identity, PublicKey, Purpose

OPERATOR = "@op:example.org"
OTHER_OPERATOR = "@colleague:example.org"
ROOM = "!room:example.org"
AGENT = Identity(b"agent-test-key".ljust(32, b"."))
SECONDS = 20.0
UNUSABLE = 2
"""The exit status of a start that something keeps from working."""
UNRESTRICTED = "restricted = false"
"""Has sessions whose shell forbids nothing, which shows the most."""


class Executor:
    """One executor with its own directory; a context manager that stops it."""

    def __init__(self, directory: Path, *, settings: str = "", shell: str = "") -> None:
        """Make directories, settings and keys; the directory must be reachable to all."""
        self.directory = directory
        self.state = directory / "state"
        self.socket = directory / "run" / "executor.sock"
        self.log = directory / "executor.log"
        self.pins = directory / "operators.toml"
        # The tests are the agent, so its uid is ours.
        chosen = choose_uids()
        self.uids = Uids(
            agent=os.getuid(),
            executor=chosen.executor,
            shell=chosen.shell,
            separated=chosen.separated,
        )
        self._process: subprocess.Popen[bytes] | None = None
        self._config = directory / "executor.toml"
        self._make(settings, shell)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.show_log()  # pytest shows it beside what has failed

    def show_log(self) -> None:
        """Print what it has logged."""
        print(self.log.read_text(errors="replace"))

    def _make(self, settings: str, shell: str) -> None:
        directory = self.directory
        for path, owner in (
            (directory, os.getuid()),
            (self.state, self.uids.executor),
            (directory / "run", self.uids.executor),
            (directory / "home", self.uids.executor),
        ):
            path.mkdir(exist_ok=True)
            path.chmod({directory: 0o755, directory / "home": 0o711}.get(path, 0o700))
            os.chown(path, owner, owner)
        (directory / "agent.pub").write_text(AGENT.public_key.hex + "\n")
        self.pin(OPERATOR, OTHER_OPERATOR)
        quoted = json.dumps
        self._config.write_text(f"""\
[agent]
user = {self.uids.agent}
key_file = {quoted(str(directory / "agent.pub"))}
[shell]
user = {self.uids.shell}
home = {quoted(str(directory / "home"))}
{shell}
[policy]
operators_file = {quoted(str(self.pins))}
rooms = [{quoted(ROOM)}]
[socket]
path = {quoted(str(self.socket))}
[state]
directory = {quoted(str(self.state))}
[walls]
accepted = ["files", "network", "network-view", "privilege", "secrets"]
[host]
name = "host"
{settings}
""")
        self.key = PublicKey.from_hex(self.verb("init").split()[-1])

    def pin(self, *users: str) -> None:
        """Pin these users and nobody else, by a new file in the old one's place."""
        draft = self.pins.with_suffix(".new")
        draft.write_bytes(render(pin_of(user) for user in users))
        draft.chmod(0o644)
        draft.replace(self.pins)

    def argv(self) -> list[str]:
        """Return the start of its command line, as its own uid."""
        return [
            *as_executor(self.uids, None),
            sys.executable,
            "-I",
            "-m",
            "tibet_nc_executor",
            "--config",
            str(self._config),
        ]

    def refusal(self) -> str:
        """Start it, which must fail; return what it says."""
        done = subprocess.run(
            [*self.argv(), "run"],
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=60,
        )
        assert done.returncode == UNUSABLE, done.stderr
        return done.stderr

    def verb(self, *arguments: str) -> str:
        """Run a verb of the command line as the executor's uid and return what it printed."""
        done = subprocess.run(
            [*self.argv(), *arguments], capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, *, through: int | None = None) -> None:
        """Start it and wait until it is ready; what it says may go to the log through a pipe."""
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.argv(), "run"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log if through is None else through,
                cwd="/",
            )
        try:
            self._wait_until_ready(begin)
        except BaseException:
            self.kill()
            raise

    def _wait_until_ready(self, begin: int) -> None:
        assert self._process is not None
        end = time.monotonic() + SECONDS
        while b"ready: " not in self.log.read_bytes()[begin:]:
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self._process is not None
        return self._process.pid

    def recordings_open(self) -> int:
        """How many recordings it has open; needs root. Others of its files may close meanwhile."""
        found = 0
        for link in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                found += os.readlink(link).endswith(".cast")
        return found

    def commands(self, line: str) -> list[str]:
        """Return the shell uid's processes whose command line begins so."""
        return [found for found in commands_of(self.uids.shell) if found.startswith(line)]

    def stop(self) -> int:
        """Stop it as systemd would; return its exit status."""
        if self._process is None:
            return 0
        self._process.terminate()
        status = self._process.wait(SECONDS)
        self._process = None
        return status

    def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()
        self._process = None


class Client:
    """The agent's end of the socket, with nothing in between."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self._frames = FrameReader()
        self._received: list[bytes] = []
        self.sealer = Sealer(AGENT, Purpose.REQUEST, REQUESTS)
        self._opener: Opener[Response] | None = None
        self._request = 0

    @classmethod
    async def connect(cls, executor: Executor) -> Self:
        """Connect, check the challenge and say hello."""
        client = cls(*await asyncio.open_unix_connection(executor.socket))
        client._opener = Opener(executor.key, Purpose.RESPONSE, RESPONSES)
        challenge = await client.receive()
        assert isinstance(challenge, Challenge)
        client._opener.connection = client.sealer.connection = challenge.connection
        await client.send(Hello(protocol=1, version="test", connection=challenge.connection))
        assert isinstance(await client.receive(), Welcome)
        return client

    async def send(self, request: Request) -> None:
        """Send one request."""
        await self.send_raw(frame(self.sealer.seal(request)))

    async def send_raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def receive(self) -> Response:
        """Return the next response."""
        while not self._received:
            data = await asyncio.wait_for(self.reader.read(65536), SECONDS)
            if not data:
                raise ConnectionResetError("the executor closed the connection")
            self._received += self._frames.feed(data)
        assert self._opener is not None
        return self._opener.open(self._received.pop(0))

    async def ended(self) -> list[Response]:
        """Return what still comes until the executor closes the connection."""
        rest: list[Response] = []
        while True:
            try:
                rest.append(await self.receive())
            except ConnectionResetError:
                return rest

    def number(self) -> int:
        """Return a new request number."""
        self._request += 1
        return self._request

    async def run(self, command: str, event: str | None = None) -> Finished | Denied:
        """Run a command and return its end; nothing else may be asked meanwhile."""
        await self.send(self.request(command, event))
        while not isinstance(response := await self.receive(), Finished | Denied):
            assert isinstance(response, Started | Announcement | SessionNotice), response
        return response

    async def type(self, number: int, text: str, *, end: bool = False) -> None:
        """Ask for something to be typed into a command."""
        await self.send(
            Input(
                request=self.number(),
                room=ROOM,
                sender=OPERATOR,
                number=number,
                text=text,
                end=end,
            )
        )

    def request(
        self,
        command: str,
        event: str | None = None,
        *,
        sender: str = OPERATOR,
        room: str = ROOM,
        sent_ms: int | None = None,
        ciphertext: str | None = None,
    ) -> Run:
        """Return a request for a command; everything not given is new and good."""
        event = event or f"${secrets.token_hex(8)}"
        return Run(
            request=self.number(),
            room=room,
            event=event,
            sender=sender,
            device="DEVICE",
            ciphertext=ciphertext or secrets.token_hex(32),
            sent_ms=int(time.time() * 1000) if sent_ms is None else sent_ms,
            command=command,
        )

    async def close(self) -> None:
        """Leave."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


type Connect = Callable[[Executor], Awaitable[Client]]


def pin_of(user: str) -> Pin:
    """Return a pin; the executor asks for the user only, so any key does."""
    key = base64.b64encode(AGENT.public_key.data).decode().rstrip("=")
    return Pin(user=user, master_key=key, pinned=datetime.now(UTC), how=How.COMPARED)


def raw_socket(executor: Executor) -> socket.socket:
    """Connect without saying anything."""
    plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plain.settimeout(SECONDS)
    plain.connect(str(executor.socket))
    return plain


def whole_chain(executor: Executor) -> list[Record]:
    """Return all records of its chain, which must verify against its key."""
    return written.whole_chain(executor.state, executor.key)


def records(executor: Executor) -> list[Record]:
    """Return the records of its chain, but for those of gaps in the journal.

    A machine without journald adds some.
    """
    return [
        record
        for record in whole_chain(executor)
        if not (isinstance(record, Security) and record.what is SecurityEvent.JOURNAL)
    ]


def security(executor: Executor) -> list[Security]:
    """Return its security records, but for those of gaps in the journal."""
    return [record for record in records(executor) if isinstance(record, Security)]


def remainders(executor: Executor) -> list[Remainder]:
    """Return the remainders on record."""
    return [record for record in records(executor) if isinstance(record, Remainder)]
