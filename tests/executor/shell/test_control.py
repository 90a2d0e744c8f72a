# SPDX-License-Identifier: MIT
"""Interrupt, kill, input, limits, and shells that stop."""

import asyncio
import shlex
import signal
from dataclasses import replace
from pathlib import Path

import pytest

from tests.executor.shell.driver import (
    LIMITS,
    SHORT_S,
    begin,
    commands_of,
    run,
    settings_for,
    until,
)
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.command import INPUT_BYTES, MISSED, InputError
from tibet_nc_executor.shell import Shell
from tibet_nc_protocol.terms import Reason


async def child(shell: Shell, line: str) -> None:
    """Wait until the shell has started a program."""
    await until(lambda: any(c.startswith(line) for c in commands_of(shell.cage.settings.uid)))


@pytest.mark.parametrize("program", ["sleep 4720", "cat -u -"])
async def test_interrupt_ends_a_program(shell: Shell, program: str) -> None:
    """SIGINT reaches the foreground program, and the shell ends with it."""
    running = await begin(shell, f"echo up; {program}; echo no")
    await child(shell, program)
    running.command.interrupt()
    done = await running.done()
    assert (done.ending.signal, done.ending.reason) == (signal.SIGINT, Reason.CANCELLED)
    assert done.output == b"up\n"


async def test_interrupt_ends_a_loop(shell: Shell) -> None:
    """SIGINT ends the shell where it runs no program."""
    running = await begin(shell, "echo up; while :; do :; done; echo no")
    await running.printed(b"up")
    running.command.interrupt()
    done = await running.done()
    assert (done.ending.signal, done.ending.reason) == (signal.SIGINT, Reason.CANCELLED)


LARGE = "printf -v large '%*s' 20000000 ''; "  # a shell of which each fork takes milliseconds


@pytest.mark.parametrize(("first", "times"), [("", 25), (LARGE, 10)], ids=["small", "large"])
async def test_an_interrupt_in_the_first_moment_is_not_lost(
    shell: Shell, first: str, times: int
) -> None:
    """It works at whatever point between the shell's first word and its program's."""
    for delay in range(times):
        running = await begin(shell, f"{first}echo up; sleep 4720; echo no")
        await running.printed(b"up")
        await asyncio.sleep(delay / 10_000)
        running.command.interrupt()
        if shell.cage.containment is not Containment.CGROUP:  # then one in a fork may be lost
            await asyncio.wait([asyncio.ensure_future(running.command.wait())], timeout=2)
            running.command.interrupt()
        done = await running.done()
        assert (done.ending.signal, done.ending.reason) == (signal.SIGINT, Reason.CANCELLED)
        assert done.output == b"up\n"


BUSY = (
    "env --block-signal=INT perl -MPOSIX -e 'select(undef, undef, undef, 0.2);"
    " sigprocmask(SIG_UNBLOCK, POSIX::SigSet->new(SIGINT)); sleep 4722'"
)


@pytest.mark.parametrize("program", ["sleep 4721", BUSY], ids=["at once", "not yet"])
async def test_a_program_that_missed_the_interrupt_gets_it_again(
    shell: Shell, program: str
) -> None:
    """A copy of the shell that takes the signal and then becomes a program is told once more.

    Also if that program blocks the signal for a moment.
    """
    trap = shlex.quote(f"exec {program}")
    # Later than at once, so that the shell waits for its copy and doesn't end by the signal itself.
    text = f"(trap {trap} INT; sleep 0.1; echo up; while :; do :; done); echo no"
    running = await begin(shell, text)
    await running.printed(b"up")
    running.command.interrupt()
    done = await running.done()
    assert (done.ending.signal, done.ending.reason) == (signal.SIGINT, Reason.CANCELLED)
    assert (done.output, done.ending.notes) == (b"up\n", (MISSED,))


async def test_a_program_that_is_started_in_spite_of_the_interrupt_gets_it_too(
    shell: Shell,
) -> None:
    """A lone shell that takes the signal and starts a program all the same doesn't wait for that.

    Bash does so when the signal comes between its last look and its fork, which takes luck. Here
    it is a trap that nobody can see in the text.
    """
    text = """t=tra; eval "${t}p 'sleep 4723; exit 3' INT"; echo up; while :; do :; done"""
    running = await begin(shell, text)
    await running.printed(b"up")
    running.command.interrupt()
    done = await running.done()
    assert (done.ending.exit, done.ending.notes) == (3, (MISSED,))


