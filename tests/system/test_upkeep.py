# SPDX-License-Identifier: MIT
"""The installer on a host that has been installed: again, anew, away, and back."""

import pytest

from tests.system.machine import Machine
from tests.system.site import INSTALL, SOCKET, UNITS, Site

LISTING = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /run -o -path /tmp -o -path /var/log"
    " -o -path /var/lib/tibet-nc -o -path /var/lib/tibet-nc-agent -o -path /srv -o -path /var/tmp"
    " -o -path /root \\) -prune -o -printf '%p %m %u %g %s %T@\\n' | sort | sha256sum"
)


def test_dry_run_changes_nothing(site: Site) -> None:
    """--dry-run says what it would do, and the file system is the same to the second after it."""
    machine = site.machine
    before = machine.sh(LISTING)
    said = site.install("--dry-run", "--upgrade")
    site.install("--dry-run", "--uninstall")
    site.install("--dry-run", "--purge", "--yes")
    assert "would make the environments" in said
    assert "Nothing was changed." in said
    assert machine.sh(LISTING) == before
    machine.wait_active(*UNITS)


def test_again(site: Site) -> None:
    """A second run finds everything in place: no file is written and nothing is restarted."""
    pids = [site.machine.pid(unit) for unit in UNITS]
    said = site.install("--homeserver", site.homeserver.url)
    assert said.partition("\n\n")[0].splitlines() == [
        "· /etc/tibet-nc/agent.toml is there and stays as it is",
        "· /etc/tibet-nc/executor.toml is there and stays as it is",
    ]
    assert [site.machine.pid(unit) for unit in UNITS] == pids


def test_what_was_disabled_stays_so(site: Site) -> None:
    """A host that was moved away doesn't come back to life with an upgrade.

    It is one whose /tmp runs no programs.
    """
    machine = site.machine
    machine.run("systemctl", "disable", "--now", *UNITS, SOCKET)
    machine.run("mount", "-t", "tmpfs", "-o", "mode=1777,noexec", "none", "/tmp")
    try:
        site.install("--upgrade")
        now = machine.sh(f"systemctl is-enabled {SOCKET} {' '.join(UNITS)}", check=False)
        assert now.split() == ["disabled"] * 3
        assert not machine.is_active(SOCKET)
    finally:
        machine.run("umount", "--lazy", "/tmp")
        machine.run("systemctl", "enable", "--now", SOCKET, *UNITS)
        machine.wait_active(*UNITS)


async def test_upgrade(site: Site) -> None:
    """--upgrade puts the new programs in force; settings, keys and chain stay.

    I3, I4: what runs and what waits at that moment have one answer each, which says what became
    of it; what the installer says afterwards is for a host that is set up.
    """
    machine = site.machine
    keys = machine.sh("sha256sum /etc/tibet-nc/* /var/lib/tibet-nc*/*.key")
    pids = [machine.pid(unit) for unit in UNITS]
    said: list[str] = []
    ran, waited = await site.interrupt(lambda: said.append(site.install("--upgrade")))
    assert "the executor was stopped" in ran.body
    assert waited.result["final"] is True
    assert ("doctor" in said[0], "trust" in said[0]) == (True, False)
    assert all(machine.pid(unit) != pid for unit, pid in zip(UNITS, pids, strict=True))
    assert machine.sh("sha256sum /etc/tibet-nc/* /var/lib/tibet-nc*/*.key") == keys
    (answer,) = await site.ask("$ echo upgraded")
    assert answer.result["exit"] == 0


def test_no_installer_inside(site: Site) -> None:
    """I2: neither daemon's environment has pip, nor a package of the other's side."""
    machine = site.machine
    names = machine.sh("ls /opt/tibet-nc/{agent,executor,audit}/lib/python3.13/site-packages")
    assert "pip\n" not in names
    assert "setuptools" not in names
    executor = machine.sh("ls /opt/tibet-nc/executor/lib/python3.13/site-packages")
    agent = machine.sh("ls /opt/tibet-nc/agent/lib/python3.13/site-packages")
    assert [name for name in ("aiohttp", "nio", "tibet_nc_agent") if f"{name}\n" in executor] == []
    assert [name for name in ("pexpect", "tibet_nc_executor") if f"{name}\n" in agent] == []


def test_other_machines_are_refused(site: Site) -> None:
    """On another system, and on Debian 12 without Python 3.13, it says plainly what is needed."""
    machine = site.machine
    machine.write("/root/other", 'ID=fedora\nVERSION_ID=43\nPRETTY_NAME="Fedora Linux 43"\n')
    machine.write("/root/twelve", 'ID=debian\nVERSION_ID=12\nPRETTY_NAME="Debian 12"\n')

    def elsewhere(release: str, also: str = "true") -> str:
        script = f"mount --bind {release} /usr/lib/os-release; {also}; exec {INSTALL}"
        done = machine.run("unshare", "--mount", "bash", "-c", script, check=False)
        assert done.returncode == 2
        return done.stderr

    assert "this machine says Fedora Linux 43" in elsewhere("/root/other")
    found = "$(ls /usr/bin/python3.13 /usr/local/bin/python3.13 2>/dev/null)"
    said = elsewhere("/root/twelve", f"for p in {found}; do mount --bind /dev/null $p; done")
    assert "Python 3.13 is needed and was not found" in said
    assert "--python" in said


def test_read_only_place_is_told_before_anything_is_changed(site: Site) -> None:
    """A read-only file system that is installed to is named, with what to do."""
    machine = site.machine
    before = machine.sh(LISTING)
    script = f"mount --bind /usr /usr; mount -o remount,bind,ro /usr; exec {INSTALL} --upgrade"
    done = machine.run("unshare", "--mount", "bash", "-c", script, check=False)
    assert done.returncode == 2
    assert "/usr/lib/systemd is read-only" in done.stderr
    assert machine.sh(LISTING) == before


