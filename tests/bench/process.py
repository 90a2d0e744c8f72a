# SPDX-License-Identifier: MIT
"""What the kernel says of a running process."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    """Return the resident memory of a process in MB (10⁶ bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"{pid} has ended")


def peak_mb(pid: int) -> float:
    """Return the most resident memory that a process ever had, in MB (10⁶ bytes)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ProcessLookupError(f"{pid} has ended")


def cpu_ms(pid: int) -> float:
    """Return the processor time that a process has used, in ms; the kernel counts in 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1000 / _TICKS
