# SPDX-License-Identifier: MIT
"""``tibet-nc-agent doctor``: one line for each thing that must be right, with the fix if it isn't.

It looks and changes nothing, and works while the agent runs: it logs in nowhere, it only asks the
homeserver with the saved token. The walls are the unit's, and whoever types this stands outside of
them: what the running unit's self-test found is shown, and only where there is no unit is it made
here.
"""

import asyncio
import contextlib
import itertools
import os
import shutil
import stat
from collections.abc import AsyncIterator
from typing import Final

from tibet_nc_agent import doctor_keys, doctor_rooms, spool
from tibet_nc_agent.assembly import STORE_NAME, link_of
from tibet_nc_agent.canonical import as_list, as_text
from tibet_nc_agent.check import Check
from tibet_nc_agent.config import Config
from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.homeserver import CLIENT, Homeserver
from tibet_nc_agent.login import LOGIN_NAME, saved
from tibet_nc_agent.matrix_errors import MatrixError, StoreDamaged
from tibet_nc_agent.selftest import NOTE, attempt
from tibet_nc_agent.units import counted

EXECUTOR_SECONDS: Final = 5.0

UNIT: Final = "tibet-nc-agent.service"
UNIT_DIRECTORIES: Final = ("/etc/systemd/system", "/usr/lib/systemd/system")
"""Where the installer and the package put it."""

LEAST_FREE_BYTES: Final = 512 * 1024**2
"""The same as the executor's, whose disk it mostly is; below it, look now."""


OWN_FILES: Final = (
    *("*.key", "*.json", "*.sqlite*", spool.DIRECTORY_NAME),
    *(STORE_NAME, f"{STORE_NAME}/*"),
)
"""What the agent must be able to use in its state."""


async def examine(config: Config) -> AsyncIterator[Check]:
    """Yield the result of each check, in the order in which to mend them."""
    yield _state(config)
    yield _disk(config)
    yield _walls(config)
    yield doctor_keys.store(config)
    homeserver = Homeserver(config.homeserver, proxy=config.proxy)
    try:
        async for check in _homeserver(config, homeserver):
            yield check
    finally:
        await homeserver.close()
    yield await _executor(config)


def _state(config: Config) -> Check:
    name, path = "state", config.state
    try:
        status = path.stat()
    except OSError as error:
        fix = "tibet-nc-agent login makes it"
        return Check(name=name, ok=False, detail=f"{path}: {error.strerror}", fix=fix)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o777 != 0o700 or status.st_uid != os.geteuid():
        detail = f"{path} belongs to uid {status.st_uid}, mode {mode:04o}"
        fix = f"run this as the agent's user, and chmod 700 {path}"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    for file in itertools.chain.from_iterable(map(path.glob, OWN_FILES)):
        with contextlib.suppress(FileNotFoundError):  # one that the agent has replaced meanwhile
            if file.stat().st_uid != status.st_uid or not os.access(file, os.R_OK | os.W_OK):
                detail = f"{file}: not this user's to read and write"
                fix = f"as root: chown -R {status.st_uid}: {path}; chmod -R u+rwX {path}"
                return Check(name=name, ok=False, detail=detail, fix=fix)
    return Check(name=name, ok=True, detail=f"{path} is private")


def _disk(config: Config) -> Check:
    name, directory = "disk", config.state
    try:
        free = shutil.disk_usage(directory).free
        status = os.statvfs(directory)
    except OSError as error:
        fix = "tibet-nc-agent login"
        return Check(name=name, ok=False, detail=f"{directory}: {error.strerror}", fix=fix)
    but = ""
    if status.f_flag & os.ST_RDONLY:
        but = ", but it is read-only"
    elif status.f_files and not status.f_favail:
        but = ", but it takes not one file more (df -i)"
    detail = f"{free // 1024**2} MiB free below {directory}{but}"
    if but or free < LEAST_FREE_BYTES:
        why = "nothing is answered once it is full"
        fix = f"make room, or mount it read-write: {why}; docs/operations.md"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    return Check(name=name, ok=True, detail=detail)


