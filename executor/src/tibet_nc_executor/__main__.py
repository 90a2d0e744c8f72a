# SPDX-License-Identifier: MIT
"""tibet-nc-executor: the command line of the privileged side."""

import argparse
import asyncio
import json
import os
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Final

from tibet_nc_executor import VERSION, administration, doctor, rotation, service
from tibet_nc_executor.config import DEFAULT_PATH, Config, check_owner, load, secret_key
from tibet_nc_executor.durable import make_directory, write_new
from tibet_nc_executor.errors import ConfigError, ExecutorError
from tibet_nc_executor.printing import standard_output
from tibet_nc_executor.workers import loop
from tibet_nc_protocol.errors import SignatureError
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.limits import EXACT_INTEGER, TEXT_CHARACTERS
from tibet_nc_protocol.messages import Erase
from tibet_nc_protocol.signing import KEY_BYTES, Identity, PublicKey

PUBLIC_FILE: Final = 0o644
REASON_CHARACTERS: Final = TEXT_CHARACTERS - 64
"""The longest reason: beside it the record says what was erased, and of which number."""


def run(config: Config, _: argparse.Namespace) -> None:
    """Serve until stopped."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(service.serve(config, os.environ))


def init(config: Config, arguments: argparse.Namespace) -> None:
    """Make the state directory and the executor's key; keep a key that is there.

    Where a chain is and no key, none is made: the chain can't go on with another.
    """
    directory = Path(config.state.directory)
    path = directory / "executor.key"
    check_owner(directory)
    try:
        make_directory(directory)
        if not path.exists() and not (directory / CHAIN).exists():
            write_new(path, os.urandom(KEY_BYTES).hex().encode() + b"\n")
            print(f"made {path}")
        public = Identity(secret_key(config, {})).public_key.hex
        if arguments.public_key_file is not None:
            write_new(arguments.public_key_file, public.encode() + b"\n", mode=PUBLIC_FILE)
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    print(f"public key: {public}")


def identity(config: Config, arguments: argparse.Namespace) -> None:
    """Print the executor's identity, or give it another key."""
    if arguments.rotate:
        own = rotation.rotate(config)
        print("the chain goes on with this key; give its public half to the agent and the auditor")
    else:
        own = Identity(secret_key(config, os.environ))
    if arguments.json:
        print(json.dumps(json.loads(own.document()), indent=2))
    else:
        print(f"{own.id}\n{own.public_key.hex}")


def enrol_agent(config: Config, arguments: argparse.Namespace) -> None:
    """Trust an agent's public key, in place of any other."""
    try:
        key = PublicKey.from_hex(arguments.key)
        write_new(Path(config.agent.key_file), key.hex.encode() + b"\n", mode=PUBLIC_FILE)
    except SignatureError as error:
        raise ConfigError(f"KEY: {error}") from None
    except OSError as error:
        raise ConfigError(f"{config.agent.key_file}: {error.strerror}") from None
    print(f"enrolled {key.hex} in {config.agent.key_file}")
    print("an executor that runs takes it with: systemctl restart tibet-nc-executor")


def erase(config: Config, arguments: argparse.Namespace) -> None:
    """Have the running executor erase the text of a command."""
    own = Identity(secret_key(config, os.environ))
    request = Erase(
        request=1,
        number=arguments.number,
        recording=arguments.recording,
        reason=arguments.reason,
    )
    recorded = administration.ask(Path(config.socket.path), own, request)
    print(f"erased #{arguments.number}; recorded as #{recorded.number}, head {recorded.head}")


def examine(config: Config, arguments: argparse.Namespace) -> None:
    """Check everything; ends with status 1 if something is not right."""
    checks: list[doctor.Check] = []
    for check in doctor.examine(config, os.environ, settings=arguments.config):
        checks.append(check)
        if not arguments.json:
            fix = f"; fix: {check.fix}" if check.fix else ""
            print(f"{'ok  ' if check.ok else 'FAIL'}  {check.name}: {check.detail}{fix}")
    if arguments.json:
        print(json.dumps([asdict(check) for check in checks]))
    if not all(check.ok for check in checks):
        sys.exit(1)


def _number(text: str) -> int:
    """Return the number of a record; raises ArgumentTypeError."""
    if re.fullmatch(r"[0-9]{1,16}", text) is None or int(text) > EXACT_INTEGER:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a record, such as 42")
    return int(text)


def _reason(text: str) -> str:
    """Return a text that a record can hold; raises ArgumentTypeError."""
    # What is not UTF-8 arrives as surrogates.
    if (
        re.fullmatch(rf"[^\ud800-\udfff]{{1,{REASON_CHARACTERS}}}", text, re.DOTALL) is None
        or not text.strip()
    ):
        raise argparse.ArgumentTypeError(
            f"a text of 1 to {REASON_CHARACTERS} characters is expected"
        )
    return text


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    top = argparse.ArgumentParser(
        prog="tibet-nc-executor",
        description="The privileged side of tibet-nc: it owns the shell, the chain and the keys.",
        epilog="Exit status: 0 good, 1 what was checked is bad, 2 usage or configuration.",
    )
    top.add_argument("--version", action="version", version=VERSION)
    top.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        default=DEFAULT_PATH,
        help="settings (default: %(default)s)",
    )
    verbs = top.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("run", help="serve the agent until stopped").set_defaults(verb=run)
    verb = verbs.add_parser("init", help="make the state directory and the executor's key")
    verb.add_argument(
        "--public-key-file", type=Path, metavar="FILE", help="write the public key here as well"
    )
    verb.set_defaults(verb=init)
    verb = verbs.add_parser("identity", help="print the executor's JIS identity and public key")
    verb.add_argument("--json", action="store_true", help="the signed DID document")
    verb.add_argument(
        "--rotate",
        action="store_true",
        help="first make a new key and have the old one sign it into the chain; the executor must "
        "not run",
    )
    verb.set_defaults(verb=identity)
    verb = verbs.add_parser("enrol-agent", help="trust the agent that has this public key")
    verb.add_argument("key", metavar="KEY", help="64 hexadecimal digits, as the agent prints them")
    verb.set_defaults(verb=enrol_agent)
    verb = verbs.add_parser(
        "erase",
        help="erase the text of a command, which the chain then shows as [erased]",
        description="Erase the text of a command from the running executor's files. The chain "
        "keeps the commitment to it and goes on verifying; that it was erased is recorded.",
    )
    verb.add_argument(
        "number", metavar="SEQ", type=_number, help="the number that the room was shown"
    )
    verb.add_argument("--recording", action="store_true", help="erase its output as well")
    verb.add_argument(
        "--reason", required=True, type=_reason, help="why; this is kept in the chain"
    )
    verb.set_defaults(verb=erase)
    verb = verbs.add_parser("doctor", help="check everything, one line each, with the fix")
    verb.add_argument("--json", action="store_true", help="for programs")
    verb.set_defaults(verb=examine)
    return top


def main() -> None:
    """Parse, load, do."""
    try:
        with standard_output():
            arguments = parser().parse_args()
            arguments.verb(load(arguments.config, os.environ), arguments)
    except ExecutorError as error:
        print(f"tibet-nc-executor: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
