# SPDX-License-Identifier: MIT
"""Whether another account gets at a file is the kernel's to say, with all of its groups."""

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from tests.mounts import private_mounts
from tibet_nc_executor.reach import Way, reaches

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become another account")

GROUP = 4711


def test_every_group_of_an_account_counts(place: Path) -> None:
    """A file that its group reads is read by who has been added to it, and by nobody else."""
    file, groups = place / "file", place / "group"
    file.write_text("")
    os.chown(file, 0, GROUP)
    file.chmod(0o640)
    one, other = pwd.getpwnam("daemon"), pwd.getpwnam("bin")
    assert not reaches(one.pw_uid, Way.READ, file)
    groups.write_text(Path("/etc/group").read_text() + f"readers:x:{GROUP}:{one.pw_name}\n")
    with private_mounts():
        subprocess.run(["mount", "--bind", groups, "/etc/group"], check=True)
        assert reaches(one.pw_uid, Way.READ, file)
        assert not reaches(one.pw_uid, Way.WRITE, file)
        assert not reaches(other.pw_uid, Way.READ, file)
