# SPDX-License-Identifier: MIT
"""What a command leaves running goes on, apart from everything else, and ends when told (I6)."""

import asyncio
import os
import shlex
import signal
from cProfile import Profile
from functools import partial
from pathlib import Path

import pytest

from tests.executor.shell.driver import (
    ASLEEP,
    SHORT_S,
    Running,
    begin,
    commands_of,
    run,
    settings_for,
    until,
)
from tibet_nc_executor.background import Background
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.command import Command
from tibet_nc_executor.ending import Death
from tibet_nc_executor.prologue import waits_in_foreground
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.terms import Reason

GATED = "until [ -e gate ]; do sleep 0.05; done;"
"""Waits for a file in the home, where commands begin."""

BUSY = (
    "env --block-signal=TERM perl -MPOSIX -e 'select(undef, undef, undef, 0.2);"
    " sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGTERM)); sleep 4750'"
)


class Leaving(Running):
    """A command that may leave something running, and what that printed after its end."""

    def __init__(self) -> None:
        super().__init__()
        self.rest = Running()

    @property
    def background(self) -> Background:
        """What goes on."""
        assert self.command.background is not None
        return self.command.background

    def has_printed(self, text: bytes) -> bool:
        """Say whether the command or what it left has printed something."""
        return text in self.output + self.rest.output


async def leave(shell: Shell, text: str, session: SessionShell | None = None) -> Leaving:
    """Start a command that may leave something running."""
    running = Leaving()
    running.command = await shell.start(
        text, session or shell.new_session(), running.feed, running.rest.feed
    )
    return running


def running(shell: Shell, line: str) -> list[str]:
    """Return the shell uid's processes whose command line begins so."""
    return [found for found in commands_of(shell.cage.settings.uid) if found.startswith(line)]


LEFT = {
    "in the background": "sleep 4740 &",
    "without its parent": "(sleep 4740 &)",
    "disowned": "sleep 4740 & disown",
    "with nohup": "nohup sleep 4740 >/dev/null 2>&1 &",
    "in a session of its own": "setsid sleep 4740 &",
    "forked twice": "(setsid sh -c 'sleep 4740 & exec sleep 4740' &)",
    "with job control": "set -m; sleep 4740 &",
    "from a function that returns": "f() { sleep 4740 & return 3; }; f",
    "from another directory": "sleep 4740 & cd /usr",
    "with a text of its own": "cat <<'END' - | sleep 4740 &\n[1] one\nEND\n",
    "deaf to signals": "(trap '' HUP INT TERM; exec sleep 4740) &",
}


@pytest.mark.parametrize("name", LEFT)
async def test_it_goes_on_and_is_ended(shell: Shell, name: str) -> None:
    """The command ends at once with its own status; what it left goes on until it is killed."""
    left = await leave(shell, f"{LEFT[name]}\necho up; (exit 5)")
    done = await left.done()
    assert (done.ending.exit, done.output) == (5, b"up\n")
    assert done.ending.leftover >= 1
    await until(lambda: bool(running(shell, "sleep 4740")))
    left.background.kill()
    rest = await left.background.wait()
    assert rest.reason is Reason.KILLED
    assert running(shell, "sleep 4740") == []
    if shell.cage.separated:
        assert running(shell, "") == []


async def test_it_ends_by_itself(shell: Shell, home: Path) -> None:
    """When the last process has ended nothing is left, the shell that held on included."""
    left = await leave(shell, f"({GATED} echo late) & echo up")
    assert (await left.done()).output == b"up\n"
    (home / "gate").touch()
    left.command.write(b"nobody reads this\n")
    rest = await asyncio.wait_for(left.background.wait(), 20)
    assert (rest.reason, rest.killed) == (Reason.EXITED, 0)
    assert left.rest.output == b"late\n"
    if shell.cage.separated:
        assert running(shell, "") == []


async def test_output_is_cut_exactly(shell: Shell) -> None:
    """Every byte before the command's end is the command's, every later one is the rest's."""
    text = (
        "trap 'exit 0' USR1; (for i in {1..3000}; do echo line $i; done; kill -USR1 $$;"
        " sleep 4741 & wait; echo no) & while :; do :; done"
    )
    left = await leave(shell, text)
    await left.done()
    for _ in range(3):
        await asyncio.sleep(0.05)
    left.background.kill()
    await left.background.wait()
    whole = left.output + left.rest.output
    assert bytes(whole) == b"".join(b"line %d\n" % i for i in range(1, 3001))


