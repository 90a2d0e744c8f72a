# SPDX-License-Identifier: MIT
"""A short run of the fuzzer with every test run; `make fuzz` runs it for longer."""

import random
from itertools import islice

import pytest

from tests.fuzz.decoders import ENTRIES
from tests.fuzz.mutation import mutations, seeds

INPUTS = 20_000


@pytest.mark.parametrize("name", ENTRIES)
def test_changed_vectors_break_no_decoder(name: str) -> None:
    """Each of very many damaged inputs gives each decoder a value or our error."""
    known = seeds()
    for data in [*known, *islice(mutations(random.Random(name), known), INPUTS)]:
        ENTRIES[name](data)
