# SPDX-License-Identifier: MIT
"""The cage of an executor that is not root: with the three capabilities of its unit, or none."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.directories import reachable_directory
from tests.executor.shell.driver import SECONDS, commands_of
from tests.executor.shell.test_bombs import HOPPER
from tests.executor.shell.test_groups import NOBODY
from tests.separation import (
    Uids,
    as_agent,
    as_executor,
    choose_uids,
    claim_uids,
    delegate_cgroup,
    entering,
    remove_cgroup,
)

ROOT = Path(__file__).resolve().parents[3]
SETUID_SETGID_KILL = 1 << 7 | 1 << 6 | 1 << 5


@pytest.fixture(scope="module")
def uids() -> Uids:
    """Uids of our own, since processes of a uid are ended here by uid."""
    chosen = choose_uids()
    assert chosen.separated, chosen.why_not
    agent, executor, shell = claim_uids(65300, 3, groups=50)
    return Uids(agent=agent, executor=executor, shell=shell, separated=True)


@pytest.fixture
def home() -> Iterator[Path]:
    """Make a directory that everybody can enter."""
    with reachable_directory() as path:
        yield path


def probe(start: list[str], settings: dict[str, object], *commands: str) -> Any:  # noqa: ANN401
    """Run commands in the cage of an executor that is started in some way; return what it tells."""
    done = subprocess.run(
        [*start, sys.executable, "-m", "tests.executor.shell.probe"],
        input=json.dumps({"settings": settings, "commands": commands}),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=SECONDS,
        check=False,
    )
    assert done.stderr == ""
    return json.loads(done.stdout)


STATUS = "grep -E '^(Uid|Gid|Cap|NoNewPrivs)' /proc/self/status"
TERMINAL = "echo a >/dev/stderr; echo b >/dev/tty; echo c >$(tty); ls -ln $(tty) | cut -c1-10"
LEFT = (
    "(setsid sh -c 'trap \"\" TERM; sleep 4731' &) ; while ! read x; do :; done </dev/tty; echo no"
)
WRITER = "setsid sleep 4732 & echo up; kill -0 $PPID || echo refused; kill -0 1 || echo refused"


@pytest.mark.parametrize("delegated", [True, False], ids=["cgroup", "tagged"])
def test_an_executor_with_three_capabilities(uids: Uids, home: Path, delegated: bool) -> None:
    """Commands get none of its capabilities, which setuid and exec alone would pass on (I2)."""
    cgroup = delegate_cgroup(f"tibet-nc-test-{os.getpid()}", uids.executor) if delegated else None
    (home / "hopper").write_text(HOPPER)
    settings: dict[str, object] = {
        "uid": uids.shell,
        "gid": uids.shell,
        "home": str(home),
        "restricted": False,
        "cgroups": delegated,
    }
    try:
        told = probe(
            as_executor(uids, cgroup),
            settings,
            STATUS,
            TERMINAL,
            "kill -9 $$",
            WRITER,
            f"perl {home}/hopper",
            "setsid sleep 4733 & setsid sleep 4734 & exit 3",
        )
    finally:
        if cgroup is not None:
            remove_cgroup(cgroup)
    assert told["uid"] == uids.executor
    assert told["capabilities"] == SETUID_SETGID_KILL
    assert told["containment"] == ("tagged" if cgroup is None else "cgroup")
    assert told["separated"] is True
    status, terminal, killed, writer, _, left = told["results"]
    lines = dict(line.split(":\t") for line in status["output"].splitlines())
    assert {lines[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert set(lines["Uid"].split()) == set(lines["Gid"].split()) == {str(uids.shell)}
    assert lines["NoNewPrivs"] == "1"
    assert terminal["output"] == "a\nb\nc\ncrw-rw----\n"
    assert (killed["exit"], killed["signal"]) == (None, 9)
    assert writer["output"].count("refused") == 2
    assert left["exit"] == 3
    assert commands_of(uids.shell) == []


def test_an_executor_without_a_second_uid(uids: Uids, home: Path) -> None:
    """It says that nothing is separated, and still ends what its commands leave."""
    home.chmod(0o777)
    settings: dict[str, object] = {
        "uid": uids.agent,
        "gid": uids.agent,
        "home": str(home),
        "restricted": False,
    }
    told = probe(
        as_agent(uids),
        settings,
        STATUS,
        "setsid sleep 4733 & setsid sleep 4734 & exit 3",
        "(setsid env -i sleep 4735 &); exec true",
        "tty; echo a >/dev/stderr",
    )
    assert told["uid"] == uids.agent
    assert told["separated"] is False
    assert told["containment"] == "descent"
    status, left, _, terminal = told["results"]
    assert "NoNewPrivs:\t1" in status["output"]
    assert left["exit"] == 3
    assert terminal["output"].endswith("\na\n")
    assert commands_of(uids.agent) == []


def test_groups_that_a_command_makes_for_itself(uids: Uids, home: Path) -> None:
    """Where commands can make groups, as the executor's own uid, they escape into none (I6).

    Those of an executor that is gone are ended by the start.
    """
    home.chmod(0o777)
    cgroup = delegate_cgroup(f"tibet-nc-test-{os.getpid()}", uids.agent)
    if cgroup is None:
        pytest.skip("there is no version 2 hierarchy to make groups in")
    abandoned = cgroup / f"tibet-nc-{NOBODY}-1"
    abandoned.mkdir()
    os.chown(abandoned, uids.agent, uids.agent)
    settings: dict[str, object] = {
        "uid": uids.agent,
        "gid": uids.agent,
        "home": str(home),
        "restricted": False,
    }
    hidden = (
        f"g={cgroup}/$(sed -n 's,^0::.*/,,p' /proc/self/cgroup); mkdir -p $g/a/b;"
        " setsid sleep 4736 & one=$!; setsid sleep 4737 & two=$!;"
        # Frozen before its own session is made it would get the hang-up at the shell's end.
        " until [[ $(</proc/$one/comm)$(</proc/$two/comm) == sleepsleep ]]; do :; done;"
        " echo $one >$g/a/b/cgroup.procs && echo 1 >$g/a/cgroup.freeze;"
        " echo $two >$g/a/cgroup.procs && echo up"
    )
    try:
        told = probe([*entering(cgroup), *as_agent(uids)], settings, hidden)
        groups = {entry.name for entry in cgroup.iterdir() if entry.is_dir()}
    finally:
        remove_cgroup(cgroup)
    assert told["separated"] is False
    assert told["containment"] == "cgroup"
    (result,) = told["results"]
    assert result["output"] == "up\n"
    assert result["notes"] == ["2 processes left running: killed"]
    assert groups == {"daemon"}
    assert commands_of(uids.agent) == []


def test_an_executor_that_lacks_a_capability_refuses(uids: Uids, home: Path) -> None:
    """Without the right to change the uid there is one clear line and no command."""
    done = subprocess.run(
        [*as_agent(uids), sys.executable, "-m", "tests.executor.shell.probe"],
        input=json.dumps(
            {
                "settings": {"uid": uids.shell, "gid": uids.shell, "home": str(home)},
                "commands": ["true"],
            }
        ),
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode != 0
    expected = f"commands cannot run as uid {uids.shell}: CAP_SETUID is missing"
    assert done.stderr.splitlines()[-1].endswith(expected)