TIDYING = {
    "a program": (
        """perl -e '$| = 1; $SIG{INT} = sub { $SIG{INT} = "DEFAULT"; $on = 1 }; print "up\n";"""
        """ sleep 100 until $on; sleep 1; print "tidy\n"'"""
    ),
    "a trap": "trap 'sleep 1; echo tidy; exit 0' INT; echo up; while :; do :; done",
    # Later than at once, as above.
    "a trap in a subshell": (
        "(trap 'sleep 1; echo tidy; exit' INT; sleep 0.1; echo up; while :; do :; done)"
    ),
    "deaf": "trap '' INT; echo up; sleep 1; echo tidy",
}


@pytest.mark.parametrize("name", TIDYING)
async def test_who_tidies_up_after_an_interrupt_gets_no_second_one(shell: Shell, name: str) -> None:
    """What noticed the first one, and what it starts then, is left alone."""
    running = await begin(shell, TIDYING[name])
    await running.printed(b"up")
    running.command.interrupt()
    done = await running.done()
    assert done.output == b"up\ntidy\n"
    assert MISSED not in done.ending.notes


async def test_interrupt_keeps_the_state(shell: Shell) -> None:
    """What a command had set when it was interrupted is kept."""
    session = shell.new_session()
    running = await begin(shell, "a=1; sleep 4720", session)
    await child(shell, "sleep 4720")
    running.command.interrupt()
    await running.done()
    assert (await run(shell, "echo $a", session)).output == b"1\n"


async def test_an_interrupt_that_is_handled_is_the_command_s_own_end(shell: Shell) -> None:
    """A command that catches SIGINT and goes on has exited, not been cancelled."""
    running = await begin(shell, "trap 'echo caught; exit 3' INT; echo up; while :; do :; done")
    await running.printed(b"up")
    running.command.interrupt()
    done = await running.done()
    assert (done.ending.exit, done.ending.reason) == (3, Reason.EXITED)
    assert done.output == b"up\ncaught\n"


async def test_interrupt_before_the_shell_has_its_terminal(shell: Shell) -> None:
    """An interrupt before the command's first word is not lost."""
    running = await begin(shell, "sleep 100")
    running.command.interrupt()
    assert (await running.done()).ending.reason is Reason.CANCELLED


async def test_kill_ends_what_ignores_everything(shell: Shell) -> None:
    """SIGKILL ends the command and all its processes."""
    text = "trap '' HUP INT QUIT TERM TSTP; (trap '' HUP INT TERM; sleep 100) & echo up; wait"
    running = await begin(shell, text)
    await running.printed(b"up")
    running.command.interrupt()
    running.command.kill()
    done = await running.done()
    assert (done.ending.signal, done.ending.reason) == (signal.SIGKILL, Reason.KILLED)


async def test_kill_at_the_very_beginning(shell: Shell) -> None:
    """A command can be killed before its first word."""
    running = await begin(shell, "sleep 100")
    running.command.kill()
    assert (await running.done()).ending.reason is Reason.KILLED


async def test_a_shell_that_dies_before_it_has_listened_is_no_fault(shell: Shell) -> None:
    """What the shell was told and has not read when it is killed ends it as any other."""
    faults: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    for _ in range(5):
        running = await begin(shell, "sleep 100")
        running.command.kill()
        assert (await running.done()).ending.reason is Reason.KILLED
    assert faults == []


async def test_orders_after_the_end_do_nothing(shell: Shell) -> None:
    """Interrupt, kill and input of a command that is over are harmless."""
    running = await begin(shell, "true")
    first = await running.done()
    running.command.interrupt()
    running.command.kill()
    running.command.write(b"x\n", end=True)
    assert await running.done() == first


