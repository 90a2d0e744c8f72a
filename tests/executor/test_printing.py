# SPDX-License-Identifier: MIT
"""The program's verbs where their standard output takes nothing."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.rig import Client, Executor, records
from tests.redirected import CLOSED, FULL, redirected
from tibet_nc_protocol.messages import Finished
from tibet_nc_protocol.records import Security

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
    """Make an executor that has a chain and doesn't run."""
    with (
        tempfile.TemporaryDirectory(prefix="tibet-nc-") as name,
        Executor(Path(name)) as made,
    ):
        made.stop()
        yield made


@pytest.mark.parametrize(("where", "why"), [FULL, CLOSED], ids=["full", "closed"])
@pytest.mark.parametrize("verb", VERBS)
def test_an_output_that_takes_nothing(executor: Executor, verb: str, where: str, why: str) -> None:
    """What can't be written is one line and status 2, and nothing that was checked is bad."""
    done = redirected(where, [*executor.argv(), *VERBS[verb]])
    said = f"tibet-nc-executor: standard output: {why}\n"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", said)


def test_an_output_that_is_not_gathered(executor: Executor) -> None:
    """Each line may fail where lines are written one by one."""
    *program, module, name, config, path = executor.argv()
    where, why = FULL
    done = redirected(where, [*program, "-u", module, name, config, path, "doctor"])
    assert (done.returncode, done.stderr) == (2, f"tibet-nc-executor: standard output: {why}\n")


def test_a_fault_before_is_the_one_to_tell(executor: Executor) -> None:
    """A verb that fails after it has printed tells its own fault."""
    missing = executor.directory / "missing" / "key"
    argv = [*executor.argv(), "init", "--public-key-file", str(missing)]
    key, chain = executor.state / "executor.key", executor.state / "chain"
    kept = key.read_bytes()
    key.unlink()
    aside = chain.rename(executor.state / "aside")  # beside one no key is made
    try:
        done = redirected(FULL[0], argv)
    finally:
        aside.rename(chain)
        key.write_bytes(kept)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("tibet-nc-executor: ")
    assert "No such file or directory" in line


def test_a_key_that_nobody_is_shown(executor: Executor) -> None:
    """A key is changed although the new one can't be shown; who asks again sees it."""
    before = executor.verb("identity")
    where, why = FULL
    done = redirected(where, [*executor.argv(), "identity", "--rotate"])
    assert done.returncode == 2
    assert done.stderr.endswith(f"tibet-nc-executor: standard output: {why}\n")
    assert executor.verb("identity") != before


async def test_a_text_is_erased_though_nobody_is_told() -> None:
    """What was asked for is done before it is said."""
    with (
        tempfile.TemporaryDirectory(prefix="tibet-nc-") as name,
        Executor(Path(name)) as running,
    ):
        client = await Client.connect(running)
        finished = await client.run("echo s3cret")
        await client.close()
        assert isinstance(finished, Finished)
        erase = ["erase", str(finished.number), "--reason", "pasted"]
        where, why = FULL
        done = await asyncio.to_thread(redirected, where, [*running.argv(), *erase])
        said = f"tibet-nc-executor: standard output: {why}\n"
        assert (done.returncode, done.stderr) == (2, said)
        erased = [record.number for record in records(running) if isinstance(record, Security)]
        assert erased == [finished.number]
