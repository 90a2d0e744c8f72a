# SPDX-License-Identifier: MIT
"""The safety stage: time and mistakes on the corpora, beside what tibet-nc 0.1.2 looks for."""

from collections.abc import Callable, Sequence
from typing import Final

from tests.agent.safety.corpora import commands
from tests.bench.report import OURS, Report
from tests.bench.settings import Settings
from tests.bench.stats import timed
from tibet_nc_agent.safety import Decision, judge

GROUP: Final = "safety"
OLD: Final = "tibet-nc 0.1.2"

_OLD_COMMANDS: Final = frozenset(
    (
        "rm -rf /", "rm -rf /*", ":(){ :|:& };:", "dd if=/dev/zero", "mkfs", "fdisk",
        "shutdown", "reboot", "halt", "poweroff", "passwd", "useradd", "userdel", "usermod",
        "> /dev/sda", "chmod -R 777 /",
    )
)  # fmt: skip
_OLD_PATTERNS: Final = (
    "rm -rf /", "> /dev/sd", "mkfs.", "dd if=/dev", ":(){ :", "chmod -R 777 /",
    "curl|sh", "curl | sh", "wget|sh", "wget | sh",
)  # fmt: skip


def ours(command: str) -> bool:
    """Say whether our safety stage lets a command run."""
    return judge(command).decision is Decision.ALLOW


def old(command: str) -> bool:
    """Say whether 0.1.2 would: its check of a command, with its two lists."""
    text = command.lower().strip()
    return text not in _OLD_COMMANDS and not any(pattern in text for pattern in _OLD_PATTERNS)


async def run(report: Report, settings: Settings) -> None:
    """Measure the safety stage on the corpora of the tests."""
    dangerous, harmless = commands("dangerous"), commands("harmless")
    rounds = 1 if settings.quick else 3
    for who, permits in ((OURS, ours), (OLD, old)):
        series = _microseconds(permits, [*dangerous, *harmless] * rounds)
        report.add(GROUP, "one command judged", who, series, unit="µs")
    for what, lines, wrong in (
        ("dangerous lines allowed", dangerous, True),
        ("harmless lines not allowed", harmless, False),
    ):
        for who, permits in ((OURS, ours), (OLD, old)):
            count = sum(permits(line) is wrong for line in lines)
            note = f"of {len(lines):,}: {count / len(lines):.1%}"
            report.add(GROUP, what, who, count, unit="lines", note=note)
            if who == OURS:
                share = 0 if wrong else 1
                report.at_most(GROUP, what, 100 * count / len(lines), share, "%")


def _microseconds(permits: Callable[[str], bool], lines: Sequence[str]) -> list[float]:
    iterator = iter(lines)
    return [1000 * value for value in timed(len(lines), lambda: permits(next(iterator)))]
