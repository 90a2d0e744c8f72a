# SPDX-License-Identifier: MIT
"""A throwaway Synapse: SQLite, loopback, a free port, secrets made for this one run.

    with Synapse(directory) as homeserver:
        alice = homeserver.register("alice")
        print(homeserver.url, alice.user_id, alice.access_token)

Everything here blocks; a server starts in two to five seconds. The interpreter that runs this
must have ``matrix-synapse`` installed.
"""

import base64
import hashlib
import hmac
import json
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

SERVER_NAME: Final = "example.org"

START_SECONDS: Final = 60.0
"""How long a start may take; a busy machine needs five."""

STOP_SECONDS: Final = 20.0
"""How long Synapse may take to end after SIGTERM before it is killed."""

REQUEST_SECONDS: Final = 30.0

_UNLIMITED: Final = {"per_second": 1_000_000, "burst_count": 1_000_000}

type Json = bool | int | float | str | list[Json] | dict[str, Json] | None


class SynapseError(Exception):
    """The homeserver didn't start, or refused what the harness asked for."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """A registered user, logged in once; every field is fresh for this run."""

    user_id: str
    password: str
    device_id: str
    access_token: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the homeserver answered: HTTP status and JSON object."""

    status: int
    body: dict[str, Json]


class Synapse:
    """A homeserver in ``directory``, which it may fill; started by :meth:`start` or ``with``.

    ``uid`` and ``gid`` (both or none, needs root) run it as that user, who gets the directory.
    ``upload_bytes`` is the largest upload it accepts. The port stays the same across restarts.
    """

    def __init__(
        self,
        directory: Path,
        *,
        uid: int | None = None,
        gid: int | None = None,
        upload_bytes: int = 50 * 1024 * 1024,
    ) -> None:
        self._directory = directory
        self._owner = None if uid is None or gid is None else (uid, gid)
        self._secret = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None
        self._admin: Account | None = None
        self.server_name: Final = SERVER_NAME
        self.port: Final = _free_port()
        self.url: Final = f"http://127.0.0.1:{self.port}"
        self._configure(upload_bytes)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the running server; raises :class:`SynapseError` when it is stopped."""
        if self._process is None:
            raise SynapseError("the homeserver is not running")
        return self._process.pid

    def start(self) -> None:
        """Start the server and wait until it answers; does nothing when it runs already."""
        if self._process is not None:
            return
        uid, gid = self._owner or (None, None)
        with (self._directory / "output.log").open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "synapse.app.homeserver", "-c", str(self._config)],
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                user=uid,
                group=gid,
                extra_groups=None if gid is None else [],
                start_new_session=True,  # ^C at the demo must reach us first, not the server
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise SynapseError(f"the homeserver did not start:\n{self._tail()}")
            time.sleep(0.05)

    def stop(self) -> None:
        """End the server, by force if it won't; does nothing when it is stopped already."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop and start again: same port, same users, same rooms."""
        self.stop()
        self.start()

    def register(self, user: str, password: str | None = None, *, admin: bool = False) -> Account:
        """Register ``user`` (the part before the colon) and log it in once.

        A password is made up when none is given. Raises :class:`SynapseError` when the name is
        taken. The login of the registration is a device of its own; clients that log in with the
        password get another.
        """
        password = password or secrets.token_urlsafe(12)
        nonce = self._expect("GET", "/_synapse/admin/v1/register")["nonce"]
        mac = hmac.new(self._secret.encode(), digestmod=hashlib.sha1)
        fields = (str(nonce), user, password, "admin" if admin else "notadmin")
        mac.update(b"\0".join(field.encode() for field in fields))
        answer = self._expect(
            "POST",
            "/_synapse/admin/v1/register",
            {
                "nonce": nonce,
                "username": user,
                "password": password,
                "admin": admin,
                "mac": mac.hexdigest(),
            },
        )
        return _account(answer, password)

    def login(self, user_id: str, password: str) -> Account:
        """Log ``user_id`` in as a new device."""
        answer = self._expect(
            "POST",
            "/_matrix/client/v3/login",
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": user_id},
                "password": password,
            },
        )
        return _account(answer, password)

    def override_ratelimit(
        self, user_id: str, *, messages_per_second: int, burst_count: int
    ) -> None:
        """Make 429 real for one user; there are no limits otherwise."""
        self._administer(
            "POST",
            f"/_synapse/admin/v1/users/{_quote(user_id)}/override_ratelimit",
            {"messages_per_second": messages_per_second, "burst_count": burst_count},
        )

    def delete_device(self, user_id: str, device_id: str) -> None:
        """Delete a device of a user; its access token ends with it."""
        self._administer(
            "POST",
            f"/_synapse/admin/v2/users/{_quote(user_id)}/delete_devices",
            {"devices": [device_id]},
        )

    def request(
        self, method: str, path: str, body: Mapping[str, Json] | None = None, token: str = ""
    ) -> Answer:
        """Send one request as the owner of ``token`` and return whatever the server answers."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
                return Answer(status=response.status, body=json.load(response))
        except urllib.error.HTTPError as refusal:
            with refusal:
                return Answer(status=refusal.code, body=json.load(refusal))

    def _administer(self, method: str, path: str, body: Mapping[str, Json]) -> None:
        if self._admin is None:
            self._admin = self.register(f"admin-{secrets.token_hex(4)}", admin=True)
        self._expect(method, path, body, self._admin.access_token)

    def _expect(
        self, method: str, path: str, body: Mapping[str, Json] | None = None, token: str = ""
    ) -> dict[str, Json]:
        answer = self.request(method, path, body, token)
        if answer.status != 200:
            raise SynapseError(f"{method} {path}: {answer.status} {answer.body}")
        return answer.body

    def _answers(self) -> bool:
        try:
            return self.request("GET", "/_matrix/client/versions").status == 200
        except OSError:
            return False

    def _tail(self) -> str:
        lines = [
            line
            for name in ("output.log", "homeserver.log")
            if (path := self._directory / name).exists()
            for line in path.read_text(errors="replace").splitlines()[-20:]
        ]
        return "\n".join(lines)

    @property
    def _config(self) -> Path:
        return self._directory / "homeserver.yaml"

    def _configure(self, upload_bytes: int) -> None:
        """Write the configuration; JSON is YAML, so nothing but the standard library is needed."""
        self._directory.mkdir(parents=True, exist_ok=True)
        here = self._directory.resolve()
        config = {
            "server_name": self.server_name,
            "pid_file": f"{here}/homeserver.pid",
            "public_baseurl": f"{self.url}/",
            "listeners": [
                {
                    "port": self.port,
                    "type": "http",
                    "bind_addresses": ["127.0.0.1"],
                    "resources": [{"names": ["client"], "compress": False}],
                }
            ],
            "database": {"name": "sqlite3", "args": {"database": f"{here}/homeserver.db"}},
            "log_config": f"{here}/log.yaml",
            "media_store_path": f"{here}/media",
            "max_upload_size": upload_bytes,
            "signing_key_path": f"{here}/signing.key",
            "registration_shared_secret": self._secret,
            "macaroon_secret_key": secrets.token_hex(16),
            "form_secret": secrets.token_hex(16),
            "enable_registration": False,
            "report_stats": False,
            "trusted_key_servers": [],
            "federation_domain_whitelist": [],
            "presence": {"enabled": False},
            "url_preview_enabled": False,
            "bcrypt_rounds": 4,
            "rc_message": _UNLIMITED,
            "rc_registration": _UNLIMITED,
            "rc_login": {
                "address": _UNLIMITED,
                "account": _UNLIMITED,
                "failed_attempts": _UNLIMITED,
            },
            "rc_joins": {"local": _UNLIMITED, "remote": _UNLIMITED},
            "rc_invites": {
                "per_room": _UNLIMITED,
                "per_user": _UNLIMITED,
                "per_issuer": _UNLIMITED,
            },
            "rc_room_creation": _UNLIMITED,
            "rc_key_requests": _UNLIMITED,
            "rc_admin_redaction": _UNLIMITED,
        }
        log = {
            "version": 1,
            "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
            "handlers": {
                "file": {
                    "class": "logging.FileHandler",
                    "filename": f"{here}/homeserver.log",
                    "formatter": "line",
                }
            },
            "root": {"level": "WARNING", "handlers": ["file"]},
            "disable_existing_loggers": False,
        }
        seed = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        self._write("homeserver.yaml", json.dumps(config, indent=2))
        self._write("log.yaml", json.dumps(log, indent=2))
        self._write("signing.key", f"ed25519 a_{secrets.token_hex(2)} {seed}\n")
        if self._owner is not None:
            for path in (here, *here.iterdir()):
                shutil.chown(path, *self._owner)

    def _write(self, name: str, text: str) -> None:
        path = self._directory / name
        path.touch(0o600)
        path.write_text(text)


def _account(answer: Mapping[str, Json], password: str) -> Account:
    return Account(
        user_id=str(answer["user_id"]),
        password=password,
        device_id=str(answer["device_id"]),
        access_token=str(answer["access_token"]),
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")
