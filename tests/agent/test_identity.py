# SPDX-License-Identifier: MIT
"""Whose device it is, decided from any answer to ``/keys/query``."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from vodozemac import Account

from tests.agent.json_values import OBJECTS, VALUES, paths, replaced
from tibet_nc_agent.canonical import Json, JsonObject, canonical
from tibet_nc_agent.crosssign import CrossSigning, Use, own_identity
from tibet_nc_agent.identity import Identity, devices_of, verify_identity, without_signatures
from tibet_nc_agent.matrix_errors import (
    IdentityChanged,
    IdentityError,
    OtherIdentity,
    StoreDamaged,
)

USER = "@op:example.org"


def device_object(
    device_id: str,
    account: Account,
    user_id: str = USER,
    changes: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return the keys of a device, changed, and then signed by itself."""
    value: dict[str, Any] = {
        "user_id": user_id,
        "device_id": device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {
            f"ed25519:{device_id}": account.ed25519_key.to_base64(),
            f"curve25519:{device_id}": account.curve25519_key.to_base64(),
        },
        **changes,
    }
    signature = account.sign(canonical(value)).to_base64()
    return {**value, "signatures": {user_id: {f"ed25519:{device_id}": signature}}}


@pytest.fixture
def keys(tmp_path: Path) -> CrossSigning:
    """Make an identity."""
    return CrossSigning.open(tmp_path / "keys", bytes(32))


@pytest.fixture
def answer(keys: CrossSigning) -> dict[str, Any]:
    """Return an answer with one signed and one unsigned device."""
    objects = keys.key_objects(USER)
    signed = keys.sign(Use.SELF_SIGNING, USER, device_object("SIGNED", Account()))
    return {
        "master_keys": {USER: objects[Use.MASTER]},
        "self_signing_keys": {USER: objects[Use.SELF_SIGNING]},
        "device_keys": {USER: {"SIGNED": signed, "UNSIGNED": device_object("UNSIGNED", Account())}},
    }


def identity(answer: dict[str, Any], keys: CrossSigning) -> Identity:
    """Return the identity in an answer, with the right pin."""
    return verify_identity(answer, USER, pinned=keys.public_key(Use.MASTER))


def test_signed_and_unsigned_device(answer: dict[str, Any], keys: CrossSigning) -> None:
    """A device is cross-signed if and only if the self-signing key has signed it (I5)."""
    found = identity(answer, keys)
    assert {device.device_id: device.cross_signed for device in found.devices} == {
        "SIGNED": True,
        "UNSIGNED": False,
    }


def test_owner_of_a_key(answer: dict[str, Any], keys: CrossSigning) -> None:
    """A device is found by its Olm key, and a key that nobody owns is refused (I5)."""
    found = identity(answer, keys)
    for device in found.devices:
        assert found.device_with(device.curve25519) == device
    with pytest.raises(IdentityError, match="no device"):
        found.device_with("x" * 43)


def test_key_with_two_owners_is_refused(answer: dict[str, Any], keys: CrossSigning) -> None:
    """When two devices claim one Olm key, neither gets it (I5)."""
    account = Account()
    for device_id in ("A", "B"):
        answer["device_keys"][USER][device_id] = device_object(device_id, account)
    with pytest.raises(IdentityError, match="more than one"):
        identity(answer, keys).device_with(account.curve25519_key.to_base64())


def test_other_master_key_is_refused(answer: dict[str, Any], tmp_path: Path) -> None:
    """An identity other than the pinned one is refused, sound as it may be (I5)."""
    other = CrossSigning.open(tmp_path / "other", bytes(32))
    with pytest.raises(IdentityError, match="has changed"):
        identity(answer, other)


def test_self_signing_key_of_another_master(
    answer: dict[str, Any], keys: CrossSigning, tmp_path: Path
) -> None:
    """A self-signing key that the pinned master key hasn't signed vouches for nothing (I5)."""
    other = CrossSigning.open(tmp_path / "other", bytes(32))
    answer["self_signing_keys"][USER] = other.key_objects(USER)[Use.SELF_SIGNING]
    with pytest.raises(IdentityError, match="signature"):
        identity(answer, keys)


