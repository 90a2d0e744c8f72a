# SPDX-License-Identifier: MIT
"""The installer on a host that has been installed: again, anew, away, and back."""

from tests.system.site import INSTALL, UNITS, Site

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
    assert [line for line in said.splitlines() if line.startswith("· /")] == [
        "· /etc/tibet-nc/agent.toml is there and stays as it is",
        "· /etc/tibet-nc/executor.toml is there and stays as it is",
    ]
    assert [site.machine.pid(unit) for unit in UNITS] == pids


async def test_upgrade(site: Site) -> None:
    """--upgrade puts the new programs in force; settings, keys and chain stay."""
    machine = site.machine
    keys = machine.sh("sha256sum /etc/tibet-nc/* /var/lib/tibet-nc*/*.key")
    pids = [machine.pid(unit) for unit in UNITS]
    site.install("--upgrade")
    machine.wait_active(*UNITS)
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
    said = elsewhere("/root/twelve", "mount --bind /dev/null /usr/bin/python3.13")
    assert "Python 3.13 is needed and was not found" in said
    assert "--python" in said


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
    """--uninstall removes programs and units and keeps the rest; an install goes on from there."""
    machine = site.machine
    (before,) = await site.ask("$ echo before")
    kept = machine.sh("sha256sum /etc/tibet-nc/* /var/lib/tibet-nc*/*.key")
    site.install("--uninstall")
    gone = ["/opt/tibet-nc", "/usr/local/bin/tibet-nc-agent", "/run/tibet-nc"]
    gone += [f"/etc/systemd/system/{unit}" for unit in UNITS]
    assert [path for path in gone if machine.exists(path)] == []
    assert machine.sh("sha256sum /etc/tibet-nc/* /var/lib/tibet-nc*/*.key") == kept
    assert machine.sh("getent passwd tibet-nc-executor") != ""
    site.install()
    site.start()
    (after,) = await site.ask("$ echo after")
    assert after.result["number"] > before.result["number"]
