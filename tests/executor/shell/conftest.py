# SPDX-License-Identifier: MIT
"""Real cages: as root each kind that this machine offers, otherwise the one without a uid."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.executor.shell.driver import AS_ROOT, UIDS, settings_for
from tibet_nc_executor.cage import Containment
from tibet_nc_executor.cgroup import CgroupBase
from tibet_nc_executor.shell import Shell

# Without a second uid there is no boundary whose attacks could fail, and no bomb is thrown at the
# uid of whoever runs the tests.
collect_ignore = (
    []
    if AS_ROOT
    else ["test_attacks.py", "test_bombs.py", "test_executor_kinds.py", "test_groups.py"]
)


def kinds() -> list[Containment]:
    """Return the kinds of containment that can be had here."""
    if not AS_ROOT:
        return [Containment.DESCENT]
    found = [Containment.TAGGED]
    if CgroupBase.find() is not None:
        found.insert(0, Containment.CGROUP)
    return found


@pytest.fixture(params=kinds(), ids=lambda kind: kind.value)
def kind(request: pytest.FixtureRequest) -> Containment:
    """Each kind of containment in turn."""
    found: Containment = request.param
    return found


@pytest.fixture
def home(kind: Containment) -> Iterator[Path]:
    """Make a private home directory of the shell uid."""
    directory = Path(tempfile.mkdtemp(prefix="tibet-nc-home-"))
    if AS_ROOT:
        os.chown(directory, UIDS[kind], UIDS[kind])
    yield directory
    shutil.rmtree(directory)


@pytest.fixture
async def shell(kind: Containment, home: Path) -> Shell:
    """Return a shell without restrictions, as that shows the most."""
    return await begun(Shell(settings_for(kind, home)))


@pytest.fixture
async def restricted(kind: Containment, home: Path) -> Shell:
    """Return a restricted shell, the default."""
    return await begun(Shell(settings_for(kind, home, restricted=True)))


async def begun(shell: Shell) -> Shell:
    """Return a shell as the executor has it after its start."""
    await shell.learn()
    return shell
