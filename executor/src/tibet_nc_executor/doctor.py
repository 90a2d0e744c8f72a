# SPDX-License-Identifier: MIT
"""``tibet-nc-executor doctor``: one line for each thing that must be right, with the fix if not.

It looks and changes nothing, and works while the executor runs. As root it asks systemd what the
running executor's self-test found; as anybody else inside the unit's walls it tries them itself.
"""

import errno
import itertools
import os
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tibet_nc_executor import segments
from tibet_nc_executor.cage import PRLIMIT, SETPRIV, SETSID
from tibet_nc_executor.config import Config, how_to_get_a_key, name_of, secret_key, uid_of
from tibet_nc_executor.errors import ConfigError, LedgerError
from tibet_nc_executor.journal import SOCKET
from tibet_nc_executor.pinfile import PinFile
from tibet_nc_executor.prologue import BASH
from tibet_nc_executor.reach import Way, not_its_own, reaches
from tibet_nc_executor.selftest import UntriedError, attempt
from tibet_nc_executor.service import agent_key, check_apart, shell_groups
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.errors import PinsError
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, RECORDINGS, TOKENS
from tibet_nc_protocol.records import Security, SecurityEvent
from tibet_nc_protocol.signing import Identity

UNIT: Final = "tibet-nc-executor.service"
SYSTEMD: Final = Path("/run/systemd/system")
SYSTEMCTL: Final = "/usr/bin/systemctl"

SEALED_KEY: Final = "/etc/credstore.encrypted/tibet-nc.executor.key"
"""Where the drop-in encrypted-key.conf has the executor's key from."""

LEAST_FREE_BYTES: Final = 512 * 1024**2
"""Enough for the largest recordings of some commands that run at once; below it, look now."""

OWN_FILES: Final = (
    *(f"{name}*" for name in ("executor.key", "index.sqlite", "lock", "reserve", TOKENS)),
    *(CHAIN, PAYLOADS, RECORDINGS, f"{CHAIN}/*.jsonl", f"{PAYLOADS}/*.jsonl"),
)
"""What the executor must be able to use in its state, whatever else is there."""

HOMES_MODE: Final = 0o711


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One thing that was looked at; ``fix`` is "" when it is right."""

    name: str
    ok: bool
    detail: str
    fix: str = ""


def examine(
    config: Config, environment: Mapping[str, str], *, settings: Path | None = None
) -> Iterator[Check]:
    """Yield the result of each check, in the order in which to mend them.

    ``settings`` is the file that was read.
    """
    own = _own_uid(config)
    yield _configured("accounts", "systemd-sysusers", lambda: _accounts(config, own))
    yield _programs()
    yield _key(config, environment)
    yield _configured(
        "agent",
        "tibet-nc-executor enrol-agent KEY",
        lambda: f"enrolled: {agent_key(config).hex}",
    )
    yield _operators(config)
    yield _settings(config, settings, own)
    yield _state(config, own)
    yield _disk(config)
    yield _home(config, own)
    yield _socket(config)
    yield _journal(config)
    yield _unit() if os.geteuid() == 0 and SYSTEMD.exists() else _walls(config)


def _configured(name: str, fix: str, look: Callable[[], str]) -> Check:
    try:
        return Check(name=name, ok=True, detail=look())
    except ConfigError as error:
        return Check(name=name, ok=False, detail=str(error), fix=fix)


def _key(config: Config, environment: Mapping[str, str]) -> Check:
    name, directory = "key", Path(config.state.directory)
    try:
        key = Identity(secret_key(config, environment)).public_key.hex
    except ConfigError as error:
        if not (directory / "executor.key").exists() and os.path.exists(SEALED_KEY):
            return Check(name=name, ok=True, detail=f"{SEALED_KEY} has it, for the unit alone")
        fix = how_to_get_a_key(directory)
        with suppress(OSError):
            if (directory / "executor.key").stat().st_mode & 0o077:
                fix = f'chmod 600 {directory / "executor.key"}; docs/operations.md, "Keys"'
        return Check(name=name, ok=False, detail=str(error).removesuffix(f"; {fix}"), fix=fix)
    return Check(name=name, ok=True, detail=f"this executor is {key}")


def _accounts(config: Config, own: int | None) -> str:
    agent = uid_of(config.agent.user, "agent.user")
    shell = uid_of(config.shell.user, "shell.user")
    shell_groups(config)
    if shell in {0, agent}:
        raise ConfigError(f"shell.user: uid {shell} may not be root's or the agent's")
    if own is not None:
        check_apart(agent=agent, shell=shell, own=own)
    return f"agent {agent}, shell {shell}"


def _operators(config: Config) -> Check:
    name, path = "operators", config.policy.operators_file
    try:
        pins = PinFile(Path(path)).pins()
    except PinsError as error:
        fix = f"chown root:root {path}; chmod 644 {path}; and see docs/adr/0006"
        return Check(name=name, ok=False, detail=str(error), fix=fix)
    commanding = sorted(pins.keys() & set(config.policy.operators or pins))
    if not commanding:
        fix = "tibet-nc-agent trust @you:server"
        return Check(name=name, ok=False, detail="nobody who may command is pinned", fix=fix)
    return Check(name=name, ok=True, detail=f"pinned: {', '.join(commanding)}")


def _own_uid(config: Config) -> int | None:
    """Return the uid that the executor runs as: its unit's, or else the one that has the state."""
    if os.geteuid() == 0 and SYSTEMD.exists() and (user := _shown("User").get("User")):
        with suppress(ConfigError):
            return uid_of(user, "User=")
    with suppress(OSError):
        status = Path(config.state.directory).stat()
        return status.st_uid if stat.S_ISDIR(status.st_mode) else None
    return None


