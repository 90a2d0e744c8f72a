# SPDX-License-Identifier: MIT
"""The executor's settings: /etc/tibet-nc/executor.toml, and tibet-nc 0.1.2's variables over it."""

import grp
import json
import os
import pwd
import socket
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Final, Literal, cast

import msgspec
from msgspec import Meta

from tibet_nc_executor.errors import ConfigError
from tibet_nc_executor.pinfile import PinFile
from tibet_nc_executor.policy import Rules
from tibet_nc_executor.regular import open_regular
from tibet_nc_executor.selftest import Wall
from tibet_nc_executor.settings import SEARCH_PATH
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.limits import EXACT_INTEGER
from tibet_nc_protocol.signing import KEY_BYTES
from tibet_nc_protocol.terms import Cells, RoomId, UserId

DEFAULT_PATH: Final = Path("/etc/tibet-nc/executor.toml")

NO_ID: Final = 2**32 - 1
"""Not a uid or gid: to setresuid(2) it means that nothing changes."""
MOST_PROCESSES: Final = 2**22
"""The kernel's PID_MAX_LIMIT; a control group takes no higher limit."""
SOCKET_PATH_BYTES: Final = 107
"""The longest path of a socket, sun_path without its NUL (unix(7))."""

# A NUL ends a text for the kernel, and what is not UTF-8 arrives from a variable as surrogates.
Name = Annotated[str, Meta(pattern=r"\A[^\x00\ud800-\udfff]+\Z")]
Account = Name | Annotated[int, Meta(ge=0, lt=NO_ID)]
AbsolutePath = Annotated[str, Meta(pattern=r"\A/[^\x00]*\Z")]
SocketPath = Annotated[str, Meta(pattern=r"\A/[^\x00]*\Z", max_length=SOCKET_PATH_BYTES)]
SearchPath = Annotated[str, Meta(pattern=r"\A/[^\x00:]*(:/[^\x00:]*)*\Z")]
HostName = Annotated[str, Meta(max_length=255, pattern=r"\A[^\x00-\x1f\x7f-\x9f\ud800-\udfff]*\Z")]
Number = Annotated[int, Meta(ge=0, le=EXACT_INTEGER)]  # a status tells it (SPEC §4)
Positive = Annotated[int, Meta(ge=1, le=EXACT_INTEGER)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all sections have in common."""


class AgentSection(_Section, frozen=True, kw_only=True):
    """[agent]: the account that the agent runs as, and the file with its public key."""

    user: Account = "tibet-nc-agent"
    key_file: AbsolutePath = "/etc/tibet-nc/agent.pub"


class ShellSection(_Section, frozen=True, kw_only=True):
    """[shell]: the account that commands run as, and within which limits."""

    user: Account = "tibet-nc-shell"
    groups: tuple[Account, ...] = ()
    home: AbsolutePath = "/var/lib/tibet-nc-shell"
    restricted: bool = True
    path: SearchPath = SEARCH_PATH
    idle_s: Positive = 120
    total_s: Positive = 3600
    session_idle_s: Positive = 3600
    session_total_s: Positive = 86400
    session_warning_s: Positive = 120
    processes: Annotated[int, Meta(ge=1, le=MOST_PROCESSES)] = 256
    memory_bytes: Positive = 2 * 1024**3
    address_space_bytes: Positive = 4 * 1024**3
    file_bytes: Positive = 256 * 1024**2
    open_files: Annotated[int, Meta(ge=64, le=EXACT_INTEGER)] = 256
    rows: Cells = 24
    columns: Cells = 80


class PolicySection(_Section, frozen=True, kw_only=True):
    """[policy]: who may command, where, and how old a message may be, in seconds.

    Who is pinned in ``operators_file`` may command; if ``operators`` names anybody, only those.
    """

    operators_file: AbsolutePath = "/etc/tibet-nc/operators.toml"
    operators: Annotated[tuple[UserId, ...], Meta(min_length=1)] | None = None
    rooms: tuple[RoomId, ...] = ()
    timebox_s: Annotated[int, Meta(ge=1, le=3600)] = 30


class SocketSection(_Section, frozen=True, kw_only=True):
    """[socket]: where to listen when systemd gives no socket."""

    path: SocketPath = "/run/tibet-nc/executor.sock"


class StateSection(_Section, frozen=True, kw_only=True):
    """[state]: where the chain is kept."""

    directory: AbsolutePath = "/var/lib/tibet-nc"


class AuditSection(_Section, frozen=True, kw_only=True):
    """[audit]: what is kept of commands and output."""

    command_text: Literal["full", "hash"] = "full"
    recording_bytes: Positive = 64 * 1024**2
    checkpoint_records: Annotated[int, Meta(ge=10, le=EXACT_INTEGER)] = 100
    checkpoint_s: Positive = 900
    segment_bytes: Annotated[int, Meta(ge=4096, le=EXACT_INTEGER)] = 2 * 1024**2


class RecordingsSection(_Section, frozen=True, kw_only=True):
    """[recordings]: for how many days, and up to how many bytes in all, they are kept; 0: all."""

    keep_days: Number = 0
    keep_bytes: Number = 0


class HostSection(_Section, frozen=True, kw_only=True):
    """[host]: the name of this host in records and answers."""

    name: HostName = ""


class WallsSection(_Section, frozen=True, kw_only=True):
    """[walls]: which walls that the self-test finds missing were given up on purpose."""

    accepted: tuple[Wall, ...] = ()


class Config(_Section, frozen=True, kw_only=True):
    """All settings."""

    agent: AgentSection = AgentSection()
    shell: ShellSection = ShellSection()
    policy: PolicySection = PolicySection()
    socket: SocketSection = SocketSection()
    state: StateSection = StateSection()
    audit: AuditSection = AuditSection()
    recordings: RecordingsSection = RecordingsSection()
    host: HostSection = HostSection()
    walls: WallsSection = WallsSection()

    def rules(self) -> Rules:
        """Return what was decided about who may command."""
        return Rules(
            pins=PinFile(Path(self.policy.operators_file)),
            only=frozenset(self.policy.operators or ()),
            rooms=frozenset(self.policy.rooms),
            timebox_ms=self.policy.timebox_s * 1000,
        )


_ABSOLUTE: Final = "an absolute path"
_RIGHT: Final = {
    "agent.key_file": _ABSOLUTE,
    "shell.groups": '["systemd-journal"], names or gids',
    "shell.home": _ABSOLUTE,
    "shell.path": '"/usr/bin:/bin", absolute paths with colons between',
    "policy.operators_file": _ABSOLUTE,
    "socket.path": f"{_ABSOLUTE} of at most {SOCKET_PATH_BYTES} bytes",
    "state.directory": _ABSOLUTE,
    "host.name": "a text of one line",
    "policy.rooms": '["!id:server"], ids as the rooms\' settings show them',
    "policy.operators": '["@user:server"], or nothing: then all that are pinned',
    "audit.command_text": '"full" or "hash"',
    "walls.accepted": f"names out of: {', '.join(Wall)}",
}

_VARIABLES: Final = {
    "TIBET_NC_ALLOWED_USERS": ("policy", "operators", True),
    "TIBET_NC_ROOM": ("policy", "rooms", True),
    "TIBET_NC_HOSTNAME": ("host", "name", False),
}


def load(path: Path, environment: Mapping[str, str]) -> Config:
    """Read the settings; raises ConfigError with one line that names file, key and fault."""
    try:
        with open_regular(path) as file:
            values = tomllib.load(file)
    except FileNotFoundError:
        raise ConfigError(
            f"{path}: there is no such file; deploy/executor.toml is an example"
        ) from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # also one of a number with too many digits
        raise ConfigError(f"{path}: not TOML: {error}") from None
    used: list[str] = []
    for variable, (section, key, many) in _VARIABLES.items():
        if value := environment.get(variable, "").strip():
            parts = [part.strip() for part in value.split(",") if part.strip()] if many else value
            table = values.setdefault(section, {})
            if isinstance(table, dict):
                table[key] = parts
            used.append(variable)
    return parse(values, f"{path} with {', '.join(used)}" if used else str(path))


def parse(values: Mapping[str, object], source: str) -> Config:
    """Check settings that were read from ``source``; raises ConfigError."""
    _check_names(values, source)
    try:
        config = msgspec.convert(values, Config, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{source}: {_fault(str(error))}") from None
    if not config.policy.rooms:
        raise ConfigError(
            f"{source}: policy.rooms: no room; right would be {_RIGHT['policy.rooms']}"
        )
    if not config.host.name:
        host = HostSection(name=socket.gethostname())
        config = msgspec.structs.replace(config, host=host)
    return config


def _check_names(values: Mapping[str, object], source: str) -> None:
    """Raise ConfigError for a section or a setting that doesn't exist."""
    sections = Config.__struct_fields__
    for section, value in values.items():
        if section not in sections:
            known = [f"[{name}]" for name in sections]
            raise _no_such(source, section, known)
        settings = cast("dict[str, object]", value) if isinstance(value, dict) else {}
        names = getattr(Config(), section).__struct_fields__
        for name in settings:
            if name not in names:
                raise _no_such(source, f"{section}.{name}", names)


def _no_such(source: str, key: str, known: Iterable[str]) -> ConfigError:
    shown = key.encode("unicode_escape").decode()
    return ConfigError(
        f"{source}: {shown}: no such setting; right would be one of {', '.join(known)}"
    )


def _fault(text: str) -> str:
    """Turn msgspec's "Expected `int`, got `str` - at `$.a.b[0]`" into "a.b: Expected …"."""
    what, _, where = text.rpartition(" - at `$.")
    key = where.rstrip("`").partition("[")[0]
    if "matching regex" in what:
        what = "not of the right form"
    return f"{key}: {what}; right would be {_right(key)}"


def _right(key: str) -> str:
    """Return what would be right for a setting, or for a whole section."""
    section, _, name = key.partition(".")
    if not name:
        return f"[{section}]"
    default = getattr(getattr(Config(), section), name)
    if isinstance(default, bool):
        return "true or false"
    return _RIGHT.get(key) or f"{json.dumps(default)}, which is the default"


def uid_of(account: Account, key: str) -> int:
    """Return the uid of an account given by name or number; raises ConfigError."""
    return account if isinstance(account, int) else _user(account, key).pw_uid


def name_of(uid: int) -> str:
    """Return the name of the account that has a uid; the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def gid_of(account: Account, key: str) -> int:
    """Return the primary gid of an account; for a number, the same number. Raises ConfigError."""
    return account if isinstance(account, int) else _user(account, key).pw_gid


def _user(name: str, key: str) -> pwd.struct_passwd:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"{key}: there is no user {name!r}; make it, or give a uid") from None


def group_id(group: Account, key: str) -> int:
    """Return the gid of a group given by name or number; raises ConfigError."""
    if isinstance(group, int):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ConfigError(f"{key}: there is no group {group!r}") from None


def secret_key(config: Config, environment: Mapping[str, str]) -> bytes:
    """Return the executor's secret key: a systemd credential, or the file that ``init`` made.

    Raises ConfigError, never with the key in it.
    """
    credentials = environment.get("CREDENTIALS_DIRECTORY")
    if credentials:
        return read_key(Path(credentials) / "executor.key", private=False)
    return read_key(Path(config.state.directory) / "executor.key")


def how_to_get_a_key(directory: Path) -> str:
    """Return what to do where a state directory has no key; a chain goes on with its own only."""
    if os.path.exists(directory / CHAIN):
        return 'the chain that is here goes on with its own only: docs/operations.md, "Keys"'
    return "make one with: tibet-nc-executor init"


def check_owner(directory: Path) -> None:
    """Raise ConfigError if a directory is somebody else's, who couldn't use what is made there."""
    try:
        owner = directory.stat().st_uid
    except FileNotFoundError:
        return
    except OSError as error:
        raise ConfigError(f"{directory}: {error.strerror}") from None
    if owner == os.geteuid():
        return
    name = name_of(owner)
    raise ConfigError(f"{directory} belongs to {name}; run this as that user: runuser -u {name} --")


def read_key(path: Path, *, private: bool = True) -> bytes:
    """Return the secret key in a file; raises ConfigError, never with the key in it.

    A ``private`` one must be readable by its owner alone. systemd guards credentials by itself.
    """
    try:
        with open_regular(path, os.O_NOFOLLOW) as file:
            if private and os.fstat(file.fileno()).st_mode & 0o077:
                raise ConfigError(f"{path}: others can read this key; chmod 600, or make a new one")
            secret = bytes.fromhex(file.read().decode("ascii").strip())
    except FileNotFoundError:
        raise ConfigError(f"{path}: no key; {how_to_get_a_key(path.parent)}") from None
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except ValueError:
        secret = b""
    if len(secret) != KEY_BYTES:
        raise ConfigError(f"{path}: not a key; {2 * KEY_BYTES} hexadecimal digits are expected")
    return secret
