# SPDX-License-Identifier: MIT
"""Ending or stopping by a signal, but only when what was begun is undone."""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Final

ENDING: Final = (signal.SIGTERM, signal.SIGHUP)
"""What asks a program to end."""


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
        taken = [number for number in ENDING if signal.getsignal(number) is signal.SIG_DFL]
    for number in taken:
        signal.signal(number, _raise)
    try:
        yield
    except _EndedError as ended:
        # What is undone only when nobody holds it any more was held by where we were.
        traceback.clear_frames(ended.__traceback__)
        os.kill(os.getpid(), ended.number)
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


@contextmanager
def suspending(undo: Callable[[], None]) -> Generator[None]:
    """Have a request to stop (Ctrl-Z) undo what was begun first; we go on when we are continued.

    ``undo`` is called between any two steps of ours, so it may use nothing that isn't reentrant.
    """
    if (
        threading.current_thread() is not threading.main_thread()  # no other can take any
        or signal.getsignal(signal.SIGTSTP) is not signal.SIG_DFL
    ):
        yield
        return

    def stop(number: int, _frame: FrameType | None) -> None:
        undo()
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        signal.signal(number, stop)  # from here on we have been continued

    signal.signal(signal.SIGTSTP, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)


def _raise(number: int, _frame: FrameType | None) -> None:
    for other in ENDING:
        if signal.getsignal(other) is _raise:
            signal.signal(other, signal.SIG_DFL)
    raise _EndedError(number)
