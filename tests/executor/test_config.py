# SPDX-License-Identifier: MIT
"""The executor's settings: a wrong one is one line that says where, what, and names no secret."""

import os
from pathlib import Path

import pytest

from tibet_nc_executor import config
from tibet_nc_executor.errors import ConfigError

GOOD = '[policy]\nrooms = ["!room:example.org"]\n'


def fault(folder: Path, text: str, **environment: str) -> str:
    """Return the error of settings that can't be used, without the path that it begins with."""
    path = folder / "executor.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        config.load(path, environment)
    told = str(caught.value)
    assert told.startswith(str(path))
    assert "\n" not in told
    return told.removeprefix(str(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", ": policy.rooms: no room; "),
        ("[policy]\nrooms = []\n", ": policy.rooms: no room; "),
        ("[policy\n", ": not TOML: "),
        (GOOD + "[shel]\n", ": Object contains unknown field `shel`"),
        (GOOD + "[shell]\nidle = 5\n", ": shell: Object contains unknown field `idle`"),
        (GOOD + '[shell]\nidle_s = "5"\n', ": shell.idle_s: Expected `int`"),
        (GOOD + "[shell]\nidle_s = 0\n", ": shell.idle_s: Expected `int` >= 1"),
        (GOOD + "[shell]\nrows = 65536\n", ": shell.rows: Expected `int` <= 65535"),
        (GOOD + "[shell]\nopen_files = 63\n", ": shell.open_files: Expected `int` >= 64"),
        (GOOD + '[audit]\ncommand_text = "none"\n', ": audit.command_text: Invalid enum value"),
        (
            GOOD + '[walls]\naccepted = ["moat"]\n',
            ": walls.accepted: Invalid enum value 'moat'; right would be",
        ),
        (
            '[policy]\nrooms = ["#room:example.org"]\n',
            ": policy.rooms: not of the right form; right would be",
        ),
        (GOOD + "operators = []\n", ": policy.operators: Expected `array` of length >= 1"),
        ("policy = 5\n", ": policy: Expected `object`, got `int`"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, told: str) -> None:
    """File, key and what is wrong stand in one line."""
    assert fault(tmp_path, text).startswith(told)


def test_the_old_variables_go_over_the_file(tmp_path: Path) -> None:
    """tibet-nc 0.1.2's variables override the file, and are named when they are wrong."""
    path = tmp_path / "executor.toml"
    path.write_text(GOOD)
    variables = {
        "TIBET_NC_ROOM": "!a:example.org, !b:example.org",
        "TIBET_NC_ALLOWED_USERS": "@op:example.org",
        "TIBET_NC_HOSTNAME": "web-1",
    }
    loaded = config.load(path, variables)
    assert loaded.policy.rooms == ("!a:example.org", "!b:example.org")
    assert loaded.policy.operators == ("@op:example.org",)
    assert loaded.host.name == "web-1"
    assert fault(tmp_path, GOOD, TIBET_NC_ROOM="#a").startswith(" with TIBET_NC_ROOM: policy.rooms")
    told = fault(tmp_path, "policy = 5\n", TIBET_NC_ROOM="!a:example.org")
    assert told.startswith(" with TIBET_NC_ROOM: policy: Expected `object`")


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    """No file, or something else in its place: one line."""
    with pytest.raises(ConfigError, match="there is no such file; deploy/executor"):
        config.load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path, {})


def test_accounts_are_looked_up_by_name() -> None:
    """A name becomes the machine's number, a number stays, and nobody's name is an error."""
    assert config.uid_of("root", "agent.user") == config.gid_of("root", "agent.user") == 0
    assert config.group_id("root", "shell.groups") == 0
    assert config.uid_of(7, "agent.user") == config.gid_of(7, "agent.user") == 7
    for look in (config.uid_of, config.gid_of, config.group_id):
        with pytest.raises(ConfigError, match=r"\Athe\.key: there is no (user|group) 'no-such'"):
            look("no-such", "the.key")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A secret key is its owner's alone, a whole one, no link, and in no error text (I10)."""
    path = tmp_path / "executor.key"
    with pytest.raises(ConfigError, match="no key; make one with"):
        config.read_key(path)
    path.write_text("ab" * 32 + "\n")
    path.chmod(0o600)
    assert config.read_key(path) == bytes.fromhex("ab" * 32)
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="others can read this key"):
        config.read_key(path)
    assert config.read_key(path, private=False) == bytes.fromhex("ab" * 32)
    path.write_text("secret, no key")
    with pytest.raises(ConfigError) as caught:
        config.read_key(path, private=False)
    assert "secret" not in str(caught.value)
    os.symlink(path, tmp_path / "link")
    with pytest.raises(ConfigError, match="symbolic links"):
        config.read_key(tmp_path / "link")
