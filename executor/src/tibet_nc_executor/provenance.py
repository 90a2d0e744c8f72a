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

from tibet_nc_executor.durable import append, cut, open_append
from tibet_nc_executor.errors import LedgerError

ACTION = "nc.command.execute"
READ_BYTES = 16 * 1024  # some tokens, of which each has about a thousand


class AppendStore(TokenStore):
    """tibet-core's TokenStore over an append-only file; reads scan it and hold nothing."""

    def __init__(self, path: Path) -> None:
        """Open or make the store, cutting off a torn last line; raises OSError or LedgerError.

        Only its end is read, so that a start takes no longer the more commands there were. What an
        executor that was killed has added is on disk from now on.
        """
        self._path = path
        self.descriptor = open_append(path)
        """For whoever syncs what was added."""
        self.last_id: str | None = None
        last, self._end = _last_line(self.descriptor)
        if last:
            self.last_id = _id_of(last, path)
        cut(self.descriptor, self._end)
        os.fsync(self.descriptor)

    def add(self, token: Token) -> str:
        """Append a token; return the SHA-256 of its line, with which the chain anchors it.

        Raises OSError and leaves the file as it was if that fails.
        """
        line = encode(token)
        self._end = append(self.descriptor, self._end, line + b"\n")
        self.last_id = token.token_id
        return hashlib.sha256(line).hexdigest()

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
        return sum(1 for _ in self._lines())

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


def _last_line(descriptor: int) -> tuple[bytes, int]:
    """Return the last whole line of a file, without its end, and where it ends.

    Both are empty if there is none. Reads backwards, twice as far each time. Raises OSError.
    """
    size = os.fstat(descriptor).st_size
    span = READ_BYTES
    while True:
        start = max(0, size - span)
        data = os.pread(descriptor, size - start, start)
        end = data.rfind(b"\n")
        begin = data.rfind(b"\n", 0, max(0, end)) + 1
        if start == 0 and end < 0:
            return b"", 0
        if end >= 0 and (begin > 0 or start == 0):
            return data[begin:end], start + end + 1
        span *= 2


def _id_of(line: bytes, path: Path) -> str:
    try:
        return str(Token.from_json(line.decode()).token_id)
    except (ValueError, TypeError):  # what tibet-core and json raise
        raise LedgerError(f"{path}: the last line is no token; no crash leaves that") from None


def encode(token: Token) -> bytes:
    """Return the token's line in the store, without the line end."""
    return token.to_json().encode()


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
