# SPDX-License-Identifier: MIT
"""A host whose homeserver is reached through an HTTP proxy only."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.agent.test_emitter import Service, note, until
from tests.harness.https import https
from tests.harness.tinyproxy import Tinyproxy, find_tinyproxy, tinyproxy
from tests.serving import serving
from tibet_nc_agent.emitter import Emitter

TOKEN: Final = "s3cret-access-token"
ASKING: Final = """\
import asyncio, sys
from tibet_nc_agent.homeserver import Homeserver

async def ask(url, proxy, token):
    homeserver = Homeserver(url, proxy=proxy)
    homeserver.token = token
    try:
        print(await homeserver.once("GET", "/_matrix/client/versions"))
    finally:
        await homeserver.close()

asyncio.run(ask(*sys.argv[1:]))
"""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Tinyproxy]:
    """Run a proxy."""
    program = find_tinyproxy()
    if program is None:
        pytest.skip("there is no tinyproxy, and only root can install Debian's")
    with tinyproxy(program, tmp_path) as running:
        yield running


@pytest.fixture
def homeserver(tmp_path: Path) -> Iterator[str]:
    """Serve HTTPS with a certificate of its own, which is in ``tmp_path``; gives the URL."""
    with https(tmp_path) as url:
        yield url


def test_https_goes_through_a_tunnel(homeserver: str, proxy: Tinyproxy, tmp_path: Path) -> None:
    """The proxy is told a name and a port (CONNECT); what passes is encrypted from end to end."""
    done = subprocess.run(
        [sys.executable, "-c", ASKING, homeserver, proxy.url, TOKEN],
        env=os.environ | {"SSL_CERT_FILE": str(tmp_path / "certificate.pem")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{ {'asked': '/_matrix/client/versions', 'by': f'Bearer {TOKEN}'} }\n"
    log = proxy.log.read_text()
    assert f"CONNECT {homeserver.removeprefix('https://')} " in log
    assert TOKEN not in log


@pytest.mark.parametrize("verb", ["doctor", "login"])
def test_the_command_line_goes_through_it_and_names_it(
    homeserver: str, proxy: Tinyproxy, tmp_path: Path, verb: str
) -> None:
    """With ``matrix.proxy`` nothing else is connected to, and what fails says through what."""
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    password = tmp_path / "password"
    password.write_text("password\n")
    password.chmod(0o600)
    settings = tmp_path / "agent.toml"
    settings.write_text(f"""\
[matrix]
homeserver = "{homeserver}"
proxy = "{proxy.url}"
user_id = "@web1:example.org"
rooms = ["!room:example.org"]
password_file = "{password}"
[state]
directory = "{state}"
""")
    done = subprocess.run(  # it doesn't trust this certificate
        [sys.executable, "-m", "tibet_nc_agent", "--config", settings, verb],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert f"{homeserver} through {proxy.url} can't be reached" in done.stdout + done.stderr
    assert f"CONNECT {homeserver.removeprefix('https://')} " in proxy.log.read_text()


async def test_tokens_are_told_through_the_proxy_that_leads_there(
    proxy: Tinyproxy, tmp_path: Path
) -> None:
    """With ``emission.proxy`` a service is told of tokens through it."""
    service = Service()
    async with serving(service.application) as port:
        emitter = Emitter(
            f"http://127.0.0.1:{port}", tmp_path, host="web1", limit=100, proxy=proxy.url
        )
        posting = asyncio.create_task(emitter.run())
        note(emitter, 1)
        await until(lambda: emitter.state == "0 wait, 0 lost" and service.numbers == [1])
        posting.cancel()
        with suppress(asyncio.CancelledError):
            await posting
        await emitter.close()
    assert f"POST http://127.0.0.1:{port}/api/protocol/send" in proxy.log.read_text()
