# SPDX-License-Identifier: MIT
"""The file of the pinned operators, as root writes it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from tibet_nc_protocol.pins import How, Pin, render


def write_pins(path: Path, operators: Mapping[str, str]) -> None:
    """Pin the master keys of these users, and nobody else."""
    now = datetime.now(UTC).replace(microsecond=0)
    pins = [
        Pin(user=user, master_key=key, pinned=now, how=How.COMPARED)
        for user, key in operators.items()
    ]
    draft = path.with_suffix(".new")
    draft.write_bytes(render(pins))
    draft.chmod(0o644)
    draft.replace(path)
