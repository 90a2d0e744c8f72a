# SPDX-License-Identifier: MIT
"""Settings: what is right works, and what is wrong is one line that says where and what instead."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path

import msgspec
import pytest

from tibet_nc_agent import config
from tibet_nc_agent.config import Config
from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.secret import Secret

GOOD = """\
[matrix]
homeserver = "https://matrix.example.org/"
user_id = "@bot:example.org"
rooms = ["!one:example.org", "!two"]
[operators]
allowed = ["@op:example.org"]
[host]
name = "web1"
"""

SECRET = "syt_c2VjcmV0_token"
EXAMPLE = Path(__file__).resolve().parents[2] / "deploy" / "agent.toml"


def load(text: str, directory: Path, environ: Mapping[str, str] | None = None) -> Config:
    """Load a settings file with this text."""
    path = directory / "agent.toml"
    path.write_text(text)
    return config.load(path, environ or {}, required=True)


def changed(key: str, line: str) -> str:
    """Return the good settings with the line of one key replaced, or put under its section."""
    section, name = key.split(".")
    lines = [text for text in GOOD.splitlines() if not text.startswith(f"{name} ")]
    if f"[{section}]" not in lines:
        lines.append(f"[{section}]")
    lines.insert(lines.index(f"[{section}]") + 1, line)
    return "\n".join(lines)


def test_good_settings(tmp_path: Path) -> None:
    """What is said is taken, what isn't has its default, and the first room is the dedicated."""
    settings = load(GOOD, tmp_path)
    assert settings == Config(
        homeserver="https://matrix.example.org",
        proxy=None,
        user_id="@bot:example.org",
        rooms=("!one:example.org", "!two"),
        dedicated_room="!one:example.org",
        device_name="tibet-nc",
        operators_file=Path("/etc/tibet-nc/operators.toml"),
        allowed=frozenset({"@op:example.org"}),
        timebox_ms=30_000,
        socket=Path("/run/tibet-nc/executor.sock"),
        executor_key_file=Path("/etc/tibet-nc/executor.pub"),
        executor_uid=None,
        rules_file=None,
        state=Path("/var/lib/tibet-nc-agent"),
        host="web1",
        emission_base=None,
        emission_proxy=None,
        accepted_walls=frozenset(),
        access_token=None,
        password=None,
    )


def test_without_a_list_every_pinned_operator_counts(tmp_path: Path) -> None:
    """The settings need not name the operators: then the pins alone say who commands."""
    settings = load(GOOD.replace('[operators]\nallowed = ["@op:example.org"]\n', ""), tmp_path)
    assert settings.allowed == frozenset()


