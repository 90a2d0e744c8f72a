# SPDX-License-Identifier: MIT
"""A chain goes on with another key, which the old one has signed into it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import written
from tests.executor.rig import Connect, Executor, records
from tibet_nc_protocol.records import Genesis, Key, Security
from tibet_nc_protocol.signing import PublicKey


async def test_the_chain_goes_on_with_another_key(executor: Executor, connect: Connect) -> None:
    """The old key signs the new one into the chain, which verifies from the first key on."""
    client = await connect(executor)
    await client.run("true")
    await client.close()
    executor.stop()
    first = executor.key
    new = PublicKey.from_hex(executor.verb("identity", "--rotate").split()[-1])
    assert new != first
    executor.start()
    executor.key = new
    client = await connect(executor)
    await client.run("true")
    executor.key = first
    kinds = [type(record).__name__ for record in records(executor)]
    assert kinds.count("Key") == 1
    assert kinds[-2:] == ["Intent", "Outcome"]


async def test_a_key_is_changed_as_often_as_asked(executor: Executor) -> None:
    """Each new key is signed into the chain by the one before, also right after it."""
    executor.stop()
    first = executor.key
    for _ in range(2):
        executor.key = PublicKey.from_hex(executor.verb("identity", "--rotate").split()[-1])
    with executor:
        pass
    executor.key = first
    kinds = [type(record).__name__ for record in records(executor)]
    assert kinds.count("Key") == 2


async def test_a_change_of_key_needs_a_chain_and_cuts_what_is_torn(place: Path) -> None:
    """Without a record nothing could attest another key; a torn line is cut off, on record."""
    executor = Executor(place)
    key = (executor.state / "executor.key").read_bytes()
    chain = executor.state / "chain"
    for torn in (None, b"", b'{"agent":'):  # what a start leaves that is cut short
        if torn is not None:
            chain.mkdir(exist_ok=True)
            (chain / "000000000000.jsonl").write_bytes(torn)
        with pytest.raises(AssertionError, match="there is no chain yet"):
            executor.verb("identity", "--rotate")
        assert (executor.state / "executor.key").read_bytes() == key
        assert not (executor.state / "executor.key.new").exists()
    shutil.rmtree(chain)
    executor.start()
    executor.kill()
    with (executor.state / "chain" / "000000000000.jsonl").open("ab") as file:
        file.write(b'{"torn')
    first = executor.key
    executor.verb("identity", "--rotate")
    assert (executor.state / "executor.key").read_bytes() != key
    with executor:
        pass
    kinds = [type(record) for record in written.whole_chain(executor.state, first)]
    assert kinds[:3] == [Genesis, Security, Key]


def _as_root(executor: Executor, *verb: str) -> subprocess.CompletedProcess[str]:
    """Run a verb without becoming the executor's uid first."""
    program = executor.argv()[executor.argv().index(sys.executable) :]
    return subprocess.run([*program, *verb], capture_output=True, text=True, check=False, cwd="/")


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, which is not the executor")
async def test_keys_are_made_by_who_has_to_read_them(executor: Executor) -> None:
    """Root is told as whom to run it, and leaves no file that the executor can't read."""
    executor.stop()
    before = sorted(executor.state.iterdir())
    key = (executor.state / "executor.key").read_bytes()
    for verb in (["identity", "--rotate"], ["init"]):
        done = _as_root(executor, *verb)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert f"belongs to {executor.uids.executor}; run this as that user" in done.stderr
    assert sorted(executor.state.iterdir()) == before
    assert (executor.state / "executor.key").read_bytes() == key
    with executor:
        pass


async def test_a_key_that_can_not_be_written_is_one_line(executor: Executor) -> None:
    """Where no new key can be written, or none is there to change, that is said, and all stays."""
    executor.stop()
    key = executor.state / "executor.key"
    executor.state.chmod(0o500)
    with pytest.raises(AssertionError, match=r"\Atibet-nc-executor: .*: Permission denied\n"):
        executor.verb("identity", "--rotate")
    executor.state.chmod(0o700)
    assert not (executor.state / "executor.key.new").exists()
    key.rename(executor.state / "elsewhere")
    with pytest.raises(AssertionError, match="a credential is changed where it is"):
        executor.verb("identity", "--rotate")
    (executor.state / "elsewhere").rename(key)
    with executor:
        pass


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
@pytest.mark.parametrize("verb", [["init"], ["identity", "--rotate"]])
@pytest.mark.parametrize("fault", ["fsync:error=EIO:when=1", "fsync:error=EIO:when=2"])
def test_a_disk_that_fails_is_named(executor: Executor, verb: list[str], fault: str) -> None:
    """Where a key or its name doesn't get to the disk, one line says of which file."""
    executor.stop()
    if verb == ["init"]:
        shutil.rmtree(executor.state / "chain")
        (executor.state / "executor.key").unlink()
    told = _refused([*executor.argv(), *verb], fault)
    assert re.fullmatch(
        rf"tibet-nc-executor: {executor.state}(/executor\.key(\.new)?)?: Input/output error\n", told
    )


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to trace")
def test_a_public_key_that_finds_no_place_is_named(executor: Executor) -> None:
    """It is named as it was given, and not by what it is written to before."""
    missing = executor.directory / "missing" / "public"
    told = _refused([*executor.argv(), "init", "--public-key-file", str(missing)])
    assert told == f"tibet-nc-executor: {missing}: No such file or directory\n"


def _refused(argv: list[str], fault: str | None = None) -> str:
    """Run a verb that must end with status 2, with a fault as strace writes it; return its line."""
    tracer = (
        [] if fault is None else ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={fault}"]
    )
    done = subprocess.run([*tracer, *argv], capture_output=True, text=True, check=False, cwd="/")
    assert done.returncode == 2, done.stderr
    return done.stderr


async def test_a_chain_gets_no_key_but_its_own(executor: Executor) -> None:
    """Where the key of a chain is lost no other is made, and what to do is said instead."""
    executor.stop()
    key = executor.state / "executor.key"
    key.rename(executor.state / "elsewhere")
    for verb in ("init", "identity"):
        with pytest.raises(AssertionError, match="goes on with its own only"):
            executor.verb(verb)
    done = subprocess.run(
        [*executor.argv(), "doctor"], capture_output=True, text=True, check=False, cwd="/"
    )
    (told,) = [line for line in done.stdout.splitlines() if line.startswith("FAIL  key: ")]
    assert "init" not in told
    assert told.count("goes on with its own only") == 1
    assert not key.exists()
    (executor.state / "elsewhere").rename(key)
    with executor:
        pass


async def test_an_interrupted_change_of_key_is_finished_by_doing_it_again(
    executor: Executor,
) -> None:
    """After a crash between the record and the file, the same new key is used, not a third."""
    executor.stop()
    old = (executor.state / "executor.key").read_bytes()
    executor.verb("identity", "--rotate")
    new = (executor.state / "executor.key").read_bytes()
    for name, data in (("executor.key", old), ("executor.key.new", new)):
        (executor.state / name).write_bytes(data)
        (executor.state / name).chmod(0o600)
        os.chown(executor.state / name, executor.uids.executor, executor.uids.executor)
    with pytest.raises(AssertionError, match="goes on with key"):
        executor.start()
    executor.verb("identity", "--rotate")
    assert (executor.state / "executor.key").read_bytes() == new
    assert not (executor.state / "executor.key.new").exists()
    executor.start()
    assert [type(r).__name__ for r in records(executor)].count("Key") == 1