async def test_late_output_reaches_no_other_command(shell: Shell) -> None:
    """What it prints later is in no answer of the session but its own (I6)."""
    session = shell.new_session()
    left = await leave(shell, "(while :; do echo late; sleep 0.01; done) & echo up", session)
    await left.done()
    await left.rest.printed(b"late")
    for number in range(5):
        other = await leave(shell, f"sleep 0.02; echo exact {number}", session)
        assert (await other.done()).output == b"exact %d\n" % number
    left.background.kill()
    await left.background.wait()
    assert left.rest.output.replace(b"late\n", b"") == b""


async def test_a_flood_from_the_background(shell: Shell) -> None:
    """A command whose rest prints without end is over all the same, and others are exact."""
    left = await leave(shell, "yes & echo up")
    done = await left.done()
    assert b"up\n" in done.output
    other = await leave(shell, "echo exact")
    assert (await other.done()).output == b"exact\n"
    if left.command.background is not None:
        left.background.kill()
        await left.background.wait()
    assert running(shell, "yes") == []
    whole = left.output + left.rest.output
    assert bytes(whole).replace(b"up\n", b"", 1).strip(b"y\n") == b""


async def test_the_state_is_kept_at_once(shell: Shell) -> None:
    """The next command of the session starts from what this one left, though its shell waits."""
    session = shell.new_session()
    left = await leave(shell, "a=1; cd /usr; sleep 4742 &", session)
    assert (await left.done()).ending.notes == ()
    other = await leave(
        shell, "echo $a; pwd; [[ $(declare -p) != *tibet_nc* ]] && echo clean", session
    )
    assert (await other.done()).output == b"1\n/usr\nclean\n"
    left.background.kill()
    await left.background.wait()


@pytest.mark.parametrize("end", ["exit 3", "kill -9 $$", "exec true", "set -e; false"])
async def test_a_shell_that_ended_its_session_leaves_nothing(shell: Shell, end: str) -> None:
    """With the session goes what its last command left (I6)."""
    left = await leave(shell, f"setsid sleep 4743 & {ASLEEP}; {end}")
    done = await left.done()
    assert (done.ending.leftover, left.command.background) == (0, None)
    assert "1 process left running: killed" in done.ending.notes
    assert running(shell, "sleep 4743") == []


KILLED = (
    ("sleep 4744", signal.SIGTERM),
    ("sleep 4744", signal.SIGHUP),
    ("sleep 4744 | cat", signal.SIGTERM),
    ("{ sleep 4744; echo no; } 2>&1 | cat", signal.SIGTERM),
    ("(sleep 4744; echo no)", signal.SIGTERM),
    ("cat <<'END' - | sleep 4744\n&\nEND", signal.SIGTERM),
    ("cd /usr; sleep 4744", signal.SIGTERM),
    ("set -m; sleep 4744", signal.SIGTERM),
    ("bash -c 'sleep 4744; echo no'", signal.SIGTERM),
)


@pytest.mark.parametrize(("text", "by"), KILLED)
async def test_a_signal_that_ends_the_shell_is_told(
    shell: Shell, text: str, by: signal.Signals
) -> None:
    """What a shell waits for when a signal ends it is not left running, nor is its status told.

    Its session ends with it.
    """
    left = await leave(shell, f"true; echo $$; {text}")
    await until(lambda: b"\n" in left.output and bool(running(shell, "sleep 4744")))
    pid = int(left.output)
    await until(lambda: b"State:\tS" in Path(f"/proc/{pid}/status").read_bytes())
    os.kill(pid, by)
    done = await left.done()
    assert (done.ending.exit, done.ending.signal) == (None, by)
    assert (done.ending.death, done.ending.leftover) == (Death.SIGNAL, 0)
    assert left.command.background is None
    assert running(shell, "sleep 4744") == []


async def test_a_shell_that_was_stopped_meanwhile(shell: Shell, home: Path) -> None:
    """What is left may stop the shell that holds on for it: all of it ends all the same."""
    left = await leave(shell, f"({GATED} kill -STOP $$) & echo up")
    await left.done()
    (home / "gate").touch()
    rest = await asyncio.wait_for(left.background.wait(), 20)
    assert rest.reason is Reason.EXITED
    assert running(shell, "") == [] or not shell.cage.separated


