# SPDX-License-Identifier: MIT
"""``login``: log in, have the account vouch for the device, and show what others must be told.

An account that a client such as Element has been used with has an identity of that client's.
Replacing it undoes every verification of the account, so it is the one thing here that a person
has to say, of that very identity: what the homeserver shows is shown, ``yes`` names it, and an
identity that has come in the meantime is left alone.
"""

import asyncio
import getpass
import sys
from collections.abc import Callable, Coroutine
from typing import Final, TextIO

from msgspec import structs

from tibet_nc_agent import keyfile
from tibet_nc_agent.assembly import (
    cross_sign,
    cross_signing_keys,
    logged_in,
    operators_of,
    prepare_state,
)
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.config import Config
from tibet_nc_agent.crosssign import Use
from tibet_nc_agent.fingerprint import spaced
from tibet_nc_agent.identity import master_key_of, verify_identity
from tibet_nc_agent.matrix_errors import (
    AuthenticationNeeded,
    IdentityError,
    MatrixError,
    NotLoggedIn,
    TokenRevoked,
)
from tibet_nc_agent.secret import Secret
from tibet_nc_agent.visible import one_line
from tibet_nc_protocol.pins import check_master_key

SHOWN_DEVICES: Final = 20

_YES: Final = "yes"


class NotReplacedError(Exception):
    """The account's identity was not replaced, and why."""


def login(config: Config, *, out: TextIO) -> None:
    """Log in and have the account vouch for the device, whose identity must be the agent's own.

    A password that is needed and not configured is asked for, if there is a terminal. Raises
    ConfigError and MatrixError.
    """
    prepare_state(config)
    _by_password(config, lambda given: _vouched_for(given, None, out))


def login_anew(config: Config, *, agreed: bool, out: TextIO) -> None:
    """As :func:`login`, and replace another identity of the account by the agent's own.

    Without ``agreed`` somebody on the terminal is asked. Nothing is replaced if the account's is
    the agent's own already, or if it has none. Raises NotReplacedError, PinsError, ConfigError
    and MatrixError.
    """
    prepare_state(config)
    config, answer = _by_password(config, _account_keys)
    ours = cross_signing_keys(config).public_key(Use.MASTER)
    theirs = master_key_of(answer, config.user_id)
    replacing = None
    if theirs is not None and theirs != ours:
        check_master_key(theirs)
        _show(config.user_id, theirs, ours, _vouched(answer, config.user_id), out)
        if not agreed:
            _ask(out)
        replacing = theirs
    _by_password(config, lambda given: _vouched_for(given, replacing, out))
    if replacing is not None:
        out.write(f"The identity of {config.user_id} is the agent's own now.\n")


def _by_password[T](
    config: Config, attempt: Callable[[Config], Coroutine[None, None, T]]
) -> tuple[Config, T]:
    """Return what an attempt returns, and the settings with the password that was typed for it."""
    try:
        return config, asyncio.run(attempt(config))
    except (NotLoggedIn, TokenRevoked, AuthenticationNeeded) as error:
        if not _would_help(config, error):
            raise
        if not sys.stdin.isatty():
            raise NotLoggedIn(
                f"{str(error).partition(': ')[0]}: there is no terminal to type the password on,"
                " so matrix.password_file must name a file with it"
            ) from None
    try:
        typed = getpass.getpass(f"Password of {config.user_id}: ")
    except EOFError:
        typed = ""
    config = structs.replace(config, password=Secret(typed))
    return config, asyncio.run(attempt(config))


def _would_help(config: Config, error: MatrixError) -> bool:
    """Whether an attempt may end otherwise with a password."""
    if isinstance(error, AuthenticationNeeded):
        return config.password is None and error.challenge.password
    return config.password is None and config.access_token is None


async def _account_keys(config: Config) -> JsonObject:
    async with logged_in(config, operators_of(config), renew=True) as matrix:
        return await matrix.account_keys()


async def _vouched_for(config: Config, replacing: str | None, out: TextIO) -> None:
    """Log in, and print what an operator compares and what the executor must be told."""
    async with logged_in(config, operators_of(config), renew=True) as matrix:
        keys = await cross_sign(config, matrix, replacing=replacing)
        out.write(f"user           {config.user_id}\n")
        out.write(f"device         {matrix.device_id}\n")
        out.write(f"session key    {spaced(matrix.ed25519)}\n")
        out.write(f"cross-signing  {spaced(keys.public_key(Use.MASTER))}\n")
    public_key = keyfile.identity(config.state).public_key.hex
    out.write(f"agent key      {public_key}\n")
    out.write(f"next: tibet-nc-executor enrol-agent {public_key}\n")


def _vouched(answer: JsonObject, user_id: str) -> list[str]:
    """Return the devices that the account's present identity has signed."""
    try:
        identity = verify_identity(answer, user_id, pinned=None)
    except IdentityError:
        return []
    return sorted(each.device_id for each in identity.devices if each.cross_signed)


def _show(user_id: str, theirs: str, ours: str, vouched: list[str], out: TextIO) -> None:
    out.write(f"{user_id} has an identity that is not this agent's:\n")
    out.write(f"  master key    {spaced(theirs)}\n")
    if vouched:
        devices = ", ".join(map(one_line, vouched[:SHOWN_DEVICES]))
        out.write(f"  signed by it  {devices}\n")
    out.write(f"  agent's own   {spaced(ours)}\n")
    out.write(
        "To replace it by the agent's own can't be taken back: no other device of the account is\n"
        "verified any more then, the recovery key that Element made for it is of no use, and\n"
        "whoever has verified the account has to do so again.\n"
    )


def _ask(out: TextIO) -> None:
    """Ask on the terminal; raises NotReplacedError unless the answer is yes."""
    if not sys.stdin.isatty():
        raise NotReplacedError(
            "nothing was replaced: there is no terminal to ask on, and --yes was not given"
        )
    out.write(f"Type {_YES!r} to replace it: ")
    out.flush()
    if sys.stdin.readline().strip() != _YES:
        raise NotReplacedError("nothing was replaced")
