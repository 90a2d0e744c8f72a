# SPDX-License-Identifier: MIT
"""How much is measured, and where."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Settings:
    """``directory`` is reachable to all uids and is removed afterwards."""

    quick: bool
    directory: Path
    soak: int
    """How many commands a daemon is given to see whether its memory stays flat."""

    @property
    def n(self) -> int:
        """How often a round trip is measured."""
        return 20 if self.quick else 100

    @property
    def seconds(self) -> float:
        """How long a rate is measured."""
        return 1.0 if self.quick else 3.0

    @property
    def records(self) -> int:
        """How long the long chain is."""
        return 100_000 if self.quick else 1_000_000

    def place(self, name: str) -> Path:
        """Return a new directory that all uids can enter."""
        path = self.directory / name
        path.mkdir(parents=True)
        path.chmod(0o755)
        return path
