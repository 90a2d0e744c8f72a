# SPDX-License-Identifier: MIT
"""The start-up self-test: what must be impossible for this process is tried (I2).

The agent reads the network, so it must have no shell and no privilege. Settings say what ought to
hold; only trying says what does. An attempt that works is a breach of a wall: the agent doesn't
serve then, unless the settings accept that very wall's absence, and then every status says so.

An attempt that works is undone at once: sockets are closed, files are removed, nothing is sent.
"""

import ctypes
import mmap
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Final

import msgspec

SHELLS: Final = ("/bin/sh", "/bin/bash")
SECRETS: Final = tuple(
    map(
        Path,
        (
            "/var/lib/tibet-nc",
            "/var/lib/tibet-nc-shell",
            "/etc/credstore",
            "/etc/credstore.encrypted",
            "/etc/shadow",
        ),
    )
)
OUTSIDE: Final = tuple(
    map(Path, ("/", "/boot", "/etc", "/home", "/opt", "/run", "/run/lock", "/srv", "/usr", "/var"))
)

NOTE: Final = Path("/run/tibet-nc-agent/self-test")
"""What the running unit's self-test found. systemd removes it when the unit ends."""

_CLONE_NEWUSER: Final = 0x10000000
_EXECUTES: Final = 97
"""What the trial shell exits with; anything else means that there was no shell."""


class Wall(StrEnum):
    """What holds the agent in; the values are the words of ``walls.accepted``."""

    SHELL = "shell"
    NETWORK = "network"
    SECRETS = "secrets"
    PRIVILEGE = "privilege"
    FILES = "files"


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """Something that worked and must not."""

    wall: Wall
    detail: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.wall}: {self.detail}"


class SelfTestError(Exception):
    """A wall is missing that the settings don't give up."""

    def __init__(self, breaches: tuple[Breach, ...]) -> None:
        self.breaches = breaches
        names = ", ".join(f'"{wall}"' for wall in sorted({breach.wall for breach in breaches}))
        super().__init__(
            "the self-test could do what must be impossible: "
            + "; ".join(map(str, breaches))
            + f". Start it through its systemd unit, or accept this: [walls] accepted = [{names}]"
        )


def enforce(accepted: frozenset[Wall]) -> tuple[Breach, ...]:
    """Try everything and return what worked and is accepted; raises SelfTestError for the rest.

    To be called before there are threads: two of the attempts are made in a process of their own.
    """
    breaches = tuple(attempt())
    if refused := tuple(breach for breach in breaches if breach.wall not in accepted):
        raise SelfTestError(refused)
    return breaches


def given_up(breaches: Iterable[Breach]) -> tuple[str, ...]:
    """Return what a status says of accepted breaches: one text a wall."""
    return tuple(sorted({f"NO {breach.wall} wall: accepted" for breach in breaches}))


def leave_note(environ: Mapping[str, str], breaches: tuple[Breach, ...]) -> None:
    """Say what was found to a doctor, who stands outside of these walls; only in the unit."""
    if environ.get("RUNTIME_DIRECTORY") == str(NOTE.parent):
        NOTE.write_text("; ".join(f"accepted: {breach}" for breach in breaches) or "all hold")


def attempt() -> Iterator[Breach]:
    """Try everything that must be impossible; yield what worked."""
    yield from _shells()
    yield from _network()
    yield from _secrets()
    yield from _privilege()
    yield from _files(OUTSIDE)


def _shells() -> Iterator[Breach]:
    for program in SHELLS:
        if _exit_of(partial(_become, program)) == _EXECUTES:
            yield Breach(wall=Wall.SHELL, detail=f"{program} can be run")


def _become(program: str) -> int:
    os.execve(program, [program, "-c", f"exit {_EXECUTES}"], {})  # noqa: S606 - has to fail


def _network() -> Iterator[Breach]:
    """Look for raw access to the network: ordinary connections are what the agent is for."""
    for family, kind in (
        (socket.AF_PACKET, socket.SOCK_DGRAM),
        (socket.AF_NETLINK, socket.SOCK_RAW),
        (socket.AF_INET, socket.SOCK_RAW),
    ):
        try:
            socket.socket(family, kind).close()
        except OSError:
            continue
        yield Breach(wall=Wall.NETWORK, detail=f"a {kind.name} socket of {family.name} opens")


def _secrets() -> Iterator[Breach]:
    for path in SECRETS:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            continue
        yield Breach(wall=Wall.SECRETS, detail=f"{path} can be read")


def _privilege() -> Iterator[Breach]:
    def breach(detail: str) -> Breach:
        return Breach(wall=Wall.PRIVILEGE, detail=detail)

    text = Path("/proc/self/status").read_text("utf-8", "replace")
    status = dict(line.split(":", 1) for line in text.splitlines())
    if os.geteuid() == 0:
        yield breach("this is root")
    if held := int(status["CapEff"], 16):
        yield breach(f"it has capabilities: {held:x}")
    if held := int(status["CapBnd"], 16):
        yield breach(f"a program could bring capabilities: {held:x}")
    if int(status["NoNewPrivs"]) != 1:
        yield breach("a set-user-id program gains its owner's rights (no_new_privs is not set)")
    if _exit_of(_make_user_namespace) == _EXECUTES:
        yield breach("a user namespace can be made, and all capabilities in it")
    if _maps_writable_code():
        yield breach("memory can be writable and executable")


def _make_user_namespace() -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    return _EXECUTES if libc.unshare(_CLONE_NEWUSER) == 0 else 0


def _maps_writable_code() -> bool:
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=everything).close()
    except OSError:
        return False
    return True


def _exit_of(action: Callable[[], int]) -> int:
    """Do something in a process of its own and return how it exited."""
    child = os.fork()
    if child == 0:
        code = 0
        try:
            code = action()
        except OSError:
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _files(directories: Iterable[Path]) -> Iterator[Breach]:
    made: list[str] = []
    for directory in directories:
        path = directory / f".tibet-nc-selftest-{os.getpid()}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            continue
        os.close(descriptor)
        path.unlink()
        made.append(str(directory))
    if made:
        yield Breach(wall=Wall.FILES, detail=f"files can be made in {', '.join(made)}")
