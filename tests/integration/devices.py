# SPDX-License-Identifier: MIT
"""The devices of an account and its identity, as the homeserver knows them."""

from typing import Any

from tests.harness import Account, Synapse
from tibet_nc_agent.identity import Identity, verify_identity


def devices(synapse: Synapse, account: Account) -> set[str]:
    """Return the devices of an account but the one of its registration."""
    answer = synapse.request("GET", "/_matrix/client/v3/devices", token=account.access_token)
    listed = answer.body["devices"]
    assert isinstance(listed, list)
    ids = {str(device["device_id"]) for device in listed if isinstance(device, dict)}
    return ids - {account.device_id}


def _identity(synapse: Synapse, account: Account, master: str | None) -> Identity:
    wanted: Any = {"device_keys": {account.user_id: []}}
    path = "/_matrix/client/v3/keys/query"
    answer: Any = synapse.request("POST", path, wanted, account.access_token)
    return verify_identity(answer.body, account.user_id, pinned=master)


def master_key(synapse: Synapse, account: Account) -> str:
    """Return the master key of an account's identity."""
    return _identity(synapse, account, None).master


def signed_devices(synapse: Synapse, account: Account, master: str) -> set[str]:
    """Return the devices that the account's identity vouches for; its master key must be this."""
    devices = _identity(synapse, account, master).devices
    return {device.device_id for device in devices if device.cross_signed}


def claim_keys(
    synapse: Synapse, stranger: Account, user_id: str, device_id: str, *, most: int = 1000
) -> int:
    """Take one-time keys of a device, as anybody can; return how many: fewer than most, if all."""
    wanted: Any = {"one_time_keys": {user_id: {device_id: "signed_curve25519"}}}
    for taken in range(most):
        path = "/_matrix/client/v3/keys/claim"
        answer: Any = synapse.request("POST", path, wanted, stranger.access_token).body
        (key,) = answer["one_time_keys"][user_id][device_id].values()
        if key.get("fallback", False):
            return taken
    return most
