# SPDX-License-Identifier: MIT
"""The agent's settings: /etc/tibet-nc/agent.toml, and the variables of tibet-nc 0.1.2 over it.

Facts: msgspec's errors name the place and never a value, so they can be shown. A variable that is
set but empty counts as not set, as in the 0.1.2 environment file.
"""

import pwd
import re
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
from msgspec import Meta

from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.regular import open_regular
from tibet_nc_agent.secret import Secret, find_secret
from tibet_nc_agent.selftest import Wall
from tibet_nc_agent.toml import Toml, TomlTable
from tibet_nc_protocol.errors import SignatureError
from tibet_nc_protocol.signing import PublicKey
from tibet_nc_protocol.terms import RoomId, UserId

DEFAULT_PATH: Final = Path("/etc/tibet-nc/agent.toml")

TIMEBOX_SECONDS: Final = 30
"""How old a command may be. A phone that sends on a bad connection needs some seconds."""

LONGEST_TIMEBOX_SECONDS: Final = 600
"""The homeserver can hold a command back this long at most; longer would be no limit."""

_HOST_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_LOOPBACK: Final = frozenset({"127.0.0.1", "::1", "localhost"})

Timebox = Annotated[int, Meta(ge=1, le=LONGEST_TIMEBOX_SECONDS)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]


class _Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all sections have in common: nothing unknown is accepted."""


class MatrixSection(_Section, frozen=True, kw_only=True):
    """Who the agent is on which homeserver, and where it listens."""

    homeserver: str
    user_id: UserId
    rooms: Annotated[tuple[RoomId, ...], Meta(min_length=1)]
    dedicated_room: RoomId | None = None
    proxy: str | None = None
    device_name: Name = "tibet-nc"
    access_token_file: str | None = None
    password_file: str | None = None


class OperatorsSection(_Section, frozen=True, kw_only=True):
    """Who may command: who is pinned in a file; if anybody is listed here, only those of them."""

    file: str = "/etc/tibet-nc/operators.toml"
    allowed: Annotated[tuple[UserId, ...], Meta(min_length=1)] | None = None


class AirlockSection(_Section, frozen=True, kw_only=True):
    """How old a command may be, in seconds, and the host's own rules of the safety stage."""

    timebox_s: Timebox = TIMEBOX_SECONDS
    rules_file: str | None = None


class ExecutorSection(_Section, frozen=True, kw_only=True):
    """Where the executor is, and how to know that it is the right one."""

    socket: str = "/run/tibet-nc/executor.sock"
    key_file: str = "/etc/tibet-nc/executor.pub"
    user: Annotated[int, Meta(ge=0)] | Name | None = None


class StateSection(_Section, frozen=True, kw_only=True):
    """Where the agent keeps its identity, its keys and what it has seen."""

    directory: str = "/var/lib/tibet-nc-agent"


class HostSection(_Section, frozen=True, kw_only=True):
    """The host's name in answers; by default the machine's own."""

    name: str | None = None


class EmissionSection(_Section, frozen=True, kw_only=True):
    """Which service is told of each TIBET token; nobody unless it is set."""

    base_url: str | None = None
    proxy: str | None = None


class WallsSection(_Section, frozen=True, kw_only=True):
    """Which walls that the self-test finds missing were given up on purpose."""

    accepted: frozenset[Wall] = frozenset()


class _File(_Section, frozen=True, kw_only=True):
    matrix: MatrixSection
    operators: OperatorsSection = OperatorsSection()
    airlock: AirlockSection = AirlockSection()
    executor: ExecutorSection = ExecutorSection()
    state: StateSection = StateSection()
    host: HostSection = HostSection()
    emission: EmissionSection = EmissionSection()
    walls: WallsSection = WallsSection()


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """The settings, checked; paths are absolute, ``timebox_ms`` is in milliseconds.

    ``allowed`` is empty when every pinned operator may command. ``executor_uid`` is the uid that
    the executor's socket must belong to, None when no user is configured: then its signature alone
    says who it is.
    """

    homeserver: str
    proxy: str | None
    user_id: str
    rooms: tuple[str, ...]
    dedicated_room: str
    device_name: str
    operators_file: Path
    allowed: frozenset[str]
    timebox_ms: int
    rules_file: Path | None
    socket: Path
    executor_key_file: Path
    executor_uid: int | None
    state: Path
    host: str
    emission_base: str | None
    emission_proxy: str | None
    accepted_walls: frozenset[Wall]
    access_token: Secret | None
    password: Secret | None


