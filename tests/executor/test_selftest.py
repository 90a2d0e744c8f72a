# SPDX-License-Identifier: MIT
"""The start-up self-test finds each wall that is missing, and only those (I2).

Here there is no unit, so what a unit takes is there. tests/system takes one wall after the other
from the units themselves.
"""

import mmap
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.executor.injection import descriptors_left
from tests.mounts import mount_memory, private_mounts
from tests.separation import as_executor, choose_uids
from tibet_nc_executor.selftest import (
    OUTSIDE,
    SelfTestError,
    UntriedError,
    Wall,
    attempt,
    enforce,
    files_made,
)

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="needs root, whom nothing holds")


def opens(family: socket.AddressFamily, kind: socket.SocketKind) -> bool:
    """Say whether a socket can be made here."""
    try:
        socket.socket(family, kind).close()
    except OSError:
        return False
    return True


def makes_namespaces() -> bool:
    """Say whether this machine lets anybody have a user namespace."""
    return subprocess.run(["unshare", "--user", "true"], check=False).returncode == 0


def maps_writable_code() -> bool:
    """Say whether memory can be written to and run here."""
    try:
        mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC).close()
    except OSError:
        return False
    return True


def test_all_that_root_can_do_is_found() -> None:
    """Network, secrets, privileges and files: what works here is named, and undone."""
    found = {breach.detail for breach in attempt()}
    for family in (socket.AF_INET, socket.AF_INET6, socket.AF_PACKET):
        wanted = opens(family, socket.SOCK_DGRAM)
        assert (f"a socket of {family.name} opens" in found) == wanted
    netlink = "a socket of AF_NETLINK opens, which shows the network"
    assert (netlink in found) == opens(socket.AF_NETLINK, socket.SOCK_RAW)
    assert ("/etc/shadow can be read" in found) == Path("/etc/shadow").exists()
    assert "this is root" in found
    assert any(detail.startswith("it has capabilities beyond") for detail in found)
    assert any(detail.startswith("a program could bring capabilities") for detail in found)
    namespace = "a user namespace can be made, and all capabilities in it"
    assert (namespace in found) == makes_namespaces()
    unguarded = "a set-user-id program gains its owner's rights (no_new_privs is not set)"
    assert (unguarded in found) == ("NoNewPrivs:\t0" in Path("/proc/self/status").read_text())
    assert ("memory can be writable and executable" in found) == maps_writable_code()
    (files,) = (detail for detail in found if detail.startswith("files can be made in "))
    assert {"/etc", "/usr", "/var"} <= set(files.removeprefix("files can be made in ").split(", "))
    assert not [base for base in OUTSIDE if (base / f".tibet-nc-selftest-{os.getpid()}").exists()]


def test_what_an_executor_can_not_do_is_not_found() -> None:
    """With a uid, the capabilities and the setting of its unit those walls are not missing."""
    program = "from tibet_nc_executor.selftest import attempt\nfor b in attempt(): print(b)"
    done = subprocess.run(
        [*as_executor(choose_uids(), None), sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    elsewhere = ("a user namespace can be made", "memory can be writable")  # as the machine is
    privileges = [
        line.removeprefix("privilege: ")
        for line in done.stdout.splitlines()
        if line.startswith("privilege: ")
    ]
    assert [detail for detail in privileges if not detail.startswith(elsewhere)] == []
    assert "secrets: " not in done.stdout
    assert "/etc" not in done.stdout


def test_each_wall_has_to_be_given_up_by_name() -> None:
    """Whichever is missing and not accepted stops the start and is named; no other one is."""
    missing = {breach.wall for breach in attempt()}
    assert {Wall.PRIVILEGE, Wall.FILES} <= missing
    assert {breach.wall for breach in enforce(frozenset(missing))} == missing
    for wall in missing:
        with pytest.raises(SelfTestError) as caught:
            enforce(frozenset(missing - {wall}))
        assert {breach.wall for breach in caught.value.breaches} == {wall}
        assert str(caught.value).endswith(f'[walls] accepted = ["{wall}"]')


def test_what_could_not_be_tried_is_taken_for_no_wall() -> None:
    """An attempt that fails for want of something else proves nothing: no start, and it is said."""
    with descriptors_left(0), pytest.raises(UntriedError, match="Too many open files"):
        list(attempt())
    with descriptors_left(1), pytest.raises(UntriedError, match="Too many open files"):
        list(attempt())


@pytest.mark.parametrize("option", ["nr_inodes=1", "nr_inodes=2"])
def test_a_full_disk_is_no_wall(tmp_path: Path, option: str) -> None:
    """Where nothing keeps a file from being made but the room for it, the wall is missing."""
    with private_mounts():
        mount_memory(tmp_path, option)
        (breach,) = files_made([tmp_path])
    assert breach.detail == f"files can be made in {tmp_path}"


def test_a_program_that_can_not_be_started_shows_no_wall() -> None:
    """Without a process to spare nobody knows whether a user namespace can be made."""
    program = (
        "from tibet_nc_executor.selftest import *\n"
        "try: print(list(attempt()))\n"
        "except UntriedError as error: print(error)"
    )
    done = subprocess.run(
        [
            *("prlimit", "--nproc=1"),
            *as_executor(choose_uids(), None),
            *(sys.executable, "-c", program),
        ],
        capture_output=True,
        text=True,
        check=True,
        cwd="/",
    )
    assert "Resource temporarily unavailable" in done.stdout
