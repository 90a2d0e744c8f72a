# SPDX-License-Identifier: MIT
"""Keys as people compare them."""

_GROUP = 4


def spaced(key: str) -> str:
    """Return a key in groups of four, as Element shows it."""
    return " ".join(key[start : start + _GROUP] for start in range(0, len(key), _GROUP))


def unspaced(text: str) -> str:
    """Return the key in what somebody typed or copied: without white space and padding."""
    return "".join(text.split()).rstrip("=")
