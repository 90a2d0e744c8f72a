# SPDX-License-Identifier: MIT
"""The program's verbs where their standard output takes nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

VERBS = {
    "help": ["--help"],
    "the version": ["--version"],
    "help for a verb": ["login", "--help"],
    "a verdict": ["explain", "ls"],
    "its JSON": ["explain", "--json", "ls"],
    "verdicts of a file": ["explain", "--lines", "lines"],
    "operators": ["operators"],
    "their JSON": ["operators", "--json"],
    "identity": ["identity"],
    "doctor": ["doctor"],
    "the doctor's JSON": ["doctor", "--json"],
}


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Write settings for an agent whose homeserver isn't there."""
    path = tmp_path / "agent.toml"
    path.write_text(f"""\
[matrix]
homeserver = "http://127.0.0.1:9"
user_id = "@agent:example.org"
rooms = ["!room:example.org"]
[operators]
file = "{tmp_path}/operators.toml"
[state]
directory = "{tmp_path}/state"
""")
    return path


@pytest.mark.parametrize(
    ("where", "why"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
    ids=["full", "closed"],
)
@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_takes_nothing(settings: Path, verb: str, where: str, why: str) -> None:
    """What can't be written is one line and status 2, and nothing that was checked is bad."""
    program = [sys.executable, "-I", "-m", "tibet_nc_agent", "--config", str(settings)]
    (settings.parent / "lines").write_text(
        "ls\n" * 1000
    )  # more than is gathered before it's written
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {where}', "sh", *program, *VERBS[verb]],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd=settings.parent,
    )
    said = f"tibet-nc-agent: standard output: {why}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_a_fault_before_is_the_one_to_tell() -> None:
    """Who fails after something was printed tells its own fault."""
    script = """
import sys
from tibet_nc_agent.printing import standard_output
try:
    with standard_output():
        print("this")
        raise LookupError("that")
except LookupError as error:
    sys.exit(str(error))
"""
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-I", "-c", script],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert (done.returncode, done.stderr) == (1, "that\n")
