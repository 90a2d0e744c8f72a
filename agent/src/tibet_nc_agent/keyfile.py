# SPDX-License-Identifier: MIT
"""Secret keys of 32 bytes that the agent makes for itself, once, and keeps in files.

``agent.key`` is its JIS identity, with which it signs what it asks of the executor;
``pickle.key`` encrypts its Olm store.

The life of a key file: 32 random bytes are written to a file of another name, synced, given the
final name by a link that fails if there is one already, and the directory is synced. A crash
leaves either no key or a whole one; two processes that start at once end with the same one.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.regular import open_regular
from tibet_nc_agent.statefile import sync_directory
from tibet_nc_protocol.signing import KEY_BYTES, Identity

IDENTITY_NAME: Final = "agent.key"
PICKLE_NAME: Final = "pickle.key"


def identity(state: Path) -> Identity:
    """Return the agent's identity in the state directory, made the first time; as :func:`key`."""
    return Identity(key(state / IDENTITY_NAME))


def pickle_key(state: Path) -> bytes:
    """Return the key of the Olm store, made the first time; as :func:`key`."""
    return key(state / PICKLE_NAME)


def key(path: Path) -> bytes:
    """Return the key in a file, made the first time.

    Raises ConfigError when the file can't be used, or others could read it.
    """
    try:
        if not path.exists():
            _make(path)
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(KEY_BYTES + 1)
    except OSError as error:
        problem = error.strerror or type(error).__name__
        raise ConfigError(str(path), "state.directory", problem) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        problem = f"mode {stat.S_IMODE(mode):04o} lets others at a secret key"
        raise ConfigError(str(path), "", problem, f"chmod 600 {path}")
    if len(data) != KEY_BYTES:
        problem = f"not a key of {KEY_BYTES} bytes"
        raise ConfigError(str(path), "", problem, "a copy of it from a backup")
    return data


def _make(path: Path) -> None:
    draft = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return  # another process was quicker, and its key is as good
    finally:
        draft.unlink(missing_ok=True)
    sync_directory(path.parent)
