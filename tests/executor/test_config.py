# SPDX-License-Identifier: MIT
"""The executor's settings: a wrong one is one line that says where, what, and names no secret."""

import os
import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from tibet_nc_executor import config
from tibet_nc_executor.environment import environment
from tibet_nc_executor.errors import ConfigError
from tibet_nc_executor.service import shell_settings

GOOD = '[policy]\nrooms = ["!room:example.org"]\n'
EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "executor.toml"


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
        (GOOD + "[shel]\n", ": shel: no such setting; right would be one of [agent], [shell], "),
        (GOOD + "[shell]\nidle = 5\n", ": shell.idle: no such setting; right would be one of user"),
        (
            GOOD + '[host]\n"a\\nb" = 5\n',
            ": host.a\\nb: no such setting; right would be one of name",
        ),
        (
            GOOD + '[shell]\n"a` - at `$.b" = 5\n',
            ": shell.a` - at `$.b: no such setting; right would be one of user",
        ),
        ('"a` - at `$.b" = 5\n', ": a` - at `$.b: no such setting; right would be one of [agent]"),
        (
            GOOD + '[audit]\ncommand_text = "a` - at `$.b"\n',
            ": audit.command_text: Invalid enum value 'a` - at `$.b'; right would be",
        ),
        (GOOD + '[shell]\nidle_s = "5"\n', ": shell.idle_s: Expected `int`"),
        (GOOD + "[shell]\nidle_s = 0\n", ": shell.idle_s: Expected `int` >= 1"),
        (GOOD + "[shell]\nrows = 501\n", ": shell.rows: Expected `int` <= 500"),
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
        ("a = " + 5000 * "[", ": not TOML: "),
        ("a = " + 5000 * "9", ": not TOML: "),
        (GOOD + "timebox_s = 3601\n", ": policy.timebox_s: Expected `int` <= 3600"),
        (GOOD + '[state]\ndirectory = "state"\n', ": state.directory: not of the right form"),
        (GOOD + '[state]\ndirectory = ""\n', ": state.directory: not of the right form"),
        (GOOD + '[agent]\nkey_file = "/a\\u0000b"\n', ": agent.key_file: not of the right form"),
        (GOOD + 'operators_file = "pins"\n', ": policy.operators_file: not of the right form"),
        (GOOD + '[socket]\npath = "run/s"\n', ": socket.path: not of the right form"),
        (GOOD + f'[socket]\npath = "/{"s" * 107}"\n', ": socket.path: Expected `str` of length"),
        (GOOD + '[shell]\nhome = "~"\n', ": shell.home: not of the right form; right would be an"),
        (GOOD + '[shell]\npath = "/bin:"\n', ": shell.path: not of the right form"),
        (GOOD + '[shell]\npath = "/bin:."\n', ": shell.path: not of the right form"),
        (GOOD + '[shell]\nuser = "a\\u0000b"\n', ": shell.user: not of the right form"),
        (GOOD + "[shell]\nuser = -1\n", ": shell.user: Expected `int` >= 0"),
        (GOOD + "[shell]\nuser = 4294967295\n", ": shell.user: Expected `int` <= 4294967294"),
        (GOOD + "[shell]\ngroups = [4294967295]\n", ": shell.groups: Expected `int` <= "),
        (GOOD + "[shell]\nprocesses = 4194305\n", ": shell.processes: Expected `int` <= 4194304"),
        (GOOD + f"[shell]\ntotal_s = {2**53}\n", f": shell.total_s: Expected `int` <= {2**53 - 1}"),
        (GOOD + f"[recordings]\nkeep_days = {2**53}\n", ": recordings.keep_days: Expected `int`"),
        (GOOD + "[audit]\ncheckpoint_records = 9\n", ": audit.checkpoint_records: Expected `int`"),
        (GOOD + "[audit]\nsegment_bytes = 4095\n", ": audit.segment_bytes: Expected `int` >= 4096"),
        (GOOD + '[host]\nname = "web\\n1"\n', ": host.name: not of the right form"),
        (GOOD + f'[host]\nname = "{"w" * 256}"\n', ": host.name: Expected `str` of length <= 255"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, told: str) -> None:
    """File, key, what is wrong and what would be right stand in one line."""
    found = fault(tmp_path, text)
    assert found.startswith(told)
    assert "not TOML" in told or "; right would be " in found


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
    commas = config.load(
        path, {"TIBET_NC_ALLOWED_USERS": " @op:example.org, ,", "TIBET_NC_ROOM": " "}
    )
    assert commas.policy.operators == ("@op:example.org",)
    assert commas.policy.rooms == ("!room:example.org",)
    told = fault(tmp_path, GOOD, TIBET_NC_ROOM="#a", TIBET_NC_HOSTNAME="web-1")
    assert told.startswith(" with TIBET_NC_ROOM, TIBET_NC_HOSTNAME: policy.rooms: not of the right")
    told = fault(tmp_path, GOOD, TIBET_NC_HOSTNAME="web\udcff")  # a byte that is not UTF-8
    assert told.startswith(" with TIBET_NC_HOSTNAME: host.name: not of the right form")
    assert fault(tmp_path, GOOD, TIBET_NC_ROOM="#a").startswith(" with TIBET_NC_ROOM: policy.rooms")
    told = fault(tmp_path, "policy = 5\n", TIBET_NC_ROOM="!a:example.org")
    assert told.startswith(" with TIBET_NC_ROOM: policy: Expected `object`")


