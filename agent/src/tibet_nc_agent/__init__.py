# SPDX-License-Identifier: MIT
"""The agent of tibet-nc: it reads the network, and has neither a shell nor a privilege."""

from typing import Final

VERSION: Final = "1.0.0.dev0"

__all__ = ["VERSION"]
