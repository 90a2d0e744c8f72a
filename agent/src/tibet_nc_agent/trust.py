# SPDX-License-Identifier: MIT
"""``trust``, ``untrust`` and ``operators``: root's word on whose commands this host runs.

What the homeserver says of an operator is fetched and checked as the agent's user; only the
master key that it shows comes back, and root compares it and writes it down.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TextIO

import msgspec

from tibet_nc_agent.assembly import saved_token
from tibet_nc_agent.canonical import JsonObject
from tibet_nc_agent.config import Config
from tibet_nc_agent.crosssign import query
from tibet_nc_agent.descent import as_owner
from tibet_nc_agent.emoji_dialog import verified_master_key
from tibet_nc_agent.fingerprint import spaced, unspaced
from tibet_nc_agent.homeserver import Homeserver
from tibet_nc_agent.identity import verify_identity
from tibet_nc_agent.matrix_errors import NotLoggedIn
from tibet_nc_agent.pinfile import PinFile, pin, unpin
from tibet_nc_agent.visible import one_line
from tibet_nc_protocol.pins import How, MasterKey, Pin, check_master_key
from tibet_nc_protocol.terms import UserId

SHOWN_DEVICES: Final = 20

_YES: Final = "yes"


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the homeserver says of a user: the master key, and which devices it has signed."""

    master_key: MasterKey
    signed: tuple[str, ...]
    unsigned: tuple[str, ...]


class NotTrustedError(Exception):
    """Nobody was pinned, and why."""


def user_id(text: str) -> str:
    """Return a Matrix user id; raises NotTrustedError."""
    try:
        return msgspec.convert(text, UserId)
    except msgspec.ValidationError:
        raise NotTrustedError(f"{text!r} is no Matrix user: one looks like @you:server") from None


def trust(config: Config, user: str, fingerprint: str | None, *, out: TextIO) -> None:
    """Pin an operator's identity, as it is now.

    With ``fingerprint`` it must be that one; without, it is shown and somebody on the terminal is
    asked. Raises NotTrustedError, PinsError, DescentError and MatrixError; nothing is changed then.
    """
    given = None if fingerprint is None else unspaced(fingerprint)
    if given is not None:
        check_master_key(given)
    elif not sys.stdin.isatty():
        raise NotTrustedError(
            "there is no terminal to ask on: give the master key with --fingerprint"
        )
    before = PinFile(config.operators_file).pins().get(user)  # a bad file is told before all else
    claim = _claim(as_owner(config.state, lambda: _fetched(config, user)))
    if given is not None and claim.master_key != given:
        raise NotTrustedError(
            f"the homeserver shows another master key of {user} than the given one:"
            f" {spaced(claim.master_key)}"
        )
    if given is None:
        _show(user, claim, before, out)
        out.write(f"Is this key {user}'s? Type {_YES!r} to pin it: ")
        out.flush()
        if sys.stdin.readline().strip() != _YES:
            raise NotTrustedError("nobody was pinned")
    how = How.COMPARED if given is None else How.FINGERPRINT
    _pin(config, user, claim.master_key, how, out)


def trust_by_emoji(config: Config, user: str, *, out: TextIO) -> None:
    """Pin the identity that an operator proves to the running agent, while people compare emoji.

    Raises NotTrustedError, ConsoleError and PinsError; nothing is changed then.
    """
    if not sys.stdin.isatty():
        raise NotTrustedError("there is no terminal to ask on")
    if not os.access(config.operators_file.parent, os.W_OK):  # before people are asked
        raise NotTrustedError(f"{config.operators_file} can't be written: run this as root")
    before = PinFile(config.operators_file).pins().get(user)
    master_key = verified_master_key(config.state, user, stdin=sys.stdin, out=out)
    if master_key is None:
        raise NotTrustedError("nobody was pinned")
    check_master_key(master_key)
    _note_change(before, master_key, out)
    _pin(config, user, master_key, How.EMOJI, out)


def _pin(config: Config, user: str, master_key: str, how: How, out: TextIO) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    pin(config.operators_file, Pin(user=user, master_key=master_key, pinned=now, how=how))
    out.write(f"pinned {user} in {config.operators_file}\n")
    if config.allowed and user not in config.allowed:
        out.write("but [operators] allowed names others only: until it names this one too, no\n")


def untrust(operators_file: Path, user: str, *, out: TextIO) -> None:
    """Take a pin back; raises PinsError."""
    unpin(operators_file, user)
    out.write(f"{user} is no operator of this host any more\n")


def operators(operators_file: Path, *, as_json: bool, out: TextIO) -> None:
    """List the pinned operators; raises PinsError."""
    pins = PinFile(operators_file).pins()
    if as_json:
        out.write(msgspec.json.encode(list(pins.values())).decode() + "\n")
        return
    for each in pins.values():
        day = each.pinned.astimezone(UTC).strftime("%Y-%m-%d")
        out.write(f"{each.user}  {spaced(each.master_key)}  {each.how} {day}\n")
    if not pins:
        out.write("nobody is pinned: tibet-nc-agent trust @you:server\n")


def _fetched(config: Config, user: str) -> bytes:
    """Return what the homeserver says of a user, checked as far as it can be without a pin."""
    answer = asyncio.run(_query(config, user))
    identity = verify_identity(answer, user, pinned=None)
    names = sorted((device.cross_signed, device.device_id) for device in identity.devices)
    claim = Claim(
        master_key=identity.master,
        signed=tuple(name for signed, name in names if signed)[:SHOWN_DEVICES],
        unsigned=tuple(name for signed, name in names if not signed)[:SHOWN_DEVICES],
    )
    return msgspec.json.encode(claim)


async def _query(config: Config, user: str) -> JsonObject:
    homeserver = Homeserver(config.homeserver, proxy=config.proxy)
    try:
        homeserver.token = saved_token(config)
        if not homeserver.token:
            raise NotLoggedIn("the agent has not logged in yet: start it, or tibet-nc-agent login")
        return await query(homeserver, user)
    finally:
        await homeserver.close()


def _claim(data: bytes) -> Claim:
    try:
        claim = msgspec.json.decode(data, type=Claim)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise NotTrustedError(f"what was fetched makes no sense ({error})") from None
    check_master_key(claim.master_key)
    return claim


def _show(user: str, claim: Claim, before: Pin | None, out: TextIO) -> None:
    out.write(f"{user}, as the homeserver shows it now:\n")
    out.write(f"  master key    {spaced(claim.master_key)}\n")
    for name, devices in (("signed by it", claim.signed), ("NOT signed", claim.unsigned)):
        if devices:
            out.write(f"  {name:<12}  {', '.join(map(one_line, devices))}\n")
    _note_change(before, claim.master_key, out)
    out.write(
        "A homeserver can show a key of its own making: compare this one with the operator's own,\n"
        "on the telephone or in person, before it may command.\n"
    )


def _note_change(before: Pin | None, master_key: str, out: TextIO) -> None:
    if before is not None and before.master_key == master_key:
        out.write("It is the key that is pinned already.\n")
    elif before is not None:
        out.write(
            f"It is NOT the key that was pinned on {before.pinned:%Y-%m-%d}:\n"
            f"  pinned key    {spaced(before.master_key)}\n"
            "The operator has made a new identity, or somebody else has made one.\n"
        )
