# SPDX-License-Identifier: MIT
"""What of a text in SQL is a statement, and what only data: `where m = 'drop table x'` drops none.

The dialects differ in where a string ends. Only what ends in the same place in all of them is left
out, and nothing if the text has anything that runs a string.
"""

import re

_QUOTED = re.compile(r""""[^"]*"|`[^`]*`|'[^']*'""")
# What stands in quotes and isn't a name: in double quotes that is a string or a column's title.
_IS_DATA = re.compile(r"""'|"[^"]*\s""")
# What psql itself understands and that only shows or sets how something is shown.
_META_COMMAND = re.compile(
    r"^[ \t]*\\(?:[adhlqtx]|d[a-zA-Z]{0,3}\+?|l\+|pset|timing|conninfo|echo)(?:[ \t][\w .*+-]*)?$",
    re.MULTILINE,
)
_CHANGES = (
    "drop",
    "trunc",
    "delete",
    "update",
    "alter",
    "grant",
    "revoke",
    "reset",
    "purge",
    "flush",
    "password",
    "create",
    "program",
    "xp_",
    "load_ext",
    "outfile",
    "dumpfile",
    "shutdown",
    "terminate",
    "schedul",
)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
_AMBIGUOUS = re.compile(r"[\\$#]|--|/\*")
_RUNS_STRINGS = re.compile(
    r"\b(?:exec\w*|prepare|do|format|dblink\w*|schedule\w*|sp_\w+|xp_\w+|eval|query_to_\w+"
    r"|crosstab\w*|create|alter)\b",
    re.IGNORECASE,
)


def may_change(text: str) -> bool:
    """Return whether a text has any word with which statements destroy something."""
    lowered = text.lower()
    return any(word in lowered for word in _CHANGES)


def without_strings(text: str) -> str:
    """Return SQL without the strings in it, which are data and no statements.

    As it is where a string may be run as a statement, or where it can't be told where one ends.
    """
    plain = _META_COMMAND.sub("", text)
    if ("'" not in plain and '"' not in plain) or _AMBIGUOUS.search(plain):
        return text
    rest = _QUOTED.sub(" ", plain)
    if _RUNS_STRINGS.search(rest) or any(quote in rest for quote in "\"'`"):
        return text
    return _QUOTED.sub(
        lambda found: found[0][0] * 2 if _IS_DATA.match(found[0]) else found[0], plain
    )


def statements(text: str) -> str:
    """Return SQL for a look at its statements: without strings, also with its comments as spaces.

    Both ways, since a dialect may run what stands in a comment (`/*! ... */`).
    """
    text = without_strings(text)
    return f"{text}\n{_COMMENT.sub(' ', text)}" if "/*" in text else text
