# SPDX-License-Identifier: MIT
"""What the pages tell people to type exists: programs, verbs, options, make targets, files."""

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.system.pages import blocks, dead_links
from tibet_nc_protocol.records import SecurityEvent

ROOT = Path(__file__).resolve().parents[2]
PROGRAMS = ("tibet-nc-agent", "tibet-nc-executor", "tibet-nc-audit")
PAGES = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "protocol/*.md", "deploy/**/*.conf", "deploy/*.toml")
    for path in ROOT.glob(pattern)
)
INSTALLER = "deploy/install.sh"

_CODE = re.compile(r"^ *```[a-z]*\n(.*?)^ *```$|`([^`\n]+)`|^    (\S[^\n]*)$", re.M | re.S)
_COMMAND = r"(?:^ *|[|;&(:]\s*|-- )(?:\S*/)?{program} (?P<words>[^\s|;&<>)#][^|;&<>)#\n]*)"
"""A program where a command begins, and what follows up to the next; ``-- `` is runuser's."""


@cache
def help_of(*command: str) -> str:
    """Return what a program says of itself."""
    path = ROOT / command[0]
    program = str(path if path.exists() else ROOT / ".venv/dev/bin" / command[0])
    done = subprocess.run(
        [program, *command[1:], "--help"], capture_output=True, text=True, check=True
    )
    return done.stdout


def verbs(program: str) -> list[str]:
    """Return a program's verbs, in its own order."""
    return re.findall(r"^    ([a-z][a-z-]+)", help_of(program), flags=re.M)


def options(text: str) -> set[str]:
    """Return the long options in a text."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))


def code(page: Path) -> str:
    """Return a page's code, spans and blocks, with continued lines joined."""
    text = page.read_text()
    if page.suffix == ".md":
        text = "\n".join("".join(groups) for groups in _CODE.findall(text))
    return re.sub(r"\s*\\\n\s*", " ", text)


def calls(program: str) -> Iterator[tuple[str, str]]:
    """Yield each place where a page calls a program: the page and the words that follow."""
    pattern = re.compile(_COMMAND.format(program=re.escape(program)), re.M)
    for page in PAGES:
        for match in pattern.finditer(code(page)):
            yield str(page.relative_to(ROOT)), match["words"].strip()


@pytest.mark.parametrize("program", PROGRAMS)
def test_verbs_and_options_exist(program: str) -> None:
    """Every verb and every option with which a page calls a program is in the program's help."""
    known = verbs(program)
    called = list(calls(program))
    wrong = [call for call in called if call[1].split()[0] not in known]
    for page, words in called:
        verb = words.split()[0]
        if verb in known and (unknown := options(words) - options(help_of(program, verb))):
            wrong.append((page, f"{verb}: {unknown}"))
    assert wrong == []
    assert len(called) >= 5


def test_table_of_verbs() -> None:
    """The README's table has each program's verbs, all of them and in the program's order."""
    table = re.findall(r"^\| `(tibet-nc-\w+)` \| (.*) \|$", (ROOT / "README.md").read_text(), re.M)
    assert dict(table) == {
        program: ", ".join(f"`{verb}`" for verb in verbs(program)) for program in PROGRAMS
    }


def test_installer_options() -> None:
    """The installer knows the options that its help names, and the pages name no others."""
    told = options(help_of(INSTALLER).split("Exit status", 1)[0])
    source = (ROOT / INSTALLER).read_text()
    arguments = source.split("read_arguments() {", 1)[1].split("\n}", 1)[0]
    known = {
        name.strip()
        for names in re.findall(r"^ +(--[a-z| -]+)\)", arguments, flags=re.M)
        for name in names.split("|")
        if name.strip().startswith("--")
    }
    named = {option for _, words in calls(INSTALLER) for option in options(words)}
    assert told == known
    assert named <= told
    assert len(named) >= 6


def test_make_verbs_exist() -> None:
    """Every `make` verb that a page names is one of the Makefile's, and it lists them all."""
    makefile = (ROOT / "Makefile").read_text()
    listed = set(re.findall(r"^([a-z-]+):.* ## ", makefile, flags=re.M))
    phony = set(re.findall(r"^\.PHONY: ([a-z-]+)", makefile, flags=re.M))
    # A bare `make` on the pages is somebody's own, an example of a command.
    named = {words.split()[0] for _, words in calls("make") if words.split()}
    assert listed == phony
    assert named - listed == {"altinstall"}  # of Python's own Makefile
    assert len(named) >= 5


def test_drop_ins_are_the_shipped_ones() -> None:
    """The pages name every drop-in that is shipped, and no other."""
    shipped = {path.name for path in ROOT.glob("deploy/dropins/*/*.conf")}
    named = re.findall(r"`([\w-]+\.conf)`", (ROOT / "docs" / "hardening.md").read_text())
    assert set(named) == shipped


def test_the_readme_types_what_the_page_types() -> None:
    """The ten minutes in README.md are those in docs/install.md, which the system tests type."""
    short = blocks("README.md", "On a host, in ten minutes")
    assert short == blocks("docs/install.md", "Ten minutes")
    assert len(short) == 4


def test_links_lead_somewhere() -> None:
    """Every link of a page to another leads to that page, and to a heading that it has."""
    assert dead_links(ROOT) == []


def test_every_warning_is_explained() -> None:
    """docs/operations.md says what to do about each kind of security record and of alert."""
    page = (ROOT / "docs" / "operations.md").read_text()
    section = page.split("## What a warning means\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    named = {word for row in rows for word in re.findall(r"[a-z-]+", row)}
    sources = (ROOT / "agent" / "src" / "tibet_nc_agent").glob("*.py")
    told = re.compile(r'(?:alert\(|_record\(\s*note,)\s*"(\w+)"')
    alerts = {name for path in sources for name in told.findall(path.read_text())}
    assert {*SecurityEvent, *alerts, "aborted", "key"} - named == set()
    assert len(alerts) >= 10


def _asides() -> list[list[str]]:
    lines = (ROOT / "docs/operations.md").read_text().splitlines()
    return [line.split() for line in lines if line.startswith("mv ")]


@pytest.mark.parametrize("words", _asides(), ids=lambda words: words[-2])
def test_what_is_put_aside_may_have_been_before(tmp_path: Path, words: list[str]) -> None:
    """However often a page has somebody move a state aside, it is away then, and all are kept."""
    *command, source, target = words
    state = tmp_path / source.lstrip("/")
    for number in range(3):
        (state / "chain").mkdir(parents=True)
        (state / "chain" / f"{number}").touch()
        subprocess.run([*command, state, tmp_path / target.lstrip("/")], check=True)
        assert not state.exists()
        kept = [path for path in state.parent.rglob("*") if path.is_file()]
        assert sorted(path.name for path in kept) == [f"{one}" for one in range(number + 1)]
        assert (tmp_path / target.lstrip("/") / "chain" / f"{number}").exists()
