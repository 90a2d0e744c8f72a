# SPDX-License-Identifier: MIT
"""Fail if an environment holds a distribution that its part must never see (I2)."""

import sys
from importlib.metadata import distributions

NETWORK = {"aiohttp", "h11", "h2", "httpx", "matrix-nio", "requests", "urllib3", "vodozemac"}
TERMINAL = {"pexpect", "ptyprocess"}
FORBIDDEN = {
    "protocol": NETWORK | TERMINAL | {"tibet-nc-agent", "tibet-nc-audit", "tibet-nc-executor"},
    "agent": TERMINAL | {"tibet-core", "tibet-nc-audit", "tibet-nc-executor"},
    "executor": NETWORK | {"tibet-nc-agent", "tibet-nc-audit"},
    "audit": NETWORK | TERMINAL | {"tibet-nc-agent", "tibet-nc-executor"},
}


def main(part: str) -> int:
    """Name the intruders; return how many there are."""
    found = sorted({item.name.lower() for item in distributions()} & FORBIDDEN[part])
    for name in found:
        print(f"{part}: {name} must not be installed here", file=sys.stderr)
    return len(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
