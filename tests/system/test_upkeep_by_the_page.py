# SPDX-License-Identifier: MIT
"""docs/operations.md, typed as it stands there; each time a command is answered afterwards."""

import pytest

from tests.system.site import UNITS, Site

STATES = "/etc/tibet-nc /var/lib/tibet-nc /var/lib/tibet-nc-agent"


async def answered(site: Site) -> int:
    """Have a command run, and return the number of its record."""
    (answer,) = await site.ask("$ echo works")
    assert answer.result["exit"] == 0
    return int(answer.result["number"])


async def test_backup_and_restore(site: Site) -> None:
    """What the backup holds is enough: all of it lost and unpacked again, the chain goes on."""
    machine = site.machine
    before = await answered(site)
    site.follow("Back up and restore", 0)
    machine.run("systemctl", "stop", *UNITS)
    machine.sh(f"rm -rf {STATES}; systemctl start tibet-nc-executor.socket")
    machine.sh("install -d -m 700 /var/lib/tibet-nc /var/lib/tibet-nc-agent")
    site.follow("Back up and restore", 1)
    assert await answered(site) > before
    machine.sh("tibet-nc-audit verify --key $(cat /etc/tibet-nc/executor.pub)")
    modes = machine.sh(f"stat -c '%a %U %n' {STATES}").splitlines()
    assert modes == [
        "755 root /etc/tibet-nc",
        "700 tibet-nc-executor /var/lib/tibet-nc",
        "700 tibet-nc-agent /var/lib/tibet-nc-agent",
    ]


@pytest.mark.parametrize(("number", "whose"), [(0, "executor"), (1, "agent")])
async def test_key_is_rotated(site: Site, number: int, whose: str) -> None:
    """Each signing key is replaced, and that one alone; with the first key all of it verifies."""
    machine = site.machine
    names = ("executor", "agent")
    before = {name: machine.sh(f"cat /etc/tibet-nc/{name}.pub") for name in names}
    site.follow("Keys", number)
    await answered(site)
    after = {name: machine.sh(f"cat /etc/tibet-nc/{name}.pub") for name in names}
    assert [name for name in names if before[name] != after[name]] == [whose]
    if whose == "executor":
        machine.sh(f"tibet-nc-audit verify --key {before[whose].strip()}")
