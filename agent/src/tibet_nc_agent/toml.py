# SPDX-License-Identifier: MIT
"""What a TOML file can hold; tomllib says that it is anything."""

from datetime import date, time

type Toml = bool | int | float | str | date | time | list[Toml] | dict[str, Toml]
type TomlTable = dict[str, Toml]
