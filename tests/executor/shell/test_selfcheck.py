# SPDX-License-Identifier: MIT
"""The first look from inside finds what the cage should have taken and did not (I2)."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.executor.shell.driver import AS_ROOT, settings_for
from tibet_nc_executor.cage import Cage, Cell, Containment
from tibet_nc_executor.config import parse
from tibet_nc_executor.errors import ConfigError, ShellError
from tibet_nc_executor.selfcheck import verify
from tibet_nc_executor.service import caged
from tibet_nc_executor.shell import Shell

pytestmark = pytest.mark.skipif(not AS_ROOT, reason="needs more rights than a command has")

OTHER = "64298"

type Alter = Callable[[list[str]], list[str]]


def without(option: str) -> Alter:
    """Return what leaves out an option."""
    return lambda words: [word for word in words if word != option]


def with_other(option: str, value: Callable[[str], str]) -> Alter:
    """Return what changes the value of an option."""
    return lambda words: [
        value(word) if before == option else word
        for before, word in zip(["", *words], words, strict=False)
    ]


BROKEN: dict[str, tuple[Alter, str]] = {
    "new privileges": (without("--no-new-privs"), "a command can gain privileges"),
    "the bounding set": (without("--bounding-set=-all"), "a command keeps capabilities: CapBnd"),
    "a group more": (
        with_other("--groups", lambda groups: f"{groups},4"),
        r"a command has groups that it was not given: \[.*4.*\]",
    ),
    "another group": (with_other("--regid", lambda _: OTHER), "a command has another gid"),
    "another user": (with_other("--reuid", lambda _: OTHER), "a command has another uid"),
}


def break_cage(monkeypatch: pytest.MonkeyPatch, name: str) -> str:
    """Have every cage drop less than it should; return what is said of it."""
    alter, said = BROKEN[name]
    whole = Cage._privilege_drop

    def broken(cage: Cage, *own: int | None) -> list[str]:
        words = alter(whole(cage, *own))
        assert words != whole(cage, *own)
        return words

    monkeypatch.setattr(Cage, "_privilege_drop", broken)
    return said


@pytest.mark.parametrize("name", BROKEN)
async def test_what_a_command_keeps_is_found(
    kind: Containment, home: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Privileges, ids and groups that were not meant for it stop everything."""
    shell = Shell(settings_for(kind, home))
    await verify(shell)
    said = break_cage(monkeypatch, name)
    with pytest.raises(ShellError, match=said):
        await verify(shell)


async def test_a_descriptor_that_a_command_inherits_is_found(
    kind: Containment, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that stays open in the command's programs stops everything."""
    shell = Shell(settings_for(kind, home))
    file = os.open("/etc/hostname", os.O_RDONLY)
    whole = Cage.spawn

    def leaky(
        cage: Cage, script: str, *, cell: Cell, terminal: int, descriptors: tuple[int, ...]
    ) -> object:
        return whole(cage, script, cell=cell, terminal=terminal, descriptors=(*descriptors, file))

    monkeypatch.setattr(Cage, "spawn", leaky)
    with pytest.raises(ShellError, match=f"a command inherits descriptor {file}"):
        await verify(shell)
    os.close(file)


async def test_no_executor_starts_with_such_a_cage(
    home: Path, kind: Containment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at before anything is served."""
    uid = settings_for(kind, home).uid
    config = parse(
        {"shell": {"user": uid, "home": str(home)}, "policy": {"rooms": ["!room:example.org"]}},
        "settings",
    )
    await caged(config)
    said = break_cage(monkeypatch, "new privileges")
    with pytest.raises(ConfigError, match=said):
        await caged(config)