async def test_cancelling_the_wait_leaves_the_command_alone(shell: Shell) -> None:
    """Who waits may stop waiting; the command goes on and can be waited for again."""
    running = await begin(shell, "read line; echo got $line")
    waiter = asyncio.create_task(running.command.wait())
    await asyncio.sleep(0)
    waiter.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiter
    running.command.write(b"it\n")
    assert (await running.done()).output == b"got it\n"


async def test_input_and_its_end(shell: Shell) -> None:
    """Lines are read as typed, ^D ends the input, at the start of a line and in the middle."""
    running = await begin(shell, "read -r a; echo [$a]; cat; echo end")
    running.command.write(b"one two\n")
    await running.printed(b"[one two]\n")
    running.command.write(b"three\nfour")
    running.command.write(b"", end=True)
    assert (await running.done()).output == b"[one two]\nthree\nfourend\n"


async def test_much_input_arrives_whole(shell: Shell) -> None:
    """Input that the terminal cannot take at once waits for the command to read."""
    data = b"".join(b"%d\n" % number for number in range(10_000))
    assert len(data) < INPUT_BYTES
    running = await begin(shell, "echo up; cksum")
    await running.printed(b"up\n")
    running.command.write(data, end=True)
    done = await running.done()
    assert done.output.split()[2] == str(len(data)).encode()


@pytest.mark.parametrize("typed", ["x" * 4095, "é" * 2047 + "x"])
async def test_the_longest_line_arrives_whole(shell: Shell, typed: str) -> None:
    """A terminal takes so many bytes of a line, whatever its characters, in one piece or in two."""
    running = await begin(shell, "echo up; wc -c")
    await running.printed(b"up\n")
    line = typed.encode() + b"\n"
    running.command.write(line)
    running.command.write(line[:2000])
    running.command.write(line[2000:], end=True)
    assert int((await running.done()).output.split()[1]) == 2 * len(line)


async def test_a_line_that_a_terminal_would_cut_is_not_taken(shell: Shell) -> None:
    """Nothing of a line is typed of which the terminal would drop some: all at once, or joined."""
    running = await begin(shell, "echo up; cat")
    await running.printed(b"up\n")
    for typed in (b"x" * 4096, b"short\n" + b"x" * 4096 + b"\n", "é".encode() * 2048):
        with pytest.raises(InputError, match="4096 bytes, of which a terminal takes 4095"):
            running.command.write(typed)
    running.command.write(b"a line")
    with pytest.raises(InputError, match="4101 bytes"):
        running.command.write(b"x" * 4095 + b"\n")
    running.command.write(b"\n", end=True)
    assert (await running.done()).output == b"up\na line\n"


async def test_a_program_that_wants_keys_takes_any_line(shell: Shell) -> None:
    """A terminal that was told not to keep lines drops nothing of a long one."""
    running = await begin(shell, "stty -icanon; echo up; head -c 10000 | wc -c")
    await running.printed(b"up\n")
    running.command.write(b"x" * 10_000)
    assert (await running.done()).output == b"up\n10000\n"


async def test_input_that_nobody_reads_is_bounded(shell: Shell) -> None:
    """A command that never reads cannot make the executor hold more and more."""
    running = await begin(shell, "echo up; sleep 100")
    refused = 0
    for _ in range(100):
        try:
            running.command.write(b"x" * 1023 + b"\n")
        except InputError:
            refused += 1
    assert 100 - INPUT_BYTES // 1024 > refused > 0
    running.command.kill()
    await running.done()


