# SPDX-License-Identifier: MIT
"""A web server with a certificate of its own, which may be of any kind."""

import datetime
import ipaddress
import json
import ssl
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

CERTIFICATE: Final = "certificate.pem"
KEY: Final = "key.pem"
ADDRESS: Final = "127.0.0.1"


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        data = json.dumps({"asked": self.path, "by": self.headers["Authorization"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass


def make_certificate(directory: Path, *, address: str = ADDRESS, days_left: float = 1) -> None:
    """Make a key and a certificate that an address signs itself, of two days until then."""
    key = ec.generate_private_key(ec.SECP256R1())
    until = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=days_left)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "homeserver")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(until - datetime.timedelta(days=2))
        .not_valid_after(until)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    (directory / CERTIFICATE).write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (directory / KEY).write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@contextmanager
def https(directory: Path, *, address: str = ADDRESS, days_left: float = 1) -> Generator[str]:
    """Serve with such a certificate, made in a directory; gives the URL."""
    make_certificate(directory, address=address, days_left=days_left)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / CERTIFICATE, directory / KEY)
    with HTTPServer((ADDRESS, 0), _Answer) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://{ADDRESS}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
