# SPDX-License-Identifier: MIT
"""The agent of tibet-nc: it reads the network, and has neither a shell nor a privilege."""

from importlib.metadata import version
from typing import Final

VERSION: Final = version("tibet-nc-agent")

__all__ = ["VERSION"]
