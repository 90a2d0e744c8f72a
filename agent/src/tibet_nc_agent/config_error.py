# SPDX-License-Identifier: MIT
"""The one error of a wrong setting: one line that says where, what, and what would be right."""


class ConfigError(Exception):
    """A setting is wrong.

    ``source`` is the file, or the environment variable; ``key`` the setting; neither the text nor
    the attributes ever hold a setting's value, which could be a secret in the wrong place (I10).
    """

    def __init__(self, source: str, key: str, problem: str, right: str = "") -> None:
        self.source = source
        self.key = key
        self.problem = problem
        self.right = right
        parts = [source, key, problem] if key else [source, problem]
        line = ": ".join(parts) + (f"; right would be {right}" if right else "")
        super().__init__(" ".join(line.split()))
