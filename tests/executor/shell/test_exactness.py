# SPDX-License-Identifier: MIT
"""Exit status from the kernel, output byte for byte, whatever a command does to its terminal."""

import asyncio
import signal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.executor.shell.driver import run
from tibet_nc_executor.fence import framed
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.terms import Reason


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("true", 0),
        ("", 0),
        ("# a remark", 0),
        ("false", 1),
        ("exit 3", 3),
        ("exit 255", 255),
        ("exit 300", 44),
        ("(exit 7)", 7),
        ("exit 3; true", 3),
        ("true; false", 1),
        ("false | true", 0),
        ("set -o pipefail; false | true", 1),
        ("set -e; false; true", 1),
        ("set -e; f() { exit 9; }; f; true", 9),
        ("no-such-command", 127),
        ("/etc/passwd", 126),
        ("set -u; : $nope; true", 127),
        ("bash -c 'kill -9 $$'", 128 + 9),
        ("trap 'exit 5' TERM; kill -TERM $$; true", 5),
        ("trap 'exit 6' EXIT; true", 6),
        ("exec sh -c 'exit 42'", 42),
        ("-x", 127),
    ],
)
async def test_exit_status(shell: Shell, text: str, status: int) -> None:
    """The status is the shell's own, to the number."""
    ending = (await run(shell, text)).ending
    assert (ending.exit, ending.signal, ending.reason) == (status, None, Reason.EXITED)


@pytest.mark.parametrize("number", ["KILL", "TERM", "HUP", "INT", "SEGV", "USR1", "ALRM"])
async def test_signal(shell: Shell, number: str) -> None:
    """A shell that kills itself ends by that signal, and nobody is said to have cancelled it."""
    ending = (await run(shell, f"kill -{number} $$; echo not reached")).ending
    assert (ending.exit, ending.signal) == (None, signal.Signals[f"SIG{number}"])
    assert ending.reason is Reason.EXITED


LONG = "x" * 9000

CORPUS = {
    "nothing": (":", b""),
    "no final newline": ("printf abc", b"abc"),
    "only newlines": ("printf '\\n\\n\\n'", b"\n\n\n"),
    "leading and trailing blanks": ("printf '  \\t a \\t \\n '", b"  \t a \t \n "),
    "carriage returns": ("printf 'a\\rb\\r\\nc\\r'", b"a\rb\r\nc\r"),
    "NUL": ("printf 'a\\0b\\0'", b"a\0b\0"),
    "every byte": (
        'for i in {0..255}; do printf -v h %02x $i; printf "\\\\x$h"; done',
        bytes(range(256)),
    ),
    "invalid UTF-8": ("printf '\\xff\\xc0\\x80\\xed\\xa0\\x80'", b"\xff\xc0\x80\xed\xa0\x80"),
    "a long line": (f"printf %s {LONG}", LONG.encode()),
    "equal to the command": ("echo 'echo'", b"echo\n"),
    "escape sequences": ("printf '\\e]0;t\\a\\e[2J\\x9b'", b"\x1b]0;t\x07\x1b[2J\x9b"),
    "control characters of the terminal": (
        "printf '\\x03\\x04\\x11\\x13\\x1a\\x1c\\x7f'",
        b"\x03\x04\x11\x13\x1a\x1c\x7f",
    ),
    "an imitated fence": (
        "printf '\\0%032d\\0after' 0",
        framed(bytes(16)) + b"after",
    ),
    "an imitated prompt": (
        "PS1='$ ' PROMPT_COMMAND='echo no'; printf '$ \\n# \\nbash-5.2$ '",
        b"$ \n# \nbash-5.2$ ",
    ),
    "an imitated status": ("printf '+\\0unset PATH\\0'", b"+\0unset PATH\0"),
    "standard error": ("echo a; echo b >&2; echo c", b"a\nb\nc\n"),
    "the terminal by name": ("echo a >/dev/tty; echo b >/dev/stderr; echo c >$(tty)", b"a\nb\nc\n"),
    "several lines": ("echo a\n\necho b\n", b"a\nb\n"),
    "a here-document": ("cat <<E\n a\n\tb\nE\necho c", b" a\n\tb\nc\n"),
    "a here-document without an end": ("echo a", b"a\n"),
    "a loop over lines": ("for i in 1 2\ndo\n  echo $i\ndone", b"1\n2\n"),
    "tracing": ("set -x; echo a", b"+ echo a\na\n"),
    "output after the shell": ("exec sh -c 'printf late'", b"late"),
    "job control": ("set -m; sh -c 'echo a'; (echo b); sh -c 'echo c' | cat", b"a\nb\nc\n"),
    "work in the background": ("echo a & wait; echo b", b"a\nb\n"),
    "standard input that is used up": ("read x </dev/null; echo [$x]", b"[]\n"),
    "lines equal to the command": ("cat <<'E'\ncat <<'E'\nE", b"cat <<'E'\n"),
    "descriptors of its own": ("exec 3>&1 4>&3-; echo a >&4; echo b", b"a\nb\n"),
    "traps": ("trap 'echo bye' EXIT; echo a", b"a\nbye\n"),
    "a debug trap": ("trap 'echo t' DEBUG; :; trap - DEBUG", b"t\nt\n"),
}


