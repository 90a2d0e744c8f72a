# SPDX-License-Identifier: MIT
# What is used of tibet-core, whose package doesn't say that it has types, and leaves out some.

from collections.abc import Mapping, Sequence
from enum import Enum

from tibet_core.store import TokenStore

class TokenState(Enum):
    RESOLVED = "resolved"

class Token:
    token_id: str
    action: str
    timestamp: str
    actor: str
    parent_id: str | None
    def __init__(
        self,
        *,
        token_id: str,
        action: str,
        timestamp: str,
        actor: str,
        erin: object,
        eraan: Sequence[str],
        eromheen: Mapping[str, object],
        erachter: str,
        parent_id: str | None,
        state: TokenState,
    ) -> None: ...
    def to_json(self) -> str: ...
    @classmethod
    def from_json(cls, json_str: str) -> Token: ...

class Chain:
    def __init__(self, store: TokenStore) -> None: ...
    def trace(self, token_id: str) -> list[Token]: ...