def _walls(config: Config) -> Check:
    with contextlib.suppress(OSError):
        return Check(name="walls", ok=True, detail=f"the running unit's: {NOTE.read_text('ascii')}")
    if any(os.path.exists(os.path.join(directory, UNIT)) for directory in UNIT_DIRECTORIES):
        detail = f"{UNIT} isn't running, and nothing else has its walls"
        fix = f"systemctl start {UNIT}; where it doesn't start, systemctl status {UNIT} says why"
        return Check(name="walls", ok=False, detail=detail, fix=fix)
    breaches = tuple(attempt())
    refused = [breach for breach in breaches if breach.wall not in config.accepted_walls]
    if refused:
        detail = "; ".join(map(str, refused))
        fix = "start it through its systemd unit, or name the wall in walls.accepted"
        return Check(name="walls", ok=False, detail=detail, fix=fix)
    detail = "; ".join(f"accepted: {breach}" for breach in breaches) or "all hold"
    return Check(name="walls", ok=True, detail=detail)


async def _homeserver(config: Config, homeserver: Homeserver) -> AsyncIterator[Check]:
    try:
        answer = await homeserver.once("GET", "/_matrix/client/versions")
    except MatrixError as error:
        fix = "check matrix.homeserver, the network and the certificate"
        yield Check(name="homeserver", ok=False, detail=str(error), fix=fix)
        return
    newest = [as_text(version) for version in as_list(answer.get("versions"))][-1:]
    detail = f"{config.homeserver} speaks {', '.join(newest) or 'nothing known'}"
    yield Check(name="homeserver", ok=True, detail=detail)
    yield _clock(config, homeserver)
    login = await _login(config, homeserver)
    yield login
    if login.ok:
        yield await doctor_keys.device(config, homeserver)
        yield await doctor_keys.one_time_keys(homeserver)
        async for check in doctor_keys.operators(config, homeserver):
            yield check
        async for check in doctor_rooms.rooms(config, homeserver):
            yield check


def _clock(config: Config, homeserver: Homeserver) -> Check:
    skew = homeserver.skew.milliseconds
    if skew is None:
        return Check(name="clock", ok=True, detail="the homeserver doesn't tell its time")
    detail = f"the homeserver's clock is {skew / 1000:+.1f} s from this host's"
    limit = config.timebox_ms // 2
    if abs(skew) > limit:
        fix = f"at most {limit / 1000:g} s leave commands time to arrive: see timedatectl"
        return Check(name="clock", ok=False, detail=detail, fix=fix)
    return Check(name="clock", ok=True, detail=detail)


async def _login(config: Config, homeserver: Homeserver) -> Check:
    name, fix = "login", "tibet-nc-agent login"
    file = config.state / STORE_NAME / LOGIN_NAME
    try:
        login = saved(file)
    except StoreDamaged as error:
        return Check(name=name, ok=False, detail=str(error), fix=fix)
    if login is None or not login.access_token:
        return Check(name=name, ok=False, detail="there is no login yet", fix=fix)
    homeserver.token = login.access_token
    try:
        answer = await homeserver.once("GET", f"{CLIENT}/account/whoami")
    except MatrixError as error:
        return Check(name=name, ok=False, detail=str(error), fix=fix)
    owner, device = as_text(answer.get("user_id")), as_text(answer.get("device_id"))
    if (owner, device) != (config.user_id, login.device_id):
        detail = f"the saved token is of {owner}, device {device}"
        fix = f"move {file.parent} away, then tibet-nc-agent login"
        return Check(name=name, ok=False, detail=detail, fix=fix)
    return Check(name=name, ok=True, detail=f"{owner}, device {device}")


async def _executor(config: Config) -> Check:
    name = "executor"
    try:
        link = link_of(config)
    except ConfigError as error:
        fix = "write there what tibet-nc-executor identity prints last, on this host"
        return Check(name=name, ok=False, detail=str(error), fix=fix)
    running = asyncio.create_task(link.run())
    try:
        async with asyncio.timeout(EXECUTOR_SECONDS):
            welcome = await link.wait_up()
    except TimeoutError:
        fix = "systemctl status tibet-nc-executor"
        return Check(name=name, ok=False, detail=str(link.failure), fix=fix)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
    detail = f"{welcome.host} answers, {counted(welcome.records, 'record')}"
    return Check(name=name, ok=True, detail=detail)
