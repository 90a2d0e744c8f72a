# SPDX-License-Identifier: MIT
"""The manual pages have what the programs have: verbs, options, variables, and no other."""

import re
from pathlib import Path

import pytest

from tests.integration.test_documented_commands import (
    PAGES,
    PROGRAMS,
    ROOT,
    help_of,
    options,
    verbs,
)

_OPTION = re.compile(r"\bFl -([a-z][a-z-]+)")


def manual(program: str) -> str:
    """Return a program's page, in mdoc(7)."""
    (page,) = (ROOT / "deploy" / "man").glob(f"{program}.[18]")
    return page.read_text()


def section(text: str, title: str) -> str:
    """Return a section of a page."""
    return text.split(f"\n.Sh {title}\n", 1)[1].split("\n.Sh ", 1)[0]


def usage(*command: str) -> set[str]:
    """Return the long options in a program's own synopsis."""
    return options(help_of(*command).split("\n\n", 1)[0])


def named(text: str) -> set[str]:
    """Return the options that a text names."""
    return {f"--{name}" for name in _OPTION.findall(text)}


@pytest.mark.parametrize("program", PROGRAMS)
def test_verbs_and_options(program: str) -> None:
    """A page has each verb in the program's order, each with its options, and no other."""
    page = manual(program)
    entries = re.split(r"^\.It (?:Xo\n\.)?Cm ", section(page, "VERBS"), flags=re.M)[1:]
    assert [re.split(r"\s", entry)[0] for entry in entries] == verbs(program)
    common = usage(program)
    has = named(section(page, "SYNOPSIS") + section(page, "DESCRIPTION"))
    assert has == {"--help", *common}
    for verb, entry in zip(verbs(program), entries, strict=True):
        has = named(entry)
        if "filters" in entry:
            has |= named(section(page, "FILTERS"))
        assert has == usage(program, verb) - common, verb


@pytest.mark.parametrize("part", ["agent", "executor"])
def test_variables(part: str) -> None:
    """A daemon's page has each variable of the environment that it reads, and no other."""
    sources = "".join(path.read_text() for path in (ROOT / part / "src").rglob("*.py"))
    asked = re.findall(r'environ(?:ment)?\.get\("((?:TIBET_NC|CREDENTIALS)_\w+)"', sources)
    (table,) = re.findall(r"\n_VARIABLES: .*\{\n((?: .*\n)+)\}", sources)
    read = {*asked, *re.findall(r'^    "(\w+)": ', table, re.M)}
    lines = re.findall(r"^\.It Ev (.*)$", section(manual(f"tibet-nc-{part}"), "ENVIRONMENT"), re.M)
    assert sorted(name for line in lines for name in line.split(" , ")) == sorted(read)
    assert len(read) >= 4


def test_files() -> None:
    """Each file that a page names is one that the other pages know."""
    known = "\n".join(path.read_text() for path in PAGES if path.suffix == ".md")
    paths = {
        Path(name)
        for program in PROGRAMS
        for name in re.findall(r"^\.It Pa (\S+)$", section(manual(program), "FILES"), re.M)
    }
    assert [path for path in paths if f"{path.name}`" not in known] == []
    assert len(paths) >= 8
