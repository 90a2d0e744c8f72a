# SPDX-License-Identifier: MIT
"""Ending by a signal, but only when what was begun is undone: as Ctrl-C does by itself."""

import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

_ENDING: Final = (signal.SIGTERM, signal.SIGHUP)


class _EndedError(BaseException):
    """Not an Exception: nothing but what undoes and raises it again may hold it up."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


@contextmanager
def unwinding() -> Generator[None]:
    """Have a request to end, and a hang-up, raise inside; at the end we end by that signal.

    A second one ends us at once. What is ignored, as under nohup, stays so.
    """
    taken: list[signal.Signals] = []
    if threading.current_thread() is threading.main_thread():  # no other can take any
        taken = [number for number in _ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _raise)
    try:
        yield
    except _EndedError as ended:
        os.kill(os.getpid(), ended.number)
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _raise(number: int, _frame: FrameType | None) -> None:
    for other in _ENDING:
        if signal.getsignal(other) is _raise:
            signal.signal(other, signal.SIG_DFL)
    raise _EndedError(number)
