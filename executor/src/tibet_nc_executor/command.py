# SPDX-License-Identifier: MIT
"""One command, from its start to its end, exactly.

    door (door.py) → shell becomes the command's → output, input, limits → shell ended
    → everything that it left is killed and gone → terminal put back, fence written
    → output read up to the fence → state kept → Ending

The status comes from the kernel, the end of the output from the fence (fence.py), never from the
output itself or from silence. Nothing here blocks: the terminal, the state's pipe and the shell's
process descriptor are waited on by the event loop, and no thread is made.
"""

import asyncio
import os
import secrets
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from tibet_nc_executor.cage import Cage
from tibet_nc_executor.deadline import Deadline, Expiry
from tibet_nc_executor.door import Door
from tibet_nc_executor.enclosure import GIVE_UP_S, Remains, ShellError
from tibet_nc_executor.ending import Ending, Status, reason_of
from tibet_nc_executor.fence import TOKEN_BYTES, FenceScanner, framed
from tibet_nc_executor.process import send
from tibet_nc_executor.prologue import STATE_BYTES, parse_told
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.settings import ShellSettings
from tibet_nc_executor.terminal import END_OF_FILE, HangUpError
from tibet_nc_protocol.messages import Reason

__all__ = ["Command", "Ending", "InputFullError", "OnOutput", "Shell", "ShellError"]

INPUT_BYTES: Final = 65536  # input that a command has not read yet
_TICK_S: Final = 0.25  # how often a stopped shell is looked for
_FENCE_S: Final = 5.0  # the kernel needs microseconds; only a broken terminal gets here
_PIPE_BYTES: Final = 65536
_COMPLAINT_BYTES: Final = 200  # of what setpriv and its like say when they cannot go on

type OnOutput = Callable[[bytes], None]


