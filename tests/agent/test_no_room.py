# SPDX-License-Identifier: MIT
"""A disk that takes nothing, as it is told: nobody is asked to move away what is sound."""

import resource
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tibet_nc_agent.emission import EmissionError, EmissionQueue
from tibet_nc_agent.inbox import Inbox, InboxError
from tibet_nc_agent.login import Login
from tibet_nc_agent.matrix_errors import StoreDamaged
from tibet_nc_agent.nio_machine import NioMachine
from tibet_nc_agent.replay import ReplayGuard


def olm(directory: Path) -> None:
    """Open an Olm store and close it."""
    login = Login(user_id="@bot:example.org", device_id="BOT", access_token="token")
    NioMachine.open(directory, login, bytes(32), lambda _room, _user: True).store.database.close()


@contextmanager
def longest(size: int) -> Generator[None]:
    """Let no file become longer than this, as LimitFSIZE of a unit does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


OPENED: dict[str, tuple[Callable[[Path], Any], type[Exception]]] = {
    "Olm store": (olm, StoreDamaged),
    "replays": (lambda state: ReplayGuard.open(state / "replay.db").close(), StoreDamaged),
    "inbox": (lambda state: Inbox(state).close(), InboxError),
    "tokens": (lambda state: EmissionQueue(state).close(), EmissionError),
}


@pytest.mark.parametrize(
    ("what", "existing"),
    # An Olm store that is there is only read when it is opened.
    [(what, existing) for what in OPENED for existing in (False, True) if what != "Olm store"]
    + [("Olm store", False)],
)
def test_what_can_not_be_written_is_not_called_damaged(
    tmp_path: Path, what: str, *, existing: bool
) -> None:
    """It is said what can't be written; not to restore it, nor to go on without it."""
    opened, error = OPENED[what]
    if existing:
        opened(tmp_path)
    with longest(0), pytest.raises(error) as raised:
        opened(tmp_path)
    said = str(raised.value)
    assert str(tmp_path) in said
    assert "can't be written" in said
    assert [word for word in ("restore", "mv ", "move", "can't be read") if word in said] == []