_RIGHT: Final[Mapping[str, str]] = {
    "matrix.homeserver": '"https://matrix.example.org"',
    "matrix.user_id": '"@tibet-nc:example.org"',
    "matrix.rooms": '["!room:example.org"], room ids as the room\'s settings show them',
    "matrix.dedicated_room": "one of matrix.rooms",
    "matrix.proxy": '"http://proxy.example.org:3128", without a user',
    "matrix.device_name": 'a name of 1 to 64 characters, as "tibet-nc"',
    "matrix.access_token_file": '"/etc/tibet-nc/access-token"',
    "matrix.password_file": '"/etc/tibet-nc/password"',
    "operators.file": '"/etc/tibet-nc/operators.toml"',
    "operators.allowed": '["@op:example.org"], or nothing: then all that are pinned',
    "airlock.timebox_s": f"a whole number of seconds from 1 to {LONGEST_TIMEBOX_SECONDS}",
    "airlock.rules_file": '"/etc/tibet-nc/safety.toml"',
    "executor.socket": '"/run/tibet-nc/executor.sock"',
    "executor.key_file": '"/etc/tibet-nc/executor.pub"',
    "executor.user": '"tibet-nc-executor", or a uid',
    "state.directory": '"/var/lib/tibet-nc-agent"',
    "host.name": "1 to 64 letters, digits, dots, hyphens, underscores",
    "emission.base_url": '"https://tibet.example.org"',
    "emission.proxy": '"http://proxy.example.org:3128", without a user',
    "walls.accepted": f"a list of names out of: {', '.join(Wall)}",
}

_VARIABLES: Final[Mapping[str, str]] = {
    "MATRIX_HOMESERVER": "matrix.homeserver",
    "TIBET_NC_USER_ID": "matrix.user_id",
    "TIBET_NC_ROOM": "matrix.rooms",
    "TIBET_NC_ALLOWED_USERS": "operators.allowed",
    "TIBET_NC_HOSTNAME": "host.name",
    "BRAIN_API_BASE": "emission.base_url",
}
_LISTS: Final = frozenset({"matrix.rooms", "operators.allowed"})

_PLACE: Final = re.compile(r" - at `\$\.?(?P<key>[^`]*)`\Z")
_FIELD: Final = re.compile(r"`(?P<name>[^`]+)`\Z")


def load(path: Path, environ: Mapping[str, str], *, required: bool) -> Config:
    """Return the settings in a file and the environment; raises ConfigError.

    ``required`` says that the file was asked for; the default file may be missing when the
    environment says everything.
    """
    return _Loader(path, environ).load(required=required)


def rules_file(path: Path, *, required: bool) -> Path | None:
    """Return the host's own rules of the safety stage, None if it has none; raises ConfigError.

    No other setting is looked at, and no secret: this is for whoever asks about a command.
    """
    return _Loader(path, {}).rules_file(required=required)


def operators_file(path: Path, *, required: bool) -> Path:
    """Return the file of the pinned operators; raises ConfigError.

    No other setting is looked at: who is taken out in an emergency is, whatever is wrong there.
    """
    return _Loader(path, {}).operators_file(required=required)


def read_executor_key(config: Config) -> PublicKey:
    """Return the key by which the executor is known; raises ConfigError.

    It is apart from :func:`load` because the agent can log in before an executor exists.
    """
    path = config.executor_key_file
    right = "what `tibet-nc-executor identity` prints: 64 hexadecimal digits"
    try:
        with open_regular(path) as file:
            return PublicKey.from_hex(file.read().decode("ascii").strip())
    except OSError as error:
        problem = f"can't be read: {error.strerror}"
        raise ConfigError(str(path), "executor.key_file", problem, right) from None
    except UnicodeDecodeError:
        raise ConfigError(str(path), "executor.key_file", "not a public key", right) from None
    except SignatureError as error:
        raise ConfigError(str(path), "executor.key_file", str(error), right) from None


