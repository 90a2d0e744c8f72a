# SPDX-License-Identifier: MIT
"""The administrator's end of the socket: one request to the running executor, signed with its key.

Who can read the executor's key and connects as root, or as the executor's uid, administers it.
"""

import socket
from pathlib import Path
from typing import Final

from tibet_nc_executor import VERSION
from tibet_nc_executor.errors import AdministrationError
from tibet_nc_protocol.envelope import Opener, Sealer
from tibet_nc_protocol.errors import ProtocolError
from tibet_nc_protocol.framing import FrameReader, frame
from tibet_nc_protocol.limits import PROTOCOL_VERSION
from tibet_nc_protocol.messages import (
    REQUESTS,
    RESPONSES,
    Challenge,
    Denied,
    Erase,
    Failure,
    Hello,
    Recorded,
    Response,
    Welcome,
)
from tibet_nc_protocol.signing import Identity, Purpose

SECONDS: Final = 30.0
READ_BYTES: Final = 64 * 1024


def ask(path: Path, identity: Identity, request: Erase) -> Recorded:
    """Make a request of the executor that listens on a socket; raises AdministrationError."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(SECONDS)
            connection.connect(str(path))
            return _converse(connection, identity, request)
    except OSError as error:
        raise AdministrationError(
            f"{path}: {error.strerror or error}: is tibet-nc-executor running, and are you root?"
        ) from None
    except ProtocolError as error:
        raise AdministrationError(f"{path}: {error}") from None


def _converse(connection: socket.socket, identity: Identity, request: Erase) -> Recorded:
    sealer = Sealer(identity, Purpose.ADMINISTRATION, REQUESTS)
    opener = Opener(identity.public_key, Purpose.RESPONSE, RESPONSES)
    frames = FrameReader()
    while data := connection.recv(READ_BYTES):
        for payload in frames.feed(data):
            response: Response = opener.open(payload)
            match response:
                case Challenge():
                    sealer.connection = opener.connection = response.connection
                    hello = Hello(
                        protocol=PROTOCOL_VERSION,
                        version=VERSION,
                        connection=response.connection,
                    )
                    connection.sendall(frame(sealer.seal(hello)))
                case Welcome():
                    connection.sendall(frame(sealer.seal(request)))
                case Recorded():
                    return response
                case Denied() | Failure():
                    raise AdministrationError(response.reason)
                case _:
                    raise AdministrationError("the executor answered something else")
    raise AdministrationError("the executor closed the connection")
