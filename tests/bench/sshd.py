# SPDX-License-Identifier: MIT
"""A throwaway ssh server on loopback: its own configuration, host key, port and user key."""

import getpass
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.bench.debian import need

SECONDS: Final = 10.0
PRIVILEGE_SEPARATION: Final = Path("/run/sshd")


class SshServer:
    """A running server and the ways to run a command through it; use as a context manager.

    HOME is its own directory, so that nobody's shell start-up files are measured. Raises
    MissingError where there is no OpenSSH and none can be installed.
    """

    def __init__(self, directory: Path) -> None:
        need({"/usr/sbin/sshd": "openssh-server", "/usr/bin/ssh": "openssh-client"})
        self._directory = directory
        self._process: subprocess.Popen[bytes] | None = None
        self._made_run = False
        directory.mkdir(parents=True, mode=0o700)
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", directory / name], check=True
            )
        shutil.copy(directory / "user.pub", directory / "authorized")
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port: int = probe.getsockname()[1]
        (directory / "sshd_config").write_text(f"""\
Port {self._port}
ListenAddress 127.0.0.1
HostKey {directory / "host"}
AuthorizedKeysFile {directory / "authorized"}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
MaxStartups 200
MaxSessions 200
SetEnv HOME={directory}
""")

    def __enter__(self) -> Self:
        if os.geteuid() == 0 and not PRIVILEGE_SEPARATION.exists():
            PRIVILEGE_SEPARATION.mkdir(mode=0o755)
            self._made_run = True
        self._process = subprocess.Popen(
            ["/usr/sbin/sshd", "-D", "-f", self._directory / "sshd_config"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        end = time.monotonic() + SECONDS
        while subprocess.run([*self.argv, "true"], capture_output=True, check=False).returncode:
            if time.monotonic() > end or self._process.poll() is not None:
                self._stop()
                raise TimeoutError("sshd does not answer")
            time.sleep(0.05)
        subprocess.run(
            [*self._options, "-M", "-S", self._control, "-f", "-N", "127.0.0.1"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        subprocess.run(
            ["ssh", "-F", "none", "-S", self._control, "-O", "exit", "127.0.0.1"],
            capture_output=True,
            check=False,
        )
        self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        if self._made_run:
            PRIVILEGE_SEPARATION.rmdir()

    @property
    def argv(self) -> list[str]:
        """The start of a command line that connects anew."""
        return [*self._options, "127.0.0.1"]

    @property
    def master_argv(self) -> list[str]:
        """The start of a command line that uses the open connection of a control master."""
        return ["ssh", "-F", "none", "-S", self._control, "127.0.0.1"]

    @property
    def _control(self) -> str:
        return str(self._directory / "control")

    @property
    def _options(self) -> list[str]:
        return [
            "ssh",
            "-F",
            "none",
            "-i",
            str(self._directory / "user"),
            "-p",
            str(self._port),
            "-l",
            getpass.getuser(),
            "-o",
            "BatchMode=yes",
            "-o",
            "StrictHostKeyChecking=no",
            "-o",
            f"UserKnownHostsFile={self._directory / 'known'}",
        ]


def run(argv: list[str], command: str) -> bytes:
    """Run a command and return its output."""
    return subprocess.run(
        [*argv, command], stdin=subprocess.DEVNULL, capture_output=True, check=True
    ).stdout
