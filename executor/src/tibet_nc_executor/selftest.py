# SPDX-License-Identifier: MIT
"""The start-up self-test: what must be impossible for this process is tried (I2).

Settings say what ought to hold; only trying says what does. Every attempt here is one that an
attacker in the executor's place would make. One that works is a breach of a wall: the executor
doesn't serve then, unless the settings accept that very wall's absence, and then every status says
so. What commands get beyond this is looked at from inside the cage (selfcheck.py).

An attempt that works is undone at once: sockets are closed, files are removed, nothing is sent.
"""

import errno
import mmap
import os
import socket
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from tibet_nc_executor.credentials import Capability
from tibet_nc_executor.errors import ExecutorError

UNSHARE: Final = "/usr/bin/unshare"

NETWORK_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET)
SECRETS: Final = (
    Path("/var/lib/tibet-nc-agent"),
    Path("/etc/credstore"),
    Path("/etc/credstore.encrypted"),
    Path("/etc/shadow"),
)
OUTSIDE: Final = tuple(
    map(Path, ("/", "/boot", "/etc", "/home", "/opt", "/run", "/run/lock", "/srv", "/usr", "/var"))
)
NEEDED: Final = frozenset((Capability.SETUID, Capability.SETGID, Capability.KILL))


class Wall(StrEnum):
    """What holds the executor in; the values are the words of ``walls.accepted``."""

    NETWORK = "network"
    NETWORK_VIEW = "network-view"
    SECRETS = "secrets"
    PRIVILEGE = "privilege"
    FILES = "files"


@dataclass(frozen=True, kw_only=True, slots=True)
class Breach:
    """Something that worked and must not."""

    wall: Wall
    detail: str

    def __str__(self) -> str:
        """Return one line for people."""
        return f"{self.wall}: {self.detail}"


_SHORTAGE: Final = frozenset(
    (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS, errno.EAGAIN, errno.EIO)
)
"""What says nothing about whether an attempt is forbidden."""
_FULL: Final = frozenset((errno.ENOSPC, errno.EDQUOT))
"""What a disk says of a file that nothing forbids: the kernel looks at the rights before."""


class UntriedError(ExecutorError):
    """Something could not be tried, so that nobody knows whether it is impossible."""


class SelfTestError(ExecutorError):
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
    """Try everything and return what worked and is accepted; raises SelfTestError for the rest."""
    breaches = tuple(attempt())
    if refused := tuple(breach for breach in breaches if breach.wall not in accepted):
        raise SelfTestError(refused)
    return breaches


def attempt() -> Iterator[Breach]:
    """Try everything that must be impossible; yield what worked.

    Starts a process and waits for it, so it comes before anything that owns all children.
    Raises UntriedError.
    """
    try:
        yield from _network()
        yield from _secrets()
        yield from _privilege()
        yield from files_made(OUTSIDE)
    except OSError as error:
        raise UntriedError(f"the self-test can't be made: {error.strerror}") from None


def _forbidden(error: OSError) -> None:
    """Raise the error of an attempt again if it isn't that the attempt is forbidden."""
    if error.errno in _SHORTAGE:
        raise error


def _network() -> Iterator[Breach]:
    for family in NETWORK_FAMILIES:
        if _opens(family, socket.SOCK_DGRAM):
            yield Breach(wall=Wall.NETWORK, detail=f"a socket of {family.name} opens")
    if _opens(socket.AF_NETLINK, socket.SOCK_RAW):
        detail = "a socket of AF_NETLINK opens, which shows the network"
        yield Breach(wall=Wall.NETWORK_VIEW, detail=detail)


def _opens(family: socket.AddressFamily, kind: socket.SocketKind) -> bool:
    try:
        socket.socket(family, kind).close()
    except OSError as error:
        _forbidden(error)
        return False
    return True


def _secrets() -> Iterator[Breach]:
    for path in SECRETS:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            _forbidden(error)
            continue
        yield Breach(wall=Wall.SECRETS, detail=f"{path} can be read")


def _privilege() -> Iterator[Breach]:
    def breach(detail: str) -> Breach:
        return Breach(wall=Wall.PRIVILEGE, detail=detail)

    status = dict(
        line.split(":", 1)
        for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines()
    )
    allowed = sum(1 << capability for capability in NEEDED)
    if os.geteuid() == 0:
        yield breach("this is root")
    if extra := int(status["CapEff"], 16) & ~allowed:
        yield breach(f"it has capabilities beyond the needed ones: {extra:x}")
    if extra := int(status["CapBnd"], 16) & ~allowed:
        yield breach(f"a program could bring capabilities: {extra:x}")
    if int(status["NoNewPrivs"]) != 1:
        yield breach("a set-user-id program gains its owner's rights (no_new_privs is not set)")
    if _makes_user_namespace():
        yield breach("a user namespace can be made, and all capabilities in it")
    if _maps_writable_code():
        yield breach("memory can be writable and executable")


def _makes_user_namespace() -> bool:
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program
            [UNSHARE, "--user", "true"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": "/usr/bin:/bin"},
            cwd="/",
            check=False,
        )
    except OSError as error:
        _forbidden(error)
        return False
    return done.returncode == 0


def _maps_writable_code() -> bool:
    everything = mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC
    try:
        mmap.mmap(-1, mmap.PAGESIZE, prot=everything).close()
    except OSError as error:
        _forbidden(error)
        return False
    return True


def files_made(directories: Iterable[Path]) -> Iterator[Breach]:
    """Yield what is missing where a file can be made in a directory."""
    made: list[str] = []
    for directory in directories:
        path = directory / f".tibet-nc-selftest-{os.getpid()}"
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as error:
            _forbidden(error)
            if error.errno in _FULL:
                made.append(str(directory))
            continue
        os.close(descriptor)
        path.unlink()
        made.append(str(directory))
    if made:
        yield Breach(wall=Wall.FILES, detail=f"files can be made in {', '.join(made)}")
