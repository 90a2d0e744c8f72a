# SPDX-License-Identifier: MIT
"""Secrets that can be held, passed on and lost, but not printed (I10)."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.regular import open_regular

_MAX_BYTES: Final = 64 * 1024
"""Longest secret file; access tokens have some hundred bytes, signed ones a few thousand."""


class Secret:
    """A text that shows itself only where :meth:`reveal` is written."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return "Secret(…)"

    def reveal(self) -> str:
        """Return the text; the caller must not keep, log or raise it."""
        return self._text


def read_secret(path: Path, key: str) -> Secret:
    """Return the one line that a file of the setting ``key`` holds, without its line end.

    Raises ConfigError when the file is missing, readable by everybody, writable by its group,
    empty or of more than one line. The group may read: ``root:tibet-nc-agent 0640`` is how a
    file in /etc is given to a service.
    """
    try:
        with open_regular(path) as file:
            mode = os.fstat(file.fileno()).st_mode
            data = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(str(path), key, f"can't be read: {error.strerror}") from None
    if mode & (stat.S_IRWXO | stat.S_IWGRP):
        problem = f"mode {stat.S_IMODE(mode):04o} lets others at a secret"
        raise ConfigError(str(path), key, problem, f"chmod 600 {path}")
    try:
        text = data.decode("ascii").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text or len(data) > _MAX_BYTES:
        # The reason stays vague on purpose: it must not repeat what the file holds.
        raise ConfigError(str(path), key, "doesn't hold one line of printable ASCII")
    return Secret(text)


def find_secret(
    file: Path | None, key: str, *, credential: str, environ: Mapping[str, str]
) -> Secret | None:
    """Return the secret of the setting ``key``, or of the systemd credential, or None.

    A file that is named must be there; a credential may be missing. Raises ConfigError.
    """
    if file is not None:
        return read_secret(file, key)
    directory = environ.get("CREDENTIALS_DIRECTORY")
    if directory:
        path = Path(directory, credential)
        if path.exists():
            return read_secret(path, f"credential {credential}")
    return None
