# SPDX-License-Identifier: MIT
"""The uids of the benchmark's hosts, as on machines of their own."""

import itertools
from typing import Final

from tests.separation import Uids, choose_uids

_hosts: Final = itertools.count(1)


def new_uids() -> Uids:
    """Return uids that no other host on this machine uses."""
    return choose_uids(next(_hosts))
