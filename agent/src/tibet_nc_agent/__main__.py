# SPDX-License-Identifier: MIT
"""tibet-nc-agent: the command line of the Matrix side."""

import argparse
import asyncio
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final, cast

import msgspec

from tibet_nc_agent import VERSION, explain, keyfile, login_dialog, starting, trust
from tibet_nc_agent.assembly import prepare_state
from tibet_nc_agent.check import Check
from tibet_nc_agent.config import DEFAULT_PATH, Config, load, operators_file, rules_file
from tibet_nc_agent.config_error import ConfigError
from tibet_nc_agent.console import ConsoleError
from tibet_nc_agent.descent import DescentError, become_owner
from tibet_nc_agent.doctor import examine
from tibet_nc_agent.inbox import InboxError
from tibet_nc_agent.matrix_errors import MatrixError
from tibet_nc_agent.printing import OutputError, standard_output
from tibet_nc_agent.safety import RulesError
from tibet_nc_agent.selftest import Breach, SelfTestError, enforce, leave_note
from tibet_nc_agent.supervision import StalledError, Supervisor
from tibet_nc_protocol.errors import PinsError

GOOD: Final = 0
BAD: Final = 1
USAGE: Final = 2

_UNUSABLE: Final = (ConfigError, SelfTestError, OutputError, RulesError, explain.ExplainError)
_FAILURES: Final = (
    MatrixError,
    InboxError,
    StalledError,
    PinsError,
    trust.NotTrustedError,
    login_dialog.NotReplacedError,
    DescentError,
    ConsoleError,
    OSError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit status; errors become text here, and nowhere else."""
    try:
        with standard_output():
            return _run_verb(arguments)
    except _UNUSABLE as error:
        print(f"tibet-nc-agent: {error}", file=sys.stderr)
        return USAGE
    except _FAILURES as error:
        print(f"tibet-nc-agent: {_text(error)}", file=sys.stderr)
        return BAD
    except KeyboardInterrupt:
        print("tibet-nc-agent: interrupted", file=sys.stderr)
        return BAD
    except BaseExceptionGroup as group:
        return _fail_together(group)


def _run_verb(arguments: Sequence[str] | None) -> int:
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.verb == "login" and options.yes and not options.reset_identity:
        parser.error("--yes agrees to --reset-identity, which was not given")
    _log_to_stderr()
    path, given = options.config or DEFAULT_PATH, options.config is not None
    if options.verb == "explain":
        options.rules = options.rules or rules_file(path, required=given)
        explain.explain(options, out=sys.stdout)
        return GOOD
    if options.verb in ("untrust", "operators"):
        pins = operators_file(path, required=given)
        os.umask(0o077)
        if options.verb == "untrust":
            trust.untrust(pins, options.user, out=sys.stdout)
        else:
            trust.operators(pins, as_json=options.json, out=sys.stdout)
        return GOOD
    config = load(path, os.environ, required=given)
    os.umask(0o077)
    return _carry_out(options, config)


def _carry_out(options: argparse.Namespace, config: Config) -> int:
    match options.verb:
        case "run":
            breaches = enforce(config.accepted_walls)  # it forks, so it is before all threads
            leave_note(os.environ, breaches)
            asyncio.run(_run(config, breaches))
        case "login":
            become_owner(config.state)
            if options.reset_identity:
                login_dialog.login_anew(config, agreed=options.yes, out=sys.stdout)
            else:
                login_dialog.login(config, out=sys.stdout)
        case "identity":
            become_owner(config.state)
            _identity(config)
        case "trust":
            if options.emoji:
                trust.trust_by_emoji(config, options.user, out=sys.stdout)
            else:
                trust.trust(config, options.user, options.fingerprint, out=sys.stdout)
        case _:  # doctor, as the parser has seen to it
            become_owner(config.state)
            return asyncio.run(_doctor(config, as_json=options.json))
    return GOOD


async def _run(config: Config, breaches: tuple[Breach, ...]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    prepare_state(config)
    await starting.serve(config, breaches, Supervisor(os.environ), stop)


def _identity(config: Config) -> None:
    """Print the agent's JIS identity; make it the first time."""
    prepare_state(config)
    identity = keyfile.identity(config.state)
    print(f"{identity.id}\n{identity.public_key.hex}")


async def _doctor(config: Config, *, as_json: bool) -> int:
    checks: list[Check] = []
    async for check in examine(config):
        checks.append(check)
        if not as_json:
            fix = f"; fix: {check.fix}" if check.fix else ""
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}{fix}")
    if as_json:
        print(msgspec.json.encode(checks).decode())
    return GOOD if all(check.ok for check in checks) else BAD


def _fail_together(group: BaseExceptionGroup[BaseException]) -> int:
    """Print what ended tasks that ran side by side, each once; a fault of ours is raised."""
    expected, rest = group.split((*_UNUSABLE, *_FAILURES))
    if rest is not None:
        raise rest
    leaves = _leaves(group if expected is None else expected)
    for text in dict.fromkeys(map(_text, leaves)):
        print(f"tibet-nc-agent: {text}", file=sys.stderr)
    return USAGE if any(isinstance(error, _UNUSABLE) for error in leaves) else BAD


def _text(error: BaseException) -> str:
    """Return what an error says; of a file that can't be used its name, and why."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    inside = cast(BaseExceptionGroup[BaseException], error).exceptions
    return [leaf for inner in inside for leaf in _leaves(inner)]


def _log_to_stderr() -> None:
    """Log one line a decision; the journal adds the time, a terminal needs it."""
    journal = bool(os.environ.get("JOURNAL_STREAM"))
    form = "%(message)s" if journal else "%(asctime)s %(levelname)s %(message)s"
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format=form)
    logging.getLogger("tibet_nc_agent").setLevel(logging.INFO)


def _user(text: str) -> str:
    try:
        return trust.user_id(text)
    except trust.NotTrustedError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _add_login(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--reset-identity",
        action="store_true",
        help="replace another cross-signing identity of the account by the agent's own",
    )
    parser.add_argument(
        "--yes", action="store_true", help="with --reset-identity: don't ask whether to replace it"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tibet-nc-agent",
        description="The Matrix side of tibet-nc: it reads the network, and has no shell.",
        epilog="Exit status: 0 good, 1 what was checked is bad, 2 usage or configuration.",
    )
    parser.add_argument("--version", action="version", version=VERSION)
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help=f"settings (default: {DEFAULT_PATH})"
    )
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("run", help="serve the rooms until stopped")
    _add_login(verbs.add_parser("login", help="log in; show fingerprints and the key to enrol"))
    verbs.add_parser("identity", help="show the agent's JIS identity and public key")
    pinning = verbs.add_parser("trust", help="pin an operator, who may command from then on")
    pinning.add_argument("user", metavar="@USER:SERVER", type=_user)
    how = pinning.add_mutually_exclusive_group()
    how.add_argument(
        "--fingerprint", metavar="KEY", help="the operator's master key, instead of asking"
    )
    how.add_argument(
        "--emoji", action="store_true", help="compare emoji with the operator's client, in the room"
    )
    unpinning = verbs.add_parser("untrust", help="take an operator's pin back, at once")
    unpinning.add_argument("user", metavar="@USER:SERVER", type=_user)
    listing = verbs.add_parser("operators", help="list the pinned operators")
    listing.add_argument("--json", action="store_true", help="for programs")
    doctor = verbs.add_parser("doctor", help="check everything, one line each, with the fix")
    doctor.add_argument("--json", action="store_true", help="for programs")
    explain.add_arguments(
        verbs.add_parser("explain", help="what the safety stage says of a command")
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
