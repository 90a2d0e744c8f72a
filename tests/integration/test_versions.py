# SPDX-License-Identifier: MIT
"""The four parts are released together."""

import subprocess
from importlib.metadata import requires, version
from pathlib import Path

import pytest

import tibet_nc_agent
import tibet_nc_audit
import tibet_nc_executor

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = (tibet_nc_agent, tibet_nc_audit, tibet_nc_executor)


def test_all_parts_have_one_version_and_want_it_of_each_other() -> None:
    """What the programs say, what is installed, what they depend on: it is the same number."""
    own = version("tibet-nc-protocol")
    assert {program.VERSION for program in PROGRAMS} == {own}
    for part in ("agent", "audit", "executor"):
        assert version(f"tibet-nc-{part}") == own
        wanted = [line for line in requires(f"tibet-nc-{part}") or [] if "tibet-nc-" in line]
        assert wanted == [f"tibet-nc-protocol=={own}"]


UNUSED = {"executor": {"email", "zipfile"}, "agent": {"cffi", "pycparser"}}


@pytest.mark.parametrize("part", UNUSED)
def test_a_daemon_does_not_carry_what_it_does_not_use(part: str) -> None:
    """The executor's start imports neither mail nor archives, the agent's no parser of C."""
    python = ROOT / f".venv/{part}/bin/python"
    code = f"import sys, tibet_nc_{part}.service; print({UNUSED[part]} & sys.modules.keys())"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
