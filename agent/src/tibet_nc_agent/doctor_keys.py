# SPDX-License-Identifier: MIT
"""What the doctor says of keys: the agent's store and device, and the operators' identities."""

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from typing import Final

from tibet_nc_agent import keyfile
from tibet_nc_agent.assembly import (
    CROSS_SIGNING_NAME,
    STORE_NAME,
    cross_signing_keys,
    operators_of,
)
from tibet_nc_agent.canonical import as_count, as_object
from tibet_nc_agent.check import Check
from tibet_nc_agent.config import Config
from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.crosssign import CrossSigning, own_identity, query
from tibet_nc_agent.homeserver import CLIENT, Homeserver
from tibet_nc_agent.identity import verify_identity
from tibet_nc_agent.inbox import FILE_NAME as INBOX_NAME
from tibet_nc_agent.login import LOGIN_NAME, saved
from tibet_nc_agent.matrix_errors import (
    IdentityError,
    MatrixError,
    OtherIdentity,
    StoreDamaged,
)
from tibet_nc_agent.nio_machine import DATABASE
from tibet_nc_agent.olm_messages import SIGNED_CURVE25519
from tibet_nc_agent.operators import Operators, Standing
from tibet_nc_agent.units import counted
from tibet_nc_agent.visible import one_line
from tibet_nc_protocol.pins import Pin

SHOWN_DEVICES: Final = 5

_MEND: Final = 'restore it from a backup, or see docs/operations.md, "Keys"'


def store(config: Config) -> Check:
    """Look whether the databases are whole; a running agent isn't disturbed."""
    name = "store"
    if not os.path.lexists(config.state / STORE_NAME / LOGIN_NAME):
        detail = "there are no keys yet"
        return Check(name=name, ok=False, detail=detail, fix="tibet-nc-agent login")
    for path in (config.state / STORE_NAME / DATABASE, config.state / INBOX_NAME):
        if not os.path.isfile(path):  # SQLite would wait for a named pipe
            detail = f"{path}: not a regular file"
            return Check(name=name, ok=False, detail=detail, fix=_MEND)
        try:
            with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
                found = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        except sqlite3.Error as error:
            return Check(name=name, ok=False, detail=f"{path}: {error}", fix=_MEND)
        if found != "ok":
            return Check(name=name, ok=False, detail=f"{path}: {found}", fix=_MEND)
    return Check(name=name, ok=True, detail="keys and inbox are whole")


async def device(config: Config, homeserver: Homeserver) -> Check:
    """Look whether the saved identity vouches for the agent's device."""
    name, user_id = "device", config.user_id
    try:
        login = saved(config.state / STORE_NAME / LOGIN_NAME)
        device_id = "" if login is None else login.device_id
        keys = _cross_signing(config)
        if keys is None:
            return Check(
                name=name,
                ok=False,
                detail="there are no cross-signing keys: careful clients don't talk to it",
                fix="tibet-nc-agent login",
            )
        identity = own_identity(await query(homeserver, user_id), keys, user_id)
    except OtherIdentity as error:
        fix = "systemctl stop tibet-nc-agent, then tibet-nc-agent login --reset-identity"
        return Check(name=name, ok=False, detail=str(error).partition(": ")[0], fix=fix)
    except StoreDamaged as error:
        return Check(name=name, ok=False, detail=str(error), fix="see there")
    except (MatrixError, ConfigError) as error:
        fix = 'docs/operations.md, "Keys", the agent\'s Matrix device'
        return Check(name=name, ok=False, detail=str(error), fix=fix)
    signed = [each.device_id for each in identity.devices if each.cross_signed]
    if device_id not in signed:
        detail = f"the agent's identity has not signed its device {device_id}"
        return Check(name=name, ok=False, detail=detail, fix="tibet-nc-agent login")
    return Check(name=name, ok=True, detail=f"{device_id} is signed by the agent's identity")


async def one_time_keys(homeserver: Homeserver) -> Check:
    """Look how many keys others can still begin a conversation with."""
    name = "keys"
    try:
        answer = await homeserver.once("POST", f"{CLIENT}/keys/upload", {})
    except MatrixError as error:
        return Check(name=name, ok=False, detail=str(error), fix="try again")
    counts = as_object(answer.get("one_time_key_counts"))
    count = as_count(counts.get(SIGNED_CURVE25519)) or 0
    detail = f"one-time keys left: {count}"
    if not count:
        fix = "the running agent makes new ones: systemctl status tibet-nc-agent"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    return Check(name=name, ok=True, detail=detail)


async def operators(config: Config, homeserver: Homeserver) -> AsyncIterator[Check]:
    """Look at the pins, and whether each is still the identity that the homeserver shows."""
    name = "operators"
    try:
        who = operators_of(config)
    except StoreDamaged as error:
        yield Check(name=name, ok=False, detail=str(error), fix="see there")
        return
    pins = who.pins()
    if who.problem:
        path = config.operators_file
        fix = f"chown root:root {path}; chmod 644 {path}; and see docs/adr/0006"
        yield Check(name=name, ok=False, detail=who.problem, fix=fix)
        return
    if not any(who.standing(user) is Standing.OPERATOR for user in pins):
        fix = "tibet-nc-agent trust @you:server"
        yield Check(name=name, ok=False, detail="nobody who may command is pinned", fix=fix)
    for line in _named(config, who):
        yield line
    for pin in pins.values():
        yield await _operator(homeserver, who, pin)


def _named(config: Config, who: Operators) -> Iterator[Check]:
    for user in sorted(config.allowed - who.pins().keys()):
        detail = "named in [operators] allowed and not pinned: commands nothing, reads nothing"
        yield Check(name=f"operator {user}", ok=True, detail=detail)


async def _operator(homeserver: Homeserver, who: Operators, pin: Pin) -> Check:
    name, user = f"operator {pin.user}", pin.user
    again = f"ask the operator, then: tibet-nc-agent trust {user}"
    pause = who.pauses.of(pin)
    if pause is not None:
        return Check(name=name, ok=False, detail=f"paused: {one_line(pause.reason)}", fix=again)
    try:
        identity = verify_identity(await query(homeserver, user), user, pinned=pin.master_key)
    except IdentityError as error:
        return Check(name=name, ok=False, detail=one_line(str(error)), fix=again)
    except MatrixError as error:
        return Check(name=name, ok=False, detail=str(error), fix="try again")
    unsigned = [each.device_id for each in identity.devices if not each.cross_signed]
    detail = (
        f"pinned {pin.pinned:%Y-%m-%d} ({pin.how}) and unchanged, "
        f"{counted(len(identity.devices) - len(unsigned), 'device')} signed"
    )
    if unsigned:
        detail += f", not signed: {', '.join(map(one_line, unsigned[:SHOWN_DEVICES]))}"
    if who.standing(user) is Standing.READER:
        detail += "; may read, and commands nothing: [operators] allowed names others"
    return Check(name=name, ok=True, detail=detail)


def _cross_signing(config: Config) -> CrossSigning | None:
    """Return the agent's saved identity, None if there is none; none is made here."""
    for name in (CROSS_SIGNING_NAME, keyfile.PICKLE_NAME):
        if not os.path.exists(config.state / name):
            return None
    return cross_signing_keys(config)
