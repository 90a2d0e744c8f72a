# SPDX-License-Identifier: MIT
"""Runs the benchmark, prints the table, and writes bench.json."""

import argparse
import asyncio
import compileall
import os
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

from tests.bench import (
    chain,
    daemons,
    executor_alone,
    growth,
    inside,
    output,
    round_trip,
    safety,
)
from tests.bench.debian import MissingError
from tests.bench.report import Report
from tests.bench.settings import Settings
from tests.harness.journald import JOURNALD, Journald

ROOT: Final = Path(__file__).resolve().parents[2]
SOAK: Final = 10_000
QUICK_SOAK: Final = 500

type Group = Callable[[Report, Settings], Awaitable[None]]

GROUPS: Final[dict[str, Group]] = {
    "round-trip": round_trip.run,
    "inside": inside.run,
    "executor": executor_alone.run,
    "agent": daemons.run,
    "output": output.run,
    "chain": chain.run,
    "safety": safety.run,
    "growth": growth.run,
}


def main() -> None:
    """Run what was asked for; exit 1 if it could not be done, never for a figure."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer of everything")
    parser.add_argument(
        "--rows", nargs="+", choices=GROUPS, default=list(GROUPS), help="only these groups"
    )
    parser.add_argument("--output", type=Path, default=Path("bench.json"), metavar="FILE")
    parser.add_argument(
        "--soak",
        type=int,
        metavar="N",
        help=f"commands to see that memory stays flat (default {SOAK:,}; a tenth for the agent)",
    )
    parser.add_argument(
        "--trace",
        nargs="?",
        const="true",
        metavar="COMMAND",
        help="show where the time of one command goes, and measure nothing else",
    )
    arguments = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="tibet-nc-bench-"))
    directory.chmod(0o755)
    soak = arguments.soak or (QUICK_SOAK if arguments.quick else SOAK)
    settings = Settings(quick=arguments.quick, directory=directory, soak=soak)
    try:
        if arguments.trace is not None:
            print(asyncio.run(inside.trace(settings, arguments.trace)))
        else:
            _measure(settings, arguments.rows, arguments.output)
    except (MissingError, inside.TraceError) as error:
        sys.exit(f"bench: {error}")
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _measure(settings: Settings, rows: list[str], output_file: Path) -> None:
    for part in ("protocol", "agent", "executor"):
        # As the package does: a daemon's uid may not write beside its modules, and would compile
        # them at each start, which takes time and leaves holes in its heap.
        compileall.compile_dir(ROOT / part / "src", quiet=1)
    report = Report(quick=settings.quick)
    if not (os.geteuid() == 0 and JOURNALD.exists()):
        asyncio.run(_groups(report, settings, rows))
    else:
        with Journald():  # the executor sends its records there
            asyncio.run(_groups(report, settings, rows))
    print(report.table())
    report.save(output_file)
    print(f"\nwritten to {output_file}")
    if report.failed:
        sys.exit(f"bench: could not be finished: {', '.join(report.failed)}")


async def _groups(report: Report, settings: Settings, rows: list[str]) -> None:
    for name in rows:
        print(f"── {name}", flush=True)
        begin = time.monotonic()
        try:
            await GROUPS[name](report, settings)
        except Exception:  # the other groups' figures are worth having all the same
            traceback.print_exc()
            report.failed.append(name)
        report.seconds[name] = round(time.monotonic() - begin, 1)


if __name__ == "__main__":
    main()
