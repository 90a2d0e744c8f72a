# SPDX-License-Identifier: MIT
"""The executor as a service: everything built in order, run until told to stop, ended in order."""

import asyncio
import os
import resource
import signal
import time
from collections.abc import Collection, Iterable, Mapping, Sized
from contextlib import suppress
from pathlib import Path
from typing import Final

from systemd import daemon

from tibet_nc_executor import VERSION, selfcheck, walls
from tibet_nc_executor.archive import Archive
from tibet_nc_executor.config import Config, gid_of, group_id, name_of, secret_key, uid_of
from tibet_nc_executor.connection import Connection
from tibet_nc_executor.credentials import forbid_dumps
from tibet_nc_executor.durable import make_directory
from tibet_nc_executor.errors import ConfigError, LedgerError, ShellError
from tibet_nc_executor.monitor import Role
from tibet_nc_executor.office import Facts, Office
from tibet_nc_executor.printing import say
from tibet_nc_executor.provenance import AppendStore
from tibet_nc_executor.regular import open_regular
from tibet_nc_executor.retention import DAY_S, Limits, Retention
from tibet_nc_executor.run import Tools
from tibet_nc_executor.rungroups import GID_MAP, RUN_GROUPS, first_group
from tibet_nc_executor.runs import Runs
from tibet_nc_executor.selftest import enforce
from tibet_nc_executor.server import Server, listener, remove
from tibet_nc_executor.sessions import SessionLimits, Sessions
from tibet_nc_executor.settings import ResourceLimits, ShellSettings
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import SignatureError
from tibet_nc_protocol.layout import RECORDINGS, TOKENS
from tibet_nc_protocol.signing import Identity, PublicKey

UMASK: Final = 0o077
LEAST_FILES: Final = 256
"""What a shell inherits has numbers from 100 on (prologue.py), some for each command at once."""