class InputFullError(Exception):
    """The command reads too slowly: nothing of this input was taken."""


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
    ) -> None:
        self._loop: Final = asyncio.get_running_loop()
        self._door: Final = door
        self._terminal: Final = door.terminal
        self._session: Final = session
        self._on_output: Final = on_output
        self._settings: Final = settings
        self._scanner: FenceScanner | None = None
        self._failure: Exception | None = None
        self._order: Reason | None = None
        self._interrupted = False
        self._continued = False
        self._paused = False
        self._hung_up = False
        self._notes: list[str] = []
        self._input = bytearray()
        self._mid_line = False
        self._told = bytearray()
        self._first_words = b""
        self._readable = asyncio.Event()
        self._leader: asyncio.Future[Status | None] = self._loop.create_future()
        door.go(text, session)
        self._begun: Final = time.monotonic()
        self._deadline: Final = Deadline(
            now=self._begun, idle_s=self._settings.idle_s, total_s=self._settings.total_s
        )
        self._loop.add_reader(self._terminal, self._read)
        self._loop.add_reader(door.pidfd, self._leader_ended)
        self._loop.add_reader(door.told, self._read_state)
        self._timer = self._loop.call_later(0, self._tick)
        self._life: Final = self._loop.create_task(self._live())

    # What others ask for

    def interrupt(self) -> None:
        """Send SIGINT to the foreground process group, as ^C does.

        A command that has not begun is killed: nothing of it has run, and bash, which would get
        the signal in its place, only leaves the prologue for it and goes on with the command.
        """
        if self._leader.done():
            return
        self._interrupted = True
        self._read_state()
        if not self._told:
            self.kill(Reason.CANCELLED)
            return
        with suppress(OSError):
            self._terminal.interrupt()

    def kill(self, reason: Reason = Reason.KILLED) -> None:
        """Kill the shell now; everything else of the command follows at its end."""
        if self._leader.done():
            return
        self._order = self._order or reason
        self._door.signal(signal.SIGKILL)
        self._loop.call_later(GIVE_UP_S, self._give_up)

    def write(self, data: bytes) -> None:
        """Type `data`; raises InputFullError and takes nothing if too much is waiting."""
        if not data or self._leader.done():
            return
        if len(self._input) + len(data) > INPUT_BYTES:
            raise InputFullError(f"{len(self._input)} bytes of input are not read yet")
        self._mid_line = not data.endswith((b"\n", END_OF_FILE))
        self._input += data
        self._write()

    def send_eof(self) -> None:
        """Type ^D, twice in the middle of a line, where one only hands over what is there."""
        self.write(END_OF_FILE * (2 if self._mid_line else 1))

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal."""
        if not self._leader.done():
            self._terminal.resize(rows, columns)

    def pause(self) -> None:
        """Take no more output until `resume`; the command waits once the terminal is full.

        The idle limit waits too, the total limit does not. Once the command is over the little
        that the terminal still holds is delivered all the same.
        """
        if not self._paused and not self._leader.done():
            self._paused = True
            self._deadline.hold()
            self._loop.remove_reader(self._terminal)

    def resume(self) -> None:
        """Take output again."""
        if self._paused:
            self._paused = False
            self._deadline.release(time.monotonic())
            if not self._leader.done():
                self._loop.add_reader(self._terminal, self._read)

    async def wait(self) -> Ending:
        """Return how the command ended, when nothing of it is left and all output was delivered.

        Cancelling this leaves the command alone. Raises ShellError if the cage failed before the
        command began, and whatever `on_output` has raised.
        """
        return await asyncio.shield(self._life)

    # What happens

    def _read(self) -> None:
        try:
            data = self._terminal.read()
        except HangUpError:
            self._hung_up = True
            self._loop.remove_reader(self._terminal)
            return
        finally:
            self._readable.set()
        if data:
            self._deadline.touch(time.monotonic())
            self._deliver(data if self._scanner is None else self._scanner.feed(data))

    def _deliver(self, data: bytes) -> None:
        if not data or self._failure is not None:
            return
        if len(self._first_words) < _COMPLAINT_BYTES:
            self._first_words += data[:_COMPLAINT_BYTES]
        try:
            self._on_output(data)
        except Exception as error:  # whatever it is, wait() raises it; output is never lost quietly
            self._failure = error
            self.kill()

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
            data = os.read(self._door.told, _PIPE_BYTES)
            if not data:
                self._loop.remove_reader(self._door.told)
            # What is beyond the limit is read and dropped: the shell must not wait or fail for it.
            self._told += data[: STATE_BYTES + 1 - len(self._told)]

    def _leader_ended(self) -> None:
        # The process stays until the end, so that its id cannot become another's.
        result = os.waitid(os.P_PIDFD, self._door.pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if result is not None and not self._leader.done():
            self._loop.remove_reader(self._door.pidfd)
            self._leader.set_result(Status.of(result))

    def _give_up(self) -> None:
        if not self._leader.done():
            self._leader.set_result(None)

    def _signal_all(self, number: signal.Signals) -> None:
        enclosure = self._door.cell.enclosure
        with suppress(OSError):  # a courtesy; what must end is killed later
            for pid in enclosure.members():
                send(pid, number, enclosure.holds)

    def _tick(self) -> None:
        if self._leader.done():
            return
        with suppress(OSError):  # it is tried again with the next tick
            self._door.cell.enclosure.tend()
        self._look_for_stop()
        now = time.monotonic()
        if self._order is None and (expiry := self._deadline.expired(now)) is not None:
            self._expire(expiry)
        pause = _TICK_S if self._order else min(_TICK_S, max(0.0, self._deadline.due() - now))
        self._timer = self._loop.call_later(pause, self._tick)

    def _expire(self, expiry: Expiry) -> None:
        settings = self._settings
        match expiry:
            case Expiry.IDLE:
                self._order = Reason.IDLE
                self._notes.append(f"nothing was printed for {settings.idle_s:g} s")
            case Expiry.TOTAL:
                self._order = Reason.TIMED_OUT
                self._notes.append(f"the limit of {settings.total_s:g} s was reached")
        self._signal_all(signal.SIGTERM)
        self._signal_all(signal.SIGCONT)
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
            self._signal_all(signal.SIGCONT)

    async def _live(self) -> Ending:
        try:
            status = await self._leader
            over = time.monotonic()
            self._timer.cancel()
            if self._paused:
                self._loop.add_reader(self._terminal, self._read)
            self._loop.remove_writer(self._terminal)
            remains = await self._door.end(waited=status is not None)
            await self._finish_output()
            self._finish_state()
        finally:
            self._loop.remove_reader(self._door.pidfd)
            self._loop.remove_reader(self._door.told)
            self._loop.remove_reader(self._terminal)
            self._door.close()
        return self._conclude(status, remains, round((over - self._begun) * 1000))

    async def _finish_output(self) -> None:
        """Read what is the command's, up to the fence."""
        token = secrets.token_bytes(TOKEN_BYTES)
        scanner = self._scanner = FenceScanner(token)
        fence = framed(token)
        try:
            self._terminal.restore()
            async with asyncio.timeout(_FENCE_S):
                while not scanner.found and not self._hung_up:
                    fence = fence[self._terminal.mark(fence) :]
                    self._readable.clear()
                    await self._readable.wait()
        except (OSError, TimeoutError):
            self._hung_up = True
        if self._hung_up:
            self._deliver(scanner.rest())
            self._notes.append("the terminal broke: output may be missing at the end")

    def _finish_state(self) -> None:
        """Read what is left in the pipe, whose writers are gone."""
        with suppress(BlockingIOError):
            while data := os.read(self._door.told, _PIPE_BYTES):
                self._told += data[: STATE_BYTES + 1 - len(self._told)]

    def _conclude(self, status: Status | None, remains: Remains, duration_ms: int) -> Ending:
        if self._failure is not None:
            raise self._failure
        told = bytes(self._told)
        reason = reason_of(status=status, order=self._order, interrupted=self._interrupted)
        if reason is Reason.EXITED and not parse_told(told).begun:
            complaint = self._first_words.decode(errors="replace").strip() or "without a word"
            raise ShellError(f"the cage failed before the command began: {complaint}")
        self._notes += self._session.keep(told)
        if remains.killed:
            plural = "process" if remains.killed == 1 else "processes"
            self._notes.append(f"{remains.killed} {plural} left running: killed")
        if remains.surviving:
            self._notes.append("something it left running could not be killed")
        if status is None:
            self._notes.append("the shell could not be killed; it waits for the kernel")
        return Ending(
            exit=None if status is None else status.exit,
            signal=None if status is None else status.signal,
            reason=reason,
            duration_ms=duration_ms,
            leftover=remains.killed,
            notes=tuple(self._notes),
        )


