# SPDX-License-Identifier: MIT
"""Modules that a program of another language loads, if the same line has written their files.

Where a language looks for them isn't followed: a file of the name counts, wherever it is.
"""

import re
from collections.abc import Iterable, Iterator

from tibet_nc_agent.safety.commands.literals import LITERAL, content
from tibet_nc_agent.safety.rules.model import Languages
from tibet_nc_agent.safety.state import State

# In a canonical program: a literal, or in some languages a bare word, behind what loads it.
_LOADS = re.compile(
    r"\b(?:require(?:_relative|_once)?|include(?:_once)?|import|from|load(?:file)?|source|do|dofile"
    rf"|use)\b[\s(]{{0,9}}(?:({LITERAL})|([\w./:-]{{1,200}}))"
)
_CLIMBS = re.compile(r"^(?:\.{0,2}/)+")


def loaded(program: str) -> Iterator[str]:
    """Yield the names of the modules that a canonical program loads, and more."""
    for found in _LOADS.finditer(program):
        literal, word = found.groups()
        yield word if literal is None else content(literal)


def written(
    names: Iterable[str], language: str, languages: Languages, state: State
) -> Iterator[str]:
    """Yield the files of these modules that the same line has written or fetched."""
    files = sorted({*state.files, *state.downloaded, *state.decoded})
    endings = languages.module_files.get(language, ())
    if not files or not endings:
        return
    paths = [f"/{file}" for file in files]
    for name in dict.fromkeys(names):
        base = _CLIMBS.sub("", name.replace("::", "/"))
        whole = [base] if base.endswith(endings) else []
        spelled = base.replace(".", "/") if language in ("python", "lua") else base
        for file in [*whole, *(f"{spelled}{ending}" for ending in endings)]:
            found = (i for i, path in enumerate(paths) if path.endswith(f"/{file}"))
            yield from (files[index] for index in found)
