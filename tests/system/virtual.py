# SPDX-License-Identifier: MIT
"""The installed Debian of a container, booted once more with a kernel of its own in QEMU.

What a container shares with this machine's kernel is real there: all control group controllers,
and nothing else of this machine. It is emulated (TCG), so no time that is measured there counts.

It is told nothing from outside and has no way in: what it does is asked in the room, as on any
host. QEMU runs in the network namespace of the tests, so the only thing that it can reach is the
homeserver of the tests, which the machine has as 127.0.0.1.
"""

import subprocess
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.system.machine import Machine

QEMU: Final = "qemu-system-x86_64"
GATEWAY: Final = "10.0.2.2"
"""This machine's loopback, as QEMU's user network shows it."""
IMAGE_SIZE: Final = "4G"
STOP_SECONDS: Final = 20.0

_FSTAB: Final = "/dev/vda / ext4 rw,noatime 0 1\n"
_NETWORK: Final = f"""\
[Match]
Type=ether
[Network]
Address=10.0.2.15/24
Gateway={GATEWAY}
"""
_SOCKET: Final = """\
[Socket]
ListenStream=127.0.0.1:{port}
[Install]
WantedBy=sockets.target
"""
_PROXY: Final = """\
[Service]
ExecStart=/usr/lib/systemd/systemd-socket-proxyd {gateway}:{port}
"""


class VirtualMachineError(Exception):
    """QEMU ended, or something could not be made; the text has the end of what was said."""


def make_bootable(machine: Machine, port: int) -> None:
    """Give a running container what it needs with a kernel of its own: a disk, a network.

    ``port`` is the homeserver's, here and there.
    """
    machine.write("/etc/fstab", _FSTAB)
    machine.write("/etc/systemd/network/10-qemu.network", _NETWORK)
    machine.write("/etc/systemd/system/homeserver.socket", _SOCKET.format(port=port))
    machine.write(
        "/etc/systemd/system/homeserver.service", _PROXY.format(gateway=GATEWAY, port=port)
    )
    machine.run("systemctl", "enable", "--quiet", "systemd-networkd.service", "homeserver.socket")


class VirtualMachine:
    """A directory's Debian under QEMU; a context manager."""

    def __init__(self, root: Path, work: Path, *, memory_mib: int) -> None:
        self._root = root
        self._image = work / "disk.ext4"
        self.console: Final = work / "console"
        self._memory_mib = memory_mib
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        make = ["mke2fs", "-q", "-F", "-t", "ext4", "-d", str(self._root)]
        make += [str(self._image), IMAGE_SIZE]
        done = subprocess.run(make, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise VirtualMachineError(done.stderr[-2000:])
        self._process = subprocess.Popen(
            [
                QEMU,
                *("-accel", "tcg,thread=multi"),
                *("-cpu", "max"),
                *("-machine", "q35"),
                *("-smp", "2"),
                *("-m", str(self._memory_mib)),
                *("-display", "none"),
                "-nodefaults",
                "-no-reboot",
                *("-kernel", str(self._boot_file("vmlinuz-*"))),
                *("-initrd", str(self._boot_file("initrd.img-*"))),
                *("-append", "root=/dev/vda rw console=ttyS0 quiet"),
                *("-drive", f"file={self._image},if=virtio,format=raw,cache=unsafe"),
                *("-netdev", "user,id=net"),
                *("-device", "virtio-net-pci,netdev=net"),
                *("-serial", f"file:{self.console}"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(STOP_SECONDS)

    def tail(self) -> str:
        """Return the end of what it wrote to its console."""
        return self.console.read_text(errors="replace")[-2000:] if self.console.exists() else ""

    def _boot_file(self, pattern: str) -> Path:
        found = sorted((self._root / "boot").glob(pattern))
        if not found:
            raise VirtualMachineError(f"there is no {pattern} in {self._root}/boot")
        return found[-1]
