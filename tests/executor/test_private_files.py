# SPDX-License-Identifier: MIT
"""What the executor keeps is its own: nobody else's to read, and nobody else's file (I6)."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor import chainkit as kit
from tests.executor.chainkit import IDENTITY
from tests.executor.injection import file_bytes_left
from tests.executor.test_provenance import token
from tibet_nc_executor.archive import Archive
from tibet_nc_executor.durable import write_new
from tibet_nc_executor.errors import LedgerError
from tibet_nc_executor.ledger import Salted
from tibet_nc_executor.provenance import AppendStore
from tibet_nc_executor.recording import Recorder
from tibet_nc_protocol.layout import CHAIN, PAYLOADS, TOKENS, segment_name


@pytest.fixture(autouse=True)
def no_umask() -> Iterator[None]:
    """Let nothing be private because of what was started before."""
    before = os.umask(0)
    yield
    os.umask(before)


async def keep_everything(directory: Path) -> None:
    """Write each kind of file that an executor writes; raises LedgerError or OSError."""
    archive = Archive(
        directory, IDENTITY, clock=time.time, segment_bytes=1 << 20, checkpoint_records=1000
    )
    try:
        await archive.begin(host="host", version="0", agent_key=IDENTITY.public_key)
        text = Salted(salt=bytes(16), command="true")
        intent, _ = await archive.append(kit.intent("$one"), text=text)
        await archive.erase(intent.seq, "to write a file anew", None)
        store = AppendStore(directory / TOKENS)
        store.add(token(0, None, 1))
        store.close()
        recorder = Recorder(
            directory / "recording.cast", title="", columns=80, rows=24, limit_bytes=100
        )
        recorder.feed(b"output")
        recorder.close()
        if recorder.failure is not None:
            raise OSError(recorder.failure)
    finally:
        await archive.close()


async def test_nobody_else_can_read_what_is_kept(tmp_path: Path) -> None:
    """Files are 0600 and directories 0700, whatever the umask."""
    await keep_everything(tmp_path)
    modes = {
        str(path.relative_to(tmp_path)): path.stat().st_mode & 0o777 for path in tmp_path.rglob("*")
    }
    assert {CHAIN, PAYLOADS, TOKENS, "index.sqlite", "recording.cast"} <= modes.keys()
    for name, mode in modes.items():
        assert mode == (0o700 if (tmp_path / name).is_dir() else 0o600), name


@pytest.mark.parametrize(
    "name",
    [
        "lock",
        "reserve",
        "reserve.2",
        TOKENS,
        "recording.cast",
        f"{CHAIN}/{segment_name(0)}",
        f"{PAYLOADS}/{segment_name(0)}",
        f"{PAYLOADS}/.{segment_name(0)}.new",
    ],
)
async def test_a_link_is_not_followed(tmp_path: Path, name: str) -> None:
    """What somebody else's file would be overwritten by is refused."""
    directory, theirs = tmp_path / "state", tmp_path / "theirs"
    theirs.write_bytes(b"theirs\n")
    link = directory / name
    link.parent.mkdir(parents=True)
    link.symlink_to(theirs)
    with pytest.raises((LedgerError, OSError)):
        await keep_everything(directory)
    assert theirs.read_bytes() == b"theirs\n"


def test_a_file_that_does_not_fit_is_named(tmp_path: Path) -> None:
    """Where a file can't be written whole the error names it, and what was there stays alone."""
    path = tmp_path / "executor.key"
    write_new(path, b"old")
    with file_bytes_left(1), pytest.raises(OSError, match="File too large") as caught:
        write_new(path, b"new")
    assert caught.value.filename == str(path)
    assert [left.read_bytes() for left in tmp_path.iterdir()] == [b"old"]
