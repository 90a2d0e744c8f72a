# SPDX-License-Identifier: MIT
"""Removing homes: the executor's own alone, whatever happens to the program that does it."""

import os
from pathlib import Path

import pytest

from tibet_nc_executor.children import Children
from tibet_nc_executor.errand import run_errand
from tibet_nc_executor.home import abandoned_homes, make_home, remove_home

FOREIGN = 64298


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to give files away")
def test_only_homes_of_the_executor_are_abandoned(tmp_path: Path) -> None:
    """What somebody else has put among the homes is none, whatever it is called or points to."""
    own, foreign = make_home(tmp_path, FOREIGN), make_home(tmp_path, FOREIGN)
    os.chown(foreign.path, FOREIGN, FOREIGN)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link = tmp_path / "session-link"
    link.symlink_to(elsewhere)
    os.lchown(link, FOREIGN, FOREIGN)
    (tmp_path / "others").mkdir()
    assert abandoned_homes(tmp_path) == [own]
    assert abandoned_homes(tmp_path / "none") == []


def becoming(tmp_path: Path, failures: int) -> list[str]:
    """Return a prefix that is killed some times before it does what it is asked for."""
    program = tmp_path / "become"
    program.write_text(
        f'#!/bin/sh\necho >>{tmp_path}/tries\n[ "$(wc -l <{tmp_path}/tries)" -gt {failures} ]'
        ' || kill -9 $$\nexec "$@"\n'
    )
    program.chmod(0o755)
    return [str(program)]


@pytest.mark.parametrize(("failures", "gone"), [(0, True), (2, True), (3, False)])
async def test_who_empties_a_home_may_be_killed(tmp_path: Path, failures: int, gone: bool) -> None:
    """What the session's uid kills is begun again, but not without end."""
    home = make_home(tmp_path, None)
    (home.path / "below").mkdir()
    (home.path / "below" / "file").touch()
    become = becoming(tmp_path, failures)
    assert await remove_home(home, become, Children()) == gone
    assert home.path.exists() != gone


async def test_a_home_that_nobody_can_empty_stays(tmp_path: Path) -> None:
    """Where no program starts the home stays, and that is told; one that is gone is gone."""
    home = make_home(tmp_path, None)
    (home.path / "file").touch()
    assert not await remove_home(home, ["/nonexistent"], Children())
    assert home.path.exists()
    (home.path / "file").unlink()
    home.path.rmdir()
    assert await remove_home(home, ["/nonexistent"], Children())


async def test_who_does_it_gets_nothing_of_the_executor_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a variable nor an open file: others of the shell uid may look at it (I10)."""
    monkeypatch.setenv("TIBET_NC_SECRET", "secret")
    file = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(file, True)
    look = f"cat /proc/self/environ >{tmp_path}/variables; ls /proc/self/fd >{tmp_path}/open"
    environment = {"PATH": "/usr/bin:/bin"}
    for given in (environment, None):
        status = await run_errand(
            ["/bin/sh", "-c", look], children=Children(), limit_s=20, environment=given
        )
        assert status == 0
        names = {
            line.partition(b"=")[0] for line in (tmp_path / "variables").read_bytes().split(b"\0")
        }
        assert names <= {b"", b"PATH", b"PWD", b"OLDPWD", b"_", b"SHLVL"}
        assert (tmp_path / "open").read_text().split() == ["0", "1", "2", "3"]
    os.close(file)
