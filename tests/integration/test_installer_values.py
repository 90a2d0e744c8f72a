# SPDX-License-Identifier: MIT
"""What the installer is told, before it looks at the machine or changes anything."""

import subprocess
from pathlib import Path

import pytest

from tibet_nc_agent import config
from tibet_nc_agent.config_error import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def refused(*arguments: str) -> str:
    """Return the one line with which a dry run of the installer ends."""
    done = subprocess.run(
        [ROOT / "deploy/install.sh", "--dry-run", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    return line.removeprefix("install.sh: ")


WRONG = {
    "--homeserver": ("matrix.example.org", "is no URL, such as https://"),
    "--user-id": ("web1", "is no Matrix user, such as @"),
    "--operator": ("you:example.org", "is no Matrix user, such as @"),
    "--room": ("#ops:example.org", "is no room's id: that is in the room's settings"),
}


@pytest.mark.parametrize("option", WRONG)
def test_value_that_no_daemon_takes_is_refused(option: str) -> None:
    """Settings are never overwritten, so a wrong value must not get into them."""
    value, told = WRONG[option]
    assert f"'{value}' {told}" in refused(option, value)
    assert refused("--room", "!room", option, value) == refused(option, value)


SETTINGS = """\
[matrix]
homeserver = "{homeserver}"
user_id = "{user_id}"
rooms = ["{room}"]
[operators]
allowed = ["{operator}"]
[host]
name = "web1"
"""
GOOD = {
    "homeserver": "https://matrix.example.org",
    "user_id": "@web1:example.org",
    "room": "!room:example.org",
    "operator": "@you:example.org",
}
ASKED = [
    *(("homeserver", f"http://{host}") for host in ("localhost:8008", "127.0.0.1", "[::1]:8008/")),
    *(("homeserver", f"http://{host}") for host in ("LOCALHOST", "localhost/matrix", "localhost:")),
    *(("homeserver", f"HTTP{more}") for more in ("S://Matrix.Example.org:8448/", "://localhost")),
    *(("homeserver", f"https://{more}") for more in ("[2001:db8::1]:8448", "xn--e1afmkfd.example")),
    *(("homeserver", f"https://{more}") for more in ("", "/", ":8448", "a:0", "a:65536", "a:b")),
    *(("homeserver", f"https://{more}") for more in ("a?b", "a#b", "a@b", "a:b@c", "[::1", "::1")),
    *(("homeserver", f"{scheme}://localhost") for scheme in ("ftp", "httpss", "xhttp")),
    *(("homeserver", f"http://{host}") for host in ("matrix.example.org", "0.0.0.0", "127.0.0.2")),
    *(("homeserver", f"http://localhost{more}") for more in (".example.org:8008", "@b", ":8008@b")),
    *((name, f"{GOOD[name]} ") for name in ("user_id", "room", "operator")),
    *((name, f"{GOOD[name]}\u00e9") for name in ("user_id", "room", "operator")),
    *((name, GOOD[name] + "x" * 255) for name in ("user_id", "room", "operator")),
]


@pytest.mark.parametrize(("name", "value"), ASKED)
def test_what_the_agent_refuses_is_refused_before(tmp_path: Path, name: str, value: str) -> None:
    """What gets into the settings is what the agent takes at its start, and all of that does."""
    settings = tmp_path / "agent.toml"
    settings.write_text(SETTINGS.format(**GOOD | {name: value}))
    option = f"--{name.replace('_', '-')}"
    said = refused(option, value, "--room", "#ops:example.org")
    told = ""
    try:
        config.load(settings, {}, required=True)
    except ConfigError as error:
        told = str(error)
    assert ("#ops:example.org" in said) == (told == "")
    here = "http is only for a server on this very machine"
    assert (here in said) == (here in told)


def test_old_environment_file_is_checked_as_well(tmp_path: Path) -> None:
    """What stands between the commas of an old file is looked at, too."""
    file = tmp_path / "env"
    file.write_text('TIBET_NC_ROOM="!one, #two:example.org"\n')
    assert refused("--from-env", str(file)).startswith("'#two:example.org' is no room's id")


@pytest.mark.parametrize("name", ["web 1", "-web1", "web1:9", "w" * 65])
def test_old_name_of_the_host_is_checked_as_well(tmp_path: Path, name: str) -> None:
    """A name that the agent would refuse at its start isn't taken from an old file."""
    file = tmp_path / "env"
    file.write_text(f"TIBET_NC_HOSTNAME={name}\nMATRIX_HOMESERVER=http://localhost\n")
    assert refused("--from-env", str(file)).startswith(f"TIBET_NC_HOSTNAME: '{name}' is no host")
    settings = tmp_path / "agent.toml"
    settings.write_text(SETTINGS.format(**GOOD).replace('web1"', f'{name}"'))
    with pytest.raises(ConfigError, match=r"host\.name"):
        config.load(settings, {}, required=True)


@pytest.mark.parametrize("value", ['a"b', "a\\b", "a\tb", ""])
@pytest.mark.parametrize("option", [*WRONG, "--from-env"])
def test_value_that_could_end_its_string_is_refused(option: str, value: str) -> None:
    """Nothing that is given becomes another setting than its own."""
    assert refused(option, value).startswith(f"{option}: not a value that can be: ")


def test_old_environment_file_is_not_run(tmp_path: Path) -> None:
    """What a shell would carry out is a value as any other, and refused as one if it can't be."""
    file, made = tmp_path / "env", tmp_path / "made"
    file.write_text(f"TIBET_NC_ROOM=$(touch {made})\n")
    assert refused("--from-env", str(file)).startswith(f"'$(touch{made})' is no room's id")
    assert not made.exists()
    file.write_text("TIBET_NC_ROOM='!a\"'\n")
    assert refused("--from-env", str(file)).startswith(f"{file}: TIBET_NC_ROOM: not a value")