async def test_it_is_asked_to_end(shell: Shell) -> None:
    """An interrupt is SIGTERM here: shells have what they put in the background ignore SIGINT."""
    trap = "trap 'echo cleaned; exit' TERM; echo set"
    left = await leave(shell, f"({trap}; while :; do sleep 0.01; done) &")
    await left.done()
    await until(lambda: b"set" in left.output + left.rest.output)  # a bash that starts may miss it
    left.background.interrupt()
    rest = await asyncio.wait_for(left.background.wait(), 20)
    assert (rest.reason, rest.killed) == (Reason.CANCELLED, 0)
    assert b"cleaned\n" in left.rest.output


@pytest.mark.parametrize("program", ["sleep 4749", BUSY], ids=["at once", "not yet"])
async def test_a_program_that_missed_the_question_gets_it_again(shell: Shell, program: str) -> None:
    """A copy of the shell that takes SIGTERM and then becomes a program is asked once more.

    Also if that program blocks the signal for a moment.
    """
    trap = shlex.quote(f"exec {program}")
    left = await leave(shell, f"(trap {trap} TERM; echo set; while :; do :; done) &")
    await left.done()
    await until(partial(left.has_printed, b"set"))
    left.background.interrupt()
    rest = await asyncio.wait_for(left.background.wait(), 20)
    assert (rest.reason, rest.killed) == (Reason.CANCELLED, 0)
    assert running(shell, "sleep 4749") == []


async def test_who_tidies_up_is_asked_once(shell: Shell) -> None:
    """What took the signal, and what it starts then, is left alone."""
    trap = "trap 'sleep 1; echo tidy; exit' TERM"
    left = await leave(shell, f"({trap}; echo set; while :; do :; done) &")
    await left.done()
    await until(partial(left.has_printed, b"set"))
    left.background.interrupt()
    await asyncio.wait_for(left.background.wait(), 20)
    assert left.rest.output.endswith(b"tidy\n")


async def test_each_question_is_asked(shell: Shell) -> None:
    """A second one comes as well, though those that may have missed the first are looked at."""
    left = await leave(shell, "(trap 'echo asked' TERM; echo set; while :; do :; done) &")
    await left.done()
    await until(partial(left.has_printed, b"set"))
    for times in (1, 2, 3):
        left.background.interrupt()
        await until(partial(left.has_printed, b"asked\n" * times))
    left.background.kill()
    assert (await left.background.wait()).reason is Reason.KILLED


