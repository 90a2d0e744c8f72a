# SPDX-License-Identifier: MIT
"""The operands of commands that write files, told from options and the values of options."""

from tibet_nc_agent.safety.call import Call
from tibet_nc_agent.safety.values import Field

# Options whose value is the next argument: letters, and long ones.
_VALUE_OPTIONS: dict[str, tuple[str, frozenset[str]]] = {
    "ddrescue": ("abceEFHiKmorsTxZ", frozenset()),
    "fallocate": ("lo", frozenset(["--length", "--offset"])),
    "mount": ("oOt", frozenset(["--options", "--types", "--test-opts"])),
    "patch": ("BdDFgioprVxYz", frozenset(["--input", "--output", "--directory", "--strip"])),
    "rsync": (
        "efBMT",
        frozenset(
            f"--{name}"
            for name in (
                "backup-dir",
                "bwlimit",
                "chmod",
                "chown",
                "compare-dest",
                "copy-dest",
                "exclude",
                "exclude-from",
                "files-from",
                "filter",
                "include",
                "include-from",
                "info",
                "link-dest",
                "log-file",
                "max-delete",
                "max-size",
                "min-size",
                "out-format",
                "partial-dir",
                "password-file",
                "port",
                "rsh",
                "rsync-path",
                "temp-dir",
                "timeout",
            )
        ),
    ),
    "sed": ("efl", frozenset(["--expression", "--file", "--line-length"])),
    "gsed": ("efl", frozenset(["--expression", "--file", "--line-length"])),
    "truncate": ("sr", frozenset(["--size", "--reference"])),
}


def operands_of(call: Call) -> list[Field]:
    """Return the arguments that are neither options nor their values."""
    letters, long_options = _VALUE_OPTIONS.get(call.name, ("", frozenset()))

    def takes_next(word: str) -> bool:
        if word.startswith("--"):
            return word in long_options
        takes = next((i for i, c in enumerate(word) if i and c in letters), 0)
        return takes == len(word) - 1 and word[1:].isalnum()  # unlike `-i.save`

    return call.operands(takes_next)
