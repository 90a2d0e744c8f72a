# SPDX-License-Identifier: MIT
"""Who owns a device: cross-signing keys and device keys, checked from a ``/keys/query`` answer.

Facts. A user has a master key; it signs the self-signing key; that signs the user's devices
(Client-Server API v1.16, "Cross-signing"). Each key object names its owner and its use, and its
signatures lie under ``signatures``, by user and key id. A device signs its own keys too. A
homeserver can make up everything but the signatures, so a master key counts for what it is pinned
to, and everything else for what the master key says.

Every function here is total: any JSON gives a value or :class:`IdentityError`.
"""

from dataclasses import dataclass

import msgspec
from vodozemac import Ed25519PublicKey, Ed25519Signature

from tibet_nc_agent.canonical import Json, JsonObject, as_list, as_object, as_text, canonical
from tibet_nc_agent.fingerprint import spaced
from tibet_nc_agent.matrix_errors import IdentityChanged, IdentityError
from tibet_nc_protocol.terms import DeviceId


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device whose keys it has signed itself; keys are unpadded base64.

    ``cross_signed`` tells whether its owner's self-signing key vouches for it.
    """

    user_id: str
    device_id: str
    ed25519: str
    curve25519: str
    cross_signed: bool


@dataclass(frozen=True, kw_only=True)
class Identity:
    """A user's cross-signing keys, each signed by the master key, and the user's devices."""

    user_id: str
    master: str
    self_signing: str
    devices: tuple[Device, ...]

    def device_with(self, curve25519: str) -> Device:
        """Return the one device that owns an Olm key; raise :class:`IdentityError` if none does."""
        owners = [device for device in self.devices if device.curve25519 == curve25519]
        if len(owners) != 1:
            count = "no device" if not owners else "more than one device"
            raise IdentityError(f"{count} of {self.user_id} owns the key that sent this message")
        return owners[0]


def without_signatures(value: JsonObject) -> JsonObject:
    """Return the part of an object that signatures cover."""
    return {key: item for key, item in value.items() if key not in {"signatures", "unsigned"}}


def require_signature(value: JsonObject, *, user_id: str, key_id: str, public_key: str) -> None:
    """Check a signature on an object; raise :class:`IdentityError` if it is missing or wrong."""
    by_user = as_object(as_object(value.get("signatures")).get(user_id))
    signature = as_text(by_user.get(key_id))
    if not signature:
        raise IdentityError(f"there is no signature by {key_id} of {user_id}")
    try:
        Ed25519PublicKey.from_base64(public_key).verify_signature(
            canonical(without_signatures(value)), Ed25519Signature.from_base64(signature)
        )
    except ValueError as error:  # vodozemac's errors are ValueErrors, too
        raise IdentityError(f"the signature by {key_id} of {user_id} is wrong") from error


def devices_of(answer: JsonObject, user_id: str, self_signing: str | None) -> tuple[Device, ...]:
    """Return the well-formed devices of a user; a malformed or unsigned one is no device.

    ``self_signing`` is the user's verified self-signing key, if there is one.
    """
    devices: list[Device] = []
    for device_id, value in as_object(as_object(answer.get("device_keys")).get(user_id)).items():
        try:
            devices.append(_device(as_object(value), user_id, device_id, self_signing))
        except IdentityError:
            continue
    return tuple(devices)


def master_key_of(answer: JsonObject, user_id: str) -> str | None:
    """Return the master key that an answer shows as a user's, None if it shows none.

    That is a claim of the homeserver's, no more. Raises :class:`IdentityError` if it is no key.
    """
    master = as_object(answer.get("master_keys")).get(user_id)
    return _public_key(as_object(master), user_id, "master") if master else None


def verify_identity(answer: JsonObject, user_id: str, *, pinned: str | None) -> Identity:
    """Return a user's identity from a ``/keys/query`` answer.

    Raises :class:`IdentityError` if the user has none, or if the master key doesn't vouch for the
    self-signing key. With a pin that is :class:`IdentityChanged`, and so is another master key
    than the pinned one; but not an answer that says nothing of the user at all. Without a pin the
    answer shows no more than what the homeserver claims: compare the master key by other means.
    """
    if pinned is None:
        return _identity(answer, user_id)
    try:
        identity = _identity(answer, user_id)
    except IdentityError as error:
        if _withheld(answer, user_id):
            raise IdentityError(f"the keys of {user_id} are not to be had now: {error}") from error
        raise IdentityChanged(str(error), pinned=pinned) from error
    if identity.master != pinned:
        raise IdentityChanged(
            f"the identity of {user_id} has changed: its master key is {spaced(identity.master)},"
            f" and {spaced(pinned)} is pinned",
            pinned=pinned,
        )
    return identity


def _withheld(answer: JsonObject, user_id: str) -> bool:
    """Whether an answer says nothing of a user, or that the user's server could not be asked."""
    server = user_id.partition(":")[2]
    known = user_id in as_object(answer.get("device_keys"))
    return not known or server in as_object(answer.get("failures"))


def _identity(answer: JsonObject, user_id: str) -> Identity:
    master_object = as_object(as_object(answer.get("master_keys")).get(user_id))
    master = _public_key(master_object, user_id, "master")
    signing_object = as_object(as_object(answer.get("self_signing_keys")).get(user_id))
    self_signing = _public_key(signing_object, user_id, "self_signing")
    require_signature(
        signing_object, user_id=user_id, key_id=f"ed25519:{master}", public_key=master
    )
    return Identity(
        user_id=user_id,
        master=master,
        self_signing=self_signing,
        devices=devices_of(answer, user_id, self_signing),
    )


def _public_key(value: JsonObject, user_id: str, use: str) -> str:
    """Return the key of a cross-signing key object."""
    keys = as_object(value.get("keys"))
    if len(keys) != 1 or as_text(value.get("user_id")) != user_id:
        raise IdentityError(f"{user_id} has no usable {use.replace('_', '-')} key")
    ((key_id, key),) = keys.items()
    uses: list[Json] = as_list(value.get("usage"))
    if uses != [use] or not isinstance(key, str) or key_id != f"ed25519:{key}":
        raise IdentityError(f"{user_id} has no usable {use.replace('_', '-')} key")
    return key


def _device(value: JsonObject, user_id: str, device_id: str, self_signing: str | None) -> Device:
    keys = as_object(value.get("keys"))
    ed25519 = as_text(keys.get(f"ed25519:{device_id}"))
    curve25519 = as_text(keys.get(f"curve25519:{device_id}"))
    named = (as_text(value.get("user_id")), as_text(value.get("device_id")))
    if not ed25519 or not curve25519 or named != (user_id, device_id):
        raise IdentityError(f"the keys of device {device_id} of {user_id} are malformed")
    try:
        msgspec.convert(device_id, DeviceId)  # its owner chose it, and the executor is told it
    except msgspec.ValidationError as error:
        raise IdentityError(f"a device of {user_id} has a name that is none") from error
    require_signature(value, user_id=user_id, key_id=f"ed25519:{device_id}", public_key=ed25519)
    cross_signed = False
    if self_signing is not None:
        try:
            key_id = f"ed25519:{self_signing}"
            require_signature(value, user_id=user_id, key_id=key_id, public_key=self_signing)
            cross_signed = True
        except IdentityError:
            pass
    return Device(
        user_id=user_id,
        device_id=device_id,
        ed25519=ed25519,
        curve25519=curve25519,
        cross_signed=cross_signed,
    )
