# SPDX-License-Identifier: MIT
"""A host whose homeserver is reached through an HTTP proxy only."""

import asyncio
import datetime
import ipaddress
import json
import os
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.agent.test_emitter import Service, note, serving, until
from tests.harness.tinyproxy import Tinyproxy, find_tinyproxy, tinyproxy
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


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = json.dumps({"asked": self.path, "by": self.headers["Authorization"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


@pytest.fixture
def homeserver(tmp_path: Path) -> Iterator[str]:
    """Serve HTTPS with a certificate of its own, which is in ``tmp_path``; gives the URL."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.datetime.now(datetime.UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "homeserver")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (tmp_path / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    with HTTPServer(("127.0.0.1", 0), _Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


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
    async with serving(service) as port:
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