WRONG = {
    "emission.base_url": [
        "base_url = 7",
        'base_url = "ftp://tibet.example.org"',
        'base_url = "http://tibet.example.org"',
        'base_url = "https://user:password@tibet.example.org"',
        'base_url = "https://tibet.example.org/?key=1"',
    ],
    "emission.proxy": ['proxy = "tibet.example.org"', "proxy = 1"],
    "matrix.homeserver": [
        "homeserver = 7",
        'homeserver = "matrix.example.org"',
        'homeserver = "ftp://matrix.example.org"',
        'homeserver = "http://matrix.example.org"',
        'homeserver = "https://"',
        'homeserver = "https://[bad"',
        'homeserver = "https://user@matrix.example.org"',
        'homeserver = "https://matrix.example.org/?q"',
        'homeserver = "https://matrix.example.org:99999"',
        'homeserver = "https://matrix.example.org:x"',
        'homeserver = "https://matrix.example.org:0"',
    ],
    "matrix.proxy": [
        'proxy = "proxy.example.org:3128"',
        'proxy = "https://proxy.example.org"',
        'proxy = "socks5://proxy.example.org"',
        'proxy = "http://user:secret@proxy.example.org:3128"',
        'proxy = "http://proxy.example.org:3128/path"',
        "proxy = 1",
    ],
    "matrix.user_id": ['user_id = "bot"', "user_id = true", 'user_id = "@a b:example.org"'],
    "matrix.rooms": ["rooms = []", 'rooms = ["#alias:example.org"]', 'rooms = "!one"'],
    "matrix.dedicated_room": ['dedicated_room = "!three"', 'dedicated_room = "three"'],
    "matrix.device_name": ['device_name = ""', f'device_name = "{"x" * 65}"'],
    "matrix.access_token_file": ['access_token_file = "relative"', "access_token_file = 1"],
    "matrix.password_file": ['password_file = "/does/not/exist"'],
    "operators.file": ['file = "operators.toml"', "file = 1"],
    "operators.allowed": ["allowed = []", 'allowed = ["op"]'],
    "airlock.timebox_s": [
        "timebox_s = 0",
        "timebox_s = 601",
        "timebox_s = 1.5",
        'timebox_s = "30"',
    ],
    "airlock.rules_file": ['rules_file = "safety.toml"', "rules_file = 1"],
    "executor.socket": ['socket = "executor.sock"', "socket = 1"],
    "executor.key_file": ['key_file = ""'],
    "executor.user": [
        'user = "no-such-user-here"',
        "user = -1",
        "user = 1.5",
        'user = "a\\u0000b"',
    ],
    "state.directory": ['directory = "state"'],
    "host.name": ['name = ""', 'name = "two words"', 'name = "../up"'],
    "walls.accepted": ['accepted = ["moat"]', 'accepted = "shell"', "accepted = [1]"],
}


@pytest.mark.parametrize(
    ("key", "line"), [(key, line) for key, lines in WRONG.items() for line in lines]
)
def test_wrong_value_is_one_line(key: str, line: str, tmp_path: Path) -> None:
    """A wrong value is told in one line: file, key, what is wrong, what would be right."""
    with pytest.raises(ConfigError) as caught:
        load(changed(key, line), tmp_path)
    text = str(caught.value)
    assert "\n" not in text
    assert caught.value.key == key
    assert caught.value.problem
    source = "/does/not/exist" if "/does" in line else str(tmp_path / "agent.toml")
    assert text.startswith(f"{source}: {key}: ")
    assert "; right would be " in text or "/does" in line


@pytest.mark.parametrize("section", ["matrix", "emission"])
def test_what_stays_on_this_machine_is_given_to_no_proxy(section: str, tmp_path: Path) -> None:
    """A proxy would be told in the clear what goes to a server without https."""
    proxy = 'proxy = "http://proxy.example.org:3128"'
    here = "http://127.0.0.1:8008"
    text = {
        "matrix": GOOD.replace("https://matrix.example.org/", here).replace(
            "[matrix]", f"[matrix]\n{proxy}"
        ),
        "emission": f'{GOOD}[emission]\nbase_url = "{here}"\n{proxy}\n',
    }[section]
    with pytest.raises(ConfigError, match="needs none") as caught:
        load(text, tmp_path)
    assert caught.value.key == f"{section}.proxy"
    settings = load(text.replace(here, "https://matrix.example.org"), tmp_path)
    assert "http://proxy.example.org:3128" in {settings.proxy, settings.emission_proxy}


def test_every_setting_has_a_wrong_value_above() -> None:
    """The table of wrong values leaves no setting out."""
    sections = config._File.__struct_fields__
    known = {f"{section}.{name}" for section in sections for name in config._known(section)}
    assert set(WRONG) == known


