# SPDX-License-Identifier: MIT
"""Crashes, hangs, stops and reboots of the real units."""

import re
import signal

import pytest

from tests.system.documented import enter
from tests.system.machine import wait_until
from tests.system.pages import blocks
from tests.system.site import ANSWER_SECONDS, SOCKET, UNITS, Site

EXECUTOR, AGENT = UNITS

MORE_THAN_SYSTEMD_TRIES = 8
CURLE_GOT_NOTHING, CURLE_RECV_ERROR = 52, 56


@pytest.mark.parametrize("unit", UNITS)
async def test_killed(site: Site, unit: str) -> None:
    """I4: a unit whose main process is killed is back by itself, and serves.

    The next pause would be longer, where systemd knows growing ones (Debian 13).
    """
    machine = site.machine
    if unit == EXECUTOR:
        machine.run("systemctl", "stop", AGENT)  # which would have it started
    before = machine.pid(unit)
    machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)
    wait_until(lambda: machine.pid(unit) not in {0, before}, f"{unit} has another main process")
    pauses = machine.show(unit, "RestartUSec", "RestartUSecNext")
    assert pauses["RestartUSec"] == ("1s" if unit == EXECUTOR else "2s")
    assert pauses.get("RestartUSecNext") != pauses["RestartUSec"]
    site.start()
    (answer,) = await site.ask("$ echo alive")
    assert answer.result["exit"] == 0


@pytest.mark.parametrize("unit", UNITS)
def test_killed_again_and_again(dropping: Site, unit: str) -> None:
    """I4: no number of failures leaves a host without a unit, also where no pause grows."""
    machine = dropping.machine
    dropping.drop_in(unit, "[Service]\nRestartSec=100ms\nRestartSteps=0\n")

    def back(before: int) -> int:
        wait_until(lambda: machine.pid(unit) not in {0, before}, f"{unit} has come back")
        return machine.pid(unit)

    pid = 0
    for _ in range(MORE_THAN_SYSTEMD_TRIES):
        pid = back(pid)
        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", unit)
    back(pid)


async def test_killed_in_mid_command(site: Site) -> None:
    """I3, I4, I6: an executor killed in mid command leaves no process, and the answer says so."""
    machine = site.machine
    async with await site.login() as operator:
        await operator.wait_member(site.room, site.bot.user_id)
        event = await operator.send_text(site.room, "$ sleep 876543")
        wait_until(lambda: machine.sh("pgrep -f 'sleep 876543'", check=False) != "", "it runs")
        machine.run("systemctl", "kill", "--kill-whom=main", "--signal=KILL", EXECUTOR)
        answer = await operator.answer_to(event, ANSWER_SECONDS)
        assert answer.result["verdict"] == "aborted"
        assert len(operator.answers_to(event)) == 1
    assert machine.sh("pgrep -f 'sleep 876543'", check=False) == ""


@pytest.mark.parametrize("unit", UNITS)
def test_watchdog(dropping: Site, unit: str) -> None:
    """A main process that hangs is ended by the watchdog, which each unit has, and replaced.

    One that hangs at its start or its end isn't waited for longer than the unit says.
    """
    machine = dropping.machine
    start, hang = ("1min 30s", "20s") if unit == EXECUTOR else ("2min", "1min")
    assert machine.show(unit, "TimeoutStartUSec", "TimeoutStopUSec", "WatchdogUSec") == {
        "TimeoutStartUSec": start,
        "TimeoutStopUSec": "20s",
        "WatchdogUSec": hang,
    }
    dropping.drop_in(unit, "[Service]\nWatchdogSec=3\nTimeoutAbortSec=2\n")
    machine.wait_active(*UNITS)
    before = machine.pid(unit)
    machine.run("systemctl", "kill", "--kill-whom=main", f"--signal={signal.SIGSTOP.name}", unit)
    wait_until(lambda: machine.pid(unit) not in {0, before}, f"{unit} was replaced", 60)
    log = machine.sh(f"journalctl -u {unit} -n 60 -o cat --no-pager")
    assert "Watchdog timeout" in log
    machine.wait_active(*UNITS)


async def test_stopped_and_started(site: Site) -> None:
    """Stopping leaves the socket to systemd and no process; starting the agent brings all back."""
    machine = site.machine
    machine.run("systemctl", "stop", *UNITS)
    assert machine.sh("pgrep -u tibet-nc-agent,tibet-nc-executor,tibet-nc-shell", check=False) == ""
    assert machine.exists("/run/tibet-nc/executor.sock")
    machine.run("systemctl", "start", AGENT)
    machine.wait_active(*UNITS)
    (answer,) = await site.ask("$ echo again")
    assert answer.result["exit"] == 0


def test_never_without_the_socket(site: Site) -> None:
    """Stopping the socket stops both units, and starting the agent starts the socket first."""
    machine = site.machine
    machine.run("systemctl", "stop", SOCKET)
    assert [unit for unit in UNITS if machine.is_active(unit)] == []
    assert not machine.exists("/run/tibet-nc/executor.sock")
    machine.run("systemctl", "start", "--no-block", AGENT)
    machine.wait_active(SOCKET, AGENT)
    site.start()


def test_doctor_says_how_to_switch_it_on(site: Site) -> None:
    """What the executor's doctor says of a host that was switched off, typed, mends all of it."""
    machine = site.machine
    (switched_off, *_) = blocks("docs/operations.md", "Switch it off")
    enter(machine, switched_off, {})
    told = machine.run("tibet-nc-executor", "doctor", check=False).stdout
    for fix in re.findall(r"^FAIL .*; fix: (.*)$", told, re.MULTILINE):
        machine.sh(fix)
    machine.run("tibet-nc-executor", "doctor")
    site.start()


