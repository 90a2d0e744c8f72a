# SPDX-License-Identifier: MIT
"""From settings to the parts that work: opened in order, closed in reverse, nothing left behind."""

import functools
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from tibet_nc_agent import keyfile, spool
from tibet_nc_agent.airlock import Rules
from tibet_nc_agent.config import Config, read_executor_key
from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.crosssign import CrossSigning
from tibet_nc_agent.desk import Desk
from tibet_nc_agent.disk import Disk
from tibet_nc_agent.emitter import Emitter
from tibet_nc_agent.executor_link import ExecutorLink
from tibet_nc_agent.inbox import Inbox
from tibet_nc_agent.login import LOGIN_NAME, saved
from tibet_nc_agent.matrix import Matrix, MatrixSettings
from tibet_nc_agent.operators import Operators
from tibet_nc_agent.outbox import Outbox
from tibet_nc_agent.pauses import Pauses
from tibet_nc_agent.render import Answerer
from tibet_nc_agent.safety import RulesError, Verdict, judge, load_rules
from tibet_nc_agent.selftest import Breach, given_up

STORE_NAME: Final = "matrix"
CROSS_SIGNING_NAME: Final = "cross-signing.json"


def saved_token(config: Config) -> str:
    """Return a token to ask the homeserver with, beside the running agent; "" if there is none.

    Raises StoreDamaged.
    """
    login = saved(config.state / STORE_NAME / LOGIN_NAME)
    if login is not None and login.user_id == config.user_id and login.access_token:
        return login.access_token
    return "" if config.access_token is None else config.access_token.reveal()


def prepare_state(config: Config) -> None:
    """Make the state directory, for this user alone; raises ConfigError."""
    try:
        config.state.mkdir(mode=0o700, exist_ok=True)
        config.state.chmod(0o700)
    except OSError as error:
        problem = f"{config.state}: {error.strerror}"
        raise ConfigError(
            "state.directory", "", problem, "a directory that belongs to the agent's user"
        ) from None


@asynccontextmanager
async def logged_in(
    config: Config, operators: Operators, *, renew: bool = False
) -> AsyncGenerator[Matrix]:
    """Open the Matrix side for the length of a block; raises MatrixError and ConfigError.

    ``renew`` replaces a token that was revoked.
    """
    pickle_key = keyfile.pickle_key(config.state)
    if (config.state / CROSS_SIGNING_NAME).exists():
        cross_signing_keys(config)  # no new device while nothing could vouch for it
    matrix = await Matrix.open(
        MatrixSettings(
            homeserver=config.homeserver,
            proxy=config.proxy,
            user_id=config.user_id,
            device_name=config.device_name,
            rooms=config.rooms,
            store=config.state / STORE_NAME,
        ),
        access_token=None if config.access_token is None else config.access_token.reveal(),
        password=None if config.password is None else config.password.reveal(),
        pickle_key=pickle_key,
        operators=operators,
        renew=renew,
    )
    try:
        yield matrix
    finally:
        await matrix.close()


def cross_signing_keys(config: Config) -> CrossSigning:
    """Return the agent's own identity, made the first time; raises StoreDamaged, ConfigError."""
    return CrossSigning.open(config.state / CROSS_SIGNING_NAME, keyfile.pickle_key(config.state))


async def cross_sign(
    config: Config, matrix: Matrix, *, replacing: str | None = None
) -> CrossSigning:
    """Have the account vouch for this device, so that careful clients talk to it.

    ``replacing`` is the master key of the other identity that a person has given up for it.
    Raises MatrixError and ConfigError.
    """
    keys = cross_signing_keys(config)
    password = None if config.password is None else config.password.reveal()
    await matrix.cross_sign(keys, password=password, replacing=replacing)
    return keys


def operators_of(config: Config) -> Operators:
    """Return who may command; raises StoreDamaged."""
    return Operators(config.operators_file, config.allowed, Pauses(config.state))


def judge_of(config: Config) -> Callable[[str], Verdict]:
    """Return the safety stage with the host's own rules; raises ConfigError.

    The rules are loaded here and not with the first command, which would be slow.
    """
    try:
        rules = load_rules(config.rules_file)
    except RulesError as error:
        raise ConfigError("airlock.rules_file", "", str(error)) from None
    return functools.partial(judge, rules=rules)


def link_of(config: Config) -> ExecutorLink:
    """Return the way to the configured executor; raises ConfigError."""
    return ExecutorLink(
        config.socket,
        identity=keyfile.identity(config.state),
        key=read_executor_key(config),
        uid=config.executor_uid,
    )


@asynccontextmanager
async def assembled(
    config: Config, matrix: Matrix, operators: Operators, breaches: tuple[Breach, ...]
) -> AsyncGenerator[Desk]:
    """Put everything together for the length of a block; raises ConfigError and InboxError."""
    async with AsyncExitStack() as stack:
        link = link_of(config)
        disk = Disk()
        stack.callback(disk.close)
        inbox = Inbox(config.state)
        stack.push_async_callback(disk, inbox.close)
        emitter = None
        if config.emission_base is not None:
            emitter = Emitter(
                config.emission_base, config.state, host=config.host, proxy=config.emission_proxy
            )
            stack.push_async_callback(emitter.close)
        yield Desk(
            rules=Rules(
                user_id=config.user_id,
                rooms=frozenset(config.rooms),
                dedicated_room=config.dedicated_room,
                timebox_ms=config.timebox_ms,
                judge=judge_of(config),
            ),
            operators=operators,
            matrix=matrix,
            link=link,
            inbox=inbox,
            disk=disk,
            outbox=Outbox(matrix),
            answerer=Answerer(config.host),
            spool=spool.prepare(config.state),
            given_up=given_up(breaches),
            emitter=emitter,
            listening_since_ms=int(time.time() * 1000),
        )
