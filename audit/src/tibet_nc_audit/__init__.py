# SPDX-License-Identifier: MIT
"""The auditor's tool: files in, verdict out. It writes nothing but what it is told to export."""

from typing import Final

VERSION: Final = "1.0.0.dev0"

__all__ = ["VERSION"]