@pytest.mark.parametrize("unit", UNITS)
async def test_wrong_setting_is_shown(dropping: Site, unit: str) -> None:
    """A wrong setting ends a daemon with one line that names it, and is not tried again.

    Who has started it is told that it didn't start.
    """
    machine = dropping.machine
    machine.run("systemctl", "stop", AGENT)  # which would have the executor started again
    dropping.drop_in(unit, "", settings="[wrong]")
    failed = {"ActiveState": "failed"}
    wait_until(lambda: machine.show(unit, "ActiveState") == failed, "it has failed")
    shown = machine.show(unit, "ExecMainStatus", "NRestarts")
    assert shown == {"ExecMainStatus": "2", "NRestarts": "0"}
    assert "wrong" in machine.sh(f"journalctl -u {unit} -n 60 -o cat --no-pager")
    assert machine.run("systemctl", "restart", unit, check=False).returncode != 0


def test_who_asks_an_executor_that_can_not_start_is_turned_away(dropping: Site) -> None:
    """Each connection has it tried once and ends then, and none too many make the socket fail."""
    machine = dropping.machine
    machine.run("systemctl", "stop", *reversed(UNITS))
    path = "/etc/tibet-nc/executor.toml"
    machine.sh(f"cp -p {path} {path}.kept && echo '[wrong]' >>{path}")
    ask = ("curl", "-sS", "--max-time", "30", "--unix-socket", "/run/tibet-nc/executor.sock")
    ends = {machine.run(*ask, "http://x", check=False).returncode for _ in range(8)}
    assert ends <= {CURLE_GOT_NOTHING, CURLE_RECV_ERROR}
    assert machine.is_active(SOCKET)


async def test_mended_setting_is_found(dropping: Site) -> None:
    """I4: an agent that asks a failing executor again and again wears out neither unit nor socket.

    Once the setting is right the next connection starts the executor, and what waits is answered.
    """
    machine = dropping.machine
    path = "/etc/tibet-nc/executor.toml"
    machine.sh(f"cp -p {path} {path}.kept && echo '[wrong]' >>{path}")
    machine.run("systemctl", "stop", EXECUTOR)
    starts = f"journalctl -u {EXECUTOR} -o cat --no-pager | grep -c 'wrong: no such setting'"
    before = int(machine.sh(starts, check=False))
    wait_until(lambda: int(machine.sh(starts, check=False)) > before + 2, "the agent has asked", 60)
    assert machine.is_active(SOCKET)
    machine.sh(f"mv {path}.kept {path}")
    machine.wait_mended(EXECUTOR)
    (answer,) = await dropping.ask("$ echo mended")
    assert answer.result["exit"] == 0


async def test_reboot(site: Site) -> None:
    """After a reboot both units are up by themselves, and the chain goes on where it was."""
    machine = site.machine
    (before,) = await site.ask("$ echo before")
    machine.reboot()
    machine.wait_active(*UNITS, seconds=60)
    (after,) = await site.ask("$ echo after")
    assert after.result["number"] > before.result["number"]
    machine.sh("tibet-nc-audit verify --key $(cat /etc/tibet-nc/executor.pub)")


async def test_homeserver_is_waited_for(dropping: Site) -> None:
    """I4: an agent whose homeserver is away waits, longer than a start may take, and says so."""
    machine = dropping.machine
    path = "/etc/tibet-nc/agent.toml"
    dropping.drop_in(AGENT, "[Service]\nTimeoutStartSec=10\n")
    machine.wait_active(*UNITS)
    machine.sh(
        f"cp -p {path} {path}.kept; sed -i 's#^homeserver = .*#homeserver = \"http://127.0.0.1:9\"#'"
        f" {path}; systemctl restart --no-block {AGENT}"
    )
    told = "127.0.0.1:9 can't be reached"
    wait_until(lambda: told in machine.show(AGENT, "StatusText")["StatusText"], "it is told")
    pid = machine.pid(AGENT)
    tries = f"journalctl _PID={pid} -o cat --no-pager | grep -c 'trying again in'"
    wait_until(lambda: int(machine.sh(tries, check=False)) > 5, "it has tried for over 15 s", 60)
    assert machine.pid(AGENT) == pid
    assert machine.show(AGENT, "ActiveState")["ActiveState"] == "activating"
    machine.sh(f"mv {path}.kept {path}; systemctl restart {AGENT}")
    (answer,) = await dropping.ask("$ echo back")
    assert answer.result["exit"] == 0


async def test_executor_is_waited_for(dropping: Site) -> None:
    """I4: an agent whose executor is away waits, longer than a start may take, and says so."""
    machine, socket = dropping.machine, "/run/tibet-nc/executor.sock"
    dropping.drop_in(AGENT, "[Service]\nTimeoutStartSec=10\n")
    machine.wait_active(*UNITS)
    machine.sh(
        f"systemctl stop {AGENT}; mv {socket} {socket}.away; systemctl start --no-block {AGENT}"
    )
    told = f"{socket} is not there"
    wait_until(lambda: told in machine.show(AGENT, "StatusText")["StatusText"], "it is told")
    pid = machine.pid(AGENT)
    lasts = f"ps -o etimes= -p {pid}"
    wait_until(lambda: int(machine.sh(lasts, check=False) or 0) > 12, "it has waited for over 12 s")
    assert machine.pid(AGENT) == pid
    assert machine.show(AGENT, "ActiveState")["ActiveState"] == "activating"
    machine.sh(f"mv {socket}.away {socket}")
    (answer,) = await dropping.ask("$ echo back")
    assert answer.result["exit"] == 0
