# SPDX-License-Identifier: MIT
"""Make every vector anew: ``python -m tests.vectors.generate [DIRECTORY]``.

The keys and values are fixed, so the result is the same bytes on every machine.
"""

import shutil
import sys
from pathlib import Path

from tests.vectors import evidence, proof_cases, wire
from tests.vectors.case import Case

HERE = Path(__file__).parent


def cases() -> list[Case]:
    """Return every vector; no two have the same name."""
    found = [*wire.cases(), *evidence.cases(), *proof_cases.cases()]
    names = [case.directory for case in found]
    assert len(set(names)) == len(names), sorted(names)
    return found


def write(root: Path) -> None:
    """Replace the vectors under a root."""
    for directory in root.iterdir():
        if (directory / "case.json").exists():
            shutil.rmtree(directory)
    for case in cases():
        case.write(root)


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE)
