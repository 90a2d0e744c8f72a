# SPDX-License-Identifier: MIT
"""How a count is said, in what the executor records and in what the auditor reads of it."""


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 record`` or ``5 records``; ``plural`` is for a noun that takes more than an s."""
    return f"{number} {noun if number == 1 else plural or f'{noun}s'}"