def test_user_signing_key_in_place_of_the_self_signing_key(
    answer: dict[str, Any], keys: CrossSigning
) -> None:
    """A key that the master key signed for another use doesn't vouch for devices (I5)."""
    answer["self_signing_keys"][USER] = keys.key_objects(USER)[Use.USER_SIGNING]
    with pytest.raises(IdentityError, match="self-signing"):
        identity(answer, keys)


@pytest.mark.parametrize("which", ["master_keys", "self_signing_keys"])
@pytest.mark.parametrize("key", [5, None, True, ["x"]])
def test_a_key_that_is_no_text(answer: dict[str, Any], which: str, key: object) -> None:
    """A key that is another kind of JSON, under the very name that it would have, is none."""
    answer[which][USER]["keys"] = {f"ed25519:{key}": key}
    with pytest.raises(IdentityError, match="has no usable"):
        verify_identity(answer, USER, pinned=None)


def test_a_device_without_an_olm_key(answer: dict[str, Any], keys: CrossSigning) -> None:
    """A device that nothing could be encrypted for is none, although it has signed that."""
    account = Account()
    only = {"keys": {"ed25519:X": account.ed25519_key.to_base64()}}
    answer["device_keys"][USER]["X"] = device_object("X", account, changes=only)
    assert "X" not in {device.device_id for device in identity(answer, keys).devices}


def test_device_of_another_user(answer: dict[str, Any], keys: CrossSigning) -> None:
    """Another user's device among an operator's is no device of the operator (I5)."""
    answer["device_keys"][USER]["X"] = device_object("X", Account(), "@mallory:example.org")
    assert "X" not in {device.device_id for device in identity(answer, keys).devices}


def test_device_under_another_name(answer: dict[str, Any], keys: CrossSigning) -> None:
    """A signed device under another device's id is no device (I5)."""
    answer["device_keys"][USER] = {"OTHER": answer["device_keys"][USER]["SIGNED"]}
    assert identity(answer, keys).devices == ()


@pytest.mark.parametrize("named", [{"user_id": "@mallory:example.org"}, {"device_id": "OTHER"}])
def test_device_that_names_another(
    answer: dict[str, Any], keys: CrossSigning, named: dict[str, str]
) -> None:
    """Keys that are signed as they must be, and name another device, are those of none (I5)."""
    device = device_object("X", Account(), changes=named)
    signed = keys.sign(Use.SELF_SIGNING, USER, device)
    answer["device_keys"][USER] = {"X": signed}
    assert identity(answer, keys).devices == ()


def test_device_that_has_not_signed_its_keys(answer: dict[str, Any], keys: CrossSigning) -> None:
    """A device proves by its own key that the other key is its own, whoever else vouches (I5)."""
    device = device_object("X", Account())
    device["keys"]["curve25519:X"] = Account().curve25519_key.to_base64()
    answer["device_keys"][USER] = {"X": keys.sign(Use.SELF_SIGNING, USER, device)}
    assert identity(answer, keys).devices == ()