class _Loader:
    """Read, overlay, convert and check; knows where each setting came from."""

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self._path = path
        self._environ = environ
        self._variable_of: dict[str, str] = {}

    def load(self, *, required: bool) -> Config:
        found = self._read(required=required)
        settings = self._overlay(found)
        if not found and "matrix" not in settings:
            missing = "nothing is set in it" if self._path.exists() else "no such file"
            problem = f"{missing}, and no variable says who the agent is"
            raise ConfigError(str(self._path), "", problem, "a file like deploy/agent.toml")
        try:
            file = msgspec.convert(settings, _File, strict=True)
        except msgspec.ValidationError as error:
            raise self._translate(str(error)) from None
        return self._check(file)

    def rules_file(self, *, required: bool) -> Path | None:
        return self._single_path("airlock", "rules_file", required=required)

    def operators_file(self, *, required: bool) -> Path:
        file = self._single_path("operators", "file", required=required)
        return Path(OperatorsSection().file) if file is None else file

    def _single_path(self, table: str, name: str, *, required: bool) -> Path | None:
        """Return one path, None if it isn't set, whatever the other settings are."""
        section = self._read(required=required).get(table)
        file = section.get(name) if isinstance(section, dict) else None
        if file is None:
            return None
        if not isinstance(file, str):
            raise self._wrong(f"{table}.{name}", "expected a text")
        return self._path_of(f"{table}.{name}", file)

    def _read(self, *, required: bool) -> TomlTable:
        try:
            with open_regular(self._path) as file:
                return tomllib.load(file)
        except FileNotFoundError:
            if not required:
                return {}
            raise ConfigError(str(self._path), "", "no such file") from None
        except OSError as error:
            problem = f"can't be read: {error.strerror}"
            raise ConfigError(str(self._path), "", problem) from None
        except (ValueError, RecursionError) as error:  # also one of a number with too many digits
            raise ConfigError(str(self._path), "", f"not TOML: {error}") from None

    def _overlay(self, settings: TomlTable) -> TomlTable:
        for variable, key in _VARIABLES.items():
            text = self._environ.get(variable, "").strip()
            if not text:
                continue
            self._variable_of[key] = variable
            value: Toml = text
            if key in _LISTS:
                value = [part.strip() for part in text.split(",") if part.strip()]
            section, name = key.split(".")
            table = settings.setdefault(section, {})
            if not isinstance(table, dict):
                raise ConfigError(str(self._path), section, "expected a table", f"[{section}]")
            table[name] = value
            if key == "matrix.rooms":  # the file's dedicated room is not one of these
                table.pop("dedicated_room", None)
        return settings

    def _translate(self, text: str) -> ConfigError:
        """Turn msgspec's error into one line: what it says, less its notation."""
        place = _PLACE.search(text)
        key = re.sub(r"\[.*\]", "", place["key"]) if place else ""
        problem = text[: place.start()] if place else text
        field = _FIELD.search(problem)
        whole = ".".join(part for part in (key, field["name"] if field else "") if part)
        if problem.startswith("Object missing required field"):
            return self._wrong(whole, "missing")
        if problem.startswith("Object contains unknown field"):
            known = ", ".join(_known(key))
            return ConfigError(str(self._path), whole, "no such setting", f"one of {known}")
        if "matching regex" in problem:
            problem = "not of the right form"
        return self._wrong(key, problem.replace("`", "").replace("Expected", "expected"))

    def _wrong(self, key: str, problem: str) -> ConfigError:
        variable = self._variable_of.get(key)
        right = _RIGHT.get(key, f"[{key}]")
        if variable is not None:
            return ConfigError("environment", variable, problem, right)
        return ConfigError(str(self._path), key, problem, right)

    def _check(self, file: _File) -> Config:
        self._check_url("matrix.homeserver", file.matrix.homeserver)
        dedicated = file.matrix.dedicated_room or file.matrix.rooms[0]
        if dedicated not in file.matrix.rooms:
            raise self._wrong("matrix.dedicated_room", "not one of matrix.rooms")
        rules = file.airlock.rules_file
        host = file.host.name if file.host.name is not None else socket.gethostname()
        if not _HOST_NAME.match(host):
            raise self._wrong("host.name", "not a host name")
        return Config(
            homeserver=file.matrix.homeserver.rstrip("/"),
            proxy=self._proxy("matrix.proxy", file.matrix.proxy, file.matrix.homeserver),
            user_id=file.matrix.user_id,
            rooms=file.matrix.rooms,
            dedicated_room=dedicated,
            device_name=file.matrix.device_name,
            operators_file=self._path_of("operators.file", file.operators.file),
            allowed=frozenset(file.operators.allowed or ()),
            timebox_ms=file.airlock.timebox_s * 1000,
            rules_file=None if rules is None else self._path_of("airlock.rules_file", rules),
            socket=self._path_of("executor.socket", file.executor.socket),
            executor_key_file=self._path_of("executor.key_file", file.executor.key_file),
            executor_uid=self._uid(file.executor.user),
            state=self._path_of("state.directory", file.state.directory),
            host=host,
            emission_base=self._emission(file.emission.base_url),
            emission_proxy=self._proxy(
                "emission.proxy", file.emission.proxy, file.emission.base_url
            ),
            accepted_walls=file.walls.accepted,
            access_token=self._access_token(file.matrix),
            password=self._secret(
                "matrix.password_file", file.matrix.password_file, credential="password"
            ),
        )

    def _emission(self, url: str | None) -> str | None:
        if url is None:
            return None
        self._check_url("emission.base_url", url)
        return url.rstrip("/")

    def _proxy(self, key: str, url: str | None, server: str | None) -> str | None:
        if url is None:
            return None
        parts = self._split(key, url)
        if parts.scheme != "http" or parts.path not in {"", "/"}:
            raise self._wrong(key, "not a URL of a proxy")
        if server is not None and urlsplit(server).scheme == "http":
            # It would be sent in the clear what never leaves this machine.
            raise self._wrong(key, "a server on this very machine needs none")
        return url

    def _check_url(self, key: str, url: str) -> None:
        parts = self._split(key, url)
        if parts.scheme == "http" and parts.hostname not in _LOOPBACK:
            # The access token travels in every request, and who asked for what in the others.
            raise self._wrong(key, "http is only for a server on this very machine")

    def _split(self, key: str, url: str) -> SplitResult:
        try:
            parts = urlsplit(url)
            named = bool(parts.hostname) and parts.port != 0
            bad = not named or bool(parts.query or parts.fragment or parts.username)
        except ValueError:
            raise self._wrong(key, "not a URL") from None
        if bad or parts.scheme not in {"http", "https"}:
            raise self._wrong(key, "not a URL of a server")
        return parts

    def _path_of(self, key: str, text: str) -> Path:
        path = Path(text)
        if not path.is_absolute() or "\0" in text:
            raise self._wrong(key, "not an absolute path")
        return path

    def _uid(self, user: int | str | None) -> int | None:
        if not isinstance(user, str):
            return user
        try:
            return pwd.getpwnam(user).pw_uid
        except (KeyError, ValueError):  # the second for a NUL
            raise self._wrong("executor.user", "no such user on this machine") from None

    def _access_token(self, section: MatrixSection) -> Secret | None:
        text = self._environ.get("TIBET_NC_ACCESS_TOKEN", "").strip()
        if text:
            return Secret(text)
        return self._secret(
            "matrix.access_token_file", section.access_token_file, credential="access-token"
        )

    def _secret(self, key: str, file: str | None, *, credential: str) -> Secret | None:
        path = None if file is None else self._path_of(key, file)
        return find_secret(path, key, credential=credential, environ=self._environ)


def _known(section: str) -> list[str]:
    """Return the settings of a section, or the sections, for somebody who mistyped one."""
    if not section:
        return [f"[{name}]" for name in _File.__struct_fields__]
    return [key.split(".")[1] for key in _RIGHT if key.startswith(f"{section}.")]
