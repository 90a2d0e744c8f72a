# SPDX-License-Identifier: MIT
"""The program's verbs where their standard output takes nothing."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.rig import Executor

VERBS = {
    "help": ["--help"],
    "the version": ["--version"],
    "help for a verb": ["doctor", "--help"],
    "init": ["init"],
    "identity": ["identity"],
    "its document": ["identity", "--json"],
    "doctor": ["doctor"],
    "its JSON": ["doctor", "--json"],
}


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    """Make an executor that isn't started."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-") as name:
        yield Executor(Path(name))


@pytest.mark.parametrize(
    ("where", "why"),
    [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")],
    ids=["full", "closed"],
)
@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_takes_nothing(executor: Executor, verb: str, where: str, why: str) -> None:
    """What can't be written is one line and status 2, and nothing that was checked is bad."""
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {where}', "sh", *executor.argv(), *VERBS[verb]],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )
    said = f"tibet-nc-executor: standard output: {why}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_an_output_that_is_not_gathered(executor: Executor) -> None:
    """Each line may fail where lines are written one by one."""
    *program, module, name, config, path = executor.argv()
    argv = [*program, "-u", module, name, config, path, "doctor"]
    done = subprocess.run(
        ["/bin/sh", "-c", 'exec "$@" >/dev/full', "sh", *argv],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        cwd="/",
    )
    said = "tibet-nc-executor: standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (2, said)


def test_a_fault_before_is_the_one_to_tell(executor: Executor) -> None:
    """A verb that fails after it has printed tells its own fault."""
    missing = executor.directory / "missing" / "key"
    argv = [*executor.argv(), "init", "--public-key-file", str(missing)]
    key = executor.state / "executor.key"
    kept = key.read_bytes()
    key.unlink()
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" >/dev/full', "sh", *argv],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            cwd="/",
        )
    finally:
        key.write_bytes(kept)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("tibet-nc-executor: ")
    assert "No such file or directory" in line
