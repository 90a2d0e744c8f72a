# SPDX-License-Identifier: MIT
"""The end of an installation, another without an index, and the package: after all other tests."""

import re
import subprocess

import pytest

from tests.system.documented import enter
from tests.system.pages import ROOT, blocks, dead_links
from tests.system.site import ENV_FILE, INSTALL, SOCKET, UNITS, Site, environment
from tibet_nc_protocol.journal_ids import MESSAGE_IDS

LEFT = (
    "find / -xdev \\( -path /proc -o -path /sys -o -path /srv -o -path /root -o -path /var/log"
    " -o -path /var/lib/dpkg -o -path /var/cache \\) -prune -o -name '*tibet-nc*' -print;"
    " getent passwd | grep tibet; getent group | grep tibet"
)

MADE_BESIDE = """\
cd /etc
for unit in agent.service executor.service executor.socket; do
    mkdir -p systemd/system/tibet-nc-$unit.d
    touch systemd/system/tibet-nc-$unit.d/own.conf
done
mkdir -p -m 700 credstore.encrypted
touch credstore.encrypted/tibet-nc.{access-token,access-token.new,password,executor.key}
"""
"""Has there be all that somebody can have made besides."""


async def test_another_host(site: Site) -> None:
    """What the old host packs for good is enough for a new one: chain, device and pins go on."""
    machine = site.machine
    device = machine.sh("cat /var/lib/tibet-nc-agent/matrix/login.json")
    (answer,) = await site.ask("$ echo moves")
    machine.sh("/srv/tibet-nc/scripts/wheels /root/wheels")
    (packed,) = blocks("docs/operations.md", "Another host")
    enter(machine, packed, {})
    assert [unit for unit in (*UNITS, SOCKET) if machine.is_active(unit)] == []
    machine.run(INSTALL, "--purge", "--yes")
    site.install("--wheels", "/root/wheels")
    site.follow("Back up and restore", 1)
    machine.sh("rm -r /var/lib/tibet-nc.before /var/lib/tibet-nc-agent.before /etc/tibet-nc.before")
    (next_answer,) = await site.ask("$ echo moved")
    assert next_answer.result["number"] > answer.result["number"]
    assert machine.sh("cat /var/lib/tibet-nc-agent/matrix/login.json") == device


def test_purge_asks(site: Site) -> None:
    """--purge without the word removes nothing; with it, everything that was made is gone."""
    machine = site.machine
    refused = machine.run(INSTALL, "--purge", stdin="no\n", check=False)
    assert refused.returncode == 2
    machine.wait_active(*UNITS)
    machine.sh(MADE_BESIDE)
    machine.run(INSTALL, "--purge", stdin="purge\n")
    assert machine.sh(LEFT, check=False) == ""


async def test_from_wheels(site: Site) -> None:
    """--wheels installs without an index and without a compiler, and it serves."""
    machine = site.machine
    # The purge took the agent's Matrix identity, so it comes back as another device.
    bot = site.homeserver.login(site.bot.user_id, site.bot.password)
    text = environment(site.homeserver, bot, site.person, site.room)
    machine.write(ENV_FILE, text, 0o600)
    machine.sh("mv /etc/pip.conf /root/; mv /usr/bin/gcc /root/gcc")
    try:
        said = site.install("--from-env", ENV_FILE, "--wheels", "/root/wheels")
    finally:
        machine.sh("mv /root/pip.conf /etc/; mv /root/gcc /usr/bin/gcc")
    assert "Debian packages" not in said
    site.start()
    site.trust()
    (answer,) = await site.ask("$ echo new")
    assert answer.result["exit"] == 0
    assert answer.result["number"] < 10


@pytest.mark.debian13  # whose Python 3.13 it depends on
async def test_package(site: Site) -> None:
    """The Debian package installs with apt, serves, and leaves disabled what was disabled."""
    machine = site.machine
    machine.sh("mkdir -p /root/kept; cp -p /etc/tibet-nc/*.toml /root/kept/")
    machine.run(INSTALL, "--purge", "--yes")
    said = machine.sh("cd /srv/tibet-nc && scripts/deb /root/wheels /usr/bin/python3.13")
    package = machine.root / "srv" / "tibet-nc" / said.strip().splitlines()[-1]
    lintian = subprocess.run(
        ["lintian", "--fail-on", "error", package], capture_output=True, text=True, check=False
    )
    remarks = lintian.stdout.splitlines()
    assert [
        line for line in remarks if re.match(r"E:|.* (no-manual-page|groff-message)", line)
    ] == []
    machine.sh("apt-get install -y -qq --no-install-recommends /srv/tibet-nc/dist/*.deb")
    assert machine.is_active("tibet-nc-executor.socket")
    assert MESSAGE_IDS["intent"] in machine.sh("journalctl --list-catalog")
    compiled = machine.sh("find /usr/lib/tibet-nc -path '*/tibet_nc_*/__main__*.pyc'")
    assert len(compiled.splitlines()) == 3
    pages = machine.root / "usr" / "share" / "doc" / "tibet-nc"
    assert (pages / "docs" / "auditor.md").exists()
    assert dead_links(pages) == []
    machine.sh(
        "cat /root/kept/agent.toml >/etc/tibet-nc/agent.toml"
        "; cat /root/kept/executor.toml >/etc/tibet-nc/executor.toml"
        "; install -d -m 700 /etc/credstore.encrypted"
    )
    machine.run(
        "systemd-creds", "encrypt", "--name=password", "-",
        "/etc/credstore.encrypted/tibet-nc.password", stdin=site.bot.password,
    )  # fmt: skip
    site.start()
    site.trust()
    (answer,) = await site.ask("$ echo packaged")
    assert answer.result["exit"] == 0
    assert site.others_may_write() == ""
    assert machine.sh("grep ^tibet-nc /etc/shadow | cut -d : -f 8").splitlines() == ["1"] * 3
    for unit, most in (("tibet-nc-agent", 11), ("tibet-nc-executor", 14)):
        machine.run("systemd-analyze", "security", f"--threshold={most}", f"{unit}.service")
    machine.run("systemctl", "disable", "--now", *UNITS, SOCKET)
    machine.sh("apt-get install -y -qq --reinstall /srv/tibet-nc/dist/*.deb")
    assert not machine.is_active(SOCKET)
    assert machine.sh(f"systemctl is-enabled {UNITS[0]}", check=False).strip() == "disabled"
    machine.run("systemctl", "enable", "--now", SOCKET, *UNITS)