@pytest.mark.parametrize(
    ("text", "key", "right"),
    [
        (GOOD + "[nothing]\n", "nothing", "[matrix]"),
        (GOOD.replace("[host]\nname", "[host]\nnome"), "host.nome", "name"),
        (GOOD.replace('user_id = "@bot:example.org"\n', ""), "matrix.user_id", "@tibet-nc:"),
        (
            GOOD.replace("[matrix]", f'[matrix]\naccess_token = "{SECRET}"'),
            "matrix.access_token",
            "",
        ),
    ],
)
def test_missing_and_unknown_settings(text: str, key: str, right: str, tmp_path: Path) -> None:
    """What is missing or unknown is named, and no value is repeated: it may be a secret (I10)."""
    with pytest.raises(ConfigError) as caught:
        load(text, tmp_path)
    assert caught.value.key == key
    assert right in caught.value.right
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "data",
    [b"[matrix", b"\xff\xfe", b"a = 1\na = 2\n", b"a = " + b"[" * 9_000, b"a = " + b"9" * 5_000],
)
def test_not_toml(data: bytes, tmp_path: Path) -> None:
    """A file that is no TOML is told in one line."""
    path = tmp_path / "agent.toml"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"agent\.toml: not TOML: "):
        config.load(path, {}, required=True)


def test_missing_file(tmp_path: Path) -> None:
    """A file that was asked for must be there; the default one need not be."""
    path = tmp_path / "none.toml"
    with pytest.raises(ConfigError, match="no such file"):
        config.load(path, {}, required=True)
    with pytest.raises(ConfigError, match=r"none\.toml: no such file, and no variable"):
        config.load(path, {}, required=False)
    path.touch()
    with pytest.raises(ConfigError, match=r"none\.toml: nothing is set in it, and no variable"):
        config.load(path, {}, required=False)


OLD = {
    "MATRIX_HOMESERVER": "https://old.example.org",
    "TIBET_NC_USER_ID": "@old:example.org",
    "TIBET_NC_ACCESS_TOKEN": SECRET,
    "TIBET_NC_ROOM": "!old:example.org",
    "TIBET_NC_ALLOWED_USERS": "@a:example.org, @b:example.org,",
    "TIBET_NC_HOSTNAME": "old-host",
}


def test_environment_of_the_old_version(tmp_path: Path) -> None:
    """An environment file of tibet-nc 0.1.2 works alone, and overrides a file."""
    alone = config.load(tmp_path / "none.toml", OLD, required=False)
    over = load(GOOD + "[airlock]\ntimebox_s = 5\n", tmp_path, OLD)
    for settings in (alone, over):
        assert settings.homeserver == "https://old.example.org"
        assert settings.user_id == "@old:example.org"
        assert settings.rooms == ("!old:example.org",)
        assert settings.dedicated_room == "!old:example.org"
        assert settings.allowed == {"@a:example.org", "@b:example.org"}
        assert settings.host == "old-host"
        assert settings.access_token is not None
        assert settings.access_token.reveal() == SECRET
    assert over.timebox_ms == 5000


def test_wrong_variable_is_named(tmp_path: Path) -> None:
    """A wrong value from the environment names the variable, not the file."""
    with pytest.raises(
        ConfigError, match=r"\Aenvironment: TIBET_NC_USER_ID: not of the right form"
    ):
        load(GOOD, tmp_path, {"TIBET_NC_USER_ID": "old"})


def test_empty_variable_is_not_set(tmp_path: Path) -> None:
    """An empty variable leaves the file's setting."""
    assert load(GOOD, tmp_path, {"TIBET_NC_USER_ID": ""}).user_id == "@bot:example.org"


