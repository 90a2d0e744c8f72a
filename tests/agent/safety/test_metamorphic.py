# SPDX-License-Identifier: MIT
"""What keeps a verdict: wrapping, quoting and spacing a command otherwise."""

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tibet_nc_agent.safety import Decision, judge

FIXED = settings(
    derandomize=True,
    max_examples=250,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)

# Each is words only, so that every wrapper and every quoting can take it.
DENIED = [
    ["reboot"],
    ["/sbin/shutdown", "-h", "now"],
    ["systemctl", "poweroff"],
    ["rm", "-rf", "/"],
    ["rm", "-r", "--force", "/etc"],
    ["chmod", "-R", "777", "/"],
    ["mkfs.ext4", "/dev/sda1"],
    ["dd", "if=/dev/zero", "of=/dev/sda"],
    ["useradd", "bob"],
    ["passwd", "root"],
    ["grub-install", "/dev/sda"],
    ["iptables", "-F"],
    ["ip", "link", "set", "eth0", "down"],
    ["apt-get", "purge", "systemd"],
    ["systemctl", "stop", "ssh"],
    ["dropdb", "prod"],
    ["journalctl", "--vacuum-size=1M"],
    ["kubeadm", "reset"],
    ["wipefs", "-a", "/dev/sda"],
    ["kill", "-9", "-1"],
]


def single_quoted(text: str) -> str:
    """Return text as one word of the shell."""
    return "'" + text.replace("'", "'\\''") + "'"


# Words in front: the command follows as words.
PREFIXES = [
    "sudo",
    "sudo -u root",
    "sudo -n -E",
    "sudo -- ",
    "doas",
    "env",
    "env -i A=b",
    "nice",
    "nice -n 5",
    "nice -5",
    "ionice -c 3",
    "nohup",
    "timeout 5",
    "timeout -s KILL 5s",
    "timeout --signal=TERM 5",
    "setsid",
    "setsid -f",
    "stdbuf -oL",
    "stdbuf -o L -e 0",
    "chroot /",
    "chroot --userspec=0:0 /mnt",
    "nsenter -t 1 -m",
    "nsenter --target 1 --all",
    "unshare -m",
    "systemd-run",
    "systemd-run --wait -p A=b",
    "busybox",
    "flock /tmp/lock",
    "flock -w 3 /tmp/lock",
    "strace -f",
    "strace -o /tmp/out",
    "xargs",
    "xargs -n 1 -P4",
    "parallel",
    "watch -n 1",
    "ssh host",
    "ssh -p 22 root@host",
    "command",
    "command --",
    "builtin command",
    "exec",
    "exec -a name",
    "time",
    "time -p",
    "coproc",
    "!",
    "A=b",
    ">/dev/null",
    "2>&1",
    "true &&",
    "false ||",
    "ls |",
    "ls;",
    "ls &",
    "if true; then ls; fi;",
    "x=$(ls);",
    "find . -maxdepth 0 -exec",
]
# The command stands inside as it is.
AROUND = [
    "( {} )",
    "{{ {}; }}",
    "$( {} )",
    "`{}`",
    'echo "$( {} )"',
    "x=$( {} )",
    "cat <( {} )",
    "ls > >( {} )",
    "echo ${{x:-$( {} )}}",
    "echo $((1+$( {} )))",
    "[[ -n $( {} ) ]]",
    "case $( {} ) in x) ;; esac",
    "if {}; then :; fi",
    "if false; then {}; else ls; fi",
    "while {}; do :; done",
    "for i in 1 2; do {}; done",
    "for i in $( {} ); do :; done",
    "until false; do {}; done",
    "case x in *) {};; esac",
    "f() {{ {}; }}; f",
    "f() {{ {}; }}",
    "cat <<E\n$( {} )\nE\n",
    "{} &",
    "{} | cat",
    "{} # ls",
    "ls\n{}\n",
    "{} || ls",
    "a=(1 $( {} ))",
    "a[$( {} )]=1",
]
# The command stands inside as one quoted word.
QUOTED = [
    "sh -c {}",
    "bash -c {}",
    "bash -lc {}",
    "bash -e -c {} name",
    "zsh -c {}",
    "dash -c {}",
    "su -c {}",
    "su - root -c {}",
    "su root --command={}",
    "sudo sh -c {}",
    "script -qc {} /dev/null",
    "flock /tmp/lock -c {}",
    "watch {}",
    "ssh host {}",
    "eval {}",
    "trap {} EXIT",
    "xargs -I% sh -c {}",
    "find . -exec sh -c {} \\;",
    "echo {} | sh",
    "echo {} | sudo bash -s",
    "bash <<< {}",
    "sh <<E\n$(echo {})\nE\n",
    "printf %s {} | bash",
    "x={}; $x",
    "x={}; eval $x",
    "env -S {}",
    "alias y={}; y",
    "busybox sh -c {}",
    "echo {} > f; sh f",
    "timeout 5 sh -c {}",
    "systemd-run sh -c {}",
    "nsenter -t 1 -m sh -c {}",
    "parallel ::: {}",
    "tmux new -d {}",
    "at now <<< {}",
    "{interpreter}",
]

