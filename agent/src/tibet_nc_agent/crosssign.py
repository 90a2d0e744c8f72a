# SPDX-License-Identifier: MIT
"""The agent's own cross-signing identity: three keys in one file, uploaded once.

A client that excludes devices not signed by their owner (MSC4153) talks only to an agent that has
one. The file lies beside the Olm store, not in it: when the store is lost, a new login signed with
these keys is still the same agent to every operator. An identity that the account has already, from
another client, is replaced only if the caller names it as the one that a person gave up.
"""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Self

import msgspec
from vodozemac import Account

from tibet_nc_agent.canonical import JsonObject, as_object, canonical
from tibet_nc_agent.fingerprint import spaced
from tibet_nc_agent.homeserver import CLIENT, Homeserver
from tibet_nc_agent.identity import Identity, master_key_of, verify_identity, without_signatures
from tibet_nc_agent.interactive_auth import PASSWORD, Challenge
from tibet_nc_agent.matrix_errors import (
    ANOTHER_IDENTITY,
    AuthenticationNeeded,
    IdentityError,
    OtherIdentity,
    Refused,
    ServerFault,
    StoreDamaged,
)
from tibet_nc_agent.statefile import read_private, write_whole


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
            write_whole(file, msgspec.json.encode(pickles) + b"\n")
            return cls(keys)
        try:
            stored = msgspec.json.decode(data, type=dict[Use, str])
            return cls({use: Account.from_pickle(stored[use], pickle_key) for use in Use})
        except (ValueError, KeyError) as error:  # msgspec's and vodozemac's are ValueErrors, too
            raise StoreDamaged(
                f"{file} can't be read with the pickle.key that is here ({type(error).__name__}):"
                f" restore both from the same backup, or see {ANOTHER_IDENTITY}"
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


def own_identity(answer: JsonObject, keys: CrossSigning, user_id: str) -> Identity:
    """Return the identity of the agent's account from an answer, if it is that of ``keys``.

    Raises :class:`OtherIdentity` if the account has another one, :class:`IdentityError` if it has
    none or not all of it is ours.
    """
    shown, ours = master_key_of(answer, user_id), keys.public_key(Use.MASTER)
    if shown is not None and shown != ours:
        raise OtherIdentity(
            f"the account {user_id} has another cross-signing identity ({spaced(shown)}) than the"
            f" agent's own ({spaced(ours)}): put the agent's cross-signing.json back, if it was"
            " lost, or replace the account's identity: tibet-nc-agent login --reset-identity"
        )
    identity = verify_identity(answer, user_id, pinned=None)
    if identity.self_signing != keys.public_key(Use.SELF_SIGNING):
        raise IdentityError(f"the self-signing key of {user_id} is not the saved one")
    return identity


async def bootstrap(
    homeserver: Homeserver,
    keys: CrossSigning,
    *,
    user_id: str,
    device_id: str,
    device_key: str,
    device_sign: Callable[[bytes], str],
    password: str | None,
    replacing: str | None = None,
) -> None:
    """Make sure that the homeserver has our identity and that it vouches for our device.

    ``device_sign`` signs with the device's own ``device_key`` (Ed25519), which vouches for the
    master key in turn. It can be called any number of times and goes on where a crash ended it.
    Raises :class:`OtherIdentity` if the account has another identity already, which is left alone
    unless its master key is ``replacing``; :class:`IdentityError` if the homeserver gives other
    keys as our device's; and :class:`AuthenticationNeeded` if it wants the password and none or a
    wrong one is given, or wants something else.
    """
    answer = await query(homeserver, user_id)
    shown = master_key_of(answer, user_id)
    if shown is None or (shown == replacing and shown != keys.public_key(Use.MASTER)):
        objects = keys.key_objects(user_id)
        master = objects[Use.MASTER]
        signature = device_sign(canonical(without_signatures(master)))
        body: JsonObject = {f"{use}_key": value for use, value in objects.items()}
        key_id = f"ed25519:{device_id}"
        body["master_key"] = _with_signature(master, user_id, key_id, signature)
        try:
            await _upload_identity(homeserver, body, user_id, password)
        except ServerFault as error:
            if shown is None:
                raise
            # Synapse keeps every master key that an account ever had, and none can come twice.
            raise ServerFault(
                f"{error}; if that stays so, it doesn't take an identity back that the account had"
                " before: move cross-signing.json away, then type this again, which makes a new one"
            ) from error
        answer = await query(homeserver, user_id)
    identity = own_identity(answer, keys, user_id)
    device = as_object(as_object(as_object(answer.get("device_keys")).get(user_id)).get(device_id))
    own = next((known for known in identity.devices if known.device_id == device_id), None)
    if own is None:
        raise IdentityError(f"the homeserver has no keys of our device {device_id}")
    if own.ed25519 != device_key:  # to sign them would make somebody else's device ours
        raise IdentityError(f"the homeserver gives other keys as those of our device {device_id}")
    if not own.cross_signed:
        signed = keys.sign(Use.SELF_SIGNING, user_id, without_signatures(device))
        await _upload_signatures(homeserver, {user_id: {device_id: signed}})


async def query(homeserver: Homeserver, user_id: str) -> JsonObject:
    """Return what the homeserver says of a user's keys now; raises as :meth:`Homeserver.once`."""
    return await homeserver.once("POST", f"{CLIENT}/keys/query", {"device_keys": {user_id: []}})


async def _upload_identity(
    homeserver: Homeserver, body: JsonObject, user_id: str, password: str | None
) -> None:
    path = f"{CLIENT}/keys/device_signing/upload"
    try:
        # The first identity of an account needs no password (MSC3967, in v1.11).
        await homeserver.once("POST", path, body)
    except AuthenticationNeeded as needed:
        challenge = needed.challenge
        if not challenge.password:
            text = _elsewhere(challenge, user_id)
            raise AuthenticationNeeded(text, challenge=challenge) from None
        if not password:
            text = f"the homeserver asks for the password of {user_id}: set matrix.password_file"
            raise AuthenticationNeeded(text, challenge=challenge) from None
    else:
        return
    body["auth"] = {
        "type": PASSWORD,
        "identifier": {"type": "m.id.user", "user": user_id},
        "password": password,
        "session": challenge.session,
    }
    try:
        await homeserver.once("POST", path, body)
    except AuthenticationNeeded:  # "attempted but failed" has the same form as "not attempted"
        text = f"the homeserver does not accept the password of {user_id}"
        raise AuthenticationNeeded(text, challenge=challenge) from None


def _elsewhere(challenge: Challenge, user_id: str) -> str:
    """Say how to go on where the homeserver takes no password."""
    if challenge.url:
        return (
            f"the homeserver lets this be approved on a page only: open {challenge.url} as"
            f" {user_id}, approve it there, and type this command again within some minutes"
        )
    asked = ", ".join(challenge.stages) or "something that it doesn't name"
    return (
        f"the homeserver takes no password for this, but asks for {asked}, which a program can't"
        " do: ask its administrator, or give the agent a new account"
    )


async def _upload_signatures(homeserver: Homeserver, signatures: JsonObject) -> None:
    path = f"{CLIENT}/keys/signatures/upload"
    answer = await homeserver.once("POST", path, signatures)
    if answer.get("failures"):
        raise Refused("the homeserver refuses our signature", status=200, code="")
