# SPDX-License-Identifier: MIT
"""The uids of the benchmark's hosts.

An executor ends, when it starts, whatever runs as its shell uid. So each host here has uids of its
own, which neither another host of the benchmark nor the tests use.
"""

import itertools
from typing import Final

from tests.separation import Uids, choose_uids

FIRST: Final = 64301
EACH: Final = 3

_numbers: Final = itertools.count()


def new_uids() -> Uids:
    """Return uids that no other host on this machine uses, as on machines of their own."""
    chosen = choose_uids()
    if not chosen.separated:
        return chosen
    first = FIRST + EACH * next(_numbers)
    return Uids(agent=first, executor=first + 1, shell=first + 2, separated=True)
