# SPDX-License-Identifier: MIT
"""What one command of a session leaves to the next, and what it cannot."""

import subprocess
from pathlib import Path

import pytest

from tests.executor.shell.driver import begin, run
from tibet_nc_executor.ending import Death
from tibet_nc_executor.prologue import STATE_BYTES
from tibet_nc_executor.session import NOT_KEPT, TOO_LARGE
from tibet_nc_executor.shell import Shell

KEPT = {
    "a variable": ("a='x  y'", 'printf %s "$a"', b"x  y"),
    "a variable with line ends": ("a=$'1\\n2\\r\\t'", 'printf %s "$a"', b"1\n2\r\t"),
    "an exported variable": ("export a=5", "sh -c 'printf %s $a'", b"5"),
    "an integer": ("declare -i n=4", "n=n+3; printf %s $n", b"7"),
    "an array": ("l=(1 'b c' [7]=d)", 'printf "%s|" "${l[@]}" "${!l[@]}"', b"1|b c|d|0|1|7|"),
    "a map": ("declare -A m=([a b]=c)", "printf %s \"${m['a b']}\"", b"c"),
    "a reference": ("declare -n r=v; v=6", "printf %s $r", b"6"),
    "a constant": ("readonly c=1", "c=2; echo $c", b"tibet-nc: line 1: c: readonly variable\n"),
    "a constant list": ("declare -ar c=(1 2)", "echo ${c[1]}", b"2\n"),
    "a function": ("f() { echo f $1; }", "f 3", b"f 3\n"),
    "an alias": ("alias say='echo said'", "say it", b"said it\n"),
    "options": ("set -u -o pipefail", "echo $-; set +o | grep pipe", b"huBc\nset -o pipefail\n"),
    "shell options": ("shopt -s nullglob", "echo /none/*", b"\n"),
    "errexit": ("set -e", "false; echo no", b""),
    "tracing": ("set -x", "echo a", b"+ echo a\na\n"),
    "no aliases": ("shopt -u expand_aliases; alias true=g", "true && echo a", b"a\n"),
    "POSIX mode": ("set -o posix", "set -o | grep posix", b"posix          \ton\n"),
    "extended patterns": (
        "shopt -s extglob\nf() { case $1 in @(a|b)) echo yes;; esac; }",
        "f b",
        b"yes\n",
    ),
    "the mask": ("umask 027", "umask", b"0027\n"),
    "the directory": ("cd /usr/bin", "pwd", b"/usr/bin\n"),
    "the directory before": ("cd /usr; cd /etc", "cd -; cd - >/dev/null", b"/usr\n"),
    "no directory before": ("true", "echo ${OLDPWD-none}", b"none\n"),
    "IFS": ("IFS=:", "a=1:2; echo $a", b"1 2\n"),
    "an export of bash's own": ("export OPTERR", "sh -c 'echo $OPTERR'", b"1\n"),
    "a change of bash's own": ("OPTERR=0", "echo $OPTERR", b"0\n"),
    "text that looks like bash's own": (
        "f() { cat <<E\ndeclare -- OPTERR=\"1\"\ndeclare -i RANDOM\nE\n}",
        "f",
        b'declare -- OPTERR="1"\ndeclare -i RANDOM\n',
    ),
    "an alias that looks like bash's own": (
        "alias a=$'echo a\ndeclare -i RANDOM\necho b'",
        "alias a",
        b"alias a='echo a\ndeclare -i RANDOM\necho b'\n",
    ),
    "removal": ("unset LANG", "echo ${LANG-none}", b"none\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", KEPT)
async def test_state_is_kept(shell: Shell, name: str) -> None:
    """The session goes on where the last command left it, and stays so."""
    first, then, expected = KEPT[name]
    session = shell.new_session()
    done = await run(shell, first, session)
    assert done.ending.notes == ()
    assert (await run(shell, then, session)).output == expected
    if name not in {"errexit", "an integer"}:
        assert (await run(shell, then, session)).output == expected


VOLATILE = (
    "BASHPID|COLUMNS|LINES|BASH_COMMAND|EPOCH|LINENO|PIPESTATUS|PPID|RANDOM|SECONDS|SRANDOM| _="
)


async def test_what_a_shell_has_of_its_own_is_not_told_and_stays_so(shell: Shell) -> None:
    """The next shells of a session have bash's own variables just as the first one had them."""
    listing = f"declare -p | grep -v -E '{VOLATILE}'"
    session = shell.new_session()
    seen = [(await run(shell, listing, session)).output for _ in range(3)]
    assert seen[0].count(b"declare ") > 30
    assert seen[0] == seen[1] == seen[2]
    told = session.prologue(entry="", own=100, pipe=101, text=b"")
    assert b"declare -- IFS=" not in told
    assert b"declare -x LANG=" in told


def option_names(listing: str) -> list[str]:
    """Return the options that this machine's bash lists."""
    listed = subprocess.run(
        ["/bin/bash", "-c", listing], capture_output=True, text=True, check=True
    )
    return [line.split()[0] for line in listed.stdout.splitlines()]


NEVER_KEPT = {
    *("login_shell", "restricted_shell"),  # read-only
    *("monitor", "noexec", "onecmd"),  # of a shell that reads its commands one by one
    "extdebug",  # without a debugger, bash turns it off when it starts
    "interactive-comments",  # shopt lists it too, as still on, and means nothing by it here
}


@pytest.mark.parametrize("listing", ["shopt", "set -o"])
async def test_each_option_is_kept(shell: Shell, listing: str) -> None:
    """Whichever option a command turns, by itself, is found turned by the next two."""
    turns = {"shopt": ("shopt -u", "shopt -s"), "set -o": ("set +o", "set -o")}[listing]
    names = [name for name in option_names(listing) if name not in NEVER_KEPT]
    assert len(names) > 20
    asked = f"{listing} | while read -r name state; do [[ $name != {{}} ]] || echo $state; done"
    for name in names:
        session = shell.new_session()
        now = (await run(shell, asked.format(name), session)).output.decode().strip()
        assert now in {"on", "off"}
        other = "off" if now == "on" else "on"
        await run(shell, f"{turns[other == 'on']} {name}", session)
        for _ in range(2):
            found = (await run(shell, asked.format(name), session)).output.decode().splitlines()
            assert [line for line in found if line in {"on", "off"}] == [other], name


RESTRICTED_KEPT = sorted(KEPT.keys() - {"the directory", "the directory before", "POSIX mode"})


@pytest.mark.parametrize("name", RESTRICTED_KEPT)
async def test_state_is_kept_in_a_restricted_shell(restricted: Shell, name: str) -> None:
    """Restrictions come after the state is restored, and stay on."""
    first, then, expected = KEPT[name]
    session = restricted.new_session()
    assert (await run(restricted, first, session)).ending.notes == ()
    expected = expected.replace(b"huBc", b"hruBc")
    assert (await run(restricted, then, session)).output == expected
    assert (await run(restricted, "set +e; cd /", session)).output.endswith(b"cd: restricted\n")


@pytest.mark.parametrize("ending", ["exit 4", "set -e; false", "f() { exit 4; }; f", "kill $$"])
async def test_state_survives_an_early_end(shell: Shell, ending: str) -> None:
    """A shell that exits, fails or is asked to end tells its state all the same."""
    session = shell.new_session()
    await run(shell, f"a=1; {ending}", session)
    assert (await run(shell, "echo $a", session)).output == b"1\n"


@pytest.mark.parametrize(
    "ending", ["trap - EXIT", "trap 'echo bye' EXIT", "exec 63>&-", "set -n", "trap - EXIT; exit 3"]
)
async def test_an_end_without_state_keeps_the_state_before(shell: Shell, ending: str) -> None:
    """What a shell could not tell is not guessed: the operator is told, the session goes on."""
    session = shell.new_session()
    await run(shell, "a=1", session)
    done = await run(shell, f"a=2; {ending}", session)
    assert (done.ending.notes, done.ending.death) == ((NOT_KEPT,), None)
    assert (await run(shell, "echo $a", session)).output == b"1\n"


DEATHS = {
    "exit": Death.EXIT,
    "exit 3; echo no": Death.EXIT,
    "shopt -s nocasematch; exit 3": Death.EXIT,
    "f() { while :; do exit 4 2>&1; done; }; f": Death.EXIT,
    "if ! builtin exit; then :; fi": Death.EXIT,
    r"{ \exit 5; } 2>&1": Death.EXIT,
    "command exit abc": Death.EXIT,
    "true | false; eval 'exit 1'": Death.EXIT,
    "true & exit": Death.EXIT,
    "set -eux; exit 0": Death.EXIT,
    "set -o posix; exit 0": Death.EXIT,
    "exec true": Death.EXEC,
    "exec bash -c 'exit 3'": Death.EXEC,
    "trap 'echo no' EXIT; exec sh -c 'kill -9 $$'": Death.EXEC,
    "exec sh -c 'kill -INT $$'": Death.EXEC,
    "kill -9 $$": Death.SIGNAL,
    "kill $$": Death.SIGNAL,
    "(sleep 0.1; kill -HUP $$) & sleep 100": Death.SIGNAL,
    "readonly POSIXLY_CORRECT=; trap 'kill -9 $$' EXIT": Death.SIGNAL,
    "set -e; false; echo no": Death.ERREXIT,
    "set -eo pipefail; f() { false | cat; }; f": Death.ERREXIT,
}


@pytest.mark.parametrize("text", DEATHS)
async def test_what_ends_a_shell_is_named(shell: Shell, text: str) -> None:
    """What would have ended a shell at a prompt is told apart from the end of a line."""
    done = await run(shell, text)
    assert done.ending.death is DEATHS[text]
    assert NOT_KEPT not in done.ending.notes


async def test_only_the_shell_itself_tells_how_it_ends(shell: Shell) -> None:
    """A copy of it that the kernel hangs up on, before it has forgotten its traps, tells nothing.

    That is a matter of luck: about one in ten of these runs had such a copy.
    """
    for _ in range(40):
        session = shell.new_session()
        done = await run(shell, "for i in {1..30}; do : & done; a=told; exit", session)
        assert done.ending.death is Death.EXIT
        assert (await run(shell, "echo $a", session)).output == b"told\n"


ENDS_OF_LINES = [
    "false",
    "(exit 3)",
    "exit 3 | cat",
    "true | exit 3",
    "exit 3 &",
    "f() { echo ${nothing:?}; }; f; exit 3",
    "b=$(exit 3)",
    "exits 3",
    "bash -c 'exit 3'",
    "bash -c 'kill -9 $$'",
    "sh -c 'kill -INT $$'",
    "kill -INT $$",
    "set -e; (exit 3) && true",
    "set -e; ! true",
    "set -e; true",
    "set -u; echo $nothing",
    "echo ${nothing:?}",
    "echo $((1/0))",
    "exec not-there",
    "exec 3>&1",
    "if",
    "exit 1 )",
    "echo 'exit 3'",
]


@pytest.mark.parametrize("text", ENDS_OF_LINES)
async def test_the_end_of_a_line_is_not_the_shell_s(shell: Shell, text: str) -> None:
    """A failure, an error or ^C leaves a shell at its prompt, and so it leaves the session."""
    session = shell.new_session()
    await run(shell, "a=1", session)
    assert (await run(shell, text, session)).ending.death is None
    assert (await run(shell, "set +e; echo $a", session)).output == b"1\n"


HOSTILE = {
    "builtins replaced": (
        "for f in builtin unset trap printf declare shopt alias umask set cd echo exec; do"
        ' eval "$f() { while :; do :; done; }"; done'
    ),
    "builtins aliased": (
        "shopt -s expand_aliases\n"
        "alias builtin=false unset=false trap=false set=false printf=false for=false if=false"
    ),
    "a debug trap": "trap 'echo noise; echo noise >&63' DEBUG",
    "noise on the pipe": "echo junk >&63; printf '\\0junk' >&63",
    "errors on": "set -euo pipefail; shopt -s failglob inherit_errexit",
    "tracing": "set -xv",
    "one command": "set -t",
    "IFS": "IFS=abcdefghijklmnopqrstuvwxyz0123456789-_",
    "no descriptors": "ulimit -n 70; exec <&- >&- 2>&-",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_tampering_command_cannot_break_the_session(shell: Shell, name: str) -> None:
    """The state is told to the end, no error appears, and later commands run."""
    session = shell.new_session()
    done = await run(shell, f"marker=kept\n{HOSTILE[name]}", session)
    assert done.ending.exit == 0
    again = await run(shell, "[[ $marker == kept ]] && exit 7", session)
    assert again.ending.exit == 7
    assert b"noise" not in again.output
    assert b"junk" not in again.output


async def test_state_that_was_forged_stays_in_its_session(shell: Shell) -> None:
    """Whatever a command tells as state is run by the session's own shell and by nobody else."""
    session, other = shell.new_session(), shell.new_session()
    text = "printf '\\0echo forged; echo $UID\\0' >&63; trap - EXIT"
    assert (await run(shell, text, session)).ending.notes == ()
    uid = shell.cage.settings.uid
    assert (await run(shell, "echo $UID", session)).output == f"forged\n{uid}\n{uid}\n".encode()
    assert (await run(shell, "echo $UID", other)).output == f"{uid}\n".encode()


@pytest.mark.parametrize("state", ["if", "'", "exit 9", "exec true", "kill -9 $$", "<<E"])
async def test_a_broken_state_breaks_its_own_session(shell: Shell, state: str) -> None:
    """A session that its own state has broken still ends each command; a new one is whole."""
    session = shell.new_session()
    await run(shell, f"printf '\\0%s\\0' {shell_quote(state)} >&63; trap - EXIT", session)
    await run(shell, "echo a", session)
    assert (await run(shell, "echo a", shell.new_session())).output == b"a\n"


def shell_quote(text: str) -> str:
    """Return a text as one word of shell."""
    return "'" + text.replace("'", "'\\''") + "'"


async def test_large_state_is_kept_up_to_the_limit(shell: Shell) -> None:
    """Hundreds of kilobytes survive; beyond the limit the state before is kept, and told so."""
    session = shell.new_session()
    assert (await run(shell, "printf -v big '%0300000d' 1", session)).ending.notes == ()
    assert (await run(shell, "echo ${#big}", session)).output == b"300000\n"
    running = await begin(shell, "printf -v huge '%02000000d' 1; (exit 5)", session)
    done = await running.done()
    assert (done.ending.exit, done.ending.notes) == (5, (TOO_LARGE,))
    assert len(running.command._told) == STATE_BYTES + 1  # which tells that there was more
    assert (await run(shell, "echo ${#big} ${#huge}", session)).output == b"300000 0\n"


async def test_sessions_are_apart(shell: Shell) -> None:
    """A new session knows nothing of another."""
    await run(shell, "a=1; f() { :; }; cd /usr", shell.new_session())
    done = await run(shell, "echo ${a-none}; type -t f; pwd", shell.new_session())
    assert done.output == f"none\n{shell.cage.settings.home}\n".encode()


async def test_a_directory_that_is_gone_is_told(shell: Shell, home: Path) -> None:
    """The next command does not run elsewhere in silence."""
    session = shell.new_session()
    await run(shell, "mkdir d; cd d", session)
    (home / "d").rmdir()
    done = await run(shell, "pwd", session)
    assert done.output.endswith(f"No such file or directory\n{home}\n".encode())


async def test_the_first_command_starts_at_home(shell: Shell, home: Path) -> None:
    """The directory is the private home, the mask lets nobody else in."""
    done = await run(shell, "pwd; umask; echo ${OLDPWD-none} ${BASH_ENV-none}")
    assert done.output == f"{home}\n0077\nnone none\n".encode()
