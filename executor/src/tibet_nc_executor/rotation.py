# SPDX-License-Identifier: MIT
"""Changing the executor's key, which the chain itself attests.

1. The new key is written beside the old one.
2. The old key signs a record that names the new one.
3. The new key takes the old one's place.

A crash after 1 changes nothing. A crash after 2 leaves a chain that goes on with a key that lies
beside the old one; doing it again finishes that, and makes no third.
"""

import asyncio
import os
import time
from pathlib import Path

from tibet_nc_executor.archive import Archive
from tibet_nc_executor.config import Config, check_owner, read_key
from tibet_nc_executor.durable import sync_directory, write_new
from tibet_nc_executor.errors import ConfigError
from tibet_nc_executor.segments import newest
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.records import Key
from tibet_nc_protocol.signing import KEY_BYTES, Identity


def rotate(config: Config) -> Identity:
    """Replace the key file of an executor that does not run; return the new identity.

    Raises ConfigError or LedgerError.
    """
    directory = Path(config.state.directory)
    check_owner(directory)
    try:
        return _rotate(config, directory)
    except OSError as error:
        raise ConfigError(f"{error.filename or directory}: {error.strerror}") from None


def _rotate(config: Config, directory: Path) -> Identity:
    path, beside = directory / "executor.key", directory / "executor.key.new"
    if not path.exists():
        raise ConfigError(f"{path}: there is no key file here; a credential is changed where it is")
    old = Identity(read_key(path))
    chain = directory / CHAIN
    last = newest(chain) if chain.exists() else None
    if last is None:
        raise ConfigError(f"{directory}: there is no chain yet that could attest another key")
    if not beside.exists():
        write_new(beside, os.urandom(KEY_BYTES).hex().encode() + b"\n")
    new = Identity(read_key(beside))
    if not (isinstance(last, Key) and last.key == new.public_key.hex):
        asyncio.run(_attest(config, directory, old, new))
    beside.replace(path)
    sync_directory(directory)
    return new


async def _attest(config: Config, directory: Path, old: Identity, new: Identity) -> None:
    """Have the old key sign the new one into the chain."""
    archive = Archive(
        directory,
        old,
        clock=time.time,
        segment_bytes=config.audit.segment_bytes,
        checkpoint_records=config.audit.checkpoint_records,
    )
    await archive.own_up()
    await archive.change_key(new)
    await archive.close()
