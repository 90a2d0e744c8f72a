# SPDX-License-Identifier: MIT
"""What the units' walls keep from whoever has taken a daemon over, tried behind them."""

import pytest

from tests.system import attempts
from tests.system.pages import ROOT
from tests.system.site import UNITS, Site

EXECUTOR, AGENT = UNITS

WORKS = {
    AGENT: set[str](),
    EXECUTOR: {
        "see the host's processes",
        "see what the kernel tells of the host",
        "change control groups",
        "give a file away",
        "change its niceness",
        "name its uid",
        "name its gid",
        "run what isn't its own",
    },
}


@pytest.mark.parametrize("unit", UNITS)
def test_who_is_in_its_place_is_held(dropping: Site, unit: str) -> None:
    """I2: behind a unit's walls works what its daemon needs, and nothing else of what is tried.

    Where a mode or a limit of the host is in the way as well, it is opened before; the self-test,
    which comes next, must find the secrets closed also then.
    """
    machine = dropping.machine
    machine.write("/usr/local/share/attempts.py", (ROOT / "tests/system/attempts.py").read_text())
    theirs = "/tmp/theirs /var/tmp/theirs /dev/shm/theirs"
    machine.sh(f"touch {theirs}; mkdir -m 1777 /srv/everybodys")
    machine.sh("mkdir -p /etc/credstore /usr/lib/modules")
    states = "/etc/credstore /etc/credstore.encrypted /var/lib/tibet-nc /var/lib/tibet-nc-agent"
    homes = "/var/lib/tibet-nc-shell"
    part = unit.removeprefix("tibet-nc-").removesuffix(".service")
    attempt = f"/opt/tibet-nc/{part}/bin/python3.13 -I /usr/local/share/attempts.py"
    machine.sh(f"chmod 755 {states} {homes}")
    try:
        dropping.drop_in(unit, f"[Service]\nExecStartPre={attempt}\n")
        machine.wait_active(*UNITS)
    finally:
        machine.sh(f"chmod 700 {states}; chmod 711 {homes}; rm -r {theirs} /srv/everybodys")
    machine.run("journalctl", "--sync")
    run = machine.show(unit, "InvocationID")["InvocationID"]
    said = machine.sh(f"journalctl _SYSTEMD_INVOCATION_ID={run} -o cat --no-pager").splitlines()
    works = {line.removeprefix("works: ") for line in said if line.startswith("works: ")}
    assert works == WORKS[unit]
    assert f"tried: {len(attempts.ATTEMPTS)}" in said
