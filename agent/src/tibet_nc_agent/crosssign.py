# SPDX-License-Identifier: MIT
"""The agent's own cross-signing identity: three keys in one file, uploaded once.

A client that excludes devices not signed by their owner (MSC4153) talks only to an agent that has
one. The file lies beside the Olm store, not in it: when the store is lost, a new login signed with
these keys is still the same agent to every operator. Nothing here replaces an identity.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec
from vodozemac import Account

from tibet_nc_agent.canonical import JsonObject, as_object, canonical
from tibet_nc_agent.homeserver import CLIENT, Homeserver
from tibet_nc_agent.identity import verify_identity, without_signatures
from tibet_nc_agent.matrix_errors import (
    AuthenticationNeeded,
    IdentityError,
    Refused,
    StoreDamaged,
)
from tibet_nc_agent.statefile import read_private, write_private


class Use(StrEnum):
    """What a cross-signing key signs."""

    MASTER = "master"
    """The other two."""
    SELF_SIGNING = "self_signing"
    """The agent's devices."""
    USER_SIGNING = "user_signing"
    """Other users' master keys."""


class CrossSigning:
    """The three private keys; ``master`` and the others are given out as public keys only."""

    def __init__(self, keys: dict[Use, Account]) -> None:
        self._keys = keys

    @classmethod
    def open(cls, file: Path, pickle_key: bytes) -> Self:
        """Read the keys, or make and write them if there is no file.

        ``pickle_key`` (32 bytes) encrypts them. Raises :class:`StoreDamaged` if the file can't be
        read with it; the file is left as it is.
        """
        data = read_private(file)
        if data is None:
            keys = {use: Account() for use in Use}
            pickles = {use.value: key.pickle(pickle_key) for use, key in keys.items()}
            write_private(file, msgspec.json.encode(pickles) + b"\n")
            return cls(keys)
        try:
            stored = msgspec.json.decode(data, type=dict[Use, str])
            return cls({use: Account.from_pickle(stored[use], pickle_key) for use in Use})
        except (ValueError, KeyError) as error:  # msgspec's and vodozemac's are ValueErrors, too
            raise StoreDamaged(
                f"{file} can't be read with this pickle key ({type(error).__name__}):"
                " restore both from the same backup"
            ) from error

    def public_key(self, use: Use) -> str:
        """Return a public key, unpadded base64; the master key is what operators compare."""
        return self._keys[use].ed25519_key.to_base64()

    def sign(self, use: Use, user_id: str, value: JsonObject) -> JsonObject:
        """Return the signed part of ``value`` with the signature of one key added."""
        signed = without_signatures(value)
        signature = self._keys[use].sign(canonical(signed)).to_base64()
        return _with_signature(value, user_id, f"ed25519:{self.public_key(use)}", signature)

    def key_objects(self, user_id: str) -> dict[Use, JsonObject]:
        """Return the three public key objects; the master key has signed the other two."""
        objects: dict[Use, JsonObject] = {}
        for use in Use:
            key = self.public_key(use)
            value: JsonObject = {
                "user_id": user_id,
                "usage": [use.value],
                "keys": {f"ed25519:{key}": key},
            }
            objects[use] = value if use is Use.MASTER else self.sign(Use.MASTER, user_id, value)
        return objects


def _with_signature(value: JsonObject, user_id: str, key_id: str, signature: str) -> JsonObject:
    """Return ``value`` with a signature added to those it has."""
    signatures = dict(as_object(value.get("signatures")))
    signatures[user_id] = {**as_object(signatures.get(user_id)), key_id: signature}
    return {**without_signatures(value), "signatures": signatures}


async def bootstrap(
    homeserver: Homeserver,
    keys: CrossSigning,
    *,
    user_id: str,
    device_id: str,
    device_key: str,
    device_sign: Callable[[bytes], str],
    password: str | None,
) -> None:
    """Make sure that the homeserver has our identity and that it vouches for our device.

    ``device_sign`` signs with the device's own ``device_key`` (Ed25519), which vouches for the
    master key in turn. It can be called any number of times and goes on where a crash ended it.
    Raises :class:`IdentityError` if the account has another identity already (it is left alone)
    or the homeserver gives other keys as our device's, and :class:`AuthenticationNeeded` if the
    homeserver wants a password and none is given.
    """
    answer = await _query(homeserver, user_id)
    if not as_object(answer.get("master_keys")).get(user_id):
        master = keys.key_objects(user_id)[Use.MASTER]
        signature = device_sign(canonical(without_signatures(master)))
        body: JsonObject = {f"{use}_key": value for use, value in keys.key_objects(user_id).items()}
        key_id = f"ed25519:{device_id}"
        body["master_key"] = _with_signature(master, user_id, key_id, signature)
        await _upload_identity(homeserver, body, user_id, password)
        answer = await _query(homeserver, user_id)
    try:
        identity = verify_identity(answer, user_id, pinned=keys.public_key(Use.MASTER))
    except IdentityError as error:
        raise IdentityError(
            f"the account {user_id} has another cross-signing identity than the saved one"
            f" ({error}): restore the agent's cross-signing file, or reset the account's identity"
        ) from error
    if identity.self_signing != keys.public_key(Use.SELF_SIGNING):
        raise IdentityError(f"the self-signing key of {user_id} is not the saved one")
    device = as_object(as_object(as_object(answer.get("device_keys")).get(user_id)).get(device_id))
    own = next((known for known in identity.devices if known.device_id == device_id), None)
    if own is None:
        raise IdentityError(f"the homeserver has no keys of our device {device_id}")
    if own.ed25519 != device_key:  # to sign them would make somebody else's device ours
        raise IdentityError(f"the homeserver gives other keys as those of our device {device_id}")
    if not own.cross_signed:
        signed = keys.sign(Use.SELF_SIGNING, user_id, without_signatures(device))
        await _upload_signatures(homeserver, {user_id: {device_id: signed}})


async def _query(homeserver: Homeserver, user_id: str) -> JsonObject:
    return await homeserver.once("POST", f"{CLIENT}/keys/query", {"device_keys": {user_id: []}})


async def _upload_identity(
    homeserver: Homeserver, body: JsonObject, user_id: str, password: str | None
) -> None:
    path = f"{CLIENT}/keys/device_signing/upload"
    try:
        # The first identity of an account needs no password (MSC3967, in v1.11).
        await homeserver.once("POST", path, body)
    except AuthenticationNeeded as needed:
        if not password:
            raise
        body["auth"] = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": user_id},
            "password": password,
            "session": needed.session,
        }
        await homeserver.once("POST", path, body)


async def _upload_signatures(homeserver: Homeserver, signatures: JsonObject) -> None:
    path = f"{CLIENT}/keys/signatures/upload"
    answer = await homeserver.once("POST", path, signatures)
    if answer.get("failures"):
        raise Refused("the homeserver refuses our signature", status=200, code="")