def test_a_file_that_can_not_be_read_is_told(tmp_path: Path) -> None:
    """No file, or something else in its place: one line."""
    with pytest.raises(ConfigError, match="there is no such file; deploy/executor"):
        config.load(tmp_path / "none.toml", {})
    with pytest.raises(ConfigError, match="Is a directory"):
        config.load(tmp_path, {})
    (tmp_path / "latin.toml").write_bytes(b"# \xff\n")
    with pytest.raises(ConfigError, match="not TOML"):
        config.load(tmp_path / "latin.toml", {})


def test_accounts_are_looked_up_by_name() -> None:
    """A name becomes the machine's number, a number stays, and nobody's name is an error."""
    assert config.uid_of("root", "agent.user") == config.gid_of("root", "agent.user") == 0
    assert config.group_id("root", "shell.groups") == 0
    assert config.uid_of(7, "agent.user") == config.gid_of(7, "agent.user") == 7
    for look in (config.uid_of, config.gid_of, config.group_id):
        with pytest.raises(ConfigError, match=r"\Athe\.key: there is no (user|group) 'no-such'"):
            look("no-such", "the.key")


@pytest.mark.parametrize("user", ["nobody", 65534])
def test_commands_are_told_the_account_that_they_run_as(user: str | int) -> None:
    """USER and LOGNAME are those of shell.user, also when it is given by number."""
    values = {"shell": {"user": user}, "policy": {"rooms": ["!room:example.org"]}}
    variables = environment(shell_settings(config.parse(values, "")), None)
    assert (variables["USER"], variables["LOGNAME"]) == ("nobody", "nobody")


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
    for wrong in ("secret, no key", "", "ab" * 31, "ab" * 33, "ab" * 32 + " " * 17 + "more"):
        path.write_text(wrong)
        with pytest.raises(ConfigError) as caught:
            config.read_key(path, private=False)
        assert str(caught.value) == f"{path}: not a key; 64 hexadecimal digits are expected"
    os.symlink(path, tmp_path / "link")
    with pytest.raises(ConfigError, match="symbolic links"):
        config.read_key(tmp_path / "link")


def test_a_credential_goes_before_the_file(tmp_path: Path) -> None:
    """Where systemd passes a key, that is the key, guarded by systemd; none else is looked for."""
    passed, state = tmp_path / "credentials", tmp_path / "state"
    settings = config.parse(
        {"policy": {"rooms": ["!room:example.org"]}, "state": {"directory": str(state)}}, "here"
    )
    for folder, digits in ((passed, "cd"), (state, "ab")):
        folder.mkdir()
        (folder / "executor.key").write_text(digits * 32)
        (folder / "executor.key").chmod(0o600)
    (passed / "executor.key").chmod(0o440)
    variables = {"CREDENTIALS_DIRECTORY": str(passed)}
    assert config.secret_key(settings, {}) == bytes.fromhex("ab" * 32)
    assert config.secret_key(settings, variables) == bytes.fromhex("cd" * 32)
    (passed / "executor.key").unlink()
    with pytest.raises(ConfigError, match="no key"):
        config.secret_key(settings, variables)


def test_the_example_has_every_setting_and_its_default() -> None:
    """deploy/executor.toml hides no setting, and what is off in it is what holds without it."""
    off = re.compile(r"^# (?=\[\w+\]$|\w+ = )", re.MULTILINE)
    written = tomllib.loads(off.sub("", EXAMPLE.read_text()))
    live = tomllib.loads(EXAMPLE.read_text())
    defaults = msgspec.to_builtins(config.Config())
    assert {name: set(section) for name, section in written.items()} == {
        name: set(section) for name, section in defaults.items()
    }
    others = {
        f"{name}.{key}"
        for name, section in written.items()
        for key, value in section.items()
        if value != defaults[name][key] and (name, key) != ("policy", "rooms")  # needed, and empty
    }
    assert others == {"policy.operators", "shell.groups", "host.name", "walls.accepted"}
    assert {name: set(section) for name, section in live.items() if section} == {
        "policy": {"rooms"},
        "shell": {"groups"},
    }
    written["policy"]["rooms"] = ["!room:example.org"]
    config.parse(written, "the example")