class Shell:
    """What starts commands; one for the whole executor. Raises ShellError if it cannot work."""

    def __init__(self, settings: ShellSettings) -> None:
        self.cage: Final = Cage(settings)
        self._ready: Door | None = None

    async def clear(self) -> int:
        """End what an executor that is gone has left running; return how many processes."""
        return await self.cage.clear()

    async def prepare(self) -> None:
        """Make ready for the next command, so that it starts faster. Best done while idle."""
        if self._ready is not None and not self._ready.is_waiting:
            await self.dismiss()
        if self._ready is None:
            with suppress(ShellError):  # the next command tries again, and says so
                self._ready = Door(self.cage)

    async def dismiss(self) -> None:
        """Undo `prepare`."""
        door, self._ready = self._ready, None
        if door is not None:
            await door.shut()

    def _take(self) -> Door | None:
        if self._ready is None or not self._ready.is_waiting:
            return None
        door, self._ready = self._ready, None
        return door

    @staticmethod
    def new_session() -> SessionShell:
        """Return the state of a session that begins."""
        return SessionShell()

    async def start(self, text: str, session: SessionShell, on_output: OnOutput) -> Command:
        """Start a command in a session.

        `on_output` gets every byte that it prints, in order, before `Command.wait` returns. Raises
        ShellError if nothing was started.
        """
        try:
            encoded = text.encode()
        except UnicodeEncodeError as error:
            raise ShellError("the command is not valid Unicode") from error
        if b"\0" in encoded:
            raise ShellError("the command contains a NUL")
        door = self._take() or Door(self.cage)
        try:
            return Command(
                encoded,
                door=door,
                settings=self.cage.settings,
                session=session,
                on_output=on_output,
            )
        except BaseException:
            await door.shut()
            raise
