# SPDX-License-Identifier: MIT
"""Starting programs as the uids of the design, without making accounts on this machine.

As root each daemon gets a uid of its own by number. A Python or a checkout under a directory that
only root can enter (/root, a private home) is made reachable in a mount namespace of the daemon's
own: an empty directory is laid over the closed one, with only what is needed bound into it.
Nothing outside that namespace changes.
"""

import os
import shlex
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path


def claim_uids(first: int, size: int, *, groups: int) -> range:
    """Return one of some groups of uids, which no other program of these tests has meanwhile.

    An executor ends whatever runs as its shell's uid. Who claims a group holds a name that the
    kernel gives once, and takes back when the program has ended.
    """
    own = os.getpid()
    for number in range(own, own + groups):
        begin = first + size * (number % groups)
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0tibet-nc-tests-uid-{begin}")
        except OSError:
            claim.close()
        else:
            claim.detach()
            return range(begin, begin + size)
    raise OSError(f"no uids are left from {first} on")


@cache
def _uids(host: int) -> range:  # noqa: ARG001 (by which the cache tells one from another)
    """Return four uids that are a host's alone, of the range of systemd's short-lived ones."""
    return claim_uids(61184, 4, groups=750)  # above are those of the tests of shells


AGENT_UID, EXECUTOR_UID, SHELL_UID, FOREIGN_UID = _uids(0)

CAPABILITIES = "setuid,setgid,kill"
"""What the executor holds, as in its unit, and gives up in every child."""

_CGROUP_ROOTS = (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified"))


@dataclass(frozen=True, kw_only=True)
class Uids:
    """The uids that the three parts run as; all the same when nothing can be separated."""

    agent: int
    executor: int
    shell: int
    separated: bool
    why_not: str = ""


def choose_uids(host: int = 0) -> Uids:
    """Return three uids as root where namespaces can be made, otherwise our own thrice.

    Another number is another host, with uids of its own.
    """
    own = os.getuid()
    if own != 0:
        return Uids(
            agent=own, executor=own, shell=own, separated=False, why_not="this needs to be root"
        )
    probe = subprocess.run(
        [*reachable(), *_setpriv(EXECUTOR_UID), sys.executable, "-c", "import sys"],
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode != 0:
        reason = (probe.stderr.strip().splitlines() or ["no reason given"])[-1]
        return Uids(agent=0, executor=0, shell=0, separated=False, why_not=reason)
    agent, executor, shell, _ = _uids(host)
    return Uids(agent=agent, executor=executor, shell=shell, separated=True)


def reachable() -> list[str]:
    """Return the start of a command line that makes Python and this checkout reachable to all."""
    needed = {Path(sys.base_prefix).resolve(), Path(__file__).resolve().parents[1]}
    closed = sorted({top for path in needed if (top := _closed(path)) is not None})
    if not closed:
        return []
    script = ["set -e"]
    for number, top in enumerate(closed):
        inside = [path for path in sorted(needed) if path.is_relative_to(top)]
        hold = f"/mnt/tibet-nc-{number}"
        # The bind mounts have to be made before the directory is covered, and moved in after.
        script.append("mount -t tmpfs -o mode=0755 tmpfs /mnt")
        for place, path in enumerate(inside):
            script.append(f"mkdir -p {hold}-{place}; mount --bind {_q(path)} {hold}-{place}")
        script.append(f"mount -t tmpfs -o mode=0755 tmpfs {_q(top)}")
        for place, path in enumerate(inside):
            script.append(f"mkdir -p {_q(path)}; mount --move {hold}-{place} {_q(path)}")
        script.append("umount /mnt")
    script.append('exec "$@"')
    return [
        "unshare", "--mount", "--propagation", "private", "--",
        "/bin/sh", "-c", "; ".join(script), "reachable",
    ]  # fmt: skip


def as_agent(uids: Uids) -> list[str]:
    """Return the start of a command line that runs the rest as the agent: no capability."""
    return [*reachable(), *_setpriv(uids.agent)] if uids.separated else []


def as_executor(uids: Uids, cgroup: Path | None) -> list[str]:
    """Return the start of a command line that runs the rest as the executor, without a network."""
    if not uids.separated:
        return []
    return [
        *([] if cgroup is None else entering(cgroup)),
        "unshare",
        "--net",
        "--",
        *reachable(),
        *_setpriv(uids.executor, CAPABILITIES),
    ]


def entering(cgroup: Path) -> list[str]:
    """Return the start of a command line that runs the rest in a delegated cgroup."""
    procs = cgroup / "daemon" / "cgroup.procs"
    return ["/bin/sh", "-c", f'echo $$ >{_q(procs)}; exec "$@"', "enter"]


def delegate_cgroup(name: str, uid: int) -> Path | None:
    """Make a cgroup that a uid may divide further, as Delegate= does; None where there is none."""
    for root in _CGROUP_ROOTS:
        if not (root / "cgroup.procs").exists():
            continue
        top = root / name
        try:
            daemon = top / "daemon"
            daemon.mkdir(parents=True)
            for directory in (top, daemon):
                os.chown(directory, uid, uid)
                for file in ("cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
                    os.chown(directory / file, uid, uid)
        except OSError:
            continue
        return top
    return None


def remove_cgroup(top: Path) -> None:
    """End whatever is left in a delegated cgroup and remove it."""
    if not top.exists():
        return
    (top / "cgroup.kill").write_text("1")
    for directory, _, _ in sorted(os.walk(top), reverse=True):
        for _ in range(200):
            try:
                os.rmdir(directory)
            except OSError:  # what was killed may take a moment to be gone
                time.sleep(0.01)
            else:
                break


def _setpriv(uid: int, capabilities: str = "") -> list[str]:
    kept = ",".join(f"+{name}" for name in capabilities.split(",") if name)
    wanted = f"-all,{kept}" if kept else "-all"
    return [
        "setpriv",
        f"--reuid={uid}",
        f"--regid={uid}",
        "--clear-groups",
        f"--inh-caps={wanted}",
        f"--ambient-caps={wanted}",
        f"--bounding-set={wanted}",
        "--no-new-privs",
        "--",
    ]


def _closed(path: Path) -> Path | None:
    """Return the topmost directory above a path that others can't enter."""
    for parent in reversed((path, *path.parents)):
        if not parent.stat().st_mode & 0o001:
            return parent
    return None


def _q(path: Path) -> str:
    return shlex.quote(str(path))