def _settings(config: Config, settings: Path | None, own: int | None) -> Check:
    """Look whether the executor can read what root can."""
    files = (settings, config.agent.key_file, config.policy.operators_file)
    needed = [str(file) for file in files if file is not None and os.path.exists(file)]
    for path in needed:
        if own is not None and not reaches(own, Way.READ, path):
            detail = f"{path}: {name_of(own)} can't read it"
            fix = f"chmod 644 {path}"
            if path == str(settings):
                fix = f"chgrp {name_of(own)} {path}; chmod 640 {path}"
            fix += f"; chmod 755 {os.path.dirname(path)}"
            return Check(name="settings", ok=False, detail=detail, fix=fix)
    if (changed := _changed_by_others(needed, but=config.policy.operators_file)) is not None:
        detail = f"{changed}: others than root can change it"
        fix = f"chown root {changed}; chmod go-w {changed}"
        return Check(name="settings", ok=False, detail=detail, fix=fix)
    return Check(name="settings", ok=True, detail=f"the executor can read {', '.join(needed)}")


def _changed_by_others(files: Iterable[str], *, but: str) -> str | None:
    """Return the first directory of these files, or what is in it, that isn't root's alone.

    ``but``, which another check looks at, is passed over.
    """
    for directory in sorted({os.path.dirname(file) for file in files}):
        among = itertools.chain.from_iterable(map(Path(directory).glob, ("*.toml", "*.pub")))
        for path in (directory, *map(str, among)):
            with suppress(OSError):  # what leads nowhere, in a loop for one, says nothing
                status = os.stat(path)
                open_to_others = status.st_mode & 0o022
                if path != but and (status.st_uid not in {0, os.geteuid()} or open_to_others):
                    return path
    return None


def _programs() -> Check:
    needed = (PRLIMIT, SETPRIV, SETSID, BASH)
    if missing := [program for program in needed if not os.access(program, os.X_OK)]:
        detail = f"missing: {', '.join(missing)}"
        return Check(
            name="programs", ok=False, detail=detail, fix="apt-get install bash util-linux"
        )
    return Check(name="programs", ok=True, detail=", ".join(needed))


def _state(config: Config, own: int | None) -> Check:
    name, directory = "state", Path(config.state.directory)
    try:
        status = directory.stat()
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        segments = sum(1 for _ in (directory / CHAIN).glob("*.jsonl"))
        owner = status.st_uid if own is None else own
        other = not_its_own(owner, itertools.chain([directory], *map(directory.glob, OWN_FILES)))
    except OSError as error:
        detail = f"{directory}: {error.strerror}"
        return Check(name=name, ok=False, detail=detail, fix="tibet-nc-executor init")
    if stat.S_IMODE(status.st_mode) & 0o077:
        detail = f"{directory}: mode {stat.S_IMODE(status.st_mode):04o} lets others at the chain"
        return Check(name=name, ok=False, detail=detail, fix=f"chmod 700 {directory}")
    if other is not None:
        account = name_of(owner)
        detail = f"{other}: not {account}'s to read and write"
        fix = f"chown -R {account}: {directory}; chmod -R u+rwX {directory}"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    if segments and not (directory / RECORDINGS).is_dir():
        detail = f"{directory / RECORDINGS} is missing: no output is kept"
        fix = f"systemctl restart {UNIT}, which makes it"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    held = counted(segments, "chain segment")
    return Check(name=name, ok=True, detail=f"{directory} is private, {held}")


def _disk(config: Config) -> Check:
    name, directory = "disk", Path(config.state.directory)
    try:
        free = shutil.disk_usage(directory).free
        status = os.statvfs(directory)
    except OSError as error:
        fix = "tibet-nc-executor init"
        return Check(name=name, ok=False, detail=f"{directory}: {error.strerror}", fix=fix)
    but = ""
    if status.f_flag & os.ST_RDONLY:
        but = ", but it is read-only"
    elif status.f_files and not status.f_favail:
        but = ", but it takes not one file more (df -i)"
    detail = f"{free // 1024**2} MiB free below {directory}{but}"
    if but or free < LEAST_FREE_BYTES:
        why = "nothing runs once a record can't be written"
        fix = f"make room, or mount it read-write: {why}; docs/operations.md"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    return Check(name=name, ok=True, detail=detail)


