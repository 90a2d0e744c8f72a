# SPDX-License-Identifier: MIT
"""What the kernel here is new enough for."""

import platform
from typing import Final

_VERSION: Final = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2])

TAKES_NO_FILES: Final = _VERSION >= (6, 16)
"""Whether a socket can refuse open files (SO_PASSRIGHTS)."""
