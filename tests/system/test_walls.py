# SPDX-License-Identifier: MIT
"""The start-up self-test and the drop-ins, on the running units."""

import json

import pytest

from tests.system.documented import enter
from tests.system.machine import wait_until
from tests.system.pages import ROOT, blocks
from tests.system.site import SOCKET, UNITS, Site

EXECUTOR, AGENT = UNITS

WEAKENED = {
    "network": (EXECUTOR, "RestrictAddressFamilies=AF_INET"),
    "network-view": (EXECUTOR, "RestrictAddressFamilies=AF_NETLINK"),
    "secrets": (EXECUTOR, "InaccessiblePaths=\nSupplementaryGroups=shadow"),
    "privilege": (EXECUTOR, "RestrictNamespaces=no\nMemoryDenyWriteExecute=no"),
    "files": (EXECUTOR, "ReadOnlyPaths="),
    "agent shell": (AGENT, "NoExecPaths="),
    "agent network": (AGENT, "RestrictAddressFamilies=AF_NETLINK"),
    "agent secrets": (AGENT, "SupplementaryGroups=shadow"),
    "agent privilege": (AGENT, "MemoryDenyWriteExecute=no"),
    "agent files": (AGENT, "ReadOnlyPaths="),
}


def shipped(name: str, unit: str = EXECUTOR) -> str:
    """Return a drop-in as it is shipped."""
    return (ROOT / "deploy" / "dropins" / f"{unit}.d" / name).read_text()


@pytest.mark.parametrize("wall", WEAKENED)
def test_refuses_without_a_wall(dropping: Site, wall: str) -> None:
    """I2: a unit from which a wall was taken doesn't serve, and says which one is missing."""
    unit, text = WEAKENED[wall]
    dropping.drop_in(unit, f"[Service]\n{text}\n")
    machine = dropping.machine

    def refused() -> bool:
        state = machine.show(unit, "ActiveState", "ExecMainStatus", "Result")
        return state["ActiveState"] in {"failed", "activating"} and state["Result"] != "success"

    wait_until(refused, f"{unit} refuses")
    machine.run("journalctl", "--sync")
    log = machine.sh(f"journalctl -u {unit} -n 8 -o cat --no-pager")
    assert f"{wall.removeprefix('agent ')}: " in log


async def test_accepted_wall_of_the_agent_is_told(dropping: Site) -> None:
    """A wall that the agent's settings give up is named in every status and by its doctor."""
    settings = '[walls]\naccepted = ["privilege"]'
    dropping.drop_in(AGENT, "[Service]\nMemoryDenyWriteExecute=no\n", settings=settings)
    dropping.machine.wait_active(*UNITS)
    (answer,) = await dropping.ask("status")
    assert "NO privilege wall: accepted" in answer.body
    said = dropping.machine.run("tibet-nc-agent", "doctor", user="tibet-nc-agent").stdout
    assert "accepted: privilege: memory can be writable and executable" in said


async def test_accepted_wall_of_the_executor_is_told(dropping: Site) -> None:
    """A wall that the settings give up is named in every status."""
    dropping.drop_in(
        EXECUTOR, shipped("host-network.conf"), settings='[walls]\naccepted = ["network-view"]'
    )
    dropping.machine.wait_active(*UNITS)
    (answer,) = await dropping.ask("status")
    assert "NO network-view wall: accepted" in answer.body


async def test_the_units_walls_are_explained(site: Site) -> None:
    """A command that fails at a wall of the unit learns which one, and which drop-in opens it."""
    network, view, file = await site.ask(
        """$ perl -MSocket -e 'socket(S, AF_INET, SOCK_STREAM, 0) or die "socket: $!\\n"'""",
        "$ ip addr",
        "$ touch /usr/x",
    )
    for answer, name in (
        (network, "shell-network.conf"),
        (view, "host-network.conf"),
        (file, "write-directories.conf"),
    ):
        (line,) = [line for line in answer.body.splitlines() if line.startswith("wall, ")]
        assert name in line


async def test_host_network(dropping: Site) -> None:
    """host-network.conf, put in force as the page says: ip and ss show the host's network.

    Nothing can use it.
    """
    machine, port = dropping.machine, dropping.homeserver.port
    (accepted,) = blocks("docs/hardening.md", "The self-test")
    (install,) = blocks("docs/hardening.md", "Drop-ins")
    settings = "/etc/tibet-nc/executor.toml"
    machine.sh(f"cp -p {settings} {settings}.kept; cat >>{settings} <<'EOF'\n{accepted}EOF")
    try:
        enter(machine, install, {})
        seen, used = await dropping.ask(
            "$ ip -br addr; ss -tln", f"$ bash -c 'exec 3<>/dev/tcp/127.0.0.1/{port}'"
        )
    finally:
        machine.run("rm", f"/etc/systemd/system/{EXECUTOR}.d/host-network.conf")
    assert "127.0.0.1/8" in seen.body
    assert f"127.0.0.1:{port}" in seen.body
    assert used.result["exit"] != 0


