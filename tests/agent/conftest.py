# SPDX-License-Identifier: MIT
"""Where the executor of these tests listens."""

from pathlib import Path

import pytest


@pytest.fixture
def socket_path(tmp_path: Path) -> Path:
    """Name the executor's socket."""
    return tmp_path / "executor.sock"
