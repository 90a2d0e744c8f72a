# SPDX-License-Identifier: MIT
"""A chain with a bit of everything, and its state directory, to be altered.

Nothing here imports what verifies: ``tests.harness.beside`` has to come before that.
"""

import shutil
from pathlib import Path

import pytest

from tests.audit.chains import Chain, sample


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a good state directory that no test alters."""
    root = tmp_path_factory.mktemp("original")
    sample(root)
    return root


@pytest.fixture
def state(original: Path, tmp_path: Path) -> Path:
    """Return a copy to alter."""
    return shutil.copytree(original, tmp_path / "state")


@pytest.fixture(scope="module")
def scratch(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy for properties, which restore what they alter."""
    return shutil.copytree(original, tmp_path_factory.mktemp("scratch") / "state")


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    """Return a chain with a bit of everything, a checkpoint at its end."""
    return sample(tmp_path / "state")
