# SPDX-License-Identifier: MIT
"""One command, from its start to its end, exactly.

    door (door.py) → shell becomes the command's → output, input, limits → shell is done
    → everything that it left is killed and gone → terminal put back, fence written
    → output read up to the fence → state kept → Ending

With `on_rest` a command may leave processes running. Then nothing is killed: the fence separates
what the command has printed from what they print later, and what goes on is `background`.

The status comes from the kernel, or from the shell's own last words where the shell stays because
of what it left; the end of the output comes from the fence (fence.py), never from the output itself
or from silence. Nothing here blocks: the terminal, the state's pipe and the shell's process
descriptor are waited on by the event loop, and no thread is made.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tibet_nc_executor.background import CUT_S, Background
from tibet_nc_executor.deadline import Deadline, Expiry
from tibet_nc_executor.door import Door
from tibet_nc_executor.enclosure import GIVE_UP_S, Remains
from tibet_nc_executor.ending import Death, Ending, Status, death_of, reason_of
from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.interrupt import Interrupt
from tibet_nc_executor.outlet import OnOutput, Outlet
from tibet_nc_executor.process import read_name
from tibet_nc_executor.prologue import (
    LAST_WORD_BYTES,
    SHELL_NAME,
    STATE_BYTES,
    LastWord,
    last_word,
    parse_told,
    waits_in_foreground,
)
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.settings import ShellSettings
from tibet_nc_executor.terminal import END_OF_FILE, HangUpError
from tibet_nc_protocol.counts import counted
from tibet_nc_protocol.terms import Reason

INPUT_BYTES: Final = 65536  # input that a command has not read yet
LINE_BYTES: Final = 4095  # of a line, without its end; a terminal drops the rest and tells nobody
FULL: Final = "what it left running was ended: as much as may run in the background does already"
MISSED: Final = "interrupted again: a program that was just starting had missed it"
_TICK_S: Final = 0.25  # how often a stopped shell is looked for
_LIVING_CUT_S: Final = 2.0  # with processes that go on: time enough also against a flood


class InputError(Exception):
    """The terminal would lose some of this input, or has too much waiting: none of it was taken."""


class Command:
    """A command that runs. Made by `Shell.start`; `wait` tells how it ended."""

    def __init__(
        self,
        text: bytes,
        *,
        door: Door,
        settings: ShellSettings,
        session: SessionShell,
        on_output: OnOutput,
        on_rest: OnOutput | None,
        may_leave: Callable[[], bool],
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._door: Final = door
        self._terminal: Final = door.terminal
        self._session: Final = session
        # These two make a list of commands end with a failure that `set -e` passes over.
        self._passes_over: Final = b"&&" in text or b"!" in text
        self._may_trap: Final = session.may_trap(text)
        self._on_rest: Final = on_rest
        self._permitted: Final = may_leave
        self._settings: Final = settings
        self._order: Reason | None = None
        self._interrupted = False
        self._interrupt: Interrupt | None = None
        self._continued = False
        self._notes: list[str] = []
        self._input = bytearray()
        self._open_line = 0  # bytes that were typed of a line that has no end yet
        self._told = bytearray()
        self._end_of_told = b""
        self._last_word: LastWord | None = None
        self._waits: bool | None = None
        self._name: str | None = None
        self.background: Background | None = None
        """What goes on after the command, if anything does; known once `wait` has returned."""
        self._done: asyncio.Future[Status | None] = self._loop.create_future()
        """How the shell ended, or what it told when it was done and holds on."""
        self._exited: asyncio.Future[None] = self._loop.create_future()
        """Set when the shell's process has ended, or is known not to."""
        door.go()
        self._begun: Final = time.monotonic()
        self._deadline: Final = Deadline(
            now=self._begun, idle_s=self._settings.idle_s, total_s=self._settings.total_s
        )
        self._outlet: Final = Outlet(
            self._terminal, on_output, heard=self._heard, failed=self._end_all
        )
        door.watch(self._shell_ended)
        self._loop.add_reader(door.told, self._read_state)
        self._timer = self._loop.call_later(self._pause(self._begun), self._tick)
        self._life: Final = self._loop.create_task(self._live())

    @property
    def is_over(self) -> bool:
        """Whether its shell has ended, so that it takes neither input nor signals."""
        return self._done.done()

    # What others ask for

    def interrupt(self) -> None:
        """Send SIGINT to the foreground process group, as ^C does.

        A command that has not begun is killed: nothing of it has run, and bash, which would get
        the signal in its place, only leaves the prologue for it and goes on with the command.
        """
        if self._done.done():
            return
        self._interrupted = True
        self._read_state()
        if not self._told:
            self.kill(Reason.CANCELLED)
            return
        if self._interrupt is None or not self._interrupt.is_due:
            self._stop_looking()
            self._interrupt = Interrupt(self._door, self._repeated, may_trap=self._may_trap)

    def _repeated(self) -> None:
        if MISSED not in self._notes:
            self._notes.append(MISSED)

    def _stop_looking(self) -> None:
        if self._interrupt is not None:
            self._interrupt.cancel()

    def kill(self, reason: Reason = Reason.KILLED) -> None:
        """Kill the shell now; everything else of the command follows at its end."""
        if self._done.done():
            return
        self._order = self._order or reason
        self._door.signal(signal.SIGKILL)
        self._loop.call_later(GIVE_UP_S, self._give_up)

    def write(self, data: bytes, *, end: bool = False) -> None:
        """Type `data`, and ^D after it at the `end`: twice in a line, where one only hands it over.

        Raises InputError and takes nothing if a line is too long or too much is waiting.
        """
        if self._done.done():
            return
        first, *others = data.split(b"\n")
        lines = [self._open_line + len(first), *map(len, others)]
        if self._terminal.keeps_lines and max(lines) > LINE_BYTES:
            raise InputError(
                f"a line would have {max(lines)} bytes, of which a terminal takes {LINE_BYTES}"
            )
        if end:
            data += END_OF_FILE * (2 if lines[-1] else 1)
        if not data:
            return
        if len(self._input) + len(data) > INPUT_BYTES:
            raise InputError(f"{len(self._input)} bytes of input are not read yet")
        self._open_line = 0 if end else lines[-1]
        self._input += data
        self._write()

    async def wait(self) -> Ending:
        """Return how the command ended, when nothing of it is left and all output was delivered.

        Cancelling this leaves the command alone. Raises ShellError if the cage failed before the
        command began, and whatever `on_output` has raised.
        """
        return await asyncio.shield(self._life)

    # What happens

    def _end_all(self) -> None:
        """End what prints, of which nobody takes what it prints."""
        if self.background is not None:
            self.background.kill()
        self.kill()

    def _heard(self) -> None:
        self._deadline.touch(time.monotonic())

    def _write(self) -> None:
        try:
            taken = self._terminal.write(bytes(self._input))
        except HangUpError:
            taken = len(self._input)
        del self._input[:taken]
        if self._input:
            self._loop.add_writer(self._terminal, self._write)
        else:
            self._loop.remove_writer(self._terminal)

    def _read_state(self) -> None:
        with suppress(BlockingIOError):
            data = self._door.hear()
            if not data:
                self._loop.remove_reader(self._door.told)
                return
            self._hear_shell(data)
            if (word := last_word(self._end_of_told)) is not None:
                self._shell_holds_on(word)

    def _hear_shell(self, data: bytes) -> None:
        # What is beyond the limit is read and dropped: the shell must not wait or fail for it.
        self._told += data[: STATE_BYTES + 1 - len(self._told)]
        self._end_of_told = (self._end_of_told + data)[-LAST_WORD_BYTES:]
        self._last_word = last_word(self._end_of_told) or self._last_word

    def _shell_holds_on(self, word: LastWord) -> None:
        """Let a shell that is done go, unless there is something to hold on for."""
        if self._done.done():
            return
        try:
            ends = self._shell_waits() or self._death(Status(exit=word.exit)) is not None
            left = not ends and bool(self._door.others()) and self._may_ask()
        except OSError:  # what cannot be seen is looked for again when the shell has gone
            left = False
        if left and self._permitted():
            self._done.set_result(Status(exit=word.exit))
            return
        if left and FULL not in self._notes:
            self._notes.append(FULL)
        self._door.go()

    def _shell_waits(self) -> bool:
        """Return whether the shell still waits for a job, as it told before its first last word.

        It may tell any number of those, and as much before them as is kept: that is read once.
        """
        if self._waits is None:
            self._waits = waits_in_foreground(bytes(self._told))
        return self._waits

    def _may_ask(self) -> bool:
        return self._on_rest is not None and self._order is None

    def _shell_ended(self, result: os.waitid_result) -> None:
        # The process stays until the end, so that its id cannot become another's.
        self._name = read_name(result.si_pid)
        if not self._exited.done():
            self._exited.set_result(None)
        if not self._done.done():
            self._done.set_result(Status.of(result))

    def _give_up(self) -> None:
        if not self._exited.done():
            self._exited.set_result(None)
        if not self._done.done():
            self._done.set_result(None)

    def _tick(self) -> None:
        if self._done.done():
            return
        with suppress(OSError):  # it is tried again with the next tick
            self._door.cell.enclosure.tend()
        self._look_for_stop()
        now = time.monotonic()
        if self._order is None and (expiry := self._deadline.expired(now)) is not None:
            self._expire(expiry)
        self._timer = self._loop.call_later(self._pause(now), self._tick)

    def _pause(self, now: float) -> float:
        return _TICK_S if self._order else min(_TICK_S, max(0.0, self._deadline.due() - now))

    def _expire(self, expiry: Expiry) -> None:
        settings = self._settings
        match expiry:
            case Expiry.IDLE:
                self._order = Reason.IDLE
                self._notes.append(f"nothing was printed for {settings.idle_s:g} s")
            case Expiry.TOTAL:
                self._order = Reason.TIMED_OUT
                self._notes.append(f"the limit of {settings.total_s:g} s was reached")
        self._door.signal_all(signal.SIGTERM)
        self._door.signal_all(signal.SIGCONT)
        self._loop.call_later(settings.grace_s, self.kill)

    def _look_for_stop(self) -> None:
        if self._door.cell.enclosure.frozen:
            return
        try:
            result = os.waitid(os.P_PIDFD, self._door.pidfd, os.WSTOPPED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # it has ended just now
            return
        if result is None:
            return
        name = signal.Signals(result.si_status).name
        if self._continued:
            self._notes.append(f"the shell was stopped by {name} again and killed")
            self.kill(Reason.STOPPED)
        else:
            self._continued = True
            self._notes.append(f"the shell was stopped by {name} and continued")
            self._door.signal_all(signal.SIGCONT)

    async def _live(self) -> Ending:
        try:
            status = await self._done
            duration_ms = round((time.monotonic() - self._begun) * 1000)
            self._timer.cancel()
            self._stop_looking()
            self._loop.remove_writer(self._terminal)
            self._finish_state()
            self._look_for_memory()
            if ending := await self._leave(status, duration_ms):
                return ending
            await self._shell_gone()
            remains = await self._door.end()
            if not await self._outlet.cut(CUT_S):
                self._outlet.rest()
                self._notes.append("the terminal broke: output may be missing at the end")
            self._finish_state()
        finally:
            self._loop.remove_reader(self._door.told)
            if self.background is None:
                self._outlet.close()
                self._door.close()
        return self._conclude(status, remains, duration_ms)

    def _look_for_memory(self) -> None:
        kills = self._door.cell.enclosure.memory_kills()
        if kills.processes:
            self._notes.append(f"limit: {kills.told(self._settings.limits.memory)}")

    async def _leave(self, status: Status | None, duration_ms: int) -> Ending | None:
        """Cut the command from what it left, if it left something that may go on."""
        if status is None or not (self._may_ask() and self._permitted()):
            return None
        if self._death(status) is not None:  # what it left ends with its session
            return None
        try:
            if not self._door.others():
                return None
        except OSError:
            return None
        left = len(self._door.processes())
        if not left:
            return None
        if not await self._outlet.cut(_LIVING_CUT_S, self._on_rest):
            self._notes.append("what it left running kept its output from being read, so it ended")
            return None
        if self._outlet.failure is not None:
            return None
        self._finish_state()
        self.background = Background(
            self._door,
            self._outlet,
            self._exited,
            self._shell_gone,
            memory=self._settings.limits.memory,
        )
        return self._conclude(status, Remains(killed=0, surviving=0), duration_ms, left)

    async def _shell_gone(self) -> None:
        """End a shell that holds on, and wait until it has ended or is known not to."""
        if not self._exited.done():
            self._door.signal(signal.SIGKILL)
            self._loop.call_later(GIVE_UP_S, self._give_up)
        await self._exited

    def _finish_state(self) -> None:
        """Read what is left of what was told; the shell, which told it, is done.

        What it left running may still hold the other end and write without end: more than the
        limit is of no use.
        """
        with suppress(BlockingIOError):
            while len(self._told) <= STATE_BYTES and (data := self._door.hear()):
                self._hear_shell(data)

    def _reason(self, status: Status | None) -> Reason:
        return reason_of(status=status, order=self._order, interrupted=self._interrupted)

    def _death(self, status: Status | None) -> Death | None:
        death = None if self._last_word is None else self._last_word.death
        if death is Death.ERREXIT and self._passes_over:
            death = None  # whether it was that nobody can say
        named = self._name is not None and parse_told(bytes(self._told[:2])).named
        return death_of(
            status=status,
            reason=self._reason(status),
            word=death,
            replaced=named and self._name != SHELL_NAME,
        )

    def _conclude(
        self, status: Status | None, remains: Remains, duration_ms: int, left: int = 0
    ) -> Ending:
        if self._outlet.failure is not None:
            raise self._outlet.failure
        told = bytes(self._told)
        reason = self._reason(status)
        death = self._death(status)
        if reason is Reason.EXITED and not parse_told(told).begun:
            first_words = self._outlet.first_words.decode(errors="replace").strip()
            complaint = first_words or "without a word"
            raise ShellError(f"the cage failed before the command began: {complaint}")
        lost = self._session.keep(told)
        if death is None:
            self._notes += lost
        if remains.killed:
            killed = counted(remains.killed, "process", "processes")
            self._notes.append(f"{killed} left running: killed")
        if remains.surviving:
            self._notes.append("something it left running could not be killed")
        if status is None:
            self._notes.append("the shell could not be killed; it waits for the kernel")
        return Ending(
            exit=None if status is None else status.exit,
            signal=None if status is None else status.signal,
            reason=reason,
            duration_ms=duration_ms,
            leftover=left,
            notes=tuple(self._notes),
            death=death,
        )