def _home(config: Config, own: int | None) -> Check:
    name, home = "home", Path(config.shell.home)
    try:
        status = home.stat()
    except OSError as error:
        fix = f"install -d -m 711 {home}, and give it to the executor's user"
        return Check(name=name, ok=False, detail=f"{home}: {error.strerror}", fix=fix)
    owner = status.st_uid if own is None else own
    if not stat.S_ISDIR(status.st_mode):
        fix = f"rm {home}; install -d -m 711 -o {owner} {home}"
        return Check(name=name, ok=False, detail=f"{home} is not a directory", fix=fix)
    if status.st_uid != owner or status.st_mode & 0o777 != HOMES_MODE:
        detail = f"{home} is {status.st_mode & 0o777:o} of uid {status.st_uid}, not 711 of {owner}"
        return Check(
            name=name, ok=False, detail=detail, fix=f"chown {owner} {home}; chmod 711 {home}"
        )
    return Check(name=name, ok=True, detail=f"{home} is the executor's, for the homes of sessions")


def _socket(config: Config) -> Check:
    name, path = "socket", config.socket.path
    # A start would do nothing where systemd still listens on a file that was removed.
    fix = "systemctl restart tibet-nc-executor.socket"
    try:
        mode = os.stat(path).st_mode
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            probe.connect(path)
    except OSError as error:
        return Check(name=name, ok=False, detail=f"{path}: {error.strerror or error}", fix=fix)
    if mode & 0o007:
        detail = f"{path}: mode {stat.S_IMODE(mode):04o} lets everybody connect"
        return Check(name=name, ok=False, detail=detail, fix=f"chmod 660 {path}")
    with suppress(ConfigError):  # the accounts check says what is wrong there
        if not reaches(uid_of(config.agent.user, "agent.user"), Way.WRITE, path):
            detail = f"{path}: the agent's user can't connect to it"
            fix = f"systemd-tmpfiles --create tibet-nc.conf; {fix}"
            return Check(name=name, ok=False, detail=detail, fix=fix)
    return Check(name=name, ok=True, detail=f"{path} answers, mode {stat.S_IMODE(mode):04o}")


def _journal(config: Config) -> Check:
    name, fix = "journal", "systemctl start systemd-journald"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as probe:
            probe.connect(SOCKET)
    except OSError as error:
        return Check(name=name, ok=False, detail=f"{SOCKET}: {error.strerror}", fix=fix)
    return Check(name=name, ok=True, detail=f"journald listens{_gaps(config)}")


def _gaps(config: Config) -> str:
    """Return what the newest records of the chain say about entries that journald didn't take."""
    chain = Path(config.state.directory) / CHAIN
    try:
        first = segments.firsts(chain)[-1]
        newest = [record for record, _ in segments.read_from(chain, first)]
    except (OSError, LedgerError, IndexError):
        return ""  # the state check says what is wrong there
    gaps = [
        f"#{record.seq} {record.time[:19]}Z"
        for record in newest
        if isinstance(record, Security) and record.what is SecurityEvent.JOURNAL
    ]
    if not gaps:
        return ""
    return f"; entries that it did not take: {counted(len(gaps), 'record')}, last {gaps[-1]}"


def _shown(*properties: str) -> dict[str, str]:
    """Return properties of the unit."""
    done = subprocess.run(  # noqa: S603 - a fixed program
        [SYSTEMCTL, "show", UNIT, f"--property={','.join(properties)}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)


def _unit() -> Check:
    name = "walls"
    shown = _shown("ActiveState", "StatusText")
    state = shown.get("ActiveState", "unknown")
    if state != "active":
        fix = f"systemctl {'start' if state == 'inactive' else 'status'} {UNIT}"
        return Check(name=name, ok=False, detail=f"{UNIT} is {state}", fix=fix)
    return Check(name=name, ok=True, detail=f"{UNIT}: {shown.get('StatusText', '')}")


def _walls(config: Config) -> Check:
    try:
        breaches = tuple(attempt())
    except UntriedError as error:
        fix = "look what the host has too little of: docs/operations.md"
        return Check(name="walls", ok=False, detail=str(error), fix=fix)
    refused = [breach for breach in breaches if breach.wall not in config.walls.accepted]
    if refused:
        detail = "; ".join(map(str, refused))
        fix = "start it through its systemd unit, or name the wall in walls.accepted"
        return Check(name="walls", ok=False, detail=detail, fix=fix)
    detail = "; ".join(f"accepted: {breach}" for breach in breaches) or "all hold"
    return Check(name="walls", ok=True, detail=detail)
