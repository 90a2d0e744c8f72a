# SPDX-License-Identifier: MIT
"""Which requests a connection may make, and when: closed by default.

A connection is CHALLENGED until the peer has answered with a hello, and OPEN from then on. The
table says to whom and in which state each request is permitted; what is not in it is not permitted,
and a request that is not permitted closes the connection. (The idea is OpenSSH's privileged
monitor.)
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from tibet_nc_executor.errors import NotPermittedError
from tibet_nc_protocol.limits import PROTOCOL_VERSION
from tibet_nc_protocol.messages import (
    Alert,
    ChainTail,
    CloseSession,
    Control,
    Erase,
    Fetch,
    Hello,
    Input,
    Jobs,
    Refuse,
    Request,
    Run,
    Status,
    Stop,
    Tail,
)


class State(Enum):
    """Where a connection is."""

    CHALLENGED = "challenged"
    OPEN = "open"


class Role(Enum):
    """Who is at the other end, which the uid decides and the key has to confirm."""

    AGENT = "agent"
    ADMINISTRATOR = "administrator"


PERMITTED: Final[Mapping[Role, Mapping[type, State]]] = MappingProxyType(
    {
        Role.AGENT: MappingProxyType(
            {
                Hello: State.CHALLENGED,
                Run: State.OPEN,
                Refuse: State.OPEN,
                Alert: State.OPEN,
                Control: State.OPEN,
                Input: State.OPEN,
                Tail: State.OPEN,
                Stop: State.OPEN,
                Fetch: State.OPEN,
                Status: State.OPEN,
                ChainTail: State.OPEN,
                Jobs: State.OPEN,
                CloseSession: State.OPEN,
            }
        ),
        Role.ADMINISTRATOR: MappingProxyType({Hello: State.CHALLENGED, Erase: State.OPEN}),
    }
)


class Monitor:
    """The state of one connection."""

    def __init__(self, connection: str, role: Role) -> None:
        self._connection = connection
        self._permitted = PERMITTED[role]
        self.role: Final = role
        self.state = State.CHALLENGED

    def admit(self, request: Request) -> Request:
        """Return a request that may be carried out now.

        Raises NotPermittedError, and then nothing has changed.
        """
        if self._permitted.get(type(request)) is not self.state:
            name = type(request).__name__
            raise NotPermittedError(
                f"{name} is not permitted to the {self.role.value} while {self.state.value}"
            )
        if isinstance(request, Hello):
            if request.protocol != PROTOCOL_VERSION:
                raise NotPermittedError(
                    f"the peer speaks protocol {request.protocol}, this is {PROTOCOL_VERSION}"
                )
            if request.connection != self._connection:
                raise NotPermittedError("the hello answers another challenge")
            self.state = State.OPEN
        return request