# The command stands in a string of another language.
INTERPRETERS = [
    "python3 -c 'import os; os.system(\"{}\")'",
    "python3 -c 'import subprocess as s; s.run(\"{}\", shell=True)'",
    "perl -e 'system(\"{}\")'",
    "perl -e 'exec \"{}\"'",
    "ruby -e 'system(\"{}\")'",
    "ruby -e '`{}`'",
    'node -e \'require("child_process").execSync("{}")\'',
    "php -r 'system(\"{}\");'",
    "lua -e 'os.execute(\"{}\")'",
    "awk 'BEGIN{{system(\"{}\")}}'",
    "vim -c '!{}' -c q",
]

denied = st.sampled_from(DENIED)


@st.composite
def wrapped(draw: st.DrawFn) -> str:
    """Draw a denied command in one to three layers."""
    text = " ".join(draw(denied))
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.integers(0, 2))
        if kind == 0:
            own = text.startswith(("!", "coproc", "A=b", "trap"))  # words that only a shell knows
            if own or any(character in text for character in "\n;&|(){}<>#`"):
                text = f"sh -c {single_quoted(text)}"
            text = f"{draw(st.sampled_from(PREFIXES))} {text}"
            if text.startswith("find "):
                text += " \\;"
        elif kind == 1:
            text = draw(st.sampled_from(AROUND)).format(text if "`" not in text else "reboot")
        else:
            template = draw(st.sampled_from(QUOTED))
            if template == "x={}; $x" or (template == "x={}; eval $x" and "\n" in text):
                # The value is split at blanks and line ends; the first isn't even parsed again.
                text = " ".join(draw(denied))
            if template == "{interpreter}":
                text = draw(st.sampled_from(INTERPRETERS)).format(" ".join(draw(denied)))
            else:
                text = template.format(single_quoted(text))
    return text


@st.composite
def respelled(draw: st.DrawFn) -> tuple[str, str]:
    """Draw a denied command, and the same with other quotes and blanks."""
    words = draw(denied)
    spelled = [_respelled(draw, word) for word in words]
    blank = st.sampled_from([" ", "  ", "\t", " \\\n", "\t  "])
    text = "".join(draw(blank) + word for word in spelled)
    return " ".join(words), text


def _respelled(draw: st.DrawFn, word: str) -> str:
    return "".join(draw(st.sampled_from(_spellings(character))) for character in word)


def _spellings(character: str) -> list[str]:
    return [
        *[character] * 3,
        f"\\{character}",
        f"'{character}'",
        f'"{character}"',
        f"$'\\x{ord(character):02x}'",
        f"$'\\{ord(character):03o}'",
        f'{character}""',
        f"''{character}",
        f"\\\n{character}",
    ]


@FIXED
@given(wrapped())
def test_wrapping_never_allows(text: str) -> None:
    """A denied command stays not allowed in any combination of wrappers and contexts."""
    assert judge(text).decision is not Decision.ALLOW


@FIXED
@given(respelled())
def test_quoting_and_spacing_keep_the_verdict(pair: tuple[str, str]) -> None:
    """Other quotes, escapes and blanks change neither the decision nor the families."""
    plain, spelled = judge(pair[0]), judge(pair[1])
    assert plain.decision is spelled.decision is Decision.DENY
    assert {f.family for f in plain.findings} == {f.family for f in spelled.findings}


@FIXED
@given(respelled())
def test_a_quoted_mention_is_harmless(pair: tuple[str, str]) -> None:
    """A denied command that is only an argument of echo, grep or git is allowed."""
    mention = single_quoted(pair[0])
    for text in (f"echo {mention}", f"grep -r {mention} .", f"git commit -m {mention}"):
        assert judge(text).decision is Decision.ALLOW


@FIXED
@given(wrapped())
def test_stricter_home_and_directory_never_allow(text: str) -> None:
    """Neither a known directory nor another home makes a denied command harmless."""
    assert judge(text, cwd="/srv", home="/home/operator").decision is not Decision.ALLOW
