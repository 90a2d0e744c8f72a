# SPDX-License-Identifier: MIT
"""A Debian with systemd as PID 1, in a container of its own.

It shares the network namespace of the test process, which :func:`leave_network` has taken out of
the machine's network before: only the loopback is there, and it outlives a reboot. So a homeserver
that the tests start is reachable inside as 127.0.0.1, and nothing else is.

Control groups: the container has its own version 2 hierarchy. Where the machine keeps the
controllers in version 1, limits have no effect in there, but delegation and ``cgroup.kill`` do.
All containers of a machine have that one hierarchy, so there is one of them at a time.
"""

import fcntl
import os
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.system.base import CACHE
from tests.system.pages import ROOT

BOOT_SECONDS: Final = 60.0
RUN_SECONDS: Final = 600.0
WAIT_SECONDS: Final = 30.0

LOCK: Final = Path("/run/lock/tibet-nc-system")

_SIOCSIFFLAGS: Final = 0x8914
_IFF_UP: Final = 1

ENVIRONMENT: Final = {
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "SYSTEMD_PAGER": "cat",
    "TERM": "dumb",
}


class MachineError(Exception):
    """The machine did not do what it should; the text has the end of what it said."""


def leave_network() -> None:
    """Take this process into a network of its own that has only the loopback."""
    os.unshare(os.CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sH14x", b"lo", _IFF_UP)
        fcntl.ioctl(control, _SIOCSIFFLAGS, request)


def wait_until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Look again and again until a condition holds; raises MachineError."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise MachineError(f"after {seconds:g} s still not: {what}")
        time.sleep(0.05)


class Machine:
    """A container; a context manager that boots a copy of the base and removes it at the end."""

    def __init__(self, base: Path, packages: Path) -> None:
        self.root: Final = CACHE / f"machine-{os.getpid()}"
        self._base = base
        self._packages = packages
        self._nspawn: subprocess.Popen[bytes] | None = None
        self._turn: Final = LOCK.open("w")

    def __enter__(self) -> Self:
        fcntl.flock(self._turn, fcntl.LOCK_EX)
        self._make_root()
        self.boot()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.power_off()
        shutil.rmtree(self.root)
        self._turn.close()

    def boot(self) -> None:
        """Start it and wait until systemd says that it is up; raises MachineError."""
        self._nspawn = subprocess.Popen(
            [
                "systemd-nspawn",
                "--quiet",
                f"--directory={self.root}",
                "--machine=tibet-nc",
                "--register=no",
                "--keep-unit",
                "--console=pipe",
                "--resolv-conf=off",
                "--timezone=off",
                "--link-journal=no",
                "--capability=CAP_NET_ADMIN",
                # As on a host, where nobody filters them; nspawn's own list is without them.
                "--system-call-filter=@keyring landlock_create_ruleset landlock_restrict_self",
                f"--bind-ro={self._packages}:/srv/packages",
                "--boot",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
        wait_until(self._is_up, "the machine has booted", BOOT_SECONDS)

    def power_off(self) -> None:
        """Shut it down, by force if it must be."""
        process, self._nspawn = self._nspawn, None
        if process is None:
            return
        process.terminate()  # nspawn asks PID 1 to power off
        try:
            process.wait(WAIT_SECONDS)
        except subprocess.TimeoutExpired:
            process.terminate()  # and the second time it does not ask
            process.wait()

    def reboot(self) -> None:
        """Shut it down in order and boot it again."""
        self.power_off()
        self.boot()

    def run(
        self,
        *command: str,
        stdin: str = "",
        check: bool = True,
        user: str = "",
        seconds: float = RUN_SECONDS,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command inside, as root or another user; raises MachineError if it fails."""
        prefix = ["runuser", "-u", user, "--"] if user else []
        done = subprocess.run(
            [*self._enter(), *prefix, *command],
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=ENVIRONMENT,
            timeout=seconds,
        )
        if check and done.returncode != 0:
            said = (done.stdout + done.stderr)[-3000:]
            raise MachineError(f"{' '.join(command)}: exit {done.returncode}: {said}")
        return done

    def start(self, *command: str) -> subprocess.Popen[bytes]:
        """Start a command inside, as root, with pipes; what it says of errors is in its output."""
        return subprocess.Popen(
            [*self._enter(), *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT,
        )

    def sh(self, script: str, *, check: bool = True, user: str = "") -> str:
        """Run a shell script inside and return what it printed, errors included."""
        return self.run("bash", "-c", f"exec 2>&1\n{script}", check=check, user=user).stdout

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit."""
        asked = [f"--property={name}" for name in properties]
        lines = self.run("systemctl", "show", unit, *asked).stdout.splitlines()
        return dict(line.split("=", 1) for line in lines)

    def pid(self, unit: str) -> int:
        """Return the main process of a unit inside, 0 if it has none."""
        return int(self.show(unit, "MainPID")["MainPID"])

    def is_active(self, unit: str) -> bool:
        """Whether a unit runs and is ready; raises MachineError if it has failed for good."""
        state = self.show(unit, "ActiveState")["ActiveState"]
        if state == "failed":
            raise MachineError(f"{unit} has failed")
        return state == "active"

    def wait_active(self, *units: str, seconds: float = WAIT_SECONDS) -> None:
        """Wait until units run and are ready; raises MachineError with what they logged."""
        for unit in units:
            try:
                wait_until(lambda unit=unit: self.is_active(unit), f"{unit} is active", seconds)  # type: ignore[misc]
            except MachineError as error:
                log = self.run("journalctl", "-u", unit, "-n", "30", "--no-pager", check=False)
                raise MachineError(f"{error}\n{log.stdout}") from None

    def wait_mended(self, unit: str) -> None:
        """Wait until a unit that has failed before is started by itself; raises MachineError."""

        def running() -> bool:
            return self.show(unit, "ActiveState")["ActiveState"] == "active"

        wait_until(running, f"{unit} has come back by itself")

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Write a file inside, as root."""
        leader = self._leader()
        root = self.root if leader is None else Path(f"/proc/{leader}/root")  # with its own /run
        file = root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(mode)

    def exists(self, path: str) -> bool:
        """Whether something is there inside; links are not followed."""
        return os.path.lexists(f"/proc/{self._leader()}/root{path}")

    def _make_root(self) -> None:
        subprocess.run(["cp", "-a", "--reflink=auto", str(self._base), str(self.root)], check=True)
        for part in ("agent", "audit", "deploy", "docs", "executor", "protocol", "scripts"):
            shutil.copytree(
                ROOT / part,
                self.root / "srv" / "tibet-nc" / part,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        for page in ("CHANGELOG.md", "LICENSE", "SECURITY.md"):
            shutil.copy(ROOT / page, self.root / "srv" / "tibet-nc")
        # Without a network nothing resolves names, and pip has one source.
        (self.root / "etc" / "resolv.conf").write_text("")
        self.write("/etc/hosts", "127.0.0.1 localhost host1\n")
        self.write("/etc/hostname", "host1\n")
        self.write("/etc/pip.conf", "[global]\nno-index = true\nfind-links = /srv/packages\n")

    def _is_up(self) -> bool:
        if self._nspawn is not None and self._nspawn.poll() is not None:
            raise MachineError(f"systemd-nspawn ended with {self._nspawn.returncode}")
        if self._leader() is None:
            return False
        return self.run("systemctl", "is-active", "basic.target", check=False).returncode == 0

    def _leader(self) -> int | None:
        """Return the container's PID 1 as the host numbers it."""
        if self._nspawn is None:
            return None
        children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
        pids = children.read_text().split()
        return int(pids[0]) if pids else None

    def _enter(self) -> list[str]:
        leader = self._leader()
        if leader is None:
            raise MachineError("the machine is off")
        return [
            "nsenter",
            f"--target={leader}",
            "--mount",
            "--uts",
            "--ipc",
            "--pid",
            "--cgroup",
            f"--root=/proc/{leader}/root",
            "--",
            "env",
            "--chdir=/",
        ]
