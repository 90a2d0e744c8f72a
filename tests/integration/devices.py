# SPDX-License-Identifier: MIT
"""The devices of an account, as the homeserver knows them."""

from tests.harness import Account, Synapse


def devices(synapse: Synapse, account: Account) -> set[str]:
    """Return the devices of an account but the one of its registration."""
    answer = synapse.request("GET", "/_matrix/client/v3/devices", token=account.access_token)
    listed = answer.body["devices"]
    assert isinstance(listed, list)
    ids = {str(device["device_id"]) for device in listed if isinstance(device, dict)}
    return ids - {account.device_id}
