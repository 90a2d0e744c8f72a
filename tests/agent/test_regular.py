# SPDX-License-Identifier: MIT
"""A named pipe where a file of settings or keys should be is told, and not waited for."""

import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tibet_nc_agent import keyfile, login
from tibet_nc_agent.config import load, operators_file, read_executor_key
from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.crosssign import CrossSigning
from tibet_nc_agent.matrix_errors import StoreDamaged
from tibet_nc_agent.pauses import FILE_NAME, Pauses
from tibet_nc_agent.regular import open_regular
from tibet_nc_agent.secret import read_secret


def executor_key(path: Path) -> object:
    """Read the executor's key by settings that name its file."""
    settings = path.with_name("agent.toml")
    settings.write_text(
        '[matrix]\nhomeserver = "https://example.org"\nuser_id = "@bot:example.org"\n'
        f'rooms = ["!room:example.org"]\n[executor]\nkey_file = "{path}"\n'
    )
    return read_executor_key(load(settings, {}, required=True))


READERS: dict[str, Callable[[Path], object]] = {
    "agent.toml": lambda path: load(path, {}, required=True),
    "pins.toml": lambda path: operators_file(path, required=True),
    "password": lambda path: read_secret(path, "matrix.password_file"),
    "executor.pub": executor_key,
    keyfile.IDENTITY_NAME: lambda path: keyfile.identity(path.parent),
    login.LOGIN_NAME: login.saved,
    FILE_NAME: lambda path: Pauses(path.parent),
    "cross-signing.json": lambda path: CrossSigning.open(path, bytes(32)),
}


def read_in_time(read: Callable[[Path], object], pipe: Path) -> None:
    """Read a pipe that nobody writes to; raise TimeoutError if that doesn't end by itself."""
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(read, pipe)
        try:
            reading.result(10)
        finally:
            with suppress(OSError):  # nobody reads any more
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))


@pytest.mark.parametrize("name", READERS)
def test_a_pipe_is_told_and_not_waited_for(name: str, tmp_path: Path) -> None:
    """Whatever file of the agent's is a named pipe, reading it ends, with one line that says so."""
    path = tmp_path / name
    os.mkfifo(path, 0o600)
    with pytest.raises((ConfigError, StoreDamaged), match="not a regular file") as caught:
        read_in_time(READERS[name], path)
    assert str(caught.value).count(str(path)) == 1


def test_a_device_is_no_file() -> None:
    """A device, which may have no end, is told, too; it stays open for nobody."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(Path("/dev/zero"))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_is_closed_to_programs(tmp_path: Path) -> None:
    """What is opened is not inherited by a program that is started (I10)."""
    path = tmp_path / "key"
    path.write_bytes(b"x")
    with open_regular(path) as file:
        assert stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        assert not os.get_inheritable(file.fileno())


@pytest.mark.parametrize("name", [keyfile.IDENTITY_NAME, login.LOGIN_NAME, FILE_NAME])
def test_a_file_that_can_not_be_read_is_named_once(name: str, tmp_path: Path) -> None:
    """An error over a file names it, once, and is of the kind that the doctor tells."""
    path = tmp_path / name
    path.mkdir()
    with pytest.raises((ConfigError, StoreDamaged), match="Is a directory") as caught:
        READERS[name](path)
    assert str(caught.value).count(str(path)) == 1


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (login.LOGIN_NAME, b'{"user_id": "\xff"}'),
        (login.LOGIN_NAME, b'{"user_id": ' + b"[" * 100_000),
        (FILE_NAME, b'{"paused": {"\xff": {}}}'),
        ("cross-signing.json", b'{"master": "\xff"}'),
    ],
)
def test_a_file_with_a_byte_that_is_no_text_is_told(name: str, data: bytes, tmp_path: Path) -> None:
    """Whatever the disk has made of a file, its name is told, and no fault of the agent's."""
    path = tmp_path / name
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises((ConfigError, StoreDamaged), match=name):
        READERS[name](path)