async def test_shell_network(dropping: Site) -> None:
    """shell-network.conf: a command reaches the network, of either kind, and sees it."""
    dropping.drop_in(
        EXECUTOR,
        shipped("shell-network.conf"),
        settings='[walls]\naccepted = ["network", "network-view"]',
    )
    dropping.machine.wait_active(*UNITS)
    answer, *others = await dropping.ask(
        f"$ curl -s http://127.0.0.1:{dropping.homeserver.port}/_matrix/client/versions",
        "$ perl -MSocket -e 'socket(S, AF_INET6, SOCK_STREAM, 0) or exit 1'",
        "$ ip addr",
    )
    assert "v1.1" in answer.body
    assert [other.result["exit"] for other in others] == [0, 0]


async def test_own_processes(dropping: Site) -> None:
    """own-processes.conf: a command sees its own processes and no other's, and runs as before."""
    dropping.drop_in(EXECUTOR, shipped("own-processes.conf"))
    dropping.machine.wait_active(*UNITS)
    processes, stopped = await dropping.ask("$ ps -e -o user= | sort -u; ps aux", "$ kill -STOP $$")
    assert "tibet-nc-sh" in processes.body or "tibet-n+" in processes.body
    assert "root" not in processes.body
    assert stopped.result["final"] is True


async def test_write_directories(dropping: Site) -> None:
    """write-directories.conf: a command writes to the named directory, and nowhere else."""
    dropping.machine.sh("install -d -o tibet-nc-shell -g tibet-nc-shell /srv/tibet-nc-data")
    text = shipped("write-directories.conf").replace("/srv/tibet-nc", "/srv/tibet-nc-data")
    (before,) = await dropping.ask("$ touch /srv/tibet-nc-data/x")
    dropping.drop_in(EXECUTOR, text)
    dropping.machine.wait_active(*UNITS)
    (after,) = await dropping.ask("$ touch /srv/tibet-nc-data/x")
    assert before.result["exit"] != 0
    assert after.result["exit"] == 0
    assert dropping.machine.exists("/srv/tibet-nc-data/x")


async def test_encrypted_key(dropping: Site) -> None:
    """encrypted-key.conf: the executor starts with its key on the disk encrypted only."""
    with dropping.sealed_key():
        dropping.drop_in(EXECUTOR, shipped("encrypted-key.conf"))
        dropping.machine.wait_active(*UNITS)
        (answer,) = await dropping.ask("$ echo signed")
        assert answer.result["exit"] == 0


async def test_homeserver_only(dropping: Site) -> None:
    """homeserver-only.conf: the agent still serves when its network is narrowed to the server.

    That it is narrowed docs/system-vm.md shows: a container can't have such a filter.
    """
    dropping.drop_in(AGENT, shipped("homeserver-only.conf", AGENT))
    dropping.machine.wait_active(*UNITS)
    (answer,) = await dropping.ask("$ echo narrow")
    assert answer.result["exit"] == 0


def test_doctor(site: Site) -> None:
    """Both doctors find nothing wrong on a host that serves, and say so as JSON too."""
    machine = site.machine
    executor = json.loads(machine.run("tibet-nc-executor", "doctor", "--json").stdout)
    agent = json.loads(
        machine.run("tibet-nc-agent", "doctor", "--json", user="tibet-nc-agent").stdout
    )
    assert [check for check in executor + agent if not check["ok"]] == []
    walls = [check["detail"] for check in executor + agent if check["name"] == "walls"]
    assert ["self-test: all holds" in walls[0], walls[1]] == [True, "the running unit's: all hold"]


def test_doctor_names_the_fix(site: Site) -> None:
    """Each doctor fails when what it looks at is stopped, with the command that mends it.

    The agent's own walls are the unit's: nobody is told that some are missing where none are up.
    """
    machine = site.machine
    machine.run("systemctl", "stop", SOCKET, *UNITS)
    try:
        executor = machine.run("tibet-nc-executor", "doctor", check=False)
        agent = machine.run("tibet-nc-agent", "doctor", user="tibet-nc-agent", check=False)
    finally:
        machine.run("systemctl", "start", SOCKET)
        site.start()
    assert (executor.returncode, agent.returncode) == (1, 1)
    assert "fix: systemctl restart tibet-nc-executor.socket" in executor.stdout
    (walls,) = [line for line in agent.stdout.splitlines() if line.startswith("FAIL  walls: ")]
    assert f"{AGENT} isn't running, and nothing else has its walls; fix: systemctl start" in walls
    assert "can be" not in walls
