# SPDX-License-Identifier: MIT
"""A program on a terminal, with somebody who answers what it asks."""

import os
import pty
import select
import subprocess
from collections.abc import Mapping, Sequence

SECONDS = 60


def typed(argv: Sequence[str], answers: Mapping[str, str]) -> tuple[int, str]:
    """Run a program on a terminal of its own; return its exit status and what was shown.

    ``answers`` has the line to type for each text that a question has in it, once.
    """
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        argv, stdin=theirs, stdout=theirs, stderr=theirs, cwd="/", start_new_session=True
    )
    os.close(theirs)
    shown, open_answers = b"", dict(answers)
    while True:
        ready, _, _ = select.select([ours], [], [], SECONDS)
        assert ready, shown
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        shown += part
        for question in [each for each in open_answers if each.encode() in shown]:
            os.write(ours, f"{open_answers.pop(question)}\n".encode())
    os.close(ours)
    return process.wait(SECONDS), shown.decode()
