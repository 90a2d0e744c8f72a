# SPDX-License-Identifier: MIT
"""The agent's login: one device, made once and kept in a file.

The device id is chosen and written before the homeserver hears of it. A crash between the two
leads to a second login to the same device, never to a second device.
"""

import secrets
import string
from pathlib import Path
from typing import Final

import msgspec

from tibet_nc_agent.canonical import as_text
from tibet_nc_agent.homeserver import CLIENT, Homeserver
from tibet_nc_agent.matrix_errors import (
    NotLoggedIn,
    Refused,
    StoreDamaged,
    TokenRevoked,
    WrongLogin,
    start_anew,
)
from tibet_nc_agent.statefile import read_private, write_whole

DEVICE_ID_CHARACTERS: Final = 10

LOGIN_NAME: Final = "login.json"


class Login(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who we are to the homeserver; ``access_token`` is "" while the first login is under way."""

    user_id: str
    device_id: str
    access_token: str


async def log_in(
    homeserver: Homeserver,
    *,
    user_id: str,
    device_name: str,
    file: Path,
    access_token: str | None,
    password: str | None,
    renew: bool,
) -> Login:
    """Return the saved login, or make one and save it; ``homeserver`` has its token afterwards.

    A given token must belong to the configured user, and to the saved device if there is one.
    With ``renew``, a saved token that is no longer valid is replaced by the password's, for the
    same device: only a person at the host may undo a revocation.
    Raises :class:`NotLoggedIn`, :class:`WrongLogin`, :class:`StoreDamaged`, or as
    :meth:`Homeserver.once`.
    """
    login = saved(file)
    if login is not None and login.user_id != user_id:
        raise WrongLogin(f"{file} is a login of {login.user_id}, not of {user_id}")
    if access_token:
        homeserver.token = access_token
        device_id = await _device_of_token(homeserver, user_id)
        if login is not None and login.device_id != device_id:
            raise WrongLogin(
                f"the access token belongs to device {device_id}, the store to {login.device_id}:"
                f" use a token of that device, or {start_anew(file.parent)}"
            )
        fresh = Login(user_id=user_id, device_id=device_id, access_token=access_token)
        if fresh != login:
            _write(file, fresh)
        return fresh
    if login is not None and login.access_token:
        homeserver.token = login.access_token
        if not (renew and password) or await _accepted(homeserver):
            return login
    if not password:
        raise NotLoggedIn(
            f"there is no login of {user_id} yet: tibet-nc-agent login makes one, by the password"
            " that is typed on a terminal, matrix.password_file or matrix.access_token_file"
        )
    if login is None:
        login = Login(user_id=user_id, device_id=_new_device_id(), access_token="")
        _write(file, login)
    token = await _token_by_password(homeserver, login, device_name, password)
    login = Login(user_id=user_id, device_id=login.device_id, access_token=token)
    _write(file, login)
    homeserver.token = token
    return login


async def _accepted(homeserver: Homeserver) -> bool:
    """Whether the homeserver takes our token; without one we go on, if it doesn't."""
    try:
        await homeserver.once("GET", f"{CLIENT}/account/whoami")
    except TokenRevoked:
        homeserver.token = ""
        return False
    return True


async def _device_of_token(homeserver: Homeserver, user_id: str) -> str:
    answer = await homeserver.once("GET", f"{CLIENT}/account/whoami")
    owner, device_id = as_text(answer.get("user_id")), as_text(answer.get("device_id"))
    if owner != user_id:
        raise WrongLogin(f"the access token belongs to {owner or 'nobody'}, not to {user_id}")
    if not device_id:
        raise WrongLogin("the access token belongs to no device; encryption needs one")
    return device_id


async def _token_by_password(
    homeserver: Homeserver, login: Login, device_name: str, password: str
) -> str:
    try:
        answer = await homeserver.once(
            "POST",
            f"{CLIENT}/login",
            {
                "type": "m.login.password",
                "identifier": {"type": "m.id.user", "user": login.user_id},
                "password": password,
                "device_id": login.device_id,
                "initial_device_display_name": device_name,
            },
        )
    except Refused as error:
        raise WrongLogin(f"the login of {login.user_id} failed: {error}") from error
    named = (as_text(answer.get("user_id")), as_text(answer.get("device_id")))
    token = as_text(answer.get("access_token"))
    if named != (login.user_id, login.device_id) or not token:
        raise WrongLogin(f"the homeserver logged in {named[0]} ({named[1]}), not {login.user_id}")
    return token


def _new_device_id() -> str:
    letters = (secrets.choice(string.ascii_uppercase) for _ in range(DEVICE_ID_CHARACTERS))
    return "".join(letters)


def saved(file: Path) -> Login | None:
    """Return the saved login, None if there is none; raises :class:`StoreDamaged`."""
    data = read_private(file)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=Login)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise StoreDamaged(f"{file} is damaged ({error}): {start_anew(file.parent)}") from error


def _write(file: Path, login: Login) -> None:
    write_whole(file, msgspec.json.encode(login) + b"\n")
