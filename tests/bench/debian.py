# SPDX-License-Identifier: MIT
"""Debian packages that only the benchmark needs."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path


class MissingError(Exception):
    """A peer or a tool is not on this machine and can't be installed; the text says which."""


def need(programs: Mapping[str, str]) -> None:
    """See that programs are there, installing their packages as root.

    ``programs`` maps the path of each to its package. Raises MissingError.
    """
    missing = sorted({package for path, package in programs.items() if not Path(path).exists()})
    if not missing:
        return
    names = " ".join(missing)
    if os.geteuid() != 0:
        raise MissingError(f"needs Debian packages: sudo apt-get install {names}")
    print(f"  installing {names}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for argv in (["update"], ["install", "-y", "--no-install-recommends", *missing]):
        done = subprocess.run(
            ["apt-get", "-qq", *argv], capture_output=True, text=True, check=False, env=environment
        )
    if done.returncode != 0:
        raise MissingError(f"apt-get install {names}: {done.stderr.strip()}")