def agent_key(config: Config) -> PublicKey:
    """Return the enrolled agent's public key; raises ConfigError."""
    path = Path(config.agent.key_file)
    try:
        with open_regular(path) as file:
            return PublicKey.from_hex(file.read().decode("ascii").strip())
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: no agent is enrolled; enrol it with: tibet-nc-executor enrol-agent KEY"
        ) from None
    except (SignatureError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def shell_groups(config: Config) -> tuple[int, ...]:
    """Return the groups that all commands have; raises ConfigError.

    None of them may be a number that tells one command from the others: to end what has it, or to
    open its terminal, would be to do so with all.
    """
    first = first_group(uid_of(config.shell.user, "shell.user"), GID_MAP.read_text())
    groups = tuple(group_id(group, "shell.groups") for group in config.shell.groups)
    for group in groups:
        if first is not None and first <= group < first + RUN_GROUPS:
            raise ConfigError(
                f"shell.groups: {group} is one of the groups {first} to {first + RUN_GROUPS - 1}"
                " that tell commands apart; right would be a group with another number"
            )
    return groups


def shell_settings(config: Config) -> ShellSettings:
    """Return what the cage needs to know; raises ConfigError."""
    shell = config.shell
    uid = uid_of(shell.user, "shell.user")
    return ShellSettings(
        uid=uid,
        gid=gid_of(shell.user, "shell.user"),
        user=name_of(uid),
        groups=shell_groups(config),
        home=shell.home,
        path=shell.path,
        restricted=shell.restricted,
        limits=ResourceLimits(
            processes=shell.processes,
            address_space=shell.address_space_bytes,
            file_size=shell.file_bytes,
            open_files=shell.open_files,
            memory=shell.memory_bytes,
        ),
        rows=shell.rows,
        columns=shell.columns,
        idle_s=shell.idle_s,
        total_s=shell.total_s,
    )


async def caged(config: Config) -> Shell:
    """Return the shell, in which a first command saw nothing that it must not have.

    What a dead executor left running is ended before. Raises ConfigError.
    """
    try:
        shell = Shell(shell_settings(config))
        remains = await shell.clear()
        await selfcheck.verify(shell)
        await shell.learn()
    except ShellError as error:
        raise ConfigError(f"shell: {error}") from None
    if remains.killed:
        killed = counted(remains.killed, "process", "processes")
        say(f"ended what an earlier executor left running: {killed}")
    if remains.surviving:
        say("something that an earlier executor left running could not be ended")
    return shell


async def _opened(config: Config, identity: Identity) -> tuple[AppendStore, Archive]:
    """Open the tokens and the chain; raises LedgerError.

    What was cut off of the chain is recorded at once: whatever comes next may fail.
    """
    directory = Path(config.state.directory)
    try:
        make_directory(directory / RECORDINGS)
        tokens = AppendStore(directory / TOKENS)
    except OSError as error:
        raise LedgerError(f"{directory}: {error.strerror}") from None
    archive = Archive(
        directory,
        identity,
        clock=time.time,
        segment_bytes=config.audit.segment_bytes,
        checkpoint_records=config.audit.checkpoint_records,
    )
    if archive.length:  # otherwise the genesis comes first
        await archive.own_up()
    return tokens, archive


async def serve(config: Config, environment: Mapping[str, str]) -> None:
    """Serve until SIGTERM or SIGINT.

    Raises ConfigError, LedgerError or SelfTestError when it can't or must not.
    """
    _prepare()
    breaches = enforce(frozenset(config.walls.accepted))
    identity = Identity(secret_key(config, environment))
    trusted = agent_key(config)
    agent_uid = _agent_apart(config)
    directory = Path(config.state.directory)
    tokens, archive = await _opened(config, identity)
    # With the chain's lock held: no other executor's commands can be among what is ended.
    shell = await caged(config)
    await archive.begin(host=config.host.name, version=VERSION, agent_key=trusted)
    tools = Tools(
        archive=archive,
        tokens=tokens,
        recordings=directory / RECORDINGS,
        shell=shell,
        host=config.host.name,
        keep_text=config.audit.command_text == "full",
        recording_bytes=config.audit.recording_bytes,
        columns=config.shell.columns,
        rows=config.shell.rows,
    )
    sessions = Sessions(
        archive,
        shell,
        SessionLimits(
            idle_s=config.shell.session_idle_s,
            total_s=config.shell.session_total_s,
            warning_s=config.shell.session_warning_s,
        ),
    )
    runs = Runs(tools, config.rules(), sessions, time.time)
    facts = Facts(
        host=config.host.name,
        rows=config.shell.rows,
        columns=config.shell.columns,
        identity=identity,
        cage=walls.cage(config, shell, breaches),
        limits=walls.limits(config),
    )
    office = Office(facts=facts, archive=archive, runs=runs, tools=tools)

    connections: set[Connection] = set()

    async def serve_one(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, role: Role
    ) -> None:
        connection = Connection(
            reader,
            writer,
            identity=identity,
            role=role,
            agent_key=trusted,
            office=office,
            archive=archive,
            sessions=sessions,
        )
        connections.add(connection)
        try:
            await connection.serve()
        finally:
            connections.discard(connection)

    path = Path(config.socket.path)
    listening, ours = listener(path, gid_of(config.agent.user, "agent.user"))
    server = Server(agent_uid=agent_uid, archive=archive, serve=serve_one)
    await server.start(listening)
    runs.make_ready()
    retention = Retention(
        archive,
        directory / RECORDINGS,
        Limits(seconds=config.recordings.keep_days * DAY_S, bytes=config.recordings.keep_bytes),
        jobs=runs.jobs,
    )
    duties = [
        asyncio.create_task(_watchdog(environment)),
        asyncio.create_task(sessions.keep_limits()),
        asyncio.create_task(archive.checkpoint_regularly(config.audit.checkpoint_s)),
        asyncio.create_task(retention.sweep_regularly()),
    ]
    chain = f"{counted(archive.length, 'record')}, head {archive.head[:8]}"
    daemon.notify(f"READY=1\nSTATUS={chain}; self-test: {_tested(breaches)}")
    say(f"ready: {chain}, listening on {path}")
    for breach in breaches:
        say(f"accepted by walls.accepted: {breach}")
    if not shell.cage.separated:
        say("commands run as the executor's own uid: nothing separates them from the chain")
    await _until_told(duties)
    await _end(runs, server, connections)
    for duty in duties:
        duty.cancel()
    ended = await asyncio.gather(*duties, return_exceptions=True)
    with suppress(LedgerError):  # the next start makes one
        await archive.checkpoint()
    await archive.close()
    tokens.close()
    if ours:
        remove(path)
    for fault in ended:
        if isinstance(fault, Exception):
            raise fault


async def _end(runs: Runs, server: Server, connections: Collection[Connection]) -> None:
    """End what runs, have who asked for it told, and end all connections.

    In this order, since nobody else could tell the room where no executor comes after this one.
    """
    daemon.notify("STOPPING=1")
    say("stopping")
    server.refrain()
    for connection in connections:
        connection.refrain()
    await runs.stop()
    await asyncio.gather(*(connection.settle() for connection in connections))
    server.stop()


def _tested(breaches: Sized) -> str:
    """Return what the self-test found, in a few words."""
    return f"{counted(len(breaches), 'breach', 'breaches')} accepted" if breaches else "all holds"


def check_apart(*, agent: int, shell: int, own: int) -> None:
    """Raise ConfigError if two of the three parts share a uid.

    As the agent's uid a command would have its keys and this socket; as the executor's uid the
    agent would have the chain. All three may: then nothing is separated, and that is said.
    """
    if len({agent, shell, own}) == 2:
        raise ConfigError(
            f"agent.user, shell.user: agent {agent}, shell {shell} and executor {own} need three"
            " accounts, and two of these are the same"
        )


def _agent_apart(config: Config) -> int:
    """Return the agent's uid; raises ConfigError if two of the three parts share one."""
    agent, shell = uid_of(config.agent.user, "agent.user"), uid_of(config.shell.user, "shell.user")
    check_apart(agent=agent, shell=shell, own=os.geteuid())
    return agent


def _prepare() -> None:
    """Shield this process, and see that it may open as many files as it needs."""
    _shield()
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files < LEAST_FILES:
        raise ConfigError(
            f"only {files} files may be open at once, and {LEAST_FILES} are needed:"
            " allow it more with LimitNOFILE= of its unit"
        )


def _shield() -> None:
    """Keep what is written from others, and what is in memory from core files and the own uid."""
    os.umask(UMASK)
    try:
        forbid_dumps()
    except OSError as error:
        raise ConfigError(f"memory can't be kept from core files: {error.strerror}") from None


async def _until_told(duties: Iterable[asyncio.Task[None]]) -> None:
    """Wait for a signal, or for a duty that fails: nobody would take it over but the next start."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told.set)

    def ended(duty: asyncio.Task[None]) -> None:
        if duty.cancelled() or duty.exception() is not None:
            told.set()

    for duty in duties:
        duty.add_done_callback(ended)
    await told.wait()


async def _watchdog(environment: Mapping[str, str]) -> None:
    """Tell systemd that the loop turns, thrice as often as it asks (sd_notify(3))."""
    microseconds = int(environment.get("WATCHDOG_USEC", "0"))
    while microseconds:
        daemon.notify("WATCHDOG=1")
        await asyncio.sleep(microseconds / 3e6)
