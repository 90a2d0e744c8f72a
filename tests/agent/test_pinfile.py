# SPDX-License-Identifier: MIT
"""The file of the pinned operators, as the agent reads it and root's commands write it (I5)."""

import base64
import os
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from tests.mounts import private_mounts
from tibet_nc_agent.operators import Operators, Standing
from tibet_nc_agent.pauses import Pauses
from tibet_nc_agent.pinfile import STILL_NS, PinFile, pin, unpin
from tibet_nc_agent.trust import Claim, _claim
from tibet_nc_protocol.errors import PinsError
from tibet_nc_protocol.pins import PINS_BYTES, How, Pin, render
from tibet_nc_protocol.signing import Identity

OP, OTHER, STRANGER = "@op:example.org", "@other:example.org", "@stranger:example.org"
NOBODY_UID = 65534


def a_pin(user: str, seed: int = 1) -> Pin:
    """Return a pin of a user; another ``seed`` is another key."""
    key = Identity(bytes([seed]) * 32).public_key.data
    return Pin(
        user=user,
        master_key=base64.b64encode(key).decode().rstrip("="),
        pinned=datetime(2026, 11, 25, tzinfo=UTC),
        how=How.COMPARED,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the file is to be."""
    return tmp_path / "operators.toml"


def test_pins_come_and_go(path: Path) -> None:
    """Each change is seen by a reader that was there before, and leaves the other pins alone."""
    file = PinFile(path)
    assert file.pins() == {}
    pin(path, a_pin(OP))
    pin(path, a_pin(OTHER))
    assert file.pins() == {OP: a_pin(OP), OTHER: a_pin(OTHER)}
    pin(path, a_pin(OP, seed=2))
    assert file.pins() == {OP: a_pin(OP, seed=2), OTHER: a_pin(OTHER)}
    unpin(path, OP)
    assert file.pins() == {OTHER: a_pin(OTHER)}
    with pytest.raises(PinsError, match="not pinned"):
        unpin(path, OP)


def test_what_is_written_is_what_is_seen(path: Path) -> None:
    """However fast a file is written over in its place, each look gives what it holds."""
    with ExitStack() as stack:
        if os.getuid() == 0:  # where files have the coarse times of all kernels
            stack.enter_context(private_mounts())
            subprocess.run(["mount", "-t", "ramfs", "ramfs", path.parent], check=True)
        file = PinFile(path)
        for round_ in range(100):
            pinned = a_pin(OP, seed=1 + round_ % 2)
            path.write_bytes(render([pinned]))
            assert file.pins() == {OP: pinned}


def test_another_file_of_the_same_time_is_seen(path: Path) -> None:
    """A file that was put in the old one's place is read, also one of the same size and time."""
    path.write_bytes(render([a_pin(OP)]))
    while time.time_ns() - path.stat().st_ctime_ns <= STILL_NS:  # after that it isn't read again
        time.sleep(0.05)
    file = PinFile(path)
    assert file.pins() == {OP: a_pin(OP)}
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(render([a_pin(OP, seed=2)]))
    os.utime(path, ns=times)
    assert file.pins() == {OP: a_pin(OP, seed=2)}


def test_everybody_may_read_and_nobody_else_write(path: Path) -> None:
    """The file has mode 0644 whatever the umask is, and nothing is left beside it."""
    before = os.umask(0o077)
    try:
        pin(path, a_pin(OP))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert list(path.parent.iterdir()) == [path]


def test_changes_at_the_same_time_are_all_kept(path: Path) -> None:
    """Of pins that are made at once none is lost, and no reader sees half a file."""
    users = [f"@op{number}:example.org" for number in range(12)]
    threads = [threading.Thread(target=pin, args=(path, a_pin(user))) for user in users]
    for thread in threads:
        thread.start()
    file = PinFile(path)
    while any(thread.is_alive() for thread in threads):
        file.pins()
    assert sorted(PinFile(path).pins()) == sorted(users)


def _link(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))
    path.symlink_to(path.with_suffix(".elsewhere"))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path, 0o644)


ENDLESS = 1 << 42
"""The length of a file with a hole, which no memory would hold."""

SPOILED: list[tuple[Callable[[Path], object], str]] = [
    (lambda path: path.chmod(0o664), "lets others"),
    (lambda path: path.write_text("[[operator]]\nuser = 5\n"), "operator"),
    (lambda path: path.write_bytes(b"\xff"), "UTF-8"),
    (lambda path: path.write_bytes(b"#" * (PINS_BYTES + 1)), "at most"),
    (lambda path: os.truncate(path, ENDLESS), "at most"),
    (_link, "symbolic"),
    (_pipe, "not a file"),
]


@pytest.mark.parametrize(("spoil", "why"), SPOILED)
def test_a_file_that_can_not_be_relied_on_pins_nobody(
    path: Path, spoil: Callable[[Path], object], why: str
) -> None:
    """Whatever is wrong with the file: nobody is an operator, and nothing is written over it."""
    pin(path, a_pin(OP))
    operators = Operators(path, frozenset(), Pauses(path.parent))
    assert operators.standing(OP) is Standing.OPERATOR
    spoil(path)
    assert operators.standing(OP) is Standing.STRANGER
    assert operators.master_key(OP) is None
    assert operators.members() == frozenset()
    assert str(path) in operators.problem
    assert why in operators.problem
    with pytest.raises(PinsError, match=why):
        pin(path, a_pin(OTHER))


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give files away")
def test_a_file_of_somebody_else_pins_nobody(path: Path) -> None:
    """A file that isn't root's is not believed, not even by root."""
    pin(path, a_pin(OP))
    os.chown(path, NOBODY_UID, NOBODY_UID)
    with pytest.raises(PinsError, match="belongs to uid"):
        PinFile(path).pins()


def test_who_can_not_write_is_told_to_be_root(path: Path) -> None:
    """A change that the file system refuses is one clear line, and changes nothing."""
    with pytest.raises(PinsError, match=r"operators.toml: No such file"):
        pin(path.parent / "none" / "operators.toml", a_pin(OP))


@pytest.mark.parametrize(
    ("allowed", "standings"),
    [
        (
            set[str](),
            {OP: Standing.OPERATOR, OTHER: Standing.OPERATOR, STRANGER: Standing.STRANGER},
        ),
        (
            {OP, STRANGER},
            {OP: Standing.OPERATOR, OTHER: Standing.READER, STRANGER: Standing.UNPINNED},
        ),
    ],
)
def test_who_is_what(path: Path, allowed: set[str], standings: dict[str, Standing]) -> None:
    """Who is pinned may command; a list in the settings narrows that, and pins nobody by itself."""
    pin(path, a_pin(OP))
    pin(path, a_pin(OTHER))
    operators = Operators(path, frozenset(allowed), Pauses(path.parent))
    assert {user: operators.standing(user) for user in standings} == standings
    assert operators.members() == {OP, OTHER} | allowed
    assert operators.master_key(STRANGER) is None


def test_a_weak_key_from_the_agents_own_account_is_not_taken() -> None:
    """What comes back to root is looked at again: one of small order would spoil the file (I5)."""
    weak = base64.b64encode((1).to_bytes(32, "little")).decode().rstrip("=")
    claim = Claim(master_key=weak, signed=(), unsigned=())
    with pytest.raises(PinsError):
        _claim(msgspec.json.encode(claim))