def test_secret_from_file_or_credential(tmp_path: Path) -> None:
    """A secret comes from its file, or from systemd's credential when no file is named."""
    for name, text in (("access-token", "from-credential"), ("password", "p\u00e4ss")):
        (tmp_path / name).write_text(text + "\n")
        (tmp_path / name).chmod(0o600)
    (tmp_path / "password").write_text("pass word\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    settings = load(GOOD, tmp_path, environ)
    assert settings.access_token is not None
    assert settings.password is not None
    assert settings.access_token.reveal() == "from-credential"
    assert settings.password.reveal() == "pass word"
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(0o640)
    named = load(changed("matrix.x", f'access_token_file = "{file}"'), tmp_path, environ)
    assert named.access_token is not None
    assert named.access_token.reveal() == SECRET


@pytest.mark.parametrize("mode", [0o604, 0o644, 0o606, 0o620, 0o660, 0o601])
def test_secret_that_others_can_reach_is_refused(mode: int, tmp_path: Path) -> None:
    """A secret file that others can read, or the group can write, is refused (I10)."""
    file = tmp_path / "token"
    file.write_text(SECRET)
    file.chmod(mode)
    with pytest.raises(ConfigError, match="lets others at a secret; right would be chmod 600"):
        load(changed("matrix.x", f'access_token_file = "{file}"'), tmp_path)


@pytest.mark.parametrize("data", [b"", b"\n", b"a\nb\n", b"\xff", b"a\x00b", b"x" * 70_000])
def test_malformed_secret_is_not_repeated(data: bytes, tmp_path: Path) -> None:
    """A secret file that holds something else is refused without a byte of it in the text (I10)."""
    file = tmp_path / "token"
    file.write_bytes(data)
    file.chmod(0o600)
    with pytest.raises(ConfigError) as caught:
        load(changed("matrix.x", f'access_token_file = "{file}"'), tmp_path)
    assert str(caught.value) == (
        f"{file}: matrix.access_token_file: doesn't hold one line of printable ASCII"
    )


def test_secret_does_not_show() -> None:
    """A secret shows in no representation, alone or within the settings (I10)."""
    secret = Secret(SECRET)
    shown = [repr(secret), str(secret), f"{secret}", repr([secret]), repr({"token": secret})]
    assert not [text for text in shown if SECRET in text]


def test_settings_do_not_show_secrets(tmp_path: Path) -> None:
    """The settings as a whole can be printed without showing a secret (I10)."""
    settings = load(GOOD, tmp_path, OLD)
    assert SECRET not in repr(settings)


def test_executor_key(tmp_path: Path) -> None:
    """The executor's key is read from its file; what is no key is told in one line."""
    file = tmp_path / "executor.pub"
    settings = load(changed("executor.key_file", f'key_file = "{file}"'), tmp_path)
    with pytest.raises(ConfigError, match="No such file"):
        config.read_executor_key(settings)
    key = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    file.write_text(key + "\n")
    assert config.read_executor_key(settings).hex == key
    for text in ("", "nonsense", key[:-2], "00" * 32, "\u00e4" * 64):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"executor\.key_file: .*; right would be what"):
            config.read_executor_key(settings)


def test_executor_user_by_name_and_number(tmp_path: Path) -> None:
    """The executor's user is a name of this machine or a number."""
    root = load(changed("executor.user", 'user = "root"'), tmp_path)
    number = load(changed("executor.user", "user = 4711"), tmp_path)
    assert (root.executor_uid, number.executor_uid) == (0, 4711)


def test_host_name_is_the_machines_by_default(tmp_path: Path) -> None:
    """Without a name the host is called what the machine is called."""
    settings = load(GOOD.replace('name = "web1"\n', ""), tmp_path)
    assert settings.host == os.uname().nodename


def test_the_example_has_every_setting_and_its_default() -> None:
    """deploy/agent.toml hides no setting, and what is off in it is what holds without it."""
    off = re.compile(r"^# (?=\[\w+\]$|\w+ = )", re.MULTILINE)
    written = tomllib.loads(off.sub("", EXAMPLE.read_text()))
    assert {f"{name}.{key}" for name, section in written.items() for key in section} == set(WRONG)
    required = {"homeserver": "", "user_id": "@web1:example.org", "rooms": ["!room:example.org"]}
    defaults = msgspec.to_builtins(msgspec.convert({"matrix": required}, config._File))
    others = {
        f"{name}.{key}"
        for name, section in written.items()
        for key, value in section.items()
        if key not in required and defaults[name][key] != value
    }
    assert others == {
        "emission.proxy",
        "matrix.dedicated_room",
        "matrix.password_file",
        "matrix.proxy",
        "matrix.access_token_file",
        "operators.allowed",
        "airlock.rules_file",
        "executor.user",
        "host.name",
        "emission.base_url",
        "walls.accepted",
    }
