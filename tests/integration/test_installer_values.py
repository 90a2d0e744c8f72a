# SPDX-License-Identifier: MIT
"""What the installer is told, before it looks at the machine or changes anything."""

import subprocess
from pathlib import Path

import pytest

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


def test_plain_http_goes_to_this_machine_only() -> None:
    """The agent refuses to send its token in the clear, so the installer does before."""
    for elsewhere in ("http://matrix.example.org", "http://localhost.example.org:8008"):
        assert "http is only for a server on this very machine" in refused(
            "--homeserver", elsewhere
        )
    for here in ("http://localhost:8008", "http://127.0.0.1", "http://[::1]:8008/"):
        assert "is no room's id" in refused("--homeserver", here, "--room", "#ops:example.org")


def test_old_environment_file_is_checked_as_well(tmp_path: Path) -> None:
    """What stands between the commas of an old file is looked at, too."""
    file = tmp_path / "env"
    file.write_text('TIBET_NC_ROOM="!one, #two:example.org"\n')
    assert refused("--from-env", str(file)).startswith("'#two:example.org' is no room's id")


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