@pytest.mark.debian13
async def test_package_of_an_older_version(site: Site) -> None:
    """What the page says of the way back puts that version in, and what ran goes on with it.

    Also where the homeserver is away just then: the agent waits for it, apt doesn't.
    """
    machine = site.machine
    machine.sh(
        "cd /srv/tibet-nc\n"
        "sed -i 's/^VERSION: Final = .*/VERSION: Final = \"0.9\"/' executor/src/*/__init__.py\n"
        "scripts/deb /root/wheels /usr/bin/python3.13"
    )
    (typed,) = re.findall(
        r"`apt (install --allow-downgrades .*?)`", (ROOT / "docs/operations.md").read_text()
    )
    pids = {machine.pid(unit) for unit in UNITS}
    site.homeserver.stop()
    try:
        machine.sh(f"cd /srv/tibet-nc; apt-get -y -qq {typed}")
    finally:
        site.homeserver.start()
    assert machine.sh("dpkg-query --show tibet-nc").split() == ["tibet-nc", "0.9"]
    assert machine.show(UNITS[0], "NeedDaemonReload") == {"NeedDaemonReload": "no"}
    machine.wait_active(*UNITS)
    assert pids.isdisjoint({machine.pid(unit) for unit in UNITS})
    (answer,) = await site.ask("$ echo older")
    assert answer.result["exit"] == 0


@pytest.mark.debian13
async def test_package_and_installer_keep_apart(site: Site) -> None:
    """Neither installs beside the other, and what is left of one takes nothing of the other's.

    A package that was removed can be purged much later, when the installer's host is in use.
    """
    machine = site.machine
    for mode in ((), ("--upgrade",), ("--purge", "--yes")):
        refused = machine.run(INSTALL, *mode, check=False)
        assert refused.returncode == 2
        assert "the Debian package tibet-nc is installed here: " in refused.stderr
    machine.sh("apt-get remove -y -qq tibet-nc")
    site.install("--wheels", "/root/wheels")
    site.start()
    machine.sh("apt-get purge -y -qq tibet-nc")
    (answer,) = await site.ask("$ echo kept")
    assert answer.result["exit"] == 0
    install = "apt-get install -y -qq /srv/tibet-nc/dist/*.deb"
    assert "let it --uninstall first" in machine.sh(install, check=False)
    machine.wait_active(*UNITS)
    site.install("--uninstall")
    machine.sh(install)
    site.start()


@pytest.mark.debian13
def test_package_by_the_hosts_policy(site: Site) -> None:
    """What policy-rc.d forbids is not done; a socket that can't start leaves no half package."""
    machine = site.machine
    install = "apt-get install -y -qq --reinstall /srv/tibet-nc/dist/*.deb"
    pids = [machine.pid(unit) for unit in UNITS]
    machine.write("/usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755)
    machine.sh(install)
    assert [machine.pid(unit) for unit in UNITS] == pids
    machine.sh(
        f"rm /usr/sbin/policy-rc.d; systemctl stop {SOCKET}; mkdir /run/tibet-nc/executor.sock"
    )
    assert "the executor's socket can't be started" in machine.sh(install)
    state = machine.sh("dpkg-query --show --showformat '${Status}' tibet-nc")
    assert state == "install ok installed"
    machine.sh("rmdir /run/tibet-nc/executor.sock")
    site.start()


@pytest.mark.debian13
async def test_package_is_removed(site: Site) -> None:
    """A removal keeps all, and who installs again is told to start it; a purge leaves nothing.

    Not in an image either, where no systemd runs. I4: what ran and what waited is answered.
    """
    machine = site.machine
    ran, waited = await site.interrupt(lambda: machine.sh("apt-get remove -y -qq tibet-nc"))
    assert "the executor was stopped" in ran.body
    assert "nothing was run: the executor was stopped" in waited.body
    assert machine.sh("pgrep -u tibet-nc-agent,tibet-nc-executor", check=False) == ""
    assert not machine.exists("/usr/lib/tibet-nc")
    assert not machine.exists("/run/tibet-nc")
    assert MESSAGE_IDS["intent"] not in machine.sh("journalctl --list-catalog")
    assert machine.exists("/etc/tibet-nc/executor.toml")
    assert machine.exists("/var/lib/tibet-nc/executor.key")
    said = machine.sh("apt-get install -y -qq /srv/tibet-nc/dist/*.deb")
    (start,) = re.findall(r"^tibet-nc: start it: (.*)$", said, re.MULTILINE)
    machine.sh(start)
    machine.wait_active(*UNITS)
    machine.sh(MADE_BESIDE)
    machine.run("systemctl", "stop", *UNITS, SOCKET)
    purge = "mount -t tmpfs none /run && apt-get purge -y -qq tibet-nc"
    machine.run("unshare", "--mount", "bash", "-c", purge)
    assert machine.sh(LEFT, check=False) == ""
