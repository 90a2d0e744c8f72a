# SPDX-License-Identifier: MIT
"""The privileged side: it owns the shell, the chain and the keys, and has no network."""

from typing import Final

# Not looked up: importlib.metadata brings email and zipfile along: half a megabyte, 12 ms.
VERSION: Final = "1.0.0.dev0"

__all__ = ["VERSION"]
