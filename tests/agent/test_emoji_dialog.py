# SPDX-License-Identifier: MIT
"""Root's side of a verification by emoji, with an agent at the other end that may be taken over."""

import io
import os
import socket
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final, TextIO

import pytest

from tests.separation import FOREIGN_UID
from tibet_nc_agent.console import (
    ConsoleError,
    Decision,
    Failed,
    Proved,
    Shown,
    Told,
    Verify,
    line,
    said,
    socket_of,
)
from tibet_nc_agent.emoji_dialog import verified_master_key

USER: Final = "@op:example.org"
SHOWN: Final = Shown(emoji=(0, 1, 2, 3, 4, 5, 6), decimals=(1000, 2000, 3000))
OTHERS: Final = Shown(emoji=(7, 8, 9, 10, 11, 12, 13), decimals=(4000, 5000, 6000))
PROVED: Final = Proved(master_key="A" * 43)


@contextmanager
def typing(text: str) -> Generator[TextIO]:
    """Have root type this, and no more."""
    reading, writing = os.pipe()
    with os.fdopen(reading) as stdin, os.fdopen(writing, "w", buffering=1) as keyboard:
        keyboard.write(text)
        keyboard.flush()
        yield stdin


def tell(listener: socket.socket, *script: Told | bool) -> None:
    """Say these things to root; where a bool stands, wait until root has decided so."""
    endpoint, _ = listener.accept()
    with endpoint, endpoint.makefile("rb") as heard:
        assert said(heard.readline()) == Verify(user=USER)
        for each in script:
            if isinstance(each, bool):
                assert said(heard.readline()) == Decision(matches=each)
            else:
                endpoint.sendall(line(each))


def turn_away(listener: socket.socket) -> None:
    """Hang up on who comes."""
    endpoint, _ = listener.accept()
    endpoint.close()


def dialog(state: Path, typed: str, *script: Told | bool) -> str | None:
    """Return the key that comes out when the agent keeps to a script, whatever it should do."""
    with (
        closing(socket.socket(socket.AF_UNIX)) as listener,
        ThreadPoolExecutor() as pool,
        typing(typed) as stdin,
    ):
        listener.bind(str(socket_of(state)))
        listener.listen()
        telling = pool.submit(tell, listener, *script)
        try:
            return verified_master_key(state, USER, stdin=stdin, out=io.StringIO())
        finally:
            telling.result()


def test_root_says_yes_and_the_key_is_proved(tmp_path: Path) -> None:
    """The key that comes after root's yes is the one to pin."""
    assert dialog(tmp_path, "yes\n", SHOWN, True, PROVED) == PROVED.master_key


def test_root_says_no(tmp_path: Path) -> None:
    """After root's no there is no key."""
    assert dialog(tmp_path, "no\n", SHOWN, False, Failed(reason="m.mismatched_sas")) is None


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give a directory away")
def test_who_is_not_the_agent_is_not_asked(tmp_path: Path) -> None:
    """Root speaks with a process of the user whom the agent's state belongs to, and no other."""
    with (
        closing(socket.socket(socket.AF_UNIX)) as listener,
        ThreadPoolExecutor() as pool,
        typing("yes\n") as stdin,
    ):
        listener.bind(str(socket_of(tmp_path)))
        listener.listen()
        pool.submit(turn_away, listener)
        os.chown(tmp_path, FOREIGN_UID, FOREIGN_UID)
        with pytest.raises(ConsoleError, match="a process of uid 0 is at the other end"):
            verified_master_key(tmp_path, USER, stdin=stdin, out=io.StringIO())


@pytest.mark.parametrize(
    ("typed", "script"),
    [
        ("", [PROVED]),
        ("", [SHOWN, PROVED]),
        ("no\n", [SHOWN, False, PROVED]),
        ("yes\n", [SHOWN, True, OTHERS, PROVED]),
    ],
    ids=["nothing shown", "nothing decided", "root's no", "others shown after root's yes"],
)
def test_a_taken_over_agent_has_nothing_pinned_without_roots_yes(
    tmp_path: Path, typed: str, script: list[Told | bool]
) -> None:
    """What root has not agreed to is not pinned, whatever the agent says of it (I5)."""
    with pytest.raises(ConsoleError, match="nobody has agreed to"):
        dialog(tmp_path, typed, *script)
