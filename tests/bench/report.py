# SPDX-License-Identifier: MIT
"""The table and bench.json: every figure beside those that it is compared with."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

from tests.bench.stats import Summary, summarize

OURS: Final = "tibet-nc"
TIMES: Final = "\N{MULTIPLICATION SIGN}"
_PACKAGES: Final = (
    "tibet-nc-agent",
    "tibet-nc-executor",
    "tibet-nc-protocol",
    "tibet-nc-audit",
    "matrix-nio",
    "vodozemac",
    "msgspec",
    "cryptography",
    "jis-core",
    "tibet-core",
    "pexpect",
    "matrix-synapse",
)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table: what was measured, of whom."""

    group: str
    what: str
    who: str
    unit: str
    summary: Summary
    note: str


@dataclass(frozen=True, kw_only=True)
class Limit:
    """A figure that should be reached; nothing happens when it isn't, but it is said."""

    group: str
    what: str
    figure: float
    limit: float
    unit: str
    at_most: bool

    @property
    def reached(self) -> bool:
        """Whether it was reached in this run."""
        return self.figure <= self.limit if self.at_most else self.figure >= self.limit


@dataclass
class Report:
    """Takes figures as they are found, and says them at the end."""

    quick: bool
    rows: list[Row] = field(default_factory=list)
    limits: list[Limit] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(
        self,
        group: str,
        what: str,
        who: str,
        values: float | Sequence[float],
        *,
        unit: str = "ms",
        note: str = "",
    ) -> Summary:
        """Take a series, or one figure; the first ``who`` of a ``what`` is what ratios refer to."""
        summary = summarize([values] if isinstance(values, int | float) else values)
        self.rows.append(
            Row(group=group, what=what, who=who, unit=unit, summary=summary, note=note)
        )
        print(f"  {what} · {who}: {_number(summary.p50)} {unit}", flush=True)
        return summary

    def at_most(self, group: str, what: str, figure: float, limit: float, unit: str) -> None:
        """Say whether a figure is as low as it should be."""
        self.limits.append(
            Limit(group=group, what=what, figure=figure, limit=limit, unit=unit, at_most=True)
        )

    def at_least(self, group: str, what: str, figure: float, limit: float, unit: str) -> None:
        """Say whether a figure is as high as it should be."""
        self.limits.append(
            Limit(group=group, what=what, figure=figure, limit=limit, unit=unit, at_most=False)
        )

    def lack(self, text: str) -> None:
        """Say that something could not be measured here, and why."""
        self.missing.append(text)
        print(f"  not measured: {text}", flush=True)

    def ratio(self, row: Row) -> float | None:
        """Return a row's median over that of the first of its kind; None for that one itself."""
        first = next(
            other for other in self.rows if (other.group, other.what) == (row.group, row.what)
        )
        if first is row or not first.summary.p50:
            return None
        return row.summary.p50 / first.summary.p50

    def table(self) -> str:
        """Return the table that is printed at the end."""
        lines = ["", _line("what", "who", "n", "min", "p50", "p95", "max", "unit", "ratio", "")]
        group = ""
        for row in self.rows:
            if row.group != group:
                group = row.group
                lines.append(f"── {group}")
            ratio, summary = self.ratio(row), row.summary
            one = summary.n == 1
            lines.append(
                _line(
                    row.what,
                    row.who,
                    "" if one else str(summary.n),
                    "" if one else _number(summary.min),
                    _number(summary.p50),
                    "" if one else _number(summary.p95),
                    "" if one else _number(summary.max),
                    row.unit,
                    "" if ratio is None else f"{TIMES}{_number(ratio)}",
                    row.note,
                )
            )
        if self.limits:
            lines += ["", "── should be reached (ratios and sizes; nothing is asserted)"]
        for limit in self.limits:
            mark, sign = ("✓", "≤") if limit.reached else ("✗", "≤")
            sign = sign if limit.at_most else "≥"
            lines.append(
                f"{mark} {limit.what}: {_number(limit.figure)} {limit.unit}"
                f" (wanted {sign} {_number(limit.limit)})"
            )
        lines += [f"· not measured: {text}" for text in self.missing]
        return "\n".join(lines)

    def save(self, path: Path) -> None:
        """Write everything as JSON."""
        content = {
            "made": datetime.now(UTC).isoformat(timespec="seconds"),
            "quick": self.quick,
            "machine": machine(),
            "versions": packages(),
            "seconds": self.seconds,
            "rows": [
                {
                    "group": row.group,
                    "what": row.what,
                    "who": row.who,
                    "unit": row.unit,
                    **asdict(row.summary),
                    "ratio": self.ratio(row),
                    "note": row.note,
                }
                for row in self.rows
            ],
            "wanted": [{**asdict(limit), "reached": limit.reached} for limit in self.limits],
            "not_measured": self.missing,
            "failed": self.failed,
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def machine() -> dict[str, str | int | float]:
    """Return what the figures were measured on."""
    info = Path("/proc/cpuinfo").read_text()
    model = next((line for line in info.splitlines() if line.startswith("model name")), ":")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": model.split(":", 1)[1].strip(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(memory / 2**30, 1),
        "system": platform.platform(),
        "load": os.getloadavg()[0],
    }


def packages() -> dict[str, str]:
    """Return the versions of what was measured."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    for name, argv in (("ssh", ["ssh", "-V"]), ("bash", ["bash", "--version"])):
        try:
            done = subprocess.run(argv, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            continue
        found[name] = (done.stdout + done.stderr).splitlines()[0]
    return found


def _line(*cells: str) -> str:
    what, who, n, low, p50, p95, high, unit, ratio, note = cells
    text = f"{what:<50} {who:<24} {n:>6} {low:>9} {p50:>9} {p95:>9} {high:>9} {unit:<9} {ratio:>8}"
    return f"{text}  {note}".rstrip()


def _number(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 100:
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3g}"