ELSEWHERE = "/opt/python/bin/python3.13"
PYTHONS = {
    "others can write to a directory": (
        "chmod 777 /opt/python/lib",
        "others than root can write to /opt/python/lib",
    ),
    "another's program": (
        f"chown nobody {ELSEWHERE}",
        f"others than root can write to {ELSEWHERE}",
    ),
    "a group can write to it": (
        f"chgrp nogroup {ELSEWHERE}; chmod g+w {ELSEWHERE}",
        f"others than root can write to {ELSEWHERE}",
    ),
    "another's directory above": (
        "chown nobody /opt/python",
        "others than root can write to /opt/python",
    ),
    "another's behind a link": (
        "ln -s /var/tmp /opt/python/lib/more",
        "others than root can write to /opt/python/lib/more",
    ),
    "for root alone": ("chmod 700 /opt/python", f"only root can run {ELSEWHERE}"),
    "in a home": (
        f"mv /opt/python /home; mkdir -p /opt/python/bin; ln -s /home/python/bin/* {ELSEWHERE}",
        "the daemons can't see /home/python/bin/python3.13",
    ),
    "another version": (f"ln -sf /usr/bin/false {ELSEWHERE}", f"{ELSEWHERE} is not a Python 3.13"),
    "without headers": ("rm /opt/python/include/python3.13", f"{ELSEWHERE} lacks"),
    "none": (f"rm {ELSEWHERE}", f"{ELSEWHERE} is not a program"),
}


def put_elsewhere(machine: Machine, put: str) -> None:
    """Put the host's Python into /opt/python as well, by ``cp -a`` or ``ln -s``."""
    machine.sh(
        "python=$(readlink -f $(command -v python3.13)); prefix=${python%/bin/*}\n"
        "mkdir -p /opt/python/{bin,include,lib}; cp -a $python /opt/python/bin\n"
        f"for part in include lib; do {put} $prefix/$part/python3.13 /opt/python/$part; done"
    )


@pytest.mark.parametrize("kind", PYTHONS)
def test_python_is_roots_alone(site: Site, kind: str) -> None:
    """--python: one that isn't root's, or not for everybody, is refused, and nothing changes."""
    spoil, reason = PYTHONS[kind]
    machine = site.machine
    units = "find /etc/systemd/system -path '*/tibet-nc-*' -type f | sort | xargs sha256sum"
    before = machine.sh(units)
    put_elsewhere(machine, "ln -s")
    try:
        machine.sh(spoil)
        done = machine.run(INSTALL, "--upgrade", "--python", ELSEWHERE, check=False)
    finally:
        machine.sh("rm -r /opt/python; rm -rf /home/python")
    assert done.returncode == 2
    assert reason in done.stderr
    assert machine.sh(units) == before
    machine.wait_active(*UNITS)


def test_what_others_may_have_written_is_not_even_run(site: Site) -> None:
    """--python: root doesn't ask a program what it is that somebody else could have put there."""
    machine = site.machine
    machine.write("/opt/python/bin/python3.13", "#!/bin/sh\ntouch /root/was-run\n", 0o755)
    machine.run("chown", "nobody", "/opt/python/bin/python3.13")
    done = machine.run(INSTALL, "--upgrade", "--python", ELSEWHERE, check=False)
    machine.run("rm", "-r", "/opt/python")
    assert done.returncode == 2
    assert not machine.exists("/root/was-run")


def test_damaged_wheels_are_refused(site: Site) -> None:
    """--wheels: a folder that isn't what its list of sums says is not installed from."""
    machine = site.machine
    machine.sh(
        "mkdir -p /root/damaged; cd /root/damaged\n"
        "for part in protocol agent executor audit; do echo x >tibet_nc_$part-1.whl; done\n"
        "sha256sum *.whl >SHA256SUMS; echo y >tibet_nc_agent-1.whl"
    )
    done = machine.run(INSTALL, "--upgrade", "--wheels", "/root/damaged", check=False)
    assert done.returncode == 2
    assert "is not what its SHA256SUMS says" in done.stderr
    machine.wait_active(*UNITS)


async def test_uninstalled_and_back(site: Site) -> None:
    """--uninstall removes programs and units and keeps the rest; an install goes on from there.

    Also one with another Python, by --python, which then is what both units run. I4: what ran and
    what waited is answered at once, since nobody knows whether there will be one.
    """
    machine = site.machine
    (before,) = await site.ask("$ echo before")
    kept = machine.sh("sha256sum /etc/tibet-nc/* /var/lib/tibet-nc*/*.key")
    ran, waited = await site.interrupt(lambda: site.install("--uninstall"))
    assert "the executor was stopped" in ran.body
    assert "nothing was run: the executor was stopped" in waited.body
    gone = ["/opt/tibet-nc", "/usr/local/bin/tibet-nc-agent", "/run/tibet-nc"]
    gone += [f"/etc/systemd/system/{unit}" for unit in UNITS]
    assert [path for path in gone if machine.exists(path)] == []
    assert machine.sh("sha256sum /etc/tibet-nc/* /var/lib/tibet-nc*/*.key") == kept
    assert machine.sh("getent passwd tibet-nc-executor") != ""
    put_elsewhere(machine, "cp -a")
    site.install("--python", ELSEWHERE)
    site.start()
    (after,) = await site.ask("$ echo after")
    assert after.result["number"] > before.result["number"]
    runs = {machine.sh(f"readlink /proc/{machine.pid(unit)}/exe").strip() for unit in UNITS}
    assert runs == {ELSEWHERE}
