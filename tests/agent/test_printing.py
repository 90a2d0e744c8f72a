# SPDX-License-Identifier: MIT
"""The program's verbs where their standard output takes nothing."""

import sys
from pathlib import Path

import pytest

from tests.redirected import CLOSED, FULL, redirected

PROGRAM = (sys.executable, "-I")

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


@pytest.mark.parametrize(("where", "why"), [FULL, CLOSED], ids=["full", "closed"])
@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_takes_nothing(settings: Path, verb: str, where: str, why: str) -> None:
    """What can't be written is one line and status 2, and nothing that was checked is bad."""
    more_than_is_gathered = "ls\n" * 1000
    (settings.parent / "lines").write_text(more_than_is_gathered)
    program = [*PROGRAM, "-m", "tibet_nc_agent", "--config", str(settings)]
    done = redirected(where, [*program, *VERBS[verb]], cwd=settings.parent)
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
    done = redirected(FULL[0], [*PROGRAM, "-c", script])
    assert (done.returncode, done.stderr) == (1, "that\n")
