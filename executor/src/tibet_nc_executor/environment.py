# SPDX-License-Identifier: MIT
"""The environment of a command: fixed, and nothing of the executor's (I10)."""

from typing import Final

from tibet_nc_executor.settings import ShellSettings

_FIXED: Final = {
    "GIT_PAGER": "cat",
    "LANG": "C.UTF-8",
    "LESSSECURE": "1",  # no shell from within less
    "MANPAGER": "cat",
    "PAGER": "cat",
    "SHELL": "/bin/bash",
    "SYSTEMD_COLORS": "0",
    "SYSTEMD_PAGER": "cat",
    "SYSTEMD_URLIFY": "0",
    "TERM": "xterm-256color",
}
NAMES: Final = (*_FIXED, "HOME", "LOGNAME", "PATH", "USER")


def environment(settings: ShellSettings, home: str | None) -> dict[str, str]:
    """Return what every command gets, with a home of its own if it has one; `NAMES` lists it."""
    return {
        **_FIXED,
        "HOME": home or settings.home,
        "LOGNAME": settings.user,
        "PATH": settings.path,
        "USER": settings.user,
    }
