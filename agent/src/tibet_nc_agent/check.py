# SPDX-License-Identifier: MIT
"""One line of the doctor."""

import msgspec


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at; ``fix`` is "" when it is right."""

    name: str
    ok: bool
    detail: str
    fix: str = ""
