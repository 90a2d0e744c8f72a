# SPDX-License-Identifier: MIT
"""A place that is ready for one command: caged, on its terminal, with nothing to run yet.

Making it is most of what a command waits for: a terminal, four programs one after the other, and
above all entering a control group, for which the kernel waits several milliseconds when nobody
entered one a moment ago. None of that depends on the command, so it can be done while nobody
waits: a door is made ahead, and a command goes through it when its intent is on disk (I1).

Behind the door waits a bash of the shell uid. It has inherited a pipe and a file: it waits until
the pipe is closed, and then runs the one line in the file, which makes it the command's own bash
(`approach`). Of a session it has nothing but the right to its home. If the executor dies, the pipe
is closed as well, the file is still empty, and so the bash ends.

The command's own bash then waits a second time, before anything of its session or of the command
has run: it was started while the intent was being written to the disk, and goes on when it is told
that the intent is there (`go`). If it is never told, or the executor dies, it ends.
"""

import os
import select
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from signal import Signals
from typing import Final

from tibet_nc_executor.cage import Cage, clear_of_bash
from tibet_nc_executor.durable import write_all
from tibet_nc_executor.enclosure import Remains
from tibet_nc_executor.errors import ShellError
from tibet_nc_executor.home import Home
from tibet_nc_executor.passing import refuse_files
from tibet_nc_executor.process import send
from tibet_nc_executor.prologue import become, waiting
from tibet_nc_executor.session import SessionShell
from tibet_nc_executor.terminal import Terminal
from tibet_nc_executor.watch import Watch, ended, reaped

_KILLED_S: Final = 2.0  # what the kernel takes on a busy machine; a tracer may hold it up for ever
_PIPE_BYTES: Final = 4096  # a state mostly; room for more would leave holes in the heap


class Door:
    """A terminal and a caged process for one command; raises ShellError if it can't be made."""

    def __init__(self, cage: Cage, home: Home | None = None) -> None:
        self.home: Final = home
        self._cage: Final = cage
        self._undo: Final = ExitStack()
        self.cell: Final = cage.open(home)
        """The command's place in the cage."""
        self._empty = True
        self._undo.callback(self._leave)
        try:
            self._make()
        except OSError as error:
            self.close()
            raise ShellError(f"no shell: {error}") from error

    def _make(self) -> None:
        settings = self._cage.settings
        self.terminal = Terminal(
            rows=settings.rows, columns=settings.columns, group=self.cell.group
        )
        self._undo.callback(self.terminal.close)
        # What the process inherits is closed here as soon as it has it, but for the two files
        # that are written when the command goes through.
        with ExitStack() as inherited:
            ours, theirs = socket.socketpair()
            refuse_files(ours)
            self.told = ours.detach()
            """Where the shell tells its state (prologue.py), and is told that it may go."""
            self._undo.callback(os.close, self.told)
            os.set_blocking(self.told, False)
            self._pipe = self._inherit(theirs.detach(), inherited)
            end, word = os.pipe()
            self._closing = self._undo.enter_context(ExitStack())
            self._closing.callback(os.close, word)
            gate = self._inherit(end, inherited)
            self._prologue = self._inherit(os.memfd_create("tibet-nc-prologue"), self._closing)
            self._line = self._inherit(os.memfd_create("tibet-nc-line"), self._closing)
            entry = self.cell.enclosure.entry.commands
            self._process = self._cage.spawn(
                waiting(entry=entry, gate=gate, line=self._line),
                cell=self.cell,
                terminal=self.terminal.slave,
                descriptors=(self._pipe, gate, self._prologue, self._line),
            )
            self.pidfd = self._watch()
            """A descriptor of the process, which becomes the command's shell."""
            self._undo.callback(os.close, self.pidfd)
        self.terminal.spawned()

    @staticmethod
    def _inherit(descriptor: int, stack: ExitStack) -> int:
        clear = clear_of_bash(descriptor)
        stack.callback(os.close, clear)
        return clear

    def _watch(self) -> int:
        try:
            return os.pidfd_open(self._process.pid)
        except OSError:
            self._process.kill()
            self._process.wait()
            raise

    @property
    def is_waiting(self) -> bool:
        """Whether the process still waits for its command."""
        flags = os.WEXITED | os.WSTOPPED | os.WNOHANG | os.WNOWAIT
        if os.waitid(os.P_PIDFD, self.pidfd, flags) is not None:
            return False
        # What has ended and is traced can't be waited for.
        poll = select.poll()
        poll.register(self.pidfd, select.POLLIN)
        return not poll.poll(0)

    def approach(self, text: bytes, session: SessionShell) -> None:
        """Let the process become the shell of a command in a session; raises ShellError.

        It stops before anything of the session's or the command's has run, until `go`.
        """
        settings = self._cage.settings
        line = become(
            text, restricted=settings.restricted, prologue=self._prologue, line=self._line
        )
        prologue = session.prologue(
            entry=self.cell.enclosure.entry.prologue,
            own=self._prologue,
            pipe=self._pipe,
            text=text,
        )
        try:
            for descriptor, data in ((self._prologue, prologue), (self._line, line)):
                write_all(descriptor, data)
        except OSError as error:
            raise ShellError(f"no shell: {error}") from error
        self._closing.close()  # the last of it is the word to become it

    def go(self) -> None:
        """Let the shell go on: with the command that it approached with, or from there to its end.

        It waits before the one, and may hold on before the other (prologue.py).
        """
        with suppress(OSError):  # a shell that is gone hears nothing
            os.write(self.told, b"\n")

    def signal(self, number: Signals) -> None:
        """Signal the process, if it runs."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def hear(self) -> bytes:
        """Return what the shell has told since, nothing at the end; raises BlockingIOError."""
        try:
            return os.read(self.told, _PIPE_BYTES)
        except ConnectionResetError:  # it was killed before it heard a word; all it told was read
            return b""

    def others(self) -> list[int]:
        """Return processes behind the door beside the shell; none only if certainly none is left.

        Those that have lost their parent and the shell's own children; not what descends from them.
        Raises OSError if it cannot be told.
        """
        return self.cell.enclosure.others()

    def processes(self) -> list[int]:
        """Return every process behind the door that is seen now, without the shell itself."""
        try:
            members = self.cell.enclosure.members()
        except OSError:  # out of descriptors, for one: not to see is no reason to stop what is done
            return []
        return [pid for pid in members if pid != self._process.pid]

    def signal_all(self, number: Signals, *, shell: bool = True) -> None:
        """Signal everything behind the door, with the `shell` or without, as far as it is seen."""
        enclosure = self.cell.enclosure
        with suppress(OSError):  # a courtesy; what must end is killed later
            for pid in enclosure.members() if shell else self.processes():
                send(pid, number, enclosure.holds)

    def watch(self, tell: Callable[[os.waitid_result], None]) -> None:
        """Have somebody told when the process has ended."""
        self._undo.callback(Watch(self.pidfd, tell).close)

    async def end(self) -> Remains:
        """Kill everything behind the door but the process itself, which was killed or has ended."""
        self._empty = False
        remains = await self.cell.enclosure.end()
        gone = reaped(self._process)
        self._empty = gone and not remains.surviving
        return remains

    async def shut(self) -> None:
        """Give it up before anything went through."""
        self.signal(signal.SIGKILL)
        try:
            await ended(self.pidfd, _KILLED_S)
            await self.end()
        finally:
            self.close()

    def close(self) -> None:
        """Close what is open."""
        self._undo.close()

    def _leave(self) -> None:
        self._cage.close(self.cell, empty=self._empty)
