# SPDX-License-Identifier: MIT
"""Reads the shipped tables and a host's own file, and says exactly what is wrong in it."""

import difflib
import functools
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from tibet_nc_agent.regular import open_regular
from tibet_nc_agent.safety.rules.lines import line_numbers
from tibet_nc_agent.safety.rules.model import (
    Actions,
    AllowedCommand,
    Arity,
    FamilyText,
    Languages,
    Output,
    Paths,
    ProgramOption,
    Programs,
    ProgramText,
    Rule,
    Rules,
    SiteFamily,
    SitePaths,
    Wrapper,
)
from tibet_nc_agent.safety.verdict import Decision, Family
from tibet_nc_agent.toml import Toml, TomlTable

T = TypeVar("T", bound=msgspec.Struct)

_TABLES = Path(__file__).parent.parent / "tables"
_PLACE = re.compile(r" - at `\$\.?([A-Za-z0-9_-]*)")
_SITE_TABLES = ("family", "rule", "allow", "paths")


class RulesError(Exception):
    """A rules file is wrong: `file:line: key: what is wrong, what would be right`."""


class _File:
    """One TOML file with line numbers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with open_regular(path) as file:
                text = file.read().decode()
        except OSError as error:
            raise RulesError(f"{path}: cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise RulesError(f"{path}: is not UTF-8 text, save it as UTF-8") from error
        try:
            self.tables: TomlTable = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise RulesError(f"{path}:{_toml_line(error, text)}: is not TOML: {error}") from error
        except RecursionError as error:
            raise RulesError(f"{path}: is not TOML: nested too deeply") from error
        except ValueError as error:
            raise RulesError(f"{path}: is not TOML: a number with too many digits") from error
        self._text = text

    def error(self, where: tuple[str | int, ...], problem: str) -> RulesError:
        """Return an error at a key, or at the innermost table around it that has a line."""
        lines = line_numbers(self._text)
        line = next(
            (lines[where[:end]] for end in range(len(where), 0, -1) if where[:end] in lines), 1
        )
        name = ".".join(str(part) for part in where if not isinstance(part, int)) or "file"
        return RulesError(f"{self.path}:{line}: {name}: {problem}")

    def known_tables(self, allowed: tuple[str, ...]) -> None:
        """Refuse tables that the file may not have."""
        for name in self.tables:
            if name not in allowed:
                raise self.error((name,), _unknown(name, allowed))

    def one(self, shape: type[T], where: tuple[str | int, ...], value: Toml) -> T:
        """Return a table as a struct."""
        if not isinstance(value, dict):
            raise self.error(where, "must be a table")
        names = _keys(shape)
        for key in value:
            if key not in names:
                raise self.error((*where, key), _unknown(key, names))
        try:
            return msgspec.convert(value, shape)
        except msgspec.ValidationError as error:
            message = str(error)
            place = _PLACE.search(message)
            inside = (place.group(1),) if place and place.group(1) else ()
            problem = message.split(" - at ", maxsplit=1)[0]
            raise self.error((*where, *inside), _in_plain_words(problem)) from error

    def table(self, shape: type[T], name: str) -> T:
        """Return a table that must be there."""
        if name not in self.tables:
            raise self.error((name,), "is missing")
        return self.one(shape, (name,), self.tables[name])

    def array(self, shape: type[T], name: str) -> tuple[T, ...]:
        """Return an array of tables, empty if it is left out."""
        values = self.tables.get(name, [])
        if not isinstance(values, list):
            raise self.error((name,), f"must be an array of tables, write [[{name}]]")
        return tuple(self.one(shape, (name, i), value) for i, value in enumerate(values))

    def families(self, shape: type[T]) -> dict[Family, T]:
        """Return the tables `[family.<name>]`."""
        values = self.tables.get("family", {})
        if not isinstance(values, dict):
            raise self.error(("family",), "must be tables, write [family.power]")
        found: dict[Family, T] = {}
        for name, value in values.items():
            if name not in [family.value for family in Family]:
                raise self.error(("family", name), _unknown(name, [*Family]))
            found[Family(name)] = self.one(shape, ("family", name), value)
        return found


@functools.cache
def _keys(shape: type[msgspec.Struct]) -> tuple[str, ...]:
    return tuple(info.encode_name for info in msgspec.structs.fields(shape))


def load_rules(path: Path | str | None = None) -> Rules:
    """Return the shipped rules, made stricter by the file of a host.

    Raises `RulesError`, whose text is one line: file, line, key, what is wrong, what is right.
    """
    shipped = _shipped()
    return shipped if path is None else _with_site(shipped, _File(Path(path)))


@functools.cache
def _shipped() -> Rules:
    texts = _shipped_file("texts", "program-option", "program-text", "output")
    languages = _shipped_file("languages", "languages", "programs")
    paths = _shipped_file("paths", "paths", "actions")
    return Rules(
        families=_families(_shipped_file("families", "family")),
        rules=tuple(_shipped_rules()),
        arities=_arities(_shipped_file("arities", "arity")),
        program_options=texts.array(ProgramOption, "program-option"),
        program_texts=texts.array(ProgramText, "program-text"),
        outputs=texts.array(Output, "output"),
        wrappers=_shipped_file("wrappers", "wrapper").array(Wrapper, "wrapper"),
        languages=languages.table(Languages, "languages"),
        programs=languages.table(Programs, "programs"),
        paths=paths.table(Paths, "paths"),
        actions=paths.table(Actions, "actions"),
    )


def _shipped_file(name: str, *tables: str) -> _File:
    file = _File(_TABLES / f"{name}.toml")
    file.known_tables(tables)
    return file


def _shipped_rules() -> Iterator[Rule]:
    for family in Family:
        if family is not Family.TEXT:  # that one is for the grammar, not for rules
            yield from _shipped_file(f"rules/{family}", "rule").array(Rule, "rule")


def _families(file: _File) -> dict[Family, FamilyText]:
    families = file.families(FamilyText)
    for family in Family:
        if family not in families:
            raise file.error(("family", family.value), "is missing")
    return families


def _arities(file: _File) -> dict[str, frozenset[str]]:
    """Return the options with a value of each program, which several tables may name."""
    values: dict[str, frozenset[str]] = {}
    for arity in file.array(Arity, "arity"):
        for name in arity.commands:
            values[name] = values.get(name, frozenset()).union(arity.values)
    return values


def _with_site(shipped: Rules, file: _File) -> Rules:
    file.known_tables(_SITE_TABLES)
    rules = file.array(Rule, "rule")
    _check_rules(file, rules)
    allowed = file.array(AllowedCommand, "allow")
    _check_allowed(file, allowed, shipped)
    paths = file.table(SitePaths, "paths") if "paths" in file.tables else SitePaths()
    for name in msgspec.structs.fields(SitePaths):
        for pattern in getattr(paths, name.name):
            if not pattern.startswith("/"):
                raise file.error(("paths", name.encode_name), f"{pattern!r} must begin with /")
    at_least = {family: bound.at_least for family, bound in file.families(SiteFamily).items()}
    added = {
        info.name: getattr(shipped.paths, info.name)
        + tuple(path.rstrip("/") or path for path in getattr(paths, info.name))
        for info in msgspec.structs.fields(SitePaths)
    }
    # What a pattern stands for holds what is below already; of a name it is only the directory.
    below = tuple(f"{path.rstrip('/')}/" for path in paths.system)
    added["below"] = shipped.paths.below + below
    return msgspec.structs.replace(
        shipped,
        rules=shipped.rules + rules,
        paths=msgspec.structs.replace(shipped.paths, **added),
        allowed=allowed,
        at_least=at_least,
    )


def _check_rules(file: _File, rules: tuple[Rule, ...]) -> None:
    for index, rule in enumerate(rules):
        where = ("rule", index)
        if rule.decision is Decision.ALLOW:
            raise file.error(
                (*where, "decision"),
                "a rule can't allow, write deny or needs-approval (or an [[allow]] table)",
            )
        if not rule.commands or any(not name or "/" in name for name in rule.commands):
            raise file.error((*where, "commands"), "must be program names without a directory")
        for expression in rule.text:
            try:
                re.compile(expression)
            except re.error as error:
                raise file.error(
                    (*where, "text"), f"{expression!r} is not a regular expression: {error}"
                ) from error


def _check_allowed(file: _File, allowed: tuple[AllowedCommand, ...], shipped: Rules) -> None:
    runners = {name for wrapper in shipped.wrappers for name in wrapper.names}
    runners |= {*shipped.languages.shells, *shipped.languages.interpreters}
    runners |= {"env", "eval", "exec", "find", "parallel", "source", "xargs", "."}
    for index, command in enumerate(allowed):
        where = ("allow", index, "argv")
        if not command.argv or not command.argv[0]:
            raise file.error(where, 'must be a whole command, e.g. ["systemctl", "restart", "ssh"]')
        if command.argv[0].rsplit("/", 1)[-1] in runners:
            raise file.error(
                where,
                f"{command.argv[0]} runs other programs, name the command that it would run",
            )


def _unknown(key: str, known: "list[str] | list[Family] | tuple[str, ...]") -> str:
    names = [str(name) for name in known]
    close = difflib.get_close_matches(key, names, n=1)
    if close:
        return f"unknown key, did you mean {close[0]}?"
    return f"unknown key, known are {', '.join(sorted(names))}"


def _in_plain_words(problem: str) -> str:
    missing = re.match(r"Object missing required field `(.*)`", problem)
    if missing is not None:
        return f"the key {missing.group(1)} is missing"
    value = re.match(r"Invalid enum value '(.*)'", problem)
    if value is not None:
        choices = [*Decision, *Family]
        close = difflib.get_close_matches(value.group(1), [str(c) for c in choices], n=1)
        hint = f", did you mean {close[0]}?" if close else ""
        return f"{value.group(1)!r} is not a value of this key{hint}"
    return problem[0].lower() + problem[1:]


def _toml_line(error: tomllib.TOMLDecodeError, text: str) -> int:
    found = re.search(r"at line (\d+)", str(error))
    return int(found.group(1)) if found else len(text.splitlines())