async def test_who_waits_no_longer_changes_nothing(shell: Shell) -> None:
    """What goes on goes on, and whoever waits for it next is told how it ended."""
    left = await leave(shell, f"setsid sleep 4778 & {ASLEEP}")
    await left.done()
    waiting = asyncio.create_task(left.background.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert len(running(shell, "sleep 4778")) == 1
    left.background.kill()
    assert (await left.background.wait()).reason is Reason.KILLED


async def test_who_was_stopped_is_asked_too(shell: Shell) -> None:
    """It is continued, so that it can end as it is asked to."""
    left = await leave(shell, f"setsid sleep 4777 & {ASLEEP}; kill -STOP $!")
    await left.done()
    left.background.interrupt()
    rest = await asyncio.wait_for(left.background.wait(), 20)
    assert (rest.reason, rest.killed) == (Reason.CANCELLED, 0)


async def test_who_is_being_forked_is_asked_too(shell: Shell) -> None:
    """A child that its parent is just making ends as well, and not only its parent.

    Where nothing holds them still most such children are missed by the first time; where something
    does, it has a limit, which a busy machine may meet once.
    """
    held = shell.cage.containment is Containment.CGROUP
    large = "printf -v large '%*s' 20000000 ''"  # so that forks take most of the time
    missed = 0
    for _ in range(5 if held else 3):
        left = await leave(shell, f"({large}; echo up; while :; do sleep 4747 & done) &")
        await left.done()
        await until(partial(left.has_printed, b"up"))
        ended = asyncio.ensure_future(left.background.wait())
        left.background.interrupt()
        done, _ = await asyncio.wait([ended], timeout=10 if held else 1)
        if not done:
            missed += 1
            left.background.interrupt()
        rest = await asyncio.wait_for(ended, 20)
        assert rest.reason is Reason.CANCELLED
        assert running(shell, "sleep 4747") == []
    assert missed <= 1 or not held


async def test_who_is_asked_too_late_is_nobody_else(shell: Shell) -> None:
    """Once it has ended an interrupt reaches nothing: a command may have come to its place."""
    left = await leave(shell, "sleep 4748 & true")
    await left.done()
    left.background.kill()
    await left.background.wait()
    other = await begin(shell, "echo up; read -r line; echo undisturbed")
    await other.printed(b"up")
    assert left.background.count == 0
    left.background.interrupt()
    await asyncio.sleep(0.1)
    other.command.write(b"\n")
    done = await other.done()
    assert (done.ending.signal, done.output) == (None, b"up\nundisturbed\n")


async def test_a_terminal_that_is_kept_stopped(shell: Shell) -> None:
    """What keeps the line from being drawn is killed with its command, and nothing is lost."""
    text = "printf before; perl -MPOSIX -e 'while (1) { tcflow(1, TCOOFF) }' & sleep 0.2"
    left = await leave(shell, text)
    done = await left.done()
    assert left.output.startswith(b"before")
    if left.command.background is None:
        assert done.ending.leftover == 0
    else:
        left.background.kill()
        await left.background.wait()
    assert running(shell, "perl") == []


async def test_a_killed_command_leaves_nothing(shell: Shell) -> None:
    """An operator who kills a command means all of it."""
    left = await leave(shell, "setsid sleep 4744 & echo up; wait")
    await left.printed(b"up")
    left.command.kill()
    done = await left.done()
    assert (done.ending.leftover, left.command.background) == (0, None)
    assert running(shell, "sleep 4744") == []


async def test_a_limit_leaves_nothing(kind: Containment, home: Path) -> None:
    """Nor does a command that met its limit."""
    shell = Shell(settings_for(kind, home, total_s=SHORT_S, grace_s=0.1))
    left = await leave(shell, "setsid sleep 4745 & echo up; sleep 100")
    done = await left.done()
    assert (done.ending.reason, done.ending.leftover) == (Reason.TIMED_OUT, 0)
    assert running(shell, "sleep 4745") == []


async def test_a_forged_last_word(shell: Shell) -> None:
    """A command that pretends to be over only goes to the background with its own status."""
    left = await leave(shell, "sleep 4746 & printf '\\0007=' >&63; echo later; sleep 4746")
    assert (await left.done()).ending.exit == 7
    left.background.kill()
    await left.background.wait()
    assert running(shell, "sleep 4746") == []


async def both(command: Command, home: Path) -> None:
    """Wait for a command's end, and for that of what it left, which may go on then."""
    await command.wait()
    (home / "gate").touch()
    if command.background is not None:
        await command.background.wait()


@pytest.mark.parametrize("text", ["while :; do echo x; done", f"{GATED} echo x; sleep 4774"])
async def test_output_that_nobody_takes_ends_it(shell: Shell, home: Path, text: str) -> None:
    """What prints on though its consumer has failed is killed, and whoever waits is told (I6)."""

    def fail(_data: bytes) -> None:
        raise ZeroDivisionError

    command = await shell.start(f"({text}) &", shell.new_session(), lambda _data: None, fail)
    with pytest.raises(ZeroDivisionError):
        await asyncio.wait_for(both(command, home), 20)
    assert running(shell, "sleep 4774") == []
    assert running(shell, "") == [] or not shell.cage.separated


async def test_last_words_without_end_cost_nobody_time(shell: Shell) -> None:
    """What a shell told before them is read once, however much it is and however often they come.

    Each is answered with a line, for which the command waits.
    """
    told = "x=$(printf '[1]+  %0100d &\\n' {1..9000}); printf '%s' \"$x\" >&63"
    words = "for i in {1..100}; do printf '\\0000=' >&63; read -u 63; done"
    with Profile() as profile:
        done = await run(shell, f"{told}; {words}; echo $i")
    assert done.output == b"100\n"
    code = waits_in_foreground.__code__
    assert [entry.callcount for entry in profile.getstats() if entry.code is code] == [1]
