# SPDX-License-Identifier: MIT
"""What the system tests start from, made once and kept in ``.cache/system``.

- ``trixie``: a Debian 13 from debootstrap, in which the packages that the installer asks for are
  downloaded but not installed, so that the installer's own apt-get works without a network;
- ``bookworm``: a Debian 12 with a Python 3.13 built as docs/install.md says, and the same;
- ``trixie-kernel``: the same with a kernel, for a virtual machine; only made when asked for;
- ``packages``: the Python packages of the lock files, fetched with this machine's pip and its
  settings. Inside, pip is set up for that folder alone.

Everything after this needs no network.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.system.pages import ROOT, blocks

CACHE: Final = ROOT / ".cache" / "system"
LOCKS: Final = ("agent", "audit", "build", "executor", "setuptools")

# What a small server has, and what the tests look at.
INCLUDED: Final = (
    "ca-certificates",
    "curl",
    "dbus",
    "iproute2",
    "libgcrypt20",
    "procps",
    "strace",
    "systemd",
    "systemd-sysv",
)


@dataclass(frozen=True, kw_only=True)
class Release:
    """A Debian: its name, the packages to download, and how it gets a Python 3.13 if it has none.

    ``build`` is typed in a directory that has Python's source.
    """

    suite: str
    downloaded: tuple[str, ...]
    build: str = ""


TRIXIE: Final = Release(
    suite="trixie",
    downloaded=(
        "gcc",
        "libc6-dev",
        "libsystemd-dev",
        "pkg-config",
        "python3.13",
        "python3.13-dev",
        "python3.13-venv",
    ),
)
BOOKWORM: Final = Release(
    suite="bookworm",
    downloaded=("libsystemd-dev",),
    build=blocks("docs/install.md", "Debian 12")[0],
)
KERNEL: Final = ("initramfs-tools", "kmod", "linux-image-cloud-amd64", "udev", "zstd")
VIRTUAL: Final = {"qemu-system-x86_64": "qemu-system-x86"}
TOOLS: Final = {
    "debootstrap": "debootstrap",
    "lintian": "lintian",
    "shellcheck": "shellcheck",
    "systemd-nspawn": "systemd-container",
}


class BaseError(Exception):
    """The base can't be made; the text has the end of what was said."""


def need_tools(tools: Mapping[str, str] = TOOLS) -> None:
    """Install the packages of programs that are missing; raises BaseError."""
    missing = [package for tool, package in tools.items() if shutil.which(tool) is None]
    if missing:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing)


def prepare(release: Release = TRIXIE) -> tuple[Path, Path]:
    """Return a Debian and the folder of packages, made when they are not there."""
    need_tools()
    CACHE.mkdir(parents=True, exist_ok=True)
    return _debian(release), _packages()


def prepare_kernel() -> tuple[Path, Path]:
    """Return what :func:`prepare` does, with a Debian that has a kernel as well."""
    need_tools(VIRTUAL)
    base, packages = prepare()
    target = CACHE / f"{TRIXIE.suite}-kernel"
    content = repr((base.with_suffix(".stamp").read_text(), KERNEL))
    if not _stamped(target, content):
        shutil.rmtree(target, ignore_errors=True)
        _run("cp", "-a", "--reflink=auto", str(base), str(target))
        _run(
            *("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--pipe"),
            *("--resolv-conf=off", "--timezone=off", f"--directory={target}"),
            "--setenv=DEBIAN_FRONTEND=noninteractive",
            *("apt-get", "install", "-y", "-qq", "--no-install-recommends", *KERNEL),
        )
        (target / "etc" / "machine-id").write_text("")
        _stamp(target, content)
    return target, packages


def _debian(release: Release) -> Path:
    target = CACHE / release.suite
    content = repr((release, INCLUDED))
    if _stamped(target, content):
        return target
    shutil.rmtree(target, ignore_errors=True)
    include = f"--include={','.join(INCLUDED)}"
    _run("debootstrap", "--variant=minbase", include, release.suite, str(target))
    resolver = target / "etc" / "resolv.conf"
    resolver.unlink(missing_ok=True)
    shutil.copy("/etc/resolv.conf", resolver)
    if release.build:
        _build_python(target, release)
    install = ["apt-get", "install", "-d", "-y", "-qq", "--no-install-recommends"]
    _run("chroot", str(target), "apt-get", "update", "-qq")
    _run("chroot", str(target), *install, *release.downloaded)
    (target / "etc" / "machine-id").write_text("")
    _stamp(target, content)
    return target


def _build_python(target: Path, release: Release) -> None:
    """Build Python from the source that Debian 13 has, whose signature apt checks."""
    sources = target / "etc" / "apt" / "sources.list.d" / "python.list"
    debian = (target / "etc" / "apt" / "sources.list").read_text()
    sources.write_text(debian.replace("deb ", "deb-src ").replace(release.suite, TRIXIE.suite))
    script = f"""\
set -euo pipefail
mkdir /root/build && cd /root/build
apt-get update -qq
apt-get source -qq --download-only python3.13
source=$(echo *.orig.tar.xz)
version=${{source#*_}}
mv "$source" "Python-${{version%.orig*}}.tar.xz"
export MAKEFLAGS=--jobs=$(nproc)
echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/yes
{release.build}
rm -r /root/build /etc/apt/apt.conf.d/yes
"""
    _run("chroot", str(target), "bash", "-c", script)
    sources.unlink()


def _packages() -> Path:
    target = CACHE / "packages"
    locks = [ROOT / "deploy" / "locks" / f"{name}.lock" for name in LOCKS]
    digest = hashlib.sha256(b"".join(lock.read_bytes() for lock in locks)).hexdigest()
    if _stamped(target, digest):
        return target
    shutil.rmtree(target, ignore_errors=True)
    download = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes"]
    for lock in locks:
        _run(*download, "--dest", str(target), "--requirement", str(lock))
    _stamp(target, digest)
    return target


def _stamped(directory: Path, text: str) -> bool:
    stamp = directory.with_suffix(".stamp")
    return directory.is_dir() and stamp.is_file() and stamp.read_text() == text


def _stamp(directory: Path, text: str) -> None:
    directory.with_suffix(".stamp").write_text(text)


def _run(*command: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"DEBIAN_FRONTEND": "noninteractive"},
    )
    if done.returncode != 0:
        raise BaseError(f"{' '.join(command)}: {(done.stdout + done.stderr)[-2000:]}")
