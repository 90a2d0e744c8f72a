# SPDX-License-Identifier: MIT
"""What an operator in the room gets from a host that was installed by one command."""

import os
import re
import shlex

import pytest

from tests.system.newcomer import Newcomer
from tests.system.site import Site

BY_DEFAULT = {
    "df -h": "Filesystem",
    "free": "Mem:",
    "journalctl -n 5": "tibet-nc-executor",
    "ps aux": "root           1 ",
    "systemctl status tibet-nc-agent": "active (running)",
    "uptime": "load average",
}

FAILS = """\
exec 2>/dev/null
tried=0
works() { tried=$((tried + 1)); if eval "$1"; then echo "WORKS: $1"; fi; }
works 'bash -c "exec 3<>/dev/tcp/127.0.0.1/@PORT@"'
works 'bash -c "exec 3<>/dev/udp/127.0.0.1/53"'
works 'ip link'
works 'curl -s http://127.0.0.1:@PORT@'
works 'unshare --user true'
works 'unshare --net true'
works 'mount -t tmpfs none /tmp'
works 'setpriv --reuid=0 true'
works 'su -c true </dev/null'
works 'kill -0 1'
works 'kill -0 @EXECUTOR@'
works 'kill -0 @AGENT@'
works 'cat /proc/@EXECUTOR@/environ'
works 'cat /proc/@AGENT@/environ'
works 'cat /proc/@EXECUTOR@/mem | head -c 1 | grep .'
works 'ls /proc/@EXECUTOR@/fd'
works 'cat /proc/@AGENT@/mem | head -c 1 | grep .'
works 'ls /proc/@AGENT@/fd'
works '[ -n "$(find /run/log/journal /var/log/journal -writable)" ]'
works 'ls /var/lib/tibet-nc'
works 'ls /var/lib/tibet-nc-agent'
works 'ls /etc/credstore.encrypted'
works 'ls /run/tibet-nc'
works 'ls /run/credentials/tibet-nc-executor.service'
works 'ls /run/credentials/tibet-nc-agent.service'
works 'cat /etc/tibet-nc/agent.toml'
works 'cat /etc/tibet-nc/executor.toml'
works 'cat /etc/shadow'
works 'curl -s --unix-socket /run/tibet-nc/executor.sock http://x'
works 'systemctl stop tibet-nc-executor'
works 'systemd-run true'
works 'loginctl enable-linger'
for directory in / /boot /etc /home /mnt /opt /root /run /run/lock /srv /sys /sys/fs/cgroup /usr \\
    /var /var/lib /var/log /dev /proc; do
    works "touch $directory/.written"
done
works 'mknod ~/null c 1 3'
works 'chmod u+s ~/suid'
works 'mv ~ "$HOME.away"'
works @CODE@
works 'perl -MSocket -e "socket(S, 17, SOCK_RAW, 0) or exit 1"'
works 'dmesg'
works 'ipcmk -M 4096'
works 'ipcmk -Q'
works 'ipcmk -S 1'
works 'touch /dev/mqueue/queue'
works @QUEUE@
works @KEY@
works 'renice -n 5 -p @EXECUTOR@'
echo "tried $tried"
"""


EXIT_PAM = 224  # systemd.exec(5): PAM has refused
# System calls by their numbers on x86-64; Perl is on every Debian, a `python3` is not.
CALLS = {
    # mmap of memory that can be written and executed
    "@CODE@": "exit(syscall(9, 0, 4096, 7, 34, -1, 0) == -1)",
    # mq_open, to read and write, new
    "@QUEUE@": "$name = 'queue'; exit(syscall(240, $name, 0102, 0600, 0) == -1)",
    # add_key, to the uid's own keyring
    "@KEY@": "($t, $d, $p) = ('user', 'left', 'x'); exit(syscall(248, $t, $d, $p, 1, -4) == -1)",
}


def test_the_first_answers(newcomer: Newcomer) -> None:
    """Ten minutes after nothing, Element shows the status and df -h, and warns of neither."""
    status, disk = newcomer.answers
    assert "uids separated" in status.body
    assert "Filesystem" in disk.body
    assert [answer.shield for answer in newcomer.answers] == ["NONE"] * 2


async def test_everyday_commands(site: Site) -> None:
    """By default uptime, ps aux, free, df -h, journalctl and systemctl status work."""
    answers = await site.ask(*(f"$ {command}" for command in BY_DEFAULT))
    shown = [
        (answer.result["exit"], expected in answer.body)
        for answer, expected in zip(answers, BY_DEFAULT.values(), strict=True)
    ]
    assert shown == [(0, True)] * len(BY_DEFAULT), "\n".join(answer.body for answer in answers)


async def test_status(site: Site) -> None:
    """A status names the walls, and none is given up; sessions are apart where Linux can do it."""
    (answer,) = await site.ask("status")
    release = [int(number) for number in os.uname().release.split(".")[:2]]
    assert ("sessions apart" in answer.body) == (release >= [6, 12])
    assert "uids separated" in answer.body
    assert "processes ended by cgroup" in answer.body
    assert "agent's walls: all hold" in answer.body
    assert "NO " not in answer.body


async def test_shell_is_held(site: Site) -> None:
    """I2, I6: a command finds no network, no secret, no privilege, no file to write but its own."""
    machine = site.machine
    script = (
        FAILS.replace("@PORT@", str(site.homeserver.port))
        .replace("@EXECUTOR@", str(machine.pid("tibet-nc-executor")))
        .replace("@AGENT@", str(machine.pid("tibet-nc-agent")))
    )
    for name, program in CALLS.items():
        script = script.replace(name, shlex.quote(f"perl -e {shlex.quote(program)}"))
    machine.write("/usr/local/share/walls.sh", script)
    (answer,) = await site.ask("$ touch ~/suid; bash /usr/local/share/walls.sh")
    assert "WORKS" not in answer.body, answer.body
    assert "tried 63" in answer.body, answer.body


