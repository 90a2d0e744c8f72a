# SPDX-License-Identifier: MIT
"""Verification of a user in a room by short authentication string: emoji that two people compare.

Everything here is pure: events and decisions go in, what to send and what to show comes out.
"""

from tibet_nc_agent.sas.contents import CANCEL_TYPE, REQUEST_MSGTYPE, Code
from tibet_nc_agent.sas.emoji import EMOJI
from tibet_nc_agent.sas.handshake import (
    Compare,
    Effect,
    Ended,
    Handshake,
    Ours,
    Send,
    State,
    Verified,
)

__all__ = [
    "CANCEL_TYPE",
    "EMOJI",
    "REQUEST_MSGTYPE",
    "Code",
    "Compare",
    "Effect",
    "Ended",
    "Handshake",
    "Ours",
    "Send",
    "State",
    "Verified",
]
