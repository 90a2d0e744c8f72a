# SPDX-License-Identifier: MIT
"""A named pipe where a file of settings or keys should be is told, and not waited for."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tibet_nc_executor import config
from tibet_nc_executor.errors import ConfigError
from tibet_nc_executor.regular import open_regular
from tibet_nc_executor.service import agent_key


def enrolled(path: Path) -> object:
    """Read the agent's key by settings that name its file."""
    settings = {
        "policy": {"rooms": ["!room:example.org"]},
        "agent": {"key_file": str(path)},
    }
    return agent_key(config.parse(settings, "executor.toml"))


READERS: dict[str, Callable[[Path], object]] = {
    "executor.toml": lambda path: config.load(path, {}),
    "executor.key": config.read_key,
    "agent.pub": enrolled,
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
    """Whatever file of these is a named pipe, reading it ends, with one line that says so."""
    path = tmp_path / name
    os.mkfifo(path, 0o600)
    with pytest.raises(ConfigError, match="not a regular file") as caught:
        read_in_time(READERS[name], path)
    assert str(caught.value).count(str(path)) == 1


def test_a_key_is_not_looked_for_behind_a_link(tmp_path: Path) -> None:
    """A symbolic link in the place of a secret key is refused, as before."""
    (tmp_path / "key").write_text("00" * 32)
    (tmp_path / "link").symlink_to("key")
    with pytest.raises(ConfigError, match="Too many levels of symbolic links"):
        config.read_key(tmp_path / "link")


def test_a_device_is_no_file() -> None:
    """A device, which may have no end, is told, too; it stays open for nobody."""
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(Path("/dev/zero"))
    assert len(os.listdir("/proc/self/fd")) == before
