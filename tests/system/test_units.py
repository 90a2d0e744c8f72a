# SPDX-License-Identifier: MIT
"""The unit files as systemd reads them."""

import re
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from tests.system.pages import ROOT
from tests.system.site import SOCKET, Site
from tibet_nc_protocol.journal_ids import MESSAGE_IDS

DEPLOY = ROOT / "deploy"
MOST = [
    pytest.param(unit, most, marks=mark)
    for mark, unit, most in (
        (pytest.mark.debian13, "tibet-nc-agent.service", 11),
        (pytest.mark.debian13, "tibet-nc-executor.service", 14),
        # Its systemd counts RemoveIPC= beside PrivateIPC=, too, and has no /tmp that is off the
        # disk and counts as private.
        (pytest.mark.debian12, "tibet-nc-agent.service", 13),
        (pytest.mark.debian12, "tibet-nc-executor.service", 18),
    )
]
"""The highest exposure, in tenths: no more than there is, so that no directive can go unseen."""

FILES = sorted([*DEPLOY.glob("systemd/*"), *DEPLOY.glob("dropins/*/*.conf")])

LISTS = {"InaccessiblePaths", "LoadCredentialEncrypted", "SystemCallFilter", "TemporaryFileSystem"}
"""Directives of which a second one adds to the first."""


