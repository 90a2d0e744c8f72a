# SPDX-License-Identifier: MIT
"""Mounts that this test and what it starts see, and nobody else on this machine."""

import os
import subprocess
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def private_mounts() -> Generator[None]:
    """Give this thread, and the processes it starts, mounts of their own; needs root."""
    here = os.getcwd()
    before = os.open("/proc/thread-self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.unshare(os.CLONE_NEWNS)
        subprocess.run(["mount", "--make-rprivate", "/"], check=True)
        yield
    finally:
        os.unshare(os.CLONE_FS)  # which a thread begun since shares, as pytest's watchdog
        os.setns(before, os.CLONE_NEWNS)
        os.close(before)
        os.chdir(here)


def mount_memory(path: Path, *options: str) -> None:
    """Mount an empty file system in memory."""
    words = ",".join(("mode=0755", *options))
    subprocess.run(["mount", "-t", "tmpfs", "-o", words, "tmpfs", path], check=True)


def remount(path: Path, option: str) -> None:
    """Mount a file system anew, as ``ro`` or ``rw``."""
    subprocess.run(["mount", "-o", f"remount,{option}", path], check=True)
