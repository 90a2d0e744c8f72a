# SPDX-License-Identifier: MIT
"""The agent's own keys: made once, kept whole, and nobody else's."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tibet_nc_agent import keyfile
from tibet_nc_agent.config_error import ConfigError


def test_key_is_made_once(tmp_path: Path) -> None:
    """The key that the first start makes is the key of every later one; only the owner has it."""
    first = keyfile.identity(tmp_path)
    second = keyfile.identity(tmp_path)
    assert first.public_key == second.public_key
    assert keyfile.pickle_key(tmp_path) == keyfile.pickle_key(tmp_path)
    assert keyfile.pickle_key(tmp_path) != (tmp_path / keyfile.IDENTITY_NAME).read_bytes()
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert modes == {0o600}
    assert {path.name for path in tmp_path.iterdir()} == {"agent.key", "pickle.key"}


def test_starts_at_once_end_with_one_key(tmp_path: Path) -> None:
    """However many start at once, all get the same key, and no draft is left."""
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(keyfile.key, [tmp_path / "x.key"] * 32))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o610, 0o660])
def test_key_that_others_can_reach_is_refused(mode: int, tmp_path: Path) -> None:
    """A key that group or others can reach in any way is refused, with the fix (I10)."""
    keyfile.identity(tmp_path)
    (tmp_path / keyfile.IDENTITY_NAME).chmod(mode)
    with pytest.raises(ConfigError, match="lets others at a secret key; right would be chmod 600"):
        keyfile.identity(tmp_path)


@pytest.mark.parametrize("data", [b"", b"x" * 31, b"x" * 33])
def test_damaged_key_is_left_alone(data: bytes, tmp_path: Path) -> None:
    """A key of another length is refused and not replaced."""
    path = tmp_path / keyfile.IDENTITY_NAME
    path.write_bytes(data)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="not a key of 32 bytes"):
        keyfile.identity(tmp_path)
    assert path.read_bytes() == data


def test_unusable_directory(tmp_path: Path) -> None:
    """A directory that isn't there is one clear error."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        keyfile.identity(tmp_path / "none")
