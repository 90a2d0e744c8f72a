# SPDX-License-Identifier: MIT
"""A plugin of pytest: has the second verifier judge each chain that the first one does.

With it, every test of the auditor that verifies a chain is one of the second verifier as well, and
fails unless both say the same, at every depth: good or bad, and which record is the first bad one,
in which file and line.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.harness.recheck import UNUSABLE, Said, ask, compare
from tibet_nc_audit import verify as first
from tibet_nc_audit.errors import AuditError, UnreadableError
from tibet_nc_audit.heads import Depth, Held, SavedHead
from tibet_nc_audit.locate import find_held
from tibet_nc_audit.reader import State
from tibet_nc_audit.report import Report
from tibet_nc_protocol.signing import PublicKey

PROGRAM: Final = "TIBET_NC_RECHECK"
"""The environment variable with the program's path."""

_LARGEST: Final = 10**15 - 1
"""Largest number of a record that can be given; what is looked for in vain is of a larger one."""

_compared = 0


def pytest_configure() -> None:
    """Put both in the place of the one, before any test has imported it."""
    first.verify = _both(first.verify, Path(os.environ[PROGRAM]))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many chains were judged by both."""
    terminalreporter.write_line(f"chains judged by both: {_compared}")


def _both(verify: Callable[..., Report], program: Path) -> Callable[..., Report]:
    def judge(
        state: State,
        *,
        key: PublicKey | None = None,
        heads: Sequence[Held] = (),
        depth: Depth = Depth.RECORDS,
        resume: SavedHead | None = None,
        **options: object,
    ) -> Report:
        def again() -> Report:
            return verify(state, key=key, heads=heads, depth=depth, resume=resume, **options)

        if resume is not None or any(held.key is not None for held in heads):
            return again()  # it can't go on from a head file, nor take a key from one
        said = _second(program, state, key, heads, depth)
        global _compared  # noqa: PLW0603  (what a plugin counts in a run)
        _compared += 1
        try:
            report = again()
        except AuditError as error:
            if said.status != UNUSABLE:
                pytest.fail(f"one read what the other can't: {error}")
            raise
        compare(report, said)
        return report

    return judge


def _second(
    program: Path, state: State, key: PublicKey | None, heads: Sequence[Held], depth: Depth
) -> Said:
    with tempfile.TemporaryDirectory(prefix="tibet-nc-notes-") as name:
        held: list[str] = []
        for number, head in enumerate(heads):
            if head.root:
                note = Path(name) / str(number)
                note.write_text(head.note, encoding="utf-8")
                held.append(str(note))
            else:
                with suppress(UnreadableError):  # nobody can tell of which record it is
                    found = find_held(state, head)
                    held.append(f"{min(found.record, _LARGEST)}:{found.head}")
        return ask(
            program, state.path, key=None if key is None else key.hex, held=held, depth=depth
        )