async def test_input_and_its_end_go_in_together(shell: Shell) -> None:
    """Where there is no room for ^D behind it, nothing of the input is taken either."""
    running = await begin(shell, "echo up; sleep 100")
    await running.printed(b"up\n")

    def waiting() -> int:
        with pytest.raises(InputError) as refused:
            running.command.write(b"\n" * (INPUT_BYTES + 1))
        return int(str(refused.value).split()[0])

    running.command.write(b"x\n" * (INPUT_BYTES // 4))
    before = waiting()
    fitting = b"\n" * (INPUT_BYTES - before)
    with pytest.raises(InputError):
        running.command.write(fitting, end=True)
    assert waiting() == before
    running.command.write(fitting)
    running.command.kill()
    await running.done()


async def test_size_of_the_terminal(shell: Shell) -> None:
    """The command sees the configured size."""
    assert (await run(shell, "stty size")).output == b"24 80\n"


async def test_idle_limit(kind: Containment, home: Path) -> None:
    """A command that prints nothing for too long ends; what it printed is there."""
    shell = Shell(settings_for(kind, home, idle_s=SHORT_S))
    done = await run(shell, "echo before; sleep 100; echo no")
    assert (done.ending.reason, done.output) == (Reason.IDLE, b"before\n")
    assert f"nothing was printed for {SHORT_S} s" in done.ending.notes


async def test_idle_limit_restarts_on_output(kind: Containment, home: Path) -> None:
    """A command that prints now and then lives longer than the idle limit."""
    shell = Shell(settings_for(kind, home, idle_s=SHORT_S))
    done = await run(shell, "for i in 1 2 3 4 5; do sleep 0.4; echo $i; done")
    assert (done.ending.exit, done.output) == (0, b"1\n2\n3\n4\n5\n")


async def test_total_limit(kind: Containment, home: Path) -> None:
    """A command that prints for ever ends by the total limit, with what it printed."""
    shell = Shell(settings_for(kind, home, total_s=SHORT_S))
    done = await run(shell, "while :; do echo x; sleep 0.02; done")
    assert done.ending.reason is Reason.TIMED_OUT
    assert done.output.startswith(b"x\nx\n")
    assert f"the limit of {SHORT_S} s was reached" in done.ending.notes


async def test_a_limit_lets_a_command_clean_up(kind: Containment, home: Path) -> None:
    """SIGTERM comes first, so traps run and the state is kept."""
    shell = Shell(settings_for(kind, home, total_s=SHORT_S, grace_s=10))
    session = shell.new_session()
    text = "a=1; trap 'echo cleaned; exit 8' TERM; while :; do :; done"
    done = await run(shell, text, session)
    assert (done.ending.exit, done.ending.reason) == (8, Reason.TIMED_OUT)
    assert done.output == b"cleaned\n"
    assert (await run(shell, "echo $a", session)).output == b"1\n"


async def test_a_limit_ends_what_will_not_end(kind: Containment, home: Path) -> None:
    """After the grace everything is killed."""
    shell = Shell(settings_for(kind, home, total_s=SHORT_S, grace_s=0.1))
    done = await run(shell, "trap '' TERM; while :; do sleep 1; done")
    assert (done.ending.signal, done.ending.reason) == (signal.SIGKILL, Reason.TIMED_OUT)


async def test_a_stopped_shell_is_continued_once(shell: Shell) -> None:
    """Nobody could continue it, so it is done and said."""
    done = await run(shell, "kill -STOP $$; echo after")
    assert (done.ending.exit, done.output) == (0, b"after\n")
    assert done.ending.notes == ("the shell was stopped by SIGSTOP and continued",)


async def test_a_shell_that_stops_again_is_killed(shell: Shell) -> None:
    """Stopping for ever is an end with a reason of its own."""
    done = await run(shell, "while :; do kill -STOP $$; done")
    assert (done.ending.signal, done.ending.reason) == (signal.SIGKILL, Reason.STOPPED)


async def test_stop_typed_on_the_terminal_does_not_hang(shell: Shell) -> None:
    """^Z has nobody to return to: the kernel ignores it, and the command goes on."""
    running = await begin(shell, "read line; echo got $line")
    running.command.write(b"\x1a")
    running.command.write(b"it\n")
    assert (await running.done()).output == b"got it\n"


async def test_resource_limits(kind: Containment, home: Path) -> None:
    """A command gets its limits, soft and hard alike, and cannot raise them."""
    limits = replace(LIMITS, processes=90, address_space=1 << 30, file_size=1 << 20, open_files=100)
    shell = Shell(settings_for(kind, home, limits=limits))
    text = "for k in S H; do ulimit -$k -c; ulimit -$k -f; ulimit -$k -n; ulimit -$k -v; done"
    assert (await run(shell, text)).output == b"0\n1024\n100\n1048576\n" * 2
    done = await run(shell, "ulimit -n 101 || echo refused; head -c 3000000 /dev/zero >f; wc -c <f")
    assert b"refused\n" in done.output
    assert done.output.endswith(b"1048576\n")
