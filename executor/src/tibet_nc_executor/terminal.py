# SPDX-License-Identifier: MIT
"""A pseudo-terminal for one command. The only module that knows pexpect.

Facts that the code below rests on:

- With ECHO and OPOST off the kernel passes bytes through unchanged.
- A command owns its terminal's settings: it may set another line discipline (N_NULL swallows all
  output), raw mode, exclusive use, or stop the flow. None of it can hurt once the command is gone
  and the settings are put back, which is done before the fence is written. Exclusive use keeps
  nobody out but itself: nothing here opens a terminal by its name.
- Only members of the run's own group can open the slave, so no other run of the same uid can
  write to it. The shell uid does not own it and cannot change that. `/dev/tty` is always open to
  the session itself.
- TIOCSIG makes the kernel signal the foreground process group: no process id that might have been
  given to somebody else meanwhile.
"""

import array
import fcntl
import os
import signal
import struct
import termios
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress

import pexpect
import pexpect.fdpexpect

from tibet_nc_executor.credentials import file_group

READ_BYTES = 65536  # what is read in one go
_PIECE_BYTES = 4096  # what a terminal has at a time; room for more would leave holes in the heap
_FLOOD_BYTES = 1024  # after a piece as large as this the next one comes at once
_AT_ONCE_S = 100e-6
END_OF_FILE = b"\x04"  # VEOF, unless the command has chosen another

_TIOCGPTPEER = 0x5441
_TIOCSIG = 0x40045436
_N_TTY = 0

_IUTF8 = 0o40000


class HangUpError(Exception):
    """The terminal is gone: nothing can be read or written any more."""


type _Attributes = list[int | list[bytes | int]]


@contextmanager
def _as_os_error() -> Generator[None]:
    """Raise what termios raises, which is no OSError, as one; that is what is caught everywhere."""
    try:
        yield
    except termios.error as error:
        raise OSError(*error.args) from error


def _plain(attributes: _Attributes) -> _Attributes:
    """Return terminal attributes that leave every byte alone but keep lines and signals."""
    _, _, control, _, *rest = attributes
    return [
        termios.ICRNL | termios.BRKINT | _IUTF8,
        0,
        control,
        termios.ICANON | termios.ISIG | termios.IEXTEN,
        *rest,
    ]


class Terminal:
    """A pair of terminal ends; the slave is for a command, the master and a spare slave are ours.

    With `group`, only root, the executor and members of that group can open the slave.
    Raises OSError if the machine has no terminal left.
    """

    def __init__(self, *, rows: int, columns: int, group: int | None) -> None:
        self._master, self._slave = os.openpty()
        self._count = array.array("i", [0])
        self._spare = -1
        try:
            # A second open file, since non-blocking mode belongs to the open file and the
            # command's must block.
            self._spare = fcntl.ioctl(
                self._master,
                _TIOCGPTPEER,
                os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC,
            )
            with _as_os_error():
                self._attributes = _plain(termios.tcgetattr(self._slave))
                termios.tcsetattr(self._slave, termios.TCSANOW, self._attributes)
                termios.tcsetwinsize(self._master, (rows, columns))
            self._admit(group)
            os.set_blocking(self._master, False)
            self._stream: pexpect.fdpexpect.fdspawn[bytes] = pexpect.fdpexpect.fdspawn(
                self._master, timeout=0, maxread=READ_BYTES, use_poll=True
            )
            self._stream.delaybeforesend = None  # otherwise each write waits 50 ms
        except BaseException:
            self.close()
            raise

    def _admit(self, group: int | None) -> None:
        if group is None:
            os.fchmod(self._slave, 0o600)
            return
        os.fchmod(self._slave, 0o660)
        with file_group(group):  # an owner may give a file to a group that he is in
            os.fchown(self._slave, -1, group)

    def fileno(self) -> int:
        """Return the descriptor to wait on for output."""
        return self._master

    @property
    def slave(self) -> int:
        """The descriptor that becomes the command's standard input, output and error."""
        return self._slave

    def spawned(self) -> None:
        """Close the command's end here, once the command has it."""
        slave, self._slave = self._slave, -1
        os.close(slave)

    def read(self) -> bytes:
        """Return what can be read now, at most `READ_BYTES`; raises HangUpError."""
        try:
            pieces = [self._stream.read_nonblocking(_PIECE_BYTES, timeout=0)]
        except pexpect.TIMEOUT:
            return b""
        except (pexpect.EOF, OSError) as error:
            raise HangUpError("the terminal is gone") from error
        room = READ_BYTES - len(pieces[0])
        # More of it while there is more: asking the event loop each time halves the throughput.
        # Any error is seen again by the next call.
        with suppress(OSError):
            while room and self._has_more(flood=len(pieces[-1]) >= _FLOOD_BYTES):
                pieces.append(os.read(self._master, min(room, _PIECE_BYTES)))
                room -= len(pieces[-1])
        return b"".join(pieces)

    def _has_more(self, *, flood: bool) -> bool:
        """Whether there is more output now or, in a flood, at once; raises OSError.

        Who sleeps until the kernel has moved the next 4 KiB has to be woken for each of them, which
        takes longer than to move them. Who only lets others go first is there when they are moved.
        """
        until = time.monotonic() + (_AT_ONCE_S if flood else 0)
        while not self._waiting():
            if time.monotonic() >= until:
                return False
            os.sched_yield()
        return True

    def _waiting(self) -> int:
        """Return how many bytes can be read now; unlike a read or a poll, this never sleeps."""
        fcntl.ioctl(self._master, termios.FIONREAD, self._count)
        return self._count[0]

    def write(self, data: bytes) -> int:
        """Offer input to the command; return how many bytes the terminal took now."""
        try:
            taken: int = self._stream.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise HangUpError("the terminal is gone") from error
        return taken

    @property
    def keeps_lines(self) -> bool:
        """Whether it holds what is typed until the line ends, and not each key for itself."""
        try:
            return bool(termios.tcgetattr(self._spare)[3] & termios.ICANON)
        except termios.error:  # it was hung up, and takes nothing
            return False

    def interrupt(self) -> None:
        """Send SIGINT to the foreground process group, if there is one; raises OSError."""
        fcntl.ioctl(self._master, _TIOCSIG, int(signal.SIGINT))

    def restore(self) -> None:
        """Undo what a command, now gone, did to the terminal; raises OSError."""
        fcntl.ioctl(self._spare, termios.TIOCSETD, struct.pack("i", _N_TTY))
        with _as_os_error():
            termios.tcsetattr(self._spare, termios.TCSANOW, self._attributes)
            # Off first: "on" alone does nothing for a flow that was stopped with ^S.
            termios.tcflow(self._spare, termios.TCOOFF)
            termios.tcflow(self._spare, termios.TCOON)

    def mark(self, data: bytes) -> int:
        """Write on the slave, as the command did; return how many bytes the terminal took now."""
        try:
            return os.write(self._spare, data)
        except BlockingIOError:
            return 0

    def close(self) -> None:
        """Close every end; may be called again."""
        for name in ("_master", "_slave", "_spare"):
            descriptor = getattr(self, name)
            setattr(self, name, -1)
            if descriptor >= 0:
                os.close(descriptor)
