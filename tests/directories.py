# SPDX-License-Identifier: MIT
"""Directories for tests whose programs run as several uids."""

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def reachable_directory(parent: str | None = None) -> Generator[Path]:
    """Make a directory that every uid can reach, which tmp_path isn't; it goes with the block."""
    with tempfile.TemporaryDirectory(prefix="tibet-nc-", dir=parent) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path
