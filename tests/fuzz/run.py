# SPDX-License-Identifier: MIT
"""Feed all decoders with changed vectors: ``python -m tests.fuzz.run --seconds 60``."""

import argparse
import random
import secrets
import sys
import time

from tests.fuzz.decoders import ENTRIES
from tests.fuzz.mutation import mutations, seeds


def main() -> int:
    """Fuzz for a time; print the input that broke a decoder, if any did, and return 1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long, for all together")
    parser.add_argument("--seed", type=int, help="repeat an earlier run")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    sys.stdout.write(f"seed {seed}\n")
    inputs = mutations(random.Random(seed), seeds())
    end = time.monotonic() + options.seconds
    count = 0
    while time.monotonic() < end:
        data = next(inputs)
        for name, entry in ENTRIES.items():
            try:
                entry(data)
            except Exception:
                sys.stderr.write(f"{name} broke on {data!r} (input {count} of seed {seed})\n")
                raise
        count += 1
    sys.stdout.write(f"{count} inputs through {len(ENTRIES)} decoders, nothing broke\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