@pytest.mark.parametrize("name", CORPUS)
async def test_output_is_exact(shell: Shell, name: str) -> None:
    """Not one byte more or less, in the order in which it was written."""
    text, expected = CORPUS[name]
    assert (await run(shell, text)).output == expected


@pytest.mark.parametrize(
    "name", sorted(CORPUS.keys() - {"the terminal by name", "output after the shell"})
)
async def test_output_is_exact_in_a_restricted_shell(restricted: Shell, name: str) -> None:
    """Restrictions change nothing of it."""
    text, expected = CORPUS[name]
    assert (await run(restricted, text)).output == expected


@pytest.mark.parametrize("text", ["echo 'abc", 'echo "', "if true", "cat <(", "echo a)", "$(("])
async def test_broken_syntax_is_an_error_at_once(shell: Shell, text: str) -> None:
    """Nothing is waited for: bash says what is wrong, and ends with its status for that."""
    done = await run(shell, text)
    assert done.ending.exit == 2
    assert done.output.startswith(b"tibet-nc: -c: line ")
    assert done.ending.leftover == 0


TAMPERING = {
    "raw": "stty raw -echo -isig",
    "echo": "stty echo onlcr opost olcuc",
    "flow stopped": "perl -MPOSIX -e 'tcflow(1, TCOOFF)'",
    "flow control": "stty ixon ixoff",
    "exclusive": "perl -e 'ioctl(STDIN, 0x540C, 0)'",
    "line discipline N_NULL": "perl -e 'ioctl(STDIN, 0x5423, pack(\"i\", 27))'",
    "size": "stty rows 1 columns 1",
    "all closed": "exec <&- >&- 2>&-",
    "every descriptor written": "for i in {0..99}; do echo x >&$i; done",
    "every descriptor closed": 'for i in {0..99}; do eval "exec $i>&-"; done',
    "traps for everything": "trap '' HUP INT QUIT TERM TSTP TTIN TTOU USR1 USR2 PIPE CHLD",
    "input left in the terminal": "exec </dev/null",
    "background process group": "set -m; sleep 100 & disown",
}


@pytest.mark.parametrize("name", TAMPERING)
async def test_a_command_can_spoil_only_its_own_terminal(shell: Shell, name: str) -> None:
    """It ends whole, and the next command of the session is exact, on a terminal like new."""
    session = shell.new_session()
    reference = (await run(shell, "stty -a", session)).output
    spoiled = await run(shell, TAMPERING[name], session)
    assert not any("terminal" in note for note in spoiled.ending.notes)
    assert (await run(shell, "stty -a", session)).output == reference
    assert (await run(shell, "printf 'a\\r\\nb'", session)).output == b"a\r\nb"


async def test_output_before_the_terminal_was_spoiled_is_kept(shell: Shell) -> None:
    """What was printed before a command stopped its own output is there."""
    done = await run(shell, f"printf before; {TAMPERING['flow stopped']}")
    assert (done.output, done.ending.notes) == (b"before", ())


async def test_much_output_is_exact(shell: Shell, home: Path) -> None:
    """Megabytes arrive as they were."""
    data = bytes(range(256)) * 8192
    file = home / "data"
    file.write_bytes(data)
    file.chmod(0o644)
    assert (await run(shell, f"cat {file}")).output == data


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=5000))
def test_any_bytes_arrive_as_they_are(shell: Shell, home: Path, data: bytes) -> None:
    """The terminal adds nothing, drops nothing, changes nothing."""
    file = home / "any"
    file.write_bytes(data)
    file.chmod(0o644)

    async def printed() -> bytes:
        return (await run(shell, f"cat {file}")).output

    assert asyncio.run(printed()) == data


async def test_a_consumer_that_fails_ends_the_command(shell: Shell) -> None:
    """Output that cannot be taken is not lost quietly: the command ends and the error is told."""

    def refuse(_: bytes) -> None:
        raise OSError("the disk is full")

    command = await shell.start("while :; do echo x; done", shell.new_session(), refuse)
    with pytest.raises(OSError, match="the disk is full"):
        await command.wait()
