# SPDX-License-Identifier: MIT
"""Options with a value and options without one, as the programs of Debian 12 and 13 have them."""

import pytest

from tibet_nc_agent.safety import Decision, judge

ALLOW, ASK, DENY = Decision.ALLOW, Decision.NEEDS_APPROVAL, Decision.DENY


@pytest.mark.parametrize(
    "wrapper",
    [
        "sudo --login",
        "strace --summary",
        "strace --summary-only",
        "strace --inject open:error=EIO",
        "unshare --monotonic 5",
        "unshare -l /lib/ld.so",
        "nsenter --net -N 3",
        "setpriv --ptracer any",
        "systemd-run --expand-environment no",
        "systemd-run --job-mode fail",
        "systemd-nspawn -D /srv/t --network-veth --capability all",
        "systemd-cat --level-prefix no",
        "run0 --shell-prompt-prefix x",
        "perf stat --repeat 5",
        "perf record --output x --call-graph dwarf",
        "numactl --weighted-interleave 0",
        "torsocks -P 9050",
        "dumb-init --rewrite 15:3",
        "dbus-run-session --config-file x",
        "fakeroot --lib x",
        "proot -k 4 -R /srv/t",
        "schroot -c x -o a=b --",
        "chpst -U x -/ /srv",
        "dtach -n /tmp/s -E",
        "nix develop --command",
        "conda run --cwd /srv -n x",
        "doppler run -c dev",
        "pnpm --filter x exec",
        "heaptrack -o x",
        "mise exec node@20 --",
        "rlwrap --file x",
        "ip -all netns exec",
        "ls | entr -r",
    ],
)
def test_the_command_behind_the_options_of_a_wrapper_is_found(wrapper: str) -> None:
    """No option of a program that runs another one hides that one, with a value or without."""
    assert judge(f"{wrapper} rm -rf /etc").decision is DENY


@pytest.mark.parametrize("option", ["--new-in-the-next-version 5", "--mode=a --new b"])
@pytest.mark.parametrize("wrapper", ["timeout", "systemd-run", "unshare", "sudo"])
def test_what_an_option_that_no_table_knows_may_take_hides_nothing(
    wrapper: str, option: str
) -> None:
    """A command behind a word that may be a value needs an approval."""
    duration = "5 " if wrapper == "timeout" else ""
    assert judge(f"{wrapper} {option} {duration}rm -rf /etc").decision is not ALLOW


@pytest.mark.parametrize(
    "line",
    [
        "sudo -E less reboot",
        "sudo --preserve-env mytool grep reboot /var/log/syslog",
        "systemd-run --user --scope mytool reboot",
        "sudo -u app ./ctl shutdown",
        "sudo -n /opt/app/bin/ctl shutdown now",
        "sudo --non-interactive ./ctl shutdown",
        "poetry -C x run pytest -k reboot",
        "timeout -k 5 --foreground 60 pytest -k reboot",
        "strace -f -o x mytool reboot",
        "xvfb-run -a pytest -k reboot -x",
        "npx --yes cowsay reboot",
        "mise exec node@20 -- npm test",
        "systemd-inhibit --what shutdown sleep 5",
        "npx --yes create-thing reset",
        "ls | entr -c make test",
        "hyperfine --warmup 3 'ls -l' 'find /tmp' --export-json x.json",
        "concurrently -n a,b 'npm run a' 'npm run b'",
    ],
)
def test_harmless_commands_of_wrappers_are_allowed(line: str) -> None:
    """What an unknown option may mean is in nobody's way where nothing dangerous follows."""
    assert judge(line).findings == ()


@pytest.mark.parametrize(
    "line",
    [
        "hyperfine 'sleep 1' reboot",
        "hyperfine --conclude reboot ls",
        "hyperfine -p sync --cleanup reboot ls",
        "concurrently -n a,b 'npm run a' reboot",
        "mispipe ls reboot",
        "date | pee cat reboot",
        "ls | entr -s reboot",
        "ls | entr -rs reboot",
        "perf stat --pre reboot ls",
    ],
)
def test_each_text_that_a_wrapper_runs_is_judged(line: str) -> None:
    """Where several operands or options are commands, each of them is one."""
    assert judge(line).decision is DENY


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("ip -json link set eth0 down", DENY),
        ("ip -human addr flush dev eth0", DENY),
        ("ip -br -json link show", ALLOW),
        ("tc -json qdisc del dev eth0 root", ASK),
        ("networkctl --json short down eth0", DENY),
        ("networkctl -n 5 down eth0", DENY),
        ("resolvectl -i eth0 revert eth0", DENY),
        ("resolvectl -t mx query reboot.example.org", ALLOW),
        ("kubectl delete --grace-period 0 ns x", DENY),
        ("apt-get --error-on any remove openssh-server", DENY),
        ("apt-get -y --solver 3.0 purge systemd", DENY),
        ("cryptsetup --type luks2 -S 1 close x", ASK),
        ("cryptsetup -s 512 benchmark", ALLOW),
        ("rbd -p pool rm image", DENY),
        ("ceph --cluster x osd out 3", ASK),
        ("consul kv --token x delete y", ASK),
        ("nmcli --new x con down eth0", ASK),
        ("docker --new x system reset", ASK),
        ("systemctl --new x stop ssh", ASK),
        ("systemctl --user status reboot.target", ALLOW),
        ("xargs apt-get -y install < list", ALLOW),
        ("docker -D ps -a", ALLOW),
    ],
)
def test_a_verb_is_found_behind_every_option(line: str, expected: Decision) -> None:
    """What a program is told to do stands behind its options, known ones or not."""
    assert judge(line).decision is expected