async def test_home_is_kept(site: Site) -> None:
    """A command may write to its session's home and a private /tmp, which the host doesn't see."""
    machine = site.machine
    first, second = await site.ask(
        "$ echo kept | tee ~/note /tmp/note", "$ cat ~/note /tmp/note; ls -ld ~"
    )
    assert first.result["exit"] == 0
    assert second.body.count("kept") == 2
    assert machine.sh("find /var/lib/tibet-nc-shell -mindepth 1") == ""
    assert machine.sh("cat /tmp/note", check=False).find("kept") == -1


async def test_homes_and_tmp_are_limited(site: Site) -> None:
    """I6: home, /tmp, /var/tmp, /dev/shm are in memory, each with a limit; the disk loses nothing.

    A tenth of the memory is too much to fill here: that /tmp has this limit is enough.
    """
    machine = site.machine
    used = "du -sxm / 2>/dev/null | cut -f 1"  # of this machine alone: others use the disk below
    before = int(machine.sh(used))
    fill = "for i in 1 2 3 4; do head -c 200M /dev/zero | tee {0}/$i | wc -c; done"
    shown, *full = await site.ask(
        "$ df --output=fstype,size -B1M ~ /dev/shm /tmp /var/tmp",
        *(f"$ {fill.format(place)}" for place in ("~", "/dev/shm")),
    )
    tenth = int(machine.sh("awk '/^MemTotal/ {print $2}' /proc/meminfo")) // 1024 // 10 + 1
    places = re.findall(r"^(\w+) +(\d+)$", shown.body, re.MULTILINE)
    assert [kind for kind, _ in places] == ["tmpfs"] * 4, shown.body
    for (_, size), most in zip(places, (512, 16, tenth, tenth), strict=True):
        assert int(size) <= most, shown.body
    for answer in full:
        assert "No space left on device" in answer.body, answer.body
    machine.sh("systemctl restart tibet-nc-executor")
    assert int(machine.sh(used)) - before < 200


async def test_nothing_outlives(site: Site) -> None:
    """I6: what a command leaves running is gone when its session ends."""
    await site.ask("$ (setsid sleep 987654 &) ; true", "exit")
    assert site.machine.sh("pgrep -f 'sleep 987654'", check=False) == ""


@pytest.mark.parametrize("account", ["tibet-nc-agent", "tibet-nc-executor", "tibet-nc-shell"])
def test_no_service_manager_for_the_accounts(site: Site, account: str) -> None:
    """I6: to PAM the accounts have ended, so a service manager that logind would start isn't run.

    The container has no PAM service of that name; Debian's has the same rule for accounts.
    """
    started = site.machine.run(
        *("systemd-run", "--wait", "--quiet", f"--property=User={account}"),
        *("--property=PAMName=other", "true"),
        check=False,
    )
    assert started.returncode == EXIT_PAM


CONNECT = """\
connect() { curl -sS --unix-socket "$0" http://x 2>&1; echo "$?"; }
export -f connect
getent passwd | cut -d : -f 1 | while read -r account; do
    said=$(runuser -u "$account" -- bash -c connect @SOCKET@ </dev/null)
    echo "$account: ${said//$'\\n'/ }"
done
"""
"""Have each account of the host try a socket; one line tells of each what became of it."""


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/run/tibet-nc/executor.sock", {"root", "tibet-nc-agent"}),
        ("/var/lib/tibet-nc-agent/console.sock", {"root", "tibet-nc-agent"}),
    ],
)
def test_sockets_refuse_every_other_account(site: Site, path: str, allowed: set[str]) -> None:
    """I2, I6: no account of the host but root's and the agent's gets as far as either socket."""
    said = site.machine.sh(CONNECT.replace("@SOCKET@", path)).splitlines()
    became = dict(line.split(": ", 1) for line in said)
    assert {"nobody", "daemon", "tibet-nc-shell", "tibet-nc-executor"} <= set(became)
    turned_away = {account for account, end in became.items() if end.endswith(" 7")}
    assert set(became) - turned_away == allowed, became


def test_socket_asks_the_kernel(site: Site) -> None:
    """I6: where the mode lets a stranger in, the executor asks for the uid and records it."""
    machine = site.machine
    log = "journalctl --sync; journalctl -o cat --no-pager TIBET_NC_KIND=security"
    before = machine.sh(log).count("connected as uid 65534")
    machine.sh("chmod 755 /run/tibet-nc; chmod 666 /run/tibet-nc/executor.sock")
    try:
        said = machine.run(
            "curl", "-sS", "--unix-socket", "/run/tibet-nc/executor.sock", "http://x",
            user="nobody", check=False,
        )  # fmt: skip
    finally:
        machine.sh("chmod 750 /run/tibet-nc; chmod 660 /run/tibet-nc/executor.sock")
    assert said.returncode != 0
    assert machine.sh(log).count("connected as uid 65534") == before + 1


def test_root_reaches_the_agents_console(site: Site) -> None:
    """Behind the unit's walls, in a user namespace of its own, the agent still knows root."""
    said = site.machine.run(
        "script", "-qec", "tibet-nc-agent trust @nobody:example.org --emoji", "/dev/null",
        check=False,
    )  # fmt: skip
    assert said.returncode == 1, said
    assert "@nobody:example.org has no usable master key" in said.stdout
