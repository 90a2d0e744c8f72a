# SPDX-License-Identifier: MIT
"""One machine for the whole run: installed as documented, then put through everything."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.operator import new_identity
from tests.harness.synapse import Synapse
from tests.system.base import prepare
from tests.system.documented import install
from tests.system.machine import Machine, leave_network
from tests.system.site import UNITS, Site, make_room


@pytest.fixture(scope="session")
def fresh() -> Iterator[Machine]:
    """Give a booted Debian 13 on which nothing was installed."""
    base, packages = prepare()  # the only part that needs a network
    leave_network()
    with Machine(base, packages) as machine:
        yield machine


@pytest.fixture(scope="session")
def site(fresh: Machine) -> Iterator[Site]:
    """Give a host on which every command of docs/install.md was typed, and none besides."""
    with tempfile.TemporaryDirectory() as directory, Synapse(Path(directory)) as homeserver:
        bot = homeserver.register("host1")
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
        install(fresh, homeserver, bot, person, room)
        fresh.wait_active(*UNITS)
        yield site


@pytest.fixture
def dropping(site: Site) -> Iterator[Site]:
    """Give the site to a test that puts drop-ins in force; they are gone afterwards."""
    yield site
    site.no_drop_ins()
