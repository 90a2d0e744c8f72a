# SPDX-License-Identifier: MIT
"""Go's own note and log verifiers (golang.org/x/mod/sumdb), run over files of ours.

They are in the Go distribution, which the developer's lock pins by its hash; nothing is fetched.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.harness.host import ROOT

_SOURCE: Final = ROOT / "tests" / "gonote" / "main.go"
_CACHE: Final = ROOT / ".cache" / "go"
"""What Go has compiled: half a minute the first time, a second later on."""

_VERSION: Final = "go 1.24\n"
_VENDORED: Final = "src/cmd/vendor/golang.org/x/mod/sumdb"


def build(directory: Path) -> Path:
    """Build the program in an empty directory; return it."""
    go = str(Path(sys.executable).with_name("go"))
    root = subprocess.run([go, "env", "GOROOT"], capture_output=True, text=True, check=True)
    for package in ("note", "tlog"):
        vendored = Path(root.stdout.strip()) / _VENDORED / package
        shutil.copytree(vendored, directory / "mod" / "sumdb" / package)
    (directory / "mod" / "go.mod").write_text(f"module golang.org/x/mod\n\n{_VERSION}")
    (directory / "go.mod").write_text(
        f"module gonote\n\n{_VERSION}\nrequire golang.org/x/mod v0.0.0\n\n"
        "replace golang.org/x/mod => ./mod\n"
    )
    shutil.copy(_SOURCE, directory)
    program = directory / "gonote"
    alone = {"GOENV": "off", "GOFLAGS": "-mod=mod", "GOPROXY": "off", "GOTOOLCHAIN": "local"}
    subprocess.run(
        [go, "build", "-o", program, "."],
        cwd=directory,
        env={**os.environ, **alone, "GOCACHE": str(_CACHE)},
        check=True,
    )
    return program
