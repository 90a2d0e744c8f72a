# SPDX-License-Identifier: MIT
"""One TIBET token for each command, in a store that only grows.

tibet-core's own FileStore keeps everything in memory, never syncs, and can't read a file whose last
line is torn; its token ids collide between processes and its hashes are unkeyed. So the tokens are
tibet-core's, readable by its tools, the store is ours behind its interface, and what proves a token
is its hash in the signed chain.
"""

import hashlib
import os
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from tibet_core import Token, TokenState
from tibet_core.store import TokenStore

from tibet_nc_executor.durable import open_append, write_all

ACTION = "nc.command.execute"


class AppendStore(TokenStore):  # type: ignore[misc]  # tibet-core has no type information
    """tibet-core's TokenStore over an append-only file; reads scan it and hold nothing."""

    def __init__(self, path: Path) -> None:
        """Open or make the store, cutting off a torn last line; raises OSError."""
        self._path = path
        self.descriptor = open_append(path)
        """For whoever syncs what was added."""
        self.last_id: str | None = None
        self._count = 0
        whole = 0
        for line in self._lines():
            whole += len(line)
            self._count += 1
            last = line
        if self._count:
            self.last_id = Token.from_json(last.decode()).token_id
        os.ftruncate(self.descriptor, whole)

    def add(self, token: Token) -> None:
        """Append a token; raises OSError and leaves the file as it was if that fails."""
        write_all(self.descriptor, encode(token) + b"\n")
        self.last_id = token.token_id
        self._count += 1

    def get(self, token_id: str) -> Token | None:
        """Return the token with this id."""
        return next((token for token in self._tokens() if token.token_id == token_id), None)

    def all(self) -> list[Token]:
        """Return every token, oldest first."""
        return list(self._tokens())

    def find(
        self,
        action: str | None = None,
        actor: str | None = None,
        since: str | None = None,
        limit: int = 100,
    ) -> list[Token]:
        """Return the newest tokens that fit, oldest first; ``since`` is an ISO 8601 time in UTC."""
        fitting = (
            token
            for token in self._tokens()
            if (action is None or token.action == action)
            and (actor is None or token.actor == actor)
            and (since is None or token.timestamp >= since)
        )
        return list(deque(fitting, maxlen=limit))

    def count(self) -> int:
        """Return how many tokens there are."""
        return self._count

    def clear(self) -> None:
        """Refuse: the tokens are evidence. Raises PermissionError."""
        raise PermissionError("tokens are never deleted")

    def close(self) -> None:
        """Close the file."""
        os.close(self.descriptor)

    def _tokens(self) -> Iterator[Token]:
        return (Token.from_json(line.decode()) for line in self._lines())

    def _lines(self) -> Iterator[bytes]:
        with self._path.open("rb") as file:
            yield from (line for line in file if line.endswith(b"\n"))


def encode(token: Token) -> bytes:
    """Return the token's line in the store, without the line end."""
    return str(token.to_json()).encode()


def resolved(
    *,
    token_id: str,
    timestamp: str,
    actor: str,
    content: dict[str, str | int | None],
    references: list[str],
    context: dict[str, str | int],
    parent_id: str | None,
) -> Token:
    """Return the token of a command that ran: what, with what, where and when, and why."""
    return Token(
        token_id=token_id,
        action=ACTION,
        timestamp=timestamp,
        actor=actor,
        erin=content,
        eraan=references,
        eromheen=context,
        erachter="an operator asked for it in a Matrix room",
        parent_id=parent_id,
        state=TokenState.RESOLVED,
    )


def digest(token: Token) -> str:
    """Return the SHA-256 of the token's line, with which the chain anchors it."""
    return hashlib.sha256(encode(token)).hexdigest()
