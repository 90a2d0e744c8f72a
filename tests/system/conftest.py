# SPDX-License-Identifier: MIT
"""One machine for the whole run: installed as documented, then put through everything."""

import asyncio
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.operator import new_identity
from tests.harness.synapse import Account, Synapse
from tests.system.base import BOOKWORM, TRIXIE, prepare
from tests.system.machine import Machine, leave_network
from tests.system.newcomer import Newcomer, ten_minutes
from tests.system.site import UNITS, Site, make_room

RELEASES = {"12": BOOKWORM, "13": TRIXIE}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let a run choose its Debian."""
    parser.addoption("--debian", choices=sorted(RELEASES), default="13")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is only for another Debian than this run's."""
    other = {f"debian{number}" for number in RELEASES} - {
        f"debian{config.getoption('debian', '13')}"
    }
    left = [item for item in items if any(item.get_closest_marker(name) for name in other)]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


@pytest.fixture(scope="session")
def fresh(pytestconfig: pytest.Config) -> Iterator[Machine]:
    """Give a booted Debian on which nothing was installed."""
    # The only part that needs a network.
    base, packages = prepare(RELEASES[str(pytestconfig.getoption("debian", "13"))])
    leave_network()
    with Machine(base, packages) as machine:
        yield machine


@pytest.fixture(scope="session")
def homeserver(fresh: Machine) -> Iterator[Synapse]:
    """Give a homeserver on the network that the machine has."""
    assert fresh.root.is_dir()  # there is no such network before
    with tempfile.TemporaryDirectory() as directory, Synapse(Path(directory)) as homeserver:
        yield homeserver


@pytest.fixture(scope="session")
def bot(homeserver: Synapse) -> Account:
    """Give the host's account."""
    return homeserver.register("host1")


@pytest.fixture(scope="session")
def newcomer(fresh: Machine, homeserver: Synapse, bot: Account) -> Newcomer:
    """Give what became of a newcomer who typed every command of docs/install.md, and no other."""
    account = homeserver.register("newcomer")
    return asyncio.run(ten_minutes(fresh, homeserver, bot, account))


@pytest.fixture(scope="session")
def site(fresh: Machine, homeserver: Synapse, bot: Account, newcomer: Newcomer) -> Site:
    """Give the newcomer's host, with another operator and a room of that one."""
    fresh.wait_active(*UNITS)
    person = homeserver.register("operator")
    identity = new_identity()
    room = make_room(homeserver, bot, person, identity)
    site = Site(
        machine=fresh,
        homeserver=homeserver,
        bot=bot,
        person=person,
        identity=identity,
        room=room,
    )
    for part in ("agent", "executor"):
        fresh.sh(f"sed -i 's/{newcomer.room}/{room}/' /etc/tibet-nc/{part}.toml")
    site.trust()
    fresh.run("systemctl", "restart", *UNITS)
    fresh.wait_active(*UNITS)
    return site


@pytest.fixture
def dropping(site: Site) -> Iterator[Site]:
    """Give the site to a test that puts drop-ins in force; they are gone afterwards."""
    yield site
    site.no_drop_ins()
