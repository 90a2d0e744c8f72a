# SPDX-License-Identifier: MIT
"""The second verifier (audit/recheck), built from its sources, and what it says of a chain.

Go is in the developer's environment, which the lock pins by its hash; nothing is fetched.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.harness.host import ROOT
from tibet_nc_audit.errors import AuditError
from tibet_nc_audit.findings import What
from tibet_nc_audit.heads import Depth
from tibet_nc_audit.reader import State
from tibet_nc_audit.report import Report
from tibet_nc_audit.verify import verify
from tibet_nc_protocol.layout import CHAIN
from tibet_nc_protocol.signing import PublicKey

SOURCE: Final = ROOT / "audit" / "recheck"
GO: Final = Path(sys.executable).with_name("go")
ENVIRONMENT: Final[Mapping[str, str]] = {
    "GOENV": "off",
    "GOFLAGS": "",
    "GOPROXY": "off",
    "GOTOOLCHAIN": "local",
    "GOCACHE": str(ROOT / ".cache" / "go"),
}
"""What Go has compiled stays: half a minute the first time, a second later on."""

OPTIONS: Final = {Depth.CHAIN: ["--chain-only"], Depth.RECORDS: [], Depth.DEEP: ["--deep"]}

_OF_THE_CHAIN: Final = frozenset({What.RECORD, What.SEGMENT, What.TORN, What.HEAD})
"""What it looks for, too; it leaves payloads, recordings and tokens alone."""

GOOD: Final = 0
BAD: Final = 1
UNUSABLE: Final = 2


@dataclass(frozen=True, kw_only=True)
class Said:
    """How the program ended and what it found: where, and by which rule."""

    status: int
    record: int | None = None
    file: str = ""
    line: int = 0
    rule: str = ""
    complaint: str = ""


def go(*arguments: str | Path, lines: str = "") -> subprocess.CompletedProcess[str]:
    """Run Go in the directory of the sources; ``lines`` are for its test that reads such a file."""
    return subprocess.run(
        [GO, *arguments],
        cwd=SOURCE,
        env={**os.environ, **ENVIRONMENT, "TIBET_NC_LINES": lines},
        capture_output=True,
        text=True,
        check=False,
    )


def build(directory: Path) -> Path:
    """Build the program; return it."""
    program = directory / "tibet-nc-recheck"
    done = go("build", "-o", program, ".")
    assert done.returncode == 0, done.stderr
    return program


def ask(
    program: Path,
    state: Path,
    *,
    key: str | None = None,
    held: Sequence[str] = (),
    depth: Depth = Depth.RECORDS,
) -> Said:
    """Have it verify a state directory."""
    options = [*OPTIONS[depth], *(["--key", key] if key else [])]
    for head in held:
        options += ["--against", head]
    done = subprocess.run(
        [program, "--state", state, "--json", *options], capture_output=True, check=False
    )
    if done.returncode == UNUSABLE:
        assert not done.stdout
        assert done.stderr.startswith(b"tibet-nc-recheck: "), done.stderr
        return Said(status=UNUSABLE, complaint=done.stderr.decode())
    assert not done.stderr, done.stderr
    found = json.loads(done.stdout)
    assert (done.returncode, found["good"]) in {(GOOD, True), (BAD, False)}
    wrong = found.get("first_bad")
    if wrong is None:
        return Said(status=done.returncode)
    return Said(
        status=BAD,
        record=wrong["record"],
        file=wrong["file"],
        line=wrong["line"],
        rule=wrong["rule"],
    )


def compare(report: Report, said: Said) -> None:
    """Fail unless the first verifier found the same first record, in the same place, or none.

    What the second one can't read ends it, if nothing was wrong before.
    """
    ours = next((finding for finding in report.findings if finding.what in _OF_THE_CHAIN), None)
    if said.status == UNUSABLE:
        assert any(text.startswith(CHAIN) for text in report.unread)
        return
    if ours is None:
        assert said == Said(status=GOOD)
        return
    assert said.status == BAD, ours
    assert (said.record, said.file, said.line) == (ours.record, ours.file, ours.line), (said, ours)


def agree(program: Path, root: Path, depth: Depth, key: str | None) -> None:
    """Fail unless both verifiers say the same of a chain."""
    said = ask(program, root, key=key, depth=depth)
    public = None if key is None else PublicKey.from_hex(key)
    try:
        with State(root) as state:
            report = verify(state, key=public, depth=depth, jobs=1)
    except AuditError:
        assert said.status == UNUSABLE
        return
    compare(report, said)
