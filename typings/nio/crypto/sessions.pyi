# SPDX-License-Identifier: MIT

from collections.abc import Mapping
from typing import TypedDict

import vodozemac

class IdentityKeys(TypedDict):
    ed25519: str
    curve25519: str

class _Account(vodozemac.Account):
    # vodozemac has these too, and leaves them out of its types.
    @property
    def fallback_key(self) -> Mapping[str, vodozemac.Curve25519PublicKey]: ...
    def generate_fallback_key(self) -> object: ...

class OlmAccount:
    _account: _Account
    shared: bool
    @property
    def identity_keys(self) -> IdentityKeys: ...
    def sign(self, message: str) -> str: ...

class Session:
    def encrypt(self, plaintext: str) -> vodozemac.AnyOlmMessage: ...

class InboundGroupSession:
    ed25519: str
    sender_key: str
    @property
    def id(self) -> str: ...
    @classmethod
    def import_session(
        cls, session_key: str, signing_key: str, sender_key: str, room_id: str
    ) -> InboundGroupSession: ...
    def decrypt(self, message: str) -> tuple[str, int]: ...

class OutboundGroupSession:
    _session: vodozemac.GroupSession
    shared: bool
    users_shared_with: set[tuple[str, str]]
    @property
    def id(self) -> str: ...
    @property
    def session_key(self) -> str: ...