@pytest.mark.parametrize(("unit", "most"), MOST)
def test_exposure(site: Site, unit: str, most: int) -> None:
    """The agent's exposure is at most 1.1, the executor's 1.4 (Debian 12: 1.3 and 1.8)."""
    path = f"/etc/systemd/system/{unit}"
    said = site.machine.run(
        "systemd-analyze", "security", "--offline=true", f"--threshold={most}",
        "--no-pager", path, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout[-200:]


def test_verify(site: Site) -> None:
    """The service manager has nothing to say against the units."""
    units = " ".join(f"/etc/systemd/system/{path.name}" for path in DEPLOY.glob("systemd/*"))
    assert site.machine.sh(f"systemd-analyze verify --man=no {units}") == ""


def test_accounts_and_directories(site: Site) -> None:
    """sysusers.d and tmpfiles.d are read without complaint, and have nothing left to do.

    No account has a password or a shell to log in with.
    """
    machine = site.machine
    assert machine.sh("systemd-sysusers --dry-run /etc/sysusers.d/tibet-nc.conf") == ""
    assert machine.sh("systemd-tmpfiles --create /etc/tmpfiles.d/tibet-nc.conf") == ""
    shadow = machine.sh("grep ^tibet-nc /etc/shadow").splitlines()
    assert [line.split(":")[1] for line in shadow] == ["!*"] * 3
    shells = machine.sh("getent passwd | grep ^tibet-nc | cut -d : -f 7").splitlines()
    assert shells == ["/usr/sbin/nologin"] * 3


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_directives_are_sorted(path: Path) -> None:
    """Directives stand in alphabetical order, so that one is found; only lists go on in a second.

    A second one of any other takes the first one's place, unseen.
    """
    sections = re.split(r"^\[.*\]$", path.read_text(), flags=re.MULTILINE)[1:]
    assert sections
    for section in sections:
        names = re.findall(r"^([A-Za-z]+)=", section, flags=re.MULTILINE)
        assert names == sorted(names, key=str.lower)
        assert {name for name, after in pairwise(names) if name == after} <= LISTS


def test_catalog_matches_the_code() -> None:
    """The catalog has an entry for each MESSAGE_ID that the executor sends, and no other."""
    text = (DEPLOY / "catalog" / "tibet-nc.catalog").read_text()
    assert sorted(re.findall(r"^-- ([0-9a-f]{32})$", text, flags=re.MULTILINE)) == sorted(
        MESSAGE_IDS.values()
    )


def test_walls_are_effective(site: Site) -> None:
    """I2: the kernel shows the executor without a network, both without privileges to gain."""
    machine = site.machine
    executor, agent = machine.pid("tibet-nc-executor"), machine.pid("tibet-nc-agent")
    status = {
        pid: dict(
            line.split(":\t", 1)
            for line in machine.sh(f"cat /proc/{pid}/status").splitlines()
            if ":\t" in line
        )
        for pid in (executor, agent)
    }
    links = machine.sh(f"nsenter -n -t {executor} ip -br link").splitlines()
    assert [line.split()[0] for line in links] == ["lo"]
    for pid, own in ((executor, "ipc mnt net uts"), (agent, "ipc mnt user uts")):
        for kind in own.split():
            namespaces = machine.sh(f"readlink /proc/{{1,{pid}}}/ns/{kind}").splitlines()
            assert len(set(namespaces)) == 2, namespaces
    assert (status[executor]["CapEff"], status[executor]["CapBnd"]) == ("00000000000000e0",) * 2
    assert (status[agent]["CapEff"], status[agent]["CapBnd"]) == ("0" * 16,) * 2
    assert [status[pid]["NoNewPrivs"] for pid in status] == ["1", "1"]
    assert [status[pid]["Seccomp"] for pid in status] == ["2", "2"]


def test_limits_are_told_to_the_kernel(site: Site) -> None:
    """I6: both units have their share of CPU, memory, tasks and files; the executor hands it on.

    That the kernel enforces them is what docs/system-vm.md shows.
    """
    machine = site.machine
    names = ("CPUWeight", "LimitCORE", "LimitNOFILE", "MemoryMax", "MemorySwapMax", "TasksMax")
    agent = machine.show("tibet-nc-agent", *names)
    values = ("50", "0", "4096", str(512 * 1024**2), "0", "64")
    assert agent == dict(zip(names, values, strict=True))
    more = ("Delegate", "DelegateControllers", "LimitFSIZE", "LimitNPROC", "OOMPolicy")
    executor = machine.show("tibet-nc-executor", *names, *more, "OOMScoreAdjust")
    half = int(machine.sh("awk '/^MemTotal/ {print $2}' /proc/meminfo")) * 1024 // 2
    assert abs(int(executor.pop("MemoryMax")) - half) < half // 10
    assert executor.pop("DelegateControllers").split() == ["cpu", "memory", "pids"]
    assert executor == {
        "CPUWeight": "50",
        "Delegate": "yes",
        "LimitCORE": "0",
        "LimitFSIZE": str(4 * 1024**3),
        "LimitNOFILE": "4096",
        "LimitNPROC": "4096",
        "MemorySwapMax": "0",
        "OOMPolicy": "continue",
        "OOMScoreAdjust": "-200",
        "TasksMax": "2048",
    }


def test_executor_makes_room_for_groups(site: Site) -> None:
    """The executor is in a group beside those of commands, put there by systemd or by itself."""
    pid = site.machine.pid("tibet-nc-executor")
    group = site.machine.sh(f"cat /proc/{pid}/cgroup").splitlines()[-1]
    assert group.endswith("/tibet-nc-executor.service/daemon")


def test_private_modes(site: Site) -> None:
    """I6, I10: state, settings, credentials and socket are open to their owners alone."""
    shown = site.machine.sh(
        "stat -c '%a %U %G %n' /var/lib/tibet-nc /var/lib/tibet-nc/executor.key"
        " /var/lib/tibet-nc-agent /var/lib/tibet-nc-agent/agent.key"
        " /var/lib/tibet-nc-agent/console.sock /run/tibet-nc-agent /var/lib/tibet-nc-shell"
        " /etc/tibet-nc/agent.toml /etc/tibet-nc/executor.toml /run/tibet-nc"
        " /run/tibet-nc/executor.sock /etc/credstore.encrypted"
    )
    assert shown.splitlines() == [
        "700 tibet-nc-executor tibet-nc-executor /var/lib/tibet-nc",
        "600 tibet-nc-executor tibet-nc-executor /var/lib/tibet-nc/executor.key",
        "700 tibet-nc-agent tibet-nc-agent /var/lib/tibet-nc-agent",
        "600 tibet-nc-agent tibet-nc-agent /var/lib/tibet-nc-agent/agent.key",
        "600 tibet-nc-agent tibet-nc-agent /var/lib/tibet-nc-agent/console.sock",
        "700 tibet-nc-agent tibet-nc-agent /run/tibet-nc-agent",
        "711 tibet-nc-executor tibet-nc-executor /var/lib/tibet-nc-shell",
        "640 root tibet-nc-agent /etc/tibet-nc/agent.toml",
        "640 root tibet-nc-executor /etc/tibet-nc/executor.toml",
        "750 root tibet-nc-agent /run/tibet-nc",
        "660 root tibet-nc-agent /run/tibet-nc/executor.sock",
        "700 root root /etc/credstore.encrypted",
    ]
    # And if tmpfiles.d has not made it before:
    assert site.machine.show(SOCKET, "DirectoryMode") == {"DirectoryMode": "0750"}


def test_only_root_writes_to_what_was_installed(site: Site) -> None:
    """I2: programs, units, settings and public keys are root's, and nobody else may change them."""
    assert site.others_may_write() == ""


def test_scripts() -> None:
    """Shellcheck has nothing to say against any shell script."""
    scripts = [
        *DEPLOY.glob("*.sh"),
        *DEPLOY.glob("deb/p*"),
        *(ROOT / "scripts").iterdir(),
        ROOT / ".ci" / "run",
    ]
    checked = [path for path in scripts if "sh" in path.read_text().split("\n", 1)[0]]
    done = subprocess.run(["shellcheck", *checked], capture_output=True, text=True, check=False)
    assert done.stdout == ""