@pytest.mark.parametrize("use", [Use.MASTER, Use.SELF_SIGNING])
@pytest.mark.parametrize("what", ["another user", "another name", "two keys", "no key"])
def test_key_that_is_none(answer: dict[str, Any], keys: CrossSigning, use: Use, what: str) -> None:
    """A key object that names another user or key, or not one key, is none, signed or not (I5)."""
    key, other = keys.public_key(use), Account().ed25519_key.to_base64()
    changed: dict[str, dict[str, Any]] = {
        "another user": {"user_id": "@mallory:example.org"},
        "another name": {"keys": {f"ed25519:{other}": key}},
        "two keys": {"keys": {f"ed25519:{key}": key, f"ed25519:{other}": other}},
        "no key": {"keys": {}},
    }
    value = {**keys.key_objects(USER)[use], **changed[what]}
    answer[f"{use}_keys"][USER] = keys.sign(Use.MASTER, USER, value)
    with pytest.raises(IdentityError, match=r"has no usable"):
        identity(answer, keys)


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ({"device_keys": {}}, False),
        ({"failures": {"example.org": {}}}, False),
        ({"failures": {"elsewhere.example": {}}}, True),
        ({}, True),
    ],
    ids=["nothing of the user", "not to be asked", "another not to be asked", "no identity"],
)
def test_identity_that_is_withheld_is_no_other_one(
    answer: dict[str, Any], keys: CrossSigning, said: dict[str, Any], *, change: bool
) -> None:
    """Without keys nothing counts; that pauses only where it is said that there are none (I5)."""
    del answer["master_keys"]
    with pytest.raises(IdentityError) as caught:
        identity({**answer, **said}, keys)
    assert isinstance(caught.value, IdentityChanged) == change


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), new=VALUES)
def test_nothing_signed_can_be_changed(
    answer: dict[str, Any], keys: CrossSigning, data: st.DataObject, new: Json
) -> None:
    """Whatever is changed in an answer, nobody else gets in: all or less stays the same (I5)."""
    before = set(identity(answer, keys).devices)
    assert any(device.cross_signed for device in before)
    changed = replaced(answer, data.draw(st.sampled_from(paths(answer))), new)
    with suppress(IdentityError):
        for device in identity(changed, keys).devices:
            assert device in before or not device.cross_signed


@given(OBJECTS)
def test_any_answer_gives_an_identity_or_our_error(answer: dict[str, Any]) -> None:
    """Any JSON gives a value or :class:`IdentityError`."""
    assert devices_of(answer, USER, None) == ()
    with pytest.raises(IdentityError):
        verify_identity(answer, USER, pinned=None)


def test_identity_is_kept(keys: CrossSigning, tmp_path: Path) -> None:
    """The keys are made once, and are the same ever after, in a file for the owner alone."""
    again = CrossSigning.open(tmp_path / "keys", bytes(32))
    assert again.key_objects(USER) == keys.key_objects(USER)
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"master":"x"}', b"\xff"])
def test_damaged_identity_is_not_replaced(tmp_path: Path, data: bytes) -> None:
    """A file that isn't one is an error, and is left as it is."""
    file = tmp_path / "keys"
    file.write_bytes(data)
    with pytest.raises(StoreDamaged, match="backup"):
        CrossSigning.open(file, bytes(32))
    assert file.read_bytes() == data


def test_identity_needs_its_pickle_key(keys: CrossSigning, tmp_path: Path) -> None:
    """The file can't be read with another pickle key."""
    assert keys.public_key(Use.MASTER)
    with pytest.raises(StoreDamaged, match=r"pickle\.key"):
        CrossSigning.open(tmp_path / "keys", b"x" * 32)


def test_signature_covers_neither_signatures_nor_unsigned() -> None:
    """What a homeserver may add to keys is not covered."""
    value: Any = {"a": 1, "signatures": {"x": 1}, "unsigned": {"y": 1}}
    assert without_signatures(value) == {"a": 1}


@pytest.mark.parametrize("device_id", ["", "my phone", "a\nb", "x" * 256])
def test_device_with_a_name_that_is_none(device_id: str) -> None:
    """A device whose name can't stand in a record is no device, signed or not."""
    answer: JsonObject = {"device_keys": {USER: {device_id: device_object(device_id, Account())}}}
    assert devices_of(answer, USER, None) == ()


def test_an_identity_is_the_agents_own_in_all_its_keys(
    answer: dict[str, Any], keys: CrossSigning, tmp_path: Path
) -> None:
    """The agent takes an identity for its own by both keys: it signs devices with the second."""
    assert own_identity(answer, keys, USER).master == keys.public_key(Use.MASTER)
    mixed = {use: keys._keys[use] for use in Use} | {Use.SELF_SIGNING: Account()}
    with pytest.raises(IdentityError, match=r"the self-signing key of .* is not the saved one"):
        own_identity(answer, CrossSigning(mixed), USER)
    with pytest.raises(OtherIdentity):
        own_identity(answer, CrossSigning.open(tmp_path / "other", bytes(32)), USER)
